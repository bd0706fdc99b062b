//! The pod garbage collector: pods of nodes that are gone.
//!
//! Every 20 s it looks for pods bound to nodes that don't exist. A node that is missed is given 40 s; if it does not exist
//! then (one GET), its pods are marked as failed and deleted without a grace period, one after the other.
//!
//! Source: k/k `pkg/controller/podgc/gc_controller.go`.
//!
//! Left out: ended pods beyond `--terminated-pod-gc-threshold`, the taint `out-of-service`.
//!
//! Cost: nothing while no node is gone; O(pods on it) a node.
use std::collections::{BTreeMap, VecDeque};

use super::super::kernel::ControllerEvent;
use super::super::{ClientId, Verb};
use super::{Answer, Env};
use crate::cluster::{NO_NODE, NodeChange, NodeId, PodId};
use crate::engine::{Nanos, SECOND};

const PERIOD_NS: Nanos = 20 * SECOND;
const QUARANTINE_NS: Nanos = 40 * SECOND;

/// The controller.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct PodGc {
    client: ClientId,
    phase_ns: Nanos,
    /// Nodes that are missed, with the time at which they are taken to be gone.
    missed: BTreeMap<NodeId, Nanos>,
    /// Pods to be deleted, one after the other; the first is under way if `busy`.
    doomed: VecDeque<(Verb, PodId)>,
    busy: bool,
    /// When the next look is due.
    look_ns: Option<Nanos>,
    collected: u64,
}

impl PodGc {
    /// A collector whose looks have this phase.
    #[must_use]
    pub fn new(client: ClientId, phase_ns: Nanos) -> Self {
        Self {
            client,
            phase_ns: phase_ns % PERIOD_NS,
            missed: BTreeMap::new(),
            doomed: VecDeque::new(),
            busy: false,
            look_ns: None,
            collected: 0,
        }
    }

    /// The manager's process is a new one: it looks at once.
    pub fn restart(&mut self, env: &mut Env<'_>) {
        *self = Self { collected: self.collected, ..Self::new(self.client, env.kernel.now()) };
        for node in 0..env.cluster.nodes.len() as NodeId {
            let is_gone = !env.cluster.nodes.get(node).present;
            if is_gone && !env.control_plane.store().pods_on(node).is_empty() {
                self.on_node(env, node, NodeChange::Deleted);
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
    pub const fn collected(&self) -> u64 {
        self.collected
    }

    fn set_look(&mut self, env: &mut Env<'_>) {
        if self.look_ns.is_none() {
            let now = env.kernel.now();
            let since = now.saturating_sub(self.phase_ns);
            let at = if now < self.phase_ns {
                self.phase_ns
            } else {
                self.phase_ns + (since / PERIOD_NS + 1) * PERIOD_NS
            };
            self.look_ns = Some(at);
            env.timer(at, ControllerEvent::PodGc);
        }
    }

    /// The informer has shown a change of a node.
    pub fn on_node(&mut self, env: &mut Env<'_>, node: NodeId, change: NodeChange) {
        if change == NodeChange::Deleted {
            // Not before the next look.
            self.missed.entry(node).or_insert(Nanos::MAX);
            self.set_look(env);
        }
    }

    /// The informer has shown a pod on a node.
    pub fn on_pod_bound(&mut self, env: &mut Env<'_>, pod: PodId) {
        let node = env.cluster.pods.node(pod);
        if node != NO_NODE && !env.cluster.nodes.get(node).present {
            self.on_node(env, node, NodeChange::Deleted);
        }
    }

    /// A look.
    pub fn on_timer(&mut self, env: &mut Env<'_>) {
        let now = env.kernel.now();
        self.look_ns = None;
        if self.busy {
            // The loop is still deleting; it looks again when it is done.
            return;
        }
        let store = env.control_plane.store();
        self.missed.retain(|node, gone_ns| {
            if store.pods_on(*node).is_empty() {
                return false;
            }
            if *gone_ns == Nanos::MAX {
                *gone_ns = now + QUARANTINE_NS;
            } else if *gone_ns <= now {
                let mut pods = store.pods_on(*node).to_vec();
                pods.sort_unstable();
                self.doomed.push_back((Verb::GetPod, pods[0]));
                self.doomed
                    .extend(pods.into_iter().flat_map(|p| [(Verb::PatchFailed, p), (Verb::DeletePod, p)]));
            }
            true
        });
        self.next(env);
        if !self.busy && !self.missed.is_empty() {
            self.set_look(env);
        }
    }

    fn next(&mut self, env: &mut Env<'_>) {
        match self.doomed.front() {
            Some((verb, pod)) => {
                self.busy = true;
                env.control_plane.submit(env.kernel, self.client, *verb, *pod, NO_NODE);
            }
            None => {
                self.busy = false;
                if !self.missed.is_empty() {
                    self.set_look(env);
                }
            }
        }
    }

    /// An answer.
    pub fn on_answered(&mut self, env: &mut Env<'_>, answer: Answer) {
        let Some((verb, pod)) = self.doomed.pop_front() else { return };
        let failed = !answer.ok && answer.refusal.is_none();
        match verb {
            // The look-up of the node failed: its pods wait for the next look.
            Verb::GetPod if failed => {
                while self.doomed.front().is_some_and(|(verb, _)| *verb != Verb::GetPod) {
                    self.doomed.pop_front();
                }
            }
            // The pod stays as it is until the next look.
            Verb::PatchFailed if failed && self.doomed.front() == Some(&(Verb::DeletePod, pod)) => {
                self.doomed.pop_front();
            }
            Verb::DeletePod if answer.ok => self.collected += 1,
            _ => {}
        }
        self.next(env);
    }
}
