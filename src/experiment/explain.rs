//! What moving each limit would buy: sensitivities from paired runs.
//!
//! The same plan runs again with one limit 10 % higher and the same seed (common random numbers), so that all else
//! is equal. The **elasticity** is the relative change of throughput over the relative change of the limit: 1 means
//! that the limit alone decides, 0 that it does not matter here. Whole numbers (cores, seats) are raised by at least
//! one; the elasticity is over the change that was really made.
//!
//! The limits, where the plan has them: the scheduler's `qps` and `burst`, the API server's requests in flight
//! (seats), the cores of each host, the speed of the scheduler (all its costs 10 % lower), of the API server and of
//! etcd's log, the load client's or the controllers' `qps`, and the arrival rate.
//!
//! Cost: one run a limit.
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::report;
use super::run::{Environment, RunError, RunSpec, simulate};
use crate::cost::CostProfile;
use crate::scenario::plan::{ClientLimits, Creation, Plan};

/// What one limit is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sensitivity {
    /// The limit.
    pub limit: String,
    /// Its value as it is.
    pub from: f64,
    /// Its value in the paired run.
    pub to: f64,
    /// Pods bound per second (mean to the last binding) as it is.
    pub throughput: f64,
    /// In the paired run.
    pub throughput_moved: f64,
    /// Relative change of throughput over relative change of the limit.
    pub elasticity: f64,
}

/// A limit that can be moved: its name, its value before and after, and the plan with it moved.
struct Moved {
    limit: String,
    from: f64,
    to: f64,
    plan: Plan,
}

fn ten_percent_more(value: u64) -> u64 {
    value + (value / 10).max(1)
}

/// All costs a tenth faster.
fn faster(profile: &mut CostProfile) {
    let costs: Vec<(String, u64)> = profile.costs().map(|(n, c)| (n.to_owned(), c.value_ps)).collect();
    for (name, value_ps) in costs {
        profile.set_cost_ps(&name, value_ps * 10 / 11);
    }
}

fn moved_plans(plan: &Plan) -> Vec<Moved> {
    let mut moved = Vec::new();
    let mut add = |limit: String, from: f64, to: f64, change: &dyn Fn(&mut Plan)| {
        let mut plan = plan.clone();
        change(&mut plan);
        moved.push(Moved { limit, from, to, plan });
    };
    let qps = |limits: ClientLimits| {
        let more = ten_percent_more(limits.qps_milli);
        (limits.qps_milli as f64 / 1000.0, more as f64 / 1000.0, more)
    };
    let client = plan.scheduler.client;
    if client.qps_milli > 0 {
        let (from, to, more) = qps(client);
        add("scheduler.client.qps".to_owned(), from, to, &|p| p.scheduler.client.qps_milli = more);
        let burst = u32::try_from(ten_percent_more(u64::from(client.burst))).unwrap_or(u32::MAX);
        let (from, to) = (f64::from(client.burst), f64::from(burst));
        add("scheduler.client.burst".to_owned(), from, to, &|p| p.scheduler.client.burst = burst);
    }
    add("speed of the scheduler".to_owned(), 1.0, 1.1, &|p| faster(&mut p.scheduler.place.profile));
    if let Some(server) = &plan.api_server {
        let (reads, writes) = (server.max_requests_inflight, server.max_mutating_requests_inflight);
        let more = |seats: u32| u32::try_from(ten_percent_more(u64::from(seats))).unwrap_or(u32::MAX);
        let (from, to) =
            (f64::from(reads) + f64::from(writes), f64::from(more(reads)) + f64::from(more(writes)));
        add("seats of the API server".to_owned(), from, to, &|p| {
            if let Some(server) = &mut p.api_server {
                server.max_requests_inflight = more(reads);
                server.max_mutating_requests_inflight = more(writes);
            }
        });
        add("speed of the API server".to_owned(), 1.0, 1.1, &|p| {
            if let Some(server) = &mut p.api_server {
                faster(&mut server.server.profile);
            }
        });
        if server.etcd_settings.fsync.is_some() {
            add("speed of etcd's log".to_owned(), 1.0, 1.1, &|p| {
                if let Some((p50, p99)) = p.api_server.as_mut().and_then(|s| s.etcd_settings.fsync.as_mut()) {
                    (*p50, *p99) = (*p50 * 10 / 11, *p99 * 10 / 11);
                }
            });
        }
    }
    for (index, host) in plan.hosts.iter().enumerate() {
        let cores = u32::try_from(ten_percent_more(u64::from(host.cores))).unwrap_or(u32::MAX);
        let name = format!("hosts.{}.cores", host.name);
        add(name, f64::from(host.cores), f64::from(cores), &|p| p.hosts[index].cores = cores);
    }
    let load = plan.load_client.1;
    if load.qps_milli > 0 && plan.creation != Creation::Existing {
        let (from, to, more) = qps(load);
        add("workload.client.qps".to_owned(), from, to, &|p| p.load_client.1.qps_milli = more);
    }
    if let Some((_, limits, _)) = plan.controller_manager.as_ref().filter(|(_, l, _)| l.qps_milli > 0) {
        let (from, to, more) = qps(*limits);
        add("controlPlane.controllerManager.client.qps".to_owned(), from, to, &|p| {
            if let Some((_, limits, _)) = &mut p.controller_manager {
                limits.qps_milli = more;
            }
        });
    }
    if let Creation::Scheduled { .. } = plan.creation {
        add("arrival rate".to_owned(), 1.0, 1.1, &|p| {
            if let Creation::Scheduled { times_ns } = &mut p.creation {
                for at in times_ns {
                    *at = *at / 11 * 10 + *at % 11 * 10 / 11;
                }
            }
        });
    }
    moved
}

/// Runs the pairs on the current pool of threads; largest elasticity first. `started(runs)` is called once, `done()`
/// after every run.
///
/// # Errors
/// A profile lacks a cost.
pub fn sensitivities(
    spec: &RunSpec,
    environment: &Environment,
    started: impl FnOnce(u64),
    done: impl Fn() + Sync,
) -> Result<Vec<Sensitivity>, RunError> {
    let plan = spec.plan(environment)?;
    let throughput = |plan: &Plan| -> Result<f64, RunError> {
        let run = simulate(plan, &environment.registry)
            .map_err(|source| RunError::Build { run: spec.name.clone(), source })?;
        done();
        Ok(report::metrics(&run).get("throughput.bound.mean").unwrap_or(0.0))
    };
    let moved = moved_plans(&plan);
    started(moved.len() as u64 + 1);
    let base = throughput(&plan)?;
    let mut rows: Vec<Sensitivity> = moved
        .par_iter()
        .map(|m| {
            let after = throughput(&m.plan)?;
            let change = if base > 0.0 { after / base - 1.0 } else { 0.0 };
            Ok(Sensitivity {
                limit: m.limit.clone(),
                from: m.from,
                to: m.to,
                throughput: base,
                throughput_moved: after,
                elasticity: if m.from > 0.0 { change / (m.to / m.from - 1.0) } else { 0.0 },
            })
        })
        .collect::<Result<_, RunError>>()?;
    rows.sort_by(|a, b| b.elasticity.total_cmp(&a.elasticity).then_with(|| a.limit.cmp(&b.limit)));
    Ok(rows)
}
