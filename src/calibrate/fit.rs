//! Calibration: unit costs of one profile fitted to measured runs, all at once.
//!
//! **Data.** From each run, as far as it was measured: CPU seconds of the process that the profile describes, throughput between the
//! 10th and 90th percentile, the last binding, the median latency (else the mean since queueing), the mean cycle and the mean
//! binding request, all as logarithms.
//!
//! **Model.** CPU seconds are linear in the operation counts of the simulation's meters, so the change of their
//! logarithm with the logarithm of a cost is the cost's share of them, as long as the counts stay. Where the share is
//! above 2 %, paired simulations with the same seeds and the cost higher by its prior's standard deviation say it better
//! (wake-ups get rarer as work gets longer), and say how the times move, which a cost reaches through queues. Slopes of times that
//! are no more than the pairs' own scatter are taken back. Costs move as logarithms, so none turns negative.
//!
//! **Prior.** Each cost of the given profile is a log-normal guess: its own 90 % interval if it has one, else a factor
//! up and down. What the runs can't tell apart stays where the prior has it.
//!
//! **Noise.** How fast the machine is in a run moves all quantities together (the machine profile's `noise_ppm`,
//! with each quantity's own response to it, from one more paired simulation); besides, each has an error of its own, what
//! the input's resolution leaves, and the variance over seeds, which takes chaotic runs back by themselves. A run whose residuals are too large together for
//! that counts less (Huber's weight on its Mahalanobis distance): a run with a setting that its file lacks does not bend
//! the constants. Times that deviate much over seeds (retries, storms) are noise to paired runs: such a run counts by its
//! CPU seconds only.
//!
//! **Search.** Gauss-Newton with the prior as regularisation: simulate, count, solve, again, until nothing moves or the
//! iterations are used up. The 90 % interval is from the curvature at the end, scaled by the residuals' robust size; a second
//! one is from the profile of the objective (`likelihood`), and is the one that is written.
//!
//! **Cross-validation.** Each run, and each node count, is left out, the constants are refitted (one Gauss-Newton step
//! from the full fit, without new counts), and the runs left out are simulated with them. It says what these runs add to the
//! prior; constants of a prior that was fitted to the same runs are not new to them.
//!
//! Left out: profiles of machines (disk, noise) and delays that are no CPU work.
//!
//! Cost: runs x seeds x (2 + constants with a share above 2 %) simulations an iteration, in parallel.
mod likelihood;

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use serde_json::{Value, json};

use self::likelihood::Likelihood;
use super::linear::{Matrix, cholesky, dot, eigen, forward, inverse, solve, times, zeros};
use super::measured::MeasuredError;
use super::run::{
    MeasuredRun, Outcome, PROCESSES, background_per_s, conditions_of, extend_to_windows, runs_in,
};
use super::validate::{ascending, float_quantile, not_told};
use crate::cost::{Cost, CostProfile, ProfileError, ProfileLibrary};
use crate::engine::SECOND;
use crate::experiment::run::simulate;
use crate::scenario::plan::{Creation, Placement, Plan};
use crate::scheduler::Registry;

/// Half a 90 % interval in standard deviations.
const Z90: f64 = 1.644_853_626_951_472_2;
/// Paired simulations move the logarithm of a cost by its prior's standard deviation, within these.
const SMALLEST_STEP: f64 = 0.1;
const LARGEST_STEP: f64 = 0.4;
/// Constants with a smaller share of a run's CPU have no paired simulation there.
const SHARE: f64 = 0.02;
/// A time whose logarithm deviates by more over seeds is chaotic: differences of pairs are noise, and tell no constant.
const CHAOTIC: f64 = 0.12;
/// No cost can move throughput or the last binding by more than its own change, nor the median latency by much more: what
/// seems to do so is chaos, too.
const STEEPEST: [f64; ROWS] = [1.5, 1.5, 1.5, 5.0, 5.0, 2.5, 5.0];
/// By how much a pair's change of CPU seconds may differ from the constant's share.
const SHARE_SLACK: f64 = 0.25;
/// Own error of the quantities, as logarithms: what the model leaves out of each.
const OWN_ERROR: [f64; ROWS] = [0.05, 0.05, 0.05, 0.12, 0.12, 0.15, 0.2];
/// Huber's constant, in root mean square deviations of a run.
const HUBER: f64 = 1.5;
/// The largest change of a cost's logarithm in one iteration.
const LARGEST_MOVE: f64 = 0.7;
/// The search ends when no cost moves more.
const CONVERGED: f64 = 0.005;
/// Posterior over prior variance below which the runs fix a constant by itself, and above which they say nothing.
const FIXED: f64 = 0.5;
const SILENT: f64 = 0.97;

const ROWS: usize = 7;
/// What a run is fitted by, where it was measured.
pub const QUANTITIES: [&str; ROWS] = [
    "cpu_s",
    "bound_per_s_p10_p90",
    "last_bound_s",
    "latency_p50_s",
    "sli_mean_s",
    "algorithm_mean_s",
    "bind_request_mean_s",
];
/// The median latency and the mean since queueing say the same of the same pods: the second stands in for the first.
const LATENCY: usize = 3;
const SLI: usize = 4;

/// How to fit.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where profiles are found; the one to fit is the prior.
    pub profiles: ProfileLibrary,
    /// The profile to fit.
    pub profile: String,
    /// Seeds that each run is simulated with.
    pub seeds: u32,
    /// A constant without an interval is taken to lie within this factor of its value, with 90 % confidence.
    pub prior_factor: f64,
    /// Rounds of simulating and solving.
    pub iterations: u32,
    /// Whether to predict each run, and each size, without it.
    pub cross_validate: bool,
    /// Whether to find the intervals from the profile of the objective, too.
    pub profile_likelihood: bool,
}

/// A run with its outcome: calibration may look at both.
#[derive(Clone, Debug)]
pub struct ObservedRun {
    /// Conditions.
    pub run: MeasuredRun,
    /// Its plan, with the library's profiles; none: it has conditions that are not modelled, for this reason.
    pub plan: Result<Plan, String>,
    /// Outcome.
    pub outcome: Outcome,
}

/// A calibration can't be done.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CalibrateError {
    #[error(transparent)]
    Measured(#[from] MeasuredError),
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error(
        "no run uses profile `{profile}` for a process; these runs use: {used}. Name one of them with --profile"
    )]
    Unused { profile: String, used: String },
    #[error("no run can be fitted:\n{0}")]
    LeftOut(String),
    #[error("{profile}: no constant has a cost above zero, so there is nothing to fit")]
    Nothing { profile: String },
    #[error("{file}: {message}")]
    Simulation { file: String, message: String },
}

/// What the runs say about a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// By itself.
    Fixed,
    /// Only together with others.
    Together,
    /// Nothing: it keeps its value and interval.
    Nothing,
}

impl Told {
    /// As tables and JSON name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fixed => "told by the runs",
            Self::Together => "only together",
            Self::Nothing => "kept",
        }
    }
}

/// A constant after the fit.
#[derive(Clone, Debug)]
pub struct FittedConstant {
    /// Name.
    pub name: String,
    /// Before, ps.
    pub prior_ps: u64,
    /// After, ps.
    pub value_ps: u64,
    /// 90 % interval, ps: the profile's where there is one, else the quadratic one.
    pub low_ps: u64,
    /// 90 % interval, ps.
    pub high_ps: u64,
    /// From the curvature at the fit, ps.
    pub quadratic_ps: (u64, u64),
    /// From the profile of the objective, ps; none for constants of which the runs say nothing.
    pub profile_ps: Option<(u64, u64)>,
    /// Runs in which it is at least 1 % of the process's CPU.
    pub runs: u64,
    /// Median absolute relative error of the CPU seconds of those runs; none if they are none.
    pub residual: Option<f64>,
    /// Posterior over prior variance of its logarithm.
    pub variance_left: f64,
    /// What the runs say.
    pub told: Told,
    /// Constants that it is told apart from worst: name and correlation of the errors.
    pub with: Vec<(String, f64)>,
}

/// One quantity of one run.
#[derive(Clone, Debug)]
pub struct Residual {
    /// Run.
    pub run: String,
    /// Quantity.
    pub quantity: &'static str,
    /// As measured.
    pub measured: f64,
    /// As fitted, or as predicted without the run.
    pub fitted: f64,
    /// 90 % interval of what could have been measured.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// How much the run counts, 0 to 1.
    pub weight: f64,
}

impl Residual {
    /// Relative error.
    #[must_use]
    pub fn error(&self) -> f64 {
        self.fitted / self.measured - 1.0
    }

    /// Whether the interval holds the measured value.
    #[must_use]
    pub fn covered(&self) -> bool {
        self.low <= self.measured && self.measured <= self.high
    }
}

/// A direction in the space of constants (of their logarithms over their priors' widths) and how well the runs fix it.
#[derive(Clone, Debug)]
pub struct Direction {
    /// Information of the runs over that of the prior: below 1 the prior decides.
    pub information: f64,
    /// Its largest components.
    pub constants: Vec<(String, f64)>,
}

/// A run, notes on its inputs, and what it can't tell and why.
pub type RunInputs = (String, Vec<String>, Vec<(String, String)>);

/// A finished calibration.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// The fitted profile.
    pub profile: CostProfile,
    /// Runs that were used.
    pub runs: Vec<String>,
    /// Runs that were not, and why.
    pub left_out: Vec<(String, String)>,
    /// What each run was measured with, and what it can't tell.
    pub told: Vec<RunInputs>,
    /// Iterations that were made, and the largest move of the last.
    pub iterations: (u32, f64),
    /// Robust size of the residuals in units of the assumed noise.
    pub scale: f64,
    /// Constants by name.
    pub constants: Vec<FittedConstant>,
    /// Directions, best known first.
    pub directions: Vec<Direction>,
    /// Residuals of the fit.
    pub residuals: Vec<Residual>,
    /// With each run left out.
    pub leave_one_run_out: Vec<Residual>,
    /// With each node count left out.
    pub leave_one_size_out: Vec<Residual>,
}

/// Reads the runs of a folder, conditions and outcome.
///
/// # Errors
/// The folder or a run in it can't be read.
pub fn read_runs(
    folder: &Path,
    sets: &[String],
    profiles: &ProfileLibrary,
) -> Result<Vec<ObservedRun>, MeasuredError> {
    runs_in(folder)?
        .into_iter()
        .map(|file| {
            let run = MeasuredRun::open(&file, sets)?;
            match run.plan(profiles, 1) {
                Ok(plan) => Ok(ObservedRun { outcome: run.outcome(&plan)?, run, plan: Ok(plan) }),
                Err(MeasuredError::NotModelled { message, .. }) => {
                    Ok(ObservedRun { run, plan: Err(message), outcome: Outcome::default() })
                }
                Err(other) => Err(other),
            }
        })
        .collect()
}

/// The place of a process in a plan, by its name in results.
fn place_mut<'a>(plan: &'a mut Plan, process: &str) -> Option<&'a mut Placement> {
    match process {
        "scheduler" => Some(&mut plan.scheduler.place),
        "apiserver" => plan.api_server.as_mut().map(|s| &mut s.server),
        "etcd" => plan.api_server.as_mut().map(|s| &mut s.etcd),
        "node-agents" => plan.agents.place.as_mut(),
        "load" => plan.load_client.0.as_mut(),
        _ => None,
    }
}

/// A run made ready to be simulated again and again.
struct Prepared<'a> {
    run: &'a ObservedRun,
    plan: Plan,
    process: &'static str,
    /// Logarithms of what was measured; none if there is none.
    measured: [Option<f64>; ROWS],
    /// Relative error that the input's resolution leaves.
    error: [f64; ROWS],
    /// How fast the machine is from run to run, as the standard deviation of its logarithm.
    machine_sd: f64,
}

/// Means over seeds of logarithms, their variance over seeds, and the CPU of each constant in picoseconds.
#[derive(Clone, Debug)]
struct Simulated {
    rows: [Option<f64>; ROWS],
    variance: [f64; ROWS],
    /// By seed, in order.
    by_seed: Vec<[f64; ROWS]>,
    cpu_ps: Vec<f64>,
    all_cpu_ps: f64,
}

/// A run linearised at the present constants.
struct Linear {
    simulated: Simulated,
    /// Rows that count, as indices into [`QUANTITIES`].
    rows: Vec<usize>,
    /// d ln quantity / d ln cost.
    jacobian: Vec<Vec<f64>>,
    /// Measured less simulated.
    residual: Vec<f64>,
    /// Covariance of the noise.
    noise: Matrix,
}

struct Problem<'a> {
    options: &'a Options,
    runs: Vec<Prepared<'a>>,
    prior: CostProfile,
    names: Vec<String>,
    prior_ps: Vec<f64>,
    prior_sd: Vec<f64>,
}

impl Problem<'_> {
    fn profile(&self, theta: &[f64]) -> CostProfile {
        let mut profile = self.prior.clone();
        for ((name, ps), t) in self.names.iter().zip(&self.prior_ps).zip(theta) {
            profile.set_cost_ps(name, libm::round(ps * libm::exp(*t)) as u64);
        }
        profile
    }

    /// CPU of each constant in one simulated run, ps: operations counted times unit cost, and what is charged outside meters.
    fn cpu_by_constant(
        &self,
        plan: &Plan,
        process: &str,
        profile: &CostProfile,
        end_s: f64,
        counts: &BTreeMap<String, u64>,
    ) -> Vec<f64> {
        let nodes = plan.cluster.nodes.len() as f64;
        let starts = process == "scheduler" && !plan.scheduler.running_at_start;
        let listed = if plan.creation == Creation::Existing { plan.cluster.pods.len() as f64 } else { 0.0 };
        let leases = if plan.agents.heartbeats { nodes * end_s / 10.0 } else { 0.0 };
        self.names
            .iter()
            .map(|name| {
                let counted = counts.get(name).copied().unwrap_or(0) as f64;
                let besides = match (name.as_str(), process) {
                    ("idle_per_second", _) => end_s,
                    ("start_up", _) if starts => 1.0,
                    ("list_node", _) if starts => nodes,
                    ("list_pod", _) if starts => listed,
                    ("lease", "apiserver") | ("entry", "etcd") => leases,
                    _ => 0.0,
                };
                (counted + besides) * profile.cost_ps(name).unwrap_or(0) as f64
            })
            .collect()
    }

    fn simulate(
        &self,
        run: &Prepared<'_>,
        profile: &CostProfile,
        slower: f64,
    ) -> Result<Simulated, CalibrateError> {
        let registry = Registry::built_in();
        let mut plan = run.plan.clone();
        if let Some(place) = place_mut(&mut plan, run.process) {
            place.profile = profile.clone();
        }
        if slower > 1.0 {
            for host in &mut plan.hosts {
                host.speed_ppm = (f64::from(host.speed_ppm) / slower) as u32;
            }
        }
        let seeds = self.options.seeds.max(1);
        let cpu_name = format!("cpu_s.{}", measured_name(run.process));
        let (mut sums, mut squares) = ([0.0; ROWS], [0.0; ROWS]);
        let mut has = [true; ROWS];
        let mut by_seed = Vec::new();
        let mut cpu_ps = vec![0.0; self.names.len()];
        let mut all_cpu_ps = 0.0;
        for seed in 0..u64::from(seeds) {
            plan.seed = seed + 1;
            let finished = simulate(&plan, &registry).map_err(|e| CalibrateError::Simulation {
                file: run.run.run.file.display().to_string(),
                message: e.to_string(),
            })?;
            let mut predicted = run.run.run.predict(&finished);
            let end_s = finished.kernel.now() as f64 / SECOND as f64;
            extend_to_windows(&mut predicted, &plan, end_s, &run.run.outcome.windows_s);
            let windows_s = &run.run.outcome.windows_s;
            let window_s = windows_s.get(measured_name(run.process)).map_or(end_s, |w| w.max(end_s));
            let mut logs = [0.0; ROWS];
            for row in 0..ROWS {
                let name = if row == 0 { cpu_name.as_str() } else { QUANTITIES[row] };
                let value = predicted.get(name).copied().unwrap_or(0.0);
                has[row] &= value > 0.0;
                let log = if value > 0.0 { libm::log(value) } else { 0.0 };
                sums[row] += log;
                squares[row] += log * log;
                logs[row] = log;
            }
            by_seed.push(logs);
            if let Some(process) = finished.kernel.processes().iter().find(|p| p.name == run.process) {
                let counts: BTreeMap<String, u64> =
                    process.meter.accounts().iter().map(|a| (a.operation.clone(), a.count)).collect();
                let by = self.cpu_by_constant(&plan, run.process, profile, window_s, &counts);
                cpu_ps.iter_mut().zip(by).for_each(|(sum, ps)| *sum += ps / f64::from(seeds));
                let more_ps = background_per_s(&plan, run.process) * (window_s - end_s) * 1e12;
                let busy_ps = finished.kernel.hosts().busy_core_ns(process.component) as f64 * 1000.0;
                all_cpu_ps += (busy_ps + more_ps) / f64::from(seeds);
            }
        }
        let n = f64::from(seeds);
        let mut rows = [None; ROWS];
        let mut variance = [0.0; ROWS];
        for row in 0..ROWS {
            let mean = sums[row] / n;
            rows[row] = has[row].then_some(mean);
            if seeds > 1 {
                // Of one more run around the mean of these.
                variance[row] = ((squares[row] / n - mean * mean).max(0.0) * n / (n - 1.0)) * (1.0 + 1.0 / n);
            }
        }
        Ok(Simulated { rows, variance, by_seed, cpu_ps, all_cpu_ps })
    }

    fn linearise(&self, theta: &[f64]) -> Result<Vec<Linear>, CalibrateError> {
        let profile = self.profile(theta);
        self.runs
            .par_iter()
            .map(|run| {
                let simulated = self.simulate(run, &profile, 1.0)?;
                let machine_step = step_of(run.machine_sd);
                let slower = self.simulate(run, &profile, libm::exp(machine_step))?;
                let rows: Vec<usize> = (0..ROWS)
                    .filter(|r| {
                        run.measured[*r].is_some()
                            && simulated.rows[*r].is_some()
                            && slower.rows[*r].is_some()
                    })
                    .collect();
                let change = |of: &Simulated, row: usize, step: f64| match (of.rows[row], simulated.rows[row])
                {
                    _ if simulated.variance[row].max(of.variance[row]) > CHAOTIC * CHAOTIC => 0.0,
                    (Some(after), Some(before)) => (after - before) / step,
                    _ => 0.0,
                };
                // CPU seconds grow as the machine gets slower, by definition.
                let mut response: Vec<f64> = rows
                    .iter()
                    .map(|r| if *r == 0 { 1.0 } else { change(&slower, *r, machine_step) })
                    .collect();
                let k = self.names.len();
                let mut jacobian = vec![vec![0.0; k]; rows.len()];
                let mut differences: Vec<(usize, f64, Simulated)> = Vec::new();
                let total = simulated.all_cpu_ps.max(1.0);
                for (c, cpu_ps) in simulated.cpu_ps.iter().enumerate() {
                    let share = cpu_ps / total;
                    let step = step_of(self.prior_sd[c]);
                    let moved = if share >= SHARE {
                        let mut moved = profile.clone();
                        let ps = profile.cost_ps(&self.names[c]).unwrap_or(0) as f64 * libm::exp(step);
                        moved.set_cost_ps(&self.names[c], libm::round(ps) as u64);
                        let moved = self.simulate(run, &moved, 1.0)?;
                        differences.push((c, step, moved.clone()));
                        Some(moved)
                    } else {
                        None
                    };
                    for (row, quantity) in rows.iter().enumerate() {
                        jacobian[row][c] = match (quantity, &moved) {
                            // Other counts (wake-ups) move along, which the pair knows.
                            (0, Some(moved)) if (change(moved, 0, step) - share).abs() <= SHARE_SLACK => {
                                change(moved, 0, step)
                            }
                            (0, _) => share,
                            (_, Some(moved)) => change(moved, *quantity, step),
                            (_, None) => 0.0,
                        };
                    }
                }
                for (row, quantity) in rows.iter().enumerate().filter(|(_, quantity)| **quantity > 0) {
                    shrink(&mut jacobian[row], *quantity, &simulated, &differences);
                    let steep =
                        jacobian[row].iter().chain([&response[row]]).any(|j| j.abs() > STEEPEST[*quantity]);
                    if steep {
                        jacobian[row].fill(0.0);
                        response[row] = 0.0;
                    }
                }
                let residual = rows
                    .iter()
                    .map(|r| run.measured[*r].unwrap_or(0.0) - simulated.rows[*r].unwrap_or(0.0))
                    .collect();
                let machine = run.machine_sd * run.machine_sd;
                let mut noise = zeros(rows.len());
                for (i, r) in rows.iter().enumerate() {
                    for j in 0..rows.len() {
                        noise[i][j] = machine * response[i] * response[j];
                    }
                    noise[i][i] += OWN_ERROR[*r] * OWN_ERROR[*r] + simulated.variance[*r];
                    noise[i][i] += run.error[*r] * run.error[*r];
                }
                Ok(Linear { simulated, rows, jacobian, residual, noise })
            })
            .collect()
    }

    /// Weights, the information matrix with the prior's, and its right-hand side, over the runs that `used` says.
    fn normal_equations(
        &self,
        linear: &[Linear],
        theta: &[f64],
        used: &dyn Fn(usize) -> bool,
    ) -> (Vec<f64>, Matrix, Vec<f64>) {
        let k = self.names.len();
        let mut information = zeros(k);
        let mut right: Vec<f64> = theta.iter().zip(&self.prior_sd).map(|(t, sd)| -t / (sd * sd)).collect();
        for (i, sd) in self.prior_sd.iter().enumerate() {
            information[i][i] = 1.0 / (sd * sd);
        }
        let mut weights = Vec::new();
        for (index, run) in linear.iter().enumerate() {
            let Some(factor) = cholesky(&run.noise).filter(|_| !run.rows.is_empty()) else {
                weights.push(0.0);
                continue;
            };
            let white = forward(&factor, &run.residual);
            let distance = libm::sqrt(dot(&white, &white) / white.len() as f64);
            let weight = if distance > HUBER { HUBER / distance } else { 1.0 };
            weights.push(weight);
            if !used(index) {
                continue;
            }
            // Columns of the whitened Jacobian.
            let columns: Vec<Vec<f64>> = (0..k)
                .map(|c| forward(&factor, &run.jacobian.iter().map(|row| row[c]).collect::<Vec<_>>()))
                .collect();
            for a in 0..k {
                right[a] += weight * dot(&columns[a], &white);
                for b in 0..k {
                    information[a][b] += weight * dot(&columns[a], &columns[b]);
                }
            }
        }
        (weights, information, right)
    }

    fn step(&self, linear: &[Linear], theta: &[f64], used: &dyn Fn(usize) -> bool) -> (Vec<f64>, Matrix) {
        let (_, information, right) = self.normal_equations(linear, theta, used);
        // The prior makes it positive definite.
        let factor = cholesky(&information).unwrap_or_else(|| {
            let mut unit = zeros(theta.len());
            (0..theta.len()).for_each(|i| unit[i][i] = 1.0);
            unit
        });
        let moved = solve(&factor, &right).iter().map(|d| d.clamp(-LARGEST_MOVE, LARGEST_MOVE)).collect();
        (moved, inverse(&factor))
    }

    /// Residuals of some runs with an interval from the constants' covariance and the noise.
    fn residuals(
        &self,
        linear: &[Linear],
        simulated: &BTreeMap<usize, Simulated>,
        covariance: &Matrix,
        weights: &[f64],
        scale: f64,
    ) -> Vec<Residual> {
        let few = student90(2 * (self.options.seeds.max(2) as usize - 1));
        let mut all = Vec::new();
        for (index, with) in simulated {
            let (run, line) = (&self.runs[*index], &linear[*index]);
            for (row, quantity) in line.rows.iter().enumerate() {
                let (Some(measured), Some(fitted)) = (run.measured[*quantity], with.rows[*quantity]) else {
                    continue;
                };
                let j = &line.jacobian[row];
                // Few seeds tell their variance badly: that of these runs and of those at the fit, by Student's distribution.
                let of_seeds = (line.simulated.variance[*quantity] + with.variance[*quantity]) / 2.0;
                let told = line.noise[row][row] - line.simulated.variance[*quantity];
                let known = dot(j, &times(covariance, j)) + told * scale * scale;
                let half = libm::hypot(Z90 * libm::sqrt(known), few * libm::sqrt(of_seeds) * scale);
                all.push(Residual {
                    run: run.run.run.name.clone(),
                    quantity: QUANTITIES[*quantity],
                    measured: libm::exp(measured),
                    fitted: libm::exp(fitted),
                    low: libm::exp(fitted - half),
                    high: libm::exp(fitted + half),
                    weight: weights[*index],
                });
            }
        }
        all
    }

    /// Refits without each group of runs and predicts the group.
    fn leave_out(
        &self,
        linear: &[Linear],
        theta: &[f64],
        weights: &[f64],
        scale: f64,
        groups: &[Vec<usize>],
    ) -> Result<Vec<Residual>, CalibrateError> {
        let parts: Result<Vec<Vec<Residual>>, CalibrateError> = groups
            .par_iter()
            .map(|group| {
                let (moved, covariance) = self.step(linear, theta, &|run| !group.contains(&run));
                let without: Vec<f64> = theta.iter().zip(&moved).map(|(t, d)| t + d).collect();
                let profile = self.profile(&without);
                let mut simulated = BTreeMap::new();
                for index in group {
                    simulated.insert(*index, self.simulate(&self.runs[*index], &profile, 1.0)?);
                }
                Ok(self.residuals(linear, &simulated, &covariance, weights, scale))
            })
            .collect();
        Ok(parts?.into_iter().flatten().collect())
    }
}

/// By how much a pair moves the logarithm of something that is known to `sd`: as far as it may well be off, so that the slope is the one that
/// matters and the noise of pairs weighs little against it.
fn step_of(sd: f64) -> f64 {
    sd.clamp(SMALLEST_STEP, LARGEST_STEP)
}

/// Takes back the slopes of times that are no more than noise of the pairs: two costs with the same effect would otherwise seem
/// told apart by the differences of their noises. How noisy pairs are is told by their scatter over seeds, over all constants
/// together, because few seeds tell it badly.
fn shrink(slopes: &mut [f64], quantity: usize, base: &Simulated, pairs: &[(usize, f64, Simulated)]) {
    let (mut squares, mut degrees) = (0.0, 0.0);
    for (_, _, moved) in pairs {
        let of: Vec<f64> =
            moved.by_seed.iter().zip(&base.by_seed).map(|(m, b)| m[quantity] - b[quantity]).collect();
        let mean = of.iter().sum::<f64>() / of.len() as f64;
        squares += of.iter().map(|d| (d - mean) * (d - mean)).sum::<f64>();
        degrees += of.len() as f64 - 1.0;
    }
    if degrees < 1.0 {
        return;
    }
    let of_a_mean = squares / degrees / base.by_seed.len() as f64;
    for (c, step, _) in pairs {
        let (slope, variance) = (slopes[*c], of_a_mean / (step * step));
        if variance > 0.0 {
            slopes[*c] *= (1.0 - variance / (slope * slope).max(f64::MIN_POSITIVE)).max(0.0);
        }
    }
}

fn measured_name(process: &str) -> &'static str {
    PROCESSES.iter().find(|(ours, _)| *ours == process).map_or("", |(_, theirs)| theirs)
}

/// Runs to fit, and those left out with the reason.
type Sorted<'a> = (Vec<Prepared<'a>>, Vec<(String, String)>);

fn prepare<'a>(runs: &'a [ObservedRun], options: &Options) -> Result<Sorted<'a>, CalibrateError> {
    let mut prepared = Vec::new();
    let mut left_out = Vec::new();
    let mut used: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();
    let usual_sd = options.profiles.load("machine-2-core")?.parameter("noise_ppm").unwrap_or(0) as f64 / 1e6;
    for run in runs {
        let name = run.run.name.clone();
        let mut plan = match &run.plan {
            Ok(plan) => plan.clone(),
            Err(message) => {
                left_out.push((name, message.clone()));
                continue;
            }
        };
        let mut process = None;
        for (ours, _) in PROCESSES {
            if let Some(place) = place_mut(&mut plan, ours) {
                used.insert(place.profile.name.clone());
                if place.profile.name == options.profile {
                    process = Some(ours);
                }
            }
        }
        let Some(process) = process else { continue };
        let outcome = &run.outcome;
        let timed_out = "timed out: its times are the time limit's".to_owned();
        if let Some(why) = outcome.unusable.clone().or_else(|| outcome.timed_out.then_some(timed_out)) {
            left_out.push((name, why));
            continue;
        }
        // The noise is part of the fit, not drawn.
        let stated = plan.hosts.iter().map(|h| h.noise_ppm).max().filter(|ppm| *ppm > 0);
        let machine_sd = stated.map_or(usual_sd, |ppm| f64::from(ppm) / 1e6);
        for host in &mut plan.hosts {
            host.noise_ppm = 0;
        }
        let cpu = format!("cpu_s.{}", measured_name(process));
        let mut measured = [None; ROWS];
        let mut error = [0.0; ROWS];
        for row in 0..ROWS {
            let name = if row == 0 { cpu.as_str() } else { QUANTITIES[row] };
            let usable = outcome.values.get(name).filter(|r| r.value > 0.0 && r.value.is_finite());
            measured[row] = usable.map(|r| libm::log(r.value));
            error[row] = usable.map_or(0.0, |r| r.error);
        }
        if measured[LATENCY].is_some() {
            measured[SLI] = None;
        }
        if measured.iter().all(Option::is_none) {
            left_out.push((name, format!("nothing of {} was measured", QUANTITIES.join(", "))));
            continue;
        }
        prepared.push(Prepared { run, plan, process, measured, error, machine_sd });
    }
    if prepared.is_empty() && !left_out.is_empty() {
        let reasons: Vec<String> = left_out.iter().map(|(run, why)| format!("  {run}: {why}")).collect();
        return Err(CalibrateError::LeftOut(reasons.join("\n")));
    }
    if prepared.is_empty() {
        let used = used.into_iter().collect::<Vec<_>>().join(", ");
        return Err(CalibrateError::Unused { profile: options.profile.clone(), used });
    }
    Ok((prepared, left_out))
}

/// Fits a profile to runs. `progress(done, total)` counts iterations and the two cross-validations.
///
/// # Errors
/// No run uses the profile, or a simulation can't be built.
pub fn calibrate(
    runs: &[ObservedRun],
    options: &Options,
    progress: &(dyn Fn(u32, u32) + Sync),
) -> Result<Calibration, CalibrateError> {
    let prior = options.profiles.load(&options.profile)?;
    let (prepared, left_out) = prepare(runs, options)?;
    let fitted: Vec<(&str, &Cost)> =
        prior.costs().filter(|(name, cost)| cost.value_ps > 0 && !name.ends_with("_delay")).collect();
    if fitted.is_empty() {
        return Err(CalibrateError::Nothing { profile: options.profile.clone() });
    }
    let by_factor = libm::log(options.prior_factor.max(1.01)) / Z90;
    let prior_sd = fitted
        .iter()
        .map(|(_, cost)| match cost.interval_ps {
            Some((low, high)) if low > 0 && high > low => libm::log(high as f64 / low as f64) / (2.0 * Z90),
            _ => by_factor,
        })
        .collect();
    let problem = Problem {
        options,
        runs: prepared,
        names: fitted.iter().map(|(name, _)| (*name).to_owned()).collect(),
        prior_ps: fitted.iter().map(|(_, cost)| cost.value_ps as f64).collect(),
        prior_sd,
        prior: prior.clone(),
    };
    let k = problem.names.len();
    let rounds = options.iterations.max(1);
    let total = rounds + 3;
    let mut theta = vec![0.0; k];
    let mut linear = problem.linearise(&theta)?;
    progress(1, total);
    let mut made = (0, 0.0);
    for round in 1..=rounds {
        let (moved, _) = problem.step(&linear, &theta, &|_| true);
        theta.iter_mut().zip(&moved).for_each(|(t, d)| *t += d);
        linear = problem.linearise(&theta)?;
        progress(round + 1, total);
        made = (round, moved.iter().fold(0.0f64, |m, d| m.max(d.abs())));
        if made.1 < CONVERGED {
            break;
        }
    }

    let (weights, information, _) = problem.normal_equations(&linear, &theta, &|_| true);
    let covariance = cholesky(&information).map_or_else(|| zeros(k), |l| inverse(&l));
    let scale = robust_scale(&linear);
    let simulated: BTreeMap<usize, Simulated> =
        linear.iter().enumerate().map(|(i, l)| (i, l.simulated.clone())).collect();
    let residuals = problem.residuals(&linear, &simulated, &covariance, &weights, scale);
    let all: Vec<Vec<usize>> = (0..problem.runs.len()).map(|i| vec![i]).collect();
    let mut sizes: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (index, run) in problem.runs.iter().enumerate() {
        sizes.entry(run.plan.cluster.nodes.len() as u64).or_default().push(index);
    }
    let sizes: Vec<Vec<usize>> = sizes.into_values().collect();
    let cross_validated = |groups: &[Vec<usize>]| {
        if options.cross_validate {
            problem.leave_out(&linear, &theta, &weights, scale, groups)
        } else {
            Ok(Vec::new())
        }
    };
    let leave_one_run_out = cross_validated(&all)?;
    progress(total - 1, total);
    let leave_one_size_out = cross_validated(&sizes)?;
    progress(total, total);

    let mut constants = constants(&problem, &linear, &theta, &covariance, scale);
    if options.profile_likelihood {
        let few = student90(linear.len().max(2) - 1);
        let width = scale.max(1.0) * few;
        let likelihood = Likelihood {
            problem: &problem,
            linear: &linear,
            theta: &theta,
            covariance: &covariance,
            growth: width * width,
        };
        for (c, constant) in constants.iter_mut().enumerate().filter(|(_, c)| c.told != Told::Nothing) {
            let (low, high) = likelihood.interval(c)?;
            let (low, high) = outwards(&problem, c, theta[c] + low, theta[c] + high);
            constant.profile_ps = Some((low.min(constant.value_ps), high.max(constant.value_ps)));
            (constant.low_ps, constant.high_ps) = (low.min(constant.value_ps), high.max(constant.value_ps));
        }
    }
    let profile = fitted_profile(&problem, &constants);
    Ok(Calibration {
        directions: directions(&problem, &information),
        runs: problem.runs.iter().map(|r| r.run.run.name.clone()).collect(),
        told: problem
            .runs
            .iter()
            .map(|r| (r.run.run.name.clone(), r.run.outcome.notes.clone(), r.run.outcome.not_told.clone()))
            .collect(),
        profile,
        left_out,
        iterations: made,
        scale,
        constants,
        residuals,
        leave_one_run_out,
        leave_one_size_out,
    })
}

/// Median of the runs' deviations over what the noise lets expect; between 1/2 and 3.
fn robust_scale(linear: &[Linear]) -> f64 {
    let deviations = ascending(linear.iter().filter_map(|run| {
        let factor = cholesky(&run.noise).filter(|_| !run.rows.is_empty())?;
        let white = forward(&factor, &run.residual);
        let m = white.len() as f64;
        // Median of chi-squared with m degrees of freedom (Wilson and Hilferty).
        let part = 1.0 - 2.0 / (9.0 * m);
        Some(dot(&white, &white) / (m * part * part * part))
    }));
    libm::sqrt(float_quantile(&deviations, 0.5)).clamp(0.5, 3.0)
}

fn constants(
    problem: &Problem<'_>,
    linear: &[Linear],
    theta: &[f64],
    covariance: &Matrix,
    scale: f64,
) -> Vec<FittedConstant> {
    let k = theta.len();
    (0..k)
        .map(|c| {
            let prior_variance = problem.prior_sd[c] * problem.prior_sd[c];
            let variance_left = (covariance[c][c] / prior_variance).min(1.0);
            let told = match variance_left {
                v if v < FIXED => Told::Fixed,
                v if v < SILENT => Told::Together,
                _ => Told::Nothing,
            };
            let share = |l: &Linear| l.simulated.cpu_ps[c] / l.simulated.all_cpu_ps.max(1.0);
            let mut with: Vec<(String, f64)> = (0..k)
                .filter(|other| *other != c)
                .map(|other| {
                    let both = libm::sqrt(covariance[c][c] * covariance[other][other]);
                    (problem.names[other].clone(), covariance[c][other] / both.max(f64::MIN_POSITIVE))
                })
                .filter(|(_, correlation)| correlation.abs() >= 0.3)
                .collect();
            with.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then_with(|| a.0.cmp(&b.0)));
            with.truncate(3);
            let at = |t: f64| round3(problem.prior_ps[c] * libm::exp(t));
            let prior = problem.prior_ps[c];
            let (value, sd) = if told == Told::Nothing {
                (prior as u64, problem.prior_sd[c])
            } else {
                // Where the residuals are larger than assumed, so is the uncertainty, up to the prior's; few runs tell the
                // size of the noise badly.
                let few = student90(linear.len().max(2) - 1) / Z90;
                let sd = (libm::sqrt(covariance[c][c]) * scale.max(1.0) * few).min(problem.prior_sd[c]);
                (at(theta[c]), sd)
            };
            let middle = if told == Told::Nothing { 0.0 } else { theta[c] };
            let (low, high) = outwards(problem, c, middle - Z90 * sd, middle + Z90 * sd);
            let (low, high) = (low.min(value), high.max(value));
            FittedConstant {
                name: problem.names[c].clone(),
                prior_ps: prior as u64,
                value_ps: value,
                low_ps: low,
                high_ps: high,
                quadratic_ps: (low, high),
                profile_ps: None,
                runs: linear.iter().filter(|l| share(l) >= 0.01).count() as u64,
                residual: residual(linear.iter().filter(|l| share(l) >= 0.01)),
                variance_left,
                told,
                with,
            }
        })
        .collect()
}

/// Median absolute relative error of CPU seconds.
fn residual<'a>(runs: impl Iterator<Item = &'a Linear>) -> Option<f64> {
    let of = runs.filter_map(|l| Some(l.residual[l.rows.iter().position(|r| *r == 0)?]));
    let errors = ascending(of.map(|r| (libm::exp(-r) - 1.0).abs()));
    (!errors.is_empty()).then(|| float_quantile(&errors, 0.5))
}

/// Half a 90 % interval of Student's distribution, by Cornish and Fisher.
fn student90(degrees: usize) -> f64 {
    let (z, n) = (Z90, degrees as f64);
    let (z3, z5) = (z * z * z, z * z * z * z * z);
    z + (z3 + z) / (4.0 * n) + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * n * n)
}

/// Three significant digits: more would pretend.
fn digits3(ps: f64, round: fn(f64) -> f64) -> u64 {
    if ps < 1000.0 {
        return round(ps) as u64;
    }
    let scale = libm::pow(10.0, libm::floor(libm::log10(ps)) - 2.0);
    libm::round(round(ps / scale) * scale) as u64
}

fn round3(ps: f64) -> u64 {
    digits3(ps, libm::round)
}

/// The ends of an interval, given as logarithms over the prior's value, rounded away from each other: rounding takes nothing of it.
fn outwards(problem: &Problem<'_>, c: usize, low: f64, high: f64) -> (u64, u64) {
    let at = |t: f64| problem.prior_ps[c] * libm::exp(t);
    (digits3(at(low), libm::floor), digits3(at(high), libm::ceil))
}

fn directions(problem: &Problem<'_>, information: &Matrix) -> Vec<Direction> {
    let k = problem.names.len();
    let sd = &problem.prior_sd;
    let mut relative = zeros(k);
    for a in 0..k {
        for b in 0..k {
            relative[a][b] = information[a][b] * sd[a] * sd[b] - f64::from(u8::from(a == b));
        }
    }
    eigen(&relative)
        .into_iter()
        .map(|(value, vector)| {
            let mut constants: Vec<(String, f64)> =
                problem.names.iter().cloned().zip(vector).filter(|(_, v)| v.abs() >= 0.25).collect();
            constants.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then_with(|| a.0.cmp(&b.0)));
            if constants.first().is_some_and(|(_, v)| *v < 0.0) {
                constants.iter_mut().for_each(|(_, v)| *v = -*v);
            }
            constants.truncate(4);
            Direction { information: value.max(0.0), constants }
        })
        .collect()
}

fn fitted_profile(problem: &Problem<'_>, constants: &[FittedConstant]) -> CostProfile {
    let mut profile = problem.prior.clone();
    let n = problem.runs.len();
    for c in constants {
        let before = problem
            .prior
            .costs()
            .find(|(name, _)| *name == c.name)
            .map_or("", |(_, cost)| cost.source.trim());
        let partner =
            c.with.first().map_or_else(String::new, |(name, r)| format!(", most with {name} ({r:+.2})"));
        let source = match c.told {
            Told::Fixed => format!("podpace calibrate: robust fit to {n} measured runs"),
            Told::Together => {
                format!(
                    "podpace calibrate: robust fit to {n} measured runs, which tell it only together with others{partner}"
                )
            }
            Told::Nothing => before.to_owned(),
        };
        let runs = if c.told == Told::Nothing { None } else { Some(c.runs) };
        let residual_ppm =
            c.residual.filter(|_| c.told != Told::Nothing).map(|r| libm::round(r * 1e4) as u64 * 100);
        let interval_ps = Some((c.low_ps, c.high_ps));
        let cost = Cost { value_ps: c.value_ps, interval_ps, runs, residual_ppm, source };
        profile.set_cost(&c.name, cost);
    }
    let conditions: Vec<[(&str, u64); 5]> =
        problem.runs.iter().map(|r| conditions_of(&r.plan, r.process)).collect();
    for at in 0..5 {
        let values = conditions.iter().map(|c| c[at].1).filter(|value| *value > 0);
        if let (Some(least), Some(most)) = (values.clone().min(), values.max()) {
            profile.set_calibrated(conditions[0][at].0, (least, most));
        }
    }
    profile
}

/// Median and 90th percentile of absolute relative errors, and the share of values inside their intervals.
#[must_use]
pub fn summary(residuals: &[Residual], quantity: &str) -> Option<(usize, f64, f64, f64)> {
    let of: Vec<&Residual> = residuals.iter().filter(|r| r.quantity == quantity).collect();
    let errors = ascending(of.iter().map(|r| r.error().abs()));
    let covered = of.iter().filter(|r| r.covered()).count();
    (!of.is_empty()).then(|| {
        let share = covered as f64 / of.len() as f64;
        (of.len(), float_quantile(&errors, 0.5), float_quantile(&errors, 0.9), share)
    })
}

impl Calibration {
    /// The three sets of residuals with their names.
    #[must_use]
    pub fn sets(&self) -> [(&'static str, &[Residual]); 3] {
        [
            ("fit", &self.residuals),
            ("leave one run out", &self.leave_one_run_out),
            ("leave one size out", &self.leave_one_size_out),
        ]
    }

    /// The report for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let pairs = |pairs: &[(String, f64)]| -> Vec<Value> {
            pairs.iter().map(|(name, value)| json!({"constant": name, "value": value})).collect()
        };
        let constants: Vec<Value> = self
            .constants
            .iter()
            .map(|c| {
                json!({
                    "constant": c.name, "prior_ps": c.prior_ps, "value_ps": c.value_ps, "low_ps": c.low_ps,
                    "high_ps": c.high_ps, "quadratic_ps": c.quadratic_ps, "profile_ps": c.profile_ps, "n": c.runs, "residual": c.residual, "variance_left": c.variance_left, "told": c.told.name(),
                    "correlated": pairs(&c.with),
                })
            })
            .collect();
        let rows = |residuals: &[Residual]| -> Vec<Value> {
            residuals
                .iter()
                .map(|r| {
                    json!({
                        "run": r.run, "quantity": r.quantity, "measured": r.measured, "predicted": r.fitted,
                        "error": r.error(), "low": r.low, "high": r.high, "covered": r.covered(), "weight": r.weight,
                    })
                })
                .collect()
        };
        let summaries = |residuals: &[Residual]| -> serde_json::Map<String, Value> {
            QUANTITIES
                .iter()
                .filter_map(|quantity| {
                    let (n, median, p90, coverage) = summary(residuals, quantity)?;
                    let value = json!({"n": n, "median_abs_error": median, "p90_abs_error": p90, "coverage": coverage});
                    Some(((*quantity).to_owned(), value))
                })
                .collect()
        };
        let sets: serde_json::Map<String, Value> = self
            .sets()
            .into_iter()
            .map(|(name, set)| {
                (name.replace(' ', "_"), json!({"summary": summaries(set), "residuals": rows(set)}))
            })
            .collect();
        let directions: Vec<Value> = self
            .directions
            .iter()
            .map(|d| json!({"information": d.information, "constants": pairs(&d.constants)}))
            .collect();
        let left_out: Vec<Value> =
            self.left_out.iter().map(|(run, why)| json!({"run": run, "reason": why})).collect();
        let told: Vec<Value> = self
            .told
            .iter()
            .filter(|(_, notes, missing)| !(notes.is_empty() && missing.is_empty()))
            .map(|(run, notes, missing)| json!({"run": run, "notes": notes, "not_told": not_told(missing)}))
            .collect();
        json!({
            "profile": self.profile.name, "runs": self.runs, "left_out": left_out, "inputs": told,
            "iterations": self.iterations.0, "last_move": self.iterations.1, "scale": self.scale,
            "constants": constants, "directions": directions, "results": sets,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::calibrate::measured::{Conditions, Inputs};
    use crate::calibrate::run::Reading;
    use crate::engine::Streams;

    /// Conditions of small runs that exercise different constants: sizes, constraints, a live workload, a slow client.
    fn conditions() -> Vec<(Conditions, Inputs)> {
        let run = |name: &str, nodes: u64, pods: u64, constraint: &str, preload: bool, qps: f64| {
            let conditions: Conditions = serde_json::from_value(json!({
                "run": name, "class": "cpu-bound", "scheduler": "default-scheduler", "nodes": nodes, "pods": pods,
                "apps": 1, "qps": qps, "burst": qps as u32, "inflight": [400, 200], "preload": preload,
                "rate": if preload { 0.0 } else { 100.0 }, "constraint": constraint, "cpu_request": "100m",
                "mem_request": "500Mi", "hetero": false, "too_big_every": 0, "kwok": false, "etcd_fsync": true,
                "placement": "all on the same 2 cores", "clients": "identities",
            }))
            .unwrap();
            let create_sent_us =
                (0..pods as i64).map(|i| if preload { -1_000_000 + i } else { i * 10_000 }).collect();
            (conditions, Inputs { create_sent_us, hold_ms: vec![0; pods as usize] })
        };
        vec![
            run("small", 40, 150, "none", true, 5000.0),
            run("middle", 300, 150, "none", true, 5000.0),
            run("large", 1500, 120, "none", true, 5000.0),
            run("anti", 150, 120, "antiaffinity", true, 5000.0),
            run("live", 200, 120, "none", false, 5000.0),
            run("slow", 200, 60, "none", true, 20.0),
        ]
    }

    /// One trial: constants drawn from the prior, runs simulated with them and with the machine's noise, then found again.
    fn trial(index: u64, profile_likelihood: bool) -> Vec<Found> {
        let options = Options {
            profiles: ProfileLibrary::built_in(),
            profile: "kube-scheduler-1.36".to_owned(),
            seeds: 2,
            prior_factor: 2.0,
            iterations: 3,
            cross_validate: false,
            profile_likelihood,
        };
        let mut truth = options.profiles.load(&options.profile).unwrap();
        let streams = Streams::new(index);
        let costs: Vec<(String, Cost)> = truth.costs().map(|(n, c)| (n.to_owned(), c.clone())).collect();
        for (name, cost) in costs {
            // As wide as the prior is: its own interval, or the factor.
            let width = match cost.interval_ps {
                Some((low, high)) => libm::log(high as f64 / low as f64) / 2.0,
                None => libm::log(options.prior_factor),
            };
            let z = streams.stream(&format!("truth.{name}")).normal();
            if !name.ends_with("_delay") {
                truth.set_cost_ps(&name, (cost.value_ps as f64 * libm::exp(z * width / Z90)) as u64);
            }
        }
        let registry = Registry::built_in();
        let runs: Vec<ObservedRun> = conditions()
            .into_iter()
            .enumerate()
            .map(|(i, (conditions, inputs))| {
                let file = PathBuf::from("synthetic");
                let seed = 1_000_000 + index * 100 + i as u64;
                let run = MeasuredRun::recorded(&file, conditions, inputs);
                let plan = run.plan(&options.profiles, seed).unwrap();
                let mut true_plan = plan.clone();
                true_plan.scheduler.place.profile = truth.clone();
                let finished = simulate(&true_plan, &registry).unwrap();
                let predicted = run.predict(&finished);
                let bound = predicted["bound"] as u64;
                let values = predicted.into_iter().map(|(name, v)| (name, Reading::exact(v))).collect();
                ObservedRun { run, plan: Ok(plan), outcome: Outcome { values, bound, ..Outcome::default() } }
            })
            .collect();
        let fitted = calibrate(&runs, &options, &|_, _| ()).unwrap();
        let true_ps = |name: &str| truth.cost_ps(name).unwrap();
        let found = |c: &FittedConstant| {
            let width = libm::log(c.high_ps as f64 / c.low_ps as f64) / (2.0 * Z90);
            let error = libm::log(c.value_ps as f64 / true_ps(&c.name) as f64);
            let inside = c.low_ps <= true_ps(&c.name) && true_ps(&c.name) <= c.high_ps;
            Found { name: c.name.clone(), told: c.told, error_in_widths: error / width, inside }
        };
        fitted.constants.iter().map(found).collect()
    }

    /// A constant of a trial.
    struct Found {
        name: String,
        told: Told,
        /// Error of the logarithm in standard deviations, as the interval has them.
        error_in_widths: f64,
        inside: bool,
    }

    /// Share of constants in their intervals: of all, and of those that the runs tell.
    fn coverage(trials: u64, profile_likelihood: bool) -> [f64; 2] {
        let found: Vec<Found> =
            (0..trials).into_par_iter().flat_map_iter(|i| trial(i, profile_likelihood)).collect();
        let mut by_name: BTreeMap<&str, Vec<&Found>> = BTreeMap::new();
        for f in &found {
            by_name.entry(&f.name).or_default().push(f);
        }
        println!(
            "constant: in its interval, told in, mean and root mean square error in standard deviations"
        );
        for (name, of) in by_name {
            let n = of.len() as f64;
            let inside = of.iter().filter(|f| f.inside).count() as f64 / n;
            let told = of.iter().filter(|f| f.told != Told::Nothing).count() as f64 / n;
            let mean = of.iter().map(|f| f.error_in_widths).sum::<f64>() / n;
            let square = of.iter().map(|f| f.error_in_widths * f.error_in_widths).sum::<f64>() / n;
            println!("  {name:24} {inside:.3} {told:.2} {mean:+.2} {:.2}", libm::sqrt(square));
        }
        [false, true].map(|told_only| {
            let of: Vec<&Found> = found.iter().filter(|f| !told_only || f.told != Told::Nothing).collect();
            let inside = of.iter().filter(|f| f.inside).count();
            let which = if told_only { "that the runs tell" } else { "of all" };
            println!(
                "{trials} trials: {inside} of {} constants {which} inside their 90 % intervals",
                of.len()
            );
            inside as f64 / of.len() as f64
        })
    }

    #[test]
    fn constants_of_a_known_profile_are_found_within_their_intervals() {
        let [all, told] = coverage(20, false);
        // 90 % less what 20 trials, whose constants share their noise, may deviate.
        assert!(all >= 0.85 && told >= 0.83, "{all} {told}");
    }

    /// `cargo test --release --lib calibrate -- --ignored --nocapture`
    #[test]
    #[ignore = "ten times as long"]
    fn constants_of_a_known_profile_are_found_in_200_trials() {
        let [all, told] = coverage(200, false);
        // 90 % less twice what 200 trials deviate.
        assert!(all >= 0.88 && told >= 0.87, "{all} {told}");
    }

    /// The same with the profile's intervals, at several times the cost:
    /// `cargo test --release --lib calibrate -- --ignored --nocapture`
    #[test]
    #[ignore = "minutes"]
    fn profiles_of_the_objective_cover_as_they_say() {
        let [all, told] = coverage(200, true);
        assert!(all >= 0.88 && told >= 0.87, "{all} {told}");
    }

    #[test]
    fn students_quantiles_are_those_of_the_tables() {
        for (degrees, want) in [(5, 2.015), (10, 1.812), (30, 1.697)] {
            assert!((student90(degrees) - want).abs() < 0.01, "{degrees}: {}", student90(degrees));
        }
    }

    #[test]
    fn values_have_three_digits() {
        assert_eq!([round3(1_234_567.0), round3(999.4), round3(2.5e9)], [1_230_000, 999, 2_500_000_000]);
        assert_eq!(digits3(1_239_999.0, libm::floor), 1_230_000);
        assert_eq!(digits3(1_230_001.0, libm::ceil), 1_240_000);
        assert_eq!(digits3(1_230_000.0, libm::ceil), 1_230_000);
    }
}
