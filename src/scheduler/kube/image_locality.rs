//! ImageLocality: nodes that have a pod's images already score higher.
//!
//! Source: `pkg/scheduler/framework/plugins/imagelocality/image_locality.go`. Each container's image that the node has counts
//! its size times the share of nodes that have it, so that one warm node does not draw all pods. The sum is scaled from
//! 23 MiB (0) to 1000 MiB a container (100). Not normalised.
//!
//! Left out: image volumes; images that nodes pull while a run goes on (a node has what the scenario says).
//!
//! Cost: O(images of the node) when a node comes or goes; O(containers) a (class, template) pair.
use std::collections::BTreeMap;

use crate::cluster::{Cluster, NodeId, NodeTemplate, PodSpec};

use super::node_resources::MAX_NODE_SCORE;

const MIB: i64 = 1 << 20;
const LEAST: i64 = 23 * MIB;
const MOST_A_CONTAINER: i64 = 1000 * MIB;

/// A name with its tag: `latest` if it has none (`normalizedImageName`).
#[must_use]
pub fn normalised_name(name: &str) -> String {
    if name.rfind(':') <= name.rfind('/') { format!("{name}:latest") } else { name.to_owned() }
}

/// Which template each known node has, and how many nodes have each image.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct KnownNodes {
    template: Vec<Option<u32>>,
    with_image: BTreeMap<String, u64>,
    /// Grows whenever a node with images comes, changes or goes.
    pub version: u64,
}

impl KnownNodes {
    /// A node is there, with its template of now, or gone; says which template it had.
    pub fn set(&mut self, cluster: &Cluster, node: NodeId, present: bool) -> Option<u32> {
        let at = node as usize;
        if self.template.len() <= at {
            self.template.resize(at + 1, None);
        }
        let now = present.then(|| cluster.nodes.get(node).template);
        let before = std::mem::replace(&mut self.template[at], now);
        if before != now {
            let templates = cluster.nodes.templates();
            for image in before.iter().flat_map(|t| templates[*t as usize].images.keys()) {
                *self.with_image.entry(image.clone()).or_default() -= 1;
                self.version += 1;
            }
            for image in now.iter().flat_map(|t| templates[*t as usize].images.keys()) {
                *self.with_image.entry(image.clone()).or_default() += 1;
                self.version += 1;
            }
        }
        before
    }

    /// The template of a node that is there.
    #[must_use]
    pub fn template(&self, node: NodeId) -> Option<u32> {
        self.template.get(node as usize).copied().flatten()
    }

    /// Whether any node has any of the images.
    #[must_use]
    pub fn have_any(&self, images: &[String]) -> bool {
        images.iter().any(|i| self.with_image.get(i).is_some_and(|n| *n > 0))
    }

    /// The score of nodes of a template, of `nodes` in all.
    #[must_use]
    pub fn score(&self, spec: &PodSpec, template: &NodeTemplate, nodes: usize) -> i64 {
        let sum: i64 = spec
            .images
            .iter()
            .filter_map(|image| {
                let size = *template.images.get(image)?;
                let spread = *self.with_image.get(image)? as f64 / nodes as f64;
                Some((size as f64 * spread) as i64)
            })
            .sum();
        let most = MOST_A_CONTAINER * i64::try_from(spec.images.len().max(1)).expect("containers are few");
        MAX_NODE_SCORE * (sum.clamp(LEAST, most) - LEAST) / (most - LEAST)
    }
}
