//! What the API server answers to an eviction (`POST pods/eviction`), and the budgets that it asks.
//!
//! A pod that is pending (its containers have not started), has ended or is being deleted already is deleted without
//! asking anybody. For every other pod the one PodDisruptionBudget that selects it is asked; a pod that two select can't be
//! evicted (the answer is 500). If the pod is not ready, and as many are healthy as should be, it may go, too. Else the
//! budget must allow one more disruption: if it allows none the answer is 429, without `Retry-After`, and the caller has to
//! come again. What is allowed is what the disruption controller writes:
//! [`DisruptionBudget::disruptions_allowed`](crate::cluster::DisruptionBudget::disruptions_allowed) of the pods that are ready
//! and not being deleted, and of the pods that should be there: those that are there for a `minAvailable` in pods, else the
//! sizes of the controllers that own some. A budget without conditions selects nobody here.
//!
//! Source: k/k `pkg/registry/core/pod/storage/eviction.go`, `pkg/controller/disruption/disruption.go` (`getExpectedPodCount`,
//! `countHealthyPods`).
//!
//! Left out: the disruption controller's delay, which is milliseconds, and so the map of disrupted pods; the budget's
//! status, which an eviction writes before it deletes; `unhealthyPodEvictionPolicy: AlwaysAllow`; the wait until a controller
//! has seen a budget for the first time. The pods of Jobs count as those without an owner. Pods that a Deployment has given up on purpose lower its size.
//!
//! Cost: O(budgets) a spec; O(1) a change of a pod and an eviction; nothing without drains.
use std::collections::BTreeMap;

use crate::cluster::{Cluster, DisruptionBudget, PodId, SpecId};

/// No budget selects the pod.
const NONE: u16 = u16::MAX;
/// Several do.
const SEVERAL: u16 = u16::MAX - 1;

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Guard {
    budget: DisruptionBudget,
    /// Pods that are ready and not being deleted.
    healthy: u64,
    /// Pods that are stored.
    stored: u64,
    /// Sizes of the controllers that own some of its pods.
    scale: u64,
}

impl Guard {
    fn expected(&self) -> u64 {
        let in_pods = matches!(self.budget.min_available, Some(crate::cluster::Amount::Pods(_)));
        if in_pods { self.stored } else { self.scale }
    }

    fn desired(&self) -> u64 {
        self.budget.desired_healthy(self.expected())
    }
}

/// What a budget says to an eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The pod may go.
    Granted,
    /// 429: not now.
    NotNow,
    /// 500: more than one budget selects it.
    Several,
}

/// Which budgets select a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetOf {
    /// None.
    None,
    /// This one.
    One(usize),
    /// More than one: no eviction succeeds.
    Several,
}

/// Budgets and how many of their pods are healthy.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Evictions {
    guards: Vec<Guard>,
    /// By pod: which guard.
    of_pod: Vec<u16>,
    of_spec: BTreeMap<SpecId, u16>,
}

impl Evictions {
    /// The budgets of a cluster, no pod known.
    #[must_use]
    pub fn new(cluster: &Cluster) -> Self {
        let guard =
            |budget: &DisruptionBudget| Guard { budget: budget.clone(), healthy: 0, stored: 0, scale: 0 };
        Self { guards: cluster.disruption_budgets.iter().map(guard).collect(), ..Self::default() }
    }

    fn guard_of(&self, pod: PodId) -> Option<usize> {
        let at = self.of_pod.get(pod as usize).copied().unwrap_or(NONE);
        (at < SEVERAL).then_some(usize::from(at))
    }

    /// Which budgets select a pod.
    #[must_use]
    pub fn budget_of(&self, pod: PodId) -> BudgetOf {
        match self.of_pod.get(pod as usize) {
            Some(&SEVERAL) => BudgetOf::Several,
            _ => self.guard_of(pod).map_or(BudgetOf::None, BudgetOf::One),
        }
    }

    /// Disruptions that each budget allows now.
    #[must_use]
    pub fn allowed(&self) -> Vec<u64> {
        let allowed = |guard: &Guard| guard.budget.disruptions_allowed(guard.expected(), guard.healthy);
        self.guards.iter().map(allowed).collect()
    }

    fn guard(&mut self, pod: PodId) -> Option<&mut Guard> {
        self.guard_of(pod).map(|at| &mut self.guards[at])
    }

    /// A pod comes to be known; `owned`: it is one of those that its controller should have.
    pub fn know(&mut self, cluster: &Cluster, pod: PodId, owned: bool) {
        if self.guards.is_empty() {
            return;
        }
        let id = cluster.pods.spec_id(pod);
        let guards = &self.guards;
        let of = *self.of_spec.entry(id).or_insert_with(|| {
            let spec = cluster.pods.spec_by_id(id);
            let mut selecting = guards.iter().enumerate().filter(|(_, guard)| {
                !guard.budget.selector.is_empty() && guard.budget.pods().matches(cluster, spec)
            });
            match (selecting.next(), selecting.next()) {
                (None, _) => NONE,
                (Some(_), Some(_)) => SEVERAL,
                (Some((at, _)), None) => u16::try_from(at).unwrap_or(SEVERAL),
            }
        });
        let at = pod as usize;
        if self.of_pod.len() <= at {
            self.of_pod.resize(at + 1, NONE);
        }
        self.of_pod[at] = of;
        if owned && let Some(guard) = self.guard(pod) {
            guard.scale += 1;
        }
    }

    /// A pod was or was not stored and healthy, and is or is not now.
    pub fn changed(&mut self, pod: PodId, before: (bool, bool), after: (bool, bool)) {
        if before == after {
            return;
        }
        let Some(guard) = self.guard(pod) else { return };
        let step = |count: &mut u64, was: bool, is: bool| {
            *count = count.saturating_add(u64::from(is)).saturating_sub(u64::from(was));
        };
        step(&mut guard.stored, before.0, after.0);
        step(&mut guard.healthy, before.1, after.1);
    }

    /// A controller gives a pod up for good.
    pub fn scaled_down(&mut self, pod: PodId) {
        if let Some(guard) = self.guard(pod) {
            guard.scale = guard.scale.saturating_sub(1);
        }
    }

    /// The controller of a pod has another size.
    pub fn resized(&mut self, pod: PodId, before: u32, after: u32) {
        if let Some(guard) = self.guard(pod) {
            guard.scale = (guard.scale + u64::from(after)).saturating_sub(u64::from(before));
        }
    }

    /// Whether a running pod may be evicted.
    #[must_use]
    pub fn ask(&self, pod: PodId, ready: bool) -> Verdict {
        if self.of_pod.get(pod as usize) == Some(&SEVERAL) {
            return Verdict::Several;
        }
        let Some(guard) = self.guard_of(pod).map(|at| &self.guards[at]) else { return Verdict::Granted };
        if !ready && guard.healthy >= guard.desired() && guard.desired() > 0 {
            return Verdict::Granted;
        }
        match guard.budget.disruptions_allowed(guard.expected(), guard.healthy) {
            0 => Verdict::NotNow,
            _ => Verdict::Granted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Amount, App, LabelSelector, PodSpec};

    fn cluster(budgets: &[(Option<Amount>, Option<Amount>)], pods: u32) -> Cluster {
        let mut cluster = Cluster::default();
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        for (i, (min_available, max_unavailable)) in budgets.iter().enumerate() {
            cluster.disruption_budgets.push(DisruptionBudget {
                name: format!("b{i}"),
                namespace: "default".into(),
                selector: LabelSelector::from(labels.clone()),
                min_available: *min_available,
                max_unavailable: *max_unavailable,
            });
        }
        let app = cluster.pods.add_app(App::default());
        let spec = cluster.pods.add_spec(PodSpec { labels, ..PodSpec::default() });
        for _ in 0..pods {
            cluster.pods.add(spec, app);
        }
        cluster
    }

    fn evictions(cluster: &Cluster, owned: bool, healthy: u32) -> Evictions {
        let mut evictions = Evictions::new(cluster);
        for pod in 0..cluster.pods.len() as PodId {
            evictions.know(cluster, pod, owned);
            evictions.changed(pod, (false, false), (true, pod < healthy));
        }
        evictions
    }

    /// Facts: `TestEviction` and `TestEvictionIgnorePDB` of `eviction_test.go`, and `getExpectedPodCount`.
    #[test]
    fn a_budget_is_asked_about_pods_that_run() {
        let at_most_one = cluster(&[(None, Some(Amount::Pods(1)))], 3);
        assert_eq!(evictions(&at_most_one, true, 3).ask(0, true), Verdict::Granted);
        assert_eq!(evictions(&at_most_one, true, 2).ask(0, true), Verdict::NotNow);
        // A pod that is not ready may go while enough are healthy, and not while too few are.
        assert_eq!(evictions(&at_most_one, true, 2).ask(2, false), Verdict::Granted);
        assert_eq!(evictions(&at_most_one, true, 1).ask(2, false), Verdict::NotNow);
        let at_least_two = cluster(&[(Some(Amount::Pods(2)), None)], 3);
        assert_eq!(evictions(&at_least_two, false, 3).ask(0, true), Verdict::Granted);
        assert_eq!(evictions(&at_least_two, false, 2).ask(0, true), Verdict::NotNow);
    }

    /// A share, and any `maxUnavailable`, are of the size of the owners: pods without one count for nothing.
    #[test]
    fn pods_without_an_owner_are_not_expected() {
        let most = cluster(&[(None, Some(Amount::Pods(1)))], 3);
        assert_eq!(evictions(&most, false, 3).ask(0, true), Verdict::NotNow, "`expectedCount` is 0");
        let half = cluster(&[(Some(Amount::Percent(50)), None)], 4);
        assert_eq!(evictions(&half, true, 3).ask(0, true), Verdict::Granted);
        assert_eq!(evictions(&half, true, 2).ask(0, true), Verdict::NotNow);
    }

    /// "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    #[test]
    fn two_budgets_for_a_pod_are_an_error() {
        let two = cluster(&[(None, Some(Amount::Pods(1))), (Some(Amount::Pods(1)), None)], 3);
        assert_eq!(evictions(&two, true, 3).ask(0, true), Verdict::Several);
    }
}
