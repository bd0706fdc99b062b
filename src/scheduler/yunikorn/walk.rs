//! The walk of a cycle over queues, applications and asks in order: the first ask that fits a node wins.
//!
//! An ask that is within the headroom of its queue and of its owner and fits on no node may end the cycle all the same: it
//! reserves a node if it is old enough ([`reservations`](super::reservations)), or else looks for victims
//! ([`preemption`](super::preemption)), as does one that is within its owner's headroom only. The pods of DaemonSets are tried
//! on their node alone ([`required_node`](super::required_node)).
//!
//! We don't go over asks one by one. The asks of a spec that fits nowhere stand aside in their queue's kinds, each kind with its
//! applications in order; the first ask that may be placed is a look at the others, the first that needs attention (may
//! reserve a node, or may look for victims) is found in the kinds that stand aside, and whichever comes first in the real
//! order is it. What the real walk would have met before is counted ([`Core::count_walk`]).
//!
//! With `application.unschedasks.backoff` an application is left after that many asks that fit nowhere, and passed over for a
//! while. There the walk goes ask by ask.
//!
//! Sources: `Queue.TryAllocate`, `Application.tryAllocate`, `tryNodes` of yunikorn-core 1.8.
//!
//! Cost: see [`cycle`](super::cycle); O(asks that wait before they may look for victims again) more where asks look for
//! victims.
use std::cmp::Reverse;

use super::apps::{AppKey, AskKey, Group};
use super::cycle::{Core, Outcome, Work};
use super::limits::OwnerId;
use super::queues::{QueueId, ROOT};
use super::reservations::DELAY_NS;
use crate::cluster::{AppId, Cluster, NO_NODE, NodeId, PodId, SpecId};
use crate::engine::Nanos;

/// Asks of a leaf queue that may look for victims in a cycle (`maxPreemptionsPerQueue`).
const MAX_PREEMPTIONS: u32 = 10;

/// Place of an ask in a leaf queue's walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    app: AppKey,
    priority: Reverse<i32>,
    ask: AskKey,
}

/// The first ask that fits a node.
struct Fit {
    place: Place,
    group: u32,
    node: NodeId,
    nodes: u64,
    tested: u64,
}

/// What an ask that does not fit may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Reserve this node.
    Reserve(NodeId),
    /// Look for victims; all nodes have been tried, or the queue has no headroom.
    Preempt { nodes_tried: bool },
    /// It is for one node.
    Required,
}

/// Which asks of a kind need attention.
struct Asks {
    /// The node that those old enough would reserve.
    reserve: Option<NodeId>,
    /// Whether all nodes are tried for them.
    nodes_tried: bool,
    /// They may look for victims, those created until then.
    preempt_until: Option<Nanos>,
    required: bool,
}

impl Core {
    /// The last part of a cycle: what was done, if anything, and the work.
    pub fn try_allocate(&mut self, cluster: &Cluster) -> (Option<Outcome>, Work) {
        let mut work = Work::default();
        if self.nodes.count() == 0 {
            return (None, work);
        }
        self.sum_up_nodes(cluster);
        let found = self.try_queue(cluster, ROOT, &mut work);
        (found, work)
    }

    fn try_queue(&mut self, cluster: &Cluster, queue: QueueId, work: &mut Work) -> Option<Outcome> {
        if self.queues.get(queue).children.is_empty() {
            work.apps_sorted += self.queues.get(queue).live_apps;
            return if self.queues.get(queue).properties.backoff_asks > 0 {
                self.walk_leaf(cluster, queue, work)
            } else {
                self.try_leaf(cluster, queue, work)
            };
        }
        let specs = &self.specs;
        let children =
            self.queues.sorted_children(queue, self.priority_sort, &|s: SpecId| specs[s as usize].priority);
        children.into_iter().find_map(|child| self.try_queue(cluster, child, work))
    }

    fn try_leaf(&mut self, cluster: &Cluster, leaf: QueueId, work: &mut Work) -> Option<Outcome> {
        let mut attempts = MAX_PREEMPTIONS;
        // Asks up to here have had their attention in this cycle.
        let mut after: Option<Place> = None;
        loop {
            let fit = self.first_fit(cluster, leaf);
            let before = fit.as_ref().map(|f| f.place);
            let Some((place, pod, need)) = self.first_need(cluster, leaf, after, before, attempts > 0) else {
                let Some(fit) = fit else {
                    self.count_walk(cluster, leaf, None, work);
                    return None;
                };
                return Some(self.take(cluster, leaf, &fit, work));
            };
            if let Some(outcome) = self.meet(cluster, leaf, place, pod, need, &mut attempts, work) {
                return Some(outcome);
            }
            after = Some(place);
        }
    }

    /// Gives an ask that fits its node.
    fn take(&mut self, cluster: &Cluster, leaf: QueueId, fit: &Fit, work: &mut Work) -> Outcome {
        self.count_walk(cluster, leaf, Some(fit.place), work);
        let app_id = fit.place.app.app;
        let app = self.apps[app_id as usize].as_ref().expect("it has asks");
        let (spec, (_, pod)) = {
            let group = &app.groups[fit.group as usize];
            (group.spec, group.asks[0])
        };
        work.asks_tried += 1;
        work.nodes_visited += fit.nodes;
        self.count_predicates(spec, fit.tested, work);
        self.allocate_ask(cluster, app_id, pod, fit.node)
    }

    /// Does what an ask that does not fit may do. None: the walk goes on.
    #[expect(clippy::too_many_arguments, reason = "the state of one walk")]
    fn meet(
        &mut self,
        cluster: &Cluster,
        leaf: QueueId,
        place: Place,
        pod: PodId,
        need: Need,
        attempts: &mut u32,
        work: &mut Work,
    ) -> Option<Outcome> {
        let spec = cluster.pods.spec_id(pod);
        let mut met = Work::default();
        self.count_walk(cluster, leaf, Some(place), &mut met);
        let outcome = match need {
            Need::Reserve(node) => {
                met.asks_tried += 1;
                met.nodes_visited += self.nodes.open() as u64;
                self.count_predicates(spec, self.specs[spec as usize].tested + 1, &mut met);
                self.reserve(cluster, pod, node);
                Some(Outcome::Reserved(pod, node))
            }
            Need::Required => self.try_required_node(cluster, pod, &mut met),
            Need::Preempt { nodes_tried } => {
                *attempts -= 1;
                if nodes_tried {
                    met.asks_tried += 1;
                    met.nodes_visited += self.nodes.open() as u64;
                    self.count_predicates(spec, self.specs[spec as usize].tested, &mut met);
                } else {
                    met.asks_skipped += 1;
                }
                self.try_preemption(cluster, leaf, pod, nodes_tried, work).map(|node| {
                    self.reserve(cluster, pod, node);
                    Outcome::Reserved(pod, node)
                })
            }
        };
        if outcome.is_some() {
            work.add(&met);
        }
        outcome
    }

    /// The first ask that may be placed and fits a node; kinds on the way that fit nowhere are set aside.
    fn first_fit(&mut self, cluster: &Cluster, leaf: QueueId) -> Option<Fit> {
        loop {
            let key = self.queues.get(leaf).first_app()?;
            let group = self.first_group(leaf, key.app);
            let app = self.apps[key.app as usize].as_ref().expect("it has asks");
            let (id, kind) = (app.groups[group as usize].spec, app.groups[group as usize].kind);
            let ask = app.groups[group as usize].asks[0].0;
            let spec = cluster.pods.spec_by_id(id);
            if !app.running && !self.may_begin(leaf, app.owner) {
                self.queues.get_mut(leaf).set_no_slot(kind, true);
                self.no_slots.push((leaf, kind));
                continue;
            }
            let in_quota = self.limits.has_room(&self.queues, leaf, app.owner, spec)
                && self.queues.exceeded(leaf, spec).is_none();
            if !in_quota {
                self.queues.get_mut(leaf).set_over_quota(kind, true);
                self.over_quota.push((leaf, kind));
                continue;
            }
            let predicates = &mut self.predicates;
            let (node, walk) = self.nodes.first_fit(spec, |node| predicates.accept(cluster, id, node));
            let Some(node) = node else {
                self.set_aside(id, walk.tested);
                continue;
            };
            let priority = Reverse(self.specs[id as usize].priority);
            let place = Place { app: key, priority, ask };
            return Some(Fit { place, group, node, nodes: walk.nodes, tested: walk.tested });
        }
    }

    /// A spec fits nowhere.
    pub(super) fn set_aside(&mut self, spec: SpecId, tested: u64) {
        self.set_stuck(spec, true);
        self.specs[spec as usize].tested = if self.predicates.enabled() { tested } else { 0 };
        self.stuck.push(spec);
    }

    /// The group of the application's first ask that may be placed.
    fn first_group(&self, leaf: QueueId, app: AppId) -> u32 {
        let app = self.apps[app as usize].as_ref().expect("it has asks");
        let queue = self.queues.get(leaf);
        let place = |g: &u32| {
            let group = &app.groups[*g as usize];
            let kind = &queue.kinds[group.kind as usize];
            (!kind.stuck && !kind.over_quota && !kind.no_slot)
                .then(|| (Reverse(self.specs[group.spec as usize].priority), group.asks[0].0, *g))
        };
        app.live.iter().filter_map(place).min().expect("the queue says that it has a placeable ask").2
    }

    /// What asks of a kind that does not fit may do now, whatever their age.
    fn asks_of(
        &mut self,
        cluster: &Cluster,
        leaf: QueueId,
        spec: SpecId,
        owner: OwnerId,
        stuck: bool,
        may_preempt: bool,
    ) -> Option<Asks> {
        let described = cluster.pods.spec_by_id(spec);
        if !self.limits.has_room(&self.queues, leaf, owner, described) {
            return None;
        }
        let in_headroom = self.queues.exceeded(leaf, described).is_none();
        if let Some(node) = self.specs[spec as usize].required {
            let there = in_headroom && node != NO_NODE && self.nodes.table.is_present(node);
            let none = Asks { reserve: None, nodes_tried: false, preempt_until: None, required: true };
            return there.then_some(none);
        }
        let reserve = if self.reserves && in_headroom && stuck {
            self.target(cluster, spec).filter(|node| self.predicates.accept(cluster, spec, *node))
        } else {
            None
        };
        let delay_ns = self.queues.get(leaf).properties.preemption_delay_ns;
        let preempt_until =
            (may_preempt && self.preempts && self.specs[spec as usize].preempts && (stuck || !in_headroom))
                .then(|| self.now.checked_sub(delay_ns))
                .flatten();
        (reserve.is_some() || preempt_until.is_some()).then_some(Asks {
            reserve,
            nodes_tried: in_headroom,
            preempt_until,
            required: false,
        })
    }

    /// The first of a group's asks from a key on that needs attention.
    fn need_in(&self, group: &Group, from: AskKey, asks: &Asks) -> Option<(AskKey, PodId, Need)> {
        if asks.required {
            let (key, pod) = group.from(from).find(|(key, _)| !group.reserved.contains(key))?;
            return Some((key, pod, Need::Required));
        }
        for (key, pod) in group.from(from) {
            let age_ns = self.now.saturating_sub(key.created_ns());
            let old = age_ns > DELAY_NS;
            let may_preempt = asks.preempt_until.is_some_and(|until| key.created_ns() <= until);
            if !old && !may_preempt {
                // Later asks are younger.
                return None;
            }
            if let Some(node) = asks.reserve.filter(|_| old && !group.reserved.contains(&key)) {
                return Some((key, pod, Need::Reserve(node)));
            }
            if may_preempt
                && group.searched.get(&key).is_none_or(|again| *again <= self.now)
                && !self.preempted_for.contains(&pod)
            {
                return Some((key, pod, Need::Preempt { nodes_tried: asks.nodes_tried }));
            }
        }
        None
    }

    /// The first ask between two places that does not fit and may do something about it.
    fn first_need(
        &mut self,
        cluster: &Cluster,
        leaf: QueueId,
        after: Option<Place>,
        before: Option<Place>,
        may_preempt: bool,
    ) -> Option<(Place, PodId, Need)> {
        if self.queues.get(leaf).aside.is_empty() {
            return None;
        }
        let mut first: Option<(Place, PodId, Need)> = None;
        let aside: Vec<u32> = self.queues.get(leaf).aside.iter().copied().collect();
        for at in aside {
            let kind = &self.queues.get(leaf).kinds[at as usize];
            if kind.no_slot {
                continue;
            }
            let (spec, owner, stuck) = (kind.spec, kind.class / 2, kind.stuck);
            let Some(asks) = self.asks_of(cluster, leaf, spec, owner, stuck, may_preempt) else { continue };
            let priority = Reverse(self.specs[spec as usize].priority);
            let limit = first.map(|(place, ..)| place).or(before);
            let kind = &self.queues.get(leaf).kinds[at as usize];
            for app in kind.apps.keys_from(after.map(|a| a.app)) {
                if limit.is_some_and(|limit| limit.app < app) {
                    break;
                }
                let group_at = self.group_of[&(app.app, spec)] as usize;
                let group = &self.apps[app.app as usize].as_ref().expect("it has asks").groups[group_at];
                let mut from = AskKey::new(0, 0);
                if let Some(after) = after.filter(|a| a.app == app) {
                    if priority < after.priority {
                        continue;
                    }
                    if priority == after.priority {
                        from = after.ask.next();
                    }
                }
                let Some((ask, pod, need)) = self.need_in(group, from, &asks) else { continue };
                let place = Place { app, priority, ask };
                if limit.is_none_or(|limit| place < limit) {
                    first = Some((place, pod, need));
                }
                break;
            }
        }
        first
    }

    /// Counts what the real core walks over in a leaf before the chosen ask, or in vain.
    fn count_walk(&mut self, cluster: &Cluster, leaf: QueueId, chosen: Option<Place>, work: &mut Work) {
        if let Some(place) = chosen {
            let app = self.apps[place.app.app as usize].as_ref().expect("it has asks");
            work.asks_listed += app.pending;
            work.repeated_asks_listed += app.live.len() as u64;
            work.asks_skipped += app.allocated.pods;
        }
        if self.queues.get(leaf).aside.is_empty() {
            return;
        }
        let nodes = self.nodes.open() as u64;
        let aside: Vec<u32> = self.queues.get(leaf).aside.iter().copied().collect();
        for at in aside {
            let kind = &self.queues.get(leaf).kinds[at as usize];
            if kind.no_slot {
                continue;
            }
            let (id, owner, stuck) = (kind.spec, kind.class / 2, kind.stuck);
            let others = chosen.map_or_else(|| kind.apps.total(), |place| kind.apps.before(place.app));
            let priority = Reverse(self.specs[id as usize].priority);
            let own = chosen.map_or(0, |place| {
                let app = self.apps[place.app.app as usize].as_ref().expect("it has asks");
                let same = app.live.iter().map(|g| &app.groups[*g as usize]).find(|g| g.kind == at);
                same.map_or(0, |g| asks_before(g, priority, place)) as u64
            });
            work.asks_listed += others;
            work.repeated_asks_listed += u64::from(others > 0);
            let asks = others + own;
            if asks == 0 {
                continue;
            }
            let spec = cluster.pods.spec_by_id(id);
            let in_quota = self.limits.has_room(&self.queues, leaf, owner, spec)
                && self.queues.exceeded(leaf, spec).is_none();
            if !stuck || !in_quota {
                work.asks_skipped += asks;
                continue;
            }
            if let Some(node) = self.specs[id as usize].required {
                // Those before have the node reserved, which has no room.
                if node != NO_NODE && self.nodes.table.is_present(node) {
                    work.nodes_visited += asks;
                    if self.nodes.table.fits(node, spec) {
                        self.count_predicates(id, asks, work);
                    }
                }
                continue;
            }
            work.asks_tried += asks;
            work.nodes_visited += asks * nodes;
            self.count_predicates(id, asks * self.specs[id as usize].tested, work);
            if self.reserves
                && let Some(target) = self.target(cluster, id)
                && !self.predicates.accept(cluster, id, target)
            {
                // Those that are old enough have tried it.
                let tried = self.old_asks(leaf, at, priority, chosen);
                self.count_predicates(id, tried, work);
            }
        }
    }

    /// Asks of a kind before a place that are old enough to reserve a node and have none.
    fn old_asks(&self, leaf: QueueId, kind: u32, priority: Reverse<i32>, before: Option<Place>) -> u64 {
        let kind = &self.queues.get(leaf).kinds[kind as usize];
        let mut count = 0;
        for app in kind.apps.keys_from(None) {
            if before.is_some_and(|place| place.app < app) {
                break;
            }
            let group_at = self.group_of[&(app.app, kind.spec)] as usize;
            let group = &self.apps[app.app as usize].as_ref().expect("it has asks").groups[group_at];
            let own = before.filter(|place| place.app == app);
            let asks = own.map_or(group.asks.len(), |place| asks_before(group, priority, place));
            let old = group
                .asks
                .partition_point(|(key, _)| self.now.saturating_sub(key.created_ns()) > DELAY_NS)
                .min(asks);
            let reserved = match group.asks.get(old) {
                Some((key, _)) => group.reserved.range(..*key).count(),
                None => group.reserved.len(),
            };
            count += (old - reserved) as u64;
        }
        count
    }

    // ---- with back-off: ask by ask ----

    fn walk_leaf(&mut self, cluster: &Cluster, leaf: QueueId, work: &mut Work) -> Option<Outcome> {
        let mut attempts = MAX_PREEMPTIONS;
        let apps: Vec<AppKey> = self.queues.get(leaf).apps.iter().copied().collect();
        for key in apps {
            let app = self.apps[key.app as usize].as_ref().expect("it has asks");
            if !app.running && !self.may_begin(leaf, app.owner) || self.now < app.backs_off_until {
                continue;
            }
            work.asks_listed += app.pending;
            work.repeated_asks_listed += app.live.len() as u64;
            let skipped = app.allocated.pods;
            if let Some(outcome) = self.walk_app(cluster, leaf, key, &mut attempts, work) {
                work.asks_skipped += skipped;
                return Some(outcome);
            }
        }
        None
    }

    fn walk_app(
        &mut self,
        cluster: &Cluster,
        leaf: QueueId,
        key: AppKey,
        attempts: &mut u32,
        work: &mut Work,
    ) -> Option<Outcome> {
        let properties = self.queues.get(leaf).properties;
        let app = self.apps[key.app as usize].as_ref().expect("it has asks");
        let owner = app.owner;
        let mut asks: Vec<(Reverse<i32>, AskKey, u32)> = Vec::new();
        for group in &app.live {
            let priority = Reverse(self.specs[app.groups[*group as usize].spec as usize].priority);
            asks.extend(app.groups[*group as usize].asks.iter().map(|(ask, _)| (priority, *ask, *group)));
        }
        asks.sort_unstable();
        let mut in_vain = 0;
        for (_, ask, group_at) in asks {
            if in_vain >= properties.backoff_asks {
                let app = self.apps[key.app as usize].as_mut().expect("it has asks");
                app.backs_off_until = self.now + properties.backoff_delay_ns;
                return None;
            }
            let app = self.apps[key.app as usize].as_ref().expect("it has asks");
            let group = &app.groups[group_at as usize];
            let id = group.spec;
            let spec = cluster.pods.spec_by_id(id);
            let Some((_, pod)) = group.from(ask).next().filter(|(k, _)| *k == ask) else { continue };
            if !self.limits.has_room(&self.queues, leaf, owner, spec) {
                work.asks_skipped += 1;
                continue;
            }
            let in_headroom = self.queues.exceeded(leaf, spec).is_none();
            if !in_headroom {
                work.asks_skipped += 1;
            } else if self.specs[id as usize].required.is_some() {
                if let Some(outcome) = self.try_required_node(cluster, pod, work) {
                    return Some(outcome);
                }
                continue;
            } else {
                work.asks_tried += 1;
                if !self.specs[id as usize].stuck {
                    let predicates = &mut self.predicates;
                    let (node, walk) =
                        self.nodes.first_fit(spec, |node| predicates.accept(cluster, id, node));
                    if let Some(node) = node {
                        work.nodes_visited += walk.nodes;
                        self.count_predicates(id, walk.tested, work);
                        return Some(self.allocate_ask(cluster, key.app, pod, node));
                    }
                    self.set_aside(id, walk.tested);
                }
                work.nodes_visited += self.nodes.open() as u64;
                self.count_predicates(id, self.specs[id as usize].tested, work);
            }
            let may_preempt = *attempts > 0;
            if let Some(asks) = self.asks_of(cluster, leaf, id, owner, in_headroom, may_preempt) {
                let group =
                    &self.apps[key.app as usize].as_ref().expect("it has asks").groups[group_at as usize];
                let need = self.need_in(group, ask, &asks).filter(|(k, ..)| *k == ask);
                match need {
                    Some((_, pod, Need::Reserve(node))) => {
                        self.count_predicates(id, 1, work);
                        self.reserve(cluster, pod, node);
                        return Some(Outcome::Reserved(pod, node));
                    }
                    Some((_, pod, Need::Preempt { nodes_tried })) => {
                        *attempts -= 1;
                        if let Some(node) = self.try_preemption(cluster, leaf, pod, nodes_tried, work) {
                            self.reserve(cluster, pod, node);
                            return Some(Outcome::Reserved(pod, node));
                        }
                    }
                    _ => {}
                }
            }
            in_vain += u64::from(in_headroom);
        }
        None
    }
}

/// How many asks of a group come before a place of its application.
fn asks_before(group: &Group, priority: Reverse<i32>, place: Place) -> usize {
    match priority.cmp(&place.priority) {
        std::cmp::Ordering::Less => group.asks.len(),
        std::cmp::Ordering::Equal => group.asks.partition_point(|(ask, _)| *ask < place.ask),
        std::cmp::Ordering::Greater => 0,
    }
}
