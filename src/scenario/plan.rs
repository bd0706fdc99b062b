//! A plan: a scenario with every default filled in, every file read and every name resolved.
//!
//! The simulation takes a plan and nothing else, so a plan can come from a scenario file, from the conditions of
//! a measured run, or from a test. Units are in the names; profiles are loaded.
//!
//! What grows with the pods is shared: cloning a plan, and building a simulation of it, copies five bytes a pod.
use std::collections::BTreeMap;
use std::sync::Arc;

use super::spec::TimeDistribution;
use crate::autoscaler;
use crate::cluster::{Amount, Cluster, NodeId, SpecId};
use crate::control_plane::controllers::cron_job::CronJobSettings;
use crate::control_plane::controllers::daemon_set::DaemonSetSettings;
use crate::control_plane::controllers::deployment::{DeploymentSettings, Strategy};
use crate::control_plane::controllers::job::JobSettings;
use crate::control_plane::controllers::kueue;
use crate::control_plane::controllers::node_lifecycle::NodeLifecycleSettings;
use crate::control_plane::controllers::stateful_set::StatefulSetSettings;
use crate::control_plane::drain::DrainOptions;
use crate::control_plane::etcd::EtcdSettings;
use crate::control_plane::node_agents::{AgentKind, Trouble};
use crate::control_plane::stages::StageSet;
use crate::cost::CostProfile;
use crate::engine::Nanos;
use crate::scheduler::Settings;

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPlan {
    /// Name.
    pub name: String,
    /// Cores.
    pub cores: u32,
    /// Speed in parts per million of the machine that the profiles were measured on.
    pub speed_ppm: u32,
    /// Run-to-run noise of the speed: standard deviation of its logarithm in parts per million.
    pub noise_ppm: u32,
}

/// Where a component runs and what it costs.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Unit costs.
    pub profile: CostProfile,
    /// Index into [`Plan::hosts`]; none: cores without limit.
    pub host: Option<usize>,
    /// Limit of its threads (GOMAXPROCS); none: the host's cores.
    pub max_threads: Option<u32>,
}

/// A clientset's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Queries per second in thousandths; 0: no limit.
    pub qps_milli: u64,
    /// Burst.
    pub burst: u32,
}

impl ClientLimits {
    /// No limit.
    pub const NONE: Self = Self { qps_milli: 0, burst: 0 };
}

/// The API server and its etcd.
#[derive(Clone, Debug)]
pub struct ApiServerPlan {
    /// API server.
    pub server: Placement,
    /// `--max-requests-inflight`.
    pub max_requests_inflight: u32,
    /// `--max-mutating-requests-inflight`.
    pub max_mutating_requests_inflight: u32,
    /// `--enable-priority-and-fairness`.
    pub priority_and_fairness: bool,
    /// `SETTINGS_MAX_CONCURRENT_STREAMS`.
    pub max_streams_per_connection: u32,
    /// etcd.
    pub etcd: Placement,
    /// Disk and members.
    pub etcd_settings: EtcdSettings,
}

/// Who a client is to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientIdentity {
    /// Group system:masters: exempt.
    Masters,
    /// User system:kube-scheduler: workload-high.
    KubeScheduler,
    /// A service account outside kube-system: workload-low.
    ServiceAccount,
    /// User system:kube-controller-manager: workload-high.
    ControllerManager,
    /// Any other user: global-default.
    User,
    /// Node agents (group system:nodes).
    Nodes,
}

/// The scheduler.
#[derive(Clone, Debug)]
pub struct SchedulerPlan {
    /// Registered name.
    pub kind: String,
    /// Its process.
    pub place: Placement,
    /// Who it is.
    pub identity: ClientIdentity,
    /// Clientset of bindings and status patches.
    pub client: ClientLimits,
    /// Clientset of events.
    pub events_client: ClientLimits,
    /// Clients of the controller that comes with it; none: it has none.
    pub controller_client: Option<ClientLimits>,
    /// When its process starts.
    pub start_ns: Nanos,
    /// Whether its process is up and synced at t = 0 already.
    pub running_at_start: bool,
    /// Algorithm settings.
    pub settings: Settings,
}

/// Kueue.
#[derive(Clone, Debug)]
pub struct KueuePlan {
    /// Its process.
    pub place: Placement,
    /// Its client.
    pub client: ClientLimits,
    /// Queues, flavors, jobs.
    pub config: Arc<kueue::config::Config>,
}

/// A node autoscaler.
#[derive(Clone, Debug)]
pub struct AutoscalerPlan {
    /// Name of its client in results.
    pub name: &'static str,
    /// Its client.
    pub client: ClientLimits,
    /// Which, its settings, its machines.
    pub config: autoscaler::config::Config,
}

/// The node agents.
#[derive(Clone, Debug)]
pub struct AgentsPlan {
    /// Kind.
    pub kind: AgentKind,
    /// Their process (KWOK's controller); hollow nodes and kubelets run on machines of their own.
    pub place: Option<Placement>,
    /// Median and 99th percentile of the time from bound to started, ns.
    pub start_latency_ns: (Nanos, Nanos),
    /// The same of the time from deleted to ended; none: no time.
    pub termination_latency_ns: Option<(Nanos, Nanos)>,
    /// Whether nodes renew leases.
    pub heartbeats: bool,
    /// Their clientset.
    pub client: ClientLimits,
    /// KWOK's stages; none: pods and nodes go on as its own fast stages have it.
    pub stages: Option<Arc<StageSet>>,
}

/// Another process that watches pods.
#[derive(Clone, Debug)]
pub struct WatcherPlan {
    /// Name.
    pub name: String,
    /// Its process.
    pub place: Option<Placement>,
}

/// How pods come into being.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// All exist when the scheduler starts.
    Existing,
    /// A load client keeps so many creations under way.
    ClosedLoop {
        /// Workers.
        concurrency: u32,
    },
    /// Pod i is created by the load client at the i-th time (ascending).
    Scheduled {
        /// Nanoseconds since t = 0.
        times_ns: Arc<Vec<Nanos>>,
    },
    /// Controllers create them; the i-th ReplicaSet (or StatefulSet, or Job) is created at the i-th time.
    ReplicaSets {
        /// Ranges of pods, in order.
        ranges: Vec<(u32, u32)>,
        /// Nanoseconds since t = 0.
        times_ns: Arc<Vec<Nanos>>,
    },
}

/// When a fault comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultTimes {
    /// Once, ns.
    Once(Nanos),
    /// At random times with exponential gaps.
    Random {
        /// Mean gap, ns.
        mean_ns: Nanos,
        /// Of each node or pod, and not of all together.
        each: bool,
        /// Not before, ns.
        from_ns: Nanos,
        /// Before, ns.
        to_ns: Nanos,
        /// So often at most.
        most: u64,
    },
}

/// Which nodes a fault hits: those that match, or some of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeChoice {
    /// These; empty: any.
    pub names: Vec<NodeId>,
    /// Of this zone.
    pub zone: Option<u32>,
    /// With these labels.
    pub labels: BTreeMap<String, String>,
    /// So many.
    pub count: Option<u64>,
    /// Such a share, in parts per million.
    pub share_ppm: Option<u64>,
}

/// Which pods a fault hits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodChoice {
    /// With these labels.
    pub labels: BTreeMap<String, String>,
    /// So many.
    pub count: Option<u64>,
    /// Such a share, in parts per million.
    pub share_ppm: Option<u64>,
}

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Machines fail.
    Machines {
        /// Which.
        nodes: NodeChoice,
        /// How.
        trouble: Trouble,
        /// For how long; none: for good.
        lasts: Option<TimeDistribution>,
        /// Again after such a pause, and how often in all.
        flap: Option<(TimeDistribution, u64)>,
    },
    /// Nodes leave.
    Remove {
        /// Which.
        nodes: NodeChoice,
    },
    /// Nodes are drained.
    Drain {
        /// Which.
        nodes: NodeChoice,
        /// So many at a time, by commands of their own; none: one command for all.
        at_once: Option<Amount>,
        /// Flags of the commands.
        options: DrainOptions,
        /// They are uncordoned after so long; none: never.
        lasts: Option<TimeDistribution>,
    },
    /// Nodes join.
    Add {
        /// Index of their template.
        template: u32,
        /// Their zones, in turn; empty: none.
        zones: Vec<u32>,
        /// How many.
        count: u32,
        /// First part of their names.
        prefix: String,
    },
    /// Pods fail.
    Pods(PodChoice),
    /// The API server is away; none: for good.
    ApiServerDown {
        /// For how long.
        lasts: Option<TimeDistribution>,
        /// Leaders that can't renew their leases give up.
        leader_election: bool,
    },
    /// etcd takes no writes.
    EtcdDown {
        /// For how long.
        lasts: Option<TimeDistribution>,
        /// Leaders that can't renew their leases give up.
        leader_election: bool,
    },
    /// The API server takes longer.
    ApiServerSlow {
        /// So much, in parts per million.
        factor_ppm: u64,
        /// For how long.
        lasts: Option<TimeDistribution>,
    },
    /// etcd's disk takes longer.
    EtcdSlow {
        /// So much, in parts per million.
        factor_ppm: u64,
        /// For how long.
        lasts: Option<TimeDistribution>,
    },
    /// A component ends, and its successor begins.
    Replace {
        /// The scheduler (else the controller manager).
        scheduler: bool,
        /// After how long; none: when a standby takes over.
        lasts: Option<TimeDistribution>,
        /// The successor has to list everything first.
        cold: bool,
    },
    /// Watches break.
    WatchBreak {
        /// Of these watchers; empty: of all.
        watchers: Vec<String>,
        /// How long they can't be set up again.
        lasts: Option<TimeDistribution>,
    },
    /// Templates of Deployments change.
    Rollout {
        /// Whose pods (their owner), and what they are from then on.
        to: Vec<(u32, SpecId)>,
    },
    /// `replicas` of Deployments and StatefulSets change.
    Scale {
        /// Whose, and to what.
        to: Vec<Scaling>,
    },
}

/// A change of `replicas`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaling {
    /// Whose: the owner of its pods.
    pub owner: u32,
    /// How many.
    pub replicas: u32,
    /// Of a Deployment: what its `strategy` comes to with so many.
    pub strategy: Option<Strategy>,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// Name in results and of its stream.
    pub name: String,
    /// Its kind, as files name it.
    pub kind_name: &'static str,
    /// When.
    pub times: FaultTimes,
    /// What.
    pub kind: FaultKind,
}

/// What a run needs in which nodes and pods come and go by others than the scheduler and the load client.
#[derive(Clone, Debug)]
pub struct ChangesPlan {
    /// Faults.
    pub faults: Vec<FaultPlan>,
    /// Flags of the controller manager's node lifecycle controller.
    pub node_lifecycle: NodeLifecycleSettings,
    /// How long a pod tolerates a node that is not ready, ns.
    pub default_toleration_ns: Nanos,
    /// Ranges of pods that ReplicaSets own.
    pub replica_sets: Vec<(u32, u32)>,
    /// What each owner of [`Creation::ReplicaSets`], or of `replica_sets` and `beside`, is, ReplicaSets first, then StatefulSets, then Jobs; those
    /// that are not told are ReplicaSets.
    pub owners: Vec<OwnerPlan>,
    /// DaemonSets; they come after all other owners.
    pub daemon_sets: Vec<DaemonSetSettings>,
    /// CronJobs; they come after those.
    pub cron_jobs: Vec<CronJobSettings>,
    /// Deployments that are rolled out or scaled.
    pub deployments: Vec<DeploymentSettings>,
    /// Ranges of pods of objects that stand beside pods that a load client creates; they come after `replica_sets`.
    pub beside: Vec<(u32, u32)>,
    /// The first so many of these are created when the run begins; the others are Jobs of CronJobs.
    pub begun: usize,
}

/// What owns a range of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerPlan {
    /// A Deployment's ReplicaSet.
    ReplicaSet,
    /// A StatefulSet.
    StatefulSet(StatefulSetSettings),
    /// A Job.
    Job(JobSettings),
}

/// How long pods last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lifetimes {
    /// They stay.
    #[default]
    Endless,
    /// The agent finishes pod i after so many ns of running (`u64::MAX`: stays). Without agents: of being bound.
    Run(Arc<Vec<Nanos>>),
    /// The load client deletes pod i so many ns after it saw it bound (`u64::MAX`: stays).
    Hold(Arc<Vec<Nanos>>),
}

/// When a run ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StopWhen {
    /// Every pod is bound (or given up).
    #[default]
    AllBound,
    /// Every pod runs (or is given up).
    AllRunning,
    /// Every pod with a lifetime has finished.
    AllFinished,
    /// Only at the limit.
    Time,
}

/// Everything a simulation needs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the scenario.
    pub name: String,
    /// Seed of all random streams.
    pub seed: u64,
    /// Hosts.
    pub hosts: Vec<HostPlan>,
    /// Nodes, specs, applications and planned pods.
    pub cluster: Cluster,
    /// API server and etcd; none: ideal.
    pub api_server: Option<ApiServerPlan>,
    /// The controller manager, if it has something to do: its process, each controller's limits, syncs at once.
    pub controller_manager: Option<(Placement, ClientLimits, u32)>,
    /// Kueue in front of the scheduler; none: there is none.
    pub kueue: Option<KueuePlan>,
    /// A node autoscaler; none: there is none.
    pub autoscaler: Option<AutoscalerPlan>,
    /// What changes besides; none: nothing.
    pub changes: Option<ChangesPlan>,
    /// Node agents.
    pub agents: AgentsPlan,
    /// Other watchers.
    pub watchers: Vec<WatcherPlan>,
    /// The load client's process and limits.
    pub load_client: (Option<Placement>, ClientLimits),
    /// Whether to note what the load client's watch shows of each pod.
    pub record_seen: bool,
    /// The scheduler.
    pub scheduler: SchedulerPlan,
    /// Creation of pods.
    pub creation: Creation,
    /// End of pods.
    pub lifetimes: Lifetimes,
    /// End of the run.
    pub stop: StopWhen,
    /// Largest virtual time, ns.
    pub limit_ns: Nanos,
    /// The run ends when nothing has moved for so long, ns.
    pub stall_ns: Nanos,
    /// Window of windowed throughput, ns.
    pub window_ns: Nanos,
    /// Step of time series, ns.
    pub step_ns: Nanos,
    /// Where the workload came from, if from files.
    pub provenance: Provenance,
}

/// Files that a plan was made from besides the scenario, and how they were taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// SHA-256 of each file by name.
    pub files: BTreeMap<String, String>,
    /// What was simplified or left out.
    pub notes: Vec<String>,
    /// What was recorded of each pod to schedule, in their order; empty: the trace recorded nothing. The simulation never
    /// reads it.
    pub recorded: Arc<Vec<RecordedPod>>,
}

/// What really happened to a pod, ns in the trace's own time; `u64::MAX`: not on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedPod {
    /// Created.
    pub created_ns: Nanos,
    /// Bound to a node.
    pub bound_ns: Nanos,
    /// Containers started.
    pub running_ns: Nanos,
    /// Finished or deleted.
    pub finished_ns: Nanos,
}

impl RecordedPod {
    /// Nothing is on record.
    pub const NOTHING: Self =
        Self { created_ns: u64::MAX, bound_ns: u64::MAX, running_ns: u64::MAX, finished_ns: u64::MAX };
}
