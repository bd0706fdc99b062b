//! `kubectl drain`: what it does to nodes and pods, and what budgets hold it up.
//!
//! Each test states the rule and where the real system has it. Paths are those of kubernetes/kubernetes.
use podpace::cluster::{NO_NODE, NodeId, PodId, Stage};
use podpace::experiment::run::Completed;
use podpace::experiment::simulation::Simulation;

use crate::support::{self, SECOND, count, only, scenario};

fn run(text: &str) -> Completed {
    support::run(&scenario("drains", text))
}

fn simulation(text: &str) -> Simulation {
    support::simulation(&scenario("drains", text))
}

/// A cluster of `nodes`, so many replicas of `web`, and a drain; `budgets` is a list of budgets of `web`.
fn cluster(nodes: u32, replicas: u32, budgets: &[&str], drain: &str, stop: &str) -> String {
    let budgets: Vec<String> = (0..budgets.len())
        .map(|i| format!("{{name: b{i}, selector: {{matchLabels: {{app: web}}}}, {}}}", budgets[i]))
        .collect();
    format!(
        "cluster:
  nodes: [{{count: {nodes}, template: {{allocatable: {{cpu: 32, memory: 64Gi, pods: 110}}}}}}]
  podDisruptionBudgets: [{}]
controlPlane: {{nodeLifecycle: {{kind: kubelet, startLatency: 1s}}}}
scheduler: {{kind: kube-scheduler}}
workload: {{deployments: [{{name: web, replicas: {replicas}, requests: {{cpu: 200m, memory: 100Mi}}}}]}}
faults: [{{kind: drain, at: 5m, {drain}}}]
stop: {stop}",
        budgets.join(", ")
    )
}

const UNTIL_RUNNING: &str = "{when: allRunning, limit: 3h}";

fn cordoned(simulation: &Simulation) -> Vec<NodeId> {
    let nodes = &simulation.cluster().nodes;
    (0..nodes.len() as NodeId).filter(|node| nodes.template(*node).unschedulable).collect()
}

fn running(simulation: &Simulation, on: Option<NodeId>) -> usize {
    let pods = &simulation.cluster().pods;
    (0..pods.len() as PodId)
        .filter(|pod| pods.stage(*pod) == Stage::Running && on.is_none_or(|node| pods.node(*pod) == node))
        .count()
}

/// A command has a clientset of client-go's defaults (`rest.DefaultQPS` 5, `DefaultBurst` 10). It cordons and lists, evicts
/// every pod from a goroutine of its own, and looks at each until it is gone (`evictPods`, `waitForDelete`).
#[test]
fn without_budgets_a_drain_waits_for_its_own_client() {
    let text = cluster(4, 120, &[], "nodes: {names: [node-00002]}", UNTIL_RUNNING);
    let completed = run(&text);
    let fault = only(&completed);
    assert_eq!((fault.nodes, fault.pods_lost), (1, 30));
    assert_eq!((count(&completed, "evictions.granted"), count(&completed, "evictions.refused")), (30, 0));
    assert_eq!((count(&completed, "nodes.drained"), count(&completed, "nodes.not_drained")), (1, 0));
    assert_eq!((count(&completed, "pods.replaced"), count(&completed, "pods.evicted")), (30, 0));
    // A cordon, a list, 30 evictions and 30 looks: the ten first at once, then five a second.
    let took = fault.drained_after_s.unwrap();
    assert!((took - (62.0 - 10.0) / 5.0).abs() < 0.01, "{took}");
    // Pods that are to be evicted run on until they are, and the new ones go elsewhere.
    let mut simulation = simulation(&text);
    assert!(simulation.advance(301 * SECOND).is_none());
    assert_eq!(cordoned(&simulation), [2]);
    let left = running(&simulation, Some(2));
    assert!((14..=18).contains(&left), "8 at once, then 5 a second: {left}");
    let ended = simulation.advance(u64::MAX).unwrap();
    let finished = simulation.finish(ended);
    let pods = &finished.cluster.pods;
    let live = (0..pods.len() as PodId).filter(|pod| pods.stage(*pod) == Stage::Running);
    let nodes: Vec<NodeId> = live.map(|pod| pods.node(pod)).collect();
    assert_eq!((nodes.len(), nodes.contains(&2)), (120, false));
}

/// `checkAndDecrement`: one disruption at a time; the others are answered 429, and each tries again 5 s later.
#[test]
fn a_budget_lets_one_go_at_a_time() {
    for (budget, least) in [("maxUnavailable: 1", 39), ("minAvailable: 90%", 36), ("minAvailable: 38", 38)] {
        let text = cluster(4, 40, &[budget], "nodes: {names: [node-00001]}", UNTIL_RUNNING);
        let completed = run(&text);
        let fault = only(&completed);
        assert_eq!((fault.pods_lost, count(&completed, "evictions.granted")), (10, 10), "{budget}");
        assert!(count(&completed, "evictions.refused") > 0, "{budget}");
        // Each round of 5 s frees as many as the budget allows: a start takes 1 s.
        let rounds = 10_usize.div_ceil(40 - least) as f64;
        let took = fault.drained_after_s.unwrap();
        assert!(took > (rounds - 1.0) * 5.0 && took < (rounds + 4.0) * 5.0, "{budget}: {took}");
        let mut simulation = simulation(&text);
        let mut fewest = usize::MAX;
        for tenth in 3000..3600 {
            let _ = simulation.advance(tenth * SECOND / 10);
            fewest = fewest.min(running(&simulation, None));
        }
        assert!(fewest >= least, "{budget}: {fewest} run");
        assert!(fewest < 40, "{budget}");
    }
}

/// A budget that allows nothing holds the command for ever; `--timeout` ends it. The node stays cordoned.
#[test]
fn a_budget_that_allows_nothing_holds_a_drain_for_ever() {
    let until = "{when: time, limit: 1h}";
    for (drain, not_drained) in [("", 0), (", timeout: 2m", 1)] {
        let drain = format!("nodes: {{names: [node-00001]}}{drain}");
        let text = cluster(4, 40, &["maxUnavailable: 0"], &drain, until);
        let completed = run(&text);
        let fault = only(&completed);
        assert_eq!((fault.pods_lost, count(&completed, "evictions.granted")), (0, 0));
        assert_eq!(count(&completed, "nodes.not_drained"), not_drained);
        assert_eq!(fault.drained_after_s, (not_drained == 1).then_some(120.0).map(|s| s + 0.0));
        // Ten pods each 5 s: more than the client's five requests a second would not fit.
        let refused = count(&completed, "evictions.refused");
        let seconds = if not_drained == 1 { 120 } else { 3300 };
        assert!(refused >= 10 * (seconds / 5 - 1) && refused <= 10 * (seconds / 5 + 1), "{refused}");
        let mut simulation = simulation(&text);
        assert!(simulation.advance(3500 * SECOND).is_none());
        assert_eq!((cordoned(&simulation), running(&simulation, Some(1))), (vec![1], 10));
    }
}

/// "cannot delete Pods that declare no controller (use --force to override)" (`unreplicatedFilter`): nothing on the node is
/// evicted.
#[test]
fn pods_without_a_controller_need_force() {
    let bare = |force: &str| {
        let text =
            cluster(4, 40, &[], &format!("nodes: {{names: [node-00001]}}{force}"), "{when: time, limit: 1h}");
        run(&text.replace("deployments: [{name: web, replicas: 40", "pods: [{name: web, count: 40"))
    };
    let kept = bare("");
    assert_eq!((count(&kept, "nodes.drained"), count(&kept, "nodes.not_drained")), (0, 1));
    assert_eq!(only(&kept).pods_lost, 0);
    let forced = bare(", force: true");
    assert_eq!(count(&forced, "nodes.drained"), 1);
    assert!(only(&forced).pods_lost > 0);
    assert_eq!(count(&forced, "pods.abandoned"), only(&forced).pods_lost);
    assert_eq!(count(&forced, "pods.replaced"), 0);
}

/// "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.": an answer 500, with
/// which the node's drain ends.
#[test]
fn two_budgets_for_a_pod_end_the_drain() {
    let text = cluster(
        4,
        40,
        &["maxUnavailable: 1", "minAvailable: 1"],
        "nodes: {names: [node-00001]}",
        "{when: time, limit: 1h}",
    );
    let completed = run(&text);
    assert_eq!((only(&completed).pods_lost, count(&completed, "nodes.not_drained")), (0, 1));
}

/// `canIgnorePDB`: a pod that is pending (its containers have not started) is deleted without asking its budget.
#[test]
fn pods_that_have_not_started_are_evicted_whatever_their_budget_says() {
    let text = cluster(4, 40, &["maxUnavailable: 0"], "nodes: {names: [node-00001]}", UNTIL_RUNNING);
    let text = text.replace("startLatency: 1s", "startLatency: 10m");
    let completed = run(&text);
    assert_eq!((only(&completed).pods_lost, count(&completed, "evictions.refused")), (10, 0));
}

/// One command cordons all of its nodes before it drains the first (`RunCordonOrUncordon`, then `RunDrain`'s loop).
#[test]
fn one_command_cordons_all_of_its_nodes_first() {
    let text = cluster(6, 60, &[], "nodes: {share: 50%}", UNTIL_RUNNING);
    let mut simulation = simulation(&text);
    assert!(simulation.advance(301 * SECOND).is_none());
    assert_eq!(cordoned(&simulation).len(), 3);
    let busy = cordoned(&simulation).iter().filter(|n| running(&simulation, Some(**n)) < 10).count();
    assert_eq!(busy, 1, "one after the other");
    assert_eq!(count(&run(&text), "nodes.drained"), 3);
}

/// A cluster taken through maintenance: two nodes at a time, each back 3 min after it is empty.
#[test]
fn a_rolling_drain_takes_some_nodes_at_a_time() {
    let until = "{when: time, limit: 2h}";
    let text =
        cluster(8, 160, &["maxUnavailable: 5"], "nodes: {share: 100%}, atOnce: 25%, duration: 3m", until);
    let completed = run(&text);
    assert_eq!(count(&completed, "nodes.drained"), 8);
    assert!(only(&completed).bound_again_after_s.unwrap() > 3.0 * 180.0);
    let mut simulation = simulation(&text);
    let mut most = 0;
    let mut ever = std::collections::BTreeSet::new();
    for s in (300..7200).step_by(5) {
        let _ = simulation.advance(s * SECOND);
        most = most.max(cordoned(&simulation).len());
        ever.extend(cordoned(&simulation));
    }
    assert_eq!((most, ever.len(), cordoned(&simulation).len()), (2, 8, 0));
    let pods = &simulation.cluster().pods;
    let on_none =
        (0..pods.len() as PodId).filter(|p| pods.stage(*p) == Stage::Running && pods.node(*p) == NO_NODE);
    assert_eq!((running(&simulation, None), on_none.count()), (160, 0));
}

/// `maxUnavailable` of pods that no controller owns: the expected number is 0, and so is what is allowed
/// (`getExpectedScale`).
#[test]
fn a_budget_of_pods_without_a_controller_allows_none() {
    let text = cluster(
        4,
        40,
        &["maxUnavailable: 10"],
        "nodes: {names: [node-00001]}, force: true, timeout: 1m",
        "{when: time, limit: 1h}",
    );
    let text = text.replace("deployments: [{name: web, replicas: 40", "pods: [{name: web, count: 40");
    assert_eq!(only(&run(&text)).pods_lost, 0);
    let text = text.replace("maxUnavailable: 10", "minAvailable: 30");
    let lost = only(&run(&text)).pods_lost;
    assert!(lost >= 10, "a number of pods is one of those that are there: {lost}");
}

/// A dead node's pods are deleted and not gone: the command waits until the machine is back.
#[test]
fn a_drain_waits_for_a_dead_machine() {
    let text = cluster(4, 40, &[], "nodes: {names: [node-00001]}", "{when: time, limit: 1h}");
    let text = text.replace(
        "faults: [",
        "faults: [{kind: nodeFailure, at: 299s, nodes: {names: [node-00001]}, duration: 20m}, ",
    );
    let completed = run(&text);
    let drained = completed.summary.faults[1].drained_after_s.unwrap();
    assert!((1199.0..1202.0).contains(&drained), "{drained}");
}
