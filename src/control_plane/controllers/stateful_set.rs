//! The StatefulSet controller: pods with names, made in order.
//!
//! A StatefulSet has a place for each replica, and a pod for each place. With `podManagementPolicy: OrderedReady`, the
//! default, a pod is made only when all pods before it are running and ready; with `Parallel` all that are missing are made
//! in batches of 1, 2, 4, .. A pod that is deleted is made anew under the same name, which can't be before the old one is
//! gone: while its node does not answer, it is not. A pod that has failed is deleted first. Each sync that has changed
//! something writes the StatefulSet's status.
//!
//! Five syncs run at once (`--concurrent-statefulset-syncs`); the controller's client has a token bucket of its own. A
//! sync whose request fails is tried again after 5 ms, doubled for each failure in a row.
//!
//! Source: k/k `pkg/controller/statefulset/{stateful_set,stateful_set_control}.go`.
//!
//! Left out: scaling, rolling updates, ControllerRevisions, claims, `minReadySeconds`, ordinals that begin elsewhere.
//!
//! Cost: O(log replicas) a change of a pod.
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::{ClientId, Verb};
use super::owners::Owners;
use super::sync::Sync;
use super::work_queue::WorkQueue;
use super::{Answer, Env};
use crate::cluster::{NO_NODE, PodId};

/// What a StatefulSet is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StatefulSetSettings {
    /// `podManagementPolicy: OrderedReady`.
    pub ordered: bool,
}

/// What is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Slot {
    /// The plan's pod, not made yet.
    Planned,
    /// Nobody; the pod that was there is gone.
    Missing,
    /// A pod, in good order but for being ready.
    There,
    /// A running and ready pod.
    Ready,
    /// A pod that has failed and is to be deleted.
    Failed,
    /// A pod that is being deleted.
    Leaving,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct StatefulSet {
    settings: StatefulSetSettings,
    /// By place: the pod and how it is.
    slots: Vec<(PodId, Slot)>,
    /// Places without a ready pod.
    unready: BTreeSet<u32>,
    /// Places whose pod is to be made, in this sync.
    to_make: VecDeque<u32>,
    sync: Sync,
    /// It was created.
    begun: bool,
}

/// The StatefulSets of a run.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct StatefulSets {
    client: ClientId,
    owners: Owners,
    sets: Vec<StatefulSet>,
    /// Place of each pod.
    places: BTreeMap<PodId, u32>,
    queue: WorkQueue,
}

impl StatefulSets {
    /// StatefulSets over ranges of pods, none created.
    #[must_use]
    pub fn new(
        client: ClientId,
        first_owner: u32,
        workers: u32,
        sets: &[((PodId, PodId), StatefulSetSettings)],
    ) -> Self {
        let set = |&((from, to), settings): &((PodId, PodId), StatefulSetSettings)| StatefulSet {
            settings,
            slots: (from..to).map(|pod| (pod, Slot::Planned)).collect(),
            unready: (0..to - from).collect(),
            to_make: VecDeque::new(),
            sync: Sync::default(),
            begun: false,
        };
        let places = sets.iter().flat_map(|((from, to), _)| (*from..*to).zip(0..)).collect();
        let queue = WorkQueue::new(sets.len(), workers);
        Self {
            client,
            owners: Owners::new(first_owner, sets.len()),
            sets: sets.iter().map(set).collect(),
            places,
            queue,
        }
    }

    /// Its client.
    #[must_use]
    pub const fn client(&self) -> ClientId {
        self.client
    }

    /// The index of the StatefulSet that is this owner.
    #[must_use]
    pub fn index_of(&self, owner: u32) -> Option<u32> {
        self.owners.index_of(owner)
    }

    /// A StatefulSet was created, or is due again.
    pub fn start(&mut self, env: &mut Env<'_>, at: u32) {
        self.sets[at as usize].begun = true;
        self.queue.add(at);
        self.pump(env);
    }

    /// The manager's process is a new one: it looks at everything.
    pub fn restart(&mut self, env: &mut Env<'_>) {
        self.queue.clear();
        for at in 0..self.sets.len() as u32 {
            let set = &mut self.sets[at as usize];
            set.to_make.clear();
            set.sync = Sync::default();
            for place in 0..set.slots.len() as u32 {
                Self::look(env, set, place);
            }
            if set.begun {
                self.queue.add(at);
            }
        }
        self.pump(env);
    }

    /// The informer has shown a change of a pod.
    pub fn on_pod(&mut self, env: &mut Env<'_>, at: u32, pod: PodId) {
        let Some(place) = self.places.get(&pod).copied() else { return };
        let set = &mut self.sets[at as usize];
        if set.slots[place as usize].0 != pod || !set.begun {
            return;
        }
        Self::look(env, set, place);
        self.queue.add(at);
        self.pump(env);
    }

    /// Looks at a place's pod.
    fn look(env: &mut Env<'_>, set: &mut StatefulSet, place: u32) {
        let (pod, was) = set.slots[place as usize];
        let store = env.control_plane.store();
        let is = if store.is_gone(pod) {
            Slot::Missing
        } else if !store.exists(pod) {
            was
        } else if store.is_terminating(pod) {
            Slot::Leaving
        } else if store.is_over(pod) {
            Slot::Failed
        } else if store.is_ready(pod) {
            Slot::Ready
        } else {
            Slot::There
        };
        set.slots[place as usize].1 = is;
        if is == Slot::Ready {
            set.unready.remove(&place);
        } else {
            set.unready.insert(place);
        }
    }

    fn pump(&mut self, env: &mut Env<'_>) {
        while let Some(at) = self.queue.next() {
            self.sync(env, at);
        }
    }

    fn sync(&mut self, env: &mut Env<'_>, at: u32) {
        let set = &mut self.sets[at as usize];
        set.sync.begin();
        let most = if set.settings.ordered { 1 } else { usize::MAX };
        let mut to_delete = Vec::new();
        for place in set.unready.iter().copied().take(most) {
            match set.slots[place as usize] {
                (_, Slot::Planned | Slot::Missing) => set.to_make.push_back(place),
                (pod, Slot::Failed) => to_delete.push(pod),
                (_, Slot::There | Slot::Ready | Slot::Leaving) => {}
            }
        }
        for pod in to_delete {
            set.sync.wait_for(pod);
            env.control_plane.submit(env.kernel, self.client, Verb::DeletePod, pod, NO_NODE);
        }
        if !self.sets[at as usize].sync.is_waiting() {
            self.make(env, at);
        }
    }

    /// The next batch, or the end of the sync.
    fn make(&mut self, env: &mut Env<'_>, at: u32) {
        let owner = self.owners.of(at);
        let set = &mut self.sets[at as usize];
        if set.sync.has_failed() || set.to_make.is_empty() {
            set.to_make.clear();
            self.write_status(env, at);
            return;
        }
        for place in set.sync.next_batch(&mut set.to_make) {
            let (mut pod, slot) = set.slots[place as usize];
            if slot == Slot::Missing {
                pod = env.make(pod, owner);
                self.places.insert(pod, place);
                set.slots[place as usize] = (pod, Slot::Planned);
            }
            set.sync.wait_for(pod);
            env.control_plane.submit(env.kernel, self.client, Verb::CreatePod, pod, NO_NODE);
        }
    }

    fn write_status(&mut self, env: &mut Env<'_>, at: u32) {
        let owner = self.owners.of(at);
        if !self.sets[at as usize].sync.write_status(env, self.client, owner) {
            self.end(env, at);
        }
    }

    fn end(&mut self, env: &mut Env<'_>, at: u32) {
        self.sets[at as usize].sync.end(env, self.owners.of(at));
        self.queue.done(at);
        self.pump(env);
    }

    /// An answer.
    pub fn on_answered(&mut self, env: &mut Env<'_>, answer: Answer) {
        let is_status = answer.verb == Verb::PutObject;
        let owner = if is_status { answer.node } else { env.control_plane.store().owner(answer.pod) };
        let Some(at) = self.index_of(owner) else { return };
        let set = &mut self.sets[at as usize];
        if is_status {
            if set.sync.status_answered(answer.ok) {
                self.end(env, at);
            }
            return;
        }
        if set.sync.answered(&answer).is_none() {
            return;
        }
        if let Some(place) = self.places.get(&answer.pod).copied() {
            Self::look(env, set, place);
        }
        if !self.sets[at as usize].sync.is_waiting() {
            self.make(env, at);
        }
    }
}
