//! Validation: predicted beside measured, for every run of a folder.
//!
//! A prediction takes a run's conditions only, of which one may be told by counters ([`sampling`](super::sampling)); what was measured is
//! read after it. Each run is predicted with
//! several seeds: the seed draws the machine's run-to-run noise, disk latencies and ties, and if wanted the unit costs
//! from their intervals, so that the predictions have a distribution. `predicted` is its median, `low` and `high` its 5th and 95th percentile:
//! estimated so that one more draw lies between them with a chance of 90 %, however few the seeds are.
//!
//! The range of throughput and of the last binding is one for a *measurement*: runs that a rate limit decides repeat within 0.3 %, where
//! the model's seeds may agree to the last digit. So it is widened by the spread of repeated measurements (`repeat_ppm` of the
//! machine's profile, a standard deviation), added in quadrature as an independent error; the prediction stays where it is.
//!
//! Cost: runs x seeds simulations, in parallel.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::{Value, json};

use super::measured::MeasuredError;
use super::run::{MeasuredRun, Outcome, Values, extend_to_windows, runs_in};
use crate::cost::ProfileLibrary;
use crate::engine::SECOND;
use crate::experiment::run::simulate;
use crate::experiment::uncertainty::draw_constants;
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
    /// What it was measured with, and what is odd about that.
    pub notes: Vec<String>,
    /// What the measurement can't tell, and why.
    pub not_told: Vec<(String, String)>,
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
pub(super) const JUDGED: [&str; 2] = ["bound_per_s_p10_p90", "last_bound_s"];

pub(super) fn float_quantile(ascending: &[f64], q: f64) -> f64 {
    let Some(last) = ascending.len().checked_sub(1) else { return 0.0 };
    let at = q * last as f64;
    let below = at as usize;
    let above = (below + 1).min(last);
    ascending[below] + (ascending[above] - ascending[below]) * (at - below as f64)
}

/// A quantile of the distribution that some draws come from, such that one more draw lies below it with a chance of `q`, whatever the
/// distribution: the value of rank q (n + 1) (Hyndman and Fan 1996, definition 6), or the outermost draw. [`float_quantile`] describes
/// the draws at hand; between its 5 and 95 %, further ones would lie with a chance of 81 % for 20 draws, 87 % for 60.
fn quantile_of_one_more(ascending: &[f64], q: f64) -> f64 {
    let Some(last) = ascending.len().checked_sub(1).filter(|last| *last > 0) else {
        return float_quantile(ascending, q);
    };
    let rank = q * (ascending.len() + 1) as f64;
    float_quantile(ascending, ((rank - 1.0) / last as f64).clamp(0.0, 1.0))
}

pub(super) fn ascending(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// A range with another, independent error of this standard deviation, relative to the prediction.
fn widened(comparison: Comparison, relative_sd: f64) -> Comparison {
    /// Of a normal distribution: from its middle to its 95th percentile, in standard deviations.
    const Z95: f64 = 1.645;
    let Comparison { predicted, low, high, .. } = comparison;
    let with = |side: f64| libm::hypot(side, Z95 * relative_sd * predicted);
    Comparison {
        low: predicted - with(predicted - low),
        high: predicted + with(high - predicted),
        ..comparison
    }
}

fn compare(outcome: &Outcome, predictions: &[Values], repeat_sd: f64) -> BTreeMap<String, Comparison> {
    outcome
        .plain()
        .into_iter()
        .filter_map(|(name, measured)| {
            let all = ascending(predictions.iter().filter_map(|p| p.get(&name).copied()));
            (!all.is_empty()).then(|| {
                let comparison = Comparison {
                    measured,
                    predicted: float_quantile(&all, 0.5),
                    low: quantile_of_one_more(&all, 0.05),
                    high: quantile_of_one_more(&all, 0.95),
                };
                let judged = JUDGED.contains(&name.as_str());
                (name, if judged { widened(comparison, repeat_sd) } else { comparison })
            })
        })
        .collect()
}

/// What a run was measured with and what it can't tell, a line each.
#[must_use]
pub fn told_text(run: &str, notes: &[String], not_told: &[(String, String)]) -> String {
    let notes = notes.iter().map(|note| format!("{run}: {note}\n"));
    notes.chain(not_told.iter().map(|(what, why)| format!("{run}: can't tell {what}: {why}\n"))).collect()
}

/// What can't be told, for programs.
pub(super) fn not_told(pairs: &[(String, String)]) -> Value {
    pairs.iter().map(|(what, why)| json!({"what": what, "why": why})).collect()
}

enum RunResult {
    Validated(Box<ValidatedRun>),
    LeftOut(String, String),
}

fn validate_run(file: &Path, options: &Options) -> Result<RunResult, MeasuredError> {
    let run = MeasuredRun::open(file, &options.sets)?;
    let machine = options.profiles.load("machine-2-core")?;
    let repeat_sd = machine.parameter("repeat_ppm").unwrap_or(0) as f64 / 1e6;
    let registry = Registry::built_in();
    let mut predictions = Vec::new();
    for seed in 0..u64::from(options.seeds.max(1)) {
        let mut plan = match run.plan(&options.profiles, seed + 1) {
            Ok(plan) => plan,
            Err(MeasuredError::NotModelled { message, .. }) => {
                return Ok(RunResult::LeftOut(run.name, message));
            }
            Err(other) => return Err(other),
        };
        if options.draw_constants {
            draw_constants(&mut plan, 1, seed);
        }
        let finished = simulate(&plan, &registry)
            .map_err(|e| MeasuredError::File { file: file.to_owned(), message: e.to_string() })?;
        let end_s = finished.kernel.now() as f64 / SECOND as f64;
        predictions.push((run.predict(&finished), plan, end_s));
    }
    // The prediction stands; only now is the outcome read.
    let outcome = run.outcome(&predictions[0].1)?;
    if let Some(why) = outcome.unusable {
        return Ok(RunResult::LeftOut(run.name, why));
    }
    let predictions: Vec<Values> = predictions
        .into_iter()
        .map(|(mut values, plan, end_s)| {
            extend_to_windows(&mut values, &plan, end_s, &outcome.windows_s);
            values
        })
        .collect();
    let bound = ascending(predictions.iter().map(|p| p["bound"]));
    Ok(RunResult::Validated(Box::new(ValidatedRun {
        metrics: compare(&outcome, &predictions, repeat_sd),
        run: run.name,
        class: run.class,
        timed_out: outcome.timed_out,
        bound: (outcome.bound, float_quantile(&bound, 0.5) as u64),
        notes: outcome.notes,
        not_told: outcome.not_told,
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
    validate_files(&runs_in(folder)?, options, progress)
}

/// Predicts the runs of some files of a folder, as [`validate`] does all.
///
/// # Errors
/// A run can't be read.
pub fn validate_files(
    files: &[PathBuf],
    options: &Options,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Validation, MeasuredError> {
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
    /// Measured values of the runs that did not time out, and how many of them lie inside their 5 to 95 % ranges: of throughput and
    /// last binding, or of every metric.
    #[must_use]
    pub fn coverage(&self, judged_only: bool) -> (usize, usize) {
        let runs = self.runs.iter().filter(|r| !r.timed_out);
        let all: Vec<&Comparison> = runs
            .flat_map(|r| &r.metrics)
            .filter(|(name, _)| !judged_only || JUDGED.contains(&name.as_str()))
            .map(|(_, comparison)| comparison)
            .collect();
        (all.len(), all.iter().filter(|c| c.covered()).count())
    }

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

    /// The JSON that docs/results.md describes.
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
                let mut value = json!({
                    "run": r.run, "class": r.class, "timed_out": r.timed_out,
                    "bound": {"measured": r.bound.0, "predicted": r.bound.1}, "metrics": metrics,
                });
                if !r.notes.is_empty() {
                    value["notes"] = json!(r.notes);
                }
                if !r.not_told.is_empty() {
                    value["not_told"] = not_told(&r.not_told);
                }
                value
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
        let (values, inside) = self.coverage(true);
        let coverage = json!({"values": values, "inside": inside});
        json!({"runs": runs, "summary": summary, "metrics": metrics, "coverage": coverage, "left_out": left_out})
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
        for (judged, what) in [(true, "throughput and last binding"), (false, "all metrics")] {
            let (values, inside) = self.coverage(judged);
            if values > 0 {
                let share = inside as f64 / values as f64 * 100.0;
                text += &format!(
                    "inside their 90 % ranges: {inside} of {values} values of {what} ({share:.1} %)\n"
                );
            }
        }
        for run in &self.runs {
            text += &told_text(&run.run, &run.notes, &run.not_told);
        }
        for (run, why) in &self.left_out {
            text += &format!("left out: {run}: {why}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(low: f64, high: f64) -> Comparison {
        Comparison { measured: 100.3, predicted: 100.0, low, high }
    }

    /// Two runs that one token bucket decides differ by up to 0.3 %, though every seed predicts the same.
    #[test]
    fn a_measurement_repeats_only_so_well() {
        let sure = range(100.0, 100.0);
        assert!(!sure.covered());
        let wide = widened(sure, 0.0015);
        assert!((wide.high - 100.246_75).abs() < 1e-9 && (wide.low - 99.753_25).abs() < 1e-9);
        assert!((wide.predicted - sure.predicted).abs() < 1e-9);
        assert!(!wide.covered() && widened(sure, 0.002).covered());
    }

    /// That is what a range is judged by, and it holds for any distribution: a skewed one here.
    #[test]
    fn one_more_draw_lies_in_the_range_nine_times_of_ten() {
        let mut rng = crate::engine::Streams::new(1).stream("test");
        let mut draw = || libm::exp(2.0 * rng.normal());
        for seeds in [19, 20, 60] {
            let trials = 4000;
            let inside = (0..trials)
                .filter(|_| {
                    let all = ascending((0..seeds).map(|_| draw()));
                    let (low, high) = (quantile_of_one_more(&all, 0.05), quantile_of_one_more(&all, 0.95));
                    (low..=high).contains(&draw())
                })
                .count();
            let share = inside as f64 / f64::from(trials);
            assert!((0.885..0.915).contains(&share), "{seeds} seeds: {share}");
        }
    }

    #[test]
    fn the_range_of_few_draws_is_all_of_them() {
        assert!((quantile_of_one_more(&[1.0, 2.0, 3.0], 0.95) - 3.0).abs() < 1e-9);
        assert!((quantile_of_one_more(&[1.0, 2.0, 3.0], 0.05) - 1.0).abs() < 1e-9);
        assert!((quantile_of_one_more(&[2.0], 0.05) - 2.0).abs() < 1e-9);
    }

    /// Independent errors add in quadrature: where the seeds differ by some percent, the range is as good as theirs.
    #[test]
    fn a_wide_range_stays_as_it_is() {
        let wide = widened(range(95.0, 110.0), 0.0015);
        assert!((94.98..95.0).contains(&wide.low) && (110.0..110.01).contains(&wide.high));
        let same = widened(range(95.0, 110.0), 0.0);
        assert!((same.low - 95.0).abs() < 1e-9 && (same.high - 110.0).abs() < 1e-9);
    }
}
