//! Preemption: a queue that uses less than it is guaranteed takes back from those that use more.
//!
//! An ask that can't be placed looks for victims when it is as old as its queue's `preemption.delay` (30 s), if its pod may
//! preempt at all, then every 15 s until it has found some; at most ten asks of a leaf queue in a cycle. Then:
//!
//! 1. Victims come from other leaf queues below the **fence**: the nearest queue upwards, the ask's own first, with
//!    `preemption.policy: fence` or with all of its maximum in use, else the root. Queues with `disabled`, and queues within
//!    what they are guaranteed, are left alone. A victim's priority, seen through the offsets and fences of priority on
//!    the way, is not above the ask's.
//! 2. Without a guarantee of its queue (or one above) that taking all these victims would make room in, the ask is passed over.
//! 3. For each node that could hold the ask and is not reserved for another: its victims in order (those that allow it, not
//!    the first ones of their applications, the youngest first), as many as the ask lacks on the node, none of which
//!    brings its queue below its guarantee or the ask's queue above its own. The nodes are tried by how many victims it
//!    takes, then by name, in tens, with the predicates as they are with those pods gone; the best of the first ten with a
//!    good one is taken.
//! 4. If the ask's queue would still lack room, more victims anywhere; then only as many as the ask asks for.
//!
//! The victims are deleted, the node is reserved for the ask, and the ask does not look again. Pods of DaemonSets are never
//! victims here, and never look for any this way.
//!
//! Queues and victims that are equal in all of this come out of maps in the real scheduler; ours are in the order of
//! creation of the queues, and in that in which they came to their nodes.
//!
//! Sources: `preemption.go`, `Queue.findEligiblePreemptionVictims`, `findPreemptionFenceRoot`, `predicates.go` of
//! yunikorn-core 1.8; `PreemptionPredicates` of the shim: affinity and spread are judged as if the victims were still
//! there; where their ports are in the way, more of them go. A build after 1.8 also fences where the ask itself would go past a maximum.
//!
//! Cost: O(queues) for an ask that no guarantee helps; else O(pods on nodes x depth + nodes log nodes).
use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::config::PreemptionPolicy;
use super::cycle::{Core, Work};
use super::queues::{QueueId, ROOT};
use super::res::Res;
use crate::cluster::{Cluster, NodeId, PodId};
use crate::engine::{Nanos, SECOND};

/// How long an ask waits before it looks again (`preemptAttemptFrequency`).
const ATTEMPT_INTERVAL_NS: Nanos = 15 * SECOND;
/// `reservationWaitTimeout`.
const RESERVATION_WAIT_NS: Nanos = 3600 * SECOND;
/// Nodes whose predicates are tried at once (`preemptCheckConcurrency`).
const CHECK_BATCH: usize = 10;
/// A solution without any of these in its score is good enough.
const SCORE_FIT_MAX: u64 = 1 << 32;
const SCORE_ORIGINATOR: u64 = 1 << 33;
const SCORE_NO_PREEMPT: u64 = 1 << 34;
const SCORE_UNFIT: u64 = 1 << 35;

/// A queue as it was when an ask began to look for victims, and what taking some would make of it.
#[derive(Clone, Debug)]
struct Snapshot {
    allocated: Res,
    preempting: Res,
    guaranteed: Res,
    parent: Option<QueueId>,
    /// What the ask's queue leaves of its guarantee counts here: it is on the ask's way, or was looked at after it.
    knows_ask_queue: bool,
}

/// All queues that were looked at, by id.
#[derive(Clone, Debug)]
struct Snapshots {
    queues: Vec<Option<Snapshot>>,
    ask_queue: QueueId,
    /// Queues whose names begin the name of the ask's queue.
    prefixes: Vec<QueueId>,
    /// What the ask's queue leaves of its guarantee, as it was in the beginning.
    ask_remaining: Res,
    /// What was added and taken off, to be undone.
    journal: Vec<(QueueId, Res, bool)>,
}

impl Snapshots {
    fn get(&self, queue: QueueId) -> &Snapshot {
        self.queues[queue as usize].as_ref().expect("a queue that was looked at")
    }

    fn change(&mut self, queue: QueueId, amount: &Res, add: bool) {
        let mut at = Some(queue);
        while let Some(queue) = at {
            let snapshot = self.queues[queue as usize].as_mut().expect("so were those above it");
            if add {
                snapshot.allocated.add(amount);
            } else {
                snapshot.allocated.sub(amount);
            }
            at = snapshot.parent;
        }
    }

    fn add(&mut self, queue: QueueId, amount: &Res) {
        self.change(queue, amount, true);
        self.journal.push((queue, amount.clone(), true));
    }

    fn remove(&mut self, queue: QueueId, amount: &Res) {
        self.change(queue, amount, false);
        self.journal.push((queue, amount.clone(), false));
    }

    /// Everything is as it was in the beginning. (A type of which nothing is in use may be left as zero, which is the same
    /// in all that is asked of a snapshot.)
    fn undo(&mut self) {
        while let Some((queue, amount, added)) = self.journal.pop() {
            self.change(queue, &amount, !added);
        }
    }

    /// `GetPreemptableResource`: what a queue uses above its guarantee, as far as those above it do.
    fn preemptable(&self, queue: Option<QueueId>) -> Res {
        let Some(queue) = queue else { return Res::default() };
        let q = self.get(queue);
        if q.allocated.is_empty() {
            return Res::default();
        }
        let above = self.preemptable(q.parent);
        let actual = q.allocated.sub_only_existing(&q.preempting).sub_only_existing(&q.guaranteed);
        let over = actual.keep(|v| v > 0);
        if over.is_empty() { over } else { over.min_only_existing(&above) }
    }

    /// `GetRemainingGuaranteedResource`: what a queue leaves of its guarantee or of one above it; nil: there is none.
    fn remaining(&self, queue: Option<QueueId>) -> Res {
        let Some(queue) = queue else { return Res::default() };
        let q = self.get(queue);
        let above = self.remaining(q.parent);
        if above.is_empty() && q.guaranteed.is_empty() {
            return Res::default();
        }
        let used = q.allocated.sub_only_existing(&q.preempting);
        let own = q.guaranteed.sub_only_existing(&used);
        if q.knows_ask_queue {
            if queue == self.ask_queue && !own.is_empty() {
                return own.merge_if_not_present(&above);
            }
            // A queue above the ask's does not speak for its other children.
            if !own.is_empty() && self.prefixes.contains(&queue) && !self.ask_remaining.is_empty() {
                return Res::default();
            }
        }
        own.min(&above)
    }
}

/// Whether a type of the ask is (or none is) below zero in what remains.
fn any_below_zero(ask: &Res, remaining: &Res) -> bool {
    ask.types().any(|(id, _)| remaining.get(id).is_some_and(|v| v < 0))
}

/// A pod that may be preempted.
#[derive(Clone, Copy, Debug)]
struct Victim {
    pod: PodId,
    queue: QueueId,
}

/// What a node has to offer.
struct Solution {
    node: NodeId,
    victims: Vec<Victim>,
    /// Index of the last victim that it takes; -1: none.
    index: i64,
}

/// One ask's search.
struct Search<'a> {
    core: &'a Core,
    cluster: &'a Cluster,
    ask: Res,
    ask_queue: QueueId,
    snapshots: Snapshots,
    by_queue: BTreeMap<QueueId, Vec<PodId>>,
}

impl Search<'_> {
    fn take(&mut self, queue: QueueId) {
        let mut at = Some(queue);
        while let Some(id) = at {
            let q = self.core.queues.get(id);
            at = q.parent;
            if self.snapshots.queues[id as usize].is_none() {
                self.snapshots.queues[id as usize] = Some(Snapshot {
                    allocated: Res::used(&q.allocated),
                    preempting: Res::used(&q.preempting),
                    guaranteed: Res::configured(&q.guaranteed),
                    parent: q.parent,
                    knows_ask_queue: true,
                });
            }
        }
    }

    /// `findEligiblePreemptionVictims`: leaf queues below the fence, with the highest priority of a victim there.
    fn eligible(
        &mut self,
        queue: QueueId,
        priorities: &BTreeMap<QueueId, i64>,
        priority: i64,
        fenced: bool,
        found: &mut Vec<(QueueId, Option<i64>)>,
    ) {
        if queue == self.ask_queue {
            return;
        }
        let q = self.core.queues.get(queue);
        if q.is_leaf() {
            if q.properties.preemption == PreemptionPolicy::Disabled {
                return;
            }
            self.take(queue);
            let remaining = self.snapshots.remaining(Some(queue));
            if remaining.is_nil() || !remaining.at_least(&Res::default()) {
                found.push((queue, (!fenced).then_some(priority)));
            }
            return;
        }
        for child in q.children.clone() {
            let properties = self.core.queues.get(child).properties;
            let offset = i64::from(properties.priority_offset);
            let (below, child_fenced) = match priorities.get(&child) {
                Some(known) => (*known, false),
                None if properties.priority_fence && offset > priority => continue,
                None if properties.priority_fence => (priority, true),
                None => (priority - offset, false),
            };
            self.eligible(child, priorities, below, fenced || child_fenced, found);
        }
    }

    fn pod_res(&self, pod: PodId) -> Res {
        Res::of_pod(self.cluster.pods.spec(pod))
    }

    fn allows(&self, pod: PodId) -> bool {
        !self.cluster.pods.spec(pod).refuses_preemption
    }

    fn is_originator(&self, pod: PodId) -> bool {
        let app = self.core.apps[self.cluster.pods.app_id(pod) as usize].as_ref();
        app.is_some_and(|app| app.originator == Some(pod))
    }

    /// Whether taking a victim leaves its queue above its guarantee; the snapshots are without it then.
    fn removable(&mut self, victim: Victim) -> bool {
        let amount = self.pod_res(victim.pod);
        let snapshots = &mut self.snapshots;
        let remaining = snapshots.remaining(Some(victim.queue));
        snapshots.remove(victim.queue, &amount);
        let preemptable = snapshots.preemptable(Some(victim.queue));
        let removable = preemptable.at_least(&Res::default())
            && (remaining.is_nil() || any_below_zero(&self.ask, &remaining));
        if !removable {
            snapshots.add(victim.queue, &amount);
        }
        removable
    }

    /// `calculateVictimsByNode`: the victims to try on a node, and the first with which the ask fits (-1: without any).
    fn on_node(&mut self, free: &Res, candidates: &[Victim]) -> Option<(i64, Vec<Victim>)> {
        if free.fits(&self.ask) {
            return Some((-1, Vec::new()));
        }
        let mut available = free.clone();
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        for victim in candidates {
            if !self.removable(*victim) {
                continue;
            }
            let amount = self.pod_res(victim.pod);
            let left = self.snapshots.remaining(Some(self.ask_queue));
            if left.is_nil() || !left.fits_actual(&amount) {
                break;
            }
            let mut more = available.clone();
            more.add(&amount);
            let (before, after) =
                (self.ask.sub_eliminate_negative(&available), self.ask.sub_eliminate_negative(&more));
            if before.equals_or_empty(&after) {
                self.snapshots.add(victim.queue, &amount);
                tail.push(*victim);
            } else {
                self.snapshots.add(self.ask_queue, &amount);
                available = more;
                head.push(*victim);
            }
        }
        self.snapshots.undo();
        head.append(&mut tail);
        let mut available = free.clone();
        let mut victims = Vec::new();
        let mut index = -1;
        for victim in head {
            if self.removable(victim) {
                available.add(&self.pod_res(victim.pod));
                if index < 0 && available.fits(&self.ask) {
                    index = i64::try_from(victims.len()).expect("a node holds few pods");
                }
                victims.push(victim);
            }
        }
        self.snapshots.undo();
        (index >= 0).then_some((index, victims))
    }

    /// `getSolutionScore`: by the victims of the node in order, as many as are taken.
    fn score(&self, taken: usize, candidates: Option<&Vec<Victim>>) -> u64 {
        let Some(candidates) = candidates else { return SCORE_UNFIT };
        if taken > candidates.len() {
            return SCORE_UNFIT;
        }
        candidates[..taken].iter().fold(0, |score, victim| score | self.flags(victim.pod)) + taken as u64
    }

    /// What speaks against a victim.
    fn flags(&self, pod: PodId) -> u64 {
        let originator = if self.is_originator(pod) { SCORE_ORIGINATOR } else { 0 };
        let unwilling = if self.allows(pod) { 0 } else { SCORE_NO_PREEMPT };
        originator | unwilling
    }

    /// `calculateAdditionalVictims`: those that the ask's queue needs besides those of its node. None: they are not enough.
    fn additional(&mut self, chosen: &[Victim]) -> Option<Vec<Victim>> {
        for victim in chosen {
            let amount = self.pod_res(victim.pod);
            self.snapshots.remove(victim.queue, &amount);
        }
        let mut candidates: Vec<Victim> = self
            .by_queue
            .iter()
            .flat_map(|(queue, pods)| pods.iter().map(|pod| Victim { pod: *pod, queue: *queue }))
            .filter(|victim| !chosen.iter().any(|c| c.pod == victim.pod))
            .collect();
        candidates
            .sort_by_cached_key(|victim| (self.flags(victim.pod), Reverse(self.core.created_s(victim.pod))));
        let mut victims = Vec::new();
        for victim in candidates {
            if !self.removable(victim) {
                continue;
            }
            let amount = self.pod_res(victim.pod);
            let left = self.snapshots.remaining(Some(self.ask_queue));
            if left.is_nil() || !left.fits_actual(&amount) {
                self.snapshots.add(victim.queue, &amount);
                break;
            }
            self.snapshots.add(self.ask_queue, &amount);
            if left.equals_or_empty(&self.snapshots.remaining(Some(self.ask_queue))) {
                self.snapshots.remove(self.ask_queue, &amount);
                self.snapshots.add(victim.queue, &amount);
            } else {
                victims.push(victim);
            }
        }
        let left = self.snapshots.remaining(Some(self.ask_queue));
        self.snapshots.undo();
        let enough = victims.is_empty() || !left.is_nil() && !any_below_zero(&self.ask, &left);
        enough.then_some(victims)
    }
}

impl Core {
    /// An ask that can't be placed looks for victims; those found are marked, and the node to be reserved is returned.
    pub(super) fn try_preemption(
        &mut self,
        cluster: &Cluster,
        leaf: QueueId,
        pod: PodId,
        nodes_tried: bool,
        work: &mut Work,
    ) -> Option<NodeId> {
        if let Some((group, key)) = self.ask_key(cluster, pod) {
            let app = self.apps[cluster.pods.app_id(pod) as usize].as_mut().expect("it has asks");
            app.groups[group as usize].searched.insert(key, self.now + ATTEMPT_INTERVAL_NS);
        }
        work.preemptions += 1;
        let ask = Res::of_pod(cluster.pods.spec(pod));
        let (by_queue, snapshots) = self.eligible_victims(cluster, leaf, pod, &ask, work);
        let mut search = Search { core: self, cluster, ask, ask_queue: leaf, snapshots, by_queue };
        if !search.guarantee_helps() {
            return None;
        }
        let Search { ask, snapshots, by_queue, .. } = search;
        self.open_for_search(cluster, pod);
        let mut search = Search { core: self, cluster, ask, ask_queue: leaf, snapshots, by_queue };
        let (node, victims) = search.find(pod, nodes_tried, work)?;
        let victims: Vec<PodId> = victims.into_iter().map(|victim| victim.pod).collect();
        self.preempt(cluster, &victims);
        self.preempted_for.insert(pod);
        Some(node)
    }

    /// The pods below the fence that may be victims, by queue.
    fn eligible_victims(
        &self,
        cluster: &Cluster,
        leaf: QueueId,
        pod: PodId,
        ask: &Res,
        work: &mut Work,
    ) -> (BTreeMap<QueueId, Vec<PodId>>, Snapshots) {
        let name = &self.queues.get(leaf).name;
        let prefixes = (0..QueueId::try_from(self.queues.len()).expect("queues are few"))
            .filter(|q| name.starts_with(&self.queues.get(*q).name))
            .collect();
        let snapshots = Snapshots {
            queues: vec![None; self.queues.len()],
            ask_queue: leaf,
            prefixes,
            ask_remaining: Res::default(),
            journal: Vec::new(),
        };
        let mut search = Search {
            core: self,
            cluster,
            ask: ask.clone(),
            ask_queue: leaf,
            snapshots,
            by_queue: BTreeMap::new(),
        };
        search.take(leaf);
        if let Some(root) = search.snapshots.queues[ROOT as usize].as_mut() {
            root.knows_ask_queue = leaf == ROOT;
        }
        let own = search.snapshots.get(leaf);
        let used = own.allocated.sub_only_existing(&own.preempting);
        search.snapshots.ask_remaining = own.guaranteed.sub_only_existing(&used);
        // Up to the fence, and the ask's priority as seen from each queue on the way.
        let mut priorities = BTreeMap::new();
        let mut priority = i64::from(cluster.pods.spec(pod).priority);
        let mut fence = leaf;
        for (id, q) in self.queues.path(leaf) {
            let offset = i64::from(q.properties.priority_offset);
            priority = if q.properties.priority_fence { offset } else { priority + offset };
            priorities.insert(id, priority);
            fence = id;
            let max = if id == ROOT {
                self.queues.cluster.as_ref().map_or_else(Res::default, Res::used)
            } else {
                Res::configured(&q.max)
            };
            if q.properties.preemption == PreemptionPolicy::Fence || max.equals(&Res::used(&q.allocated)) {
                break;
            }
        }
        let mut leaves = Vec::new();
        let top = priorities[&fence];
        search.eligible(fence, &priorities, top, false, &mut leaves);
        let mut by_queue = search.by_queue;
        let snapshots = search.snapshots;
        let limits: BTreeMap<QueueId, Option<i64>> = leaves.into_iter().collect();
        for queue in limits.keys() {
            work.preemption_pods += self.queues.get(*queue).allocated.pods;
        }
        // Without a guarantee on the ask's way nothing helps, whatever the victims.
        let guaranteed = self.queues.path(leaf).any(|(_, q)| !q.guaranteed.is_empty());
        if guaranteed && !limits.is_empty() {
            for pods in &self.on_node {
                for pod in pods {
                    let app = self.apps[cluster.pods.app_id(*pod) as usize].as_ref();
                    let Some(limit) = app.and_then(|app| limits.get(&app.leaf)) else { continue };
                    let spec = cluster.pods.spec_id(*pod);
                    if self.may_be_victim(*pod)
                        && self.specs[spec as usize].required.is_none()
                        && limit.is_none_or(|most| i64::from(self.specs[spec as usize].priority) <= most)
                    {
                        by_queue.entry(app.expect("it has a leaf").leaf).or_default().push(*pod);
                    }
                }
            }
        }
        (by_queue, snapshots)
    }

    /// Reservations of lower priority that have waited for too long end on nodes where an ask looks for victims.
    fn open_for_search(&mut self, cluster: &Cluster, pod: PodId) {
        let priority = cluster.pods.spec(pod).priority;
        let mut ended = Vec::new();
        for pods in self.reserved_on.values() {
            if pods.contains(&pod) {
                continue;
            }
            for other in pods {
                let created_ns = u64::from(self.created_s(*other)) * SECOND;
                let waited_ns =
                    self.now.saturating_sub(created_ns + RESERVATION_WAIT_NS + super::reservations::DELAY_NS);
                if self.specs[cluster.pods.spec_id(*other) as usize].required.is_none()
                    && !self.preempted_for.contains(other)
                    && cluster.pods.spec(*other).priority < priority
                    && waited_ns > RESERVATION_WAIT_NS
                {
                    ended.push(*other);
                }
            }
        }
        for other in ended {
            self.unreserve(cluster, other);
        }
    }
}

impl Search<'_> {
    /// `checkPreemptionQueueGuarantees`: whether the ask's queue would be within its guarantee if all victims went.
    fn guarantee_helps(&mut self) -> bool {
        let before = self.snapshots.remaining(Some(self.ask_queue));
        if !before.is_nil() && before.fits_actual(&self.ask) {
            return true;
        }
        self.snapshots.add(self.ask_queue, &self.ask);
        for (queue, pods) in &self.by_queue {
            for pod in pods {
                self.snapshots.remove(*queue, &Res::of_pod(self.cluster.pods.spec(*pod)));
            }
        }
        let after = self.snapshots.remaining(Some(self.ask_queue));
        self.snapshots.undo();
        !self.by_queue.is_empty() && !after.is_nil() && !any_below_zero(&self.ask, &after)
    }

    /// A node and the victims to be taken for it.
    fn find(&mut self, pod: PodId, nodes_tried: bool, work: &mut Work) -> Option<(NodeId, Vec<Victim>)> {
        let core = self.core;
        work.preemption_victims += self.by_queue.values().map(|pods| pods.len() as u64).sum::<u64>();
        let mut by_node: BTreeMap<NodeId, Vec<Victim>> = BTreeMap::new();
        for (queue, pods) in &self.by_queue {
            for pod in pods {
                let node = core.node_of(*pod);
                by_node.entry(node).or_default().push(Victim { pod: *pod, queue: *queue });
            }
        }
        for victims in by_node.values_mut() {
            victims.sort_by_cached_key(|victim| {
                (
                    !self.allows(victim.pod),
                    self.is_originator(victim.pod),
                    Reverse(core.created_s(victim.pod)),
                )
            });
        }
        let spec = self.cluster.pods.spec(pod);
        let mut solutions = Vec::new();
        let mut free_on = BTreeMap::new();
        for node in 0..NodeId::try_from(core.nodes.table.len()).expect("nodes are limited") {
            if !core.nodes.table.is_present(node) {
                continue;
            }
            work.preemption_nodes += 1;
            let others = core.reserved_on.get(&node).is_some_and(|pods| !pods.contains(&pod));
            if !core.nodes.is_schedulable(node) || others || !core.nodes.table.could_hold(node, spec) {
                by_node.remove(&node);
                continue;
            }
            let free = core.free_on(node);
            let candidates = by_node.get(&node).map_or(&[][..], Vec::as_slice);
            let found = self.on_node(&free, candidates);
            free_on.insert(node, free);
            if let Some((index, victims)) = found
                && (!victims.is_empty() || !nodes_tried)
            {
                solutions.push(Solution { node, victims, index });
            }
        }
        let name = |node: NodeId| &self.cluster.nodes.get(node).name;
        solutions.sort_by(|a, b| a.index.cmp(&b.index).then_with(|| name(a.node).cmp(name(b.node))));
        let mut best: Option<(u64, &Solution, usize)> = None;
        for batch in solutions.chunks(CHECK_BATCH) {
            for solution in batch {
                core.count_predicates(self.cluster.pods.spec_id(pod), 1, work);
                // What other pods refuse is judged as if the victims were there, but for their ports.
                let victims: Vec<PodId> = solution.victims.iter().map(|victim| victim.pod).collect();
                let least = usize::try_from(solution.index + 1).expect("-1 or an index");
                let needed =
                    core.predicates.victims_needed(self.cluster, pod, solution.node, &victims, least);
                let Some(taken) = needed else { continue };
                let score = self.score(taken, by_node.get(&solution.node));
                if best.is_none_or(|(least, ..)| score < least) {
                    best = Some((score, solution, taken));
                }
            }
            if best.is_some_and(|(score, ..)| score < SCORE_FIT_MAX) {
                break;
            }
        }
        let (_, solution, taken) = best?;
        let mut victims = solution.victims[..taken].to_vec();
        victims.extend(self.additional(&victims)?);
        if victims.is_empty() {
            return None;
        }
        let fits = free_on[&solution.node].fits(&self.ask);
        let mut total = Res::empty();
        let mut chosen = Vec::new();
        for victim in victims {
            // Pods elsewhere help only if the node has room already.
            if !fits && core.node_of(victim.pod) != solution.node {
                continue;
            }
            if self.ask.exceeds_existing(&total, false) {
                chosen.push(victim);
            }
            total.add(&self.pod_res(victim.pod));
        }
        (!self.ask.exceeds_existing(&total, false)).then_some((solution.node, chosen))
    }
}
