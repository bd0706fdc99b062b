//! CronJobs: when their Jobs come, beside which others, and what is said to wrong ones.
//!
//! Each test states the rule; they are of the Kubernetes page "CronJob" and of k/k `pkg/controller/cronjob`.
use podpace::cluster::{PodId, Stage};
use podpace::experiment::run::Completed;

use crate::support::{SECOND, assert_page, count, message, run};

fn text(cron_job: &str, more: &str) -> String {
    format!(
        "apiVersion: podpace/v1
kind: Scenario
name: cron
cluster: {{nodes: [{{count: 8, template: {{allocatable: {{cpu: 32, memory: 64Gi, pods: 110}}}}}}]}}
controlPlane: {{nodeLifecycle: {{kind: kubelet, startLatency: 1s}}}}
scheduler: {{kind: kube-scheduler}}
workload: {{cronJobs: [{{name: c, requests: {{cpu: 1}}, {cron_job}}}]}}
{more}
"
    )
}

/// Seconds at which pods were created; those that never were are left out.
fn created_s(completed: &Completed) -> Vec<u64> {
    let pods = &completed.finished.cluster.pods;
    (0..pods.len() as PodId)
        .filter(|pod| !matches!(pods.stage(*pod), Stage::Planned))
        .map(|pod| pods.timeline(pod).created_ns / SECOND)
        .collect()
}

const TEN_MINUTES: &str = "stop: {when: time, limit: 10m30s}";

/// A Job for each time of the schedule, a moment after it (`nextScheduleDelta`); by default beside those that run.
#[test]
fn each_time_of_the_schedule_has_a_job() {
    let completed = run(&text("schedule: '*/2 * * * *', completions: 2, runTime: 5m", TEN_MINUTES));
    assert_eq!(created_s(&completed), [120, 120, 240, 240, 360, 360, 480, 480, 600, 600]);
    assert_eq!((count(&completed, "jobs.passed_over"), count(&completed, "jobs.replaced")), (0, 0));
    assert_eq!(count(&completed, "jobs.completed"), 2);
    // The date of t = 0 is the scenario's.
    let at = text("schedule: '30 2 29 2 *', runTime: 5s", "stop: {when: allFinished, limit: 1h}")
        .replace("workload: {", "workload: {startTime: 2028-02-29T02:00:00Z, ");
    assert_eq!(created_s(&run(&at)), [1800]);
}

/// "Forbid: .. if it is time for a new Job run and the previous Job run hasn't finished yet, the CronJob skips the new Job run. Also note that when
/// the previous Job run finishes, .startingDeadlineSeconds is still taken into account and may result in a new Job run."
#[test]
fn forbid_waits_for_the_job_before() {
    let job = "schedule: '* * * * *', concurrencyPolicy: Forbid, runTime: 90s";
    let completed = run(&text(job, TEN_MINUTES));
    let created = created_s(&completed);
    assert_eq!(created[0], 60);
    // The time that was missed meanwhile has its Job as soon as the first has ended.
    assert!((152..158).contains(&created[1]), "{created:?}");
    assert!(created.windows(2).all(|two| two[1] - two[0] > 90), "never two at once: {created:?}");
    assert!(count(&completed, "jobs.passed_over") >= 3);
    // Too late by then: the next time has one.
    let completed = run(&text(&format!("{job}, startingDeadlineSeconds: 10"), TEN_MINUTES));
    assert_eq!(created_s(&completed), [60, 180, 300, 420, 540]);
    assert_eq!(count(&completed, "jobs.passed_over"), 4);
}

/// "Replace: If it is time for a new Job run and the previous Job run hasn't finished yet, the CronJob replaces the currently running Job run with a
/// new Job run."
#[test]
fn replace_deletes_the_job_before() {
    let completed =
        run(&text("schedule: '* * * * *', concurrencyPolicy: Replace, runTime: 90s", TEN_MINUTES));
    assert_eq!(created_s(&completed), (1..=10).map(|i| i * 60).collect::<Vec<_>>());
    assert_eq!((count(&completed, "jobs.replaced"), count(&completed, "jobs.completed")), (9, 0));
    let pods = &completed.finished.cluster.pods;
    let running = (0..pods.len() as PodId).filter(|pod| pods.stage(*pod) == Stage::Running).count();
    assert_eq!(running, 1);
}

/// After a time without a controller only the latest of the times that were missed has a Job.
#[test]
fn of_missed_times_the_latest_counts() {
    let faults = "faults: [{kind: controllerManagerLeaderChange, at: 61s}]\nstop: {when: time, limit: 122s}";
    let completed = run(&text("schedule: '@every 5s', runTime: 5s", faults));
    let created = created_s(&completed);
    assert!(!created.iter().any(|at| (62..75).contains(at)), "nobody is there: {created:?}");
    let passed_over = count(&completed, "jobs.passed_over") as usize;
    assert!((2..5).contains(&passed_over), "{passed_over}: {created:?}");
    assert_eq!(created.len() + passed_over, 24, "each time is used or passed over: {created:?}");
}

/// A run that waits for all Jobs ends with the last one before its limit, however far apart they are.
#[test]
fn a_run_waits_for_jobs_to_come() {
    let completed = run(&text("schedule: '@hourly', runTime: 5s", "stop: {when: allFinished, limit: 190m}"));
    assert_eq!(created_s(&completed), [3600, 7200, 10_800]);
    assert_eq!(count(&completed, "jobs.completed"), 3);
    // A Job that is due at the limit could not come any more, and nobody waits for it.
    let completed = run(&text("schedule: '@hourly', runTime: 5s", "stop: {when: allFinished, limit: 3h}"));
    assert_eq!(created_s(&completed), [3600, 7200]);
    assert_eq!(completed.finished.cluster.pods.len(), 2);
}

#[test]
fn what_a_reader_sees_of_wrong_cron_jobs() {
    let mut page = String::new();
    for job in [
        "schedule: '* * * *', runTime: 5s",
        "schedule: '0 0 * * 7', runTime: 5s",
        "schedule: 'TZ=Europe/Paris 0 * * * *', runTime: 5s",
        "schedule: '* * * * *', timeZone: Europe/Paris, runTime: 5s",
        "schedule: '0 0 1 3 *', runTime: 5s",
        "schedule: '* * * * *'",
        "schedule: '* * * * *', concurrencyPolicy: forbid, runTime: 5s",
        "schedule: '* * * * *', startingDeadlineSeconds: -1, runTime: 5s",
        "runTime: 5s",
    ] {
        let text = text(job, "stop: {when: time, limit: 1h}");
        page += &format!("cronJobs: [{{{job}}}]\n{}\n\n", message(&text));
    }
    let text =
        text("schedule: '* * * * *', runTime: 5s", "").replace("workload: {", "workload: {startTime: noon, ");
    page += &format!("startTime: noon\n{}\n\n", message(&text));
    assert_page("cron_jobs", &page);
}
