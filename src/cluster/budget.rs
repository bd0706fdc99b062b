//! PodDisruptionBudgets: how many of some pods may be missing.
//!
//! Source: `pkg/controller/disruption/disruption.go`. The disruption controller writes `status.disruptionsAllowed`, the
//! number of healthy pods above those that are desired; who evicts (a drain, the scheduler's preemption) reads it. Healthy
//! is a pod that is bound and not on its way out.
//! - `minAvailable: N` desires N pods; a share desires that part of all pods, rounded up.
//! - `maxUnavailable: N` desires all pods but N; a share of it is rounded up, too.
//!
//! Left out: the delay of the controller's sync; `unhealthyPodEvictionPolicy`; the scale of the owner (all pods that
//! exist are expected).
//!
//! Cost: O(1) an answer.
use super::{LabelSelector, PodSelector};

/// A number of pods, or a share of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Amount {
    /// So many.
    Pods(u32),
    /// So many of 100.
    Percent(u32),
}

impl Amount {
    /// How many of `all`, rounded up.
    #[must_use]
    pub fn of(self, all: u64) -> u64 {
        match self {
            Self::Pods(pods) => u64::from(pods),
            Self::Percent(share) => (all * u64::from(share)).div_ceil(100),
        }
    }
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct DisruptionBudget {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// `spec.selector`: one without conditions selects all pods of the namespace for the controller, but the scheduler
    /// takes it for one that selects none.
    pub selector: LabelSelector,
    /// `spec.minAvailable`.
    pub min_available: Option<Amount>,
    /// `spec.maxUnavailable`.
    pub max_unavailable: Option<Amount>,
}

impl DisruptionBudget {
    /// The pods that it protects.
    #[must_use]
    pub fn pods(&self) -> PodSelector {
        PodSelector::within(&self.namespace, self.selector.clone())
    }

    /// `status.desiredHealthy` with so many pods expected.
    #[must_use]
    pub fn desired_healthy(&self, expected: u64) -> u64 {
        match (self.min_available, self.max_unavailable) {
            (Some(least), _) => least.of(expected),
            (None, Some(most)) => expected.saturating_sub(most.of(expected)),
            // The API server wants one of them; without any nothing is held back.
            (None, None) => 0,
        }
    }

    /// `status.disruptionsAllowed` with so many pods expected and healthy.
    #[must_use]
    pub fn disruptions_allowed(&self, expected: u64, healthy: u64) -> u64 {
        if expected == 0 { 0 } else { healthy.saturating_sub(self.desired_healthy(expected)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the Kubernetes page "Specifying a Disruption Budget for your Application", and cases of
    /// `pkg/controller/disruption/disruption_test.go`.
    #[test]
    fn allowed_disruptions() {
        let budget = |min_available, max_unavailable| DisruptionBudget {
            name: "b".into(),
            namespace: "default".into(),
            selector: LabelSelector::default(),
            min_available,
            max_unavailable,
        };
        for (min, max, expected, healthy, allowed) in [
            (Some(Amount::Pods(2)), None, 3, 3, 1),
            (Some(Amount::Pods(2)), None, 3, 2, 0),
            (Some(Amount::Pods(5)), None, 3, 3, 0),
            // 28 % of 10 is 2.8: three must stay.
            (Some(Amount::Percent(28)), None, 10, 10, 7),
            (Some(Amount::Percent(100)), None, 10, 10, 0),
            (None, Some(Amount::Pods(1)), 10, 10, 1),
            (None, Some(Amount::Pods(1)), 10, 9, 0),
            // 30 % of 7 is 2.1: three may be missing.
            (None, Some(Amount::Percent(30)), 7, 7, 3),
            (None, Some(Amount::Percent(0)), 7, 7, 0),
            (None, Some(Amount::Pods(1)), 0, 0, 0),
        ] {
            assert_eq!(budget(min, max).disruptions_allowed(expected, healthy), allowed, "{min:?} {max:?}");
        }
    }
}
