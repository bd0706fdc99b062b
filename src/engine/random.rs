//! Randomness: named streams of one seed, and distributions over them.
//!
//! Each use of chance has its own stream, named after what it drives (`"etcd.fsync"`, `"agents.start"`), so a new
//! use or one more draw somewhere changes nothing elsewhere, and two runs that differ in one setting share
//! their draws (common random numbers). A stream is ChaCha8 keyed by the seed, with the FNV-1a hash
//! of the name as stream number; equal names give equal streams.
//!
//! The distributions are written out here over `libm` and IEEE arithmetic, as those of crates change with their
//! versions and with the platform's maths. Spans come from one uniform draw each, by inversion (the normal by
//! Wichura's AS 241), except the gamma, which rejects. Spans are rounded to the nearest nanosecond; one
//! longer than [`MAX_SPAN_NS`] is as long as that, so that a time and some spans always fit into a `u64`.
//!
//! Cost, measured: 3 ns for 64 bits, 14 ns for an exponential span, 42 ns for a log-normal one.

use super::time::Nanos;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The longest random span: 100 years, ten times as long as any run.
pub const MAX_SPAN_NS: Nanos = 100 * 365 * 86_400 * 1_000_000_000;

/// The random streams of a run, all from one seed.
#[derive(Clone, Debug)]
pub struct Streams {
    key: [u8; 32],
    /// Whether a stream was ever asked for, of this or a clone.
    used: Arc<AtomicBool>,
}

impl Streams {
    /// The streams of this seed.
    pub fn new(seed: u64) -> Self {
        // SplitMix64 spreads the seed over ChaCha's 256-bit key.
        let mut state = super::reference::SplitMix64::new(seed);
        let mut key = [0; 32];
        for word in key.chunks_exact_mut(8) {
            word.copy_from_slice(&state.next_u64().to_le_bytes());
        }
        Streams { key, used: Arc::default() }
    }

    /// The stream of this name, from its start.
    pub fn stream(&self, name: &str) -> Rng {
        self.numbered(fnv1a(FNV_OFFSET, name.as_bytes()))
    }

    /// The stream of this name and index, for one of many alike. Differs from [`stream`](Self::stream).
    pub fn stream_n(&self, name: &str, index: u64) -> Rng {
        // 0xff is in no UTF-8 text, so no name ends like another name and index.
        let hash = fnv1a(fnv1a(FNV_OFFSET, name.as_bytes()), &[0xff]);
        self.numbered(fnv1a(hash, &index.to_le_bytes()))
    }

    /// The stream of this name, which counts as used only once something is drawn from it.
    pub fn lazily<'a>(&'a self, name: &'a str) -> LazyStream<'a> {
        LazyStream { streams: self, name, rng: None }
    }

    /// Whether a stream was asked for: what was made without one is the same under every seed.
    #[must_use]
    pub fn were_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    fn numbered(&self, stream: u64) -> Rng {
        self.used.store(true, Ordering::Relaxed);
        let mut generator = ChaCha8Rng::from_seed(self.key);
        generator.set_stream(stream);
        Rng { generator }
    }
}

/// A stream that is begun when it is first needed.
pub struct LazyStream<'a> {
    streams: &'a Streams,
    name: &'a str,
    rng: Option<Rng>,
}

impl LazyStream<'_> {
    /// The stream.
    pub fn get(&mut self) -> &mut Rng {
        self.rng.get_or_insert_with(|| self.streams.stream(self.name))
    }
}

/// Where [`fnv1a`] begins.
pub const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, 64 bits, over more bytes.
#[must_use]
pub fn fnv1a(mut hash: u64, bytes: &[u8]) -> u64 {
    for &byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

/// One random stream.
#[derive(Debug)]
pub struct Rng {
    generator: ChaCha8Rng,
}

/// Where a stream stands, for checkpoints.
#[derive(serde::Serialize, serde::Deserialize)]
struct Position {
    key: [u8; 32],
    stream: u64,
    /// Words of 32 bits drawn.
    words: u128,
}

impl serde::Serialize for Rng {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let g = &self.generator;
        Position { key: g.get_seed(), stream: g.get_stream(), words: g.get_word_pos() }.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Rng {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let position = Position::deserialize(deserializer)?;
        let mut generator = ChaCha8Rng::from_seed(position.key);
        generator.set_stream(position.stream);
        generator.set_word_pos(position.words);
        Ok(Rng { generator })
    }
}

impl Rng {
    /// The next 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let Ok(bits): Result<u64, Infallible> = rand::TryRng::try_next_u64(&mut self.generator);
        bits
    }

    /// A whole number in 0..n, all equally likely (Lemire's method). 0 when `n` is 0.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        let mut product = u128::from(self.next_u64()) * u128::from(n);
        if (product as u64) < n {
            let reject_below = n.wrapping_neg() % n;
            while (product as u64) < reject_below {
                product = u128::from(self.next_u64()) * u128::from(n);
            }
        }
        (product >> 64) as u64
    }

    /// A number in the open interval (0, 1): the middle of one of 2^52 equal parts.
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        ((self.next_u64() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    /// True with this probability.
    #[inline]
    pub fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// A span in low..=high ns, all equally likely; `low` when `high` is not above it.
    pub fn uniform_span(&mut self, low_ns: Nanos, high_ns: Nanos) -> Nanos {
        match high_ns.saturating_sub(low_ns).checked_add(1) {
            Some(width) => low_ns + self.below(width),
            None => self.next_u64(),
        }
    }

    /// An exponential span.
    #[inline]
    pub fn exponential(&mut self, mean_ns: Nanos) -> Nanos {
        to_span(-libm::log(self.uniform()) * mean_ns as f64)
    }

    /// A standard normal number. By inversion, so it grows with the uniform draw behind it.
    pub fn normal(&mut self) -> f64 {
        normal_quantile(self.uniform())
    }

    /// A log-normal span with this median and 99th percentile; always the median when p99 is not above it.
    pub fn lognormal(&mut self, p50_ns: Nanos, p99_ns: Nanos) -> Nanos {
        LogNormal::new(p50_ns, p99_ns).sample(self)
    }

    /// A Weibull span: scale · (-ln u)^(1/shape). Shape 1 is exponential; below it the tail is heavier.
    pub fn weibull(&mut self, scale_ns: Nanos, shape: f64) -> Nanos {
        to_span(scale_ns as f64 * libm::pow(-libm::log(self.uniform()), 1.0 / shape))
    }

    /// A Pareto span: at least `min_ns`, and longer than x with probability (min / x)^alpha.
    pub fn pareto(&mut self, min_ns: Nanos, alpha: f64) -> Nanos {
        to_span(min_ns as f64 * libm::pow(self.uniform(), -1.0 / alpha))
    }

    /// A gamma span of mean shape · scale (Marsaglia and Tsang 2000). Draws a variable number of uniforms.
    pub fn gamma(&mut self, shape: f64, scale_ns: Nanos) -> Nanos {
        let boosted = if shape < 1.0 { shape + 1.0 } else { shape };
        let d = boosted - 1.0 / 3.0;
        let c = 1.0 / libm::sqrt(9.0 * d);
        let unit = loop {
            let x = self.normal();
            let v = 1.0 + c * x;
            if v > 0.0 {
                let v = v * v * v;
                if libm::log(self.uniform()) < 0.5 * x * x + d - d * v + d * libm::log(v) {
                    break d * v;
                }
            }
        };
        let unit = if shape < 1.0 { unit * libm::pow(self.uniform(), 1.0 / shape) } else { unit };
        to_span(unit * scale_ns as f64)
    }

    /// Puts a slice in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

/// A log-normal distribution of spans by its median and 99th percentile, prepared for many draws.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LogNormal {
    p50_ns: Nanos,
    sigma: f64,
}

impl LogNormal {
    /// By median and 99th percentile; the constant `p50_ns` when `p99_ns` is not above it.
    pub fn new(p50_ns: Nanos, p99_ns: Nanos) -> Self {
        /// The standard normal's 99th percentile.
        const Z99: f64 = 2.326_347_874_040_841;
        let sigma = if p50_ns == 0 || p99_ns <= p50_ns {
            0.0
        } else {
            libm::log(p99_ns as f64 / p50_ns as f64) / Z99
        };
        LogNormal { p50_ns, sigma }
    }

    /// One span. Draws one uniform, even when constant, so that a changed parameter shifts no other draw.
    #[inline]
    pub fn sample(&self, rng: &mut Rng) -> Nanos {
        let z = rng.normal();
        if self.sigma > 0.0 { to_span(self.p50_ns as f64 * libm::exp(self.sigma * z)) } else { self.p50_ns }
    }
}

/// Nearest nanosecond, and no more than [`MAX_SPAN_NS`]; the cast saturates.
#[inline]
fn to_span(span: f64) -> Nanos {
    ((span + 0.5) as Nanos).min(MAX_SPAN_NS)
}

/// The standard normal distribution's share below `z`.
#[must_use]
pub fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

/// The standard normal's quantile function: Wichura's algorithm AS 241 (PPND16), accurate to about 1 in 10^16.
pub fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 8] = [
        3.387_132_872_796_366_5,
        133.141_667_891_784_38,
        1_971.590_950_306_551_3,
        13_731.693_765_509_46,
        45_921.953_931_549_87,
        67_265.770_927_008_7,
        33_430.575_583_588_13,
        2_509.080_928_730_122_7,
    ];
    const B: [f64; 8] = [
        1.0,
        42.313_330_701_600_91,
        687.187_007_492_057_9,
        5_394.196_021_424_751,
        21_213.794_301_586_597,
        39_307.895_800_092_71,
        28_729.085_735_721_943,
        5_226.495_278_852_854,
    ];
    const C: [f64; 8] = [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_692,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        2.417_807_251_774_506e-1,
        2.272_384_498_926_918_4e-2,
        7.745_450_142_783_414e-4,
    ];
    const D: [f64; 8] = [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        6.897_673_349_851e-1,
        1.481_039_764_274_800_8e-1,
        1.519_866_656_361_645_7e-2,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_9e-9,
    ];
    const E: [f64; 8] = [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        2.965_605_718_285_048_7e-1,
        2.653_218_952_657_612_4e-2,
        1.242_660_947_388_078_4e-3,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ];
    const F: [f64; 8] = [
        1.0,
        5.998_322_065_558_88e-1,
        1.369_298_809_227_358e-1,
        1.487_536_129_085_061_5e-2,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_8e-15,
    ];
    let ratio = |above: &[f64; 8], below: &[f64; 8], r: f64| {
        let horner = |c: &[f64; 8]| c.iter().rev().fold(0.0, |sum, &c| sum * r + c);
        horner(above) / horner(below)
    };
    let q = p - 0.5;
    if libm::fabs(q) <= 0.425 {
        return q * ratio(&A, &B, 0.180_625 - q * q);
    }
    let r = libm::sqrt(-libm::log(if q < 0.0 { p } else { 1.0 - p }));
    let z = if r <= 5.0 { ratio(&C, &D, r - 1.6) } else { ratio(&E, &F, r - 5.0) };
    if q < 0.0 { -z } else { z }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test vectors of the authors (isthe.com/chongo/tech/comp/fnv).
    #[test]
    fn fnv1a_is_the_published_function() {
        assert_eq!(fnv1a(FNV_OFFSET, b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(FNV_OFFSET, b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(FNV_OFFSET, b"foobar"), 0x8594_4171_f739_67e8);
    }
}
