//! Applications in the core: their pending asks, and their order in the queue.
//!
//! Order of applications (`sorters.go`): those with pending asks, by the highest priority among their asks (since
//! 1.2), then FIFO by submission or, with `application.sort.policy: fair`, by what they use: the shares of each
//! resource in what the queue is guaranteed, plain amounts where nothing is guaranteed, compared from the largest
//! on. The real sort is stable over a map, so equal applications come in random order, and submission times
//! of applications seen at start-up are equal to the second; we take the order in which they were first seen.
//!
//! Order of asks in an application: priority descending, then the second of creation ascending, then arrival
//! (`sorted_asks.go`; a pod's time of creation is known to the second). Asks of one spec form a [`Group`]. An ask may have a
//! node reserved ([`reservations`](super::reservations)), and may wait before it looks for victims again
//! ([`preemption`](super::preemption)).
//!
//! An application with task groups is a [`Gang`]: its placeholders are asks like others; a real pod of a task group waits
//! until it can take the place of one of the group's placeholders, as long as some are left (`Application.canReplace`).
//!
//! Cost: O(1) an ask; O(groups) when the application's place changes.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::config::Amounts;
use super::limits::OwnerId;
use super::queues::{QueueId, Usage};
use crate::cluster::{AppId, NodeId, PodId, SpecId};
use crate::engine::{Nanos, SECOND};
use crate::scheduler::AppSort;

/// Place of an application in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct AppKey {
    /// Highest priority of a pending ask; the same for all if priorities do not come first.
    pub priority: Reverse<i32>,
    /// Shares in use, the largest first; zeros under FIFO.
    pub shares: [u64; 4],
    /// Highest priority of a pending ask where it only decides between equals.
    pub tie: Reverse<i32>,
    /// Order of submission.
    pub order: u32,
    /// The application.
    pub app: AppId,
}

/// Place of an ask among those of its application and priority: the second of its creation, then arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct AskKey(u64);

impl AskKey {
    /// The key of the `arrival`th ask, created at a time.
    #[must_use]
    pub const fn new(created_ns: Nanos, arrival: u32) -> Self {
        Self((created_ns / SECOND) << 32 | arrival as u64)
    }

    /// The second in which it was created, as its time of creation.
    #[must_use]
    pub const fn created_ns(self) -> Nanos {
        (self.0 >> 32) * SECOND
    }

    /// The next key.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Pending asks of one spec.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Group {
    /// The spec.
    pub spec: SpecId,
    /// Index of the queue's kind.
    pub kind: u32,
    /// Key and pod, in order.
    pub asks: VecDeque<(AskKey, PodId)>,
    /// Keys of the asks that were not reported as unschedulable begin here.
    pub reported_below: AskKey,
    /// Asks that have a node reserved.
    pub reserved: BTreeSet<AskKey>,
    /// Asks that have looked for victims, and when they may again.
    pub searched: BTreeMap<AskKey, Nanos>,
}

impl Group {
    /// No asks yet.
    #[must_use]
    pub const fn new(spec: SpecId, kind: u32) -> Self {
        Self {
            spec,
            kind,
            asks: VecDeque::new(),
            reported_below: AskKey(0),
            reserved: BTreeSet::new(),
            searched: BTreeMap::new(),
        }
    }

    /// Adds an ask at its place.
    pub fn insert(&mut self, key: AskKey, pod: PodId) {
        let at = match self.asks.back() {
            Some((last, _)) if *last > key => self.asks.partition_point(|(k, _)| *k < key),
            _ => self.asks.len(),
        };
        self.asks.insert(at, (key, pod));
    }

    /// Asks from a key on, in order.
    pub fn from(&self, key: AskKey) -> impl Iterator<Item = (AskKey, PodId)> {
        let at = if self.asks.front().is_none_or(|(first, _)| *first >= key) {
            0
        } else {
            self.asks.partition_point(|(k, _)| *k < key)
        };
        self.asks.range(at..).copied()
    }
}

/// A task group as the core knows it.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct TaskGroupState {
    /// Placeholders that were asked for.
    pub count: u64,
    /// Placeholders that real pods have replaced.
    pub replaced: u64,
    /// Placeholders that were given up.
    pub timed_out: u64,
    /// Allocated placeholders that nobody is about to replace, oldest first.
    pub free: VecDeque<PodId>,
    /// Real pods that wait for a placeholder's place, by priority and arrival.
    pub held: BTreeMap<(Reverse<i32>, AskKey), PodId>,
}

impl TaskGroupState {
    /// Whether real pods wait for placeholders' places.
    #[must_use]
    pub const fn can_replace(&self) -> bool {
        self.count > self.replaced + self.timed_out
    }
}

/// What the core keeps of a gang.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Gang {
    /// Task groups by name.
    pub groups: BTreeMap<String, TaskGroupState>,
    /// Placeholders of all groups.
    pub wanted: u64,
    /// Allocated placeholders.
    pub allocated: u64,
    /// All placeholders were allocated: the application runs.
    pub complete: bool,
    /// Real pods that wait until their placeholder is gone.
    pub swapping: u64,
    /// The timer of the placeholders was started.
    pub timer_started: bool,
}

/// An application as the core knows it.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct App {
    /// Its queue.
    pub leaf: QueueId,
    /// Who limits it.
    pub owner: OwnerId,
    /// Its place.
    pub key: AppKey,
    /// Asks by spec.
    pub groups: Vec<Group>,
    /// Groups that have asks.
    pub live: Vec<u32>,
    /// Pending asks.
    pub pending: u64,
    /// In use.
    pub allocated: Usage,
    /// It has got something, and counts as running.
    pub running: bool,
    /// It counts among its owner's applications: since its first pod, until it has neither asks nor pods.
    pub counted: bool,
    /// It has neither asks nor pods, since when.
    pub idle_since: Option<Nanos>,
    /// Its asks that have a node reserved, in order of reservation, with the node.
    pub reservations: Vec<(PodId, NodeId)>,
    /// Its first pod, which is spared longest by preemption.
    pub originator: Option<PodId>,
    /// It is passed over until then (`application.unschedasks.backoff`).
    pub backs_off_until: Nanos,
    /// What it is if it has task groups.
    pub gang: Option<Box<Gang>>,
}

impl App {
    /// An application without asks.
    #[must_use]
    pub const fn new(app: AppId, leaf: QueueId, owner: OwnerId, order: u32) -> Self {
        let key = AppKey { priority: Reverse(0), shares: [0; 4], tie: Reverse(0), order, app };
        Self {
            leaf,
            owner,
            key,
            groups: Vec::new(),
            live: Vec::new(),
            pending: 0,
            allocated: Usage::NONE,
            running: false,
            counted: false,
            idle_since: None,
            reservations: Vec::new(),
            originator: None,
            backs_off_until: 0,
            gang: None,
        }
    }

    /// The place that its present use and asks give it; `priority` is the highest of a pending ask.
    #[must_use]
    pub fn place(&self, sort: AppSort, guaranteed: &Amounts, priority: i32, priority_first: bool) -> AppKey {
        let shares = match sort {
            AppSort::Fifo => [0; 4],
            AppSort::Fair => {
                let used = &self.allocated;
                let of = |used: u64, total: Option<u64>| share(used, total.unwrap_or(0));
                let mut shares = [
                    of(used.cpu, guaranteed.cpu_millicores),
                    of(used.memory, guaranteed.memory_bytes),
                    of(used.pods, guaranteed.pods),
                    (0..)
                        .zip(&used.extended)
                        .map(|(id, used)| of(*used, guaranteed.extended(id)))
                        .max()
                        .unwrap_or(0),
                ];
                shares.sort_unstable_by_key(|s| Reverse(*s));
                shares
            }
        };
        let priority = Reverse(priority);
        let (priority, tie) = match (priority_first, sort) {
            (true, _) => (priority, Reverse(0)),
            (false, AppSort::Fair) => (Reverse(0), priority),
            // Times of submission are never equal here.
            (false, AppSort::Fifo) => (Reverse(0), Reverse(0)),
        };
        AppKey { priority, shares, tie, ..self.key }
    }
}

/// `amount / total`, or the plain amount if there is no total, as a float64's bits (which sort as it does).
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "as the real scheduler does; exact below 2^53")]
pub const fn share(amount: u64, total: u64) -> u64 {
    if total == 0 { (amount as f64).to_bits() } else { (amount as f64 / total as f64).to_bits() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `resources.CompUsageRatio`: shares are sorted and compared from the largest on.
    #[test]
    fn fair_order_goes_by_the_largest_share() {
        let thousand = Amounts { cpu_millicores: Some(1000), memory_bytes: Some(1000), ..Amounts::default() };
        let place = |cpu, memory| {
            let mut app = App::new(0, 1, 0, 0);
            app.allocated = Usage { cpu, memory, pods: 1, extended: Vec::new() };
            app.place(AppSort::Fair, &thousand, 0, true)
        };
        assert!(place(500, 100) < place(100, 600));
        assert!(place(500, 100) < place(500, 200));
        assert_eq!(place(500, 200), place(200, 500));
    }

    #[test]
    fn fifo_order_ignores_use_and_heeds_priority() {
        let (mut first, second) = (App::new(0, 1, 0, 0), App::new(1, 1, 0, 1));
        let none = Amounts::default();
        first.allocated.cpu = 1000;
        assert!(first.place(AppSort::Fifo, &none, 0, true) < second.place(AppSort::Fifo, &none, 0, true));
        assert!(second.place(AppSort::Fifo, &none, 5, true) < first.place(AppSort::Fifo, &none, 0, true));
        assert!(first.place(AppSort::Fifo, &none, 0, false) < second.place(AppSort::Fifo, &none, 5, false));
    }

    /// `sorters.go`, sortApplicationsByFairnessAndPriority: among equal shares the higher priority goes first.
    #[test]
    fn without_priority_first_fairness_decides_and_priority_breaks_ties() {
        let none = Amounts::default();
        let (mut first, second) = (App::new(0, 1, 0, 0), App::new(1, 1, 0, 1));
        assert!(second.place(AppSort::Fair, &none, 5, false) < first.place(AppSort::Fair, &none, 0, false));
        first.allocated.cpu = 1;
        assert!(second.place(AppSort::Fair, &none, 0, false) < first.place(AppSort::Fair, &none, 5, false));
    }
}
