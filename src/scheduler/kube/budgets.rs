//! PodDisruptionBudgets as the scheduler's preemption reads them.
//!
//! Source: `filterPodsWithPDBViolation` in `pkg/scheduler/framework/plugins/defaultpreemption/default_preemption.go`. Of the
//! pods that could go, the most important first, each takes one of the disruptions that its budgets allow; one that finds
//! none left violates a budget. Such pods are spared first, and a node with fewer of them is preferred. A budget does not
//! forbid preemption. A budget without conditions selects nobody for the scheduler, and a pod without labels has none.
//!
//! What a budget allows is what the disruption controller would write ([`DisruptionBudget::disruptions_allowed`]
//! (crate::cluster::DisruptionBudget::disruptions_allowed)), from the pods that this scheduler's informer shows: expected are
//! all that exist, healthy those that are bound and not being deleted.
//!
//! Left out: the delay of the controller; pods that are bound but not ready yet count as healthy.
//!
//! Cost: O(budgets) once a spec, then O(budgets of the pod) a change; nothing without budgets.
use crate::cluster::{Cluster, PodId, SpecId};

#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Counts {
    expected: u64,
    healthy: u64,
}

/// All budgets with their pods.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Budgets {
    counts: Vec<Counts>,
    /// By spec: the budgets of its pods, once asked for.
    of_spec: Vec<Option<Vec<usize>>>,
}

impl Budgets {
    /// Budgets of a spec's pods, by index in the cluster.
    fn of<'a>(of_spec: &'a mut Vec<Option<Vec<usize>>>, cluster: &Cluster, id: SpecId) -> &'a [usize] {
        let at = id as usize;
        if of_spec.len() <= at {
            of_spec.resize(at + 1, None);
        }
        of_spec[at].get_or_insert_with(|| {
            let spec = cluster.pods.spec_by_id(id);
            if spec.labels.is_empty() {
                return Vec::new();
            }
            let budgets = cluster.disruption_budgets.iter().enumerate();
            budgets
                .filter(|(_, b)| !b.selector.is_empty() && b.pods().matches(cluster, spec))
                .map(|(at, _)| at)
                .collect()
        })
    }

    fn change(&mut self, cluster: &Cluster, id: SpecId, change: impl Fn(&mut Counts)) {
        if cluster.disruption_budgets.is_empty() {
            return;
        }
        self.counts.resize(cluster.disruption_budgets.len(), Counts::default());
        for at in Self::of(&mut self.of_spec, cluster, id) {
            change(&mut self.counts[*at]);
        }
    }

    /// A pod exists.
    pub(super) fn created(&mut self, cluster: &Cluster, id: SpecId) {
        self.change(cluster, id, |c| c.expected += 1);
    }

    /// A pod is bound (1), or begins to be deleted (-1).
    pub(super) fn healthy(&mut self, cluster: &Cluster, id: SpecId, sign: i64) {
        self.change(cluster, id, |c| c.healthy = c.healthy.saturating_add_signed(sign));
    }

    /// A pod is gone.
    pub(super) fn gone(&mut self, cluster: &Cluster, id: SpecId, was_healthy: bool) {
        self.change(cluster, id, |c| {
            c.expected = c.expected.saturating_sub(1);
            c.healthy = c.healthy.saturating_sub(u64::from(was_healthy));
        });
    }

    /// By pod, in the order in which they would go: whether its loss violates a budget.
    pub(super) fn violated(&mut self, cluster: &Cluster, pods: &[PodId]) -> Vec<bool> {
        if cluster.disruption_budgets.is_empty() {
            return vec![false; pods.len()];
        }
        self.counts.resize(cluster.disruption_budgets.len(), Counts::default());
        let mut allowed: Vec<i64> = cluster
            .disruption_budgets
            .iter()
            .zip(&self.counts)
            .map(|(b, c)| {
                i64::try_from(b.disruptions_allowed(c.expected, c.healthy)).expect("pods are limited")
            })
            .collect();
        let of_spec = &mut self.of_spec;
        let violates = |pod: &PodId| {
            let mut violates = false;
            for at in Self::of(of_spec, cluster, cluster.pods.spec_id(*pod)) {
                allowed[*at] -= 1;
                violates |= allowed[*at] < 0;
            }
            violates
        };
        pods.iter().map(violates).collect()
    }
}
