//! StatefulSets, Jobs, CronJobs and ResourceQuotas of a scenario: what can't go together, and what they become.
//!
//! They are controllers' objects, as Deployments are: created one after the other, `arrivals.interval` apart, and their pods
//! are made by kube-controller-manager. So they need an API that somebody writes to while the run goes on: no backlog, and no
//! pods that a load client creates beside them. What they become is a range of pods and an [`OwnerPlan`].
//!
//! Cost: O(objects).
use super::cron::{self, Schedule};
use super::limits;
use super::plan::OwnerPlan;
use super::quantity::Quantity;
use super::resolve::DEFAULT_LIMIT_NS;
use super::spec::{
    ClusterSpec, CompletionMode, ConcurrencyPolicy, CronJobSpec, JobSpec, NodeLifecycleKind,
    PodManagementPolicy, PodShape, ScenarioSpec, StatefulSetSpec, WorkloadStart,
};
use super::validate::{Check, pod_groups};
use crate::cluster::{Cluster, DEFAULT_NAMESPACE, ResourceQuota};
use crate::control_plane::controllers::cron_job::{Concurrency, CronJobSettings, DELTA_NS};
use crate::control_plane::controllers::job::JobSettings;
use crate::control_plane::controllers::stateful_set::StatefulSetSettings;
use crate::engine::{Nanos, SECOND};

/// `backoffLimit` of a Job that does not say.
const BACKOFF_LIMIT: u32 = 6;

/// All rules.
pub(super) fn validate(spec: &ScenarioSpec, check: &mut Check<'_>) {
    quotas(spec, check);
    let workload = &spec.workload;
    for (i, set) in workload.stateful_sets.iter().enumerate() {
        let path = format!("workload.statefulSets[{i}]");
        check.optional_count(&format!("{path}.count"), set.count, 1, limits::APPS);
        controlled(&path, &set.shape(), spec, check);
        if set.run_time.is_some() {
            let message = "the pods of a StatefulSet run until they are deleted (`restartPolicy: Always`)";
            check.report(&format!("{path}.runTime"), message, "use a Job for pods that end");
        }
        let agents = spec.control_plane.node_lifecycle.kind.unwrap_or_default();
        let policy = set.pod_management_policy.unwrap_or_default();
        if policy == PodManagementPolicy::OrderedReady && agents == NodeLifecycleKind::None {
            let message = "without node agents no pod is ever ready, and the second one is never made";
            let hint = "set `controlPlane.nodeLifecycle.kind` to kubelet, hollow or kwok, or \
                        `podManagementPolicy: Parallel`";
            check.report(&format!("{path}.podManagementPolicy"), message, hint);
        }
    }
    // With stages these say when pods end.
    let stages = &spec.control_plane.node_lifecycle.stages;
    for (i, job) in workload.jobs.iter().enumerate().filter(|(_, job)| job.is_controlled()) {
        let path = format!("workload.jobs[{i}]");
        controlled(&path, &job.shape(), spec, check);
        check.optional_count(&format!("{path}.backoffLimit"), job.backoff_limit, 0, u64::from(u32::MAX >> 1));
        if job.run_time.is_none() && stages.is_empty() {
            let message = "the pods of this Job never succeed: they run for ever";
            check.report(&format!("{path}.runTime"), message, "such as `runTime: 30s`");
        }
    }
    cron_jobs(spec, check);
}

fn cron_jobs(spec: &ScenarioSpec, check: &mut Check<'_>) {
    let workload = &spec.workload;
    if let Some(text) = &workload.start_time
        && cron::start_s(text).is_none()
    {
        check.expected("workload.startTime", "a date in UTC", "such as 2025-01-01T00:00:00Z");
    }
    for (i, job) in workload.cron_jobs.iter().enumerate() {
        let path = format!("workload.cronJobs[{i}]");
        controlled(&path, &job.shape(), spec, check);
        check.optional_count(&format!("{path}.completions"), job.completions, 1, limits::PODS);
        check.optional_count(&format!("{path}.parallelism"), job.parallelism, 1, limits::PODS);
        let most = u64::from(u32::MAX >> 1);
        for (key, value) in [
            ("backoffLimit", job.backoff_limit),
            ("startingDeadlineSeconds", job.starting_deadline_seconds),
            ("successfulJobsHistoryLimit", job.successful_jobs_history_limit),
            ("failedJobsHistoryLimit", job.failed_jobs_history_limit),
        ] {
            check.optional_count(&format!("{path}.{key}"), value, 0, most);
        }
        if job.run_time.is_none() && spec.control_plane.node_lifecycle.stages.is_empty() {
            let message = "the pods of its Jobs never succeed: they run for ever";
            check.report(&format!("{path}.runTime"), message, "such as `runTime: 30s`");
        }
        let limit_ns = spec.stop.limit.map_or(DEFAULT_LIMIT_NS, |limit| limit.0);
        for (key, _, message, hint) in job.wrong_times(limit_ns, workload.start_time.as_deref()) {
            check.report(&format!("{path}.{key}"), message, hint);
        }
    }
}

/// The resources of a quota that are modelled, by the names that mean the same.
const QUOTA_RESOURCES: [[&str; 2]; 3] =
    [["pods", "count/pods"], ["requests.cpu", "cpu"], ["requests.memory", "memory"]];

fn quotas(spec: &ScenarioSpec, check: &mut Check<'_>) {
    for (i, quota) in spec.cluster.resource_quotas.iter().enumerate() {
        let path = format!("cluster.resourceQuotas[{i}].hard");
        if quota.hard.is_empty() {
            let hint = "such as `{pods: 50, requests.cpu: 20, requests.memory: 64Gi}`";
            check.report(&path, "the quota limits nothing", hint);
        }
        for (name, amount) in &quota.hard {
            let path = format!("{path}[\"{name}\"]");
            if !QUOTA_RESOURCES.iter().flatten().any(|known| known == name) {
                let message = format!("quotas of `{name}` are not modelled");
                check.report(&path, message, "there are pods, requests.cpu and requests.memory");
            } else if amount.is_negative() || !name.ends_with("cpu") && !amount.is_whole() {
                check.expected(&path, "a whole amount of at least 0", "such as 20, 500m of cpu, 64Gi");
            }
        }
        for [name, other] in QUOTA_RESOURCES {
            if quota.hard.contains_key(name) && quota.hard.contains_key(other) {
                let message = format!("`{name}` and `{other}` mean the same");
                check.report(&path, message, "leave one of them out");
            }
        }
    }
    let gangs = pod_groups(&spec.workload).iter().any(|group| group.shape.gang.is_some());
    if gangs && !spec.cluster.resource_quotas.is_empty() {
        let message = "how YuniKorn takes it when a placeholder is refused is not modelled";
        check.report("cluster.resourceQuotas", message, "leave the quotas, or the gangs, out");
    }
}

/// Notes the quotas.
pub(super) fn add_quotas(cluster: &mut Cluster, spec: &ClusterSpec) {
    for (i, quota) in spec.resource_quotas.iter().enumerate() {
        let hard = |at: usize| QUOTA_RESOURCES[at].iter().find_map(|name| quota.hard.get(*name).copied());
        cluster.resource_quotas.push(ResourceQuota {
            name: quota.name.clone().unwrap_or_else(|| format!("quota{i}")),
            namespace: quota.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
            pods: hard(0).and_then(Quantity::units),
            cpu_millicores: hard(1).and_then(Quantity::milli),
            memory_bytes: hard(2).and_then(Quantity::units),
        });
    }
}

/// What goes for all objects whose pods a controller makes.
fn controlled(path: &str, shape: &PodShape, spec: &ScenarioSpec, check: &mut Check<'_>) {
    if spec.workload.start == Some(WorkloadStart::Backlog) {
        let message =
            format!("the pods of `{path}` are made by its controller, and a backlog is there before it");
        check.report("workload.start", message, "set `start: live`");
    }
    if shape.hold.is_some() {
        let message = "a pod that is deleted is made anew by its controller";
        check.report(&format!("{path}.hold"), message, "leave it out");
    }
    if shape.gang.is_some() {
        let message = "gangs whose pods a StatefulSet or a Job makes are not modelled";
        check.report(&format!("{path}.gang"), message, "use `pods` or `deployments`, or leave the gang out");
    }
}

impl StatefulSetSpec {
    /// What it is to its controller.
    pub(super) fn owner(&self) -> OwnerPlan {
        let policy = self.pod_management_policy.unwrap_or_default();
        OwnerPlan::StatefulSet(StatefulSetSettings { ordered: policy == PodManagementPolicy::OrderedReady })
    }
}

impl CronJobSpec {
    /// What is wrong with its times before the limit of a run: field, value, message, what to do.
    pub(super) fn wrong_times(
        &self,
        limit_ns: Nanos,
        start_time: Option<&str>,
    ) -> Vec<(&'static str, String, String, &'static str)> {
        let mut wrong = Vec::new();
        if let Some(zone) = self.time_zone.as_ref().filter(|zone| cron::offset_s(zone).is_none()) {
            let message = format!("time zone `{zone}` is not modelled");
            let hint = "write the schedule in UTC, and leave it out; or name a fixed offset: Etc/GMT-2 is two hours east";
            wrong.push(("timeZone", zone.clone(), message, hint));
        }
        let mut schedule = |message, hint| wrong.push(("schedule", self.schedule.clone(), message, hint));
        match Schedule::parse(&self.schedule) {
            Err(why) => {
                let value = &self.schedule;
                let message =
                    format!("the API server refuses this: spec.schedule: Invalid value: \"{value}\": {why}");
                schedule(message, "such as `*/5 * * * *` or `@hourly`");
            }
            Ok(_) if self.suspend == Some(true) => {}
            Ok(_) => {
                let times = self.settings(limit_ns, start_time, 0).times_ns.len() as u64;
                if times == 0 {
                    let message = "no Job is due before `stop.limit`".to_owned();
                    schedule(message, "raise the limit, or set `workload.startTime`");
                } else if times > limits::APPS {
                    let message = format!("more than {} Jobs are due before `stop.limit`", limits::APPS);
                    schedule(message, "lower the limit, or start Jobs less often");
                }
            }
        }
        wrong
    }

    /// What it is to its controller in a run that ends at a limit, if its first Job is the owner with this number.
    pub(super) fn settings(
        &self,
        limit_ns: Nanos,
        start_time: Option<&str>,
        first_job: usize,
    ) -> CronJobSettings {
        // One that is due at the limit is looked at after it.
        let limit_ns = limit_ns.saturating_sub(DELTA_NS);
        let start_s = start_time.and_then(cron::start_s).unwrap_or(cron::START_S);
        let offset_s = self.time_zone.as_deref().and_then(cron::offset_s).unwrap_or(0);
        let schedule = Schedule::parse(&self.schedule).ok().filter(|_| self.suspend != Some(true));
        let most = usize::try_from(limits::APPS).unwrap_or(usize::MAX);
        let count = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let kept = |limit: Option<u64>, default: u32| limit.map_or(default, count);
        CronJobSettings {
            times_ns: schedule.map_or_else(Vec::new, |s| s.times_ns(start_s, offset_s, limit_ns, most)),
            first_job: count(first_job as u64),
            deadline_ns: self.starting_deadline_seconds.map(|seconds| seconds.saturating_mul(SECOND)),
            concurrency: match self.concurrency_policy.unwrap_or_default() {
                ConcurrencyPolicy::Allow => Concurrency::Allow,
                ConcurrencyPolicy::Forbid => Concurrency::Forbid,
                ConcurrencyPolicy::Replace => Concurrency::Replace,
            },
            history: [kept(self.successful_jobs_history_limit, 3), kept(self.failed_jobs_history_limit, 1)],
        }
    }

    /// What its Jobs are to their controller.
    pub(super) fn job(&self) -> OwnerPlan {
        job_owner(self.parallelism, self.completions, self.completion_mode, self.backoff_limit)
    }
}

/// What a Job is to its controller.
pub(super) fn job_owner(
    parallelism: Option<u64>,
    completions: Option<u64>,
    mode: Option<CompletionMode>,
    backoff_limit: Option<u64>,
) -> OwnerPlan {
    let count = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    OwnerPlan::Job(JobSettings {
        parallelism: count(parallelism.or(completions).unwrap_or(1)),
        backoff_limit: backoff_limit.map_or(BACKOFF_LIMIT, count),
        indexed: mode == Some(CompletionMode::Indexed),
    })
}

impl JobSpec {
    /// What it is to its controller.
    pub(super) fn owner(&self) -> OwnerPlan {
        job_owner(self.parallelism, self.completions, self.completion_mode, self.backoff_limit)
    }
}
