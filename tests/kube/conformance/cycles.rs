//! What happens around a decision: volumes before the binding, batches of equal pods, API calls that nobody waits for.
use super::*;
use podpace::cluster::{VolumeClaim, ZONE_LABEL};
use podpace::scheduler::{BindOutcome, FeatureGates};

fn zones(values: &str) -> Vec<Term> {
    vec![term(&format!("{ZONE_LABEL} In {values}"))]
}

fn claims(claims: Vec<(Vec<Term>, bool)>) -> PodSpec {
    let claim = |(topology, bound)| VolumeClaim { topology, bound };
    PodSpec { volume_claims: claims.into_iter().map(claim).collect(), ..PodSpec::default() }
}

fn zoned(settings: &Settings) -> Harness {
    let mut h = Harness::new(settings);
    let t = h.template(roomy(""));
    for zone in ["a", "b", "c"] {
        h.add_node(t, Some(zone));
    }
    h
}

/// `volumebinding/volume_binding_test.go`, TestVolumeBinding, and `volumezone/volume_zone_test.go`, TestSingleZone and
/// TestMultiZone: which nodes can use the volumes.
#[test]
fn volumes_say_where_pods_go() {
    for (name, pod, expected) in [
        ("no volumes", claims(vec![]), vec![0, 1, 2]),
        ("a bound volume without affinity", claims(vec![(vec![], true)]), vec![0, 1, 2]),
        ("a bound volume in one zone", claims(vec![(zones("b"), true)]), vec![1]),
        ("two bound volumes in one zone", claims(vec![(zones("b"), true), (zones("b"), true)]), vec![1]),
        ("two bound volumes in two zones", claims(vec![(zones("a"), true), (zones("b"), true)]), vec![]),
        ("a regional volume", claims(vec![(zones("a,b"), true)]), vec![0, 1]),
        ("a class that waits, for all zones", claims(vec![(vec![], false)]), vec![0, 1, 2]),
        ("a class that waits, for two zones", claims(vec![(zones("b,c"), false)]), vec![1, 2]),
        ("one bound, one that waits", claims(vec![(zones("a,b"), true), (zones("b,c"), false)]), vec![1]),
        ("a zone that has no nodes", claims(vec![(zones("d"), true)]), vec![]),
    ] {
        let found: Vec<u32> = (0..3)
            .filter(|node| {
                let mut h = zoned(&Settings::default());
                let named = PodSpec { node_name: Some(format!("node-{node}")), ..pod.clone() };
                let spec = h.add_spec(named);
                let pod = h.add_pod(spec);
                h.start();
                h.run();
                h.node_of(pod).is_some()
            })
            .collect();
        assert_eq!(found, expected, "{name}");
    }
    // The words, and nothing but another node helps: no preemption.
    for (bound, reason) in [
        (true, "node(s) had volume node affinity conflict"),
        (false, "node(s) didn't find available persistent volumes to bind"),
    ] {
        let mut h = zoned(&Settings::default());
        let low = h.add_spec(PodSpec { priority: -1, ..PodSpec::default() });
        h.add_bound_pod(low, 0);
        let spec = h.add_spec(claims(vec![(zones("d"), bound)]));
        let pod = h.add_pod(spec);
        h.start();
        h.run();
        assert_eq!(h.reasons(), [(reason.to_owned(), 1)]);
        assert!(h.deleted.is_empty());
        // A node in the right zone does help.
        let t = h.template(roomy(""));
        h.add_node(t, Some("d"));
        h.run();
        assert_eq!(h.node_of(pod), Some(3));
    }
}

/// `volume_binding.go`, PreBind, and `schedule_one.go`, bindingCycle with NominatedNodeNameForExpectation: the nomination and
/// each claim are written, then the provisioner is waited for, then comes the binding.
#[test]
fn unbound_volumes_come_before_the_binding() {
    let mut h = zoned(&Settings::default());
    h.patch_ns = 10_000_000;
    let spec = h.add_spec(claims(vec![(zones("b"), false), (vec![], false), (zones("b"), true)]));
    let plain = h.add_spec(PodSpec::default());
    let pod = h.add_pod(spec);
    h.cluster.provisioning_ns.insert(pod, 3 * S);
    let other = h.add_pod(plain);
    h.start();
    h.run_until(S);
    // Nobody waits for it: the next pod is bound at once. The node is taken meanwhile.
    assert!(h.node_of(other).is_some() && h.node_of(pod).is_none());
    assert_eq!(h.patches.iter().filter(|p| p.1 == pod).count(), 3);
    assert!(h.scheduler.waits_for_time());
    h.run();
    let bind = h.binds.iter().find(|b| b.1 == pod).unwrap();
    assert_eq!(bind.2, 1);
    assert_eq!(bind.0 / 1_000_000, 3011, "1 ms a cycle, 10 ms a write, 3 s a volume");
    assert!(!h.scheduler.waits_for_time());
}

/// `bindTimeoutSeconds`: the pod fails with an error, waits in the error backoffQ and is tried again; the volume is there by then.
#[test]
fn volumes_that_take_too_long_are_an_error() {
    let mut settings = Settings::default();
    settings.kube.volume_bind_timeout_ns = 5 * S;
    let mut h = zoned(&settings);
    let spec = h.add_spec(claims(vec![(vec![], false)]));
    let pod = h.add_pod(spec);
    h.cluster.provisioning_ns.insert(pod, 6 * S);
    h.start();
    h.run_until(5 * S + S / 2);
    assert_eq!(h.node_of(pod), None);
    assert_eq!(h.reasons(), [("binding volumes: context deadline exceeded".to_owned(), 1)]);
    h.run();
    assert!(h.node_of(pod).is_some());
    assert_eq!(h.cycles.len(), 2);
    // A failed binding of the pod is no matter of its volumes.
    let mut h = zoned(&settings);
    h.outcomes = vec![BindOutcome::Failed];
    let spec = h.add_spec(claims(vec![(vec![], false)]));
    let pod = h.add_pod(spec);
    h.start();
    h.run();
    assert_eq!((h.binds.len(), h.node_of(pod).is_some()), (2, true));
}

fn batching(on: bool) -> Settings {
    let mut settings = Settings {
        feature_gates: FeatureGates { opportunistic_batching: Some(on), ..FeatureGates::default() },
        ..Settings::default()
    };
    settings.kube.default_constraints.clear();
    settings.kube.system_defaults = false;
    settings
}

fn half_full() -> NodeTemplate {
    NodeTemplate { allocatable: Resources { pods: 110, ..resources(1000, 1000) }, ..NodeTemplate::default() }
}

/// `runtime/batch_test.go`, TestBatchBasic and TestOpportunisticBatch: a hint is given if the pod is like the last one, the
/// last one's node is full for it, the very last cycle was that one's, and the search is young.
#[test]
fn equal_pods_share_a_search() {
    // Filter runs of the second cycle over ten nodes: 10 for a search, 2 with a hint.
    type Prepare = fn(&mut Harness) -> PodSpec;
    let big: Prepare = |_| PodSpec { requests: resources(600, 10), ..PodSpec::default() };
    let cases: Vec<(&str, Settings, Prepare, Prepare, u64, u64)> = vec![
        ("one pod a node", batching(true), big, big, 0, 2),
        ("switched off", batching(false), big, big, 0, 10),
        (
            "default constraints",
            Settings { feature_gates: batching(true).feature_gates, ..Settings::default() },
            big,
            big,
            0,
            10,
        ),
        (
            "two pods a node: the last node is looked at, and all others",
            batching(true),
            |_| PodSpec { requests: resources(300, 10), ..PodSpec::default() },
            |_| PodSpec { requests: resources(300, 10), ..PodSpec::default() },
            0,
            11,
        ),
        (
            "other requests",
            batching(true),
            big,
            |_| PodSpec { requests: resources(700, 10), ..PodSpec::default() },
            0,
            10,
        ),
        (
            "other labels",
            batching(true),
            big,
            |_| PodSpec { requests: resources(600, 10), ..labelled("app=b") },
            0,
            10,
        ),
        (
            "another priority is no matter",
            batching(true),
            big,
            |_| PodSpec { requests: resources(600, 10), priority: 5, ..PodSpec::default() },
            0,
            2,
        ),
        (
            "constraints of its own",
            batching(true),
            |_| PodSpec {
                requests: resources(600, 10),
                topology_spread: vec![hard(5, HOSTNAME_LABEL, "a")],
                ..PodSpec::default()
            },
            |_| PodSpec {
                requests: resources(600, 10),
                topology_spread: vec![hard(5, HOSTNAME_LABEL, "a")],
                ..PodSpec::default()
            },
            0,
            10,
        ),
        (
            "affinity to pods",
            batching(true),
            |_| PodSpec {
                requests: resources(600, 10),
                pod_affinity: vec![near("x", "zone", true, None)],
                ..PodSpec::default()
            },
            |_| PodSpec {
                requests: resources(600, 10),
                pod_affinity: vec![near("x", "zone", true, None)],
                ..PodSpec::default()
            },
            0,
            10,
        ),
        ("499 ms later", batching(true), big, big, 499_000_000, 2),
        ("501 ms later", batching(true), big, big, 501_000_000, 10),
    ];
    for (name, settings, first, second, later_ns, filters) in cases {
        let mut h = Harness::new(&settings);
        let t = h.template(half_full());
        for _ in 0..10 {
            h.add_node(t, None);
        }
        let spec = first(&mut h);
        let spec = h.add_spec(spec);
        let one = h.add_pod(spec);
        h.start();
        h.run();
        let before = h.count("filter_node");
        assert_eq!(before, 10, "{name}");
        h.run_until(later_ns);
        let spec = second(&mut h);
        let spec = h.add_spec(spec);
        let two = h.add_pod(spec);
        h.run();
        assert_eq!(h.count("filter_node") - before, filters, "{name}");
        if filters == 2 {
            assert_ne!(h.node_of(one), h.node_of(two), "{name}");
        }
    }
}

/// A batch goes through all nodes, best first, and ends in a search; a pod between two ends it as well.
#[test]
fn a_batch_ends_with_its_nodes() {
    let mut h = Harness::new(&batching(true));
    let t = h.template(half_full());
    for _ in 0..4 {
        h.add_node(t, None);
    }
    let big = h.add_spec(PodSpec { requests: resources(600, 10), ..PodSpec::default() });
    let small = h.add_spec(PodSpec { requests: resources(10, 10), ..PodSpec::default() });
    let pods: Vec<PodId> = (0..5).map(|_| h.add_pod(big)).collect();
    h.start();
    h.run();
    let nodes: BTreeSet<_> = pods[..4].iter().map(|p| h.node_of(*p).unwrap()).collect();
    assert_eq!(nodes.len(), 4);
    assert_eq!(h.node_of(pods[4]), None);
    // A search, three hints, and a search for the fifth.
    assert_eq!(h.count("filter_node"), 4 + 3 * 2 + 4);
    for pod in &pods[..4] {
        h.end_pod(*pod);
    }
    h.run();
    let before = h.count("filter_node");
    let third = [big, small, big].map(|spec| h.add_pod(spec));
    h.run();
    assert!(third.iter().all(|p| h.node_of(*p).is_some()));
    assert!(h.count("filter_node") - before >= 12, "three searches");
}

/// Without `SchedulerAsyncAPICalls` the next cycle waits for the status patch; with it, it does not.
#[test]
fn asynchronous_calls_are_not_waited_for() {
    for (on, binds_at_ms) in [(None, 2002), (Some(false), 2002), (Some(true), 2)] {
        let gates = FeatureGates { async_api_calls: on, ..FeatureGates::default() };
        let mut h = Harness::new(&Settings { feature_gates: gates, ..Settings::default() });
        h.patch_ns = 2 * S;
        let t = h.template(half_full());
        h.add_node(t, None);
        let too_big =
            h.add_spec(PodSpec { requests: resources(9000, 10), priority: 1, ..PodSpec::default() });
        let small = h.add_spec(PodSpec { requests: resources(10, 10), ..PodSpec::default() });
        h.add_pod(too_big);
        let pod = h.add_pod(small);
        h.start();
        h.run_until(10 * S);
        assert_eq!(h.node_of(pod), Some(0));
        assert_eq!(h.binds[0].0 / 1_000_000, binds_at_ms, "{on:?}");
    }
}
