//! The ReplicaSet controller: slow start, bursts of 500, concurrent syncs, replacement of lost pods.
//!
//! A sync creates at most 500 pods (`burstReplicas`) in batches of 1, 2, 4, ..; a batch's requests run in
//! parallel and all are answered before the next begins. Then the ReplicaSet is queued again. At most
//! `concurrent_syncs` syncs run at once (default 5). All requests share the controller's token bucket
//! (default 20/s, burst 30). A batch in which a creation failed is the last of its sync, and the ReplicaSet waits in the
//! work queue, 5 ms doubled for each failure in a row. A pod that is deleted, has failed or is gone is replaced by a new
//! one as soon as the informer has shown it; the controller does not wait until a deleted pod is gone.
//! Source: k/k `pkg/controller/replicaset/replica_set.go`, `pkg/controller/controller_utils.go` (`FilterActivePods`).
//!
//! Pods that end by themselves (run times) and pods that the load client deletes leave on purpose: nobody replaces them,
//! as if their ReplicaSet had been scaled down.
//!
//! With Kueue these are Jobs, which may be suspended: then a sync deletes all pods that are active, at once, and none is made until the Job is resumed
//! (`deleteActivePods` of `pkg/controller/job/job_controller.go`).
//!
//! A Deployment that is rolled out or scaled takes its pods over ([`deployment`](super::deployment)).
//!
//! Left out: the Deployment's own few requests, the wait for the informer to see the created pods (the
//! answers stand for it), `SuccessfulCreate` events, status updates.
//!
//! Cost: O(1) a pod.
use std::collections::{BTreeSet, VecDeque};

use super::super::kernel::ControllerEvent;
use super::super::store::Refusal;
use super::super::{ClientId, Verb};
use super::work_queue::WorkQueue;
use super::{Env, retry_after_ns};
use crate::cluster::{NO_NODE, PodId, SpecId, Stage};

const BURST_REPLICAS: u32 = 500;
const SLOW_START_INITIAL_BATCH: u32 = 1;

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct ReplicaSet {
    first: PodId,
    next: PodId,
    end: PodId,
    sync_left: u32,
    batch: u32,
    in_batch: u32,
    /// A creation of this sync failed.
    failed: bool,
    /// Syncs that failed, in a row.
    failures: u32,
    /// Pods whose creation is under way.
    under_way: VecDeque<PodId>,
    /// Pods whose creation failed.
    again: VecDeque<PodId>,
    /// Lost pods that are to be replaced.
    lost: VecDeque<PodId>,
    /// It is suspended: nothing is made.
    suspended: bool,
    /// It was suspended, and its status does not say yet that no pod is active.
    stopping: bool,
    /// What pods that are made anew are, if not what those were in whose place they come.
    spec: Option<SpecId>,
    /// Pods that the plan did not know.
    later: Vec<PodId>,
    /// Deletions under way.
    deleting: BTreeSet<PodId>,
    /// Its pods are another's by now.
    handed_over: bool,
}

/// What a ReplicaSet hands over to its Deployment.
#[derive(Clone, Debug, Default)]
pub struct Handover {
    /// Pods that were made, or are being made.
    pub pods: Vec<PodId>,
    /// Pods of the plan that were not made, or whose creation failed.
    pub again: VecDeque<PodId>,
    /// Lost pods that nobody has replaced.
    pub lost: VecDeque<PodId>,
    /// Pods whose creation is under way.
    pub making: BTreeSet<PodId>,
}

/// The ReplicaSets of a run and the workers that sync them.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct ReplicaSets {
    client: ClientId,
    sets: Vec<ReplicaSet>,
    queue: WorkQueue,
    /// Suspended, and no pod is active.
    suspended: Vec<u32>,
}

impl ReplicaSets {
    /// ReplicaSets over consecutive ranges of pods, none started; the pods of the first so many `exist`: there is nothing to start.
    #[must_use]
    pub fn new(client: ClientId, concurrent_syncs: u32, ranges: &[(PodId, PodId)], exist: usize) -> Self {
        let set = |(at, &(first, end)): (usize, &(PodId, PodId))| ReplicaSet {
            first,
            next: if at < exist { end } else { first },
            end,
            sync_left: 0,
            batch: 0,
            in_batch: 0,
            failed: false,
            failures: 0,
            under_way: VecDeque::new(),
            again: VecDeque::new(),
            lost: VecDeque::new(),
            suspended: false,
            stopping: false,
            spec: None,
            later: Vec::new(),
            deleting: BTreeSet::new(),
            handed_over: false,
        };
        let queue = WorkQueue::new(ranges.len(), concurrent_syncs);
        Self { client, sets: ranges.iter().enumerate().map(set).collect(), queue, suspended: Vec::new() }
    }

    /// The client that creates.
    #[must_use]
    pub const fn client(&self) -> ClientId {
        self.client
    }

    /// How many there are; their owners' ids are 0, 1, ..
    #[must_use]
    pub fn len(&self) -> usize {
        self.sets.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Whether a ReplicaSet's pods are its own.
    #[must_use]
    pub fn has(&self, owner: u32) -> bool {
        self.sets.get(owner as usize).is_some_and(|set| !set.handed_over)
    }

    /// A ReplicaSet's pods are another's from now on; none: they are already.
    pub fn hand_over(&mut self, at: u32) -> Option<Handover> {
        let set = self.sets.get_mut(at as usize).filter(|set| !set.handed_over)?;
        let mut again = std::mem::take(&mut set.again);
        again.extend(set.next..set.end);
        let skipped: BTreeSet<PodId> = again.iter().copied().collect();
        let pods = (set.first..set.next).chain(std::mem::take(&mut set.later));
        let pods = pods.filter(|pod| !skipped.contains(pod)).collect();
        let making: BTreeSet<PodId> = std::mem::take(&mut set.under_way).into_iter().collect();
        let lost = std::mem::take(&mut set.lost);
        (set.next, set.sync_left, set.in_batch, set.handed_over) = (set.end, 0, 0, true);
        if !making.is_empty() {
            self.queue.done(at);
        }
        Some(Handover { pods, again, lost, making })
    }

    /// Workers that have nothing to do take what waits.
    pub fn go_on(&mut self, env: &mut Env<'_>) {
        self.pump(env);
    }

    /// A ReplicaSet was created, or is due again: it is queued.
    pub fn start(&mut self, env: &mut Env<'_>, set: u32) {
        self.queue.add(set);
        self.pump(env);
    }

    /// A Job is suspended.
    pub fn suspend(&mut self, env: &mut Env<'_>, at: u32) {
        let set = &mut self.sets[at as usize];
        (set.suspended, set.stopping, set.sync_left) = (true, true, 0);
        let store = env.control_plane.store();
        let planned = set.first..set.next.min(set.end);
        let active: Vec<PodId> =
            planned.chain(set.later.iter().copied()).filter(|pod| store.is_active(*pod)).collect();
        for pod in active {
            set.deleting.insert(pod);
            env.control_plane.submit(env.kernel, self.client, Verb::DeleteGracefully, pod, NO_NODE);
        }
        self.conclude(at);
    }

    /// A Job is no longer suspended; pods that are made anew have this spec, if any.
    pub fn resume(&mut self, at: u32, spec: Option<SpecId>) {
        let set = &mut self.sets[at as usize];
        (set.suspended, set.stopping, set.spec) = (false, false, spec);
    }

    /// Jobs of which no pod is active since they were suspended; each once.
    pub fn take_suspended(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.suspended)
    }

    fn conclude(&mut self, at: u32) {
        let set = &mut self.sets[at as usize];
        if set.stopping && set.deleting.is_empty() && set.under_way.is_empty() {
            set.stopping = false;
            self.suspended.push(at);
        }
    }

    /// A deletion was answered.
    pub fn on_deleted(&mut self, env: &mut Env<'_>, pod: PodId, ok: bool, refusal: Option<Refusal>) {
        let at = env.control_plane.store().owner(pod);
        let Some(set) = self.sets.get_mut(at as usize) else { return };
        if !ok && refusal.is_none() {
            env.control_plane.submit(env.kernel, self.client, Verb::DeleteGracefully, pod, NO_NODE);
        } else if set.deleting.remove(&pod) {
            self.conclude(at);
        }
    }

    /// A pod of a ReplicaSet is lost.
    pub fn lost(&mut self, env: &mut Env<'_>, set: u32, pod: PodId) {
        self.sets[set as usize].lost.push_back(pod);
        self.start(env, set);
    }

    /// A pod of a ReplicaSet is lost, as a new process of the manager's finds out.
    pub fn note_lost(&mut self, set: u32, pod: PodId) {
        self.sets[set as usize].lost.push_back(pod);
    }

    fn pump(&mut self, env: &mut Env<'_>) {
        while let Some(at) = self.queue.next() {
            let set = &mut self.sets[at as usize];
            if set.suspended {
                self.queue.done(at);
                continue;
            }
            let missing = (set.end - set.next) as usize + set.again.len() + set.lost.len();
            set.sync_left = BURST_REPLICAS.min(u32::try_from(missing).unwrap_or(u32::MAX));
            if set.sync_left == 0 {
                self.queue.done(at);
                continue;
            }
            set.failed = false;
            set.batch = SLOW_START_INITIAL_BATCH;
            self.issue(env, at);
        }
    }

    fn issue(&mut self, env: &mut Env<'_>, at: u32) {
        let set = &mut self.sets[at as usize];
        let count = set.batch.min(set.sync_left);
        set.in_batch = count;
        set.sync_left -= count;
        for _ in 0..count {
            let pod = if let Some(pod) = set.again.pop_front() {
                pod
            } else if set.next < set.end {
                set.next += 1;
                set.next - 1
            } else {
                let lost = set.lost.pop_front().expect("as many are missing as the sync creates");
                let pod = env.make(lost, at);
                if let Some(spec) = set.spec {
                    env.cluster.pods.set_spec(pod, spec);
                }
                set.later.push(pod);
                pod
            };
            set.under_way.push_back(pod);
            env.control_plane.submit(env.kernel, self.client, Verb::CreatePod, pod, NO_NODE);
        }
    }

    /// The manager's process is a new one: every ReplicaSet that `began` is synced. Whether the creations that were under
    /// way have come to anything it sees by what is stored.
    pub fn restart(&mut self, env: &mut Env<'_>, began: impl Fn(u32) -> bool) {
        self.queue.clear();
        for at in 0..self.sets.len() as u32 {
            let set = &mut self.sets[at as usize];
            for pod in std::mem::take(&mut set.under_way) {
                if env.cluster.pods.stage(pod) == Stage::Planned {
                    set.again.push_back(pod);
                }
            }
            (set.failed, set.failures, set.sync_left, set.in_batch) = (false, 0, 0, 0);
            if began(at) {
                self.queue.add(at);
            }
        }
        self.pump(env);
    }

    /// The set that a pod of the plan belongs to.
    fn set_of(&self, pod: PodId) -> Option<u32> {
        let at = self.sets.partition_point(|s| s.end <= pod);
        (at < self.sets.len()).then_some(at as u32)
    }

    /// A creation was answered. `owner` is the pod's, where one is noted.
    pub fn on_answered(
        &mut self,
        env: &mut Env<'_>,
        pod: PodId,
        owner: Option<u32>,
        ok: bool,
        refusal: Option<Refusal>,
    ) {
        let Some(at) = owner.or_else(|| self.set_of(pod)) else { return };
        let Some(set) = self.sets.get_mut(at as usize) else { return };
        // Answers come nearly in order.
        let Some(nth) = set.under_way.iter().position(|p| *p == pod) else { return };
        set.under_way.remove(nth);
        if !ok && refusal != Some(Refusal::Conflict) {
            set.failed = true;
            // It may have been stored although the answer was lost.
            if env.cluster.pods.stage(pod) == Stage::Planned {
                set.again.push_back(pod);
            }
        }
        if set.suspended && env.control_plane.store().is_active(pod) {
            set.deleting.insert(pod);
            env.control_plane.submit(env.kernel, self.client, Verb::DeleteGracefully, pod, NO_NODE);
        }
        set.in_batch -= 1;
        if set.in_batch > 0 {
            return;
        }
        if set.suspended {
            self.conclude(at);
            self.queue.done(at);
            return self.pump(env);
        }
        if set.failed {
            let wait_ns = retry_after_ns(set.failures);
            set.failures += 1;
            env.timer(env.kernel.now() + wait_ns, ControllerEvent::Requeue { owner: at });
            self.queue.done(at);
            self.pump(env);
        } else if set.sync_left > 0 {
            set.batch *= 2;
            self.issue(env, at);
        } else {
            // Until nothing is missing.
            set.failures = 0;
            self.queue.add(at);
            self.queue.done(at);
            self.pump(env);
        }
    }
}
