//! DaemonSets among manifests: which nodes have a pod, and when.
//!
//! Each test states the rule and where the real system has it. Paths are those of kubernetes/kubernetes.
use std::collections::BTreeMap;

use podpace::cluster::{NO_NODE, PodId, Stage};
use podpace::experiment::run::{Environment, RunSpec};
use podpace::experiment::simulation::{Ended, Finished, Simulation};
use podpace::scenario::Document;
use podpace::scenario::plan::Plan;

use crate::support::{SECOND, assert_goes_on, message_of};

const AGENT: &str = "kind: DaemonSet
metadata: {name: agent, namespace: kube-system}
spec:
  template:
    metadata: {labels: {app: agent}}
    spec: {priorityClassName: system-node-critical, containers: [{name: a, resources: {requests: {cpu: 100m, memory: 100Mi}}}]}
---
";
const WEB: &str = "kind: Deployment
metadata: {name: web}
spec: {replicas: 12, template: {spec: {containers: [{name: c, resources: {requests: {cpu: 500m}}}]}}}
---
";

/// Four nodes of pool a, three of pool b with a taint.
fn text(scheduler: &str, rest: &str) -> String {
    format!(
        "apiVersion: podpace/v1
kind: Scenario
name: daemons
cluster:
  nodes:
    - {{name: a, count: 4, template: {{labels: {{pool: a}}, allocatable: {{cpu: 8, memory: 32Gi, pods: 110}}}}}}
    - {{name: b, count: 3, template: {{labels: {{pool: b}}, taints: [{{key: gpu, effect: NoSchedule}}], allocatable: {{cpu: 8, memory: 32Gi, pods: 110}}}}}}
controlPlane: {{nodeLifecycle: {{kind: kubelet, startLatency: 1s}}}}
scheduler: {{kind: {scheduler}}}
workload: {{manifests: [all.yaml]}}
{rest}
"
    )
}

fn plan(manifests: &str, text: &str) -> Plan {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("all.yaml"), manifests).unwrap();
    let document = Document::parse("scenario.yaml", text, Some(folder.path())).unwrap();
    let spec = RunSpec::of_scenario(document).unwrap_or_else(|errors| panic!("{}\n{text}", errors[0]));
    spec.plan(&Environment::built_in()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn simulation(manifests: &str, text: &str) -> Simulation {
    Simulation::new(&plan(manifests, text), &Environment::built_in().registry).unwrap()
}

fn finished(manifests: &str, text: &str) -> Finished {
    let run = simulation(manifests, text).run();
    assert_eq!(run.ended, Ended::Done, "{text}");
    run
}

/// Names of nodes with the number of running pods of the application.
fn running(cluster: &podpace::cluster::Cluster, app: &str) -> BTreeMap<String, usize> {
    let pods = &cluster.pods;
    let mut on = BTreeMap::new();
    for pod in 0..pods.len() as PodId {
        if pods.stage(pod) == Stage::Running
            && pods.apps()[pods.app_id(pod) as usize].name == app
            && pods.node(pod) != NO_NODE
        {
            *on.entry(cluster.nodes.get(pods.node(pod)).name.clone()).or_default() += 1;
        }
    }
    on
}

fn one_on_each(names: &[&str]) -> BTreeMap<String, usize> {
    names.iter().map(|name| ((*name).to_owned(), 1)).collect()
}

const POOL_A: [&str; 4] = ["a-00000", "a-00001", "a-00002", "a-00003"];
const POOL_B: [&str; 3] = ["b-00000", "b-00001", "b-00002"];
const UNTIL_RUNNING: &str = "stop: {when: allRunning, limit: 1h}";

/// "A DaemonSet ensures that all eligible nodes run a copy of a Pod": by node selector, node affinity and taints
/// (`NodeShouldRunDaemonPod`). The default scheduler, or another, binds each to its node.
#[test]
fn every_node_that_is_eligible_has_one_pod() {
    let selector = |of: &str| AGENT.replace("spec: {priority", &format!("spec: {{{of}, priority"));
    let tolerates = "tolerations: [{key: gpu, operator: Exists}]";
    let not_in = "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: pool, operator: NotIn, values: [a]}]}]}}}";
    let all: Vec<&str> = POOL_A.iter().chain(&POOL_B).copied().collect();
    for scheduler in ["kube-scheduler", "yunikorn", "first-fit"] {
        for (manifest, nodes) in [
            (AGENT.to_owned(), &POOL_A[..]),
            (selector(tolerates), &all),
            (selector(&format!("{tolerates}, nodeSelector: {{pool: b}}")), &POOL_B),
            (selector(&format!("{tolerates}, {not_in}")), &POOL_B),
            (selector("nodeSelector: {pool: b}"), &[]),
        ] {
            let run = finished(&(manifest + WEB), &text(scheduler, UNTIL_RUNNING));
            assert_eq!(running(&run.cluster, "agent"), one_on_each(nodes), "{scheduler}");
            assert_eq!(run.counts.running, 12 + nodes.len() as u64, "{scheduler}");
        }
    }
    let notes = |manifest: &str| plan(manifest, &text("kube-scheduler", UNTIL_RUNNING)).provenance.notes;
    let none = "DaemonSet kube-system/agent: no node suits it, so that it has no pods".to_owned();
    assert!(notes(&(selector("nodeSelector: {pool: b}") + WEB)).contains(&none), "all of pool b are tainted");
    assert!(!notes(AGENT).contains(&none));
    // Without any other pod.
    let run = finished(AGENT, &text("kube-scheduler", UNTIL_RUNNING));
    assert_eq!((run.counts.total, run.counts.running), (4, 4));
}

/// "As nodes are added to the cluster, Pods are added to them. As nodes are removed from the cluster, those Pods are garbage
/// collected."
#[test]
fn nodes_that_join_get_one_and_nodes_that_leave_take_theirs_along() {
    for scheduler in ["kube-scheduler", "yunikorn", "first-fit"] {
        let faults = "faults: [{kind: nodeAdd, at: 5m, count: 2, group: a}, {kind: nodeRemove, at: 10m, nodes: {names: [a-00001]}}]\n";
        let run = finished(AGENT, &text(scheduler, &(faults.to_owned() + UNTIL_RUNNING)));
        let on = running(&run.cluster, "agent");
        assert_eq!(on.len(), 5, "{scheduler}: {on:?}");
        assert!(on.values().all(|n| *n == 1) && !on.contains_key("a-00001"), "{on:?}");
        assert_eq!(run.counts.total, 6, "nobody replaces the one that is gone");
        let joined = (4..6).map(|pod| run.cluster.pods.timeline(pod).created_ns);
        joined.for_each(|ns| assert!((300 * SECOND..302 * SECOND).contains(&ns), "{ns}"));
    }
}

/// A run that ends when all pods run waits for those of nodes that have just joined.
#[test]
fn a_run_waits_for_the_pods_of_new_nodes() {
    for more in ["", "apiServer: {}, etcd: {}, "] {
        let faults = "faults: [{kind: nodeAdd, at: 5m, count: 3, group: a}]\n";
        let text = text("kube-scheduler", &(faults.to_owned() + UNTIL_RUNNING))
            .replace("controlPlane: {", &format!("controlPlane: {{{more}"));
        let run = finished(AGENT, &text);
        assert_eq!((run.counts.total, run.counts.running), (7, 7));
    }
}

/// A pod that has failed is deleted and made anew on its node, at once the first time (`failedPodsBackoff`).
#[test]
fn a_failed_pod_is_made_anew_on_its_node() {
    let faults = "faults: [{kind: podFailure, at: 5m, pods: {count: 1}}]\n";
    let run = finished(AGENT, &text("kube-scheduler", &(faults.to_owned() + UNTIL_RUNNING)));
    assert_eq!(running(&run.cluster, "agent"), one_on_each(&POOL_A));
    assert_eq!(run.counts.total, 5);
    let created = run.cluster.pods.timeline(4).created_ns;
    assert!((300 * SECOND..301 * SECOND).contains(&created), "{created}");
}

/// The pods tolerate `unreachable` for good and `unschedulable`: a dead node's is not evicted, and a cordoned node gets one
/// ("Taints and tolerations" of the page "DaemonSet"). A drain leaves them alone (`--ignore-daemonsets`).
#[test]
fn troubled_nodes_keep_theirs() {
    let dead = "faults: [{kind: nodeFailure, at: 5m, nodes: {names: [a-00002]}, duration: 30m}]\n";
    let mut simulation =
        simulation(AGENT, &text("kube-scheduler", &(dead.to_owned() + "stop: {when: time, limit: 1h}")));
    assert!(simulation.advance(50 * 60 * SECOND).is_none());
    assert_eq!(running(simulation.cluster(), "agent"), one_on_each(&POOL_A));
    assert_eq!(simulation.cluster().pods.len(), 4, "no other was made");
    let drained = "faults: [{kind: drain, at: 5m, nodes: {names: [a-00002]}}, {kind: podFailure, at: 10m, pods: {count: 100}}]\n";
    let run =
        finished(&(AGENT.to_owned() + WEB), &text("kube-scheduler", &(drained.to_owned() + UNTIL_RUNNING)));
    assert_eq!(running(&run.cluster, "agent"), one_on_each(&POOL_A));
    // On a machine that fails for good it stays as it is, and nobody waits for it: `finished` says that the run came to its end.
    let for_good = dead.replace(", duration: 30m", "") + UNTIL_RUNNING;
    let run = finished(&(AGENT.to_owned() + WEB), &text("kube-scheduler", &for_good));
    // Its pods of a Deployment are made anew elsewhere; there they stay until somebody removes the node.
    let web = running(&run.cluster, "web");
    assert_eq!(
        web.iter().filter(|(node, _)| *node != "a-00002").map(|(_, n)| n).sum::<usize>(),
        12,
        "{web:?}"
    );
}

/// Whatever goes wrong while they are made, each node has one in the end.
#[test]
fn no_node_has_two() {
    for faults in [
        "{kind: etcdOutage, at: 10ms, duration: 20s}",
        "{kind: apiServerRestart, at: 50ms, duration: 3s}",
        "{kind: controllerManagerLeaderChange, at: 30ms, duration: 10s}",
        "{kind: nodeFlap, at: 1m, duration: 2m, pause: 3m, times: 3, nodes: {count: 2}}, {kind: podFailure, every: 7m, to: 30m}",
    ] {
        let rest = format!("faults: [{faults}]\n{UNTIL_RUNNING}");
        let text = text("kube-scheduler", &rest)
            .replace("controlPlane: {", "controlPlane: {apiServer: {}, etcd: {fsync: 5ms}, ");
        let run = finished(&(AGENT.to_owned() + WEB), &text);
        let on = running(&run.cluster, "agent");
        assert_eq!(on, one_on_each(&POOL_A), "{faults}");
    }
    // Nodes that join while the manager's watch is cut off.
    let rest = "faults: [{kind: watchDisconnect, at: 1s, duration: 90s}, {kind: nodeAdd, at: 30s, count: 3, group: a}]\nstop: {when: time, limit: 1h}";
    let mut simulation = simulation(AGENT, &text("kube-scheduler", rest));
    assert!(simulation.advance(90 * SECOND).is_none());
    assert_eq!(running(simulation.cluster(), "agent"), one_on_each(&POOL_A));
    assert!(simulation.advance(10 * 60 * SECOND).is_none());
    let on = running(simulation.cluster(), "agent");
    assert!(on.len() == 7 && on.values().all(|n| *n == 1), "{on:?}");
}

/// A run that pauses and goes on is the one that does not.
#[test]
fn a_run_that_is_saved_goes_on_as_it_would_have() {
    let faults = "faults: [{kind: nodeAdd, at: 5m, count: 2, group: a}, {kind: podFailure, at: 6m, pods: {count: 2}}]\n";
    let plan = plan(&(AGENT.to_owned() + WEB), &text("kube-scheduler", &(faults.to_owned() + UNTIL_RUNNING)));
    assert_goes_on(&plan, [20_000_000, 310 * SECOND]);
}

/// LimitRanges go for a DaemonSet's pods; one that exists has its pods in the input.
#[test]
fn a_template_is_admitted_and_pods_that_exist_are_not_made_again() {
    let range = "kind: LimitRange\nmetadata: {name: l, namespace: kube-system}\nspec: {limits: [{type: Container, default: {cpu: 2}}]}\n---\n";
    let silent = AGENT.replace("requests: {cpu: 100m, memory: 100Mi}", "limits: {memory: 1Gi}");
    let run = finished(&(silent + range), &text("kube-scheduler", UNTIL_RUNNING));
    assert_eq!(run.cluster.pods.spec(0).requests.cpu_millicores, 2000);
    assert_eq!(run.cluster.pods.spec(0).priority, 2_000_001_000);
    let exists = AGENT.replace("{name: agent,", "{name: agent, creationTimestamp: \"2024-01-01T00:00:10Z\",");
    let pod = "kind: Pod\nmetadata: {name: p, creationTimestamp: \"2024-01-01T00:00:10Z\"}\nspec: {containers: [{name: c}]}\n---\n";
    // A dump of a cluster has them all, and LimitRanges that would matter if something were created.
    let claims = "kind: LimitRange\nmetadata: {name: l}\nspec: {limits: [{type: PersistentVolumeClaim, max: {storage: 1Gi}}]}\n---\n";
    let all = exists.clone() + claims + pod;
    let run = finished(&all, &text("kube-scheduler", UNTIL_RUNNING));
    assert_eq!(run.counts.total, 1);
    let notes = plan(&all, &text("kube-scheduler", UNTIL_RUNNING)).provenance.notes;
    assert!(notes.iter().any(|note| note.starts_with("1 DaemonSets were left alone")), "{notes:?}");
    let run = finished(&exists, &text("kube-scheduler", UNTIL_RUNNING));
    assert_eq!(run.counts.total, 4, "none of its pods is in the input");
}

#[test]
fn what_is_not_modelled_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let on_a_node = AGENT.replace("spec: {priority", "spec: {nodeName: a-00001, priority");
    for (manifest, scheduler, says) in [
        (on_a_node, "kube-scheduler", "spec.template.spec.nodeName"),
        (AGENT.to_owned() + AGENT, "kube-scheduler", "each DaemonSet once"),
        (AGENT.to_owned(), "volcano", "not modelled with Volcano: DaemonSets"),
    ] {
        std::fs::write(folder.path().join("all.yaml"), manifest).unwrap();
        let document = Document::parse("scenario.yaml", &text(scheduler, UNTIL_RUNNING), Some(folder.path()));
        let spec = RunSpec::of_scenario(document.unwrap()).unwrap();
        let message = spec.plan(&Environment::built_in()).err().unwrap().to_string();
        assert!(message.contains(says), "{message}");
    }
    std::fs::write(folder.path().join("all.yaml"), AGENT).unwrap();
    assert!(
        message_of(&text("volcano", UNTIL_RUNNING), Some(folder.path())).contains("leave the DaemonSets out")
    );
}
