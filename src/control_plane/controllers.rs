//! The ReplicaSet controller: slow start, bursts of 500, concurrent syncs.
//!
//! A sync creates at most 500 pods (`burstReplicas`) in batches of 1, 2, 4, ..; a batch's requests run in
//! parallel and all are answered before the next begins. Then the ReplicaSet is queued again. At most
//! `concurrent_syncs` syncs run at once (default 5). All requests share the controller manager's token bucket
//! (default 20/s, burst 30). Source: k/k `pkg/controller/replicaset/replica_set.go`.
//!
//! Left out: the Deployment's own few requests, the wait for the informer to see the created pods (the
//! answers stand for it), `SuccessfulCreate` events, status updates, scaling down.
//!
//! Cost: O(1) a pod.
use std::collections::VecDeque;

use super::kernel::Kernel;
use super::{ClientId, ControlPlane, Verb};
use crate::cluster::{NO_NODE, PodId};

const BURST_REPLICAS: u32 = 500;
const SLOW_START_INITIAL_BATCH: u32 = 1;

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct ReplicaSet {
    next: PodId,
    end: PodId,
    sync_left: u32,
    batch: u32,
    in_batch: u32,
}

/// The ReplicaSets of a run and the workers that sync them.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct ReplicaSets {
    client: ClientId,
    concurrent_syncs: u32,
    active: u32,
    sets: Vec<ReplicaSet>,
    queue: VecDeque<u32>,
}

impl ReplicaSets {
    /// ReplicaSets over consecutive ranges of pods, none started.
    #[must_use]
    pub fn new(client: ClientId, concurrent_syncs: u32, ranges: &[(PodId, PodId)]) -> Self {
        let set =
            |&(next, end): &(PodId, PodId)| ReplicaSet { next, end, sync_left: 0, batch: 0, in_batch: 0 };
        Self {
            client,
            concurrent_syncs: concurrent_syncs.max(1),
            active: 0,
            sets: ranges.iter().map(set).collect(),
            queue: VecDeque::new(),
        }
    }

    /// The client that creates.
    #[must_use]
    pub const fn client(&self) -> ClientId {
        self.client
    }

    /// A ReplicaSet was created: it is queued.
    pub fn start(&mut self, kernel: &mut Kernel, control_plane: &mut ControlPlane, set: u32) {
        self.queue.push_back(set);
        self.pump(kernel, control_plane);
    }

    fn pump(&mut self, kernel: &mut Kernel, control_plane: &mut ControlPlane) {
        while self.active < self.concurrent_syncs {
            let Some(at) = self.queue.pop_front() else { return };
            let set = &mut self.sets[at as usize];
            set.sync_left = (set.end - set.next).min(BURST_REPLICAS);
            if set.sync_left == 0 {
                continue;
            }
            set.batch = SLOW_START_INITIAL_BATCH;
            self.active += 1;
            self.issue(kernel, control_plane, at);
        }
    }

    fn issue(&mut self, kernel: &mut Kernel, control_plane: &mut ControlPlane, at: u32) {
        let set = &mut self.sets[at as usize];
        let count = set.batch.min(set.sync_left);
        let first = set.next;
        set.in_batch = count;
        set.sync_left -= count;
        set.next += count;
        for pod in first..first + count {
            control_plane.submit(kernel, self.client, Verb::CreatePod, pod, NO_NODE);
        }
    }

    /// A creation was answered.
    pub fn on_answered(&mut self, kernel: &mut Kernel, control_plane: &mut ControlPlane, pod: PodId) {
        let at = self.sets.partition_point(|s| s.end <= pod);
        let Some(set) = self.sets.get_mut(at) else { return };
        set.in_batch -= 1;
        if set.in_batch > 0 {
            return;
        }
        if set.sync_left > 0 {
            set.batch *= 2;
            self.issue(kernel, control_plane, at as u32);
        } else {
            self.active -= 1;
            self.queue.push_back(at as u32);
            self.pump(kernel, control_plane);
        }
    }
}
