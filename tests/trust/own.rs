//! Runs of one's own cluster: Prometheus' answers, scrapes, audit logs and lists of pods turn into the same readings, and
//! damaged ones into errors that say what to do.
//!
//! There is no cluster here, so podpace plays it: a simulated run is written out in the forms that a real one is saved in
//! (`report --openmetrics` has the real names), and read back. A scrape of a real kube-scheduler, kube-apiserver and etcd is read, too.

use std::fs;
use std::path::Path;

use crate::support::{code, fixture, podpace_with, stderr, stdout};
use serde_json::{Value, json};

/// Pods that come live, bound by the client's rate for a part of the time: what a probe run looks like.
const LIVE: &str = "
apiVersion: podpace/v1
kind: Scenario
name: live
hosts: {vm: {cores: 2}}
cluster: {nodes: [{count: 40, template: {allocatable: {cpu: 32, memory: 256Gi, pods: 110}}}]}
controlPlane:
  apiServer: {profile: apiserver-1.36, host: vm}
  etcd: {profile: etcd-3.6, host: vm, fsync: {p50: 500us, p99: 2ms}}
scheduler: {kind: kube-scheduler, profile: kube-scheduler-1.36, host: vm, client: {qps: 40, burst: 20}}
workload: {pods: [{count: 300, requests: {cpu: 100m, memory: 100Mi}}], arrivals: {process: constant, rate: 60}}
stop: {when: allBound, limit: 5m}
measure: {step: 250ms}
";

/// The same as a backlog, and a fast client.
fn backlog() -> String {
    LIVE.replace("arrivals: {process: constant, rate: 60}", "start: backlog")
        .replace("qps: 40, burst: 20", "qps: 5000, burst: 5000")
}

/// A simulated run in the forms in which a real one is saved.
struct Simulated {
    open_metrics: String,
    /// Created, bound, us since t = 0.
    pods: Vec<(u64, u64)>,
    summary: Value,
}

fn simulate(folder: &Path, scenario: &str, more: &[&str]) -> Simulated {
    fs::write(folder.join("s.yaml"), scenario).unwrap();
    let out = folder.join("result");
    let run = ["run", "s.yaml", "--out", "result", "--pods", "csv", "--format", "json"];
    let output = podpace_with(folder, &[&run[..], more].concat());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report = ["report", "result", "--openmetrics", "m.txt", "--scrape-interval", "250ms"];
    let reported = podpace_with(folder, &report);
    assert_eq!(code(&reported), 0, "{}", stderr(&reported));
    let mut rows = csv::Reader::from_path(out.join("pods.csv")).unwrap();
    let column = |rows: &mut csv::Reader<fs::File>, name: &str| {
        rows.headers().unwrap().iter().position(|h| h == name).unwrap()
    };
    let (created, bound) = (column(&mut rows, "created_ns"), column(&mut rows, "bound_ns"));
    let us = |r: &csv::StringRecord, at: usize| r[at].parse::<u64>().unwrap() / 1000;
    let pods = rows.records().map(Result::unwrap).map(|r| (us(&r, created), us(&r, bound))).collect();
    let open_metrics = fs::read_to_string(folder.join("m.txt")).unwrap();
    fs::remove_dir_all(&out).unwrap();
    Simulated { open_metrics, pods, summary: serde_json::from_str(&stdout(&output)).unwrap() }
}

impl Simulated {
    /// As `/api/v1/query_range` answers.
    fn prometheus(&self) -> Value {
        let mut series: std::collections::BTreeMap<String, Vec<(f64, String)>> =
            std::collections::BTreeMap::new();
        for line in self.open_metrics.lines().filter(|l| !l.starts_with('#')) {
            let mut words = line.rsplitn(3, ' ');
            let (at, value, name) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            series.entry(name.to_owned()).or_default().push((at.parse().unwrap(), value.to_owned()));
        }
        let result: Vec<Value> = series
            .into_iter()
            .map(|(name, values)| {
                let (name, labels) = name.split_once('{').unwrap_or((&name, "}"));
                let mut metric = json!({"__name__": name, "instance": "10.0.0.1:10259"});
                for pair in labels.trim_end_matches('}').split(',').filter(|p| !p.is_empty()) {
                    let (label, value) = pair.split_once('=').unwrap();
                    metric[label] = json!(value.trim_matches('"'));
                }
                json!({"metric": metric, "values": values})
            })
            .collect();
        json!({"status": "success", "data": {"resultType": "matrix", "result": result}})
    }

    /// As the API server logs them at level Metadata.
    fn audit(&self) -> String {
        let event = |subresource: &str, pod: usize, us: u64| {
            let time = |us: u64| {
                format!(
                    "2026-01-01T00:{:02}:{:02}.{:06}Z",
                    us / 60_000_000,
                    us / 1_000_000 % 60,
                    us % 1_000_000
                )
            };
            let event = json!({
                "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": format!("{pod}-{subresource}"),
                "stage": "ResponseComplete", "verb": "create",
                "objectRef": {"resource": "pods", "namespace": "default", "name": format!("pod-{pod}"), "subresource": subresource},
                "responseStatus": {"code": 201}, "requestReceivedTimestamp": time(us.saturating_sub(2000)), "stageTimestamp": time(us),
            });
            format!("{event}\n")
        };
        let lines = self
            .pods
            .iter()
            .enumerate()
            .flat_map(|(i, (created, bound))| [event("", i, *created), event("binding", i, *bound)]);
        lines.collect()
    }

    /// As `kubectl get pods -o json` shows them.
    fn list(&self) -> Value {
        let time = |us: u64| format!("2026-01-01T00:00:{:02}Z", us / 1_000_000);
        let pods: Vec<Value> = self
            .pods
            .iter()
            .map(|(created, bound)| {
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"creationTimestamp": time(*created)}, "status": {"conditions": [
                    {"type": "PodScheduled", "status": "True", "lastTransitionTime": time(*bound)}]}})
            })
            .collect();
        json!({"apiVersion": "v1", "kind": "List", "items": pods})
    }

    fn metric(&self, name: &str) -> f64 {
        self.summary["metrics"][name].as_f64().unwrap_or_else(|| panic!("no {name}"))
    }
}

/// `podpace validate` of one run with its own scenario: metrics as measured, and what it can't tell.
fn validated(folder: &Path, scenario: &str, files: &[(&str, &str)]) -> (Value, Vec<String>) {
    let run = folder.join("runs/one");
    let _ = fs::remove_dir_all(folder.join("runs"));
    fs::create_dir_all(&run).unwrap();
    fs::write(run.join("scenario.yaml"), scenario).unwrap();
    for (name, text) in files {
        let path = run.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let output =
        podpace_with(folder, &["validate", "runs", "--seeds", "2", "--fixed-costs", "--format", "json"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let value: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(value["runs"].as_array().unwrap().len(), 1, "{value:#}");
    let not_told = value["runs"][0]["not_told"].as_array().cloned().unwrap_or_default();
    let not_told = not_told.iter().map(|w| w["what"].as_str().unwrap().to_owned()).collect();
    (value["runs"][0]["metrics"].clone(), not_told)
}

#[track_caller]
fn near(metrics: &Value, name: &str, want: f64, tolerance: f64) {
    let got =
        metrics[name]["measured"].as_f64().unwrap_or_else(|| panic!("{name} was not read: {metrics:#}"));
    assert!((got / want - 1.0).abs() <= tolerance, "{name}: {got}, expected {want}");
}

#[test]
fn the_same_run_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let run = simulate(folder.path(), LIVE, &[]);
    let throughput = run.metric("throughput.bound.p10_p90");
    let last = run.metric("bound.last_s") - run.metric("created.first_s");
    let p50 = run.metric("latency.created_to_bound.p50_s");
    let cpu = run.metric("cpu.scheduler_s");

    // Prometheus, and OpenMetrics with timestamps, are the same.
    let prometheus = run.prometheus().to_string();
    let (m, not_told) = validated(folder.path(), LIVE, &[("prometheus.json", &prometheus)]);
    near(&m, "bound_per_s_p10_p90", throughput, 0.03);
    near(&m, "last_bound_s", last, 0.05);
    near(&m, "cpu_s.scheduler", cpu, 0.02);
    near(&m, "cpu_s.apiserver", run.metric("cpu.apiserver_s"), 0.02);
    near(&m, "cpu_s.etcd", run.metric("cpu.etcd_s"), 0.02);
    near(&m, "algorithm_mean_s", run.metric("latency.cycle.mean_s"), 0.001);
    assert_eq!(not_told, ["latency_p50_s"]);
    // Its own prediction is inside a few percent of it, whatever seed draws the disk.
    for name in [
        "bound_per_s_p10_p90",
        "cpu_s.scheduler",
        "sli_mean_s",
        "sli_p50_s",
        "bind_request_mean_s",
        "algorithm_mean_s",
    ] {
        let error = m[name]["error"].as_f64().unwrap();
        assert!(error.abs() < 0.05, "{name}: {error}");
    }
    let (of_text, _) = validated(folder.path(), LIVE, &[("metrics.txt", &run.open_metrics)]);
    assert_eq!(m, of_text);

    // An audit log has each pod, and no CPU.
    let (m, not_told) = validated(folder.path(), LIVE, &[("audit.log", &run.audit())]);
    near(&m, "bound_per_s_p10_p90", throughput, 0.001);
    near(&m, "last_bound_s", last, 0.002);
    near(&m, "latency_p50_s", p50, 0.001);
    near(&m, "bind_request_mean_s", 0.002, 0.01);
    assert!(not_told.contains(&"cpu_s.scheduler".to_owned()), "{not_told:?}");

    // A list of pods has whole seconds: the median wait, under two seconds, is none.
    let (m, not_told) = validated(folder.path(), LIVE, &[("pods.json", &run.list().to_string())]);
    near(&m, "bound_per_s_p10_p90", throughput, 0.25);
    assert!(m["latency_p50_s"].is_null());
    assert!(not_told.contains(&"latency_p50_s".to_owned()), "{not_told:?}");

    // Two scrapes without a clock have no rates, but the same CPU and means.
    let scrape = |last: bool| -> String {
        let mut by_name = std::collections::BTreeMap::new();
        for line in run.open_metrics.lines().filter(|l| !l.starts_with('#')) {
            let (sample, _stamp) = line.rsplit_once(' ').unwrap();
            let (name, value) = sample.rsplit_once(' ').unwrap();
            if last {
                by_name.insert(name, value);
            } else {
                by_name.entry(name).or_insert(value);
            }
        }
        by_name.iter().map(|(name, value)| format!("{name} {value}\n")).collect()
    };
    let files = [("before/all.metrics", &*scrape(false)), ("after/all.metrics", &*scrape(true))];
    let (m, not_told) = validated(folder.path(), LIVE, &files);
    near(&m, "cpu_s.scheduler", cpu, 0.02);
    assert!(m["sli_mean_s"]["error"].as_f64().unwrap().abs() < 0.05);
    assert!(m["bound_per_s_p10_p90"].is_null());
    for what in ["bound_per_s_p10_p90, last_bound_s", "idle CPU between the run's end and the last scrape"] {
        assert!(not_told.contains(&what.to_owned()), "{not_told:?}");
    }
}

#[test]
fn a_real_scrape_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let after = fs::read_to_string(fixture("metrics/kube-1.36.metrics")).unwrap();
    // Before: all counters at zero, as of processes just started.
    let before: String = after
        .lines()
        .map(|line| match line.rsplit_once(' ') {
            Some((name, _)) if !line.starts_with('#') => format!("{name} 0\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let scenario = backlog().replace("count: 300", "count: 4000").replace("count: 40,", "count: 100,");
    let files = [("before.metrics", &*before), ("after.metrics", &*after)];
    let (m, not_told) = validated(folder.path(), &scenario, &files);
    // The run's own files say 10.06 s of the scheduler's CPU; its sums and counts stand in the scrape.
    near(&m, "cpu_s.scheduler", 10.06, 1e-9);
    near(&m, "cpu_s.apiserver", 15.98, 1e-9);
    near(&m, "cpu_s.etcd", 4.87, 1e-9);
    near(&m, "sli_mean_s", 24_933.999_66 / 4000.0, 1e-6);
    near(&m, "algorithm_mean_s", 11.295_536_829 / 4000.0, 1e-6);
    near(&m, "bind_request_mean_s", 47.963_160_094 / 4000.0, 1e-6);
    assert!(not_told.iter().any(|w| w.starts_with("bound_per_s_p10_p90")));
}

#[test]
fn calibrate_finds_a_constant_from_prometheus_alone() {
    let folder = tempfile::tempdir().unwrap();
    // A cluster whose scheduler needs twice as long to filter and score.
    let models = folder.path().join("models");
    fs::create_dir(&models).unwrap();
    let shown = podpace_with(folder.path(), &["models", "kube-scheduler-1.36", "--format", "json"]);
    assert_eq!(code(&shown), 0);
    let yaml =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/kube-scheduler-1.36.yaml"))
            .unwrap();
    fs::write(
        models.join("kube-scheduler-1.36.yaml"),
        yaml.replace(
            "cycle: {value: 165us, low: 102us, high: 265us",
            "cycle: {value: 3ms, low: 1ms, high: 9ms",
        ),
    )
    .unwrap();
    for (name, scenario) in [("small", backlog()), ("large", backlog().replace("count: 40,", "count: 200,"))]
    {
        let run = simulate(folder.path(), &scenario, &["--models", "models"]);
        let to = folder.path().join("runs").join(name);
        fs::create_dir_all(&to).unwrap();
        fs::write(to.join("scenario.yaml"), &scenario).unwrap();
        fs::write(to.join("range.json"), run.prometheus().to_string()).unwrap();
    }
    let wide = yaml.replace(
        "cycle: {value: 165us, low: 102us, high: 265us",
        "cycle: {value: 1ms, low: 100us, high: 10ms",
    );
    fs::write(models.join("kube-scheduler-1.36.yaml"), wide).unwrap();
    let arguments = [
        "calibrate",
        "runs",
        "--profile",
        "kube-scheduler-1.36",
        "--models",
        "models",
        "--out",
        "new/kube-scheduler-1.36.yaml",
        "--seeds",
        "2",
        "--iterations",
        "3",
        "--report",
        "report.json",
    ];
    let output = podpace_with(folder.path(), &arguments);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report: Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("report.json")).unwrap()).unwrap();
    let constants = report["constants"].as_array().unwrap();
    let cycle = constants.iter().find(|c| c["constant"] == "cycle").unwrap();
    assert_eq!(cycle["told"], "told by the runs", "{cycle:#}");
    let (low, high) = (cycle["low_ps"].as_f64().unwrap(), cycle["high_ps"].as_f64().unwrap());
    assert!(low < 3e9 && 3e9 < high, "{cycle:#}");
    assert!((cycle["value_ps"].as_f64().unwrap() / 3e9 - 1.0).abs() < 0.2, "{cycle:#}");
    // A backlog without the scheduler's start has throughput and no last binding; all of it is said.
    let inputs = report["inputs"].as_array().unwrap();
    assert_eq!(inputs.len(), 2);
    assert!(inputs[0]["not_told"].as_array().unwrap().iter().any(|n| n["what"] == "last_bound_s"));
    let text = fs::read_to_string(folder.path().join("new/kube-scheduler-1.36.yaml")).unwrap();
    for range in ["nodes: [40, 200]", "pods: [300, 300]", "cores: [2, 2]"] {
        assert!(text.contains(range), "{text}");
    }
}

/// What a user sees of a run folder with these files.
fn seen(files: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("runs/one");
    fs::create_dir_all(&run).unwrap();
    for (name, text) in files {
        fs::write(run.join(name), text).unwrap();
    }
    let arguments = ["calibrate", "runs", "--profile", "kube-scheduler-1.36", "--out", "new/profile.yaml"];
    let output = podpace_with(folder.path(), &arguments);
    assert!(!folder.path().join("new").exists());
    assert_eq!(stdout(&output), "");
    format!("exit code {}\n{}", code(&output), stderr(&output))
}

#[test]
fn damaged_input_is_told_with_what_to_do() {
    let range = |result: Value| {
        json!({"status": "success", "data": {"resultType": "matrix", "result": result}}).to_string()
    };
    let rate = range(json!([{"metric": {"job": "kube-scheduler"}, "values": [[1.0, "2"]]}]));
    let other = range(
        json!([{"metric": {"__name__": "node_cpu_seconds_total", "job": "node"}, "values": [[1.0, "2"]]}]),
    );
    let failed = json!({"status": "error", "errorType": "bad_data", "error": "invalid parameter \"query\": 1:1: parse error"}).to_string();
    let policy = json!({"kind": "Event", "apiVersion": "audit.k8s.io/v1", "auditID": "a", "stage": "ResponseComplete", "verb": "list",
        "objectRef": {"resource": "configmaps"}, "responseStatus": {"code": 200}})
    .to_string();
    let few = "scheduler_schedule_attempts_total{result=\"scheduled\"} 7\nprocess_cpu_seconds_total 1\n";
    let none = few.replace(" 7", " 0").replace(" 1", " 0");
    let broken = LIVE.replace("qps: 40", "qqps: 40");
    let s = ("scenario.yaml", LIVE);
    let cases: [(&str, &[(&str, &str)]); 13] = [
        ("nothing", &[s]),
        ("prometheus_cut_off", &[s, ("range.json", &range(json!([]))[..30])]),
        ("prometheus_error", &[s, ("range.json", &failed)]),
        ("prometheus_empty", &[s, ("range.json", &range(json!([])))]),
        ("prometheus_rate", &[s, ("range.json", &rate)]),
        ("prometheus_of_something_else", &[s, ("range.json", &other)]),
        ("scrape_without_time", &[s, ("metrics.txt", few)]),
        ("scrape_damaged", &[s, ("before.txt", "scheduler_x 1\n<html>502 Bad Gateway</html>\n")]),
        ("only_one_scrape", &[s, ("after.txt", "scheduler_pending_pods{queue=\"active\"} 7\n")]),
        ("audit_log_of_other_things", &[s, ("audit.log", &policy)]),
        ("empty_file", &[s, ("audit.log", "")]),
        ("scenario_with_an_error", &[("scenario.yaml", &broken), ("before.txt", few)]),
        ("other_pods_than_the_scenario", &[s, ("before.txt", &none), ("after.txt", few)]),
    ];
    for (name, files) in cases {
        let seen = seen(files);
        assert!(seen.starts_with("exit code 2\n"), "{name}: {seen}");
        insta::assert_snapshot!(name, seen);
    }
}
