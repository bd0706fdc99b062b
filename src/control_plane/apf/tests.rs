use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const SCHEDULER: Identity = Identity::User("system:kube-scheduler");
const YUNIKORN: Identity = Identity::ServiceAccount { namespace: "yunikorn", name: "yunikorn-admin" };

fn status(apf: &Apf, name: &str) -> LevelStatus {
    apf.levels().find(|level| level.name == name).unwrap()
}

/// Brings requests `ids` of one seat; returns how many executed, waited and were rejected.
fn burst(apf: &mut Apf, now: u64, flow: FlowId, ids: std::ops::Range<u32>) -> (u32, u32, u32) {
    let mut counts = (0, 0, 0);
    let mut ready = Vec::new();
    for id in ids {
        match apf.arrive(now, flow, id, Width::ONE, &mut ready) {
            Admission::Execute => counts.0 += 1,
            Admission::Queued => counts.1 += 1,
            Admission::Rejected { .. } => counts.2 += 1,
        }
    }
    assert!(ready.is_empty());
    counts
}

#[test]
fn an_idle_default_server_has_these_limits() {
    let apf = Apf::with_defaults(DEFAULT_TOTAL_SEATS);
    let limits: Vec<_> =
        apf.levels().map(|level| (level.name, level.nominal_seats, level.limit_seats)).collect();
    assert_eq!(
        limits,
        [
            ("exempt", 0, 0),
            ("system", 74, 117),
            ("node-high", 98, 170),
            ("leader-election", 25, 58),
            ("workload-high", 98, 114),
            ("workload-low", 245, 56),
            ("global-default", 49, 56),
            ("catch-all", 13, 30),
        ]
    );
}

/// Hashes and hands computed apart from this code (SHA-256 and a list to draw from).
#[test]
fn flows_are_dealt_known_hands() {
    for (identity, class, namespace, hash, hand) in [
        (SCHEDULER, ResourceClass::Other, "default", 0x6e5e_19a3_3d4d_fd4e, &[78, 41, 111, 57, 35, 18][..]),
        (SCHEDULER, ResourceClass::Other, "", 0x6544_9dc4_908c_79fe, &[126, 90, 79, 41, 39, 53]),
        (YUNIKORN, ResourceClass::Other, "batch", 0x89d7_2f14_4e26_b359, &[89, 92, 53, 126, 45, 58]),
        (SCHEDULER, ResourceClass::Leases, "kube-system", 0xa1c9_014d_0541_1b2a, &[10, 15, 8, 13]),
    ] {
        let c = classify(identity, class, namespace);
        assert_eq!(flow_hash(c.schema, &c.distinguisher), hash);
        let mut apf = Apf::with_defaults(600);
        let flow = apf.flow(identity, class, namespace);
        assert_eq!(apf.flows[flow.0 as usize].hand.cards(), hand);
    }
}

#[test]
fn a_flow_is_a_schema_and_a_user_or_namespace() {
    let mut apf = Apf::with_defaults(600);
    let mut flow = |identity, namespace| apf.flow(identity, ResourceClass::Other, namespace);
    let scheduler = flow(SCHEDULER, "a");
    assert_eq!(flow(SCHEDULER, "a"), scheduler);
    assert_ne!(flow(SCHEDULER, "b"), scheduler);
    // The same level and namespace, another schema.
    assert_ne!(flow(Identity::User("system:kube-controller-manager"), "a"), scheduler);
    // By user: one flow for all namespaces.
    let yunikorn = flow(YUNIKORN, "a");
    assert_eq!(flow(YUNIKORN, "b"), yunikorn);
    assert_ne!(flow(Identity::Node("n1"), ""), flow(Identity::Node("n2"), ""));
    assert_eq!((apf.level_name(scheduler), apf.max_seats(scheduler)), ("workload-high", 15));
    assert_eq!((apf.level_name(yunikorn), apf.max_seats(yunikorn)), ("workload-low", 37));
}

#[test]
fn a_burst_lives_on_the_idle_limit_and_one_hand_of_queues_until_the_next_adjustment() {
    let mut apf = Apf::with_defaults(600);
    let scheduler = apf.flow(SCHEDULER, ResourceClass::Other, "default");
    let yunikorn = apf.flow(YUNIKORN, ResourceClass::Other, "default");
    assert_eq!(burst(&mut apf, 0, scheduler, 0..1000), (114, 300, 586));
    assert_eq!(burst(&mut apf, 0, yunikorn, 1000..2000), (56, 300, 644));
    let mut ready = Vec::new();
    apf.adjust(ADJUST_PERIOD_NS, &mut ready);
    // Demand was 414 and 356 seats throughout. The lower bounds are the nominal limits, 98 and 245; the others
    // fall to what they do not lend, but for the exempt: their 185 seats of minimum, in proportion.
    let (high, low) = (status(&apf, "workload-high"), status(&apf, "workload-low"));
    assert_eq!(low.limit_seats, 245);
    assert_eq!(high.limit_seats, 602 - 245 - 185);
    assert_eq!(ready.len() as u32, high.limit_seats - 114 + low.limit_seats - 56);
    assert_eq!(high.wait_ns, u128::from(u64::from(high.limit_seats - 114) * ADJUST_PERIOD_NS));
    assert_eq!((high.seats_in_use, high.waiting), (high.limit_seats, 414 - high.limit_seats));
    assert_eq!(high.rejected_queue_full, 586);
}

#[test]
fn namespaces_of_one_client_have_queues_of_their_own() {
    let mut apf = Apf::with_defaults(600);
    let a = apf.flow(SCHEDULER, ResourceClass::Other, "a");
    let b = apf.flow(SCHEDULER, ResourceClass::Other, "b");
    assert_eq!(burst(&mut apf, 0, a, 0..500), (114, 300, 86));
    let (execute, queued, _) = burst(&mut apf, 0, b, 500..1000);
    assert_eq!(execute, 0);
    assert!(queued >= 200, "{queued}: most of six queues are not shared");
}

#[test]
fn a_request_that_waits_too_long_is_rejected() {
    let mut apf = Apf::with_defaults(600);
    let flow = apf.flow(SCHEDULER, ResourceClass::Other, "default");
    burst(&mut apf, 0, flow, 0..200);
    let deadline = QUEUE_WAIT_LIMIT_NS;
    assert_eq!(deadline, 15 * SECOND);
    assert_eq!(apf.expire(deadline, 0, 0), None, "executes");
    assert_eq!(apf.expire(deadline, 150, 0), Some(1));
    assert_eq!(apf.expire(deadline, 150, 0), None, "already gone");
    assert_eq!(apf.expire(deadline, 100_000, 0), None, "never seen");
    // The id is free; the old timer does not concern its new bearer.
    let mut ready = Vec::new();
    assert_eq!(apf.arrive(deadline, flow, 150, Width::ONE, &mut ready), Admission::Queued);
    assert_eq!(apf.expire(deadline + 1, 150, 0), None);
    let level = status(&apf, "workload-high");
    assert_eq!((level.rejected_time_out, level.waiting, level.executing), (1, 86, 114));
}

#[test]
fn retry_after_doubles_under_lasting_overload_level_by_level() {
    let mut apf = Apf::with_defaults(600);
    let scheduler = apf.flow(SCHEDULER, ResourceClass::Other, "default");
    let yunikorn = apf.flow(YUNIKORN, ResourceClass::Other, "default");
    burst(&mut apf, 0, scheduler, 0..414);
    burst(&mut apf, 0, yunikorn, 1000..1356);
    let mut seen = Vec::new();
    for second in 0..64 {
        for _ in 0..10 {
            let Admission::Rejected { retry_after_s } =
                apf.arrive(second * SECOND, scheduler, 500, Width::ONE, &mut Vec::new())
            else {
                panic!("the level is full")
            };
            if seen.last() != Some(&retry_after_s) {
                seen.push(retry_after_s);
            }
        }
    }
    assert_eq!(seen, [1, 2, 4, 8, 16, 32]);
    assert_eq!(
        apf.arrive(64 * SECOND, yunikorn, 1500, Width::ONE, &mut Vec::new()),
        Admission::Rejected { retry_after_s: 1 }
    );
}

#[test]
fn masters_are_never_limited_and_take_nothing_from_others() {
    let mut apf = Apf::with_defaults(600);
    let admin = apf.flow(Identity::Masters, ResourceClass::Other, "default");
    assert_eq!(burst(&mut apf, 0, admin, 0..5000), (5000, 0, 0));
    let scheduler = apf.flow(SCHEDULER, ResourceClass::Other, "default");
    assert_eq!(burst(&mut apf, 0, scheduler, 5000..5114), (114, 0, 0));
    // Until the next adjustment: 5,000 exempt seats leave everyone the minimum.
    apf.adjust(ADJUST_PERIOD_NS, &mut Vec::new());
    assert_eq!(status(&apf, "workload-high").limit_seats, 49);
    assert_eq!(status(&apf, "exempt").limit_seats, 5000);
}

#[test]
fn the_catch_all_level_has_no_queue() {
    let mut apf = Apf::with_defaults(600);
    let flow = apf.flow_of(Classification {
        schema: "catch-all",
        level: LEVELS.iter().position(|level| level.name == "catch-all").unwrap(),
        distinguisher: "someone".to_owned(),
    });
    assert_eq!(burst(&mut apf, 0, flow, 0..40), (30, 0, 10));
    assert_eq!(status(&apf, "catch-all").rejected_concurrency_limit, 10);
}

#[test]
fn a_watched_write_holds_its_seats_after_its_answer() {
    let mut apf = Apf::with_defaults(600);
    let flow = apf.flow(SCHEDULER, ResourceClass::Other, "default");
    let width = Width::mutating(30, apf.max_seats(flow));
    let mut ready = Vec::new();
    assert_eq!(apf.arrive(0, flow, 7, width, &mut ready), Admission::Execute);
    let linger = apf.finish(2 * MS, 7, &mut ready).unwrap();
    assert_eq!(linger.until_ns, 7 * MS);
    assert_eq!((status(&apf, "workload-high").seats_in_use, status(&apf, "workload-high").executing), (3, 0));
    // The client goes on under the same id at once.
    assert_eq!(apf.arrive(2 * MS, flow, 7, width, &mut ready), Admission::Execute);
    apf.release(linger.until_ns, linger.hold, &mut ready);
    assert_eq!(status(&apf, "workload-high").seats_in_use, 3);
    assert!(ready.is_empty());
}

/// With a handful of seats the lendable part is rounded up to all of a level: its limit is 0 while idle, and its
/// first requests wait for the next adjustment.
#[test]
fn tiny_servers_make_a_burst_wait_for_the_next_adjustment() {
    for total_seats in 0..20 {
        let mut apf = Apf::with_defaults(total_seats);
        let flow = apf.flow(SCHEDULER, ResourceClass::Other, "default");
        let limit = status(&apf, "workload-high").limit_seats;
        assert_eq!(burst(&mut apf, 0, flow, 0..400), (limit, 300, 100 - limit));
        let mut ready = Vec::new();
        apf.adjust(ADJUST_PERIOD_NS, &mut ready);
        assert!(limit + ready.len() as u32 >= 1, "{total_seats}");
    }
    assert_eq!(status(&Apf::with_defaults(1), "workload-high").limit_seats, 0);
}

#[test]
fn the_admitter_is_one_face_for_all_three() {
    let mut ready = Vec::new();
    let rejected = |admitter: &mut Admitter, identity| {
        let flow = admitter.flow(identity, ResourceClass::Other, "default");
        (0..1000)
            .map(|id| admitter.arrive(0, flow, id, RequestKind::Mutating, Width::ONE, &mut Vec::new()))
            .filter(|admission| matches!(admission, Admission::Rejected { retry_after_s: 1 }))
            .count()
    };
    let mut apf = Admitter::Apf(Box::new(Apf::with_defaults(600)));
    assert_eq!(rejected(&mut apf, SCHEDULER), 586);
    assert!(apf.adjusts());
    assert_eq!(apf.finish(MS, 0, &mut ready), None);
    assert_eq!(ready.len(), 1);
    let mut plain = Admitter::Plain(PlainInFlight::new(400, 200));
    assert_eq!(rejected(&mut plain, SCHEDULER), 800);
    assert_eq!(rejected(&mut Admitter::Plain(PlainInFlight::new(400, 200)), Identity::Masters), 0);
    assert_eq!(plain.finish(MS, 0, &mut ready), None);
    let flow = plain.flow(SCHEDULER, ResourceClass::Other, "other");
    assert_eq!(plain.arrive(MS, flow, 0, RequestKind::Mutating, Width::ONE, &mut ready), Admission::Execute);
    assert_eq!(plain.expire(MS, 0, 0), None);
    assert_eq!(rejected(&mut Admitter::Unlimited, SCHEDULER), 0);
}

proptest! {
    /// Ten clients over a minute of arrivals, executions, expiries and adjustments: every request ends in exactly
    /// one way, and nothing is left behind. (That no dispatch exceeds a limit is asserted at every dispatch.)
    #[test]
    fn every_request_is_accounted_for(
        total_seats in 1u32..200,
        arrivals in prop::collection::vec((0u64..40, 0usize..10, 0u32..60, 1u64..3000), 1..600),
    ) {
        let mut apf = Apf::with_defaults(total_seats);
        let clients: Vec<FlowId> = [
            (Identity::Masters, ResourceClass::Other, "a"),
            (SCHEDULER, ResourceClass::Other, "a"),
            (SCHEDULER, ResourceClass::Other, "b"),
            (SCHEDULER, ResourceClass::Leases, "a"),
            (YUNIKORN, ResourceClass::Other, "a"),
            (Identity::User("system:kube-controller-manager"), ResourceClass::Other, "a"),
            (Identity::User("loader"), ResourceClass::Other, "a"),
            (Identity::Node("n1"), ResourceClass::Leases, ""),
            (Identity::Node("n1"), ResourceClass::Other, "a"),
            (Identity::Node("n2"), ResourceClass::Other, "a"),
        ]
        .map(|(identity, class, namespace)| apf.flow(identity, class, namespace))
        .to_vec();

        #[derive(PartialEq, Eq, PartialOrd, Ord)]
        enum Event { Release { level: u8, seats: u32 }, Finish(u32), Expire(u32, u64), Adjust, Arrive(u32) }
        let mut events = std::collections::BTreeSet::new();
        let mut sequence = 0;
        let mut at = 0;
        for (index, arrival) in arrivals.iter().enumerate() {
            at += arrival.0 * MS;
            events.insert((at, index, Event::Arrive(index as u32)));
        }
        events.insert((ADJUST_PERIOD_NS, 0, Event::Adjust));
        let (mut executed, mut rejected) = (0u64, 0u64);
        while let Some((now, _, event)) = events.pop_first() {
            let mut ready = Vec::new();
            match event {
                Event::Arrive(id) => {
                    let (_, client, watchers, _) = arrivals[id as usize];
                    let width = Width::mutating(watchers, apf.max_seats(clients[client]));
                    match apf.arrive(now, clients[client], id, width, &mut ready) {
                        Admission::Execute => ready.push(id),
                        Admission::Queued => {
                            events.insert((now + QUEUE_WAIT_LIMIT_NS, id as usize, Event::Expire(id, now)));
                        }
                        Admission::Rejected { .. } => rejected += 1,
                    }
                }
                Event::Finish(id) => {
                    executed += 1;
                    if let Some(linger) = apf.finish(now, id, &mut ready) {
                        let Hold { level, seats } = linger.hold;
                        sequence += 1;
                        events.insert((linger.until_ns, sequence, Event::Release { level, seats }));
                    }
                }
                Event::Release { level, seats } => apf.release(now, Hold { level, seats }, &mut ready),
                Event::Expire(id, arrived) => rejected += u64::from(apf.expire(now, id, arrived).is_some()),
                Event::Adjust => {
                    apf.adjust(now, &mut ready);
                    for level in apf.levels().filter(|level| level.name != "exempt") {
                        prop_assert!((level.min_seats..=level.max_seats).contains(&level.limit_seats));
                    }
                    if !events.is_empty() {
                        events.insert((now + ADJUST_PERIOD_NS, 0, Event::Adjust));
                    }
                }
            }
            for id in ready {
                events.insert((now + arrivals[id as usize].3 * MS, id as usize, Event::Finish(id)));
            }
        }
        prop_assert_eq!(executed + rejected, arrivals.len() as u64);
        let total = |of: fn(&LevelStatus) -> u64| apf.levels().map(|level| of(&level)).sum::<u64>();
        prop_assert_eq!(total(|l| l.dispatched), executed);
        prop_assert_eq!(
            total(|l| l.rejected_queue_full + l.rejected_concurrency_limit + l.rejected_time_out),
            rejected
        );
        prop_assert_eq!(total(|l| u64::from(l.seats_in_use + l.waiting + l.executing)), 0);
    }
}
