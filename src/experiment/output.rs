//! Result folders: what a run leaves on disk, and how nothing is ever half-written.
//!
//! A folder is built beside its destination under a temporary name, every file is synced, a manifest with the
//! SHA-256 of each file closes it, and one rename puts it in place. A destination that exists is replaced only
//! if it is a result of podpace (it holds a manifest) or empty.
//!
//! Files: `summary.json`, `pods.parquet` or `pods.csv`, `series.csv`, `telemetry.csv`, `node_fill.csv`, `queues.csv`,
//! `manifest.json`; `timing.json` is the only one with wall-clock times and no hash covers it.
//!
//! Cost: O(pods + steps) a run; memory O(pods) for Parquet's columns, O(1) for CSV.
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// Temporary files and folders that exist now. Whoever holds the lock keeps an interrupted process alive until a
/// rename is complete.
static TEMPORARY: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn temporary() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what is half-written, for a process that is about to be interrupted. Nothing can be published after.
pub fn abandon_all() {
    let paths = temporary();
    for path in paths.iter() {
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
    // Never unlocked: a thread that wants to publish now waits until the process is gone.
    std::mem::forget(paths);
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".tmp-{}", std::process::id()));
    path.with_file_name(name)
}

/// Whether a path has the form of [`temporary_name`]: what a killed process leaves.
pub(super) fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.rsplit_once(".tmp-").is_some_and(|(before, pid)| {
        !before.is_empty() && !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Writes one file under a temporary name, syncs it and renames it.
///
/// # Errors
/// The file system's.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    write_atomically_with(path, |file| file.write_all(bytes).map_err(at(path)))
}

/// [`write_atomically`] for what is too large to be held in memory.
///
/// # Errors
/// The file system's, or what `write` returns.
pub fn stream_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), OutputError> {
    write_atomically_with(path, |file| {
        let mut out = BufWriter::new(file);
        write(&mut out).and_then(|()| out.flush()).map_err(at(path))
    })
}

/// The same for a file that is written piece by piece; what `write` returns ends it, and nothing is left behind.
///
/// # Errors
/// The file system's, or what `write` returns.
pub fn write_atomically_with<E: From<OutputError>>(
    path: &Path,
    write: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<(), E> {
    let partial = temporary_name(path);
    temporary().insert(partial.clone());
    let written = (|| {
        let mut file = File::create(&partial).map_err(at(path))?;
        write(&mut file)?;
        Ok(file.sync_all().map_err(at(path))?)
    })();
    let mut paths = temporary();
    let renamed = written.and_then(|()| Ok(fs::rename(&partial, path).map_err(at(path))?));
    paths.remove(&partial);
    drop(paths);
    match &renamed {
        Ok(()) => sync_folder(path.parent().unwrap_or(Path::new("."))),
        Err(_) => drop(fs::remove_file(&partial)),
    }
    renamed
}

/// Fails unless a result may be written to `destination`.
///
/// # Errors
/// It exists and is no result.
pub fn check_destination(destination: &Path) -> Result<(), OutputError> {
    if !destination.exists() && !destination.is_symlink() {
        return Ok(());
    }
    let is_empty_folder = fs::read_dir(destination).is_ok_and(|mut entries| entries.next().is_none());
    let is_ours = fs::read(destination.join(MANIFEST))
        .ok()
        .and_then(|text| serde_json::from_slice::<Manifest>(&text).ok())
        .is_some_and(|manifest| manifest.kind == "ResultManifest");
    if is_empty_folder || is_ours { Ok(()) } else { Err(OutputError::NotOurs(destination.to_owned())) }
}

/// A result folder that is being built.
pub struct Staging {
    destination: PathBuf,
    partial: PathBuf,
    files: BTreeMap<String, String>,
    published: bool,
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
        let partial = temporary_name(destination);
        temporary().insert(partial.clone());
        let staging = Self {
            destination: destination.to_owned(),
            partial: partial.clone(),
            files: BTreeMap::new(),
            published: false,
        };
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(at(&partial))?;
        }
        fs::create_dir_all(&partial).map_err(at(&partial))?;
        Ok(staging)
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
        let path = self.partial.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(at(folder))?;
        }
        let file = File::create(&path).map_err(at(&path))?;
        let mut hashing = Hashing { inner: BufWriter::new(file), hash: Sha256::new() };
        write(&mut hashing).map_err(at(&path))?;
        let file = hashing.inner.into_inner().map_err(|e| at(&path)(e.into_error()))?;
        file.sync_all().map_err(at(&path))?;
        self.files.insert(name.to_owned(), hex(&hashing.hash.finalize()));
        Ok(())
    }

    /// Writes a file that no hash covers.
    ///
    /// # Errors
    /// The file system's.
    pub fn unhashed(&self, name: &str, bytes: &[u8]) -> Result<(), OutputError> {
        let path = self.partial.join(name);
        fs::write(&path, bytes).map_err(at(&path))
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
        let manifest = Manifest {
            kind: "ResultManifest".to_owned(),
            podpace: VERSION.to_owned(),
            files: std::mem::take(&mut self.files),
        };
        let path = self.partial.join(MANIFEST);
        let mut file = File::create(&path).map_err(at(&path))?;
        file.write_all(to_json(&manifest).as_bytes()).map_err(at(&path))?;
        file.sync_all().map_err(at(&path))?;
        sync_folder(&self.partial);
        let mut paths = temporary();
        let old = self.destination.with_file_name({
            let mut name = self.destination.file_name().unwrap_or_default().to_owned();
            name.push(format!(".old-{}", std::process::id()));
            name
        });
        let exists = self.destination.exists();
        if exists {
            fs::rename(&self.destination, &old).map_err(at(&self.destination))?;
        }
        if let Err(error) = fs::rename(&self.partial, &self.destination) {
            if exists {
                let _ = fs::rename(&old, &self.destination);
            }
            return Err(at(&self.destination)(error));
        }
        paths.remove(&self.partial);
        drop(paths);
        self.published = true;
        if exists {
            let _ = fs::remove_dir_all(&old);
        }
        if let Some(parent) = self.destination.parent() {
            sync_folder(parent);
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_dir_all(&self.partial);
            temporary().remove(&self.partial);
        }
    }
}

/// Makes a rename durable where the system can; a folder can't be opened everywhere.
pub(super) fn sync_folder(path: &Path) {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    if let Ok(folder) = File::open(path) {
        let _ = folder.sync_all();
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
