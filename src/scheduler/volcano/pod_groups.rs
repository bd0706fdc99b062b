//! The PodGroup controller of vc-controller-manager: PodGroups for pods that come without one.
//!
//! Source: `pkg/controllers/podgroup/{pg_controller.go,pg_controller_handler.go}` of Volcano 1.15.1. Five workers take pods from
//! a queue. Each looks whether the PodGroup of the pod's owner exists, creates it if not, and writes its name into the pod's
//! annotations; then the scheduler sees the pod in its job. Both are requests of the controller's clients, 50 a second with a
//! burst of 100 each: so a pod without an owner costs two requests, and no more than 50 such pods a second join their jobs.
//!
//! Left out: the controller's own CPU; the two clients' separate buckets are one here; its informer sees what the scheduler's sees.
//!
//! Cost: O(log) a request.
use std::collections::{BTreeSet, VecDeque};

use crate::cluster::{AppId, PodId};
use crate::scheduler::{Action, Context};

/// The controller.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct PodGroupController {
    workers: u32,
    queue: VecDeque<PodId>,
    creating: BTreeSet<PodId>,
    annotating: BTreeSet<PodId>,
    /// Applications whose PodGroup exists or is being created.
    owners: BTreeSet<AppId>,
}

impl PodGroupController {
    /// With so many workers.
    #[must_use]
    pub fn new(workers: u32) -> Self {
        Self { workers: workers.max(1), ..Self::default() }
    }

    /// Pods in the queue or at a worker.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len() + self.creating.len() + self.annotating.len()
    }

    /// A pod without a PodGroup is seen.
    pub fn add(&mut self, cx: &mut Context<'_>, pod: PodId) {
        self.queue.push_back(pod);
        self.work(cx);
    }

    fn work(&mut self, cx: &mut Context<'_>) {
        while ((self.creating.len() + self.annotating.len()) as u32) < self.workers
            && let Some(pod) = self.queue.pop_front()
        {
            let app = cx.cluster.pods.app_id(pod);
            let is_bare = cx.cluster.pods.apps()[app as usize].bare_pods;
            if is_bare || self.owners.insert(app) {
                self.creating.insert(pod);
                cx.actions.push(Action::PutObject { pod, by_controller: true });
            } else {
                self.annotate(cx, pod);
            }
        }
    }

    fn annotate(&mut self, cx: &mut Context<'_>, pod: PodId) {
        self.annotating.insert(pod);
        cx.actions.push(Action::Annotate { pod });
    }

    /// One of its requests was answered; says whether the pod belongs to its group now.
    pub fn answered(&mut self, cx: &mut Context<'_>, pod: PodId) -> bool {
        let annotated = self.annotating.remove(&pod);
        if self.creating.remove(&pod) {
            self.annotate(cx, pod);
        }
        self.work(cx);
        annotated
    }

    /// A pod is gone.
    pub fn forget(&mut self, pod: PodId) {
        self.queue.retain(|p| *p != pod);
    }
}
