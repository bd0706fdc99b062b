//! Recorded traces run through both schedulers: every pod is accounted for, and a run can be repeated.
//!
//! The samples in `traces/` always; the larger ones from `PODPACE_TRACES` (or the folder beside the checkout) where they are.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use podpace::experiment::run::{Completed, Environment, RunSpec};
use podpace::scenario::Document;
use podpace::trace::{self, ImportOptions};

use crate::{samples, shipped};

const SCHEDULERS: [&str; 2] = ["kube-scheduler", "yunikorn"];
/// For traces that bring no nodes.
const NODES: &str = "{nodes: [{count: 200, template: {allocatable: {cpu: 64, memory: 512Gi, pods: 250, ephemeral-storage: 1Ti}}}]}";

/// Imports, and runs with both schedulers until all is bound; a pod that fits nowhere stays and is counted.
fn replay(format: &str, paths: &[PathBuf], workload: &str) -> Vec<(u64, u64)> {
    let dir = tempfile::tempdir().unwrap();
    let manifest = trace::import(format, paths, &dir.path().join("trace"), &ImportOptions::default())
        .unwrap_or_else(|e| panic!("{e}"));
    let findings = trace::validate(&dir.path().join("trace")).unwrap();
    assert!(!findings.has_errors(), "{findings}");
    let cluster = if manifest.counts.nodes == 0 { NODES } else { "{}" };
    SCHEDULERS
        .map(|scheduler| {
            let mut text = String::new();
            writeln!(text, "apiVersion: podpace/v1\nkind: Scenario\nname: replay\ncluster: {cluster}")
                .unwrap();
            writeln!(text, "scheduler: {{kind: {scheduler}}}\nworkload: {{trace: trace{workload}}}").unwrap();
            let document = Document::parse("replay.yaml", &text, Some(dir.path())).unwrap();
            let run = simulate(RunSpec::of_scenario(document).unwrap_or_else(|e| panic!("{}", e[0])));
            let counts = run.summary.counts;
            println!(
                "{format} {scheduler}: {counts:?} {:?} {:?}",
                run.summary.pending_reasons, run.summary.notes
            );
            assert_eq!(counts.created, counts.total, "every pod of the trace is created");
            assert_eq!(counts.bound + counts.pending + counts.failed, counts.created);
            let reasons: u64 = run.summary.pending_reasons.values().sum();
            assert_eq!(
                reasons, counts.pending,
                "each pending pod has one reason: {:?}",
                run.summary.pending_reasons
            );
            (counts.total, counts.bound)
        })
        .to_vec()
}

fn simulate(spec: RunSpec) -> Completed {
    spec.simulate(&Environment::built_in()).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn shipped_samples_replay() {
    assert_eq!(replay("k8s-list", &[shipped("kubectl")], ""), [(10, 10); 2]);
    for sktrace in ["bare-pods", "cronjob", "dsb-scaling"] {
        let counts = replay("simkube", &[shipped(&format!("simkube/{sktrace}.sktrace"))], "");
        assert_eq!(counts[0], counts[1], "{sktrace}");
        assert_eq!(counts[0].0, counts[0].1, "{sktrace}: all fit");
    }
    let openb = replay("openb", &[shipped("openb")], "");
    assert_eq!((openb[0].0, openb[1].0), (326, 326));
    let opendc = replay("opendc", &[shipped("opendc/bitbrains-small")], "");
    assert_eq!(opendc[0].0, opendc[1].0);
}

#[test]
fn example_scenarios_with_traces_run() {
    for (scenario, pods) in [("openb", 326), ("google-2011", 1328), ("week", 10)] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("scenarios/{scenario}.yaml"));
        let document = Document::load(&file).unwrap();
        let run = simulate(RunSpec::of_scenario(document).unwrap());
        assert_eq!(run.summary.counts.created, pods, "{scenario}");
        assert_eq!(run.summary.counts.bound + run.summary.counts.pending, pods, "{scenario}");
    }
}

/// For DLRM, which publishes no nodes: both roles, with what its instances ask for.
const DLRM_NODES: &str = "{nodes: [\
    {count: 4000, template: {labels: {alibabacloud.com/role: CN}, allocatable: {cpu: 192, memory: 2Ti, pods: 110, \
      ephemeral-storage: 20Ti, alibabacloud.com/rdma-percent: 100}}}, \
    {count: 2000, template: {labels: {alibabacloud.com/role: HN}, allocatable: {cpu: 128, memory: 1Ti, pods: 110, \
      ephemeral-storage: 20Ti, alibabacloud.com/rdma-percent: 100, nvidia.com/gpu: 8}}}]}";

/// Every sample through import, validate, stats and both schedulers; counts are those of where the samples came from
/// (rows of their PROVENANCE.txt). `PODPACE_TRACES_WHOLE=1` runs the long ones whole, otherwise a part of their time:
/// `PODPACE_TRACES_WHOLE=1 cargo test --release --test trace every_sample -- --nocapture` prints the table.
#[test]
fn every_sample_runs_through_both_schedulers() {
    let Some(s) = samples() else { return };
    let whole = std::env::var_os("PODPACE_TRACES_WHOLE").is_some();
    // Name, format, files, rows read of the main table, pods, nodes, part that is run.
    type Case<'a> = (&'a str, &'a str, Vec<&'a str>, u64, u64, u64, &'a str);
    let day = "transform: {window: {to: 24h}}";
    let cases: Vec<Case<'_>> = vec![
        ("openb", "openb", vec!["openb"], 8152, 8152, 1523, ""),
        (
            "openb, cpu050",
            "openb",
            vec!["openb/variants/openb_pod_list_cpu050.csv.gz", "openb/openb_node_list_gpu_node.csv"],
            7439,
            7439,
            1213,
            "",
        ),
        (
            "openb, gpuspec33",
            "openb",
            vec!["openb/variants/openb_pod_list_gpuspec33.csv.gz", "openb/openb_node_list_all_node.csv"],
            8152,
            8152,
            1523,
            "transform: {window: {to: 3000h}}",
        ),
        (
            "openb, multigpu20",
            "openb",
            vec!["openb/variants/openb_pod_list_multigpu20.csv.gz", "openb/openb_node_list_all_node.csv"],
            8324,
            8324,
            1523,
            "transform: {loadScale: 0.2}",
        ),
        ("dlrm", "dlrm", vec!["alibaba-gpu-v2025-dlrm"], 23871, 23871, 0, "transform: {loadScale: 0.1}"),
        (
            "google-2011",
            "google-2011",
            vec!["google-2011"],
            688_564,
            282_755,
            12_583,
            "start: backlog, transform: {window: {to: 5m}, loadScale: 0.05}",
        ),
        (
            "NASA-iPSC",
            "swf",
            vec!["swf/NASA-iPSC-1993-3.1-cln.swf.gz"],
            18239,
            18239,
            1,
            "transform: {window: {to: 168h}}",
        ),
        ("wagap", "swf", vec!["swf/wagap-2013.swf.gz"], 17900, 19169, 68, day),
        ("simkube bare-pods", "simkube", vec!["simkube/bare-pods.sktrace"], 4, 4, 0, ""),
        ("simkube ci-action", "simkube", vec!["simkube/ci-action-cronjob.sktrace"], 3, 3, 0, ""),
        ("simkube cronjob", "simkube", vec!["simkube/cronjob.sktrace"], 3, 3, 0, ""),
        ("simkube dsb-scaling", "simkube", vec!["simkube/dsb-scaling.sktrace"], 19, 54, 0, ""),
        ("simkube large", "simkube", vec!["simkube/testutils-large_trace.json.gz"], 89, 59, 0, ""),
        ("simkube trace", "simkube", vec!["simkube/testutils-trace.json"], 1, 2, 0, ""),
        ("simkube validation", "simkube", vec!["simkube/testutils-validation_trace.json"], 1, 1, 0, ""),
        ("kubectl dump", "k8s-list", vec!["kube-state-metrics/kubectl_get_pods_jobs.json"], 10, 10, 0, ""),
        (
            "kube_job_owner",
            "kube-state-metrics",
            vec!["kube-state-metrics/prom2parquet_kube_job_owner_2024041723.parquet"],
            3480,
            1,
            0,
            "",
        ),
        ("audit, falco", "audit", vec!["k8s-audit/falco"], 0, 9, 0, ""),
        ("audit, khi", "audit", vec!["k8s-audit/khi"], 0, 1, 0, ""),
    ];
    let mut table = String::new();
    for (name, format, files, read, pods, nodes, part) in cases {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("trace");
        let paths: Vec<PathBuf> = files.iter().map(|file| s.join(file)).collect();
        let m = trace::import(format, &paths, &out, &ImportOptions::default())
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let most = m.report.tables.values().map(|t| t.read).filter(|n| *n == read).count();
        assert!(read == 0 || most > 0, "{name}: {read} rows expected, read {}", m.report);
        assert_eq!((m.counts.pods, m.counts.nodes), (pods, nodes), "{name}");
        let findings = trace::validate(&out).unwrap();
        assert!(!findings.has_errors(), "{name}: {findings}");
        assert_eq!(trace::stats(&out).unwrap().counts.pods, pods, "{name}");
        let cluster = match (nodes, name) {
            (0, "dlrm") => DLRM_NODES,
            (0, _) => NODES,
            _ => "{}",
        };
        let part = if part.is_empty() || whole { String::new() } else { format!(", {part}") };
        write!(table, "{name:20} {pods:>8} pods {nodes:>6} nodes").unwrap();
        for scheduler in SCHEDULERS {
            let text = format!(
                "apiVersion: podpace/v1\nkind: Scenario\nname: replay\ncluster: {cluster}\nscheduler: {{kind: {scheduler}}}\nworkload: {{trace: trace{part}}}\n"
            );
            let document = Document::parse("replay.yaml", &text, Some(dir.path())).unwrap();
            let run = simulate(RunSpec::of_scenario(document).unwrap_or_else(|e| panic!("{}", e[0])));
            let c = run.summary.counts;
            assert_eq!(c.created, c.total, "{name}, {scheduler}: every pod is created");
            assert_eq!(c.bound + c.pending + c.failed, c.created, "{name}, {scheduler}");
            assert!(c.bound > 0, "{name}, {scheduler}: {:?}", run.summary.pending_reasons);
            if part.is_empty() {
                assert_eq!(c.total, pods, "{name}, {scheduler}");
            }
            write!(table, "  {scheduler}: {} of {} bound", c.bound, c.total).unwrap();
        }
        table.push('\n');
    }
    println!("{table}");
}
