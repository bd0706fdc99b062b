//! What podpace and a scheduler of another process say to each other: one JSON object a line.
//!
//! `docs/custom-schedulers.md` describes every field. Numbers are integers; pods, nodes and specs go by the ids that podpace
//! gives them.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::cluster::{LabelSelector, Namespaces};

/// Version of the protocol. A new field that a scheduler may overlook does not change it.
pub const VERSION: u64 = 1;

/// The first line.
#[derive(Debug, Serialize)]
pub struct Hello<'a> {
    /// [`VERSION`].
    pub protocol: u64,
    /// podpace's own version.
    pub podpace: &'static str,
    /// For the scheduler's random numbers.
    pub seed: u64,
    /// Operations of the cost profile.
    pub operations: Vec<&'a str>,
    /// `scheduler.options` of the scenario.
    pub options: &'a Value,
}

/// The answer to [`Hello`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Welcome {
    /// The version that the scheduler speaks.
    pub protocol: u64,
    /// It can be saved and restored.
    #[serde(default)]
    pub checkpoint: bool,
}

/// What has happened.
#[derive(Debug, Serialize)]
pub struct Message<'a> {
    /// Virtual time.
    pub now_ns: u64,
    /// In order.
    pub events: &'a [Event],
}

/// Amounts by resource: `pods`, `cpu` in millicores, `memory` in bytes, then extended resources, in this order.
#[derive(Debug)]
pub struct Amounts(pub Vec<(String, u64)>);

impl Serialize for Amounts {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, amount)| (name, amount)))
    }
}

/// A taint.
#[derive(Debug, Serialize)]
pub struct TaintEvent {
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: &'static str,
}

/// Something that an informer shows, or that a request has come to.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Event {
    /// The process begins: all that exists has been shown.
    Start,
    /// A node came or changed.
    Node {
        id: u32,
        name: String,
        added: bool,
        allocatable: Amounts,
        labels: BTreeMap<String, String>,
        taints: Vec<TaintEvent>,
        unschedulable: bool,
        /// Known specs that may not run there, by reason.
        rejects: BTreeMap<String, Vec<u32>>,
    },
    /// A node went.
    NodeDeleted { id: u32 },
    /// What pods ask for; comes before the first pod of its kind.
    Spec {
        id: u32,
        requests: Amounts,
        priority: i32,
        labels: BTreeMap<String, String>,
        /// Known nodes on which they may not run, by reason: taints, selectors, required node affinity, names.
        rejected_by: BTreeMap<String, Vec<u32>>,
        pod_affinity: Vec<PodTerm>,
        topology_spread: Vec<Spread>,
        host_ports: Vec<u16>,
    },
    /// A pod that is not bound.
    Pod { id: u32, spec: u32, app: String, queue: String, user: String, namespace: String },
    /// The informer shows a pod on a node.
    PodBound { pod: u32, spec: u32, node: u32 },
    /// A pod has finished, or was deleted.
    PodGone { pod: u32, node: Option<u32> },
    /// A binding was answered.
    BindDone { pod: u32, node: u32, ok: bool },
    /// A status patch was answered.
    StatusPatched { pod: u32 },
    /// A DELETE was answered.
    DeleteDone { pod: u32, ok: bool },
    /// CPU work is done.
    CpuDone { tag: u64 },
    /// A timer fires.
    Timer { tag: u64 },
    /// The run ends: `pending` of the answer says why pods are.
    Report,
}

/// A term of pod affinity or anti-affinity.
#[derive(Debug, Serialize)]
pub struct PodTerm {
    /// Labels of the other pods.
    pub selector: LabelSelector,
    /// Where they are; nothing named: in the pod's own namespace.
    pub namespaces: Namespaces,
    /// Topology key.
    pub topology_key: String,
    /// None: required.
    pub weight: Option<i32>,
    /// Whether they repel.
    pub anti: bool,
}

/// A topology spread constraint.
#[derive(Debug, Serialize)]
pub struct Spread {
    /// Labels of the pods that are spread.
    pub selector: LabelSelector,
    /// Topology key.
    pub topology_key: String,
    /// Largest skew.
    pub max_skew: u32,
    /// Whether it must hold.
    pub required: bool,
}

/// The answer to [`Message`].
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// What is to be done, in order.
    #[serde(default)]
    pub actions: Vec<Act>,
    /// Pods that wait and could be tried now.
    #[serde(default)]
    pub backlog: u64,
    /// Why pods are pending; the last one given counts.
    #[serde(default)]
    pub pending: Option<BTreeMap<String, u64>>,
    /// Whether something waits for a time to come that will move pods although nothing else does.
    #[serde(default)]
    pub waits_for_time: bool,
}

fn one() -> u32 {
    1
}

/// What a scheduler asks for.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs)]
pub enum Act {
    /// The scheduling cycle of a pod begins (stamps its timeline).
    Cycle { pod: u32 },
    /// CPU work, as time or as operations of the cost profile, or both; `cpu_done` follows.
    Work {
        #[serde(default)]
        ns: u64,
        #[serde(default)]
        ops: BTreeMap<String, u64>,
        #[serde(default = "one")]
        threads: u32,
        tag: u64,
    },
    /// `timer` at a time.
    Timer { at_ns: u64, tag: u64 },
    /// The pod is assumed on a node; nothing leaves the process.
    Assume { pod: u32 },
    /// `POST pods/binding`; `bind_done` follows.
    Bind { pod: u32, node: u32 },
    /// Kubernetes Events.
    Events { count: u32 },
    /// A patch of the pod's status; `status_patched` follows.
    PatchStatus { pod: u32 },
    /// `DELETE pods`; `delete_done` follows, and `pod_gone` when it is gone.
    Delete { pod: u32 },
    /// The pod will not be tried again.
    GiveUp { pod: u32 },
}

/// A line of its own: the state is to be written into the answer.
#[derive(Debug, Serialize)]
pub struct Save {
    /// Always true.
    pub save: bool,
}

/// The answer to [`Save`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// Anything.
    pub state: Value,
}

/// A line of its own: the state is this; the answer is an empty object.
#[derive(Debug, Serialize)]
pub struct Restore<'a> {
    /// What [`Saved`] said.
    pub restore: &'a Value,
}
