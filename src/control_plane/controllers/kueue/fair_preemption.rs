//! Fair sharing: which workloads give their quota to one that waits.
//!
//! Sources: `pkg/scheduler/preemption/preemption.go` and its folder `fairsharing`, of Kueue 0.19.2, and its KEP 1714.
//!
//! Candidates use a resource of a flavor that is short: those of the own ClusterQueue by `withinClusterQueue`, those of queues of the whole tree of cohorts that borrow it by
//! `reclaimWithinCohort`. `borrowWithinCohort` has no say.
//!
//! They are asked queue by queue, the one with the largest share first: from the root down, in each cohort the member that has the largest, as long as it borrows, is gone into. The own queue and the
//! cohorts around it are gone into whether they borrow or not. Shares are those of the moment, with what waits counted as admitted.
//! Of the own queue whoever is next goes. If the own queue is within its quota of what is short even with what waits, so does whoever is next elsewhere. Else
//! it is compared where the two meet: the shares of the two members of the lowest cohort that both stand under. By `LessThanOrEqualToFinalShare` (S2-a) the
//! first of the queue goes whose queue has no smaller share afterwards than the one that waits has. If all that does not make room, `LessThanInitialShare` (S2-b) goes over those that were
//! passed over, one a queue: it goes if the one that waits has a smaller share than its queue has with it. Alone, that rule takes the place of the first.
//!
//! When it fits, those that need not go are given back from the last but one to the first, as in `preemption`; if it never does, nobody goes.
//!
//! Left out: topologies. Of child cohorts with equal shares the last one is gone into; Kueue's order of them is random.
//!
//! Cost: O(candidates x members of the tree x cells) a search.
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::config::{Policy, Strategies};
use super::cycle::WorkloadId;
use super::preemption::{Reason, Search, Target, is_within_nominal};
use super::quota::{Cell, Node, Quotas};
use super::share::Share;

/// Which ClusterQueue is asked next (`TargetClusterQueueOrdering`).
#[derive(Clone, Debug)]
pub struct QueueOrder {
    own: Node,
    ancestors: BTreeSet<Node>,
    /// By ClusterQueue: its candidates, each with its place among all.
    waiting: BTreeMap<Node, VecDeque<(usize, WorkloadId)>>,
    /// Nodes that no candidate comes from any more.
    pruned: BTreeSet<Node>,
}

impl QueueOrder {
    /// For a ClusterQueue, of candidates with their queues and places among all, in order.
    #[must_use]
    pub fn new(quotas: &Quotas, own: Node, candidates: &[(Node, usize, WorkloadId)]) -> Self {
        let mut waiting: BTreeMap<Node, VecDeque<(usize, WorkloadId)>> = BTreeMap::new();
        for (queue, place, id) in candidates {
            waiting.entry(*queue).or_default().push_back((*place, *id));
        }
        Self { own, ancestors: quotas.ancestors(own).collect(), waiting, pruned: BTreeSet::new() }
    }

    /// The place of a queue's next candidate.
    fn first(&self, queue: Node) -> Option<usize> {
        self.waiting.get(&queue).and_then(|waiting| waiting.front()).map(|(place, _)| *place)
    }

    /// A queue's next candidate, which is not asked again.
    pub fn pop(&mut self, queue: Node) -> Option<(usize, WorkloadId)> {
        self.waiting.get_mut(&queue).and_then(VecDeque::pop_front)
    }

    /// A queue is not asked again.
    pub fn drop_queue(&mut self, queue: Node) {
        self.pruned.insert(queue);
    }

    /// The next queue, by the shares of the moment. Between two calls a candidate is popped, or the queue dropped.
    pub fn next(&mut self, quotas: &Quotas) -> Option<Node> {
        let Some(root) = quotas.root(self.own) else {
            let has_more = !self.pruned.contains(&self.own) && self.first(self.own).is_some();
            return has_more.then_some(self.own);
        };
        while !self.pruned.contains(&root) {
            if let Some(queue) = self.descend(quotas, root) {
                return Some(queue);
            }
        }
        None
    }

    /// From a root to the queue that is next; none: a cohort was found that has no more (`nextTarget`).
    fn descend(&mut self, quotas: &Quotas, root: Node) -> Option<Node> {
        let mut cohort = root;
        loop {
            let (mut queue, mut of_queue): (Option<(Node, usize)>, _) = (None, Share::NONE);
            let (mut child, mut of_child): (Option<Node>, _) = (None, Share::NONE);
            for member in quotas.children(cohort).iter().copied() {
                if self.pruned.contains(&member) {
                    continue;
                }
                let share = Share::of(quotas, member);
                if quotas.is_queue(member) {
                    let first = self.first(member).filter(|_| share.borrows() || member == self.own);
                    let Some(first) = first else {
                        self.pruned.insert(member);
                        continue;
                    };
                    let order = share.compare(&of_queue);
                    let sooner = queue.is_none_or(|(_, best)| first < best);
                    if order == Ordering::Greater || order == Ordering::Equal && sooner {
                        (queue, of_queue) = (Some((member, first)), share);
                    }
                } else if !share.borrows() && !self.ancestors.contains(&member) {
                    self.pruned.insert(member);
                } else if share.compare(&of_child) != Ordering::Less {
                    (child, of_child) = (Some(member), share);
                }
            }
            match (child, queue) {
                (None, None) => {
                    self.pruned.insert(cohort);
                    return None;
                }
                // Of equals the cohort, in which the least fair is then found.
                (Some(child), _) if of_child.compare(&of_queue) != Ordering::Less => cohort = child,
                (_, queue) => return queue.map(|(node, _)| node),
            }
        }
    }

    /// The members, of the lowest cohort that both stand under, that the own queue and another stand under (`getAlmostLCAs`).
    fn meeting(&self, quotas: &Quotas, queue: Node) -> (Node, Node) {
        let lowest = quotas.ancestors(queue).find(|cohort| self.ancestors.contains(cohort));
        let below = |node: Node| {
            let under = std::iter::once(node).chain(quotas.ancestors(node));
            under.take_while(|at| Some(*at) != lowest).last().unwrap_or(node)
        };
        (below(self.own), below(queue))
    }
}

/// A search that goes on.
struct Pass<'a> {
    search: &'a Search<'a>,
    quotas: &'a mut Quotas,
    usage: &'a [(Cell, i64)],
    targets: Vec<Target>,
}

impl Pass<'_> {
    fn add_own(&mut self) {
        let own = self.search.queue();
        self.usage.iter().for_each(|(cell, amount)| self.quotas.add(own, *cell, *amount));
    }

    fn remove_own(&mut self) {
        let own = self.search.queue();
        self.usage.iter().for_each(|(cell, amount)| self.quotas.remove(own, *cell, *amount));
    }

    /// One goes; says whether what waits fits now.
    fn take(&mut self, id: WorkloadId, reason: Reason) -> bool {
        self.search.remove(self.quotas, id);
        self.targets.push((id, reason));
        self.remove_own();
        let fits = self.search.fits(self.quotas, self.usage, true);
        self.add_own();
        fits
    }

    /// The first strategy; `None`: it fits, or those that were passed over.
    fn first(
        &mut self,
        candidates: &[(Node, usize, WorkloadId)],
        by_initial: bool,
        short: &BTreeSet<Cell>,
    ) -> Option<Vec<(Node, usize, WorkloadId)>> {
        let own = self.search.queue();
        let mut order = QueueOrder::new(self.quotas, own, candidates);
        let mut passed_over = Vec::new();
        let has_right = is_within_nominal(self.quotas, own, short);
        while let Some(queue) = order.next(self.quotas) {
            if queue == own || has_right {
                let reason = if queue == own { Reason::InClusterQueue } else { Reason::InCohortReclamation };
                let Some((_, id)) = order.pop(queue) else { break };
                if self.take(id, reason) {
                    return None;
                }
                continue;
            }
            let (mine, theirs) = order.meeting(self.quotas, queue);
            let (new, old) = (Share::of(self.quotas, mine), Share::of(self.quotas, theirs));
            while let Some((place, id)) = order.pop(queue) {
                let goes = if by_initial {
                    new.compare(&old) == Ordering::Less
                } else {
                    self.search.remove(self.quotas, id);
                    let without = Share::of(self.quotas, theirs);
                    self.search.add(self.quotas, id);
                    new.compare(&without) != Ordering::Greater
                };
                if !goes {
                    passed_over.push((queue, place, id));
                    continue;
                }
                if self.take(id, Reason::InCohortFairSharing) {
                    return None;
                }
                // Another queue may have the largest share now.
                break;
            }
        }
        Some(passed_over)
    }

    /// `LessThanInitialShare` as the second strategy; says whether it fits.
    fn second(&mut self, candidates: &[(Node, usize, WorkloadId)]) -> bool {
        let mut order = QueueOrder::new(self.quotas, self.search.queue(), candidates);
        while let Some(queue) = order.next(self.quotas) {
            let (mine, theirs) = order.meeting(self.quotas, queue);
            let (new, old) = (Share::of(self.quotas, mine), Share::of(self.quotas, theirs));
            let Some((_, id)) = order.pop(queue) else { return false };
            if new.compare(&old) == Ordering::Less && self.take(id, Reason::InCohortFairSharing) {
                return true;
            }
            order.drop_queue(queue);
        }
        false
    }
}

/// What it could take, in order, with its queue and its place (`findCandidates`).
fn candidates(
    search: &Search<'_>,
    quotas: &Quotas,
    short: &BTreeSet<Cell>,
) -> Vec<(Node, usize, WorkloadId)> {
    let own = search.queue();
    let root = quotas.root(own);
    let policy = &search.config.queues[own].preemption;
    let mut found: Vec<WorkloadId> = Vec::new();
    for (id, holder) in search.holders {
        let queue = search.config.workloads[*id as usize].queue;
        let by = if queue == own { policy.within_cluster_queue } else { policy.reclaim_within_cohort };
        let reachable = queue == own
            || by != Policy::Never
                && root.is_some()
                && quotas.root(queue) == root
                && !is_within_nominal(quotas, queue, short);
        let uses = || holder.usage.iter().any(|(cell, _)| short.contains(cell));
        if reachable && search.satisfies(*id, by) && uses() {
            found.push(*id);
        }
    }
    found.sort_by_cached_key(|id| search.rank(*id));
    let queue = |id: WorkloadId| search.config.workloads[id as usize].queue;
    found.into_iter().enumerate().map(|(place, id)| (queue(id), place, id)).collect()
}

/// Who must go so that `usage` fits, `short` being what it lacks; nobody: it can't be done. `quotas` are as before afterwards.
pub(super) fn targets(
    search: &Search<'_>,
    strategies: Strategies,
    quotas: &mut Quotas,
    short: &BTreeSet<Cell>,
    usage: &[(Cell, i64)],
) -> Vec<Target> {
    let candidates = candidates(search, quotas, short);
    if candidates.is_empty() {
        return Vec::new();
    }
    let mut pass = Pass { search, quotas: &mut *quotas, usage, targets: Vec::new() };
    pass.add_own();
    let fits = match pass.first(&candidates, strategies == Strategies::InitialShare, short) {
        None => true,
        Some(passed_over) => strategies == Strategies::Both && pass.second(&passed_over),
    };
    pass.remove_own();
    let mut targets = pass.targets;
    if fits {
        search.give_back(quotas, usage, true, &mut targets);
    }
    targets.iter().for_each(|(id, _)| search.add(quotas, *id));
    if fits { targets } else { Vec::new() }
}
