//! LimitRanges among manifests. Facts, with their numbers: the Kubernetes tasks "Configure Default CPU Requests and Limits for a
//! Namespace" and "Configure Minimum and Maximum CPU Constraints for a Namespace", and the page "Limit Ranges".
use podpace::trace::{ImportOptions, OnError};

use crate::formats::{import, try_import};

fn limit_range(limits: &str) -> String {
    format!("kind: LimitRange\nmetadata: {{name: limits}}\nspec: {{limits: [{limits}]}}\n---\n")
}

fn pod(name: &str, resources: &str) -> String {
    format!(
        "kind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: c, resources: {{{resources}}}}}]}}\n---\n"
    )
}

/// Millicores that a pod of one container asks for.
fn cpu(limits: &str, resources: &str) -> u64 {
    let text = limit_range(limits) + &pod("p", resources);
    import("k8s-list", &[("m.yaml", &text)]).requests("default/p", "cpu_millicores")
}

/// Why a pod is refused.
fn refusal(limits: &str, resources: &str) -> String {
    let text = limit_range(limits) + &pod("demo", resources);
    match try_import("k8s-list", &[("m.yaml", &text)], &ImportOptions::default()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("nothing is wrong with {resources}"),
    }
}

const DEFAULTS: &str = "{type: Container, default: {cpu: 1}, defaultRequest: {cpu: 0.5}}";
const BETWEEN: &str = "{type: Container, max: {cpu: 800m}, min: {cpu: 200m}}";

/// "the container's CPU request is set to match its CPU limit", "limit is set to the default CPU limit for the namespace".
#[test]
fn a_container_gets_what_it_does_not_say() {
    assert_eq!(cpu(DEFAULTS, ""), 500);
    assert_eq!(cpu(DEFAULTS, "limits: {cpu: 1}"), 1000, "the limit, not the default request");
    assert_eq!(cpu(DEFAULTS, "requests: {cpu: 750m}"), 750);
    assert_eq!(cpu(DEFAULTS, "requests: {memory: 1Gi}"), 500, "by resource");
    // Without defaults of its own: the maximum for both.
    assert_eq!(cpu(BETWEEN, ""), 800);
    assert_eq!(cpu("{type: Container, min: {cpu: 200m}}", ""), 200);
    assert_eq!(cpu("{type: Container, max: {cpu: 2}, default: {cpu: 1}}", ""), 1000);
    // Of type Pod nothing is a default.
    assert_eq!(cpu("{type: Pod, max: {memory: 2Gi}}", "limits: {cpu: 3, memory: 1Gi}"), 3000);
}

#[test]
fn a_pod_that_breaks_a_constraint_is_refused_in_the_servers_words() {
    for (limits, resources, says) in [
        (
            BETWEEN,
            "limits: {cpu: 1.5}, requests: {cpu: 500m}",
            "pods \"demo\" is forbidden: maximum cpu usage per Container is 800m, but limit is 1500m",
        ),
        (
            BETWEEN,
            "limits: {cpu: 800m}, requests: {cpu: 100m}",
            "pods \"demo\" is forbidden: minimum cpu usage per Container is 200m, but request is 100m",
        ),
        (
            "{type: Pod, maxLimitRequestRatio: {memory: 2}}",
            "limits: {memory: 300Mi}, requests: {memory: 100Mi}",
            "memory max limit to request ratio per Pod is 2, but provided ratio is 3.000000",
        ),
        (
            "{type: Pod, maxLimitRequestRatio: {memory: 2}}",
            "requests: {memory: 100Mi}",
            "memory max limit to request ratio per Pod is 2, but no limit is specified or limit is 0",
        ),
        (
            "{type: Pod, max: {memory: 1Gi}}",
            "",
            "maximum memory usage per Pod is 1Gi.  No limit is specified",
        ),
        (
            "{type: Pod, min: {memory: 1Gi}}",
            "",
            "minimum memory usage per Pod is 1Gi.  No request is specified",
        ),
        (
            "{type: Container, default: {cpu: 500m}}",
            "requests: {cpu: 700m}",
            "Pod \"demo\" is invalid: must be less than or equal to cpu limit of 500m",
        ),
    ] {
        let error = refusal(limits, resources);
        assert!(error.contains(says), "{error}");
        assert!(error.contains("m.yaml:7: forbidden: field spec"), "file, line and field: {error}");
    }
}

/// All containers together: the init container's 3 cores beside its sidecar's 1 are more than 2 + 1 (`podLimits`).
#[test]
fn a_pod_counts_as_the_scheduler_counts_it() {
    let pod = "kind: Pod
metadata: {name: p}
spec:
  initContainers:
    - {name: s, restartPolicy: Always, resources: {limits: {cpu: 1}}}
    - {name: i, resources: {limits: {cpu: 3}}}
  containers:
    - {name: a, resources: {limits: {cpu: 1}}}
    - {name: b, resources: {limits: {cpu: 1}}}
";
    let with = |max: &str| {
        let text = limit_range(&format!("{{type: Pod, max: {{cpu: {max}}}}}")) + pod;
        try_import("k8s-list", &[("m.yaml", &text)], &ImportOptions::default())
    };
    assert_eq!(with("4").unwrap().requests("default/p", "cpu_millicores"), 4000);
    let error = with("3900m").err().unwrap().to_string();
    assert!(error.contains("maximum cpu usage per Pod is 3900m, but limit is 4"), "{error}");
}

/// A namespace's LimitRanges go for what is created in it, wherever in the input they stand; pods that exist have been admitted.
#[test]
fn a_limit_range_is_for_what_is_created_in_its_namespace() {
    let deployment = "kind: Deployment\nmetadata: {name: web}\nspec: {replicas: 2, template: {spec: {containers: [{name: c}]}}}\n---\n";
    let job = "kind: Job\nmetadata: {name: j, namespace: other}\nspec: {template: {spec: {containers: [{name: c}]}}}\n---\n";
    let text = format!("{deployment}{job}{}", limit_range(DEFAULTS));
    let i = import("k8s-list", &[("m.yaml", &text)]);
    assert_eq!(i.requests("default/web-1", "cpu_millicores"), 500);
    assert_eq!(i.requests("other/j-0", "cpu_millicores"), 0);
    let existing = pod("old", "limits: {cpu: 9}")
        .replace("{name: old}", "{name: old, creationTimestamp: \"2024-01-01T00:00:10Z\"}");
    let text = limit_range(BETWEEN) + &existing;
    assert_eq!(import("k8s-list", &[("m.yaml", &text)]).requests("default/old", "cpu_millicores"), 9000);
    // A template that is refused is a row that is dropped, where rows may be.
    let options = ImportOptions { on_error: OnError::Skip, ..ImportOptions::default() };
    let refused = deployment.replace("{name: c}", "{name: c, resources: {limits: {cpu: 2}}}");
    let text = format!(
        "{}{refused}{}",
        limit_range(BETWEEN),
        pod("p", "limits: {cpu: 500m}").replace("name: p", "name: ok")
    );
    let i = try_import("k8s-list", &[("m.yaml", &text)], &options).unwrap();
    assert_eq!((i.requests("default/ok", "cpu_millicores"), i.dropped("objects", "forbidden")), (500, 1));
    let text = limit_range(BETWEEN) + &refused + job;
    let i = try_import("k8s-list", &[("m.yaml", &text)], &options).unwrap();
    assert_eq!(i.dropped("objects", "forbidden"), 1);
}

/// `ValidateLimitRange` in the words of kube-apiserver 1.36.3 (2026-11-29), and what is not modelled.
#[test]
fn wrong_limit_ranges_say_where() {
    for (limits, field, says) in [
        (
            "{type: PersistentVolumeClaim, max: {storage: 2Gi}}",
            "spec.limits[0].type",
            "of claims are not modelled",
        ),
        ("{type: Node, max: {cpu: 2}}", "spec.limits[0].type", "expected Container or Pod"),
        ("{max: {cpu: 2}}", "spec.limits[0].type", "expected Container or Pod"),
        (
            "{type: Pod, default: {cpu: 2}}",
            "spec.limits[0].default",
            "may not be specified when `type` is 'Pod'",
        ),
        ("{type: Pod, maximum: {cpu: 2}}", "spec.limits[0].maximum", "not a field"),
        (
            "{type: Pod, min: {cpu: 2}, max: {cpu: 1}}",
            "spec.limits[0].min.cpu",
            "min value 2 is greater than max value 1",
        ),
        (
            "{type: Container, defaultRequest: {memory: 1.5Gi}, default: {memory: 1Gi}}",
            "spec.limits[0].defaultRequest.memory",
            "default request value 1536Mi is greater than default limit value 1Gi",
        ),
        (
            "{type: Container, min: {cpu: 1}, max: {cpu: 2}, maxLimitRequestRatio: {cpu: 4}}",
            "spec.limits[0].maxLimitRequestRatio.cpu",
            "ratio 4 is greater than max/min = 2.000000",
        ),
        (
            "{type: Pod, maxLimitRequestRatio: {cpu: 0.5}}",
            "maxLimitRequestRatio.cpu",
            "ratio 500m is less than 1",
        ),
        ("{type: Pod, max: {cpu: 2}}, {type: Pod}", "spec.limits[1].type", "Duplicate value"),
        ("{type: Container, max: {cpu: many}}", "spec.limits[0].max.cpu", "a quantity such as"),
    ] {
        let error = refusal(limits, "");
        assert!(error.contains(field) && error.contains(says), "{error}");
        assert!(error.contains("m.yaml:3: "), "{error}");
    }
    let two = limit_range(DEFAULTS) + &limit_range("{type: Container, default: {cpu: 2}}") + &pod("p", "");
    let error =
        try_import("k8s-list", &[("m.yaml", &two)], &ImportOptions::default()).err().unwrap().to_string();
    assert!(error.contains("which one wins is not defined"), "{error}");
    let own =
        limit_range(DEFAULTS) + &pod("p", "").replace("spec: {", "spec: {resources: {requests: {cpu: 1}}, ");
    let error =
        try_import("k8s-list", &[("m.yaml", &own)], &ImportOptions::default()).err().unwrap().to_string();
    assert!(error.contains("spec.resources"), "{error}");
}
