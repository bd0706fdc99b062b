//! The StatefulSet controller: pods with names, made in order.
//!
//! A StatefulSet has a place for each replica, and a pod for each place. With `podManagementPolicy: OrderedReady`, the
//! default, a pod is made only when all pods before it are running and ready; with `Parallel` all that are missing are made
//! in batches of 1, 2, 4, .. A pod that is deleted is made anew under the same name, which can't be before the old one is
//! gone: while its node does not answer, it is not. A pod that has failed is deleted first. Each sync that has changed
//! something writes the StatefulSet's status.
//!
//! A place keeps its claims: whoever comes to it has those of the pod before. A claim that waited for its first consumer is bound since that
//! consumer got a node, to a volume where this node is, and stays so (`persistentVolumeClaimRetentionPolicy: Retain`, the default).
//!
//! Where `replicas` change, places are added at the end or taken away from it. A place that is taken away loses its pod. `OrderedReady`: when all places that stay have a
//! running and ready pod, the last pod goes, and the next when it is gone; one that is not ready goes only if no pod before it is not ready either. `Parallel`: all of them at
//! once, in batches of 1, 2, 4, .. Its budget, if there is one, is of the new size from then on.
//!
//! Five syncs run at once (`--concurrent-statefulset-syncs`); the controller's client has a token bucket of its own. A
//! sync whose request fails is tried again after 5 ms, doubled for each failure in a row.
//!
//! Source: k/k `pkg/controller/statefulset/{stateful_set,stateful_set_control}.go`.
//!
//! Left out: rolling updates, ControllerRevisions, requests for claims, `minReadySeconds`, ordinals that begin elsewhere.
//!
//! Cost: O(log replicas) a change of a pod.
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::{ClientId, Verb};
use super::owners::Owners;
use super::progress::{Outcome, Progress};
use super::sync::Sync;
use super::work_queue::WorkQueue;
use super::{Answer, Env};
use crate::cluster::{AppId, Cluster, NO_NODE, PodId, PodSpec, SpecId};

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
    /// Nobody, and nobody is missed: the place is new, or was taken away.
    Vacant,
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
    /// `replicas`: places from here on are taken away.
    replicas: u32,
    /// By place: the pod and how it is.
    slots: Vec<(PodId, Slot)>,
    /// Places without a ready pod.
    unready: BTreeSet<u32>,
    /// Places that are taken away and have a pod.
    condemned: BTreeSet<u32>,
    /// Pods that this sync deletes when it has made what is missing.
    to_delete: VecDeque<PodId>,
    /// It is at that.
    deleting: bool,
    /// What its pods are.
    spec: SpecId,
    app: AppId,
    /// Its first pod of the plan, and how many there are.
    first: PodId,
    planned: u32,
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
    scalings: Progress,
}

/// The spec of a pod that takes over the claims of the one before: they are bound to volumes where that one's node is, if it had one.
fn with_its_claims(cluster: &mut Cluster, before: PodId) -> SpecId {
    let (id, node) = (cluster.pods.spec_id(before), cluster.pods.node(before));
    let spec = cluster.pods.spec_by_id(id);
    if node == NO_NODE || spec.volume_claims.iter().all(|claim| claim.bound) {
        return id;
    }
    let volume_claims = spec.volume_claims.iter().map(|claim| claim.bound_at(&cluster.nodes, node)).collect();
    let spec = PodSpec { volume_claims, ..spec.clone() };
    cluster.pods.add_spec(spec)
}

impl StatefulSets {
    /// StatefulSets over ranges of pods, none created.
    #[must_use]
    pub fn new(
        client: ClientId,
        first_owner: u32,
        workers: u32,
        sets: &[((PodId, PodId), StatefulSetSettings)],
        cluster: &Cluster,
    ) -> Self {
        // One without places has no pods, and is never scaled.
        let last = (cluster.pods.len() as PodId).saturating_sub(1);
        let set = |&((from, to), settings): &((PodId, PodId), StatefulSetSettings)| StatefulSet {
            settings,
            replicas: to - from,
            condemned: BTreeSet::new(),
            to_delete: VecDeque::new(),
            deleting: false,
            spec: cluster.pods.spec_id(from.min(last)),
            app: cluster.pods.app_id(from.min(last)),
            first: from,
            planned: to - from,
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
            scalings: Progress::default(),
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

    /// What scalings came to.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.scalings.outcome()
    }

    /// Whether a scaling is not complete.
    #[must_use]
    pub fn are_moving(&self) -> bool {
        self.scalings.is_open()
    }

    /// The StatefulSet's `replicas` change; says whether it has become smaller.
    pub fn resize(&mut self, env: &mut Env<'_>, at: u32, replicas: u32) -> bool {
        let set = &mut self.sets[at as usize];
        let before = std::mem::replace(&mut set.replicas, replicas);
        if let Some((pod, _)) = set.slots.first() {
            env.control_plane.store_mut().resize(*pod, before, replicas);
        }
        if set.slots.len() < replicas as usize {
            set.slots.resize(replicas as usize, (PodId::MAX, Slot::Vacant));
        }
        for place in before.min(replicas)..before.max(replicas) {
            Self::look(env, set, place);
        }
        self.scalings.begin(at, env.kernel.now());
        replicas < before
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
            set.to_delete.clear();
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
        let is_wanted = place < set.replicas;
        let is = match is {
            Slot::Missing if !is_wanted => {
                if !store.was_scaled_down(pod) {
                    // In its place nobody is to come.
                    env.dropped.push(pod);
                }
                Slot::Vacant
            }
            is => is,
        };
        set.slots[place as usize].1 = is;
        let mut keep = |places: fn(&mut StatefulSet) -> &mut BTreeSet<u32>, has: bool| {
            let places = places(set);
            if has {
                places.insert(place)
            } else {
                places.remove(&place)
            };
        };
        keep(|set| &mut set.unready, is_wanted && is != Slot::Ready);
        keep(|set| &mut set.condemned, !is_wanted && is != Slot::Vacant);
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
                (_, Slot::Planned | Slot::Missing | Slot::Vacant) => set.to_make.push_back(place),
                (pod, Slot::Failed) => to_delete.push(pod),
                (_, Slot::There | Slot::Ready | Slot::Leaving) => {}
            }
        }
        Self::condemn(env, set);
        for pod in to_delete {
            set.sync.wait_for(pod);
            env.control_plane.submit(env.kernel, self.client, Verb::DeletePod, pod, NO_NODE);
        }
        if !self.sets[at as usize].sync.is_waiting() {
            self.make(env, at);
        }
    }

    /// Which pods of places that are taken away go (`processCondemned`).
    fn condemn(env: &mut Env<'_>, set: &mut StatefulSet) {
        (set.deleting, set.to_delete) = (false, VecDeque::new());
        if set.condemned.is_empty() {
            return;
        }
        let planned = |place: &u32| set.slots[*place as usize].1 == Slot::Planned;
        for place in set.condemned.iter().copied().filter(planned).collect::<Vec<_>>() {
            // Never made.
            env.dropped.push(set.slots[place as usize].0);
            set.slots[place as usize].1 = Slot::Vacant;
            set.condemned.remove(&place);
        }
        let of = |place: &u32| set.slots[*place as usize];
        if !set.settings.ordered {
            let going = set.condemned.iter().rev().map(of).filter(|(_, slot)| *slot != Slot::Leaving);
            set.to_delete = going.map(|(pod, _)| pod).collect();
        } else if set.unready.is_empty()
            && let Some(last) = set.condemned.last()
        {
            let (pod, slot) = of(last);
            let first_unhealthy = set.condemned.iter().find(|place| of(place).1 != Slot::Ready);
            let goes = slot == Slot::Ready || slot != Slot::Leaving && first_unhealthy == Some(last);
            set.to_delete.extend(goes.then_some(pod));
        }
    }

    /// The next batch, or the end of the sync.
    fn make(&mut self, env: &mut Env<'_>, at: u32) {
        let owner = self.owners.of(at);
        let set = &mut self.sets[at as usize];
        if set.sync.has_failed() || set.to_make.is_empty() && set.to_delete.is_empty() {
            set.to_make.clear();
            self.write_status(env, at);
            return;
        }
        if set.to_make.is_empty() {
            if !std::mem::replace(&mut set.deleting, true) {
                set.sync.start_slowly();
            }
            for pod in set.sync.next_batch(&mut set.to_delete) {
                env.control_plane.store_mut().is_scaled_down(pod);
                set.sync.wait_for(pod);
                env.control_plane.submit(env.kernel, self.client, Verb::DeleteGracefully, pod, NO_NODE);
            }
            return;
        }
        for place in set.sync.next_batch(&mut set.to_make) {
            let (mut pod, slot) = set.slots[place as usize];
            if matches!(slot, Slot::Missing | Slot::Vacant) {
                let is_missed = slot == Slot::Missing && !env.control_plane.store().was_scaled_down(pod);
                let before = (pod != PodId::MAX).then_some(pod);
                let spec = before.map_or(set.spec, |before| with_its_claims(env.cluster, before));
                // A place that nobody has had is like the one of the plan that is as many turns before.
                let like = before.unwrap_or_else(|| set.first + place % set.planned.max(1));
                let provisioning_ns = env.cluster.provisioning_ns.get(&like).copied();
                pod = env.make_of(spec, set.app, owner, before.filter(|_| is_missed));
                if let Some(ns) = provisioning_ns {
                    env.cluster.provisioning_ns.insert(pod, ns);
                }
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
        let set = &mut self.sets[at as usize];
        if !set.sync.has_failed() && set.unready.is_empty() && set.condemned.is_empty() {
            self.scalings.complete(at, env.kernel.now());
        }
        set.sync.end(env, self.owners.of(at));
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
