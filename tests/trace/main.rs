//! Traces: formats, importers, damage, samples, replay, speed.
//! One binary, since each links all of podpace.
mod corrupt;
mod field_lines;
mod formats;
mod import;
mod limit_ranges;
mod native;
mod pod_checks;
mod priority_classes;
mod recordings;
mod replay;
mod samples;
mod speed;

use std::path::{Path, PathBuf};

/// What ships with podpace, under `traces/`.
fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("traces").join(path)
}

/// Samples that are too large or not free to ship: the folder that `PODPACE_TRACES` names, or the one beside the checkout.
fn samples() -> Option<PathBuf> {
    let dir = std::env::var_os("PODPACE_TRACES").map(PathBuf::from).or_else(|| {
        let mut at = Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf();
        while at.pop() {
            if at.join("shared/traces").is_dir() {
                return Some(at.join("shared/traces"));
            }
        }
        None
    });
    dir.filter(|d| d.is_dir())
}
