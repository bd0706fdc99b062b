//! First fit: the smallest scheduler that is one. FIFO queue, nodes in order of creation, the first that fits.
//!
//! It is the template for a fourth scheduler and the reference in tests. A pod that fits nowhere goes to the end
//! of a waiting list, which is tried again when a pod leaves or a node comes. Bindings run in goroutines of
//! their own, as in kube-scheduler.
//!
//! Left out: priorities, scores, taints' preferences, pod affinity and topology spread (a pod that asks for them
//! is placed by resources, taints, selectors and required node affinity only).
//!
//! Cost: O(nodes visited) a pod, charged as `cycle` + visited x `node_visited`.
use std::collections::VecDeque;

use super::{
    Action, BindOutcome, Context, NodeChange, NodeTable, PendingReasons, SchedulerModel, Settings, kube,
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
    /// By pod: whether it is counted on a node.
    placed: Vec<bool>,
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
            placed: Vec::new(),
            cycle: meter.operation("cycle")?,
            node_visited: meter.operation("node_visited")?,
        }))
    }

    /// Notes whether a pod is counted on a node, and says whether it was before.
    fn set_placed(&mut self, pod: PodId, placed: bool) -> bool {
        if self.placed.len() <= pod as usize {
            self.placed.resize(pod as usize + 1, false);
        }
        std::mem::replace(&mut self.placed[pod as usize], placed)
    }

    fn next_cycle(&mut self, cx: &mut Context<'_>) {
        if self.in_cycle.is_some() {
            return;
        }
        let Some(pod) = self.queue.pop_front() else { return };
        *cx.cycle_started = Some(pod);
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
        // One that someone else bound, or that was there before the scheduler.
        if !self.set_placed(pod, true) {
            self.nodes.force_pod(node, cx.cluster.pods.spec(pod));
        }
    }

    fn on_pod_gone(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId) {
        if self.set_placed(pod, false) {
            self.nodes.remove_pod(node, cx.cluster.pods.spec(pod));
        }
        self.retry_unschedulable(cx);
    }

    fn on_bind_done(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId, outcome: BindOutcome) {
        if outcome == BindOutcome::Failed {
            if self.set_placed(pod, false) {
                self.nodes.remove_pod(node, cx.cluster.pods.spec(pod));
            }
            self.queue.push_back(pod);
            self.next_cycle(cx);
        }
    }

    fn on_cpu_done(&mut self, cx: &mut Context<'_>, _tag: u64) {
        let Some((pod, node)) = self.in_cycle.take() else { return };
        if node == NO_NODE {
            self.unschedulable.push(pod);
        } else {
            self.nodes.add_pod(node, cx.cluster.pods.spec(pod));
            self.set_placed(pod, true);
            cx.actions.push(Action::Assume { pod });
            cx.actions.push(Action::Bind { pod, node });
        }
        self.next_cycle(cx);
    }

    fn on_timer(&mut self, _cx: &mut Context<'_>, _tag: u64) {}

    fn pending_reasons(&self, cluster: &Cluster) -> PendingReasons {
        let mut reasons = PendingReasons::new();
        for pod in &self.unschedulable {
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
