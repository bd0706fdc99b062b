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
//! A pod without constraints of its own has the profile's default ones, with the selector that its Services and its
//! controller give it; without either it has none. The system's defaults (3 by host, 5 by zone, both soft) do not ask that a
//! node has both keys: nodes without a zone are one domain more, and still spread over hosts. An empty selector counts
//! nobody.
//!
//! Pods that are being deleted don't count, as far as this scheduler's own preemption deletes them.
//!
//! Left out: a node that the profile's filters accept though the constraint's policies leave it out counts none of its own
//! pods by host.
//!
//! Cost: O(constraints) a node visited.
use std::borrow::Cow;

use crate::cluster::{Cluster, HOSTNAME_LABEL, LabelSelector, NodeId, PodSpec, SpreadConstraint, ZONE_LABEL};

use super::cycle::Candidate;
use super::node_resources::{MAX_NODE_SCORE, NodeCache};
use super::profile::Profile;
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
    /// A node needs only one of the soft constraints' keys (the system's defaults).
    any_key: bool,
}

/// `systemDefaultConstraints`: 3 by host, 5 by zone.
#[must_use]
pub fn system_default_constraints() -> Vec<SpreadConstraint> {
    [(HOSTNAME_LABEL, 3), (ZONE_LABEL, 5)]
        .map(|(key, max_skew)| SpreadConstraint {
            max_skew,
            topology_key: key.to_owned(),
            ..SpreadConstraint::default()
        })
        .into()
}

/// The constraints that hold for a spec: its own, else the profile's with the selector of its Services and controller.
fn constraints<'a>(cluster: &Cluster, profile: &Profile, spec: &'a PodSpec) -> Cow<'a, [SpreadConstraint]> {
    if !spec.topology_spread.is_empty() || profile.default_constraints.is_empty() {
        return Cow::Borrowed(&spec.topology_spread);
    }
    let Some(selector) = cluster.default_selector(spec) else { return Cow::Borrowed(&[]) };
    let with = |c: &SpreadConstraint| SpreadConstraint { selector: selector.clone(), ..c.clone() };
    Cow::Owned(profile.default_constraints.iter().map(with).collect())
}

/// Whether a spec has any constraint, its own or by default.
#[must_use]
pub fn constrains(cluster: &Cluster, profile: &Profile, spec: &PodSpec) -> bool {
    !spec.topology_spread.is_empty()
        || !profile.default_constraints.is_empty() && cluster.default_selector(spec).is_some()
}

/// Topology keys of a spec's hard constraints.
pub fn hard_keys(cluster: &Cluster, profile: &Profile, spec: &PodSpec) -> Vec<String> {
    let found = constraints(cluster, profile, spec);
    found.iter().filter(|c| c.hard).map(|c| c.topology_key.clone()).collect()
}

/// Whether another pod counts for one of a spec's hard constraints.
pub fn counts_for_a_hard_one(cluster: &Cluster, profile: &Profile, spec: &PodSpec, other: &PodSpec) -> bool {
    spec.namespace() == other.namespace()
        && constraints(cluster, profile, spec).iter().any(|c| c.hard && c.selector.matches(&other.labels))
}

impl SpreadPlan {
    /// The plan of a spec.
    pub fn new(topology: &mut Topology, cluster: &Cluster, profile: &Profile, spec: &PodSpec) -> Self {
        let all = constraints(cluster, profile, spec);
        let any_key = spec.topology_spread.is_empty() && profile.system_defaults;
        let mut of = |hard: bool| {
            let constraints = || all.iter().filter(|c| c.hard == hard);
            constraints()
                .map(|c| {
                    let mut keys: Vec<&str> = constraints().map(|c| c.topology_key.as_str()).collect();
                    if any_key {
                        keys.clear();
                    }
                    let mut pods = c.pods(spec.namespace());
                    if c.selector.is_empty() {
                        pods.labels = LabelSelector::null();
                    }
                    Constraint {
                        table: topology.table(
                            cluster,
                            &c.topology_key,
                            Some(Eligible::new(spec, c, keys.into_iter())),
                            vec![pods],
                            if hard { Counts::Spread } else { Counts::Matching },
                        ),
                        key: c.topology_key.clone(),
                        max_skew: i64::from(c.max_skew),
                        min_domains: c.min_domains,
                        matches_itself: c.selector.matches(&spec.labels),
                    }
                })
                .collect()
        };
        Self { hard: of(true), soft: of(false), any_key }
    }

    /// Number of hard constraints.
    #[must_use]
    pub fn hard(&self) -> usize {
        self.hard.len()
    }

    /// Number of soft constraints, and of those among them that count pods of all nodes (not by host).
    #[must_use]
    pub fn soft(&self) -> (usize, usize) {
        (self.soft.len(), self.soft.iter().filter(|c| c.key != HOSTNAME_LABEL).count())
    }

    /// Pods that the soft constraints by host count while scoring: those on the candidates.
    #[must_use]
    pub fn pods_scored(&self, nodes: &NodeCache, candidates: &[Candidate]) -> u64 {
        let by_host = (self.soft.len() - self.soft().1) as u64;
        if by_host == 0 {
            return 0;
        }
        by_host * candidates.iter().map(|c| u64::from(nodes.row(c.node).pods_used)).sum::<u64>()
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
        let ignored = |c: &Candidate| !self.any_key && topology.domain(self.soft[0].table, c.node).is_none();
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
                    let mut without = false;
                    let domains = candidates
                        .iter()
                        .filter(|c| !ignored(c))
                        .filter_map(|c| {
                            let domain = topology.domain(table, c.node);
                            without |= domain.is_none();
                            domain
                        })
                        .filter(|d| !std::mem::replace(&mut seen[*d as usize], true))
                        .count();
                    domains + usize::from(self.any_key && without)
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
                .map(|(constraint, weight)| match topology.domain(constraint.table, c.node) {
                    Some(domain) => {
                        let count = topology.count_of(constraint.table, domain);
                        count as f64 * weight + (constraint.max_skew - 1) as f64
                    }
                    None => 0.0,
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
