//! `explain` where the answer is known in closed form: which resource is named, at which throughput, and where the next one takes over.
//!
//! Everything that is not a case's own limit costs next to nothing. Times are virtual; each case is a few hundred pods.
use podpace::control_plane::etcd::EtcdSettings;
use podpace::experiment::explain::waterfall;
use podpace::experiment::report::{self, bottleneck};
use podpace::experiment::run::{Environment, RunSpec, simulate};
use podpace::experiment::sensitivity::{Options, Sensitivities, sensitivities};
use podpace::experiment::simulation::Finished;
use podpace::measure::{Limit, Station};
use podpace::scenario::Document;
use podpace::scenario::plan::{ClientLimits, Plan};
use podpace::scheduler::Registry;

/// Picoseconds.
const MS: u64 = 1_000_000_000;
const ROOM: &str =
    "cluster: {nodes: [{count: 20, template: {allocatable: {cpu: 500, memory: 64Gi, pods: 500}}}]}";
/// No token bucket that matters.
const FREE: &str = ", client: {qps: 100000, burst: 100000}";

/// `more` are lines of the scenario.
fn spec(more: &str) -> RunSpec {
    let text = format!("apiVersion: podpace/v1\nkind: Scenario\nname: case\n{more}\n");
    RunSpec::of_scenario(Document::parse("case.yaml", &text, None).unwrap()).unwrap()
}

/// The reference scheduler, free but for a microsecond a cycle.
fn plan(more: &str) -> Plan {
    let mut plan = spec(more).plan(&Environment::built_in()).map_err(|e| e.to_string()).unwrap();
    plan.scheduler.place.profile.set_cost_ps("cycle", 1_000_000);
    plan.scheduler.place.profile.set_cost_ps("node_visited", 0);
    plan.limit_ns = 3_600_000_000_000;
    plan
}

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

fn cycle(mut plan: Plan, ps: u64) -> Plan {
    plan.scheduler.place.profile.set_cost_ps("cycle", ps);
    plan
}

fn run(plan: &Plan) -> Finished {
    simulate(plan, &Registry::built_in()).map_err(|e| e.to_string()).unwrap()
}

fn first(run: &Finished) -> String {
    bottleneck(run).shares.into_iter().next().expect("something was bound").0.name()
}

fn throughput(run: &Finished) -> f64 {
    report::metrics(run).get("throughput.bound.mean").unwrap()
}

#[track_caller]
fn near(got: f64, want: f64, tolerance: f64) {
    assert!((got / want - 1.0).abs() <= tolerance, "{got}, expected {want}");
}

const TOKENS: &str = "bind tokens of client scheduler";
const THREAD: &str = "scheduler thread";

#[test]
fn a_token_bucket_alone() {
    for (qps, burst) in [(5, 1), (10, 5), (20, 10), (50, 1), (100, 20), (200, 50)] {
        let run = run(&backlog(300, &format!(", client: {{qps: {qps}, burst: {burst}}}")));
        assert_eq!(first(&run), TOKENS, "qps {qps}");
        near(throughput(&run), 300.0 * f64::from(qps) / f64::from(300 - burst), 0.02);
    }
}

#[test]
fn a_scheduler_thread_alone() {
    for ms in [1, 2, 5, 10, 20, 50] {
        let run = run(&cycle(backlog(300, FREE), ms * MS));
        assert_eq!(first(&run), THREAD, "{ms} ms");
        near(throughput(&run), 1000.0 / ms as f64, 0.02);
    }
}

#[test]
fn tokens_and_thread_cross() {
    // A cycle of 10 ms carries 100 pods/s; the bucket takes over below that.
    for qps in [25, 50, 80, 90, 110, 125, 200, 400] {
        let run = run(&cycle(backlog(400, &format!(", client: {{qps: {qps}, burst: 1}}")), 10 * MS));
        let (want, other) = if qps < 100 { (TOKENS, THREAD) } else { (THREAD, TOKENS) };
        assert_eq!(first(&run), want, "qps {qps}");
        near(throughput(&run), f64::from(qps.min(100)), 0.02);
        // The other is the next, at its own rate.
        let (name, at) = bottleneck(&run).next.expect("two limits");
        assert_eq!(name, other, "qps {qps}");
        near(at, f64::from(qps.max(100)), 0.02);
    }
}

#[test]
fn pods_that_come_slowly() {
    for rate in [2.0, 5.0, 20.0, 50.0] {
        let run = run(&arrivals(200, "constant", rate));
        assert_eq!(first(&run), "pod creation", "{rate}/s");
        near(throughput(&run), rate, 0.02);
    }
}

#[test]
fn creation_that_waits_for_tokens() {
    // The load client's own bucket, below the rate at which pods are wanted.
    for qps in [4, 10, 25] {
        let run = run(&plan(&format!(
            "{ROOM}\nscheduler: {{kind: first-fit{FREE}}}\nworkload: {{client: {{qps: {qps}, burst: 1}}, pods: [{{count: 200, requests: {{cpu: 1}}}}], arrivals: {{process: constant, rate: 100}}}}"
        )));
        assert_eq!(first(&run), "creation tokens of client load", "qps {qps}");
        near(throughput(&run), f64::from(qps), 0.02);
    }
    // A Deployment's ReplicaSet behind the controller manager's.
    for qps in [10, 40] {
        let run = run(&plan(&format!(
            "{ROOM}\ncontrolPlane: {{controllerManager: {{client: {{qps: {qps}, burst: 1}}}}}}\nscheduler: {{kind: first-fit{FREE}}}\nworkload: {{deployments: [{{count: 1, replicas: 200, requests: {{cpu: 1}}}}]}}"
        )));
        assert_eq!(first(&run), "creation tokens of client controller-manager", "qps {qps}");
        near(throughput(&run), f64::from(qps), 0.03);
    }
}

#[test]
fn m_d_1_binding() {
    // Deterministic service of 10 ms: below 100/s creation decides and pods wait rho / (2 (1 - rho)) services; above, the
    // scheduler does.
    for rate in [30.0, 50.0, 70.0, 150.0, 300.0] {
        let run = run(&cycle(arrivals(20_000, "poisson", rate), 10 * MS));
        let rho = rate / 100.0;
        assert_eq!(first(&run), if rho < 1.0 { "pod creation" } else { THREAD }, "{rate}/s");
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
    // Slots of one CPU, each taken for a second: as many pods a second as slots, whatever else there is.
    for (slots, rate) in [(2, 10.0), (4, 20.0), (8, 50.0), (16, 100.0)] {
        let run = run(&plan(&format!(
            "cluster: {{nodes: [{{count: 1, template: {{allocatable: {{cpu: {slots}, memory: 64Gi, pods: 500}}}}}}]}}\n\
             scheduler: {{kind: first-fit{FREE}}}\n\
             workload: {{pods: [{{count: 400, requests: {{cpu: 1}}, runTime: {{fixed: 1s}}}}], arrivals: {{process: constant, rate: {rate}}}}}"
        )));
        assert_eq!(first(&run), "capacity (nothing fits)", "{slots} slots");
        near(throughput(&run), f64::from(slots), 0.05);
    }
}

#[test]
fn a_late_start() {
    for seconds in [2, 10, 30] {
        let run = run(&backlog(50, &format!("{FREE}, startDelay: {seconds}s")));
        assert_eq!(first(&run), "start-up and latency", "{seconds} s");
        near(throughput(&run), 50.0 / f64::from(seconds), 0.02);
    }
}

/// With an API server and etcd that cost nothing but what a case sets; `vm` has one core, `big` has 64.
fn served(more: &str) -> Plan {
    let mut plan = plan(&format!(
        "{ROOM}\nhosts: {{vm: {{cores: 1}}, big: {{cores: 64}}}}\ncontrolPlane: {{apiServer: {{profile: apiserver-1.36, host: big}}, etcd: {{profile: etcd-3.6, host: big}}}}\n{more}"
    ));
    if let Some(server) = &mut plan.api_server {
        let costs = |place: &podpace::scenario::plan::Placement| -> Vec<String> {
            place.profile.costs().map(|(name, _)| name.to_owned()).collect()
        };
        for name in costs(&server.server) {
            server.server.profile.set_cost_ps(&name, 0);
        }
        for name in costs(&server.etcd) {
            server.etcd.profile.set_cost_ps(&name, 0);
        }
        server.etcd_settings = EtcdSettings { fsync: Some((1000, 1000)), members: 1, peer_rtt_ns: 0 };
    }
    plan
}

fn served_backlog(pods: u32, scheduler: &str) -> Plan {
    served(&format!(
        "scheduler: {{kind: first-fit{scheduler}}}\nworkload: {{start: backlog, pods: [{{count: {pods}, requests: {{cpu: 1}}}}]}}"
    ))
}

fn set_server(plan: &mut Plan, operation: &str, ps: u64) {
    plan.api_server.as_mut().unwrap().server.profile.set_cost_ps(operation, ps);
}

#[test]
fn a_shared_host() {
    for share in [2u64, 3, 4] {
        let mut plan = served_backlog(200, &format!(", host: vm{FREE}"));
        plan.api_server.as_mut().unwrap().server.host = plan.scheduler.place.host;
        // A scheduling cycle, and a binding as long as so many of them, on one core.
        plan.scheduler.place.profile.set_cost_ps("cycle", 5 * MS);
        set_server(&mut plan, "bind", 5 * share * MS);
        let run = run(&plan);
        assert_eq!(first(&run), "CPU of host vm", "{share}");
        near(throughput(&run), 1000.0 / (5 * (share + 1)) as f64, 0.1);
    }
}

#[test]
fn seats_alone() {
    // A binding holds its seats for 100 ms of CPU on a host with cores to spare. The reference scheduler is a service account:
    // level workload-low, 100 of 245 shares; watched writes take more seats than one for a moment, so that the rate is bracketed.
    for total in [20u32, 40, 80] {
        let mut plan = served_backlog(300, FREE);
        let server = plan.api_server.as_mut().unwrap();
        (server.max_requests_inflight, server.max_mutating_requests_inflight) = (total, total);
        set_server(&mut plan, "bind", 100 * MS);
        plan.hosts[1].cores = 1000;
        let run = run(&plan);
        let named = first(&run);
        assert!(named.starts_with("seats of level ") || named == "back-off after 429", "{named}");
        assert!(throughput(&run) < f64::from(2 * total) * 10.0);
    }
}

/// A closed loop of creations, and a disk that takes `ms`.
fn looped(concurrency: u32, ms: u64) -> Plan {
    let mut plan = served(&format!(
        "scheduler: {{kind: first-fit{FREE}}}\nworkload: {{client: {{concurrency: {concurrency}}}, pods: [{{count: 200, requests: {{cpu: 1}}}}]}}"
    ));
    plan.api_server.as_mut().unwrap().etcd_settings.fsync = Some((ms * 1_000_000, ms * 1_000_000));
    plan
}

#[test]
fn etcds_sync_alone() {
    // One creation at a time, each a sync of its own. Its binding follows a sync later and shares the next one's.
    for ms in [5, 10, 20, 50] {
        let run = run(&looped(1, ms));
        assert_eq!(first(&run), "etcd sync", "{ms} ms");
        let rate = throughput(&run) * ms as f64 / 1000.0;
        // A creation that comes while the binding before it syncs waits for that sync, too: one or two syncs a pod.
        assert!((0.5..=1.01).contains(&rate), "{rate}");
    }
}

#[test]
fn tls_handshakes_alone() {
    // One stream a connection, and a handshake of 20 ms on the server's one core: a binding a handshake.
    for ms in [5, 10, 20] {
        let mut plan = served_backlog(100, FREE);
        let server = plan.api_server.as_mut().unwrap();
        server.max_streams_per_connection = 1;
        server.server.host = Some(0);
        // Bindings hold their streams for as long as all dials take.
        server.etcd_settings.fsync = Some((30_000_000_000, 30_000_000_000));
        set_server(&mut plan, "tls_handshake", ms * MS);
        plan.hosts[0].cores = 1;
        let run = run(&plan);
        let path = bottleneck(&run).shares;
        let handshakes = path.iter().find(|(limit, _)| limit.name() == "connections (TLS handshakes)");
        // 99 of 100 bindings have to dial.
        near(handshakes.expect("handshakes hold it up").1 as f64 / 1e6, 99.0 * ms as f64, 0.05);
    }
}

#[test]
fn a_binding_that_was_stored_too_late_for_its_client_is_not_stored_twice() {
    // The disk takes as long as a request may (60 s): answers come too late, pods are scheduled again, and the API server refuses to bind
    // what it has bound (409 Conflict).
    let mut plan = served_backlog(100, FREE);
    let server = plan.api_server.as_mut().unwrap();
    server.max_streams_per_connection = 1;
    server.etcd_settings.fsync = Some((60_000_000_000, 60_000_000_000));
    set_server(&mut plan, "tls_handshake", 5 * MS);
    assert_eq!(run(&plan).counts.bound, 100);
}

#[test]
fn start_up_on_nodes_alone() {
    for (p50, kind) in [("5s", "hollow"), ("20s", "kubelet")] {
        let run = run(&plan(&format!(
            "{ROOM}\ncontrolPlane: {{nodeLifecycle: {{kind: {kind}, startLatency: {{fixed: {p50}}}}}}}\nscheduler: {{kind: first-fit{FREE}}}\n\
             workload: {{start: backlog, pods: [{{count: 100, requests: {{cpu: 1}}}}]}}\nstop: {{when: allRunning}}"
        )));
        assert_eq!(first(&run), "node start-up", "{p50}");
        let seconds: f64 = p50.trim_end_matches('s').parse().unwrap();
        near(report::metrics(&run).get("started.last_s").unwrap(), seconds, 0.02);
    }
}

#[test]
fn agents_that_wait_for_tokens() {
    for qps in [10, 40] {
        let mut plan = plan(&format!(
            "{ROOM}\ncontrolPlane: {{nodeLifecycle: {{kind: hollow, startLatency: {{fixed: 1ms}}}}}}\nscheduler: {{kind: first-fit{FREE}}}\n\
             workload: {{start: backlog, pods: [{{count: 200, requests: {{cpu: 1}}}}]}}\nstop: {{when: allRunning}}"
        ));
        plan.agents.client = ClientLimits { qps_milli: qps * 1000, burst: 1 };
        let run = run(&plan);
        assert_eq!(first(&run), "node agents' workers", "qps {qps}");
        near(report::metrics(&run).get("throughput.started.mean").unwrap(), qps as f64, 0.02);
    }
}

#[test]
fn back_off_of_unschedulable_pods() {
    // Pods that fit nowhere wait for the cluster to change: capacity. Once nodes are free and pods still wait for the end of their
    // back-off, it is the back-off. kube-scheduler pops pods from it when it has nothing else to do since 1.33
    // (SchedulerPopFromBackoffQ), so there it limits nothing.
    for (profile, waits) in [("kube-scheduler-1.20", true), ("kube-scheduler-1.36", false)] {
        let run = run(&plan(&format!(
            "cluster: {{nodes: [{{count: 1, template: {{allocatable: {{cpu: 4, memory: 64Gi, pods: 500}}}}}}]}}\n\
             scheduler: {{kind: kube-scheduler, profile: {profile}, client: {{qps: 1000, burst: 1000}}}}\n\
             workload: {{pods: [{{count: 40, requests: {{cpu: 1}}, runTime: {{fixed: 1s}}}}], arrivals: {{process: constant, rate: 100}}}}"
        )));
        let shares = bottleneck(&run).shares;
        let share = |station| {
            shares.iter().find(|(limit, _)| *limit == Limit::Station(station)).map_or(0, |(_, ns)| *ns)
        };
        let (capacity, backoff) = (share(Station::Capacity), share(Station::Backoff));
        let total: u64 = shares.iter().map(|(_, ns)| ns).sum();
        assert_eq!(backoff * 10 > total, waits, "{profile}: {shares:?}");
        assert!(capacity > 0 && (capacity + backoff) * 10 >= total * 8, "{profile}: {shares:?}");
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

/// Sensitivities of a scenario with a scheduler of so many cycles a second.
fn explained(more: &str, pairs: u64) -> Sensitivities {
    let options = Options { pairs, drawn: false };
    sensitivities(&spec(more), &Environment::built_in(), options, |_| (), &|| ()).unwrap()
}

fn elasticity(s: &Sensitivities, limit: &str) -> f64 {
    s.limits.iter().find(|r| r.limit == limit).unwrap_or_else(|| panic!("no {limit}")).elasticity
}

/// A cycle that costs 10 ms: 1 ms on a host of a tenth of the speed.
fn slow_thread(client: &str, workload: &str) -> String {
    format!(
        "{ROOM}\nhosts: {{vm: {{cores: 1, speed: 0.002}}}}\nscheduler: {{kind: first-fit, host: vm, client: {client}}}\nworkload: {workload}"
    )
}

#[test]
fn elasticities_are_what_the_closed_form_says() {
    // Bucket alone: throughput is n qps / (n - burst).
    let s = explained(
        &format!(
            "{ROOM}\nscheduler: {{kind: first-fit, client: {{qps: 20, burst: 10}}}}\nworkload: {{start: backlog, pods: [{{count: 400, requests: {{cpu: 1}}}}]}}"
        ),
        1,
    );
    assert!((elasticity(&s, "scheduler.client.qps") - 1.0).abs() < 0.02);
    assert!((elasticity(&s, "scheduler.client.burst") - 10.0 / 390.0).abs() < 0.02);
    assert!(elasticity(&s, "speed of the scheduler").abs() < 0.02);
    let first = &s.limits[0];
    assert!((first.change - 0.1).abs() < 0.002, "{first:?}");
}

#[test]
fn the_next_limit_takes_over_where_the_two_meet() {
    // How much the thread carries is measured with the bucket open.
    let pods = "{start: backlog, pods: [{count: 300, requests: {cpu: 1}}]}";
    let open = spec(&slow_thread("{qps: 100000, burst: 100000}", pods));
    let thread = throughput(&run(&open.plan(&Environment::built_in()).map_err(|e| e.to_string()).unwrap()));
    for part in [0.2, 0.5, 0.8] {
        // A thousandth of a token is what a client's limit can be.
        let qps = (thread * part * 1000.0).round() / 1000.0;
        let s = explained(&slow_thread(&format!("{{qps: {qps}, burst: 1}}"), pods), 1);
        let over = s.take_over.expect("the bucket is worth raising");
        assert_eq!(over.raised, "scheduler.client.qps");
        assert_eq!(over.next.as_deref(), Some(THREAD));
        near(over.at.expect("it takes over"), thread, 0.02);
        near(over.throughput, thread, 0.02);
    }
    // Arrivals below what the thread carries.
    let s = explained(
        &slow_thread(
            "{qps: 100000, burst: 100000}",
            &format!(
                "{{pods: [{{count: 2000, requests: {{cpu: 1}}}}], arrivals: {{process: constant, rate: {:.3}}}}}",
                thread / 3.0
            ),
        ),
        1,
    );
    let over = s.take_over.expect("arrivals are worth raising");
    assert_eq!((over.raised.as_str(), over.next.as_deref()), ("arrival rate", Some(THREAD)));
    near(over.at.unwrap(), thread, 0.03);
    // A thread, and a bucket at three times its rate.
    let s = explained(&slow_thread(&format!("{{qps: {:.3}, burst: 1}}", thread * 3.0), pods), 1);
    let over = s.take_over.expect("the thread is worth raising");
    assert_eq!((over.raised.as_str(), over.next.as_deref()), ("speed of the scheduler", Some(TOKENS)));
    near(over.at.unwrap(), 3.0, 0.03);
}

#[test]
fn sensitivities_agree_with_other_runs() {
    // Reruns of the scenario itself with a field 10 % higher and other seeds: the ratio of their mean throughputs.
    let more = |qps: u32, rate: f64| {
        format!(
            "{ROOM}\nhosts: {{vm: {{cores: 2, speed: 0.05}}}}\n\
             controlPlane: {{apiServer: {{profile: apiserver-1.36, host: vm}}, etcd: {{profile: etcd-3.6, host: vm}}}}\n\
             scheduler: {{kind: kube-scheduler, host: vm, client: {{qps: {qps}, burst: 10}}}}\n\
             workload: {{pods: [{{count: 250, requests: {{cpu: 1}}}}], arrivals: {{process: poisson, rate: {rate:.3}}}}}"
        )
    };
    let mean = |text: &str| {
        let spec = spec(text);
        let runs = spec
            .seeds(30)
            .skip(10)
            .map(|s| throughput(&run(&s.plan(&Environment::built_in()).map_err(|e| e.to_string()).unwrap())));
        runs.sum::<f64>() / 20.0
    };
    // Bound by tokens; by arrivals; by both and the processor.
    for (qps, rate) in [(20, 200.0), (500, 10.0), (30, 33.0)] {
        let s = explained(&more(qps, rate), 10);
        for (limit, raised) in
            [("scheduler.client.qps", more(qps * 11 / 10, rate)), ("arrival rate", more(qps, rate * 1.1))]
        {
            let row = s.limits.iter().find(|r| r.limit == limit).unwrap();
            let brute = mean(&raised) / mean(&more(qps, rate)) - 1.0;
            assert!(
                (row.change - brute).abs() <= 0.02,
                "qps {qps}, rate {rate}, {limit}: {} and {brute}",
                row.change
            );
        }
    }
}
