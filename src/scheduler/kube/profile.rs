//! A profile: which plugins run at which extension points, how much their scores weigh, and their arguments.
//!
//! Sources: `pkg/scheduler/apis/config/v1/{default_plugins,defaults}.go`. Names are the plugins' own. A configuration file
//! (`scheduler.config`) is turned into a profile by the scenario layer; without one the default profile runs.
//!
//! Left out: plugins without work here (dynamic resources). The order of
//! filters is that of the default profile: it says which of two reasons is told, not which nodes are feasible.
use crate::cluster::{SpreadConstraint, Term, WeightedTerm};

use crate::scheduler::ScoringStrategy;

use super::pod_topology_spread::system_default_constraints;

/// How much the scores of each plugin weigh; 0: the plugin does not score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Weights {
    /// TaintToleration.
    pub taints: i64,
    /// NodeAffinity.
    pub affinity: i64,
    /// NodeResourcesFit.
    pub fit: i64,
    /// NodeResourcesBalancedAllocation.
    pub balanced: i64,
    /// PodTopologySpread.
    pub spread: i64,
    /// InterPodAffinity.
    pub pod_affinity: i64,
    /// ImageLocality.
    pub images: i64,
}

/// Which plugins run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Plugins {
    /// NodeUnschedulable filters.
    pub unschedulable: bool,
    /// NodeName filters.
    pub name: bool,
    /// TaintToleration filters.
    pub taints: bool,
    /// NodeAffinity filters.
    pub affinity: bool,
    /// NodePorts filters.
    pub ports: bool,
    /// NodeResourcesFit filters.
    pub fit: bool,
    /// PodTopologySpread filters.
    pub spread: bool,
    /// InterPodAffinity filters.
    pub pod_affinity: bool,
    /// DefaultPreemption runs after a failed cycle.
    pub preemption: bool,
    /// SchedulingGates holds pods back.
    pub gates: bool,
    /// VolumeBinding filters and binds.
    pub volumes: bool,
    /// Weights of the scores.
    pub weights: Weights,
}

impl Plugins {
    /// The default profile.
    pub const DEFAULT: Self = Self {
        unschedulable: true,
        name: true,
        taints: true,
        affinity: true,
        ports: true,
        fit: true,
        spread: true,
        pod_affinity: true,
        preemption: true,
        gates: true,
        volumes: true,
        weights: Weights {
            taints: 3,
            affinity: 2,
            fit: 1,
            balanced: 1,
            spread: 2,
            pod_affinity: 2,
            images: 1,
        },
    };

    /// Switches plugins off at all their extension points; `*` switches all off.
    #[must_use]
    pub fn without(mut self, disabled: &[String]) -> Self {
        let off = |name: &str| disabled.iter().any(|d| d == name || d == "*");
        let filter = |name: &str, on: &mut bool| *on &= !off(name);
        filter("NodeUnschedulable", &mut self.unschedulable);
        filter("NodeName", &mut self.name);
        filter("TaintToleration", &mut self.taints);
        filter("NodeAffinity", &mut self.affinity);
        filter("NodePorts", &mut self.ports);
        filter("NodeResourcesFit", &mut self.fit);
        filter("PodTopologySpread", &mut self.spread);
        filter("InterPodAffinity", &mut self.pod_affinity);
        filter("DefaultPreemption", &mut self.preemption);
        filter("SchedulingGates", &mut self.gates);
        filter("VolumeBinding", &mut self.volumes);
        let score = |name: &str, weight: &mut i64| *weight *= i64::from(!off(name));
        score("TaintToleration", &mut self.weights.taints);
        score("NodeAffinity", &mut self.weights.affinity);
        score("NodeResourcesFit", &mut self.weights.fit);
        score("NodeResourcesBalancedAllocation", &mut self.weights.balanced);
        score("PodTopologySpread", &mut self.weights.spread);
        score("InterPodAffinity", &mut self.weights.pod_affinity);
        score("ImageLocality", &mut self.weights.images);
        self
    }

    /// Whether any plugin scores: without one the first feasible node is taken.
    #[must_use]
    pub const fn scores(&self) -> bool {
        let w = &self.weights;
        w.taints + w.affinity + w.fit + w.balanced + w.spread + w.pod_affinity + w.images > 0
    }

    /// Whether any plugin filters.
    #[must_use]
    pub const fn filters(&self) -> bool {
        self.unschedulable
            || self.name
            || self.taints
            || self.affinity
            || self.ports
            || self.fit
            || self.spread
            || self.pod_affinity
            || self.volumes
    }
}

/// A resource that counts in a score, and how much.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ResourceWeight {
    /// `cpu`, `memory` or the name of an extended resource.
    pub name: String,
    /// 1 to 100.
    pub weight: u64,
}

/// CPU and memory, alike.
fn cpu_and_memory() -> Vec<ResourceWeight> {
    ["cpu", "memory"].map(|name| ResourceWeight { name: name.to_owned(), weight: 1 }).into()
}

/// A profile with its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedProfile {
    /// `schedulerName`.
    pub scheduler_name: String,
    /// `percentageOfNodesToScore`, the global one if the profile says nothing; 0 = adaptive.
    pub percentage_of_nodes_to_score: u32,
    /// NodeResourcesFit's scoring strategy.
    pub scoring_strategy: ScoringStrategy,
    /// Plugins with their arguments.
    pub profile: Profile,
}

/// The plugins of a scheduler with their arguments.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Profile {
    /// Which plugins run.
    pub plugins: Plugins,
    /// NodeResourcesFit: resources that count in its score.
    pub fit_resources: Vec<ResourceWeight>,
    /// NodeResourcesFit with `RequestedToCapacityRatio`: (utilisation in per cent, score 0 to 100), ascending.
    pub fit_shape: Vec<(i64, i64)>,
    /// NodeResourcesFit: extended resources that the filter does not look at.
    pub ignored_resources: Vec<String>,
    /// The same by the part of the name before the slash.
    pub ignored_resource_groups: Vec<String>,
    /// NodeResourcesBalancedAllocation: resources that count.
    pub balanced_resources: Vec<ResourceWeight>,
    /// InterPodAffinity: weight of existing pods' required affinity in the score, 0 to 100.
    pub hard_pod_affinity_weight: i64,
    /// InterPodAffinity: existing pods' preferred terms do not count for newcomers without terms of their own.
    pub ignore_preferred_terms_of_existing_pods: bool,
    /// NodeAffinity: terms of which one must match for every pod; empty: none is asked.
    pub added_required: Vec<Term>,
    /// NodeAffinity: preferences added to every pod's own.
    pub added_preferred: Vec<WeightedTerm>,
    /// PodTopologySpread: constraints of pods that have none, without their selectors.
    pub default_constraints: Vec<SpreadConstraint>,
    /// PodTopologySpread: `defaultingType: System`, whose constraints don't ask that a node has all their keys.
    pub system_defaults: bool,
    /// VolumeBinding: `bindTimeoutSeconds`, ns.
    pub volume_bind_timeout_ns: u64,
    /// DefaultPreemption: `minCandidateNodesPercentage`.
    pub min_candidate_nodes_percentage: u32,
    /// DefaultPreemption: `minCandidateNodesAbsolute`.
    pub min_candidate_nodes_absolute: u32,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            plugins: Plugins::DEFAULT,
            fit_resources: cpu_and_memory(),
            fit_shape: Vec::new(),
            ignored_resources: Vec::new(),
            ignored_resource_groups: Vec::new(),
            balanced_resources: cpu_and_memory(),
            hard_pod_affinity_weight: 1,
            ignore_preferred_terms_of_existing_pods: false,
            added_required: Vec::new(),
            added_preferred: Vec::new(),
            default_constraints: system_default_constraints(),
            system_defaults: true,
            volume_bind_timeout_ns: 600_000_000_000,
            min_candidate_nodes_percentage: 10,
            min_candidate_nodes_absolute: 100,
        }
    }
}

impl Profile {
    /// Whether NodeResourcesFit's filter looks at an extended resource.
    #[must_use]
    pub fn regards_resource(&self, name: &str) -> bool {
        let group = name.split('/').next().unwrap_or(name);
        !self.ignored_resources.iter().any(|r| r == name)
            && !self.ignored_resource_groups.iter().any(|g| g == group)
    }
}
