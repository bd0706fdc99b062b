//! The native format: what is written is what is read, in both encodings, with the same bytes each time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use podpace::trace::model::{Compression, Encoding, Manifest};
use podpace::trace::{self, ImportOptions, PodBatch};
use proptest::prelude::*;

const SPEC: &str = r#"
apiVersion: podpace/v1
kind: TraceSpec
name: t
pods: 3000
arrivals: {process: poisson, rate: 20}
sizes:
  - {weight: 3, requests: {cpu: 100m, memory: 500Mi}}
  - {weight: 1, requests: {cpu: 4, memory: 16Gi, nvidia.com/gpu: 1}}
durations: {distribution: lognormal, p50: 60s, p99: 20m}
apps: {pods: 20}
gangs: {share: 0.2, size: 8}
queues: [root.a, root.b]
users: [ann, bob]
priorities: [{weight: 9, value: 0}, {weight: 1, value: 100}]
nodes: [{count: 20, allocatable: {cpu: 32, memory: 128Gi, pods: 110, nvidia.com/gpu: 4}}]
"#;

fn generate(dir: &Path, name: &str, spec: &str, seed: u64, options: &ImportOptions) -> (PathBuf, Manifest) {
    let file = dir.join("spec.yaml");
    std::fs::write(&file, spec).unwrap();
    let out = dir.join(name);
    let m = trace::generate(&file, seed, &out, options).unwrap_or_else(|e| panic!("{e}"));
    (out, m)
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&p).unwrap()))
        .collect()
}

fn options(encoding: Encoding, compression: Compression) -> ImportOptions {
    ImportOptions { encoding, compression, ..ImportOptions::default() }
}

#[test]
fn same_seed_same_bytes_and_other_seed_other_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let o = ImportOptions::default();
    let (a, m) = generate(dir.path(), "a", SPEC, 7, &o);
    let (b, _) = generate(dir.path(), "b", SPEC, 7, &o);
    let (c, _) = generate(dir.path(), "c", SPEC, 8, &o);
    assert!(m.counts.pods >= 3000 && m.counts.nodes == 20);
    assert_eq!(files(&a), files(&b));
    assert_ne!(files(&a)["pods.parquet"], files(&c)["pods.parquet"]);
    let findings = trace::validate(&a).unwrap();
    assert!(!findings.has_errors(), "{findings}");
}

#[test]
fn import_export_import_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = generate(dir.path(), "first", SPEC, 1, &ImportOptions::default());
    for (name, compression) in
        [("plain", Compression::None), ("gz", Compression::Gzip), ("zst", Compression::Zstd)]
    {
        let json = dir.path().join(name);
        trace::export(&first, "native", &json, &options(Encoding::Jsonl, compression)).unwrap();
        let back = dir.path().join(format!("{name}-back"));
        trace::import("native", std::slice::from_ref(&json), &back, &ImportOptions::default()).unwrap();
        assert_eq!(files(&first), files(&back), "{name}");
        let rows =
            |p: &Path| trace::open(p).unwrap().pods().unwrap().rows().map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!(rows(&first), rows(&json));
    }
}

#[test]
fn spilling_to_disk_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (a, _) = generate(dir.path(), "a", SPEC, 1, &ImportOptions::default());
    let small = ImportOptions { sort_memory_bytes: 20_000, ..ImportOptions::default() };
    let (b, _) = generate(dir.path(), "b", SPEC, 1, &small);
    assert_eq!(files(&a), files(&b));
}

#[test]
fn a_trace_is_whole_or_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let (a, _) = generate(dir.path(), "a", SPEC, 1, &ImportOptions::default());
    let before = files(&a);
    let file = dir.path().join("spec.yaml");
    assert!(trace::generate(&file, 2, &a, &ImportOptions::default()).is_err(), "no silent overwriting");
    assert_eq!(files(&a), before);
    let over = ImportOptions { overwrite: true, ..ImportOptions::default() };
    trace::generate(&file, 2, &a, &over).unwrap();
    assert_ne!(files(&a), before);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn written_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("pods.jsonl"), "{\"submit_ns\":0,\"seq\":0,\"uid\":\"a\",\"spec_id\":0}\n{\"submit_ns\":5,\"seq\":1,\"uid\":\"b\",\"spec_id\":0,\"run_ns\":9}\n").unwrap();
    std::fs::write(dir.path().join("specs.jsonl"), "{\"spec_id\":0,\"requests\":{\"cpu_millicores\":100}}\n")
        .unwrap();
    let reader = trace::open(dir.path()).unwrap();
    let mut batch = PodBatch::default();
    assert!(reader.pods().unwrap().next_batch(&mut batch).unwrap());
    assert_eq!((batch.len(), batch.uid.get(1), batch.run_ns[1]), (2, "b", Some(9)));
    assert!(!trace::validate(dir.path()).unwrap().has_errors());
    std::fs::write(dir.path().join("pods.jsonl"), "{\"submit_ns\":5,\"seq\":0,\"uid\":\"a\",\"spec_id\":7}\n{\"submit_ns\":1,\"seq\":0,\"uid\":\"a\",\"spec_id\":0,\"min_member\":2}\n").unwrap();
    let codes: Vec<String> =
        trace::validate(dir.path()).unwrap().findings.into_iter().map(|f| f.code).collect();
    for code in ["E002", "E003", "E004", "E005", "E011", "W001", "W004"] {
        assert!(codes.contains(&code.to_string()), "{code} in {codes:?}");
    }
    std::fs::write(dir.path().join("pods.jsonl"), "{\"submit_ns\":5}\n").unwrap();
    assert_eq!(trace::validate(dir.path()).unwrap().findings[0].code, "E001");
}

#[test]
fn newer_versions_and_other_folders_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(trace::open(dir.path()).unwrap_err().to_string().contains("not a trace"));
    std::fs::write(dir.path().join("trace.json"), r#"{"format":"podpace-trace","version":99}"#).unwrap();
    assert!(trace::open(dir.path()).unwrap_err().to_string().contains("version 99"));
}

#[test]
fn every_finding_is_documented() {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/traces.md")).unwrap();
    for (code, _) in podpace::trace::validate::CODES {
        assert!(docs.contains(code), "docs/traces.md lacks {code}");
    }
    for importer in trace::importers() {
        assert!(docs.contains(&format!("`{}`", importer.name())), "docs/traces.md lacks {}", importer.name());
    }
}

#[test]
fn exports() {
    let dir = tempfile::tempdir().unwrap();
    let (a, m) = generate(dir.path(), "a", SPEC, 3, &ImportOptions::default());
    let o = ImportOptions::default();
    let swf = dir.path().join("a.swf");
    trace::export(&a, "swf", &swf, &o).unwrap();
    let back = trace::import("swf", &[swf], &dir.path().join("swf"), &o).unwrap();
    assert_eq!((back.counts.pods, back.counts.nodes), (m.counts.pods, 1));
    let k8s = dir.path().join("k8s");
    trace::export(&a, "k8s", &k8s, &o).unwrap();
    let schedule = std::fs::read_to_string(k8s.join("schedule.csv")).unwrap();
    let [pods, nodes, setup] = ["pods.yaml", "nodes.yaml", "setup.yaml"]
        .map(|name| std::fs::read_to_string(k8s.join(name)).unwrap());
    // In order of time, and each row's document is where it says.
    let mut last = 0;
    for line in schedule.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let at: u64 = fields[0].parse().unwrap();
        assert!(at >= last, "{line}");
        last = at;
        let text = if fields[2] == "Pod" { &pods } else { &nodes };
        let (from, bytes): (usize, usize) = (fields[5].parse().unwrap(), fields[6].parse().unwrap());
        let document: serde_json::Value = serde_yaml::from_str(&text[from..from + bytes]).unwrap();
        assert_eq!(
            (&document["kind"], &document["metadata"]["name"]),
            (&fields[2].into(), &fields[4].into())
        );
    }
    // What the API server admits: a priority has a class of that value, which is in the setup.
    for class in pods.lines().filter_map(|l| l.trim().strip_prefix("priorityClassName: ")) {
        assert!(setup.contains(&format!("name: {class}\n")), "{class}");
    }
    for name in ["replay.py", "stages.yaml"] {
        assert!(k8s.join(name).exists(), "{name}");
    }
    assert_eq!(schedule.lines().filter(|l| l.contains(",create,Pod,")).count() as u64, m.counts.pods);
    let back = trace::import(
        "k8s-list",
        &[k8s.join("pods.yaml"), k8s.join("nodes.yaml")],
        &dir.path().join("list"),
        &o,
    )
    .unwrap();
    assert_eq!((back.counts.pods, back.counts.nodes), (m.counts.pods, 20));
    trace::export(&a, "csv", &dir.path().join("csv"), &o).unwrap();
    let csv = std::fs::read_to_string(dir.path().join("csv/pods.csv")).unwrap();
    assert_eq!(csv.lines().count() as u64, m.counts.pods + 1);
    let sk = dir.path().join("a.sktrace.json");
    trace::export(&a, "simkube", &sk, &o).unwrap();
    let back = trace::import("simkube", &[sk], &dir.path().join("sk"), &o).unwrap();
    assert_eq!(back.counts.pods, m.counts.pods);
    assert!(trace::export(&a, "yaml", &dir.path().join("x"), &o).is_err());
}

/// kube-apiserver 1.36.3 refuses a pod with huge pages and no limit of them ("Limit must be set for non overcommitable resources").
#[test]
fn what_cannot_be_overcommitted_has_limits() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("a");
    std::fs::create_dir(&from).unwrap();
    let put = |name: &str, text: &str| std::fs::write(from.join(name), text).unwrap();
    put("pods.jsonl", "{\"submit_ns\":0,\"seq\":0,\"uid\":\"p\",\"spec_id\":0}\n");
    put(
        "specs.jsonl",
        "{\"spec_id\":0,\"requests\":{\"cpu_millicores\":100,\"hugepages-2Mi\":4194304,\"nvidia.com/gpu\":1}}\n",
    );
    let k8s = dir.path().join("k8s");
    trace::export(&from, "k8s", &k8s, &ImportOptions::default()).unwrap();
    let pods = std::fs::read_to_string(k8s.join("pods.yaml")).unwrap();
    let pod: serde_json::Value = serde_yaml::from_str(pods.trim_start_matches("---\n")).unwrap();
    assert_eq!(
        pod["spec"]["containers"][0]["resources"]["limits"],
        serde_json::json!({"hugepages-2Mi": "4194304", "nvidia.com/gpu": "1"})
    );
}

#[test]
fn arrival_processes_have_their_rate() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        "{process: constant, rate: 50}",
        "{process: poisson, rate: 50}",
        "{process: weibull, rate: 50, shape: 0.6}",
        "{process: mmpp, rates: [90, 10], stay: [100ms, 100ms]}",
        "{process: diurnal, rate: 50, amplitude: 0.8, period: 10s}",
        "{process: batch, size: 100, every: 2s}",
        "{process: renewal, gaps: [0, 0, 0.08]}",
        "{process: empirical, step: 10s, rates: [90, 0, 60]}",
        "{process: empirical, step: 10s, rates: [90, 0, 60], gaps: [0, 0, 7, 9]}",
    ];
    for (i, arrivals) in cases.iter().enumerate() {
        let spec = format!(
            "apiVersion: podpace/v1\nkind: TraceSpec\nduration: 400s\narrivals: {arrivals}\nsizes: [{{requests: {{cpu: 1}}}}]\n"
        );
        let (_, m) = generate(dir.path(), &format!("t{i}"), &spec, 5, &ImportOptions::default());
        let rate = m.counts.pods as f64 / 400.0;
        assert!((rate - 50.0).abs() < 4.0, "{arrivals}: {rate} pods/s");
    }
}

/// Pods so rare that their times are beyond all that can be written come at the end of time; batches at one time are
/// bounded by their number.
#[test]
fn rare_pods_and_batches_at_once_end() {
    let dir = tempfile::tempdir().unwrap();
    for (i, arrivals) in [
        "{process: mmpp, rates: [0.000000001, 0], stay: [1000000h, 1000000h]}",
        "{process: empirical, step: 1000000h, rates: [0.000000001, 0]}",
        "{process: batch, size: 3, every: 0s}",
    ]
    .iter()
    .enumerate()
    {
        let spec = format!(
            "apiVersion: podpace/v1\nkind: TraceSpec\npods: 40\narrivals: {arrivals}\nsizes: [{{requests: {{cpu: 1}}}}]\n"
        );
        let (_, m) = generate(dir.path(), &format!("t{i}"), &spec, 5, &ImportOptions::default());
        assert_eq!(m.counts.pods, 40, "{arrivals}");
    }
}

/// A pod that sits on a node from the beginning runs for what is left when a window begins, if anything.
#[test]
fn a_window_takes_pods_on_nodes_that_still_run() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("a");
    std::fs::create_dir(&from).unwrap();
    let s = 1_000_000_000u64;
    let mut pods = String::new();
    let mut events = String::new();
    for (seq, (uid, run)) in
        [("over", "10"), ("just", "100"), ("runs", "250"), ("stays", ""), ("told", "")].iter().enumerate()
    {
        let run = if run.is_empty() { String::new() } else { format!(",\"run_ns\":{run}000000000") };
        pods += &format!("{{\"submit_ns\":0,\"seq\":{seq},\"uid\":\"{uid}\",\"spec_id\":0{run}}}\n");
        events +=
            &format!("{{\"t_ns\":0,\"seq\":{seq},\"op\":\"pod-bound\",\"uid\":\"{uid}\",\"node\":\"n\"}}\n");
    }
    let put = |name: &str, text: &str| std::fs::write(from.join(name), text).unwrap();
    put("pods.jsonl", &pods);
    put("events.jsonl", &events);
    put("specs.jsonl", "{\"spec_id\":0,\"requests\":{\"cpu_millicores\":100}}\n");
    put(
        "nodes.jsonl",
        "{\"t_ns\":0,\"seq\":0,\"op\":\"add\",\"name\":\"n\",\"allocatable\":{\"cpu_millicores\":1000,\"pods\":10}}\n",
    );
    put("outcomes.jsonl", &format!("{{\"uid\":\"told\",\"finished_ns\":{},\"node\":\"n\"}}\n", 50 * s));
    let window = |from_ns: u64| {
        let out = dir.path().join(format!("w{from_ns}"));
        let settings = trace::Transform { from_ns, ..trace::Transform::default() };
        trace::transform(&from, &settings, 1, &out, &ImportOptions::default()).unwrap();
        assert!(!trace::validate(&out).unwrap().has_errors());
        let rows = trace::open(&out).unwrap().pods().unwrap().rows();
        rows.map(|p| p.unwrap()).map(|p| (p.uid, p.run_ns.map(|n| n / s))).collect::<Vec<_>>()
    };
    let all = window(0);
    assert_eq!(all.len(), 5);
    assert_eq!(window(100 * s), [("runs".to_string(), Some(150)), ("stays".to_string(), None)]);
    let earlier = window(40 * s);
    assert_eq!(earlier.iter().map(|p| p.1).collect::<Vec<_>>(), [Some(60), Some(210), None, None]);
}

#[test]
fn durations_follow_their_distribution() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        ("{distribution: lognormal, p50: 60s, p99: 20m}", 60.0),
        ("{distribution: pareto, min: 10s, alpha: 1.0}", 20.0),
        ("{distribution: exponential, mean: 100s}", 69.3),
        ("{distribution: weibull, scale: 100s, shape: 1.0}", 69.3),
        (
            "{distribution: bimodal, share: 0.9, first: {distribution: constant, value: 5s}, second: {distribution: constant, value: 1h}}",
            5.0,
        ),
    ];
    for (i, (durations, median)) in cases.iter().enumerate() {
        let spec = format!(
            "apiVersion: podpace/v1\nkind: TraceSpec\npods: 20000\narrivals: {{process: constant, rate: 100}}\nsizes: [{{requests: {{cpu: 1}}}}]\ndurations: {durations}\n"
        );
        let (path, _) = generate(dir.path(), &format!("d{i}"), &spec, 5, &ImportOptions::default());
        let got = trace::stats(&path).unwrap().run_ns.p50 as f64 / 1e9;
        assert!((got / median - 1.0).abs() < 0.06, "{durations}: {got} s");
    }
    let spec = "apiVersion: podpace/v1\nkind: TraceSpec\npods: 5000\narrivals: {process: constant, rate: 100, initial: 40}\nsizes: [{requests: {cpu: 1}}]\ndurations: {distribution: empirical, quantiles: [5s, 5s, 20s]}\n";
    let (path, _) = generate(dir.path(), "q", spec, 5, &ImportOptions::default());
    let stats = trace::stats(&path).unwrap();
    assert_eq!((stats.run_ns.min, stats.run_ns.p50 <= 5_000_000_000), (5_000_000_000, true));
    assert_eq!(stats.arrivals[0].abs_diff(stats.arrivals[1]).div_ceil(2), 20, "40 are there at time 0");
    let spec = "apiVersion: podpace/v1\nkind: TraceSpec\npods: 5000\narrivals: {process: constant, rate: 100}\nsizes: [{requests: {cpu: 1}}]\ndurations: {distribution: empirical, trace: d4}\n";
    let (path, _) = generate(dir.path(), "e", spec, 5, &ImportOptions::default());
    let q = trace::stats(&path).unwrap().run_ns;
    assert_eq!((q.min, q.max), (5_000_000_000, 3_600_000_000_000));
}

#[test]
fn sizes_follow_their_distribution() {
    let dir = tempfile::tempdir().unwrap();
    let made = |name: &str, sizes: &str| {
        let spec = format!(
            "apiVersion: podpace/v1\nkind: TraceSpec\npods: 20000\narrivals: {{process: constant, rate: 100}}\nsizes: {sizes}\n"
        );
        let (path, m) = generate(dir.path(), name, &spec, 5, &ImportOptions::default());
        let stats = trace::stats(&path).unwrap();
        let of = |key: &str| stats.resources.get(key).map(|r| r.request.clone()).unwrap_or_default();
        (of("cpu_millicores"), of("memory_bytes"), m)
    };
    let (cpu, memory, m) = made(
        "lognormal",
        "[{requests: {cpu: {distribution: lognormal, p50: 500m, p99: 8, max: 4, step: 100m}, memory: 2Gi}}]",
    );
    assert_eq!((cpu.p50, cpu.max, memory.min), (500, 4000, 2 << 30));
    assert!(m.counts.specs <= 40, "amounts are multiples of the step: {} specs", m.counts.specs);
    let (_, memory, _) = made("pareto", "[{requests: {memory: {distribution: pareto, min: 1Gi, alpha: 1}}}]");
    assert_eq!((memory.min, memory.p50 >> 30), (1 << 30, 2), "half ask for more than twice the least");
    let two = "[{requests: {cpu: {distribution: bimodal, share: 0.8, first: {distribution: constant, value: 100m}, \
               second: {distribution: constant, value: 4}}}}]";
    let (cpu, _, m) = made("bimodal", two);
    assert_eq!((cpu.p50, cpu.p99, m.counts.specs), (100, 4000, 2));
    let (again, _, m) = made("drawn", "[{trace: bimodal}]");
    assert_eq!((again.p50, again.p99, m.counts.specs), (100, 4000, 2));
}

/// What was generated from known distributions is fitted with them, and what the fitted spec generates is near.
#[test]
fn a_fitted_spec_generates_the_like() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        (
            "poisson",
            "{process: poisson, rate: 20}",
            "{distribution: lognormal, p50: 60s, p99: 20m}",
            "lognormal",
        ),
        (
            "mmpp",
            "{process: mmpp, rates: [1, 60], stay: [20s, 5s]}",
            "{distribution: exponential, mean: 90s}",
            "",
        ),
        (
            "batch",
            "{process: batch, size: 40, every: 20s}",
            "{distribution: constant, value: 30s}",
            "constant",
        ),
    ];
    for (process, arrivals, durations, family) in cases {
        let spec = format!(
            "apiVersion: podpace/v1\nkind: TraceSpec\npods: 20000\narrivals: {arrivals}\ndurations: {durations}\napps: {{pods: 10}}\n\
             sizes: [{{weight: 3, requests: {{cpu: 100m, memory: 1Gi}}}}, {{weight: 1, requests: {{cpu: 2, memory: 4Gi}}, labels: {{a: b}}}}]\n\
             priorities: [{{weight: 9, value: 0}}, {{weight: 1, value: 100}}]\nqueues: [root.a, root.b]\n\
             nodes: [{{count: 7, allocatable: {{cpu: 8, memory: 32Gi, pods: 110}}}}]\n"
        );
        let (path, _) = generate(dir.path(), process, &spec, 5, &ImportOptions::default());
        let fit = trace::fit(&path, 3).unwrap();
        println!("{fit}\n{}", fit.spec);
        // Of so few changes of state a fit may think otherwise; it must be near all the same.
        assert!(fit.arrivals[0].name == process || process == "mmpp", "{process}: {:?}", fit.arrivals);
        assert!(family.is_empty() || fit.durations[0].name == family, "{:?}", fit.durations);
        for row in &fit.compared {
            let limit = match (row.quantity.as_str(), process) {
                ("pods in a step", _) => 0.25,
                ("gap", "mmpp") => 0.15,
                _ => 0.06,
            };
            assert!(row.ks < limit, "{process}: {row:?}");
        }
        let rate = fit.compared.iter().find(|row| row.quantity == "rate").unwrap();
        assert!((rate.generated_mean / rate.source_mean - 1.0).abs() < 0.15, "{process}: {rate:?}");
        // The same trace and seed give the same bytes, and the written spec generates.
        assert_eq!(trace::fit(&path, 3).unwrap().spec, fit.spec);
        let file = dir.path().join("fitted.yaml");
        trace::fit::write(&fit, &file).unwrap();
        let out = dir.path().join(format!("{process}-again"));
        let m = trace::generate(&file, 3, &out, &ImportOptions::default()).unwrap();
        assert_eq!((m.counts.nodes, m.counts.specs), (7, 2));
    }
}

#[test]
fn bad_specs_say_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    for (text, expected) in [
        (
            "apiVersion: podpace/v1\nkind: TraceSpec\npods: 1\narrivals: {process: nope}\nsizes: [{requests: {}}]\n",
            "nope",
        ),
        (
            "apiVersion: podpace/v1\nkind: TraceSpec\npods: 1\narrivals: {process: poisson}\nsizes: [{requests: {}}]\n",
            "arrivals.rate",
        ),
        (
            "apiVersion: podpace/v1\nkind: TraceSpec\narrivals: {process: poisson, rate: 1}\nsizes: [{requests: {}}]\n",
            "pods",
        ),
        (
            "apiVersion: podpace/v1\nkind: TraceSpec\npods: 1\nfoo: 1\narrivals: {process: poisson, rate: 1}\nsizes: []\n",
            "foo",
        ),
        (
            "apiVersion: podpace/v1\nkind: TraceSpec\npods: 1\narrivals: {process: poisson, rate: 1}\nsizes: [{requests: {cpu: abc}}]\n",
            "abc",
        ),
        (
            "apiVersion: podpace/v1\nkind: TraceSpec\nduration: 1h\narrivals:\n  process: batch\n  size: 5\n  every: 0s\nsizes: [{requests: {}}]\n",
            "line 7: arrivals.every",
        ),
        (
            "apiVersion: podpace/v1\nkind: TraceSpec\nduration: 1h\narrivals: {process: mmpp, rates: [0.0000001, 0], stay: [1ms, 1ms]}\nsizes: [{requests: {}}]\n",
            "line 4: arrivals.rates",
        ),
    ] {
        let file = dir.path().join("s.yaml");
        std::fs::write(&file, text).unwrap();
        let e = trace::generate(&file, 1, &dir.path().join("o"), &ImportOptions::default())
            .unwrap_err()
            .to_string();
        assert!(e.contains(expected) && e.contains("s.yaml"), "{e}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_rows_survive_both_encodings(rows in prop::collection::vec(
        (any::<u32>(), "\\PC{0,8}", "\\PC{0,8}", any::<i32>(), any::<Option<u32>>()), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut text = String::new();
        let mut times: Vec<u32> = rows.iter().map(|r| r.0).collect();
        times.sort_unstable();
        for (i, (_, app, queue, priority, run)) in rows.iter().enumerate() {
            let row = serde_json::json!({"submit_ns": times[i], "seq": i, "uid": format!("u{i}"), "spec_id": 0, "app": app, "queue": queue, "priority": priority, "run_ns": run});
            text.push_str(&format!("{row}\n"));
        }
        let hand = dir.path().join("hand");
        std::fs::create_dir(&hand).unwrap();
        std::fs::write(hand.join("pods.jsonl"), text).unwrap();
        std::fs::write(hand.join("specs.jsonl"), "{\"spec_id\":0,\"requests\":{}}\n").unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        trace::import("native", std::slice::from_ref(&hand), &a, &options(Encoding::Parquet, Compression::None)).unwrap();
        trace::import("native", std::slice::from_ref(&a), &b, &options(Encoding::Jsonl, Compression::Zstd)).unwrap();
        let read = |p: &Path| trace::open(p).unwrap().pods().unwrap().rows().map(Result::unwrap).collect::<Vec<_>>();
        prop_assert_eq!(read(&hand), read(&a));
        prop_assert_eq!(read(&hand), read(&b));
    }
}
