//! Recorded traces run through both schedulers: every pod is accounted for, and a run can be repeated.
//!
//! The samples in `traces/` always; the larger ones from `PODPACE_TRACES` (or the folder beside the checkout) where they are.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use podpace::experiment::run::{Completed, Environment, RunSpec};
use podpace::scenario::Document;
use podpace::trace::{self, ImportOptions};

const SCHEDULERS: [&str; 2] = ["kube-scheduler", "yunikorn"];
/// For traces that bring no nodes.
const NODES: &str = "{nodes: [{count: 200, template: {allocatable: {cpu: 64, memory: 512Gi, pods: 250, ephemeral-storage: 1Ti}}}]}";

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("traces").join(path)
}

fn samples() -> Option<PathBuf> {
    let dir = std::env::var_os("PODPACE_TRACES").map(PathBuf::from).or_else(|| {
        let mut at = Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf();
        while at.pop() {
            if at.join("shared/traces").is_dir() {
                return Some(at.join("shared/traces"));
            }
        }
        None
    });
    dir.filter(|d| d.is_dir())
}

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
    for (scenario, pods) in [("openb", 326), ("google-2011", 1328)] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("scenarios/{scenario}.yaml"));
        let document = Document::load(&file).unwrap();
        let run = simulate(RunSpec::of_scenario(document).unwrap());
        assert_eq!(run.summary.counts.created, pods, "{scenario}");
        assert_eq!(run.summary.counts.bound + run.summary.counts.pending, pods, "{scenario}");
    }
}

#[test]
fn whole_traces_replay() {
    let Some(s) = samples() else { return };
    let openb = replay("openb", &[s.join("openb")], "");
    assert_eq!((openb[0].0, openb[1].0), (8152, 8152));
    let nasa =
        replay("swf", &[s.join("swf/NASA-iPSC-1993-3.1-cln.swf.gz")], ", transform: {window: {to: 168h}}");
    assert!(nasa[0].0 > 100 && nasa[0].0 == nasa[1].0);
    let window = ", start: backlog, transform: {window: {to: 5m}, loadScale: 0.1}";
    let google = replay("google-2011", &[s.join("google-2011")], window);
    assert_eq!(google[0].0, google[1].0, "both take the same part of the trace");
    assert!(google[0].0 > 5_000);
}
