//! Same inputs, same bytes: twice, with any number of threads, and on every machine.
//!
//! tests/fixtures/golden.sha256 holds the hash of small results (summary, series and every pod's timeline) as they
//! were on the machine that wrote it: a difference means that this machine or this change gives other results. After
//! a wanted change: UPDATE_GOLDEN=1 cargo test --test simulation determinism

use podpace::cost::ProfileLibrary;
use podpace::experiment::output::digest;
use podpace::experiment::run::{Environment, RunSpec, load};

use crate::support::{code, fixture, podpace, stderr, tree, workspace};

fn environment() -> Environment {
    Environment { profiles: ProfileLibrary::with_folder(&fixture("models")), ..Environment::built_in() }
}

fn digest_of(name: &str) -> String {
    let spec = RunSpec::of_scenario(load(&fixture(name), &[], None).unwrap()).unwrap();
    digest(&spec.simulate(&environment()).unwrap()).unwrap()
}

#[test]
fn results_are_those_of_every_other_machine() {
    let now: String =
        ["ideal.yaml", "small.yaml"].iter().map(|name| format!("{}  {name}\n", digest_of(name))).collect();
    let path = fixture("golden.sha256");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        now, golden,
        "after a wanted change: UPDATE_GOLDEN=1 cargo test --test simulation determinism"
    );
}

#[test]
fn two_runs_write_the_same_bytes() {
    let folder = workspace();
    for out in ["a", "b"] {
        let output = podpace(folder.path(), &format!("run small.yaml --models models --out {out}"));
        assert_eq!(code(&output), 0, "{}", stderr(&output));
    }
    let first = tree(&folder.path().join("a"));
    assert!(first.len() >= 4);
    assert_eq!(first, tree(&folder.path().join("b")));
}

#[test]
fn threads_change_nothing() {
    let folder = workspace();
    for jobs in ["1", "2"] {
        let sweep = format!(
            "sweep ideal.yaml --models models --vary cluster.nodes[0].count=2,4 --vary workload.arrivals.rate=10,20 --seeds 3 --jobs {jobs} --out s{jobs}"
        );
        assert_eq!(code(&podpace(folder.path(), &sweep)), 0);
        let run = format!("run study.yaml --models models --jobs {jobs} --out r{jobs}");
        assert_eq!(code(&podpace(folder.path(), &run)), 0);
    }
    for kind in ["s", "r"] {
        let of = |jobs: u32| tree(&folder.path().join(format!("{kind}{jobs}")));
        assert!(of(1).len() >= 4);
        assert_eq!(of(1), of(2));
    }
}
