//! kube-scheduler's cycle written plainly: every filter, score and count from scratch, in each cycle, over all nodes
//! and pods. It draws from a twin of the scheduler's random stream, so its choice must be the same node.
use std::collections::{BTreeMap, BTreeSet};

use podpace::cluster::{Cluster, HOSTNAME_LABEL, NodeId, Operator, PodId, PodSpec, SpreadConstraint};
use podpace::engine::{Rng, Streams};
use podpace::scheduler::ScoringStrategy;
use podpace::scheduler::kube::{Plugins, Weights, system_default_constraints};
use podpace::scheduler::kube::{num_feasible_nodes_to_find, static_rejection};

pub struct Naive {
    rng: Rng,
    strategy: ScoringStrategy,
    /// Weights of the scores.
    pub weights: Weights,
    /// `hardPodAffinityWeight`.
    pub hard_weight: i64,
    /// PodTopologySpread's constraints of pods without any, and whether they are the system's.
    pub defaults: (Vec<SpreadConstraint>, bool),
    percentage: u32,
    /// Known nodes in order of arrival.
    nodes: Vec<NodeId>,
    zones: Vec<Option<u32>>,
    placed: BTreeMap<PodId, NodeId>,
    start: usize,
    dirty: BTreeSet<NodeId>,
    /// What the last cycle of each pod decided.
    pub expected: BTreeMap<PodId, Result<NodeId, String>>,
    /// How often each operation ran.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Naive {
    pub fn new(seed: u64, strategy: ScoringStrategy, percentage: u32) -> Self {
        Self {
            rng: Streams::new(seed).stream("scheduler"),
            strategy,
            weights: Plugins::DEFAULT.weights,
            hard_weight: 1,
            defaults: (system_default_constraints(), true),
            percentage,
            nodes: Vec::new(),
            zones: Vec::new(),
            placed: BTreeMap::new(),
            start: 0,
            dirty: BTreeSet::new(),
            expected: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    pub fn node(&mut self, cluster: &Cluster, node: NodeId, present: bool) {
        self.dirty.insert(node);
        let zone = cluster.nodes.get(node).zone;
        if present && !self.nodes.contains(&node) {
            self.nodes.push(node);
            if !self.zones.contains(&zone) {
                self.zones.push(zone);
            }
        } else if !present {
            self.nodes.retain(|n| *n != node);
            if !self.nodes.iter().any(|n| cluster.nodes.get(*n).zone == zone) {
                self.zones.retain(|z| *z != zone);
            }
        }
    }

    pub fn place(&mut self, pod: PodId, node: NodeId) {
        self.placed.insert(pod, node);
        self.dirty.insert(node);
    }

    pub fn unplace(&mut self, pod: PodId) {
        if let Some(node) = self.placed.remove(&pod) {
            self.dirty.insert(node);
        }
    }

    fn add(&mut self, operation: &'static str, count: usize) {
        *self.counts.entry(operation).or_default() += count as u64;
    }

    /// The names that a pod's required terms allow, if all name some: each name that all fields of one term list.
    fn names(spec: &PodSpec) -> Option<Vec<String>> {
        let terms = &spec.required_node_affinity;
        let named = |t: &podpace::cluster::Term| t.fields.iter().any(|f| f.operator == Operator::In);
        if terms.is_empty() || !terms.iter().all(named) {
            return None;
        }
        let fields = |t: &podpace::cluster::Term| -> Vec<Vec<String>> {
            t.fields.iter().filter(|f| f.operator == Operator::In).map(|f| f.values.clone()).collect()
        };
        let allowed = |t: &podpace::cluster::Term| -> Vec<String> {
            let lists = fields(t);
            lists[0].iter().filter(|name| lists.iter().all(|list| list.contains(name))).cloned().collect()
        };
        Some(terms.iter().flat_map(allowed).collect())
    }

    fn order(&self, cluster: &Cluster) -> Vec<NodeId> {
        let mut columns: Vec<Vec<NodeId>> = self
            .zones
            .iter()
            .map(|z| self.nodes.iter().copied().filter(|n| cluster.nodes.get(*n).zone == *z).rev().collect())
            .collect();
        let mut order = Vec::new();
        while order.len() < self.nodes.len() {
            for column in &mut columns {
                order.extend(column.pop());
            }
        }
        order
    }

    fn pods_on<'a>(&'a self, cluster: &'a Cluster, node: NodeId) -> impl Iterator<Item = &'a PodSpec> {
        self.placed.iter().filter(move |p| *p.1 == node).map(|p| cluster.pods.spec(*p.0))
    }

    /// Pods on known nodes with a value of the key, as (spec, value).
    fn pods_by<'a>(
        &'a self,
        cluster: &'a Cluster,
        key: &'a str,
    ) -> impl Iterator<Item = (&'a PodSpec, &'a str)> {
        self.placed
            .iter()
            .filter(|p| self.nodes.contains(p.1))
            .filter_map(move |(pod, node)| Some((cluster.pods.spec(*pod), cluster.nodes.label(*node, key)?)))
    }

    fn used(&self, cluster: &Cluster, node: NodeId, amount: impl Fn(&PodSpec) -> u64) -> u64 {
        self.pods_on(cluster, node).map(amount).sum()
    }

    fn shortages(&self, cluster: &Cluster, spec: &PodSpec, node: NodeId) -> Vec<String> {
        let has = &cluster.nodes.template(node).allocatable;
        let wants = &spec.requests;
        let mut short = Vec::new();
        if self.pods_on(cluster, node).count() >= has.pods as usize {
            short.push("Too many pods".to_owned());
        }
        let cpu = wants.cpu_millicores;
        if cpu > 0 && self.used(cluster, node, |p| p.requests.cpu_millicores) + cpu > has.cpu_millicores {
            short.push("Insufficient cpu".to_owned());
        }
        let memory = wants.memory_bytes;
        if memory > 0 && self.used(cluster, node, |p| p.requests.memory_bytes) + memory > has.memory_bytes {
            short.push("Insufficient memory".to_owned());
        }
        for (id, amount) in &wants.extended {
            if self.used(cluster, node, |p| p.requests.extended(*id)) + amount > has.extended(*id) {
                short.push(format!("Insufficient {}", cluster.resources.name(*id)));
            }
        }
        short
    }

    fn has_keys(cluster: &Cluster, constraints: &[&SpreadConstraint], node: NodeId) -> bool {
        constraints.iter().all(|c| cluster.nodes.label(node, &c.topology_key).is_some())
    }

    /// The node is counted by the constraint: its inclusion policies, and the keys of all.
    fn eligible(
        cluster: &Cluster,
        spec: &PodSpec,
        constraints: &[&SpreadConstraint],
        c: &SpreadConstraint,
        node: NodeId,
    ) -> bool {
        let only_taints = PodSpec { tolerations: spec.tolerations.clone(), ..PodSpec::default() };
        let tainted = static_rejection(cluster, &only_taints, node)
            == Some("node(s) had untolerated taint(s)")
            || cluster.nodes.template(node).unschedulable
                && cluster.nodes.template(node).taints.iter().any(|t| {
                    t.effect != podpace::cluster::TaintEffect::PreferNoSchedule
                        && !podpace::cluster::tolerates(&spec.tolerations, t)
                });
        if c.honor_node_taints && tainted {
            return false;
        }
        if c.ignore_node_affinity {
            return Self::has_keys(cluster, constraints, node);
        }
        let only_affinity = PodSpec {
            node_selector: spec.node_selector.clone(),
            required_node_affinity: spec.required_node_affinity.clone(),
            tolerations: vec![podpace::cluster::Toleration {
                exists: true,
                ..podpace::cluster::Toleration::default()
            }],
            ..PodSpec::default()
        };
        static_rejection(cluster, &only_affinity, node).is_none()
            && Self::has_keys(cluster, constraints, node)
    }

    /// The constraints that hold for a pod, and whether a node needs the keys of all.
    fn constraints(&self, cluster: &Cluster, spec: &PodSpec) -> (Vec<SpreadConstraint>, bool) {
        if !spec.topology_spread.is_empty() {
            return (spec.topology_spread.clone(), true);
        }
        let mut found = Vec::new();
        if let Some(selector) = cluster.default_selector(spec) {
            for c in &self.defaults.0 {
                found.push(SpreadConstraint { selector: selector.clone(), ..c.clone() });
            }
        }
        (found, !self.defaults.1)
    }

    fn counts(c: &SpreadConstraint, cluster: &Cluster, own: &PodSpec, other: &PodSpec) -> bool {
        !c.selector.is_empty() && own.namespace() == other.namespace() && c.selector.matches(&other.labels)
            || c.pods(own.namespace()).matches(cluster, other) && !c.selector.is_empty()
    }

    /// Matching pods by value of the key, over eligible nodes; values without pods are there with 0.
    fn spread_counts(
        &self,
        cluster: &Cluster,
        spec: &PodSpec,
        constraints: &[&SpreadConstraint],
        c: &SpreadConstraint,
    ) -> BTreeMap<String, i64> {
        let mut counts = BTreeMap::new();
        for node in &self.nodes {
            if Self::eligible(cluster, spec, constraints, c, *node) {
                let Some(value) = cluster.nodes.label(*node, &c.topology_key) else { continue };
                *counts.entry(value.to_owned()).or_insert(0) +=
                    self.pods_on(cluster, *node).filter(|p| Self::counts(c, cluster, spec, p)).count() as i64;
            }
        }
        counts
    }

    fn rejections(&self, cluster: &Cluster, spec: &PodSpec, node: NodeId) -> Vec<String> {
        if let Some(reason) = static_rejection(cluster, spec, node) {
            return vec![reason.to_owned()];
        }
        let taken = self.pods_on(cluster, node).flat_map(|p| &p.host_ports);
        let taken: Vec<_> = taken.collect();
        if spec.host_ports.iter().any(|want| taken.iter().any(|have| want.conflicts(have))) {
            return vec!["node(s) didn't have free ports for the requested pod ports".to_owned()];
        }
        let short = self.shortages(cluster, spec, node);
        if !short.is_empty() {
            return short;
        }
        let label = |key: &str| cluster.nodes.label(node, key);
        let (constraints, _) = self.constraints(cluster, spec);
        let hard: Vec<_> = constraints.iter().filter(|c| c.hard).collect();
        for c in &hard {
            let Some(value) = label(&c.topology_key) else {
                return vec![
                    "node(s) didn't match pod topology spread constraints (missing required label)"
                        .to_owned(),
                ];
            };
            if !Self::eligible(cluster, spec, &hard, c, node) {
                continue;
            }
            let counts = self.spread_counts(cluster, spec, &hard, c);
            let own = i64::from(c.selector.matches(&spec.labels));
            let few = counts.len() < c.min_domains as usize;
            let least = if few { 0 } else { *counts.values().min().unwrap() };
            if counts[value] + own - least > i64::from(c.max_skew) {
                return vec!["node(s) didn't match pod topology spread constraints".to_owned()];
            }
        }
        let required: Vec<_> = spec.pod_affinity.iter().filter(|t| !t.anti && t.weight.is_none()).collect();
        let all = |p: &PodSpec| required.iter().all(|t| t.pods(spec.namespace()).matches(cluster, p));
        let met = required.iter().all(|t| {
            label(&t.topology_key).is_some_and(|value| {
                self.pods_by(cluster, &t.topology_key).any(|(p, v)| v == value && all(p))
            })
        });
        let nobody = required.iter().all(|t| !self.pods_by(cluster, &t.topology_key).any(|(p, _)| all(p)));
        let keys = required.iter().all(|t| label(&t.topology_key).is_some());
        if !(met || keys && nobody && all(spec)) {
            return vec!["node(s) didn't match pod affinity rules".to_owned()];
        }
        for t in spec.pod_affinity.iter().filter(|t| t.anti && t.weight.is_none()) {
            let value = label(&t.topology_key);
            if self
                .pods_by(cluster, &t.topology_key)
                .any(|(p, v)| Some(v) == value && t.pods(spec.namespace()).matches(cluster, p))
            {
                return vec!["node(s) didn't match pod anti-affinity rules".to_owned()];
            }
        }
        for (pod, on) in self.placed.iter().filter(|p| self.nodes.contains(p.1)) {
            let existing = cluster.pods.spec(*pod);
            for t in existing.pod_affinity.iter().filter(|t| t.anti && t.weight.is_none()) {
                let value = cluster.nodes.label(*on, &t.topology_key);
                if value.is_some()
                    && value == label(&t.topology_key)
                    && t.pods(existing.namespace()).matches(cluster, spec)
                {
                    return vec!["node(s) didn't satisfy existing pods anti-affinity rules".to_owned()];
                }
            }
        }
        Vec::new()
    }

    fn resource_score(&self, cluster: &Cluster, spec: &PodSpec, node: NodeId) -> i64 {
        let has = &cluster.nodes.template(node).allocatable;
        let scored = |value: u64, default: u64| if value == 0 { default } else { value };
        let cpu_of = |p: &PodSpec| scored(p.requests.cpu_millicores, 100);
        let memory_of = |p: &PodSpec| scored(p.requests.memory_bytes, 200 << 20);
        let points = |requested: u64, capacity: u64| match self.strategy {
            _ if capacity == 0 => None,
            ScoringStrategy::LeastAllocated => {
                Some(if requested > capacity { 0 } else { (capacity - requested) * 100 / capacity })
            }
            _ => Some(requested.min(capacity) * 100 / capacity),
        };
        let parts: Vec<u64> = [
            points(self.used(cluster, node, cpu_of) + cpu_of(spec), has.cpu_millicores),
            points(self.used(cluster, node, memory_of) + memory_of(spec), has.memory_bytes),
        ]
        .into_iter()
        .flatten()
        .collect();
        let fit = if parts.is_empty() { 0 } else { parts.iter().sum::<u64>() / parts.len() as u64 };
        let r = &spec.requests;
        if r.cpu_millicores == 0 && r.memory_bytes == 0 {
            return self.weights.fit * fit as i64;
        }
        let fraction = |used: u64, capacity: u64| (used as f64 / capacity as f64).min(1.0);
        let std = if has.cpu_millicores == 0 || has.memory_bytes == 0 {
            0.0
        } else {
            let cpu = self.used(cluster, node, |p| p.requests.cpu_millicores) + r.cpu_millicores;
            let memory = self.used(cluster, node, |p| p.requests.memory_bytes) + r.memory_bytes;
            ((fraction(cpu, has.cpu_millicores) - fraction(memory, has.memory_bytes)) / 2.0).abs()
        };
        self.weights.fit * fit as i64 + self.weights.balanced * ((1.0 - std) * 100.0) as i64
    }

    fn affinity_score(&self, cluster: &Cluster, spec: &PodSpec, node: NodeId) -> i64 {
        let label = |key: &str| cluster.nodes.label(node, key);
        let mut score = 0;
        for (pod, on) in self.placed.iter().filter(|p| self.nodes.contains(p.1)) {
            let existing = cluster.pods.spec(*pod);
            let same = |key: &str| label(key).is_some() && cluster.nodes.label(*on, key) == label(key);
            for t in &spec.pod_affinity {
                if let Some(weight) = t.weight
                    && same(&t.topology_key)
                    && t.pods(spec.namespace()).matches(cluster, existing)
                {
                    score += i64::from(if t.anti { -weight } else { weight });
                }
            }
            for t in &existing.pod_affinity {
                if same(&t.topology_key) && t.pods(existing.namespace()).matches(cluster, spec) {
                    score += match (t.anti, t.weight) {
                        (false, None) => self.hard_weight,
                        (false, Some(weight)) => i64::from(weight),
                        (true, weight) => -i64::from(weight.unwrap_or(0)),
                    };
                }
            }
        }
        score
    }

    fn spread_scores(&self, cluster: &Cluster, spec: &PodSpec, feasible: &[NodeId]) -> Vec<i64> {
        let (constraints, all_keys) = self.constraints(cluster, spec);
        let soft: Vec<_> = constraints.iter().filter(|c| !c.hard).collect();
        if soft.is_empty() {
            return vec![0; feasible.len()];
        }
        let counted: Vec<NodeId> =
            feasible.iter().copied().filter(|n| !all_keys || Self::has_keys(cluster, &soft, *n)).collect();
        let keys: &[&SpreadConstraint] = if all_keys { &soft } else { &[] };
        let raw: Vec<Option<i64>> = feasible
            .iter()
            .map(|node| {
                counted.contains(node).then(|| {
                    let mut score = 0.0;
                    for c in &soft {
                        let value = |n: NodeId| cluster.nodes.label(n, &c.topology_key);
                        let size = if c.topology_key == HOSTNAME_LABEL {
                            counted.len()
                        } else {
                            counted.iter().map(|n| value(*n)).collect::<BTreeSet<_>>().len()
                        };
                        let Some(here) = value(*node) else { continue };
                        let count = self.spread_counts(cluster, spec, keys, c)[here];
                        score += count as f64 * libm::log((size + 2) as f64) + f64::from(c.max_skew - 1);
                    }
                    libm::round(score) as i64
                })
            })
            .collect();
        let most = raw.iter().flatten().copied().max().unwrap_or(0);
        let least = raw.iter().flatten().copied().min().unwrap_or(0);
        raw.into_iter()
            .map(|r| match r {
                None => 0,
                Some(_) if most == 0 => 100,
                Some(r) => 100 * (most + least - r) / most,
            })
            .collect()
    }

    /// ImageLocality, in plain arithmetic.
    fn image_score(&self, cluster: &Cluster, spec: &PodSpec, node: NodeId) -> i64 {
        let mut sum = 0.0;
        for image in &spec.images {
            if let Some(size) = cluster.nodes.template(node).images.get(image) {
                let has = |n: &&NodeId| cluster.nodes.template(**n).images.contains_key(image);
                let with = self.nodes.iter().filter(has).count();
                sum += (*size as f64 * (with as f64 / self.nodes.len() as f64)).trunc();
            }
        }
        let mib = 1_048_576;
        let most = 1000 * mib * spec.images.len().max(1) as i64;
        100 * ((sum as i64).clamp(23 * mib, most) - 23 * mib) / (most - 23 * mib)
    }

    /// Whether a pod fits somewhere now.
    pub fn is_placeable(&self, cluster: &Cluster, pod: PodId) -> bool {
        self.nodes.iter().any(|n| self.rejections(cluster, cluster.pods.spec(pod), *n).is_empty())
    }

    /// A cycle begins: decides what it must come to, and counts what it must cost.
    pub fn cycle(&mut self, cluster: &Cluster, pod: PodId) {
        let spec = cluster.pods.spec(pod);
        let order = self.order(cluster);
        let all = order.len();
        let dirty = self.dirty.len();
        self.dirty.clear();
        self.add("cycle", 1);
        self.add("queue_pop", 1);
        self.add("snapshot_node", dirty);
        if all == 0 {
            self.expected.insert(pod, Err("no nodes available to schedule pods".to_owned()));
            return;
        }
        self.start %= all;
        let by_name = Self::names(spec);
        if by_name.as_ref().is_some_and(Vec::is_empty) {
            self.expected.insert(pod, Err("pod affinity terms conflict".to_owned()));
            return;
        }
        let listed: Vec<NodeId> = match &by_name {
            None => order.clone(),
            Some(names) => {
                order.iter().copied().filter(|n| names.contains(&cluster.nodes.get(*n).name)).collect()
            }
        };
        self.add("node_total", listed.len());
        let enough = num_feasible_nodes_to_find(self.percentage, listed.len());
        let mut feasible = Vec::new();
        let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
        let mut visited = 0;
        if listed.len() < all {
            let others = (all - listed.len()) as u64;
            reasons.insert("node(s) didn't satisfy plugin(s) [NodeAffinity]".to_owned(), others);
        }
        for i in 0..listed.len() {
            if feasible.len() == enough {
                break;
            }
            visited += 1;
            let node = listed[(self.start + i) % listed.len()];
            let rejected = self.rejections(cluster, spec, node);
            if rejected.is_empty() {
                feasible.push(node);
            }
            for reason in rejected {
                *reasons.entry(reason).or_default() += 1;
            }
        }
        self.start = (self.start % all + visited) % all;
        self.add("filter_node", visited);
        let required = |p: &PodSpec, anti_only: bool| {
            p.pod_affinity.iter().any(|t| t.weight.is_none() && (t.anti || !anti_only))
        };
        let placed: Vec<&PodSpec> = self.placed.keys().map(|p| cluster.pods.spec(*p)).collect();
        let with_anti = placed.iter().filter(|p| required(p, true)).count();
        let with_any = placed.iter().filter(|p| !p.pod_affinity.is_empty()).count();
        let pods = placed.len();
        self.add("prefilter_pod_visited", with_anti + if required(spec, false) { pods } else { 0 });
        let (constraints, _) = self.constraints(cluster, spec);
        let hard = constraints.iter().filter(|c| c.hard).count();
        let soft = constraints.len() - hard;
        let by_host = constraints.iter().filter(|c| !c.hard && c.topology_key == HOSTNAME_LABEL).count();
        self.add("spread_node_visited", if hard > 0 { all } else { 0 });
        self.add("spread_pod_visited", pods * hard);
        if feasible.len() <= 1 {
            let most = reasons.values().max().copied().unwrap_or(0);
            let main = reasons.into_iter().find(|r| r.1 == most).map(|r| r.0).unwrap_or_default();
            self.expected.insert(pod, feasible.first().copied().ok_or(main));
            return;
        }
        self.add("score_node", feasible.len());
        let prefers = spec.pod_affinity.iter().any(|t| t.weight.is_some());
        self.add("affinity_pod_visited", if prefers { pods } else { 0 });
        self.add("term_pod_visited", if prefers { 0 } else { with_any });
        self.add("spread_node_visited", if soft > 0 { all } else { 0 });
        self.add("spread_pod_visited", pods * (soft - by_host));
        let on_candidates: usize = feasible.iter().map(|n| self.pods_on(cluster, *n).count()).sum();
        self.add("spread_pod_visited", on_candidates * by_host);

        let taints: Vec<i64> = feasible
            .iter()
            .map(|n| {
                let avoided = |t: &&podpace::cluster::Taint| {
                    t.effect == podpace::cluster::TaintEffect::PreferNoSchedule
                        && !podpace::cluster::tolerates(&spec.tolerations, t)
                };
                cluster.nodes.template(*n).taints.iter().filter(avoided).count() as i64
            })
            .collect();
        let affinity: Vec<i64> = feasible
            .iter()
            .map(|n| {
                let matches = |t| podpace::cluster::term_matches(t, |key| cluster.nodes.label(*n, key));
                spec.preferred_node_affinity
                    .iter()
                    .filter(|p| matches(&p.term))
                    .map(|p| i64::from(p.weight))
                    .sum()
            })
            .collect();
        let near: Vec<i64> = feasible.iter().map(|n| self.affinity_score(cluster, spec, *n)).collect();
        let spread = self.spread_scores(cluster, spec, &feasible);
        let scaled = |raw: i64, most: i64| if most == 0 { 0 } else { 100 * raw / most };
        let (most_taints, most_affinity) = (*taints.iter().max().unwrap(), *affinity.iter().max().unwrap());
        let (least_near, most_near) = (*near.iter().min().unwrap(), *near.iter().max().unwrap());
        let totals: Vec<i64> = feasible
            .iter()
            .enumerate()
            .map(|(i, n)| {
                let near = if most_near > least_near {
                    (100.0 * ((near[i] - least_near) as f64 / (most_near - least_near) as f64)) as i64
                } else {
                    0
                };
                self.resource_score(cluster, spec, *n)
                    + self.weights.images * self.image_score(cluster, spec, *n)
                    + self.weights.taints * (100 - scaled(taints[i], most_taints))
                    + self.weights.affinity * scaled(affinity[i], most_affinity)
                    + self.weights.pod_affinity * near
                    + self.weights.spread * spread[i]
            })
            .collect();
        let best = *totals.iter().max().unwrap();
        let ties: Vec<NodeId> = feasible.iter().zip(&totals).filter(|t| *t.1 == best).map(|t| *t.0).collect();
        let node = ties[self.rng.below(ties.len() as u64) as usize];
        self.expected.insert(pod, Ok(node));
    }
}
