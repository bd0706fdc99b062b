//! The node lifecycle controller: nodes that are not heard of, and their taints.
//!
//! Each `--node-monitor-period` (5 s) it looks at every node's lease and status. One whose lease it has not seen renewed
//! for more than `--node-monitor-grace-period` (50 s since 1.32, 40 s before) gets the Ready condition `Unknown`, and
//! every pod on it a status that says not ready; eight nodes at a time, the requests of a node one by one, and the next
//! look comes a period after the last answer. From the look after that on the node waits in its zone's queue for the taint
//! `unreachable:NoExecute`, which it gets at a limited rate. Taints with `NoSchedule` follow from the node's condition and
//! from `spec.unschedulable` as soon as the informer shows them.
//!
//! **Rates.** A zone (labels region and zone) is in *full disruption* if none of its nodes is ready, in *partial* if more
//! than two and at least 55 % are not, else normal. Normal and fully disrupted zones taint 0.1 nodes a second, partially
//! disrupted ones 0.01 if they have more than 50 nodes, else none. If every zone is fully disrupted, the trouble is taken
//! to be the control plane's own: all `NoExecute` taints are taken off, and nothing is tainted until a node is ready again.
//!
//! Source: k/k `pkg/controller/nodelifecycle/node_lifecycle_controller.go`, `scheduler/rate_limited_queue.go`; flags in
//! `cmd/kube-controller-manager/app/options/nodelifecyclecontroller.go`.
//!
//! Left out: five tries, 20 ms apart, of a node's status (the next look tries again, also of taints that could not be
//! written); conditions other than Ready; labels; `node.kubernetes.io/exclude-disruption`.
//!
//! Cost: nothing while all nodes are well; O(nodes in trouble + zones) a look, of which there are none when nothing can
//! change any more.
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::kernel::ControllerEvent;
use super::super::store::{Mark, NodeMarks, NodePatch, NodeRecord, Ready};
use super::super::{ClientId, Verb};
use super::{Answer, Env};
use crate::cluster::{Cluster, NodeChange, NodeId, PodId};
use crate::engine::{MILLISECOND, Nanos, SECOND};

/// Nodes looked at at once (`scheduler.UpdateWorkerSize`).
const WORKERS: usize = 8;
/// How often the queues of nodes to be tainted are looked at (`scheduler.NodeEvictionPeriod`).
const TAINT_PASS_NS: Nanos = 100 * MILLISECOND;
const REGION_LABEL: &str = "topology.kubernetes.io/region";

/// The zone of a node that the watch has not shown.
const UNTOLD: u32 = u32::MAX;

/// Flags of kube-controller-manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodeLifecycleSettings {
    /// `--node-monitor-period`, ns.
    pub monitor_period_ns: Nanos,
    /// `--node-monitor-grace-period`, ns.
    pub monitor_grace_period_ns: Nanos,
    /// `--node-eviction-rate`, in millionths of a node per second.
    pub eviction_rate_micro: u64,
    /// `--secondary-node-eviction-rate`, in millionths of a node per second.
    pub secondary_eviction_rate_micro: u64,
    /// `--large-cluster-size-threshold`.
    pub large_cluster_size_threshold: u32,
    /// `--unhealthy-zone-threshold`, in parts per million.
    pub unhealthy_zone_threshold_ppm: u64,
}

impl Default for NodeLifecycleSettings {
    fn default() -> Self {
        Self {
            monitor_period_ns: 5 * SECOND,
            monitor_grace_period_ns: 50 * SECOND,
            eviction_rate_micro: 100_000,
            secondary_eviction_rate_micro: 10_000,
            large_cluster_size_threshold: 50,
            unhealthy_zone_threshold_ppm: 550_000,
        }
    }
}

/// How a zone is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ZoneState {
    /// Most nodes are ready.
    #[default]
    Normal,
    /// Many are not.
    Partial,
    /// None is.
    Full,
}

/// A token bucket with one token (`EvictionRateLimiterBurst`).
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Limiter {
    rate_micro: u64,
    ready_ns: Nanos,
}

impl Limiter {
    fn period_ns(self) -> Option<Nanos> {
        (self.rate_micro > 0).then(|| SECOND * 1_000_000 / self.rate_micro)
    }

    fn try_accept(&mut self, now: Nanos) -> bool {
        match self.period_ns() {
            Some(period_ns) if self.ready_ns <= now => {
                self.ready_ns = now + period_ns;
                true
            }
            _ => false,
        }
    }

    /// Another rate; whoever waited under the old one waits under the new one, too.
    fn swap(&mut self, rate_micro: u64, now: Nanos) {
        if rate_micro == self.rate_micro {
            return;
        }
        let waited = !self.try_accept(now);
        *self = Self { rate_micro, ready_ns: now };
        if waited {
            self.try_accept(now);
        }
    }
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Zone {
    key: (String, Option<u32>),
    nodes: u32,
    state: ZoneState,
    limiter: Limiter,
    /// Nodes that wait for their `NoExecute` taint.
    queue: VecDeque<NodeId>,
    /// Those, and those that were tainted since they were marked.
    known: BTreeSet<NodeId>,
}

/// A node that is not known to be well.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Watched {
    /// The look that saw its lease renewed last.
    probe_ns: Nanos,
    /// The renewal that it saw.
    renewed_ns: Option<Nanos>,
    /// Marking its pods not ready has failed.
    retry: bool,
}

/// What is still to be sent for a node in the look under way, the first step first.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Work {
    node: NodeId,
    sent: (Verb, PodId),
    steps: VecDeque<(Verb, PodId)>,
}

/// The controller.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct NodeLifecycle {
    client: ClientId,
    settings: NodeLifecycleSettings,
    /// Phase of the looks while nothing slows them down.
    phase_ns: Nanos,
    watched: BTreeMap<NodeId, Watched>,
    zones: Vec<Zone>,
    zone_of: Vec<u32>,
    /// The next look, or the one under way, is due.
    active: bool,
    /// Times of the latest looks.
    looks: VecDeque<Nanos>,
    /// Nodes of the look under way that wait for a worker.
    work: VecDeque<Work>,
    /// Those that have one.
    working: BTreeMap<NodeId, Work>,
    /// Nodes whose taints with `NoSchedule` are being written.
    fixing: BTreeSet<NodeId>,
    /// When the next pass over the zones' queues is due.
    taint_pass_ns: Option<Nanos>,
}

impl NodeLifecycle {
    /// A controller that knows every node of the cluster, all of them well. Its looks have this phase.
    #[must_use]
    pub fn new(
        client: ClientId,
        settings: NodeLifecycleSettings,
        cluster: &Cluster,
        phase_ns: Nanos,
    ) -> Self {
        let mut it = Self {
            client,
            settings,
            phase_ns: phase_ns % settings.monitor_period_ns.max(1),
            watched: BTreeMap::new(),
            zones: Vec::new(),
            zone_of: Vec::new(),
            active: false,
            looks: VecDeque::new(),
            work: VecDeque::new(),
            working: BTreeMap::new(),
            fixing: BTreeSet::new(),
            taint_pass_ns: None,
        };
        for node in (0..cluster.nodes.len() as NodeId).filter(|node| cluster.nodes.get(*node).present) {
            it.add(cluster, node);
        }
        it
    }

    /// The manager's process is a new one: it knows the nodes as they are stored, and gives each its grace period anew.
    pub fn restart(&mut self, env: &mut Env<'_>) {
        let now = env.kernel.now();
        *self = Self::new(self.client, self.settings, env.cluster, now);
        for node in 0..env.cluster.nodes.len() as NodeId {
            let record = env.control_plane.store().node(node);
            let well = record.ready == Ready::True && record.marks == NodeMarks::default();
            if env.cluster.nodes.get(node).present && (!well || env.agents.trouble(node).is_some()) {
                let renewed_ns = env.agents.last_renewal_ns(node, now);
                self.watched.insert(node, Watched { probe_ns: now, renewed_ns, retry: false });
            }
        }
        if !self.watched.is_empty() {
            self.active = true;
            env.timer(now, ControllerEvent::NodeMonitor);
        }
    }

    /// Its client.
    #[must_use]
    pub const fn client(&self) -> ClientId {
        self.client
    }

    /// States of the zones, with their numbers of nodes.
    pub fn zones(&self) -> impl Iterator<Item = (ZoneState, u32)> {
        self.zones.iter().map(|z| (z.state, z.nodes))
    }

    fn add(&mut self, cluster: &Cluster, node: NodeId) {
        let region = cluster.nodes.label(node, REGION_LABEL).unwrap_or_default().to_owned();
        let key = (region, cluster.nodes.get(node).zone);
        let at = self.zones.iter().position(|z| z.key == key).unwrap_or_else(|| {
            let limiter = Limiter { rate_micro: self.settings.eviction_rate_micro, ready_ns: 0 };
            self.zones.push(Zone {
                key,
                nodes: 0,
                state: ZoneState::Normal,
                limiter,
                queue: VecDeque::new(),
                known: BTreeSet::new(),
            });
            self.zones.len() - 1
        });
        self.zones[at].nodes += 1;
        let index = node as usize;
        if self.zone_of.len() <= index {
            self.zone_of.resize(index + 1, UNTOLD);
        }
        self.zone_of[index] = at as u32;
    }

    /// Whether the watch has shown that the node is there.
    fn is_told(&self, node: NodeId) -> bool {
        self.zone_of.get(node as usize).is_some_and(|zone| *zone != UNTOLD)
    }

    fn zone(&mut self, node: NodeId) -> &mut Zone {
        &mut self.zones[self.zone_of[node as usize] as usize]
    }

    /// A machine has failed or come back: from now on its node is looked at. Nobody has told the controller; this only says
    /// which nodes need to be looked at at all.
    pub fn watch(&mut self, env: &mut Env<'_>, node: NodeId) {
        if !self.is_told(node) {
            // Its watch was cut off when the node joined: it will look when it is told.
            return;
        }
        let now = env.kernel.now();
        if !self.active {
            self.looks.clear();
            // Looks came at their phase all the time.
            let period_ns = self.settings.monitor_period_ns.max(1);
            let last = now.checked_sub(self.phase_ns).map(|since| now - since % period_ns);
            for back in (0..4).rev() {
                self.looks.extend(last.and_then(|last| last.checked_sub(back * period_ns)));
            }
            self.active = true;
            let next = last.map_or(self.phase_ns, |last| last + period_ns);
            env.timer(next, ControllerEvent::NodeMonitor);
        }
        if !self.watched.contains_key(&node) {
            let renewed_ns = env.agents.last_renewal_ns(node, now);
            // The look that saw that renewal, if one has been since.
            let seen = self.looks.iter().copied().find(|look| renewed_ns.is_none_or(|r| *look >= r));
            let watched = match seen {
                Some(probe_ns) => Watched { probe_ns, renewed_ns, retry: false },
                None => Watched {
                    probe_ns: self.looks.back().copied().unwrap_or(0),
                    renewed_ns: renewed_ns.and_then(|r| r.checked_sub(1)),
                    retry: false,
                },
            };
            self.watched.insert(node, watched);
        }
    }

    /// The informer has shown a change of a node: taints with `NoSchedule` follow its condition.
    pub fn on_node(&mut self, env: &mut Env<'_>, node: NodeId, change: NodeChange) {
        match change {
            NodeChange::Added => {
                self.add(env.cluster, node);
                self.watch(env, node);
            }
            NodeChange::Updated => {}
            NodeChange::Deleted if !self.is_told(node) => return,
            NodeChange::Deleted => {
                let zone = self.zone(node);
                zone.nodes -= 1;
                zone.queue.retain(|n| *n != node);
                zone.known.remove(&node);
                self.watched.remove(&node);
                return;
            }
        }
        self.fix_marks(env, node);
    }

    /// The marks that follow from a node's condition and from its being cordoned, as far as they are not as they should be.
    fn misfits(record: &NodeRecord) -> NodePatch {
        let wanted = [
            (Mark::NotReadyNoSchedule, record.ready == Ready::False),
            (Mark::UnreachableNoSchedule, record.ready == Ready::Unknown),
            (Mark::TaintUnschedulable, record.marks.cordoned),
        ];
        wanted.into_iter().filter(|(mark, wanted)| record.marks.has(*mark) != *wanted).fold(
            NodePatch::default(),
            |patch, (mark, wanted)| if wanted { patch.set(mark) } else { patch.clear(mark) },
        )
    }

    fn fix_marks(&mut self, env: &mut Env<'_>, node: NodeId) {
        let patch = Self::misfits(env.control_plane.store().node(node));
        if patch != NodePatch::default() && self.fixing.insert(node) {
            env.control_plane.submit(env.kernel, self.client, Verb::PatchNode, patch.encode(), node);
        }
    }

    /// A pod was bound to a node: if the node is not ready, neither is the pod.
    pub fn on_pod_bound(&mut self, env: &mut Env<'_>, pod: PodId) {
        let node = env.cluster.pods.node(pod);
        let store = env.control_plane.store();
        if env.cluster.nodes.get(node).present
            && store.node(node).ready != Ready::True
            && store.is_active(pod)
        {
            env.control_plane.submit(env.kernel, self.client, Verb::PatchNotReady, pod, node);
        }
    }

    /// A look at the nodes.
    pub fn on_monitor(&mut self, env: &mut Env<'_>) {
        let now = env.kernel.now();
        self.looks.push_back(now);
        if self.looks.len() > 4 {
            self.looks.pop_front();
        }
        let nodes: Vec<NodeId> = self.watched.keys().copied().collect();
        for node in nodes {
            self.look_at(env, node, now);
        }
        self.run_workers(env);
    }

    fn look_at(&mut self, env: &mut Env<'_>, node: NodeId, now: Nanos) {
        let renewed_ns = env.agents.last_renewal_ns(node, now);
        let Some(watched) = self.watched.get_mut(&node) else { return };
        if renewed_ns > watched.renewed_ns {
            watched.renewed_ns = renewed_ns;
            watched.probe_ns = now;
        }
        let (probe_ns, retry) = (watched.probe_ns, watched.retry);
        self.fix_marks(env, node);
        let record = *env.control_plane.store().node(node);
        let observed = record.ready;
        let mut steps = VecDeque::new();
        let lost = now > probe_ns + self.settings.monitor_grace_period_ns;
        let current = if lost { Ready::Unknown } else { observed };
        if current != observed {
            let patch = NodePatch::default().ready(Ready::Unknown);
            steps.push_back((Verb::PatchNode, patch.encode()));
        }
        match observed {
            Ready::True => self.mark_reachable(node, record.marks, &mut steps),
            Ready::False if record.marks.unreachable_no_execute => {
                let patch =
                    NodePatch::default().set(Mark::NotReadyNoExecute).clear(Mark::UnreachableNoExecute);
                steps.push_back((Verb::PatchNode, patch.encode()));
            }
            Ready::Unknown if record.marks.not_ready_no_execute => {
                let patch =
                    NodePatch::default().set(Mark::UnreachableNoExecute).clear(Mark::NotReadyNoExecute);
                steps.push_back((Verb::PatchNode, patch.encode()));
            }
            Ready::False => self.mark_for_tainting(env, node, record.marks.not_ready_no_execute),
            Ready::Unknown => self.mark_for_tainting(env, node, record.marks.unreachable_no_execute),
        }
        if current != Ready::True && (observed == Ready::True || retry) {
            let store = env.control_plane.store();
            let mut pods: Vec<PodId> =
                store.pods_on(node).iter().copied().filter(|p| store.is_ready(*p)).collect();
            pods.sort_unstable();
            steps.extend(pods.into_iter().map(|pod| (Verb::PatchNotReady, pod)));
        }
        if let Some(watched) = self.watched.get_mut(&node) {
            watched.retry = false;
        }
        if !steps.is_empty() {
            self.work.push_back(Work { node, sent: (Verb::PatchNode, 0), steps });
        }
    }

    /// The node is ready: its `NoExecute` taints go, each by a request of its own.
    fn mark_reachable(&mut self, node: NodeId, marks: NodeMarks, steps: &mut VecDeque<(Verb, PodId)>) {
        for mark in [Mark::UnreachableNoExecute, Mark::NotReadyNoExecute] {
            if marks.has(mark) {
                steps.push_back((Verb::PatchNode, NodePatch::default().clear(mark).encode()));
            }
        }
        let zone = self.zone(node);
        zone.queue.retain(|n| *n != node);
        zone.known.remove(&node);
    }

    fn mark_for_tainting(&mut self, env: &mut Env<'_>, node: NodeId, tainted: bool) {
        let zone = self.zone(node);
        if !tainted {
            // It was tainted once and lost the taint: it is queued anew. One that waits keeps its place.
            if !zone.queue.contains(&node) {
                zone.known.remove(&node);
            }
        }
        if zone.known.insert(node) {
            zone.queue.push_back(node);
            self.set_taint_pass(env);
        }
    }

    fn run_workers(&mut self, env: &mut Env<'_>) {
        while self.working.len() < WORKERS {
            let Some(mut work) = self.work.pop_front() else { break };
            let Some(step) = work.steps.pop_front() else { continue };
            work.sent = step;
            env.control_plane.submit(env.kernel, self.client, step.0, step.1, work.node);
            self.working.insert(work.node, work);
        }
        if self.working.is_empty() && self.active {
            self.end_look(env);
        }
    }

    fn end_look(&mut self, env: &mut Env<'_>) {
        self.handle_disruption(env);
        let (now, store) = (env.kernel.now(), env.control_plane.store());
        let (zones, zone_of) = (&self.zones, &self.zone_of);
        let all_full = self.all_full();
        let mut unsettled = false;
        self.watched.retain(|node, watched| {
            let record = store.node(*node);
            let up = env.agents.trouble(*node).is_none();
            let bare = !record.marks.unreachable_no_execute && !record.marks.not_ready_no_execute;
            let as_it_should_be = Self::misfits(record) == NodePatch::default();
            if up && record.ready == Ready::True && bare && as_it_should_be {
                return false;
            }
            // A node that is dead, known to be dead and tainted needs no further look until something happens to it.
            let zone = &zones[zone_of[*node as usize] as usize];
            let waits = zone.queue.contains(node);
            let settled = !up
                && record.ready == Ready::Unknown
                && as_it_should_be
                && !watched.retry
                && (record.marks.unreachable_no_execute || all_full || waits);
            unsettled |= !settled;
            true
        });
        if unsettled {
            env.timer(now + self.settings.monitor_period_ns, ControllerEvent::NodeMonitor);
        } else {
            self.active = false;
        }
    }

    fn all_full(&self) -> bool {
        self.zones.iter().filter(|z| z.nodes > 0).all(|z| z.state == ZoneState::Full)
    }

    fn handle_disruption(&mut self, env: &mut Env<'_>) {
        let now = env.kernel.now();
        let was_full = self.all_full();
        let mut not_ready = vec![0_u32; self.zones.len()];
        for node in self.watched.keys() {
            if env.control_plane.store().node(*node).ready != Ready::True {
                not_ready[self.zone_of[*node as usize] as usize] += 1;
            }
        }
        let threshold_ppm = self.settings.unhealthy_zone_threshold_ppm;
        let states: Vec<ZoneState> = (self.zones.iter().zip(&not_ready))
            .map(|(zone, bad)| {
                if zone.nodes == *bad && *bad > 0 {
                    ZoneState::Full
                } else if *bad > 2 && u64::from(*bad) * 1_000_000 >= threshold_ppm * u64::from(zone.nodes) {
                    ZoneState::Partial
                } else {
                    ZoneState::Normal
                }
            })
            .collect();
        let any_left = self.zones.iter().any(|z| z.nodes > 0);
        let is_full =
            any_left && (self.zones.iter().zip(&states)).all(|(z, s)| z.nodes == 0 || *s == ZoneState::Full);
        if is_full && was_full {
            return;
        }
        if is_full {
            for zone in &mut self.zones {
                zone.state = ZoneState::Full;
                zone.limiter.swap(0, now);
                zone.queue.clear();
                zone.known.clear();
            }
            let nodes: Vec<NodeId> = self.watched.keys().copied().collect();
            for node in nodes {
                let marks = env.control_plane.store().node(node).marks;
                for mark in [Mark::UnreachableNoExecute, Mark::NotReadyNoExecute] {
                    if marks.has(mark) {
                        let patch = NodePatch::default().clear(mark).encode();
                        env.control_plane.submit(env.kernel, self.client, Verb::PatchNode, patch, node);
                    }
                }
            }
            return;
        }
        if was_full {
            // Every node gets its grace period anew.
            for watched in self.watched.values_mut() {
                watched.probe_ns = now;
            }
        }
        for (zone, state) in self.zones.iter_mut().zip(states) {
            if zone.state == state && !was_full {
                continue;
            }
            let rate_micro = match state {
                ZoneState::Partial if zone.nodes <= self.settings.large_cluster_size_threshold => 0,
                ZoneState::Partial => self.settings.secondary_eviction_rate_micro,
                ZoneState::Normal | ZoneState::Full => self.settings.eviction_rate_micro,
            };
            zone.limiter.swap(rate_micro, now);
            zone.state = state;
        }
        self.set_taint_pass(env);
    }

    fn set_taint_pass(&mut self, env: &mut Env<'_>) {
        let now = env.kernel.now();
        let waiting = self.zones.iter().filter(|z| !z.queue.is_empty() && z.limiter.rate_micro > 0);
        let Some(ready_ns) = waiting.map(|z| z.limiter.ready_ns.max(now + 1)).min() else { return };
        let at = ready_ns.div_ceil(TAINT_PASS_NS) * TAINT_PASS_NS;
        if self.taint_pass_ns.is_none_or(|set| set > at) {
            self.taint_pass_ns = Some(at);
            env.timer(at, ControllerEvent::TaintPass);
        }
    }

    /// Nodes that have waited get their taint, as the rates allow.
    pub fn on_taint_pass(&mut self, env: &mut Env<'_>) {
        let now = env.kernel.now();
        if self.taint_pass_ns != Some(now) {
            return;
        }
        self.taint_pass_ns = None;
        for zone in &mut self.zones {
            while !zone.queue.is_empty() && zone.limiter.try_accept(now) {
                let Some(node) = zone.queue.pop_front() else { break };
                let (set, clear) = match env.control_plane.store().node(node).ready {
                    Ready::True => continue,
                    Ready::False => (Mark::NotReadyNoExecute, Mark::UnreachableNoExecute),
                    Ready::Unknown => (Mark::UnreachableNoExecute, Mark::NotReadyNoExecute),
                };
                let patch = NodePatch::default().set(set).clear(clear).encode();
                env.control_plane.submit(env.kernel, self.client, Verb::PatchNode, patch, node);
            }
        }
        self.set_taint_pass(env);
    }

    /// An answer.
    pub fn on_answered(&mut self, env: &mut Env<'_>, answer: Answer) {
        let Answer { verb, pod, node, ok, refusal } = answer;
        let failed = !ok && refusal.is_none();
        let Some(work) = self.working.get_mut(&node).filter(|work| work.sent == (verb, pod)) else {
            if verb == Verb::PatchNode {
                self.on_taint_answered(env, node, NodePatch::decode(pod), failed);
            }
            return;
        };
        if !ok && verb == Verb::PatchNode {
            // The status was not written: the next look finds the node as this one did.
            work.steps.clear();
        } else if failed {
            work.steps.clear();
            if let Some(watched) = self.watched.get_mut(&node) {
                watched.retry = true;
            }
        }
        match work.steps.pop_front() {
            Some(step) => {
                work.sent = step;
                env.control_plane.submit(env.kernel, self.client, step.0, step.1, node);
            }
            None => {
                self.working.remove(&node);
                self.run_workers(env);
            }
        }
    }

    /// A taint outside of a look was written, or could not be.
    fn on_taint_answered(&mut self, env: &mut Env<'_>, node: NodeId, patch: NodePatch, failed: bool) {
        let present = env.cluster.nodes.get(node).present;
        if patch.sets(Mark::UnreachableNoExecute) || patch.sets(Mark::NotReadyNoExecute) {
            // The rate-limited queue keeps a node until it is tainted.
            if failed && present && env.control_plane.store().node(node).ready != Ready::True {
                self.zone(node).queue.push_back(node);
                self.set_taint_pass(env);
            }
            return;
        }
        self.fixing.remove(&node);
        if failed && present {
            // The next look tries again.
            self.watch(env, node);
        } else if present {
            // Its condition may have changed meanwhile.
            self.fix_marks(env, node);
        }
    }
}
