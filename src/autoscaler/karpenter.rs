//! Karpenter: batches of pods onto the cheapest machines that take them, and machines that go when others are enough.
//!
//! **Provisioning.** The first unschedulable pod opens a window; it closes when no other has come for `BATCH_IDLE_DURATION` (1 s), at the latest after
//! `BATCH_MAX_DURATION` (10 s). Then all pods without a node, and those on nodes that are being disrupted, are [packed](super::packing); each new machine is the cheapest
//! type that holds its pods. Nodes on which it counts are nominated for 20 s: they are not disrupted. Pods that still wait open a window again after 10 s.
//!
//! **Disruption.** Each 10 s, and at once after something was done: empty nodes; else the most nodes, found by halving, that one cheaper machine or none can stand in for; else one such node. What is
//! decided is looked at again after 15 s and dropped if it is no longer so. A node is a candidate once `consolidateAfter` has passed since a pod came to it or left it. Budgets limit how
//! many nodes of a pool are disrupted at a time (10 % by default). Nodes to go are tainted `karpenter.sh/disrupted:NoSchedule`; when the replacement is ready they
//! are [drained](super::removal) and end; if it is not ready in 10 minutes they are left alone.
//!
//! Sources: kubernetes-sigs/karpenter at 1.14.1: `pkg/controllers/provisioning/{provisioner,batcher,controller}.go`,
//! `pkg/controllers/disruption/{controller,consolidation,emptiness,multinodeconsolidation,singlenodeconsolidation,validation,queue,helpers,types}.go`,
//! `pkg/controllers/nodeclaim/disruption/consolidation.go`, `pkg/utils/disruption`.
//!
//! Left out: drift, expiry (`expireAfter`), static pools, spot and reserved capacity, the policy `Balanced`, schedules of budgets, capacity buffers, limits of real time, the queue's own polls (a second),
//! time that decisions take. One thing is other than there: pods that nobody replaces keep their node, as with cluster-autoscaler, because Jobs without a controller stand for real ones here.
//!
//! Cost: O(nodes + pods) a batch, O(log nodes) simulations a multi-node consolidation, O(candidates) a single one.
use std::collections::{BTreeMap, BTreeSet};

use super::config::{ConsolidationPolicy, KarpenterConfig, Reason};
use super::fleet::{Fleet, Phase};
use super::packing::{Homeless, Packed, Packing, Room};
use super::removal::{Manners, Outcome, Removals, pods_to_evict};
use super::snapshot::Snapshot;
use super::{Action, Autoscaler, Decisions, Env, Pending};
use crate::cluster::{NO_NODE, NodeId, PodId};
use crate::control_plane::controllers::Answer;
use crate::control_plane::evictions::BudgetOf;
use crate::control_plane::kernel::{AutoscalerEvent, Event};
use crate::control_plane::store::{NO_OWNER, Ready};
use crate::control_plane::{ClientId, Verb};
use crate::engine::{Nanos, SECOND};

/// `pollingPeriod` of the disruption controller.
const POLL_NS: Nanos = 10 * SECOND;
/// `commandValidationDelay`.
const VALIDATION_NS: Nanos = 15 * SECOND;
/// `minRetryDuration` of the orchestration queue.
const COMMAND_NS: Nanos = 600 * SECOND;
/// Pods that are provisionable are looked at again.
const REQUEUE_NS: Nanos = 10 * SECOND;
/// The state counts as changed at the latest after so long.
const STATE_NS: Nanos = 300 * SECOND;
/// Most nodes of a multi-node consolidation.
const MOST_NODES: usize = 100;

/// What is decided.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Command {
    reason: Reason,
    /// Machines to go.
    machines: Vec<u32>,
    /// Kinds of which one stands in for them, the cheapest first; empty: none is needed.
    options: Vec<u32>,
}

/// A command under way.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Underway {
    nodes: Vec<NodeId>,
    /// The machine that stands in for them, until it is ready.
    replacement: Option<u32>,
    began_ns: Nanos,
}

/// A node that may go.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    machine: u32,
    node: NodeId,
    pool: usize,
    price: u64,
    cost: f64,
}

impl Candidate {
    fn is_empty(&self) -> bool {
        self.cost <= 1.0
    }
}

/// Karpenter.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Karpenter {
    #[serde(skip)]
    config: KarpenterConfig,
    client: ClientId,
    fleet: Fleet,
    removals: Removals,
    /// Number of the window's timer, when it began, and whether it is open.
    window: u32,
    window_began_ns: Option<Nanos>,
    /// Number of the disruption loop's timer.
    poll: u32,
    /// What waits to be looked at again.
    proposal: Option<(u32, Command)>,
    proposals: u32,
    underway: Vec<Underway>,
    /// By machine: it is nominated until then.
    nominated_ns: BTreeMap<u32, Nanos>,
    /// By node: when a pod came or left last.
    pod_event_ns: BTreeMap<NodeId, Nanos>,
    /// Number of the cluster's state, and since when; those that each method has seen in vain.
    state: u64,
    state_ns: Nanos,
    seen: [u64; 3],
    decisions: Decisions,
}

impl Karpenter {
    /// Builds one.
    #[must_use]
    pub fn new(config: KarpenterConfig, fleet: Fleet, client: ClientId) -> Self {
        Self {
            config,
            client,
            fleet,
            removals: Removals::new(client, Manners::of_karpenter()),
            window: 0,
            window_began_ns: None,
            poll: 0,
            proposal: None,
            proposals: 0,
            underway: Vec::new(),
            nominated_ns: BTreeMap::new(),
            pod_event_ns: BTreeMap::new(),
            state: 1,
            state_ns: 0,
            seen: [0; 3],
            decisions: Decisions::default(),
        }
    }

    /// Takes over what a checkpoint leaves to the inputs.
    pub fn keep_inputs_of(&mut self, built: Self) {
        self.config = built.config;
        self.fleet.keep_inputs_of(built.fleet);
        self.removals.keep_inputs_of(built.removals);
    }

    fn at(env: &mut Env<'_>, at: Nanos, what: AutoscalerEvent) {
        env.kernel.at(at, Event::Autoscaler { what });
    }

    fn changed(&mut self, now: Nanos) {
        self.state += 1;
        self.state_ns = now;
    }

    // ---- provisioning ----

    /// A pod asks for a node: a window opens, or stays open for longer.
    fn trigger(&mut self, env: &mut Env<'_>) {
        let now = env.kernel.now();
        let began_ns = *self.window_began_ns.get_or_insert(now);
        self.window += 1;
        let closes_ns = (now + self.config.batch_idle_ns).min(began_ns + self.config.batch_max_ns);
        Self::at(env, closes_ns, AutoscalerEvent::Batch { nth: self.window });
    }

    fn on_batch(&mut self, env: &mut Env<'_>) {
        if self.window_began_ns.is_none() {
            // Pods that still wait.
            if !env.pending.is_empty() {
                self.trigger(env);
            }
            return;
        }
        self.window_began_ns = None;
        self.provision(env);
        if !env.pending.is_empty() {
            self.window += 1;
            let at = env.kernel.now() + REQUEUE_NS;
            Self::at(env, at, AutoscalerEvent::Batch { nth: self.window });
        }
    }

    /// Whether a machine's node is being disrupted.
    fn is_leaving(&self, node: NodeId) -> bool {
        self.removals.has(node) || self.underway.iter().any(|command| command.nodes.contains(&node))
    }

    fn homeless(env: &Env<'_>, pod: PodId, moves: bool) -> Homeless {
        let pods = &env.cluster.pods;
        Homeless { pod, spec: pods.spec_id(pod), created_ns: pods.timeline(pod).created_ns, moves }
    }

    /// Pods on nodes that are being disrupted, and not on their way out themselves.
    fn pods_of_leaving(&self, env: &Env<'_>) -> Vec<Homeless> {
        let store = env.control_plane.store();
        let allowed = store.disruptions_allowed();
        let mut pods = Vec::new();
        for (_, machine) in self.fleet.alive().filter(|(_, m)| m.node != NO_NODE) {
            if !self.is_leaving(machine.node) {
                continue;
            }
            let blocked = |pod: PodId| match store.budget_of(pod) {
                BudgetOf::None => false,
                BudgetOf::One(budget) => allowed[budget] == 0,
                BudgetOf::Several => true,
            };
            let leaving = pods_to_evict(env, machine.node).into_iter();
            let leaving = leaving.filter(|pod| store.is_active(*pod) && !blocked(*pod));
            pods.extend(leaving.map(|pod| Self::homeless(env, pod, false)));
        }
        pods
    }

    /// The cluster without nodes that are being disrupted, and without `gone`; then what is to be packed is.
    fn pack(&self, env: &Env<'_>, gone: &[NodeId], pods: Vec<Homeless>) -> (Packed, BTreeMap<NodeId, u32>) {
        let now = env.kernel.now();
        let away = |node: NodeId| {
            gone.contains(&node)
                || self.is_leaving(node)
                || self.fleet.of_node(node).is_some_and(|(_, m)| m.phase == Phase::Registered)
        };
        let store = env.control_plane.store();
        let mut snapshot = Snapshot::of(env.cluster, store, |node| !away(node), |_| true);
        let real = snapshot.len();
        let mut nodes: Vec<NodeId> = (0..real).filter(|node| snapshot.has(*node)).collect();
        // Machines under way, after those that are ready.
        let mut machines = BTreeMap::new();
        for (machine, it) in self.fleet.alive() {
            if matches!(it.phase, Phase::Starting | Phase::Registered) {
                let kind = &self.fleet.kinds()[it.kind as usize];
                let node = snapshot.imagine(kind.template, kind.zone);
                machines.insert(node, machine);
                nodes.push(node);
            } else if snapshot.has(it.node) {
                machines.insert(it.node, machine);
            }
        }
        let mut unsettled = vec![false; snapshot.len() as usize];
        for (node, machine) in &machines {
            let after = self.config.pools[self.config.pool_of(self.fleet.machine(*machine).kind)]
                .consolidate_after_ns
                .unwrap_or(0);
            unsettled[*node as usize] = *node < real && self.settles_ns(*machine, *node, after) > now;
        }
        let rooms = (0..self.config.pools.len()).map(|pool| self.room(&snapshot, pool)).collect();
        let (config, kinds) = (&self.config, self.fleet.kinds());
        let packing = Packing { snapshot: &mut snapshot, config, kinds, nodes, unsettled, rooms };
        (packing.solve(pods), machines)
    }

    /// What is left of a pool's limits.
    fn room(&self, snapshot: &Snapshot, pool: usize) -> Room {
        let it = &self.config.pools[pool];
        let (mut cpu, mut memory, mut nodes) = (0, 0, 0);
        for kind in it.kinds.clone() {
            let of = u64::from(self.fleet.size(kind as usize));
            let has = snapshot.allocatable(self.fleet.kinds()[kind as usize].template);
            (cpu, memory, nodes) = (cpu + of * has.0, memory + of * has.1, nodes + of);
        }
        let left = |limit: Option<u64>, used: u64| limit.map_or(u64::MAX, |limit| limit.saturating_sub(used));
        Room {
            cpu: left(it.limit_cpu, cpu),
            memory: left(it.limit_memory, memory),
            nodes: left(it.limit_nodes, nodes),
        }
    }

    /// The cheapest of some kinds; the first of equals.
    fn by_price(&self, options: &[u32]) -> Vec<u32> {
        let mut options = options.to_vec();
        options.sort_by_key(|kind| (self.fleet.kinds()[*kind as usize].price_micro, *kind));
        options
    }

    /// Asks for a machine, by a NodeClaim.
    fn launch(&mut self, env: &mut Env<'_>, kind: u32) -> u32 {
        env.control_plane.submit(env.kernel, self.client, Verb::PutObject, PodId::MAX, NO_NODE);
        let machine = self.fleet.request(env, kind);
        let now = env.kernel.now();
        self.changed(now);
        self.check_limits(kind);
        machine
    }

    /// No pool is larger than its limit of nodes.
    fn check_limits(&self, kind: u32) {
        let pool = &self.config.pools[self.config.pool_of(kind)];
        let nodes: u64 = pool.kinds.clone().map(|kind| u64::from(self.fleet.size(kind as usize))).sum();
        assert!(pool.limit_nodes.is_none_or(|limit| nodes <= limit), "a NodePool is larger than its limit");
    }

    fn nominate(&mut self, now: Nanos, machine: u32) {
        let span_ns = (2 * self.config.batch_max_ns).max(10 * SECOND);
        self.nominated_ns.insert(machine, now + span_ns);
    }

    fn provision(&mut self, env: &mut Env<'_>) {
        let now = env.kernel.now();
        self.decisions.rounds += 1;
        let store = env.control_plane.store();
        let waiting: Vec<PodId> = env.pending.pods().filter(|pod| store.is_active(*pod)).collect();
        let mut pods: Vec<Homeless> =
            waiting.into_iter().map(|pod| Self::homeless(env, pod, false)).collect();
        pods.extend(self.pods_of_leaving(env));
        if pods.is_empty() {
            return;
        }
        let (packed, machines) = self.pack(env, &[], pods);
        for (pod, node) in &packed.placed {
            if let Some(machine) = machines.get(node).copied() {
                self.nominate(now, machine);
                if self.fleet.machine(machine).phase != Phase::Ready {
                    env.pending.needs_node(*pod);
                }
            }
        }
        packed.failed.iter().for_each(|pod| env.pending.needs_node(*pod));
        self.decisions.scale_ups += u64::from(!packed.claims.is_empty());
        for claim in packed.claims {
            claim.pods.iter().for_each(|pod| env.pending.needs_node(*pod));
            let kind = self.by_price(&claim.options)[0];
            let machine = self.launch(env, kind);
            self.nominate(now, machine);
        }
    }

    // ---- disruption ----

    /// When a node may be consolidated.
    fn settles_ns(&self, machine: u32, node: NodeId, after_ns: Nanos) -> Nanos {
        let since_ns = self.pod_event_ns.get(&node).copied().unwrap_or(self.fleet.machine(machine).ready_ns);
        since_ns.saturating_add(after_ns)
    }

    fn candidates(&self, env: &Env<'_>, reason: Reason) -> Vec<Candidate> {
        let now = env.kernel.now();
        let store = env.control_plane.store();
        let allowed = store.disruptions_allowed();
        let mut candidates = Vec::new();
        for (machine, it) in self.fleet.alive() {
            let pool = self.config.pool_of(it.kind);
            let settings = &self.config.pools[pool];
            let Some(after_ns) = settings.consolidate_after_ns else { continue };
            if it.phase != Phase::Ready
                || self.removals.holds(it.node)
                || self.is_leaving(it.node)
                || self.nominated_ns.get(&machine).is_some_and(|until_ns| *until_ns > now)
                || self.settles_ns(machine, it.node, after_ns) > now
                || store.node(it.node).ready != Ready::True
            {
                continue;
            }
            let mut cost = 1.0;
            let mut blocked = false;
            for pod in pods_to_evict(env, it.node) {
                let spec = env.cluster.pods.spec(pod);
                let exhausted = match store.budget_of(pod) {
                    BudgetOf::None => false,
                    BudgetOf::One(budget) => allowed[budget] == 0,
                    BudgetOf::Several => true,
                };
                let unowned = store.owner(pod) == NO_OWNER && spec.safe_to_evict != Some(true);
                blocked |= exhausted || unowned || spec.safe_to_evict == Some(false);
                if store.is_active(pod) {
                    let eviction = 1.0 + f64::from(spec.priority) / 33_554_432.0;
                    cost += eviction.clamp(0.0, 10.0);
                }
            }
            let price = self.fleet.kinds()[it.kind as usize].price_micro;
            let candidate = Candidate { machine, node: it.node, pool, price, cost };
            let fits = match reason {
                Reason::Empty => candidate.is_empty(),
                Reason::Underutilized => {
                    !candidate.is_empty() && settings.policy == ConsolidationPolicy::WhenEmptyOrUnderutilized
                }
            };
            if fits && !blocked {
                candidates.push(candidate);
            }
        }
        // The most savings for the least disruption first.
        candidates.sort_by(|a, b| (b.price as f64 / b.cost).total_cmp(&(a.price as f64 / a.cost)));
        candidates
    }

    /// Nodes of each pool that may be disrupted now.
    fn budgets(&self, env: &Env<'_>, reason: Reason) -> Vec<u64> {
        let store = env.control_plane.store();
        let mut nodes = vec![0_u64; self.config.pools.len()];
        let mut disrupted = nodes.clone();
        for (_, it) in self.fleet.alive().filter(|(_, m)| m.phase == Phase::Ready) {
            let pool = self.config.pool_of(it.kind);
            nodes[pool] += 1;
            let away = self.is_leaving(it.node) || store.node(it.node).ready != Ready::True;
            disrupted[pool] += u64::from(away);
        }
        let pools = self.config.pools.iter().enumerate();
        pools.map(|(at, pool)| pool.allowed(nodes[at], reason).saturating_sub(disrupted[at])).collect()
    }

    /// What stands in for some nodes; none: they can't go.
    fn consolidate(&self, env: &Env<'_>, candidates: &[Candidate]) -> Option<Vec<u32>> {
        let gone: Vec<NodeId> = candidates.iter().map(|it| it.node).collect();
        let store = env.control_plane.store();
        let waiting = env.pending.pods().filter(|pod| store.is_active(*pod));
        let mut pods: Vec<Homeless> = waiting.map(|pod| Self::homeless(env, pod, false)).collect();
        let mut moving = BTreeSet::new();
        for node in &gone {
            let active = pods_to_evict(env, *node).into_iter().filter(|pod| store.is_active(*pod));
            for pod in active {
                moving.insert(pod);
                pods.push(Self::homeless(env, pod, true));
            }
        }
        pods.extend(self.pods_of_leaving(env));
        let (packed, machines) = self.pack(env, &gone, pods);
        let on_its_way = |node: &NodeId| {
            machines.get(node).is_some_and(|machine| self.fleet.machine(*machine).phase != Phase::Ready)
        };
        let hopeless = packed.failed.iter().any(|pod| moving.contains(pod))
            || packed.placed.iter().any(|(pod, node)| moving.contains(pod) && on_its_way(node));
        if hopeless || packed.claims.len() > 1 {
            return None;
        }
        let Some(claim) = packed.claims.first() else { return Some(Vec::new()) };
        let price: u64 = candidates.iter().map(|it| it.price).sum();
        let kinds = self.fleet.kinds();
        let mut options = self.by_price(&claim.options);
        options.retain(|kind| kinds[*kind as usize].price_micro < price);
        if candidates.len() > 1 {
            // A machine of a type that goes must be cheaper than the one that is there (`filterOutSameInstanceType`).
            let going: Vec<u32> = candidates.iter().map(|it| self.fleet.machine(it.machine).kind).collect();
            let same = options.iter().filter(|kind| going.contains(kind));
            if let Some(most) = same.map(|kind| kinds[*kind as usize].price_micro).min() {
                options.retain(|kind| kinds[*kind as usize].price_micro < most);
            }
        }
        (!options.is_empty()).then_some(options)
    }

    /// The disruption loop.
    fn disrupt(&mut self, env: &mut Env<'_>) {
        let now = env.kernel.now();
        if now - self.state_ns >= STATE_NS {
            self.changed(now);
        }
        let command = self.emptiness(env).or_else(|| self.multi(env)).or_else(|| self.single(env));
        match command {
            Some(command) => {
                self.proposals += 1;
                self.proposal = Some((self.proposals, command));
                let what = AutoscalerEvent::Validate { nth: self.proposals };
                Self::at(env, now + VALIDATION_NS, what);
            }
            None => self.poll_at(env, now + POLL_NS),
        }
    }

    fn poll_at(&mut self, env: &mut Env<'_>, at: Nanos) {
        self.poll += 1;
        Self::at(env, at, AutoscalerEvent::Round { nth: self.poll });
    }

    /// Candidates that the budgets allow, in order; whether they kept any back.
    fn within_budgets(&self, env: &Env<'_>, reason: Reason) -> (Vec<Candidate>, bool) {
        let mut budgets = self.budgets(env, reason);
        let mut kept_back = false;
        let mut candidates = self.candidates(env, reason);
        candidates.retain(|it| {
            let left = &mut budgets[it.pool];
            let fits = *left > 0;
            *left -= u64::from(fits);
            kept_back |= !fits;
            fits
        });
        (candidates, kept_back)
    }

    fn emptiness(&mut self, env: &Env<'_>) -> Option<Command> {
        if self.seen[0] == self.state {
            return None;
        }
        let (candidates, kept_back) = self.within_budgets(env, Reason::Empty);
        if candidates.is_empty() {
            self.note_seen(0, env, kept_back);
            return None;
        }
        let machines = candidates.iter().map(|it| it.machine).collect();
        Some(Command { reason: Reason::Empty, machines, options: Vec::new() })
    }

    /// A method has found nothing: it need not look again before something changes. Nodes that are not settled yet will be without a change.
    fn note_seen(&mut self, method: usize, env: &Env<'_>, kept_back: bool) {
        let now = env.kernel.now();
        let settling = self.fleet.alive().filter(|(_, m)| m.phase == Phase::Ready).any(|(machine, it)| {
            let after = self.config.pools[self.config.pool_of(it.kind)].consolidate_after_ns;
            let nominated = self.nominated_ns.get(&machine).is_some_and(|until_ns| *until_ns > now);
            nominated || after.is_some_and(|after| self.settles_ns(machine, it.node, after) > now)
        });
        if !kept_back && !settling {
            self.seen[method] = self.state;
        }
    }

    fn multi(&mut self, env: &Env<'_>) -> Option<Command> {
        if self.seen[1] == self.state {
            return None;
        }
        let (candidates, kept_back) = self.within_budgets(env, Reason::Underutilized);
        let most = candidates.len().min(MOST_NODES);
        let mut found = None;
        if candidates.len() >= 2 {
            let (mut min, mut max) = (1, if candidates.len() <= most { candidates.len() - 1 } else { most });
            while min <= max {
                let mid = usize::midpoint(min, max);
                match self.consolidate(env, &candidates[..=mid]) {
                    Some(options) => {
                        found = Some((mid, options));
                        min = mid + 1;
                    }
                    None => max = mid - 1,
                }
            }
        }
        let Some((mid, options)) = found else {
            self.note_seen(1, env, kept_back);
            return None;
        };
        let machines = candidates[..=mid].iter().map(|it| it.machine).collect();
        Some(Command { reason: Reason::Underutilized, machines, options })
    }

    fn single(&mut self, env: &Env<'_>) -> Option<Command> {
        if self.seen[2] == self.state {
            return None;
        }
        let budgets = self.budgets(env, Reason::Underutilized);
        let candidates = self.candidates(env, Reason::Underutilized);
        // Pools in turn.
        let mut turns: Vec<(usize, Candidate)> = Vec::new();
        let mut of_pool = vec![0; self.config.pools.len()];
        for it in candidates {
            turns.push((of_pool[it.pool], it));
            of_pool[it.pool] += 1;
        }
        turns.sort_by_key(|(turn, it)| (*turn, it.pool));
        let mut kept_back = false;
        for (_, it) in turns {
            if budgets[it.pool] == 0 {
                kept_back = true;
            } else if let Some(options) = self.consolidate(env, &[it]) {
                return Some(Command { reason: Reason::Underutilized, machines: vec![it.machine], options });
            }
        }
        self.note_seen(2, env, kept_back);
        None
    }

    /// What was decided 15 s ago is looked at again, and done.
    fn validate(&mut self, env: &mut Env<'_>, nth: u32) {
        if self.proposal.as_ref().is_none_or(|(proposed, _)| *proposed != nth) {
            return;
        }
        let Some((_, mut command)) = self.proposal.take() else { return };
        let now = env.kernel.now();
        let candidates = self.candidates(env, command.reason);
        let mut budgets = self.budgets(env, command.reason);
        let mut valid: Vec<Candidate> = Vec::new();
        for machine in &command.machines {
            let Some(it) = candidates.iter().find(|it| it.machine == *machine) else { continue };
            if budgets[it.pool] > 0 {
                budgets[it.pool] -= 1;
                valid.push(*it);
            }
        }
        let holds = match command.reason {
            Reason::Empty => !valid.is_empty(),
            Reason::Underutilized => {
                valid.len() == command.machines.len()
                    && self.consolidate(env, &valid).is_some_and(|options| {
                        options.is_empty() == command.options.is_empty()
                            && command.options.iter().all(|kind| options.contains(kind))
                    })
            }
        };
        if !holds {
            self.poll_at(env, now + POLL_NS);
            return;
        }
        command.machines = valid.iter().map(|it| it.machine).collect();
        let nodes: Vec<NodeId> = valid.iter().map(|it| it.node).collect();
        let replacement = command.options.first().copied().map(|kind| self.launch(env, kind));
        for it in &valid {
            self.removals.begin(env, it.node, it.is_empty(), replacement.is_none());
        }
        self.underway.push(Underway { nodes, replacement, began_ns: now });
        self.changed(now);
        self.poll_at(env, now);
    }

    /// Commands whose replacement is ready go on; those for which it takes too long are given up.
    fn check_commands(&mut self, env: &mut Env<'_>) {
        let now = env.kernel.now();
        let mut kept = Vec::new();
        for mut command in std::mem::take(&mut self.underway) {
            if let Some(machine) = command.replacement {
                match self.fleet.machine(machine).phase {
                    Phase::Ready => {
                        command.replacement = None;
                        for node in command.nodes.clone() {
                            self.removals.go_on(env, node);
                        }
                    }
                    Phase::Gone => self.give_up(env, &mut command),
                    Phase::Starting | Phase::Registered if now - command.began_ns > COMMAND_NS => {
                        self.give_up(env, &mut command);
                    }
                    Phase::Starting | Phase::Registered => {}
                }
            }
            command.nodes.retain(|node| self.removals.holds(*node));
            if !command.nodes.is_empty() {
                kept.push(command);
            }
        }
        self.underway = kept;
    }

    fn give_up(&mut self, env: &mut Env<'_>, command: &mut Underway) {
        for node in std::mem::take(&mut command.nodes) {
            self.removals.leave_alone(env, node);
        }
        self.decisions.timed_out += 1;
        let now = env.kernel.now();
        self.changed(now);
    }

    /// What became of nodes on their way out.
    fn settle(&mut self, env: &mut Env<'_>) {
        let now = env.kernel.now();
        while let Some(outcome) = self.removals.next_outcome() {
            let Outcome::Drained(node, empty) = outcome else { continue };
            let Some((machine, _)) = self.fleet.of_node(node) else { continue };
            self.fleet.end(machine, now);
            self.nominated_ns.remove(&machine);
            self.pod_event_ns.remove(&node);
            for command in &mut self.underway {
                command.nodes.retain(|other| *other != node);
            }
            self.underway.retain(|command| !command.nodes.is_empty());
            *if empty { &mut self.decisions.empty } else { &mut self.decisions.drained } += 1;
            self.changed(now);
            env.actions.push(Action::End(node));
        }
    }
}

impl Autoscaler for Karpenter {
    fn begin(&mut self, env: &mut Env<'_>) {
        let at = env.kernel.now() + POLL_NS;
        self.poll_at(env, at);
    }

    fn on_unschedulable(&mut self, env: &mut Env<'_>, _pod: PodId) {
        self.trigger(env);
    }

    fn on_pod_changed(&mut self, env: &mut Env<'_>, pod: PodId) {
        let now = env.kernel.now();
        let node = env.cluster.pods.node(pod);
        if self.fleet.of_node(node).is_some() {
            self.pod_event_ns.insert(node, now);
        }
        self.changed(now);
    }

    fn on_node_ready(&mut self, env: &mut Env<'_>, node: NodeId) {
        let now = env.kernel.now();
        if self.fleet.ready(node, now) {
            self.changed(now);
            self.check_commands(env);
        }
    }

    fn on_node_gone(&mut self, env: &mut Env<'_>, node: NodeId) {
        let now = env.kernel.now();
        if let Some((machine, _)) = self.fleet.of_node(node) {
            self.fleet.end(machine, now);
            self.changed(now);
        }
        self.removals.forget(node);
        self.pod_event_ns.remove(&node);
        self.check_commands(env);
    }

    fn on_timer(&mut self, env: &mut Env<'_>, what: AutoscalerEvent) {
        match what {
            AutoscalerEvent::Batch { nth } if nth == self.window => self.on_batch(env),
            AutoscalerEvent::Round { nth } if nth == self.poll && self.proposal.is_none() => {
                self.check_commands(env);
                self.disrupt(env);
            }
            AutoscalerEvent::Validate { nth } => self.validate(env, nth),
            AutoscalerEvent::Registers { machine } => self.fleet.start(env, machine),
            AutoscalerEvent::Removal { node } => {
                self.removals.on_timer(env, node);
                self.settle(env);
            }
            AutoscalerEvent::EvictAgain { pod } => self.removals.on_evict_again(env, pod),
            AutoscalerEvent::Batch { .. } | AutoscalerEvent::Round { .. } => {}
        }
    }

    fn on_answered(&mut self, env: &mut Env<'_>, answer: Answer) {
        if self.removals.on_answered(env, answer) {
            self.settle(env);
        }
    }

    fn is_moving(&self, _pending: &Pending, _now: Nanos) -> bool {
        let decides = self.proposal.is_some() || self.window_began_ns.is_some();
        self.fleet.is_starting() || !self.removals.is_empty() || decides
    }

    fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    fn removals(&self) -> &Removals {
        &self.removals
    }

    fn decisions(&self) -> Decisions {
        self.decisions
    }
}
