//! KWOK's Stages in a run: who hears of which change, and what else of the run they take the place of.
//!
//! With stages for pods nothing starts, ends or removes bound pods but they; with stages for nodes nothing reports a node as ready
//! but they ([`control_plane::stages`](crate::control_plane::stages)). A load client that ends pods deletes them with a grace period.
//! A node that a stage makes not ready is looked at by the node lifecycle controller, as one whose kubelet says so.
//!
//! Cost: that of the stages; a run without any pays a comparison a change.
use std::sync::Arc;

use super::{Builder, Simulation};
use crate::cluster::{NO_NODE, NodeId, PodId, Stage};
use crate::control_plane::controllers::Answer;
use crate::control_plane::node_agents::NodeAgents;
use crate::control_plane::stages::player::World;
use crate::control_plane::stages::{Kind, Stages};
use crate::control_plane::store::Ready;
use crate::control_plane::{ControlPlane, Verb};
use crate::scheduler::Failure;

impl Simulation {
    /// The stages of a plan.
    pub(super) fn build_stages(
        b: &mut Builder<'_>,
        control_plane: &mut ControlPlane,
        agents: &NodeAgents,
        watcher: Option<usize>,
    ) -> Option<Box<Stages>> {
        let set = b.plan.agents.stages.as_ref()?;
        let rng = b.streams.stream("agents.stages");
        if !set.nodes.is_empty()
            && let Some(watcher) = watcher
        {
            control_plane.watch_nodes(&mut b.kernel, watcher);
        }
        Some(Box::new(Stages::new(Arc::clone(set), agents.client()?, rng)))
    }

    /// Whether stages say what becomes of pods, or of nodes.
    #[inline]
    pub(super) fn has_stages_for(&self, kind: Kind) -> bool {
        self.stages.as_ref().is_some_and(|stages| stages.are_for(kind))
    }

    /// Calls the stages with all that they may touch.
    fn stage(&mut self, pod: Option<PodId>, f: impl FnOnce(&mut Stages, &mut World<'_>)) {
        let run_ns = pod.and_then(|pod| self.span(pod));
        let Self { stages: Some(stages), kernel, control_plane, cluster, .. } = self else { return };
        f(stages, &mut World { kernel, control_plane, cluster, run_ns });
        if stages.failure().is_some() {
            self.scheduler.failed = true;
        }
    }

    /// What is there already is looked at.
    pub(super) fn begin_stages(&mut self) {
        let Self { stages: Some(stages), kernel, cluster, scheduled, .. } = self else { return };
        if stages.are_for(Kind::Pod) {
            for pod in *scheduled..cluster.pods.first_placeholder() {
                stages.exists(kernel, Kind::Pod, pod);
            }
        }
        if stages.are_for(Kind::Node) {
            for node in 0..cluster.nodes.len() as NodeId {
                if cluster.nodes.get(node).present {
                    stages.exists(kernel, Kind::Node, node);
                }
            }
        }
    }

    /// A write to a pod is stored.
    pub(super) fn stage_stored(&mut self, verb: Verb, pod: PodId) {
        let now = self.kernel.now();
        if verb == Verb::Bind && self.cluster.pods.stage(pod) == Stage::Finished {
            // It was deleted meanwhile, and nothing is bound.
            return;
        }
        if let Some(stages) = self.stages.as_mut().filter(|stages| stages.are_for(Kind::Pod)) {
            stages.on_pod_stored(verb, pod, now);
        }
    }

    /// A write to a node is stored.
    pub(super) fn stage_node_stored(&mut self, verb: Verb, code: PodId, node: NodeId) {
        let now = self.kernel.now();
        let Some(stages) = self.stages.as_mut().filter(|stages| stages.are_for(Kind::Node)) else { return };
        stages.on_node_stored(verb, code, node, now);
        if verb == Verb::PatchNode && self.control_plane.store().node(node).ready != Ready::True {
            self.control(|controllers, env| controllers.node_lifecycle.watch(env, node));
        }
    }

    /// The agents' informer has shown a change of a pod that is bound.
    pub(super) fn stage_observes(&mut self, pod: PodId) {
        let node = self.cluster.pods.node(pod);
        if node != NO_NODE && self.cluster.nodes.get(node).present {
            self.stage(Some(pod), |stages, world| stages.look(world, Kind::Pod, pod));
        }
    }

    /// It has shown a change of a node.
    pub(super) fn stage_observes_node(&mut self, node: NodeId) {
        self.stage(None, |stages, world| stages.look(world, Kind::Node, node));
    }

    /// A delay is over.
    pub(super) fn on_stage_due(&mut self, kind: Kind, id: u32, nth: u32) {
        let pod = (kind == Kind::Pod).then_some(id);
        self.stage(pod, |stages, world| stages.on_timer(world, kind, id, nth));
    }

    /// An answer to the agents; false: it is not about a stage.
    pub(super) fn on_stage_answered(&mut self, answer: Answer) -> bool {
        let Answer { verb, pod, node, ok, refusal } = answer;
        let (kind, id) = match verb {
            Verb::CreateEvent => return true,
            Verb::CreateNode | Verb::List => return false,
            Verb::PatchNode | Verb::DeleteNode => (Kind::Node, node),
            _ => (Kind::Pod, pod),
        };
        if !self.has_stages_for(kind) {
            return false;
        }
        let run_of = (kind == Kind::Pod).then_some(id);
        self.stage(run_of, |stages, world| stages.on_answered(world, kind, id, ok, refusal.is_some()));
        true
    }

    /// Why stages have ended the run.
    pub(super) fn stages_failure(&self) -> Option<Failure> {
        let message = self.stages.as_ref()?.failure()?.to_owned();
        Some(Failure { message, is_input: true })
    }
}
