//! Quotas of ClusterQueues and what cohorts lend.
//!
//! Source: `pkg/cache/scheduler/resource_node.go` of Kueue 0.19.2. Each ClusterQueue has a nominal quota for each flavor of each
//! resource. What it does not use is its cohort's, but for what it does not lend (`lendingLimit`); beyond its own it
//! takes the cohort's, up to `borrowingLimit`. A queue's use counts in the cohort from where its unlent part ends.
//!
//! Cohorts form trees, and each may have quotas of its own: what a cohort has is its own and what its children lend it (`SubtreeQuota`), and towards its
//! parent it lends and borrows as a queue does towards it. Queues and cohorts are nodes of one numbering: queues by their index, then cohorts by theirs.
//!
//! Quotas do not change in a run: what follows from them alone is computed once. Sums stop at the most that a number holds, as Kueue's do.
//!
//! Left out: quotas that are edited meanwhile.
//!
//! Cost: O(depth of the tree) a question or a change, O(nodes x cells) to build.
use super::config::{Config, Weight};

/// Which flavor, and which resource: see [`Config::cell`].
pub type Cell = usize;

/// A ClusterQueue or a cohort.
pub type Node = usize;

/// A quota of a ClusterQueue or a cohort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Quota {
    /// `nominalQuota`.
    pub nominal: i64,
    /// `borrowingLimit`; none: whatever the cohort has.
    pub borrowing_limit: Option<i64>,
    /// `lendingLimit`; none: all of it.
    pub lending_limit: Option<i64>,
}

/// Quotas and use of all ClusterQueues and cohorts.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Quotas {
    /// How many nodes are ClusterQueues.
    queues: usize,
    cells: usize,
    /// Cells of one flavor.
    resources: usize,
    /// By node, ClusterQueues first.
    parents: Vec<Option<Node>>,
    weights: Vec<Weight>,
    /// How many cohorts stand above.
    depths: Vec<usize>,
    /// The longest way down to a leaf.
    heights: Vec<usize>,
    /// By node: where its children begin and end in `children`, cohorts before queues.
    spans: Vec<(usize, usize)>,
    children: Vec<Node>,
    /// By node, then cell.
    quotas: Vec<Quota>,
    /// Its own and what its children lend it.
    subtrees: Vec<i64>,
    /// What it may use if nobody uses anything.
    potentials: Vec<i64>,
    used: Vec<i64>,
    /// By node, then resource: what its children may lend one another at most, of all flavors.
    lendable: Vec<i64>,
}

impl Quotas {
    /// Of ClusterQueues with their cohorts' indices and their quotas by cell.
    #[must_use]
    pub fn new(queues: &[(Option<usize>, Vec<Quota>)]) -> Self {
        let cells = queues.first().map_or(0, |(_, quotas)| quotas.len());
        let cohorts = queues.iter().filter_map(|(cohort, _)| *cohort).max().map_or(0, |most| most + 1);
        let mut nodes: Vec<_> = (queues.iter())
            .map(|(cohort, quotas)| (cohort.map(|c| queues.len() + c), quotas.clone(), Weight::default()))
            .collect();
        nodes.resize(queues.len() + cohorts, (None, Vec::new(), Weight::default()));
        Self::of_nodes(nodes, queues.len(), cells, cells)
    }

    /// Of a configuration's ClusterQueues and cohorts.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let queues = config.queues.len();
        let cells = config.queues.first().map_or(0, |queue| queue.quotas.len());
        let of_queue = config.queues.iter().map(|q| (q.cohort, &q.quotas, q.weight));
        let of_cohort = config.cohorts.iter().map(|c| (c.parent, &c.quotas, c.weight));
        let mut nodes: Vec<_> = of_queue
            .chain(of_cohort)
            .map(|(parent, quotas, weight)| (parent.map(|c| queues + c), quotas.clone(), weight))
            .collect();
        let known = nodes.iter().filter_map(|(parent, ..)| *parent).max().map_or(0, |most| most + 1);
        nodes.resize(known.max(nodes.len()), (None, Vec::new(), Weight::default()));
        Self::of_nodes(nodes, queues, cells, config.resources.len())
    }

    fn of_nodes(
        nodes: Vec<(Option<Node>, Vec<Quota>, Weight)>,
        queues: usize,
        cells: usize,
        resources: usize,
    ) -> Self {
        let parents: Vec<Option<Node>> = nodes.iter().map(|(parent, ..)| *parent).collect();
        let depth = |node: Node| {
            let above = std::iter::successors(parents[node], |at| parents[*at]);
            // A circle, which no caller gives, ends too.
            above.take(parents.len()).count()
        };
        let depths: Vec<usize> = (0..parents.len()).map(depth).collect();
        let mut it = Self { queues, cells, resources: resources.max(1), depths, ..Self::default() };
        let mut by_parent: Vec<Vec<Node>> = vec![Vec::new(); parents.len()];
        let cohorts_first = (queues..parents.len()).chain(0..queues);
        for node in cohorts_first {
            if let Some(parent) = parents[node] {
                by_parent[parent].push(node);
            }
        }
        for (_, quotas, weight) in nodes {
            it.weights.push(weight);
            let missing = cells.saturating_sub(quotas.len());
            it.quotas.extend(quotas.into_iter().take(cells).chain(vec![Quota::default(); missing]));
        }
        for children in by_parent {
            it.spans.push((it.children.len(), it.children.len() + children.len()));
            it.children.extend(children);
        }
        it.parents = parents;
        it.heights = vec![0; it.parents.len()];
        it.used = vec![0; it.quotas.len()];
        it.subtrees = it.quotas.iter().map(|quota| quota.nominal).collect();
        it.potentials = vec![0; it.quotas.len()];
        it.lendable = vec![0; it.parents.len() * it.resources];
        let mut deepest_first: Vec<Node> = (0..it.parents.len()).collect();
        deepest_first.sort_by_key(|node| std::cmp::Reverse(it.depths[*node]));
        for node in &deepest_first {
            let Some(parent) = it.parents[*node] else { continue };
            it.heights[parent] = it.heights[parent].max(it.heights[*node] + 1);
            for cell in 0..cells {
                let lent = it.subtrees[node * cells + cell] - it.local(*node, cell);
                let sum = &mut it.subtrees[parent * cells + cell];
                *sum = sum.saturating_add(lent);
            }
        }
        for node in deepest_first.iter().rev() {
            for cell in 0..cells {
                let at = node * cells + cell;
                let subtree = it.subtrees[at];
                it.potentials[at] = it.parents[*node].map_or(subtree, |parent| {
                    let all = it.local(*node, cell).saturating_add(it.potentials[parent * cells + cell]);
                    let limit = it.quotas[at].borrowing_limit;
                    limit.map_or(all, |limit| all.min(subtree.saturating_add(limit)))
                });
                let sum = &mut it.lendable[node * it.resources + cell % it.resources];
                *sum = sum.saturating_add(it.potentials[at]);
            }
        }
        it
    }

    fn quota(&self, node: Node, cell: Cell) -> &Quota {
        &self.quotas[node * self.cells + cell]
    }

    /// How many cells there are.
    pub(super) const fn cells(&self) -> usize {
        self.cells
    }

    /// How many resources there are.
    pub(super) const fn resources(&self) -> usize {
        self.resources
    }

    /// Whether a node is a ClusterQueue.
    pub(super) const fn is_queue(&self, node: Node) -> bool {
        node < self.queues
    }

    /// The cohort that a node belongs to.
    #[must_use]
    pub fn parent(&self, node: Node) -> Option<Node> {
        self.parents[node]
    }

    /// The cohorts above a node, from its own to the root.
    pub fn ancestors(&self, node: Node) -> impl Iterator<Item = Node> {
        std::iter::successors(self.parents[node], |at| self.parents[*at])
    }

    /// The root of the tree that a node stands in; none: it has no cohort.
    #[must_use]
    pub fn root(&self, node: Node) -> Option<Node> {
        self.ancestors(node).last()
    }

    /// How many cohorts stand above a node.
    pub(super) fn depth(&self, node: Node) -> usize {
        self.depths[node]
    }

    /// A cohort's children, cohorts before queues.
    pub(super) fn children(&self, node: Node) -> &[Node] {
        let (from, to) = self.spans[node];
        &self.children[from..to]
    }

    /// `fairSharing.weight`.
    pub(super) fn weight(&self, node: Node) -> Weight {
        self.weights[node]
    }

    /// What a cohort's children could have of a resource, all flavors, if nobody used anything (`calculateLendable`).
    pub(super) fn lendable(&self, cohort: Node, resource: usize) -> i64 {
        self.lendable[cohort * self.resources + resource]
    }

    /// What a node has, by its own quota and its children's.
    #[must_use]
    pub fn subtree(&self, node: Node, cell: Cell) -> i64 {
        self.subtrees[node * self.cells + cell]
    }

    /// What it never lends.
    fn local(&self, node: Node, cell: Cell) -> i64 {
        let limit = self.quota(node, cell).lending_limit;
        limit.map_or(0, |limit| (self.subtree(node, cell) - limit).max(0))
    }

    /// What of that it does not use (`LocalAvailable`).
    pub(super) fn local_available(&self, node: Node, cell: Cell) -> i64 {
        (self.local(node, cell) - self.used(node, cell)).max(0)
    }

    /// A node's nominal quota.
    #[must_use]
    pub fn nominal(&self, node: Node, cell: Cell) -> i64 {
        self.quota(node, cell).nominal
    }

    /// A node's limit of borrowing.
    #[must_use]
    pub fn borrowing_limit(&self, node: Node, cell: Cell) -> Option<i64> {
        self.quota(node, cell).borrowing_limit
    }

    /// What a node uses; a cohort: what its queues use beyond what they keep for themselves.
    #[must_use]
    pub fn used(&self, node: Node, cell: Cell) -> i64 {
        self.used[node * self.cells + cell]
    }

    /// What a node may use besides (`available`).
    #[must_use]
    pub fn available(&self, node: Node, cell: Cell) -> i64 {
        // What there is locally up to here, and how much may come from above.
        let (mut sum, mut most) = (0_i64, i64::MAX);
        let mut at = node;
        while let Some(parent) = self.parents[at] {
            if let Some(limit) = self.borrowing_limit(at, cell) {
                let local = self.local(at, cell);
                let used_there = (self.used(at, cell) - local).max(0);
                let here = (self.subtree(at, cell) - local - used_there).saturating_add(limit);
                most = most.min(here.saturating_add(self.local_available(at, cell)));
            }
            let local = self.local_available(at, cell);
            sum = sum.saturating_add(local);
            most = if most == i64::MAX { most } else { most - local };
            at = parent;
        }
        sum.saturating_add(most.min(self.subtree(at, cell) - self.used(at, cell)))
    }

    /// What a queue may use if nobody uses anything (`potentialAvailable`).
    #[must_use]
    pub fn potential(&self, node: Node, cell: Cell) -> i64 {
        self.potentials[node * self.cells + cell]
    }

    /// Whether a node borrows if it uses so much more.
    #[must_use]
    pub fn borrows(&self, node: Node, cell: Cell, more: i64) -> bool {
        self.parents[node].is_some() && self.exceeds(node, cell, more)
    }

    /// Whether a node uses more than its own and its children's quota if it uses so much more.
    pub(super) fn exceeds(&self, node: Node, cell: Cell, more: i64) -> bool {
        more > self.subtree(node, cell) - self.used(node, cell)
    }

    /// The height of the lowest subtree around a queue that has quota for so much more, 0: the queue alone; and whether there is a larger one
    /// (`FindHeightOfLowestSubtreeThatFits`).
    #[must_use]
    pub fn height_that_fits(&self, queue: Node, cell: Cell, amount: i64) -> (usize, bool) {
        let Some(mut at) = self.parents[queue] else { return (0, false) };
        if !self.borrows(queue, cell, amount) {
            return (0, true);
        }
        let mut left = amount - self.local_available(queue, cell);
        loop {
            let parent = self.parents[at];
            if !self.exceeds(at, cell, left) || parent.is_none() {
                return (self.heights[at], parent.is_some());
            }
            left -= self.local_available(at, cell);
            at = parent.unwrap_or(at);
        }
    }

    /// A queue uses more (`addUsage`).
    pub fn add(&mut self, queue: Node, cell: Cell, more: i64) {
        let (mut at, mut more) = (queue, more);
        loop {
            let unlent = self.local_available(at, cell);
            let used = &mut self.used[at * self.cells + cell];
            *used = used.saturating_add(more);
            match self.parents[at] {
                Some(parent) if more > unlent => (at, more) = (parent, more - unlent),
                _ => return,
            }
        }
    }

    /// A queue uses less (`removeUsage`).
    pub fn remove(&mut self, queue: Node, cell: Cell, less: i64) {
        let (mut at, mut less) = (queue, less);
        loop {
            let there = self.used(at, cell) - self.local(at, cell);
            self.used[at * self.cells + cell] -= less;
            match self.parents[at] {
                Some(parent) if there > 0 => (at, less) = (parent, less.min(there)),
                _ => return,
            }
        }
    }
}
