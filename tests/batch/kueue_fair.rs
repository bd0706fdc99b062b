//! Kueue's fair sharing. The facts of `TestDominantResourceShare` and `TestIsBorrowingOn` (`pkg/cache/scheduler/fair_sharing_test.go`), `TestMakeClusterQueueOrdering`
//! (`pkg/scheduler/preemption/fairsharing/ordering_test.go`), `TestFairPreemptions` (`pkg/scheduler/preemption/preemption_fair_test.go`) and
//! `TestScheduleForFairSharing` (`pkg/scheduler/scheduler_fs_test.go`) of Kueue 0.19.2, a line or a tree each; what must hold of any tree; and whole runs.
use std::collections::{BTreeMap, BTreeSet};

use podpace::control_plane::controllers::kueue::config::{
    ClusterQueue, Cohort, Config, Flavor, Group, Policy, Preemption, Resource, Strategies, Weight, Workload,
};
use podpace::control_plane::controllers::kueue::cycle::{Cycles, Outcome, Why};
use podpace::control_plane::controllers::kueue::fair_preemption::QueueOrder;
use podpace::control_plane::controllers::kueue::preemption::{Holder, Reason, Search};
use podpace::control_plane::controllers::kueue::quota::{Quota, Quotas};
use podpace::control_plane::controllers::kueue::share::{Share, borrows_on};
use podpace::engine::SECOND;
use podpace::experiment::simulation::{Ended, Finished, Simulation};
use podpace::scenario::plan::Plan;
use podpace::scheduler::Registry;
use proptest::prelude::*;

use crate::support;
use Reason::{InClusterQueue as Own, InCohortFairSharing as Fair, InCohortReclamation as Reclaim};

const NONE: Preemption = preemption(Policy::Never, Policy::Never);
const RECLAIM: Preemption = preemption(Policy::Never, Policy::Any);
const LOWER: Preemption = preemption(Policy::LowerPriority, Policy::Never);
const BOTH: Preemption = preemption(Policy::LowerPriority, Policy::Any);

const fn preemption(within: Policy, reclaim: Policy) -> Preemption {
    Preemption {
        within_cluster_queue: within,
        reclaim_within_cohort: reclaim,
        borrow_within_cohort: false,
        max_priority_threshold: None,
    }
}

const fn nominal(nominal: i64) -> Quota {
    Quota { nominal, borrowing_limit: None, lending_limit: None }
}

const fn limited(nominal: i64, borrowing_limit: i64) -> Quota {
    Quota { nominal, borrowing_limit: Some(borrowing_limit), lending_limit: None }
}

const fn unlent(nominal: i64) -> Quota {
    Quota { nominal, borrowing_limit: None, lending_limit: Some(0) }
}

/// Thousandths.
const fn weight(milli: u128) -> Weight {
    Weight(milli * 1_000_000)
}

/// Queues and cohorts: each with its name, its cohort, its quotas by flavor and then resource, its weight in thousandths.
#[derive(Default)]
struct Tree {
    config: Config,
}

impl Tree {
    /// Of so many flavors and resources (CPU first).
    fn new(flavors: usize, resources: u16) -> Self {
        let flavors = (0..flavors).map(|f| Flavor { name: format!("f{f}"), ..Flavor::default() }).collect();
        let others = (1..resources).map(Resource::Extended);
        let resources = std::iter::once(Resource::Cpu).chain(others).collect();
        Self { config: Config { flavors, resources, fair: Some(Strategies::Both), ..Config::default() } }
    }

    fn cohort_index(&mut self, name: &str) -> usize {
        let cohorts = &mut self.config.cohorts;
        cohorts.iter().position(|c| c.name == name).unwrap_or_else(|| {
            cohorts.push(Cohort { name: name.to_owned(), ..Cohort::default() });
            cohorts.len() - 1
        })
    }

    fn cohort(mut self, name: &str, parent: &str, quotas: &[Quota], milli: u128) -> Self {
        let at = self.cohort_index(name);
        let parent = (!parent.is_empty()).then(|| self.cohort_index(parent));
        let cohort = &mut self.config.cohorts[at];
        (cohort.parent, cohort.quotas, cohort.weight) = (parent, quotas.to_vec(), weight(milli));
        self
    }

    fn queue(
        mut self,
        name: &str,
        cohort: &str,
        quotas: &[Quota],
        milli: u128,
        preemption: Preemption,
    ) -> Self {
        let cohort = (!cohort.is_empty()).then(|| self.cohort_index(cohort));
        let resources = self.config.resources.clone();
        let flavors = (0..self.config.flavors.len()).collect();
        self.config.queues.push(ClusterQueue {
            name: name.to_owned(),
            cohort,
            groups: vec![Group { resources, flavors }],
            quotas: quotas.to_vec(),
            weight: weight(milli),
            preemption,
            ..ClusterQueue::default()
        });
        self
    }

    fn index(&self, name: &str) -> usize {
        self.config.queues.iter().position(|q| q.name == name).unwrap()
    }

    /// The number of a queue or a cohort.
    fn node(&self, name: &str) -> usize {
        let cohort = || self.config.cohorts.iter().position(|c| c.name == name).unwrap();
        let queue = self.config.queues.iter().position(|q| q.name == name);
        queue.unwrap_or_else(|| self.config.queues.len() + cohort())
    }
}

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
        (
            "lendable without limit",
            pair(&[nominal(0)], &[nominal(i64::MAX)], 1000),
            &[1000],
            &[("cq", 1)],
        ),
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
        queues.iter().fold(tree, |tree, (name, quota)| {
            tree.queue(name, "all", &[nominal(*quota)], 1000, NONE)
        })
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
        ("the higher share", flat(&[("high", 2), ("low", 2)]), &[("high", 5), ("low", 3)], false, &["high", "low"]),
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

/// A workload that holds quota: its name, its queue, thousandths of a CPU, its priority, its flavor.
#[derive(Clone, Debug)]
struct Held<'a> {
    queue: &'a str,
    milli: i64,
    priority: i32,
    flavor: usize,
}

/// So many of a queue, each of so many CPUs.
fn held<'a>(queue: &'a str, cpus: &[f64]) -> Vec<Held<'a>> {
    let milli = |cpus: &f64| (cpus * 1000.0) as i64;
    cpus.iter().map(|c| Held { queue, milli: milli(c), priority: 0, flavor: 0 }).collect()
}

fn with_priority<'a>(queue: &'a str, given: &[(f64, i32)]) -> Vec<Held<'a>> {
    let one = |(cpus, priority): &(f64, i32)| Held { priority: *priority, ..held(queue, &[*cpus])[0].clone() };
    given.iter().map(one).collect()
}

fn search<R>(
    tree: &Tree,
    holders: &[Held<'_>],
    incoming: &Held<'_>,
    ask: impl FnOnce(&Search<'_>, &mut Quotas) -> R,
) -> R {
    let all: Vec<&Held<'_>> = holders.iter().chain([incoming]).collect();
    let mut config = tree.config.clone();
    config.workloads = (all.iter())
        .map(|w| Workload { queue: tree.index(w.queue), priority: w.priority, ..Workload::default() })
        .collect();
    let mut quotas = Quotas::of(&config);
    let mut by_id = BTreeMap::new();
    for (id, w) in (0..).zip(holders) {
        let cell = w.flavor * config.resources.len();
        quotas.add(tree.index(w.queue), cell, w.milli);
        by_id.insert(id, Holder { usage: vec![(cell, w.milli)], reserved_ns: 0, evicted: false });
    }
    let created_ns: BTreeMap<u32, u64> = (0..all.len() as u32).map(|id| (id, 0)).collect();
    let before = quotas.clone();
    let preemptor = holders.len() as u32;
    let search = Search { config: &config, holders: &by_id, created_ns: &created_ns, preemptor };
    let answer = ask(&search, &mut quotas);
    assert_eq!(quotas, before, "a search changes nothing");
    answer
}

/// Who goes, by the name of its queue and its number in it, from 1.
fn evicted(tree: &Tree, holders: &[Held<'_>], incoming: &Held<'_>) -> BTreeSet<(String, Reason)> {
    let cell = incoming.flavor * tree.config.resources.len();
    let targets = search(tree, holders, incoming, |search, quotas| {
        search.targets(quotas, &BTreeSet::from([cell]), &[(cell, incoming.milli)])
    });
    let name = |id: u32| {
        let queue = holders[id as usize].queue;
        let number = holders[..=id as usize].iter().filter(|w| w.queue == queue).count();
        format!("{queue}{number}")
    };
    targets.into_iter().map(|(id, reason)| (name(id), reason)).collect()
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
            vec![
                with_priority("a", &[(1.0, -1), (1.0, -1), (1.0, 0), (1.0, 0)]),
                held("b", &unit[..5]),
            ],
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
        (
            "not two smaller ones for a huge one",
            base(),
            vec![held("b", &[2.0, 2.0, 3.0])],
            ("a", 6.0),
            &[],
        ),
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
            Tree::new(1, 1)
                .queue("a", "all", &[nominal(1000)], 0, RECLAIM)
                .queue("b", "all", &[nominal(1000)], 1000, NONE),
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
            Tree::new(1, 1)
                .queue("a", "ROOT", &[nominal(1000)], 0, RECLAIM)
                .queue("b", "ROOT", &[nominal(0)], 1000, NONE),
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
        tree.cohort(side, "ROOT", &[], milli)
            .cohort(&side.repeat(2), side, &[], 1000)
            .cohort(&side.repeat(3), &side.repeat(2), &[], 1000)
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
            deep.cohort("CCCC", "CCC", &cpu(1), 1000)
                .queue("a", "AAA", &cpu(0), 1000, RECLAIM)
                .queue("b", "BBB", &cpu(0), 1000, NONE),
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
            Tree::new(2, 1)
                .queue("a", "all", &[nominal(3000), nominal(0)], 1000, RECLAIM)
                .queue("b", "all", &[nominal(0), nominal(6000)], 1000, NONE),
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
