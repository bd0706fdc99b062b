//! Random streams: the same bits for ever, independent by name, and distributions with the right shape.

use podpace::engine::random::{LogNormal, normal_quantile};
use podpace::engine::{MILLISECOND, Nanos, Rng, SECOND, Streams};

const DRAWS: usize = 200_000;

fn rng() -> Rng {
    Streams::new(7).stream("test")
}

fn sorted(mut draw: impl FnMut() -> Nanos) -> Vec<Nanos> {
    let mut values: Vec<_> = (0..DRAWS).map(|_| draw()).collect();
    values.sort_unstable();
    values
}

fn mean(values: &[Nanos]) -> f64 {
    values.iter().map(|&v| v as f64).sum::<f64>() / values.len() as f64
}

fn quantile(sorted: &[Nanos], q: f64) -> f64 {
    sorted[(q * sorted.len() as f64) as usize] as f64
}

fn assert_near(got: f64, want: f64, relative: f64) {
    assert!((got - want).abs() <= relative * want.abs(), "{got}, expected {want}");
}

/// The raw bits agree with ChaCha8 written from its definition, keyed as `Streams` says. The rest was written
/// down once: it changes only with ChaCha8's order of words, `libm` or a sampler, and with it every result.
#[test]
fn known_answers() {
    let streams = Streams::new(42);
    let mut plain = streams.stream("etcd.fsync");
    assert_eq!(plain.next_u64(), 0xc22f_53ad_395c_7398);
    assert_eq!(plain.next_u64(), 0x705f_5d7a_9a5a_5d13);
    assert_eq!(plain.next_u64(), 0x55b6_353a_6a81_dbea);
    let mut numbered = streams.stream_n("etcd.fsync", 3);
    assert_eq!(numbered.next_u64(), 0x99a4_e796_3886_b92b);
    assert_eq!(numbered.next_u64(), 0x92d5_9e7c_388e_7730);

    let mut rng = streams.stream("known answers");
    assert_eq!(rng.below(1_000_000), 711_804);
    assert_eq!(rng.uniform().to_bits(), 0x3fce_a1c0_f270_91b4);
    assert_eq!(rng.uniform_span(10, 1_000), 706);
    assert_eq!(rng.exponential(SECOND), 446_811_281);
    assert_eq!(rng.normal().to_bits(), 0x3fa3_2648_3ba7_6bc3);
    assert_eq!(rng.lognormal(MILLISECOND, 8 * MILLISECOND), 3_081_609);
    assert_eq!(rng.weibull(SECOND, 0.7), 3_977_277_179);
    assert_eq!(rng.pareto(SECOND, 1.5), 1_179_304_642);
    assert_eq!(rng.gamma(0.5, SECOND), 913_435);
    assert_eq!(rng.gamma(3.0, SECOND), 2_842_650_209);
    let mut items = [0, 1, 2, 3, 4, 5, 6, 7];
    rng.shuffle(&mut items);
    assert_eq!(items, [0, 1, 4, 6, 3, 7, 5, 2]);
}

#[test]
fn a_stream_depends_on_seed_name_and_index_only() {
    let streams = Streams::new(1);
    let first = |mut rng: Rng| rng.next_u64();
    let mut other = streams.stream("other");
    other.next_u64();
    assert_eq!(first(streams.stream("a")), first(Streams::new(1).stream("a")));
    let all = [
        first(streams.stream("a")),
        first(streams.stream("b")),
        first(streams.stream_n("a", 0)),
        first(streams.stream_n("a", 1)),
        first(streams.stream_n("b", 0)),
        first(Streams::new(2).stream("a")),
    ];
    for (i, a) in all.iter().enumerate() {
        assert!(!all[i + 1..].contains(a));
    }
}

#[test]
fn below_is_even_and_in_range() {
    let mut rng = rng();
    let mut counts = [0_u32; 7];
    for _ in 0..DRAWS {
        counts[rng.below(7) as usize] += 1;
    }
    for count in counts {
        assert_near(f64::from(count), DRAWS as f64 / 7.0, 0.03);
    }
    assert_eq!(rng.below(0), 0);
    assert_eq!(rng.below(1), 0);
    // Where a plain remainder would be biased most: values under n / 2 would come twice as often.
    let n = (1 << 63) + (1 << 62);
    let low = (0..DRAWS).filter(|_| rng.below(n) < n / 2).count();
    assert_near(low as f64, DRAWS as f64 / 2.0, 0.02);
}

#[test]
fn uniform_spans_reach_both_ends() {
    let mut rng = rng();
    let values = sorted(|| rng.uniform_span(3, 8));
    assert_eq!((values[0], values[DRAWS - 1]), (3, 8));
    assert_near(mean(&values), 5.5, 0.01);
    assert_eq!(rng.uniform_span(5, 5), 5);
    assert_eq!(rng.uniform_span(5, 4), 5);
    rng.uniform_span(0, u64::MAX);
}

#[test]
fn exponential_has_its_mean_and_median() {
    let mut rng = rng();
    let values = sorted(|| rng.exponential(SECOND));
    assert_near(mean(&values), 1e9, 0.01);
    assert_near(quantile(&values, 0.5), 1e9 * libm::log(2.0), 0.01);
    assert_eq!(rng.exponential(0), 0);
}

#[test]
fn lognormal_has_its_quantiles() {
    let mut rng = rng();
    let values = sorted(|| rng.lognormal(MILLISECOND, 8 * MILLISECOND));
    assert_near(quantile(&values, 0.5), 1e6, 0.015);
    assert_near(quantile(&values, 0.99), 8e6, 0.03);
    assert_near(quantile(&values, 0.01), 1e6 / 8.0, 0.03);
    // Constant without a spread, and then too one draw.
    let mut other = Streams::new(7).stream("constant");
    let mut same = Streams::new(7).stream("constant");
    assert_eq!(other.lognormal(5, 5), 5);
    assert_eq!(LogNormal::new(0, 100).sample(&mut other), 0);
    same.uniform();
    same.uniform();
    assert_eq!(other.next_u64(), same.next_u64());
}

#[test]
fn weibull_pareto_and_gamma_have_their_moments() {
    let mut rng = rng();
    let weibull = sorted(|| rng.weibull(SECOND, 2.0));
    assert_near(mean(&weibull), 1e9 * libm::tgamma(1.5), 0.01);
    assert_near(quantile(&weibull, 0.5), 1e9 * libm::sqrt(libm::log(2.0)), 0.01);

    let pareto = sorted(|| rng.pareto(SECOND, 3.0));
    assert!(pareto[0] >= SECOND);
    assert_near(mean(&pareto), 1.5e9, 0.01);
    assert_near(quantile(&pareto, 0.5), 1e9 * libm::cbrt(2.0), 0.01);

    for shape in [0.5, 1.0, 4.0] {
        let gamma = sorted(|| rng.gamma(shape, SECOND));
        let average = mean(&gamma);
        let variance =
            gamma.iter().map(|&v| (v as f64 - average) * (v as f64 - average)).sum::<f64>() / DRAWS as f64;
        assert_near(average, shape * 1e9, 0.015);
        assert_near(variance, shape * 1e18, 0.03);
    }
}

/// The normal's distribution function from `libm::erfc` must undo the quantile function.
#[test]
fn normal_quantile_inverts_the_distribution_function() {
    for exponent in 1..300 {
        let p = libm::pow(10.0, -f64::from(exponent) / 4.0);
        let z = normal_quantile(p);
        let back = 0.5 * libm::erfc(-z / core::f64::consts::SQRT_2);
        assert_near(back, p, 1e-12);
        if p > 1e-4 {
            assert_near(normal_quantile(1.0 - p), -z, 1e-11);
        }
    }
    for percent in 1..100 {
        let p = f64::from(percent) / 100.0;
        assert_near(0.5 * libm::erfc(-normal_quantile(p) / core::f64::consts::SQRT_2), p, 1e-14);
    }
    assert_near(normal_quantile(0.975), 1.959_963_984_540_054, 1e-15);
    assert!(normal_quantile(0.5).abs() < 1e-300);
}

#[test]
fn chance_and_shuffle_are_fair() {
    let mut rng = rng();
    let hits = (0..DRAWS).filter(|_| rng.chance(0.25)).count();
    assert_near(hits as f64, DRAWS as f64 / 4.0, 0.02);
    assert!(!rng.chance(0.0) && rng.chance(1.0));
    let mut orders = std::collections::BTreeMap::new();
    for _ in 0..DRAWS {
        let mut items = [0, 1, 2, 3];
        rng.shuffle(&mut items);
        *orders.entry(items).or_insert(0_u32) += 1;
    }
    assert_eq!(orders.len(), 24);
    for &count in orders.values() {
        assert_near(f64::from(count), DRAWS as f64 / 24.0, 0.06);
    }
}
