use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

fn queuing(queues: u16, hand_size: u16, queue_length_limit: u32) -> LimitResponse {
    LimitResponse::Queue { queues, hand_size, queue_length_limit }
}

fn wide(seats: u32) -> Width {
    Width { seats, ..Width::ONE }
}

/// A queue set with its requests, addressed by dense ids.
struct Fixture {
    set: QueueSet,
    requests: Vec<Request>,
    hands: BTreeMap<u64, Hand>,
}

impl Fixture {
    fn new(response: LimitResponse, limit: u32) -> Fixture {
        let mut set = QueueSet::new(response, 0);
        set.set_limit(0, limit, &mut [], &mut Vec::new());
        Fixture { set, requests: Vec::new(), hands: BTreeMap::new() }
    }

    fn arrive(&mut self, now: u64, hash: u64, width: Width) -> (u32, Outcome, Vec<u32>) {
        let id = self.requests.len() as u32;
        self.requests.push(Request::ABSENT);
        let hand = *self.hands.entry(hash).or_insert_with(|| match self.set.response {
            LimitResponse::Queue { queues, hand_size, .. } => Hand::deal(hash, queues, hand_size),
            _ => Hand::EMPTY,
        });
        let mut ready = Vec::new();
        let arrival = Arrival { id, level: 0, width, hand: &hand };
        let outcome = self.set.arrive(now, arrival, &mut self.requests, &mut ready);
        (id, outcome, ready)
    }

    fn finish(&mut self, now: u64, id: u32) -> (Option<(u64, u32)>, Vec<u32>) {
        let mut ready = Vec::new();
        let lingers = self.set.finish(now, id, &mut self.requests, &mut ready);
        (lingers, ready)
    }

    fn release(&mut self, now: u64, seats: u32) -> Vec<u32> {
        let mut ready = Vec::new();
        self.set.release(now, seats, &mut self.requests, &mut ready);
        ready
    }
}

mod dealing {
    use super::*;

    proptest! {
        /// Dealing card by card from a sorted deck that gets smaller.
        #[test]
        fn each_card_is_taken_out_of_the_deck(hash: u64, deck in 1u16..200, hand_size in 1u16..=15) {
            prop_assume!(hand_size <= deck);
            let mut left: Vec<u16> = (0..deck).collect();
            let mut rest = hash;
            let expected: Vec<u16> = (0..hand_size)
                .map(|_| {
                    let size = left.len() as u64;
                    let card = left.remove((rest % size) as usize);
                    rest /= size;
                    card
                })
                .collect();
            let hand = Hand::deal(hash, deck, hand_size);
            prop_assert_eq!(hand.cards(), &expected[..]);
            prop_assert_eq!(expected.iter().collect::<BTreeSet<_>>().len(), usize::from(hand_size));
        }
    }

    /// As the real dealer is tested: over as many hashes as there are ordered hands, every hand comes 3! times.
    #[test]
    fn every_hand_is_equally_likely() {
        let mut seen: BTreeMap<Vec<u16>, u32> = BTreeMap::new();
        for hash in 0..50 * 49 * 48 {
            let mut hand = Hand::deal(hash, 50, 3).cards().to_vec();
            hand.sort_unstable();
            *seen.entry(hand).or_default() += 1;
        }
        assert_eq!(seen.len(), 50 * 49 * 48 / 6);
        assert!(seen.values().all(|&times| times == 6));
    }
}

#[test]
fn one_flow_has_its_whole_hand_to_wait_in_and_then_is_rejected() {
    for (queues, hand_size, capacity) in [(128, 6, 300), (64, 6, 300), (16, 4, 200)] {
        let mut f = Fixture::new(queuing(queues, hand_size, 50), 10);
        for _ in 0..10 {
            assert_eq!(f.arrive(0, 1, Width::ONE).1, Outcome::Execute);
        }
        for _ in 0..capacity {
            assert_eq!(f.arrive(0, 1, Width::ONE).1, Outcome::Queued);
        }
        for _ in 0..20 {
            assert_eq!(f.arrive(0, 1, Width::ONE).1, Outcome::Rejected);
        }
        // A place gets free when one starts.
        assert_eq!(f.finish(MS, 0).1.len(), 1);
        assert_eq!(f.arrive(MS, 1, Width::ONE).1, Outcome::Queued);
        assert_eq!(f.arrive(MS, 1, Width::ONE).1, Outcome::Rejected);
        assert_eq!(f.set.counts().rejected_queue_full, 21);
        assert_eq!(f.set.waiting(), capacity);
    }
}

/// Rejection takes both: all seats in use, and a full queue. With seats free but too few for the head, a queue
/// grows past its length limit.
#[test]
fn a_full_queue_takes_more_while_a_seat_is_free() {
    let mut f = Fixture::new(queuing(1, 1, 2), 10);
    assert_eq!(f.arrive(0, 1, wide(6)).1, Outcome::Execute);
    for _ in 0..5 {
        assert_eq!(f.arrive(0, 1, wide(6)).1, Outcome::Queued);
    }
    assert_eq!(f.set.waiting(), 5);
}

#[test]
fn a_head_that_does_not_fit_holds_up_everyone_behind_it() {
    let mut f = Fixture::new(queuing(64, 1, 50), 10);
    let (first, ..) = f.arrive(0, 0, wide(8));
    let (blocked, outcome, _) = f.arrive(0, 1, wide(4));
    assert_eq!(outcome, Outcome::Queued);
    // Two seats are free, and this one would finish later in virtual time than the head that waits for four.
    let (narrow, outcome, _) = f.arrive(0, 2, wide(2));
    assert_eq!(outcome, Outcome::Execute, "less work: it would finish first");
    let (same, outcome, _) = f.arrive(0, 3, wide(2));
    assert_eq!(outcome, Outcome::Queued);
    assert_eq!(f.finish(MS, narrow).1, [same]);
    assert_eq!(f.finish(MS, first).1, [blocked]);
}

#[test]
fn a_request_wider_than_the_limit_runs_alone() {
    let mut f = Fixture::new(queuing(4, 1, 50), 3);
    let (narrow, ..) = f.arrive(0, 0, Width::ONE);
    let (wide_one, outcome, _) = f.arrive(0, 1, wide(5));
    assert_eq!(outcome, Outcome::Queued);
    assert_eq!(f.finish(MS, narrow).1, [wide_one]);
    assert_eq!(f.set.seats_in_use(), 5);
    assert_eq!(f.arrive(MS, 2, Width::ONE).1, Outcome::Queued);
    assert_eq!(f.finish(2 * MS, wide_one).1.len(), 1);
}

#[test]
fn final_seats_above_the_limit_are_held_longer_instead() {
    let mut f = Fixture::new(queuing(4, 1, 50), 2);
    let width = Width { seats: 1, final_seats: 10, extra_latency_ns: 5 * MS };
    let (id, outcome, _) = f.arrive(0, 0, width);
    assert_eq!(outcome, Outcome::Execute);
    assert_eq!(f.set.seats_in_use(), 2);
    assert_eq!(f.finish(MS, id).0, Some((MS + 25 * MS, 2)));
}

#[test]
fn lingering_seats_are_not_free() {
    let mut f = Fixture::new(queuing(128, 6, 50), 4);
    let width = Width { seats: 1, final_seats: 4, extra_latency_ns: 5 * MS };
    let (first, ..) = f.arrive(0, 1, width);
    // The larger number is held from the start.
    assert_eq!(f.set.seats_in_use(), 4);
    let (second, outcome, _) = f.arrive(0, 2, Width::ONE);
    assert_eq!(outcome, Outcome::Queued);
    let (lingers, ready) = f.finish(2 * MS, first);
    assert_eq!((lingers, ready), (Some((7 * MS, 4)), vec![]));
    assert_eq!((f.set.executing(), f.set.seats_in_use()), (0, 4));
    assert_eq!(f.release(7 * MS, 4), [second]);
    assert_eq!(f.set.counts().wait_ns, u128::from(7 * MS));
}

#[test]
fn a_level_without_queues_executes_or_rejects_at_once() {
    let mut f = Fixture::new(LimitResponse::Reject, 13);
    for _ in 0..13 {
        assert_eq!(f.arrive(0, 0, Width::ONE).1, Outcome::Execute);
    }
    assert_eq!(f.arrive(0, 0, Width::ONE).1, Outcome::Rejected);
    assert_eq!(f.set.counts().rejected_concurrency_limit, 1);
    assert_eq!(f.finish(MS, 3), (None, vec![]));
    assert_eq!(f.arrive(MS, 0, Width::ONE).1, Outcome::Execute);
}

#[test]
fn an_exempt_level_counts_but_never_limits() {
    let mut f = Fixture::new(LimitResponse::Exempt, 0);
    for _ in 0..1000 {
        assert_eq!(f.arrive(0, 0, wide(10)).1, Outcome::Execute);
    }
    assert_eq!(f.set.seats_in_use(), 10_000);
}

#[test]
fn a_time_out_dispatches_nothing() {
    let mut f = Fixture::new(queuing(1, 1, 50), 10);
    let (running, ..) = f.arrive(0, 0, wide(6));
    let (head, ..) = f.arrive(0, 0, wide(6));
    let (behind, ..) = f.arrive(0, 0, wide(4));
    f.set.time_out(15_000 * MS, head, &mut f.requests);
    // The second would fit now, but only the next event looks.
    assert_eq!((f.set.waiting(), f.set.executing()), (1, 1));
    assert_eq!(f.set.counts().rejected_time_out, 1);
    let (_, outcome, ready) = f.arrive(15_001 * MS, 0, Width::ONE);
    assert_eq!((outcome, ready), (Outcome::Queued, vec![behind]));
    assert_eq!(f.finish(15_002 * MS, running).1.len(), 1);
}

#[test]
fn a_lower_limit_stops_dispatch_but_no_running_request() {
    let mut f = Fixture::new(queuing(128, 6, 50), 100);
    let ids: Vec<u32> = (0..150).map(|_| f.arrive(0, 7, Width::ONE).0).collect();
    let mut ready = Vec::new();
    f.set.set_limit(MS, 40, &mut f.requests, &mut ready);
    assert_eq!((f.set.seats_in_use(), ready.len()), (100, 0));
    for &id in &ids[..60] {
        assert_eq!(f.finish(2 * MS, id).1.len(), 0);
    }
    assert_eq!(f.finish(2 * MS, ids[60]).1.len(), 1);
    f.set.set_limit(3 * MS, 50, &mut f.requests, &mut ready);
    assert_eq!(ready.len(), 10);
}

/// Clients of a closed loop: each keeps `concurrency` requests in the server, of a mean service time and a width.
/// Service times spread from half the mean to one and a half, so that finishes do not come in step. Returns the
/// seat-time each used over `duration_ns`.
fn closed_loop(limit: u32, clients: &[(u32, u64, Width)], duration_ns: u64) -> Vec<u64> {
    let mut f = Fixture::new(queuing(128, 6, 50), limit);
    let service_ns = |client: usize, id: u32| {
        let mean_ns = clients[client].1;
        mean_ns / 2 + mean_ns * (u64::from(id) * 7919 % 1000) / 1000
    };
    let mut client_of: Vec<usize> = Vec::new();
    let mut used = vec![0; clients.len()];
    let mut finishes: BTreeSet<(u64, u32)> = BTreeSet::new();
    let mut arrivals: VecDeque<usize> = VecDeque::new();
    for (client, &(concurrency, ..)) in clients.iter().enumerate() {
        arrivals.extend(std::iter::repeat_n(client, concurrency as usize));
    }
    let mut now = 0;
    loop {
        let mut started = Vec::new();
        while let Some(client) = arrivals.pop_front() {
            let (id, outcome, ready) =
                f.arrive(now, 0x1234_5678_9abc * (client as u64 + 1), clients[client].2);
            client_of.push(client);
            assert_ne!(outcome, Outcome::Rejected);
            started.extend((outcome == Outcome::Execute).then_some(id));
            started.extend(ready);
        }
        for id in started.drain(..) {
            finishes.insert((now + service_ns(client_of[id as usize], id), id));
        }
        let (at, id) = finishes.pop_first().unwrap();
        if at > duration_ns {
            return used;
        }
        now = at;
        let client = client_of[id as usize];
        used[client] += service_ns(client, id) * u64::from(clients[client].2.seats);
        let (_, ready) = f.finish(now, id);
        for id in ready {
            finishes.insert((now + service_ns(client_of[id as usize], id), id));
        }
        arrivals.push_back(client);
    }
}

#[test]
fn two_backlogged_flows_get_the_same_seats_whatever_they_ask_for() {
    // Ten times as many requests in flight, a third of the service time, twice the width: no advantage. Both have
    // more queues in their hands than the few they need.
    let used = closed_loop(20, &[(250, 10 * MS, wide(1)), (240, 3 * MS, wide(2))], 10_000 * MS);
    let ratio = used[0] as f64 / used[1] as f64;
    assert!((0.9..1.1).contains(&ratio), "{used:?}");
    let total: u64 = used.iter().sum();
    // All but the odd seat that a head two seats wide had to wait beside.
    assert!(total > 20 * 9_700 * MS, "work conserving: {total}");
}

#[test]
fn a_modest_flow_gets_all_it_asks_for_beside_a_greedy_one() {
    // One request at a time of 10 ms, ideally always executing, beside 290 outstanding ones on 20 seats. In turn
    // it waits for one of 20 seats to get free: half a millisecond on average.
    let used = closed_loop(20, &[(1, 10 * MS, wide(1)), (290, 10 * MS, wide(1))], 10_000 * MS);
    assert!(used[0] > 9_000 * MS, "{used:?}");
}

/// Virtual time is wound back after years; differences do not change.
#[test]
fn winding_back_virtual_time_changes_nothing() {
    let run = |offset: i64| {
        let mut f = Fixture::new(queuing(8, 2, 50), 5);
        f.set.current_r = offset;
        let mut log = Vec::new();
        let mut running = VecDeque::new();
        for step in 0..2000u64 {
            let (id, outcome, ready) = f.arrive(step * MS, step % 5, wide(1 + (step % 3) as u32));
            running.extend((outcome == Outcome::Execute).then_some(id));
            running.extend(&ready);
            if step % 3 == 0
                && let Some(id) = running.pop_front()
            {
                let (_, ready) = f.finish(step * MS, id);
                running.extend(&ready);
                log.push((outcome, ready));
            }
        }
        assert!(f.set.current_r > 0 && f.set.current_r < WIND_BACK_R);
        log
    };
    assert_eq!(run(0), run(WIND_BACK_R - 1_000_000_000));
}

/// The same rules, written down as plainly as possible: no sums kept, no lists linked, no bitmaps.
struct Oracle {
    hand_size: usize,
    deck: u16,
    queue_length_limit: usize,
    limit: u32,
    now: u64,
    r: i64,
    robin: usize,
    arrivals: usize,
    queues: Vec<OracleQueue>,
    lingering_seats: u32,
    /// id: (queue, width, started)
    executing: BTreeMap<u32, (usize, Width, u64)>,
}

#[derive(Clone, Default)]
struct OracleQueue {
    /// (id, width, arrival R)
    waiting: VecDeque<(u32, Width, i64)>,
    next_dispatch_r: i64,
}

fn work(width: &Width) -> i64 {
    let at = |seats: u32, ns: u64| (f64::from(seats) * ns as f64 / 10.0).round() as i64;
    at(width.seats, 3_000_000) + at(width.final_seats, width.extra_latency_ns)
}

impl Oracle {
    fn new(deck: u16, hand_size: u16, queue_length_limit: u32, limit: u32) -> Oracle {
        Oracle {
            hand_size: usize::from(hand_size),
            deck,
            queue_length_limit: queue_length_limit as usize,
            limit,
            now: 0,
            r: 0,
            robin: 0,
            arrivals: 0,
            queues: vec![OracleQueue::default(); usize::from(deck)],
            lingering_seats: 0,
            executing: BTreeMap::new(),
        }
    }

    fn executing_in(&self, queue: usize) -> usize {
        self.executing.values().filter(|e| e.0 == queue).count()
    }

    fn in_use(&self) -> u32 {
        self.lingering_seats + self.executing.values().map(|e| e.1.max_seats()).sum::<u32>()
    }

    fn sync(&mut self, now: u64) {
        let active = (0..self.queues.len())
            .filter(|&q| !self.queues[q].waiting.is_empty() || self.executing_in(q) > 0)
            .count();
        if active > 0 {
            let waiting: u32 = self.queues.iter().flat_map(|q| &q.waiting).map(|w| w.1.max_seats()).sum();
            let rate = f64::from((self.in_use() + waiting).min(self.limit)) / active as f64;
            self.r += (rate * (now - self.now) as f64 / 10.0).round() as i64;
        }
        self.now = now;
    }

    fn bound(&mut self) {
        for queue in &mut self.queues {
            if let Some(head) = queue.waiting.front() {
                queue.next_dispatch_r = queue.next_dispatch_r.max(head.2);
            }
        }
    }

    fn dispatch_all(&mut self) -> Vec<u32> {
        let mut started = Vec::new();
        while self.in_use() < self.limit {
            let count = self.queues.len();
            let best = (1..=count)
                .map(|step| (self.robin + step) % count)
                .filter(|&q| !self.queues[q].waiting.is_empty())
                .min_by_key(|&q| self.queues[q].next_dispatch_r + work(&self.queues[q].waiting[0].1));
            let Some(best) = best else { break };
            let seats = self.queues[best].waiting[0].1.max_seats();
            let fits = if seats > self.limit {
                self.executing.is_empty()
            } else {
                self.in_use() + seats <= self.limit
            };
            if !fits {
                break;
            }
            let (id, width, _) = self.queues[best].waiting.pop_front().unwrap();
            self.queues[best].next_dispatch_r += work(&width);
            let mut reduced = width;
            if width.final_seats > self.limit {
                let area = work(&Width { seats: 0, ..width });
                reduced.final_seats = self.limit;
                reduced.extra_latency_ns = (area as f64 / f64::from(self.limit) * 10.0) as u64;
            }
            self.executing.insert(id, (best, reduced, self.now));
            self.robin = best;
            self.bound();
            started.push(id);
        }
        started
    }

    fn arrive(&mut self, now: u64, id: u32, hash: u64, width: Width) -> (Outcome, Vec<u32>) {
        self.sync(now);
        let hand = Hand::deal(hash, self.deck, self.hand_size as u16);
        let offset = self.arrivals % self.hand_size;
        self.arrivals += 1;
        let pick = (0..self.hand_size)
            .map(|i| usize::from(hand.cards()[(offset + i) % self.hand_size]))
            .min_by_key(|&q| self.queues[q].waiting.iter().map(|w| work(&w.1)).sum::<i64>())
            .unwrap();
        if self.in_use() >= self.limit && self.queues[pick].waiting.len() >= self.queue_length_limit {
            return (Outcome::Rejected, vec![]);
        }
        if self.queues[pick].waiting.is_empty() && self.executing_in(pick) == 0 {
            self.queues[pick].next_dispatch_r = self.r;
        }
        self.queues[pick].waiting.push_back((id, width, self.r));
        self.bound();
        let mut started = self.dispatch_all();
        let own = started.iter().position(|&s| s == id);
        let outcome = own.map_or(Outcome::Queued, |at| {
            started.remove(at);
            Outcome::Execute
        });
        (outcome, started)
    }

    fn finish(&mut self, now: u64, id: u32) -> (Option<(u64, u32)>, Vec<u32>) {
        self.sync(now);
        let (queue, width, started) = self.executing.remove(&id).unwrap();
        let unused = 3_000_000 - (now - started) as i64;
        self.queues[queue].next_dispatch_r -= (f64::from(width.seats) * unused as f64 / 10.0).round() as i64;
        self.bound();
        let seats = width.max_seats();
        let lingers = (width.extra_latency_ns > 0).then_some((now + width.extra_latency_ns, seats));
        self.lingering_seats += lingers.map_or(0, |_| seats);
        (lingers, self.dispatch_all())
    }

    fn release(&mut self, now: u64, seats: u32) -> Vec<u32> {
        self.sync(now);
        self.lingering_seats -= seats;
        self.dispatch_all()
    }

    fn time_out(&mut self, now: u64, id: u32) {
        self.sync(now);
        for queue in &mut self.queues {
            queue.waiting.retain(|w| w.0 != id);
        }
        self.bound();
    }

    fn set_limit(&mut self, now: u64, limit: u32) -> Vec<u32> {
        self.sync(now);
        self.limit = limit;
        self.dispatch_all()
    }

    fn waiting(&self) -> Vec<u32> {
        self.queues.iter().flat_map(|q| &q.waiting).map(|w| w.0).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Arrive { flow: u64, width: Width },
    Finish(prop::sample::Index),
    TimeOut(prop::sample::Index),
    SetLimit(u32),
}

fn width() -> impl Strategy<Value = Width> {
    prop_oneof![
        4 => Just(Width::ONE),
        1 => (1u32..8).prop_map(wide),
        1 => (1u32..12, 0u64..20).prop_map(|(final_seats, ms)| Width {
            seats: 1,
            final_seats,
            extra_latency_ns: ms * MS + 7,
        }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0u64..6, width()).prop_map(|(flow, width)| Step::Arrive { flow, width }),
        7 => any::<prop::sample::Index>().prop_map(Step::Finish),
        1 => any::<prop::sample::Index>().prop_map(Step::TimeOut),
        1 => (1u32..20).prop_map(Step::SetLimit),
    ]
}

proptest! {
    #[test]
    fn decides_as_the_plain_rules_do(
        shape in prop_oneof![Just((128u16, 6u16, 5u32)), Just((16, 4, 3)), Just((70, 2, 50)), Just((1, 1, 4)), Just((3, 2, 1))],
        limit in 1u32..20,
        steps in prop::collection::vec((0u64..4, step()), 1..400),
    ) {
        let mut f = Fixture::new(queuing(shape.0, shape.1, shape.2), limit);
        let mut oracle = Oracle::new(shape.0, shape.1, shape.2, limit);
        let mut lingering: BTreeSet<(u64, u32, u32)> = BTreeSet::new();
        let mut now = 0;
        let mut next_id = 0;
        for (gap, step) in steps {
            // Zero is as likely as anything: ties.
            now += gap * 777_777;
            while let Some(&(at, id, seats)) = lingering.first().filter(|l| l.0 <= now) {
                lingering.pop_first();
                prop_assert_eq!(f.release(at, seats), oracle.release(at, seats), "release of {}", id);
            }
            match step {
                Step::Arrive { flow, width } => {
                    let hash = flow.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    let (id, outcome, ready) = f.arrive(now, hash, width);
                    prop_assert_eq!(id, next_id);
                    next_id += 1;
                    prop_assert_eq!((outcome, ready), oracle.arrive(now, id, hash, width));
                }
                Step::Finish(index) => {
                    let executing: Vec<u32> = oracle.executing.keys().copied().collect();
                    if !executing.is_empty() {
                        let id = *index.get(&executing);
                        let (lingers, ready) = f.finish(now, id);
                        lingering.extend(lingers.map(|(at, seats)| (at, id, seats)));
                        prop_assert_eq!((lingers, ready), oracle.finish(now, id));
                    }
                }
                Step::TimeOut(index) => {
                    let waiting = oracle.waiting();
                    if !waiting.is_empty() {
                        let id = *index.get(&waiting);
                        f.set.time_out(now, id, &mut f.requests);
                        oracle.time_out(now, id);
                    }
                }
                Step::SetLimit(limit) => {
                    let mut ready = Vec::new();
                    f.set.set_limit(now, limit, &mut f.requests, &mut ready);
                    prop_assert_eq!(ready, oracle.set_limit(now, limit));
                }
            }
            prop_assert_eq!(f.set.current_r, oracle.r);
            prop_assert_eq!(f.set.seats_in_use(), oracle.in_use());
            prop_assert_eq!(f.set.executing() as usize, oracle.executing.len());
            prop_assert_eq!(f.set.waiting() as usize, oracle.waiting().len());
        }
    }
}
