//! Node autoscalers under random loads: bounds hold, budgets hold, no pod is lost, all find a node, the same seed gives the same bytes.
//!
//! That no group is larger than its maximum or smaller than its minimum, that no node holds too much and that pods are bound once is asserted by the simulation, in release
//! builds too.
//!
//! A thousand seeds: cargo test --release --test faults autoscaler_random -- --ignored
use podpace::cluster::{NodeId, PodId, Stage};
use podpace::experiment::output::digest;

use crate::random::Dice;
use crate::support::{self, SECOND, count, scenario};

struct Load {
    text: String,
    replicas: usize,
    unavailable: usize,
    /// Least and most nodes.
    nodes: (usize, usize),
}

fn load(seed: u64) -> Load {
    let mut dice = Dice(seed);
    let karpenter = dice.chance(50);
    let provisioning = match dice.roll(0, 2) {
        0 => format!("{}s", dice.roll(1, 90)),
        1 => "{p50: 40s, p99: 120s}".to_owned(),
        _ => "{min: 5s, max: 100s}".to_owned(),
    };
    let min = dice.roll(0, 2);
    let max = dice.roll(30, 60);
    let fields = if karpenter {
        let policy = dice.pick(&["WhenEmpty", "WhenEmptyOrUnderutilized"]);
        let after = dice.pick(&["0s", "30s", "2m", "Never"]);
        let budget = dice.pick(&["10%", "1", "50%", "100%"]);
        format!(
            "kind: karpenter, nodePools: [{{name: p, limits: {{nodes: {max}}}, disruption: {{consolidationPolicy: {policy}, consolidateAfter: {after}, budgets: [{{nodes: {budget}}}]}}, instanceTypes: [{{name: s, price: 0.1, allocatable: {{cpu: 4, memory: 16Gi}}}}, {{name: m, price: 0.21, allocatable: {{cpu: 8, memory: 32Gi}}}}, {{name: l, price: 0.38, allocatable: {{cpu: 16, memory: 64Gi}}}}]}}]"
        )
    } else {
        let expander = dice.pick(&["least-waste", "most-pods", "random", "\"least-nodes,random\""]);
        let unneeded = dice.roll(1, 10);
        let add = dice.roll(0, 5);
        let frequent = dice.chance(50);
        format!(
            "kind: cluster-autoscaler, expander: {expander}, frequentLoops: {frequent}, nodeGroups: [{{name: s, min: {min}, max: {max}, template: {{allocatable: {{cpu: 4, memory: 16Gi}}}}}}, {{name: l, max: {max}, template: {{allocatable: {{cpu: 16, memory: 64Gi}}}}}}], scaleDown: {{unneededTime: {unneeded}m, delayAfterAdd: {add}m, maxDrainParallelism: {}}}",
            dice.roll(1, 4)
        )
    };
    let replicas = dice.roll(1, 20);
    let unavailable = dice.roll(0, 3);
    let cpu = dice.roll(1, 12) * 100;
    let anti = if dice.chance(15) { ", antiAffinity: required" } else { "" };
    let (jobs, pods, run) = (dice.roll(1, 4), dice.roll(1, 25), dice.roll(20, 400));
    let (job_cpu, interval) = (dice.roll(1, 38) * 100, dice.roll(1, 10));
    let server = if dice.chance(50) { ", apiServer: {profile: apiserver-1.36}" } else { "" };
    let rest = format!(
        "seed: {seed}
cluster:
  nodes: []
  podDisruptionBudgets: [{{selector: {{matchLabels: {{app: web}}}}, maxUnavailable: {unavailable}}}]
  autoscaler: {{{fields}, provisioning: {provisioning}}}
controlPlane: {{nodeLifecycle: {{kind: kubelet}}{server}}}
scheduler: {{kind: kube-scheduler}}
workload:
  deployments: [{{name: web, replicas: {replicas}, requests: {{cpu: {cpu}m, memory: 1Gi}}{anti}}}]
  jobs: [{{name: batch, count: {jobs}, completions: {pods}, parallelism: {pods}, backoffLimit: 1000, requests: {{cpu: {job_cpu}m, memory: 1Gi}}, runTime: {run}s}}]
  arrivals: {{interval: {interval}m}}
stop: {{when: time, limit: 2h}}"
    );
    let (least, groups) = if karpenter { (0, 1) } else { (min, 2) };
    Load {
        text: scenario("load", &rest),
        replicas: replicas as usize,
        unavailable: unavailable as usize,
        nodes: (least as usize, (groups * max) as usize),
    }
}

/// A pod of a Job that is evicted counts as a failure (after six of them the Job has failed, in a cluster too): the limit is out of reach here.
/// Says how many nodes were drained.
fn holds(seed: u64, twice: bool) -> u64 {
    let load = load(seed);
    let mut simulation = support::simulation(&load.text);
    let mut all_ran = false;
    for step in 1..1440 {
        assert!(simulation.advance(step * 5 * SECOND).is_none(), "seed {seed}: ended early\n{}", load.text);
        let cluster = simulation.cluster();
        let nodes = (0..cluster.nodes.len() as NodeId).filter(|n| cluster.nodes.get(*n).present).count();
        assert!(nodes >= load.nodes.0 && nodes <= load.nodes.1, "seed {seed}: {nodes} nodes\n{}", load.text);
        let pods = &cluster.pods;
        let web = (0..pods.len() as PodId).filter(|p| pods.spec(*p).labels["app"] == "web");
        let running = web.filter(|p| pods.stage(*p) == Stage::Running).count();
        all_ran |= running == load.replicas;
        if all_ran {
            let least = load.replicas - load.unavailable.min(load.replicas);
            assert!(running >= least, "seed {seed}: {running} run, of {}\n{}", load.replicas, load.text);
        }
    }
    assert!(all_ran, "seed {seed}: the pods found no nodes\n{}", load.text);
    let completed = support::run(&load.text);
    assert_eq!(count(&completed, "autoscaler.wait.open"), 0, "seed {seed}\n{}", load.text);
    let left = count(&completed, "pods.total") - count(&completed, "pods.finished");
    assert_eq!(left, load.replicas as u64, "seed {seed}: lost\n{}", load.text);
    assert_eq!(count(&completed, "jobs.failed"), 0, "seed {seed}\n{}", load.text);
    if twice {
        let again = support::run(&load.text);
        assert_eq!(digest(&completed).unwrap(), digest(&again).unwrap(), "seed {seed}\n{}", load.text);
    }
    count(&completed, "autoscaler.removed.drained")
}

#[test]
fn bounds_and_budgets_hold_and_all_pods_find_a_node() {
    let drained: u64 = (0..24).map(|seed| holds(seed, seed % 8 == 0)).sum();
    assert!(drained > 0, "no node was ever drained");
}

#[test]
#[ignore = "minutes; see the top of the file"]
fn bounds_and_budgets_hold_for_a_thousand_seeds() {
    for seed in 0..1000 {
        holds(seed, true);
    }
}
