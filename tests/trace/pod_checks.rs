//! Manifests that the API server refuses, or that say what is not modelled. Facts: kubernetes/kubernetes
//! `pkg/apis/core/validation/validation_test.go`, `pkg/apis/apps/validation`, `pkg/apis/core/v1/defaults_test.go`,
//! `plugin/pkg/admission/runtimeclass/admission_test.go`, and what `kubectl apply` answers.
use podpace::trace::ImportOptions;

use crate::formats::{Imported, import, try_import};

fn read(text: &str) -> Imported {
    import("k8s-list", &[("m.yaml", text)])
}

fn refusal(text: &str) -> String {
    match try_import("k8s-list", &[("m.yaml", text)], &ImportOptions::default()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("nothing is wrong with {text}"),
    }
}

fn pod(rest: &str) -> String {
    format!("kind: Pod\nmetadata: {{name: p}}\nspec: {{{rest}containers: [{{name: c}}]}}\n")
}

fn deployment(spec: &str, rest: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec: {{{spec}template: {{metadata: {{labels: {{app: web}}}}, spec: {{{rest}containers: [{{name: c}}]}}}}}}\n"
    )
}

fn existing(text: &str) -> String {
    text.replace("metadata: {name", "metadata: {creationTimestamp: \"2024-01-01T00:00:00Z\", name")
}

/// Each is refused, at its field, with these words.
#[test]
fn what_the_server_refuses_is_told_in_its_words() {
    let spread = |c: &str| pod(&format!("topologySpreadConstraints: [{{{c}}}], "));
    let tolerates = |t: &str| pod(&format!("tolerations: [{{{t}}}], "));
    for (text, field, says) in [
        (deployment("replicas: \"5\", ", ""), "spec.replicas", "cannot unmarshal string into Go struct field"),
        (deployment("replicas: -5, ", ""), "spec.replicas", "must be greater than or equal to 0"),
        (deployment("replicas: 1.5, ", ""), "spec.replicas", "cannot unmarshal number"),
        (
            deployment("selector: {matchLabels: {app: api}}, ", ""),
            "spec.template.metadata.labels",
            "`selector` does not match template `labels`",
        ),
        (
            deployment("selector: {matchExpressions: [{key: tier, operator: Exists}]}, ", ""),
            "spec.template.metadata.labels",
            "`selector` does not match template `labels`",
        ),
        (
            deployment("", "").replace("[{name: c}]", "[]"),
            "spec.template.spec.containers",
            "Deployment \"web\" is invalid: spec.template.spec.containers: Required value",
        ),
        (pod("").replace("[{name: c}]", "[]"), "spec.containers", "Required value"),
        (
            pod("").replace("name: c", "name: c, resources: {requests: {cpu: 2}, limits: {cpu: 1500m}}"),
            "spec.containers[0].resources.requests",
            "Invalid value: \"2\": must be less than or equal to cpu limit of 1500m",
        ),
        (
            pod("").replace("name: c", "name: c, resources: {requests: {nvidia.com/gpu: 1}}"),
            "spec.containers[0].resources.limits",
            "Limit must be set for non overcommitable resources",
        ),
        (spread("maxSkew: 0, topologyKey: z, whenUnsatisfiable: DoNotSchedule"), "maxSkew", "must be greater than zero"),
        (spread("maxSkew: 1, topologyKey: z"), "whenUnsatisfiable", "supported values: \"DoNotSchedule\""),
        (spread("maxSkew: 1, whenUnsatisfiable: DoNotSchedule"), "topologyKey", "Required value"),
        (
            tolerates("key: gpu, operator: Exists, value: \"true\""),
            "spec.tolerations[0].operator",
            "value must be empty when `operator` is 'Exists'",
        ),
        (tolerates("value: x"), "operator", "operator must be Exists when `key` is empty"),
        (tolerates("key: gpu, effect: Evict"), "effect", "Unsupported value: \"Evict\""),
        (
            deployment("", "topologySpredConstraints: [], "),
            "spec.template.spec.topologySpredConstraints",
            "strict decoding error: unknown field \"spec.template.spec.topologySpredConstraints\"; did you mean `topologySpreadConstraints`?",
        ),
        (
            pod("affinity: {nodeAffinty: {}}, "),
            "spec.affinity.nodeAffinty",
            "unknown field \"spec.affinity.nodeAffinty\"; did you mean `nodeAffinity`?",
        ),
        (
            deployment("", "").replace("apps/v1", "extensions/v1beta1"),
            "apiVersion",
            "no matches for kind \"Deployment\" in version \"extensions/v1beta1\"; write apps/v1",
        ),
        (
            "kind: Job\nmetadata: {name: j}\nspec: {template: {spec: {restartPolicy: Always, containers: [{name: c}]}}}\n"
                .to_owned(),
            "spec.template.spec.restartPolicy",
            "valid values: \"OnFailure\", \"Never\"",
        ),
    ] {
        let error = refusal(&text);
        assert!(error.starts_with("m.yaml:") || error.contains("m.yaml:"), "{error}");
        assert!(error.contains(field) && error.contains(says), "{text}\n{error}");
        assert!(error.contains("the API server refuses this"), "{error}");
    }
    // What exists has been accepted, perhaps by another version.
    assert_eq!(read(&existing(&pod("somethingNew: 1, "))).pods.len(), 1);
    // And so are these.
    let good = deployment(
        "replicas: 2, selector: {matchLabels: {app: web}}, ",
        "tolerations: [{operator: Exists}, {key: a, value: b, effect: NoExecute, tolerationSeconds: 5}], \
         topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}], ",
    );
    assert_eq!(read(&good).pods.len(), 2);
}

/// What the scheduler would wait for, or look at, and is not modelled.
#[test]
fn what_is_not_modelled_is_refused_by_name_and_counted_where_it_exists() {
    for (rest, field, counted) in [
        (
            "volumes: [{name: d, persistentVolumeClaim: {claimName: d}}], ",
            "spec.volumes[0].persistentVolumeClaim",
            "specs.volumes",
        ),
        (
            "volumes: [{name: t, emptyDir: {}}, {name: d, ephemeral: {volumeClaimTemplate: {}}}], ",
            "spec.volumes[1].ephemeral",
            "specs.volumes",
        ),
        ("resourceClaims: [{name: gpu}], ", "spec.resourceClaims", "specs.resourceClaims"),
        ("schedulingGates: [{name: example.com/quota}], ", "spec.schedulingGates", "specs.schedulingGates"),
    ] {
        let error = refusal(&pod(rest));
        assert!(error.contains(field) && error.contains("not modelled"), "{error}");
        let error = refusal(&deployment("", rest));
        assert!(error.contains(&format!("spec.template.{field}")), "{error}");
        let report = read(&existing(&pod(rest))).manifest.report;
        assert_eq!(report.invented[counted][0].count, 1, "{report}");
        assert!(report.notes.iter().any(|note| note.contains("left out")), "{report}");
    }
    let error = refusal(&deployment("", "").replace("Deployment", "StatefulSet").replace(
        "template: {metadata",
        "volumeClaimTemplates: [{metadata: {name: data}}], template: {metadata",
    ));
    assert!(error.contains("spec.volumeClaimTemplates"), "{error}");
    let error = refusal(&deployment("", "nodeName: n, "));
    assert!(error.contains("spec.template.spec.nodeName"), "{error}");
}

/// Kinds that make pods, but not for podpace. Scenarios refuse them by these reasons.
#[test]
fn other_makers_of_pods_are_told() {
    for (object, reason) in [
        ("apiVersion: batch.volcano.sh/v1alpha1\nkind: Job\nmetadata: {name: x}\n", "volcano-job"),
        ("apiVersion: jobset.x-k8s.io/v1alpha2\nkind: JobSet\nmetadata: {name: x}\n", "job-set"),
        ("apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: x}\n", "argo-rollout"),
        (
            "apiVersion: scheduling.x-k8s.io/v1alpha1\nkind: PodGroup\nmetadata: {name: x}\nspec: {minMember: 3}\n",
            "pod-group",
        ),
    ] {
        let text = format!("{object}---\n{}", pod(""));
        assert_eq!(read(&text).dropped("objects", reason), 1, "{object}");
        // The pods of one that exists are in the list.
        assert_eq!(read(&existing(&text)).dropped("objects", "not-a-workload"), 1, "{object}");
    }
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: dev, annotations: {yunikorn.apache.org/namespace.quota: '{\"cpu\": \"4\"}'}}\n";
    let report = read(&format!("{namespace}---\n{}", pod(""))).manifest.report;
    assert!(report.notes.iter().any(|note| note.contains("namespace.quota is left out")), "{report}");
}

/// `GetHostPorts`: of containers and sidecars; the API server makes all ports of a pod on the host's network host ports.
#[test]
fn ports_of_the_node_are_kept() {
    let text = "kind: Pod
metadata: {name: p}
spec:
  initContainers:
  - {name: i, ports: [{hostPort: 1, containerPort: 1}]}
  - {name: s, restartPolicy: Always, ports: [{hostPort: 9100, containerPort: 9100, hostIP: 127.0.0.1}]}
  containers: [{name: c, ports: [{containerPort: 80}, {hostPort: 53, containerPort: 53, protocol: UDP, hostIP: 0.0.0.0}]}]
";
    let ports = |text: &str| read(text).spec("default/p").host_ports.clone();
    assert_eq!(ports(text), r#"[{"hostPort":53,"protocol":"UDP"},{"hostPort":9100,"hostIP":"127.0.0.1"}]"#);
    assert!(ports(&text.replace("spec:\n", "spec:\n  hostNetwork: true\n")).contains("{\"hostPort\":80}"));
    assert_eq!(ports(&pod("")), "");
}

/// `defaultPodRequests`: "pod-level requests default to match the pod-level limits" where no container has requests of its own.
#[test]
fn a_pods_own_limit_is_a_request() {
    let i = read(&pod("resources: {limits: {cpu: 2, memory: 1Gi}}, "));
    assert_eq!(
        (i.requests("default/p", "cpu_millicores"), i.requests("default/p", "memory_bytes")),
        (2000, 1 << 30)
    );
    let i = read(
        &pod("resources: {limits: {cpu: 2, memory: 1Gi}}, ")
            .replace("name: c", "name: c, resources: {requests: {cpu: 500m}}"),
    );
    assert_eq!(
        (i.requests("default/p", "cpu_millicores"), i.requests("default/p", "memory_bytes")),
        (500, 1 << 30)
    );
    let i = read(&pod("resources: {requests: {cpu: 1}, limits: {cpu: 2}}, "));
    assert_eq!(i.requests("default/p", "cpu_millicores"), 1000);
}

/// The admission plugin RuntimeClass: overhead, node selector and tolerations of the class; a class that is not there.
#[test]
fn a_runtime_class_adds_to_the_pod() {
    let class = "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: kata}\nhandler: kata\noverhead: {podFixed: {cpu: 250m, memory: 120Mi}}\nscheduling: {nodeSelector: {runtime: kata}, tolerations: [{key: kata, operator: Exists}]}\n---\n";
    let of_class = pod("runtimeClassName: kata, ");
    for text in [format!("{class}{of_class}"), format!("{of_class}---\n{class}")] {
        let i = read(&text);
        assert_eq!(i.requests("default/p", "cpu_millicores"), 250);
        let spec = i.spec("default/p");
        assert_eq!(spec.node_selector["runtime"], "kata");
        assert_eq!(spec.tolerations, r#"[{"key":"kata","operator":"Exists"}]"#);
    }
    let error = refusal(&of_class);
    assert!(
        error.contains("spec.runtimeClassName") && error.contains("RuntimeClass \"kata\" not found"),
        "{error}"
    );
    let error =
        refusal(&format!("{class}{}", pod("runtimeClassName: kata, nodeSelector: {runtime: runc}, ")));
    assert!(error.contains("conflict: runtimeClass.scheduling.nodeSelector[runtime]"), "{error}");
    // One that exists has all that already.
    assert_eq!(read(&existing(&of_class)).requests("default/p", "cpu_millicores"), 0);
}

/// A pod that is created with its node is no scheduler's; one with `generateName` has a name that the server makes up.
#[test]
fn bare_pods() {
    let i = read(&(pod("nodeName: n1, ") + "---\n" + &pod("").replace("name: p", "name: q")));
    assert_eq!(i.bound_on("default/p"), Some("n1"));
    assert_eq!(i.bound_on("default/q"), None);
    let one = pod("").replace("name: p", "generateName: run-");
    let i = read(&format!("{one}---\n{one}"));
    let mut names: Vec<&str> = i.pods.iter().map(|pod| pod.uid.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["default/run-00001", "default/run-00002"]);
}

fn gang(groups: &str, parameters: &str) -> String {
    format!(
        "kind: Pod\nmetadata:\n  name: p\n  annotations:\n    yunikorn.apache.org/task-group-name: tg\n    yunikorn.apache.org/task-groups: '{groups}'\n    yunikorn.apache.org/schedulingPolicyParameters: \"{parameters}\"\nspec: {{containers: [{{name: c, resources: {{requests: {{cpu: 1}}}}}}]}}\n"
    )
}

/// `TestGetSchedulingPolicyParams` of YuniKorn's shim.
#[test]
fn parameters_of_gangs_are_read_as_the_shim_does() {
    let one = r#"[{"name": "tg", "minMember": 3, "minResource": {"cpu": 1}}]"#;
    for (parameters, hard, seconds) in [
        ("unknownPara=unkown placeholderTimeoutInSeconds=50=25 gangSchedulingStyle=Hard=Soft", false, 0),
        ("unknownPara=unkown placeholderTimeoutInSeconds=50 gangSchedulingStyle=Hard=Soft", false, 50),
        ("unknownPara=unkown placeholderTimeoutInSeconds=oneSecond gangSchedulingStyle=Soft", false, 0),
        ("unknownPara=unkown placeholderTimeoutInSeconds=50  gangSchedulingStyle=Hard", true, 50),
        ("unknownPara=unkown gangSchedulingStyle=abc", false, 0),
        ("placeholderTimeoutInSeconds gangSchedulingStyle", false, 0),
    ] {
        let i = read(&gang(one, parameters));
        let found = &i.spec("default/p").gang;
        assert_eq!(found.contains(r#""hard":true"#), hard, "{parameters}: {found}");
        let timeout = format!(r#""placeholderTimeoutSeconds":{seconds}"#);
        assert_eq!(found.contains(&timeout), seconds > 0, "{parameters}: {found}");
        // What `min_member` says needs no column.
        assert_eq!(found.is_empty(), !hard && seconds == 0, "{parameters}: {found}");
        assert_eq!(i.pod("default/p").min_member, 3);
    }
}

/// `GetTaskGroupsFromAnnotation`.
#[test]
fn task_groups_that_yunikorn_can_not_read() {
    for (groups, says) in [
        (r#"[{"minMember": 3, "minResource": {"cpu": 1}}]"#, "can't get taskGroup Name"),
        (r#"[{"name": "tg", "minMember": 3}]"#, "can't get taskGroup MinResource"),
        (r#"[{"name": "tg", "minResource": {"cpu": 1}}]"#, "can't get taskGroup MinMember"),
        (r#"[{"name": "tg", "minMember": -3, "minResource": {"cpu": 1}}]"#, "minMember cannot be negative"),
        ("[{", "correct the JSON"),
    ] {
        let error = refusal(&gang(groups, ""));
        assert!(error.contains("yunikorn.apache.org/task-groups") && error.contains(says), "{error}");
    }
}

/// A trace with gangs and ports, in both encodings, out to Kubernetes objects and back.
#[test]
fn the_columns_survive_every_way() {
    use podpace::trace::model::Encoding;
    let groups = r#"[{"name": "tg", "minMember": 3, "minResource": {"cpu": 2}, "nodeSelector": {"a": "b"}}, {"name": "other", "minMember": 1, "minResource": {"memory": "1Gi"}}]"#;
    let text = gang(groups, "placeholderTimeoutInSeconds=50 gangSchedulingStyle=Hard")
        .replace("name: c,", "name: c, ports: [{hostPort: 80, containerPort: 8080}],");
    let first = read(&text).spec("default/p").clone();
    assert!(!first.gang.is_empty() && !first.host_ports.is_empty());
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("m.yaml"), &text).unwrap();
    for encoding in [Encoding::Jsonl, Encoding::Parquet] {
        let options = ImportOptions { encoding, overwrite: true, ..ImportOptions::default() };
        podpace::trace::import("k8s-list", &[at("m.yaml")], &at("a"), &options).unwrap();
        podpace::trace::import("native", &[at("a")], &at("b"), &options).unwrap();
        let specs = podpace::trace::open(&at("b")).unwrap().specs().unwrap();
        assert_eq!((&specs[0].gang, &specs[0].host_ports), (&first.gang, &first.host_ports));
    }
    // A trace that needs no such column has none: its bytes are those of before there were any.
    std::fs::write(at("plain.yaml"), pod("")).unwrap();
    for (encoding, file) in [(Encoding::Jsonl, "specs.jsonl"), (Encoding::Parquet, "specs.parquet")] {
        let options = ImportOptions { encoding, overwrite: true, ..ImportOptions::default() };
        podpace::trace::import("k8s-list", &[at("plain.yaml")], &at("d"), &options).unwrap();
        let bytes = std::fs::read(at("d").join(file)).unwrap();
        for column in ["host_ports", "gang"] {
            assert!(
                !bytes.windows(column.len()).any(|part| part == column.as_bytes()),
                "{file} has {column}"
            );
        }
    }
    let options = ImportOptions::default();
    podpace::trace::export(&at("b"), "k8s", &at("out"), &options).unwrap();
    let back = at("out").join("pods.yaml");
    podpace::trace::import("k8s-list", &[back], &at("c"), &options).unwrap();
    let specs = podpace::trace::open(&at("c")).unwrap().specs().unwrap();
    assert_eq!((&specs[0].gang, &specs[0].host_ports), (&first.gang, &first.host_ports));
}
