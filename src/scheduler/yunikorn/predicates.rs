//! Predicates: what the shim checks on a node that has room, through kube-scheduler's filter plugins.
//!
//! Taints, node selector, required node affinity and `unschedulable` come from
//! [`kube::static_rejection_as`](crate::scheduler::kube::static_rejection_as) and are looked up once for a spec and a class
//! of nodes (template and zone, as the informer has shown them). Required pod affinity and anti-affinity (in both directions) and hard topology
//! spread are counted here per term and topology domain.
//!
//! Left out: host ports, volumes, `minDomains` and node inclusion policies of spread (every known node's domain
//! counts).
//!
//! Cost: O(1) a node for plain pods, O(terms of the pod) else; a pod put on or taken off a node costs
//! O(terms that its labels match).
use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::cluster::{Cluster, NodeId, PodId, PodSelector, PodSpec, SpecId};
use crate::scheduler::kube;

const NO_DOMAIN: u32 = u32::MAX;

/// Domains of one topology key.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Topology {
    key: String,
    #[serde(with = "crate::engine::codec::sorted")]
    values: FxHashMap<String, u32>,
    domain: Vec<u32>,
    /// Known nodes in each domain.
    nodes: Vec<u32>,
}

impl Topology {
    fn domain(&self, node: NodeId) -> Option<usize> {
        self.domain.get(node as usize).copied().filter(|d| *d != NO_DOMAIN).map(|d| d as usize)
    }

    fn learn(&mut self, cluster: &Cluster, node: NodeId) {
        let domain = match cluster.nodes.label(node, &self.key) {
            None => NO_DOMAIN,
            Some(value) => {
                let next = u32::try_from(self.values.len()).expect("as many as nodes");
                *self.values.entry(value.to_owned()).or_insert(next)
            }
        };
        if self.domain.len() <= node as usize {
            self.domain.resize(node as usize + 1, NO_DOMAIN);
        }
        self.domain[node as usize] = domain;
        self.nodes.resize(self.values.len(), 0);
    }
}

/// Pods that match a selector, by topology domain.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Counter {
    selector: PodSelector,
    topology: usize,
    /// Pods in the domain whose labels match.
    matching: Vec<u32>,
    /// Pods in the domain that repel those.
    owners: Vec<u32>,
    total: u64,
    /// Domains with a known node by matching pods, for the minimum.
    histogram: BTreeMap<u32, u32>,
}

/// What a spec asks of the other pods, as indexes of counters.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Rules {
    anti: Vec<usize>,
    affinity: Vec<(usize, bool)>,
    spread: Vec<(usize, u32, u32)>,
    /// Counters whose selector matches this spec.
    matched: Vec<usize>,
    per_node: bool,
    known: bool,
}

/// The shim's predicates.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Predicates {
    enabled: bool,
    class: Vec<u32>,
    classes: BTreeMap<(u32, Option<u32>), u32>,
    /// By class.
    templates: Vec<u32>,
    /// By spec, then class: 0 unknown, 1 accepted, 2 refused.
    verdicts: Vec<Vec<u8>>,
    topologies: Vec<Topology>,
    counters: Vec<Counter>,
    counter_of: BTreeMap<(PodSelector, usize), usize>,
    rules: Vec<Rules>,
    /// Pods on nodes, by spec.
    placed: Vec<u32>,
    /// Pods on nodes.
    pods: u64,
    /// Those of them that require that others keep away.
    pods_with_required_anti: u64,
    specs_by_label: BTreeMap<(String, String), Vec<SpecId>>,
    known_nodes: Vec<bool>,
}

impl Predicates {
    /// No nodes or specs yet. Disabled predicates accept every node.
    #[must_use]
    pub fn new(enabled: bool) -> Self {
        Self { enabled, ..Self::default() }
    }

    /// Whether they run at all.
    #[must_use]
    pub const fn enabled(&self) -> bool {
        self.enabled
    }

    /// Takes over a node's labels and taints.
    pub fn set_node(&mut self, cluster: &Cluster, node: NodeId) {
        if !self.enabled {
            return;
        }
        self.remove_node(node);
        let at = node as usize;
        if self.class.len() <= at {
            self.class.resize(at + 1, 0);
            self.known_nodes.resize(at + 1, false);
        }
        let n = cluster.nodes.get(node);
        let next = u32::try_from(self.classes.len()).expect("as many as nodes");
        self.class[at] = *self.classes.entry((n.template, n.zone)).or_insert(next);
        if self.class[at] == next {
            self.templates.push(n.template);
        }
        self.known_nodes[at] = true;
        for topology in 0..self.topologies.len() {
            self.topologies[topology].learn(cluster, node);
            self.count_node(topology, node, true);
        }
    }

    /// Forgets a node; what runs on it stays counted until it is removed.
    pub fn remove_node(&mut self, node: NodeId) {
        if !self.known_nodes.get(node as usize).copied().unwrap_or(false) {
            return;
        }
        self.known_nodes[node as usize] = false;
        for topology in 0..self.topologies.len() {
            self.count_node(topology, node, false);
        }
    }

    fn count_node(&mut self, topology: usize, node: NodeId, add: bool) {
        let Some(domain) = self.topologies[topology].domain(node) else { return };
        let nodes = &mut self.topologies[topology].nodes[domain];
        let appears = add && *nodes == 0;
        *nodes = if add { *nodes + 1 } else { *nodes - 1 };
        let vanishes = !add && *nodes == 0;
        for counter in self.counters.iter_mut().filter(|c| c.topology == topology) {
            counter.grow(domain);
            if appears {
                *counter.histogram.entry(counter.matching[domain]).or_default() += 1;
            } else if vanishes {
                counter.leave(domain);
            }
        }
    }

    /// Learns a spec before its first pod is placed or asked for; `placed` lists the pods on nodes as (spec, node).
    pub fn learn_spec<I: Iterator<Item = (SpecId, NodeId)>>(
        &mut self,
        cluster: &Cluster,
        id: SpecId,
        placed: impl Fn() -> I,
    ) {
        if !self.enabled {
            return;
        }
        let at = id as usize;
        if self.rules.len() <= at {
            self.rules.resize(at + 1, Rules::default());
            self.verdicts.resize(at + 1, Vec::new());
            self.placed.resize(at + 1, 0);
        }
        if self.rules[at].known {
            return;
        }
        let spec = cluster.pods.spec_by_id(id);
        self.rules[at].known = true;
        self.rules[at].per_node = spec.names_nodes();
        for (key, value) in &spec.labels {
            self.specs_by_label.entry((key.clone(), value.clone())).or_default().push(id);
        }
        self.rules[at].matched =
            (0..self.counters.len()).filter(|c| self.counters[*c].selector.matches(cluster, spec)).collect();
        for term in spec.pod_affinity.iter().filter(|t| t.weight.is_none()) {
            let pods = term.pods(spec.namespace());
            let counter = self.counter(cluster, &pods, &term.topology_key, &placed);
            if term.anti {
                self.rules[at].anti.push(counter);
            } else {
                self.rules[at].affinity.push((counter, pods.matches(cluster, spec)));
            }
        }
        for constraint in spec.topology_spread.iter().filter(|c| c.hard) {
            let pods = constraint.pods(spec.namespace());
            let counter = self.counter(cluster, &pods, &constraint.topology_key, &placed);
            let own = u32::from(pods.matches(cluster, spec));
            self.rules[at].spread.push((counter, constraint.max_skew, own));
        }
    }

    fn counter<I: Iterator<Item = (SpecId, NodeId)>>(
        &mut self,
        cluster: &Cluster,
        selector: &PodSelector,
        key: &str,
        placed: &impl Fn() -> I,
    ) -> usize {
        let topology = self.topologies.iter().position(|t| t.key == key).unwrap_or_else(|| {
            let mut topology = Topology { key: key.to_owned(), ..Topology::default() };
            // Nodes that are gone may still bear pods and come back.
            for at in 0..self.known_nodes.len().min(cluster.nodes.len()) {
                let node = NodeId::try_from(at).expect("nodes are limited");
                topology.learn(cluster, node);
                if let Some(domain) = topology.domain(node)
                    && self.known_nodes[at]
                {
                    topology.nodes[domain] += 1;
                }
            }
            self.topologies.push(topology);
            self.topologies.len() - 1
        });
        if let Some(counter) = self.counter_of.get(&(selector.clone(), topology)) {
            return *counter;
        }
        let at = self.counters.len();
        let matching: Vec<SpecId> = match selector.labels.labels.iter().next() {
            Some((key, value)) => {
                self.specs_by_label.get(&(key.clone(), value.clone())).cloned().unwrap_or_default()
            }
            None => (0..SpecId::try_from(self.rules.len()).expect("specs are limited")).collect(),
        };
        let mut counted = Vec::new();
        for spec in matching {
            if self.rules[spec as usize].known && selector.matches(cluster, cluster.pods.spec_by_id(spec)) {
                self.rules[spec as usize].matched.push(at);
                counted.push(spec);
            }
        }
        let domains = &self.topologies[topology];
        let mut counter = Counter {
            selector: selector.clone(),
            topology,
            matching: vec![0; domains.values.len()],
            owners: vec![0; domains.values.len()],
            total: 0,
            histogram: BTreeMap::new(),
        };
        // A new application's terms match its own pods only, of which none is placed yet: no look at all pods.
        if counted.iter().any(|s| self.placed[*s as usize] > 0) {
            for (spec, node) in placed() {
                if let Some(domain) = domains.domain(node)
                    && counted.contains(&spec)
                {
                    counter.matching[domain] += 1;
                    counter.total += 1;
                }
            }
        }
        for (domain, nodes) in domains.nodes.iter().enumerate() {
            if *nodes > 0 {
                *counter.histogram.entry(counter.matching[domain]).or_default() += 1;
            }
        }
        self.counters.push(counter);
        self.counter_of.insert((selector.clone(), topology), at);
        at
    }

    /// Counts a pod that is on a node.
    pub fn add_pod(&mut self, spec: SpecId, node: NodeId) {
        self.count_pod(spec, node, true);
    }

    /// Uncounts a pod.
    pub fn remove_pod(&mut self, spec: SpecId, node: NodeId) {
        self.count_pod(spec, node, false);
    }

    fn count_pod(&mut self, spec: SpecId, node: NodeId, add: bool) {
        let Some(rules) = self.rules.get(spec as usize) else { return };
        let placed = &mut self.placed[spec as usize];
        *placed = if add { *placed + 1 } else { *placed - 1 };
        let anti = u64::from(!rules.anti.is_empty());
        if add {
            self.pods += 1;
            self.pods_with_required_anti += anti;
        } else {
            self.pods -= 1;
            self.pods_with_required_anti -= anti;
        }
        for counter in &rules.matched {
            let counter = &mut self.counters[*counter];
            let topology = &self.topologies[counter.topology];
            let Some(domain) = topology.domain(node) else { continue };
            counter.grow(domain);
            let listed = topology.nodes[domain] > 0;
            if listed {
                counter.leave(domain);
            }
            let pods = &mut counter.matching[domain];
            *pods = if add { *pods + 1 } else { *pods - 1 };
            counter.total = if add { counter.total + 1 } else { counter.total - 1 };
            if listed {
                *counter.histogram.entry(*pods).or_default() += 1;
            }
        }
        for counter in &rules.anti {
            let counter = &mut self.counters[*counter];
            let Some(domain) = self.topologies[counter.topology].domain(node) else { continue };
            counter.grow(domain);
            let owners = &mut counter.owners[domain];
            *owners = if add { *owners + 1 } else { *owners - 1 };
        }
    }

    /// Whether a spec asks something of other pods, so that its PreFilter looks at all nodes.
    #[must_use]
    pub fn has_terms(&self, spec: SpecId) -> bool {
        self.rules
            .get(spec as usize)
            .is_some_and(|r| !(r.anti.is_empty() && r.affinity.is_empty() && r.spread.is_empty()))
    }

    /// Pods that InterPodAffinity's PreFilter looks at for each node that is tried: those with required anti-affinity, and all if the
    /// newcomer requires something itself (`podFitsNode` in `predicate_manager.go` runs PreFilter anew for every node).
    #[must_use]
    pub fn prefilter_pods(&self, spec: SpecId) -> u64 {
        let requires =
            self.rules.get(spec as usize).is_some_and(|r| !(r.anti.is_empty() && r.affinity.is_empty()));
        self.pods_with_required_anti + if requires { self.pods } else { 0 }
    }

    /// Whether other pods decide about this spec: it has terms, or existing pods may repel it.
    #[must_use]
    pub fn heeds_pods(&self, spec: SpecId) -> bool {
        self.has_terms(spec) || self.rules.get(spec as usize).is_some_and(|r| !r.matched.is_empty())
    }

    /// Whether a pod newly placed can make room for this spec (affinity, spread).
    #[must_use]
    pub fn wants_company(&self, spec: SpecId) -> bool {
        self.rules.get(spec as usize).is_some_and(|r| !(r.affinity.is_empty() && r.spread.is_empty()))
    }

    /// Whether the node passes.
    pub fn accept(&mut self, cluster: &Cluster, spec: SpecId, node: NodeId) -> bool {
        !self.enabled
            || (self.static_accept(cluster, spec, node) && self.pods_rejection(spec, node).is_none())
    }

    fn static_accept(&mut self, cluster: &Cluster, id: SpecId, node: NodeId) -> bool {
        let spec = cluster.pods.spec_by_id(id);
        if self.rules[id as usize].per_node {
            return !self.is_rejected(cluster, spec, node);
        }
        let class = self.class[node as usize] as usize;
        let verdicts = &mut self.verdicts[id as usize];
        if verdicts.len() <= class {
            verdicts.resize(class + 1, 0);
        }
        if verdicts[class] == 0 {
            let verdict = 1 + u8::from(self.is_rejected(cluster, spec, node));
            self.verdicts[id as usize][class] = verdict;
        }
        self.verdicts[id as usize][class] == 1
    }

    /// Whether labels, taints or a cordon that the shim knows of refuse a known node.
    fn is_rejected(&self, cluster: &Cluster, spec: &PodSpec, node: NodeId) -> bool {
        let template = self.templates[self.class[node as usize] as usize];
        let template = cluster.nodes.template_by_id(template);
        kube::static_rejection_as(template, cluster, spec, node).is_some()
    }

    /// Whether the node passes for a pod once victims on it are gone. Affinity and spread are judged as they are now: the
    /// shim runs PreFilter before it takes the victims off (`PreemptionPredicates`).
    #[must_use]
    pub fn accepts_without(&self, cluster: &Cluster, pod: PodId, node: NodeId) -> bool {
        !self.enabled
            || (!self.is_rejected(cluster, cluster.pods.spec(pod), node)
                && self.pods_rejection(cluster.pods.spec_id(pod), node).is_none())
    }

    /// Why other pods refuse the node, in kube-scheduler's words.
    #[must_use]
    pub fn pods_rejection(&self, spec: SpecId, node: NodeId) -> Option<&'static str> {
        let rules = self.rules.get(spec as usize)?;
        let domain = |counter: &Counter| self.topologies[counter.topology].domain(node);
        for counter in &rules.matched {
            let counter = &self.counters[*counter];
            if domain(counter).is_some_and(|d| counter.owners.get(d).is_some_and(|o| *o > 0)) {
                return Some("node(s) didn't satisfy existing pods anti-affinity rules");
            }
        }
        for counter in &rules.anti {
            let counter = &self.counters[*counter];
            if domain(counter).is_some_and(|d| counter.matching.get(d).is_some_and(|m| *m > 0)) {
                return Some("node(s) didn't match pod anti-affinity rules");
            }
        }
        for (counter, own) in &rules.affinity {
            let counter = &self.counters[*counter];
            let Some(d) = domain(counter) else { return Some("node(s) didn't match pod affinity rules") };
            let near = counter.matching.get(d).is_some_and(|m| *m > 0);
            let first = *own && counter.total == 0;
            if !near && !first {
                return Some("node(s) didn't match pod affinity rules");
            }
        }
        for (counter, max_skew, own) in &rules.spread {
            let counter = &self.counters[*counter];
            let Some(d) = domain(counter) else {
                return Some("node(s) didn't match pod topology spread constraints (missing required label)");
            };
            let least = counter.histogram.keys().next().copied().unwrap_or(0);
            let here = counter.matching.get(d).copied().unwrap_or(0);
            if here + own > least + max_skew {
                return Some("node(s) didn't match pod topology spread constraints");
            }
        }
        None
    }
}

impl Counter {
    fn grow(&mut self, domain: usize) {
        if self.matching.len() <= domain {
            self.matching.resize(domain + 1, 0);
            self.owners.resize(domain + 1, 0);
        }
    }

    fn leave(&mut self, domain: usize) {
        let pods = self.matching[domain];
        let domains = self.histogram.get_mut(&pods).expect("a known domain is in the histogram");
        *domains -= 1;
        if *domains == 0 {
            self.histogram.remove(&pods);
        }
    }
}
