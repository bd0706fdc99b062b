//! The inverse question: the cheapest setting that meets goals.
//!
//! **Grid.** Each varied field has a list of values; a setting is one value of each, a point of the grid. Its cost is the
//! sum over fields of weight times value (times the place in the list, for values that are no numbers).
//!
//! **Goals.** `METRIC >= NUMBER`, or beside another metric of the same run (`METRIC >= 0.95*METRIC`). A point meets them if
//! at least the asked share of seeds does; each seed is one way that reality may turn out: arrivals, disk and machine, and the unit
//! costs, which it draws from their intervals (the same in every point). Points are tried with the
//! least number of seeds that can decide: a point that fails costs few. What so many runs say of all runs is stated with the result:
//! the share that meets the goals with 90 % confidence (Clopper and Pearson's lower bound).
//!
//! **Search.** A goal is *monotone* in a field if moving the field one way never harms it. From the dearest corner the ends
//! and the middle of every field are probed, and for each goal the field is taken as rising, falling, or mixed. A point
//! that fails a goal rules out every point that is worse in all fields (in mixed fields: equal); a point that meets all
//! goals rules out every point that is as dear. What remains is halved: the next point is the one whose worse outcome rules
//! out most. In one field this is bisection. What is known is kept only as long as it is true: a point that meets a goal
//! which a better point failed turns the fields between the two to mixed, and what had been ruled out by them comes back.
//! At the end the next cheaper value of each field is tried for itself, whatever has been ruled out.
//!
//! Found is the cheapest point of the whole grid if the goals are monotone, or if all that is not was noticed: non-monotone
//! dips between probed points can hide a cheaper one. Every run is listed and can be repeated.
//!
//! Cost: O(points x fields) a step; runs of the order of the fields times the logarithm of their lengths, plus those along the
//! border where cost and goals meet.
use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use super::report::{INTERVALS, spans};
use super::run::{Completed, Environment, RunError, RunSpec};
use crate::engine::SECOND;
use crate::measure::UnknownMetric;
use crate::measure::metrics::quantile;
use crate::scenario::{Diagnostic, Document, limits};

/// Relative differences of a goal's margin below this are none.
const FLAT: f64 = 0.005;
/// Points of a grid, at most.
const POINTS: usize = 200_000;

/// A field that may be set.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Path, as `--set` takes it.
    pub path: String,
    /// Its values, in the order given.
    pub values: Vec<String>,
    /// The values as numbers, if all are.
    numbers: Option<Vec<f64>>,
}

/// What a goal compares with.
#[derive(Clone, Debug, PartialEq)]
enum Target {
    Number(f64),
    Times(f64, String),
}

/// One goal.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// As it was written.
    pub text: String,
    metric: String,
    at_least: bool,
    strict: bool,
    target: Target,
}

/// What to search.
#[derive(Clone, Debug)]
pub struct Options {
    /// Fields and their values.
    pub axes: Vec<Axis>,
    /// All must hold.
    pub goals: Vec<Goal>,
    /// Weight by path; fields without one weigh 0. None at all: each field weighs its place in its list, ends 0 and 1.
    pub weights: BTreeMap<String, f64>,
    /// Seeds of a point that is tried to the end.
    pub seeds: u64,
    /// Whether each seed draws the unit costs from their intervals.
    pub drawn: bool,
    /// The command that runs the scenario as it is, to which a run's settings are added.
    pub repeat: String,
    /// Share of them that has to meet the goals.
    pub confidence: f64,
    /// The search ends there.
    pub max_runs: u64,
}

fn bad(argument: String, message: &str, hint: &str) -> Box<Diagnostic> {
    Box::new(Diagnostic::of_file(argument, message, hint))
}

/// Parses `PATH=LO..HI`, `PATH=LO..HI:STEP`, `PATH=LO..HI:xFACTOR` or `PATH=V1,V2,..`.
///
/// # Errors
/// None of these, an empty range, too many values.
pub fn parse_axis(argument: &str) -> Result<Axis, Box<Diagnostic>> {
    let error = |message: &str| {
        let hint = "write --vary PATH=LO..HI, PATH=LO..HI:STEP, PATH=LO..HI:xFACTOR or PATH=V1,V2,.., such as scheduler.client.qps=50..1000:50";
        bad(format!("--vary {argument}"), message, hint)
    };
    let (path, list) = argument.split_once('=').ok_or_else(|| error("no `=` in it"))?;
    // `../a,../b` are values, no range.
    let range = list.split_once("..").filter(|(low, _)| low.trim().parse::<f64>().is_ok_and(f64::is_finite));
    let Some((low, rest)) = range else {
        let (path, values) = super::sweep::parse_vary(argument)?;
        let numbers = values.iter().map(|v| v.parse::<f64>().ok()).collect();
        return Ok(Axis { path, values, numbers });
    };
    let (high, step) = rest.split_once(':').map_or((rest, None), |(high, step)| (high, Some(step.trim())));
    let number = |text: &str| {
        let value = text.trim().parse::<f64>().ok().filter(|v| v.is_finite());
        value.ok_or_else(|| error(&format!("`{}` is not a number", text.trim())))
    };
    let (from, to) = (number(low)?, number(high)?);
    if from >= to {
        return Err(error("the range is empty; write the smaller end first"));
    }
    let whole = |v: f64| (libm::trunc(v) - v).abs() < f64::EPSILON;
    let mut values = Vec::new();
    let mut add = |v: f64| {
        values.push(v);
        if values.len() > 10_000 {
            Err(error("more than 10,000 values; write a larger step"))
        } else {
            Ok(())
        }
    };
    match step.map(|s| s.strip_prefix('x').map_or_else(|| (s, false), |factor| (factor, true))) {
        Some((factor, true)) => {
            let factor = number(factor)?;
            if factor <= 1.0 || from <= 0.0 {
                return Err(error("a factor has to be above 1, and the range above 0"));
            }
            let integers = whole(from) && whole(to);
            let mut at = from;
            while at < to * (1.0 - 1e-9) {
                add(if integers { libm::round(at) } else { at })?;
                at *= factor;
            }
            add(to)?;
        }
        step => {
            let step = match step {
                Some((text, _)) => number(text)?,
                None if whole(from) && whole(to) => 1.0,
                None => (to - from) / 20.0,
            };
            if step <= 0.0 {
                return Err(error("the step has to be above 0"));
            }
            let mut i = 0u32;
            while from + step * f64::from(i) <= to * (1.0 + 1e-12) + f64::MIN_POSITIVE {
                add(from + step * f64::from(i))?;
                i += 1;
            }
        }
    }
    // Nine decimals: what people write, without the dust of binary fractions.
    values.iter_mut().for_each(|v| *v = libm::round(*v * 1e9) / 1e9);
    values.dedup_by(|a, b| a.to_bits() == b.to_bits());
    let text = |v: &f64| if whole(*v) && v.abs() < 1e15 { format!("{}", *v as i64) } else { format!("{v}") };
    Ok(Axis {
        path: path.trim().to_owned(),
        values: values.iter().map(text).collect(),
        numbers: Some(values),
    })
}

/// Parses `METRIC>=NUMBER` (or `<=`, `>`, `<`) or `METRIC>=FACTOR*METRIC`.
///
/// # Errors
/// No comparison, or no number.
pub fn parse_goal(text: &str) -> Result<Goal, Box<Diagnostic>> {
    let error = |message: &str| {
        let hint = "write --goal 'METRIC>=NUMBER' or 'METRIC>=0.95*METRIC', such as 'throughput.bound.mean>=300' or 'latency.created_to_bound.p95_s<=60'";
        bad(format!("--goal {text}"), message, hint)
    };
    let at = text.find(['<', '>']).ok_or_else(|| error("neither >= nor <= in it"))?;
    let (metric, rest) = text.split_at(at);
    let at_least = rest.starts_with('>');
    let strict = rest.as_bytes().get(1) != Some(&b'=');
    let value = rest[if strict { 1 } else { 2 }..].trim();
    let metric = metric.trim();
    if metric.is_empty() || value.is_empty() {
        return Err(error("a metric or a value is missing"));
    }
    let number = |text: &str| {
        let number = text.trim().parse::<f64>().ok().filter(|v| v.is_finite());
        number.ok_or_else(|| error(&format!("`{}` is not a number (in the metric's unit)", text.trim())))
    };
    let target = match value.split_once('*') {
        Some((factor, metric)) => Target::Times(number(factor)?, metric.trim().to_owned()),
        None => match number(value) {
            Ok(number) => Target::Number(number),
            Err(e) if !value.contains('.') || value.starts_with(|c: char| c.is_ascii_digit()) => {
                return Err(e);
            }
            Err(_) => Target::Times(1.0, value.to_owned()),
        },
    };
    Ok(Goal { text: text.trim().to_owned(), metric: metric.to_owned(), at_least, strict, target })
}

/// Parses `PATH=WEIGHT`.
///
/// # Errors
/// No `=`, or no number.
pub fn parse_cost(text: &str, axes: &[Axis]) -> Result<(String, f64), Box<Diagnostic>> {
    let error = |message: &str| {
        let hint = "write --cost PATH=WEIGHT for a field of --vary, such as 'cluster.nodes[0].count=1'; a negative weight makes more cheaper";
        bad(format!("--cost {text}"), message, hint)
    };
    let (path, weight) = text.rsplit_once('=').ok_or_else(|| error("no `=` in it"))?;
    let path = path.trim();
    if !axes.iter().any(|a| a.path == path) {
        return Err(error("no --vary has this field"));
    }
    let weight = weight.trim().parse::<f64>().ok().filter(|w| w.is_finite());
    Ok((path.to_owned(), weight.ok_or_else(|| error("the weight is not a number"))?))
}

/// A metric of a run. Any percentile of an interval of the pods' lives is one (`latency.created_to_bound.p95_s`); pods that
/// were created and never got there count as waiting for ever.
fn value(run: &Completed, name: &str) -> Result<f64, UnknownMetric> {
    let percentile = name.strip_prefix("latency.").and_then(|rest| {
        let (interval, p) = rest.split_once('.')?;
        let p = p.strip_prefix('p')?.strip_suffix("_s")?.parse::<f64>().ok()?;
        let found = INTERVALS.iter().find(|(known, ..)| *known == interval)?;
        (0.0..=100.0).contains(&p).then_some((found, p))
    });
    let Some(((_, from, to), p)) = percentile else {
        return run.summary.metrics().get(name);
    };
    let pods = &run.finished.cluster.pods;
    let mut waits = spans(pods, from, to);
    let begun =
        (0..run.finished.counts.total as u32).filter(|pod| from(pods.timeline(*pod)) != u64::MAX).count();
    waits.resize(begun.max(waits.len()), u64::MAX);
    let wait = quantile(&waits, libm::round(p * 10.0) as u64).unwrap_or(0);
    Ok(if wait == u64::MAX { f64::INFINITY } else { wait as f64 / SECOND as f64 })
}

impl Goal {
    /// The value, what it is compared with, and by how much the goal is met, relative to the latter (below 0: it fails).
    fn judge(&self, run: &Completed) -> Result<(f64, f64, f64, bool), UnknownMetric> {
        let value_now = value(run, &self.metric)?;
        let target = match &self.target {
            Target::Number(number) => *number,
            Target::Times(factor, metric) => factor * value(run, metric)?,
        };
        let met = match (self.at_least, self.strict) {
            (true, false) => value_now >= target,
            (true, true) => value_now > target,
            (false, false) => value_now <= target,
            (false, true) => value_now < target,
        };
        let distance = if self.at_least { value_now - target } else { target - value_now };
        let size = target.abs();
        let margin = if size > 0.0 { distance / size } else { distance };
        Ok((value_now, target, if margin.is_nan() { f64::NEG_INFINITY } else { margin }, met))
    }
}

/// One goal in one run.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// The metric; `null` if it is infinite (pods that never got there).
    pub value: f64,
    /// What it was compared with.
    pub target: f64,
    /// Whether it met the goal.
    pub met: bool,
    #[serde(skip)]
    margin: f64,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    /// Number, in the order in which they were made, 1 the first.
    pub number: u64,
    /// Seed.
    pub seed: u64,
    /// By goal, in order.
    pub goals: Vec<Judged>,
    /// How it is repeated.
    pub command: String,
}

/// A point that was tried, with some seeds or all.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// Path and value.
    pub settings: Vec<(String, String)>,
    /// Cost.
    pub cost: f64,
    /// Whether enough seeds meet all goals; none: too few were tried to say.
    pub met: Option<bool>,
    /// Runs in order of seeds.
    pub runs: Vec<Tried>,
    #[serde(skip)]
    at: Vec<usize>,
}

impl Point {
    /// Seeds that met all goals.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.runs.iter().filter(|r| r.goals.iter().all(|g| g.met)).count() as u64
    }

    /// Share of all runs that meet the goals with 90 % confidence, by those made.
    #[must_use]
    pub fn share_at_least(&self) -> f64 {
        at_least(self.passed(), self.runs.len() as u64, 0.9)
    }

    /// Median of a goal's values over the runs made.
    #[must_use]
    pub fn value(&self, goal: usize) -> f64 {
        let values: Vec<f64> = self.runs.iter().map(|r| r.goals[goal].value).collect();
        super::check::median(&values)
    }

    fn margin(&self, goal: usize) -> f64 {
        let values: Vec<f64> = self.runs.iter().map(|r| r.goals[goal].margin).collect();
        super::check::median(&values)
    }
}

/// Lower confidence bound of a share of which `k` of `n` were seen: Clopper and Pearson's.
#[must_use]
pub fn at_least(k: u64, n: u64, confidence: f64) -> f64 {
    if k == 0 || n == 0 {
        return 0.0;
    }
    // Probability of k or more, as a sum of terms that follow from each other.
    let tail = |p: f64| -> f64 {
        (k..=n)
            .map(|i| {
                let choose = libm::lgamma(n as f64 + 1.0)
                    - libm::lgamma(i as f64 + 1.0)
                    - libm::lgamma((n - i) as f64 + 1.0);
                let failures = (n - i) as f64;
                let rest = if n == i { 0.0 } else { failures * libm::log(1.0 - p) };
                libm::exp(choose + i as f64 * libm::log(p) + rest)
            })
            .sum()
    };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if tail(middle) < 1.0 - confidence { low = middle } else { high = middle }
    }
    low
}

/// How a goal moves with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trend {
    /// Later values are at least as good.
    Rising,
    /// Later values are at most as good.
    Falling,
    /// Neither: values are compared with themselves only.
    Mixed,
}

/// A finished search.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// The cheapest point that meets the goals, as an index into `points`.
    pub best: Option<usize>,
    /// Points on the Pareto front of cost and goals, cheapest first, as indices into `points`.
    pub front: Vec<usize>,
    /// Of the cheapest point: the share of all runs that meets the goals with 90 % confidence.
    pub share_at_least: Option<f64>,
    /// Whether each seed drew the unit costs from their intervals.
    pub drawn: bool,
    /// Every point that was tried, in order.
    pub points: Vec<Point>,
    /// By goal, then by field.
    pub trends: Vec<Vec<Trend>>,
    /// Runs made.
    pub runs: u64,
    /// Runs that the whole grid would take.
    pub grid_runs: u64,
    /// Whether the search ended before it had decided every point.
    pub stopped_early: bool,
    /// What was noticed on the way.
    pub notes: Vec<String>,
}

/// A search can't go on.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PlanError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("{0}")]
    Input(Box<Diagnostic>),
    #[error("--goal {goal}: {source}")]
    Metric { goal: String, source: UnknownMetric },
}

impl From<Box<Diagnostic>> for PlanError {
    fn from(error: Box<Diagnostic>) -> Self {
        Self::Input(error)
    }
}

struct Search<'a> {
    document: &'a Document,
    environment: &'a Environment,
    options: &'a Options,
    sizes: Vec<usize>,
    strides: Vec<usize>,
    costs: Vec<f64>,
    /// Index into `points` by grid index.
    tried: BTreeMap<usize, usize>,
    points: Vec<Point>,
    trends: Vec<Vec<Trend>>,
    alive: Vec<bool>,
    best: Option<usize>,
    runs: u64,
    notes: Vec<String>,
    done: &'a (dyn Fn() + Sync),
}

impl Search<'_> {
    fn at(&self, index: usize) -> Vec<usize> {
        self.strides.iter().zip(&self.sizes).map(|(stride, size)| index / stride % size).collect()
    }

    fn index(&self, at: &[usize]) -> usize {
        at.iter().zip(&self.strides).map(|(i, stride)| i * stride).sum()
    }

    /// Seeds that may fail.
    fn allowed(&self) -> u64 {
        let seeds = self.options.seeds.max(1);
        let needed = libm::ceil(self.options.confidence * seeds as f64 - 1e-9) as u64;
        seeds - needed.clamp(1, seeds)
    }

    fn spec(&self, at: &[usize]) -> Result<RunSpec, PlanError> {
        let mut document = self.document.clone();
        for (axis, i) in self.options.axes.iter().zip(at) {
            document.set(&format!("{}={}", axis.path, axis.values[*i]))?;
        }
        let spec = RunSpec::of_scenario(document).map_err(RunError::from)?;
        Ok(RunSpec { draw: self.options.drawn.then_some(0), ..spec })
    }

    /// Runs a point with its first `wanted` seeds, those not yet run.
    fn run(&mut self, index: usize, wanted: u64) -> Result<usize, PlanError> {
        let at = self.at(index);
        let spec = self.spec(&at)?;
        let place = match self.tried.get(&index) {
            Some(place) => *place,
            None => {
                let settings: Vec<(String, String)> = self
                    .options
                    .axes
                    .iter()
                    .zip(&at)
                    .map(|(a, i)| (a.path.clone(), a.values[*i].clone()))
                    .collect();
                let cost = self.costs[index];
                self.points.push(Point { settings, cost, met: None, runs: Vec::new(), at });
                self.tried.insert(index, self.points.len() - 1);
                self.points.len() - 1
            }
        };
        let have = self.points[place].runs.len() as u64;
        let first = self.runs + 1;
        let seeds: Vec<(u64, u64)> =
            (have..wanted).zip(first..).map(|(i, number)| (number, spec.seed.wrapping_add(i))).collect();
        let sets: Vec<String> = self.points[place]
            .settings
            .iter()
            .map(|(path, value)| format!(" --set {}", quoted(&format!("{path}={value}"))))
            .collect();
        let draw = if self.options.drawn { " --draw 0" } else { "" };
        let command = |seed: u64| format!("{}{} --seed {seed}{draw}", self.options.repeat, sets.concat());
        let runs: Vec<Result<Tried, PlanError>> = seeds
            .par_iter()
            .map(|(number, seed)| {
                let completed = RunSpec { seed: *seed, ..spec.clone() }.simulate(self.environment)?;
                (self.done)();
                let goals = self.options.goals.iter().map(|goal| {
                    let judged = goal.judge(&completed);
                    let (value, target, margin, met) =
                        judged.map_err(|source| PlanError::Metric { goal: goal.text.clone(), source })?;
                    Ok(Judged { value, target, met, margin })
                });
                let goals = goals.collect::<Result<_, PlanError>>()?;
                Ok(Tried { number: *number, seed: *seed, goals, command: command(*seed) })
            })
            .collect();
        self.runs += runs.len() as u64;
        for run in runs {
            self.points[place].runs.push(run?);
        }
        let (seeds, allowed) = (self.options.seeds.max(1), self.allowed());
        let point = &mut self.points[place];
        let (passed, tried) = (point.passed(), point.runs.len() as u64);
        if tried - passed > allowed {
            point.met = Some(false);
        } else if tried >= seeds {
            point.met = Some(true);
        }
        Ok(place)
    }

    /// Runs a point until it is decided, and draws the conclusions.
    fn decide(&mut self, index: usize) -> Result<bool, PlanError> {
        let allowed = self.allowed();
        let mut place = self.run(index, allowed + 1)?;
        if self.points[place].met.is_none() {
            place = self.run(index, self.options.seeds.max(1))?;
        }
        let met = self.points[place].met == Some(true);
        self.alive[index] = false;
        if met && self.best.is_none_or(|best| self.costs[index] < self.points[best].cost) {
            self.best = Some(place);
        }
        if self.contradicts(place) {
            self.revive()
        } else {
            self.rule_out(place)
        }
        Ok(met)
    }

    /// Whether more seeds failed a goal than may.
    fn failed(&self, point: &Point, goal: usize) -> bool {
        point.runs.iter().filter(|r| !r.goals[goal].met).count() as u64 > self.allowed()
    }

    /// Whether `x` can't be better than `y` for a goal.
    fn at_most(&self, goal: usize, x: &[usize], y: &[usize]) -> bool {
        self.trends[goal].iter().zip(x.iter().zip(y)).all(|(trend, (a, b))| match trend {
            Trend::Rising => a <= b,
            Trend::Falling => a >= b,
            Trend::Mixed => a == b,
        })
    }

    /// Turns fields to mixed where a worse point met what a better one failed. Returns whether there was one.
    fn contradicts(&mut self, place: usize) -> bool {
        let mut found = false;
        for goal in 0..self.options.goals.len() {
            for other in 0..self.points.len() {
                let (x, y) = (&self.points[place], &self.points[other]);
                if x.met.is_none() || y.met.is_none() {
                    continue;
                }
                let (fails, meets) = match (self.failed(x, goal), self.failed(y, goal)) {
                    (true, false) => (x, y),
                    (false, true) => (y, x),
                    _ => continue,
                };
                if !self.at_most(goal, &meets.at, &fails.at) {
                    continue;
                }
                let mixed: Vec<usize> =
                    (0..self.sizes.len()).filter(|axis| meets.at[*axis] != fails.at[*axis]).collect();
                for axis in mixed {
                    self.trends[goal][axis] = Trend::Mixed;
                    let (goal, path) = (&self.options.goals[goal].text, &self.options.axes[axis].path);
                    self.notes.push(format!(
                        "{goal} is not monotone in {path}: its values are compared one by one"
                    ));
                }
                found = true;
            }
        }
        found
    }

    fn rule_out(&mut self, place: usize) {
        let point = self.points[place].clone();
        let dear = self.best.map(|best| self.points[best].cost);
        let failed: Vec<usize> = (0..self.options.goals.len())
            .filter(|goal| point.met == Some(false) && self.failed(&point, *goal))
            .collect();
        for index in 0..self.alive.len() {
            if !self.alive[index] {
                continue;
            }
            let at = self.at(index);
            let too_dear = dear.is_some_and(|dear| self.costs[index] >= dear);
            if too_dear || failed.iter().any(|goal| self.at_most(*goal, &at, &point.at)) {
                self.alive[index] = false;
            }
        }
    }

    fn revive(&mut self) {
        self.alive = vec![true; self.costs.len()];
        for (index, place) in &self.tried {
            self.alive[*index] = self.points[*place].met.is_none();
        }
        for place in 0..self.points.len() {
            if self.points[place].met.is_some() {
                self.rule_out(place);
            }
        }
    }

    /// Probes the ends and the middle of every field and sets the trends.
    fn probe(&mut self) -> Result<(), PlanError> {
        let corner: Vec<usize> = (0..self.sizes.len())
            .map(|axis| {
                let mut at = vec![0; self.sizes.len()];
                let first = self.costs[self.index(&at)];
                at[axis] = self.sizes[axis] - 1;
                if self.costs[self.index(&at)] < first { 0 } else { self.sizes[axis] - 1 }
            })
            .collect();
        for axis in 0..self.sizes.len() {
            let size = self.sizes[axis];
            let mut places: Vec<usize> = vec![0, size / 2, size - 1];
            places.dedup();
            let mut margins: Vec<Vec<f64>> = Vec::new();
            for i in places {
                let mut at = corner.clone();
                at[axis] = i;
                let place = self.run(self.index(&at), 1)?;
                margins.push((0..self.options.goals.len()).map(|g| self.points[place].margin(g)).collect());
            }
            for goal in 0..self.options.goals.len() {
                let steps: Vec<f64> = margins
                    .windows(2)
                    .map(|pair| {
                        let (a, b) = (pair[0][goal], pair[1][goal]);
                        let step = b - a;
                        if step.is_nan() || step.abs() <= FLAT { 0.0 } else { step }
                    })
                    .collect();
                let (up, down) = (steps.iter().any(|s| *s > 0.0), steps.iter().any(|s| *s < 0.0));
                // Where nothing moves, dearer is taken to be no worse.
                let dearer_is_later = corner[axis] > 0;
                self.trends[goal][axis] = match (up, down) {
                    (true, true) => Trend::Mixed,
                    (true, false) => Trend::Rising,
                    (false, true) => Trend::Falling,
                    (false, false) if dearer_is_later => Trend::Rising,
                    (false, false) => Trend::Falling,
                };
            }
        }
        Ok(())
    }

    /// The undecided point whose worse outcome rules out most.
    fn next(&self) -> Option<usize> {
        let n = self.alive.len();
        let mut by_cost: Vec<usize> = (0..n).filter(|i| self.alive[*i]).collect();
        by_cost.sort_by(|a, b| self.costs[*a].total_cmp(&self.costs[*b]).then(a.cmp(b)));
        let total = by_cost.len();
        // Points that are as dear, if it meets the goals.
        let mut dearer = vec![0usize; n];
        let mut from = 0;
        for (rank, index) in by_cost.iter().enumerate() {
            if self.costs[*index] > self.costs[by_cost[from]] {
                from = rank;
            }
            dearer[*index] = total - from;
        }
        // Points that are worse for a goal, if it fails that goal: sums along each field.
        let mut fewest = vec![usize::MAX; n];
        for trends in &self.trends {
            let mut worse: Vec<usize> = self.alive.iter().map(|a| usize::from(*a)).collect();
            for (axis, trend) in trends.iter().enumerate() {
                let (stride, size) = (self.strides[axis], self.sizes[axis]);
                match trend {
                    Trend::Mixed => {}
                    Trend::Rising => {
                        for i in 0..n {
                            if i / stride % size > 0 {
                                worse[i] += worse[i - stride];
                            }
                        }
                    }
                    Trend::Falling => {
                        for i in (0..n).rev() {
                            if i / stride % size < size - 1 {
                                worse[i] += worse[i + stride];
                            }
                        }
                    }
                }
            }
            fewest.iter_mut().zip(worse).for_each(|(least, w)| *least = (*least).min(w));
        }
        by_cost.into_iter().max_by_key(|i| (fewest[*i].min(dearer[*i]), std::cmp::Reverse(*i)))
    }

    /// Next cheaper values of the best point, each field for itself, that nobody has tried.
    fn neighbours(&self) -> Vec<usize> {
        let Some(best) = self.best.map(|b| &self.points[b]) else { return Vec::new() };
        let mut found = Vec::new();
        for axis in 0..self.sizes.len() {
            for step in [-1isize, 1] {
                let Some(i) = best.at[axis].checked_add_signed(step).filter(|i| *i < self.sizes[axis]) else {
                    continue;
                };
                let mut at = best.at.clone();
                at[axis] = i;
                let index = self.index(&at);
                let undecided = self.tried.get(&index).is_none_or(|p| self.points[*p].met.is_none());
                if self.costs[index] < best.cost && undecided {
                    found.push(index);
                }
            }
        }
        found
    }
}

fn costs(options: &Options, sizes: &[usize], strides: &[usize], total: usize) -> Vec<f64> {
    let of = |axis: usize, i: usize| {
        let a = &options.axes[axis];
        if options.weights.is_empty() {
            return if a.values.len() > 1 { i as f64 / (a.values.len() - 1) as f64 } else { 0.0 };
        }
        let weight = options.weights.get(&a.path).copied().unwrap_or(0.0);
        weight * a.numbers.as_ref().map_or(i as f64, |numbers| numbers[i])
    };
    (0..total)
        .map(|index| (0..sizes.len()).map(|axis| of(axis, index / strides[axis] % sizes[axis])).sum())
        .collect()
}

/// Searches a scenario's grid for the cheapest point that meets the goals. `done()` is called after every run.
///
/// # Errors
/// A setting that the scenario does not have, a metric that no run has, a grid that is too large.
pub fn search(
    document: &Document,
    environment: &Environment,
    options: &Options,
    done: &(dyn Fn() + Sync),
) -> Result<Found, PlanError> {
    let document = super::run::scenario_only(document).map_err(RunError::from)?;
    let sizes: Vec<usize> = options.axes.iter().map(|a| a.values.len()).collect();
    let total = sizes.iter().fold(1usize, |n, size| n.saturating_mul(*size));
    if total > POINTS || options.axes.is_empty() || options.goals.is_empty() {
        let message = match total {
            n if n > POINTS => format!("the grid has {n} points; plan searches at most {POINTS}"),
            _ => "plan needs at least one --vary and one --goal".to_owned(),
        };
        return Err(bad("plan".to_owned(), &message, "vary less at once, or in larger steps").into());
    }
    let mut strides = vec![1; sizes.len()];
    for axis in (0..sizes.len().saturating_sub(1)).rev() {
        strides[axis] = strides[axis + 1] * sizes[axis + 1];
    }
    let mut search = Search {
        document: &document,
        environment,
        options,
        costs: costs(options, &sizes, &strides, total),
        alive: vec![true; total],
        trends: vec![vec![Trend::Rising; sizes.len()]; options.goals.len()],
        sizes,
        strides,
        tried: BTreeMap::new(),
        points: Vec::new(),
        best: None,
        runs: 0,
        notes: Vec::new(),
        done,
    };
    search.probe()?;
    for place in 0..search.points.len() {
        if search.points[place].met.is_some() {
            let index = search.index(&search.points[place].at);
            search.decide(index)?;
        }
    }
    let most = options.max_runs.min(limits::RUNS);
    let mut stopped_early = false;
    loop {
        if search.runs >= most {
            stopped_early = search.alive.iter().any(|a| *a) || !search.neighbours().is_empty();
            break;
        }
        if let Some(next) = search.next() {
            search.decide(next)?;
            continue;
        }
        // Nothing is left by inference: what is next to the best is tried for itself.
        let Some(next) = search.neighbours().first().copied() else { break };
        search.decide(next)?;
    }
    if stopped_early {
        search
            .notes
            .push(format!("stopped after {} runs; a cheaper setting may exist (--max-runs)", search.runs));
    }
    search.notes.sort();
    search.notes.dedup();
    let front = front(&search.points, options.goals.len());
    Ok(Found {
        share_at_least: search.best.map(|best| search.points[best].share_at_least()),
        drawn: options.drawn,
        best: search.best,
        front,
        trends: search.trends,
        runs: search.runs,
        grid_runs: total as u64 * options.seeds.max(1),
        stopped_early,
        notes: search.notes,
        points: search.points,
    })
}

/// A word for a shell.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Points that no other beats in cost and in every goal's margin (median over the seeds tried), cheapest first.
fn front(points: &[Point], goals: usize) -> Vec<usize> {
    let margins: Vec<Vec<f64>> = points.iter().map(|p| (0..goals).map(|g| p.margin(g)).collect()).collect();
    let beats = |a: usize, b: usize| {
        let no_worse =
            points[a].cost <= points[b].cost && margins[a].iter().zip(&margins[b]).all(|(x, y)| x >= y);
        let better =
            points[a].cost < points[b].cost || margins[a].iter().zip(&margins[b]).any(|(x, y)| x > y);
        no_worse && (better || a < b)
    };
    let mut front: Vec<usize> =
        (0..points.len()).filter(|b| !(0..points.len()).any(|a| a != *b && beats(a, *b))).collect();
    front.sort_by(|a, b| points[*a].cost.total_cmp(&points[*b].cost).then(a.cmp(b)));
    front
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Document;

    /// A backlog behind a token bucket and a scheduler on a slow core: rate and speed both limit.
    const BACKLOG: &str = "
apiVersion: podpace/v1
kind: Scenario
name: backlog
hosts: {vm: {cores: 2, speed: 0.05, noise: 0.05}}
cluster: {nodes: [{count: 20, template: {allocatable: {cpu: 8, memory: 64Gi, pods: 20}}}]}
scheduler: {kind: kube-scheduler, host: vm, client: {qps: 50, burst: 10}}
workload: {pods: [{count: 150, requests: {cpu: 100m, memory: 64Mi}}], start: backlog}
stop: {when: allBound, limit: 5m}
";
    /// Pods that come and go, more at once than a small cluster holds.
    const CHURN: &str = "
apiVersion: podpace/v1
kind: Scenario
name: churn
cluster: {nodes: [{count: 4, template: {allocatable: {cpu: 4, memory: 64Gi, pods: 110}}}]}
scheduler: {kind: first-fit}
workload:
  pods: [{count: 200, requests: {cpu: 1, memory: 1Gi}, runTime: {p50: 1s, p99: 3s}}]
  arrivals: {process: poisson, rate: 20}
stop: {when: allBound, limit: 5m}
";

    fn options(vary: &[&str], goals: &[&str], costs: &[&str], seeds: u64) -> Options {
        let axes: Vec<Axis> = vary.iter().map(|v| parse_axis(v).unwrap()).collect();
        let weights = costs.iter().map(|c| parse_cost(c, &axes).unwrap()).collect();
        let goals = goals.iter().map(|g| parse_goal(g).unwrap()).collect();
        let repeat = "podpace run case.yaml".to_owned();
        Options { axes, goals, weights, seeds, drawn: true, repeat, confidence: 0.9, max_runs: 10_000 }
    }

    /// The whole grid, cheapest first, until a point meets the goals: the least cost there is.
    fn brute_force(document: &Document, environment: &Environment, options: &Options) -> Option<f64> {
        let sizes: Vec<usize> = options.axes.iter().map(|a| a.values.len()).collect();
        let mut strides = vec![1; sizes.len()];
        for axis in (0..sizes.len() - 1).rev() {
            strides[axis] = strides[axis + 1] * sizes[axis + 1];
        }
        let costs = costs(options, &sizes, &strides, sizes.iter().product());
        let mut order: Vec<usize> = (0..costs.len()).collect();
        order.sort_by(|a, b| costs[*a].total_cmp(&costs[*b]));
        order
            .into_iter()
            .find(|index| {
                let mut at = document.clone();
                for (axis, a) in options.axes.iter().enumerate() {
                    at.set(&format!("{}={}", a.path, a.values[index / strides[axis] % sizes[axis]])).unwrap();
                }
                let spec = RunSpec { draw: options.drawn.then_some(0), ..RunSpec::of_scenario(at).unwrap() };
                spec.seeds(options.seeds).all(|run| {
                    let completed = run.simulate(environment).unwrap();
                    options.goals.iter().all(|g| g.judge(&completed).unwrap().3)
                })
            })
            .map(|index| costs[index])
    }

    type Case =
        (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str], u64);

    #[test]
    fn finds_what_the_whole_grid_finds_in_a_tenth_of_its_runs() {
        const QPS: &str = "scheduler.client.qps=5..204";
        const QPS_COARSE: &str = "scheduler.client.qps=10..200:10";
        const BURST: &str = "scheduler.client.burst=10..150:10";
        const CORES: &str = "hosts.vm.speed=0.01..0.2:0.01";
        const NODES: &str = "cluster.nodes[0].count=1..100";
        const WAIT: &str = "latency.created_to_bound.p95_s<=2";
        let cases: [Case; 10] = [
            (BACKLOG, &[QPS], &["throughput.bound.mean>=40"], &[], 5),
            (BACKLOG, &[QPS], &["bound.last_s<=3"], &[], 5),
            (BACKLOG, &[QPS_COARSE, BURST], &["throughput.bound.mean>=60"], &[], 5),
            (BACKLOG, &[QPS_COARSE, CORES], &["throughput.bound.mean>=30"], &[], 3),
            (
                BACKLOG,
                &[QPS_COARSE, CORES],
                &["throughput.bound.mean>=30"],
                &["hosts.vm.speed=100", "scheduler.client.qps=0.1"],
                3,
            ),
            (BACKLOG, &[QPS], &["throughput.bound.mean>=1000"], &[], 1),
            (CHURN, &[NODES], &[WAIT], &["cluster.nodes[0].count=1"], 5),
            (CHURN, &["workload.arrivals.rate=1..100"], &[WAIT], &["workload.arrivals.rate=-1"], 5),
            (
                CHURN,
                &["workload.arrivals.rate=1..100"],
                &["throughput.bound.p10_p90>=0.9*throughput.created.p10_p90"],
                &["workload.arrivals.rate=-1"],
                3,
            ),
            (
                CHURN,
                &["cluster.nodes[0].count=1..20", "cluster.nodes[0].template.allocatable.cpu=1..20"],
                &[WAIT, "pods.pending<=0"],
                &["cluster.nodes[0].count=2", "cluster.nodes[0].template.allocatable.cpu=1"],
                3,
            ),
        ];
        let environment = Environment::built_in();
        for (number, (text, vary, goals, costs, seeds)) in cases.into_iter().enumerate() {
            let document = Document::parse("case.yaml", text, None).unwrap();
            let options = options(vary, goals, costs, seeds);
            let found = search(&document, &environment, &options, &|| ()).unwrap();
            let want = brute_force(&document, &environment, &options);
            let got = found.best.map(|best| found.points[best].cost);
            assert_eq!(got, want, "case {number}: {:?}", found.notes);
            assert!(
                found.runs * 10 <= found.grid_runs,
                "case {number}: {} of {}",
                found.runs,
                found.grid_runs
            );
        }
    }

    #[test]
    fn every_run_is_listed_and_comes_out_the_same_again() {
        let document = Document::parse("case.yaml", BACKLOG, None).unwrap();
        let options = options(&["scheduler.client.qps=20..100:20"], &["throughput.bound.mean>=40"], &[], 3);
        let environment = Environment::built_in();
        let found = search(&document, &environment, &options, &|| ()).unwrap();
        let mut runs: Vec<&Tried> = found.points.iter().flat_map(|p| &p.runs).collect();
        runs.sort_by_key(|r| r.number);
        let numbers: Vec<u64> = runs.iter().map(|r| r.number).collect();
        assert_eq!(numbers, (1..=found.runs).collect::<Vec<_>>());
        // The command's words, by hand.
        let last = runs.last().unwrap();
        let point = found.points.iter().find(|p| p.runs.iter().any(|r| r.number == last.number)).unwrap();
        let (path, value) = &point.settings[0];
        assert_eq!(
            last.command,
            format!("podpace run case.yaml --set {path}={value} --seed {} --draw 0", last.seed)
        );
        let mut again = document.clone();
        again.set(&format!("{path}={value}")).unwrap();
        again.set(&format!("seed={}", last.seed)).unwrap();
        let spec = RunSpec { draw: Some(0), ..RunSpec::of_scenario(again).unwrap() };
        let value = options.goals[0].judge(&spec.simulate(&environment).unwrap()).unwrap().0;
        assert_eq!(value.to_bits(), last.goals[0].value.to_bits());
    }

    /// A search that makes fewer runs than it would have says so, also where it stops among the best one's neighbours.
    #[test]
    fn a_search_that_made_fewer_runs_stopped_early() {
        let document = Document::parse("case.yaml", CHURN, None).unwrap();
        let (count, cpu) = ("cluster.nodes[0].count", "cluster.nodes[0].template.allocatable.cpu");
        let vary = [format!("{count}=1..20"), format!("{cpu}=1..20")];
        let costs = [format!("{count}=2"), format!("{cpu}=1")];
        let goals = ["latency.created_to_bound.p95_s<=2"];
        let whole =
            options(&vary.each_ref().map(|v| v.as_str()), &goals, &costs.each_ref().map(|c| c.as_str()), 3);
        let environment = Environment::built_in();
        let found = search(&document, &environment, &whole, &|| ()).unwrap();
        assert!(!found.stopped_early);
        // Near the end: its last run is a trial of a neighbour that a dearer point had ruled out.
        for max_runs in found.runs - 4..found.runs {
            let cut =
                search(&document, &environment, &Options { max_runs, ..whole.clone() }, &|| ()).unwrap();
            assert_eq!(cut.stopped_early, cut.runs < found.runs, "{max_runs} of {}", found.runs);
        }
    }

    #[test]
    fn so_many_of_so_many_say_so_much_of_all() {
        // 0.1 = p^5; tables of Clopper and Pearson: 18 of 20 with 95 % of one side, 0.7174.
        assert!((at_least(5, 5, 0.9) - 0.630_957).abs() < 1e-5);
        assert!((at_least(18, 20, 0.95) - 0.717_38).abs() < 1e-4);
        assert!((at_least(22, 22, 0.9) - 0.9006).abs() < 1e-3);
        assert!(at_least(0, 5, 0.9).abs() < f64::EPSILON);
        assert_eq!(quoted("a.b[0].c=1"), "'a.b[0].c=1'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted("a.b=1"), "a.b=1");
    }

    #[test]
    fn ranges_goals_and_costs_parse_or_say_why_not() {
        assert_eq!(parse_axis("a.b=1..4").unwrap().values, ["1", "2", "3", "4"]);
        assert_eq!(parse_axis("a=0.1..0.3:0.1").unwrap().values, ["0.1", "0.2", "0.3"]);
        assert_eq!(parse_axis("a=1..100:x10").unwrap().values, ["1", "10", "100"]);
        assert_eq!(parse_axis("a=yes,no").unwrap().values, ["yes", "no"]);
        assert_eq!(parse_axis("trace=../a,../b").unwrap().values, ["../a", "../b"]);
        assert_eq!(parse_axis("trace=a..b").unwrap().values, ["a..b"]);
        for wrong in ["a", "a=4..1", "a=1..x", "a=1..4:0", "a=0..4:x2", "a=1..4:x1", "a=0..1000000"] {
            let message = parse_axis(wrong).unwrap_err().to_string();
            assert!(message.contains("--vary") && message.contains("write"), "{wrong}: {message}");
        }
        assert!(parse_goal("a.b>=0.95*c.d").is_ok() && parse_goal("a.b<c.d").is_ok());
        for wrong in ["a.b", "a.b>=", ">=3", "a.b>=60s", "a.b=3"] {
            let message = parse_goal(wrong).unwrap_err().to_string();
            assert!(message.contains("--goal"), "{wrong}: {message}");
        }
        let axes = [parse_axis("a=1..4").unwrap()];
        assert_eq!(parse_cost("a=-1", &axes).unwrap(), ("a".to_owned(), -1.0));
        assert!(parse_cost("b=1", &axes).is_err() && parse_cost("a=x", &axes).is_err());
    }
}
