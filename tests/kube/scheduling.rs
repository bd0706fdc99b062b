//! What kube-scheduler does with pods and nodes, seen from outside.

use std::collections::BTreeMap;

use crate::support::{Harness, S, node, pod};
use std::collections::BTreeSet;

use podpace::cluster::{
    HOSTNAME_LABEL, NodeTemplate, PodAffinityTerm, PodSpec, SpreadConstraint, Taint, TaintEffect, Term,
    WeightedTerm, ZONE_LABEL,
};
use podpace::scheduler::kube::num_feasible_nodes_to_find;
use podpace::scheduler::{BindOutcome, ScoringStrategy, Settings};

fn taint(effect: TaintEffect) -> Taint {
    Taint { key: "dedicated".into(), value: "batch".into(), effect }
}

#[test]
fn nothing_runs_before_the_start_and_the_backlog_goes_by_priority() {
    let mut h = Harness::new(&Settings::default());
    let t = h.template(node(32_000, 1 << 18));
    h.add_node(t, None);
    let low = h.add_spec(pod(100, 100));
    let high = h.add_spec(PodSpec { priority: 100, ..pod(100, 100) });
    for spec in [low, low, high] {
        h.add_pod(spec);
    }
    h.run();
    assert!(h.cycles.is_empty());
    assert_eq!(h.scheduler.backlog(), 3);
    h.start();
    h.run();
    let order: Vec<_> = h.cycles.iter().map(|c| (c.0 / 1_000_000, c.1)).collect();
    assert_eq!(order, [(0, 2), (1, 0), (2, 1)], "cycles follow each other without a pause");
    assert_eq!(h.binds.len(), 3);
    assert_eq!(h.events, 3, "one event a bound pod");
    assert_eq!(h.scheduler.backlog(), 0);
}

/// 1,000 nodes: 420 feasible ones are looked for, and the next cycle goes on behind the last node visited.
#[test]
fn sampling_rotates_through_the_nodes() {
    let mut h = Harness::new(&Settings::default());
    let t = h.template(node(32_000, 1 << 18));
    for _ in 0..1000 {
        h.add_node(t, None);
    }
    let spec = h.add_spec(pod(1000, 8192));
    for _ in 0..50 {
        h.add_pod(spec);
    }
    h.start();
    h.run();
    assert_eq!(h.count("filter_node"), 50 * 420);
    assert_eq!(h.count("score_node"), 50 * 420);
    for (i, (_, _, node)) in h.binds.iter().enumerate() {
        let from_start = (*node as usize + 100 * 1000 - i * 420) % 1000;
        assert!(from_start < 420, "pod {i} on node {node}");
    }
    let nodes: BTreeSet<_> = h.binds.iter().map(|b| b.2).collect();
    assert_eq!(nodes.len(), 50, "empty nodes score best");
}

#[test]
fn a_percentage_of_nodes_may_be_asked_for() {
    let mut h = Harness::new(&Settings { percentage_of_nodes_to_score: 100, ..Settings::default() });
    let t = h.template(node(32_000, 1 << 18));
    for _ in 0..500 {
        h.add_node(t, None);
    }
    let spec = h.add_spec(pod(100, 500));
    h.add_pod(spec);
    h.start();
    h.run();
    assert_eq!(h.count("filter_node"), 500);
}

#[test]
fn one_feasible_node_is_not_scored() {
    let mut h = Harness::new(&Settings::default());
    let small = h.template(node(1000, 1024));
    let large = h.template(node(8000, 8192));
    for i in 0..20 {
        h.add_node(if i == 13 { large } else { small }, None);
    }
    let spec = h.add_spec(pod(4000, 4096));
    h.add_pod(spec);
    h.start();
    h.run();
    assert_eq!(h.binds[0].2, 13);
    assert_eq!((h.count("filter_node"), h.count("score_node")), (20, 0));
}

#[test]
fn ties_are_drawn_with_equal_chances() {
    let mut h = Harness::new(&Settings::default());
    let t = h.template(node(4000, 4096));
    for _ in 0..4 {
        h.add_node(t, None);
    }
    let spec = h.add_spec(pod(100, 100));
    let mut hits = [0_u32; 4];
    h.start();
    for _ in 0..4000 {
        let p = h.add_pod(spec);
        h.run();
        hits[h.node_of(p).unwrap() as usize] += 1;
        h.end_pod(p);
    }
    // Binomial(4000, 1/4): standard deviation 27.
    assert!(hits.iter().all(|n| (890..=1110).contains(n)), "{hits:?}");
}

#[test]
fn least_allocated_spreads_and_most_allocated_packs() {
    for (strategy, nodes) in [(ScoringStrategy::LeastAllocated, 10), (ScoringStrategy::MostAllocated, 1)] {
        let mut h = Harness::new(&Settings { scoring_strategy: strategy, ..Settings::default() });
        let t = h.template(node(10_000, 10_000));
        for _ in 0..10 {
            h.add_node(t, None);
        }
        let spec = h.add_spec(pod(1000, 1000));
        for _ in 0..10 {
            h.add_pod(spec);
        }
        h.start();
        h.run();
        let used: BTreeSet<_> = h.binds.iter().map(|b| b.2).collect();
        assert_eq!(used.len(), nodes, "{strategy:?}");
    }
}

#[test]
fn taints_selectors_names_and_cordons_forbid() {
    let mut h = Harness::new(&Settings::default());
    let base = node(4000, 4096);
    let tainted = h.template(NodeTemplate { taints: vec![taint(TaintEffect::NoSchedule)], ..base.clone() });
    let cordoned = h.template(NodeTemplate { unschedulable: true, ..base.clone() });
    let ssd = h.template(NodeTemplate { labels: [("disk".into(), "ssd".into())].into(), ..base.clone() });
    for t in [tainted, tainted, cordoned, ssd] {
        h.add_node(t, None);
    }
    let plain = h.add_spec(pod(100, 100));
    let hdd = h.add_spec(PodSpec { node_selector: [("disk".into(), "hdd".into())].into(), ..pod(100, 100) });
    let named = h.add_spec(PodSpec { node_name: Some("node-3".into()), ..pod(100, 100) });
    let (a, b, c) = (h.add_pod(plain), h.add_pod(hdd), h.add_pod(named));
    h.start();
    h.run_until(S);
    assert_eq!(h.node_of(a), Some(3));
    assert_eq!(h.node_of(b), None);
    assert_eq!(h.node_of(c), Some(3));
    assert_eq!(h.reasons(), [("node(s) had untolerated taint(s)".to_owned(), 1)]);
}

#[test]
fn preferences_weigh_more_than_resources() {
    let mut h = Harness::new(&Settings::default());
    let base = node(4000, 4096);
    let avoided =
        h.template(NodeTemplate { taints: vec![taint(TaintEffect::PreferNoSchedule)], ..base.clone() });
    let plain = h.template(base.clone());
    h.add_node(avoided, None);
    let other = h.add_node(plain, None);
    let spec = h.add_spec(pod(500, 512));
    h.start();
    for _ in 0..8 {
        let p = h.add_pod(spec);
        h.run();
        assert_eq!(h.node_of(p), Some(other), "until it is full");
    }
    let p = h.add_pod(spec);
    h.run();
    assert_eq!(h.node_of(p), Some(0));

    let mut h = Harness::new(&Settings::default());
    let ssd = h.template(NodeTemplate { labels: [("disk".into(), "ssd".into())].into(), ..base.clone() });
    let plain = h.template(base);
    for t in [plain, plain, ssd, plain] {
        h.add_node(t, None);
    }
    let term = Term {
        expressions: vec![podpace::cluster::Expression {
            key: "disk".into(),
            operator: podpace::cluster::Operator::In,
            values: vec!["ssd".into()],
        }],
        ..Term::default()
    };
    let preferred = vec![WeightedTerm { weight: 1, term }];
    let spec = h.add_spec(PodSpec { preferred_node_affinity: preferred, ..pod(500, 512) });
    h.start();
    for _ in 0..4 {
        let p = h.add_pod(spec);
        h.run();
        assert_eq!(h.node_of(p), Some(2));
    }
}

#[test]
fn a_full_cluster_says_so_and_goes_on_when_a_pod_ends() {
    let mut h = Harness::new(&Settings::default());
    let t = h.template(node(1000, 4096));
    h.add_node(t, None);
    h.add_node(t, None);
    let spec = h.add_spec(pod(1000, 1024));
    let pods: Vec<_> = (0..4).map(|_| h.add_pod(spec)).collect();
    h.start();
    h.run();
    assert_eq!(h.binds.len(), 2);
    assert_eq!(h.reasons(), [("Insufficient cpu".to_owned(), 2)]);
    assert_eq!(h.patches.len(), 2, "each pod's condition is patched once");
    assert_eq!(h.events, 4);
    assert_eq!(h.cycles.len(), 4, "and nothing is tried again meanwhile");
    h.end_pod(pods[0]);
    let at = h.now;
    h.run();
    assert_eq!(h.binds.len(), 3);
    assert_eq!(
        h.cycles[4],
        (at, 2),
        "its backoff of 1 s is over after the 30 s timer, so it is tried at once"
    );
    assert_eq!(h.reasons(), [("Insufficient cpu".to_owned(), 1)]);
}

#[test]
fn a_failed_binding_waits_in_the_error_backoff() {
    let mut h = Harness::new(&Settings::default());
    let t = h.template(node(1000, 4096));
    h.add_node(t, None);
    let spec = h.add_spec(pod(1000, 1024));
    h.outcomes = vec![BindOutcome::Failed, BindOutcome::Failed];
    let p = h.add_pod(spec);
    h.start();
    h.run();
    // 1 ms + 1 s ends in the window of second 1, released by the flush at 2 s; then 2 s, released at 5 s.
    let seconds: Vec<_> = h.cycles.iter().map(|c| c.0 / 1_000_000).collect();
    assert_eq!(seconds, [0, 2000, 5000]);
    assert_eq!(h.binds.len(), 3);
    assert_eq!(h.patches, [(1_000_000, p)]);
    assert!(h.reasons().is_empty());
}

/// A pod that fits nowhere holds up the next cycle until its status patch is answered.
#[test]
fn the_next_cycle_waits_for_the_status_patch() {
    let mut h = Harness::new(&Settings::default());
    h.patch_ns = 5_000_000;
    let t = h.template(node(1000, 4096));
    h.add_node(t, None);
    let big = h.add_spec(pod(2000, 1024));
    let small = h.add_spec(pod(100, 128));
    for spec in [small, big, small] {
        h.add_pod(spec);
    }
    h.start();
    h.run();
    let begins: Vec<_> = h.cycles.iter().map(|c| c.0 / 1_000_000).collect();
    assert_eq!(begins, [0, 1, 7]);
}

#[test]
fn nodes_that_come_and_go_later_are_used() {
    let mut h = Harness::new(&Settings::default());
    let t = h.template(node(1000, 4096));
    let first = h.add_node(t, None);
    let spec = h.add_spec(pod(1000, 1024));
    for _ in 0..3 {
        h.add_pod(spec);
    }
    h.start();
    h.run_until(10 * S);
    assert_eq!(h.binds.len(), 1);
    let second = h.add_node(t, None);
    h.run_until(20 * S);
    assert_eq!(h.node_of(1), Some(second));
    h.delete_node(first);
    h.end_pod(0);
    h.run_until(30 * S);
    assert_eq!(h.binds.len(), 2, "a deleted node takes nothing");
    h.run();
    assert_eq!(h.reasons(), [("Insufficient cpu".to_owned(), 1)]);
}

#[test]
fn an_empty_cluster_has_a_reason_too() {
    let mut h = Harness::new(&Settings::default());
    let spec = h.add_spec(pod(1000, 1024));
    h.add_pod(spec);
    h.start();
    h.run();
    assert_eq!(h.reasons(), [("no nodes available to schedule pods".to_owned(), 1)]);
    let t = h.template(node(1000, 4096));
    h.add_node(t, None);
    h.run();
    assert_eq!(h.binds.len(), 1);
}

fn anti(selector: &[(&str, &str)], key: &str) -> PodAffinityTerm {
    PodAffinityTerm {
        selector: selector
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect::<BTreeMap<_, _>>()
            .into(),
        topology_key: key.into(),
        anti: true,
        ..PodAffinityTerm::default()
    }
}

fn labelled(app: &str) -> PodSpec {
    PodSpec { labels: [("app".into(), app.into())].into(), ..pod(100, 100) }
}

#[test]
fn anti_affinity_by_host_puts_one_pod_a_node() {
    let mut h = Harness::new(&Settings::default());
    let t = h.template(node(4000, 4096));
    for _ in 0..10 {
        h.add_node(t, None);
    }
    let spec =
        h.add_spec(PodSpec { pod_affinity: vec![anti(&[("app", "a")], HOSTNAME_LABEL)], ..labelled("a") });
    let pods: Vec<_> = (0..12).map(|_| h.add_pod(spec)).collect();
    h.start();
    h.run();
    let used: BTreeSet<_> = h.binds.iter().map(|b| b.2).collect();
    assert_eq!((h.binds.len(), used.len()), (10, 10));
    assert_eq!(h.reasons(), [("node(s) didn't match pod anti-affinity rules".to_owned(), 2)]);
    // Before each filter the plugin looks at the pods there with such terms and, as it has a term, at all pods.
    let visited: u64 = (0..10).map(|placed| 2 * placed).sum::<u64>() + 2 * 20;
    assert_eq!(h.count("prefilter_pod_visited"), visited);
    // A pod ends: one of the two takes its place.
    let free = h.node_of(pods[3]).unwrap();
    h.end_pod(pods[3]);
    h.run();
    assert_eq!(h.binds.last().map(|b| b.2), Some(free));
}

/// The existing pod's term binds a newcomer that matches it, though the newcomer has no term.
#[test]
fn anti_affinity_binds_both_ways() {
    let mut h = Harness::new(&Settings::default());
    let t = h.template(node(4000, 4096));
    for zone in ["a", "a", "b"] {
        h.add_node(t, Some(zone));
    }
    let shy =
        h.add_spec(PodSpec { pod_affinity: vec![anti(&[("app", "loud")], ZONE_LABEL)], ..labelled("shy") });
    let loud = h.add_spec(labelled("loud"));
    h.add_bound_pod(shy, 0);
    h.start();
    for _ in 0..5 {
        let p = h.add_pod(loud);
        h.run();
        assert_eq!(h.node_of(p), Some(2));
    }
    let p = h.add_pod(shy);
    h.run();
    assert_ne!(h.node_of(p), Some(2));
    h.add_bound_pod(shy, 2);
    h.add_pod(loud);
    h.run();
    assert_eq!(h.reasons(), [("node(s) didn't satisfy existing pods anti-affinity rules".to_owned(), 1)]);
}

#[test]
fn affinity_gathers_in_one_zone_and_the_first_pod_may_start_it() {
    let mut h = Harness::new(&Settings::default());
    let t = h.template(node(400, 4096));
    for i in 0..9 {
        h.add_node(t, Some(["a", "b", "c"][i % 3]));
    }
    let term = PodAffinityTerm { anti: false, ..anti(&[("app", "a")], ZONE_LABEL) };
    let spec = h.add_spec(PodSpec { pod_affinity: vec![term.clone()], ..labelled("a") });
    for _ in 0..14 {
        h.add_pod(spec);
    }
    let lonely = h.add_spec(PodSpec { pod_affinity: vec![term], ..labelled("b") });
    h.start();
    h.run();
    let zones: BTreeSet<_> = h.binds.iter().map(|b| b.2 % 3).collect();
    assert_eq!((h.binds.len(), zones.len()), (12, 1), "three nodes of one zone hold four pods each");
    let a = *zones.first().unwrap();
    h.add_pod(lonely);
    h.run();
    assert_eq!(h.binds.len(), 12);
    h.end_pod(0);
    h.run();
    assert_eq!(h.binds.len(), 13, "one more fits in the zone");
    assert_eq!(h.binds[12].2 % 3, a);
}

#[test]
fn preferred_affinity_and_anti_affinity_score() {
    let mut h = Harness::new(&Settings::default());
    let t = h.template(node(32_000, 1 << 15));
    for _ in 0..5 {
        h.add_node(t, None);
    }
    let db = h.add_spec(labelled("db"));
    h.add_bound_pod(db, 3);
    let term = |anti: bool| PodAffinityTerm {
        weight: Some(10),
        anti,
        ..self::anti(&[("app", "db")], HOSTNAME_LABEL)
    };
    let near = h.add_spec(PodSpec { pod_affinity: vec![term(false)], ..labelled("web") });
    let far = h.add_spec(PodSpec { pod_affinity: vec![term(true)], ..labelled("batch") });
    h.start();
    for _ in 0..10 {
        let p = h.add_pod(near);
        h.run();
        assert_eq!(h.node_of(p), Some(3));
        let p = h.add_pod(far);
        h.run();
        assert_ne!(h.node_of(p), Some(3));
    }
    // The existing pods' preference for db draws a db without terms, too.
    let p = h.add_pod(db);
    h.run();
    assert_eq!(h.node_of(p), Some(3));
}

#[test]
fn hard_spread_keeps_the_skew() {
    let mut h = Harness::new(&Settings::default());
    let t = h.template(node(32_000, 1 << 15));
    for i in 0..7 {
        // Zone a has five nodes, b and c one each.
        h.add_node(t, Some(["a", "b", "c", "a", "a", "a", "a"][i]));
    }
    let constraint = SpreadConstraint {
        max_skew: 1,
        topology_key: ZONE_LABEL.into(),
        hard: true,
        selector: BTreeMap::from([("app".into(), "a".into())]).into(),
        ..SpreadConstraint::default()
    };
    let spec = h.add_spec(PodSpec { topology_spread: vec![constraint], ..labelled("a") });
    for _ in 0..30 {
        h.add_pod(spec);
    }
    h.start();
    h.run();
    let in_zone = |zones: &[u32]| h.binds.iter().filter(|b| zones.contains(&b.2)).count();
    assert_eq!([in_zone(&[0, 3, 4, 5, 6]), in_zone(&[1]), in_zone(&[2])], [10, 10, 10]);
    assert_eq!(h.count("spread_node_visited"), 30 * 7);
}

#[test]
fn soft_spread_evens_out_but_does_not_forbid() {
    let mut h = Harness::new(&Settings::default());
    let t = h.template(node(1000, 1 << 15));
    for i in 0..4 {
        h.add_node(t, Some(["a", "a", "a", "b"][i]));
    }
    let constraint = SpreadConstraint {
        max_skew: 1,
        topology_key: ZONE_LABEL.into(),
        hard: false,
        selector: BTreeMap::from([("app".into(), "a".into())]).into(),
        ..SpreadConstraint::default()
    };
    let spec = h.add_spec(PodSpec { topology_spread: vec![constraint], ..labelled("a") });
    for _ in 0..20 {
        h.add_pod(spec);
    }
    h.start();
    h.run();
    assert_eq!(h.binds.len(), 20);
    assert_eq!(h.binds[..10].iter().filter(|b| b.2 == 3).count(), 5);
    for _ in 0..20 {
        h.add_pod(spec);
    }
    h.run();
    assert_eq!(h.binds.len(), 40, "all nodes are filled in the end");
}

#[test]
fn disabled_plugins_do_nothing() {
    let off = ["InterPodAffinity", "TaintToleration"].map(str::to_owned).to_vec();
    let mut h = Harness::new(&Settings { disabled_plugins: off, ..Settings::default() });
    let t = h.template(NodeTemplate { taints: vec![taint(TaintEffect::NoSchedule)], ..node(4000, 4096) });
    h.add_node(t, None);
    let spec =
        h.add_spec(PodSpec { pod_affinity: vec![anti(&[("app", "a")], HOSTNAME_LABEL)], ..labelled("a") });
    h.add_pod(spec);
    h.add_pod(spec);
    h.start();
    h.run();
    assert_eq!(h.binds.len(), 2);
}

/// `findNodesThatPassFilters` in `schedule_one.go`: without filters as many nodes are scored as would be found with them, taken as
/// they come; without scores the first one is enough.
#[test]
fn without_filters_as_many_nodes_are_scored() {
    let filters = [
        "NodeUnschedulable",
        "NodeName",
        "TaintToleration",
        "NodeAffinity",
        "NodePorts",
        "NodeResourcesFit",
        "PodTopologySpread",
        "InterPodAffinity",
        "VolumeBinding",
    ];
    let scores = ["NodeResourcesBalancedAllocation", "ImageLocality"];
    let counts = |disabled: Vec<&str>| {
        let disabled_plugins = disabled.into_iter().map(str::to_owned).collect();
        let mut h = Harness::new(&Settings { disabled_plugins, ..Settings::default() });
        let t = h.template(node(4000, 4096));
        for _ in 0..500 {
            h.add_node(t, None);
        }
        let spec = h.add_spec(pod(100, 500));
        h.add_pod(spec);
        h.start();
        h.run();
        assert_eq!(h.binds.len(), 1);
        (h.count("filter_node"), h.count("score_node"))
    };
    let enough = num_feasible_nodes_to_find(0, 500) as u64;
    assert_eq!(counts(Vec::new()), (enough, enough));
    assert_eq!(counts(filters.to_vec()), (0, enough));
    assert_eq!(counts([filters.as_slice(), &scores].concat()), (0, 0));
}
