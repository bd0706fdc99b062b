//! The end of a session: statuses of PodGroups, conditions of pods, statuses of queues.
//!
//! Sources: `pkg/scheduler/framework/{session.go,job_updater.go}`, `cache/cache.go` (`UpdateJobStatus`, `taskUnschedulable`) and gang's
//! `OnSessionClose` of Volcano 1.15.1.
//!
//! A PodGroup is written when its phase, its counts of pods or its condition has changed; a pod that has no node when its condition's
//! text would change: with the job's counts, or with the node that a discarded statement had found for it. Sixteen workers take a job
//! each; each write is waited for. An unschedulable PodGroup gets an event a session, of which the client lets 25 pass.
//!
//! Left out: that a text also counts the nodes by reason, which changes more often; the workers within a job (its pods are
//! written at once).
//!
//! Cost: O(jobs that wait or have changed + pods whose condition changes).
use std::collections::{BTreeMap, VecDeque};

use super::amount::Amount;
use super::config::{Config, PluginKind};
use super::jobs::{Job, JobId, Jobs, Phase};
use super::session::Decided;
use crate::cluster::PodId;
use crate::scheduler::Action;

/// `jobUpdaterWorker`.
const WORKERS: usize = 16;
/// Events about one object that client-go's spam filter lets pass at once.
const MAX_EVENTS: u32 = 25;

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Write {
    job: JobId,
    /// A pod that stands for the PodGroup.
    key: PodId,
    group: bool,
    pods: Vec<PodId>,
}

/// Writes that are left and under way.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Closing {
    writes: VecDeque<Write>,
    /// By the pod that stands for it.
    groups: BTreeMap<PodId, (JobId, Vec<PodId>)>,
    /// Pods under way, by job.
    pods: BTreeMap<JobId, u32>,
    queues: u64,
    queue_under_way: bool,
}

fn mix(hash: u64, value: u64) -> u64 {
    (hash ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
}

fn phase(job: &Job, gang: bool) -> Phase {
    let scheduled = job.bound + job.succeeded;
    if job.bound > 0 && gang && !job.is_ready() {
        Phase::Unknown
    } else if scheduled >= job.min_member && job.bound == 0 {
        Phase::Completed
    } else if scheduled >= job.min_member {
        Phase::Running
    } else if job.phase == Phase::Inqueue {
        Phase::Inqueue
    } else {
        Phase::Pending
    }
}

impl Closing {
    /// What is to be written, and for how many jobs that was looked at.
    pub fn new(
        config: &Config,
        (jobs, conditions, queues): (&mut Jobs, &mut Vec<u64>, &mut [Amount]),
        decided: &Decided,
        actions: &mut Vec<Action>,
    ) -> (Self, u64) {
        let gang = config.plugins().any(|plugin| plugin.kind == PluginKind::Gang);
        let mut closing = Self::default();
        let mut events = 0;
        let looked_at = jobs.alive();
        // Statements of these jobs were discarded: their pods' conditions differ.
        let mut special: BTreeMap<JobId, u64> = BTreeMap::new();
        for pod in decided.discarded.keys().chain(&decided.unfit) {
            *special.entry(jobs.job_of(*pod)).or_default() += 1;
        }
        for id in jobs.take_touched() {
            let next = phase(jobs.get(id), gang);
            if next != jobs.get(id).phase {
                jobs.change(id, |job| job.phase = next);
            }
            let job = jobs.get(id);
            let counts = [
                job.phase as u64,
                u64::from(job.bound),
                u64::from(job.succeeded),
                u64::from(job.binding),
                (job.pending.len() + job.best_effort.len()) as u64,
                special.get(&id).copied().unwrap_or(0),
            ];
            let ready = job.is_ready();
            // A PodGroup that is ready says so without counts.
            let status = if gang && !ready { &counts[..] } else { &counts[..3] };
            let status = status.iter().fold(1 + u64::from(ready), |hash, v| mix(hash, *v));
            let said = counts.iter().fold(7, |hash, v| mix(hash, *v));
            let mut write =
                Write { job: id, key: job.first_pod, group: status != job.written, pods: Vec::new() };
            if said != job.said || special.contains_key(&id) {
                for (_, pod) in job.pending.iter().chain(&job.best_effort) {
                    let condition = decided.discarded.get(pod).map_or(said, |node| mix(3, u64::from(*node)));
                    if conditions.len() <= *pod as usize {
                        conditions.resize(*pod as usize + 1, 0);
                    }
                    if conditions[*pod as usize] != condition {
                        conditions[*pod as usize] = condition;
                        write.pods.push(*pod);
                        events += 1;
                    }
                }
            }
            let tells = !matches!(job.phase, Phase::Running | Phase::Completed) && job.events < MAX_EVENTS;
            events += u32::from(tells || write.group);
            jobs.note(id, |job| {
                (job.written, job.said) = (status, said);
                job.events += u32::from(tells);
            });
            if write.group || !write.pods.is_empty() {
                closing.writes.push_back(write);
            }
        }
        for (written, sums) in queues.iter_mut().zip(jobs.sums()) {
            if *written != sums.allocated {
                written.clone_from(&sums.allocated);
                closing.queues += 1;
            }
        }
        // The root queue's status is the sum of all.
        closing.queues += u64::from(closing.queues > 0);
        if events > 0 {
            actions.push(Action::Events { count: events });
        }
        (closing, looked_at)
    }

    fn busy(&self) -> usize {
        self.groups.len() + self.pods.len()
    }

    /// Sends what can leave; says whether everything is written.
    pub fn go_on(&mut self, actions: &mut Vec<Action>) -> bool {
        while self.busy() < WORKERS
            && let Some(write) = self.writes.pop_front()
        {
            if write.group {
                self.groups.insert(write.key, (write.job, write.pods));
                actions.push(Action::PutObject { pod: write.key, by_controller: false });
            } else {
                self.patch(write.job, &write.pods, actions);
            }
        }
        if self.busy() > 0 || self.queue_under_way {
            return false;
        }
        if self.queues == 0 {
            return true;
        }
        self.queues -= 1;
        self.queue_under_way = true;
        actions.push(Action::PutObject { pod: PodId::MAX, by_controller: false });
        false
    }

    fn patch(&mut self, job: JobId, pods: &[PodId], actions: &mut Vec<Action>) {
        if !pods.is_empty() {
            self.pods.insert(job, pods.len() as u32);
            actions.extend(pods.iter().map(|pod| Action::PatchStatus { pod: *pod }));
        }
    }

    /// A PodGroup or a queue is written.
    pub fn put(&mut self, key: PodId, actions: &mut Vec<Action>) {
        if key == PodId::MAX {
            self.queue_under_way = false;
        } else if let Some((job, pods)) = self.groups.remove(&key) {
            self.patch(job, &pods, actions);
        }
    }

    /// A pod's condition is written.
    pub fn patched(&mut self, job: JobId) {
        if let Some(left) = self.pods.get_mut(&job) {
            *left -= 1;
            if *left == 0 {
                self.pods.remove(&job);
            }
        }
    }
}
