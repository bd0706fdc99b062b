//! Disks that are full or can't be written: an error with its code, nothing half-written, and what was there stays.
//!
//! Needs the right to mount a small file system in memory; where it is not given, the tests say so and pass.
#![cfg(target_os = "linux")]
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{code, podpace, stderr, tree, workspace};

/// A small file system in memory.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(at).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("skipped: a file system can't be mounted here");
        }
        mounted.then(|| Self(at.to_owned()))
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0).status().expect("mount runs");
        assert!(status.success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let odd =
        |p: &PathBuf| p.display().to_string().contains(".tmp-") || p.display().to_string().contains(".old-");
    tree(folder).into_keys().filter(odd).collect()
}

const LARGE: &str = "ideal.yaml --models models --pods csv --set workload.pods[0].count=30000 --set workload.arrivals.rate=3000 --set cluster.nodes[0].count=5000";

#[test]
fn a_full_disk_leaves_the_earlier_result() {
    let folder = workspace();
    let Some(small) = Small::mount(&folder.path().join("small"), "size=600k") else { return };
    let first = podpace(folder.path(), "run ideal.yaml --models models --pods csv --out small/result");
    assert_eq!(code(&first), 0, "{}", stderr(&first));
    let before = tree(&small.0);
    let second = podpace(folder.path(), &format!("run {LARGE} --out small/result"));
    assert_eq!(code(&second), 1, "{}", stderr(&second));
    assert!(stderr(&second).contains("can't write the result"), "{}", stderr(&second));
    assert_eq!(tree(&small.0), before, "the earlier result stays, and nothing else");
    let other = podpace(folder.path(), &format!("run {LARGE} --out small/other"));
    assert_eq!((code(&other), tree(&small.0)), (1, before));
    // A checkpoint that can't be written does not cost the result.
    let run = format!("run {LARGE} --out result --checkpoint small/run.ck --checkpoint-every 1s");
    small.remount("size=100k");
    let checkpointed = podpace(folder.path(), &run);
    assert_eq!(code(&checkpointed), 1, "{}", stderr(&checkpointed));
    assert!(folder.path().join("result/manifest.json").exists());
    assert_eq!(leftovers(&small.0), Vec::<PathBuf>::new());
}

#[test]
fn a_sweep_on_a_full_disk_goes_on_when_there_is_room() {
    let folder = workspace();
    let sweep = "sweep ideal.yaml --models models --vary workload.arrivals.rate=10,20 --seeds 12 --jobs 2";
    assert_eq!(code(&podpace(folder.path(), &format!("{sweep} --out whole"))), 0);
    let expected = tree(&folder.path().join("whole"));
    let Some(small) = Small::mount(&folder.path().join("small"), "size=100k") else { return };
    let full = podpace(folder.path(), &format!("{sweep} --out small/sweep"));
    assert_eq!(code(&full), 1, "{}", stderr(&full));
    assert!(stderr(&full).contains("can't write the result"), "{}", stderr(&full));
    let kept = tree(&small.0.join("sweep/runs"));
    assert!(!kept.is_empty() && kept.len() < 24, "{}", kept.len());
    for (name, hash) in &kept {
        assert_eq!(expected.get(&Path::new("runs").join(name)), Some(hash), "{}", name.display());
    }
    small.remount("size=4m");
    let resumed = podpace(folder.path(), &format!("{sweep} --out small/sweep --resume"));
    assert_eq!(code(&resumed), 0, "{}", stderr(&resumed));
    assert_eq!(tree(&small.0.join("sweep")), expected);
}

#[test]
fn a_disk_that_can_t_be_written_is_told() {
    let folder = workspace();
    let Some(small) = Small::mount(&folder.path().join("small"), "size=1m") else { return };
    small.remount("ro");
    for command in [
        "run ideal.yaml --models models --out small/result",
        "sweep ideal.yaml --models models --out small/sweep",
        "run ideal.yaml --models models --checkpoint small/run.ck --checkpoint-at 1s",
    ] {
        let output = podpace(folder.path(), command);
        assert_eq!(code(&output), 1, "{command}: {}", stderr(&output));
        assert!(stderr(&output).contains("Read-only file system"), "{command}: {}", stderr(&output));
    }
    assert!(tree(&small.0).is_empty());
}

/// Symbolic links are what they point to when they are read, and are not followed when a folder is replaced.
#[test]
#[cfg(unix)]
fn symbolic_links_do_not_lead_results_elsewhere() {
    use std::os::unix::fs::symlink;
    let folder = workspace();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("precious")).unwrap();
    fs::write(at("precious/thesis.txt"), "mine").unwrap();
    symlink(at("precious"), at("link")).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    for out in ["link", "dangling", "precious", "link/../precious", "precious/../precious"] {
        for command in ["run", "sweep"] {
            let output = podpace(folder.path(), &format!("{command} ideal.yaml --models models --out {out}"));
            assert_ne!(code(&output), 0, "{command} {out}");
            assert_eq!(fs::read_to_string(at("precious/thesis.txt")).unwrap(), "mine");
            assert_eq!(fs::read_dir(at("precious")).unwrap().count(), 1, "{command} {out}");
            assert!(!at("nowhere").exists());
        }
    }
    // A link to an earlier result is replaced by the new one; what it pointed to stays.
    assert_eq!(code(&podpace(folder.path(), "run ideal.yaml --models models --out result")), 0);
    let before = tree(&at("result"));
    symlink(at("result"), at("latest")).unwrap();
    let output = podpace(folder.path(), "run ideal.yaml --models models --seed 9 --out latest");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(tree(&at("result")), before);
    assert_ne!(tree(&at("latest")), before);
    // A scenario may be a link.
    symlink(at("ideal.yaml"), at("alias.yaml")).unwrap();
    assert_eq!(code(&podpace(folder.path(), "run alias.yaml --models models")), 0);
}
