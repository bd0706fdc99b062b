//! Speed and memory of traces, on demand: `cargo test --release --test trace speed -- --ignored --nocapture`.
#![allow(clippy::disallowed_methods)] // measures wall time, which is its purpose

use std::io::Write;
use std::time::Instant;

use podpace::trace::{self, ImportOptions, PodBatch};

/// Peak resident memory of this process so far, MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// A million rows of task_events: submissions, starts and ends of tasks that overlap.
#[test]
#[ignore = "measures speed"]
fn google_2011_import() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("part-00000-of-00500.csv.gz");
    let mut out =
        flate2::write::GzEncoder::new(std::fs::File::create(&file).unwrap(), flate2::Compression::default());
    let user = "70s3v5qRyCO/1PCdI6fVXnrW8FU/w+5CKRSa72xgcIo=";
    const TASKS: u64 = 340_000;
    const ALIVE: u64 = 120_000;
    let mut rows = 0u64;
    for i in 0..TASKS + ALIVE {
        let t = i * 50_000;
        if i < TASKS {
            let (job, cpu) = (6_000_000_000 + i / 40, 1 + i % 97);
            writeln!(out, "{t},,{job},{},,0,{user},2,{},0.0{cpu:03},0.0{cpu:02}1,0.0001,0", i % 40, i % 12)
                .unwrap();
            writeln!(
                out,
                "{t},,{job},{},{},1,{user},2,{},0.0{cpu:03},0.0{cpu:02}1,0.0001,0",
                i % 40,
                i % 12_500,
                i % 12
            )
            .unwrap();
            rows += 2;
        }
        if i >= ALIVE {
            let k = i - ALIVE;
            let (job, cpu) = (6_000_000_000 + k / 40, 1 + k % 97);
            writeln!(
                out,
                "{t},,{job},{},{},4,{user},2,{},0.0{cpu:03},0.0{cpu:02}1,0.0001,0",
                k % 40,
                k % 12_500,
                k % 12
            )
            .unwrap();
            rows += 1;
        }
    }
    out.finish().unwrap();
    let before = peak_mib();
    let start = Instant::now();
    let m =
        trace::import("google-2011", &[file], &dir.path().join("out"), &ImportOptions::default()).unwrap();
    let s = start.elapsed().as_secs_f64();
    assert_eq!(m.report.tables["task_events"].read, rows);
    println!(
        "google-2011: {rows} rows in {s:.2} s = {:.0} rows/s, peak {} MiB ({before} before)",
        rows as f64 / s,
        peak_mib()
    );
    assert!(peak_mib() < 300);
}

#[test]
#[ignore = "measures speed"]
fn real_google_2011() {
    let Some(folder) = std::env::var_os("PODPACE_GOOGLE") else { return };
    let dir = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let m =
        trace::import("google-2011", &[folder.into()], &dir.path().join("out"), &ImportOptions::default())
            .unwrap();
    let s = start.elapsed().as_secs_f64();
    let rows = m.report.tables["task_events"].read;
    println!(
        "{}{:?}\n{rows} rows in {s:.2} s = {:.0} rows/s, peak {} MiB",
        m.report,
        m.counts,
        rows as f64 / s,
        peak_mib()
    );
}

#[test]
#[ignore = "measures speed"]
fn native_read() {
    let dir = tempfile::tempdir().unwrap();
    let spec = dir.path().join("s.yaml");
    std::fs::write(&spec, "apiVersion: podpace/v1\nkind: TraceSpec\npods: 5000000\narrivals: {process: poisson, rate: 500}\nsizes: [{requests: {cpu: 1}}, {requests: {cpu: 2}}]\ndurations: {distribution: lognormal, p50: 60s, p99: 20m}\napps: {pods: 50}\nqueues: [root.a, root.b]\nusers: [ann, bob]\n").unwrap();
    let out = dir.path().join("t");
    let start = Instant::now();
    let m = trace::generate(&spec, 1, &out, &ImportOptions::default()).unwrap();
    let s = start.elapsed().as_secs_f64();
    println!(
        "generate and write: {:.2} million pods/s, peak {} MiB",
        m.counts.pods as f64 / s / 1e6,
        peak_mib()
    );
    let start = Instant::now();
    let mut pods = trace::open(&out).unwrap().pods().unwrap();
    let (mut batch, mut n, mut sum) = (PodBatch::default(), 0, 0u64);
    while pods.next_batch(&mut batch).unwrap() {
        n += batch.len();
        for i in 0..batch.len() {
            sum = sum.wrapping_add(batch.submit_ns[i]).wrapping_add(batch.uid.get(i).len() as u64);
        }
    }
    let s = start.elapsed().as_secs_f64();
    let bytes = std::fs::metadata(out.join("pods.parquet")).unwrap().len();
    println!(
        "native read: {:.1} million pods/s, {:.1} bytes a pod, sum {sum}",
        n as f64 / s / 1e6,
        bytes as f64 / n as f64
    );
}
