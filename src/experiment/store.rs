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
//! `.hashes` has a line for each run that was kept, with its SHA-256, until the manifest has them: a file that has changed
//! since is not taken for a finished run, but run again, and said. Runs that a version without hashes kept are taken as they
//! are, and said. A folder whose runs are not all of this sweep (another grid, fewer seeds, another part) is refused.
//!
//! One process at a time: `.lock` is locked while a sweep writes, and gone when it is complete. What a killed process left
//! half-written (`*.tmp-*`) is removed when the next one opens the folder.
//!
//! Every power cut at every moment of this is tried in `power_cut.rs`.
//!
//! Cost: three syncs a run; opening and finishing O(runs).
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::output::{MANIFEST, Manifest, OutputError, is_temporary, write_atomically};
use super::run::{RunSpec, Summary, VERSION, sha256_hex, to_json};
use super::sweep::{Layout, LayoutPoint, SweepError, SweepRow, csv_text};
use crate::trace::disk;
use crate::trace::source::refuse_special;
use crate::trace::temporary::parent_of;

/// What a shard's folder holds besides its runs.
pub const SHARD: &str = "shard.json";
const RUNS: &str = "runs";
const LOCK: &str = ".lock";
const HASHES: &str = ".hashes";

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
    /// Hashes of the runs that earlier processes kept, by file.
    hashes: BTreeMap<String, BTreeSet<String>>,
    /// `.hashes`, to be appended to.
    log: Mutex<File>,
    notes: Mutex<BTreeSet<String>>,
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

/// Bytes of a file, if it is one.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    refuse_special(path)?;
    fs::read(path)
}

/// Reads a finished run; none if it is not there, not whole, or of another point or seed.
fn read_run(folder: &Path, point: &str, seed: u64, draw: Option<u64>) -> Option<Summary> {
    let text = read_file(&folder.join(RUNS).join(file_name(point, seed, draw))).ok()?;
    parse_run(&text, point, seed, draw)
}

fn parse_run(text: &[u8], point: &str, seed: u64, draw: Option<u64>) -> Option<Summary> {
    let kept: Kept = serde_json::from_slice(text).ok()?;
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
        disk::create_folders(&runs).map_err(io_error(&runs))?;
        let path = folder.join(LOCK);
        let lock = disk::create(&path).map_err(io_error(&path))?;
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
                    disk::remove(&path).map_err(io_error(&path))?;
                }
            }
        }
        let path = folder.join(HASHES);
        let had_hashes = path.is_file();
        let log = disk::append(&path).map_err(io_error(&path))?;
        // Also what a process that was killed has left.
        disk::sync_folder_if_can(folder);
        disk::sync_folder_if_can(parent_of(folder));
        let log = Mutex::new(log);
        let mut store = Self {
            folder: folder.to_owned(),
            resume,
            lock,
            hashes: BTreeMap::new(),
            log,
            notes: Mutex::default(),
        };
        store.read_hashes(had_hashes)?;
        Ok(store)
    }

    /// Looks up what the runs that are there were when they were kept: in `.hashes`, and in the manifest of a complete sweep.
    fn read_hashes(&mut self, had_hashes: bool) -> Result<(), SweepError> {
        let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let path = self.folder.join(HASHES);
        let text = read_file(&path).map_err(io_error(&path))?;
        for line in String::from_utf8_lossy(&text).lines() {
            // A line that is cut short names no file that is there.
            if let Some((hash, name)) = line.split_once(' ') {
                known.entry(name.to_owned()).or_default().insert(hash.to_owned());
            }
        }
        let manifest = read_file(&self.folder.join(MANIFEST)).ok();
        let manifest = manifest.and_then(|text| serde_json::from_slice::<Manifest>(&text).ok());
        let has_manifest = manifest.is_some();
        for (name, hash) in manifest.into_iter().flat_map(|manifest| manifest.files) {
            if let Some(name) = name.strip_prefix("runs/") {
                known.entry(name.to_owned()).or_default().insert(hash);
            }
        }
        self.hashes = known;
        if had_hashes || has_manifest {
            return Ok(());
        }
        // Kept by a version that wrote no hashes.
        let names = self.names()?;
        for name in &names {
            let path = self.folder.join(RUNS).join(name);
            let hash = sha256_hex(&read_file(&path).map_err(io_error(&path))?);
            self.note_hash(name, &hash)?;
            self.hashes.entry(name.clone()).or_default().insert(hash);
        }
        if !names.is_empty() {
            let message =
                "were kept by a podpace that wrote no hashes; those of the same inputs are taken as they are";
            self.note(format!("note: {}: {} runs {message}", self.folder.display(), names.len()));
        }
        Ok(())
    }

    /// Files of runs that are there.
    fn names(&self) -> Result<BTreeSet<String>, SweepError> {
        let runs = self.folder.join(RUNS);
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(&runs).map_err(io_error(&runs))? {
            let name = entry.map_err(io_error(&runs))?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".json") {
                names.insert(name);
            }
        }
        Ok(names)
    }

    fn note(&self, text: String) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).insert(text);
    }

    /// What there is to say of the runs that were there.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// A line in `.hashes`, before the file gets its name.
    fn note_hash(&self, name: &str, hash: &str) -> Result<(), OutputError> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was cut short ends here, and whatever a power cut makes of the next one is no part of this one.
        let line = format!("\n{hash} {name}\n");
        let path = self.folder.join(HASHES);
        let written = log.write_all(line.as_bytes()).and_then(|()| disk::sync(&log, &path));
        written.map_err(|source| OutputError::Io { path, source })
    }

    /// Fails unless every run that is there is one of these files, which are all those of the sweep, or of its part `shard`.
    ///
    /// # Errors
    /// The folder is of another grid, of more seeds, or of another part; which says the message.
    pub fn check_grid(&self, shard: Option<(u64, u64)>, wanted: &BTreeSet<String>) -> Result<(), SweepError> {
        let refuse = |message: String| Err(SweepError::Store { path: self.folder.clone(), message });
        let hint = "resume it with the options that it was begun with, or name another folder";
        let asked =
            shard.map_or_else(|| "the whole sweep".to_owned(), |(i, n)| format!("part {i}/{n} of it"));
        let path = self.folder.join(SHARD);
        if path.exists() {
            let file: Option<ShardFile> =
                read_file(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
            match file {
                None => return refuse(format!("its shard.json can't be read; {hint}")),
                Some(file) if shard != Some((file.shard, file.of)) => {
                    let (i, n) = (file.shard, file.of);
                    return refuse(format!("holds part {i}/{n} of a sweep, expected {asked}; {hint}"));
                }
                Some(_) => {}
            }
        } else if shard.is_some() && self.folder.join("sweep.json").exists() {
            return refuse(format!("holds a whole sweep, expected {asked}; {hint}"));
        }
        let Some(other) = self.names()?.into_iter().find(|name| !wanted.contains(name)) else {
            return Ok(());
        };
        let text = read_file(&self.folder.join(RUNS).join(&other)).ok();
        let kept: Option<Kept> = text.and_then(|text| serde_json::from_slice(&text).ok());
        let what = kept.map_or_else(
            || format!("runs/{other}"),
            |kept| format!("the run of {} under seed {}", kept.point, kept.result.seed),
        );
        refuse(format!(
            "holds {what}, which is not of {asked} as it is asked for now (--vary, --seeds, --shard); {hint}"
        ))
    }

    /// A finished run, if it was made from the same inputs. A file that can't be read is as if it were not there.
    #[must_use]
    pub fn finished(&self, point: &str, spec: &RunSpec, inputs: &str) -> Option<Summary> {
        if !self.resume {
            return None;
        }
        let name = file_name(point, spec.seed, spec.draw);
        let bytes = read_file(&self.folder.join(RUNS).join(&name)).ok()?;
        if !self.hashes.get(&name).is_some_and(|hashes| hashes.contains(&sha256_hex(&bytes))) {
            let path = self.folder.join(RUNS).join(&name);
            self.note(format!(
                "warning: {}: is not what was kept of {point} under seed {}; it is run again",
                path.display(),
                spec.seed
            ));
            return None;
        }
        let found = parse_run(&bytes, point, spec.seed, spec.draw)?;
        (found.inputs.all == inputs).then_some(found)
    }

    /// Keeps a finished run. When this returns, it is there whatever happens.
    ///
    /// # Errors
    /// The file system's.
    pub fn keep(&self, point: &str, summary: &Summary) -> Result<(), OutputError> {
        let name = file_name(point, summary.seed, summary.draw);
        let kept = Kept { point: point.to_owned(), result: summary.clone() };
        let text = to_json(&kept);
        self.note_hash(&name, &sha256_hex(text.as_bytes()))?;
        write_atomically(&self.folder.join(RUNS).join(&name), text.as_bytes())
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
        for name in [HASHES, LOCK] {
            let path = self.folder.join(name);
            disk::remove(&path).map_err(io_error(&path))?;
        }
        disk::sync_folder_if_can(&self.folder);
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
    let text = read_file(&path).map_err(|error| match error.kind() {
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
        let bytes = if inside { read_file(&path).ok() } else { None };
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
