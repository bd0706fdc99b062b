//! `node_fill.csv`: how full the nodes are over virtual time.
//!
//! A node's fill is the larger of its requested CPU and memory, as a share of what is allocatable, counted from the
//! bindings as the API server stores them. Each row says how many nodes are empty and how many lie in each tenth, at
//! evenly spaced times.
//!
//! Left out: extended resources; nodes that come and go while the run lasts count from its beginning to its end.
//!
//! Cost: O(pods log pods) for their order, O(1) a binding or end.
use std::io::{self, Write};

use super::even_rows;
use super::simulation::Finished;
use crate::cluster::{NO_NODE, PodId};
use crate::engine::Nanos;

/// Empty, ten tenths, and more than full (never, if the scheduler does its work).
const BINS: usize = 12;
const NAMES: [&str; BINS] = [
    "empty",
    "to_10_percent",
    "to_20_percent",
    "to_30_percent",
    "to_40_percent",
    "to_50_percent",
    "to_60_percent",
    "to_70_percent",
    "to_80_percent",
    "to_90_percent",
    "to_100_percent",
    "over_100_percent",
];

/// The bin of a share of `used` in `allocatable`; nothing fits where nothing is allocatable.
fn bin(used: u64, allocatable: u64) -> usize {
    match (used, allocatable) {
        (0, _) => 0,
        (_, 0) => BINS - 1,
        _ => usize::try_from((u128::from(used) * 10).div_ceil(u128::from(allocatable)))
            .map_or(BINS - 1, |bin| bin.min(BINS - 1)),
    }
}

/// Writes the table.
///
/// # Errors
/// The writer's.
pub fn write(out: &mut (dyn Write + Send), run: &Finished) -> io::Result<()> {
    let (pods, nodes) = (&run.cluster.pods, &run.cluster.nodes);
    // Time, pod, whether it leaves: who comes and leaves at once comes first.
    let mut changes: Vec<(Nanos, PodId, bool)> = Vec::new();
    for pod in (0..pods.len() as PodId).filter(|pod| pods.node(*pod) != NO_NODE) {
        let t = pods.timeline(pod);
        // Pods that were running when the run began have no times.
        changes.push((if t.bound_ns == u64::MAX { 0 } else { t.bound_ns }, pod, false));
        if t.finished_ns != u64::MAX {
            changes.push((t.finished_ns, pod, true));
        }
    }
    changes.sort_unstable();
    let mut used = vec![(0u64, 0u64); nodes.len()];
    let mut counts = [0u64; BINS];
    counts[0] = nodes.len() as u64;
    let mut changes = changes.into_iter().peekable();
    even_rows::write(out, NAMES.map(str::to_owned), run.kernel.now(), |at| {
        while let Some((_, pod, leaves)) = changes.next_if(|(time, ..)| *time <= at) {
            let node = pods.node(pod);
            let allocatable = &nodes.template(node).allocatable;
            let requests = &pods.spec(pod).requests;
            let (cpu, memory) = &mut used[node as usize];
            let bin_of = |cpu: u64, memory: u64| {
                bin(cpu, allocatable.cpu_millicores).max(bin(memory, allocatable.memory_bytes))
            };
            counts[bin_of(*cpu, *memory)] -= 1;
            if leaves {
                *cpu -= requests.cpu_millicores;
                *memory -= requests.memory_bytes;
            } else {
                *cpu += requests.cpu_millicores;
                *memory += requests.memory_bytes;
            }
            counts[bin_of(*cpu, *memory)] += 1;
        }
        counts
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenths_are_closed_at_their_upper_end() {
        let bins: Vec<usize> = [0, 1, 10, 11, 99, 100, 101].iter().map(|used| bin(*used, 100)).collect();
        assert_eq!(bins, [0, 1, 1, 2, 10, 10, 11]);
        assert_eq!(bin(0, 0), 0);
        assert_eq!(bin(1, 0), 11);
    }
}
