//! Kueue's queues and its scheduling cycle.
//!
//! Sources: `pkg/scheduler/{scheduler.go,flavorassigner/flavorassigner.go}`, `pkg/cache/queue/cluster_queue.go` of Kueue 0.19.2.
//!
//! A cycle takes the head of each ClusterQueue (by priority, then by age), and gives each the first flavors in which it fits
//! (`whenCanBorrow: TryNextFlavor`: the first that needs no borrowing, if there is one). Then the heads go in order: those that do not borrow first,
//! then by priority, then by age; one is admitted if it still fits beside those before it. One that is within its nominal quota but waits for what others have
//! borrowed keeps its place: those behind it find the cohort that much fuller.
//!
//! A head that was not admitted: in a `StrictFIFO` queue it is the head again. In a `BestEffortFIFO` one it is put aside if it fits in no flavor,
//! with all that look the same (`SchedulingEquivalenceHashing`), until quota is released in its cohort; and is the head again if it only
//! lost against another of this cycle.
//!
//! Left out: preemption (policies other than `Never` are refused, so that waiting is all that a workload can do), fair sharing,
//! partial admission, topologies, admission checks.
//!
//! Cost: a cycle is O(ClusterQueues x (flavors x resources + log ClusterQueues)): quotas are copied, heads tried and sorted. A head that is put
//! aside is compared with all that wait in its queue, O(workloads of the queue), and a release puts back what was put aside in its cohort.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::config::{Config, Workload};
use super::quota::{Cell, Quotas};
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
    /// It borrows from the cohort.
    pub borrows: bool,
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
    /// Another one took it in the same cycle.
    Lost,
}

enum Mode {
    NoFit(Why),
    /// It would fit in its nominal quota if others gave back what they borrowed.
    Waits(Assignment),
    Fit(Assignment),
}

/// What came out of a cycle.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// Admitted, in order.
    pub admitted: Vec<WorkloadId>,
    /// The other heads, and why.
    pub others: Vec<(WorkloadId, Why)>,
    /// Heads looked at, and flavors tried for them.
    pub work: (u64, u64),
}

#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Queue {
    heap: BTreeSet<Key>,
    aside: BTreeSet<Key>,
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
    admitted: BTreeMap<WorkloadId, Assignment>,
    created_ns: BTreeMap<WorkloadId, Nanos>,
    /// Why those that were looked at wait.
    why: BTreeMap<WorkloadId, Why>,
}

impl Cycles {
    /// Nothing queued.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let quotas: Vec<_> = config.queues.iter().map(|q| (q.cohort, q.quotas.clone())).collect();
        Self {
            quotas: Quotas::new(&quotas),
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
        self.admitted.len()
    }

    /// The flavors of a workload that holds quota, by group, groups that it asks nothing of left out.
    #[must_use]
    pub fn flavors_of(&self, id: WorkloadId) -> Vec<usize> {
        self.admitted.get(&id).map_or_else(Vec::new, |a| a.flavors.iter().flatten().copied().collect())
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

    /// Whether a cycle has something to do.
    #[must_use]
    pub fn has_heads(&self) -> bool {
        self.queues.iter().any(|q| !q.heap.is_empty())
    }

    /// A workload has finished: its quota is free. Says its ClusterQueue.
    pub fn release(&mut self, config: &Config, id: WorkloadId) -> usize {
        let queue = config.workloads[id as usize].queue;
        if let Some(assignment) = self.admitted.remove(&id) {
            for (cell, amount) in assignment.usage {
                self.quotas.remove(queue, cell, amount);
            }
        }
        queue
    }

    /// What was put aside in a queue's cohort may try again; says whether anything was.
    pub fn requeue(&mut self, config: &Config, queue: usize) -> bool {
        let cohort = config.queues[queue].cohort;
        let mut any = false;
        for (at, other) in config.queues.iter().enumerate() {
            if at == queue || cohort.is_some() && other.cohort == cohort {
                let q = &mut self.queues[at];
                q.released_at = q.pops;
                any |= !q.aside.is_empty();
                q.heap.append(&mut q.aside);
            }
        }
        any
    }

    /// One cycle.
    pub fn run(&mut self, config: &Config) -> Outcome {
        let mut outcome = Outcome::default();
        let mut entries: Vec<(bool, Key, Mode)> = Vec::new();
        for queue in &mut self.queues {
            queue.pops += 1;
            if let Some(key) = queue.heap.pop_first() {
                entries.push((false, key, Mode::NoFit(Why::NoFlavor)));
            }
        }
        for (borrows, key, mode) in &mut entries {
            let mut tried = 0;
            *mode = assign(config, &self.quotas, &config.workloads[key.2 as usize], &mut tried);
            *borrows = matches!(mode, Mode::Fit(a) | Mode::Waits(a) if a.borrows);
            outcome.work.0 += 1;
            outcome.work.1 += tried;
        }
        entries.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        // What is reserved for one that waits, in this cycle only.
        let mut snapshot = self.quotas.clone();
        for (_, key, mode) in entries {
            let id = key.2;
            let queue = config.workloads[id as usize].queue;
            let why = match mode {
                Mode::NoFit(why) => Some(why),
                Mode::Waits(assignment) => {
                    for (cell, amount) in assignment.usage {
                        snapshot.add(
                            queue,
                            cell,
                            reserved(&snapshot, queue, cell, amount, assignment.borrows),
                        );
                    }
                    Some(Why::Quota)
                }
                Mode::Fit(assignment) => {
                    let fits = assignment
                        .usage
                        .iter()
                        .all(|(cell, amount)| snapshot.available(queue, *cell) >= *amount);
                    if fits {
                        for (cell, amount) in &assignment.usage {
                            snapshot.add(queue, *cell, *amount);
                            self.quotas.add(queue, *cell, *amount);
                        }
                        self.admitted.insert(id, assignment);
                        self.why.remove(&id);
                        outcome.admitted.push(id);
                        None
                    } else {
                        Some(Why::Lost)
                    }
                }
            };
            if let Some(why) = why {
                self.put_back(config, key, why);
                self.why.insert(id, why);
                outcome.others.push((id, why));
            }
        }
        outcome
    }

    fn put_back(&mut self, config: &Config, key: Key, why: Why) {
        let workload = &config.workloads[key.2 as usize];
        let queue = &mut self.queues[workload.queue];
        if config.queues[workload.queue].strict || why == Why::Lost || queue.released_at >= queue.pops {
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

/// `quotaResourcesToReserve`.
fn reserved(quotas: &Quotas, queue: usize, cell: Cell, amount: i64, borrows: bool) -> i64 {
    let used = quotas.used(queue, cell);
    let nominal = quotas.nominal(queue, cell);
    if borrows {
        quotas.borrowing_limit(queue, cell).map_or(amount, |limit| amount.min(nominal + limit - used))
    } else {
        amount.min(nominal - used).max(0)
    }
}

/// The flavors of a workload.
fn assign(config: &Config, quotas: &Quotas, workload: &Workload, tried: &mut u64) -> Mode {
    let queue = &config.queues[workload.queue];
    let mut assignment = Assignment { flavors: vec![None; queue.groups.len()], ..Assignment::default() };
    let covered = |resource| queue.groups.iter().any(|group| group.resources.contains(&resource));
    if workload.requests.iter().any(|(resource, _)| !covered(*resource)) {
        return Mode::NoFit(Why::NoFlavor);
    }
    let mut waits = false;
    for (at, group) in queue.groups.iter().enumerate() {
        let requests: Vec<_> =
            workload.requests.iter().filter(|(r, _)| group.resources.contains(r)).collect();
        if requests.is_empty() {
            continue;
        }
        // The best so far: fits before waits, without borrowing before with.
        let mut best: Option<(bool, bool, usize)> = None;
        let mut why = Why::NoFlavor;
        for (index, flavor) in group.flavors.iter().enumerate() {
            if !workload.suits[at][index] {
                continue;
            }
            *tried += 1;
            let (mut fits, mut may_wait, mut borrows) = (true, true, false);
            for (resource, amount) in &requests {
                let Some(cell) = config.cell(*flavor, *resource) else { continue };
                let number = workload.queue;
                if *amount > quotas.potential(number, cell) {
                    (fits, may_wait) = (false, false);
                    why = why.max(Why::ExceedsQuota);
                    break;
                }
                borrows |= quotas.borrows(number, cell, *amount);
                if *amount > quotas.available(number, cell) {
                    fits = false;
                    may_wait &= *amount <= quotas.nominal(number, cell);
                    why = why.max(Why::Quota);
                }
            }
            if !fits && !may_wait {
                continue;
            }
            let this = (!fits, borrows, *flavor);
            if best.is_none_or(|best| (this.0, this.1) < (best.0, best.1)) {
                best = Some(this);
            }
            if fits && !(borrows && queue.tries_next_before_borrowing) {
                break;
            }
        }
        let Some((this_waits, borrows, flavor)) = best else { return Mode::NoFit(why) };
        waits |= this_waits;
        assignment.borrows |= borrows;
        assignment.flavors[at] = Some(flavor);
        for (resource, amount) in requests {
            assignment.usage.extend(config.cell(flavor, *resource).map(|cell| (cell, *amount)));
        }
    }
    if waits { Mode::Waits(assignment) } else { Mode::Fit(assignment) }
}
