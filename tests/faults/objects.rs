//! StatefulSets and Jobs: in which order their pods are made, how many at once, and what happens to those that fail.
//!
//! Each test states the rule and where the real system has it. Paths are those of kubernetes/kubernetes.
use podpace::cluster::{PodId, Stage};
use podpace::experiment::run::{Environment, RunSpec};
use podpace::experiment::simulation::{Ended, Finished, Simulation};
use podpace::scenario::Document;
use podpace::scheduler::Registry;

use crate::support::{SECOND, assert_page, count, message, message_of, run, simulation};

fn text(workload: &str, more: &str) -> String {
    format!(
        "apiVersion: podpace/v1
kind: Scenario
name: objects
cluster: {{nodes: [{{count: 8, template: {{allocatable: {{cpu: 32, memory: 64Gi, pods: 110}}}}}}]}}
controlPlane: {{nodeLifecycle: {{kind: kubelet, startLatency: 10s}}}}
scheduler: {{kind: kube-scheduler}}
workload: {{{workload}}}
{more}
"
    )
}

fn finished(text: &str) -> (Finished, Ended) {
    let completed = simulation(text);
    let finished = completed.run();
    let ended = finished.ended;
    (finished, ended)
}

fn in_stage(simulation: &Simulation, stages: &[Stage]) -> usize {
    let pods = &simulation.cluster().pods;
    (0..pods.len() as PodId).filter(|pod| stages.contains(&pods.stage(*pod))).count()
}

/// "Pods are created sequentially, in order from {0..N-1}. Before a scaling operation is applied to a Pod, all of its
/// predecessors must be Running and Ready." (StatefulSets, "Deployment and Scaling Guarantees")
#[test]
fn an_ordered_set_waits_for_each_pod() {
    let workload = "statefulSets: [{name: db, replicas: 5, requests: {cpu: 100m}}]";
    let (run, ended) = finished(&text(workload, "stop: {when: allRunning, limit: 1h}"));
    assert_eq!(ended, Ended::Done);
    let pods = &run.cluster.pods;
    for pod in 1..5 {
        let (before, this) = (pods.timeline(pod - 1), pods.timeline(pod));
        assert!(this.created_ns >= before.running_ns, "pod {pod} is created before pod {} is ready", pod - 1);
        assert!(this.created_ns < before.running_ns + SECOND / 2);
    }
    let last_s = pods.timeline(4).running_ns / SECOND;
    assert!((50..53).contains(&last_s), "five starts of 10 s: {last_s}");
}

/// `podManagementPolicy: Parallel` "tells the StatefulSet controller to launch or terminate all Pods in parallel".
#[test]
fn a_parallel_set_waits_for_nobody() {
    let workload = "statefulSets: [{replicas: 5, podManagementPolicy: Parallel, requests: {cpu: 100m}}]";
    let (run, _) = finished(&text(workload, "stop: {when: allRunning, limit: 1h}"));
    let pods = &run.cluster.pods;
    assert!((0..5).all(|pod| pods.timeline(pod).created_ns < SECOND));
    assert!((0..5).all(|pod| pods.timeline(pod).running_ns < 12 * SECOND));
}

/// A name is used again when its old pod is gone and not before: a dead node keeps it ("Force Delete StatefulSet Pods"). A
/// Deployment does not wait.
#[test]
fn a_pod_of_a_set_is_not_made_anew_while_the_old_one_is_there() {
    let faults = "faults: [{kind: nodeFailure, at: 5m, nodes: {names: [node-00003]}, duration: 20m}]
stop: {when: time, limit: 40m}";
    let workload = "statefulSets: [{replicas: 16, podManagementPolicy: Parallel, requests: {cpu: 100m}}]";
    let mut sets = simulation(&text(workload, faults));
    assert!(sets.advance(24 * 60 * SECOND).is_none());
    assert_eq!(sets.cluster().pods.len(), 16, "evicted after 300 s, and not gone");
    assert!(sets.advance(26 * 60 * SECOND).is_none());
    let made = sets.cluster().pods.len() - 16;
    assert!(made > 0);
    assert_eq!(in_stage(&sets, &[Stage::Running]), 16);
    let workload = "deployments: [{replicas: 16, requests: {cpu: 100m}}]";
    let mut deployments = simulation(&text(workload, faults));
    assert!(deployments.advance(24 * 60 * SECOND).is_none());
    assert!(deployments.cluster().pods.len() > 16);
}

/// A failed pod of a StatefulSet is deleted, then made anew (`processReplica`).
#[test]
fn a_failed_pod_of_a_set_is_deleted_and_made_anew() {
    let workload = "statefulSets: [{replicas: 4, requests: {cpu: 100m}}]";
    let faults = "faults: [{kind: podFailure, at: 5m, pods: {count: 2}}]
stop: {when: allRunning, limit: 1h}";
    let completed = run(&text(workload, faults));
    assert_eq!((count(&completed, "pods.replaced"), completed.summary.counts.running), (2, 6));
    let took = completed.summary.faults[0].running_again_after_s.unwrap();
    assert!((20.0..22.0).contains(&took), "one after the other, 10 s each: {took}");
}

/// `manageJob`: as many pods as `parallelism`, or as completions are left; changes of pods are collected for a second
/// (`syncJobBatchPeriod`).
#[test]
fn a_job_runs_as_many_pods_at_once_as_it_may() {
    let workload = "jobs: [{completions: 10, parallelism: 3, runTime: 30s, requests: {cpu: 100m}}]";
    let text = text(workload, "stop: {when: allFinished, limit: 1h}");
    let completed = run(&text);
    assert_eq!((count(&completed, "jobs.completed"), count(&completed, "jobs.failed")), (1, 0));
    assert_eq!(completed.summary.counts.finished, 10);
    let mut simulation = simulation(&text);
    let live = [Stage::Created, Stage::Queued, Stage::Assumed, Stage::Bound, Stage::Running];
    let mut most = 0;
    while simulation.advance(simulation.now() + SECOND / 4).is_none() {
        most = most.max(in_stage(&simulation, &live));
    }
    assert_eq!(most, 3);
    // Four rounds of 10 s start, 30 s run, and between them a second.
    let (run, _) = finished(&text);
    let pods = &run.cluster.pods;
    let last_s = (0..10).map(|pod| pods.timeline(pod).finished_ns).max().unwrap() as f64 / SECOND as f64;
    assert!((163.0..164.0).contains(&last_s), "{last_s}");
}

/// `DefaultJobPodFailureBackOff`: 10 s after the first failure, 20 s after the second in a row.
#[test]
fn a_pod_that_failed_is_made_anew_after_a_back_off() {
    let workload = "jobs: [{completions: 1, backoffLimit: 6, runTime: 1h, requests: {cpu: 100m}}]";
    let at = [100, 200, 300, 450];
    let faults: Vec<String> = at.iter().map(|at| format!("{{kind: podFailure, at: {at}s}}")).collect();
    let faults = format!("faults: [{}]\nstop: {{when: allFinished, limit: 3h}}", faults.join(", "));
    let (run, ended) = finished(&text(workload, &faults));
    assert_eq!(ended, Ended::Done);
    let pods = &run.cluster.pods;
    assert_eq!(pods.len(), 5);
    for (nth, (at, backoff)) in at.iter().zip([10, 20, 40, 80]).enumerate() {
        let created = pods.timeline(nth as PodId + 1).created_ns as f64 / SECOND as f64;
        let due = f64::from(at + backoff);
        assert!(created >= due && created < due + 0.1, "failure {nth}: {created}, not {due}");
    }
}

/// "If this number is exceeded, the Job is marked as failed and all of its Pods are terminated" (`BackoffLimitExceeded`).
#[test]
fn a_job_fails_when_too_many_pods_have_failed() {
    let workload = "jobs: [{completions: 20, parallelism: 4, MODE, backoffLimit: 2, runTime: 1h, requests: {cpu: 100m}}]";
    let faults =
        "faults: [{kind: podFailure, at: 2m}, {kind: podFailure, at: 4m}, {kind: podFailure, at: 6m}]
stop: {when: allFinished, limit: 3h}";
    // Of an Indexed Job the two that failed come again; of another two come that were not tried. The third failure is the
    // last, and the rest of the plan is never made.
    for (mode, replaced) in [("completionMode: Indexed", 2), ("completionMode: NonIndexed", 0)] {
        let text = text(&workload.replace("MODE", mode), faults);
        let completed = run(&text);
        assert_eq!((count(&completed, "jobs.completed"), count(&completed, "jobs.failed")), (0, 1));
        assert_eq!((count(&completed, "pods.replaced"), completed.summary.counts.created), (replaced, 6));
        assert_eq!(completed.summary.counts.finished, 6);
        let (run, ended) = finished(&text);
        assert_eq!(ended, Ended::Done);
        assert!(run.kernel.now() < 362 * SECOND, "deleted a second after the third failure");
    }
}

/// A deletion that fails is made again: the Job is synced anew until none of its pods is left (`syncJob` deletes
/// `activePods` each time that `jobCtx.finishedCondition` is there).
#[test]
fn deletions_of_a_failed_job_that_are_lost_are_made_again() {
    let workload =
        "jobs: [{completions: 20, parallelism: 20, backoffLimit: 0, runTime: 1h, requests: {cpu: 100m}}]";
    // The first deletions go to an etcd without a leader, or their controller ends before it has heard of them.
    for fault in [
        "{kind: etcdOutage, at: 120500ms, duration: 10s}",
        "{kind: controllerManagerLeaderChange, at: 121200ms, duration: 5s}",
    ] {
        let stop = format!(
            "faults: [{{kind: podFailure, at: 2m}}, {fault}]\nstop: {{when: allFinished, limit: 3h}}"
        );
        let text = text(workload, &stop)
            .replace("controlPlane: {", "controlPlane: {apiServer: {}, etcd: {fsync: 5ms}, ");
        let (run, ended) = finished(&text);
        assert_eq!((ended, run.counts.finished), (Ended::Done, 20), "{fault}");
        let last_s = run.kernel.now() / SECOND;
        assert!(last_s < 180, "{fault}: {last_s}");
    }
}

/// A pod that is evicted counts as failed; one that is preempted or drained is an eviction, too (`isPodFailed`: a pod with a
/// deletion timestamp has failed).
#[test]
fn evicted_pods_of_a_job_count_as_failed() {
    let workload = "jobs: [{completions: 64, backoffLimit: 0, runTime: 1h, requests: {cpu: 100m}}]";
    let faults = "faults: [{kind: drain, at: 5m, nodes: {names: [node-00000]}}]
stop: {when: allFinished, limit: 3h}";
    let completed = run(&text(workload, faults));
    assert_eq!(count(&completed, "jobs.failed"), 1);
    let completed = run(&text(&workload.replace("backoffLimit: 0", "backoffLimit: 64"), faults));
    let lost = completed.summary.faults[0].pods_lost;
    assert!(lost > 0);
    assert_eq!((count(&completed, "jobs.completed"), count(&completed, "pods.replaced")), (1, lost));
}

/// Each pod is a creation and a finalizer's removal, and the controller's client makes 20 requests a second, burst 30
/// (`ClientBuilder`): a Job of short pods ends fewer than ten a second.
#[test]
fn a_job_of_short_pods_waits_for_its_controller() {
    let workload = "jobs: [{completions: 300, parallelism: 300, runTime: 1s, requests: {cpu: 100m}}]";
    let text = text(workload, "stop: {when: allFinished, limit: 1h}")
        .replace("startLatency: 10s", "startLatency: 1s");
    let (run, _) = finished(&text);
    let pods = &run.cluster.pods;
    let last_s = (0..300).map(|pod| pods.timeline(pod).finished_ns).max().unwrap() as f64 / SECOND as f64;
    assert!(last_s > 300.0 / 20.0, "{last_s}");
}

/// Objects of all kinds live beside each other, come at an interval, and a hundred Jobs share five workers.
#[test]
fn deployments_sets_and_jobs_live_together() {
    let workload = "deployments: [{count: 2, replicas: 10, requests: {cpu: 100m}}], \
        statefulSets: [{count: 3, replicas: 3, requests: {cpu: 100m}}], \
        jobs: [{count: 40, completions: 4, parallelism: 2, completionMode: Indexed, runTime: 20s, requests: {cpu: 100m}}], \
        arrivals: {interval: 2s}";
    let completed = run(&text(workload, "stop: {when: allRunning, limit: 2h}"));
    assert_eq!(completed.summary.counts.running, 20 + 9 + 160);
    assert_eq!(count(&completed, "pods.replaced"), 0);
}

/// A scenario whose namespaces have quotas.
fn with_quotas(quotas: &str, workload: &str, stop: &str) -> String {
    text(workload, stop).replace("cluster: {", &format!("cluster: {{resourceQuotas: [{quotas}], "))
}

/// "If creating or updating a resource violates a quota constraint, the request will fail with HTTP status code 403
/// FORBIDDEN"; the ReplicaSet controller tries again, 5 ms doubled (`DefaultControllerRateLimiter`).
#[test]
fn a_replica_set_beyond_its_quota_tries_again_and_again() {
    let workload =
        "deployments: [{replicas: 20, requests: {cpu: 100m}}, {name: b, namespace: b, replicas: 20}]";
    let completed = run(&with_quotas("{hard: {pods: 12}}", workload, "stop: {when: time, limit: 10m}"));
    assert_eq!(completed.summary.counts.created, 12 + 20, "another namespace has no quota");
    // Batches of 1, 2, 4 and 8, in which 5 fit; then one each after 5 ms, 10 ms, .., 327 s.
    let refused = count(&completed, "creations.refused");
    assert!((18..=21).contains(&refused), "{refused}");
}

/// Pods that have ended use nothing (`QuotaV1Pod`): a Job gets through its pods as those before make room, whose retries are
/// 1 s doubled up to 1 min.
#[test]
fn a_job_within_a_quota_gets_through_in_rounds() {
    let workload = "jobs: [{completions: 10, parallelism: 10, runTime: 30s, requests: {cpu: 100m}}]";
    let text = with_quotas("{hard: {requests.cpu: 400m}}", workload, "stop: {when: allFinished, limit: 2h}");
    let completed = run(&text);
    assert_eq!((count(&completed, "jobs.completed"), completed.summary.counts.finished), (1, 10));
    assert!(count(&completed, "creations.refused") > 0);
    let mut simulation = simulation(&text);
    let live = [Stage::Created, Stage::Queued, Stage::Assumed, Stage::Bound, Stage::Running];
    let mut most = 0;
    while simulation.advance(simulation.now() + SECOND / 4).is_none() {
        most = most.max(in_stage(&simulation, &live));
    }
    assert_eq!(most, 4);
}

/// Who creates pods by hand has an error and goes on; a pod that says nothing of a limited resource is refused, too ("must
/// specify requests.cpu").
#[test]
fn a_load_client_gives_refused_pods_up() {
    let workload = "pods: [{count: 20, requests: {cpu: 100m, memory: 1Gi}}, {name: silent, count: 3}]";
    let stop = "stop: {when: allRunning, limit: 1h}";
    let quota = "{hard: {cpu: 1, memory: 64Gi}}";
    let (run, ended) = finished(&with_quotas(quota, workload, stop));
    assert_eq!((ended, run.counts.created, run.counts.dropped), (Ended::Done, 10, 13));
    let quotas = format!("{quota}, {{hard: {{pods: 7}}}}");
    let (run, _) = finished(&with_quotas(&quotas, workload, stop));
    assert_eq!(run.counts.created, 7, "every quota of the namespace");
}

/// What is not modelled is an error that says so, and says what to do instead.
#[test]
fn what_is_not_modelled_is_named() {
    let stop = "stop: {when: allBound, limit: 1h}";
    let job = |field: &str| text(&format!("jobs: [{{completions: 3, runTime: 10s, {field}}}]"), stop);
    let cluster = |field: &str| {
        text("pods: [{count: 3}]", stop).replace("cluster: {", &format!("cluster: {{{field}, "))
    };
    for (what, text) in [
        ("DaemonSets", text("daemonSets: [{name: agent}]", stop)),
        ("field of a Job", job("activeDeadlineSeconds: 10")),
        ("field of a Job", job("backoffLimitPerIndex: 1")),
        ("LimitRanges", cluster("limitRanges: [{limits: []}]")),
    ] {
        let message = message(&text);
        assert!(message.contains("not modelled") && message.contains(what), "{message}");
    }
}

#[test]
fn what_a_reader_sees_of_wrong_quotas() {
    let mut page = String::new();
    for quota in [
        "{hard: {}}",
        "{hard: {limits.cpu: 3}}",
        "{hard: {requests.storage: 3Gi}}",
        "{hard: {pods: -3}}",
        "{hard: {pods: 500m}}",
        "{hard: {pods: many}}",
        "{hard: {cpu: 3, requests.cpu: 3}}",
        "{hard: {pods: 3}, scopes: [BestEffort]}",
        "{name: a}",
    ] {
        let text = with_quotas(quota, "pods: [{count: 3}]", "stop: {when: allBound, limit: 1h}");
        let message = message(&text);
        page += &format!("resourceQuotas: [{quota}]\n{message}\n\n");
    }
    assert_page("quotas", &page);
}

/// Objects in manifests that would change which pods there are are refused by name, and not passed over.
#[test]
fn what_is_not_modelled_in_manifests_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["ResourceQuota", "PodDisruptionBudget"] {
        let pod = "kind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a}]}";
        let manifest = format!("{pod}\n---\nkind: {kind}\nmetadata: {{name: x}}\n");
        std::fs::write(folder.path().join("all.yaml"), manifest).unwrap();
        let text = text("manifests: [all.yaml]", "stop: {when: allBound}");
        let message = message_of(&text, Some(folder.path()));
        assert!(message.contains(&format!("{kind}s in manifests are not modelled")), "{message}");
        assert!(message.contains("all.yaml:"), "{message}");
    }
}

/// What would scale objects during a run does not, and a note says so.
#[test]
fn scalers_among_manifests_are_noted() {
    let folder = tempfile::tempdir().unwrap();
    let pod = "kind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a}]}";
    let scaler = |kind: &str| format!("\n---\nkind: {kind}\nmetadata: {{name: x}}");
    let manifest = pod.to_owned() + &scaler("HorizontalPodAutoscaler") + &scaler("ScaledJob") + "\n";
    std::fs::write(folder.path().join("all.yaml"), manifest).unwrap();
    let text = text("manifests: [all.yaml]", "stop: {when: allBound}");
    let document = Document::parse("scenario.yaml", &text, Some(folder.path())).unwrap();
    let plan = RunSpec::of_scenario(document).unwrap().plan(&Environment::built_in()).unwrap();
    let notes = plan.provenance.notes.join("\n");
    for says in [
        "1 HorizontalPodAutoscalers do nothing here (",
        "all.yaml:5 (kind HorizontalPodAutoscaler)): what pods use is not modelled; `replicas` stay what their objects say",
        "1 ScaledJobs do nothing here (",
    ] {
        assert!(notes.contains(says), "{notes}");
    }
}

/// LimitRanges among manifests decide what a scenario's pods ask for, or end it before it begins.
#[test]
fn limit_ranges_in_manifests_are_for_the_pods_of_a_scenario() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = |max: &str| {
        let text = format!(
            "kind: Pod\nmetadata: {{name: a}}\nspec: {{containers: [{{name: a, resources: {{limits: {{cpu: 3}}}}}}]}}
---
kind: Pod\nmetadata: {{name: b}}\nspec: {{containers: [{{name: b}}]}}
---
kind: LimitRange\nmetadata: {{name: x}}\nspec: {{limits: [{{type: Container, default: {{cpu: 2}}, max: {{cpu: {max}}}}}]}}
"
        );
        std::fs::write(folder.path().join("all.yaml"), text).unwrap();
    };
    let text = text("manifests: [all.yaml]", "stop: {when: allBound}");
    manifest("3");
    let document = Document::parse("scenario.yaml", &text, Some(folder.path())).unwrap();
    let plan = RunSpec::of_scenario(document).unwrap().plan(&Environment::built_in()).unwrap();
    let pods = &plan.cluster.pods;
    assert_eq!([0, 1].map(|pod| pods.spec(pod).requests.cpu_millicores), [3000, 2000]);
    manifest("2.5");
    let message = message_of(&text, Some(folder.path()));
    assert!(message.contains("maximum cpu usage per Container is 2500m, but limit is 3"), "{message}");
    assert!(message.contains("all.yaml:3: forbidden") && message.contains("scenario.yaml:"), "{message}");
}

/// PriorityClasses among manifests: who goes first, who pushes others off a node, and who waits ("Pod Priority and Preemption": pods with
/// `preemptionPolicy: Never` "will be placed in the scheduling queue ahead of lower-priority pods, but they cannot preempt other pods").
#[test]
fn priority_classes_in_manifests_decide_who_goes_first() {
    let folder = tempfile::tempdir().unwrap();
    let class = |name: &str, rest: &str| {
        format!(
            "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {{name: {name}}}\n{rest}\n---\n"
        )
    };
    let pod = |name: &str, class: &str, node: &str| {
        format!(
            "kind: Pod\nmetadata: {{name: {name}}}\nspec: {{{class}nodeSelector: {{kubernetes.io/hostname: {node}}}, containers: [{{name: a, resources: {{requests: {{cpu: 32}}}}}}]}}\n---\n"
        )
    };
    let classes = class("low", "value: 10\nglobalDefault: true")
        + &class("high", "value: 1000")
        + &class("patient", "value: 1000\npreemptionPolicy: Never");
    let sets = |wanted: &str| {
        format!(
            "{classes}kind: DaemonSet\nmetadata: {{name: d}}\nspec: {{template: {{spec: {{priorityClassName: {wanted}, containers: [{{name: a, resources: {{requests: {{cpu: 32}}}}}}]}}}}}}\n---\n"
        )
    };
    let run = |manifests: &str| {
        std::fs::write(folder.path().join("all.yaml"), manifests).unwrap();
        let text = text("manifests: [all.yaml]", "stop: {when: time, limit: 3m}");
        let document = Document::parse("scenario.yaml", &text, Some(folder.path())).unwrap();
        let plan = RunSpec::of_scenario(document).unwrap().plan(&Environment::built_in()).unwrap();
        Simulation::new(&plan, &Registry::built_in()).unwrap().run()
    };
    // One node, two pods of the same time: the class says who has it.
    let who =
        run(&(pod("a", "", "node-00000") + &pod("b", "priorityClassName: high, ", "node-00000") + &classes));
    let priorities = [0, 1].map(|pod| who.cluster.pods.spec(pod).priority);
    assert_eq!(priorities, [10, 1000]);
    assert_eq!(who.cluster.pods.stage(1), Stage::Running);
    assert_ne!(who.cluster.pods.stage(0), Stage::Running);
    // A DaemonSet's template is admitted as well.
    for (wanted, runs) in [("high", true), ("patient", false)] {
        let text = sets(wanted) + &pod("a", "", "node-00000");
        let finished = run(&text);
        let pods = &finished.cluster.pods;
        let on_first = (1..pods.len() as PodId).filter(|pod| pods.spec(*pod).priority == 1000);
        assert!(on_first.clone().all(|pod| pods.spec(pod).never_preempts != runs), "{wanted}");
        assert!(on_first.count() >= 8, "{wanted}");
        assert_eq!(
            pods.stage(0) != Stage::Running,
            runs,
            "{wanted}: whether the first pod is pushed off its node"
        );
    }
}

#[test]
fn what_a_reader_sees_of_wrong_objects() {
    let mut page = String::new();
    for workload in [
        "statefulSets: [{replicas: 3, runTime: 10s}]",
        "statefulSets: [{replicas: 3, hold: 10s}]",
        "statefulSets: [{replicas: 3, podManagementPolicy: Ordered}]",
        "statefulSets: [{replicas: 3}], start: backlog",
        "statefulSets: [{replicas: 3, count: 0}]",
        "statefulSets: [{replicas: 3}], pods: [{count: 3}]",
        "statefulSets: [{replicas: 3}], arrivals: {process: poisson, rate: 3}",
        "jobs: [{completions: 3, parallelism: 2}]",
        "jobs: [{completions: 3, parallelism: 0, runTime: 10s}]",
        "jobs: [{completions: 3, backoffLimit: -1, runTime: 10s}]",
        "jobs: [{completions: 3, completionMode: indexed, runTime: 10s}]",
        "jobs: [{completions: 3, parallelism: 2, hold: 10s}]",
        "jobs: [{completions: 3, parallelism: 2, runTime: 10s}, {completions: 3, runTime: 10s}]",
        "jobs: [{completions: 3, activeDeadlineSeconds: 2, runTime: 10s}]",
    ] {
        let text = text(workload, "stop: {when: allBound, limit: 1h}");
        let message = message(&text);
        page += &format!("workload: {{{workload}}}\n{message}\n\n");
    }
    let none = text("statefulSets: [{replicas: 3}]", "stop: {when: allBound, limit: 1h}")
        .replace("{kind: kubelet, startLatency: 10s}", "{kind: none}");
    page += &message(&none);
    assert_page("objects", &page);
}

/// "Graceful termination of preemption victims: when Pods are preempted, the victims get their graceful termination period" (Kubernetes, "Pod Priority and
/// Preemption"); after `terminationGracePeriodSeconds` the kubelet kills what still runs. Until then they keep their place, and the preemptor waits.
#[test]
fn victims_keep_their_place_until_their_containers_have_ended() {
    let bound_s = |latency: &str, grace: &str| {
        let text = format!(
            "apiVersion: podpace/v1
kind: Scenario
name: victims
cluster: {{nodes: [{{count: 1, template: {{allocatable: {{cpu: 4, memory: 64Gi, pods: 110}}}}}}]}}
controlPlane: {{apiServer: {{profile: apiserver-1.36}}, nodeLifecycle: {{kind: kubelet, startLatency: 1s{latency}}}}}
scheduler: {{kind: kube-scheduler}}
workload:
  arrivals: {{interval: 60s}}
  deployments:
    - {{name: low, replicas: 4, requests: {{cpu: 1}}{grace}}}
    - {{name: high, replicas: 1, priority: 100, requests: {{cpu: 1}}}}
stop: {{when: time, limit: 3m}}
"
        );
        let (run, _) = finished(&text);
        let pods = &run.cluster.pods;
        (pods.timeline(4).bound_ns, pods.stage(4))
    };
    for (latency, grace, at_s) in [
        ("", "", 60),
        (", terminationLatency: 12s", "", 72),
        (", terminationLatency: 12s", ", terminationGracePeriodSeconds: 5", 65),
        // Nobody runs longer than 30 s unless the pod says so.
        (", terminationLatency: 50s", "", 90),
        (", terminationLatency: 50s", ", terminationGracePeriodSeconds: 60", 110),
    ] {
        let (bound_ns, stage) = bound_s(latency, grace);
        assert!((at_s * SECOND..(at_s + 2) * SECOND).contains(&bound_ns), "{latency}{grace}: {bound_ns}");
        assert_eq!(stage, Stage::Running);
    }
    for (kind, what) in
        [("none", "nothing runs that would have to end"), ("kwok", "stages say how long a pod takes to end")]
    {
        let text = text("pods: [{count: 1}]", "")
            .replace("kind: kubelet, startLatency: 10s", &format!("kind: {kind}, terminationLatency: 2s"));
        assert!(message(&text).contains(what), "{kind}");
    }
}

/// "The PersistentVolumes associated with the Pods' PersistentVolume Claims are not deleted when the Pods [..] are deleted" (StatefulSets, "Stable
/// Storage"): db-0's volume was made in zone-1, which goes away; the pod that is made in its place can go nowhere else. Claims of places that were
/// bound elsewhere keep theirs, and don't wait for the provisioner again.
#[test]
fn a_place_of_a_set_keeps_its_volume() {
    let zones = "allowedTopologies: [{matchLabelExpressions: [{key: topology.kubernetes.io/zone, values: [zone-0, zone-1, zone-2]}]}]";
    let of = |fault: &str| {
        format!(
            "apiVersion: podpace/v1
kind: Scenario
name: claims
cluster:
  nodes: [{{count: 6, zones: 3, template: {{allocatable: {{cpu: 4, memory: 16Gi, pods: 110}}}}}}]
  storageClasses: [{{name: w, volumeBindingMode: WaitForFirstConsumer, provisioning: 20s, {zones}}}]
controlPlane: {{nodeLifecycle: {{kind: kubelet}}}}
scheduler: {{kind: kube-scheduler}}
workload: {{statefulSets: [{{name: db, replicas: 3, requests: {{cpu: 1}}, volumeClaimTemplates: [{{storageClassName: w}}]}}]}}
faults: [{fault}]
stop: {{when: time, limit: 20m}}
"
        )
    };
    let zone = |run: &Finished, pod: PodId| {
        let nodes = &run.cluster.nodes;
        (nodes.get(run.cluster.pods.node(pod)).zone).map(|zone| nodes.zones()[zone as usize].clone())
    };
    // The three are spread over zones; whoever was in zone-1 waits for it to come back.
    let (run, _) = finished(&of("{kind: nodeRemove, at: 5m, nodes: {zone: zone-1}}"));
    let lost: Vec<PodId> = (0..3).filter(|pod| zone(&run, *pod).as_deref() == Some("zone-1")).collect();
    assert_eq!(lost.len(), 1, "one a zone");
    let conflict = "node(s) had volume node affinity conflict";
    assert_eq!(run.pending_reasons.get(conflict), Some(&1), "{:?}", run.pending_reasons);
    assert_eq!(run.counts.total, 4);
    assert_eq!(run.counts.bound, 3);

    // One node of two goes: the other of its zone takes the pod, and nothing is provisioned.
    let (run, _) = finished(&of("{kind: nodeRemove, at: 5m, nodes: {zone: zone-1, count: 1}}"));
    let pods = &run.cluster.pods;
    for pod in 3..pods.len() as PodId {
        let times = pods.timeline(pod);
        assert_eq!(zone(&run, pod).as_deref(), Some("zone-1"));
        assert!(times.bound_ns - times.created_ns < SECOND, "nothing is to be provisioned");
    }
    for pod in 0..3 {
        let times = pods.timeline(pod);
        assert!(times.bound_ns - times.created_ns >= 20 * SECOND);
    }
}
