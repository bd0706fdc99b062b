//! Which nodes a cycle looks at: how many feasible ones are enough, and in which order they are visited.
//!
//! kube-scheduler stops filtering once it has found "enough" feasible nodes, and the next cycle goes on where the
//! last one stopped (`pkg/scheduler/schedule_one.go`). Nodes stand in the order of the cache's node tree: one node
//! of each zone in turn, zones by first sight, nodes of a zone by arrival
//! (`pkg/scheduler/backend/cache/node_tree.go`). The zone key is region and zone.
//!
//! Nodes that a pod names are in no order there (they come out of a set); here they are in this one.
//!
//! Left out: sixteen workers race for the last places, so that the real set of feasible nodes depends on their
//! timing; here it is the first ones in visiting order. A node that changes its zone keeps its place.
//!
//! Cost: O(nodes) when the order is rebuilt, which happens only after nodes came or went, and for the first pod then that names nodes.
use rustc_hash::FxHashMap;

use crate::cluster::{Cluster, NodeId};

const REGION_LABEL: &str = "topology.kubernetes.io/region";
/// The fewest nodes for which sampling applies, and the fewest that it looks for.
const MIN_FEASIBLE_NODES: u64 = 100;

/// How many feasible nodes end the search in a cluster of `nodes`; `percentage` 0 is adaptive: 50 % less one point
/// for each 125 nodes, at least 5 %.
#[must_use]
pub fn num_feasible_nodes_to_find(percentage: u32, nodes: usize) -> usize {
    let all = nodes as u64;
    if all < MIN_FEASIBLE_NODES {
        return nodes;
    }
    let percentage = match percentage {
        0 => 50_u64.saturating_sub(all / 125).max(5),
        p => u64::from(p).min(100),
    };
    usize::try_from((all * percentage / 100).clamp(MIN_FEASIBLE_NODES, all)).expect("at most the node count")
}

/// The nodes in visiting order.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct NodeOrder {
    /// Index of the zone in `zones` by zone key.
    #[serde(with = "crate::engine::codec::sorted")]
    zone_index: FxHashMap<(Option<String>, Option<u32>), usize>,
    zones: Vec<Vec<NodeId>>,
    /// Zone of a known node.
    zone_of: Vec<Option<usize>>,
    /// Zones in order of first sight, empty ones removed.
    zone_order: Vec<usize>,
    list: Vec<NodeId>,
    position: Vec<u32>,
    stale: bool,
    /// Nodes of the list by name, once asked for.
    #[serde(skip)]
    by_name: Option<FxHashMap<String, NodeId>>,
}

impl NodeOrder {
    /// A node was added.
    pub fn add(&mut self, cluster: &Cluster, node: NodeId) {
        let at = node as usize;
        if self.zone_of.len() <= at {
            self.zone_of.resize(at + 1, None);
            self.position.resize(at + 1, u32::MAX);
        }
        if self.zone_of[at].is_some() {
            return;
        }
        let region = cluster.nodes.label(node, REGION_LABEL).map(str::to_owned);
        let next = self.zones.len();
        let zone = *self.zone_index.entry((region, cluster.nodes.get(node).zone)).or_insert(next);
        if zone == next {
            self.zones.push(Vec::new());
        }
        if self.zones[zone].is_empty() {
            self.zone_order.push(zone);
        }
        self.zones[zone].push(node);
        self.zone_of[at] = Some(zone);
        self.stale = true;
    }

    /// A node was deleted.
    pub fn remove(&mut self, node: NodeId) {
        let Some(zone) = self.zone_of.get_mut(node as usize).and_then(Option::take) else { return };
        self.zones[zone].retain(|n| *n != node);
        if self.zones[zone].is_empty() {
            self.zone_order.retain(|z| *z != zone);
        }
        self.stale = true;
    }

    /// Rebuilds the list if nodes came or went; says whether it did.
    pub fn refresh(&mut self) -> bool {
        if !self.stale {
            return false;
        }
        self.stale = false;
        self.by_name = None;
        self.list.clear();
        self.position.fill(u32::MAX);
        let deepest = self.zone_order.iter().map(|z| self.zones[*z].len()).max().unwrap_or(0);
        for depth in 0..deepest {
            for zone in &self.zone_order {
                if let Some(node) = self.zones[*zone].get(depth) {
                    self.position[*node as usize] =
                        u32::try_from(self.list.len()).expect("nodes are limited");
                    self.list.push(*node);
                }
            }
        }
        true
    }

    /// Nodes in visiting order, as of the last [`refresh`](Self::refresh).
    #[must_use]
    pub fn list(&self) -> &[NodeId] {
        &self.list
    }

    /// Those nodes of the [`list`](Self::list) that have one of the names, in visiting order.
    #[must_use]
    pub fn named<'n>(&mut self, cluster: &Cluster, names: impl Iterator<Item = &'n str>) -> Vec<NodeId> {
        let list = &self.list;
        let by_name = self.by_name.get_or_insert_with(|| {
            list.iter().map(|node| (cluster.nodes.get(*node).name.clone(), *node)).collect()
        });
        let mut nodes: Vec<NodeId> = names.filter_map(|name| by_name.get(name).copied()).collect();
        nodes.sort_unstable_by_key(|node| self.position[*node as usize]);
        nodes
    }

    /// A node's place in [`list`](Self::list).
    #[inline]
    #[must_use]
    pub fn position(&self, node: NodeId) -> Option<usize> {
        match self.position.get(node as usize) {
            Some(&p) if p != u32::MAX => Some(p as usize),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::NodeTemplate;

    /// Facts: `TestNumFeasibleNodesToFind` and the formula in `pkg/scheduler/schedule_one.go`.
    #[test]
    fn enough_feasible_nodes() {
        let adaptive = |n| num_feasible_nodes_to_find(0, n);
        for (nodes, enough) in [
            (0, 0),
            (10, 10),
            (99, 99),
            (100, 100),
            (200, 100),
            (500, 230),
            (1000, 420),
            (2000, 680),
            (3000, 780),
            (3125, 781),
            (4000, 720),
            (5000, 500),
            (5625, 281),
            (6000, 300),
            (15_000, 750),
            (30_000, 1500),
            (100_000, 5000),
        ] {
            assert_eq!(adaptive(nodes), enough, "{nodes} nodes");
        }
        assert_eq!(num_feasible_nodes_to_find(40, 1000), 400);
        assert_eq!(num_feasible_nodes_to_find(40, 6000), 2400);
        assert_eq!(num_feasible_nodes_to_find(100, 2000), 2000);
        assert_eq!(num_feasible_nodes_to_find(1, 1000), 100);
        assert_eq!(num_feasible_nodes_to_find(30, 10), 10);
    }

    fn cluster(zones: &[Option<&str>]) -> Cluster {
        let mut cluster = Cluster::default();
        let template = cluster.nodes.add_template(NodeTemplate::default());
        for (i, zone) in zones.iter().enumerate() {
            let zone = zone.map(|z| cluster.nodes.add_zone(z));
            cluster.nodes.add(format!("n{i}"), template, zone);
        }
        cluster
    }

    #[test]
    fn zones_take_turns_in_order_of_first_sight() {
        let cluster = cluster(&[Some("b"), Some("b"), Some("a"), Some("b"), None, Some("a")]);
        let mut order = NodeOrder::default();
        for node in 0..6 {
            order.add(&cluster, node);
        }
        assert!(order.refresh());
        assert!(!order.refresh());
        assert_eq!(order.list(), [0, 2, 4, 1, 5, 3]);
        assert_eq!(order.position(5), Some(4));
        // The first node of zone b goes: the others move up.
        order.remove(0);
        order.refresh();
        assert_eq!(order.list(), [1, 2, 4, 3, 5]);
        assert_eq!(order.position(0), None);
        // A zone that was emptied comes back at the end.
        order.remove(4);
        order.add(&cluster, 0);
        order.add(&cluster, 4);
        order.refresh();
        assert_eq!(order.list(), [1, 2, 4, 3, 5, 0]);
    }
}
