//! The core's scheduling cycle: walk over queues, applications and asks in order, first ask that fits a node wins.
//!
//! A cycle makes at most one allocation (`context.go`, `partition.go`). The real one walks over every ask in order
//! and tries every node for each that cannot be placed, each time anew. Here the asks of a spec that fits nowhere
//! are set aside until a node changes, and what the real walk would have met is summed up in [`Work`]: the same
//! decisions and the same counts, which `tests/yunikorn_oracle.rs` compares with a plain walk.
//!
//! Before it looks at ordinary asks a cycle looks for a real pod of a gang that can take the place of a placeholder
//! ([`Core::try_placeholder`]): the first such ask of the first such application, and the oldest placeholder of its task
//! group that it fits on; if it fits on none of their nodes, any node with room. The placeholder keeps its place until the
//! shim has deleted it ([`Core::confirm`]). A placeholder smaller than the pod that comes for it is given up.
//!
//! Applications that may not begin (`maxapplications` of a queue, of a user or of a group) are passed over; an application
//! counts from its first allocation until it has neither asks nor pods.
//!
//! Left out: reservations, preemption; the order of asks that arrive within a cycle; an ask's age.
//!
//! Cost: O(log + specs pending in the application) an allocation; a spec set aside costs O(1) a change of a node.
use std::cmp::Reverse;
use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::apps::{App, AppKey, Gang, Group, TaskGroupState};
use super::config::{Rule, Weights};
use super::limits::Limits;
use super::nodes::NodeOrder;
use super::placement;
use super::predicates::Predicates;
use super::queues::{QueueId, Queues, ROOT, Usage};
use crate::cluster::{AppId, Cluster, NO_NODE, NodeId, PodId, SpecId};
use crate::engine::{Nanos, SECOND};
use crate::scheduler::{AppSort, PendingReasons, Settings};

/// How long an application without asks and pods stays known (`completingTimeout`).
const COMPLETING_TIMEOUT_NS: Nanos = 30 * SECOND;
/// `defaultPlaceholderTimeout`.
const PLACEHOLDER_TIMEOUT_NS: Nanos = 900 * SECOND;

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
    /// Waits for the placeholder in whose place it goes to be deleted.
    Swapping,
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

impl Work {
    /// Adds more work of the same cycle.
    pub const fn add(&mut self, more: &Self) {
        self.apps_sorted += more.apps_sorted;
        self.asks_listed += more.asks_listed;
        self.repeated_asks_listed += more.repeated_asks_listed;
        self.asks_skipped += more.asks_skipped;
        self.asks_tried += more.asks_tried;
        self.nodes_visited += more.nodes_visited;
        self.predicates += more.predicates;
        self.affinity_predicates += more.affinity_predicates;
    }
}

/// A real pod that takes the place of a placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Swap {
    /// The real pod.
    pub pod: PodId,
    /// Its node.
    pub node: NodeId,
    /// The placeholder to be deleted.
    pub placeholder: PodId,
}

/// What happens to a gang when its placeholders' time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// It runs: what is left of its placeholders goes.
    Leftovers,
    /// Soft: it goes on as an application without a gang, when all placeholders are gone.
    Resume,
    /// Hard: it fails.
    Fail,
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
    /// Virtual time, as far as the core cares; set before a call.
    pub now: Nanos,
    /// Placeholders that were found too small, to be deleted.
    pub cancelled: Vec<PodId>,
    limits: Limits,
    rules: Option<Vec<Rule>>,
    gangs: bool,
    #[serde(with = "crate::engine::codec::sorted")]
    swaps: FxHashMap<PodId, (PodId, NodeId)>,
    swappable: u64,
    no_slots: Vec<(QueueId, u32)>,
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
        let config = settings.yunikorn.as_deref();
        let weights = config.map_or_else(Weights::default, |c| c.weights.clone());
        let queues = config.map_or_else(|| Queues::new(&settings.queues), Queues::configured);
        Self {
            nodes: NodeOrder::new(settings.node_sort_policy, weights),
            predicates: Predicates::new(settings.predicates && !settings.core_only),
            limits: Limits::new(queues.has_limits),
            queues,
            now: 0,
            cancelled: Vec::new(),
            rules: config.map(|c| c.rules.clone()),
            gangs: config.is_none_or(|c| !c.disable_gang_scheduling) && !settings.core_only,
            swaps: FxHashMap::default(),
            swappable: 0,
            no_slots: Vec::new(),
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
        let free = |k: &&super::queues::Kind| !k.stuck && !k.over_quota && !k.no_slot;
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
        self.queues.cluster = None;
        self.headroom_grew();
        for spec in std::mem::take(&mut self.stuck) {
            self.set_stuck(spec, false);
        }
    }

    fn headroom_grew(&mut self) {
        for (queue, kind) in std::mem::take(&mut self.over_quota) {
            self.queues.get_mut(queue).set_over_quota(kind, false);
        }
    }

    /// Fewer applications run than before.
    fn slots_opened(&mut self) {
        for (queue, kind) in std::mem::take(&mut self.no_slots) {
            self.queues.get_mut(queue).set_no_slot(kind, false);
        }
    }

    /// Whether an application is scheduled as a gang.
    #[must_use]
    pub fn is_gang(&self, cluster: &Cluster, app: AppId) -> bool {
        self.gangs && !cluster.pods.apps()[app as usize].task_groups.is_empty()
    }

    /// An application comes in: its queue is found, and made if need be.
    ///
    /// # Errors
    /// It is rejected; the reason.
    pub fn add_app(&mut self, cluster: &Cluster, app: AppId) -> Result<(), String> {
        let at = app as usize;
        if self.apps.len() <= at {
            self.apps.resize(at + 1, None);
            self.app_order.resize(at + 1, u32::MAX);
        }
        // One that has been without asks and pods for long is forgotten, and comes as a new one.
        let forgotten = |idle: Option<Nanos>| idle.is_some_and(|t| self.now >= t + COMPLETING_TIMEOUT_NS);
        if let Some(known) = &mut self.apps[at] {
            if forgotten(known.idle_since) && known.running {
                known.running = false;
                for group in known.groups.drain(..) {
                    self.group_of.remove(&(app, group.spec));
                }
            }
            return Ok(());
        }
        let described = &cluster.pods.apps()[at];
        let leaf = match &self.rules {
            None => self.queues.leaf(&described.queue)?,
            Some(rules) => {
                let name = placement::place(rules, &self.queues, described)?;
                self.queues.leaf(&name)?
            }
        };
        let gang = if self.is_gang(cluster, app) { Some(self.gang(cluster, app, leaf)?) } else { None };
        if self.app_order[at] == u32::MAX {
            self.app_order[at] = self.next_app;
            self.next_app += 1;
        }
        let owner = self.limits.owner(&self.queues, leaf, described);
        let mut new = App::new(app, leaf, owner, self.app_order[at]);
        new.gang = gang;
        new.idle_since = Some(self.now);
        self.apps[at] = Some(Box::new(new));
        Ok(())
    }

    /// The queue of an application that came in.
    #[must_use]
    pub fn queue_of(&self, app: AppId) -> Option<&str> {
        let app = self.apps.get(app as usize)?.as_ref()?;
        Some(&self.queues.get(app.leaf).name)
    }

    /// What an application with task groups begins with, if its queue may run it (`partition.go`, `AddApplication`).
    fn gang(&self, cluster: &Cluster, app: AppId, leaf: QueueId) -> Result<Box<Gang>, String> {
        let described = &cluster.pods.apps()[app as usize];
        let (queue, name) = (self.queues.get(leaf), &described.name);
        if queue.properties.sort != AppSort::Fifo {
            let queue = &queue.name;
            return Err(format!(
                "queue {queue} cannot run application {name} with task group request: unsupported sort type"
            ));
        }
        let mut total = Usage::default();
        let mut gang = Gang::default();
        for group in &described.task_groups {
            total.add_many(&cluster.pods.spec_by_id(group.spec).requests, u64::from(group.min_member));
            gang.wanted += u64::from(group.min_member);
            gang.groups.insert(group.name.clone(), TaskGroupState::default());
        }
        if !self.queues.max_holds(leaf, &total) {
            let queue = &queue.name;
            return Err(format!(
                "queue {queue} cannot fit application {name}: task group request larger than max queue allocation"
            ));
        }
        Ok(Box::new(gang))
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
        let seq = self.next_ask;
        self.next_ask += 1;
        let app = self.apps[app_id as usize].as_mut().expect("an application is added before its asks");
        let leaf = app.leaf;
        app.pending += 1;
        if app.idle_since.take().is_some() {
            self.queues.get_mut(leaf).live_apps += 1;
            if app.running {
                self.queues.count_running(leaf, 1);
            }
        }
        self.queues.add_pending(leaf, 1);
        let priority = self.specs[spec as usize].priority;
        let name = cluster.pods.spec_by_id(spec).task_group.as_ref();
        if let Some(gang) = app.gang.as_mut()
            && let Some(group) = name.and_then(|name| gang.groups.get_mut(name))
        {
            if cluster.pods.is_placeholder(pod) {
                group.count += 1;
            } else if group.can_replace() {
                group.held.insert((Reverse(priority), seq), pod);
                *self.queues.get_mut(leaf).held.entry(priority).or_default() += 1;
                self.replace(app_id);
                return;
            }
        }
        self.enqueue(app_id, spec, seq, pod);
        self.replace(app_id);
    }

    /// Which kinds an application's asks are of.
    fn class(&self, app: &App) -> u32 {
        let waits = self.queues.counts_applications && !app.running;
        app.owner * 2 + u32::from(waits)
    }

    /// Puts an ask among those that nodes are looked for.
    fn enqueue(&mut self, app_id: AppId, spec: SpecId, seq: u32, pod: PodId) {
        let class = self.class(self.apps[app_id as usize].as_ref().expect("it has asks"));
        let state = &mut self.specs[spec as usize];
        let app = self.apps[app_id as usize].as_mut().expect("it has asks");
        let group = match self.group_of.get(&(app_id, spec)) {
            Some(group) => *group,
            None => {
                let (kind, is_new) = self.queues.get_mut(app.leaf).kind(spec, class, state.stuck);
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
        at.asks.push_back((seq, pod));
        let kind = at.kind;
        if at.asks.len() == 1 {
            app.live.push(group);
        }
        let (leaf, key) = (app.leaf, app.key);
        self.queues.get_mut(leaf).add_asks(kind, key, 1);
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

    /// Takes the ask of a pod that waits for a placeholder's place off; whether it was one.
    fn take_held(&mut self, app_id: AppId, group: &str, pod: PodId) -> bool {
        let app = self.apps[app_id as usize].as_mut().expect("it has asks");
        let Some(gang) = app.gang.as_mut() else { return false };
        let Some(group) = gang.groups.get_mut(group) else { return false };
        let Some((key, _)) = group.held.iter().find(|(_, p)| **p == pod) else { return false };
        let key = *key;
        group.held.remove(&key);
        app.pending -= 1;
        let leaf = app.leaf;
        self.unhold(leaf, key.0.0);
        self.queues.add_pending(leaf, -1);
        true
    }

    fn unhold(&mut self, leaf: QueueId, priority: i32) {
        let held = &mut self.queues.get_mut(leaf).held;
        if let Some(count) = held.get_mut(&priority) {
            *count -= 1;
            if *count == 0 {
                held.remove(&priority);
            }
        }
    }

    /// Asks that waited for placeholders which there are no more become ordinary ones.
    fn let_go(&mut self, cluster: &Cluster, app_id: AppId) {
        let Some(app) = self.apps[app_id as usize].as_mut() else { return };
        let leaf = app.leaf;
        let Some(gang) = app.gang.as_mut() else { return };
        let mut freed = Vec::new();
        for group in gang.groups.values_mut().filter(|g| !g.can_replace()) {
            freed.extend(std::mem::take(&mut group.held));
        }
        freed.sort_unstable_by_key(|((_, seq), _)| *seq);
        for ((priority, seq), pod) in freed {
            self.unhold(leaf, priority.0);
            self.enqueue(app_id, cluster.pods.spec_id(pod), seq, pod);
        }
        self.replace(app_id);
    }

    /// Gives an application the place that its use and asks now deserve.
    fn replace(&mut self, app_id: AppId) {
        let Some(app) = self.apps[app_id as usize].as_mut() else { return };
        let queue = self.queues.get_mut(app.leaf);
        let priority = if self.priority_sort {
            let held = app.gang.iter().flat_map(|g| g.groups.values()).filter_map(|g| g.held.keys().next());
            let asks = app.live.iter().map(|g| self.specs[app.groups[*g as usize].spec as usize].priority);
            asks.chain(held.map(|(priority, _)| priority.0)).max().unwrap_or(0)
        } else {
            0
        };
        let first = queue.properties.priority_sort;
        let (old, new) = (app.key, app.place(queue.properties.sort, &queue.guaranteed, priority, first));
        if old != new {
            app.key = new;
            for group in &app.live {
                let group = &app.groups[*group as usize];
                let asks = i64::try_from(group.asks.len()).expect("pods are limited");
                queue.add_asks(group.kind, old, -asks);
                queue.add_asks(group.kind, new, asks);
            }
        }
        if let Some(gang) = &app.gang {
            let swappable = gang.groups.values().any(|g| !g.held.is_empty() && !g.free.is_empty());
            if queue.swaps.remove(&old) {
                self.swappable -= 1;
            }
            if swappable && queue.swaps.insert(new) {
                self.swappable += 1;
            }
        }
        let swapping = app.gang.as_ref().map_or(0, |g| g.swapping);
        if app.pending == 0 && app.allocated.pods == 0 && swapping == 0 && app.idle_since.is_none() {
            queue.live_apps -= 1;
            app.idle_since = Some(self.now);
            let (leaf, running) = (app.leaf, app.running);
            // An application is kept where it matters that it was there.
            if app.gang.is_none() && !self.queues.counts_applications {
                for group in &app.groups {
                    self.group_of.remove(&(app_id, group.spec));
                }
                self.apps[app_id as usize] = None;
            }
            if running {
                self.queues.count_running(leaf, -1);
                self.slots_opened();
            }
        }
    }

    /// An application gets something for the first time: it runs.
    fn begin(&mut self, app_id: AppId) {
        let app = self.apps[app_id as usize].as_mut().expect("it had an ask");
        if app.running {
            return;
        }
        app.running = true;
        let leaf = app.leaf;
        self.queues.count_running(leaf, 1);
        if !self.queues.counts_applications {
            return;
        }
        let class = self.class(self.apps[app_id as usize].as_ref().expect("it had an ask"));
        let app = self.apps[app_id as usize].as_mut().expect("it had an ask");
        let key = app.key;
        for group in &mut app.groups {
            let state = &mut self.specs[group.spec as usize];
            let queue = self.queues.get_mut(leaf);
            let (kind, is_new) = queue.kind(group.spec, class, state.stuck);
            if is_new {
                state.kinds.push((leaf, kind));
            }
            let asks = i64::try_from(group.asks.len()).expect("pods are limited");
            queue.add_asks(group.kind, key, -asks);
            queue.add_asks(kind, key, asks);
            group.kind = kind;
        }
    }

    /// Takes a pending ask back (its pod was bound by someone else, or deleted).
    pub fn drop_ask(&mut self, cluster: &Cluster, pod: PodId) {
        let (app, spec) = (cluster.pods.app_id(pod), cluster.pods.spec_id(pod));
        let held =
            cluster.pods.spec_by_id(spec).task_group.as_ref().is_some_and(|g| self.take_held(app, g, pod));
        if !held {
            let group = self.group_of[&(app, spec)];
            self.take_ask(app, group, Some(pod));
        }
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
        self.state[pod as usize] = PodState::Allocated;
        self.begin(app_id);
        self.count(cluster, app_id, pod);
        self.put_on_node(cluster, pod, node);
        if cluster.pods.is_placeholder(pod)
            && let Some(gang) = self.apps[app_id as usize].as_mut().and_then(|a| a.gang.as_mut())
        {
            gang.allocated += 1;
            gang.complete |= gang.allocated == gang.wanted;
            let name = cluster.pods.spec(pod).task_group.as_ref();
            if let Some(group) = name.and_then(|name| gang.groups.get_mut(name)) {
                group.free.push_back(pod);
            }
        }
        self.replace(app_id);
    }

    /// Counts a pod as allocated in its application, its queues and for its owner.
    fn count(&mut self, cluster: &Cluster, app_id: AppId, pod: PodId) {
        let spec = cluster.pods.spec(pod);
        let app = self.apps[app_id as usize].as_mut().expect("it had an ask");
        let first = app.allocated.pods == 0;
        app.allocated.add(spec);
        let (leaf, owner) = (app.leaf, app.owner);
        self.queues.allocate(leaf, spec);
        self.limits.allocate(&self.queues, leaf, owner, spec, first);
    }

    fn put_on_node(&mut self, cluster: &Cluster, pod: PodId, node: NodeId) {
        let (id, spec) = (cluster.pods.spec_id(pod), cluster.pods.spec(pod));
        self.node[pod as usize] = node;
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
    }

    /// A pod leaves its node: finished, deleted, or its binding failed.
    pub fn release(&mut self, cluster: &Cluster, pod: PodId) {
        let owned = matches!(self.state(pod), PodState::Allocated | PodState::Bound);
        self.state[pod as usize] = PodState::Done;
        if owned {
            self.uncount(cluster, pod);
            self.replace(cluster.pods.app_id(pod));
        }
        self.take_off_node(cluster, pod);
    }

    /// Takes a pod out of what its application, its queues and its owner use.
    fn uncount(&mut self, cluster: &Cluster, pod: PodId) {
        let (app_id, spec) = (cluster.pods.app_id(pod), cluster.pods.spec(pod));
        let app = self.apps[app_id as usize].as_mut().expect("it has allocations");
        app.allocated.remove(spec);
        let (leaf, owner, last) = (app.leaf, app.owner, app.allocated.pods == 0);
        self.queues.release(leaf, spec);
        self.limits.release(&self.queues, leaf, owner, spec, last);
        self.headroom_grew();
        if last {
            self.slots_opened();
        }
    }

    fn take_off_node(&mut self, cluster: &Cluster, pod: PodId) {
        let (id, spec, node) = (cluster.pods.spec_id(pod), cluster.pods.spec(pod), self.node[pod as usize]);
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

    // ---- gangs ----

    /// The first part of a cycle: a real pod that takes the place of a placeholder, if there is one.
    pub fn try_placeholder(&mut self, cluster: &Cluster, work: &mut Work) -> Option<Swap> {
        if self.swappable == 0 {
            return None;
        }
        self.sum_up_nodes(cluster);
        self.swap_in_queue(cluster, ROOT, work)
    }

    fn swap_in_queue(&mut self, cluster: &Cluster, queue: QueueId, work: &mut Work) -> Option<Swap> {
        if self.queues.get(queue).children.is_empty() {
            let apps: Vec<AppKey> = self.queues.get(queue).swaps.iter().copied().collect();
            work.apps_sorted += apps.len() as u64;
            return apps.into_iter().find_map(|key| self.swap_in_app(cluster, key.app, work));
        }
        let specs = &self.specs;
        let children =
            self.queues.sorted_children(queue, self.priority_sort, &|s: SpecId| specs[s as usize].priority);
        children.into_iter().find_map(|child| self.swap_in_queue(cluster, child, work))
    }

    fn swap_in_app(&mut self, cluster: &Cluster, app_id: AppId, work: &mut Work) -> Option<Swap> {
        let app = self.apps[app_id as usize].as_ref().expect("it is in the list");
        let gang = app.gang.as_ref().expect("it is a gang");
        work.asks_skipped += app.allocated.pods;
        let mut fallback = None;
        let mut found = None;
        let mut too_small: Vec<(String, PodId)> = Vec::new();
        let mut groups: Vec<(&String, &TaskGroupState)> =
            gang.groups.iter().filter(|(_, g)| !g.free.is_empty() && !g.held.is_empty()).collect();
        groups.sort_by_key(|(_, g)| g.held.keys().next().copied());
        'asks: for (name, group) in groups {
            // Of one spec the first decides: the others would find the same.
            let mut seen = Vec::new();
            for pod in group.held.values().copied() {
                let (id, spec) = (cluster.pods.spec_id(pod), cluster.pods.spec(pod));
                if seen.contains(&id) {
                    continue;
                }
                seen.push(id);
                for placeholder in &group.free {
                    if too_small.iter().any(|(_, p)| p == placeholder) {
                        continue;
                    }
                    if !cluster.pods.spec(*placeholder).requests.holds(&spec.requests) {
                        too_small.push((name.clone(), *placeholder));
                        continue;
                    }
                    fallback.get_or_insert((pod, *placeholder));
                    let node = self.node[*placeholder as usize];
                    work.predicates += u64::from(self.predicates.enabled());
                    if self.nodes.is_schedulable(node) && self.predicates.accept(cluster, id, node) {
                        found = Some(Swap { pod, node, placeholder: *placeholder });
                        break 'asks;
                    }
                }
            }
        }
        for (name, placeholder) in too_small {
            let gang =
                self.apps[app_id as usize].as_mut().and_then(|a| a.gang.as_mut()).expect("it is a gang");
            if let Some(group) = gang.groups.get_mut(&name) {
                group.free.retain(|p| *p != placeholder);
            }
            self.cancelled.push(placeholder);
        }
        if found.is_none()
            && let Some((pod, placeholder)) = fallback
        {
            let (id, spec) = (cluster.pods.spec_id(pod), cluster.pods.spec(pod));
            let predicates = &mut self.predicates;
            let (node, walk) = self.nodes.first_fit(spec, |node| predicates.accept(cluster, id, node));
            work.asks_tried += 1;
            work.nodes_visited += walk.nodes;
            if let Some(node) = node {
                self.put_on_node(cluster, pod, node);
                found = Some(Swap { pod, node, placeholder });
            }
        }
        if let Some(swap) = found {
            let name = cluster.pods.spec(swap.pod).task_group.clone().unwrap_or_default();
            self.take_held(app_id, &name, swap.pod);
            let gang =
                self.apps[app_id as usize].as_mut().and_then(|a| a.gang.as_mut()).expect("it is a gang");
            gang.swapping += 1;
            if let Some(group) = gang.groups.get_mut(&name) {
                group.free.retain(|p| *p != swap.placeholder);
            }
            self.set_state(swap.pod, PodState::Swapping);
            self.node[swap.pod as usize] = swap.node;
            self.swaps.insert(swap.placeholder, (swap.pod, swap.node));
        }
        self.replace(app_id);
        found
    }

    /// A placeholder is gone: the real pod that takes its place, and where, if one does.
    pub fn confirm(&mut self, cluster: &Cluster, placeholder: PodId) -> Option<(PodId, NodeId)> {
        let app_id = cluster.pods.app_id(placeholder);
        let had = matches!(self.state(placeholder), PodState::Allocated | PodState::Bound);
        let pending = self.state(placeholder) == PodState::Pending;
        let swap = self.swaps.remove(&placeholder);
        let name = cluster.pods.spec(placeholder).task_group.as_ref();
        if let Some(gang) =
            self.apps.get_mut(app_id as usize).and_then(Option::as_mut).and_then(|a| a.gang.as_mut())
        {
            gang.allocated -= u64::from(had);
            gang.swapping -= u64::from(swap.is_some());
            if let Some(group) = name.and_then(|name| gang.groups.get_mut(name)) {
                group.free.retain(|p| *p != placeholder);
                // A real pod that went meanwhile leaves the placeholder replaced all the same.
                if swap.is_some() {
                    group.replaced += 1;
                } else if had || pending {
                    group.timed_out += 1;
                }
            }
        }
        if had {
            self.uncount(cluster, placeholder);
            self.take_off_node(cluster, placeholder);
        } else if pending {
            self.drop_ask(cluster, placeholder);
        }
        self.set_state(placeholder, PodState::Done);
        let swap = swap.filter(|(pod, _)| self.state(*pod) == PodState::Swapping);
        if let Some((pod, node)) = swap {
            self.state[pod as usize] = PodState::Allocated;
            self.count(cluster, app_id, pod);
            if self.node[placeholder as usize] == node {
                self.put_on_node(cluster, pod, node);
            }
        }
        self.let_go(cluster, app_id);
        swap
    }

    /// A real pod that waits for its placeholder's place is deleted.
    pub fn drop_swap(&mut self, cluster: &Cluster, pod: PodId) {
        let elsewhere = self
            .swaps
            .iter()
            .any(|(placeholder, (p, node))| *p == pod && self.node[*placeholder as usize] != *node);
        self.set_state(pod, PodState::Done);
        if elsewhere {
            self.take_off_node(cluster, pod);
        }
    }

    /// How long the placeholders of the pod's application may wait from now, told once, when the first is allocated.
    pub fn start_timer(&mut self, cluster: &Cluster, pod: PodId) -> Option<(AppId, Nanos)> {
        let app_id = cluster.pods.app_id(pod);
        let app = self.apps[app_id as usize].as_mut()?;
        let gang = app.gang.as_mut()?;
        if gang.timer_started || !cluster.pods.is_placeholder(pod) {
            return None;
        }
        gang.timer_started = true;
        let given = cluster.pods.apps()[app_id as usize].placeholder_timeout_ns;
        Some((app_id, if given == 0 { PLACEHOLDER_TIMEOUT_NS } else { given }))
    }

    /// The time of a gang's placeholders is over; placeholders that nobody is about to replace are given up. None:
    /// there are no placeholders any more.
    pub fn gang_timeout(&mut self, cluster: &Cluster, app_id: AppId) -> Option<Timeout> {
        let described = &cluster.pods.apps()[app_id as usize];
        let app = self.apps[app_id as usize].as_mut()?;
        let gang = app.gang.as_mut()?;
        if gang.allocated == 0 {
            return None;
        }
        for group in gang.groups.values_mut() {
            group.free.clear();
        }
        let complete = gang.complete;
        for group in &described.task_groups {
            for pod in group.first_placeholder..group.first_placeholder + group.min_member {
                if self.state(pod) == PodState::Pending {
                    self.drop_ask(cluster, pod);
                    self.set_state(pod, PodState::Done);
                    let gang = self.apps[app_id as usize].as_mut().and_then(|a| a.gang.as_mut());
                    if let Some(group) = gang.and_then(|g| g.groups.get_mut(&group.name)) {
                        group.timed_out += 1;
                    }
                }
            }
        }
        self.replace(app_id);
        Some(match (complete, described.gang_hard) {
            (true, _) => Timeout::Leftovers,
            (false, false) => Timeout::Resume,
            (false, true) => Timeout::Fail,
        })
    }

    /// Whether a real pod is about to take this placeholder's place.
    #[must_use]
    pub fn is_swapped(&self, placeholder: PodId) -> bool {
        self.swaps.contains_key(&placeholder)
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
        self.sum_up_nodes(cluster);
        let found = self.try_queue(cluster, ROOT, &mut work);
        (found, work)
    }

    fn sum_up_nodes(&mut self, cluster: &Cluster) {
        if self.queues.cluster.is_some() {
            return;
        }
        let table = &self.nodes.table;
        let mut sum = Usage::default();
        for node in 0..NodeId::try_from(table.len()).expect("nodes are limited") {
            if table.is_present(node) {
                let at = node as usize;
                sum.cpu += table.cpu_capacity[at];
                sum.memory += table.memory_capacity[at];
                sum.pods += u64::from(table.pods_capacity[at]);
                for (id, v) in &cluster.nodes.template(node).allocatable.extended {
                    sum.add_extended(*id, *v);
                }
            }
        }
        self.queues.cluster = Some(sum);
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
            if self.queues.counts_applications && !app.running {
                let may = self.queues.may_run(leaf) && self.limits.may_run(&self.queues, leaf, app.owner);
                if !may {
                    self.queues.get_mut(leaf).set_no_slot(kind, true);
                    self.no_slots.push((leaf, kind));
                    continue;
                }
            }
            let in_quota = self.limits.has_room(&self.queues, leaf, app.owner, spec)
                && self.queues.exceeded(leaf, spec).is_none();
            if !in_quota {
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
            (!kind.stuck && !kind.over_quota && !kind.no_slot)
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
        for (at, kind) in queue.kinds.iter().enumerate() {
            if !kind.stuck && !kind.over_quota || kind.no_slot {
                continue;
            }
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
            let spec = cluster.pods.spec_by_id(kind.spec);
            let in_quota = || {
                self.limits.has_room(&self.queues, leaf, kind.class / 2, spec)
                    && self.queues.exceeded(leaf, spec).is_none()
            };
            if !kind.stuck || !in_quota() {
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
                let reason = if kind.no_slot {
                    format!("queue {} runs as many applications as it may", queue.name)
                } else if !self.limits.has_room(&self.queues, at, kind.class / 2, spec) {
                    format!("its user or group may use no more in queue {}", queue.name)
                } else if let Some(full) = self.queues.exceeded(at, spec) {
                    format!("queue {} has no headroom", self.queues.get(full).name)
                } else if kind.stuck {
                    self.node_reason(cluster, kind.spec)
                } else {
                    "waits for its turn".to_owned()
                };
                *reasons.entry(reason).or_default() += kind.apps.total();
            }
            let held: u64 = queue.held.values().sum();
            if held > 0 {
                *reasons.entry("waits for a placeholder's place".to_owned()).or_default() += held;
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
