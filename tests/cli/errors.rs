//! Bad input: a clear error with file, line, field and a hint, exit code 2, nothing half-written, no panic.

use std::fs;

use crate::support::{code, podpace_with, stderr, stdout, workspace};

/// Replaces a part of tests/fixtures/small.yaml.
fn changed(from: &str, to: &str) -> String {
    let text = fs::read_to_string(crate::support::fixture("small.yaml")).unwrap();
    assert!(text.contains(from), "the fixture has no `{from}`");
    text.replacen(from, to, 1)
}

/// Runs `podpace run bad.yaml --out out` and returns what a user sees.
fn seen(text: Option<&str>, more: &[&str]) -> String {
    let folder = workspace();
    if let Some(text) = text {
        fs::write(folder.path().join("bad.yaml"), text).unwrap();
    }
    let arguments = [&["run", "bad.yaml", "--models", "models", "--out", "out"], more].concat();
    let output = podpace_with(folder.path(), &arguments);
    let names: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("out"))
        .collect();
    assert!(names.is_empty(), "left behind: {names:?}");
    assert_eq!(stdout(&output), "");
    format!("exit code {}\n{}", code(&output), stderr(&output))
}

macro_rules! bad_input {
    ($($name:ident: $text:expr, $more:expr;)*) => {
        $(
            #[test]
            fn $name() {
                let text: Option<String> = $text;
                let seen = seen(text.as_deref(), $more);
                assert!(seen.starts_with("exit code 2\n"), "{seen}");
                insta::assert_snapshot!(stringify!($name), seen);
            }
        )*
    };
}

bad_input! {
    unknown_key: Some(changed("stop:", "stopp:")), &[];
    duplicate_key: Some(changed("seed: 7", "seed: 7\nseed: 8")), &[];
    wrong_unit: Some(changed("limit: 10m", "limit: 10 parsecs")), &[];
    negative_count: Some(changed("cluster:\n  nodes:\n    - {count: 10", "cluster:\n  nodes:\n    - {count: -10")), &[];
    missing_file: None, &[];
    node_smaller_than_every_pod: Some(changed("cpu: 100m", "cpu: 100")), &[];
    zero_nodes: Some(changed("{count: 10,", "{count: 0,")), &[];
    absurd_node_count: Some(changed("{count: 10,", "{count: 99999999999,")), &[];
    absurd_pod_count: Some(changed("{count: 200,", "{count: 18446744073709551615,")), &[];
    number_too_large_for_any_type: Some(changed("cores: 2", "cores: 99999999999999999999999")), &[];
    empty_file: Some(String::new()), &[];
    not_yaml: Some("a: [1\n".to_owned()), &[];
    unknown_metric: Some(changed("throughput.bound.mean", "throughput.bound.average")), &[];
    missing_profile: Some(changed("apiserver-test", "apiserver-9")), &[];
    unknown_scheduler: Some(changed("kind: first-fit", "kind: firstfit")), &[];
    unregistered_scheduler: Some(changed("kind: first-fit", "kind: acme")), &[];
    set_unknown_key: Some(changed("", "")), &["--set", "scheduler.client.qqps=3"];
    set_without_value: Some(changed("", "")), &["--set", "seed"];
    set_field_of_a_list: Some(changed("", "")), &["--set", "workload.pods.count=3"];
    set_wrong_type: Some(changed("", "")), &["--set", "scheduler.client.qps=fast"];
    a_sweep_is_no_run: Some("apiVersion: podpace/v1\nkind: Sweep\nname: s\nscenarioFile: small.yaml\nvary: [{path: seed, values: [1]}]\n".to_owned()), &[];
}

#[test]
fn a_folder_that_is_no_result_is_left_alone() {
    let folder = workspace();
    fs::create_dir(folder.path().join("mine")).unwrap();
    fs::write(folder.path().join("mine/thesis.tex"), "years of work").unwrap();
    let output = podpace_with(folder.path(), &["run", "small.yaml", "--models", "models", "--out", "mine"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("mine: exists and is no result of podpace"), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(folder.path().join("mine/thesis.tex")).unwrap(), "years of work");
    assert_eq!(fs::read_dir(folder.path().join("mine")).unwrap().count(), 1);
}

#[test]
fn folders_that_are_missing_are_told() {
    let folder = workspace();
    for (arguments, said) in [
        (&["run", "small.yaml", "--models", "nowhere"][..], "nowhere: no such folder"),
        (&["check", "models"], "models/apiserver-test.yaml"),
        (&["check", "nowhere"], "nowhere: no such file"),
        (&["diff", "a", "b"], "a: no such folder"),
        (&["validate", "nowhere"], "nowhere: no such folder"),
        (&["models", "yunikorn-9"], "there is no cost profile `yunikorn-9`"),
        (&["sweep", "small.yaml", "--vary", "scheduler.client.qps"], "no `=` in it"),
        (&["sweep", "small.yaml", "--vary", "scheduler.client.qqps=1,2"], "did you mean `qps`?"),
    ] {
        let output = podpace_with(folder.path(), arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn usage_errors_have_code_2_and_help_has_0() {
    let folder = workspace();
    for (arguments, expected) in [
        (&["run"][..], 2),
        (&["fly"], 2),
        (&["sweep", "small.yaml", "--resume"], 2),
        (&["run", "small.yaml", "--seed", "-1"], 2),
        (&["--help"], 0),
        (&["run", "--help"], 0),
        (&["--version"], 0),
    ] {
        assert_eq!(code(&podpace_with(folder.path(), arguments)), expected, "{arguments:?}");
    }
}
