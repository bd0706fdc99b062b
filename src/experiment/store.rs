//! A sweep's folder: every finished run at once and for good, the table when all are there.
//!
//! `runs/HASH-seedN.json` (`HASH-seedN-draw0.json` where unit costs are drawn) is one finished run, written under a temporary name, synced and renamed: at any moment, whatever
//! happens to the process or the machine, a file under its own name is whole. Whoever is told of a run (`done`) is told after
//! that. So the end of the process loses the runs under way and nothing else. At the end come `sweep.json` with the rows,
//! `sweep.csv` and `manifest.json` with the hash of every file; a sweep that was interrupted and resumed ends with the same
//! bytes as one that was not.
//!
//! A **shard** is the part of a sweep that one of n machines does (`--shard 2/5`). Its folder holds its runs, a manifest, and
//! `shard.json`, which says what the whole sweep is; [`merge`] puts n of them together into the folder that one machine would
//! have written, and refuses shards of different sweeps, damaged ones and incomplete ones.
//!
//! One process at a time: `.lock` is locked while a sweep writes, and gone when it is complete. What a killed process left
//! half-written (`*.tmp-*`) is removed when the next one opens the folder.
//!
//! Cost: two syncs a run; opening and finishing O(runs).
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::output::{MANIFEST, Manifest, OutputError, is_temporary, sync_folder, write_atomically};
use super::run::{RunSpec, Summary, VERSION, sha256_hex, to_json};
use super::sweep::{Layout, LayoutPoint, SweepError, SweepRow, csv_text};

/// What a shard's folder holds besides its runs.
pub const SHARD: &str = "shard.json";
const RUNS: &str = "runs";
const LOCK: &str = ".lock";

/// One finished run as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// The point it belongs to.
    pub point: String,
    /// The run.
    pub result: Summary,
}

/// `shard.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ShardFile {
    kind: String,
    podpace: String,
    /// Which one, from 1.
    shard: u64,
    /// Of how many.
    of: u64,
    /// The whole sweep.
    sweep: Layout,
}

/// A sweep's folder that this process writes.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    resume: bool,
    /// Locked as long as the store lives.
    lock: File,
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> SweepError + '_ {
    |source| OutputError::Io { path: path.to_owned(), source }.into()
}

/// Name of the file that is kept of a run, in `runs/`.
#[must_use]
pub fn file_name(point: &str, seed: u64, draw: Option<u64>) -> String {
    let draw = draw.map_or_else(String::new, |draw| format!("-draw{draw}"));
    format!("{}-seed{seed}{draw}.json", &sha256_hex(point.as_bytes())[..16])
}

/// Reads a finished run; none if it is not there, not whole, or of another point or seed.
fn read_run(folder: &Path, point: &str, seed: u64, draw: Option<u64>) -> Option<Summary> {
    let text = fs::read(folder.join(RUNS).join(file_name(point, seed, draw))).ok()?;
    let kept: Kept = serde_json::from_slice(&text).ok()?;
    let is_it = kept.point == point && kept.result.seed == seed && kept.result.draw == draw;
    is_it.then_some(kept.result)
}

impl Store {
    /// Opens a folder. A folder that holds finished runs is gone on with only if `resume`.
    ///
    /// # Errors
    /// It holds something else, or finished runs and `resume` is false, or another process writes it, or it can't be made.
    pub fn open(folder: &Path, resume: bool) -> Result<Self, SweepError> {
        let refuse =
            |message: &str| Err(SweepError::Store { path: folder.to_owned(), message: message.to_owned() });
        let runs = folder.join(RUNS);
        let is_empty = match fs::read_dir(folder) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.is_symlink() => true,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return refuse("is a file; name a folder");
            }
            Err(error) => return Err(io_error(folder)(error)),
        };
        if !is_empty && !runs.is_dir() {
            return refuse("exists and is no sweep of podpace; name another folder, or remove it yourself");
        }
        if !is_empty && !resume {
            return refuse("holds a sweep already; add --resume to go on with it, or name another folder");
        }
        fs::create_dir_all(&runs).map_err(io_error(&runs))?;
        sync_folder(folder);
        sync_folder(folder.parent().unwrap_or(Path::new(".")));
        let path = folder.join(LOCK);
        let lock = File::create(&path).map_err(io_error(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return refuse("is being written by another podpace; wait for it, or name another folder");
            }
            // A file system without locks: whoever starts two sweeps into one folder is not told.
            Err(TryLockError::Error(_)) => {}
        }
        for folder in [folder, &runs] {
            for entry in fs::read_dir(folder).map_err(io_error(folder))? {
                let path = entry.map_err(io_error(folder))?.path();
                if is_temporary(&path) && path.is_file() {
                    fs::remove_file(&path).map_err(io_error(&path))?;
                }
            }
        }
        Ok(Self { folder: folder.to_owned(), resume, lock })
    }

    /// A finished run, if it was made from the same inputs. A file that can't be read is as if it were not there.
    #[must_use]
    pub fn finished(&self, point: &str, spec: &RunSpec, inputs: &str) -> Option<Summary> {
        let found = self.resume.then(|| read_run(&self.folder, point, spec.seed, spec.draw)).flatten()?;
        (found.inputs.all == inputs).then_some(found)
    }

    /// Keeps a finished run. When this returns, it is there whatever happens.
    ///
    /// # Errors
    /// The file system's.
    pub fn keep(&self, point: &str, summary: &Summary) -> Result<(), OutputError> {
        let path = self.folder.join(RUNS).join(file_name(point, summary.seed, summary.draw));
        let kept = Kept { point: point.to_owned(), result: summary.clone() };
        write_atomically(&path, to_json(&kept).as_bytes())
    }

    /// Writes the rows of a whole sweep, and a manifest of everything.
    ///
    /// # Errors
    /// The file system's.
    pub fn finish(self, rows: &[SweepRow]) -> Result<(), SweepError> {
        write_atomically(&self.folder.join("sweep.json"), to_json(&rows).as_bytes())?;
        write_atomically(&self.folder.join("sweep.csv"), csv_text(rows).as_bytes())?;
        let runs = rows.iter().flat_map(|row| {
            let draw = row.drawn.then_some(0);
            row.seeds.iter().map(move |seed| (row.point.as_str(), *seed, draw))
        });
        self.close(&["sweep.json", "sweep.csv"], runs)
    }

    /// Writes what a shard is a part of, and a manifest of everything. `runs` are its points, seeds and draws.
    ///
    /// # Errors
    /// The file system's.
    pub fn finish_shard<'a>(
        self,
        (shard, of): (u64, u64),
        sweep: &Layout,
        runs: impl Iterator<Item = (&'a str, u64, Option<u64>)>,
    ) -> Result<(), SweepError> {
        let file = ShardFile {
            kind: "SweepShard".to_owned(),
            podpace: VERSION.to_owned(),
            shard,
            of,
            sweep: sweep.clone(),
        };
        write_atomically(&self.folder.join(SHARD), to_json(&file).as_bytes())?;
        self.close(&[SHARD], runs)
    }

    fn close<'a>(
        self,
        files: &[&str],
        runs: impl Iterator<Item = (&'a str, u64, Option<u64>)>,
    ) -> Result<(), SweepError> {
        let mut manifest = Manifest {
            kind: "ResultManifest".to_owned(),
            podpace: VERSION.to_owned(),
            files: BTreeMap::new(),
        };
        let runs = runs.map(|(point, seed, draw)| format!("{RUNS}/{}", file_name(point, seed, draw)));
        for name in files.iter().map(|name| (*name).to_owned()).chain(runs) {
            let path = self.folder.join(&name);
            let bytes = fs::read(&path).map_err(io_error(&path))?;
            manifest.files.insert(name, sha256_hex(&bytes));
        }
        write_atomically(&self.folder.join(MANIFEST), to_json(&manifest).as_bytes())?;
        let path = self.folder.join(LOCK);
        fs::remove_file(&path).map_err(io_error(&path))?;
        drop(self.lock);
        Ok(())
    }
}

/// A shard's folder, read back and found whole.
struct Part {
    folder: PathBuf,
    file: ShardFile,
}

fn part(folder: &Path) -> Result<Part, SweepError> {
    let refuse = |path: PathBuf, message: String| SweepError::Store { path, message };
    let path = folder.join(SHARD);
    let text = fs::read(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if folder.join(RUNS).is_dir() => refuse(
            folder.to_owned(),
            "its part of the sweep is not complete; run it again with --resume".to_owned(),
        ),
        io::ErrorKind::NotFound => refuse(
            folder.to_owned(),
            "holds no shard; `podpace sweep --shard I/N --out DIR` makes one".to_owned(),
        ),
        _ => io_error(&path)(error),
    })?;
    let value: serde_json::Value = serde_json::from_slice(&text)
        .map_err(|error| refuse(path.clone(), format!("is no shard.json: {error}")))?;
    let version = value["podpace"].as_str().unwrap_or("of unknown version").to_owned();
    if version != VERSION {
        let message = format!(
            "made by podpace {version}, this is podpace {VERSION}; merge with the version that made it"
        );
        return Err(refuse(path, message));
    }
    let file: ShardFile = serde_json::from_value(value)
        .map_err(|error| refuse(path.clone(), format!("is no shard.json: {error}")))?;
    let path = folder.join(MANIFEST);
    let text = fs::read(&path).map_err(io_error(&path))?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| refuse(path.clone(), format!("is no manifest: {error}")))?;
    for (name, hash) in &manifest.files {
        // A manifest names files of its folder, nothing else.
        let inside = name == SHARD || name.strip_prefix("runs/").is_some_and(|n| !n.contains(['/', '\\']));
        let path = folder.join(name);
        let bytes = if inside { fs::read(&path).ok() } else { None };
        if bytes.map(|bytes| sha256_hex(&bytes)).as_ref() != Some(hash) {
            let message =
                "is not what the shard's manifest says; copy the shard again, or run it again with --resume";
            return Err(refuse(path, message.to_owned()));
        }
    }
    Ok(Part { folder: folder.to_owned(), file })
}

/// Puts the shards of one sweep together into the folder `out`, which has the bytes that one machine would have written.
///
/// # Errors
/// A shard is missing, incomplete, damaged, named twice, or of another sweep; `out` holds something; the file system's.
pub fn merge(folders: &[PathBuf], out: &Path) -> Result<Vec<SweepRow>, SweepError> {
    let refuse = |path: &Path, message: String| Err(SweepError::Store { path: path.to_owned(), message });
    let mut parts: BTreeMap<u64, Part> = BTreeMap::new();
    for folder in folders {
        let part = part(folder)?;
        if let Some(first) = parts.values().next() {
            let (a, b) = (&first.file, &part.file);
            if a.of != b.of || a.sweep != b.sweep {
                let first = first.folder.display();
                let message =
                    format!("is a part of another sweep than {first}; name the shards of one sweep");
                return refuse(folder, message);
            }
        }
        let shard = part.file.shard;
        if let Some(same) = parts.insert(shard, part) {
            let message = format!("is shard {shard}, and so is {}", same.folder.display());
            return refuse(folder, message);
        }
    }
    let Some(first) = parts.values().next() else {
        return refuse(out, "no shards are named".to_owned());
    };
    let (of, layout) = (first.file.of, first.file.sweep.clone());
    let there: BTreeSet<u64> = parts.keys().copied().collect();
    let missing: Vec<String> = (1..=of).filter(|i| !there.contains(i)).map(|i| i.to_string()).collect();
    if !missing.is_empty() {
        let message = format!("of {of} shards these are missing: {}", missing.join(", "));
        return refuse(out, message);
    }
    let dealt = layout.dealt(of);
    let store = Store::open(out, false)?;
    let rows = layout.rows(|point, index, seed| {
        let LayoutPoint { name, draw, .. } = &layout.points[point];
        let folder = &parts[&dealt.shard_of(point, index)].folder;
        let path = folder.join(RUNS).join(file_name(name, seed, *draw));
        let Some(summary) = read_run(folder, name, seed, *draw) else {
            return Err(SweepError::Store { path, message: "is missing or no run of this sweep".to_owned() });
        };
        store.keep(name, &summary)?;
        Ok(summary)
    })?;
    store.finish(&rows)?;
    Ok(rows)
}
