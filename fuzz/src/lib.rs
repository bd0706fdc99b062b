//! What the fuzz targets do with their bytes. No input may panic, hang or take memory out of proportion; beyond that each
//! function asserts what must hold of any input: reports add up, what an importer writes is a valid trace, errors name
//! their file, skipping bad rows never ends an import.
//!
//! An input is one file, or several with a line `==> NAME <==` before each, as `head` prints them. The same functions
//! run on a stable toolchain, over the corpus and over changes of it: `tests/trace/corrupt.rs` of the crate.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use podpace::experiment::pause::Pauses;
use podpace::experiment::run::{Environment, RunSpec};
use podpace::scenario::Document;
use podpace::scenario::spec::ScenarioSpec;
use podpace::trace::model::Encoding;
use podpace::trace::{self, ImportOptions, OnError, TraceError};
use sha2::{Digest, Sha256};

/// Formats, and the name of the file that an input without names is.
pub const FORMATS: [(&str, &str); 24] = [
    ("k8s-list", "list.json"),
    ("k8s-watch", "watch.json"),
    ("kwok-snapshot", "snapshot.yaml"),
    ("audit", "audit.log"),
    ("yunikorn-events", "events.json"),
    ("kube-state-metrics", "metrics.txt"),
    ("simkube", "trace.sktrace"),
    ("openb", "openb_pod_list.csv"),
    ("alibaba-2017", "batch_task.csv"),
    ("alibaba-2018", "batch_task.csv"),
    ("dlrm", "dlrm.csv"),
    ("google-2011", "task_events.csv"),
    ("google-2019", "instance_events.json"),
    ("azure-packing", "vm.csv"),
    ("azure-vmtable", "vmtable.csv"),
    ("swf", "log.swf"),
    ("batsim", "workload.json"),
    ("oar", "jobs.json"),
    ("philly", "cluster_job_log"),
    ("helios", "cluster_log.csv"),
    ("wfcommons", "workflow.json"),
    ("opendc", "tasks.parquet"),
    ("measured", "run.json"),
    ("native", "pods.jsonl"),
];

/// The other targets.
pub const OTHERS: [&str; 7] = [
    "generator",
    "scenario",
    "kube_configuration",
    "yunikorn_configuration",
    "stages",
    "checkpoint",
    "checkpoint_file",
];

/// All targets by name, as `cargo fuzz list` prints them.
pub fn targets() -> Vec<String> {
    let formats = FORMATS.iter().map(|(format, _)| format.replace('-', "_"));
    formats.chain(OTHERS.iter().map(|name| (*name).to_owned())).collect()
}

/// Runs a target on an input.
pub fn execute(target: &str, data: &[u8]) {
    match target {
        "native" => native("pods.jsonl", data),
        "generator" => generator(data),
        "scenario" => scenario(data),
        "kube_configuration" => configuration("kube-scheduler", data),
        "yunikorn_configuration" => configuration("yunikorn", data),
        "stages" => stages(data),
        "checkpoint" => checkpoint(data),
        "checkpoint_file" => checkpoint_file(data),
        _ => {
            let format = FORMATS.iter().find(|(format, _)| format.replace('-', "_") == target);
            let (format, name) = format.unwrap_or_else(|| panic!("no target {target}"));
            import(format, name, data);
        }
    }
}

/// Nodes, pods and queues of a scenario that is run.
const MOST: u64 = 200;

/// A folder of its own, in memory where there is such a place.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let name = format!("podpace-fuzz-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = base.join(name);
        std::fs::create_dir_all(&path).expect("a folder for temporary files");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The files of an input.
fn files<'a>(data: &'a [u8], name: &str) -> Vec<(String, &'a [u8])> {
    const OPEN: &[u8] = b"==> ";
    const CLOSE: &[u8] = b" <==\n";
    if !data.starts_with(OPEN) {
        return vec![(name.to_string(), data)];
    }
    let find = |from: &[u8], what: &[u8]| from.windows(what.len()).position(|w| w == what);
    let mut out: Vec<(String, &[u8])> = Vec::new();
    let mut rest = data;
    while let Some(head) = rest.strip_prefix(OPEN).filter(|_| out.len() < 8) {
        let Some(end) = find(head, CLOSE).filter(|end| *end < 100) else { break };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let name: String = String::from_utf8_lossy(&head[..end]).chars().filter(|c| plain(*c)).collect();
        let body = &head[end + CLOSE.len()..];
        let next = find(body, b"\n==> ").map_or(body.len(), |at| at + 1);
        if !name.trim_matches('.').is_empty() && !out.iter().any(|(n, _)| *n == name) {
            out.push((name, &body[..next]));
        }
        rest = &body[next..];
    }
    if out.is_empty() { vec![(name.to_string(), data)] } else { out }
}

fn write(folder: &Path, files: &[(String, &[u8])]) -> Vec<PathBuf> {
    std::fs::create_dir_all(folder).expect("a folder");
    let path = |(name, bytes): &(String, &[u8])| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    };
    files.iter().map(path).collect()
}

/// Imports the input's files in a format.
fn import(format: &str, name: &str, data: &[u8]) {
    let scratch = Scratch::new();
    let paths = write(&scratch.0.join("in"), &files(data, name));
    for on_error in [OnError::Fail, OnError::Skip] {
        let out = scratch.0.join(format!("{on_error:?}"));
        let options = ImportOptions { on_error, encoding: Encoding::Jsonl, ..ImportOptions::default() };
        match trace::import(format, &paths, &out, &options) {
            Ok(manifest) => {
                let report = &manifest.report;
                assert!(report.is_balanced(), "rows read = kept + dropped: {report}");
                let findings = trace::validate(&out).expect("a trace");
                assert!(!findings.has_errors(), "an importer writes valid traces: {findings}\n{report}");
                let _ = trace::stats(&out).expect("a trace").to_string();
            }
            Err(e) => {
                assert!(!out.exists(), "a failed import leaves nothing");
                if let TraceError::Row(row) = &e {
                    assert_eq!(on_error, OnError::Fail, "skipping ends at no row: {e}");
                    assert!(row.file.contains("podpace-fuzz"), "an error names its file: {e}");
                }
            }
        }
    }
}

/// Reads the input's files as a native trace, checks it, copies it, and runs it if it is small.
fn native(name: &str, data: &[u8]) {
    let scratch = Scratch::new();
    let folder = scratch.0.join("trace");
    write(&folder, &files(data, name));
    let Ok(findings) = trace::validate(&folder) else { return };
    let _ = findings.to_string();
    let _ = trace::stats(&folder).map(|stats| stats.to_string());
    let options =
        ImportOptions { on_error: OnError::Skip, encoding: Encoding::Jsonl, ..ImportOptions::default() };
    let _ = trace::import("native", std::slice::from_ref(&folder), &scratch.0.join("copy"), &options);
    for format in ["k8s", "swf", "csv", "simkube"] {
        let _ = trace::export(&folder, format, &scratch.0.join(format), &options);
    }
    if findings.counts.pods > MOST || findings.counts.nodes > MOST {
        return;
    }
    for scheduler in ["kube-scheduler", "yunikorn"] {
        let text = format!(
            "apiVersion: podpace/v1\nkind: Scenario\nname: fuzz\ncluster: {{}}\nscheduler: {{kind: {scheduler}}}\n\
             workload: {{trace: trace}}\nstop: {{when: allFinished, limit: 1s}}\n"
        );
        run(&text, &scratch.0);
    }
}

/// Generates a trace from the input as a spec.
fn generator(data: &[u8]) {
    let scratch = Scratch::new();
    let path = scratch.0.join("spec.yaml");
    std::fs::write(&path, data).expect("a file");
    let Ok(spec) = trace::generate::read_spec(&path) else { return };
    let nodes = spec.nodes.iter().fold(0u64, |n, g| n.saturating_add(g.count));
    let options = ImportOptions { encoding: Encoding::Jsonl, ..ImportOptions::default() };
    let most = spec.pods.unwrap_or(u64::MAX).max(spec.gangs.as_ref().map_or(0, |g| g.size));
    if most > 2_000 || nodes > 2_000 {
        return;
    }
    let out = scratch.0.join("out");
    if trace::generate(&path, 1, &out, &options).is_ok() {
        let findings = trace::validate(&out).expect("a trace");
        assert!(!findings.has_errors(), "a generator writes valid traces: {findings}");
    }
}

/// Whether a scenario is small enough to be run for every input.
fn is_small(spec: &ScenarioSpec) -> bool {
    let sum = |counts: &mut dyn Iterator<Item = u64>| counts.fold(0u64, u64::saturating_add);
    let w = &spec.workload;
    let pods = sum(&mut w.deployments.iter().map(|d| d.count.unwrap_or(1).saturating_mul(d.replicas)))
        .saturating_add(sum(&mut w
            .jobs
            .iter()
            .map(|j| j.count.unwrap_or(1).saturating_mul(j.completions.unwrap_or(1).max(1)))))
        .saturating_add(sum(&mut w.pods.iter().map(|p| p.count)));
    sum(&mut spec.cluster.nodes.iter().map(|n| n.count)) <= MOST && pods <= MOST
}

fn run(text: &str, folder: &Path) {
    let Ok(mut document) = Document::parse("fuzz.yaml", text, Some(folder)) else { return };
    // The first second says enough, and is short whatever the rates.
    if document.set("stop.limit=1s").is_err() {
        return;
    }
    let Ok(spec) = RunSpec::of_scenario(document) else { return };
    if !is_small(&spec.scenario) {
        return;
    }
    if let Ok(completed) = spec.simulate(&Environment::built_in()) {
        let counts = &completed.summary.counts;
        assert!(counts.bound + counts.pending <= counts.created.max(counts.total), "{counts:?}");
        let _ = completed.summary.to_json();
    }
}

/// Parses, resolves and runs the input as a scenario.
fn scenario(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let scratch = Scratch::new();
    if let Ok(document) = Document::parse("fuzz.yaml", text, Some(&scratch.0)) {
        let _ = document.decode();
    }
    run(text, &scratch.0);
}

/// Reads the input as a scheduler's configuration, and runs a small cluster with it.
fn configuration(kind: &str, data: &[u8]) {
    let scratch = Scratch::new();
    std::fs::write(scratch.0.join("config.yaml"), data).expect("a file");
    let text = format!(
        "apiVersion: podpace/v1\nkind: Scenario\nname: fuzz\ncluster: {{nodes: [{{count: 3, template: {{allocatable: \
         {{cpu: 4, memory: 8Gi, pods: 10}}}}, zones: 2}}]}}\nscheduler: {{kind: {kind}, config: config.yaml}}\n\
         workload: {{pods: [{{count: 20, apps: 3, requests: {{cpu: 500m, memory: 1Gi}}, queue: root.a}}], start: backlog}}\n"
    );
    run(&text, &scratch.0);
}

/// Reads the input as KWOK's stages, and runs a small cluster with them.
fn stages(data: &[u8]) {
    let scratch = Scratch::new();
    std::fs::write(scratch.0.join("stages.yaml"), data).expect("a file");
    let text = "apiVersion: podpace/v1\nkind: Scenario\nname: fuzz\ncluster: {nodes: [{count: 3, template: {allocatable: \
        {cpu: 4, memory: 8Gi, pods: 10}, labels: {node-not-ready.stage.kwok.x-k8s.io: \"true\"}}}]}\ncontrolPlane: {nodeLifecycle: \
        {kind: kwok, stages: [stages.yaml]}}\nscheduler: {kind: kube-scheduler}\nworkload: {jobs: [{completions: 6, parallelism: 3, \
        requests: {cpu: 500m}, annotations: {pod-complete.stage.kwok.x-k8s.io/delay: 2s}}]}\nstop: {when: allFinished, limit: 20s}\n";
    run(text, &scratch.0);
}

const PAUSED: &str = "apiVersion: podpace/v1\nkind: Scenario\nname: fuzz\ncluster: {nodes: [{count: 4, template: {allocatable: \
    {cpu: 4, memory: 8Gi, pods: 10}}, zones: 2}]}\ncontrolPlane: {apiServer: {profile: apiserver-1.36}, etcd: {profile: etcd-3.6}, \
    nodeLifecycle: {kind: kwok}}\nscheduler: {kind: KIND}\nworkload: {pods: [{count: 30, apps: 3, requests: {cpu: 500m, memory: 1Gi}, \
    runTime: 2s}], arrivals: {process: constant, rate: 50}}\nstop: {when: allFinished, limit: 5s}\n";

/// A whole checkpoint of a run that paused.
fn paused(kind: &str) -> (RunSpec, Vec<u8>) {
    let scratch = Scratch::new();
    let document = Document::parse("fuzz.yaml", &PAUSED.replace("KIND", kind), Some(&scratch.0));
    let spec = RunSpec::of_scenario(document.expect("a document")).expect("a scenario");
    let path = scratch.0.join("run.checkpoint");
    let pauses =
        Pauses { checkpoint: Some(path.clone()), checkpoint_at_ns: vec![300_000_000], ..Pauses::default() };
    pauses.simulate(&spec, &Environment::built_in()).expect("a run that pauses");
    (spec, std::fs::read(path).expect("a checkpoint"))
}

/// A checkpoint with another state, and the hash that goes with it: magic, format, length of the header, header, state
/// (zstd), SHA-256.
fn with_state(whole: &[u8], edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let numbers = b"podpace checkpoint\n".len() + 4;
    let length: [u8; 4] = whole[numbers..numbers + 4].try_into().expect("four bytes");
    let (head, rest) = whole.split_at(numbers + 4 + u32::from_le_bytes(length) as usize);
    let mut state = zstd::decode_all(&rest[..rest.len() - 32]).expect("a state");
    edit(&mut state);
    let mut out = head.to_vec();
    out.extend(zstd::encode_all(&state[..], 1).expect("memory"));
    let hash = Sha256::digest(&out);
    out.extend(hash);
    out
}

/// Goes on from a checkpoint whose state the input has changed: byte 0 chooses the scheduler, then come groups of three
/// bytes, where (two) and what.
fn checkpoint(data: &[u8]) {
    static WHOLE: [OnceLock<(RunSpec, Vec<u8>)>; 2] = [OnceLock::new(), OnceLock::new()];
    let Some((kind, edits)) = data.split_first() else { return };
    let kind = usize::from(kind % 2);
    let (spec, whole) = WHOLE[kind].get_or_init(|| paused(["kube-scheduler", "yunikorn"][kind]));
    let bytes = with_state(whole, |state| {
        for edit in edits.chunks_exact(3) {
            let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % state.len();
            state[at] = edit[2];
        }
    });
    let scratch = Scratch::new();
    let path = scratch.0.join("run.checkpoint");
    std::fs::write(&path, bytes).expect("a file");
    let resumed = Pauses { resume: Some(path), ..Pauses::default() };
    // An error, or a run: a state that was changed may still be one.
    let _ = resumed.simulate(spec, &Environment::built_in()).map(|run| run.completed.summary.to_json());
}

/// Reads the input as a checkpoint's file.
fn checkpoint_file(data: &[u8]) {
    let scratch = Scratch::new();
    let path = scratch.0.join("run.checkpoint");
    std::fs::write(&path, data).expect("a file");
    let _ = podpace::experiment::checkpoint::Checkpoint::read(&path);
}
