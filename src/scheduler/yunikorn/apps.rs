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
//! Left out: gang placeholders, required nodes of daemon sets.
//!
//! Cost: O(1) an ask; O(groups) when the application's place changes.
use std::cmp::Reverse;
use std::collections::VecDeque;

use super::queues::{QueueId, Usage};
use crate::cluster::{AppId, PodId, SpecId};
use crate::scheduler::AppSort;

/// Place of an application in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct AppKey {
    /// Highest priority of a pending ask; the same for all if priorities are not looked at.
    pub priority: Reverse<i32>,
    /// Shares in use, the largest first; zeros under FIFO.
    pub shares: [u64; 3],
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

/// An application as the core knows it.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct App {
    /// Its queue.
    pub leaf: QueueId,
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
}

impl App {
    /// An application without asks.
    #[must_use]
    pub const fn new(app: AppId, leaf: QueueId, order: u32) -> Self {
        let key = AppKey { priority: Reverse(0), shares: [0; 3], order, app };
        Self {
            leaf,
            key,
            groups: Vec::new(),
            live: Vec::new(),
            pending: 0,
            allocated: Usage { cpu: 0, memory: 0, pods: 0 },
        }
    }

    /// The place that its present use and asks give it.
    #[must_use]
    pub fn place(&self, sort: AppSort, guaranteed: Option<(u64, u64)>, priority: i32) -> AppKey {
        let shares = match sort {
            AppSort::Fifo => [0; 3],
            AppSort::Fair => {
                let (cpu, memory) = guaranteed.unwrap_or((0, 0));
                let mut shares = [
                    share(self.allocated.cpu, cpu),
                    share(self.allocated.memory, memory),
                    share(self.allocated.pods, 0),
                ];
                shares.sort_unstable_by_key(|s| Reverse(*s));
                shares
            }
        };
        AppKey { priority: Reverse(priority), shares, ..self.key }
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
        let place = |cpu, memory| {
            let mut app = App::new(0, 1, 0);
            app.allocated = Usage { cpu, memory, pods: 1 };
            app.place(AppSort::Fair, Some((1000, 1000)), 0)
        };
        assert!(place(500, 100) < place(100, 600));
        assert!(place(500, 100) < place(500, 200));
        assert_eq!(place(500, 200), place(200, 500));
    }

    #[test]
    fn fifo_order_ignores_use_and_heeds_priority() {
        let (mut first, second) = (App::new(0, 1, 0), App::new(1, 1, 1));
        first.allocated.cpu = 1000;
        assert!(first.place(AppSort::Fifo, None, 0) < second.place(AppSort::Fifo, None, 0));
        assert!(second.place(AppSort::Fifo, None, 5) < first.place(AppSort::Fifo, None, 0));
    }
}
