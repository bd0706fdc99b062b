//! CronJobs among manifests: the same run as `workload.cronJobs`, and what is said to those that are not modelled.
//!
//! Defaults and refusals are those of batch/v1 (k/k `pkg/apis/batch`), run times those of KWOK's stage `pod-complete`.
use podpace::cluster::{PodId, Stage};
use podpace::experiment::output::digest;
use podpace::experiment::run::{Completed, Environment, RunSpec};
use podpace::scenario::Document;
use podpace::scenario::plan::Plan;

use crate::support::{SECOND, assert_goes_on, assert_page, count, message_of};

fn text(scheduler: &str, workload: &str, more: &str) -> String {
    format!(
        "apiVersion: podpace/v1
kind: Scenario
name: cron
cluster: {{nodes: [{{count: 8, zones: 2, template: {{labels: {{pool: a}}, taints: [{{key: batch, effect: NoSchedule}}], allocatable: {{cpu: 32, memory: 64Gi, pods: 110}}}}}}]}}
controlPlane: {{apiServer: {{profile: apiserver-1.36}}, nodeLifecycle: {{kind: kubelet, startLatency: {{min: 1s, max: 3s}}}}}}
scheduler: {{kind: {scheduler}}}
workload: {{startTime: 2025-03-31T22:00:00Z, {workload}}}
{more}
"
    )
}

/// A CronJob with these fields, those of its Jobs, and KWOK's two annotations.
fn cron_job(name: &str, own: &str, job: &str, times: [&str; 2]) -> String {
    format!(
        "apiVersion: batch/v1
kind: CronJob
metadata: {{name: {name}}}
spec:
  {own}
  jobTemplate:
    spec:
      {job}
      template:
        metadata:
          labels: {{app: backup}}
          annotations: {{pod-complete.stage.kwok.x-k8s.io/delay: {}, pod-complete.stage.kwok.x-k8s.io/jitter-delay: {}}}
        spec:
          restartPolicy: Never
          nodeSelector: {{pool: a}}
          tolerations: [{{key: batch, operator: Exists}}]
          containers: [{{name: c, image: busybox, resources: {{requests: {{cpu: 250m, memory: 64Mi}}}}}}]
---
",
        times[0], times[1]
    )
}

const POD: &str = "requests: {cpu: 250m, memory: 64Mi}, labels: {app: backup}, nodeSelector: {pool: a}, tolerations: [{key: batch, operator: Exists}]";

fn spec(text: &str, manifests: &str) -> RunSpec {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("all.yaml"), manifests).unwrap();
    let document = Document::parse("scenario.yaml", text, Some(folder.path())).unwrap();
    // The folder has to last until the plan is made.
    let _ = folder.keep();
    RunSpec::of_scenario(document).unwrap_or_else(|errors| panic!("{}\n{text}", errors[0]))
}

fn run(text: &str, manifests: &str) -> Completed {
    spec(text, manifests).simulate(&Environment::built_in()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn created_s(completed: &Completed) -> Vec<u64> {
    let pods = &completed.finished.cluster.pods;
    let made = (0..pods.len() as PodId).filter(|pod| !matches!(pods.stage(*pod), Stage::Planned));
    made.map(|pod| pods.timeline(pod).created_ns / SECOND).collect()
}

const STOP: &str =
    "faults: [{kind: podFailure, every: 3m, to: 15m}, {kind: controllerManagerLeaderChange, at: 4m}]
stop: {when: allFinished, limit: 20m}";

/// Whichever way a CronJob is written, the results have the same bytes, but for the hashes of what they were made from.
#[test]
fn a_manifest_gives_the_run_of_the_same_fields_in_a_scenario() {
    let manifests = [
        cron_job("a", "schedule: '* * * * *'", "completions: 3\n      parallelism: 2", ["40s", "130s"]),
        cron_job(
            "b",
            "schedule: '@every 45s'\n  concurrencyPolicy: Forbid\n  startingDeadlineSeconds: 20\n  successfulJobsHistoryLimit: 1",
            "completions: 2\n      parallelism: 2\n      completionMode: Indexed\n      backoffLimit: 1",
            ["70s", "70s"],
        ),
        cron_job(
            "c",
            "schedule: '*/3 0 * * *'\n  timeZone: Etc/GMT-2\n  concurrencyPolicy: Replace\n  failedJobsHistoryLimit: 0\n  suspend: false",
            "completions: 2",
            ["100s", "200s"],
        ),
        cron_job("d", "schedule: '* * * * *'\n  suspend: true", "backoffLimit: 6", ["1s", "1s"]),
    ]
    .concat();
    let groups = format!(
        "cronJobs: [{{name: a, schedule: '* * * * *', completions: 3, parallelism: 2, runTime: {{min: 40s, max: 130s}}, {POD}}}, \
         {{name: b, schedule: '@every 45s', concurrencyPolicy: Forbid, startingDeadlineSeconds: 20, successfulJobsHistoryLimit: 1, completions: 2, parallelism: 2, completionMode: Indexed, backoffLimit: 1, runTime: 70s, {POD}}}, \
         {{name: c, schedule: '*/3 0 * * *', timeZone: Etc/GMT-2, concurrencyPolicy: Replace, failedJobsHistoryLimit: 0, completions: 2, parallelism: 1, runTime: {{min: 100s, max: 200s}}, {POD}}}, \
         {{name: d, schedule: '* * * * *', suspend: true, runTime: 1s, {POD}}}]"
    );
    for scheduler in ["kube-scheduler", "yunikorn", "volcano", "first-fit"] {
        let [mut of_manifests, mut of_groups] = ["manifests: [all.yaml]", &groups]
            .map(|workload| run(&text(scheduler, workload, STOP), &manifests));
        assert!(of_manifests.summary.inputs.files.iter().any(|file| file.name.contains("CronJob default/a")));
        assert!(count(&of_groups, "jobs.completed") > 15 && count(&of_groups, "jobs.replaced") > 0);
        for run in [&mut of_manifests, &mut of_groups] {
            run.summary.inputs = Default::default();
            run.summary.notes.clear();
        }
        assert_eq!(of_manifests.summary.to_json(), of_groups.summary.to_json(), "{scheduler}");
        assert_eq!(digest(&of_manifests).unwrap(), digest(&of_groups).unwrap(), "{scheduler}");
    }
    // Neither says when the run ends: an hour.
    let [one, other] = [("manifests: [all.yaml]".to_owned()), groups].map(|workload| {
        let mut run = run(&text("kube-scheduler", &workload, ""), &manifests);
        (run.summary.inputs, run.summary.notes) = (Default::default(), Vec::new());
        digest(&run).unwrap()
    });
    assert_eq!(one, other);
}

/// Their Jobs come beside the pods of the other objects, which a load client creates; a new controller manager does not start them.
#[test]
fn they_stand_beside_other_objects() {
    let web = "kind: Deployment
metadata: {name: web}
spec: {replicas: 12, template: {spec: {tolerations: [{operator: Exists}], containers: [{name: c, resources: {requests: {cpu: 500m}}}]}}}
---
kind: DaemonSet
metadata: {name: agent}
spec: {template: {spec: {tolerations: [{operator: Exists}], containers: [{name: c, resources: {requests: {cpu: 100m}}}]}}}
---
";
    let jobs =
        cron_job("a", "schedule: '*/2 * * * *'", "completions: 2\n      parallelism: 2", ["30s", "30s"]);
    let faults = "faults: [{kind: controllerManagerLeaderChange, at: 3m}]\nstop: {when: time, limit: 9m}";
    for scheduler in ["kube-scheduler", "yunikorn", "first-fit"] {
        let run = run(&text(scheduler, "manifests: [all.yaml]", faults), &(web.to_owned() + &jobs));
        let mut created = created_s(&run);
        created.sort_unstable();
        assert_eq!(created[..20], [0; 20], "{scheduler}");
        assert_eq!(created[20..], [120, 120, 240, 240, 360, 360, 480, 480], "{scheduler}");
        assert_eq!((count(&run, "jobs.completed"), count(&run, "pods.total")), (4, 28), "{scheduler}");
    }
}

/// A run that pauses and goes on is the one that does not.
#[test]
fn a_run_that_is_saved_goes_on_as_it_would_have() {
    let pod = "kind: Pod\nmetadata: {name: p}\nspec: {tolerations: [{operator: Exists}], containers: [{name: c}]}\n---\n";
    let jobs =
        cron_job("a", "schedule: '* * * * *'\n  concurrencyPolicy: Forbid", "completions: 2", ["20s", "90s"]);
    let stop = "stop: {when: time, limit: 9m}";
    let plan: Plan = spec(&text("kube-scheduler", "manifests: [all.yaml]", stop), &(pod.to_owned() + &jobs))
        .plan(&Environment::built_in())
        .unwrap();
    assert_goes_on(&plan, [30, 61, 130, 400].map(|at_s| at_s * SECOND));
}

/// One that exists, of a cluster whose pods are in the input, has its pods among them.
#[test]
fn those_of_a_cluster_with_pods_are_left_alone() {
    let exists = "creationTimestamp: \"2025-03-31T21:00:00Z\"";
    let jobs = cron_job("a", "schedule: '* * * * *'", "completions: 2", ["20s", "20s"])
        .replace("{name: a}", &format!("{{name: a, {exists}}}"));
    let pod = format!(
        "kind: Pod\nmetadata: {{name: p, {exists}}}\nspec: {{tolerations: [{{operator: Exists}}], containers: [{{name: c}}]}}\n---\n"
    );
    let text = text("kube-scheduler", "manifests: [all.yaml]", "stop: {when: time, limit: 3m}");
    let both = run(&text, &(pod + &jobs));
    assert_eq!(created_s(&both), [0]);
    let alone = "1 CronJobs were left alone: pods that exist are in the input";
    assert!(both.summary.notes.iter().any(|note| note == alone), "{:?}", both.summary.notes);
    assert_eq!(run(&text, &jobs).finished.cluster.pods.len(), 4, "none of its pods is in the input");
}

#[test]
fn what_a_reader_sees_of_wrong_cron_jobs_in_manifests() {
    let folder = tempfile::tempdir().unwrap();
    let good = cron_job("a", "schedule: '*/5 * * * *'", "completions: 2", ["20s", "40s"]);
    let of = |own: &str, job: &str| cron_job("a", own, job, ["20s", "40s"]);
    let own = |more: &str| of(&format!("schedule: '* * * * *'\n  {more}"), "completions: 2");
    let job = |more: &str| of("schedule: '* * * * *'", more);
    let history = "kind: Job\nmetadata: {name: a-29000000, ownerReferences: [{kind: CronJob, name: a, controller: true}]}\nspec: {template: {spec: {containers: [{name: c}]}}}\n";
    let live = "manifests: [all.yaml]";
    let mut page = String::new();
    for (what, manifest, workload) in [
        ("no startTime", good.clone(), "NO DATE"),
        ("start: backlog", good.clone(), "start: backlog, manifests: [all.yaml]"),
        ("spec.schedule: '0 0 * * 7'", of("schedule: '0 0 * * 7'", "completions: 2"), live),
        ("spec.schedule: '0 0 1 3 *'", of("schedule: '0 0 1 3 *'", "completions: 2"), live),
        ("no schedule", of("suspend: false", "completions: 2"), live),
        ("timeZone: Europe/Paris", own("timeZone: Europe/Paris"), live),
        ("concurrencyPolicy: forbid", own("concurrencyPolicy: forbid"), live),
        ("startingDeadlineSeconds: -1", own("startingDeadlineSeconds: -1"), live),
        ("suspend: later", own("suspend: later"), live),
        ("historyLimit: 3", own("historyLimit: 3"), live),
        ("activeDeadlineSeconds: 60", job("activeDeadlineSeconds: 60"), live),
        ("ttlSecondsAfterFinished: 60", job("ttlSecondsAfterFinished: 60"), live),
        ("podFailurePolicy: {}", job("podFailurePolicy: {rules: [{action: FailJob}]}"), live),
        ("managedBy: mine", job("managedBy: example.com/mine"), live),
        ("suspend: true", job("suspend: true"), live),
        ("parallelism: 0", job("parallelism: 0"), live),
        ("parallelism: 3", job("parallelism: 3"), live),
        ("completionMode: Indexed", job("completionMode: Indexed"), live),
        ("nodeName: n", good.replace("nodeSelector: {pool: a}", "nodeName: n"), live),
        ("restartPolicy: Always", good.replace("Never", "Always"), live),
        ("no jitter-delay", good.replace(", pod-complete.stage.kwok.x-k8s.io/jitter-delay: 40s", ""), live),
        ("delay: soon", good.replace("delay: 20s", "delay: soon"), live),
        ("apiVersion: batch/v1beta1", good.replace("batch/v1", "batch/v1beta1"), live),
        (
            "no template",
            "kind: CronJob\nmetadata: {name: a}\nspec: {schedule: '* * * * *', jobTemplate: {}}\n".to_owned(),
            live,
        ),
        ("no name", good.replace("name: a}", "labels: {}}"), live),
        ("twice", good.clone() + &good, live),
        ("a Job of its own", good.clone() + history, live),
    ] {
        std::fs::write(folder.path().join("all.yaml"), manifest).unwrap();
        let text = match workload {
            "NO DATE" => text("kube-scheduler", live, "").replace("startTime: 2025-03-31T22:00:00Z, ", ""),
            _ => text("kube-scheduler", workload, ""),
        };
        let message = message_of(&text, Some(folder.path()));
        let message = message.replace(&folder.path().display().to_string(), "FOLDER");
        page += &format!("{what}\n{message}\n\n");
    }
    // The same field of Jobs with what it means anyway is no error.
    let neutral = "suspend: false\n      manualSelector: false\n      podReplacementPolicy: TerminatingOrFailed\n      managedBy: kubernetes.io/job-controller\n      selector: null";
    let run = run(&text("kube-scheduler", live, "stop: {when: time, limit: 3m}"), &job(neutral));
    assert_eq!(created_s(&run), [60, 120]);
    assert_page("cron_manifests", &page);
}
