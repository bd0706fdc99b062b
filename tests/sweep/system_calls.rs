//! A sweep that is killed, or whose system call fails, at each call that changes its folder, one after another.
//!
//! A crash between two calls leaves what a crash at the second one leaves, so that this is every state which a process that
//! ends can leave behind. (After a power cut the file system has a say, too; hence the syncs.) strace injects; it counts each kind of
//! call of each thread, so runs (written by a worker) and tables (written by the main thread) are reached in two phases.
//!
//! ```sh
//! cargo test --test sweep every_system_call -- --ignored --nocapture    # needs strace
//! ```
#![cfg(target_os = "linux")]
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::crash::runs;
use crate::support::{code, podpace, stderr, tree, workspace};

const SWEEP: &str = "sweep ideal.yaml --models models --vary workload.arrivals.rate=10,20 --seeds 2 --jobs 1 --quiet --resume";
const CALLS: [&str; 6] = ["write", "fsync", "rename", "unlink", "mkdir", "flock"];

/// Runs the sweep with a fault at the n-th such call of a thread; what strace saw.
fn strace(folder: &Path, call: &str, fault: &str, n: u32) -> (Output, String) {
    let log = folder.join("strace.log");
    let output = Command::new("strace")
        .current_dir(folder)
        .args([
            "-f",
            "-qq",
            "-e",
            &format!("trace={call}"),
            "-e",
            &format!("inject={call}:{fault}:when={n}"),
            "-o",
        ])
        .arg(&log)
        .arg(env!("CARGO_BIN_EXE_podpace"))
        .args(SWEEP.split_whitespace())
        .args(["--out", "part"])
        .output()
        .expect("strace runs");
    (output, fs::read_to_string(log).unwrap_or_default())
}

#[test]
#[ignore = "a minute; needs strace"]
fn every_system_call_may_be_the_last_or_fail() {
    if Command::new("strace").arg("--version").output().is_err() {
        eprintln!("skipped: there is no strace here");
        return;
    }
    let folder = workspace();
    let at = |name: &str| folder.path().join(name);
    let whole = podpace(folder.path(), &format!("{SWEEP} --out whole"));
    assert_eq!(code(&whole), 0, "{}", stderr(&whole));
    let expected = tree(&at("whole"));
    let (mut faults, mut done) = (0, 0);
    for fault in ["signal=KILL", "error=ENOSPC", "error=EIO"] {
        for (call, runs_are_there) in CALLS.into_iter().flat_map(|call| [(call, false), (call, true)]) {
            let mut n = 1;
            loop {
                if runs_are_there {
                    fs::create_dir_all(at("part/runs")).unwrap();
                    for entry in fs::read_dir(at("whole/runs")).unwrap().flatten() {
                        fs::copy(entry.path(), at("part/runs").join(entry.file_name())).unwrap();
                    }
                }
                let (output, log) = strace(folder.path(), call, fault, n);
                let injected = log.contains("INJECTED") || log.contains("killed by SIGKILL");
                let what = format!("{fault}, {call} {n}, runs there: {runs_are_there}: {}", stderr(&output));
                for (name, hash) in &runs(&at("part")) {
                    assert_eq!(expected.get(name), Some(hash), "{what}: {}", name.display());
                }
                if output.status.success() {
                    assert_eq!(tree(&at("part")), expected, "{what}");
                } else if fault != "signal=KILL" {
                    assert_eq!(code(&output), 1, "{what}");
                    // The write that failed may be the message's own, of which nothing need be left then.
                    let is_of_message = |line: &str| line.contains("write(2, ") && line.contains("INJECTED");
                    let is_cut = stderr(&output).is_empty() && log.lines().any(is_of_message);
                    assert!(is_cut || stderr(&output).starts_with("error: "), "{what}");
                }
                if at("part").exists() {
                    let resumed = podpace(folder.path(), &format!("{SWEEP} --out part"));
                    assert_eq!(code(&resumed), 0, "{what}: {}", stderr(&resumed));
                    assert_eq!(tree(&at("part")), expected, "{what}");
                    fs::remove_dir_all(at("part")).unwrap();
                }
                if !injected {
                    break;
                }
                faults += 1;
                n += 1;
            }
            done += 1;
        }
    }
    println!("{faults} faults at {done} kinds of calls: the same bytes after each");
    assert!(faults > 60, "{faults}");
}
