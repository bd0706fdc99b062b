//! Faults of the control plane: servers that are away or slow, components that end, watches that break.
//!
//! Each test states the rule and where the real system has it.
use podpace::experiment::run::Completed;

use crate::support::{self, only, scenario};

fn run(text: &str) -> Completed {
    support::run(&scenario("servers", text))
}

/// 6,000 pods, 10 a second, for 10 minutes; each runs to the end.
fn steady(scheduler: &str, faults: &str) -> String {
    format!(
        "cluster: {{nodes: [{{count: 60, zones: 3, template: {{allocatable: {{cpu: 64, memory: 256Gi, pods: 250}}}}}}]}}
controlPlane:
  apiServer: {{profile: apiserver-1.36}}
  etcd: {{members: 3, fsync: {{p50: 1ms, p99: 4ms}}}}
  nodeLifecycle: {{kind: kubelet, startLatency: 1s}}
scheduler: {{kind: {scheduler}}}
workload: {{pods: [{{count: 6000, apps: 10, requests: {{cpu: 100m, memory: 100Mi}}}}], arrivals: {{process: constant, rate: 10}}}}
faults: [{faults}]
stop: {{when: allRunning, limit: 1h}}
"
    )
}

/// Times of binding, s, ascending. All pods are bound but those that YuniKorn gave up: its shim does not try a binding
/// again (`postTaskAllocated` of `pkg/cache/task.go` fails the task).
fn bindings(completed: &Completed) -> Vec<f64> {
    let run = &completed.finished;
    let mut times: Vec<u64> = (0..6000).map(|pod| run.cluster.pods.timeline(pod).bound_ns).collect();
    times.retain(|ns| *ns != u64::MAX);
    times.sort_unstable();
    assert_eq!(times.len() as u64 + run.counts.failed, 6000);
    times.into_iter().map(|ns| ns as f64 / 1e9).collect()
}

/// The longest span from `from` to `to` in which no pod was bound: when it began, and how long it was, s.
fn pause(bindings: &[f64]) -> (f64, f64) {
    let spans = bindings.windows(2).map(|pair| (pair[0], pair[1] - pair[0]));
    spans.fold((0.0, 0.0), |longest, span| if span.1 > longest.1 { span } else { longest })
}

/// While the API server is away nothing is bound; a process that does not need its lease goes on as soon as its watch
/// stands again (0.8 s, doubled, `reflector.go`), and nothing is lost.
#[test]
fn a_short_restart_of_the_api_server_is_a_pause() {
    for scheduler in ["kube-scheduler", "yunikorn", "first-fit"] {
        let completed = run(&steady(scheduler, "{kind: apiServerRestart, at: 5m, duration: 6s}"));
        let (at, span) = pause(&bindings(&completed));
        let given_up = completed.finished.counts.failed;
        assert!(
            given_up == 0 || scheduler == "yunikorn" && given_up < 10,
            "{scheduler}: {given_up} given up"
        );
        assert!((299.0..300.5).contains(&at), "{scheduler}: from {at}");
        assert!((6.0..20.0).contains(&span), "{scheduler}: {span}");
        let fault = only(&completed);
        assert!(fault.bound_again_after_s.unwrap() >= 6.0);
        assert_eq!(fault.pods_lost, 0);
    }
}

/// `RenewDeadline` is 10 s: a leader that can't renew its lease for so long ends; the lease is over 15 s
/// (`LeaseDuration`) after the successor has seen it last, and it tries every 2 s, lengthened by up to 1.2 times as much
/// (`leaderelection.go`, `JitterFactor`). Without leader election the process stays and goes on at once.
#[test]
fn a_long_outage_costs_the_leader_its_lease() {
    let span = |more: &str| {
        let fault = format!("{{kind: apiServerRestart, at: 5m, duration: 30s{more}}}");
        let completed = run(&steady("kube-scheduler", &fault));
        (pause(&bindings(&completed)).1, only(&completed).next_bound_after_s.unwrap())
    };
    let (elected, reported) = span("");
    assert!((45.0..60.0).contains(&elected), "{elected}");
    assert!((reported - elected).abs() < 1.0, "{reported} {elected}");
    let (alone, _) = span(", leaderElection: false");
    assert!(alone > 30.0 && alone < 75.0, "{alone}");
}

/// An etcd without a leader refuses writes; the API server answers with errors, and clients try again. A follower calls
/// an election when it has heard nothing for 1 to 2 s (`randomizedElectionTimeout`).
#[test]
fn etcd_elects_a_leader_and_nothing_is_lost() {
    let completed = run(&steady("kube-scheduler", "{kind: etcdLeaderChange, at: 5m}"));
    let (at, span) = pause(&bindings(&completed));
    assert!((299.0..301.0).contains(&at) && (1.0..4.0).contains(&span), "{at} {span}");
    let completed = run(&steady("kube-scheduler", "{kind: etcdOutage, at: 5m, duration: 8s}"));
    let (at, span) = pause(&bindings(&completed));
    assert!((299.0..301.0).contains(&at) && (8.0..20.0).contains(&span), "{at} {span}");
}

/// What a server had handed to etcd when its process ended is stored all the same, once, even if the next server ends
/// before etcd's disk has answered.
#[test]
fn a_server_that_ends_twice_while_etcd_writes_loses_nothing() {
    let faults = "{kind: etcdSlow, at: 299s, factor: 1000, duration: 20s}, \
        {kind: apiServerRestart, at: 5m, duration: 1s}, {kind: apiServerRestart, at: 5m2s, duration: 1s}";
    let completed = run(&steady("kube-scheduler", faults));
    assert_eq!(bindings(&completed).len(), 6000);
    assert_eq!(completed.finished.counts.failed, 0);
}

/// Every write waits for etcd's disk. 1 ms at the median, 300 times as long: a third of a second and more a write.
#[test]
fn a_slow_disk_delays_every_binding() {
    let latency = |fault: &str| {
        let completed = run(&steady("kube-scheduler", fault));
        let pods = &completed.finished.cluster.pods;
        let spans: Vec<u64> =
            (3300..3900).map(|pod| pods.timeline(pod).bound_ns - pods.timeline(pod).bind_sent_ns).collect();
        spans.iter().sum::<u64>() as f64 / spans.len() as f64 / 1e9
    };
    let well = latency("{kind: etcdSlow, at: 9m, factor: 300, duration: 1m}");
    let slow = latency("{kind: etcdSlow, at: 5m, factor: 300, duration: 2m}");
    assert!(well < 0.05, "{well}");
    assert!(slow > 0.3 && slow < 1.5, "{slow}");
}

/// A server whose work takes so long that it can't keep up answers late, and is itself again when the fault is over.
#[test]
fn a_slow_api_server_is_slow_only_while_it_is() {
    let completed = run(&steady("kube-scheduler", "{kind: apiServerSlow, at: 5m, factor: 20, duration: 1m}"));
    let pods = &completed.finished.cluster.pods;
    let latency = |from: u32, to: u32| {
        let spans = (from..to).map(|pod| pods.timeline(pod).bound_ns - pods.timeline(pod).created_ns);
        spans.sum::<u64>() as f64 / f64::from(to - from) / 1e9
    };
    let (before, during, after) = (latency(2000, 2900), latency(3100, 3500), latency(5000, 5900));
    assert!(during > 3.0 * before, "{before} {during}");
    assert!(after < 1.5 * before, "{before} {after}");
}

/// A new process lists all nodes and pods, and knows what is bound; a standby has seen them already, and waits for the
/// lease.
#[test]
fn a_scheduler_that_restarts_knows_what_is_bound() {
    for scheduler in ["kube-scheduler", "yunikorn", "first-fit"] {
        let completed = run(&steady(scheduler, "{kind: schedulerRestart, at: 5m, duration: 2s}"));
        let (at, span) = pause(&bindings(&completed));
        let given_up = completed.finished.counts.failed;
        assert!(
            given_up == 0 || scheduler == "yunikorn" && given_up < 10,
            "{scheduler}: {given_up} given up"
        );
        assert!((299.0..300.5).contains(&at), "{scheduler}: from {at}");
        assert!((2.0..20.0).contains(&span), "{scheduler}: {span}");
    }
    let completed = run(&steady("kube-scheduler", "{kind: schedulerLeaderChange, at: 5m}"));
    let (_, span) = pause(&bindings(&completed));
    // 15 s since the last renewal, at most 2 s old, and up to 4.4 s to the standby's next try.
    assert!((12.9..20.0).contains(&span), "{span}");
}

/// While the controller manager is away nobody replaces pods that fail.
#[test]
fn a_controller_manager_that_is_replaced_makes_what_is_missing() {
    let text = steady(
        "kube-scheduler",
        "{kind: controllerManagerLeaderChange, at: 8m, duration: 1m}, {kind: podFailure, at: 8m10s, pods: {count: 20}}",
    );
    let workload = "workload: {deployments: [{count: 4, replicas: 25, requests: {cpu: 100m}}]}";
    let text: Vec<&str> =
        text.lines().map(|line| if line.starts_with("workload") { workload } else { line }).collect();
    let completed = run(&text.join("\n"));
    let faults = &completed.summary.faults;
    assert_eq!(faults[1].pods_lost, 20);
    let again = faults[1].bound_again_after_s.unwrap();
    assert!((50.0..60.0).contains(&again), "{again}");
}

/// A watch that is cut off for less than the watch cache keeps (75 s, `eventFreshDuration`) goes on where it stopped;
/// one that is cut off longer lists everything.
#[test]
fn a_watch_that_was_away_for_long_lists_everything() {
    let lists = |duration: &str| {
        let fault = format!("{{kind: watchDisconnect, at: 5m, watchers: [scheduler], duration: {duration}}}");
        let completed = run(&steady("kube-scheduler", &fault));
        (completed.finished.control_plane.watch_counts(), pause(&bindings(&completed)).1)
    };
    let ((none, once), short) = lists("10s");
    assert_eq!((none, once), (0, 1));
    assert!((9.0..45.0).contains(&short), "{short}");
    // Pods and nodes.
    let ((two, _), long) = lists("2m");
    assert_eq!(two, 2);
    assert!((119.0..185.0).contains(&long), "{long}");
}

/// Kubelets list what is theirs, each for itself: a restart of the API server is followed by a storm.
#[test]
fn all_kubelets_list_after_a_restart_of_the_api_server() {
    let completed = run(&steady("kube-scheduler", "{kind: apiServerRestart, at: 5m, duration: 5s}"));
    let (lists, _) = completed.finished.control_plane.watch_counts();
    // 60 kubelets; pods and nodes for the scheduler and for the controller manager; pods for the load client.
    assert!((62..=65).contains(&lists), "{lists}");
}
