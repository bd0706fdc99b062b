//! The core against a plain walk: every cycle sorts all queues, applications, asks and nodes anew and tries them
//! one by one, as the real core does, reservations and the asks that look for victims included. Decisions and counted
//! operations must be the same. (Which victims queues take is held to the real core's own answers, in
//! `yunikorn/preemption.rs`; here no queue has a guarantee when asks look for victims, so that they find none.)
use std::cmp::Reverse;
use std::collections::BTreeMap;

use podpace::cluster::{
    App, Cluster, HOSTNAME_LABEL, HostPort, LabelSelector, NodeId, NodeTemplate, PodAffinityTerm, PodId,
    PodSpec, Resources, SpreadConstraint, Taint, TaintEffect, Toleration, ZONE_LABEL,
};
use podpace::scheduler::yunikorn::{Core, Outcome, Version, Work};
use podpace::scheduler::{AppSort, NodeSortPolicy, QueueConfig, Settings, kube};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

struct Naive<'a> {
    settings: &'a Settings,
    version: Version,
    now: u64,
    nodes: BTreeMap<NodeId, ()>,
    asks: Vec<PodId>,
    created_s: BTreeMap<PodId, u64>,
    placed: Vec<(PodId, NodeId)>,
    app_order: Vec<u32>,
    next_app: u32,
    idle_since: Vec<Option<u64>>,
    originator: Vec<Option<PodId>>,
    reserved: Vec<(PodId, NodeId)>,
    reserved_apps: Vec<u32>,
    /// When an ask may look for victims again.
    searched: BTreeMap<PodId, u64>,
    preempted_for: Vec<PodId>,
    preempted: Vec<PodId>,
    attempts: u32,
}

#[derive(Clone, Copy, Default)]
struct Use {
    cpu: u64,
    memory: u64,
    pods: u64,
}

#[allow(clippy::cast_precision_loss)]
impl Naive<'_> {
    fn in_use(&self, cluster: &Cluster, keep: impl Fn(PodId, NodeId) -> bool) -> Use {
        let mut sum = Use::default();
        for (pod, node) in self.placed.iter().filter(|(p, n)| keep(*p, *n)) {
            let _ = node;
            let r = &cluster.pods.spec(*pod).requests;
            sum = Use {
                cpu: sum.cpu + r.cpu_millicores,
                memory: sum.memory + r.memory_bytes,
                pods: sum.pods + 1,
            };
        }
        sum
    }

    fn score(&self, cluster: &Cluster, node: NodeId) -> f64 {
        let used = self.in_use(cluster, |_, n| n == node);
        let total = &cluster.nodes.template(node).allocatable;
        let share = |used: u64, total: u64| 1.0 - (total - used) as f64 / total as f64;
        let mean = (share(used.cpu, total.cpu_millicores) + share(used.memory, total.memory_bytes)) / 2.0;
        if self.settings.node_sort_policy == NodeSortPolicy::Fair { mean } else { 1.0 - mean }
    }

    fn has_room(&self, cluster: &Cluster, node: NodeId, spec: &PodSpec) -> bool {
        let used = self.in_use(cluster, |_, n| n == node);
        let total = &cluster.nodes.template(node).allocatable;
        used.pods < u64::from(total.pods)
            && used.cpu + spec.requests.cpu_millicores <= total.cpu_millicores
            && used.memory + spec.requests.memory_bytes <= total.memory_bytes
    }

    fn accepts(&self, cluster: &Cluster, node: NodeId, spec: &PodSpec) -> bool {
        if !self.settings.predicates {
            return true;
        }
        let label = |n: NodeId, key: &str| cluster.nodes.label(n, key).map(str::to_owned);
        let matching = |key: &str, value: &str, selector: &LabelSelector| {
            self.placed
                .iter()
                .filter(|(p, n)| {
                    label(*n, key).as_deref() == Some(value)
                        && selector.matches(&cluster.pods.spec(*p).labels)
                })
                .count()
        };
        if kube::static_rejection(cluster, spec, node).is_some() {
            return false;
        }
        let mut taken = self.placed.iter().filter(|(_, n)| *n == node);
        let conflicts = |p: &PodId| {
            let taken = &cluster.pods.spec(*p).host_ports;
            spec.host_ports.iter().any(|port| taken.iter().any(|t| port.conflicts(t)))
        };
        if taken.any(|(p, _)| conflicts(p)) {
            return false;
        }
        for term in spec.pod_affinity.iter().filter(|t| t.weight.is_none()) {
            let here = label(node, &term.topology_key);
            let near = here.as_ref().map_or(0, |v| matching(&term.topology_key, v, &term.selector));
            if term.anti {
                if near > 0 {
                    return false;
                }
            } else {
                let any = self.placed.iter().any(|(p, n)| {
                    label(*n, &term.topology_key).is_some()
                        && term.selector.matches(&cluster.pods.spec(*p).labels)
                });
                let first = !any && term.selector.matches(&spec.labels);
                if here.is_none() || (near == 0 && !first) {
                    return false;
                }
            }
        }
        for (pod, other) in &self.placed {
            for term in cluster.pods.spec(*pod).pod_affinity.iter().filter(|t| t.weight.is_none() && t.anti) {
                let here = label(node, &term.topology_key);
                if here.is_some()
                    && here == label(*other, &term.topology_key)
                    && term.selector.matches(&spec.labels)
                {
                    return false;
                }
            }
        }
        for constraint in spec.topology_spread.iter().filter(|c| c.hard) {
            let Some(here) = label(node, &constraint.topology_key) else { return false };
            let key = &constraint.topology_key;
            let counts = |n: &NodeId| {
                let tolerated = |taint| spec.tolerations.iter().any(|t: &Toleration| t.covers(taint));
                !constraint.honor_node_taints || cluster.nodes.template(*n).taints.iter().all(tolerated)
            };
            let mut domains: Vec<String> =
                self.nodes.keys().filter(|n| counts(n)).filter_map(|n| label(*n, key)).collect();
            domains.sort();
            domains.dedup();
            let count = |d: &String| {
                let there =
                    self.placed.iter().filter(|(_, n)| counts(n) && label(*n, key).as_ref() == Some(d));
                there.filter(|(p, _)| constraint.selector.matches(&cluster.pods.spec(*p).labels)).count()
            };
            let mut least = domains.iter().map(count).min().unwrap_or(0);
            if domains.len() < constraint.min_domains as usize {
                least = 0;
            }
            let own = usize::from(constraint.selector.matches(&spec.labels));
            if count(&here) + own > least + constraint.max_skew as usize {
                return false;
            }
        }
        true
    }

    fn queue_of(cluster: &Cluster, pod: PodId) -> &str {
        &cluster.pods.apps()[cluster.pods.app_id(pod) as usize].queue
    }

    fn under(queue: &str, name: &str) -> bool {
        queue == name || queue.starts_with(&format!("{name}."))
    }

    fn config(&self, name: &str) -> Option<&QueueConfig> {
        self.settings.queues.iter().find(|q| q.name == name)
    }

    fn totals(&self, cluster: &Cluster) -> (u64, u64) {
        self.nodes.keys().fold((0, 0), |sum, n| {
            let a = &cluster.nodes.template(*n).allocatable;
            (sum.0 + a.cpu_millicores, sum.1 + a.memory_bytes)
        })
    }

    fn total_pods(&self, cluster: &Cluster) -> u64 {
        self.nodes.keys().map(|n| u64::from(cluster.nodes.template(*n).allocatable.pods)).sum()
    }

    fn exceeds(&self, cluster: &Cluster, queue: &str, spec: &PodSpec) -> bool {
        let mut name = queue;
        loop {
            let max = if name == "root" {
                Some(self.totals(cluster))
            } else {
                self.config(name).and_then(|c| c.max)
            };
            if let Some((cpu, memory)) = max {
                let used = self.in_use(cluster, |p, _| Self::under(Self::queue_of(cluster, p), name));
                if used.cpu + spec.requests.cpu_millicores > cpu
                    || used.memory + spec.requests.memory_bytes > memory
                    || name == "root" && used.pods + 1 > self.total_pods(cluster)
                {
                    return true;
                }
            }
            match name.rsplit_once('.') {
                Some((above, _)) => name = above,
                None => return false,
            }
        }
    }

    fn cycle(&mut self, cluster: &Cluster, names: &[String]) -> (Option<Outcome>, Work) {
        let mut work = Work::default();
        if self.nodes.is_empty() {
            return (None, work);
        }
        let mut found = None;
        if !self.reserved.is_empty() && !self.asks.is_empty() {
            found = self.queue(cluster, "root", names, true, &mut work);
        }
        if found.is_none() {
            found = self.queue(cluster, "root", names, false, &mut work);
        }
        match found {
            Some(Outcome::Allocated(pod, node)) => {
                self.unreserve(cluster, pod);
                self.asks.retain(|p| *p != pod);
                self.placed.push((pod, node));
            }
            Some(Outcome::Reserved(pod, node)) => {
                self.reserved.push((pod, node));
                let app = cluster.pods.app_id(pod);
                if !self.reserved_apps.contains(&app) {
                    self.reserved_apps.push(app);
                }
            }
            None => {}
        }
        (found, work)
    }

    fn unreserve(&mut self, cluster: &Cluster, pod: PodId) {
        self.reserved.retain(|(p, _)| *p != pod);
        let reserved = &self.reserved;
        self.reserved_apps.retain(|a| reserved.iter().any(|(p, _)| cluster.pods.app_id(*p) == *a));
    }

    /// A pod of an application comes in.
    fn submit(&mut self, app: u32, pod: PodId) {
        let at = app as usize;
        // One that was idle for long is a new one.
        if self.idle_since[at].take().is_some_and(|t| self.now >= t + 30 * SECOND) {
            self.app_order[at] = u32::MAX;
            self.originator[at] = None;
        }
        if self.app_order[at] == u32::MAX {
            self.app_order[at] = self.next_app;
            self.next_app += 1;
        }
        self.originator[at].get_or_insert(pod);
    }

    /// Notes which applications have nothing left.
    fn note_idle(&mut self, cluster: &Cluster) {
        for app in 0..6 {
            let busy = |p: &PodId| cluster.pods.app_id(*p) == app;
            let idle = !self.asks.iter().any(busy) && !self.placed.iter().any(|(p, _)| busy(p));
            if idle && self.app_order[app as usize] != u32::MAX {
                self.idle_since[app as usize].get_or_insert(self.now);
            }
        }
    }

    fn is_reserved(&self, node: NodeId) -> bool {
        self.reserved.iter().any(|(_, n)| *n == node)
    }

    fn node_of(&self, pod: PodId) -> Option<NodeId> {
        self.reserved.iter().find(|(p, _)| *p == pod).map(|(_, n)| *n)
    }

    /// Nodes that are not reserved, in order.
    fn in_order(&self, cluster: &Cluster) -> Vec<NodeId> {
        let mut nodes: Vec<(f64, &str, NodeId)> = self
            .nodes
            .keys()
            .filter(|n| !self.is_reserved(**n))
            .map(|n| (self.score(cluster, *n), cluster.nodes.get(*n).name.as_str(), *n))
            .collect();
        nodes.sort_by(|a, b| a.partial_cmp(b).unwrap());
        nodes.into_iter().map(|(_, _, n)| n).collect()
    }

    fn could_hold(cluster: &Cluster, node: NodeId, spec: &PodSpec) -> bool {
        let total = &cluster.nodes.template(node).allocatable;
        spec.requests.cpu_millicores <= total.cpu_millicores
            && spec.requests.memory_bytes <= total.memory_bytes
    }

    /// What a pod leaves of what is free on a node.
    fn leftover(&self, cluster: &Cluster, node: NodeId, spec: &PodSpec) -> f64 {
        let used = self.in_use(cluster, |_, n| n == node);
        let total = &cluster.nodes.template(node).allocatable;
        let of = |free: u64, asked: u64| match (free, asked) {
            (0, _) => 0.0,
            (_, 0) => 1.0,
            _ if free > asked => (free - asked) as f64 / free as f64,
            _ => 0.0,
        };
        of(total.cpu_millicores - used.cpu, spec.requests.cpu_millicores)
            + of(total.memory_bytes - used.memory, spec.requests.memory_bytes)
            + of(u64::from(total.pods) - used.pods, 1)
    }

    fn predicates(&self, cluster: &Cluster, node: NodeId, spec: &PodSpec, work: &mut Work) -> bool {
        if self.settings.predicates {
            work.predicates += 1;
            let terms = spec.pod_affinity.iter().any(|t| t.weight.is_none())
                || spec.topology_spread.iter().any(|c| c.hard);
            work.affinity_predicates += u64::from(terms);
            let anti =
                |p: &PodId| cluster.pods.spec(*p).pod_affinity.iter().any(|t| t.weight.is_none() && t.anti);
            let mut looks = self.placed.iter().filter(|(p, _)| anti(p)).count() as u64;
            if spec.pod_affinity.iter().any(|t| t.weight.is_none()) {
                looks += self.placed.len() as u64;
            }
            work.prefilter_pods += looks;
            work.prefilter_most = work.prefilter_most.max(looks);
        }
        self.accepts(cluster, node, spec)
    }

    fn required(cluster: &Cluster, pod: PodId) -> Option<Option<NodeId>> {
        let name = cluster.pods.spec(pod).required_node.as_ref()?;
        Some((0..u32::try_from(cluster.nodes.len()).unwrap()).find(|n| cluster.nodes.get(*n).name == *name))
    }

    /// The first part of a cycle in a leaf queue.
    fn reserved_leaf(&mut self, cluster: &Cluster, queue: &str, work: &mut Work) -> Option<Outcome> {
        for app in self.reserved_apps.clone() {
            if cluster.pods.apps()[app as usize].queue != queue {
                continue;
            }
            let mine: Vec<(PodId, NodeId)> =
                self.reserved.iter().copied().filter(|(p, _)| cluster.pods.app_id(*p) == app).collect();
            for (pod, node) in &mine {
                let spec = cluster.pods.spec(*pod);
                if self.exceeds(cluster, queue, spec) {
                    continue;
                }
                let room = self.has_room(cluster, *node, spec);
                if Self::required(cluster, *pod).is_some() && !room && !self.preempted_for.contains(pod) {
                    self.preempt_on(cluster, *pod, *node, work);
                    continue;
                }
                work.nodes_visited += 1;
                if room && self.predicates(cluster, *node, spec, work) {
                    return Some(Outcome::Allocated(*pod, *node));
                }
            }
            for (pod, _) in &mine {
                let spec = cluster.pods.spec(*pod);
                if Self::required(cluster, *pod).is_some() || self.exceeds(cluster, queue, spec) {
                    continue;
                }
                work.asks_tried += 1;
                for node in self.in_order(cluster) {
                    work.nodes_visited += 1;
                    if !cluster.nodes.template(node).unschedulable
                        && self.has_room(cluster, node, spec)
                        && self.predicates(cluster, node, spec, work)
                    {
                        return Some(Outcome::Allocated(*pod, node));
                    }
                }
            }
        }
        None
    }

    /// Preemption for a pod that must run on a node.
    fn preempt_on(&mut self, cluster: &Cluster, ask: PodId, node: NodeId, work: &mut Work) {
        let wanted = cluster.pods.spec(ask);
        let here: Vec<PodId> = self.placed.iter().filter(|(_, n)| *n == node).map(|(p, _)| *p).collect();
        work.preemption_pods += here.len() as u64;
        let originator = &self.originator;
        let first = |pod: PodId| originator[cluster.pods.app_id(pod) as usize] == Some(pod);
        let mut victims: Vec<PodId> = here
            .into_iter()
            .filter(|p| {
                let spec = cluster.pods.spec(*p);
                spec.required_node.is_none()
                    && spec.priority <= wanted.priority
                    && !self.preempted.contains(p)
            })
            .collect();
        victims.sort_by_key(|p| {
            let spec = cluster.pods.spec(*p);
            let age = Reverse(self.created_s[p]);
            (first(*p), spec.priority, age, spec.requests.cpu_millicores, spec.requests.memory_bytes)
        });
        let holds = |cpu: u64, memory: u64, pods: u64| {
            cpu >= wanted.requests.cpu_millicores && memory >= wanted.requests.memory_bytes && pods >= 1
        };
        let (mut cpu, mut memory, mut taken) = (0, 0, Vec::new());
        for victim in victims {
            if holds(cpu, memory, taken.len() as u64) {
                break;
            }
            let spec = cluster.pods.spec(victim);
            cpu += spec.requests.cpu_millicores;
            memory += spec.requests.memory_bytes;
            taken.push(victim);
        }
        let used = self.in_use(cluster, |_, n| n == node);
        let total = &cluster.nodes.template(node).allocatable;
        let free = (
            cpu + total.cpu_millicores - used.cpu,
            memory + total.memory_bytes - used.memory,
            taken.len() as u64 + u64::from(total.pods) - used.pods,
        );
        if !taken.is_empty() && holds(free.0, free.1, free.2) {
            self.preempted.extend(taken);
            self.preempted_for.push(ask);
        }
    }

    /// An ask looks for victims if its time has come; it finds none.
    fn search(&mut self, cluster: &Cluster, queue: &str, names: &[String], pod: PodId, work: &mut Work) {
        let created = self.created_s[&pod] * SECOND;
        let due = self.searched.get(&pod).is_none_or(|again| *again <= self.now);
        if !self.version.preemption
            || self.attempts == 0
            || cluster.pods.spec(pod).never_preempts
            || Self::required(cluster, pod).is_some()
            || self.now < created + 30 * SECOND
            || !due
        {
            return;
        }
        self.attempts -= 1;
        self.searched.insert(pod, self.now + 15 * SECOND);
        work.preemptions += 1;
        // The fence is the nearest queue upwards that uses all of its maximum.
        let mut fence = queue;
        loop {
            let used = self.in_use(cluster, |p, _| Self::under(Self::queue_of(cluster, p), fence));
            let full = match self.config(fence).and_then(|c| c.max) {
                Some((cpu, memory)) => used.cpu == cpu && used.memory == memory && used.pods == 0,
                None if fence == "root" => true,
                None => false,
            };
            if full {
                break;
            }
            fence = fence.rsplit_once('.').unwrap().0;
        }
        let is_leaf = |q: &&String| !names.iter().any(|n| n.starts_with(&format!("{q}.")));
        for other in names.iter().filter(is_leaf).filter(|q| *q != queue && Self::under(q, fence)) {
            work.preemption_pods +=
                self.in_use(cluster, |p, _| Self::under(Self::queue_of(cluster, p), other)).pods;
        }
    }

    fn queue(
        &mut self,
        cluster: &Cluster,
        name: &str,
        names: &[String],
        reserved: bool,
        work: &mut Work,
    ) -> Option<Outcome> {
        let asks = self.asks.clone();
        let pending = |q: &str| -> Vec<PodId> {
            asks.iter().copied().filter(|p| Self::under(Self::queue_of(cluster, *p), q)).collect()
        };
        // Queues in order of creation: the configured ones come first.
        let mut children: Vec<&String> =
            names.iter().filter(|n| n.rsplit_once('.').is_some_and(|(above, _)| above == name)).collect();
        if children.is_empty() {
            self.attempts = 10;
            return if reserved {
                self.reserved_leaf(cluster, name, work)
            } else {
                self.leaf(cluster, name, names, work)
            };
        }
        children.retain(|c| !pending(c).is_empty());
        let key = |q: &String| {
            let priority = pending(q).iter().map(|p| cluster.pods.spec(*p).priority).max().unwrap_or(0);
            let config = self.config(q);
            let (cpu, memory) =
                config.and_then(|c| c.guaranteed.or(c.max)).unwrap_or_else(|| self.totals(cluster));
            let used = self.in_use(cluster, |p, _| Self::under(Self::queue_of(cluster, p), q));
            let of = |used: u64, total: u64| match (used, total) {
                (0, _) => 0.0,
                (_, 0) => 1.0,
                _ => used as f64 / total as f64,
            };
            let pods = of(used.pods, self.total_pods(cluster));
            let share = of(used.cpu, cpu).max(of(used.memory, memory)).max(pods);
            (if self.version.priority_sort { -i64::from(priority) } else { 0 }, share)
        };
        children.sort_by(|a, b| key(a).partial_cmp(&key(b)).unwrap());
        children.into_iter().find_map(|c| self.queue(cluster, c, names, reserved, work))
    }

    fn leaf(&mut self, cluster: &Cluster, queue: &str, names: &[String], work: &mut Work) -> Option<Outcome> {
        let config = self.config(queue);
        let mut apps: Vec<u32> = (0..u32::try_from(cluster.pods.apps().len()).unwrap())
            .filter(|a| cluster.pods.apps()[*a as usize].queue == queue)
            .collect();
        let (all, created_s) = (self.asks.clone(), self.created_s.clone());
        let asks = |app: u32| -> Vec<PodId> {
            let mut asks: Vec<PodId> =
                all.iter().copied().filter(|p| cluster.pods.app_id(*p) == app).collect();
            asks.sort_by_key(|p| (Reverse(cluster.pods.spec(*p).priority), created_s[p]));
            asks
        };
        let used = |app: u32| self.in_use(cluster, |p, _| cluster.pods.app_id(p) == app);
        work.apps_sorted +=
            apps.iter().filter(|a| !asks(**a).is_empty() || used(**a).pods > 0).count() as u64;
        apps.retain(|a| !asks(*a).is_empty());
        let key = |app: &u32| {
            let priority = if self.version.priority_sort {
                asks(*app).iter().map(|p| cluster.pods.spec(*p).priority).max().unwrap()
            } else {
                0
            };
            let mut shares = [0.0; 3];
            if config.is_some_and(|c| c.sort == AppSort::Fair) {
                let (cpu, memory) = config.and_then(|c| c.guaranteed).unwrap_or((1, 1));
                let u = used(*app);
                shares = [u.cpu as f64 / cpu as f64, u.memory as f64 / memory as f64, u.pods as f64];
                shares.sort_by(|a, b| b.partial_cmp(a).unwrap());
            }
            (-i64::from(priority), shares, self.app_order[*app as usize])
        };
        apps.sort_by(|a, b| key(a).partial_cmp(&key(b)).unwrap());
        for app in apps {
            let asks = asks(app);
            let skipped = self.in_use(cluster, |p, _| cluster.pods.app_id(p) == app).pods;
            work.asks_listed += asks.len() as u64;
            for pod in asks {
                let spec = cluster.pods.spec(pod);
                if self.exceeds(cluster, queue, spec) {
                    work.asks_skipped += 1;
                    self.search(cluster, queue, names, pod, work);
                    continue;
                }
                if let Some(node) = Self::required(cluster, pod) {
                    let Some(node) = node.filter(|n| self.nodes.contains_key(n)) else { continue };
                    let others: Vec<PodId> =
                        self.reserved.iter().filter(|(_, n)| *n == node).map(|(p, _)| *p).collect();
                    for other in others.iter().filter(|p| Self::required(cluster, **p).is_none()) {
                        self.unreserve(cluster, *other);
                    }
                    work.nodes_visited += 1;
                    let mine = self.node_of(pod).is_some();
                    if (mine || !self.is_reserved(node))
                        && self.has_room(cluster, node, spec)
                        && self.predicates(cluster, node, spec, work)
                    {
                        work.asks_skipped += skipped;
                        return Some(Outcome::Allocated(pod, node));
                    }
                    if mine {
                        continue;
                    }
                    work.asks_skipped += skipped;
                    return Some(Outcome::Reserved(pod, node));
                }
                work.asks_tried += 1;
                let mut best: Option<(f64, NodeId)> = None;
                for node in self.in_order(cluster) {
                    work.nodes_visited += 1;
                    if cluster.nodes.template(node).unschedulable {
                        continue;
                    }
                    if self.has_room(cluster, node, spec) && self.predicates(cluster, node, spec, work) {
                        work.asks_skipped += skipped;
                        return Some(Outcome::Allocated(pod, node));
                    }
                    let left = self.leftover(cluster, node, spec);
                    if Self::could_hold(cluster, node, spec) && best.is_none_or(|(least, _)| left < least) {
                        best = Some((left, node));
                    }
                }
                let old = self.now - self.created_s[&pod] * SECOND > 2 * SECOND;
                if let Some((_, node)) = best
                    && old
                    && self.settings.reservations
                    && self.node_of(pod).is_none()
                    && self.predicates(cluster, node, spec, work)
                {
                    work.asks_skipped += skipped;
                    return Some(Outcome::Reserved(pod, node));
                }
                self.search(cluster, queue, names, pod, work);
            }
        }
        None
    }
}

fn labels(app: u32) -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), format!("a{app}"))])
}

fn affinity(app: u32, key: &str, anti: bool) -> PodAffinityTerm {
    let selector = labels(app).into();
    PodAffinityTerm { selector, topology_key: key.to_owned(), anti, ..PodAffinityTerm::default() }
}

/// One of a few dozen specs: sizes, priorities, tolerations, demands on other pods, one node.
fn spec(app: u32, size: u32, flavour: u32, priority: i32) -> PodSpec {
    let mut spec = PodSpec { priority, labels: labels(app), ..PodSpec::default() };
    spec.requests = Resources {
        cpu_millicores: [100, 300, 700, 2000][size as usize % 4],
        memory_bytes: [400, 100, 900, 500][size as usize % 4],
        ..Resources::default()
    };
    match flavour {
        0 => spec.tolerations.push(Toleration { key: "t".into(), exists: true, ..Toleration::default() }),
        1 => spec.pod_affinity.push(affinity(app, HOSTNAME_LABEL, true)),
        2 => spec.pod_affinity.push(affinity(app, ZONE_LABEL, true)),
        3 => spec.pod_affinity.push(affinity(app, ZONE_LABEL, false)),
        4 => spec.topology_spread.push(SpreadConstraint {
            max_skew: 1,
            topology_key: ZONE_LABEL.to_owned(),
            hard: true,
            selector: labels(app).into(),
            ..SpreadConstraint::default()
        }),
        8 => spec.required_node = Some(format!("n{}", size)),
        9 => spec.never_preempts = true,
        10 => spec.host_ports.push(HostPort { port: 80, protocol: "TCP".to_owned(), ip: String::new() }),
        11 | 12 => spec.topology_spread.push(SpreadConstraint {
            max_skew: 1,
            topology_key: [ZONE_LABEL, HOSTNAME_LABEL][size as usize % 2].to_owned(),
            hard: true,
            selector: labels(app).into(),
            min_domains: if flavour == 11 { 3 } else { 0 },
            honor_node_taints: flavour == 12,
            ..SpreadConstraint::default()
        }),
        _ => {}
    }
    spec
}

#[derive(Clone, Debug)]
enum Op {
    Wait(u64),
    Drop(usize),
    Ask { app: u32, size: u32, flavour: u32, priority: i32 },
    Cycles(u32),
    Release(usize),
    RemoveNode(u32),
    AddNode(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0_u32..6, 0_u32..4, 0_u32..13, 0_i32..3)
            .prop_map(|(app, size, flavour, priority)| Op::Ask { app, size, flavour, priority }),
        4 => (1_u32..4).prop_map(Op::Cycles),
        2 => any::<usize>().prop_map(Op::Release),
        2 => (0_u64..60).prop_map(|tenths| Op::Wait(tenths * tenths * SECOND / 100)),
        1 => any::<usize>().prop_map(Op::Drop),
        1 => any::<u32>().prop_map(Op::RemoveNode),
        1 => any::<u32>().prop_map(Op::AddNode),
    ]
}

fn queue(name: &str, sort: AppSort, guaranteed: Option<(u64, u64)>, max: Option<(u64, u64)>) -> QueueConfig {
    QueueConfig { name: name.to_owned(), sort, guaranteed, max }
}

fn check(
    ops: &[Op],
    nodes: usize,
    policy: NodeSortPolicy,
    predicates: bool,
    reservations: bool,
    version: Version,
) {
    let mut cluster = Cluster::default();
    let template = |cpu, memory, tainted: bool, unschedulable| NodeTemplate {
        taints: if tainted {
            vec![Taint { key: "t".into(), value: String::new(), effect: TaintEffect::NoSchedule }]
        } else {
            Vec::new()
        },
        unschedulable,
        allocatable: Resources { cpu_millicores: cpu, memory_bytes: memory, pods: 5, ..Resources::default() },
        ..NodeTemplate::default()
    };
    let templates = [
        template(1000, 1000, false, false),
        template(3000, 1500, false, false),
        template(1500, 4000, true, false),
        template(4000, 4000, false, true),
    ]
    .map(|t| cluster.nodes.add_template(t));
    let zones = ["z0", "z1", "z2"].map(|z| cluster.nodes.add_zone(z));
    for i in 0..nodes {
        let template = templates[[0, 1, 0, 2, 1, 0, 3, 2][i % 8]];
        cluster.nodes.add(format!("n{}", (i * 17) % nodes), template, Some(zones[i % 3]));
    }
    let guaranteed = (!version.preemption).then_some((1000, 2000));
    let settings = Settings {
        predicates,
        reservations,
        node_sort_policy: policy,
        queues: vec![
            queue("root.a", AppSort::Fair, None, Some((3000, 3000))),
            queue("root.b.c", AppSort::Fair, guaranteed, None),
            queue("root.b.d", AppSort::Fifo, None, Some((2500, 2500))),
        ],
        ..Settings::default()
    };
    let names: Vec<String> =
        ["root.a", "root.b", "root.b.c", "root.b.d", "root.e"].iter().map(|n| (*n).to_owned()).collect();
    for queue in ["root.a", "root.b.c", "root.b.d", "root.e", "root.a", "root.b.c"] {
        cluster.pods.add_app(App { name: "x".into(), queue: queue.to_owned(), ..App::default() });
    }
    let mut core = Core::new(&settings, version);
    let mut naive = Naive {
        settings: &settings,
        version,
        now: 0,
        nodes: BTreeMap::new(),
        asks: Vec::new(),
        created_s: BTreeMap::new(),
        placed: Vec::new(),
        app_order: vec![u32::MAX; 6],
        next_app: 0,
        idle_since: vec![None; 6],
        originator: vec![None; 6],
        reserved: Vec::new(),
        reserved_apps: Vec::new(),
        searched: BTreeMap::new(),
        preempted_for: Vec::new(),
        preempted: Vec::new(),
        attempts: 0,
    };
    for node in 0..u32::try_from(nodes).unwrap() {
        core.set_node(&cluster, node);
        naive.nodes.insert(node, ());
    }
    for op in ops {
        match op {
            Op::Ask { app, size, flavour, priority } => {
                let spec = cluster.pods.add_spec(spec(*app, *size, *flavour, *priority));
                let pod = cluster.pods.add(spec, *app);
                core.learn(&cluster, pod);
                core.add_app(&cluster, *app).unwrap();
                core.add_ask(&cluster, pod);
                naive.submit(*app, pod);
                naive.asks.push(pod);
                naive.created_s.insert(pod, naive.now / SECOND);
            }
            Op::Wait(time) => {
                naive.now += time;
                core.now = naive.now;
            }
            Op::Cycles(count) => {
                for _ in 0..*count {
                    let mut work = Work::default();
                    let found = core.try_reserved(&cluster, &mut work).or_else(|| {
                        let (found, more) = core.try_allocate(&cluster);
                        work.add(&more);
                        found
                    });
                    let (expected, expected_work) = naive.cycle(&cluster, &names);
                    assert_eq!(found, expected);
                    work.repeated_asks_listed = 0;
                    assert_eq!(work, expected_work);
                    assert_eq!(core.pending(), naive.asks.len() as u64);
                    assert_eq!(core.reservations(), naive.reserved.len());
                    assert_eq!(core.victims, naive.preempted);
                }
            }
            Op::Drop(which) => {
                if !naive.asks.is_empty() {
                    let pod = naive.asks.remove(which % naive.asks.len());
                    naive.unreserve(&cluster, pod);
                    core.drop_ask(&cluster, pod);
                }
            }
            Op::Release(which) => {
                if !naive.placed.is_empty() {
                    let (pod, _) = naive.placed.remove(which % naive.placed.len());
                    naive.preempted.retain(|p| *p != pod);
                    core.victims.retain(|p| *p != pod);
                    core.release(&cluster, pod);
                }
            }
            Op::RemoveNode(node) => {
                let node = node % u32::try_from(nodes).unwrap();
                core.remove_node(&cluster, node);
                naive.nodes.remove(&node);
                let gone: Vec<PodId> =
                    naive.reserved.iter().filter(|(_, n)| *n == node).map(|(p, _)| *p).collect();
                for pod in gone {
                    naive.unreserve(&cluster, pod);
                }
            }
            Op::AddNode(node) => {
                let node = node % u32::try_from(nodes).unwrap();
                core.set_node(&cluster, node);
                naive.nodes.insert(node, ());
            }
        }
        naive.note_idle(&cluster);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn decisions_and_counts_are_those_of_a_plain_walk(
        ops in prop::collection::vec(op(), 1..120),
        nodes in 1_usize..14,
        binpacking in any::<bool>(),
        predicates in any::<bool>(),
        reservations in any::<bool>(),
        priority_sort in any::<bool>(),
        preemption in any::<bool>(),
    ) {
        let policy = if binpacking { NodeSortPolicy::BinPacking } else { NodeSortPolicy::Fair };
        check(&ops, nodes, policy, predicates, reservations, Version { priority_sort, preemption });
    }
}

/// Enough nodes for several blocks of the order.
#[test]
fn many_nodes() {
    for policy in [NodeSortPolicy::Fair, NodeSortPolicy::BinPacking] {
        let ask = |i: u32| Op::Ask { app: i % 6, size: i * 5 % 4, flavour: 5 + i % 3, priority: 0 };
        let mut ops: Vec<Op> = (0..150).map(ask).collect();
        ops.push(Op::Cycles(60));
        ops.extend((0..20).map(|i| Op::Release(i * 13)));
        ops.push(Op::Cycles(100));
        check(&ops, 400, policy, true, true, Version::default());
    }
}
