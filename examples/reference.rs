//! One reference workload in a process of its own, measured: a line of JSON with CPU seconds, peak memory and a digest.
//!
//! ```sh
//! cargo run --release --example reference -- s-rate kube-scheduler 5000 50000
//! cargo run --release --example reference -- s-burst yunikorn 100000 10000000
//! cargo run --release --example reference -- study yunikorn 4000 50000
//! cargo run --release --example reference -- mm10 1000000
//! cargo run --release --example reference -- hold 5000 5000000
//! ```
//!
//! `src/scenario/reference.rs` defines the workloads; pods arrive at a tenth of the nodes a second. `benches/compare`
//! runs them all beside other simulators.
#![allow(clippy::disallowed_methods)]
#[path = "support/cpu.rs"]
mod cpu;

use std::path::Path;

use podpace::cost::ProfileLibrary;
use podpace::engine::{RadixQueue, reference};
use podpace::experiment::output;
use podpace::experiment::simulation::{Finished, Simulation};
use podpace::scenario::plan::Plan;
use podpace::scenario::reference::{Arrivals, plan};
use podpace::scenario::{Document, resolve};
use podpace::scheduler::Registry;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use cpu::cpu_seconds;

/// Peak resident memory, MiB.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib / 1024.0)
}

fn number(args: &[String], at: usize) -> u32 {
    args.get(at).and_then(|text| text.replace('_', "").parse().ok()).unwrap_or_else(|| usage())
}

fn usage() -> ! {
    eprintln!(
        "usage: reference s-rate|s-burst|study SCHEDULER NODES PODS, mm10 CUSTOMERS, or hold PENDING EVENTS"
    );
    std::process::exit(2);
}

/// A hash over every pod's timeline and node: equal before and after a change that only makes things faster.
fn digest(run: &Finished) -> String {
    struct Hashing(Sha256);
    impl std::io::Write for Hashing {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut out = Hashing(Sha256::new());
    output::write_pods_csv(&mut out, run).expect("a hash takes anything");
    out.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>()[..16].to_owned()
}

fn scheduled(args: &[String]) -> Value {
    let (scheduler, nodes, pods) = (args.get(1).unwrap_or_else(|| usage()), number(args, 2), number(args, 3));
    let arrivals = match args[0].as_str() {
        "s-rate" => Arrivals::Rate(u64::from(nodes / 10)),
        _ => Arrivals::Burst,
    };
    let plan: Plan = plan(scheduler, nodes, pods, arrivals, false).expect("a built-in profile");
    measured(&plan, scheduler, nodes, pods)
}

fn measured(plan: &Plan, scheduler: &str, nodes: u32, pods: u32) -> Value {
    let before = cpu_seconds();
    let run = Simulation::new(plan, &Registry::built_in()).expect("a built-in scheduler").run();
    let cpu_s = cpu_seconds() - before;
    json!({
        "scheduler": scheduler,
        "nodes": nodes,
        "pods": pods,
        "bound": run.counts.bound,
        "finished": run.counts.finished,
        "virtual_s": run.kernel.now() as f64 / 1e9,
        "events": run.kernel.events_handled(),
        "cpu_s": cpu_s,
        "us_per_pod": cpu_s * 1e6 / f64::from(pods),
        "peak_mib": peak_mib(),
        "digest": digest(&run),
    })
}

/// The Kubemark study, with a real API server, etcd and node agents.
fn study(args: &[String]) -> Value {
    let (scheduler, nodes, pods) = (args.get(1).unwrap_or_else(|| usage()), number(args, 2), number(args, 3));
    let mut document = Document::load(Path::new("scenarios/kubemark-2021.yaml"))
        .expect("run this from the project's folder");
    let mut sets = vec![
        format!("cluster.nodes[0].count={nodes}"),
        format!("workload.deployments[0].replicas={}", pods / 10),
    ];
    if scheduler == "kube-scheduler" {
        sets.push(
            "scheduler={kind: kube-scheduler, profile: kube-scheduler-1.20, host: scheduler}".to_owned(),
        );
        sets.push("workload.deployments[0].queue=null".to_owned());
    }
    for set in sets {
        document.set(&set).expect("a field of the scenario");
    }
    let spec = document.decode_scenario().expect("a scenario");
    let plan = resolve(&spec, &document, &ProfileLibrary::built_in(), &Registry::built_in()).expect("a plan");
    measured(&plan, scheduler, nodes, pods)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let before = cpu_seconds();
    let mut line = match args.first().map(String::as_str) {
        Some("s-rate" | "s-burst") => scheduled(&args),
        Some("study") => study(&args),
        Some("mm10") => {
            let run = reference::mm10(&mut RadixQueue::new(), u64::from(number(&args, 1)));
            json!({
                "events": run.events,
                "cpu_s": cpu_seconds() - before,
                "mean_wait_s": run.mean_wait_s(),
                "peak_mib": peak_mib(),
            })
        }
        Some("hold") => {
            let events = u64::from(number(&args, 2));
            reference::hold(&mut RadixQueue::new(), number(&args, 1), events);
            json!({"events": events, "cpu_s": cpu_seconds() - before})
        }
        _ => usage(),
    };
    line["workload"] = json!(args[0]);
    println!("{line}");
}
