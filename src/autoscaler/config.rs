//! What an autoscaler is told: its flags, and the machines that it may ask for.
//!
//! Defaults are those of cluster-autoscaler 1.36.1 (`config/flags/flags.go`, `config/const.go`) and of Karpenter 1.14.1
//! (`pkg/operator/options`, `pkg/apis/v1/nodepool.go`). Prices are whole micro-dollars an hour, so that what nodes cost is a sum
//! of integers.
//!
//! Cost: none.
use std::ops::Range;

use crate::cluster::Amount;
use crate::engine::random::LogNormal;
use crate::engine::{Nanos, Rng, SECOND};

const MINUTE: Nanos = 60 * SECOND;

/// How long a machine takes from the request to the registration of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// Always so long, ns.
    Fixed(Nanos),
    /// Log-normal by median and 99th percentile, ns.
    Quantiles(Nanos, Nanos),
    /// Uniform between two spans, ns.
    Uniform(Nanos, Nanos),
}

impl Delay {
    /// Draws one, ns.
    pub fn draw(self, rng: &mut Rng) -> Nanos {
        match self {
            Self::Fixed(span) => span,
            Self::Quantiles(p50, p99) => LogNormal::new(p50, p99).sample(rng),
            Self::Uniform(low, high) => rng.uniform_span(low, high),
        }
    }
}

/// A kind of machine: what its node is, and what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineKind {
    /// First part of its nodes' names.
    pub name: String,
    /// Index of their template.
    pub template: u32,
    /// Their zone.
    pub zone: Option<u32>,
    /// Micro-dollars an hour.
    pub price_micro: u64,
}

/// Bounds and rank of a node group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeGroup {
    /// Least nodes.
    pub min: u32,
    /// Most nodes.
    pub max: u32,
    /// Its priority for the expander of that name; none: the expander's ConfigMap does not name the group.
    pub priority: Option<i64>,
}

/// How cluster-autoscaler chooses among node groups that would help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expander {
    /// Any.
    Random,
    /// Helps the most pods.
    MostPods,
    /// Leaves the least share of CPU and memory unused.
    LeastWaste,
    /// Needs the fewest nodes.
    LeastNodes,
    /// Has the highest priority.
    Priority,
}

/// Flags of scale-down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleDown {
    /// `--scale-down-enabled`.
    pub enabled: bool,
    /// `--scale-down-unneeded-time`, ns.
    pub unneeded_ns: Nanos,
    /// `--scale-down-unready-time`, ns.
    pub unready_ns: Nanos,
    /// `--scale-down-delay-after-add`, ns.
    pub after_add_ns: Nanos,
    /// `--scale-down-delay-after-delete`, ns.
    pub after_delete_ns: Nanos,
    /// `--scale-down-utilization-threshold`, parts per million.
    pub threshold_ppm: u64,
    /// `--max-scale-down-parallelism`.
    pub parallelism: u32,
    /// `--max-drain-parallelism`.
    pub drain_parallelism: u32,
    /// `--max-pod-eviction-time`, ns.
    pub eviction_ns: Nanos,
    /// `--max-graceful-termination-sec`, ns.
    pub graceful_ns: Nanos,
    /// `--unremovable-node-recheck-timeout`, ns.
    pub recheck_ns: Nanos,
    /// `--node-delete-delay-after-taint`, ns.
    pub delay_after_taint_ns: Nanos,
    /// `--max-bulk-soft-taint-count`.
    pub soft_taints: u32,
    /// `--skip-nodes-with-system-pods`.
    pub skip_system_pods: bool,
}

impl Default for ScaleDown {
    fn default() -> Self {
        Self {
            enabled: true,
            unneeded_ns: 10 * MINUTE,
            unready_ns: 20 * MINUTE,
            after_add_ns: 10 * MINUTE,
            after_delete_ns: 0,
            threshold_ppm: 500_000,
            parallelism: 10,
            drain_parallelism: 1,
            eviction_ns: 2 * MINUTE,
            graceful_ns: 10 * MINUTE,
            recheck_ns: 5 * MINUTE,
            delay_after_taint_ns: 5 * SECOND,
            soft_taints: 10,
            skip_system_pods: true,
        }
    }
}

/// cluster-autoscaler's settings; group i is machine kind i.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterAutoscalerConfig {
    /// `--scan-interval`, ns.
    pub scan_interval_ns: Nanos,
    /// `--frequent-loops-enabled`.
    pub frequent_loops: bool,
    /// `--new-pod-scale-up-delay`, ns.
    pub new_pod_delay_ns: Nanos,
    /// `--expander`.
    pub expanders: Vec<Expander>,
    /// `--max-node-provision-time`, ns.
    pub max_provision_ns: Nanos,
    /// `--max-nodes-total`; 0: no limit.
    pub max_nodes_total: u32,
    /// `--max-nodes-per-scaleup`.
    pub max_nodes_per_scale_up: u32,
    /// `--expendable-pods-priority-cutoff`.
    pub expendable_cutoff: i32,
    /// `--initial-node-group-backoff-duration`, ns.
    pub backoff_ns: Nanos,
    /// `--max-node-group-backoff-duration`, ns.
    pub max_backoff_ns: Nanos,
    /// `--node-group-backoff-reset-timeout`, ns.
    pub backoff_reset_ns: Nanos,
    /// Scale-down.
    pub scale_down: ScaleDown,
    /// Node groups.
    pub groups: Vec<NodeGroup>,
}

impl Default for ClusterAutoscalerConfig {
    fn default() -> Self {
        Self {
            scan_interval_ns: 10 * SECOND,
            frequent_loops: true,
            new_pod_delay_ns: 0,
            expanders: vec![Expander::LeastWaste],
            max_provision_ns: 15 * MINUTE,
            max_nodes_total: 0,
            max_nodes_per_scale_up: 1000,
            expendable_cutoff: -10,
            backoff_ns: 5 * MINUTE,
            max_backoff_ns: 30 * MINUTE,
            backoff_reset_ns: 180 * MINUTE,
            scale_down: ScaleDown::default(),
            groups: Vec::new(),
        }
    }
}

/// Which of Karpenter's nodes may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsolidationPolicy {
    /// Those without pods.
    WhenEmpty,
    /// Those, too, whose pods fit elsewhere, or on fewer or cheaper machines.
    WhenEmptyOrUnderutilized,
}

/// Why Karpenter disrupts a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Reason {
    /// It has no pods.
    Empty,
    /// Its pods fit elsewhere.
    Underutilized,
}

/// A disruption budget of a NodePool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// So many nodes at a time, or such a share of them, rounded up.
    pub nodes: Amount,
    /// For these reasons; none: for all.
    pub reasons: Option<Vec<Reason>>,
}

/// A NodePool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePool {
    /// Name.
    pub name: String,
    /// Higher ones are tried first.
    pub weight: u32,
    /// Kinds of its machines, in the order of the scenario.
    pub kinds: Range<u32>,
    /// `limits.cpu`, millicores; none: no limit.
    pub limit_cpu: Option<u64>,
    /// `limits.memory`, bytes.
    pub limit_memory: Option<u64>,
    /// `limits.nodes`.
    pub limit_nodes: Option<u64>,
    /// `consolidateAfter`, ns; none: `Never`.
    pub consolidate_after_ns: Option<Nanos>,
    /// `consolidationPolicy`.
    pub policy: ConsolidationPolicy,
    /// `budgets`.
    pub budgets: Vec<Budget>,
}

impl NodePool {
    /// Nodes that may be disrupted at a time, of so many (`GetAllowedDisruptionsByReason`).
    #[must_use]
    pub fn allowed(&self, nodes: u64, reason: Reason) -> u64 {
        let of = |budget: &&Budget| budget.reasons.as_ref().is_none_or(|reasons| reasons.contains(&reason));
        self.budgets.iter().filter(of).map(|budget| budget.nodes.of(nodes)).min().unwrap_or(u64::MAX)
    }
}

/// Karpenter's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KarpenterConfig {
    /// `BATCH_IDLE_DURATION`, ns.
    pub batch_idle_ns: Nanos,
    /// `BATCH_MAX_DURATION`, ns.
    pub batch_max_ns: Nanos,
    /// NodePools.
    pub pools: Vec<NodePool>,
}

impl KarpenterConfig {
    /// Pools in the order in which they are tried: by weight, then by name (`OrderByWeight`).
    #[must_use]
    pub fn by_weight(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.pools.len()).collect();
        order.sort_by_key(|at| (std::cmp::Reverse(self.pools[*at].weight), &self.pools[*at].name));
        order
    }

    /// The pool of a kind of machines.
    #[must_use]
    pub fn pool_of(&self, kind: u32) -> usize {
        self.pools.iter().position(|pool| pool.kinds.contains(&kind)).unwrap_or(0)
    }
}

/// Which autoscaler, with its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Model {
    /// cluster-autoscaler.
    ClusterAutoscaler(ClusterAutoscalerConfig),
    /// Karpenter.
    Karpenter(KarpenterConfig),
}

/// All that an autoscaler is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which, and its settings.
    pub model: Model,
    /// Machines that it may ask for.
    pub kinds: Vec<MachineKind>,
    /// Nodes that are there from the beginning, and the kinds of their machines.
    pub initial: Vec<(u32, u32)>,
    /// How long a machine takes.
    pub provisioning: Delay,
    /// The scheduler writes `PodScheduled: False` into pods that fit nowhere; else every pod without a node counts as one.
    pub by_condition: bool,
}
