//! Expectations: what was published or measured, beside what comes out.
//!
//! An expectation names a metric of a run, a ratio of two runs' metrics, or a curve over time. Over several seeds
//! the median is compared. A value passes within its relative tolerance, `min` and `max` are inclusive. A curve is
//! a list of points (t, y): each point's error is the relative distance between t and the simulated time at which
//! the y-th pod was bound or started (or the y-th cycle ended); its median must be within `medianTolerance`.
//!
//! A threshold (`thresholds:`) is a line such as `throughput.bound.mean >= 200` and becomes a row of its own.
//!
//! A **regression** against a baseline is a row that failed and did not fail before, or whose distance from what
//! is expected grew by more than [`REGRESSION`].
//!
//! Cost: O(pods log pods) a run for a curve, else O(expectations).
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::report::{self, stage_times};
use super::run::{Environment, RunError, RunSpec, VERSION, runs_of};
use super::simulation::Finished;
use crate::engine::Nanos;
use crate::measure::Metrics;
use crate::scenario::spec::{CurveExpectSpec, CurveMetric, CurveOrigin, ExpectSpec};
use crate::scenario::threshold::{Bound, Operator, ThresholdSpec};
use crate::scenario::{Diagnostic, Document, DocumentKind};

/// A distance from what is expected that grows by more than this (absolute, of a relative error) is a regression.
pub const REGRESSION: f64 = 0.02;
/// A published curve may end a little past the last pod: points of a figure are read with an error of 1 % of the axis.
const READING_ERROR: f64 = 0.01;

/// One point of a published curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurvePoint {
    /// Seconds since the curve's start.
    pub t_s: f64,
    /// How many by then.
    pub count: f64,
}

/// How well a curve fits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CurveFit {
    /// Median relative error of the points' times.
    pub median: f64,
    /// Largest.
    pub worst: f64,
    /// Points compared.
    pub points: usize,
}

/// One row of the table of expectations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The experiment or scenario.
    pub experiment: String,
    /// The run, or both runs of a ratio.
    pub run: String,
    /// What is compared: a metric, or a curve.
    pub metric: String,
    /// Published value.
    pub published: Option<f64>,
    /// Smallest value that passes.
    pub min: Option<f64>,
    /// Largest value that passes.
    pub max: Option<f64>,
    /// Simulated value (median over seeds); for a curve, the median error.
    pub simulated: f64,
    /// Smallest and largest over seeds, if there are several.
    pub range: Option<(f64, f64)>,
    /// Relative error: of the value, or the curve's median.
    pub error: Option<f64>,
    /// How much error passes.
    pub tolerance: Option<f64>,
    /// Details of a curve.
    pub curve: Option<CurveFit>,
    /// Whether it passes.
    pub pass: bool,
    /// Where the published value stands.
    pub source: Option<String>,
    /// Operator and value of a threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<String>,
    /// A threshold relative to a baseline that is not judged yet: how it compares, and with which change.
    #[serde(skip)]
    pub relative: Option<(Operator, f64)>,
    /// File and line that expect it.
    #[serde(skip)]
    pub place: Option<(String, usize)>,
}

impl Row {
    /// Name of the row in baselines and reports; unique within a file.
    #[must_use]
    pub fn key(&self) -> String {
        match &self.threshold {
            Some(bound) => format!("{}: {} {bound}", self.run, self.metric),
            None => format!("{}: {}", self.run, self.metric),
        }
    }

    /// Sets what a threshold compares with, and the verdict.
    fn bound_by(&mut self, operator: Operator, value: f64) {
        let (is_min, is_max) = match operator {
            Operator::AtLeast | Operator::Above => (true, false),
            Operator::AtMost | Operator::Below => (false, true),
            Operator::Equal => (true, true),
        };
        self.min = is_min.then_some(value);
        self.max = is_max.then_some(value);
        self.pass = operator.holds(self.simulated, value);
    }

    /// Judges a threshold that is relative to a baseline.
    ///
    /// # Errors
    /// The baseline has no such row.
    pub fn judge_against(&mut self, baseline: Option<&Baseline>) -> Result<(), String> {
        let Some((operator, change)) = self.relative else { return Ok(()) };
        let key = self.key();
        let Some(before) = baseline.and_then(|b| b.rows.get(&key)) else {
            return Err(format!(
                "{}: {key}: the baseline has no such row; write it with --update-baseline",
                self.experiment
            ));
        };
        self.published = Some(before.simulated);
        self.error = Some(self.simulated / before.simulated - 1.0);
        self.bound_by(operator, before.simulated * (1.0 + change));
        Ok(())
    }

    /// Distance from what is expected: 0 inside `min` and `max`.
    fn distance(&self) -> f64 {
        if let Some(error) = self.error.filter(|_| self.threshold.is_none()) {
            return error.abs();
        }
        let relative = |limit: f64| (self.simulated - limit).abs() / limit.abs().max(f64::MIN_POSITIVE);
        match (self.min, self.max) {
            (Some(min), _) if self.simulated < min => relative(min),
            (_, Some(max)) if self.simulated > max => relative(max),
            _ => 0.0,
        }
    }
}

/// What remains of one run for its expectations.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Metrics.
    pub metrics: Metrics,
    /// Simulated times of curves' points, by the expectation's index; `None`: never reached.
    pub curves: BTreeMap<usize, Vec<Option<Nanos>>>,
}

/// Curves of a document's expectations, read from their files; by the expectation's index.
pub type Curves = BTreeMap<usize, Vec<CurvePoint>>;

/// Reads the curves of all expectations.
///
/// # Errors
/// A file can't be read, lacks a column, or holds no such series.
pub fn load_curves(document: &Document, expect: &[ExpectSpec]) -> Result<Curves, Vec<Diagnostic>> {
    let mut curves = Curves::new();
    let mut errors = Vec::new();
    for (index, curve) in expect.iter().enumerate().filter_map(|(i, e)| Some((i, e.curve.as_ref()?))) {
        match load_curve(document.directory().unwrap_or(Path::new(".")), curve) {
            Ok(points) => {
                curves.insert(index, points);
            }
            Err((message, hint)) => {
                errors.push(document.diagnostic(&format!("expect[{index}].curve"), message, Some(hint)));
            }
        }
    }
    if errors.is_empty() { Ok(curves) } else { Err(errors) }
}

fn load_curve(directory: &Path, curve: &CurveExpectSpec) -> Result<Vec<CurvePoint>, (String, String)> {
    let path = directory.join(&curve.file);
    let columns = "columns: figure, series, x_name, x, y_name, y".to_owned();
    let bad = |message: String| (format!("{}: {message}", path.display()), columns.clone());
    let mut reader = csv::Reader::from_path(&path).map_err(|e| bad(e.to_string()))?;
    let header = reader.headers().map_err(|e| bad(e.to_string()))?.clone();
    let column = |name: &str| {
        header.iter().position(|h| h.trim() == name).ok_or_else(|| bad(format!("no column `{name}`")))
    };
    let (figure, series) = (column("figure")?, column("series")?);
    let (x, y) = (column("x")?, column("y")?);
    let mut points = Vec::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(|e| bad(e.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let field = |at: usize| record.get(at).unwrap_or("").trim();
        *known.entry(format!("{} / {}", field(figure), field(series))).or_default() += 1;
        let is = |wanted: &Option<String>, at| wanted.as_ref().is_none_or(|w| w == field(at));
        if !is(&curve.figure, figure) || !is(&curve.series, series) {
            continue;
        }
        let number = |at: usize, name: &str| {
            let value = field(at).parse::<f64>().ok().filter(|v| v.is_finite() && *v >= 0.0);
            value.ok_or_else(|| bad(format!("line {line}: {name} `{}` is no number from 0", field(at))))
        };
        points.push(CurvePoint { t_s: number(x, "x")?, count: number(y, "y")? });
    }
    if points.is_empty() {
        let series = known.keys().cloned().collect::<Vec<_>>().join("; ");
        return Err((
            format!("{}: no point of that figure and series", path.display()),
            format!("there are (figure / series): {series}"),
        ));
    }
    Ok(points)
}

/// Takes from a run what its expectations need.
#[must_use]
pub fn observe(
    run_name: &str,
    run: &Finished,
    metrics: Metrics,
    expect: &[ExpectSpec],
    curves: &Curves,
) -> Observed {
    let mut observed = Observed { metrics, curves: BTreeMap::new() };
    for (index, points) in curves {
        let spec = &expect[*index];
        if spec.run.as_deref() != Some(run_name) {
            continue;
        }
        let metric = spec.curve.as_ref().map_or(CurveMetric::PodsBound, |c| c.metric);
        let times = stage_times(&run.cluster.pods, |t| match metric {
            CurveMetric::PodsBound => t.bound_ns,
            CurveMetric::PodsStarted => t.running_ns,
            CurveMetric::Cycles => t.assumed_ns,
        });
        let origin = match spec.curve.as_ref().and_then(|c| c.origin) {
            Some(CurveOrigin::First) => times.first().copied().unwrap_or(0),
            Some(CurveOrigin::Start) | None => 0,
        };
        let time_of = |point: &CurvePoint| {
            let wanted = libm::round(point.count).max(1.0) as usize;
            let slack = (times.len() as f64 * READING_ERROR) as usize;
            let time = match times.get(wanted - 1) {
                None if wanted <= times.len() + slack => times.last(),
                found => found,
            };
            time.map(|t| t - origin)
        };
        observed.curves.insert(*index, points.iter().map(time_of).collect());
    }
    observed
}

/// Median of finite numbers (mean of the middle two); infinite ones count as largest.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n if sorted[n / 2].is_infinite() => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

fn fit(points: &[CurvePoint], observed: &[&Observed], index: usize) -> CurveFit {
    let mut errors = Vec::new();
    for (at, point) in points.iter().enumerate() {
        if point.t_s <= 0.0 {
            continue;
        }
        let times: Vec<f64> = observed
            .iter()
            .filter_map(|o| o.curves.get(&index))
            .map(|times| times[at].map_or(f64::INFINITY, |ns| ns as f64 / 1e9))
            .collect();
        errors.push((median(&times) / point.t_s - 1.0).abs());
    }
    let worst = errors.iter().copied().fold(0.0, f64::max);
    CurveFit { median: median(&errors), worst, points: errors.len() }
}

/// Judges every expectation. `runs` are the observations of each run, one a seed; a scenario's only run may have
/// any name.
///
/// # Errors
/// A metric that the run does not have.
pub fn judge(
    experiment: &str,
    document: &Document,
    expect: &[ExpectSpec],
    curves: &Curves,
    runs: &BTreeMap<String, Vec<Observed>>,
) -> Result<Vec<Row>, Vec<Diagnostic>> {
    let mut rows = Vec::new();
    let mut errors = Vec::new();
    for (index, spec) in expect.iter().enumerate() {
        let only = runs.keys().next().map_or("", String::as_str);
        let values_of = |run: &str, metric: &str, field: &str| -> Result<Vec<f64>, Box<Diagnostic>> {
            runs.get(run)
                .into_iter()
                .flatten()
                .map(|observed| {
                    observed.metrics.get(metric).map_err(|error| {
                        Box::new(document.diagnostic(
                            &format!("expect[{index}].{field}"),
                            error.to_string(),
                            None,
                        ))
                    })
                })
                .collect()
        };
        let mut row = Row {
            experiment: experiment.to_owned(),
            run: spec.run.clone().unwrap_or_else(|| only.to_owned()),
            metric: String::new(),
            published: spec.value.map(|v| v.0),
            min: spec.min.map(|v| v.0),
            max: spec.max.map(|v| v.0),
            simulated: 0.0,
            range: None,
            error: None,
            tolerance: spec.tolerance.map(|t| t.as_f64()),
            curve: None,
            pass: true,
            source: spec.source.clone(),
            threshold: None,
            relative: None,
            place: place(document, &format!("expect[{index}]")),
        };
        if let Some(curve) = &spec.curve {
            let observed: Vec<&Observed> = runs.get(&row.run).into_iter().flatten().collect();
            let fit = fit(&curves[&index], &observed, index);
            let tolerance = spec.median_tolerance.map_or(0.0, |t| t.as_f64());
            let what = match curve.metric {
                CurveMetric::PodsBound => "pods.bound",
                CurveMetric::PodsStarted => "pods.started",
                CurveMetric::Cycles => "cycles",
            };
            row.metric = match &curve.series {
                Some(series) => format!("curve {what} ({series})"),
                None => format!("curve {what}"),
            };
            row.simulated = fit.median;
            row.error = Some(fit.median);
            row.tolerance = Some(tolerance);
            row.pass = fit.points > 0 && fit.median <= tolerance;
            row.curve = Some(fit);
            rows.push(row);
            continue;
        }
        let values = match (&spec.metric, &spec.ratio) {
            (Some(metric), _) => {
                row.metric.clone_from(metric);
                values_of(&row.run, metric, "metric")
            }
            (None, Some(ratio)) => {
                row.run = if ratio.run == ratio.over.run {
                    ratio.run.clone()
                } else {
                    format!("{} / {}", ratio.run, ratio.over.run)
                };
                row.metric = if ratio.metric == ratio.over.metric {
                    ratio.metric.clone()
                } else {
                    format!("{} / {}", ratio.metric, ratio.over.metric)
                };
                values_of(&ratio.run, &ratio.metric, "ratio.metric").and_then(|above| {
                    let below = values_of(&ratio.over.run, &ratio.over.metric, "ratio.over.metric")?;
                    // Seeds pair up (common random numbers); a run with fewer seeds stands for itself.
                    let n = above.len().max(below.len());
                    let pick = |v: &[f64], i: usize| v.get(i).or(v.last()).copied().unwrap_or(f64::NAN);
                    Ok((0..n).map(|i| pick(&above, i) / pick(&below, i)).collect())
                })
            }
            (None, None) => continue,
        };
        match values {
            Err(error) => errors.push(*error),
            Ok(values) => {
                row.simulated = median(&values);
                if values.len() > 1 {
                    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
                    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    row.range = Some((least, most));
                }
                row.error = row.published.map(|p| row.simulated / p - 1.0);
                // NaN (nothing to divide by) fails.
                let within = |ok: Option<bool>| ok.unwrap_or(true);
                row.pass = within(row.error.map(|e| e.abs() <= row.tolerance.unwrap_or(0.0)))
                    && within(row.min.map(|min| row.simulated >= min))
                    && within(row.max.map(|max| row.simulated <= max));
                rows.push(row);
            }
        }
    }
    if errors.is_empty() { Ok(rows) } else { Err(errors) }
}

/// File and line of a path in a document.
fn place(document: &Document, path: &str) -> Option<(String, usize)> {
    let there = document.diagnostic(path, "", None);
    (there.line > 0).then_some((there.file, there.line))
}

/// Judges every threshold, of each run that it speaks of.
///
/// # Errors
/// A metric that the run does not have.
pub fn judge_thresholds(
    experiment: &str,
    document: &Document,
    thresholds: &[ThresholdSpec],
    runs: &BTreeMap<String, Vec<Observed>>,
) -> Result<Vec<Row>, Vec<Diagnostic>> {
    let mut rows = Vec::new();
    let mut errors = Vec::new();
    for (index, threshold) in thresholds.iter().enumerate() {
        let path = format!("thresholds[{index}]");
        let wanted = |name: &&String| threshold.run.as_ref().is_none_or(|run| run == *name);
        for name in runs.keys().filter(wanted) {
            let values: Result<Vec<f64>, _> =
                runs[name].iter().map(|observed| observed.metrics.get(&threshold.metric)).collect();
            match values {
                // The same slip in several runs is one error.
                Err(error) => {
                    errors.push(document.diagnostic(&path, error.to_string(), None));
                    break;
                }
                Ok(values) => {
                    let simulated = median(&values);
                    let extreme = |pick: fn(f64, f64) -> f64| values.iter().copied().reduce(pick);
                    let range = extreme(f64::min).zip(extreme(f64::max)).filter(|_| values.len() > 1);
                    let mut row = Row {
                        experiment: experiment.to_owned(),
                        run: name.clone(),
                        metric: threshold.metric.clone(),
                        published: None,
                        min: None,
                        max: None,
                        simulated,
                        range,
                        error: None,
                        tolerance: None,
                        curve: None,
                        pass: true,
                        source: None,
                        threshold: Some(threshold.bound.clone()),
                        relative: None,
                        place: place(document, &path),
                    };
                    match threshold.value {
                        Bound::Value(value) => row.bound_by(threshold.operator, value),
                        Bound::Baseline(change) => row.relative = Some((threshold.operator, change)),
                    }
                    rows.push(row);
                }
            }
        }
    }
    if errors.is_empty() { Ok(rows) } else { Err(errors) }
}

/// A file that was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The file as it was named.
    pub file: String,
    /// Name of the experiment or scenario.
    pub name: String,
    /// Its rows.
    pub rows: Vec<Row>,
    /// What limited its runs most, by limit. A run whose seeds differ stands at each.
    pub limited_by: BTreeMap<String, BTreeSet<String>>,
}

struct Prepared {
    file: String,
    name: String,
    document: Document,
    expect: Vec<ExpectSpec>,
    thresholds: Vec<ThresholdSpec>,
    curves: Curves,
    runs: Vec<RunSpec>,
}

fn prepare(document: Document) -> Result<Prepared, Vec<Diagnostic>> {
    let (name, expect, thresholds) = if document.kind() == DocumentKind::Experiment {
        let spec = document.decode_experiment()?.spec;
        (spec.name, spec.expect, spec.thresholds)
    } else {
        let spec = document.decode_scenario()?;
        (spec.name, spec.expect, spec.thresholds)
    };
    let curves = load_curves(&document, &expect)?;
    let nothing = expect.is_empty() && thresholds.is_empty();
    let runs = if nothing { Vec::new() } else { runs_of(&document)? };
    Ok(Prepared { file: document.name().to_owned(), name, document, expect, thresholds, curves, runs })
}

/// Runs and judges documents, all runs of all documents in parallel on the current pool of threads. Rows come in
/// the order of the documents. `started(runs)` is called once, `done()` after every run.
///
/// # Errors
/// All errors of all documents, before anything runs; then the first error of a run; then unknown metrics.
pub fn check(
    documents: Vec<Document>,
    environment: &Environment,
    started: impl FnOnce(u64),
    done: impl Fn() + Sync,
) -> Result<Vec<Checked>, RunError> {
    let mut prepared = Vec::new();
    let mut errors = Vec::new();
    for document in documents {
        match prepare(document) {
            Ok(one) => prepared.push(one),
            Err(diagnostics) => errors.extend(diagnostics),
        }
    }
    if !errors.is_empty() {
        return Err(RunError::Input(errors));
    }
    let jobs: Vec<(usize, &RunSpec)> =
        prepared.iter().enumerate().flat_map(|(i, p)| p.runs.iter().map(move |run| (i, run))).collect();
    started(jobs.len() as u64);
    let observed: Vec<Result<(Observed, Option<String>), RunError>> = jobs
        .par_iter()
        .map(|(index, run)| {
            let p = &prepared[*index];
            let completed = run.simulate(environment)?;
            let metrics = completed.metrics();
            let observed = observe(&run.name, &completed.finished, metrics, &p.expect, &p.curves);
            let limit = report::bottleneck(&completed.finished).limited_by();
            done();
            Ok((observed, limit))
        })
        .collect();
    let mut by_file: Vec<BTreeMap<String, Vec<Observed>>> =
        prepared.iter().map(|_| BTreeMap::new()).collect();
    let mut limited_by: Vec<BTreeMap<String, BTreeSet<String>>> =
        prepared.iter().map(|_| BTreeMap::new()).collect();
    for ((index, run), observed) in jobs.iter().zip(observed) {
        let (observed, limit) = observed?;
        by_file[*index].entry(run.name.clone()).or_default().push(observed);
        if let Some(limit) = limit {
            limited_by[*index].entry(limit).or_default().insert(run.name.clone());
        }
    }
    let mut checked = Vec::new();
    for ((p, runs), limited_by) in prepared.iter().zip(by_file).zip(limited_by) {
        let judged = judge(&p.name, &p.document, &p.expect, &p.curves, &runs).and_then(|mut rows| {
            rows.extend(judge_thresholds(&p.name, &p.document, &p.thresholds, &runs)?);
            Ok(rows)
        });
        match judged {
            Ok(rows) => {
                checked.push(Checked { file: p.file.clone(), name: p.name.clone(), rows, limited_by });
            }
            Err(diagnostics) => errors.extend(diagnostics),
        }
    }
    if errors.is_empty() { Ok(checked) } else { Err(RunError::Input(errors)) }
}

/// What a baseline keeps of an experiment: `NAME.json` in the baseline's folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Version that made it.
    pub podpace: String,
    /// Distance from what is expected, simulated value and verdict, by row.
    pub rows: BTreeMap<String, BaselineRow>,
}

/// One row of a baseline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaselineRow {
    /// Simulated value; infinite if pods never got there, which JSON writes as `null`.
    #[serde(deserialize_with = "null_is_infinite")]
    pub simulated: f64,
    /// Distance from what is expected, infinite likewise.
    #[serde(deserialize_with = "null_is_infinite")]
    pub distance: f64,
    /// Whether it passed.
    pub pass: bool,
}

fn null_is_infinite<'de, D: serde::Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(from)?.unwrap_or(f64::INFINITY))
}

impl BaselineRow {
    /// Whether `after` is a regression from it. What is infinite, or nothing, can't get further from what is expected.
    fn regresses_to(&self, after: &BaselineRow) -> bool {
        let grew = match (self.distance.is_finite(), after.distance.is_finite()) {
            (true, true) => after.distance - self.distance > REGRESSION,
            (before, after) => before && !after,
        };
        grew || (self.pass && !after.pass)
    }
}

impl Baseline {
    /// The baseline that a result would be.
    #[must_use]
    pub fn of(checked: &Checked) -> Self {
        let row = |row: &Row| {
            let distance = row.distance();
            (row.key(), BaselineRow { simulated: row.simulated, distance, pass: row.pass })
        };
        Self { podpace: VERSION.to_owned(), rows: checked.rows.iter().map(row).collect() }
    }

    /// What got worse, one sentence each.
    #[must_use]
    pub fn regressions(&self, checked: &Checked) -> Vec<String> {
        let now = Self::of(checked);
        let mut worse = Vec::new();
        for (key, before) in &self.rows {
            let Some(after) = now.rows.get(key) else {
                worse.push(format!("{}: {key}: is in the baseline, but no longer expected", checked.name));
                continue;
            };
            if before.regresses_to(after) {
                worse.push(format!(
                    "{}: {key}: was {} ({:.1} % off), is {} ({:.1} % off)",
                    checked.name,
                    before.simulated,
                    before.distance * 100.0,
                    after.simulated,
                    after.distance * 100.0
                ));
            }
        }
        worse
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(simulated: f64, published: f64, tolerance: f64) -> Row {
        Row {
            experiment: "e".into(),
            run: "r".into(),
            metric: "m".into(),
            published: Some(published),
            min: None,
            max: None,
            simulated,
            range: None,
            error: Some(simulated / published - 1.0),
            tolerance: Some(tolerance),
            curve: None,
            pass: (simulated / published - 1.0).abs() <= tolerance,
            source: None,
            threshold: None,
            relative: None,
            place: None,
        }
    }

    fn checked(row: Row) -> Checked {
        Checked { file: "f".into(), name: "e".into(), rows: vec![row], limited_by: BTreeMap::new() }
    }

    #[test]
    fn growing_distance_is_a_regression_and_coming_closer_is_none() {
        let before = Baseline::of(&checked(row(104.0, 100.0, 0.10)));
        assert!(before.regressions(&checked(row(105.0, 100.0, 0.10))).is_empty());
        assert!(before.regressions(&checked(row(100.0, 100.0, 0.10))).is_empty());
        assert_eq!(before.regressions(&checked(row(107.0, 100.0, 0.10))).len(), 1);
        assert_eq!(before.regressions(&Checked { rows: Vec::new(), ..checked(row(1.0, 1.0, 0.1)) }).len(), 1);
    }

    #[test]
    fn an_infinite_row_is_kept_and_read_back() {
        let read =
            |b: &Baseline| -> Baseline { serde_json::from_str(&serde_json::to_string(b).unwrap()).unwrap() };
        let never = Baseline::of(&checked(row(f64::INFINITY, 100.0, 0.10)));
        assert_eq!(read(&never), never);
        for now in [f64::INFINITY, f64::NAN, 150.0, 100.0] {
            let worse = read(&never).regressions(&checked(row(now, 100.0, 0.10)));
            assert!(worse.is_empty(), "{now}: {worse:?}");
        }
        for before in [100.0, 150.0] {
            let before = read(&Baseline::of(&checked(row(before, 100.0, 0.10))));
            for now in [f64::INFINITY, f64::NAN] {
                assert_eq!(before.regressions(&checked(row(now, 100.0, 0.10))).len(), 1, "{now}");
            }
        }
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]).to_bits(), 2.0f64.to_bits());
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]).to_bits(), 2.5f64.to_bits());
        assert!(median(&[1.0, f64::INFINITY]).is_infinite());
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_curve_is_compared_by_time_and_missing_points_are_infinitely_late() {
        let points = [CurvePoint { t_s: 10.0, count: 1.0 }, CurvePoint { t_s: 20.0, count: 2.0 }];
        let times =
            |b| Observed { curves: [(0, vec![Some(11_000_000_000), b])].into(), ..Observed::default() };
        let on_time = times(Some(20_000_000_000));
        let found = fit(&points, &[&on_time], 0);
        assert!((found.median - 0.05).abs() < 1e-9 && (found.worst - 0.1).abs() < 1e-9, "{found:?}");
        let never = times(None);
        assert!(fit(&points, &[&never], 0).worst.is_infinite());
    }
}
