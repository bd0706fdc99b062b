//! API calls about pods: waited for, or asynchronous (`SchedulerAsyncAPICalls`, KEP 5229; off by default in 1.36).
//!
//! Source: `pkg/scheduler/backend/api_dispatcher/{api_dispatcher,call_queue}.go`. Without the gate the goroutine that
//! schedules waits for the answer to its status patch before the next cycle. With it the patch is queued and sent at once
//! by a goroutine of its own; it takes a token of the same bucket as bindings. At most one call about a pod is in flight: a
//! newer one waits for its answer, a newer patch stands instead of one that waits, and a binding instead of either.
//!
//! Left out: victims' patches and deletions, which go past the dispatcher in the real one as well; updates of the pod that
//! make a queued patch needless.
//!
//! Cost: O(log calls in flight) a call.
use std::collections::BTreeMap;

use crate::cluster::{NodeId, PodId};
use crate::scheduler::Action;

/// What waits for a pod's call in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Next {
    Nothing,
    Patch,
    Bind(NodeId),
}

/// Calls of the scheduler's client about pods.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct ApiCalls {
    asynchronous: bool,
    /// Pods whose status patch is in flight.
    in_flight: BTreeMap<PodId, Next>,
}

impl ApiCalls {
    pub(super) const fn new(asynchronous: bool) -> Self {
        Self { asynchronous, in_flight: BTreeMap::new() }
    }

    /// Patches a pod's status; says whether the next cycle waits for the answer.
    pub(super) fn patch(&mut self, actions: &mut Vec<Action>, pod: PodId) -> bool {
        if !self.asynchronous {
            actions.push(Action::PatchStatus { pod });
            return true;
        }
        match self.in_flight.get_mut(&pod) {
            Some(Next::Bind(_)) => {}
            Some(next) => *next = Next::Patch,
            None => {
                self.in_flight.insert(pod, Next::Nothing);
                actions.push(Action::PatchStatus { pod });
            }
        }
        false
    }

    /// Binds a pod.
    pub(super) fn bind(&mut self, actions: &mut Vec<Action>, pod: PodId, node: NodeId) {
        match self.in_flight.get_mut(&pod) {
            Some(next) => *next = Next::Bind(node),
            None => actions.push(Action::Bind { pod, node }),
        }
    }

    /// A pod's status patch was answered.
    pub(super) fn patched(&mut self, actions: &mut Vec<Action>, pod: PodId) {
        match self.in_flight.remove(&pod) {
            Some(Next::Patch) => {
                self.in_flight.insert(pod, Next::Nothing);
                actions.push(Action::PatchStatus { pod });
            }
            Some(Next::Bind(node)) => actions.push(Action::Bind { pod, node }),
            Some(Next::Nothing) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases of `call_queue_test.go`: TestCallQueueAdd and TestCallQueueFinalize.
    #[test]
    fn one_call_a_pod_is_in_flight() {
        let mut calls = ApiCalls::new(true);
        let mut actions = Vec::new();
        assert!(!calls.patch(&mut actions, 1));
        calls.patch(&mut actions, 2);
        let patch = |pod| Action::PatchStatus { pod };
        assert_eq!(actions, [patch(1), patch(2)]);
        // Two more patches of the same pod are one; a binding stands instead, and is not overwritten by a patch.
        actions.clear();
        calls.patch(&mut actions, 1);
        calls.patch(&mut actions, 1);
        calls.patch(&mut actions, 2);
        calls.bind(&mut actions, 2, 7);
        calls.patch(&mut actions, 2);
        assert_eq!(actions, []);
        calls.patched(&mut actions, 1);
        calls.patched(&mut actions, 2);
        assert_eq!(actions, [patch(1), Action::Bind { pod: 2, node: 7 }]);
        actions.clear();
        calls.patched(&mut actions, 1);
        calls.patched(&mut actions, 1);
        assert_eq!(actions, []);
        calls.bind(&mut actions, 1, 3);
        assert_eq!(actions, [Action::Bind { pod: 1, node: 3 }]);
    }

    #[test]
    fn without_the_gate_the_cycle_waits() {
        let mut calls = ApiCalls::new(false);
        let mut actions = Vec::new();
        assert!(calls.patch(&mut actions, 1));
        calls.bind(&mut actions, 1, 3);
        assert_eq!(actions, [Action::PatchStatus { pod: 1 }, Action::Bind { pod: 1, node: 3 }]);
    }
}
