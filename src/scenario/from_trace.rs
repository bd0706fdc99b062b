//! Workloads from traces: a native trace folder becomes nodes, specs, applications and planned pods.
//!
//! **Pods** come in the order of (submit_ns, seq), each created by the load client at its time, with its own run time.
//! A pod without an application belongs to the one that YuniKorn's admission controller would give it,
//! `yunikorn-NAMESPACE-autogen`; without a queue to `root.default`. Pods that sit on a node when the trace begins
//! are not scheduled: they come last in the cluster, already running on their node.
//!
//! **Nodes** are the scenario's own if it names any, else the trace's. A node that joins later is there from the
//! beginning, one that leaves stays, and capacity is the first that is known: the control plane modelled here has no
//! node lifecycle. Of the labels only those stay that some spec of the trace looks at, so that equal nodes stay equal.
//!
//! **Transformations** (`workload.transform`) are applied in this order: window, timeScale, loadScale; nodeScale and
//! capacityScale concern the trace's nodes. Chance draws from the stream `workload.transform` of the seed.
//!
//! **Left out, and said in a note**: gangs are scheduled pod by pod, deletions become run times, label selectors other
//! than `key in (one value)`, namespaces of affinity terms other than the pod's own.
//!
//! Cost: O(pods log pods) time; the plan takes less than 100 bytes a pod, reading 40 more. Batches of the reader are
//! all else that is held, plus one entry an event.
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxHashMap;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::quantity::Ratio;
use super::spec::TransformSpec;
use super::{DEFAULT_NODE_PODS, limits};
use crate::cluster::{
    App, AppId, Cluster, Expression, HOSTNAME_LABEL, NO_NODE, NodeId, NodeTemplate, Operator,
    PodAffinityTerm, PodSpec, ResourceNames, Resources, SpecId, SpreadConstraint, Stage, Taint, TaintEffect,
    Term, Toleration, WeightedTerm, ZONE_LABEL,
};
use crate::engine::{Nanos, Rng, Streams};
use crate::trace::model::{self, EventOp, NodeOp, SpecRow};
use crate::trace::{self, ImportOptions, PodBatch, TraceError, TraceReader};

/// A label that keeps selectors inside a namespace, given only where a trace has several.
const NAMESPACE_LABEL: &str = "podpace/namespace";
/// Distinct extended resources that are read.
const EXTENDED_RESOURCES: usize = 10_000;
const PPM: u128 = 1_000_000;

/// What a trace brought besides the nodes, specs, applications and pods that it put into the cluster.
#[derive(Debug, Default)]
pub(super) struct TraceWorkload {
    /// When each pod is created, ascending; pods that sit on a node from the beginning are not among them.
    pub times_ns: Vec<Nanos>,
    /// How long each pod runs; `u64::MAX`: to the end.
    pub run_ns: Vec<Nanos>,
    /// What a reader should know about how the trace was taken.
    pub notes: Vec<String>,
    /// SHA-256 of each file of the trace.
    pub files: BTreeMap<String, String>,
}

/// A trace can't become a workload.
#[derive(Debug, thiserror::Error)]
pub(super) enum FromTraceError {
    /// It can't be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// It can be read but not used; the second text says what to do.
    #[error("{0}")]
    Unusable(String, String),
}

impl FromTraceError {
    /// What to do.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Unusable(_, hint) => Some(hint.clone()),
            Self::Trace(_) => None,
        }
    }
}

fn unusable(message: impl Into<String>, hint: impl Into<String>) -> FromTraceError {
    FromTraceError::Unusable(message.into(), hint.into())
}

struct Row {
    at_ns: Nanos,
    run_ns: Nanos,
    spec: SpecId,
    app: AppId,
    node: NodeId,
}

/// What events say about one pod.
#[derive(Default)]
struct Fate {
    node: Option<String>,
    deleted_ns: Option<Nanos>,
}

fn scale(value: u64, by: Option<Ratio>) -> u64 {
    by.map_or(value, |ratio| {
        u64::try_from(u128::from(value) * u128::from(ratio.ppm()) / PPM).unwrap_or(u64::MAX)
    })
}

/// How many of the copies numbered `ppm` parts per million the `index`-th of a row gets, spread evenly.
fn share(index: u64, ratio: Ratio) -> u64 {
    let until = |i: u64| u128::from(i) * u128::from(ratio.ppm()) / PPM;
    (until(index + 1) - until(index)) as u64
}

fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The amounts of a trace as the cluster counts them.
fn resources(amounts: &model::Resources, names: &mut ResourceNames) -> Result<Resources, FromTraceError> {
    let mut out = Resources::default();
    for (name, &amount) in amounts {
        match name.as_str() {
            model::CPU => out.cpu_millicores = amount,
            model::MEMORY => out.memory_bytes = amount,
            model::PODS => out.pods = u32::try_from(amount).unwrap_or(u32::MAX),
            _ if amount == 0 => {}
            name => {
                let name = if name == model::EPHEMERAL_STORAGE { "ephemeral-storage" } else { name };
                if names.len() >= EXTENDED_RESOURCES {
                    let hint = "is a resource name made of something that differs from pod to pod?";
                    return Err(unusable(format!("more than {EXTENDED_RESOURCES} kinds of resources"), hint));
                }
                out.extended.push((names.intern(name), amount));
            }
        }
    }
    out.extended.sort_unstable();
    Ok(out)
}

fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn parse(json: &str, what: &str) -> Result<Value, FromTraceError> {
    if json.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(json).map_err(|error| {
        unusable(format!("{what} is not JSON: {error}"), "`podpace trace validate` shows where; correct it")
    })
}

fn effect(name: &str) -> Option<TaintEffect> {
    match name {
        "NoSchedule" => Some(TaintEffect::NoSchedule),
        "PreferNoSchedule" => Some(TaintEffect::PreferNoSchedule),
        "NoExecute" => Some(TaintEffect::NoExecute),
        _ => None,
    }
}

fn taints(json: &str) -> Result<Vec<Taint>, FromTraceError> {
    let list = parse(json, "a node's taints")?;
    let taint = |t: &Value| {
        Some(Taint { key: text(t, "key"), value: text(t, "value"), effect: effect(&text(t, "effect"))? })
    };
    Ok(items(&list, "").filter_map(taint).collect())
}

/// Reads specs, and counts what the models don't have.
#[derive(Default)]
struct SpecReader {
    several_namespaces: bool,
    /// Specs whose selectors could not be taken as they are.
    inexact: BTreeMap<&'static str, u64>,
}

impl SpecReader {
    fn spec(&mut self, row: &SpecRow, names: &mut ResourceNames) -> Result<PodSpec, FromTraceError> {
        let tolerations = parse(&row.tolerations, "a spec's tolerations")?;
        let affinity = parse(&row.affinity, "a spec's affinity")?;
        let spread = parse(&row.topology_spread, "a spec's topology_spread")?;
        let toleration = |t: &Value| Toleration {
            key: text(t, "key"),
            exists: t.get("operator").and_then(Value::as_str) == Some("Exists"),
            value: text(t, "value"),
            effect: t.get("effect").and_then(Value::as_str).and_then(effect),
        };
        let required = "/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
        let preferred = "/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution";
        let weight = |v: &Value| {
            v.get("weight").and_then(Value::as_i64).and_then(|w| i32::try_from(w).ok()).unwrap_or(1)
        };
        let required_node_affinity = items(&affinity, required).map(|t| self.term(t)).collect();
        let preferred_node_affinity = items(&affinity, preferred)
            .map(|p| WeightedTerm {
                weight: weight(p),
                term: self.term(p.get("preference").unwrap_or(&Value::Null)),
            })
            .collect();
        let mut pod_affinity = Vec::new();
        for (kind, anti) in [("podAffinity", false), ("podAntiAffinity", true)] {
            let required = format!("/{kind}/requiredDuringSchedulingIgnoredDuringExecution");
            for term in items(&affinity, &required) {
                pod_affinity.push(self.pod_term(term, None, anti, row));
            }
            let preferred = format!("/{kind}/preferredDuringSchedulingIgnoredDuringExecution");
            for weighted in items(&affinity, &preferred) {
                let term = weighted.get("podAffinityTerm").unwrap_or(&Value::Null);
                pod_affinity.push(self.pod_term(term, Some(weight(weighted)), anti, row));
            }
        }
        let mut topology_spread = Vec::new();
        for constraint in items(&spread, "") {
            let skew = constraint.get("maxSkew").and_then(Value::as_u64).unwrap_or(1);
            topology_spread.push(SpreadConstraint {
                max_skew: u32::try_from(skew).unwrap_or(u32::MAX),
                topology_key: text(constraint, "topologyKey"),
                hard: text(constraint, "whenUnsatisfiable") != "ScheduleAnyway",
                selector: {
                    let mut selector = self.selector(constraint, row);
                    for key in items(constraint, "/matchLabelKeys").filter_map(Value::as_str) {
                        if let Some(value) = row.labels.get(key) {
                            selector.insert(key.to_owned(), value.clone());
                        }
                    }
                    selector
                },
                min_domains: constraint
                    .get("minDomains")
                    .and_then(Value::as_u64)
                    .map_or(0, |n| u32::try_from(n).unwrap_or(u32::MAX)),
                ignore_node_affinity: text(constraint, "nodeAffinityPolicy") == "Ignore",
                honor_node_taints: text(constraint, "nodeTaintsPolicy") == "Honor",
            });
        }
        let mut labels = row.labels.clone();
        if self.several_namespaces {
            labels.insert(NAMESPACE_LABEL.to_owned(), namespace(row).to_owned());
        }
        Ok(PodSpec {
            requests: Resources { pods: 0, ..resources(&row.requests, names)? },
            priority: 0,
            labels,
            node_selector: row.node_selector.clone(),
            node_name: None,
            tolerations: items(&tolerations, "").map(toleration).collect(),
            required_node_affinity,
            preferred_node_affinity,
            pod_affinity,
            topology_spread,
            host_ports: Vec::new(),
            never_preempts: false,
        })
    }

    fn count(&mut self, what: &'static str) {
        *self.inexact.entry(what).or_default() += 1;
    }

    /// A node selector term; the only field that can be matched is the node's name.
    fn term(&mut self, term: &Value) -> Term {
        let mut expressions = Vec::new();
        for (list, field) in [("/matchExpressions", false), ("/matchFields", true)] {
            for e in items(term, list) {
                let operator = match text(e, "operator").as_str() {
                    "In" => Operator::In,
                    "NotIn" => Operator::NotIn,
                    "Exists" => Operator::Exists,
                    "DoesNotExist" => Operator::DoesNotExist,
                    "Gt" => Operator::Gt,
                    "Lt" => Operator::Lt,
                    _ => {
                        self.count("node affinity with an operator that Kubernetes does not have");
                        continue;
                    }
                };
                let key = if field { HOSTNAME_LABEL.to_owned() } else { text(e, "key") };
                let values = items(e, "/values").filter_map(Value::as_str).map(str::to_owned).collect();
                expressions.push(Expression { key, operator, values });
            }
        }
        Term { expressions }
    }

    fn pod_term(&mut self, term: &Value, weight: Option<i32>, anti: bool, row: &SpecRow) -> PodAffinityTerm {
        if term.get("namespaces").is_some() || term.get("namespaceSelector").is_some() {
            self.count("pod affinity over other namespaces, taken as the pod's own");
        }
        PodAffinityTerm {
            selector: self.selector(term, row),
            topology_key: text(term, "topologyKey"),
            weight,
            anti,
        }
    }

    /// The labels that a `labelSelector` (with `matchLabelKeys`) asks for.
    fn selector(&mut self, value: &Value, row: &SpecRow) -> BTreeMap<String, String> {
        let mut selector = BTreeMap::new();
        if let Some(labels) = value.pointer("/labelSelector/matchLabels").and_then(Value::as_object) {
            for (key, label) in labels {
                selector.insert(key.clone(), label.as_str().unwrap_or_default().to_owned());
            }
        }
        for e in items(value, "/labelSelector/matchExpressions") {
            let values: Vec<&str> = items(e, "/values").filter_map(Value::as_str).collect();
            match (text(e, "operator").as_str(), &values[..]) {
                ("In", [one]) => {
                    selector.insert(text(e, "key"), (*one).to_owned());
                }
                _ => self.count("label selectors other than `key in (one value)`, left out"),
            }
        }
        for key in items(value, "/matchLabelKeys").filter_map(Value::as_str) {
            if let Some(label) = row.labels.get(key) {
                selector.insert(key.to_owned(), label.clone());
            }
        }
        if self.several_namespaces {
            selector.insert(NAMESPACE_LABEL.to_owned(), namespace(row).to_owned());
        }
        selector
    }
}

fn namespace(row: &SpecRow) -> &str {
    if row.namespace.is_empty() { "default" } else { &row.namespace }
}

/// Node labels that specs look at.
fn labels_in_use(specs: &[PodSpec]) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for spec in specs {
        keys.extend(spec.node_selector.keys().cloned());
        let preferred = spec.preferred_node_affinity.iter().map(|w| &w.term);
        let terms = spec.required_node_affinity.iter().chain(preferred);
        keys.extend(terms.flat_map(|t| &t.expressions).map(|e| e.key.clone()));
        keys.extend(spec.pod_affinity.iter().map(|t| t.topology_key.clone()));
        keys.extend(spec.topology_spread.iter().map(|t| t.topology_key.clone()));
    }
    keys
}

/// Reads the trace in a folder into `cluster`.
///
/// # Errors
/// See [`fill`].
pub(super) fn read(
    cluster: &mut Cluster,
    folder: &Path,
    transform: &TransformSpec,
    streams: &Streams,
) -> Result<TraceWorkload, FromTraceError> {
    let import =
        "`podpace trace import FORMAT PATH --out DIR` makes one, `podpace trace formats` lists the formats";
    if folder.is_file() {
        let message = format!("{} is a file; a trace is a folder", folder.display());
        return Err(unusable(message, format!("{import}; name DIR here")));
    }
    let reader = trace::open(folder).map_err(|error| unusable(error.to_string(), import))?;
    fill(cluster, &reader, transform, streams)
}

/// Reads Kubernetes objects into `cluster`, by way of a trace in the folder for temporary files.
///
/// # Errors
/// A manifest can't be read; see [`fill`].
pub(super) fn read_manifests(
    cluster: &mut Cluster,
    paths: &[PathBuf],
    transform: &TransformSpec,
    streams: &Streams,
) -> Result<TraceWorkload, FromTraceError> {
    /// Tells traces of one process apart.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("podpace-manifests-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(name);
    let options = ImportOptions { encoding: model::Encoding::Jsonl, ..ImportOptions::default() };
    let result = trace::import("k8s-list", paths, &folder, &options).map_err(FromTraceError::from).and_then(
        |manifest| {
            let mut out = fill(cluster, &trace::open(&folder)?, transform, streams)?;
            let report = manifest.report;
            let dropped = report.tables.values().flat_map(|table| &table.dropped);
            for (reason, rows) in dropped.filter(|(reason, _)| *reason != "not-a-workload") {
                out.notes.push(format!("{} objects are left out: {reason} ({})", rows.count, rows.first));
            }
            out.notes.extend(report.notes);
            // The temporary trace is a function of the manifests, so its hashes stand for them.
            Ok(out)
        },
    );
    let _ = std::fs::remove_dir_all(&folder);
    result
}

/// Reads a trace into `cluster`.
///
/// # Errors
/// The trace can't be read, is empty, has no nodes while the cluster has none, or no pod of it fits any node.
fn fill(
    cluster: &mut Cluster,
    reader: &TraceReader,
    transform: &TransformSpec,
    streams: &Streams,
) -> Result<TraceWorkload, FromTraceError> {
    let mut out = TraceWorkload { files: hashes(reader.path())?, ..TraceWorkload::default() };
    let rows = reader.specs()?;
    let namespaces: BTreeSet<&str> = rows.iter().map(namespace).collect();
    let selects = |row: &SpecRow| row.affinity.contains("\"pod") || !row.topology_spread.is_empty();
    let mut specs = SpecReader {
        several_namespaces: namespaces.len() > 1 && rows.iter().any(selects),
        ..SpecReader::default()
    };
    let pod_specs: Vec<PodSpec> =
        rows.iter().map(|row| specs.spec(row, &mut cluster.resources)).collect::<Result<_, _>>()?;
    for (what, count) in &specs.inexact {
        out.notes.push(format!("{} terms of specs: {what}", thousands(*count)));
    }
    if rows.iter().any(|row| !row.scheduler_name.is_empty()) {
        out.notes.push("some pods name a scheduler of their own; all go to the scenario's".to_owned());
    }
    if cluster.nodes.is_empty() {
        nodes(cluster, reader, &labels_in_use(&pod_specs), transform, &mut out)?;
    }
    let planned = pods(cluster, reader, &rows, &pod_specs, transform, streams, &mut out)?;
    place(cluster, planned, &mut out)?;
    Ok(out)
}

/// SHA-256 of each file in the folder.
fn hashes(folder: &Path) -> Result<BTreeMap<String, String>, FromTraceError> {
    let io = |path: &Path, source| TraceError::Io { path: path.to_path_buf(), source };
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(|e| io(folder, e))? {
        let path = entry.map_err(|e| io(folder, e))?.path();
        if !path.is_file() {
            continue;
        }
        let mut file = std::fs::File::open(&path).map_err(|e| io(&path, e))?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer).map_err(|e| io(&path, e))? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
        let hash = hasher.finalize().iter().map(|b| format!("{b:02x}")).collect();
        out.insert(path.file_name().unwrap_or_default().to_string_lossy().into_owned(), hash);
    }
    Ok(out)
}

fn nodes(
    cluster: &mut Cluster,
    reader: &TraceReader,
    labels_in_use: &BTreeSet<String>,
    transform: &TransformSpec,
    out: &mut TraceWorkload,
) -> Result<(), FromTraceError> {
    let mut rows: Vec<model::NodeRow> = Vec::new();
    let mut by_name: FxHashMap<String, usize> = FxHashMap::default();
    let (mut later, mut removed, mut changed) = (0u64, 0u64, 0u64);
    for row in reader.nodes()? {
        let row = row?;
        match (row.op, by_name.get(&row.name)) {
            (NodeOp::Remove, _) => removed += 1,
            (_, Some(&at)) if rows[at].allocatable.is_empty() => rows[at] = row,
            (_, Some(&at)) => changed += u64::from(rows[at].allocatable != row.allocatable),
            (_, None) => {
                later += u64::from(row.t_ns > 0);
                by_name.insert(row.name.clone(), rows.len());
                rows.push(row);
            }
        }
    }
    let without = rows.iter().filter(|row| row.allocatable.is_empty()).count() as u64;
    for (count, what) in [
        (later, "nodes join later; they are there from the beginning"),
        (removed, "removals of nodes are left out"),
        (changed, "changes of capacity are left out; a node keeps its first"),
        (without, "nodes have no capacity and are left out"),
    ] {
        if count > 0 {
            out.notes.push(format!("{} {what}", thousands(count)));
        }
    }
    rows.retain(|row| !row.allocatable.is_empty());
    if rows.is_empty() {
        let hint = "describe the cluster in the scenario: `cluster: {nodes: [{count: 100, template: {allocatable: {cpu: 32, memory: 128Gi}}}]}`";
        return Err(unusable(format!("the trace {} has no nodes", reader.path().display()), hint));
    }
    let node_scale = transform.node_scale.unwrap_or(Ratio::ONE);
    let total = u128::from(rows.len() as u64) * u128::from(node_scale.ppm()) / PPM;
    if total == 0 || total > u128::from(limits::NODES) {
        let hint =
            format!("between 1 and {} nodes are needed; correct workload.transform.nodeScale", limits::NODES);
        return Err(unusable(format!("{total} nodes remain of the trace's {}", rows.len()), hint));
    }
    let mut templates: BTreeMap<NodeTemplate, u32> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        let mut allocatable = resources(&row.allocatable, &mut cluster.resources)?;
        if allocatable.pods == 0 {
            allocatable.pods = u32::try_from(DEFAULT_NODE_PODS).unwrap_or(u32::MAX);
        }
        allocatable.cpu_millicores = scale(allocatable.cpu_millicores, transform.capacity_scale);
        allocatable.memory_bytes = scale(allocatable.memory_bytes, transform.capacity_scale);
        let labels = row
            .labels
            .iter()
            .filter(|(key, _)| labels_in_use.contains(*key) && *key != ZONE_LABEL && *key != HOSTNAME_LABEL)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let template =
            NodeTemplate { labels, taints: taints(&row.taints)?, unschedulable: false, allocatable };
        let template = match templates.get(&template) {
            Some(id) => *id,
            None => {
                let id = cluster.nodes.add_template(template.clone());
                templates.insert(template, id);
                id
            }
        };
        let zone = row.labels.get(ZONE_LABEL).map(|zone| cluster.nodes.add_zone(zone));
        for copy in 0..share(index as u64, node_scale) {
            let name = if copy == 0 { row.name.clone() } else { format!("{}-copy{copy}", row.name) };
            cluster.nodes.add(name, template, zone);
        }
    }
    Ok(())
}

fn fates(reader: &TraceReader) -> Result<FxHashMap<String, Fate>, FromTraceError> {
    let mut fates: FxHashMap<String, Fate> = FxHashMap::default();
    for event in reader.events()? {
        let event = event?;
        let fate = fates.entry(event.uid).or_default();
        match event.op {
            EventOp::PodBound => fate.node = Some(event.node),
            EventOp::PodDelete => fate.deleted_ns = fate.deleted_ns.or(Some(event.t_ns)),
        }
    }
    Ok(fates)
}

/// Applications by name and queue; the last one asked for is usually the next one too.
#[derive(Default)]
struct Apps {
    by_name: FxHashMap<(String, String), AppId>,
    last: Option<(String, String, u64, AppId)>,
}

impl Apps {
    fn id(&mut self, cluster: &mut Cluster, name: &str, queue: &str, copy: u64) -> AppId {
        if let Some((last_name, last_queue, last_copy, id)) = &self.last
            && (last_name.as_str(), last_queue.as_str(), *last_copy) == (name, queue, copy)
        {
            return *id;
        }
        let full = if copy == 0 { name.to_owned() } else { format!("{name}-copy{copy}") };
        let id = *self.by_name.entry((full, queue.to_owned())).or_insert_with_key(|(name, queue)| {
            cluster.pods.add_app(App { name: name.clone(), queue: queue.clone() })
        });
        self.last = Some((name.to_owned(), queue.to_owned(), copy, id));
        id
    }
}

/// Reads the table of pods, transformed, in the order of creation; those that sit on a node last.
fn pods(
    cluster: &mut Cluster,
    reader: &TraceReader,
    rows: &[SpecRow],
    specs: &[PodSpec],
    transform: &TransformSpec,
    streams: &Streams,
    out: &mut TraceWorkload,
) -> Result<Vec<Row>, FromTraceError> {
    let fates = fates(reader)?;
    let names: FxHashMap<String, NodeId> = if fates.values().any(|f| f.node.is_some()) {
        (0..cluster.nodes.len() as NodeId).map(|n| (cluster.nodes.get(n).name.clone(), n)).collect()
    } else {
        FxHashMap::default()
    };
    let mut rng = streams.stream("workload.transform");
    let window = transform.window.unwrap_or_default();
    let (from_ns, to_ns) = (window.from.map_or(0, |d| d.0), window.to.map_or(u64::MAX, |d| d.0));
    let load = transform.load_scale.unwrap_or(Ratio::ONE);
    let jitter_ns = transform.jitter.map_or(0, |d| d.0);
    let mut apps = Apps::default();
    let mut spec_ids: FxHashMap<(u32, i32), SpecId> = FxHashMap::default();
    let mut planned: Vec<Row> = Vec::new();
    let (mut outside, mut gangs, mut deleted, mut homeless) = (0u64, 0u64, 0u64, 0u64);
    let mut batch = PodBatch::default();
    let mut pods = reader.pods()?;
    while pods.next_batch(&mut batch)? {
        for i in 0..batch.len() {
            let submit_ns = batch.submit_ns[i];
            let fate = if fates.is_empty() { None } else { fates.get(batch.uid.get(i)) };
            let bound = fate.and_then(|f| f.node.as_ref());
            let mut run_ns = batch.run_ns[i].unwrap_or(u64::MAX);
            if let Some(deleted_ns) = fate.and_then(|f| f.deleted_ns) {
                // Deleting is modelled as the end of a run that begins when the pod is created.
                let begin_ns = if bound.is_some() { from_ns.max(submit_ns) } else { submit_ns };
                if bound.is_some() && deleted_ns <= from_ns {
                    outside += 1;
                    continue;
                }
                run_ns = run_ns.min(deleted_ns.saturating_sub(begin_ns));
                deleted += 1;
            }
            let node = match bound {
                None => NO_NODE,
                Some(name) => match names.get(name) {
                    Some(node) => *node,
                    None => {
                        homeless += 1;
                        continue;
                    }
                },
            };
            if submit_ns >= to_ns || (submit_ns < from_ns && node == NO_NODE) {
                outside += 1;
                continue;
            }
            let spec = batch.spec_id[i] as usize;
            let (Some(row), Some(pod_spec)) = (rows.get(spec), specs.get(spec)) else {
                let message = format!("pod {} names spec {spec}; there are {}", batch.uid.get(i), rows.len());
                return Err(unusable(message, "`podpace trace validate` lists all such pods"));
            };
            let spec = *spec_ids.entry((batch.spec_id[i], batch.priority[i])).or_insert_with(|| {
                cluster.pods.add_spec(PodSpec { priority: batch.priority[i], ..pod_spec.clone() })
            });
            let autogenerated;
            let app = match batch.app.get(i) {
                "" => {
                    // At most 63 characters, as a label value has.
                    autogenerated = format!("{:.63}", format!("yunikorn-{}-autogen", namespace(row)));
                    autogenerated.as_str()
                }
                app => app,
            };
            let queue = match batch.queue.get(i) {
                "" => "root.default",
                queue => queue,
            };
            gangs += u64::from(batch.min_member[i] > 1);
            let run_ns = if run_ns == u64::MAX { run_ns } else { scale(run_ns, transform.time_scale) };
            let at_ns = scale(submit_ns.saturating_sub(from_ns), transform.time_scale);
            for copy in 0..if node == NO_NODE { copies(load, &mut rng) } else { 1 } {
                let jitter_ns = if copy == 0 || jitter_ns == 0 { 0 } else { rng.below(jitter_ns + 1) };
                let app = apps.id(cluster, app, queue, copy);
                planned.push(Row { at_ns: at_ns.saturating_add(jitter_ns), run_ns, spec, app, node });
            }
            if planned.len() as u64 > limits::PODS {
                let message = format!("the workload has more than {} pods", limits::PODS);
                return Err(unusable(message, "take a window, or a smaller loadScale"));
            }
        }
    }
    for (count, what) in [
        (outside, "pods lie outside of the window and are left out"),
        (gangs, "pods are members of gangs; they are scheduled one by one, and start one by one"),
        (deleted, "pods are deleted by somebody at a time; here they run for as long, from when they start"),
        (homeless, "pods sit on nodes that are not in the cluster and are left out"),
    ] {
        if count > 0 {
            out.notes.push(format!("{} {what}", thousands(count)));
        }
    }
    if planned.iter().all(|row| row.node != NO_NODE) {
        let (message, hint) = if outside > 0 {
            let hint = "`podpace trace stats` shows when pods are created; correct workload.transform";
            (format!("no pod is left of the trace {}", reader.path().display()), hint)
        } else {
            let hint = "import it again and read the report: which rows were dropped, and why?";
            (format!("the trace {} has no pods to schedule", reader.path().display()), hint)
        };
        return Err(unusable(message, hint));
    }
    // Stable: pods of the same time stay in the trace's order.
    planned.sort_by_key(|row| (row.node != NO_NODE, row.at_ns));
    Ok(planned)
}

/// How often a pod is taken under a scaled load: the whole part, and once more with the chance of the rest.
fn copies(load: Ratio, rng: &mut Rng) -> u64 {
    let (whole, rest) = (load.ppm() / 1_000_000, load.ppm() % 1_000_000);
    whole + u64::from(rest > 0 && rng.below(1_000_000) < rest)
}

/// Puts the pods into the cluster and looks for those that no node can hold.
fn place(cluster: &mut Cluster, planned: Vec<Row>, out: &mut TraceWorkload) -> Result<(), FromTraceError> {
    let mut pods_of_spec = vec![0u64; cluster.pods.spec_count()];
    cluster.pods.reserve(planned.len());
    out.run_ns.reserve_exact(planned.len());
    for row in &planned {
        let pod = cluster.pods.add(row.spec, row.app);
        out.run_ns.push(row.run_ns);
        if row.node == NO_NODE {
            out.times_ns.push(row.at_ns);
            pods_of_spec[row.spec as usize] += 1;
        } else {
            cluster.pods.bind(pod, row.node);
            cluster.pods.set_stage(pod, Stage::Running);
        }
    }
    if cluster.nodes.is_empty() {
        return Ok(());
    }
    let (mut misfits, mut first) = (0u64, None);
    for (spec, count) in pods_of_spec.iter().enumerate().filter(|(_, count)| **count > 0) {
        let requests = &cluster.pods.spec_by_id(spec as SpecId).requests;
        if !cluster.nodes.templates().iter().any(|t| t.allocatable.holds(requests)) {
            misfits += count;
            first.get_or_insert_with(|| shortage(cluster, requests));
        }
    }
    let Some(first) = first else { return Ok(()) };
    if misfits == out.times_ns.len() as u64 {
        let hint = "make the nodes of `cluster` larger, or set workload.transform.capacityScale";
        return Err(unusable(format!("no node can hold any pod of the trace: {first}"), hint));
    }
    let message = "pods ask for more than any node has and stay pending; the first";
    out.notes.push(format!("{} {message}: {first}", thousands(misfits)));
    Ok(())
}

/// Which request no node can meet.
fn shortage(cluster: &Cluster, requests: &Resources) -> String {
    let largest = |of: &dyn Fn(&Resources) -> u64| {
        cluster.nodes.templates().iter().map(|t| of(&t.allocatable)).max().unwrap_or(0)
    };
    let short = |name: &str, asked: u64, most: u64| {
        (asked > most).then(|| format!("it asks for {name} {asked}, the largest node has {most}"))
    };
    let cpu = short("cpu (millicores)", requests.cpu_millicores, largest(&|r| r.cpu_millicores));
    let memory = || short("memory (bytes)", requests.memory_bytes, largest(&|r| r.memory_bytes));
    let extended = || {
        requests
            .extended
            .iter()
            .find_map(|(id, asked)| short(cluster.resources.name(*id), *asked, largest(&|r| r.extended(*id))))
    };
    cpu.or_else(memory)
        .or_else(extended)
        .unwrap_or_else(|| "no node has enough of every resource at once".to_owned())
}
