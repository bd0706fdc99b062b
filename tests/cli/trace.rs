//! `podpace trace` and scenarios with a trace: what is printed, exit codes, and that nothing is left half-written.

use std::fs;
use std::path::Path;

use crate::support::{code, podpace, podpace_with, stderr, stdout};
use serde_json::Value;

/// Two jobs of 2 and 1 processors on a machine of 4, in SWF.
const SWF: &str = "\
; UnixStartTime: 1000000000
; MaxNodes: 4
; MaxProcs: 4
1 0 5 60 2 -1 -1 2 100 -1 1 7 1 -1 1 1 -1 -1
2 10 5 30 1 -1 -1 1 100 -1 1 8 1 -1 1 1 -1 -1
";

const NATIVE_SPECS: &str =
    "{\"spec_id\":0,\"requests\":{\"cpu_millicores\":1000,\"memory_bytes\":1073741824}}\n";

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A scenario with `workload` on 2 nodes of 4 cores, or on the trace's nodes.
fn scenario(folder: &Path, with_nodes: bool, workload: &str, rest: &str) {
    let cluster = if with_nodes {
        "{nodes: [{count: 2, template: {allocatable: {cpu: 4, memory: 16Gi, pods: 110}}}]}"
    } else {
        "{}"
    };
    let text = format!(
        "apiVersion: podpace/v1\nkind: Scenario\nname: replay\ncluster: {cluster}\nscheduler: {{kind: kube-scheduler}}\n\
         workload: {workload}\n{rest}\n"
    );
    fs::write(folder.join("replay.yaml"), text).unwrap();
}

/// A native trace written by hand: `pods` pods of 1 core, one a second, each running for 10 s.
fn by_hand(folder: &Path, pods: u64) {
    let trace = folder.join("trace");
    fs::create_dir_all(&trace).unwrap();
    fs::write(trace.join("specs.jsonl"), NATIVE_SPECS).unwrap();
    let row = |i: u64| {
        format!(
            "{{\"submit_ns\":{},\"seq\":{i},\"uid\":\"pod-{i}\",\"spec_id\":0,\"run_ns\":10000000000}}\n",
            i * 1_000_000_000
        )
    };
    fs::write(trace.join("pods.jsonl"), (0..pods).map(row).collect::<String>()).unwrap();
}

fn summary(folder: &Path, arguments: &str) -> Value {
    let output = podpace(folder, &format!("run replay.yaml --format json {arguments}"));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).expect("a summary")
}

#[test]
fn import_validate_stats_export_and_run() {
    let dir = folder();
    fs::write(dir.path().join("jobs.swf"), SWF).unwrap();
    let import = podpace(dir.path(), "trace import swf jobs.swf --out trace --encoding jsonl --format json");
    assert_eq!(code(&import), 0, "{}", stderr(&import));
    let manifest: Value = serde_json::from_str(&stdout(&import)).unwrap();
    assert_eq!(manifest["counts"]["pods"], 2);
    assert_eq!(manifest["report"]["tables"]["jobs"]["read"], 2);

    let again = podpace(dir.path(), "trace import swf jobs.swf --out trace");
    assert_eq!(code(&again), 2, "a trace that is there is not replaced");
    assert!(stderr(&again).contains("trace"), "{}", stderr(&again));
    let again = podpace(dir.path(), "trace import swf jobs.swf --out trace --overwrite");
    assert_eq!(code(&again), 0, "{}", stderr(&again));

    let valid = podpace(dir.path(), "trace validate trace");
    assert_eq!(code(&valid), 0, "{}{}", stdout(&valid), stderr(&valid));
    assert!(stdout(&valid).contains("0 errors"), "{}", stdout(&valid));
    let stats = podpace(dir.path(), "trace stats trace --format json");
    let stats: Value = serde_json::from_str(&stdout(&stats)).unwrap();
    assert_eq!(stats["span_ns"], 10_000_000_000_u64);

    for (format, out, file) in
        [("k8s", "k8s", "k8s/schedule.csv"), ("csv", "csv", "csv/pods.csv"), ("swf", "out.swf", "out.swf")]
    {
        let export = podpace(dir.path(), &format!("trace export {format} trace --out {out}"));
        assert_eq!(code(&export), 0, "{}", stderr(&export));
        assert!(dir.path().join(file).exists(), "{file}");
    }

    scenario(dir.path(), true, "{trace: trace}", "stop: {when: allBound}");
    let run = summary(dir.path(), "");
    assert_eq!(run["counts"]["bound"], 2);
    // The trace is among the inputs, so that a result says what it came from.
    let files: Vec<&str> =
        run["inputs"]["files"].as_array().unwrap().iter().filter_map(|f| f["name"].as_str()).collect();
    assert!(files.contains(&"trace.json"), "{files:?}");
}

#[test]
fn bad_rows_stop_the_import_or_are_counted() {
    let dir = folder();
    fs::write(dir.path().join("jobs.swf"), format!("{SWF}3 20 5 nan 1 -1 -1 1 1 -1 1 7 1 -1 1 1 -1 -1\n"))
        .unwrap();
    let fail = podpace(dir.path(), "trace import swf jobs.swf --out trace");
    assert_eq!(code(&fail), 2);
    assert!(stderr(&fail).contains("jobs.swf:6"), "{}", stderr(&fail));
    assert!(stderr(&fail).contains("--on-error skip"), "{}", stderr(&fail));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
    let skip = podpace(dir.path(), "trace import swf jobs.swf --out trace --on-error skip");
    assert_eq!(code(&skip), 0, "{}", stderr(&skip));
    assert!(stdout(&skip).contains("not-a-number"), "{}", stdout(&skip));
}

#[test]
fn usage_errors_say_what_there_is() {
    let dir = folder();
    fs::create_dir(dir.path().join("elsewhere")).unwrap();
    fs::write(dir.path().join("elsewhere/pods.json"), "{}").unwrap();
    for (arguments, expected) in [
        ("trace import nosuch x --out y", "k8s-list"),
        ("trace import k8s-lst . --out y", "did you mean `k8s-list`?"),
        ("trace import swf missing.swf --out y", "missing.swf"),
        (
            "trace import openb elsewhere --out y",
            "elsewhere: nothing of format openb was found; nodes: no node list",
        ),
        ("trace import google-2011 . --out y --unit-cpu 0", "--unit-cpu"),
        ("trace export nosuch . --out y", "k8s"),
        ("trace stats missing", "podpace trace import"),
        ("trace validate missing", "podpace trace import"),
        ("trace generate missing.yaml --out y", "missing.yaml"),
    ] {
        let output = podpace(dir.path(), arguments);
        assert_eq!(code(&output), 2, "{arguments}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments}: {}", stderr(&output));
        assert!(stdout(&output).is_empty());
        assert!(!dir.path().join("y").exists(), "{arguments}");
    }
}

#[test]
fn formats_lists_every_format() {
    let dir = folder();
    let output = podpace(dir.path(), "trace formats --format json");
    let formats: Vec<Value> = serde_json::from_str(&stdout(&output)).unwrap();
    assert!(formats.iter().any(|f| f["name"] == "k8s-list" && f["import"] == true));
    assert!(formats.iter().any(|f| f["name"] == "swf" && f["export"] == true));
    assert!(formats.len() >= 22);
}

#[test]
fn errors_in_a_trace_are_exit_code_2() {
    let dir = folder();
    by_hand(dir.path(), 3);
    let pods = fs::read_to_string(dir.path().join("trace/pods.jsonl")).unwrap();
    fs::write(dir.path().join("trace/pods.jsonl"), pods.replace("\"spec_id\":0", "\"spec_id\":7")).unwrap();
    let output = podpace(dir.path(), "trace validate trace");
    assert_eq!(code(&output), 2);
    assert!(stdout(&output).contains("E005"), "{}", stdout(&output));
    scenario(dir.path(), true, "{trace: trace}", "");
    let output = podpace(dir.path(), "run replay.yaml");
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("podpace trace validate"), "{}", stderr(&output));
}

#[test]
fn traces_that_cannot_run_say_what_to_do() {
    let dir = folder();
    by_hand(dir.path(), 0);
    scenario(dir.path(), true, "{trace: trace}", "");
    let empty = podpace(dir.path(), "run replay.yaml");
    assert_eq!(code(&empty), 2);
    assert!(stderr(&empty).contains("no pods"), "{}", stderr(&empty));

    by_hand(dir.path(), 3);
    scenario(dir.path(), false, "{trace: trace}", "");
    let no_nodes = podpace(dir.path(), "run replay.yaml");
    assert_eq!(code(&no_nodes), 2);
    assert!(stderr(&no_nodes).contains("has no nodes"), "{}", stderr(&no_nodes));

    scenario(dir.path(), true, "{trace: trace/pods.jsonl}", "");
    let file = podpace(dir.path(), "run replay.yaml");
    assert_eq!(code(&file), 2);
    assert!(stderr(&file).contains("podpace trace import"), "{}", stderr(&file));

    scenario(dir.path(), true, "{trace: trace, pods: [{count: 1, requests: {cpu: 1}}]}", "");
    let both = podpace(dir.path(), "run replay.yaml");
    assert_eq!(code(&both), 2);
    assert!(stderr(&both).contains("workload.trace"), "{}", stderr(&both));

    let large = NATIVE_SPECS.replace("1000,", "64000,");
    fs::write(dir.path().join("trace/specs.jsonl"), large).unwrap();
    scenario(dir.path(), true, "{trace: trace}", "");
    let misfit = podpace(dir.path(), "run replay.yaml");
    assert_eq!(code(&misfit), 2);
    assert!(stderr(&misfit).contains("64000"), "{}", stderr(&misfit));
}

#[test]
fn transformations_change_load_and_time() {
    let dir = folder();
    by_hand(dir.path(), 20);
    let run = |transform: &str| {
        scenario(dir.path(), true, &format!("{{trace: trace, transform: {{{transform}}}}}"), "");
        summary(dir.path(), "")
    };
    let created = |run: &Value| run["metrics"]["created.last_s"].as_f64().unwrap();
    let plain = run("");
    assert_eq!(plain["counts"]["total"], 20);
    assert!((created(&plain) - 19.0).abs() < 0.01);
    let window = run("window: {from: 5s, to: 10s}");
    assert_eq!(window["counts"]["total"], 5);
    assert!((created(&window) - 4.0).abs() < 0.01);
    assert_eq!(run("loadScale: 3")["counts"]["total"], 60);
    let half = run("loadScale: 0.5")["counts"]["total"].as_u64().unwrap();
    assert!((3..18).contains(&half), "{half}");
    assert!((created(&run("timeScale: 0.1")) - 1.9).abs() < 0.01);
    scenario(dir.path(), true, "{trace: trace, transform: {loadScale: 0}}", "");
    let zero = podpace(dir.path(), "run replay.yaml");
    assert_eq!(code(&zero), 2);
    assert!(stderr(&zero).contains("loadScale"), "{}", stderr(&zero));
}

/// `trace transform` writes what a scenario with the same settings and seed runs.
#[test]
fn a_transformed_trace_is_what_a_scenario_transforms() {
    let dir = folder();
    by_hand(dir.path(), 40);
    let options = "--window 5s..30s --time-scale 2 --load-scale 1.5 --jitter 3s --seed 7";
    let transform = "{window: {from: 5s, to: 30s}, timeScale: 2, loadScale: 1.5, jitter: 3s}";
    let made =
        podpace(dir.path(), &format!("trace transform trace --out changed {options} --encoding jsonl"));
    assert_eq!(code(&made), 0, "{}", stderr(&made));
    let checked = podpace(dir.path(), "trace validate changed");
    assert_eq!(code(&checked), 0, "{}", stdout(&checked));
    let run = |workload: &str| {
        scenario(dir.path(), true, workload, "seed: 7");
        let run = summary(dir.path(), "");
        (run["counts"].clone(), run["metrics"].clone())
    };
    let scenario_side = run(&format!("{{trace: trace, transform: {transform}}}"));
    assert_eq!(scenario_side, run("{trace: changed}"));
    assert!(scenario_side.0["total"].as_u64().unwrap() > 25);
    // The same options at import.
    let imported =
        podpace(dir.path(), &format!("trace import native trace --out at-import {options} --encoding jsonl"));
    assert_eq!(code(&imported), 0, "{}", stderr(&imported));
    let pods = |name: &str| fs::read(dir.path().join(name).join("pods.jsonl")).unwrap();
    assert_eq!(pods("changed"), pods("at-import"));
    assert_eq!(
        fs::read_dir(dir.path())
            .unwrap()
            .filter(|e| { e.as_ref().unwrap().file_name().to_string_lossy().starts_with('.') })
            .count(),
        0,
        "nothing temporary is left"
    );
    for (options, expected) in [
        ("--window 5s", "--window"),
        ("--load-scale 0", "--load-scale"),
        ("--map fromUser=a", "queue="),
        ("--map user=a,queue=b", "fromUser"),
        ("--gpu V100", "MODEL=RESOURCE"),
    ] {
        let wrong = podpace(dir.path(), &format!("trace transform trace --out x {options}"));
        assert_eq!(code(&wrong), 2);
        assert!(stderr(&wrong).contains(expected), "{options}: {}", stderr(&wrong));
    }
}

/// Users and groups to queues and namespaces, in a scenario and on the command line.
#[test]
fn users_go_to_queues_and_namespaces() {
    let dir = folder();
    fs::write(dir.path().join("log.swf"), SWF).unwrap();
    let rules = "--map fromUser=user-7,queue=root.seven,namespace=team-7 --map fromGroup=group-*,queue=root.{user}.{group}";
    let import =
        podpace(dir.path(), &format!("trace import swf log.swf --out trace --encoding jsonl {rules}"));
    assert_eq!(code(&import), 0, "{}", stderr(&import));
    let table = |name: &str| fs::read_to_string(dir.path().join("trace").join(name)).unwrap();
    let (pods, specs) = (table("pods.jsonl"), table("specs.jsonl"));
    assert!(pods.contains("root.seven") && pods.contains("root.user-8.group-1"), "{pods}");
    assert!(specs.contains("\"namespace\":\"team-7\""), "{specs}");
    let plain = podpace(dir.path(), "trace import swf log.swf --out plain");
    assert_eq!(code(&plain), 0, "{}", stderr(&plain));
    let mapping = "{trace: plain, transform: {mapping: [{fromUser: user-7, queue: root.seven}, {queue: 'root.{user}'}]}}";
    scenario(dir.path(), false, mapping, "");
    assert_eq!(summary(dir.path(), "--set scheduler.kind=yunikorn")["counts"]["bound"], 2);
    scenario(dir.path(), false, "{trace: plain, transform: {mapping: [{fromUser: user-7}]}}", "");
    let empty = podpace(dir.path(), "run replay.yaml");
    assert_eq!(code(&empty), 2);
    assert!(stderr(&empty).contains("changes nothing"), "{}", stderr(&empty));
}

/// Job 1 waited 5 s and job 2 waited 5 s; on an empty machine both start at once.
#[test]
fn recorded_waits_stand_beside_simulated_ones() {
    let dir = folder();
    fs::write(dir.path().join("log.swf"), SWF).unwrap();
    let import = podpace(dir.path(), "trace import swf log.swf --out trace");
    assert_eq!(code(&import), 0, "{}", stderr(&import));
    scenario(dir.path(), false, "{trace: trace}", "");
    let run = summary(dir.path(), "");
    let both = &run["recorded"];
    assert_eq!((both["pods"].as_u64(), both["until"].as_str()), (Some(2), Some("bound")), "{both}");
    let of = |side: &str, name: &str| both[side][name].as_f64().unwrap();
    assert!(
        (of("recorded", "mean_s") - 5.0).abs() < 1e-9 && (of("recorded", "makespan_s") - 15.0).abs() < 1e-9
    );
    assert!(of("simulated", "mean_s") < 0.1);
    assert!((run["metrics"]["recorded.wait.p50_s"].as_f64().unwrap() - 5.0).abs() < 1e-9);
    let table = stdout(&podpace(dir.path(), "run replay.yaml"));
    assert!(table.contains("wait, created to bound") && table.contains("recorded"), "{table}");
    // Other times: what was recorded means nothing any more.
    scenario(dir.path(), false, "{trace: trace, transform: {timeScale: 0.5}}", "");
    assert!(summary(dir.path(), "")["recorded"].is_null());
}

#[test]
fn fit_writes_a_spec_that_generates() {
    let dir = folder();
    by_hand(dir.path(), 300);
    let fit = podpace(dir.path(), "trace fit trace --out fitted.yaml");
    assert_eq!(code(&fit), 0, "{}", stderr(&fit));
    assert!(stdout(&fit).contains("constant") && stdout(&fit).contains("KS"), "{}", stdout(&fit));
    let again = podpace(dir.path(), "trace fit trace --format json");
    let json: Value = serde_json::from_str(&stdout(&again)).unwrap();
    assert_eq!(json["spec"].as_str().unwrap(), fs::read_to_string(dir.path().join("fitted.yaml")).unwrap());
    let made = podpace(dir.path(), "trace generate fitted.yaml --out made");
    assert_eq!(code(&made), 0, "{}", stderr(&made));
    assert_eq!(code(&podpace(dir.path(), "trace fit nowhere")), 2);
}

/// Two nodes of 4 cores; on the first sit two pods of 2 cores and three wait: two fit, one stays.
#[test]
fn a_snapshot_starts_with_its_pods_in_place() {
    let dir = folder();
    let node = |name: &str| {
        format!(
            r#"{{"kind":"Node","apiVersion":"v1","metadata":{{"name":"{name}"}},
            "status":{{"allocatable":{{"cpu":"4","memory":"16Gi","pods":"110"}}}}}}"#
        )
    };
    let pod = |name: &str, node: &str| {
        let node = if node.is_empty() { String::new() } else { format!(r#""nodeName":"{node}","#) };
        format!(
            r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"default",
            "creationTimestamp":"2026-01-05T00:00:00Z"}},
            "spec":{{{node}"containers":[{{"name":"c","resources":{{"requests":{{"cpu":"2"}}}}}}]}}}}"#
        )
    };
    let items =
        [node("a"), node("b"), pod("r1", "a"), pod("r2", "a"), pod("p1", ""), pod("p2", ""), pod("p3", "")];
    let list = format!(r#"{{"kind":"List","apiVersion":"v1","items":[{}]}}"#, items.join(","));
    fs::write(dir.path().join("cluster.json"), list).unwrap();
    let import = podpace(dir.path(), "trace import k8s-list cluster.json --snapshot --out trace");
    assert_eq!(code(&import), 0, "{}", stderr(&import));
    for scheduler in ["kube-scheduler", "yunikorn"] {
        scenario(dir.path(), false, "{trace: trace}", "");
        let run = summary(dir.path(), &format!("--set scheduler.kind={scheduler}"));
        let counts = &run["counts"];
        assert_eq!(
            (counts["total"].as_u64(), counts["bound"].as_u64()),
            (Some(3), Some(2)),
            "{scheduler}: {counts}"
        );
    }
    // The same file as manifests: all five pods are to be scheduled, four fit.
    scenario(dir.path(), false, "{manifests: [cluster.json]}", "");
    let run = summary(dir.path(), "");
    assert_eq!((run["counts"]["total"].as_u64(), run["counts"]["bound"].as_u64()), (Some(5), Some(4)));
}

#[test]
fn a_generated_trace_runs_the_same_way_twice() {
    let dir = folder();
    let spec = "apiVersion: podpace/v1\nkind: TraceSpec\nname: g\npods: 50\narrivals: {process: poisson, rate: 5}\n\
                sizes: [{weight: 1, requests: {cpu: 100m, memory: 100Mi}}]\n\
                durations: {distribution: lognormal, p50: 2s, p99: 5s}\n";
    fs::write(dir.path().join("g.yaml"), spec).unwrap();
    for out in ["a", "b"] {
        let output =
            podpace(dir.path(), &format!("trace generate g.yaml --seed 3 --out {out} --encoding jsonl"));
        assert_eq!(code(&output), 0, "{}", stderr(&output));
    }
    assert_eq!(crate::support::tree(&dir.path().join("a")), crate::support::tree(&dir.path().join("b")));
    scenario(dir.path(), true, "{trace: a}", "");
    let output = podpace_with(dir.path(), &["run", "replay.yaml", "--verify-determinism"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stderr(&output).contains("deterministic"), "{}", stderr(&output));
}
