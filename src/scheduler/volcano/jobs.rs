//! PodGroups with their pods, as the scheduler's cache holds them, and sums over each queue's.
//!
//! Sources: `pkg/scheduler/api/job_info.go`, `framework/session.go` (phases) and `pkg/controllers/podgroup` of Volcano 1.15.1.
//!
//! A gang of a scenario is a PodGroup that stands before its pods, as a Volcano Job has it: one role (its task group), whose
//! `minAvailable` is the PodGroup's `minMember`. All other pods get a PodGroup from the controller (`pod_groups`), with
//! `minMember` 1: one an owner, or one a pod that has none.
//!
//! A pod is pending, binding (it has a node, the binding is under way), bound, or finished. Finished pods count for readiness
//! as `Succeeded` does; a PodGroup leaves the cache with the last pod that is not finished.
//!
//! Each change of a job goes through [`Jobs::change`], which keeps the sums of its queue and the lists of jobs that have
//! something to do, so that opening a session costs nothing for jobs that are done.
//!
//! Cost: O(log jobs + resources) a change.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::amount::Amount;
use crate::cluster::{AppId, Cluster, NodeId, PodId};

/// Index of a job.
pub type JobId = u32;
/// No job.
pub const NO_JOB: JobId = u32::MAX;

/// `status.phase` of a PodGroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Phase {
    /// Not enqueued.
    #[default]
    Pending,
    /// Its pods may be scheduled.
    Inqueue,
    /// As many as it needs are bound.
    Running,
    /// Some run, but fewer than it needs.
    Unknown,
    /// As many as it needs have finished, and none runs.
    Completed,
}

/// Why a job's pods wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Why {
    /// No session has looked at it.
    #[default]
    NotSeen,
    /// The queue has no room for its `minResources`.
    QueueQuota,
    /// The cluster has no room for its `minResources`.
    Overcommitted,
    /// Not enough of its pods exist.
    TooFewPods,
    /// Its queue has what it deserves.
    QueueOverused,
    /// No node for one of its pods, of the spec of this pod.
    NoNode(PodId),
}

/// Where a pod is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Place {
    /// Not known.
    #[default]
    Nowhere,
    /// Waits for its PodGroup.
    Ungrouped,
    /// In its job, without a node.
    Pending,
    /// Its binding is under way.
    Binding(NodeId),
    /// Seen to be bound.
    Bound(NodeId),
    /// Finished or deleted.
    Gone,
}

/// Order of a job's pods (`CompareTask`): priority, then index.
pub type TaskKey = (Reverse<i32>, PodId);

/// A PodGroup and its pods.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Job {
    /// Namespace and name, by which the last ties are broken.
    pub uid: String,
    /// Index of its queue.
    pub queue: usize,
    /// `spec.minMember`.
    pub min_member: u32,
    /// `spec.minResources`.
    pub min_resources: Amount,
    /// Of its priority class.
    pub priority: i32,
    /// Its pods have a role, as those of a Volcano Job do.
    pub gang: bool,
    /// When its PodGroup was created, whole seconds, as Kubernetes keeps it.
    pub created_s: u64,
    /// A pod that stands for the PodGroup in requests.
    pub first_pod: PodId,
    /// Phase.
    pub phase: Phase,
    /// Pods with requests that have no node, in order.
    pub pending: BTreeSet<TaskKey>,
    /// Pods without requests that have no node, in order.
    pub best_effort: BTreeSet<TaskKey>,
    /// Pods with a binding under way.
    pub binding: u32,
    /// Bound pods.
    pub bound: u32,
    /// Finished ones.
    pub succeeded: u32,
    /// Requests of binding and bound pods.
    pub allocated: Amount,
    /// Requests of pending pods.
    pub requested: Amount,
    /// Why its pods wait.
    pub why: Why,
    /// What its PodGroup's status was last written as.
    pub written: u64,
    /// What its pods' conditions were last written as, if all alike.
    pub said: u64,
    /// Events about it so far.
    pub events: u32,
}

impl Job {
    /// `ReadyTaskNum`.
    #[must_use]
    pub const fn ready_tasks(&self) -> u32 {
        self.binding + self.bound + self.succeeded
    }

    /// `IsReady`.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready_tasks() + self.best_effort.len() as u32 >= self.min_member
    }

    /// How many pods it has.
    #[must_use]
    pub fn tasks(&self) -> u32 {
        self.ready_tasks() + (self.pending.len() + self.best_effort.len()) as u32
    }

    /// gang's `JobValid`: enough pods exist.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.tasks() >= self.min_member
    }

    /// `GetElasticResources`.
    #[must_use]
    pub fn elastic(&self) -> Amount {
        self.allocated.exceeding(&self.min_resources)
    }

    /// What proportion keeps for a job that is inqueue or runs with as many pods as it needs.
    #[must_use]
    pub fn inqueue(&self) -> Option<Amount> {
        let kept = match self.phase {
            Phase::Inqueue => true,
            Phase::Running => self.binding + self.bound >= self.min_member,
            Phase::Pending | Phase::Unknown | Phase::Completed => false,
        };
        kept.then(|| self.min_resources.exceeding(&self.allocated))
    }

    /// What overcommit keeps for it.
    #[must_use]
    pub fn overcommitted(&self) -> Option<Amount> {
        match self.phase {
            Phase::Inqueue => Some(self.min_resources.clone()),
            _ => self.inqueue(),
        }
    }

    /// Nothing of it is left to schedule or to run.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.pending.is_empty() && self.best_effort.is_empty() && self.binding + self.bound == 0
    }
}

/// Sums over a queue's jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct QueueSums {
    /// Jobs in the cache.
    pub jobs: u64,
    /// Of binding and bound pods.
    pub allocated: Amount,
    /// Of pending pods.
    pub requested: Amount,
    /// Kept for jobs that are inqueue.
    pub inqueue: Amount,
    /// What jobs have beyond their `minResources`.
    pub elastic: Amount,
}

/// All jobs.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Jobs {
    jobs: Vec<Job>,
    by_app: BTreeMap<AppId, JobId>,
    /// By pod.
    job_of: Vec<JobId>,
    /// By pod.
    places: Vec<Place>,
    sums: Vec<QueueSums>,
    /// Kept by overcommit, all queues.
    overcommitted: Amount,
    /// Jobs that are not over.
    alive: BTreeSet<JobId>,
    /// Jobs with pods that have no node.
    waiting: BTreeSet<JobId>,
    /// Jobs whose status has changed since it was looked at.
    touched: BTreeSet<JobId>,
    /// Pods of jobs that are not over.
    tasks: u64,
}

impl Jobs {
    /// None yet, in so many queues.
    #[must_use]
    pub fn new(queues: usize) -> Self {
        Self { sums: vec![QueueSums::default(); queues], ..Self::default() }
    }

    /// A job.
    #[must_use]
    pub fn get(&self, job: JobId) -> &Job {
        &self.jobs[job as usize]
    }

    /// Sums over each queue.
    #[must_use]
    pub fn sums(&self) -> &[QueueSums] {
        &self.sums
    }

    /// Kept by overcommit.
    #[must_use]
    pub const fn overcommitted(&self) -> &Amount {
        &self.overcommitted
    }

    /// Jobs in the cache.
    #[must_use]
    pub fn alive(&self) -> u64 {
        self.alive.len() as u64
    }

    /// Their pods.
    #[must_use]
    pub const fn tasks(&self) -> u64 {
        self.tasks
    }

    /// Jobs with pods that have no node.
    #[must_use]
    pub const fn waiting(&self) -> &BTreeSet<JobId> {
        &self.waiting
    }

    /// Whether a session would have anything to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.touched.is_empty()
    }

    /// Jobs that have changed since this was called last, and all that wait.
    pub fn take_touched(&mut self) -> BTreeSet<JobId> {
        let mut touched = std::mem::take(&mut self.touched);
        touched.extend(&self.waiting);
        touched
    }

    /// Where a pod is.
    #[must_use]
    pub fn place(&self, pod: PodId) -> Place {
        self.places.get(pod as usize).copied().unwrap_or_default()
    }

    /// A pod's job, or [`NO_JOB`].
    #[must_use]
    pub fn job_of(&self, pod: PodId) -> JobId {
        self.job_of.get(pod as usize).copied().unwrap_or(NO_JOB)
    }

    /// The job of an application, if it has one.
    #[must_use]
    pub fn of_app(&self, app: AppId) -> Option<JobId> {
        self.by_app.get(&app).copied()
    }

    fn set_place(&mut self, pod: PodId, place: Place) {
        if self.places.len() <= pod as usize {
            self.places.resize(pod as usize + 1, Place::Nowhere);
        }
        self.places[pod as usize] = place;
    }

    /// A pod is seen whose PodGroup does not exist.
    pub fn add_ungrouped(&mut self, pod: PodId) {
        self.set_place(pod, Place::Ungrouped);
    }

    /// Adds a job; `app` if all of the application's pods belong to it.
    pub fn add(&mut self, job: Job, app: Option<AppId>) -> JobId {
        let id = self.jobs.len() as JobId;
        self.jobs.push(job);
        if let Some(app) = app {
            self.by_app.insert(app, id);
        }
        id
    }

    /// Changes a job and keeps what depends on it.
    pub fn change<T>(&mut self, id: JobId, with: impl FnOnce(&mut Job) -> T) -> T {
        self.count(id, false);
        let result = with(&mut self.jobs[id as usize]);
        self.count(id, true);
        result
    }

    /// What is only said of a job, and in no sum.
    pub fn note(&mut self, id: JobId, with: impl FnOnce(&mut Job)) {
        with(&mut self.jobs[id as usize]);
    }

    fn count(&mut self, id: JobId, more: bool) {
        let job = &self.jobs[id as usize];
        let sums = &mut self.sums[job.queue];
        let put = |sum: &mut Amount, part: &Amount| if more { sum.add(part) } else { sum.sub(part) };
        if !job.is_over() {
            if more {
                sums.jobs += 1;
                self.tasks += u64::from(job.tasks());
            } else {
                sums.jobs -= 1;
                self.tasks -= u64::from(job.tasks());
            }
        }
        put(&mut sums.allocated, &job.allocated);
        put(&mut sums.requested, &job.requested);
        put(&mut sums.elastic, &job.elastic());
        if let Some(kept) = job.inqueue().filter(|_| !job.is_over()) {
            put(&mut sums.inqueue, &kept);
        }
        if let Some(kept) = job.overcommitted().filter(|_| !job.is_over()) {
            put(&mut self.overcommitted, &kept);
        }
        if more {
            let keep = |set: &mut BTreeSet<JobId>, is_in: bool| {
                if is_in {
                    set.insert(id);
                } else {
                    set.remove(&id);
                }
            };
            keep(&mut self.alive, !job.is_over());
            keep(&mut self.waiting, !(job.pending.is_empty() && job.best_effort.is_empty()));
            keep(&mut self.touched, true);
        }
    }

    /// A pod joins its job, without a node.
    pub fn join(&mut self, cluster: &Cluster, pod: PodId, id: JobId) {
        if self.job_of.len() <= pod as usize {
            self.job_of.resize(pod as usize + 1, NO_JOB);
        }
        self.job_of[pod as usize] = id;
        self.move_to(cluster, pod, Place::Pending);
    }

    /// A pod moves; says where it was.
    ///
    /// # Panics
    /// If it has no job.
    pub fn move_to(&mut self, cluster: &Cluster, pod: PodId, place: Place) -> Place {
        let before = self.place(pod);
        if before == place {
            return before;
        }
        let spec = cluster.pods.spec(pod);
        let (key, request) = ((Reverse(spec.priority), pod), Amount::of(&spec.requests));
        self.set_place(pod, place);
        self.change(self.job_of(pod), |job| {
            match before {
                Place::Pending => {
                    if !job.pending.remove(&key) {
                        job.best_effort.remove(&key);
                    }
                    job.requested.sub(&request);
                }
                Place::Binding(_) => {
                    job.binding -= 1;
                    job.allocated.sub(&request);
                }
                Place::Bound(_) => {
                    job.bound -= 1;
                    job.allocated.sub(&request);
                }
                Place::Gone => job.succeeded -= 1,
                Place::Nowhere | Place::Ungrouped => {}
            }
            match place {
                Place::Pending => {
                    let best_effort = Amount::is_best_effort(&spec.requests);
                    let tasks = if best_effort { &mut job.best_effort } else { &mut job.pending };
                    tasks.insert(key);
                    job.requested.add(&request);
                }
                Place::Binding(_) => {
                    job.binding += 1;
                    job.allocated.add(&request);
                }
                Place::Bound(_) => {
                    job.bound += 1;
                    job.allocated.add(&request);
                }
                // Only what ran has succeeded; a pod that is deleted before leaves no trace.
                Place::Gone if matches!(before, Place::Bound(_) | Place::Binding(_)) => job.succeeded += 1,
                Place::Gone | Place::Nowhere | Place::Ungrouped => {}
            }
        });
        before
    }

    /// A pod without a job is gone.
    pub fn forget(&mut self, pod: PodId) {
        self.set_place(pod, Place::Gone);
    }
}
