//! The order in which YuniKorn tries nodes: by score, then by node name; the first that fits wins.
//!
//! Score (`nodesorting.go`): the mean over the weighted resources (by default vcore and memory alike) of the share in use;
//! `fair` goes by it ascending, `binpacking` by one minus it ascending. The real key is a float64 of four operations
//! (`1 - free/total` twice, a sum, a division by two), each of them correctly rounded by IEEE 754, so the
//! same four operations here give the same bits on every machine, and the same ties: nodes with equal use and
//! equal capacity have equal keys. The key is kept as an integer that sorts as the float does.
//!
//! Both ways to keep the order, the B-tree since late 2021 and the full sort before, give the same sequence
//! here (the real full sort broke ties by map order, that is at random; we take the name). They differ in what
//! a look costs, see [`sort_comparisons`].
//!
//! Our structure is a sorted list in blocks of at most [`BLOCK`] entries, each with an upper bound of what is free
//! on its nodes, so that a search steps over blocks of full nodes at once.
//!
//! A reserved node leaves the order until its reservation ends (`node_collection.go`, `acceptUnreserved`). Which node an ask
//! reserves: the one on which it would leave the least, [`NodeOrder::leftover`].
//!
//! Left out: with more than two weights the real sum is taken in the random order of a map; ours is vcore, memory, pods,
//! others.
//!
//! Cost: a change O(log N + BLOCK) and O(N / BLOCK) once in BLOCK / 2 changes; a search O(1) while the first nodes
//! have room, else O(N / BLOCK + nodes with room that are refused).
use super::super::{NodeSortPolicy, NodeTable};
use super::config::Weights;
use crate::cluster::{Cluster, NodeId, PodSpec};

/// Largest number of nodes in a block.
const BLOCK: usize = 128;
const ABSENT: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Entry {
    score: u64,
    rank: u32,
    node: NodeId,
}

impl Entry {
    const fn key(&self) -> (u64, u32) {
        (self.score, self.rank)
    }
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Block {
    first: (u64, u32),
    /// Upper bounds over the nodes of the block.
    free_cpu: u64,
    free_memory: u64,
    free_pods: u32,
    entries: Vec<Entry>,
}

impl Block {
    const fn may_hold(&self, spec: &PodSpec) -> bool {
        self.free_pods > 0
            && self.free_cpu >= spec.requests.cpu_millicores
            && self.free_memory >= spec.requests.memory_bytes
    }
}

/// What a search met on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Nodes looked at: every node up to the chosen one, or all.
    pub nodes: u64,
    /// Nodes with room, on which the predicates ran.
    pub tested: u64,
}

/// Nodes in YuniKorn's order, with what is in use on them.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct NodeOrder {
    policy: NodeSortPolicy,
    weights: Weights,
    /// Resources by node.
    pub table: NodeTable,
    schedulable: Vec<bool>,
    score: Vec<u64>,
    rank: Vec<u32>,
    reserved: Vec<bool>,
    blocks: Vec<Block>,
    /// Every search scores and sorts all nodes: an oracle.
    #[serde(skip)]
    plain: bool,
    open: usize,
}

/// A float64 as an integer of the same order.
const fn sortable(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// A node's key: see the module.
fn score(policy: NodeSortPolicy, weights: &Weights, table: &NodeTable, node: NodeId) -> u64 {
    let at = node as usize;
    let (mut usage, mut sum) = (0.0, 0.0);
    let mut add = |used: u64, total: u64, weight: u64| {
        let weight = f64::from_bits(weight);
        if total > 0 && weight > 0.0 {
            #[expect(clippy::cast_precision_loss, reason = "as the real scheduler does; exact below 2^53")]
            let share = 1.0 - (total as f64 - used as f64) / total as f64;
            usage += share * weight;
            sum += weight;
        }
    };
    add(table.cpu_used[at], table.cpu_capacity[at], weights.cpu);
    add(table.memory_used[at], table.memory_capacity[at], weights.memory);
    add(u64::from(table.pods_used[at]), u64::from(table.pods_capacity[at]), weights.pods);
    for (id, weight) in &weights.extended {
        let (used, total) = table.extended(node, *id);
        add(used, total, *weight);
    }
    let mean = if sum > 0.0 { usage / sum } else { 0.0 };
    sortable(match policy {
        NodeSortPolicy::Fair => mean,
        NodeSortPolicy::BinPacking => 1.0 - mean,
    })
}

impl NodeOrder {
    /// No nodes yet.
    #[must_use]
    pub fn new(policy: NodeSortPolicy, weights: Weights, plain: bool) -> Self {
        Self {
            plain,
            policy,
            weights,
            table: NodeTable::default(),
            schedulable: Vec::new(),
            score: Vec::new(),
            rank: Vec::new(),
            reserved: Vec::new(),
            blocks: Vec::new(),
            open: 0,
        }
    }

    /// How many nodes there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.table.count()
    }

    /// How many nodes are in the order: those that are not reserved.
    #[must_use]
    pub const fn open(&self) -> usize {
        self.open
    }

    /// Whether a node is in the order.
    #[must_use]
    pub fn is_open(&self, node: NodeId) -> bool {
        self.score.get(node as usize).is_some_and(|score| *score != ABSENT)
    }

    /// Takes a node out of the order for a reservation, or puts it back.
    pub fn set_reserved(&mut self, node: NodeId, reserved: bool) {
        let at = node as usize;
        if self.reserved[at] == reserved {
            return;
        }
        self.reserved[at] = reserved;
        if !self.table.is_present(node) {
            return;
        }
        if reserved {
            self.take_out(node);
        } else {
            self.put_in(node);
        }
    }

    /// Place of a node in the order, to compare it with others.
    #[must_use]
    pub fn place(&self, node: NodeId) -> (u64, u32) {
        (self.score[node as usize], self.rank[node as usize])
    }

    /// What a pod would leave of a node, summed over the node's resources: nothing of one that it takes whole or that is
    /// short already, the whole (one) of one that it does not ask for; as the bits of a float64, which sort as it does
    /// (`Resource.FitInScore`, as `GetFitInScoreForAvailableResource` calls it). None: the node is too small when empty.
    #[must_use]
    pub fn leftover(&self, node: NodeId, spec: &PodSpec) -> Option<u64> {
        let (table, at) = (&self.table, node as usize);
        if !table.could_hold(node, spec) {
            return None;
        }
        let mut sum = 0.0;
        let mut add = |used: u64, total: u64, asked: u64| {
            if used < total {
                let free = total - used;
                if asked == 0 {
                    sum += 1.0;
                } else if free > asked {
                    #[expect(
                        clippy::cast_precision_loss,
                        reason = "as the real scheduler does; exact below 2^53"
                    )]
                    let left = (free - asked) as f64 / free as f64;
                    sum += left;
                }
            }
        };
        add(table.cpu_used[at], table.cpu_capacity[at], spec.requests.cpu_millicores);
        add(table.memory_used[at], table.memory_capacity[at], spec.requests.memory_bytes);
        add(u64::from(table.pods_used[at]), u64::from(table.pods_capacity[at]), 1);
        for id in 0..table.extended_count() {
            let (used, total) = table.extended(node, id);
            add(used, total, spec.requests.extended(id));
        }
        Some(f64::to_bits(sum))
    }

    /// The node to reserve for a pod that fits nowhere: the first in order of those on which it leaves least.
    #[must_use]
    pub fn best_to_reserve(&self, spec: &PodSpec) -> Option<(NodeId, u64)> {
        let mut best: Option<(NodeId, u64)> = None;
        for entry in self.blocks.iter().flat_map(|b| &b.entries) {
            if self.schedulable[entry.node as usize]
                && let Some(left) = self.leftover(entry.node, spec)
                && best.is_none_or(|(_, least)| left < least)
            {
                best = Some((entry.node, left));
            }
        }
        best
    }

    /// Adds a node or takes over its changed allocatable and `unschedulable`.
    pub fn set(&mut self, cluster: &Cluster, node: NodeId) {
        let at = node as usize;
        if self.rank.len() <= at {
            self.rank_all(cluster);
        }
        if self.score[at] != ABSENT {
            self.take_out(node);
        }
        self.table.set(cluster, node);
        self.schedulable[at] = !cluster.nodes.template(node).unschedulable;
        if !self.reserved[at] {
            self.put_in(node);
        }
    }

    /// Takes a node out of the order. Its pods stay counted until they are released.
    pub fn remove(&mut self, node: NodeId) {
        if self.is_open(node) {
            self.take_out(node);
        }
        self.table.remove(node);
    }

    /// Puts a pod on a node that is in the order.
    pub fn add_pod(&mut self, node: NodeId, spec: &PodSpec) {
        self.update(node, |table| table.add_pod(node, spec));
    }

    /// Puts a pod that someone else bound on a node, whether it fits or not.
    pub fn force_pod(&mut self, node: NodeId, spec: &PodSpec) {
        self.update(node, |table| table.force_pod(node, spec));
    }

    /// Takes a pod off a node.
    pub fn remove_pod(&mut self, node: NodeId, spec: &PodSpec) {
        self.update(node, |table| table.remove_pod(node, spec));
    }

    /// Whether the node is in the order, may take pods and has room for this one.
    #[must_use]
    pub fn has_room(&self, node: NodeId, spec: &PodSpec) -> bool {
        self.is_open(node) && self.schedulable[node as usize] && self.table.fits(node, spec)
    }

    /// Whether the node is there and may take pods.
    #[must_use]
    pub fn is_schedulable(&self, node: NodeId) -> bool {
        self.table.is_present(node) && self.schedulable[node as usize]
    }

    /// The first node in order that has room and is accepted.
    pub fn first_fit(
        &mut self,
        spec: &PodSpec,
        mut accept: impl FnMut(NodeId) -> bool,
    ) -> (Option<NodeId>, Walk) {
        let mut walk = Walk::default();
        if self.plain {
            return self.plain_first_fit(spec, accept);
        }
        for block in &mut self.blocks {
            if !block.may_hold(spec) {
                walk.nodes += block.entries.len() as u64;
                continue;
            }
            let mut had_room = false;
            for entry in &block.entries {
                walk.nodes += 1;
                if self.table.fits(entry.node, spec) && self.schedulable[entry.node as usize] {
                    had_room = true;
                    walk.tested += 1;
                    if accept(entry.node) {
                        return (Some(entry.node), walk);
                    }
                }
            }
            if !had_room {
                tighten(block, &self.table);
            }
        }
        (None, walk)
    }

    /// [`first_fit`](Self::first_fit) as the real one is written: score all, sort, try one by one.
    #[cold]
    fn plain_first_fit(
        &self,
        spec: &PodSpec,
        mut accept: impl FnMut(NodeId) -> bool,
    ) -> (Option<NodeId>, Walk) {
        let all = 0..NodeId::try_from(self.table.len()).expect("nodes are limited");
        let score = |node: &NodeId| score(self.policy, &self.weights, &self.table, *node);
        let mut order: Vec<NodeId> = all.filter(|node| self.is_open(*node)).collect();
        order.sort_by_key(|node| (score(node), self.rank[*node as usize]));
        let mut walk = Walk::default();
        for node in order {
            walk.nodes += 1;
            if self.has_room(node, spec) {
                walk.tested += 1;
                if accept(node) {
                    return (Some(node), walk);
                }
            }
        }
        (None, walk)
    }

    fn update(&mut self, node: NodeId, change: impl FnOnce(&mut NodeTable)) {
        let before = self.score.get(node as usize).copied().unwrap_or(ABSENT);
        change(&mut self.table);
        if before == ABSENT {
            return;
        }
        let after = score(self.policy, &self.weights, &self.table, node);
        if before == after {
            // Pods without requests leave the key, and with it the place, as it is.
            let at = self.locate((before, self.rank[node as usize]));
            raise(&mut self.blocks[at], &self.table, node);
            return;
        }
        self.take_out(node);
        self.put_in(node);
    }

    /// Ranks all nodes that the cluster has ever had by name, and sorts anew.
    fn rank_all(&mut self, cluster: &Cluster) {
        let count = cluster.nodes.len();
        let mut by_name: Vec<NodeId> = (0..NodeId::try_from(count).expect("nodes are limited")).collect();
        by_name.sort_by(|a, b| cluster.nodes.get(*a).name.cmp(&cluster.nodes.get(*b).name));
        self.rank = vec![0; count];
        for (rank, node) in by_name.iter().enumerate() {
            self.rank[*node as usize] = u32::try_from(rank).expect("nodes are limited");
        }
        self.score.resize(count, ABSENT);
        self.schedulable.resize(count, false);
        self.reserved.resize(count, false);
        let mut entries: Vec<Entry> = self.blocks.drain(..).flat_map(|b| b.entries).collect();
        for entry in &mut entries {
            entry.rank = self.rank[entry.node as usize];
        }
        entries.sort_by_key(Entry::key);
        for chunk in entries.chunks(BLOCK) {
            let mut block = Block {
                first: chunk[0].key(),
                free_cpu: 0,
                free_memory: 0,
                free_pods: 0,
                entries: Vec::with_capacity(BLOCK),
            };
            block.entries.extend_from_slice(chunk);
            tighten(&mut block, &self.table);
            self.blocks.push(block);
        }
    }

    /// The block in which a key is or belongs.
    fn locate(&self, key: (u64, u32)) -> usize {
        self.blocks.partition_point(|b| b.first <= key).saturating_sub(1)
    }

    fn take_out(&mut self, node: NodeId) {
        let key = (self.score[node as usize], self.rank[node as usize]);
        let at = self.locate(key);
        let block = &mut self.blocks[at];
        let place = block
            .entries
            .binary_search_by_key(&key, Entry::key)
            .expect("a node in the order is in its block");
        block.entries.remove(place);
        match block.entries.first() {
            Some(first) => block.first = first.key(),
            None => {
                self.blocks.remove(at);
            }
        }
        self.score[node as usize] = ABSENT;
        self.open -= 1;
    }

    fn put_in(&mut self, node: NodeId) {
        self.open += 1;
        let score = score(self.policy, &self.weights, &self.table, node);
        self.score[node as usize] = score;
        let entry = Entry { score, rank: self.rank[node as usize], node };
        let key = entry.key();
        let mut at = self.locate(key);
        if self.blocks.get(at).is_none_or(|b| b.entries.len() == BLOCK) {
            let (split, tail) = match self.blocks.get_mut(at) {
                None => (at, Vec::new()),
                Some(block) => {
                    // A full block that grows at its end stays full: half-empty blocks come from the middle only.
                    let place = block.entries.partition_point(|e| e.key() < key);
                    let split = if place == BLOCK { BLOCK } else { BLOCK / 2 };
                    (at + 1, block.entries.split_off(split))
                }
            };
            let mut entries = Vec::with_capacity(BLOCK);
            entries.extend(tail);
            let first = entries.first().map_or(key, Entry::key);
            self.blocks.insert(split, Block { first, free_cpu: 0, free_memory: 0, free_pods: 0, entries });
            tighten(&mut self.blocks[split], &self.table);
            at = self.locate(key);
        }
        let block = &mut self.blocks[at];
        let place = block.entries.partition_point(|e| e.key() < key);
        block.entries.insert(place, entry);
        block.first = block.entries[0].key();
        raise(block, &self.table, node);
    }
}

fn free(table: &NodeTable, node: NodeId) -> (u64, u64, u32) {
    let at = node as usize;
    (
        table.cpu_capacity[at].saturating_sub(table.cpu_used[at]),
        table.memory_capacity[at].saturating_sub(table.memory_used[at]),
        table.pods_capacity[at].saturating_sub(table.pods_used[at]),
    )
}

fn raise(block: &mut Block, table: &NodeTable, node: NodeId) {
    let (cpu, memory, pods) = free(table, node);
    block.free_cpu = block.free_cpu.max(cpu);
    block.free_memory = block.free_memory.max(memory);
    block.free_pods = block.free_pods.max(pods);
}

fn tighten(block: &mut Block, table: &NodeTable) {
    (block.free_cpu, block.free_memory, block.free_pods) = (0, 0, 0);
    for at in 0..block.entries.len() {
        let node = block.entries[at].node;
        raise(block, table, node);
    }
}

/// Comparisons of one full sort of `nodes` nodes, n·log2(n) rounded down: the unit in which a sort is charged.
///
/// The logarithm is computed in integers with 16 binary places.
#[must_use]
pub fn sort_comparisons(nodes: u64) -> u64 {
    let product = u128::from(nodes) * u128::from(log2_fixed(nodes));
    u64::try_from(product >> 16).expect("node counts are limited")
}

/// log2 of a number with 16 binary places, rounded down; 0 of 0.
fn log2_fixed(value: u64) -> u64 {
    if value < 2 {
        return 0;
    }
    let whole = value.ilog2();
    // The mantissa in 1..2 with 62 binary places; squaring it gives one place of the logarithm a time.
    let mut mantissa = u128::from(value) << (62 - whole.min(62)) >> (whole.saturating_sub(62));
    let mut result = u64::from(whole);
    for _ in 0..16 {
        mantissa = (mantissa * mantissa) >> 62;
        result <<= 1;
        if mantissa >> 63 == 1 {
            mantissa >>= 1;
            result |= 1;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_are_n_log_n() {
        assert_eq!(sort_comparisons(0), 0);
        assert_eq!(sort_comparisons(1), 0);
        assert_eq!(sort_comparisons(1024), 10_240);
        for n in [3_u64, 500, 1000, 2000, 5000, 100_000] {
            #[expect(clippy::cast_precision_loss)]
            let exact = n as f64 * libm::log2(n as f64);
            #[expect(clippy::cast_precision_loss)]
            let ours = sort_comparisons(n) as f64;
            assert!(
                exact - ours >= 0.0 && exact - ours < 1.0 + n as f64 / 65_536.0,
                "{n}: {ours} for {exact}"
            );
        }
    }

    #[test]
    fn integers_sort_as_their_floats() {
        let floats = [-1.5, -0.25, 0.0, 0.1, 0.5, 1.0 - f64::EPSILON / 2.0, 1.0, 1.25];
        assert!(floats.windows(2).all(|w| sortable(w[0]) < sortable(w[1])));
    }
}
