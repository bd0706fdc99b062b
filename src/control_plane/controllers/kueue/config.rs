//! What Kueue is told: flavors, ClusterQueues, cohorts, LocalQueues, workloads.
//!
//! Source: `apis/kueue/v1beta2` and `pkg/scheduler/flavorassigner` of Kueue 0.19.2.
//!
//! Cost: nothing.
use std::collections::BTreeMap;

use super::quota::Quota;
use crate::cluster::{PodId, SpecId, Taint, Toleration};

/// A resource that quotas count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Resource {
    /// CPU, millicores.
    Cpu,
    /// Memory, bytes.
    Memory,
    /// Pods.
    Pods,
    /// Another one, by its id, whole units.
    Extended(u16),
}

/// A `ResourceFlavor`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Flavor {
    /// Name.
    pub name: String,
    /// `spec.nodeLabels`: selectors of the pods that it is given to.
    pub labels: BTreeMap<String, String>,
    /// `spec.nodeTaints`.
    pub taints: Vec<Taint>,
    /// `spec.tolerations`, which its pods get.
    pub tolerations: Vec<Toleration>,
}

/// `spec.resourceGroups[]` of a ClusterQueue.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Group {
    /// `coveredResources`.
    pub resources: Vec<Resource>,
    /// Indices of its flavors, in order.
    pub flavors: Vec<usize>,
}

/// Whom a workload may preempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Policy {
    /// Nobody.
    #[default]
    Never,
    /// Workloads of lower priority.
    LowerPriority,
    /// And those of the same priority that are newer.
    LowerOrNewerEqualPriority,
    /// Everybody.
    Any,
}

/// `spec.preemption` of a ClusterQueue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Preemption {
    /// `withinClusterQueue`.
    pub within_cluster_queue: Policy,
    /// `reclaimWithinCohort`.
    pub reclaim_within_cohort: Policy,
    /// `borrowWithinCohort.policy: LowerPriority`.
    pub borrow_within_cohort: bool,
    /// `borrowWithinCohort.maxPriorityThreshold`.
    pub max_priority_threshold: Option<i32>,
}

impl Preemption {
    /// Whether it may preempt anybody.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.within_cluster_queue != Policy::Never || self.reclaim_within_cohort != Policy::Never
    }
}

/// `spec.fairSharing.weight` of a ClusterQueue or a Cohort, in parts of 10^-9; 0: its share is infinite as soon as it borrows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Weight(pub u128);

impl Weight {
    /// Parts of 1.
    const ONE: u128 = 1_000_000_000;

    /// As the number that Kueue counts with (`AsFloat64Slow`).
    #[must_use]
    pub fn value(self) -> f64 {
        let Self(parts) = self;
        if parts % Self::ONE == 0 { (parts / Self::ONE) as f64 } else { parts as f64 / Self::ONE as f64 }
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(Self::ONE)
    }
}

/// `fairSharing.preemptionStrategies` of Kueue's configuration: when one ClusterQueue may take from another that borrows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Strategies {
    /// `LessThanOrEqualToFinalShare`, and then `LessThanInitialShare`.
    #[default]
    Both,
    /// `LessThanOrEqualToFinalShare`: its share is at most what the other's is without the workload.
    FinalShare,
    /// `LessThanInitialShare`: its share is less than what the other's is with it.
    InitialShare,
}

/// A `Cohort`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cohort {
    /// Name.
    pub name: String,
    /// Index of its parent.
    pub parent: Option<usize>,
    /// By cell, see [`Config::cell`]; none: it has none of its own.
    pub quotas: Vec<Quota>,
    /// `fairSharing.weight`.
    pub weight: Weight,
}

/// A `ClusterQueue`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ClusterQueue {
    /// Name.
    pub name: String,
    /// Index of its cohort.
    pub cohort: Option<usize>,
    /// Its resource groups.
    pub groups: Vec<Group>,
    /// By cell, see [`Config::cell`].
    pub quotas: Vec<Quota>,
    /// `queueingStrategy: StrictFIFO`.
    pub strict: bool,
    /// `flavorFungibility.whenCanBorrow: TryNextFlavor`.
    pub tries_next_before_borrowing: bool,
    /// `flavorFungibility.whenCanPreempt: Preempt` (or `MayStopSearch`): the first flavor in which room can be made is taken.
    pub preempts_before_next: bool,
    /// Whom its workloads may preempt.
    pub preemption: Preemption,
    /// `fairSharing.weight`.
    pub weight: Weight,
    /// Labels that a namespace must have (`namespaceSelector` with `matchLabels`); none: it takes no namespace.
    pub namespaces: Option<BTreeMap<String, String>>,
}

/// A job that is to be admitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Workload {
    /// Its first pod, and one past its last.
    pub pods: (PodId, PodId),
    /// What its pods are.
    pub spec: SpecId,
    /// Index of its ClusterQueue.
    pub queue: usize,
    /// Priority.
    pub priority: i32,
    /// What all its pods request, resources that are zero left out.
    pub requests: Vec<(Resource, i64)>,
    /// By group of its queue, then flavor of the group: whether labels and taints of the flavor suit it.
    pub suits: Vec<Vec<bool>>,
    /// By flavor: its pods' spec with the flavor's labels and tolerations, of those that suit. Several groups: the
    /// combination is by [`Workload::combined`].
    pub combined: Vec<(Vec<usize>, SpecId)>,
}

/// Everything that Kueue is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// Flavors.
    pub flavors: Vec<Flavor>,
    /// Resources that any quota counts.
    pub resources: Vec<Resource>,
    /// ClusterQueues.
    pub queues: Vec<ClusterQueue>,
    /// Cohorts, by the indices that queues give; one that is not listed has neither a parent nor quotas.
    pub cohorts: Vec<Cohort>,
    /// Fair sharing; none: quota goes by priority and age, and is taken back by the classical rules.
    pub fair: Option<Strategies>,
    /// Jobs, in the order of their arrivals.
    pub workloads: Vec<Workload>,
}

impl Config {
    /// Whether any ClusterQueue may preempt.
    #[must_use]
    pub fn may_preempt(&self) -> bool {
        self.queues.iter().any(|queue| queue.preemption.is_any())
    }

    /// The place of a flavor's resource in a ClusterQueue's quotas.
    #[must_use]
    pub fn cell(&self, flavor: usize, resource: Resource) -> Option<usize> {
        let at = self.resources.iter().position(|r| *r == resource)?;
        Some(flavor * self.resources.len() + at)
    }
}
