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
use super::simulation::Finished;
use crate::cluster::PodId;
use crate::cost::CostProfile;
use crate::measure::Station;
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

/// One step of a pod's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What happened meanwhile.
    pub step: String,
    /// Begin, ns.
    pub from_ns: u64,
    /// End, ns; none: it has not ended.
    pub to_ns: Option<u64>,
    /// Where requests or pods waited during most of it, if anywhere that concerns this step.
    pub held_up_by: Option<String>,
}

/// A pod's life, step by step. Steps that it never began are left out.
#[must_use]
pub fn waterfall(run: &Finished, pod: PodId) -> Vec<Step> {
    const CAPACITY: &[Station] = &[Station::Capacity, Station::Scheduler];
    const REQUEST: &[Station] = &[Station::Streams, Station::Seats, Station::RetryAfter];
    let t = run.cluster.pods.timeline(pod);
    let stages: [(&str, u64, u64, &[Station]); 7] = [
        ("on its way to the scheduler", t.created_ns, t.queued_ns, &[]),
        ("in the scheduler's queue", t.queued_ns, t.cycle_ns, CAPACITY),
        ("scheduling cycle", t.cycle_ns, t.assumed_ns, CAPACITY),
        ("waits for a token of the client", t.assumed_ns, t.bind_sent_ns, &[Station::BindTokens]),
        ("binding request", t.bind_sent_ns, t.bound_ns, REQUEST),
        ("starts on its node", t.bound_ns, t.running_ns, &[]),
        ("runs", t.running_ns, t.finished_ns, &[]),
    ];
    let end = run.kernel.now();
    stages
        .into_iter()
        .filter(|(_, from, ..)| *from != u64::MAX)
        .map(|(step, from_ns, to, stations)| {
            let to_ns = (to != u64::MAX).then_some(to);
            let until = to_ns.unwrap_or(end).max(from_ns);
            let most = stations
                .iter()
                .map(|s| (run.stations.get(*s).overlap(from_ns, until), *s))
                .max_by_key(|(busy, s)| (*busy, std::cmp::Reverse(*s)))
                .filter(|(busy, _)| *busy * 2 > until - from_ns);
            let held_up_by = most.map(|(_, station)| station.name().to_owned());
            Step { step: step.to_owned(), from_ns, to_ns, held_up_by }
        })
        .collect()
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

#[cfg(test)]
mod tests {
    //! Cases whose answer is known in closed form.
    use super::*;
    use crate::experiment::report::bottleneck;
    use crate::measure::Limit;
    use crate::scenario::Document;

    const MS: u64 = 1_000_000_000;

    /// Pods of one CPU each for the reference scheduler; `more` are lines of the scenario.
    fn plan(more: &str) -> Plan {
        let text = format!(
            "apiVersion: podpace/v1\nkind: Scenario\nname: case\n{more}\nstop: {{when: allBound, limit: 1h}}\n"
        );
        let document = Document::parse("case.yaml", &text, None).unwrap();
        let mut plan = RunSpec::of_scenario(document)
            .unwrap()
            .plan(&Environment::built_in())
            .map_err(|e| e.to_string())
            .unwrap();
        // All that is not the case's own cost is next to nothing.
        plan.scheduler.place.profile.set_cost_ps("cycle", 1_000_000);
        plan.scheduler.place.profile.set_cost_ps("node_visited", 0);
        plan
    }

    const ROOM: &str =
        "cluster: {nodes: [{count: 20, template: {allocatable: {cpu: 500, memory: 64Gi, pods: 500}}}]}";

    /// No token bucket.
    const FREE: &str = ", client: {qps: 100000, burst: 100000}";

    fn backlog(pods: u32, scheduler: &str) -> Plan {
        plan(&format!(
            "{ROOM}\nscheduler: {{kind: first-fit{scheduler}}}\nworkload: {{start: backlog, pods: [{{count: {pods}, requests: {{cpu: 1}}}}]}}"
        ))
    }

    fn arrivals(pods: u32, process: &str, rate: f64) -> Plan {
        plan(&format!(
            "{ROOM}\nscheduler: {{kind: first-fit{FREE}}}\nworkload: {{pods: [{{count: {pods}, requests: {{cpu: 1}}}}], arrivals: {{process: {process}, rate: {rate}}}}}"
        ))
    }

    fn run(plan: &Plan) -> Finished {
        simulate(plan, &crate::scheduler::Registry::built_in()).map_err(|e| e.to_string()).unwrap()
    }

    fn first(run: &Finished) -> Limit {
        bottleneck(run).shares.into_iter().next().expect("something was bound").0
    }

    fn throughput(run: &Finished) -> f64 {
        report::metrics(run).get("throughput.bound.mean").unwrap()
    }

    fn cycle(mut plan: Plan, ps: u64) -> Plan {
        plan.scheduler.place.profile.set_cost_ps("cycle", ps);
        plan
    }

    #[track_caller]
    fn near(got: f64, want: f64, tolerance: f64) {
        assert!((got / want - 1.0).abs() <= tolerance, "{got}, expected {want}");
    }

    #[test]
    fn a_token_bucket_alone() {
        for (qps, burst) in [(5, 1), (10, 5), (20, 10), (50, 1), (100, 20), (200, 50)] {
            let run = run(&backlog(300, &format!(", client: {{qps: {qps}, burst: {burst}}}")));
            assert_eq!(first(&run), Limit::Station(Station::BindTokens), "qps {qps}");
            near(throughput(&run), 300.0 * f64::from(qps) / f64::from(300 - burst), 0.02);
        }
    }

    #[test]
    fn a_scheduler_thread_alone() {
        for ms in [1, 2, 5, 10, 20, 50] {
            let run = run(&cycle(backlog(300, FREE), ms * MS));
            assert_eq!(first(&run), Limit::Station(Station::Scheduler), "{ms} ms");
            near(throughput(&run), 1000.0 / ms as f64, 0.02);
        }
    }

    #[test]
    fn crossings_of_two_limits() {
        // A cycle of 10 ms carries 100 pods/s; the bucket takes over below that.
        for (qps, want) in [
            (25, Station::BindTokens),
            (50, Station::BindTokens),
            (80, Station::BindTokens),
            (90, Station::BindTokens),
            (110, Station::Scheduler),
            (125, Station::Scheduler),
            (200, Station::Scheduler),
            (400, Station::Scheduler),
        ] {
            let run = run(&cycle(backlog(400, &format!(", client: {{qps: {qps}, burst: 1}}")), 10 * MS));
            assert_eq!(first(&run), Limit::Station(want), "qps {qps}");
            near(throughput(&run), f64::from(qps.min(100)), 0.02);
            // The other is the next, at its own rate.
            let (name, at) = bottleneck(&run).next.expect("two limits");
            let other = if want == Station::BindTokens { Station::Scheduler } else { Station::BindTokens };
            assert_eq!(name, other.name(), "qps {qps}");
            near(at, f64::from(qps.max(100)), 0.02);
        }
    }

    #[test]
    fn pods_that_come_slowly() {
        for rate in [2.0, 5.0, 20.0, 50.0] {
            let run = run(&arrivals(200, "constant", rate));
            assert_eq!(first(&run), Limit::Station(Station::Creation), "{rate}/s");
            near(throughput(&run), rate, 0.02);
        }
    }

    #[test]
    fn m_d_1_binding() {
        // Deterministic service of 10 ms: below 100/s creation decides and pods wait rho / (2 (1 - rho)) services; above, the
        // scheduler does.
        for rate in [30.0, 50.0, 70.0, 150.0, 300.0] {
            let run = run(&cycle(arrivals(20_000, "poisson", rate), 10 * MS));
            let rho = rate / 100.0;
            let want = if rho < 1.0 { Station::Creation } else { Station::Scheduler };
            assert_eq!(first(&run), Limit::Station(want), "{rate}/s");
            if rho < 1.0 {
                let wait = report::metrics(&run).get("latency.queued_to_assumed.mean_s").unwrap() - 0.01;
                near(wait, 0.01 * rho / (2.0 * (1.0 - rho)), 0.1);
            } else {
                near(throughput(&run), 100.0, 0.02);
            }
        }
    }

    #[test]
    fn a_full_cluster() {
        // Slots of one CPU, each taken for about a second: as many pods a second as slots, whatever else there is.
        for (slots, rate) in [(2, 10.0), (4, 20.0), (8, 50.0), (16, 100.0)] {
            let run = run(&plan(&format!(
                "cluster: {{nodes: [{{count: 1, template: {{allocatable: {{cpu: {slots}, memory: 64Gi, pods: 500}}}}}}]}}\n\
                 scheduler: {{kind: first-fit{FREE}}}\n\
                 workload: {{pods: [{{count: 400, requests: {{cpu: 1}}, runTime: {{fixed: 1s}}}}], arrivals: {{process: constant, rate: {rate}}}}}"
            )));
            assert_eq!(first(&run), Limit::Station(Station::Capacity), "{slots} slots");
            near(throughput(&run), f64::from(slots), 0.05);
        }
    }

    #[test]
    fn a_late_start() {
        for seconds in [2, 10, 30] {
            let run = run(&backlog(50, &format!("{FREE}, startDelay: {seconds}s")));
            assert_eq!(first(&run), Limit::Latency, "{seconds} s");
        }
    }

    /// One process does the scheduling, another the serving, both on one core.
    fn served(pods: u32, server: &str, more: &str) -> Plan {
        let mut plan = plan(&format!(
            "{ROOM}\nhosts: {{vm: {{cores: 1}}, big: {{cores: 64}}}}\ncontrolPlane: {{apiServer: {{profile: apiserver-1.36{server}}}, etcd: {{profile: etcd-3.6}}}}\n\
             scheduler: {{kind: first-fit{more}}}\nworkload: {{start: backlog, pods: [{{count: {pods}, requests: {{cpu: 1}}}}]}}"
        ));
        if let Some(server) = &mut plan.api_server {
            for name in ["wakeup", "watch_event", "ingress", "respond", "idle_per_second"] {
                server.server.profile.set_cost_ps(name, 0);
                server.etcd.profile.set_cost_ps(name, 0);
            }
            server.server.profile.set_cost_ps("bind", MS / 10);
        }
        plan
    }

    #[test]
    fn a_shared_host() {
        for share in [2u64, 3, 4] {
            let mut plan = served(200, ", host: vm", ", host: vm, client: {qps: 100000, burst: 100000}");
            // A scheduling cycle, and a binding as long as so many of them, on one core.
            plan.scheduler.place.profile.set_cost_ps("cycle", 5 * MS);
            if let Some(server) = &mut plan.api_server {
                server.server.profile.set_cost_ps("bind", 5 * share * MS);
            }
            let run = run(&plan);
            assert_eq!(first(&run), Limit::HostCpu("vm".to_owned()), "{share}");
            near(throughput(&run), 1000.0 / (5 * (share + 1)) as f64, 0.1);
        }
    }

    #[test]
    fn seats_alone() {
        // A binding holds its seat for 100 ms of CPU on a host with cores to spare.
        for seats in [4u32, 10, 20] {
            let mut plan = served(300, ", host: big", FREE);
            if let Some(server) = &mut plan.api_server {
                server.max_requests_inflight = seats;
                server.max_mutating_requests_inflight = seats;
                server.server.profile.set_cost_ps("bind", 100 * MS);
            }
            let run = run(&plan);
            let limit = first(&run);
            let seats = [Limit::Station(Station::Seats), Limit::Station(Station::RetryAfter)];
            assert!(seats.contains(&limit), "{limit:?}");
        }
    }

    #[test]
    fn a_pods_waterfall_names_its_wait() {
        // One token a second, ten at once: the last of twenty pods waits nine or ten seconds for its own.
        let run = run(&backlog(20, ", client: {qps: 1, burst: 10}"));
        let last = (0..20).max_by_key(|p| run.cluster.pods.timeline(*p).bound_ns).unwrap();
        let steps = waterfall(&run, last);
        let longest = steps.iter().max_by_key(|s| s.to_ns.unwrap_or(s.from_ns) - s.from_ns).unwrap();
        assert_eq!(longest.step, "waits for a token of the client");
        assert_eq!(longest.held_up_by.as_deref(), Some("bind tokens"));
        let ends: Vec<u64> = steps.iter().filter_map(|s| s.to_ns).collect();
        let begins: Vec<u64> = steps.iter().skip(1).map(|s| s.from_ns).collect();
        assert_eq!(ends[..begins.len()], begins, "steps join without a gap");
    }

    #[test]
    fn elasticities_are_what_the_closed_form_says() {
        // Bucket alone: throughput is n qps / (n - burst).
        let text = format!(
            "apiVersion: podpace/v1\nkind: Scenario\nname: case\n{ROOM}\nscheduler: {{kind: first-fit, client: {{qps: 20, burst: 10}}}}\n\
             workload: {{start: backlog, pods: [{{count: 400, requests: {{cpu: 1}}}}]}}\n"
        );
        let spec = RunSpec::of_scenario(Document::parse("case.yaml", &text, None).unwrap()).unwrap();
        let rows = sensitivities(&spec, &Environment::built_in(), |_| (), || ()).unwrap();
        let of = |limit: &str| rows.iter().find(|r| r.limit == limit).expect("a row").elasticity;
        assert!((of("scheduler.client.qps") - 1.0).abs() < 0.02);
        assert!((of("scheduler.client.burst") - 10.0 / 390.0).abs() < 0.02);
        assert!(of("speed of the scheduler").abs() < 0.02);
    }
}
