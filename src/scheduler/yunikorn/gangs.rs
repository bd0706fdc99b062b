//! Gangs in the core: placeholders, and the real pods that take their places.
//!
//! Before it looks at ordinary asks a cycle looks for a real pod of a gang that can take the place of a placeholder
//! ([`Core::try_placeholder`]): the first such ask of the first such application, and the oldest placeholder of its task
//! group that it fits on; if it fits on none of their nodes, any node with room. The placeholder keeps its place until the
//! shim has deleted it ([`Core::confirm`]). A placeholder smaller than the pod that comes for it is given up, and one that
//! is being preempted is not looked at.
//!
//! Sources: `Application.tryPlaceholderAllocate`, `ReplaceAllocation`, `timeoutPlaceholderProcessing` of yunikorn-core 1.8.
//!
//! Cost: O(task groups + placeholders tried) a cycle in which there is something to replace.
use std::cmp::Reverse;

use super::apps::{AppKey, AskKey, Gang, TaskGroupState};
use super::cycle::{Core, PodState, Swap, Timeout, Work};
use super::queues::{QueueId, ROOT, Usage};
use crate::cluster::{AppId, Cluster, NodeId, PodId, SpecId};
use crate::engine::{Nanos, SECOND};
use crate::scheduler::AppSort;

/// `defaultPlaceholderTimeout`.
const PLACEHOLDER_TIMEOUT_NS: Nanos = 900 * SECOND;

/// Real pods of a task group that wait, in order.
type Held<'a> = std::iter::Peekable<std::collections::btree_map::Iter<'a, (Reverse<i32>, AskKey), PodId>>;

impl Core {
    /// What an application with task groups begins with, if its queue may run it (`partition.go`, `AddApplication`).
    pub(super) fn gang(&self, cluster: &Cluster, app: AppId, leaf: QueueId) -> Result<Box<Gang>, String> {
        let described = &cluster.pods.apps()[app as usize];
        let (queue, name) = (self.queues.get(leaf), &described.name);
        if queue.properties.sort != AppSort::Fifo {
            let queue = &queue.name;
            return Err(format!(
                "queue {queue} cannot run application {name} with task group request: unsupported sort type"
            ));
        }
        let mut total = Usage::default();
        let mut gang = Gang::default();
        for group in &described.task_groups {
            total.add_many(&cluster.pods.spec_by_id(group.spec).requests, u64::from(group.min_member));
            gang.wanted += u64::from(group.min_member);
            gang.groups.insert(group.name.clone(), TaskGroupState::default());
        }
        if !self.queues.max_holds(leaf, &total) {
            let queue = &queue.name;
            return Err(format!(
                "queue {queue} cannot fit application {name}: task group request larger than max queue allocation"
            ));
        }
        Ok(Box::new(gang))
    }

    /// Takes the ask of a pod that waits for a placeholder's place off; whether it was one.
    pub(super) fn take_held(&mut self, app_id: AppId, group: &str, pod: PodId) -> bool {
        let app = self.apps[app_id as usize].as_mut().expect("it has asks");
        let Some(gang) = app.gang.as_mut() else { return false };
        let Some(group) = gang.groups.get_mut(group) else { return false };
        let Some((key, _)) = group.held.iter().find(|(_, p)| **p == pod) else { return false };
        let key = *key;
        group.held.remove(&key);
        app.pending -= 1;
        let leaf = app.leaf;
        self.unhold(leaf, key.0.0);
        self.queues.add_pending(leaf, -1);
        true
    }

    fn unhold(&mut self, leaf: QueueId, priority: i32) {
        let held = &mut self.queues.get_mut(leaf).held;
        if let Some(count) = held.get_mut(&priority) {
            *count -= 1;
            if *count == 0 {
                held.remove(&priority);
            }
        }
    }

    /// Asks that waited for placeholders which there are no more become ordinary ones.
    fn let_go(&mut self, cluster: &Cluster, app_id: AppId) {
        let Some(app) = self.apps[app_id as usize].as_mut() else { return };
        let leaf = app.leaf;
        let Some(gang) = app.gang.as_mut() else { return };
        let mut freed = Vec::new();
        for group in gang.groups.values_mut().filter(|g| !g.can_replace()) {
            freed.extend(std::mem::take(&mut group.held));
        }
        freed.sort_unstable_by_key(|((_, seq), _)| *seq);
        for ((priority, seq), pod) in freed {
            self.unhold(leaf, priority.0);
            self.enqueue(app_id, cluster.pods.spec_id(pod), seq, pod);
        }
        self.replace(app_id);
    }

    /// The first part of a cycle: a real pod that takes the place of a placeholder, if there is one.
    pub fn try_placeholder(&mut self, cluster: &Cluster, work: &mut Work) -> Option<Swap> {
        if self.swappable == 0 {
            return None;
        }
        self.sum_up_nodes(cluster);
        self.swap_in_queue(cluster, ROOT, work)
    }

    fn swap_in_queue(&mut self, cluster: &Cluster, queue: QueueId, work: &mut Work) -> Option<Swap> {
        if self.queues.get(queue).children.is_empty() {
            let apps: Vec<AppKey> = self.queues.get(queue).swaps.iter().copied().collect();
            work.apps_sorted += apps.len() as u64;
            return apps.into_iter().find_map(|key| self.swap_in_app(cluster, key.app, work));
        }
        let specs = &self.specs;
        let children =
            self.queues.sorted_children(queue, self.priority_sort, &|s: SpecId| specs[s as usize].priority);
        children.into_iter().find_map(|child| self.swap_in_queue(cluster, child, work))
    }

    fn swap_in_app(&mut self, cluster: &Cluster, app_id: AppId, work: &mut Work) -> Option<Swap> {
        let app = self.apps[app_id as usize].as_ref().expect("it is in the list");
        let gang = app.gang.as_ref().expect("it is a gang");
        work.asks_skipped += app.allocated.pods;
        let mut fallback = None;
        let mut found = None;
        let mut too_small: Vec<(&String, PodId)> = Vec::new();
        // Specs that were refused on the nodes of so many placeholders, by group, while so many were found too small.
        let mut tried: Vec<(usize, SpecId, usize, u64)> = Vec::new();
        let mut groups: Vec<_> = (gang.groups.iter().filter(|(_, g)| !g.free.is_empty()))
            .map(|(name, group)| (name, &group.free, group.held.iter().peekable()))
            .collect();
        let next = |groups: &mut [(_, _, Held<'_>)]| {
            let firsts = groups.iter_mut().enumerate();
            let (_, at) = firsts.filter_map(|(at, (.., held))| Some((*held.peek()?.0, at))).min()?;
            groups[at].2.next().map(|(_, pod)| (at, *pod))
        };
        'asks: while let Some((at, pod)) = next(&mut groups) {
            let (name, free, _) = &groups[at];
            let (id, spec) = (cluster.pods.spec_id(pod), cluster.pods.spec(pod));
            // What the first of a spec has found its others would find, too.
            let same = |t: &&(usize, SpecId, usize, u64)| (t.0, t.1, t.2) == (at, id, too_small.len());
            if let Some((.., calls)) = tried.iter().find(same) {
                self.count_predicates(id, *calls, work);
                continue;
            }
            let mut calls = 0;
            for placeholder in *free {
                if too_small.iter().any(|(_, p)| p == placeholder) {
                    continue;
                }
                if !cluster.pods.spec(*placeholder).requests.holds(&spec.requests) {
                    too_small.push((name, *placeholder));
                    continue;
                }
                fallback.get_or_insert((pod, *placeholder));
                let node = self.node[*placeholder as usize];
                if !self.nodes.table.is_present(node) {
                    continue;
                }
                calls += 1;
                if self.nodes.is_schedulable(node) && self.predicates.accept(cluster, id, node) {
                    found = Some(Swap { pod, node, placeholder: *placeholder });
                    self.count_predicates(id, calls, work);
                    break 'asks;
                }
            }
            self.count_predicates(id, calls, work);
            tried.push((at, id, too_small.len(), calls));
        }
        let too_small: Vec<(String, PodId)> =
            too_small.into_iter().map(|(name, placeholder)| (name.clone(), placeholder)).collect();
        for (name, placeholder) in too_small {
            self.released.insert(placeholder);
            let gang =
                self.apps[app_id as usize].as_mut().and_then(|a| a.gang.as_mut()).expect("it is a gang");
            if let Some(group) = gang.groups.get_mut(&name) {
                group.free.retain(|p| *p != placeholder);
            }
            self.cancelled.push(placeholder);
        }
        if found.is_none()
            && let Some((pod, placeholder)) = fallback
        {
            let (id, spec) = (cluster.pods.spec_id(pod), cluster.pods.spec(pod));
            let predicates = &mut self.predicates;
            let (node, walk) = self.nodes.first_fit(spec, |node| predicates.accept(cluster, id, node));
            work.asks_tried += 1;
            work.nodes_visited += walk.nodes;
            self.count_predicates(id, walk.tested, work);
            if let Some(node) = node {
                self.put_on_node(cluster, pod, node, false);
                found = Some(Swap { pod, node, placeholder });
            }
        }
        if let Some(swap) = found {
            let name = cluster.pods.spec(swap.pod).task_group.clone().unwrap_or_default();
            self.take_held(app_id, &name, swap.pod);
            let gang =
                self.apps[app_id as usize].as_mut().and_then(|a| a.gang.as_mut()).expect("it is a gang");
            gang.swapping += 1;
            if let Some(group) = gang.groups.get_mut(&name) {
                group.free.retain(|p| *p != swap.placeholder);
            }
            self.set_state(swap.pod, PodState::Swapping);
            self.node[swap.pod as usize] = swap.node;
            self.swaps.insert(swap.placeholder, (swap.pod, swap.node));
        }
        self.replace(app_id);
        found
    }

    /// A placeholder is gone: the real pod that takes its place, and where, if one does.
    pub fn confirm(&mut self, cluster: &Cluster, placeholder: PodId) -> Option<(PodId, NodeId)> {
        let app_id = cluster.pods.app_id(placeholder);
        let had = matches!(self.state(placeholder), PodState::Allocated | PodState::Bound);
        let pending = self.state(placeholder) == PodState::Pending;
        let swap = self.swaps.remove(&placeholder);
        let name = cluster.pods.spec(placeholder).task_group.as_ref();
        if let Some(gang) =
            self.apps.get_mut(app_id as usize).and_then(Option::as_mut).and_then(|a| a.gang.as_mut())
        {
            gang.allocated -= u64::from(had);
            gang.swapping -= u64::from(swap.is_some());
            if let Some(group) = name.and_then(|name| gang.groups.get_mut(name)) {
                group.free.retain(|p| *p != placeholder);
                // A real pod that went meanwhile leaves the placeholder replaced all the same.
                if swap.is_some() {
                    group.replaced += 1;
                } else if had || pending {
                    group.timed_out += 1;
                }
            }
        }
        if had {
            self.uncount(cluster, placeholder);
            self.take_off_node(cluster, placeholder);
        } else if pending {
            self.drop_ask(cluster, placeholder);
        }
        self.set_state(placeholder, PodState::Done);
        self.released.remove(&placeholder);
        let swap = swap.filter(|(pod, _)| self.state(*pod) == PodState::Swapping);
        if let Some((pod, node)) = swap {
            self.state[pod as usize] = PodState::Allocated;
            self.count(cluster, app_id, pod);
            if self.node[placeholder as usize] == node {
                self.put_on_node(cluster, pod, node, false);
            }
        }
        self.let_go(cluster, app_id);
        swap
    }

    /// A real pod that waits for its placeholder's place is deleted.
    pub fn drop_swap(&mut self, cluster: &Cluster, pod: PodId) {
        let elsewhere = self
            .swaps
            .iter()
            .any(|(placeholder, (p, node))| *p == pod && self.node[*placeholder as usize] != *node);
        self.set_state(pod, PodState::Done);
        if elsewhere {
            self.take_off_node(cluster, pod);
        }
    }

    /// How long the placeholders of the pod's application may wait from now, told once, when the first is allocated.
    pub fn start_timer(&mut self, cluster: &Cluster, pod: PodId) -> Option<(AppId, Nanos)> {
        let app_id = cluster.pods.app_id(pod);
        let app = self.apps[app_id as usize].as_mut()?;
        let gang = app.gang.as_mut()?;
        if gang.timer_started || !cluster.pods.is_placeholder(pod) {
            return None;
        }
        gang.timer_started = true;
        let given = cluster.pods.apps()[app_id as usize].placeholder_timeout_ns;
        Some((app_id, if given == 0 { PLACEHOLDER_TIMEOUT_NS } else { given }))
    }

    /// The time of a gang's placeholders is over; placeholders that nobody is about to replace are given up. None:
    /// there are no placeholders any more.
    pub fn gang_timeout(&mut self, cluster: &Cluster, app_id: AppId) -> Option<Timeout> {
        let described = &cluster.pods.apps()[app_id as usize];
        let app = self.apps[app_id as usize].as_mut()?;
        let gang = app.gang.as_mut()?;
        if gang.allocated == 0 {
            return None;
        }
        for group in gang.groups.values_mut() {
            group.free.clear();
        }
        let complete = gang.complete;
        for group in &described.task_groups {
            for pod in group.first_placeholder..group.first_placeholder + group.min_member {
                if matches!(self.state(pod), PodState::Allocated | PodState::Bound) {
                    self.released.insert(pod);
                }
                if self.state(pod) == PodState::Pending {
                    self.drop_ask(cluster, pod);
                    self.set_state(pod, PodState::Done);
                    let gang = self.apps[app_id as usize].as_mut().and_then(|a| a.gang.as_mut());
                    if let Some(group) = gang.and_then(|g| g.groups.get_mut(&group.name)) {
                        group.timed_out += 1;
                    }
                }
            }
        }
        self.replace(app_id);
        Some(match (complete, described.gang_hard) {
            (true, _) => Timeout::Leftovers,
            (false, false) => Timeout::Resume,
            (false, true) => Timeout::Fail,
        })
    }

    /// Whether a real pod is about to take this placeholder's place.
    #[must_use]
    pub fn is_swapped(&self, placeholder: PodId) -> bool {
        self.swaps.contains_key(&placeholder)
    }
}
