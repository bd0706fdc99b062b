//! Fitting a generator spec to a trace, and saying how near what it generates comes.
//!
//! **Arrivals.** Pods of the first instant are `initial` when they are more than one in a hundred. Each process is then
//! fitted to the rest: `constant` and `poisson` by the rate, `weibull` by mean and variance of gaps, `batch` by the size of
//! groups that come at one instant, `diurnal` by the first harmonic of a day (traces of 36 h and more), `mmpp` with two
//! states (steps above and below the mean rate), `renewal` by quantiles of gaps, `empirical` by rates in up to 200 steps and
//! quantiles of gaps in time that runs as fast as pods come. Each generates as many arrivals as the trace has (100,000 at most) and is scored: KS distance
//! of gaps + KS distance of counts a step + mean difference of the counts' autocorrelation at several lags. The lowest
//! score is taken, but the first of this list within 0.02 of it; `renewal` and `empirical` only if no other comes within 0.1.
//!
//! **Durations.** `exponential`, `lognormal`, `weibull`, `pareto`, `bimodal` (two log-normals, split where the variance
//! within is least), fitted to moments of values or logarithms. The one with the lowest KS distance is taken if that is
//! below 0.05 and its mean, which decides how many run at once, within a quarter of the trace's; otherwise `empirical` with 201
//! quantiles. Pods without a run time are a share of `none`.
//!
//! **Sizes.** Requests with labels and node selector as they are, weighted by use; above 400 kinds, neighbours in order of
//! CPU and memory are merged into one that is there. Priorities, nodes, and the mean size of applications and gangs are
//! taken over; queues and users are named in turn.
//!
//! **Lost.** Which durations go with which sizes and users, affinity, tolerations and topology spread, dependencies,
//! nodes that come and go. The comparison shows what of it matters.
//!
//! Histograms have 128 logarithmic steps a power of two (0.8 %), and KS distances are taken at their ends; sizes are exact.
//! Three passes over the trace, memory O(specs + applications), whatever the number of pods. Floats go through `libm`
//! and are summed in a fixed order: same trace and seed, same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use super::error::TraceError;
use super::generate::{Arrivals, Process, mean_of_quantiles};
use super::import::ImportOptions;
use super::model::{CPU, EPHEMERAL_STORAGE, MEMORY, NodeOp, Resources, SpecRow};
use super::native::{self, PodBatch, TraceReader};
use super::number::duration_text;
use super::report::thousands;
use super::stats::Histogram;
use super::temporary::{Temporary, parent_of};
use crate::engine::random::{Streams, normal_cdf};

/// A histogram with 0.8 % steps.
type Fine = Histogram<7>;

const SECOND: f64 = 1e9;
/// A parametric family is near below this KS distance.
const NEAR: f64 = 0.05;
/// Renewal and empirical arrivals must score better by so much.
const WORTH: f64 = 0.1;
/// A simpler process may score worse by so much.
const SAME: f64 = 0.02;
const DAY_NS: u64 = 86_400_000_000_000;
/// Steps of the counts whose autocorrelation is compared, at most.
const BINS: u64 = 600;
const LAGS: [usize; 5] = [1, 2, 5, 10, 50];
/// Arrivals generated to score a process.
const SCORED: u64 = 100_000;
const QUANTILES: usize = 201;
const SIZES: usize = 400;
/// The 99th percentile of the standard normal.
const Z99: f64 = 2.326_347_874_040_841;

/// What is compared of a trace.
#[derive(Default)]
struct Profile {
    pods: u64,
    first_ns: u64,
    last_ns: u64,
    initial: u64,
    /// Without the first instant.
    gaps: Fine,
    runs: Fine,
    run_unknown: u64,
    /// Pods that come at the same time as the one before.
    together: u64,
    groups: u64,
    spec_uses: Vec<u64>,
    specs: Vec<SpecRow>,
    priorities: BTreeMap<i32, u64>,
    queues: BTreeSet<String>,
    users: BTreeSet<String>,
    apps: u64,
    gangs: u64,
    gang_pods: u64,
    bin_ns: u64,
    counts: Vec<u64>,
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl Profile {
    /// Reads a trace; `bin_ns` is chosen for 600 steps if it is 0.
    fn read(reader: &TraceReader, bin_ns: u64, bins: usize) -> Result<Profile, TraceError> {
        /// More queues or users than this are not named in a spec.
        const NAMES: usize = 200;
        let mut p = Profile { specs: reader.specs()?, bin_ns, ..Profile::default() };
        p.spec_uses = vec![0; p.specs.len()];
        let (mut apps, mut gangs) = (FxHashSet::default(), FxHashSet::default());
        let mut batch = PodBatch::default();
        let mut pods = reader.pods()?;
        let mut previous = None;
        let mut at_first = 0u64;
        while pods.next_batch(&mut batch)? {
            for i in 0..batch.len() {
                let t = batch.submit_ns[i];
                match previous {
                    None => (p.first_ns, at_first, p.groups) = (t, 1, 1),
                    Some(before) => {
                        at_first += u64::from(t == p.first_ns);
                        p.groups += u64::from(t != before);
                        if t != p.first_ns {
                            p.gaps.add(t.saturating_sub(before));
                            p.together += u64::from(t == before);
                        }
                    }
                }
                previous = Some(t);
                p.last_ns = t;
                p.pods += 1;
                match batch.run_ns[i] {
                    Some(run) => p.runs.add(run),
                    None => p.run_unknown += 1,
                }
                if let Some(n) = p.spec_uses.get_mut(batch.spec_id[i] as usize) {
                    *n += 1;
                }
                *p.priorities.entry(batch.priority[i]).or_insert(0) += 1;
                for (names, name) in [(&mut p.queues, batch.queue.get(i)), (&mut p.users, batch.user.get(i))]
                {
                    if !name.is_empty() && names.len() <= NAMES && !names.contains(name) {
                        names.insert(name.to_string());
                    }
                }
                let app = batch.app.get(i);
                if app.is_empty() {
                    p.apps += 1;
                } else {
                    apps.insert(hash(app));
                }
                if batch.min_member[i] > 1 {
                    p.gang_pods += 1;
                    gangs.insert((hash(app), hash(batch.task_group.get(i))));
                }
            }
        }
        p.apps += apps.len() as u64;
        p.gangs = gangs.len() as u64;
        if p.pods == 0 {
            return Err(TraceError::format(reader.path(), "the trace has no pods to fit"));
        }
        if at_first > 10 && at_first > p.pods / 100 {
            p.initial = at_first;
        } else {
            // Gaps within the first instant count, too.
            for _ in 1..at_first {
                p.gaps.add(0);
                p.together += 1;
            }
        }
        if p.bin_ns == 0 {
            p.bin_ns = (p.span_ns() / BINS + 1).max(1_000_000);
        }
        p.count_bins(reader, bins)?;
        Ok(p)
    }

    fn span_ns(&self) -> u64 {
        self.last_ns - self.first_ns
    }

    /// Pods a second, without those of the first instant.
    fn rate(&self) -> f64 {
        let span = self.span_ns().max(1) as f64 / SECOND;
        (self.pods - self.initial.max(1)).max(1) as f64 / span
    }

    /// The second pass: pods in each step of time, the first instant left out if it stands by itself.
    fn count_bins(&mut self, reader: &TraceReader, bins: usize) -> Result<(), TraceError> {
        let own = (self.span_ns() / self.bin_ns + 1) as usize;
        self.counts = vec![0; if bins == 0 { own } else { bins }];
        let mut skip = self.initial;
        let (mut pods, mut batch) = (reader.pods()?, PodBatch::default());
        while pods.next_batch(&mut batch)? {
            for t in &batch.submit_ns {
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                if let Some(n) = self.counts.get_mut(((t - self.first_ns) / self.bin_ns) as usize) {
                    *n += 1;
                }
            }
        }
        Ok(())
    }

    /// How much of a resource pods ask for, with how many do.
    fn amounts(&self, key: &str) -> BTreeMap<u64, u64> {
        let mut out = BTreeMap::new();
        for (spec, n) in self.specs.iter().zip(&self.spec_uses).filter(|(_, n)| **n > 0) {
            *out.entry(spec.requests.get(key).copied().unwrap_or(0)).or_insert(0) += n;
        }
        out
    }
}

/// The largest distance of two cumulative distributions, given as ascending (value, how many).
fn ks(a: impl Iterator<Item = (u64, u64)>, b: impl Iterator<Item = (u64, u64)>) -> f64 {
    let (a, b): (Vec<_>, Vec<_>) = (a.collect(), b.collect());
    let total = |v: &[(u64, u64)]| v.iter().map(|(_, n)| n).sum::<u64>();
    let (na, nb) = (total(&a), total(&b));
    if na == 0 || nb == 0 {
        return if na == nb { 0.0 } else { 1.0 };
    }
    let (mut i, mut j, mut ca, mut cb, mut worst) = (0, 0, 0u64, 0u64, 0.0f64);
    while i < a.len() || j < b.len() {
        let at = match (a.get(i), b.get(j)) {
            (Some(x), Some(y)) => x.0.min(y.0),
            (Some(x), None) | (None, Some(x)) => x.0,
            (None, None) => break,
        };
        while i < a.len() && a[i].0 == at {
            ca += a[i].1;
            i += 1;
        }
        while j < b.len() && b[j].0 == at {
            cb += b[j].1;
            j += 1;
        }
        worst = worst.max((ca as f64 / na as f64 - cb as f64 / nb as f64).abs());
    }
    worst
}

fn values(h: &Fine) -> impl Iterator<Item = (u64, u64)> + '_ {
    h.steps().map(|(_, high, n)| (high, n))
}

fn counted(counts: &[u64]) -> impl Iterator<Item = (u64, u64)> {
    let mut out: BTreeMap<u64, u64> = BTreeMap::new();
    for n in counts {
        *out.entry(*n).or_insert(0) += 1;
    }
    out.into_iter()
}

/// KS distance of a histogram and a distribution function.
fn ks_to(h: &Fine, cdf: impl Fn(f64) -> f64) -> f64 {
    let (mut below, mut worst) = (0u64, 0.0f64);
    for (_, high, n) in h.steps() {
        below += n;
        let share = below as f64 / h.count() as f64;
        worst = worst.max((share - cdf(high as f64 + 0.5)).abs());
    }
    worst
}

/// Correlation of a series with itself so many steps later; 0 for a series that does not vary.
fn autocorrelation(counts: &[u64], lag: usize) -> f64 {
    let n = counts.len();
    if n <= lag {
        return 0.0;
    }
    let mean = counts.iter().sum::<u64>() as f64 / n as f64;
    let square: f64 = counts.iter().map(|c| (*c as f64 - mean) * (*c as f64 - mean)).sum();
    if square <= 0.0 {
        return 0.0;
    }
    let product: f64 =
        (0..n - lag).map(|i| (counts[i] as f64 - mean) * (counts[i + lag] as f64 - mean)).sum();
    product / square
}

fn lags(counts: &[u64]) -> Vec<usize> {
    LAGS.iter().copied().filter(|lag| lag * 4 <= counts.len()).collect()
}

/// Six significant digits, so that files don't carry noise.
fn digits(x: f64) -> f64 {
    format!("{x:.5e}").parse().unwrap_or(x)
}

/// A duration without rounding: `90s`, `1500ms`, `17ns`.
fn exact(ns: u64) -> String {
    match ns {
        n if n.is_multiple_of(1_000_000_000) => format!("{}s", n / 1_000_000_000),
        n if n.is_multiple_of(1_000_000) => format!("{}ms", n / 1_000_000),
        n if n.is_multiple_of(1_000) => format!("{}us", n / 1_000),
        n => format!("{n}ns"),
    }
}

/// Three significant digits: as exact as the histogram.
fn rounded(ns: u64) -> u64 {
    let mut unit = 1;
    while ns / unit >= 1000 {
        unit *= 10;
    }
    (ns / unit + u64::from(ns % unit >= unit.div_ceil(2) && unit > 1)) * unit
}

/// Values at equal steps of the distribution, from the smallest to the largest. Ends of steps that are not full of
/// one value are interpolated.
fn quantiles(h: &Fine, n: usize) -> Vec<u64> {
    let (min, max) = h.range();
    let steps: Vec<(u64, u64, u64)> = h.steps().collect();
    let (mut i, mut below) = (0, 0u64);
    (0..n)
        .map(|k| {
            let rank = (u128::from(h.count()) * k as u128 / (n as u128 - 1)) as u64;
            while i + 1 < steps.len() && below + steps[i].2 < rank {
                below += steps[i].2;
                i += 1;
            }
            let (low, high, here) = steps[i];
            let part =
                u128::from(rank.saturating_sub(below)) * u128::from(high - low) / u128::from(here.max(1));
            (low + part as u64).clamp(min, max)
        })
        .collect()
}

/// Such quantiles with the largest chosen so that the mean is that of the values: with few quantiles a long tail would
/// otherwise weigh too much.
fn quantiles_with_mean(h: &Fine, n: usize) -> Vec<f64> {
    let mut values: Vec<f64> = quantiles(h, n).iter().map(|v| *v as f64).collect();
    let mean = h.sum() as f64 / h.count().max(1) as f64;
    let last = n - 1;
    let (mut low, mut high) = (values[last - 1].max(1.0), values[last].max(1.0) * 100.0);
    for _ in 0..200 {
        // Tails span orders of magnitude.
        let middle = libm::sqrt(low * high);
        values[last] = middle;
        if mean_of_quantiles(&values) < mean { low = middle } else { high = middle }
    }
    values[last] = values[last].max(values[last - 1]);
    values
}

// ---- durations

/// A distribution of durations as the spec writes it, its KS distance.
#[derive(Debug, Clone, Serialize)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// KS distance of the values (durations) or gaps (arrivals).
    pub ks: f64,
    /// KS distance of counts a step; arrivals only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ks_counts: Option<f64>,
    /// Mean difference of the counts' autocorrelation; arrivals only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autocorrelation_error: Option<f64>,
    /// What the lowest is taken of.
    pub score: f64,
    #[serde(skip)]
    mean_is_near: bool,
    #[serde(skip)]
    yaml: String,
}

/// Mean and standard deviation of logarithms over some steps of a histogram.
fn log_moments(steps: &[(u64, u64, u64)]) -> (f64, f64) {
    let n = steps.iter().map(|s| s.2).sum::<u64>().max(1) as f64;
    let log = |s: &(u64, u64, u64)| libm::log(((s.0 as f64 + s.1 as f64) / 2.0).max(1.0));
    let mean = steps.iter().map(|s| log(s) * s.2 as f64).sum::<f64>() / n;
    let variance = steps.iter().map(|s| (log(s) - mean) * (log(s) - mean) * s.2 as f64).sum::<f64>() / n;
    (mean, libm::sqrt(variance))
}

fn whole(x: f64) -> u64 {
    libm::round(x.clamp(1.0, 1e19)) as u64
}

fn duration_candidates(h: &Fine) -> Vec<Candidate> {
    let steps: Vec<(u64, u64, u64)> = h.steps().collect();
    let (min, max) = h.range();
    let mut out = Vec::new();
    let mean = h.sum() as f64 / h.count() as f64;
    let mut add = |name: &str, ks: f64, its_mean: f64, yaml: String| {
        out.push(Candidate {
            mean_is_near: (its_mean / mean - 1.0).abs() <= 0.25,
            name: name.into(),
            ks,
            ks_counts: None,
            autocorrelation_error: None,
            score: ks,
            yaml,
        });
    };
    if min == max {
        add("constant", 0.0, min as f64, format!("{{distribution: constant, value: {}}}", exact(min)));
        return out;
    }
    let cdf = |x: f64| 1.0 - libm::exp(-x / mean);
    add(
        "exponential",
        ks_to(h, cdf),
        mean,
        format!("{{distribution: exponential, mean: {}}}", exact(whole(mean))),
    );
    let (mu, sigma) = log_moments(&steps);
    let lognormal = |mu: f64, sigma: f64| {
        let (p50, p99) = (whole(libm::exp(mu)), whole(libm::exp(mu + Z99 * sigma)));
        format!("{{distribution: lognormal, p50: {}, p99: {}}}", exact(p50), exact(p99.max(p50)))
    };
    let cdf = |x: f64| normal_cdf((libm::log(x) - mu) / sigma.max(1e-9));
    let mean_of = |mu: f64, sigma: f64| libm::exp(mu + sigma * sigma / 2.0);
    add("lognormal", ks_to(h, cdf), mean_of(mu, sigma), lognormal(mu, sigma));
    // The logarithm of a Weibull has the standard deviation pi / (sqrt(6) shape) and the mean ln scale - gamma / shape.
    const EULER: f64 = 0.577_215_664_901_532_9;
    let shape = digits((std::f64::consts::PI / libm::sqrt(6.0) / sigma.max(1e-9)).clamp(0.05, 50.0));
    let scale = whole(libm::exp(mu + EULER / shape));
    let cdf = |x: f64| 1.0 - libm::exp(-libm::pow(x / scale as f64, shape));
    let yaml = format!("{{distribution: weibull, scale: {}, shape: {shape}}}", exact(scale));
    add("weibull", ks_to(h, cdf), scale as f64 * libm::exp(libm::lgamma(1.0 + 1.0 / shape)), yaml);
    let least = min.max(1);
    let above = mu - libm::log(least as f64);
    if above > 0.0 {
        let alpha = digits(1.0 / above);
        let cdf = |x: f64| 1.0 - libm::pow((least as f64 / x.max(least as f64)).min(1.0), alpha);
        let yaml = format!("{{distribution: pareto, min: {}, alpha: {alpha}}}", exact(least));
        let mean = if alpha > 1.0 { least as f64 * alpha / (alpha - 1.0) } else { f64::INFINITY };
        add("pareto", ks_to(h, cdf), mean, yaml);
    }
    // Two log-normals: the split with the least variance within.
    let within = |part: &[(u64, u64, u64)]| {
        let n = part.iter().map(|s| s.2).sum::<u64>() as f64;
        let (_, sigma) = log_moments(part);
        n * sigma * sigma
    };
    // A coarse search is enough: at most 64 places.
    let stride = (steps.len() / 64).max(1);
    let split = (1..steps.len())
        .step_by(stride)
        .map(|at| (within(&steps[..at]) + within(&steps[at..]), at))
        .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    if let Some((_, at)) = split {
        let (low, high) = steps.split_at(at);
        let share = digits(low.iter().map(|s| s.2).sum::<u64>() as f64 / h.count() as f64);
        let ((m1, s1), (m2, s2)) = (log_moments(low), log_moments(high));
        let cdf = |x: f64| {
            let z = |m: f64, s: f64| normal_cdf((libm::log(x) - m) / s.max(1e-9));
            share * z(m1, s1) + (1.0 - share) * z(m2, s2)
        };
        let yaml = format!(
            "{{distribution: bimodal, share: {share}, first: {}, second: {}}}",
            lognormal(m1, s1),
            lognormal(m2, s2)
        );
        let mean = share * mean_of(m1, s1) + (1.0 - share) * mean_of(m2, s2);
        add("bimodal", ks_to(h, cdf), mean, yaml);
    }
    out
}

/// Long lists over several lines.
fn list(items: impl Iterator<Item = String>, indent: &str) -> String {
    let mut out = String::from("[");
    let mut width = 0;
    for (i, item) in items.enumerate() {
        if i > 0 {
            out += ",";
        }
        if i == 0 || width + item.len() > 110 {
            out += &format!("\n{indent}");
            width = 0;
        } else {
            out.push(' ');
        }
        width += item.len() + 2;
        out += &item;
    }
    out.push(']');
    out
}

fn durations(p: &Profile) -> (String, Vec<Candidate>) {
    if p.runs.count() == 0 {
        return (" {distribution: none}".into(), Vec::new());
    }
    let mut candidates = duration_candidates(&p.runs);
    let near = candidates.iter().filter(|c| c.ks < NEAR && c.mean_is_near);
    let best = near.min_by(|a, b| a.score.total_cmp(&b.score)).cloned();
    let chosen = if let Some(best) = best {
        best
    } else {
        let q: Vec<u64> =
            quantiles_with_mean(&p.runs, QUANTILES).iter().map(|v| rounded(libm::round(*v) as u64)).collect();
        // How near the quantiles come is a matter of the comparison.
        let steps = q.iter().map(|v| (*v, 1));
        let yaml =
            format!("{{distribution: empirical, quantiles: {}}}", list(q.iter().map(|v| exact(*v)), "    "));
        let own = Candidate {
            name: "empirical".into(),
            ks: ks(values(&p.runs), steps),
            ks_counts: None,
            autocorrelation_error: None,
            score: ks(values(&p.runs), q.iter().map(|v| (*v, 1))),
            mean_is_near: true,
            yaml,
        };
        candidates.push(own.clone());
        own
    };
    candidates.sort_by(|a, b| {
        (a.name != chosen.name).cmp(&(b.name != chosen.name)).then(a.score.total_cmp(&b.score))
    });
    let unknown = p.run_unknown as f64 / p.pods as f64;
    let yaml = if p.run_unknown == 0 {
        format!(" {}", chosen.yaml)
    } else {
        format!(
            "\n  distribution: bimodal  # a share without a run time\n  share: {}\n  first: {{distribution: none}}\n  second: {}",
            digits(unknown),
            chosen.yaml
        )
    };
    (yaml, candidates)
}

// ---- arrivals

fn arrivals_spec(process: &str, rate: Option<f64>) -> Arrivals {
    Arrivals {
        process: process.into(),
        initial: 0,
        rate,
        shape: None,
        rates: Vec::new(),
        stay: Vec::new(),
        amplitude: None,
        period: None,
        peak: None,
        size: None,
        every: None,
        step: None,
        gaps: Vec::new(),
    }
}

/// The spec of arrivals as YAML in one line, lists over several.
fn arrivals_yaml(a: &Arrivals) -> String {
    let mut parts = vec![format!("process: {}", a.process)];
    let number = |name: &str, x: Option<f64>| x.map(|x| format!("{name}: {x}"));
    let text = |name: &str, x: &Option<String>| x.as_ref().map(|x| format!("{name}: {x}"));
    parts.extend((a.initial > 0).then(|| format!("initial: {}", a.initial)));
    parts.extend(number("rate", a.rate));
    parts.extend(number("shape", a.shape));
    parts.extend(number("amplitude", a.amplitude));
    parts.extend(text("period", &a.period));
    parts.extend(text("peak", &a.peak));
    parts.extend(a.size.map(|n| format!("size: {n}")));
    parts.extend(text("every", &a.every));
    parts.extend(text("step", &a.step));
    let long = |v: &[f64]| list(v.iter().map(|x| x.to_string()), "    ");
    parts.extend((!a.rates.is_empty()).then(|| format!("rates: {}", long(&a.rates))));
    parts.extend((!a.stay.is_empty()).then(|| format!("stay: [{}]", a.stay.join(", "))));
    parts.extend((!a.gaps.is_empty()).then(|| format!("gaps: {}", long(&a.gaps))));
    format!("\n  {}", parts.join("\n  "))
}

/// The shape of a Weibull distribution with this coefficient of variation, by bisection.
fn weibull_shape(cv: f64) -> f64 {
    let cv_of = |k: f64| {
        let log_ratio = libm::lgamma(1.0 + 2.0 / k) - 2.0 * libm::lgamma(1.0 + 1.0 / k);
        libm::sqrt((libm::exp(log_ratio) - 1.0).max(0.0))
    };
    let (mut low, mut high) = (0.08f64, 20.0f64);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if cv_of(middle) > cv { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// Two states: steps of time with more, and with fewer pods than the mean.
fn mmpp(p: &Profile) -> Option<Arrivals> {
    let mean = p.counts.iter().sum::<u64>() as f64 / p.counts.len() as f64;
    let high: Vec<bool> = p.counts.iter().map(|n| *n as f64 > mean).collect();
    let bin_s = p.bin_ns as f64 / SECOND;
    let of = |state: bool| {
        let bins = high.iter().filter(|h| **h == state).count();
        let pods: u64 = p.counts.iter().zip(&high).filter(|(_, h)| **h == state).map(|(n, _)| n).sum();
        let stays =
            (0..high.len()).filter(|i| high[*i] == state && (*i == 0 || high[i - 1] != state)).count();
        (bins > 0).then(|| {
            (digits(pods as f64 / bins as f64 / bin_s), p.bin_ns * bins as u64 / stays.max(1) as u64)
        })
    };
    let (low, high) = (of(false)?, of(true)?);
    Some(Arrivals {
        rates: vec![low.0, high.0],
        stay: vec![exact(low.1), exact(high.1)],
        ..arrivals_spec("mmpp", None)
    })
}

/// The first harmonic of a day in the counts.
fn diurnal(p: &Profile) -> Option<Arrivals> {
    if p.span_ns() < DAY_NS + DAY_NS / 2 {
        return None;
    }
    let (mut cosine, mut sine) = (0.0, 0.0);
    // Whole days only, so that the mean does not leak.
    let bins = (p.span_ns() / DAY_NS * DAY_NS / p.bin_ns) as usize;
    let total: u64 = p.counts[..bins].iter().sum();
    for (i, n) in p.counts[..bins].iter().enumerate() {
        let t = (i as f64 + 0.5) * p.bin_ns as f64 / DAY_NS as f64 * 2.0 * std::f64::consts::PI;
        cosine += *n as f64 * libm::cos(t);
        sine += *n as f64 * libm::sin(t);
    }
    let amplitude = 2.0 * libm::sqrt(cosine * cosine + sine * sine) / total.max(1) as f64;
    let phase = libm::atan2(sine, cosine) / (2.0 * std::f64::consts::PI);
    let phase = if phase < 0.0 { phase + 1.0 } else { phase };
    // To the minute is enough.
    let peak = whole(phase * 1440.0).min(1439) * 60_000_000_000;
    Some(Arrivals {
        amplitude: Some(digits(amplitude.min(1.0))),
        period: Some("24h".into()),
        peak: Some(exact(peak)),
        ..arrivals_spec("diurnal", Some(digits(p.rate())))
    })
}

/// Rates by step of time, and gaps in time that runs as fast as pods come: the third pass.
fn empirical(p: &Profile, reader: &TraceReader) -> Result<Arrivals, TraceError> {
    const SCALE: f64 = 1e9;
    let pods = p.pods - p.initial;
    // Ten pods a step on average, and whole multiples of the bins.
    let wanted = (pods / 10).clamp(1, 200);
    let per = (p.counts.len() as u64).div_ceil(wanted).max(1) as usize;
    let step_ns = p.bin_ns * per as u64;
    let rates: Vec<f64> = p
        .counts
        .chunks(per)
        .map(|c| digits(c.iter().sum::<u64>() as f64 / (step_ns as f64 / SECOND)))
        .collect();
    let mut before = vec![0.0];
    for rate in &rates {
        before.push(before[before.len() - 1] + rate * (step_ns as f64 / SECOND));
    }
    let warped = |t_ns: u64| {
        let t = t_ns - p.first_ns;
        let step = ((t / step_ns) as usize).min(rates.len() - 1);
        before[step] + rates[step] * ((t - step as u64 * step_ns) as f64 / SECOND)
    };
    let mut gaps = Fine::default();
    let (mut previous, mut skip) = (0.0, p.initial);
    let (mut rows, mut batch) = (reader.pods()?, PodBatch::default());
    while rows.next_batch(&mut batch)? {
        for t in &batch.submit_ns {
            let at = warped(*t);
            if skip > 0 {
                skip -= 1;
            } else {
                gaps.add(libm::round(((at - previous) * SCALE).max(0.0)) as u64);
            }
            previous = at;
        }
    }
    let quantiles: Vec<f64> =
        quantiles_with_mean(&gaps, QUANTILES).iter().map(|g| digits(*g / SCALE)).collect();
    let usable = quantiles.iter().any(|g| *g > 0.0);
    Ok(Arrivals {
        step: Some(exact(step_ns)),
        rates,
        gaps: if usable { quantiles } else { Vec::new() },
        ..arrivals_spec("empirical", None)
    })
}

/// Gaps and counts of what a process generates.
fn generated(a: &Arrivals, p: &Profile, seed: u64) -> Result<(Fine, Vec<u64>), TraceError> {
    let mut process = Process::of(a, &Streams::new(seed), Path::new("the fitted spec"))?;
    let mut gaps = Fine::default();
    let mut counts = vec![0u64; p.counts.len()];
    // As many as score well; a shorter part of the time then.
    let n = (p.pods - p.initial).min(SCORED);
    let mut now = 0;
    for _ in 0..n {
        let next = process.next(now, u64::MAX);
        gaps.add(next - now);
        now = next;
        match counts.get_mut((now / p.bin_ns) as usize) {
            Some(count) => *count += 1,
            None => break,
        }
    }
    if n < p.pods - p.initial {
        counts.truncate((now / p.bin_ns) as usize + 1);
    }
    Ok((gaps, counts))
}

fn arrivals(p: &Profile, reader: &TraceReader, seed: u64) -> Result<(Arrivals, Vec<Candidate>), TraceError> {
    let with_initial = |mut a: Arrivals| {
        a.initial = p.initial;
        a
    };
    if p.pods - p.initial <= 1 || p.span_ns() == 0 {
        let mut all = arrivals_spec("constant", Some(1.0));
        all.initial = p.pods;
        return Ok((all, Vec::new()));
    }
    let rate = digits(p.rate());
    let mean = p.gaps.sum() as f64 / p.gaps.count() as f64;
    let square: f64 = p
        .gaps
        .steps()
        .map(|(low, high, n)| {
            let d = (low as f64 + high as f64) / 2.0 - mean;
            d * d * n as f64
        })
        .sum();
    let cv = libm::sqrt(square / p.gaps.count() as f64) / mean.max(1.0);
    let mut specs = vec![arrivals_spec("constant", Some(rate)), arrivals_spec("poisson", Some(rate))];
    let shape = digits(weibull_shape(cv));
    specs.push(Arrivals { shape: Some(shape), ..arrivals_spec("weibull", Some(rate)) });
    if p.together * 2 > p.pods && p.groups > 1 {
        specs.push(Arrivals {
            size: Some(((p.pods + p.groups / 2) / p.groups).max(1)),
            every: Some(exact(p.span_ns() / (p.groups - 1))),
            ..arrivals_spec("batch", None)
        });
    }
    specs.extend(diurnal(p));
    specs.extend(mmpp(p));
    let parametric = specs.len();
    let seconds: Vec<f64> =
        quantiles_with_mean(&p.gaps, QUANTILES).iter().map(|g| digits(*g / SECOND)).collect();
    if seconds.iter().any(|g| *g > 0.0) {
        specs.push(Arrivals { gaps: seconds, ..arrivals_spec("renewal", None) });
    }
    specs.push(empirical(p, reader)?);
    let mut scored = Vec::new();
    for spec in specs {
        let (gaps, counts) = generated(&spec, p, seed)?;
        let source = &p.counts[..counts.len().min(p.counts.len())];
        let ks_gaps = ks(values(&p.gaps), values(&gaps));
        let ks_counts = ks(counted(source), counted(&counts));
        let lags = lags(source);
        let error = lags
            .iter()
            .map(|l| (autocorrelation(source, *l) - autocorrelation(&counts, *l)).abs())
            .sum::<f64>()
            / lags.len().max(1) as f64;
        scored.push((
            Candidate {
                name: spec.process.clone(),
                ks: ks_gaps,
                ks_counts: Some(ks_counts),
                autocorrelation_error: Some(error),
                score: ks_gaps + ks_counts + error,
                mean_is_near: true,
                yaml: String::new(),
            },
            spec,
        ));
    }
    let lowest = |range: std::ops::Range<usize>| {
        range.map(|i| scored[i].0.score).min_by(f64::total_cmp).unwrap_or(f64::INFINITY)
    };
    let (fitted, drawn) = (lowest(0..parametric), lowest(parametric..scored.len()));
    let (range, limit) = if fitted <= drawn + WORTH {
        (0..parametric, fitted + SAME)
    } else {
        (parametric..scored.len(), drawn + SAME)
    };
    let best = range.into_iter().find(|i| scored[*i].0.score <= limit).unwrap_or(0);
    let chosen = with_initial(scored[best].1.clone());
    let mut candidates: Vec<Candidate> = scored.into_iter().map(|(c, _)| c).collect();
    let first = candidates.remove(best);
    candidates.sort_by(|a, b| a.score.total_cmp(&b.score));
    candidates.insert(0, first);
    Ok((chosen, candidates))
}

// ---- sizes, nodes, the whole spec

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

fn amount(key: &str, n: u64) -> (String, String) {
    let bytes =
        |n: u64| if n > 0 && n.is_multiple_of(1 << 20) { format!("{}Mi", n >> 20) } else { n.to_string() };
    match key {
        CPU => ("cpu".into(), format!("{n}m")),
        MEMORY => ("memory".into(), bytes(n)),
        EPHEMERAL_STORAGE => ("ephemeral-storage".into(), bytes(n)),
        other => (if other.contains('/') { quoted(other) } else { other.into() }, n.to_string()),
    }
}

fn amounts(resources: &Resources) -> String {
    let parts: Vec<String> = resources
        .iter()
        .map(|(key, n)| {
            let (name, n) = amount(key, *n);
            format!("{name}: {n}")
        })
        .collect();
    format!("{{{}}}", parts.join(", "))
}

fn texts(map: &BTreeMap<String, String>) -> String {
    let parts: Vec<String> = map.iter().map(|(k, v)| format!("{}: {}", quoted(k), quoted(v))).collect();
    format!("{{{}}}", parts.join(", "))
}

/// What a spec of sizes can say of a spec of pods.
type SizeKey<'a> = (&'a Resources, &'a BTreeMap<String, String>, &'a BTreeMap<String, String>);

fn sizes(p: &Profile, notes: &mut Vec<String>) -> String {
    let mut kinds: BTreeMap<(u64, u64, SizeKey<'_>), u64> = BTreeMap::new();
    let mut lost = 0;
    for (spec, n) in p.specs.iter().zip(&p.spec_uses).filter(|(_, n)| **n > 0) {
        let of = |key: &str| spec.requests.get(key).copied().unwrap_or(0);
        let key = (of(CPU), of(MEMORY), (&spec.requests, &spec.labels, &spec.node_selector));
        *kinds.entry(key).or_insert(0) += n;
        if !(spec.affinity.is_empty() && spec.tolerations.is_empty() && spec.topology_spread.is_empty()) {
            lost += n;
        }
    }
    if lost > 0 {
        notes.push(format!(
            "{} pods have affinity, tolerations or topology spread, which a spec can't say",
            thousands(lost)
        ));
    }
    let mut rows: Vec<(SizeKey<'_>, u64)> = kinds.into_iter().map(|((_, _, key), n)| (key, n)).collect();
    if rows.len() > SIZES {
        notes
            .push(format!("{} kinds of sizes are merged into at most {SIZES}", thousands(rows.len() as u64)));
        let share = p.pods.div_ceil(SIZES as u64).max(1);
        let mut merged: Vec<(SizeKey<'_>, u64)> = Vec::new();
        // The most used of a group stands for it.
        let (mut group, mut most) = (0u64, (rows[0].0, 0u64));
        for (key, n) in rows {
            if n > most.1 {
                most = (key, n);
            }
            group += n;
            if group >= share {
                merged.push((most.0, group));
                (group, most) = (0, (key, 0));
            }
        }
        if group > 0 {
            merged.push((most.0, group));
        }
        rows = merged;
    }
    let mut out = String::new();
    for ((requests, labels, selector), n) in rows {
        out += &format!("\n  - {{weight: {n}, requests: {}", amounts(requests));
        if !labels.is_empty() {
            out += &format!(", labels: {}", texts(labels));
        }
        if !selector.is_empty() {
            out += &format!(", nodeSelector: {}", texts(selector));
        }
        out.push('}');
    }
    out
}

fn nodes(reader: &TraceReader, notes: &mut Vec<String>) -> Result<String, TraceError> {
    /// Kinds of nodes that are listed.
    const KINDS: usize = 1000;
    let mut seen: FxHashMap<String, ()> = FxHashMap::default();
    let mut kinds: BTreeMap<(Resources, BTreeMap<String, String>), u64> = BTreeMap::new();
    let mut changes = 0u64;
    for row in reader.nodes()? {
        let row = row?;
        if row.op != NodeOp::Add || seen.insert(row.name, ()).is_some() {
            changes += 1;
            continue;
        }
        *kinds.entry((row.allocatable, row.labels)).or_insert(0) += 1;
    }
    if changes > 0 {
        notes.push(format!("{} changes and removals of nodes are left out", thousands(changes)));
    }
    if kinds.len() > KINDS {
        notes.push(format!(
            "{} kinds of nodes: their labels are left out, except where pods select by them",
            thousands(kinds.len() as u64)
        ));
        let mut plain = BTreeMap::new();
        for ((allocatable, _), n) in kinds {
            *plain.entry((allocatable, BTreeMap::new())).or_insert(0) += n;
        }
        kinds = plain;
    }
    let mut out = String::new();
    for ((allocatable, labels), n) in kinds {
        out += &format!("\n  - {{count: {n}, allocatable: {}", amounts(&allocatable));
        if !labels.is_empty() {
            out += &format!(", labels: {}", texts(&labels));
        }
        out.push('}');
    }
    Ok(out)
}

/// Quantities that are one number on each side.
const SINGLE: [&str; 3] = ["rate", "pods an application", "pods in gangs"];

/// A quantity of the trace beside that of what the spec generates.
#[derive(Debug, Clone, Serialize)]
pub struct Compared {
    /// Which.
    pub quantity: String,
    /// Unit of the values: `ns`, `millicores`, `bytes`, `pods`, `pods/s` or `share`.
    pub unit: String,
    /// Mean in the trace.
    pub source_mean: f64,
    /// Mean in what the spec generates.
    pub generated_mean: f64,
    /// Median in the trace.
    pub source_p50: f64,
    /// Median in what the spec generates.
    pub generated_p50: f64,
    /// 99th percentile in the trace.
    pub source_p99: f64,
    /// 99th percentile in what the spec generates.
    pub generated_p99: f64,
    /// KS distance of the two distributions.
    pub ks: f64,
}

/// Correlation of the counts a step with those so many steps later.
#[derive(Debug, Clone, Serialize)]
pub struct Lag {
    /// Steps.
    pub steps: usize,
    /// In the trace.
    pub source: f64,
    /// In what the spec generates.
    pub generated: f64,
}

/// A fitted spec and how near it comes.
#[derive(Debug, Clone, Serialize)]
pub struct Fit {
    /// Pods of the trace.
    pub pods: u64,
    /// Seed of the generated trace.
    pub seed: u64,
    /// Chosen arrival process first, then the others by score.
    pub arrivals: Vec<Candidate>,
    /// Chosen distribution of durations first, then the others by KS distance.
    pub durations: Vec<Candidate>,
    /// Trace beside generated trace.
    pub compared: Vec<Compared>,
    /// One step of the counts, ns.
    pub step_ns: u64,
    /// Autocorrelation of counts a step.
    pub autocorrelation: Vec<Lag>,
    /// What the spec can't say.
    pub notes: Vec<String>,
    /// The spec (YAML).
    pub spec: String,
}

/// Fits a generator spec to the trace at `path` and compares it with what the spec generates under `seed`.
///
/// # Errors
/// The trace can't be read or has no pods; the temporary folder can't be written.
pub fn fit(path: &Path, seed: u64) -> Result<Fit, TraceError> {
    let reader = native::open(path)?;
    let source = Profile::read(&reader, 0, 0)?;
    let mut notes = Vec::new();
    let (process, arrival_candidates) = arrivals(&source, &reader, seed)?;
    let (durations, duration_candidates) = durations(&source);
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut spec = format!(
        "# Fitted by `podpace trace fit`; what it can't say is in docs/traces.md.\napiVersion: podpace/v1\nkind: TraceSpec\nname: {}\npods: {}\narrivals:{}\ndurations:{}\n",
        quoted(&name),
        source.pods,
        arrivals_yaml(&process),
        durations
    );
    if process.process == "empirical" {
        // Rates that come again from the beginning would stretch the rest.
        spec += &format!("duration: {}\n", exact(source.span_ns() + 1));
    }
    let per_app = (source.pods + source.apps / 2) / source.apps.max(1);
    if per_app > 1 {
        spec += &format!("apps: {{pods: {per_app}}}\n");
    }
    if let Some(size) = (source.gang_pods + source.gangs / 2).checked_div(source.gangs) {
        let size = size.max(2);
        // Of the applications that are drawn: gangs, and the rest of the pods in applications of the mean size.
        let others = (source.pods - source.gang_pods) as f64 / per_app.max(1) as f64;
        let share = digits(source.gangs as f64 / (source.gangs as f64 + others));
        spec += &format!("gangs: {{share: {share}, size: {size}}}\n");
    }
    for (key, names) in [("queues", &source.queues), ("users", &source.users)] {
        if names.len() > 200 {
            notes.push(format!("more than 200 {key}: left out"));
        } else if !names.is_empty() {
            spec += &format!("{key}: {}\n", list(names.iter().map(|n| quoted(n)), "    "));
        }
    }
    if source.priorities.keys().any(|p| *p != 0) {
        let rows = source.priorities.iter().map(|(value, n)| format!("{{weight: {n}, value: {value}}}"));
        spec += &format!("priorities: {}\n", list(rows, "    "));
    }
    spec += &format!("sizes:{}\n", sizes(&source, &mut notes));
    let nodes = nodes(&reader, &mut notes)?;
    if !nodes.is_empty() {
        spec += &format!("nodes:{nodes}\n");
    }
    let made = generate_profile(&spec, seed, &source)?;
    let compared = compare(&source, &made);
    let autocorrelation = lags(&source.counts)
        .into_iter()
        .map(|steps| Lag {
            steps,
            source: digits(autocorrelation(&source.counts, steps)),
            generated: digits(autocorrelation(&made.counts, steps)),
        })
        .collect();
    Ok(Fit {
        pods: source.pods,
        seed,
        arrivals: arrival_candidates,
        durations: duration_candidates,
        compared,
        step_ns: source.bin_ns,
        autocorrelation,
        notes,
        spec,
    })
}

/// Generates from the spec into a temporary folder and reads it back.
fn generate_profile(spec: &str, seed: u64, source: &Profile) -> Result<Profile, TraceError> {
    let parent = std::env::temp_dir();
    let folder = Temporary::folder(&parent, "podpace-fit-").map_err(|e| TraceError::io(&parent, e))?;
    let (file, trace) = (folder.path().join("spec.yaml"), folder.path().join("trace"));
    std::fs::write(&file, spec).map_err(|e| TraceError::io(&file, e))?;
    super::generate(&file, seed, &trace, &ImportOptions::default())?;
    Profile::read(&native::open(&trace)?, source.bin_ns, source.counts.len())
}

fn compare(source: &Profile, made: &Profile) -> Vec<Compared> {
    let mut out = Vec::new();
    let mut histograms = |quantity: &str, a: &Fine, b: &Fine| {
        let mean = |h: &Fine| digits(h.sum() as f64 / h.count().max(1) as f64);
        let at = |h: &Fine, q: f64| h.quantile(q) as f64;
        out.push(Compared {
            quantity: quantity.into(),
            unit: "ns".into(),
            source_mean: mean(a),
            generated_mean: mean(b),
            source_p50: at(a, 50.0),
            generated_p50: at(b, 50.0),
            source_p99: at(a, 99.0),
            generated_p99: at(b, 99.0),
            ks: digits(ks(values(a), values(b))),
        });
    };
    if source.gaps.count() > 0 {
        histograms("gap", &source.gaps, &made.gaps);
    }
    if source.runs.count() > 0 {
        histograms("run time", &source.runs, &made.runs);
    }
    let mut exact =
        |quantity: &str, unit: &str, scale: f64, a: &BTreeMap<u64, u64>, b: &BTreeMap<u64, u64>| {
            let total = |m: &BTreeMap<u64, u64>| m.values().sum::<u64>();
            let mean = |m: &BTreeMap<u64, u64>| {
                let sum: u128 = m.iter().map(|(v, n)| u128::from(*v) * u128::from(*n)).sum();
                digits(sum as f64 / total(m).max(1) as f64 * scale)
            };
            let at = |m: &BTreeMap<u64, u64>, percent: u64| {
                let rank = (u128::from(total(m)) * u128::from(percent)).div_ceil(100) as u64;
                let mut below = 0;
                let found = m.iter().find(|(_, n)| {
                    below += **n;
                    below >= rank
                });
                digits(found.map_or(0.0, |(v, _)| *v as f64) * scale)
            };
            out.push(Compared {
                quantity: quantity.into(),
                unit: unit.into(),
                source_mean: mean(a),
                generated_mean: mean(b),
                source_p50: at(a, 50),
                generated_p50: at(b, 50),
                source_p99: at(a, 99),
                generated_p99: at(b, 99),
                ks: digits(ks(a.iter().map(|(v, n)| (*v, *n)), b.iter().map(|(v, n)| (*v, *n)))),
            });
        };
    for (quantity, unit, key) in [("cpu", "millicores", CPU), ("memory", "bytes", MEMORY)] {
        exact(quantity, unit, 1.0, &source.amounts(key), &made.amounts(key));
    }
    let rates = |p: &Profile| counted(&p.counts).collect::<BTreeMap<u64, u64>>();
    exact("pods in a step", "pods", 1.0, &rates(source), &rates(made));
    let single = |n: u64| BTreeMap::from([(n, 1)]);
    let rate = |p: &Profile| single((p.rate() * 1e6) as u64);
    exact("rate", "pods/s", 1e-6, &rate(source), &rate(made));
    let per_app = |p: &Profile| single((p.pods as f64 / p.apps.max(1) as f64 * 1000.0) as u64);
    exact("pods an application", "pods", 1e-3, &per_app(source), &per_app(made));
    let in_gangs = |p: &Profile| single((p.gang_pods as f64 / p.pods as f64 * 1e6) as u64);
    exact("pods in gangs", "share", 1e-6, &in_gangs(source), &in_gangs(made));
    for row in &mut out {
        // One number on each side has no distribution.
        if SINGLE.contains(&row.quantity.as_str()) {
            row.ks = 0.0;
        }
    }
    out
}

/// Writes the spec.
///
/// # Errors
/// The file can't be written.
pub fn write(fit: &Fit, path: &Path) -> Result<(), TraceError> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let put = || -> std::io::Result<()> {
        let (part, mut file) = Temporary::file(parent_of(path), &format!(".{name}.writing-"))?;
        std::io::Write::write_all(&mut file, fit.spec.as_bytes())?;
        file.sync_all()?;
        part.publish(path)
    };
    put().map_err(|e| TraceError::io(path, e))
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} pods, compared with what the spec generates under seed {}\n",
            thousands(self.pods),
            self.seed
        )?;
        let candidates = |f: &mut fmt::Formatter<'_>, what: &str, list: &[Candidate]| -> fmt::Result {
            if list.is_empty() {
                return Ok(());
            }
            writeln!(f, "{what:13} {:>8} {:>8} {:>8} {:>8}", "KS", "counts", "autocorr", "score")?;
            for (i, c) in list.iter().enumerate() {
                let mark = if i == 0 { " <- taken" } else { "" };
                let number = |x: Option<f64>| x.map_or("-".to_string(), |x| format!("{x:.3}"));
                writeln!(
                    f,
                    "  {:11} {:>8.3} {:>8} {:>8} {:>8.3}{mark}",
                    c.name,
                    c.ks,
                    number(c.ks_counts),
                    number(c.autocorrelation_error),
                    c.score
                )?;
            }
            writeln!(f)
        };
        candidates(f, "arrivals", &self.arrivals)?;
        candidates(f, "durations", &self.durations)?;
        writeln!(
            f,
            "{:20} {:>11} {:>11} {:>11} {:>11} {:>11} {:>11} {:>6}",
            "trace, generated", "mean", "", "p50", "", "p99", "", "KS"
        )?;
        for row in &self.compared {
            let value = |x: f64| match row.unit.as_str() {
                "ns" => duration_text(x as u64),
                "bytes" => format!("{:.0} Mi", x / f64::from(1 << 20)),
                "millicores" => format!("{:.3}", x / 1000.0),
                "share" => format!("{:.1} %", x * 100.0),
                "pods/s" => format!("{x:.6}"),
                _ => format!("{x:.3}"),
            };
            let single = SINGLE.contains(&row.quantity.as_str());
            write!(
                f,
                "{:20} {:>11} {:>11}",
                row.quantity,
                value(row.source_mean),
                value(row.generated_mean)
            )?;
            if !single {
                write!(
                    f,
                    " {:>11} {:>11} {:>11} {:>11} {:>6.3}",
                    value(row.source_p50),
                    value(row.generated_p50),
                    value(row.source_p99),
                    value(row.generated_p99),
                    row.ks
                )?;
            }
            writeln!(f)?;
        }
        if !self.autocorrelation.is_empty() {
            writeln!(f, "\nautocorrelation of arrivals in steps of {}", duration_text(self.step_ns))?;
            for lag in &self.autocorrelation {
                writeln!(f, "  {:>3} steps later {:>8.3} {:>8.3}", lag.steps, lag.source, lag.generated)?;
            }
        }
        for note in &self.notes {
            writeln!(f, "note      {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: impl IntoIterator<Item = u64>) -> Fine {
        let mut h = Fine::default();
        values.into_iter().for_each(|v| h.add(v));
        h
    }

    #[test]
    fn ks_of_known_distributions() {
        let uniform = |from: u64| (from..from + 100).map(|v| (v, 1));
        assert!(ks(uniform(0), uniform(0)) < 1e-12);
        assert!((ks(uniform(0), uniform(50)) - 0.5).abs() < 1e-12);
        assert!((ks(uniform(0), uniform(500)) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn quantiles_reproduce_atoms_and_ends() {
        let h = histogram([vec![0; 60], (1..=40).map(|i| i * 1_000_000).collect()].concat());
        let q = quantiles(&h, 11);
        assert_eq!((q[0], q[5], q[10]), (0, 0, 40_000_000));
        assert!(q.windows(2).all(|w| w[0] <= w[1]), "{q:?}");
    }

    #[test]
    fn families_are_recognised() {
        let mut rng = Streams::new(7).stream("test");
        let s = 1_000_000_000;
        let mut draw =
            |f: &dyn Fn(&mut crate::engine::random::Rng) -> u64| histogram((0..20_000).map(|_| f(&mut rng)));
        for (name, h) in [
            ("exponential", draw(&|r| r.exponential(30 * s))),
            ("lognormal", draw(&|r| r.lognormal(60 * s, 1200 * s))),
            ("weibull", draw(&|r| r.weibull(60 * s, 0.5))),
            ("pareto", draw(&|r| r.pareto(10 * s, 1.5))),
            (
                "bimodal",
                draw(&|r| {
                    if r.chance(0.7) { r.lognormal(s, 2 * s) } else { r.lognormal(3600 * s, 7200 * s) }
                }),
            ),
        ] {
            let candidates = duration_candidates(&h);
            let best = candidates.iter().min_by(|a, b| a.score.total_cmp(&b.score)).unwrap();
            // An exponential is a Weibull of shape 1.
            let same = best.name == name || (name == "exponential" && best.name == "weibull");
            assert!(same && best.ks < 0.03, "{name}: {candidates:?}");
        }
    }

    #[test]
    fn weibull_shapes_have_their_variation() {
        assert!((weibull_shape(1.0) - 1.0).abs() < 1e-6);
        assert!((weibull_shape(libm::sqrt(5.0)) - 0.5).abs() < 1e-6);
    }
}
