//! Validation: predicted beside measured, for every run of a folder.
//!
//! A prediction takes a run's conditions only; what was measured is read after it. Each run is predicted with
//! several seeds: the seed draws the machine's run-to-run noise, disk latencies and ties, and if wanted the unit costs
//! from their intervals, so that the predictions have a distribution. `predicted` is its median, `low` and `high` its 5th and 95th percentile.
//!
//! Cost: runs x seeds simulations, in parallel.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::{Value, json};

use super::measured::{
    Conditions, Inputs, Measured, MeasuredError, plan, read_conditions, read_measured, runs_in,
};
use crate::cost::ProfileLibrary;
use crate::engine::SECOND;
use crate::experiment::report::{metrics, rate_p10_p90, spans, stage_times};
use crate::experiment::simulation::{Finished, Simulation};
use crate::experiment::uncertainty::draw_constants;
use crate::measure::metrics::quantile;
use crate::scheduler::Registry;

/// How to validate.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where profiles are found.
    pub profiles: ProfileLibrary,
    /// Seeds a run is predicted with.
    pub seeds: u32,
    /// Whether each seed draws the constants from their intervals, too.
    pub draw_constants: bool,
    /// `RUN:FIELD=VALUE`: conditions that a run's file lacks, such as `percentage_of_nodes_to_score`.
    pub sets: Vec<String>,
}

/// One metric of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// As measured.
    pub measured: f64,
    /// Median prediction.
    pub predicted: f64,
    /// 5th percentile.
    pub low: f64,
    /// 95th percentile.
    pub high: f64,
}

impl Comparison {
    /// Relative error.
    #[must_use]
    pub fn error(&self) -> f64 {
        if self.measured == 0.0 { 0.0 } else { self.predicted / self.measured - 1.0 }
    }

    /// Whether the measured value lies inside the predicted range.
    #[must_use]
    pub fn covered(&self) -> bool {
        self.low <= self.measured && self.measured <= self.high
    }
}

/// One run, predicted and measured.
#[derive(Clone, Debug)]
pub struct ValidatedRun {
    /// Name.
    pub run: String,
    /// Class.
    pub class: String,
    /// Whether the real run timed out.
    pub timed_out: bool,
    /// Pods bound: measured, predicted median.
    pub bound: (u64, u64),
    /// By metric.
    pub metrics: BTreeMap<String, Comparison>,
}

/// Predictions beside measurements.
#[derive(Clone, Debug, Default)]
pub struct Validation {
    /// Runs, by name.
    pub runs: Vec<ValidatedRun>,
    /// Runs that are not predicted, and why.
    pub left_out: Vec<(String, String)>,
}

/// A summary over the runs of a class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassSummary {
    /// Runs that did not time out.
    pub runs: usize,
    /// Median absolute relative error.
    pub median_abs_error: f64,
    /// 90th percentile of it.
    pub p90_abs_error: f64,
    /// Largest.
    pub worst: f64,
    /// Share of measured values inside the predicted range.
    pub coverage: f64,
}

/// The metrics that summaries are over.
const JUDGED: [&str; 2] = ["bound_per_s_p10_p90", "last_bound_s"];

/// Processes as results name them and as measured runs do.
pub(super) const MEASURED_PROCESSES: [(&str, &str); 5] = [
    ("apiserver", "apiserver"),
    ("etcd", "etcd"),
    ("scheduler", "scheduler"),
    ("load", "driver"),
    ("node-agents", "kwok"),
];

pub(super) type Predicted = BTreeMap<String, f64>;

pub(super) fn predict_once(run: &Finished, conditions: &Conditions, inputs: &Inputs) -> Predicted {
    let pods = &run.cluster.pods;
    let bound = stage_times(pods, |t| t.bound_ns);
    let mut p = Predicted::new();
    p.insert("bound_per_s_p10_p90".into(), rate_p10_p90(&bound));
    p.insert("last_bound_s".into(), bound.last().map_or(0.0, |t| *t as f64 / SECOND as f64));
    p.insert("bound".into(), bound.len() as f64);
    // From the creation: pods are in order of create_sent.
    let mut sent: Vec<i64> = inputs.create_sent_us.clone();
    sent.sort_unstable();
    let mut latency_us: Vec<u64> = (0..pods.len())
        .filter_map(|i| {
            let t = pods.timeline(i as u32);
            let created_us =
                if conditions.preload { sent[i] } else { i64::try_from(t.created_ns / 1000).ok()? };
            (t.bound_ns != u64::MAX).then(|| (t.bound_ns / 1000) as i64 - created_us).map(|l| l.max(0) as u64)
        })
        .collect();
    latency_us.sort_unstable();
    for (name, q) in [("latency_p50_s", 500), ("latency_p90_s", 900), ("latency_p99_s", 990)] {
        p.insert(name.into(), quantile(&latency_us, q).unwrap_or(0) as f64 / 1e6);
    }
    p.insert("first_bound_s".into(), bound.first().map_or(0.0, |t| *t as f64 / SECOND as f64));
    let running = spans(pods, |t| t.bound_ns, |t| t.running_ns);
    if conditions.kwok && !running.is_empty() {
        for (name, q) in [("bind_to_running_p50_s", 500), ("bind_to_running_p99_s", 990)] {
            p.insert(name.into(), quantile(&running, q).unwrap_or(0) as f64 / SECOND as f64);
        }
    }
    let m = metrics(run);
    for (process, name) in MEASURED_PROCESSES {
        if let Ok(seconds) = m.get(&format!("cpu.{process}_s")) {
            p.insert(format!("cpu_s.{name}"), seconds);
        }
    }
    p
}

pub(super) fn float_quantile(ascending: &[f64], q: f64) -> f64 {
    let Some(last) = ascending.len().checked_sub(1) else { return 0.0 };
    let at = q * last as f64;
    let below = at as usize;
    let above = (below + 1).min(last);
    ascending[below] + (ascending[above] - ascending[below]) * (at - below as f64)
}

pub(super) fn ascending(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// What was measured, by the names of predictions.
pub(super) fn measured_values(measured: &Measured) -> BTreeMap<String, f64> {
    let mut values: BTreeMap<String, f64> = [
        ("bound_per_s_p10_p90", measured.bound_per_s_p10_p90),
        ("last_bound_s", measured.last_bound_s),
        ("latency_p50_s", measured.latency_p50_s),
        ("latency_p99_s", measured.latency_p99_s),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v))
    .collect();
    let more = [
        ("latency_p90_s", measured.latency_p90_s),
        ("first_bound_s", measured.first_bound_s),
        ("bind_to_running_p50_s", measured.bind_to_running_p50_s),
        ("bind_to_running_p99_s", measured.bind_to_running_p99_s),
    ];
    // Minus one stands for nothing.
    let known = more.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v.filter(|v| *v >= 0.0)?)));
    values.extend(known);
    values.extend(measured.cpu_s.iter().map(|(k, v)| (format!("cpu_s.{k}"), *v)));
    values
}

fn compare(measured: &Measured, predictions: &[Predicted]) -> BTreeMap<String, Comparison> {
    measured_values(measured)
        .into_iter()
        .filter_map(|(name, measured)| {
            let all = ascending(predictions.iter().filter_map(|p| p.get(&name).copied()));
            (!all.is_empty()).then(|| {
                let comparison = Comparison {
                    measured,
                    predicted: float_quantile(&all, 0.5),
                    low: float_quantile(&all, 0.05),
                    high: float_quantile(&all, 0.95),
                };
                (name, comparison)
            })
        })
        .collect()
}

pub(super) fn apply_sets(
    conditions: &mut Conditions,
    sets: &[String],
    file: &Path,
) -> Result<(), MeasuredError> {
    for set in sets {
        let bad = |message: &str| MeasuredError::File {
            file: file.to_owned(),
            message: format!("--set {set}: {message}; expected RUN:FIELD=VALUE"),
        };
        let (run, assignment) = set.split_once(':').ok_or_else(|| bad("no run"))?;
        let (field, value) = assignment.split_once('=').ok_or_else(|| bad("no value"))?;
        if run != conditions.run {
            continue;
        }
        let value: u32 = value.parse().map_err(|_| bad("not a whole number"))?;
        match field {
            "percentage_of_nodes_to_score" => conditions.percentage_of_nodes_to_score = Some(value),
            "parallelism" => conditions.parallelism = Some(value),
            _ => return Err(bad("the field is neither percentage_of_nodes_to_score nor parallelism")),
        }
    }
    Ok(())
}

enum RunResult {
    Validated(Box<ValidatedRun>),
    LeftOut(String, String),
}

fn validate_run(file: &Path, options: &Options) -> Result<RunResult, MeasuredError> {
    let (mut conditions, inputs) = read_conditions(file)?;
    apply_sets(&mut conditions, &options.sets, file)?;
    let registry = Registry::built_in();
    let mut predictions = Vec::new();
    let base = match plan(file, &conditions, &inputs, &options.profiles, 1) {
        Ok(plan) => plan,
        Err(MeasuredError::File { message, .. }) => return Ok(RunResult::LeftOut(conditions.run, message)),
        Err(other) => return Err(other),
    };
    for seed in 0..u64::from(options.seeds.max(1)) {
        let mut plan = base.clone();
        plan.seed = seed + 1;
        if options.draw_constants {
            draw_constants(&mut plan, 1, seed);
        }
        let simulation = Simulation::new(&plan, &registry)
            .map_err(|e| MeasuredError::File { file: file.to_owned(), message: e.to_string() })?;
        predictions.push(predict_once(&simulation.run(), &conditions, &inputs));
    }
    // The prediction stands; only now is the outcome read.
    let measured = read_measured(file)?;
    let bound = ascending(predictions.iter().map(|p| p["bound"]));
    Ok(RunResult::Validated(Box::new(ValidatedRun {
        metrics: compare(&measured, &predictions),
        run: conditions.run,
        class: conditions.class,
        timed_out: measured.timed_out,
        bound: (measured.bound, float_quantile(&bound, 0.5) as u64),
    })))
}

/// Predicts every run of a folder. `progress(done, total)` is called as runs end.
///
/// # Errors
/// The folder or a run in it can't be read.
pub fn validate(
    folder: &Path,
    options: &Options,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Validation, MeasuredError> {
    let files: Vec<PathBuf> = runs_in(folder)?;
    let total = files.len();
    let done = std::sync::atomic::AtomicUsize::new(0);
    let results: Result<Vec<RunResult>, MeasuredError> = files
        .par_iter()
        .map(|file| {
            let result = validate_run(file, options);
            progress(done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1, total);
            result
        })
        .collect();
    let mut validation = Validation::default();
    for result in results? {
        match result {
            RunResult::Validated(run) => validation.runs.push(*run),
            RunResult::LeftOut(run, why) => validation.left_out.push((run, why)),
        }
    }
    Ok(validation)
}

/// A metric over all runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricSummary {
    /// Runs that have it.
    pub runs: usize,
    /// Median absolute relative error.
    pub median_abs_error: f64,
    /// 90th percentile of it.
    pub p90_abs_error: f64,
    /// Share of measured values inside the predicted range.
    pub coverage: f64,
}

impl Validation {
    /// Summaries by metric, over the runs that did not time out.
    #[must_use]
    pub fn by_metric(&self) -> BTreeMap<String, MetricSummary> {
        let mut all: BTreeMap<String, Vec<&Comparison>> = BTreeMap::new();
        for (name, comparison) in self.runs.iter().filter(|r| !r.timed_out).flat_map(|r| &r.metrics) {
            all.entry(name.clone()).or_default().push(comparison);
        }
        all.into_iter()
            .map(|(name, of)| {
                let errors = ascending(of.iter().map(|c| c.error().abs()));
                let covered = of.iter().filter(|c| c.covered()).count();
                let summary = MetricSummary {
                    runs: of.len(),
                    median_abs_error: float_quantile(&errors, 0.5),
                    p90_abs_error: float_quantile(&errors, 0.9),
                    coverage: covered as f64 / of.len() as f64,
                };
                (name, summary)
            })
            .collect()
    }

    /// Summaries by class, over throughput and last binding of the runs that did not time out.
    #[must_use]
    pub fn summary(&self) -> BTreeMap<String, ClassSummary> {
        let mut classes: BTreeMap<String, Vec<&ValidatedRun>> = BTreeMap::new();
        for run in self.runs.iter().filter(|r| !r.timed_out) {
            classes.entry(run.class.clone()).or_default().push(run);
        }
        classes
            .into_iter()
            .map(|(class, runs)| {
                let judged = || runs.iter().flat_map(|r| JUDGED.iter().filter_map(|m| r.metrics.get(*m)));
                let errors = ascending(judged().map(|c| c.error().abs()));
                let covered = judged().filter(|c| c.covered()).count();
                let summary = ClassSummary {
                    runs: runs.len(),
                    median_abs_error: float_quantile(&errors, 0.5),
                    p90_abs_error: float_quantile(&errors, 0.9),
                    worst: errors.last().copied().unwrap_or(0.0),
                    coverage: covered as f64 / judged().count().max(1) as f64,
                };
                (class, summary)
            })
            .collect()
    }

    /// The JSON of design.md section 6.
    #[must_use]
    pub fn json(&self) -> Value {
        let runs: Vec<Value> = self
            .runs
            .iter()
            .map(|r| {
                let metrics: serde_json::Map<String, Value> = r
                    .metrics
                    .iter()
                    .map(|(name, c)| {
                        let value = json!({
                            "measured": c.measured, "predicted": c.predicted, "error": c.error(),
                            "low": c.low, "high": c.high,
                        });
                        (name.clone(), value)
                    })
                    .collect();
                json!({
                    "run": r.run, "class": r.class, "timed_out": r.timed_out,
                    "bound": {"measured": r.bound.0, "predicted": r.bound.1}, "metrics": metrics,
                })
            })
            .collect();
        let summary: serde_json::Map<String, Value> = self
            .summary()
            .into_iter()
            .map(|(class, s)| {
                let value = json!({
                    "runs": s.runs, "median_abs_error": s.median_abs_error, "p90_abs_error": s.p90_abs_error,
                    "worst": s.worst, "coverage": s.coverage,
                });
                (class, value)
            })
            .collect();
        let metrics: serde_json::Map<String, Value> = self
            .by_metric()
            .into_iter()
            .map(|(name, s)| {
                let value = json!({
                    "runs": s.runs, "median_abs_error": s.median_abs_error, "p90_abs_error": s.p90_abs_error,
                    "coverage": s.coverage,
                });
                (name, value)
            })
            .collect();
        let left_out: Vec<Value> =
            self.left_out.iter().map(|(run, why)| json!({"run": run, "reason": why})).collect();
        json!({"runs": runs, "summary": summary, "metrics": metrics, "left_out": left_out})
    }

    /// The table for a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
        table.set_header([
            "run",
            "class",
            "pods/s measured",
            "predicted",
            "5-95 %",
            "error",
            "last bound s",
            "predicted",
            "5-95 %",
            "error",
            "p50 error",
            "CPU error sched / api",
        ]);
        let percent = |c: &Comparison| format!("{:+.1} %", c.error() * 100.0);
        for run in &self.runs {
            let mut row = vec![run.run.clone(), run.class.clone()];
            for (metric, digits) in [(JUDGED[0], 1), (JUDGED[1], 2)] {
                match run.metrics.get(metric) {
                    Some(c) => row.extend([
                        format!("{:.digits$}", c.measured),
                        format!("{:.digits$}", c.predicted),
                        format!(
                            "{:.digits$}-{:.digits$}{}",
                            c.low,
                            c.high,
                            if c.covered() { "" } else { " !" }
                        ),
                        percent(c),
                    ]),
                    None => row.extend(std::iter::repeat_n(String::new(), 4)),
                }
            }
            row.push(run.metrics.get("latency_p50_s").map_or(String::new(), percent));
            let cpu = |name: &str| run.metrics.get(&format!("cpu_s.{name}")).map_or("-".to_owned(), percent);
            row.push(format!("{} / {}", cpu("scheduler"), cpu("apiserver")));
            if run.timed_out {
                row[1] += &format!(" (timed out: {} bound, predicted {})", run.bound.0, run.bound.1);
            }
            table.add_row(row);
        }
        let mut text = table.to_string() + "\n\n";
        let mut summary = comfy_table::Table::new();
        summary.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
        summary.set_header(["class", "runs", "median |error|", "90th percentile", "worst", "inside 5-95 %"]);
        for (class, s) in self.summary() {
            let percent = |x: f64| format!("{:.1} %", x * 100.0);
            summary.add_row([
                class,
                s.runs.to_string(),
                percent(s.median_abs_error),
                percent(s.p90_abs_error),
                percent(s.worst),
                percent(s.coverage),
            ]);
        }
        text += &summary.to_string();
        text += "\n\n";
        let mut metrics = comfy_table::Table::new();
        metrics.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
        metrics.set_header([
            "metric, all runs",
            "runs",
            "median |error|",
            "90th percentile",
            "inside 5-95 %",
        ]);
        for (name, s) in self.by_metric() {
            let percent = |x: f64| format!("{:.1} %", x * 100.0);
            metrics.add_row([
                name,
                s.runs.to_string(),
                percent(s.median_abs_error),
                percent(s.p90_abs_error),
                percent(s.coverage),
            ]);
        }
        text += &metrics.to_string();
        text += "\n`!`: measured outside the predicted range. Errors are of the median prediction.\n";
        for (run, why) in &self.left_out {
            text += &format!("left out: {run}: {why}\n");
        }
        text
    }
}
