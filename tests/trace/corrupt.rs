//! Corrupt input: every kind of damage is a named error with file and line, and `--on-error skip` drops and counts it.

use std::io::Write;
use std::path::{Path, PathBuf};

use podpace::trace::{self, ImportOptions, OnError, TraceError};
use proptest::prelude::*;

#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

fn import(
    format: &str,
    path: &Path,
    on_error: OnError,
) -> Result<podpace::trace::model::Manifest, TraceError> {
    let dir = tempfile::tempdir().unwrap();
    let options = ImportOptions { on_error, ..ImportOptions::default() };
    let result = trace::import(format, &[path.to_path_buf()], &dir.path().join("out"), &options);
    if result.is_err() {
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "a failed import leaves nothing");
    }
    result
}

/// The problem's name and line when failing; what was dropped when skipping.
fn check(format: &str, name: &str, bytes: &[u8], problem: &str, line: u64) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let e =
        import(format, &path, OnError::Fail).err().unwrap_or_else(|| panic!("{format} {name}: no {problem}"));
    let TraceError::Row(row) = &e else { panic!("{format} {name}: {e}") };
    assert_eq!(row.problem.name(), problem, "{format} {name}: {e}");
    assert_eq!(row.line, line, "{format} {name}: {e}");
    assert!(e.to_string().contains(name), "{e}");
    let manifest =
        import(format, &path, OnError::Skip).unwrap_or_else(|e| panic!("{format} {name} skipping: {e}"));
    let dropped: Vec<&str> =
        manifest.report.tables.values().flat_map(|t| t.dropped.keys().map(String::as_str)).collect();
    assert!(dropped.contains(&problem), "{format} {name}: {dropped:?}");
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    e.write_all(text).unwrap();
    e.finish().unwrap()
}

const OPENB: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n";

fn openb(rows: &str) -> Vec<u8> {
    format!("{OPENB}{rows}").into_bytes()
}

const TASK: &str = "0,,1,0,5,0,u,2,0,0.1,0.1,0.001,0\n";

#[test]
fn truncated_gzip() {
    let text: String = (0..20_000).map(|i| format!("p{i},1000,10,0,0,,BE,Running,5,9,6\n")).collect();
    let whole = gzip(&openb(&text));
    let cut = &whole[..whole.len() / 2];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("openb_pod_list.csv.gz");
    std::fs::write(&path, cut).unwrap();
    let e = import("openb", &path, OnError::Fail).err().unwrap();
    assert_eq!(e.problem().unwrap().name(), "truncated-file", "{e}");
    assert!(e.to_string().contains("openb_pod_list.csv.gz:"), "{e}");
    let m = import("openb", &path, OnError::Skip).unwrap();
    assert!(m.counts.pods > 1000 && m.report.tables["pods"].dropped["truncated-file"].count == 1);
}

#[test]
fn bad_utf8() {
    let mut bytes = openb("p1,1000,10,0,0,,BE,Running,5,9,6\n");
    bytes.extend(b"p\xff2,1000,10,0,0,,BE,Running,5,9,6\n");
    check("openb", "openb_pod_list.csv", &bytes, "bad-utf8", 3);
    check("swf", "log.swf", b"; c\n1 0 1 5 1 -1 -1 1 -1 -1 1 \xff 1 1 1 -1 -1 -1\n", "bad-utf8", 2);
    check("google-2011", "task_events.csv", b"0,,1,0,5,0,\xffu,2,0,0.1,0.1,0.001,0\n", "bad-utf8", 1);
}

#[test]
fn a_line_of_100_mb() {
    let mut bytes = openb("p1,1000,10,0,0,,BE,Running,5,9,6\n");
    bytes.resize(bytes.len() + 100_000_000, b'x');
    bytes.extend(b"\np2,1000,10,0,0,,BE,Running,5,9,6\n");
    check("openb", "openb_pod_list.csv", &bytes, "line-too-long", 3);
}

#[test]
fn negative_times_and_times_going_back() {
    check("openb", "openb_pod_list.csv", &openb("p1,1,1,0,0,,BE,Running,-5,9,6\n"), "negative-time", 2);
    check(
        "google-2011",
        "task_events.csv",
        format!("{TASK}-5,,1,1,5,0,u,2,0,0.1,0.1,0.001,0\n").as_bytes(),
        "negative-time",
        2,
    );
    check(
        "google-2011",
        "task_events.csv",
        format!("{TASK}9,,1,1,5,0,u,2,0,0.1,0.1,0.001,0\n8,,1,2,5,0,u,2,0,0.1,0.1,0.001,0\n").as_bytes(),
        "time-goes-back",
        3,
    );
    let job = |id: u64, t: i64| format!("{id} {t} 1 5 1 -1 -1 1 -1 -1 1 1 1 1 1 -1 -1 -1\n");
    check("swf", "log.swf", (job(1, 9) + &job(2, 8)).as_bytes(), "time-goes-back", 2);
    check("swf", "log.swf", job(1, -9).as_bytes(), "negative-time", 1);
    let watch =
        "{\"type\":\"BOOKMARK\",\"ts\":5,\"object\":{}}\n{\"type\":\"BOOKMARK\",\"ts\":4,\"object\":{}}";
    check("k8s-watch", "w.json", watch.as_bytes(), "time-goes-back", 2);
}

#[test]
fn duplicates() {
    let row = "p1,1000,10,0,0,,BE,Running,5,9,6\n";
    check("openb", "openb_pod_list.csv", &openb(&format!("{row}{row}")), "duplicate-id", 3);
    check("google-2011", "task_events.csv", format!("{TASK}{TASK}").as_bytes(), "duplicate-id", 2);
    let job = "1 5 1 5 1 -1 -1 1 -1 -1 1 1 1 1 1 -1 -1 -1\n";
    check("swf", "log.swf", format!("{job}{job}").as_bytes(), "duplicate-id", 2);
    let pod = r#"{"kind":"Pod","metadata":{"name":"a","creationTimestamp":"2024-01-01T00:00:00Z"},"spec":{"containers":[]}}"#;
    check("k8s-list", "l.json", format!("{pod}\n{pod}").as_bytes(), "duplicate-id", 2);
    let vm = "v,s,d,0,300,9.5,1.1,5.0,Interactive,4,32\n";
    check("azure-vmtable", "vmtable.csv", format!("{vm}{vm}").as_bytes(), "duplicate-id", 2);
}

#[test]
fn deletion_before_creation() {
    check("openb", "openb_pod_list.csv", &openb("p1,1,1,0,0,,BE,Running,9,5,9\n"), "delete-before-create", 2);
    check(
        "google-2011",
        "task_events.csv",
        format!("{TASK}5,,7,0,5,4,u,2,0,0.1,0.1,0.001,0\n").as_bytes(),
        "delete-before-create",
        2,
    );
    let pod = r#"{"kind":"Pod","metadata":{"name":"a","creationTimestamp":"2024-01-01T00:00:00Z"},"spec":{"containers":[]}}"#;
    check(
        "k8s-watch",
        "w.json",
        format!(r#"{{"type":"DELETED","object":{pod}}}"#).as_bytes(),
        "delete-before-create",
        1,
    );
    check(
        "azure-vmtable",
        "vmtable.csv",
        b"v,s,d,400,300,9.5,1.1,5.0,Interactive,4,32\n",
        "delete-before-create",
        1,
    );
}

#[test]
fn not_numbers() {
    check("openb", "openb_pod_list.csv", &openb("p1,NaN,1,0,0,,BE,Running,5,9,6\n"), "not-a-number", 2);
    check("google-2011", "task_events.csv", b"0,,1,0,5,0,u,2,0,NaN,0.1,0.001,0\n", "not-a-number", 1);
    check("openb", "openb_pod_list.csv", &openb("p1,1,1,0,0,,BE,Running,NaN,9,6\n"), "not-a-number", 2);
    check("alibaba-2018", "batch_task.csv", b"M1,2,j_1,1,Terminated,100,200,NaN,0.5\n", "not-a-number", 1);
    check("swf", "log.swf", b"1 5 1 NaN 1 -1 -1 1 -1 -1 1 1 1 1 1 -1 -1 -1\n", "not-a-number", 1);
    check(
        "azure-packing",
        "vm.csv",
        b"vmId,tenantId,vmTypeId,priority,starttime,endtime\n0,9,1,0,inf,0.25\n",
        "not-a-number",
        2,
    );
}

#[test]
fn columns_missing_or_swapped() {
    check(
        "openb",
        "openb_pod_list.csv",
        b"name,memory_mib,num_gpu,gpu_milli\np,1,0,0\n",
        "missing-column",
        1,
    );
    check("openb", "openb_pod_list.csv", &openb("p1,1,1,0,0,,BE,Running,5,9\n"), "column-count", 2);
    check(
        "google-2011",
        "task_events.csv",
        format!("{TASK}0,,1,1,5,0,u,2,0\n").as_bytes(),
        "column-count",
        2,
    );
    // CPU and user swapped: the share column holds a hash.
    check("google-2011", "task_events.csv", b"0,,1,0,5,0,0.1,2,0,dXNlcg==,0.1,0.001,0\n", "not-a-number", 1);
    // Time and job swapped with event type and machine: an event type that does not exist.
    check(
        "google-2011",
        "task_events.csv",
        b"0,,1,0,0,4155527081,u,2,0,0.1,0.1,0.001,0\n",
        "unknown-code",
        1,
    );
    check("swf", "log.swf", b"1 5 1 5 1 -1 -1 1 -1\n", "column-count", 1);
    // A header may name the columns in any order.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("openb_pod_list.csv");
    std::fs::write(&path, "gpu_milli,num_gpu,memory_mib,cpu_milli,name\n0,0,7,1000,p\n").unwrap();
    assert_eq!(import("openb", &path, OnError::Fail).unwrap().counts.pods, 1);
}

#[test]
fn empty_files() {
    for (format, name) in [
        ("openb", "openb_pod_list.csv"),
        ("google-2011", "task_events.csv"),
        ("swf", "log.swf"),
        ("k8s-list", "l.json"),
        ("k8s-watch", "w.jsonl"),
        ("audit", "audit.log"),
        ("simkube", "x.sktrace"),
        ("batsim", "w.json"),
        ("google-2019", "instance_events.json"),
        ("dlrm", "dlrm.csv"),
        ("azure-vmtable", "vmtable.csv"),
        ("kube-state-metrics", "m.txt"),
        ("yunikorn-events", "e.json"),
        ("philly", "cluster_job_log"),
        ("helios", "cluster_log.csv"),
        ("wfcommons", "w.json"),
        ("alibaba-2017", "batch_task.csv"),
        ("alibaba-2018", "batch_task.csv"),
        ("azure-packing", "vm.csv"),
        ("opendc", "tasks.parquet"),
    ] {
        check(format, name, b"", "empty-file", 0);
    }
}

#[test]
fn damaged_documents() {
    check("k8s-list", "l.json", br#"{"kind":"List","items":[{"kind":"Pod""#, "truncated-file", 1);
    check("k8s-list", "l.yaml", b"kind: Pod\nmetadata: [\n", "bad-syntax", 1);
    check("simkube", "x.sktrace", b"\x85\xa7version\x02\xa6con", "truncated-file", 0);
    check("batsim", "w.json", b"{\"jobs\":[", "truncated-file", 1);
    check(
        "google-2019",
        "instance_events.json",
        b"{\"time\":\"1\",\"instance_index\":\"0\",\n",
        "truncated-file",
        2,
    );
}

const FORMATS: &[(&str, &str)] = &[
    ("openb", "openb_pod_list.csv"),
    ("swf", "log.swf"),
    ("google-2011", "task_events.csv"),
    ("google-2019", "instance_events.json"),
    ("k8s-list", "l.json"),
    ("k8s-list", "l.yaml"),
    ("k8s-watch", "w.json"),
    ("kwok-snapshot", "s.yaml"),
    ("audit", "a.log"),
    ("simkube", "x.sktrace"),
    ("batsim", "w.json"),
    ("wfcommons", "w.json"),
    ("philly", "cluster_job_log"),
    ("helios", "cluster_log.csv"),
    ("dlrm", "dlrm.csv"),
    ("azure-packing", "vm.csv"),
    ("azure-vmtable", "vmtable.csv"),
    ("alibaba-2017", "batch_task.csv"),
    ("alibaba-2018", "batch_task.csv"),
    ("kube-state-metrics", "m.txt"),
    ("yunikorn-events", "e.json"),
    ("opendc", "tasks.parquet"),
];

const SEEDS: &[&str] = &[
    TASK,
    "p1,1000,10,0,0,,BE,Running,5,9,6\n",
    "1 5 1 5 1 -1 -1 1 -1 -1 1 1 1 1 1 -1 -1 -1\n",
    r#"{"kind":"List","items":[{"kind":"Pod","metadata":{"name":"a","creationTimestamp":"2024-01-01T00:00:00Z"},"spec":{"containers":[{"resources":{"requests":{"cpu":"1"}}}]}}]}"#,
    "{\"time\":\"1\",\"type\":\"0\",\"collection_id\":\"5\",\"instance_index\":\"1\"}\n",
    "kube_pod_created{pod=\"p\"} 1.7e9 1700000030000\n",
    r#"{"type":2,"objectID":"a","timestampNano":1,"eventChangeType":2,"eventChangeDetail":201,"referenceID":"r"}"#,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_damage_panics(
        seed in 0usize..SEEDS.len(),
        format in 0usize..FORMATS.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        skip in any::<bool>(),
    ) {
        let mut bytes = SEEDS[seed].as_bytes().to_vec();
        for (at, b) in damage {
            let i = at.index(bytes.len());
            bytes[i] = b;
        }
        if skip {
            bytes.truncate(cut.index(bytes.len()) + 1);
        }
        let dir = tempfile::tempdir().unwrap();
        let path: PathBuf = dir.path().join(FORMATS[format].1);
        std::fs::write(&path, &bytes).unwrap();
        let _ = import(FORMATS[format].0, &path, if skip { OnError::Skip } else { OnError::Fail });
    }
}

/// Changes inputs as fuzzers do: bytes, pieces, numbers, words of the formats, pieces of other inputs.
struct Mutator(u64);

impl Mutator {
    fn below(&mut self, n: usize) -> usize {
        // xorshift64*: any stream will do, the same one every time.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n.max(1)
    }

    fn piece<'a>(&mut self, of: &'a [u8]) -> &'a [u8] {
        let from = self.below(of.len() + 1);
        &of[from..from + self.below((of.len() - from).min(64) + 1)]
    }

    fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        const WORDS: [&[u8]; 32] = [
            b"-1",
            b"0",
            b"1",
            b"NaN",
            b"1e400",
            b"-0.5",
            b"18446744073709551615",
            b"9223372036854775808",
            b"99999999999999999999",
            b"1e18",
            b"0.1",
            b"null",
            b"\"\"",
            b"{}",
            b"[]",
            b"[[[[[[[[",
            b"\n",
            b"\r\n",
            b",",
            b",,,,",
            b"\t",
            b" ",
            b":",
            b"---\n",
            b"\xff",
            b"\xef\xbb\xbf",
            b"\0",
            b"\xdc\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"2038-01-19T03:14:08Z",
            b"9999-12-31T23:59:59Z",
            b"1000000000000Ei",
        ];
        let mut out = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(out.len() + 1);
            let end = at + self.below((out.len() - at).min(64) + 1);
            match self.below(8) {
                0 if at < out.len() => out[at] = self.below(256) as u8,
                1 if at < out.len() => out[at] ^= 1 << self.below(8),
                2 => drop(out.drain(at..end)),
                3 => {
                    let piece = out[at..end].to_vec();
                    out.splice(at..at, piece);
                }
                4 => {
                    let other = corpus[self.below(corpus.len())].clone();
                    let piece = self.piece(&other).to_vec();
                    out.splice(at..at, piece);
                }
                5 => {
                    // A number for another.
                    let digits = |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b'-');
                    let Some(from) = out[at..].iter().position(digits).map(|n| at + n) else { continue };
                    let to = out[from..].iter().position(|b| !digits(b)).map_or(out.len(), |n| from + n);
                    out.splice(from..to, WORDS[self.below(12)].iter().copied());
                }
                6 if out.len() > 1 && self.below(4) == 0 => out.truncate(at),
                _ => drop(out.splice(at..at, WORDS[self.below(WORDS.len())].iter().copied())),
            }
        }
        out
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = files.map(|f| f.unwrap().path()).collect();
    files.sort();
    files.iter().map(|f| std::fs::read(f).unwrap()).collect()
}

/// The fuzz targets over their corpus and a few changes of it, the same ones every time.
#[test]
fn fuzz_targets_hold_on_their_corpus() {
    let mut broken = Vec::new();
    for target in fuzz::targets() {
        let corpus = corpus(&target);
        let mut mutator = Mutator(0x9e37_79b9_7f4a_7c15);
        let changed: Vec<Vec<u8>> = (0..8).map(|_| mutator.mutate(&corpus)).collect();
        for (i, input) in corpus.iter().chain(&changed).enumerate() {
            if std::panic::catch_unwind(|| fuzz::execute(&target, input)).is_err() {
                broken.push(format!("{target} {i}: {:?}", String::from_utf8_lossy(input)));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The same for as long as you like, on a stable toolchain: `PODPACE_FUZZ=60 cargo test --release --test trace corrupt
/// fuzz_for_a_while -- --ignored --nocapture` takes 60 s a target (or those named in PODPACE_FUZZ_TARGETS) and prints
/// executions. An input that breaks something is kept in the folder `fuzz/artifacts`.
#[test]
#[ignore = "takes as long as you say"]
#[allow(clippy::disallowed_methods)] // the wall clock says when it is over
fn fuzz_for_a_while() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let (seconds, seed) = (number("PODPACE_FUZZ").unwrap_or(5), number("PODPACE_FUZZ_SEED").unwrap_or(1));
    let only = std::env::var("PODPACE_FUZZ_TARGETS").unwrap_or_default();
    let mut broken = 0;
    for target in fuzz::targets() {
        if !only.is_empty() && !only.split(',').any(|t| t == target) {
            continue;
        }
        let corpus = corpus(&target);
        let mut mutator = Mutator(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let began = std::time::Instant::now();
        let (mut executions, mut slowest_ms) = (0u64, 0);
        while began.elapsed().as_secs() < seconds {
            let input = mutator.mutate(&corpus);
            let start = std::time::Instant::now();
            let result = std::panic::catch_unwind(|| fuzz::execute(&target, &input));
            let took_ms = start.elapsed().as_millis();
            slowest_ms = took_ms.max(slowest_ms);
            executions += 1;
            if result.is_err() || took_ms > 20_000 {
                broken += 1;
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/artifacts").join(&target);
                std::fs::create_dir_all(&folder).unwrap();
                let path = folder.join(format!("seed-{seed}-{executions}"));
                std::fs::write(&path, &input).unwrap();
                println!("{target}: {took_ms} ms, input in {}", path.display());
            }
        }
        println!("{target}: {executions} executions, slowest {slowest_ms} ms");
    }
    assert_eq!(broken, 0, "inputs that broke something");
}

/// One input of a target by file: `PODPACE_FUZZ_INPUT=FILE PODPACE_FUZZ_TARGETS=swf cargo test .. fuzz_one -- --ignored`.
#[test]
#[ignore = "needs an input"]
fn fuzz_one() {
    let Ok(input) = std::env::var("PODPACE_FUZZ_INPUT") else { return };
    let target = std::env::var("PODPACE_FUZZ_TARGETS").expect("PODPACE_FUZZ_TARGETS names one target");
    fuzz::execute(&target, &std::fs::read(input).unwrap());
}
