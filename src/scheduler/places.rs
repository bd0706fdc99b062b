//! Where a scheduler thinks each pod is: what its informer has shown, and its own assumptions until then.
//!
//! For schedulers that keep no more than that of a pod; kube-scheduler and YuniKorn have caches of their own.
//!
//! Cost: O(1) a pod; memory for the highest id that was put.
use crate::cluster::{NodeId, PodId};

/// Where a pod is, as far as a scheduler knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Place {
    /// In one of the queues, in a cycle, without a node, or not seen.
    #[default]
    Waiting,
    /// Assumed on a node; its binding is under way.
    Assumed(NodeId),
    /// Seen to be bound to a node.
    On(NodeId),
    /// Finished or deleted.
    Gone,
}

impl Place {
    /// The node that it takes room on.
    #[must_use]
    pub const fn node(self) -> Option<NodeId> {
        match self {
            Self::Assumed(node) | Self::On(node) => Some(node),
            Self::Waiting | Self::Gone => None,
        }
    }
}

/// The place of each pod.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Places(Vec<Place>);

impl Places {
    /// Where a pod is.
    #[must_use]
    pub fn of(&self, pod: PodId) -> Place {
        self.0.get(pod as usize).copied().unwrap_or_default()
    }

    /// Notes where a pod is; returns where it was.
    pub fn put(&mut self, pod: PodId, place: Place) -> Place {
        let at = pod as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, Place::default());
        }
        std::mem::replace(&mut self.0[at], place)
    }
}
