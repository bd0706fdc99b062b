//! Generated traces: arrivals, sizes, durations, applications, gangs, from a YAML spec and a seed.
//!
//! ```yaml
//! apiVersion: podpace/v1
//! kind: TraceSpec
//! name: nightly-batch
//! pods: 100000                  # or duration: 24h, or both (whichever ends first)
//! arrivals: {process: poisson, rate: 50}        # pods a second
//! sizes:
//!   - {weight: 3, requests: {cpu: 100m, memory: 500Mi}}
//!   - {weight: 1, requests: {cpu: "4", memory: 16Gi, nvidia.com/gpu: "1"}}
//!   - {weight: 2, requests: {cpu: {distribution: lognormal, p50: 500m, p99: 8}, memory: 2Gi}}
//!   - {weight: 1, trace: ../my-week}            # sizes of its pods, as often as they are there
//! durations: {distribution: lognormal, p50: 60s, p99: 20m}
//! apps: {pods: 20}              # pods of one application (mean of a geometric size), or count: N in turn
//! gangs: {share: 0.1, size: 8}  # this share of applications are gangs of this size
//! queues: [root.a, root.b]
//! users: [ann, bob]
//! priorities: [{weight: 9, value: 0}, {weight: 1, value: 100}]
//! nodes: [{count: 100, allocatable: {cpu: 32, memory: 128Gi, pods: 110}, labels: {zone: a}}]
//! ```
//!
//! **Arrival processes**: `constant`; `poisson`; `weibull` (gaps, `shape` below 1 is bursty); `mmpp` (`rates` of the states,
//! `stay` the mean time in each, next state in turn); `diurnal` (Poisson thinned to rate * (1 + amplitude * sin), `period`,
//! `peak` the time of its highest rate); `batch` (`size` pods at once every `every`); `renewal` (`gaps`: quantiles
//! of gaps in seconds); `empirical` (`rates`: pods a second in each `step` of time, in turn, and `gaps`: quantiles in units
//! of their mean, exponential without). With `initial` so many pods are there at time 0, before the process begins.
//! Quantiles are at equal steps from the smallest to the largest value; between two the logarithm is even, from zero the value.
//! **Durations**: `constant` (value), `exponential` (mean), `lognormal` (p50, p99), `pareto` (min, alpha), `weibull` (scale,
//! shape), `bimodal` (two distributions with a share), `empirical` (run times of a trace, or the quantiles given), `none`.
//! A resource of a **size** may have any of these but `none`, in the resource's unit, with `step` (rounded to its
//! multiples; 10m of CPU, 16Mi, or 1 by default), and `max`.
//!
//! Each use of chance draws from its own stream of the seed ("trace.arrivals", "trace.sizes", ..), so that changing the
//! durations leaves the arrivals as they were. Floats go through `libm` only. O(pods), constant memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::TraceError;
use super::import::{AT_ORIGIN, ImportOptions, Node, Origin, Pod, Sink};
use super::model::{CPU, Manifest, NodeOp, Resources, SpecRow};
use super::native::{self, PodBatch};
use super::number;
use crate::engine::random::{Rng, Streams};

/// A generator spec.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TraceSpec {
    /// `podpace/v1`.
    pub api_version: String,
    /// `TraceSpec`.
    pub kind: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// How many pods.
    #[serde(default)]
    pub pods: Option<u64>,
    /// How long pods are created.
    #[serde(default)]
    pub duration: Option<String>,
    /// When pods are created.
    pub arrivals: Arrivals,
    /// What pods ask for.
    pub sizes: Vec<Size>,
    /// How long they run.
    #[serde(default)]
    pub durations: Durations,
    /// Applications.
    #[serde(default)]
    pub apps: Apps,
    /// Gangs.
    #[serde(default)]
    pub gangs: Option<Gangs>,
    /// Queues, one an application, in turn.
    #[serde(default)]
    pub queues: Vec<String>,
    /// Users, one an application, in turn.
    #[serde(default)]
    pub users: Vec<String>,
    /// Priorities of applications.
    #[serde(default)]
    pub priorities: Vec<Priority>,
    /// Nodes.
    #[serde(default)]
    pub nodes: Vec<NodeGroup>,
}

/// When pods are created.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arrivals {
    /// constant, poisson, weibull, mmpp, diurnal, batch, renewal or empirical.
    pub process: String,
    /// Pods that are there at time 0, before the process begins.
    #[serde(default)]
    pub initial: u64,
    /// Pods a second (not for mmpp and batch).
    #[serde(default)]
    pub rate: Option<f64>,
    /// Of weibull gaps.
    #[serde(default)]
    pub shape: Option<f64>,
    /// Of empirical: how long each of the rates lasts.
    #[serde(default)]
    pub step: Option<String>,
    /// Quantiles of gaps at equal steps: of renewal in seconds, of empirical in units of their mean.
    #[serde(default)]
    pub gaps: Vec<f64>,
    /// Pods a second in each state of mmpp, in each step of empirical.
    #[serde(default)]
    pub rates: Vec<f64>,
    /// Mean time in each state of mmpp.
    #[serde(default)]
    pub stay: Vec<String>,
    /// Of diurnal, 0 to 1.
    #[serde(default)]
    pub amplitude: Option<f64>,
    /// Of diurnal.
    #[serde(default)]
    pub period: Option<String>,
    /// Of diurnal: when the rate is highest.
    #[serde(default)]
    pub peak: Option<String>,
    /// Pods of a batch.
    #[serde(default)]
    pub size: Option<u64>,
    /// Between batches.
    #[serde(default)]
    pub every: Option<String>,
}

/// A size and how often it is drawn.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Size {
    /// Relative frequency.
    #[serde(default = "one")]
    pub weight: u64,
    /// As Kubernetes writes it, or a distribution.
    #[serde(default)]
    pub requests: BTreeMap<String, Request>,
    /// Labels of the pod.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its node selector.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// A native trace whose pods' specs are drawn instead.
    #[serde(default)]
    pub trace: Option<PathBuf>,
}

/// What a pod asks for of a resource.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Request {
    /// Always the same.
    Fixed(Quantity),
    /// Drawn for each pod.
    Drawn(Box<Durations>),
}

/// A quantity, in quotes or not.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Quantity {
    /// `500Mi`
    Text(String),
    /// `4`
    Whole(u64),
    /// `0.5`
    Part(f64),
}

impl Quantity {
    fn text(&self) -> String {
        match self {
            Quantity::Text(s) => s.clone(),
            Quantity::Whole(n) => n.to_string(),
            Quantity::Part(x) => x.to_string(),
        }
    }
}

fn one() -> u64 {
    1
}

/// How long pods run, or how much they ask for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Durations {
    /// none, constant, exponential, lognormal, pareto, weibull, bimodal or empirical.
    pub distribution: String,
    /// Of constant.
    #[serde(default)]
    pub value: Option<Quantity>,
    /// Of exponential.
    #[serde(default)]
    pub mean: Option<Quantity>,
    /// Median of lognormal.
    #[serde(default)]
    pub p50: Option<Quantity>,
    /// 99th percentile of lognormal.
    #[serde(default)]
    pub p99: Option<Quantity>,
    /// Smallest of pareto.
    #[serde(default)]
    pub min: Option<Quantity>,
    /// Of pareto.
    #[serde(default)]
    pub alpha: Option<f64>,
    /// Of weibull.
    #[serde(default)]
    pub scale: Option<Quantity>,
    /// Of weibull.
    #[serde(default)]
    pub shape: Option<f64>,
    /// Share of the first of bimodal's two.
    #[serde(default)]
    pub share: Option<f64>,
    /// First of bimodal's two.
    #[serde(default)]
    pub first: Option<Box<Durations>>,
    /// Second of bimodal's two.
    #[serde(default)]
    pub second: Option<Box<Durations>>,
    /// Of empirical: quantiles at equal steps from the smallest to the largest value.
    #[serde(default)]
    pub quantiles: Vec<Quantity>,
    /// Of sizes: values are multiples of it.
    #[serde(default)]
    pub step: Option<Quantity>,
    /// Of sizes: the largest.
    #[serde(default)]
    pub max: Option<Quantity>,
    /// Trace whose run times are drawn.
    #[serde(default)]
    pub trace: Option<PathBuf>,
}

impl Default for Durations {
    fn default() -> Durations {
        Durations {
            distribution: "none".into(),
            value: None,
            mean: None,
            p50: None,
            p99: None,
            min: None,
            alpha: None,
            scale: None,
            shape: None,
            share: None,
            first: None,
            second: None,
            quantiles: Vec::new(),
            step: None,
            max: None,
            trace: None,
        }
    }
}

/// Applications.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apps {
    /// Mean pods of an application (geometric); 0: one application a pod.
    #[serde(default)]
    pub pods: u64,
    /// A fixed number of applications, pods in turn.
    #[serde(default)]
    pub count: u64,
}

/// Gangs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gangs {
    /// Share of applications.
    pub share: f64,
    /// Members, created together.
    pub size: u64,
}

/// A priority and how often it is drawn.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Priority {
    /// Relative frequency.
    #[serde(default = "one")]
    pub weight: u64,
    /// Kubernetes priority.
    pub value: i32,
}

/// Equal nodes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeGroup {
    /// How many.
    pub count: u64,
    /// As Kubernetes writes it.
    pub allocatable: BTreeMap<String, Quantity>,
    /// Labels of all of them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Line from 1 of a field such as `arrivals.every`: its last key that is there, sought behind the one before.
fn line_of(text: &str, field: &str) -> Option<usize> {
    let mut at = None;
    for key in field.split('.') {
        let from = at.unwrap_or(0);
        let is_key = |i: usize| {
            let before = text[..i].chars().next_back();
            before.is_none_or(|c| !c.is_alphanumeric()) && text[i + key.len()..].starts_with(':')
        };
        match text[from..].match_indices(key).map(|(i, _)| from + i).find(|i| is_key(*i)) {
            Some(i) => at = Some(i),
            None => break,
        }
    }
    at.map(|i| 1 + text[..i].matches('\n').count())
}

struct Where<'a>(&'a Path);

impl Where<'_> {
    fn error(&self, field: &str, message: impl std::fmt::Display) -> TraceError {
        let line = std::fs::read_to_string(self.0).ok().and_then(|text| line_of(&text, field));
        let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        TraceError::format(self.0, format!("{line}{field}: {message}"))
    }

    fn duration(&self, field: &str, text: Option<&String>) -> Result<u64, TraceError> {
        let text = text.ok_or_else(|| self.error(field, "missing; a duration as 90s or 1h30m"))?;
        number::duration_ns(text)
            .map_err(|_| self.error(field, format!("{text:?} is no duration as 90s or 1h30m")))
    }

    /// A value of a distribution: a duration, or an amount of a resource.
    fn value(&self, kind: Kind, field: &str, value: Option<&Quantity>) -> Result<u64, TraceError> {
        let text = value.map(Quantity::text);
        match kind {
            Kind::Duration => self.duration(field, text.as_ref()),
            Kind::Amount(unit) => {
                let text = text.ok_or_else(|| self.error(field, "missing; a quantity as 100m or 2Gi"))?;
                number::quantity(&text, unit)
                    .map_err(|_| self.error(field, format!("{text:?} is no quantity as 100m or 2Gi")))
            }
        }
    }

    fn positive(&self, field: &str, value: Option<f64>) -> Result<f64, TraceError> {
        match value {
            Some(x) if x.is_finite() && x > 0.0 => Ok(x),
            Some(x) => Err(self.error(field, format!("{x} is not above 0"))),
            None => Err(self.error(field, "missing; a number above 0")),
        }
    }

    fn resources(&self, field: &str, map: &BTreeMap<String, Quantity>) -> Result<Resources, TraceError> {
        map.iter()
            .map(|(name, q)| {
                let (key, unit) = super::import::kubernetes::resource(name);
                let text = q.text();
                let n = number::quantity(&text, unit).map_err(|_| {
                    self.error(field, format!("{name}: {text:?} is no quantity as 100m or 2Gi"))
                })?;
                Ok((key.to_string(), n))
            })
            .collect()
    }
}

/// What the values of a distribution are.
#[derive(Clone, Copy)]
enum Kind {
    Duration,
    /// With so many units in 1.
    Amount(u64),
}

/// Mean gap in ns of a rate a second.
fn gap_ns(rate: f64) -> u64 {
    libm::round(1e9 / rate).max(1.0) as u64
}

/// When pods come, one by one.
pub(crate) enum Process {
    Constant { gap: u64 },
    Poisson { gap: u64, rng: Rng },
    Weibull { scale: u64, shape: f64, rng: Rng },
    Mmpp { gaps: Vec<Option<u64>>, stay: Vec<u64>, state: usize, until: u64, rng: Rng, states: Rng },
    Diurnal { gap: u64, amplitude: f64, period: u64, peak: u64, rng: Rng, thin: Rng },
    Batch { size: u64, every: u64, given: u64 },
    Renewal { gaps: Vec<f64>, rng: Rng },
    Empirical { step: u64, rates: Vec<f64>, gaps: Vec<f64>, rng: Rng },
}

impl Process {
    pub(crate) fn of(a: &Arrivals, streams: &Streams, path: &Path) -> Result<Process, TraceError> {
        Process::new(a, streams, &Where(path))
    }

    fn new(a: &Arrivals, streams: &Streams, w: &Where<'_>) -> Result<Process, TraceError> {
        let rng = || streams.stream("trace.arrivals");
        Ok(match a.process.as_str() {
            "constant" => Process::Constant { gap: gap_ns(w.positive("arrivals.rate", a.rate)?) },
            "poisson" => Process::Poisson { gap: gap_ns(w.positive("arrivals.rate", a.rate)?), rng: rng() },
            "weibull" => {
                let rate = w.positive("arrivals.rate", a.rate)?;
                let shape = w.positive("arrivals.shape", a.shape)?;
                // Mean gap = scale * gamma(1 + 1/shape).
                let scale = libm::round(1e9 / rate / libm::tgamma(1.0 + 1.0 / shape)).max(1.0) as u64;
                Process::Weibull { scale, shape, rng: rng() }
            }
            "mmpp" => {
                if a.rates.is_empty() || a.rates.len() != a.stay.len() {
                    return Err(w.error("arrivals.rates", "as many rates as times to stay, at least one"));
                }
                if a.rates.iter().any(|r| !r.is_finite() || *r < 0.0) || a.rates.iter().all(|r| *r <= 0.0) {
                    return Err(w.error("arrivals.rates", "rates of at least 0, one of them above"));
                }
                let gaps = a.rates.iter().map(|r| (*r > 0.0).then(|| gap_ns(*r))).collect();
                let stay: Vec<u64> =
                    a.stay.iter().map(|s| w.duration("arrivals.stay", Some(s))).collect::<Result<_, _>>()?;
                if stay.contains(&0) {
                    return Err(w.error("arrivals.stay", "times above 0"));
                }
                // Each change of state is a step of the search for the next pod.
                let pods: f64 = a.rates.iter().zip(&stay).map(|(rate, stay)| rate * *stay as f64 / 1e9).sum();
                if pods / (stay.len() as f64) < 1e-6 {
                    let message = "fewer than one pod in a million changes of state; write larger rates, or longer times to `stay`";
                    return Err(w.error("arrivals.rates", message));
                }
                let mut states = streams.stream("trace.arrivals.states");
                let until = states.exponential(stay[0]).max(1);
                Process::Mmpp { gaps, stay, state: 0, until, rng: rng(), states }
            }
            "diurnal" => {
                let amplitude = a.amplitude.unwrap_or(1.0);
                if !(0.0..=1.0).contains(&amplitude) {
                    return Err(w.error("arrivals.amplitude", format!("{amplitude} is not between 0 and 1")));
                }
                let day = "24h".to_string();
                let period = w.duration("arrivals.period", Some(a.period.as_ref().unwrap_or(&day)))?.max(1);
                let peak = match &a.peak {
                    Some(p) => w.duration("arrivals.peak", Some(p))?,
                    None => period / 4,
                };
                let rate = w.positive("arrivals.rate", a.rate)?;
                let thin = streams.stream("trace.arrivals.thinning");
                Process::Diurnal {
                    gap: gap_ns(rate * (1.0 + amplitude)),
                    amplitude,
                    period,
                    peak,
                    rng: rng(),
                    thin,
                }
            }
            "batch" => {
                let size = a
                    .size
                    .filter(|n| *n > 0)
                    .ok_or_else(|| w.error("arrivals.size", "missing; pods of a batch"))?;
                Process::Batch { size, every: w.duration("arrivals.every", a.every.as_ref())?, given: 0 }
            }
            "renewal" => Process::Renewal { gaps: scaled_gaps(a, w, Some(1e9))?, rng: rng() },
            "empirical" => {
                let step = w.duration("arrivals.step", a.step.as_ref())?;
                if step == 0
                    || a.rates.iter().any(|r| !r.is_finite() || *r < 0.0)
                    || a.rates.iter().all(|r| *r <= 0.0)
                {
                    return Err(w.error(
                        "arrivals.rates",
                        "rates of at least 0, one of them above, and a step above 0",
                    ));
                }
                let gaps = if a.gaps.is_empty() { Vec::new() } else { scaled_gaps(a, w, None)? };
                Process::Empirical {
                    step,
                    rates: a.rates.iter().map(|r| r / 1e9).collect(),
                    gaps,
                    rng: rng(),
                }
            }
            other => {
                let known = "constant, poisson, weibull, mmpp, diurnal, batch, renewal, empirical";
                return Err(w.error("arrivals.process", format!("{other:?} is unknown; known: {known}")));
            }
        })
    }

    /// The next creation after `now`, or any time from `end` on if there is none before.
    pub(crate) fn next(&mut self, now: u64, end: u64) -> u64 {
        match self {
            Process::Constant { gap } => now.saturating_add(*gap),
            Process::Poisson { gap, rng } => now.saturating_add(rng.exponential(*gap)),
            Process::Weibull { scale, shape, rng } => now.saturating_add(rng.weibull(*scale, *shape)),
            Process::Mmpp { gaps, stay, state, until, rng, states } => {
                let mut now = now;
                loop {
                    if let Some(gap) = gaps[*state] {
                        let t = now.saturating_add(rng.exponential(gap));
                        if t < *until {
                            return t;
                        }
                    }
                    // Exponential gaps forget: start anew where the state changes.
                    now = *until;
                    if now >= end {
                        return now;
                    }
                    *state = (*state + 1) % stay.len();
                    *until = until.saturating_add(states.exponential(stay[*state]).max(1));
                }
            }
            Process::Diurnal { gap, amplitude, period, peak, rng, thin } => {
                let mut t = now;
                loop {
                    t = t.saturating_add(rng.exponential(*gap));
                    let phase = ((t % *period) as f64 - *peak as f64) / *period as f64;
                    let share = (1.0 + *amplitude * libm::cos(2.0 * std::f64::consts::PI * phase))
                        / (1.0 + *amplitude);
                    if thin.uniform() < share || t == u64::MAX {
                        return t;
                    }
                }
            }
            Process::Batch { size, every, given } => {
                *given += 1;
                if *given >= *size {
                    *given = 0;
                    return now.saturating_add(*every);
                }
                now
            }
            Process::Renewal { gaps, rng } => {
                now.saturating_add(libm::round(at_quantile(gaps, rng.uniform())) as u64)
            }
            Process::Empirical { step, rates, gaps, rng } => {
                // In time that runs as fast as pods come, gaps have the mean 1.
                let u = rng.uniform();
                let mut need = if gaps.is_empty() { -libm::log(u) } else { at_quantile(gaps, u) };
                let mut now = now;
                loop {
                    let rate = rates[(now / *step % rates.len() as u64) as usize];
                    let step_end = (now / *step + 1).saturating_mul(*step);
                    let have = rate * (step_end - now) as f64;
                    if need <= have && (rate > 0.0 || need <= 0.0) {
                        let wait = if rate > 0.0 { libm::round(need / rate) as u64 } else { 0 };
                        return now.saturating_add(wait);
                    }
                    if step_end >= end {
                        return step_end;
                    }
                    need -= have;
                    now = step_end;
                }
            }
        }
    }
}

/// Quantiles of gaps, times a unit, or in units of their mean.
fn scaled_gaps(a: &Arrivals, w: &Where<'_>, unit: Option<f64>) -> Result<Vec<f64>, TraceError> {
    let rising = a.gaps.windows(2).all(|pair| pair[0] <= pair[1]);
    let mean = mean_of_quantiles(&a.gaps);
    let usable = a.gaps.len() >= 2 && rising && a.gaps[0] >= 0.0 && mean.is_finite() && mean > 0.0;
    if !usable {
        return Err(w.error("arrivals.gaps", "two or more rising numbers of at least 0, one of them above"));
    }
    let factor = unit.unwrap_or(1.0 / mean);
    Ok(a.gaps.iter().map(|gap| gap * factor).collect())
}

/// Between neighbouring quantiles the logarithm is even; from zero the value.
pub(crate) fn mean_of_quantiles(values: &[f64]) -> f64 {
    let between = |a: f64, b: f64| if a > 0.0 && b > a { (b - a) / libm::log(b / a) } else { (a + b) / 2.0 };
    let sum: f64 = values.windows(2).map(|pair| between(pair[0], pair[1])).sum();
    sum / (values.len().max(2) - 1) as f64
}

/// The value at `u` (0 to 1) of quantiles at equal steps.
fn at_quantile(values: &[f64], u: f64) -> f64 {
    let at = u * (values.len() - 1) as f64;
    let i = (at as usize).min(values.len() - 2);
    let (a, b, part) = (values[i], values[i + 1], at - i as f64);
    if a > 0.0 && b > a { a * libm::pow(b / a, part) } else { a + (b - a) * part }
}

enum Run {
    None,
    Constant(u64),
    Exponential(u64),
    LogNormal(u64, u64),
    Pareto(u64, f64),
    Weibull(u64, f64),
    Bimodal(f64, Box<Run>, Box<Run>),
    Empirical(Vec<u64>),
    Quantiles(Vec<f64>),
}

impl Run {
    fn new(d: &Durations, kind: Kind, base: &Path, w: &Where<'_>) -> Result<Run, TraceError> {
        Ok(match d.distribution.as_str() {
            "none" => Run::None,
            "constant" => Run::Constant(w.value(kind, "durations.value", d.value.as_ref())?),
            "exponential" => Run::Exponential(w.value(kind, "durations.mean", d.mean.as_ref())?),
            "lognormal" => {
                let (p50, p99) = (
                    w.value(kind, "durations.p50", d.p50.as_ref())?,
                    w.value(kind, "durations.p99", d.p99.as_ref())?,
                );
                if p50 == 0 || p99 < p50 {
                    return Err(w.error("durations.p99", "at least p50, which is above 0"));
                }
                Run::LogNormal(p50, p99)
            }
            "pareto" => {
                let min = w.value(kind, "durations.min", d.min.as_ref())?;
                if min == 0 {
                    return Err(w.error("durations.min", "a time above 0"));
                }
                Run::Pareto(min, w.positive("durations.alpha", d.alpha)?)
            }
            "weibull" => Run::Weibull(
                w.value(kind, "durations.scale", d.scale.as_ref())?,
                w.positive("durations.shape", d.shape)?,
            ),
            "bimodal" => {
                let share = d.share.filter(|s| (0.0..=1.0).contains(s));
                let share =
                    share.ok_or_else(|| w.error("durations.share", "a share of 0 to 1 of the first"))?;
                let part = |name: &str, d: &Option<Box<Durations>>| {
                    let d = d.as_ref().ok_or_else(|| w.error(name, "missing; a distribution"))?;
                    Run::new(d, kind, base, w).map(Box::new)
                };
                Run::Bimodal(share, part("durations.first", &d.first)?, part("durations.second", &d.second)?)
            }
            "empirical" if !d.quantiles.is_empty() => {
                let values: Vec<u64> = d
                    .quantiles
                    .iter()
                    .map(|q| w.value(kind, "durations.quantiles", Some(q)))
                    .collect::<Result<_, _>>()?;
                if values.len() < 2 || values.windows(2).any(|pair| pair[0] > pair[1]) {
                    return Err(w.error("durations.quantiles", "two or more, rising"));
                }
                Run::Quantiles(values.iter().map(|v| *v as f64).collect())
            }
            "empirical" => {
                let path = d
                    .trace
                    .as_ref()
                    .ok_or_else(|| w.error("durations.trace", "missing; a native trace, or quantiles"))?;
                Run::Empirical(run_times(&base.join(path))?)
            }
            other => {
                let known = "none, constant, exponential, lognormal, pareto, weibull, bimodal, empirical";
                return Err(
                    w.error("durations.distribution", format!("{other:?} is unknown; known: {known}"))
                );
            }
        })
    }

    fn draw(&self, rng: &mut Rng) -> Option<u64> {
        match self {
            Run::None => None,
            Run::Constant(n) => Some(*n),
            Run::Exponential(mean) => Some(rng.exponential(*mean)),
            Run::LogNormal(p50, p99) => Some(rng.lognormal(*p50, *p99)),
            Run::Pareto(min, alpha) => Some(rng.pareto(*min, *alpha)),
            Run::Weibull(scale, shape) => Some(rng.weibull(*scale, *shape)),
            Run::Bimodal(share, a, b) => {
                if rng.chance(*share) {
                    a.draw(rng)
                } else {
                    b.draw(rng)
                }
            }
            Run::Empirical(times) => Some(times[rng.below(times.len() as u64) as usize]),
            Run::Quantiles(values) => Some(libm::round(at_quantile(values, rng.uniform())) as u64),
        }
    }
}

/// Run times of a trace: every k-th, at most 65,536 of them, so that memory is bounded.
fn run_times(path: &Path) -> Result<Vec<u64>, TraceError> {
    const LIMIT: usize = 65_536;
    let reader = native::open(path)?;
    let mut pods = reader.pods()?;
    let mut batch = PodBatch::default();
    let (mut times, mut every, mut seen) = (Vec::new(), 1u64, 0u64);
    while pods.next_batch(&mut batch)? {
        for r in batch.run_ns.iter().flatten() {
            if seen.is_multiple_of(every) {
                times.push(*r);
                if times.len() == LIMIT {
                    let mut i = 0;
                    times.retain(|_| {
                        i += 1;
                        i % 2 == 1
                    });
                    every *= 2;
                }
            }
            seen += 1;
        }
    }
    if times.is_empty() {
        return Err(TraceError::format(path, "no pod has a run time to draw from"));
    }
    Ok(times)
}

/// How the spec of a pod is drawn.
enum SizeDraw {
    /// Always this.
    Fixed(u32),
    /// Amounts drawn: name, distribution, step, largest.
    Drawn(Box<SpecRow>, Vec<(String, Run, u64, u64)>),
    /// Specs of a trace with how often they are used.
    Trace(Vec<u32>, Vec<u64>),
}

impl SizeDraw {
    fn new(s: &Size, sink: &mut Sink, base: &Path, w: &Where<'_>) -> Result<SizeDraw, TraceError> {
        if let Some(path) = &s.trace {
            if !s.requests.is_empty() {
                return Err(w.error("sizes", "requests or a trace, not both"));
            }
            let reader = native::open(&base.join(path))?;
            let specs = reader.specs()?;
            let mut weights = vec![0u64; specs.len()];
            let (mut pods, mut batch) = (reader.pods()?, PodBatch::default());
            while pods.next_batch(&mut batch)? {
                for id in &batch.spec_id {
                    if let Some(n) = weights.get_mut(*id as usize) {
                        *n += 1;
                    }
                }
            }
            if weights.iter().all(|n| *n == 0) {
                return Err(TraceError::format(path, "no pod has a size to draw from"));
            }
            return Ok(SizeDraw::Trace(specs.into_iter().map(|row| sink.spec(row)).collect(), weights));
        }
        let mut row = SpecRow {
            labels: s.labels.clone(),
            node_selector: s.node_selector.clone(),
            ..SpecRow::default()
        };
        let mut drawn = Vec::new();
        let mut fixed = BTreeMap::new();
        for (name, request) in &s.requests {
            match request {
                Request::Fixed(q) => {
                    fixed.insert(name.clone(), q.clone());
                }
                Request::Drawn(d) => {
                    let (key, unit) = super::import::kubernetes::resource(name);
                    let kind = Kind::Amount(unit);
                    if d.distribution == "none" {
                        return Err(
                            w.error("sizes.requests", format!("{name}: none is no amount; leave it out"))
                        );
                    }
                    let usual = match key {
                        CPU => 10,
                        key if key.ends_with("_bytes") => 16 << 20,
                        _ => 1,
                    };
                    let step =
                        d.step.as_ref().map(|q| w.value(kind, "sizes.requests.step", Some(q))).transpose()?;
                    let max =
                        d.max.as_ref().map(|q| w.value(kind, "sizes.requests.max", Some(q))).transpose()?;
                    let run = Run::new(d, kind, base, w)?;
                    drawn.push((key.to_string(), run, step.unwrap_or(usual).max(1), max.unwrap_or(u64::MAX)));
                }
            }
        }
        row.requests = w.resources("sizes.requests", &fixed)?;
        Ok(if drawn.is_empty() {
            SizeDraw::Fixed(sink.spec(row))
        } else {
            SizeDraw::Drawn(Box::new(row), drawn)
        })
    }

    fn draw(&self, sink: &mut Sink, rng: &mut Rng) -> u32 {
        match self {
            SizeDraw::Fixed(id) => *id,
            SizeDraw::Trace(ids, weights) => ids[weighted(weights, rng)],
            SizeDraw::Drawn(row, drawn) => {
                let mut row = SpecRow::clone(row);
                for (key, run, step, max) in drawn {
                    let amount = run.draw(rng).unwrap_or(0).min(*max);
                    let rounded = (amount / step + u64::from(amount % step >= step.div_ceil(2))).max(1);
                    row.requests.insert(key.clone(), rounded.saturating_mul(*step));
                }
                sink.spec(row)
            }
        }
    }
}

/// Draws an index by weight.
fn weighted(weights: &[u64], rng: &mut Rng) -> usize {
    let total: u64 = weights.iter().sum();
    let mut at = rng.below(total.max(1));
    for (i, w) in weights.iter().enumerate() {
        if at < *w {
            return i;
        }
        at -= w;
    }
    0
}

/// Most pods of a generated trace: as many as a scenario may have.
pub const MAX_PODS: u64 = 100_000_000;
/// Most nodes, all groups together: as many as a scenario may have.
pub const MAX_NODES: u64 = 10_000_000;

/// Numbers of pods and nodes that no scenario could take are told before anything is written.
fn check_sizes(spec: &TraceSpec, w: &Where<'_>) -> Result<(), TraceError> {
    let sizes = [("pods", spec.pods.unwrap_or(0)), ("arrivals.initial", spec.arrivals.initial)];
    if let Some((field, n)) = sizes.into_iter().find(|(_, n)| *n > MAX_PODS) {
        return Err(
            w.error(field, format!("{n} pods; expected at most {MAX_PODS}: is there a digit too many?"))
        );
    }
    let nodes = spec.nodes.iter().fold(0u64, |sum, group| sum.saturating_add(group.count));
    if nodes > MAX_NODES {
        let message =
            format!("{nodes} nodes; expected at most {MAX_NODES} in all: is there a digit too many?");
        return Err(w.error("nodes.count", message));
    }
    Ok(())
}

/// Reads a spec.
pub fn read_spec(path: &Path) -> Result<TraceSpec, TraceError> {
    let text = std::fs::read_to_string(path).map_err(|e| TraceError::io(path, e))?;
    let spec: TraceSpec = serde_yaml::from_str(&text).map_err(|e| TraceError::format(path, e.to_string()))?;
    let w = Where(path);
    if spec.kind != "TraceSpec" || spec.api_version != "podpace/v1" {
        return Err(w.error("kind", "apiVersion: podpace/v1 and kind: TraceSpec are expected"));
    }
    Ok(spec)
}

/// Generates a trace from the spec at `path`.
///
/// # Errors
/// [`TraceError::Format`] for a spec that is incomplete or contradicts itself.
pub fn generate(path: &Path, seed: u64, out: &Path, options: &ImportOptions) -> Result<Manifest, TraceError> {
    let spec = read_spec(path)?;
    let w = Where(path);
    let base = path.parent().unwrap_or(Path::new("."));
    let limit = spec.duration.as_ref().map(|d| w.duration("duration", Some(d))).transpose()?;
    if spec.pods.is_none() && limit.is_none() {
        return Err(w.error("pods", "missing; say how many pods, or a duration"));
    }
    if spec.sizes.is_empty() || spec.sizes.iter().all(|s| s.weight == 0) {
        return Err(w.error("sizes", "at least one with a weight above 0"));
    }
    let sizes: u128 = spec.sizes.iter().map(|s| u128::from(s.weight)).sum();
    let priorities: u128 = spec.priorities.iter().map(|p| u128::from(p.weight)).sum();
    for (field, total) in [("sizes", sizes), ("priorities", priorities)] {
        if total > u128::from(u32::MAX) {
            return Err(w.error(field, "weights of at most 4,294,967,295 together"));
        }
    }
    let streams = Streams::new(seed);
    let mut process = Process::new(&spec.arrivals, &streams, &w)?;
    if spec.pods.is_none() && matches!(process, Process::Batch { every: 0, .. }) {
        let message = "0s between batches makes pods without end at time 0; write a time above 0, or say how many `pods`";
        return Err(w.error("arrivals.every", message));
    }
    let run = Run::new(&spec.durations, Kind::Duration, base, &w)?;
    if let Some(g) = &spec.gangs
        && (!(0.0..=1.0).contains(&g.share) || g.size < 2 || g.size > 1_000_000)
    {
        return Err(w.error("gangs", "a share of 0 to 1, and a size of 2 or more"));
    }
    check_sizes(&spec, &w)?;
    let mut sink = Sink::create(out, options)?;
    sink.origin = Origin::Relative(None);
    sink.source_files.push(path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default());
    for (g, group) in spec.nodes.iter().enumerate() {
        let allocatable = w.resources("nodes.allocatable", &group.allocatable)?;
        for i in 0..group.count {
            let node = Node {
                op: NodeOp::Add,
                name: format!("node-{g}-{i:05}"),
                allocatable: allocatable.clone(),
                labels: group.labels.clone(),
                taints: String::new(),
            };
            sink.node(AT_ORIGIN, &node)?;
        }
    }
    let draws: Vec<SizeDraw> =
        spec.sizes.iter().map(|s| SizeDraw::new(s, &mut sink, base, &w)).collect::<Result<_, _>>()?;
    let weights: Vec<u64> = spec.sizes.iter().map(|s| s.weight).collect();
    let priority_weights: Vec<u64> = spec.priorities.iter().map(|p| p.weight).collect();
    let [mut sizes, mut durations, mut apps, mut gangs, mut priorities] =
        ["trace.sizes", "trace.durations", "trace.apps", "trace.gangs", "trace.priorities"]
            .map(|n| streams.stream(n));
    let (mut now, mut made) = (0u64, 0u64);
    let (mut app, mut left, mut gang_left) = (0u64, 0u64, 0u64);
    let mut pod = Pod::default();
    let batch = matches!(process, Process::Batch { .. });
    let end = limit.unwrap_or(u64::MAX);
    let mut first = true;
    loop {
        // Members of a gang are created together.
        if gang_left == 0 {
            now = if made < spec.arrivals.initial || (first && batch) { 0 } else { process.next(now, end) };
        }
        first = false;
        if gang_left == 0 && (limit.is_some_and(|l| now >= l) || spec.pods.is_some_and(|n| made >= n)) {
            break;
        }
        if made == MAX_PODS {
            let field = if spec.pods.is_some() { "pods" } else { "duration" };
            let message = format!(
                "more than {MAX_PODS} pods come of it; lower it or the rate of arrivals, or say how many `pods`"
            );
            return Err(w.error(field, message));
        }
        if left == 0 {
            app = if spec.apps.count > 0 { made % spec.apps.count } else { app + u64::from(made > 0) };
            left = if spec.apps.count > 0 || spec.apps.pods == 0 {
                1
            } else {
                // Geometric with the asked mean.
                let mut n = 1;
                while n < 1_000_000 && !apps.chance(1.0 / spec.apps.pods as f64) {
                    n += 1;
                }
                n
            };
            pod = Pod {
                app: format!("app-{app}"),
                queue: pick(&spec.queues, app),
                user: pick(&spec.users, app),
                priority: if spec.priorities.is_empty() {
                    0
                } else {
                    spec.priorities[weighted(&priority_weights, &mut priorities)].value
                },
                spec: draws[weighted(&weights, &mut sizes)].draw(&mut sink, &mut sizes),
                ..Pod::default()
            };
            if let Some(g) = &spec.gangs
                && gangs.chance(g.share)
            {
                left = g.size;
                gang_left = g.size;
                pod.task_group = "gang".to_string();
                pod.min_member = g.size as u32;
                if spec.apps.count > 0 {
                    pod.task_group = format!("gang-{made}");
                }
            }
        } else if gang_left == 0 {
            pod.spec = draws[weighted(&weights, &mut sizes)].draw(&mut sink, &mut sizes);
        }
        pod.submit = i64::try_from(now).unwrap_or(i64::MAX);
        pod.uid = format!("pod-{made}");
        pod.run_ns = run.draw(&mut durations);
        sink.pod(&pod)?;
        made += 1;
        left -= 1;
        gang_left = gang_left.saturating_sub(1);
    }
    sink.report.note(format!("generated from {} with seed {seed}", spec.name));
    let table = sink.report.table("pods");
    (table.read, table.kept) = (made, made);
    sink.finish("generate")
}

fn pick(names: &[String], i: u64) -> String {
    if names.is_empty() { String::new() } else { names[(i % names.len() as u64) as usize].clone() }
}
