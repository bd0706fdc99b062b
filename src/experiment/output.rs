//! Result folders: what a run leaves on disk, and how nothing is ever half-written.
//!
//! A folder is built beside its destination under a temporary name, every file is synced, a manifest with the
//! SHA-256 of each file closes it, and one rename puts it in place. A destination that exists is replaced only
//! if it is empty, or a result of a run with nothing in it but what its manifest lists: a sweep, or a file that a user put
//! there, would be lost. A single file is replaced only if it is of the kind that is to be written ([`Kind`]), which its
//! beginning tells, and no input of the command.
//!
//! Files: `summary.json`, `pods.parquet` or `pods.csv`, `series.csv`, `telemetry.csv`, `node_fill.csv`, `queues.csv`,
//! `manifest.json`; `timing.json` is the only one with wall-clock times and no hash covers it.
//!
//! Cost: O(pods + steps) a run; memory O(pods) for Parquet's columns, O(1) for CSV.
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::node_fill;
use super::queue_use;
use super::report::stage_times;
use super::run::{Completed, VERSION, hex, to_json};
use super::simulation::Finished;
use super::telemetry;
use crate::cluster::{NO_NODE, PodId, Timeline};
use crate::engine::{Nanos, SECOND};
use crate::trace::disk;
pub use crate::trace::temporary::abandon_all;
pub(super) use crate::trace::temporary::is_temporary;
use crate::trace::temporary::{self, Temporary, parent_of};

/// Name of the manifest.
pub const MANIFEST: &str = "manifest.json";
/// More rows than this are no help to anyone: the step is widened.
const MAX_SERIES_ROWS: u64 = 1_000_000;

/// A result can't be written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum OutputError {
    #[error(
        "error: {}: exists and is no result of podpace; name another folder, or remove it yourself", .0.display()
    )]
    NotOurs(PathBuf),
    #[error(
        "error: {}: is a sweep, expected the result of a run; a run does not replace it: name another folder, or remove it yourself",
        .0.display()
    )]
    Sweep(PathBuf),
    #[error(
        "error: {}: holds `{file}`, which its manifest does not list, and which would be lost; move it, or name another folder",
        folder.display()
    )]
    Foreign { folder: PathBuf, file: String },
    #[error(
        "error: {}: is {is}; expected a new name, or a regular file to replace: name another file",
        path.display()
    )]
    NotRegular { path: PathBuf, is: &'static str },
    #[error(
        "error: {}: is, or is part of, what this command reads, and would be lost; name another file",
        .0.display()
    )]
    IsInput(PathBuf),
    #[error(
        "error: {}: exists and is no {what} of podpace by its beginning; name another file, or remove it yourself",
        path.display()
    )]
    OtherKind { path: PathBuf, what: &'static str },
    #[error("error: {}: can't write the result: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("error: this build has no Parquet; use --pods csv, or build with the feature `parquet`")]
    NoParquet,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> OutputError + '_ {
    |source| OutputError::Io { path: path.to_owned(), source }
}

/// How the table of pods is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodsFormat {
    /// `pods.csv`.
    Csv,
    /// `pods.parquet`, zstd.
    #[default]
    Parquet,
    /// Not at all.
    None,
}

/// The manifest of a result folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always `ResultManifest`.
    pub kind: String,
    /// Version that made it.
    pub podpace: String,
    /// SHA-256 of each file by name.
    pub files: BTreeMap<String, String>,
}

/// What a file holds that a user names: only such a file is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// What it is called.
    pub what: &'static str,
    /// How it begins.
    pub begins: &'static str,
    /// What stands somewhere near its beginning, to tell it from other programs' files.
    pub holds: &'static str,
}

impl Kind {
    /// A kind that its first bytes tell.
    #[must_use]
    pub const fn new(what: &'static str, begins: &'static str) -> Self {
        Self { what, begins, holds: "" }
    }

    fn is(&self, beginning: &[u8]) -> bool {
        let holds = self.holds.as_bytes();
        beginning.starts_with(self.begins.as_bytes())
            && (holds.is_empty() || beginning.windows(holds.len()).any(|window| window == holds))
    }
}

/// Bytes of a file that tell its kind.
const BEGINNING: u64 = 4096;

/// Fails unless a file of this kind may be written to `path`, where `inputs` are the files and folders that are read.
///
/// # Errors
/// It is an input, or in one; it exists and is no regular file, or of another kind.
pub fn check_file(path: &Path, kind: Kind, inputs: &[&Path]) -> Result<(), OutputError> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.map_err(at(path))?,
    };
    let is = match metadata.file_type() {
        it if it.is_dir() => "a folder",
        it if it.is_symlink() => "a symbolic link",
        it if !it.is_file() => "a device, a pipe or a socket",
        _ => "",
    };
    if !is.is_empty() {
        return Err(OutputError::NotRegular { path: path.to_owned(), is });
    }
    if let Ok(real) = path.canonicalize()
        && inputs.iter().filter_map(|input| input.canonicalize().ok()).any(|input| real.starts_with(input))
    {
        return Err(OutputError::IsInput(path.to_owned()));
    }
    let mut beginning = Vec::new();
    File::open(path).and_then(|file| file.take(BEGINNING).read_to_end(&mut beginning)).map_err(at(path))?;
    if beginning.is_empty() || kind.is(&beginning) {
        Ok(())
    } else {
        Err(OutputError::OtherKind { path: path.to_owned(), what: kind.what })
    }
}

/// Writes a file that a user named, of which [`check_file`] holds, under a temporary name, syncs it and renames it.
///
/// # Errors
/// The file system's; a file that may not be replaced.
pub fn write_file(path: &Path, kind: Kind, bytes: &[u8]) -> Result<(), OutputError> {
    check_file(path, kind, &[])?;
    write_atomically(path, bytes)
}

/// [`write_file`] for what is too large to be held in memory.
///
/// # Errors
/// The file system's, or what `write` returns; a file that may not be replaced.
pub fn stream_file(
    path: &Path,
    kind: Kind,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), OutputError> {
    check_file(path, kind, &[])?;
    write_atomically_with(path, |file| {
        let mut out = BufWriter::new(file);
        write(&mut out).and_then(|()| out.flush()).map_err(at(path))
    })
}

/// Writes one file of a folder of ours under a temporary name, syncs it and renames it.
///
/// # Errors
/// The file system's.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    write_atomically_with(path, |file| file.write_all(bytes).map_err(at(path)))
}

fn before(path: &Path, end: &str) -> String {
    format!("{}{end}", path.file_name().unwrap_or_default().to_string_lossy())
}

/// The same for a file that is written piece by piece; what `write` returns ends it, and nothing is left behind.
///
/// # Errors
/// The file system's, or what `write` returns.
pub fn write_atomically_with<E: From<OutputError>>(
    path: &Path,
    write: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<(), E> {
    let (partial, mut file) = Temporary::file(parent_of(path), &before(path, ".tmp-")).map_err(at(path))?;
    write(&mut file)?;
    disk::sync(&file, partial.path()).map_err(at(path))?;
    drop(file);
    Ok(partial.publish(path).map_err(at(path))?)
}

fn manifest_of(folder: &Path) -> Option<Manifest> {
    let manifest: Manifest = serde_json::from_slice(&fs::read(folder.join(MANIFEST)).ok()?).ok()?;
    (manifest.kind == "ResultManifest").then_some(manifest)
}

/// Files that a manifest does not list and that are part of a result.
const UNLISTED: [&str; 2] = [MANIFEST, "timing.json"];

/// Fails unless a result may be written to `destination`.
///
/// # Errors
/// It exists and is no result of a run, or holds what is not of the result.
pub fn check_destination(destination: &Path) -> Result<(), OutputError> {
    let not_ours = || Err(OutputError::NotOurs(destination.to_owned()));
    match fs::symlink_metadata(destination) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(destination)(error)),
        Ok(metadata) if metadata.is_dir() => {}
        // A link to an earlier result is replaced by the new one; what it points to stays.
        Ok(metadata) if metadata.is_symlink() => {
            return if manifest_of(destination).is_some() { Ok(()) } else { not_ours() };
        }
        Ok(_) => return not_ours(),
    }
    if fs::read_dir(destination).map_err(at(destination))?.next().is_none() {
        return Ok(());
    }
    let Some(manifest) = manifest_of(destination) else { return not_ours() };
    // What closes a sweep, or a part of one.
    if ["sweep.json", "shard.json"].iter().any(|name| manifest.files.contains_key(*name)) {
        return Err(OutputError::Sweep(destination.to_owned()));
    }
    let mut folders = vec![String::new()];
    while let Some(within) = folders.pop() {
        let folder = destination.join(&within);
        let entries = fs::read_dir(&folder).map_err(at(&folder))?;
        let mut names = entries
            .map(|entry| entry.map(|e| (e.file_name().to_string_lossy().into_owned(), e.file_type())))
            .collect::<Result<Vec<_>, _>>()
            .map_err(at(&folder))?;
        names.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, file_type) in names {
            let name = format!("{within}{name}");
            if file_type.is_ok_and(|it| it.is_dir()) {
                folders.push(format!("{name}/"));
            } else if !manifest.files.contains_key(&name) && !UNLISTED.contains(&name.as_str()) {
                return Err(OutputError::Foreign { folder: destination.to_owned(), file: name });
            }
        }
    }
    Ok(())
}

/// Puts a result back that a process left aside when it was killed while it replaced it; what to tell the user.
#[must_use]
pub fn mend(destination: &Path) -> Option<String> {
    let is_ours = |folder: &Path| manifest_of(folder).is_some();
    let old = temporary::mend(destination, &before(destination, ".old-"), is_ours)?;
    let (old, destination) = (old.display(), destination.display());
    Some(format!("note: {destination}: put back from {old}, where a process that was killed had left it"))
}

/// A result folder that is being built.
pub struct Staging {
    destination: PathBuf,
    partial: Temporary,
    files: BTreeMap<String, String>,
}

/// Hashes what it writes.
pub(super) struct Hashing<W> {
    pub(super) inner: W,
    pub(super) hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Staging {
    /// Begins a folder that will stand at `destination`.
    ///
    /// # Errors
    /// The destination exists and is no result, or can't be written.
    pub fn new(destination: &Path) -> Result<Self, OutputError> {
        check_destination(destination)?;
        let parent = parent_of(destination);
        disk::create_folders(parent).map_err(at(parent))?;
        let partial = Temporary::folder(parent, &before(destination, ".tmp-")).map_err(at(destination))?;
        Ok(Self { destination: destination.to_owned(), partial, files: BTreeMap::new() })
    }

    /// Writes a file of the folder (`name` may have one folder before it); its hash goes into the manifest.
    ///
    /// # Errors
    /// The file system's, or what `write` returns.
    pub fn file(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>,
    ) -> Result<(), OutputError> {
        let path = self.partial.path().join(name);
        if let Some(folder) = path.parent() {
            disk::create_folders(folder).map_err(at(folder))?;
        }
        let file = disk::create(&path).map_err(at(&path))?;
        let mut hashing = Hashing { inner: BufWriter::new(file), hash: Sha256::new() };
        write(&mut hashing).map_err(at(&path))?;
        let file = hashing.inner.into_inner().map_err(|e| at(&path)(e.into_error()))?;
        disk::sync(&file, &path).map_err(at(&path))?;
        self.files.insert(name.to_owned(), hex(&hashing.hash.finalize()));
        Ok(())
    }

    /// Writes a file that no hash covers.
    ///
    /// # Errors
    /// The file system's.
    pub fn unhashed(&self, name: &str, bytes: &[u8]) -> Result<(), OutputError> {
        let path = self.partial.path().join(name);
        let mut file = disk::create(&path).map_err(at(&path))?;
        file.write_all(bytes).and_then(|()| disk::sync(&file, &path)).map_err(at(&path))
    }

    /// Writes what remains of a run, under `prefix` (empty, or a folder's name and a slash).
    ///
    /// # Errors
    /// The file system's; Parquet in a build without it.
    pub fn run(&mut self, prefix: &str, run: &Completed, pods: PodsFormat) -> Result<(), OutputError> {
        self.file(&format!("{prefix}summary.json"), |out| out.write_all(run.summary.to_json().as_bytes()))?;
        self.file(&format!("{prefix}series.csv"), |out| write_series(out, &run.finished))?;
        self.file(&format!("{prefix}telemetry.csv"), |out| telemetry::write(out, &run.finished))?;
        self.file(&format!("{prefix}node_fill.csv"), |out| node_fill::write(out, &run.finished))?;
        if queue_use::applies(&run.finished) {
            self.file(&format!("{prefix}queues.csv"), |out| queue_use::write(out, &run.finished))?;
        }
        match pods {
            PodsFormat::None => Ok(()),
            PodsFormat::Csv => {
                self.file(&format!("{prefix}pods.csv"), |out| write_pods_csv(out, &run.finished))
            }
            #[cfg(feature = "parquet")]
            PodsFormat::Parquet => self.file(&format!("{prefix}pods.parquet"), |out| {
                parquet_table::write(out, &run.finished).map_err(io::Error::other)
            }),
            #[cfg(not(feature = "parquet"))]
            PodsFormat::Parquet => Err(OutputError::NoParquet),
        }
    }

    /// Writes the manifest and puts the folder in place.
    ///
    /// # Errors
    /// The file system's; then the destination is as it was.
    pub fn publish(mut self) -> Result<(), OutputError> {
        let mut folders = BTreeSet::from([self.partial.path().to_owned()]);
        folders.extend(
            self.files.keys().filter_map(|name| Some(self.partial.path().join(name).parent()?.to_owned())),
        );
        let manifest = Manifest {
            kind: "ResultManifest".to_owned(),
            podpace: VERSION.to_owned(),
            files: std::mem::take(&mut self.files),
        };
        let path = self.partial.path().join(MANIFEST);
        let mut file = disk::create(&path).map_err(at(&path))?;
        file.write_all(to_json(&manifest).as_bytes()).map_err(at(&path))?;
        disk::sync(&file, &path).map_err(at(&path))?;
        for folder in &folders {
            disk::sync_folder_if_can(folder);
        }
        let destination = self.destination;
        self.partial.replace(&destination, &before(&destination, ".old-")).map_err(at(&destination))
    }
}

/// The columns of the table of pods besides `pod`, `app` and `node`.
type Column = (&'static str, fn(&Timeline) -> Nanos);
const COLUMNS: [Column; 8] = [
    ("created_ns", |t| t.created_ns),
    ("queued_ns", |t| t.queued_ns),
    ("cycle_ns", |t| t.cycle_ns),
    ("assumed_ns", |t| t.assumed_ns),
    ("bind_sent_ns", |t| t.bind_sent_ns),
    ("bound_ns", |t| t.bound_ns),
    ("running_ns", |t| t.running_ns),
    ("finished_ns", |t| t.finished_ns),
];

/// Every pod with the times of its stages, in order of creation; what has not happened is empty.
///
/// # Errors
/// The writer's.
pub fn write_pods_csv(out: &mut (dyn Write + Send), run: &Finished) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    let names = COLUMNS.iter().map(|(name, _)| *name);
    csv.write_record(["pod", "app", "node"].into_iter().chain(names))?;
    let (pods, nodes) = (&run.cluster.pods, &run.cluster.nodes);
    let mut text = String::new();
    for pod in 0..pods.len() as PodId {
        use std::fmt::Write as _;
        text.clear();
        let _ = write!(text, "{pod}");
        csv.write_field(&text)?;
        csv.write_field(&pods.apps()[pods.app_id(pod) as usize].name)?;
        csv.write_field(if pods.node(pod) == NO_NODE { "" } else { &nodes.get(pods.node(pod)).name })?;
        let timeline = pods.timeline(pod);
        for (_, time) in COLUMNS {
            text.clear();
            if time(timeline) != u64::MAX {
                let _ = write!(text, "{}", time(timeline));
            }
            csv.write_field(&text)?;
        }
        csv.write_record(None::<&[u8]>)?;
    }
    csv.flush()
}

/// Cumulative counts at every step, and the pods bound per second of the window that ends there (like PromQL's
/// `rate`; the first windows are as long as the run so far).
///
/// # Errors
/// The writer's.
pub fn write_series(out: &mut (dyn Write + Send), run: &Finished) -> io::Result<()> {
    let pods = &run.cluster.pods;
    let columns: [Column; 5] = [
        ("created", |t| t.created_ns),
        ("assumed", |t| t.assumed_ns),
        ("bound", |t| t.bound_ns),
        ("started", |t| t.running_ns),
        ("finished", |t| t.finished_ns),
    ];
    let times: Vec<Vec<Nanos>> = columns.iter().map(|(_, column)| stage_times(pods, column)).collect();
    let end = run.kernel.now();
    let step = run.step_ns.max(1) * (end / run.step_ns.max(1) / MAX_SERIES_ROWS + 1);
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(["t_s", "created", "assumed", "bound", "started", "finished", "bound_per_s"])?;
    let mut at = 0;
    let mut index = [0usize; 5];
    let mut window_start = 0usize;
    let bound = &times[2];
    loop {
        for (series, index) in times.iter().zip(&mut index) {
            while series.get(*index).is_some_and(|t| *t <= at) {
                *index += 1;
            }
        }
        let window = run.window_ns.min(at);
        while bound.get(window_start).is_some_and(|t| *t <= at - window) && window < at {
            window_start += 1;
        }
        let inside = index[2] - window_start;
        let rate = if window == 0 { 0.0 } else { inside as f64 * SECOND as f64 / window as f64 };
        let mut record = vec![(at as f64 / SECOND as f64).to_string()];
        record.extend(index.iter().map(ToString::to_string));
        record.push(rate.to_string());
        csv.write_record(&record)?;
        if at >= end {
            break;
        }
        at = (at + step).min(end);
    }
    csv.flush()
}

/// Pods bound in each of `buckets` equal spans from 0 to the last binding, per second, and that time.
#[must_use]
pub fn bound_rates(run: &Finished, buckets: usize) -> (Vec<f64>, Nanos) {
    let times = stage_times(&run.cluster.pods, |t| t.bound_ns);
    let end = times.last().copied().unwrap_or(0);
    let width = (end / buckets.max(1) as u64).max(1);
    let mut counts = vec![0u64; buckets];
    for t in times {
        counts[((t / width) as usize).min(buckets - 1)] += 1;
    }
    (counts.iter().map(|n| *n as f64 * SECOND as f64 / width as f64).collect(), end)
}

#[cfg(feature = "parquet")]
pub use parquet_table::batch as pods_batch;

#[cfg(feature = "parquet")]
mod parquet_table {
    //! The table of pods as Arrow columns, and as Parquet, zstd, one row group a million pods.
    use std::io::Write;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
    use arrow_schema::ArrowError;
    use parquet::arrow::ArrowWriter;
    use parquet::basic::{Compression, ZstdLevel};
    use parquet::errors::ParquetError;
    use parquet::file::properties::WriterProperties;

    use super::COLUMNS;
    use crate::cluster::{NO_NODE, PodId};
    use crate::experiment::simulation::Finished;

    const ROWS: usize = 100_000;

    /// The pods `from..to` as Arrow columns: those of `pods.parquet`.
    ///
    /// # Errors
    /// None in practice: the columns are of one length.
    pub fn batch(run: &Finished, from: usize, to: usize) -> Result<RecordBatch, ArrowError> {
        let (pods, nodes) = (&run.cluster.pods, &run.cluster.nodes);
        let ids = || from as PodId..to as PodId;
        let apps = pods.apps();
        let app: StringArray = ids().map(|p| Some(&*apps[pods.app_id(p) as usize].name)).collect();
        let node: StringArray =
            ids().map(|p| pods.node(p)).map(|n| (n != NO_NODE).then(|| nodes.get(n).name.as_str())).collect();
        let pod = UInt64Array::from_iter_values(ids().map(u64::from));
        let mut columns: Vec<(&str, ArrayRef, bool)> =
            vec![("pod", Arc::new(pod), false), ("app", Arc::new(app), true), ("node", Arc::new(node), true)];
        for (name, time) in COLUMNS {
            let times: UInt64Array =
                ids().map(|p| time(pods.timeline(p))).map(|t| (t != u64::MAX).then_some(t)).collect();
            columns.push((name, Arc::new(times), true));
        }
        RecordBatch::try_from_iter_with_nullable(columns)
    }

    pub(super) fn write(out: &mut (dyn Write + Send), run: &Finished) -> Result<(), ParquetError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by("podpace".to_owned())
            .build();
        let first = batch(run, 0, run.cluster.pods.len().min(ROWS))?;
        let mut writer = ArrowWriter::try_new(out, first.schema(), Some(properties))?;
        writer.write(&first)?;
        let mut from = first.num_rows();
        while from < run.cluster.pods.len() {
            let to = (from + ROWS).min(run.cluster.pods.len());
            writer.write(&batch(run, from, to)?)?;
            from = to;
        }
        writer.close()?;
        Ok(())
    }
}

/// One hash over summary, series and pods: what `--verify-determinism` and the tests compare.
///
/// # Errors
/// None in practice; the hasher never fails.
pub fn digest(run: &Completed) -> io::Result<String> {
    let mut out = Hashing { inner: io::sink(), hash: Sha256::new() };
    out.write_all(run.summary.to_json().as_bytes())?;
    write_series(&mut out, &run.finished)?;
    write_pods_csv(&mut out, &run.finished)?;
    Ok(hex(&out.hash.finalize()))
}
