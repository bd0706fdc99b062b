//! How far a cluster scales: throughput against offered load, and the load at which it falls behind (the knee).
//!
//! **Offered load** is the rate at which pods are meant to be created: the arrivals of the scenario or its trace, made so many times as
//! fast. The pods, their run times and everything else stay as they are. A run **keeps up** if pods are bound at [`KEEPS_UP`] of that
//! rate or more, both between their 10th and 90th percentile, so that neither the first burst nor the tail decides.
//!
//! **The knee** is the largest load at which it keeps up, by bisection in the logarithm to [`NEAR`]. It is looked for under several
//! seeds, each of which also draws the unit costs from their intervals: its median and its 5th and 95th percentile are over those. The
//! curve around it runs each load under the same seeds, and says what limits there.
//!
//! Throughput is taken to fall behind for good once it does; where it recovers at a higher load (it does not in any queue known here) the
//! lower knee is found.
//!
//! Cost: seeds x about 9 runs for the knee, seeds x loads runs for the curve.
use std::sync::Arc;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::report::{self, rate_p10_p90, stage_times};
use super::run::{Environment, RunError, RunSpec, simulate};
use super::sensitivity::scale_times;
use super::sweep::Statistics;
use crate::scenario::Diagnostic;
use crate::scenario::plan::{Creation, Plan};

/// Share of the offered load at which pods have to be bound.
pub const KEEPS_UP: f64 = 0.95;
/// Relative width at which bisection ends.
const NEAR: f64 = 1.01;
/// Loads of the curve, as multiples of the knee.
const LOADS: [f64; 8] = [0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.5, 2.0];
/// The load is made at most so many times as fast, or as slow.
const FARTHEST: f64 = 1024.0;
/// A workload whose middle 80 % last less at the knee is short.
const SHORT_S: f64 = 5.0;

/// How to look.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Seeds.
    pub seeds: u64,
    /// Whether each draws the unit costs from their intervals.
    pub drawn: bool,
    /// Whether to run the curve, too.
    pub curve: bool,
}

/// One load of the curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Pods a second that are meant to be created.
    pub offered: f64,
    /// Pods bound a second, median over seeds.
    pub bound: f64,
    /// 5th and 95th percentile over seeds.
    pub bound_band: (f64, f64),
    /// Share of the seeds that keep up.
    pub keeps_up: f64,
    /// 99th percentile of the time from creation to binding, s, median over seeds.
    pub wait_p99_s: f64,
    /// What limits the first seed's run.
    pub limited_by: String,
}

/// A knee.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Knee {
    /// Largest load at which it keeps up, pods a second: median over seeds. None: at no load that was tried.
    pub knee: Option<f64>,
    /// 5th and 95th percentile over seeds.
    pub band: Option<(f64, f64)>,
    /// By seed; none: it never keeps up, or always does.
    pub knees: Vec<Option<f64>>,
    /// Offered load of the scenario as it is.
    pub as_it_is: f64,
    /// Whether each seed drew the unit costs from their intervals.
    pub drawn: bool,
    /// What limits just beyond.
    pub limited_by: String,
    /// Loads, ascending.
    pub curve: Vec<Load>,
    /// What to know about it.
    pub notes: Vec<String>,
}

struct Search<'a> {
    environment: &'a Environment,
    name: &'a str,
    plans: Vec<Plan>,
    done: &'a (dyn Fn() + Sync),
}

/// One run under one load.
struct Outcome {
    offered: f64,
    bound: f64,
    wait_p99_s: f64,
    limited_by: String,
}

impl Outcome {
    fn keeps_up(&self) -> bool {
        self.bound >= KEEPS_UP * self.offered
    }
}

impl Search<'_> {
    fn run(&self, seed: usize, factor: f64) -> Result<Outcome, RunError> {
        let mut plan = self.plans[seed].clone();
        let mut offered = 0.0;
        if let Creation::Scheduled { times_ns } = &mut plan.creation {
            scale_times(Arc::make_mut(times_ns).as_mut_slice(), factor);
            offered = rate_p10_p90(times_ns);
            // A slow load lasts longer than the scenario was meant to.
            plan.limit_ns = plan.limit_ns.saturating_add(times_ns.last().copied().unwrap_or(0));
        }
        let run = simulate(&plan, &self.environment.registry)
            .map_err(|source| RunError::Build { run: self.name.to_owned(), source })?;
        (self.done)();
        let m = report::metrics(&run);
        // Pods that never were bound make the rate of those that were meaningless.
        let bound = stage_times(&run.cluster.pods, |t| t.bound_ns);
        let all = bound.len() as u64 + run.counts.failed >= run.counts.total;
        Ok(Outcome {
            offered,
            bound: if all { rate_p10_p90(&bound) } else { 0.0 },
            wait_p99_s: m.get("latency.created_to_bound.p99_s").unwrap_or(0.0),
            limited_by: report::bottleneck(&run).limited_by().unwrap_or_default(),
        })
    }

    /// The largest factor at which a seed keeps up, looked for from `start` on; none if it never or always keeps up.
    fn knee(&self, seed: usize, start: f64, step: f64) -> Result<Option<f64>, RunError> {
        let keeps_up = |factor: f64| -> Result<bool, RunError> { Ok(self.run(seed, factor)?.keeps_up()) };
        let (mut low, mut high);
        let mut step = step;
        if keeps_up(start)? {
            (low, high) = (start, start * step);
            while keeps_up(high)? {
                if high > FARTHEST {
                    return Ok(None);
                }
                (low, high, step) = (high, high * step * step, step * step);
            }
        } else {
            (low, high) = (start / step, start);
            while !keeps_up(low)? {
                if low < 1.0 / FARTHEST {
                    return Ok(None);
                }
                (low, high, step) = (low / (step * step), low, step * step);
            }
        }
        while high / low > NEAR {
            let middle = libm::sqrt(low * high);
            if keeps_up(middle)? { low = middle } else { high = middle }
        }
        Ok(Some(low))
    }
}

/// Looks for the knee of a scenario whose pods arrive at times of their own. `done()` is called after every run.
///
/// # Errors
/// A workload without arrivals; something can't be looked up, or a profile lacks a cost.
pub fn knee(
    spec: &RunSpec,
    environment: &Environment,
    options: Options,
    done: &(dyn Fn() + Sync),
) -> Result<Knee, RunError> {
    let draw = if options.drawn { Some(0) } else { spec.draw };
    let plans: Vec<Plan> = spec
        .seeds(options.seeds.max(1))
        .map(|one| RunSpec { draw, ..one }.plan(environment))
        .collect::<Result<_, _>>()?;
    let as_it_is = match &plans[0].creation {
        Creation::Scheduled { times_ns } if rate_p10_p90(times_ns) > 0.0 => rate_p10_p90(times_ns),
        _ => {
            let hint = "add `arrivals: {process: poisson, rate: 100}`, or replay a trace: knee makes arrivals come faster";
            let message = "the pods have no times of arrival, so that there is no load to raise";
            return Err(Diagnostic::of_file(format!("{}: workload", spec.name), message, hint).into());
        }
    };
    let search = Search { environment, name: &spec.name, plans, done };
    let first = search.knee(0, 1.0, 2.0)?;
    let start = first.unwrap_or(1.0);
    let others: Vec<Option<f64>> = (1..search.plans.len())
        .into_par_iter()
        .map(|seed| search.knee(seed, start, if first.is_some() { 1.1 } else { 2.0 }))
        .collect::<Result<_, _>>()?;
    let factors: Vec<Option<f64>> = std::iter::once(first).chain(others).collect();
    // Each seed's own arrivals: its offered rate at its knee.
    let rate = |seed: usize, factor: f64| match &search.plans[seed].creation {
        Creation::Scheduled { times_ns } => rate_p10_p90(times_ns) * factor,
        _ => 0.0,
    };
    let knees: Vec<Option<f64>> =
        factors.iter().enumerate().map(|(seed, factor)| factor.map(|f| rate(seed, f))).collect();
    let found: Vec<f64> = knees.iter().flatten().copied().collect();
    let mut notes = Vec::new();
    if found.len() < knees.len() {
        notes.push(format!(
            "{} of {} seeds have no knee between 1/1024 and 1024 times the load: they are left out",
            knees.len() - found.len(),
            knees.len()
        ));
    }
    let mut result = Knee {
        knee: None,
        band: None,
        knees,
        as_it_is,
        drawn: options.drawn,
        limited_by: String::new(),
        curve: Vec::new(),
        notes,
    };
    if found.is_empty() {
        result.limited_by = search.run(0, 1.0)?.limited_by;
        return Ok(result);
    }
    let s = Statistics::of(&found);
    result.knee = Some(s.median);
    result.band = Some((s.p5, s.p95));
    let beyond = first.unwrap_or(s.median / rate(0, 1.0)) * 1.25;
    result.limited_by = search.run(0, beyond)?.limited_by;
    let pods = search.plans[0].cluster.pods.first_placeholder();
    let lasts_s = 0.8 * f64::from(pods) / s.median;
    if lasts_s < SHORT_S {
        result.notes.push(format!(
            "at the knee 80 % of the {pods} pods arrive within {lasts_s:.1} s: start-up and bursts weigh; more pods make it surer"
        ));
    }
    if options.curve {
        // The same load for all, whatever the rate of each seed's own arrivals.
        let own: Vec<f64> = (0..search.plans.len()).map(|seed| rate(seed, 1.0)).collect();
        let jobs: Vec<(usize, f64)> = LOADS
            .iter()
            .flat_map(|load| own.iter().enumerate().map(move |(seed, own)| (seed, load * s.median / own)))
            .collect();
        let runs: Vec<Outcome> =
            jobs.par_iter().map(|(seed, factor)| search.run(*seed, *factor)).collect::<Result<_, _>>()?;
        result.curve = runs
            .chunks(search.plans.len())
            .map(|of| {
                let over =
                    |value: fn(&Outcome) -> f64| Statistics::of(&of.iter().map(value).collect::<Vec<_>>());
                let bound = over(|o| o.bound);
                Load {
                    offered: over(|o| o.offered).median,
                    bound: bound.median,
                    bound_band: (bound.p5, bound.p95),
                    keeps_up: of.iter().filter(|o| o.keeps_up()).count() as f64 / of.len() as f64,
                    wait_p99_s: over(|o| o.wait_p99_s).median,
                    limited_by: of[0].limited_by.clone(),
                }
            })
            .collect();
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Document;

    fn spec(scheduler: &str, arrivals: &str) -> RunSpec {
        let text = format!(
            "apiVersion: podpace/v1\nkind: Scenario\nname: case\n\
             hosts: {{vm: {{cores: 1, speed: 0.002}}}}\n\
             cluster: {{nodes: [{{count: 20, template: {{allocatable: {{cpu: 500, memory: 64Gi, pods: 500}}}}}}]}}\n\
             scheduler: {{{scheduler}}}\n\
             workload: {{pods: [{{count: 2000, requests: {{cpu: 1}}}}]{arrivals}}}\n"
        );
        RunSpec::of_scenario(Document::parse("case.yaml", &text, None).unwrap()).unwrap()
    }

    fn of(spec: &RunSpec, options: Options) -> Result<Knee, RunError> {
        knee(spec, &Environment::built_in(), options, &|| ())
    }

    #[test]
    fn a_token_bucket_has_its_knee_at_its_rate() {
        // It keeps up to 1 / 0.95 of what it lets through, wherever the scenario's own load is.
        let options = Options { seeds: 3, drawn: false, curve: true };
        for rate in [5, 50, 1000] {
            let arrivals = format!(", arrivals: {{process: constant, rate: {rate}}}");
            let found =
                of(&spec("kind: first-fit, client: {qps: 40, burst: 1}", &arrivals), options).unwrap();
            let knee = found.knee.unwrap();
            assert!((knee / (40.0 / KEEPS_UP) - 1.0).abs() < 0.02, "{knee}");
            assert_eq!(found.limited_by, "bind tokens of client scheduler");
            let curve: Vec<bool> = found.curve.iter().map(|load| load.keeps_up > 0.5).collect();
            assert_eq!(curve, [true, true, true, true, true, false, false, false], "{:?}", found.curve);
            let last = found.curve.last().unwrap();
            assert!((last.bound / 40.0 - 1.0).abs() < 0.02 && last.wait_p99_s > 10.0);
        }
    }

    #[test]
    fn uncertain_costs_make_the_knee_an_interval() {
        let arrivals = ", arrivals: {process: poisson, rate: 100}";
        let scenario = spec("kind: kube-scheduler, host: vm, client: {qps: 100000, burst: 100000}", arrivals);
        let of = |drawn| of(&scenario, Options { seeds: 5, drawn, curve: false }).unwrap();
        let (fixed, drawn) = (of(false), of(true));
        let width = |knee: &Knee| knee.band.map(|(low, high)| high / low).unwrap();
        assert!(width(&fixed) < 1.1, "{fixed:?}");
        assert!(width(&drawn) > 1.0 + 1.5 * (width(&fixed) - 1.0), "{fixed:?} {drawn:?}");
        for knee in [fixed, drawn] {
            assert_eq!(knee.limited_by, "scheduler thread");
            assert!(knee.curve.is_empty());
        }
    }

    #[test]
    fn a_backlog_has_no_load() {
        let error = of(
            &spec("kind: first-fit, client: {qps: 40, burst: 1}", ", start: backlog"),
            Options { seeds: 1, drawn: false, curve: false },
        );
        let error = error.unwrap_err().to_string();
        assert!(error.contains("no times of arrival") && error.contains("arrivals:"), "{error}");
    }
}
