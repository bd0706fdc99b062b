//! The Job controller: so many pods that succeed, so many at once, and a limit of those that fail.
//!
//! A sync makes as many pods as are missing to `parallelism`, or to the completions that are left, at most 500, in batches of
//! 1, 2, 4, .. A pod succeeds when its run time is over. One that fails, or is deleted or evicted before, counts as a failure
//! and is made anew: of an Indexed Job the lowest index first, else after the pods that have not been tried. After n
//! failures since the last success no pod is made before 10 s, doubled n - 1 times, at most 10 min, have passed since the
//! last failure. When more pods have failed than `backoffLimit` says (6) the Job has failed: its pods that are left are
//! deleted, again and again until each deletion is stored, and those that were to come never do.
//!
//! Changes of pods are collected for a second before a Job is synced. For each pod that has ended a sync takes its finalizer
//! off (one PATCH), between two writes of the Job's status. All requests share the controller's bucket (20/s, burst 30), so that
//! a Job of short pods ends fewer than ten pods a second. Five syncs run at once (`--concurrent-job-syncs`). A sync in which a
//! request failed is tried again after 1 s, doubled up to 1 min.
//!
//! Source: k/k `pkg/controller/job/{job_controller,backoff_utils}.go`.
//!
//! Left out: `activeDeadlineSeconds`, `backoffLimitPerIndex`, pod failure and success policies, `podReplacementPolicy:
//! Failed`, suspension, `ttlSecondsAfterFinished`, containers that are started anew in their pod (`restartPolicy:
//! OnFailure`), Jobs without `completions`, the informer's delay between a creation and the next sync.
//!
//! Cost: O(log parallelism) a pod.
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::kernel::ControllerEvent;
use super::super::store::Refusal;
use super::super::{ClientId, Verb};
use super::owners::Owners;
use super::work_queue::WorkQueue;
use super::{Answer, Env, doubled_ns};
use crate::cluster::{NO_NODE, PodId, Stage};
use crate::engine::{Nanos, SECOND};

/// `MaxPodCreateDeletePerSync`.
const MOST_PER_SYNC: u32 = 500;
/// `syncJobBatchPeriod`.
const BATCH_NS: Nanos = SECOND;
/// `DefaultJobPodFailureBackOff`, `MaxJobPodFailureBackOff`.
const FIRST_BACKOFF_NS: Nanos = 10 * SECOND;
const LAST_BACKOFF_NS: Nanos = 600 * SECOND;
/// `DefaultJobApiBackOff`, `MaxJobApiBackOff`.
const FIRST_RETRY_NS: Nanos = SECOND;
const LAST_RETRY_NS: Nanos = 60 * SECOND;

/// What a Job is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct JobSettings {
    /// `parallelism`.
    pub parallelism: u32,
    /// `backoffLimit`.
    pub backoff_limit: u32,
    /// `completionMode: Indexed`.
    pub indexed: bool,
}

/// How long after the last of so many failures in a row no pod is made, ns.
#[must_use]
pub fn backoff_ns(failures: u32) -> Nanos {
    failures.checked_sub(1).map_or(0, |times| doubled_ns(FIRST_BACKOFF_NS, times, LAST_BACKOFF_NS))
}

/// Where a sync is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Step {
    Idle,
    /// Pods are made, or deleted.
    Pods,
    /// The status is written before finalizers go.
    Status,
    Finalizers,
    /// And after.
    LastStatus,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Job {
    settings: JobSettings,
    completions: u32,
    /// The plan's pods that have not been tried.
    next: PodId,
    end: PodId,
    /// Pods to be made in the place of these, by index.
    lost: BTreeMap<u32, PodId>,
    /// Pods that are neither ended nor being deleted, with their index.
    active: BTreeMap<PodId, u32>,
    succeeded: u32,
    failed: u32,
    /// Failures since the last success.
    in_a_row: u32,
    last_failure_ns: Nanos,
    /// It has succeeded or failed.
    over: bool,
    /// Pods of a Job that has failed whose deletion is not stored.
    doomed: BTreeSet<PodId>,
    /// Pods that have ended, with their finalizer.
    ended: VecDeque<PodId>,
    step: Step,
    to_make: u32,
    batch: u32,
    /// Answers that the sync waits for.
    under_way: BTreeSet<PodId>,
    changed: bool,
    sync_failed: bool,
    failures: u32,
    /// When it is queued.
    due_ns: Option<Nanos>,
    begun: bool,
    /// Nothing is left to run, and its last sync is not over.
    concluding: bool,
    /// Its CronJob has deleted it.
    deleted: bool,
    /// It has failed.
    gave_up: bool,
    /// Its end is known.
    told: bool,
}

/// The Jobs of a run.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Jobs {
    client: ClientId,
    owners: Owners,
    jobs: Vec<Job>,
    queue: WorkQueue,
    completed: u64,
    given_up: u64,
    /// How many are concluding.
    concluding: u64,
    /// Jobs of CronJobs that were never created, or deleted before their end.
    without_end: u64,
    /// Owners of Jobs whose end nobody was told of.
    news: Vec<u32>,
}

impl Jobs {
    /// Jobs over ranges of pods, none created.
    #[must_use]
    pub fn new(
        client: ClientId,
        first_owner: u32,
        workers: u32,
        jobs: &[((PodId, PodId), JobSettings)],
    ) -> Self {
        let job = |&((next, end), settings): &((PodId, PodId), JobSettings)| Job {
            settings,
            completions: end - next,
            next,
            end,
            lost: BTreeMap::new(),
            active: BTreeMap::new(),
            succeeded: 0,
            failed: 0,
            in_a_row: 0,
            last_failure_ns: 0,
            over: false,
            doomed: BTreeSet::new(),
            ended: VecDeque::new(),
            step: Step::Idle,
            to_make: 0,
            batch: 0,
            under_way: BTreeSet::new(),
            changed: false,
            sync_failed: false,
            failures: 0,
            due_ns: None,
            begun: false,
            concluding: false,
            deleted: false,
            gave_up: false,
            told: false,
        };
        let queue = WorkQueue::new(jobs.len(), workers);
        let jobs: Vec<_> = jobs.iter().map(job).collect();
        Self {
            client,
            owners: Owners::new(first_owner, jobs.len()),
            jobs,
            queue,
            completed: 0,
            given_up: 0,
            concluding: 0,
            without_end: 0,
            news: Vec::new(),
        }
    }

    /// Owners of the Jobs that have ended since the last call.
    pub fn take_ended(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.news)
    }

    /// Whether a Job has succeeded; none: it has not ended.
    #[must_use]
    pub fn outcome(&self, owner: u32) -> Option<bool> {
        let job = &self.jobs[self.index_of(owner)? as usize];
        job.told.then_some(!job.gave_up)
    }

    /// A CronJob has created a Job; it may have been created before.
    pub fn start_of(&mut self, env: &mut Env<'_>, owner: u32) {
        if let Some(at) = self.index_of(owner) {
            self.start(env, at);
        }
    }

    /// A CronJob never creates a Job.
    pub fn pass_over(&mut self, env: &mut Env<'_>, owner: u32) {
        let Some(at) = self.index_of(owner) else { return };
        let job = &mut self.jobs[at as usize];
        if !job.begun && !job.over {
            job.over = true;
            env.dropped.extend(job.next..job.end);
            job.next = job.end;
            self.without_end += 1;
        }
    }

    /// A CronJob has deleted a Job: its pods go, too.
    pub fn replace(&mut self, env: &mut Env<'_>, owner: u32) {
        let Some(at) = self.index_of(owner) else { return };
        self.jobs[at as usize].deleted = true;
        self.queue.add(at);
        self.pump(env);
    }

    /// Its client.
    #[must_use]
    pub const fn client(&self) -> ClientId {
        self.client
    }

    /// The index of the Job that is this owner.
    #[must_use]
    pub fn index_of(&self, owner: u32) -> Option<u32> {
        self.owners.index_of(owner)
    }

    /// Jobs that have succeeded, and that have failed, so far.
    #[must_use]
    pub const fn ended(&self) -> (u64, u64) {
        (self.completed, self.given_up)
    }

    /// Whether some Job has not ended, or its end is still to be written.
    #[must_use]
    pub const fn are_open(&self) -> bool {
        self.concluding > 0 || self.completed + self.given_up + self.without_end < self.jobs.len() as u64
    }

    /// A Job was created, or its time has come.
    pub fn start(&mut self, env: &mut Env<'_>, at: u32) {
        let job = &mut self.jobs[at as usize];
        let now = env.kernel.now();
        if job.begun {
            // A timer: an earlier one has replaced it otherwise.
            if job.due_ns != Some(now) {
                return;
            }
            job.due_ns = None;
        }
        job.begun = true;
        self.queue.add(at);
        self.pump(env);
    }

    /// A Job is queued at a time, unless it is sooner already.
    fn wake(&mut self, env: &mut Env<'_>, at: u32, when: Nanos) {
        let job = &mut self.jobs[at as usize];
        if job.begun && job.due_ns.is_none_or(|due| due > when) {
            job.due_ns = Some(when);
            env.timer(when, ControllerEvent::Requeue { owner: self.owners.of(at) });
        }
    }

    /// The manager's process is a new one: it looks at everything.
    pub fn restart(&mut self, env: &mut Env<'_>) {
        self.queue.clear();
        for at in 0..self.jobs.len() as u32 {
            let job = &mut self.jobs[at as usize];
            for pod in std::mem::take(&mut job.under_way) {
                // A creation of which nobody heard.
                if env.cluster.pods.stage(pod) == Stage::Planned
                    && let Some(index) = job.active.remove(&pod)
                {
                    job.lost.insert(index, pod);
                }
            }
            (job.step, job.changed, job.sync_failed, job.failures) = (Step::Idle, false, false, 0);
            job.due_ns = None;
            let active: Vec<PodId> = job.active.keys().copied().collect();
            let begun = job.begun;
            for pod in active {
                self.count(env, at, pod);
            }
            if begun {
                self.queue.add(at);
            }
        }
        self.pump(env);
    }

    /// The informer has shown a change of a pod.
    pub fn on_pod(&mut self, env: &mut Env<'_>, at: u32, pod: PodId) {
        if self.count(env, at, pod) {
            let when = env.kernel.now() + BATCH_NS;
            self.wake(env, at, when);
        }
    }

    /// Counts a pod that has ended or is being deleted; says whether it is one.
    fn count(&mut self, env: &mut Env<'_>, at: u32, pod: PodId) -> bool {
        let job = &mut self.jobs[at as usize];
        let store = env.control_plane.store();
        if store.is_active(pod) || job.under_way.contains(&pod) {
            return false;
        }
        let Some(index) = job.active.remove(&pod) else { return false };
        if !store.is_gone(pod) {
            job.ended.push_back(pod);
        }
        if store.is_wanted_away(pod) {
            job.succeeded += 1;
            job.in_a_row = 0;
        } else {
            job.failed += 1;
            job.in_a_row += 1;
            job.last_failure_ns = env.kernel.now();
            job.lost.insert(index, pod);
        }
        job.changed = true;
        let is_last = job.succeeded >= job.completions || job.failed > job.settings.backoff_limit;
        if is_last && !job.over && !std::mem::replace(&mut job.concluding, true) {
            self.concluding += 1;
        }
        true
    }

    fn pump(&mut self, env: &mut Env<'_>) {
        while let Some(at) = self.queue.next() {
            self.sync(env, at);
        }
    }

    fn sync(&mut self, env: &mut Env<'_>, at: u32) {
        let now = env.kernel.now();
        let job = &mut self.jobs[at as usize];
        (job.step, job.sync_failed, job.to_make, job.batch) = (Step::Pods, false, 0, 1);
        if job.over {
            self.delete_doomed(env, at);
            return;
        }
        if job.deleted {
            self.without_end += 1;
            self.end_early(env, at);
            return;
        }
        if job.failed > job.settings.backoff_limit {
            (job.changed, job.gave_up) = (true, true);
            self.given_up += 1;
            self.end_early(env, at);
            return;
        }
        if job.succeeded >= job.completions {
            job.over = true;
            self.completed += 1;
            self.track(env, at);
            return;
        }
        let wanted = (job.completions - job.succeeded).min(job.settings.parallelism);
        let missing = wanted.saturating_sub(job.active.len() as u32).min(MOST_PER_SYNC);
        let ready_ns = job.last_failure_ns.saturating_add(backoff_ns(job.in_a_row));
        if missing > 0 && job.in_a_row > 0 && ready_ns > now {
            self.wake(env, at, ready_ns);
        } else {
            job.to_make = missing;
        }
        self.make(env, at);
    }

    /// Too many pods have failed, or the Job was deleted.
    fn end_early(&mut self, env: &mut Env<'_>, at: u32) {
        let job = &mut self.jobs[at as usize];
        job.over = true;
        env.dropped.extend(job.next..job.end);
        env.dropped.extend(job.lost.values());
        job.next = job.end;
        job.lost.clear();
        job.doomed = std::mem::take(&mut job.active).into_keys().collect();
        for pod in &job.doomed {
            env.control_plane.store_mut().leaves_on_purpose(*pod);
        }
        self.delete_doomed(env, at);
    }

    /// Deletes what is left of a Job that has failed, but for what others have deleted meanwhile.
    fn delete_doomed(&mut self, env: &mut Env<'_>, at: u32) {
        let job = &mut self.jobs[at as usize];
        let store = env.control_plane.store();
        job.doomed.retain(|pod| store.is_active(*pod));
        if job.doomed.is_empty() {
            self.track(env, at);
            return;
        }
        job.under_way.extend(&job.doomed);
        for pod in &job.doomed {
            env.control_plane.submit(env.kernel, self.client, Verb::DeleteGracefully, *pod, NO_NODE);
        }
    }

    /// The next batch of pods.
    fn make(&mut self, env: &mut Env<'_>, at: u32) {
        let owner = self.owners.of(at);
        let job = &mut self.jobs[at as usize];
        if job.to_make == 0 || job.sync_failed {
            self.track(env, at);
            return;
        }
        let count = job.batch.min(job.to_make);
        job.to_make -= count;
        job.batch *= 2;
        for _ in 0..count {
            let untried = job.next < job.end;
            let (pod, index) = if untried && (!job.settings.indexed || job.lost.is_empty()) {
                job.next += 1;
                (job.next - 1, job.completions - (job.end - job.next + 1))
            } else if let Some((index, lost)) = job.lost.pop_first() {
                // One whose creation failed is made itself.
                let is_new = env.cluster.pods.stage(lost) == Stage::Planned;
                (if is_new { lost } else { env.make(lost, owner) }, index)
            } else {
                break;
            };
            job.active.insert(pod, index);
            job.under_way.insert(pod);
            job.changed = true;
            env.control_plane.submit(env.kernel, self.client, Verb::CreatePod, pod, NO_NODE);
        }
        if self.jobs[at as usize].under_way.is_empty() {
            self.track(env, at);
        }
    }

    /// The status, then the finalizers of pods that have ended, then the status again.
    fn track(&mut self, env: &mut Env<'_>, at: u32) {
        let job = &mut self.jobs[at as usize];
        if !std::mem::take(&mut job.changed) && job.ended.is_empty() {
            self.end(env, at);
            return;
        }
        job.step = if job.ended.is_empty() { Step::LastStatus } else { Step::Status };
        self.write_status(env, at);
    }

    fn write_status(&mut self, env: &mut Env<'_>, at: u32) {
        let owner = self.owners.of(at);
        env.control_plane.submit(env.kernel, self.client, Verb::PutObject, PodId::MAX, owner);
    }

    fn end(&mut self, env: &mut Env<'_>, at: u32) {
        let job = &mut self.jobs[at as usize];
        job.step = Step::Idle;
        if job.over && job.doomed.is_empty() && std::mem::take(&mut job.concluding) {
            self.concluding -= 1;
        }
        if job.over && !job.sync_failed && !job.deleted && !std::mem::replace(&mut job.told, true) {
            self.news.push(self.owners.of(at));
        }
        if job.sync_failed {
            let wait_ns = doubled_ns(FIRST_RETRY_NS, job.failures, LAST_RETRY_NS);
            job.failures += 1;
            let when = env.kernel.now() + wait_ns;
            self.wake(env, at, when);
        } else {
            job.failures = 0;
        }
        self.queue.done(at);
        self.pump(env);
    }

    /// An answer.
    pub fn on_answered(&mut self, env: &mut Env<'_>, answer: Answer) {
        let Answer { verb, pod, ok, refusal, .. } = answer;
        let is_status = verb == Verb::PutObject;
        let owner = if is_status { answer.node } else { env.control_plane.store().owner(pod) };
        let Some(at) = self.index_of(owner) else { return };
        let job = &mut self.jobs[at as usize];
        if is_status {
            job.sync_failed |= !ok;
            match job.step {
                Step::Status if ok => {
                    job.step = Step::Finalizers;
                    let ended = std::mem::take(&mut job.ended);
                    job.under_way.extend(&ended);
                    for pod in ended {
                        env.control_plane.submit(env.kernel, self.client, Verb::PatchCondition, pod, NO_NODE);
                    }
                }
                Step::Status | Step::LastStatus => self.end(env, at),
                _ => {}
            }
            return;
        }
        // Of a process that is no more.
        if !job.under_way.remove(&pod) {
            return;
        }
        let lost = !ok && refusal.is_none();
        match job.step {
            Step::Pods if verb == Verb::CreatePod => {
                let made =
                    ok || refusal == Some(Refusal::Conflict) || env.cluster.pods.stage(pod) != Stage::Planned;
                job.sync_failed |= !made;
                if !made && let Some(index) = job.active.remove(&pod) {
                    job.lost.insert(index, pod);
                }
                let done = job.under_way.is_empty();
                if made {
                    // It may have ended before its creation was answered.
                    self.on_pod(env, at, pod);
                }
                if done {
                    self.make(env, at);
                }
            }
            Step::Pods => {
                job.sync_failed |= lost;
                if !lost {
                    job.doomed.remove(&pod);
                }
                if job.under_way.is_empty() {
                    self.track(env, at);
                }
            }
            Step::Finalizers => {
                job.sync_failed |= lost;
                if lost {
                    job.ended.push_back(pod);
                }
                if job.under_way.is_empty() {
                    job.step = Step::LastStatus;
                    self.write_status(env, at);
                }
            }
            Step::Idle | Step::Status | Step::LastStatus => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Facts: "Pod backoff failure policy" of the Kubernetes page "Jobs" and `TestGetRemainingBackoffTime`.
    #[test]
    fn back_off_doubles_from_ten_seconds_to_ten_minutes() {
        let seconds: Vec<Nanos> = (0..9).map(|failures| backoff_ns(failures) / SECOND).collect();
        assert_eq!(seconds, [0, 10, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(backoff_ns(u32::MAX), LAST_BACKOFF_NS);
    }
}
