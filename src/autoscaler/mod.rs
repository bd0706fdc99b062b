//! Node autoscalers: what asks for machines when pods find no node, and gives them back when they are not needed.
//!
//! Two models stand behind the trait [`Autoscaler`]: [`cluster_autoscaler`], which looks at the cluster each ten seconds, makes node groups larger
//! and, when nodes have been unneeded for long, smaller; and [`karpenter`], which packs batches of pods onto the cheapest machines that take
//! them, and replaces machines by fewer or cheaper ones. They share
//!
//! - [`fleet`]: machines, how long they take, what they cost;
//! - [`snapshot`]: would this pod fit there? The filters are the schedulers' own;
//! - [`removal`]: taint, evictions through the API server and its budgets, the end of the machine.
//!
//! An autoscaler reads what the API server stores, writes through a client of its own, and is told of time by events. The nodes that it makes are registered by
//! their kubelets; the scheduler learns of them, and of their end, from its informer, as of every other node.
//!
//! **Unschedulable pods** are those whose condition `PodScheduled` says so. kube-scheduler and Volcano write it; where the model of a scheduler does not, every pod
//! without a node counts as one as soon as it is stored, as with `--bypassed-scheduler-names`, and those that fit on a node that is there are left out.
//!
//! Left out: the autoscaler's own CPU and memory, its informers and their lag, its restarts and leader election.
//!
//! Invariants: no group larger than its maximum (asserted) or, by the autoscaler's own doing, smaller than its minimum; a machine ends
//! only without pods that count ([`removal`]); same inputs, same bytes.
//!
//! Cost: see the models; nothing in a run without an autoscaler.
pub mod cluster_autoscaler;
pub mod config;
pub mod estimator;
pub mod expander;
pub mod fleet;
pub mod karpenter;
pub mod packing;
pub mod planner;
pub mod removal;
pub mod snapshot;

use std::collections::BTreeMap;

use crate::cluster::{Cluster, NodeId, PodId};
use crate::control_plane::controllers::Answer;
use crate::control_plane::kernel::{AutoscalerEvent, Kernel};
use crate::control_plane::node_agents::NodeAgents;
use crate::control_plane::{ClientId, ControlPlane};
use crate::engine::{Nanos, Streams};
use cluster_autoscaler::ClusterAutoscaler;
use config::{Config, Model};
use fleet::{Fleet, FleetReport};
use karpenter::Karpenter;
use removal::Removals;

/// What an autoscaler may touch.
pub struct Env<'a> {
    /// Clock and events.
    pub kernel: &'a mut Kernel,
    /// Requests, and what is stored.
    pub control_plane: &'a mut ControlPlane,
    /// Nodes and pods.
    pub cluster: &'a mut Cluster,
    /// Machines' agents.
    pub agents: &'a mut NodeAgents,
    /// Pods that wait.
    pub pending: &'a mut Pending,
    /// What is to be done afterwards, in order.
    pub actions: &'a mut Vec<Action>,
}

/// What an autoscaler has done to machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A machine has started: its kubelet registers this node.
    Register(NodeId),
    /// A machine ends, and its node with it.
    End(NodeId),
}

/// A node autoscaler.
pub trait Autoscaler {
    /// The run begins.
    fn begin(&mut self, env: &mut Env<'_>);
    /// A pod has become unschedulable.
    fn on_unschedulable(&mut self, env: &mut Env<'_>, pod: PodId);
    /// A pod was bound, has ended or is gone.
    fn on_pod_changed(&mut self, _env: &mut Env<'_>, _pod: PodId) {}
    /// A node is ready for the first time.
    fn on_node_ready(&mut self, env: &mut Env<'_>, node: NodeId);
    /// A node is gone, by whomever.
    fn on_node_gone(&mut self, env: &mut Env<'_>, node: NodeId);
    /// A timer.
    fn on_timer(&mut self, env: &mut Env<'_>, what: AutoscalerEvent);
    /// A request was answered.
    fn on_answered(&mut self, env: &mut Env<'_>, answer: Answer);
    /// Whether something is under way, or waits for a time, that will move pods although nothing else does.
    fn is_moving(&self, pending: &Pending, now: Nanos) -> bool;
    /// Its machines.
    fn fleet(&self) -> &Fleet;
    /// Nodes on their way out.
    fn removals(&self) -> &Removals;
    /// What it decided.
    fn decisions(&self) -> Decisions;
}

/// What an autoscaler decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Decisions {
    /// Rounds of its loop, or batches of pods.
    pub rounds: u64,
    /// Times that it asked for machines.
    pub scale_ups: u64,
    /// Machines that did not come in time.
    pub timed_out: u64,
    /// Machines given back because they were empty.
    pub empty: u64,
    /// Machines given back after a drain.
    pub drained: u64,
}

/// A pod that waits for a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Waiting {
    /// Since when it is known to be unschedulable, ns.
    since_ns: Nanos,
    /// No node that was there could take it.
    needs_node: bool,
}

/// Pods without a node, as an autoscaler sees them, and how long they waited for one.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Pending {
    by_condition: bool,
    waiting: BTreeMap<PodId, Waiting>,
    waited_ns: Vec<Nanos>,
}

impl Pending {
    /// Unschedulable pods, by id.
    pub fn pods(&self) -> impl Iterator<Item = PodId> {
        self.waiting.keys().copied()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the last of those that wait was known, ns; 0: none waits.
    #[must_use]
    pub fn latest_ns(&self) -> Nanos {
        self.waiting.values().map(|it| it.since_ns).max().unwrap_or(0)
    }

    /// Whether pods are known by their condition.
    #[must_use]
    pub const fn is_by_condition(&self) -> bool {
        self.by_condition
    }

    /// No node that is there can take the pod.
    pub fn needs_node(&mut self, pod: PodId) {
        if let Some(waiting) = self.waiting.get_mut(&pod) {
            waiting.needs_node = true;
        }
    }

    fn add(&mut self, pod: PodId, now: Nanos) -> bool {
        let is_new = !self.waiting.contains_key(&pod);
        if is_new {
            self.waiting.insert(pod, Waiting { since_ns: now, needs_node: false });
        }
        is_new
    }

    fn bound(&mut self, pod: PodId, now: Nanos) {
        if let Some(waiting) = self.waiting.remove(&pod)
            && waiting.needs_node
        {
            self.waited_ns.push(now - waiting.since_ns);
        }
    }
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
enum Kind {
    ClusterAutoscaler(Box<ClusterAutoscaler>),
    Karpenter(Box<Karpenter>),
}

impl Kind {
    fn get(&self) -> &dyn Autoscaler {
        match self {
            Self::ClusterAutoscaler(it) => &**it,
            Self::Karpenter(it) => &**it,
        }
    }

    fn get_mut(&mut self) -> &mut dyn Autoscaler {
        match self {
            Self::ClusterAutoscaler(it) => &mut **it,
            Self::Karpenter(it) => &mut **it,
        }
    }
}

/// What is left of an autoscaler when a run has ended.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Machines.
    pub fleet: FleetReport,
    /// Machines by kind: name, alive at the end.
    pub kinds: Vec<(String, u32)>,
    /// Decisions.
    pub decisions: Decisions,
    /// Evictions granted and refused, nodes left alone.
    pub evictions: (u64, u64, u64),
    /// How long pods that no node could take waited until they were bound, ns, ascending.
    pub waited_ns: Vec<Nanos>,
    /// Pods that still wait for a node.
    pub waiting: u64,
}

/// The autoscaler of a run, with what it is told of pods.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Autoscaling {
    client: ClientId,
    kind: Kind,
    pending: Pending,
}

/// The parts of [`Env`] that are not the autoscaler's own.
pub struct World<'a> {
    /// Clock and events.
    pub kernel: &'a mut Kernel,
    /// Requests, and what is stored.
    pub control_plane: &'a mut ControlPlane,
    /// Nodes and pods.
    pub cluster: &'a mut Cluster,
    /// Machines' agents.
    pub agents: &'a mut NodeAgents,
    /// What is to be done afterwards.
    pub actions: &'a mut Vec<Action>,
}

impl Autoscaling {
    /// Builds one that asks through `client`.
    #[must_use]
    pub fn new(config: &Config, client: ClientId, streams: &Streams) -> Self {
        let fleet = Fleet::new(config, streams.stream("autoscaler.provisioning"));
        let kind = match &config.model {
            Model::ClusterAutoscaler(settings) => Kind::ClusterAutoscaler(Box::new(ClusterAutoscaler::new(
                settings.clone(),
                fleet,
                client,
                streams.stream("autoscaler.expander"),
            ))),
            Model::Karpenter(settings) => {
                Kind::Karpenter(Box::new(Karpenter::new(settings.clone(), fleet, client)))
            }
        };
        let pending = Pending { by_condition: config.by_condition, ..Pending::default() };
        Self { client, kind, pending }
    }

    /// Takes over what a checkpoint leaves to the inputs.
    pub fn keep_inputs_of(&mut self, built: Self) {
        match (&mut self.kind, built.kind) {
            (Kind::ClusterAutoscaler(it), Kind::ClusterAutoscaler(built)) => it.keep_inputs_of(*built),
            (Kind::Karpenter(it), Kind::Karpenter(built)) => it.keep_inputs_of(*built),
            // The scenario says which, and a checkpoint belongs to its scenario.
            _ => {}
        }
    }

    /// Its client.
    #[must_use]
    pub const fn client(&self) -> ClientId {
        self.client
    }

    fn call(&mut self, world: World<'_>, f: impl FnOnce(&mut dyn Autoscaler, &mut Env<'_>)) {
        let World { kernel, control_plane, cluster, agents, actions } = world;
        let mut env = Env { kernel, control_plane, cluster, agents, pending: &mut self.pending, actions };
        f(self.kind.get_mut(), &mut env);
    }

    /// The run begins.
    pub fn begin(&mut self, world: World<'_>) {
        self.call(world, |model, env| model.begin(env));
    }

    /// A pod is stored.
    pub fn on_pod_created(&mut self, world: World<'_>, pod: PodId) {
        if !self.pending.by_condition {
            self.on_unschedulable(world, pod);
        }
    }

    /// The scheduler has written that a pod fits nowhere.
    pub fn on_condition(&mut self, world: World<'_>, pod: PodId) {
        if self.pending.by_condition {
            self.on_unschedulable(world, pod);
        }
    }

    fn on_unschedulable(&mut self, world: World<'_>, pod: PodId) {
        if self.pending.add(pod, world.kernel.now()) {
            self.call(world, |model, env| model.on_unschedulable(env, pod));
        }
    }

    /// A pod was bound.
    pub fn on_pod_bound(&mut self, world: World<'_>, pod: PodId) {
        self.pending.bound(pod, world.kernel.now());
        self.call(world, |model, env| model.on_pod_changed(env, pod));
    }

    /// A pod has ended or is gone.
    pub fn on_pod_gone(&mut self, world: World<'_>, pod: PodId) {
        self.pending.waiting.remove(&pod);
        self.call(world, |model, env| model.on_pod_changed(env, pod));
    }

    /// Nobody will try a pod again.
    pub fn forget(&mut self, pod: PodId) {
        self.pending.waiting.remove(&pod);
    }

    /// A node is stored as ready for the first time.
    pub fn on_node_ready(&mut self, world: World<'_>, node: NodeId) {
        self.call(world, |model, env| model.on_node_ready(env, node));
    }

    /// A node is gone.
    pub fn on_node_gone(&mut self, world: World<'_>, node: NodeId) {
        self.call(world, |model, env| model.on_node_gone(env, node));
    }

    /// A timer.
    pub fn on_timer(&mut self, world: World<'_>, what: AutoscalerEvent) {
        self.call(world, |model, env| model.on_timer(env, what));
    }

    /// A request was answered.
    pub fn on_answered(&mut self, world: World<'_>, answer: Answer) {
        self.call(world, |model, env| model.on_answered(env, answer));
    }

    /// Whether something is under way, or waits for a time.
    #[must_use]
    pub fn is_moving(&self, now: Nanos) -> bool {
        self.kind.get().is_moving(&self.pending, now)
    }

    /// Its machines.
    #[must_use]
    pub fn fleet(&self) -> &Fleet {
        self.kind.get().fleet()
    }

    /// What it came to.
    #[must_use]
    pub fn report(&self, now: Nanos) -> Report {
        let model = self.kind.get();
        let fleet = model.fleet();
        let kinds = fleet.kinds().iter().enumerate().map(|(at, kind)| (kind.name.clone(), fleet.size(at)));
        let mut waited_ns = self.pending.waited_ns.clone();
        waited_ns.sort_unstable();
        Report {
            fleet: fleet.report(now),
            kinds: kinds.collect(),
            decisions: model.decisions(),
            evictions: model.removals().counts(),
            waited_ns,
            waiting: self.pending.waiting.len() as u64,
        }
    }
}
