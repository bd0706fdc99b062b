//! cluster-autoscaler: when nodes come, which, and when they go.
//!
//! Each test states the rule and where the real system has it. Paths are those of kubernetes/autoscaler at cluster-autoscaler 1.36.1, below `cluster-autoscaler/`.
use podpace::cluster::{NodeId, PodId, Stage};
use podpace::experiment::run::Completed;
use podpace::experiment::simulation::Simulation;
use podpace::scenario::Document;

use crate::support::{self, SECOND, count, metric, scenario};

const MINUTE: u64 = 60 * SECOND;

/// A cluster whose nodes all come from `groups`; `more` are further fields of the autoscaler.
fn text(groups: &str, more: &str, workload: &str, stop: &str) -> String {
    let rest = format!(
        "cluster: {{nodes: [], autoscaler: {{kind: cluster-autoscaler, provisioning: 60s, nodeGroups: [{groups}]{more}}}}}
controlPlane: {{nodeLifecycle: {{kind: kubelet, startLatency: 1s}}}}
scheduler: {{kind: kube-scheduler}}
workload: {workload}
stop: {stop}"
    );
    scenario("autoscaler", &rest)
}

fn group(name: &str, min: u32, max: u32, cpu: u32, memory: u32, more: &str) -> String {
    format!(
        "{{name: {name}, min: {min}, max: {max}, template: {{allocatable: {{cpu: {cpu}, memory: {memory}Gi, pods: 110}}}}{more}}}"
    )
}

fn web(replicas: u32, requests: &str) -> String {
    format!("{{deployments: [{{name: web, replicas: {replicas}, requests: {{{requests}}}}}]}}")
}

const UNTIL_RUNNING: &str = "{when: allRunning, limit: 3h}";

fn present(simulation: &Simulation) -> Vec<NodeId> {
    let nodes = &simulation.cluster().nodes;
    (0..nodes.len() as NodeId).filter(|node| nodes.get(*node).present).collect()
}

fn running(simulation: &Simulation) -> usize {
    let pods = &simulation.cluster().pods;
    (0..pods.len() as PodId).filter(|pod| pods.stage(*pod) == Stage::Running).count()
}

fn taints(simulation: &Simulation, node: NodeId) -> Vec<String> {
    simulation.cluster().nodes.template(node).taints.iter().map(|taint| taint.key.clone()).collect()
}

fn left(completed: &Completed, group: &str) -> u64 {
    count(completed, &format!("autoscaler.left.{group}"))
}

/// `BinpackingNodeEstimator`: an empty cluster and 20 pods of 3 cores need 10 nodes of 8 cores, no more and no fewer. The first round finds only pods that are younger
/// than 2 s (`allPodsAreNew`) and waits for the next, 10 s later (`--scan-interval`).
#[test]
fn an_empty_cluster_gets_as_many_nodes_as_its_pods_need() {
    let text = text(&group("small", 0, 100, 8, 32, ""), "", &web(20, "cpu: 3, memory: 1Gi"), UNTIL_RUNNING);
    let completed = support::run(&text);
    assert_eq!((count(&completed, "pods.running"), count(&completed, "autoscaler.scale_ups")), (20, 1));
    assert_eq!((count(&completed, "autoscaler.nodes.requested"), left(&completed, "small")), (10, 10));
    let mut simulation = support::simulation(&text);
    assert!(simulation.advance(69 * SECOND).is_none());
    assert_eq!(present(&simulation).len(), 0);
    let _ = simulation.advance(72 * SECOND);
    assert_eq!(present(&simulation).len(), 10);
    let wait = metric(&completed, "autoscaler.wait.p50_s");
    assert!((70.0..72.5).contains(&wait), "10 s, then a machine of 60 s: {wait}");
    assert_eq!(count(&completed, "autoscaler.wait.pods"), 20);
}

/// `main.go` and `loop/trigger.go`: without `--frequent-loops-enabled` a round each interval and none between.
#[test]
fn the_scan_interval_is_waited_for() {
    for (interval, expected) in [("10s", 10.0), ("30s", 30.0), ("2m", 120.0)] {
        let more = format!(", scanInterval: {interval}, frequentLoops: false");
        let groups = group("small", 0, 10, 8, 32, "");
        let completed = support::run(&text(&groups, &more, &web(1, "cpu: 3, memory: 1Gi"), UNTIL_RUNNING));
        let wait = metric(&completed, "autoscaler.wait.max_s");
        assert!((expected + 60.0 - 1.0..expected + 61.5).contains(&wait), "{interval}: {wait}");
    }
}

/// `filterOutYoungPods`: pods younger than `--new-pod-scale-up-delay` ask for nothing.
#[test]
fn young_pods_wait() {
    let more = ", newPodScaleUpDelay: 3m";
    let groups = group("small", 0, 10, 8, 32, "");
    let completed = support::run(&text(&groups, more, &web(1, "cpu: 3, memory: 1Gi"), UNTIL_RUNNING));
    let wait = metric(&completed, "autoscaler.wait.max_s");
    assert!((180.0 + 60.0..190.0 + 61.5).contains(&wait), "{wait}");
}

/// `expander/waste`, `expander/mostpods`, `expander/priority`: of three groups that could take two pods of 3 cores the one is taken that the expander says.
#[test]
fn the_expander_decides_which_group_grows() {
    let groups = [
        group("fits", 0, 9, 6, 2, ", priority: 10"),
        group("large", 0, 9, 64, 256, ", priority: 20"),
        group("one", 0, 9, 3, 64, ""),
    ]
    .join(", ");
    // Each pod alone fits on `one`; `fits` and `large` take both on one node.
    for (expander, chosen, nodes) in
        [("least-waste", "fits", 1), ("priority", "large", 1), ("\"priority,least-waste\"", "large", 1)]
    {
        let more = format!(", expander: {expander}");
        let completed = support::run(&text(&groups, &more, &web(2, "cpu: 3, memory: 1Gi"), UNTIL_RUNNING));
        assert_eq!(left(&completed, chosen), nodes, "{expander}");
        assert_eq!(count(&completed, "autoscaler.nodes.requested"), nodes, "{expander}");
    }
    let more = ", expander: \"least-nodes,least-waste\"";
    let completed = support::run(&text(&groups, more, &web(2, "cpu: 3, memory: 1Gi"), UNTIL_RUNNING));
    assert_eq!(left(&completed, "fits"), 1);
    // `most-pods`: only `large` can take the pod of 20 cores and those of 3.
    let workload = "{deployments: [{name: a, replicas: 2, requests: {cpu: 3, memory: 1Gi}}, {name: b, replicas: 1, requests: {cpu: 20, memory: 1Gi}}]}";
    let completed = support::run(&text(&groups, ", expander: most-pods", workload, UNTIL_RUNNING));
    assert_eq!((left(&completed, "large"), left(&completed, "fits"), left(&completed, "one")), (1, 0, 0));
    // `random`: any of them.
    let mut chosen: Vec<String> = Vec::new();
    for seed in 1..=24 {
        let text = text(&groups, ", expander: random", &web(1, "cpu: 3, memory: 1Gi"), UNTIL_RUNNING);
        let completed =
            support::run(&text.replace("name: autoscaler\n", &format!("name: autoscaler\nseed: {seed}\n")));
        for group in ["fits", "large", "one"].into_iter().filter(|group| left(&completed, group) > 0) {
            chosen.push(group.to_owned());
        }
    }
    assert_eq!(chosen.len(), 24);
    chosen.sort();
    chosen.dedup();
    assert_eq!(chosen, ["fits", "large", "one"]);
}

/// One group grows in a round; with `--frequent-loops-enabled` the next round follows at once (`LoopTrigger.Wait`).
#[test]
fn pods_that_one_group_cannot_take_go_to_the_next_round() {
    let groups = [group("gpu", 0, 9, 8, 32, ""), group("plain", 0, 9, 8, 32, "")].join(", ").replacen(
        "pods: 110}}",
        "pods: 110}, labels: {gpu: a100}, taints: [{key: gpu, effect: NoSchedule}]}",
        1,
    );
    let workload = "{deployments: [{name: a, replicas: 1, requests: {cpu: 3, memory: 1Gi}}, {name: b, replicas: 1, requests: {cpu: 3, memory: 1Gi}, nodeSelector: {gpu: a100}, tolerations: [{key: gpu, operator: Exists}]}]}";
    let completed = support::run(&text(&groups, "", workload, UNTIL_RUNNING));
    assert_eq!((left(&completed, "gpu"), left(&completed, "plain")), (1, 1));
    assert_eq!(count(&completed, "autoscaler.scale_ups"), 2);
    assert!(metric(&completed, "autoscaler.wait.max_s") < 73.0);
}

/// Groups have a maximum (`SngCapacityThreshold`), and so has the cluster (`--max-nodes-total`); pods beyond stay pending, and the run says why.
#[test]
fn groups_end_at_their_maximum() {
    for (max, more, nodes) in
        [(3, "", 3), (100, ", maxNodesTotal: 4", 4), (100, ", maxNodesPerScaleup: 2", 10)]
    {
        let groups = group("small", 0, max, 8, 32, "");
        let completed = support::run(&text(&groups, more, &web(20, "cpu: 3, memory: 1Gi"), UNTIL_RUNNING));
        assert_eq!(left(&completed, "small"), nodes, "{more}");
        assert_eq!(count(&completed, "pods.running"), 2 * nodes, "{more}");
        assert_eq!(count(&completed, "autoscaler.wait.open"), 20 - 2 * nodes, "{more}");
    }
    let groups = group("small", 0, 3, 8, 32, "");
    let completed = support::run(&text(&groups, "", &web(20, "cpu: 3, memory: 1Gi"), UNTIL_RUNNING));
    assert!(
        completed.summary.bottleneck.sentence.contains("14 pods are pending"),
        "{}",
        completed.summary.bottleneck.sentence
    );
}

/// What fits on nodes that are there, or under way, asks for nothing more (`filterOutSchedulable`, `GetUpcomingNodes`).
#[test]
fn nodes_under_way_are_counted_on() {
    let arrivals =
        "{pods: [{count: 8, requests: {cpu: 2, memory: 1Gi}}], arrivals: {process: constant, rate: 0.1}}";
    let groups = group("small", 0, 100, 16, 64, "");
    let completed = support::run(&text(&groups, "", arrivals, UNTIL_RUNNING));
    assert_eq!((left(&completed, "small"), count(&completed, "pods.running")), (1, 8));
}

/// `updateScaleRequests`: machines that are not there after `--max-node-provision-time` are given up, their group is backed off for 5 minutes
/// (`--initial-node-group-backoff-duration`), and another group has its turn.
#[test]
fn a_group_that_does_not_deliver_is_backed_off() {
    let groups = [group("late", 0, 9, 8, 32, ", priority: 9"), group("other", 0, 9, 8, 32, ", priority: 1")]
        .join(", ");
    let more = ", expander: priority, maxNodeProvisionTime: 2m";
    let text = text(&groups, more, &web(1, "cpu: 3, memory: 1Gi"), "{when: time, limit: 40m}")
        .replace("provisioning: 60s", "provisioning: 3m");
    let completed = support::run(&text);
    // late: at 10 s; given up after 2 minutes; other: too late as well; and so on, until both are backed off.
    assert_eq!(count(&completed, "pods.running"), 0);
    assert!(count(&completed, "autoscaler.timed_out") >= 4);
    assert_eq!(count(&completed, "autoscaler.nodes.cancelled"), count(&completed, "autoscaler.timed_out"));
    assert_eq!(count(&completed, "autoscaler.nodes.added"), 0);
    let mut simulation = support::simulation(&text);
    assert!(simulation.advance(39 * MINUTE).is_none());
    assert_eq!(present(&simulation).len(), 0);
}

/// `removeOldUnregisteredNodes`: each machine has `--max-node-provision-time` of its own, which a later scale-up of its group does not
/// lengthen. Here two are asked for 100 s apart.
#[test]
fn a_late_machine_is_given_up_whatever_its_group_asks_for_later() {
    let workload =
        "{pods: [{count: 2, requests: {cpu: 6, memory: 1Gi}}], arrivals: {process: constant, rate: 0.01}}";
    let given_up = |seconds: u32| {
        let stop = format!("{{when: time, limit: {seconds}s}}");
        let text = text(&group("late", 0, 9, 8, 32, ""), ", maxNodeProvisionTime: 3m", workload, &stop)
            .replace("provisioning: 60s", "provisioning: 1h");
        count(&support::run(&text), "autoscaler.timed_out")
    };
    let counts: Vec<u64> = (170..430).step_by(20).map(given_up).collect();
    assert_eq!((counts[0], counts.contains(&1)), (0, true), "{counts:?}");
    assert!(*counts.last().unwrap() >= 2, "{counts:?}");
}

/// The same: a group does not become smaller than its minimum.
#[test]
fn late_machines_stay_where_their_group_is_at_its_minimum() {
    let given_up = |min: u32| {
        let faults = "\nfaults: [{kind: nodeRemove, at: 72s, nodes: {names: [small-00000]}}]";
        let workload = "{pods: [{count: 2, requests: {cpu: 6, memory: 1Gi}}]}";
        let groups = group("small", min, 5, 8, 32, ", initial: 1");
        let text = text(&groups, ", maxNodeProvisionTime: 2m", workload, "{when: time, limit: 6m}")
            .replace("provisioning: 60s", "provisioning: 1h")
            + faults;
        let completed = support::run(&text);
        (count(&completed, "autoscaler.timed_out"), left(&completed, "small"))
    };
    assert_eq!(given_up(0), (1, 0));
    assert_eq!(given_up(1), (0, 1));
}

/// A pod of 8 cores fits on no group; nothing is asked for (`SchedulablePodGroups`).
#[test]
fn pods_that_fit_on_no_group_ask_for_nothing() {
    let groups = [group("small", 0, 9, 8, 32, ""), group("high", 0, 9, 16, 1, "")].join(", ");
    let workload = "{deployments: [{name: a, replicas: 1, requests: {cpu: 3, memory: 1Gi}}, {name: b, replicas: 2, requests: {cpu: 10, memory: 4Gi}}]}";
    let completed = support::run(&text(&groups, "", workload, "{when: allRunning, limit: 30m}"));
    assert_eq!((count(&completed, "pods.running"), count(&completed, "autoscaler.nodes.requested")), (1, 1));
}

/// Anti-affinity by host name: each pod needs a node of its own.
#[test]
fn anti_affinity_needs_a_node_a_pod() {
    let workload = "{deployments: [{name: web, replicas: 5, antiAffinity: required, requests: {cpu: 100m, memory: 100Mi}}]}";
    let completed = support::run(&text(&group("small", 0, 100, 8, 32, ""), "", workload, UNTIL_RUNNING));
    assert_eq!((left(&completed, "small"), count(&completed, "pods.running")), (5, 5));
}

/// `getUnneeded..`, `RemovableAt`: an empty node goes once it has been unneeded for `--scale-down-unneeded-time` (10 minutes), not before
/// `--scale-down-delay-after-add` (10 minutes) after the last scale-up; tainted, and 5 s later (`--node-delete-delay-after-taint`) ended. A group keeps its minimum.
#[test]
fn empty_nodes_go_after_ten_minutes() {
    let workload = "{jobs: [{name: batch, completions: 10, requests: {cpu: 5, memory: 1Gi}, runTime: 60s}]}";
    let text = text(&group("small", 1, 100, 8, 32, ""), "", workload, "{when: time, limit: 40m}");
    let mut simulation = support::simulation(&text);
    // One of the ten fits on the node that is there; nine machines come for the others, and are empty a good two minutes later.
    assert!(simulation.advance(5 * MINUTE).is_none());
    assert_eq!(present(&simulation).len(), 10);
    assert!(simulation.advance(655 * SECOND).is_none());
    assert_eq!(present(&simulation).len(), 10, "unneeded for less than 10 minutes");
    let soft = present(&simulation)
        .into_iter()
        .filter(|n| taints(&simulation, *n).iter().any(|key| key == "DeletionCandidateOfClusterAutoscaler"));
    assert!(soft.count() >= 9, "unneeded nodes bear the soft taint");
    assert!(simulation.advance(14 * MINUTE).is_none());
    assert_eq!(present(&simulation).len(), 1);
    let ended = simulation.advance(u64::MAX).unwrap();
    assert_eq!(simulation.finish(ended).autoscaler.unwrap().fleet.left, 1);
    let completed = support::run(&text);
    assert_eq!(
        (count(&completed, "autoscaler.removed.empty"), count(&completed, "autoscaler.removed.drained")),
        (9, 0)
    );
    assert_eq!((count(&completed, "autoscaler.nodes.peak"), count(&completed, "pods.finished")), (10, 10));
}

/// `ScaleDownBudgetProcessor.CropNodes`: at most `--max-scale-down-parallelism` nodes at a time.
#[test]
fn few_nodes_go_at_a_time() {
    let workload = "{jobs: [{name: batch, completions: 20, requests: {cpu: 5, memory: 1Gi}, runTime: 60s}]}";
    let more = ", scaleDown: {unneededTime: 2m, delayAfterAdd: 0s, maxParallelism: 4}";
    let text = text(&group("small", 0, 100, 8, 32, ""), more, workload, "{when: time, limit: 30m}");
    let mut simulation = support::simulation(&text);
    let mut before = 0;
    let mut most_at_once = 0;
    for second in 0..1800 {
        let _ = simulation.advance(second * SECOND);
        let tainted = present(&simulation)
            .into_iter()
            .filter(|n| taints(&simulation, *n).iter().any(|key| key == "ToBeDeletedByClusterAutoscaler"));
        most_at_once = most_at_once.max(tainted.count());
        before = before.max(present(&simulation).len());
    }
    assert_eq!((before, most_at_once, present(&simulation).len()), (20, 4, 0));
}

/// Two half-empty nodes become one: a node below the threshold of use whose pods fit elsewhere is drained (`SimulateNodeRemoval`), one at a time
/// (`--max-drain-parallelism`).
#[test]
fn underused_nodes_are_drained() {
    let workload = "{deployments: [{name: web, replicas: 4, requests: {cpu: 1, memory: 1Gi}}, {name: big, replicas: 4, requests: {cpu: 6, memory: 1Gi}}]}";
    let down = "scaleDown: {unneededTime: 3m, delayAfterAdd: 0s}";
    let groups = group("small", 0, 10, 8, 32, ", initial: 8");
    let text = text(&groups, &format!(", {down}"), workload, "{when: time, limit: 1h}");
    let mut simulation = support::simulation(&text);
    assert!(simulation.advance(3 * MINUTE).is_none());
    assert_eq!((present(&simulation).len(), running(&simulation)), (8, 8));
    assert!(simulation.advance(59 * MINUTE).is_none());
    // 28 cores: four nodes of 8, each with 6 + 1.
    assert_eq!((present(&simulation).len(), running(&simulation)), (4, 8));
    let completed = support::run(&text);
    assert_eq!(
        count(&completed, "autoscaler.removed.drained") + count(&completed, "autoscaler.removed.empty"),
        4
    );
    assert_eq!(count(&completed, "autoscaler.evictions.granted"), count(&completed, "pods.replaced"));
    assert_eq!(count(&completed, "autoscaler.nodes.requested"), 0);
}

/// `--scale-down-utilization-threshold`: the larger of the shares of CPU and memory; at the threshold a node is still underused.
#[test]
fn use_is_the_larger_of_cpu_and_memory() {
    for (requests, nodes) in
        [("cpu: 4, memory: 1Gi", 1), ("cpu: 4100m, memory: 1Gi", 2), ("cpu: 1, memory: 17Gi", 2)]
    {
        let workload = format!("{{deployments: [{{name: web, replicas: 2, requests: {{{requests}}}}}]}}");
        let groups = group("small", 0, 10, 8, 32, ", initial: 2");
        let more = ", scaleDown: {unneededTime: 3m, delayAfterAdd: 0s}";
        let completed = support::run(&text(&groups, more, &workload, "{when: time, limit: 30m}"));
        assert_eq!(left(&completed, "small"), nodes, "{requests}");
    }
}

/// Pods that block a drain (`simulator/drainability/rules`): those without a controller, `safe-to-evict: "false"`, those of `kube-system` for an hour, those whose
/// budget allows no disruption. `safe-to-evict: "true"` overrides them.
#[test]
fn some_pods_keep_their_node() {
    // A node that is used well, and one with a small pod that would fit beside.
    let load = |kind: &str, count: &str, more: &str| {
        format!(
            "{{{kind}: [{{name: wall, {count}: 1, requests: {{cpu: 5, memory: 1Gi}}}}, {{name: web, {count}: 1, requests: {{cpu: 1, memory: 1Gi}}{more}}}]}}"
        )
    };
    let owned = |more: &str| load("deployments", "replicas", more);
    let bare = |more: &str| load("pods", "count", more);
    for (workload, budget, nodes) in [
        (owned(""), "", 1),
        (bare(""), "", 2),
        (bare(", safeToEvict: true"), "", 1),
        (owned(", safeToEvict: false"), "", 2),
        (owned(", namespace: kube-system"), "", 2),
        (owned(", namespace: kube-system, safeToEvict: true"), "", 1),
        (owned(""), "maxUnavailable: 0", 2),
        (owned(""), "maxUnavailable: 1", 1),
    ] {
        let groups = group("small", 0, 10, 8, 32, ", initial: 2");
        let more = ", scaleDown: {unneededTime: 3m, delayAfterAdd: 0s}";
        let mut text = text(&groups, more, &workload, "{when: time, limit: 30m}");
        if !budget.is_empty() {
            let budgets = format!(
                "cluster: {{podDisruptionBudgets: [{{selector: {{matchLabels: {{app: web}}}}, {budget}}}], "
            );
            text = text.replacen("cluster: {", &budgets, 1);
        }
        assert_eq!(left(&support::run(&text), "small"), nodes, "{workload} {budget}");
    }
}

/// Two pods on a node, and a budget that allows one to go: the second eviction is tried again each 10 s for 2 minutes (`evictPod`, `--max-pod-eviction-time`), then the
/// node is left alone and untainted. When the first pod is up elsewhere, the node has its turn again.
#[test]
fn a_drain_that_a_budget_holds_up_is_given_up() {
    let workload = "{deployments: [{name: web, replicas: 2, requests: {cpu: 400m, memory: 1Gi}}, {name: wall, replicas: 1, requests: {cpu: 10, memory: 1Gi}}]}";
    let groups = [group("small", 0, 1, 8, 32, ", initial: 1"), group("large", 0, 1, 16, 64, "")].join(", ");
    let more = ", scaleDown: {unneededTime: 3m, delayAfterAdd: 0s}";
    let budgets =
        "cluster: {podDisruptionBudgets: [{selector: {matchLabels: {app: web}}, maxUnavailable: 1}], ";
    let text = text(&groups, more, workload, "{when: time, limit: 1h}")
        .replacen("cluster: {", budgets, 1)
        .replace("startLatency: 1s", "startLatency: 5m");
    let completed = support::run(&text);
    let figures = ["left_alone", "evictions.refused", "evictions.granted", "removed.drained"]
        .map(|name| count(&completed, &format!("autoscaler.{name}")));
    assert_eq!(figures, [1, 12, 2, 1]);
    assert_eq!((left(&completed, "small"), left(&completed, "large")), (0, 1));
    let mut simulation = support::simulation(&text);
    let mut fewest = usize::MAX;
    for minute in 6..60 {
        assert!(simulation.advance(minute * MINUTE).is_none());
        let pods = &simulation.cluster().pods;
        let web = (0..pods.len() as PodId).filter(|p| pods.spec(*p).labels["app"] == "web");
        fewest = fewest.min(web.filter(|p| pods.stage(*p) == Stage::Running).count());
    }
    assert_eq!(fewest, 1, "the budget allows one to be away");
}

/// A machine costs its price from the request to its end, in micro-dollars.
#[test]
fn machines_cost_by_the_hour() {
    let groups = group("small", 0, 10, 8, 32, ", price: 0.36, initial: 2");
    let more = ", scaleDown: {enabled: false}";
    let completed =
        support::run(&text(&groups, more, &web(1, "cpu: 3, memory: 1Gi"), "{when: time, limit: 30m}"));
    assert!((metric(&completed, "autoscaler.node_hours") - 1.0).abs() < 1e-9);
    assert_eq!(count(&completed, "autoscaler.cost_micro_dollars"), 360_000);
    assert!((metric(&completed, "autoscaler.cost_dollars") - 0.36).abs() < 1e-9);
}

/// The cloud refuses to make a group smaller than its minimum: a node on its way out stays when another has gone meanwhile.
#[test]
fn a_group_that_a_fault_made_smaller_keeps_its_minimum() {
    for removed in ["small-00000", "small-00001"] {
        let groups = group("small", 1, 5, 8, 32, ", initial: 2");
        let more = ", scaleDown: {unneededTime: 1m}";
        let faults = format!("\nfaults: [{{kind: nodeRemove, at: 72s, nodes: {{names: [{removed}]}}}}]");
        let text =
            text(&groups, more, &web(1, "cpu: 100m, memory: 1Gi"), "{when: time, limit: 10m}") + &faults;
        let completed = support::run(&text);
        assert_eq!(left(&completed, "small"), 1, "{removed}");
    }
}

/// A server that takes no time answers at once: a round that changed something is followed by one more, not by as many as the client has tokens.
#[test]
fn a_round_that_changed_something_is_followed_by_one_more() {
    let text = text(&group("small", 0, 100, 8, 32, ""), "", &web(20, "cpu: 3, memory: 1Gi"), UNTIL_RUNNING);
    let rounds = count(&support::run(&text), "autoscaler.rounds");
    assert!(
        (8..=24).contains(&rounds),
        "one each 10 s, some for new pods, and one more after the scale-up: {rounds}"
    );
}

/// Schedulers that write no condition: every pod without a node counts, as with `--bypassed-scheduler-names`.
#[test]
fn other_schedulers_have_nodes_added_too() {
    for kind in ["yunikorn", "volcano", "first-fit"] {
        let text =
            text(&group("small", 0, 100, 8, 32, ""), "", &web(20, "cpu: 3, memory: 1Gi"), UNTIL_RUNNING)
                .replace("kind: kube-scheduler", &format!("kind: {kind}"));
        let completed = support::run(&text);
        assert_eq!((left(&completed, "small"), count(&completed, "pods.running")), (10, 20), "{kind}");
    }
}

fn wrong(text: &str) -> String {
    let document = Document::parse("scenario.yaml", text, None).unwrap();
    let errors = match podpace::experiment::run::RunSpec::of_scenario(document) {
        Err(errors) => errors,
        Ok(_) => panic!("no error\n{text}"),
    };
    errors[0].to_string()
}

/// What is wrong is told with its field, and what to do.
#[test]
fn errors_name_the_field() {
    let workload = web(1, "cpu: 3, memory: 1Gi");
    let small = group("small", 0, 10, 8, 32, "");
    let returning = workload.replace("requests:", "tolerations: [{operator: Exists}], requests:");
    let message = support::message_of(&text(&small, "", &returning, UNTIL_RUNNING), None);
    assert!(
        message.contains("cluster.autoscaler") && message.contains("that tolerate the taint"),
        "{message}"
    );
    for (groups, more, field, says) in [
        (
            small.clone(),
            ", expander: price",
            "cluster.autoscaler.expander",
            "not modelled: the expander `price`",
        ),
        (small.clone(), ", expander: least-wast", "cluster.autoscaler.expander", "least-waste"),
        (small.clone(), ", scanInterval: 0s", "cluster.autoscaler.scanInterval", "more than 0s"),
        (
            small.replace("max: 10", "max: 100000000"),
            "",
            "cluster.autoscaler.nodeGroups[0].max",
            "at most 10000000",
        ),
        (
            small.replace("min: 0", "min: 11"),
            "",
            "cluster.autoscaler.nodeGroups[0].min",
            "at most the max of 10",
        ),
        (
            group("small", 2, 10, 8, 32, ", initial: 1"),
            "",
            "cluster.autoscaler.nodeGroups[0].initial",
            "from 2 to 10",
        ),
        (
            group("small", 0, 10, 8, 32, ", price: -1"),
            "",
            "cluster.autoscaler.nodeGroups[0].price",
            "zero or more",
        ),
        (format!("{small}, {small}"), "", "cluster.autoscaler.nodeGroups[1].name", "exists twice"),
        (String::new(), "", "cluster.autoscaler.nodeGroups", "required"),
        (
            small.replace("cpu: 8, ", ""),
            "",
            "cluster.autoscaler.nodeGroups[0].template.allocatable.cpu",
            "required",
        ),
        (
            small.clone(),
            ", scaleDown: {utilizationThreshold: 5}",
            "cluster.autoscaler.scaleDown.utilizationThreshold",
            "at most 1",
        ),
        (small.clone(), ", scaleDown: {unneeded: 5m}", "unneeded", "unneededTime"),
    ] {
        let error = wrong(&text(&groups, more, &workload, UNTIL_RUNNING));
        assert!(error.contains(field) && error.contains(says), "{field}, {says}: {error}");
        assert!(error.contains("scenario.yaml:"), "{error}");
    }
    let error = wrong(&text(&small, "", &web(1, "cpu: 30, memory: 1Gi"), UNTIL_RUNNING));
    assert!(error.contains("no node can hold a pod"), "{error}");
}
