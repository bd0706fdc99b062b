//! Rollouts of Deployments: how many pods there are at each moment, what becomes of the old ones, and what is said to wrong ones.
//!
//! Rules are those of the page "Deployments" and of k/k `pkg/controller/deployment`; the tables of its tests are beside the controller.
use std::collections::BTreeSet;

use podpace::cluster::{PodId, Stage};
use podpace::engine::Streams;
use podpace::experiment::run::Completed;
use podpace::experiment::simulation::Ended;

use crate::support::{SECOND, assert_goes_on, assert_page, count, message, metric, plan, run};

fn text(scheduler: &str, deployment: &str, faults: &str) -> String {
    format!(
        "apiVersion: podpace/v1
kind: Scenario
name: rollouts
cluster: {{nodes: [{{count: 12, zones: 3, template: {{allocatable: {{cpu: 8, memory: 32Gi, pods: 110}}}}}}]}}
controlPlane: {{apiServer: {{profile: apiserver-1.36}}, nodeLifecycle: {{kind: kubelet, startLatency: {{min: 1s, max: 3s}}}}}}
scheduler: {{kind: {scheduler}}}
workload: {{deployments: [{{name: web, replicas: 20, requests: {{cpu: 500m}}, {deployment}}}]}}
faults: [{faults}]
stop: {{when: allRunning, limit: 1h}}
"
    )
}

const ROLLOUT: &str = "{kind: rollout, at: 2m, deployment: web}";

/// By second from the first rollout on: pods that exist, pods that run. One that is being deleted is none of them.
fn course(completed: &Completed) -> Vec<(u64, usize, usize)> {
    let pods = &completed.finished.cluster.pods;
    let times: Vec<_> = (0..pods.len() as PodId).map(|pod| *pods.timeline(pod)).collect();
    let last = times.iter().map(|t| t.running_ns).filter(|ns| *ns != u64::MAX).max().unwrap();
    (120..=last / SECOND + 1)
        .map(|second| {
            let now = second * SECOND;
            let there = |from: u64, t: &podpace::cluster::Timeline| from <= now && now < t.finished_ns;
            let exist = times.iter().filter(|t| there(t.created_ns, t)).count();
            (second, exist, times.iter().filter(|t| there(t.running_ns, t)).count())
        })
        .collect()
}

/// Pods that run at the end, by the requests of their template.
fn running_of(completed: &Completed, millicores: u64) -> usize {
    let pods = &completed.finished.cluster.pods;
    let runs = |pod: &PodId| pods.stage(*pod) == Stage::Running;
    let of = |pod: &PodId| pods.spec(*pod).requests.cpu_millicores == millicores;
    (0..pods.len() as PodId).filter(|pod| runs(pod) && of(pod)).count()
}

/// "Deployment ensures that only a certain number of Pods are down while they are being updated. By default, it ensures that at least 75% of the desired number of
/// Pods are up .. [and that] at most 125% of the desired number of Pods are up."
#[test]
fn never_too_many_pods_and_never_too_few() {
    let change = "{kind: rollout, at: 2m, deployment: web, template: {requests: {cpu: 600m}}}";
    for scheduler in ["kube-scheduler", "yunikorn", "volcano", "first-fit"] {
        for (strategy, most, least) in [
            ("", 25, 15),
            ("strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}", 21, 20),
            ("strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 3}}", 20, 17),
            // 3% of 20 is one more, rounded up, and none less, rounded down.
            ("strategy: {rollingUpdate: {maxSurge: 3%, maxUnavailable: 3%}}", 21, 20),
            ("strategy: {rollingUpdate: {maxSurge: 100%, maxUnavailable: 0}}", 40, 20),
        ] {
            let completed = run(&text(scheduler, strategy, change));
            assert_eq!(completed.finished.ended, Ended::Done, "{scheduler} {strategy}");
            let course = course(&completed);
            let too = course.iter().find(|(_, exist, run)| *exist > most || *run < least);
            assert_eq!(too, None, "{scheduler} {strategy}: {course:?}");
            assert!(course.iter().any(|(_, exist, run)| *exist == most || *run == least), "{course:?}");
            assert_eq!((running_of(&completed, 600), running_of(&completed, 500)), (20, 0), "{scheduler}");
            assert_eq!((count(&completed, "rollouts.completed"), count(&completed, "pods.total")), (1, 40));
            assert_eq!(count(&completed, "pods.replaced"), 0, "nobody was lost");
        }
    }
}

/// "All existing Pods are killed before new ones are created when .spec.strategy.type==Recreate."
#[test]
fn recreate_waits_until_all_old_pods_are_gone() {
    for scheduler in ["kube-scheduler", "yunikorn", "first-fit"] {
        let completed = run(&text(scheduler, "strategy: {type: Recreate}", ROLLOUT));
        let pods = &completed.finished.cluster.pods;
        let gone = (0..20).map(|pod| pods.timeline(pod).finished_ns).max().unwrap();
        let made = (20..40).map(|pod| pods.timeline(pod).created_ns).min().unwrap();
        assert!((120 * SECOND..made).contains(&gone), "{gone} {made}");
        assert_eq!((running_of(&completed, 500), count(&completed, "rollouts.completed")), (20, 1));
    }
}

/// "minReadySeconds .. specifies the minimum number of seconds for which a newly created Pod should be ready without any of its containers crashing, for it to be
/// considered available." A ReplicaSet looks a second later (`enqueueRSAfter`). With one pod more at a time each of 20 waits for the one before.
#[test]
fn new_pods_have_to_be_ready_for_a_while() {
    let one_more = "strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}";
    let took = |more: &str| {
        let completed = run(&text("kube-scheduler", &format!("{one_more}{more}"), ROLLOUT));
        metric(&completed, "rollouts.max_s")
    };
    let (at_once, after_ten) = (took(""), took(", minReadySeconds: 10"));
    assert!((20.0 * 1.0..20.0 * 4.0).contains(&at_once), "{at_once}");
    let longer = after_ten - at_once;
    assert!((20.0 * 10.0..20.0 * 11.5).contains(&longer), "{longer}");
}

/// "Rollover (aka multiple updates in-flight)": the second template takes the place of the first, and what the first has made goes too.
#[test]
fn a_second_rollout_takes_the_place_of_the_first() {
    let faults = "{kind: rollout, at: 2m, deployment: web, template: {requests: {cpu: 600m}}}, {kind: rollout, at: 124s, deployment: web, template: {requests: {cpu: 700m}}}";
    for scheduler in ["kube-scheduler", "yunikorn", "first-fit"] {
        let completed = run(&text(scheduler, "", faults));
        assert_eq!(completed.finished.ended, Ended::Done, "{scheduler}");
        let course = course(&completed);
        assert!(course.iter().all(|(_, exist, run)| *exist <= 25 && *run >= 15), "{course:?}");
        assert_eq!((running_of(&completed, 700), running_of(&completed, 600)), (20, 0));
        assert_eq!(running_of(&completed, 500), 0);
        let rollouts = ["rollouts.completed", "rollouts.superseded", "rollouts.not_completed"];
        assert_eq!(rollouts.map(|name| count(&completed, name)), [1, 1, 0]);
        assert!(count(&completed, "pods.total") > 40, "some of the first rollout had been made");
    }
}

/// A template whose pods fit nowhere stops the rollout, and as many old pods as have to be available go on.
#[test]
fn a_rollout_whose_pods_do_not_fit_stops() {
    let change = "{kind: rollout, at: 2m, deployment: web, template: {requests: {cpu: 9}}}";
    let completed = run(&text("kube-scheduler", "", change));
    assert_eq!(completed.finished.ended, Ended::Stalled);
    assert_eq!((running_of(&completed, 500), count(&completed, "rollouts.not_completed")), (15, 1));
    // Back again: what never ran goes first.
    let back = format!(
        "{change}, {{kind: rollout, at: 4m, deployment: web, template: {{requests: {{cpu: 500m}}}}}}"
    );
    let completed = run(&text("kube-scheduler", "", &back));
    assert_eq!((completed.finished.ended, running_of(&completed, 500)), (Ended::Done, 20));
}

/// Whatever goes wrong meanwhile, all pods are of the new template in the end, and as many as there should be.
#[test]
fn faults_do_not_stop_a_rollout() {
    let change = "{kind: rollout, at: 2m, deployment: web, template: {requests: {cpu: 600m}}}";
    for fault in [
        "{kind: controllerManagerLeaderChange, at: 122s}",
        "{kind: controllerManagerLeaderChange, at: 119s}",
        "{kind: apiServerRestart, at: 123s, duration: 8s}",
        "{kind: etcdOutage, at: 121s, duration: 20s}",
        "{kind: watchDisconnect, at: 121s, duration: 30s}",
        "{kind: nodeFailure, at: 122s, nodes: {count: 3}, duration: 10m}",
        "{kind: podFailure, every: 5s, from: 110s, to: 170s}",
        "{kind: drain, at: 121s, nodes: {count: 4}}",
        "{kind: schedulerRestart, at: 121s, duration: 10s}",
    ] {
        for strategy in ["", "strategy: {type: Recreate}", "minReadySeconds: 7"] {
            let text = text("kube-scheduler", strategy, &format!("{change}, {fault}"));
            assert_eq!(run(&text).finished.ended, Ended::Done, "{fault} {strategy}");
            // When dead machines are back, too.
            let completed = run(&text.replace("{when: allRunning, limit: 1h}", "{when: time, limit: 30m}"));
            assert_eq!(
                (running_of(&completed, 600), running_of(&completed, 500)),
                (20, 0),
                "{fault} {strategy}"
            );
            assert_eq!(count(&completed, "rollouts.completed"), 1, "{fault} {strategy}");
        }
    }
    // One that comes while the ReplicaSet is still being made.
    let early = "{kind: rollout, at: 50ms, deployment: web, template: {requests: {cpu: 600m}}}";
    let completed = run(&text("kube-scheduler", "", early));
    assert_eq!((completed.finished.ended, running_of(&completed, 600)), (Ended::Done, 20));
    assert_eq!(running_of(&completed, 500), 0);
}

/// Rollouts and faults at random: three Deployments have as many pods as they should have, all of the last template, and no node holds too much.
#[test]
fn every_deployment_is_whole_in_the_end() {
    for seed in 0..60 {
        let mut rng = Streams::new(seed).stream("test");
        let mut pick = |of: &[&'static str]| of[rng.below(of.len() as u64) as usize];
        let mut faults =
            vec!["{kind: rollout, at: 9m, deployment: web, template: {requests: {cpu: 700m}}}".to_owned()];
        for _ in 0..6 {
            let at = ["2m", "121s", "125s", "3m", "200s", "4m", "5m", "6m", "7m", "8m"];
            let kind = pick(&[
                "rollout, deployment: web-0, template: {requests: {cpu: 600m}}",
                "rollout, deployment: web-1",
                "rollout, deployment: web",
                "controllerManagerLeaderChange",
                "podFailure, pods: {count: 4}",
                "nodeFailure, nodes: {count: 2}, duration: 5m",
                "nodeFlap, duration: 30s, pause: 20s, times: 3",
                "apiServerRestart, duration: 12s",
                "etcdOutage, duration: 9s",
                "watchDisconnect, duration: 40s",
                "drain, nodes: {count: 2}, duration: 3m",
                "schedulerRestart",
            ]);
            faults.push(format!("{{kind: {kind}, at: {}}}", pick(&at)));
        }
        let strategy = pick(&[
            "",
            ", minReadySeconds: 4",
            ", strategy: {type: Recreate}",
            ", strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 2}}",
            ", strategy: {rollingUpdate: {maxSurge: 60%, maxUnavailable: 0}}",
        ]);
        let scheduler = pick(&["kube-scheduler", "yunikorn", "first-fit"]);
        let text = text(scheduler, &format!("count: 3{strategy}"), &faults.join(", "))
            .replace("{when: allRunning, limit: 1h}", "{when: time, limit: 45m}");
        let completed = run(&text);
        let found = [700, 600, 500].map(|cpu| running_of(&completed, cpu));
        assert_eq!(found, [60, 0, 0], "seed {seed}\n{text}");
        assert_eq!(count(&completed, "rollouts.not_completed"), 0, "seed {seed}\n{text}");
    }
}

/// A rollout while the first ReplicaSet is still being made: what it has not made by then it makes as far as its size allows, and nobody waits for the rest.
#[test]
fn pods_that_a_smaller_size_leaves_no_room_for_are_never_made() {
    let change = |at: &str| {
        format!("{{kind: rollout, at: {at}, deployment: web, template: {{requests: {{cpu: 110m}}}}}}")
    };
    let of = |strategy: &str, faults: &str| {
        let text = text("kube-scheduler", strategy, faults);
        text.replace("replicas: 20, requests: {cpu: 500m}", "replicas: 400, requests: {cpu: 100m}")
    };
    for strategy in ["", "strategy: {type: Recreate}", "strategy: {rollingUpdate: {maxSurge: 0}}"] {
        for more in [
            "",
            ", {kind: etcdOutage, at: 4s, duration: 5s}",
            ", {kind: apiServerRestart, at: 5s, duration: 4s}",
        ] {
            let text = of(strategy, &(change("5s") + more));
            for text in [text.clone(), text.replace("allRunning", "allBound")] {
                let completed = run(&text);
                assert_eq!(completed.finished.ended, Ended::Done, "{text}");
                let states = ["rollouts.completed", "rollouts.not_completed"];
                assert_eq!(states.map(|name| count(&completed, name)), [1, 0], "{text}");
                let pods = &completed.finished.cluster.pods;
                let made = (0..pods.len() as PodId).filter(|pod| pods.timeline(*pod).created_ns != u64::MAX);
                let of_old = made.filter(|pod| pods.spec(*pod).requests.cpu_millicores == 100).count();
                // 20 a second, and 30 at once. The size changes late where nobody can write it.
                assert!((100..400).contains(&of_old) || !more.is_empty(), "{of_old} of 400\n{text}");
                assert_eq!(running_of(&completed, 100), 0, "{text}");
            }
            // Its template fits nowhere: nothing moves any more, and the run says so.
            let stuck = text.replace("cpu: 110m", "cpu: 9");
            assert_eq!(run(&stuck).finished.ended, Ended::Stalled, "{stuck}");
        }
    }
}

/// A creation under way is of the template that it was for, whatever has changed when the answer comes. Of 100 Deployments 15 write a ReplicaSet and a status in the burst of
/// 30; then five at a time write what is 20 a second, a second status too. 15 more are through by 122.15 s, and the ReplicaSets of the five after those are on their way
/// until 122.4 s. Of one Deployment the template changes then once more.
#[test]
fn a_creation_under_way_is_of_its_own_template() {
    let made_of = |nth: usize| {
        let first = "{kind: rollout, at: 120s, deployment: web, template: {requests: {cpu: 510m}}}";
        let second = format!(
            "{{kind: rollout, at: 122180ms, deployment: web-{nth}, template: {{requests: {{cpu: 520m}}}}}}"
        );
        let text = text("kube-scheduler", "count: 100", &format!("{first}, {second}"))
            .replace("replicas: 20", "replicas: 1");
        let completed = run(&text);
        assert_eq!(completed.finished.ended, Ended::Done);
        assert_eq!([500, 510, 520].map(|cpu| running_of(&completed, cpu)), [0, 99, 1]);
        let pods = &completed.finished.cluster.pods;
        let of = |pod: &PodId| pods.spec(*pod).requests.cpu_millicores == 510;
        (0..pods.len() as PodId).filter(of).count()
    };
    // Each that was asked for is there, and none of a template that was never looked at.
    let made: Vec<usize> = (28..38).map(made_of).collect();
    assert_eq!(made, [100, 100, 100, 100, 100, 100, 100, 99, 99, 99]);
}

/// All of a group, one of it, and Deployments that are there before the run.
#[test]
fn a_rollout_is_of_a_group_or_of_one() {
    let of = |deployment: &str, more: &str| {
        let group = format!("count: 3{more}");
        let change = format!(
            "{{kind: rollout, at: 2m, deployment: {deployment}, template: {{requests: {{cpu: 600m}}}}}}"
        );
        run(&text("kube-scheduler", &group, &change))
    };
    let all = of("web", "");
    assert_eq!((running_of(&all, 600), count(&all, "rollouts.completed")), (60, 3));
    let one = of("web-1", "");
    assert_eq!((running_of(&one, 600), running_of(&one, 500)), (20, 40));
    let backlog = text("kube-scheduler", "", ROLLOUT).replace("workload: {", "workload: {start: backlog, ");
    let backlog = run(&backlog);
    assert_eq!((running_of(&backlog, 500), count(&backlog, "pods.total")), (20, 40));
}

/// "This label [pod-template-hash] ensures that child ReplicaSets of a Deployment do not overlap": what each selects, by which pods are spread over nodes by default, is its own
/// pods and none of another's, those of the first as well.
#[test]
fn each_replica_set_selects_its_own_pods() {
    let faults = format!("{ROLLOUT}, {{kind: rollout, at: 4m, deployment: web-1}}");
    let completed = run(&text("kube-scheduler", "count: 2", &faults));
    let cluster = &completed.finished.cluster;
    let specs: BTreeSet<_> = (0..cluster.pods.len() as PodId).map(|pod| cluster.pods.spec_id(pod)).collect();
    // Two before the first rollout, two after it, and one after the second.
    assert_eq!(specs.len(), 5);
    for by in &specs {
        let selector = cluster.default_selector(cluster.pods.spec_by_id(*by)).unwrap();
        let matched: Vec<_> =
            specs.iter().filter(|of| selector.matches(&cluster.pods.spec_by_id(**of).labels)).collect();
        assert_eq!(matched, [by]);
    }
    // Who is not rolled out has no such label.
    let one = run(&text("kube-scheduler", "count: 2", &ROLLOUT.replace("web", "web-1")));
    let pods = &one.finished.cluster.pods;
    let labelled = |pod: PodId| pods.spec(pod).labels.contains_key("pod-template-hash");
    assert_eq!([0, 19, 20, 39, 40].map(labelled), [false, false, true, true, true]);
}

/// A run that pauses and goes on is the one that does not.
#[test]
fn a_run_that_is_saved_goes_on_as_it_would_have() {
    let faults = format!(
        "{ROLLOUT}, {{kind: podFailure, at: 125s, pods: {{count: 3}}}}, {{kind: rollout, at: 130s, deployment: web}}"
    );
    let text = text("kube-scheduler", "minReadySeconds: 3", &faults);
    let of_first = [60_000, 120_020, 121_500, 126_000, 131_000, 140_000];
    // While the first ReplicaSet is still being made, its size is another, and what it had not made is given up.
    let half_made = text
        .replace("replicas: 20, requests: {cpu: 500m}", "replicas: 400, requests: {cpu: 100m}")
        .replace("at: 2m", "at: 5s");
    let of_half_made = [4_900, 5_050, 6_000, 9_000, 15_000, 125_500];
    for (text, at) in [(text, of_first), (half_made, of_half_made)] {
        assert_goes_on(&plan(&text), at.map(|ms| ms * SECOND / 1000));
    }
}

#[test]
fn what_a_reader_sees_of_wrong_rollouts() {
    let mut page = String::new();
    for (deployment, fault) in [
        ("", "{kind: rollout, at: 2m}"),
        ("", "{kind: rollout, at: 2m, deployment: wep}"),
        ("", "{kind: rollout, every: 2m, deployment: web}"),
        ("", "{kind: rollout, at: 2m, deployment: web, duration: 5s}"),
        ("", "{kind: rollout, at: 2m, deployment: web, template: {replicas: 5}}"),
        ("", "{kind: rollout, at: 2m, deployment: web, template: {requests: {cpu: lots}}}"),
        ("runTime: 5m", ROLLOUT),
        ("strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0}}", ROLLOUT),
        ("strategy: {type: Recreate, rollingUpdate: {maxSurge: 1}}", ROLLOUT),
        ("strategy: {type: OnDelete}", ROLLOUT),
        ("strategy: {rollingUpdate: {maxUnavailable: 120%}}", ROLLOUT),
        ("minReadySeconds: -3", ROLLOUT),
        ("", "{kind: podFailure, at: 2m, deployment: web}"),
    ] {
        page += &format!("{deployment} {fault}\n{}\n\n", message(&text("kube-scheduler", deployment, fault)));
    }
    let late = text("kube-scheduler", "count: 4", ROLLOUT)
        .replace("workload: {", "workload: {arrivals: {interval: 1m}, ");
    page += &format!("count: 4, interval: 1m\n{}\n\n", message(&late));
    let set = text("kube-scheduler", "", ROLLOUT).replace("deployments:", "statefulSets:");
    page += &format!("a StatefulSet\n{}\n\n", message(&set));
    let idle = text("kube-scheduler", "", &ROLLOUT.replace("web", "idle"))
        .replace("deployments: [", "deployments: [{name: idle, replicas: 0}, ");
    page += &format!("a Deployment without pods\n{}\n\n", message(&idle));
    let last = text("kube-scheduler", "", &ROLLOUT.replace("web", "idle"))
        .replace("}]}\nfaults", "}, {name: idle, replicas: 0}]}\nfaults");
    page += &format!("the last one, without pods\n{}\n\n", message(&last));
    let none = text("kube-scheduler", "", ROLLOUT)
        .replace("kind: kubelet, startLatency: {min: 1s, max: 3s}", "kind: none");
    page += &format!("no node agents\n{}\n", message(&none));
    assert_page("rollouts", &page);
}
