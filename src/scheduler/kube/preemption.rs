//! DefaultPreemption: which pods of lower priority make room for one that fits nowhere.
//!
//! Sources: `pkg/scheduler/framework/preemption/preemption.go`,
//! `pkg/scheduler/framework/plugins/defaultpreemption/default_preemption.go`, `pkg/scheduler/util/utils.go`.
//! - Eligible: not with `preemptionPolicy: Never`, nor while pods of lower priority are being deleted on the node that it
//!   was nominated to.
//! - Candidates: nodes whose first failing filter could pass without some pods (not: taints, selectors, names, a request
//!   above the node's allocatable). From a random one on, nodes are tried until `minCandidateNodesPercentage` of them
//!   (at least `minCandidateNodesAbsolute`) are candidates.
//! - Victims: all pods of lower priority leave; if the pod fits then, they come back one by one, those first whose loss would
//!   violate a disruption budget (see `budgets`), in each group the most important first (higher priority, then earlier
//!   start); those with whom it does not fit are the victims. The search goes on past enough candidates until one of
//!   them violates no budget; candidates that violate one are no longer kept then (`candidateList`).
//! - Choice: fewest violations of budgets, lowest highest priority of a victim, smallest sum of priorities (each plus 2^31), fewest victims, latest
//!   start of the highest ones; then any.
//! - The pod is nominated to the node: in cycles of pods of the same or lower priority its requests count there already;
//!   its own next cycle tries that node first. Nominations of lower priority to the node are taken back.
//!   A nomination that is taken back, moves to another node or ends with its pod's deletion moves pods of the same or
//!   lower priority as the end of a pod on a node does (`updatePodInSchedulingQueue` and `deletePodFromSchedulingQueue` in
//!   `pkg/scheduler/eventhandlers.go`; at once, not when the informer shows it). One that ends with a place does not.
//! - Deletion, asynchronous since 1.33: a status patch (`DisruptionTarget`), then a DELETE, for all victims but the last,
//!   `parallelism` at once, then for the last. Until then the pod stays where it is; after that the victims' end moves it as any other
//!   event does; with no victim left to delete nothing holds it, so that its cycle's events move it. The API server and the node's agent end the victim (see `experiment::simulation`).
//!
//! Left out: extenders; pods of a group. A nominated pod counts in scores, too, and the second run of the filters without
//! nominated pods, which matters for affinity to them only, is left out.
//!
//! Cost: O(nodes + candidates x pods on a node x filters) an attempt; nothing while no pod of lower priority is placed.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::{Cluster, NodeId, PodId};
use crate::engine::Nanos;
use crate::scheduler::{Action, Context};

use super::KubeScheduler;
use super::classes::ClassId;
use super::cycle::Among;
use super::hints::ClusterEvent;
use super::queue::Place;

/// A node on which a pod would fit without some others.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Candidate {
    pub node: NodeId,
    /// The most important first.
    pub victims: Vec<PodId>,
    /// Victims whose loss violates a disruption budget.
    pub violations: usize,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum Attempt {
    /// The pod may not preempt: its nomination stays as it is.
    NotEligible,
    /// No node would do: its nomination is taken back.
    NoCandidate,
    /// These are to go.
    Found(Candidate),
}

/// Deletions on behalf of one pod.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct UnderWay {
    /// Deletions not begun, besides the last, in reverse.
    waiting: Vec<PodId>,
    /// Deletions not answered.
    pending: usize,
    /// The last victim, once or before its deletion has begun.
    last: PodId,
    last_started: bool,
    failed: bool,
}

/// Nominations and deletions under way.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Preemption {
    /// Pods on each node, made at the first attempt.
    on_node: Option<Vec<Vec<PodId>>>,
    /// How many pods of each priority are on nodes.
    by_priority: BTreeMap<i32, u64>,
    nominated: BTreeMap<PodId, NodeId>,
    /// Victims whose deletion the API server has taken, and that are not gone yet.
    terminating: BTreeSet<PodId>,
    /// Preemptor of a victim whose deletion is not answered.
    preemptor_of: BTreeMap<PodId, PodId>,
    under_way: BTreeMap<PodId, UnderWay>,
}

impl Preemption {
    pub(super) fn placed(&mut self, pod: PodId, node: NodeId, priority: i32) {
        *self.by_priority.entry(priority).or_default() += 1;
        if let Some(on_node) = &mut self.on_node {
            if on_node.len() <= node as usize {
                on_node.resize(node as usize + 1, Vec::new());
            }
            on_node[node as usize].push(pod);
        }
    }

    pub(super) fn taken(&mut self, pod: PodId, node: NodeId, priority: i32) {
        let count = self.by_priority.get_mut(&priority).expect("it was placed");
        *count -= 1;
        if *count == 0 {
            self.by_priority.remove(&priority);
        }
        if let Some(on_node) = &mut self.on_node {
            let pods = &mut on_node[node as usize];
            let at = pods.iter().position(|p| *p == pod).expect("it was placed");
            pods.swap_remove(at);
        }
    }

    /// The node that a pod is nominated to.
    pub(super) fn nomination(&self, pod: PodId) -> Option<NodeId> {
        self.nominated.get(&pod).copied()
    }

    pub(super) fn any_nominated(&self) -> bool {
        !self.nominated.is_empty()
    }

    /// Whether the API server has taken the pod's deletion as a victim.
    pub(super) fn is_terminating(&self, pod: PodId) -> bool {
        self.terminating.contains(&pod)
    }
}

impl KubeScheduler {
    /// Adds (`sign` 1) or takes away a pod that is not there in truth: nominated, or gone for the sake of argument.
    fn pretend(&mut self, cluster: &Cluster, pod: PodId, node: NodeId, sign: i64) {
        for profile in &mut self.profiles {
            profile.topology.pods_changed(cluster, pod, node, sign);
        }
        if sign > 0 {
            self.nodes.add_pod(cluster, node, cluster.pods.spec(pod));
        } else {
            self.nodes.remove_pod(node, cluster.pods.spec(pod));
        }
    }

    /// Classes of all profiles hear that pods came to or left a node.
    fn tell_classes(&mut self, node: NodeId) {
        for profile in &mut self.profiles {
            profile.classes.pods_changed(node);
        }
    }

    /// Takes away the nominated pods that the filters of `pod`'s cycle don't count: itself and those of lower priority.
    pub(super) fn lift_nominated(&mut self, cluster: &Cluster, pod: PodId) -> Vec<(PodId, NodeId)> {
        if self.preemption.nominated.is_empty() {
            return Vec::new();
        }
        let priority = cluster.pods.spec(pod).priority;
        let lifted: Vec<(PodId, NodeId)> = self
            .preemption
            .nominated
            .iter()
            .filter(|(p, _)| **p == pod || cluster.pods.spec(**p).priority < priority)
            .map(|(p, node)| (*p, *node))
            .collect();
        for (pod, node) in &lifted {
            self.pretend(cluster, *pod, *node, -1);
            self.tell_classes(*node);
        }
        lifted
    }

    /// Puts them back.
    pub(super) fn lower_nominated(&mut self, cluster: &Cluster, lifted: &[(PodId, NodeId)]) {
        for (pod, node) in lifted {
            self.pretend(cluster, *pod, *node, 1);
            self.tell_classes(*node);
        }
    }

    /// Says whether the pod was nominated to another node before.
    fn nominate(&mut self, cluster: &Cluster, pod: PodId, node: NodeId) -> bool {
        let moves = self.preemption.nomination(pod).is_some_and(|before| before != node);
        self.denominate(cluster, pod);
        for profile in &mut self.profiles {
            profile.topology.learn(cluster, cluster.pods.spec_id(pod), || self.queue.placed());
        }
        self.pretend(cluster, pod, node, 1);
        self.tell_classes(node);
        self.preemption.nominated.insert(pod, node);
        moves
    }

    /// Takes a pod's nomination back; says whether it had one.
    pub(super) fn denominate(&mut self, cluster: &Cluster, pod: PodId) -> bool {
        let Some(node) = self.preemption.nominated.remove(&pod) else { return false };
        self.pretend(cluster, pod, node, -1);
        self.tell_classes(node);
        true
    }

    /// A node no longer counts a nominated pod, which did not get its place there.
    pub(super) fn nomination_ended(&mut self, cx: &mut Context<'_>, pod: PodId) {
        self.note(cx, ClusterEvent::NominationGone(cx.cluster.pods.spec_id(pod)));
    }

    /// Whether the pod passes all filters on the node, as things stand now.
    pub(super) fn passes(&mut self, cluster: &Cluster, pod: PodId, class: ClassId, node: NodeId) -> bool {
        let at = self.profile_of(cluster, cluster.pods.spec_id(pod));
        let profile = &mut self.profiles[at];
        if profile.classes.evaluate(cluster, &self.nodes, class, node) == 0 {
            return false;
        }
        let plan = profile.topology.plan(cluster.pods.spec_id(pod));
        plan.is_none_or(|plan| plan.rejects(&profile.plugins, cluster, &profile.topology, node).is_none())
    }

    /// Whether the first filter that rejects the node could accept it without some of its pods.
    fn is_resolvable(&mut self, cluster: &Cluster, pod: PodId, class: ClassId, node: NodeId) -> bool {
        let spec = cluster.pods.spec(pod);
        let at = self.profile_of(cluster, cluster.pods.spec_id(pod));
        let profile = &mut self.profiles[at];
        if profile.classes.is_blocked_for_good(cluster, class, node) {
            return false;
        }
        if profile.plugins.ports && self.nodes.lacks_ports(node, &spec.host_ports) {
            return true;
        }
        if profile.plugins.fit {
            let request = profile.classes.requests(class);
            if !cluster.nodes.template(node).allocatable.holds(request) {
                return false;
            }
            if !self.nodes.fits(node, request) {
                return true;
            }
        }
        profile.topology.plan(cluster.pods.spec_id(pod)).is_none_or(|plan| {
            let rejected = plan.rejects(&profile.plugins, cluster, &profile.topology, node);
            rejected.is_none_or(|(_, reason)| !plan.is_for_good(reason))
        })
    }

    /// When a pod started, for its importance: now if it has not.
    fn started(&self, cluster: &Cluster, pod: PodId, now: Nanos) -> Nanos {
        if self.queue.place(pod) == Place::Bound { cluster.pods.timeline(pod).bound_ns.min(now) } else { now }
    }

    /// Victims on a node; none if it is no candidate. Counts runs of the filters.
    fn victims_on(
        &mut self,
        cx: &Context<'_>,
        pod: PodId,
        class: ClassId,
        node: NodeId,
        filter_runs: &mut u64,
    ) -> Option<Candidate> {
        let cluster = cx.cluster;
        let priority = cluster.pods.spec(pod).priority;
        let on_node = self.preemption.on_node.as_ref().and_then(|n| n.get(node as usize))?;
        let mut potential: Vec<PodId> =
            on_node.iter().copied().filter(|p| cluster.pods.spec(*p).priority < priority).collect();
        if potential.is_empty() {
            return None;
        }
        potential.sort_by_key(|p| {
            (Reverse(cluster.pods.spec(*p).priority), self.started(cluster, *p, cx.now), *p)
        });
        for victim in &potential {
            self.pretend(cluster, *victim, node, -1);
        }
        *filter_runs += 1;
        let fits = self.passes(cluster, pod, class, node);
        // By potential victim: whether it has to go; they come back one by one.
        let mut goes = vec![true; potential.len()];
        let mut violations = 0;
        if fits {
            let violates = self.budgets.violated(cluster, &potential);
            for group in [true, false] {
                for at in (0..potential.len()).filter(|at| violates[*at] == group) {
                    self.pretend(cluster, potential[at], node, 1);
                    *filter_runs += 1;
                    goes[at] = !self.passes(cluster, pod, class, node);
                    if goes[at] {
                        self.pretend(cluster, potential[at], node, -1);
                        violations += usize::from(group);
                    }
                }
            }
        }
        let mut victims = Vec::new();
        for (victim, _) in potential.into_iter().zip(goes).filter(|(_, goes)| *goes) {
            self.pretend(cluster, victim, node, 1);
            victims.push(victim);
        }
        fits.then_some(Candidate { node, victims, violations })
    }

    /// Looks for pods that could make room; `pod`'s spec has been learnt and nominations have been lifted. Says how often
    /// filters ran.
    pub(super) fn attempt_preemption(
        &mut self,
        cx: &mut Context<'_>,
        pod: PodId,
        among: &Among,
    ) -> (Attempt, u64) {
        let cluster = cx.cluster;
        let spec = cluster.pods.spec(pod);
        let mut filter_runs = 0;
        if spec.never_preempts {
            return (Attempt::NotEligible, 0);
        }
        if self.preemption.by_priority.range(..spec.priority).next().is_none() {
            return (Attempt::NoCandidate, 0);
        }
        if self.preemption.on_node.is_none() {
            let mut on_node: Vec<Vec<PodId>> = vec![Vec::new(); cluster.nodes.len()];
            for (pod, node) in self.queue.placed() {
                on_node[node as usize].push(pod);
            }
            self.preemption.on_node = Some(on_node);
        }
        let at = self.profile_of(cluster, cluster.pods.spec_id(pod));
        let class = self.profiles[at].classes.of_pod(cluster, pod);
        let min_candidates = {
            let profile = &self.profiles[at].profile;
            (profile.min_candidate_nodes_percentage, profile.min_candidate_nodes_absolute)
        };
        if let Some(nominated) = self.preemption.nomination(pod)
            && self.order.position(nominated).is_some()
            && self.is_resolvable(cluster, pod, class, nominated)
        {
            let on_node = self.preemption.on_node.as_ref().and_then(|n| n.get(nominated as usize));
            let leaves = |p: &PodId| {
                self.preemption.terminating.contains(p) && cluster.pods.spec(*p).priority < spec.priority
            };
            if on_node.is_some_and(|pods| pods.iter().any(leaves)) {
                return (Attempt::NotEligible, 0);
            }
        }
        // Nodes that the cycle did not look at are rejected for good.
        let order: Vec<NodeId> = match among {
            Among::All => self.order.list().to_vec(),
            Among::Named(nodes) => nodes.clone(),
            Among::Nowhere => Vec::new(),
        };
        let potential: Vec<NodeId> =
            order.into_iter().filter(|node| self.is_resolvable(cluster, pod, class, *node)).collect();
        if potential.is_empty() {
            return (Attempt::NoCandidate, 0);
        }
        let nodes = potential.len();
        let enough = (nodes * min_candidates.0 as usize / 100).max(min_candidates.1 as usize).min(nodes);
        let offset = usize::try_from(cx.rng.below(nodes as u64)).expect("below a count");
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut harmless = false;
        for i in 0..nodes {
            if harmless && candidates.len() >= enough {
                break;
            }
            let node = potential[(offset + i) % nodes];
            if let Some(candidate) = self.victims_on(cx, pod, class, node, &mut filter_runs) {
                let is_harmless = candidate.violations == 0;
                harmless |= is_harmless;
                // The list of those that violate a budget holds no more than are enough.
                if is_harmless || candidates.len() < enough {
                    candidates.push(candidate);
                }
            }
        }
        match self.pick(cx, candidates) {
            Some(candidate) => (Attempt::Found(candidate), filter_runs),
            None => (Attempt::NoCandidate, filter_runs),
        }
    }

    /// `pickOneNodeForPreemption`.
    fn pick(&self, cx: &mut Context<'_>, candidates: Vec<Candidate>) -> Option<Candidate> {
        let cluster = cx.cluster;
        let priority = |p: &PodId| i64::from(cluster.pods.spec(*p).priority);
        let now = cx.now;
        let rank = |c: &Candidate| {
            let highest = c.victims.first().map_or(i64::MIN, priority);
            let sum: i64 = c.victims.iter().map(|p| priority(p) + (1 << 31)).sum();
            let earliest = c
                .victims
                .iter()
                .filter(|p| priority(p) == highest)
                .map(|p| self.started(cluster, *p, now))
                .min()
                .unwrap_or(0);
            (c.violations, highest, sum, c.victims.len(), Reverse(earliest))
        };
        let best = candidates.iter().map(rank).min()?;
        let mut ties: Vec<Candidate> = candidates.into_iter().filter(|c| rank(c) == best).collect();
        let nth = if ties.len() == 1 { 0 } else { cx.rng.below(ties.len() as u64) };
        Some(ties.swap_remove(usize::try_from(nth).expect("below a count")))
    }

    /// The victims that this preemptor has to delete: not those that are gone, or that somebody deletes already.
    pub(super) fn victims_to_delete(&self, candidate: &Candidate) -> Vec<PodId> {
        let is_there = |v: &PodId| {
            !self.preemption.terminating.contains(v)
                && !self.preemption.preemptor_of.contains_key(v)
                && !self.preemption.under_way.values().any(|u| u.last == *v || u.waiting.contains(v))
                && self.queue.place(*v) != Place::Gone
        };
        candidate.victims.iter().copied().filter(is_there).collect()
    }

    /// The cycle is over and the pod was put aside: nominates it to the node and begins to delete the victims.
    pub(super) fn prepare(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId, victims: &[PodId]) {
        let priority = cx.cluster.pods.spec(pod).priority;
        let displaced: Vec<PodId> = self
            .preemption
            .nominated
            .iter()
            .filter(|(p, n)| **n == node && cx.cluster.pods.spec(**p).priority < priority)
            .map(|(p, _)| *p)
            .collect();
        if self.nominate(cx.cluster, pod, node) {
            self.nomination_ended(cx, pod);
        }
        for other in displaced {
            self.denominate(cx.cluster, other);
            self.calls.patch(cx.actions, other);
            self.queue.activate(cx.cluster, other, cx.now);
            self.nomination_ended(cx, other);
        }
        let Some((last, others)) = victims.split_last() else { return };
        let (now, later) = others.split_at(others.len().min(self.parallelism as usize));
        let under_way = UnderWay {
            waiting: later.iter().rev().copied().collect(),
            pending: now.len(),
            last: *last,
            last_started: false,
            failed: false,
        };
        self.preemption.under_way.insert(pod, under_way);
        for victim in now {
            self.begin_deletion(cx, pod, *victim);
        }
        if now.is_empty() {
            self.begin_last(cx, pod);
        }
    }

    fn begin_deletion(&mut self, cx: &mut Context<'_>, preemptor: PodId, victim: PodId) {
        self.preemption.preemptor_of.insert(victim, preemptor);
        cx.actions.push(Action::PatchStatus { pod: victim });
    }

    fn begin_last(&mut self, cx: &mut Context<'_>, preemptor: PodId) {
        let Some(under_way) = self.preemption.under_way.get_mut(&preemptor) else { return };
        let last = under_way.last;
        if under_way.failed || self.queue.place(last) == Place::Gone {
            self.end_deletions(cx, preemptor, true);
            return;
        }
        under_way.pending = 1;
        under_way.last_started = true;
        self.begin_deletion(cx, preemptor, last);
    }

    fn end_deletions(&mut self, cx: &mut Context<'_>, preemptor: PodId, retry: bool) {
        self.preemption.under_way.remove(&preemptor);
        self.queue.unblock(preemptor);
        if retry {
            self.queue.activate(cx.cluster, preemptor, cx.now);
        }
    }

    /// A victim's status has been patched: it is deleted. Says whether the pod was a victim.
    pub(super) fn victim_patched(&mut self, cx: &mut Context<'_>, victim: PodId) -> bool {
        let is_victim = self.preemption.preemptor_of.contains_key(&victim);
        if is_victim {
            cx.actions.push(Action::Delete { pod: victim });
        }
        is_victim
    }

    /// A victim's DELETE was answered.
    pub(super) fn victim_deleted(&mut self, cx: &mut Context<'_>, victim: PodId, ok: bool) {
        let Some(preemptor) = self.preemption.preemptor_of.remove(&victim) else { return };
        if ok {
            cx.actions.push(Action::Events { count: 1 });
            let place = self.queue.place(victim);
            if place != Place::Gone && self.preemption.terminating.insert(victim) && place == Place::Bound {
                self.budgets.healthy(cx.cluster, cx.cluster.pods.spec_id(victim), -1);
                let node = self.queue.node(victim);
                for profile in &mut self.profiles {
                    profile.topology.terminating(cx.cluster, victim, node);
                }
            }
        }
        let Some(under_way) = self.preemption.under_way.get_mut(&preemptor) else { return };
        under_way.pending -= 1;
        under_way.failed |= !ok;
        // An error stops what has not begun.
        if let Some(next) = (!under_way.failed).then(|| under_way.waiting.pop()).flatten() {
            under_way.pending += 1;
            self.begin_deletion(cx, preemptor, next);
        } else if under_way.pending == 0 {
            if under_way.last_started {
                let failed = under_way.failed;
                self.end_deletions(cx, preemptor, failed);
            } else {
                self.begin_last(cx, preemptor);
            }
        }
    }

    /// A pod is gone, before the queue hears of it. Says whether it was nominated.
    pub(super) fn pod_left(&mut self, cluster: &Cluster, pod: PodId) -> bool {
        self.preemption.terminating.remove(&pod);
        let was_nominated = self.denominate(cluster, pod);
        if self.preemption.under_way.remove(&pod).is_some() {
            self.queue.unblock(pod);
        }
        if let Some(preemptor) = self.preemption.preemptor_of.get(&pod)
            && self.preemption.under_way.get(preemptor).is_some_and(|u| u.last_started && u.last == pod)
        {
            self.queue.unblock(*preemptor);
        }
        was_nominated
    }
}
