//! Which plugins rejected a pod, and which events could change their mind (queueing hints).
//!
//! Sources: `EventsToRegister` and the hint functions of each plugin in `pkg/scheduler/framework/plugins` at 1.36, and
//! `NodeSchedulingPropertiesChange` in `pkg/scheduler/framework/events.go`. A pod is tried again if any of the plugins that
//! rejected it says that the event could help. "Changed" is what differs between a node before and after.
//!
//! | plugin             | node came              | node changed                                                | node gone    | pod bound              | pod gone                       |
//! |--------------------|------------------------|-------------------------------------------------------------|--------------|------------------------|--------------------------------|
//! | NodeUnschedulable  | not cordoned           | no longer cordoned                                          |              |                        |                                |
//! | NodeName           | always                 |                                                             |              |                        |                                |
//! | TaintToleration    | tolerated              | taints: now tolerated                                       |              |                        |                                |
//! | NodeAffinity       | matches                | labels: matches now                                         |              |                        |                                |
//! | NodePorts          | always                 |                                                             |              |                        | it had one of the ports        |
//! | NodeResourcesFit   | holds the pod if empty | allocatable: holds it, and there is more of what it asks    |              |                        | always                         |
//! | PodTopologySpread  | has all keys           | labels, taints: keys came, went or differ; taints differ    | had all keys | a hard constraint's    | a hard constraint's            |
//! | InterPodAffinity   | has a key of affinity; any for anti-affinity | labels: such a key came or differs; of anti-affinity: went or differs | | matches all affinity | matches all its anti-affinity, or all of the other's match it |
//! | VolumeBinding      | always                 | labels                                                      |              |                        |                                |
//!
//! A nomination's end is a pod's end to pods of the same or lower priority (`getLEPriorityPreCheck`).
//!
//! The real functions don't look namespaces' labels up, so a `namespaceSelector` with conditions never matches in them:
//! such pods wait for the five-minute flush. Left out: a pod's own updates other than its gates.
//!
//! Cost: O(labels) an event and a group of equal pods.
use crate::cluster::{Cluster, HostPort, NodeId, NodeTemplate, PodAffinityTerm, PodId, PodSpec, SpecId};

use super::profile::Profile;
use super::{node_affinity, pod_topology_spread, taint_toleration};

/// A set of plugins.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct PluginSet(u16);

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

    /// VolumeBinding.
    pub const VOLUMES: Self = Self(1 << 8);

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether no event that could help is missed by the hints. Those of the two plugins that look at other pods can
    /// miss some, so that the flush after five minutes may find a place.
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
    /// A node came.
    NodeAdded(NodeId),
    /// A node's template changed from the first to the second.
    NodeUpdated(NodeId, u32, u32),
    /// A node is gone.
    NodeGone(NodeId),
    /// A pod of this spec was bound.
    PodBound(SpecId),
    /// A pod of this spec that was on a node, or assumed on one, is gone.
    PodGone(SpecId),
    /// Somebody wants this pod tried again, whatever rejected it.
    Activated(PodId),
    /// A pod of this spec is no longer nominated to a node, and did not get its place there: the end of a pod for those
    /// that counted it, of the same or lower priority.
    NominationGone(SpecId),
}

/// Whether an event could make a pod schedulable that `plugins` rejected.
#[must_use]
pub fn could_help(
    cluster: &Cluster,
    profile: &Profile,
    event: &ClusterEvent,
    plugins: PluginSet,
    spec: SpecId,
) -> bool {
    let waiting = cluster.pods.spec_by_id(spec);
    match event {
        ClusterEvent::NodeAdded(node) => after_node_added(cluster, profile, *node, plugins, waiting),
        ClusterEvent::NodeUpdated(node, before, after) => {
            let templates = cluster.nodes.templates();
            let change = (&templates[*before as usize], &templates[*after as usize]);
            after_node_updated(cluster, profile, *node, change, plugins, waiting)
        }
        ClusterEvent::NodeGone(node) => {
            plugins.has(PluginSet::SPREAD)
                && pod_topology_spread::hard_keys(cluster, profile, waiting)
                    .iter()
                    .all(|key| cluster.nodes.label(*node, key).is_some())
        }
        ClusterEvent::PodBound(other) => {
            let other = cluster.pods.spec_by_id(*other);
            plugins.has(PluginSet::SPREAD)
                && pod_topology_spread::counts_for_a_hard_one(cluster, profile, waiting, other)
                || plugins.has(PluginSet::POD_AFFINITY) && matches_all(waiting, false, other)
        }
        ClusterEvent::PodGone(other) | ClusterEvent::NominationGone(other) => {
            let other = cluster.pods.spec_by_id(*other);
            let ports = |p: &HostPort| other.host_ports.iter().any(|o| o.conflicts(p));
            plugins.has(PluginSet::FIT)
                || plugins.has(PluginSet::PORTS) && waiting.host_ports.iter().any(ports)
                || plugins.has(PluginSet::SPREAD)
                    && pod_topology_spread::counts_for_a_hard_one(cluster, profile, waiting, other)
                || plugins.has(PluginSet::POD_AFFINITY)
                    && (matches_all(waiting, true, other) || matches_all(other, true, waiting))
        }
        // The queue knows for which pod it is.
        ClusterEvent::Activated(_) => false,
    }
}

/// Required terms of one kind.
fn required(spec: &PodSpec, anti: bool) -> impl Iterator<Item = &PodAffinityTerm> {
    spec.pod_affinity.iter().filter(move |t| t.anti == anti && t.weight.is_none())
}

/// `podMatchesAllAffinityTerms`: all required terms of one kind of a pod match the other one; false if it has none.
/// Namespaces' labels are not looked up.
fn matches_all(of: &PodSpec, anti: bool, other: &PodSpec) -> bool {
    required(of, anti).next().is_some()
        && required(of, anti).all(|term| {
            let pods = term.pods(of.namespace());
            pods.labels.matches(&other.labels)
                && (pods.namespaces.names.contains(other.namespace())
                    || pods.namespaces.selector.is_some_and(|s| s.is_empty()))
        })
}

fn after_node_added(
    cluster: &Cluster,
    profile: &Profile,
    node: NodeId,
    plugins: PluginSet,
    waiting: &PodSpec,
) -> bool {
    let template = cluster.nodes.template(node);
    let has = |key: &str| cluster.nodes.label(node, key).is_some();
    plugins.has(PluginSet::FIT) && holds(template, waiting, profile, cluster)
        || plugins.has(PluginSet::TAINTS) && !taint_toleration::rejects(waiting, template)
        || plugins.has(PluginSet::AFFINITY)
            && node_affinity::matches_added(cluster, profile, node)
            && node_affinity::matches(cluster, waiting, node)
        || plugins.has(PluginSet::UNSCHEDULABLE) && !template.unschedulable
        || plugins.has(PluginSet::NAME)
        || plugins.has(PluginSet::PORTS)
        || plugins.has(PluginSet::VOLUMES)
        || plugins.has(PluginSet::SPREAD)
            && pod_topology_spread::hard_keys(cluster, profile, waiting).iter().all(|key| has(key))
        || plugins.has(PluginSet::POD_AFFINITY)
            && (required(waiting, true).next().is_some()
                || required(waiting, false).any(|t| has(&t.topology_key)))
}

fn after_node_updated(
    cluster: &Cluster,
    profile: &Profile,
    node: NodeId,
    (before, after): (&NodeTemplate, &NodeTemplate),
    plugins: PluginSet,
    waiting: &PodSpec,
) -> bool {
    let labels = before.labels != after.labels;
    let taints = before.taints != after.taints;
    let uncordoned = before.unschedulable && !after.unschedulable;
    let label = |template, key: &str| cluster.nodes.label_in(node, template, key).map(str::to_owned);
    // (had it, has it, has another one)
    let change = |key: &str| (label(before, key), label(after, key));
    if before.allocatable != after.allocatable
        && plugins.has(PluginSet::FIT)
        && holds(after, waiting, profile, cluster)
        && gives_more(before, after, waiting)
    {
        return true;
    }
    if (taints || uncordoned)
        && (plugins.has(PluginSet::TAINTS)
            && taint_toleration::rejects(waiting, before)
            && !taint_toleration::rejects(waiting, after)
            || plugins.has(PluginSet::UNSCHEDULABLE) && uncordoned)
    {
        return true;
    }
    if labels && plugins.has(PluginSet::VOLUMES) {
        return true;
    }
    if labels && plugins.has(PluginSet::AFFINITY) {
        let matches = |template| {
            node_affinity::matches_labels(waiting, |key| cluster.nodes.label_in(node, template, key))
        };
        if node_affinity::matches_added(cluster, profile, node) && matches(after) && !matches(before) {
            return true;
        }
    }
    if (labels || taints || uncordoned) && plugins.has(PluginSet::SPREAD) {
        let keys = pod_topology_spread::hard_keys(cluster, profile, waiting);
        let (had, has) =
            (keys.iter().all(|k| label(before, k).is_some()), keys.iter().all(|k| label(after, k).is_some()));
        let moved = || keys.iter().any(|k| label(before, k) != label(after, k));
        if had != has || has && (moved() || taints) {
            return true;
        }
    }
    labels
        && plugins.has(PluginSet::POD_AFFINITY)
        && (required(waiting, false).any(|t| {
            let (had, has) = change(&t.topology_key);
            has.is_some() && had != has
        }) || required(waiting, true).any(|t| {
            let (had, has) = change(&t.topology_key);
            had.is_some() && had != has
        }))
}

/// Whether an empty node of the template holds the pod, as the filter sees it.
fn holds(template: &NodeTemplate, waiting: &PodSpec, profile: &Profile, cluster: &Cluster) -> bool {
    let (has, asks) = (&template.allocatable, &waiting.requests);
    has.pods > 0
        && asks.cpu_millicores <= has.cpu_millicores
        && asks.memory_bytes <= has.memory_bytes
        && asks.extended.iter().all(|(id, amount)| {
            *amount <= has.extended(*id) || !profile.regards_resource(cluster.resources.name(*id))
        })
}

/// `haveAnyRequestedResourcesIncreased`.
fn gives_more(before: &NodeTemplate, after: &NodeTemplate, waiting: &PodSpec) -> bool {
    let (before, after, asks) = (&before.allocatable, &after.allocatable, &waiting.requests);
    after.pods > before.pods
        || asks.cpu_millicores > 0 && after.cpu_millicores > before.cpu_millicores
        || asks.memory_bytes > 0 && after.memory_bytes > before.memory_bytes
        || asks.extended.iter().any(|(id, amount)| *amount > 0 && after.extended(*id) > before.extended(*id))
}

#[cfg(test)]
mod tests;
