//! What `podpace run` and the other commands print. Update after a wanted change:
//! INSTA_UPDATE=always cargo test --test cli run

use std::fs;
use std::process::{Command, Stdio};

use crate::support::{code, podpace, podpace_with, stderr, stdout, tree, workspace};

#[test]
fn the_table_of_a_run() {
    let folder = workspace();
    let output =
        podpace(folder.path(), "run small.yaml --models models --explain-costs --verify-determinism");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    insta::assert_snapshot!("run_table", stdout(&output));
    assert!(
        stderr(&output).starts_with("deterministic: two runs gave the same bytes"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_workload_that_does_not_fit_ends_and_says_why() {
    let folder = workspace();
    let arguments = "run small.yaml --models models --set cluster.nodes[0].count=1 --set stop.when=allBound";
    let output = podpace(folder.path(), arguments);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("90  Too many pods"), "{text}");
    assert!(text.contains("The run ended because") || text.contains("limit of virtual time"), "{text}");
}

/// Ten pods in three hours: the cores that an idle control plane takes say nothing about how many pods it could carry.
#[test]
fn heartbeats_are_no_limit_of_pods() {
    let folder = workspace();
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/week.yaml");
    let output = podpace(folder.path(), &format!("run {scenario} --quiet"));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    let next = "; the next limit is bind tokens of client scheduler, at about 50 pods/s.";
    assert!(text.trim_end().ends_with(next), "{text}");
}

#[test]
fn the_table_of_an_experiment() {
    let folder = workspace();
    let output = podpace(folder.path(), "run study.yaml --models models");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    insta::assert_snapshot!("experiment_table", stdout(&output));
}

#[test]
fn json_agrees_with_its_schema_and_with_summary_json() {
    let folder = workspace();
    let output =
        podpace(folder.path(), "run ideal.yaml --models models --format json --out out --pods csv --quiet");
    assert_eq!((code(&output), stderr(&output)), (0, String::new()));
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = fs::read_to_string(folder.path().join("out/summary.json")).unwrap();
    let written: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(printed, written);
    let schema: serde_json::Value =
        serde_json::from_slice(&podpace(folder.path(), "schema result").stdout).unwrap();
    let known = schema["properties"].as_object().unwrap();
    let keys: Vec<&String> = written.as_object().unwrap().keys().collect();
    assert!(keys.iter().all(|k| known.contains_key(*k)), "{keys:?}");
    assert!(
        schema["required"].as_array().unwrap().iter().all(|k| written.get(k.as_str().unwrap()).is_some())
    );
    assert_eq!(written["counts"]["bound"], 300);
}

#[test]
fn seed_and_set_reach_the_run() {
    let folder = workspace();
    let json = |arguments: &str| -> serde_json::Value {
        serde_json::from_slice(&podpace(folder.path(), arguments).stdout).unwrap()
    };
    let one = json("run ideal.yaml --models models --format json");
    let two = json("run ideal.yaml --models models --format json --seed 4");
    assert_eq!((&one["seed"], &two["seed"]), (&3.into(), &4.into()));
    assert_ne!(one["metrics"]["end_s"], two["metrics"]["end_s"]);
    let more = json("run ideal.yaml --models models --format json --set workload.pods[0].count=30");
    assert_eq!(more["counts"]["total"], 30);
}

#[test]
fn a_result_is_replaced_and_its_manifest_holds() {
    let folder = workspace();
    for seed in ["1", "2"] {
        let arguments = format!("run ideal.yaml --models models --out out --pods csv --seed {seed}");
        assert_eq!(code(&podpace(folder.path(), &arguments)), 0);
    }
    let out = folder.path().join("out");
    let summary: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["seed"], 2);
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
    let files = manifest["files"].as_object().unwrap();
    assert_eq!(
        files.keys().collect::<Vec<_>>(),
        ["node_fill.csv", "pods.csv", "series.csv", "summary.json", "telemetry.csv"]
    );
    for (name, hash) in files {
        let bytes = fs::read(out.join(name)).unwrap();
        assert_eq!(hash.as_str().unwrap(), podpace::experiment::run::sha256_hex(&bytes), "{name}");
    }
    let left: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|n| n.contains(".tmp-") || n.contains(".old-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_series_counts_every_pod_once() {
    let folder = workspace();
    assert_eq!(code(&podpace(folder.path(), "run ideal.yaml --models models --out out --pods csv")), 0);
    let text = fs::read_to_string(folder.path().join("out/series.csv")).unwrap();
    let rows: Vec<Vec<f64>> =
        text.lines().skip(1).map(|l| l.split(',').map(|f| f.parse().unwrap()).collect()).collect();
    assert!(rows.windows(2).all(|w| (0..6).all(|c| w[0][c] <= w[1][c])), "cumulative");
    assert_eq!(rows.last().unwrap()[1..4], [300.0, 300.0, 300.0]);
    // The window is a minute and the run shorter: the rate is the mean so far.
    let last = rows.last().unwrap();
    assert!((last[6] - 300.0 / last[0]).abs() < 1e-9);
    let pods = fs::read_to_string(folder.path().join("out/pods.csv")).unwrap();
    assert_eq!(pods.lines().count(), 301);
}

#[test]
fn sweep_resumes_and_its_folder_is_the_same() {
    let folder = workspace();
    let sweep = |more: &str| {
        let arguments =
            format!("sweep ideal.yaml --models models --vary workload.arrivals.rate=10,20 --seeds 3 {more}");
        podpace(folder.path(), &arguments)
    };
    let whole = sweep("--out a");
    assert_eq!(code(&whole), 0, "{}", stderr(&whole));
    insta::assert_snapshot!("sweep_table", stdout(&whole));
    // Without --resume a sweep is not touched; with it, what is missing is run again.
    assert_eq!(code(&sweep("--out a")), 2);
    let before = tree(&folder.path().join("a"));
    let runs: Vec<_> = before.keys().filter(|p| p.starts_with("runs")).collect();
    assert_eq!(runs.len(), 6);
    fs::remove_file(folder.path().join("a").join(runs[0])).unwrap();
    fs::write(folder.path().join("a").join(runs[1]), "{\"half\": ").unwrap();
    let resumed = sweep("--out a --resume");
    assert_eq!(stdout(&resumed), stdout(&whole));
    assert_eq!(tree(&folder.path().join("a")), before);
}

#[test]
fn diff_tells_what_changed() {
    let folder = workspace();
    for (out, count) in [("a", 4), ("b", 2)] {
        let arguments = format!(
            "sweep ideal.yaml --models models --seeds 5 --out {out} --set cluster.nodes[0].count={count}"
        );
        assert_eq!(code(&podpace(folder.path(), &arguments)), 0);
    }
    let output =
        podpace(folder.path(), "diff a b --metric latency.created_to_bound.p99_s --metric pods.bound");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    insta::assert_snapshot!("diff_table", stdout(&output));
    assert_eq!(code(&podpace(folder.path(), "diff a b --metric nonsense")), 2);
}

#[test]
fn check_has_a_code_for_each_end() {
    let folder = workspace();
    let check =
        |more: &str| podpace(folder.path(), &format!("check small.yaml study.yaml --models models {more}"));
    let passing = check("--junit report.xml --baseline base --update-baseline");
    assert_eq!(code(&passing), 0, "{}{}", stdout(&passing), stderr(&passing));
    insta::assert_snapshot!("check_table", stdout(&passing));
    let report = fs::read_to_string(folder.path().join("report.xml")).unwrap();
    assert!(report.contains("tests=\"5\"") && report.contains("failures=\"0\""), "{report}");
    assert_eq!(code(&check("--baseline base")), 0);

    // A regression within the tolerance: 3 seconds become 3.1.
    let small = fs::read_to_string(folder.path().join("small.yaml")).unwrap();
    fs::write(folder.path().join("small.yaml"), small.replace("qps: 50", "qps: 46")).unwrap();
    let slower = check("--baseline base");
    assert_eq!(code(&slower), 4, "{}", stdout(&slower));
    assert!(
        stdout(&slower).contains("regression small: small: throughput.bound.mean"),
        "{}",
        stdout(&slower)
    );

    fs::write(folder.path().join("small.yaml"), small.replace("qps: 50", "qps: 30")).unwrap();
    let failing = check("--junit report.xml");
    assert_eq!(code(&failing), 3);
    assert!(stdout(&failing).contains("FAIL"));
    assert!(fs::read_to_string(folder.path().join("report.xml")).unwrap().contains("failures=\"1\""));
}

#[test]
fn explain_says_what_a_limit_is_worth() {
    let folder = workspace();
    let output = podpace(folder.path(), "explain small.yaml --models models --format json");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = value["runs"][0]["sensitivities"].as_array().unwrap();
    assert_eq!(rows[0]["limit"], "scheduler.client.qps");
    let elasticity = rows[0]["elasticity"].as_f64().unwrap();
    assert!((elasticity - 1.0).abs() < 0.05, "tokens alone decide: {elasticity}");
    let seats = rows.iter().find(|r| r["limit"] == "seats of the API server").unwrap();
    assert!(seats["elasticity"].as_f64().unwrap().abs() < 0.05);
}

#[test]
fn a_reader_that_goes_is_no_error() {
    let folder = workspace();
    let binary = assert_cmd::cargo::cargo_bin("podpace");
    let mut child = Command::new(binary)
        .current_dir(folder.path())
        .args(["schema", "scenario"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), stderr(&output)), (0, String::new()));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_with_130_and_leaves_nothing() {
    let folder = workspace();
    let binary = assert_cmd::cargo::cargo_bin("podpace");
    let mut child = Command::new(binary)
        .current_dir(folder.path())
        .args(["run", "ideal.yaml", "--models", "models", "--out", "out"])
        .args(["--set", "workload.pods[0].count=20000000", "--set", "workload.arrivals.rate=100000"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let left = fs::read_dir(folder.path())
        .unwrap()
        .flatten()
        .any(|e| e.file_name().to_string_lossy().starts_with("out"));
    assert!(!left);
}

#[test]
fn colour_is_for_terminals_only() {
    let folder = workspace();
    let output = podpace_with(folder.path(), &["check", "small.yaml", "--models", "models"]);
    assert!(!stdout(&output).contains('\u{1b}') && !stderr(&output).contains('\u{1b}'));
}
