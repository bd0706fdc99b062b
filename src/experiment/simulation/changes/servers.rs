//! Faults of the control plane itself: servers that are away or slow, components that are replaced, watches that break.
//!
//! What requests, connections and watches go through is [`control_plane::outage`](crate::control_plane::outage)'s; here
//! stands who tries again, and what a component is that begins anew.
//!
//! **Who tries again.** The load client waits 0.1 s, three times as long each time, up to 24.3 s, as clusterloader2 does, but
//! never gives up. Kubelets report again with their next look at all pods, 10 s later; a kubelet that can't register its node
//! waits 0.1 s doubled up to 7 s. KWOK and controllers have work queues (`controllers`). Schedulers have their own rules.
//!
//! **Leader election** (kube-scheduler and kube-controller-manager): the leader renews its lease every 2 s; if it can't for
//! 10 s its process ends. A successor has seen everything already (informers run before the election), and takes over when
//! it has seen the lease unrenewed for 15 s, trying every 2 to 4.4 s (2 s, lengthened at random by up to 1.2 times as much).
//! Source: `client-go/tools/leaderelection`, defaults in `component-base/config/v1alpha1/defaults.go`.
//!
//! **A process that starts** without a standby lists all nodes and pods, each of which costs CPU (`start_up`, `list_node`,
//! `list_pod` of its profile), before it does anything. A scheduler has forgotten what it had assumed: a pod whose binding
//! it had not sent is scheduled anew; one whose binding is on its way may be bound before the new one binds it elsewhere,
//! which the API server refuses. A controller manager starts every clock anew: grace periods, tolerations.
use crate::cluster::{NO_NODE, NodeId, PodId, Stage};
use crate::control_plane::kernel::{AgentEvent, ControllerEvent, Event, FaultEvent};
use crate::control_plane::outage::ListSizes;
use crate::control_plane::store::{Mark, NodePatch, Ready};
use crate::control_plane::{ClientId, Verb};
use crate::cost::Meter;
use crate::engine::{MILLISECOND, Nanos, SECOND};
use crate::measure::station::Station;
use crate::scenario::spec::TimeDistribution;
use crate::scheduler::{Factory, SchedulerModel, Settings};

use super::super::Simulation;
use super::faults::draw;

/// The load client's first wait after an error.
const FIRST_LOAD_RETRY_NS: Nanos = 100 * MILLISECOND;
/// Its waits don't grow after so many.
const LOAD_RETRIES: u32 = 5;
/// A kubelet's look at the status of all pods.
const STATUS_SYNC_NS: Nanos = 10 * SECOND;
const RENEW_DEADLINE_NS: Nanos = 10 * SECOND;
const LEASE_DURATION_NS: Nanos = 15 * SECOND;
const RETRY_PERIOD_NS: Nanos = 2 * SECOND;
/// A process that could not list waits so long before it tries again.
const LIST_RETRY_NS: Nanos = SECOND;

/// A component that can be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum Component {
    /// The scheduler.
    Scheduler,
    /// The controller manager.
    Manager,
}

impl Component {
    const fn code(self) -> NodeId {
        self as NodeId
    }

    const fn of(code: NodeId) -> Self {
        if code == 0 { Self::Scheduler } else { Self::Manager }
    }
}

/// How a scheduler is made anew: inputs.
pub struct Rebuild {
    pub(super) factory: Factory,
    pub(super) settings: Settings,
    pub(super) start_up_ps: (u64, u64, u64),
}

impl std::fmt::Debug for Rebuild {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rebuild")
    }
}

impl Rebuild {
    /// A scheduler of this make, with these settings; what its process spends on starting, on a node and on a pod that it
    /// lists, ps.
    pub fn new(factory: Factory, settings: Settings, start_up_ps: (u64, u64, u64)) -> Self {
        Self { factory, settings, start_up_ps }
    }
}

/// What is away, and what is slow.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Servers {
    /// Occurrences because of which the API server is away.
    server_down: Vec<u32>,
    etcd_down: Vec<u32>,
    /// Occurrences because of which the API server is slow, with their factors.
    server_slow: Vec<(u32, u64)>,
    etcd_slow: Vec<(u32, u64)>,
    /// Components without a process, by the occurrence that ended it.
    pub(super) scheduler_down: bool,
    pub(super) manager_down: bool,
    /// ReplicaSets that were created while there was no controller manager, or that have been.
    pub(super) arrived: Vec<bool>,
    /// Lists that a new scheduler waits for.
    lists_pending: u32,
    /// How often the manager was started anew.
    pub(super) manager_epoch: u32,
    /// How often each creation and deletion of the load client has failed, by pod.
    load_failures: std::collections::BTreeMap<PodId, u32>,
    /// How often each node could not be registered.
    join_failures: std::collections::BTreeMap<NodeId, u32>,
    /// How a scheduler is made anew: an input.
    #[serde(skip)]
    pub(super) rebuild: Option<Rebuild>,
}

impl Servers {
    /// All is well; which ReplicaSets and other owners are there from the beginning.
    pub fn new(arrived: Vec<bool>, rebuild: Rebuild) -> Self {
        Self { arrived, rebuild: Some(rebuild), ..Self::default() }
    }

    /// Takes over what a checkpoint leaves to the inputs.
    pub fn keep_inputs_of(&mut self, built: Self) {
        self.rebuild = built.rebuild;
    }
}

/// A fault of the control plane.
#[derive(Clone, Copy, Debug)]
pub(super) enum ServerFault {
    /// The API server is away.
    ServerDown,
    /// etcd takes no writes.
    EtcdDown,
    /// The API server is slow.
    ServerSlow(u64),
    /// etcd's disk is slow.
    EtcdSlow(u64),
}

impl Simulation {
    fn servers(&mut self) -> &mut Servers {
        &mut self.changes.as_mut().expect("a run with faults").servers
    }

    /// A fault of a server begins; it ends after `lasts`.
    pub(super) fn begin_server_fault(
        &mut self,
        index: usize,
        fault: ServerFault,
        lasts: Option<TimeDistribution>,
        leader_election: bool,
    ) {
        let now = self.kernel.now();
        let Some(occurrence) = self.open_case(index, Vec::new(), lasts.is_some()) else { return };
        let at = occurrence as u32;
        let Some(changes) = self.changes.as_mut() else { return };
        let rng = &mut changes.faults.source(index).rng;
        let lasts_ns = lasts.map(|lasts| draw(lasts, rng));
        let exit_ns = RENEW_DEADLINE_NS + rng.below(RETRY_PERIOD_NS);
        let retries = [rng.below(RETRY_PERIOD_NS * 12 / 10), rng.below(RETRY_PERIOD_NS * 12 / 10)];
        match fault {
            ServerFault::ServerDown => {
                self.servers().server_down.push(at);
                self.control_plane.crash_server(&mut self.kernel);
            }
            ServerFault::EtcdDown => {
                self.servers().etcd_down.push(at);
                self.control_plane.stop_etcd(&mut self.kernel);
            }
            ServerFault::ServerSlow(ppm) => self.servers().server_slow.push((at, ppm)),
            ServerFault::EtcdSlow(ppm) => self.servers().etcd_slow.push((at, ppm)),
        }
        self.apply_slowness();
        let Some(lasts_ns) = lasts_ns else { return };
        let over = Event::Fault { what: FaultEvent::Over, index: at, node: NO_NODE };
        self.kernel.at(now.saturating_add(lasts_ns), over);
        // Who can't renew its lease for too long ends, and its successor waits until the lease is over.
        let is_away = matches!(fault, ServerFault::ServerDown | ServerFault::EtcdDown);
        if is_away && leader_election && lasts_ns > exit_ns {
            for (component, retry_ns) in [Component::Scheduler, Component::Manager].into_iter().zip(retries) {
                if component == Component::Scheduler && self.scheduler.model.kind() != "kube-scheduler" {
                    continue;
                }
                let node = component.code();
                let lost = Event::Fault { what: FaultEvent::LeaseLost, index: at, node };
                self.kernel.at(now + exit_ns, lost);
                let back = now + lasts_ns + LEASE_DURATION_NS + RETRY_PERIOD_NS + retry_ns;
                self.kernel.at(back, Event::Fault { what: FaultEvent::Successor, index: u32::MAX, node });
            }
        }
    }

    fn apply_slowness(&mut self) {
        let servers = self.servers();
        let product = |of: &[(u32, u64)]| match of {
            [] => 0,
            several => several.iter().fold(1_000_000_u128, |p, (_, ppm)| {
                (p * u128::from(*ppm) / 1_000_000).clamp(1, 1_000_000_000_000)
            }) as u64,
        };
        let (server, etcd) = (product(&servers.server_slow), product(&servers.etcd_slow));
        self.control_plane.slow_server(&mut self.kernel, server);
        self.control_plane.slow_etcd(etcd);
    }

    /// A fault that lasted is over.
    pub(super) fn end_server_fault(&mut self, at: u32) {
        let now = self.kernel.now();
        let servers = self.servers();
        let was_down = !servers.server_down.is_empty();
        let etcd_was_down = !servers.etcd_down.is_empty();
        servers.server_down.retain(|o| *o != at);
        servers.etcd_down.retain(|o| *o != at);
        servers.server_slow.retain(|(o, _)| *o != at);
        servers.etcd_slow.retain(|(o, _)| *o != at);
        let is_up = servers.server_down.is_empty();
        let etcd_is_up = servers.etcd_down.is_empty();
        if was_down && is_up {
            self.control_plane.start_server();
        }
        if etcd_was_down && etcd_is_up {
            self.control_plane.go_on_etcd();
        }
        self.apply_slowness();
        let Some(changes) = self.changes.as_mut() else { return };
        let case = changes.faults.case_of(at);
        changes.recovery.over(case, now);
    }

    /// The watches of some watchers break.
    pub(super) fn break_watches(&mut self, index: usize, names: &[String], lasts: Option<TimeDistribution>) {
        let now = self.kernel.now();
        let Some(occurrence) = self.open_case(index, Vec::new(), true) else { return };
        let Some(changes) = self.changes.as_mut() else { return };
        let rng = &mut changes.faults.source(index).rng;
        let until = now + lasts.map_or(0, |lasts| draw(lasts, rng));
        let watchers: Vec<usize> = self
            .control_plane
            .watchers()
            .enumerate()
            .filter(|(_, name)| names.is_empty() || names.iter().any(|n| n == name))
            .map(|(at, _)| at)
            .collect();
        for watcher in watchers {
            self.control_plane.break_watch(&mut self.kernel, watcher, false, until);
        }
        let over = Event::Fault { what: FaultEvent::Over, index: occurrence as u32, node: NO_NODE };
        self.kernel.at(until, over);
    }

    /// A watcher that is cut off tries again.
    pub(in super::super) fn on_watch(&mut self, watcher: usize, nth: u32) {
        let store = self.control_plane.store();
        let pods = u32::try_from(store.pods_stored()).unwrap_or(u32::MAX);
        let nodes = (0..self.cluster.nodes.len() as NodeId).filter(|n| self.cluster.nodes.get(*n).present);
        let nodes = u32::try_from(nodes.count()).unwrap_or(u32::MAX);
        let is_agents = Some(watcher) == self.agents_watcher && !self.agents.is_one_program();
        let kubelets = if is_agents { nodes } else { 0 };
        let sizes = ListSizes { pods, nodes, kubelets };
        self.control_plane.on_watch(&mut self.kernel, watcher, nth, sizes);
    }

    /// A component is replaced by a new process, or by its standby.
    pub(super) fn replace_component(
        &mut self,
        index: usize,
        component: Component,
        lasts: Option<TimeDistribution>,
    ) {
        let now = self.kernel.now();
        if self.is_away(component) {
            return;
        }
        let Some(occurrence) = self.open_case(index, Vec::new(), true) else { return };
        let Some(changes) = self.changes.as_mut() else { return };
        let rng = &mut changes.faults.source(index).rng;
        let span = match lasts {
            Some(lasts) => draw(lasts, rng),
            // What is left of the lease, and the standby's next try.
            None => LEASE_DURATION_NS - rng.below(RETRY_PERIOD_NS) + rng.below(RETRY_PERIOD_NS * 22 / 10),
        };
        self.end_component(component);
        let (index, node) = (occurrence as u32, component.code());
        self.kernel.at(now + span, Event::Fault { what: FaultEvent::Successor, index, node });
    }

    fn is_away(&mut self, component: Component) -> bool {
        let started = self.scheduler.started;
        let servers = self.servers();
        match component {
            // One that is still starting is left alone.
            Component::Scheduler => servers.scheduler_down || !started,
            Component::Manager => servers.manager_down,
        }
    }

    fn end_component(&mut self, component: Component) {
        match component {
            Component::Scheduler => self.end_scheduler(),
            Component::Manager => {
                self.servers().manager_down = true;
                let Some(process) = self.manager_process() else { return };
                self.control_plane.end_client(&mut self.kernel, process);
            }
        }
    }

    /// A component could not renew its lease.
    pub(super) fn on_lease_lost(&mut self, component: NodeId) {
        let component = Component::of(component);
        if !self.is_away(component) {
            self.end_component(component);
        }
    }

    /// A component's successor begins. `at`: the occurrence that it ends; `u32::MAX`: none.
    pub(super) fn on_successor(&mut self, at: u32, component: NodeId) {
        let component = Component::of(component);
        let (cold, case) = match self.changes.as_ref() {
            Some(changes) if at != u32::MAX => {
                (changes.faults.starts_cold(at), Some(changes.faults.case_of(at)))
            }
            _ => (false, None),
        };
        match component {
            Component::Scheduler if self.servers().scheduler_down => {
                self.servers().scheduler_down = false;
                if cold {
                    self.list_for_scheduler();
                } else {
                    self.scheduler.start_up_ps.0 = 0;
                    self.start_scheduler();
                }
            }
            Component::Manager if self.servers().manager_down => self.start_manager(),
            _ => {}
        }
        let now = self.kernel.now();
        if let (Some(case), Some(changes)) = (case, self.changes.as_mut()) {
            changes.recovery.over(case, now);
        }
    }

    // ---- the scheduler ----

    fn end_scheduler(&mut self) {
        let now = self.kernel.now();
        self.servers().scheduler_down = true;
        self.control_plane.end_client(&mut self.kernel, self.scheduler.process);
        let s = &mut self.scheduler;
        s.started = false;
        s.jobs = 0;
        s.early.clear();
        s.epoch += 1;
        if let Some(model) = self.new_scheduler() {
            self.scheduler.model = model;
        }
        self.stations.at(Station::Scheduler).set(now, false);
    }

    fn new_scheduler(&mut self) -> Option<Box<dyn SchedulerModel>> {
        let rebuild = self.changes.as_ref()?.servers.rebuild.as_ref()?;
        let (factory, settings) = (rebuild.factory.clone(), rebuild.settings.clone());
        let meter: &mut Meter = self.kernel.meter(self.scheduler.process);
        // It was built from the same settings and profile before.
        factory.build(&settings, meter).ok()
    }

    /// A new process lists all nodes and pods first.
    fn list_for_scheduler(&mut self) {
        if let Some(rebuild) = self.changes.as_ref().and_then(|c| c.servers.rebuild.as_ref()) {
            self.scheduler.start_up_ps = rebuild.start_up_ps;
        }
        self.servers().lists_pending = 2;
        let pods = u32::try_from(self.control_plane.store().pods_stored()).unwrap_or(u32::MAX);
        let nodes = self.cluster.nodes.len() as u32;
        let (client, watcher) = (self.scheduler.client, self.scheduler.watcher as NodeId);
        for objects in [nodes, pods] {
            self.control_plane.submit(&mut self.kernel, client, Verb::List, objects, watcher);
        }
    }

    /// A list was answered: of a new scheduler, or of a watcher that was cut off.
    pub(in super::super) fn on_list_answered(&mut self, objects: u32, watcher: NodeId, ok: bool) {
        let watcher = watcher as usize;
        if watcher != self.scheduler.watcher || self.scheduler.started {
            self.control_plane.on_list_answered(&mut self.kernel, watcher, objects, ok);
            return;
        }
        let servers = self.servers();
        if servers.lists_pending == 0 || servers.scheduler_down {
            return;
        }
        if !ok {
            servers.lists_pending = 0;
            let at = self.kernel.now() + LIST_RETRY_NS;
            let again = Event::Fault { what: FaultEvent::Successor, index: u32::MAX, node: NO_NODE };
            self.kernel.at(at, again);
            return;
        }
        servers.lists_pending -= 1;
        if servers.lists_pending == 0 {
            self.on_scheduler_process_starts();
        }
    }

    /// A new scheduler that could not list tries again.
    pub(super) fn list_again(&mut self) {
        let servers = self.servers();
        if !servers.scheduler_down && servers.lists_pending == 0 && !self.scheduler.started {
            self.list_for_scheduler();
        }
    }

    /// A scheduler that begins anew is told of everything that is stored.
    pub(in super::super) fn hand_over_pods(&mut self) {
        let mut pods: Vec<PodId> = (0..self.cluster.pods.len() as PodId)
            .filter(|pod| {
                self.control_plane.store().exists(*pod) && !self.control_plane.store().is_over(*pod)
            })
            .collect();
        // The informer's first list reaches the handlers in no particular order.
        self.scheduler.rng.shuffle(&mut pods);
        self.control_plane.watch_anew(&mut self.kernel, self.scheduler.watcher);
        for pod in pods {
            let node = self.cluster.pods.node(pod);
            if node != NO_NODE {
                self.call(|model, cx| model.on_pod_bound(cx, pod, node));
                continue;
            }
            match self.cluster.pods.stage(pod) {
                // It was given up, or on its way, and the one who knew is no more.
                Stage::Failed => {
                    self.counts.failed -= 1;
                    self.cluster.pods.set_stage(pod, Stage::Queued);
                }
                Stage::Assumed => self.cluster.pods.set_stage(pod, Stage::Queued),
                _ => self.pod_queued(pod),
            }
            self.call(|model, cx| model.on_pod_pending(cx, pod));
        }
    }

    // ---- the controller manager ----

    fn start_manager(&mut self) {
        let Some(changes) = self.changes.as_mut() else { return };
        changes.servers.manager_down = false;
        changes.servers.manager_epoch += 1;
        let watcher = changes.controllers.watcher;
        self.control_plane.watch_anew(&mut self.kernel, watcher);
        self.control(|controllers, env| controllers.restart(env));
        // What was lost while nobody looked, then what every ReplicaSet lacks.
        let mut lost = Vec::new();
        for pod in 0..self.cluster.pods.len() as PodId {
            if self.control_plane.store_mut().notice_loss(pod) {
                lost.push(pod);
            }
        }
        for pod in lost {
            let owner = self.control_plane.store().owner(pod);
            if self.is_replica_set(owner) {
                self.sets(|sets, _| sets.note_lost(owner, pod));
            }
        }
        let arrived = self.servers().arrived.clone();
        let sets = self.replica_sets.as_ref().map_or(0, |sets| sets.len());
        for (owner, _) in arrived.iter().enumerate().skip(sets).filter(|(_, arrived)| **arrived) {
            self.start_owner(owner as u32);
        }
        self.sets(|sets, env| sets.restart(env, |set| arrived.get(set as usize).copied().unwrap_or(true)));
    }

    /// A ReplicaSet is created; if there is no controller manager, its successor sees it.
    pub(in super::super) fn on_set_arrives(&mut self, set: u32) {
        if let Some(changes) = self.changes.as_mut() {
            if let Some(arrived) = changes.servers.arrived.get_mut(set as usize) {
                *arrived = true;
            }
            if changes.servers.manager_down {
                return;
            }
        }
        self.start_owner(set);
    }

    // ---- others ----

    /// The load client's request has failed: it tries again.
    pub(in super::super) fn load_again(&mut self, verb: Verb, pod: PodId) {
        let failures = match self.changes.as_mut() {
            Some(changes) => {
                let failures = changes.servers.load_failures.entry(pod).or_default();
                *failures += 1;
                *failures - 1
            }
            None => LOAD_RETRIES,
        };
        let wait_ns = FIRST_LOAD_RETRY_NS * 3_u64.pow(failures.min(LOAD_RETRIES));
        let what = match verb {
            Verb::CreatePod => ControllerEvent::CreateAgain { pod },
            _ => ControllerEvent::DeleteAgain { pod },
        };
        self.kernel.at(self.kernel.now() + wait_ns, Event::Controller { what, epoch: 0 });
    }

    /// The load client tries again to create a pod.
    pub(super) fn on_create_again(&mut self, pod: PodId) {
        if self.cluster.pods.stage(pod) == Stage::Planned {
            self.control_plane.submit(&mut self.kernel, self.loader.client, Verb::CreatePod, pod, NO_NODE);
        } else {
            // It was stored although it failed.
            self.on_load_created();
        }
    }

    /// The load client tries again to delete a pod.
    pub(super) fn on_delete_again(&mut self, pod: PodId) {
        if self.cluster.pods.stage(pod) != Stage::Finished {
            self.control_plane.submit(&mut self.kernel, self.loader.client, Verb::DeletePod, pod, NO_NODE);
        }
    }

    /// A node agent's request has failed: it reports again.
    pub(in super::super) fn agent_again(&mut self, verb: Verb, pod: PodId, node: NodeId) {
        let now = self.kernel.now();
        let what = match verb {
            Verb::PatchRunning => AgentEvent::Started,
            Verb::PatchSucceeded => AgentEvent::Finished,
            Verb::PatchFailed => AgentEvent::Rejected,
            Verb::DeletePod => AgentEvent::Evicted,
            Verb::PatchNode => {
                let again = Event::Fault { what: FaultEvent::NodeReports, index: 0, node };
                self.kernel.at(now + STATUS_SYNC_NS, again);
                return;
            }
            Verb::CreateNode => {
                let failures = self.servers().join_failures.entry(node).or_default();
                let wait_ns = (FIRST_LOAD_RETRY_NS << (*failures).min(10)).min(7 * SECOND);
                *failures += 1;
                self.kernel.at(now + wait_ns, Event::Fault { what: FaultEvent::NodeJoins, index: 0, node });
                return;
            }
            _ => return,
        };
        self.kernel.at(now + STATUS_SYNC_NS, Event::Agent { pod, what });
    }

    /// A kubelet registers its node.
    pub(in super::super) fn register_node(&mut self, node: NodeId, cloud: ClientId) {
        let client = self.agents.client().unwrap_or(cloud);
        let patch = NodePatch::default().ready(Ready::False).set(Mark::NotReadyNoSchedule).encode();
        self.control_plane.submit(&mut self.kernel, client, Verb::CreateNode, patch, node);
    }
}
