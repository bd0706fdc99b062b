//! A scheduler's own view of the nodes: what is allocatable and what is in use, assumed pods included.
//!
//! Columns by node id, so that a filter over a few hundred nodes reads a few cache lines. The table knows
//! resources only; labels and taints are the cluster's, matched once per (spec, template).
//!
//! Invariant (asserted in release builds): no node holds more than its allocatable.
//!
//! Cost: O(1 + extended resources) a change.
use crate::cluster::{Cluster, NodeId, PodSpec, Resources};

/// Resources of every node as one scheduler believes them.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct NodeTable {
    present: Vec<bool>,
    /// Allocatable CPU, millicores.
    pub cpu_capacity: Vec<u64>,
    /// Allocatable memory, bytes.
    pub memory_capacity: Vec<u64>,
    /// Allocatable pods.
    pub pods_capacity: Vec<u32>,
    /// CPU in use, millicores.
    pub cpu_used: Vec<u64>,
    /// Memory in use, bytes.
    pub memory_used: Vec<u64>,
    /// Pods on the node.
    pub pods_used: Vec<u32>,
    extended_capacity: Vec<Vec<u64>>,
    extended_used: Vec<Vec<u64>>,
    count: usize,
}

impl NodeTable {
    fn grow(&mut self, node: NodeId) {
        let len = node as usize + 1;
        if self.present.len() < len {
            self.present.resize(len, false);
            self.cpu_capacity.resize(len, 0);
            self.memory_capacity.resize(len, 0);
            self.pods_capacity.resize(len, 0);
            self.cpu_used.resize(len, 0);
            self.memory_used.resize(len, 0);
            self.pods_used.resize(len, 0);
        }
    }

    /// Adds or updates a node from the cluster.
    pub fn set(&mut self, cluster: &Cluster, node: NodeId) {
        let at = node as usize;
        self.grow(node);
        let allocatable = &cluster.nodes.template(node).allocatable;
        self.cpu_capacity[at] = allocatable.cpu_millicores;
        self.memory_capacity[at] = allocatable.memory_bytes;
        self.pods_capacity[at] = allocatable.pods;
        while self.extended_capacity.len() < cluster.resources.len() {
            self.extended_capacity.push(Vec::new());
            self.extended_used.push(Vec::new());
        }
        for (id, column) in self.extended_capacity.iter_mut().enumerate() {
            if column.len() <= at {
                column.resize(at + 1, 0);
                self.extended_used[id].resize(at + 1, 0);
            }
            column[at] = allocatable.extended(u16::try_from(id).expect("interned as u16"));
        }
        if !self.present[at] {
            self.present[at] = true;
            self.count += 1;
        }
    }

    /// Removes a node.
    pub fn remove(&mut self, node: NodeId) {
        if self.is_present(node) {
            self.present[node as usize] = false;
            self.count -= 1;
        }
    }

    /// Whether the scheduler knows the node.
    #[must_use]
    pub fn is_present(&self, node: NodeId) -> bool {
        self.present.get(node as usize).copied().unwrap_or(false)
    }

    /// How many nodes the scheduler knows.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// One past the largest node id seen.
    #[must_use]
    pub fn len(&self) -> usize {
        self.present.len()
    }

    /// Whether no node was ever seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.present.is_empty()
    }

    /// Whether the pod's requests fit beside what is there.
    #[inline]
    #[must_use]
    pub fn fits(&self, node: NodeId, spec: &PodSpec) -> bool {
        let at = node as usize;
        let r = &spec.requests;
        self.pods_used[at] < self.pods_capacity[at]
            && self.cpu_used[at] + r.cpu_millicores <= self.cpu_capacity[at]
            && self.memory_used[at] + r.memory_bytes <= self.memory_capacity[at]
            && r.extended.iter().all(|(id, v)| {
                let id = *id as usize;
                self.extended_used[id]
                    .get(at)
                    .zip(self.extended_capacity[id].get(at))
                    .is_some_and(|(u, c)| u + v <= *c)
            })
    }

    /// Whether the pod's requests fit on the node when it is empty.
    #[must_use]
    pub fn could_hold(&self, node: NodeId, spec: &PodSpec) -> bool {
        let at = node as usize;
        let r = &spec.requests;
        self.pods_capacity[at] > 0
            && r.cpu_millicores <= self.cpu_capacity[at]
            && r.memory_bytes <= self.memory_capacity[at]
            && r.extended.iter().all(|(id, v)| *v <= self.extended(node, *id).1)
    }

    /// How many extended resources are known.
    #[must_use]
    pub fn extended_count(&self) -> u16 {
        u16::try_from(self.extended_capacity.len()).expect("interned as u16")
    }

    /// What is in use of an extended resource, and what there is.
    #[must_use]
    pub fn extended(&self, node: NodeId, id: u16) -> (u64, u64) {
        let of = |columns: &[Vec<u64>]| {
            columns.get(id as usize).and_then(|c| c.get(node as usize)).copied().unwrap_or(0)
        };
        (of(&self.extended_used), of(&self.extended_capacity))
    }

    /// The first resource that is short on the node, by name, as kube-scheduler words it.
    #[must_use]
    pub fn shortage(&self, cluster: &Cluster, node: NodeId, requests: &Resources) -> Option<String> {
        let at = node as usize;
        if self.pods_used[at] >= self.pods_capacity[at] {
            return Some("Too many pods".to_owned());
        }
        if self.cpu_used[at] + requests.cpu_millicores > self.cpu_capacity[at] {
            return Some("Insufficient cpu".to_owned());
        }
        if self.memory_used[at] + requests.memory_bytes > self.memory_capacity[at] {
            return Some("Insufficient memory".to_owned());
        }
        requests.extended.iter().find_map(|(id, v)| {
            let column = *id as usize;
            let used = self.extended_used[column].get(at).copied().unwrap_or(0);
            let capacity = self.extended_capacity[column].get(at).copied().unwrap_or(0);
            (used + v > capacity).then(|| format!("Insufficient {}", cluster.resources.name(*id)))
        })
    }

    /// Puts a pod on a node.
    ///
    /// # Panics
    /// If the node would hold more than its allocatable.
    #[inline]
    pub fn add_pod(&mut self, node: NodeId, spec: &PodSpec) {
        assert!(self.fits(node, spec), "node {node} would hold more than its allocatable");
        self.force_pod(node, spec);
    }

    /// Puts a pod on a node even if it does not fit (pods that were bound by someone else), or if nobody has heard of
    /// the node.
    #[inline]
    pub fn force_pod(&mut self, node: NodeId, spec: &PodSpec) {
        let at = node as usize;
        if at >= self.present.len() {
            self.grow(node);
        }
        self.pods_used[at] += 1;
        self.cpu_used[at] += spec.requests.cpu_millicores;
        self.memory_used[at] += spec.requests.memory_bytes;
        for (id, v) in &spec.requests.extended {
            let column = *id as usize;
            if self.extended_used.len() <= column || self.extended_used[column].len() <= at {
                self.grow_extended(column, at);
            }
            self.extended_used[column][at] += v;
        }
    }

    #[cold]
    fn grow_extended(&mut self, column: usize, at: usize) {
        let columns = self.extended_used.len().max(column + 1);
        self.extended_capacity.resize(columns, Vec::new());
        self.extended_used.resize(columns, Vec::new());
        for columns in [&mut self.extended_capacity, &mut self.extended_used] {
            let len = columns[column].len().max(at + 1);
            columns[column].resize(len, 0);
        }
    }

    /// Takes a pod off a node.
    #[inline]
    pub fn remove_pod(&mut self, node: NodeId, spec: &PodSpec) {
        let at = node as usize;
        self.pods_used[at] -= 1;
        self.cpu_used[at] -= spec.requests.cpu_millicores;
        self.memory_used[at] -= spec.requests.memory_bytes;
        for (id, v) in &spec.requests.extended {
            self.extended_used[*id as usize][at] -= v;
        }
    }
}
