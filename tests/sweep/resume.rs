//! `--resume` believes only what it finds as it was kept, and goes on only with the same sweep.
use std::fs;

use crate::support::{code, podpace, stderr, tree, workspace};

const SWEEP: &str = "sweep ideal.yaml --models models --vary workload.arrivals.rate=10,20 --out s";

#[test]
fn a_run_that_was_changed_is_run_again() {
    let folder = workspace();
    let at = |name: &str| folder.path().join(name);
    let output = podpace(folder.path(), &format!("{SWEEP} --seeds 2"));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let whole = tree(&at("s"));
    assert!(!at("s/.hashes").exists(), "the manifest has them");
    let run = fs::read_dir(at("s/runs")).unwrap().flatten().next().unwrap().path();
    let text = fs::read_to_string(&run).unwrap();
    fs::write(&run, text.replacen("\"bound.last_s\": ", "\"bound.last_s\": 1", 1)).unwrap();
    let output = podpace(folder.path(), &format!("{SWEEP} --seeds 2 --resume"));
    assert!(code(&output) == 0 && stderr(&output).contains("it is run again"), "{}", stderr(&output));
    assert_eq!(tree(&at("s")), whole);

    // A sweep that an older version left has no hashes: its runs are taken.
    for name in ["manifest.json", "sweep.json", "sweep.csv"] {
        fs::remove_file(at("s").join(name)).unwrap();
    }
    let output = podpace(folder.path(), &format!("{SWEEP} --seeds 2 --resume"));
    assert!(
        code(&output) == 0 && stderr(&output).contains("4 runs were kept by a podpace"),
        "{}",
        stderr(&output)
    );
    assert_eq!(tree(&at("s")), whole);
}

#[test]
fn another_sweep_is_not_gone_on_with() {
    let folder = workspace();
    let done = |arguments: &str| {
        let output = podpace(folder.path(), arguments);
        (code(&output), stderr(&output))
    };
    assert_eq!(done(&format!("{SWEEP} --seeds 2")).0, 0);
    for (arguments, message) in [
        (
            format!("{} --seeds 2", SWEEP.replace("10,20", "10,30")),
            "holds the run of workload.arrivals.rate=20",
        ),
        (format!("{SWEEP} --seeds 1"), "under seed 4"),
        (format!("{SWEEP} --seeds 2 --shard 1/2"), "holds a whole sweep"),
    ] {
        let (code, text) = done(&format!("{arguments} --resume"));
        assert!(code == 2 && text.contains(message), "{arguments}: {code} {text}");
    }
    // More of the same is no other sweep.
    assert_eq!(done(&format!("{} --seeds 3 --resume", SWEEP.replace("10,20", "10,20,30"))).0, 0);
    let part = SWEEP.replace("--out s", "--out p");
    assert_eq!(done(&format!("{part} --seeds 2 --shard 1/2")).0, 0);
    let (code, text) = done(&format!("{part} --seeds 2 --shard 2/2 --resume"));
    assert!(code == 2 && text.contains("holds part 1/2"), "{code} {text}");
}
