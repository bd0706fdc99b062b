//! Kueue's fair sharing. The facts of `TestDominantResourceShare` and `TestIsBorrowingOn` (`pkg/cache/scheduler/fair_sharing_test.go`), `TestMakeClusterQueueOrdering`
//! (`pkg/scheduler/preemption/fairsharing/ordering_test.go`), `TestFairPreemptions` (`pkg/scheduler/preemption/preemption_fair_test.go`) and
//! `TestScheduleForFairSharing` (`pkg/scheduler/scheduler_fs_test.go`) of Kueue 0.19.2, a line or a tree each.
use std::collections::BTreeSet;

use podpace::control_plane::controllers::kueue::config::{Policy, Preemption, Strategies, Workload};
use podpace::control_plane::controllers::kueue::cycle::{Cycles, Outcome, Why};
use podpace::control_plane::controllers::kueue::fair_preemption::QueueOrder;
use podpace::control_plane::controllers::kueue::preemption::Reason;
use podpace::control_plane::controllers::kueue::quota::{Quota, Quotas};
use podpace::control_plane::controllers::kueue::share::{Share, borrows_on};
use podpace::engine::SECOND;

use crate::kueue_tree::{
    BOTH, Held, LOWER, NONE, RECLAIM, Tree, evicted, held, limited, nominal, preemption, unlent,
    with_priority,
};
use Reason::{InClusterQueue as Own, InCohortFairSharing as Fair, InCohortReclamation as Reclaim};

/// What `cq` uses and is asked for, and what the shares are then, in thousandths and rounded up; those not listed are zero and do not borrow.
#[test]
fn shares_are_those_of_the_real_test() {
    type Case<'a> = (&'a str, Tree, &'a [i64], &'a [(&'a str, i64)]);
    let pair = |cq: &[Quota], lending: &[Quota], milli: u128| {
        Tree::new(1, cq.len() as u16).queue("cq", "test-cohort", cq, milli, NONE).queue(
            "lending-cq",
            "test-cohort",
            lending,
            1000,
            NONE,
        )
    };
    let both = || pair(&[nominal(2000), nominal(5)], &[nominal(8000), nominal(5)], 1000);
    // GPUs alone.
    let gpus = |own: i64, lent: i64, milli: u128| {
        pair(&[nominal(0), nominal(own)], &[nominal(0), nominal(lent)], milli)
    };
    let child = |own: i64, quota: Option<Quota>, root: i64, milli: u128| {
        let quotas: Vec<Quota> = quota.map(|quota| vec![nominal(0), quota]).unwrap_or_default();
        Tree::new(1, 2)
            .queue("cq", "child-cohort", &[nominal(0), nominal(own)], 1000, NONE)
            .cohort("child-cohort", "root", &quotas, milli)
            .cohort("root", "", &[nominal(0), nominal(root)], 1000)
    };
    let flavors = Tree::new(3, 1)
        .queue("cq", "test-cohort", &[nominal(20_000), nominal(80_000), nominal(0)], 1000, NONE)
        .queue("lending-cq", "test-cohort", &[nominal(0), nominal(0), nominal(100_000)], 1000, NONE);
    let cases: Vec<Case<'_>> = vec![
        (
            "no cohort",
            Tree::new(1, 2).queue("cq", "", &[nominal(2000), nominal(5)], 1000, NONE),
            &[1000, 2],
            &[],
        ),
        ("usage below nominal", both(), &[1000, 2], &[]),
        ("usage above nominal", both(), &[3000, 7], &[("cq", 200)]),
        ("slightly above nominal, large quotas", gpus(500, 1000, 1000), &[0, 501], &[("cq", 1)]),
        ("way above nominal, large quotas and weights", gpus(500, 1000, 300_000), &[0, 800], &[("cq", 1)]),
        ("one resource above nominal", both(), &[3000, 3], &[("cq", 100)]),
        ("with a workload above nominal", both(), &[1000 + 4000, 2 + 4], &[("cq", 300)]),
        (
            "a resource with nothing to lend",
            pair(&[nominal(2000), unlent(2)], &[nominal(8000), unlent(64)], 1000),
            &[1000 + 4000, 1 + 4],
            &[("cq", 300)],
        ),
        ("multiple flavors", flavors, &[15_000 + 10_000, 5000, 0], &[("cq", 25)]),
        ("integer weight", gpus(5, 5, 2000), &[0, 7], &[("cq", 100)]),
        ("decimal weight", gpus(5, 5, 500), &[0, 7], &[("cq", 400)]),
        ("zero weight", gpus(5, 10, 0), &[0, 7], &[("cq", i64::MAX)]),
        ("a cohort has a share", child(5, None, 45, 2000), &[0, 10], &[("cq", 100), ("child-cohort", 50)]),
        (
            "resources of the root cohort alone",
            child(0, None, 50, 2000),
            &[0, 10],
            &[("cq", 200), ("child-cohort", 100)],
        ),
        (
            "affected by a borrowing limit",
            child(0, Some(limited(0, 10)), 50, 1000),
            &[0, 10],
            &[("cq", 1000), ("child-cohort", 200)],
        ),
        ("lendable without limit", pair(&[nominal(0)], &[nominal(i64::MAX)], 1000), &[1000], &[("cq", 1)]),
    ];
    for (name, tree, usage, expected) in cases {
        let mut quotas = Quotas::of(&tree.config);
        for (cell, amount) in usage.iter().enumerate() {
            quotas.add(0, cell, *amount);
        }
        let cohorts = tree.config.cohorts.iter().map(|c| c.name.clone());
        for node in tree.config.queues.iter().map(|q| q.name.clone()).chain(cohorts) {
            let share = Share::of(&quotas, tree.node(&node));
            let wanted = expected.iter().find(|(of, _)| *of == node).map_or(0, |(_, share)| *share);
            assert_eq!((share.rounded(), share.borrows()), (wanted, wanted > 0), "{name}: {node}");
        }
    }
}

/// `TestIsBorrowingOn`: a queue of 2 CPUs and 5 GPUs; what it uses, what is asked for, whether it borrows that, and anything.
#[test]
fn a_queue_borrows_what_is_asked_for_or_something_else() {
    let tree = Tree::new(1, 2).queue("cq", "cohort", &[nominal(2000), nominal(5)], 1000, NONE).queue(
        "lending-cq",
        "cohort",
        &[nominal(8000), nominal(5)],
        1000,
        NONE,
    );
    type Case<'a> = (&'a [(usize, i64)], &'a [(usize, i64)], bool, bool);
    let cases: [Case<'_>; 5] = [
        (&[(0, 3000)], &[(0, 1000)], true, true),
        (&[(0, 1000), (1, 7)], &[(0, 1000)], false, true),
        (&[(0, 3000), (1, 7)], &[(1, 1)], true, true),
        (&[(0, 1000), (1, 2)], &[(0, 1000)], false, false),
        (&[(0, 3000)], &[], false, true),
    ];
    for (usage, asked, on_asked, on_any) in cases {
        let mut quotas = Quotas::of(&tree.config);
        usage.iter().for_each(|(cell, amount)| quotas.add(0, *cell, *amount));
        assert_eq!(borrows_on(&quotas, 0, asked), on_asked, "{usage:?} {asked:?}");
        assert_eq!(Share::of(&quotas, 0).borrows(), on_any, "{usage:?}");
    }
}

/// `TestMakeClusterQueueOrdering`: queues in the order in which they are asked, a candidate taken each time, or the first queue dropped.
#[test]
fn the_queue_with_the_largest_share_is_asked_first() {
    let alone = || Tree::new(1, 1).queue("preemptor", "", &[nominal(4)], 1000, NONE);
    let flat = |queues: &[(&str, i64)]| {
        let tree = Tree::new(1, 1).queue("preemptor", "all", &[nominal(4)], 1000, NONE);
        queues
            .iter()
            .fold(tree, |tree, (name, quota)| tree.queue(name, "all", &[nominal(*quota)], 1000, NONE))
    };
    let nested = Tree::new(1, 1)
        .queue("preemptor", "root", &[nominal(4)], 1000, NONE)
        .queue("left-cq", "left-cohort", &[nominal(2)], 1000, NONE)
        .queue("right-cq", "right-cohort", &[nominal(2)], 1000, NONE)
        .cohort("left-cohort", "root", &[], 1000)
        .cohort("right-cohort", "root", &[], 1000);
    type Case<'a> = (&'a str, Tree, &'a [(&'a str, i64)], bool, &'a [&'a str]);
    let cases: Vec<Case<'_>> = vec![
        ("no cohort", alone(), &[("preemptor", 1)], false, &["preemptor"]),
        ("no cohort, dropped", alone(), &[("preemptor", 1), ("preemptor", 1)], true, &["preemptor"]),
        ("one that does not borrow", flat(&[("target", 5)]), &[("target", 2)], false, &[]),
        (
            "the higher share",
            flat(&[("high", 2), ("low", 2)]),
            &[("high", 5), ("low", 3)],
            false,
            &["high", "low"],
        ),
        (
            "again, while it has candidates",
            flat(&[("high", 2), ("low", 2)]),
            &[("high", 3), ("high", 2), ("low", 3)],
            false,
            &["high", "high", "low"],
        ),
        (
            "dropped",
            flat(&[("high", 2), ("low", 2)]),
            &[("high", 3), ("high", 2), ("low", 3)],
            true,
            &["high", "low"],
        ),
        ("subtrees", nested, &[("left-cq", 5), ("right-cq", 3)], false, &["left-cq", "right-cq"]),
    ];
    for (name, tree, holders, drops, expected) in cases {
        let mut quotas = Quotas::of(&tree.config);
        let mut candidates = Vec::new();
        for (place, (queue, amount)) in holders.iter().enumerate() {
            quotas.add(tree.index(queue), 0, *amount);
            candidates.push((tree.index(queue), place, place as u32));
        }
        let mut order = QueueOrder::new(&quotas, tree.index("preemptor"), &candidates);
        let mut got = Vec::new();
        while let Some(queue) = order.next(&quotas) {
            got.push(tree.config.queues[queue].name.as_str());
            if drops && got.len() == 1 {
                order.drop_queue(queue);
            } else {
                assert!(order.pop(queue).is_some());
            }
            assert!(got.len() < 50);
        }
        assert_eq!(got, expected, "{name}");
    }
}

/// Three queues of 3 CPUs, and one of none that may be taken from.
fn base() -> Tree {
    let queue = |tree: Tree, name: &str| tree.queue(name, "all", &[nominal(3000)], 1000, BOTH);
    let tree = ["a", "b", "c"].into_iter().fold(Tree::new(1, 1), queue);
    tree.queue("preemptible", "all", &[nominal(0)], 1000, NONE)
}

/// The weights of a and b, and quotas of 3 CPUs.
fn weighted(a: u128, b: u128) -> Tree {
    Tree::new(1, 1)
        .queue("a", "all", &[nominal(3000)], a, BOTH)
        .queue("b", "all", &[nominal(3000)], b, BOTH)
        .queue("c", "all", &[nominal(3000)], 1000, BOTH)
}

fn with_strategies(strategies: Strategies) -> Tree {
    let mut tree = base();
    tree.config.fair = Some(strategies);
    tree
}

/// `TestFairPreemptions`: queues of one cohort.
#[test]
fn fair_preemption_in_one_cohort() {
    let units = [1.0; 9];
    let unit = &units[..];
    type Case<'a> = (&'a str, Tree, Vec<Vec<Held<'a>>>, (&'a str, f64), &'a [(&'a str, Reason)]);
    let cases: Vec<Case<'_>> = vec![
        (
            "reclaim nominal from who uses most",
            base(),
            vec![held("a", &unit[..3]), held("b", &unit[..5]), held("c", &unit[..1])],
            ("c", 1.0),
            &[("b1", Reclaim)],
        ),
        (
            "reclaim from a queue that uses less, if the latest of who uses most is not enough",
            base(),
            vec![held("a", &[3.0, 1.0]), held("b", &[2.0, 3.0])],
            ("c", 3.0),
            &[("a1", Reclaim)],
        ),
        (
            "reclaim borrowable quota from who uses most",
            base(),
            vec![held("a", &unit[..3]), held("b", &unit[..5]), held("c", &unit[..1])],
            ("a", 1.0),
            &[("b1", Fair)],
        ),
        (
            "one from each that borrows",
            base(),
            vec![held("a", &[0.5, 0.5, 3.0]), held("b", &[0.5, 0.5, 3.0])],
            ("c", 2.0),
            &[("a1", Reclaim), ("b1", Reclaim)],
        ),
        (
            "everyone under nominal",
            base(),
            vec![held("a", &unit[..3]), held("b", &unit[..3]), held("c", &unit[..3])],
            ("c", 1.0),
            &[],
        ),
        (
            "it would switch the imbalance",
            base(),
            vec![held("a", &unit[..3]), held("b", &unit[..5])],
            ("a", 2.0),
            &[],
        ),
        (
            "lower priorities of the same queue",
            base(),
            vec![with_priority("a", &[(1.0, -1), (1.0, -1), (1.0, 0), (1.0, 0)]), held("b", &unit[..5])],
            ("a", 2.0),
            &[("a1", Own), ("a2", Own)],
        ),
        (
            "the same queue and who uses most",
            base(),
            vec![with_priority("a", &[(1.0, -1), (1.0, 0), (1.0, 0)]), held("b", &unit[..6])],
            ("a", 2.0),
            &[("a1", Own), ("b1", Fair)],
        ),
        (
            "a huge one, if the share is lower",
            base(),
            vec![held("b", &[9.0])],
            ("a", 2.0),
            &[("b1", Reclaim)],
        ),
        (
            "not a huge one for a huge one",
            base(),
            vec![held("a", &[2.0]), held("b", &[7.0])],
            ("a", 5.0),
            &[],
        ),
        ("not two smaller ones for a huge one", base(), vec![held("b", &[2.0, 2.0, 3.0])], ("a", 6.0), &[]),
        (
            "from its own and others, even beyond nominal",
            base(),
            vec![with_priority("a", &[(2.0, -1), (1.0, -1)]), held("b", &[3.0, 3.0])],
            ("a", 4.0),
            &[("a1", Own), ("b1", Fair)],
        ),
        (
            "rather those that do not give it the largest share",
            base(),
            vec![held("b", &[2.0, 1.0, 2.0]), held("c", &[1.0])],
            ("a", 3.5),
            &[("b2", Fair)],
        ),
        (
            "from different queues, if the largest share gets smaller",
            base(),
            vec![held("b", &[2.0, 2.5]), held("c", &[2.0, 2.5])],
            ("a", 3.5),
            &[("b1", Fair), ("c1", Fair)],
        ),
        (
            "that does not flap",
            base(),
            vec![held("a", &[3.5]), held("b", &[2.5]), held("c", &[2.5])],
            ("b", 2.0),
            &[],
        ),
        (
            "not if a queue went under nominal",
            base(),
            vec![held("b", &[3.0, 3.0]), held("c", &[3.0])],
            ("a", 4.0),
            &[],
        ),
        (
            "low priorities are not taken for that alone",
            base(),
            vec![
                held("a", &unit[..3]),
                held("b", &unit[..3]),
                with_priority("preemptible", &[(1.0, -3), (1.0, -3), (1.0, -3)]),
            ],
            ("a", 2.0),
            &[],
        ),
        (
            "LessThanInitialShare: lower priority first, even if big",
            with_strategies(Strategies::InitialShare),
            vec![held("a", &[3.0]), with_priority("b", &[(5.0, 0), (1.0, 1)])],
            ("a", 1.0),
            &[("b1", Fair)],
        ),
        (
            "LessThanOrEqualToFinalShare: who keeps the balance, even if of high priority",
            with_strategies(Strategies::FinalShare),
            vec![held("a", &[3.0]), with_priority("b", &[(5.0, 0), (1.0, 1)])],
            ("a", 1.0),
            &[("b2", Fair)],
        ),
        (
            "more weight, more preemption",
            weighted(2000, 1000),
            vec![held("a", &unit[..3]), held("b", &unit[..6])],
            ("a", 2.0),
            &[("b1", Fair), ("b2", Fair)],
        ),
        (
            "anything that weight 0 borrows",
            weighted(1000, 0),
            vec![held("a", &unit[..3]), held("b", &unit[..6])],
            ("a", 3.0),
            &[("b1", Fair), ("b2", Fair), ("b3", Fair)],
        ),
        (
            "not the nominal quota of weight 0",
            weighted(1000, 0),
            vec![held("a", &unit[..3]), held("b", &unit[..3]), held("c", &unit[..3])],
            ("a", 1.0),
            &[],
        ),
        (
            "of weight 0, not from one with a weight",
            Tree::new(1, 1).queue("a", "all", &[nominal(1000)], 0, RECLAIM).queue(
                "b",
                "all",
                &[nominal(1000)],
                1000,
                NONE,
            ),
            vec![held("a", &unit[..1]), held("b", &unit[..2])],
            ("a", 1.0),
            &[],
        ),
        (
            "of weight 0, from another of weight 0",
            Tree::new(1, 1)
                .cohort("all", "", &[nominal(3000)], 1000)
                .queue("a", "all", &[nominal(1000)], 0, RECLAIM)
                .queue("b", "all", &[nominal(0)], 0, NONE),
            vec![held("b", &unit[..3])],
            ("a", 2.0),
            &[("b1", Fair)],
        ),
        (
            "the same with weights",
            Tree::new(1, 1)
                .cohort("all", "", &[nominal(3000)], 1000)
                .queue("a", "all", &[nominal(1000)], 1000, RECLAIM)
                .queue("b", "all", &[nominal(0)], 1000, NONE),
            vec![held("b", &unit[..3])],
            ("a", 2.0),
            &[("b1", Fair)],
        ),
        (
            "weight 0 takes its nominal quota back",
            Tree::new(1, 1).queue("a", "ROOT", &[nominal(1000)], 0, RECLAIM).queue(
                "b",
                "ROOT",
                &[nominal(0)],
                1000,
                NONE,
            ),
            vec![held("b", &unit[..1])],
            ("a", 1.0),
            &[("b1", Reclaim)],
        ),
    ];
    for (name, tree, holders, (queue, cpus), expected) in cases {
        let got = evicted(&tree, &holders.concat(), &held(queue, &[cpus])[0]);
        let expected = expected.iter().map(|(name, reason)| ((*name).to_owned(), *reason)).collect();
        assert_eq!(got, expected, "{name}");
    }
}

/// `TestFairPreemptions`: trees of cohorts, a queue without one, and several flavors.
#[test]
fn fair_preemption_in_a_tree() {
    let priorities = [(1.0, 1), (1.0, 2), (1.0, 3), (1.0, 4), (1.0, 5)];
    let five = |queue| with_priority(queue, &priorities);
    let low = |queue, count| with_priority(queue, &vec![(1.0, -1); count]);
    let cpu = |cpus: i64| [nominal(cpus * 1000)];
    let deep = ["A", "B", "C"].into_iter().fold(Tree::new(1, 1), |tree, side| {
        let milli = [("A", 1010), ("B", 990), ("C", 1000)].iter().find(|(s, _)| *s == side).unwrap().1;
        tree.cohort(side, "ROOT", &[], milli).cohort(&side.repeat(2), side, &[], 1000).cohort(
            &side.repeat(3),
            &side.repeat(2),
            &[],
            1000,
        )
    });
    type Case<'a> = (&'a str, Tree, Vec<Vec<Held<'a>>>, Held<'a>, &'a [(&'a str, Reason)]);
    let one = |queue, cpus| held(queue, &[cpus])[0].clone();
    let cases: Vec<Case<'_>> = vec![
        (
            "not the nominal quota of a cohort of weight 0",
            Tree::new(1, 1)
                .queue("left", "root", &cpu(0), 1000, RECLAIM)
                .queue("right", "right-cohort", &cpu(0), 0, RECLAIM)
                .cohort("right-cohort", "root", &cpu(1), 0),
            vec![held("right", &[1.0])],
            one("left", 1.0),
            &[],
        ),
        (
            "within a queue that has no cohort",
            Tree::new(1, 1).queue("a", "", &cpu(1), 1000, LOWER),
            vec![held("a", &[1.0])],
            with_priority("a", &[(1.0, 1000)])[0].clone(),
            &[("a1", Own)],
        ),
        (
            "hierarchical preemption",
            Tree::new(1, 1)
                .cohort("ROOT", "", &cpu(5), 1000)
                .cohort("LEFT", "ROOT", &cpu(5), 2000)
                .cohort("RIGHT", "ROOT", &cpu(5), 1000)
                .queue("a", "LEFT", &cpu(1), 2000, RECLAIM)
                .queue("b", "LEFT", &cpu(1), 1000, NONE)
                .queue("c", "ROOT", &cpu(1), 1000, NONE)
                .queue("d", "RIGHT", &cpu(1), 1000, NONE)
                .queue("e", "RIGHT", &cpu(1), 990, NONE),
            vec![five("b"), five("c"), five("d"), five("e")],
            one("a", 5.0),
            &[("b1", Fair), ("b2", Fair), ("c1", Fair), ("c2", Fair), ("e1", Fair)],
        ),
        (
            "a queue that borrows in a cohort that does not",
            Tree::new(1, 1)
                .queue("a", "ROOT", &cpu(5), 10_000, BOTH)
                .queue("b", "RIGHT", &cpu(0), 100, NONE)
                .cohort("RIGHT", "ROOT", &cpu(1), 100),
            vec![low("a", 3), low("b", 1)],
            one("a", 5.0),
            &[("a1", Own), ("a2", Own), ("a3", Own)],
        ),
        (
            "within its own queue, because the other one is too important",
            Tree::new(1, 1)
                .queue("a", "ROOT", &cpu(5), 10_000, preemption(Policy::LowerPriority, Policy::LowerPriority))
                .queue("b", "RIGHT", &cpu(0), 100, NONE)
                .cohort("RIGHT", "ROOT", &cpu(3), 100),
            vec![low("a", 3), with_priority("b", &[(4.0, 100)])],
            one("a", 4.0),
            &[("a1", Own), ("a2", Own), ("a3", Own)],
        ),
        (
            "deep preemption",
            deep.cohort("CCCC", "CCC", &cpu(1), 1000).queue("a", "AAA", &cpu(0), 1000, RECLAIM).queue(
                "b",
                "BBB",
                &cpu(0),
                1000,
                NONE,
            ),
            vec![held("b", &[1.0])],
            one("a", 1.0),
            &[("b1", Fair)],
        ),
        (
            "a cohort of weight 0 takes its nominal quota back",
            Tree::new(1, 1)
                .queue("a", "A", &cpu(0), 0, RECLAIM)
                .queue("b", "ROOT", &cpu(0), 1000, NONE)
                .cohort("A", "ROOT", &cpu(1), 0),
            vec![held("b", &[1.0])],
            one("a", 1.0),
            &[("b1", Fair)],
        ),
        (
            "within nominal quota of the flavor, despite a large share",
            Tree::new(2, 1).queue("a", "all", &[nominal(3000), nominal(0)], 1000, RECLAIM).queue(
                "b",
                "all",
                &[nominal(0), nominal(6000)],
                1000,
                NONE,
            ),
            vec![
                held("a", &[1.0; 2]),
                held("a", &[1.0; 5]).into_iter().map(|w| Held { flavor: 1, ..w }).collect(),
                held("b", &[1.0]),
            ],
            one("a", 1.0),
            &[("b1", Reclaim)],
        ),
        (
            "who the first strategy passed over is there for the second",
            Tree::new(1, 1)
                .cohort("A", "ROOT", &cpu(1), 0)
                .queue("p", "A", &cpu(2), 1000, RECLAIM)
                .queue("y", "A", &cpu(2), 1000, NONE)
                .queue("x", "ROOT", &cpu(1), 1000, NONE),
            vec![held("p", &[2.0]), held("y", &[2.0, 2.0]), held("x", &[1.0, 1.0])],
            one("p", 1.0),
            &[("y1", Fair), ("x1", Fair)],
        ),
    ];
    for (name, tree, holders, incoming, expected) in cases {
        let got = evicted(&tree, &holders.concat(), &incoming);
        let expected = expected.iter().map(|(name, reason)| ((*name).to_owned(), *reason)).collect();
        assert_eq!(got, expected, "{name}");
    }
}

/// Rules of `fairsharing/ordering.go` and `preemption.go` that none of those tests needs.
#[test]
fn fair_preemption_goes_round_the_members() {
    let cpu = |cpus: i64| [nominal(cpus * 1000)];
    let pool = |cpus: i64, policy| {
        Tree::new(1, 1).cohort("all", "", &cpu(cpus), 1000).queue("a", "all", &cpu(0), 1000, policy)
    };
    let lower = preemption(Policy::Never, Policy::LowerPriority);
    type Case<'a> = (&'a str, Tree, Vec<Vec<Held<'a>>>, f64, &'a [&'a str]);
    let cases: Vec<Case<'_>> = vec![
        (
            "after each that goes the largest share is looked for anew",
            pool(10, RECLAIM).queue("b", "all", &cpu(0), 1000, NONE).queue("c", "all", &cpu(0), 1000, NONE),
            vec![held("b", &[1.0; 5]), held("c", &[1.0; 5])],
            2.0,
            &["b1", "c1"],
        ),
        (
            "of a queue and a cohort with equal shares the cohort is gone into",
            pool(8, RECLAIM)
                .queue("c", "all", &cpu(0), 1000, NONE)
                .queue("d", "X", &cpu(0), 1000, NONE)
                .cohort("X", "all", &[], 1000),
            vec![held("c", &[1.0; 4]), held("d", &[1.0; 4])],
            1.0,
            &["d1"],
        ),
        (
            "its own cohort is gone into though it does not borrow",
            Tree::new(1, 1)
                .cohort("LEFT", "ROOT", &cpu(4), 1000)
                .queue("a", "LEFT", &cpu(0), 1000, lower)
                .queue("b", "LEFT", &cpu(0), 1000, NONE)
                .queue("c", "ROOT", &cpu(0), 1000, NONE),
            vec![with_priority("b", &[(1.0, -1), (1.0, -1)]), with_priority("c", &[(1.0, 9), (1.0, 9)])],
            1.0,
            &["b1"],
        ),
    ];
    for (name, tree, holders, cpus, expected) in cases {
        let got = evicted(&tree, &holders.concat(), &held("a", &[cpus])[0]);
        assert_eq!(got, expected.iter().map(|who| ((*who).to_owned(), Fair)).collect(), "{name}");
    }
}

/// "preempt workload from CQ with the highest share" of `TestScheduleForFairSharing`: of two flavors; one queue has more than its limit lets it have.
#[test]
fn those_with_the_highest_shares_make_room_in_turn() {
    let tree = Tree::new(2, 1)
        .queue("alpha", "eng", &[limited(50_000, 50_000), limited(100_000, 0)], 1000, NONE)
        .queue("beta", "eng", &[limited(50_000, 10_000), limited(0, 100_000)], 1000, BOTH)
        .queue("gamma", "eng", &[limited(50_000, 0), nominal(0)], 1000, NONE);
    let spot = Held { flavor: 1, ..held("alpha", &[100.0])[0].clone() };
    let holders = [held("alpha", &[20.0; 4]), held("gamma", &[10.0, 20.0, 20.0, 20.0]), vec![spot]].concat();
    let expected = [("alpha1", Reclaim), ("gamma1", Reclaim)].map(|(name, reason)| (name.to_owned(), reason));
    assert_eq!(evicted(&tree, &holders, &held("beta", &[30.0])[0]), BTreeSet::from(expected));
}

/// A job: its name, its queue, its CPUs (or what it asks for by resource), its priority.
#[derive(Clone)]
pub(crate) struct Job {
    name: &'static str,
    queue: &'static str,
    asks: Vec<(usize, i64)>,
    priority: i32,
    created_s: u64,
    /// The only flavor that suits it.
    flavor: Option<usize>,
}

pub(crate) fn job(name: &'static str, queue: &'static str, cpus: i64) -> Job {
    Job { name, queue, asks: vec![(0, cpus)], priority: 0, created_s: 0, flavor: None }
}

/// What one cycle makes of pending jobs beside those that were admitted before, and the flavors of what it admits.
pub(crate) fn one_cycle(tree: &Tree, admitted: &[Job], pending: &[Job]) -> (Outcome, Vec<Vec<usize>>) {
    let mut config = tree.config.clone();
    let flavors = config.flavors.len();
    let all: Vec<&Job> = admitted.iter().chain(pending).collect();
    config.workloads = (0..)
        .zip(&all)
        .map(|(id, job)| Workload {
            pods: (id, id + 1),
            spec: id,
            queue: tree.index(job.queue),
            priority: job.priority,
            requests: job
                .asks
                .iter()
                .map(|(resource, amount)| (config.resources[*resource], *amount))
                .collect(),
            suits: vec![(0..flavors).map(|f| job.flavor.is_none_or(|only| only == f)).collect()],
            combined: Vec::new(),
        })
        .collect();
    let mut cycles = Cycles::new(&config);
    for id in 0..admitted.len() as u32 {
        cycles.push(&config, id, 0);
    }
    for _ in 0..admitted.len() {
        let outcome = cycles.run(&config, 0);
        assert!(outcome.preempted.is_empty());
    }
    assert_eq!(cycles.admitted(), admitted.len());
    for (id, job) in (admitted.len() as u32..).zip(pending) {
        cycles.push(&config, id, job.created_s * SECOND);
    }
    let outcome = cycles.run(&config, SECOND);
    let chosen = outcome.admitted.iter().map(|id| cycles.flavors_of(*id)).collect();
    (outcome, chosen)
}

/// `TestScheduleForFairSharing`: whom a cycle admits, the others having lost.
#[test]
fn a_cycle_goes_by_shares() {
    let cpu = |cpus: i64| [nominal(cpus)];
    let pool = |cpus: i64, milli: u128, preemption: Preemption| {
        Tree::new(1, 1)
            .cohort("A", "", &[nominal(cpus)], 1000)
            .queue("b", "A", &[nominal(0)], milli, preemption)
            .queue("c", "A", &[nominal(0)], milli, preemption)
    };
    // A cohort with 10 CPUs beside one whose c has borrowed 10.
    let subtree = |under: &str| {
        let tree =
            Tree::new(1, 1).cohort("Cohort-A", "root", &[], 1000).cohort("Cohort-B", "root", &[], 1000);
        let tree = if under == "Cohort-A" {
            tree.cohort("Cohort-A", "root", &[nominal(10)], 1000)
        } else {
            tree.cohort(under, "Cohort-A", &[nominal(10)], 1000)
        };
        tree.queue("a", under, &cpu(0), 1000, NONE).queue("b", "Cohort-B", &cpu(5), 1000, NONE).queue(
            "c",
            "Cohort-B",
            &cpu(0),
            1000,
            NONE,
        )
    };
    let prior = |job: Job, priority: i32| Job { priority, ..job };
    let later = |job: Job, created_s: u64| Job { created_s, ..job };
    let on = |job: Job, flavor: usize| Job { flavor: Some(flavor), ..job };
    type Case = (&'static str, Tree, Vec<Job>, Vec<Job>, &'static [&'static str]);
    let cases: Vec<Case> = vec![
        (
            "the lowest share first",
            Tree::new(2, 1)
                .queue("alpha", "eng", &[limited(50, 50), limited(100, 0)], 1000, NONE)
                .queue("beta", "eng", &[limited(50, 10), limited(0, 100)], 1000, BOTH)
                .queue("shared", "eng", &[limited(10, 0), nominal(0)], 1000, NONE),
            vec![on(job("all_nominal", "alpha", 50), 0), on(job("borrowing", "beta", 55), 0)],
            vec![job("older_new", "beta", 1), later(job("new", "alpha", 5), 60)],
            &["new"],
        ),
        (
            "within nominal quota first, despite a higher share",
            Tree::new(2, 1).queue("a", "fs-nom", &[limited(50, 0), limited(50, 50)], 1000, NONE).queue(
                "b",
                "fs-nom",
                &[limited(10, 50), limited(50, 0)],
                1000,
                NONE,
            ),
            vec![on(job("spot-heavy", "a", 80), 1), on(job("light-usage", "b", 5), 0)],
            vec![on(job("borrow-wl", "b", 15), 0), later(on(job("nom-wl", "a", 45), 0), 60)],
            &["nom-wl"],
        ),
        (
            "a subtree that does not borrow first",
            subtree("Cohort-A"),
            vec![job("c0", "c", 10)],
            vec![job("wl-a", "a", 5), job("wl-b", "b", 5)],
            &["wl-a"],
        ),
        (
            "and one nested deeper",
            subtree("SUB-A"),
            vec![job("c0", "c", 10)],
            vec![job("wl-a", "a", 5), job("wl-b", "b", 5)],
            &["wl-a"],
        ),
        (
            "quotas of queues and of cohorts",
            Tree::new(1, 1)
                .cohort("Cohort-A", "root", &cpu(10), 1000)
                .cohort("Cohort-B", "root", &cpu(10), 1000)
                .queue("a1", "Cohort-A", &cpu(5), 1000, NONE)
                .queue("a2", "Cohort-A", &cpu(3), 1000, NONE)
                .queue("b", "Cohort-B", &cpu(5), 1000, NONE)
                .queue("c", "Cohort-B", &cpu(3), 1000, NONE),
            vec![job("a2-admitted", "a2", 6), job("c-admitted", "c", 20)],
            vec![job("wl-a1", "a1", 7), job("wl-b", "b", 4)],
            &["wl-a1"],
        ),
        (
            "borrowing of another flavor does not count",
            Tree::new(2, 1)
                .cohort("Cohort-A", "root", &[nominal(10), nominal(0)], 1000)
                .cohort("Cohort-B", "root", &[nominal(0), nominal(10)], 1000)
                .queue("a", "Cohort-A", &[nominal(0), nominal(0)], 1000, NONE)
                .queue("b", "Cohort-B", &[nominal(5), nominal(0)], 1000, NONE),
            vec![on(job("spot-admitted", "a", 5), 1), on(job("od-admitted", "b", 8), 0)],
            vec![job("wl-a", "a", 4), job("wl-b", "b", 4)],
            &["wl-a"],
        ),
        (
            "who wins its cohort's tournament",
            Tree::new(1, 1)
                .cohort("A", "", &cpu(200), 1000)
                .cohort("B", "A", &[], 1000)
                .cohort("C", "A", &[], 1000)
                .queue("d", "B", &cpu(0), 1000, NONE)
                .queue("e", "B", &cpu(0), 1000, NONE)
                .queue("f", "C", &cpu(0), 1000, NONE)
                .queue("g", "C", &cpu(0), 1000, NONE),
            vec![job("d0", "d", 10), job("e0", "e", 20), job("g0", "g", 100)],
            vec![job("d1", "d", 70), job("e1", "e", 61), job("f1", "f", 1), job("g1", "g", 1)],
            &["d1"],
        ),
        (
            "the lowest share after admission",
            pool(100, 1000, NONE),
            vec![job("b0", "b", 10)],
            vec![job("b1", "b", 50), job("c1", "c", 75)],
            &["b1"],
        ),
        (
            "of two with weight 0, who borrows less",
            pool(8, 0, RECLAIM),
            vec![job("b0", "b", 4)],
            vec![prior(job("b1", "b", 4), 9001), job("c1", "c", 4)],
            &["c1"],
        ),
        (
            "of two with a high weight, who borrows less",
            pool(8, 123_456_789_000, RECLAIM),
            vec![job("b0", "b", 4)],
            vec![prior(job("b1", "b", 4), 9001), job("c1", "c", 4)],
            &["c1"],
        ),
        (
            "queues that meet no other",
            Tree::new(1, 1)
                .cohort("A", "", &cpu(10), 1000)
                .queue("a", "A", &cpu(0), 1000, NONE)
                .queue("b", "B", &cpu(10), 1000, NONE)
                .queue("c", "", &cpu(10), 1000, NONE),
            vec![],
            vec![job("a1", "a", 10), job("b1", "b", 10), job("c1", "c", 10)],
            &["a1", "b1", "c1"],
        ),
        (
            "the highest priority",
            pool(10, 1000, NONE),
            vec![],
            vec![prior(job("b1", "b", 10), 99), prior(job("c1", "c", 10), 101)],
            &["c1"],
        ),
        (
            "the oldest",
            pool(10, 1000, NONE),
            vec![],
            vec![later(job("b1", "b", 10), 1), job("c1", "c", 10)],
            &["c1"],
        ),
    ];
    for (name, tree, admitted, pending, expected) in cases {
        let (outcome, _) = one_cycle(&tree, &admitted, &pending);
        let named = |id: &u32| pending[*id as usize - admitted.len()].name;
        assert_eq!(outcome.admitted.iter().map(named).collect::<Vec<_>>(), expected, "{name}");
        assert!(outcome.others.iter().all(|(_, why)| *why == Why::Lost), "{name}: {:?}", outcome.others);
        assert_eq!(outcome.others.len() + expected.len(), pending.len(), "{name}");
    }
}

/// `TestScheduleForFairSharing`: what a cycle evicts, and who loses because another evicts the same.
#[test]
fn a_cycle_evicts_by_shares() {
    let prior = |job: Job, priority: i32| Job { priority, ..job };
    let cpu = |cpus: i64| [nominal(cpus)];
    // The real test leaves `reclaimWithinCohort` empty, which the API would not, and which is not `Never`: they preempt while they borrow.
    let lower = preemption(Policy::LowerPriority, Policy::LowerPriority);
    let other = ["alpha", "beta", "gamma"]
        .into_iter()
        .fold(Tree::new(1, 1), |tree, name| tree.queue(name, "other", &cpu(2), 1000, lower));
    let own = |at: usize| {
        let mut quotas = vec![nominal(0); 4];
        quotas[at] = nominal(1);
        quotas
    };
    let asks = |job: Job, asks: &[(usize, i64)]| Job { asks: asks.to_vec(), ..job };
    type Case = (&'static str, Tree, Vec<Job>, Vec<Job>, Vec<(&'static str, Reason)>, Vec<Why>);
    let cases: Vec<Case> = vec![
        (
            "several queues preempt within themselves",
            other.queue("bank", "other", &cpu(3), 1000, NONE),
            vec![job("a1", "alpha", 3), job("b1", "beta", 3), job("c1", "gamma", 3)],
            ["alpha", "beta", "gamma"].map(|queue| prior(job("preemptor", queue, 3), 100)).to_vec(),
            vec![("a1", Own), ("b1", Own), ("c1", Own)],
            vec![Why::Preempting; 3],
        ),
        (
            "of two that would evict the same, one does",
            Tree::new(1, 4)
                .queue("alpha", "other", &own(1), 1000, BOTH)
                .queue("beta", "other", &own(2), 1000, BOTH)
                .queue("gamma", "other", &own(3), 1000, BOTH)
                .queue("bank", "other", &[nominal(9), nominal(0), nominal(0), nominal(0)], 1000, NONE),
            vec![
                asks(job("a1", "alpha", 0), &[(1, 1)]),
                asks(job("b1", "beta", 0), &[(2, 1)]),
                job("c1", "gamma", 9),
            ],
            vec![
                prior(asks(job("preemptor", "alpha", 0), &[(0, 3), (1, 1)]), 100),
                prior(asks(job("pretending", "beta", 0), &[(0, 3), (2, 1)]), 99),
            ],
            vec![("a1", Own), ("c1", Fair)],
            vec![Why::Preempting, Why::Lost],
        ),
        (
            "more than there can be",
            Tree::new(1, 1).queue("sales", "", &[limited(50, 0)], 1000, NONE),
            vec![],
            vec![job("new", "sales", 100)],
            vec![],
            vec![Why::ExceedsQuota],
        ),
        (
            "rather take from others than from its own queue, while it borrows",
            Tree::new(2, 1)
                .queue(
                    "alpha",
                    "other",
                    &[nominal(7), nominal(7)],
                    1000,
                    preemption(Policy::LowerPriority, Policy::LowerPriority),
                )
                .queue("beta", "other", &[nominal(3), nominal(3)], 1000, NONE),
            vec![
                Job { flavor: Some(0), ..prior(job("a1", "alpha", 5), 50) },
                Job { flavor: Some(1), ..prior(job("b1", "beta", 5), 50) },
            ],
            vec![prior(job("preemptor", "alpha", 8), 100)],
            vec![("b1", Fair)],
            vec![Why::Preempting],
        ),
        (
            "within a queue that has no cohort",
            Tree::new(1, 1).queue("alone", "", &cpu(4), 1000, LOWER),
            vec![prior(job("low", "alone", 4), -1)],
            vec![prior(job("high", "alone", 4), 100)],
            vec![("low", Own)],
            vec![Why::Preempting],
        ),
    ];
    for (name, tree, admitted, pending, evicted, why) in cases {
        let (outcome, _) = one_cycle(&tree, &admitted, &pending);
        let got: BTreeSet<_> =
            outcome.preempted.iter().map(|(id, r)| (admitted[*id as usize].name, *r)).collect();
        assert_eq!(got, evicted.into_iter().collect(), "{name}");
        assert_eq!(outcome.others.iter().map(|(_, why)| *why).collect::<Vec<_>>(), why, "{name}");
        assert!(outcome.admitted.is_empty(), "{name}");
    }
}

/// "prefer flavor with most local capacity": of two flavors that must be borrowed, the one from less far up, with fair sharing or without.
#[test]
fn a_flavor_from_less_far_up_is_better() {
    let mut tree = Tree::new(2, 1)
        .cohort("root", "", &[nominal(2), nominal(0)], 1000)
        .cohort("child", "root", &[nominal(5), nominal(7)], 1000)
        .queue("queue1", "child", &[nominal(3), nominal(3)], 1000, BOTH);
    tree.config.queues[0].tries_next_before_borrowing = true;
    let on = |job: Job, flavor: usize| Job { flavor: Some(flavor), ..job };
    let admitted = [on(job("a1", "queue1", 8), 0), on(job("a2", "queue1", 3), 1)];
    for fair in [Some(Strategies::Both), None] {
        tree.config.fair = fair;
        let (outcome, flavors) = one_cycle(&tree, &admitted, &[job("a3", "queue1", 1)]);
        assert_eq!((outcome.admitted.len(), flavors), (1, vec![vec![1]]));
    }
}
