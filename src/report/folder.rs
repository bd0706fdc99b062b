//! Reads a result folder back: summary, pods, telemetry, node fill.
//!
//! A folder of `run` holds one run, a folder of an experiment one a run and seed. Every file that is used has to have the
//! SHA-256 that the manifest says; what is missing or damaged is named with what to do.
//!
//! Cost: O(pods); 1 million pods from Parquet take about half a second.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::cluster::Timeline;
use crate::engine::Nanos;
use crate::experiment::output::{MANIFEST, Manifest};
use crate::experiment::run::Summary;

/// A result can't be shown.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file or folder is missing, damaged, or no result.
    #[error("{}: {message}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What is wrong with it and what to do.
        message: String,
    },
    /// A format needs what the result does not have.
    #[error("{0}")]
    Missing(String),
}

fn wrong(path: &Path, message: impl Into<String>) -> ReportError {
    ReportError::Folder { path: path.to_owned(), message: message.into() }
}

/// A table of integers by column.
#[derive(Clone, Debug, Default)]
pub struct Table {
    columns: Vec<String>,
    times_ns: Vec<Nanos>,
    values: Vec<u64>,
}

impl Table {
    fn read(path: &Path) -> Result<Self, ReportError> {
        if !path.is_file() {
            let message =
                "no such file: the result is damaged or from an older podpace; run it again with --out";
            return Err(wrong(path, message));
        }
        let bad = |e: csv::Error| wrong(path, format!("is damaged: {e}"));
        let mut reader = csv::Reader::from_path(path).map_err(bad)?;
        let header = reader.headers().map_err(bad)?.clone();
        if header.get(0) != Some("t_ns") {
            return Err(wrong(path, "is damaged: its first column is not `t_ns`"));
        }
        let mut table =
            Self { columns: header.iter().skip(1).map(str::to_owned).collect(), ..Self::default() };
        for record in reader.records() {
            let record = record.map_err(bad)?;
            let line = record.position().map_or(0, csv::Position::line);
            for (at, field) in record.iter().enumerate() {
                let value: u64 = field.parse().map_err(|_| {
                    wrong(path, format!("is damaged: line {line}: `{field}` is no whole number"))
                })?;
                if at == 0 {
                    if table.times_ns.last().is_some_and(|last| *last >= value) {
                        return Err(wrong(path, format!("is damaged: line {line}: time does not go on")));
                    }
                    table.times_ns.push(value);
                } else {
                    table.values.push(value);
                }
            }
        }
        if table.times_ns.is_empty() {
            return Err(wrong(path, "is damaged: it has no rows"));
        }
        Ok(table)
    }

    /// Names of the columns.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Times of the rows, ns.
    #[must_use]
    pub fn times_ns(&self) -> &[Nanos] {
        &self.times_ns
    }

    /// A column's values, one a row; zeros if there is none of that name.
    #[must_use]
    pub fn column(&self, name: &str) -> Vec<u64> {
        match self.columns.iter().position(|c| c == name) {
            None => vec![0; self.times_ns.len()],
            Some(at) => self.values.chunks_exact(self.columns.len()).map(|row| row[at]).collect(),
        }
    }

    /// Whether there is a column.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|c| c == name)
    }
}

/// Every pod of a run.
#[derive(Clone, Debug, Default)]
pub struct PodTable {
    /// When each pod reached each stage, in order of creation.
    pub timelines: Vec<Timeline>,
    /// Names of applications.
    pub apps: Vec<String>,
    /// Names of nodes.
    pub nodes: Vec<String>,
    /// By pod: index of its application.
    pub app: Vec<u32>,
    /// By pod: index of its node.
    pub node: Vec<Option<u32>>,
}

/// Names to dense indices.
#[derive(Default)]
struct Names {
    names: Vec<String>,
    index: BTreeMap<String, u32>,
    last: Option<(String, u32)>,
}

impl Names {
    fn of(&mut self, name: &str) -> u32 {
        if let Some((last, id)) = &self.last
            && last == name
        {
            return *id;
        }
        let id = match self.index.get(name) {
            Some(id) => *id,
            None => {
                let id = self.names.len() as u32;
                self.names.push(name.to_owned());
                self.index.insert(name.to_owned(), id);
                id
            }
        };
        self.last = Some((name.to_owned(), id));
        id
    }
}

/// The columns of times, with where they belong.
type Time = (&'static str, fn(&mut Timeline) -> &mut u64);
const TIMES: [Time; 8] = [
    ("created_ns", |t| &mut t.created_ns),
    ("queued_ns", |t| &mut t.queued_ns),
    ("cycle_ns", |t| &mut t.cycle_ns),
    ("assumed_ns", |t| &mut t.assumed_ns),
    ("bind_sent_ns", |t| &mut t.bind_sent_ns),
    ("bound_ns", |t| &mut t.bound_ns),
    ("running_ns", |t| &mut t.running_ns),
    ("finished_ns", |t| &mut t.finished_ns),
];

fn read_csv(path: &Path) -> Result<PodTable, ReportError> {
    let bad = |e: csv::Error| wrong(path, format!("is damaged: {e}"));
    let mut reader = csv::Reader::from_path(path).map_err(bad)?;
    let header = reader.headers().map_err(bad)?.clone();
    let column = |name: &str| {
        let found = header.iter().position(|h| h == name);
        found.ok_or_else(|| wrong(path, format!("is damaged: it has no column `{name}`")))
    };
    let (app, node) = (column("app")?, column("node")?);
    let mut times = Vec::new();
    for (name, slot) in TIMES {
        times.push((column(name)?, slot));
    }
    let (mut table, mut apps, mut nodes) = (PodTable::default(), Names::default(), Names::default());
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(bad)? {
        let mut timeline = Timeline::EMPTY;
        for (at, slot) in &times {
            let field = &record[*at];
            if !field.is_empty() {
                *slot(&mut timeline) = field.parse().map_err(|_| {
                    let line = record.position().map_or(0, csv::Position::line);
                    wrong(path, format!("is damaged: line {line}: `{field}` is no time in nanoseconds"))
                })?;
            }
        }
        table.timelines.push(timeline);
        table.app.push(apps.of(&record[app]));
        table.node.push((!record[node].is_empty()).then(|| nodes.of(&record[node])));
    }
    (table.apps, table.nodes) = (apps.names, nodes.names);
    Ok(table)
}

#[cfg(feature = "parquet")]
fn read_parquet(path: &Path) -> Result<PodTable, ReportError> {
    use arrow_array::{Array, StringArray, UInt64Array};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    let bad = |message: String| wrong(path, format!("is damaged: {message}"));
    let file = fs::File::open(path).map_err(|e| wrong(path, format!("can't be read: {e}")))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|builder| builder.with_batch_size(65_536).build())
        .map_err(|e| bad(e.to_string()))?;
    let (mut table, mut apps, mut nodes) = (PodTable::default(), Names::default(), Names::default());
    for batch in reader {
        let batch = batch.map_err(|e| bad(e.to_string()))?;
        let texts = |name: &str| {
            let column = batch.column_by_name(name).and_then(|c| c.as_any().downcast_ref::<StringArray>());
            column.ok_or_else(|| bad(format!("it has no column of texts `{name}`")))
        };
        let (app, node) = (texts("app")?, texts("node")?);
        let from = table.timelines.len();
        table.timelines.resize(from + batch.num_rows(), Timeline::EMPTY);
        for (name, slot) in TIMES {
            let column = batch.column_by_name(name).and_then(|c| c.as_any().downcast_ref::<UInt64Array>());
            let column = column.ok_or_else(|| bad(format!("it has no column of times `{name}`")))?;
            for (timeline, time) in table.timelines[from..].iter_mut().zip(column.iter()) {
                if let Some(time) = time {
                    *slot(timeline) = time;
                }
            }
        }
        for row in 0..batch.num_rows() {
            table.app.push(apps.of(if app.is_null(row) { "" } else { app.value(row) }));
            table.node.push((!node.is_null(row)).then(|| nodes.of(node.value(row))));
        }
    }
    (table.apps, table.nodes) = (apps.names, nodes.names);
    Ok(table)
}

#[cfg(not(feature = "parquet"))]
fn read_parquet(path: &Path) -> Result<PodTable, ReportError> {
    Err(wrong(
        path,
        "this build reads no Parquet; write the result with --pods csv, or build with the feature `parquet`",
    ))
}

/// One run's result.
#[derive(Clone, Debug)]
pub struct RunResult {
    /// Name of the run, with its seed if its folder says so.
    pub name: String,
    /// `summary.json`.
    pub summary: Summary,
    /// Every pod; none after `--pods none`.
    pub pods: Option<PodTable>,
    /// `telemetry.csv`.
    pub telemetry: Table,
    /// `node_fill.csv`.
    pub node_fill: Table,
    /// `queues.csv`, if applications ask for different queues.
    pub queues: Option<Table>,
}

/// The files that are read of a run.
const FILES: [&str; 6] =
    ["summary.json", "pods.parquet", "pods.csv", "telemetry.csv", "node_fill.csv", "queues.csv"];

/// Compares the files that are there with the manifest of the folder, or of the experiment's folder around it. A folder that
/// was copied without one can't be compared.
fn verify(folder: &Path) -> Result<(), ReportError> {
    let around = folder.canonicalize().ok().and_then(|real| {
        let name = real.file_name()?.to_string_lossy().into_owned();
        Some((real.parent()?.join(MANIFEST), format!("{name}/")))
    });
    let own = (folder.join(MANIFEST), String::new());
    let Some((path, prefix)) = std::iter::once(own).chain(around).find(|(path, _)| path.is_file()) else {
        return Ok(());
    };
    let text = fs::read(&path).map_err(|e| wrong(&path, format!("can't be read: {e}")))?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|e| wrong(&path, format!("is damaged: {e}; run the scenario again with --out")))?;
    if !prefix.is_empty() && !manifest.files.contains_key(&format!("{prefix}summary.json")) {
        // The manifest of something else.
        return Ok(());
    }
    for name in FILES {
        let file = folder.join(name);
        if !file.is_file() {
            continue;
        }
        let said = manifest.files.get(&format!("{prefix}{name}"));
        let mut hash = Sha256::new();
        fs::File::open(&file)
            .and_then(|mut opened| std::io::copy(&mut opened, &mut HashWriter(&mut hash)))
            .map_err(|e| wrong(&file, format!("can't be read: {e}")))?;
        let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let message = match said {
            Some(said) if *said == found => continue,
            Some(_) => {
                "is damaged, or was changed: its SHA-256 is not the manifest's; run the scenario again with --out"
            }
            None => {
                "is not in the manifest of the result, so that it was not written with it; remove it, or run the scenario again with --out"
            }
        };
        return Err(wrong(&file, message));
    }
    Ok(())
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl RunResult {
    fn read(folder: &Path, name: Option<&str>) -> Result<Self, ReportError> {
        verify(folder)?;
        let path = folder.join("summary.json");
        let text = fs::read(&path).map_err(|e| wrong(&path, format!("can't be read: {e}")))?;
        let summary: Summary = serde_json::from_slice(&text)
            .map_err(|e| wrong(&path, format!("is no result of podpace: {e}")))?;
        let (csv, parquet) = (folder.join("pods.csv"), folder.join("pods.parquet"));
        let pods = match (parquet.is_file(), csv.is_file()) {
            (true, _) => Some(read_parquet(&parquet)?),
            (_, true) => Some(read_csv(&csv)?),
            _ => None,
        };
        Ok(Self {
            name: name.map_or_else(|| summary.scenario.clone(), str::to_owned),
            pods,
            telemetry: Table::read(&folder.join("telemetry.csv"))?,
            node_fill: Table::read(&folder.join("node_fill.csv"))?,
            queues: {
                let path = folder.join("queues.csv");
                if path.is_file() { Some(Table::read(&path)?) } else { None }
            },
            summary,
        })
    }

    /// The pods.
    ///
    /// # Errors
    /// The result was written without them.
    pub fn pods(&self) -> Result<&PodTable, ReportError> {
        self.pods.as_ref().ok_or_else(|| {
            let message = "has no table of pods; run it again without --pods none";
            ReportError::Missing(format!("the result of {} {message}", self.name))
        })
    }

    /// When the run ended, ns.
    #[must_use]
    pub fn end_ns(&self) -> Nanos {
        self.telemetry.times_ns.last().copied().unwrap_or(0)
    }
}

/// Reads every run of a result folder, in order of name.
///
/// # Errors
/// It is no result of `run`, or damaged.
pub fn load(folder: &Path) -> Result<Vec<RunResult>, ReportError> {
    if !folder.is_dir() {
        return Err(wrong(folder, "no such folder; name a folder written by `podpace run .. --out`"));
    }
    if folder.join("summary.json").is_file() {
        return Ok(vec![RunResult::read(folder, None)?]);
    }
    if folder.join("runs").is_dir() {
        let message = "is a sweep, which keeps no series; `podpace diff` compares sweeps, `podpace run --set .. --out` \
                       writes one point";
        return Err(wrong(folder, message));
    }
    let entries = fs::read_dir(folder).map_err(|e| wrong(folder, format!("can't be read: {e}")))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut runs = Vec::new();
    for path in paths.iter().filter(|path| path.join("summary.json").is_file()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().replace("-seed", ", seed ");
        runs.push(RunResult::read(path, Some(&name))?);
    }
    if runs.is_empty() {
        return Err(wrong(folder, "holds no result; name a folder written by `podpace run .. --out`"));
    }
    Ok(runs)
}
