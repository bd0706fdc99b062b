//! Kubernetes manifests, and what replays them on a real cluster.
//!
//! | file | what |
//! |---|---|
//! | `setup.yaml` | namespaces and priority classes; `kubectl apply -f` |
//! | `nodes.yaml`, `pods.yaml` | an object a document: nodes in order of time (an update is the whole object again, as JSON), pods in order of creation |
//! | `schedule.csv` | at_ns, action (create, update, delete), kind, namespace, name, and where the document is: offset and bytes in its file; in order of time |
//! | `replay.py` | creates, updates and deletes what the schedule says, when it says so: Python's standard library and kubectl |
//! | `stages.yaml` | KWOK stages by which pods run as long as the trace says |
//!
//! Names are uids made into DNS names, with the uid kept as an annotation. Nodes carry KWOK's annotation. A pod that sits on
//! a node from the beginning has `spec.nodeName`; a gang's placeholder has YuniKorn's annotation too, by which YuniKorn
//! takes it up again. Extended resources and huge pages get limits equal to their requests, as the API server wants. Priorities become
//! PriorityClasses; one above 1,000,000,000 that is no system class becomes that, the most that a user may have.
//!
//! **Left out.** What containers do: on real kubelets pods run `pause` until they are deleted, run times are KWOK's to keep.
//! Which ServiceAccounts, volumes and images there were. Nodes of a real cluster can't be changed: `replay.py --no-nodes`.
//!
//! Cost: O(pods) time; memory O(events + namespaces + priorities), the schedule is sorted on disk if it must.
//!
//! Sources: Kubernetes API reference; `plugin/pkg/admission/priority` (the integer has to be the class's); KWOK's Stage API
//! (kwok.sigs.k8s.io/docs/user/stages-configuration); YuniKorn's `pkg/cache/placeholder.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Fates, Out, spec_of};
use crate::engine::time::format_exact;
use crate::trace::error::TraceError;
use crate::trace::model::{
    CPU, EPHEMERAL_STORAGE, Gang, MEMORY, NodeOp, NodeRow, PodRow, Resources, SpecRow, TaskGroup, label_value,
};
use crate::trace::native::TraceReader;
use crate::trace::number::rfc3339;
use crate::trace::report::thousands;
use crate::trace::sort::{Sorter, Spill, get_str, get_u64, put_str, put_u64};

/// By which YuniKorn knows a placeholder.
pub const PLACEHOLDER_ANNOTATION: &str = "internal.yunikorn.apache.org/placeholder";
/// The highest priority of a class that users make.
pub const MOST_PRIORITY: i32 = 1_000_000_000;
/// The classes that every cluster has.
pub const SYSTEM_CLASSES: [(i32, &str); 2] =
    [(2_000_000_000, "system-cluster-critical"), (2_000_001_000, "system-node-critical")];
/// Namespaces that every cluster has.
const OWN_NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
/// Bytes of the schedule that are sorted in memory.
const SORT_BUDGET: usize = 64 << 20;

/// The class that every cluster has for a priority; `never`: of pods that never preempt.
fn system_class(priority: i32, never: bool) -> Option<&'static str> {
    SYSTEM_CLASSES.iter().find(|(value, _)| !never && *value == priority).map(|(_, name)| *name)
}

/// The class of a priority, and its value; `never`: of pods that never preempt.
fn priority_class(priority: i32, never: bool) -> (String, i32) {
    if let Some(name) = system_class(priority, never) {
        return (name.to_string(), priority);
    }
    let value = priority.min(MOST_PRIORITY);
    let sign = if value < 0 { "minus-" } else { "" };
    let suffix = if never { "-never" } else { "" };
    (format!("podpace-priority-{sign}{}{suffix}", value.unsigned_abs()), value)
}

/// Whether pods of a spec never preempt.
fn is_never(spec: &SpecRow) -> bool {
    spec.preemption_policy == "Never"
}

/// A uid as a DNS name that stays unique: its own characters where allowed, then its position.
fn dns_name(pod: &PodRow) -> String {
    let mut name: String = pod
        .uid
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(40)
        .collect();
    while name.contains("--") {
        name = name.replace("--", "-");
    }
    let name = name.trim_matches('-');
    format!("{}{}{}", name, if name.is_empty() { "pod-" } else { "-" }, pod.seq)
}

/// Resources as Kubernetes quantities.
fn quantities(resources: &Resources) -> BTreeMap<String, String> {
    resources
        .iter()
        .map(|(k, v)| match k.as_str() {
            CPU => ("cpu".to_string(), format!("{v}m")),
            MEMORY => ("memory".to_string(), v.to_string()),
            EPHEMERAL_STORAGE => ("ephemeral-storage".to_string(), v.to_string()),
            _ => (k.clone(), v.to_string()),
        })
        .collect()
}

fn parse(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { serde_json::from_str(text).unwrap_or(Value::Null) }
}

/// The gangs that a pod names.
fn gang(pod: &PodRow, spec: &SpecRow) -> Gang {
    if let Ok(gang) = serde_json::from_str(&spec.gang) {
        return gang;
    }
    let own = TaskGroup {
        name: pod.task_group.clone(),
        min_member: pod.min_member,
        min_resource: spec.requests.clone(),
        node_selector: spec.node_selector.clone(),
        tolerations: spec.tolerations.clone(),
        affinity: spec.affinity.clone(),
        topology_spread: spec.topology_spread.clone(),
        ..TaskGroup::default()
    };
    let task_groups = if pod.task_group.is_empty() || pod.min_member == 0 { Vec::new() } else { vec![own] };
    Gang { task_groups, ..Gang::default() }
}

/// A task group as YuniKorn's annotation has it.
fn task_group(group: &TaskGroup) -> Value {
    let min: BTreeMap<String, String> = quantities(&group.min_resource);
    let mut out = json!({"name": group.name, "minMember": group.min_member, "minResource": min});
    for (field, labels) in [("labels", &group.labels), ("nodeSelector", &group.node_selector)] {
        if !labels.is_empty() {
            out[field] = json!(labels);
        }
    }
    for (field, text) in [
        ("tolerations", &group.tolerations),
        ("affinity", &group.affinity),
        ("topologySpreadConstraints", &group.topology_spread),
    ] {
        let value = parse(text);
        if !value.is_null() {
            out[field] = value;
        }
    }
    out
}

/// The Pod object of a row.
pub(super) fn pod_object(pod: &PodRow, spec: &SpecRow, origin: Option<i64>) -> Value {
    let mut labels = spec.labels.clone();
    if !pod.app.is_empty() {
        labels.insert("applicationId".to_string(), label_value(&pod.app));
    }
    if !pod.queue.is_empty() {
        labels.insert("queue".to_string(), label_value(&pod.queue));
    }
    let mut annotations = BTreeMap::from([
        ("podpace.dev/uid".to_string(), pod.uid.clone()),
        ("podpace.dev/submit-ns".to_string(), pod.submit_ns.to_string()),
    ]);
    if let Some(run) = pod.run_ns {
        annotations.insert("podpace.dev/run".to_string(), format_exact(run));
    }
    if !pod.user.is_empty() {
        annotations.insert("yunikorn.apache.org/username".to_string(), pod.user.clone());
    }
    if !pod.task_group.is_empty() {
        annotations.insert("yunikorn.apache.org/task-group-name".to_string(), pod.task_group.clone());
    }
    let gang = gang(pod, spec);
    if !gang.task_groups.is_empty() {
        let groups: Vec<Value> = gang.task_groups.iter().map(task_group).collect();
        annotations.insert("yunikorn.apache.org/task-groups".to_string(), json!(groups).to_string());
    }
    let mut parameters: Vec<String> = Vec::new();
    if gang.placeholder_timeout_seconds > 0 {
        parameters.push(format!("placeholderTimeoutInSeconds={}", gang.placeholder_timeout_seconds));
    }
    if gang.hard {
        parameters.push("gangSchedulingStyle=Hard".to_string());
    }
    if !parameters.is_empty() {
        let name = "yunikorn.apache.org/schedulingPolicyParameters".to_string();
        annotations.insert(name, parameters.join(" "));
    }
    let mut metadata = json!({
        "name": dns_name(pod),
        "namespace": if spec.namespace.is_empty() { "default" } else { &spec.namespace },
        "annotations": annotations,
    });
    if !labels.is_empty() {
        metadata["labels"] = json!(labels);
    }
    if let Some(origin) = origin {
        let t = origin.saturating_add(i64::try_from(pod.submit_ns).unwrap_or(i64::MAX));
        metadata["creationTimestamp"] = json!(rfc3339(t / 1_000_000_000 * 1_000_000_000));
    }
    let mut body = json!({
        "containers": [{
            "name": "main",
            "image": "registry.k8s.io/pause:3.10",
            "resources": {"requests": quantities(&spec.requests)},
        }],
        "restartPolicy": "Never",
    });
    // What can't be overcommitted needs limits equal to the requests: extended resources and huge pages.
    let whole = |name: &str| name.contains('/') || name.starts_with("hugepages-");
    let limits: BTreeMap<String, String> =
        quantities(&spec.requests).into_iter().filter(|(name, _)| whole(name)).collect();
    if !limits.is_empty() {
        body["containers"][0]["resources"]["limits"] = json!(limits);
    }
    if pod.priority != 0 || is_never(spec) {
        let (name, value) = priority_class(pod.priority, is_never(spec));
        body["priorityClassName"] = json!(name);
        body["priority"] = json!(value);
    }
    if is_never(spec) {
        body["preemptionPolicy"] = json!("Never");
    }
    if let Value::Array(ports) = parse(&spec.host_ports) {
        let ports = ports.into_iter().map(|mut port| {
            // Any will do: it is the container's own.
            let number = port.get("hostPort").cloned();
            if let (Some(number), Some(port)) = (number, port.as_object_mut()) {
                port.insert("containerPort".to_owned(), number);
            }
            port
        });
        body["containers"][0]["ports"] = ports.collect();
    }
    if !spec.node_selector.is_empty() {
        body["nodeSelector"] = json!(spec.node_selector);
    }
    for (name, text) in [
        ("tolerations", &spec.tolerations),
        ("affinity", &spec.affinity),
        ("topologySpreadConstraints", &spec.topology_spread),
    ] {
        let value = parse(text);
        if !value.is_null() {
            body[name] = value;
        }
    }
    if !spec.scheduler_name.is_empty() {
        body["schedulerName"] = json!(spec.scheduler_name);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body})
}

/// A row of the schedule.
struct Action {
    action: &'static str,
    kind: &'static str,
    namespace: String,
    name: String,
    /// Where its document is.
    offset: u64,
    bytes: u64,
}

const ACTIONS: [&str; 3] = ["create", "update", "delete"];
const KINDS: [&str; 2] = ["Node", "Pod"];

impl Spill for Action {
    fn encode(&self, out: &mut Vec<u8>) {
        let index = |of: &[&str], what: &str| of.iter().position(|x| *x == what).unwrap_or(0) as u64;
        put_u64(out, index(&ACTIONS, self.action));
        put_u64(out, index(&KINDS, self.kind));
        put_str(out, &self.namespace);
        put_str(out, &self.name);
        put_u64(out, self.offset);
        put_u64(out, self.bytes);
    }

    fn decode(input: &mut &[u8]) -> Action {
        Action {
            action: ACTIONS[get_u64(input) as usize],
            kind: KINDS[get_u64(input) as usize],
            namespace: get_str(input),
            name: get_str(input),
            offset: get_u64(input),
            bytes: get_u64(input),
        }
    }
}

/// Rows of the schedule, until they are sorted.
struct Schedule(Sorter<Action>);

impl Schedule {
    fn add(&mut self, at_ns: u64, action: Action) -> Result<(), TraceError> {
        self.0.push(i64::try_from(at_ns).unwrap_or(i64::MAX), &action)
    }

    fn write(self, path: &Path) -> Result<(), TraceError> {
        let mut out = Out::create(path)?;
        out.line("at_ns,action,kind,namespace,name,offset,bytes")?;
        let mut sorted = self.0.finish()?;
        while let Some((at, row)) = sorted.next_row()? {
            let place = match row.action {
                "delete" => ",".to_string(),
                _ => format!("{},{}", row.offset, row.bytes),
            };
            let (action, kind) = (row.action, row.kind);
            out.line(&format!("{at},{action},{kind},{},{},{place}", row.namespace, row.name))?;
        }
        out.finish()
    }
}

fn node_object(row: &NodeRow) -> Value {
    let q = quantities(&row.allocatable);
    let annotations = json!({"kwok.x-k8s.io/node": "fake", "podpace.dev/at-ns": row.t_ns.to_string()});
    let mut object = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": row.name, "annotations": annotations},
        "status": {"allocatable": q, "capacity": q},
    });
    if !row.labels.is_empty() {
        object["metadata"]["labels"] = json!(row.labels);
    }
    let taints = parse(&row.taints);
    if !taints.is_null() {
        object["spec"] = json!({"taints": taints});
    }
    object
}

/// Writes the folder.
pub(super) fn write(reader: &TraceReader, dir: &Path) -> Result<Vec<String>, TraceError> {
    let specs = reader.specs()?;
    let fates = Fates::read(reader)?;
    let mut schedule = Schedule(Sorter::new(dir, "schedule", SORT_BUDGET));
    let mut nodes = Out::create(&dir.join("nodes.yaml"))?;
    for row in reader.nodes()? {
        let n = row?;
        let (action, place) = match n.op {
            NodeOp::Remove => ("delete", (0, 0)),
            NodeOp::Add => ("create", document(&mut nodes, &node_object(&n))?),
            NodeOp::Update => ("update", json_document(&mut nodes, &node_object(&n))?),
        };
        schedule.add(n.t_ns, Action::new(action, "Node", "", &n.name, place))?;
    }
    nodes.finish()?;
    let origin = reader.manifest().origin_unix_ns;
    let mut pods = Out::create(&dir.join("pods.yaml"))?;
    let mut namespaces: BTreeSet<String> = BTreeSet::new();
    let mut classes: BTreeSet<(i32, bool)> = BTreeSet::new();
    let mut lowered = 0u64;
    for row in reader.pods()?.rows() {
        let pod = row?;
        let spec = spec_of(&specs, &pod, reader)?;
        let mut object = pod_object(&pod, spec, origin);
        let fate = fates.of(&pod.uid);
        if let Some(node) = fate.and_then(|fate| fate.node.as_deref()) {
            object["spec"]["nodeName"] = json!(node);
        }
        if fates.is_placeholder(&pod.uid) {
            object["metadata"]["annotations"][PLACEHOLDER_ANNOTATION] = json!("true");
        }
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("").to_string();
        if pod.priority != 0 || is_never(spec) {
            let value = priority_class(pod.priority, is_never(spec)).1;
            lowered += u64::from(value != pod.priority);
            classes.insert((value, is_never(spec)));
        }
        let name = dns_name(&pod);
        let place = document(&mut pods, &object)?;
        schedule.add(pod.submit_ns, Action::new("create", "Pod", &namespace, &name, place))?;
        if let Some(t) = fate.and_then(|fate| fate.deleted_ns) {
            let at_ns = t.max(pod.submit_ns);
            schedule.add(at_ns, Action::new("delete", "Pod", &namespace, &name, (0, 0)))?;
        }
        if !namespaces.contains(&namespace) {
            namespaces.insert(namespace);
        }
    }
    pods.finish()?;
    schedule.write(&dir.join("schedule.csv"))?;
    setup(&dir.join("setup.yaml"), &namespaces, &classes)?;
    for (name, text) in
        [("replay.py", include_str!("replay.py")), ("stages.yaml", include_str!("stages.yaml"))]
    {
        let path = dir.join(name);
        fs::write(&path, text).map_err(|e| TraceError::io(&path, e))?;
    }
    Ok(match lowered {
        0 => Vec::new(),
        n => vec![format!(
            "{} pods have a priority above {}, the most that a class may have; they get that",
            thousands(n),
            thousands(MOST_PRIORITY as u64)
        )],
    })
}

impl Action {
    fn new(
        action: &'static str,
        kind: &'static str,
        namespace: &str,
        name: &str,
        (offset, bytes): (u64, u64),
    ) -> Action {
        let (namespace, name) = (namespace.to_string(), name.to_string());
        Action { action, kind, namespace, name, offset, bytes }
    }
}

/// What pods need to be there before them.
fn setup(
    path: &Path,
    namespaces: &BTreeSet<String>,
    classes: &BTreeSet<(i32, bool)>,
) -> Result<(), TraceError> {
    let mut out = Out::create(path)?;
    out.line("# What the pods of this trace need: namespaces and priority classes.")?;
    for name in namespaces.iter().filter(|name| !OWN_NAMESPACES.contains(&name.as_str())) {
        document(&mut out, &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))?;
    }
    for (value, never) in classes.iter().filter(|(value, never)| system_class(*value, *never).is_none()) {
        let mut class = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": priority_class(*value, *never).0}, "value": value,
        });
        if *never {
            class["preemptionPolicy"] = json!("Never");
        }
        document(&mut out, &class)?;
    }
    out.finish()
}

/// Writes an object; where it is, without the line of dashes before it.
fn document(out: &mut Out, object: &Value) -> Result<(u64, u64), TraceError> {
    let text =
        serde_yaml::to_string(object).map_err(|e| TraceError::Usage(format!("cannot write YAML: {e}")))?;
    put(out, &text)
}

/// The same as JSON, which is YAML too: Python reads it without further packages.
fn json_document(out: &mut Out, object: &Value) -> Result<(u64, u64), TraceError> {
    put(out, &format!("{object}\n"))
}

fn put(out: &mut Out, text: &str) -> Result<(u64, u64), TraceError> {
    out.line("---")?;
    let at = out.at;
    out.text(text)?;
    Ok((at, text.len() as u64))
}
