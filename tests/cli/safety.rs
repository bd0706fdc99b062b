//! What podpace must not do to anybody: panic at absurd sizes, run without end, or write over what it did not make.
use std::fs;
use std::path::Path;

use crate::support::{code, podpace, podpace_with, stderr, workspace};

/// A run of the small scenario with settings.
fn run_with(folder: &Path, settings: &[&str]) -> std::process::Output {
    let mut arguments = vec!["run", "small.yaml", "--models", "models", "-q"];
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    podpace_with(folder, &arguments)
}

fn refused(folder: &Path, settings: &[&str], message: &str) {
    let output = run_with(folder, settings);
    let text = stderr(&output);
    assert!(code(&output) == 2 && text.contains(message), "{settings:?}: {} {text}", code(&output));
}

#[test]
fn no_accepted_size_is_a_panic() {
    let folder = workspace();
    let at = folder.path();
    refused(at, &["hosts.vm.cores=8193"], "at most 8192");
    refused(at, &["hosts.vm.speed=17"], "at most 16");
    let passes = |settings: &[&str]| {
        let output = run_with(at, settings);
        assert_eq!(code(&output), 0, "{settings:?}: {}", stderr(&output));
    };
    passes(&["hosts.vm.cores=8192", "hosts.vm.speed=16"]);
    passes(&["controlPlane.etcd.fsync={p50: 1ns, p99: 87600h}", "stop.limit=1h"]);
    let slow = "faults=[{kind: etcdSlow, at: 1ms, factor: 1000}]";
    passes(&["controlPlane.etcd.fsync=87600h", slow, "stop.limit=1h"]);
    passes(&["controlPlane.nodeLifecycle.startLatency={p50: 1ns, p99: 87600h}", "stop.limit=87600h"]);
    for kind in ["yunikorn", "volcano"] {
        let scheduler = format!("scheduler={{kind: {kind}}}");
        let nodes = |resource: &str, count: u64| {
            format!(
                "cluster.nodes=[{{count: {count}, template: {{allocatable: {{cpu: 4, memory: 1Gi, {resource}, pods: 110}}}}}}]"
            )
        };
        let sixteen = nodes("memory: 1Ei", 16).replace("memory: 1Gi, ", "");
        refused(at, &[&scheduler, &sixteen], "bytes of memory in all");
        let many = nodes("example.com/x: 1152921504606846976", 5000);
        refused(at, &[&scheduler, &many], "example.com/x in all");
    }
    // Ten million zones of one name each were looked up one after the other.
    passes(&["cluster.nodes[0].zones=100000"]);
}

#[test]
fn no_fault_comes_without_end() {
    let folder = workspace();
    let at = folder.path();
    refused(at, &["faults=[{kind: watchDisconnect, every: 1ns}]"], "at least 1ms");
    refused(at, &["faults=[{kind: podFailure, every: 1us}]"], "at least 1ms");
    refused(at, &["faults=[{kind: podFailure, every: 1ms}]", "stop.limit=10h"], "models at most 1000000");
    let flap = "faults=[{kind: nodeFlap, at: 1s, times: 10000000, duration: 1ns, pause: 1ns}]";
    refused(at, &[flap], "at least 1ms");
    let flap = "faults=[{kind: nodeFlap, at: 1s, times: 10000000, duration: 1ms, pause: 1ms}]";
    refused(at, &[flap, "stop.limit=10h"], "models at most 1000000");
    let output = run_with(at, &["faults=[{kind: podFailure, every: 1ms, most: 3}]", "stop.limit=10h"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

#[test]
fn no_trace_is_generated_without_end() {
    let folder = workspace();
    let at = |name: &str| folder.path().join(name);
    let spec = |sizes: &str| {
        format!(
            "apiVersion: podpace/v1\nkind: TraceSpec\nname: t\n{sizes}\narrivals: {{process: constant, rate: 1}}\nsizes: [{{requests: {{cpu: 1}}}}]\n"
        )
    };
    for sizes in ["pods: 10000000000", "pods: 1\nnodes: [{count: 1000000000, allocatable: {cpu: 1}}]"] {
        fs::write(at("t.yaml"), spec(sizes)).unwrap();
        let output = podpace(folder.path(), "trace generate t.yaml --out t");
        assert!(code(&output) == 2 && stderr(&output).contains("expected at most"), "{}", stderr(&output));
        assert!(!at("t").exists());
    }
}

#[test]
fn a_run_that_does_not_fit_is_not_begun() {
    let folder = workspace();
    let output = podpace(folder.path(), "run small.yaml --models models --max-memory 1Mi");
    assert!(code(&output) == 2 && stderr(&output).contains("needs about"), "{}", stderr(&output));
    let output = podpace(folder.path(), "run small.yaml --models models --max-memory 1Gi");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    refused(
        folder.path(),
        &["workload.pods[0].count=100000000", "cluster.nodes[0].count=10000000"],
        "needs about",
    );
}

#[test]
fn outputs_replace_only_what_podpace_made() {
    let folder = workspace();
    let at = |name: &str| folder.path().join(name);
    let refused = |arguments: &str, message: &str| {
        let output = podpace(folder.path(), arguments);
        let text = stderr(&output);
        assert!(code(&output) == 2 && text.contains(message), "{arguments}: {} {text}", code(&output));
    };
    let passes = |arguments: &str| {
        let output = podpace(folder.path(), arguments);
        assert_eq!(code(&output), 0, "{arguments}: {}", stderr(&output));
    };
    let scenario = fs::read(at("small.yaml")).unwrap();
    let run = "run small.yaml --models models";
    refused(&format!("{run} --checkpoint small.yaml --checkpoint-at 1s"), "what this command reads");
    refused(&format!("{run} --checkpoint ideal.yaml --checkpoint-at 1s"), "no checkpoint of podpace");
    refused(&format!("{run} --checkpoint c --checkpoint-every 1ns"), "at least 1ms");
    for _ in 0..2 {
        passes(&format!("{run} --checkpoint c --checkpoint-at 1s --out r"));
        passes(
            "report r --out page.html --events events --watch watch --perfetto p.json --openmetrics o.txt",
        );
    }
    refused("report r --out small.yaml", "no report of podpace");
    refused("report r --events r/summary.json", "no Events of podpace");
    assert_eq!(fs::read(at("small.yaml")).unwrap(), scenario);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(at("page.html"), at("link.html")).unwrap();
        refused("report r --out link.html", "a symbolic link");
    }

    // A run's folder replaces no sweep and nobody's files.
    passes("sweep small.yaml --models models --vary scheduler.client.qps=50,60 --out w");
    refused(&format!("{run} --out w"), "is a sweep");
    assert!(at("w/sweep.json").is_file());
    fs::write(at("r/notes.txt"), "mine").unwrap();
    refused(&format!("{run} --out r"), "`notes.txt`");
    fs::remove_file(at("r/notes.txt")).unwrap();
    passes(&format!("{run} --out r"));

    // What a process that was killed left aside is put back, and what stands at names like ours is not touched.
    fs::rename(at("r"), at("r.old-1")).unwrap();
    let output = podpace(folder.path(), &format!("{run} --out r"));
    assert!(
        code(&output) == 0 && stderr(&output).contains("r.old-1, where a process"),
        "{}",
        stderr(&output)
    );
    assert!(at("r").is_dir() && !at("r.old-1").exists());

    // A file that was changed is not shown.
    let text = fs::read_to_string(at("r/summary.json")).unwrap().replace("\"seed\": 7", "\"seed\": 8");
    fs::write(at("r/summary.json"), text).unwrap();
    refused("report r --out page.html", "its SHA-256 is not the manifest's");
}

#[cfg(unix)]
#[test]
fn pipes_are_not_waited_for() {
    let folder = workspace();
    let made = std::process::Command::new("mkfifo").arg(folder.path().join("pipe.yaml")).status();
    if !made.is_ok_and(|status| status.success()) {
        return;
    }
    for arguments in ["run pipe.yaml", "trace import swf pipe.yaml --out t"] {
        let output = podpace(folder.path(), arguments);
        assert!(
            code(&output) == 2 && stderr(&output).contains("expected a regular file"),
            "{}",
            stderr(&output)
        );
    }
}
