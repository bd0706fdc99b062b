//! Sweeps: a grid of settings, each point under several seeds.
//!
//! Rows come in grid order (the last axis fastest) whatever the number of threads, and their statistics are taken
//! over seeds in order, so the table has the same bytes with any `--jobs`. Seeds are common to all points: two
//! points under the same seed share their workload, which makes their difference sharper than either.
//!
//! With a [`Store`], every finished run is one file, written under a temporary name, synced and renamed; resuming
//! skips files whose input hash is what the run would have now.
//!
//! Cost: the runs', over the pool's threads; memory is one simulation a thread and one summary a run.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::check::median;
use super::output::{MANIFEST, Manifest, OutputError, write_atomically};
use super::run::{Environment, RunError, RunSpec, Summary, VERSION, sha256_hex, simulate_plan, to_json};
use crate::scenario::{Diagnostic, Document, DocumentKind, limits};

/// One point of the grid.
#[derive(Clone, Debug)]
pub struct Point {
    /// Its settings, in the order of the axes.
    pub settings: Vec<(String, String)>,
    /// The scenario with its first seed.
    pub run: RunSpec,
    /// How many seeds.
    pub seeds: u64,
}

impl Point {
    /// `path=value,path=value`, or the scenario's name if nothing varies.
    #[must_use]
    pub fn name(&self) -> String {
        if self.settings.is_empty() {
            return self.run.name.clone();
        }
        self.settings.iter().map(|(p, v)| format!("{p}={v}")).collect::<Vec<_>>().join(",")
    }
}

/// Splits `path=v1,v2,..` at commas outside brackets and quotes.
///
/// # Errors
/// No `=`, or no value.
pub fn parse_vary(argument: &str) -> Result<(String, Vec<String>), Box<Diagnostic>> {
    let error = |message: &str| {
        let hint = "write --vary path=v1,v2, such as scheduler.client.qps=100,200";
        Box::new(Diagnostic::of_file(format!("--vary {argument}"), message, hint))
    };
    let (path, list) = argument.split_once('=').ok_or_else(|| error("no `=` in it"))?;
    let mut values = vec![String::new()];
    let (mut depth, mut quote) = (0u32, None);
    for c in list.chars() {
        match (c, quote) {
            (',', None) if depth == 0 => {
                values.push(String::new());
                continue;
            }
            ('[' | '{', None) => depth += 1,
            (']' | '}', None) => depth = depth.saturating_sub(1),
            ('"' | '\'', None) => quote = Some(c),
            (_, Some(open)) if c == open => quote = None,
            _ => {}
        }
        values.last_mut().expect("never empty").push(c);
    }
    let values: Vec<String> = values.into_iter().map(|v| v.trim().to_owned()).collect();
    if path.trim().is_empty() || values.iter().any(String::is_empty) {
        return Err(error("an empty path or value"));
    }
    Ok((path.trim().to_owned(), values))
}

/// The grid of a scenario over the axes of `vary` (`path=v1,v2`), or of a sweep document (which has axes of its own).
///
/// # Errors
/// Every error of every point.
pub fn grid(document: &Document, vary: &[String], seeds: Option<u64>) -> Result<Vec<Point>, Vec<Diagnostic>> {
    if document.kind() == DocumentKind::Sweep {
        if !vary.is_empty() {
            let hint = "add an axis to the file, or sweep a scenario".to_owned();
            return Err(vec![document.diagnostic(
                "vary",
                "a sweep has its own axes; --vary adds none",
                Some(hint),
            )]);
        }
        let sweep = document.decode_sweep()?;
        return Ok(sweep
            .runs
            .into_iter()
            .map(|run| {
                let settings = run.name.split(',').filter_map(|s| s.split_once('='));
                let settings = settings.map(|(p, v)| (p.to_owned(), v.to_owned())).collect();
                let seed = run.scenario.seed.unwrap_or(1);
                let spec = RunSpec { name: run.name, scenario: run.scenario, document: run.document, seed };
                Point { settings, run: spec, seeds: seeds.unwrap_or(run.seeds) }
            })
            .collect());
    }
    let document = super::run::scenario_only(document)?;
    let mut axes = Vec::new();
    for argument in vary {
        axes.push(parse_vary(argument).map_err(|e| vec![*e])?);
    }
    let count = axes.iter().fold(1u64, |n, (_, values)| n.saturating_mul(values.len() as u64));
    if count > limits::RUNS {
        let message = format!("the grid has {count} points; podpace runs at most {}", limits::RUNS);
        return Err(vec![Diagnostic::of_file("--vary", message, "vary less at once")]);
    }
    let mut points = Vec::new();
    let mut errors: Vec<Diagnostic> = Vec::new();
    for index in 0..count {
        let mut rest = index;
        let mut settings: Vec<(String, String)> = axes
            .iter()
            .rev()
            .map(|(path, values)| {
                let n = values.len() as u64;
                let value = values[(rest % n) as usize].clone();
                rest /= n;
                (path.clone(), value)
            })
            .collect();
        settings.reverse();
        let mut varied = document.clone();
        let failed: Vec<Diagnostic> = settings
            .iter()
            .filter_map(|(path, value)| varied.set(&format!("{path}={value}")).err().map(|e| *e))
            .collect();
        if failed.is_empty() {
            match RunSpec::of_scenario(varied) {
                Ok(run) => points.push(Point { settings, run, seeds: seeds.unwrap_or(1) }),
                Err(found) => errors.extend(found),
            }
        } else {
            errors.extend(failed);
        }
        if errors.len() > limits::ERRORS {
            break;
        }
    }
    errors.dedup();
    if errors.is_empty() { Ok(points) } else { Err(errors) }
}

/// A metric over the seeds of a point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statistics {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub median: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// 5th percentile, nearest rank.
    pub p5: f64,
    /// 95th percentile, nearest rank.
    pub p95: f64,
}

impl Statistics {
    /// Over values in order of seeds.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let rank = |q: usize| sorted.get((n * q).div_ceil(100).max(1) - 1).copied().unwrap_or(f64::NAN);
        Self {
            mean: sorted.iter().sum::<f64>() / n as f64,
            median: median(&sorted),
            min: rank(0),
            max: rank(100),
            p5: rank(5),
            p95: rank(95),
        }
    }
}

/// One point's results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SweepRow {
    /// `path=value,path=value`.
    pub point: String,
    /// Settings by path.
    pub settings: Vec<(String, String)>,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// Every metric that all its runs have, over seeds.
    pub metrics: BTreeMap<String, Statistics>,
    /// What limited the first seed's run.
    pub limited_by: String,
}

/// Runs a grid on the current pool of threads. `done()` is called after every run. With a store, finished runs are
/// kept there, and those it has already are not run again.
///
/// # Errors
/// The first run that fails, in grid order; runs that finished are in the store all the same.
pub fn run(
    points: &[Point],
    environment: &Environment,
    store: Option<&Store>,
    done: impl Fn() + Sync,
) -> Result<Vec<SweepRow>, SweepError> {
    let jobs: Vec<(&Point, u64)> =
        points.iter().flat_map(|p| (0..p.seeds).map(move |i| (p, p.run.seed.wrapping_add(i)))).collect();
    let summaries: Vec<Result<Summary, SweepError>> = jobs
        .par_iter()
        .map(|(point, seed)| {
            let summary = one(point, *seed, environment, store);
            done();
            summary
        })
        .collect();
    let mut rows = Vec::new();
    let mut summaries = summaries.into_iter();
    for point in points {
        let runs: Vec<Summary> = summaries.by_ref().take(point.seeds as usize).collect::<Result<_, _>>()?;
        let Some(first) = runs.first() else { continue };
        let metrics = first
            .metrics
            .keys()
            .filter_map(|name| {
                let values: Option<Vec<f64>> = runs.iter().map(|r| r.metrics.get(name).copied()).collect();
                Some((name.clone(), Statistics::of(&values?)))
            })
            .collect();
        rows.push(SweepRow {
            point: point.name(),
            settings: point.settings.clone(),
            seeds: runs.iter().map(|r| r.seed).collect(),
            metrics,
            limited_by: first.bottleneck.shares.first().map_or_else(String::new, |s| s.limit.clone()),
        });
    }
    Ok(rows)
}

fn one(
    point: &Point,
    seed: u64,
    environment: &Environment,
    store: Option<&Store>,
) -> Result<Summary, SweepError> {
    let spec = RunSpec { seed, ..point.run.clone() };
    let plan = spec.plan(environment)?;
    let inputs = spec.inputs(&plan);
    if let Some(summary) = store.and_then(|store| store.finished(&point.name(), seed, &inputs.all)) {
        return Ok(summary);
    }
    let summary = simulate_plan(&spec, &plan, inputs, environment)?.summary;
    if let Some(store) = store {
        store.keep(&point.name(), &summary)?;
    }
    Ok(summary)
}

/// A sweep can't go on.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SweepError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("error: {}: {message}", path.display())]
    Store { path: PathBuf, message: String },
}

/// One finished run as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// The point it belongs to.
    pub point: String,
    /// The run.
    pub result: Summary,
}

/// A sweep's folder: `runs/HASH-seedN.json` for each finished run, and at the end `sweep.json` with the rows,
/// `sweep.csv` and `manifest.json`.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    resume: bool,
}

impl Store {
    /// Opens a folder. A folder that holds finished runs is gone on with only if `resume`.
    ///
    /// # Errors
    /// It holds something else, or finished runs and `resume` is false, or can't be made.
    pub fn open(folder: &Path, resume: bool) -> Result<Self, SweepError> {
        let runs = folder.join("runs");
        let is_empty = fs::read_dir(folder).map_or(!folder.exists(), |mut e| e.next().is_none());
        let refuse =
            |message: &str| Err(SweepError::Store { path: folder.to_owned(), message: message.to_owned() });
        if !is_empty && !runs.is_dir() {
            return refuse("exists and is no sweep of podpace; name another folder, or remove it yourself");
        }
        if !is_empty && !resume {
            return refuse("holds a sweep already; add --resume to go on with it, or name another folder");
        }
        fs::create_dir_all(&runs).map_err(|source| OutputError::Io { path: runs.clone(), source })?;
        Ok(Self { folder: folder.to_owned(), resume })
    }

    fn path(&self, point: &str, seed: u64) -> PathBuf {
        let hash = &sha256_hex(point.as_bytes())[..16];
        self.folder.join("runs").join(format!("{hash}-seed{seed}.json"))
    }

    /// A finished run, if it was made from the same inputs. A file that can't be read is as if it were not there.
    fn finished(&self, point: &str, seed: u64, inputs: &str) -> Option<Summary> {
        let text = fs::read(self.path(point, seed)).ok().filter(|_| self.resume)?;
        let kept: Kept = serde_json::from_slice(&text).ok()?;
        (kept.point == point && kept.result.inputs.all == inputs).then_some(kept.result)
    }

    fn keep(&self, point: &str, summary: &Summary) -> Result<(), OutputError> {
        let kept = Kept { point: point.to_owned(), result: summary.clone() };
        write_atomically(&self.path(point, summary.seed), to_json(&kept).as_bytes())
    }

    /// Writes the rows, and a manifest of everything.
    ///
    /// # Errors
    /// The file system's.
    pub fn finish(&self, rows: &[SweepRow]) -> Result<(), OutputError> {
        write_atomically(&self.folder.join("sweep.json"), to_json(&rows).as_bytes())?;
        write_atomically(&self.folder.join("sweep.csv"), csv_text(rows).as_bytes())?;
        let mut manifest = Manifest {
            kind: "ResultManifest".to_owned(),
            podpace: VERSION.to_owned(),
            files: BTreeMap::new(),
        };
        let mut add = |name: String, path: &Path| -> Result<(), OutputError> {
            let bytes = fs::read(path).map_err(|source| OutputError::Io { path: path.to_owned(), source })?;
            manifest.files.insert(name, sha256_hex(&bytes));
            Ok(())
        };
        for name in ["sweep.json", "sweep.csv"] {
            add(name.to_owned(), &self.folder.join(name))?;
        }
        for row in rows {
            for seed in &row.seeds {
                let path = self.path(&row.point, *seed);
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                add(format!("runs/{name}"), &path)?;
            }
        }
        write_atomically(&self.folder.join(MANIFEST), to_json(&manifest).as_bytes())
    }
}

/// One line a point and metric: the settings, then the statistics.
fn csv_text(rows: &[SweepRow]) -> String {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let axes: Vec<&String> =
        rows.first().map_or_else(Vec::new, |r| r.settings.iter().map(|(p, _)| p).collect());
    let columns = ["metric", "seeds", "mean", "median", "min", "p5", "p95", "max"];
    // Writing to memory can't fail.
    let _ = csv.write_record(axes.iter().map(|p| p.as_str()).chain(columns));
    for row in rows {
        for (name, s) in &row.metrics {
            let values = [s.mean, s.median, s.min, s.p5, s.p95, s.max].map(|v| v.to_string());
            let settings = row.settings.iter().map(|(_, v)| v.clone());
            let _ =
                csv.write_record(settings.chain([name.clone(), row.seeds.len().to_string()]).chain(values));
        }
    }
    String::from_utf8(csv.into_inner().unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_split_outside_brackets_and_quotes() {
        let (path, values) = parse_vary("a.b=1,[2,3],{p50: 1s, p99: 2s},\"x,y\"").unwrap();
        assert_eq!(path, "a.b");
        assert_eq!(values, ["1", "[2,3]", "{p50: 1s, p99: 2s}", "\"x,y\""]);
        assert!(parse_vary("a.b").is_err());
        assert!(parse_vary("a=1,,2").is_err());
        assert!(parse_vary("=1").is_err());
    }

    #[test]
    fn statistics_by_nearest_rank() {
        let values: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        let s = Statistics::of(&values);
        let got = [s.min, s.p5, s.median, s.p95, s.max, s.mean];
        assert_eq!(got.map(f64::to_bits), [1.0, 1.0, 10.5, 19.0, 20.0, 10.5].map(f64::to_bits));
        assert_eq!(Statistics::of(&[3.0]).p95.to_bits(), 3.0f64.to_bits());
    }
}
