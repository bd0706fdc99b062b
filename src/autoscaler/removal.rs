//! How an autoscaler takes a node away: taint, evict, wait, give the machine back.
//!
//! Both autoscalers taint the node so that nothing new comes, evict its pods through the API server, which asks their disruption
//! budgets, wait until they are gone, and end the machine. They differ in their [`Manners`]:
//!
//! | | cluster-autoscaler | Karpenter |
//! |---|---|---|
//! | taint | `ToBeDeletedByClusterAutoscaler:NoSchedule`, and cordoned | `karpenter.sh/disrupted:NoSchedule` |
//! | then | waits 5 s (`--node-delete-delay-after-taint`) | evicts at once |
//! | an empty node that has pods by then | is left alone | is drained |
//! | an eviction that is refused | again after 10 s, for 2 minutes (`--max-pod-eviction-time`), then the node is left alone | again after 100 ms doubled to 10 s, without end |
//! | pods that don't end | looked at each 5 s; after 10 minutes (`--max-graceful-termination-sec`) and 30 s the node is left alone | looked at each second, without end |
//!
//! A node that is left alone loses its taint. Pods of DaemonSets are not evicted: they go with the machine.
//!
//! Sources: autoscaler 1.36.1 `core/scaledown/actuation/{actuator,drain,delete_in_batch}.go`, `utils/taints`; Karpenter 1.14.1
//! `pkg/controllers/node/termination/{controller.go,terminator/}`.
//!
//! Left out: pods that tolerate the taint and could come back to the node (refused by name), reads (of nodes before a taint, of pods that are waited for: what is stored is looked at without a request), volumes that have to
//! detach, grace periods (see the node agents), `--node-deletion-batcher-interval`, the machine's shutdown.
//!
//! Invariant: a node is ended only when no pod that counts is left on it, or with its last eviction granted by its budget.
//!
//! Cost: O(pods on the node) a node and a look, a request a pod.
use std::collections::{BTreeMap, VecDeque};

use super::Env;
use crate::cluster::{NO_NODE, NodeId, PodId};
use crate::control_plane::controllers::Answer;
use crate::control_plane::kernel::{AutoscalerEvent, Event};
use crate::control_plane::store::{Mark, NodePatch, Refusal};
use crate::control_plane::{ClientId, Verb};
use crate::engine::{MILLISECOND, Nanos, SECOND};

/// A taint that got lost is written again.
const AGAIN_NS: Nanos = 10 * SECOND;

/// When an eviction that was refused is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// After so long.
    Every(Nanos),
    /// After the first span, doubled up to the second.
    Doubled(Nanos, Nanos),
}

/// What the two do differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manners {
    /// The taint.
    pub mark: Mark,
    /// The node is cordoned, too.
    pub cordons: bool,
    /// Between the taint and what follows.
    pub delay_ns: Nanos,
    /// Refused evictions.
    pub retry: Retry,
    /// Evictions are tried for so long.
    pub evict_for_ns: Nanos,
    /// Between two looks at pods that end.
    pub look_ns: Nanos,
    /// They may take so long.
    pub wait_for_ns: Nanos,
}

impl Manners {
    /// cluster-autoscaler's.
    #[must_use]
    pub const fn of_cluster_autoscaler(delay_ns: Nanos, evict_for_ns: Nanos, graceful_ns: Nanos) -> Self {
        Self {
            mark: Mark::ToBeDeleted,
            cordons: true,
            delay_ns,
            retry: Retry::Every(10 * SECOND),
            evict_for_ns,
            look_ns: 5 * SECOND,
            wait_for_ns: graceful_ns + 30 * SECOND,
        }
    }

    /// Karpenter's.
    #[must_use]
    pub const fn of_karpenter() -> Self {
        Self {
            mark: Mark::Disrupted,
            cordons: false,
            delay_ns: 0,
            retry: Retry::Doubled(100 * MILLISECOND, 10 * SECOND),
            evict_for_ns: Nanos::MAX,
            look_ns: SECOND,
            wait_for_ns: Nanos::MAX,
        }
    }

    fn taint(&self) -> PodId {
        let patch = NodePatch::default().set(self.mark);
        if self.cordons { patch.set(Mark::Cordoned) } else { patch }.encode()
    }

    fn untaint(&self) -> PodId {
        let patch = NodePatch::default().clear(self.mark);
        if self.cordons { patch.clear(Mark::Cordoned) } else { patch }.encode()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Stage {
    /// The taint is being written.
    Taints,
    /// Tainted; nothing more until it is told to go on.
    Held,
    /// Waits after the taint.
    Waits,
    /// Evictions are under way.
    Evicts,
    /// Pods end.
    Ends,
    /// The taint is being taken off.
    Untaints,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Eviction {
    /// The request is out, or waits to be made again.
    Asked { failures: u32, due_ns: Nanos },
    /// Granted, or the pod is gone.
    Done,
    /// Given up.
    Failed,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Removal {
    stage: Stage,
    /// It is to be removed only if it is empty.
    empty: bool,
    /// It goes on by itself once it is tainted.
    at_once: bool,
    /// When its timer is due.
    due_ns: Nanos,
    /// When its stage has taken too long.
    until_ns: Nanos,
    pods: BTreeMap<PodId, Eviction>,
}

/// What became of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Outcome {
    /// Its taint is stored.
    Tainted(NodeId),
    /// Its pods are gone: the machine is to end. Whether it had none from the beginning.
    Drained(NodeId, bool),
    /// It is left alone; its taint is being taken off.
    LeftAlone(NodeId),
}

/// Nodes on their way out.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Removals {
    #[serde(skip)]
    manners: Option<Manners>,
    client: ClientId,
    active: BTreeMap<NodeId, Removal>,
    /// The node that each eviction is for.
    of_pod: BTreeMap<PodId, NodeId>,
    outcomes: VecDeque<Outcome>,
    granted: u64,
    refused: u64,
    left_alone: u64,
}

fn timer(env: &mut Env<'_>, at: Nanos, what: AutoscalerEvent) {
    env.kernel.at(at, Event::Autoscaler { what });
}

/// Pods of a node that have to go before it does.
pub fn pods_to_evict(env: &Env<'_>, node: NodeId) -> Vec<PodId> {
    let of_daemon_set = |pod: PodId| env.cluster.pods.spec(pod).required_node.is_some();
    let pods = env.control_plane.store().pods_on(node).iter().copied();
    let mut pods: Vec<PodId> = pods.filter(|pod| !of_daemon_set(*pod)).collect();
    pods.sort_unstable();
    pods
}

impl Removals {
    /// None yet.
    #[must_use]
    pub const fn new(client: ClientId, manners: Manners) -> Self {
        Self {
            manners: Some(manners),
            client,
            active: BTreeMap::new(),
            of_pod: BTreeMap::new(),
            outcomes: VecDeque::new(),
            granted: 0,
            refused: 0,
            left_alone: 0,
        }
    }

    /// Takes over what a checkpoint leaves to the inputs.
    pub fn keep_inputs_of(&mut self, built: Self) {
        self.manners = built.manners;
    }

    /// Whether a node is on its way out.
    #[must_use]
    pub fn has(&self, node: NodeId) -> bool {
        self.active.get(&node).is_some_and(|it| it.stage != Stage::Untaints)
    }

    /// Whether a node is on its way out or its taint has not been taken off yet.
    #[must_use]
    pub fn holds(&self, node: NodeId) -> bool {
        self.active.contains_key(&node)
    }

    /// Nodes on their way out, with whether they were empty.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, bool)> {
        let active = self.active.iter().filter(|(_, it)| it.stage != Stage::Untaints);
        active.map(|(node, it)| (*node, it.empty))
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// Evictions granted and refused, nodes left alone.
    #[must_use]
    pub const fn counts(&self) -> (u64, u64, u64) {
        (self.granted, self.refused, self.left_alone)
    }

    /// What became of a node, oldest first.
    pub fn next_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    fn manners(&self) -> Manners {
        self.manners.unwrap_or(Manners::of_karpenter())
    }

    /// Begins with a node; `at_once`: it goes on once the taint is stored.
    pub fn begin(&mut self, env: &mut Env<'_>, node: NodeId, empty: bool, at_once: bool) {
        let removal = Removal {
            stage: Stage::Taints,
            empty,
            at_once,
            due_ns: Nanos::MAX,
            until_ns: Nanos::MAX,
            pods: BTreeMap::new(),
        };
        self.active.insert(node, removal);
        let patch = self.manners().taint();
        env.control_plane.submit(env.kernel, self.client, Verb::PatchNode, patch, node);
    }

    /// A node that was only tainted is drained.
    pub fn go_on(&mut self, env: &mut Env<'_>, node: NodeId) {
        let Some(it) = self.active.get_mut(&node) else { return };
        it.at_once = true;
        if it.stage == Stage::Held {
            self.tainted(env, node);
        }
    }

    /// A node is left alone after all.
    pub fn leave_alone(&mut self, env: &mut Env<'_>, node: NodeId) {
        let Some(it) = self.active.get_mut(&node) else { return };
        if it.stage == Stage::Untaints {
            return;
        }
        it.stage = Stage::Untaints;
        it.pods.clear();
        self.of_pod.retain(|_, of| *of != node);
        self.left_alone += 1;
        self.outcomes.push_back(Outcome::LeftAlone(node));
        let patch = self.manners().untaint();
        env.control_plane.submit(env.kernel, self.client, Verb::PatchNode, patch, node);
    }

    /// The machine of a drained node does not end after all.
    pub fn take_back(&mut self, env: &mut Env<'_>, node: NodeId) {
        let removal = Removal {
            stage: Stage::Taints,
            empty: false,
            at_once: false,
            due_ns: Nanos::MAX,
            until_ns: Nanos::MAX,
            pods: BTreeMap::new(),
        };
        self.active.insert(node, removal);
        self.leave_alone(env, node);
    }

    /// A node is gone.
    pub fn forget(&mut self, node: NodeId) {
        self.active.remove(&node);
        self.of_pod.retain(|_, of| *of != node);
    }

    fn due(&mut self, env: &mut Env<'_>, node: NodeId, at: Nanos) {
        if let Some(it) = self.active.get_mut(&node) {
            it.due_ns = at;
            timer(env, at, AutoscalerEvent::Removal { node });
        }
    }

    fn tainted(&mut self, env: &mut Env<'_>, node: NodeId) {
        let (now, delay_ns) = (env.kernel.now(), self.manners().delay_ns);
        let Some(it) = self.active.get_mut(&node) else { return };
        it.stage = if it.at_once { Stage::Waits } else { Stage::Held };
        if it.at_once {
            self.due(env, node, now + delay_ns);
        }
    }

    /// The removal of a node is due.
    pub fn on_timer(&mut self, env: &mut Env<'_>, node: NodeId) {
        let now = env.kernel.now();
        let Some(it) = self.active.get_mut(&node).filter(|it| it.due_ns == now) else { return };
        it.due_ns = Nanos::MAX;
        match it.stage {
            Stage::Waits => self.evict(env, node),
            Stage::Ends => self.look(env, node),
            Stage::Untaints => {
                let patch = self.manners().untaint();
                env.control_plane.submit(env.kernel, self.client, Verb::PatchNode, patch, node);
            }
            Stage::Taints | Stage::Held | Stage::Evicts => {}
        }
    }

    fn evict(&mut self, env: &mut Env<'_>, node: NodeId) {
        let manners = self.manners();
        let now = env.kernel.now();
        let pods = pods_to_evict(env, node);
        let Some(it) = self.active.get_mut(&node) else { return };
        if it.empty && !pods.is_empty() && manners.cordons {
            self.leave_alone(env, node);
            return;
        }
        it.stage = Stage::Evicts;
        it.until_ns = now.saturating_add(manners.evict_for_ns);
        for pod in &pods {
            it.pods.insert(*pod, Eviction::Asked { failures: 0, due_ns: Nanos::MAX });
            self.of_pod.insert(*pod, node);
        }
        for pod in pods {
            env.control_plane.submit(env.kernel, self.client, Verb::Evict, pod, NO_NODE);
        }
        self.evicted(env, node);
    }

    /// Whether all evictions have come to something.
    fn evicted(&mut self, env: &mut Env<'_>, node: NodeId) {
        let Some(it) = self.active.get_mut(&node).filter(|it| it.stage == Stage::Evicts) else { return };
        if it.pods.values().any(|e| matches!(e, Eviction::Asked { .. })) {
            return;
        }
        if it.pods.values().any(|e| *e == Eviction::Failed) {
            self.leave_alone(env, node);
            return;
        }
        it.stage = Stage::Ends;
        let now = env.kernel.now();
        let wait_for_ns = self.manners().wait_for_ns;
        if let Some(it) = self.active.get_mut(&node) {
            it.until_ns = now.saturating_add(wait_for_ns);
        }
        self.look(env, node);
    }

    fn look(&mut self, env: &mut Env<'_>, node: NodeId) {
        let now = env.kernel.now();
        let manners = self.manners();
        let Some(it) = self.active.get(&node) else { return };
        let store = env.control_plane.store();
        // Karpenter looks at the node, cluster-autoscaler at those that it has evicted.
        let left = if manners.cordons {
            it.pods.keys().any(|pod| !store.is_over(*pod))
        } else {
            !pods_to_evict(env, node).is_empty()
        };
        let until_ns = it.until_ns;
        if !left {
            let empty = it.pods.is_empty();
            self.active.remove(&node);
            self.of_pod.retain(|_, of| *of != node);
            self.outcomes.push_back(Outcome::Drained(node, empty));
        } else if now >= until_ns {
            self.leave_alone(env, node);
        } else {
            if !manners.cordons {
                self.evict_others(env, node);
            }
            self.due(env, node, now + manners.look_ns);
        }
    }

    /// Pods that have come to a node after its list was made.
    fn evict_others(&mut self, env: &mut Env<'_>, node: NodeId) {
        let Some(it) = self.active.get_mut(&node) else { return };
        for pod in pods_to_evict(env, node) {
            if let std::collections::btree_map::Entry::Vacant(slot) = it.pods.entry(pod) {
                slot.insert(Eviction::Asked { failures: 0, due_ns: Nanos::MAX });
                self.of_pod.insert(pod, node);
                env.control_plane.submit(env.kernel, self.client, Verb::Evict, pod, NO_NODE);
            }
        }
    }

    /// An eviction is due again.
    pub fn on_evict_again(&mut self, env: &mut Env<'_>, pod: PodId) {
        let now = env.kernel.now();
        let Some(node) = self.of_pod.get(&pod) else { return };
        let Some(it) = self.active.get_mut(node) else { return };
        if let Some(Eviction::Asked { due_ns, .. }) = it.pods.get_mut(&pod)
            && *due_ns == now
        {
            *due_ns = Nanos::MAX;
            env.control_plane.submit(env.kernel, self.client, Verb::Evict, pod, NO_NODE);
        }
    }

    /// An answer; false: it is about nothing of these.
    pub fn on_answered(&mut self, env: &mut Env<'_>, answer: Answer) -> bool {
        match answer.verb {
            Verb::PatchNode => self.on_node_answered(env, answer),
            // An eviction that is granted is answered as the deletion that it is.
            Verb::Evict | Verb::DeleteGracefully | Verb::DeletePod => {
                self.on_pod_answered(env, answer);
                true
            }
            _ => false,
        }
    }

    fn on_node_answered(&mut self, env: &mut Env<'_>, answer: Answer) -> bool {
        let (node, now) = (answer.node, env.kernel.now());
        let manners = self.manners();
        let (taint, untaint) = (manners.taint(), manners.untaint());
        if answer.pod != taint && answer.pod != untaint {
            return false;
        }
        let Some(it) = self.active.get_mut(&node) else { return true };
        if answer.refusal.is_some() {
            // The node is gone.
            self.forget(node);
            return true;
        }
        match it.stage {
            Stage::Taints if answer.pod == taint && answer.ok => {
                self.outcomes.push_back(Outcome::Tainted(node));
                self.tainted(env, node);
            }
            Stage::Taints if answer.pod == taint => self.leave_alone(env, node),
            Stage::Untaints if answer.pod == untaint && answer.ok => self.forget(node),
            Stage::Untaints if answer.pod == untaint => self.due(env, node, now + AGAIN_NS),
            _ => {}
        }
        true
    }

    fn on_pod_answered(&mut self, env: &mut Env<'_>, answer: Answer) {
        let (pod, now) = (answer.pod, env.kernel.now());
        self.granted += u64::from(answer.ok);
        self.refused += u64::from(answer.refusal == Some(Refusal::Disruption));
        let Some(node) = self.of_pod.get(&pod).copied() else { return };
        let retry = self.manners().retry;
        let Some(it) = self.active.get_mut(&node) else { return };
        let until_ns = it.until_ns;
        let Some(eviction) = it.pods.get_mut(&pod) else { return };
        let Eviction::Asked { failures, .. } = *eviction else { return };
        if answer.ok || answer.refusal == Some(Refusal::NotFound) {
            *eviction = Eviction::Done;
        } else {
            let wait_ns = match retry {
                Retry::Every(span) => span,
                Retry::Doubled(first, most) => (first << failures.min(20)).min(most),
            };
            let again_ns = now + wait_ns;
            if again_ns < until_ns {
                *eviction = Eviction::Asked { failures: failures + 1, due_ns: again_ns };
                timer(env, again_ns, AutoscalerEvent::EvictAgain { pod });
            } else {
                *eviction = Eviction::Failed;
            }
        }
        self.evicted(env, node);
    }
}
