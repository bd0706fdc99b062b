//! What is told of asks that are pending.
//!
//! Cost: O(kinds), and O(nodes) for each spec that fits nowhere.
use super::cycle::Core;
use crate::cluster::{Cluster, NO_NODE, NodeId, PodId, SpecId};
use crate::scheduler::PendingReasons;

impl Core {
    /// Pending asks that fit nowhere and were not reported yet; marks them as reported.
    pub fn unreported(&mut self) -> Vec<PodId> {
        let mut pods = Vec::new();
        for spec in &self.stuck {
            for (queue, kind) in &self.specs[*spec as usize].kinds {
                for key in self.queues.get(*queue).kinds[*kind as usize].apps.keys() {
                    let group = self.group_of[&(key.app, *spec)] as usize;
                    let app = self.apps[key.app as usize].as_mut().expect("it has asks");
                    let group = &mut app.groups[group];
                    let known = group.asks.partition_point(|(seq, _)| *seq < group.reported_below);
                    pods.extend(group.asks.iter().skip(known).map(|(_, pod)| *pod));
                    if let Some((last, _)) = group.asks.back() {
                        group.reported_below = group.reported_below.max(last.next());
                    }
                }
            }
        }
        pods
    }

    /// Whether some ask fits nowhere.
    #[must_use]
    pub const fn has_stuck(&self) -> bool {
        !self.stuck.is_empty()
    }

    /// Why asks are pending.
    pub fn reasons(&self, cluster: &Cluster, reasons: &mut PendingReasons) {
        for (at, queue) in self.queues.leaves() {
            for kind in queue.kinds.iter().filter(|k| k.apps.total() > 0) {
                let spec = cluster.pods.spec_by_id(kind.spec);
                let reason = if kind.no_slot {
                    format!("queue {} runs as many applications as it may", queue.name)
                } else if !self.limits.has_room(&self.queues, at, kind.class / 2, spec) {
                    format!("its user or group may use no more in queue {}", queue.name)
                } else if let Some(full) = self.queues.exceeded(at, spec) {
                    format!("queue {} has no headroom", self.queues.get(full).name)
                } else if let Some(node) = self.specs[kind.spec as usize].required {
                    let there = node != NO_NODE && self.nodes.table.is_present(node);
                    let reason =
                        if there { "its only node has no room" } else { "its only node is not there" };
                    reason.to_owned()
                } else if kind.stuck {
                    self.node_reason(cluster, kind.spec)
                } else {
                    "waits for its turn".to_owned()
                };
                *reasons.entry(reason).or_default() += kind.apps.total();
            }
            let held: u64 = queue.held.values().sum();
            if held > 0 {
                *reasons.entry("waits for a placeholder's place".to_owned()).or_default() += held;
            }
        }
    }

    /// The most frequent reason of the nodes.
    fn node_reason(&self, cluster: &Cluster, id: SpecId) -> String {
        let spec = cluster.pods.spec_by_id(id);
        let mut counts: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
        for node in 0..NodeId::try_from(self.nodes.table.len()).expect("nodes are limited") {
            if !self.nodes.table.is_present(node) {
                continue;
            }
            let fixed = if self.predicates.enabled() {
                crate::scheduler::kube::static_rejection(cluster, spec, node)
            } else {
                None
            };
            let reason = fixed
                .map(str::to_owned)
                .or_else(|| {
                    cluster
                        .nodes
                        .template(node)
                        .unschedulable
                        .then(|| "node(s) were unschedulable".to_owned())
                })
                .or_else(|| self.nodes.table.shortage(cluster, node, &spec.requests))
                .or_else(|| self.predicates.pods_rejection(id, node).map(str::to_owned));
            if let Some(reason) = reason {
                *counts.entry(reason).or_default() += 1;
            }
        }
        let most = counts.iter().max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)));
        most.map_or_else(|| "no node".to_owned(), |(reason, _)| reason.clone())
    }
}
