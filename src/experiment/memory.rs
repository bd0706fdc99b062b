//! How much memory a simulation takes, before it runs, and a gate that lets in as many as fit.
//!
//! What grows in a simulation are its pods (timelines, the schedulers' own columns, pending ends of run times, then the sorted
//! times of the summary) and its nodes (tables of the schedulers, bytes a class of pods); the rest is a few megabytes. The
//! constants are upper ones for all schedulers, from peak memory of real runs (`tests/sweep/memory.rs` measures them); an
//! estimate above the truth lets in fewer runs at once and costs time, never memory.
//!
//! A workload that runs share is counted once for each of them: the estimate errs on the side of more.
//!
//! Left out: memory of reading traces and of writing tables.
//!
//! Cost: O(1).
use std::sync::{Condvar, Mutex, PoisonError};

use crate::scenario::plan::{Lifetimes, Plan};
use crate::scenario::pods_of;
use crate::scenario::spec::ScenarioSpec;

/// A simulation of nothing: profiles, telemetry, metrics.
const BASE_BYTES: u64 = 8 << 20;
/// Timeline (64), scheduler (20), workload (13), sorted times of the summary (24), requests and queues while they wait (60).
const POD_BYTES: u64 = 190;
/// The pending end of a run time in the queue of events, which doubles as it grows, and its duration.
const ENDING_POD_BYTES: u64 = 56;
/// Name, tables, order, labels; a byte a class of pods for some hundreds of classes.
const NODE_BYTES: u64 = 700;

/// About how many bytes a simulation of the plan takes at its peak.
#[must_use]
pub fn estimate_bytes(plan: &Plan) -> u64 {
    let (pods, nodes) = (plan.cluster.pods.len() as u64, plan.cluster.nodes.len() as u64);
    estimate(pods, nodes, plan.lifetimes != Lifetimes::Endless)
}

/// The same before a scenario is resolved, which takes memory itself: of the nodes and pods that it says itself, and not
/// of its traces and manifests.
#[must_use]
pub fn estimate_of_scenario(scenario: &ScenarioSpec) -> u64 {
    let nodes = scenario.cluster.nodes.iter().fold(0u64, |sum, group| sum.saturating_add(group.count));
    estimate(pods_of(scenario), nodes, false)
}

fn estimate(pods: u64, nodes: u64, ends: bool) -> u64 {
    let ending = if ends { ENDING_POD_BYTES } else { 0 };
    let of_pods = pods.saturating_mul(POD_BYTES + ending);
    BASE_BYTES.saturating_add(of_pods).saturating_add(nodes.saturating_mul(NODE_BYTES))
}

/// Lets in work as long as what is inside fits.
#[derive(Debug)]
pub struct Gate {
    limit_bytes: u64,
    inside: Mutex<u64>,
    left: Condvar,
}

/// Room that was taken; dropping it gives it back.
#[derive(Debug)]
pub struct Pass<'a> {
    gate: &'a Gate,
    bytes: u64,
}

impl Gate {
    /// A gate for so many bytes.
    #[must_use]
    pub const fn new(limit_bytes: u64) -> Self {
        Self { limit_bytes, inside: Mutex::new(0), left: Condvar::new() }
    }

    /// The limit.
    #[must_use]
    pub const fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Waits until there is room; none if there never will be. Whoever is inside must not wait here again.
    pub fn enter(&self, bytes: u64) -> Option<Pass<'_>> {
        if bytes > self.limit_bytes {
            return None;
        }
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        while *inside + bytes > self.limit_bytes {
            inside = self.left.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
        *inside += bytes;
        Some(Pass { gate: self, bytes })
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *self.gate.inside.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.gate.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use rayon::prelude::*;

    use super::*;

    #[test]
    fn no_more_is_inside_than_fits() {
        let gate = Gate::new(10);
        let (inside, most) = (AtomicU64::new(0), AtomicU64::new(0));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(8).build().unwrap();
        pool.install(|| {
            (0..200_u64).into_par_iter().for_each(|i| {
                let bytes = i % 7 + 1;
                let pass = gate.enter(bytes).unwrap();
                let now = inside.fetch_add(bytes, Ordering::SeqCst) + bytes;
                most.fetch_max(now, Ordering::SeqCst);
                std::thread::yield_now();
                inside.fetch_sub(bytes, Ordering::SeqCst);
                drop(pass);
            });
        });
        assert!((7..=10).contains(&most.into_inner()));
        assert_eq!(*gate.inside.lock().unwrap(), 0);
        assert!(gate.enter(11).is_none());
    }
}
