//! Pods among manifests: what a run makes of them, and what scenarios refuse.
use podpace::experiment::run::{Completed, Environment, RunSpec};
use podpace::scenario::Document;

use crate::support::message_of;

fn text(scheduler: &str, files: &str, nodes: &str) -> String {
    format!(
        "apiVersion: podpace/v1
kind: Scenario
name: pods
{nodes}
controlPlane: {{nodeLifecycle: {{kind: kubelet}}}}
scheduler: {scheduler}
workload: {{manifests: [{files}]}}
stop: {{when: allBound, limit: 1m}}
"
    )
}

const KUBE: &str = "{kind: kube-scheduler}";
const NODES: &str =
    "cluster: {nodes: [{name: n, count: 2, template: {allocatable: {cpu: 8, memory: 32Gi}}}]}";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn run(files: &[(&str, &str)], text: &str) -> Completed {
    let folder = folder(files);
    let document = Document::parse("scenario.yaml", text, Some(folder.path())).unwrap();
    let spec = RunSpec::of_scenario(document).unwrap_or_else(|errors| panic!("{}\n{text}", errors[0]));
    spec.simulate(&Environment::built_in()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn message(manifest: &str) -> String {
    let folder = folder(&[("m.yaml", manifest)]);
    message_of(&text(KUBE, "m.yaml", NODES), Some(folder.path()))
}

fn pods(count: u32, spec: &str) -> String {
    (0..count)
        .map(|i| {
            format!("kind: Pod\nmetadata: {{name: p{i}}}\nspec: {{{spec}containers: [{{name: c}}]}}\n---\n")
        })
        .collect()
}

/// NodePorts: one pod with the port a node. Pods on the network of their node have its ports, too.
#[test]
fn pods_with_a_port_of_the_node_go_to_different_nodes() {
    let port = pods(3, "").replace("name: c", "name: c, ports: [{containerPort: 80, hostPort: 80}]");
    assert_eq!(run(&[("m.yaml", &port)], &text(KUBE, "m.yaml", NODES)).summary.counts.bound, 2);
    let host = pods(3, "hostNetwork: true, ").replace("name: c", "name: c, ports: [{containerPort: 80}]");
    assert_eq!(run(&[("m.yaml", &host)], &text(KUBE, "m.yaml", NODES)).summary.counts.bound, 2);
    let inside = pods(3, "").replace("name: c", "name: c, ports: [{containerPort: 80}]");
    assert_eq!(run(&[("m.yaml", &inside)], &text(KUBE, "m.yaml", NODES)).summary.counts.bound, 3);
    // YuniKorn's predicates here do not look at them, and a note says so.
    let of_yunikorn = run(&[("m.yaml", &port)], &text("{kind: yunikorn}", "m.yaml", NODES));
    assert!(
        of_yunikorn.summary.notes.iter().any(|note| note.contains("take ports of their node")),
        "{:?}",
        of_yunikorn.summary.notes
    );
}

/// A pod that is created with a node takes its room, and is nobody's to schedule.
#[test]
fn pods_that_name_their_node_are_not_scheduled() {
    let placed =
        pods(2, "nodeName: n-00000, ").replace("name: c", "name: c, resources: {requests: {cpu: 4}}");
    let other = "kind: Pod\nmetadata: {name: q}\nspec: {nodeSelector: {kubernetes.io/hostname: n-00000}, containers: [{name: c, resources: {requests: {cpu: 1}}}]}\n";
    let done = run(&[("m.yaml", &(placed + other))], &text(KUBE, "m.yaml", NODES));
    assert_eq!((done.summary.counts.total, done.summary.counts.bound), (1, 0), "the node is full");
}

/// What makes no pod is told in the words of manifests, without the folder that podpace keeps its trace in.
#[test]
fn manifests_that_make_no_pod() {
    let none = "kind: Deployment\nmetadata: {name: web}\nspec: {replicas: 0, template: {spec: {containers: [{name: c}]}}}\n";
    let says = message(none);
    assert!(
        says.contains("no object of the manifests makes a pod") && !says.contains("podpace-manifests"),
        "{says}"
    );
    let folder = folder(&[("m.yaml", &pods(1, ""))]);
    let says = message_of(&text(KUBE, "m.yaml", "cluster: {}"), Some(folder.path()));
    assert!(says.contains("no Nodes among the manifests") && !says.contains("podpace-manifests"), "{says}");
    for (object, says) in [
        (
            "apiVersion: batch.volcano.sh/v1alpha1\nkind: Job\nmetadata: {name: x}\n",
            "Volcano Jobs in manifests are not modelled",
        ),
        (
            "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: x}\n",
            "Rollouts in manifests are not modelled",
        ),
        (
            "kind: PodGroup\nmetadata: {name: x}\nspec: {minMember: 3}\n",
            "PodGroups in manifests are not modelled",
        ),
    ] {
        assert!(message(object).contains(says), "{}", message(object));
        let beside = message(&(pods(1, "") + object));
        assert!(beside.contains(says), "{beside}");
    }
}

/// A folder with files that hold no object, as templates of charts leave behind, is read for what the others hold.
#[test]
fn empty_files_of_a_folder_are_passed_over() {
    let folder = folder(&[]);
    std::fs::create_dir(folder.path().join("d")).unwrap();
    for (name, content) in [
        ("empty.yaml", String::new()),
        ("comment.yaml", "---\n# nothing is switched on\n".to_owned()),
        ("namespace.yaml", "kind: Namespace\nmetadata: {name: shop}\n".to_owned()),
        ("pods.yaml", pods(2, "")),
    ] {
        std::fs::write(folder.path().join("d").join(name), content).unwrap();
    }
    let text = text(KUBE, "d", NODES);
    let document = Document::parse("scenario.yaml", &text, Some(folder.path())).unwrap();
    let done = RunSpec::of_scenario(document).unwrap().simulate(&Environment::built_in()).unwrap();
    assert_eq!(done.summary.counts.bound, 2);
    // A file that is named is meant.
    std::fs::write(folder.path().join("m.yaml"), "").unwrap();
    let says = message_of(&self::text(KUBE, "m.yaml", NODES), Some(folder.path()));
    assert!(says.contains("empty-file"), "{says}");
}

/// A scheduler that the scenario does not have is told by name, and which pods go where; a profile that it has is taken.
#[test]
fn names_of_schedulers() {
    let notes = |name: &str, scheduler: &str| {
        let manifest = pods(1, &format!("schedulerName: {name}, "));
        let files = [
            ("m.yaml", manifest.as_str()),
            (
                "two.yaml",
                "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles: [{schedulerName: default-scheduler}, {schedulerName: batch}]\n",
            ),
        ];
        run(&files, &text(scheduler, "m.yaml", NODES)).summary.notes
    };
    let told = |notes: &[String], name: &str, whither: &str| {
        notes.iter().any(|note| note.contains(&format!("does not have ({name})")) && note.contains(whither))
    };
    let two = "{kind: kube-scheduler, config: two.yaml}";
    let found = notes("mine", two);
    assert!(told(&found, "mine", "to the profile default-scheduler"), "{found:?}");
    let found = notes("batch", two);
    assert!(!found.iter().any(|note| note.contains("name a scheduler")), "{found:?}");
    let found = notes("volcano", "{kind: yunikorn}");
    assert!(told(&found, "volcano", "to yunikorn"), "{found:?}");
    let found = notes("yunikorn", "{kind: yunikorn}");
    assert!(!found.iter().any(|note| note.contains("name a scheduler")), "{found:?}");
}
