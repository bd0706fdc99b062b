//! Rollouts: `strategy` and `minReadySeconds` of a Deployment, and `faults: [{kind: rollout, deployment: web, ..}]`, which changes its pods' template at a time.
//!
//! What changes is what the models look at: requests and images. A rollout that gives neither is one all the same, as `kubectl rollout restart` is.
//! Changes add up: a second rollout begins with the first one's template. The pods of each, and those that a Deployment has before its first rollout, have a label
//! `pod-template-hash` of their own, by which their ReplicaSet selects them. Deployments that are not rolled out go without.
//!
//! Source: `staging/src/k8s.io/api/apps/v1/types.go`, `pkg/apis/apps/validation/validation.go` (`ValidateDeploymentStrategy`), `ResolveFenceposts` in
//! `pkg/controller/deployment/util/deployment_util.go` of k/k.
//!
//! Changes of `replicas` are [`scale`](super::scale)'s.
//!
//! Left out: rollouts of StatefulSets and DaemonSets.
//!
//! Cost: O(Deployments + rollouts x log).
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::diagnostic::did_you_mean;
use super::faults::{FaultKindSpec, FaultSpec};
use super::quantity::ResourceList;
use super::resolve::resource_amount;
use super::scheduling::{self, IntOrPercent};
use super::spec::{DeploymentSpec, NodeLifecycleKind, PodShape, ScenarioSpec, WorkloadSpec, WorkloadStart};
use super::validate::Check;
use crate::cluster::{Amount, Cluster, PodId, PodSpec, Resources, SpecId};
use crate::control_plane::controllers::deployment::{DeploymentSettings, Strategy};
use crate::engine::{Nanos, SECOND};

/// What distinguishes the pods of a Deployment's ReplicaSets.
const HASH_LABEL: &str = "pod-template-hash";

/// The hash of the template before the first rollout; later ones have the number of their fault.
const FIRST_HASH: &str = "first";

/// By the number of the fault: whose pods, by their owner, become what.
pub(super) type Changes = BTreeMap<usize, Vec<(u32, SpecId)>>;

/// `strategy.type` of a Deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StrategyType {
    /// Old pods go as new ones come.
    #[default]
    RollingUpdate,
    /// All old pods go first.
    Recreate,
}

/// `strategy.rollingUpdate` of a Deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollingUpdateSpec {
    /// Pods beyond `replicas`, a share rounded up. Default 25%.
    pub max_surge: Option<IntOrPercent>,
    /// Pods of `replicas` that need not be available, a share rounded down. Default 25%.
    pub max_unavailable: Option<IntOrPercent>,
}

/// `strategy` of a Deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeploymentStrategySpec {
    /// Default `RollingUpdate`.
    #[serde(rename = "type")]
    pub kind: Option<StrategyType>,
    /// How many pods at a time.
    pub rolling_update: Option<RollingUpdateSpec>,
}

/// What a rollout changes about the pods' template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TemplateChangeSpec {
    /// What a pod asks for from then on. Default: as before.
    pub requests: Option<ResourceList>,
    /// Images of the containers. Default: as before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
}

/// Objects of groups by their names, in their order, each with the index of its group.
pub(super) fn names_of<'a>(
    groups: impl Iterator<Item = (Option<&'a str>, Option<u64>)>,
    default: &str,
) -> Vec<(String, usize)> {
    let mut out = Vec::new();
    for (index, (name, count)) in groups.enumerate() {
        let base = name.map_or_else(|| format!("{default}{index}"), str::to_owned);
        let copies = count.unwrap_or(1);
        out.extend(
            (0..copies)
                .map(|copy| (if copies == 1 { base.clone() } else { format!("{base}-{copy}") }, index)),
        );
    }
    out
}

/// Deployments by name in the order of their ReplicaSets, with the group that they are of.
pub(super) fn names(workload: &WorkloadSpec) -> Vec<(String, usize)> {
    let groups = workload.deployments.iter().map(|group| (group.name.as_deref(), group.count));
    names_of(groups, "deployment")
}

/// Which objects are meant: one, or all of a group by its name. `all` are their names and groups.
pub(super) fn meant<'a>(
    all: &[(String, usize)],
    name_of_group: impl Fn(usize) -> Option<&'a str>,
    wanted: &str,
) -> Vec<u32> {
    let found = all.iter().zip(0..);
    found
        .filter(|((name, group), _)| name == wanted || name_of_group(*group) == Some(wanted))
        .map(|(_, at)| at)
        .collect()
}

/// Which Deployments are meant.
fn targets(workload: &WorkloadSpec, wanted: &str) -> Vec<u32> {
    meant(&names(workload), |group| workload.deployments[group].name.as_deref(), wanted)
}

/// What the `strategy` of a Deployment comes to with so many replicas.
pub(super) fn strategy(group: &DeploymentSpec, replicas: u64) -> Strategy {
    let strategy = group.strategy.unwrap_or_default();
    if strategy.kind == Some(StrategyType::Recreate) {
        return Strategy::Recreate;
    }
    let given = strategy.rolling_update.unwrap_or_default();
    let quarter = Amount::Percent(25);
    let surge = given.max_surge.map_or(quarter, |amount| amount.0).of(replicas);
    let unavailable = match given.max_unavailable.map_or(quarter, |amount| amount.0) {
        Amount::Pods(pods) => u64::from(pods),
        // Rounded down.
        Amount::Percent(share) => replicas * u64::from(share) / 100,
    };
    // Shares that come to nothing would make no progress.
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    let count = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Strategy::RollingUpdate { max_surge: count(surge), max_unavailable: count(unavailable.min(replicas)) }
}

/// The spec of pods of a ReplicaSet that has this hash.
fn hashed(mut spec: PodSpec, hash: &str) -> PodSpec {
    spec.labels.insert(HASH_LABEL.to_owned(), hash.to_owned());
    if let Some(selector) = &mut spec.controller_selector {
        selector.labels.insert(HASH_LABEL.to_owned(), hash.to_owned());
    }
    spec
}

/// Rules of Deployments' strategies.
pub(super) fn validate(spec: &ScenarioSpec, check: &mut Check<'_>) {
    for (i, group) in spec.workload.deployments.iter().enumerate() {
        let path = format!("workload.deployments[{i}]");
        let most = u64::from(u32::MAX >> 1);
        check.optional_count(&format!("{path}.minReadySeconds"), group.min_ready_seconds, 0, most);
        let Some(strategy) = group.strategy else { continue };
        let path = format!("{path}.strategy.rollingUpdate");
        let Some(given) = strategy.rolling_update else { continue };
        if strategy.kind == Some(StrategyType::Recreate) {
            let message =
                "the API server refuses this: may not be specified when strategy `type` is 'Recreate'";
            check.report(&path, message, "leave one of them out");
        }
        let none = |amount: Option<IntOrPercent>| amount.is_some_and(|amount| amount.0.of(100) == 0);
        if none(given.max_surge) && none(given.max_unavailable) {
            let message = "the API server refuses this: may not be 0 when `maxSurge` is 0";
            check.report(&format!("{path}.maxUnavailable"), message, "such as 1 or 25%");
        }
    }
}

/// A change of an object comes at one time, to pods that can be ready: what it is, what to do instead of repeating it, and what never happens
/// without agents.
pub(super) fn validate_change(
    path: &str,
    (fault, spec): (&FaultSpec, &ScenarioSpec),
    [what, instead, never]: [&str; 3],
    check: &mut Check<'_>,
) {
    for (field, is_given) in [("every", fault.every.is_some()), ("mtbf", fault.mtbf.is_some())] {
        if is_given {
            check.report(&format!("{path}.{field}"), format!("a {what} comes at one time"), instead);
        }
    }
    if spec.control_plane.node_lifecycle.kind.unwrap_or_default() == NodeLifecycleKind::None {
        let message = format!("without node agents no pod is ever ready, and no {what} {never}");
        let hint = "set `controlPlane.nodeLifecycle.kind` to kubelet, hollow or kwok";
        check.report(&format!("{path}.kind"), message, hint);
    }
}

/// The last object of a change, whose name stands in `field`, is there by then, and nothing about its pods is in the way.
pub(super) fn validate_last(
    (path, field): (&str, &str),
    (fault, workload): (&FaultSpec, &WorkloadSpec),
    (owner, shape): (u32, &PodShape),
    [what, changes]: [&str; 2],
    check: &mut Check<'_>,
) {
    // The last of them is created last.
    let interval_ns = workload.arrivals.interval.map_or(0, |interval| interval.0);
    let is_there = workload.start == Some(WorkloadStart::Backlog);
    let created_ns = if is_there { 0 } else { u64::from(owner).saturating_mul(interval_ns) };
    if fault.at.is_some_and(|at| at.0 < created_ns) {
        let message = format!("the {what} is not created by then");
        let hint = "later, or with a shorter `workload.arrivals.interval`";
        check.report(&format!("{path}.at"), message, hint);
    }
    for (what, is_given) in [
        ("runTime", shape.run_time.is_some()),
        ("hold", shape.hold.is_some()),
        ("gang", shape.gang.is_some()),
        ("volumeClaimTemplates", !shape.volume_claim_templates.is_empty()),
    ] {
        if is_given {
            let message = format!("{changes} with `{what}` are not modelled");
            check.report(field, message, "leave one of them out");
        }
    }
}

/// Rules of a rollout.
pub(super) fn validate_rollout(path: &str, fault: &FaultSpec, spec: &ScenarioSpec, check: &mut Check<'_>) {
    if fault.kind != FaultKindSpec::Rollout {
        return;
    }
    validate_change(path, (fault, spec), ["rollout", "give it `at`", "goes on"], check);
    let workload = &spec.workload;
    let field = format!("{path}.deployment");
    let Some(wanted) = &fault.deployment else {
        check.report(&field, "required with rollout, but missing", "the name of a Deployment");
        return;
    };
    let found = targets(workload, wanted);
    let all = names(workload);
    let Some(last) = found.last() else {
        let known: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        let hint = match known[..] {
            [] => {
                "StatefulSets, DaemonSets and pods are not rolled out; add `workload.deployments`".to_owned()
            }
            _ => did_you_mean(wanted, &known),
        };
        check.expected(&field, "the name of a Deployment", hint);
        return;
    };
    let empty = found.iter().find(|owner| workload.deployments[all[**owner as usize].1].replicas == 0);
    if let Some(owner) = empty {
        let message = format!(
            "the Deployment `{}` has no pods, and there is nothing to roll out",
            all[*owner as usize].0
        );
        check.report(&field, message, "give it `replicas`, or leave the rollout out");
    }
    let shape = workload.deployments[all[*last as usize].1].shape();
    let words = ["Deployment", "rollouts of Deployments"];
    validate_last((path, &field), (fault, workload), (*last, &shape), words, check);
}

/// What the controller is told of a Deployment.
pub(super) fn settings(group: &DeploymentSpec, owner: u32) -> DeploymentSettings {
    DeploymentSettings {
        owner,
        replicas: u32::try_from(group.replicas).unwrap_or(u32::MAX),
        strategy: strategy(group, group.replicas),
        min_ready_ns: group.min_ready_seconds.unwrap_or(0).saturating_mul(SECOND),
        rollouts: 0,
    }
}

/// Deployments that are rolled out, by their owner, and by the number of the fault whose pods become what.
pub(super) fn resolve(
    spec: &ScenarioSpec,
    ranges: &[(PodId, PodId)],
    cluster: &mut Cluster,
) -> (BTreeMap<u32, DeploymentSettings>, Changes) {
    let workload = &spec.workload;
    let mut rollouts: Vec<(Nanos, usize, &FaultSpec)> = Vec::new();
    for (index, fault) in spec.faults.iter().enumerate() {
        if fault.kind == FaultKindSpec::Rollout {
            rollouts.push((fault.at.map_or(Nanos::MAX, |at| at.0), index, fault));
        }
    }
    rollouts.sort_unstable_by_key(|(at, index, _)| (*at, *index));
    let all = names(workload);
    let mut current: BTreeMap<u32, SpecId> = BTreeMap::new();
    let mut known: BTreeMap<u32, DeploymentSettings> = BTreeMap::new();
    let mut changes = Changes::new();
    for (_, index, fault) in rollouts {
        let wanted = fault.deployment.as_deref().unwrap_or_default();
        let mut to = Vec::new();
        for owner in targets(workload, wanted) {
            let Some(pods) = ranges.get(owner as usize).map(|(first, end)| *first..*end) else { continue };
            let before = *current.entry(owner).or_insert_with(|| {
                let spec = hashed(cluster.pods.spec(pods.start).clone(), FIRST_HASH);
                let spec = cluster.pods.add_spec(spec);
                pods.for_each(|pod| cluster.pods.set_spec(pod, spec));
                spec
            });
            let mut after: PodSpec = cluster.pods.spec_by_id(before).clone();
            let change = fault.template.clone().unwrap_or_default();
            if let Some(requests) = &change.requests {
                after.requests = Resources { pods: 0, ..resource_amount(requests, &mut cluster.resources) };
            }
            if !change.images.is_empty() {
                after.images = scheduling::images(&PodShape { images: change.images, ..PodShape::default() });
            }
            let after = cluster.pods.add_spec(hashed(after, &index.to_string()));
            current.insert(owner, after);
            to.push((owner, after));
            let group = &workload.deployments[all[owner as usize].1];
            let known = known.entry(owner).or_insert_with(|| settings(group, owner));
            known.rollouts += 1;
        }
        changes.insert(index, to);
    }
    (known, changes)
}
