//! Kueue's preemption: which workloads give their quota to one that waits.
//!
//! Sources: `pkg/scheduler/preemption/{preemption,preemption_oracle}.go` and its folders `classical` and `common`, of Kueue 0.19.2.
//!
//! Candidates use a resource of a flavor that is short. Those of the same ClusterQueue are taken by `withinClusterQueue`, those of other queues that
//! borrow by `reclaimWithinCohort`, if all cohorts up to the lowest that both stand under borrow too. A queue that asks for no more than its nominal quota takes back what others have
//! borrowed, and so does one whose cohort has quota for it towards what stands outside that cohort (hierarchical advantage); else it
//! takes from others only what `borrowWithinCohort` allows, and besides what does not make it borrow.
//!
//! The order: what is being evicted already, then those over whom there is an advantage, other queues, the own one, low priorities first, and among equals who got its quota last.
//! Candidates are removed until the workload fits, passing over those whose queue or cohort no longer borrows; then they are given back one by one, from the last but one to
//! the first, where it still fits. So the set is minimal, and small ones that did not help are spared.
//!
//! With fair sharing `fair_preemption` says who goes.
//!
//! Left out: topologies, fair sharing of admissions, workload slices. Candidates that are alike in all of that go by age,
//! where Kueue goes by their random UIDs. Reservation times have whole seconds, as they are stored.
//!
//! Cost: O(admitted workloads x (depth + log)) a search, and O(candidates x resources x depth) for trying.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::config::{Config, Policy};
use super::cycle::WorkloadId;
use super::fair_preemption;
use super::quota::{Cell, Node, Quotas};
use crate::engine::{Nanos, SECOND};

/// Why a workload is preempted (the reason of its condition `Preempted`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Reason {
    /// `InClusterQueue`.
    InClusterQueue,
    /// `InCohortReclamation`.
    InCohortReclamation,
    /// `InCohortReclaimWhileBorrowing`.
    InCohortReclaimWhileBorrowing,
    /// `InCohortFairSharing`.
    InCohortFairSharing,
}

/// A workload that is to go, and why.
pub type Target = (WorkloadId, Reason);

/// A workload that holds quota.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Holder {
    /// What it uses.
    pub usage: Vec<(Cell, i64)>,
    /// When quota was reserved for it, ns.
    pub reserved_ns: Nanos,
    /// It is being evicted.
    pub evicted: bool,
}

/// What a search looks at.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// Queues and workloads.
    pub config: &'a Config,
    /// Who holds quota.
    pub holders: &'a BTreeMap<WorkloadId, Holder>,
    /// When workloads were created, ns.
    pub created_ns: &'a BTreeMap<WorkloadId, Nanos>,
    /// Who needs quota.
    pub preemptor: WorkloadId,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    id: WorkloadId,
    queue: usize,
    /// The lowest cohort that it and the preemptor stand under; none: it is of the same queue.
    lowest: Option<Node>,
    /// It may go only if the preemptor does not borrow in the end.
    without_borrowing: bool,
    /// The preemptor has a right to what it asks for.
    by_right: bool,
    reason: Reason,
}

/// Whether a queue or a cohort uses no more than its own, of all of these (`IsWithinNominalInResources`).
pub(super) fn is_within_nominal(quotas: &Quotas, node: Node, cells: &BTreeSet<Cell>) -> bool {
    cells.iter().all(|cell| quotas.used(node, *cell) <= quotas.subtree(node, *cell))
}

/// Whether a queue and all cohorts between it and one above it borrow.
fn borrows_up_to(quotas: &Quotas, queue: Node, above: Node, short: &BTreeSet<Cell>) -> bool {
    let path = std::iter::once(queue).chain(quotas.ancestors(queue));
    path.take_while(|node| *node != above).all(|node| !is_within_nominal(quotas, node, short))
}

impl Search<'_> {
    pub(super) fn queue(&self) -> usize {
        self.config.workloads[self.preemptor as usize].queue
    }

    /// `SatisfiesPreemptionPolicy`.
    pub(super) fn satisfies(&self, candidate: WorkloadId, policy: Policy) -> bool {
        let priority = |id: WorkloadId| self.config.workloads[id as usize].priority;
        let lower = priority(self.preemptor) > priority(candidate);
        match policy {
            Policy::Never => false,
            Policy::LowerPriority => lower,
            Policy::LowerOrNewerEqualPriority => {
                let created = |id: WorkloadId| self.created_ns.get(&id).copied().unwrap_or(Nanos::MAX);
                let equal = priority(self.preemptor) == priority(candidate);
                lower || equal && created(self.preemptor) < created(candidate)
            }
            Policy::Any => true,
        }
    }

    /// By cohort above the own queue: whether what stands below it there has a right to all that is asked for.
    fn advantages(&self, quotas: &Quotas, usage: &[(Cell, i64)]) -> BTreeMap<Node, bool> {
        let mut left = usage.to_vec();
        let mut has = false;
        let mut at = self.queue();
        let mut by_cohort = BTreeMap::new();
        while let Some(cohort) = quotas.parent(at) {
            has |= !left.iter().any(|(cell, amount)| quotas.exceeds(at, *cell, *amount));
            left.iter_mut()
                .for_each(|(cell, left)| *left = (*left - quotas.local_available(at, *cell)).max(0));
            by_cohort.insert(cohort, has);
            at = cohort;
        }
        by_cohort
    }

    /// What it could take, in order.
    fn candidates(&self, quotas: &Quotas, short: &BTreeSet<Cell>, usage: &[(Cell, i64)]) -> Vec<Candidate> {
        let own = self.queue();
        let queue = &self.config.queues[own];
        let policy = &queue.preemption;
        let advantages = self.advantages(quotas, usage);
        let mine = &self.config.workloads[self.preemptor as usize];
        let mut all = Vec::new();
        for (id, holder) in self.holders {
            let other = &self.config.workloads[*id as usize];
            let is_own = other.queue == own;
            let by = if is_own { policy.within_cluster_queue } else { policy.reclaim_within_cohort };
            let mut above = quotas.ancestors(other.queue).filter(|_| !is_own);
            let lowest = above.find_map(|cohort| advantages.get(&cohort).map(|by_right| (cohort, *by_right)));
            let borrows = |(cohort, _)| borrows_up_to(quotas, other.queue, cohort, short);
            if !is_own && !lowest.is_some_and(borrows)
                || !holder.usage.iter().any(|(cell, _)| short.contains(cell))
                || !self.satisfies(*id, by)
            {
                continue;
            }
            let above = other.priority >= mine.priority
                || policy.max_priority_threshold.is_some_and(|most| other.priority > most);
            let without_borrowing = !policy.borrow_within_cohort || above;
            let by_right = lowest.is_some_and(|(_, by_right)| by_right);
            let (without_borrowing, reason) = match (is_own, by_right) {
                (true, _) => (false, Reason::InClusterQueue),
                (false, true) => (false, Reason::InCohortReclamation),
                (false, false) if without_borrowing => (true, Reason::InCohortReclamation),
                (false, false) => (false, Reason::InCohortReclaimWhileBorrowing),
            };
            let (id, queue, lowest) = (*id, other.queue, lowest.map(|(cohort, _)| cohort));
            all.push(Candidate { id, queue, lowest, without_borrowing, by_right, reason });
        }
        all.sort_by_cached_key(|c| (!self.is_evicted(c.id), c.queue == own, !c.by_right, self.rank(c.id)));
        all
    }

    fn is_evicted(&self, id: WorkloadId) -> bool {
        self.holders.get(&id).is_some_and(|holder| holder.evicted)
    }

    /// The order of candidates (`CandidatesOrdering`).
    pub(super) fn rank(&self, id: WorkloadId) -> impl Ord + use<> {
        let reserved = self.holders.get(&id).map_or(0, |holder| holder.reserved_ns / SECOND);
        let workload = &self.config.workloads[id as usize];
        (!self.is_evicted(id), workload.queue == self.queue(), workload.priority, Reverse(reserved), id)
    }

    pub(super) fn remove(&self, quotas: &mut Quotas, id: WorkloadId) {
        let queue = self.config.workloads[id as usize].queue;
        for (cell, amount) in self.holders.get(&id).into_iter().flat_map(|holder| &holder.usage) {
            quotas.remove(queue, *cell, *amount);
        }
    }

    pub(super) fn add(&self, quotas: &mut Quotas, id: WorkloadId) {
        let queue = self.config.workloads[id as usize].queue;
        for (cell, amount) in self.holders.get(&id).into_iter().flat_map(|holder| &holder.usage) {
            quotas.add(queue, *cell, *amount);
        }
    }

    pub(super) fn fits(&self, quotas: &Quotas, usage: &[(Cell, i64)], borrowing: bool) -> bool {
        let own = self.queue();
        usage.iter().all(|(cell, amount)| {
            (borrowing || !quotas.borrows(own, *cell, *amount)) && *amount <= quotas.available(own, *cell)
        })
    }

    /// Whether `usage` fits once these are gone. `quotas` are as before afterwards.
    pub fn fits_without(
        &self,
        quotas: &mut Quotas,
        gone: &BTreeSet<WorkloadId>,
        usage: &[(Cell, i64)],
    ) -> bool {
        gone.iter().for_each(|id| self.remove(quotas, *id));
        let fits = self.fits(quotas, usage, true);
        gone.iter().for_each(|id| self.add(quotas, *id));
        fits
    }

    /// Who must go so that `usage` fits, `short` being what it lacks; nobody: it can't be done. `quotas` are as before afterwards.
    pub fn targets(&self, quotas: &mut Quotas, short: &BTreeSet<Cell>, usage: &[(Cell, i64)]) -> Vec<Target> {
        let own = self.queue();
        if !self.config.queues[own].preemption.is_any() {
            return Vec::new();
        }
        if let Some(strategies) = self.config.fair {
            return fair_preemption::targets(self, strategies, quotas, short, usage);
        }
        let candidates = self.candidates(quotas, short, usage);
        let others = candidates.iter().any(|c| c.queue != own);
        let is_forbidden = !self.config.queues[own].preemption.borrow_within_cohort;
        let under_nominal = short.iter().all(|cell| quotas.used(own, *cell) < quotas.nominal(own, *cell));
        let attempts: &[bool] = if !others || is_forbidden && !under_nominal {
            &[true]
        } else if is_forbidden && !candidates.iter().any(|c| c.by_right) {
            &[false, true]
        } else {
            &[true, false]
        };
        for borrowing in attempts {
            let mut targets: Vec<Target> = Vec::new();
            let mut fits = false;
            for candidate in &candidates {
                let passed_over = |lowest| {
                    *borrowing && candidate.without_borrowing
                        || !borrows_up_to(quotas, candidate.queue, lowest, short)
                };
                if candidate.lowest.is_some_and(passed_over) {
                    continue;
                }
                self.remove(quotas, candidate.id);
                targets.push((candidate.id, candidate.reason));
                fits = self.fits(quotas, usage, *borrowing);
                if fits {
                    break;
                }
            }
            if fits {
                self.give_back(quotas, usage, *borrowing, &mut targets);
            }
            targets.iter().for_each(|(id, _)| self.add(quotas, *id));
            if fits {
                return targets;
            }
        }
        Vec::new()
    }

    /// Gives back who need not go (`fillBackWorkloads`).
    pub(super) fn give_back(
        &self,
        quotas: &mut Quotas,
        usage: &[(Cell, i64)],
        borrowing: bool,
        targets: &mut Vec<Target>,
    ) {
        for at in (0..targets.len().saturating_sub(1)).rev() {
            let id = targets[at].0;
            self.add(quotas, id);
            if self.fits(quotas, usage, borrowing) {
                targets.swap_remove(at);
            } else {
                self.remove(quotas, id);
            }
        }
    }

    /// Whether room can be made for one resource (`SimulatePreemption`): by whom, and from how far up the queue borrows afterwards.
    pub fn simulate(&self, quotas: &mut Quotas, cell: Cell, amount: i64) -> (Room, usize) {
        let own = self.queue();
        let targets = self.targets(quotas, &BTreeSet::from([cell]), &[(cell, amount)]);
        if targets.is_empty() {
            return (Room::None, quotas.height_that_fits(own, cell, amount).0);
        }
        targets.iter().for_each(|(id, _)| self.remove(quotas, *id));
        let borrows = quotas.height_that_fits(own, cell, amount).0;
        targets.iter().for_each(|(id, _)| self.add(quotas, *id));
        let of_own = targets.iter().any(|(id, _)| self.config.workloads[*id as usize].queue == own);
        (if of_own { Room::Preempt } else { Room::Reclaim }, borrows)
    }
}

/// How room can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Not now.
    None,
    /// By workloads of its own queue, perhaps among others.
    Preempt,
    /// By workloads of other queues only.
    Reclaim,
}
