//! One scheduling cycle: which nodes are visited, which are feasible, which one is chosen, and what that cost.
//!
//! Source: `schedulePod`, `findNodesThatFitPod` and `prioritizeNodes` in `pkg/scheduler/schedule_one.go`.
//! Filters run over nodes from where the last search stopped until enough are feasible. One feasible node is taken
//! without scores. Else the scores of the plugins are normalised over the feasible nodes, weighed and added, and
//! one of the best nodes is drawn with equal chances.
//!
//! Weights: TaintToleration 3, NodeAffinity 2, PodTopologySpread 2, InterPodAffinity 2, Fit 1, BalancedAllocation 1.
//! ImageLocality gives 0 to all.
//!
//! Left out: nominated nodes, extenders, the few nodes that parallel workers filter past the last one needed.
//!
//! Cost: a scan of a byte a visited node for plain pods; some ten nanoseconds a visited node otherwise.
use crate::cluster::{Cluster, NodeId, PodId};
use crate::engine::Rng;

use super::classes::{ClassId, Classes, Diagnosis, View};
use super::node_resources::{MAX_NODE_SCORE, NodeCache};
use super::plugins::Plugins;
use super::sampling::{NodeOrder, num_feasible_nodes_to_find};
use super::{node_affinity, scan, taint_toleration};

/// What a cycle decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The node, or why there is none.
    pub outcome: Result<NodeId, Diagnosis>,
    /// Nodes filtered.
    pub visited: u64,
    /// Nodes scored.
    pub scored: u64,
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

/// The parts of the scheduler that a cycle reads and moves on.
pub(super) struct Search<'a> {
    pub cluster: &'a Cluster,
    pub plugins: Plugins,
    pub nodes: &'a NodeCache,
    pub order: &'a NodeOrder,
    pub classes: &'a mut Classes,
    pub percentage: u32,
    pub next_start: &'a mut usize,
    pub candidates: &'a mut Vec<Candidate>,
}

impl Search<'_> {
    /// Runs the cycle of a pod.
    pub fn decide(&mut self, pod: PodId, rng: &mut Rng) -> Decision {
        let all = self.order.list().len();
        if all == 0 {
            return Decision { outcome: Err(Diagnosis::default()), visited: 0, scored: 0 };
        }
        *self.next_start %= all;
        let scores = self.plugins.scores();
        let enough = if scores && self.plugins.filters() {
            num_feasible_nodes_to_find(self.percentage, all)
        } else {
            1
        };
        let class = self.classes.of_pod(self.cluster, pod);
        if scores
            && self.classes.prefers_all_alike(self.cluster, class)
            && let View::Table(bytes, infeasible) =
                self.classes.prepare(self.cluster, self.nodes, self.order, class, enough)
        {
            let start = *self.next_start;
            let (visited, scored, best) = choose_in_table(bytes, infeasible, start, enough, rng);
            *self.next_start = (start + visited) % all;
            let outcome = match best {
                Some(at) => Ok(self.order.list()[at]),
                None => Err(self.classes.diagnose(self.cluster, self.nodes, self.order, class).clone()),
            };
            return Decision { outcome, visited: visited as u64, scored };
        }
        self.decide_one_by_one(class, enough, rng)
    }

    fn decide_one_by_one(&mut self, class: ClassId, enough: usize, rng: &mut Rng) -> Decision {
        let list = self.order.list();
        let all = list.len();
        let start = *self.next_start;
        self.candidates.clear();
        let mut visited = 0;
        while visited < all && self.candidates.len() < enough {
            let at = start + visited;
            let node = list[if at < all { at } else { at - all }];
            visited += 1;
            let byte = self.classes.evaluate(self.cluster, self.nodes, class, node);
            if byte != 0 {
                self.candidates.push(Candidate { node, total: i64::from(byte) - 1, raw: 0 });
            }
        }
        *self.next_start = (start + visited) % all;
        let visited = visited as u64;
        match self.candidates.as_slice() {
            [] => {
                let outcome = Err(self.classes.diagnose(self.cluster, self.nodes, self.order, class).clone());
                Decision { outcome, visited, scored: 0 }
            }
            [only] => Decision { outcome: Ok(only.node), visited, scored: 0 },
            _ => {
                self.score(class);
                let best = draw_best(self.candidates, rng);
                Decision { outcome: Ok(best), visited, scored: self.candidates.len() as u64 }
            }
        }
    }

    /// Adds the scores that are normalised over the feasible nodes.
    fn score(&mut self, class: ClassId) {
        if self.classes.prefers_all_alike(self.cluster, class) {
            return;
        }
        if self.plugins.taints {
            for c in self.candidates.iter_mut() {
                c.raw = self.classes.preferences(self.cluster, class, c.node).0;
            }
            add_normalised(self.candidates, taint_toleration::WEIGHT, true);
        }
        if self.plugins.affinity {
            for c in self.candidates.iter_mut() {
                c.raw = self.classes.preferences(self.cluster, class, c.node).1;
            }
            add_normalised(self.candidates, node_affinity::WEIGHT, false);
        }
    }
}

/// `DefaultNormalizeScore` (`pkg/scheduler/framework/plugins/helper/normalize_score.go`): scaled so that the largest
/// raw score is 100, turned round if `reverse`; then weighed and added.
pub(super) fn add_normalised(candidates: &mut [Candidate], weight: i64, reverse: bool) {
    let most = candidates.iter().map(|c| c.raw).max().unwrap_or(0);
    for c in candidates {
        let scaled = if most == 0 { 0 } else { MAX_NODE_SCORE * c.raw / most };
        c.total += weight * if reverse { MAX_NODE_SCORE - scaled } else { scaled };
    }
}

/// Draws one of the candidates with the best total.
fn draw_best(candidates: &[Candidate], rng: &mut Rng) -> NodeId {
    let best = candidates.iter().map(|c| c.total).max().expect("not empty");
    let ties = candidates.iter().filter(|c| c.total == best).count();
    let nth = usize::try_from(rng.below(ties as u64)).expect("below a count");
    candidates.iter().filter(|c| c.total == best).nth(nth).expect("counted").node
}

/// The same over bytes: nodes visited, nodes scored, place of the chosen one.
fn choose_in_table(
    bytes: &[u8],
    infeasible: usize,
    start: usize,
    enough: usize,
    rng: &mut Rng,
) -> (usize, u64, Option<usize>) {
    let (before, after) = bytes.split_at(start);
    let feasible_here = bytes.len() - infeasible;
    let (first, second, feasible) = if infeasible == 0 {
        let first = enough.min(after.len());
        (first, enough - first, enough)
    } else if feasible_here == 0 {
        (after.len(), before.len(), 0)
    } else {
        let (first, seen) = scan::visit(after, enough);
        let (second, more) = scan::visit(before, enough - seen);
        (first, second, seen + more)
    };
    let visited = first + second;
    let (after, before) = (&after[..first], &before[..second]);
    if feasible == 0 {
        return (visited, 0, None);
    }
    let best = scan::max(after).max(scan::max(before));
    let in_after = scan::count(after, best);
    let scored = if feasible == 1 { 0 } else { feasible as u64 };
    let nth = if feasible == 1 {
        0
    } else {
        usize::try_from(rng.below((in_after + scan::count(before, best)) as u64)).expect("below a count")
    };
    let place = if nth < in_after {
        scan::find_nth(after, best, nth).map(|at| start + at)
    } else {
        scan::find_nth(before, best, nth - in_after)
    };
    (visited, scored, place)
}
