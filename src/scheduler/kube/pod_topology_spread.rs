//! PodTopologySpread: hard constraints filter, soft ones score.
//!
//! Source: `pkg/scheduler/framework/plugins/podtopologyspread/{filtering,scoring}.go`.
//! - Hard: pods that match in the node's domain, plus one if the pod matches its own constraint, less the smallest
//!   count of any domain, must be at most `maxSkew`. With fewer domains than `minDomains` the smallest count is 0.
//! - Soft: the count of the node's domain times ln(domains + 2), plus `maxSkew - 1`, summed and rounded; domains are those
//!   of the feasible nodes. Normalised so that the smallest is best; nodes that lack a key get 0.
//!
//! Domains are those of the nodes that `nodeAffinityPolicy` (`Honor` by default) and `nodeTaintsPolicy` (`Ignore`) include
//! and that have the keys of all constraints of the same kind. `matchLabelKeys` are part of the selector already.
//!
//! Left out: the default constraints of the cluster (a spec must spell them out).
//!
//! Cost: O(constraints) a node visited.
use crate::cluster::{Cluster, NodeId, PodSpec, selector_matches};

use super::cycle::Candidate;
use super::node_resources::MAX_NODE_SCORE;
use super::topology::{Counts, Eligible, TableId, Topology};

const REASON: &str = "node(s) didn't match pod topology spread constraints";
const REASON_LABEL: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Constraint {
    table: TableId,
    key: String,
    max_skew: i64,
    min_domains: u32,
    matches_itself: bool,
}

/// What a pod of one spec has to regard.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct SpreadPlan {
    hard: Vec<Constraint>,
    soft: Vec<Constraint>,
}

impl SpreadPlan {
    /// The plan of a spec.
    pub fn new(topology: &mut Topology, cluster: &Cluster, spec: &PodSpec) -> Self {
        let mut of = |hard: bool| {
            let constraints = || spec.topology_spread.iter().filter(|c| c.hard == hard);
            constraints()
                .map(|c| Constraint {
                    table: topology.table(
                        cluster,
                        &c.topology_key,
                        Some(Eligible::new(spec, c, constraints().map(|c| c.topology_key.as_str()))),
                        &c.selector,
                        if hard { Counts::Spread } else { Counts::Matching },
                    ),
                    key: c.topology_key.clone(),
                    max_skew: i64::from(c.max_skew),
                    min_domains: c.min_domains,
                    matches_itself: selector_matches(&c.selector, &spec.labels),
                })
                .collect()
        };
        Self { hard: of(true), soft: of(false) }
    }

    /// Number of hard constraints.
    #[must_use]
    pub fn hard(&self) -> usize {
        self.hard.len()
    }

    /// Number of soft constraints.
    #[must_use]
    pub fn soft(&self) -> usize {
        self.soft.len()
    }

    /// Whether there is anything to filter or score by.
    #[must_use]
    pub fn regards_anything(&self) -> bool {
        !self.hard.is_empty() || !self.soft.is_empty()
    }

    /// Why the filter rejects a node.
    #[inline]
    #[must_use]
    pub fn rejects(&self, cluster: &Cluster, topology: &Topology, node: NodeId) -> Option<&'static str> {
        for c in &self.hard {
            // The node may be in no domain of the table because it lacks another constraint's key.
            let Some(count) = topology.count_at(c.table, node) else {
                if cluster.nodes.label(node, &c.key).is_none() {
                    return Some(REASON_LABEL);
                }
                continue;
            };
            let Some(smallest) = topology.smallest(c.table) else { continue };
            let few = smallest > 0 && c.min_domains > 1 && topology.open_domains(c.table) < c.min_domains;
            let smallest = if few { 0 } else { smallest };
            if count + i64::from(c.matches_itself) - smallest > c.max_skew {
                return Some(REASON);
            }
        }
        None
    }

    /// Whether a reason of [`rejects`](Self::rejects) stays true when pods leave.
    #[must_use]
    pub fn is_for_good(&self, reason: &str) -> bool {
        reason == REASON_LABEL
    }

    /// Adds the weighed score.
    pub fn add_score(&self, topology: &Topology, plugin_weight: i64, candidates: &mut [Candidate]) {
        if self.soft.is_empty() || plugin_weight == 0 {
            return;
        }
        // Candidates have passed the filters on affinity and taints, so that only a missing key keeps one out, and then out of
        // all tables.
        let ignored = |c: &Candidate| topology.domain(self.soft[0].table, c.node).is_none();
        let scored = candidates.iter().filter(|c| !ignored(c)).count();
        let weights: Vec<f64> = self
            .soft
            .iter()
            .map(|constraint| {
                let table = constraint.table;
                let size = if topology.is_by_host(table) {
                    scored
                } else {
                    let mut seen = vec![false; topology.domains(table)];
                    candidates
                        .iter()
                        .filter_map(|c| topology.domain(table, c.node))
                        .filter(|d| !std::mem::replace(&mut seen[*d as usize], true))
                        .count()
                };
                libm::log((size + 2) as f64)
            })
            .collect();
        let (mut least, mut most) = (i64::MAX, 0);
        for c in candidates.iter_mut() {
            if ignored(c) {
                c.raw = -1;
                continue;
            }
            let score: f64 = self
                .soft
                .iter()
                .zip(&weights)
                .map(|(constraint, weight)| {
                    let count = topology.count_at(constraint.table, c.node).unwrap_or(0);
                    count as f64 * weight + (constraint.max_skew - 1) as f64
                })
                .sum();
            c.raw = libm::round(score) as i64;
            least = least.min(c.raw);
            most = most.max(c.raw);
        }
        for c in candidates {
            if c.raw >= 0 {
                let score =
                    if most == 0 { MAX_NODE_SCORE } else { MAX_NODE_SCORE * (most + least - c.raw) / most };
                c.total += plugin_weight * score;
            }
        }
    }
}
