//! A node autoscaler in a run: what is stored goes to `autoscaler`, and the machines that it asks for, or gives back, come and go.
//!
//! Nothing here decides. A machine that has started registers its node as every kubelet does; one that ends is off at once, and its Node object is deleted by
//! the cloud's controller. Pods that are still on it (those of DaemonSets) are left to the garbage collector.
//!
//! Cost: O(log pods) a write about a pod, in runs with an autoscaler; O(pods on the node) for a machine that ends.
use super::{Builder, Simulation, bucket};
use crate::autoscaler::{Action, Autoscaling, World};
use crate::cluster::{NO_NODE, NodeId, PodId, Stage};
use crate::control_plane::apf::{FlowId, Identity, ResourceClass};
use crate::control_plane::node_agents::Trouble;
use crate::control_plane::{ControlPlane, Verb};

impl Simulation {
    /// The autoscaler and its client. Its CPU is not charged.
    pub(super) fn build_autoscaling(
        b: &mut Builder<'_>,
        control_plane: &mut ControlPlane,
        max_streams: u32,
    ) -> Option<Box<Autoscaling>> {
        let plan = b.plan.autoscaler.as_ref()?;
        let name = plan.name;
        let transport = control_plane.add_transport(&mut b.kernel, None, max_streams);
        let flow = control_plane.admitter().map_or_else(FlowId::default, |admitter| {
            let identity = Identity::ServiceAccount { namespace: "kube-system", name };
            admitter.flow(identity, ResourceClass::Other, "default")
        });
        let bucket = bucket(plan.client);
        let client = control_plane.add_client(&mut b.kernel, name, None, transport, bucket, flow);
        Some(Box::new(Autoscaling::new(&plan.config, client, &b.streams)))
    }

    /// Calls the autoscaler, if there is one, and carries out what it has done to machines.
    pub(super) fn autoscale(&mut self, f: impl FnOnce(&mut Autoscaling, World<'_>)) {
        let Self { kernel, control_plane, cluster, agents, autoscaling, .. } = self;
        let Some(autoscaling) = autoscaling else { return };
        let mut actions = Vec::new();
        f(autoscaling, World { kernel, control_plane, cluster, agents, actions: &mut actions });
        for action in actions {
            match action {
                Action::Register(node) => {
                    let cloud = self.cloud();
                    self.register_node(node, cloud);
                }
                Action::End(node) => self.end_machine(node),
            }
        }
    }

    /// A machine ends.
    fn end_machine(&mut self, node: NodeId) {
        let now = self.kernel.now();
        self.agents.fail(node, Trouble::Down, now);
        let mut pods = self.control_plane.store().pods_on(node).to_vec();
        pods.sort_unstable();
        if let Some(changes) = self.changes.as_mut() {
            for pod in pods {
                changes.recovery.lost(pod, now, None);
            }
        }
        let cloud = self.cloud();
        self.control_plane.submit(&mut self.kernel, cloud, Verb::DeleteNode, 0, node);
        self.control(|controllers, env| controllers.node_lifecycle.watch(env, node));
    }

    /// A write about a pod is stored, and its consequences have been drawn.
    #[inline]
    pub(super) fn autoscaler_sees(&mut self, verb: Verb, pod: PodId) {
        if self.autoscaling.is_none() || pod == PodId::MAX {
            return;
        }
        match verb {
            Verb::CreatePod => self.autoscale(|it, world| it.on_pod_created(world, pod)),
            // The scheduler writes other conditions, too: of pods that it binds, and of victims.
            Verb::PatchCondition
                if self.cluster.pods.node(pod) == NO_NODE
                    && self.cluster.pods.stage(pod) == Stage::Queued =>
            {
                self.autoscale(|it, world| it.on_condition(world, pod));
            }
            Verb::Bind => self.autoscale(|it, world| it.on_pod_bound(world, pod)),
            Verb::PatchSucceeded | Verb::PatchFailed | Verb::DeletePod => {
                self.autoscale(|it, world| it.on_pod_gone(world, pod));
            }
            _ => {}
        }
    }
}
