//! What users see of draws, pairs, plans and knees: tables, JSON, exit codes, and that every listed run comes out the same again.

use std::fs;
use std::path::Path;

use crate::support::{code, podpace_with, stderr, stdout};
use serde_json::Value;

/// Half bound by the client's rate, half by a scheduler of uncertain cost.
const SCENARIO: &str = "
apiVersion: podpace/v1
kind: Scenario
name: half
hosts: {vm: {cores: 1, speed: 0.1}}
cluster: {nodes: [{count: 20, template: {allocatable: {cpu: 64, memory: 64Gi, pods: 110}}}]}
scheduler: {kind: kube-scheduler, profile: kube-scheduler-1.36, host: vm, client: {qps: 100, burst: 10}}
workload: {pods: [{count: 150, requests: {cpu: 100m}}], arrivals: {process: poisson, rate: 60}}
stop: {when: allBound, limit: 10m}
";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("half.yaml"), SCENARIO).unwrap();
    folder
}

#[track_caller]
fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = podpace_with(folder, arguments);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    stdout(&output)
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&ok(folder, &[arguments, &["--format", "json"]].concat())).unwrap()
}

#[test]
fn a_sweep_draws_bands_and_each_of_its_runs_can_be_repeated() {
    let folder = folder();
    let vary =
        ["sweep", "half.yaml", "--vary", "scheduler.client.qps=20,100", "--uncertainty=20", "--out", "s"];
    let table = ok(folder.path(), &vary);
    assert!(
        table.contains("median (5 %..95 %) over 20 seeds, each with a draw of the unit costs of its own"),
        "{table}"
    );
    let rows: Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("s/sweep.json")).unwrap()).unwrap();
    let cpu = &rows[1]["metrics"]["cpu.scheduler_s"];
    let (low, high) = (cpu["p5"].as_f64().unwrap(), cpu["p95"].as_f64().unwrap());
    assert!(high / low > 1.3, "the costs' intervals are wider than chance: {cpu}");
    assert_eq!(rows[1]["drawn"], true);
    // The run of seed 3, alone.
    let alone = json(folder.path(), &["run", "half.yaml", "--seed", "3", "--draw", "0"]);
    assert_eq!(alone["draw"], 0);
    let kept = fs::read_dir(folder.path().join("s/runs")).unwrap().flatten().map(|e| e.path()).find(|path| {
        let kept: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        kept["point"] == "scheduler.client.qps=100" && kept["result"]["seed"] == 3
    });
    let kept = kept.unwrap();
    assert!(kept.to_string_lossy().ends_with("-seed3-draw0.json"));
    let kept: Value = serde_json::from_str(&fs::read_to_string(kept).unwrap()).unwrap();
    assert_eq!(kept["result"]["metrics"], alone["metrics"]);
    // Resumed, nothing is run again, and the table is the same.
    assert_eq!(ok(folder.path(), &[&vary[..], &["--resume"]].concat()), table);
    // Without draws it is another run.
    let fixed = json(folder.path(), &["run", "half.yaml", "--seed", "3"]);
    assert_ne!(fixed["metrics"]["cpu.scheduler_s"], alone["metrics"]["cpu.scheduler_s"]);
    assert!(fixed["draw"].is_null());
}

#[test]
fn diff_pairs_draws_and_says_what_can_not_be_told_apart() {
    let folder = folder();
    // The same costs in both: only the burst differs, by a token.
    for (out, set) in [
        ("a", "scheduler.client.burst=10"),
        ("b", "scheduler.client.burst=11"),
        ("c", "scheduler.client.qps=40"),
    ] {
        ok(folder.path(), &["run", "half.yaml", "--uncertainty=12", "--set", set, "--out", out]);
    }
    let differences = |a: &str, b: &str| json(folder.path(), &["diff", a, b])["differences"].clone();
    let of = |rows: &Value, metric: &str| {
        rows.as_array()
            .unwrap()
            .iter()
            .find(|r| r["metric"] == metric)
            .cloned()
            .unwrap_or_else(|| panic!("{rows:#}"))
    };
    let slower = of(&differences("a", "c"), "throughput.bound.p10_p90");
    assert_eq!((slower["test"].as_str(), slower["drawn"].as_bool()), (Some("wilcoxon"), Some(true)));
    assert_eq!(slower["significant"], true, "{slower:#}");
    assert!(slower["changeBand"][1].as_f64().unwrap() < 0.0);
    let same = of(&differences("a", "b"), "throughput.bound.p10_p90");
    assert_eq!(same["significant"], false, "{same:#}");
    let table = ok(folder.path(), &["diff", "a", "c"]);
    assert!(table.contains("12 pairs") && table.contains("agree which is larger"), "{table}");
}

#[test]
fn a_plan_lists_its_runs_and_states_its_confidence() {
    let folder = folder();
    let plan = [
        "plan",
        "half.yaml",
        "--goal",
        "latency.created_to_bound.p95_s<=2",
        "--vary",
        "scheduler.client.qps=20..100:20",
    ];
    let more = ["--set", "workload.arrivals.rate=50", "--seeds", "4", "--list-runs"];
    let text = ok(folder.path(), &[&plan[..], &more].concat());
    assert!(
        text.contains("4 of 4 runs meet the goals, each with a seed and a draw of the unit costs of its own"),
        "{text}"
    );
    // 0.1^(1/4).
    assert!(text.contains("with 90 % confidence at least 56.2 % of all such runs do"), "{text}");
    let listed: Vec<&str> = text.lines().filter(|l| l.contains("podpace run half.yaml")).collect();
    let found = json(folder.path(), &[&plan[..], &more[..4]].concat());
    assert_eq!(listed.len() as u64, found["runs"].as_u64().unwrap());
    // The last one, as it is listed.
    let command = &listed.last().unwrap()[listed.last().unwrap().find("podpace run").unwrap()..];
    assert!(command.contains("--set workload.arrivals.rate=50 --set scheduler.client.qps="), "{command}");
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    let again = json(folder.path(), &words);
    let runs = found["points"].as_array().unwrap().iter().flat_map(|p| p["runs"].as_array().unwrap());
    let same = runs.filter(|r| r["command"] == command).count();
    assert_eq!(same, 1);
    assert_eq!(again["draw"], 0);
    // With costs as they are nothing is drawn, and the commands say so.
    let fixed = json(folder.path(), &[&plan[..], &["--fixed-costs", "--seeds", "1"]].concat());
    assert!(!fixed["points"][0]["runs"][0]["command"].as_str().unwrap().contains("--draw"));
}

#[test]
fn two_node_types_for_a_trace() {
    let folder = folder();
    let two = SCENARIO.replace("speed: 0.1", "speed: 1").replace(
        "nodes: [{count: 20, template: {allocatable: {cpu: 64, memory: 64Gi, pods: 110}}}]",
        "nodes: [{name: small, count: 1, template: {allocatable: {cpu: 4, memory: 64Gi, pods: 110}}}, {name: large, count: 1, template: {allocatable: {cpu: 16, memory: 64Gi, pods: 110}}}]",
    );
    // A trace: 60 pods/s of one CPU, each running for a second.
    fs::create_dir(folder.path().join("trace")).unwrap();
    let pods: String = (0..150u64)
        .map(|i| format!("{{\"submit_ns\": {}, \"seq\": {i}, \"uid\": \"p{i}\", \"spec_id\": 0, \"run_ns\": 1000000000}}\n", i * 1_000_000_000 / 60))
        .collect();
    fs::write(folder.path().join("trace/pods.jsonl"), pods).unwrap();
    let spec = "{\"spec_id\": 0, \"requests\": {\"cpu_millicores\": 1000, \"memory_bytes\": 1048576}}\n";
    fs::write(folder.path().join("trace/specs.jsonl"), spec).unwrap();
    let replay = two.replace(
        "workload: {pods: [{count: 150, requests: {cpu: 100m}}], arrivals: {process: poisson, rate: 60}}",
        "workload: {trace: trace}",
    );
    assert!(replay.contains("trace: trace") && replay.contains("name: large"));
    fs::write(folder.path().join("replay.yaml"), &replay).unwrap();
    let plan = [
        "plan",
        "replay.yaml",
        "--goal",
        "latency.created_to_bound.p95_s<=2",
        "--goal",
        "pods.pending<=0",
        "--vary",
        "cluster.nodes[0].count=0..12",
        "--vary",
        "cluster.nodes[1].count=1..6",
        "--cost",
        "cluster.nodes[0].count=1",
        "--cost",
        "cluster.nodes[1].count=3.5",
        "--seeds",
        "2",
    ];
    let found = json(folder.path(), &plan);
    let best = &found["points"][found["best"].as_u64().unwrap() as usize];
    // 60 pods/s of a second each want some 60 CPUs, fewer if two seconds of waiting are allowed: large nodes are cheaper by the CPU
    // (3.5 / 16 against 1 / 4), small ones fill up.
    let count = |i: usize| best["settings"][i][1].as_str().unwrap().parse::<u64>().unwrap();
    let cpus = count(0) * 4 + count(1) * 16;
    assert!((24..=80).contains(&cpus), "{best:#}");
    assert!(found["runs"].as_u64().unwrap() * 2 < found["gridRuns"].as_u64().unwrap(), "{found:#}");
}

#[test]
fn knees_have_intervals_and_name_the_limit() {
    let folder = folder();
    let args = ["knee", "half.yaml", "--seeds", "5"];
    let found = json(folder.path(), &args);
    let knee = &found["knees"][0]["knee"];
    let (low, high) = (knee["band"][0].as_f64().unwrap(), knee["band"][1].as_f64().unwrap());
    // Tokens at 100/s, of which 95 % count as keeping up, and a burst of 10 for the 120 pods in the middle.
    assert!(low < high && high < 100.0 / 0.95 * 120.0 / 110.0, "{knee:#}");
    assert_eq!(knee["curve"].as_array().unwrap().len(), 8);
    insta::assert_snapshot!("knee_table", ok(folder.path(), &[&args[..], &["--fixed-costs"]].concat()));
    // By a field: a client of a quarter of the rate has its knee there.
    let by =
        json(folder.path(), &["knee", "half.yaml", "--seeds", "3", "--vary", "scheduler.client.qps=10,20"]);
    let at = |i: usize| by["knees"][i]["knee"]["knee"].as_f64().unwrap();
    assert!((at(1) / at(0) / 2.0 - 1.0).abs() < 0.05, "{by:#}");
    assert_eq!(by["knees"][1]["settings"], serde_json::json!([["scheduler.client.qps", "20"]]));
}

#[test]
fn explain_shows_ranges_and_where_the_next_limit_takes_over() {
    let folder = folder();
    let args = ["explain", "half.yaml", "--set", "scheduler.client.qps=20"];
    insta::assert_snapshot!(
        "explain_table",
        ok(folder.path(), &[&args[..], &["--fixed-costs", "--pairs", "2"]].concat())
    );
    let found = json(folder.path(), &args);
    let run = &found["runs"][0];
    let first = &run["sensitivities"][0];
    assert_eq!(first["limit"], "scheduler.client.qps");
    assert_eq!(first["elasticities"].as_array().unwrap().len(), 5);
    let over = &run["takeOver"];
    assert_eq!(over["raised"], "scheduler.client.qps");
    // Arrivals at 60/s, or the scheduler if its costs were drawn high.
    assert!((30.0..70.0).contains(&over["at"].as_f64().unwrap()), "{over:#}");
}

#[test]
fn what_is_asked_wrongly_is_told() {
    let folder = folder();
    fs::write(
        folder.path().join("backlog.yaml"),
        SCENARIO.replace("arrivals: {process: poisson, rate: 60}", "start: backlog"),
    )
    .unwrap();
    fs::write(folder.path().join("study.yaml"), "apiVersion: podpace/v1\nkind: MeasuredStudy\nname: s\nruns: nowhere\nclasses: {cpu-bound: {median: 10%}}\n").unwrap();
    fs::write(
        folder.path().join("empty.yaml"),
        "apiVersion: podpace/v1\nkind: MeasuredStudy\nname: s\nruns: .\nclasses: {cpu-bound: {}}\n",
    )
    .unwrap();
    let runs = folder.path().join("runs");
    fs::create_dir(&runs).unwrap();
    for file in ["yunikorn-q250-n100.json", "yunikorn-q250-n100.pods.csv.gz"] {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments-measured/runs");
        fs::copy(shipped.join(file), runs.join(file)).unwrap();
    }
    fs::write(
        folder.path().join("absent.yaml"),
        "apiVersion: podpace/v1\nkind: MeasuredStudy\nname: s\nruns: runs\nseeds: 1\n\
         classes: {token-bound: {median: 10%}, arrival-bound: {median: 10%}}\n",
    )
    .unwrap();
    for (arguments, said) in [
        (&["knee", "backlog.yaml"][..], "no times of arrival"),
        (&["knee", "half.yaml", "--vary", "scheduler.client.qqps=1,2"], "did you mean `qps`?"),
        (&["sweep", "half.yaml", "--uncertainty=5", "--seeds", "3"], "cannot be used with"),
        (&["run", "half.yaml", "--draw", "1", "--uncertainty"], "cannot be used with"),
        (&["check", "study.yaml"], "nowhere: no such folder"),
        (&["check", "empty.yaml"], "nothing is expected of this class"),
        (&["check", "absent.yaml"], "classes.arrival-bound: no run of class `arrival-bound` came to its end"),
        (&["run", "study.yaml"], "`podpace check` reads a measured study"),
    ] {
        let output = podpace_with(folder.path(), arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
}

/// kube-scheduler's counters say that all of 1,000 nodes were scored for each pod, which the run's file does not.
#[test]
fn a_setting_that_a_run_does_not_state_is_read_off_its_counters() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    for file in ["kube-pre-n1000.json", "kube-pre-n1000.pods.csv.gz"] {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments-measured/runs");
        fs::copy(shipped.join(file), folder.path().join(file)).unwrap();
    }
    let scrape = |text: &str| {
        let file = fs::File::create(folder.path().join("kube-pre-n1000.metrics.gz")).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        gzip.finish().unwrap();
    };
    let validated = |more: &[&str]| {
        let run = json(folder.path(), &[&["validate", ".", "--seeds", "1", "--fixed-costs"], more].concat());
        let run = &run["runs"][0];
        (run["metrics"]["bound_per_s_p10_p90"]["predicted"].as_f64().unwrap(), run["notes"].clone())
    };
    let (plain, notes) = validated(&[]);
    assert!(notes.is_null(), "{notes}");
    let count = |point: &str, value: u64| {
        format!(
            "scheduler_plugin_evaluation_total{{extension_point=\"{point}\",plugin=\"NodeResourcesFit\",profile=\"p\"}} {value}\n"
        )
    };
    scrape(
        &[("PreFilter", 4000), ("Filter", 4_000_000), ("PreScore", 4000), ("Score", 4_000_000)]
            .map(|(point, value)| count(point, value))
            .concat(),
    );
    let (told, notes) = validated(&[]);
    assert!(told < 0.8 * plain, "{told} {plain}");
    assert_eq!(
        notes,
        serde_json::json!([
            "percentageOfNodesToScore is 100, by its counters (1000 of 1000 nodes scored for each pod); the file does not state it"
        ])
    );
    let (set, notes) = validated(&["--set", "kube-pre-n1000:percentage_of_nodes_to_score=0"]);
    assert!((set - plain).abs() < 1e-9, "what is said comes first: {set} {plain}");
    assert!(notes.is_null(), "{notes}");

    scrape("scheduler_plugin_evaluation_total 1\nnonsense\n");
    let output = podpace_with(folder.path(), &["validate", ".", "--seeds", "1"]);
    assert_eq!(code(&output), 2);
    let said = stderr(&output);
    assert!(said.contains("kube-pre-n1000.metrics.gz: line 2: `nonsense` is no sample"), "{said}");
}
