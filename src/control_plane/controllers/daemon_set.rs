//! The DaemonSet controller: a pod for each node that should have one.
//!
//! A node should have a pod if it suits the node selector and the required node affinity of the template and bears no taint with
//! `NoSchedule` or `NoExecute` that the pod does not tolerate. A pod that is there stays while its node suits it and has no
//! such taint with `NoExecute`; else it is deleted. Each pod requires its node by name (`matchFields`), and a scheduler binds it as
//! any other. Besides what the template says it tolerates `not-ready` and `unreachable` (`NoExecute`), `disk-pressure`,
//! `memory-pressure`, `pid-pressure` and `unschedulable` (`NoSchedule`). Nodes that join get theirs when the informer has shown
//! them, and when a taint has gone.
//!
//! A sync makes the pods that are missing, at most 250, in batches of 1, 2, 4, .., then deletes those that should not be there,
//! and writes the DaemonSet's status if it has changed something. A node whose pod is being deleted gets another when the old one is
//! gone. A pod that has failed is deleted at once, the next one of its node not before 1 s, doubled up to 15 min, has passed since.
//! Two syncs run at once (`--concurrent-daemon-set-syncs`); the controller's client has a token bucket of its own. A sync whose
//! request fails is tried again after 5 ms, doubled for each failure in a row.
//!
//! Source: k/k `pkg/controller/daemon/{daemon_controller,util/daemonset_util}.go`.
//!
//! Left out: updates of the template, ControllerRevisions, `minReadySeconds`, the wait for the informer to see the created pods
//! (the answers stand for it).
//!
//! Cost: O(log nodes) a change of a pod; a change of a node O(DaemonSets x (labels + taints)).
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::kernel::ControllerEvent;
use super::super::store::NOT_READY;
use super::super::{ClientId, Verb};
use super::owners::Owners;
use super::sync::Sync;
use super::work_queue::WorkQueue;
use super::{Answer, Env, doubled_ns};
use crate::cluster::{
    AppId, Cluster, Expression, NAME_FIELD, NO_NODE, NodeId, Operator, PodId, PodSpec, SpecId, Taint,
    TaintEffect, Term, Toleration, term_matches, tolerates,
};
use crate::engine::{Nanos, SECOND};

/// `BurstReplicas`.
const MOST_PER_SYNC: usize = 250;
/// `failedPodsBackoff`.
const FIRST_BACKOFF_NS: Nanos = SECOND;
const LAST_BACKOFF_NS: Nanos = 900 * SECOND;

/// A DaemonSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DaemonSetSettings {
    /// Its template, with what the controller adds ([`tolerate`]), for no node yet.
    pub template: SpecId,
    /// Application of its pods.
    pub app: AppId,
}

/// What the controller adds to a template's tolerations (`AddOrUpdateDaemonPodTolerations`).
pub fn tolerate(spec: &mut PodSpec) {
    for (key, effect) in [
        ("not-ready", TaintEffect::NoExecute),
        ("unreachable", TaintEffect::NoExecute),
        ("disk-pressure", TaintEffect::NoSchedule),
        ("memory-pressure", TaintEffect::NoSchedule),
        ("pid-pressure", TaintEffect::NoSchedule),
        ("unschedulable", TaintEffect::NoSchedule),
    ] {
        let added = Toleration {
            key: format!("node.kubernetes.io/{key}"),
            exists: true,
            effect: Some(effect),
            ..Toleration::default()
        };
        let same = |t: &&mut Toleration| {
            (&t.key, t.exists, &t.value, t.effect) == (&added.key, added.exists, &added.value, added.effect)
        };
        match spec.tolerations.iter_mut().find(same) {
            Some(own) => *own = added,
            None => spec.tolerations.push(added),
        }
    }
}

/// The template for a node (`ReplaceDaemonSetPodNodeNameNodeAffinity`).
fn for_node(template: &PodSpec, node: &str) -> PodSpec {
    let mut spec = template.clone();
    let name =
        Expression { key: NAME_FIELD.to_owned(), operator: Operator::In, values: vec![node.to_owned()] };
    // Its own terms have had their say when the node was found to suit.
    spec.required_node_affinity = vec![Term { fields: vec![name], ..Term::default() }];
    spec.required_node = Some(node.to_owned());
    spec
}

/// Whether a node should have a pod, and whether one that is there stays (`NodeShouldRunDaemonPod`).
#[must_use]
pub fn suits(cluster: &Cluster, spec: &PodSpec, node: NodeId) -> (bool, bool) {
    let nodes = &cluster.nodes;
    let label = |key: &str| nodes.label(node, key);
    let affine = spec.node_selector.iter().all(|(key, value)| label(key) == Some(value))
        && (spec.required_node_affinity.is_empty()
            || spec.required_node_affinity.iter().any(|term| term_matches(term, label)));
    if !nodes.get(node).present || !affine {
        return (false, false);
    }
    let repels = |of: fn(TaintEffect) -> bool| {
        let taints = &nodes.template(node).taints;
        taints.iter().any(|taint: &Taint| of(taint.effect) && !tolerates(&spec.tolerations, taint))
    };
    let stays = !repels(|effect| effect == TaintEffect::NoExecute);
    (stays && !repels(|effect| effect == TaintEffect::NoSchedule), stays)
}

/// How long a node's next failed pod is not deleted.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Backoff {
    since_ns: Nanos,
    failures: u32,
}

impl Backoff {
    fn until_ns(self) -> Nanos {
        let times = self.failures.checked_sub(1);
        times.map_or(0, |times| self.since_ns + doubled_ns(FIRST_BACKOFF_NS, times, LAST_BACKOFF_NS))
    }

    /// A failed pod is deleted.
    fn next(&mut self, now: Nanos) {
        // What has been well for twice the longest wait is forgotten.
        let expired = now.saturating_sub(self.since_ns) > 2 * LAST_BACKOFF_NS;
        *self = Self { since_ns: now, failures: if expired { 1 } else { self.failures + 1 } };
    }
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct DaemonSet {
    settings: DaemonSetSettings,
    /// By node: its pod, or the last one.
    pods: BTreeMap<NodeId, PodId>,
    /// Nodes of pods.
    places: BTreeMap<PodId, NodeId>,
    backoffs: BTreeMap<NodeId, Backoff>,
    /// Nodes to be looked at.
    unsettled: BTreeSet<NodeId>,
    /// Nodes whose pods this sync makes.
    to_make: VecDeque<NodeId>,
    /// Pods that it deletes then; whether gracefully.
    to_delete: Vec<(PodId, bool)>,
    sync: Sync,
    begun: bool,
}

/// What is to be done about a node.
enum Todo {
    Nothing,
    Make,
    Delete(PodId, bool),
    /// Its pod has failed and is not deleted yet.
    Wait(Nanos),
    /// It is gone, and so is its pod.
    Forget(PodId),
}

/// The DaemonSets of a run.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct DaemonSets {
    client: ClientId,
    owners: Owners,
    sets: Vec<DaemonSet>,
    queue: WorkQueue,
    /// Nodes that were there when the process began, and those that have joined and reported since.
    known: usize,
    joined: BTreeSet<NodeId>,
}

impl DaemonSets {
    /// DaemonSets, none created.
    #[must_use]
    pub fn new(client: ClientId, first_owner: u32, workers: u32, sets: &[DaemonSetSettings]) -> Self {
        let set = |settings: &DaemonSetSettings| DaemonSet {
            settings: *settings,
            pods: BTreeMap::new(),
            places: BTreeMap::new(),
            backoffs: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            to_make: VecDeque::new(),
            to_delete: Vec::new(),
            sync: Sync::default(),
            begun: false,
        };
        let queue = WorkQueue::new(sets.len(), workers);
        let sets: Vec<_> = sets.iter().map(set).collect();
        Self {
            client,
            owners: Owners::new(first_owner, sets.len()),
            sets,
            queue,
            known: 0,
            joined: BTreeSet::new(),
        }
    }

    /// Its client.
    #[must_use]
    pub const fn client(&self) -> ClientId {
        self.client
    }

    /// The index of the DaemonSet that is this owner.
    #[must_use]
    pub fn index_of(&self, owner: u32) -> Option<u32> {
        self.owners.index_of(owner)
    }

    /// The DaemonSets as owners.
    pub fn owners(&self) -> impl Iterator<Item = u32> + use<> {
        self.owners.iter()
    }

    /// Whether some node is still to get a pod, or to lose one, or to be heard of.
    #[must_use]
    pub fn are_open(&self, cluster: &Cluster) -> bool {
        let open = |set: &DaemonSet| {
            !set.begun || !set.unsettled.is_empty() || !set.to_make.is_empty() || set.sync.is_waiting()
        };
        self.known + self.joined.len() < cluster.nodes.len() || self.sets.iter().any(open)
    }

    /// A DaemonSet was created, or is due again.
    pub fn start(&mut self, env: &mut Env<'_>, at: u32) {
        let set = &mut self.sets[at as usize];
        if !std::mem::replace(&mut set.begun, true) {
            set.unsettled.extend(0..env.cluster.nodes.len() as NodeId);
            self.know(env);
        }
        self.queue.add(at);
        self.pump(env);
    }

    /// All nodes that there are by now are known.
    fn know(&mut self, env: &Env<'_>) {
        self.known = env.cluster.nodes.len();
        self.joined.clear();
    }

    /// The manager's process is a new one: it looks at everything.
    pub fn restart(&mut self, env: &mut Env<'_>) {
        self.queue.clear();
        self.know(env);
        for at in 0..self.sets.len() as u32 {
            let set = &mut self.sets[at as usize];
            set.to_make.clear();
            set.to_delete.clear();
            set.backoffs.clear();
            set.sync = Sync::default();
            if set.begun {
                set.unsettled.extend(0..env.cluster.nodes.len() as NodeId);
                self.queue.add(at);
            }
        }
        self.pump(env);
    }

    /// The informer has shown a change of a node.
    pub fn on_node(&mut self, env: &mut Env<'_>, node: NodeId) {
        let nodes = &env.cluster.nodes;
        let reports = !nodes.template(node).taints.iter().any(|taint| taint.key == NOT_READY);
        if node as usize >= self.known && (reports || !nodes.get(node).present) {
            self.joined.insert(node);
        }
        for at in 0..self.sets.len() as u32 {
            let set = &mut self.sets[at as usize];
            if set.begun {
                set.unsettled.insert(node);
                self.queue.add(at);
            }
        }
        self.pump(env);
    }

    /// The informer has shown a change of a pod.
    pub fn on_pod(&mut self, env: &mut Env<'_>, at: u32, pod: PodId) {
        let set = &mut self.sets[at as usize];
        if let Some(node) = set.places.get(&pod) {
            set.unsettled.insert(*node);
            self.queue.add(at);
            self.pump(env);
        }
    }

    fn pump(&mut self, env: &mut Env<'_>) {
        while let Some(at) = self.queue.next() {
            self.sync(env, at);
        }
    }

    /// What is to be done about a node.
    fn look(set: &DaemonSet, env: &Env<'_>, node: NodeId) -> Todo {
        let store = env.control_plane.store();
        let (runs, stays) = suits(env.cluster, env.cluster.pods.spec_by_id(set.settings.template), node);
        let make = || if runs { Todo::Make } else { Todo::Nothing };
        let Some(pod) = set.pods.get(&node).copied() else { return make() };
        let is_there = env.cluster.nodes.get(node).present;
        if store.is_gone(pod) {
            if is_there { make() } else { Todo::Forget(pod) }
        } else if !store.exists(pod) {
            // Its creation has failed.
            make()
        } else if store.is_terminating(pod) {
            Todo::Nothing
        } else if store.is_over(pod) {
            let until_ns = set.backoffs.get(&node).map_or(0, |backoff| backoff.until_ns());
            if until_ns > env.kernel.now() { Todo::Wait(until_ns) } else { Todo::Delete(pod, false) }
        } else if stays {
            Todo::Nothing
        } else if is_there {
            Todo::Delete(pod, true)
        } else if env.cluster.pods.node(pod) == NO_NODE {
            Todo::Delete(pod, false)
        } else {
            // The garbage collector's.
            Todo::Nothing
        }
    }

    fn sync(&mut self, env: &mut Env<'_>, at: u32) {
        let now = env.kernel.now();
        let owner = self.owners.of(at);
        let set = &mut self.sets[at as usize];
        set.sync.begin();
        for node in std::mem::take(&mut set.unsettled) {
            match Self::look(set, env, node) {
                Todo::Nothing => {}
                Todo::Make if set.to_make.len() < MOST_PER_SYNC => set.to_make.push_back(node),
                Todo::Delete(pod, gracefully) if set.to_delete.len() < MOST_PER_SYNC => {
                    if !gracefully && env.cluster.nodes.get(node).present {
                        set.backoffs.entry(node).or_default().next(now);
                    }
                    set.to_delete.push((pod, gracefully));
                }
                // Of the next sync.
                Todo::Make | Todo::Delete(..) => {
                    set.unsettled.insert(node);
                    self.queue.add(at);
                }
                Todo::Wait(until_ns) => {
                    set.unsettled.insert(node);
                    env.timer(until_ns, ControllerEvent::Requeue { owner });
                }
                Todo::Forget(pod) => {
                    set.pods.remove(&node);
                    set.places.remove(&pod);
                    env.dropped.push(pod);
                }
            }
        }
        self.make(env, at);
    }

    /// The next batch, then the deletions, then the status.
    fn make(&mut self, env: &mut Env<'_>, at: u32) {
        let owner = self.owners.of(at);
        let set = &mut self.sets[at as usize];
        if set.sync.has_failed() {
            // What is left is looked at anew.
            let left = set
                .to_make
                .drain(..)
                .chain(set.to_delete.drain(..).filter_map(|(pod, _)| set.places.get(&pod).copied()));
            set.unsettled.extend(left);
        }
        if !set.to_make.is_empty() {
            for node in set.sync.next_batch(&mut set.to_make) {
                let last = set.pods.get(&node).copied();
                let pod = match last {
                    Some(pod) if !env.control_plane.store().is_gone(pod) => pod,
                    _ => {
                        let template = env.cluster.pods.spec_by_id(set.settings.template);
                        let spec = for_node(template, &env.cluster.nodes.get(node).name);
                        let spec = env.cluster.pods.add_spec(spec);
                        let lost = last.filter(|pod| !env.control_plane.store().is_wanted_away(*pod));
                        env.make_of(spec, set.settings.app, owner, lost)
                    }
                };
                if let Some(last) = last {
                    set.places.remove(&last);
                }
                set.pods.insert(node, pod);
                set.places.insert(pod, node);
                set.sync.wait_for(pod);
                env.control_plane.submit(env.kernel, self.client, Verb::CreatePod, pod, NO_NODE);
            }
            return;
        }
        if set.to_delete.is_empty() {
            self.write_status(env, at);
            return;
        }
        for (pod, gracefully) in std::mem::take(&mut set.to_delete) {
            if gracefully {
                // Nobody is to replace it.
                env.control_plane.store_mut().leaves_on_purpose(pod);
            }
            let verb = if gracefully { Verb::DeleteGracefully } else { Verb::DeletePod };
            set.sync.wait_for(pod);
            env.control_plane.submit(env.kernel, self.client, verb, pod, NO_NODE);
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
        let Some(failed) = set.sync.answered(&answer) else { return };
        if failed {
            set.unsettled.extend(set.places.get(&answer.pod));
        }
        if !self.sets[at as usize].sync.is_waiting() {
            self.make(env, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `flowcontrol.NewBackOff(1s, 15min)`: the first failed pod of a node goes at once.
    #[test]
    fn failed_pods_of_a_node_are_deleted_ever_later() {
        let mut backoff = Backoff::default();
        let mut now = 100 * SECOND;
        let mut waits = Vec::new();
        for _ in 0..12 {
            backoff.next(now);
            waits.push((backoff.until_ns() - now) / SECOND);
            now = backoff.until_ns();
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        backoff.next(now + 1801 * SECOND);
        assert_eq!(backoff.until_ns(), now + 1802 * SECOND);
    }

    /// The page "DaemonSet", "Taints and tolerations", and the affinity that "How Daemon Pods are scheduled" shows.
    #[test]
    fn a_pod_of_a_node_requires_it_and_tolerates_its_troubles() {
        let mut template = PodSpec::default();
        tolerate(&mut template);
        tolerate(&mut template);
        let keys: Vec<&str> = template.tolerations.iter().map(|t| t.key.as_str()).collect();
        assert_eq!(keys.len(), 6, "once each: {keys:?}");
        assert!(template.tolerations.iter().all(|t| t.exists && t.seconds.is_none()));
        let spec = for_node(&template, "n7");
        assert_eq!(spec.required_node.as_deref(), Some("n7"));
        assert_eq!(spec.required_node_affinity.len(), 1);
        let matches = |name: &'static str| term_matches(&spec.required_node_affinity[0], |_| Some(name));
        assert!(matches("n7") && !matches("n8"));
    }
}
