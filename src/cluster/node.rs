//! Nodes: name, template, zone, and whether they are there.
use std::collections::BTreeMap;

use super::{Resources, Taint};

/// Index of a node.
pub type NodeId = u32;

/// The well-known label of a node's zone.
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// The well-known label of a node's host name, always the node's name here.
pub const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";
/// The field of a node that `matchFields` knows.
pub const NAME_FIELD: &str = "metadata.name";

/// What changed about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum NodeChange {
    /// Seen for the first time.
    Added,
    /// Labels, taints, allocatable or readiness changed.
    Updated,
    /// Gone.
    Deleted,
}

impl NodeChange {
    /// All, in order.
    pub const ALL: [Self; 3] = [Self::Added, Self::Updated, Self::Deleted];
}

/// What many nodes share.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct NodeTemplate {
    /// Labels except zone and host name.
    pub labels: BTreeMap<String, String>,
    /// Taints.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// `status.allocatable`.
    pub allocatable: Resources,
    /// `status.images`: size in bytes by name with tag.
    pub images: BTreeMap<String, u64>,
}

/// One node.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Node {
    /// Name, unique.
    pub name: String,
    /// Index of its template.
    pub template: u32,
    /// Index of its zone in [`Nodes::zones`], if it bears the zone label.
    pub zone: Option<u32>,
    /// Whether it is in the cluster now.
    pub present: bool,
}

/// All nodes with their templates and zones.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Nodes {
    templates: Vec<NodeTemplate>,
    zones: Vec<String>,
    nodes: Vec<Node>,
    /// Position of each zone by its name; one that was read back from a checkpoint is filled when it is needed.
    #[serde(skip)]
    zone_ids: BTreeMap<String, u32>,
}

impl Nodes {
    /// Interns a template; equal ones share an index.
    ///
    /// # Panics
    /// Past 2^32 templates.
    pub fn add_template(&mut self, template: NodeTemplate) -> u32 {
        let at = self.templates.iter().position(|t| *t == template).unwrap_or_else(|| {
            self.templates.push(template);
            self.templates.len() - 1
        });
        u32::try_from(at).expect("templates are few")
    }

    /// Interns a zone name.
    ///
    /// # Panics
    /// Past 2^32 zones.
    pub fn add_zone(&mut self, name: &str) -> u32 {
        if self.zone_ids.len() < self.zones.len() {
            self.zone_ids = (0..).zip(&self.zones).map(|(at, zone)| (zone.clone(), at)).collect();
        }
        if let Some(at) = self.zone_ids.get(name) {
            return *at;
        }
        let at = u32::try_from(self.zones.len()).expect("zones are few");
        self.zones.push(name.to_owned());
        self.zone_ids.insert(name.to_owned(), at);
        at
    }

    /// Adds a node.
    ///
    /// # Panics
    /// Past 2^32 nodes.
    pub fn add(&mut self, name: String, template: u32, zone: Option<u32>) -> NodeId {
        self.nodes.push(Node { name, template, zone, present: true });
        NodeId::try_from(self.nodes.len() - 1).expect("nodes are limited")
    }

    /// Marks a node as in the cluster or gone.
    pub fn set_present(&mut self, node: NodeId, present: bool) {
        self.nodes[node as usize].present = present;
    }

    /// Gives a node another template: its taints, labels or capacity have changed.
    pub fn set_template(&mut self, node: NodeId, template: u32) {
        self.nodes[node as usize].template = template;
    }

    /// Forgets the nodes from this one on: they were only imagined.
    pub fn truncate(&mut self, len: usize) {
        self.nodes.truncate(len);
    }

    /// How many nodes there ever were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// How many are in the cluster now.
    #[must_use]
    pub fn present(&self) -> usize {
        self.nodes.iter().filter(|node| node.present).count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// One node.
    #[must_use]
    pub fn get(&self, node: NodeId) -> &Node {
        &self.nodes[node as usize]
    }

    /// A template by its index.
    #[must_use]
    pub fn template_by_id(&self, template: u32) -> &NodeTemplate {
        &self.templates[template as usize]
    }

    /// A node's template.
    #[must_use]
    pub fn template(&self, node: NodeId) -> &NodeTemplate {
        &self.templates[self.nodes[node as usize].template as usize]
    }

    /// All templates.
    #[must_use]
    pub fn templates(&self) -> &[NodeTemplate] {
        &self.templates
    }

    /// All zones.
    #[must_use]
    pub fn zones(&self) -> &[String] {
        &self.zones
    }

    /// The value of a node's label.
    #[must_use]
    pub fn label(&self, node: NodeId, key: &str) -> Option<&str> {
        self.label_in(node, self.template(node), key)
    }

    /// The value that a node's label has, or had, with a template.
    #[must_use]
    pub fn label_in<'a>(&'a self, node: NodeId, template: &'a NodeTemplate, key: &str) -> Option<&'a str> {
        let n = &self.nodes[node as usize];
        match key {
            HOSTNAME_LABEL => Some(&n.name),
            ZONE_LABEL if n.zone.is_some() => n.zone.map(|z| self.zones[z as usize].as_str()),
            _ => template.labels.get(key).map(String::as_str),
        }
    }
}
