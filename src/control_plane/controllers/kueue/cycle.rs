//! Kueue's queues and its scheduling cycle.
//!
//! Sources: `pkg/scheduler/{scheduler.go,flavorassigner/flavorassigner.go}`, `pkg/cache/queue/cluster_queue.go` of Kueue 0.19.2.
//!
//! A cycle takes the head of each ClusterQueue (by priority, then by age), and gives each the first flavors in which it fits
//! (`whenCanBorrow: TryNextFlavor`: the first that needs no borrowing, if there is one). Then the heads go in order: those that do not borrow first,
//! then by priority, then by age (with fair sharing `tournament` says who is next); one is admitted if it still fits beside those before it. One that is within its nominal quota but waits for what others have
//! borrowed keeps its place: those behind it find the cohort that much fuller.
//!
//! A head that was not admitted: in a `StrictFIFO` queue it is the head again. In a `BestEffortFIFO` one it is put aside if it fits in no flavor,
//! with all that look the same (`SchedulingEquivalenceHashing`), until quota is released in its cohort; and is the head again if it only
//! lost against another of this cycle.
//!
//! A head for which others would have to go has them evicted (`preemption` says whom), unless one before it in the cycle evicts one of the same; it holds the quota
//! for the rest of the cycle, and is looked at again in each cycle until they are gone, in a `BestEffortFIFO` queue before all others of its queue (`preemptorWorkload`).
//! What was preempted goes back to its queue with its old age: the time of its creation counts (`GetQueueOrderTimestamp`), not that of its eviction.
//!
//! Left out: partial admission, topologies, admission checks, the flavor to go on with in the next cycle (`LastAssignment`): each
//! cycle begins with the first.
//!
//! Cost: a cycle is O(ClusterQueues x (flavors x resources + log ClusterQueues)): quotas are copied, heads tried and sorted. A head that is put
//! aside is compared with all that wait in its queue, O(workloads of the queue), and a release puts back what was put aside in its cohort. Where
//! queues preempt, a head that does not fit costs a search of `preemption` for each flavor and resource. With fair sharing the order costs O(heads^2) of a tree.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::config::{Config, Policy, Workload};
use super::preemption::{Holder, Room, Search, Target};
use super::quota::{Cell, Quotas};
use super::tournament::{self, Head};
use crate::engine::Nanos;

/// Index of a workload.
pub type WorkloadId = u32;

/// Order in a queue: priority, then age.
type Key = (Reverse<i32>, Nanos, WorkloadId);

/// What was assigned to a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Assignment {
    /// By group: the flavor.
    pub flavors: Vec<Option<usize>>,
    /// What it uses.
    pub usage: Vec<(Cell, i64)>,
    /// From how far up it borrows: the height of the lowest subtree around its ClusterQueue that has quota for it, 0: it does not borrow.
    pub borrows: usize,
    /// What is short: others would have to go.
    pub short: BTreeSet<Cell>,
}

/// Why a workload was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Why {
    /// A resource that the ClusterQueue does not cover, or no flavor suits its pods.
    NoFlavor,
    /// More than the queue can ever have.
    ExceedsQuota,
    /// The quota is in use.
    Quota,
    /// Others are evicted for it.
    Preempting,
    /// Another one took it in the same cycle.
    Lost,
}

enum Mode {
    NoFit(Why),
    /// It would fit if these went, or, if there are none, if others gave back what they borrowed.
    Waits(Assignment, Vec<Target>),
    Fit(Assignment),
}

impl Mode {
    const fn assignment(&self) -> Option<&Assignment> {
        match self {
            Self::NoFit(_) => None,
            Self::Waits(assignment, _) | Self::Fit(assignment) => Some(assignment),
        }
    }
}

/// A head in a cycle, and how it would do.
type Entry = (Key, Mode);

/// How a flavor would do, the worst first (`preemptionMode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    NoCandidates,
    Preempt,
    Reclaim,
    Fit,
}

/// What came out of a cycle.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// Admitted, in order.
    pub admitted: Vec<WorkloadId>,
    /// The other heads, and why.
    pub others: Vec<(WorkloadId, Why)>,
    /// To be evicted, in order.
    pub preempted: Vec<Target>,
    /// Heads looked at, and flavors tried for them.
    pub work: (u64, u64),
}

#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Queue {
    heap: BTreeSet<Key>,
    aside: BTreeSet<Key>,
    /// Others are evicted for it: it goes before all others.
    preemptor: Option<WorkloadId>,
    pops: u64,
    /// `popCycle` when workloads were last put back.
    released_at: u64,
}

/// Queues and quotas.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Cycles {
    quotas: Quotas,
    queues: Vec<Queue>,
    /// What each admitted workload uses.
    holders: BTreeMap<WorkloadId, Holder>,
    /// Its flavors, by group.
    flavors: BTreeMap<WorkloadId, Vec<Option<usize>>>,
    created_ns: BTreeMap<WorkloadId, Nanos>,
    /// Why those that were looked at wait.
    why: BTreeMap<WorkloadId, Why>,
}

impl Cycles {
    /// Nothing queued.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            quotas: Quotas::of(config),
            queues: vec![Queue::default(); config.queues.len()],
            ..Self::default()
        }
    }

    /// Quotas and their use.
    #[must_use]
    pub const fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Workloads that hold quota.
    #[must_use]
    pub fn admitted(&self) -> usize {
        self.holders.len()
    }

    /// The flavors of a workload that holds quota, by group, groups that it asks nothing of left out.
    #[must_use]
    pub fn flavors_of(&self, id: WorkloadId) -> Vec<usize> {
        self.flavors.get(&id).map_or_else(Vec::new, |flavors| flavors.iter().flatten().copied().collect())
    }

    /// Whether a workload is to be evicted.
    #[must_use]
    pub fn is_evicted(&self, id: WorkloadId) -> bool {
        self.holders.get(&id).is_some_and(|holder| holder.evicted)
    }

    /// Workloads that wait, and why if they were looked at.
    pub fn waiting(&self) -> impl Iterator<Item = (WorkloadId, Option<Why>)> {
        let queued = self.queues.iter().flat_map(|q| q.heap.iter().chain(&q.aside));
        queued.map(|(_, _, id)| (*id, self.why.get(id).copied()))
    }

    fn key(&self, config: &Config, id: WorkloadId) -> Key {
        (Reverse(config.workloads[id as usize].priority), self.created_ns[&id], id)
    }

    /// A workload was created.
    pub fn push(&mut self, config: &Config, id: WorkloadId, created_ns: Nanos) {
        self.created_ns.insert(id, created_ns);
        let key = self.key(config, id);
        self.queues[config.workloads[id as usize].queue].heap.insert(key);
    }

    /// A workload was evicted, and waits as old as it is.
    pub fn push_again(&mut self, config: &Config, id: WorkloadId) {
        let key = self.key(config, id);
        self.queues[config.workloads[id as usize].queue].heap.insert(key);
    }

    /// Whether a cycle has something to do.
    #[must_use]
    pub fn has_heads(&self) -> bool {
        self.queues.iter().any(|q| !q.heap.is_empty())
    }

    /// A workload has finished, or was evicted: its quota is free. Says its ClusterQueue.
    pub fn release(&mut self, config: &Config, id: WorkloadId) -> usize {
        let queue = config.workloads[id as usize].queue;
        self.flavors.remove(&id);
        if let Some(holder) = self.holders.remove(&id) {
            for (cell, amount) in holder.usage {
                self.quotas.remove(queue, cell, amount);
            }
        }
        queue
    }

    /// What was put aside in a queue's tree of cohorts may try again; says whether anything was.
    pub fn requeue(&mut self, config: &Config, queue: usize) -> bool {
        let root = self.quotas.root(queue);
        let mut any = false;
        for at in 0..config.queues.len() {
            if at == queue || root.is_some() && self.quotas.root(at) == root {
                let q = &mut self.queues[at];
                q.released_at = q.pops;
                any |= !q.aside.is_empty();
                q.heap.append(&mut q.aside);
            }
        }
        any
    }

    /// The head of a queue.
    fn head(&mut self, config: &Config, queue: usize) -> Option<Key> {
        let first = self.queues[queue].preemptor.map(|id| self.key(config, id));
        let queue = &mut self.queues[queue];
        queue.pops += 1;
        match first {
            Some(key) if queue.heap.remove(&key) => Some(key),
            _ => queue.heap.pop_first(),
        }
    }

    /// One cycle.
    pub fn run(&mut self, config: &Config, now: Nanos) -> Outcome {
        let mut outcome = Outcome::default();
        let mut entries: VecDeque<Entry> = VecDeque::new();
        // With what is reserved for those that wait, in this cycle only.
        let mut snapshot = self.quotas.clone();
        for queue in 0..self.queues.len() {
            let Some(key) = self.head(config, queue) else { continue };
            let search = self.search(config, key.2);
            let mut tried = 0;
            let mode = assign(&search, &mut snapshot, &config.workloads[key.2 as usize], &mut tried);
            outcome.work.0 += 1;
            outcome.work.1 += tried;
            entries.push_back((key, mode));
        }
        if config.fair.is_none() {
            let borrows = |mode: &Mode| mode.assignment().map_or(0, |assignment| assignment.borrows);
            entries.make_contiguous().sort_by(|a, b| (borrows(&a.1), &a.0).cmp(&(borrows(&b.1), &b.0)));
        }
        let mut gone: BTreeSet<WorkloadId> = BTreeSet::new();
        while let Some((key, mode)) = next_entry(config, &mut snapshot, &mut entries) {
            let id = key.2;
            let queue = config.workloads[id as usize].queue;
            let why = match mode {
                Mode::NoFit(why) => Some(why),
                Mode::Waits(assignment, targets) if targets.is_empty() => {
                    // One that can always take back what is its own need not keep its place (`CanAlwaysReclaim`).
                    if config.queues[queue].preemption.reclaim_within_cohort != Policy::Any {
                        for (cell, amount) in assignment.usage {
                            let amount = reserved(&snapshot, queue, cell, amount, assignment.borrows);
                            snapshot.add(queue, cell, amount);
                        }
                    }
                    Some(Why::Quota)
                }
                Mode::Waits(assignment, targets) => {
                    let overlaps = targets.iter().any(|(target, _)| gone.contains(target));
                    let mut with = gone.clone();
                    with.extend(targets.iter().map(|(target, _)| *target));
                    if !overlaps
                        && self.search(config, id).fits_without(&mut snapshot, &with, &assignment.usage)
                    {
                        gone = with;
                        for (cell, amount) in &assignment.usage {
                            snapshot.add(queue, *cell, *amount);
                        }
                        outcome.preempted.extend(targets);
                        Some(Why::Preempting)
                    } else {
                        Some(Why::Lost)
                    }
                }
                Mode::Fit(assignment) => {
                    if self.search(config, id).fits_without(&mut snapshot, &gone, &assignment.usage) {
                        for (cell, amount) in &assignment.usage {
                            snapshot.add(queue, *cell, *amount);
                            self.quotas.add(queue, *cell, *amount);
                        }
                        let usage = assignment.usage;
                        self.holders.insert(id, Holder { usage, reserved_ns: now, evicted: false });
                        self.flavors.insert(id, assignment.flavors);
                        self.why.remove(&id);
                        if self.queues[queue].preemptor == Some(id) {
                            self.queues[queue].preemptor = None;
                        }
                        outcome.admitted.push(id);
                        None
                    } else {
                        Some(Why::Lost)
                    }
                }
            };
            if let Some(why) = why {
                if why == Why::Preempting && !config.queues[queue].strict {
                    self.queues[queue].preemptor = Some(id);
                }
                self.put_back(config, key, why);
                self.why.insert(id, why);
                outcome.others.push((id, why));
            }
        }
        // Those whose eviction is under way are not evicted again.
        outcome.preempted.retain(|(id, _)| {
            let holder = self.holders.get_mut(id);
            holder.is_some_and(|holder| !std::mem::replace(&mut holder.evicted, true))
        });
        outcome
    }

    fn search<'a>(&'a self, config: &'a Config, preemptor: WorkloadId) -> Search<'a> {
        Search { config, holders: &self.holders, created_ns: &self.created_ns, preemptor }
    }

    fn put_back(&mut self, config: &Config, key: Key, why: Why) {
        let workload = &config.workloads[key.2 as usize];
        let queue = &mut self.queues[workload.queue];
        let again = matches!(why, Why::Lost | Why::Preempting);
        if config.queues[workload.queue].strict || again || queue.released_at >= queue.pops {
            queue.heap.insert(key);
            return;
        }
        queue.aside.insert(key);
        // All that look the same would fare the same.
        let alike: Vec<Key> = (queue.heap.iter().copied())
            .filter(|k| {
                let other = &config.workloads[k.2 as usize];
                other.requests == workload.requests
                    && other.spec == workload.spec
                    && other.priority == workload.priority
            })
            .collect();
        for key in alike {
            queue.heap.remove(&key);
            queue.aside.insert(key);
        }
    }
}

/// The entry that is next in a cycle.
fn next_entry(config: &Config, snapshot: &mut Quotas, entries: &mut VecDeque<Entry>) -> Option<Entry> {
    if config.fair.is_none() {
        return entries.pop_front();
    }
    let heads: Vec<Head<'_>> = (entries.iter())
        .map(|((priority, created_ns, id), mode)| Head {
            queue: config.workloads[*id as usize].queue,
            usage: mode.assignment().map_or(&[], |assignment| &assignment.usage),
            priority: priority.0,
            created_ns: *created_ns,
        })
        .collect();
    let next = tournament::next(snapshot, &heads);
    entries.remove(next)
}

/// `quotaResourcesToReserve`.
fn reserved(quotas: &Quotas, queue: usize, cell: Cell, amount: i64, borrows: usize) -> i64 {
    let used = quotas.used(queue, cell);
    let nominal = quotas.nominal(queue, cell);
    if borrows > 0 {
        quotas.borrowing_limit(queue, cell).map_or(amount, |limit| amount.min(nominal + limit - used))
    } else {
        amount.min(nominal - used).max(0)
    }
}

/// A flavor that might do.
#[derive(Default)]
struct Flavored {
    flavor: usize,
    borrows: usize,
    short: Vec<Cell>,
}

/// The flavors of a workload, and who must go for it.
fn assign(search: &Search<'_>, quotas: &mut Quotas, workload: &Workload, tried: &mut u64) -> Mode {
    let config = search.config;
    let queue = &config.queues[workload.queue];
    let mut assignment = Assignment { flavors: vec![None; queue.groups.len()], ..Assignment::default() };
    let covered = |resource| queue.groups.iter().any(|group| group.resources.contains(&resource));
    if workload.requests.iter().any(|(resource, _)| !covered(*resource)) {
        return Mode::NoFit(Why::NoFlavor);
    }
    for (at, group) in queue.groups.iter().enumerate() {
        let requests: Vec<_> =
            workload.requests.iter().filter(|(r, _)| group.resources.contains(r)).collect();
        if requests.is_empty() {
            continue;
        }
        // The best so far: how well it does, and among equals the one that borrows from the least far up.
        let mut best: Option<((Grade, Reverse<usize>), Flavored)> = None;
        let mut why = Why::NoFlavor;
        for (index, flavor) in group.flavors.iter().enumerate() {
            if !workload.suits[at][index] {
                continue;
            }
            *tried += 1;
            let mut this = Flavored { flavor: *flavor, ..Flavored::default() };
            // Of its resources, the worst counts.
            let mut worst = Some((Grade::Fit, Reverse(0)));
            for (resource, amount) in &requests {
                let Some(cell) = config.cell(*flavor, *resource) else { continue };
                match grade(search, quotas, cell, *amount) {
                    Err(reason) => {
                        why = why.max(reason);
                        worst = None;
                        break;
                    }
                    Ok((grade, borrows)) => {
                        if grade != Grade::Fit {
                            why = why.max(Why::Quota);
                            this.short.push(cell);
                        }
                        this.borrows = this.borrows.max(borrows);
                        worst = worst.min(Some((grade, Reverse(borrows))));
                    }
                }
            }
            let Some(worst) = worst else { continue };
            let goes_on = match worst.0 {
                Grade::NoCandidates => true,
                Grade::Preempt | Grade::Reclaim if !queue.preempts_before_next => true,
                _ => worst.1 != Reverse(0) && queue.tries_next_before_borrowing,
            };
            if !goes_on || best.as_ref().is_none_or(|(best, _)| worst > *best) {
                best = Some((worst, this));
            }
            if !goes_on {
                break;
            }
        }
        let Some((_, chosen)) = best else { return Mode::NoFit(why) };
        assignment.borrows = assignment.borrows.max(chosen.borrows);
        assignment.short.extend(chosen.short);
        assignment.flavors[at] = Some(chosen.flavor);
        for (resource, amount) in requests {
            assignment.usage.extend(config.cell(chosen.flavor, *resource).map(|cell| (cell, *amount)));
        }
    }
    if assignment.short.is_empty() {
        return Mode::Fit(assignment);
    }
    let targets = search.targets(quotas, &assignment.short, &assignment.usage);
    Mode::Waits(assignment, targets)
}

/// How a flavor does for one resource, and from how far up the queue would borrow (`fitsResourceQuota`).
fn grade(search: &Search<'_>, quotas: &mut Quotas, cell: Cell, amount: i64) -> Result<(Grade, usize), Why> {
    let queue = search.config.workloads[search.preemptor as usize].queue;
    if amount > quotas.potential(queue, cell) {
        return Err(Why::ExceedsQuota);
    }
    let (borrows, is_subtree) = quotas.height_that_fits(queue, cell, amount);
    if amount <= quotas.available(queue, cell) {
        return Ok((Grade::Fit, borrows));
    }
    let preemption = &search.config.queues[queue].preemption;
    let while_borrowing = preemption.borrow_within_cohort
        || search.config.fair.is_some() && preemption.reclaim_within_cohort != Policy::Never;
    if amount > quotas.nominal(queue, cell) && !is_subtree && !while_borrowing {
        return Err(Why::Quota);
    }
    let (room, borrows) = search.simulate(quotas, cell, amount);
    let grade = match room {
        Room::None => Grade::NoCandidates,
        Room::Preempt => Grade::Preempt,
        Room::Reclaim => Grade::Reclaim,
    };
    Ok((grade, borrows))
}
