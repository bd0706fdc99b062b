//! One scheduling cycle: which nodes are visited, which are feasible, which one is chosen, and what that cost.
//!
//! Source: `schedulePod`, `findNodesThatFitPod` and `prioritizeNodes` in `pkg/scheduler/schedule_one.go`.
//! Filters run over nodes from where the last search stopped until enough are feasible. One feasible node is taken
//! without scores. Else the scores of the plugins are normalised over the feasible nodes, weighed and added, and
//! one of the best nodes is drawn with equal chances.
//!
//! Weights by default: TaintToleration 3, NodeAffinity 2, PodTopologySpread 2, InterPodAffinity 2, Fit 1, BalancedAllocation 1.
//! ImageLocality 1.
//!
//! A pod that is nominated to a node tries that node alone first. One that names its nodes is tried on these alone, and the next search starts as many nodes
//! further on as these were.
//!
//! Left out: extenders, the few nodes that parallel workers filter past the last one needed.
//!
//! Cost: for plain pods a look at the summaries of the visited blocks of 128 nodes and at the bytes of a few (`scan`); some ten
//! nanoseconds a visited node otherwise.
use crate::cluster::{Cluster, NodeId, PodId};
use crate::engine::Rng;

use super::classes::{ClassId, Classes, Diagnosis, Rejections, View};
use super::hints::PluginSet;
use super::image_locality::KnownNodes;
use super::inter_pod_affinity::AffinityPlan;
use super::node_affinity::{REASON_CONFLICT, REASON_NOT_NAMED};
use super::node_resources::{MAX_NODE_SCORE, NodeCache};
use super::profile::Plugins;
use super::sampling::{NodeOrder, num_feasible_nodes_to_find};
use super::scan::Scores;
use super::spread_cells::{Cells, Scratch};
use super::topology::{Plan, Topology};

/// What a cycle decided.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Decision {
    /// The node, or why there is none.
    pub outcome: Result<NodeId, Diagnosis>,
    /// Nodes filtered.
    pub visited: u64,
    /// Nodes scored.
    pub scored: u64,
    /// Nodes among which the cycle looked: those of the cluster, or those that the pod names.
    pub listed: u64,
    /// What the plugins' walks over the whole cluster looked at.
    pub walks: Walks,
}

/// Work of the plugins that look at the whole cluster in each cycle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Walks {
    /// Pods looked at by InterPodAffinity before filtering.
    pub prefilter_pods: u64,
    /// Pods matched by InterPodAffinity before scoring, for a pod with preferred terms.
    pub prescore_pods: u64,
    /// Pods with terms looked at by InterPodAffinity before scoring, for a pod without preferred terms.
    pub prescore_terms: u64,
    /// Nodes looked at by PodTopologySpread.
    pub spread_nodes: u64,
    /// Pods looked at by PodTopologySpread, once a constraint.
    pub spread_pods: u64,
}

/// A feasible node that is being scored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Node.
    pub node: NodeId,
    /// Total so far.
    pub total: i64,
    /// A plugin's raw score.
    pub raw: i64,
}

/// Where a cycle looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Among {
    /// On all nodes.
    All,
    /// On those that the pod names, in visiting order.
    Named(Vec<NodeId>),
    /// Nowhere: what the pod says of names can't hold.
    Nowhere,
}

/// The parts of the scheduler that a cycle reads and moves on.
pub(super) struct Search<'a> {
    pub cluster: &'a Cluster,
    pub plugins: Plugins,
    pub nodes: &'a NodeCache,
    pub order: &'a NodeOrder,
    pub known: &'a KnownNodes,
    pub classes: &'a mut Classes,
    pub topology: &'a Topology,
    pub percentage: u32,
    pub among: &'a Among,
    /// The node that the pod is nominated to, or that its batch hints at.
    pub nominated: Option<NodeId>,
    /// Candidates are gathered with their totals, though the table would do.
    pub keeps_candidates: bool,
    pub next_start: &'a mut usize,
    pub candidates: &'a mut Vec<Candidate>,
    pub scratch: &'a mut Scratch,
}

/// What a search came to.
#[derive(Clone, Copy, Debug)]
struct Searched {
    visited: usize,
    scored: u64,
    /// Pods on the nodes scored, if a constraint counts them.
    pods: u64,
    chosen: Option<NodeId>,
}

impl<'a> Search<'a> {
    /// Runs the cycle of a pod, whose spec the topology has learnt.
    pub fn decide(&mut self, pod: PodId, rng: &mut Rng) -> Decision {
        let all = self.order.list().len();
        if all == 0 {
            let walks = Walks::default();
            let outcome = Err(Diagnosis::default());
            return Decision { outcome, visited: 0, scored: 0, listed: 0, walks };
        }
        *self.next_start %= all;
        let listed = match self.among {
            Among::All => all,
            Among::Named(nodes) => nodes.len(),
            Among::Nowhere => {
                // PreFilter of NodeAffinity comes before those that walk.
                let mut diagnosis = Diagnosis::default();
                diagnosis.count(PluginSet::AFFINITY, REASON_CONFLICT, all as u64);
                let (outcome, walks) = (Err(diagnosis), Walks::default());
                return Decision { outcome, visited: 0, scored: 0, listed: 0, walks };
            }
        };
        // Nodes to find; without scores the first will do.
        let enough =
            if self.plugins.scores() { num_feasible_nodes_to_find(self.percentage, listed) } else { 1 };
        let listed = listed as u64;
        let class = self.classes.of_pod(self.cluster, pod);
        let plan = self.topology.plan(self.cluster.pods.spec_id(pod));
        let start = *self.next_start;
        // The nominated node alone, if it will do; else it has been filtered once more than the others.
        let mut tried = 0;
        if let Some(node) = self.nominated.filter(|n| self.order.position(*n).is_some()) {
            tried = 1;
            if self.classes.evaluate(self.cluster, self.nodes, class, node) != 0
                && self.topology_rejects(plan, node).is_none()
            {
                let walks = self.walks(plan, 0, 0);
                let visited = u64::from(self.plugins.filters());
                return Decision { outcome: Ok(node), visited, scored: 0, listed, walks };
            }
        }
        let plain = plan.is_none()
            && !self.keeps_candidates
            && self.classes.prefers_all_alike(self.cluster, self.known, class);
        let Searched { visited, scored, pods, chosen } = if let Among::Named(nodes) = self.among {
            let visited = self.collect(nodes, plan, enough, |s, _, node| {
                s.classes.evaluate(s.cluster, s.nodes, class, node)
            });
            self.choose(class, plan, visited, rng)
        } else {
            match self.classes.prepare(self.cluster, self.nodes, self.order, class, enough) {
                View::Table if plain => {
                    let table = self.classes.table(class);
                    let (visited, scored, place) = choose_in_table(table, start, enough, rng);
                    let chosen = place.map(|at| self.order.list()[at]);
                    Searched { visited, scored, pods: 0, chosen }
                }
                View::Table => match plan.and_then(|plan| self.cells(plan, class, enough)) {
                    Some(cells) => self.choose_in_cells(&cells, class, (start, enough), rng),
                    None => {
                        let visited = self.collect(self.order.list(), plan, enough, |s, at, _| {
                            u64::from(s.classes.table(class).at(at))
                        });
                        self.choose(class, plan, visited, rng)
                    }
                },
                View::OneByOne => {
                    let visited = self.collect(self.order.list(), plan, enough, |s, _, node| {
                        s.classes.evaluate(s.cluster, s.nodes, class, node)
                    });
                    self.choose(class, plan, visited, rng)
                }
            }
        };
        *self.next_start = (start + visited) % all;
        let outcome = match chosen {
            Some(node) => Ok(node),
            None => Err(self.diagnose(class, plan)),
        };
        // Without filters nodes are taken as they come.
        let visited = if self.plugins.filters() { visited as u64 + tried } else { 0 };
        Decision { outcome, visited, scored, listed, walks: self.walks(plan, scored, pods) }
    }

    /// All feasible nodes with their totals.
    pub fn scores(&mut self, pod: PodId) -> Vec<(NodeId, i64)> {
        let class = self.classes.of_pod(self.cluster, pod);
        let plan = self.topology.plan(self.cluster.pods.spec_id(pod));
        self.collect(self.order.list(), plan, usize::MAX, |s, _, node| {
            s.classes.evaluate(s.cluster, s.nodes, class, node)
        });
        self.score(class, plan);
        self.candidates.iter().map(|c| (c.node, c.total)).collect()
    }

    /// Gathers the feasible nodes of a list; returns how many were visited.
    fn collect(
        &mut self,
        list: &[NodeId],
        plan: Option<Plan<'a>>,
        enough: usize,
        mut score: impl FnMut(&mut Self, usize, NodeId) -> u64,
    ) -> usize {
        let start = *self.next_start % list.len().max(1);
        let filter = plan.map(|plan| plan.filter(&self.plugins, self.topology));
        self.candidates.clear();
        let mut visited = 0;
        while visited < list.len() && self.candidates.len() < enough {
            let at = start + visited;
            let at = if at < list.len() { at } else { at - list.len() };
            let node = list[at];
            visited += 1;
            let score = score(self, at, node);
            let admitted = score != 0 && filter.as_ref().is_none_or(|f| f.admits(self.cluster, node));
            debug_assert!(score == 0 || admitted == self.topology_rejects(plan, node).is_none());
            if admitted {
                self.candidates.push(Candidate {
                    node,
                    total: i64::try_from(score).expect("weights are 32 bits") - 1,
                    raw: 0,
                });
            }
        }
        visited
    }

    fn topology_rejects(&self, plan: Option<Plan<'_>>, node: NodeId) -> Option<(PluginSet, &'static str)> {
        plan?.rejects(&self.plugins, self.cluster, self.topology, node)
    }

    fn choose(&mut self, class: ClassId, plan: Option<Plan<'_>>, visited: usize, rng: &mut Rng) -> Searched {
        match self.candidates.as_slice() {
            [] => Searched { visited, scored: 0, pods: 0, chosen: None },
            [only] => Searched { visited, scored: 0, pods: 0, chosen: Some(only.node) },
            _ => {
                self.score(class, plan);
                let pods = plan.map_or(0, |plan| plan.spread.pods_on(self.nodes, self.candidates));
                let chosen = Some(draw_best(self.candidates, rng));
                Searched { visited, scored: self.candidates.len() as u64, pods, chosen }
            }
        }
    }

    /// The cells of nodes that are alike but for their byte in the table, if soft spread is all that a pod regards beside.
    fn cells(&mut self, plan: Plan<'a>, class: ClassId, enough: usize) -> Option<Cells<'a>> {
        let alone = !self.keeps_candidates
            && self.plugins.weights.spread > 0
            && !plan.affinity.regards_anything(self.topology)
            && (plan.spread.hard() == 0 || !self.plugins.spread)
            && self.classes.prefers_all_alike(self.cluster, self.known, class);
        if alone { plan.spread.cells(self.topology, enough) } else { None }
    }

    fn choose_in_cells(
        &mut self,
        cells: &Cells<'_>,
        class: ClassId,
        (start, enough): (usize, usize),
        rng: &mut Rng,
    ) -> Searched {
        let table = self.classes.table(class);
        let (first, second, _) = visit(table, start, enough);
        let (order, weight) = (self.order.list(), self.plugins.weights.spread);
        let ranges = [start..start + first, 0..second];
        let found = cells.choose(table, order, self.nodes, ranges, weight, (&mut *self.scratch, rng));
        let chosen = found.place.map(|at| order[at]);
        Searched { visited: first + second, scored: found.scored, pods: found.pods, chosen }
    }

    fn diagnose(&mut self, class: ClassId, plan: Option<Plan<'_>>) -> Diagnosis {
        let list = match self.among {
            Among::Named(nodes) => nodes,
            _ => self.order.list(),
        };
        if plan.is_none() && *self.among == Among::All {
            return self.classes.diagnose(self.cluster, self.nodes, self.order, class).clone();
        }
        let mut rejections = Rejections::default();
        let mut by_topology = Diagnosis::default();
        for node in list {
            if !self.classes.explain(self.cluster, self.nodes, class, *node, &mut rejections)
                && let Some((plugin, reason)) = self.topology_rejects(plan, *node)
            {
                by_topology.count(plugin, reason, 1);
            }
        }
        let mut diagnosis = rejections.diagnosis(self.cluster, self.classes.requests(class));
        diagnosis.plugins = diagnosis.plugins.with(by_topology.plugins);
        diagnosis.reasons.append(&mut by_topology.reasons);
        if let Among::Named(nodes) = self.among {
            // NodeAffinity has narrowed the search, whatever rejected the nodes that are left.
            diagnosis.plugins = diagnosis.plugins.with(PluginSet::AFFINITY);
            let others = self.order.list().len() - nodes.len();
            diagnosis.count(PluginSet::AFFINITY, REASON_NOT_NAMED, others as u64);
        }
        diagnosis
    }

    /// `on_scored`: pods on the nodes scored.
    fn walks(&self, plan: Option<Plan<'_>>, scored: u64, on_scored: u64) -> Walks {
        let scored = scored > 0;
        let (nodes, pods) = (self.order.list().len() as u64, self.nodes.pods);
        let mut walks = Walks::default();
        if self.plugins.pod_affinity || self.plugins.weights.pod_affinity > 0 {
            let affinity = plan.map(|p| p.affinity);
            // Nodes whose pods have required anti-affinity; all pods if the newcomer requires something itself.
            walks.prefilter_pods = self.topology.pods_with_required_anti
                + if affinity.is_some_and(AffinityPlan::requires) { pods } else { 0 };
            if scored && self.plugins.weights.pod_affinity > 0 {
                if affinity.is_some_and(AffinityPlan::prefers) {
                    walks.prescore_pods = pods;
                } else if !self.topology.ignores_existing() {
                    walks.prescore_terms = self.topology.pods_with_affinity;
                }
            }
        }
        if let Some(plan) = plan {
            let scores = scored && self.plugins.weights.spread > 0;
            let (soft, by_zone) = if scores { plan.spread.soft() } else { (0, 0) };
            let hard = if self.plugins.spread { plan.spread.hard() as u64 } else { 0 };
            walks.spread_nodes = nodes * (u64::from(hard > 0) + u64::from(soft > 0));
            walks.spread_pods = pods * (hard + by_zone as u64);
            if scores {
                walks.spread_pods += plan.spread.soft_by_host() * on_scored;
            }
        }
        walks
    }

    /// Adds the scores that are normalised over the feasible nodes.
    fn score(&mut self, class: ClassId, plan: Option<Plan<'_>>) {
        if let Some(plan) = plan {
            let weights = self.plugins.weights;
            plan.spread.add_score(self.topology, weights.spread, self.candidates);
            plan.affinity.add_score(self.topology, weights.pod_affinity, self.candidates);
        }
        if self.classes.prefers_all_alike(self.cluster, self.known, class) {
            return;
        }
        let weights = self.plugins.weights;
        if weights.images > 0 && self.classes.has_known_images(self.known, class) {
            let nodes = self.order.list().len();
            for c in self.candidates.iter_mut() {
                c.total +=
                    weights.images * self.classes.image_score(self.cluster, self.known, class, c.node, nodes);
            }
        }
        if weights.taints > 0 {
            for c in self.candidates.iter_mut() {
                c.raw = self.classes.preferences(self.cluster, class, c.node).0;
            }
            add_normalised(self.candidates, weights.taints, true);
        }
        if weights.affinity > 0 {
            for c in self.candidates.iter_mut() {
                c.raw = self.classes.preferences(self.cluster, class, c.node).1;
            }
            add_normalised(self.candidates, weights.affinity, false);
        }
    }
}

/// `DefaultNormalizeScore` (`pkg/scheduler/framework/plugins/helper/normalize_score.go`): a raw score scaled so that the
/// largest is 100, turned round if `reverse`.
#[must_use]
pub fn normalised(raw: i64, most: i64, reverse: bool) -> i64 {
    let scaled = if most == 0 { 0 } else { MAX_NODE_SCORE * raw / most };
    if reverse { MAX_NODE_SCORE - scaled } else { scaled }
}

/// Normalised, then weighed and added.
pub(super) fn add_normalised(candidates: &mut [Candidate], weight: i64, reverse: bool) {
    let most = candidates.iter().map(|c| c.raw).max().unwrap_or(0);
    for c in candidates {
        c.total += weight * normalised(c.raw, most, reverse);
    }
}

/// Draws one of the candidates with the best total.
fn draw_best(candidates: &[Candidate], rng: &mut Rng) -> NodeId {
    let (mut best, mut ties) = (i64::MIN, 0);
    for c in candidates {
        if c.total > best {
            (best, ties) = (c.total, 0);
        }
        ties += usize::from(c.total == best);
    }
    let nth = usize::try_from(rng.below(ties as u64)).expect("below a count");
    candidates.iter().filter(|c| c.total == best).nth(nth).expect("counted").node
}

/// How many places from `start` on, and then from the first on, have to be visited to see `enough` feasible ones, and how
/// many of those are seen.
fn visit(scores: &Scores, start: usize, enough: usize) -> (usize, usize, usize) {
    let all = scores.len();
    match scores.feasible() {
        0 => (all - start, start, 0),
        feasible if feasible == all => {
            let first = enough.min(all - start);
            (first, enough - first, enough)
        }
        _ => {
            let (first, seen) = scores.visit(start, all, enough);
            let (second, more) = scores.visit(0, start, enough - seen);
            (first, second, seen + more)
        }
    }
}

/// Draws over a table: nodes visited, nodes scored, place of the chosen one.
fn choose_in_table(
    scores: &Scores,
    start: usize,
    enough: usize,
    rng: &mut Rng,
) -> (usize, u64, Option<usize>) {
    let (first, second, feasible) = visit(scores, start, enough);
    let visited = first + second;
    if feasible == 0 {
        return (visited, 0, None);
    }
    let (after, before) = (start..start + first, 0..second);
    let (best_after, mut in_after) = scores.best(after.clone());
    let (best_before, mut in_before) = scores.best(before.clone());
    let best = best_after.max(best_before);
    if best_after < best {
        in_after = 0;
    }
    if best_before < best {
        in_before = 0;
    }
    let scored = if feasible == 1 { 0 } else { feasible as u64 };
    let nth = if feasible == 1 {
        0
    } else {
        usize::try_from(rng.below((in_after + in_before) as u64)).expect("below a count")
    };
    let place = if nth < in_after {
        scores.nth_of_best(after, best, nth)
    } else {
        scores.nth_of_best(before, best, nth - in_after)
    };
    (visited, scored, place)
}
