//! The queues of one priority level: shuffle sharding, fair queuing, seats.
//!
//! A flow is dealt a hand of queues by its hash; a request joins the queue of its hand with the least waiting work.
//! Queues share the seats fairly in virtual time: R is the work, in seat-seconds, that each active queue has been
//! due so far, and each queue remembers the R at which its next request would start if every queue got exactly its
//! due. The queue whose head would finish first goes first. The real service time is not known in advance, so each
//! request is charged 3 ms a seat at dispatch and the difference is settled when it finishes. Source:
//! `k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing/queueset/queueset.go` and
//! `pkg/util/shufflesharding/shufflesharding.go`; names follow those files.
//!
//! Seat-seconds are integers in units of 1e-8, rounded as the real server rounds them (one f64 multiplication and
//! division, exact by IEEE 754), so orders of dispatch are the same to the last tie.
//!
//! Left out: changing the number of queues while the server runs. Kept, since it decides who waits: a head that
//! does not fit blocks everything behind it; removing a request that has waited too long dispatches nothing; a
//! request whose final seats are cut to the limit leaves its former width in the demand for seats for ever.
//!
//! Cost: arrival without backlog O(1); with backlog O(hand). Dispatch O(non-empty queues), at most 128.

use super::borrowing::{Observation, SeatDemand};
use super::config::{LimitResponse, Width};

/// The service time every request is assumed to have when it is dispatched.
const ESTIMATED_SERVICE_NS: i64 = 3_000_000;
/// Far below the end of i64: where R is wound back, after some years of a full server.
const WIND_BACK_R: i64 = i64::MAX / 2;
/// The end of a list of requests.
const NONE: u32 = u32::MAX;
/// The largest hand a dealer can deal.
pub(super) const MAX_HAND: usize = 15;

/// `seats` for `duration_ns`, in units of 1e-8 seat-seconds.
fn seat_seconds(seats: f64, duration_ns: i64) -> i64 {
    (seats * duration_ns as f64 / 10.0).round() as i64
}

/// The queues a flow may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Hand {
    cards: [u16; MAX_HAND],
    len: u16,
}

impl Hand {
    pub(super) const EMPTY: Hand = Hand { cards: [0; MAX_HAND], len: 0 };

    /// Deals `hand_size` different cards out of `deck_size`; the hash is all the chance there is.
    pub(super) fn deal(mut hash: u64, deck_size: u16, hand_size: u16) -> Hand {
        let mut hand = Hand { cards: [0; MAX_HAND], len: hand_size };
        for dealt in 0..usize::from(hand_size) {
            let left = u64::from(deck_size) - dealt as u64;
            hand.cards[dealt] = (hash % left) as u16;
            hash /= left;
        }
        // So far these are places among the cards still in the deck: step over those dealt earlier.
        let places = hand.cards;
        for dealt in 0..usize::from(hand_size) {
            for earlier in (0..dealt).rev() {
                if hand.cards[dealt] >= places[earlier] {
                    hand.cards[dealt] += 1;
                }
            }
        }
        hand
    }

    pub(super) fn cards(&self) -> &[u16] {
        &self.cards[..usize::from(self.len)]
    }
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum State {
    Absent,
    Waiting,
    Executing,
}

/// A request that waits or executes. It is stored at its caller's id.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Request {
    pub(super) arrived_ns: u64,
    started_ns: u64,
    arrival_r: i64,
    total_work: i64,
    width: Width,
    previous: u32,
    next: u32,
    queue: u16,
    pub(super) level: u8,
    pub(super) state: State,
}

/// One cache line.
const _: () = assert!(size_of::<Request>() == 64);

impl Request {
    pub(super) const ABSENT: Request = Request {
        arrived_ns: 0,
        started_ns: 0,
        arrival_r: 0,
        total_work: 0,
        width: Width::ONE,
        previous: NONE,
        next: NONE,
        queue: 0,
        level: 0,
        state: State::Absent,
    };
}

/// A first-in first-out list of waiting requests, linked through the requests.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Queue {
    first: u32,
    last: u32,
    waiting: u32,
    executing: u32,
    waiting_work: i64,
    next_dispatch_r: i64,
}

impl Queue {
    const IDLE: Queue =
        Queue { first: NONE, last: NONE, waiting: 0, executing: 0, waiting_work: 0, next_dispatch_r: 0 };

    fn is_active(&self) -> bool {
        self.waiting > 0 || self.executing > 0
    }

    fn push(&mut self, id: u32, requests: &mut [Request]) {
        let request = &mut requests[id as usize];
        request.previous = self.last;
        request.next = NONE;
        self.waiting_work += request.total_work;
        self.waiting += 1;
        match self.last {
            NONE => self.first = id,
            last => requests[last as usize].next = id,
        }
        self.last = id;
    }

    fn remove(&mut self, id: u32, requests: &mut [Request]) {
        let &Request { previous, next, total_work, .. } = &requests[id as usize];
        match previous {
            NONE => self.first = next,
            previous => requests[previous as usize].next = next,
        }
        match next {
            NONE => self.last = previous,
            next => requests[next as usize].previous = previous,
        }
        self.waiting_work -= total_work;
        self.waiting -= 1;
    }

    /// Dispatch in the virtual world must not precede arrival: a queue that could not use its due does not save it.
    fn bound_next_dispatch(&mut self, requests: &[Request]) {
        if self.first != NONE {
            self.next_dispatch_r = self.next_dispatch_r.max(requests[self.first as usize].arrival_r);
        }
    }
}

/// Which queues hold waiting requests.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct NonEmpty {
    words: Vec<u64>,
}

impl NonEmpty {
    fn set(&mut self, queue: usize, non_empty: bool) {
        let bit = 1 << (queue % 64);
        match non_empty {
            true => self.words[queue / 64] |= bit,
            false => self.words[queue / 64] &= !bit,
        }
    }

    /// All of them, round robin from the one after `robin`.
    fn after(&self, robin: usize) -> impl Iterator<Item = usize> {
        let (first, from) = ((robin + 1) / 64, (robin + 1) % 64);
        let later = self.words.iter().enumerate().skip(first).map(move |(index, &word)| {
            (index, if index == first { word & (u64::MAX << from) } else { word })
        });
        let earlier = self.words.iter().enumerate().take(first + 1).map(move |(index, &word)| {
            (index, if index == first { word & !(u64::MAX << from) } else { word })
        });
        later.chain(earlier).flat_map(|(index, mut word)| {
            std::iter::from_fn(move || {
                let bit = word.trailing_zeros() as usize;
                word &= word.checked_sub(1)?;
                Some(index * 64 + bit)
            })
        })
    }
}

/// What has happened in a level since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Counts {
    pub(super) dispatched: u64,
    pub(super) rejected_queue_full: u64,
    pub(super) rejected_concurrency_limit: u64,
    pub(super) rejected_time_out: u64,
    pub(super) wait_ns: u128,
}

/// The seats and queues of one priority level.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct QueueSet {
    response: LimitResponse,
    limit: u32,
    queues: Vec<Queue>,
    non_empty: NonEmpty,
    current_r: i64,
    synced_ns: u64,
    /// The queue last dispatched from.
    robin: usize,
    /// Where in its hand the next arrival starts to look; moves on with every arrival.
    offset: usize,
    waiting: u32,
    executing: u32,
    active_queues: u32,
    seats_in_use: u32,
    seats_waiting: u32,
    demand: SeatDemand,
    counts: Counts,
}

/// A request that arrives at a level.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    pub(super) id: u32,
    pub(super) level: u8,
    pub(super) width: Width,
    pub(super) hand: &'a Hand,
}

/// What [`QueueSet::arrive`] decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Execute,
    Queued,
    Rejected,
}

impl QueueSet {
    pub(super) fn new(response: LimitResponse, now: u64) -> QueueSet {
        let queues = match response {
            LimitResponse::Queue { queues, .. } => usize::from(queues),
            LimitResponse::Exempt | LimitResponse::Reject => 0,
        };
        QueueSet {
            response,
            limit: 0,
            queues: vec![Queue::IDLE; queues],
            non_empty: NonEmpty { words: vec![0; queues.div_ceil(64)] },
            current_r: 0,
            synced_ns: now,
            robin: 0,
            offset: 0,
            waiting: 0,
            executing: 0,
            active_queues: 0,
            seats_in_use: 0,
            seats_waiting: 0,
            demand: SeatDemand::new(now),
            counts: Counts::default(),
        }
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn waiting(&self) -> u32 {
        self.waiting
    }

    pub(super) fn executing(&self) -> u32 {
        self.executing
    }

    pub(super) fn seats_in_use(&self) -> u32 {
        self.seats_in_use
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Ends a period of observing the demand for seats.
    pub(super) fn observe_demand(&mut self, now: u64) -> Observation {
        self.demand.observe(now)
    }

    /// A request arrives; `requests` must have a place for its id, with an absent request. Others that execute now
    /// are pushed to `ready`.
    pub(super) fn arrive(
        &mut self,
        now: u64,
        arrival: Arrival,
        requests: &mut [Request],
        ready: &mut Vec<u32>,
    ) -> Outcome {
        self.sync(now, requests);
        let Arrival { id, level, width, hand } = arrival;
        let seats = width.max_seats();
        let LimitResponse::Queue { queue_length_limit, .. } = self.response else {
            if self.response == LimitResponse::Reject && !self.fits(seats) {
                self.counts.rejected_concurrency_limit += 1;
                return Outcome::Rejected;
            }
            self.demand.add(now, seats);
            self.executing += 1;
            self.seats_in_use += seats;
            self.counts.dispatched += 1;
            requests[id as usize] = Request {
                arrived_ns: now,
                started_ns: now,
                width,
                level,
                state: State::Executing,
                ..Request::ABSENT
            };
            return Outcome::Execute;
        };

        let index = self.pick_queue(hand);
        let queue = &mut self.queues[index];
        if self.seats_in_use >= self.limit && queue.waiting >= queue_length_limit {
            self.counts.rejected_queue_full += 1;
            return Outcome::Rejected;
        }
        if !queue.is_active() {
            queue.next_dispatch_r = self.current_r;
            self.active_queues += 1;
        }
        requests[id as usize] = Request {
            arrived_ns: now,
            started_ns: 0,
            arrival_r: self.current_r,
            total_work: seat_seconds(f64::from(width.seats), ESTIMATED_SERVICE_NS) + final_work(width),
            width,
            previous: NONE,
            next: NONE,
            queue: index as u16,
            level,
            state: State::Waiting,
        };
        queue.push(id, requests);
        queue.bound_next_dispatch(requests);
        self.non_empty.set(index, true);
        self.waiting += 1;
        self.seats_waiting += seats;
        self.demand.add(now, seats);

        let mut outcome = Outcome::Queued;
        while let Some(dispatched) = self.dispatch(now, requests) {
            if dispatched == id {
                outcome = Outcome::Execute;
            } else {
                ready.push(dispatched);
            }
        }
        outcome
    }

    /// The handler of request `id` returned. Its seats are free again, or it lingers on them: then their number is
    /// returned, and [`release`](QueueSet::release) must give them back after the extra latency.
    pub(super) fn finish(
        &mut self,
        now: u64,
        id: u32,
        requests: &mut [Request],
        ready: &mut Vec<u32>,
    ) -> Option<(u64, u32)> {
        self.sync(now, requests);
        let request = &mut requests[id as usize];
        request.state = State::Absent;
        let Request { width, started_ns, queue, .. } = *request;
        self.executing -= 1;
        if !self.queues.is_empty() {
            let queue = &mut self.queues[usize::from(queue)];
            queue.executing -= 1;
            let unused_ns = ESTIMATED_SERVICE_NS - (now - started_ns) as i64;
            queue.next_dispatch_r -= seat_seconds(f64::from(width.seats), unused_ns);
            queue.bound_next_dispatch(requests);
            self.active_queues -= u32::from(!queue.is_active());
        }
        let seats = width.max_seats();
        let lingers = (width.extra_latency_ns > 0).then_some((now + width.extra_latency_ns, seats));
        if lingers.is_none() {
            self.give_back(now, seats);
        }
        self.dispatch_all(now, requests, ready);
        lingers
    }

    /// Gives back the seats of a request that lingered.
    pub(super) fn release(&mut self, now: u64, seats: u32, requests: &mut [Request], ready: &mut Vec<u32>) {
        self.sync(now, requests);
        self.give_back(now, seats);
        self.dispatch_all(now, requests, ready);
    }

    /// Takes a waiting request out; nothing else is dispatched by that.
    pub(super) fn time_out(&mut self, now: u64, id: u32, requests: &mut [Request]) {
        self.sync(now, requests);
        let request = &mut requests[id as usize];
        request.state = State::Absent;
        let (index, seats) = (usize::from(request.queue), request.width.max_seats());
        let queue = &mut self.queues[index];
        queue.remove(id, requests);
        queue.bound_next_dispatch(requests);
        self.active_queues -= u32::from(!queue.is_active());
        self.non_empty.set(index, queue.waiting > 0);
        self.waiting -= 1;
        self.seats_waiting -= seats;
        self.demand.subtract(now, seats);
        self.counts.rejected_time_out += 1;
    }

    /// A new concurrency limit. Requests that already execute stay, even above it.
    pub(super) fn set_limit(&mut self, now: u64, limit: u32, requests: &mut [Request], ready: &mut Vec<u32>) {
        self.sync(now, requests);
        self.limit = limit;
        self.dispatch_all(now, requests, ready);
    }

    fn give_back(&mut self, now: u64, seats: u32) {
        self.seats_in_use -= seats;
        self.demand.subtract(now, seats);
    }

    /// Advances virtual time: each active queue was due an equal part of the seats that were or could be in use.
    fn sync(&mut self, now: u64, requests: &mut [Request]) {
        let elapsed_ns = now.saturating_sub(self.synced_ns) as i64;
        self.synced_ns = now;
        if self.active_queues == 0 || elapsed_ns == 0 {
            return;
        }
        let seats = self.limit.min(self.seats_in_use + self.seats_waiting);
        self.current_r += seat_seconds(f64::from(seats) / f64::from(self.active_queues), elapsed_ns);
        if self.current_r > WIND_BACK_R {
            self.wind_back(requests);
        }
    }

    /// Only differences of R matter, so all of them may be moved.
    fn wind_back(&mut self, requests: &mut [Request]) {
        let by = self.current_r;
        self.current_r = 0;
        for queue in self.queues.iter_mut().filter(|queue| queue.is_active()) {
            queue.next_dispatch_r -= by;
            let mut id = queue.first;
            while id != NONE {
                let request = &mut requests[id as usize];
                request.arrival_r -= by;
                id = request.next;
            }
        }
    }

    /// The queue of the hand with the least waiting work. What executes does not count.
    fn pick_queue(&mut self, hand: &Hand) -> usize {
        let cards = hand.cards();
        let (before, from) = cards.split_at(self.offset);
        self.offset = if self.offset + 1 == cards.len() { 0 } else { self.offset + 1 };
        let mut best = usize::from(from[0]);
        if self.waiting > 0 {
            for &card in from[1..].iter().chain(before) {
                if self.queues[usize::from(card)].waiting_work < self.queues[best].waiting_work {
                    best = usize::from(card);
                }
            }
        }
        best
    }

    fn fits(&self, seats: u32) -> bool {
        if seats > self.limit {
            // It could never fit, so it runs when it is alone.
            self.executing == 0
        } else {
            self.seats_in_use + seats <= self.limit
        }
    }

    fn dispatch_all(&mut self, now: u64, requests: &mut [Request], ready: &mut Vec<u32>) {
        while let Some(id) = self.dispatch(now, requests) {
            ready.push(id);
        }
    }

    /// Starts the waiting request that would finish first in virtual time, if it fits.
    fn dispatch(&mut self, now: u64, requests: &mut [Request]) -> Option<u32> {
        if self.waiting == 0 || self.seats_in_use >= self.limit {
            return None;
        }
        let finish_r = |&index: &usize| {
            let queue = &self.queues[index];
            queue.next_dispatch_r + requests[queue.first as usize].total_work
        };
        // Ties go to the first.
        let index = self.non_empty.after(self.robin).min_by_key(finish_r)?;
        let id = self.queues[index].first;
        let request = &mut requests[id as usize];
        let seats_wanted = request.width.max_seats();
        if !self.fits(seats_wanted) {
            return None;
        }
        request.width = reduced_to(request.width, self.limit);
        request.started_ns = now;
        request.state = State::Executing;
        let seats = request.width.max_seats();
        self.counts.wait_ns += u128::from(now - request.arrived_ns);
        self.counts.dispatched += 1;
        let total_work = request.total_work;

        let queue = &mut self.queues[index];
        queue.remove(id, requests);
        queue.executing += 1;
        queue.next_dispatch_r += total_work;
        queue.bound_next_dispatch(requests);
        self.non_empty.set(index, queue.waiting > 0);
        self.robin = index;
        self.waiting -= 1;
        self.seats_waiting -= seats_wanted;
        self.executing += 1;
        self.seats_in_use += seats;
        assert!(
            self.seats_in_use <= self.limit || self.executing == 1,
            "{} seats in use above the limit of {}",
            self.seats_in_use,
            self.limit
        );
        Some(id)
    }
}

fn final_work(width: Width) -> i64 {
    match width.final_seats {
        0 => 0,
        seats => seat_seconds(f64::from(seats), width.extra_latency_ns as i64),
    }
}

/// Final seats above the limit are cut to it and held longer, so that the work stays.
fn reduced_to(width: Width, limit: u32) -> Width {
    if width.final_seats <= limit {
        return width;
    }
    let extra_latency_ns = (final_work(width) as f64 / f64::from(limit) * 10.0) as u64;
    Width { final_seats: limit, extra_latency_ns, ..width }
}

#[cfg(test)]
mod tests;
