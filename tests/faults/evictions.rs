//! Evictions without any fault: who is preempted, or driven away by a taint, is made anew by its controller.
//!
//! Each test states the rule and where the real system has it. Paths are those of kubernetes/kubernetes.
use podpace::cluster::Stage;
use podpace::experiment::simulation::Finished;

use crate::support::{message, plan, run, scenario, simulation};

const NODES: &str = "cluster: {nodes: [{count: 1, template: {allocatable: {cpu: 4, memory: 16Gi, pods: 110}}}]}\n\
    controlPlane: {nodeLifecycle: {kind: kubelet}}\n";
const LOW_AND_HIGH: &str = "[{name: lo, replicas: 4, requests: {cpu: 1}}, \
    {name: hi, replicas: 2, requests: {cpu: 1}, priority: 100}]";

fn text(scheduler: &str, deployments: &str, more: &str) -> String {
    scenario(
        "evictions",
        &format!(
            "{NODES}scheduler: {{{scheduler}}}\nworkload: {{deployments: {deployments}, arrivals: {{interval: 60s}}}}\n\
             {more}stop: {{when: time, limit: 10m}}\n"
        ),
    )
}

fn finished(text: &str) -> Finished {
    simulation(text).run()
}

fn pending(run: &Finished) -> u64 {
    run.pending_reasons.values().sum()
}

/// The ReplicaSet controller makes another pod for one that is deleted, whoever deletes it (`manageReplicas` in
/// `pkg/controller/replicaset/replica_set.go`): of four pods two go, and their successors wait.
#[test]
fn preempted_pods_come_back_though_nothing_fails() {
    let without = text("kind: kube-scheduler", LOW_AND_HIGH, "");
    let with = text("kind: kube-scheduler", LOW_AND_HIGH, "faults: [{kind: nodeFailure, at: 9m}]\n");
    for (text, what) in [(without, "without a fault"), (with, "with one")] {
        let run = finished(&text);
        assert_eq!(run.counts.total, 8, "{what}");
        assert_eq!(run.counts.created, 8, "{what}");
        assert_eq!(pending(&run), 2, "{what}: {:?}", run.pending_reasons);
    }
}

/// Nobody is preempted where all have one priority, where who is more important says `preemptionPolicy: Never`, where the plugin is off,
/// and with a scheduler that knows no preemption: such runs don't pay for controllers.
#[test]
fn runs_in_which_nobody_is_evicted_have_no_controllers_besides() {
    let never = LOW_AND_HIGH.replace("priority: 100", "priority: 100, preemptionPolicy: Never");
    let alike = LOW_AND_HIGH.replace(", priority: 100", "");
    let off = "kind: kube-scheduler, plugins: {disabled: [DefaultPreemption]}";
    for (scheduler, deployments) in [
        ("kind: kube-scheduler", alike.as_str()),
        ("kind: kube-scheduler", never.as_str()),
        (off, LOW_AND_HIGH),
        ("kind: first-fit", LOW_AND_HIGH),
        ("kind: volcano", LOW_AND_HIGH),
        ("kind: yunikorn", LOW_AND_HIGH),
    ] {
        assert!(plan(&text(scheduler, deployments, "")).changes.is_none(), "{scheduler} {deployments}");
    }
    assert!(plan(&text("kind: kube-scheduler", LOW_AND_HIGH, "")).changes.is_some());
    // Pods that nobody owns are not made anew: there is nothing to add.
    let bare = text("kind: kube-scheduler", LOW_AND_HIGH, "")
        .replace("deployments:", "pods:")
        .replace("replicas", "count")
        .replace("arrivals: {interval: 60s}", "arrivals: {process: constant, rate: 1}");
    assert!(plan(&bare).changes.is_none());
}

/// A queue of YuniKorn takes back what it is guaranteed, after 30 s; the victims' Deployment makes new ones.
#[test]
fn victims_of_a_queue_come_back() {
    let queues = "kind: yunikorn, queues: [{name: root.a}, {name: root.b, guaranteed: {cpu: 2}}]";
    let deployments = "[{name: lo, replicas: 4, requests: {cpu: 1}, queue: root.a}, \
        {name: hi, replicas: 2, requests: {cpu: 1}, queue: root.b}]";
    let run = finished(&text(queues, deployments, ""));
    let high = (4..6).filter(|pod| run.cluster.pods.stage(*pod) == Stage::Running).count();
    assert_eq!(high, 2, "{:?}", run.pending_reasons);
    assert_eq!(run.counts.total, 8);
    assert_eq!(pending(&run), 2, "{:?}", run.pending_reasons);
    let none = queues.replace(", guaranteed: {cpu: 2}", "");
    assert!(plan(&text(&none, deployments, "")).changes.is_none());
}

/// `pkg/controller/tainteviction/taint_eviction.go`: a pod on a node with a `NoExecute` taint leaves after the `tolerationSeconds` of its toleration; so
/// does the one that comes in its place.
#[test]
fn a_taint_that_is_there_from_the_beginning_evicts() {
    let tainted = |tolerations: &str, scheduler: &str| {
        let pods = format!("[{{name: d, replicas: 4, requests: {{cpu: 1}}, tolerations: [{tolerations}]}}]");
        text(scheduler, &pods, "")
            .replace("pods: 110}", "pods: 110}, taints: [{key: a, value: b, effect: NoExecute}]")
    };
    let for_a_minute = "{key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 60}";
    let completed = run(&tainted(for_a_minute, "kind: kube-scheduler"));
    // Ten minutes: at 61, 122, .. seconds all four go, and those in their places, each time a little later.
    let evicted = completed.summary.metrics["pods.evicted"];
    assert!((32.0..=36.0).contains(&evicted), "{evicted}");
    let for_good = "{key: a, operator: Exists, effect: NoExecute}";
    assert!(plan(&tainted(for_good, "kind: kube-scheduler")).changes.is_none());
    assert!(plan(&tainted("", "kind: kube-scheduler")).changes.is_none(), "they don't get there");
    let blind = "kind: kube-scheduler, plugins: {disabled: [TaintToleration]}";
    assert!(plan(&tainted("", blind)).changes.is_some(), "they do");
}

/// What first fit does not look at is refused by name.
#[test]
fn first_fit_refuses_what_it_does_not_do() {
    for (field, what) in [
        ("hostPorts: [80]", "host ports"),
        ("schedulingGates: [{name: example.com/a}]", "scheduling gates"),
        (
            "topologySpread: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]",
            "must be spread",
        ),
        ("antiAffinity: {mode: required}", "required affinity"),
    ] {
        let pods = format!("[{{name: d, replicas: 1, requests: {{cpu: 1}}, {field}}}]");
        let said = message(&text("kind: first-fit", &pods, ""));
        assert!(said.contains("not modelled with first-fit") && said.contains(what), "{said}");
    }
    // Preferences decide nothing about whether a pod fits.
    let soft = "[{name: d, replicas: 1, requests: {cpu: 1}, antiAffinity: {mode: preferred}}]";
    plan(&text("kind: first-fit", soft, ""));
}
