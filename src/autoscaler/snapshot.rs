//! The cluster as an autoscaler imagines it: would this pod fit there, and if there were one more node?
//!
//! cluster-autoscaler calls kube-scheduler's filters on a copy of the cluster that it may change (`simulator/clustersnapshot`); Karpenter has a simulation of
//! its own with the same rules. Here the filters are those that the schedulers share: resources by [`NodeTable`], everything else by the
//! [predicates](crate::scheduler::yunikorn::predicates) (taints, selectors, host ports, affinities, hard topology spread, topology of volumes) of the default
//! profile. The copy has the nodes and pods that the API server stores; nodes that are only imagined come after them and can be forgotten again.
//!
//! Nodes are tried in order of their ids, the first that fits is taken; the real ones go over lists that Go's maps have shuffled.
//!
//! Left out: preferences (they decide nothing about whether a pod fits), other profiles' arguments.
//!
//! Cost: O(nodes + pods) to copy; O(nodes) a search, from where the last search for pods alike ended where other pods don't matter.
use std::collections::BTreeMap;

use crate::cluster::{Cluster, NodeId, PodId, PodSpec, SpecId};
use crate::control_plane::store::Store;
use crate::scheduler::NodeTable;
use crate::scheduler::kube::static_rejection;
use crate::scheduler::yunikorn::predicates::Predicates;

/// A copy of the cluster.
#[derive(Debug)]
pub struct Snapshot {
    cluster: Cluster,
    table: NodeTable,
    predicates: Predicates,
    /// By node.
    pods: Vec<Vec<(PodId, SpecId)>>,
    imagined: u32,
}

/// Searches among which pods only come: what was full stays full.
#[derive(Debug, Default)]
pub struct Pass {
    from: BTreeMap<SpecId, NodeId>,
}

impl Snapshot {
    /// Nodes that are in the cluster and that `counts_node`, with the pods on them that `counts_pod`.
    pub fn of(
        cluster: &Cluster,
        store: &Store,
        counts_node: impl Fn(NodeId) -> bool,
        counts_pod: impl Fn(PodId) -> bool,
    ) -> Self {
        let copy = Cluster {
            resources: cluster.resources.clone(),
            nodes: cluster.nodes.clone(),
            pods: cluster.pods.described(),
            namespaces: cluster.namespaces.clone(),
            ..Cluster::default()
        };
        let nodes = copy.nodes.len();
        let mut it = Self {
            cluster: copy,
            table: NodeTable::default(),
            predicates: Predicates::new(true),
            pods: vec![Vec::new(); nodes],
            imagined: 0,
        };
        for node in 0..nodes as NodeId {
            if !it.cluster.nodes.get(node).present || !counts_node(node) {
                continue;
            }
            it.table.set(&it.cluster, node);
            it.predicates.set_node(&it.cluster, node);
            let mut pods: Vec<PodId> =
                store.pods_on(node).iter().copied().filter(|pod| counts_pod(*pod)).collect();
            pods.sort_unstable();
            for pod in pods {
                it.put(pod, cluster.pods.spec_id(pod), node);
            }
        }
        it
    }

    fn learn(&mut self, spec: SpecId) {
        let pods = &self.pods;
        let placed = || {
            let nodes = pods.iter().enumerate();
            nodes.flat_map(|(node, pods)| pods.iter().map(move |(_, spec)| (*spec, node as NodeId)))
        };
        self.predicates.learn_spec(&self.cluster, spec, placed);
    }

    /// One more node.
    pub fn imagine(&mut self, template: u32, zone: Option<u32>) -> NodeId {
        self.imagined += 1;
        let node = self.cluster.nodes.add(format!("imagined-{}", self.imagined), template, zone);
        self.pods.push(Vec::new());
        self.table.set(&self.cluster, node);
        self.predicates.set_node(&self.cluster, node);
        node
    }

    /// A node that takes no pods and counts for nothing: to ask [`allows`](Self::allows) about.
    pub fn probe(&mut self, template: u32, zone: Option<u32>) -> NodeId {
        self.imagined += 1;
        self.pods.push(Vec::new());
        self.cluster.nodes.add(format!("imagined-{}", self.imagined), template, zone)
    }

    /// Whether a node's labels and taints allow pods of a spec.
    #[must_use]
    pub fn allows(&self, spec: SpecId, node: NodeId) -> bool {
        static_rejection(&self.cluster, self.cluster.pods.spec_by_id(spec), node).is_none()
    }

    /// Whether the pods that are there allow one of a spec on a node: affinities, spread, ports.
    pub fn others_allow(&mut self, spec: SpecId, node: NodeId) -> bool {
        self.learn(spec);
        self.predicates.pods_rejection(spec, node).is_none()
    }

    /// Puts a pod on the first of some nodes, in their order, on which it fits; says on which.
    pub fn place_among(
        &mut self,
        pass: &mut Pass,
        pod: PodId,
        spec: SpecId,
        nodes: &[NodeId],
        usable: impl Fn(NodeId) -> bool,
    ) -> Option<NodeId> {
        self.learn(spec);
        let alone = !self.predicates.heeds_pods(spec);
        let from = if alone { pass.from.get(&spec).copied().unwrap_or(0) as usize } else { 0 };
        let at = (from..nodes.len()).find(|at| usable(nodes[*at]) && self.fits(spec, nodes[*at]));
        if alone {
            pass.from.insert(spec, at.unwrap_or(nodes.len()) as NodeId);
        }
        let node = nodes[at?];
        self.put(pod, spec, node);
        Some(node)
    }

    /// What a template's nodes hold: millicores, bytes.
    #[must_use]
    pub fn allocatable(&self, template: u32) -> (u64, u64) {
        let has = &self.cluster.nodes.template_by_id(template).allocatable;
        (has.cpu_millicores, has.memory_bytes)
    }

    /// A spec.
    #[must_use]
    pub fn spec(&self, spec: SpecId) -> &PodSpec {
        self.cluster.pods.spec_by_id(spec)
    }

    /// Forgets the nodes from this one on, and the pods on them.
    pub fn forget_from(&mut self, first: NodeId) {
        for node in first..self.len() {
            for (pod, _) in self.pods[node as usize].clone() {
                self.take(pod, node);
            }
            self.remove_node(node);
        }
        self.pods.truncate(first as usize);
        self.cluster.nodes.truncate(first as usize);
    }

    /// One past the last node.
    #[must_use]
    pub fn len(&self) -> NodeId {
        self.pods.len() as NodeId
    }

    /// Whether no node was ever there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// A node is gone, its pods before it.
    pub fn remove_node(&mut self, node: NodeId) {
        self.table.remove(node);
        self.predicates.remove_node(node);
    }

    /// Whether a node is there.
    #[must_use]
    pub fn has(&self, node: NodeId) -> bool {
        self.table.is_present(node)
    }

    /// Nodes that are there.
    #[must_use]
    pub const fn nodes(&self) -> usize {
        self.table.count()
    }

    /// Pods on a node.
    #[must_use]
    pub fn pods_on(&self, node: NodeId) -> &[(PodId, SpecId)] {
        &self.pods[node as usize]
    }

    /// Whether a pod of a spec fits on a node beside those that are there.
    pub fn fits(&mut self, spec: SpecId, node: NodeId) -> bool {
        if !self.table.is_present(node) {
            return false;
        }
        self.learn(spec);
        let pod = self.cluster.pods.spec_by_id(spec);
        if !self.table.fits(node, pod) {
            return false;
        }
        self.predicates.accept(&self.cluster, spec, node)
    }

    /// Puts a pod on a node.
    pub fn put(&mut self, pod: PodId, spec: SpecId, node: NodeId) {
        self.learn(spec);
        self.table.force_pod(node, self.cluster.pods.spec_by_id(spec));
        self.predicates.add_pod(spec, node);
        self.pods[node as usize].push((pod, spec));
    }

    /// Takes a pod off a node.
    pub fn take(&mut self, pod: PodId, node: NodeId) {
        let pods = &mut self.pods[node as usize];
        let Some(at) = pods.iter().rposition(|(other, _)| *other == pod) else { return };
        let (_, spec) = pods.remove(at);
        self.table.remove_pod(node, self.cluster.pods.spec_by_id(spec));
        self.predicates.remove_pod(spec, node);
    }

    /// Puts a pod on the first node among those wanted on which it fits; says on which.
    pub fn place(
        &mut self,
        pass: &mut Pass,
        pod: PodId,
        spec: SpecId,
        wanted: impl Fn(NodeId) -> bool,
    ) -> Option<NodeId> {
        self.learn(spec);
        let alone = !self.predicates.heeds_pods(spec);
        let from = if alone { pass.from.get(&spec).copied().unwrap_or(0) } else { 0 };
        let found = (from..self.len()).find(|node| wanted(*node) && self.fits(spec, *node));
        if alone {
            pass.from.insert(spec, found.unwrap_or(self.len()));
        }
        if let Some(node) = found {
            self.put(pod, spec, node);
        }
        found
    }

    /// Requests of a spec: millicores and bytes.
    #[must_use]
    pub fn requests(&self, spec: SpecId) -> (u64, u64) {
        let requests = &self.cluster.pods.spec_by_id(spec).requests;
        (requests.cpu_millicores, requests.memory_bytes)
    }

    /// What is in use on a node of its CPU and memory, and what there is: (millicores, of), (bytes, of).
    #[must_use]
    pub fn use_of(&self, node: NodeId) -> [(u64, u64); 2] {
        let at = node as usize;
        let table = &self.table;
        [(table.cpu_used[at], table.cpu_capacity[at]), (table.memory_used[at], table.memory_capacity[at])]
    }

    /// The copy of the cluster: nodes and specs, no pods.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}
