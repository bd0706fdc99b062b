//! Scalings: `faults: [{kind: scale, deployment: web, replicas: 40, ..}]`, and the same of a `statefulSet`: `replicas` change at a time.
//!
//! A list of them is what an autoscaler of pods, or a schedule, comes to. Of a Deployment `strategy` is of the new size from then on: its shares are
//! taken of that. What has no pods at first can't be scaled: no pod says what the new ones are like.
//!
//! Left out: the HorizontalPodAutoscaler itself, which would need what pods use; the request that changes the object.
//!
//! Cost: O(scalings x objects).
use std::collections::BTreeMap;

use super::diagnostic::did_you_mean;
use super::faults::{FaultKindSpec, FaultSpec};
use super::limits;
use super::plan::Scaling;
use super::rollout;
use super::spec::{PodShape, ScenarioSpec, WorkloadSpec};
use super::validate::Check;
use crate::control_plane::controllers::deployment::DeploymentSettings;

/// What is scaled.
struct Target {
    owner: u32,
    name: String,
    /// Index of its group in the list of its kind.
    group: usize,
}

/// StatefulSets by name in their order, with the group that they are of.
fn stateful_sets(workload: &WorkloadSpec) -> Vec<(String, usize)> {
    let groups = workload.stateful_sets.iter().map(|group| (group.name.as_deref(), group.count));
    rollout::names_of(groups, "statefulset")
}

/// What a scaling is of: one object, or all of a group by its name.
fn targets(fault: &FaultSpec, workload: &WorkloadSpec) -> Vec<Target> {
    let deployments = rollout::names(workload);
    // Owners are the Deployments, then the StatefulSets.
    let first_set = deployments.len() as u32;
    let (all, first, found) = match (&fault.deployment, &fault.stateful_set) {
        (Some(wanted), _) => {
            let found = rollout::meant(&deployments, |at| workload.deployments[at].name.as_deref(), wanted);
            (deployments, 0, found)
        }
        (None, Some(wanted)) => {
            let sets = stateful_sets(workload);
            let found = rollout::meant(&sets, |at| workload.stateful_sets[at].name.as_deref(), wanted);
            (sets, first_set, found)
        }
        (None, None) => return Vec::new(),
    };
    let target = |at: u32| {
        let (name, group) = all[at as usize].clone();
        Target { owner: first + at, name, group }
    };
    found.into_iter().map(target).collect()
}

/// The size and the shape of a target's group.
fn group(fault: &FaultSpec, workload: &WorkloadSpec, target: &Target) -> (u64, PodShape) {
    if fault.deployment.is_some() {
        let group = &workload.deployments[target.group];
        (group.replicas, group.shape())
    } else {
        let group = &workload.stateful_sets[target.group];
        (group.replicas, group.shape())
    }
}

/// Rules of a scaling.
pub(super) fn validate(path: &str, fault: &FaultSpec, spec: &ScenarioSpec, check: &mut Check<'_>) {
    if fault.kind != FaultKindSpec::Scale {
        return;
    }
    let words = ["scaling", "give it `at`, and write one for each change", "is complete"];
    rollout::validate_change(path, (fault, spec), words, check);
    let field = format!("{path}.replicas");
    if fault.replicas.is_none() {
        check.report(&field, "required with scale, but missing", "how many pods it has from then on");
    }
    check.optional_count(&field, fault.replicas, 0, limits::PODS);
    let workload = &spec.workload;
    let (kind, wanted, all) = match (&fault.deployment, &fault.stateful_set) {
        (Some(wanted), None) => ("deployment", wanted, rollout::names(workload)),
        (None, Some(wanted)) => ("statefulSet", wanted, stateful_sets(workload)),
        (None, None) => {
            let hint = "`deployment` or `statefulSet`, by its name";
            check.report(path, "the scaling does not say what it is of", hint);
            return;
        }
        (Some(_), Some(_)) => {
            let hint = "write two of them";
            check.report(
                &format!("{path}.statefulSet"),
                "a scaling is of one object, or group of them",
                hint,
            );
            return;
        }
    };
    let field = format!("{path}.{kind}");
    let what = if kind == "deployment" { "Deployment" } else { "StatefulSet" };
    let found = targets(fault, workload);
    let Some(last) = found.last() else {
        let known: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        let hint = match known[..] {
            [] => format!("there is none; add `workload.{kind}s`"),
            _ => did_you_mean(wanted, &known),
        };
        check.expected(&field, &format!("the name of a {what}"), hint);
        return;
    };
    let all = (found.len() as u64).saturating_mul(fault.replicas.unwrap_or(0));
    if all > limits::PODS && found.len() > 1 {
        let message = format!("{} {what}s of this size have {all} pods", found.len());
        let hint = format!("together at most {}", limits::PODS);
        check.report(&format!("{path}.replicas"), &message, &hint);
    }
    if let Some(empty) = found.iter().find(|target| group(fault, workload, target).0 == 0) {
        let message =
            format!("the {what} `{}` has no pods at first, and no others are like them", empty.name);
        check.report(&field, message, "begin with `replicas: 1` or more");
    }
    let (_, shape) = group(fault, workload, last);
    let words = [what, "scalings of pods"];
    rollout::validate_last((path, &field), (fault, workload), (last.owner, &shape), words, check);
}

/// Deployments that are scaled are told to the controller, too.
pub(super) fn add_deployments(spec: &ScenarioSpec, known: &mut BTreeMap<u32, DeploymentSettings>) {
    for fault in spec.faults.iter().filter(|fault| fault.kind == FaultKindSpec::Scale) {
        for target in targets(fault, &spec.workload) {
            if let Some(group) =
                spec.workload.deployments.get(target.group).filter(|_| fault.deployment.is_some())
            {
                known.entry(target.owner).or_insert_with(|| rollout::settings(group, target.owner));
            }
        }
    }
}

/// Whose `replicas` become what.
pub(super) fn resolve(fault: &FaultSpec, workload: &WorkloadSpec) -> Vec<Scaling> {
    let replicas = fault.replicas.unwrap_or(0);
    let scaling = |target: Target| Scaling {
        owner: target.owner,
        replicas: u32::try_from(replicas).unwrap_or(u32::MAX),
        strategy: fault
            .deployment
            .as_ref()
            .map(|_| rollout::strategy(&workload.deployments[target.group], replicas)),
    };
    targets(fault, workload).into_iter().map(scaling).collect()
}
