//! Volcano: sessions over PodGroups, all or nothing, with queues that share by weight.
//!
//! | Module       | What it is                                                         |
//! |--------------|--------------------------------------------------------------------|
//! | `config`     | actions, tiers of plugins, queues, flags                           |
//! | `amount`     | resources as Volcano adds and compares them                        |
//! | `jobs`       | PodGroups with their pods, sums over queues                        |
//! | `queues`     | proportion and overcommit                                          |
//! | `nodes`      | filters, scores, the choice of a node                              |
//! | `session`    | enqueue, allocate, backfill: decisions on the state at its opening |
//! | `closing`    | what is written when a session closes                              |
//! | `pod_groups` | the controller that makes PodGroups for plain pods                 |
//!
//! Source: Volcano 1.15.1 (`pkg/scheduler`, `cmd/scheduler/app/options`).
//!
//! A session begins `--schedule-period` (1 s) after the last one has ended (`wait.Until`). It copies every node, PodGroup and pod
//! of the cache, each time, which is what it costs in a large cluster; runs the actions; and closes: sixteen workers write the PodGroups whose status
//! has changed and then the conditions of their pods, and wait for the answers; then queues' statuses follow one by one. Only then the period begins. So a pod waits half a
//! period on average for its session, and a session with many PodGroups is as long as its writes take.
//!
//! What a statement commits goes to the cache, which is bound from: a loop that looks each 20 ms hands each pod to a goroutine
//! that sends the binding (2,000 requests a second, burst 2,000) and an event. A binding that fails puts the pod back for the next
//! session.
//!
//! A session that would find no job that waits or has changed is not run, and its CPU not charged: the next one keeps the beat of
//! the period.
//!
//! Left out: preempt, reclaim and all other actions and plugins that the configuration names as not modelled; pods that are being evicted
//! count as gone once they are gone; Volcano Jobs' controller, which creates pods only once their PodGroup is inqueue (here they come
//! when the workload says); the webhooks; PodGroups' writes go through the same token bucket as bindings.
//!
//! Cost: O(waiting jobs + pods tried x nodes looked at) a session; some 20 bytes a pod.
pub mod amount;
mod closing;
pub mod config;
pub mod jobs;
pub mod nodes;
mod pod_groups;
pub mod queues;
pub mod session;

use std::collections::VecDeque;

use super::{Action, BindOutcome, Context, NodeChange, PendingReasons, SchedulerModel, Settings};
use crate::cluster::{Cluster, NodeId, PodId};
use crate::cost::{Meter, OpId, Picos, ProfileError, picos_to_nanos};
use crate::engine::codec::{self, CodecError};
use crate::engine::{MILLISECOND, Nanos, SECOND};

use amount::Amount;
use closing::Closing;
use config::Config;
use jobs::{Job, JobId, Jobs, NO_JOB, Place, Why};
use nodes::Nodes;
use pod_groups::PodGroupController;
use session::{Decided, Session, Step};

const TIMER_SESSION: u64 = 0;
const TIMER_BIND: u64 = 1;
const CPU_OPENED: u64 = 0;
const CPU_SERIAL: u64 = 1;
const CPU_PARALLEL: u64 = 2;
const CPU_CLOSED: u64 = 3;
/// How often the cache looks for pods to bind (`processBindTask`).
const BIND_PERIOD_NS: Nanos = 20 * MILLISECOND;
/// Workers that filter and score.
const NODE_WORKERS: u32 = 16;

#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Operations {
    session: OpId,
    snapshot_node: OpId,
    snapshot_job: OpId,
    snapshot_pod: OpId,
    job: OpId,
    task: OpId,
    filter_node: OpId,
    cached_node: OpId,
    score_node: OpId,
    operation: OpId,
    bind_task: OpId,
    job_update: OpId,
}

/// A session under way.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Run {
    decided: Decided,
    /// The step whose work is being done.
    step: Option<Step>,
    closing: Option<Closing>,
}

/// The Volcano scheduler.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Volcano {
    config: Config,
    jobs: Jobs,
    nodes: Nodes,
    controller: PodGroupController,
    operations: Operations,
    settled: bool,
    plain: bool,
    started: bool,
    run: Option<Run>,
    /// When the next session would begin, if there were anything to do.
    idle_until: Option<Nanos>,
    /// Pods that no session has seen.
    fresh: u64,
    /// Pods that a session has decided about but not yet committed.
    uncommitted: u64,
    to_bind: VecDeque<(PodId, NodeId)>,
    bind_timer: bool,
    bound_last_at: Nanos,
    /// By pod: what its condition was last written as.
    conditions: Vec<u64>,
    /// By queue: its allocated resources as they were last written.
    queue_status: Vec<Amount>,
}

impl Volcano {
    /// Builds it. The profile has the costs `session`, `snapshot_node`, `snapshot_job`, `snapshot_pod`, `job`, `task`,
    /// `filter_node`, `cached_node`, `score_node`, `operation`, `bind_task`, `job_update` and the parameter `podgroup_workers`.
    ///
    /// # Errors
    /// The profile lacks one of them.
    pub fn build(settings: &Settings, meter: &mut Meter) -> Result<Box<dyn SchedulerModel>, ProfileError> {
        Ok(Box::new(Self::new(settings, meter)?))
    }

    fn new(settings: &Settings, meter: &mut Meter) -> Result<Self, ProfileError> {
        let operations = Operations {
            session: meter.operation("session")?,
            snapshot_node: meter.operation("snapshot_node")?,
            snapshot_job: meter.operation("snapshot_job")?,
            snapshot_pod: meter.operation("snapshot_pod")?,
            job: meter.operation("job")?,
            task: meter.operation("task")?,
            filter_node: meter.operation("filter_node")?,
            cached_node: meter.operation("cached_node")?,
            score_node: meter.operation("score_node")?,
            operation: meter.operation("operation")?,
            bind_task: meter.operation("bind_task")?,
            job_update: meter.operation("job_update")?,
        };
        let workers = meter.profile().parameter("podgroup_workers")?;
        let config = settings.volcano.as_deref().cloned().unwrap_or_default();
        let queues = config.queues.len();
        Ok(Self {
            config,
            jobs: Jobs::new(queues),
            nodes: Nodes::default(),
            controller: PodGroupController::new(u32::try_from(workers).unwrap_or(u32::MAX)),
            operations,
            settled: settings.settled,
            plain: settings.plain,
            started: false,
            run: None,
            idle_until: None,
            fresh: 0,
            uncommitted: 0,
            to_bind: VecDeque::new(),
            bind_timer: false,
            bound_last_at: 0,
            conditions: Vec::new(),
            queue_status: vec![Amount::default(); queues],
        })
    }

    /// The job of a pod whose PodGroup exists, made if the cache has none.
    fn group(&mut self, cx: &mut Context<'_>, pod: PodId) -> JobId {
        let pods = &cx.cluster.pods;
        let id = pods.app_id(pod);
        let app = &pods.apps()[id as usize];
        let gang = app.task_groups.first();
        let alone = app.bare_pods && gang.is_none();
        if !alone && let Some(job) = self.jobs.of_app(id) {
            return job;
        }
        let spec = pods.spec(pod);
        let (min_member, least) = match gang {
            Some(group) => (group.min_member, &pods.spec_by_id(group.spec).requests),
            None => (1, &spec.requests),
        };
        let name = match gang {
            Some(_) => app.name.clone(),
            // Named after the owner's or the pod's uid, which is random.
            None => format!("podgroup-{:016x}", cx.rng.next_u64()),
        };
        let queue = if app.queue.is_empty() { config::DEFAULT_QUEUE } else { &app.queue };
        let job = Job {
            uid: format!("{}/{name}", spec.namespace()),
            queue: self.config.queues.iter().position(|q| q.name == queue).unwrap_or(0),
            min_member,
            min_resources: Amount::of_many(least, u64::from(min_member)),
            priority: spec.priority,
            gang: gang.is_some(),
            created_s: cx.now / SECOND,
            first_pod: pod,
            ..Job::default()
        };
        self.jobs.add(job, (!alone).then_some(id))
    }

    /// A pod comes to its job.
    fn join(&mut self, cx: &mut Context<'_>, pod: PodId) {
        let job = self.group(cx, pod);
        self.jobs.join(cx.cluster, pod, job);
        self.fresh += 1;
    }

    fn open(&mut self, cx: &mut Context<'_>) {
        let op = self.operations;
        let cost = cx.meter.charge(op.session, 1)
            + cx.meter.charge(op.snapshot_node, self.nodes.count() as u64)
            + cx.meter.charge(op.snapshot_job, self.jobs.alive())
            + cx.meter.charge(op.snapshot_pod, self.jobs.tasks());
        let parts = (&mut self.jobs, &mut self.nodes);
        let decided = Session::open(cx.cluster, &self.config, self.plain, parts, cx.rng).run();
        self.fresh = 0;
        self.uncommitted = decided.steps.iter().map(|step| step.binds.len() as u64).sum();
        self.run = Some(Run { decided, ..Run::default() });
        cx.cpu(picos_to_nanos(cost), 1, CPU_OPENED);
    }

    fn next_step(&mut self, cx: &mut Context<'_>) {
        let Some(run) = &mut self.run else { return };
        run.step = run.decided.steps.pop_front();
        let Some(step) = &run.step else { return self.close(cx) };
        for (pod, _) in &step.binds {
            cx.actions.push(Action::Cycle { pod: *pod });
        }
        let op = self.operations;
        let work = step.work;
        let cost = cx.meter.charge(op.job, work.jobs)
            + cx.meter.charge(op.task, work.tasks)
            + cx.meter.charge(op.operation, work.operations)
            + cx.meter.charge(op.bind_task, step.binds.len() as u64);
        cx.cpu(picos_to_nanos(cost), 1, CPU_SERIAL);
    }

    fn search(&mut self, cx: &mut Context<'_>) {
        let Some(work) = self.run.as_ref().and_then(|run| run.step.as_ref()).map(|step| step.work) else {
            return;
        };
        let op = self.operations;
        let cost: Picos = cx.meter.charge(op.filter_node, work.filtered)
            + cx.meter.charge(op.cached_node, work.passed_over)
            + cx.meter.charge(op.score_node, work.scored);
        if cost == 0 {
            self.commit(cx);
        } else {
            cx.cpu(picos_to_nanos(cost), NODE_WORKERS, CPU_PARALLEL);
        }
    }

    fn commit(&mut self, cx: &mut Context<'_>) {
        let Some(step) = self.run.as_mut().and_then(|run| run.step.take()) else { return };
        self.uncommitted -= step.binds.len() as u64;
        for (pod, node) in step.binds {
            // It may have gone, or have been bound by someone else, since the session opened.
            if self.jobs.place(pod) == Place::Binding(node) {
                cx.actions.push(Action::Assume { pod });
                self.to_bind.push_back((pod, node));
            }
        }
        if !self.to_bind.is_empty() && !self.bind_timer {
            self.bind_timer = true;
            cx.timer(cx.now.max(self.bound_last_at + BIND_PERIOD_NS), TIMER_BIND);
        }
        self.next_step(cx);
    }

    fn bind(&mut self, cx: &mut Context<'_>) {
        self.bind_timer = false;
        self.bound_last_at = cx.now;
        while let Some((pod, node)) = self.to_bind.pop_front() {
            if self.jobs.place(pod) == Place::Binding(node) {
                cx.actions.push(Action::Bind { pod, node });
            }
        }
    }

    fn close(&mut self, cx: &mut Context<'_>) {
        let Some(run) = &mut self.run else { return };
        let decided = std::mem::take(&mut run.decided);
        let (closing, jobs) = Closing::new(
            &self.config,
            (&mut self.jobs, &mut self.conditions, &mut self.queue_status),
            &decided,
            cx.actions,
        );
        run.closing = Some(closing);
        let cost = cx.meter.charge(self.operations.job_update, jobs);
        cx.cpu(picos_to_nanos(cost), 1, CPU_CLOSED);
    }

    /// The next writes leave, or the session is over.
    fn write(&mut self, cx: &mut Context<'_>) {
        let Some(closing) = self.run.as_mut().and_then(|run| run.closing.as_mut()) else { return };
        if closing.go_on(cx.actions) {
            self.run = None;
            self.idle_until = Some(cx.now + self.config.period_ns);
            self.rouse(cx);
        }
    }

    /// Something may have come to do: the next session that would have begun does.
    fn rouse(&mut self, cx: &mut Context<'_>) {
        if self.jobs.is_idle() {
            return;
        }
        let Some(due) = self.idle_until.take() else { return };
        let period = self.config.period_ns.max(1);
        let at = if cx.now <= due { due } else { due + (cx.now - due).div_ceil(period) * period };
        cx.timer(at, TIMER_SESSION);
    }
}

impl SchedulerModel for Volcano {
    fn kind(&self) -> &str {
        "volcano"
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.started = true;
        if self.settled {
            let phase = cx.rng.below(self.config.period_ns.max(1));
            self.idle_until = Some(cx.now + phase);
            self.rouse(cx);
        } else {
            self.open(cx);
        }
    }

    fn on_node(&mut self, cx: &mut Context<'_>, node: NodeId, change: NodeChange) {
        match change {
            NodeChange::Added | NodeChange::Updated => self.nodes.set(cx.cluster, node),
            NodeChange::Deleted => self.nodes.remove(cx.cluster, node),
        }
    }

    fn on_pod_pending(&mut self, cx: &mut Context<'_>, pod: PodId) {
        if self.jobs.place(pod) != Place::Nowhere {
            return;
        }
        let app = &cx.cluster.pods.apps()[cx.cluster.pods.app_id(pod) as usize];
        // What was there before the scheduler has its PodGroup; so has a gang.
        if self.started && app.task_groups.is_empty() {
            self.jobs.add_ungrouped(pod);
            self.controller.add(cx, pod);
        } else {
            self.join(cx, pod);
            self.rouse(cx);
        }
    }

    fn on_pod_bound(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId) {
        let place = self.jobs.place(pod);
        if matches!(place, Place::Gone | Place::Bound(_)) {
            return;
        }
        if self.jobs.job_of(pod) == NO_JOB {
            // One that was there before the scheduler, or that someone else bound before it had a PodGroup.
            let job = self.group(cx, pod);
            self.jobs.join(cx.cluster, pod, job);
        }
        let spec = cx.cluster.pods.spec(pod);
        if place != Place::Binding(node) {
            if let Place::Binding(other) = place {
                self.nodes.remove_pod(other, spec);
            }
            self.nodes.add_pod(cx.cluster, node, spec);
        }
        self.jobs.move_to(cx.cluster, pod, Place::Bound(node));
        self.rouse(cx);
    }

    fn on_pod_gone(&mut self, cx: &mut Context<'_>, pod: PodId, _node: NodeId) {
        if self.jobs.job_of(pod) == NO_JOB {
            self.controller.forget(pod);
            self.jobs.forget(pod);
            return;
        }
        let before = self.jobs.move_to(cx.cluster, pod, Place::Gone);
        if let Place::Binding(node) | Place::Bound(node) = before {
            self.nodes.remove_pod(node, cx.cluster.pods.spec(pod));
        }
        self.rouse(cx);
    }

    fn on_bind_done(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId, outcome: BindOutcome) {
        match outcome {
            BindOutcome::Bound => cx.actions.push(Action::Events { count: 1 }),
            BindOutcome::Failed if self.jobs.place(pod) == Place::Binding(node) => {
                self.nodes.remove_pod(node, cx.cluster.pods.spec(pod));
                self.jobs.move_to(cx.cluster, pod, Place::Pending);
                self.fresh += 1;
            }
            BindOutcome::Failed => {}
        }
        self.rouse(cx);
    }

    fn on_status_patched(&mut self, cx: &mut Context<'_>, pod: PodId) {
        let job = self.jobs.job_of(pod);
        if let Some(closing) = self.run.as_mut().and_then(|run| run.closing.as_mut()) {
            closing.patched(job);
            self.write(cx);
        }
    }

    fn on_object_put(&mut self, cx: &mut Context<'_>, pod: PodId) {
        if let Some(closing) = self.run.as_mut().and_then(|run| run.closing.as_mut()) {
            closing.put(pod, cx.actions);
            self.write(cx);
        }
    }

    fn on_controller_answered(&mut self, cx: &mut Context<'_>, pod: PodId) {
        if self.controller.answered(cx, pod) && self.jobs.place(pod) == Place::Ungrouped {
            self.join(cx, pod);
            self.rouse(cx);
        }
    }

    fn on_cpu_done(&mut self, cx: &mut Context<'_>, tag: u64) {
        match tag {
            CPU_OPENED => self.next_step(cx),
            CPU_SERIAL => self.search(cx),
            CPU_PARALLEL => self.commit(cx),
            _ => self.write(cx),
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, tag: u64) {
        if tag == TIMER_BIND {
            self.bind(cx);
        } else if self.run.is_none() {
            self.open(cx);
        }
    }

    fn pending_reasons(&self, cluster: &Cluster) -> PendingReasons {
        let mut reasons = PendingReasons::new();
        let rules = session::rules(&self.config, self.nodes.count(), self.plain);
        let ungrouped = self.controller.len() as u64;
        if ungrouped > 0 {
            reasons.insert("waits for its PodGroup".to_owned(), ungrouped);
        }
        for id in self.jobs.waiting() {
            let job = self.jobs.get(*id);
            let queue = &self.config.queues[job.queue].name;
            let reason = match job.why {
                Why::NotSeen => "waits for a session".to_owned(),
                Why::QueueQuota => format!("PodGroup not enqueued: quota of queue {queue}"),
                Why::Overcommitted => "PodGroup not enqueued: the cluster is overcommitted".to_owned(),
                Why::TooFewPods => format!("gang: {} of {} pods exist", job.tasks(), job.min_member),
                Why::QueueOverused => format!("quota: queue {queue} has what it deserves"),
                Why::NoNode(pod) if job.gang => {
                    format!("gang: {}", self.nodes.why_nowhere(cluster, &rules, pod))
                }
                Why::NoNode(pod) => self.nodes.why_nowhere(cluster, &rules, pod),
            };
            *reasons.entry(reason).or_default() += (job.pending.len() + job.best_effort.len()) as u64;
        }
        reasons
    }

    fn backlog(&self) -> u64 {
        self.fresh + self.uncommitted + self.controller.len() as u64
    }

    fn save(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self.kind(), self)
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), CodecError> {
        *self = codec::decode(state, self.kind())?;
        Ok(())
    }
}
