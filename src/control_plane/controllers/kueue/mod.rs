//! Kueue: jobs wait suspended until their ClusterQueue has quota for all of their pods.
//!
//! | Module   | What it is                                    |
//! |----------|-----------------------------------------------|
//! | `config` | flavors, ClusterQueues, cohorts, workloads    |
//! | `quota`  | quotas, borrowing and lending in cohorts      |
//! | `cycle`  | queues, flavor assignment, the admission cycle |
//! | `preemption` | who gives its quota to one that waits     |
//! | `share`  | fair sharing: how much of a cohort one has    |
//! | `tournament` | fair sharing: the order in a cycle        |
//! | `fair_preemption` | fair sharing: who gives its quota to one that waits |
//!
//! Sources: Kueue 0.19.2, `pkg/controller/jobframework/reconciler.go`, `pkg/scheduler/scheduler.go`, `pkg/cache/queue`, `pkg/util/wait/backoff.go`,
//! `apis/config/v1beta2/defaults.go`.
//!
//! The life of a job: the load client creates it, suspended. Kueue's reconciler creates a Workload for it. The scheduling loop takes it as the
//! head of its ClusterQueue and admits it: quota is held from then on, and a goroutine writes the admission. The reconciler sees
//! that and unsuspends the job, with the flavors' node labels as selectors and their tolerations. Now the Job controller of
//! kube-controller-manager creates the pods (as `replica_set` does: slow start, its own token bucket), and kube-scheduler places them one by one. When
//! the last pod has finished the Job controller writes the job's status, and Kueue the Workload's; then the quota is free, and
//! a second later (`requeueBatchPeriod`) those that were put aside in the cohort are tried again.
//!
//! A workload that is preempted: the loop writes the eviction to its status, eight at a time, and waits for the answers. The reconciler sees it and suspends the job, resets its start time
//! and takes the flavors' selectors off it, a request each. The Job controller deletes the job's pods and writes that none is active (pods that are still ending do not count); then the
//! reconciler gives the quota back and the workload waits in its queue again. Its pods are made anew when it begins again; those that have succeeded are not.
//!
//! The loop is one thread. It writes why heads were not admitted one after the other and waits for each answer, so that a cycle with many of them is as long as their
//! requests take. After a cycle that admitted nothing it waits 1 ms, then twice as long each time, up to 10 ms.
//!
//! All requests share a token bucket (300 a second, burst 500 by default); answers stand for what informers show.
//!
//! Left out: what `cycle` says; pods without a job and Deployments; `waitForPodsReady`; quota that pods free before their job
//! ends (`ReclaimablePods`); Events; MultiKueue; restarts of Kueue (faults are refused with it).
//!
//! Cost: O(log workloads) a request, and `cycle`'s.
pub mod config;
pub mod cycle;
pub mod fair_preemption;
pub mod preemption;
pub mod quota;
pub mod share;
pub mod tournament;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::super::kernel::{Event, Job, Kernel, ProcessId};
use super::super::{ClientId, ControlPlane, Verb};
use crate::cluster::{NO_NODE, NodeId, PodId, SpecId};
use crate::cost::{OpId, Picos, ProfileError};
use crate::engine::{MILLISECOND, Nanos, SECOND};
use config::Config;
use cycle::{Cycles, Outcome, Why, WorkloadId};

/// `requeueBatchPeriod`.
const REQUEUE_BATCH_NS: Nanos = SECOND;
const INITIAL_BACKOFF_NS: Nanos = MILLISECOND;
const MAX_BACKOFF_NS: Nanos = 10 * MILLISECOND;
/// `parallelPreemptions`.
const PARALLEL_PREEMPTIONS: usize = 8;
/// Requests of a job that stops: suspend it, reset its start time, restore its pods' template.
const STOP_REQUESTS: u8 = 3;
/// In the place of a node: the request evicts.
const EVICTION: NodeId = 0;
/// Timers, and CPU work that is not a workload's.
const LOOP: u32 = u32::MAX;
const REQUEUE: u32 = u32::MAX - 1;

/// Where a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Stage {
    /// Not created.
    #[default]
    Planned,
    /// The reconciler is to create its Workload.
    Created,
    /// The Workload's creation is under way.
    Creating,
    /// In a queue, or being looked at.
    Queued,
    /// Its admission is being written.
    Admitting,
    /// The reconciler is to unsuspend it.
    Admitted,
    /// The unsuspension is under way.
    Starting,
    /// Its pods are the Job controller's matter.
    Started,
    /// All have finished: the Job controller writes that.
    Completing,
    /// The reconciler is to finish its Workload.
    Completed,
    /// That is being written.
    Finishing,
    /// Over.
    Finished,
    /// It was evicted: the reconciler is to stop it.
    Evicted,
    /// So many of its requests are left, the first under way.
    Stopping(u8),
    /// It is stopped; the Job controller deletes its pods.
    Stopped,
    /// The reconciler is to give its quota back.
    Inactive,
    /// That is being written.
    Clearing,
}

/// What the scheduling loop does.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Loop {
    /// Blocked until there are heads.
    #[default]
    Idle,
    /// Computes; the outcome is known.
    Cycle(Outcome),
    /// Evicts: who is still to be, and whose request is under way. Then it writes.
    Evicting {
        left: VecDeque<WorkloadId>,
        under_way: BTreeSet<WorkloadId>,
        others: Vec<(WorkloadId, Why)>,
        admitted: bool,
    },
    /// Writes why heads were not admitted; the first is under way.
    Writing { left: VecDeque<WorkloadId>, admitted: bool },
    /// Waits before the next cycle.
    Backoff,
}

#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Operations {
    cycle: OpId,
    snapshot_workload: OpId,
    head: OpId,
    flavor: OpId,
    reconcile: OpId,
}

/// When a job got where, ns; `u64::MAX`: it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct JobTimes {
    /// Created.
    pub created_ns: Nanos,
    /// Quota was reserved for it, the first time.
    pub admitted_ns: Nanos,
    /// Unsuspended, the first time.
    pub started_ns: Nanos,
    /// How often it was preempted.
    pub preemptions: u32,
}

/// What is to happen to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It may begin, its pods with this spec if a flavor changes it.
    Start(WorkloadId, Option<SpecId>),
    /// It is suspended: its pods are to be deleted.
    Suspend(WorkloadId),
}

/// Kueue.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Kueue {
    #[serde(skip)]
    config: Arc<Config>,
    client: ClientId,
    process: ProcessId,
    operations: Operations,
    cycles: Cycles,
    stages: Vec<Stage>,
    times: Vec<JobTimes>,
    /// Pods that have not finished.
    left: Vec<u32>,
    loop_: Loop,
    backoff_ns: Nanos,
    /// Queues whose cohorts are tried again when the batch is over.
    released: BTreeSet<usize>,
    /// What each Workload's condition was last written as.
    written: BTreeMap<WorkloadId, Why>,
    /// Jobs whose eviction is stored and that have not been stopped for it.
    evicted: BTreeSet<WorkloadId>,
    /// Jobs that were suspended and of which no pod is active.
    inactive: BTreeSet<WorkloadId>,
}

impl Kueue {
    /// Builds it. Its profile has `cycle`, `snapshot_workload`, `head`, `flavor`, `reconcile`.
    ///
    /// # Errors
    /// The profile lacks one.
    pub fn new(
        kernel: &mut Kernel,
        config: Arc<Config>,
        client: ClientId,
        process: ProcessId,
    ) -> Result<Self, ProfileError> {
        let meter = kernel.meter(process);
        let operations = Operations {
            cycle: meter.operation("cycle")?,
            snapshot_workload: meter.operation("snapshot_workload")?,
            head: meter.operation("head")?,
            flavor: meter.operation("flavor")?,
            reconcile: meter.operation("reconcile")?,
        };
        let never = JobTimes {
            created_ns: Nanos::MAX,
            admitted_ns: Nanos::MAX,
            started_ns: Nanos::MAX,
            preemptions: 0,
        };
        Ok(Self {
            client,
            process,
            operations,
            cycles: Cycles::new(&config),
            stages: vec![Stage::Planned; config.workloads.len()],
            times: vec![never; config.workloads.len()],
            left: config.workloads.iter().map(|w| w.pods.1 - w.pods.0).collect(),
            loop_: Loop::Idle,
            backoff_ns: INITIAL_BACKOFF_NS,
            released: BTreeSet::new(),
            written: BTreeMap::new(),
            evicted: BTreeSet::new(),
            inactive: BTreeSet::new(),
            config,
        })
    }

    /// Takes over what was built from the inputs, after a restore.
    pub fn keep_inputs_of(&mut self, built: &Self) {
        self.config = Arc::clone(&built.config);
    }

    /// Its client.
    #[must_use]
    pub const fn client(&self) -> ClientId {
        self.client
    }

    /// Each job's times, in the order of their arrivals.
    #[must_use]
    pub fn times(&self) -> &[JobTimes] {
        &self.times
    }

    /// Each job's pods (the first, and one past the last) and times.
    pub fn jobs(&self) -> impl Iterator<Item = (PodId, PodId, JobTimes)> {
        self.config.workloads.iter().zip(&self.times).map(|(w, times)| (w.pods.0, w.pods.1, *times))
    }

    /// The pod that stands for a job in requests.
    #[must_use]
    pub fn key_of(&self, id: WorkloadId) -> PodId {
        self.config.workloads[id as usize].pods.0
    }

    /// The job that a pod of the plan belongs to.
    #[must_use]
    pub fn job_of(&self, pod: PodId) -> Option<WorkloadId> {
        let after = self.config.workloads.partition_point(|w| w.pods.0 <= pod);
        let id = after.checked_sub(1)?;
        (pod < self.config.workloads[id].pods.1).then_some(id as WorkloadId)
    }

    /// Whether any ClusterQueue may preempt.
    #[must_use]
    pub fn may_preempt(&self) -> bool {
        self.config.may_preempt()
    }

    /// Whether a job that was evicted has not begun again.
    #[must_use]
    pub fn has_evicted(&self) -> bool {
        let begun = |stage: &Stage| {
            matches!(
                stage,
                Stage::Started | Stage::Completing | Stage::Completed | Stage::Finishing | Stage::Finished
            )
        };
        self.times.iter().zip(&self.stages).any(|(times, stage)| times.preemptions > 0 && !begun(stage))
    }

    /// Whether something is under way that time or an answer will bring to an end.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        let rests = |stage: &Stage| matches!(stage, Stage::Queued | Stage::Started | Stage::Finished);
        // The loop itself goes round for ever with the head of a strict queue that never fits.
        !self.released.is_empty() || !self.stages.iter().all(rests)
    }

    /// Pods that wait for admission, by reason.
    #[must_use]
    pub fn pending_reasons(&self) -> BTreeMap<String, u64> {
        let mut reasons = BTreeMap::new();
        for (id, why) in self.cycles.waiting() {
            let workload = &self.config.workloads[id as usize];
            let queue = &self.config.queues[workload.queue].name;
            let reason = match why {
                None => format!("quota: waits behind others in ClusterQueue {queue}"),
                Some(Why::NoFlavor) => format!("quota: ClusterQueue {queue} has no flavor for it"),
                Some(Why::ExceedsQuota) => format!("quota: more than ClusterQueue {queue} can ever have"),
                Some(Why::Quota | Why::Lost | Why::Preempting) => {
                    format!("quota: ClusterQueue {queue} is in use")
                }
            };
            *reasons.entry(reason).or_default() += u64::from(workload.pods.1 - workload.pods.0);
        }
        reasons
    }

    fn cpu(&self, kernel: &mut Kernel, cost: Picos, tag: u32) {
        kernel.cpu_picos(self.process, cost, Job::Kueue(tag));
    }

    fn reconcile(&mut self, kernel: &mut Kernel, id: WorkloadId) {
        let cost = kernel.meter(self.process).charge(self.operations.reconcile, 1);
        self.cpu(kernel, cost, id);
    }

    fn write(&self, kernel: &mut Kernel, control_plane: &mut ControlPlane, id: WorkloadId) {
        control_plane.submit(kernel, self.client, Verb::PutObject, self.key_of(id), NO_NODE);
    }

    fn evict(&self, kernel: &mut Kernel, control_plane: &mut ControlPlane, id: WorkloadId) {
        control_plane.submit(kernel, self.client, Verb::PutObject, self.key_of(id), EVICTION);
    }

    /// A job was created.
    pub fn on_job(&mut self, kernel: &mut Kernel, pod: PodId) {
        let Some(id) = self.job_of(pod) else { return };
        if self.stages[id as usize] == Stage::Planned {
            self.stages[id as usize] = Stage::Created;
            self.times[id as usize].created_ns = kernel.now();
            self.reconcile(kernel, id);
        }
    }

    /// A pod of a job has succeeded; says whether its job has, whose status is then to be written by the Job controller.
    pub fn on_pod_finished(&mut self, id: WorkloadId) -> Option<PodId> {
        let left = self.left.get_mut(id as usize)?;
        *left = left.saturating_sub(1);
        self.completes(id)
    }

    /// Whether all pods of a job that runs have succeeded, as `on_pod_finished` says.
    pub fn completes(&mut self, id: WorkloadId) -> Option<PodId> {
        if self.left[id as usize] == 0 && self.stages[id as usize] == Stage::Started {
            self.stages[id as usize] = Stage::Completing;
            return Some(self.key_of(id));
        }
        None
    }

    /// The job's status is written: it is complete, or has no active pod.
    pub fn on_job_written(&mut self, kernel: &mut Kernel, pod: PodId) {
        let Some(id) = self.job_of(pod) else { return };
        match self.stages[id as usize] {
            Stage::Completing => {
                self.stages[id as usize] = Stage::Completed;
                self.reconcile(kernel, id);
            }
            Stage::Stopping(_) => {
                self.inactive.insert(id);
            }
            Stage::Stopped => {
                self.stages[id as usize] = Stage::Inactive;
                self.reconcile(kernel, id);
            }
            _ => {}
        }
    }

    /// CPU work is done.
    pub fn on_cpu_done(&mut self, kernel: &mut Kernel, control_plane: &mut ControlPlane, tag: u32) {
        if tag == LOOP {
            return self.after_cycle(kernel, control_plane);
        }
        let next = match self.stages[tag as usize] {
            Stage::Created => Stage::Creating,
            Stage::Admitted => Stage::Starting,
            Stage::Completed => Stage::Finishing,
            Stage::Evicted => Stage::Stopping(STOP_REQUESTS),
            Stage::Inactive => Stage::Clearing,
            other => other,
        };
        self.stages[tag as usize] = next;
        self.write(kernel, control_plane, tag);
    }

    /// A timer fired.
    pub fn on_timer(&mut self, kernel: &mut Kernel, tag: u32) {
        if tag == REQUEUE {
            for queue in std::mem::take(&mut self.released) {
                self.cycles.requeue(&self.config, queue);
            }
        } else if self.loop_ == Loop::Backoff {
            self.loop_ = Loop::Idle;
        }
        self.wake(kernel);
    }

    fn wake(&mut self, kernel: &mut Kernel) {
        if self.loop_ != Loop::Idle || !self.cycles.has_heads() {
            return;
        }
        let op = self.operations;
        let admitted = self.cycles.admitted() as u64;
        let outcome = self.cycles.run(&self.config, kernel.now());
        let meter = kernel.meter(self.process);
        let cost = meter.charge(op.cycle, 1)
            + meter.charge(op.snapshot_workload, admitted)
            + meter.charge(op.head, outcome.work.0)
            + meter.charge(op.flavor, outcome.work.1);
        self.loop_ = Loop::Cycle(outcome);
        self.cpu(kernel, cost, LOOP);
    }

    fn after_cycle(&mut self, kernel: &mut Kernel, control_plane: &mut ControlPlane) {
        let Loop::Cycle(outcome) = std::mem::take(&mut self.loop_) else { return };
        let admitted = !outcome.admitted.is_empty();
        for id in outcome.admitted {
            self.stages[id as usize] = Stage::Admitting;
            let admitted_ns = &mut self.times[id as usize].admitted_ns;
            *admitted_ns = kernel.now().min(*admitted_ns);
            self.write(kernel, control_plane, id);
        }
        let left: VecDeque<WorkloadId> = outcome.preempted.into_iter().map(|(id, _)| id).collect();
        let (under_way, others) = (BTreeSet::new(), outcome.others);
        self.loop_ = Loop::Evicting { left, under_way, others, admitted };
        self.evict_next(kernel, control_plane);
    }

    /// The next evictions; when all are answered, the other writes.
    fn evict_next(&mut self, kernel: &mut Kernel, control_plane: &mut ControlPlane) {
        let Loop::Evicting { left, under_way, others, admitted } = &mut self.loop_ else { return };
        let mut next = Vec::new();
        while under_way.len() < PARALLEL_PREEMPTIONS
            && let Some(id) = left.pop_front()
        {
            under_way.insert(id);
            next.push(id);
        }
        let done = under_way.is_empty();
        let (others, admitted) = if done { (std::mem::take(others), *admitted) } else { (Vec::new(), false) };
        next.into_iter().for_each(|id| self.evict(kernel, control_plane, id));
        if !done {
            return;
        }
        // Only what has changed is written.
        let left: VecDeque<WorkloadId> = (others.into_iter())
            .filter(|(id, why)| self.written.insert(*id, *why) != Some(*why))
            .map(|(id, _)| id)
            .collect();
        if let Some(first) = left.front() {
            self.write(kernel, control_plane, *first);
        }
        self.loop_ = Loop::Writing { left, admitted };
        self.go_on(kernel);
    }

    /// The loop's writes are done: the next cycle, at once or after a pause.
    fn go_on(&mut self, kernel: &mut Kernel) {
        let Loop::Writing { left, admitted } = &self.loop_ else { return };
        if !left.is_empty() {
            return;
        }
        if *admitted {
            self.backoff_ns = INITIAL_BACKOFF_NS;
            self.loop_ = Loop::Idle;
            self.wake(kernel);
        } else {
            let at = kernel.now() + self.backoff_ns;
            self.backoff_ns = (self.backoff_ns * 2).min(MAX_BACKOFF_NS);
            self.loop_ = Loop::Backoff;
            kernel.at(at, Event::Kueue { tag: LOOP });
        }
    }

    /// An eviction was answered.
    fn on_evicted(
        &mut self,
        kernel: &mut Kernel,
        control_plane: &mut ControlPlane,
        id: WorkloadId,
        ok: bool,
    ) {
        if !ok {
            return self.evict(kernel, control_plane, id);
        }
        // It may have finished meanwhile.
        if self.cycles.is_evicted(id) {
            self.evicted.insert(id);
            self.stop(kernel, id);
        }
        if let Loop::Evicting { under_way, .. } = &mut self.loop_ {
            under_way.remove(&id);
            self.evict_next(kernel, control_plane);
        }
    }

    /// Stops a job whose eviction is stored, unless its own requests are under way: then when they are answered.
    fn stop(&mut self, kernel: &mut Kernel, id: WorkloadId) {
        let next = match self.stages[id as usize] {
            Stage::Started => Stage::Evicted,
            // One that never began is suspended, and at its reconciler already.
            Stage::Admitted => Stage::Inactive,
            _ => return,
        };
        if !self.evicted.remove(&id) {
            return;
        }
        self.stages[id as usize] = next;
        self.times[id as usize].preemptions += 1;
        if next == Stage::Evicted {
            self.reconcile(kernel, id);
        }
    }

    /// One of its requests was answered; says what is to happen to the job.
    pub fn on_answered(
        &mut self,
        kernel: &mut Kernel,
        control_plane: &mut ControlPlane,
        (pod, what): (PodId, NodeId),
        ok: bool,
    ) -> Option<Order> {
        let id = self.job_of(pod)?;
        if what == EVICTION {
            self.on_evicted(kernel, control_plane, id, ok);
            return None;
        }
        if !ok {
            // Reconcilers and the loop's patches are tried again.
            self.write(kernel, control_plane, id);
            return None;
        }
        match self.stages[id as usize] {
            Stage::Creating => {
                self.stages[id as usize] = Stage::Queued;
                // Timestamps have whole seconds; the Workload's own creation counts.
                let created_ns = kernel.now() / SECOND * SECOND;
                self.cycles.push(&self.config, id, created_ns);
                self.wake(kernel);
            }
            Stage::Queued => {
                if let Loop::Writing { left, .. } = &mut self.loop_
                    && left.front() == Some(&id)
                {
                    left.pop_front();
                    if let Some(next) = left.front().copied() {
                        self.write(kernel, control_plane, next);
                    }
                    self.go_on(kernel);
                }
            }
            Stage::Admitting => {
                self.stages[id as usize] = Stage::Admitted;
                self.reconcile(kernel, id);
                self.stop(kernel, id);
            }
            Stage::Starting => {
                self.stages[id as usize] = Stage::Started;
                let started_ns = &mut self.times[id as usize].started_ns;
                *started_ns = kernel.now().min(*started_ns);
                let chosen = self.cycles.flavors_of(id);
                let workload = &self.config.workloads[id as usize];
                let spec = workload.combined.iter().find(|(flavors, _)| *flavors == chosen).map(|(_, s)| *s);
                self.stop(kernel, id);
                return Some(Order::Start(id, spec));
            }
            Stage::Finishing => {
                self.stages[id as usize] = Stage::Finished;
                self.evicted.remove(&id);
                self.release(kernel, id);
            }
            Stage::Stopping(left) => {
                if left > 1 {
                    self.stages[id as usize] = Stage::Stopping(left - 1);
                    self.write(kernel, control_plane, id);
                } else if self.inactive.remove(&id) {
                    self.stages[id as usize] = Stage::Inactive;
                    self.reconcile(kernel, id);
                } else {
                    self.stages[id as usize] = Stage::Stopped;
                }
                if left == STOP_REQUESTS {
                    return Some(Order::Suspend(id));
                }
            }
            Stage::Clearing => {
                self.stages[id as usize] = Stage::Queued;
                self.release(kernel, id);
                self.written.remove(&id);
                self.cycles.push_again(&self.config, id);
                self.wake(kernel);
            }
            _ => {}
        }
        None
    }

    /// A job's quota is free: a while later those that wait for it are tried again.
    fn release(&mut self, kernel: &mut Kernel, id: WorkloadId) {
        let queue = self.cycles.release(&self.config, id);
        if self.released.is_empty() {
            kernel.at(kernel.now() + REQUEUE_BATCH_NS, Event::Kueue { tag: REQUEUE });
        }
        self.released.insert(queue);
    }
}
