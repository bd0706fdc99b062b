//! kube-scheduler: one pod at a time, from the queue through filters and scores to a binding of its own.
//!
//! A cycle takes the first pod of the queue, looks for nodes on which it fits, scores them, assumes the pod on the
//! best one and leaves the binding to a goroutine; then the next cycle begins. The decision is made on the state at
//! the begin of the cycle (the real one takes a snapshot) and takes effect when the cycle's CPU work is done. A cycle
//! is one piece of work on one thread and one that `parallelism` threads share (filters, scores and the walks of
//! plugins over all nodes).
//!
//! | module                 | models                                                                         |
//! |------------------------|--------------------------------------------------------------------------------|
//! | `queue`                | activeQ, backoffQ, unschedulable pods                                          |
//! | `hints`                | which events move an unschedulable pod                                         |
//! | `sampling`             | how many nodes are visited and in which order                                  |
//! | `cycle`                | filter, score, normalise, choose                                               |
//! | `node_resources`       | the cache of nodes; NodeResourcesFit, NodeResourcesBalancedAllocation          |
//! | `taint_toleration`     | TaintToleration, NodeUnschedulable                                             |
//! | `node_affinity`        | NodeAffinity                                                                   |
//! | `node_ports`           | NodePorts                                                                      |
//! | `inter_pod_affinity`   | InterPodAffinity                                                               |
//! | `pod_topology_spread`  | PodTopologySpread                                                              |
//! | `topology`             | counts of pods by zone, host or other label, for those two                     |
//! | `image_locality`       | ImageLocality                                                                  |
//! | `volumes`              | VolumeBinding, VolumeZone: where volumes are, and how long they take           |
//! | `preemption`           | DefaultPreemption: victims, nominations                                        |
//! | `budgets`              | PodDisruptionBudgets, as preemption reads them                                 |
//! | `batching`             | opportunistic batching                                                         |
//! | `api_calls`            | API calls that are waited for or not                                           |
//! | `profile`              | which plugins are on, their weights and arguments                              |
//! | `classes`, `scan`      | our own speed: a byte a node for pods of one kind, summed up by blocks of 128  |
//! | `spread_cells`         | our own speed: soft spread over these bytes                                    |
//!
//! After a rejection the goroutine that schedules patches the pod's status and waits for the answer before the next
//! cycle (`handleSchedulingFailure`), unless `SchedulerAsyncAPICalls` is on; a failed binding is reported from its own.
//!
//! Versions differ by the cost profile's parameters `pop_from_backoff`, `queueing_hints`, `opportunistic_batching`,
//! `async_api_calls`, `prefilter_node_names` and `unschedulable_timeout_s`; a scenario's feature gates win over them.
//!
//! Several profiles share the queue, the cache and the place where the last search stopped; each has its own plugins,
//! arguments and percentage of nodes. A pod names its profile (`schedulerName`, `default-scheduler` if it says nothing); one whose profile is not there belongs to the
//! first.
//!
//! Left out: extenders, dynamic resources, permit plugins, groups of pods.
//!
//! Cost: see `cycle`; 20 bytes a pod.
mod api_calls;
mod batching;
mod budgets;
mod classes;
mod cycle;
mod hints;
pub(in crate::scheduler) mod image_locality;
mod inter_pod_affinity;
pub(in crate::scheduler) mod node_affinity;
pub(in crate::scheduler) mod node_ports;
pub(in crate::scheduler) mod node_resources;
mod pod_topology_spread;
mod preemption;
mod profile;
mod queue;
mod sampling;
mod scan;
mod spread_cells;
pub(in crate::scheduler) mod taint_toleration;
mod topology;
mod volumes;

use std::sync::{Arc, LazyLock};

use super::{
    Action, BindOutcome, Context, NodeChange, PendingReasons, QueueLengths, SchedulerModel, Settings,
};
use crate::cluster::{Cluster, NO_NODE, NodeId, NodeTemplate, PodId, PodSpec, SpecId};
use crate::cost::{Meter, OpId, ProfileError, picos_to_nanos};
use crate::engine::Nanos;
use crate::engine::codec::{self, CodecError};
use crate::engine::random::{FNV_OFFSET, fnv1a};

use api_calls::ApiCalls;
use batching::Batch;
use budgets::Budgets;
use classes::{Classes, Diagnosis};
use cycle::{Among, Candidate, Decision, Search};
use hints::{ClusterEvent, PluginSet};
use image_locality::KnownNodes;
use node_resources::{FitScore, NodeCache};
use preemption::{Attempt, Preemption};
use queue::{BACKOFF_WINDOW_NS, LEFTOVER_PERIOD_NS, Place, QueueRules, SchedulingQueue, View};
use sampling::NodeOrder;
use topology::Topology;
use volumes::Volumes;

pub use cycle::normalised;
pub use image_locality::normalised_name;
pub use pod_topology_spread::system_default_constraints;
pub use profile::{NamedProfile, Plugins, Profile, ResourceWeight, Weights};
pub use sampling::num_feasible_nodes_to_find;
pub(in crate::scheduler) use topology::Eligible;

const TAG_SERIAL: u64 = 0;
const TAG_PARALLEL: u64 = 1;
const TAG_BACKOFF: u64 = 2;
const TAG_LEFTOVER: u64 = 3;
/// The last gate of a pod is gone; the pod stands above the tag's low byte.
const TAG_UNGATED: u64 = 4;
/// A pod's volumes are there, or it has waited long enough for them; as above.
const TAG_VOLUMES: u64 = 5;
/// A stretch of asking unschedulable pods about events is over.
const TAG_ASKED: u64 = 6;
/// The longest such stretch: a goroutine lets others run after 10 ms (`forcePreemptNS` in `runtime/proc.go`).
const ASKING_STRETCH_NS: u64 = 10_000_000;

/// Reason shown for pods that no cycle has looked at yet.
const REASON_QUEUED: &str = "waiting in activeQ, not tried yet";
/// Reason shown for pods with scheduling gates.
const REASON_GATED: &str = "waiting for scheduling gates";
/// Reason shown for pods whose binding failed.
const REASON_BIND_FAILED: &str = "binding failed";
/// Reason shown when there are no nodes.
const REASON_NO_NODES: &str = "no nodes available to schedule pods";

/// Operations charged.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Operations {
    cycle: OpId,
    queue_pop: OpId,
    snapshot_node: OpId,
    node_total: OpId,
    filter_node: OpId,
    score_node: OpId,
    prefilter_pod_visited: OpId,
    affinity_pod_visited: OpId,
    term_pod_visited: OpId,
    spread_node_visited: OpId,
    spread_pod_visited: OpId,
    hint_pod: OpId,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct InCycle {
    pod: PodId,
    decision: Decision,
    parallel_ns: u64,
    /// What preemption came to, if the decision failed.
    preemption: Option<Attempt>,
}

/// A profile with what it has learnt.
#[derive(serde::Serialize, serde::Deserialize)]
struct ProfileState {
    /// `schedulerName`.
    name: String,
    profile: Arc<Profile>,
    plugins: Plugins,
    percentage: u32,
    classes: Classes,
    topology: Topology,
    batch: Batch,
}

impl ProfileState {
    fn new(named: NamedProfile, disabled: &[String], plain: bool) -> Self {
        let NamedProfile { scheduler_name, percentage_of_nodes_to_score, scoring_strategy, mut profile } =
            named;
        profile.plugins = profile.plugins.without(disabled);
        if !profile.plugins.spread && profile.plugins.weights.spread == 0 {
            profile.default_constraints.clear();
        }
        let how = FitScore { strategy: scoring_strategy, shape: profile.fit_shape.clone() };
        let profile = Arc::new(profile);
        Self {
            name: scheduler_name,
            plugins: profile.plugins,
            percentage: percentage_of_nodes_to_score,
            classes: Classes::new(Arc::clone(&profile), how, plain),
            topology: Topology::new(Arc::clone(&profile)),
            batch: Batch::default(),
            profile,
        }
    }

    /// No resource is ignored by the filter on resources: nothing can hold too much.
    fn regards_all(&self) -> bool {
        self.plugins.fit
            && self.profile.ignored_resources.is_empty()
            && self.profile.ignored_resource_groups.is_empty()
    }
}

/// The kube-scheduler model.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct KubeScheduler {
    profiles: Vec<ProfileState>,
    parallelism: u32,
    operations: Operations,
    queue: SchedulingQueue,
    nodes: NodeCache,
    known: KnownNodes,
    order: NodeOrder,
    preemption: Preemption,
    budgets: Budgets,
    volumes: Volumes,
    calls: ApiCalls,
    /// Opportunistic batching is on.
    batches: bool,
    /// PreFilter may name the nodes that are tried.
    names_nodes: bool,
    next_start: usize,
    /// Empty between cycles.
    #[serde(skip)]
    candidates: Vec<Candidate>,
    /// Empty between cycles.
    #[serde(skip)]
    scratch: spread_cells::Scratch,
    started: bool,
    cycle: Option<InCycle>,
    /// The pod whose status patch the scheduling goroutine waits for.
    patching: Option<PodId>,
    /// A node of the snapshot was changed by someone else during the cycle.
    disturbed: bool,
    /// By node: the last cycle whose snapshot it changed for.
    dirty: Vec<u32>,
    dirty_count: u64,
    cycles: u32,
    backoff_timer: bool,
    leftover_timer: bool,
    /// Pods whose gates will be removed.
    gates_to_come: u64,
    /// What is left of asking unschedulable pods about events, on the informer's one goroutine, and whether it is at it.
    asking_ns: u64,
    asks: bool,
    reasons: Vec<String>,
}

impl KubeScheduler {
    /// Builds it. The profile has the costs `cycle`, `queue_pop`, `snapshot_node`, `node_total`, `filter_node`,
    /// `score_node`, `prefilter_pod_visited`, `affinity_pod_visited`, `term_pod_visited`, `spread_node_visited` and
    /// `spread_pod_visited`, and may have `hint_pod`; the parameters `pop_from_backoff`, `queueing_hints`, `prefilter_node_names` (0 or 1)
    /// and `unschedulable_timeout_s` are those of the newest version if absent.
    ///
    /// # Errors
    /// The profile lacks an operation.
    pub fn build(settings: &Settings, meter: &mut Meter) -> Result<Box<dyn SchedulerModel>, ProfileError> {
        Ok(Box::new(Self::new(settings, meter)?))
    }

    /// The same, not in a box.
    ///
    /// # Errors
    /// See [`build`](Self::build).
    pub fn new(settings: &Settings, meter: &mut Meter) -> Result<Self, ProfileError> {
        let parameter = |name: &str, default: u64| meter.profile().parameter(name).unwrap_or(default);
        let gates = settings.feature_gates;
        let on = |name: &str, default: u64| meter.profile().parameter(name).unwrap_or(default) != 0;
        let (calls_default, batches_default) = (on("async_api_calls", 0), on("opportunistic_batching", 1));
        let names_nodes = on("prefilter_node_names", 1);
        let rules = QueueRules {
            initial_backoff_ns: settings.pod_initial_backoff_ns,
            max_backoff_ns: settings.pod_max_backoff_ns,
            pop_from_backoff: gates.pop_from_backoff.unwrap_or_else(|| parameter("pop_from_backoff", 1) != 0),
            hints: parameter("queueing_hints", 1) != 0,
            leftover_ns: parameter("unschedulable_timeout_s", 300).saturating_mul(1_000_000_000),
        };
        let operations = Operations {
            cycle: meter.operation("cycle")?,
            queue_pop: meter.operation("queue_pop")?,
            snapshot_node: meter.operation("snapshot_node")?,
            node_total: meter.operation("node_total")?,
            filter_node: meter.operation("filter_node")?,
            score_node: meter.operation("score_node")?,
            prefilter_pod_visited: meter.operation("prefilter_pod_visited")?,
            affinity_pod_visited: meter.operation("affinity_pod_visited")?,
            term_pod_visited: meter.operation("term_pod_visited")?,
            spread_node_visited: meter.operation("spread_node_visited")?,
            spread_pod_visited: meter.operation("spread_pod_visited")?,
            hint_pod: meter.operation_or_free("hint_pod"),
        };
        let first = NamedProfile {
            scheduler_name: settings.scheduler_name.clone(),
            percentage_of_nodes_to_score: settings.percentage_of_nodes_to_score,
            scoring_strategy: settings.scoring_strategy,
            profile: settings.kube.clone(),
        };
        let profiles = std::iter::once(first)
            .chain(settings.more_profiles.iter().cloned())
            .map(|named| ProfileState::new(named, &settings.disabled_plugins, settings.plain))
            .collect();
        Ok(Self {
            profiles,
            parallelism: settings.parallelism.max(1),
            operations,
            queue: SchedulingQueue::new(rules),
            nodes: NodeCache::default(),
            known: KnownNodes::default(),
            order: NodeOrder::default(),
            preemption: Preemption::default(),
            budgets: Budgets::default(),
            volumes: Volumes::default(),
            calls: ApiCalls::new(gates.async_api_calls.unwrap_or(calls_default)),
            batches: gates.opportunistic_batching.unwrap_or(batches_default),
            names_nodes,
            next_start: 0,
            candidates: Vec::new(),
            scratch: spread_cells::Scratch::default(),
            started: false,
            cycle: None,
            asking_ns: 0,
            asks: false,
            patching: None,
            disturbed: false,
            dirty: Vec::new(),
            dirty_count: 0,
            cycles: 1,
            backoff_timer: false,
            leftover_timer: false,
            gates_to_come: 0,
            reasons: Vec::new(),
        })
    }

    /// Total scores of all feasible nodes for a pod as things stand, without sampling; nothing is decided or charged.
    pub fn scores(&mut self, cluster: &Cluster, pod: PodId) -> Vec<(NodeId, i64)> {
        if self.order.refresh() {
            for profile in &mut self.profiles {
                profile.classes.order_changed();
            }
        }
        let spec = cluster.pods.spec_id(pod);
        let at = self.profile_of(cluster, spec);
        let profile = &mut self.profiles[at];
        profile.topology.learn(cluster, spec, || self.queue.placed());
        let (mut start, mut candidates, mut scratch) = (0, Vec::new(), spread_cells::Scratch::default());
        let mut search = Search {
            cluster,
            plugins: profile.plugins,
            nodes: &self.nodes,
            known: &self.known,
            order: &self.order,
            classes: &mut profile.classes,
            topology: &profile.topology,
            percentage: 100,
            among: &Among::All,
            nominated: None,
            keeps_candidates: false,
            next_start: &mut start,
            candidates: &mut candidates,
            scratch: &mut scratch,
        };
        search.scores(pod)
    }

    fn touch(&mut self, node: NodeId) {
        let at = node as usize;
        if self.dirty.len() <= at {
            self.dirty.resize(at + 1, 0);
        }
        if self.dirty[at] != self.cycles {
            self.dirty[at] = self.cycles;
            self.dirty_count += 1;
        }
    }

    /// Index of the profile that a spec's pods belong to.
    fn profile_of(&self, cluster: &Cluster, spec: SpecId) -> usize {
        profile_of(&self.profiles, cluster, spec)
    }

    fn put(&mut self, cluster: &Cluster, pod: PodId, node: NodeId) {
        // The pod is not in its place yet: what is learnt now does not count it.
        let spec = cluster.pods.spec_id(pod);
        for profile in &mut self.profiles {
            profile.topology.learn(cluster, spec, || self.queue.placed());
            profile.topology.pods_changed(cluster, pod, node, 1);
            profile.classes.pods_changed(node);
        }
        self.nodes.add_pod(cluster, node, cluster.pods.spec(pod));
        self.preemption.placed(pod, node, cluster.pods.spec(pod).priority);
        self.touch(node);
    }

    fn take(&mut self, cluster: &Cluster, pod: PodId, node: NodeId) {
        for profile in &mut self.profiles {
            profile.topology.pods_changed(cluster, pod, node, -1);
            profile.topology.terminated(pod);
            profile.classes.pods_changed(node);
        }
        self.nodes.remove_pod(node, cluster.pods.spec(pod));
        self.preemption.taken(pod, node, cluster.pods.spec(pod).priority);
        self.touch(node);
    }

    fn next_cycle(&mut self, cx: &mut Context<'_>) {
        if !self.started || self.cycle.is_some() || self.patching.is_some() {
            return;
        }
        let Some(pod) = self.queue.pop() else { return };
        *cx.cycle_started = Some(pod);
        if self.order.refresh() {
            for profile in &mut self.profiles {
                profile.classes.order_changed();
            }
        }
        self.disturbed = false;
        let spec = cx.cluster.pods.spec_id(pod);
        let at = self.profile_of(cx.cluster, spec);
        self.profiles[at].topology.learn(cx.cluster, spec, || self.queue.placed());
        let lifted = self.lift_nominated(cx.cluster, pod);
        let signed = self.batches && batching::is_signed(cx.cluster, &self.profiles[at].profile, spec);
        let hint = if signed { self.node_hint(cx, pod, at) } else { None };
        let among = self.among(cx.cluster, spec, at);
        let profile = &mut self.profiles[at];
        let plugins = profile.plugins;
        let mut search = Search {
            cluster: cx.cluster,
            plugins,
            nodes: &self.nodes,
            known: &self.known,
            order: &self.order,
            classes: &mut profile.classes,
            topology: &profile.topology,
            percentage: profile.percentage,
            among: &among,
            nominated: self.preemption.nomination(pod).or(hint.and_then(|h| h.1)),
            keeps_candidates: signed,
            next_start: &mut self.next_start,
            candidates: &mut self.candidates,
            scratch: &mut self.scratch,
        };
        let decision = search.decide(pod, cx.rng);
        // The node that the last pod got was filtered once for the hint.
        let mut filter_runs = u64::from(hint.is_some());
        if self.batches
            && let Ok(node) = decision.outcome
        {
            let class = signed.then(|| (spec, profile.classes.of_pod(cx.cluster, pod)));
            profile.batch.found(self.cycles, node);
            if hint.and_then(|h| h.1) != Some(node) {
                let others: &[Candidate] = if decision.scored > 0 { &self.candidates } else { &[] };
                profile.batch.searched(class, node, others, cx.now);
            }
        }
        let preemption = (decision.outcome.is_err() && plugins.preemption).then(|| {
            let (attempt, runs) = self.attempt_preemption(cx, pod, &among);
            filter_runs += runs;
            attempt
        });
        self.lower_nominated(cx.cluster, &lifted);
        let ops = self.operations;
        let serial = cx.meter.charge(ops.cycle, 1)
            + cx.meter.charge(ops.queue_pop, 1)
            + cx.meter.charge(ops.snapshot_node, std::mem::take(&mut self.dirty_count))
            + cx.meter.charge(ops.node_total, decision.listed);
        let parallel = cx.meter.charge(ops.filter_node, decision.visited + filter_runs)
            + cx.meter.charge(ops.score_node, decision.scored)
            + cx.meter.charge(ops.prefilter_pod_visited, decision.walks.prefilter_pods)
            + cx.meter.charge(ops.affinity_pod_visited, decision.walks.prescore_pods)
            + cx.meter.charge(ops.term_pod_visited, decision.walks.prescore_terms)
            + cx.meter.charge(ops.spread_node_visited, decision.walks.spread_nodes)
            + cx.meter.charge(ops.spread_pod_visited, decision.walks.spread_pods);
        self.cycles = self.cycles.wrapping_add(1).max(1);
        let (serial_ns, parallel_ns) = if self.parallelism == 1 || parallel * 64 < serial {
            (picos_to_nanos(serial + parallel), 0)
        } else {
            (picos_to_nanos(serial), picos_to_nanos(parallel))
        };
        self.cycle = Some(InCycle { pod, decision, parallel_ns, preemption });
        cx.cpu(serial_ns, 1, TAG_SERIAL);
    }

    /// Where a cycle for a pod of the spec looks: PreFilter of NodeAffinity.
    fn among(&mut self, cluster: &Cluster, spec: SpecId, profile: usize) -> Among {
        if !self.names_nodes || !self.profiles[profile].plugins.affinity {
            return Among::All;
        }
        match node_affinity::named_nodes(cluster.pods.spec_by_id(spec)) {
            None => Among::All,
            Some(names) if names.is_empty() => Among::Nowhere,
            Some(names) => Among::Named(self.order.named(cluster, names.into_iter())),
        }
    }

    /// Whether the batch looks at the node that the last pod got, and the node that it then hints at.
    fn node_hint(&mut self, cx: &mut Context<'_>, pod: PodId, at: usize) -> Option<(NodeId, Option<NodeId>)> {
        let spec = cx.cluster.pods.spec_id(pod);
        let class = self.profiles[at].classes.of_pod(cx.cluster, pod);
        let last = self.profiles[at].batch.last_node(cx.cluster, (spec, class), self.cycles, cx.now)?;
        self.order.position(last)?;
        let hint = if self.passes(cx.cluster, pod, class, last) {
            None
        } else {
            self.profiles[at].batch.take_best(cx.rng)
        };
        Some((last, hint))
    }

    fn finish_cycle(&mut self, cx: &mut Context<'_>) {
        let Some(InCycle { pod, decision, preemption, .. }) = self.cycle.take() else { return };
        if self.queue.place(pod) == Place::InCycle {
            match decision.outcome {
                Ok(node) => {
                    assert!(
                        self.disturbed
                            || self.preemption.any_nominated()
                            || !self.profiles.iter().all(ProfileState::regards_all)
                            || self.nodes.fits(node, &cx.cluster.pods.spec(pod).requests),
                        "node {node} would hold more than its allocatable"
                    );
                    self.denominate(cx.cluster, pod);
                    self.put(cx.cluster, pod, node);
                    self.queue.assume(pod, node);
                    cx.actions.push(Action::Assume { pod });
                    let spec = cx.cluster.pods.spec_id(pod);
                    let claims = volumes::unbound(cx.cluster.pods.spec(pod));
                    if claims > 0 && self.profiles[self.profile_of(cx.cluster, spec)].plugins.volumes {
                        self.begin_volumes(cx, pod, node, claims);
                    } else {
                        self.calls.bind(cx.actions, pod, node);
                    }
                }
                Err(diagnosis) => {
                    let mut nomination_ended = false;
                    let (nominated, victims) = match &preemption {
                        Some(Attempt::Found(candidate)) => {
                            (Some(candidate.node), self.victims_to_delete(candidate))
                        }
                        Some(Attempt::NotEligible) => (self.preemption.nomination(pod), Vec::new()),
                        Some(Attempt::NoCandidate) | None => {
                            nomination_ended = self.denominate(cx.cluster, pod);
                            (None, Vec::new())
                        }
                    };
                    if !victims.is_empty() {
                        // Deletions run from within the cycle on: events of the cycle don't move the pod.
                        self.queue.block(pod);
                    }
                    self.reject(cx, pod, &diagnosis, nominated);
                    if nomination_ended {
                        self.nomination_ended(cx, pod);
                    }
                    if let Some(Attempt::Found(candidate)) = &preemption {
                        self.prepare(cx, pod, candidate.node, &victims);
                    }
                }
            }
        } else {
            self.queue.abandon_cycle();
        }
        self.next_cycle(cx);
    }

    fn reject(&mut self, cx: &mut Context<'_>, pod: PodId, diagnosis: &Diagnosis, nominated: Option<NodeId>) {
        // Without nodes the real scheduler retries with backoff for ever; here the pod waits for a node.
        let plugins = if diagnosis.plugins == PluginSet::NONE { PluginSet::FIT } else { diagnosis.plugins };
        let profiles = &self.profiles;
        let of = |spec| &*profiles[profile_of(profiles, cx.cluster, spec)].profile;
        self.queue.reject(&View { cluster: cx.cluster, profile: &of }, pod, plugins, cx.now);
        // Ties go to the first reason in alphabetical order.
        let main = diagnosis.reasons.iter().max_by(|a, b| a.1.cmp(b.1).then(b.0.cmp(a.0)));
        let main = main.map_or(REASON_NO_NODES, |(reason, _)| reason);
        let mut message = fnv1a(FNV_OFFSET, &(self.order.list().len() as u64).to_le_bytes());
        for (reason, count) in &diagnosis.reasons {
            message = fnv1a(fnv1a(message, reason.as_bytes()), &count.to_le_bytes());
        }
        if let Some(node) = nominated {
            message = fnv1a(message, &node.to_le_bytes());
        }
        if self.report_failure(cx, pod, main, message) {
            self.patching = Some(pod);
        }
        self.arm_timers(cx);
    }

    /// An event for the first failure (POST) and the second (PATCH of its count), later ones are counted in memory;
    /// a status patch when the condition's message changes: says whether the next cycle waits for it.
    fn report_failure(&mut self, cx: &mut Context<'_>, pod: PodId, reason: &str, message: u64) -> bool {
        let index = self.reasons.iter().position(|r| r == reason).unwrap_or_else(|| {
            self.reasons.push(reason.to_owned());
            self.reasons.len() - 1
        });
        let failures = self.queue.failures_mut(pod);
        failures.reason = u32::try_from(index).expect("reasons are few");
        if failures.events < 2 {
            failures.events += 1;
            cx.actions.push(Action::Events { count: 1 });
        }
        let changed = failures.message != message;
        if changed {
            failures.message = message;
        }
        changed && self.calls.patch(cx.actions, pod)
    }

    /// The binding of an assumed pod has failed: its place is free, and it waits in the error backoffQ.
    fn binding_failed(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId, reason: &str, message: u64) {
        self.take(cx.cluster, pod, node);
        self.queue.fail(cx.cluster, pod, cx.now);
        self.report_failure(cx, pod, reason, message);
        self.event(cx, ClusterEvent::PodGone(cx.cluster.pods.spec_id(pod)));
    }

    fn event(&mut self, cx: &mut Context<'_>, event: ClusterEvent) {
        self.note(cx, event);
        self.next_cycle(cx);
    }

    /// Moves the pods that an event helps, without a cycle.
    fn note(&mut self, cx: &mut Context<'_>, event: ClusterEvent) {
        self.asking_ns +=
            picos_to_nanos(cx.meter.charge(self.operations.hint_pod, self.queue.asked_about_an_event()));
        if !self.asks {
            self.ask_on(cx);
        }
        let profiles = &self.profiles;
        let of = |spec| &*profiles[profile_of(profiles, cx.cluster, spec)].profile;
        self.queue.event(&View { cluster: cx.cluster, profile: &of }, event, cx.now);
        self.arm_timers(cx);
    }

    /// The informer's goroutine goes on asking pods, beside the scheduling goroutine. Events are seen when they come,
    /// not when it gets to them.
    fn ask_on(&mut self, cx: &mut Context<'_>) {
        let stretch_ns = self.asking_ns.min(ASKING_STRETCH_NS);
        self.asking_ns -= stretch_ns;
        self.asks = stretch_ns > 0;
        if self.asks {
            cx.cpu(stretch_ns, 1, TAG_ASKED);
        }
    }

    fn arm_timers(&mut self, cx: &mut Context<'_>) {
        if !self.backoff_timer && self.queue.has_backoff() {
            self.backoff_timer = true;
            cx.timer(next_multiple(cx.now, BACKOFF_WINDOW_NS), TAG_BACKOFF);
        }
        if !self.leftover_timer && self.queue.has_leftover() {
            self.leftover_timer = true;
            cx.timer(next_multiple(cx.now, LEFTOVER_PERIOD_NS), TAG_LEFTOVER);
        }
    }
}

impl SchedulerModel for KubeScheduler {
    fn kind(&self) -> &str {
        "kube-scheduler"
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.started = true;
        self.next_cycle(cx);
    }

    fn on_node(&mut self, cx: &mut Context<'_>, node: NodeId, change: NodeChange) {
        self.disturbed = true;
        self.touch(node);
        match change {
            NodeChange::Added | NodeChange::Updated => {
                self.nodes.set(cx.cluster, node);
                let has_pods = self.nodes.row(node).pods_used > 0;
                self.order.add(cx.cluster, node);
                for profile in &mut self.profiles {
                    profile.topology.node_changed(cx.cluster, node, true, has_pods);
                    profile.classes.node_changed(cx.cluster, &self.order, node);
                }
                let after = cx.cluster.nodes.get(node).template;
                let event = match self.known.set(cx.cluster, node, true) {
                    Some(before) if before == after => return,
                    Some(before) => ClusterEvent::NodeUpdated(node, before, after),
                    None => ClusterEvent::NodeAdded(node),
                };
                self.event(cx, event);
            }
            NodeChange::Deleted => {
                self.nodes.remove(node);
                let has_pods = self.nodes.row(node).pods_used > 0;
                for profile in &mut self.profiles {
                    profile.topology.node_changed(cx.cluster, node, false, has_pods);
                }
                self.known.set(cx.cluster, node, false);
                self.order.remove(node);
                self.event(cx, ClusterEvent::NodeGone(node));
            }
        }
    }

    fn on_pod_pending(&mut self, cx: &mut Context<'_>, pod: PodId) {
        let spec = cx.cluster.pods.spec(pod);
        let gates = &spec.scheduling_gates;
        if !gates.is_empty()
            && self.profiles[self.profile_of(cx.cluster, cx.cluster.pods.spec_id(pod))].plugins.gates
        {
            if self.queue.add_gated(pod, cx.now) {
                self.budgets.created(cx.cluster, cx.cluster.pods.spec_id(pod));
                let last = gates.iter().map(|g| g.removed_after_ns).max().unwrap_or(0);
                if last < Nanos::MAX - cx.now {
                    self.gates_to_come += 1;
                    cx.timer(cx.now + last, TAG_UNGATED | u64::from(pod) << 8);
                }
            }
        } else if self.queue.add(cx.cluster, pod, cx.now) {
            self.budgets.created(cx.cluster, cx.cluster.pods.spec_id(pod));
            self.next_cycle(cx);
        }
    }

    fn on_pod_bound(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId) {
        let spec = cx.cluster.pods.spec_id(pod);
        match self.queue.place(pod) {
            Place::Bound | Place::Gone => return,
            // Our own: the assumed pod is confirmed.
            Place::Binding if self.queue.node(pod) == node => {}
            place => {
                self.denominate(cx.cluster, pod);
                if place == Place::Unknown {
                    self.budgets.created(cx.cluster, spec);
                }
                if place == Place::Binding {
                    self.take(cx.cluster, pod, self.queue.node(pod));
                }
                self.disturbed = true;
                self.put(cx.cluster, pod, node);
            }
        }
        self.queue.settle(pod, Place::Bound, node);
        if !self.preemption.is_terminating(pod) {
            self.budgets.healthy(cx.cluster, spec, 1);
        }
        self.event(cx, ClusterEvent::PodBound(spec));
    }

    fn on_pod_gone(&mut self, cx: &mut Context<'_>, pod: PodId, _node: NodeId) {
        let place = self.queue.place(pod);
        let node = self.queue.node(pod);
        self.queue.settle(pod, Place::Gone, NO_NODE);
        if !matches!(place, Place::Unknown | Place::Gone) {
            let was_healthy = place == Place::Bound && !self.preemption.is_terminating(pod);
            self.budgets.gone(cx.cluster, cx.cluster.pods.spec_id(pod), was_healthy);
        }
        let was_nominated = self.pod_left(cx.cluster, pod);
        self.volumes.forget(pod);
        if matches!(place, Place::Binding | Place::Bound) {
            self.take(cx.cluster, pod, node);
            self.event(cx, ClusterEvent::PodGone(cx.cluster.pods.spec_id(pod)));
        } else if was_nominated {
            self.nomination_ended(cx, pod);
            self.next_cycle(cx);
        }
    }

    fn on_bind_done(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId, outcome: BindOutcome) {
        match outcome {
            BindOutcome::Bound => cx.actions.push(Action::Events { count: 1 }),
            BindOutcome::Failed => {
                // If the informer has shown the binding meanwhile, the pod is left alone.
                if self.queue.place(pod) != Place::Binding {
                    return;
                }
                let message = fnv1a(FNV_OFFSET, REASON_BIND_FAILED.as_bytes());
                self.binding_failed(cx, pod, node, REASON_BIND_FAILED, message);
            }
        }
    }

    fn on_status_patched(&mut self, cx: &mut Context<'_>, pod: PodId) {
        if self.victim_patched(cx, pod) {
            return;
        }
        if self.volume_written(cx, pod) {
            return;
        }
        self.calls.patched(cx.actions, pod);
        if self.patching == Some(pod) {
            self.patching = None;
            self.next_cycle(cx);
        }
    }

    fn on_delete_done(&mut self, cx: &mut Context<'_>, pod: PodId, ok: bool) {
        self.victim_deleted(cx, pod, ok);
        self.arm_timers(cx);
        self.next_cycle(cx);
    }

    fn on_cpu_done(&mut self, cx: &mut Context<'_>, tag: u64) {
        if tag == TAG_ASKED {
            self.ask_on(cx);
            return;
        }
        let parallel_ns = self.cycle.as_ref().map_or(0, |c| c.parallel_ns);
        if tag == TAG_SERIAL && parallel_ns > 0 {
            cx.cpu(parallel_ns, self.parallelism, TAG_PARALLEL);
        } else {
            self.finish_cycle(cx);
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, tag: u64) {
        match tag & 0xff {
            TAG_VOLUMES => self.volumes_due(cx, PodId::try_from(tag >> 8).expect("a pod stands there")),
            TAG_UNGATED => {
                self.gates_to_come -= 1;
                self.queue.ungate(cx.cluster, PodId::try_from(tag >> 8).expect("a pod stands there"));
            }
            TAG_BACKOFF => {
                self.backoff_timer = false;
                self.queue.flush_backoff(cx.cluster, cx.now);
            }
            TAG_LEFTOVER => {
                self.leftover_timer = false;
                if !self.queue.flush_leftover(cx.cluster, cx.now) {
                    // No pod can be helped until something happens: the next event arms the timer.
                    self.next_cycle(cx);
                    return;
                }
            }
            _ => return,
        }
        self.arm_timers(cx);
        self.next_cycle(cx);
    }

    fn pending_reasons(&self, cluster: &Cluster) -> PendingReasons {
        let mut reasons = PendingReasons::new();
        let mut failed_in_active = 0;
        let mut counts = vec![0_u64; self.reasons.len()];
        for (pod, failures) in self.queue.failed() {
            counts[failures.reason as usize] += 1;
            failed_in_active += u64::from(self.queue.place(pod) == Place::Active);
        }
        for (reason, count) in self.reasons.iter().zip(counts) {
            if count > 0 {
                reasons.insert(reason.clone(), count);
            }
        }
        let fresh = self.queue.active_len() - failed_in_active;
        if fresh > 0 {
            reasons.insert(REASON_QUEUED.to_owned(), fresh);
        }
        for pod in self.queue.gated() {
            *reasons.entry(gates_reason(cluster.pods.spec(pod))).or_default() += 1;
        }
        reasons
    }

    fn waits_for_time(&self) -> bool {
        self.gates_to_come > 0 || self.volumes.any_waits()
    }

    fn backlog(&self) -> u64 {
        self.queue.active_len()
    }

    fn save(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self.kind(), self)
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), CodecError> {
        *self = codec::decode(state, self.kind())?;
        Ok(())
    }

    fn queues(&self) -> Option<QueueLengths> {
        Some(self.queue.lengths())
    }
}

/// Why a pod with scheduling gates waits.
#[must_use]
pub fn gates_reason(spec: &PodSpec) -> String {
    let names: Vec<&str> = spec.scheduling_gates.iter().map(|g| g.name.as_str()).collect();
    format!("{REASON_GATED}: [{}]", names.join(" "))
}

/// Why a node can't take a pod, whatever runs there: cordoned, another name asked for, taints, node selector or
/// required affinity. In the order of kube-scheduler's filters and in its words.
#[must_use]
pub fn static_rejection(cluster: &Cluster, spec: &PodSpec, node: NodeId) -> Option<&'static str> {
    static_rejection_by(&DEFAULT_PROFILE, cluster, spec, node).map(|filter| STATIC_FILTERS[filter].1)
}

/// The same for a node as a scheduler has it, which has not been shown every change of its cordon and its taints.
#[must_use]
pub fn static_rejection_as(
    template: &NodeTemplate,
    cluster: &Cluster,
    spec: &PodSpec,
    node: NodeId,
) -> Option<&'static str> {
    let filter = static_rejection_of(&DEFAULT_PROFILE, template, cluster, spec, node);
    filter.map(|filter| STATIC_FILTERS[filter].1)
}

static DEFAULT_PROFILE: LazyLock<Profile> = LazyLock::new(Profile::default);

/// Filters that look at a node's labels, taints and name only, in their order, with what they say.
const STATIC_FILTERS: [(PluginSet, &str); 7] = [
    (PluginSet::UNSCHEDULABLE, "node(s) were unschedulable"),
    (PluginSet::NAME, "node(s) didn't match the requested node name"),
    (PluginSet::TAINTS, taint_toleration::REASON),
    (PluginSet::AFFINITY, node_affinity::REASON),
    (PluginSet::AFFINITY, node_affinity::REASON_ADDED),
    (PluginSet::VOLUMES, volumes::REASON_CONFLICT),
    (PluginSet::VOLUMES, volumes::REASON_NO_VOLUME),
];

/// Index in [`STATIC_FILTERS`] of the first that rejects the node.
fn static_rejection_by(profile: &Profile, cluster: &Cluster, spec: &PodSpec, node: NodeId) -> Option<usize> {
    static_rejection_of(profile, cluster.nodes.template(node), cluster, spec, node)
}

fn static_rejection_of(
    profile: &Profile,
    template: &NodeTemplate,
    cluster: &Cluster,
    spec: &PodSpec,
    node: NodeId,
) -> Option<usize> {
    let plugins = &profile.plugins;
    if plugins.unschedulable && taint_toleration::unschedulable_rejects(spec, template) {
        Some(0)
    } else if plugins.name
        && spec.node_name.as_ref().is_some_and(|name| *name != cluster.nodes.get(node).name)
    {
        Some(1)
    } else if plugins.taints && taint_toleration::rejects(spec, template) {
        Some(2)
    } else if plugins.affinity && !node_affinity::matches_added(cluster, profile, node) {
        Some(4)
    } else if plugins.affinity && !node_affinity::matches(cluster, spec, node) {
        Some(3)
    } else if plugins.volumes && !spec.volume_claims.is_empty() {
        let reason = volumes::rejection(cluster, spec, node)?;
        Some(if reason == volumes::REASON_CONFLICT { 5 } else { 6 })
    } else {
        None
    }
}

/// Index of the profile that a spec's pods belong to.
fn profile_of(profiles: &[ProfileState], cluster: &Cluster, spec: SpecId) -> usize {
    if profiles.len() == 1 {
        return 0;
    }
    let name = cluster.pods.spec_by_id(spec).scheduler_name.as_str();
    let name = if name.is_empty() { "default-scheduler" } else { name };
    profiles.iter().position(|p| p.name == name).unwrap_or(0)
}

fn next_multiple(now: Nanos, period: Nanos) -> Nanos {
    (now / period + 1) * period
}
