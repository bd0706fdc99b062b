//! The core's scheduling cycle: walk over queues, applications and asks in order, first ask that fits a node wins.
//!
//! A cycle makes at most one allocation (`context.go`, `partition.go`). The real one walks over every ask in order
//! and tries every node for each that cannot be placed, each time anew. Here the asks of a spec that fits nowhere
//! are set aside until a node changes, and what the real walk would have met is summed up in [`Work`]: the same
//! decisions and the same counts, which `tests/yunikorn_oracle.rs` compares with a plain walk.
//!
//! Left out: reservations, placeholders, preemption; the order of asks that arrive within a cycle.
//!
//! Cost: O(log + specs pending in the application) an allocation; a spec set aside costs O(1) a change of a node.
use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::apps::{App, AppKey, Group};
use super::nodes::NodeOrder;
use super::predicates::Predicates;
use super::queues::{QueueId, Queues, ROOT};
use crate::cluster::{AppId, Cluster, NO_NODE, NodeId, PodId, SpecId};
use crate::scheduler::{PendingReasons, Settings};

/// Where a pod is, as the core and the shim see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum PodState {
    /// Not seen.
    #[default]
    Unseen,
    /// Waits for its application's tick, or in the dispatcher.
    New,
    /// Its ask is pending in the core.
    Pending,
    /// Allocated, not known to be bound.
    Allocated,
    /// Bound by this scheduler.
    Bound,
    /// On a node by someone else's doing.
    Foreign,
    /// Given up, finished or deleted.
    Done,
}

/// What the real core does in one cycle, in its own operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Applications copied, filtered and sorted, over the leaf queues visited.
    pub apps_sorted: u64,
    /// Pending asks of the applications walked over (2020 and 2021: rebuilt into a sorted list).
    pub asks_listed: u64,
    /// Distinct asks among them, if each spec of an application were one repeated ask.
    pub repeated_asks_listed: u64,
    /// Asks passed without a look at nodes: no headroom, or allocated already.
    pub asks_skipped: u64,
    /// Asks for which nodes were tried.
    pub asks_tried: u64,
    /// Nodes looked at.
    pub nodes_visited: u64,
    /// Calls of the predicates.
    pub predicates: u64,
    /// Those for pods with affinity or spread.
    pub affinity_predicates: u64,
}

#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
struct SpecState {
    known: bool,
    priority: i32,
    /// No node takes it.
    stuck: bool,
    /// While stuck: nodes with room, on which the predicates fail.
    tested: u64,
    /// Kinds of this spec, by queue.
    kinds: Vec<(QueueId, u32)>,
}

/// The core.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Core {
    /// Nodes in order.
    pub nodes: NodeOrder,
    /// Predicates.
    pub predicates: Predicates,
    /// Queues.
    pub queues: Queues,
    priority_sort: bool,
    apps: Vec<Option<Box<App>>>,
    #[serde(with = "crate::engine::codec::sorted")]
    group_of: FxHashMap<(AppId, SpecId), u32>,
    specs: Vec<SpecState>,
    stuck: Vec<SpecId>,
    over_quota: Vec<(QueueId, u32)>,
    state: Vec<PodState>,
    node: Vec<NodeId>,
    next_ask: u32,
    next_app: u32,
    app_order: Vec<u32>,
}

impl Core {
    /// An empty core.
    #[must_use]
    pub fn new(settings: &Settings, priority_sort: bool) -> Self {
        Self {
            nodes: NodeOrder::new(settings.node_sort_policy),
            predicates: Predicates::new(settings.predicates && !settings.core_only),
            queues: Queues::new(&settings.queues),
            priority_sort,
            apps: Vec::new(),
            group_of: FxHashMap::default(),
            specs: Vec::new(),
            stuck: Vec::new(),
            over_quota: Vec::new(),
            state: Vec::new(),
            node: Vec::new(),
            next_ask: 0,
            next_app: 0,
            app_order: Vec::new(),
        }
    }

    /// The node that a pod was put on.
    #[must_use]
    pub fn node_of(&self, pod: PodId) -> NodeId {
        self.node.get(pod as usize).copied().unwrap_or(NO_NODE)
    }

    /// A pod's state.
    #[must_use]
    pub fn state(&self, pod: PodId) -> PodState {
        self.state.get(pod as usize).copied().unwrap_or_default()
    }

    /// Sets a pod's state.
    pub fn set_state(&mut self, pod: PodId, state: PodState) {
        let at = pod as usize;
        if self.state.len() <= at {
            self.state.resize(at + 1, PodState::Unseen);
            self.node.resize(at + 1, NO_NODE);
        }
        self.state[at] = state;
    }

    /// Asks that are pending.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.queues.get(ROOT).pending
    }

    /// Pending asks that were not found to fit nowhere.
    #[must_use]
    pub fn placeable(&self) -> u64 {
        let free = |k: &&super::queues::Kind| !k.stuck && !k.over_quota;
        self.queues.leaves().flat_map(|(_, q)| q.kinds.iter()).filter(free).map(|k| k.apps.total()).sum()
    }

    /// A node came or changed.
    pub fn set_node(&mut self, cluster: &Cluster, node: NodeId) {
        self.nodes.set(cluster, node);
        self.predicates.set_node(cluster, node);
        self.nodes_changed();
    }

    /// A node went.
    pub fn remove_node(&mut self, node: NodeId) {
        self.nodes.remove(node);
        self.predicates.remove_node(node);
        self.nodes_changed();
    }

    fn nodes_changed(&mut self) {
        // Nodes come in thousands at start: their sum is taken when a cycle needs it.
        self.queues.cluster = (0, 0);
        for (queue, kind) in std::mem::take(&mut self.over_quota) {
            self.queues.get_mut(queue).set_over_quota(kind, false);
        }
        for spec in std::mem::take(&mut self.stuck) {
            self.set_stuck(spec, false);
        }
    }

    /// An application came in: false if its queue takes none.
    pub fn add_app(&mut self, cluster: &Cluster, app: AppId) -> bool {
        let at = app as usize;
        if self.apps.len() <= at {
            self.apps.resize(at + 1, None);
            self.app_order.resize(at + 1, u32::MAX);
        }
        if self.apps[at].is_some() {
            return true;
        }
        let Some(leaf) = self.queues.leaf(&cluster.pods.apps()[at].queue) else { return false };
        if self.app_order[at] == u32::MAX {
            self.app_order[at] = self.next_app;
            self.next_app += 1;
        }
        self.apps[at] = Some(Box::new(App::new(app, leaf, self.app_order[at])));
        self.queues.get_mut(leaf).live_apps += 1;
        true
    }

    /// Learns a pod's spec; to be called before the pod is asked for or placed.
    pub fn learn(&mut self, cluster: &Cluster, pod: PodId) {
        let spec = cluster.pods.spec_id(pod);
        let at = spec as usize;
        if self.specs.len() <= at {
            self.specs.resize(at + 1, SpecState::default());
        }
        if self.specs[at].known {
            return;
        }
        self.specs[at].known = true;
        self.specs[at].priority = cluster.pods.spec_by_id(spec).priority;
        let (state, node) = (&self.state, &self.node);
        self.predicates.learn_spec(cluster, spec, || {
            state
                .iter()
                .zip(node)
                .enumerate()
                .filter(|(_, (s, _))| matches!(s, PodState::Allocated | PodState::Bound | PodState::Foreign))
                .map(|(pod, (_, node))| {
                    (cluster.pods.spec_id(PodId::try_from(pod).expect("pods are limited")), *node)
                })
        });
    }

    /// An ask arrives; its application is known.
    pub fn add_ask(&mut self, cluster: &Cluster, pod: PodId) {
        let (app_id, spec) = (cluster.pods.app_id(pod), cluster.pods.spec_id(pod));
        self.set_state(pod, PodState::Pending);
        let state = &mut self.specs[spec as usize];
        let app = self.apps[app_id as usize].as_mut().expect("an application is added before its asks");
        let group = match self.group_of.get(&(app_id, spec)) {
            Some(group) => *group,
            None => {
                let (kind, is_new) = self.queues.get_mut(app.leaf).kind(spec, state.stuck);
                if is_new {
                    state.kinds.push((app.leaf, kind));
                }
                app.groups.push(Group { spec, kind, asks: VecDeque::new(), reported_below: 0 });
                let group = u32::try_from(app.groups.len() - 1).expect("as many as specs");
                self.group_of.insert((app_id, spec), group);
                group
            }
        };
        let at = &mut app.groups[group as usize];
        at.asks.push_back((self.next_ask, pod));
        let kind = at.kind;
        if at.asks.len() == 1 {
            app.live.push(group);
        }
        let (leaf, key) = (app.leaf, app.key);
        app.pending += 1;
        self.next_ask += 1;
        self.queues.get_mut(leaf).add_asks(kind, key, 1);
        self.queues.add_pending(leaf, 1);
        self.replace(app_id);
    }

    /// Takes the first ask of a group, or the ask of one pod, out of the pending ones.
    fn take_ask(&mut self, app_id: AppId, group: u32, pod: Option<PodId>) -> PodId {
        let app = self.apps[app_id as usize].as_mut().expect("it has asks");
        let at = &mut app.groups[group as usize];
        let place =
            pod.map_or(0, |p| at.asks.iter().position(|(_, q)| *q == p).expect("the pod's ask is pending"));
        let (_, taken) = at.asks.remove(place).expect("it has asks");
        if at.asks.is_empty() {
            at.asks = VecDeque::new();
            app.live.retain(|g| *g != group);
        }
        app.pending -= 1;
        let (leaf, key, kind) = (app.leaf, app.key, app.groups[group as usize].kind);
        self.queues.get_mut(leaf).add_asks(kind, key, -1);
        self.queues.add_pending(leaf, -1);
        taken
    }

    /// Gives an application the place that its use and asks now deserve.
    fn replace(&mut self, app_id: AppId) {
        let Some(app) = self.apps[app_id as usize].as_mut() else { return };
        let queue = self.queues.get_mut(app.leaf);
        let priority = if self.priority_sort {
            app.live
                .iter()
                .map(|g| self.specs[app.groups[*g as usize].spec as usize].priority)
                .max()
                .unwrap_or(0)
        } else {
            0
        };
        let old = app.key;
        let new = app.place(queue.sort, queue.guaranteed, priority);
        if old != new {
            app.key = new;
            for group in &app.live {
                let group = &app.groups[*group as usize];
                let asks = i64::try_from(group.asks.len()).expect("pods are limited");
                queue.add_asks(group.kind, old, -asks);
                queue.add_asks(group.kind, new, asks);
            }
        }
        if app.pending == 0 && app.allocated.pods == 0 {
            queue.live_apps -= 1;
            for group in &app.groups {
                self.group_of.remove(&(app_id, group.spec));
            }
            self.apps[app_id as usize] = None;
        }
    }

    /// Takes a pending ask back (its pod was bound by someone else).
    pub fn drop_ask(&mut self, cluster: &Cluster, pod: PodId) {
        let app = cluster.pods.app_id(pod);
        let group = self.group_of[&(app, cluster.pods.spec_id(pod))];
        self.take_ask(app, group, Some(pod));
        self.replace(app);
    }

    /// A pod is on a node without this core's doing.
    pub fn occupy(&mut self, cluster: &Cluster, pod: PodId, node: NodeId) {
        self.set_state(pod, PodState::Foreign);
        self.node[pod as usize] = node;
        if (node as usize) < self.nodes.table.len() {
            let spec = cluster.pods.spec_id(pod);
            self.nodes.force_pod(node, cluster.pods.spec(pod));
            self.predicates.add_pod(spec, node);
        }
    }

    fn allocate(&mut self, cluster: &Cluster, app_id: AppId, pod: PodId, node: NodeId) {
        let (id, spec) = (cluster.pods.spec_id(pod), cluster.pods.spec(pod));
        self.state[pod as usize] = PodState::Allocated;
        self.node[pod as usize] = node;
        let app = self.apps[app_id as usize].as_mut().expect("it had an ask");
        app.allocated.add(spec);
        let leaf = app.leaf;
        self.queues.allocate(leaf, spec);
        let watched: Vec<SpecId> = if self.predicates.enabled() {
            self.stuck
                .iter()
                .copied()
                .filter(|s| self.nodes.has_room(node, cluster.pods.spec_by_id(*s)))
                .collect()
        } else {
            Vec::new()
        };
        self.nodes.add_pod(node, spec);
        self.predicates.add_pod(id, node);
        for stuck in watched {
            if !self.nodes.has_room(node, cluster.pods.spec_by_id(stuck)) {
                self.specs[stuck as usize].tested -= 1;
            }
        }
        if self.predicates.heeds_pods(id) {
            self.unstick_where(|core, stuck| core.predicates.wants_company(stuck));
        }
        self.replace(app_id);
    }

    /// A pod leaves its node: finished, deleted, or its binding failed.
    pub fn release(&mut self, cluster: &Cluster, pod: PodId) {
        let (id, spec, node) = (cluster.pods.spec_id(pod), cluster.pods.spec(pod), self.node[pod as usize]);
        let owned = matches!(self.state(pod), PodState::Allocated | PodState::Bound);
        self.state[pod as usize] = PodState::Done;
        if owned {
            let app_id = cluster.pods.app_id(pod);
            let app = self.apps[app_id as usize].as_mut().expect("it has allocations");
            app.allocated.remove(spec);
            let leaf = app.leaf;
            self.queues.release(leaf, spec);
            for (queue, kind) in std::mem::take(&mut self.over_quota) {
                self.queues.get_mut(queue).set_over_quota(kind, false);
            }
            self.replace(app_id);
        }
        if node as usize >= self.nodes.table.len() {
            return;
        }
        let full: Vec<SpecId> = self
            .stuck
            .iter()
            .copied()
            .filter(|s| !self.nodes.has_room(node, cluster.pods.spec_by_id(*s)))
            .collect();
        self.nodes.remove_pod(node, spec);
        self.predicates.remove_pod(id, node);
        for stuck in full {
            if self.nodes.has_room(node, cluster.pods.spec_by_id(stuck)) {
                if self.predicates.accept(cluster, stuck, node) {
                    self.set_stuck(stuck, false);
                    self.stuck.retain(|s| *s != stuck);
                } else {
                    self.specs[stuck as usize].tested += 1;
                }
            }
        }
        if !self.stuck.is_empty() {
            self.unstick_where(|core, stuck| core.predicates.heeds_pods(stuck));
        }
    }

    fn unstick_where(&mut self, pick: impl Fn(&Self, SpecId) -> bool) {
        let (free, stuck) = std::mem::take(&mut self.stuck).into_iter().partition(|s| pick(self, *s));
        self.stuck = stuck;
        let free: Vec<SpecId> = free;
        for spec in free {
            self.set_stuck(spec, false);
        }
    }

    fn set_stuck(&mut self, spec: SpecId, stuck: bool) {
        let state = &mut self.specs[spec as usize];
        state.stuck = stuck;
        for (queue, kind) in &state.kinds {
            self.queues.get_mut(*queue).set_stuck(*kind, stuck);
        }
    }

    /// One cycle: the allocation made, if any, and the work done.
    pub fn try_allocate(&mut self, cluster: &Cluster) -> (Option<(PodId, NodeId)>, Work) {
        let mut work = Work::default();
        if self.queues.cluster == (0, 0) {
            let table = &self.nodes.table;
            for node in (0..table.len())
                .filter(|n| table.is_present(NodeId::try_from(*n).expect("nodes are limited")))
            {
                self.queues.cluster.0 += table.cpu_capacity[node];
                self.queues.cluster.1 += table.memory_capacity[node];
            }
        }
        let found = self.try_queue(cluster, ROOT, &mut work);
        (found, work)
    }

    fn try_queue(&mut self, cluster: &Cluster, queue: QueueId, work: &mut Work) -> Option<(PodId, NodeId)> {
        if self.queues.get(queue).children.is_empty() {
            return self.try_leaf(cluster, queue, work);
        }
        let specs = &self.specs;
        let children =
            self.queues.sorted_children(queue, self.priority_sort, &|s: SpecId| specs[s as usize].priority);
        children.into_iter().find_map(|child| self.try_queue(cluster, child, work))
    }

    fn try_leaf(&mut self, cluster: &Cluster, leaf: QueueId, work: &mut Work) -> Option<(PodId, NodeId)> {
        work.apps_sorted += self.queues.get(leaf).live_apps;
        loop {
            let Some(key) = self.queues.get(leaf).first_app() else {
                self.count_walk(cluster, leaf, None, work);
                return None;
            };
            let group = self.first_group(leaf, key.app);
            let app = self.apps[key.app as usize].as_ref().expect("it has asks");
            let (id, kind) = (app.groups[group as usize].spec, app.groups[group as usize].kind);
            let spec = cluster.pods.spec_by_id(id);
            if self.queues.exceeded(leaf, spec).is_some() {
                self.queues.get_mut(leaf).set_over_quota(kind, true);
                self.over_quota.push((leaf, kind));
                continue;
            }
            let predicates = &mut self.predicates;
            let (node, walk) = self.nodes.first_fit(spec, |node| predicates.accept(cluster, id, node));
            let Some(node) = node else {
                self.specs[id as usize].tested = if self.predicates.enabled() { walk.tested } else { 0 };
                self.set_stuck(id, true);
                self.stuck.push(id);
                continue;
            };
            self.count_walk(cluster, leaf, Some((key, group)), work);
            work.asks_tried += 1;
            work.nodes_visited += walk.nodes;
            if self.predicates.enabled() {
                work.predicates += walk.tested;
                if self.predicates.has_terms(id) {
                    work.affinity_predicates += walk.tested;
                }
            }
            let pod = self.take_ask(key.app, group, None);
            self.allocate(cluster, key.app, pod, node);
            return Some((pod, node));
        }
    }

    /// The group of the application's first ask that may be placed.
    fn first_group(&self, leaf: QueueId, app: AppId) -> u32 {
        let app = self.apps[app as usize].as_ref().expect("it has asks");
        let queue = self.queues.get(leaf);
        let place = |g: &u32| {
            let group = &app.groups[*g as usize];
            let kind = &queue.kinds[group.kind as usize];
            (!kind.stuck && !kind.over_quota)
                .then(|| (std::cmp::Reverse(self.specs[group.spec as usize].priority), group.asks[0].0, *g))
        };
        app.live.iter().filter_map(place).min().expect("the queue says that it has a placeable ask").2
    }

    /// Counts what the real core walks over in a leaf before the chosen ask, or in vain.
    fn count_walk(&self, cluster: &Cluster, leaf: QueueId, chosen: Option<(AppKey, u32)>, work: &mut Work) {
        let queue = self.queues.get(leaf);
        let app = chosen.map(|(key, _)| self.apps[key.app as usize].as_ref().expect("it has asks"));
        if let Some(app) = app {
            work.asks_listed += app.pending;
            work.repeated_asks_listed += app.live.len() as u64;
            work.asks_skipped += app.allocated.pods;
        }
        if self.stuck.is_empty() && self.over_quota.is_empty() {
            return;
        }
        let nodes = self.nodes.count() as u64;
        for (at, kind) in queue.kinds.iter().enumerate().filter(|(_, k)| k.stuck || k.over_quota) {
            let others = match chosen {
                Some((key, _)) => kind.apps.before(key),
                None => kind.apps.total(),
            };
            let own = chosen.zip(app).map_or(0, |((_, group), app)| {
                let first = &app.groups[group as usize];
                let place = |g: &Group| std::cmp::Reverse(self.specs[g.spec as usize].priority);
                let same = app.live.iter().map(|g| &app.groups[*g as usize]).find(|g| g.kind as usize == at);
                same.map_or(0, |g| match place(g).cmp(&place(first)) {
                    std::cmp::Ordering::Less => g.asks.len(),
                    std::cmp::Ordering::Equal => g.asks.partition_point(|(seq, _)| *seq < first.asks[0].0),
                    std::cmp::Ordering::Greater => 0,
                }) as u64
            });
            work.asks_listed += others;
            work.repeated_asks_listed += u64::from(others > 0);
            let asks = others + own;
            if !kind.stuck || self.queues.exceeded(leaf, cluster.pods.spec_by_id(kind.spec)).is_some() {
                work.asks_skipped += asks;
            } else {
                work.asks_tried += asks;
                work.nodes_visited += asks * nodes;
                let tested = asks * self.specs[kind.spec as usize].tested;
                work.predicates += tested;
                if self.predicates.has_terms(kind.spec) {
                    work.affinity_predicates += tested;
                }
            }
        }
    }

    /// Pending asks that fit nowhere and were not reported yet; marks them as reported.
    pub fn unreported(&mut self) -> Vec<PodId> {
        let mut pods = Vec::new();
        for spec in &self.stuck {
            for (queue, kind) in &self.specs[*spec as usize].kinds {
                for key in self.queues.get(*queue).kinds[*kind as usize].apps.keys() {
                    let group = self.group_of[&(key.app, *spec)] as usize;
                    let app = self.apps[key.app as usize].as_mut().expect("it has asks");
                    let group = &mut app.groups[group];
                    let known = group.asks.partition_point(|(seq, _)| *seq < group.reported_below);
                    pods.extend(group.asks.iter().skip(known).map(|(_, pod)| *pod));
                    if let Some((last, _)) = group.asks.back() {
                        group.reported_below = group.reported_below.max(last + 1);
                    }
                }
            }
        }
        pods
    }

    /// Whether some ask fits nowhere.
    #[must_use]
    pub const fn has_stuck(&self) -> bool {
        !self.stuck.is_empty()
    }

    /// Why asks are pending.
    pub fn reasons(&self, cluster: &Cluster, reasons: &mut PendingReasons) {
        for (at, queue) in self.queues.leaves() {
            for kind in queue.kinds.iter().filter(|k| k.apps.total() > 0) {
                let spec = cluster.pods.spec_by_id(kind.spec);
                let reason = if let Some(full) = self.queues.exceeded(at, spec) {
                    format!("queue {} has no headroom", self.queues.get(full).name)
                } else if kind.stuck {
                    self.node_reason(cluster, kind.spec)
                } else {
                    "waits for its turn".to_owned()
                };
                *reasons.entry(reason).or_default() += kind.apps.total();
            }
        }
    }

    /// The most frequent reason of the nodes.
    fn node_reason(&self, cluster: &Cluster, id: SpecId) -> String {
        let spec = cluster.pods.spec_by_id(id);
        let mut counts: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
        for node in 0..NodeId::try_from(self.nodes.table.len()).expect("nodes are limited") {
            if !self.nodes.table.is_present(node) {
                continue;
            }
            let fixed = if self.predicates.enabled() {
                crate::scheduler::kube::static_rejection(cluster, spec, node)
            } else {
                None
            };
            let reason = fixed
                .map(str::to_owned)
                .or_else(|| {
                    cluster
                        .nodes
                        .template(node)
                        .unschedulable
                        .then(|| "node(s) were unschedulable".to_owned())
                })
                .or_else(|| self.nodes.table.shortage(cluster, node, &spec.requests))
                .or_else(|| self.predicates.pods_rejection(id, node).map(str::to_owned));
            if let Some(reason) = reason {
                *counts.entry(reason).or_default() += 1;
            }
        }
        let most = counts.iter().max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)));
        most.map_or_else(|| "no node".to_owned(), |(reason, _)| reason.clone())
    }
}
