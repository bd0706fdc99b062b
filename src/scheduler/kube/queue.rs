//! The scheduling queue: activeQ, backoffQ, error backoffQ and unschedulable pods.
//!
//! Source: `pkg/scheduler/backend/queue/{scheduling_queue,active_queue,backoff_queue}.go`.
//! - activeQ: priority, then the time of the last (re)queueing.
//! - backoffQ: 1 s doubled for each rejection, at most 10 s; the expiry is cut to whole seconds and a pod is
//!   released by the flush of the next whole second, in activeQ's order within a second. Since 1.33 an empty activeQ
//!   lets pods out of it at once. Pods that failed with an error (a binding) wait in a backoffQ of their own, which
//!   is never emptied early.
//! - unschedulable pods wait for an event that one of the plugins that rejected them says could help
//!   (see `hints.rs`); events during a pod's own cycle count as well. Each 30 s, those that have waited 5 minutes
//!   are tried again.
//!
//! - gated pods (SchedulingGates) wait apart until their last gate is gone; their time of queueing stays that of their
//!   arrival.
//!
//! Left out: a pod's own updates other than its gates. The retry after 5 minutes is skipped where its outcome is
//! known: nothing has happened since the pod was rejected, or all the plugins that rejected it have exact hints. So a
//! run with pods that never fit comes to an end.
//!
//! Cost: O(log priorities) a pod in arrival order, O(log n) otherwise; an event looks at groups of equal pods.
//! 16 bytes a pod, and 4 in activeQ; more only for pods that have failed.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::hash::BuildHasherDefault;

use priority_queue::PriorityQueue;
use rustc_hash::FxHasher;

use crate::cluster::{Cluster, NO_NODE, NodeId, PodId, SpecId};
use crate::engine::Nanos;
use crate::scheduler::QueueLengths;

use super::hints::{ClusterEvent, PluginSet, could_help};
use super::profile::Profile;

/// Width of the windows to which backoffs are aligned, and the period of the flush.
pub const BACKOFF_WINDOW_NS: Nanos = 1_000_000_000;
/// How often unschedulable pods are looked through.
pub const LEFTOVER_PERIOD_NS: Nanos = 30_000_000_000;

/// Where a pod is, for the scheduler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum Place {
    /// Never seen.
    #[default]
    Unknown,
    /// In activeQ.
    Active,
    /// In backoffQ.
    Backoff,
    /// In the error backoffQ.
    ErrorBackoff,
    /// Among the unschedulable pods.
    Unschedulable,
    /// Held back by scheduling gates.
    Gated,
    /// In its scheduling cycle.
    InCycle,
    /// Assumed on a node, its binding under way.
    Binding,
    /// Seen to be bound.
    Bound,
    /// Finished or deleted.
    Gone,
}

/// What the scheduler keeps of every pod.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct PodState {
    /// When it was queued last.
    since_ns: Nanos,
    node: NodeId,
    place: Place,
}

/// What is kept of pods that have failed.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Failures {
    /// Cycles in which plugins rejected it.
    pub unschedulable: u32,
    /// Errors in a row.
    pub errors: u32,
    /// Failures reported as Kubernetes Events.
    pub events: u8,
    /// Hash of the condition's message, as last patched.
    pub message: u64,
    /// Index of the main reason.
    pub reason: u32,
    plugins: PluginSet,
}

/// Which version's rules apply.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct QueueRules {
    /// First backoff.
    pub initial_backoff_ns: Nanos,
    /// Longest backoff.
    pub max_backoff_ns: Nanos,
    /// Aligned windows, and an empty activeQ takes from backoffQ (1.33 and later).
    pub pop_from_backoff: bool,
    /// Only events that could help move a pod (beta in 1.32).
    pub hints: bool,
    /// How long a pod stays unschedulable without an event.
    pub leftover_ns: Nanos,
}

impl QueueRules {
    /// Whether an event moves pods of a spec that `plugins` rejected. Without hints, every node that comes or changes and
    /// every pod that leaves a node moves all. A nomination counts for pods of the same or lower priority only.
    fn moves(&self, view: &View<'_>, event: &ClusterEvent, plugins: PluginSet, spec: SpecId) -> bool {
        use ClusterEvent::{NodeAdded, NodeUpdated, NominationGone, PodGone};
        if let NominationGone(other) = event {
            let priority = |spec| view.cluster.pods.spec_by_id(spec).priority;
            if priority(spec) > priority(*other) {
                return false;
            }
        }
        let any =
            !self.hints && matches!(event, NodeAdded(_) | NodeUpdated(..) | PodGone(_) | NominationGone(_));
        any || could_help(view.cluster, (view.profile)(spec), event, plugins, spec)
    }
}

/// What the queue looks at to say whether an event helps a pod.
pub struct View<'a> {
    /// Specs and nodes.
    pub cluster: &'a Cluster,
    /// The profile of a spec's pods.
    pub profile: &'a dyn Fn(SpecId) -> &'a Profile,
}

/// One priority of activeQ: arrivals in order, and those that came back with an older time.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Lane {
    in_order: VecDeque<PodId>,
    newest_ns: Nanos,
    late: BinaryHeap<Reverse<(Nanos, PodId)>>,
}

/// What a backing-off pod is ordered by; smaller leaves first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
struct BackoffKey {
    expiry_ns: Nanos,
    priority: Reverse<i32>,
    since_ns: Nanos,
    pod: PodId,
}

/// A heap with keys, as `backend/heap/heap.go`: a pod that is deleted or moved leaves it from the middle. Keys are
/// distinct, so the order does not depend on the hash.
type BackoffHeap = PriorityQueue<PodId, Reverse<BackoffKey>, BuildHasherDefault<FxHasher>>;

/// The queue.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct SchedulingQueue {
    rules: QueueRules,
    pods: Vec<PodState>,
    active: BTreeMap<Reverse<i32>, Lane>,
    active_len: u64,
    backoff_len: u64,
    unschedulable_len: u64,
    failed_attempts: u64,
    backoff: BackoffHeap,
    error_backoff: BackoffHeap,
    /// Pods by the plugins that rejected them and by spec. Entries of pods that left otherwise are stale.
    unschedulable: BTreeMap<(PluginSet, SpecId), Vec<PodId>>,
    failures: BTreeMap<PodId, Failures>,
    /// Pods whose victims are being deleted: no event moves them.
    blocked: BTreeSet<PodId>,
    in_flight: bool,
    in_flight_events: Vec<ClusterEvent>,
    last_event_ns: Nanos,
}

impl SchedulingQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(rules: QueueRules) -> Self {
        Self {
            rules,
            pods: Vec::new(),
            active: BTreeMap::new(),
            active_len: 0,
            backoff_len: 0,
            unschedulable_len: 0,
            failed_attempts: 0,
            backoff: BackoffHeap::default(),
            error_backoff: BackoffHeap::default(),
            unschedulable: BTreeMap::new(),
            failures: BTreeMap::new(),
            blocked: BTreeSet::new(),
            in_flight: false,
            in_flight_events: Vec::new(),
            last_event_ns: 0,
        }
    }

    /// Where a pod is.
    #[inline]
    #[must_use]
    pub fn place(&self, pod: PodId) -> Place {
        self.pods.get(pod as usize).map_or(Place::Unknown, |p| p.place)
    }

    /// The node a pod is on, or [`NO_NODE`].
    #[inline]
    #[must_use]
    pub fn node(&self, pod: PodId) -> NodeId {
        self.pods.get(pod as usize).map_or(NO_NODE, |p| p.node)
    }

    /// Pods on nodes, assumed ones included.
    pub fn placed(&self) -> impl Iterator<Item = (PodId, NodeId)> {
        self.pods.iter().zip(0..).filter_map(|(state, pod)| {
            matches!(state.place, Place::Binding | Place::Bound).then_some((pod, state.node))
        })
    }

    /// Pods in activeQ.
    #[must_use]
    pub const fn active_len(&self) -> u64 {
        self.active_len
    }

    /// Pods by queue, and attempts that found no node.
    #[must_use]
    pub const fn lengths(&self) -> QueueLengths {
        QueueLengths {
            active: self.active_len,
            backoff: self.backoff_len,
            unschedulable: self.unschedulable_len,
            failed_attempts: self.failed_attempts,
        }
    }

    /// Whether a flush of the backoff queues has something to look at.
    #[must_use]
    pub fn has_backoff(&self) -> bool {
        !self.backoff.is_empty() || !self.error_backoff.is_empty()
    }

    /// Pods that have failed and still wait.
    pub fn failed(&self) -> impl Iterator<Item = (PodId, &Failures)> {
        self.failures.iter().filter_map(|(pod, failures)| {
            let waits = matches!(
                self.place(*pod),
                Place::Active | Place::Backoff | Place::ErrorBackoff | Place::Unschedulable | Place::InCycle
            );
            waits.then_some((*pod, failures))
        })
    }

    /// A pod's failures, made on first use.
    pub fn failures_mut(&mut self, pod: PodId) -> &mut Failures {
        self.failures.entry(pod).or_default()
    }

    fn slot(&mut self, pod: PodId) -> &mut PodState {
        let at = pod as usize;
        if self.pods.len() <= at {
            self.pods.resize(at + 1, PodState { since_ns: 0, node: NO_NODE, place: Place::Unknown });
        }
        &mut self.pods[at]
    }

    const fn len_of(&mut self, place: Place) -> Option<&mut u64> {
        match place {
            Place::Active => Some(&mut self.active_len),
            Place::Backoff | Place::ErrorBackoff => Some(&mut self.backoff_len),
            Place::Unschedulable => Some(&mut self.unschedulable_len),
            _ => None,
        }
    }

    fn set_place(&mut self, pod: PodId, place: Place) {
        let slot = self.slot(pod);
        let before = std::mem::replace(&mut slot.place, place);
        if let Some(len) = self.len_of(before) {
            *len -= 1;
        }
        match before {
            Place::Backoff => drop(self.backoff.remove(&pod)),
            Place::ErrorBackoff => drop(self.error_backoff.remove(&pod)),
            _ => {}
        }
        if let Some(len) = self.len_of(place) {
            *len += 1;
        }
    }

    /// A new pod; false if it is known already.
    pub fn add(&mut self, cluster: &Cluster, pod: PodId, now: Nanos) -> bool {
        if self.place(pod) != Place::Unknown {
            return false;
        }
        self.slot(pod).since_ns = now;
        self.push_active(cluster, pod);
        true
    }

    /// A new pod that gates hold back; false if it is known already.
    pub fn add_gated(&mut self, pod: PodId, now: Nanos) -> bool {
        if self.place(pod) != Place::Unknown {
            return false;
        }
        self.slot(pod).since_ns = now;
        self.set_place(pod, Place::Gated);
        true
    }

    /// The last gate of a pod is gone; false if it is not gated (any more).
    pub fn ungate(&mut self, cluster: &Cluster, pod: PodId) -> bool {
        let gated = self.place(pod) == Place::Gated;
        if gated {
            self.push_active(cluster, pod);
        }
        gated
    }

    /// Pods that gates hold back.
    pub fn gated(&self) -> impl Iterator<Item = PodId> {
        self.pods.iter().zip(0..).filter(|(state, _)| state.place == Place::Gated).map(|(_, pod)| pod)
    }

    fn push_active(&mut self, cluster: &Cluster, pod: PodId) {
        self.set_place(pod, Place::Active);
        let since_ns = self.pods[pod as usize].since_ns;
        let lane = self.active.entry(Reverse(cluster.pods.spec(pod).priority)).or_default();
        if since_ns >= lane.newest_ns {
            lane.newest_ns = since_ns;
            lane.in_order.push_back(pod);
        } else {
            lane.late.push(Reverse((since_ns, pod)));
        }
    }

    /// When a pod's backoff ends; none if it has not failed.
    fn expiry_ns(&self, pod: PodId) -> Option<Nanos> {
        let failures = self.failures.get(&pod)?;
        let count = if failures.errors > 0 { failures.errors } else { failures.unschedulable };
        if count == 0 {
            return None;
        }
        let (first, most) = (self.rules.initial_backoff_ns, self.rules.max_backoff_ns);
        let duration = first.checked_shl((count - 1).min(62)).filter(|d| d >> (count - 1).min(62) == first);
        let expiry = self.pods[pod as usize].since_ns + duration.map_or(most, |d| d.min(most));
        Some(if self.rules.pop_from_backoff {
            expiry / BACKOFF_WINDOW_NS * BACKOFF_WINDOW_NS
        } else {
            expiry
        })
    }

    fn is_over(&self, expiry_ns: Nanos, now: Nanos) -> bool {
        if self.rules.pop_from_backoff {
            expiry_ns < now / BACKOFF_WINDOW_NS * BACKOFF_WINDOW_NS
        } else {
            expiry_ns <= now
        }
    }

    fn push_backoff(&mut self, cluster: &Cluster, pod: PodId, place: Place) {
        self.set_place(pod, place);
        let since_ns = self.pods[pod as usize].since_ns;
        // Error backoffs, and all of them before the windows, are ordered by expiry only.
        let ranked = self.rules.pop_from_backoff && place == Place::Backoff;
        let priority = Reverse(if ranked { cluster.pods.spec(pod).priority } else { 0 });
        let key = BackoffKey { expiry_ns: self.expiry_ns(pod).unwrap_or(0), priority, since_ns, pod };
        let heap = if place == Place::Backoff { &mut self.backoff } else { &mut self.error_backoff };
        heap.push(pod, Reverse(key));
    }

    /// To activeQ, or to backoffQ while it backs off.
    fn requeue(&mut self, cluster: &Cluster, pod: PodId, now: Nanos) {
        if self.expiry_ns(pod).is_some_and(|expiry| !self.is_over(expiry, now)) {
            self.push_backoff(cluster, pod, Place::Backoff);
        } else {
            self.push_active(cluster, pod);
        }
    }

    fn still(&self, pod: PodId, place: Place, since_ns: Nanos) -> bool {
        let state = &self.pods[pod as usize];
        state.place == place && state.since_ns == since_ns
    }

    /// Takes the next pod for a cycle.
    pub fn pop(&mut self) -> Option<PodId> {
        let pod = self.pop_active().or_else(|| self.pop_backoff_early())?;
        self.set_place(pod, Place::InCycle);
        self.in_flight = true;
        self.in_flight_events.clear();
        Some(pod)
    }

    fn pop_active(&mut self) -> Option<PodId> {
        if self.active_len == 0 {
            return None;
        }
        loop {
            let mut entry = self.active.first_entry()?;
            let lane = entry.get_mut();
            let first = lane.in_order.front().map(|p| (self.pods[*p as usize].since_ns, *p));
            let late = lane.late.peek().map(|Reverse(l)| *l);
            let (since_ns, pod) = match (first, late) {
                (None, None) => {
                    entry.remove();
                    continue;
                }
                (Some(f), None) => f,
                (None, Some(l)) => l,
                (Some(f), Some(l)) => f.min(l),
            };
            if first == Some((since_ns, pod)) {
                lane.in_order.pop_front();
            } else {
                lane.late.pop();
            }
            if self.still(pod, Place::Active, since_ns) {
                return Some(pod);
            }
        }
    }

    fn pop_backoff_early(&mut self) -> Option<PodId> {
        if !self.rules.pop_from_backoff {
            return None;
        }
        self.backoff.pop().map(|(pod, _)| pod)
    }

    /// Moves pods whose backoff is over to activeQ.
    pub fn flush_backoff(&mut self, cluster: &Cluster, now: Nanos) {
        for place in [Place::Backoff, Place::ErrorBackoff] {
            loop {
                let heap = if place == Place::Backoff { &self.backoff } else { &self.error_backoff };
                let Some((&pod, Reverse(key))) = heap.peek() else { break };
                if !self.is_over(key.expiry_ns, now) {
                    break;
                }
                // Leaving its place takes it out of the heap.
                self.push_active(cluster, pod);
            }
        }
    }

    /// The pod in its cycle was rejected by plugins.
    pub fn reject(&mut self, view: &View<'_>, pod: PodId, plugins: PluginSet, now: Nanos) {
        let cluster = view.cluster;
        self.failed_attempts += 1;
        self.in_flight = false;
        self.slot(pod).since_ns = now;
        let spec = cluster.pods.spec_id(pod);
        let failures = self.failures.entry(pod).or_default();
        failures.unschedulable += 1;
        failures.errors = 0;
        failures.plugins = plugins;
        let events = std::mem::take(&mut self.in_flight_events);
        let helped = events
            .iter()
            .any(|e| *e == ClusterEvent::Activated(pod) || self.rules.moves(view, e, plugins, spec));
        self.in_flight_events = events;
        if helped && !self.blocked.contains(&pod) {
            self.requeue(cluster, pod, now);
        } else {
            self.set_place(pod, Place::Unschedulable);
            self.unschedulable.entry((plugins, spec)).or_default().push(pod);
        }
    }

    /// The pod failed with an error: it waits in the error backoffQ.
    pub fn fail(&mut self, cluster: &Cluster, pod: PodId, now: Nanos) {
        self.slot(pod).since_ns = now;
        self.slot(pod).node = NO_NODE;
        self.failures.entry(pod).or_default().errors += 1;
        self.push_backoff(cluster, pod, Place::ErrorBackoff);
    }

    /// The pod is assumed: its cycle is over.
    pub fn assume(&mut self, pod: PodId, node: NodeId) {
        self.in_flight = false;
        self.set_place(pod, Place::Binding);
        self.slot(pod).node = node;
    }

    /// The pod is bound, or gone.
    pub fn settle(&mut self, pod: PodId, place: Place, node: NodeId) {
        self.set_place(pod, place);
        self.slot(pod).node = node;
        if !self.failures.is_empty() {
            self.failures.remove(&pod);
        }
    }

    /// No event moves the pod until it is unblocked (`PreEnqueue` of DefaultPreemption).
    pub fn block(&mut self, pod: PodId) {
        self.blocked.insert(pod);
    }

    /// Events move it again.
    pub fn unblock(&mut self, pod: PodId) {
        self.blocked.remove(&pod);
    }

    /// Moves an unschedulable pod without an event. One in its cycle is tried again if it fails.
    pub fn activate(&mut self, cluster: &Cluster, pod: PodId, now: Nanos) {
        match self.place(pod) {
            Place::Unschedulable if !self.blocked.contains(&pod) => self.requeue(cluster, pod, now),
            Place::InCycle if self.in_flight => self.in_flight_events.push(ClusterEvent::Activated(pod)),
            _ => {}
        }
    }

    /// The pod's cycle ended without an outcome (it was bound or deleted meanwhile).
    pub const fn abandon_cycle(&mut self) {
        self.in_flight = false;
    }

    /// Pods of which an event is asked whether it helps them: with hints every unschedulable one
    /// (`isPodWorthRequeuing` in `moveAllToActiveOrBackoffQueue`), however many are alike.
    #[must_use]
    pub const fn asked_about_an_event(&self) -> u64 {
        if self.rules.hints { self.unschedulable_len } else { 0 }
    }

    /// Something happened: moves the unschedulable pods that it could help.
    pub fn event(&mut self, view: &View<'_>, event: ClusterEvent, now: Nanos) {
        let cluster = view.cluster;
        self.last_event_ns = now;
        if self.in_flight {
            self.in_flight_events.push(event);
        }
        if self.unschedulable.is_empty() {
            return;
        }
        let rules = self.rules;
        let helped: Vec<_> = self
            .unschedulable
            .keys()
            .filter(|(plugins, spec)| rules.moves(view, &event, *plugins, *spec))
            .copied()
            .collect();
        for group in helped {
            for pod in self.unschedulable.remove(&group).unwrap_or_default() {
                if self.place(pod) != Place::Unschedulable {
                    continue;
                }
                if self.blocked.contains(&pod) {
                    self.unschedulable.entry(group).or_default().push(pod);
                } else {
                    self.requeue(cluster, pod, now);
                }
            }
        }
    }

    /// Moves pods that have been unschedulable for too long, if anything has happened since they were rejected.
    /// Says whether another look may be needed.
    pub fn flush_leftover(&mut self, cluster: &Cluster, now: Nanos) -> bool {
        let mut moved = Vec::new();
        let mut waiting = false;
        let (pods, limit, last_event) = (&self.pods, self.rules.leftover_ns, self.last_event_ns);
        self.unschedulable.retain(|(plugins, _), group| {
            let exact = plugins.has_exact_hints();
            group.retain(|pod| {
                let state = &pods[*pod as usize];
                if state.place != Place::Unschedulable {
                    return false;
                }
                let worth = !exact && state.since_ns <= last_event;
                if worth && now - state.since_ns > limit {
                    moved.push(*pod);
                    return false;
                }
                waiting |= worth;
                true
            });
            !group.is_empty()
        });
        for pod in moved {
            self.requeue(cluster, pod, now);
        }
        waiting
    }

    /// Whether [`flush_leftover`](Self::flush_leftover) may have something to move one day.
    #[must_use]
    pub fn has_leftover(&self) -> bool {
        self.unschedulable.keys().any(|(plugins, _)| !plugins.has_exact_hints())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{App, PodSpec};

    const S: Nanos = 1_000_000_000;

    fn rules() -> QueueRules {
        QueueRules {
            initial_backoff_ns: S,
            max_backoff_ns: 10 * S,
            pop_from_backoff: true,
            hints: true,
            leftover_ns: 300 * S,
        }
    }

    static PROFILE: std::sync::LazyLock<Profile> = std::sync::LazyLock::new(Profile::default);

    fn view(cluster: &Cluster) -> View<'_> {
        View { cluster, profile: &|_| &PROFILE }
    }

    fn cluster(priorities: &[i32]) -> Cluster {
        let mut cluster = Cluster::default();
        let app = cluster.pods.add_app(App { name: "a".into(), queue: "q".into(), ..App::default() });
        for priority in priorities {
            let spec = cluster.pods.add_spec(PodSpec { priority: *priority, ..PodSpec::default() });
            cluster.pods.add(spec, app);
        }
        cluster
    }

    #[test]
    fn a_pod_takes_sixteen_bytes() {
        assert_eq!(size_of::<PodState>(), 16);
    }

    #[test]
    fn priority_first_then_time() {
        let cluster = cluster(&[0, 10, 0, 10, -5]);
        let mut queue = SchedulingQueue::new(rules());
        for pod in [4, 0, 2, 3, 1] {
            assert!(queue.add(&cluster, pod, u64::from(pod) * S));
        }
        assert!(!queue.add(&cluster, 4, 0));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [1, 3, 0, 2, 4]);
        assert_eq!(queue.active_len(), 0);
    }

    /// 1 s, 2 s, 4 s, 8 s, 10 s; the release is the first whole second strictly past the expiry's window.
    #[test]
    fn backoff_doubles_and_is_released_on_whole_seconds() {
        let cluster = cluster(&[0]);
        let mut queue = SchedulingQueue::new(rules());
        queue.add(&cluster, 0, 0);
        let mut now = S / 2;
        let mut waits = Vec::new();
        for _ in 0..6 {
            assert_eq!(queue.pop(), Some(0));
            queue.fail(&cluster, 0, now);
            let failed_at = now;
            now = now / S * S;
            while queue.active_len() == 0 {
                now += S;
                queue.flush_backoff(&cluster, now);
            }
            waits.push((now - failed_at) as f64 / S as f64);
            now += S / 2;
        }
        assert_eq!(waits, [1.5, 2.5, 4.5, 8.5, 10.5, 10.5]);
    }

    #[test]
    fn an_empty_active_queue_takes_from_backoff_but_not_from_errors() {
        let cluster = cluster(&[0, 0, 5]);
        let mut queue = SchedulingQueue::new(rules());
        for pod in 0..3 {
            queue.add(&cluster, pod, 0);
        }
        assert_eq!(queue.pop(), Some(2));
        // A pod of the cycle's own event comes back at once into backoffQ.
        queue.event(&view(&cluster), ClusterEvent::PodGone(0), 1);
        queue.reject(&view(&cluster), 2, PluginSet::FIT, 2);
        assert_eq!(queue.place(2), Place::Backoff);
        assert_eq!(queue.pop(), Some(0));
        queue.fail(&cluster, 0, 3);
        assert_eq!(queue.pop(), Some(1));
        queue.reject(&view(&cluster), 1, PluginSet::FIT, 4);
        assert_eq!(queue.place(1), Place::Unschedulable);
        assert_eq!(queue.pop(), Some(2), "activeQ is empty");
        queue.assume(2, 7);
        assert_eq!(queue.pop(), None, "errors wait");
        queue.flush_backoff(&cluster, S);
        assert_eq!(queue.pop(), None, "expiry 1 s, window 1 s: not strictly past");
        queue.flush_backoff(&cluster, 2 * S);
        assert_eq!(queue.pop(), Some(0));
    }

    #[test]
    fn unschedulable_pods_wait_for_an_event_that_can_help() {
        let cluster = cluster(&[0]);
        let mut queue = SchedulingQueue::new(rules());
        queue.add(&cluster, 0, 0);
        queue.pop();
        queue.reject(&view(&cluster), 0, PluginSet::FIT, S);
        queue.event(&view(&cluster), ClusterEvent::PodBound(0), 2 * S);
        assert_eq!(queue.place(0), Place::Unschedulable, "a bound pod frees nothing");
        queue.event(&view(&cluster), ClusterEvent::PodGone(0), 2 * S);
        assert_eq!(queue.place(0), Place::Backoff, "its first second is not over in windows");
        assert_eq!(queue.pop(), Some(0));
        queue.reject(&view(&cluster), 0, PluginSet::FIT, 3 * S);
        queue.event(&view(&cluster), ClusterEvent::PodGone(0), 60 * S);
        assert_eq!(queue.place(0), Place::Active, "its backoff is long over");
    }

    #[test]
    fn after_five_minutes_a_pod_is_tried_again_if_anything_happened() {
        let cluster = cluster(&[0]);
        let mut queue = SchedulingQueue::new(rules());
        queue.add(&cluster, 0, 0);
        queue.pop();
        queue.reject(&view(&cluster), 0, PluginSet::POD_AFFINITY, S);
        assert!(!queue.flush_leftover(&cluster, 600 * S), "nothing happened");
        assert_eq!(queue.place(0), Place::Unschedulable);
        queue.event(&view(&cluster), ClusterEvent::PodBound(0), 2 * S);
        assert!(queue.flush_leftover(&cluster, 300 * S));
        assert_eq!(queue.place(0), Place::Unschedulable);
        assert!(!queue.flush_leftover(&cluster, 330 * S));
        assert_eq!(queue.place(0), Place::Active);
    }
}
