//! Sweeps beyond one process: parts of a sweep and `merge`, seeds that results decide on, memory, one writer a folder.
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{code, podpace, stderr, stdout, tree, workspace};

const GRID: &str = "sweep ideal.yaml --models models --vary workload.arrivals.rate=10,20,30 --vary cluster.nodes[0].count=3,4";

fn sweep(folder: &Path, more: &str) -> std::process::Output {
    podpace(folder, &format!("{GRID} {more}"))
}

/// n machines with a part each leave, merged, the bytes that one machine leaves.
#[test]
fn merged_parts_are_the_whole() {
    let folder = workspace();
    let at = |name: &str| folder.path().join(name);
    for (seeds, name) in [("--seeds 3", "fixed"), ("--seeds 20 --until throughput.bound.mean:3%", "until")] {
        let whole = sweep(folder.path(), &format!("{seeds} --out {name}"));
        assert_eq!(code(&whole), 0, "{}", stderr(&whole));
        // More parts than points: some are empty.
        for parts in [1, 2, 7] {
            let mut folders = String::new();
            for part in (1..=parts).rev() {
                let out = format!("{name}-{part}of{parts}");
                let done = sweep(folder.path(), &format!("{seeds} --shard {part}/{parts} --out {out}"));
                assert_eq!(code(&done), 0, "{}", stderr(&done));
                assert_eq!(stdout(&done), "");
                folders += &format!(" {out}");
            }
            let merged = podpace(folder.path(), &format!("merge{folders} --out {name}-{parts}"));
            assert_eq!(code(&merged), 0, "{}", stderr(&merged));
            assert_eq!(stdout(&merged), stdout(&whole));
            assert_eq!(tree(&at(&format!("{name}-{parts}"))), tree(&at(name)), "{name}, {parts} parts");
        }
    }
}

#[test]
fn what_does_not_fit_together_is_not_merged() {
    let folder = workspace();
    let part = |more: &str| assert_eq!(code(&sweep(folder.path(), more)), 0, "{more}");
    part("--shard 1/2 --out one");
    part("--shard 2/2 --out two");
    part("--shard 2/2 --seeds 2 --out seeds");
    part("--shard 2/3 --out third");
    part("--shard 2/2 --set scheduler.client.qps=7 --out other");
    part("--out whole");
    let refused = |shards: &str, message: &str| {
        let output = podpace(folder.path(), &format!("merge {shards} --out merged"));
        assert_eq!((code(&output), stdout(&output)), (2, String::new()), "{shards}");
        assert!(stderr(&output).contains(message), "{shards}: {}", stderr(&output));
        assert!(!folder.path().join("merged").exists());
    };
    refused("one", "of 2 shards these are missing: 2");
    refused("one one", "is shard 1, and so is one");
    for other in ["seeds", "third", "other"] {
        refused(&format!("one {other}"), "is a part of another sweep than one");
    }
    refused("one whole", "its part of the sweep is not complete");
    refused("one models", "holds no shard");
    refused("one nowhere", "holds no shard");
    // A byte of a run is another.
    let runs = folder.path().join("two/runs");
    let run = fs::read_dir(&runs).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&run).unwrap();
    fs::write(&run, text.replacen("\"seed\": 3", "\"seed\": 4", 1)).unwrap();
    refused("one two", "is not what the shard's manifest says");
    // A manifest may not lead out of its folder.
    fs::write(&run, text).unwrap();
    let manifest = folder.path().join("two/manifest.json");
    let honest = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, honest.replacen("\"runs/", "\"../one/runs/", 1)).unwrap();
    refused("one two", "is not what the shard's manifest says");
    fs::write(&manifest, honest).unwrap();
    let shard = folder.path().join("two/shard.json");
    let text = fs::read_to_string(&shard).unwrap();
    for (from, to, message) in [
        ("\"of\": 2", "\"of\": two", "is no shard.json"),
        ("\"of\": 2", "\"off\": 2", "is no shard.json"),
        ("\"podpace\": \"", "\"podpace\": \"9", "merge with the version that made it"),
    ] {
        fs::write(&shard, text.replacen(from, to, 1)).unwrap();
        refused("one two", message);
    }
    fs::write(&shard, text).unwrap();
    assert_eq!(code(&podpace(folder.path(), "merge two one --out merged")), 0);
    let again = podpace(folder.path(), "merge two one --out merged");
    assert_eq!(code(&again), 2, "a folder that holds a sweep is not replaced");
}

#[test]
fn wrong_parts_are_usage_errors() {
    let folder = workspace();
    for wrong in ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3"] {
        let output = sweep(folder.path(), &format!("--out x --shard={wrong}"));
        assert_eq!(code(&output), 2, "{wrong}");
        assert!(stderr(&output).contains("I from 1 to N"), "{wrong}: {}", stderr(&output));
    }
    assert_eq!(code(&sweep(folder.path(), "--shard 1/2")), 2, "a part without --out is lost");
}

fn rows(output: &std::process::Output) -> Vec<Value> {
    assert_eq!(code(output), 0, "{}", stderr(output));
    serde_json::from_str(&stdout(output)).expect("rows")
}

#[test]
fn seeds_are_added_until_the_mean_is_known() {
    let folder = workspace();
    let metric = "latency.created_to_bound.mean_s";
    let found = rows(&sweep(
        folder.path(),
        &format!("--until {metric}:40% --seeds 60 --format json --jobs 2 --out a"),
    ));
    let seeds: Vec<usize> = found.iter().map(|row| row["seeds"].as_array().unwrap().len()).collect();
    // Rounds of 5, 7, 10, 15, .. seeds; more where the queue is longer and its waits vary more.
    assert!(seeds.iter().all(|n| [5, 7, 10, 15, 22, 33, 49, 60].contains(n)), "{seeds:?}");
    assert!(seeds.iter().any(|n| *n != seeds[0]), "{seeds:?}");
    for (row, n) in found.iter().zip(&seeds) {
        let s = &row["metrics"][metric];
        let (mean, half) = (s["mean"].as_f64().unwrap(), s["halfWidth95"].as_f64().unwrap());
        assert!(half <= 0.4 * mean || *n == 60, "{mean} {half}");
    }
    // The same seeds with any number of threads, and when a part of them is there already.
    let again =
        sweep(folder.path(), &format!("--until {metric}:40% --seeds 60 --format json --jobs 1 --out b"));
    assert_eq!(rows(&again), found);
    let before = tree(&folder.path().join("a"));
    for name in before.keys().filter(|p| p.starts_with("runs")).step_by(3) {
        fs::remove_file(folder.path().join("a").join(name)).unwrap();
    }
    let resumed =
        sweep(folder.path(), &format!("--until {metric}:40% --seeds 60 --format json --resume --out a"));
    assert_eq!(rows(&resumed), found);
    assert_eq!(tree(&folder.path().join("a")), before);
    // What can't be had with the seeds that there are is told.
    let few = sweep(folder.path(), &format!("--until {metric}:0.001% --seeds 6"));
    assert!(stderr(&few).contains("not known as closely as --until asks"), "{}", stderr(&few));
    let unknown = sweep(folder.path(), "--until latency.created_to_bund.mean_s:1%");
    assert_eq!(code(&unknown), 2);
    assert!(stderr(&unknown).contains("latency.created_to_bound.mean_s"), "{}", stderr(&unknown));
    assert_eq!(code(&sweep(folder.path(), "--until throughput.bound.mean")), 2);
}

#[test]
fn runs_are_told_as_they_end() {
    let folder = workspace();
    let output = sweep(folder.path(), "--seeds 2 --format jsonl --out a --metric pods.bound --jobs 2");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let lines: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 12);
    for line in &lines {
        assert_eq!(line["metrics"], serde_json::json!({"pods.bound": 300.0}));
        assert_eq!((&line["resumed"], &line["ended"]), (&Value::from(false), &Value::from("done")));
    }
    let resumed = sweep(folder.path(), "--seeds 2 --format jsonl --out a --resume");
    assert_eq!(stdout(&resumed).matches("\"resumed\":true").count(), 12);
}

#[test]
fn a_folder_has_one_writer() {
    let folder = workspace();
    let out = folder.path().join("a");
    assert_eq!(code(&sweep(folder.path(), "--out a")), 0);
    assert!(!out.join(".lock").exists(), "complete: nothing is locked");
    let lock = fs::File::create(out.join(".lock")).unwrap();
    lock.lock().unwrap();
    let second = sweep(folder.path(), "--out a --resume");
    assert_eq!(code(&second), 2);
    assert!(stderr(&second).contains("is being written by another podpace"), "{}", stderr(&second));
    drop(lock);
    // What a killed process left is taken away, what is not ours stays.
    for name in [".lock", "runs/0123456789abcdef-seed3.json.tmp-4711", "sweep.csv.tmp-12"] {
        fs::write(out.join(name), "half").unwrap();
    }
    fs::write(out.join("notes.tmp-draft"), "mine").unwrap();
    assert_eq!(code(&sweep(folder.path(), "--out a --resume")), 0);
    let left: Vec<_> = tree(&out).into_keys().filter(|p| p.display().to_string().contains("tmp-")).collect();
    assert_eq!(left, [Path::new("notes.tmp-draft")]);
    fs::write(folder.path().join("file"), "").unwrap();
    assert_eq!(code(&sweep(folder.path(), "--out file")), 2);
    assert_eq!(code(&sweep(folder.path(), "--out models")), 2, "it holds something else");
}

#[test]
fn what_does_not_fit_into_memory_is_told_before_it_runs() {
    let folder = workspace();
    let one_at_a_time = sweep(folder.path(), "--seeds 2 --jobs 4 --max-memory 9Mi");
    let any = sweep(folder.path(), "--seeds 2 --jobs 4");
    assert_eq!((code(&any), stdout(&one_at_a_time)), (0, stdout(&any)));
    let too_small = sweep(folder.path(), "--max-memory 8Mi");
    assert_eq!(code(&too_small), 2);
    let message = stderr(&too_small);
    assert!(message.contains("needs about 9 MiB, more than --max-memory 8 MiB"), "{message}");
    for wrong in ["0", "-1Gi", "much"] {
        assert_eq!(code(&sweep(folder.path(), &format!("--max-memory={wrong}"))), 2, "{wrong}");
    }
}

/// A slip of the keyboard ends at once.
#[test]
fn grids_have_a_size() {
    let folder = workspace();
    let many = (1..=101).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    let points = sweep(folder.path(), &format!("--vary seed={many} --vary workload.arrivals.rate={many}"));
    assert_eq!(code(&points), 2);
    assert!(stderr(&points).contains("podpace runs at most 10000"), "{}", stderr(&points));
    let runs = sweep(folder.path(), "--seeds 100000 --vary workload.pods[0].count=300,400");
    assert_eq!(code(&runs), 2);
    assert!(stderr(&runs).contains("up to 1200000 runs; podpace does at most 1000000"), "{}", stderr(&runs));
}
