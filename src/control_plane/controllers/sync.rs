//! A sync of a controller's object: requests in batches, then the status, and a wait if something failed.
//!
//! Pods are made in batches of 1, 2, 4, .. (`slowStartBatch` of k/k `pkg/controller/controller_utils.go`); a batch is over when
//! each of its requests is answered. A sync that has changed something writes the object's status. One in which a request
//! failed is tried again after 5 ms, doubled for each failure in a row
//! (`DefaultTypedControllerRateLimiter` of client-go `util/workqueue/default_rate_limiters.go`).
//!
//! What is requested is the controller's own affair; [`WorkQueue`](super::work_queue) says whose sync it is.
//!
//! Cost: O(log requests) an answer.
use std::collections::{BTreeSet, VecDeque};

use super::super::kernel::ControllerEvent;
use super::super::store::Refusal;
use super::super::{ClientId, Verb};
use super::{Answer, Env, retry_after_ns};
use crate::cluster::PodId;

/// `MaxBatchSize` of `pkg/controller/statefulset/stateful_set_control.go`; a DaemonSet's `burstReplicas` of 250 end sooner.
const MAX_BATCH: u32 = 500;

/// Where the sync of an object stands.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Sync {
    batch: u32,
    /// Pods whose answers it waits for.
    under_way: BTreeSet<PodId>,
    /// The status is being written.
    in_status: bool,
    /// It has changed something.
    changed: bool,
    failed: bool,
    /// Syncs that failed, in a row.
    failures: u32,
}

impl Sync {
    /// It begins.
    pub fn begin(&mut self) {
        (self.changed, self.failed, self.batch) = (false, false, 1);
    }

    /// The next batch is of one again.
    pub fn start_slowly(&mut self) {
        self.batch = 1;
    }

    /// A request has failed.
    pub const fn has_failed(&self) -> bool {
        self.failed
    }

    /// It waits for an answer about a pod.
    pub fn is_waiting(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// The next batch of what is left.
    pub fn next_batch<T>(&mut self, left: &mut VecDeque<T>) -> Vec<T> {
        let count = (self.batch as usize).min(left.len());
        self.batch = self.batch.saturating_mul(2).min(MAX_BATCH);
        left.drain(..count).collect()
    }

    /// It waits for the answer to a request about a pod.
    pub fn wait_for(&mut self, pod: PodId) {
        self.under_way.insert(pod);
    }

    /// An answer about a pod: whether the request has failed; none: it is of a process that is no more.
    pub fn answered(&mut self, answer: &Answer) -> Option<bool> {
        if !self.under_way.remove(&answer.pod) {
            return None;
        }
        self.changed |= answer.ok;
        let known = matches!(answer.refusal, Some(Refusal::Conflict | Refusal::NotFound));
        let failed = !answer.ok && !known;
        self.failed |= failed;
        Some(failed)
    }

    /// Writes the status of an owner, unless nothing has changed; says whether it does.
    pub fn write_status(&mut self, env: &mut Env<'_>, client: ClientId, owner: u32) -> bool {
        self.in_status = std::mem::take(&mut self.changed);
        if self.in_status {
            env.control_plane.submit(env.kernel, client, Verb::PutObject, PodId::MAX, owner);
        }
        self.in_status
    }

    /// The answer to the status; false: it is of a process that is no more.
    pub fn status_answered(&mut self, ok: bool) -> bool {
        let waited = std::mem::take(&mut self.in_status);
        self.failed |= waited && !ok;
        waited
    }

    /// It is over; its owner is due again later if something failed.
    pub fn end(&mut self, env: &mut Env<'_>, owner: u32) {
        if self.failed {
            let at = env.kernel.now() + retry_after_ns(self.failures);
            self.failures += 1;
            env.timer(at, ControllerEvent::Requeue { owner });
        } else {
            self.failures = 0;
        }
    }
}
