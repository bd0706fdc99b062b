//! Messages about objects name the line of the field: in documents, lists and JSON, and of the field above one that is not there.
use podpace::trace::ImportOptions;

use crate::formats::try_import;

fn refusal(file: &str, text: &str) -> String {
    match try_import("k8s-list", &[(file, text)], &ImportOptions::default()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("nothing is wrong with {text}"),
    }
}

const DOCUMENTS: &str = "\
kind: Pod
metadata: {name: first}
spec:
  containers: [{name: a}]
---
# the second
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels:
    example.com/a.b: soon
spec:
  replicas: 3
  template:
    spec:
      containers:
      - name: a
      - name: b
        resources:
          requests: {cpu: 1}
";

#[test]
fn a_field_of_a_document_has_its_line() {
    for (from, to, says) in [
        ("replicas: 3", "replicas: -1", "m.yaml:14: forbidden: field spec.replicas is"),
        (
            "      containers:",
            "      containrs: []\n      containers:",
            "m.yaml:17: forbidden: field spec.template.spec.containrs",
        ),
        (
            "requests: {cpu: 1}",
            "requests: {cpu: 1}\n          limits: {cpu: 500m}",
            "m.yaml:21: forbidden: field spec.template.spec.containers[1].resources.requests",
        ),
        ("apps/v1", "apps/v1beta1", "m.yaml:7: forbidden: field apiVersion"),
    ] {
        let error = refusal("m.yaml", &DOCUMENTS.replace(from, to));
        assert!(error.contains(says), "{says}: {error}");
    }
}

/// Of what is missing the line is that of what is above it, and of the object if there is nothing.
#[test]
fn what_is_missing_has_the_line_above_it() {
    let without = DOCUMENTS.replace("  template:\n    spec:\n      containers:\n      - name: a\n      - name: b\n        resources:\n          requests: {cpu: 1}\n", "");
    let error = refusal("m.yaml", &without);
    assert!(error.contains("m.yaml:13: forbidden: field spec.template: "), "{error}");
    let error = refusal("m.yaml", "metadata: {name: a}\n");
    assert!(error.contains("m.yaml:1: empty-field: field kind"), "{error}");
}

#[test]
fn items_of_lists_have_their_lines() {
    let list = |indent: &str| {
        let item = |name: &str, replicas: i64| {
            format!(
                "{indent}- kind: ReplicaSet\n{indent}  metadata: {{name: {name}}}\n{indent}  spec:\n{indent}    template: {{spec: {{containers: [{{name: a}}]}}}}\n{indent}    replicas: {replicas}\n"
            )
        };
        format!("apiVersion: v1\nitems:\n{}{}{}kind: List\n", item("a", 1), item("b", -2), item("c", 3))
    };
    for indent in ["", "  "] {
        let error = refusal("m.yaml", &list(indent));
        assert!(error.contains("m.yaml:12: forbidden: field spec.replicas is \"-2\""), "{indent:?}: {error}");
    }
}

#[test]
fn json_has_lines() {
    let text = r#"{
  "kind": "List",
  "items": [
    {
      "kind": "Pod",
      "metadata": {"name": "a"},
      "spec": {"containers": [{"name": "a"}]}
    },
    {
      "kind": "ReplicaSet",
      "metadata": {"name": "b"},
      "spec": {
        "template": {"spec": {"containers": [{"name": "a"}]}},
        "replicas": -2
      }
    }
  ]
}
"#;
    let error = refusal("m.json", text);
    assert!(error.contains("m.json:14: forbidden: field spec.replicas"), "{error}");
}
