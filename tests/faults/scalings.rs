//! Changes of `replicas`: which pods come and go, in which order, and what is said to wrong ones.
//!
//! Rules are those of k/k `pkg/controller/{deployment/sync,controller_utils,replicaset/replica_set,statefulset/stateful_set_control}.go` and of their tests; the tables of
//! `sync_test.go` and `controller_utils_test.go` are beside the controller.
use std::collections::BTreeMap;

use podpace::cluster::{NO_NODE, PodId, Stage, Timeline};
use podpace::engine::Streams;
use podpace::experiment::run::Completed;
use podpace::experiment::simulation::Ended;

use crate::support::{SECOND, assert_goes_on, assert_page, count, message, metric, plan, run};

fn text(workload: &str, faults: &str) -> String {
    format!(
        "apiVersion: podpace/v1
kind: Scenario
name: scalings
cluster: {{nodes: [{{count: 12, zones: 3, template: {{allocatable: {{cpu: 8, memory: 32Gi, pods: 110}}}}}}]}}
controlPlane: {{apiServer: {{profile: apiserver-1.36}}, nodeLifecycle: {{kind: kubelet, startLatency: {{min: 1s, max: 3s}}}}}}
scheduler: {{kind: kube-scheduler}}
workload: {{{workload}}}
faults: [{faults}]
stop: {{when: allRunning, limit: 1h}}
"
    )
}

fn web(replicas: u64, faults: &str) -> String {
    text(&format!("deployments: [{{name: web, replicas: {replicas}, requests: {{cpu: 500m}}}}]"), faults)
}

fn db(replicas: u64, policy: &str, faults: &str) -> String {
    let set =
        format!("name: db, replicas: {replicas}, podManagementPolicy: {policy}, requests: {{cpu: 500m}}");
    text(&format!("statefulSets: [{{{set}}}]"), faults)
}

fn times(completed: &Completed) -> Vec<Timeline> {
    let pods = &completed.finished.cluster.pods;
    (0..pods.len() as PodId).map(|pod| *pods.timeline(pod)).collect()
}

fn running(completed: &Completed) -> usize {
    let pods = &completed.finished.cluster.pods;
    (0..pods.len() as PodId).filter(|pod| pods.stage(*pod) == Stage::Running).count()
}

/// Pods of the run's end: stored, and nobody deletes them.
fn active(completed: &Completed) -> usize {
    let store = completed.finished.control_plane.store();
    (0..completed.finished.cluster.pods.len() as PodId).filter(|pod| store.is_active(*pod)).count()
}

/// A ReplicaSet makes what is missing with slow start: 180 pods take 9 s but for a burst of 30 at 20 a second.
#[test]
fn more_replicas_are_made_as_fast_as_the_controller_may() {
    for scheduler in ["kube-scheduler", "yunikorn", "volcano", "first-fit"] {
        let text = web(10, "{kind: scale, at: 2m, deployment: web, replicas: 190}")
            .replace("kind: kube-scheduler", &format!("kind: {scheduler}"));
        let completed = run(&text);
        assert_eq!((completed.finished.ended, running(&completed)), (Ended::Done, 190), "{scheduler}");
        let mut made: Vec<u64> = times(&completed)[10..].iter().map(|t| t.created_ns).collect();
        made.sort_unstable();
        assert!(made[0] >= 120 * SECOND, "{scheduler}");
        let took = made[179] - made[0];
        assert!((7 * SECOND..9 * SECOND).contains(&took), "{scheduler}: {took}");
        // One, then two, then four: each batch waits for the one before.
        assert!(made[0] < made[1] && made[2] < made[3] && made[6] < made[7], "{scheduler}: {made:?}");
        assert_eq!((count(&completed, "scalings.completed"), count(&completed, "pods.total")), (1, 190));
        assert_eq!((count(&completed, "pods.replaced"), count(&completed, "pods.abandoned")), (0, 0));
        let seconds = metric(&completed, "scalings.max_s");
        assert!((8.0..13.0).contains(&seconds), "{scheduler}: {seconds}");
        assert!(!completed.summary.metrics.contains_key("rollouts.completed"));
    }
}

/// `getPodsRankedByRelatedPodsOnSameNode`: pods that share their node go first, whoever of them. 20 pods on 12 nodes: of the 16 that share one 15 go, and no two are left together.
#[test]
fn pods_that_share_a_node_go_first() {
    let completed = run(&web(20, "{kind: scale, at: 2m, deployment: web, replicas: 5}"));
    assert_eq!((completed.finished.ended, active(&completed)), (Ended::Done, 5));
    let (pods, store) = (&completed.finished.cluster.pods, completed.finished.control_plane.store());
    let mut before: BTreeMap<u32, u32> = BTreeMap::new();
    let mut after = before.clone();
    for pod in 0..20 {
        *before.entry(pods.node(pod)).or_default() += 1;
        *after.entry(pods.node(pod)).or_default() += u32::from(store.is_active(pod));
    }
    assert!(before.values().all(|pods| (1..=2).contains(pods)), "kube-scheduler spreads them: {before:?}");
    assert!(after.values().all(|pods| *pods <= 1), "{after:?}");
    let alone: Vec<u32> = before.iter().filter(|(_, pods)| **pods == 1).map(|(node, _)| *node).collect();
    assert!(alone.len() == 4 && alone.iter().all(|node| after[node] == 1), "{after:?}");
    assert_eq!((count(&completed, "scalings.completed"), count(&completed, "pods.abandoned")), (1, 0));
}

/// Unassigned before assigned: of 250 pods 192 have room. Those that wait go before any other.
#[test]
fn pods_that_wait_go_first() {
    let faults = "{kind: scale, at: 2m, deployment: web, replicas: 250}, {kind: scale, at: 4m, deployment: web, replicas: 180}";
    let text = web(20, faults).replace("{when: allRunning, limit: 1h}", "{when: time, limit: 6m}");
    let completed = run(&text);
    let pods = &completed.finished.cluster.pods;
    let over = (0..pods.len() as PodId).filter(|pod| pods.stage(*pod) == Stage::Finished);
    let (bound, waiting): (Vec<_>, Vec<_>) = over.partition(|pod| pods.node(*pod) != NO_NODE);
    assert_eq!((waiting.len(), bound.len(), active(&completed)), (250 - 192, 192 - 180, 180));
    let metrics = ["scalings.completed", "scalings.superseded", "scalings.not_completed"];
    assert_eq!(metrics.map(|name| count(&completed, name)), [1, 1, 0], "the first had no room");
    // Without the second the run says that it goes no further.
    let stuck = run(&web(20, "{kind: scale, at: 2m, deployment: web, replicas: 250}"));
    assert_eq!((stuck.finished.ended, count(&stuck, "scalings.not_completed")), (Ended::Stalled, 1));
}

/// To nothing, and from nothing again.
#[test]
fn no_replicas_at_all() {
    let faults = |what: &str| {
        format!("{{kind: scale, at: 2m, {what}, replicas: 0}}, {{kind: scale, at: 4m, {what}, replicas: 7}}")
    };
    for strategy in ["", ", strategy: {type: Recreate}"] {
        let text = web(20, &faults("deployment: web")).replace("500m}", &format!("500m}}{strategy}"));
        let completed = run(&text);
        assert_eq!((completed.finished.ended, running(&completed)), (Ended::Done, 7), "{strategy}");
        assert_eq!((count(&completed, "scalings.completed"), count(&completed, "pods.total")), (2, 27));
    }
    for policy in ["OrderedReady", "Parallel"] {
        let completed = run(&db(5, policy, &faults("statefulSet: db")));
        assert_eq!((completed.finished.ended, running(&completed)), (Ended::Done, 7), "{policy}");
        assert_eq!((count(&completed, "scalings.completed"), count(&completed, "pods.total")), (2, 12));
        assert_eq!(count(&completed, "pods.replaced"), 0, "{policy}: they are others");
    }
    let only_down = run(&web(20, "{kind: scale, at: 2m, deployment: web, replicas: 0}"));
    assert_eq!((only_down.finished.ended, active(&only_down)), (Ended::Done, 0));
}

/// What has not been made when the size shrinks is never made.
#[test]
fn a_scaling_while_the_first_pods_are_made() {
    for (at, replicas) in [("4s", 50), ("4s", 600), ("50ms", 3)] {
        for stop in ["allRunning", "allBound"] {
            let text = web(400, &format!("{{kind: scale, at: {at}, deployment: web, replicas: {replicas}}}"))
                .replace("cpu: 500m", "cpu: 100m")
                .replace("allRunning", stop);
            let completed = run(&text);
            assert_eq!((completed.finished.ended, active(&completed)), (Ended::Done, replicas), "{text}");
            assert_eq!(count(&completed, "scalings.completed"), 1, "{text}");
        }
    }
    let completed = run(&db(30, "OrderedReady", "{kind: scale, at: 10s, statefulSet: db, replicas: 3}"));
    assert_eq!((completed.finished.ended, active(&completed)), (Ended::Done, 3));
}

/// `isScalingEvent` comes before a rollout's next step, which then is of the new size: at most its surge beyond the larger size, all pods of the new template in the end.
#[test]
fn a_scaling_during_a_rollout() {
    for strategy in
        ["", ", strategy: {rollingUpdate: {maxSurge: 2, maxUnavailable: 0}}", ", strategy: {type: Recreate}"]
    {
        for replicas in [8, 20, 44] {
            for at in ["121s", "124s", "127s"] {
                let faults = format!(
                    "{{kind: rollout, at: 2m, deployment: web, template: {{requests: {{cpu: 600m}}}}}}, {{kind: scale, at: {at}, deployment: web, replicas: {replicas}}}"
                );
                let text = web(20, &faults).replace("500m}", &format!("500m}}{strategy}"));
                let completed = run(&text);
                assert_eq!(completed.finished.ended, Ended::Done, "{text}");
                let pods = &completed.finished.cluster.pods;
                let runs = |pod: &PodId| pods.stage(*pod) == Stage::Running;
                let of = |pod: PodId| pods.spec(pod).requests.cpu_millicores;
                let cpu: Vec<u64> = (0..pods.len() as PodId).filter(runs).map(of).collect();
                let done = ["rollouts.completed", "scalings.completed"].map(|name| count(&completed, name));
                assert_eq!((cpu, done), (vec![600; replicas], [1, 1]), "{text}");
            }
        }
    }
}

/// "The StatefulSet controller creates one Pod at a time, each when the one before it is Running and Ready, and deletes one at a time in reverse order": `newStatefulSet`'s
/// scale-up and scale-down of `stateful_set_control_test.go` (`ScalesUp`, `ScalesDown`).
#[test]
fn ordered_places_come_and_go_one_by_one() {
    let faults = "{kind: scale, at: 2m, statefulSet: db, replicas: 6}, {kind: scale, at: 4m, statefulSet: db, replicas: 2}";
    let completed = run(&db(3, "OrderedReady", faults));
    assert_eq!((completed.finished.ended, active(&completed)), (Ended::Done, 2));
    let times = times(&completed);
    assert_eq!(times.len(), 6);
    for place in 3..6 {
        assert!(times[place].created_ns > times[place - 1].running_ns.max(120 * SECOND), "{place}");
    }
    for place in 2..5 {
        assert!(times[place].finished_ns > times[place + 1].finished_ns.max(240 * SECOND), "{place}");
    }
    assert_eq!((count(&completed, "scalings.completed"), count(&completed, "pods.replaced")), (2, 0));
    assert!(times[..2].iter().all(|t| t.finished_ns == u64::MAX));
}

/// "Parallel .. does not wait for Pods to become Running and Ready or completely terminated": all that are missing, and all that are too many, in batches of 1, 2, 4, ..
#[test]
fn parallel_places_come_and_go_at_once() {
    let faults = "{kind: scale, at: 2m, statefulSet: db, replicas: 18}, {kind: scale, at: 4m, statefulSet: db, replicas: 3}";
    let completed = run(&db(3, "Parallel", faults));
    assert_eq!((completed.finished.ended, active(&completed)), (Ended::Done, 3));
    let times = times(&completed);
    let ran = times[3..].iter().map(|t| t.running_ns).min().unwrap();
    assert!(times[3..].iter().all(|t| (120 * SECOND..ran).contains(&t.created_ns)), "{times:?}");
    assert!(times[..3].iter().all(|t| t.finished_ns == u64::MAX), "the first ones stay");
    let gone: Vec<u64> = times[3..].iter().map(|t| t.finished_ns).collect();
    assert!(gone.iter().all(|ns| (240 * SECOND..242 * SECOND).contains(ns)), "{gone:?}");
    assert_eq!(count(&completed, "scalings.completed"), 2);
}

/// `processCondemned`: in order no pod goes while one that stays is not ready. Here its node is dead; in parallel nobody waits.
#[test]
fn an_ordered_set_waits_for_those_that_stay() {
    let faults = "{kind: nodeFailure, at: 2m, nodes: {labels: {first: \"1\"}}}, {kind: scale, at: 10m, statefulSet: db, replicas: 2}";
    for (policy, left, ended) in [("OrderedReady", 4, Ended::Limit), ("Parallel", 2, Ended::Limit)] {
        // The first place's node is the only one that the pod may be on at first.
        let text = db(4, policy, faults)
            .replace(
                "nodes: [{count: 12, zones: 3, template: {",
                "nodes: [{count: 1, name: first, template: {labels: {first: \"1\"}, allocatable: {cpu: 500m, memory: 32Gi, pods: 110}}}, {count: 3, template: {",
            )
            .replace("{when: allRunning, limit: 1h}", "{when: time, limit: 40m}");
        let completed = run(&text);
        let (pods, store) = (&completed.finished.cluster.pods, completed.finished.control_plane.store());
        let on_first = (0..4).filter(|pod| pods.node(*pod) == 0).collect::<Vec<PodId>>();
        let there = (0..pods.len() as PodId).filter(|pod| store.exists(*pod)).count();
        let [first] = on_first[..] else { panic!("{on_first:?} on a node for one") };
        // If it is the first or second place, it stays, and holds the others up.
        if first < 2 || policy == "Parallel" {
            assert_eq!(
                (there, completed.finished.ended),
                (left.max(usize::from(first >= 2) + 2), ended),
                "{policy} {first}"
            );
        }
    }
}

/// The disruption controller reads the new size: of 40 pods of which 38 have to be there two may go.
#[test]
fn budgets_know_the_new_size() {
    let of = |replicas: u64, then: u64, what: &str, workload: &str| {
        let faults = format!(
            "{{kind: scale, at: 2m, {what}, replicas: {then}}}, {{kind: drain, at: 5m, nodes: {{count: 1}}, duration: 10s}}"
        );
        let budget = "podDisruptionBudgets: [{selector: {matchLabels: {app: it}}, maxUnavailable: 2}]";
        let text = text(
            &format!("{workload}: [{{name: it, replicas: {replicas}, requests: {{cpu: 500m}}}}]"),
            &faults,
        )
        .replace("cluster: {", &format!("cluster: {{{budget}, "))
        .replace("{when: allRunning, limit: 1h}", "{when: time, limit: 10m}");
        run(&text).finished.control_plane.store().disruptions_allowed()
    };
    for (what, workload) in [("deployment: it", "deployments"), ("statefulSet: it", "statefulSets")] {
        assert_eq!(of(20, 40, what, workload), [2], "{what}");
        assert_eq!(of(20, 10, what, workload), [2], "{what}");
    }
}

/// Whatever goes wrong meanwhile, there are as many pods in the end as there should be.
#[test]
fn faults_do_not_stop_a_scaling() {
    for fault in [
        "{kind: controllerManagerLeaderChange, at: 119s}",
        "{kind: controllerManagerLeaderChange, at: 121s}",
        "{kind: apiServerRestart, at: 121s, duration: 8s}",
        "{kind: etcdOutage, at: 119s, duration: 20s}",
        "{kind: etcdOutage, at: 121s, duration: 20s}",
        "{kind: watchDisconnect, at: 121s, duration: 30s}",
        "{kind: nodeFailure, at: 119s, nodes: {count: 3}, duration: 10m}",
        "{kind: podFailure, every: 5s, from: 110s, to: 170s}",
        "{kind: drain, at: 121s, nodes: {count: 4}}",
        "{kind: schedulerRestart, at: 121s, duration: 10s}",
    ] {
        for replicas in [4, 60] {
            for text in [
                web(20, &format!("{{kind: scale, at: 2m, deployment: web, replicas: {replicas}}}, {fault}")),
                db(
                    20,
                    "Parallel",
                    &format!("{{kind: scale, at: 2m, statefulSet: db, replicas: {replicas}}}, {fault}"),
                ),
                db(
                    20,
                    "OrderedReady",
                    &format!("{{kind: scale, at: 2m, statefulSet: db, replicas: {replicas}}}, {fault}"),
                ),
            ] {
                let text = text.replace("{when: allRunning, limit: 1h}", "{when: time, limit: 40m}");
                // Two failed pods of places that are taken away wait for each other, as the real ones do.
                if fault.contains("podFailure") && text.contains("OrderedReady") && replicas == 4 {
                    continue;
                }
                let completed = run(&text);
                assert_eq!(running(&completed), replicas, "{text}");
                assert_eq!(active(&completed), replicas, "{text}");
                assert_eq!(count(&completed, "scalings.completed"), 1, "{text}");
            }
        }
    }
}

/// Scalings, rollouts and faults at random: three Deployments and two StatefulSets have as many pods as they should have.
#[test]
fn every_object_has_its_size_in_the_end() {
    for seed in 0..40 {
        let mut rng = Streams::new(seed).stream("test");
        let mut pick = |of: &[&'static str]| of[rng.below(of.len() as u64) as usize];
        let mut faults = Vec::new();
        for _ in 0..8 {
            let at = ["2m", "121s", "122s", "125s", "3m", "200s", "4m", "5m", "6m", "7m"];
            let kind = pick(&[
                "scale, deployment: web, replicas: 30",
                "scale, deployment: web, replicas: 4",
                "scale, deployment: web-1, replicas: 0",
                "scale, deployment: web-0, replicas: 55",
                "scale, statefulSet: db, replicas: 12",
                "scale, statefulSet: db, replicas: 1",
                "scale, statefulSet: db-1, replicas: 20",
                "rollout, deployment: web",
                "controllerManagerLeaderChange",
                "podFailure, pods: {labels: {app: web-0}, count: 4}",
                "nodeFlap, duration: 30s, pause: 20s, times: 3",
                "nodeFailure, nodes: {count: 2}, duration: 5m",
                "apiServerRestart, duration: 12s",
                "etcdOutage, duration: 9s",
                "watchDisconnect, duration: 40s",
                "drain, nodes: {count: 2}, duration: 3m",
                "schedulerRestart",
            ]);
            faults.push(format!("{{kind: {kind}, at: {}}}", pick(&at)));
        }
        let last = "{kind: scale, at: 9m, deployment: web, replicas: 11}, {kind: scale, at: 9m, statefulSet: db, replicas: 6}";
        faults.push(last.to_owned());
        let strategy = pick(&[
            "",
            ", minReadySeconds: 4",
            ", strategy: {type: Recreate}",
            ", strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 2}}",
            ", strategy: {rollingUpdate: {maxSurge: 60%, maxUnavailable: 0}}",
        ]);
        let policy = pick(&["OrderedReady", "Parallel"]);
        let scheduler = pick(&["kube-scheduler", "yunikorn", "first-fit"]);
        let workload = format!(
            "deployments: [{{name: web, count: 3, replicas: 20, requests: {{cpu: 200m}}{strategy}}}], statefulSets: [{{name: db, count: 2, replicas: 5, podManagementPolicy: {policy}, requests: {{cpu: 200m}}}}]"
        );
        let text = text(&workload, &faults.join(", "))
            .replace("kind: kube-scheduler", &format!("kind: {scheduler}"))
            .replace("{when: allRunning, limit: 1h}", "{when: time, limit: 60m}");
        let completed = run(&text);
        let (pods, store) = (&completed.finished.cluster.pods, completed.finished.control_plane.store());
        let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
        for pod in (0..pods.len() as PodId).filter(|pod| store.is_active(*pod) && store.is_ready(*pod)) {
            *sizes.entry(&pods.apps()[pods.app_id(pod) as usize].name).or_default() += 1;
        }
        let expected = [("db-0", 6), ("db-1", 6), ("web-0", 11), ("web-1", 11), ("web-2", 11)];
        assert_eq!(sizes, BTreeMap::from(expected), "seed {seed}\n{text}");
        assert_eq!(count(&completed, "scalings.not_completed"), 0, "seed {seed}\n{text}");
    }
}

/// All of a group, one of it, and Deployments that are there before the run.
#[test]
fn a_scaling_is_of_a_group_or_of_one() {
    let of = |what: &str| {
        let workload = "deployments: [{name: web, count: 3, replicas: 5, requests: {cpu: 100m}}], statefulSets: [{count: 2, replicas: 2}]";
        let completed = run(&text(workload, &format!("{{kind: scale, at: 2m, {what}, replicas: 4}}")));
        assert_eq!(completed.finished.ended, Ended::Done);
        (active(&completed), count(&completed, "scalings.completed"))
    };
    assert_eq!(of("deployment: web"), (3 * 4 + 4, 3));
    assert_eq!(of("deployment: web-1"), (15 - 1 + 4, 1));
    assert_eq!(of("statefulSet: statefulset0-1"), (15 + 2 + 4, 1));
    let backlog = web(20, "{kind: scale, at: 2m, deployment: web, replicas: 30}");
    let backlog = run(&backlog.replace("workload: {", "workload: {start: backlog, "));
    assert_eq!((active(&backlog), count(&backlog, "pods.total")), (30, 30));
}

/// A run that pauses and goes on is the one that does not.
#[test]
fn a_run_that_is_saved_goes_on_as_it_would_have() {
    for text in [
        web(
            20,
            "{kind: scale, at: 2m, deployment: web, replicas: 90}, {kind: scale, at: 122s, deployment: web, replicas: 9}",
        ),
        db(
            9,
            "OrderedReady",
            "{kind: scale, at: 2m, statefulSet: db, replicas: 4}, {kind: scale, at: 130s, statefulSet: db, replicas: 8}",
        ),
        db(
            9,
            "Parallel",
            "{kind: scale, at: 2m, statefulSet: db, replicas: 80}, {kind: scale, at: 121s, statefulSet: db, replicas: 8}",
        ),
    ] {
        let text = text.replace("{when: allRunning, limit: 1h}", "{when: time, limit: 4m}");
        let pauses_ms = [60_000, 120_020, 120_500, 121_020, 122_030, 124_000, 131_000];
        assert_goes_on(&plan(&text), pauses_ms.map(|ms| ms * SECOND / 1000));
    }
}

#[test]
fn what_a_reader_sees_of_wrong_scalings() {
    let mut page = String::new();
    let both = "deployments: [{name: web, replicas: 3}], statefulSets: [{name: db, replicas: 3}]";
    for (workload, fault) in [
        (both, "{kind: scale, at: 2m, replicas: 5}"),
        (both, "{kind: scale, at: 2m, deployment: web}"),
        (both, "{kind: scale, at: 2m, deployment: wep, replicas: 5}"),
        (both, "{kind: scale, at: 2m, statefulSet: web, replicas: 5}"),
        (both, "{kind: scale, at: 2m, deployment: web, statefulSet: db, replicas: 5}"),
        (both, "{kind: scale, every: 2m, deployment: web, replicas: 5}"),
        (both, "{kind: scale, at: 2m, deployment: web, replicas: -5}"),
        (both, "{kind: scale, at: 2m, deployment: web, replicas: 5000000000}"),
        (both, "{kind: scale, at: 2m, deployment: web, replicas: 5, template: {}}"),
        (both, "{kind: rollout, at: 2m, deployment: web, replicas: 5}"),
        (both, "{kind: rollout, at: 2m, statefulSet: db}"),
        ("deployments: [{name: web, replicas: 0}]", "{kind: scale, at: 2m, deployment: web, replicas: 5}"),
        (
            "deployments: [{name: web, replicas: 3, runTime: 5m}]",
            "{kind: scale, at: 2m, deployment: web, replicas: 5}",
        ),
        ("pods: [{name: web, count: 3}]", "{kind: scale, at: 2m, statefulSet: web, replicas: 5}"),
        (
            "arrivals: {interval: 1m}, deployments: [{name: web, replicas: 3, count: 4}], statefulSets: [{name: db, replicas: 3}]",
            "{kind: scale, at: 2m, statefulSet: db, replicas: 5}",
        ),
    ] {
        page += &format!("{workload}: {fault}\n{}\n\n", message(&text(workload, fault)));
    }
    let none = web(3, "{kind: scale, at: 2m, deployment: web, replicas: 5}")
        .replace("kind: kubelet, startLatency: {min: 1s, max: 3s}", "kind: none");
    page += &format!("no node agents\n{}\n", message(&none));
    assert_page("scalings", &page);
}

/// Who was to come for pods that are lost can't be told once there are to be fewer: the fault has no times, and the run ends.
#[test]
fn a_scaling_down_during_a_fault_ends_the_wait_for_its_recovery() {
    for faults in [
        "{kind: nodeFailure, at: 2m, nodes: {count: 4}}, {kind: scale, at: 15m, deployment: web, replicas: 100}",
        "{kind: podFailure, at: 2m, pods: {count: 50}}, {kind: scale, at: 121s, deployment: web, replicas: 60}",
    ] {
        let completed = run(&web(180, faults));
        assert!(matches!(completed.finished.ended, Ended::Done), "{faults}: {:?}", completed.finished.ended);
        // Pods on nodes that are gone still say that they run.
        assert_eq!(active(&completed), if faults.contains("100") { 100 } else { 60 }, "{faults}");
    }
}

/// `observedGeneration`: a status from before the scaling says nothing about it.
#[test]
fn a_scaling_up_right_after_one_down_is_complete_when_all_pods_are_back() {
    for at in ["120500ms", "122s", "123s"] {
        let completed = run(&web(
            100,
            &format!(
                "{{kind: scale, at: 2m, deployment: web, replicas: 5}}, {{kind: scale, at: {at}, deployment: web, replicas: 100}}"
            ),
        ));
        assert_eq!((running(&completed), active(&completed)), (100, 100), "{at}");
    }
}

#[test]
fn a_groups_new_size_counts_for_all_of_its_objects() {
    let text = text(
        "deployments: [{name: web, count: 1000, replicas: 1}]",
        "{kind: scale, at: 2m, deployment: web, replicas: 1000000}",
    );
    assert!(
        message(&text).contains("1000 Deployments of this size have 1000000000 pods"),
        "{}",
        message(&text)
    );
}
