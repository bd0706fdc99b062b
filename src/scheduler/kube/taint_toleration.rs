//! TaintToleration: the filter over NoSchedule and NoExecute taints, the score over PreferNoSchedule taints.
//!
//! Source: `pkg/scheduler/framework/plugins/tainttoleration/taint_toleration.go`. The score is the number of
//! PreferNoSchedule taints that the pod does not tolerate, normalised in reverse over the feasible nodes.
//!
//! Cost: O(taints x tolerations) a (spec, template) pair.
use crate::cluster::{NodeTemplate, PodSpec, Taint, TaintEffect, Toleration, tolerates};

/// What is said of a node that the filter rejects.
pub const REASON: &str = "node(s) had untolerated taint(s)";
/// The taint that NodeUnschedulable looks for in the pod's tolerations.
const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";

/// Whether a taint that forbids scheduling is not tolerated.
#[must_use]
pub fn rejects(spec: &PodSpec, template: &NodeTemplate) -> bool {
    template
        .taints
        .iter()
        .any(|t| t.effect != TaintEffect::PreferNoSchedule && !tolerates(&spec.tolerations, t))
}

/// Whether NodeUnschedulable rejects the node: it is cordoned and the pod does not tolerate that.
#[must_use]
pub fn unschedulable_rejects(spec: &PodSpec, template: &NodeTemplate) -> bool {
    if !template.unschedulable {
        return false;
    }
    let key = UNSCHEDULABLE_TAINT.to_owned();
    !tolerates(&spec.tolerations, &Taint { key, value: String::new(), effect: TaintEffect::NoSchedule })
}

/// Raw score: PreferNoSchedule taints that the pod does not tolerate. Only tolerations without effect or with
/// this one count.
#[must_use]
pub fn raw_score(tolerations: &[Toleration], template: &NodeTemplate) -> i64 {
    let count = template
        .taints
        .iter()
        .filter(|t| t.effect == TaintEffect::PreferNoSchedule && !tolerates(tolerations, t))
        .count();
    i64::try_from(count).expect("taints are few")
}
