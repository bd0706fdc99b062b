//! Reservations: a node kept for an ask that fits nowhere.
//!
//! An ask older than [`DELAY_NS`] for which no node passes reserves the node on which it would leave least
//! ([`NodeOrder::leftover`](super::nodes::NodeOrder::leftover)), if that node passes the predicates that need no room; this
//! ends the cycle. An ask reserves one node, a node is reserved for one ask, or for any number of DaemonSet pods that
//! must run there ([`required_node`](super::required_node)). A reserved node is out of the order: other asks don't see it.
//!
//! Each cycle begins with the reservations, queue by queue in order, in each leaf application by application: first each ask
//! on its own node, then each on all nodes that are not reserved. An allocation ends the reservation, wherever it is. It
//! also ends with the ask, with the node, when a DaemonSet pod needs the node, and when an ask of higher priority looks
//! for victims, unless the ask that has the node reserved has found some itself or is not yet two hours and two seconds old
//! (the real check counts its hour twice).
//!
//! The real scheduler takes applications and their reservations out of maps, in random order; ours is that of
//! reservation.
//!
//! Sources: `Application.tryReservedAllocate`, `tryNodes`, `reserveInternal`, `Node.Reserve`, `Queue.TryReservedAllocate` of
//! yunikorn-core 1.8. Versions since 1.9 let a reservation go after some time; 1.8 does not.
//!
//! Cost: O(reservations) a cycle; O(nodes) to find a node, once for a spec until a node that matters changes.
use super::apps::AskKey;
use super::cycle::{Core, Outcome, Target, Work};
use super::queues::{QueueId, ROOT};
use crate::cluster::{AppId, Cluster, NO_NODE, NodeId, PodId, SpecId};
use crate::engine::{Nanos, SECOND};

/// How old an ask is before it reserves a node (`reservationDelay`).
pub const DELAY_NS: Nanos = 2 * SECOND;

impl Core {
    /// How many asks have a node reserved.
    #[must_use]
    pub fn reservations(&self) -> usize {
        self.reserved_on.values().map(Vec::len).sum()
    }

    /// The node that is reserved for a pending pod.
    #[must_use]
    pub fn reserved_node(&self, cluster: &Cluster, pod: PodId) -> Option<NodeId> {
        let app = self.apps.get(cluster.pods.app_id(pod) as usize)?.as_ref()?;
        app.reservations.iter().find(|(p, _)| *p == pod).map(|(_, node)| *node)
    }

    /// The key of a pending ask.
    pub(super) fn ask_key(&self, cluster: &Cluster, pod: PodId) -> Option<(u32, AskKey)> {
        let (app_id, spec) = (cluster.pods.app_id(pod), cluster.pods.spec_id(pod));
        let group = *self.group_of.get(&(app_id, spec))?;
        let app = self.apps[app_id as usize].as_ref()?;
        let ask = app.groups[group as usize].asks.iter().find(|(_, p)| *p == pod)?;
        Some((group, ask.0))
    }

    /// Reserves a node for an ask; an older reservation of the ask ends. False: the node is reserved for others.
    pub(super) fn reserve(&mut self, cluster: &Cluster, pod: PodId, node: NodeId) -> bool {
        if self.reserved_node(cluster, pod) == Some(node) {
            return true;
        }
        self.unreserve(cluster, pod);
        let Some((group, key)) = self.ask_key(cluster, pod) else { return false };
        let required =
            |core: &Self, pod: PodId| core.specs[cluster.pods.spec_id(pod) as usize].required.is_some();
        let others = self.reserved_on.get(&node).map_or(&[][..], Vec::as_slice);
        let together = required(self, pod) && others.iter().all(|p| required(self, *p));
        if !(others.is_empty() || together) {
            return false;
        }
        let app_id = cluster.pods.app_id(pod);
        let app = self.apps[app_id as usize].as_mut().expect("it has asks");
        app.groups[group as usize].reserved.insert(key);
        app.reservations.push((pod, node));
        let first = app.reservations.len() == 1;
        let leaf = app.leaf;
        if first {
            self.queues.get_mut(leaf).reserved_apps.push(app_id);
        }
        self.reserved_on.entry(node).or_default().push(pod);
        // Stuck specs that had room there fail on one node less.
        for spec in &self.stuck {
            if self.nodes.has_room(node, cluster.pods.spec_by_id(*spec)) {
                self.specs[*spec as usize].tested -= u64::from(self.predicates.enabled());
            }
        }
        self.nodes.set_reserved(node, true);
        self.retarget(cluster, node);
        true
    }

    /// Ends the reservation of an ask, if it has one.
    pub(super) fn unreserve(&mut self, cluster: &Cluster, pod: PodId) {
        let app_id = cluster.pods.app_id(pod);
        let Some(app) = self.apps.get_mut(app_id as usize).and_then(Option::as_mut) else { return };
        let Some(at) = app.reservations.iter().position(|(p, _)| *p == pod) else { return };
        let (_, node) = app.reservations.remove(at);
        let (leaf, last) = (app.leaf, app.reservations.is_empty());
        if last {
            self.queues.get_mut(leaf).reserved_apps.retain(|a| *a != app_id);
        }
        if let Some((group, key)) = self.ask_key(cluster, pod) {
            let app = self.apps[app_id as usize].as_mut().expect("it has asks");
            app.groups[group as usize].reserved.remove(&key);
        }
        let others = self.reserved_on.get_mut(&node).expect("the node knows its reservations");
        others.retain(|p| *p != pod);
        if others.is_empty() {
            self.reserved_on.remove(&node);
            self.nodes.set_reserved(node, false);
            for spec in self.stuck.clone() {
                self.try_unstick(cluster, spec, node);
            }
            self.retarget(cluster, node);
        }
    }

    /// Ends all reservations on a node.
    pub(super) fn unreserve_node(&mut self, cluster: &Cluster, node: NodeId) {
        for pod in self.reserved_on.get(&node).cloned().unwrap_or_default() {
            self.unreserve(cluster, pod);
        }
    }

    /// A node has changed: what stuck specs would reserve may be another one.
    pub(super) fn retarget(&mut self, cluster: &Cluster, node: NodeId) {
        if !self.reserves {
            return;
        }
        for at in 0..self.stuck.len() {
            let spec = self.stuck[at];
            let target = self.specs[spec as usize].target;
            let now = if self.nodes.is_open(node) && self.nodes.is_schedulable(node) {
                self.nodes.leftover(node, cluster.pods.spec_by_id(spec))
            } else {
                None
            };
            self.specs[spec as usize].target = match (target, now) {
                (Target::Unknown, _) => Target::Unknown,
                (Target::Nowhere, None) => Target::Nowhere,
                (Target::Nowhere, Some(left)) => Target::At(node, left),
                (Target::At(best, least), Some(left)) if left < least => {
                    debug_assert!(best != NO_NODE);
                    Target::At(node, left)
                }
                // Of equals the first in order counts, and the order has changed.
                (Target::At(best, least), left) if best == node || left == Some(least) => Target::Unknown,
                (kept, _) => kept,
            };
        }
    }

    /// The node that an ask of a stuck spec would reserve, if it passes the predicates.
    pub(super) fn target(&mut self, cluster: &Cluster, spec: SpecId) -> Option<NodeId> {
        if self.specs[spec as usize].target == Target::Unknown {
            let best = self.nodes.best_to_reserve(cluster.pods.spec_by_id(spec));
            self.specs[spec as usize].target =
                best.map_or(Target::Nowhere, |(node, left)| Target::At(node, left));
        }
        match self.specs[spec as usize].target {
            Target::At(node, _) => Some(node),
            Target::Unknown | Target::Nowhere => None,
        }
    }

    /// The first part of a cycle: an ask with a reservation gets a node.
    pub fn try_reserved(&mut self, cluster: &Cluster, work: &mut Work) -> Option<Outcome> {
        if self.reserved_on.is_empty() || self.pending() == 0 || self.nodes.count() == 0 {
            return None;
        }
        self.sum_up_nodes(cluster);
        self.reserved_in_queue(cluster, ROOT, work)
    }

    fn reserved_in_queue(&mut self, cluster: &Cluster, queue: QueueId, work: &mut Work) -> Option<Outcome> {
        if self.queues.get(queue).children.is_empty() {
            let apps = self.queues.get(queue).reserved_apps.clone();
            return apps.into_iter().find_map(|app| self.reserved_in_app(cluster, queue, app, work));
        }
        let specs = &self.specs;
        let children =
            self.queues.sorted_children(queue, self.priority_sort, &|s: SpecId| specs[s as usize].priority);
        children.into_iter().find_map(|child| self.reserved_in_queue(cluster, child, work))
    }

    fn reserved_in_app(
        &mut self,
        cluster: &Cluster,
        leaf: QueueId,
        app_id: AppId,
        work: &mut Work,
    ) -> Option<Outcome> {
        let app = self.apps[app_id as usize].as_ref().expect("it has reservations");
        let (owner, reservations) = (app.owner, app.reservations.clone());
        if !app.running && !self.may_begin(leaf, owner) {
            return None;
        }
        // Pods of one spec follow each other: what holds for one holds for the next.
        let mut last: Option<(SpecId, bool)> = None;
        let mut in_quota = |core: &Self, spec: SpecId| match last {
            Some((known, fits)) if known == spec => fits,
            _ => {
                let described = cluster.pods.spec_by_id(spec);
                let fits = core.limits.has_room(&core.queues, leaf, owner, described)
                    && core.queues.exceeded(leaf, described).is_none();
                last = Some((spec, fits));
                fits
            }
        };
        for (pod, node) in &reservations {
            let spec = cluster.pods.spec_id(*pod);
            if !in_quota(self, spec) {
                continue;
            }
            let fits = self.nodes.table.is_present(*node)
                && self.nodes.table.fits(*node, cluster.pods.spec_by_id(spec));
            let required = self.specs[spec as usize].required.is_some();
            if required && !fits && !self.preempted_for.contains(pod) {
                self.preempt_on_required_node(cluster, *pod, *node, work);
                continue;
            }
            work.nodes_visited += 1;
            if fits && self.passes(cluster, spec, *node, work) {
                return Some(self.allocate_ask(cluster, app_id, *pod, *node));
            }
        }
        for (pod, node) in &reservations {
            let spec = cluster.pods.spec_id(*pod);
            if self.specs[spec as usize].required.is_some() || !in_quota(self, spec) {
                continue;
            }
            work.asks_tried += 1;
            if self.specs[spec as usize].stuck {
                work.nodes_visited += self.nodes.open() as u64;
                self.count_predicates(spec, self.specs[spec as usize].tested, work);
                continue;
            }
            let predicates = &mut self.predicates;
            let described = cluster.pods.spec_by_id(spec);
            let (found, walk) = self.nodes.first_fit(described, |n| predicates.accept(cluster, spec, n));
            work.nodes_visited += walk.nodes;
            self.count_predicates(spec, walk.tested, work);
            if let Some(found) = found {
                debug_assert!(found != *node);
                return Some(self.allocate_ask(cluster, app_id, *pod, found));
            }
            self.set_aside(spec, walk.tested);
        }
        None
    }

    /// Runs the predicates of a pod on a node that has room, and counts it.
    pub(super) fn passes(&mut self, cluster: &Cluster, spec: SpecId, node: NodeId, work: &mut Work) -> bool {
        self.count_predicates(spec, 1, work);
        self.predicates.accept(cluster, spec, node)
    }

    /// Counts calls of the predicates.
    pub(super) fn count_predicates(&self, spec: SpecId, calls: u64, work: &mut Work) {
        if self.predicates.enabled() {
            work.predicates += calls;
            let pods = if calls > 0 { self.predicates.prefilter_pods(spec) } else { 0 };
            work.prefilter_pods = work.prefilter_pods.saturating_add(calls.saturating_mul(pods));
            work.prefilter_most = work.prefilter_most.max(pods);
            if self.predicates.has_terms(spec) {
                work.affinity_predicates += calls;
            }
        }
    }

    /// Whether an application that runs nothing yet may.
    pub(super) fn may_begin(&self, leaf: QueueId, owner: super::limits::OwnerId) -> bool {
        !self.queues.counts_applications
            || self.queues.may_run(leaf) && self.limits.may_run(&self.queues, leaf, owner)
    }

    /// Gives an ask a node; a reservation that it has ends.
    pub(super) fn allocate_ask(
        &mut self,
        cluster: &Cluster,
        app_id: AppId,
        pod: PodId,
        node: NodeId,
    ) -> Outcome {
        self.unreserve(cluster, pod);
        let group = self.group_of[&(app_id, cluster.pods.spec_id(pod))];
        self.take_ask(app_id, group, pod);
        self.allocate(cluster, app_id, pod, node);
        Outcome::Allocated(pod, node)
    }
}
