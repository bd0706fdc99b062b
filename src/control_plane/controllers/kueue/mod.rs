//! Kueue: jobs wait suspended until their ClusterQueue has quota for all of their pods.
//!
//! | Module   | What it is                                    |
//! |----------|-----------------------------------------------|
//! | `config` | flavors, ClusterQueues, workloads             |
//! | `quota`  | quotas, borrowing and lending in a cohort     |
//! | `cycle`  | queues, flavor assignment, the admission cycle |
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
pub mod quota;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::super::kernel::{Event, Job, Kernel, ProcessId};
use super::super::{ClientId, ControlPlane, Verb};
use crate::cluster::{NO_NODE, PodId, SpecId};
use crate::cost::{OpId, Picos, ProfileError};
use crate::engine::{MILLISECOND, Nanos, SECOND};
use config::Config;
use cycle::{Cycles, Outcome, Why, WorkloadId};

/// `requeueBatchPeriod`.
const REQUEUE_BATCH_NS: Nanos = SECOND;
const INITIAL_BACKOFF_NS: Nanos = MILLISECOND;
const MAX_BACKOFF_NS: Nanos = 10 * MILLISECOND;
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
}

/// What the scheduling loop does.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Loop {
    /// Blocked until there are heads.
    #[default]
    Idle,
    /// Computes; the outcome is known.
    Cycle(Outcome),
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
    /// Quota was reserved for it.
    pub admitted_ns: Nanos,
    /// Unsuspended.
    pub started_ns: Nanos,
}

/// A job that may begin: its pods, and their spec if a flavor changes it.
pub type Start = (WorkloadId, Option<SpecId>);

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
        let never = JobTimes { created_ns: Nanos::MAX, admitted_ns: Nanos::MAX, started_ns: Nanos::MAX };
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

    fn job_of(&self, pod: PodId) -> Option<WorkloadId> {
        let after = self.config.workloads.partition_point(|w| w.pods.0 <= pod);
        let id = after.checked_sub(1)?;
        (pod < self.config.workloads[id].pods.1).then_some(id as WorkloadId)
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
                Some(Why::Quota | Why::Lost) => format!("quota: ClusterQueue {queue} is in use"),
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

    /// A job was created.
    pub fn on_job(&mut self, kernel: &mut Kernel, pod: PodId) {
        let Some(id) = self.job_of(pod) else { return };
        if self.stages[id as usize] == Stage::Planned {
            self.stages[id as usize] = Stage::Created;
            self.times[id as usize].created_ns = kernel.now();
            self.reconcile(kernel, id);
        }
    }

    /// A pod has finished; says whether its job has, whose status is then to be written by the Job controller.
    pub fn on_pod_finished(&mut self, pod: PodId) -> Option<PodId> {
        let id = self.job_of(pod)?;
        let left = &mut self.left[id as usize];
        *left = left.saturating_sub(1);
        if *left == 0 && self.stages[id as usize] == Stage::Started {
            self.stages[id as usize] = Stage::Completing;
            return Some(self.key_of(id));
        }
        None
    }

    /// The job's status is written.
    pub fn on_job_completed(&mut self, kernel: &mut Kernel, pod: PodId) {
        if let Some(id) = self.job_of(pod)
            && self.stages[id as usize] == Stage::Completing
        {
            self.stages[id as usize] = Stage::Completed;
            self.reconcile(kernel, id);
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
        let outcome = self.cycles.run(&self.config);
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
            self.times[id as usize].admitted_ns = kernel.now();
            self.write(kernel, control_plane, id);
        }
        // Only what has changed is written.
        let left: VecDeque<WorkloadId> = (outcome.others.into_iter())
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

    /// One of its requests was answered; says which job may begin.
    pub fn on_answered(
        &mut self,
        kernel: &mut Kernel,
        control_plane: &mut ControlPlane,
        pod: PodId,
        ok: bool,
    ) -> Option<Start> {
        let id = self.job_of(pod)?;
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
            }
            Stage::Starting => {
                self.stages[id as usize] = Stage::Started;
                self.times[id as usize].started_ns = kernel.now();
                let chosen = self.cycles.flavors_of(id);
                let workload = &self.config.workloads[id as usize];
                let spec = workload.combined.iter().find(|(flavors, _)| *flavors == chosen).map(|(_, s)| *s);
                return Some((id, spec));
            }
            Stage::Finishing => {
                self.stages[id as usize] = Stage::Finished;
                let queue = self.cycles.release(&self.config, id);
                if self.released.is_empty() {
                    kernel.at(kernel.now() + REQUEUE_BATCH_NS, Event::Kueue { tag: REQUEUE });
                }
                self.released.insert(queue);
            }
            _ => {}
        }
        None
    }
}
