//! Trees of cohorts: quotas, heights, and Kueue's classical preemption in them. The facts of `TestHierarchicalPreemptions`
//! (`pkg/scheduler/preemption/preemption_hierarchical_test.go`) of Kueue 0.19.2, a tree each, and what must hold of any tree.
use std::collections::BTreeSet;

use podpace::control_plane::controllers::kueue::config::{Policy, Preemption};
use podpace::control_plane::controllers::kueue::cycle::Why;
use podpace::control_plane::controllers::kueue::preemption::Reason;
use podpace::control_plane::controllers::kueue::quota::{Quota, Quotas};
use proptest::prelude::*;

use crate::kueue_fair::{job, one_cycle};
use crate::kueue_tree::{BOTH, Held, NONE, Tree, evicted, held, nominal, search, trees, with_priority};
use Reason::{
    InClusterQueue as Own, InCohortReclaimWhileBorrowing as Borrowing, InCohortReclamation as Reclaim,
};

/// `TestHierarchicalPreemptions`, fair sharing being off. The incoming workload is of `q`.
#[test]
fn classical_preemption_in_a_tree() {
    const SHARED: Preemption =
        Preemption { borrow_within_cohort: true, max_priority_threshold: Some(0), ..BOTH };
    let cpu = |cpus: i64| [nominal(cpus * 1000), nominal(0)];
    // A root of its own quota, a cohort below it, the policy of q in it, and q's quota.
    let tree = |root: i64, cohort: i64, policy: Preemption| {
        Tree::new(1, 2).cohort("r", "", &cpu(root), 1000).cohort("c", "r", &cpu(cohort), 1000).queue(
            "q",
            "c",
            &cpu(0),
            1000,
            policy,
        )
    };
    let borrowing = |tree: Tree| tree.queue("borrowing", "r", &cpu(0), 1000, BOTH);
    let same = |tree: Tree| tree.queue("same", "c", &cpu(0), 1000, BOTH);
    let nominal_two = |tree: Tree| tree.queue("nominal", "r", &cpu(2), 1000, BOTH);
    let lower = Preemption { reclaim_within_cohort: Policy::LowerPriority, ..SHARED };
    let lends_two = [Quota { nominal: 3000, borrowing_limit: None, lending_limit: Some(2000) }, nominal(0)];
    let complex = [
        ("c11", "r"),
        ("c12", "r"),
        ("c21", "c11"),
        ("c22", "c11"),
        ("c23", "c11"),
        ("c31", "c21"),
        ("c32", "c21"),
    ]
    .into_iter()
    .fold(Tree::new(1, 2), |tree, (name, parent)| tree.cohort(name, parent, &cpu(4), 1000));
    type Case<'a> = (&'a str, Tree, Vec<(&'a str, Vec<(f64, i32)>)>, (f64, i32), &'a [(&'a str, Reason)]);
    let cases: Vec<Case<'_>> = vec![
        (
            "with hierarchical advantage",
            borrowing(tree(0, 2, BOTH)),
            vec![("borrowing", vec![(2.0, 0)])],
            (2.0, 0),
            &[("borrowing1", Reclaim)],
        ),
        (
            "not from queues within nominal quota",
            nominal_two(borrowing(tree(0, 2, BOTH))),
            vec![("nominal", vec![(2.0, -10)]), ("borrowing", vec![(2.0, 0)])],
            (2.0, 0),
            &[("borrowing1", Reclaim)],
        ),
        (
            "several with hierarchical advantage",
            borrowing(tree(0, 2, BOTH)),
            vec![("borrowing", vec![(1.0, 1), (1.0, 2)])],
            (2.0, 0),
            &[("borrowing1", Reclaim), ("borrowing2", Reclaim)],
        ),
        (
            "in its cohort and its own queue",
            same(tree(0, 3, SHARED)),
            vec![("same", vec![(1.0, 1), (2.0, 0)]), ("q", vec![(1.0, -1)])],
            (2.0, 1),
            &[("q1", Own), ("same2", Borrowing)],
        ),
        (
            "rather those over whom it has an advantage",
            borrowing(tree(0, 2, BOTH)),
            vec![("borrowing", vec![(1.0, 1)]), ("q", vec![(1.0, -2)])],
            (1.0, 0),
            &[("borrowing1", Reclaim)],
        ),
        (
            "by priority, where there is no other",
            same(nominal_two(tree(0, 2, SHARED))),
            vec![("nominal", vec![(2.0, -10)]), ("same", vec![(2.0, -1)])],
            (2.0, 0),
            &[("same1", Borrowing)],
        ),
        (
            "within the queue's own quota",
            same(borrowing(
                Tree::new(1, 2).cohort("r", "", &cpu(0), 1000).cohort("c", "r", &cpu(2), 1000).queue(
                    "q",
                    "c",
                    &cpu(4),
                    1000,
                    BOTH,
                ),
            )),
            vec![("borrowing", vec![(3.0, 10)]), ("same", vec![(3.0, 10)])],
            (4.0, 0),
            &[("borrowing1", Reclaim), ("same1", Reclaim)],
        ),
        (
            "by advantage and by priority",
            same(borrowing(tree(1, 4, lower))),
            vec![("borrowing", vec![(2.0, -1), (2.0, 1)]), ("same", vec![(1.0, -1)])],
            (3.0, 0),
            &[("borrowing1", Reclaim), ("same1", Borrowing)],
        ),
        (
            "by advantage and within its own queue",
            same(borrowing(tree(1, 4, lower))),
            vec![("borrowing", vec![(2.0, -1), (2.0, 1)]), ("q", vec![(1.0, -1)])],
            (3.0, 0),
            &[("borrowing1", Reclaim), ("q1", Own)],
        ),
        (
            "nominal quota back from the lowest priority that borrows",
            nominal_two(borrowing(tree(0, 3, BOTH))),
            vec![("borrowing", vec![(1.0, 8), (1.0, 9), (1.0, 9)]), ("nominal", vec![(2.0, -2)])],
            (1.0, 0),
            &[("borrowing1", Reclaim)],
        ),
        (
            "nobody, where all stand in subtrees within their quotas",
            same(tree(0, 2, BOTH)).cohort("other", "r", &cpu(2), 1000).queue(
                "o",
                "other",
                &cpu(0),
                1000,
                BOTH,
            ),
            vec![("o", vec![(1.0, -10), (1.0, -10)]), ("same", vec![(2.0, 0)])],
            (2.0, 0),
            &[],
        ),
        (
            "beyond what the queue keeps for itself",
            borrowing(
                Tree::new(1, 2)
                    .cohort("r", "", &cpu(0), 1000)
                    .cohort("c", "r", &cpu(2), 1000)
                    .queue("q", "c", &lends_two, 1000, BOTH),
            ),
            vec![("borrowing", vec![(4.0, 0)])],
            (5.0, -2),
            &[("borrowing1", Reclaim)],
        ),
        (
            "in a complex hierarchy",
            complex
                .queue("q1", "c12", &cpu(0), 1000, BOTH)
                .queue("q2", "c23", &cpu(0), 1000, BOTH)
                .queue("q3", "c22", &cpu(0), 1000, BOTH)
                .queue("q4", "c32", &cpu(0), 1000, BOTH)
                .queue("q", "c31", &cpu(0), 1000, BOTH),
            vec![
                ("q1", vec![(4.0, -6), (4.0, -5)]),
                ("q2", vec![(4.0, -9), (4.0, -10)]),
                ("q3", vec![(4.0, -4), (3.0, -3)]),
                ("q4", vec![(2.0, 4), (3.0, 2)]),
            ],
            (7.0, -2),
            &[("q11", Reclaim), ("q22", Reclaim)],
        ),
    ];
    // And two that none of those needs.
    let more: Vec<Case<'_>> = vec![
        (
            "an advantage before a lower priority",
            same(borrowing(tree(0, 2, SHARED))),
            vec![("borrowing", vec![(1.0, 1)]), ("same", vec![(1.0, -1)])],
            (1.0, 0),
            &[("borrowing1", Reclaim)],
        ),
        (
            "rather borrowing than its own, where there is an advantage",
            borrowing(Tree::new(1, 2).cohort("c", "r", &cpu(1), 1000).queue("q", "c", &cpu(2), 1000, BOTH)),
            vec![("q", vec![(1.0, -1)]), ("borrowing", vec![(2.0, 0)])],
            (2.0, 0),
            &[("borrowing1", Reclaim)],
        ),
    ];
    for (name, mut tree, holders, incoming, expected) in cases.into_iter().chain(more) {
        tree.config.fair = None;
        let holders: Vec<Held<'_>> =
            holders.iter().flat_map(|(queue, given)| with_priority(queue, given)).collect();
        let got = evicted(&tree, &holders, &with_priority("q", &[incoming])[0]);
        let expected = expected.iter().map(|(name, reason)| ((*name).to_owned(), *reason)).collect();
        assert_eq!(got, expected, "{name}");
    }
}

/// What a cohort has a right to is short for a head even if its queue has no quota (`mayReclaimInHierarchy`).
#[test]
fn a_cycle_takes_back_what_a_cohort_has_a_right_to() {
    let tree = |cohort: i64, root: i64| {
        let mut tree = Tree::new(1, 1)
            .cohort("r", "", &[nominal(root)], 1000)
            .cohort("c", "r", &[nominal(cohort)], 1000)
            .queue("q", "c", &[nominal(0)], 1000, BOTH)
            .queue("borrowing", "r", &[nominal(0)], 1000, NONE);
        tree.config.fair = None;
        tree
    };
    for (cohort, root, preempted, why) in
        [(2, 0, vec![(0, Reclaim)], Why::Preempting), (0, 2, vec![], Why::Quota)]
    {
        let (outcome, _) = one_cycle(&tree(cohort, root), &[job("b1", "borrowing", 2)], &[job("q1", "q", 2)]);
        assert_eq!((outcome.preempted, outcome.others), (preempted, vec![(1, why)]));
    }
}

/// "hiearchical preemption with multiple resources" and "prefer to preempt evicted workloads": what is short decides over whom there is an advantage,
/// and who is on the way out goes before all others.
#[test]
fn classical_preemption_by_resources_and_evictions() {
    const SHARED: Preemption =
        Preemption { borrow_within_cohort: true, max_priority_threshold: Some(0), ..BOTH };
    let mut tree = Tree::new(1, 2)
        .cohort("r", "", &[nominal(3000), nominal(0)], 1000)
        .cohort("c", "r", &[nominal(4000), nominal(4)], 1000)
        .queue("q", "c", &[nominal(0), nominal(0)], 1000, BOTH)
        .queue("borrowing", "r", &[nominal(0), nominal(0)], 1000, BOTH)
        .queue("same", "c", &[nominal(0), nominal(0)], 1000, BOTH);
    tree.config.fair = None;
    let holders = [held("borrowing", &[3.0]), with_priority("same", &[(1.0, -2)])].concat();
    let incoming = &with_priority("q", &[(2.0, -2)])[0];
    let targets = search(
        &tree,
        &holders,
        incoming,
        &[vec![(0, 3000), (1, 1)], vec![(0, 1000), (1, 3)]],
        &[],
        |search, quotas| search.targets(quotas, &BTreeSet::from([0, 1]), &[(0, 2000), (1, 1)]),
    );
    assert_eq!(targets, [(0, Reclaim)]);

    let mut tree = Tree::new(1, 1)
        .cohort("c", "r", &[nominal(2000)], 1000)
        .queue("q", "c", &[nominal(0)], 1000, SHARED)
        .queue("borrowing", "r", &[nominal(0)], 1000, BOTH)
        .queue("same", "c", &[nominal(0)], 1000, BOTH);
    tree.config.fair = None;
    let holders = [with_priority("borrowing", &[(1.0, -10)]), with_priority("same", &[(1.0, -1)])].concat();
    let incoming = &with_priority("q", &[(1.0, 0)])[0];
    for (evicted, expected) in [(None, (0, Reclaim)), (Some(1), (1, Borrowing))] {
        let targets = search(&tree, &holders, incoming, &[], evicted.as_slice(), |search, quotas| {
            search.targets(quotas, &BTreeSet::from([0]), &[(0, 1000)])
        });
        assert_eq!(targets, [expected]);
    }
}

/// `FindHeightOfLowestSubtreeThatFits`: what a cohort keeps for itself need not be had from further up.
#[test]
fn the_lowest_subtree_that_fits() {
    let lends_one = Quota { nominal: 3, borrowing_limit: None, lending_limit: Some(1) };
    let tree = Tree::new(1, 1)
        .cohort("ROOT", "", &[nominal(9)], 1000)
        .cohort("J", "ROOT", &[nominal(5)], 1000)
        .cohort("K", "J", &[lends_one], 1000)
        .queue("q", "K", &[nominal(1)], 1000, NONE)
        .queue("alone", "", &[nominal(1)], 1000, NONE);
    let quotas = Quotas::of(&tree.config);
    let (q, alone) = (tree.index("q"), tree.index("alone"));
    // K has its three and q's one, and lends one of them; J has five, and that one.
    let heights =
        [(1, (0, true)), (4, (1, true)), (5, (2, true)), (9, (2, true)), (10, (3, false)), (99, (3, false))];
    for (amount, height) in heights {
        assert_eq!(quotas.height_that_fits(q, 0, amount), height, "{amount}");
    }
    assert_eq!(quotas.height_that_fits(alone, 0, 1), (0, false));
}

/// `available` of `resource_node.go`, level by level from the root.
fn available(tree: &Tree, quotas: &Quotas, node: usize, cell: usize) -> i64 {
    let queues = tree.config.queues.len();
    let quota = if node < queues {
        tree.config.queues[node].quotas[cell]
    } else {
        tree.config.cohorts[node - queues].quotas.get(cell).copied().unwrap_or_default()
    };
    let (subtree, used) = (quotas.subtree(node, cell), quotas.used(node, cell));
    let Some(parent) = quotas.parent(node) else { return subtree - used };
    let local = quota.lending_limit.map_or(0, |limit| (subtree - limit).max(0));
    let mut above = available(tree, quotas, parent, cell);
    if let Some(limit) = quota.borrowing_limit {
        above = above.min(subtree - local - (used - local).max(0) + limit);
    }
    (local - used).max(0) + above
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// In any tree: what is available is what level by level says, use that goes leaves nothing behind, heights fit, and a node that stands above its own never
    /// has more than it could have.
    #[test]
    fn quotas_of_trees_are_those_of_each_level(
        tree in trees(),
        uses in prop::collection::vec((0..5usize, 0..2usize, 1..9i64), 0..20),
    ) {
        let queues = tree.config.queues.len();
        let empty = Quotas::of(&tree.config);
        let mut quotas = empty.clone();
        let nodes = queues + tree.config.cohorts.len();
        for node in 0..nodes {
            for cell in 0..2 {
                prop_assert_eq!(empty.available(node, cell), empty.potential(node, cell));
            }
        }
        let mut added = Vec::new();
        for (queue, cell, amount) in uses {
            let queue = queue % queues;
            if amount <= quotas.available(queue, cell) {
                quotas.add(queue, cell, amount);
                added.push((queue, cell, amount));
            }
            for node in 0..nodes {
                for cell in 0..2 {
                    prop_assert_eq!(quotas.available(node, cell), available(&tree, &quotas, node, cell));
                    prop_assert!(quotas.used(node, cell) <= quotas.potential(node, cell));
                }
            }
            // The lowest around the queue that has quota for what it uses then.
            let mut with = quotas.clone();
            with.add(queue, cell, amount);
            let around: Vec<usize> = std::iter::once(queue).chain(quotas.ancestors(queue)).collect();
            let lowest = around.iter().find(|node| with.used(**node, cell) <= with.subtree(**node, cell));
            let lowest = *lowest.or(around.last()).unwrap();
            let below = (0..nodes).map(|node| std::iter::once(node).chain(quotas.ancestors(node)).collect::<Vec<_>>());
            let height = below.filter_map(|path| path.iter().position(|node| *node == lowest)).max();
            prop_assert_eq!(Some(quotas.height_that_fits(queue, cell, amount).0), height);
        }
        for (queue, cell, amount) in added {
            quotas.remove(queue, cell, amount);
        }
        prop_assert_eq!(quotas, empty);
    }

    /// In any tree: whoever goes is of lower priority or of a queue that borrows, without them it fits, and one fewer of them would not do.
    #[test]
    fn those_who_go_are_enough_and_needed(
        tree in trees(),
        uses in prop::collection::vec((0..5usize, 0..2usize, 1..4i64, 0..3i32), 10..40),
        asked in (0..5usize, 0..2usize, 1..9i64, 0..3i32),
    ) {
        let queues = tree.config.queues.len();
        let mut quotas = Quotas::of(&tree.config);
        let name = |queue: usize| tree.config.queues[queue % queues].name.as_str();
        let mut holders = Vec::new();
        for (queue, flavor, milli, priority) in uses {
            if milli <= quotas.available(queue % queues, flavor) {
                quotas.add(queue % queues, flavor, milli);
                holders.push(Held { queue: name(queue), milli, priority, flavor });
            }
        }
        let (queue, cell, milli, priority) = asked;
        let incoming = Held { queue: name(queue), milli, priority, flavor: cell };
        let queue = queue % queues;
        if milli > quotas.available(queue, cell) {
            let usage = [(cell, milli)];
            search(&tree, &holders, &incoming, &[], &[], |search, quotas| {
                let targets = search.targets(quotas, &BTreeSet::from([cell]), &usage);
                let gone: BTreeSet<u32> = targets.iter().map(|(id, _)| *id).collect();
                assert_eq!(gone.len(), targets.len());
                for (id, reason) in &targets {
                    let other = &holders[*id as usize];
                    assert_eq!(other.flavor, cell);
                    let at = tree.index(other.queue);
                    assert_eq!(*reason == Own, at == queue);
                    assert!(if at == queue { other.priority < priority } else { quotas.borrows(at, cell, 0) });
                }
                let fits = |quotas: &mut Quotas, gone: &BTreeSet<u32>| search.fits_without(quotas, gone, &usage);
                assert!(targets.is_empty() || fits(quotas, &gone));
                // By classical rules it may be that fewer would do if the queue borrowed, which it must not.
                for id in gone.iter().filter(|_| tree.config.fair.is_some()) {
                    let mut fewer = gone.clone();
                    fewer.remove(id);
                    assert!(!fits(quotas, &fewer), "{id} need not go");
                }
            });
        }
    }
}
