//! PriorityClasses among manifests. Facts: the Kubernetes page "Pod Priority and Preemption", and of kubernetes/kubernetes
//! `plugin/pkg/admission/priority/admission_test.go` and `pkg/apis/scheduling/validation/validation_test.go`.
use podpace::trace::{ImportOptions, OnError};

use crate::formats::{import, try_import};

fn class(name: &str, rest: &str) -> String {
    format!("kind: PriorityClass\nmetadata: {{name: {name}}}\n{rest}\n---\n")
}

fn existing(name: &str, rest: &str) -> String {
    class(name, rest).replace("}", ", creationTimestamp: \"2024-01-01T00:00:00Z\"}")
}

fn pod(name: &str, spec: &str) -> String {
    format!("kind: Pod\nmetadata: {{name: {name}}}\nspec: {{{spec}containers: [{{name: c}}]}}\n---\n")
}

/// Priority and policy of a pod.
fn given(classes: &str, spec: &str) -> (i32, String) {
    let i = import("k8s-list", &[("m.yaml", &(pod("p", spec) + classes))]);
    (i.pod("default/p").priority, i.spec("default/p").preemption_policy.clone())
}

fn refusal(classes: &str, spec: &str) -> String {
    let text = pod("p", spec) + classes;
    match try_import("k8s-list", &[("m.yaml", &text)], &ImportOptions::default()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("nothing is wrong with {classes}{spec}"),
    }
}

/// `TestPodAdmission`: with a class, with the default class, with none, with a system class, with equal numbers of the pod's own.
#[test]
fn a_pod_has_what_its_class_says() {
    let classes = class("default1", "value: 1000\nglobalDefault: true")
        + &class("no-default", "value: 2000")
        + &class("never", "value: 2000\npreemptionPolicy: Never")
        + &class("minus", "value: -5\ndescription: last");
    let preempts = String::new();
    for (spec, priority) in [
        ("priorityClassName: default1, ", 1000),
        ("priorityClassName: no-default, ", 2000),
        ("priorityClassName: minus, ", -5),
        ("priorityClassName: system-cluster-critical, ", 2_000_000_000),
        ("priorityClassName: system-node-critical, ", 2_000_001_000),
        ("", 1000),
        ("priorityClassName: no-default, priority: 2000, preemptionPolicy: PreemptLowerPriority, ", 2000),
    ] {
        assert_eq!(given(&classes, spec), (priority, preempts.clone()), "{spec}");
    }
    assert_eq!(given(&classes, "priorityClassName: never, "), (2000, "Never".to_owned()));
    assert_eq!(given(&class("x", "value: 5"), ""), (0, preempts.clone()), "no default class");
    assert_eq!(given("", ""), (0, preempts), "no class at all");
    // Pods taken out of a cluster whose classes are not in the input.
    assert_eq!(
        given("", "priorityClassName: x, priority: 7, preemptionPolicy: Never, "),
        (7, "Never".to_owned())
    );
}

/// Two requests at once may make two default classes: "we pick the one with the lowest priority value".
#[test]
fn the_lowest_of_several_default_classes_counts() {
    let classes = existing("a", "value: 30\nglobalDefault: true")
        + &existing("b", "value: 20\nglobalDefault: true\npreemptionPolicy: Never");
    assert_eq!(given(&classes, ""), (20, "Never".to_owned()));
}

#[test]
fn the_servers_words_say_what_is_wrong() {
    let ok = class("c", "value: 5");
    let default = class("c", "value: 5\nglobalDefault: true");
    for (classes, spec, field, says) in [
        (
            ok.clone(),
            "priorityClassName: d, ",
            "m.yaml:3: forbidden: field spec.priorityClassName",
            "pods \"p\" is forbidden: no PriorityClass with name d was found",
        ),
        (
            String::new(),
            "priorityClassName: d, ",
            "m.yaml:3: forbidden: field spec.priorityClassName",
            "no PriorityClass with name d was found",
        ),
        (
            ok.clone(),
            "priorityClassName: c, priority: 6, ",
            "field spec.priority",
            "the integer value of priority (6) must not be provided in pod spec; priority admission controller computed 5 from the given PriorityClass name",
        ),
        (ok.clone(), "priority: 6, ", "field spec.priority", "priority admission controller computed 0"),
        (
            ok.clone(),
            "priorityClassName: c, preemptionPolicy: Never, ",
            "field spec.preemptionPolicy",
            "the string value of PreemptionPolicy (Never) must not be provided in pod spec; priority admission controller computed PreemptLowerPriority",
        ),
        (
            default.clone() + &class("e", "value: 6\nglobalDefault: true"),
            "",
            "m.yaml:13: forbidden: field globalDefault",
            "PriorityClass c is already marked as default. Only one default can exist",
        ),
        (
            class("c", "value: 1000000001"),
            "",
            "m.yaml:7: forbidden: field value",
            "maximum allowed value of a user defined priority is 1000000000",
        ),
        (
            class("system-foo", "value: 5"),
            "",
            "field metadata.name",
            "priority class names with 'system-' prefix are reserved for system use only. error: system-foo is not a known system priority class",
        ),
        (
            class("system-node-critical", "value: 5"),
            "",
            "field metadata.name",
            "value of system-node-critical PriorityClass must be 2000001000",
        ),
        (
            class("system-node-critical", "value: 2000001000\nglobalDefault: true"),
            "",
            "field metadata.name",
            "globalDefault of system-node-critical PriorityClass must be false",
        ),
        (
            class("c", "value: 5\npreemptionPolicy: Sometimes"),
            "",
            "field preemptionPolicy",
            "Unsupported value: \"Sometimes\": supported values: \"Never\", \"PreemptLowerPriority\"",
        ),
        (class("c", "value: 5.5"), "", "field value", "cannot be read as int32"),
        (class("c", "value: 5\nglobalDefault: yes please"), "", "field globalDefault", "not a bool"),
        (class("c", "spec: {value: 5}"), "", "field spec", "strict decoding error: unknown field \"spec\""),
        (ok.clone() + &ok, "", "field metadata.name", "\"c\" already exists"),
    ] {
        let error = refusal(&classes, spec);
        assert!(error.contains(says), "{error}");
        assert!(error.contains(field), "{field}: {error}");
        assert!(error.contains("the API server refuses this: "), "{error}");
    }
    // The two that every cluster has may be in a dump.
    let dump = existing("system-node-critical", "value: 2000001000\nglobalDefault: false");
    assert_eq!(given(&dump, ""), (0, String::new()));
}

/// Templates, in whatever order the files have them; what exists has been admitted.
#[test]
fn templates_are_admitted_and_pods_that_exist_are_not() {
    let deployment = |class: &str| {
        format!(
            "kind: Deployment\nmetadata: {{name: web}}\nspec: {{replicas: 2, template: {{spec: {{priorityClassName: {class}, containers: [{{name: c}}]}}}}}}\n---\n"
        )
    };
    let text = deployment("c") + &class("c", "value: 5\npreemptionPolicy: Never");
    let i = import("k8s-list", &[("m.yaml", &text)]);
    assert_eq!(
        (i.pod("default/web-1").priority, i.spec("default/web-1").preemption_policy.as_str()),
        (5, "Never")
    );
    let text = deployment("d") + &class("c", "value: 5");
    let error = try_import("k8s-list", &[("m.yaml", &text)], &ImportOptions::default()).err().unwrap();
    assert!(
        error.to_string().contains("m.yaml:3: forbidden: field spec.template.spec.priorityClassName"),
        "{error}"
    );
    let options = ImportOptions { on_error: OnError::Skip, ..ImportOptions::default() };
    let text = text + &pod("p", "priorityClassName: c, ") + &pod("q", "priorityClassName: d, ");
    let i = try_import("k8s-list", &[("m.yaml", &text)], &options).unwrap();
    assert_eq!((i.pod("default/p").priority, i.dropped("objects", "forbidden")), (5, 2));
    let old = pod("old", "priorityClassName: d, ")
        .replace("{name: old}", "{name: old, creationTimestamp: \"2024-01-01T00:00:10Z\"}");
    let i = import("k8s-list", &[("m.yaml", &(old + &class("c", "value: 5\nglobalDefault: true")))]);
    assert_eq!(i.pod("default/old").priority, 0);
}
