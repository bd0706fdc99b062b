//! Sweeps: a grid of settings, each point under several seeds.
//!
//! Rows come in grid order (the last axis fastest) whatever the number of threads, and their statistics are taken
//! over seeds in order, so the table has the same bytes with any `--jobs`. Seeds are common to all points: two
//! points under the same seed share their workload, which makes their difference sharper than either. If wanted, each seed
//! also draws the unit costs from their intervals (draw 0 under that seed), again the same ones in every point: the statistics
//! are then bands of what is known, and not only of chance.
//!
//! How many seeds a point gets is fixed, or decided by what came out ([`super::replication`]). With a
//! [`Store`](super::store::Store) every finished run is kept at once, and runs that are there already are not run again; a
//! **shard** runs its share of the runs (whole points if results decide on seeds) and leaves the table to `merge`. With a
//! [`Gate`](super::memory::Gate) no more runs are under way than fit into memory.
//!
//! Cost: the runs', over the pool's threads; memory is one simulation a thread and a number a metric and run.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::median;
use super::memory::{self, Gate};
use super::output::OutputError;
use super::replication::{MOST_SEEDS, Replication, Until, half_width_95};
use super::run::{Environment, RunError, RunSpec, Summary, simulate_plan};
use super::store::{Store, file_name};
use crate::measure::Metrics;
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
                let (scenario, document) = (run.scenario, run.document);
                let spec = RunSpec { name: run.name, scenario, document, seed, draw: None };
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

/// The grid of a scenario or sweep document, see [`grid`], if it is not more than podpace runs.
///
/// # Errors
/// As [`grid`]; too many runs.
pub fn limited_grid(
    document: &Document,
    vary: &[String],
    seeds: Option<u64>,
    replication: &Replication,
) -> Result<Vec<Point>, Vec<Diagnostic>> {
    let most = if replication.until.is_empty() { seeds } else { Some(seeds.unwrap_or(MOST_SEEDS)) };
    let points = grid(document, vary, most)?;
    let runs = points.iter().fold(0u64, |n, p| n.saturating_add(p.seeds));
    if runs > limits::SWEEP_RUNS {
        let message = format!("up to {runs} runs; podpace does at most {}", limits::SWEEP_RUNS);
        let hint = "vary less at once, or take fewer --seeds";
        return Err(vec![Diagnostic::of_file(document.name(), message, hint)]);
    }
    Ok(points)
}

/// A metric over the seeds of a point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Statistics {
    /// Mean.
    pub mean: f64,
    /// Half the width of the mean's 95 % confidence interval; none for one seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_width95: Option<f64>,
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
            half_width95: half_width_95(values).filter(|half| half.is_finite()),
            median: median(&sorted),
            min: rank(0),
            max: rank(100),
            p5: rank(5),
            p95: rank(95),
        }
    }
}

/// One point's results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SweepRow {
    /// `path=value,path=value`.
    pub point: String,
    /// Settings by path.
    pub settings: Vec<(String, String)>,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// Whether each run drew the unit costs from their intervals.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drawn: bool,
    /// Every metric that all its runs have, over seeds.
    pub metrics: BTreeMap<String, Statistics>,
    /// What limited the first seed's run.
    pub limited_by: String,
}

/// A point of a sweep as others know it: without its scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LayoutPoint {
    /// `path=value,path=value`.
    pub name: String,
    /// Settings by path.
    pub settings: Vec<(String, String)>,
    /// The first seed; the others follow it.
    pub first_seed: u64,
    /// Most seeds.
    pub seeds: u64,
    /// Which draw of the unit costs its runs take; none: costs as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draw: Option<u64>,
    /// Hash of the point's inputs under its first seed.
    pub inputs: String,
}

/// What a sweep is: its points and how seeds are added to them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Layout {
    /// Points in grid order.
    pub points: Vec<LayoutPoint>,
    /// What ends a point early.
    pub until: Vec<Until>,
}

impl Layout {
    /// The layout of these points. `environment` is needed for the hashes of their inputs.
    ///
    /// # Errors
    /// A point can't be resolved.
    pub fn of(
        points: &[Point],
        replication: &Replication,
        environment: &Environment,
    ) -> Result<Self, SweepError> {
        let point = |p: &Point| {
            let plan = p.run.plan(environment)?;
            Ok(LayoutPoint {
                name: p.name(),
                settings: p.settings.clone(),
                first_seed: p.run.seed,
                seeds: p.seeds,
                draw: p.run.draw,
                inputs: p.run.inputs(&plan).all,
            })
        };
        let points: Result<_, SweepError> = points.par_iter().map(point).collect();
        Ok(Self { points: points?, until: replication.until.clone() })
    }

    /// How its runs are dealt to `of` shards.
    #[must_use]
    pub fn dealt(&self, of: u64) -> Dealt {
        Dealt::new(self.points.iter().map(|p| p.seeds), self.until.is_empty(), of)
    }

    /// The rows of finished runs, which `get` finds by point, n-th seed and seed.
    ///
    /// # Errors
    /// What `get` returns.
    pub fn rows(
        &self,
        mut get: impl FnMut(usize, u64, u64) -> Result<Summary, SweepError>,
    ) -> Result<Vec<SweepRow>, SweepError> {
        let replication = Replication { until: self.until.clone() };
        let names = Names::default();
        let mut rows = Vec::new();
        for (at, point) in self.points.iter().enumerate() {
            let mut tally = Tally::default();
            while let Some(target) = tally.target(&replication, point.seeds) {
                for index in tally.runs.len() as u64..target {
                    let summary = get(at, index, point.first_seed.wrapping_add(index))?;
                    tally.runs.push(names.measured(&summary));
                }
            }
            rows.extend(tally.row(&point.name, &point.settings));
        }
        Ok(rows)
    }
}

/// Which shard does which run: runs in turn, or whole points in turn where results decide on further seeds.
#[derive(Clone, Debug)]
pub struct Dealt {
    /// Runs before each point; none: whole points.
    firsts: Option<Vec<u64>>,
    of: u64,
}

impl Dealt {
    fn new(seeds: impl Iterator<Item = u64>, by_run: bool, of: u64) -> Self {
        let firsts = seeds.scan(0, |next, seeds| Some(std::mem::replace(next, *next + seeds)));
        Self { firsts: by_run.then(|| firsts.collect()), of: of.max(1) }
    }

    /// The shard, from 1, of a point (by index) under its n-th seed.
    #[must_use]
    pub fn shard_of(&self, point: usize, seed_index: u64) -> u64 {
        let before = self.firsts.as_ref().map_or(point as u64, |firsts| firsts[point] + seed_index);
        before % self.of + 1
    }
}

/// What is kept of a run in memory.
#[derive(Clone, Debug)]
struct Measured {
    seed: u64,
    draw: Option<u64>,
    names: Arc<[String]>,
    values: Vec<f64>,
    limited_by: String,
}

/// Lists of metrics' names: nearly all runs have the same.
#[derive(Debug, Default)]
struct Names(Mutex<Vec<Arc<[String]>>>);

impl Names {
    fn measured(&self, summary: &Summary) -> Measured {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = known.iter().find(|names| names.iter().eq(summary.metrics.keys()));
        let names = match same {
            Some(names) => Arc::clone(names),
            None => {
                let names: Arc<[String]> = summary.metrics.keys().cloned().collect();
                known.push(Arc::clone(&names));
                names
            }
        };
        let limited_by = summary.bottleneck.shares.first().map_or_else(String::new, |s| s.limit.clone());
        let values = summary.metrics.values().copied().collect();
        Measured { seed: summary.seed, draw: summary.draw, names, values, limited_by }
    }
}

/// A point's finished runs, in order of seeds.
#[derive(Debug, Default)]
struct Tally {
    runs: Vec<Measured>,
}

impl Tally {
    fn values(&self, name: &str) -> Option<Vec<f64>> {
        let value = |run: &Measured| {
            let at = run.names.binary_search_by(|n| n.as_str().cmp(name)).ok()?;
            run.values.get(at).copied()
        };
        self.runs.iter().map(value).collect()
    }

    /// How many seeds the next round brings the point to; none if it is done.
    fn target(&self, replication: &Replication, most: u64) -> Option<u64> {
        let done = self.runs.len() as u64;
        let enough = done > 0 && !replication.until.is_empty() && replication.is_enough(|m| self.values(m));
        (done < most && !enough).then(|| replication.next(done, most))
    }

    fn row(&self, point: &str, settings: &[(String, String)]) -> Option<SweepRow> {
        let first = self.runs.first()?;
        let statistics = |name: &String| Some((name.clone(), Statistics::of(&self.values(name)?)));
        Some(SweepRow {
            point: point.to_owned(),
            settings: settings.to_vec(),
            seeds: self.runs.iter().map(|r| r.seed).collect(),
            drawn: first.draw.is_some(),
            metrics: first.names.iter().filter_map(statistics).collect(),
            limited_by: first.limited_by.clone(),
        })
    }
}

/// A run that has ended, and is kept if there is a store.
#[derive(Clone, Copy, Debug)]
pub struct Done<'a> {
    /// `path=value,path=value`.
    pub point: &'a str,
    /// What came out.
    pub summary: &'a Summary,
    /// Whether an earlier process had done it.
    pub resumed: bool,
}

/// How a sweep is run.
#[derive(Clone, Debug, Default)]
pub struct Options<'a> {
    /// When a point has enough seeds.
    pub replication: Replication,
    /// Where finished runs are kept.
    pub store: Option<&'a Store>,
    /// What runs may take together.
    pub gate: Option<&'a Gate>,
    /// Which part of the sweep is run: (i, n), i from 1.
    pub shard: Option<(u64, u64)>,
}

/// What a sweep came to.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// The rows; none of a shard.
    pub rows: Vec<SweepRow>,
    /// Every run done: point, seed and draw.
    pub runs: Vec<(String, u64, Option<u64>)>,
    /// Points that had all their seeds before their means were known as closely as asked.
    pub not_enough: Vec<String>,
}

/// Runs a grid on the current pool of threads. `done` is called after every run, from any thread. Finished runs are kept
/// in the store, and those it has already are not run again.
///
/// # Errors
/// The first run that fails, in grid order; runs that finished are in the store all the same.
pub fn run(
    points: &[Point],
    environment: &Environment,
    options: &Options<'_>,
    done: impl Fn(Done<'_>) + Sync,
) -> Result<Swept, SweepError> {
    let replication = &options.replication;
    let names = Names::default();
    let labels: Vec<String> = points.iter().map(Point::name).collect();
    let (shard, of) = options.shard.unwrap_or((1, 1));
    let dealt = Dealt::new(points.iter().map(|p| p.seeds), replication.until.is_empty(), of);
    let seeds_of = |(at, point): (usize, &Point)| -> Vec<u64> {
        (0..point.seeds).filter(|index| dealt.shard_of(at, *index) == shard).collect()
    };
    let mine: Vec<Vec<u64>> = points.iter().enumerate().map(seeds_of).collect();
    let mut tallies: Vec<Tally> = points.iter().map(|_| Tally::default()).collect();
    loop {
        let mut jobs: Vec<(usize, u64)> = Vec::new();
        for (at, tally) in tallies.iter().enumerate() {
            let Some(target) = tally.target(replication, mine[at].len() as u64) else { continue };
            let indices = &mine[at][tally.runs.len()..target as usize];
            jobs.extend(indices.iter().map(|i| (at, points[at].run.seed.wrapping_add(*i))));
        }
        if jobs.is_empty() {
            break;
        }
        // One by one, so that the last runs spread over all threads.
        let round: Vec<Result<Measured, SweepError>> = jobs
            .par_iter()
            .with_max_len(1)
            .map(|(at, seed)| {
                let (summary, resumed) = one(&points[*at], &labels[*at], *seed, environment, options)?;
                done(Done { point: &labels[*at], summary: &summary, resumed });
                Ok(names.measured(&summary))
            })
            .collect();
        for ((at, _), measured) in jobs.iter().zip(round) {
            let measured = measured?;
            if tallies[*at].runs.is_empty() {
                for until in &replication.until {
                    known_metric(&measured, &until.metric)?;
                }
            }
            tallies[*at].runs.push(measured);
        }
    }
    let mut swept = Swept::default();
    for ((tally, point), label) in tallies.iter().zip(points).zip(&labels) {
        swept.runs.extend(tally.runs.iter().map(|run| (label.clone(), run.seed, run.draw)));
        if !tally.runs.is_empty() && !replication.is_enough(|m| tally.values(m)) {
            swept.not_enough.push(label.clone());
        }
        if options.shard.is_none() {
            swept.rows.extend(tally.row(label, &point.settings));
        }
    }
    Ok(swept)
}

/// Files of all runs that a sweep, or a part of it, may have.
#[must_use]
pub fn run_files(points: &[Point], replication: &Replication, shard: Option<(u64, u64)>) -> BTreeSet<String> {
    let (shard, of) = shard.unwrap_or((1, 1));
    let dealt = Dealt::new(points.iter().map(|p| p.seeds), replication.until.is_empty(), of);
    let files = points.iter().enumerate().flat_map(|(at, point)| {
        let (name, run) = (point.name(), &point.run);
        let mine = (0..point.seeds).filter(|index| dealt.shard_of(at, *index) == shard).collect::<Vec<_>>();
        mine.into_iter().map(move |index| file_name(&name, run.seed.wrapping_add(index), run.draw))
    });
    files.collect()
}

fn known_metric(run: &Measured, name: &str) -> Result<(), SweepError> {
    let mut metrics = Metrics::default();
    for name in run.names.iter() {
        metrics.set(name.clone(), 0.0);
    }
    metrics.get(name).map(drop).map_err(|error| SweepError::Until(format!("--until {name}: {error}")))
}

fn one(
    point: &Point,
    label: &str,
    seed: u64,
    environment: &Environment,
    options: &Options<'_>,
) -> Result<(Summary, bool), SweepError> {
    let spec = RunSpec { seed, ..point.run.clone() };
    let plan = spec.plan(environment)?;
    let inputs = spec.inputs(&plan);
    if let Some(summary) = options.store.and_then(|store| store.finished(label, &spec, &inputs.all)) {
        return Ok((summary, true));
    }
    let needs = memory::estimate_bytes(&plan);
    let pass = match options.gate {
        None => None,
        Some(gate) => Some(gate.enter(needs).ok_or_else(|| SweepError::TooLarge {
            point: label.to_owned(),
            needs_bytes: needs,
            limit_bytes: gate.limit_bytes(),
        })?),
    };
    let summary = simulate_plan(&spec, &plan, inputs, environment)?.summary;
    drop(pass);
    if let Some(store) = options.store {
        store.keep(label, &summary)?;
    }
    Ok((summary, false))
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
    #[error("error: {0}")]
    Until(String),
    #[error(
        "error: a run of {point} needs about {} MiB, more than --max-memory {} MiB; give it more, or make the scenario smaller",
        needs_bytes.div_ceil(1 << 20), limit_bytes >> 20
    )]
    TooLarge { point: String, needs_bytes: u64, limit_bytes: u64 },
}

/// One line a point and metric: the settings, then the statistics.
pub(super) fn csv_text(rows: &[SweepRow]) -> String {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let axes: Vec<&String> =
        rows.first().map_or_else(Vec::new, |r| r.settings.iter().map(|(p, _)| p).collect());
    let columns = ["metric", "seeds", "mean", "half_width95", "median", "min", "p5", "p95", "max"];
    // Writing to memory can't fail.
    let _ = csv.write_record(axes.iter().map(|p| p.as_str()).chain(columns));
    for row in rows {
        for (name, s) in &row.metrics {
            let number = |v: f64| v.to_string();
            let half_width = s.half_width95.map_or_else(String::new, number);
            let others = [s.median, s.min, s.p5, s.p95, s.max].map(number);
            let values = [number(s.mean), half_width].into_iter().chain(others);
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
