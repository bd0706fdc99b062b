//! Faults as they happen: when they are due, whom they hit, what they do.
//!
//! A fault of the plan has a random stream of its own, `faults.NAME`, for its times, its choice among nodes and pods, and
//! how long it lasts. An occurrence hits nodes that are in the cluster and in order, or pods that are bound and not being
//! deleted; one that finds none passes without a trace. Each opens a [`Case`](crate::measure::recovery::Case).
//!
//! **`mtbf` of pods.** The rate of failures is that of one pod times how many there are that can fail, which changes all the time. So moments are drawn at
//! the rate of a number of pods that is never smaller (the *bound*: pods on nodes, rounded up to a power of two), and at each of them one of that many is
//! drawn: if it is one of those that can fail, it does, else nothing happens. This thinning (Lewis and Shedler, 1979) makes failures come as if each pod had
//! a clock of its own. When there are more pods than the bound says, it is raised, and the next moment drawn anew: exponential gaps have no memory.
//!
//! | fault | what happens |
//! |---|---|
//! | machines fail | nothing on them happens any more, leases are not renewed; whether and when anybody notices is up to the controllers. A machine that comes back starts its pods anew, and its kubelet reports the node as ready; one that was cut off reports with its next lease |
//! | nodes leave | the machine goes, and the Node object with it (as `kubectl delete node` or a shrinking node pool); its pods are left to the garbage collector |
//! | nodes are drained | see `drains` |
//! | nodes join | the kubelet registers its node, tainted `not-ready`, and reports it as ready when it has its answer |
//! | pods fail | the node's agent reports `Failed`; without agents somebody else does |
//! | servers, components, watches | see `servers` |
//! | Deployments are rolled out or scaled, StatefulSets are scaled | see `control_plane::controllers::{deployment, stateful_set}` |
//!
//! Cost: O(nodes) or O(pods) an occurrence; with `mtbf` of pods O(labels) a pod that is bound or ends, and O(pods) a moment, of which at least half hit if
//! all pods on nodes can fail.
use std::collections::BTreeMap;

use crate::cluster::{Cluster, NO_NODE, NodeId, PodId, Stage};
use crate::control_plane::kernel::{Event, FaultEvent, Kernel};
use crate::control_plane::node_agents::{LEASE_RENEW_INTERVAL_NS, Trouble};
use crate::control_plane::store::{NodePatch, Ready};
use crate::control_plane::{ClientId, Verb};
use crate::engine::{Nanos, Rng, Streams, random::LogNormal};
use crate::measure::recovery::{CaseId, Recovery};
use crate::scenario::plan::{FaultKind, FaultPlan, FaultTimes, NodeChoice, PodChoice};
use crate::scenario::spec::TimeDistribution;

use super::super::Simulation;
use super::FaultCase;
use super::servers::{Component, ServerFault};

/// Something that went wrong.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Occurrence {
    /// Index of the fault in the plan.
    fault: u32,
    case: CaseId,
    nodes: Vec<NodeId>,
    /// Failures still to come, by node in the order of `nodes` (machines that flap).
    again: Vec<u64>,
    /// When one of its nodes was stored as not heard of.
    noticed_ns: Option<Nanos>,
}

/// A fault's stream and how often it has come.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Source {
    pub(super) rng: Rng,
    times: u64,
    /// Pods that fail one by one: what is known of them.
    clock: PodClock,
}

/// The common clock of pods that fail one by one.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
struct PodClock {
    /// Pods on nodes that the fault may mean.
    pods: u64,
    /// For how many the next moment was drawn.
    bound: u64,
    /// That moment, ns; others that were set before count no more.
    next_ns: Option<Nanos>,
}

/// The faults of a run.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Faults {
    #[serde(skip)]
    plan: Vec<FaultPlan>,
    sources: Vec<Source>,
    occurrences: Vec<Occurrence>,
    /// Faults at given times that are still to come.
    scripted_to_come: u64,
    /// By node: the latest occurrence that hit it.
    latest: BTreeMap<NodeId, u32>,
    /// Nodes that have joined.
    joined: u32,
    /// Client of the cloud's controller manager.
    cloud: ClientId,
}

/// Draws a span.
pub(super) fn draw(distribution: TimeDistribution, rng: &mut Rng) -> Nanos {
    match distribution {
        TimeDistribution::Fixed(span) => span.0,
        TimeDistribution::Uniform { min, max } => rng.uniform_span(min.0, max.0),
        TimeDistribution::Quantiles { p50, p99 } => LogNormal::new(p50.0, p99.0).sample(rng),
    }
}

/// Some of the candidates at random, in their order: so many, or such a share of them; all if neither is said.
fn choose<T: Copy>(candidates: &[T], count: Option<u64>, share_ppm: Option<u64>, rng: &mut Rng) -> Vec<T> {
    let all = candidates.len() as u64;
    let wanted = match (count, share_ppm) {
        (Some(count), _) => count.min(all),
        (None, Some(ppm)) => (all * ppm).div_ceil(1_000_000),
        (None, None) => all,
    };
    if wanted == all {
        return candidates.to_vec();
    }
    // The first places of a shuffled order, put back into order.
    let mut at: Vec<usize> = (0..candidates.len()).collect();
    for i in 0..wanted as usize {
        let other = i + rng.below(all - i as u64) as usize;
        at.swap(i, other);
    }
    at.truncate(wanted as usize);
    at.sort_unstable();
    at.into_iter().map(|i| candidates[i]).collect()
}

impl Faults {
    /// The faults of a plan, none begun.
    pub fn new(plan: Vec<FaultPlan>, streams: &Streams, cloud: ClientId) -> Self {
        let source = |fault: &FaultPlan| Source {
            rng: streams.stream(&format!("faults.{}", fault.name)),
            times: 0,
            clock: PodClock::default(),
        };
        Self {
            sources: plan.iter().map(source).collect(),
            plan,
            occurrences: Vec::new(),
            scripted_to_come: 0,
            latest: BTreeMap::new(),
            joined: 0,
            cloud,
        }
    }

    /// Takes over the plan, which a checkpoint leaves to the inputs.
    pub fn keep_inputs_of(&mut self, built: Self) {
        self.plan = built.plan;
    }

    /// The first times are set.
    pub fn begin(&mut self, kernel: &mut Kernel, cluster: &Cluster) {
        for index in 0..self.plan.len() {
            match self.plan[index].times {
                FaultTimes::Once(at) => {
                    self.scripted_to_come += 1;
                    due(kernel, at, index);
                }
                FaultTimes::Random { from_ns, .. } if !self.is_of_each_pod(index) => {
                    self.set_next(kernel, cluster, index, from_ns);
                }
                FaultTimes::Random { .. } => {
                    let on_nodes = |pod: &PodId| cluster.pods.stage(*pod) != Stage::Finished;
                    for pod in (0..cluster.pods.len() as PodId).filter(on_nodes) {
                        let mine = cluster.pods.node(pod) != NO_NODE && self.may_mean(cluster, index, pod);
                        self.sources[index].clock.pods += u64::from(mine);
                    }
                    self.draw_moment(kernel, index);
                }
            }
        }
    }

    /// Whether a fault hits each pod at times of its own.
    fn is_of_each_pod(&self, index: usize) -> bool {
        let FaultPlan { times, kind, .. } = &self.plan[index];
        matches!((times, kind), (FaultTimes::Random { each: true, .. }, FaultKind::Pods(_)))
    }

    /// Whether a fault of pods may mean a pod that is on a node.
    fn may_mean(&self, cluster: &Cluster, index: usize, pod: PodId) -> bool {
        let FaultKind::Pods(choice) = &self.plan[index].kind else { return false };
        !cluster.pods.is_placeholder(pod) && has_labels(cluster, choice, pod)
    }

    /// A pod comes to a node, or one that is on a node ends.
    pub(super) fn count_pod(&mut self, kernel: &mut Kernel, cluster: &Cluster, pod: PodId, comes: bool) {
        for index in 0..self.plan.len() {
            if !self.is_of_each_pod(index) || !self.may_mean(cluster, index, pod) {
                continue;
            }
            let clock = &mut self.sources[index].clock;
            clock.pods = if comes { clock.pods + 1 } else { clock.pods.saturating_sub(1) };
            if clock.pods > clock.bound {
                self.draw_moment(kernel, index);
            }
        }
    }

    /// Draws the next moment at which a pod of those that fail one by one may do so.
    fn draw_moment(&mut self, kernel: &mut Kernel, index: usize) {
        let FaultTimes::Random { mean_ns, from_ns, to_ns, most, .. } = self.plan[index].times else { return };
        let Source { rng, times, clock } = &mut self.sources[index];
        clock.next_ns = None;
        clock.bound = if clock.pods == 0 { 0 } else { clock.pods.next_power_of_two() };
        if clock.bound == 0 || *times >= most {
            return;
        }
        let gap_ns = rng.exponential((mean_ns / clock.bound).max(1)).max(1);
        let at = kernel.now().max(from_ns).saturating_add(gap_ns);
        if at < to_ns {
            clock.next_ns = Some(at);
            due(kernel, at, index);
        }
    }

    /// Draws when a random fault comes next, after `from_ns`.
    fn set_next(&mut self, kernel: &mut Kernel, cluster: &Cluster, index: usize, from_ns: Nanos) {
        let FaultTimes::Random { mean_ns, each, to_ns, most, .. } = self.plan[index].times else { return };
        if self.sources[index].times >= most {
            return;
        }
        let among = match &self.plan[index].kind {
            _ if !each => 1,
            FaultKind::Machines { nodes, .. } | FaultKind::Remove { nodes } => {
                (0..cluster.nodes.len() as NodeId).filter(|node| node_matches(cluster, nodes, *node)).count()
            }
            _ => 1,
        };
        // With nobody there it is looked again after one's own time.
        let mean_ns = mean_ns / (among as u64).max(1);
        let at = from_ns.saturating_add(self.sources[index].rng.exponential(mean_ns.max(1)).max(1));
        if at < to_ns {
            due(kernel, at, index);
        }
    }

    /// Whether the plan has faults.
    pub(super) fn are_any(&self) -> bool {
        !self.plan.is_empty()
    }

    /// Whether the plan has faults that do such a thing.
    pub(super) fn are_some(&self, such: impl Fn(&FaultKind) -> bool) -> bool {
        self.plan.iter().any(|fault| such(&fault.kind))
    }

    /// What a fault does.
    pub(super) fn kind(&self, index: usize) -> &FaultKind {
        &self.plan[index].kind
    }

    /// The stream of a fault.
    pub(super) fn source(&mut self, index: usize) -> &mut Source {
        &mut self.sources[index]
    }

    /// The case of an occurrence.
    pub(super) fn case_of(&self, occurrence: u32) -> CaseId {
        self.occurrences[occurrence as usize].case
    }

    /// Whether the successor that ends an occurrence has to list everything first.
    pub(super) fn starts_cold(&self, occurrence: u32) -> bool {
        let fault = self.occurrences[occurrence as usize].fault as usize;
        matches!(self.plan[fault].kind, FaultKind::Replace { cold: true, .. })
    }

    /// A node is stored as not heard of.
    pub fn noticed(&mut self, node: NodeId, now: Nanos) {
        if let Some(occurrence) = self.latest.get(&node) {
            self.occurrences[*occurrence as usize].noticed_ns.get_or_insert(now);
        }
    }

    /// Whether faults at given times are still to come.
    pub const fn are_scripted_to_come(&self) -> bool {
        self.scripted_to_come > 0
    }

    /// All occurrences with what became of them.
    pub fn cases(&self, recovery: &Recovery) -> Vec<FaultCase> {
        let case = |o: &Occurrence| FaultCase {
            name: self.plan[o.fault as usize].name.clone(),
            kind: self.plan[o.fault as usize].kind_name,
            nodes: o.nodes.len() as u64,
            noticed_ns: o.noticed_ns,
            drained_ns: None,
            case: recovery.cases()[o.case as usize],
        };
        self.occurrences.iter().map(case).collect()
    }
}

fn due(kernel: &mut Kernel, at: Nanos, index: usize) {
    kernel.at(at, Event::Fault { what: FaultEvent::Due, index: index as u32, node: NO_NODE });
}

fn node_matches(cluster: &Cluster, choice: &NodeChoice, node: NodeId) -> bool {
    let it = cluster.nodes.get(node);
    it.present
        && (choice.names.is_empty() || choice.names.contains(&node))
        && choice.zone.is_none_or(|zone| it.zone == Some(zone))
        && choice.labels.iter().all(|(key, value)| cluster.nodes.label(node, key) == Some(value))
}

fn has_labels(cluster: &Cluster, choice: &PodChoice, pod: PodId) -> bool {
    let labels = &cluster.pods.spec(pod).labels;
    choice.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
}

impl Simulation {
    /// A fault begins, goes on or ends.
    pub(in super::super) fn on_fault(&mut self, what: FaultEvent, index: u32, node: NodeId) {
        match what {
            FaultEvent::Due => self.on_fault_due(index as usize),
            FaultEvent::Over => self.end_server_fault(index),
            FaultEvent::NodeBack => self.on_machine_back(index as usize, node),
            FaultEvent::NodeAgain => self.on_machine_again(index as usize, node),
            FaultEvent::NodeReports => self.on_node_reports(node),
            FaultEvent::NodeJoins => {
                let cloud = self.cloud();
                self.register_node(node, cloud);
            }
            FaultEvent::LeaseLost => self.on_lease_lost(node),
            FaultEvent::Successor if node == NO_NODE => self.list_again(),
            FaultEvent::Successor => self.on_successor(index, node),
        }
    }

    fn on_fault_due(&mut self, index: usize) {
        let now = self.kernel.now();
        let Some(changes) = self.changes.as_mut() else { return };
        let faults = &mut changes.faults;
        if faults.is_of_each_pod(index) {
            return self.on_moment_of_pods(index);
        }
        faults.sources[index].times += 1;
        match faults.plan[index].times {
            FaultTimes::Once(_) => faults.scripted_to_come -= 1,
            FaultTimes::Random { .. } => faults.set_next(&mut self.kernel, &self.cluster, index, now),
        }
        let each = matches!(faults.plan[index].times, FaultTimes::Random { each: true, .. });
        let plan = faults.plan[index].clone();
        match plan.kind {
            FaultKind::Machines { nodes, trouble, lasts, flap } => {
                let nodes = self.choose_nodes(index, &nodes, each);
                if let Some(occurrence) = self.occur(index, &nodes) {
                    let times = flap.map_or(0, |(_, times)| times.saturating_sub(1));
                    self.occurrence(occurrence).again = vec![times; nodes.len()];
                    for node in nodes {
                        self.fail_machine(occurrence, node, trouble, lasts);
                        if lasts.is_none() {
                            self.abandon_daemons(node);
                        }
                    }
                }
            }
            FaultKind::Remove { nodes } => {
                let nodes = self.choose_nodes(index, &nodes, each);
                if let Some(occurrence) = self.occur(index, &nodes) {
                    for node in nodes {
                        self.fail_machine(occurrence, node, Trouble::Down, None);
                        let cloud = self.cloud();
                        self.control_plane.submit(&mut self.kernel, cloud, Verb::DeleteNode, 0, node);
                    }
                }
            }
            FaultKind::Drain { nodes, at_once, options, .. } => {
                self.begin_drain(index, &nodes, at_once, options);
            }
            FaultKind::Add { template, zones, count, prefix } => self.join(template, &zones, count, &prefix),
            FaultKind::Pods(choice) => self.fail_pods(index, &choice),
            FaultKind::ApiServerDown { lasts, leader_election } => {
                self.begin_server_fault(index, ServerFault::ServerDown, lasts, leader_election);
            }
            FaultKind::EtcdDown { lasts, leader_election } => {
                self.begin_server_fault(index, ServerFault::EtcdDown, lasts, leader_election);
            }
            FaultKind::ApiServerSlow { factor_ppm, lasts } => {
                self.begin_server_fault(index, ServerFault::ServerSlow(factor_ppm), lasts, false);
            }
            FaultKind::EtcdSlow { factor_ppm, lasts } => {
                self.begin_server_fault(index, ServerFault::EtcdSlow(factor_ppm), lasts, false);
            }
            FaultKind::Replace { scheduler, lasts, .. } => {
                let component = if scheduler { Component::Scheduler } else { Component::Manager };
                self.replace_component(index, component, lasts);
            }
            FaultKind::WatchBreak { watchers, lasts } => self.break_watches(index, &watchers, lasts),
            FaultKind::Rollout { to } => self.roll_out(&to),
            FaultKind::Scale { to } => self.scale(&to),
        }
    }

    pub(in super::super) fn cloud(&self) -> ClientId {
        self.changes.as_ref().map_or(0, |changes| changes.faults.cloud)
    }

    fn occurrence(&mut self, at: usize) -> &mut Occurrence {
        let changes = self.changes.as_mut().expect("a fault occurs in a run that has some");
        &mut changes.faults.occurrences[at]
    }

    /// A new occurrence, if it hits anything.
    fn occur(&mut self, fault: usize, nodes: &[NodeId]) -> Option<usize> {
        if nodes.is_empty() {
            return None;
        }
        self.open_case(fault, nodes.to_vec(), false)
    }

    pub(super) fn open_case(&mut self, fault: usize, nodes: Vec<NodeId>, lasts: bool) -> Option<usize> {
        let now = self.kernel.now();
        let changes = self.changes.as_mut()?;
        let case = changes.recovery.begin(now, lasts);
        let faults = &mut changes.faults;
        let at = faults.occurrences.len();
        faults.latest.extend(nodes.iter().map(|node| (*node, at as u32)));
        let (again, noticed_ns) = (Vec::new(), None);
        faults.occurrences.push(Occurrence { fault: fault as u32, case, nodes, again, noticed_ns });
        Some(at)
    }

    fn choose_nodes(&mut self, fault: usize, choice: &NodeChoice, each: bool) -> Vec<NodeId> {
        let count = if each { Some(1) } else { choice.count };
        self.choose_among(fault, choice, count, |it, node| it.agents.trouble(node).is_none())
    }

    /// Nodes for a drain: machines in trouble, too, but none that is cordoned.
    pub(super) fn choose_nodes_to_drain(&mut self, fault: usize, choice: &NodeChoice) -> Vec<NodeId> {
        self.choose_among(fault, choice, choice.count, Self::is_drainable)
    }

    fn choose_among(
        &mut self,
        fault: usize,
        choice: &NodeChoice,
        count: Option<u64>,
        fits: impl Fn(&Self, NodeId) -> bool,
    ) -> Vec<NodeId> {
        let candidates: Vec<NodeId> = (0..self.cluster.nodes.len() as NodeId)
            .filter(|node| node_matches(&self.cluster, choice, *node) && fits(self, *node))
            .collect();
        let Some(changes) = self.changes.as_mut() else { return Vec::new() };
        choose(&candidates, count, choice.share_ppm, &mut changes.faults.sources[fault].rng)
    }

    /// A machine fails; it may come back.
    fn fail_machine(
        &mut self,
        occurrence: usize,
        node: NodeId,
        trouble: Trouble,
        lasts: Option<TimeDistribution>,
    ) {
        let now = self.kernel.now();
        self.agents.fail(node, trouble, now);
        let mut pods = self.control_plane.store().pods_on(node).to_vec();
        pods.sort_unstable();
        let Some(changes) = self.changes.as_mut() else { return };
        let Occurrence { fault, case, .. } = changes.faults.occurrences[occurrence];
        for pod in pods {
            changes.recovery.lost(pod, now, Some(case));
        }
        if let Some(lasts) = lasts {
            let at = now + draw(lasts, &mut changes.faults.sources[fault as usize].rng);
            let event = Event::Fault { what: FaultEvent::NodeBack, index: occurrence as u32, node };
            self.kernel.at(at, event);
        }
        self.control(|controllers, env| controllers.node_lifecycle.watch(env, node));
    }

    /// On a machine that stays and never comes back, pods of DaemonSets tolerate that for good, and no others come in their place.
    fn abandon_daemons(&mut self, node: NodeId) {
        let store = self.control_plane.store();
        let Some(changes) = self.changes.as_mut() else { return };
        let Some(sets) = &changes.controllers.daemon_sets else { return };
        for pod in store.pods_on(node).iter().filter(|pod| sets.index_of(store.owner(**pod)).is_some()) {
            changes.recovery.abandoned(*pod);
        }
    }

    /// A machine is back.
    fn on_machine_back(&mut self, occurrence: usize, node: NodeId) {
        let now = self.kernel.now();
        if !self.cluster.nodes.get(node).present {
            return;
        }
        let Some(trouble) = self.agents.mend(&mut self.kernel, &self.control_plane, node) else { return };
        let mut reports_ns = now;
        if trouble == Trouble::CutOff {
            // The pods on it have never stopped.
            let store = self.control_plane.store();
            let mut pods: Vec<PodId> =
                store.pods_on(node).iter().copied().filter(|pod| store.is_active(*pod)).collect();
            pods.sort_unstable();
            if let Some(changes) = self.changes.as_mut() {
                for pod in pods {
                    changes.recovery.serves(pod);
                    if self.cluster.pods.timeline(pod).running_ns <= now {
                        changes.recovery.runs(pod);
                    }
                }
            }
            let last = self.agents.last_renewal_ns(node, now);
            reports_ns = last.map_or(now, |last| last + LEASE_RENEW_INTERVAL_NS);
        } else if let Some(changes) = self.changes.as_mut() {
            for pod in self.control_plane.store().pods_on(node) {
                if self.control_plane.store().is_active(*pod) {
                    changes.recovery.serves(*pod);
                }
            }
        }
        let event = Event::Fault { what: FaultEvent::NodeReports, index: 0, node };
        self.kernel.at(reports_ns.max(now), event);
        self.control(|controllers, env| controllers.node_lifecycle.watch(env, node));
        self.flap(occurrence, node);
    }

    /// A machine that flaps fails again after a pause.
    fn flap(&mut self, occurrence: usize, node: NodeId) {
        let now = self.kernel.now();
        let Some(changes) = self.changes.as_mut() else { return };
        let faults = &mut changes.faults;
        let Some(it) = faults.occurrences.get_mut(occurrence) else { return };
        let FaultKind::Machines { flap: Some((pause, _)), .. } = &faults.plan[it.fault as usize].kind else {
            return;
        };
        let Some(at) = it.nodes.iter().position(|n| *n == node) else { return };
        if it.again.get(at).copied().unwrap_or(0) == 0 {
            return;
        }
        it.again[at] -= 1;
        let pause_ns = draw(*pause, &mut faults.sources[it.fault as usize].rng);
        let event = Event::Fault { what: FaultEvent::NodeAgain, index: occurrence as u32, node };
        self.kernel.at(now + pause_ns, event);
    }

    fn on_machine_again(&mut self, occurrence: usize, node: NodeId) {
        if !self.cluster.nodes.get(node).present || self.agents.trouble(node).is_some() {
            return;
        }
        let fault = self.occurrence(occurrence).fault as usize;
        let Some(changes) = self.changes.as_ref() else { return };
        let FaultKind::Machines { trouble, lasts, .. } = &changes.faults.plan[fault].kind else { return };
        let (trouble, lasts) = (*trouble, *lasts);
        self.fail_machine(occurrence, node, trouble, lasts);
    }

    /// A kubelet reports its node as ready, if it is stored otherwise; pods that are stored as not ready, too.
    fn on_node_reports(&mut self, node: NodeId) {
        if self.agents.trouble(node).is_some() || !self.cluster.nodes.get(node).present {
            return;
        }
        let client = self.agents.client().unwrap_or(self.cloud());
        let store = self.control_plane.store();
        if store.node(node).ready != Ready::True {
            let patch = NodePatch::default().ready(Ready::True).encode();
            self.control_plane.submit(&mut self.kernel, client, Verb::PatchNode, patch, node);
        }
        let store = self.control_plane.store();
        let mut pods: Vec<PodId> = store
            .pods_on(node)
            .iter()
            .copied()
            .filter(|pod| store.is_active(*pod) && !store.is_ready(*pod))
            .filter(|pod| self.agents.restarted_ns(*pod).is_none())
            .filter(|pod| self.cluster.pods.timeline(*pod).running_ns != Nanos::MAX)
            .collect();
        pods.sort_unstable();
        for pod in pods {
            self.agents.patch(&mut self.kernel, &mut self.control_plane, pod, Verb::PatchRunning);
        }
    }

    /// New nodes register.
    fn join(&mut self, template: u32, zones: &[u32], count: u32, prefix: &str) {
        for _ in 0..count {
            self.add_node(template, zones, prefix);
        }
    }

    /// A new node's kubelet registers it.
    fn add_node(&mut self, template: u32, zones: &[u32], prefix: &str) {
        let Some(changes) = self.changes.as_mut() else { return };
        let nth = changes.faults.joined;
        changes.faults.joined += 1;
        let zone = (!zones.is_empty()).then(|| zones[nth as usize % zones.len()]);
        let node = self.cluster.nodes.add(format!("{prefix}-{nth:05}"), template, zone);
        self.cluster.nodes.set_present(node, false);
        self.control_plane.store_mut().add_node(template);
        self.agents.add_machine();
        let cloud = self.cloud();
        self.register_node(node, cloud);
    }

    /// A node is stored: its kubelet reports it as ready.
    pub(super) fn on_node_created(&mut self, node: NodeId) {
        let event = Event::Fault { what: FaultEvent::NodeReports, index: 0, node };
        self.kernel.at(self.kernel.now(), event);
    }

    /// Pods that can fail: they are bound, on a machine in order, and nobody deletes them.
    fn pods_that_can_fail(&self, choice: &PodChoice) -> impl Iterator<Item = PodId> {
        let store = self.control_plane.store();
        (0..self.cluster.pods.len() as PodId).filter(move |pod| {
            self.cluster.pods.node(*pod) != NO_NODE
                && has_labels(&self.cluster, choice, *pod)
                && !self.cluster.pods.is_placeholder(*pod)
                && store.is_active(*pod)
                && self.agents.trouble(self.cluster.pods.node(*pod)).is_none()
        })
    }

    /// A moment at which one of the pods that fail one by one may do so.
    fn on_moment_of_pods(&mut self, index: usize) {
        let now = self.kernel.now();
        let Some(changes) = self.changes.as_mut() else { return };
        let faults = &mut changes.faults;
        let clock = &faults.sources[index].clock;
        if clock.next_ns != Some(now) {
            return;
        }
        let bound = clock.bound;
        let nth = faults.sources[index].rng.below(bound) as usize;
        let FaultKind::Pods(choice) = &faults.plan[index].kind else { return };
        let choice = choice.clone();
        let hit = self.pods_that_can_fail(&choice).nth(nth);
        if let Some(changes) = self.changes.as_mut() {
            changes.faults.sources[index].times += u64::from(hit.is_some());
            changes.faults.draw_moment(&mut self.kernel, index);
        }
        if let Some(pod) = hit {
            self.fail(index, vec![pod]);
        }
    }

    /// Some pods fail.
    fn fail_pods(&mut self, fault: usize, choice: &PodChoice) {
        let candidates: Vec<PodId> = self.pods_that_can_fail(choice).collect();
        let Some(changes) = self.changes.as_mut() else { return };
        let rng = &mut changes.faults.sources[fault].rng;
        let pods = choose(&candidates, choice.count, choice.share_ppm, rng);
        self.fail(fault, pods);
    }

    fn fail(&mut self, fault: usize, pods: Vec<PodId>) {
        if pods.is_empty() {
            return;
        }
        let Some(occurrence) = self.open_case(fault, Vec::new(), false) else { return };
        let case = self.occurrence(occurrence).case;
        let now = self.kernel.now();
        let client = self.agents.client().is_none().then(|| self.cloud());
        for pod in pods {
            if let Some(changes) = self.changes.as_mut() {
                changes.recovery.lost(pod, now, Some(case));
            }
            match client {
                Some(cloud) => {
                    self.control_plane.submit(&mut self.kernel, cloud, Verb::PatchFailed, pod, NO_NODE);
                }
                None => self.agents.patch(&mut self.kernel, &mut self.control_plane, pod, Verb::PatchFailed),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_keep_the_order_and_are_as_many_as_asked_for() {
        let mut rng = Streams::new(7).stream("t");
        let all: Vec<u32> = (0..10).collect();
        assert_eq!(choose(&all, None, None, &mut rng), all);
        assert_eq!(choose(&all, Some(20), None, &mut rng), all);
        let some = choose(&all, None, Some(250_000), &mut rng);
        assert_eq!(some.len(), 3, "a quarter, rounded up");
        assert!(some.is_sorted());
        assert!(choose(&all[..0], Some(3), None, &mut rng).is_empty());
    }
}
