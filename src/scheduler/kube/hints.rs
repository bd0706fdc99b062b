//! Which plugins rejected a pod, and which events could change their mind (queueing hints).
//!
//! Sources: `EventsToRegister` and the hint functions of each plugin in `pkg/scheduler/framework/plugins`. A pod is
//! tried again if any of the plugins that rejected it says that the event could help.
//!
//! - NodePorts: a pod that held one of the ports is gone; a node came or changed.
//! - NodeResourcesFit: a pod on a node is gone; a node came or changed that could hold the pod if it were empty.
//! - TaintToleration, NodeAffinity, NodeUnschedulable, NodeName: a node came or changed that they accept.
//! - InterPodAffinity: a pod that matches its required affinity was bound; one that matches its anti-affinity, or
//!   whose anti-affinity matches it, is gone; a node came or changed that has the topology keys.
//! - PodTopologySpread: a pod that its constraints count was bound or is gone; a node came, changed or is gone.
//!
//! Cost: O(labels) an event and a group of equal pods.
use crate::cluster::{Cluster, HostPort, NodeId, SpecId, selector_matches};

use super::{node_affinity, taint_toleration};

/// A set of plugins.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct PluginSet(u8);

impl PluginSet {
    /// None.
    pub const NONE: Self = Self(0);
    /// NodeUnschedulable.
    pub const UNSCHEDULABLE: Self = Self(1);
    /// NodeName.
    pub const NAME: Self = Self(1 << 1);
    /// TaintToleration.
    pub const TAINTS: Self = Self(1 << 2);
    /// NodeAffinity.
    pub const AFFINITY: Self = Self(1 << 3);
    /// NodeResourcesFit.
    pub const FIT: Self = Self(1 << 4);
    /// PodTopologySpread.
    pub const SPREAD: Self = Self(1 << 5);
    /// InterPodAffinity.
    pub const POD_AFFINITY: Self = Self(1 << 6);
    /// NodePorts.
    pub const PORTS: Self = Self(1 << 7);

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether no event that could help is missed by the hints. Those of the two plugins that look at other pods are
    /// approximate.
    #[must_use]
    pub const fn has_exact_hints(self) -> bool {
        self.0 & (Self::SPREAD.0 | Self::POD_AFFINITY.0) == 0
    }

    /// Whether all of `other` are in the set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What the scheduler's informers showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ClusterEvent {
    /// A node came or changed.
    Node(NodeId),
    /// A node is gone.
    NodeGone,
    /// A pod of this spec was bound.
    PodBound(SpecId),
    /// A pod of this spec that was on a node, or assumed on one, is gone.
    PodGone(SpecId),
}

/// Whether an event could make a pod schedulable that `plugins` rejected.
#[must_use]
pub fn could_help(cluster: &Cluster, event: &ClusterEvent, plugins: PluginSet, spec: SpecId) -> bool {
    let waiting = cluster.pods.spec_by_id(spec);
    let spread = |labels| {
        plugins.has(PluginSet::SPREAD)
            && waiting.topology_spread.iter().any(|c| selector_matches(&c.selector, labels))
    };
    match event {
        ClusterEvent::Node(node) => {
            let template = cluster.nodes.template(*node);
            plugins.has(PluginSet::FIT)
                && template.allocatable.pods > 0
                && template.allocatable.holds(&waiting.requests)
                || plugins.has(PluginSet::TAINTS) && !taint_toleration::rejects(waiting, template)
                || plugins.has(PluginSet::AFFINITY) && node_affinity::matches(cluster, waiting, *node)
                || plugins.has(PluginSet::UNSCHEDULABLE)
                    && !taint_toleration::unschedulable_rejects(waiting, template)
                || plugins.has(PluginSet::NAME)
                    && waiting.node_name.as_ref() == Some(&cluster.nodes.get(*node).name)
                || plugins.has(PluginSet::SPREAD)
                    && waiting
                        .topology_spread
                        .iter()
                        .all(|c| cluster.nodes.label(*node, &c.topology_key).is_some())
                || plugins.has(PluginSet::POD_AFFINITY)
                || plugins.has(PluginSet::PORTS)
        }
        ClusterEvent::NodeGone => plugins.has(PluginSet::SPREAD),
        ClusterEvent::PodBound(other) => {
            let labels = &cluster.pods.spec_by_id(*other).labels;
            spread(labels)
                || plugins.has(PluginSet::POD_AFFINITY)
                    && waiting
                        .pod_affinity
                        .iter()
                        .any(|t| !t.anti && t.weight.is_none() && selector_matches(&t.selector, labels))
        }
        ClusterEvent::PodGone(other) => {
            let other = cluster.pods.spec_by_id(*other);
            let ports = |p: &HostPort| other.host_ports.iter().any(|o| o.conflicts(p));
            plugins.has(PluginSet::FIT)
                || plugins.has(PluginSet::PORTS) && waiting.host_ports.iter().any(ports)
                || spread(&other.labels)
                || plugins.has(PluginSet::POD_AFFINITY)
                    && (waiting.pod_affinity.iter().any(|t| {
                        t.anti && t.weight.is_none() && selector_matches(&t.selector, &other.labels)
                    }) || other.pod_affinity.iter().any(|t| {
                        t.anti && t.weight.is_none() && selector_matches(&t.selector, &waiting.labels)
                    }))
        }
    }
}
