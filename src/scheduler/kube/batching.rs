//! Opportunistic batching (`OpportunisticBatching`, KEP 5598; on by default since 1.35): equal pods in a row take the next best
//! node of one search.
//!
//! Source: `pkg/scheduler/framework/runtime/batch.go`, `schedule_one.go` and each plugin's `SignPod`. A cycle that has scored
//! keeps its other feasible nodes. The very next cycle, if its pod has the same signature, tries the best of them alone, but
//! only if the node that the last pod got does not take this one, too (one pod a node), and if the search is at most 500 ms
//! old. If it fits, that is the cycle; else all nodes are searched as usual.
//!
//! A pod has a signature (what its scheduling reads of it: requests, affinity, tolerations, ports, images, labels) unless it
//! spreads, by its own constraints or by default ones, or has affinity to pods. A pod's claims are its own, so pods with
//! volumes are never alike. The default profile has default
//! constraints, so there it does nothing; `defaultingType: List` without constraints lets it work.
//!
//! Left out: which of two nodes with the same score comes first is drawn when it is taken.
//!
//! Cost: O(feasible nodes) a cycle and profile in which it can work.
use crate::cluster::{Cluster, NodeId, SpecId};
use crate::engine::{Nanos, Rng};

use super::classes::ClassId;
use super::cycle::Candidate;
use super::profile::Profile;

/// How old a search may be (`maxBatchAge`).
const MOST_AGE_NS: Nanos = 500_000_000;

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Search {
    spec: SpecId,
    class: ClassId,
    nodes: Vec<(i64, NodeId)>,
    made_ns: Nanos,
}

/// What a profile keeps between cycles.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Batch {
    search: Option<Search>,
    /// The last cycle of this profile that found a node.
    last: Option<(u32, NodeId)>,
}

/// Whether a spec's pods have a signature that another pod can have.
pub(super) fn is_signed(cluster: &Cluster, profile: &Profile, spec: SpecId) -> bool {
    let spec = cluster.pods.spec_by_id(spec);
    let plugins = &profile.plugins;
    let spreads = plugins.spread || plugins.weights.spread > 0;
    let regards_pods = plugins.pod_affinity || plugins.weights.pod_affinity > 0;
    (!spreads || spec.topology_spread.is_empty() && profile.default_constraints.is_empty())
        && (!regards_pods || spec.pod_affinity.is_empty())
        && spec.volume_claims.is_empty()
}

impl Batch {
    /// The node that the last pod of the same kind got, if a hint would be given should it not take this pod.
    pub(super) fn last_node(
        &self,
        cluster: &Cluster,
        (spec, class): (SpecId, ClassId),
        cycle: u32,
        now: Nanos,
    ) -> Option<NodeId> {
        let search = self.search.as_ref().filter(|s| !s.nodes.is_empty())?;
        let (last_cycle, node) = self.last?;
        let labels = |id: SpecId| &cluster.pods.spec_by_id(id).labels;
        let same = search.class == class && labels(search.spec) == labels(spec);
        (last_cycle.wrapping_add(1) == cycle && same && now - search.made_ns <= MOST_AGE_NS).then_some(node)
    }

    /// Takes the best node that is left of the search.
    pub(super) fn take_best(&mut self, rng: &mut Rng) -> Option<NodeId> {
        let nodes = &mut self.search.as_mut()?.nodes;
        let best = nodes.iter().map(|n| n.0).max()?;
        let ties = nodes.iter().filter(|n| n.0 == best).count();
        let nth = if ties == 1 { 0 } else { usize::try_from(rng.below(ties as u64)).expect("below a count") };
        let at = nodes.iter().enumerate().filter(|n| n.1.0 == best).nth(nth).expect("counted").0;
        Some(nodes.remove(at).1)
    }

    /// A cycle has found a node, by the hint or by a search.
    pub(super) fn found(&mut self, cycle: u32, node: NodeId) {
        self.last = Some((cycle, node));
    }

    /// A search was made: the other feasible nodes are kept, if the pod has a signature.
    pub(super) fn searched(
        &mut self,
        signed: Option<(SpecId, ClassId)>,
        chosen: NodeId,
        candidates: &[Candidate],
        now: Nanos,
    ) {
        let others = candidates.iter().filter(|c| c.node != chosen).map(|c| (c.total, c.node));
        self.search = signed
            .map(|(spec, class)| Search { spec, class, nodes: others.collect(), made_ns: now })
            .filter(|search| !search.nodes.is_empty());
    }
}
