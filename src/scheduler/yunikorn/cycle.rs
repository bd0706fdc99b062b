//! The core's state: nodes, queues, applications, asks, and what happens to them between cycles.
//!
//! A cycle makes at most one allocation (`context.go`, `partition.go`). It looks first at asks with a reserved node
//! ([`reservations`](super::reservations)), then for a real pod that can take a placeholder's place ([`gangs`](super::gangs)),
//! then walks over queues, applications and asks in order ([`walk`](super::walk)), where an ask that fits nowhere may
//! reserve a node or look for victims ([`preemption`](super::preemption)).
//!
//! The real core tries every node for each ask that can't be placed, each time anew. Here the asks of a spec that fits
//! nowhere are set aside until a node changes, and what the real walk would have met is summed up in [`Work`]: the same
//! decisions and the same counts, which `tests/yunikorn/oracle.rs` compares with a plain walk.
//!
//! An application that has neither asks nor pods is completing; if none come for [`COMPLETING_TIMEOUT_NS`] it is completed, and
//! pods that come later are those of a new application (`application_state.go`).
//!
//! Applications that may not begin (`maxapplications` of a queue, of a user or of a group) are passed over; an application
//! counts from its first allocation until it has neither asks nor pods.
//!
//! Left out: the order of asks that arrive within a cycle.
//!
//! Cost: O(log + specs pending in the application) an allocation; a spec set aside costs O(1) a change of a node.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rustc_hash::FxHashMap;

use super::apps::{App, AskKey, Gang, Group, TaskGroupState};
use super::config::{Rule, Weights};
use super::limits::Limits;
use super::nodes::NodeOrder;
use super::placement;
use super::predicates::Predicates;
use super::queues::{QueueId, Queues, ROOT, Usage};
use crate::cluster::{AppId, Cluster, NO_NODE, NodeId, PodId, SpecId};
use crate::engine::{Nanos, SECOND};
use crate::scheduler::Settings;

/// How long an application without asks and pods stays known (`completingTimeout`).
pub const COMPLETING_TIMEOUT_NS: Nanos = 30 * SECOND;

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
    /// Pods on nodes that PreFilter of InterPodAffinity has looked at in them.
    pub prefilter_pods: u64,
    /// The most of them for one node.
    pub prefilter_most: u64,
    /// Asks that looked for victims.
    pub preemptions: u64,
    /// Pods of the queues that they looked into.
    pub preemption_pods: u64,
    /// Pods that could have been victims, where a guarantee was in reach.
    pub preemption_victims: u64,
    /// Nodes that were.
    pub preemption_nodes: u64,
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
        self.prefilter_pods = self.prefilter_pods.saturating_add(more.prefilter_pods);
        if more.prefilter_most > self.prefilter_most {
            self.prefilter_most = more.prefilter_most;
        }
        self.preemptions += more.preemptions;
        self.preemption_pods += more.preemption_pods;
        self.preemption_victims += more.preemption_victims;
        self.preemption_nodes += more.preemption_nodes;
    }
}

/// What a cycle has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A pod has got a node.
    Allocated(PodId, NodeId),
    /// An ask has got a node reserved.
    Reserved(PodId, NodeId),
}

/// What of the model differs between versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Version {
    /// Applications and queues are ordered by priority (since 1.2).
    pub priority_sort: bool,
    /// Queues take back what they are guaranteed (since 1.3).
    pub preemption: bool,
}

impl Default for Version {
    fn default() -> Self {
        Self { priority_sort: true, preemption: true }
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

/// Which node an ask would reserve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum Target {
    /// To be found.
    #[default]
    Unknown,
    /// No node that is not reserved could ever hold it.
    Nowhere,
    /// This one, with what is left of it.
    At(NodeId, u64),
}

/// What is known of a spec.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct SpecState {
    pub known: bool,
    pub priority: i32,
    /// No node takes it.
    pub stuck: bool,
    /// While stuck: nodes with room, on which the predicates fail.
    pub tested: u64,
    /// While stuck: the node to reserve.
    pub target: Target,
    /// The pods of a DaemonSet are for this node only.
    pub required: Option<NodeId>,
    /// They may look for victims.
    pub preempts: bool,
    /// Kinds of this spec, by queue.
    pub kinds: Vec<(QueueId, u32)>,
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
    /// Pods that were chosen as victims, to be deleted.
    pub victims: Vec<PodId>,
    /// Applications that are completed, of which the shim is to be told.
    pub completed: Vec<AppId>,
    /// Applications without asks and pods, and when they are completed.
    completing: VecDeque<(Nanos, AppId)>,
    /// Gangs that were completed: their placeholders don't come again.
    past_gangs: BTreeSet<AppId>,
    pub(super) limits: Limits,
    pub(super) rules: Option<Vec<Rule>>,
    pub(super) gangs: bool,
    pub(super) reserves: bool,
    pub(super) preempts: bool,
    #[serde(with = "crate::engine::codec::sorted")]
    pub(super) swaps: FxHashMap<PodId, (PodId, NodeId)>,
    pub(super) swappable: u64,
    pub(super) no_slots: Vec<(QueueId, u32)>,
    pub(super) priority_sort: bool,
    pub(super) apps: Vec<Option<Box<App>>>,
    #[serde(with = "crate::engine::codec::sorted")]
    pub(super) group_of: FxHashMap<(AppId, SpecId), u32>,
    pub(super) specs: Vec<SpecState>,
    pub(super) stuck: Vec<SpecId>,
    pub(super) over_quota: Vec<(QueueId, u32)>,
    pub(super) state: Vec<PodState>,
    pub(super) node: Vec<NodeId>,
    /// Second of creation, by pod.
    created_s: Vec<u32>,
    /// Asks that have a node reserved, by node.
    pub(super) reserved_on: BTreeMap<NodeId, Vec<PodId>>,
    /// Asks that have made pods be preempted, and need not again.
    pub(super) preempted_for: BTreeSet<PodId>,
    /// Pods that are being preempted.
    pub(super) preempted: BTreeSet<PodId>,
    /// Placeholders that are to be deleted.
    pub(super) released: BTreeSet<PodId>,
    /// This core's pods by node, in the order in which they came.
    pub(super) on_node: Vec<Vec<PodId>>,
    pub(super) node_ids: BTreeMap<String, NodeId>,
    pub(super) next_ask: u32,
    next_app: u32,
    app_order: Vec<u32>,
}

impl Core {
    /// An empty core.
    #[must_use]
    pub fn new(settings: &Settings, version: Version) -> Self {
        let config = settings.yunikorn.as_deref();
        let weights = config.map_or_else(Weights::default, |c| c.weights.clone());
        let queues = config.map_or_else(|| Queues::new(&settings.queues), Queues::configured);
        Self {
            nodes: NodeOrder::new(settings.node_sort_policy, weights, settings.plain),
            predicates: Predicates::new(settings.predicates && !settings.core_only),
            limits: Limits::new(queues.has_limits),
            queues,
            now: 0,
            cancelled: Vec::new(),
            victims: Vec::new(),
            completed: Vec::new(),
            completing: VecDeque::new(),
            past_gangs: BTreeSet::new(),
            rules: config.map(|c| c.rules.clone()),
            gangs: config.is_none_or(|c| !c.disable_gang_scheduling) && !settings.core_only,
            reserves: settings.reservations,
            preempts: version.preemption && config.is_none_or(|c| !c.no_preemption),
            swaps: FxHashMap::default(),
            swappable: 0,
            no_slots: Vec::new(),
            priority_sort: version.priority_sort,
            apps: Vec::new(),
            group_of: FxHashMap::default(),
            specs: Vec::new(),
            stuck: Vec::new(),
            over_quota: Vec::new(),
            state: Vec::new(),
            node: Vec::new(),
            created_s: Vec::new(),
            reserved_on: BTreeMap::new(),
            preempted_for: BTreeSet::new(),
            preempted: BTreeSet::new(),
            released: BTreeSet::new(),
            on_node: Vec::new(),
            node_ids: BTreeMap::new(),
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
            self.created_s.resize(at + 1, u32::MAX);
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
        self.placeable_by_kind().sum()
    }

    /// Whether there are any.
    #[must_use]
    pub fn has_placeable(&self) -> bool {
        self.placeable_by_kind().any(|asks| asks > 0)
    }

    fn placeable_by_kind(&self) -> impl Iterator<Item = u64> {
        let free = |k: &&super::queues::Kind| !k.stuck && !k.over_quota && !k.no_slot;
        self.queues.leaves().flat_map(|(_, q)| q.kinds.iter()).filter(free).map(|k| k.apps.total())
    }

    /// A node came or changed.
    pub fn set_node(&mut self, cluster: &Cluster, node: NodeId) {
        self.nodes.set(cluster, node);
        self.predicates.set_node(cluster, node);
        self.nodes_changed();
    }

    /// A node went, and with it the reservations on it.
    pub fn remove_node(&mut self, cluster: &Cluster, node: NodeId) {
        self.unreserve_node(cluster, node);
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

    pub(super) fn headroom_grew(&mut self) {
        for (queue, kind) in std::mem::take(&mut self.over_quota) {
            self.queues.get_mut(queue).set_over_quota(kind, false);
        }
    }

    /// Fewer applications run than before.
    pub(super) fn slots_opened(&mut self) {
        for (queue, kind) in std::mem::take(&mut self.no_slots) {
            self.queues.get_mut(queue).set_no_slot(kind, false);
        }
    }

    /// Whether an application is scheduled as a gang.
    #[must_use]
    pub fn is_gang(&self, cluster: &Cluster, app: AppId) -> bool {
        self.gangs
            && !cluster.pods.apps()[app as usize].task_groups.is_empty()
            && !self.past_gangs.contains(&app)
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
        self.complete();
        if self.apps[at].is_some() {
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
        self.insert_app(cluster, app, leaf, gang);
        Ok(())
    }

    fn insert_app(&mut self, cluster: &Cluster, app: AppId, leaf: QueueId, gang: Option<Box<Gang>>) {
        let at = app as usize;
        if self.app_order[at] == u32::MAX {
            self.app_order[at] = self.next_app;
            self.next_app += 1;
        }
        let owner = self.limits.owner(&self.queues, leaf, &cluster.pods.apps()[at]);
        let mut new = App::new(app, leaf, owner, self.app_order[at]);
        new.gang = gang;
        new.idle_since = Some(self.now);
        self.apps[at] = Some(Box::new(new));
    }

    /// Applications that have been without asks and pods for long are completed.
    pub fn complete(&mut self) {
        while let Some((at, app_id)) = self.completing.front().copied().filter(|(at, _)| *at <= self.now) {
            self.completing.pop_front();
            let known = self.apps[app_id as usize].as_ref();
            if known.is_some_and(|app| app.idle_since.is_some_and(|t| t + COMPLETING_TIMEOUT_NS == at)) {
                let app = self.apps[app_id as usize].take().expect("it was there");
                if app.gang.is_some() {
                    self.past_gangs.insert(app_id);
                }
                for group in &app.groups {
                    self.group_of.remove(&(app_id, group.spec));
                }
                self.app_order[app_id as usize] = u32::MAX;
                self.completed.push(app_id);
            }
        }
    }

    /// The queue of an application that came in.
    #[must_use]
    pub fn queue_of(&self, app: AppId) -> Option<&str> {
        let app = self.apps.get(app as usize)?.as_ref()?;
        Some(&self.queues.get(app.leaf).name)
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
        let described = cluster.pods.spec_by_id(spec);
        self.specs[at].known = true;
        self.specs[at].priority = described.priority;
        self.specs[at].preempts = !described.never_preempts;
        if let Some(name) = &described.required_node {
            for known in self.node_ids.len()..cluster.nodes.len() {
                let node = NodeId::try_from(known).expect("nodes are limited");
                self.node_ids.insert(cluster.nodes.get(node).name.clone(), node);
            }
            // A node that never was can't come: nothing is tried for such a pod.
            self.specs[at].required = Some(self.node_ids.get(name).copied().unwrap_or(NO_NODE));
            self.specs[at].stuck = true;
        }
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
        let created_ns = self.note_creation(cluster, pod);
        let seq = AskKey::new(created_ns, self.next_ask);
        self.next_ask += 1;
        let app = self.apps[app_id as usize].as_mut().expect("an application is added before its asks");
        let leaf = app.leaf;
        app.pending += 1;
        if app.originator.is_none() && !cluster.pods.is_placeholder(pod) {
            app.originator = Some(pod);
        }
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

    /// Notes when a pod was created, to the second; a pod that nobody has created exists since now.
    pub(super) fn note_creation(&mut self, cluster: &Cluster, pod: PodId) -> Nanos {
        let created_ns = cluster.pods.timeline(pod).created_ns;
        let created_ns = if created_ns == u64::MAX { self.now } else { created_ns };
        self.created_s[pod as usize] = u32::try_from(created_ns / SECOND).unwrap_or(u32::MAX);
        created_ns
    }

    /// The second of a pod's creation.
    pub(super) fn created_s(&self, pod: PodId) -> u32 {
        self.created_s[pod as usize]
    }

    /// Which kinds an application's asks are of.
    fn class(&self, app: &App) -> u32 {
        let waits = self.queues.counts_applications && !app.running;
        app.owner * 2 + u32::from(waits)
    }

    /// Puts an ask among those that nodes are looked for.
    pub(super) fn enqueue(&mut self, app_id: AppId, spec: SpecId, seq: AskKey, pod: PodId) {
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
                app.groups.push(Group::new(spec, kind));
                let group = u32::try_from(app.groups.len() - 1).expect("as many as specs");
                self.group_of.insert((app_id, spec), group);
                group
            }
        };
        let at = &mut app.groups[group as usize];
        at.insert(seq, pod);
        let kind = at.kind;
        if at.asks.len() == 1 {
            app.live.push(group);
        }
        let (leaf, key) = (app.leaf, app.key);
        self.queues.get_mut(leaf).add_asks(kind, key, 1);
    }

    /// Takes the ask of a pod out of the pending ones of its group.
    pub(super) fn take_ask(&mut self, app_id: AppId, group: u32, pod: PodId) {
        let app = self.apps[app_id as usize].as_mut().expect("it has asks");
        let at = &mut app.groups[group as usize];
        let place = at.asks.iter().position(|(_, p)| *p == pod).expect("the pod's ask is pending");
        let (key, _) = at.asks.remove(place).expect("it has asks");
        at.reserved.remove(&key);
        at.searched.remove(&key);
        if at.asks.is_empty() {
            at.asks = VecDeque::new();
            app.live.retain(|g| *g != group);
        }
        app.pending -= 1;
        let (leaf, key, kind) = (app.leaf, app.key, app.groups[group as usize].kind);
        self.queues.get_mut(leaf).add_asks(kind, key, -1);
        self.queues.add_pending(leaf, -1);
    }

    /// Gives an application the place that its use and asks now deserve.
    pub(super) fn replace(&mut self, app_id: AppId) {
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
        if queue.properties.backoff_asks > 0 {
            queue.apps.remove(&old);
            if !app.live.is_empty() {
                queue.apps.insert(new);
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
            let (leaf, running, owner) = (app.leaf, app.running, app.owner);
            // Its last ask went after its last pod.
            if std::mem::take(&mut app.counted) {
                self.limits.end_application(&self.queues, leaf, owner);
            }
            self.completing.push_back((self.now + COMPLETING_TIMEOUT_NS, app_id));
            if running {
                self.queues.count_running(leaf, -1);
                self.slots_opened();
            }
        }
    }

    /// An application gets something for the first time: it runs.
    pub(super) fn begin(&mut self, app_id: AppId) {
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
        self.unreserve(cluster, pod);
        self.preempted_for.remove(&pod);
        let held =
            cluster.pods.spec_by_id(spec).task_group.as_ref().is_some_and(|g| self.take_held(app, g, pod));
        if !held {
            let group = self.group_of[&(app, spec)];
            self.take_ask(app, group, pod);
        }
        self.replace(app);
    }

    /// A pod of an application is on a node since before this core began: it counts there as if this core had put it, past
    /// all limits. If no rule places its application, that goes to the recovery queue (`UpdateAllocation`,
    /// `recovery_rule.go`).
    pub fn recover(&mut self, cluster: &Cluster, pod: PodId, node: NodeId) {
        if node as usize >= self.nodes.table.len() {
            self.occupy(cluster, pod, node);
            return;
        }
        let app_id = cluster.pods.app_id(pod);
        if self.add_app(cluster, app_id).is_err() {
            let leaf = self.queues.recovery();
            self.insert_app(cluster, app_id, leaf, None);
        }
        self.set_state(pod, PodState::Bound);
        self.note_creation(cluster, pod);
        let app = self.apps[app_id as usize].as_mut().expect("it was added");
        let leaf = app.leaf;
        if app.originator.is_none() {
            app.originator = Some(pod);
        }
        if app.idle_since.take().is_some() {
            self.queues.get_mut(leaf).live_apps += 1;
            if app.running {
                self.queues.count_running(leaf, 1);
            }
        }
        self.begin(app_id);
        self.count(cluster, app_id, pod);
        self.put_on_node(cluster, pod, node, true);
        if let Some(group) = self.count_placeholder(cluster, app_id, pod) {
            // It has never asked.
            group.count += 1;
        }
        self.replace(app_id);
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

    pub(super) fn allocate(&mut self, cluster: &Cluster, app_id: AppId, pod: PodId, node: NodeId) {
        self.state[pod as usize] = PodState::Allocated;
        self.preempted_for.remove(&pod);
        self.begin(app_id);
        self.count(cluster, app_id, pod);
        self.put_on_node(cluster, pod, node, false);
        self.count_placeholder(cluster, app_id, pod);
        self.replace(app_id);
    }

    /// A placeholder, if it is one, is on a node: real pods of its task group may take its place.
    fn count_placeholder(
        &mut self,
        cluster: &Cluster,
        app_id: AppId,
        pod: PodId,
    ) -> Option<&mut TaskGroupState> {
        if !cluster.pods.is_placeholder(pod) {
            return None;
        }
        let gang = self.apps[app_id as usize].as_mut()?.gang.as_mut()?;
        gang.allocated += 1;
        gang.complete |= gang.allocated == gang.wanted;
        let group = gang.groups.get_mut(cluster.pods.spec(pod).task_group.as_ref()?)?;
        group.free.push_back(pod);
        Some(group)
    }

    /// Counts a pod as allocated in its application, its queues and for its owner.
    pub(super) fn count(&mut self, cluster: &Cluster, app_id: AppId, pod: PodId) {
        let spec = cluster.pods.spec(pod);
        let app = self.apps[app_id as usize].as_mut().expect("it had an ask");
        let first = !std::mem::replace(&mut app.counted, true);
        app.allocated.add(spec);
        let (leaf, owner) = (app.leaf, app.owner);
        self.queues.allocate(leaf, spec);
        self.limits.allocate(&self.queues, leaf, owner, spec, first);
    }

    /// Puts a pod on a node; `forced`: whether it fits or not.
    pub(super) fn put_on_node(&mut self, cluster: &Cluster, pod: PodId, node: NodeId, forced: bool) {
        let (id, spec) = (cluster.pods.spec_id(pod), cluster.pods.spec(pod));
        self.node[pod as usize] = node;
        if self.on_node.len() <= node as usize {
            self.on_node.resize(node as usize + 1, Vec::new());
        }
        self.on_node[node as usize].push(pod);
        let watched: Vec<SpecId> = if self.predicates.enabled() {
            self.stuck
                .iter()
                .copied()
                .filter(|s| self.nodes.has_room(node, cluster.pods.spec_by_id(*s)))
                .collect()
        } else {
            Vec::new()
        };
        if forced {
            self.nodes.force_pod(node, spec);
        } else {
            self.nodes.add_pod(node, spec);
        }
        self.predicates.add_pod(id, node);
        for stuck in watched {
            if !self.nodes.has_room(node, cluster.pods.spec_by_id(stuck)) {
                self.specs[stuck as usize].tested -= 1;
            }
        }
        if self.predicates.heeds_pods(id) {
            self.unstick_where(|core, stuck| core.predicates.wants_company(stuck));
        }
        self.retarget(cluster, node);
    }

    /// A pod leaves its node: finished, deleted, or its binding failed.
    pub fn release(&mut self, cluster: &Cluster, pod: PodId) {
        let owned = matches!(self.state(pod), PodState::Allocated | PodState::Bound);
        self.state[pod as usize] = PodState::Done;
        if owned {
            self.uncount(cluster, pod);
            self.replace(cluster.pods.app_id(pod));
        }
        self.preempted.remove(&pod);
        self.released.remove(&pod);
        self.take_off_node(cluster, pod);
    }

    /// Takes a pod out of what its application, its queues and its owner use.
    pub(super) fn uncount(&mut self, cluster: &Cluster, pod: PodId) {
        let (app_id, spec) = (cluster.pods.app_id(pod), cluster.pods.spec(pod));
        let app = self.apps[app_id as usize].as_mut().expect("it has allocations");
        app.allocated.remove(spec);
        // With asks left it counts on (`removeAllocationInternal`).
        let last = app.allocated.pods == 0 && app.pending == 0;
        app.counted &= !last;
        let (leaf, owner) = (app.leaf, app.owner);
        self.queues.release(leaf, spec);
        if self.preempted.remove(&pod) {
            self.queues.end_preempting(leaf, spec);
        }
        self.limits.release(&self.queues, leaf, owner, spec, last);
        self.headroom_grew();
        if last {
            self.slots_opened();
        }
    }

    pub(super) fn take_off_node(&mut self, cluster: &Cluster, pod: PodId) {
        let (id, spec, node) = (cluster.pods.spec_id(pod), cluster.pods.spec(pod), self.node[pod as usize]);
        if node as usize >= self.nodes.table.len() {
            return;
        }
        if let Some(pods) = self.on_node.get_mut(node as usize)
            && let Some(at) = pods.iter().position(|p| *p == pod)
        {
            pods.remove(at);
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
            self.try_unstick(cluster, stuck, node);
        }
        if !self.stuck.is_empty() {
            self.unstick_where(|core, stuck| core.predicates.heeds_pods(stuck));
        }
        self.retarget(cluster, node);
    }

    /// A node that had no room for a stuck spec, or was reserved, may take it now.
    pub(super) fn try_unstick(&mut self, cluster: &Cluster, stuck: SpecId, node: NodeId) {
        if self.nodes.has_room(node, cluster.pods.spec_by_id(stuck)) {
            if self.predicates.accept(cluster, stuck, node) {
                self.set_stuck(stuck, false);
                self.stuck.retain(|s| *s != stuck);
            } else {
                self.specs[stuck as usize].tested += 1;
            }
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

    pub(super) fn set_stuck(&mut self, spec: SpecId, stuck: bool) {
        let state = &mut self.specs[spec as usize];
        state.stuck = stuck;
        state.target = Target::Unknown;
        for (queue, kind) in &state.kinds {
            self.queues.get_mut(*queue).set_stuck(*kind, stuck);
        }
    }

    pub(super) fn sum_up_nodes(&mut self, cluster: &Cluster) {
        if self.queues.cluster.is_some() {
            return;
        }
        let table = &self.nodes.table;
        let mut sum = Usage::default();
        for node in 0..NodeId::try_from(table.len()).expect("nodes are limited") {
            if table.is_present(node) {
                let at = node as usize;
                sum.cpu = sum.cpu.saturating_add(table.cpu_capacity[at]);
                sum.memory = sum.memory.saturating_add(table.memory_capacity[at]);
                sum.pods += u64::from(table.pods_capacity[at]);
                for (id, v) in &cluster.nodes.template(node).allocatable.extended {
                    sum.add_extended(*id, *v);
                }
            }
        }
        self.queues.cluster = Some(sum);
    }
}
