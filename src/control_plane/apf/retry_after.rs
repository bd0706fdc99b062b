//! What a 429 of a priority level says in its Retry-After header.
//!
//! Models the server's tracker of dropped requests: drops are counted per second; when a drop falls into a new
//! second, the drops of the last `retry_after` seconds decide. At least three a second, and as many seconds since
//! the last doubling: it doubles, up to 32 s. Fewer than one a second: it falls by one, down to 1 s. It moves only
//! when something is dropped. Source: `k8s.io/apiserver/pkg/util/flowcontrol/dropped_requests_tracker.go`.
//!
//! Cost: O(1) a drop, O(32) for the first of a second.

use std::collections::VecDeque;

const MAX_RETRY_AFTER_S: u64 = 32;
/// Virtual time 0 is put at this second, as the real tracker counts from 1970 and relies on that being long ago.
const EPOCH_S: u64 = 1 << 30;
const SECOND_NS: u64 = 1_000_000_000;

/// The Retry-After of one priority level.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct RetryAfter {
    retry_after_s: u64,
    raised_at_s: u64,
    current_s: u64,
    current_drops: u64,
    /// (second, drops in it), ascending.
    history: VecDeque<(u64, u64)>,
}

impl RetryAfter {
    pub(super) fn new() -> RetryAfter {
        RetryAfter {
            retry_after_s: 1,
            raised_at_s: 0,
            current_s: 0,
            current_drops: 0,
            history: VecDeque::new(),
        }
    }

    /// What the next 429 would say, in seconds.
    pub(super) fn seconds(&self) -> u32 {
        self.retry_after_s as u32
    }

    /// Counts a dropped request and returns what its 429 says, in seconds.
    pub(super) fn drop_request(&mut self, now: u64) -> u32 {
        let second = EPOCH_S + now / SECOND_NS;
        if second == self.current_s {
            self.current_drops += 1;
        } else {
            self.history.push_back((self.current_s, self.current_drops));
            let keep_s = (2 * self.retry_after_s).min(MAX_RETRY_AFTER_S);
            while self.history.front().is_some_and(|&(s, _)| self.current_s - s > keep_s) {
                self.history.pop_front();
            }
            self.current_s = second;
            self.current_drops = 1;
            self.reconsider(second);
        }
        self.seconds()
    }

    fn reconsider(&mut self, second: u64) {
        let window_s = self.retry_after_s;
        let drops: u64 = self
            .history
            .iter()
            .rev()
            .take_while(|&&(s, _)| second - s <= window_s)
            .map(|&(_, drops)| drops)
            .sum();
        if second - self.raised_at_s >= window_s && drops >= 3 * window_s {
            self.retry_after_s = (2 * window_s).min(MAX_RETRY_AFTER_S);
            self.raised_at_s = second;
        } else if drops < window_s && window_s > 1 {
            self.retry_after_s -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sequence the real tracker is tested with: seconds since the start, drops then, Retry-After after them.
    #[test]
    fn follows_the_real_tracker() {
        for start_ns in [0, 700_000_000, 40 * SECOND_NS] {
            let mut tracker = RetryAfter::new();
            assert_eq!(tracker.seconds(), 1);
            for (at_s, drops, retry_after) in [
                (0, 5, 1),
                (1, 11, 2),
                (2, 1, 2), // not again within two seconds, however many were dropped
                (3, 11, 4),
                (4, 1, 4),
                (7, 1, 8),
                (11, 1, 8),
                (15, 1, 7),
                (17, 1, 6),
                (21, 14, 5),
                (22, 1, 10),
            ] {
                for _ in 0..drops {
                    tracker.drop_request(start_ns + at_s * SECOND_NS);
                }
                assert_eq!(tracker.seconds(), retry_after, "at {at_s} s");
            }
        }
    }

    #[test]
    fn stops_at_32_seconds_under_constant_overload_and_keeps_little() {
        let mut tracker = RetryAfter::new();
        for second in 0..500 {
            for _ in 0..100 {
                tracker.drop_request(second * SECOND_NS);
            }
        }
        assert_eq!(tracker.seconds(), 32);
        assert!(tracker.history.len() <= 34);
    }

    #[test]
    fn one_drop_a_second_raises_nothing() {
        let mut tracker = RetryAfter::new();
        for second in 0..100 {
            assert_eq!(tracker.drop_request(second * SECOND_NS), 1);
        }
    }
}
