//! InterPodAffinity: required and preferred affinity and anti-affinity to other pods, both ways.
//!
//! Source: `pkg/scheduler/framework/plugins/interpodaffinity/{filtering,scoring}.go`.
//! - Required affinity: the domain of each term holds a pod that matches *all* of the pod's required terms. If no such
//!   pod is in the cluster and the pod matches its own terms, every node with the keys will do.
//! - Required anti-affinity: no pod in the domain matches the term; and no pod there bears one that the newcomer matches.
//! - Score: weights of the newcomer's preferred terms for each pod that matches, and of existing pods' preferred
//!   terms that the newcomer matches; existing pods' required affinity counts `hardPodAffinityWeight`, 1 by default.
//!   Normalised from the smallest to the largest.
//! - A term looks in the pod's own namespace, or in those of `namespaces` and `namespaceSelector`.
//!
//! Cost: O(terms) a node visited.
use crate::cluster::{Cluster, NodeId, PodSpec};

use super::cycle::Candidate;
use super::node_resources::MAX_NODE_SCORE;
use super::topology::{Counts, Selectors, TableId, Topology, View};

const REASON_AFFINITY: &str = "node(s) didn't match pod affinity rules";
const REASON_ANTI: &str = "node(s) didn't match pod anti-affinity rules";
const REASON_EXISTING_ANTI: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

/// What a pod of one spec has to regard.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct AffinityPlan {
    affinity: Vec<TableId>,
    matches_itself: bool,
    anti: Vec<TableId>,
    preferred: Vec<(TableId, i64)>,
    /// Terms of existing pods that the spec matches: required anti-affinity.
    pub existing_anti: Vec<TableId>,
    /// The same: preferences and required affinity.
    pub existing_preferences: Vec<TableId>,
}

impl AffinityPlan {
    /// The plan, and the tables in which a pod counts for the terms that it bears.
    pub fn new(
        topology: &mut Topology,
        cluster: &Cluster,
        spec: &PodSpec,
        hard_weight: i64,
    ) -> (Self, Vec<(TableId, i64)>) {
        let mut plan = Self::default();
        let mut bears = Vec::new();
        // Required affinity is met by pods that match all its terms.
        let required = spec.pod_affinity.iter().filter(|t| !t.anti && t.weight.is_none());
        let all: Selectors = required.map(|t| t.pods(spec.namespace())).collect();
        plan.matches_itself = all.iter().all(|s| s.matches(cluster, spec));
        for term in &spec.pod_affinity {
            let key = &term.topology_key;
            let pods = || vec![term.pods(spec.namespace())];
            let mut table = |pods: Selectors, what| topology.table(cluster, key, None, pods, what);
            match (term.anti, term.weight) {
                (false, None) => {
                    plan.affinity.push(table(all.clone(), Counts::Matching));
                    if hard_weight > 0 {
                        bears.push((table(pods(), Counts::Preference), hard_weight));
                    }
                }
                (true, None) => {
                    plan.anti.push(table(pods(), Counts::Matching));
                    bears.push((table(pods(), Counts::RequiredAnti), 1));
                }
                (anti, Some(weight)) => {
                    let weight = if anti { -i64::from(weight) } else { i64::from(weight) };
                    plan.preferred.push((table(pods(), Counts::Matching), weight));
                    bears.push((table(pods(), Counts::Preference), weight));
                }
            }
        }
        (plan, bears)
    }

    /// Whether the pod has required terms of its own.
    #[must_use]
    pub fn requires(&self) -> bool {
        !self.affinity.is_empty() || !self.anti.is_empty()
    }

    /// Whether the pod has preferred terms of its own.
    #[must_use]
    pub fn prefers(&self) -> bool {
        !self.preferred.is_empty()
    }

    /// Whether there is anything to filter or score by.
    #[must_use]
    pub fn regards_anything(&self, topology: &Topology) -> bool {
        self.requires()
            || self.prefers()
            || self.existing_anti.iter().chain(&self.existing_preferences).any(|t| !topology.is_empty(*t))
    }

    /// Why the filter rejects a node.
    #[inline]
    #[must_use]
    pub fn rejects(&self, topology: &Topology, node: NodeId) -> Option<&'static str> {
        if !self.affinity.is_empty() {
            let mut met = true;
            for table in &self.affinity {
                match topology.count_at(*table, node) {
                    None => return Some(REASON_AFFINITY),
                    Some(count) => met &= count > 0,
                }
            }
            let first = || self.matches_itself && self.affinity.iter().all(|t| topology.is_empty(*t));
            if !met && !first() {
                return Some(REASON_AFFINITY);
            }
        }
        let holds = |table: &TableId| topology.count_at(*table, node).is_some_and(|count| count > 0);
        if self.anti.iter().any(holds) {
            Some(REASON_ANTI)
        } else if self.existing_anti.iter().any(holds) {
            Some(REASON_EXISTING_ANTI)
        } else {
            None
        }
    }

    /// The filter of a cycle; none if it rejects nothing.
    #[must_use]
    pub fn filter<'a>(&self, topology: &'a Topology) -> Option<AffinityFilter<'a>> {
        let views = |tables: &[TableId]| tables.iter().map(|t| topology.view(*t)).collect::<Vec<_>>();
        let mut kept_off = self.anti.clone();
        kept_off.extend(&self.existing_anti);
        kept_off.retain(|t| !topology.is_empty(*t));
        let first = self.matches_itself && self.affinity.iter().all(|t| topology.is_empty(*t));
        let filter = AffinityFilter { affinity: views(&self.affinity), first, kept_off: views(&kept_off) };
        (!filter.affinity.is_empty() || !filter.kept_off.is_empty()).then_some(filter)
    }

    /// Whether a reason of [`rejects`](Self::rejects) stays true when pods leave.
    #[must_use]
    pub fn is_for_good(&self, reason: &str) -> bool {
        reason == REASON_AFFINITY
    }

    /// Adds the weighed score.
    pub fn add_score(&self, topology: &Topology, plugin_weight: i64, candidates: &mut [Candidate]) {
        if plugin_weight == 0 || self.preferred.is_empty() && topology.ignores_existing() {
            return;
        }
        let existing = self.existing_preferences.iter().map(|t| (*t, 1));
        let views: Vec<(View<'_>, i64)> = self
            .preferred
            .iter()
            .copied()
            .chain(existing)
            .filter(|(t, _)| !topology.is_empty(*t))
            .map(|(t, weight)| (topology.view(t), weight))
            .collect();
        if views.is_empty() {
            return;
        }
        for c in candidates.iter_mut() {
            c.raw = views.iter().map(|(view, weight)| weight * view.count_at(c.node).unwrap_or(0)).sum();
        }
        let least = candidates.iter().map(|c| c.raw).min().unwrap_or(0);
        let most = candidates.iter().map(|c| c.raw).max().unwrap_or(0);
        if most > least {
            for c in candidates {
                let share = (c.raw - least) as f64 / (most - least) as f64;
                c.total += plugin_weight * (MAX_NODE_SCORE as f64 * share) as i64;
            }
        }
    }
}

/// [`AffinityPlan::rejects`] for one cycle.
#[derive(Debug)]
pub struct AffinityFilter<'a> {
    affinity: Vec<View<'a>>,
    /// No pod meets the required affinity yet, and the pod itself would.
    first: bool,
    kept_off: Vec<View<'a>>,
}

impl AffinityFilter<'_> {
    /// Whether the filter passes a node.
    #[inline]
    #[must_use]
    pub fn admits(&self, node: NodeId) -> bool {
        let mut met = true;
        for view in &self.affinity {
            let Some(count) = view.count_at(node) else { return false };
            met &= count > 0;
        }
        (met || self.first) && !self.kept_off.iter().any(|v| v.count_at(node).is_some_and(|count| count > 0))
    }
}
