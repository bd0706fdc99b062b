//! Predicates: what the shim checks on a node that has room, through kube-scheduler's filter plugins.
//!
//! Taints, node selector, required node affinity and `unschedulable` come from
//! [`kube::static_rejection_as`](crate::scheduler::kube::static_rejection_as) and are looked up once for a spec and a class
//! of nodes (template and zone, as the informer has shown them). Host ports are kept by kube-scheduler's `node_ports`. Required pod affinity and
//! anti-affinity (in both directions) and hard topology spread are counted here per term and topology domain. A spread constraint counts the nodes
//! that its inclusion policies allow and that have the keys of all hard constraints, as kube-scheduler's model says (`Eligible`); with fewer domains
//! than `minDomains` the smallest count is 0.
//!
//! Sources: `newPredicateManagerInternal` in `pkg/plugin/predicates/predicate_manager.go` of yunikorn-k8shim 1.8 (NodeUnschedulable, NodeName,
//! TaintToleration, NodeAffinity, NodePorts, InterPodAffinity, PodTopologySpread and the plugins of volumes), and these plugins.
//!
//! Left out: volumes.
//!
//! Cost: O(1) a node for plain pods, O(terms of the pod + ports) else; a pod put on or taken off a node costs
//! O(terms that its labels match).
use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::cluster::{Cluster, HostPort, NodeId, NodeTemplate, PodId, PodSelector, PodSpec, SpecId};
use crate::scheduler::kube;
use crate::scheduler::kube::Eligible;
use crate::scheduler::kube::node_ports::{self, NodePorts};

const NO_DOMAIN: u32 = u32::MAX;

/// Domains of one topology key.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Topology {
    key: String,
    /// Nodes that count; none: all that have the label.
    eligible: Option<Eligible>,
    /// By node, if not all count: whether it does.
    counts: Vec<bool>,
    #[serde(with = "crate::engine::codec::sorted")]
    values: FxHashMap<String, u32>,
    domain: Vec<u32>,
    /// Known nodes in each domain, of those that count.
    nodes: Vec<u32>,
}

impl Topology {
    /// The domain that a node counts in.
    fn domain(&self, node: NodeId) -> Option<usize> {
        self.labelled(node).filter(|_| self.includes(node))
    }

    /// The domain that a node's label names.
    fn labelled(&self, node: NodeId) -> Option<usize> {
        self.domain.get(node as usize).copied().filter(|d| *d != NO_DOMAIN).map(|d| d as usize)
    }

    fn includes(&self, node: NodeId) -> bool {
        self.eligible.is_none() || self.counts.get(node as usize).copied().unwrap_or(false)
    }

    /// Looks at a node's label, and whether it counts; says whether that has changed.
    fn learn(&mut self, cluster: &Cluster, template: &NodeTemplate, node: NodeId) -> bool {
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
        let Some(eligible) = &self.eligible else { return false };
        if self.counts.len() <= node as usize {
            self.counts.resize(node as usize + 1, false);
        }
        let counts = eligible.includes(cluster, template, node);
        std::mem::replace(&mut self.counts[node as usize], counts) != counts
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
    /// Pods on each node whose labels match, where not all nodes count: a node may begin to count, or no longer do.
    on_node: BTreeMap<NodeId, u32>,
}

/// A hard constraint of topology spread.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Spread {
    counter: usize,
    max_skew: u32,
    min_domains: u32,
    /// 1 if the pod matches its own constraint.
    own: u32,
}

/// What a spec asks of the other pods, as indexes of counters.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Rules {
    anti: Vec<usize>,
    affinity: Vec<(usize, bool)>,
    spread: Vec<Spread>,
    ports: Vec<HostPort>,
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
    ports: NodePorts,
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
            let template = cluster.nodes.template_by_id(n.template);
            if self.topologies[topology].learn(cluster, template, node) {
                self.count_pods_of(topology, node);
            }
            self.count_node(topology, node, true);
        }
    }

    /// A node has begun to count, or does so no longer; it is in no list of domains at the moment.
    fn count_pods_of(&mut self, topology: usize, node: NodeId) {
        let at = &self.topologies[topology];
        let Some(domain) = at.labelled(node) else { return };
        let (includes, listed) = (at.includes(node), at.nodes[domain] > 0);
        for counter in self.counters.iter_mut().filter(|c| c.topology == topology) {
            let Some(pods) = counter.on_node.get(&node).copied().filter(|pods| *pods > 0) else { continue };
            counter.grow(domain);
            if listed {
                counter.leave(domain);
            }
            let here = &mut counter.matching[domain];
            *here = if includes { *here + pods } else { *here - pods };
            let total = u64::from(pods);
            counter.total = if includes { counter.total + total } else { counter.total - total };
            if listed {
                *counter.histogram.entry(*here).or_default() += 1;
            }
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
        self.rules[at].ports.clone_from(&spec.host_ports);
        for (key, value) in &spec.labels {
            self.specs_by_label.entry((key.clone(), value.clone())).or_default().push(id);
        }
        self.rules[at].matched =
            (0..self.counters.len()).filter(|c| self.counters[*c].selector.matches(cluster, spec)).collect();
        for term in spec.pod_affinity.iter().filter(|t| t.weight.is_none()) {
            let pods = term.pods(spec.namespace());
            let counter = self.counter(cluster, &pods, &term.topology_key, None, &placed);
            if term.anti {
                self.rules[at].anti.push(counter);
            } else {
                self.rules[at].affinity.push((counter, pods.matches(cluster, spec)));
            }
        }
        let hard = || spec.topology_spread.iter().filter(|c| c.hard);
        for constraint in hard() {
            let pods = constraint.pods(spec.namespace());
            let key = &constraint.topology_key;
            let eligible = Eligible::new(spec, constraint, hard().map(|c| c.topology_key.as_str()));
            let eligible = (!eligible.is_every(key)).then_some(eligible);
            let counter = self.counter(cluster, &pods, key, eligible, &placed);
            let own = u32::from(pods.matches(cluster, spec));
            let (max_skew, min_domains) = (constraint.max_skew, constraint.min_domains);
            self.rules[at].spread.push(Spread { counter, max_skew, min_domains, own });
        }
    }

    fn counter<I: Iterator<Item = (SpecId, NodeId)>>(
        &mut self,
        cluster: &Cluster,
        selector: &PodSelector,
        key: &str,
        eligible: Option<Eligible>,
        placed: &impl Fn() -> I,
    ) -> usize {
        let known = self.topologies.iter().position(|t| t.key == key && t.eligible == eligible);
        let topology = known.unwrap_or_else(|| {
            let mut topology = Topology { key: key.to_owned(), eligible, ..Topology::default() };
            // Nodes that are gone may still bear pods and come back.
            for at in 0..self.known_nodes.len().min(cluster.nodes.len()) {
                let node = NodeId::try_from(at).expect("nodes are limited");
                let seen = self.known_nodes[at].then(|| self.templates[self.class[at] as usize]);
                let template =
                    seen.map_or_else(|| cluster.nodes.template(node), |t| cluster.nodes.template_by_id(t));
                topology.learn(cluster, template, node);
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
            on_node: BTreeMap::new(),
        };
        // A new application's terms match its own pods only, of which none is placed yet: no look at all pods.
        if counted.iter().any(|s| self.placed[*s as usize] > 0) {
            for (_, node) in placed().filter(|(spec, _)| counted.contains(spec)) {
                if domains.eligible.is_some() {
                    *counter.on_node.entry(node).or_default() += 1;
                }
                if let Some(domain) = domains.domain(node) {
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
            self.ports.add(node, &rules.ports);
            self.pods += 1;
            self.pods_with_required_anti += anti;
        } else {
            self.ports.remove(node, &rules.ports);
            self.pods -= 1;
            self.pods_with_required_anti -= anti;
        }
        for counter in &rules.matched {
            let counter = &mut self.counters[*counter];
            let topology = &self.topologies[counter.topology];
            if topology.eligible.is_some() {
                let pods = counter.on_node.entry(node).or_default();
                *pods = if add { *pods + 1 } else { *pods - 1 };
                if *pods == 0 {
                    counter.on_node.remove(&node);
                }
            }
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

    /// Whether other pods decide about this spec: it has terms or ports, or existing pods may repel it.
    #[must_use]
    pub fn heeds_pods(&self, spec: SpecId) -> bool {
        self.has_terms(spec)
            || self.rules.get(spec as usize).is_some_and(|r| !r.matched.is_empty() || !r.ports.is_empty())
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

    /// How many victims on a node have to go so that it passes for a pod, in their order, at least `least`; none: it does
    /// not pass with all of them gone. Affinity and spread are judged as they are now: the shim runs PreFilter before it
    /// takes the victims off; what they leave free are their ports (`PreemptionPredicates`).
    #[must_use]
    pub fn victims_needed(
        &self,
        cluster: &Cluster,
        pod: PodId,
        node: NodeId,
        victims: &[PodId],
        least: usize,
    ) -> Option<usize> {
        if !self.enabled {
            return Some(least);
        }
        let (id, spec) = (cluster.pods.spec_id(pod), cluster.pods.spec(pod));
        if self.is_rejected(cluster, spec, node) || self.affinity_rejection(id, node).is_some() {
            return None;
        }
        (least..=victims.len()).find(|gone| {
            let gone = victims[..*gone].iter().flat_map(|victim| &cluster.pods.spec(*victim).host_ports);
            !self.ports.lacks_without(node, &spec.host_ports, gone)
        })
    }

    /// Why other pods refuse the node, in kube-scheduler's words.
    #[must_use]
    pub fn pods_rejection(&self, spec: SpecId, node: NodeId) -> Option<&'static str> {
        if self.ports.lacks(node, &self.rules.get(spec as usize)?.ports) {
            return Some(node_ports::REASON);
        }
        self.affinity_rejection(spec, node)
    }

    /// Why other pods' labels and terms refuse the node.
    fn affinity_rejection(&self, spec: SpecId, node: NodeId) -> Option<&'static str> {
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
        for Spread { counter, max_skew, min_domains, own } in &rules.spread {
            let counter = &self.counters[*counter];
            let Some(d) = self.topologies[counter.topology].labelled(node) else {
                return Some("node(s) didn't match pod topology spread constraints (missing required label)");
            };
            let mut least = counter.histogram.keys().next().copied().unwrap_or(0);
            if least > 0 && *min_domains > 1 && counter.histogram.values().sum::<u32>() < *min_domains {
                least = 0;
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{
        App, Expression, HOSTNAME_LABEL, LabelSelector, Operator, Resources, SpreadConstraint, Taint,
        TaintEffect, Term, Toleration, ZONE_LABEL,
    };
    use crate::engine::{Rng, Streams};

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// Templates: with and without a taint, with and without the label `disk`, two of them without the label `rack`.
    fn templates(cluster: &mut Cluster) -> Vec<u32> {
        let taint = Taint { key: "key".to_owned(), value: String::new(), effect: TaintEffect::NoSchedule };
        let mut made = Vec::new();
        for (tainted, disk, rack) in
            [(false, true, "a"), (true, true, "a"), (false, false, "b"), (false, true, ""), (true, true, "")]
        {
            let mut with = labels(&[]);
            if disk {
                with.insert("disk".to_owned(), "ssd".to_owned());
            }
            if !rack.is_empty() {
                with.insert("rack".to_owned(), rack.to_owned());
            }
            made.push(cluster.nodes.add_template(NodeTemplate {
                labels: with,
                taints: tainted.then(|| taint.clone()).into_iter().collect(),
                unschedulable: false,
                allocatable: Resources { pods: 110, ..Resources::default() },
                images: BTreeMap::new(),
            }));
        }
        made
    }

    fn any_spec(rng: &mut Rng) -> PodSpec {
        let mut spec = PodSpec::default();
        let app = ["x", "y"][rng.below(2) as usize];
        spec.labels = labels(&[("app", app)]);
        if rng.below(3) == 0 {
            let values = vec!["ssd".to_owned()];
            let expression = Expression { key: "disk".to_owned(), operator: Operator::In, values };
            spec.required_node_affinity = vec![Term { expressions: vec![expression], ..Term::default() }];
        }
        if rng.below(3) == 0 {
            spec.tolerations = vec![Toleration { exists: true, ..Toleration::default() }];
        }
        if rng.below(4) == 0 {
            let ip = ["", "10.0.0.1", "10.0.0.2"][rng.below(3) as usize].to_owned();
            let protocol = ["TCP", "UDP"][rng.below(2) as usize].to_owned();
            spec.host_ports = vec![HostPort { port: 80, protocol, ip }];
        }
        for key in [ZONE_LABEL, "rack", HOSTNAME_LABEL] {
            if rng.below(3) == 0 {
                spec.topology_spread.push(SpreadConstraint {
                    max_skew: 1 + rng.below(2) as u32,
                    topology_key: key.to_owned(),
                    hard: rng.below(5) > 0,
                    selector: LabelSelector::from(labels(&[("app", app)])),
                    min_domains: rng.below(5) as u32,
                    ignore_node_affinity: rng.below(2) == 0,
                    honor_node_taints: rng.below(2) == 0,
                });
            }
        }
        spec
    }

    /// NodePorts and PodTopologySpread from their definitions: all nodes and all pods, anew for each question.
    fn refuses(
        cluster: &Cluster,
        here: &[NodeId],
        placed: &[(SpecId, NodeId)],
        spec: &PodSpec,
        node: NodeId,
    ) -> bool {
        if kube::static_rejection(cluster, spec, node).is_some() {
            return true;
        }
        let others = placed.iter().filter(|(_, at)| *at == node);
        let mut taken = others.flat_map(|(other, _)| &cluster.pods.spec_by_id(*other).host_ports);
        if taken.any(|taken| spec.host_ports.iter().any(|port| port.conflicts(taken))) {
            return true;
        }
        let hard = || spec.topology_spread.iter().filter(|c| c.hard);
        hard().any(|constraint| {
            let key = &constraint.topology_key;
            let Some(value) = cluster.nodes.label(node, key) else { return true };
            let counts = |at: NodeId| {
                let only = PodSpec {
                    node_selector: spec.node_selector.clone(),
                    required_node_affinity: spec.required_node_affinity.clone(),
                    tolerations: vec![Toleration { exists: true, ..Toleration::default() }],
                    ..PodSpec::default()
                };
                let by_affinity =
                    constraint.ignore_node_affinity || kube::static_rejection(cluster, &only, at).is_none();
                let only = PodSpec { tolerations: spec.tolerations.clone(), ..PodSpec::default() };
                let by_taints =
                    !constraint.honor_node_taints || kube::static_rejection(cluster, &only, at).is_none();
                by_affinity && by_taints && hard().all(|c| cluster.nodes.label(at, &c.topology_key).is_some())
            };
            let mut domains: BTreeMap<&str, u32> = BTreeMap::new();
            for at in here.iter().copied().filter(|at| counts(*at)) {
                domains.entry(cluster.nodes.label(at, key).expect("it has all keys")).or_default();
            }
            for (other, at) in placed.iter().filter(|(_, at)| counts(*at)) {
                if constraint.selector.matches(&cluster.pods.spec_by_id(*other).labels)
                    && let Some(pods) = domains.get_mut(cluster.nodes.label(*at, key).expect("the same"))
                {
                    *pods += 1;
                }
            }
            let mut least = domains.values().copied().min().unwrap_or(0);
            if (domains.len() as u32) < constraint.min_domains {
                least = 0;
            }
            domains.get(value).copied().unwrap_or(0) + 1 > least + constraint.max_skew
        })
    }

    /// Pods come and go, nodes get taints and lose them: at each step every spec and node is asked about.
    #[test]
    fn ports_and_spread_are_those_of_their_definitions() {
        for seed in 0..60 {
            let mut rng = Streams::new(seed).stream("t");
            let mut cluster = Cluster::default();
            let templates = templates(&mut cluster);
            let zones =
                [cluster.nodes.add_zone("z0"), cluster.nodes.add_zone("z1"), cluster.nodes.add_zone("z2")];
            let nodes: Vec<NodeId> = (0..7)
                .map(|i| {
                    let zone = (rng.below(4) > 0).then(|| zones[rng.below(3) as usize]);
                    let template = templates[rng.below(5) as usize];
                    cluster.nodes.add(format!("n{i}"), template, zone)
                })
                .collect();
            cluster.pods.add_app(App::default());
            let specs: Vec<SpecId> = (0..6).map(|_| cluster.pods.add_spec(any_spec(&mut rng))).collect();
            let mut predicates = Predicates::new(true);
            let mut placed: Vec<(SpecId, NodeId)> = Vec::new();
            for node in &nodes {
                predicates.set_node(&cluster, *node);
            }
            for step in 0..60 {
                match rng.below(8) {
                    0 => {
                        // Taints come and go; labels stay as they are.
                        let node = nodes[rng.below(7) as usize];
                        let at = templates.iter().position(|t| *t == cluster.nodes.get(node).template);
                        let other = [1, 0, 2, 4, 3][at.expect("one of them")];
                        cluster.nodes.set_template(node, templates[other]);
                        predicates.set_node(&cluster, node);
                    }
                    1 | 2 if !placed.is_empty() => {
                        let (spec, node) = placed.swap_remove(rng.below(placed.len() as u64) as usize);
                        predicates.remove_pod(spec, node);
                    }
                    _ => {
                        let (spec, node) = (specs[rng.below(6) as usize], nodes[rng.below(7) as usize]);
                        predicates.learn_spec(&cluster, spec, || placed.iter().copied());
                        placed.push((spec, node));
                        predicates.add_pod(spec, node);
                    }
                }
                for spec in &specs {
                    predicates.learn_spec(&cluster, *spec, || placed.iter().copied());
                    for node in &nodes {
                        let described = cluster.pods.spec_by_id(*spec);
                        let expected = !refuses(&cluster, &nodes, &placed, described, *node);
                        let found = predicates.accept(&cluster, *spec, *node);
                        assert_eq!(found, expected, "seed {seed}, step {step}, {described:?} on {node}");
                    }
                }
            }
        }
    }

    /// `PreemptionPredicates` takes victims off one by one until the node passes: where a port is in the way, whoever has it
    /// goes, too.
    #[test]
    fn victims_leave_their_ports() {
        let mut cluster = Cluster::default();
        let template = cluster.nodes.add_template(NodeTemplate::default());
        let node = cluster.nodes.add("n".to_owned(), template, None);
        let app = cluster.pods.add_app(App::default());
        let port = |port| HostPort { port, protocol: "TCP".to_owned(), ip: String::new() };
        let mut pod = |ports: Vec<HostPort>| {
            let spec = cluster.pods.add_spec(PodSpec { host_ports: ports, ..PodSpec::default() });
            cluster.pods.add(spec, app)
        };
        let (none, web, asks) = (pod(vec![]), pod(vec![port(80)]), pod(vec![port(80), port(81)]));
        let mut predicates = Predicates::new(true);
        predicates.set_node(&cluster, node);
        for other in [none, web, asks] {
            predicates.learn_spec(&cluster, cluster.pods.spec_id(other), std::iter::empty);
        }
        for other in [none, web] {
            predicates.add_pod(cluster.pods.spec_id(other), node);
        }
        assert_eq!(predicates.pods_rejection(cluster.pods.spec_id(asks), node), Some(node_ports::REASON));
        let needed =
            |victims: &[PodId], least| predicates.victims_needed(&cluster, asks, node, victims, least);
        assert_eq!(needed(&[none, web], 1), Some(2));
        assert_eq!(needed(&[web, none], 1), Some(1));
        assert_eq!(needed(&[none], 1), None);
        assert_eq!(needed(&[], 0), None);
        assert_eq!(predicates.victims_needed(&cluster, none, node, &[], 0), Some(0));
    }
}
