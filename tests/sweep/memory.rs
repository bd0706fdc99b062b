//! The estimate of a run's memory against the kernel's peak of real processes.
//!
//! ```sh
//! cargo test --release --test sweep estimate -- --ignored --nocapture    # Linux
//! ```
#![cfg(target_os = "linux")]
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use podpace::cost::ProfileLibrary;
use podpace::experiment::memory::estimate_bytes;
use podpace::experiment::run::{Environment, RunSpec};
use podpace::scenario::Document;

use crate::support::workspace;

fn scenario(scheduler: &str, nodes: u32, pods: u32) -> String {
    format!(
        "apiVersion: podpace/v1\nkind: Scenario\nname: memory\nhosts: {{vm: {{cores: 4}}}}\n\
         cluster:\n  nodes: [{{count: {nodes}, template: {{allocatable: {{cpu: 64, memory: 256Gi, pods: 110}}}}}}]\n\
         controlPlane:\n  apiServer: {{host: vm}}\n  nodeLifecycle: {{kind: hollow}}\n\
         scheduler: {{{scheduler}, host: vm, client: {{qps: 5000, burst: 5000}}}}\n\
         workload:\n  pods: [{{count: {pods}, apps: 10, requests: {{cpu: 100m, memory: 64Mi}}, runTime: {{p50: 20s, p99: 90s}}}}]\n\
         \x20 arrivals: {{process: poisson, rate: 2000}}\nstop: {{when: allFinished, limit: 10h}}\n"
    )
}

/// Peak resident bytes, as long as the kernel shows them: looked at every millisecond until the process is gone.
fn peak_bytes(folder: &Path, arguments: &str) -> u64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_podpace"))
        .current_dir(folder)
        .args(arguments.split_whitespace())
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        peak_kib = peak_kib.max(now);
        if let Some(ended) = child.try_wait().expect("a child") {
            assert!(ended.success(), "{arguments}");
            return peak_kib * 1024;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
#[ignore = "a minute, for a release build"]
fn no_run_takes_more_than_its_estimate() {
    let folder = workspace();
    for scheduler in [
        "kind: first-fit, profile: first-fit-test",
        "kind: kube-scheduler, profile: kube-scheduler-1.36",
        "kind: yunikorn, profile: yunikorn-1.8",
    ] {
        for (nodes, pods) in [(500, 1_000), (5_000, 50_000), (50_000, 50_000), (5_000, 500_000)] {
            let yaml = scenario(scheduler, nodes, pods);
            fs::write(folder.path().join("memory.yaml"), &yaml).unwrap();
            let document = Document::load(&folder.path().join("memory.yaml")).expect("a scenario");
            let spec = RunSpec::of_scenario(document).expect("a scenario");
            let mut environment = Environment::built_in();
            environment.profiles = ProfileLibrary::with_folder(&folder.path().join("models"));
            let plan = spec.plan(&environment).expect("a plan");
            let (estimate, peak) = (
                estimate_bytes(&plan),
                peak_bytes(folder.path(), "sweep memory.yaml --models models --quiet"),
            );
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            println!(
                "{scheduler}, {nodes} nodes, {pods} pods: {:.0} MiB, estimate {:.0} MiB",
                mib(peak),
                mib(estimate)
            );
            assert!(peak <= estimate + PROGRAM_BYTES, "{scheduler}, {nodes} nodes, {pods} pods");
        }
    }
}

/// The program itself: code, profiles, the scenario's text; not a part of a run.
const PROGRAM_BYTES: u64 = 24 << 20;
