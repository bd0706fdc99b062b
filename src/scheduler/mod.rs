//! Schedulers: the trait that each model implements, what a model may ask for, and the registry.
//!
//! A model makes the same decisions as the real scheduler and counts the real one's operations. It never waits:
//! the simulation calls it when something happens (a pod is seen, a timer fires, its CPU work is done, a bind
//! request is answered) and it answers with [`Action`]s, which the simulation carries out after the call.
//!
//! To add a scheduler: write one file that implements [`SchedulerModel`] and a factory, and register it by name
//! in [`Registry::built_in`] (or, outside this crate, on your own registry). `first_fit.rs` is the template.
//!
//! Left out on purpose: a model never sees true cluster state that the real scheduler would not have; its cache
//! of nodes (with assumed pods) is its own, [`NodeTable`] helps.
mod first_fit;
pub mod kube;
mod node_table;
mod places;
pub mod process;
pub mod volcano;
pub mod yunikorn;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::cluster::{Cluster, NodeId, PodId};
use crate::cost::{CostProfile, Meter, ProfileError};
use crate::engine::codec::CodecError;
use crate::engine::{Nanos, Rng};

pub use crate::cluster::NodeChange;
pub use first_fit::FirstFit;
pub use node_table::NodeTable;
pub use places::{Place, Places};

/// What a model asks the simulation to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// CPU work of the scheduler's process on its host; [`SchedulerModel::on_cpu_done`] follows with the tag.
    Cpu {
        /// Work in CPU nanoseconds.
        cpu_ns: u64,
        /// Threads that can share it.
        threads: u32,
        /// Given back when done.
        tag: u64,
    },
    /// Calls [`SchedulerModel::on_timer`] with the tag at the given time.
    Timer {
        /// When, not before now.
        at: Nanos,
        /// Given back.
        tag: u64,
    },
    /// The pod is assumed on the node; nothing leaves the process (stamps the pod's timeline).
    Assume {
        /// Pod.
        pod: PodId,
    },
    /// Sends `POST pods/binding` from a goroutine of its own through the scheduler's client;
    /// [`SchedulerModel::on_bind_done`] follows.
    Bind {
        /// Pod.
        pod: PodId,
        /// Node.
        node: NodeId,
    },
    /// Sends `count` Kubernetes Events about an object through the events client; nobody waits for them.
    Events {
        /// How many.
        count: u32,
    },
    /// Patches the pod's status (condition `PodScheduled=False`) through the scheduler's client;
    /// [`SchedulerModel::on_status_patched`] follows when it is answered.
    PatchStatus {
        /// Pod.
        pod: PodId,
    },
    /// Deletes the pod (`DELETE pods`, with its grace period; a placeholder has none) through the scheduler's client;
    /// [`SchedulerModel::on_delete_done`] follows when it is answered. The pod is gone when its node's agent says so.
    Delete {
        /// Pod.
        pod: PodId,
    },
    /// Creates a placeholder of a gang through the scheduler's client; [`SchedulerModel::on_pod_created`] follows.
    CreatePod {
        /// Pod.
        pod: PodId,
    },
    /// The pod's (last) scheduling cycle begins now (stamps the pod's timeline), for schedulers that try several at once.
    Cycle {
        /// Pod.
        pod: PodId,
    },
    /// Writes an object of the scheduler's own kind (a PodGroup, a queue), and waits for it:
    /// [`SchedulerModel::on_object_put`] follows with the pod, or [`SchedulerModel::on_controller_answered`] if it is the
    /// scheduler's controller that writes.
    PutObject {
        /// A pod that stands for the object, or [`PodId::MAX`].
        pod: PodId,
        /// Through the client of the scheduler's controller.
        by_controller: bool,
    },
    /// The scheduler's controller patches the pod's metadata; [`SchedulerModel::on_controller_answered`] follows.
    Annotate {
        /// Pod.
        pod: PodId,
    },
    /// The scheduler gives the pod up; it will not be tried again.
    GiveUp {
        /// Pod.
        pod: PodId,
    },
    /// The scheduler itself has failed and the run ends; [`SchedulerModel::failure`] says why.
    Fail,
}

/// How a bind request ended, as its caller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindOutcome {
    /// 201.
    Bound,
    /// Too many requests after the client's retries, a time-out or a failed connection.
    Failed,
}

/// What a model sees and uses during a call.
pub struct Context<'a> {
    /// Virtual time.
    pub now: Nanos,
    /// Specs, labels, templates, applications. (A model must not read stages or bindings that it has not been told of.)
    pub cluster: &'a Cluster,
    /// The scheduler's own stream of random numbers.
    pub rng: &'a mut Rng,
    /// Operation counters and unit costs.
    pub meter: &'a mut Meter,
    /// What is to be done after the call, in order.
    pub actions: &'a mut Vec<Action>,
    /// The begin of a pod's cycle is stamped through this.
    pub cycle_started: &'a mut Option<PodId>,
}

impl Context<'_> {
    /// Asks for CPU work.
    pub fn cpu(&mut self, cpu_ns: u64, threads: u32, tag: u64) {
        self.actions.push(Action::Cpu { cpu_ns, threads, tag });
    }

    /// Asks for a timer.
    pub fn timer(&mut self, at: Nanos, tag: u64) {
        self.actions.push(Action::Timer { at, tag });
    }
}

/// Why pods are still pending: reason and how many pods have it (a pod counts once, under its main reason).
pub type PendingReasons = BTreeMap<String, u64>;

/// A scheduler.
pub trait SchedulerModel: Send {
    /// Name of the kind, such as `kube-scheduler`.
    fn kind(&self) -> &str;
    /// The process has started and its informers have synced; the nodes and pods that exist follow as
    /// [`on_node`](Self::on_node) and [`on_pod_pending`](Self::on_pod_pending) before this call.
    fn on_start(&mut self, cx: &mut Context<'_>);
    /// The informer shows a node.
    fn on_node(&mut self, cx: &mut Context<'_>, node: NodeId, change: NodeChange);
    /// The informer shows a pod that is not bound.
    fn on_pod_pending(&mut self, cx: &mut Context<'_>, pod: PodId);
    /// The informer shows that a pod is bound (to `node`), by this scheduler or by someone else.
    fn on_pod_bound(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId);
    /// The informer shows that a bound pod has finished or was deleted.
    fn on_pod_gone(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId);
    /// A bind request was answered.
    fn on_bind_done(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId, outcome: BindOutcome);
    /// A status patch was answered, whatever the answer; most schedulers don't wait for it.
    fn on_status_patched(&mut self, _cx: &mut Context<'_>, _pod: PodId) {}
    /// The creation of a placeholder was answered.
    fn on_pod_created(&mut self, _cx: &mut Context<'_>, _pod: PodId) {}
    /// A DELETE was answered; `ok` if the API server has taken it.
    fn on_delete_done(&mut self, _cx: &mut Context<'_>, _pod: PodId, _ok: bool) {}
    /// A write to an object of the scheduler's own kind was answered, whatever the answer.
    fn on_object_put(&mut self, _cx: &mut Context<'_>, _pod: PodId) {}
    /// A request of the scheduler's controller was answered, whatever the answer.
    fn on_controller_answered(&mut self, _cx: &mut Context<'_>, _pod: PodId) {}
    /// CPU work asked for with `tag` is done.
    fn on_cpu_done(&mut self, cx: &mut Context<'_>, tag: u64);
    /// A timer fired.
    fn on_timer(&mut self, cx: &mut Context<'_>, tag: u64);
    /// Pods that wait, by reason.
    fn pending_reasons(&self, cluster: &Cluster) -> PendingReasons;
    /// Whether something waits for a time to come that will move pods although nothing else does.
    fn waits_for_time(&self) -> bool {
        false
    }
    /// Whether pods wait in a queue and could be tried now (not backing off, not unschedulable): says whether the
    /// scheduler is behind.
    fn backlog(&self) -> u64;
    /// Whether there is a [`backlog`](Self::backlog), which is asked after each call.
    fn has_backlog(&self) -> bool {
        self.backlog() > 0
    }
    /// Pods in kube-scheduler's queues, for schedulers that have these queues.
    fn queues(&self) -> Option<QueueLengths> {
        None
    }
    /// Why the scheduler itself has failed, if it has; it has asked for [`Action::Fail`] then.
    fn failure(&self) -> Option<Failure> {
        None
    }
    /// Everything that the model has learnt and decided, as bytes, for a checkpoint; never called during a cycle of its
    /// own. With serde's derives on the type it is `codec::encode("my scheduler", self)`.
    ///
    /// # Errors
    /// By default: this scheduler can't be checkpointed.
    fn save(&self) -> Result<Vec<u8>, CodecError> {
        Err(unsupported(self.kind()))
    }
    /// Takes over what [`save`](Self::save) wrote. The model was built from the same settings and profile.
    ///
    /// # Errors
    /// The bytes are no such state; by default as [`save`](Self::save).
    fn restore(&mut self, _state: &[u8]) -> Result<(), CodecError> {
        Err(unsupported(self.kind()))
    }
}

/// A scheduler that is a program of its own has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which one, how, and what was said last.
    pub message: String,
    /// The scenario is at fault (there is no such program), rather than what the program did.
    pub is_input: bool,
}

fn unsupported(kind: &str) -> CodecError {
    CodecError::Unsupported {
        what: format!("scheduler `{kind}`"),
        hint: "implement SchedulerModel::save and restore, or run it without checkpoints".to_owned(),
    }
}

/// Pods by queue, as `scheduler_pending_pods` counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLengths {
    /// In activeQ.
    pub active: u64,
    /// In the backoff queues.
    pub backoff: u64,
    /// Tried, did not fit.
    pub unschedulable: u64,
    /// Scheduling attempts that found no node, so far.
    pub failed_attempts: u64,
}

/// Node order of YuniKorn's first fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeSort {
    /// B-tree kept in order (since late 2021).
    #[default]
    Btree,
    /// All nodes sorted anew (2020).
    FullSort,
}

/// How nodes are scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum NodeSortPolicy {
    /// Least used first.
    #[default]
    Fair,
    /// Most used first.
    BinPacking,
}

/// NodeResourcesFit's scoring strategy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ScoringStrategy {
    /// Prefers empty nodes.
    #[default]
    LeastAllocated,
    /// Prefers full nodes.
    MostAllocated,
    /// By a line with corners over the used share ([`kube::Profile::fit_shape`]).
    RequestedToCapacityRatio,
}

/// Order of a leaf queue's applications.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum AppSort {
    /// By submission.
    #[default]
    Fifo,
    /// By share of use.
    Fair,
}

/// A YuniKorn queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Full name, such as `root.default`.
    pub name: String,
    /// Order of applications (leaf) or of children (parent).
    pub sort: AppSort,
    /// Guaranteed resources (cpu millicores, memory bytes).
    pub guaranteed: Option<(u64, u64)>,
    /// Maximum resources (cpu millicores, memory bytes).
    pub max: Option<(u64, u64)>,
}

/// Feature gates of kube-scheduler that a scenario sets; none: the cost profile's version decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureGates {
    /// `SchedulerAsyncAPICalls`.
    pub async_api_calls: Option<bool>,
    /// `OpportunisticBatching`.
    pub opportunistic_batching: Option<bool>,
    /// `SchedulerPopFromBackoffQ`.
    pub pop_from_backoff: Option<bool>,
}

/// Every setting that a scheduler may read; defaults are those of the real systems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// kube-scheduler `percentageOfNodesToScore`, 0 = adaptive.
    pub percentage_of_nodes_to_score: u32,
    /// kube-scheduler `parallelism`.
    pub parallelism: u32,
    /// kube-scheduler `podInitialBackoffSeconds`, ns.
    pub pod_initial_backoff_ns: u64,
    /// kube-scheduler `podMaxBackoffSeconds`, ns.
    pub pod_max_backoff_ns: u64,
    /// kube-scheduler scoring strategy of NodeResourcesFit.
    pub scoring_strategy: ScoringStrategy,
    /// Names of disabled kube-scheduler plugins.
    pub disabled_plugins: Vec<String>,
    /// kube-scheduler: plugins, weights and arguments, before `disabled_plugins`; those of the first profile.
    pub kube: kube::Profile,
    /// kube-scheduler: `schedulerName` of the first profile.
    pub scheduler_name: String,
    /// kube-scheduler: the other profiles.
    pub more_profiles: Vec<kube::NamedProfile>,
    /// kube-scheduler: feature gates.
    pub feature_gates: FeatureGates,
    /// YuniKorn: predicates evaluated through the shim.
    pub predicates: bool,
    /// YuniKorn: how the order of nodes is kept.
    pub node_sort: NodeSort,
    /// YuniKorn: which nodes come first.
    pub node_sort_policy: NodeSortPolicy,
    /// YuniKorn: the shim's application tick, ns.
    pub scheduling_interval_ns: u64,
    /// YuniKorn: the core alone, as its benchmark runs it: one repeated ask an application, no shim, no binding.
    pub core_only: bool,
    /// The process has been up for long when the run begins: its start-up requests are out, its periodic work has
    /// any phase.
    pub settled: bool,
    /// YuniKorn, settled: time of a tick after t = 0, ns, where it is known; none: drawn from the seed.
    pub tick_phase_ns: Option<Nanos>,
    /// YuniKorn: queues; empty = `root.default`.
    pub queues: Vec<QueueConfig>,
    /// YuniKorn: a whole configuration, which stands instead of `queues`.
    pub yunikorn: Option<Box<yunikorn::config::Config>>,
    /// Volcano: actions, plugins, queues; none: its defaults.
    pub volcano: Option<Box<volcano::config::Config>>,
    /// Nodes are searched from scratch for each pod, without tables, orders and verdicts kept from other searches: an oracle for
    /// comparisons, see `Simulation::plain`. Counts by topology and YuniKorn's asks that fit nowhere are kept all the same.
    pub plain: bool,
    /// YuniKorn: asks that fit nowhere reserve nodes (off: the environment variable `DISABLE_RESERVATION`).
    pub reservations: bool,
    /// A scheduler that is a program of its own: how to run it.
    pub process: process::ProcessCommand,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            percentage_of_nodes_to_score: 0,
            parallelism: 16,
            pod_initial_backoff_ns: 1_000_000_000,
            pod_max_backoff_ns: 10_000_000_000,
            scoring_strategy: ScoringStrategy::default(),
            disabled_plugins: Vec::new(),
            kube: kube::Profile::default(),
            scheduler_name: "default-scheduler".to_owned(),
            more_profiles: Vec::new(),
            feature_gates: FeatureGates::default(),
            predicates: true,
            node_sort: NodeSort::default(),
            node_sort_policy: NodeSortPolicy::default(),
            scheduling_interval_ns: 1_000_000_000,
            core_only: false,
            settled: false,
            tick_phase_ns: None,
            queues: Vec::new(),
            yunikorn: None,
            volcano: None,
            plain: false,
            reservations: true,
            process: process::ProcessCommand::default(),
        }
    }
}

/// What a factory returns.
pub type Built = Result<Box<dyn SchedulerModel>, ProfileError>;

type Build = dyn Fn(&Settings, &mut Meter) -> Built + Send + Sync;

/// Builds a scheduler from its settings; registers its operations on the meter.
#[derive(Clone)]
pub struct Factory(Arc<Build>);

impl Factory {
    /// Builds a scheduler.
    ///
    /// # Errors
    /// Its cost profile lacks something.
    pub fn build(&self, settings: &Settings, meter: &mut Meter) -> Built {
        (self.0)(settings, meter)
    }
}

impl fmt::Debug for Factory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Factory")
    }
}

/// A registered scheduler.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Builds it.
    pub factory: Factory,
    /// The cost profile used when the scenario names none.
    pub default_profile: String,
    /// A profile carried by the registration itself (schedulers from outside the crate), else found by name.
    pub profile: Option<CostProfile>,
}

/// Schedulers by name.
#[derive(Clone, Debug)]
pub struct Registry {
    entries: BTreeMap<String, Registration>,
}

impl Registry {
    /// The schedulers of this crate.
    #[must_use]
    pub fn built_in() -> Self {
        let mut registry = Self { entries: BTreeMap::new() };
        registry.register("kube-scheduler", kube::KubeScheduler::build, "kube-scheduler-1.36");
        registry.register("yunikorn", yunikorn::YuniKorn::build, "yunikorn-1.8");
        registry.register("volcano", volcano::Volcano::build, "volcano-1.15");
        registry.register("first-fit", FirstFit::build, "first-fit");
        registry.register("process", process::Process::build, "first-fit");
        registry
    }

    /// Adds a scheduler by name, with the name of its default cost profile.
    pub fn register(
        &mut self,
        name: &str,
        factory: impl Fn(&Settings, &mut Meter) -> Built + Send + Sync + 'static,
        default_profile: &str,
    ) {
        let factory = Factory(Arc::new(factory));
        let default_profile = default_profile.to_owned();
        self.entries.insert(name.to_owned(), Registration { factory, default_profile, profile: None });
    }

    /// Adds a scheduler with a cost profile of its own.
    pub fn register_with_profile(
        &mut self,
        name: &str,
        factory: impl Fn(&Settings, &mut Meter) -> Built + Send + Sync + 'static,
        profile: CostProfile,
    ) {
        let factory = Factory(Arc::new(factory));
        let default_profile = profile.name.clone();
        self.entries
            .insert(name.to_owned(), Registration { factory, default_profile, profile: Some(profile) });
    }

    /// Finds a scheduler.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Registration> {
        self.entries.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }
}
