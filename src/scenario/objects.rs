//! StatefulSets, Jobs and ResourceQuotas of a scenario: what can't go together, and what they become.
//!
//! They are controllers' objects, as Deployments are: created one after the other, `arrivals.interval` apart, and their pods
//! are made by kube-controller-manager. So they need an API that somebody writes to while the run goes on: no backlog, and no
//! pods that a load client creates beside them. What they become is a range of pods and an [`OwnerPlan`].
//!
//! Cost: O(objects).
use super::limits;
use super::plan::OwnerPlan;
use super::quantity::Quantity;
use super::spec::{
    ClusterSpec, CompletionMode, JobSpec, NodeLifecycleKind, PodManagementPolicy, PodShape, ScenarioSpec,
    StatefulSetSpec, WorkloadStart,
};
use super::validate::{Check, pod_groups};
use crate::cluster::{Cluster, DEFAULT_NAMESPACE, ResourceQuota};
use crate::control_plane::controllers::job::JobSettings;
use crate::control_plane::controllers::stateful_set::StatefulSetSettings;

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
    for (i, job) in workload.jobs.iter().enumerate().filter(|(_, job)| job.is_controlled()) {
        let path = format!("workload.jobs[{i}]");
        controlled(&path, &job.shape(), spec, check);
        check.optional_count(&format!("{path}.backoffLimit"), job.backoff_limit, 0, u64::from(u32::MAX >> 1));
        if job.run_time.is_none() {
            let message = "the pods of this Job never succeed: they run for ever";
            check.report(&format!("{path}.runTime"), message, "such as `runTime: 30s`");
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

impl JobSpec {
    /// What it is to its controller.
    pub(super) fn owner(&self) -> OwnerPlan {
        let count = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        OwnerPlan::Job(JobSettings {
            parallelism: count(self.parallelism.or(self.completions).unwrap_or(1)),
            backoff_limit: self.backoff_limit.map_or(BACKOFF_LIMIT, count),
            indexed: self.completion_mode == Some(CompletionMode::Indexed),
        })
    }
}
