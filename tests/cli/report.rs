//! Reports by their consumers' rules: OpenMetrics (and the real Prometheus where it is installed), the trace format of
//! Perfetto, JSON Lines, and the page in a real browser where there is one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{code, podpace, stderr, workspace};

const KUBE: &str = "\
apiVersion: podpace/v1
kind: Scenario
name: kube
hosts: {vm: {cores: 4}}
cluster: {nodes: [{count: 50, template: {allocatable: {cpu: 32, memory: 256Gi, pods: 110}}}]}
controlPlane:
  apiServer: {profile: apiserver-1.36, host: vm}
  etcd: {profile: etcd-3.6, host: vm, fsync: {p50: 1ms, p99: 5ms}}
  nodeLifecycle: {kind: hollow, startLatency: {p50: 1s, p99: 2s}}
scheduler: {kind: kube-scheduler, host: vm, client: {qps: 20, burst: 20}}
workload: {pods: [{count: 3000, apps: 3, requests: {cpu: 100m, memory: 100Mi}}], start: backlog}
stop: {when: allBound, limit: 10m}
";

/// A folder with the results `small` (test profiles) and `kube` (a real profile).
fn results() -> tempfile::TempDir {
    let folder = workspace();
    fs::write(folder.path().join("kube.yaml"), KUBE).unwrap();
    for run in ["run small.yaml --models models --out small", "run kube.yaml --out kube"] {
        let output = podpace(folder.path(), run);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
    }
    folder
}

fn report(folder: &Path, arguments: &str) {
    let output = podpace(folder, &format!("report {arguments}"));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

/// Samples of one series: timestamp, value.
type Series = Vec<(f64, f64)>;

/// Reads OpenMetrics text by the rules of the specification, strictly, and returns the series by name and labels.
fn open_metrics(text: &str) -> BTreeMap<String, Series> {
    let mut series: BTreeMap<String, Series> = BTreeMap::new();
    let mut families = BTreeSet::new();
    let (mut family, mut kind) = (String::new(), String::new());
    let body = text.strip_suffix("# EOF\n").expect("ends with # EOF");
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, k) = rest.split_once(' ').unwrap();
            assert!(families.insert(name.to_owned()), "family {name} stands twice");
            assert!(["counter", "gauge", "histogram"].contains(&k), "{line}");
            assert!(!name.ends_with("_total"), "{line}: the family has no suffix");
            (family, kind) = (name.to_owned(), k.to_owned());
            continue;
        }
        if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(rest.starts_with(&format!("{family} ")), "{line}: HELP of another family");
            continue;
        }
        let name_ends = line.find(['{', ' ']).unwrap();
        let suffix = line[..name_ends]
            .strip_prefix(family.as_str())
            .unwrap_or_else(|| panic!("{line}: not of {family}"));
        let allowed: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_count", "_sum"],
            _ => &[""],
        };
        assert!(allowed.contains(&suffix), "{line}: suffix of a {kind}");
        let labels_end =
            if line.as_bytes()[name_ends] == b'{' { line.rfind('}').unwrap() + 1 } else { name_ends };
        for label in
            line[name_ends..labels_end].trim_matches(['{', '}']).split("\",").filter(|l| !l.is_empty())
        {
            let (name, value) = label.split_once("=\"").unwrap();
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
            assert!(!value.trim_end_matches('"').contains('"'), "{line}");
        }
        let mut rest = line[labels_end..].strip_prefix(' ').unwrap().split(' ');
        let value: f64 = rest.next().unwrap().parse().unwrap();
        let stamp: f64 = rest.next().unwrap().parse().unwrap();
        assert_eq!(rest.next(), None, "{line}");
        let samples = series.entry(line[..labels_end].to_owned()).or_default();
        if let Some((before, last)) = samples.last() {
            assert!(*before < stamp, "{line}: time does not go on");
            assert!(kind == "gauge" || *last <= value, "{line}: a {kind} falls");
        }
        samples.push((stamp, value));
    }
    // Buckets are cumulative and +Inf is the count.
    for (name, samples) in &series {
        if let Some((metric, le)) =
            name.split_once("_bucket{").filter(|(_, rest)| rest.contains("le=\"+Inf\""))
        {
            let labels = le.replace(",le=\"+Inf\"", "").replace("le=\"+Inf\"}", "");
            let labels = if labels.is_empty() { labels } else { format!("{{{labels}") };
            assert_eq!(Some(samples), series.get(&format!("{metric}_count{labels}")), "{name}");
        }
    }
    series
}

fn find<'a>(series: &'a BTreeMap<String, Series>, parts: &[&str]) -> &'a Series {
    let mut found = series.iter().filter(|(name, _)| parts.iter().all(|part| name.contains(part)));
    let one = found.next().unwrap_or_else(|| panic!("no series {parts:?}"));
    assert_eq!(found.next().map(|(name, _)| name), None, "{parts:?} names several series");
    one.1
}

const BINDINGS: [&str; 4] =
    ["apiserver_request_total{code=\"201\"", "resource=\"pods\"", "subresource=\"binding\"", "verb=\"POST\""];

#[test]
fn open_metrics_counts_what_the_summary_counts() {
    let folder = results();
    report(folder.path(), "kube --openmetrics kube.om --scrape-interval 1s");
    let series = open_metrics(&fs::read_to_string(folder.path().join("kube.om")).unwrap());
    let last = |parts: &[&str]| find(&series, parts).last().unwrap().1;
    let summary: Value =
        serde_json::from_slice(&fs::read(folder.path().join("kube/summary.json")).unwrap()).unwrap();
    let metric = |name: &str| summary["metrics"][name].as_f64().unwrap();
    // The run ends when the last binding is stored; the last answers are still under way.
    assert!((2990.0..=3000.0).contains(&last(&BINDINGS)), "{}", last(&BINDINGS));
    assert_eq!(last(&["scheduler_schedule_attempts_total{", "result=\"scheduled\""]) as u64, 3000);
    assert_eq!(last(&["scheduler_pod_scheduling_sli_duration_seconds_count{"]) as u64, 3000);
    assert_eq!(
        last(&["scheduler_pod_scheduling_sli_duration_seconds_bucket{", "le=\"5242.88\""]) as u64,
        3000
    );
    assert_eq!(last(&["scheduler_pending_pods{queue=\"active\"}"]) as u64, 0);
    assert_eq!(last(&["scheduler_cache_size{type=\"nodes\"}"]) as u64, 50);
    assert_eq!(last(&["etcd_disk_wal_fsync_duration_seconds_count"]) as u64, metric("etcd.syncs") as u64);
    // A summed latency is the summary's mean.
    let sum = last(&["scheduler_scheduling_algorithm_duration_seconds_sum"]);
    assert!((sum / 3000.0 / metric("latency.cycle.mean_s") - 1.0).abs() < 1e-6, "{sum}");
    assert!((last(&["podpace_client_qps{client=\"scheduler\"}"]) - 20.0).abs() < 1e-9);
    // Behind the bucket of 20 per second, the slope of the study's counter is the simulated rate.
    let bindings = find(&series, &BINDINGS);
    let at = |t: f64| bindings.iter().find(|(stamp, _)| *stamp - bindings[0].0 >= t).unwrap().1;
    assert!(((at(100.0) - at(40.0)) / 60.0 - 20.0).abs() < 0.5, "{} {}", at(40.0), at(100.0));
}

#[test]
fn open_metrics_has_the_names_of_a_measured_server() {
    // The scrapes of measured runs do not ship.
    let runs = std::env::var("PODPACE_MEASURED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/measured").to_owned());
    let measured = Path::new(&runs).join("kube-default-n1000.metrics.gz");
    if !measured.is_file() {
        eprintln!("skipped: no {}", measured.display());
        return;
    }
    let mut text = String::new();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(
        &mut flate2::read::MultiGzDecoder::new(fs::File::open(&measured).unwrap()),
        &mut bytes,
    )
    .unwrap();
    text.push_str(&String::from_utf8_lossy(&bytes));
    let real: BTreeSet<&str> =
        text.lines().filter_map(|l| l.rsplit_once(' ')).map(|(name, _)| name).collect();
    let folder = results();
    report(folder.path(), "kube --openmetrics kube.om");
    let series = open_metrics(&fs::read_to_string(folder.path().join("kube.om")).unwrap());
    let mut compared = 0;
    for name in series.keys().filter(|n| !n.starts_with("podpace_") && !n.starts_with("process_cpu")) {
        // What only some workloads show is not in this measured run.
        if ["PATCH", "DELETE", "429", "unschedulable\"}", "504", "system-nodes", "time-out"]
            .iter()
            .any(|part| name.contains(part))
        {
            continue;
        }
        // OpenMetrics writes le="1.0" where the classic text has le="1".
        let classic = name.replace(".0\"}", "\"}");
        assert!(real.contains(classic.as_str()), "no real component exports {classic}");
        compared += 1;
    }
    assert!(compared > 100, "only {compared} series compared");
}

#[test]
fn reports_are_the_same_bytes_twice_and_one_file() {
    let folder = results();
    for out in ["a", "b"] {
        report(
            folder.path(),
            &format!(
                "kube small --run kube --out {out}.html --openmetrics {out}.om --perfetto {out}.json --events {out}.events --watch {out}.watch"
            ),
        );
    }
    for end in ["html", "om", "json", "events", "watch"] {
        let [a, b] = ["a", "b"].map(|out| fs::read(folder.path().join(format!("{out}.{end}"))).unwrap());
        assert!(a == b, "{end} differs");
    }
    let page = fs::read_to_string(folder.path().join("a.html")).unwrap();
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "the page refers to {outside}");
    }
    for id in page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(page.contains(&format!("id=\"{id}\"")), "#{id} leads nowhere");
    }
    assert!(page.len() < 1_000_000, "{}", page.len());
}

/// The page says the command that gives the same result, settings and all, and each of its regions has a name of its own.
#[test]
fn the_page_says_how_to_repeat_each_run() {
    let folder = results();
    let run = |command: &str| {
        let words: Vec<&str> = command.split('|').collect();
        let output = crate::support::podpace_with(folder.path(), &words);
        assert_eq!(code(&output), 0, "{command}: {}", stderr(&output));
    };
    run(
        "run|small.yaml|--models|models|--set|scheduler.client.qps=30|--set|workload={pods: [{count: 9, requests: {cpu: 100m, memory: 64Mi}}]}|--out|set",
    );
    let summary = |name: &str| -> Value {
        serde_json::from_str(&fs::read_to_string(folder.path().join(name).join("summary.json")).unwrap())
            .unwrap()
    };
    assert_eq!(
        summary("set")["settings"],
        serde_json::json!([
            "scheduler.client.qps=30",
            "workload={pods: [{count: 9, requests: {cpu: 100m, memory: 64Mi}}]}"
        ])
    );
    assert!(summary("small").get("settings").is_none(), "a run without settings has the bytes that it had");
    report(folder.path(), "small set --out repeat.html");
    let page = fs::read_to_string(folder.path().join("repeat.html")).unwrap();
    let command = "podpace run small.yaml --set scheduler.client.qps=30 \
                   --set 'workload={pods: [{count: 9, requests: {cpu: 100m, memory: 64Mi}}]}' --seed ";
    assert!(page.replace("&#39;", "'").contains(command), "{}", page.split_once("<pre").unwrap().1);
    let mut regions: Vec<&str> = page
        .split("role=\"region\" aria-label=\"")
        .skip(1)
        .map(|rest| rest.split_once('"').unwrap().0)
        .collect();
    let all = regions.len();
    regions.sort_unstable();
    regions.dedup();
    assert!(all >= 6 && all == regions.len(), "{regions:?}");
}

#[test]
fn the_trace_obeys_the_chrome_format() {
    let folder = results();
    report(folder.path(), "kube --perfetto kube.json --max-pods 300");
    let trace: Value = serde_json::from_slice(&fs::read(folder.path().join("kube.json")).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let mut pods = 0;
    let mut tracks: BTreeMap<(u64, u64), Vec<(f64, f64)>> = BTreeMap::new();
    for event in events {
        assert!(event["pid"].is_u64() && event["name"].is_string(), "{event}");
        match event["ph"].as_str().unwrap() {
            "X" => {
                let (from, dur) = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
                assert!(from >= 0.0 && dur >= 0.0, "{event}");
                pods += u32::from(event["name"].as_str().unwrap().starts_with("pod "));
                let track = (event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap());
                tracks.entry(track).or_default().push((from, from + dur));
            }
            "C" => assert!(event["args"]["value"].is_u64(), "{event}"),
            "M" => assert_eq!(event["name"], "process_name"),
            other => panic!("{other}: {event}"),
        }
    }
    assert_eq!(pods, 300);
    // Slices of a track nest: no two overlap in part (a nanosecond for rounding).
    for slices in tracks.values_mut() {
        slices.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
        let mut open: Vec<f64> = Vec::new();
        for (from, to) in slices.iter() {
            while open.last().is_some_and(|end| *end <= from + 0.001) {
                open.pop();
            }
            assert!(open.last().is_none_or(|end| *to <= end + 0.001), "{from} to {to} crosses {open:?}");
            open.push(*to);
        }
    }
}

#[test]
fn events_and_watch_follow_each_pod_in_order() {
    let folder = results();
    report(folder.path(), "small --events small.events --watch small.watch --epoch 2030-06-01T12:00:00Z");
    let lines = |name: &str| -> Vec<Value> {
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    };
    let events = lines("small.events");
    assert_eq!(events.len(), 200);
    assert!(events.iter().all(|e| e["reason"] == "Scheduled" && e["kind"] == "Event"));
    let names: BTreeSet<&str> = events.iter().map(|e| e["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 200);
    let mut phase: BTreeMap<String, u8> = BTreeMap::new();
    let mut last = String::new();
    let watch = lines("small.watch");
    for (number, line) in watch.iter().enumerate() {
        let object = &line["object"];
        assert_eq!(object["metadata"]["resourceVersion"], (number + 1).to_string());
        let created = object["metadata"]["creationTimestamp"].as_str().unwrap();
        assert!(created.starts_with("2030-06-01T12:00:"), "{created}");
        let now = match (line["type"].as_str().unwrap(), object["status"]["phase"].as_str().unwrap()) {
            ("ADDED", "Pending") => 1,
            ("MODIFIED", "Pending") => 2,
            ("MODIFIED", "Running") => 3,
            other => panic!("{other:?}"),
        };
        assert_eq!(object["spec"]["nodeName"].is_string(), now > 1);
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        assert_eq!(phase.insert(name.clone(), now).unwrap_or(0) + 1, now, "{name}");
        last = name;
    }
    assert!(!last.is_empty() && phase.len() == 200 && phase.values().all(|p| *p == 3));
}

#[test]
fn what_cannot_be_shown_is_said() {
    let folder = workspace();
    let run = |arguments: &str| podpace(folder.path(), arguments);
    assert_eq!(code(&run("run ideal.yaml --models models --out bare --pods none")), 0);
    assert_eq!(code(&run("run study.yaml --models models --out study")), 0);
    for (arguments, says) in [
        ("report nowhere --out x.html", "no such folder"),
        ("report models --out x.html", "holds no result"),
        ("report bare --openmetrics x.om", "run it again without --pods none"),
        ("report study --perfetto x.json", "choose one by --run"),
        ("report study --run nobody --out x.html", "there is no run `nobody`; there are: "),
        ("report bare --out x.html --epoch tomorrow", "no date such as 2025-01-01T00:00:00Z"),
        ("report bare --out x.html --scrape-interval 5", "--scrape-interval"),
        ("report bare", "--out <FILE>"),
    ] {
        let output = run(arguments);
        assert_eq!(code(&output), 2, "{arguments}: {}", stderr(&output));
        assert!(stderr(&output).contains(says), "{arguments}: {}", stderr(&output));
    }
    assert!(
        fs::read_dir(folder.path())
            .unwrap()
            .flatten()
            .all(|e| !e.file_name().to_string_lossy().starts_with('x'))
    );
    // The page shows what there is.
    assert_eq!(code(&run("report bare study --out all.html")), 0);
    fs::write(folder.path().join("bare/telemetry.csv"), "t_ns,pods.bound\n0,many\n").unwrap();
    let output = run("report bare --out y.html");
    assert_eq!(code(&output), 2);
    let message = "telemetry.csv: is damaged, or was changed: its SHA-256 is not the manifest's";
    assert!(stderr(&output).contains(message), "{}", stderr(&output));
    // Copied without its manifest, a result is looked at as it is.
    fs::remove_file(folder.path().join("bare/manifest.json")).unwrap();
    let output = run("report bare --out y.html");
    assert_eq!(code(&output), 2);
    assert!(
        stderr(&output).contains("telemetry.csv: is damaged: line 2: `many` is no whole number"),
        "{}",
        stderr(&output)
    );
}

/// Ends a process when the test does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        eprintln!("skipped: no {program} on this machine (Debian: apt-get install prometheus chromium)");
    }
    found
}

/// A Prometheus over blocks made of OpenMetrics texts.
struct Prometheus {
    url: String,
    _server: Running,
}

impl Prometheus {
    /// Starts it in `folder`; none where it is not installed.
    fn of(folder: &Path, texts: &[&str]) -> Option<Self> {
        if !installed("promtool") || !installed("prometheus") {
            return None;
        }
        for text in texts {
            let blocks = Command::new("promtool")
                .args(["tsdb", "create-blocks-from", "openmetrics", text, "data"])
                .current_dir(folder)
                .output()
                .unwrap();
            assert!(blocks.status.success(), "{text}: {}", String::from_utf8_lossy(&blocks.stderr));
        }
        fs::write(folder.join("prometheus.yml"), "{}\n").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Command::new("prometheus")
            .args([
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                "--storage.tsdb.retention.time=100y",
            ])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let prometheus = Self { url: format!("http://127.0.0.1:{port}"), _server: Running(server) };
        let answers = (0..600).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            !prometheus.query("2025-01-01T00:01:40Z", "vector(1)").is_empty()
        });
        assert!(answers, "prometheus does not answer within a minute");
        Some(prometheus)
    }

    /// One line a series.
    fn query(&self, time: &str, expression: &str) -> String {
        let time = format!("--time={time}");
        let output = Command::new("promtool")
            .args(["query", "instant", &time, &self.url, expression])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[test]
fn the_real_prometheus_shows_the_simulated_throughput() {
    let folder = results();
    report(folder.path(), "kube --openmetrics kube.om");
    let Some(prometheus) = Prometheus::of(folder.path(), &["kube.om"]) else { return };
    let query = |expression: &str| prometheus.query("2025-01-01T00:01:40Z", expression);
    let value = |text: &str| -> f64 {
        let number = text.rsplit_once("=> ").unwrap_or_else(|| panic!("no value: {text}")).1;
        number.split(' ').next().unwrap().parse().unwrap()
    };
    // The query of the published study; the scheduler's client has 20 tokens a second.
    let rate = value(&query(
        r#"rate(apiserver_request_total{resource="pods",subresource="binding",verb="POST"}[1m])"#,
    ));
    assert!((rate - 20.0).abs() < 0.5, "{rate}");
    let p99 = value(&query(
        "histogram_quantile(0.99, sum by (le) (rate(apiserver_request_duration_seconds_bucket{subresource=\"binding\"}[1m])))",
    ));
    assert!(p99 > 0.0 && p99 < 0.1, "{p99}");
}

/// Title of the panel and expression of every target of a dashboard.
fn targets(dashboard: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana").join(dashboard);
    let value: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let panels = value["panels"].as_array().unwrap();
    let of_panel = |panel: &Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|t| (text(&panel["title"]), text(&t["expr"]))).collect()
    };
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "{dashboard}: every panel has an id of its own");
    panels.iter().flat_map(of_panel).collect()
}

/// Every metric that a dashboard names is one that `report --openmetrics` writes, and Prometheus finds data for it: of
/// kube-scheduler or of YuniKorn.
#[test]
fn every_panel_of_the_dashboards_has_data() {
    let all: Vec<(String, String)> =
        ["scheduling.json", "podpace.json"].iter().flat_map(|name| targets(name)).collect();
    assert!(all.len() > 30);
    let folder = results();
    let yunikorn = KUBE
        .replace("name: kube\n", "name: yunikorn\n")
        .replace("kind: kube-scheduler, host: vm, client: {qps: 20, burst: 20}", "kind: yunikorn, host: vm")
        .replace("when: allBound, limit: 10m", "when: time, limit: 3m");
    fs::write(folder.path().join("yunikorn.yaml"), yunikorn).unwrap();
    let output = podpace(folder.path(), "run yunikorn.yaml --out yunikorn");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    report(folder.path(), "kube --openmetrics kube.om");
    report(folder.path(), "yunikorn --openmetrics yunikorn.om --epoch 2025-01-02T00:00:00Z");
    let written: BTreeSet<String> = ["kube.om", "yunikorn.om"]
        .iter()
        .flat_map(|name| {
            let text = fs::read_to_string(folder.path().join(name)).unwrap();
            text.lines()
                .filter(|line| !line.starts_with('#'))
                .map(|line| line.split(['{', ' ']).next().unwrap().to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    let is_metric = |word: &&str| {
        ["apiserver_", "etcd_", "scheduler_", "yunikorn_", "podpace_", "process_"]
            .iter()
            .any(|p| word.starts_with(p))
    };
    for (panel, expression) in &all {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let metrics: Vec<&str> = words.filter(is_metric).collect();
        assert!(!metrics.is_empty(), "{panel}: {expression}");
        for metric in metrics {
            assert!(written.contains(metric), "{panel}: nothing writes {metric}");
        }
    }
    let Some(prometheus) = Prometheus::of(folder.path(), &["kube.om", "yunikorn.om"]) else { return };
    for (panel, expression) in &all {
        let expression = expression.replace("$__rate_interval", "1m");
        let answers =
            |day: &str| prometheus.query(&format!("2025-01-{day}T00:01:40Z"), &expression).contains("=>");
        assert!(answers("01") || answers("02"), "{panel}: no data for {expression}");
    }
}

/// A page after the page's own script and one of ours, as a browser sees it.
#[test]
fn the_page_works_in_a_real_browser() {
    if !installed("chromium") {
        return;
    }
    let folder = results();
    report(folder.path(), "kube small --out report.html");
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    let probe = "<script>\
        document.querySelectorAll('figure details').forEach((d) => { d.open = true; });\
        setTimeout(() => {\
          const bad = [...document.querySelectorAll('figure')].filter((f) => f.querySelectorAll('details td').length === 0);\
          const svg = document.querySelector('svg.chart');\
          svg.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}));\
          document.title = JSON.stringify({errors: window.errors, empty: bad.length, charts: document.querySelectorAll('svg.chart').length,\
            said: document.getElementById('live').textContent, wide: document.documentElement.scrollWidth > innerWidth});\
        }, 300);\
      </script></body>";
    let watched = page
        .replacen(
            "<head>",
            "<head><script>window.errors = [];window.onerror = (m) => { window.errors.push(m); };</script>",
            1,
        )
        .replace("</body>", probe);
    fs::write(folder.path().join("probe.html"), watched).unwrap();
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--dump-dom",
        ])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--virtual-time-budget=4000", "--window-size=1200,900"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("file://{}", folder.path().join("probe.html").display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let title =
        dom.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")).expect("a page").0;
    let seen: Value =
        serde_json::from_str(&title.replace("&quot;", "\"")).unwrap_or_else(|e| panic!("{e}: {title}"));
    assert_eq!(seen["errors"], serde_json::json!([]), "{seen}");
    assert_eq!(seen["empty"], 0, "{seen}");
    assert!(seen["charts"].as_u64().unwrap() >= 12, "{seen}");
    assert!(seen["said"].as_str().unwrap().starts_with("at "), "{seen}");
    assert_eq!(seen["wide"], false, "the page scrolls sideways: {seen}");
}

/// The worked example of docs/ci.md: bringing the full sort back fails on a count.
#[test]
fn the_gate_fails_on_a_count_and_says_so_to_each_ci_system() {
    let folder = workspace();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let gate = fs::read_to_string(root.join("ci/example/node-sort-gate.yaml")).unwrap();
    fs::write(folder.path().join("good.yaml"), &gate).unwrap();
    assert_eq!(gate.matches("nodeSort: btree").count(), 1);
    fs::write(folder.path().join("bad.yaml"), gate.replace("nodeSort: btree", "nodeSort: fullsort")).unwrap();
    let output = podpace(folder.path(), "check good.yaml");
    assert_eq!(code(&output), 0, "{}", crate::support::stdout(&output));
    let output = podpace(folder.path(), "check bad.yaml --annotations --markdown bad.md");
    assert_eq!(code(&output), 3);
    let line = gate.lines().position(|l| l.contains("sort_comparison <= 200000")).unwrap() + 1;
    let text = crate::support::stdout(&output);
    let annotation = format!(
        "::error file=bad.yaml,line={line},title=node-sort-gate%3A node-sort-gate%3A ops.scheduler.sort_comparison <= 200000::simulated "
    );
    assert!(text.contains(&annotation), "{text}");
    let markdown = fs::read_to_string(folder.path().join("bad.md")).unwrap();
    assert!(
        markdown.starts_with("### podpace: ❌ ")
            && markdown.contains("| ❌ | node-sort-gate | `ops.scheduler.sort_comparison` | <= 200000 |"),
        "{markdown}"
    );
    let page = fs::read_to_string(root.join("docs/ci.md")).unwrap();
    let row = text.lines().find(|l| l.contains("sort_comparison")).unwrap();
    assert!(page.contains(row.trim_end()), "docs/ci.md does not show what the check prints:\n{text}");
}

/// What a threshold may name, and what the errors say.
#[test]
fn thresholds_are_checked_before_anything_is_judged() {
    let folder = workspace();
    let ideal = fs::read_to_string(folder.path().join("ideal.yaml")).unwrap();
    let check = |threshold: &str| {
        let text = format!("{ideal}thresholds: [\"{threshold}\"]\n");
        fs::write(folder.path().join("gate.yaml"), text).unwrap();
        podpace(folder.path(), "check gate.yaml --models models")
    };
    assert_eq!(code(&check("throughput.bound.mean > 1")), 0);
    assert_eq!(code(&check("throughput.bound.mean < 1")), 3);
    assert_eq!(code(&check("latency.created_to_bound.p99_s <= 1h")), 0);
    for (threshold, says) in [
        ("throughput.buond.mean > 1", "did you mean `throughput.bound.mean`?"),
        ("throughput.bound.mean", "expected METRIC OPERATOR VALUE"),
        ("ideal: throughput.bound.mean > 1", "a scenario is one run"),
        ("end_s < soon", "`soon` is no value, got `end_s < soon`"),
        ("0", "expected METRIC OPERATOR VALUE"),
    ] {
        let output = check(threshold);
        assert_eq!(code(&output), 2, "{threshold}: {}", crate::support::stdout(&output));
        let error = stderr(&output);
        assert!(error.contains(says) && error.contains("gate.yaml:"), "{threshold}: {error}");
    }
    // Relative to a committed result: 20 pods arrive per second, then 15.
    let relative = |rate: &str, more: &str| {
        let text = ideal.replace("rate: 20", &format!("rate: {rate}"));
        fs::write(
            folder.path().join("gate.yaml"),
            format!("{text}thresholds: [throughput.created.mean >= baseline - 10%]\n"),
        )
        .unwrap();
        podpace(folder.path(), &format!("check gate.yaml --models models {more}"))
    };
    assert!(stderr(&relative("20", "")).contains("name it with --baseline DIR"));
    assert_eq!(code(&relative("20", "--baseline base --update-baseline")), 0);
    assert_eq!(code(&relative("20", "--baseline base")), 0);
    assert_eq!(code(&relative("19", "--baseline base")), 0);
    assert_eq!(code(&relative("15", "--baseline base")), 3);
    fs::write(folder.path().join("base/ideal.json"), "{\"podpace\":\"0\",\"rows\":{}}").unwrap();
    assert!(stderr(&relative("20", "--baseline base")).contains("the baseline has no such row"));
    // Neither kind of check is an input of the result.
    fs::write(folder.path().join("gate.yaml"), format!("{ideal}thresholds: [\"end_s < 1\"]\n")).unwrap();
    let inputs = |file: &str| -> Value {
        let output = podpace(folder.path(), &format!("run {file} --models models --format json"));
        serde_json::from_str::<Value>(&crate::support::stdout(&output)).unwrap()["inputs"]["all"].clone()
    };
    assert_eq!(inputs("gate.yaml"), inputs("ideal.yaml"));
}

/// Runs a script as a CI system does; podpace stands in PATH.
fn ci(folder: &Path, script: &[&str], variables: &[(&str, &str)]) -> std::process::Output {
    let binary = Path::new(env!("CARGO_BIN_EXE_podpace"));
    let path =
        format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(script[0]);
    command.args(&script[1..]).current_dir(folder).env("PATH", path);
    for name in ["GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied()).output().unwrap()
}

/// What GitHub and GitLab read is YAML, and its scripts are a shell's; `${{..}}` is filled in before the shell sees it.
#[cfg(unix)]
#[test]
fn workflows_can_be_read_and_their_scripts_parse() {
    fn scripts(value: &serde_yaml::Value, found: &mut Vec<String>) {
        match value {
            serde_yaml::Value::Mapping(map) => {
                for (key, value) in map {
                    match (key.as_str(), value.as_str()) {
                        (Some("run"), Some(script)) => found.push(script.to_owned()),
                        _ => scripts(value, found),
                    }
                }
            }
            serde_yaml::Value::Sequence(list) => list.iter().for_each(|value| scripts(value, found)),
            _ => {}
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workflows = fs::read_dir(root.join(".github/workflows")).unwrap().map(|e| e.unwrap().path());
    let mut read = 0;
    for path in workflows.chain(["action.yml", "ci/gitlab.yml"].map(|name| root.join(name))) {
        let text = fs::read_to_string(&path).unwrap();
        let value: serde_yaml::Value =
            serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut found = Vec::new();
        scripts(&value, &mut found);
        for script in found {
            let parts: Vec<&str> = script.split("${{").collect();
            let filled: String = parts[0].to_owned()
                + &parts[1..]
                    .iter()
                    .map(|p| format!("X{}", p.split_once("}}").unwrap().1))
                    .collect::<String>();
            let output = Command::new("bash").args(["-n", "-c", &filled]).output().unwrap();
            assert!(output.status.success(), "{}: {filled}: {}", path.display(), stderr(&output));
            read += 1;
        }
    }
    assert!(read >= 10, "{read} scripts");
}

#[cfg(unix)]
#[test]
fn the_action_and_the_template_run() {
    let folder = workspace();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ideal = fs::read_to_string(folder.path().join("ideal.yaml")).unwrap();
    fs::create_dir(folder.path().join("my scenarios")).unwrap();
    // Profiles of the tests are not built in; the reference scheduler's profile by its real name is.
    let ideal = ideal.replace("first-fit-test", "first-fit");
    fs::write(folder.path().join("my scenarios/a.yaml"), format!("{ideal}thresholds: [pods.bound == 300]\n"))
        .unwrap();
    fs::write(folder.path().join("b.yaml"), format!("{ideal}thresholds: [pods.bound == 299]\n")).unwrap();

    // The action's last step, with the variables that its inputs become.
    let action: serde_yaml::Value =
        serde_yaml::from_str(&fs::read_to_string(root.join("action.yml")).unwrap()).unwrap();
    let steps = action["runs"]["steps"].as_sequence().unwrap();
    let run = steps.last().unwrap()["run"].as_str().unwrap();
    let action_path = root.display().to_string();
    let github = |paths: &str| {
        let variables = [
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_ACTION_PATH", action_path.as_str()),
            ("GITHUB_STEP_SUMMARY", "step.md"),
            ("PODPACE_PATHS", paths),
            ("PODPACE_BIN", "podpace"),
        ];
        ci(folder.path(), &["bash", "-e", "-c", run], &variables)
    };
    let output = github("\n  my scenarios\n");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let output = github("my scenarios/a.yaml\nb.yaml\n");
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    assert!(
        crate::support::stdout(&output).contains("::error file=b.yaml,line="),
        "{}",
        crate::support::stdout(&output)
    );
    let step = fs::read_to_string(folder.path().join("step.md")).unwrap();
    assert_eq!(step.matches("### podpace: ").count(), 2, "summaries are appended: {step}");
    let junit = fs::read_to_string(folder.path().join("podpace-report/junit.xml")).unwrap();
    assert!(junit.contains("tests=\"2\"") && junit.contains("failures=\"1\""), "{junit}");
    assert_eq!(code(&ci(folder.path(), &["sh", &format!("{action_path}/ci/check.sh")], &[])), 2, "no paths");

    let template: serde_yaml::Value =
        serde_yaml::from_str(&fs::read_to_string(root.join("ci/gitlab.yml")).unwrap()).unwrap();
    let job = &template["podpace"];
    let script: Vec<&str> =
        job["script"].as_sequence().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    let script = script.join("\n");
    let mut variables: BTreeMap<&str, &str> = job["variables"]
        .as_mapping()
        .unwrap()
        .iter()
        .map(|(k, v)| (k.as_str().unwrap(), v.as_str().unwrap()))
        .collect();
    variables.insert("PODPACE_PATHS", "\n  my scenarios\nb.yaml\n");
    let variables: Vec<(&str, &str)> = variables.into_iter().collect();
    fs::remove_dir_all(folder.path().join("podpace-report")).unwrap();
    let output = ci(folder.path(), &["sh", "-e", "-c", &script], &variables);
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    let report = job["artifacts"]["reports"]["junit"].as_str().unwrap();
    let report = folder.path().join(report.replace("$PODPACE_REPORT", "podpace-report"));
    let junit = fs::read_to_string(report).unwrap();
    assert!(junit.contains("tests=\"2\"") && junit.contains("failures=\"1\""), "{junit}");
}
