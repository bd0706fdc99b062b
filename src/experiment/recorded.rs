//! Recorded waits beside simulated ones, where the workload is a trace that recorded some.
//!
//! A pod is compared when the trace has its creation and its binding (or its start, where bindings are not on record), and
//! the simulation bound (started) it too. The wait is the time between the two, on each side in its own clock; the same
//! pods are on both sides. Pods that only one side placed are counted beside.
//!
//! **Makespan**: from the first creation to the last binding (start) of the compared pods.
//! **Rank agreement**: Spearman's correlation of the waits, equal waits sharing their mean rank: 1 where the same pods wait
//! longest, 0 where there is no relation; absent if all waits of one side are equal. **Within a factor of 2**: share of the
//! pods whose longer wait is at most twice the shorter one, or a second longer if all recorded waits are whole seconds.
//!
//! Recorded waits are of another scheduler, with its own policies (fair shares, reservations, back-fill), on nodes that a
//! trace describes in part; the simulated ones are those of the model. Equal numbers are not to be expected, and the
//! simulation never reads the recorded ones.
//!
//! Ranks are doubled integers and sums are integers: same bytes everywhere. Cost: O(pods log pods).
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::simulation::Finished;
use crate::cluster::PodId;
use crate::engine::{Nanos, SECOND};
use crate::measure::Metrics;
use crate::measure::metrics::quantile;
use crate::scenario::plan::RecordedPod;

const NEVER: Nanos = u64::MAX;

/// Waits of one side, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Waits {
    /// Mean.
    pub mean_s: f64,
    /// Median.
    pub p50_s: f64,
    /// 90th percentile.
    pub p90_s: f64,
    /// 99th percentile.
    pub p99_s: f64,
    /// Largest.
    pub max_s: f64,
    /// First creation to last binding.
    pub makespan_s: f64,
}

/// Recorded beside simulated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Pods that both sides placed.
    pub pods: u64,
    /// Pods that only the record placed.
    pub only_recorded: u64,
    /// Pods that only the simulation placed, though something about them is on record.
    pub only_simulated: u64,
    /// What ends a wait: `bound`, or `started` where bindings are not on record.
    pub until: String,
    /// As recorded.
    pub recorded: Waits,
    /// As simulated.
    pub simulated: Waits,
    /// Spearman's rank correlation of the waits.
    pub rank_correlation: Option<f64>,
    /// Share of pods whose waits are within a factor of 2, or `tolerance_s`.
    pub within_factor_2: f64,
    /// Waits that differ by no more are near: 1 where all recorded waits are whole seconds, else 0.
    pub tolerance_s: f64,
}

/// Compares a run with what its trace recorded; none if that says nothing about waits.
#[must_use]
pub fn compare(run: &Finished, recorded: &[RecordedPod]) -> Option<Comparison> {
    let bindings = recorded.iter().any(|r| r.created_ns != NEVER && r.bound_ns != NEVER);
    let end = |bound, running| if bindings { bound } else { running };
    let mut both: Vec<(Nanos, Nanos)> = Vec::new();
    // First creation and last end of each side.
    let (mut spans, mut only_recorded, mut only_simulated) = ([(NEVER, 0); 2], 0, 0);
    for (pod, r) in recorded.iter().enumerate().filter(|(_, r)| **r != RecordedPod::NOTHING) {
        let t = run.cluster.pods.timeline(pod as PodId);
        let sides =
            [(r.created_ns, end(r.bound_ns, r.running_ns)), (t.created_ns, end(t.bound_ns, t.running_ns))];
        match sides.map(|(from, to)| from != NEVER && to != NEVER) {
            [true, true] => {
                for (span, (from, to)) in spans.iter_mut().zip(sides) {
                    *span = (span.0.min(from), span.1.max(to));
                }
                let [recorded, simulated] = sides.map(|(from, to)| to.saturating_sub(from));
                both.push((recorded, simulated));
            }
            [true, false] => only_recorded += 1,
            [false, true] => only_simulated += 1,
            [false, false] => {}
        }
    }
    if both.is_empty() {
        return None;
    }
    let side = |wait: fn(&(Nanos, Nanos)) -> Nanos, span: (Nanos, Nanos)| {
        let mut waits: Vec<Nanos> = both.iter().map(wait).collect();
        waits.sort_unstable();
        let sum: u128 = waits.iter().map(|w| u128::from(*w)).sum();
        let at = |q: u64| seconds(quantile(&waits, q).unwrap_or(0));
        Waits {
            mean_s: sum as f64 / waits.len() as f64 / SECOND as f64,
            p50_s: at(500),
            p90_s: at(900),
            p99_s: at(990),
            max_s: at(1000),
            makespan_s: seconds(span.1.saturating_sub(span.0)),
        }
    };
    let tolerance_ns =
        if both.iter().all(|(recorded, _)| recorded.is_multiple_of(SECOND)) { SECOND } else { 0 };
    let near = both.iter().filter(|(a, b)| {
        let (low, high) = (*a.min(b), *a.max(b));
        high - low <= tolerance_ns || high / 2 <= low
    });
    Some(Comparison {
        pods: both.len() as u64,
        only_recorded,
        only_simulated,
        until: if bindings { "bound" } else { "started" }.to_owned(),
        recorded: side(|w| w.0, spans[0]),
        simulated: side(|w| w.1, spans[1]),
        rank_correlation: spearman(&both),
        within_factor_2: near.count() as f64 / both.len() as f64,
        tolerance_s: seconds(tolerance_ns),
    })
}

fn seconds(ns: Nanos) -> f64 {
    ns as f64 / SECOND as f64
}

/// Twice the ranks, equal values sharing their mean rank: whole numbers.
fn doubled_ranks(values: &[Nanos]) -> Vec<i128> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by_key(|i| values[*i]);
    let mut ranks = vec![0; values.len()];
    let mut from = 0;
    while from < order.len() {
        let mut to = from + 1;
        while to < order.len() && values[order[to]] == values[order[from]] {
            to += 1;
        }
        for i in &order[from..to] {
            ranks[*i] = (from + to + 1) as i128;
        }
        from = to;
    }
    ranks
}

/// Spearman's rank correlation; none if one side does not vary.
fn spearman(pairs: &[(Nanos, Nanos)]) -> Option<f64> {
    let (a, b): (Vec<Nanos>, Vec<Nanos>) = pairs.iter().copied().unzip();
    let (a, b) = (doubled_ranks(&a), doubled_ranks(&b));
    // The mean of doubled ranks is n + 1.
    let mean = a.len() as i128 + 1;
    let product =
        |x: &[i128], y: &[i128]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<i128>();
    let (xx, yy) = (product(&a, &a), product(&b, &b));
    (xx > 0 && yy > 0).then(|| product(&a, &b) as f64 / (libm::sqrt(xx as f64) * libm::sqrt(yy as f64)))
}

impl Comparison {
    /// Adds its numbers to the metrics, under `recorded.` and `simulated.`.
    pub fn add_to(&self, metrics: &mut Metrics) {
        metrics.set("recorded.pods", self.pods as f64);
        for (side, waits) in [("recorded", &self.recorded), ("simulated", &self.simulated)] {
            for (name, value) in [
                ("wait.mean_s", waits.mean_s),
                ("wait.p50_s", waits.p50_s),
                ("wait.p90_s", waits.p90_s),
                ("wait.p99_s", waits.p99_s),
                ("wait.max_s", waits.max_s),
                ("makespan_s", waits.makespan_s),
            ] {
                metrics.set(format!("{side}.{name}"), value);
            }
        }
        if let Some(rank) = self.rank_correlation {
            metrics.set("recorded.rank_correlation", rank);
        }
        metrics.set("recorded.within_factor_2", self.within_factor_2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_their_rank() {
        assert_eq!(doubled_ranks(&[5, 1, 5, 9]), [5, 2, 5, 8]);
    }

    #[test]
    fn rank_correlation_of_known_orders() {
        let pairs = |b: [u64; 4]| [1u64, 2, 3, 4].into_iter().zip(b).collect::<Vec<_>>();
        assert!((spearman(&pairs([10, 20, 30, 40])).unwrap() - 1.0).abs() < 1e-12);
        assert!((spearman(&pairs([4, 3, 2, 1])).unwrap() + 1.0).abs() < 1e-12);
        assert!((spearman(&pairs([2, 1, 4, 3])).unwrap() - 0.6).abs() < 1e-12);
        assert_eq!(spearman(&pairs([7, 7, 7, 7])), None);
    }
}
