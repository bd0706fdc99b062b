//! What moving each limit would buy, and how far: sensitivities from paired runs, and the value at which the next limit takes over.
//!
//! **Pairs.** The same plan runs again with one limit 10 % higher and the same seed (common random numbers), so that all else
//! is equal. The **elasticity** is the relative change of throughput over the relative change of the limit, both as logarithms:
//! 1 means that the limit alone decides, 0 that it does not matter here. Whole numbers (cores, nodes, seats) are raised by at least
//! one; the elasticity is over the change that was really made, and the change that is shown is that of 10 %. Each of several pairs has a seed of
//! its own and draws the unit costs from their intervals, so that the range over pairs is what is known of the effect.
//!
//! **Limits**, where the plan has them: the scheduler's `qps` and `burst`, the API server's requests in flight
//! (seats), streams a connection, the cores of each host, the speed of the scheduler (all its costs lower), of the API server and of
//! etcd's log, the load client's, the controllers' and the agents' `qps`, the arrival rate, the node count, the start-up on nodes.
//!
//! **Take-over.** The limit with the largest elasticity is raised until its elasticity has halved: by doubling, then by bisection in its
//! logarithm. The next limit takes over where the two straight lines (in logarithms) before and after that point meet, which is exact
//! where throughput is the lesser of two powers of the limit. What limits beyond it is asked of the run there. With several pairs each
//! has its own meeting point.
//!
//! Throughput is pods a second to the last binding, or to the last start where the run ends when all pods run.
//!
//! Cost: pairs x (1 + limits) runs, and about 12 + 4 x pairs for the take-over.
use std::sync::Arc;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::report;
use super::run::{Environment, RunError, RunSpec, simulate};
use super::simulation::Finished;
use super::sweep::Statistics;
use crate::cost::CostProfile;
use crate::scenario::plan::{ClientLimits, Creation, Plan, StopWhen};

/// How much a limit is raised.
const STEP: f64 = 1.1;
/// Elasticity from which on a limit is worth raising.
const MATTERS: f64 = 0.2;
/// The take-over is looked for up to this multiple of the value.
const FARTHEST: f64 = 64.0;
/// Relative width at which bisection ends.
const NEAR: f64 = 0.02;

/// A limit that can be moved.
#[derive(Clone, Debug, PartialEq)]
enum Knob {
    Qps,
    Burst,
    SchedulerSpeed,
    Seats,
    Streams,
    ServerSpeed,
    EtcdSpeed,
    Cores(usize),
    LoadQps,
    ControllerQps,
    AgentQps,
    ArrivalRate,
    Nodes,
    StartSpeed,
}

/// All costs faster.
fn faster(profile: &mut CostProfile, factor: f64) {
    let costs: Vec<(String, u64)> = profile.costs().map(|(n, c)| (n.to_owned(), c.value_ps)).collect();
    for (name, value_ps) in costs {
        profile.set_cost_ps(&name, libm::round(value_ps as f64 / factor) as u64);
    }
}

/// At least one more, if at all.
fn raised(value: u64, factor: f64) -> u64 {
    let more = libm::round(value as f64 * factor) as u64;
    if factor > 1.0 { more.max(value + 1) } else { more.max(1) }
}

fn raised32(value: u32, factor: f64) -> u32 {
    u32::try_from(raised(u64::from(value), factor)).unwrap_or(u32::MAX)
}

fn raise_qps(limits: &mut ClientLimits, factor: f64) {
    limits.qps_milli = raised(limits.qps_milli, factor);
}

impl Knob {
    /// The limits of a plan.
    fn all(plan: &Plan) -> Vec<Self> {
        let mut all = Vec::new();
        if plan.scheduler.client.qps_milli > 0 {
            all.extend([Self::Qps, Self::Burst]);
        }
        all.push(Self::SchedulerSpeed);
        if let Some(server) = &plan.api_server {
            all.extend([Self::Seats, Self::Streams, Self::ServerSpeed]);
            if server.etcd_settings.fsync.is_some() {
                all.push(Self::EtcdSpeed);
            }
        }
        all.extend((0..plan.hosts.len()).map(Self::Cores));
        let live = plan.creation != Creation::Existing;
        if plan.load_client.1.qps_milli > 0 && live {
            all.push(Self::LoadQps);
        }
        if plan.controller_manager.as_ref().is_some_and(|(_, l, _)| l.qps_milli > 0) {
            all.push(Self::ControllerQps);
        }
        if plan.agents.client.qps_milli > 0 {
            all.push(Self::AgentQps);
        }
        if let Creation::Scheduled { .. } = plan.creation {
            all.push(Self::ArrivalRate);
        }
        all.push(Self::Nodes);
        if until_running(plan) && plan.agents.start_latency_ns.0 > 0 {
            all.push(Self::StartSpeed);
        }
        all
    }

    /// Whether only whole values make sense.
    const fn is_whole(&self) -> bool {
        matches!(self, Self::Burst | Self::Seats | Self::Streams | Self::Cores(_) | Self::Nodes)
    }

    fn name(&self, plan: &Plan) -> String {
        match self {
            Self::Qps => "scheduler.client.qps".to_owned(),
            Self::Burst => "scheduler.client.burst".to_owned(),
            Self::SchedulerSpeed => "speed of the scheduler".to_owned(),
            Self::Seats => "seats of the API server".to_owned(),
            Self::Streams => "controlPlane.apiServer.maxStreamsPerConnection".to_owned(),
            Self::ServerSpeed => "speed of the API server".to_owned(),
            Self::EtcdSpeed => "speed of etcd's log".to_owned(),
            Self::Cores(at) => format!("hosts.{}.cores", plan.hosts[*at].name),
            Self::LoadQps => "workload.client.qps".to_owned(),
            Self::ControllerQps => "controlPlane.controllerManager.client.qps".to_owned(),
            Self::AgentQps => "controlPlane.nodeLifecycle.client.qps".to_owned(),
            Self::ArrivalRate => "arrival rate".to_owned(),
            Self::Nodes => "nodes".to_owned(),
            Self::StartSpeed => "speed of starting on nodes".to_owned(),
        }
    }

    fn value(&self, plan: &Plan) -> f64 {
        let qps = |limits: ClientLimits| limits.qps_milli as f64 / 1000.0;
        match self {
            Self::Qps => qps(plan.scheduler.client),
            Self::Burst => f64::from(plan.scheduler.client.burst),
            Self::Seats => plan.api_server.as_ref().map_or(0.0, |s| {
                f64::from(s.max_requests_inflight) + f64::from(s.max_mutating_requests_inflight)
            }),
            Self::Streams => {
                plan.api_server.as_ref().map_or(0.0, |s| f64::from(s.max_streams_per_connection))
            }
            Self::Cores(at) => f64::from(plan.hosts[*at].cores),
            Self::LoadQps => qps(plan.load_client.1),
            Self::ControllerQps => {
                plan.controller_manager.as_ref().map_or(0.0, |(_, limits, _)| qps(*limits))
            }
            Self::AgentQps => qps(plan.agents.client),
            Self::ArrivalRate => match &plan.creation {
                Creation::Scheduled { times_ns } => rate(times_ns),
                _ => 0.0,
            },
            Self::Nodes => plan.cluster.nodes.len() as f64,
            Self::SchedulerSpeed | Self::ServerSpeed | Self::EtcdSpeed | Self::StartSpeed => 1.0,
        }
    }

    /// Multiplies the limit.
    fn raise(&self, plan: &mut Plan, factor: f64) {
        let slower = |ns: u64| libm::round(ns as f64 / factor) as u64;
        match self {
            Self::Qps => raise_qps(&mut plan.scheduler.client, factor),
            Self::Burst => plan.scheduler.client.burst = raised32(plan.scheduler.client.burst, factor),
            Self::SchedulerSpeed => faster(&mut plan.scheduler.place.profile, factor),
            Self::Seats => {
                if let Some(server) = &mut plan.api_server {
                    server.max_requests_inflight = raised32(server.max_requests_inflight, factor);
                    server.max_mutating_requests_inflight =
                        raised32(server.max_mutating_requests_inflight, factor);
                }
            }
            Self::Streams => {
                if let Some(server) = &mut plan.api_server {
                    server.max_streams_per_connection = raised32(server.max_streams_per_connection, factor);
                }
            }
            Self::ServerSpeed => {
                if let Some(server) = &mut plan.api_server {
                    faster(&mut server.server.profile, factor);
                }
            }
            Self::EtcdSpeed => {
                if let Some((p50, p99)) =
                    plan.api_server.as_mut().and_then(|s| s.etcd_settings.fsync.as_mut())
                {
                    (*p50, *p99) = (slower(*p50), slower(*p99));
                }
            }
            Self::Cores(at) => plan.hosts[*at].cores = raised32(plan.hosts[*at].cores, factor),
            Self::LoadQps => raise_qps(&mut plan.load_client.1, factor),
            Self::ControllerQps => {
                if let Some((_, limits, _)) = &mut plan.controller_manager {
                    raise_qps(limits, factor);
                }
            }
            Self::AgentQps => raise_qps(&mut plan.agents.client, factor),
            Self::ArrivalRate => {
                if let Creation::Scheduled { times_ns } = &mut plan.creation {
                    scale_times(Arc::make_mut(times_ns).as_mut_slice(), factor);
                }
            }
            Self::Nodes => {
                let nodes = &mut plan.cluster.nodes;
                let (have, want) = (nodes.len(), raised(nodes.len() as u64, factor) as usize);
                for extra in have..want {
                    let like = nodes.get((extra % have) as u32);
                    let (template, zone) = (like.template, like.zone);
                    nodes.add(format!("extra-{extra}"), template, zone);
                }
            }
            Self::StartSpeed => {
                let (p50, p99) = plan.agents.start_latency_ns;
                plan.agents.start_latency_ns = (slower(p50), slower(p99));
            }
        }
    }
}

/// Moves arrival times so that they come `factor` times as fast.
pub(super) fn scale_times(times_ns: &mut [u64], factor: f64) {
    for at in times_ns {
        *at = libm::round(*at as f64 / factor) as u64;
    }
}

/// Pods a second of ascending arrival times.
pub(super) fn rate(times_ns: &[u64]) -> f64 {
    match (times_ns.first(), times_ns.last()) {
        (Some(first), Some(last)) if last > first => {
            (times_ns.len() - 1) as f64 / ((last - first) as f64 / 1e9)
        }
        _ => 0.0,
    }
}

fn until_running(plan: &Plan) -> bool {
    matches!(plan.stop, StopWhen::AllRunning)
}

/// What is to be raised: pods a second.
fn throughput(run: &Finished) -> f64 {
    let stage = if run.stop == StopWhen::AllRunning { "started" } else { "bound" };
    report::metrics(run).get(&format!("throughput.{stage}.mean")).unwrap_or(0.0)
}

/// What one limit is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sensitivity {
    /// The limit.
    pub limit: String,
    /// Its value as it is.
    pub from: f64,
    /// Its value in the paired runs.
    pub to: f64,
    /// Pods a second as it is, median over pairs.
    pub throughput: f64,
    /// In the paired runs.
    pub throughput_moved: f64,
    /// Relative change of throughput over that of the limit, as logarithms; median over pairs.
    pub elasticity: f64,
    /// 5th and 95th percentile over pairs.
    pub elasticity_band: (f64, f64),
    /// Relative change of throughput that 10 % more gives, from the elasticity.
    pub change: f64,
    /// 5th and 95th percentile over pairs.
    pub change_band: (f64, f64),
    /// By pair.
    pub elasticities: Vec<f64>,
}

/// Where the next limit takes over from the one that is worth most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TakeOver {
    /// The limit that is raised.
    pub raised: String,
    /// Its value as it is.
    pub from: f64,
    /// Its value from which on the next limit decides; none: it decides up to 64 times its value.
    pub at: Option<f64>,
    /// 5th and 95th percentile over pairs.
    pub band: Option<(f64, f64)>,
    /// Pods a second there.
    pub throughput: f64,
    /// What limits beyond.
    pub next: Option<String>,
}

/// Sensitivities of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sensitivities {
    /// Pairs a limit.
    pub pairs: u64,
    /// Whether each pair drew the unit costs from their intervals.
    pub drawn: bool,
    /// Largest elasticity first.
    pub limits: Vec<Sensitivity>,
    /// Where the next limit takes over; none if no limit is worth raising.
    pub take_over: Option<TakeOver>,
}

/// How to look.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Pairs a limit.
    pub pairs: u64,
    /// Whether each pair draws the unit costs.
    pub drawn: bool,
}

struct Search<'a> {
    environment: &'a Environment,
    name: &'a str,
    /// A plan a pair.
    plans: Vec<Plan>,
    done: &'a (dyn Fn() + Sync),
}

impl Search<'_> {
    fn raised(&self, pair: usize, knob: &Knob, factor: f64) -> Plan {
        let mut plan = self.plans[pair].clone();
        if (factor - 1.0).abs() > f64::EPSILON {
            knob.raise(&mut plan, factor);
        }
        plan
    }

    fn run(&self, plan: &Plan) -> Result<Finished, RunError> {
        let run = simulate(plan, &self.environment.registry)
            .map_err(|source| RunError::Build { run: self.name.to_owned(), source })?;
        (self.done)();
        Ok(run)
    }

    /// Logarithms of the limit's value and of the throughput there.
    fn at(&self, pair: usize, knob: &Knob, factor: f64) -> Result<(f64, f64), RunError> {
        let plan = self.raised(pair, knob, factor);
        // Speeds have no value of their own: the factor is it.
        let value = match knob.value(&plan) / knob.value(&self.plans[pair]) {
            same if (same - 1.0).abs() < f64::EPSILON => factor,
            ratio => ratio,
        };
        let run = self.run(&plan)?;
        Ok((libm::log(value), libm::log(throughput(&run).max(f64::MIN_POSITIVE))))
    }

    /// The slope at a multiple of the value, and the point there.
    fn slope(&self, pair: usize, knob: &Knob, factor: f64) -> Result<(f64, (f64, f64)), RunError> {
        let (a, b) = rayon::join(|| self.at(pair, knob, factor), || self.at(pair, knob, factor * STEP));
        let (a, b) = (a?, b?);
        let step = b.0 - a.0;
        Ok((if step > 0.0 { (b.1 - a.1) / step } else { 0.0 }, a))
    }

    fn take_over(&self, knob: &Knob, elasticity: f64) -> Result<TakeOver, RunError> {
        let from = knob.value(&self.plans[0]);
        let name = knob.name(&self.plans[0]);
        let half = elasticity / 2.0;
        let (mut low, mut high) = (1.0, 2.0);
        loop {
            let (slope, point) = self.slope(0, knob, high)?;
            if slope < half {
                break;
            }
            if high >= FARTHEST {
                let throughput = libm::exp(point.1);
                return Ok(TakeOver { raised: name, from, at: None, band: None, throughput, next: None });
            }
            (low, high) = (high, high * 2.0);
        }
        let whole = |factor: f64| knob.value(&self.raised(0, knob, factor));
        while high / low > 1.0 + NEAR {
            if knob.is_whole() && whole(high) - whole(low) <= 1.0 {
                break;
            }
            let middle = libm::sqrt(low * high);
            if self.slope(0, knob, middle)?.0 < half { high = middle } else { low = middle }
        }
        // The point of the change lies within one step above `low`: the lines are taken from outside it.
        let (before, after) = ((low / STEP).max(1.0), high * STEP);
        let meets: Vec<(f64, f64)> = (0..self.plans.len())
            .into_par_iter()
            .map(|pair| {
                let (first, p) = if before > 1.0 {
                    self.slope(pair, knob, before / STEP)?
                } else {
                    self.slope(pair, knob, 1.0)?
                };
                let (second, q) = self.slope(pair, knob, after)?;
                let x = if first - second > 1e-6 {
                    (q.1 - p.1 + first * p.0 - second * q.0) / (first - second)
                } else {
                    libm::log(low)
                };
                Ok((x.clamp(0.0, libm::log(FARTHEST * 2.0)), p.1 + first * (x - p.0)))
            })
            .collect::<Result<_, RunError>>()?;
        let beyond = self.run(&self.raised(0, knob, after))?;
        let next = report::bottleneck(&beyond).limited_by();
        let values: Vec<f64> = meets.iter().map(|(x, _)| from * libm::exp(*x)).collect();
        let s = Statistics::of(&values);
        let throughputs: Vec<f64> = meets.iter().map(|(_, y)| libm::exp(*y)).collect();
        Ok(TakeOver {
            raised: name,
            from,
            at: Some(s.median),
            band: Some((s.p5, s.p95)),
            throughput: super::check::median(&throughputs),
            next,
        })
    }
}

/// Runs the pairs on the current pool of threads. `started(runs)` is called once with what they need at least, `done()`
/// after every run.
///
/// # Errors
/// Something can't be looked up, or a profile lacks a cost.
pub fn sensitivities(
    spec: &RunSpec,
    environment: &Environment,
    options: Options,
    started: impl FnOnce(u64),
    done: &(dyn Fn() + Sync),
) -> Result<Sensitivities, RunError> {
    let draw = if options.drawn { Some(0) } else { spec.draw };
    let plans: Vec<Plan> = spec
        .seeds(options.pairs.max(1))
        .map(|one| RunSpec { draw, ..one }.plan(environment))
        .collect::<Result<_, _>>()?;
    let pairs = plans.len();
    let search = Search { environment, name: &spec.name, plans, done };
    let knobs = Knob::all(&search.plans[0]);
    started((pairs * (knobs.len() + 1)) as u64);
    let jobs: Vec<(usize, Option<&Knob>)> = std::iter::once(None)
        .chain(knobs.iter().map(Some))
        .flat_map(|knob| (0..pairs).map(move |pair| (pair, knob)))
        .collect();
    let all: Vec<f64> = jobs
        .par_iter()
        .map(|(pair, knob)| {
            let run = match knob {
                Some(knob) => search.run(&search.raised(*pair, knob, STEP)),
                None => search.run(&search.plans[*pair]),
            };
            run.map(|run| throughput(&run))
        })
        .collect::<Result<_, RunError>>()?;
    let (base, moved) = all.split_at(pairs);
    let mut rows: Vec<(Sensitivity, &Knob)> = knobs
        .iter()
        .zip(moved.chunks(pairs))
        .map(|(knob, after)| {
            let (plan, raised) = (&search.plans[0], search.raised(0, knob, STEP));
            let (from, to) = (knob.value(plan), knob.value(&raised));
            let to = if (to - from).abs() < f64::EPSILON { from * STEP } else { to };
            let step = libm::log(to / from);
            let elasticities: Vec<f64> = base
                .iter()
                .zip(after)
                .map(|(b, a)| if *b > 0.0 && *a > 0.0 && step > 0.0 { libm::log(a / b) / step } else { 0.0 })
                .collect();
            let s = Statistics::of(&elasticities);
            let change = |elasticity: f64| libm::pow(STEP, elasticity) - 1.0;
            let row = Sensitivity {
                limit: knob.name(plan),
                from,
                to,
                throughput: super::check::median(base),
                throughput_moved: super::check::median(after),
                elasticity: s.median,
                elasticity_band: (s.p5, s.p95),
                change: change(s.median),
                change_band: (change(s.p5), change(s.p95)),
                elasticities,
            };
            (row, knob)
        })
        .collect();
    rows.sort_by(|a, b| b.0.elasticity.total_cmp(&a.0.elasticity).then_with(|| a.0.limit.cmp(&b.0.limit)));
    let take_over = match rows.first() {
        Some((row, knob)) if row.elasticity >= MATTERS => Some(search.take_over(knob, row.elasticity)?),
        _ => None,
    };
    let limits = rows.into_iter().map(|(row, _)| row).collect();
    Ok(Sensitivities { pairs: pairs as u64, drawn: options.drawn, limits, take_over })
}
