//! Nodes: which can take a pod, how each scores, and which one is taken.
//!
//! Sources: `pkg/scheduler/util/{predicate_helper.go,scheduler_helper.go}`, `plugins/{predicates,nodeorder,binpack}` and
//! `actions/allocate/allocate.go` of Volcano 1.15.1, which calls the plugins of kube-scheduler 1.35 for filters and scores.
//!
//! Nodes are looked at from where the last search ended until one more than enough is feasible; within a statement a role's
//! pods do not look at a node again that was refused before. The feasible ones are scored: LeastAllocated, BalancedAllocation (CPU, memory,
//! nvidia.com/gpu), NodeAffinity, TaintToleration, ImageLocality with nodeorder's weights, and binpack. One of the best is
//! drawn with equal chances.
//!
//! Left out: InterPodAffinity, PodTopologySpread (its system defaults for pods of ReplicaSets and Services, too), volumes, dynamic resources: scenarios with
//! pods that ask for them are refused. The sixteen workers' race for the last places.
//!
//! Cost: O(nodes looked at) a pod. A spec that fits nowhere is not looked for again until a node has more room (the counted
//! work is the same). What labels, taints and names forbid is evaluated once for a spec and a class of nodes (one template and
//! zone), and kept: a byte for each pair. With `plain` nothing is kept.
use std::collections::BTreeMap;

use super::amount::Amount;
use super::config::{Binpack, NodeOrder, Predicates};
use crate::cluster::{Cluster, NodeId, NodeTemplate, PodId, PodSpec, SpecId};
use crate::engine::Rng;
use crate::scheduler::ScoringStrategy;
use crate::scheduler::kube::image_locality::KnownNodes;
use crate::scheduler::kube::node_resources::{
    FitScore, MAX_NODE_SCORE, NodeCache, Request, balanced_score, fit_score,
};
use crate::scheduler::kube::{Profile, ResourceWeight, node_affinity, normalised, taint_toleration};

/// Verdicts that are kept at most, one byte each; beyond, all are dropped and evaluated anew.
const MAX_VERDICTS: usize = 16 << 20;

/// What a search did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Filters run.
    pub filtered: u64,
    /// Nodes passed over because they were refused before.
    pub passed_over: u64,
    /// Nodes scored.
    pub scored: u64,
}

/// Nodes refused within a statement.
#[derive(Clone, Debug, Default)]
pub struct Refused {
    stamp: Vec<u32>,
    now: u32,
}

impl Refused {
    /// A new statement.
    pub fn clear(&mut self) {
        self.now += 1;
    }

    fn has(&self, node: NodeId) -> bool {
        self.stamp.get(node as usize) == Some(&self.now)
    }

    fn note(&mut self, node: NodeId) {
        if self.stamp.len() <= node as usize {
            self.stamp.resize(node as usize + 1, 0);
        }
        self.stamp[node as usize] = self.now;
    }
}

/// What filters and scores by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Filters; none: only resources are looked at.
    pub predicates: Option<Predicates>,
    /// Scores of nodeorder.
    pub node_order: Option<NodeOrder>,
    /// Scores of binpack.
    pub binpack: Option<Binpack>,
    /// Feasible nodes that are enough.
    pub enough: usize,
    /// Nothing is remembered.
    pub plain: bool,
}

/// The nodes as the scheduler's cache has them, pods that are being bound included.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Nodes {
    cache: NodeCache,
    known: KnownNodes,
    list: Vec<NodeId>,
    total: Amount,
    used: Amount,
    next_start: usize,
    /// By node: its class.
    class: Vec<u32>,
    /// Classes by template and zone, numbered as they come.
    classes: BTreeMap<(u32, Option<u32>), u32>,
    /// Grows when a node may have more room than before.
    freed: u64,
    /// When a spec was found to fit nowhere.
    #[serde(skip)]
    nowhere: BTreeMap<SpecId, u64>,
    /// By spec, then class: whether labels, taints and names forbid the nodes; those asked about.
    #[serde(skip)]
    verdicts: BTreeMap<SpecId, Vec<Option<bool>>>,
    #[serde(skip)]
    feasible: Vec<NodeId>,
}

impl Nodes {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// What all have.
    #[must_use]
    pub const fn total(&self) -> &Amount {
        &self.total
    }

    /// What is in use on them.
    #[must_use]
    pub const fn used(&self) -> &Amount {
        &self.used
    }

    fn capacity(cluster: &Cluster, template: u32) -> Amount {
        Amount::of_node(&cluster.nodes.template_by_id(template).allocatable)
    }

    /// A node's template as the cache has it: a change may be on its way.
    fn template<'a>(&self, cluster: &'a Cluster, node: NodeId) -> &'a NodeTemplate {
        let known = self.known.template(node);
        known.map_or_else(|| cluster.nodes.template(node), |known| cluster.nodes.template_by_id(known))
    }

    /// A node is there, or has changed.
    pub fn set(&mut self, cluster: &Cluster, node: NodeId) {
        let it = cluster.nodes.get(node);
        self.cache.set(cluster, node);
        match self.known.set(cluster, node, true) {
            Some(before) => self.total.sub(&Self::capacity(cluster, before)),
            None => self.list.push(node),
        }
        self.total.add(&Self::capacity(cluster, it.template));
        if self.class.len() <= node as usize {
            self.class.resize(node as usize + 1, 0);
        }
        let next = self.classes.len() as u32;
        self.class[node as usize] = *self.classes.entry((it.template, it.zone)).or_insert(next);
        self.freed += 1;
    }

    /// A node is gone.
    pub fn remove(&mut self, cluster: &Cluster, node: NodeId) {
        self.cache.remove(node);
        if let Some(before) = self.known.set(cluster, node, false) {
            self.total.sub(&Self::capacity(cluster, before));
            self.list.retain(|n| *n != node);
        }
        self.freed += 1;
    }

    /// Puts a pod on a node.
    pub fn add_pod(&mut self, cluster: &Cluster, node: NodeId, spec: &PodSpec) {
        self.cache.add_pod(cluster, node, spec);
        self.used.add(&Amount::of(&spec.requests));
    }

    /// Takes a pod off a node for good.
    pub fn remove_pod(&mut self, node: NodeId, spec: &PodSpec) {
        self.give_back(node, spec);
        self.freed += 1;
    }

    /// Takes a pod off a node that a statement had put there.
    pub fn give_back(&mut self, node: NodeId, spec: &PodSpec) {
        self.cache.remove_pod(node, spec);
        self.used.sub(&Amount::of(&spec.requests));
    }

    fn forbids(&self, cluster: &Cluster, rules: &Rules, spec: &PodSpec, node: NodeId) -> bool {
        let Some(predicates) = rules.predicates else { return false };
        let template = self.template(cluster, node);
        taint_toleration::unschedulable_rejects(spec, template)
            || spec.node_name.as_ref().is_some_and(|name| *name != cluster.nodes.get(node).name)
            || predicates.taint_toleration && taint_toleration::rejects(spec, template)
            || predicates.node_affinity && !node_affinity::matches(cluster, spec, node)
    }

    /// Whether something other than resources keeps a pod off all nodes, or which resource is short everywhere else.
    #[must_use]
    pub fn why_nowhere(&self, cluster: &Cluster, rules: &Rules, pod: PodId) -> String {
        let spec = cluster.pods.spec(pod);
        if let Some(reason) =
            self.list.iter().filter(|n| !self.forbids(cluster, rules, spec, **n)).find_map(|n| {
                let [pods, cpu, memory] = self.cache.shortages(*n, &spec.requests);
                if pods {
                    return Some("Too many pods".to_owned());
                }
                if cpu {
                    return Some("Insufficient cpu".to_owned());
                }
                if memory {
                    return Some("Insufficient memory".to_owned());
                }
                spec.requests
                    .extended
                    .iter()
                    .find(|(id, v)| self.cache.is_short_of(*n, *id, *v))
                    .map(|(id, _)| format!("Insufficient {}", cluster.resources.name(*id)))
            })
        {
            return reason;
        }
        let forbidden =
            self.list.iter().find_map(|n| crate::scheduler::kube::static_rejection(cluster, spec, *n));
        // Each alone would fit: it is all of them at once that don't.
        forbidden.unwrap_or("its pods do not fit at once").to_owned()
    }

    /// Looks for a pod's node; `refused` if its role remembers, `is_first` if the nodes are as before the statement.
    pub fn find(
        &mut self,
        cluster: &Cluster,
        rules: &Rules,
        pod: PodId,
        (mut refused, is_first): (Option<&mut Refused>, bool),
        rng: &mut Rng,
    ) -> (Option<NodeId>, Looked) {
        let all = self.list.len();
        let mut looked = Looked::default();
        if all == 0 {
            return (None, looked);
        }
        let id = cluster.pods.spec_id(pod);
        if !rules.plain && is_first && self.nowhere.get(&id) == Some(&self.freed) {
            looked.filtered = all as u64;
            return (None, looked);
        }
        let spec = cluster.pods.spec_by_id(id);
        let keeps = !(rules.plain || spec.names_nodes());
        let mut verdicts = self.verdicts.remove(&id).unwrap_or_default();
        if keeps {
            if (self.verdicts.len() + 1) * self.classes.len() > MAX_VERDICTS {
                self.verdicts.clear();
            }
            verdicts.resize(self.classes.len(), None);
        }
        let ports = rules.predicates.is_some_and(|p| p.node_ports) && !spec.host_ports.is_empty();
        let mut feasible = std::mem::take(&mut self.feasible);
        feasible.clear();
        let mut processed = 0;
        for at in 0..all {
            let node = self.list[(self.next_start + at) % all];
            processed += 1;
            if refused.as_ref().is_some_and(|r| r.has(node)) {
                looked.passed_over += 1;
                continue;
            }
            looked.filtered += 1;
            let is_feasible = self.cache.fits(node, &spec.requests)
                && !if keeps {
                    *verdicts[self.class[node as usize] as usize]
                        .get_or_insert_with(|| self.forbids(cluster, rules, spec, node))
                } else {
                    self.forbids(cluster, rules, spec, node)
                }
                && !(ports && self.cache.lacks_ports(node, &spec.host_ports));
            if !is_feasible {
                if let Some(refused) = &mut refused {
                    refused.note(node);
                }
                continue;
            }
            if feasible.len() == rules.enough {
                break;
            }
            feasible.push(node);
        }
        if keeps {
            self.verdicts.insert(id, verdicts);
        }
        self.next_start = (self.next_start + processed) % all;
        let chosen = match feasible.as_slice() {
            [] => {
                if is_first && !rules.plain {
                    self.nowhere.insert(id, self.freed);
                }
                None
            }
            [only] => Some(*only),
            many => {
                looked.scored = many.len() as u64;
                Some(self.best(cluster, rules, spec, many, rng))
            }
        };
        self.feasible = feasible;
        (chosen, looked)
    }

    fn best(
        &self,
        cluster: &Cluster,
        rules: &Rules,
        spec: &PodSpec,
        nodes: &[NodeId],
        rng: &mut Rng,
    ) -> NodeId {
        let scores = self.scores(cluster, rules, spec, nodes);
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let ties = scores.iter().filter(|s| **s >= most).count() as u64;
        let mut nth = if ties == 1 { 0 } else { rng.below(ties) };
        for (score, node) in scores.iter().zip(nodes) {
            if *score >= most {
                if nth == 0 {
                    return *node;
                }
                nth -= 1;
            }
        }
        unreachable!("one of them is the best")
    }

    /// Scores of feasible nodes.
    #[must_use]
    pub fn scores(&self, cluster: &Cluster, rules: &Rules, spec: &PodSpec, nodes: &[NodeId]) -> Vec<f64> {
        let mut totals = vec![0.0; nodes.len()];
        if let Some(binpack) = rules.binpack.as_ref().filter(|b| b.weight != 0) {
            for (total, node) in totals.iter_mut().zip(nodes) {
                *total = self.binpack_score(binpack, spec, *node);
            }
        }
        if let Some(weights) = rules.node_order {
            let profile = profile(cluster);
            let request = Request::new(cluster, &spec.requests, &profile);
            let how = |strategy| FitScore { strategy, shape: Vec::new() };
            let (least, most) = (how(ScoringStrategy::LeastAllocated), how(ScoringStrategy::MostAllocated));
            let tainted = self.normalised(nodes, true, |n| {
                taint_toleration::raw_score(&spec.tolerations, self.template(cluster, n))
            });
            let preferred = (!spec.preferred_node_affinity.is_empty()).then(|| {
                self.normalised(nodes, false, |n| node_affinity::raw_score(cluster, spec, &profile, n))
            });
            let images = self.known.have_any(&spec.images);
            for (at, (total, node)) in totals.iter_mut().zip(nodes).enumerate() {
                let mut sum = weights.taint_toleration * tainted[at];
                if let Some(preferred) = &preferred {
                    sum += weights.node_affinity * preferred[at];
                }
                if weights.least_requested != 0 {
                    sum += weights.least_requested * fit_score(&least, &self.cache, *node, &request) as i64;
                }
                if weights.most_requested != 0 {
                    sum += weights.most_requested * fit_score(&most, &self.cache, *node, &request) as i64;
                }
                if weights.balanced != 0 && !request.is_best_effort() {
                    sum += weights.balanced * balanced_score(&self.cache, *node, &request) as i64;
                }
                if images {
                    let template = self.template(cluster, *node);
                    sum += weights.image_locality * self.known.score(spec, template, self.list.len());
                }
                *total += sum as f64;
            }
        }
        totals
    }

    fn normalised(&self, nodes: &[NodeId], reverse: bool, raw: impl Fn(NodeId) -> i64) -> Vec<i64> {
        let raw: Vec<i64> = nodes.iter().map(|n| raw(*n)).collect();
        let most = raw.iter().copied().max().unwrap_or(0);
        raw.into_iter().map(|score| normalised(score, most, reverse)).collect()
    }

    /// `BinPackingScore`.
    #[must_use]
    pub fn binpack_score(&self, weights: &Binpack, spec: &PodSpec, node: NodeId) -> f64 {
        let row = self.cache.row(node);
        let (mut score, mut sum) = (0.0, 0);
        let mut add = |request: u64, capacity: u64, used: u64, weight: i64| -> bool {
            if request > 0 {
                if capacity > 0 && weight > 0 {
                    if request + used > capacity {
                        return false;
                    }
                    score += (request + used) as f64 * weight as f64 / capacity as f64;
                }
                sum += weight;
            }
            true
        };
        let requests = &spec.requests;
        let mut fits = add(requests.cpu_millicores, row.cpu, row.cpu_used, weights.cpu)
            && add(requests.memory_bytes, row.memory, row.memory_used, weights.memory);
        for (id, amount) in &requests.extended {
            if let Some((_, weight)) = weights.others.iter().find(|(other, _)| other == id) {
                let (used, capacity) = self.cache.extended_with(node, *id, 0);
                fits = fits && add(*amount, capacity, used, *weight);
            }
        }
        if !fits {
            return 0.0;
        }
        if sum > 0 {
            score /= sum as f64;
        }
        score * (MAX_NODE_SCORE * weights.weight) as f64
    }
}

/// The plugins' arguments as nodeorder sets them.
fn profile(cluster: &Cluster) -> Profile {
    let mut profile = Profile::default();
    if !cluster.resources.is_empty() {
        let gpu = ResourceWeight { name: "nvidia.com/gpu".to_owned(), weight: 1 };
        profile.balanced_resources.push(gpu);
    }
    profile
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{App, NodeTemplate, Resources};
    use crate::engine::Streams;

    /// Nodes of two templates, and a pod of its own spec for each index.
    fn world(nodes: usize, specs: usize) -> (Cluster, Nodes) {
        let mut cluster = Cluster::default();
        let templates = ["a", "b"].map(|kind| {
            let labels = BTreeMap::from([("kind".to_owned(), kind.to_owned())]);
            let allocatable = Resources { cpu_millicores: 64_000, pods: 110, ..Resources::default() };
            cluster.nodes.add_template(NodeTemplate { allocatable, labels, ..NodeTemplate::default() })
        });
        let mut known = Nodes::default();
        for index in 0..nodes {
            let node = cluster.nodes.add(format!("n{index}"), templates[index % 2], None);
            known.set(&cluster, node);
        }
        let app = cluster.pods.add_app(App::default());
        for index in 0..specs {
            let node_selector = BTreeMap::from([("kind".to_owned(), ["a", "b"][index % 2].to_owned())]);
            let requests = Resources { cpu_millicores: 1 + index as u64, ..Resources::default() };
            let spec = PodSpec { node_selector, requests, ..PodSpec::default() };
            let spec = cluster.pods.add_spec(spec);
            cluster.pods.add(spec, app);
        }
        (cluster, known)
    }

    fn search(cluster: &Cluster, nodes: &mut Nodes, plain: bool) -> Vec<(Option<NodeId>, Looked)> {
        let rules =
            Rules { predicates: Some(Predicates::default()), enough: 1000, plain, ..Rules::default() };
        let mut rng = Streams::new(1).stream("scheduler");
        let pods = 0..cluster.pods.len() as PodId;
        pods.map(|pod| nodes.find(cluster, &rules, pod, (None, true), &mut rng)).collect()
    }

    #[test]
    fn what_is_kept_of_a_spec_does_not_grow_with_the_nodes() {
        let (cluster, mut nodes) = world(300, 50);
        let found = search(&cluster, &mut nodes, false);
        assert_eq!(nodes.verdicts.values().map(Vec::len).sum::<usize>(), 50 * 2);
        let mut plain = world(300, 50).1;
        assert_eq!(search(&cluster, &mut plain, true), found);
        assert!(plain.verdicts.is_empty() && plain.nowhere.is_empty(), "a plain search keeps nothing");
    }

    /// A change of a node is known once the informer has shown it, and says nothing of others before.
    #[test]
    fn a_cordon_counts_once_it_is_seen_and_for_its_node_only() {
        let (mut cluster, mut nodes) = world(2, 1);
        let mut cordoned = cluster.nodes.template(0).clone();
        cordoned.unschedulable = true;
        let cordoned = cluster.nodes.add_template(cordoned);
        cluster.nodes.set_template(0, cordoned);
        let find = |nodes: &mut Nodes, cluster: &Cluster| search(cluster, nodes, false)[0].0;
        assert_eq!(find(&mut nodes, &cluster), Some(0));
        nodes.set(&cluster, 0);
        assert_eq!(find(&mut nodes, &cluster), None);
        assert_eq!(nodes.total().cpu, 128_000);
        nodes.remove(&cluster, 0);
        assert_eq!((nodes.total().cpu, nodes.count()), (64_000, 1));
    }
}
