//! Deployments, StatefulSets and Jobs among manifests: the same run as of the same fields in a scenario, and what is said to what is not modelled.
//!
//! Defaults and refusals are those of apps/v1 and batch/v1 (k/k `pkg/apis/apps`, `pkg/apis/batch`), run times those of KWOK's stage `pod-complete`.
use podpace::cluster::{NO_NODE, PodId, Stage};
use podpace::experiment::output::digest;
use podpace::experiment::run::{Completed, Environment, RunSpec};
use podpace::scenario::Document;
use podpace::scenario::plan::Plan;

use crate::support::{SECOND, assert_goes_on, assert_page, count, message_of};

const RUNS_30_S: &str = "annotations: {pod-complete.stage.kwok.x-k8s.io/delay: 30s, pod-complete.stage.kwok.x-k8s.io/jitter-delay: 30s}";

fn text(scheduler: &str, workload: &str, more: &str) -> String {
    format!(
        "apiVersion: podpace/v1
kind: Scenario
name: objects
cluster: {{nodes: [{{count: 6, zones: 2, template: {{allocatable: {{cpu: 32, memory: 64Gi, pods: 110}}}}}}]}}
controlPlane: {{apiServer: {{profile: apiserver-1.36}}, nodeLifecycle: {{kind: kubelet, startLatency: {{min: 1s, max: 3s}}}}}}
scheduler: {{kind: {scheduler}}}
workload: {{{workload}}}
{more}
"
    )
}

/// An object with fields of its spec, and of its pods' metadata and spec.
fn object(kind: &str, name: &str, fields: &str, meta: &str, pod: &str) -> String {
    format!(
        "kind: {kind}
metadata: {{name: {name}}}
spec:
  {fields}
  template:
    metadata: {{labels: {{app: {name}}}, {meta}}}
    spec: {{{pod}containers: [{{name: c, resources: {{requests: {{cpu: 250m, memory: 64Mi}}}}}}]}}
---
"
    )
}

fn pod(name: &str) -> String {
    format!("kind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: c}}]}}\n---\n")
}

fn folder_with(manifests: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("all.yaml"), manifests).unwrap();
    folder
}

fn spec(text: &str, manifests: &str) -> RunSpec {
    let folder = folder_with(manifests);
    let document = Document::parse("scenario.yaml", text, Some(folder.path())).unwrap();
    // The folder has to last until the plan is made.
    let _ = folder.keep();
    RunSpec::of_scenario(document).unwrap_or_else(|errors| panic!("{}\n{text}", errors[0]))
}

fn plan(text: &str, manifests: &str) -> Plan {
    spec(text, manifests).plan(&Environment::built_in()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn run(text: &str, manifests: &str) -> Completed {
    spec(text, manifests).simulate(&Environment::built_in()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// When the pods of an application were created, s, in order of their numbers.
fn created_s(completed: &Completed, app: &str) -> Vec<u64> {
    let pods = &completed.finished.cluster.pods;
    let made = (0..pods.len() as PodId).filter(|pod| pods.stage(*pod) != Stage::Planned);
    let of_app = made.filter(|pod| pods.apps()[pods.app_id(*pod) as usize].name == app);
    of_app.map(|pod| pods.timeline(pod).created_ns / SECOND).collect()
}

/// Whichever way they are written, the results have the same bytes, but for the hashes of what they were made from.
#[test]
fn a_manifest_gives_the_run_of_the_same_fields_in_a_scenario() {
    let never = "restartPolicy: Never, ";
    let manifests = [
        object("Job", "night", "completions: 9\n  parallelism: 3\n  backoffLimit: 4", RUNS_30_S, never),
        object("Deployment", "web", "replicas: 40\n  selector: {matchLabels: {app: web}}", "", ""),
        object("StatefulSet", "db", "replicas: 4\n  serviceName: db", "", ""),
        object("ReplicaSet", "old", "replicas: 3", "", ""),
        object("StatefulSet", "all", "replicas: 3\n  podManagementPolicy: Parallel", "", ""),
        object(
            "Job",
            "numbered",
            "completions: 4\n  parallelism: 2\n  completionMode: Indexed\n  ttlSecondsAfterFinished: 60",
            RUNS_30_S,
            never,
        ),
    ]
    .concat();
    let asks = "requests: {cpu: 250m, memory: 64Mi}";
    let groups = format!(
        "deployments: [{{name: web, replicas: 40, {asks}}}, {{name: old, replicas: 3, {asks}}}], \
         statefulSets: [{{name: db, replicas: 4, {asks}}}, {{name: all, replicas: 3, podManagementPolicy: Parallel, {asks}}}], \
         jobs: [{{name: night, completions: 9, parallelism: 3, backoffLimit: 4, runTime: 30s, {asks}}}, \
         {{name: numbered, completions: 4, parallelism: 2, completionMode: Indexed, runTime: 30s, {asks}}}]"
    );
    let more = "faults: [{kind: podFailure, every: 40s, to: 4m}, {kind: drain, at: 2m, nodes: {names: [node-00000]}}, {kind: controllerManagerLeaderChange, at: 3m}]
stop: {when: time, limit: 10m}";
    for scheduler in ["kube-scheduler", "yunikorn", "volcano", "first-fit"] {
        let [mut of_manifests, mut of_groups] = ["manifests: [all.yaml]", &groups]
            .map(|workload| run(&text(scheduler, workload, more), &manifests));
        let files = &of_manifests.summary.inputs.files;
        for name in ["Deployment default/web", "StatefulSet default/db", "Job default/night"] {
            assert!(files.iter().any(|file| file.name.contains(name)), "{name}");
        }
        assert_eq!(count(&of_groups, "jobs.completed"), 2);
        assert!(count(&of_groups, "pods.replaced") > 0, "of those that were drained, too");
        for run in [&mut of_manifests, &mut of_groups] {
            run.summary.inputs = Default::default();
            run.summary.notes.clear();
        }
        assert_eq!(of_manifests.summary.to_json(), of_groups.summary.to_json(), "{scheduler}");
        assert_eq!(digest(&of_manifests).unwrap(), digest(&of_groups).unwrap(), "{scheduler}");
    }
}

/// A Pod beside them is created by whoever applies the files; their own are made all the same, and made again when they are lost.
#[test]
fn they_stand_beside_pods() {
    let manifests = pod("a")
        + &object("Deployment", "web", "replicas: 5", "", "")
        + &object("StatefulSet", "db", "replicas: 3", "", "")
        + &object("Job", "night", "completions: 4\n  parallelism: 2", RUNS_30_S, "restartPolicy: Never, ")
        + &pod("b");
    let drained = "faults: [{kind: drain, at: 4m, force: true, nodes: {names: [node-00000, node-00001, node-00002]}}, {kind: controllerManagerLeaderChange, at: 6m}]\nstop: {when: time, limit: 9m}";
    for scheduler in ["kube-scheduler", "yunikorn", "first-fit"] {
        let text = text(scheduler, "manifests: [all.yaml]", drained);
        let run = run(&text, &manifests);
        assert!(created_s(&run, "web").iter().take(5).all(|s| *s < 2), "{scheduler}");
        let db = created_s(&run, "db");
        assert!(db[0] < db[1] && db[1] < db[2], "one is ready before the next is made: {db:?}");
        let night = created_s(&run, "night");
        assert!(night.len() == 4 && night[1] < 2 && night[2] >= 30, "two at a time: {night:?}");
        assert_eq!(count(&run, "jobs.completed"), 1);
        // Two Pods, of which those that were drained are gone for good, and eight that are there again.
        let alive = run.summary.counts.running - run.summary.counts.finished;
        assert!(count(&run, "pods.replaced") > 0 && alive >= 8, "{scheduler}: {:?}", run.summary.counts);
        assert_goes_on(&plan(&text, &manifests), [SECOND / 2, 20 * SECOND, 250 * SECOND]);
    }
}

/// "For example: nodes with few pods of the Deployment first": pods of a controller have the default spread of `PodTopologySpread` (System), whose
/// selector is that of their ReplicaSet, StatefulSet or ReplicationController (`helper.DefaultSelector`).
#[test]
fn their_pods_have_the_default_spread() {
    let nodes = "cluster: {nodes: [{name: big, count: 1, template: {allocatable: {cpu: 64, memory: 256Gi, pods: 110}}}, {name: small, count: 5, template: {allocatable: {cpu: 4, memory: 8Gi, pods: 110}}}]}";
    for kind in ["Deployment", "ReplicaSet", "ReplicationController", "StatefulSet"] {
        let selector =
            if kind == "ReplicationController" { "{app: web}" } else { "{matchLabels: {app: web}}" };
        let fields = format!(
            "replicas: 12\n  selector: {selector}\n  {}",
            if kind == "StatefulSet" { "podManagementPolicy: Parallel" } else { "minReadySeconds: 0" }
        );
        let text = text("kube-scheduler", "manifests: [all.yaml]", "stop: {when: allRunning}");
        let text = text.lines().map(|line| if line.starts_with("cluster") { nodes } else { line });
        let run = run(&text.collect::<Vec<_>>().join("\n"), &object(kind, "web", &fields, "", ""));
        let pods = &run.finished.cluster.pods;
        let mut on = [0; 6];
        (0..12).filter(|pod| pods.node(*pod) != NO_NODE).for_each(|pod| on[pods.node(pod) as usize] += 1);
        assert_eq!(on, [2; 6], "{kind}");
    }
}

/// What makes no pods is told, and what cannot be modelled is refused.
#[test]
fn what_is_not_modelled_is_refused() {
    let suspended = object("Job", "later", "suspend: true", "", "restartPolicy: Never, ")
        + &object("Deployment", "none", "replicas: 0", "", "")
        + &pod("a");
    let notes = plan(&text("kube-scheduler", "manifests: [all.yaml]", ""), &suspended).provenance.notes;
    for note in
        ["Job later is suspended: it makes no pods", "Deployment none has no replicas: it makes no pods"]
    {
        assert!(notes.iter().any(|n| n == note), "{notes:?}");
    }
    let job = |fields: &str, meta: &str| object("Job", "night", fields, meta, "restartPolicy: Never, ");
    let one = "annotations: {pod-complete.stage.kwok.x-k8s.io/delay: 30s}";
    let claims = "volumeClaimTemplates: [{metadata: {name: data}, spec: {storageClassName: fast}}]";
    let mut page = String::new();
    for (what, manifest) in [
        ("replicas: -1", object("Deployment", "web", "replicas: -1", "", "")),
        ("replicas: '5'", object("StatefulSet", "db", "replicas: '5'", "", "")),
        ("restartPolicy: Never", object("ReplicaSet", "web", "replicas: 2", "", "restartPolicy: Never, ")),
        ("nodeName", object("Deployment", "web", "replicas: 2", "", "nodeName: node-00001, ")),
        ("podManagementPolicy: Ordered", object("StatefulSet", "db", "podManagementPolicy: Ordered", "", "")),
        ("volumes of no class", object("StatefulSet", "db", claims, "", "")),
        (
            "volumes of the default class",
            object("StatefulSet", "db", "volumeClaimTemplates: [{spec: {}}]", "", ""),
        ),
        ("a Job that never ends", job("completions: 10\n  parallelism: 2", "")),
        ("a Job of which only one annotation says when it ends", job("completions: 2", one)),
        ("activeDeadlineSeconds", job("activeDeadlineSeconds: 60", RUNS_30_S)),
        ("a Job's restartPolicy", object("Job", "night", "completions: 2", RUNS_30_S, "")),
        ("a Job that is misspelt", job("completion: 2", RUNS_30_S)),
        ("twice", object("Deployment", "web", "replicas: 1", "", "").repeat(2)),
    ] {
        let folder = folder_with(&manifest);
        let message = message_of(&text("kube-scheduler", "manifests: [all.yaml]", ""), Some(folder.path()));
        let message = message.replace(&folder.path().display().to_string(), "FOLDER");
        page += &format!("{what}\n{message}\n\n");
    }
    let folder = folder_with(&object("StatefulSet", "db", "replicas: 3", "", ""));
    let no_agents = text("kube-scheduler", "manifests: [all.yaml]", "")
        .replace(", nodeLifecycle: {kind: kubelet, startLatency: {min: 1s, max: 3s}}", "");
    let message =
        message_of(&no_agents, Some(folder.path())).replace(&folder.path().display().to_string(), "FOLDER");
    page += &format!("no node agents\n{message}\n");
    assert_page("object_manifests", &page);
}

/// With volumes of a class of the scenario, a StatefulSet's pods are where their volumes are.
#[test]
fn volumes_are_of_the_classes_of_the_scenario() {
    let claims = "replicas: 4\n  podManagementPolicy: Parallel\n  volumeClaimTemplates: [{spec: {storageClassName: fast}}]";
    let class = "storageClasses: [{name: fast, volumeBindingMode: WaitForFirstConsumer, provisioning: 20s}], nodes: [";
    let text = text("kube-scheduler", "manifests: [all.yaml]", "stop: {when: allRunning}")
        .replace("nodes: [", class);
    let run = run(&text, &object("StatefulSet", "db", claims, "", ""));
    let pods = &run.finished.cluster.pods;
    assert!((0..4).all(|pod| pods.timeline(pod).bound_ns >= 20 * SECOND), "the provisioner takes that long");
}
