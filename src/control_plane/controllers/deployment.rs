//! Rollouts and scalings: the Deployment controller, and the ReplicaSets of the Deployments that are rolled out or scaled.
//!
//! A Deployment whose pod template changes gets a new ReplicaSet. With `RollingUpdate` a sync scales the new one up as far as `replicas` and `maxSurge` allow for all
//! ReplicaSets together; one that could not, scales the old ones down: pods that are not available first, then so many that `replicas - maxUnavailable` stay available. Pods
//! of the new one that are not available yet count against that. With `Recreate` the old ones go to 0, and the new one is created when their pods are gone. Each write of a
//! ReplicaSet's size, its creation and the Deployment's status is a request, one after the other, in the controller's own bucket (20/s, burst 30); five syncs run at once.
//!
//! A Deployment whose `replicas` change scales the one ReplicaSet that has pods. If several have, because a rollout is under way, what is added to, or taken from, `replicas` and
//! `maxSurge` together is shared among them by their sizes (proportional scaling); the rollout goes on with the next sync. ReplicaSets note for which `replicas` and `maxSurge` they
//! were sized, by which the controller tells that the Deployment was scaled. From 0 the newest grows as in a rollout.
//!
//! A ReplicaSet makes what is missing in batches of 1, 2, 4, .., and deletes what is too much at once, at most 500 of each a sync: pods without a node first, then those that
//! have not started, that are not ready, that share their node with more pods of the Deployment, and that are younger by the power of two of their age. Its
//! status (pods, ready, available) is written when it differs, and tells the Deployment. These requests share the ReplicaSet controller's bucket. A pod is
//! available when it has been ready for `minReadySeconds`; its ReplicaSet is looked at a second later.
//!
//! Until its first rollout or scaling a Deployment is a ReplicaSet like others ([`replica_set`](super::replica_set)), which then hands its pods over.
//!
//! Source: k/k `pkg/controller/deployment/{rolling,recreate,sync}.go` (`scale`, `isScalingEvent`), `util/deployment_util.go`, `pkg/controller/replicaset/replica_set.go`,
//! `pkg/controller/controller_utils.go` (`ActivePodsWithRanks`).
//!
//! Left out: pauses, rollbacks, `progressDeadlineSeconds`, `revisionHistoryLimit`, deletion costs (the pods of a template have the same), restarts of containers,
//! the wait for the informer to see what was written (the answers stand for it). The five workers for ReplicaSets are none of those that
//! sync the others. A ReplicaSet that has the Deployment's size already, while another without pods is the new one, does not keep the real controller from rolling out here.
//!
//! Cost: O(pods of the ReplicaSet x log) a sync of one.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::kernel::ControllerEvent;
use super::super::store::Refusal;
use super::super::{ClientId, Verb};
use super::progress::{Outcome, Progress};
use super::replica_set::Handover;
use super::work_queue::WorkQueue;
use super::{Answer, Env, retry_after_ns};
use crate::cluster::{AppId, NO_NODE, NodeId, PodId, SpecId, Stage};
use crate::engine::{Nanos, SECOND};

/// `burstReplicas`.
const BURST_REPLICAS: usize = 500;

/// `strategy` of a Deployment, of its number of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Strategy {
    /// All old pods go first.
    Recreate,
    /// Old pods go as new ones come.
    RollingUpdate {
        /// Pods beyond `replicas`.
        max_surge: u32,
        /// Pods of `replicas` that need not be available.
        max_unavailable: u32,
    },
}

/// What a Deployment is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeploymentSettings {
    /// The owner of its pods, that is its first ReplicaSet.
    pub owner: u32,
    /// `replicas`.
    pub replicas: u32,
    /// `strategy`.
    pub strategy: Strategy,
    /// `minReadySeconds`, ns.
    pub min_ready_ns: Nanos,
    /// How often it is rolled out.
    pub rollouts: u32,
}

/// What a Deployment sees of a ReplicaSet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// `spec.replicas`.
    pub replicas: u32,
    /// `status.availableReplicas`.
    pub available: u32,
}

/// `NewRSNewReplicas`: how large the new ReplicaSet should be, if all together have `total` pods.
#[must_use]
pub fn new_size(replicas: u32, max_surge: u32, total: u32, new: u32) -> u32 {
    let most = replicas.saturating_add(max_surge);
    new + most.saturating_sub(total).min(replicas.saturating_sub(new))
}

/// `reconcileNewReplicaSet`: the new ReplicaSet's size, if it changes.
#[must_use]
pub fn reconcile_new(replicas: u32, max_surge: u32, olds: u32, new: u32) -> Option<u32> {
    let size = if new > replicas { replicas } else { new_size(replicas, max_surge, olds + new, new) };
    (size != new).then_some(size)
}

/// `cleanupUnhealthyReplicas`: takes away at most so many pods that are not available; writes (index, size), and how many. None: a status says that more are
/// available than there should be, as it does until a deletion has got about, and the sync goes no further.
pub fn clean_up_unhealthy(olds: &mut [Size], most: u32, writes: &mut Vec<(usize, u32)>) -> Option<u32> {
    let mut done = 0;
    for (at, old) in olds.iter_mut().enumerate().filter(|(_, old)| old.replicas > 0) {
        if done >= most {
            break;
        }
        let count = (most - done).min(old.replicas.checked_sub(old.available)?);
        if count > 0 {
            old.replicas -= count;
            done += count;
            writes.push((at, old.replicas));
        }
    }
    Some(done)
}

/// `scaleDownOldReplicaSetsForRollingUpdate`: takes away pods as long as enough of all are available.
pub fn scale_down_olds(
    olds: &mut [Size],
    new: Size,
    replicas: u32,
    max_unavailable: u32,
    writes: &mut Vec<(usize, u32)>,
) -> u32 {
    let available = new.available + olds.iter().map(|old| old.available).sum::<u32>();
    let most = available.saturating_sub(replicas.saturating_sub(max_unavailable));
    let mut done = 0;
    for (at, old) in olds.iter_mut().enumerate() {
        let count = (most - done).min(old.replicas);
        if count > 0 {
            old.replicas -= count;
            done += count;
            writes.push((at, old.replicas));
        }
    }
    done
}

/// `reconcileOldReplicaSets`: the writes (index, size) that it comes to, the oldest ReplicaSet first.
#[must_use]
pub fn reconcile_old(olds: &[Size], new: Size, replicas: u32, max_unavailable: u32) -> Vec<(usize, u32)> {
    let mut olds = olds.to_vec();
    let old_pods: u32 = olds.iter().map(|old| old.replicas).sum();
    let min_available = replicas.saturating_sub(max_unavailable);
    let not_available = new.replicas.saturating_sub(new.available);
    let most = (old_pods + new.replicas).saturating_sub(min_available).saturating_sub(not_available);
    let mut writes = Vec::new();
    if old_pods > 0 && most > 0 && clean_up_unhealthy(&mut olds, most, &mut writes).is_some() {
        scale_down_olds(&mut olds, new, replicas, max_unavailable, &mut writes);
    }
    writes
}

/// What a ReplicaSet looks at of a pod that may have to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// It is bound.
    pub has_node: bool,
    /// Its phase is Running.
    pub started: bool,
    /// Since when it is ready, ns; none: it is not.
    pub ready_ns: Option<Nanos>,
    /// Pods of the Deployment on its node.
    pub beside: u32,
    /// When it was created, ns; none: it is not known.
    pub created_ns: Option<Nanos>,
}

/// The order of [`Candidate`]s, the first to go first.
pub type Rank = (bool, bool, bool, Reverse<u32>, u32, u32);

impl Candidate {
    /// Its place in the order (`ActivePodsWithRanks`).
    #[must_use]
    pub fn rank(self, now: Nanos) -> Rank {
        // Ages are told apart by their power of two.
        let age =
            |since: Nanos| (now.saturating_sub(since) / SECOND).checked_ilog2().map_or(0, |log| log + 1);
        let (ready, created) = (self.ready_ns.map_or(0, age), self.created_ns.map_or(0, age));
        (self.has_node, self.started, self.ready_ns.is_some(), Reverse(self.beside), ready, created)
    }
}

/// For which size of its Deployment a ReplicaSet was sized (annotations `deployment.kubernetes.io/desired-replicas` and `max-replicas`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SizedFor {
    /// `replicas`.
    pub replicas: u32,
    /// `replicas` and `maxSurge`.
    pub most: u32,
}

/// `getReplicaSetFraction`: how many pods more, or less, are a ReplicaSet's share.
fn fraction(set: Size, was: SizedFor, now: SizedFor) -> i64 {
    if now.replicas == 0 {
        return -i64::from(set.replicas);
    }
    let (size, was) = (u64::from(set.replicas) * u64::from(now.most), u64::from(was.most).max(1));
    // Rounded, halves up.
    let rounded = (2 * size + was) / (2 * was);
    i64::try_from(rounded).unwrap_or(i64::MAX) - i64::from(set.replicas)
}

/// `scale`: the writes (index, size) that a change of `replicas` comes to. ReplicaSets are told oldest first; with `has_new` the last one is the newest template's.
#[must_use]
pub fn scale(sets: &[(Size, SizedFor)], has_new: bool, now: SizedFor, rolling: bool) -> Vec<(usize, u32)> {
    let active: Vec<usize> = (0..sets.len()).filter(|at| sets[*at].0.replicas > 0).collect();
    let newest = sets.len().checked_sub(1);
    let one = match active[..] {
        [] => newest,
        [one] => Some(one),
        _ => None,
    };
    if let Some(one) = one {
        let differs = sets[one].0.replicas != now.replicas;
        return if differs { vec![(one, now.replicas)] } else { Vec::new() };
    }
    let is_saturated = |(size, was): (Size, SizedFor)| {
        (size.replicas, was.replicas, size.available) == (now.replicas, now.replicas, now.replicas)
    };
    if let Some(newest) = newest.filter(|newest| has_new && is_saturated(sets[*newest])) {
        return active.into_iter().filter(|at| *at != newest).map(|at| (at, 0)).collect();
    }
    if !rolling {
        return Vec::new();
    }
    let total: i64 = active.iter().map(|at| i64::from(sets[*at].0.replicas)).sum();
    let to_add = if now.replicas > 0 { i64::from(now.most) } else { 0 } - total;
    let mut order = active;
    // The largest first; of the same size the newest when pods are added, the oldest when they are taken away.
    if to_add > 0 {
        order.sort_by_key(|at| (Reverse(sets[*at].0.replicas), Reverse(*at)));
    } else if to_add < 0 {
        order.sort_by_key(|at| (Reverse(sets[*at].0.replicas), *at));
    }
    let mut added = 0;
    let mut sizes: Vec<(usize, i64)> = Vec::new();
    for at in order {
        let (size, was) = sets[at];
        let share = match to_add - added {
            0 => 0,
            left if to_add > 0 => fraction(size, was, now).min(left),
            left => fraction(size, was, now).max(left),
        };
        added += share;
        sizes.push((at, i64::from(size.replicas) + share));
    }
    if let Some((_, size)) = sizes.first_mut() {
        *size += to_add - added;
    }
    let write = |(at, size): (usize, i64)| {
        let size = u32::try_from(size.max(0)).unwrap_or(u32::MAX);
        (sets[at].0.replicas != size || sets[at].1 != now).then_some((at, size))
    };
    sizes.into_iter().filter_map(write).collect()
}

/// Pods, ready ones, available ones.
type Status = (u32, u32, u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Write {
    /// A new ReplicaSet, of a size, and for which size of the Deployment. Another may be the newest by the time of the answer.
    Create(u32, u32, SizedFor),
    /// A ReplicaSet's size.
    Scale(u32, u32, SizedFor),
    /// The Deployment's status.
    Status,
}

#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
struct ReplicaSet {
    spec: SpecId,
    created: bool,
    replicas: u32,
    sized_for: SizedFor,
    /// Pods that are wanted and not lost, with the time since when they are ready.
    pods: BTreeMap<PodId, Option<Nanos>>,
    /// Pods that are being deleted.
    leaving: BTreeSet<PodId>,
    /// Pods whose creation, or deletion, is under way.
    under_way: BTreeSet<PodId>,
    /// Pods that are known to the cluster and not stored.
    again: VecDeque<PodId>,
    /// Lost pods that are to be replaced.
    lost: VecDeque<PodId>,
    /// Pods that this sync still makes.
    to_make: usize,
    batch: usize,
    status: Status,
    /// The status that is being written.
    writing: Option<Status>,
    failed: bool,
    failures: u32,
    /// A worker has it.
    working: bool,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Deployment {
    settings: DeploymentSettings,
    app: AppId,
    /// The first is the one that it had; empty before the first rollout.
    sets: Vec<ReplicaSet>,
    writes: VecDeque<Write>,
    under_way: Option<Write>,
    status: (Status, u32),
    failed: bool,
    failures: u32,
    /// One of the pods that it had at first.
    first: PodId,
}

impl Deployment {
    /// For which size its ReplicaSets are sized from now on.
    const fn sized_for(&self) -> SizedFor {
        let replicas = self.settings.replicas;
        let surge = match self.settings.strategy {
            Strategy::Recreate => 0,
            Strategy::RollingUpdate { max_surge, .. } => max_surge,
        };
        SizedFor { replicas, most: replicas.saturating_add(surge) }
    }
}

/// The Deployments of a run that are rolled out or scaled.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Deployments {
    client: ClientId,
    set_client: ClientId,
    all: Vec<Deployment>,
    queue: WorkQueue,
    set_queue: WorkQueue,
    /// Number of each Deployment's first ReplicaSet in that queue.
    first_set: Vec<u32>,
    by_owner: BTreeMap<u32, u32>,
    /// Deployment and ReplicaSet of each pod.
    places: BTreeMap<PodId, (u32, u32)>,
    rollouts: Progress,
    scalings: Progress,
    /// Timers for pods that are ready and not available.
    waits: u32,
}

impl Deployments {
    /// Deployments that will be rolled out or scaled; they write by one client, their ReplicaSets by the other.
    #[must_use]
    pub fn new(
        client: ClientId,
        set_client: ClientId,
        workers: [u32; 2],
        all: &[DeploymentSettings],
    ) -> Self {
        let deployment = |settings: &DeploymentSettings| Deployment {
            settings: *settings,
            app: 0,
            sets: Vec::new(),
            writes: VecDeque::new(),
            under_way: None,
            status: Default::default(),
            failed: false,
            failures: 0,
            first: PodId::MAX,
        };
        let mut sets = 0;
        let mut first_set = Vec::new();
        for settings in all {
            first_set.push(sets);
            sets += 1 + settings.rollouts;
        }
        Self {
            client,
            set_client,
            queue: WorkQueue::new(all.len(), workers[0]),
            set_queue: WorkQueue::new(sets as usize, workers[1]),
            first_set,
            by_owner: all.iter().map(|settings| settings.owner).zip(0..).collect(),
            all: all.iter().map(deployment).collect(),
            places: BTreeMap::new(),
            rollouts: Progress::default(),
            scalings: Progress::default(),
            waits: 0,
        }
    }

    /// Its client.
    #[must_use]
    pub const fn client(&self) -> ClientId {
        self.client
    }

    /// The Deployment that is this owner and whose pods are its own by now.
    #[must_use]
    pub fn index_of(&self, owner: u32) -> Option<u32> {
        self.by_owner.get(&owner).copied().filter(|at| !self.all[*at as usize].sets.is_empty())
    }

    /// What rollouts came to, and what scalings did.
    #[must_use]
    pub fn outcomes(&self) -> (Outcome, Outcome) {
        (self.rollouts.outcome(), self.scalings.outcome())
    }

    /// Whether a rollout or a scaling is not complete.
    #[must_use]
    pub fn are_moving(&self) -> bool {
        self.rollouts.is_open() || self.scalings.is_open()
    }

    /// Whether pods that are ready become available in time.
    #[must_use]
    pub const fn wait_for_time(&self) -> bool {
        self.waits > 0
    }

    /// The first time it takes over what its ReplicaSet has.
    fn take_over(&mut self, env: &mut Env<'_>, at: u32, taken: Option<Handover>) {
        let Some(Handover { pods, again, lost, making }) = taken else { return };
        let it = &mut self.all[at as usize];
        let first = pods.iter().chain(&again).next().copied();
        it.app = first.map_or(0, |pod| env.cluster.pods.app_id(pod));
        it.first = first.unwrap_or(PodId::MAX);
        let mut set = ReplicaSet {
            spec: first.map_or(0, |pod| env.cluster.pods.spec_id(pod)),
            created: true,
            replicas: it.settings.replicas,
            sized_for: it.sized_for(),
            again,
            lost,
            ..ReplicaSet::default()
        };
        let store = env.control_plane.store();
        for pod in pods {
            self.places.insert(pod, (at, 0));
            if store.is_active(pod) || making.contains(&pod) {
                let since_ns = env.cluster.pods.timeline(pod).running_ns;
                set.pods.insert(pod, store.is_ready(pod).then_some(since_ns));
            } else if store.exists(pod) && !store.is_over(pod) {
                set.leaving.insert(pod);
            }
        }
        // What it was waiting for is answered like a sync of this one's.
        set.under_way = making;
        set.status = Self::status_of(&set, it.settings.min_ready_ns, env);
        it.sets.push(set);
    }

    /// The Deployment's template changes: from now on its pods are as the spec says.
    pub fn change(&mut self, env: &mut Env<'_>, owner: u32, spec: SpecId, taken: Option<Handover>) {
        let Some(at) = self.by_owner.get(&owner).copied() else { return };
        self.take_over(env, at, taken);
        self.all[at as usize].sets.push(ReplicaSet { spec, ..ReplicaSet::default() });
        self.rollouts.begin(at, env.kernel.now());
    }

    /// The Deployment's `replicas` change, and with it what its strategy comes to; says whether it has become smaller.
    pub fn resize(
        &mut self,
        env: &mut Env<'_>,
        owner: u32,
        replicas: u32,
        strategy: Strategy,
        taken: Option<Handover>,
    ) -> bool {
        let Some(at) = self.by_owner.get(&owner).copied() else { return false };
        self.take_over(env, at, taken);
        let it = &mut self.all[at as usize];
        let before = std::mem::replace(&mut it.settings.replicas, replicas);
        it.settings.strategy = strategy;
        env.control_plane.store_mut().resize(it.first, before, replicas);
        // In whose place nobody is to come.
        let mut too_many = before.saturating_sub(replicas);
        for set in &mut it.sets {
            while too_many > 0
                && let Some(pod) = set.lost.pop_front()
            {
                env.dropped.push(pod);
                too_many -= 1;
            }
        }
        self.scalings.begin(at, env.kernel.now());
        replicas < before
    }

    /// It is due.
    pub fn start(&mut self, env: &mut Env<'_>, at: u32) {
        self.queue.add(at);
        self.queue_sets(at);
        self.pump(env);
    }

    fn queue_sets(&mut self, at: u32) {
        for nth in 0..self.all[at as usize].sets.len() as u32 {
            self.set_queue.add(self.first_set[at as usize] + nth);
        }
    }

    /// The manager's process is a new one: it looks at everything.
    pub fn restart(&mut self, env: &mut Env<'_>) {
        self.queue.clear();
        self.set_queue.clear();
        self.waits = 0;
        for at in 0..self.all.len() as u32 {
            if self.all[at as usize].sets.is_empty() {
                continue;
            }
            let it = &mut self.all[at as usize];
            it.writes.clear();
            (it.under_way, it.failed, it.failures) = (None, false, 0);
            let mut pods = Vec::new();
            for set in &mut it.sets {
                for pod in std::mem::take(&mut set.under_way) {
                    // A creation of which nobody heard.
                    if env.cluster.pods.stage(pod) == Stage::Planned && set.pods.remove(&pod).is_some() {
                        set.again.push_back(pod);
                    }
                }
                (set.writing, set.failed, set.failures, set.to_make) = (None, false, 0, 0);
                set.working = false;
                pods.extend(set.pods.keys().chain(&set.leaving).copied());
            }
            for pod in pods {
                self.look(env, pod);
            }
            self.queue.add(at);
            self.queue_sets(at);
        }
        self.pump(env);
    }

    /// The informer has shown a change of a pod.
    pub fn on_pod(&mut self, env: &mut Env<'_>, pod: PodId) {
        if self.look(env, pod) {
            self.pump(env);
        }
    }

    /// Looks at a pod; says whether it is one of these.
    fn look(&mut self, env: &mut Env<'_>, pod: PodId) -> bool {
        let Some((at, nth)) = self.places.get(&pod).copied() else { return false };
        let now = env.kernel.now();
        let it = &mut self.all[at as usize];
        let set = &mut it.sets[nth as usize];
        let store = env.control_plane.store();
        let mut becomes_ready = false;
        if store.is_active(pod) {
            if let Some(since) = set.pods.get_mut(&pod) {
                let ready = store.is_ready(pod);
                becomes_ready = ready && since.is_none();
                *since = ready.then(|| since.unwrap_or(now));
            }
        } else if store.exists(pod) || store.is_over(pod) {
            if set.pods.remove(&pod).is_some() && !store.is_wanted_away(pod) {
                set.lost.push_back(pod);
            }
            if store.is_over(pod) {
                set.leaving.remove(&pod);
                // Recreate waits for it.
                self.queue.add(at);
            } else {
                set.leaving.insert(pod);
            }
        }
        self.set_queue.add(self.first_set[at as usize] + nth);
        if becomes_ready && it.settings.min_ready_ns > 0 {
            self.waits += 1;
            let owner = it.settings.owner;
            env.timer(now + it.settings.min_ready_ns + SECOND, ControllerEvent::Requeue { owner });
        }
        true
    }

    /// A timer: a wait is over, or something is tried again.
    pub fn on_timer(&mut self, env: &mut Env<'_>, at: u32) {
        self.waits = self.waits.saturating_sub(1);
        self.start(env, at);
    }

    fn pump(&mut self, env: &mut Env<'_>) {
        loop {
            if let Some(at) = self.queue.next() {
                self.sync(env, at);
            } else if let Some(number) = self.set_queue.next() {
                let at = self.first_set.partition_point(|first| *first <= number) - 1;
                self.sync_set(env, at as u32, number - self.first_set[at]);
            } else {
                return;
            }
        }
    }

    // ---- Deployments ----

    fn sync(&mut self, env: &mut Env<'_>, at: u32) {
        let it = &mut self.all[at as usize];
        it.failed = false;
        let Some((new, olds)) = it.sets.split_last() else { return self.queue.done(at) };
        let replicas = it.settings.replicas;
        let size = |set: &ReplicaSet| Size { replicas: set.replicas, available: set.status.2 };
        let total: u32 = olds.iter().map(|old| old.replicas).sum();
        let newest = olds.len() as u32;
        let now_for = it.sized_for();
        let mut writes = Vec::new();
        if it.sets.iter().any(|set| set.replicas > 0 && set.sized_for.replicas != replicas) {
            let created: Vec<u32> =
                it.sets.iter().zip(0..).filter(|(set, _)| set.created).map(|(_, nth)| nth).collect();
            let of = |nth: &u32| &it.sets[*nth as usize];
            let sizes: Vec<_> = created.iter().map(|nth| (size(of(nth)), of(nth).sized_for)).collect();
            let rolling = it.settings.strategy != Strategy::Recreate;
            let scaled = scale(&sizes, new.created, now_for, rolling).into_iter();
            writes.extend(scaled.map(|(at, size)| Write::Scale(created[at], size, now_for)));
        }
        match it.settings.strategy {
            _ if !writes.is_empty() => {}
            Strategy::Recreate => {
                let to_scale = olds.iter().zip(0..).filter(|(old, _)| old.replicas > 0);
                writes.extend(to_scale.map(|(_, nth)| Write::Scale(nth, 0, now_for)));
                let none_left = olds.iter().all(|old| old.pods.is_empty() && old.leaving.is_empty());
                if writes.is_empty() && none_left {
                    if !new.created {
                        writes.extend([Write::Create(newest, replicas, now_for), Write::Status]);
                    } else if new.replicas != replicas {
                        writes.push(Write::Scale(newest, replicas, now_for));
                    }
                }
            }
            Strategy::RollingUpdate { max_surge, max_unavailable } => {
                let mut now = size(new);
                let mut scaled = false;
                if !new.created {
                    now.replicas = new_size(replicas, max_surge, total, 0);
                    writes.extend([Write::Create(newest, now.replicas, now_for), Write::Status]);
                } else if let Some(size) = reconcile_new(replicas, max_surge, total, new.replicas) {
                    writes.push(Write::Scale(newest, size, now_for));
                    scaled = true;
                }
                if !scaled {
                    let sizes: Vec<Size> = olds.iter().map(size).collect();
                    let less = reconcile_old(&sizes, now, replicas, max_unavailable);
                    let less = less.into_iter();
                    writes.extend(less.map(|(nth, size)| Write::Scale(nth as u32, size, now_for)));
                }
            }
        }
        it.writes.extend(writes);
        self.advance(env, at);
    }

    /// The next write of a sync, or its end.
    fn advance(&mut self, env: &mut Env<'_>, at: u32) {
        let it = &mut self.all[at as usize];
        let next = if it.failed { None } else { it.writes.pop_front() };
        if next.is_none() {
            it.writes.clear();
        }
        let sum = |f: &dyn Fn(&ReplicaSet) -> u32| it.sets.iter().map(f).sum::<u32>();
        let status = (
            (sum(&|set| set.status.0), sum(&|set| set.status.1), sum(&|set| set.status.2)),
            it.sets.last().map_or(0, |new| new.status.0),
        );
        // The last write of a sync, if there is something to say.
        let last = (!it.failed && it.status != status).then_some(Write::Status);
        let Some(write) = next.or(last) else { return self.end(env, at) };
        if write == Write::Status {
            it.status = status;
        }
        it.under_way = Some(write);
        let owner = it.settings.owner;
        env.control_plane.submit(env.kernel, self.client, Verb::PutObject, PodId::MAX, owner);
    }

    fn end(&mut self, env: &mut Env<'_>, at: u32) {
        let now = env.kernel.now();
        let it = &mut self.all[at as usize];
        if it.failed {
            let wait_ns = retry_after_ns(it.failures);
            it.failures += 1;
            // Written again, whatever it said.
            it.status = Default::default();
            self.waits += 1;
            env.timer(now + wait_ns, ControllerEvent::Requeue { owner: it.settings.owner });
        } else {
            it.failures = 0;
            let (replicas, min_ready_ns) = (it.settings.replicas, it.settings.min_ready_ns);
            // A status may be older than what its ReplicaSet is about: `observedGeneration` says so.
            let is_told = |set: &ReplicaSet| {
                set.under_way.is_empty() && set.status == Self::status_of(set, min_ready_ns, env)
            };
            let complete = it.sets.split_last().is_some_and(|(new, olds)| {
                new.created
                    && new.replicas == replicas
                    && (new.status.0, new.status.2) == (replicas, replicas)
                    && olds.iter().all(|old| old.replicas == 0 && old.status.0 == 0)
                    && it.sets.iter().all(is_told)
            });
            if complete {
                self.rollouts.complete(at, now);
                self.scalings.complete(at, now);
            }
        }
        self.queue.done(at);
    }

    /// A write of a Deployment was answered.
    pub fn on_answered(&mut self, env: &mut Env<'_>, answer: Answer) {
        let Some(at) = self.index_of(answer.node) else { return };
        let it = &mut self.all[at as usize];
        let Some(write) = it.under_way.take() else { return };
        it.failed |= !answer.ok;
        let changed = match write {
            _ if !answer.ok => None,
            Write::Status => None,
            Write::Create(nth, size, sized_for) | Write::Scale(nth, size, sized_for) => {
                Some((nth, size, sized_for))
            }
        };
        if let Some((nth, size, sized_for)) = changed {
            let set = &mut it.sets[nth as usize];
            (set.created, set.replicas, set.sized_for) = (true, size, sized_for);
            self.set_queue.add(self.first_set[at as usize] + nth);
            // Its informer shows the ReplicaSet.
            self.queue.add(at);
        }
        self.advance(env, at);
        self.pump(env);
    }

    // ---- ReplicaSets ----

    fn sync_set(&mut self, env: &mut Env<'_>, at: u32, nth: u32) {
        let it = &mut self.all[at as usize];
        let Some(set) = it.sets.get_mut(nth as usize) else {
            return self.set_queue.done(self.first_set[at as usize] + nth);
        };
        set.working = true;
        Self::give_up(env, set);
        if !set.under_way.is_empty() {
            // Taken over in the middle of a sync: the answers end it.
            return;
        }
        (set.failed, set.batch) = (false, 1);
        let (there, wanted) = (set.pods.len(), set.replicas as usize);
        set.to_make = wanted.saturating_sub(there).min(BURST_REPLICAS);
        let too_many = there.saturating_sub(wanted).min(BURST_REPLICAS);
        if too_many > 0 {
            self.delete(env, at, nth, too_many);
        } else {
            self.make(env, at, nth);
        }
    }

    /// Pods that were to come, and that a smaller size leaves no room for, are never made.
    fn give_up(env: &mut Env<'_>, set: &mut ReplicaSet) {
        let room = (set.replicas as usize).saturating_sub(set.pods.len());
        env.dropped.extend(set.again.drain(room.min(set.again.len())..));
    }

    /// The next batch of pods, or the status.
    fn make(&mut self, env: &mut Env<'_>, at: u32, nth: u32) {
        let it = &mut self.all[at as usize];
        let (owner, app) = (it.settings.owner, it.app);
        let set = &mut it.sets[nth as usize];
        if set.to_make == 0 || set.failed {
            return self.write_status(env, at, nth);
        }
        let count = set.batch.min(set.to_make);
        set.to_make -= count;
        set.batch *= 2;
        for _ in 0..count {
            let pod = match set.again.pop_front() {
                Some(pod) => pod,
                None => env.make_of(set.spec, app, owner, set.lost.pop_front()),
            };
            self.places.insert(pod, (at, nth));
            set.pods.insert(pod, None);
            set.under_way.insert(pod);
            env.control_plane.submit(env.kernel, self.set_client, Verb::CreatePod, pod, NO_NODE);
        }
    }

    /// Deletes so many pods (`getPodsToDelete`).
    fn delete(&mut self, env: &mut Env<'_>, at: u32, nth: u32, count: usize) {
        let now = env.kernel.now();
        let it = &mut self.all[at as usize];
        let (pods, store) = (&env.cluster.pods, env.control_plane.store());
        let mut on_node: BTreeMap<NodeId, u32> = BTreeMap::new();
        for pod in it.sets.iter().flat_map(|set| set.pods.keys()) {
            *on_node.entry(pods.node(*pod)).or_default() += 1;
        }
        let set = &mut it.sets[nth as usize];
        let rank = |(pod, ready): (&PodId, &Option<Nanos>)| {
            let node = pods.node(*pod);
            let times = pods.timeline(*pod);
            let candidate = Candidate {
                has_node: node != NO_NODE,
                started: times.running_ns != Nanos::MAX,
                ready_ns: *ready,
                beside: on_node.get(&node).copied().filter(|_| node != NO_NODE).unwrap_or(0),
                created_ns: (times.created_ns != Nanos::MAX).then_some(times.created_ns),
            };
            // What was to go before goes; names are chance.
            (!store.is_wanted_away(*pod), candidate.rank(now), name(*pod), *pod)
        };
        let mut ranked: Vec<_> = set.pods.iter().map(rank).collect();
        ranked.sort_unstable();
        for (.., pod) in ranked.into_iter().take(count) {
            env.control_plane.store_mut().is_scaled_down(pod);
            set.under_way.insert(pod);
            env.control_plane.submit(env.kernel, self.set_client, Verb::DeleteGracefully, pod, NO_NODE);
        }
    }

    fn status_of(set: &ReplicaSet, min_ready_ns: Nanos, env: &Env<'_>) -> Status {
        let (now, store) = (env.kernel.now(), env.control_plane.store());
        let active = || set.pods.iter().filter(|(pod, _)| store.is_active(**pod));
        let ready = active().filter(|(_, since)| since.is_some()).count();
        let available = active().filter(|(_, since)| since.is_some_and(|since| since + min_ready_ns <= now));
        (active().count() as u32, ready as u32, available.count() as u32)
    }

    fn write_status(&mut self, env: &mut Env<'_>, at: u32, nth: u32) {
        let it = &mut self.all[at as usize];
        let (owner, min_ready_ns) = (it.settings.owner, it.settings.min_ready_ns);
        let set = &mut it.sets[nth as usize];
        let status = Self::status_of(set, min_ready_ns, env);
        if status == set.status {
            return self.end_set(env, at, nth);
        }
        set.writing = Some(status);
        let code = PodId::MAX - nth;
        env.control_plane.submit(env.kernel, self.set_client, Verb::PutObject, code, owner);
    }

    fn end_set(&mut self, env: &mut Env<'_>, at: u32, nth: u32) {
        let it = &mut self.all[at as usize];
        let set = &mut it.sets[nth as usize];
        // Creations that failed after the size was another.
        Self::give_up(env, set);
        if set.failed {
            let wait_ns = retry_after_ns(set.failures);
            set.failures += 1;
            self.waits += 1;
            env.timer(env.kernel.now() + wait_ns, ControllerEvent::Requeue { owner: it.settings.owner });
        } else {
            set.failures = 0;
        }
        set.working = false;
        self.set_queue.done(self.first_set[at as usize] + nth);
    }

    /// A request of a ReplicaSet was answered; false: it is none of these.
    pub fn on_set_answered(&mut self, env: &mut Env<'_>, owner: u32, answer: Answer) -> bool {
        if answer.verb == Verb::PutObject {
            let Some(at) = self.index_of(answer.node) else { return false };
            let nth = PodId::MAX - answer.pod;
            let Some(set) = self.all[at as usize].sets.get_mut(nth as usize) else { return true };
            // Of a process that is no more.
            let Some(status) = set.writing.take() else { return true };
            if answer.ok {
                set.status = status;
                self.queue.add(at);
                self.set_queue.add(self.first_set[at as usize] + nth);
            } else {
                set.failed = true;
            }
            self.end_set(env, at, nth);
            self.pump(env);
            return true;
        }
        if self.index_of(owner).is_none() {
            return false;
        }
        let pod = answer.pod;
        let Some((at, nth)) = self.places.get(&pod).copied() else { return true };
        let set = &mut self.all[at as usize].sets[nth as usize];
        if !set.under_way.remove(&pod) {
            return true;
        }
        let known = matches!(answer.refusal, Some(Refusal::Conflict | Refusal::NotFound));
        if !answer.ok && !known {
            set.failed = true;
            if answer.verb == Verb::CreatePod && env.cluster.pods.stage(pod) == Stage::Planned {
                set.pods.remove(&pod);
                set.again.push_back(pod);
            }
        }
        let is_last = set.under_way.is_empty() && set.working;
        if answer.verb == Verb::DeleteGracefully {
            self.look(env, pod);
        }
        if is_last {
            self.make(env, at, nth);
            self.pump(env);
        }
        true
    }
}

/// What stands for a pod's random name: its number, mixed (`splitmix64`).
const fn name(pod: PodId) -> u64 {
    let mut x = (pod as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn size(replicas: u32, available: u32) -> Size {
        Size { replicas, available }
    }

    /// `rolling_test.go`, TestDeploymentController_reconcileNewReplicaSet: ten replicas.
    #[test]
    fn the_new_replica_set_grows_as_far_as_the_surge_allows() {
        for (surge, old, new, expected) in [
            (0, 10, 0, None),
            (2, 10, 0, Some(2)),
            (2, 5, 0, Some(7)),
            (2, 10, 2, None),
            (2, 2, 11, Some(10)),
        ] {
            assert_eq!(reconcile_new(10, surge, old, new), expected, "surge {surge}, {old} old, {new} new");
        }
    }

    /// TestDeploymentController_reconcileOldReplicaSets. Its first case has neither surge nor unavailable pods, which means one unavailable.
    #[test]
    fn old_replica_sets_shrink_as_far_as_enough_pods_stay_available() {
        for (unavailable, old, new, expected) in [
            (1, size(10, 10), size(0, 0), Some(9)),
            (2, size(10, 10), size(0, 0), Some(8)),
            (2, size(10, 8), size(0, 0), Some(8)),
            (2, size(10, 9), size(0, 0), Some(8)),
            (2, size(8, 8), size(2, 0), None),
        ] {
            let writes = reconcile_old(&[old], new, 10, unavailable);
            assert_eq!(writes.last().map(|write| write.1), expected, "{old:?} {new:?}");
        }
        // The essay of `reconcileOldReplicaSets`: 10 replicas, 2 unavailable, 3 surge. New pods crash, and a node fails.
        assert_eq!(reconcile_old(&[size(8, 7)], size(5, 0), 10, 2), []);
        // Rolled back: what crashes is the old one.
        assert_eq!(reconcile_old(&[size(5, 0)], size(8, 7), 10, 2), [(0, 1)]);
    }

    /// TestDeploymentController_cleanupUnhealthyReplicas: ten old pods of which some are ready.
    #[test]
    fn pods_that_are_not_available_go_first() {
        for (ready, most, expected) in [(8, 1, 1), (8, 3, 2), (8, 0, 0), (10, 3, 0)] {
            let mut writes = Vec::new();
            assert_eq!(clean_up_unhealthy(&mut [size(10, ready)], most, &mut writes), Some(expected));
            assert_eq!(writes.len(), usize::from(expected > 0));
        }
        // "got invalid request to scale down": the status lags behind.
        assert_eq!(clean_up_unhealthy(&mut [size(17, 20)], 3, &mut Vec::new()), None);
        assert_eq!(reconcile_old(&[size(17, 20)], size(3, 3), 20, 3), []);
    }

    /// `sync_test.go`, TestScale: sizes before and after, oldest first. Where nothing else is said there is no surge, and the last ReplicaSet is the new one.
    #[test]
    fn a_change_of_replicas_is_shared_by_the_sizes_of_replica_sets() {
        let sized = |from: SizedFor, to: SizedFor, has_new: bool, before: &[u32]| {
            let sets: Vec<_> = before.iter().map(|replicas| (size(*replicas, *replicas), from)).collect();
            let mut after = before.to_vec();
            for (at, replicas) in scale(&sets, has_new, to, true) {
                after[at] = replicas;
            }
            after
        };
        let plain = |replicas| SizedFor { replicas, most: replicas };
        for (from, to, before, after) in [
            (10, 12, &[10][..], &[12][..]),
            (10, 5, &[10], &[5]),
            (5, 10, &[3, 2], &[6, 4]),
            (5, 3, &[3, 2], &[2, 1]),
            (9, 4, &[1, 8], &[0, 4]),
            (7, 10, &[2, 3, 2], &[3, 4, 3]),
            (13, 8, &[3, 8, 2], &[2, 5, 1]),
            (3, 4, &[1, 1, 1], &[1, 1, 2]),
            (3, 2, &[1, 1, 1], &[0, 1, 1]),
            (6, 0, &[1, 2, 3], &[0, 0, 0]),
            (6, 6, &[0, 0, 0], &[0, 0, 6]),
        ] {
            assert_eq!(sized(plain(from), plain(to), true, before), after, "{from} -> {to}");
        }
        // No ReplicaSet is the new one: a template has changed, too.
        assert_eq!(sized(plain(4), plain(5), false, &[2, 2]), [2, 3]);
        assert_eq!(sized(plain(10), plain(14), false, &[3, 7]), [4, 10]);
        let surge = |replicas, surge| SizedFor { replicas, most: replicas + surge };
        assert_eq!(sized(surge(10, 2), surge(20, 2), true, &[6, 6]), [11, 11]);
        assert_eq!(sized(surge(10, 3), surge(50, 6), true, &[8, 5]), [34, 22]);
        // One was written before a write failed: another is brought to where it should be, and the third stays.
        let done = [(size(1, 1), plain(5)), (size(1, 1), plain(3)), (size(2, 2), plain(5))];
        let writes = scale(&done, true, plain(5), true);
        assert!(writes.contains(&(1, 2)) && writes.len() == 1, "{writes:?}");
        // As large as it should be, but broken: what is old and serves stays.
        let broken = [(size(1, 1), surge(2, 1)), (size(2, 0), surge(2, 1))];
        assert_eq!(scale(&broken, true, surge(2, 1), true), []);
        // And well: nobody needs the old one.
        let saturated = [(size(1, 1), surge(2, 1)), (size(2, 2), surge(2, 1))];
        assert_eq!(scale(&saturated, true, surge(2, 1), true), [(0, 0)]);
    }

    /// `controller_utils_test.go`, TestSortingActivePodsWithRanks: who goes before whom. The phase Unknown, deletion costs and restarts are not modelled.
    #[test]
    fn pods_go_in_the_order_of_the_real_controller() {
        const HOUR: Nanos = 3600 * SECOND;
        let now = 2000 * HOUR;
        let unscheduled = Candidate { created_ns: Some(now), ..Candidate::default() };
        let pending = Candidate { has_node: true, beside: 1, ..unscheduled };
        let not_ready = Candidate { started: true, ..pending };
        let ready = |hours: u64, created_hours: u64| Candidate {
            ready_ns: Some(now - hours * HOUR),
            created_ns: Some(now - created_hours * HOUR),
            ..not_ready
        };
        let beside = |candidate: Candidate, beside: u32| Candidate { beside, ..candidate };
        let (young, old, month) = (ready(0, 0), ready(720, 720), ready(0, 720));
        for (first, then) in [
            (unscheduled, beside(pending, 2)),
            (beside(unscheduled, 2), pending),
            (pending, beside(not_ready, 2)),
            (not_ready, young),
            (young, old),
            (beside(young, 2), old),
            (beside(old, 2), young),
            (young, month),
            (beside(month, 2), young),
            (ready(2, 720), ready(5, 720)),
        ] {
            assert!(first.rank(now) < then.rank(now), "{first:?} {then:?}");
        }
        let waits = |hours: u64| Candidate { created_ns: Some(now - hours * HOUR), ..unscheduled };
        for (one, other) in [(waits(5), waits(8)), (ready(5, 720), ready(8, 720))] {
            assert_eq!(one.rank(now), other.rank(now), "names decide");
        }
    }

    /// TestDeploymentController_scaleDownOldReplicaSetsForRollingUpdate.
    #[test]
    fn old_pods_go_while_enough_of_all_are_available() {
        for (unavailable, ready, old, expected) in
            [(1, 10, 10, Some(9)), (2, 10, 10, Some(8)), (2, 8, 10, None), (2, 10, 0, None), (2, 1, 10, None)]
        {
            let mut writes = Vec::new();
            scale_down_olds(&mut [size(old, ready)], Size::default(), 10, unavailable, &mut writes);
            assert_eq!(writes.last().map(|write| write.1), expected, "{ready} ready of {old}");
        }
    }
}
