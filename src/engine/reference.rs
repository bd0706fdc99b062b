//! Two small models with known results, generic over the queue: they check it and measure it.
//!
//! - [`mm10`], a queueing system M/M/10 with arrival rate 9 and service rate 1 (per second): few events are
//!   pending (at most 11), so it measures the fixed cost of an event. Erlang's formula gives a mean wait of
//!   C(10, 9) / (10 - 9) = 0.6687 s in the long run.
//! - [`hold`], the classic hold model: a fixed number of timers, each re-armed at now + Exp(1) when it fires. It
//!   measures a push and a pop at that many pending events.
//!
//! Both draw from SplitMix64 with seed 42, in a fixed order, so any simulator can be compared draw by draw.
//! Draws are made in seconds (f64) and rounded to whole nanoseconds before they touch the clock.

use super::queue::EventQueue;
use super::time::{Nanos, SECOND};
use std::collections::VecDeque;

/// SplitMix64, as in Steele, Lea and Flood 2014: the generator of the comparison, not of podpace's runs.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator that starts at `seed`.
    pub fn new(seed: u64) -> Self {
        SplitMix64(seed)
    }

    /// The next 64 bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Draws that [`Exponentials`] makes at once.
const BLOCK: usize = 64;

/// Exponential spans from SplitMix64, one draw each, in the order of its draws.
///
/// `libm`'s logarithm, the same on every machine, takes some 60 cycles from its argument to its result. Where an event waits for one
/// logarithm, these are 40 % of M/M/10's time; in a block, the processor works on several at once.
#[derive(Clone, Debug)]
struct Exponentials {
    random: SplitMix64,
    /// Spans of rate 1, s.
    spans: [f64; BLOCK],
    /// The next one of them.
    next: usize,
}

impl Exponentials {
    fn new(seed: u64) -> Self {
        Self { random: SplitMix64::new(seed), spans: [0.0; BLOCK], next: BLOCK }
    }

    /// The next span, of the given rate (per second), in nanoseconds, rounded.
    #[inline]
    fn span(&mut self, rate_per_s: f64) -> Nanos {
        if self.next == BLOCK {
            self.refill();
        }
        let span = self.spans[self.next];
        self.next += 1;
        (span / rate_per_s * SECOND as f64 + 0.5) as Nanos
    }

    #[cold]
    fn refill(&mut self) {
        for span in &mut self.spans {
            let uniform = ((self.random.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
            *span = -libm::log(uniform);
        }
        self.next = 0;
    }
}

/// What [`mm10`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mm10 {
    /// Events processed: two a customer.
    pub events: u64,
    /// Sum over customers of the time from arrival to start of service, ns.
    pub wait_sum_ns: u64,
    /// Time of the last departure, ns.
    pub end_ns: Nanos,
    /// Customers served.
    pub customers: u64,
}

impl Mm10 {
    /// Mean time from arrival to start of service, in seconds.
    pub fn mean_wait_s(&self) -> f64 {
        self.wait_sum_ns as f64 / self.customers as f64 / SECOND as f64
    }
}

/// M/M/10 with rates 9 and 1 per second for this many customers.
///
/// Order of draws: the first arrival; at an arrival the next arrival (if any is left), then the service time if
/// a server is free; at a departure the service time of the next waiting customer, if any.
pub fn mm10(queue: &mut impl EventQueue<u32>, customers: u64) -> Mm10 {
    const ARRIVAL: u32 = 0;
    const DEPARTURE: u32 = 1;
    const SERVERS: u32 = 10;
    const ARRIVALS_PER_S: f64 = 9.0;
    const SERVED_PER_S: f64 = 1.0;

    let mut random = Exponentials::new(42);
    let mut waiting: VecDeque<Nanos> = VecDeque::new();
    let mut result = Mm10 { events: 0, wait_sum_ns: 0, end_ns: 0, customers };
    let mut arrived = 0;
    let mut busy = 0;
    if customers > 0 {
        queue.push(random.span(ARRIVALS_PER_S), ARRIVAL);
    }
    while let Some((now, event)) = queue.pop() {
        result.events += 1;
        result.end_ns = now;
        if event == ARRIVAL {
            arrived += 1;
            if arrived < customers {
                queue.push(now + random.span(ARRIVALS_PER_S), ARRIVAL);
            }
            if busy < SERVERS {
                busy += 1;
                queue.push(now + random.span(SERVED_PER_S), DEPARTURE);
            } else {
                waiting.push_back(now);
            }
        } else if let Some(arrived_at) = waiting.pop_front() {
            result.wait_sum_ns += now - arrived_at;
            queue.push(now + random.span(SERVED_PER_S), DEPARTURE);
        } else {
            busy -= 1;
        }
    }
    result
}

/// `pending` timers, each re-armed at now + Exp(1 s) as it fires, for `events` events.
///
/// Returns the time of the last event and a checksum over the order in which timers fired.
pub fn hold(queue: &mut impl EventQueue<u32>, pending: u32, events: u64) -> (Nanos, u64) {
    let mut random = Exponentials::new(42);
    for timer in 0..pending {
        queue.push(random.span(1.0), timer);
    }
    let mut order = 0_u64;
    for _ in 0..events {
        let Some((now, timer)) = queue.pop() else { break };
        order = order.wrapping_mul(31).wrapping_add(u64::from(timer));
        queue.push(now + random.span(1.0), timer);
    }
    (queue.now(), order)
}
