//! The CronJob controller: when a Job is due, whether it may start beside those that run, and which ones are forgotten.
//!
//! A CronJob is looked at 100 ms after each time of its schedule, and when one of its Jobs has ended. Of the times that have passed since the
//! last one that was used, only the latest counts; those before it never have a Job, nor has one that is more than
//! `startingDeadlineSeconds` ago. `Forbid` waits while a Job runs: the time counts until the next one comes. `Replace` deletes Jobs that run
//! before it creates the new one. More than 100 times that were missed are no error of this controller: it warns, and goes on with the latest.
//!
//! A look costs a request for each Job that it deletes (`Replace`, history limits), one for the Job that it creates, and the write of the
//! CronJob's status if something changed. They share the controller's bucket (20/s, burst 30). One that fails is tried again after 5 ms, doubled.
//! Five looks go on at once (`--concurrent-cron-job-syncs`).
//!
//! Source: k/k `pkg/controller/cronjob/{cronjob_controllerv2,utils}.go`.
//!
//! Left out: the garbage collector, in whose place the Job controller deletes the pods of a Job that is replaced; pods of Jobs beyond the
//! history limits, which have ended and hold nothing.
//!
//! Cost: O(log times + active Jobs) a look.
use std::collections::VecDeque;

use super::super::kernel::ControllerEvent;
use super::super::{ClientId, Verb};
use super::job::Jobs;
use super::owners::Owners;
use super::work_queue::WorkQueue;
use super::{Answer, Env, retry_after_ns};
use crate::cluster::PodId;
use crate::engine::{MILLISECOND, Nanos};

/// How long after a time of its schedule a CronJob is looked at (`nextScheduleDelta`).
pub const DELTA_NS: Nanos = 100 * MILLISECOND;

/// `concurrencyPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Concurrency {
    /// Jobs run beside each other.
    #[default]
    Allow,
    /// A Job waits for the one before.
    Forbid,
    /// A Job takes the place of the one before.
    Replace,
}

/// What a CronJob is told.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CronJobSettings {
    /// When it is due, ascending, after its creation at 0.
    pub times_ns: Vec<Nanos>,
    /// Its first Job's owner; the Job of each time follows.
    pub first_job: u32,
    /// `startingDeadlineSeconds`.
    pub deadline_ns: Option<Nanos>,
    /// `concurrencyPolicy`.
    pub concurrency: Concurrency,
    /// `successfulJobsHistoryLimit` and `failedJobsHistoryLimit`.
    pub history: [u32; 2],
}

/// Where a sync is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Step {
    Idle,
    Deleting,
    Creating,
    Status,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct CronJob {
    settings: CronJobSettings,
    /// The first time that has neither been used nor passed over.
    next: usize,
    /// The time whose Job this sync creates.
    to_create: Option<usize>,
    /// Times whose Jobs run.
    active: Vec<usize>,
    /// Jobs that have succeeded, and failed, and are kept.
    kept: [VecDeque<usize>; 2],
    step: Step,
    under_way: u32,
    changed: bool,
    failed: bool,
    failures: u32,
    /// When it is looked at next.
    armed_ns: Option<Nanos>,
}

/// The CronJobs of a run.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct CronJobs {
    client: ClientId,
    owners: Owners,
    sets: Vec<CronJob>,
    queue: WorkQueue,
    passed_over: u64,
    replaced: u64,
}

impl CronJobs {
    /// CronJobs that exist from the beginning.
    #[must_use]
    pub fn new(client: ClientId, first_owner: u32, workers: u32, sets: &[CronJobSettings]) -> Self {
        let set = |settings: &CronJobSettings| CronJob {
            settings: settings.clone(),
            next: 0,
            to_create: None,
            active: Vec::new(),
            kept: [VecDeque::new(), VecDeque::new()],
            step: Step::Idle,
            under_way: 0,
            changed: false,
            failed: false,
            failures: 0,
            armed_ns: None,
        };
        let queue = WorkQueue::new(sets.len(), workers);
        Self {
            client,
            owners: Owners::new(first_owner, sets.len()),
            sets: sets.iter().map(set).collect(),
            queue,
            passed_over: 0,
            replaced: 0,
        }
    }

    /// Its client.
    #[must_use]
    pub const fn client(&self) -> ClientId {
        self.client
    }

    /// The index of the CronJob that is this owner.
    #[must_use]
    pub fn index_of(&self, owner: u32) -> Option<u32> {
        self.owners.index_of(owner)
    }

    /// The owners that stand for them.
    pub fn owners(&self) -> impl Iterator<Item = u32> + use<> {
        self.owners.iter()
    }

    /// Times that never had a Job, and Jobs in whose place others came.
    #[must_use]
    pub const fn counts(&self) -> (u64, u64) {
        (self.passed_over, self.replaced)
    }

    /// A CronJob was created, or is due.
    pub fn start(&mut self, env: &mut Env<'_>, jobs: &mut Jobs, at: u32) {
        self.queue.add(at);
        self.pump(env, jobs);
    }

    /// A Job has ended.
    pub fn on_job(&mut self, env: &mut Env<'_>, jobs: &mut Jobs, owner: u32) {
        let after = self.sets.partition_point(|set| set.settings.first_job <= owner);
        if let Some(at) = after.checked_sub(1) {
            self.start(env, jobs, at as u32);
        }
    }

    /// The manager's process is a new one: it looks at everything.
    pub fn restart(&mut self, env: &mut Env<'_>, jobs: &mut Jobs) {
        self.queue.clear();
        for (at, set) in self.sets.iter_mut().enumerate() {
            (set.step, set.under_way, set.failed, set.failures) = (Step::Idle, 0, false, 0);
            (set.to_create, set.armed_ns) = (None, None);
            self.queue.add(at as u32);
        }
        self.pump(env, jobs);
    }

    fn pump(&mut self, env: &mut Env<'_>, jobs: &mut Jobs) {
        while let Some(at) = self.queue.next() {
            self.sync(env, jobs, at);
        }
    }

    fn write(&mut self, env: &mut Env<'_>, at: u32, requests: u32) {
        let owner = self.owners.of(at);
        self.sets[at as usize].under_way = requests;
        for _ in 0..requests {
            env.control_plane.submit(env.kernel, self.client, Verb::PutObject, PodId::MAX, owner);
        }
    }

    fn sync(&mut self, env: &mut Env<'_>, jobs: &mut Jobs, at: u32) {
        let now = env.kernel.now();
        let set = &mut self.sets[at as usize];
        let settings = &set.settings;
        let job = |time: usize| settings.first_job + time as u32;
        (set.failed, set.to_create) = (false, None);
        let mut deletions = 0;
        let (kept, changed) = (&mut set.kept, &mut set.changed);
        set.active.retain(|time| match jobs.outcome(job(*time)) {
            None => true,
            Some(succeeded) => {
                kept[usize::from(!succeeded)].push_back(*time);
                *changed = true;
                false
            }
        });
        for (kept, limit) in kept.iter_mut().zip(settings.history) {
            while kept.len() > limit as usize {
                kept.pop_front();
                deletions += 1;
                *changed = true;
            }
        }
        let passed = settings.times_ns.partition_point(|time| *time <= now);
        if passed > set.next {
            // Only the latest counts.
            let latest = passed - 1;
            let late = |ns: Nanos| settings.times_ns[latest].saturating_add(ns) < now;
            let too_late = settings.deadline_ns.is_some_and(late);
            let last = if too_late { passed } else { latest };
            for time in set.next..last {
                jobs.pass_over(env, job(time));
            }
            self.passed_over += (last - set.next) as u64;
            set.next = last;
            let waits = settings.concurrency == Concurrency::Forbid && !set.active.is_empty();
            if !too_late && !waits {
                if settings.concurrency == Concurrency::Replace {
                    for time in set.active.drain(..) {
                        jobs.replace(env, job(time));
                        deletions += 1;
                        self.replaced += 1;
                        set.changed = true;
                    }
                }
                set.to_create = Some(latest);
            }
        }
        set.step = Step::Deleting;
        if deletions > 0 {
            self.write(env, at, deletions);
        } else {
            self.advance(env, jobs, at);
        }
    }

    /// All answers of a step are there.
    fn advance(&mut self, env: &mut Env<'_>, jobs: &mut Jobs, at: u32) {
        let set = &mut self.sets[at as usize];
        match (set.step, set.to_create) {
            (Step::Deleting, Some(_)) => {
                set.step = Step::Creating;
                self.write(env, at, 1);
                return;
            }
            (Step::Creating, Some(time)) if !set.failed => {
                (set.to_create, set.next, set.changed) = (None, time + 1, true);
                set.active.push(time);
                let owner = set.settings.first_job + time as u32;
                jobs.start_of(env, owner);
            }
            _ => {}
        }
        let set = &mut self.sets[at as usize];
        if set.step != Step::Status && !set.failed && std::mem::take(&mut set.changed) {
            set.step = Step::Status;
            self.write(env, at, 1);
            return;
        }
        self.end(env, at);
    }

    fn end(&mut self, env: &mut Env<'_>, at: u32) {
        let now = env.kernel.now();
        let owner = self.owners.of(at);
        let set = &mut self.sets[at as usize];
        set.step = Step::Idle;
        if set.failed {
            let wait_ns = retry_after_ns(set.failures);
            set.failures += 1;
            set.changed = true;
            env.timer(now + wait_ns, ControllerEvent::Requeue { owner });
        } else {
            set.failures = 0;
            let passed = set.settings.times_ns.partition_point(|time| *time <= now);
            if let Some(next) = set.settings.times_ns.get(passed).map(|time| time + DELTA_NS)
                && set.armed_ns != Some(next)
            {
                set.armed_ns = Some(next);
                env.timer(next, ControllerEvent::Requeue { owner });
            }
        }
        self.queue.done(at);
    }

    /// An answer.
    pub fn on_answered(&mut self, env: &mut Env<'_>, jobs: &mut Jobs, answer: Answer) {
        let Some(at) = self.index_of(answer.node) else { return };
        let set = &mut self.sets[at as usize];
        // Of a process that is no more.
        if set.under_way == 0 {
            return;
        }
        set.under_way -= 1;
        set.failed |= !answer.ok;
        if set.under_way == 0 {
            self.advance(env, jobs, at);
            self.pump(env, jobs);
        }
    }
}
