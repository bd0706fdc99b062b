//! Pods that name their nodes, as those of DaemonSets do: PreFilter of NodeAffinity (`nodeaffinity/node_affinity_test.go`, `schedule_one_test.go`).
use super::*;
use crate::support::{node, pod};

/// TestNodeAffinity, `wantPreFilterResult` and `wantPreFilterStatus`: the nodes that are tried at all. Three nodes, with `foo=bar` on the second.
#[test]
fn nodes_that_a_pod_names_are_tried_alone() {
    let nodes = [roomy(""), roomy("foo=bar"), roomy("")];
    let others = |n| vec![("node(s) didn't satisfy plugin(s) [NodeAffinity]".to_owned(), n)];
    let conflict = || vec![("pod affinity terms conflict".to_owned(), 3)];
    let of = |cycle: u64, reasons: Vec<(String, u64)>| (None, cycle, reasons);
    type Case = (&'static str, &'static str, (Option<u32>, u64, Vec<(String, u64)>));
    let cases: Vec<Case> = vec![
        ("a node by name", "metadata.name In node-1", (Some(1), 1, vec![])),
        ("a node that is not there", "metadata.name In node-7", of(0, others(3))),
        ("NotIn names none", "metadata.name NotIn node-0,node-2", (Some(1), 3, vec![])),
        (
            "expressions of another term",
            "metadata.name In node-0 & metadata.name In node-2 | foo In bar",
            (Some(1), 3, vec![]),
        ),
        ("expressions of the same term", "metadata.name In node-1 & foo In bar", (Some(1), 1, vec![])),
        ("and they don't match", "metadata.name In node-0 & foo In bar", of(1, others(2))),
        ("two terms", "metadata.name In node-1 | metadata.name In node-9", (Some(1), 1, vec![])),
        ("two terms that conflict", "metadata.name In node-0 & metadata.name In node-1", of(0, conflict())),
        (
            "a conflict and a name",
            "metadata.name In node-0 & metadata.name In node-2 | metadata.name In node-1",
            (Some(1), 1, vec![]),
        ),
        ("a host name is a label", "kubernetes.io/hostname In node-1", (Some(1), 3, vec![])),
    ];
    for (name, terms, (bound, filtered, reasons)) in cases {
        let mut h = cluster(&Settings::default(), &nodes, &[]);
        let required = terms.split('|').map(term).collect();
        let spec = h.add_spec(PodSpec { required_node_affinity: required, ..PodSpec::default() });
        let pod = h.add_pod(spec);
        h.start();
        h.run_until(S);
        assert_eq!((h.node_of(pod), h.count("filter_node")), (bound, filtered), "{name}");
        // One that waits says what most nodes say.
        let said: Vec<String> = h.reasons().into_iter().map(|(reason, _)| reason).collect();
        assert_eq!(said, reasons.into_iter().map(|(reason, _)| reason).collect::<Vec<_>>(), "{name}");
    }
}

/// `schedule_one_test.go`, TestSchedulerSchedulePod, "test prefilter plugin returning node": one node of three is evaluated. `findNodesThatFitPod`: the next
/// search starts one further on, and what was not looked at is rejected for good, so that preemption does not look there either.
#[test]
fn a_named_node_moves_the_next_search_on_by_one() {
    let mut settings = Settings { percentage_of_nodes_to_score: 1, ..Settings::default() };
    settings.disabled_plugins =
        ["NodeResourcesFit", "NodeResourcesBalancedAllocation"].map(str::to_owned).to_vec();
    for (named, next) in [(false, 100), (true, 101)] {
        let mut h = Harness::new(&settings);
        let t = h.template(roomy(""));
        for _ in 0..300 {
            h.add_node(t, None);
        }
        // 100 of 300 nodes are enough.
        let any = h.add_spec(PodSpec::default());
        let one = h.add_spec(PodSpec {
            required_node_affinity: vec![term("metadata.name In node-7")],
            ..PodSpec::default()
        });
        h.start();
        let first = h.add_pod(any);
        h.run();
        if named {
            h.add_pod(one);
            h.run();
        }
        let second = h.add_pod(any);
        h.run();
        let found = [first, second].map(|pod| h.node_of(pod).unwrap());
        assert!((0..100).contains(&found[0]) && (next..next + 100).contains(&found[1]), "{found:?}");
        assert_eq!(h.count("filter_node"), 200 + u64::from(named));
        assert_eq!(h.count("node_total"), 600 + u64::from(named));
    }
    // Preemption: the only pod of lower priority is on another node.
    for (on, goes) in [(0, 0), (1, 1)] {
        let mut h = cluster(
            &Settings::default(),
            &[node(1000, 1024), node(1000, 1024)],
            &[(on, pod(1000, 1024)), (1 - on, PodSpec { priority: 9, ..pod(1000, 1024) })],
        );
        let required = vec![term("metadata.name In node-1")];
        let spec = h.add_spec(PodSpec { priority: 5, required_node_affinity: required, ..pod(500, 512) });
        h.add_pod(spec);
        h.start();
        h.run_until(5 * S);
        assert_eq!(h.deleted.len(), goes, "node-{on}");
    }
}

/// A pod that waits for the node that it names is tried again when a node of that name comes, and not when another does.
#[test]
fn a_pod_waits_for_the_node_that_it_names() {
    let mut h = cluster(&Settings::default(), &[roomy("")], &[]);
    let spec = h.add_spec(PodSpec {
        required_node_affinity: vec![term("metadata.name In node-2")],
        ..PodSpec::default()
    });
    let pod = h.add_pod(spec);
    h.start();
    h.run_until(2 * S);
    let t = h.template(roomy(""));
    for (cycles, bound) in [(1, None), (2, Some(2))] {
        h.add_node(t, None);
        h.run_until(h.now + 20 * S);
        assert_eq!((h.cycles.len(), h.node_of(pod)), (cycles, bound));
    }
    // kube-scheduler 1.20 looks at all nodes.
    let old = podpace::cost::ProfileLibrary::built_in().load("kube-scheduler-1.20").unwrap();
    let mut h = Harness::with_profile(&Settings::default(), old);
    let t = h.template(roomy(""));
    for _ in 0..3 {
        h.add_node(t, None);
    }
    let spec = h.add_spec(PodSpec {
        required_node_affinity: vec![term("metadata.name In node-2")],
        ..PodSpec::default()
    });
    let pod = h.add_pod(spec);
    h.start();
    h.run();
    assert_eq!((h.node_of(pod), h.count("filter_node")), (Some(2), 3));
}
