//! Karpenter: which machines it asks for, and which nodes it consolidates.
//!
//! Each test states the rule and where the real system has it. Paths are those of kubernetes-sigs/karpenter at 1.14.1, below `pkg/controllers/`.
use podpace::cluster::NodeId;
use podpace::experiment::simulation::Simulation;
use podpace::scenario::Document;

use crate::support::{self, SECOND, count, metric, scenario};

const MINUTE: u64 = 60 * SECOND;

const TYPES: &str = "instanceTypes: [{name: small, price: 0.1, allocatable: {cpu: 4, memory: 16Gi}}, {name: medium, price: 0.19, allocatable: {cpu: 8, memory: 32Gi}}, {name: large, price: 0.4, allocatable: {cpu: 16, memory: 64Gi}}]";

fn text(pools: &str, more: &str, workload: &str, stop: &str) -> String {
    let rest = format!(
        "cluster: {{nodes: [], autoscaler: {{kind: karpenter, provisioning: 60s, nodePools: [{pools}]{more}}}}}
controlPlane: {{nodeLifecycle: {{kind: kubelet, startLatency: 1s}}}}
scheduler: {{kind: kube-scheduler}}
workload: {workload}
stop: {stop}"
    );
    scenario("karpenter", &rest)
}

fn pool(name: &str, more: &str) -> String {
    format!("{{name: {name}, {TYPES}{more}}}")
}

fn web(replicas: u32, requests: &str) -> String {
    format!("{{deployments: [{{name: web, replicas: {replicas}, requests: {{{requests}}}}}]}}")
}

fn present(simulation: &Simulation) -> usize {
    let nodes = &simulation.cluster().nodes;
    (0..nodes.len() as NodeId).filter(|node| nodes.get(*node).present).count()
}

const UNTIL_RUNNING: &str = "{when: allRunning, limit: 3h}";
const NEVER: &str = ", disruption: {consolidateAfter: Never}";

fn left(completed: &podpace::experiment::run::Completed, kind: &str) -> u64 {
    count(completed, &format!("autoscaler.left.{kind}"))
}

/// `provisioning/batcher.go`: the window closes when no pod has come for a second, at the latest after ten; then a machine takes its time.
#[test]
fn a_batch_waits_for_an_idle_second_and_no_longer_than_ten() {
    let completed = support::run(&text(&pool("p", NEVER), "", &web(3, "cpu: 1, memory: 1Gi"), UNTIL_RUNNING));
    let wait = metric(&completed, "autoscaler.wait.max_s");
    assert!((61.0..62.5).contains(&wait), "{wait}");
    // Two pods a second never leave an idle second: the first batch closes after ten.
    let arrivals =
        "{pods: [{count: 60, requests: {cpu: 1, memory: 1Gi}}], arrivals: {process: constant, rate: 2}}";
    let mut simulation = support::simulation(&text(&pool("p", NEVER), "", arrivals, UNTIL_RUNNING));
    assert!(simulation.advance(69 * SECOND).is_none());
    assert_eq!(present(&simulation), 0);
    assert!(simulation.advance(72 * SECOND).is_none());
    assert!(present(&simulation) > 0);
    let more = ", batchIdleDuration: 5s, batchMaxDuration: 30s";
    let completed =
        support::run(&text(&pool("p", NEVER), more, &web(3, "cpu: 1, memory: 1Gi"), UNTIL_RUNNING));
    assert!((65.0..66.5).contains(&metric(&completed, "autoscaler.wait.max_s")));
}

/// `scheduling/scheduler.go`, `nodeclaim.go`: pods join a machine as long as one type holds them all, and the cheapest such type is asked for.
#[test]
fn the_cheapest_type_that_holds_the_pods_is_asked_for() {
    for (replicas, requests, expected) in [
        (1, "cpu: 1, memory: 1Gi", [1, 0, 0]),
        (4, "cpu: 1, memory: 1Gi", [1, 0, 0]),
        (5, "cpu: 1, memory: 1Gi", [0, 1, 0]),
        (16, "cpu: 1, memory: 1Gi", [0, 0, 1]),
        // One machine as long as the largest type holds them: 16 and 1.
        (17, "cpu: 1, memory: 1Gi", [1, 0, 1]),
        (1, "cpu: 1, memory: 40Gi", [0, 0, 1]),
    ] {
        let completed = support::run(&text(&pool("p", NEVER), "", &web(replicas, requests), UNTIL_RUNNING));
        let found = ["p-small", "p-medium", "p-large"].map(|kind| left(&completed, kind));
        assert_eq!(found, expected, "{replicas} of {requests}");
    }
}

/// `OrderByWeight`: NodePools with more weight first; a pool whose limits are exhausted, or whose taints the pods don't tolerate, is passed over.
#[test]
fn pools_are_tried_by_weight_and_within_their_limits() {
    let pools =
        [pool("a", &format!("{NEVER}, weight: 10")), pool("b", &format!("{NEVER}, weight: 50"))].join(", ");
    let completed = support::run(&text(&pools, "", &web(4, "cpu: 1, memory: 1Gi"), UNTIL_RUNNING));
    assert_eq!((left(&completed, "a-small"), left(&completed, "b-small")), (0, 1));
    let tainted = pool("b", &format!("{NEVER}, weight: 50, taints: [{{key: gpu, effect: NoSchedule}}]"));
    let pools = [pool("a", NEVER), tainted].join(", ");
    let completed = support::run(&text(&pools, "", &web(4, "cpu: 1, memory: 1Gi"), UNTIL_RUNNING));
    assert_eq!((left(&completed, "a-small"), left(&completed, "b-small")), (1, 0));
    for (limits, nodes, running) in [("nodes: 2", 2, 32), ("cpu: 20", 2, 20)] {
        let pools = pool("p", &format!("{NEVER}, limits: {{{limits}}}"));
        let completed = support::run(&text(
            &pools,
            "",
            &web(60, "cpu: 1, memory: 1Gi"),
            "{when: allRunning, limit: 20m}",
        ));
        assert_eq!(
            (count(&completed, "autoscaler.nodes.left"), count(&completed, "pods.running")),
            (nodes, running),
            "{limits}"
        );
    }
}

/// `disruption/emptiness.go`, `nodeclaim/disruption/consolidation.go`: an empty node goes once `consolidateAfter` has passed since its last pod left, after 15 s of validation.
#[test]
fn empty_nodes_go() {
    let workload = "{jobs: [{name: batch, completions: 3, requests: {cpu: 4, memory: 1Gi}, runTime: 60s}]}";
    for (after, gone_s) in [("0s", 165), ("2m", 285)] {
        let pools =
            pool("p", &format!(", disruption: {{consolidateAfter: {after}, budgets: [{{nodes: 100%}}]}}"));
        let mut simulation = support::simulation(&text(&pools, "", workload, "{when: time, limit: 10m}"));
        // Asked for at 1 s, there at 61 s, the pods end at 122 s.
        assert!(simulation.advance((gone_s - 30) * SECOND).is_none());
        assert!(present(&simulation) > 0, "{after}");
        assert!(simulation.advance(gone_s * SECOND).is_none());
        assert_eq!(present(&simulation), 0, "{after}");
    }
    let pools = pool("p", NEVER);
    let completed = support::run(&text(&pools, "", workload, "{when: time, limit: 30m}"));
    assert_eq!(count(&completed, "autoscaler.nodes.removed"), 0);
}

/// `budgets`: 10 % of the nodes at a time, rounded up; of ten empty nodes one at a time.
#[test]
fn budgets_limit_how_many_nodes_go_at_a_time() {
    let workload = "{jobs: [{name: batch, completions: 10, antiAffinity: required, requests: {cpu: 4, memory: 1Gi}, runTime: 60s}]}";
    for (budget, most) in [
        ("", 1),
        (", budgets: [{nodes: 3}]", 3),
        (", budgets: [{nodes: 100%}, {nodes: 0, reasons: [Underutilized]}]", 10),
    ] {
        let pools = pool("p", &format!(", disruption: {{consolidateAfter: 0s{budget}}}"));
        let mut simulation = support::simulation(&text(&pools, "", workload, "{when: time, limit: 20m}"));
        let (mut before, mut largest) = (0, 0);
        for second in 1..1200 {
            assert!(simulation.advance(second * SECOND).is_none());
            let now = present(&simulation);
            largest = largest.max(before.max(now) - now);
            before = now;
        }
        assert_eq!((largest, before), (most, 0), "{budget}");
    }
}

/// `disruption/consolidation.go`: when pods have gone, those that are left fit on fewer or cheaper machines; `WhenEmpty` leaves them where they are.
#[test]
fn machines_are_replaced_by_fewer_and_cheaper_ones() {
    let workload = "{deployments: [{name: web, replicas: 3, requests: {cpu: 1, memory: 1Gi}}], jobs: [{name: batch, completions: 13, parallelism: 13, requests: {cpu: 1, memory: 1Gi}, runTime: 120s}]}";
    for (policy, expected) in [("WhenEmptyOrUnderutilized", [1, 0, 0]), ("WhenEmpty", [0, 0, 1])] {
        let pools = pool(
            "p",
            &format!(", disruption: {{consolidationPolicy: {policy}, budgets: [{{nodes: 100%}}]}}"),
        );
        let text = text(&pools, "", workload, "{when: time, limit: 30m}");
        let completed = support::run(&text);
        let found = ["p-small", "p-medium", "p-large"].map(|kind| left(&completed, kind));
        assert_eq!(found, expected, "{policy}");
        let drained = count(&completed, "autoscaler.removed.drained");
        assert_eq!(drained, u64::from(policy != "WhenEmpty"));
        // The replacement is ready before the pods are evicted: they start anew at once.
        let mut simulation = support::simulation(&text);
        assert!(simulation.advance(29 * MINUTE).is_none());
        assert_eq!(present(&simulation), 1);
    }
}

/// `ValidatePodsDisruptable`: `karpenter.sh/do-not-disrupt` and budgets that allow no disruption keep a node.
#[test]
fn some_pods_keep_their_node() {
    for (field, budget, replaced) in [
        ("", "", 1),
        (", safeToEvict: false", "", 0),
        ("", "maxUnavailable: 0", 0),
        ("", "maxUnavailable: 1", 1),
    ] {
        let workload = format!(
            "{{deployments: [{{name: web, replicas: 3, requests: {{cpu: 1, memory: 1Gi}}{field}}}], jobs: [{{name: batch, completions: 13, parallelism: 13, requests: {{cpu: 1, memory: 1Gi}}, runTime: 120s}}]}}"
        );
        let pools = pool("p", ", disruption: {budgets: [{nodes: 100%}]}");
        let mut text = text(&pools, "", &workload, "{when: time, limit: 30m}");
        if !budget.is_empty() {
            let budgets = format!(
                "cluster: {{podDisruptionBudgets: [{{selector: {{matchLabels: {{app: web}}}}, {budget}}}], "
            );
            text = text.replacen("cluster: {", &budgets, 1);
        }
        let completed = support::run(&text);
        assert_eq!(left(&completed, "p-large"), 1 - replaced, "{field} {budget}");
        assert_eq!(count(&completed, "pods.running") - count(&completed, "pods.finished"), 3);
    }
}

#[test]
fn errors_name_the_field() {
    for (pools, more, field, says) in [
        (String::new(), "", "cluster.autoscaler.nodePools", "required"),
        (
            pool("p", ", disruption: {consolidateAfter: soon}"),
            "",
            "nodePools[0].disruption.consolidateAfter",
            "a duration or Never",
        ),
        (pool("p", ", limits: {nodes: 0}"), "", "nodePools[0].limits.nodes", "at least 1"),
        (
            pool("p", ""),
            ", scanInterval: 10s",
            "cluster.autoscaler.scanInterval",
            "not a field of `karpenter`",
        ),
        ("{name: p, instanceTypes: []}".to_owned(), "", "nodePools[0].instanceTypes", "no instance type"),
        (pool("p", ", disruption: {consolidationPolicy: Balanced}"), "", "consolidationPolicy", "WhenEmpty"),
    ] {
        let text = text(&pools, more, &web(1, "cpu: 1, memory: 1Gi"), UNTIL_RUNNING);
        let document = Document::parse("scenario.yaml", &text, None).unwrap();
        let errors = match podpace::experiment::run::RunSpec::of_scenario(document) {
            Err(errors) => errors,
            Ok(_) => panic!("no error\n{text}"),
        };
        let error = errors[0].to_string();
        assert!(error.contains(field) && error.contains(says) && error.contains("scenario.yaml:"), "{error}");
    }
}
