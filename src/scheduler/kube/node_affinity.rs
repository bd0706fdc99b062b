//! NodeAffinity: `nodeSelector`, required and preferred node affinity.
//!
//! Source: `pkg/scheduler/framework/plugins/nodeaffinity/node_affinity.go`. The score is the sum of the weights of
//! the preferred terms that match, normalised over the feasible nodes. A profile's `addedAffinity` holds for every pod
//! beside its own.
//!
//! A pod each of whose required terms names nodes (`matchFields` with `metadata.name In`), as those of DaemonSets do, is tried on these nodes alone: PreFilter says
//! which ([`named_nodes`]). The others are rejected without a look; where none is named that every field of its term allows, the cycle ends there.
//!
//! Cost: O(terms x expressions) a node.
use std::collections::BTreeSet;

use crate::cluster::{
    Cluster, HOSTNAME_LABEL, NAME_FIELD, NodeId, Operator, PodSpec, Term, ZONE_LABEL, term_matches,
};

use super::profile::Profile;

/// What is said of a node that the filter rejects.
pub const REASON: &str = "node(s) didn't match Pod's node affinity/selector";
/// The same where the profile's `addedAffinity` rejects it.
pub const REASON_ADDED: &str = "node(s) didn't match scheduler-enforced node affinity";

/// What is said of the nodes that are not named.
pub const REASON_NOT_NAMED: &str = "node(s) didn't satisfy plugin(s) [NodeAffinity]";
/// What is said where no name is left.
pub const REASON_CONFLICT: &str = "pod affinity terms conflict";

/// The nodes that a pod's required terms name, of which one has to be the pod's; none: at least one term names no node. Fields of a term hold all at once.
#[must_use]
pub fn named_nodes(spec: &PodSpec) -> Option<BTreeSet<&str>> {
    let mut all = BTreeSet::new();
    for term in &spec.required_node_affinity {
        let names = term.fields.iter().filter(|f| f.key == NAME_FIELD && f.operator == Operator::In);
        let mut of_term: Option<BTreeSet<&str>> = None;
        for field in names {
            let named: BTreeSet<&str> = field.values.iter().map(String::as_str).collect();
            of_term = Some(match of_term {
                None => named,
                Some(others) => &others & &named,
            });
        }
        all.extend(of_term?);
    }
    (!spec.required_node_affinity.is_empty()).then_some(all)
}

/// Whether the node matches the selector and one of the required terms.
#[must_use]
pub fn matches(cluster: &Cluster, spec: &PodSpec, node: NodeId) -> bool {
    matches_labels(spec, |key| cluster.nodes.label(node, key))
}

/// The same for a node with such labels.
#[must_use]
pub fn matches_labels<'a>(spec: &PodSpec, label: impl Fn(&str) -> Option<&'a str>) -> bool {
    spec.node_selector.iter().all(|(k, v)| label(k) == Some(v))
        && (spec.required_node_affinity.is_empty()
            || spec.required_node_affinity.iter().any(|t| term_matches(t, &label)))
}

/// Whether the node matches one of the terms that the profile adds to every pod.
#[must_use]
pub fn matches_added(cluster: &Cluster, profile: &Profile, node: NodeId) -> bool {
    profile.added_required.is_empty()
        || profile.added_required.iter().any(|t| term_matches(t, |key| cluster.nodes.label(node, key)))
}

/// Raw score: sum of the weights of the preferred terms that match, the profile's added ones included.
#[must_use]
pub fn raw_score(cluster: &Cluster, spec: &PodSpec, profile: &Profile, node: NodeId) -> i64 {
    spec.preferred_node_affinity
        .iter()
        .chain(&profile.added_preferred)
        .filter(|p| term_matches(&p.term, |key| cluster.nodes.label(node, key)))
        .map(|p| i64::from(p.weight))
        .sum()
}

/// Whether the verdict or the score can differ between nodes of one template (host name or zone is asked for).
#[must_use]
pub fn depends_on_the_node(spec: &PodSpec, profile: &Profile) -> bool {
    let own = |key: &str| key == HOSTNAME_LABEL || key == ZONE_LABEL;
    let term = |t: &Term| !t.fields.is_empty() || t.expressions.iter().any(|e| own(&e.key));
    spec.node_name.is_some()
        || spec.node_selector.keys().any(|k| own(k))
        || spec.required_node_affinity.iter().any(term)
        || spec.preferred_node_affinity.iter().chain(&profile.added_preferred).any(|p| term(&p.term))
        || profile.added_required.iter().any(term)
        || spec.volume_claims.iter().any(|c| c.topology.iter().any(term))
}
