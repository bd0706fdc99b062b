//! What the tests of the command line share.
#![allow(dead_code)]
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;

/// A file beside the tests.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Runs podpace in a folder; arguments are split at blanks.
pub fn podpace(folder: &Path, arguments: &str) -> Output {
    podpace_with(folder, &arguments.split_whitespace().collect::<Vec<_>>())
}

/// Runs podpace in a folder with arguments as they are.
pub fn podpace_with(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("podpace").expect("the binary is built");
    command.current_dir(folder).env_remove("NO_COLOR").args(arguments).output().expect("it runs")
}

/// Exit code.
pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

/// Text on stdout.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Text on stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with copies of the fixtures, so that messages and results show no path of this machine.
pub fn workspace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("models")).expect("a folder");
    for from in [fixture(""), fixture("models")] {
        let to =
            if from.ends_with("models") { folder.path().join("models") } else { folder.path().to_owned() };
        for entry in std::fs::read_dir(&from).expect("fixtures").flatten().filter(|e| e.path().is_file()) {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
    folder
}

/// SHA-256 of all files below a folder by relative path, but for those with wall-clock times.
pub fn tree(folder: &Path) -> std::collections::BTreeMap<PathBuf, String> {
    let mut files = std::collections::BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if entry.file_name() != "timing.json" {
                let bytes = std::fs::read(&path).expect("readable");
                let name = path.strip_prefix(folder).expect("below").to_owned();
                files.insert(name, podpace::experiment::run::sha256_hex(&bytes));
            }
        }
    }
    files
}
