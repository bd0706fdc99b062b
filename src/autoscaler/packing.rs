//! Karpenter's scheduling simulation: which pods go where, and what machines the others need.
//!
//! Pods stand in one queue, those with more CPU first, then more memory, then older. Each goes onto a node that is there, ready ones first; else
//! onto a machine that is about to be asked for, those with fewer pods first; else a new machine of the first NodePool, by weight, that takes it. A machine that is about to be
//! asked for is not of one type yet: it is all types of its pool that hold its pods so far ([`Claim::options`]), and a pod may join as long as one is left. Pods that
//! find nothing are tried again as long as others are placed.
//!
//! Source: Karpenter 1.14.1 `pkg/controllers/provisioning/scheduling/{scheduler,queue,nodeclaim}.go`. Filters as in [`snapshot`](super::snapshot).
//!
//! Left out: preferences, which the real one keeps first and relaxes one by one; DaemonSets' overhead; minimum values; reserved capacity; NodePools over several zones,
//! where a pod's spread would choose one; volumes' limits.
//!
//! Cost: O(pods x (nodes + claims x types)), less where other pods don't matter.
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use super::config::{KarpenterConfig, MachineKind};
use super::snapshot::{Pass, Snapshot};
use crate::cluster::{NodeId, PodId, SpecId};

/// A pod that needs a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Homeless {
    /// Pod.
    pub pod: PodId,
    /// Spec.
    pub spec: SpecId,
    /// When it was created, ns.
    pub created_ns: u64,
    /// It is on a node that is to be consolidated: it must not rely on nodes that are not settled.
    pub moves: bool,
}

/// A machine that is about to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its NodePool.
    pub pool: usize,
    /// Kinds of machines that hold its pods.
    pub options: Vec<u32>,
    /// Its pods.
    pub pods: Vec<PodId>,
    node: NodeId,
    cpu: u64,
    memory: u64,
    extended: BTreeMap<u16, u64>,
}

/// What is left of a pool's limits; `u64::MAX`: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Millicores.
    pub cpu: u64,
    /// Bytes.
    pub memory: u64,
    /// Nodes.
    pub nodes: u64,
}

/// What a simulation came to.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    /// Machines to ask for.
    pub claims: Vec<Claim>,
    /// Pods on nodes that are there or under way.
    pub placed: Vec<(PodId, NodeId)>,
    /// Pods without a place.
    pub failed: Vec<PodId>,
}

/// A simulation.
pub struct Packing<'a> {
    /// The cluster.
    pub snapshot: &'a mut Snapshot,
    /// Pools.
    pub config: &'a KarpenterConfig,
    /// Kinds of machines.
    pub kinds: &'a [MachineKind],
    /// Nodes that are there, in the order in which they are tried: not those that are being disrupted.
    pub nodes: Vec<NodeId>,
    /// Of these, by node: pods that move must not go there.
    pub unsettled: Vec<bool>,
    /// By pool.
    pub rooms: Vec<Room>,
}

impl Packing<'_> {
    /// Finds places.
    pub fn solve(mut self, mut pods: Vec<Homeless>) -> Packed {
        let probes: Vec<NodeId> =
            self.kinds.iter().map(|kind| self.snapshot.probe(kind.template, kind.zone)).collect();
        pods.sort_by_key(|it| {
            let (cpu, memory) = self.snapshot.requests(it.spec);
            (Reverse(cpu), Reverse(memory), it.created_ns, it.pod)
        });
        let mut packed = Packed::default();
        let mut queue: VecDeque<Homeless> = pods.into();
        let mut last_len: BTreeMap<PodId, usize> = BTreeMap::new();
        // A spec that found nothing finds nothing until another pod was placed.
        let mut failed_at: BTreeMap<(SpecId, bool), u64> = BTreeMap::new();
        let mut placed = 0_u64;
        let mut passes = [Pass::default(), Pass::default()];
        while let Some(it) = queue.pop_front() {
            if last_len.get(&it.pod) == Some(&(queue.len() + 1)) {
                queue.push_front(it);
                break;
            }
            let key = (it.spec, it.moves);
            let found = failed_at.get(&key) != Some(&placed)
                && self.place(&mut packed, &probes, &mut passes[usize::from(it.moves)], it);
            if found {
                placed += 1;
            } else {
                failed_at.insert(key, placed);
                queue.push_back(it);
                last_len.insert(it.pod, queue.len());
            }
        }
        packed.failed = queue.into_iter().map(|it| it.pod).collect();
        packed
    }

    fn place(&mut self, packed: &mut Packed, probes: &[NodeId], pass: &mut Pass, it: Homeless) -> bool {
        let unsettled = &self.unsettled;
        let usable = |node: NodeId| !(it.moves && unsettled.get(node as usize).copied().unwrap_or(false));
        if let Some(node) = self.snapshot.place_among(pass, it.pod, it.spec, &self.nodes, usable) {
            packed.placed.push((it.pod, node));
            return true;
        }
        let mut order: Vec<usize> = (0..packed.claims.len()).collect();
        order.sort_by_key(|at| (packed.claims[*at].pods.len(), *at));
        for at in order {
            if self.join(&mut packed.claims[at], probes, it) {
                return true;
            }
        }
        for pool in self.config.by_weight() {
            let room = self.rooms[pool];
            let options: Vec<u32> = self.config.pools[pool]
                .kinds
                .clone()
                .filter(|kind| {
                    let holds = self.snapshot.allocatable(self.kinds[*kind as usize].template);
                    room.nodes > 0 && holds.0 <= room.cpu && holds.1 <= room.memory
                })
                .collect();
            let Some(first) = options.first() else { continue };
            let kind = &self.kinds[*first as usize];
            let node = self.snapshot.imagine(kind.template, kind.zone);
            let mut claim =
                Claim { pool, options, pods: Vec::new(), node, cpu: 0, memory: 0, extended: BTreeMap::new() };
            if self.join(&mut claim, probes, it) {
                let most = claim.options.iter().fold((0, 0), |most: (u64, u64), kind| {
                    let (cpu, memory) = self.snapshot.allocatable(self.kinds[*kind as usize].template);
                    (most.0.max(cpu), most.1.max(memory))
                });
                let room = &mut self.rooms[pool];
                let take = |left: &mut u64, amount: u64| {
                    if *left != u64::MAX {
                        *left = left.saturating_sub(amount);
                    }
                };
                take(&mut room.cpu, most.0);
                take(&mut room.memory, most.1);
                take(&mut room.nodes, 1);
                packed.claims.push(claim);
                return true;
            }
            self.snapshot.forget_from(node);
        }
        false
    }

    /// Whether a pod joins a claim: one of its kinds must hold it beside the others.
    fn join(&mut self, claim: &mut Claim, probes: &[NodeId], it: Homeless) -> bool {
        if !self.snapshot.others_allow(it.spec, claim.node) {
            return false;
        }
        let requests = self.snapshot.spec(it.spec).requests.clone();
        let (cpu, memory) = (claim.cpu + requests.cpu_millicores, claim.memory + requests.memory_bytes);
        let mut extended = claim.extended.clone();
        for (id, amount) in &requests.extended {
            *extended.entry(*id).or_default() += amount;
        }
        let pods = claim.pods.len() as u32 + 1;
        let options: Vec<u32> = claim
            .options
            .iter()
            .copied()
            .filter(|kind| {
                let template = self.kinds[*kind as usize].template;
                let has = &self.snapshot.cluster().nodes.template_by_id(template).allocatable;
                cpu <= has.cpu_millicores
                    && memory <= has.memory_bytes
                    && pods <= has.pods
                    && extended.iter().all(|(id, amount)| *amount <= has.extended(*id))
                    && self.snapshot.allows(it.spec, probes[*kind as usize])
            })
            .collect();
        if options.is_empty() {
            return false;
        }
        (claim.options, claim.cpu, claim.memory, claim.extended) = (options, cpu, memory, extended);
        claim.pods.push(it.pod);
        self.snapshot.put(it.pod, it.spec, claim.node);
        true
    }
}
