//! What all importers of Kubernetes objects share: turning Pod and Node objects into rows.
//!
//! **Requests** are summed as the scheduler does: containers together, sidecars (init containers that restart always)
//! with them, against each init container plus the sidecars before it; pod-level requests win; overhead is added; a
//! limit without a request is a request, as the API server defaults it, and so is a pod-level limit of what no container asks for.
//!
//! **Who it belongs to.** Application: label or annotation of YuniKorn (`applicationId`, `yunikorn.apache.org/app-id`,
//! `spark-app-selector`), else the controller that owns the pod (a Deployment's ReplicaSet without its hash).
//! Queue: labels and annotations of YuniKorn, Kueue and Volcano. Gang: YuniKorn's task-group annotations, Volcano and
//! scheduler-plugins pod groups; how large, and with what placeholders: [`task_groups`](super::task_groups).
//!
//! **Left out of pods that exist**, and counted: what [`pod_checks`](super::pod_checks) refuses of those that don't.
//!
//! **Times** are those in the objects, whole seconds: creationTimestamp; PodScheduled condition; the latest
//! container start; the latest container end. They are of the clocks of API server, scheduler and kubelet: one up to
//! 10 s before the creation becomes the creation, and is counted; more is an error.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::pod_checks::note_left_out;
use super::priority_class::{is_unknown, system_class};
use super::{CLOCKS_DIFFER, Node, Outcome, Pod, SECOND, Sink, TraceError, task_groups};
pub use crate::trace::documents::Place;
use crate::trace::error::Problem;
use crate::trace::export::kubernetes::PLACEHOLDER_ANNOTATION;
use crate::trace::model::{CPU, EPHEMERAL_STORAGE, HostPort, MEMORY, NodeOp, Resources, SpecRow};
use crate::trace::number;

/// An object's kind. Items of the API's own lists have none: pods and nodes are known by what only they have.
pub fn kind(object: &Value) -> &str {
    match text(object, "/kind") {
        "" if object.pointer("/spec/containers").is_some() => "Pod",
        "" if object.pointer("/status/nodeInfo").or(object.pointer("/status/allocatable")).is_some() => {
            "Node"
        }
        kind => kind,
    }
}

/// A text at a JSON pointer, or "".
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// A time at a JSON pointer.
pub fn time(value: &Value, pointer: &str, place: &Place) -> Result<Option<i64>, TraceError> {
    match value.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(s)) => number::unix_ns(s)
            .map(Some)
            .map_err(|_| place.error(Problem::NotANumber, pointer, s, "a time as 2024-04-18T01:58:43Z")),
        Some(other) => Err(place.error(Problem::NotANumber, pointer, &other.to_string(), "a time in quotes")),
    }
}

/// Name and unit of a Kubernetes resource in traces.
pub fn resource(name: &str) -> (&str, u64) {
    match name {
        "cpu" => (CPU, 1000),
        "memory" => (MEMORY, 1),
        "ephemeral-storage" => (EPHEMERAL_STORAGE, 1),
        other => (other, 1),
    }
}

/// Quantities of a resource list.
pub fn resources(list: Option<&Value>, place: &Place) -> Result<Resources, TraceError> {
    let mut out = Resources::new();
    let Some(Value::Object(list)) = list else { return Ok(out) };
    for (name, quantity) in list {
        let (key, unit) = resource(name);
        let text = match quantity {
            Value::String(s) => s.clone(),
            other => other.to_string(),
        };
        let amount = number::quantity(&text, unit)
            .map_err(|_| place.error(Problem::NotANumber, name, &text, "a quantity as 100m, 2 or 512Mi"))?;
        out.insert(key.to_string(), amount);
    }
    Ok(out)
}

fn add(to: &mut Resources, from: &Resources) {
    for (k, v) in from {
        let slot = to.entry(k.clone()).or_insert(0);
        *slot = slot.saturating_add(*v);
    }
}

fn max(to: &mut Resources, from: &Resources) {
    for (k, v) in from {
        let slot = to.entry(k.clone()).or_insert(0);
        *slot = (*slot).max(*v);
    }
}

fn container_requests(container: &Value, place: &Place) -> Result<Resources, TraceError> {
    let mut requests = resources(container.pointer("/resources/requests"), place)?;
    for (k, v) in resources(container.pointer("/resources/limits"), place)? {
        requests.entry(k).or_insert(v);
    }
    Ok(requests)
}

/// What a pod spec asks for, as the scheduler counts it.
pub fn pod_requests(spec: &Value, place: &Place) -> Result<Resources, TraceError> {
    let list = |name: &str| spec.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or(&[]);
    let mut total = Resources::new();
    for c in list("containers") {
        add(&mut total, &container_requests(c, place)?);
    }
    let mut sidecars = Resources::new();
    let mut init = Resources::new();
    for c in list("initContainers") {
        let mut r = container_requests(c, place)?;
        if text(c, "/restartPolicy") == "Always" {
            add(&mut total, &r);
            add(&mut sidecars, &r);
            max(&mut init, &sidecars.clone());
        } else {
            add(&mut r, &sidecars);
            max(&mut init, &r);
        }
    }
    max(&mut total, &init);
    for (k, v) in resources(spec.pointer("/resources/requests"), place)? {
        total.insert(k, v);
    }
    // `defaultPodRequests` of k/k `pkg/apis/core/v1/defaults.go`: where no container asks, the pod's limit is its request.
    for (k, v) in resources(spec.pointer("/resources/limits"), place)? {
        total.entry(k).or_insert(v);
    }
    add(&mut total, &resources(spec.get("overhead"), place)?);
    Ok(total)
}

pub(super) fn string_map(value: Option<&Value>) -> BTreeMap<String, String> {
    let Some(Value::Object(map)) = value else { return BTreeMap::new() };
    map.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_string()))).collect()
}

pub(super) fn json_text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::Array(a)) if a.is_empty() => String::new(),
        Some(Value::Object(o)) if o.is_empty() => String::new(),
        Some(v) => v.to_string(),
    }
}

/// Labels that differ in every pod of one controller: they would make every spec its own.
const PER_POD_LABELS: [&str; 6] = [
    "controller-uid",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-completion-index",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "controller-revision-hash",
];

/// The spec row of a pod (or pod template).
pub fn spec_row(namespace: &str, meta: &Value, spec: &Value, place: &Place) -> Result<SpecRow, TraceError> {
    let mut labels = string_map(meta.get("labels"));
    for l in PER_POD_LABELS {
        labels.remove(l);
    }
    let scheduler = text(spec, "/schedulerName");
    let mut row = SpecRow {
        spec_id: 0,
        namespace: if namespace == "default" { String::new() } else { namespace.to_string() },
        requests: pod_requests(spec, place)?,
        labels,
        node_selector: string_map(spec.get("nodeSelector")),
        tolerations: json_text(spec.get("tolerations")),
        affinity: json_text(spec.get("affinity")),
        topology_spread: json_text(spec.get("topologySpreadConstraints")),
        gpu_type: String::new(),
        scheduler_name: if scheduler == "default-scheduler" { String::new() } else { scheduler.to_string() },
        preemption_policy: match text(spec, "/preemptionPolicy") {
            "Never" => "Never".to_owned(),
            _ => String::new(),
        },
        host_ports: host_ports(spec),
        gang: String::new(),
    };
    row.gang = task_groups::column(meta, marked(meta, &TASK_GROUP), &row);
    Ok(row)
}

/// Ports of the node that a pod takes (`GetHostPorts` of kube-scheduler's NodePorts): those of containers and sidecars; with
/// `hostNetwork` each port of a container is one, as the API server defaults it.
fn host_ports(spec: &Value) -> String {
    let list =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let on_host = spec.get("hostNetwork").and_then(Value::as_bool) == Some(true);
    let sidecars = list(spec, "initContainers").into_iter().filter(|c| text(c, "/restartPolicy") == "Always");
    let mut found: BTreeSet<HostPort> = BTreeSet::new();
    for container in list(spec, "containers").into_iter().chain(sidecars) {
        for port in list(&container, "ports") {
            let number = |name: &str| port.get(name).and_then(Value::as_u64).filter(|port| *port > 0);
            let Some(number) = number("hostPort").or(number("containerPort").filter(|_| on_host)) else {
                continue;
            };
            let Ok(host_port) = u16::try_from(number) else { continue };
            let given = |name: &str, default: &str| match text(&port, name) {
                same if same == default => String::new(),
                other => other.to_owned(),
            };
            let (protocol, host_ip) = (given("/protocol", "TCP"), given("/hostIP", "0.0.0.0"));
            found.insert(HostPort { host_port, protocol, host_ip });
        }
    }
    if found.is_empty() { String::new() } else { serde_json::to_string(&found).unwrap_or_default() }
}

/// Labels and annotations that name a pod's group.
const TASK_GROUP: [&str; 4] = [
    "yunikorn.apache.org/task-group-name",
    "scheduling.x-k8s.io/pod-group",
    "pod-group.scheduling.sigs.k8s.io",
    "scheduling.k8s.io/group-name",
];

fn marked<'a>(meta: &'a Value, keys: &[&str]) -> &'a str {
    for key in keys {
        for map in ["labels", "annotations"] {
            if let Some(v) = meta.get(map).and_then(|m| m.get(key)).and_then(Value::as_str)
                && !v.is_empty()
            {
                return v;
            }
        }
    }
    ""
}

/// Whether pods with this metadata belong to a gang.
pub fn is_in_gang(meta: &Value) -> bool {
    !marked(meta, &TASK_GROUP).is_empty() || task_groups::of_pod(meta).is_ok_and(|groups| !groups.is_empty())
}

/// Fills application, gang, queue, user and priority from metadata and spec.
pub fn fill_belonging(pod: &mut Pod, meta: &Value, spec: &Value) {
    pod.app =
        marked(meta, &["yunikorn.apache.org/app-id", "applicationId", "spark-app-selector"]).to_string();
    if pod.app.is_empty() {
        let owners = meta.get("ownerReferences").and_then(Value::as_array);
        let owner = owners.and_then(|o| {
            o.iter().find(|r| r.get("controller").and_then(Value::as_bool) == Some(true)).or(o.first())
        });
        if let Some(owner) = owner {
            let name = text(owner, "/name");
            let hash = text(meta, "/labels/pod-template-hash");
            let deployment = name.strip_suffix(hash).and_then(|n| n.strip_suffix('-'));
            pod.app = match deployment {
                Some(d) if !hash.is_empty() && text(owner, "/kind") == "ReplicaSet" => d.to_string(),
                _ => name.to_string(),
            };
        }
    }
    pod.queue = marked(
        meta,
        &[
            "yunikorn.apache.org/queue",
            "queue",
            "kueue.x-k8s.io/queue-name",
            "scheduling.volcano.sh/queue-name",
        ],
    )
    .to_string();
    pod.task_group = marked(meta, &TASK_GROUP).to_string();
    // Of an annotation that YuniKorn can't read it makes no gang.
    let groups = task_groups::of_pod(meta).unwrap_or_default();
    let own = groups.iter().find(|group| group.name == pod.task_group);
    pod.min_member = own.map_or(0, |group| group.min_member);
    pod.user = marked(meta, &["yunikorn.apache.org/username"]).to_string();
    if pod.user.is_empty()
        && let Some(info) = meta
            .get("annotations")
            .and_then(|a| a.get("yunikorn.apache.org/user.info"))
            .and_then(Value::as_str)
            .and_then(|t| serde_json::from_str::<Value>(t).ok())
    {
        pod.user = text(&info, "/user").to_string();
    }
    // What is created has been through `priority_class`; of what exists only these are known.
    let class = system_class(text(spec, "/priorityClassName")).unwrap_or(0);
    pod.priority =
        spec.get("priority").and_then(Value::as_i64).and_then(|p| p.try_into().ok()).unwrap_or(class);
}

/// Notes what is left out of a pod, and that its priority is taken to be 0.
pub fn note_unknown(sink: &mut Sink, spec: &Value) {
    note_left_out(sink, spec);
    if is_unknown(spec) {
        sink.report.invent("pods.priority", "0: the pod names a PriorityClass, and no priority");
    }
}

/// Whether a pod only holds a place for YuniKorn's gang scheduling: YuniKorn made it, and will again.
pub fn is_placeholder(pod: &Value) -> bool {
    let annotations = pod.pointer("/metadata/annotations");
    // The second name is that of YuniKorn before 1.6.
    [PLACEHOLDER_ANNOTATION, "yunikorn.apache.org/placeholder"]
        .iter()
        .any(|name| annotations.and_then(|a| a.get(name)).and_then(Value::as_str) == Some("true"))
}

/// What a Pod object says about its life.
#[derive(Debug, Clone, Default)]
pub struct Life {
    /// creationTimestamp.
    pub created: Option<i64>,
    /// PodScheduled became true.
    pub bound: Option<i64>,
    /// The latest container start.
    pub running: Option<i64>,
    /// The latest container end, if the pod is over.
    pub finished: Option<i64>,
    /// spec.nodeName.
    pub node: String,
    /// Succeeded or Failed.
    pub over: bool,
}

/// Reads a Pod object's life.
pub fn life(object: &Value, place: &Place) -> Result<Life, TraceError> {
    let mut life = Life {
        created: time(object, "/metadata/creationTimestamp", place)?,
        node: text(object, "/spec/nodeName").to_string(),
        over: matches!(text(object, "/status/phase"), "Succeeded" | "Failed"),
        ..Life::default()
    };
    let list = |p: &str| object.pointer(p).and_then(Value::as_array).map(Vec::as_slice).unwrap_or(&[]);
    for c in list("/status/conditions") {
        if text(c, "/type") == "PodScheduled" && text(c, "/status") == "True" {
            life.bound = time(c, "/lastTransitionTime", place)?;
        }
    }
    let mut last_end = None;
    for c in list("/status/containerStatuses") {
        let started = match time(c, "/state/running/startedAt", place)? {
            Some(t) => Some(t),
            None => time(c, "/state/terminated/startedAt", place)?,
        };
        life.running = life.running.max(started);
        last_end = last_end.max(time(c, "/state/terminated/finishedAt", place)?);
    }
    if life.over {
        life.finished = last_end;
    }
    Ok(life)
}

/// A pod's id: its UID, or namespace and name where there is none.
pub fn pod_uid(object: &Value) -> String {
    let uid = text(object, "/metadata/uid");
    if !uid.is_empty() {
        return uid.to_string();
    }
    format!("{}/{}", namespace(object), text(object, "/metadata/name"))
}

/// An object's namespace.
pub fn namespace(object: &Value) -> &str {
    match text(object, "/metadata/namespace") {
        "" => "default",
        n => n,
    }
}

/// A pod with its spec, belonging and life.
pub fn pod(sink: &mut Sink, object: &Value, life: &Life, place: &Place) -> Result<Pod, TraceError> {
    let (meta, spec) = (&object["metadata"], &object["spec"]);
    let row = spec_row(namespace(object), meta, spec, place)?;
    let mut pod = Pod { uid: pod_uid(object), spec: sink.spec(row), ..Pod::default() };
    note_unknown(sink, spec);
    fill_belonging(&mut pod, meta, spec);
    set_life(&mut pod, life, place)?;
    Ok(pod)
}

/// How far clocks of one cluster may be apart.
const SKEW_NS: i64 = 10 * SECOND as i64;

/// Raises times that clocks put shortly before the creation to it, and counts that.
pub fn agree(sink: &mut Sink, life: &mut Life) {
    let Some(created) = life.created else { return };
    let mut differ = false;
    for time in [&mut life.bound, &mut life.running, &mut life.finished].into_iter().flatten() {
        if *time < created && created.saturating_sub(*time) <= SKEW_NS {
            *time = created;
            differ = true;
        }
    }
    if differ {
        sink.report.invent("outcomes", CLOCKS_DIFFER);
    }
}

/// Sets run time and outcome.
pub fn set_life(pod: &mut Pod, life: &Life, place: &Place) -> Result<(), TraceError> {
    let Some(created) = life.created else {
        return Err(place.error(Problem::EmptyField, "metadata.creationTimestamp", "", "a time"));
    };
    for (name, t) in [("finished", life.finished), ("bound", life.bound)] {
        if let Some(t) = t
            && t < created
        {
            let value = number::rfc3339(t);
            return Err(place.error(Problem::DeleteBeforeCreate, name, &value, "a time not before creation"));
        }
    }
    pod.submit = created;
    let start = life.running.or(life.bound);
    pod.run_ns = match (start, life.finished) {
        // A start that another clock puts behind the end.
        (Some(s), Some(f)) => u64::try_from(f.saturating_sub(s).max(0)).ok(),
        _ => None,
    };
    pod.outcome = Some(Outcome {
        created: life.created,
        bound: life.bound,
        running: life.running,
        finished: life.finished,
        node: life.node.clone(),
    });
    Ok(())
}

/// A node's capacity, labels and taints.
pub fn node(object: &Value, op: NodeOp, place: &Place) -> Result<Node, TraceError> {
    let name = text(object, "/metadata/name");
    if name.is_empty() {
        return Err(place.error(Problem::EmptyField, "metadata.name", "", "a node name"));
    }
    let allocatable = match object.pointer("/status/allocatable") {
        Some(list) => resources(Some(list), place)?,
        None => resources(object.pointer("/status/capacity"), place)?,
    };
    let mut taints = object.pointer("/spec/taints").and_then(Value::as_array).cloned().unwrap_or_default();
    let unschedulable = object.pointer("/spec/unschedulable").and_then(Value::as_bool) == Some(true);
    let key = "node.kubernetes.io/unschedulable";
    if unschedulable && !taints.iter().any(|t| text(t, "/key") == key) {
        taints.push(serde_json::json!({"key": key, "effect": "NoSchedule"}));
    }
    Ok(Node {
        op,
        name: name.to_string(),
        allocatable: if op == NodeOp::Remove { Resources::new() } else { allocatable },
        labels: string_map(object.pointer("/metadata/labels")),
        taints: if taints.is_empty() { String::new() } else { Value::Array(taints).to_string() },
    })
}

/// Taints that a node has as it registers: the API server (admission plugin TaintNodesByCondition) and cloud providers put them
/// on, controllers take them off when it is ready.
const STARTING: [&str; 4] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/network-unavailable",
    "node.cloudprovider.kubernetes.io/uninitialized",
];

/// How a node is once it is ready, if it has taints of one that starts.
pub fn started(node: &Node) -> Option<Node> {
    let taints: Vec<Value> = serde_json::from_str(&node.taints).unwrap_or_default();
    let kept: Vec<&Value> = taints.iter().filter(|t| !STARTING.contains(&text(t, "/key"))).collect();
    let text = if kept.is_empty() { String::new() } else { serde_json::to_string(&kept).unwrap_or_default() };
    (kept.len() < taints.len()).then(|| Node { taints: text, ..node.clone() })
}

/// What the report says of such nodes.
pub const STARTED: &str = "as the node is once it is ready: taints of a node that starts are left out";

/// What an owner is known by: namespace, kind and name.
pub type Name = (String, String, String);

/// The names of objects, as owners.
pub fn names<'a>(objects: impl Iterator<Item = &'a Value>) -> BTreeSet<Name> {
    let name =
        |o| (namespace(o).to_string(), text(o, "/kind").to_string(), text(o, "/metadata/name").to_string());
    objects.map(name).collect()
}

/// Whether an object belongs to one of these: a Deployment makes its ReplicaSets.
pub fn is_owned(object: &Value, owners: &BTreeSet<Name>) -> bool {
    let references = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    references.into_iter().flatten().any(|owner| {
        let name = |p| text(owner, p).to_string();
        owners.contains(&(namespace(object).to_string(), name("/kind"), name("/name")))
    })
}

/// Controllers whose pods can be made from their template: how many, and where the template is.
pub fn template(object: &Value) -> Option<(u64, &Value)> {
    let number = |p: &str, default: u64| object.pointer(p).and_then(Value::as_u64).unwrap_or(default);
    let (count, pointer) = match text(object, "/kind") {
        "Deployment" | "ReplicaSet" | "StatefulSet" | "ReplicationController" => {
            (number("/spec/replicas", 1), "/spec/template")
        }
        "Job" => (number("/spec/completions", number("/spec/parallelism", 1)), "/spec/template"),
        _ => return None,
    };
    Some((count, object.pointer(pointer)?))
}
