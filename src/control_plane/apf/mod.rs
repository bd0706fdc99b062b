//! API priority and fairness: which requests the API server executes, queues or rejects.
//!
//! A request's flow schema assigns it a priority level and a flow. A level has a limit of seats; a request takes one
//! or more of them while its handler runs, and some writes for a little longer while their watch events go out. When
//! a level has no seat free, its requests wait in queues that share the seats fairly among flows (`queueset`),
//! for at most [`QUEUE_WAIT_LIMIT_NS`]; where a queue is full too, they are answered with 429 and a Retry-After that
//! grows with the rejections. Every [`ADJUST_PERIOD_NS`] idle levels lend seats to busy ones. All as in Kubernetes
//! 1.36 with its default objects; the parts name their sources.
//!
//! It knows no event loop: time is an argument (virtual ns, never falling), and whatever is to happen later is told
//! by the caller. A request is addressed by an id that the caller picks: small integers, reused as soon as the
//! request was rejected or [`finish`](Apf::finish)ed. Requests that start executing because of some other request
//! are pushed to `ready`, in the order in which they start.
//!
//! Left out: custom levels and schemas; requests that bypass all this in a real server too (exec, attach, logs,
//! proxy), which the caller must not bring; a client's own `timeout=`, but [`Apf::expire`] may be called at any
//! time; the 60 s time-out of requests that execute.
//!
//! Cost: O(1) per request while seats are free, without hashing or allocation; with a backlog, O(non-empty queues
//! of the level) per dispatch, at most 128. Memory: 64 bytes per id, up to the largest id ever used.

mod admitter;
mod borrowing;
mod config;
mod plain;
mod queueset;
mod retry_after;

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

pub use admitter::Admitter;
pub use config::{DEFAULT_TOTAL_SEATS, Identity, ResourceClass, Width};
pub use plain::{InFlight, PlainInFlight, RequestKind};

use borrowing::Borrower;
use config::{Classification, LEVELS, LevelConfig, LimitResponse, Limits, classify};
use queueset::{Arrival, Hand, Outcome, QueueSet, Request, State};
use retry_after::RetryAfter;

/// How often [`Apf::adjust`] is to be called, in ns.
pub const ADJUST_PERIOD_NS: u64 = 10_000_000_000;
/// When a request has to leave its queue, in ns since the server received it: a quarter of the server's request timeout of 60 s
/// (`getRequestWaitContext` in `pkg/server/filters/priority-and-fairness.go` of the API server). So one that a busy server was
/// slow to read waits less.
pub const QUEUE_WAIT_LIMIT_NS: u64 = 15_000_000_000;

/// What becomes of a request that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Its handler starts now.
    Execute,
    /// It waits; its id will appear in some later `ready`, unless [`Apf::expire`] comes first.
    Queued,
    /// 429 Too Many Requests.
    Rejected {
        /// The Retry-After header, in seconds.
        retry_after_s: u32,
    },
}

/// A flow: requests that are treated alike. A cheap handle, valid for the admitter that gave it out.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct FlowId(u32);

/// Seats that a finished request still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hold {
    level: u8,
    seats: u32,
}

/// A finished request lingers on its seats while its watch events go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linger {
    /// When [`Apf::release`] must be called, in ns.
    pub until_ns: u64,
    /// With what.
    pub hold: Hold,
}

/// A priority level's state, for measures. Counts are since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelStatus {
    /// The PriorityLevelConfiguration.
    pub name: &'static str,
    /// Nominal concurrency limit, in seats.
    pub nominal_seats: u32,
    /// What it does not lend.
    pub min_seats: u32,
    /// What it may reach by borrowing.
    pub max_seats: u32,
    /// The limit now in force. The exempt level has none: this is what it used at most in the last period.
    pub limit_seats: u32,
    /// Seats in use, lingering requests included. Above the limit if that has just fallen.
    pub seats_in_use: u32,
    /// Requests whose handler runs.
    pub executing: u32,
    /// Requests in queues.
    pub waiting: u32,
    /// Requests that started, ever.
    pub dispatched: u64,
    /// Rejected on arrival: all seats taken and the flow's best queue full.
    pub rejected_queue_full: u64,
    /// Rejected on arrival by a level without queues.
    pub rejected_concurrency_limit: u64,
    /// Rejected after [`QUEUE_WAIT_LIMIT_NS`] in a queue.
    pub rejected_time_out: u64,
    /// Time that dispatched requests had waited, summed, in ns.
    pub wait_ns: u128,
    /// What the next 429 would say, in seconds.
    pub retry_after_s: u32,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Level {
    #[serde(skip, default = "no_config")]
    config: LevelConfig,
    limits: Limits,
    borrower: Borrower,
    set: QueueSet,
    retry_after: RetryAfter,
}

fn no_config() -> LevelConfig {
    LEVELS[0]
}

#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Flow {
    #[serde(skip)]
    schema: &'static str,
    level: u8,
    hand: Hand,
}

/// API priority and fairness of one API server.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Apf {
    levels: Vec<Level>,
    flows: Vec<Flow>,
    #[serde(skip)]
    flow_ids: BTreeMap<(&'static str, String), FlowId>,
    requests: Vec<Request>,
}

impl Apf {
    /// The default priority levels and flow schemas on an idle server whose two in-flight flags add up to
    /// `total_seats` ([`DEFAULT_TOTAL_SEATS`]). The real server refuses to start with a sum of 0; here that counts
    /// as 1.
    pub fn with_defaults(total_seats: u32) -> Apf {
        let total_seats = total_seats.max(1);
        let share_sum = LEVELS.iter().map(|level| level.shares).sum();
        let level = |config: &LevelConfig| {
            let limits = config.limits(total_seats, share_sum);
            let exempt = config.response == LimitResponse::Exempt;
            Level {
                config: *config,
                limits,
                borrower: Borrower::new(exempt, limits.nominal, limits.min, limits.max),
                set: QueueSet::new(config.response, 0),
                retry_after: RetryAfter::new(),
            }
        };
        let mut apf = Apf {
            levels: LEVELS.iter().map(level).collect(),
            flows: Vec::new(),
            flow_ids: BTreeMap::new(),
            requests: Vec::new(),
        };
        apf.adjust(0, &mut Vec::new());
        apf
    }

    /// Takes over what a checkpoint leaves to the inputs (the levels' configuration, the names of flows) from an
    /// instance that was built from them.
    pub fn keep_inputs_of(&mut self, built: Self) {
        for (level, built) in self.levels.iter_mut().zip(built.levels) {
            level.config = built.config;
        }
        for (flow, built) in self.flows.iter_mut().zip(built.flows) {
            flow.schema = built.schema;
        }
        self.flow_ids = built.flow_ids;
    }

    /// The flow of a client's requests of one class in one namespace ("" where there is none). Look it up once and
    /// keep it: the look-up hashes.
    pub fn flow(&mut self, identity: Identity, class: ResourceClass, namespace: &str) -> FlowId {
        self.flow_of(classify(identity, class, namespace))
    }

    fn flow_of(&mut self, classification: Classification) -> FlowId {
        let Classification { schema, level, distinguisher } = classification;
        let hand = match LEVELS[level].response {
            LimitResponse::Queue { queues, hand_size, .. } => {
                Hand::deal(flow_hash(schema, &distinguisher), queues, hand_size)
            }
            LimitResponse::Exempt | LimitResponse::Reject => Hand::EMPTY,
        };
        *self.flow_ids.entry((schema, distinguisher)).or_insert_with(|| {
            self.flows.push(Flow { schema, level: level as u8, hand });
            FlowId(self.flows.len() as u32 - 1)
        })
    }

    /// The widest request the flow's level allows its work estimator, for [`Width`]; 0: the level has no such cap.
    pub fn max_seats(&self, flow: FlowId) -> u32 {
        self.levels[usize::from(self.flows[flow.0 as usize].level)].limits.max_seats
    }

    /// The name of the flow's priority level.
    pub fn level_name(&self, flow: FlowId) -> &'static str {
        self.levels[usize::from(self.flows[flow.0 as usize].level)].config.name
    }

    /// The name of the flow's schema.
    pub fn schema_name(&self, flow: FlowId) -> &'static str {
        self.flows[flow.0 as usize].schema
    }

    /// A request arrives at the filter. If it executes, [`finish`](Self::finish) must be called once its handler
    /// returns; if it is queued, [`expire`](Self::expire) once it has waited too long.
    ///
    /// # Panics
    /// If `request` is still waiting or executing.
    pub fn arrive(
        &mut self,
        now: u64,
        flow: FlowId,
        request: u32,
        width: Width,
        ready: &mut Vec<u32>,
    ) -> Admission {
        let index = request as usize;
        if index >= self.requests.len() {
            self.requests.resize(index + 1, Request::ABSENT);
        }
        assert!(
            self.requests[index].state == State::Absent,
            "request {request} arrived while it is in the server"
        );
        let Flow { level, hand, .. } = &self.flows[flow.0 as usize];
        let arrival = Arrival { id: request, level: *level, width, hand };
        let level = &mut self.levels[usize::from(*level)];
        match level.set.arrive(now, arrival, &mut self.requests, ready) {
            Outcome::Execute => Admission::Execute,
            Outcome::Queued => Admission::Queued,
            Outcome::Rejected => Admission::Rejected { retry_after_s: level.retry_after.drop_request(now) },
        }
    }

    /// The handler of a request that executed returned; the client has its answer and the id is free. If the seats
    /// linger, [`release`](Self::release) must be called at the time returned.
    ///
    /// # Panics
    /// If `request` is not executing.
    pub fn finish(&mut self, now: u64, request: u32, ready: &mut Vec<u32>) -> Option<Linger> {
        let &Request { state, level, .. } = &self.requests[request as usize];
        assert!(state == State::Executing, "request {request} finished, but it is {state:?}");
        let set = &mut self.levels[usize::from(level)].set;
        set.finish(now, request, &mut self.requests, ready)
            .map(|(until_ns, seats)| Linger { until_ns, hold: Hold { level, seats } })
    }

    /// Gives back the seats of a request that lingered, at the time [`finish`](Self::finish) named.
    pub fn release(&mut self, now: u64, hold: Hold, ready: &mut Vec<u32>) {
        self.levels[usize::from(hold.level)].set.release(now, hold.seats, &mut self.requests, ready);
    }

    /// When the request came into the queue in which it waits.
    #[must_use]
    pub fn waits_since(&self, request: u32) -> Option<u64> {
        let request = self.requests.get(request as usize)?;
        (request.state == State::Waiting).then_some(request.arrived_ns)
    }

    /// The queue wait limit of the request that arrived at `arrived` has passed. If it still waits, it is rejected
    /// and its Retry-After returned, in seconds. `arrived` tells it from a later request of the same id.
    pub fn expire(&mut self, now: u64, request: u32, arrived: u64) -> Option<u32> {
        let &Request { state, level, arrived_ns, .. } = self.requests.get(request as usize)?;
        if state != State::Waiting || arrived_ns != arrived {
            return None;
        }
        let level = &mut self.levels[usize::from(level)];
        level.set.time_out(now, request, &mut self.requests);
        Some(level.retry_after.drop_request(now))
    }

    /// Lends and takes back seats; to be called every [`ADJUST_PERIOD_NS`]. At which phase is the caller's choice.
    pub fn adjust(&mut self, now: u64, ready: &mut Vec<u32>) {
        for level in &mut self.levels {
            level.borrower.note(level.set.observe_demand(now));
        }
        let borrowers: Vec<Borrower> = self.levels.iter().map(|level| level.borrower).collect();
        let current: Vec<u32> = self.levels.iter().map(|level| level.set.limit()).collect();
        let limits = borrowing::next_limits(&borrowers, &current);
        for (level, limit) in self.levels.iter_mut().zip(limits) {
            level.set.set_limit(now, limit, &mut self.requests, ready);
        }
    }

    /// The state of each level, in a fixed order.
    pub fn levels(&self) -> impl Iterator<Item = LevelStatus> {
        self.levels.iter().map(|level| {
            let counts = level.set.counts();
            LevelStatus {
                name: level.config.name,
                nominal_seats: level.limits.nominal,
                min_seats: level.limits.min,
                max_seats: level.limits.max,
                limit_seats: level.set.limit(),
                seats_in_use: level.set.seats_in_use(),
                executing: level.set.executing(),
                waiting: level.set.waiting(),
                dispatched: counts.dispatched,
                rejected_queue_full: counts.rejected_queue_full,
                rejected_concurrency_limit: counts.rejected_concurrency_limit,
                rejected_time_out: counts.rejected_time_out,
                wait_ns: counts.wait_ns,
                retry_after_s: level.retry_after.seconds(),
            }
        })
    }
}

/// What a flow's hand is dealt from: the first eight bytes of a SHA-256, little endian.
fn flow_hash(schema: &str, distinguisher: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(schema);
    hash.update([0]);
    hash.update(distinguisher);
    hash.finalize().iter().take(8).rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests;
