//! The state of the simulated cluster: nodes, pods, resources, labels and taints.
//!
//! Everything lives in flat arrays by integer id. What many pods share (requests, selectors, tolerations) is
//! interned once as a [`PodSpec`]; what many nodes share is a [`NodeTemplate`]. The cluster is the truth as the
//! API server stores it; what a scheduler believes (its cache with assumed pods) is the scheduler's own.
//!
//! Left out: contents of volumes, quality-of-service classes.
//!
//! Cost: O(1) for every access by id; matching labels is O(labels) and done once for a (spec, template) pair.
mod budget;
mod matching;
mod node;
mod pod;
mod quota;
mod resources;

use std::collections::BTreeMap;

pub use budget::{Amount, DisruptionBudget};
pub use matching::{
    Expression, LabelSelector, Namespaces, Operator, PodSelector, Taint, TaintEffect, Term, Toleration,
    expression_matches, term_matches, tolerates,
};
pub use node::{HOSTNAME_LABEL, NAME_FIELD, Node, NodeChange, NodeId, NodeTemplate, Nodes, ZONE_LABEL};
pub use pod::{
    App, AppId, DEFAULT_NAMESPACE, HostPort, NO_NODE, PodAffinityTerm, PodId, PodSpec, Pods, SchedulingGate,
    SpecId, SpreadConstraint, Stage, TaskGroup, Timeline, VolumeClaim, WeightedTerm,
};
pub use quota::ResourceQuota;
pub use resources::{ResourceNames, Resources};

/// The label that the API server gives every namespace.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Nodes, specs, applications and pods.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Cluster {
    /// Names of extended resources.
    pub resources: ResourceNames,
    /// Nodes in order of creation.
    pub nodes: Nodes,
    /// Pods in order of creation.
    pub pods: Pods,
    /// Labels of namespaces that have any besides their name.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Services, as far as scheduling reads them.
    pub services: Vec<Service>,
    /// PodDisruptionBudgets.
    pub disruption_budgets: Vec<DisruptionBudget>,
    /// ResourceQuotas.
    pub resource_quotas: Vec<ResourceQuota>,
    /// How long the provisioner takes for the volumes of pods that wait for them, ns.
    pub provisioning_ns: BTreeMap<PodId, u64>,
}

/// A Service: the labels of the pods behind it, which are spread by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Service {
    /// Namespace.
    pub namespace: String,
    /// `spec.selector`; empty: it selects nothing.
    pub selector: BTreeMap<String, String>,
}

impl Cluster {
    /// A namespace's labels; each has its name as one.
    #[must_use]
    pub fn namespace_labels(&self, namespace: &str) -> BTreeMap<String, String> {
        let mut labels = self.namespaces.get(namespace).cloned().unwrap_or_default();
        labels.insert(NAMESPACE_NAME_LABEL.to_owned(), namespace.to_owned());
        labels
    }

    /// The selector that the Services and the controller of a pod give it (`helper.DefaultSelector`); none if nobody
    /// selects it.
    #[must_use]
    pub fn default_selector(&self, spec: &PodSpec) -> Option<LabelSelector> {
        let mut labels = BTreeMap::new();
        for service in &self.services {
            if service.namespace == spec.namespace()
                && !service.selector.is_empty()
                && service.selector.iter().all(|(k, v)| spec.labels.get(k) == Some(v))
            {
                labels.extend(service.selector.clone());
            }
        }
        let selector = LabelSelector::from(labels);
        let selector = match &spec.controller_selector {
            Some(own) => selector.and(own),
            None => selector,
        };
        (!selector.is_empty()).then_some(selector)
    }
}
