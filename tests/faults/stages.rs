//! KWOK's Stage files: what they do to pods and nodes, what they cost, and what is refused of them.
//!
//! `tests/fixtures/stages` has the rules of KWOK's own stages (kustomize/stage of kubernetes-sigs/kwok) in words of ours. Paths are
//! those of that repository.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use podpace::cluster::{PodId, Stage};
use podpace::experiment::run::{Completed, Environment, RunSpec};
use podpace::experiment::simulation::Ended;
use podpace::scenario::Document;

use crate::support::{SECOND, assert_page, count, message_of};

const SERVER: &str = "apiServer: {profile: apiserver-1.36}";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stages")
}

/// A scenario with kwok: what else stands in `nodeLifecycle`, in `controlPlane`, and the rest.
fn text(stages: &str, plane: &str, workload: &str, rest: &str) -> String {
    let stages = if stages.is_empty() { String::new() } else { format!(", stages: [{stages}]") };
    let comma = if plane.is_empty() { "" } else { ", " };
    let cluster = if rest.contains("cluster:") {
        ""
    } else {
        "cluster: {nodes: [{count: 8, template: {allocatable: {cpu: 64, memory: 256Gi, pods: 250}}}]}\n"
    };
    format!(
        "apiVersion: podpace/v1\nkind: Scenario\nname: stages\n{cluster}controlPlane: {{nodeLifecycle: {{kind: kwok{stages}}}{comma}{plane}}}
scheduler: {{kind: kube-scheduler}}\nworkload: {{{workload}}}\n{rest}\n"
    )
}

fn spec_in(folder: &Path, text: &str) -> RunSpec {
    let document = Document::parse("scenario.yaml", text, Some(folder)).unwrap();
    RunSpec::of_scenario(document).unwrap_or_else(|errors| panic!("{}\n{text}", errors[0]))
}

fn run_in(folder: &Path, text: &str) -> Completed {
    spec_in(folder, text).simulate(&Environment::built_in()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn run(text: &str) -> Completed {
    run_in(&fixtures(), text)
}

/// A stage of a pod or node.
fn stage(name: &str, kind: &str, selector: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: kwok.x-k8s.io/v1alpha1\nkind: Stage\nmetadata: {{name: {name}}}\nspec:\n  resourceRef: {{apiGroup: v1, kind: {kind}}}\n  \
         selector: {{matchExpressions: [{selector}]}}\n{spec}"
    )
}

const ALIVE: &str = "{key: .metadata.deletionTimestamp, operator: DoesNotExist}";
const PENDING: &str = "{key: .status.phase, operator: In, values: [Pending]}";
const RUNNING: &str = "{key: .status.phase, operator: In, values: [Running]}";
const DELETED: &str = "{key: .metadata.deletionTimestamp, operator: Exists}";
const READY: &str =
    "  next: {statusTemplate: 'phase: Running\n\n      conditions: [{type: Ready, status: \"True\"}]'}\n";

fn pod_ready() -> String {
    stage("ready", "Pod", &format!("{ALIVE}, {PENDING}"), READY)
}

fn pod_delete() -> String {
    stage("delete", "Pod", DELETED, "  next: {delete: true}\n")
}

/// Runs with one file of stages.
fn run_with(stages: &[String], plane: &str, workload: &str, rest: &str) -> Completed {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("s.yaml"), stages.concat()).unwrap();
    run_in(folder.path(), &text("s.yaml", plane, workload, rest))
}

/// Milliseconds from one time to another, of each pod.
fn spans(run: &Completed, span: impl Fn(&podpace::cluster::Timeline) -> (u64, u64)) -> Vec<u64> {
    let pods = &run.finished.cluster.pods;
    let mut all: Vec<u64> = (0..pods.len() as PodId)
        .map(|pod| span(pods.timeline(pod)))
        .filter(|(from, to)| *from != u64::MAX && *to != u64::MAX)
        .map(|(from, to)| (to - from) / 1_000_000)
        .collect();
    all.sort_unstable();
    all
}

/// What podpace does without stages is what KWOK's fast stages do: with these the same, to the nanosecond.
#[test]
fn the_fast_stages_are_the_default() {
    for (plane, workload) in [
        ("", "deployments: [{count: 3, replicas: 90, requests: {cpu: 100m}}]"),
        (SERVER, "deployments: [{count: 3, replicas: 90, requests: {cpu: 100m}}]"),
        (SERVER, "pods: [{count: 300, requests: {cpu: 100m}}]"),
        (SERVER, "pods: [{count: 300, requests: {cpu: 100m}}], start: backlog"),
    ] {
        let stop = "stop: {when: allRunning, limit: 10m}";
        let default = run(&text("", plane, workload, stop));
        let staged = run(&text("pod-fast", plane, workload, stop));
        let pods = |run: &Completed| {
            let pods = &run.finished.cluster.pods;
            (0..pods.len() as PodId).map(|pod| (pods.node(pod), *pods.timeline(pod))).collect::<Vec<_>>()
        };
        assert_eq!(pods(&default), pods(&staged), "{workload}");
        let metrics = |run: &Completed| {
            let of_stages = |(name, _): &(&String, &f64)| !name.starts_with("stages.");
            let all: BTreeMap<_, _> = run.summary.metrics.iter().filter(of_stages).collect();
            format!("{all:?}")
        };
        assert_eq!(metrics(&default), metrics(&staged), "{workload}");
        let played = count(&staged, "stages.pod.pod-ready");
        assert_eq!((played, count(&staged, "stages.pod.pod-complete")), (default.finished.counts.total, 0));
    }
}

/// KWOK's own stages, all of them, are read and run.
#[test]
fn all_stages_of_kwok_are_read_and_run() {
    let all = ["pod-fast", "pod-general", "pod-chaos, pod-fast", "pod-chaos, pod-general", "node-fast"];
    let nodes = ["node-heartbeat, node-fast", "node-heartbeat-with-lease", "node-chaos, node-fast"];
    for stages in all.iter().chain(&nodes) {
        let workload = "deployments: [{replicas: 20, requests: {cpu: 100m}}]";
        let run = run(&text(stages, SERVER, workload, "stop: {when: allRunning, limit: 10m}"));
        assert_eq!(run.finished.ended, Ended::Done, "{stages}");
    }
}

/// `pod-create` and `pod-ready` of the general stages wait 1 to 5 s each, uniformly (`Stage.Delay`).
#[test]
fn delays_add_up() {
    let workload = "pods: [{count: 400, requests: {cpu: 100m}}]";
    let run = run(&text("pod-general", SERVER, workload, "stop: {when: allRunning, limit: 10m}"));
    let starts = spans(&run, |t| (t.bound_ns, t.running_ns));
    assert_eq!(starts.len(), 400);
    assert!(starts[0] >= 2000 && starts[399] < 10_300, "{} to {}", starts[0], starts[399]);
    let mean = starts.iter().sum::<u64>() / 400;
    assert!((5800..6300).contains(&mean), "{mean}");
    let played = ["pod-create", "pod-ready", "pod-complete", "pod-init-container-running"];
    let played = played.map(|name| count(&run, &format!("stages.pod.{name}")));
    assert_eq!(played, [400, 400, 0, 0]);
    assert_eq!(count(&run, "stages.events"), 400);
}

/// A patch a stage through four workers that wait for their answers (`podPlayStageParallelism`): KWOK's own configuration changes
/// how many.
#[test]
fn workers_are_as_many_as_the_configuration_says() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("s.yaml"), pod_ready()).unwrap();
    let options = |workers: u32| {
        format!(
            "apiVersion: config.kwok.x-k8s.io/v1alpha1\nkind: KwokConfiguration\noptions:\n  podPlayStageParallelism: {workers}\n  cidr: 10.0.0.1/24\n"
        )
    };
    let mut last_ms = Vec::new();
    for workers in [1, 4, 64] {
        std::fs::write(folder.path().join("kwok.yaml"), options(workers)).unwrap();
        let plane = "apiServer: {profile: apiserver-1.36}, etcd: {fsync: {p50: 20ms, p99: 20ms}}";
        let workload = "pods: [{count: 200, requests: {cpu: 100m}}], start: backlog";
        let run = run_in(
            folder.path(),
            &text("s.yaml, kwok.yaml", plane, workload, "stop: {when: allRunning, limit: 10m}"),
        );
        assert!(run.summary.notes.iter().any(|note| note.contains("cidr")), "{:?}", run.summary.notes);
        last_ms.push(*spans(&run, |t| (0, t.running_ns)).last().unwrap());
    }
    assert!(last_ms[0] > 2 * last_ms[1] && last_ms[1] > last_ms[2], "{last_ms:?}");
}

/// Of several stages that match one is drawn by weight (`Lifecycle.Match`); a Job counts what fails.
#[test]
fn weights_decide_between_stages() {
    let running = format!("{ALIVE}, {RUNNING}");
    let good = stage("good", "Pod", &running, "  weight: 3\n  next: {statusTemplate: 'phase: Succeeded'}\n");
    let bad = stage("bad", "Pod", &running, "  weight: 1\n  next: {statusTemplate: 'phase: Failed'}\n");
    let never = stage("never", "Pod", &running, "  weight: 0\n  next: {statusTemplate: 'phase: Failed'}\n");
    let workload = "pods: [{count: 800, requests: {cpu: 10m}}]";
    let run =
        run_with(&[pod_ready(), good, bad, never], "", workload, "stop: {when: allFinished, limit: 1h}");
    assert_eq!(run.finished.ended, Ended::Done);
    let played = ["good", "bad", "never"].map(|name| count(&run, &format!("stages.pod.{name}")));
    assert_eq!((played[0] + played[1], played[2]), (800, 0));
    assert!((160..240).contains(&played[1]), "a quarter of 800: {played:?}");
    assert_eq!(run.finished.faults.as_ref().unwrap().pods_failed, played[1]);
}

/// `pod-complete` of the general stages: pods of Jobs, after 1 to 5 s or what the pod's annotations say.
#[test]
fn jobs_end_by_stages() {
    let annotations = "annotations: {pod-complete.stage.kwok.x-k8s.io/delay: 40s, pod-complete.stage.kwok.x-k8s.io/jitter-delay: 40s}";
    let job =
        |more: &str| format!("jobs: [{{completions: 30, parallelism: 10, requests: {{cpu: 100m}}{more}}}]");
    for (more, low, high) in [(String::new(), 1000, 5100), (format!(", {annotations}"), 40_000, 40_100)] {
        let run = run(&text("pod-general", SERVER, &job(&more), "stop: {when: allFinished, limit: 1h}"));
        assert_eq!(run.finished.ended, Ended::Done);
        assert_eq!((count(&run, "jobs.completed"), count(&run, "stages.pod.pod-complete")), (1, 30));
        let runs = spans(&run, |t| (t.running_ns, t.finished_ns));
        assert!(runs[0] >= low && runs[29] <= high, "{runs:?}");
    }
    // Pods of a Deployment go on.
    let workload = "deployments: [{replicas: 10, requests: {cpu: 100m}}]";
    let run = run(&text("pod-general", SERVER, workload, "stop: {when: allFinished, limit: 10m}"));
    assert_eq!((run.finished.ended, run.finished.counts.finished), (Ended::Done, 0));
}

/// The chaos stages make pods with a label fail after a second; their Job makes others, and gives up in the end.
#[test]
fn pods_fail_by_stages_and_their_job_gives_up() {
    let label = "labels: {pod-container-running-failed.stage.kwok.x-k8s.io: \"true\"}";
    let workload = format!(
        "jobs: [{{completions: 4, parallelism: 4, backoffLimit: 5, requests: {{cpu: 100m}}, {label}}}]"
    );
    let run = run(&text("pod-chaos, pod-general", "", &workload, "stop: {when: allFinished, limit: 2h}"));
    assert_eq!(run.finished.ended, Ended::Done);
    assert_eq!((count(&run, "jobs.completed"), count(&run, "jobs.failed")), (0, 1));
    // Its weight is 10000 beside pod-complete's 1.
    let failed = count(&run, "stages.pod.pod-container-running-failed");
    assert!(failed >= 6, "{failed}");
    // Without that label nothing fails.
    let workload = "jobs: [{completions: 4, parallelism: 4, backoffLimit: 5, requests: {cpu: 100m}}]";
    let run =
        self::run(&text("pod-chaos, pod-general", "", workload, "stop: {when: allFinished, limit: 2h}"));
    assert_eq!((count(&run, "jobs.completed"), count(&run, "pods.replaced")), (1, 0));
}

/// A deletion gives a pod 30 s; `pod-delete` of the general stages ends it after 1 s or later, at a time up to the deletion timestamp.
#[test]
fn pods_that_are_deleted_end_by_a_stage() {
    let drain = "faults: [{kind: drain, at: 2m, nodes: {count: 1}}]\nstop: {when: time, limit: 5m}";
    let workload = "deployments: [{replicas: 160, requests: {cpu: 100m}}]";
    for (stages, least, most) in [("pod-fast", 0, 3000), ("pod-general", 1000, 33_000)] {
        let run = run(&text(stages, SERVER, workload, drain));
        let ends = spans(&run, |t| (120 * SECOND, t.finished_ns));
        assert!(ends.len() >= 10, "{}", ends.len());
        assert!(ends[0] >= least && ends[ends.len() - 1] <= most, "{stages}: {ends:?}");
        assert_eq!(count(&run, "stages.pod.pod-delete"), ends.len() as u64);
        assert_eq!(run.finished.counts.running, 160 + ends.len() as u64, "others take their place");
    }
    // Without a stage for it a pod stays for ever.
    let run = run_with(&[pod_ready()], SERVER, workload, drain);
    assert_eq!(run.finished.counts.finished, 0);
}

/// A load client that holds its pods for a while deletes them as `kubectl delete` does.
#[test]
fn a_hold_ends_in_a_deletion() {
    let workload = "pods: [{count: 20, requests: {cpu: 100m}, hold: 60s}]";
    let run = run(&text("pod-general", SERVER, workload, "stop: {when: allFinished, limit: 10m}"));
    assert_eq!((run.finished.ended, run.finished.counts.finished), (Ended::Done, 20));
    let holds = spans(&run, |t| (t.bound_ns, t.finished_ns));
    assert!(holds[0] >= 61_000 && holds[19] <= 90_200, "{holds:?}");
}

/// The stages that `trace export k8s` writes beside a trace (docs/traces.md) end pods as podpace does by itself.
#[test]
fn exported_stages_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let exported = include_str!("../../src/trace/export/stages.yaml");
    std::fs::write(folder.path().join("stages.yaml"), exported).unwrap();
    let workload = "pods: [{count: 100, requests: {cpu: 100m}, runTime: {min: 10s, max: 60s}}]";
    let stop = "stop: {when: allFinished, limit: 10m}";
    let default = run(&text("", SERVER, workload, stop));
    let staged = run_in(folder.path(), &text("stages.yaml", SERVER, workload, stop));
    assert_eq!((staged.finished.ended, staged.finished.counts.finished), (Ended::Done, 100));
    let (a, b) = (
        spans(&default, |t| (t.running_ns, t.finished_ns)),
        spans(&staged, |t| (t.running_ns, t.finished_ns)),
    );
    // From the watch's showing the pod on, not from the write.
    assert!(a.iter().zip(&b).all(|(a, b)| a.abs_diff(*b) <= 20), "{a:?}\n{b:?}");
    assert_eq!(count(&staged, "stages.pod.pod-complete"), 100);
}

/// A heartbeat a node every 20 to 25 s (`node-heartbeat`), each a PATCH of the node.
#[test]
fn nodes_beat() {
    let workload = "pods: [{count: 10, requests: {cpu: 100m}}]";
    let run = run(&text("node-heartbeat, node-fast", SERVER, workload, "stop: {when: time, limit: 30m}"));
    let beats = count(&run, "stages.node.node-heartbeat");
    // 8 nodes x 1800 s / 22.5 s.
    assert!((620..660).contains(&beats), "{beats}");
    assert_eq!(count(&run, "stages.node.node-initialize"), 0, "nodes are ready when the run begins");
    assert_eq!(run.finished.counts.running, 10, "pods without stages go on as ever");
}

/// A node that joins is ready when `node-initialize` says so.
#[test]
fn nodes_that_join_are_made_ready_by_a_stage() {
    let ready = "{key: '.status.conditions.[] | select( .type == \"Ready\" ) | .status', operator: NotIn, values: ['True']}";
    let slow = stage(
        "initialize",
        "Node",
        ready,
        "  delay: {durationMilliseconds: 90000}\n  next: {statusTemplate: '{phase: Running, conditions: [{type: Ready, status: \"True\"}]}'}\n",
    );
    let rest =
        "cluster: {nodes: [{name: g, count: 1, template: {allocatable: {cpu: 1, memory: 4Gi, pods: 110}}}]}
faults: [{kind: nodeAdd, at: 60s, group: g, count: 3}]\nstop: {when: allBound, limit: 10m}";
    let run = run_with(&[slow], "", "deployments: [{replicas: 4, requests: {cpu: 700m}}]", rest);
    assert_eq!((run.finished.ended, count(&run, "stages.node.initialize")), (Ended::Done, 3));
    let bound = spans(&run, |t| (0, t.bound_ns));
    assert!(bound[0] < 1000 && bound[1] >= 150_000 && bound[3] < 165_000, "{bound:?}");
}

/// `node-not-ready` of the chaos stages: the node lifecycle controller taints such a node, and its pods are evicted 300 s later.
#[test]
fn nodes_fail_by_stages() {
    let cluster = "cluster: {nodes: [{count: 1, template: {allocatable: {cpu: 8, memory: 64Gi, pods: 110}, labels: {node-not-ready.stage.kwok.x-k8s.io: \"true\"}}}, {count: 7, template: {allocatable: {cpu: 8, memory: 64Gi, pods: 110}}}]}
stop: {when: time, limit: 10m}";
    let workload = "deployments: [{replicas: 60, requests: {cpu: 100m}}], start: backlog";
    let run = run(&text("node-chaos, node-fast, pod-fast", "", workload, cluster));
    // Once a second, a patch with another time.
    let played = count(&run, "stages.node.node-not-ready");
    assert!((560..602).contains(&played), "{played}");
    let faults = run.finished.faults.as_ref().unwrap();
    assert!(faults.pods_evicted > 0 && faults.pods_replaced == faults.pods_evicted, "{faults:?}");
    let ends = spans(&run, |t| (0, t.finished_ns));
    assert!(ends.len() as u64 == faults.pods_evicted && ends[0] > 300_000, "{ends:?}");
}

/// `immediateNextStage`: the answer is looked at, and the watch adds nothing.
#[test]
fn an_immediate_stage_is_played_once() {
    let first = "  immediateNextStage: true\n  next: {statusTemplate: 'conditions: [{type: Initialized, status: \"True\"}]'}\n";
    let not_yet = "{key: '.status.conditions.[] | select( .type == \"Initialized\" ) | .status', operator: NotIn, values: ['True']}";
    let done = "{key: '.status.conditions.[] | select( .type == \"Initialized\" ) | .status', operator: In, values: ['True']}";
    let stages = [
        stage("init", "Pod", &format!("{ALIVE}, {PENDING}, {not_yet}"), first),
        stage("ready", "Pod", &format!("{ALIVE}, {PENDING}, {done}"), READY),
    ];
    let workload = "pods: [{count: 50, requests: {cpu: 100m}}]";
    let run = run_with(&stages, SERVER, workload, "stop: {when: time, limit: 1m}");
    let played = ["init", "ready"].map(|name| count(&run, &format!("stages.pod.{name}")));
    assert_eq!((played, run.finished.counts.running), ([50, 50], 50));
}

/// `checkNeedPatch`: a patch that changes nothing is not sent, so a stage that its own patch does not end is played once more and then
/// rests.
#[test]
fn a_patch_that_changes_nothing_is_no_request() {
    let again = stage("again", "Pod", &format!("{ALIVE}, {RUNNING}"), READY);
    let workload = "pods: [{count: 5, requests: {cpu: 100m}}]";
    let run = run_with(&[pod_ready(), again], "", workload, "stop: {when: allFinished, limit: 1h}");
    assert_eq!((run.finished.ended, count(&run, "stages.pod.again")), (Ended::Done, 5));
}

/// `playStage` compares every patch with the object that the watch has shown, which is not replaced between them: one that repeats
/// another is sent, and changes nothing; one that undoes another is not.
#[test]
fn all_patches_of_a_stage_are_compared_with_the_watched_object() {
    let patch = |text: &str| format!("{{subresource: status, root: status, template: '{text}'}}");
    let a = patch("conditions: [{type: A, status: \"True\"}]");
    let undone = patch("conditions: [{type: A, status: \"False\"}]");
    let ready = patch("{phase: Running, conditions: [{type: Ready, status: \"True\"}]}");
    let first = stage(
        "first",
        "Pod",
        &format!("{ALIVE}, {PENDING}"),
        &format!("  next: {{patches: [{undone}, {ready}]}}\n"),
    );
    let is_a = |status: &str| {
        let key = ".status.conditions.[] | select( .type == \"A\" ) | .status";
        format!("{{key: '{key}', operator: In, values: ['{status}']}}")
    };
    let workload = "pods: [{count: 5, requests: {cpu: 100m}}]";
    let sent = |patches: &[&String]| {
        let patches: Vec<&str> = patches.iter().map(|patch| patch.as_str()).collect();
        let spec = format!("  next: {{patches: [{}]}}\n", patches.join(", "));
        let then = stage("then", "Pod", &format!("{ALIVE}, {RUNNING}, {}", is_a("False")), &spec);
        let late = "  delay: {durationMilliseconds: 5000}\n  next: {event: {type: Normal}}\n";
        let seen = stage("seen", "Pod", &format!("{ALIVE}, {RUNNING}, {}", is_a("True")), late);
        let run = run_with(&[first.clone(), then, seen], SERVER, workload, "stop: {when: time, limit: 1m}");
        let played = ["then", "seen"].map(|name| count(&run, &format!("stages.pod.{name}")));
        (played, count(&run, "client.node-agents.requests"))
    };
    let (one, two, back) = (sent(&[&a]), sent(&[&a, &a]), sent(&[&a, &undone]));
    assert_eq!((one.0, two.0, back.0), ([5, 5], [5, 5], [5, 5]));
    assert_eq!((two.1 - one.1, back.1 - one.1), (5, 0));
}

/// A finalizer that a stage has added holds the pod back until another takes it off (`finalizersModify`; a deleted object goes with its
/// last finalizer).
#[test]
fn finalizers_hold_a_pod_back() {
    let has = |operator: &str| format!("{{key: .metadata.finalizers, operator: {operator}}}");
    let add = stage(
        "add",
        "Pod",
        &format!("{ALIVE}, {RUNNING}, {}", has("DoesNotExist")),
        "  next: {finalizers: {add: [{value: example.com/a}, {value: example.com/b}]}}\n",
    );
    let remove = |name: &str, delay: u32, key: &str| {
        let listed = format!("{{key: '.metadata.finalizers.[]', operator: In, values: [{key}]}}");
        let next = format!(
            "  delay: {{durationMilliseconds: {delay}}}\n  next: {{finalizers: {{remove: [{{value: {key}}}]}}, delete: true}}\n"
        );
        stage(name, "Pod", &format!("{DELETED}, {listed}"), &next)
    };
    // Of the first stage that matches both, with and without weight.
    let first = remove("first", 10_000, "example.com/a").replace("  delay", "  weight: 1\n  delay");
    let second = remove("second", 20_000, "example.com/b");
    let workload = "pods: [{count: 10, requests: {cpu: 100m}, hold: 60s}]";
    let stages = [pod_ready(), add, first, second];
    let run = run_with(&stages, SERVER, workload, "stop: {when: allFinished, limit: 10m}");
    assert_eq!((run.finished.ended, run.finished.counts.finished), (Ended::Done, 10));
    let holds = spans(&run, |t| (t.bound_ns, t.finished_ns));
    assert!(holds[0] >= 90_000 && holds[9] < 90_500, "60 s, then 10 and 20: {holds:?}");
    let played = ["add", "first", "second"].map(|name| count(&run, &format!("stages.pod.{name}")));
    assert_eq!(played, [10, 10, 10]);
}

/// `TestRequirement_Matches` of pkg/utils/expression: reasons of containers are compared.
#[test]
fn reasons_of_containers_are_seen() {
    let reason = |operator: &str, reason: &str| {
        format!(
            "{{key: '.status.containerStatuses.[].state.waiting.reason', operator: {operator}, values: [{reason}]}}"
        )
    };
    let wait = |to: &str| {
        format!(
            "  next: {{statusTemplate: 'containerStatuses: [{{name: a, state: {{waiting: {{reason: {to}}}}}}}]'}}\n"
        )
    };
    let none = "{key: '.status.containerStatuses.[].state.waiting.reason', operator: DoesNotExist}";
    let stages = [
        stage("create", "Pod", &format!("{ALIVE}, {PENDING}, {none}"), &wait("ContainerCreating")),
        stage(
            "pull",
            "Pod",
            &format!("{PENDING}, {}", reason("In", "ContainerCreating")),
            &wait("ImagePullBackOff"),
        ),
        stage(
            "start",
            "Pod",
            &format!("{PENDING}, {}", reason("In", "ErrImagePull, ImagePullBackOff")),
            READY,
        ),
        stage("never", "Pod", &format!("{RUNNING}, {}", reason("NotIn", "ImagePullBackOff")), READY),
    ];
    let workload = "pods: [{count: 5, requests: {cpu: 100m}}]";
    let run = run_with(&stages, "", workload, "stop: {when: allFinished, limit: 1h}");
    let played = ["create", "pull", "start", "never"].map(|name| count(&run, &format!("stages.pod.{name}")));
    assert_eq!((run.finished.ended, played), (Ended::Done, [5, 5, 5, 0]));
}

/// Who pushes a pod off a node waits until a stage has ended it: 1 to 30 s with the general stages.
#[test]
fn victims_of_preemption_end_by_a_stage() {
    let cluster = "cluster: {nodes: [{count: 4, template: {allocatable: {cpu: 4, memory: 16Gi, pods: 110}}}]}
stop: {when: time, limit: 5m}";
    let workload = "pods: [{name: low, count: 16, requests: {cpu: 1}}, {name: high, count: 4, priority: 10, requests: {cpu: 1}}], arrivals: {process: constant, rate: 0.5}";
    let run = run(&text("pod-general", SERVER, workload, cluster));
    let pods = &run.finished.cluster.pods;
    let waits: Vec<u64> = (16..20).map(|pod| pods.timeline(pod)).map(|t| t.bound_ns - t.created_ns).collect();
    assert!(waits.iter().all(|ns| (SECOND..45 * SECOND).contains(ns)), "{waits:?}");
    assert_eq!((count(&run, "stages.pod.pod-delete"), run.finished.counts.finished), (4, 4));
}

/// An autoscaler's nodes get ready by a stage, and pods that it moves end by one.
#[test]
fn nodes_of_an_autoscaler_go_through_stages() {
    let cluster = "cluster: {nodes: [], autoscaler: {kind: cluster-autoscaler, provisioning: 30s, nodeGroups: [{name: g, max: 9, template: {allocatable: {cpu: 4, memory: 16Gi}}}]}}
stop: {when: allRunning, limit: 20m}";
    let workload = "deployments: [{replicas: 20, requests: {cpu: 900m}}]";
    let run = run(&text("pod-general, node-fast, node-heartbeat", SERVER, workload, cluster));
    assert_eq!((run.finished.ended, run.finished.counts.running), (Ended::Done, 20));
    assert_eq!(count(&run, "stages.node.node-initialize"), 5);
}

/// YuniKorn's placeholders are pods: they run, and the scheduler deletes them, whatever stages say.
#[test]
fn placeholders_of_a_gang_go_through_stages() {
    let workload = "pods: [{count: 20, apps: 2, requests: {cpu: 100m}, gang: {minMember: 5}}]";
    let base = text("pod-fast", SERVER, workload, "stop: {when: allRunning, limit: 10m}");
    let run = run(&base.replace("kube-scheduler", "yunikorn"));
    assert_eq!((run.finished.ended, run.finished.counts.running), (Ended::Done, 20));
    assert_eq!(count(&run, "stages.pod.pod-ready"), 30);
}

/// Stages that follow each other for ever without delay: the limit of the run ends them.
#[test]
fn stages_in_a_circle_do_not_hang() {
    let to = |name: &str, from: &str, to: &str| {
        let selector = format!("{{key: .status.phase, operator: In, values: [{from}]}}");
        stage(
            name,
            "Pod",
            &selector,
            &format!("  immediateNextStage: true\n  next: {{statusTemplate: 'phase: {to}'}}\n"),
        )
    };
    let stages = [to("there", "Pending", "Running"), to("back", "Running", "Pending")];
    let workload = "pods: [{count: 1, requests: {cpu: 100m}}]";
    let run = run_with(&stages, SERVER, workload, "stop: {when: allFinished, limit: 20s}");
    assert_eq!(run.finished.ended, Ended::Limit);
    let run = run_with(&stages, "", workload, "stop: {when: allFinished, limit: 20s}");
    assert_eq!(run.finished.ended, Ended::Limit, "the controller's own work takes time");
}

/// An API server that is away: the patch is tried again after 1 s, doubled (`backoffDelayByStep`).
#[test]
fn a_request_that_fails_is_tried_again() {
    let rest =
        "faults: [{kind: apiServerRestart, at: 10s, duration: 20s}]\nstop: {when: allRunning, limit: 10m}";
    let slow = stage(
        "ready",
        "Pod",
        &format!("{ALIVE}, {PENDING}"),
        &format!("  delay: {{durationMilliseconds: 12000}}\n{READY}"),
    );
    let workload = "pods: [{count: 20, requests: {cpu: 100m}}]";
    let run = run_with(&[slow, pod_delete()], SERVER, workload, rest);
    assert_eq!((run.finished.ended, run.finished.counts.running), (Ended::Done, 20));
    assert!(count(&run, "stages.pod.ready") > 20);
    let pods = &run.finished.cluster.pods;
    assert!(
        (0..20).all(|pod| pods.stage(pod) == Stage::Running && pods.timeline(pod).running_ns > 30 * SECOND)
    );
}

/// What a reader sees of a file in which something is wrong.
fn wrong(file: &str, workload: &str, rest: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("s.yaml"), file).unwrap();
    let page = message_of(&text("s.yaml", "", workload, rest), Some(folder.path()));
    page.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn errors_name_file_line_and_what_to_do() {
    let pods = "pods: [{count: 1, requests: {cpu: 100m}}]";
    let pod = |selector: &str, spec: &str| wrong(&stage("s", "Pod", selector, spec), pods, "");
    let template = |text: &str| {
        let block: String = text.lines().map(|line| format!("      {line}\n")).collect();
        pod(PENDING, &format!("  next:\n    statusTemplate: |\n{block}"))
    };
    let done = "  next: {delete: true}\n";
    let mut page = String::new();
    let mut case = |name: &str, message: String| page.push_str(&format!("# {name}\n{message}\n\n"));
    case("a field that there is not", pod(PENDING, "  wieght: 1\n  next: {delete: true}\n"));
    case("another kind", wrong(&stage("s", "Service", PENDING, done), pods, ""));
    case("another document", wrong("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n", pods, ""));
    case("a negative weight", pod(PENDING, "  weight: -1\n  next: {delete: true}\n"));
    case("a negative delay", pod(PENDING, "  delay: {durationMilliseconds: -5}\n  next: {delete: true}\n"));
    case("a key that is not known", pod("{key: .status.qosClass, operator: In, values: [BestEffort]}", done));
    case("a value that is not known", pod("{key: .status.podIP, operator: In, values: [10.0.0.1]}", done));
    case("an operator", pod("{key: .status.phase, operator: Gt, values: [a]}", done));
    case("no values", pod("{key: .status.phase, operator: In}", done));
    case("values too many", pod("{key: .status.phase, operator: Exists, values: [a]}", done));
    case("CEL", pod("{cel: {expression: 'self.status.phase == \"Pending\"'}}", done));
    case(
        "a weight from a time",
        pod(PENDING, "  weightFrom: {expressionFrom: .metadata.deletionTimestamp}\n  next: {delete: true}\n"),
    );
    let node = stage("s", "Node", PENDING, "  next: {finalizers: {add: [{value: a/b}]}}\n");
    case("finalizers of a node", wrong(&node, pods, ""));
    case(
        "a JSON patch",
        pod(PENDING, "  next: {patches: [{type: json, subresource: status, template: '[]'}]}\n"),
    );
    case(
        "a patch of labels",
        pod(PENDING, "  next: {patches: [{root: metadata, template: 'labels: {a: b}'}]}\n"),
    );
    case("apply", pod(PENDING, "  steps: [{apply: {template: ''}}]\n"));
    case("nothing comes next", pod(PENDING, ""));
    case("a phase", template("phase: Runing"));
    case("an unknown phase", template("conditions: []\nphase: {{ .metadata.name }}"));
    case("an unknown condition", template("a: b"));
    case(
        "a choice that is not known",
        template("{{ $now := Now }}\n{{ if eq .metadata.name \"a\" }}\nphase: Failed\n{{ end }}"),
    );
    case(
        "a choice by what a template does not know",
        template("a: b\n{{ if eq .spec.restartPolicy \"Never\" }}\n{{ end }}"),
    );
    case("a list that is a mapping", template("phase: Running\nconditions: {type: Ready, status: \"True\"}"));
    case("a list that is a word", template("phase: Running\nconditions: Ready"));
    case("containers that are no list", template("containerStatuses: {state: {running: {}}}"));
    case("a container that is a word", template("containerStatuses: [a]"));
    case("a state that is a word", template("containerStatuses: [{state: running}]"));
    case("conditions that are not known", template("conditions: {{ YAML .status.conditions 1 }}"));
    let loops = format!("phase: Running\n{}{}", "{{ range list 1 1 }}".repeat(40), "{{ end }}".repeat(40));
    case("loops without end", template(&loops));
    let list =
        |key: &str, operator: &str| pod(&format!("{{key: {key}, operator: {operator}, values: [a]}}"), done);
    case("a list that is compared", list(".metadata.finalizers", "In"));
    case("a list of owners that is compared", list(".metadata.ownerReferences", "NotIn"));
    case("owners that are compared", list("'.metadata.ownerReferences.[]'", "In"));
    case("a function", template("phase: {{ randAlpha 5 }}"));
    case("an action that is open", template("phase: Running\n{{ if true }}"));
    let compared = "{key: '.status.containerStatuses.[].state.waiting.reason', operator: In, values: [a]}";
    let made_up = "  next:\n    statusTemplate: |\n      containerStatuses: [{state: {waiting: {reason: {{ .metadata.name }}}}}]\n";
    case("a reason that is made up", pod(compared, made_up));
    case("no YAML", template("phase: [Running"));
    case("twice", wrong(&[pod_ready(), pod_ready()].concat(), pods, ""));
    case("no stage", wrong("apiVersion: config.kwok.x-k8s.io/v1alpha1\nkind: KwokConfiguration\n", pods, ""));
    let run_time = "pods: [{count: 1, requests: {cpu: 100m}, runTime: 5s}]";
    case("a run time that nobody reads", wrong(&pod_ready(), run_time, ""));
    let fault = "faults: [{kind: nodeFailure, at: 1m, nodes: {count: 1}}]";
    case("a fault of machines", wrong(&pod_ready(), pods, fault));
    let annotated = "pods: [{count: 1, requests: {cpu: 100m}, annotations: {a/weight: \"-3\"}}]";
    let from =
        "  weightFrom: {expressionFrom: '.metadata.annotations[\"a/weight\"]'}\n  next: {delete: true}\n";
    case("a negative weight of a pod", wrong(&stage("s", "Pod", PENDING, from), annotated, ""));
    let base = text("", "", annotated, "");
    case("annotations without stages", message_of(&base, None));
    case(
        "no file",
        message_of(&text("nosuch.yaml", "", pods, ""), Some(&fixtures()))
            .replace(&format!("{}/", fixtures().display()), ""),
    );
    let hollow = text("pod-fast", "", pods, "").replace("kind: kwok", "kind: hollow, startLatency: 1s");
    case("another kind of agents", message_of(&hollow, Some(&fixtures())));
    assert_page("stages", &page);
}

/// What a pod or node may have, and what no template can know here, is an error where a choice depends on it; what none has is absent.
#[test]
fn choices_of_templates_are_never_made_in_silence() {
    let workload = "deployments: [{count: 1, replicas: 1, requests: {cpu: 100m}}]";
    let of = |kind: &str, condition: &str| {
        let body = format!(
            "  next:\n    statusTemplate: |\n      {{{{ {condition} }}}}\n      phase: Running\n      {{{{ end }}}}\n"
        );
        wrong(&stage("s", kind, PENDING, &body), workload, "")
    };
    for (kind, condition, what) in [
        ("Pod", "if eq .spec.restartPolicy \"Never\"", "its spec.restartPolicy"),
        ("Pod", "if .metadata.deletionTimestamp", "its metadata.deletionTimestamp"),
        ("Pod", "if .metadata.finalizers", "its metadata.finalizers"),
        ("Pod", "with (index .spec.containers 0).resources.requests", "the container.resources.requests"),
        ("Pod", "if .status.containerStatuses", "its status.containerStatuses"),
        ("Pod", "if .status.podIP", "its status.podIP"),
        ("Pod", "if eq (index .metadata.ownerReferences 0).name \"a\"", "the name of its owner"),
        ("Node", "if .spec.unschedulable", "its spec.unschedulable"),
        ("Node", "if .status.nodeInfo", "its status.nodeInfo"),
        ("Node", "if .metadata.generation", "its metadata.generation"),
    ] {
        let page = of(kind, condition);
        assert!(
            page.contains(&format!("depends on {what}")) && page.contains("s.yaml:10:"),
            "{condition}: {page}"
        );
    }
    let body = "  next:\n    statusTemplate: |\n      {{ if or .spec.initContainers .spec.readinessGates .spec.hostNetwork .status.initContainerStatuses }}\n      \
         phase: Failed\n      {{ else if eq (index .metadata.ownerReferences 0).kind \"ReplicaSet\" }}\n      phase: Running\n      {{ end }}\n";
    let run = run_with(
        &[stage("s", "Pod", PENDING, body)],
        SERVER,
        workload,
        "stop: {when: allRunning, limit: 1m}",
    );
    assert_eq!(count(&run, "stages.pod.s"), 1);
    assert_eq!(run.finished.ended, Ended::Done);
}
