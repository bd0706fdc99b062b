//! The native trace format's rows.
//!
//! A trace is a folder: `trace.json` (the [`Manifest`]) and one table per row type. Every table has the same
//! columns whether it is stored as JSON Lines or as Parquet:
//!
//! | table | row | order |
//! |---|---|---|
//! | `pods` | [`PodRow`] | (submit_ns, seq); seq counts 0, 1, 2, .. |
//! | `specs` | [`SpecRow`] | spec_id 0, 1, 2, .. in order of first use by `pods` |
//! | `nodes` | [`NodeRow`] | (t_ns, seq) |
//! | `events` | [`EventRow`] | (t_ns, seq) |
//! | `outcomes` | [`OutcomeRow`] | as `pods`; only pods whose outcome was recorded |
//!
//! Times are integer nanoseconds since the trace's origin ([`Manifest::origin_unix_ns`] says when that was, if
//! it is known). Resources are integers in the unit the name ends with: `cpu_millicores`, `memory_bytes`,
//! `ephemeral_storage_bytes`; every other resource keeps its Kubernetes name and counts units
//! (`nvidia.com/gpu`, `alibabacloud.com/gpu-milli`).
//!
//! An absent text is the empty string; an absent number is `null`. What a scheduler has to parse anyway
//! (tolerations, affinity, taints) stays Kubernetes JSON text, so that nothing of it is lost on the way.
//!
//! Columns that came later (`preemption_policy`, `host_ports`, `gang` of specs) may be absent; the latter two are, where no row has them, so that
//! a trace without them has the bytes that it had before there were such columns.
//!
//! Left out: container images, volumes, probes, environment: no scheduler model reads them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::report::Report;

/// The version of the native format that this build writes. Readers refuse a higher one.
pub const FORMAT_VERSION: u32 = 1;

/// Resource name of CPU requests and capacities, in thousandths of a core.
pub const CPU: &str = "cpu_millicores";
/// Resource name of memory requests and capacities, in bytes.
pub const MEMORY: &str = "memory_bytes";
/// Resource name of ephemeral storage requests and capacities, in bytes.
pub const EPHEMERAL_STORAGE: &str = "ephemeral_storage_bytes";
/// Resource name of the number of pods a node takes.
pub const PODS: &str = "pods";
/// Resource name of whole GPUs, as Kubernetes device plugins call it.
pub const GPU: &str = "nvidia.com/gpu";

/// Resources by name, in the unit of the name. Ordered, so that equal maps have equal bytes.
pub type Resources = BTreeMap<String, u64>;

fn is_zero(n: &u32) -> bool {
    *n == 0
}

fn is_zero_i(n: &i32) -> bool {
    *n == 0
}

/// One pod that asks to be scheduled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PodRow {
    /// When the pod is created, ns since the trace's origin.
    pub submit_ns: u64,
    /// Position in the trace: breaks ties between equal times.
    pub seq: u64,
    /// Unique in the trace.
    pub uid: String,
    /// Row of `specs`.
    pub spec_id: u32,
    /// Application (YuniKorn), job or owner the pod belongs to; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub app: String,
    /// Task group (gang) inside the application; empty: not part of a gang.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub task_group: String,
    /// Members the gang needs before any of them starts; 0: no gang.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub min_member: u32,
    /// Queue asked for (YuniKorn's full path, a batch system's queue, a virtual cluster); empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub queue: String,
    /// Who submitted; empty: unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Kubernetes priority value; higher goes first.
    #[serde(default, skip_serializing_if = "is_zero_i")]
    pub priority: i32,
    /// How long it runs once started; `None`: until the end of the trace or an event deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_ns: Option<u64>,
}

/// What pods with the same needs share.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpecRow {
    /// Row number, 0, 1, 2, ..
    pub spec_id: u32,
    /// Kubernetes namespace; empty: `default`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// What the pod asks for (containers summed as the scheduler sums them).
    pub requests: Resources,
    /// Labels that scheduling can read (selectors of affinity and topology spread).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `spec.nodeSelector`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// `spec.tolerations` as JSON text; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tolerations: String,
    /// `spec.affinity` as JSON text; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub affinity: String,
    /// `spec.topologySpreadConstraints` as JSON text; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub topology_spread: String,
    /// GPU models the trace accepts, alternatives separated by `|` (also in `affinity`); empty: any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gpu_type: String,
    /// `spec.schedulerName` if it is not the default; empty: default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scheduler_name: String,
    /// `spec.preemptionPolicy` if it is `Never`; empty: the pod may push others off a node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub preemption_policy: String,
    /// Ports of the node that the pod takes, as JSON text: a list of `{hostPort, protocol, hostIP}`; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host_ports: String,
    /// What the pod says of its application's gangs beyond its own group's name and size: a [`Gang`] as JSON text; empty: nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gang: String,
}

/// A port of the node that a pod takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostPort {
    /// Port.
    pub host_port: u16,
    /// `TCP`, `UDP` or `SCTP`; empty: TCP.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// Address; empty: all of the node.
    #[serde(default, rename = "hostIP", skip_serializing_if = "String::is_empty")]
    pub host_ip: String,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero_u64(n: &u64) -> bool {
    *n == 0
}

/// The gangs of an application, as the pod that brings it says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gang {
    /// The application fails (`Hard`) when its placeholders can't all be placed in time, and does not run without its gang.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hard: bool,
    /// How long they have; 0: the scheduler's default.
    #[serde(default, skip_serializing_if = "is_zero_u64")]
    pub placeholder_timeout_seconds: u64,
    /// Its groups.
    pub task_groups: Vec<TaskGroup>,
}

/// A task group of an application, with what its placeholders are made with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskGroup {
    /// Name.
    pub name: String,
    /// Placeholders.
    pub min_member: u32,
    /// What each asks for.
    pub min_resource: Resources,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Node selector.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Tolerations as JSON text; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tolerations: String,
    /// Affinity as JSON text; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub affinity: String,
    /// Topology spread constraints as JSON text; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub topology_spread: String,
}

/// What happens to a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeOp {
    /// The node joins with this capacity.
    #[default]
    Add,
    /// Capacity, labels or taints are now these.
    Update,
    /// The node leaves.
    Remove,
}

impl NodeOp {
    /// The name in files.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeOp::Add => "add",
            NodeOp::Update => "update",
            NodeOp::Remove => "remove",
        }
    }

    /// The operation with this name in files.
    pub fn parse(s: &str) -> Option<NodeOp> {
        match s {
            "add" => Some(NodeOp::Add),
            "update" => Some(NodeOp::Update),
            "remove" => Some(NodeOp::Remove),
            _ => None,
        }
    }
}

/// A node joins, changes or leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeRow {
    /// When, ns since the trace's origin.
    pub t_ns: u64,
    /// Position in the trace: breaks ties between equal times.
    pub seq: u64,
    /// What happens.
    pub op: NodeOp,
    /// Kubernetes node name.
    pub name: String,
    /// `status.allocatable`; empty for `remove`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub allocatable: Resources,
    /// `metadata.labels`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `spec.taints` as JSON text; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub taints: String,
}

/// What an [`EventRow`] says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventOp {
    /// The pod already sat on `node` when the trace begins (a snapshot): it takes room there and is not scheduled.
    #[default]
    PodBound,
    /// A gang's placeholder already sat on `node` when the trace begins: it holds the place until a pod of its task group
    /// comes for it, and is no pod of the workload.
    PlaceholderBound,
    /// Somebody deletes the pod, whatever stage it is in.
    PodDelete,
}

impl EventOp {
    /// The name in files.
    pub fn as_str(self) -> &'static str {
        match self {
            EventOp::PodBound => "pod-bound",
            EventOp::PlaceholderBound => "placeholder-bound",
            EventOp::PodDelete => "pod-delete",
        }
    }

    /// The event with this name in files.
    pub fn parse(s: &str) -> Option<EventOp> {
        match s {
            "pod-bound" => Some(EventOp::PodBound),
            "placeholder-bound" => Some(EventOp::PlaceholderBound),
            "pod-delete" => Some(EventOp::PodDelete),
            _ => None,
        }
    }
}

/// Something that happens to a pod from outside the scheduler.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventRow {
    /// When, ns since the trace's origin.
    pub t_ns: u64,
    /// Position in the trace: breaks ties between equal times.
    pub seq: u64,
    /// What happens.
    pub op: EventOp,
    /// The pod.
    pub uid: String,
    /// The node, where the event names one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
}

/// What really happened to a pod. Input of comparisons, never of a simulation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutcomeRow {
    /// The pod.
    pub uid: String,
    /// Created, ns since the trace's origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_ns: Option<u64>,
    /// Bound to a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_ns: Option<u64>,
    /// Containers started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_ns: Option<u64>,
    /// Finished or deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_ns: Option<u64>,
    /// Where it ran; empty: unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
}

/// How the tables are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Apache Parquet, zstd, row groups of 65,536 rows.
    #[default]
    Parquet,
    /// One JSON object a line.
    Jsonl,
}

/// How JSON Lines tables are compressed. Parquet compresses inside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// `pods.jsonl`
    #[default]
    None,
    /// `pods.jsonl.gz`
    Gzip,
    /// `pods.jsonl.zst`
    Zstd,
}

/// Rows per table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Rows of `pods`.
    pub pods: u64,
    /// Rows of `specs`.
    pub specs: u64,
    /// Rows of `nodes` (adds, updates and removals).
    pub node_rows: u64,
    /// Distinct node names.
    pub nodes: u64,
    /// Rows of `events`.
    pub events: u64,
    /// Rows of `outcomes`.
    pub outcomes: u64,
}

/// `trace.json`: what the trace is, where it came from, what was lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// Always `podpace-trace`.
    pub format: String,
    /// [`FORMAT_VERSION`] of the writer.
    pub version: u32,
    /// How the tables are stored.
    pub encoding: Encoding,
    /// How JSON Lines tables are compressed.
    pub compression: Compression,
    /// Format name the trace was imported from (`generate` for a generated one).
    pub source: String,
    /// Names of the files it came from (no folders), in the order read.
    pub source_files: Vec<String>,
    /// Unix time of the origin, ns; `null` when the source's clock is relative.
    pub origin_unix_ns: Option<i64>,
    /// Time of the last pod or node row, ns since the origin.
    pub last_ns: u64,
    /// Rows per table.
    pub counts: Counts,
    /// What the importer read, kept, dropped and made up.
    pub report: Report,
}

/// A text as a label value may be: hashed texts in base64 hold characters that it may not (`+`, `/`, `=`).
pub(crate) fn label_value(text: &str) -> String {
    let mapped: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' })
        .take(63)
        .collect();
    mapped.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_string()
}
