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
use super::spread_cells::{Axis, Cells};
use super::topology::{Counts, Eligible, TableId, Topology, View};

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

impl Constraint {
    /// The largest count that a domain may have before the pod comes.
    fn most(&self, topology: &Topology) -> i64 {
        let Some(smallest) = topology.smallest(self.table) else { return i64::MAX };
        let few =
            smallest > 0 && self.min_domains > 1 && topology.open_domains(self.table) < self.min_domains;
        let smallest = if few { 0 } else { smallest };
        self.max_skew + smallest - i64::from(self.matches_itself)
    }
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

    /// Soft constraints by host, each of which counts the pods on the candidates while scoring.
    #[must_use]
    pub fn soft_by_host(&self) -> u64 {
        (self.soft.len() - self.soft().1) as u64
    }

    /// Pods on the candidates, if a soft constraint counts them.
    #[must_use]
    pub fn pods_on(&self, nodes: &NodeCache, candidates: &[Candidate]) -> u64 {
        if self.soft_by_host() == 0 {
            return 0;
        }
        candidates.iter().map(|c| u64::from(nodes.row(c.node).pods_used)).sum()
    }

    /// Cells of nodes that the soft constraints score alike, if they are at most `most`.
    #[must_use]
    pub fn cells<'a>(&self, topology: &'a Topology, most: usize) -> Option<Cells<'a>> {
        let axis = |c: &Constraint| Axis {
            view: topology.view(c.table),
            most_by_host: topology.is_by_host(c.table).then(|| topology.most(c.table)),
            domains: topology.domains(c.table),
            more: (c.max_skew - 1) as f64,
        };
        Cells::new(self.soft.iter().map(axis).collect(), self.any_key, most)
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
            if count > c.most(topology) {
                return Some(REASON);
            }
        }
        None
    }

    /// The filter of a cycle; none if it rejects nothing.
    #[must_use]
    pub fn filter<'a>(&'a self, topology: &'a Topology) -> Option<SpreadFilter<'a>> {
        let hard: Vec<Hard<'a>> = self
            .hard
            .iter()
            .map(|c| Hard { view: topology.view(c.table), key: &c.key, most: c.most(topology) })
            .collect();
        (!hard.is_empty()).then_some(SpreadFilter { hard })
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
        let views: Vec<View<'_>> = self.soft.iter().map(|c| topology.view(c.table)).collect();
        // Candidates have passed the filters on affinity and taints, so that only a missing key keeps one out, and then out of
        // all tables.
        let ignored = |c: &Candidate| !self.any_key && views[0].domain(c.node).is_none();
        let scored =
            if self.any_key { candidates.len() } else { candidates.iter().filter(|c| !ignored(c)).count() };
        let weighed: Vec<Soft<'_>> = self
            .soft
            .iter()
            .zip(&views)
            .map(|(constraint, view)| {
                let size = if topology.is_by_host(constraint.table) {
                    scored
                } else {
                    let mut seen = vec![false; topology.domains(constraint.table)];
                    let (mut domains, mut without) = (0, false);
                    for c in candidates.iter().filter(|c| !ignored(c)) {
                        match view.domain(c.node) {
                            Some(domain) => {
                                domains += usize::from(!std::mem::replace(&mut seen[domain as usize], true));
                            }
                            None => without = true,
                        }
                    }
                    domains + usize::from(self.any_key && without)
                };
                let weight = topology_weight(size);
                Soft { view: *view, weight, more: (constraint.max_skew - 1) as f64 }
            })
            .collect();
        let (mut least, mut most) = (i64::MAX, 0);
        for c in candidates.iter_mut() {
            if ignored(c) {
                c.raw = -1;
                continue;
            }
            let score = weighed.iter().filter_map(|soft| soft.score(c.node)).sum();
            c.raw = rounded(score);
            least = least.min(c.raw);
            most = most.max(c.raw);
        }
        let normalised = Normalised::new(least, most, candidates.len());
        for c in candidates {
            if c.raw >= 0 {
                c.total += plugin_weight * normalised.of(c.raw);
            }
        }
    }
}

/// [`SpreadPlan::rejects`] for one cycle.
#[derive(Debug)]
pub struct SpreadFilter<'a> {
    hard: Vec<Hard<'a>>,
}

#[derive(Debug)]
struct Hard<'a> {
    view: View<'a>,
    key: &'a str,
    most: i64,
}

impl SpreadFilter<'_> {
    /// Whether the filter passes a node.
    #[inline]
    #[must_use]
    pub fn admits(&self, cluster: &Cluster, node: NodeId) -> bool {
        self.hard.iter().all(|hard| match hard.view.count_at(node) {
            Some(count) => count <= hard.most,
            None => cluster.nodes.label(node, hard.key).is_some(),
        })
    }
}

/// A soft constraint while a cycle scores.
struct Soft<'a> {
    view: View<'a>,
    /// See [`topology_weight`].
    weight: f64,
    /// `maxSkew - 1`.
    more: f64,
}

impl Soft<'_> {
    #[inline]
    fn score(&self, node: NodeId) -> Option<f64> {
        self.view.count_at(node).map(|count| count as f64 * self.weight + self.more)
    }
}

/// `topologyNormalizingWeight` of so many domains.
pub(super) fn topology_weight(domains: usize) -> f64 {
    libm::log((domains + 2) as f64)
}

/// `math.Round` of what is not negative and below 2^52, where a float's whole part and the rest are exact.
#[inline]
pub(super) fn rounded(score: f64) -> i64 {
    let whole = score as i64;
    whole + i64::from(score - whole as f64 >= 0.5)
}

/// `NormalizeScore` of the plugin: the smallest raw score gets the most.
pub(super) fn normalised(least: i64, most: i64, raw: i64) -> i64 {
    if most == 0 { MAX_NODE_SCORE } else { MAX_NODE_SCORE * (most + least - raw) / most }
}

/// The same for many nodes. Raw scores are few where nodes are many, so that each is divided once.
struct Normalised {
    least: i64,
    most: i64,
    known: Vec<i64>,
}

impl Normalised {
    fn new(least: i64, most: i64, candidates: usize) -> Self {
        let span = usize::try_from(most - least.min(most)).unwrap_or(usize::MAX);
        let mut scores = Self { least, most, known: Vec::new() };
        if span < candidates / 2 {
            scores.known = (least..=most).map(|raw| scores.divided(raw)).collect();
        }
        scores
    }

    fn divided(&self, raw: i64) -> i64 {
        normalised(self.least, self.most, raw)
    }

    #[inline]
    fn of(&self, raw: i64) -> i64 {
        let known = usize::try_from(raw - self.least).ok().and_then(|at| self.known.get(at));
        known.copied().unwrap_or_else(|| self.divided(raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_math_round() {
        for eighths in 0..4000_u32 {
            let score = f64::from(eighths) / 8.0;
            assert_eq!(rounded(score), libm::round(score) as i64, "{score}");
        }
        for score in [0.499_999_999_999_999_94, 4_503_599_627_370_495.5, 1e15 + 0.5, 2.5 - f64::EPSILON] {
            assert_eq!(rounded(score), libm::round(score) as i64, "{score}");
        }
    }

    #[test]
    fn scores_are_the_same_divided_once_or_each_time() {
        for (least, most) in [(0, 0), (0, 7), (3, 3), (5, 40), (17, 1000)] {
            let (few, many) = (Normalised::new(least, most, 0), Normalised::new(least, most, 10_000));
            assert!(few.known.is_empty() && !many.known.is_empty());
            for raw in least..=most {
                assert_eq!(few.of(raw), many.of(raw));
                assert_eq!(few.of(raw), if most == 0 { 100 } else { 100 * (most + least - raw) / most });
            }
        }
    }
}
