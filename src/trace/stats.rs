//! What a trace is like: arrivals, sizes, durations, waits, concurrency against capacity.
//!
//! Two passes over the pods, one over nodes and outcomes; memory O(distinct specs, applications, users), never O(pods).
//! Quantiles of times come from a logarithmic histogram with 32 steps a power of two (error below 3.2 %); sizes are exact,
//! as pods share specs. Concurrency is counted in equal steps of the trace's time: with recorded outcomes from start to
//! end, otherwise as if every pod started when it was created (`assumed`: an upper bound of a cluster with room for all).

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use rustc_hash::FxHashSet;
use schemars::JsonSchema;
use serde::Serialize;

use super::error::TraceError;
use super::model::{CPU, Counts, NodeOp, Resources};
use super::native::{self, PodBatch};
use super::number::duration_text;
use super::report::thousands;

/// Steps of the time axis.
pub const STEPS: usize = 60;

/// A logarithmic histogram of times with 2^BITS steps a power of two.
#[derive(Debug, Clone, Default)]
pub struct Histogram<const BITS: u32 = 5> {
    buckets: BTreeMap<u32, u64>,
    count: u64,
    min: u64,
    max: u64,
    sum: u128,
}

impl<const BITS: u32> Histogram<BITS> {
    fn bucket(n: u64) -> u32 {
        if n < 1 << BITS {
            return n as u32;
        }
        let exponent = 63 - n.leading_zeros();
        let shift = exponent - BITS;
        ((shift + 1) << BITS) + ((n >> shift) as u32 & ((1 << BITS) - 1))
    }

    fn floor(bucket: u32) -> u64 {
        let (high, low) = (bucket >> BITS, u64::from(bucket & ((1 << BITS) - 1)));
        if high == 0 { low } else { (low + (1 << BITS)) << (high - 1) }
    }

    /// Adds a value.
    pub fn add(&mut self, n: u64) {
        *self.buckets.entry(Self::bucket(n)).or_insert(0) += 1;
        self.min = if self.count == 0 { n } else { self.min.min(n) };
        self.max = self.max.max(n);
        self.count += 1;
        self.sum += u128::from(n);
    }

    /// The sum of all values.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// The smallest and the largest value; zeros when there is none.
    pub fn range(&self) -> (u64, u64) {
        (self.min, self.max)
    }

    /// Steps in ascending order: the smallest and the largest value that fall into each, and how many there are.
    pub fn steps(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.buckets.iter().map(|(&b, &n)| (Self::floor(b), Self::floor(b + 1).wrapping_sub(1), n))
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The value below which `percent` of the values lie, at most 3.2 % too small.
    pub fn quantile(&self, percent: f64) -> u64 {
        if self.count == 0 {
            return 0;
        }
        let rank = (libm::ceil(percent / 100.0 * self.count as f64) as u64).clamp(1, self.count);
        let mut seen = 0;
        for (&bucket, &n) in &self.buckets {
            seen += n;
            if seen >= rank {
                return Self::floor(bucket).clamp(self.min, self.max);
            }
        }
        self.max
    }

    /// Summary.
    pub fn summary(&self) -> Quantiles {
        Quantiles {
            count: self.count,
            mean: self.sum.checked_div(u128::from(self.count)).unwrap_or(0) as u64,
            min: self.min,
            p50: self.quantile(50.0),
            p90: self.quantile(90.0),
            p99: self.quantile(99.0),
            max: self.max,
            doublings: doublings(self.steps().map(|(low, _, n)| (low, n))),
        }
    }
}

/// Quantiles of a quantity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Quantiles {
    /// Values.
    pub count: u64,
    /// Mean.
    pub mean: u64,
    /// Smallest.
    pub min: u64,
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Largest.
    pub max: u64,
    /// Histogram: how many values from the smallest to the largest in steps that double, 0 by itself. The first step holds
    /// `min`, step i all values with i binary digits more.
    pub doublings: Vec<u64>,
}

/// Counts by number of binary digits, from those of the smallest value to those of the largest.
fn doublings(values: impl Iterator<Item = (u64, u64)>) -> Vec<u64> {
    let mut counts = [0u64; 65];
    for (value, n) in values {
        counts[(64 - value.leading_zeros()) as usize] += n;
    }
    let first = counts.iter().position(|n| *n > 0).unwrap_or(0);
    let last = counts.iter().rposition(|n| *n > 0).map_or(first, |last| last + 1);
    counts[first..last].to_vec()
}

/// A resource: what pods ask for, and what nodes have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ResourceStats {
    /// What a pod asks for.
    pub request: Quantiles,
    /// Highest sum of requests running at a time.
    pub peak_demand: u64,
    /// Sum of requests running at the end of each step.
    pub demand: Vec<u64>,
    /// Capacity of all nodes at the end of each step.
    pub capacity: Vec<u64>,
}

/// Statistics of a trace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Stats {
    /// Format the trace came from.
    pub source: String,
    /// Rows.
    pub counts: Counts,
    /// From the first to the last creation, ns.
    pub span_ns: u64,
    /// One step of the series, ns.
    pub step_ns: u64,
    /// Pods created in each step.
    pub arrivals: Vec<u64>,
    /// Time between creations, ns.
    pub gap_ns: Quantiles,
    /// Run times, ns.
    pub run_ns: Quantiles,
    /// Pods without a run time.
    pub run_unknown: u64,
    /// Recorded waits from creation to binding, ns.
    pub wait_ns: Quantiles,
    /// By resource.
    pub resources: BTreeMap<String, ResourceStats>,
    /// Pods running at the end of each step.
    pub running: Vec<u64>,
    /// Whether starts are recorded (`recorded`) or taken to be creation (`assumed`).
    pub starts: String,
    /// Distinct applications.
    pub apps: u64,
    /// Distinct users.
    pub users: u64,
    /// Distinct queues.
    pub queues: u64,
    /// Pods in gangs.
    pub gang_pods: u64,
    /// Distinct priorities.
    pub priorities: BTreeMap<i32, u64>,
}

fn hash(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Computes the statistics of a native trace.
pub fn stats(path: &Path) -> Result<Stats, TraceError> {
    let reader = native::open(path)?;
    let specs = reader.specs()?;
    let mut s = Stats {
        source: reader.manifest().source.clone(),
        counts: reader.manifest().counts.clone(),
        ..Stats::default()
    };
    s.counts.pods = 0;
    let mut batch = PodBatch::default();
    let mut pods = reader.pods()?;
    let (mut first, mut last, mut previous) = (u64::MAX, 0u64, None);
    let (mut gaps, mut runs) = (<Histogram>::default(), <Histogram>::default());
    let mut uses = vec![0u64; specs.len()];
    let (mut apps, mut users, mut queues) =
        (FxHashSet::default(), FxHashSet::default(), FxHashSet::default());
    while pods.next_batch(&mut batch)? {
        s.counts.pods += batch.len() as u64;
        for i in 0..batch.len() {
            let t = batch.submit_ns[i];
            first = first.min(t);
            last = last.max(t);
            if let Some(p) = previous {
                gaps.add(t.saturating_sub(p));
            }
            previous = Some(t);
            match batch.run_ns[i] {
                Some(r) => runs.add(r),
                None => s.run_unknown += 1,
            }
            if let Some(n) = uses.get_mut(batch.spec_id[i] as usize) {
                *n += 1;
            }
            for (set, text) in [
                (&mut apps, batch.app.get(i)),
                (&mut users, batch.user.get(i)),
                (&mut queues, batch.queue.get(i)),
            ] {
                if !text.is_empty() {
                    set.insert(hash(text));
                }
            }
            s.gang_pods += u64::from(batch.min_member[i] > 1);
            *s.priorities.entry(batch.priority[i]).or_insert(0) += 1;
        }
    }
    (s.apps, s.users, s.queues) = (apps.len() as u64, users.len() as u64, queues.len() as u64);
    (s.gap_ns, s.run_ns) = (gaps.summary(), runs.summary());
    let first = if first == u64::MAX { 0 } else { first };
    s.span_ns = last - first;
    s.step_ns = (s.span_ns / STEPS as u64 + 1).max(1);
    let step = |t: u64| ((t.saturating_sub(first) / s.step_ns) as usize).min(STEPS - 1);
    s.arrivals = vec![0; STEPS];
    let keys: Vec<String> = {
        let mut all: Vec<String> = specs.iter().flat_map(|s| s.requests.keys().cloned()).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    // Starts and ends of each step as differences, summed up at the end.
    let mut delta: Vec<Vec<i128>> = vec![vec![0; STEPS + 1]; keys.len() + 1];
    let mut waits = <Histogram>::default();
    let mut outcomes = reader.outcomes()?;
    let mut next = outcomes.next().transpose()?;
    let recorded = next.as_ref().is_some_and(|o| o.bound_ns.is_some() || o.running_ns.is_some());
    s.starts = if recorded { "recorded" } else { "assumed" }.to_string();
    let mut pods = reader.pods()?;
    while pods.next_batch(&mut batch)? {
        for i in 0..batch.len() {
            let t = batch.submit_ns[i];
            s.arrivals[step(t)] += 1;
            let mut start = if recorded { None } else { Some(t) };
            if next.as_ref().is_some_and(|o| o.uid == batch.uid.get(i)) {
                if let Some(o) = next.take() {
                    if let (Some(c), Some(b)) = (o.created_ns, o.bound_ns) {
                        waits.add(b.saturating_sub(c));
                    }
                    if recorded {
                        start = o.running_ns.or(o.bound_ns);
                    }
                }
                next = outcomes.next().transpose()?;
            }
            // What starts after the last creation lies beyond the time axis.
            let Some(start) = start.filter(|s| *s <= last) else { continue };
            let from = step(start);
            let to = match batch.run_ns[i] {
                Some(r) if start.saturating_add(r) <= last => step(start.saturating_add(r)),
                _ => STEPS,
            };
            let mut change = |k: usize, by: u64| {
                delta[k][from] += i128::from(by);
                delta[k][to] -= i128::from(by);
            };
            change(keys.len(), 1);
            if let Some(spec) = specs.get(batch.spec_id[i] as usize) {
                for (k, key) in keys.iter().enumerate() {
                    if let Some(&n) = spec.requests.get(key) {
                        change(k, n);
                    }
                }
            }
        }
    }
    s.wait_ns = waits.summary();
    let series = |d: &[i128]| -> Vec<u64> {
        let mut sum = 0i128;
        d[..STEPS]
            .iter()
            .map(|n| {
                sum += n;
                u64::try_from(sum).unwrap_or(0)
            })
            .collect()
    };
    s.running = series(&delta[keys.len()]);
    let mut capacity: BTreeMap<String, Vec<i128>> = BTreeMap::new();
    let mut nodes: BTreeMap<String, Resources> = BTreeMap::new();
    for row in reader.nodes()? {
        let n = row?;
        let at = step(n.t_ns);
        let old = nodes.remove(&n.name).unwrap_or_default();
        for (k, v) in &old {
            capacity.entry(k.clone()).or_insert_with(|| vec![0; STEPS + 1])[at] -= i128::from(*v);
        }
        if n.op != NodeOp::Remove {
            for (k, v) in &n.allocatable {
                capacity.entry(k.clone()).or_insert_with(|| vec![0; STEPS + 1])[at] += i128::from(*v);
            }
            nodes.insert(n.name, n.allocatable);
        }
    }
    for (k, key) in keys.iter().enumerate() {
        let mut sizes: Vec<(u64, u64)> = specs
            .iter()
            .zip(&uses)
            .map(|(spec, n)| (spec.requests.get(key).copied().unwrap_or(0), *n))
            .filter(|(_, n)| *n > 0)
            .collect();
        sizes.sort_unstable();
        let demand = series(&delta[k]);
        s.resources.insert(
            key.clone(),
            ResourceStats {
                request: weighted(&sizes),
                peak_demand: demand.iter().copied().max().unwrap_or(0),
                demand,
                capacity: capacity.get(key).map(|d| series(d)).unwrap_or_default(),
            },
        );
    }
    Ok(s)
}

/// Quantiles of (value, how often), sorted by value.
fn weighted(sizes: &[(u64, u64)]) -> Quantiles {
    let count: u64 = sizes.iter().map(|s| s.1).sum();
    if count == 0 {
        return Quantiles::default();
    }
    let at = |percent: u64| {
        let rank = (u128::from(count) * u128::from(percent)).div_ceil(100).max(1) as u64;
        let mut seen = 0;
        sizes
            .iter()
            .find(|(_, n)| {
                seen += n;
                seen >= rank
            })
            .map_or(0, |s| s.0)
    };
    let sum: u128 = sizes.iter().map(|(v, n)| u128::from(*v) * u128::from(*n)).sum();
    Quantiles {
        count,
        mean: (sum / u128::from(count)) as u64,
        min: sizes[0].0,
        p50: at(50),
        p90: at(90),
        p99: at(99),
        max: sizes[sizes.len() - 1].0,
        doublings: doublings(sizes.iter().copied()),
    }
}

/// A series as a line of blocks, scaled to its highest value.
pub fn sparkline(values: &[u64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let max = values.iter().copied().max().unwrap_or(0);
    values
        .iter()
        .map(|&v| {
            if v == 0 || max == 0 {
                return ' ';
            }
            BLOCKS[(u128::from(v) * 8 / (u128::from(max) + 1)).min(7) as usize]
        })
        .collect()
}

/// A resource's name without the unit that its amounts are counted in: they are shown as cores and as Mi or Gi.
fn label(key: &str) -> &str {
    if key == CPU { "cpu" } else { key.strip_suffix("_bytes").unwrap_or(key) }
}

fn amount(key: &str, n: u64) -> String {
    match key {
        CPU => format!("{}.{:03}", thousands(n / 1000), n % 1000),
        k if k.ends_with("_bytes") => {
            let mib = n >> 20;
            if mib >= 10 << 10 {
                format!("{} Gi", thousands(mib >> 10))
            } else {
                format!("{} Mi", thousands(mib))
            }
        }
        _ => thousands(n),
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counts;
        writeln!(f, "source        {}", self.source)?;
        writeln!(
            f,
            "rows          {} pods, {} specs, {} nodes, {} events, {} outcomes",
            thousands(c.pods),
            thousands(c.specs),
            thousands(c.nodes),
            thousands(c.events),
            thousands(c.outcomes)
        )?;
        writeln!(
            f,
            "belonging     {} applications, {} queues, {} users, {} priorities, {} pods in gangs",
            thousands(self.apps),
            thousands(self.queues),
            thousands(self.users),
            self.priorities.len(),
            thousands(self.gang_pods)
        )?;
        writeln!(
            f,
            "span          {} in steps of {}",
            duration_text(self.span_ns),
            duration_text(self.step_ns)
        )?;
        writeln!(
            f,
            "arrivals      {}  peak {} a step",
            sparkline(&self.arrivals),
            thousands(self.arrivals.iter().copied().max().unwrap_or(0))
        )?;
        writeln!(
            f,
            "running       {}  peak {} ({} starts)",
            sparkline(&self.running),
            thousands(self.running.iter().copied().max().unwrap_or(0)),
            self.starts
        )?;
        writeln!(f)?;
        let width = self.resources.keys().map(|key| label(key).len()).max().unwrap_or(0).max(13);
        writeln!(
            f,
            "{:width$} {:>12} {:>12} {:>12} {:>12} {:>12}  smallest to largest, doubling",
            "", "mean", "p50", "p90", "p99", "max"
        )?;
        for (name, q) in [("gap", &self.gap_ns), ("run time", &self.run_ns), ("wait", &self.wait_ns)] {
            if q.count > 0 {
                writeln!(
                    f,
                    "{name:width$} {:>12} {:>12} {:>12} {:>12} {:>12}  {}",
                    duration_text(q.mean),
                    duration_text(q.p50),
                    duration_text(q.p90),
                    duration_text(q.p99),
                    duration_text(q.max),
                    sparkline(&q.doublings)
                )?;
            }
        }
        if self.run_unknown > 0 {
            writeln!(f, "{:width$} {} pods have no run time", "", thousands(self.run_unknown))?;
        }
        for (key, r) in &self.resources {
            let q = &r.request;
            writeln!(
                f,
                "{:width$} {:>12} {:>12} {:>12} {:>12} {:>12}  {}",
                label(key),
                amount(key, q.mean),
                amount(key, q.p50),
                amount(key, q.p90),
                amount(key, q.p99),
                amount(key, q.max),
                sparkline(&q.doublings)
            )?;
        }
        writeln!(f)?;
        for (key, r) in &self.resources {
            let capacity = r.capacity.iter().copied().max().unwrap_or(0);
            let of = if capacity > 0 {
                format!(
                    " of {} ({:.1} %)",
                    amount(key, capacity),
                    r.peak_demand as f64 / capacity as f64 * 100.0
                )
            } else {
                " (no capacity in the trace)".to_string()
            };
            let (name, peak) = (label(key), amount(key, r.peak_demand));
            writeln!(f, "{name:width$} {}  peak {peak}{of}", sparkline(&r.demand))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn histogram_quantiles_are_close(mut values in prop::collection::vec(any::<u64>(), 1..300)) {
            let mut h = <Histogram>::default();
            for v in &values {
                h.add(*v);
            }
            values.sort_unstable();
            for (percent, index) in [(50.0, (values.len() - 1) / 2), (100.0, values.len() - 1)] {
                let (got, real) = (h.quantile(percent), values[index]);
                prop_assert!(got <= real && real - got <= real / 32 + 1, "{percent}: {got} {real}");
            }
            prop_assert_eq!(h.summary().max, *values.last().unwrap());
        }
    }

    #[test]
    fn histograms_double() {
        let one = |v: u64| (v, 1);
        assert_eq!(doublings([0, 1, 2, 3, 4, 9].into_iter().map(one)), [1, 1, 2, 1, 1]);
        assert_eq!(doublings([1000, 1000, 4000].into_iter().map(one)), [2, 0, 1]);
        assert_eq!(doublings([u64::MAX].into_iter().map(one)), [1]);
        assert!(doublings(std::iter::empty()).is_empty());
    }

    #[test]
    fn sparkline_scales_to_its_peak() {
        assert_eq!(sparkline(&[0, 1, 7, 8]), " ▁▇█");
        assert_eq!(sparkline(&[]), "");
    }
}
