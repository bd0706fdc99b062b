//! The plain types of a scenario, an experiment and a sweep, as they stand in the file.
//!
//! One struct per mapping; names are the file's in snake case. `Option` means that the file may leave the field out and
//! that resolving fills in the default given in the field's comment. Nothing here checks or computes: decoding is
//! `document`, checking is `validate`. Units: CPU in millicores, memory in bytes, time in nanoseconds, ratios in parts
//! per million, rates in millionths per second.
//!
//! No struct uses serde's `flatten`, `untagged` or internal tags: they would lose the path and line of an error. Pod
//! groups share their fields through the macro `pod_group` instead.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::autoscaler::AutoscalerSpec;
use super::duration::DurationNs;
use super::faults::FaultSpec;
use super::kueue::KueueSpec;
use super::quantity::{MetricValue, Quantity, Rate, Ratio, ResourceList};
use super::rollout::DeploymentStrategySpec;
use super::scheduling::{
    DisruptionBudgetSpec, HostPortSpec, ImageSpec, LabelSelectorSpec, NamespaceSpec, PodAffinitySpec,
    SchedulingGateSpec, ServiceSpec, StorageClassSpec, VolumeClaimTemplateSpec,
};
use super::threshold::ThresholdSpec;

/// The only `apiVersion` that is read.
pub const API_VERSION: &str = "podpace/v1";

/// A whole scenario: cluster, control plane, scheduler, workload, what to measure and what to expect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "podpace scenario")]
pub struct ScenarioSpec {
    /// Always `podpace/v1`.
    pub api_version: String,
    /// Always `Scenario`.
    pub kind: String,
    /// Name of the scenario, of `[a-zA-Z0-9._-]`.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// Seed of all random streams. Default 1.
    pub seed: Option<u64>,
    /// Machines by name, on which components are placed. A component without a host has cores without limit.
    #[serde(default)]
    pub hosts: BTreeMap<String, HostSpec>,
    /// The nodes that pods are placed on. May be left out only when a trace brings them.
    #[serde(default)]
    pub cluster: ClusterSpec,
    /// API server, etcd, controllers and node agents.
    #[serde(default)]
    pub control_plane: ControlPlaneSpec,
    /// The scheduler under study.
    pub scheduler: SchedulerSpec,
    /// The pods and when they come.
    pub workload: WorkloadSpec,
    /// What goes wrong: nodes, pods, servers.
    #[serde(default)]
    pub faults: Vec<FaultSpec>,
    /// When the run ends.
    #[serde(default)]
    pub stop: StopSpec,
    /// How series are sampled.
    #[serde(default)]
    pub measure: MeasureSpec,
    /// What was published or measured, to check the result against.
    #[serde(default)]
    pub expect: Vec<ExpectSpec>,
    /// What must hold, one line each: `METRIC OPERATOR VALUE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<ThresholdSpec>,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostSpec {
    /// Cores, shared by all components on the host.
    pub cores: u64,
    /// Run-to-run noise of its speed (neighbours on the same hardware): standard deviation as a share, such as 10%. Drawn
    /// once a run from the seed. With it, the wake-ups of a process differ, too. Default 0.
    pub noise: Option<Ratio>,
    /// Speed of a core relative to the one that the cost profiles were measured on. Default 1.0.
    pub speed: Option<Ratio>,
}

/// The cluster's nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterSpec {
    /// Groups of equal nodes.
    #[serde(default)]
    pub nodes: Vec<NodeGroupSpec>,
    /// Namespaces that have labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<NamespaceSpec>,
    /// Services, whose pods kube-scheduler spreads by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceSpec>,
    /// PodDisruptionBudgets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pod_disruption_budgets: Vec<DisruptionBudgetSpec>,
    /// ResourceQuotas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_quotas: Vec<ResourceQuotaSpec>,
    /// StorageClasses, for the pods' `volumeClaimTemplates`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage_classes: Vec<StorageClassSpec>,
    /// Who adds and removes nodes. Default: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscaler: Option<Box<AutoscalerSpec>>,
}

/// A ResourceQuota.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceQuotaSpec {
    /// Name. Default `quota` with its number.
    pub name: Option<String>,
    /// Namespace. Default `default`.
    pub namespace: Option<String>,
    /// What its pods may take in all: `pods`, `requests.cpu`, `requests.memory` (or `count/pods`, `cpu`, `memory`).
    pub hard: BTreeMap<String, Quantity>,
}

/// Equal nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeGroupSpec {
    /// Number of nodes.
    pub count: u64,
    /// Prefix of the nodes' names (`name-0`, `name-1`, ...). Default `node`, then `node1`, `node2` for later groups.
    pub name: Option<String>,
    /// What each node is.
    pub template: NodeTemplateSpec,
    /// Zones: node i of the group gets the label `topology.kubernetes.io/zone: zone-<i mod zones>`. Default: no label.
    pub zones: Option<u64>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeTemplateSpec {
    /// Resources for pods; `cpu` and `memory` are required. Default of `pods`: 110.
    pub allocatable: ResourceList,
    /// Labels besides `kubernetes.io/hostname`, which is the node's name.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Taints.
    #[serde(default)]
    pub taints: Vec<TaintSpec>,
    /// Cordoned. Default false.
    pub unschedulable: Option<bool>,
    /// Images that the node has already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageSpec>,
}

/// A node's taint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaintSpec {
    /// Key.
    pub key: String,
    /// Value. Default empty.
    pub value: Option<String>,
    /// What happens to pods that do not tolerate it.
    pub effect: TaintEffect,
}

/// Effect of a taint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// No pod without a toleration is placed.
    NoSchedule,
    /// Placed only if no other node does.
    PreferNoSchedule,
    /// As `NoSchedule`, and running pods leave.
    NoExecute,
}

/// The components besides the scheduler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ControlPlaneSpec {
    /// The API server.
    #[serde(default)]
    pub api_server: ApiServerSpec,
    /// etcd.
    #[serde(default)]
    pub etcd: EtcdSpec,
    /// kube-controller-manager: its controllers.
    #[serde(default)]
    pub controller_manager: ControllerManagerSpec,
    /// What brings bound pods to Running.
    #[serde(default)]
    pub node_lifecycle: NodeLifecycleSpec,
    /// Other clients that watch (dashboards, a recorder); they cost the server and their host.
    #[serde(default)]
    pub watchers: Vec<WatcherSpec>,
}

/// The API server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiServerSpec {
    /// Cost profile. Default `apiserver-1.36`.
    pub profile: Option<String>,
    /// Host by name. Default: cores without limit.
    pub host: Option<String>,
    /// `--max-requests-inflight`. Default 400.
    pub max_requests_inflight: Option<u64>,
    /// `--max-mutating-requests-inflight`. Default 200.
    pub max_mutating_requests_inflight: Option<u64>,
    /// API priority and fairness instead of the two plain limits. Default true.
    pub priority_and_fairness: Option<bool>,
    /// HTTP/2 streams of one connection. Default 100.
    pub max_streams_per_connection: Option<u64>,
    /// Threads that run at once (GOMAXPROCS). Default: the host's cores.
    pub max_threads: Option<u64>,
    /// `--default-not-ready-toleration-seconds` and `--default-unreachable-toleration-seconds`: how long a pod stays on a
    /// node that is not ready or not heard of, if it does not say so itself. Default 300.
    pub default_toleration_seconds: Option<u64>,
}

/// etcd.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EtcdSpec {
    /// Cost profile. Default `etcd-3.6`.
    pub profile: Option<String>,
    /// Host by name. Default: cores without limit.
    pub host: Option<String>,
    /// Latency of the log's fdatasync, or `off` (`--unsafe-no-fsync`). Default: the profile's.
    pub fsync: Option<FsyncSpec>,
    /// Members of the cluster. Default 1.
    pub members: Option<u64>,
    /// Round trip between members. Default 0s.
    pub peer_rtt: Option<DurationNs>,
}

/// A client's token bucket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientSpec {
    /// Requests per second. Default: the component's.
    pub qps: Option<Rate>,
    /// Requests at once after a pause. Default: the component's.
    pub burst: Option<u64>,
}

/// kube-controller-manager.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ControllerManagerSpec {
    /// Cost profile. Default: controllers cost nothing on their own host.
    pub profile: Option<String>,
    /// Host by name. Default: cores without limit.
    pub host: Option<String>,
    /// `--kube-api-qps` and `--kube-api-burst`. Default 20 and 30.
    #[serde(default)]
    pub client: ClientSpec,
    /// `--concurrent-replicaset-syncs` and its like. Default 5.
    pub concurrent_syncs: Option<u64>,
    /// `--node-monitor-period`: time between two looks at the nodes' leases. Default 5s.
    pub node_monitor_period: Option<DurationNs>,
    /// `--node-monitor-grace-period`: a node that is not heard of for so long is `Unknown`. Default 50s.
    pub node_monitor_grace_period: Option<DurationNs>,
    /// `--node-eviction-rate`: nodes that are tainted per second. Default 0.1.
    pub node_eviction_rate: Option<Rate>,
    /// `--secondary-node-eviction-rate`: the same in a large zone that is unhealthy. Default 0.01.
    pub secondary_node_eviction_rate: Option<Rate>,
    /// `--unhealthy-zone-threshold`: share of nodes that are not ready in an unhealthy zone. Default 55%.
    pub unhealthy_zone_threshold: Option<Ratio>,
    /// `--large-cluster-size-threshold`: a zone with more nodes is large. Default 50.
    pub large_cluster_size_threshold: Option<u64>,
}

/// What brings bound pods to Running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodeLifecycleKind {
    /// Nobody: pods stay bound.
    #[default]
    None,
    /// Kubemark's hollow kubelets: each node its own client.
    Hollow,
    /// KWOK: one client for all nodes.
    Kwok,
    /// Real kubelets.
    Kubelet,
}

/// Node agents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeLifecycleSpec {
    /// Kind of agent. Default `none`.
    pub kind: Option<NodeLifecycleKind>,
    /// Cost profile. Default: the kind's.
    pub profile: Option<String>,
    /// Host by name (of KWOK, or of the hollow nodes together). Default: cores without limit.
    pub host: Option<String>,
    /// From seeing the bound pod to reporting it Running. Default: the kind's.
    pub start_latency: Option<TimeDistribution>,
    /// Kubelets and hollow nodes: from seeing the pod deleted to its containers having ended, at most the pod's `terminationGracePeriodSeconds`; until then
    /// it keeps its place. Default 0s.
    pub termination_latency: Option<TimeDistribution>,
    /// Leases and node status as background load. Default: true unless the kind is `none`.
    pub heartbeats: Option<bool>,
    /// The agent's token bucket. Default: the kind's.
    #[serde(default)]
    pub client: ClientSpec,
    /// KWOK: files of Stages, or folders with such files; [stages.md](stages.md). Default: pods are started at once and end after their `runTime`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<String>,
}

/// A client that watches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WatcherSpec {
    /// Name, for the tables.
    pub name: String,
    /// Host by name. Default: cores without limit.
    pub host: Option<String>,
    /// Cost profile of decoding. Default: it costs the server only.
    pub profile: Option<String>,
    /// Resource that is watched.
    pub resource: WatchedResource,
}

/// A resource that a watcher watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WatchedResource {
    /// Pods.
    Pods,
    /// Nodes.
    Nodes,
    /// Events.
    Events,
}

/// Who the scheduler is to API priority and fairness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Identity {
    /// The user of kube-scheduler: level `workload-high`.
    #[serde(rename = "system:kube-scheduler")]
    KubeScheduler,
    /// A service account: level `workload-low`.
    #[serde(rename = "service-account")]
    ServiceAccount,
    /// The administrators' group: exempt.
    #[serde(rename = "system:masters")]
    Masters,
}

/// The scheduler under study. Fields of another kind than the one chosen are errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SchedulerSpec {
    /// `kube-scheduler`, `yunikorn`, `volcano`, `first-fit`, `process` (a program of its own), or the name of a registered scheduler.
    pub kind: String,
    /// Cost profile. Default: the kind's newest.
    pub profile: Option<String>,
    /// Host by name. Default: cores without limit.
    pub host: Option<String>,
    /// Threads that run at once (GOMAXPROCS). Default: the host's cores.
    pub max_threads: Option<u64>,
    /// Who it is to the API server. Default: `system:kube-scheduler` for kube-scheduler, else `service-account`.
    pub identity: Option<Identity>,
    /// Token bucket of binds and status updates. Default: the kind's (kube-scheduler 50 and 100, YuniKorn 1000, 1000,
    /// Volcano 2000, 2000).
    #[serde(default)]
    pub client: ClientSpec,
    /// Token bucket of events. Default: as `client`.
    pub events_client: Option<ClientSpec>,
    /// From t=0 to the scheduler's start. Default 0s.
    pub start_delay: Option<DurationNs>,
    /// A real configuration file, read as it is: KubeSchedulerConfiguration, YuniKorn's `queues.yaml` or
    /// `volcano-scheduler.conf`. Path relative to the scenario. Fields that the scenario gives itself win over the file's.
    pub config: Option<String>,
    /// Options of a registered scheduler, by name; of the built-in kinds, `process` hands them to its program.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub options: BTreeMap<String, serde_yaml::Value>,

    /// kube-scheduler, Volcano: share of nodes to find before scoring, 0 to 100. Default 0: adaptive.
    pub percentage_of_nodes_to_score: Option<u64>,
    /// kube-scheduler: threads of the filter and score phases. Default 16.
    pub parallelism: Option<u64>,
    /// kube-scheduler: first backoff of an unschedulable pod. Default 1s.
    pub pod_initial_backoff: Option<DurationNs>,
    /// kube-scheduler: longest backoff. Default 10s.
    pub pod_max_backoff: Option<DurationNs>,
    /// kube-scheduler: how NodeResourcesFit scores. Default LeastAllocated.
    pub scoring_strategy: Option<ScoringStrategy>,
    /// kube-scheduler: plugins to switch off.
    pub plugins: Option<PluginsSpec>,
    /// kube-scheduler: `--feature-gates`: `OpportunisticBatching`, `SchedulerAsyncAPICalls`, `SchedulerPopFromBackoffQ`. Default:
    /// as in the version of the cost profile.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub feature_gates: BTreeMap<String, bool>,

    /// YuniKorn: run the shim's predicates per node. Default true.
    pub predicates: Option<bool>,
    /// YuniKorn: how nodes are kept in order. Default `btree`.
    pub node_sort: Option<NodeSort>,
    /// YuniKorn: which order. Default `fair`.
    pub node_sort_policy: Option<NodeSortPolicy>,
    /// YuniKorn: queues. Default: one, `root.default`. Volcano: queues besides `default`.
    #[serde(default)]
    pub queues: Vec<QueueSpec>,
    /// YuniKorn: the shim's application tick. Volcano: `--schedule-period`. Default 1s.
    pub scheduling_interval: Option<DurationNs>,
    /// YuniKorn: whether pods that fit nowhere have nodes reserved (`DISABLE_RESERVATION` in its environment). Default true.
    pub reservations: Option<bool>,
    /// YuniKorn: the core alone, as its own benchmark runs it (one repeated ask an application, no shim, no binding).
    /// Default false.
    pub core_only: Option<bool>,

    /// What the workload says and this scheduler does not know: `gang` (pods are scheduled one by one) and `queue`. Without it such a
    /// workload is an error. It lets one workload run under several schedulers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<Ignored>,
    /// kube-scheduler: Kueue in front of it, which admits jobs. Their `queue` is a LocalQueue of their namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kueue: Option<KueueSpec>,
    /// Volcano: token bucket of vc-controller-manager, which makes PodGroups for plain pods. Default 50 and 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller_client: Option<ClientSpec>,

    /// `process`: program and arguments. It runs in the scenario's folder, with the rights of podpace.
    #[serde(default)]
    pub command: Vec<String>,
    /// `process`: how long an answer may take in real time. Default 10s.
    pub answer_timeout: Option<DurationNs>,
}

/// Something of the workload that a scheduler does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ignored {
    /// Gangs.
    Gang,
    /// Queues.
    Queue,
}

/// How NodeResourcesFit scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ScoringStrategy {
    /// Emptier nodes score higher.
    LeastAllocated,
    /// Fuller nodes score higher.
    MostAllocated,
}

/// Changes to kube-scheduler's default plugins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginsSpec {
    /// Names of plugins that do not run, such as `ImageLocality`.
    #[serde(default)]
    pub disabled: Vec<String>,
}

/// How YuniKorn keeps its nodes in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeSort {
    /// A B-tree that is updated node by node (since 0.9).
    Btree,
    /// Every node is sorted for every allocation (until 0.8).
    Fullsort,
}

/// Which order YuniKorn keeps its nodes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeSortPolicy {
    /// Least used first.
    Fair,
    /// Most used first.
    Binpacking,
}

/// How YuniKorn sorts the applications of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QueueSort {
    /// Least used share first.
    Fair,
    /// Oldest first.
    Fifo,
}

/// A queue of YuniKorn or Volcano.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueueSpec {
    /// Full name, such as `root.default`. Parents exist by being named in it. Volcano: a plain name.
    pub name: String,
    /// Holds queues, not applications. Default: true if another queue's name continues this one's.
    pub parent: Option<bool>,
    /// Order of its applications. Default `fifo`.
    pub sort: Option<QueueSort>,
    /// Guaranteed resources (Volcano: `guarantee`). Default none.
    #[serde(default)]
    pub guaranteed: ResourceList,
    /// Largest use (Volcano: `capability`). Default no limit.
    #[serde(default)]
    pub max: ResourceList,
    /// Volcano: its part of the cluster beside the others'. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u64>,
    /// Volcano: queues of higher priority go first. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
}

/// When the workload begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkloadStart {
    /// All pods exist when the scheduler starts, at t=0.
    Backlog,
    /// The scheduler is up and creation starts at t=0.
    #[default]
    Live,
}

/// The pods and when they come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadSpec {
    /// Before the scheduler (`backlog`) or under its eyes (`live`). Default `live`.
    pub start: Option<WorkloadStart>,
    /// Deployments, whose pods the controller manager creates.
    #[serde(default)]
    pub deployments: Vec<DeploymentSpec>,
    /// Pods that a load client creates directly.
    #[serde(default)]
    pub pods: Vec<PodGroupSpec>,
    /// StatefulSets, whose pods the controller manager creates, by default one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stateful_sets: Vec<StatefulSetSpec>,
    /// Jobs. One that gives `parallelism`, `completionMode` or `backoffLimit` is the controller manager's; the pods of others
    /// are created by the load client, all of them.
    #[serde(default)]
    pub jobs: Vec<JobSpec>,
    /// CronJobs, whose Jobs the controller manager creates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cron_jobs: Vec<CronJobSpec>,
    /// The date of t = 0, for `cronJobs`: UTC, such as `2025-01-01T00:00:00Z`, which is the default (a Wednesday). CronJobs among
    /// `manifests` need one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// The client that creates `pods`, deployments and jobs.
    #[serde(default)]
    pub client: LoadClientSpec,
    /// When they are created.
    #[serde(default)]
    pub arrivals: ArrivalsSpec,
    /// A trace folder as `podpace trace import` writes it, path relative to the scenario: its pods instead of groups, and
    /// its nodes unless `cluster.nodes` has some.
    pub trace: Option<String>,
    /// Files or folders of Kubernetes manifests or of `kubectl get -o json|yaml`, paths relative to the scenario: read as
    /// `podpace trace import k8s-list` reads them, and DaemonSets and CronJobs besides.
    #[serde(default)]
    pub manifests: Vec<String>,
    /// What is changed about the trace or manifests before they run.
    #[serde(default)]
    pub transform: TransformSpec,
}

/// What is changed about a trace before it runs, in this order: `window`, `timeScale`, `loadScale` with `jitter`, `nodeScale`,
/// `capacityScale`, `mapping`, `gpuResources`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TransformSpec {
    /// Only pods created in this time of the trace, counted from its beginning.
    pub window: Option<WindowSpec>,
    /// Multiplies all times of the trace: creation and run times. Default 1.
    pub time_scale: Option<Ratio>,
    /// Pods per pod of the trace, at the same time: 0.5 takes a random half, 2.5 each twice and a random half three times;
    /// copies belong to copies of their application. Default 1.
    pub load_scale: Option<Ratio>,
    /// Copies come up to so much later, at random. Default 0s.
    pub jitter: Option<DurationNs>,
    /// Nodes per node of the trace, spread evenly over its kinds of nodes. Default 1.
    pub node_scale: Option<Ratio>,
    /// Multiplies CPU and memory of the trace's nodes. Default 1.
    pub capacity_scale: Option<Ratio>,
    /// Whose pods go to which queue and namespace; the first rule that fits a pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mapping: Vec<MappingSpec>,
    /// Which GPU models become which extended resource, on nodes and in requests; the first rule that fits a model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpu_resources: Vec<GpuResourceSpec>,
}

/// Queue and namespace of the pods that fit all of its patterns, in which `*` stands for anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MappingSpec {
    /// Pattern of the user. Default: anyone.
    pub from_user: Option<String>,
    /// Pattern of the pod's label `group`. Default: any.
    pub from_group: Option<String>,
    /// Pattern of the queue. Default: any.
    pub from_queue: Option<String>,
    /// Pattern of the namespace. Default: any.
    pub from_namespace: Option<String>,
    /// Its queue; may hold `{user}`, `{group}`, `{queue}`, `{namespace}`. Default: unchanged.
    pub queue: Option<String>,
    /// Its namespace; may hold the same. Default: unchanged.
    pub namespace: Option<String>,
}

/// An extended resource for GPUs of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GpuResourceSpec {
    /// Pattern of the model, in which `*` stands for anything.
    pub model: String,
    /// The resource that stands for it, such as `example.com/v100`.
    pub resource: String,
}

/// A part of a trace's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WindowSpec {
    /// Its beginning, which becomes t = 0. Default 0s.
    pub from: Option<DurationNs>,
    /// Its end, not included. Default: the end of the trace.
    pub to: Option<DurationNs>,
}

/// The client that creates the workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadClientSpec {
    /// Requests under way at once. Default 16.
    pub concurrency: Option<u64>,
    /// Requests per second. Default: no limit.
    pub qps: Option<Rate>,
    /// Requests at once after a pause. Default: as `qps`, rounded up.
    pub burst: Option<u64>,
    /// Host by name. Default: cores without limit.
    pub host: Option<String>,
    /// Cost profile. Default: the client costs nothing.
    pub profile: Option<String>,
}

/// The process by which pods arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ArrivalProcess {
    /// As fast as the client's concurrency and token bucket allow.
    #[default]
    Closed,
    /// One every 1/rate seconds.
    Constant,
    /// Exponential gaps of mean 1/rate seconds.
    Poisson,
    /// `batchSize` at once, every `interval`.
    Batch,
}

/// When the workload is created.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArrivalsSpec {
    /// Process. Default `closed`.
    pub process: Option<ArrivalProcess>,
    /// Pods per second, for `constant` and `poisson`.
    pub rate: Option<Rate>,
    /// Gap between applications or deployments, or between batches. Default 0s.
    pub interval: Option<DurationNs>,
    /// Pods of a batch, for `batch`.
    pub batch_size: Option<u64>,
}

/// A gang: the pods of an application start together, by YuniKorn's task groups or as a Volcano Job with one task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GangSpec {
    /// Name of the task group. Default `gang`.
    pub task_group: Option<String>,
    /// Placeholders (Volcano: pods) that must find a place first. Default: as many as the application has pods.
    pub min_member: Option<u64>,
    /// What a placeholder asks for. Default: what a pod does.
    #[serde(default)]
    pub min_resource: ResourceList,
    /// When the placeholders can't all be placed in time: run without a gang (`Soft`, the default), or fail (`Hard`).
    pub gang_scheduling_style: Option<GangStyle>,
    /// From the first placeholder's allocation on. Default 15m.
    pub placeholder_timeout: Option<DurationNs>,
}

/// What becomes of a gang whose placeholders can't be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GangStyle {
    /// Its pods are scheduled one by one.
    Soft,
    /// It fails.
    Hard,
}

/// What all groups of pods say about one pod; see the comments of [`PodGroupSpec`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodShape {
    /// Requests: CPU in millicores, memory in bytes, others in units.
    pub requests: ResourceList,
    /// Priority, higher first.
    pub priority: Option<i32>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Labels that a node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Tolerations.
    pub tolerations: Vec<TolerationSpec>,
    /// The node, when placed by name.
    pub node_name: Option<String>,
    /// Ports of the node.
    pub host_ports: Vec<HostPortSpec>,
    /// Whether it may preempt.
    pub preemption_policy: Option<PreemptionPolicy>,
    /// Whether it allows to be preempted.
    pub allow_preemption: Option<bool>,
    /// Whether an autoscaler may move it.
    pub safe_to_evict: Option<bool>,
    /// Keeping apart pods of the same `app`.
    pub anti_affinity: Option<AntiAffinitySpec>,
    /// Affinity to other pods.
    pub pod_affinity: Option<PodAffinitySpec>,
    /// Anti-affinity to other pods.
    pub pod_anti_affinity: Option<PodAffinitySpec>,
    /// Profile of kube-scheduler.
    pub scheduler_name: Option<String>,
    /// How long its containers may take to end.
    pub termination_grace_period_seconds: Option<u64>,
    /// What holds the pod back.
    pub scheduling_gates: Vec<SchedulingGateSpec>,
    /// Images of the containers.
    pub images: Vec<String>,
    /// Volumes of its own.
    pub volume_claim_templates: Vec<VolumeClaimTemplateSpec>,
    /// Spreading over a topology.
    pub topology_spread: Vec<TopologySpreadSpec>,
    /// Node affinity.
    pub node_affinity: Option<NodeAffinitySpec>,
    /// Queue of the application.
    pub queue: Option<String>,
    /// Who submits it.
    pub user: Option<String>,
    /// The user's groups.
    pub groups: Vec<String>,
    /// Namespace.
    pub namespace: Option<String>,
    /// Gang.
    pub gang: Option<GangSpec>,
    /// Application's name.
    pub app: Option<String>,
    /// From Running to finished.
    pub run_time: Option<TimeDistribution>,
    /// From the client's seeing the pod bound to its deletion.
    pub hold: Option<TimeDistribution>,
}

/// Declares a group of pods: its own fields, then those that all groups share.
macro_rules! pod_group {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            /// What a pod asks for, such as `{cpu: 100m, memory: 500Mi}`. Default nothing.
            #[serde(default)]
            pub requests: ResourceList,
            /// Priority; higher goes first. Default 0.
            pub priority: Option<i32>,
            /// Labels of a pod besides `app`.
            #[serde(default)]
            pub labels: BTreeMap<String, String>,
            /// KWOK: annotations of a pod that stages read.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            pub annotations: BTreeMap<String, String>,
            /// Labels that a node must have.
            #[serde(default)]
            pub node_selector: BTreeMap<String, String>,
            /// Tolerations of taints.
            #[serde(default)]
            pub tolerations: Vec<TolerationSpec>,
            /// Node by name, which the NodeName filter checks. Default any.
            pub node_name: Option<String>,
            /// Ports that the pod takes on its node: `8080`, or `{hostPort: 53, protocol: UDP, hostIP: 10.0.0.1}`.
            #[serde(default)]
            pub host_ports: Vec<HostPortSpec>,
            /// Whether it may push pods of lower priority off a node. Default `PreemptLowerPriority`.
            pub preemption_policy: Option<PreemptionPolicy>,
            /// YuniKorn: the pods allow to be preempted (`yunikorn.apache.org/allow-preemption`); those that don't are taken
            /// only if no others do. Default true.
            pub allow_preemption: Option<bool>,
            /// Whether an autoscaler may move the pods: cluster-autoscaler's annotation `cluster-autoscaler.kubernetes.io/safe-to-evict`; false is Karpenter's
            /// `karpenter.sh/do-not-disrupt`, too. Default: it depends on who owns them.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub safe_to_evict: Option<bool>,
            /// Keep pods with the same label `app` apart: `none`, `required`, `preferred`, or with a topology:
            /// `{mode: required, topologyKey: kubernetes.io/hostname}`. Default `none`.
            pub anti_affinity: Option<AntiAffinitySpec>,
            /// Affinity to other pods, in full.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub pod_affinity: Option<PodAffinitySpec>,
            /// Anti-affinity to other pods, in full.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub pod_anti_affinity: Option<PodAffinitySpec>,
            /// kube-scheduler: the profile that schedules the pod. Default: `default-scheduler`, or the first if there is none of that
            /// name.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub scheduler_name: Option<String>,
            /// How long the containers may take to end when the pod is deleted (preempted, evicted, drained, scaled down), see
            /// `controlPlane.nodeLifecycle.terminationLatency`. Default 30.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub termination_grace_period_seconds: Option<u64>,
            /// kube-scheduler and YuniKorn: what holds the pod back, and for how long.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub scheduling_gates: Vec<SchedulingGateSpec>,
            /// Images of the containers, init containers included; kube-scheduler prefers nodes that have them.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub images: Vec<String>,
            /// kube-scheduler: volumes that each pod has of its own.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub volume_claim_templates: Vec<VolumeClaimTemplateSpec>,
            /// Spread pods with the same label `app` over a topology.
            #[serde(default)]
            pub topology_spread: Vec<TopologySpreadSpec>,
            /// Node affinity.
            pub node_affinity: Option<NodeAffinitySpec>,
            /// Queue of YuniKorn (default `root.default`; with `scheduler.config` none is asked for) or of Volcano (default `default`);
            /// with Kueue a LocalQueue of the namespace.
            pub queue: Option<String>,
            /// YuniKorn: who submits the application. Default `nobody`.
            pub user: Option<String>,
            /// YuniKorn: the user's groups.
            #[serde(default)]
            pub groups: Vec<String>,
            /// Namespace. Default `default`. YuniKorn: the tag `namespace` of placement rules.
            pub namespace: Option<String>,
            /// YuniKorn, Volcano: the pods are a gang. Default no gang.
            pub gang: Option<GangSpec>,
            /// Application's name, the label `app`. Default: the group's name, numbered if there are several.
            pub app: Option<String>,
            /// From Running to finished: a duration, `{p50, p99}` or `{min, max}`. Default: runs for ever.
            pub run_time: Option<TimeDistribution>,
            /// From the load client's seeing the pod bound to its deleting it. Default: it stays.
            pub hold: Option<TimeDistribution>,
        }

        impl $name {
            /// What the group says about one pod.
            pub fn shape(&self) -> PodShape {
                PodShape {
                    requests: self.requests.clone(),
                    priority: self.priority,
                    labels: self.labels.clone(),
                    annotations: self.annotations.clone(),
                    node_selector: self.node_selector.clone(),
                    tolerations: self.tolerations.clone(),
                    node_name: self.node_name.clone(),
                    host_ports: self.host_ports.clone(),
                    preemption_policy: self.preemption_policy,
                    allow_preemption: self.allow_preemption,
                    safe_to_evict: self.safe_to_evict,
                    anti_affinity: self.anti_affinity.clone(),
                    pod_affinity: self.pod_affinity.clone(),
                    pod_anti_affinity: self.pod_anti_affinity.clone(),
                    scheduler_name: self.scheduler_name.clone(),
                    termination_grace_period_seconds: self.termination_grace_period_seconds,
                    scheduling_gates: self.scheduling_gates.clone(),
                    images: self.images.clone(),
                    volume_claim_templates: self.volume_claim_templates.clone(),
                    topology_spread: self.topology_spread.clone(),
                    node_affinity: self.node_affinity.clone(),
                    queue: self.queue.clone(),
                    user: self.user.clone(),
                    groups: self.groups.clone(),
                    namespace: self.namespace.clone(),
                    gang: self.gang.clone(),
                    app: self.app.clone(),
                    run_time: self.run_time,
                    hold: self.hold,
                }
            }
        }
    };
}

pod_group! {
    /// Deployments.
    DeploymentSpec {
        /// Name of the Deployments (`name-0`, `name-1`, ... if there are several). Default `deployment`.
        name: Option<String>,
        /// Number of Deployments. Default 1.
        count: Option<u64>,
        /// Pods of each.
        replicas: u64,
        /// How pods are replaced by those of another template (a fault of kind `rollout`). Default `RollingUpdate`.
        #[serde(skip_serializing_if = "Option::is_none")]
        strategy: Option<DeploymentStrategySpec>,
        /// How long a pod has to be ready before it is available. Default 0.
        #[serde(skip_serializing_if = "Option::is_none")]
        min_ready_seconds: Option<u64>,
    }
}
pod_group! {
    /// Pods that a load client creates directly. Pod i of P is in application floor(i * apps / P).
    PodGroupSpec {
        /// Prefix of the pods' names. Default `pod`.
        name: Option<String>,
        /// Number of pods.
        count: u64,
        /// Number of applications that share them. Default 1.
        apps: Option<u64>,
    }
}
pod_group! {
    /// Jobs.
    JobSpec {
        /// Name of the Jobs (`name-0`, `name-1`, ... if there are several). Default `job`.
        name: Option<String>,
        /// Number of Jobs. Default 1.
        count: Option<u64>,
        /// Pods that finish in each Job. Default 1.
        completions: Option<u64>,
        /// Pods of a Job that exist at once. Default: as `completions`.
        parallelism: Option<u64>,
        /// `Indexed`: pods that failed are made anew by index, the lowest first. Default `NonIndexed`.
        completion_mode: Option<CompletionMode>,
        /// The Job has failed when more pods than so many have failed. Default 6.
        backoff_limit: Option<u64>,
    }
}
pod_group! {
    /// StatefulSets.
    StatefulSetSpec {
        /// Name of the StatefulSets (`name-0`, `name-1`, ... if there are several). Default `statefulset`.
        name: Option<String>,
        /// Number of StatefulSets. Default 1.
        count: Option<u64>,
        /// Pods of each.
        replicas: u64,
        /// Whether a pod waits until those before it are ready. Default `OrderedReady`.
        pod_management_policy: Option<PodManagementPolicy>,
    }
}

pod_group! {
    /// A CronJob. Each of its times before `stop.limit` may have a Job.
    CronJobSpec {
        /// Name; its Jobs are `name-0`, `name-1`, ... Default `cronjob` with its number.
        name: Option<String>,
        /// When a Job is due: five fields, or `@hourly` and its like.
        schedule: String,
        /// Time zone of the schedule, one with a fixed offset: `Etc/UTC`, which is the default, `UTC`, or `Etc/GMT-2`, which is two hours east.
        time_zone: Option<String>,
        /// A Job that is so late never comes. Default: there is no deadline.
        starting_deadline_seconds: Option<u64>,
        /// What a Job does that is due while one before it runs. Default `Allow`.
        concurrency_policy: Option<ConcurrencyPolicy>,
        /// No Job is ever due. Default false.
        suspend: Option<bool>,
        /// Jobs that have succeeded and are kept. Default 3.
        successful_jobs_history_limit: Option<u64>,
        /// Jobs that have failed and are kept. Default 1.
        failed_jobs_history_limit: Option<u64>,
        /// Pods that finish in each Job. Default 1.
        completions: Option<u64>,
        /// Pods of a Job that exist at once. Default: as `completions`.
        parallelism: Option<u64>,
        /// `Indexed`: pods that failed are made anew by index, the lowest first. Default `NonIndexed`.
        completion_mode: Option<CompletionMode>,
        /// The Job has failed when more pods than so many have failed. Default 6.
        backoff_limit: Option<u64>,
    }
}

/// `concurrencyPolicy` of a CronJob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConcurrencyPolicy {
    /// It runs beside the other.
    #[default]
    Allow,
    /// It waits for the other to end.
    Forbid,
    /// It takes the other's place.
    Replace,
}

impl JobSpec {
    /// Whether the Job controller makes its pods.
    #[must_use]
    pub const fn is_controlled(&self) -> bool {
        self.parallelism.is_some() || self.completion_mode.is_some() || self.backoff_limit.is_some()
    }
}

/// `completionMode` of a Job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CompletionMode {
    /// One pod is as good as another.
    #[default]
    NonIndexed,
    /// Each pod has an index.
    Indexed,
}

/// `podManagementPolicy` of a StatefulSet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PodManagementPolicy {
    /// One after the other.
    #[default]
    OrderedReady,
    /// All at once.
    Parallel,
}

/// `preemptionPolicy` of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PreemptionPolicy {
    /// It may.
    PreemptLowerPriority,
    /// It waits.
    Never,
}

/// A pod's toleration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TolerationSpec {
    /// Key. Default: every key (only with `operator: Exists`).
    pub key: Option<String>,
    /// Default `Equal`.
    pub operator: Option<TolerationOperator>,
    /// Value, for `Equal`. Default empty.
    pub value: Option<String>,
    /// Effect. Default: every effect.
    pub effect: Option<TaintEffect>,
    /// How long the pod stays on a node that gets a matching `NoExecute` taint, in whole seconds. Default: for good.
    pub toleration_seconds: Option<u64>,
}

/// How a toleration compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// Key and value are equal.
    Equal,
    /// The key exists.
    Exists,
}

/// How strictly pods are kept apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AntiAffinityMode {
    /// Not at all.
    #[default]
    None,
    /// `requiredDuringSchedulingIgnoredDuringExecution`.
    Required,
    /// `preferredDuringSchedulingIgnoredDuringExecution` with weight 100.
    Preferred,
}

/// Keeping apart pods with the same label `app`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AntiAffinitySpec {
    /// How strictly.
    pub mode: AntiAffinityMode,
    /// Node label that tells places apart. Default `kubernetes.io/hostname`.
    pub topology_key: Option<String>,
}

/// [`AntiAffinitySpec`] as a mapping.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AntiAffinityMap {
    /// How strictly.
    mode: AntiAffinityMode,
    /// Node label that tells places apart. Default `kubernetes.io/hostname`.
    topology_key: Option<String>,
}

impl<'de> Deserialize<'de> for AntiAffinitySpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpecVisitor;
        impl<'de> Visitor<'de> for SpecVisitor {
            type Value = AntiAffinitySpec;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("none, required, preferred or a mapping {mode, topologyKey}")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<AntiAffinitySpec, E> {
                let mode = match text {
                    "none" => AntiAffinityMode::None,
                    "required" => AntiAffinityMode::Required,
                    "preferred" => AntiAffinityMode::Preferred,
                    _ => return Err(E::unknown_variant(text, &["none", "required", "preferred"])),
                };
                Ok(AntiAffinitySpec { mode, topology_key: None })
            }
            fn visit_unit<E: Error>(self) -> Result<AntiAffinitySpec, E> {
                Ok(AntiAffinitySpec::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AntiAffinitySpec, A::Error> {
                let AntiAffinityMap { mode, topology_key } =
                    AntiAffinityMap::deserialize(MapAccessDeserializer::new(map))?;
                Ok(AntiAffinitySpec { mode, topology_key })
            }
        }
        deserializer.deserialize_any(SpecVisitor)
    }
}
impl Serialize for AntiAffinitySpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.topology_key {
            None => self.mode.serialize(serializer),
            Some(_) => AntiAffinityMap { mode: self.mode, topology_key: self.topology_key.clone() }
                .serialize(serializer),
        }
    }
}
impl JsonSchema for AntiAffinitySpec {
    fn schema_name() -> Cow<'static, str> {
        "AntiAffinity".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let scalar = generator.subschema_for::<AntiAffinityMode>();
        let map = generator.subschema_for::<AntiAffinityMap>();
        json_schema!({"anyOf": [scalar, map]})
    }
}

/// What to do when a spread can't be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenUnsatisfiable {
    /// Do not place the pod.
    DoNotSchedule,
    /// Place it anyway, scored lower.
    ScheduleAnyway,
}

/// Spreading pods, by default those with the same label `app`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopologySpreadSpec {
    /// Largest difference in pods between two places.
    pub max_skew: u64,
    /// Node label that tells places apart.
    pub topology_key: String,
    /// What to do when it can't be kept.
    pub when_unsatisfiable: WhenUnsatisfiable,
    /// Fewest domains: with fewer, the smallest count is taken for 0. Only with `DoNotSchedule`. Default 1.
    pub min_domains: Option<u64>,
    /// Whether nodes that the pod's node selector and affinity forbid are left out of the counts. Default `Honor`.
    pub node_affinity_policy: Option<NodeInclusionPolicy>,
    /// Whether nodes with taints that the pod does not tolerate are left out of the counts. Default `Ignore`.
    pub node_taints_policy: Option<NodeInclusionPolicy>,
    /// Only pods with the same values of these labels count, too. A label that the pod lacks is passed over.
    #[serde(default)]
    pub match_label_keys: Vec<String>,
    /// Labels of the pods that count. Default: the same `app`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelectorSpec>,
}

/// Whether something about nodes counts for a spread constraint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NodeInclusionPolicy {
    /// It does.
    Honor,
    /// It does not.
    Ignore,
}

/// Node affinity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeAffinitySpec {
    /// Terms of which one must hold.
    #[serde(default)]
    pub required: Vec<NodeSelectorTermSpec>,
    /// Terms that add to a node's score.
    #[serde(default)]
    pub preferred: Vec<PreferredTermSpec>,
}

/// Expressions that must hold together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSelectorTermSpec {
    /// The expressions.
    pub match_expressions: Vec<MatchExpressionSpec>,
}

/// Expressions that add to a node's score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreferredTermSpec {
    /// Weight, 1 to 100.
    pub weight: u64,
    /// The expressions.
    pub match_expressions: Vec<MatchExpressionSpec>,
}

/// How an expression compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MatchOperator {
    /// The label's value is one of `values`.
    In,
    /// The label's value is none of `values`, or the label is absent.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
    /// The label's value is an integer above the only one of `values`.
    Gt,
    /// The label's value is an integer below the only one of `values`.
    Lt,
}

/// One condition on a node's label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MatchExpressionSpec {
    /// The label's key.
    pub key: String,
    /// The comparison.
    pub operator: MatchOperator,
    /// What it is compared with.
    #[serde(default)]
    pub values: Vec<String>,
}

/// A distribution of times. In YAML: a plain duration, `{fixed: 1s}`, `{p50: 1s, p99: 2s}` or `{min: 1s, max: 2s}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeDistribution {
    /// Always the same.
    Fixed(DurationNs),
    /// Log-normal through two quantiles.
    Quantiles {
        /// Median.
        p50: DurationNs,
        /// 99th percentile; at least `p50`.
        p99: DurationNs,
    },
    /// Uniform between two ends.
    Uniform {
        /// Shortest.
        min: DurationNs,
        /// Longest; at least `min`.
        max: DurationNs,
    },
}

/// [`TimeDistribution`] as a mapping.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TimeDistributionMap {
    /// Always the same; excludes the other fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    fixed: Option<DurationNs>,
    /// Median; needs `p99`.
    #[serde(skip_serializing_if = "Option::is_none")]
    p50: Option<DurationNs>,
    /// 99th percentile; needs `p50`.
    #[serde(skip_serializing_if = "Option::is_none")]
    p99: Option<DurationNs>,
    /// Shortest; needs `max`.
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<DurationNs>,
    /// Longest; needs `min`.
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<DurationNs>,
}

impl TimeDistributionMap {
    fn into_distribution<E: Error>(self) -> Result<TimeDistribution, E> {
        match (self.fixed, self.p50, self.p99, self.min, self.max) {
            (Some(fixed), None, None, None, None) => Ok(TimeDistribution::Fixed(fixed)),
            (None, Some(p50), Some(p99), None, None) => Ok(TimeDistribution::Quantiles { p50, p99 }),
            (None, None, None, Some(min), Some(max)) => Ok(TimeDistribution::Uniform { min, max }),
            _ => Err(E::custom(
                "a distribution is either {fixed} or {p50, p99} or {min, max}, with both of a pair and nothing else",
            )),
        }
    }
}

struct DistributionVisitor;

impl<'de> Visitor<'de> for DistributionVisitor {
    type Value = TimeDistribution;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 1s, or a mapping {p50, p99}, {min, max} or {fixed}")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<TimeDistribution, E> {
        text.parse().map(TimeDistribution::Fixed).map_err(E::custom)
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<TimeDistribution, E> {
        self.visit_str(&value.to_string())
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<TimeDistribution, E> {
        self.visit_str(&value.to_string())
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<TimeDistribution, E> {
        self.visit_str(&value.to_string())
    }
    fn visit_unit<E: Error>(self) -> Result<TimeDistribution, E> {
        Ok(TimeDistribution::Fixed(DurationNs(0)))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TimeDistribution, A::Error> {
        TimeDistributionMap::deserialize(MapAccessDeserializer::new(map))?.into_distribution()
    }
}

impl<'de> Deserialize<'de> for TimeDistribution {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DistributionVisitor)
    }
}
impl Serialize for TimeDistribution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let map = TimeDistributionMap::default();
        match *self {
            Self::Fixed(fixed) => return fixed.serialize(serializer),
            Self::Quantiles { p50, p99 } => TimeDistributionMap { p50: Some(p50), p99: Some(p99), ..map },
            Self::Uniform { min, max } => TimeDistributionMap { min: Some(min), max: Some(max), ..map },
        }
        .serialize(serializer)
    }
}
impl JsonSchema for TimeDistribution {
    fn schema_name() -> Cow<'static, str> {
        "TimeDistribution".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let scalar = generator.subschema_for::<DurationNs>();
        let map = generator.subschema_for::<TimeDistributionMap>();
        json_schema!({
            "description": "A duration, or a mapping {p50, p99}, {min, max} or {fixed}.",
            "anyOf": [scalar, map]
        })
    }
}

/// Latency of etcd's fdatasync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FsyncSpec {
    /// No sync at all (`--unsafe-no-fsync`).
    Off,
    /// Each sync takes this long.
    Latency(TimeDistribution),
}

impl<'de> Deserialize<'de> for FsyncSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FsyncVisitor;
        impl<'de> Visitor<'de> for FsyncVisitor {
            type Value = FsyncSpec;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("off, a duration such as 1ms, or a mapping {p50, p99}, {min, max} or {fixed}")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<FsyncSpec, E> {
                match text {
                    "off" => Ok(FsyncSpec::Off),
                    _ => DistributionVisitor.visit_str(text).map(FsyncSpec::Latency),
                }
            }
            fn visit_bool<E: Error>(self, on: bool) -> Result<FsyncSpec, E> {
                match on {
                    false => Ok(FsyncSpec::Off),
                    true => Err(E::custom("say how long a sync takes, such as {p50: 1ms, p99: 8ms}")),
                }
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<FsyncSpec, E> {
                DistributionVisitor.visit_u64(value).map(FsyncSpec::Latency)
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<FsyncSpec, E> {
                DistributionVisitor.visit_i64(value).map(FsyncSpec::Latency)
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<FsyncSpec, E> {
                DistributionVisitor.visit_f64(value).map(FsyncSpec::Latency)
            }
            fn visit_unit<E: Error>(self) -> Result<FsyncSpec, E> {
                Ok(FsyncSpec::Off)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FsyncSpec, A::Error> {
                DistributionVisitor.visit_map(map).map(FsyncSpec::Latency)
            }
        }
        deserializer.deserialize_any(FsyncVisitor)
    }
}
impl Serialize for FsyncSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::Latency(distribution) => distribution.serialize(serializer),
        }
    }
}
impl JsonSchema for FsyncSpec {
    fn schema_name() -> Cow<'static, str> {
        "Fsync".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let latency = generator.subschema_for::<TimeDistribution>();
        json_schema!({"description": "off, or the latency of one sync.", "anyOf": [{"const": "off"}, latency]})
    }
}

/// What ends a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StopWhen {
    /// Every pod is bound.
    AllBound,
    /// Every pod is running.
    AllRunning,
    /// Every pod has finished.
    AllFinished,
    /// Only the limit ends it.
    Time,
}

/// When the run ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StopSpec {
    /// Condition. Default `allBound`.
    pub when: Option<StopWhen>,
    /// Virtual time after which it ends in any case. Default 1h; with a trace or manifests an hour more than the last creation
    /// and the longest run time. Required with `when: time`.
    pub limit: Option<DurationNs>,
}

/// How series are sampled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MeasureSpec {
    /// Window of rates, as PromQL's `rate(x[1m])`. Default 1m.
    pub window: Option<DurationNs>,
    /// Time between samples. Default 1s.
    pub step: Option<DurationNs>,
}

/// One expectation: of a metric (`metric`), of a ratio of two (`ratio`), or of a curve (`curve`); exactly one of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExpectSpec {
    /// Run by name; experiments only, where it is required with `metric` and `curve`.
    pub run: Option<String>,
    /// Metric by name, such as `throughput.bound.mean`.
    pub metric: Option<String>,
    /// Ratio of two runs' metrics; experiments only.
    pub ratio: Option<RatioExpectSpec>,
    /// Curve over time; experiments only.
    pub curve: Option<CurveExpectSpec>,
    /// Published or measured value; durations count in seconds.
    pub value: Option<MetricValue>,
    /// Largest relative distance from `value`. Required with `value`.
    pub tolerance: Option<Ratio>,
    /// Smallest value that passes.
    pub min: Option<MetricValue>,
    /// Largest value that passes.
    pub max: Option<MetricValue>,
    /// Largest median relative distance of the curve's points. Required with `curve`.
    pub median_tolerance: Option<Ratio>,
    /// Where the value stands.
    pub source: Option<String>,
}

/// A metric of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunMetricSpec {
    /// Run by name.
    pub run: String,
    /// Metric by name.
    pub metric: String,
}

/// One run's metric divided by another's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RatioExpectSpec {
    /// Run of the numerator.
    pub run: String,
    /// Metric of the numerator.
    pub metric: String,
    /// The denominator.
    pub over: RunMetricSpec,
}

/// What a curve shows over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CurveMetric {
    /// Pods bound so far.
    #[serde(rename = "pods.bound")]
    PodsBound,
    /// Pods started so far.
    #[serde(rename = "pods.started")]
    PodsStarted,
    /// Scheduling cycles so far.
    #[serde(rename = "cycles")]
    Cycles,
}

/// Where a published curve's time begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CurveOrigin {
    /// At t = 0 of the run.
    #[default]
    Start,
    /// At the first pod that the curve counts.
    First,
}

/// Points of a published figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CurveExpectSpec {
    /// CSV file, path relative to the experiment.
    pub file: String,
    /// Which figure: the value of column `figure`. Default: all rows.
    pub figure: Option<String>,
    /// Which series: the value of column `series`. Default: all rows.
    pub series: Option<String>,
    /// What the points count.
    pub metric: CurveMetric,
    /// Where the curve's time begins. Default: start.
    pub origin: Option<CurveOrigin>,
}

/// A study: a scenario, its runs, and what was published about them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "podpace experiment")]
pub struct ExperimentSpec {
    /// Always `podpace/v1`.
    pub api_version: String,
    /// Always `Experiment`.
    pub kind: String,
    /// Name of the experiment, of `[a-zA-Z0-9._-]`.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// Where it was published.
    pub source: Option<String>,
    /// The scenario, without `apiVersion` and `kind`; its name defaults to the experiment's. Decoded per run.
    #[schemars(with = "Option<serde_json::Value>")]
    pub scenario: Option<serde_yaml::Value>,
    /// Or the file of the scenario, path relative to the experiment.
    pub scenario_file: Option<String>,
    /// The runs.
    pub runs: Vec<ExperimentRunSpec>,
    /// What is expected.
    #[serde(default)]
    pub expect: Vec<ExpectSpec>,
    /// What must hold, one line each: `METRIC OPERATOR VALUE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<ThresholdSpec>,
}

/// One run of an experiment: the scenario with some fields set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExperimentRunSpec {
    /// Name of the run, of `[a-zA-Z0-9._-]`.
    pub name: String,
    /// Fields to set: path (as in `--set`) to value.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub set: BTreeMap<String, serde_yaml::Value>,
    /// Number of seeds: the scenario's and those after it. Default 1.
    pub seeds: Option<u64>,
}

/// Measured runs of a real control plane, and how near their predictions have to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "podpace measured study")]
pub struct StudySpec {
    /// Always `podpace/v1`.
    pub api_version: String,
    /// Always `MeasuredStudy`.
    pub kind: String,
    /// Name of the study, of `[a-zA-Z0-9._-]`.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// Who measured it, where and how.
    pub source: Option<String>,
    /// The folder of the runs, as `podpace validate` takes it; path relative to the study.
    pub runs: String,
    /// Seeds that each run is predicted with; each also draws the unit costs. Default 60.
    pub seeds: Option<u64>,
    /// What is expected of each class of runs.
    pub classes: BTreeMap<String, StudyClassSpec>,
}

/// What is expected of the runs of a class, over throughput and the time of the last binding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StudyClassSpec {
    /// Largest error of each value.
    pub each: Option<Ratio>,
    /// Largest median of the absolute errors.
    pub median: Option<Ratio>,
    /// Smallest share of measured values between the 5th and 95th percentile of the prediction.
    pub inside: Option<Ratio>,
}

/// A grid of runs over a scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "podpace sweep")]
pub struct SweepSpec {
    /// Always `podpace/v1`.
    pub api_version: String,
    /// Always `Sweep`.
    pub kind: String,
    /// Name of the sweep, of `[a-zA-Z0-9._-]`.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// The scenario, without `apiVersion` and `kind`; its name defaults to the sweep's. Decoded per run.
    #[schemars(with = "Option<serde_json::Value>")]
    pub scenario: Option<serde_yaml::Value>,
    /// Or the file of the scenario, path relative to the sweep.
    pub scenario_file: Option<String>,
    /// The axes; the last varies fastest.
    pub vary: Vec<VarySpec>,
    /// Number of seeds of each point: the scenario's and those after it. Default 1.
    pub seeds: Option<u64>,
}

/// One axis of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VarySpec {
    /// Field, as in `--set`.
    pub path: String,
    /// Its values.
    #[schemars(with = "Vec<serde_json::Value>")]
    pub values: Vec<serde_yaml::Value>,
    /// What the values are called in tables, one each; for values that are mappings. Default: the values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}
