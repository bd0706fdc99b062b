//! The largest sizes that a scenario may ask for, in one place.
//!
//! They are far above any real cluster (Kubernetes supports 5,000 nodes and 150,000 pods) and far below what would
//! exhaust memory or overflow a counter, so that a slip of the keyboard is told at once and not after an hour.

use crate::engine::host;

/// Nodes of a cluster, all groups together.
pub const NODES: u64 = 10_000_000;
/// Pods of a workload, all groups together.
pub const PODS: u64 = 100_000_000;
/// Deployments, or Jobs, or applications of a workload.
pub const APPS: u64 = 1_000_000;
/// Groups of nodes, or of pods, or queues.
pub const GROUPS: usize = 10_000;
/// Cores of a host: as many as the engine shares out.
pub const HOST_CORES: u64 = host::MAX_CORES as u64;
/// Speed of a host, in parts per million of the reference core: as fast as the engine's hosts are.
pub const HOST_SPEED_PPM: u64 = host::MAX_SPEED_PPM as u64;
/// CPU of one node or pod, in millicores: a million cores.
pub const NODE_CPU_MILLICORES: u64 = 1_000_000_000;
/// Pods of one node.
pub const NODE_PODS: u64 = 1_000_000;
/// Any other resource of one node or pod, in its unit: 1 EiB of memory.
pub const RESOURCE_UNITS: u64 = 1 << 60;
/// A resource of all nodes, or of all pods, added up, where a scheduler adds it up: the largest of Kubernetes' quantities.
pub const RESOURCE_TOTAL: u64 = i64::MAX as u64;
/// Scale of a trace's time, load, nodes or capacity, in parts per million: ten thousand times.
pub const TRANSFORM_PPM: u64 = 10_000_000_000;
/// Zones of a node group.
pub const ZONES: u64 = 100_000;
/// Threads, seats, streams, workers, bursts and other small counts.
pub const SMALL_COUNT: u64 = 10_000_000;
/// A rate in millionths per second: ten million per second.
pub const RATE_MICRO: u64 = 10_000_000_000_000;
/// Members of an etcd cluster.
pub const ETCD_MEMBERS: u64 = 99;
/// Seeds of one run of an experiment.
pub const SEEDS: u64 = 100_000;
/// Runs of one experiment, points of a sweep.
pub const RUNS: u64 = 10_000;
/// Runs of a sweep: its points times their seeds.
pub const SWEEP_RUNS: u64 = 1_000_000;
/// Faults of one entry of `faults` over the whole run, by their mean times.
pub const OCCURRENCES: u64 = 1_000_000;
/// Machines, nodes and pods that one entry of `faults` hits over the whole run, by its mean times.
pub const HITS: u64 = 100_000_000;
/// The shortest mean time between two faults, in nanoseconds: 1 ms.
pub const FAULT_GAP_NS: u64 = 1_000_000;
/// Any duration of a scenario, in nanoseconds: 10 years.
pub const DURATION_NS: u64 = 10 * 365 * 86_400 * 1_000_000_000;

/// Size of one file, in bytes.
pub const FILE_BYTES: u64 = 8 * 1024 * 1024;
/// Nesting of mappings and lists.
pub const DEPTH: usize = 64;
/// Keys and values of one document after its aliases are expanded.
pub const VALUES: usize = 500_000;
/// Errors that are listed before the rest is left out.
pub const ERRORS: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::generate;

    #[test]
    fn generated_traces_are_no_larger_than_scenarios() {
        assert_eq!((generate::MAX_PODS, generate::MAX_NODES), (PODS, NODES));
    }
}
