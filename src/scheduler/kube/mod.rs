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
//! | `inter_pod_affinity`   | InterPodAffinity                                                               |
//! | `pod_topology_spread`  | PodTopologySpread                                                              |
//! | `topology`             | counts of pods by zone, host or other label, for those two                     |
//! | `preemption`           | DefaultPreemption: victims, nominations                                        |
//! | `profile`              | which plugins are on, their weights and arguments                              |
//! | `classes`, `scan`      | our own speed: bytes a node for pods of one kind                               |
//!
//! After a rejection the goroutine that schedules patches the pod's status and waits for the answer before the next
//! cycle (`handleSchedulingFailure`, without `SchedulerAsyncAPICalls`); a failed binding is reported from its own.
//!
//! Versions differ by the profile's parameters `pop_from_backoff`, `queueing_hints` and `unschedulable_timeout_s`.
//!
//! Left out: several profiles, extenders, volumes, images, dynamic resources, permit plugins,
//! opportunistic batching (the default profile switches it off for every pod), and the default topology spread
//! of pods with an owner or a service, unless the spec spells it out.
//!
//! Cost: see `cycle`; 20 bytes a pod.
mod classes;
mod cycle;
mod hints;
mod inter_pod_affinity;
mod node_affinity;
mod node_resources;
mod pod_topology_spread;
mod preemption;
mod profile;
mod queue;
mod sampling;
mod scan;
mod taint_toleration;
mod topology;

use std::sync::{Arc, LazyLock};

use super::{
    Action, BindOutcome, Context, NodeChange, PendingReasons, QueueLengths, SchedulerModel, Settings,
};
use crate::cluster::{Cluster, NO_NODE, NodeId, PodId, PodSpec};
use crate::cost::{Meter, OpId, ProfileError, picos_to_nanos};
use crate::engine::Nanos;
use crate::engine::codec::{self, CodecError};

use classes::{Classes, Diagnosis};
use cycle::{Candidate, Decision, Search};
use hints::{ClusterEvent, PluginSet};
use node_resources::{FitScore, NodeCache};
use preemption::{Attempt, Preemption};
use queue::{BACKOFF_WINDOW_NS, LEFTOVER_PERIOD_NS, Place, QueueRules, SchedulingQueue};
use sampling::NodeOrder;
use topology::Topology;

pub use profile::{Plugins, Profile, ResourceWeight, Weights};
pub use sampling::num_feasible_nodes_to_find;

const TAG_SERIAL: u64 = 0;
const TAG_PARALLEL: u64 = 1;
const TAG_BACKOFF: u64 = 2;
const TAG_LEFTOVER: u64 = 3;

/// Reason shown for pods that no cycle has looked at yet.
const REASON_QUEUED: &str = "waiting in activeQ, not tried yet";
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
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct InCycle {
    pod: PodId,
    decision: Decision,
    parallel_ns: u64,
    /// What preemption came to, if the decision failed.
    preemption: Option<Attempt>,
}

/// The kube-scheduler model.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct KubeScheduler {
    plugins: Plugins,
    /// No extended resource is ignored.
    regards_all: bool,
    percentage: u32,
    parallelism: u32,
    operations: Operations,
    queue: SchedulingQueue,
    nodes: NodeCache,
    order: NodeOrder,
    classes: Classes,
    topology: Topology,
    preemption: Preemption,
    /// DefaultPreemption's least candidates: per cent of the nodes, and nodes.
    min_candidates: (u32, u32),
    next_start: usize,
    /// Empty between cycles.
    #[serde(skip)]
    candidates: Vec<Candidate>,
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
    reasons: Vec<String>,
}

impl KubeScheduler {
    /// Builds it. The profile has the costs `cycle`, `queue_pop`, `snapshot_node`, `node_total`, `filter_node`,
    /// `score_node`, `prefilter_pod_visited`, `affinity_pod_visited`, `term_pod_visited`, `spread_node_visited` and
    /// `spread_pod_visited`; the parameters `pop_from_backoff`, `queueing_hints` (0 or 1) and `unschedulable_timeout_s` are
    /// those of the newest version if absent.
    ///
    /// # Errors
    /// The profile lacks an operation.
    pub fn build(settings: &Settings, meter: &mut Meter) -> Result<Box<dyn SchedulerModel>, ProfileError> {
        let parameter = |name: &str, default: u64| meter.profile().parameter(name).unwrap_or(default);
        let rules = QueueRules {
            initial_backoff_ns: settings.pod_initial_backoff_ns,
            max_backoff_ns: settings.pod_max_backoff_ns,
            pop_from_backoff: parameter("pop_from_backoff", 1) != 0,
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
        };
        let mut profile = settings.kube.clone();
        profile.plugins = profile.plugins.without(&settings.disabled_plugins);
        let plugins = profile.plugins;
        let regards_all = profile.ignored_resources.is_empty() && profile.ignored_resource_groups.is_empty();
        let how = FitScore { strategy: settings.scoring_strategy, shape: profile.fit_shape.clone() };
        let profile = Arc::new(profile);
        Ok(Box::new(Self {
            plugins,
            percentage: settings.percentage_of_nodes_to_score,
            parallelism: settings.parallelism.max(1),
            operations,
            queue: SchedulingQueue::new(rules),
            nodes: NodeCache::default(),
            order: NodeOrder::default(),
            classes: Classes::new(Arc::clone(&profile), how),
            min_candidates: (profile.min_candidate_nodes_percentage, profile.min_candidate_nodes_absolute),
            preemption: Preemption::default(),
            topology: Topology::new(profile),
            regards_all,
            next_start: 0,
            candidates: Vec::new(),
            started: false,
            cycle: None,
            patching: None,
            disturbed: false,
            dirty: Vec::new(),
            dirty_count: 0,
            cycles: 1,
            backoff_timer: false,
            leftover_timer: false,
            reasons: Vec::new(),
        }))
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

    fn put(&mut self, cluster: &Cluster, pod: PodId, node: NodeId) {
        // The pod is not in its place yet: what is learnt now does not count it.
        let spec = cluster.pods.spec_id(pod);
        self.topology.learn(cluster, spec, || self.queue.placed());
        self.topology.pods_changed(cluster, spec, node, 1);
        self.nodes.add_pod(cluster, node, cluster.pods.spec(pod));
        self.preemption.placed(pod, node, cluster.pods.spec(pod).priority);
        self.classes.pods_changed(node);
        self.touch(node);
    }

    fn take(&mut self, cluster: &Cluster, pod: PodId, node: NodeId) {
        self.topology.pods_changed(cluster, cluster.pods.spec_id(pod), node, -1);
        self.nodes.remove_pod(node, cluster.pods.spec(pod));
        self.preemption.taken(pod, node, cluster.pods.spec(pod).priority);
        self.classes.pods_changed(node);
        self.touch(node);
    }

    fn next_cycle(&mut self, cx: &mut Context<'_>) {
        if !self.started || self.cycle.is_some() || self.patching.is_some() {
            return;
        }
        let Some(pod) = self.queue.pop() else { return };
        *cx.cycle_started = Some(pod);
        if self.order.refresh() {
            self.classes.order_changed();
        }
        self.disturbed = false;
        self.topology.learn(cx.cluster, cx.cluster.pods.spec_id(pod), || self.queue.placed());
        let lifted = self.lift_nominated(cx.cluster, pod);
        let mut search = Search {
            cluster: cx.cluster,
            plugins: self.plugins,
            nodes: &self.nodes,
            order: &self.order,
            classes: &mut self.classes,
            topology: &self.topology,
            percentage: self.percentage,
            nominated: self.preemption.nomination(pod),
            next_start: &mut self.next_start,
            candidates: &mut self.candidates,
        };
        let decision = search.decide(pod, cx.rng);
        let mut filter_runs = 0;
        let preemption = (decision.outcome.is_err() && self.plugins.preemption).then(|| {
            let (attempt, runs) = self.attempt_preemption(cx, pod);
            filter_runs = runs;
            attempt
        });
        self.lower_nominated(cx.cluster, &lifted);
        let ops = self.operations;
        let serial = cx.meter.charge(ops.cycle, 1)
            + cx.meter.charge(ops.queue_pop, 1)
            + cx.meter.charge(ops.snapshot_node, std::mem::take(&mut self.dirty_count))
            + cx.meter.charge(ops.node_total, self.order.list().len() as u64);
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

    fn finish_cycle(&mut self, cx: &mut Context<'_>) {
        let Some(InCycle { pod, decision, preemption, .. }) = self.cycle.take() else { return };
        if self.queue.place(pod) == Place::InCycle {
            match decision.outcome {
                Ok(node) => {
                    assert!(
                        self.disturbed
                            || self.preemption.any_nominated()
                            || !self.plugins.fit
                            || !self.regards_all
                            || self.nodes.fits(node, &cx.cluster.pods.spec(pod).requests),
                        "node {node} would hold more than its allocatable"
                    );
                    self.denominate(cx.cluster, pod);
                    self.put(cx.cluster, pod, node);
                    self.queue.assume(pod, node);
                    cx.actions.push(Action::Assume { pod });
                    cx.actions.push(Action::Bind { pod, node });
                }
                Err(diagnosis) => {
                    let nominated = match &preemption {
                        Some(Attempt::Found(candidate)) => Some(candidate.node),
                        Some(Attempt::NoCandidate) | None => {
                            self.denominate(cx.cluster, pod);
                            None
                        }
                        Some(Attempt::NotEligible) => self.preemption.nomination(pod),
                    };
                    self.reject(cx, pod, &diagnosis, nominated);
                    if let Some(Attempt::Found(candidate)) = preemption {
                        self.prepare(cx, pod, &candidate);
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
        self.queue.reject(cx.cluster, pod, plugins, cx.now);
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
    /// a status patch when the condition's message changes: says whether it does.
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
            cx.actions.push(Action::PatchStatus { pod });
        }
        changed
    }

    fn event(&mut self, cx: &mut Context<'_>, event: ClusterEvent) {
        self.queue.event(cx.cluster, event, cx.now);
        self.arm_timers(cx);
        self.next_cycle(cx);
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
                self.topology.node_changed(cx.cluster, node, true, self.nodes.row(node).pods_used > 0);
                self.order.add(cx.cluster, node);
                self.classes.node_changed(cx.cluster, &self.order, node);
                self.event(cx, ClusterEvent::Node(node));
            }
            NodeChange::Deleted => {
                self.nodes.remove(node);
                self.topology.node_changed(cx.cluster, node, false, self.nodes.row(node).pods_used > 0);
                self.order.remove(node);
                self.event(cx, ClusterEvent::NodeGone);
            }
        }
    }

    fn on_pod_pending(&mut self, cx: &mut Context<'_>, pod: PodId) {
        if self.queue.add(cx.cluster, pod, cx.now) {
            self.next_cycle(cx);
        }
    }

    fn on_pod_bound(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId) {
        match self.queue.place(pod) {
            Place::Bound | Place::Gone => return,
            // Our own: the assumed pod is confirmed.
            Place::Binding if self.queue.node(pod) == node => {}
            place => {
                self.denominate(cx.cluster, pod);
                if place == Place::Binding {
                    self.take(cx.cluster, pod, self.queue.node(pod));
                }
                self.disturbed = true;
                self.put(cx.cluster, pod, node);
            }
        }
        self.queue.settle(pod, Place::Bound, node);
        self.event(cx, ClusterEvent::PodBound(cx.cluster.pods.spec_id(pod)));
    }

    fn on_pod_gone(&mut self, cx: &mut Context<'_>, pod: PodId, _node: NodeId) {
        let place = self.queue.place(pod);
        let node = self.queue.node(pod);
        self.queue.settle(pod, Place::Gone, NO_NODE);
        self.pod_left(cx.cluster, pod);
        if matches!(place, Place::Binding | Place::Bound) {
            self.take(cx.cluster, pod, node);
            self.event(cx, ClusterEvent::PodGone(cx.cluster.pods.spec_id(pod)));
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
                self.take(cx.cluster, pod, node);
                self.queue.fail(cx.cluster, pod, cx.now);
                self.report_failure(
                    cx,
                    pod,
                    REASON_BIND_FAILED,
                    fnv1a(FNV_OFFSET, REASON_BIND_FAILED.as_bytes()),
                );
                self.event(cx, ClusterEvent::PodGone(cx.cluster.pods.spec_id(pod)));
            }
        }
    }

    fn on_status_patched(&mut self, cx: &mut Context<'_>, pod: PodId) {
        if self.victim_patched(cx, pod) {
            return;
        }
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
        let parallel_ns = self.cycle.as_ref().map_or(0, |c| c.parallel_ns);
        if tag == TAG_SERIAL && parallel_ns > 0 {
            cx.cpu(parallel_ns, self.parallelism, TAG_PARALLEL);
        } else {
            self.finish_cycle(cx);
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, tag: u64) {
        match tag {
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

    fn pending_reasons(&self, _cluster: &Cluster) -> PendingReasons {
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
        reasons
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

/// Why a node can't take a pod, whatever runs there: cordoned, another name asked for, taints, node selector or
/// required affinity. In the order of kube-scheduler's filters and in its words.
#[must_use]
pub fn static_rejection(cluster: &Cluster, spec: &PodSpec, node: NodeId) -> Option<&'static str> {
    static_rejection_by(&DEFAULT_PROFILE, cluster, spec, node).map(|filter| STATIC_FILTERS[filter].1)
}

static DEFAULT_PROFILE: LazyLock<Profile> = LazyLock::new(Profile::default);

/// Filters that look at a node's labels, taints and name only, in their order, with what they say.
const STATIC_FILTERS: [(PluginSet, &str); 5] = [
    (PluginSet::UNSCHEDULABLE, "node(s) were unschedulable"),
    (PluginSet::NAME, "node(s) didn't match the requested node name"),
    (PluginSet::TAINTS, taint_toleration::REASON),
    (PluginSet::AFFINITY, node_affinity::REASON),
    (PluginSet::AFFINITY, node_affinity::REASON_ADDED),
];

/// Index in [`STATIC_FILTERS`] of the first that rejects the node.
fn static_rejection_by(profile: &Profile, cluster: &Cluster, spec: &PodSpec, node: NodeId) -> Option<usize> {
    let plugins = &profile.plugins;
    let template = cluster.nodes.template(node);
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
    } else {
        None
    }
}

fn next_multiple(now: Nanos, period: Nanos) -> Nanos {
    (now / period + 1) * period
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, to compare messages without keeping them.
fn fnv1a(mut hash: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}
