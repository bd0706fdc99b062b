//! Stations: places where pods wait, and when somebody waited there.
//!
//! A station records the intervals of virtual time in which it was busy with work behind it (the scheduler had a
//! backlog, a token bucket had waiters, requests sat in fair queues). Gaps shorter than [`COALESCE_NS`] are
//! closed, so that a station holds few intervals however long the run.
//!
//! Cost: O(1) a change, O(log intervals) a question.
use crate::engine::{MILLISECOND, Nanos};

/// Shorter gaps are closed.
pub const COALESCE_NS: Nanos = 2 * MILLISECOND;

/// The places where progress can be held up, from the pod's creation to its binding.
///
/// etcd is none of them: its group commit takes whoever waits, so that a slow disk shows as latency and as seats
/// that are held longer, not as a queue of its own. Where nothing but requests under way explains a span, and most of them
/// were in etcd, the [attribution](super::attribution) names its sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Station {
    /// Pods are still being created.
    Creation,
    /// Creations wait for tokens of the client that creates them.
    CreationTokens,
    /// The scheduler has pods in its queue and works on them.
    Scheduler,
    /// Pods have been looked at and fit nowhere; the scheduler is idle.
    Capacity,
    /// All pods that are left wait in the scheduler's back-off for another look; the scheduler is idle.
    Backoff,
    /// Bind requests wait for tokens of the scheduler's client.
    BindTokens,
    /// Requests wait for a stream of a connection (TLS handshakes under way).
    Streams,
    /// Requests wait in the API server's fair queues for seats.
    Seats,
    /// Requests wait after a 429.
    RetryAfter,
}

impl Station {
    /// All, upstream first.
    pub const ALL: [Self; 9] = [
        Self::Creation,
        Self::CreationTokens,
        Self::Scheduler,
        Self::Capacity,
        Self::Backoff,
        Self::BindTokens,
        Self::Streams,
        Self::Seats,
        Self::RetryAfter,
    ];

    /// Its name in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Creation => "pod creation",
            Self::CreationTokens => "creation tokens",
            Self::Scheduler => "scheduler thread",
            Self::Capacity => "capacity (nothing fits)",
            Self::Backoff => "back-off of unschedulable pods",
            Self::BindTokens => "bind tokens",
            Self::Streams => "connections (TLS handshakes)",
            Self::Seats => "seats (priority and fairness)",
            Self::RetryAfter => "back-off after 429",
        }
    }
}

/// Busy intervals of one station.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct BusyIntervals {
    intervals: Vec<(Nanos, Nanos)>,
    since: Option<Nanos>,
}

impl BusyIntervals {
    /// The station is busy or not from now on.
    #[inline]
    pub fn set(&mut self, now: Nanos, busy: bool) {
        match (self.since, busy) {
            (None, true) => self.since = Some(now),
            (Some(since), false) => {
                self.add(since, now);
                self.since = None;
            }
            _ => {}
        }
    }

    /// Whether it is busy now.
    #[inline]
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.since.is_some()
    }

    /// Adds a busy interval; intervals must begin in ascending order, but may overlap.
    #[inline]
    pub fn add(&mut self, from: Nanos, to: Nanos) {
        match self.intervals.last_mut() {
            Some((_, end)) if from <= *end + COALESCE_NS => *end = (*end).max(to),
            _ => self.intervals.push((from, to)),
        }
    }

    /// Ends at `now`.
    pub fn close(&mut self, now: Nanos) {
        self.set(now, false);
    }

    /// The interval that was busy just before `at`.
    #[must_use]
    pub fn covering(&self, at: Nanos, slack_ns: Nanos) -> Option<(Nanos, Nanos)> {
        let after = self.intervals.partition_point(|(from, _)| *from < at);
        let (from, to) = *self.intervals.get(after.checked_sub(1)?)?;
        (to + slack_ns >= at).then_some((from, to))
    }

    /// Busy time within a span.
    #[must_use]
    pub fn overlap(&self, from: Nanos, to: Nanos) -> Nanos {
        let first = self.intervals.partition_point(|(_, end)| *end <= from);
        let within = self.intervals[first..].iter().take_while(|(begin, _)| *begin < to);
        within.map(|(a, b)| b.min(&to).saturating_sub(*a.max(&from))).sum()
    }

    /// All busy time.
    #[must_use]
    pub fn total(&self) -> Nanos {
        self.intervals.iter().map(|(a, b)| b - a).sum()
    }

    /// The intervals, ascending.
    #[must_use]
    pub fn intervals(&self) -> &[(Nanos, Nanos)] {
        &self.intervals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_coalesce_and_answer() {
        let mut busy = BusyIntervals::default();
        busy.set(10 * MILLISECOND, true);
        busy.set(20 * MILLISECOND, false);
        busy.set(21 * MILLISECOND, true);
        busy.set(30 * MILLISECOND, false);
        busy.add(50 * MILLISECOND, 60 * MILLISECOND);
        busy.add(55 * MILLISECOND, 58 * MILLISECOND);
        assert_eq!(busy.intervals().len(), 2);
        assert_eq!(busy.covering(30 * MILLISECOND, 0), Some((10 * MILLISECOND, 30 * MILLISECOND)));
        assert_eq!(busy.covering(45 * MILLISECOND, 0), None);
        assert_eq!(busy.covering(5 * MILLISECOND, 0), None);
        assert_eq!(busy.overlap(25 * MILLISECOND, 55 * MILLISECOND), 10 * MILLISECOND);
        assert_eq!(busy.total(), 30 * MILLISECOND);
    }
}
