//! NodeAffinity: `nodeSelector`, required and preferred node affinity.
//!
//! Source: `pkg/scheduler/framework/plugins/nodeaffinity/node_affinity.go`. The score is the sum of the weights of
//! the preferred terms that match, normalised over the feasible nodes.
//!
//! Left out: `matchFields`, and PreFilter's short cut to the nodes that it names.
//!
//! Cost: O(terms x expressions) a node.
use crate::cluster::{Cluster, HOSTNAME_LABEL, NodeId, PodSpec, Term, ZONE_LABEL, term_matches};

/// Weight in the default profile.
pub const WEIGHT: i64 = 2;
/// What is said of a node that the filter rejects.
pub const REASON: &str = "node(s) didn't match Pod's node affinity/selector";

/// Whether the node matches the selector and one of the required terms.
#[must_use]
pub fn matches(cluster: &Cluster, spec: &PodSpec, node: NodeId) -> bool {
    let label = |key: &str| cluster.nodes.label(node, key);
    spec.node_selector.iter().all(|(k, v)| label(k) == Some(v))
        && (spec.required_node_affinity.is_empty()
            || spec.required_node_affinity.iter().any(|t| term_matches(t, label)))
}

/// Raw score: sum of the weights of the preferred terms that match.
#[must_use]
pub fn raw_score(cluster: &Cluster, spec: &PodSpec, node: NodeId) -> i64 {
    spec.preferred_node_affinity
        .iter()
        .filter(|p| term_matches(&p.term, |key| cluster.nodes.label(node, key)))
        .map(|p| i64::from(p.weight))
        .sum()
}

/// Whether the verdict or the score can differ between nodes of one template (host name or zone is asked for).
#[must_use]
pub fn depends_on_the_node(spec: &PodSpec) -> bool {
    let own = |key: &str| key == HOSTNAME_LABEL || key == ZONE_LABEL;
    let term = |t: &Term| t.expressions.iter().any(|e| own(&e.key));
    spec.node_name.is_some()
        || spec.node_selector.keys().any(|k| own(k))
        || spec.required_node_affinity.iter().any(term)
        || spec.preferred_node_affinity.iter().any(|p| term(&p.term))
}
