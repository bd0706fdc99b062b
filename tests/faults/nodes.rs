//! Nodes that fail, and what kube-controller-manager does about it: when it notices, whom it evicts, how fast.
//!
//! Each test states the rule and where the real system has it. Paths are those of kubernetes/kubernetes.
use podpace::cluster::{NodeId, PodId, Stage, TaintEffect};
use podpace::experiment::run::{Completed, Environment, RunSpec};
use podpace::experiment::simulation::Simulation;

use crate::support::{self, SECOND, count, metric, only, scenario};

const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

fn run(text: &str) -> Completed {
    support::run(&scenario("nodes", text))
}

fn simulation(text: &str) -> Simulation {
    support::simulation(&scenario("nodes", text))
}

/// A cluster of `nodes` in `zones`, with so many replicas; `more` is the rest of the scenario.
fn cluster(nodes: u32, zones: u32, replicas: u32, more: &str) -> String {
    format!(
        "cluster: {{nodes: [{{count: {nodes}, zones: {zones}, template: {{allocatable: {{cpu: 8, memory: 32Gi, pods: 110}}}}}}]}}
controlPlane: {{nodeLifecycle: {{kind: kubelet, startLatency: 1s}}}}
scheduler: {{kind: kube-scheduler}}
workload: {{deployments: [{{replicas: {replicas}, requests: {{cpu: 500m, memory: 1Gi}}}}]}}
{more}"
    )
}

fn has_taint(simulation: &Simulation, node: NodeId, effect: TaintEffect) -> bool {
    let taints = &simulation.cluster().nodes.template(node).taints;
    taints.iter().any(|t| t.key == UNREACHABLE && t.effect == effect)
}

/// The lease was renewed at most 10 s before the failure and seen at most 5 s after that; from then on 50 s pass, and up
/// to 5 s to the next look. `--node-monitor-grace-period` is 50 s since 1.32 and was 40 s.
#[test]
fn a_node_is_noticed_after_the_grace_period() {
    for (seed, flags, from, to) in [
        (1, "", 40.0, 60.0),
        (2, "", 40.0, 60.0),
        (3, "", 40.0, 60.0),
        (4, ", controllerManager: {nodeMonitorGracePeriod: 40s}", 30.0, 50.0),
        (5, ", controllerManager: {nodeMonitorGracePeriod: 2m, nodeMonitorPeriod: 30s}", 110.0, 180.0),
    ] {
        let text =
            cluster(10, 1, 20, "faults: [{kind: nodeFailure, at: 5m}]\nstop: {when: allRunning, limit: 30m}");
        let text = text.replace("startLatency: 1s}", &format!("startLatency: 1s}}{flags}"));
        let completed = run(&format!("seed: {seed}\n{text}"));
        let noticed = only(&completed).noticed_after_s.unwrap();
        assert!(noticed > from && noticed < to, "seed {seed}: {noticed}");
    }
}

/// The condition's taint with NoSchedule comes at once (`doNoScheduleTaintingPass`), that with NoExecute after the next
/// look (`processTaintBaseEviction` looks at the condition that the last look wrote).
#[test]
fn taints_follow_the_condition() {
    let text = cluster(
        10,
        1,
        20,
        "faults: [{kind: nodeFailure, at: 5m, nodes: {names: [node-00004]}}]\nstop: {when: time, limit: 1h}",
    );
    let mut simulation = simulation(&text);
    let mut at = |s: u64| {
        assert!(simulation.advance(s * SECOND).is_none());
        (
            has_taint(&simulation, 4, TaintEffect::NoSchedule),
            has_taint(&simulation, 4, TaintEffect::NoExecute),
        )
    };
    let first = (300..400).find(|s| at(*s).0).expect("it is tainted");
    assert!((340..=361).contains(&first), "{first}");
    assert!(!at(first).1);
    let second = (first..400).find(|s| at(*s).1).expect("it is tainted");
    assert!((first + 4..=first + 7).contains(&second), "{first} {second}");
}

/// Pods stay 300 s after the taint by default, and as long as they say otherwise.
#[test]
fn pods_are_evicted_when_their_toleration_is_over() {
    let at = |tolerations: &str| {
        let text =
            cluster(10, 1, 40, "faults: [{kind: nodeFailure, at: 5m}]\nstop: {when: allRunning, limit: 30m}");
        let text = text.replace("memory: 1Gi}}]", &format!("memory: 1Gi}}{tolerations}}}]"));
        let completed = run(&text);
        let fault = only(&completed).clone();
        assert!(fault.pods_lost > 0);
        fault.bound_again_after_s.map(|s| s - fault.noticed_after_s.unwrap())
    };
    // 5 s to the look after, up to 0.1 s to the taint, 300 s, then deletion, creation, scheduling.
    let default = at("").unwrap();
    assert!(default > 304.0 && default < 308.0, "{default}");
    let key = "key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute";
    let short = at(&format!(", tolerations: [{{{key}, tolerationSeconds: 30}}]")).unwrap();
    assert!(short > 34.0 && short < 38.0, "{short}");
    assert_eq!(at(&format!(", tolerations: [{{{key}}}]")), None, "they tolerate it for good");
}

/// Zones: 0.1 nodes a second are tainted, so the k-th node waits 10 s longer (`EvictionRateLimiterBurst` 1).
#[test]
fn nodes_are_tainted_at_a_limited_rate() {
    let text = cluster(
        30,
        1,
        60,
        "faults: [{kind: nodeFailure, at: 5m, nodes: {count: 6}}]\nstop: {when: time, limit: 1h}",
    );
    let mut simulation = simulation(&text);
    let mut tainted: Vec<u64> = Vec::new();
    for s in 300..700 {
        assert!(simulation.advance(s * SECOND).is_none());
        let now = (0..30).filter(|n| has_taint(&simulation, *n, TaintEffect::NoExecute)).count();
        while tainted.len() < now {
            tainted.push(s);
        }
    }
    assert_eq!(tainted.len(), 6);
    let gaps: Vec<u64> = tainted.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(gaps.iter().all(|gap| (10..=11).contains(gap)), "{tainted:?}");
}

/// `ComputeZoneState`: more than two nodes and at least 55 % not ready is a partial disruption; `ReducedQPSFunc`: in a zone
/// of at most 50 nodes nothing is tainted then, in a larger one 0.01 nodes a second.
#[test]
fn a_small_zone_in_partial_disruption_is_left_alone() {
    let tainted = |nodes: u32, zones: u32, failing: u32, minutes: u64| {
        let fault = format!(
            "faults: [{{kind: nodeFailure, at: 5m, nodes: {{names: [{}]}}}}]\nstop: {{when: time, limit: 3h}}",
            (0..failing).map(|i| format!("node-{:05}", i * zones)).collect::<Vec<_>>().join(", ")
        );
        let mut simulation = simulation(&cluster(nodes, zones, 40, &fault));
        assert!(simulation.advance((5 + minutes) * 60 * SECOND).is_none());
        (0..nodes).filter(|n| has_taint(&simulation, *n, TaintEffect::NoExecute)).count()
    };
    assert_eq!(tainted(20, 2, 5, 10), 5, "half of a zone: normal");
    assert_eq!(tainted(20, 2, 6, 60), 0, "60 % of a zone of 10: partial");
    assert_eq!(tainted(4, 2, 2, 10), 2, "both nodes of a zone: full disruption, at the normal rate");
    assert_eq!(tainted(5, 1, 2, 10), 2, "two nodes are never a partial disruption");
    // 40 of 60: the first at once, then one each 100 s.
    let slow = tainted(60, 1, 40, 10);
    assert!((5..=7).contains(&slow), "{slow}");
}

/// `handleDisruption`: if no node of any zone is ready, the control plane takes the trouble to be its own.
#[test]
fn if_every_node_is_silent_nobody_is_evicted() {
    let text = cluster(
        6,
        2,
        12,
        "faults: [{kind: nodePartition, at: 5m, nodes: {share: 100%}, duration: 20m}]\nstop: {when: time, limit: 1h}",
    );
    let mut simulation = simulation(&text);
    assert!(simulation.advance(24 * 60 * SECOND).is_none());
    assert_eq!((0..6).filter(|n| has_taint(&simulation, *n, TaintEffect::NoSchedule)).count(), 6);
    assert_eq!((0..6).filter(|n| has_taint(&simulation, *n, TaintEffect::NoExecute)).count(), 0);
    assert!(simulation.advance(30 * 60 * SECOND).is_none());
    assert_eq!((0..6).filter(|n| has_taint(&simulation, *n, TaintEffect::NoSchedule)).count(), 0);
    let completed = run(&text);
    assert_eq!(count(&completed, "pods.evicted"), 0);
    assert_eq!(count(&completed, "pods.replaced"), 0);
    // Back when the network is.
    assert_eq!(only(&completed).bound_again_after_s, Some(1200.0));
}

/// A machine that is back before the tolerations are over keeps its pods; they have to start anew.
#[test]
fn a_node_that_comes_back_in_time_keeps_its_pods() {
    let text = cluster(
        10,
        1,
        40,
        "faults: [{kind: nodeFailure, at: 5m, duration: 2m}]\nstop: {when: allRunning, limit: 30m}",
    );
    let completed = run(&text);
    let fault = only(&completed);
    assert_eq!(count(&completed, "pods.replaced"), 0);
    assert_eq!(fault.bound_again_after_s, Some(120.0));
    let running = fault.running_again_after_s.unwrap();
    assert!((121.0..122.0).contains(&running), "{running}");
    assert!(fault.noticed_after_s.is_some());
    // Back before anybody noticed.
    let text = text.replace("duration: 2m", "duration: 20s");
    let completed = run(&text);
    assert_eq!(only(&completed).noticed_after_s, None);
    assert_eq!(only(&completed).bound_again_after_s, Some(20.0));
}

/// Pods that were deleted while their node was away are there, terminating, until its kubelet is back.
#[test]
fn deleted_pods_go_when_their_kubelet_is_back() {
    let text = cluster(
        10,
        1,
        40,
        "faults: [{kind: nodeFailure, at: 5m, duration: 20m}]\nstop: {when: time, limit: 1h}",
    );
    let mut simulation = simulation(&text);
    let finished = |simulation: &Simulation| {
        let pods = &simulation.cluster().pods;
        (0..pods.len() as PodId).filter(|p| pods.stage(*p) == Stage::Finished).count()
    };
    assert!(simulation.advance(24 * 60 * SECOND).is_none());
    assert_eq!(finished(&simulation), 0);
    let pods = simulation.cluster().pods.len();
    assert!(pods > 40, "they have been replaced");
    assert!(simulation.advance(26 * 60 * SECOND).is_none());
    assert_eq!(finished(&simulation), pods - 40);
}

/// `gc_controller.go`: pods of a node that is gone are deleted 40 s after the first look that missed it, looks are 20 s
/// apart.
#[test]
fn pods_of_a_node_that_is_gone_are_collected() {
    for seed in 1..4 {
        let text =
            cluster(10, 1, 40, "faults: [{kind: nodeRemove, at: 5m}]\nstop: {when: allRunning, limit: 30m}");
        let completed = run(&format!("seed: {seed}\n{text}"));
        let fault = only(&completed);
        let took = fault.bound_again_after_s.unwrap();
        assert!(took > 40.0 && took < 62.0, "{took}");
        assert_eq!(count(&completed, "pods.collected"), fault.pods_lost);
        assert_eq!(count(&completed, "pods.evicted"), 0);
    }
}

/// A failed pod is replaced as soon as its ReplicaSet sees it.
#[test]
fn failed_pods_are_replaced_at_once() {
    let text = cluster(
        10,
        1,
        40,
        "faults: [{kind: podFailure, at: 5m, pods: {count: 7}}]\nstop: {when: allRunning, limit: 30m}",
    );
    let completed = run(&text);
    let fault = only(&completed);
    assert_eq!(fault.pods_lost, 7);
    assert_eq!(count(&completed, "pods.replaced"), 7);
    assert!(fault.bound_again_after_s.unwrap() < 1.0);
    assert_eq!((completed.summary.counts.total, completed.summary.counts.running), (47, 47));
    assert_eq!(completed.summary.counts.finished, 7);
}

/// Nobody replaces a pod that nobody owns.
#[test]
fn bare_pods_are_gone() {
    let text = cluster(10, 1, 40, "faults: [{kind: nodeFailure, at: 5m}]\nstop: {when: time, limit: 30m}");
    let text = text.replace("deployments: [{replicas: 40", "pods: [{count: 40");
    let completed = run(&text);
    let fault = only(&completed);
    assert!(fault.pods_lost > 0);
    assert_eq!(count(&completed, "pods.abandoned"), fault.pods_lost);
    assert_eq!(count(&completed, "pods.replaced"), 0);
    // What is left is as it was.
    assert!(fault.bound_again_after_s.is_some());
}

/// New nodes are tainted until their kubelet is ready, and pods that waited for room go there.
#[test]
fn pending_pods_go_to_nodes_that_join() {
    let text = cluster(
        2,
        1,
        40,
        "faults: [{kind: nodeAdd, at: 10m, count: 2}]\nstop: {when: allRunning, limit: 30m}",
    );
    let completed = run(&text);
    assert_eq!(completed.summary.counts.running, 40);
    let last = metric(&completed, "bound.last_s");
    assert!(last > 600.0 && last < 603.0, "{last}");
}

/// A flapping node is a series of failures; the pods on it start anew each time.
#[test]
fn a_flapping_node_fails_again_and_again() {
    let fault = "faults: [{kind: nodeFlap, at: 5m, nodes: {names: [node-00001]}, duration: 70s, pause: 30s, times: 4}]\nstop: {when: time, limit: 30m}";
    let mut simulation = simulation(&cluster(10, 1, 40, fault));
    let mut noticed = 0;
    let mut was = false;
    for s in 300..900 {
        assert!(simulation.advance(s * SECOND).is_none());
        let is = has_taint(&simulation, 1, TaintEffect::NoSchedule);
        noticed += u32::from(is && !was);
        was = is;
    }
    assert_eq!(noticed, 4, "70 s is longer than the grace period");
    assert!(!was);
}

/// The scenario of docs/faults.md.
#[test]
fn the_documented_scenario_recovers_as_it_says() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/rack-down.yaml");
    let spec = RunSpec::of_scenario(podpace::experiment::run::load(&path, &[], None).unwrap()).unwrap();
    let completed = spec.simulate(&Environment::built_in()).unwrap();
    let took = only(&completed).bound_again_after_s.unwrap();
    assert!((385.0..410.0).contains(&took), "{took}");
}
