//! Admission without API priority and fairness (`--enable-priority-and-fairness=false`).
//!
//! Models two counting semaphores, one for read-only and one for mutating requests, without any queue: who finds
//! none free gets 429 with Retry-After 1 at once, but members of `system:masters` pass. Watches are not counted. A
//! limit of 0 is no limit. Source: `k8s.io/apiserver/pkg/server/filters/maxinflight.go`.
//!
//! Cost: O(1) a request.

use super::Admission;

/// What a request does, as far as the semaphores care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum RequestKind {
    /// get, list
    ReadOnly,
    /// every verb but get, list and watch
    Mutating,
    /// a watch: long-running
    Watch,
}

/// One of the two semaphores, for measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct InFlight {
    /// Most requests at once; 0: no limit.
    pub limit: u32,
    /// Requests that hold it. Privileged requests that found it full do not.
    pub in_use: u32,
    /// Requests let through, counted or not.
    pub executed: u64,
    /// Requests answered with 429.
    pub rejected: u64,
}

/// The limits `--max-requests-inflight` and `--max-mutating-requests-inflight`, and nothing more.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct PlainInFlight {
    read_only: InFlight,
    mutating: InFlight,
    /// By request id: the semaphore it holds.
    held: Vec<Option<RequestKind>>,
}

impl PlainInFlight {
    /// Limits as the flags give them: 400 and 200 by default, 0 for no limit.
    pub fn new(max_requests_inflight: u32, max_mutating_requests_inflight: u32) -> PlainInFlight {
        let semaphore = |limit| InFlight { limit, ..InFlight::default() };
        PlainInFlight {
            read_only: semaphore(max_requests_inflight),
            mutating: semaphore(max_mutating_requests_inflight),
            held: Vec::new(),
        }
    }

    /// The read-only and the mutating semaphore.
    pub fn in_flight(&self) -> [InFlight; 2] {
        [self.read_only, self.mutating]
    }

    /// A request arrives; if it executes, [`finish`](Self::finish) must be called with the same id.
    pub fn arrive(&mut self, request: u32, kind: RequestKind, masters: bool) -> Admission {
        let semaphore = match kind {
            RequestKind::ReadOnly => &mut self.read_only,
            RequestKind::Mutating => &mut self.mutating,
            RequestKind::Watch => return Admission::Execute,
        };
        if semaphore.limit != 0 {
            if semaphore.in_use < semaphore.limit {
                semaphore.in_use += 1;
                let index = request as usize;
                if index >= self.held.len() {
                    self.held.resize(index + 1, None);
                }
                assert_eq!(self.held[index], None, "request {request} arrived while it is in flight");
                self.held[index] = Some(kind);
            } else if !masters {
                semaphore.rejected += 1;
                return Admission::Rejected { retry_after_s: 1 };
            }
        }
        semaphore.executed += 1;
        Admission::Execute
    }

    /// The handler of a request that executed returned.
    pub fn finish(&mut self, request: u32) {
        match self.held.get_mut(request as usize).and_then(Option::take) {
            Some(RequestKind::ReadOnly) => self.read_only.in_use -= 1,
            Some(RequestKind::Mutating) => self.mutating.in_use -= 1,
            Some(RequestKind::Watch) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REJECTED: Admission = Admission::Rejected { retry_after_s: 1 };

    #[test]
    fn reads_and_writes_are_counted_apart_and_nothing_waits() {
        let mut plain = PlainInFlight::new(2, 1);
        assert_eq!(plain.arrive(0, RequestKind::Mutating, false), Admission::Execute);
        assert_eq!(plain.arrive(1, RequestKind::Mutating, false), REJECTED);
        assert_eq!(plain.arrive(2, RequestKind::ReadOnly, false), Admission::Execute);
        assert_eq!(plain.arrive(3, RequestKind::ReadOnly, false), Admission::Execute);
        assert_eq!(plain.arrive(4, RequestKind::ReadOnly, false), REJECTED);
        plain.finish(0);
        assert_eq!(plain.arrive(1, RequestKind::Mutating, false), Admission::Execute);
        assert_eq!(plain.arrive(4, RequestKind::ReadOnly, false), REJECTED);
        assert_eq!(plain.in_flight()[1], InFlight { limit: 1, in_use: 1, executed: 2, rejected: 1 });
    }

    #[test]
    fn masters_pass_a_full_server_and_hold_nothing_then() {
        let mut plain = PlainInFlight::new(400, 1);
        assert_eq!(plain.arrive(0, RequestKind::Mutating, false), Admission::Execute);
        assert_eq!(plain.arrive(1, RequestKind::Mutating, true), Admission::Execute);
        plain.finish(1);
        assert_eq!(plain.arrive(2, RequestKind::Mutating, false), REJECTED);
        plain.finish(0);
        // While there is room they are counted like everyone.
        assert_eq!(plain.arrive(1, RequestKind::Mutating, true), Admission::Execute);
        assert_eq!(plain.arrive(2, RequestKind::Mutating, false), REJECTED);
    }

    #[test]
    fn watches_and_a_limit_of_zero_are_not_limited() {
        let mut plain = PlainInFlight::new(1, 0);
        for request in 0..100 {
            assert_eq!(plain.arrive(request, RequestKind::Watch, false), Admission::Execute);
        }
        for request in 100..1000 {
            assert_eq!(plain.arrive(request, RequestKind::Mutating, false), Admission::Execute);
        }
        assert_eq!(plain.arrive(1000, RequestKind::ReadOnly, false), Admission::Execute);
        assert_eq!(plain.arrive(1001, RequestKind::ReadOnly, false), REJECTED);
    }
}
