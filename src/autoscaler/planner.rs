//! cluster-autoscaler's scale-down planner: which nodes are unneeded, since when, and which of them go now.
//!
//! Each round, for the nodes of groups above their minimum, empty ones first, then those that were unneeded before:
//! - a node whose use (the larger share of CPU and memory that its pods request) is above the threshold is needed;
//! - a node is not looked at for 5 minutes after it was found to be needed for its pods;
//! - a pod blocks if nobody replaces it, if it is marked `safe-to-evict: "false"`, if its budget allows no disruption, or if it is of `kube-system`,
//!   has no budget and is younger than an hour;
//! - all of its pods must fit on other nodes that are there; what is found stays so for the nodes that follow.
//!
//! A node that has been unneeded for longer than `--scale-down-unneeded-time` (unready ones: `--scale-down-unready-time`) goes, unless its group would fall below
//! its minimum: up to `--max-scale-down-parallelism` at a time, of these up to `--max-drain-parallelism` that have pods. Unneeded nodes bear a soft taint, of which
//! `--max-bulk-soft-taint-count` are written a round.
//!
//! Sources: autoscaler 1.36.1 `core/scaledown/{planner/planner,unneeded/nodes,eligibility/eligibility,budgets/budgets}.go`, `simulator/{cluster,drain}.go`,
//! `simulator/drainability/rules`, `simulator/utilization/info.go`, `core/scaledown/actuation/softtaint.go`.
//!
//! Left out: pods evicted a moment ago whose successors are not there yet, local storage, atomic groups (`ZeroOrMaxNodeScaling`), GPUs' own threshold,
//! the limit of real time of the simulation.
//!
//! Cost: O(candidates x pods x nodes) at worst; a node above the threshold costs O(1).
use std::collections::{BTreeMap, BTreeSet};

use super::Env;
use super::config::ClusterAutoscalerConfig;
use super::fleet::{Fleet, Phase};
use super::removal::Removals;
use super::snapshot::{Pass, Snapshot};
use crate::cluster::{NodeId, PodId, SpecId};
use crate::control_plane::evictions::BudgetOf;
use crate::control_plane::store::{Mark, NO_OWNER, NodePatch, Ready};
use crate::control_plane::{ClientId, Verb};
use crate::engine::{Nanos, SECOND};

/// `--blocking-system-pod-distruption-timeout`.
const SYSTEM_PODS_NS: Nanos = 3600 * SECOND;

/// An unneeded node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Unneeded {
    since_ns: Nanos,
    empty: bool,
    /// Its budgets would not allow all of its pods to go at once.
    risky: bool,
}

/// What is known of nodes that may go.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Planner {
    unneeded: BTreeMap<NodeId, Unneeded>,
    /// Found to be needed for its pods; not looked at until then.
    unremovable_ns: BTreeMap<NodeId, Nanos>,
    /// Nodes that bear the soft taint, as far as was asked for.
    soft: BTreeSet<NodeId>,
    last_update_ns: Nanos,
    shortest_interval_ns: Nanos,
}

impl Planner {
    /// Nothing known.
    #[must_use]
    pub fn new(config: &ClusterAutoscalerConfig) -> Self {
        Self {
            unneeded: BTreeMap::new(),
            unremovable_ns: BTreeMap::new(),
            soft: BTreeSet::new(),
            last_update_ns: 0,
            shortest_interval_ns: config.scale_down.unneeded_ns.max(1),
        }
    }

    /// Whether nodes are unneeded.
    #[must_use]
    pub fn has_unneeded(&self) -> bool {
        !self.unneeded.is_empty()
    }

    /// A node is gone.
    pub fn forget(&mut self, node: NodeId) {
        self.unneeded.remove(&node);
        self.unremovable_ns.remove(&node);
        self.soft.remove(&node);
    }

    /// `unneededNodesLimit`: more are not looked for.
    fn limit(&self, config: &ClusterAutoscalerConfig) -> usize {
        let n = config.scale_down.parallelism as usize;
        let limit = self.unneeded.len() + 2 * n;
        let interval_ns = self.shortest_interval_ns.max(1);
        let unneeded_ns = config.scale_down.unneeded_ns.max(interval_ns);
        let bound = n * usize::try_from(unneeded_ns / interval_ns).unwrap_or(usize::MAX / 1000) + n;
        limit.min(bound)
    }

    /// Looks at all nodes that may go.
    pub fn update(
        &mut self,
        env: &Env<'_>,
        config: &ClusterAutoscalerConfig,
        fleet: &Fleet,
        removals: &Removals,
        snapshot: &mut Snapshot,
    ) {
        let now = env.kernel.now();
        let interval_ns = now - self.last_update_ns;
        if interval_ns < self.shortest_interval_ns {
            self.shortest_interval_ns = interval_ns.max(1);
        }
        self.last_update_ns = now;
        self.unremovable_ns.retain(|_, until_ns| *until_ns >= now);
        let down = &config.scale_down;
        let real = env.cluster.nodes.len() as NodeId;
        let mut destinations: Vec<bool> =
            (0..real).map(|node| snapshot.has(node) && !removals.holds(node)).collect();
        let mut candidates: Vec<NodeId> = fleet
            .alive()
            .filter(|(_, m)| m.phase == Phase::Ready && !removals.holds(m.node) && snapshot.has(m.node))
            .filter(|(_, m)| fleet.size(m.kind as usize) > config.groups[m.kind as usize].min)
            .map(|(_, m)| m.node)
            .collect();
        candidates
            .sort_by_key(|node| (!is_empty(env, snapshot, *node), !self.unneeded.contains_key(node), *node));
        let mut allowed: Vec<i64> = env
            .control_plane
            .store()
            .disruptions_allowed()
            .into_iter()
            .map(|n| i64::try_from(n).unwrap_or(i64::MAX))
            .collect();
        let limit = self.limit(config);
        let mut removable = BTreeMap::new();
        for node in candidates {
            if self.unremovable_ns.contains_key(&node) || !is_underused(snapshot, node, down.threshold_ppm) {
                continue;
            }
            if removable.len() >= limit {
                break;
            }
            let found = pods_to_move(env, snapshot, node, down.skip_system_pods, &allowed)
                .filter(|pods| find_places(snapshot, node, pods, &destinations));
            let Some(pods) = found else {
                self.unremovable_ns.insert(node, now + down.recheck_ns);
                continue;
            };
            let risky = !all_at_once(env, &pods, &allowed);
            for (pod, _) in &pods {
                if let BudgetOf::One(budget) = env.control_plane.store().budget_of(*pod) {
                    allowed[budget] -= 1;
                }
            }
            destinations[node as usize] = false;
            let since_ns = self.unneeded.get(&node).map_or(now, |known| known.since_ns);
            removable.insert(node, Unneeded { since_ns, empty: pods.is_empty(), risky });
        }
        self.unneeded = removable;
    }

    /// Nodes that go now, with whether they are empty.
    pub fn nodes_to_delete(
        &self,
        env: &Env<'_>,
        config: &ClusterAutoscalerConfig,
        fleet: &Fleet,
        removals: &Removals,
    ) -> Vec<(NodeId, bool)> {
        let now = env.kernel.now();
        let down = &config.scale_down;
        let mut sizes: Vec<u32> = (0..config.groups.len()).map(|group| fleet.size(group)).collect();
        for (node, _) in removals.nodes() {
            if let Some((_, machine)) = fleet.of_node(node) {
                sizes[machine.kind as usize] -= 1;
            }
        }
        let mut order: Vec<(&NodeId, &Unneeded)> = self.unneeded.iter().collect();
        order.sort_by_key(|(node, it)| (!it.empty, it.risky, **node));
        let in_progress = removals.nodes().count();
        let drains = removals.nodes().filter(|(_, empty)| !empty).count();
        let mut places = (down.parallelism as usize).saturating_sub(in_progress);
        let mut drain_places = (down.drain_parallelism as usize).saturating_sub(drains);
        let mut chosen = Vec::new();
        for (node, it) in order {
            let ready = env.control_plane.store().node(*node).ready == Ready::True;
            let span_ns = if ready { down.unneeded_ns } else { down.unready_ns };
            if span_ns > 0 && it.since_ns + span_ns >= now {
                continue;
            }
            let Some((_, machine)) = fleet.of_node(*node) else { continue };
            let group = machine.kind as usize;
            if sizes[group] <= config.groups[group].min {
                continue;
            }
            sizes[group] -= 1;
            if places == 0 || !it.empty && drain_places == 0 {
                continue;
            }
            places -= 1;
            drain_places -= usize::from(!it.empty);
            chosen.push((*node, it.empty));
        }
        chosen
    }

    /// Soft taints of unneeded nodes, a few a round.
    pub fn soft_taints(
        &mut self,
        env: &mut Env<'_>,
        config: &ClusterAutoscalerConfig,
        client: ClientId,
        removals: &Removals,
    ) {
        let unneeded = &self.unneeded;
        let taint = unneeded.keys().filter(|node| !self.soft.contains(node) && !removals.holds(**node));
        let taint = taint.map(|node| (*node, true));
        let untaint = self.soft.iter().filter(|node| !unneeded.contains_key(node) && !removals.has(**node));
        let untaint = untaint.map(|node| (*node, false));
        let most = config.scale_down.soft_taints as usize;
        let writes: Vec<(NodeId, bool)> = taint.chain(untaint).take(most).collect();
        for (node, on) in writes {
            let patch = NodePatch::default();
            let patch =
                if on { patch.set(Mark::DeletionCandidate) } else { patch.clear(Mark::DeletionCandidate) };
            if on {
                self.soft.insert(node);
            } else {
                self.soft.remove(&node);
            }
            env.control_plane.submit(env.kernel, client, Verb::PatchNode, patch.encode(), node);
        }
    }
}

/// Whether a pod is of a DaemonSet: it neither moves nor blocks.
fn is_of_daemon_set(env: &Env<'_>, spec: SpecId) -> bool {
    env.cluster.pods.spec_by_id(spec).required_node.is_some()
}

fn is_empty(env: &Env<'_>, snapshot: &Snapshot, node: NodeId) -> bool {
    snapshot.pods_on(node).iter().all(|(_, spec)| is_of_daemon_set(env, *spec))
}

fn is_underused(snapshot: &Snapshot, node: NodeId, threshold_ppm: u64) -> bool {
    let below =
        |(used, of): (u64, u64)| u128::from(used) * 1_000_000 <= u128::from(of) * u128::from(threshold_ppm);
    snapshot.use_of(node).into_iter().all(below)
}

/// Pods of a node that have to find another place; none: one of them blocks.
fn pods_to_move(
    env: &Env<'_>,
    snapshot: &Snapshot,
    node: NodeId,
    skip_system_pods: bool,
    allowed: &[i64],
) -> Option<Vec<(PodId, SpecId)>> {
    let now = env.kernel.now();
    let store = env.control_plane.store();
    let mut pods = Vec::new();
    for (pod, id) in snapshot.pods_on(node) {
        let spec = env.cluster.pods.spec_by_id(*id);
        if is_of_daemon_set(env, *id) {
            continue;
        }
        let budget = store.budget_of(*pod);
        if spec.safe_to_evict != Some(true) {
            let created_ns = env.cluster.pods.timeline(*pod).created_ns;
            let is_young = created_ns == Nanos::MAX || created_ns + SYSTEM_PODS_NS >= now;
            let is_system = spec.namespace() == "kube-system" && budget == BudgetOf::None;
            let exhausted = match budget {
                BudgetOf::None => false,
                BudgetOf::One(budget) => allowed[budget] < 1,
                BudgetOf::Several => true,
            };
            if store.owner(*pod) == NO_OWNER
                || skip_system_pods && is_system && is_young
                || spec.safe_to_evict == Some(false)
                || exhausted
            {
                return None;
            }
        }
        pods.push((*pod, *id));
    }
    Some(pods)
}

/// Moves the pods of a node to others and takes the node away, if all find a place; else all is as before.
fn find_places(
    snapshot: &mut Snapshot,
    node: NodeId,
    pods: &[(PodId, SpecId)],
    destinations: &[bool],
) -> bool {
    for (pod, _) in pods {
        snapshot.take(*pod, node);
    }
    let mut pass = Pass::default();
    let mut moved = Vec::new();
    for (pod, spec) in pods {
        let wanted =
            |other: NodeId| other != node && destinations.get(other as usize).copied().unwrap_or(false);
        match snapshot.place(&mut pass, *pod, *spec, wanted) {
            Some(other) => moved.push((*pod, other)),
            None => break,
        }
    }
    if moved.len() == pods.len() {
        snapshot.remove_node(node);
        return true;
    }
    for (pod, other) in moved {
        snapshot.take(pod, other);
    }
    for (pod, spec) in pods {
        snapshot.put(*pod, *spec, node);
    }
    false
}

/// Whether the budgets allow all of the pods to go at once.
fn all_at_once(env: &Env<'_>, pods: &[(PodId, SpecId)], allowed: &[i64]) -> bool {
    let mut asked = vec![0_i64; allowed.len()];
    for (pod, _) in pods {
        if let BudgetOf::One(budget) = env.control_plane.store().budget_of(*pod) {
            asked[budget] += 1;
        }
    }
    asked.iter().zip(allowed).all(|(asked, allowed)| asked <= allowed)
}
