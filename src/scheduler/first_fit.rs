//! First fit: the smallest scheduler that is one. FIFO queue, nodes in order of creation, the first that fits.
//!
//! It is the template for a fourth scheduler and the reference in tests. A pod that fits nowhere goes to the end
//! of a waiting list, which is tried again when a pod leaves or a node comes, be it during the pod's own cycle. Bindings run in goroutines of
//! their own, as in kube-scheduler.
//!
//! Left out: priorities, scores, taints' preferences, pod affinity and topology spread (a pod that asks for them
//! is placed by resources, taints, selectors and required node affinity only).
//!
//! Cost: O(nodes visited) a pod, charged as `cycle` + visited x `node_visited`.
use std::collections::VecDeque;

use super::{
    Action, BindOutcome, Context, NodeChange, NodeTable, PendingReasons, Place, Places, SchedulerModel,
    Settings, kube,
};
use crate::cluster::{Cluster, NO_NODE, NodeId, PodId};
use crate::cost::{Meter, OpId, ProfileError, picos_to_nanos};
use crate::engine::codec::{self, CodecError};

/// The first-fit scheduler.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct FirstFit {
    nodes: NodeTable,
    queue: VecDeque<PodId>,
    unschedulable: Vec<PodId>,
    in_cycle: Option<(PodId, NodeId)>,
    /// Whether something changed since the cycle began that may make room.
    changed: bool,
    places: Places,
    cycle: OpId,
    node_visited: OpId,
}

impl FirstFit {
    /// Builds it; the profile has `cycle` and `node_visited`.
    ///
    /// # Errors
    /// The profile lacks an operation.
    pub fn build(_settings: &Settings, meter: &mut Meter) -> Result<Box<dyn SchedulerModel>, ProfileError> {
        Ok(Box::new(Self {
            nodes: NodeTable::default(),
            queue: VecDeque::new(),
            unschedulable: Vec::new(),
            in_cycle: None,
            changed: false,
            places: Places::default(),
            cycle: meter.operation("cycle")?,
            node_visited: meter.operation("node_visited")?,
        }))
    }

    /// Notes where a pod is; off its node if it was on one.
    fn move_to(&mut self, cluster: &Cluster, pod: PodId, place: Place) {
        if let Some(node) = self.places.put(pod, place).node() {
            self.nodes.remove_pod(node, cluster.pods.spec(pod));
        }
        if let Some(node) = place.node() {
            self.nodes.force_pod(node, cluster.pods.spec(pod));
        }
    }

    fn next_cycle(&mut self, cx: &mut Context<'_>) {
        if self.in_cycle.is_some() {
            return;
        }
        // Pods that were bound by someone else or are gone have left the queue's care.
        let pod = loop {
            let Some(pod) = self.queue.pop_front() else { return };
            if self.places.of(pod) == Place::Waiting {
                break pod;
            }
        };
        *cx.cycle_started = Some(pod);
        self.changed = false;
        let spec = cx.cluster.pods.spec(pod);
        let mut visited = 0;
        let mut chosen = NO_NODE;
        for node in 0..NodeId::try_from(self.nodes.len()).expect("nodes are limited") {
            if !self.nodes.is_present(node) {
                continue;
            }
            visited += 1;
            if self.nodes.fits(node, spec) && kube::static_rejection(cx.cluster, spec, node).is_none() {
                chosen = node;
                break;
            }
        }
        self.in_cycle = Some((pod, chosen));
        let cost = cx.meter.charge(self.cycle, 1) + cx.meter.charge(self.node_visited, visited);
        cx.cpu(picos_to_nanos(cost), 1, 0);
    }

    fn retry_unschedulable(&mut self, cx: &mut Context<'_>) {
        self.changed = true;
        self.queue.extend(self.unschedulable.drain(..));
        self.next_cycle(cx);
    }
}

impl SchedulerModel for FirstFit {
    fn kind(&self) -> &str {
        "first-fit"
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.next_cycle(cx);
    }

    fn on_node(&mut self, cx: &mut Context<'_>, node: NodeId, change: NodeChange) {
        match change {
            NodeChange::Added | NodeChange::Updated => self.nodes.set(cx.cluster, node),
            NodeChange::Deleted => self.nodes.remove(node),
        }
        self.retry_unschedulable(cx);
    }

    fn on_pod_pending(&mut self, cx: &mut Context<'_>, pod: PodId) {
        self.queue.push_back(pod);
        self.next_cycle(cx);
    }

    fn on_pod_bound(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId) {
        // One that someone else bound, or that was there before the scheduler; or the assumed one is confirmed.
        if self.places.of(pod) != Place::Gone {
            self.move_to(cx.cluster, pod, Place::On(node));
        }
    }

    fn on_pod_gone(&mut self, cx: &mut Context<'_>, pod: PodId, _node: NodeId) {
        self.move_to(cx.cluster, pod, Place::Gone);
        self.unschedulable.retain(|p| *p != pod);
        self.retry_unschedulable(cx);
    }

    fn on_bind_done(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId, outcome: BindOutcome) {
        // The informer may have shown meanwhile that it is bound after all, or gone.
        if outcome == BindOutcome::Failed && self.places.of(pod) == Place::Assumed(node) {
            self.move_to(cx.cluster, pod, Place::Waiting);
            self.queue.push_back(pod);
            self.next_cycle(cx);
        }
    }

    fn on_cpu_done(&mut self, cx: &mut Context<'_>, _tag: u64) {
        let Some((pod, node)) = self.in_cycle.take() else { return };
        if self.places.of(pod) != Place::Waiting {
            // Bound by someone else or gone while the cycle ran.
        } else if node == NO_NODE && self.changed {
            self.queue.push_back(pod);
        } else if node == NO_NODE {
            self.unschedulable.push(pod);
        } else if !self.nodes.fits(node, cx.cluster.pods.spec(pod)) {
            // Someone else's pod came to the node while the cycle ran.
            self.queue.push_front(pod);
        } else {
            self.move_to(cx.cluster, pod, Place::Assumed(node));
            cx.actions.push(Action::Assume { pod });
            cx.actions.push(Action::Bind { pod, node });
        }
        self.next_cycle(cx);
    }

    fn on_timer(&mut self, _cx: &mut Context<'_>, _tag: u64) {}

    fn pending_reasons(&self, cluster: &Cluster) -> PendingReasons {
        let mut reasons = PendingReasons::new();
        for pod in self.unschedulable.iter().filter(|pod| self.places.of(**pod) == Place::Waiting) {
            let spec = cluster.pods.spec(*pod);
            let reason = (0..NodeId::try_from(self.nodes.len()).expect("nodes are limited"))
                .filter(|n| self.nodes.is_present(*n))
                .find_map(|n| {
                    kube::static_rejection(cluster, spec, n)
                        .map(str::to_owned)
                        .or_else(|| self.nodes.shortage(cluster, n, &spec.requests))
                })
                .unwrap_or_else(|| "no node".to_owned());
            *reasons.entry(reason).or_default() += 1;
        }
        reasons
    }

    fn backlog(&self) -> u64 {
        self.queue.len() as u64
    }

    fn save(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self.kind(), self)
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), CodecError> {
        *self = codec::decode(state, self.kind())?;
        Ok(())
    }
}
