//! YuniKorn: the core's scheduling cycle and the Kubernetes shim around it.
//!
//! | Module       | What it is                                                              |
//! |--------------|-------------------------------------------------------------------------|
//! | `shim`       | applications' states, the 1 s tick, the dispatcher                      |
//! | `cycle`      | the core: at most one allocation a cycle, and the work it would do      |
//! | `queues`     | hierarchy, fair share, headroom                                         |
//! | `apps`       | order of applications and of their asks                                 |
//! | `nodes`      | order of nodes by score, first fit                                      |
//! | `predicates` | kube-scheduler's filters as the shim calls them                         |
//! | `ranked`     | sorted list with weights                                                |
//!
//! The life of a pod here: seen by the informer; sent as an ask in a tick (event `Scheduling`); allocated by a cycle,
//! which then waits for the shim (`AssumePod`); handed to the dispatcher; bound from a goroutine of its own
//! (event `Scheduled` before, `PodBindSuccessful` after). A binding that fails fails the task for good (as in
//! k8shim bb628d82) and its allocation is released. An ask that fits nowhere gets, once, an event and a status
//! `PodScheduled=False` from a look each second.
//!
//! What differs between versions is in the cost profile: unit costs, how many events each step sends
//! (`events_per_*`), whether applications are ordered by priority (`priority_sort`), and how many asks one copied list of
//! nodes served (`sort_batch_asks`, 16 in January 2020). With `core_only` the pods are asks at once, a cycle has no shim
//! to wait for, an application's asks of one spec count as one repeated ask, and nothing is bound: the core's
//! own benchmark.
//!
//! Left out: reservations, gang scheduling, preemption, the 100 ms poll of an idle core (it can find nothing that the
//! last cycle did not), the spinning of the loop before 1.0 (its core is its own), the `Informational` events.
//!
//! Cost: O(log) a pod plus what the modules say; some 13 bytes a pod.
mod apps;
mod cycle;
mod nodes;
mod predicates;
mod queues;
mod ranked;
mod shim;

use super::{Action, BindOutcome, Context, NodeChange, NodeSort, PendingReasons, SchedulerModel, Settings};
use crate::cluster::{Cluster, NodeId, PodId};
use crate::cost::{Meter, OpId, Picos, ProfileError, picos_to_nanos};
use crate::engine::codec::{self, CodecError};
use crate::engine::{Nanos, SECOND};

pub use cycle::{Core, PodState, Work};
pub use nodes::sort_comparisons;
use shim::{Dispatch, Shim};

const CPU_CYCLE: u64 = 0;
const CPU_DISPATCH: u64 = 1;
const TIMER_TICK: u64 = 0;
const TIMER_INSPECT: u64 = 1;

#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Operations {
    cycle: OpId,
    shim_round_trip: OpId,
    submit_task: OpId,
    app_sort: OpId,
    pending_ask: OpId,
    ask_skip: OpId,
    node_visited: OpId,
    tree_copy_node: OpId,
    tree_update: OpId,
    sort_comparison: OpId,
    predicate: OpId,
    predicate_node: OpId,
    predicate_affinity_node: OpId,
}

#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct EventCounts {
    submitted: u32,
    bind_start: u32,
    bound: u32,
    bind_failure: u32,
    completed: u32,
    unschedulable: u32,
    status_patches: u32,
    node: u32,
}

/// The YuniKorn scheduler.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct YuniKorn {
    core: Core,
    shim: Shim,
    operations: Operations,
    events: EventCounts,
    full_sort: bool,
    core_only: bool,
    settled: bool,
    tick_phase_ns: Option<Nanos>,
    sort_batch_asks: u64,
    /// Sorts done since the list of nodes was last copied.
    sorts: u64,
    started: bool,
    started_at: Nanos,
    /// A cycle is under way, with what it allocated.
    cycle: Option<Option<(PodId, NodeId)>>,
    /// Something happened during the cycle.
    activity: bool,
    dispatching: bool,
    inspect_set: bool,
    nodes_accepted: u32,
}

impl YuniKorn {
    /// Builds it. The profile has the costs `cycle`, `shim_round_trip`, `submit_task`, `app_sort`, `pending_ask`,
    /// `ask_skip`, `node_visited`, `tree_copy_node`, `tree_update`, `sort_comparison`, `predicate`,
    /// `predicate_node`, `predicate_affinity_node` and the parameters `events_per_pod_submitted`,
    /// `events_per_pod_bind_start`, `events_per_pod_bound`, `events_per_pod_bind_failure`, `events_per_pod_completed`,
    /// `events_per_unschedulable_ask`, `status_patches_per_unschedulable_ask`, `events_per_node`,
    /// `priority_sort`, `sort_batch_asks`.
    ///
    /// # Errors
    /// The profile lacks one of them.
    pub fn build(settings: &Settings, meter: &mut Meter) -> Result<Box<dyn SchedulerModel>, ProfileError> {
        let operations = Operations {
            cycle: meter.operation("cycle")?,
            shim_round_trip: meter.operation("shim_round_trip")?,
            submit_task: meter.operation("submit_task")?,
            app_sort: meter.operation("app_sort")?,
            pending_ask: meter.operation("pending_ask")?,
            ask_skip: meter.operation("ask_skip")?,
            node_visited: meter.operation("node_visited")?,
            tree_copy_node: meter.operation("tree_copy_node")?,
            tree_update: meter.operation("tree_update")?,
            sort_comparison: meter.operation("sort_comparison")?,
            predicate: meter.operation("predicate")?,
            predicate_node: meter.operation("predicate_node")?,
            predicate_affinity_node: meter.operation("predicate_affinity_node")?,
        };
        let profile = meter.profile();
        let count = |name: &str| profile.parameter(name).map(|v| u32::try_from(v).unwrap_or(u32::MAX));
        let events = EventCounts {
            submitted: count("events_per_pod_submitted")?,
            bind_start: count("events_per_pod_bind_start")?,
            bound: count("events_per_pod_bound")?,
            bind_failure: count("events_per_pod_bind_failure")?,
            completed: count("events_per_pod_completed")?,
            unschedulable: count("events_per_unschedulable_ask")?,
            status_patches: count("status_patches_per_unschedulable_ask")?,
            node: count("events_per_node")?,
        };
        Ok(Box::new(Self {
            core: Core::new(settings, profile.parameter("priority_sort")? != 0),
            shim: Shim::new(settings.scheduling_interval_ns),
            operations,
            events,
            full_sort: settings.node_sort == NodeSort::FullSort,
            core_only: settings.core_only,
            settled: settings.settled,
            tick_phase_ns: settings.tick_phase_ns,
            sort_batch_asks: profile.parameter("sort_batch_asks")?.max(1),
            sorts: 0,
            started: false,
            started_at: 0,
            cycle: None,
            activity: false,
            dispatching: false,
            inspect_set: false,
            nodes_accepted: 0,
        }))
    }

    fn send_events(cx: &mut Context<'_>, count: u32) {
        if count > 0 {
            cx.actions.push(Action::Events { count });
        }
    }

    /// Something changed in the core: a cycle starts, or follows the one under way.
    fn wake(&mut self, cx: &mut Context<'_>) {
        if self.cycle.is_some() {
            self.activity = true;
        } else if self.started && self.core.pending() > 0 {
            self.start_cycle(cx);
        }
    }

    fn start_cycle(&mut self, cx: &mut Context<'_>) {
        self.activity = false;
        let (found, work) = self.core.try_allocate(cx.cluster);
        *cx.cycle_started = found.map(|(pod, _)| pod);
        let cost = self.charge(cx.meter, &work, found.is_some());
        self.cycle = Some(found);
        cx.cpu(picos_to_nanos(cost), 1, CPU_CYCLE);
        if self.core.has_stuck() && !self.core_only {
            self.set_inspect(cx);
        }
    }

    fn charge(&mut self, meter: &mut Meter, work: &Work, allocated: bool) -> Picos {
        let op = self.operations;
        let nodes = self.core.nodes.count() as u64;
        let listed = if self.core_only { work.repeated_asks_listed } else { work.asks_listed };
        let mut cost = meter.charge(op.cycle, 1)
            + meter.charge(op.app_sort, work.apps_sorted)
            + meter.charge(op.pending_ask, listed)
            + meter.charge(op.ask_skip, work.asks_skipped)
            + meter.charge(op.node_visited, work.nodes_visited)
            + meter.charge(op.predicate, work.predicates)
            + meter.charge(op.predicate_node, work.predicates * nodes)
            + meter.charge(op.predicate_affinity_node, work.affinity_predicates * nodes);
        if self.full_sort {
            // The list is copied, unsorted, for the first of a batch of asks; the others sort a sorted list again.
            let fresh = (self.sorts + work.asks_tried).div_ceil(self.sort_batch_asks)
                - self.sorts.div_ceil(self.sort_batch_asks);
            self.sorts = (self.sorts + work.asks_tried) % self.sort_batch_asks;
            let comparisons = fresh * sort_comparisons(nodes) + (work.asks_tried - fresh) * nodes;
            cost += meter.charge(op.sort_comparison, comparisons);
        } else {
            cost += meter.charge(op.tree_copy_node, work.asks_tried * nodes)
                + meter.charge(op.tree_update, u64::from(allocated));
        }
        if allocated && !self.core_only {
            cost += meter.charge(op.shim_round_trip, 1);
        }
        cost
    }

    fn set_tick(&mut self, cx: &mut Context<'_>) {
        if self.started && self.shim.tick_at.is_none() && self.shim.waiting() > 0 {
            let at = self.shim.next_tick(cx.now);
            self.shim.tick_at = Some(at);
            cx.timer(at, TIMER_TICK);
        }
    }

    fn set_inspect(&mut self, cx: &mut Context<'_>) {
        if !self.inspect_set {
            self.inspect_set = true;
            let since = cx.now - self.started_at;
            cx.timer(self.started_at + (since / SECOND + 1) * SECOND, TIMER_INSPECT);
        }
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        self.shim.tick_at = None;
        self.shim.tick(cx.now);
        self.set_tick(cx);
        self.run_dispatcher(cx);
    }

    /// Does what costs nothing at once and starts the next piece of work.
    fn run_dispatcher(&mut self, cx: &mut Context<'_>) {
        if self.dispatching {
            return;
        }
        while let Some(next) = self.shim.dispatch.front() {
            match next {
                Dispatch::Submit(pods) => {
                    let cost = cx.meter.charge(self.operations.submit_task, pods.len() as u64);
                    self.dispatching = true;
                    cx.cpu(picos_to_nanos(cost), 1, CPU_DISPATCH);
                    return;
                }
                Dispatch::Bind(pod, node) => {
                    let (pod, node) = (*pod, *node);
                    self.shim.dispatch.pop_front();
                    if self.core.state(pod) == PodState::Allocated {
                        Self::send_events(cx, self.events.bind_start);
                        cx.actions.push(Action::Bind { pod, node });
                    }
                }
            }
        }
    }

    fn submitted(&mut self, cx: &mut Context<'_>) {
        self.dispatching = false;
        let Some(Dispatch::Submit(pods)) = self.shim.dispatch.pop_front() else { return };
        let mut sent = 0;
        for pod in pods {
            if self.core.state(pod) == PodState::New && self.ask(cx, pod) {
                sent += 1;
            }
        }
        Self::send_events(cx, sent * self.events.submitted);
        if sent > 0 {
            self.wake(cx);
        }
        self.run_dispatcher(cx);
    }

    /// Adds the ask; gives the pod up if its queue takes no application.
    fn ask(&mut self, cx: &mut Context<'_>, pod: PodId) -> bool {
        if self.core.add_app(cx.cluster, cx.cluster.pods.app_id(pod)) {
            self.core.add_ask(cx.cluster, pod);
            return true;
        }
        self.core.set_state(pod, PodState::Done);
        cx.actions.push(Action::GiveUp { pod });
        false
    }

    fn release(&mut self, cx: &mut Context<'_>, pod: PodId) {
        self.core.release(cx.cluster, pod);
        self.wake(cx);
    }
}

impl SchedulerModel for YuniKorn {
    fn kind(&self) -> &str {
        "yunikorn"
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.started = true;
        self.started_at = cx.now;
        self.shim.start(cx.now);
        if self.core_only {
            self.wake(cx);
            return;
        }
        if self.settled {
            // Up for long: its nodes' events are out, and its ticks have any phase, unless it is known.
            let any = cx.rng.below(self.shim.interval_ns());
            let phase_ns = self.tick_phase_ns.unwrap_or(any);
            self.shim.start(cx.now + phase_ns);
            self.set_tick(cx);
            return;
        }
        Self::send_events(cx, self.nodes_accepted * self.events.node);
        self.tick(cx);
    }

    fn on_node(&mut self, cx: &mut Context<'_>, node: NodeId, change: NodeChange) {
        match change {
            NodeChange::Added | NodeChange::Updated => self.core.set_node(cx.cluster, node),
            NodeChange::Deleted => self.core.remove_node(node),
        }
        if change == NodeChange::Added {
            if self.started && !self.core_only {
                Self::send_events(cx, self.events.node);
            } else {
                self.nodes_accepted += 1;
            }
        }
        self.wake(cx);
    }

    fn on_pod_pending(&mut self, cx: &mut Context<'_>, pod: PodId) {
        if self.core.state(pod) != PodState::Unseen {
            return;
        }
        self.core.set_state(pod, PodState::New);
        self.core.learn(cx.cluster, pod);
        if self.core_only {
            self.ask(cx, pod);
            self.wake(cx);
        } else {
            self.shim.add_pod(cx.cluster.pods.app_id(pod), pod);
            self.set_tick(cx);
        }
    }

    fn on_pod_bound(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId) {
        match self.core.state(pod) {
            PodState::Allocated if self.core.node_of(pod) == node => {
                self.core.set_state(pod, PodState::Bound);
                return;
            }
            PodState::Allocated => self.core.release(cx.cluster, pod),
            PodState::Pending => self.core.drop_ask(cx.cluster, pod),
            PodState::Unseen => self.core.learn(cx.cluster, pod),
            PodState::New => {}
            PodState::Bound | PodState::Foreign | PodState::Done => return,
        }
        self.core.occupy(cx.cluster, pod, node);
    }

    fn on_pod_gone(&mut self, cx: &mut Context<'_>, pod: PodId, _node: NodeId) {
        match self.core.state(pod) {
            PodState::Allocated | PodState::Bound => {
                Self::send_events(cx, self.events.completed);
                self.release(cx, pod);
            }
            PodState::Foreign => self.release(cx, pod),
            PodState::Pending => {
                self.core.drop_ask(cx.cluster, pod);
                self.core.set_state(pod, PodState::Done);
            }
            PodState::Unseen | PodState::New | PodState::Done => self.core.set_state(pod, PodState::Done),
        }
    }

    fn on_bind_done(&mut self, cx: &mut Context<'_>, pod: PodId, _node: NodeId, outcome: BindOutcome) {
        match outcome {
            BindOutcome::Bound => {
                if self.core.state(pod) == PodState::Allocated {
                    self.core.set_state(pod, PodState::Bound);
                }
                Self::send_events(cx, self.events.bound);
            }
            BindOutcome::Failed => {
                // The informer may have shown that the pod is bound, or gone, although the request failed.
                if self.core.state(pod) == PodState::Allocated {
                    Self::send_events(cx, self.events.bind_failure);
                    cx.actions.push(Action::GiveUp { pod });
                    self.release(cx, pod);
                }
            }
        }
    }

    fn on_cpu_done(&mut self, cx: &mut Context<'_>, tag: u64) {
        if tag == CPU_DISPATCH {
            self.submitted(cx);
            return;
        }
        let found = self.cycle.take().flatten();
        if let Some((pod, node)) = found
            && self.core.state(pod) == PodState::Allocated
        {
            cx.actions.push(Action::Assume { pod });
            if !self.core_only {
                self.shim.dispatch.push_back(Dispatch::Bind(pod, node));
                self.run_dispatcher(cx);
            }
        }
        if found.is_some() || self.activity {
            self.wake(cx);
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, tag: u64) {
        if tag == TIMER_TICK {
            self.tick(cx);
            return;
        }
        self.inspect_set = false;
        for pod in self.core.unreported() {
            Self::send_events(cx, self.events.unschedulable);
            for _ in 0..self.events.status_patches {
                cx.actions.push(Action::PatchStatus { pod });
            }
        }
    }

    fn pending_reasons(&self, cluster: &Cluster) -> PendingReasons {
        let mut reasons = PendingReasons::new();
        let waiting = self.shim.waiting() + self.shim.dispatching();
        if waiting > 0 {
            reasons.insert("waits for its application's tick".to_owned(), waiting);
        }
        self.core.reasons(cluster, &mut reasons);
        reasons
    }

    fn backlog(&self) -> u64 {
        self.shim.waiting() + self.shim.dispatching() + self.core.placeable()
    }

    fn save(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self.kind(), self)
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), CodecError> {
        *self = codec::decode(state, self.kind())?;
        Ok(())
    }
}
