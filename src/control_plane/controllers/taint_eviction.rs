//! The taint eviction controller: pods leave nodes whose `NoExecute` taints they don't tolerate.
//!
//! A pod on a node that bears such a taint is deleted at once if it does not tolerate it, after the shortest
//! `tolerationSeconds` of the tolerations that match, and never if none of them says how long. Admission gives every pod
//! tolerations of `not-ready` and `unreachable` for 300 s unless it brings its own (`DefaultTolerationSeconds`); they are
//! added here when a pod is looked at. The clock starts when the informer shows the taint, or the pod on the tainted node,
//! and stops when the taint goes. A deletion is three requests (GET, a status patch that says why, DELETE) from a goroutine
//! of its own, tried five times 10 ms apart; then the controller gives up until the node or the pod changes.
//!
//! Source: k/k `pkg/controller/tainteviction/{taint_eviction,timed_workers}.go`,
//! `plugin/pkg/admission/defaulttolerationseconds/admission.go`.
//!
//! Left out: the eight workers that sort the informer's changes by node, events.
//!
//! Cost: O(pods on the node x taints x tolerations) a change of a node's taints.
use std::collections::BTreeMap;

use super::super::kernel::ControllerEvent;
use super::super::store::{NOT_READY, Refusal, UNREACHABLE};
use super::super::{ClientId, Verb};
use super::{Answer, Env};
use crate::cluster::{NO_NODE, NodeChange, NodeId, PodId, Taint, TaintEffect, Toleration};
use crate::engine::{MILLISECOND, Nanos, SECOND};

/// Tries of a deletion.
const TRIES: u8 = 5;
const RETRY_NS: Nanos = 10 * MILLISECOND;

/// A deletion under way: how often it has been tried, and the request that is out.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Deletion {
    tries: u8,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Step {
    Get,
    Patch,
    Delete,
    /// It waits for its next try.
    Wait,
}

/// A pod that is to leave.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Scheduled {
    since_ns: Nanos,
    at_ns: Nanos,
}

/// The controller.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct TaintEviction {
    client: ClientId,
    /// `--default-not-ready-toleration-seconds` and its sister, ns.
    default_toleration_ns: Nanos,
    scheduled: BTreeMap<PodId, Scheduled>,
    deletions: BTreeMap<PodId, Deletion>,
    /// Pods that it has deleted.
    evicted: u64,
}

/// How long a pod with these tolerations stays on a node with these `NoExecute` taints, ns; none: for good.
#[must_use]
pub fn stay_ns(tolerations: &[Toleration], taints: &[&Taint], default_ns: Nanos) -> Option<Nanos> {
    let mut shortest: Option<Nanos> = None;
    let mut shorten = |ns: Nanos| shortest = Some(shortest.map_or(ns, |s: Nanos| s.min(ns)));
    for taint in taints {
        let mut tolerated = false;
        for toleration in tolerations.iter().filter(|t| t.covers(taint)) {
            tolerated = true;
            if let Some(seconds) = toleration.seconds {
                shorten(seconds.saturating_mul(SECOND));
            }
        }
        let any_effect = |effect: Option<TaintEffect>| effect.is_none_or(|e| e == TaintEffect::NoExecute);
        let has_own = |key: &str| {
            tolerations.iter().any(|t| (t.key == key || t.key.is_empty()) && any_effect(t.effect))
        };
        if [NOT_READY, UNREACHABLE].contains(&taint.key.as_str()) && !has_own(&taint.key) {
            tolerated = true;
            shorten(default_ns);
        }
        if !tolerated {
            return Some(0);
        }
    }
    shortest
}

impl TaintEviction {
    /// A controller that has seen no taint yet.
    #[must_use]
    pub fn new(client: ClientId, default_toleration_ns: Nanos) -> Self {
        Self {
            client,
            default_toleration_ns,
            scheduled: BTreeMap::new(),
            deletions: BTreeMap::new(),
            evicted: 0,
        }
    }

    /// The manager's process is a new one: clocks of tolerations start again.
    pub fn restart(&mut self, env: &mut Env<'_>) {
        self.scheduled.clear();
        self.deletions.clear();
        for node in 0..env.cluster.nodes.len() as NodeId {
            let taints = &env.cluster.nodes.template(node).taints;
            if taints.iter().any(|t| t.effect == TaintEffect::NoExecute) {
                self.on_node(env, node, NodeChange::Updated);
            }
        }
    }

    /// Its client.
    #[must_use]
    pub const fn client(&self) -> ClientId {
        self.client
    }

    /// Pods that it has deleted so far.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The informer has shown a change of a node.
    pub fn on_node(&mut self, env: &mut Env<'_>, node: NodeId, change: NodeChange) {
        if change == NodeChange::Deleted {
            return;
        }
        let mut pods = env.control_plane.store().pods_on(node).to_vec();
        pods.sort_unstable();
        for pod in pods {
            self.look_at(env, pod, node);
        }
    }

    /// The informer has shown a pod on a node.
    pub fn on_pod_bound(&mut self, env: &mut Env<'_>, pod: PodId) {
        let node = env.cluster.pods.node(pod);
        if node != NO_NODE {
            self.look_at(env, pod, node);
        }
    }

    /// The informer has shown that a pod is gone.
    pub fn on_pod_gone(&mut self, pod: PodId) {
        self.scheduled.remove(&pod);
    }

    fn look_at(&mut self, env: &mut Env<'_>, pod: PodId, node: NodeId) {
        let template = env.cluster.nodes.template(node);
        let taints: Vec<&Taint> =
            template.taints.iter().filter(|t| t.effect == TaintEffect::NoExecute).collect();
        if taints.is_empty() {
            self.scheduled.remove(&pod);
            return;
        }
        if !env.cluster.nodes.get(node).present || env.control_plane.store().is_terminating(pod) {
            return;
        }
        let now = env.kernel.now();
        match stay_ns(&env.cluster.pods.spec(pod).tolerations, &taints, self.default_toleration_ns) {
            None => {
                self.scheduled.remove(&pod);
            }
            Some(0) => {
                self.scheduled.remove(&pod);
                self.begin(env, pod);
            }
            Some(stay_ns) => {
                let mut since_ns = now;
                if let Some(known) = self.scheduled.get(&pod) {
                    since_ns = known.since_ns;
                    // Its clock runs from the first taint; it would be due before now + stay, so it stays as it is.
                    if since_ns < now {
                        return;
                    }
                }
                let at_ns = now + stay_ns;
                self.scheduled.insert(pod, Scheduled { since_ns, at_ns });
                env.timer(at_ns, ControllerEvent::Evict { pod });
            }
        }
    }

    /// A pod's time may be over.
    pub fn on_timer(&mut self, env: &mut Env<'_>, pod: PodId) {
        let now = env.kernel.now();
        if self.scheduled.get(&pod).is_some_and(|s| s.at_ns == now) {
            self.scheduled.remove(&pod);
            self.begin(env, pod);
        }
    }

    fn begin(&mut self, env: &mut Env<'_>, pod: PodId) {
        if self.deletions.contains_key(&pod) || !env.control_plane.store().exists(pod) {
            return;
        }
        self.deletions.insert(pod, Deletion { tries: 0, step: Step::Get });
        env.control_plane.submit(env.kernel, self.client, Verb::GetPod, pod, NO_NODE);
    }

    /// A deletion is tried again.
    pub fn on_retry(&mut self, env: &mut Env<'_>, pod: PodId) {
        if let Some(deletion) = self.deletions.get_mut(&pod).filter(|d| d.step == Step::Wait) {
            deletion.step = Step::Get;
            env.control_plane.submit(env.kernel, self.client, Verb::GetPod, pod, NO_NODE);
        }
    }

    /// An answer.
    pub fn on_answered(&mut self, env: &mut Env<'_>, answer: Answer) {
        let pod = answer.pod;
        let Some(deletion) = self.deletions.get_mut(&pod) else { return };
        if !answer.ok {
            deletion.tries += 1;
            deletion.step = Step::Wait;
            if answer.refusal == Some(Refusal::NotFound) || deletion.tries == TRIES {
                self.deletions.remove(&pod);
            } else {
                env.timer(env.kernel.now() + RETRY_NS, ControllerEvent::EvictAgain { pod });
            }
            return;
        }
        let (step, verb) = match deletion.step {
            Step::Get => (Step::Patch, Verb::PatchCondition),
            Step::Patch => (Step::Delete, Verb::DeleteGracefully),
            Step::Delete | Step::Wait => {
                self.evicted += 1;
                self.deletions.remove(&pod);
                return;
            }
        };
        deletion.step = step;
        env.control_plane.submit(env.kernel, self.client, verb, pod, NO_NODE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stay(tolerations: Vec<Toleration>, taints: &[&str]) -> Option<Nanos> {
        let taint = |key: &&str| Taint {
            key: (*key).to_owned(),
            value: String::new(),
            effect: TaintEffect::NoExecute,
        };
        let taints: Vec<Taint> = taints.iter().map(taint).collect();
        stay_ns(&tolerations, &taints.iter().collect::<Vec<_>>(), 300 * SECOND)
    }

    fn toleration(key: &str, seconds: Option<u64>) -> Toleration {
        let effect = Some(TaintEffect::NoExecute);
        Toleration { key: key.to_owned(), exists: true, effect, seconds, ..Toleration::default() }
    }

    /// Facts: "Taints and Tolerations" (taint-based evictions) and `TestGetMinTolerationTime`.
    #[test]
    fn a_pod_stays_as_long_as_its_shortest_toleration() {
        assert_eq!(stay(vec![], &[UNREACHABLE]), Some(300 * SECOND), "by default five minutes");
        assert_eq!(stay(vec![], &[NOT_READY]), Some(300 * SECOND));
        assert_eq!(stay(vec![], &["example.com/other"]), Some(0), "not tolerated");
        assert_eq!(stay(vec![toleration(UNREACHABLE, Some(30))], &[UNREACHABLE]), Some(30 * SECOND));
        assert_eq!(stay(vec![toleration(UNREACHABLE, None)], &[UNREACHABLE]), None, "for good");
        assert_eq!(stay(vec![toleration(UNREACHABLE, Some(0))], &[UNREACHABLE]), Some(0));
        assert_eq!(stay(vec![toleration("", None)], &[UNREACHABLE, "x"]), None, "every taint, for good");
        let both = vec![toleration("a", Some(60)), toleration("b", Some(20))];
        assert_eq!(stay(both.clone(), &["a", "b"]), Some(20 * SECOND));
        assert_eq!(stay(both.clone(), &["a"]), Some(60 * SECOND));
        assert_eq!(stay(both, &["a", "c"]), Some(0), "one is not tolerated");
    }
}
