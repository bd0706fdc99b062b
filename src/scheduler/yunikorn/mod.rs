//! YuniKorn: the core's scheduling cycle and the Kubernetes shim around it.
//!
//! | Module       | What it is                                                              |
//! |--------------|-------------------------------------------------------------------------|
//! | `config`     | what a configuration says of queues, rules, limits                     |
//! | `shim`       | applications' states, the 1 s tick, the dispatcher                      |
//! | `cycle`      | the core's state: asks, allocations, what sets them aside               |
//! | `walk`       | a cycle's walk over queues, applications and asks                       |
//! | `reservations` | nodes kept for asks that fit nowhere                                  |
//! | `preemption` | queues take back what they are guaranteed                               |
//! | `required_node` | pods of DaemonSets                                                   |
//! | `gangs`      | placeholders and what replaces them                                     |
//! | `queues`     | hierarchy, fair share, headroom                                         |
//! | `placement`  | placement rules: which queue an application goes to                    |
//! | `limits`     | what users and groups may use                                          |
//! | `apps`       | order of applications and of their asks, gangs                          |
//! | `nodes`      | order of nodes by score, first fit                                      |
//! | `predicates` | kube-scheduler's filters as the shim calls them                         |
//! | `ranked`     | sorted list with weights                                                |
//! | `res`        | resources with types that may be missing                                |
//! | `report`     | why asks are pending                                                    |
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
//! A pod of a gang: its application's placeholders are created first and live like pods; when all are bound, the pod's ask
//! is sent, and a cycle lets it take the place of a placeholder of its task group. The dispatcher deletes that placeholder;
//! when the informer shows that it is gone, the core hands over the pod, which is assumed and bound.
//!
//! A pod with scheduling gates is none of the shim's business until the last of them is taken away.
//!
//! While asks are pending and nothing happens the core looks again every 100 ms (`poll_interval_ms` of the profile): asks
//! grow old enough to reserve a node or to look for victims. A cycle that reserves a node counts as one in which nothing
//! happened. Builds before 1.0 looked again at once (`poll_interval_ms: 0`); there the cycle after a reservation follows at
//! once, but of the idle spinning, which has a core of its own, we do a look every 100 ms.
//!
//! Left out: the `Informational` events.
//!
//! Cost: O(log) a pod plus what the modules say; some 13 bytes a pod.
mod apps;
pub mod config;
mod cycle;
mod gangs;
mod limits;
mod nodes;
mod placement;
pub mod predicates;
mod preemption;
mod queues;
mod ranked;
mod report;
mod required_node;
mod res;
mod reservations;
mod shim;
mod walk;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::kube::gates_reason;
use super::{Action, BindOutcome, Context, NodeChange, NodeSort, PendingReasons, SchedulerModel, Settings};
use crate::cluster::{AppId, Cluster, NodeId, PodId};
use crate::cost::{Meter, OpId, Picos, ProfileError, picos_to_nanos};
use crate::engine::codec::{self, CodecError};
use crate::engine::{Nanos, SECOND};

pub use cycle::{Core, Outcome, PodState, Swap, Timeout, Version, Work};
pub use nodes::sort_comparisons;
use shim::{Dispatch, Shim};

const CPU_CYCLE: u64 = 0;
/// `parallelize.DefaultParallelism`, as the shim's framework handle has it.
const PREFILTER_THREADS: u32 = 16;
const CPU_DISPATCH: u64 = 1;
const TIMER_TICK: u64 = 0;
const TIMER_INSPECT: u64 = 1;
const TIMER_POLL: u64 = 2;
/// How often we look while an idle core spins.
const SPIN_POLL_MS: u64 = 100;
/// Plus the application.
const TIMER_GANG: u64 = 1 << 32;
/// Plus the pod.
const TIMER_UNGATED: u64 = 1 << 33;
/// Plus the pod.
const CPU_CONFIRM: u64 = 1 << 32;

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
    predicate_pod: OpId,
    predicate_pod_again: OpId,
    preemption_pod: OpId,
    preemption_victim: OpId,
    preemption_node: OpId,
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

/// What a cycle found.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
enum Found {
    Allocation(PodId),
    Swap(Swap),
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
    /// A cycle is under way, with what it found.
    cycle: Option<Option<Found>>,
    /// What PreFilter of its predicates takes on as many threads as there are, once the rest is done.
    prefilter_ns: Nanos,
    /// Placeholders to be created; the first is under way if `creating`.
    to_create: VecDeque<PodId>,
    creating: bool,
    /// Gangs whose time runs.
    gang_timers: u32,
    /// Placeholders that the informer shows.
    exists: Vec<bool>,
    /// Pods with scheduling gates, and how many of them will lose these.
    gated: BTreeSet<PodId>,
    gates_to_come: u64,
    /// Pods that were rejected or have failed, by reason.
    rejected: BTreeMap<String, u64>,
    /// Something happened during the cycle.
    activity: bool,
    /// How long an idle core waits before it looks again, ns.
    poll_ns: Nanos,
    /// It does not wait after a cycle that has reserved a node.
    spins: bool,
    reserved: bool,
    /// When it does so, and when the timer for it fires.
    poll_at: Option<Nanos>,
    poll_timer: Option<Nanos>,
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
    /// `priority_sort`, `sort_batch_asks`, `preemption`, `poll_interval_ms`. The costs `preemption_pod`,
    /// `preemption_victim`, `preemption_node` are nothing if it does not have them.
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
            predicate_pod: meter.operation_or_free("predicate_pod"),
            predicate_pod_again: meter.operation_or_free("predicate_pod_again"),
            preemption_pod: meter.operation_or_free("preemption_pod"),
            preemption_victim: meter.operation_or_free("preemption_victim"),
            preemption_node: meter.operation_or_free("preemption_node"),
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
        let poll_ms = profile.parameter("poll_interval_ms")?;
        let spins = poll_ms == 0;
        let poll_ms = if spins { SPIN_POLL_MS } else { poll_ms };
        let version = Version {
            priority_sort: profile.parameter("priority_sort")? != 0,
            preemption: profile.parameter("preemption")? != 0,
        };
        Ok(Box::new(Self {
            core: Core::new(settings, version),
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
            prefilter_ns: 0,
            to_create: VecDeque::new(),
            creating: false,
            gang_timers: 0,
            exists: Vec::new(),
            gated: BTreeSet::new(),
            gates_to_come: 0,
            rejected: BTreeMap::new(),
            activity: false,
            poll_ns: poll_ms.max(1).saturating_mul(1_000_000),
            spins,
            reserved: false,
            poll_at: None,
            poll_timer: None,
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
        self.core.now = cx.now;
        self.poll_at = None;
        let mut work = Work::default();
        self.reserved = false;
        let mut allocated = |outcome: Outcome| match outcome {
            Outcome::Allocated(pod, _) => Some(Found::Allocation(pod)),
            Outcome::Reserved(..) => {
                self.reserved = true;
                None
            }
        };
        let found = if let Some(outcome) = self.core.try_reserved(cx.cluster, &mut work) {
            allocated(outcome)
        } else if let Some(swap) = self.core.try_placeholder(cx.cluster, &mut work) {
            Some(Found::Swap(swap))
        } else {
            let (outcome, more) = self.core.try_allocate(cx.cluster);
            work.add(&more);
            outcome.and_then(allocated)
        };
        *cx.cycle_started = found.map(|found| match found {
            Found::Allocation(pod) | Found::Swap(Swap { pod, .. }) => pod,
        });
        let gone = std::mem::take(&mut self.core.cancelled)
            .into_iter()
            .chain(std::mem::take(&mut self.core.victims));
        for pod in gone {
            self.shim.dispatch.push_back(Dispatch::Delete(pod));
        }
        let cost = self.charge(cx.meter, &work, matches!(found, Some(Found::Allocation(..))));
        // What a cycle looks at again is in the caches.
        let once = work.prefilter_pods.min(work.prefilter_most);
        let prefilter = cx.meter.charge(self.operations.predicate_pod, once)
            + cx.meter.charge(self.operations.predicate_pod_again, work.prefilter_pods - once);
        self.prefilter_ns = picos_to_nanos(prefilter);
        self.cycle = Some(found);
        cx.cpu(picos_to_nanos(cost), 1, CPU_CYCLE);
        if self.core.has_stuck() && !self.core_only {
            self.set_inspect(cx);
        }
        self.run_dispatcher(cx);
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
            + meter.charge(op.predicate_affinity_node, work.affinity_predicates * nodes)
            + meter.charge(op.preemption_pod, work.preemption_pods)
            + meter.charge(op.preemption_victim, work.preemption_victims)
            + meter.charge(op.preemption_node, work.preemption_nodes);
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

    /// Nothing happened: the core looks again after a while if something is pending, if time alone can change anything.
    fn set_poll(&mut self, cx: &mut Context<'_>) {
        if self.core.pending() == 0 {
            return;
        }
        let at = cx.now + self.poll_ns;
        self.poll_at = Some(at);
        // An earlier timer sees to it that there is one in time.
        if self.poll_timer.is_none_or(|timer| timer > at) {
            self.poll_timer = Some(at);
            cx.timer(at, TIMER_POLL);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        if self.poll_timer.is_none_or(|timer| timer > cx.now) {
            return;
        }
        self.poll_timer = None;
        match self.poll_at {
            Some(at) if at > cx.now => {
                self.poll_timer = Some(at);
                cx.timer(at, TIMER_POLL);
            }
            Some(_) if self.cycle.is_none() => self.wake(cx),
            _ => {}
        }
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
        let core = &self.core;
        let reserving = self.shim.tick(cx.now, |app| {
            let groups = &cx.cluster.pods.apps()[app as usize].task_groups;
            if core.is_gang(cx.cluster, app) { groups.iter().map(|g| g.min_member).sum() } else { 0 }
        });
        for app in reserving {
            self.reserve(cx, app);
        }
        self.set_tick(cx);
        self.run_dispatcher(cx);
    }

    /// A gang begins: its placeholders are to be created, if its queue takes it.
    fn reserve(&mut self, cx: &mut Context<'_>, app: AppId) {
        self.core.now = cx.now;
        if let Err(reason) = self.core.add_app(cx.cluster, app) {
            for pod in self.shim.fail(app) {
                self.give_up(cx, pod, &reason);
            }
            return;
        }
        for group in &cx.cluster.pods.apps()[app as usize].task_groups {
            self.to_create.extend(group.first_placeholder..group.first_placeholder + group.min_member);
        }
        self.create_next(cx);
    }

    /// A placeholder is there when the scheduler begins: its application runs (the shim skips reserving if any of its tasks
    /// was handled before, `Application.skipReservationStage`), and its place waits for a pod of the task group.
    fn recover_placeholder(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId) {
        self.core.learn(cx.cluster, pod);
        let app = cx.cluster.pods.app_id(pod);
        if self.core_only || self.core.add_app(cx.cluster, app).is_err() {
            // Its queue does not take it: it is a pod on a node like any other.
            self.core.occupy(cx.cluster, pod, node);
            return;
        }
        self.exists.resize(self.exists.len().max(pod as usize + 1), false);
        self.exists[pod as usize] = true;
        self.core.recover(cx.cluster, pod, node);
        self.shim.recover(app);
        if let Some((app, timeout_ns)) = self.core.start_timer(cx.cluster, pod) {
            self.gang_timers += 1;
            cx.timer(cx.now + timeout_ns, TIMER_GANG + u64::from(app));
        }
    }

    /// Placeholders are created one after the other.
    fn create_next(&mut self, cx: &mut Context<'_>) {
        if !self.creating
            && let Some(pod) = self.to_create.pop_front()
        {
            self.creating = true;
            cx.actions.push(Action::CreatePod { pod });
        }
    }

    fn give_up(&mut self, cx: &mut Context<'_>, pod: PodId, reason: &str) {
        self.core.set_state(pod, PodState::Done);
        cx.actions.push(Action::GiveUp { pod });
        *self.rejected.entry(reason.to_owned()).or_default() += 1;
    }

    /// The time of a gang's placeholders is over.
    fn gang_timeout(&mut self, cx: &mut Context<'_>, app: AppId) {
        self.core.now = cx.now;
        let Some(what) = self.core.gang_timeout(cx.cluster, app) else { return };
        let mine = |pod: &PodId| cx.cluster.pods.app_id(*pod) == app;
        self.to_create.retain(|pod| !mine(pod));
        let mut left = 0;
        for group in &cx.cluster.pods.apps()[app as usize].task_groups {
            for pod in group.first_placeholder..group.first_placeholder + group.min_member {
                let exists = self.exists.get(pod as usize).copied().unwrap_or(false);
                left += u32::from(exists);
                if exists && !self.core.is_swapped(pod) {
                    self.shim.dispatch.push_back(Dispatch::Delete(pod));
                }
            }
        }
        match what {
            // A placeholder's binding has failed: the shim still waits for it.
            Timeout::Leftovers if !self.shim.is_reserving(app) => {}
            Timeout::Leftovers | Timeout::Resume => {
                self.shim.resume(app, left);
                self.set_tick(cx);
            }
            Timeout::Fail => {
                for pod in self.shim.fail(app) {
                    cx.actions.push(Action::PatchStatus { pod });
                    self.give_up(cx, pod, "its gang could not be placed in time");
                }
            }
        }
        self.run_dispatcher(cx);
        self.wake(cx);
    }

    /// A placeholder is gone: the pod that takes its place is handed over.
    fn placeholder_gone(&mut self, cx: &mut Context<'_>, placeholder: PodId) {
        self.core.now = cx.now;
        if let Some(exists) = self.exists.get_mut(placeholder as usize) {
            *exists = false;
        }
        if let Some((pod, _)) = self.core.confirm(cx.cluster, placeholder) {
            let cost = cx.meter.charge(self.operations.shim_round_trip, 1);
            cx.cpu(picos_to_nanos(cost), 1, CPU_CONFIRM + u64::from(pod));
        }
        if self.shim.placeholder_gone(cx.cluster.pods.app_id(placeholder)) {
            self.set_tick(cx);
        }
        self.wake(cx);
    }

    /// The shim makes a task only of a pod without gates (`Context.updateYuniKornPod`).
    fn hold_back(&mut self, cx: &mut Context<'_>, pod: PodId) {
        self.gated.insert(pod);
        let gates = &cx.cluster.pods.spec(pod).scheduling_gates;
        let last = gates.iter().map(|g| g.removed_after_ns).max().unwrap_or(0);
        if last < Nanos::MAX - cx.now {
            self.gates_to_come += 1;
            cx.timer(cx.now + last, TIMER_UNGATED + u64::from(pod));
        }
    }

    /// The informer shows a pod that may be scheduled.
    fn see(&mut self, cx: &mut Context<'_>, pod: PodId) {
        self.core.now = cx.now;
        self.core.complete();
        for app in std::mem::take(&mut self.core.completed) {
            self.shim.complete(app);
        }
        self.core.set_state(pod, PodState::New);
        self.core.learn(cx.cluster, pod);
        if self.core_only {
            self.ask(cx, pod);
            self.wake(cx);
        } else {
            let placeholder = cx.cluster.pods.is_placeholder(pod);
            let app = cx.cluster.pods.app_id(pod);
            if placeholder {
                self.exists.resize(self.exists.len().max(pod as usize + 1), false);
                self.exists[pod as usize] = true;
            }
            if !self.shim.add_pod(app, pod, placeholder) {
                if !placeholder {
                    self.give_up(cx, pod, "its application has failed");
                }
                return;
            }
            self.set_tick(cx);
        }
    }

    /// Whether a pod that was bound before we saw it belongs to an application here: the admission controller makes each pod
    /// one of YuniKorn's, but for those in `kube-system` (`admissionController.filtering.bypassNamespaces`).
    fn is_mine(&self, cluster: &Cluster, pod: PodId) -> bool {
        let app = &cluster.pods.apps()[cluster.pods.app_id(pod) as usize];
        !self.core_only && app.namespace != "kube-system" && !cluster.pods.is_placeholder(pod)
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
                Dispatch::Delete(pod) => {
                    let pod = *pod;
                    self.dispatching = true;
                    cx.actions.push(Action::Delete { pod });
                    return;
                }
            }
        }
    }

    fn submitted(&mut self, cx: &mut Context<'_>) {
        self.dispatching = false;
        let Some(Dispatch::Submit(pods)) = self.shim.dispatch.pop_front() else { return };
        self.shim.submitting -= pods.len() as u64;
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

    /// Adds the ask; gives the pod up if its application is rejected.
    fn ask(&mut self, cx: &mut Context<'_>, pod: PodId) -> bool {
        self.core.now = cx.now;
        match self.core.add_app(cx.cluster, cx.cluster.pods.app_id(pod)) {
            Ok(()) => {
                self.core.add_ask(cx.cluster, pod);
                true
            }
            Err(reason) => {
                self.give_up(cx, pod, &reason);
                false
            }
        }
    }

    /// An allocated pod is assumed, and goes to the dispatcher to be bound.
    fn hand_over(&mut self, cx: &mut Context<'_>, pod: PodId) {
        if self.core.state(pod) != PodState::Allocated {
            return;
        }
        cx.actions.push(Action::Assume { pod });
        if !self.core_only {
            self.shim.dispatch.push_back(Dispatch::Bind(pod, self.core.node_of(pod)));
            self.run_dispatcher(cx);
        }
    }

    fn release(&mut self, cx: &mut Context<'_>, pod: PodId) {
        self.core.now = cx.now;
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
            NodeChange::Deleted => {
                self.core.now = cx.now;
                self.core.remove_node(cx.cluster, node);
            }
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
        if self.core.state(pod) != PodState::Unseen || self.gated.contains(&pod) {
            return;
        }
        if !cx.cluster.pods.spec(pod).scheduling_gates.is_empty() {
            self.hold_back(cx, pod);
            return;
        }
        self.see(cx, pod);
    }

    fn on_pod_bound(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId) {
        self.core.now = cx.now;
        self.gated.remove(&pod);
        if self.core.state(pod) == PodState::Unseen && cx.cluster.pods.is_placeholder(pod) {
            self.recover_placeholder(cx, pod, node);
            return;
        }
        match self.core.state(pod) {
            PodState::Allocated if self.core.node_of(pod) == node => {
                self.core.set_state(pod, PodState::Bound);
                return;
            }
            PodState::Allocated => self.core.release(cx.cluster, pod),
            PodState::Pending => self.core.drop_ask(cx.cluster, pod),
            PodState::Unseen => {
                self.core.learn(cx.cluster, pod);
                if self.is_mine(cx.cluster, pod) {
                    self.core.recover(cx.cluster, pod, node);
                    return;
                }
            }
            PodState::Swapping => self.core.drop_swap(cx.cluster, pod),
            PodState::New => {}
            PodState::Bound | PodState::Foreign | PodState::Done => return,
        }
        self.core.occupy(cx.cluster, pod, node);
    }

    fn on_pod_gone(&mut self, cx: &mut Context<'_>, pod: PodId, _node: NodeId) {
        self.core.now = cx.now;
        self.gated.remove(&pod);
        if cx.cluster.pods.is_placeholder(pod) {
            Self::send_events(cx, self.events.completed);
            self.placeholder_gone(cx, pod);
            return;
        }
        match self.core.state(pod) {
            PodState::Swapping => self.core.drop_swap(cx.cluster, pod),
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
                if cx.cluster.pods.is_placeholder(pod)
                    && self.shim.placeholder_bound(cx.cluster.pods.app_id(pod))
                {
                    self.set_tick(cx);
                }
            }
            BindOutcome::Failed => {
                // The informer may have shown that the pod is bound, or gone, although the request failed.
                if self.core.state(pod) == PodState::Allocated {
                    Self::send_events(cx, self.events.bind_failure);
                    if cx.cluster.pods.is_placeholder(pod) {
                        // Its place is free; the gang waits for its time to be over.
                        self.core.now = cx.now;
                        self.core.confirm(cx.cluster, pod);
                        self.wake(cx);
                    } else {
                        cx.actions.push(Action::GiveUp { pod });
                        self.release(cx, pod);
                    }
                }
            }
        }
    }

    fn on_pod_created(&mut self, cx: &mut Context<'_>, _pod: PodId) {
        self.creating = false;
        self.create_next(cx);
    }

    fn on_delete_done(&mut self, cx: &mut Context<'_>, pod: PodId, _ok: bool) {
        if self.shim.dispatch.front() == Some(&Dispatch::Delete(pod)) {
            self.shim.dispatch.pop_front();
            self.dispatching = false;
            self.run_dispatcher(cx);
        }
    }

    fn on_cpu_done(&mut self, cx: &mut Context<'_>, tag: u64) {
        if tag == CPU_DISPATCH {
            self.submitted(cx);
            return;
        }
        if tag >= CPU_CONFIRM {
            self.hand_over(cx, PodId::try_from(tag - CPU_CONFIRM).expect("pods are limited"));
            return;
        }
        let prefilter_ns = std::mem::take(&mut self.prefilter_ns);
        if prefilter_ns > 0 {
            cx.cpu(prefilter_ns, PREFILTER_THREADS, CPU_CYCLE);
            return;
        }
        let found = self.cycle.take().flatten();
        match found {
            Some(Found::Allocation(pod)) => {
                if let Some((app, timeout_ns)) = self.core.start_timer(cx.cluster, pod) {
                    self.gang_timers += 1;
                    cx.timer(cx.now + timeout_ns, TIMER_GANG + u64::from(app));
                }
                self.hand_over(cx, pod);
            }
            Some(Found::Swap(swap)) => {
                self.shim.dispatch.push_back(Dispatch::Delete(swap.placeholder));
                self.run_dispatcher(cx);
            }
            None => {}
        }
        if found.is_some() || self.activity || self.reserved && self.spins {
            self.wake(cx);
        } else {
            self.set_poll(cx);
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, tag: u64) {
        if tag >= TIMER_UNGATED {
            self.gates_to_come -= 1;
            let pod = PodId::try_from(tag - TIMER_UNGATED).expect("pods are limited");
            if self.gated.remove(&pod) {
                self.see(cx, pod);
            }
            return;
        }
        if tag >= TIMER_GANG {
            self.gang_timers -= 1;
            self.gang_timeout(cx, AppId::try_from(tag - TIMER_GANG).expect("applications are limited"));
            return;
        }
        match tag {
            TIMER_TICK => return self.tick(cx),
            TIMER_POLL => return self.poll(cx),
            _ => {}
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
        for pod in &self.gated {
            *reasons.entry(gates_reason(cluster.pods.spec(*pod))).or_default() += 1;
        }
        for (reason, pods) in &self.rejected {
            *reasons.entry(format!("given up: {reason}")).or_default() += pods;
        }
        reasons
    }

    fn waits_for_time(&self) -> bool {
        self.gang_timers > 0 || self.gates_to_come > 0
    }

    fn backlog(&self) -> u64 {
        self.shim.waiting() + self.shim.dispatching() + self.core.placeable()
    }

    fn has_backlog(&self) -> bool {
        self.shim.waiting() > 0 || self.shim.dispatching() > 0 || self.core.has_placeable()
    }

    fn save(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self.kind(), self)
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), CodecError> {
        *self = codec::decode(state, self.kind())?;
        Ok(())
    }
}
