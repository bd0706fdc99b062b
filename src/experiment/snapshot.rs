//! Cluster snapshots: what a cluster would show at one moment, as a native trace from which other runs begin.
//!
//! The form is that of `podpace trace import k8s-list --snapshot`: nodes, pods that sit on one (`pod-bound` at the
//! origin), and pods that wait, all at time 0. Whoever starts from it gets a new control plane and a new scheduler that
//! lists what is there; to go on with *this* run, byte for byte, is what a checkpoint does ([`super::checkpoint`]).
//!
//! Run times: a pod that runs keeps what is left of its run time; one that is bound or waits has all of it.
//!
//! Gangs: of one that runs, the placeholders that still hold places keep them (`placeholder-bound`), and its pods that wait
//! will come for these; when none is left the rest comes pod by pod. A gang that has not all its placeholders waits whole,
//! and begins anew.
//!
//! The folder also holds a checkpoint, if the scheduler can be saved: `podpace run SCENARIO --resume FOLDER` goes on with the
//! run itself, byte for byte.
//!
//! **Left out, and said in the trace's report**: pods not created yet (the cluster knows nothing of them), finished and
//! given up ones; placeholders of gangs that have not started; requests under way, backoffs, the order in queues beyond the order of creation; names of pods, which
//! a simulation does not keep (`pod-17` is the 17th of the run). `spec.nodeName` of a waiting pod becomes a node
//! affinity.
//!
//! Cost: O(nodes + pods + specs), a row at a time.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

use super::checkpoint::CheckpointError;
use super::simulation::Simulation;
use crate::cluster::{
    AppId, Cluster, Expression, HOSTNAME_LABEL, LabelSelector, NAME_FIELD, NO_NODE, NodeId, Operator, PodId,
    PodSpec, ResourceNames, Resources, SpecId, Stage, TaintEffect, Term, ZONE_LABEL,
};
use crate::engine::Nanos;
use crate::engine::codec::CodecError;
use crate::engine::time::format_exact;
use crate::trace::model::{
    self, Counts, Encoding, EventOp, EventRow, HostPort, Manifest, NodeOp, NodeRow, PodRow, SpecRow,
};
use crate::trace::native::CHECKPOINT;
use crate::trace::{Report, TraceError, TraceWriter, WriteOptions};

const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotCounts {
    /// Nodes.
    pub nodes: u64,
    /// Pods on nodes.
    pub bound: u64,
    /// Of these, placeholders of gangs.
    pub placeholders: u64,
    /// Pods that wait.
    pub pending: u64,
}

impl fmt::Display for SnapshotCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} nodes, {} pods bound, {} pending", self.nodes, self.bound, self.pending)
    }
}

/// A snapshot can't be written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SnapshotError {
    #[error(transparent)]
    Trace(#[from] TraceError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// Applications whose gangs run: all placeholders were bound.
fn running_gangs(cluster: &Cluster) -> BTreeSet<AppId> {
    let pods = &cluster.pods;
    let bound = |pod: PodId| pods.node(pod) != NO_NODE || pods.stage(pod) == Stage::Finished;
    (0..)
        .zip(pods.apps())
        .filter(|(_, app)| {
            let groups = &app.task_groups;
            !groups.is_empty()
                && groups.iter().all(|g| (g.first_placeholder..g.first_placeholder + g.min_member).all(bound))
        })
        .map(|(id, _)| id)
        .collect()
}

/// Writes the cluster of a simulation that pauses at `at_ns` as a native trace.
///
/// # Errors
/// The folder is there and not empty; the file system's.
pub fn write(
    folder: &Path,
    simulation: &Simulation,
    at_ns: Nanos,
    checkpoint: impl FnOnce(&Path) -> Result<(), CheckpointError>,
) -> Result<SnapshotCounts, SnapshotError> {
    let encoding = if cfg!(feature = "parquet") { Encoding::Parquet } else { Encoding::Jsonl };
    let mut writer = TraceWriter::create(folder, WriteOptions { encoding, ..WriteOptions::default() })?;
    let cluster = simulation.cluster();
    let mut report = Report::default();
    let mut counts = SnapshotCounts::default();
    for node in 0..cluster.nodes.len() as NodeId {
        report.table("nodes").read += 1;
        if cluster.nodes.get(node).present {
            report.table("nodes").kept += 1;
            writer.node(&node_row(cluster, node, counts.nodes))?;
            counts.nodes += 1;
        } else {
            report.drop_row("nodes", "not-in-the-cluster", || cluster.nodes.get(node).name.clone());
        }
    }
    let pods = &cluster.pods;
    let mut order: Vec<PodId> = Vec::new();
    let running = running_gangs(cluster);
    for pod in 0..pods.len() as PodId {
        report.table("pods").read += 1;
        let is_held = pods.node(pod) != NO_NODE && pods.stage(pod) != Stage::Finished;
        let why = match pods.stage(pod) {
            _ if pods.is_placeholder(pod) && is_held && running.contains(&pods.app_id(pod)) => {
                order.push(pod);
                continue;
            }
            _ if pods.is_placeholder(pod) => "gang-placeholder",
            Stage::Planned => "not-created-yet",
            Stage::Finished => "finished",
            Stage::Failed => "given-up-by-the-scheduler",
            Stage::Created | Stage::Queued | Stage::Assumed | Stage::Bound | Stage::Running => {
                order.push(pod);
                continue;
            }
        };
        report.drop_row("pods", why, || format!("pod-{pod}"));
    }
    report.table("pods").kept = order.len() as u64;
    // Those that sat on their nodes from the beginning were created before all others.
    let created = |pod: PodId| pods.timeline(pod).created_ns;
    order.sort_by_key(|pod| (created(*pod) != u64::MAX, created(*pod), *pod));
    let mut specs: BTreeMap<SpecRow, u32> = BTreeMap::new();
    let mut of_spec: BTreeMap<(SpecId, &str), u32> = BTreeMap::new();
    let group = |pod: PodId| pods.spec(pod).task_group.as_deref().map(|name| (pods.app_id(pod), name));
    // Groups of running gangs with places that are still held.
    let held: BTreeSet<(AppId, &str)> =
        order.iter().filter(|pod| pods.is_placeholder(**pod)).filter_map(|pod| group(*pod)).collect();
    for (seq, pod) in order.into_iter().enumerate() {
        let app = &pods.apps()[pods.app_id(pod) as usize];
        let next = specs.len() as u32;
        let row = || spec_row(&cluster.resources, pods.spec(pod), &app.namespace);
        let spec_id = *of_spec
            .entry((pods.spec_id(pod), &app.namespace))
            .or_insert_with(|| *specs.entry(row()).or_insert(next));
        if spec_id == next {
            writer.spec(&SpecRow { spec_id, ..row() })?;
        }
        let gang = group(pod).and_then(|group| {
            let members = app.task_groups.iter().find(|g| g.name == group.1)?.min_member;
            if running.contains(&group.0) && !held.contains(&group) {
                report.invent("pods.task_group", "none: the gang has started, the rest comes one by one");
                return None;
            }
            Some((group.1.to_owned(), members))
        });
        let (task_group, min_member) = gang.unwrap_or_default();
        let left = simulation.time_left(pod, at_ns);
        let row = PodRow {
            submit_ns: 0,
            seq: seq as u64,
            uid: format!("pod-{pod}"),
            spec_id,
            app: app.name.clone(),
            task_group,
            min_member,
            queue: app.queue.clone(),
            user: app.user.clone(),
            priority: pods.spec(pod).priority,
            run_ns: left.map(|left| left.run_ns),
        };
        writer.pod(&row)?;
        if left.is_some_and(|left| left.is_hold) {
            let rule = "a pod that its load client will delete runs until then";
            report.invent("pods.run_ns", rule);
        }
        let node = pods.node(pod);
        if node == NO_NODE {
            counts.pending += 1;
        } else {
            let node = cluster.nodes.get(node).name.clone();
            let placeholder = pods.is_placeholder(pod);
            let op = if placeholder { EventOp::PlaceholderBound } else { EventOp::PodBound };
            writer.event(&EventRow { t_ns: 0, seq: counts.bound, op, uid: row.uid, node })?;
            counts.bound += 1;
            counts.placeholders += u64::from(placeholder);
        }
    }
    report.note(format!(
        "the simulated cluster of `{}`, seed {}, at {}",
        simulation.name(),
        simulation.seed(),
        format_exact(at_ns)
    ));
    match checkpoint(&writer.scratch().join(CHECKPOINT)) {
        Ok(()) => {}
        Err(CheckpointError::Save(CodecError::Unsupported { what, .. })) => {
            report.note(format!("no checkpoint of the run: {what} can't be saved"));
        }
        Err(e) => return Err(e.into()),
    }
    writer.finish(Manifest {
        source: "snapshot".to_owned(),
        counts: Counts { nodes: counts.nodes, ..Counts::default() },
        report,
        ..Manifest::default()
    })?;
    Ok(counts)
}

fn amounts(resources: &Resources, names: &ResourceNames) -> model::Resources {
    let mut out = model::Resources::new();
    let mut set = |name: &str, amount: u64| {
        if amount > 0 {
            out.insert(name.to_owned(), amount);
        }
    };
    set(model::CPU, resources.cpu_millicores);
    set(model::MEMORY, resources.memory_bytes);
    set(model::PODS, u64::from(resources.pods));
    for (id, amount) in &resources.extended {
        let name = names.name(*id);
        set(if name == "ephemeral-storage" { model::EPHEMERAL_STORAGE } else { name }, *amount);
    }
    out
}

const fn effect(effect: TaintEffect) -> &'static str {
    match effect {
        TaintEffect::NoSchedule => "NoSchedule",
        TaintEffect::PreferNoSchedule => "PreferNoSchedule",
        TaintEffect::NoExecute => "NoExecute",
    }
}

/// JSON text of a list, empty for none.
fn list(items: Vec<Value>) -> String {
    if items.is_empty() { String::new() } else { Value::Array(items).to_string() }
}

fn node_row(cluster: &Cluster, node: NodeId, seq: u64) -> NodeRow {
    let (it, template) = (cluster.nodes.get(node), cluster.nodes.template(node));
    let mut labels = template.labels.clone();
    labels.insert(HOSTNAME_LABEL.to_owned(), it.name.clone());
    if let Some(zone) = cluster.nodes.label(node, ZONE_LABEL) {
        labels.insert(ZONE_LABEL.to_owned(), zone.to_owned());
    }
    let mut taints: Vec<Value> = (template.taints.iter())
        .map(|t| without_empty(json!({"key": t.key, "value": t.value, "effect": effect(t.effect)})))
        .collect();
    if template.unschedulable && !template.taints.iter().any(|t| t.key == UNSCHEDULABLE_TAINT) {
        taints.push(json!({"key": UNSCHEDULABLE_TAINT, "effect": "NoSchedule"}));
    }
    NodeRow {
        t_ns: 0,
        seq,
        op: NodeOp::Add,
        name: it.name.clone(),
        allocatable: amounts(&template.allocatable, &cluster.resources),
        labels,
        taints: list(taints),
    }
}

/// An object without its empty texts, as Kubernetes writes them.
fn without_empty(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| value.as_str() != Some(""));
    }
    object
}

fn expression(e: &Expression) -> Value {
    let operator = match e.operator {
        Operator::In => "In",
        Operator::NotIn => "NotIn",
        Operator::Exists => "Exists",
        Operator::DoesNotExist => "DoesNotExist",
        Operator::Gt => "Gt",
        Operator::Lt => "Lt",
    };
    if e.values.is_empty() {
        json!({"key": e.key, "operator": operator})
    } else {
        json!({"key": e.key, "operator": operator, "values": e.values})
    }
}

fn term(term: &Term, node_name: Option<&str>) -> Value {
    let mut out = json!({"matchExpressions": term.expressions.iter().map(expression).collect::<Vec<_>>()});
    let mut fields: Vec<Value> = term.fields.iter().map(expression).collect();
    fields.extend(node_name.map(|name| json!({"key": NAME_FIELD, "operator": "In", "values": [name]})));
    if !fields.is_empty() {
        out["matchFields"] = Value::Array(fields);
    }
    out
}

fn selector(selector: &LabelSelector) -> Value {
    if selector.is_null {
        return Value::Null;
    }
    let mut out = json!({"matchLabels": selector.labels});
    if !selector.expressions.is_empty() {
        out["matchExpressions"] = selector.expressions.iter().map(expression).collect();
    }
    out
}

fn affinity(spec: &PodSpec) -> String {
    let mut out = serde_json::Map::new();
    let mut node = serde_json::Map::new();
    let name = spec.node_name.as_deref();
    let required: Vec<Value> = match (spec.required_node_affinity.as_slice(), name) {
        ([], None) => Vec::new(),
        ([], Some(_)) => vec![term(&Term::default(), name)],
        (terms, _) => terms.iter().map(|t| term(t, name)).collect(),
    };
    if !required.is_empty() {
        let terms = json!({"nodeSelectorTerms": required});
        node.insert("requiredDuringSchedulingIgnoredDuringExecution".to_owned(), terms);
    }
    let preferred: Vec<Value> = (spec.preferred_node_affinity.iter())
        .map(|w| json!({"weight": w.weight, "preference": term(&w.term, None)}))
        .collect();
    if !preferred.is_empty() {
        node.insert("preferredDuringSchedulingIgnoredDuringExecution".to_owned(), Value::Array(preferred));
    }
    if !node.is_empty() {
        out.insert("nodeAffinity".to_owned(), Value::Object(node));
    }
    for (kind, anti) in [("podAffinity", false), ("podAntiAffinity", true)] {
        let (mut required, mut preferred) = (Vec::new(), Vec::new());
        for t in spec.pod_affinity.iter().filter(|t| t.anti == anti) {
            let mut term = json!({"labelSelector": selector(&t.selector), "topologyKey": t.topology_key});
            if !t.namespaces.names.is_empty() {
                term["namespaces"] = json!(t.namespaces.names);
            }
            if let Some(namespaces) = &t.namespaces.selector {
                term["namespaceSelector"] = selector(namespaces);
            }
            match t.weight {
                None => required.push(term),
                Some(weight) => preferred.push(json!({"weight": weight, "podAffinityTerm": term})),
            }
        }
        let mut terms = serde_json::Map::new();
        for (when, list) in [("required", required), ("preferred", preferred)] {
            if !list.is_empty() {
                terms.insert(format!("{when}DuringSchedulingIgnoredDuringExecution"), Value::Array(list));
            }
        }
        if !terms.is_empty() {
            out.insert(kind.to_owned(), Value::Object(terms));
        }
    }
    if out.is_empty() { String::new() } else { Value::Object(out).to_string() }
}

fn host_ports(spec: &PodSpec) -> String {
    let unless = |given: &str, default: &str| if given == default { String::new() } else { given.to_owned() };
    let ports: Vec<HostPort> = (spec.host_ports.iter())
        .map(|p| HostPort {
            host_port: p.port,
            protocol: unless(&p.protocol, "TCP"),
            host_ip: unless(&p.ip, "0.0.0.0"),
        })
        .collect();
    if ports.is_empty() { String::new() } else { serde_json::to_string(&ports).unwrap_or_default() }
}

fn spec_row(names: &ResourceNames, spec: &PodSpec, app_namespace: &str) -> SpecRow {
    let tolerations = spec.tolerations.iter().map(|t| {
        let operator = if t.exists { "Exists" } else { "Equal" };
        let effect = t.effect.map_or("", effect);
        let mut out =
            without_empty(json!({"key": t.key, "operator": operator, "value": t.value, "effect": effect}));
        if let (Some(seconds), Some(fields)) = (t.seconds, out.as_object_mut()) {
            fields.insert("tolerationSeconds".to_owned(), seconds.into());
        }
        out
    });
    let spread = spec.topology_spread.iter().map(|c| {
        let mut out = json!({
            "maxSkew": c.max_skew,
            "topologyKey": c.topology_key,
            "whenUnsatisfiable": if c.hard { "DoNotSchedule" } else { "ScheduleAnyway" },
            "labelSelector": selector(&c.selector),
        });
        if c.min_domains > 1 {
            out["minDomains"] = json!(c.min_domains);
        }
        if c.ignore_node_affinity {
            out["nodeAffinityPolicy"] = json!("Ignore");
        }
        if c.honor_node_taints {
            out["nodeTaintsPolicy"] = json!("Honor");
        }
        out
    });
    let namespace = if spec.namespace_name.is_empty() { app_namespace } else { &spec.namespace_name };
    let namespace = if namespace == "default" { String::new() } else { namespace.to_owned() };
    SpecRow {
        spec_id: 0,
        namespace,
        requests: amounts(&spec.requests, names),
        labels: spec.labels.clone(),
        scheduler_name: spec.scheduler_name.clone(),
        preemption_policy: if spec.never_preempts { "Never".to_owned() } else { String::new() },
        node_selector: spec.node_selector.clone(),
        tolerations: list(tolerations.collect()),
        affinity: affinity(spec),
        topology_spread: list(spread.collect()),
        host_ports: host_ports(spec),
        ..SpecRow::default()
    }
}
