//! What a Volcano scheduler is told: its configuration file, flags and the cluster's queues.
//!
//! Sources: `pkg/scheduler/{util.go,conf/scheduler_conf.go}`, `cmd/scheduler/app/options/options.go` and
//! `installer/helm/chart/volcano/config/volcano-scheduler.conf` of Volcano 1.15.1. Without a file the model runs what the
//! chart installs: `enqueue, allocate, backfill`; priority, gang, conformance; overcommit, drf, predicates, proportion, nodeorder,
//! binpack. The fallback that is compiled into the scheduler lacks binpack.
//!
//! A plugin counts where it registers something for the modelled actions: the order of jobs (priority, gang, drf), queues
//! (proportion) and pods (priority); whether a job is valid, may be enqueued (overcommit, proportion) and is ready (gang);
//! whether a queue is overused and may take a pod (proportion); filters (predicates) and scores (nodeorder, binpack).
//! `conformance` and `pdb` only spare victims: nothing is evicted here.
//!
//! Cost: nothing.
use crate::engine::{Nanos, SECOND};

/// An action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ActionKind {
    /// PodGroups go from Pending to Inqueue.
    Enqueue,
    /// Pods with requests get nodes.
    Allocate,
    /// Pods without requests get nodes.
    Backfill,
}

/// Weights of binpack.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Binpack {
    /// `binpack.weight`.
    pub weight: i64,
    /// `binpack.cpu`.
    pub cpu: i64,
    /// `binpack.memory`.
    pub memory: i64,
    /// `binpack.resources`, by id.
    pub others: Vec<(u16, i64)>,
}

impl Default for Binpack {
    fn default() -> Self {
        Self { weight: 1, cpu: 1, memory: 1, others: Vec::new() }
    }
}

/// Weights of nodeorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodeOrder {
    /// `leastrequested.weight`.
    pub least_requested: i64,
    /// `mostrequested.weight`.
    pub most_requested: i64,
    /// `nodeaffinity.weight`.
    pub node_affinity: i64,
    /// `balancedresource.weight`.
    pub balanced: i64,
    /// `tainttoleration.weight`.
    pub taint_toleration: i64,
    /// `imagelocality.weight`.
    pub image_locality: i64,
}

impl Default for NodeOrder {
    fn default() -> Self {
        Self {
            least_requested: 1,
            most_requested: 0,
            node_affinity: 2,
            balanced: 1,
            taint_toleration: 3,
            image_locality: 1,
        }
    }
}

/// Filters of `predicates` that a file may switch off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Predicates {
    /// `predicate.NodeAffinityEnable`.
    pub node_affinity: bool,
    /// `predicate.NodePortsEnable`.
    pub node_ports: bool,
    /// `predicate.TaintTolerationEnable`.
    pub taint_toleration: bool,
}

impl Default for Predicates {
    fn default() -> Self {
        Self { node_affinity: true, node_ports: true, taint_toleration: true }
    }
}

/// What a plugin does.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum PluginKind {
    /// Jobs and pods by priority.
    Priority,
    /// All or nothing.
    Gang,
    /// Spares system pods; nothing here.
    Conformance,
    /// Spares what a budget protects; nothing here.
    Pdb,
    /// How much more than the cluster may be inqueue, in millionths of what it has.
    Overcommit {
        /// `overcommit-factor`.
        factor_ppm: u64,
    },
    /// Jobs by dominant share.
    Drf,
    /// kube-scheduler's filters.
    Predicates(Predicates),
    /// Queues by weight.
    Proportion,
    /// kube-scheduler's scores.
    NodeOrder(NodeOrder),
    /// Full nodes first.
    Binpack(Binpack),
}

/// Which of a plugin's functions are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Enabled {
    /// `enableJobOrder`.
    pub job_order: bool,
    /// `enableJobReady`.
    pub job_ready: bool,
    /// `enableTaskOrder`.
    pub task_order: bool,
    /// `enableQueueOrder`.
    pub queue_order: bool,
    /// `enablePredicate`.
    pub predicate: bool,
    /// `enableNodeOrder`.
    pub node_order: bool,
    /// `enableJobEnqueued`.
    pub job_enqueued: bool,
    /// `enabledOverused`.
    pub overused: bool,
    /// `enabledAllocatable`.
    pub allocatable: bool,
}

impl Default for Enabled {
    fn default() -> Self {
        Self {
            job_order: true,
            job_ready: true,
            task_order: true,
            queue_order: true,
            predicate: true,
            node_order: true,
            job_enqueued: true,
            overused: true,
            allocatable: true,
        }
    }
}

/// A plugin of a tier.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Plugin {
    /// What it does.
    pub kind: PluginKind,
    /// What of it is on.
    pub enabled: Enabled,
}

impl Plugin {
    /// With everything on.
    #[must_use]
    pub fn new(kind: PluginKind) -> Self {
        Self { kind, enabled: Enabled::default() }
    }
}

/// Amounts as a queue names them: cpu (millicores), memory (bytes), others (units); what is not named is none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// CPU, millicores.
    pub cpu: Option<u64>,
    /// Memory, bytes.
    pub memory: Option<u64>,
    /// By id of the resource.
    pub others: Vec<(u16, u64)>,
}

impl Limits {
    /// Names nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.cpu.is_none() && self.memory.is_none() && self.others.is_empty()
    }
}

/// A `Queue` (`scheduling.volcano.sh/v1beta1`).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Queue {
    /// Name.
    pub name: String,
    /// `spec.weight`.
    pub weight: i64,
    /// `spec.priority`.
    pub priority: i64,
    /// `spec.capability`.
    pub capability: Limits,
    /// `spec.guarantee.resource`.
    pub guarantee: Limits,
}

impl Queue {
    /// A queue as Volcano makes `default`.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            weight: 1,
            priority: 0,
            capability: Limits::default(),
            guarantee: Limits::default(),
        }
    }
}

/// The queue of those that ask for none (`--default-queue`).
pub const DEFAULT_QUEUE: &str = "default";

/// Everything that the scheduler is told.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// `actions`.
    pub actions: Vec<ActionKind>,
    /// `tiers`.
    pub tiers: Vec<Vec<Plugin>>,
    /// `predicateErrorCacheEnable` of `allocate`: within a statement the pods of a gang's role do not look again at nodes that
    /// refused one of them.
    pub error_cache: bool,
    /// Queues; [`DEFAULT_QUEUE`] is among them.
    pub queues: Vec<Queue>,
    /// `--schedule-period`, ns.
    pub period_ns: Nanos,
    /// `--percentage-nodes-to-find`; 0: adaptive.
    pub percentage_of_nodes: u32,
    /// `--minimum-feasible-nodes`.
    pub min_nodes: u32,
    /// `--minimum-percentage-nodes-to-find`.
    pub min_percentage_of_nodes: u32,
}

impl Default for Config {
    fn default() -> Self {
        let tier = |kinds: Vec<PluginKind>| kinds.into_iter().map(Plugin::new).collect();
        Self {
            actions: vec![ActionKind::Enqueue, ActionKind::Allocate, ActionKind::Backfill],
            tiers: vec![
                tier(vec![PluginKind::Priority, PluginKind::Gang, PluginKind::Conformance]),
                tier(vec![
                    PluginKind::Overcommit { factor_ppm: OVERCOMMIT_PPM },
                    PluginKind::Drf,
                    PluginKind::Predicates(Predicates::default()),
                    PluginKind::Proportion,
                    PluginKind::NodeOrder(NodeOrder::default()),
                    PluginKind::Binpack(Binpack::default()),
                ]),
            ],
            error_cache: true,
            queues: vec![Queue::named(DEFAULT_QUEUE)],
            period_ns: SECOND,
            percentage_of_nodes: 0,
            min_nodes: 100,
            min_percentage_of_nodes: 5,
        }
    }
}

/// `overcommit-factor` by default.
pub const OVERCOMMIT_PPM: u64 = 1_200_000;

impl Config {
    /// Whether an action runs.
    #[must_use]
    pub fn runs(&self, action: ActionKind) -> bool {
        self.actions.contains(&action)
    }

    /// All plugins in order.
    pub fn plugins(&self) -> impl Iterator<Item = &Plugin> {
        self.tiers.iter().flatten()
    }

    /// Whether taints keep pods out that don't tolerate them.
    #[must_use]
    pub fn heeds_taints(&self) -> bool {
        let filters = |plugin: &Plugin| match plugin.kind {
            PluginKind::Predicates(filters) => plugin.enabled.predicate && filters.taint_toleration,
            _ => false,
        };
        self.plugins().any(filters)
    }

    /// How many feasible nodes end a search (`CalculateNumOfFeasibleNodesToFind`).
    #[must_use]
    pub fn nodes_to_find(&self, nodes: usize) -> usize {
        let all = nodes as u64;
        let least = u64::from(self.min_nodes);
        if all <= least || self.percentage_of_nodes >= 100 {
            return nodes;
        }
        let percentage = match self.percentage_of_nodes {
            0 => 50_u64.saturating_sub(all / 125).max(u64::from(self.min_percentage_of_nodes)),
            given => u64::from(given),
        };
        usize::try_from((all * percentage / 100).max(least).min(all)).expect("at most the node count")
    }
}
