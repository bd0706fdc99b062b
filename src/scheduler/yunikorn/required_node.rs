//! Pods of DaemonSets: each is for one node, and nothing but that node is tried.
//!
//! When the walk comes to such an ask it cancels what other asks have reserved on the node, allocates the pod there if it fits,
//! and reserves the node for it otherwise; several DaemonSet pods may have the same node reserved. When a reserved node has
//! no room, pods there are preempted, once for an ask: no DaemonSet pods, none of higher priority, those that allow it and
//! are not the first of their application first, then by priority, then the youngest, as many as free what the ask wants.
//! If those and what is free are not enough, none is.
//!
//! Sources: `Application.tryRequiredNode`, `cancelReservations`, `required_node_preemptor.go`, `preemption_utilities.go` of
//! yunikorn-core 1.8. The real order of pods that are equal in all of this is that of a map; ours is that in which they
//! came to the node.
//!
//! Cost: O(pods on the node x log) a preemption.
use std::cmp::Reverse;

use super::cycle::{Core, Outcome, PodState, Work};
use super::res::Res;
use crate::cluster::{Cluster, NO_NODE, NodeId, PodId};

impl Core {
    /// The walk has come to an ask that is for one node. None: the next ask is looked at.
    pub(super) fn try_required_node(
        &mut self,
        cluster: &Cluster,
        pod: PodId,
        work: &mut Work,
    ) -> Option<Outcome> {
        let spec = cluster.pods.spec_id(pod);
        let node = self.specs[spec as usize].required.filter(|n| *n != NO_NODE)?;
        if !self.nodes.table.is_present(node) {
            return None;
        }
        for other in self.reserved_on.get(&node).cloned().unwrap_or_default() {
            if self.specs[cluster.pods.spec_id(other) as usize].required.is_none() {
                self.unreserve(cluster, other);
            }
        }
        work.nodes_visited += 1;
        // Its node may be reserved for other DaemonSet pods only: then it waits for its turn.
        let reserved = self.reserved_on.get(&node).is_none_or(|pods| pods.contains(&pod));
        if reserved
            && self.nodes.table.fits(node, cluster.pods.spec(pod))
            && self.passes(cluster, spec, node, work)
        {
            return Some(self.allocate_ask(cluster, cluster.pods.app_id(pod), pod, node));
        }
        if self.reserved_node(cluster, pod).is_some() {
            return None;
        }
        self.reserve(cluster, pod, node);
        Some(Outcome::Reserved(pod, node))
    }

    /// How willingly a pod is preempted: those that allow it, those that don't, the first ones of their applications.
    fn reluctance(&self, cluster: &Cluster, pod: PodId) -> u8 {
        let app = self.apps[cluster.pods.app_id(pod) as usize].as_ref();
        if app.is_some_and(|app| app.originator == Some(pod)) {
            2
        } else {
            u8::from(cluster.pods.spec(pod).refuses_preemption)
        }
    }

    /// `SortAllocations`: by reluctance, priority, age (the youngest first), size.
    pub(super) fn sort_victims(&self, cluster: &Cluster, victims: &mut [PodId]) {
        victims.sort_by_cached_key(|pod| {
            let spec = cluster.pods.spec(*pod);
            (
                self.reluctance(cluster, *pod),
                spec.priority,
                Reverse(self.created_s(*pod)),
                spec.requests.cpu_millicores,
                spec.requests.memory_bytes,
            )
        });
    }

    /// Whether a pod counts as running in an application and is not about to go.
    pub(super) fn may_be_victim(&self, pod: PodId) -> bool {
        matches!(self.state(pod), PodState::Allocated | PodState::Bound)
            && !self.preempted.contains(&pod)
            && !self.released.contains(&pod)
            && !self.swaps.contains_key(&pod)
    }

    /// What is free on a node.
    pub(super) fn free_on(&self, node: NodeId) -> Res {
        let (table, at) = (&self.nodes.table, node as usize);
        let plain = [
            (table.cpu_used[at], table.cpu_capacity[at]),
            (table.memory_used[at], table.memory_capacity[at]),
            (u64::from(table.pods_used[at]), u64::from(table.pods_capacity[at])),
        ];
        let plain = Res::NODE_TYPES.into_iter().zip(plain).map(|(id, (used, total))| (id, used, total));
        let extended = (0..table.extended_count()).map(|id| {
            let (used, total) = table.extended(node, id);
            (Res::extended(id), used, total)
        });
        Res::free(plain.chain(extended))
    }

    /// Marks pods as victims.
    pub(super) fn preempt(&mut self, cluster: &Cluster, victims: &[PodId]) {
        for pod in victims {
            self.preempted.insert(*pod);
            let app_id = cluster.pods.app_id(*pod);
            let app = self.apps[app_id as usize].as_mut().expect("it has allocations");
            let leaf = app.leaf;
            if cluster.pods.is_placeholder(*pod)
                && let Some(gang) = app.gang.as_mut()
                && let Some(group) =
                    cluster.pods.spec(*pod).task_group.as_ref().and_then(|name| gang.groups.get_mut(name))
            {
                group.free.retain(|p| p != pod);
                self.replace(app_id);
            }
            self.queues.begin_preempting(leaf, cluster.pods.spec(*pod));
        }
        self.victims.extend_from_slice(victims);
    }

    /// A DaemonSet pod's node is reserved for it and full: pods there are preempted.
    pub(super) fn preempt_on_required_node(
        &mut self,
        cluster: &Cluster,
        ask: PodId,
        node: NodeId,
        work: &mut Work,
    ) {
        let priority = cluster.pods.spec(ask).priority;
        let here = self.on_node.get(node as usize).cloned().unwrap_or_default();
        work.preemption_pods += here.len() as u64;
        let mut candidates: Vec<PodId> = here
            .into_iter()
            .filter(|pod| {
                self.specs[cluster.pods.spec_id(*pod) as usize].required.is_none()
                    && cluster.pods.spec(*pod).priority <= priority
                    && self.may_be_victim(*pod)
            })
            .collect();
        self.sort_victims(cluster, &mut candidates);
        let wanted = Res::of_pod(cluster.pods.spec(ask));
        let mut freed = Res::empty();
        let enough = candidates
            .iter()
            .position(|pod| {
                let stop = freed.at_least(&wanted);
                if !stop {
                    freed.add(&Res::of_pod(cluster.pods.spec(*pod)));
                }
                stop
            })
            .unwrap_or(candidates.len());
        candidates.truncate(enough);
        freed.add(&self.free_on(node));
        if !candidates.is_empty() && freed.at_least(&wanted) {
            self.preempt(cluster, &candidates);
            self.preempted_for.insert(ask);
        }
    }
}
