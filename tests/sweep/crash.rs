//! Sweeps that are killed: what was reported stays, nothing is half there, and the end is the same.
//!
//! ```sh
//! cargo test --test sweep two_hundred -- --ignored --nocapture    # 200 kills
//! PODPACE_SEED=7 cargo test --test sweep crash                    # other moments
//! ```
#![cfg(unix)]
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use podpace::engine::reference::SplitMix64;
use podpace::experiment::run::sha256_hex;
use podpace::experiment::store::Kept;

use crate::support::{code, podpace, stderr, tree, workspace};

const SWEEP: &str = "sweep ideal.yaml --models models --vary cluster.nodes[0].count=2,3,4,5 --vary workload.arrivals.rate=10,20 --seeds 6 --jobs 2 --quiet";

fn start(folder: &Path, arguments: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_podpace"))
        .current_dir(folder)
        .args(arguments.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs")
}

fn random() -> SplitMix64 {
    let seed = std::env::var("PODPACE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    SplitMix64::new(seed)
}

/// Finished runs by file name, each whole.
pub(crate) fn runs(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let Ok(entries) = fs::read_dir(folder.join("runs")) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "json") {
            let bytes = fs::read(&path).unwrap();
            serde_json::from_slice::<Kept>(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            found.insert(path.strip_prefix(folder).unwrap().to_owned(), sha256_hex(&bytes));
        }
    }
    found
}

/// Kills sweeps at random moments until so many were killed before their end.
fn kill_at_random(kills: u32) {
    let folder = workspace();
    let at = |name: &str| folder.path().join(name);
    let whole = podpace(folder.path(), &format!("{SWEEP} --out whole"));
    assert_eq!(code(&whole), 0, "{}", stderr(&whole));
    let expected = tree(&at("whole"));
    let mut random = random();
    let (mut killed, mut complete, mut reported_in_all, mut partial) = (0, 0, 0, 0);
    while killed < kills {
        let mut reported: BTreeSet<(String, u64)> = BTreeSet::new();
        loop {
            let mut child = start(folder.path(), &format!("{SWEEP} --out part --resume --format jsonl"));
            let out = BufReader::new(child.stdout.take().expect("piped"));
            let reader = std::thread::spawn(move || {
                // A line that was cut is no report.
                let line = |l: &String| serde_json::from_str::<serde_json::Value>(l).ok();
                out.lines().map_while(Result::ok).filter_map(|l| line(&l)).collect::<Vec<_>>()
            });
            // Between a process that has not begun and one that is at its end; short ones are more.
            let most_us = 1 << (10 + random.next_u64() % 9);
            std::thread::sleep(Duration::from_micros(random.next_u64() % most_us));
            let ended = child.try_wait().unwrap();
            child.kill().unwrap();
            let status = child.wait().unwrap();
            for line in reader.join().unwrap() {
                let point = line["point"].as_str().expect("a point").to_owned();
                reported.insert((point, line["seed"].as_u64().expect("a seed")));
            }
            let there = runs(&at("part"));
            for (name, hash) in &there {
                assert_eq!(
                    expected.get(name),
                    Some(hash),
                    "{} is another than without a kill",
                    name.display()
                );
            }
            for (point, seed) in &reported {
                let name = format!("runs/{}-seed{seed}.json", &sha256_hex(point.as_bytes())[..16]);
                assert!(
                    there.contains_key(Path::new(&name)),
                    "{point}, seed {seed} was reported and is lost"
                );
            }
            if status.success() {
                assert!(ended.is_some() || at("part/manifest.json").exists());
                break;
            }
            killed += 1;
            partial += u32::from(!there.is_empty() && there.len() < 48);
            if killed == kills {
                break;
            }
        }
        reported_in_all += reported.len();
        let resumed = podpace(folder.path(), &format!("{SWEEP} --out part --resume"));
        assert_eq!(code(&resumed), 0, "{}", stderr(&resumed));
        assert_eq!(tree(&at("part")), expected, "the same bytes as without kills");
        complete += 1;
        fs::remove_dir_all(at("part")).unwrap();
    }
    println!(
        "{killed} kills, {partial} of them with some runs done, {complete} sweeps completed after them: \
         {reported_in_all} runs reported, 0 lost, 0 files damaged"
    );
}

#[test]
fn a_few_kills_lose_nothing() {
    kill_at_random(10);
}

#[test]
#[ignore = "a minute or two"]
fn two_hundred_kills_lose_nothing() {
    kill_at_random(200);
}

/// SIGINT, as Ctrl-C sends it, and SIGTERM, as a cluster manager does: code 130, nothing half-written.
#[test]
fn interruption_leaves_nothing_half_written() {
    let folder = workspace();
    let mut random = random();
    let mut interrupted = 0;
    for round in 0..16 {
        let signal = ["INT", "TERM"][round % 2];
        let arguments = match round / 2 % 2 {
            0 => SWEEP.replace("--seeds 6", "--seeds 40 --out sweep --resume"),
            _ => "run ideal.yaml --models models --set workload.pods[0].count=60000 --set workload.arrivals.rate=4000 --out run --checkpoint run.ck --checkpoint-every 100ms".to_owned(),
        };
        let mut child = start(folder.path(), &arguments);
        std::thread::sleep(Duration::from_micros(20_000 + random.next_u64() % 400_000));
        let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
        let status = child.wait().unwrap();
        if sent.success() && !status.success() {
            assert_eq!(status.code(), Some(130), "{signal} {arguments}");
            interrupted += 1;
        }
        for name in tree(folder.path()).keys() {
            let name = name.display().to_string();
            assert!(!name.contains(".tmp-") && !name.contains(".old-"), "{signal}: {name} is left");
        }
        runs(&folder.path().join("sweep"));
        let result = folder.path().join("run");
        assert!(!result.exists() || result.join("manifest.json").exists(), "a result without its manifest");
    }
    assert!(interrupted >= 4, "{interrupted} of 16 interrupted: the sleeps are too long for this machine");
}
