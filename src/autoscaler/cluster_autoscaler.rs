//! cluster-autoscaler: node groups grow when pods find no node, and shrink when nodes have been unneeded for long.
//!
//! **The loop** goes round each `--scan-interval` (10 s); with `--frequent-loops-enabled`, on since 1.32, also at once after a round that changed something, and
//! when a pod becomes unschedulable. Each round ends with a write of the status ConfigMap through the autoscaler's client (5 requests a second, burst 10), for
//! which it waits; rounds take no time besides.
//!
//! **Scale-up** (a round):
//! 1. unschedulable pods, and pods on nodes that are being drained, that fit on nodes that are there or under way are left out, by priority;
//! 2. pods younger than `--new-pod-scale-up-delay` are left out; if all others are younger than 2 s it waits for the next round;
//! 3. for each group below its maximum and not backed off: pods that fit on an empty node of it, and how many nodes they need ([`estimator`](super::estimator));
//! 4. an [expander](super::expander) chooses one group, which is made larger; the others have their turn in the next round.
//!
//! A machine that is not there `--max-node-provision-time` after it was asked for is given up, unless its group is at its minimum. A group whose last
//! scale-up is as old and has not delivered is backed off for 5 minutes, doubled up to 30.
//!
//! **Scale-down** ([`planner`](super::planner)) follows in the same round.
//!
//! Sources: kubernetes/autoscaler at 1.36.1: `core/static_autoscaler.go`, `core/scaleup/orchestrator/orchestrator.go`, `core/podlistprocessor/*.go`,
//! `clusterstate/clusterstate.go`, `loop/{trigger,run}.go`, `utils/backoff`.
//!
//! Left out: `--balance-similar-node-groups`, node autoprovisioning, ProvisioningRequests, capacity buffers, limits of cores and memory
//! (`--max-nodes-total` is there), GPUs' own rules, DaemonSets' overhead on new nodes, times in whole seconds, nominated nodes, parallel and salvo scale-up,
//! health of the whole cluster (`--max-total-unready-percentage`), the cloud's own errors, the time that a round takes.
//!
//! Cost: O(nodes + pods) a round, O(groups x (pods x new nodes)) for scale-up.
use std::collections::BTreeMap;

use super::config::ClusterAutoscalerConfig;
use super::estimator::{Alike, estimate};
use super::expander::{self, Offer};
use super::fleet::{Fleet, Phase};
use super::planner::Planner;
use super::removal::{Manners, Outcome, Removals};
use super::snapshot::{Pass, Snapshot};
use super::{Action, Autoscaler, Decisions, Env, Pending};
use crate::cluster::{NO_NODE, NodeId, PodId, SpecId};
use crate::control_plane::controllers::Answer;
use crate::control_plane::kernel::{AutoscalerEvent, Event};
use crate::control_plane::store::{NO_OWNER, Ready};
use crate::control_plane::{ClientId, Verb};
use crate::engine::{Nanos, Rng, SECOND};

/// `unschedulablePodTimeBuffer`.
const POD_BUFFER_NS: Nanos = 2 * SECOND;

/// A group that did not deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Backoff {
    span_ns: Nanos,
    until_ns: Nanos,
    failed_ns: Nanos,
}

#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Group {
    /// When its scale-ups that are under way are to have delivered; each one sets it anew.
    expected_ns: Option<Nanos>,
    backoff: Option<Backoff>,
}

/// cluster-autoscaler.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct ClusterAutoscaler {
    #[serde(skip)]
    config: ClusterAutoscalerConfig,
    client: ClientId,
    fleet: Fleet,
    removals: Removals,
    planner: Planner,
    groups: Vec<Group>,
    rng: Rng,
    /// Number of the round that is awaited.
    nth: u32,
    /// A round is over when its status is written.
    writes_status: bool,
    /// A pod has become unschedulable since the round began.
    triggered: bool,
    /// The round has changed something.
    is_productive: bool,
    last_scale_up_ns: Option<Nanos>,
    last_delete_ns: Option<Nanos>,
    decisions: Decisions,
}

impl ClusterAutoscaler {
    /// Builds one.
    #[must_use]
    pub fn new(config: ClusterAutoscalerConfig, fleet: Fleet, client: ClientId, rng: Rng) -> Self {
        let down = &config.scale_down;
        let manners =
            Manners::of_cluster_autoscaler(down.delay_after_taint_ns, down.eviction_ns, down.graceful_ns);
        Self {
            client,
            fleet,
            removals: Removals::new(client, manners),
            planner: Planner::new(&config),
            groups: vec![Group::default(); config.groups.len()],
            config,
            rng,
            nth: 0,
            writes_status: false,
            triggered: false,
            is_productive: false,
            last_scale_up_ns: None,
            last_delete_ns: None,
            decisions: Decisions::default(),
        }
    }

    /// Takes over what a checkpoint leaves to the inputs.
    pub fn keep_inputs_of(&mut self, built: Self) {
        self.config = built.config;
        self.fleet.keep_inputs_of(built.fleet);
        self.removals.keep_inputs_of(built.removals);
    }

    /// The next round comes at this time, if none comes before.
    fn next_round_at(&mut self, env: &mut Env<'_>, at: Nanos) {
        self.nth += 1;
        let what = AutoscalerEvent::Round { nth: self.nth };
        env.kernel.at(at, Event::Autoscaler { what });
    }

    /// Goes round at once, unless it is at it.
    fn trigger(&mut self, env: &mut Env<'_>) {
        if !self.config.frequent_loops {
            return;
        }
        let is_due = std::mem::replace(&mut self.triggered, true);
        if !self.writes_status && !is_due {
            let now = env.kernel.now();
            self.next_round_at(env, now);
        }
    }

    fn write_status(&mut self, env: &mut Env<'_>) {
        env.control_plane.submit(env.kernel, self.client, Verb::PutObject, PodId::MAX, NO_NODE);
    }

    /// The status of a round is written: it waits for the next.
    fn wait(&mut self, env: &mut Env<'_>) {
        self.writes_status = false;
        let now = env.kernel.now();
        let at_once = self.config.frequent_loops && (self.is_productive || self.triggered);
        let at = if at_once { now } else { now + self.config.scan_interval_ns };
        self.triggered = at_once;
        self.next_round_at(env, at);
    }

    fn round(&mut self, env: &mut Env<'_>) {
        let now = env.kernel.now();
        self.writes_status = true;
        self.triggered = false;
        self.is_productive = false;
        self.decisions.rounds += 1;
        self.check_requests(now);
        self.give_up_late(now);
        if self.fleet.alive().next().is_some() || !env.pending.is_empty() {
            let mut snapshot = self.snapshot(env);
            let all_new = self.scale_up(env, &mut snapshot);
            if self.config.scale_down.enabled {
                self.scale_down(env, &mut snapshot, all_new);
            }
        }
        self.write_status(env);
    }

    /// Groups that did not deliver in time are backed off (`updateScaleRequests`).
    fn check_requests(&mut self, now: Nanos) {
        for (at, group) in self.groups.iter_mut().enumerate() {
            if group.backoff.is_some_and(|b| b.failed_ns + self.config.backoff_reset_ns < now) {
                group.backoff = None;
            }
            let Some(expected_ns) = group.expected_ns else { continue };
            if self.fleet.upcoming(at) == 0 {
                group.expected_ns = None;
            } else if expected_ns < now {
                group.expected_ns = None;
                let span_ns = match group.backoff {
                    None => self.config.backoff_ns,
                    Some(before) if before.until_ns < now => {
                        (2 * before.span_ns).min(self.config.max_backoff_ns)
                    }
                    Some(before) => before.span_ns,
                };
                group.backoff = Some(Backoff { span_ns, until_ns: now + span_ns, failed_ns: now });
            }
        }
    }

    /// Machines of a group that are not there though they have had their time.
    fn late(&self, group: usize, now: Nanos) -> Vec<u32> {
        let is_late = |requested_ns: Nanos| requested_ns.saturating_add(self.config.max_provision_ns) < now;
        let machines = self.fleet.alive().filter(|(_, m)| {
            m.kind as usize == group && m.phase == Phase::Starting && is_late(m.requested_ns)
        });
        machines.map(|(machine, _)| machine).collect()
    }

    /// Gives late machines up, as long as their group does not become smaller than its minimum (`removeOldUnregisteredNodes`).
    fn give_up_late(&mut self, now: Nanos) {
        for at in 0..self.groups.len() {
            let possible = self.fleet.size(at).saturating_sub(self.config.groups[at].min);
            for machine in self.late(at, now).into_iter().take(possible as usize) {
                self.fleet.end(machine, now);
                self.decisions.timed_out += 1;
            }
        }
    }

    fn is_backed_off(&self, group: usize, now: Nanos) -> bool {
        self.groups[group].backoff.is_some_and(|backoff| backoff.until_ns >= now)
    }

    /// The cluster: nodes that are ready or have been, and the pods that count.
    fn snapshot(&self, env: &Env<'_>) -> Snapshot {
        let cutoff = self.config.expendable_cutoff;
        let starting =
            |node: NodeId| self.fleet.of_node(node).is_some_and(|(_, m)| m.phase == Phase::Registered);
        Snapshot::of(
            env.cluster,
            env.control_plane.store(),
            |node| !starting(node),
            |pod| env.cluster.pods.spec(pod).priority >= cutoff,
        )
    }

    /// Scales up if need be; says whether all pods that need nodes are very new.
    fn scale_up(&mut self, env: &mut Env<'_>, snapshot: &mut Snapshot) -> bool {
        let now = env.kernel.now();
        let real = snapshot.len();
        // Machines under way stand in the snapshot as if they were there.
        for (kind, group) in self.groups.iter().enumerate() {
            if group.expected_ns.is_none() || self.is_backed_off(kind, now) {
                continue;
            }
            let machine = self.fleet.kinds()[kind].clone();
            for _ in self.late(kind, now).len()..self.fleet.upcoming(kind) as usize {
                snapshot.imagine(machine.template, machine.zone);
            }
        }
        let help = self.pods_to_help(env, snapshot, real);
        let created = |pod: PodId| env.cluster.pods.timeline(pod).created_ns;
        let help: Vec<(PodId, SpecId)> = help
            .into_iter()
            .filter(|(pod, _)| created(*pod).saturating_add(self.config.new_pod_delay_ns) < now)
            .collect();
        if help.is_empty() {
            return false;
        }
        let most = self.config.max_nodes_total as usize;
        if most > 0 && self.ready_nodes(env) >= most {
            return false;
        }
        let oldest_ns = help.iter().map(|(pod, _)| created(*pod)).min().unwrap_or(0);
        if env.pending.is_by_condition() && oldest_ns.saturating_add(POD_BUFFER_NS) > now {
            return true;
        }
        self.grow(env, snapshot, &help);
        false
    }

    fn ready_nodes(&self, env: &Env<'_>) -> usize {
        let nodes = 0..env.cluster.nodes.len() as NodeId;
        let store = env.control_plane.store();
        nodes.filter(|n| env.cluster.nodes.get(*n).present && store.node(*n).ready == Ready::True).count()
    }

    /// Pods that fit on no node that is there or under way.
    fn pods_to_help(&self, env: &mut Env<'_>, snapshot: &mut Snapshot, real: NodeId) -> Vec<(PodId, SpecId)> {
        let pods = &env.cluster.pods;
        let store = env.control_plane.store();
        let mut wanted: Vec<PodId> = env.pending.pods().filter(|pod| store.is_active(*pod)).collect();
        // Pods on nodes that are being drained will come back as others.
        for (node, _) in self.removals.nodes() {
            let leaving = store.pods_on(node).iter().copied();
            wanted.extend(leaving.filter(|pod| store.is_active(*pod) && store.owner(*pod) != NO_OWNER));
        }
        wanted.retain(|pod| pods.spec(*pod).priority >= self.config.expendable_cutoff);
        wanted.sort_by_key(|pod| (std::cmp::Reverse(pods.spec(*pod).priority), *pod));
        let mut help = Vec::new();
        let mut waits = Vec::new();
        let mut pass = Pass::default();
        for pod in wanted {
            let spec = pods.spec_id(pod);
            match snapshot.place(&mut pass, pod, spec, |_| true) {
                Some(node) if node < real => {}
                Some(_) => waits.push(pod),
                None => {
                    waits.push(pod);
                    help.push((pod, spec));
                }
            }
        }
        for pod in waits {
            env.pending.needs_node(pod);
        }
        help
    }

    /// Makes the group larger that the expander chooses.
    fn grow(&mut self, env: &mut Env<'_>, snapshot: &mut Snapshot, help: &[(PodId, SpecId)]) {
        let now = env.kernel.now();
        let mut by_spec: BTreeMap<SpecId, Vec<PodId>> = BTreeMap::new();
        for (pod, spec) in help {
            by_spec.entry(*spec).or_default().push(*pod);
        }
        let mut offers = Vec::new();
        let most = self.config.max_nodes_total;
        let room = if most == 0 { u32::MAX } else { most.saturating_sub(snapshot.nodes() as u32) };
        for at in 0..self.groups.len() {
            let (size, max) = (self.fleet.size(at), self.config.groups[at].max);
            if size >= max || self.is_backed_off(at, now) {
                continue;
            }
            let machine = self.fleet.kinds()[at].clone();
            let first = snapshot.imagine(machine.template, machine.zone);
            let alike: Vec<Alike> = by_spec
                .iter()
                .filter(|(spec, _)| snapshot.fits(**spec, first))
                .map(|(spec, pods)| Alike { spec: *spec, pods: pods.clone() })
                .collect();
            snapshot.forget_from(first);
            let limit = (max - size).min(self.config.max_nodes_per_scale_up).min(room);
            let estimate = estimate(snapshot, &alike, machine.template, machine.zone, limit);
            if estimate.nodes == 0 || estimate.pods.is_empty() {
                continue;
            }
            let requests = estimate.pods.iter().map(|(_, spec)| snapshot.requests(*spec));
            let allocatable = &snapshot.cluster().nodes.template_by_id(machine.template).allocatable;
            offers.push(Offer {
                group: at,
                nodes: estimate.nodes,
                pods: estimate.pods.len() as u32,
                requested: requests.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1)),
                node: (allocatable.cpu_millicores, allocatable.memory_bytes),
                priority: self.config.groups[at].priority,
            });
        }
        let Some(offer) = expander::choose(&self.config.expanders, offers, &mut self.rng) else { return };
        for _ in 0..offer.nodes {
            self.fleet.request(env, offer.group as u32);
        }
        let size = self.fleet.size(offer.group);
        assert!(size <= self.config.groups[offer.group].max, "a node group is larger than its maximum");
        self.groups[offer.group].expected_ns = Some(now.saturating_add(self.config.max_provision_ns));
        self.last_scale_up_ns = Some(now);
        self.is_productive = true;
        self.decisions.scale_ups += 1;
    }

    fn scale_down(&mut self, env: &mut Env<'_>, snapshot: &mut Snapshot, all_new: bool) {
        let now = env.kernel.now();
        self.planner.update(env, &self.config, &self.fleet, &self.removals, snapshot);
        let down = &self.config.scale_down;
        let cools = |at: Option<Nanos>, span_ns: Nanos| at.is_some_and(|at| at + span_ns > now);
        let in_cooldown = all_new
            || cools(self.last_scale_up_ns, down.after_add_ns)
            || cools(self.last_delete_ns, down.after_delete_ns);
        if !in_cooldown {
            let nodes = self.planner.nodes_to_delete(env, &self.config, &self.fleet, &self.removals);
            for (node, empty) in &nodes {
                self.removals.begin(env, *node, *empty, true);
            }
            if !nodes.is_empty() {
                self.last_delete_ns = Some(now);
                self.is_productive = true;
            }
        }
        self.planner.soft_taints(env, &self.config, self.client, &self.removals);
    }

    /// What became of nodes on their way out.
    fn settle(&mut self, env: &mut Env<'_>) {
        let now = env.kernel.now();
        while let Some(outcome) = self.removals.next_outcome() {
            let Outcome::Drained(node, empty) = outcome else { continue };
            let Some((machine, it)) = self.fleet.of_node(node) else { continue };
            let group = it.kind as usize;
            if self.fleet.size(group) <= self.config.groups[group].min {
                // Others have gone meanwhile: the group refuses to become smaller.
                self.removals.take_back(env, node);
                continue;
            }
            self.fleet.end(machine, now);
            self.planner.forget(node);
            *if empty { &mut self.decisions.empty } else { &mut self.decisions.drained } += 1;
            env.actions.push(Action::End(node));
        }
    }
}

impl Autoscaler for ClusterAutoscaler {
    fn begin(&mut self, env: &mut Env<'_>) {
        let at = env.kernel.now();
        self.next_round_at(env, at);
    }

    fn on_unschedulable(&mut self, env: &mut Env<'_>, _pod: PodId) {
        self.trigger(env);
    }

    fn on_node_ready(&mut self, env: &mut Env<'_>, node: NodeId) {
        self.fleet.ready(node, env.kernel.now());
    }

    fn on_node_gone(&mut self, env: &mut Env<'_>, node: NodeId) {
        if let Some((machine, _)) = self.fleet.of_node(node) {
            self.fleet.end(machine, env.kernel.now());
        }
        self.removals.forget(node);
        self.planner.forget(node);
    }

    fn on_timer(&mut self, env: &mut Env<'_>, what: AutoscalerEvent) {
        match what {
            AutoscalerEvent::Round { nth } if nth == self.nth && !self.writes_status => self.round(env),
            AutoscalerEvent::Registers { machine } => self.fleet.start(env, machine),
            AutoscalerEvent::Removal { node } => {
                self.removals.on_timer(env, node);
                self.settle(env);
            }
            AutoscalerEvent::EvictAgain { pod } => self.removals.on_evict_again(env, pod),
            AutoscalerEvent::Round { .. }
            | AutoscalerEvent::Batch { .. }
            | AutoscalerEvent::Validate { .. } => {}
        }
    }

    fn on_answered(&mut self, env: &mut Env<'_>, answer: Answer) {
        if answer.verb == Verb::PutObject {
            // If it got lost, the round is over all the same.
            self.wait(env);
        } else if self.removals.on_answered(env, answer) {
            self.settle(env);
        }
    }

    fn is_moving(&self, pending: &Pending, now: Nanos) -> bool {
        let backed_off = (0..self.groups.len()).any(|group| self.is_backed_off(group, now));
        let delay_ns = self.config.new_pod_delay_ns.saturating_add(2 * self.config.scan_interval_ns);
        let waits =
            backed_off || self.planner.has_unneeded() || pending.latest_ns().saturating_add(delay_ns) > now;
        self.fleet.is_starting() || !self.removals.is_empty() || waits && !pending.is_empty()
    }

    fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    fn removals(&self) -> &Removals {
        &self.removals
    }

    fn decisions(&self) -> Decisions {
        self.decisions
    }
}
