//! Applications in the core: their pending asks, and their order in the queue.
//!
//! Order of applications (`sorters.go`): those with pending asks, by the highest priority among their asks (since
//! 1.2), then FIFO by submission or, with `application.sort.policy: fair`, by what they use: the shares of each
//! resource in what the queue is guaranteed, plain amounts where nothing is guaranteed, compared from the largest
//! on. The real sort is stable over a map, so equal applications come in random order, and submission times
//! of applications seen at start-up are equal to the second; we take the order in which they were first seen.
//!
//! Order of asks in an application: priority descending, then creation ascending (here: order of arrival, which is the
//! informer's). Asks of one spec form a [`Group`].
//!
//! An application with task groups is a [`Gang`]: its placeholders are asks like others; a real pod of a task group waits
//! until it can take the place of one of the group's placeholders, as long as some are left (`Application.canReplace`).
//!
//! Left out: required nodes of daemon sets.
//!
//! Cost: O(1) an ask; O(groups) when the application's place changes.
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use super::config::Amounts;
use super::limits::OwnerId;
use super::queues::{QueueId, Usage};
use crate::cluster::{AppId, PodId, SpecId};
use crate::engine::Nanos;
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

/// Pending asks of one spec.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Group {
    /// The spec.
    pub spec: SpecId,
    /// Index of the queue's kind.
    pub kind: u32,
    /// Sequence of arrival and pod, in order.
    pub asks: VecDeque<(u32, PodId)>,
    /// Asks below this sequence were reported as unschedulable.
    pub reported_below: u32,
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
    pub held: BTreeMap<(Reverse<i32>, u32), PodId>,
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
    /// It has neither asks nor pods, since when.
    pub idle_since: Option<Nanos>,
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
            idle_since: None,
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
