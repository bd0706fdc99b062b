//! The state of the simulated cluster: nodes, pods, resources, labels and taints.
//!
//! Everything lives in flat arrays by integer id. What many pods share (requests, selectors, tolerations) is
//! interned once as a [`PodSpec`]; what many nodes share is a [`NodeTemplate`]. The cluster is the truth as the
//! API server stores it; what a scheduler believes (its cache with assumed pods) is the scheduler's own.
//!
//! Left out: images, volumes, quality-of-service classes.
//!
//! Cost: O(1) for every access by id; matching labels is O(labels) and done once for a (spec, template) pair.
mod matching;
mod node;
mod pod;
mod resources;

pub use matching::{
    Expression, Operator, Taint, TaintEffect, Term, Toleration, expression_matches, selector_matches,
    term_matches, tolerates,
};
pub use node::{HOSTNAME_LABEL, Node, NodeChange, NodeId, NodeTemplate, Nodes, ZONE_LABEL};
pub use pod::{
    App, AppId, HostPort, NO_NODE, PodAffinityTerm, PodId, PodSpec, Pods, SpecId, SpreadConstraint, Stage,
    TaskGroup, Timeline, WeightedTerm,
};
pub use resources::{ResourceNames, Resources};

/// Nodes, specs, applications and pods.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Cluster {
    /// Names of extended resources.
    pub resources: ResourceNames,
    /// Nodes in order of creation.
    pub nodes: Nodes,
    /// Pods in order of creation.
    pub pods: Pods,
}
