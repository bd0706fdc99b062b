//! NodePorts: a port of a node is one pod's.
//!
//! Source: `pkg/scheduler/framework/plugins/nodeports/node_ports.go`, `HostPortInfo.CheckConflict` in `pkg/scheduler/framework/types.go`. Two pods
//! conflict on a node if they ask for the same port and protocol, and for the same address or one of them for all addresses.
//!
//! kube-scheduler's cache and YuniKorn's shim, which runs this plugin, keep the same books.
//!
//! Cost: O(1) for pods without ports; O(log nodes + ports taken on the node) for others.
use std::collections::BTreeMap;

use crate::cluster::{HostPort, NodeId};

/// What is said of a node on which a port is taken.
pub const REASON: &str = "node(s) didn't have free ports for the requested pod ports";

/// Ports taken, by node, as often as they are; only nodes with such pods.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct NodePorts(BTreeMap<NodeId, Vec<HostPort>>);

fn conflict(ports: &[HostPort], taken: &[HostPort]) -> bool {
    ports.iter().any(|port| taken.iter().any(|t| port.conflicts(t)))
}

impl NodePorts {
    /// A pod with these ports comes to a node.
    #[inline]
    pub fn add(&mut self, node: NodeId, ports: &[HostPort]) {
        if !ports.is_empty() {
            self.0.entry(node).or_default().extend_from_slice(ports);
        }
    }

    /// It leaves.
    ///
    /// # Panics
    /// If it was not there.
    #[inline]
    pub fn remove(&mut self, node: NodeId, ports: &[HostPort]) {
        for port in ports {
            let taken = self.0.get_mut(&node).expect("its ports were taken");
            let at = taken.iter().position(|p| p == port).expect("it was taken");
            taken.swap_remove(at);
        }
    }

    /// Whether a port that is asked for is taken.
    #[inline]
    #[must_use]
    pub fn lacks(&self, node: NodeId, ports: &[HostPort]) -> bool {
        !ports.is_empty() && self.0.get(&node).is_some_and(|taken| conflict(ports, taken))
    }

    /// The same with pods gone that have those ports.
    #[must_use]
    pub fn lacks_without<'a>(
        &self,
        node: NodeId,
        ports: &[HostPort],
        gone: impl Iterator<Item = &'a HostPort>,
    ) -> bool {
        let Some(taken) = self.0.get(&node).filter(|_| !ports.is_empty()) else { return false };
        let mut left = taken.clone();
        for port in gone {
            if let Some(at) = left.iter().position(|p| p == port) {
                left.swap_remove(at);
            }
        }
        conflict(ports, &left)
    }
}
