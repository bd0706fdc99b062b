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
//! **Transformations** (`workload.transform`) are those of `trace::transform`, applied while reading.
//!
//! **Deployments, StatefulSets, Jobs and CronJobs among manifests** have pods that come after those that have a time, made by their controllers; so
//! it is unless `workload.transform` changes them, or they are there before the run begins.
//!
//! **Recorded outcomes** come along for the pods to schedule, to be put beside the simulated ones; nothing else reads them.
//!
//! **Left out, and said in a note**: gangs are scheduled pod by pod, deletions become run times, operators that Kubernetes
//! does not have.
//!
//! Cost: O(pods log pods) time; the plan takes less than 100 bytes a pod, reading 40 more. Batches of the reader are
//! all else that is held, plus one entry an event.
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::cron_manifests::{self, CronJob};
use super::object_manifests::{self, Object, Surroundings};
use super::plan::{OwnerPlan, RecordedPod};
use super::resolve::{DEFAULT_LIMIT_NS, sampler};
use super::scheduling::{self, StorageClassSpec};
use super::spec::{NodeLifecycleSpec, PodShape, TimeDistribution, TransformSpec};
use super::{DEFAULT_NODE_PODS, limits};
use crate::cluster::{
    App, AppId, Cluster, DEFAULT_NAMESPACE, Expression, HOSTNAME_LABEL, HostPort, LabelSelector, NO_NODE,
    Namespaces, NodeId, NodeTemplate, Operator, PodAffinityTerm, PodId, PodSpec, ResourceNames, Resources,
    SpecId, SpreadConstraint, Stage, Taint, TaintEffect, Term, Toleration, WeightedTerm, ZONE_LABEL,
};
use crate::control_plane::controllers::cron_job::CronJobSettings;
use crate::control_plane::controllers::daemon_set::{DaemonSetSettings, suits, tolerate};
use crate::engine::random::LazyStream;
use crate::engine::{Nanos, SECOND, Streams};
use crate::trace::error::Problem;
use crate::trace::field_line::at_field;
use crate::trace::import::Controllers;
use crate::trace::import::cron_jobs::{CronJobRow, cron_jobs};
use crate::trace::import::daemon_sets::{DaemonSetRow, daemon_sets};
use crate::trace::import::k8s_list::{CONTROLLED, CRON_JOB, DAEMON_SET, SCALERS, UNMODELLED};
use crate::trace::model::{self, NodeOp, OutcomeRow, SpecRow};
use crate::trace::temporary::Temporary;
use crate::trace::transform::{GpuResource, Mapping, Transform};
use crate::trace::{self, ImportOptions, TraceError, TraceReader};

/// Distinct extended resources that are read.
const EXTENDED_RESOURCES: usize = 10_000;

/// What a trace brought besides the nodes, specs, applications and pods that it put into the cluster.
#[derive(Debug, Default)]
pub(super) struct TraceWorkload {
    /// When each pod is created, ascending; pods that sit on a node from the beginning are not among them.
    pub times_ns: Vec<Nanos>,
    /// How long each pod runs; `u64::MAX`: to the end.
    pub run_ns: Vec<Nanos>,
    /// DaemonSets, whose pods are none of these.
    pub daemon_sets: Vec<DaemonSetSettings>,
    /// CronJobs.
    pub cron_jobs: Vec<CronJobSettings>,
    /// What controllers make pods for, each with its pods, which come after those that have a time: ReplicaSets, StatefulSets, Jobs, then the Jobs
    /// of CronJobs.
    pub owned: Vec<((PodId, PodId), OwnerPlan)>,
    /// The first so many of these are created when the run begins.
    pub begun: usize,
    /// Largest virtual time of a scenario that doesn't say.
    pub default_limit_ns: Nanos,
    /// How many pods lie outside of the window.
    pub outside: u64,
    /// What was recorded of each of these pods; empty: nothing.
    pub recorded: Vec<RecordedPod>,
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
    /// CronJobs need a date.
    #[error("required, but missing: when the Jobs of {0} come depends on the date of t = 0")]
    NoStartTime(String),
}

impl FromTraceError {
    /// Whether `workload.startTime` is wrong, and not the files.
    pub(super) fn is_of_start_time(&self) -> bool {
        matches!(self, Self::NoStartTime(_))
    }

    /// What to do.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Unusable(_, hint) => Some(hint.clone()),
            Self::NoStartTime(_) => Some("such as `startTime: 2025-01-01T00:00:00Z`".to_owned()),
            Self::Trace(error) if error.problem() == Some(Problem::Forbidden) => Some(
                "what a cluster would refuse is no workload; docs/objects.md says what is modelled"
                    .to_owned(),
            ),
            Self::Trace(error) if error.problem().is_some() => {
                Some("correct the file, or leave the object out".to_owned())
            }
            Self::Trace(_) => None,
        }
    }
}

fn unusable(message: impl Into<String>, hint: impl Into<String>) -> FromTraceError {
    FromTraceError::Unusable(message.into(), hint.into())
}

/// No outcome on record.
const NOT_RECORDED: u32 = u32::MAX;

struct Row {
    at_ns: Nanos,
    run_ns: Nanos,
    spec: SpecId,
    app: AppId,
    node: NodeId,
    /// Index of what was recorded.
    recorded: u32,
}

/// The settings as the trace layer has them.
fn settings(spec: &TransformSpec) -> Transform {
    let window = spec.window.unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let mapping = spec.mapping.iter().map(|rule| Mapping {
        from_user: text(&rule.from_user),
        from_group: text(&rule.from_group),
        from_queue: text(&rule.from_queue),
        from_namespace: text(&rule.from_namespace),
        queue: text(&rule.queue),
        namespace: text(&rule.namespace),
    });
    let gpus = spec
        .gpu_resources
        .iter()
        .map(|rule| GpuResource { model: rule.model.clone(), resource: rule.resource.clone() });
    Transform {
        from_ns: window.from.map_or(0, |d| d.0),
        to_ns: window.to.map(|d| d.0),
        time_ppm: spec.time_scale.map(|r| r.ppm()),
        load_ppm: spec.load_scale.map(|r| r.ppm()),
        jitter_ns: spec.jitter.map_or(0, |d| d.0),
        node_ppm: spec.node_scale.map(|r| r.ppm()),
        capacity_ppm: spec.capacity_scale.map(|r| r.ppm()),
        mapping: mapping.collect(),
        gpu_resources: gpus.collect(),
    }
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

/// A text of the trace as the type that it is of; the default for an empty one.
fn decode<T: serde::de::DeserializeOwned + Default>(json: &str, what: &str) -> Result<T, FromTraceError> {
    if json.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_str(json).map_err(|error| {
        unusable(format!("{what} can't be read: {error}"), "`podpace trace validate` shows where; correct it")
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

fn host_ports(json: &str) -> Result<Vec<HostPort>, FromTraceError> {
    let ports: Vec<model::HostPort> = decode(json, "a spec's host_ports")?;
    let port = |p: model::HostPort| HostPort {
        port: p.host_port,
        protocol: if p.protocol.is_empty() { "TCP".to_owned() } else { p.protocol },
        ip: p.host_ip,
    };
    Ok(ports.into_iter().map(port).collect())
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
            // Less than 0 means 0: at once.
            seconds: t
                .get("tolerationSeconds")
                .and_then(Value::as_i64)
                .map(|s| u64::try_from(s).unwrap_or(0)),
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
                selector: self.term_selector(constraint, row),
                min_domains: constraint
                    .get("minDomains")
                    .and_then(Value::as_u64)
                    .map_or(0, |n| u32::try_from(n).unwrap_or(u32::MAX)),
                ignore_node_affinity: text(constraint, "nodeAffinityPolicy") == "Ignore",
                honor_node_taints: text(constraint, "nodeTaintsPolicy") == "Honor",
            });
        }
        Ok(PodSpec {
            requests: Resources { pods: 0, ..resources(&row.requests, names)? },
            priority: 0,
            labels: row.labels.clone(),
            node_selector: row.node_selector.clone(),
            node_name: None,
            tolerations: items(&tolerations, "").map(toleration).collect(),
            required_node_affinity,
            preferred_node_affinity,
            pod_affinity,
            topology_spread,
            task_group: None,
            required_node: required_node(&affinity, required),
            namespace_name: if namespace(row) == DEFAULT_NAMESPACE {
                String::new()
            } else {
                namespace(row).to_owned()
            },
            scheduler_name: row.scheduler_name.clone(),
            never_preempts: row.preemption_policy == "Never",
            host_ports: host_ports(&row.host_ports)?,
            ..PodSpec::default()
        })
    }

    fn count(&mut self, what: &'static str) {
        *self.inexact.entry(what).or_default() += 1;
    }

    /// A node selector term; the only field that can be matched is the node's name.
    fn term(&mut self, term: &Value) -> Term {
        let mut out = Term::default();
        for (list, into) in [("/matchExpressions", &mut out.expressions), ("/matchFields", &mut out.fields)] {
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
                let values = items(e, "/values").filter_map(Value::as_str).map(str::to_owned).collect();
                into.push(Expression { key: text(e, "key"), operator, values });
            }
        }
        out
    }

    fn pod_term(&mut self, term: &Value, weight: Option<i32>, anti: bool, row: &SpecRow) -> PodAffinityTerm {
        PodAffinityTerm {
            selector: self.term_selector(term, row),
            topology_key: text(term, "topologyKey"),
            weight,
            anti,
            namespaces: Namespaces {
                names: items(term, "/namespaces").filter_map(Value::as_str).map(str::to_owned).collect(),
                selector: term.get("namespaceSelector").filter(|s| !s.is_null()).map(|s| self.selector(s)),
            },
        }
    }

    /// The selector of a term or constraint, with the pod's values of `matchLabelKeys` and `mismatchLabelKeys`, which the
    /// API server may have written into it already.
    fn term_selector(&mut self, value: &Value, row: &SpecRow) -> LabelSelector {
        let mut selector = match value.get("labelSelector").filter(|s| !s.is_null()) {
            Some(found) => self.selector(found),
            None => LabelSelector::null(),
        };
        for (list, operator) in [("/matchLabelKeys", Operator::In), ("/mismatchLabelKeys", Operator::NotIn)] {
            for key in items(value, list).filter_map(Value::as_str) {
                if let Some(label) = row.labels.get(key) {
                    let (key, values) = (key.to_owned(), vec![label.clone()]);
                    let expression = Expression { key, operator, values };
                    if !selector.expressions.contains(&expression) {
                        selector.expressions.push(expression);
                    }
                }
            }
        }
        selector
    }

    /// A `LabelSelector`. `key in (one value)` is kept as a label, so that equal selectors are equal.
    fn selector(&mut self, value: &Value) -> LabelSelector {
        let mut selector = LabelSelector::default();
        for (key, label) in value.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            selector.labels.insert(key.clone(), label.as_str().unwrap_or_default().to_owned());
        }
        for e in items(value, "/matchExpressions") {
            let key = text(e, "key");
            let values: Vec<String> =
                items(e, "/values").filter_map(Value::as_str).map(str::to_owned).collect();
            let operator = match text(e, "operator").as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                _ => {
                    self.count("label selectors with an operator that Kubernetes does not have, left out");
                    continue;
                }
            };
            match &values[..] {
                [one] if operator == Operator::In && !selector.labels.contains_key(&key) => {
                    selector.labels.insert(key, one.clone());
                }
                _ => selector.expressions.push(Expression { key, operator, values }),
            }
        }
        selector
    }
}

/// The node that the controller of a DaemonSet has given the pod: the only one to write `matchFields`.
fn required_node(affinity: &Value, terms: &str) -> Option<String> {
    let fields = items(affinity, terms).flat_map(|term| items(term, "/matchFields"));
    let named = fields.filter(|f| text(f, "key") == "metadata.name" && text(f, "operator") == "In");
    named.filter_map(|f| f.pointer("/values/0").and_then(Value::as_str)).last().map(str::to_owned)
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
    apps: AppOptions,
) -> Result<TraceWorkload, FromTraceError> {
    let import =
        "`podpace trace import FORMAT PATH --out DIR` makes one, `podpace trace formats` lists the formats";
    if folder.is_file() {
        let message = format!("{} is a file; a trace is a folder", folder.display());
        return Err(unusable(message, format!("{import}; name DIR here")));
    }
    let reader = trace::open(folder).map_err(|error| unusable(error.to_string(), import))?;
    fill(cluster, &reader, transform, streams, apps, Made::default())
}

/// What objects among manifests need besides, whose pods are made in a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunOptions<'a> {
    /// The date of t = 0.
    pub(super) start_time: Option<&'a str>,
    /// The largest virtual time, where the scenario says it.
    pub(super) limit_ns: Option<Nanos>,
    /// Pods are there before the run begins.
    pub(super) backlog: bool,
    /// Who runs pods.
    pub(super) lifecycle: &'a NodeLifecycleSpec,
    /// Whether the scheduler binds volumes.
    pub(super) binds_volumes: bool,
    /// The StorageClasses that there are.
    pub(super) storage_classes: &'a [StorageClassSpec],
}

/// Objects among manifests whose pods are made in a run.
#[derive(Debug, Default)]
struct Made<'a> {
    daemon_sets: Vec<DaemonSetRow>,
    cron_jobs: Vec<CronJobRow>,
    /// ReplicaSets first, then StatefulSets, then Jobs.
    objects: Vec<Object>,
    storage_classes: &'a [StorageClassSpec],
    start_time: &'a str,
    limit_ns: Option<Nanos>,
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
    apps: AppOptions,
    options: RunOptions<'_>,
) -> Result<TraceWorkload, FromTraceError> {
    let temp = std::env::temp_dir();
    let kept = Temporary::folder(&temp, &format!("{MANIFESTS}-"))
        .map_err(|e| FromTraceError::from(TraceError::io(&temp, e)))?;
    let folder = kept.path().join("trace");
    // What is transformed has to be in the trace; what is there before the run began has no controller that makes it.
    let controllers = match (options.backlog || *transform != TransformSpec::default(), apps.gangs) {
        (true, _) => Controllers::Expanded,
        (false, true) => Controllers::LeftButGangs,
        (false, false) => Controllers::Left,
    };
    let import = ImportOptions { encoding: model::Encoding::Jsonl, controllers, ..ImportOptions::default() };
    let mut fill_in = |report: trace::Report| {
        let dropped = || report.tables.values().flat_map(|table| &table.dropped);
        for (kind, reason, instead) in UNMODELLED {
            if let Some((_, rows)) = dropped().find(|(dropped, _)| *dropped == reason) {
                let message = format!("{}: {kind}s in manifests are not modelled", rows.first);
                return Err(unusable(message, instead));
            }
        }
        let found = |reason: &str| dropped().any(|(dropped, _)| dropped == reason);
        let (mut made, mut left_alone) = (Made::default(), Vec::new());
        if found(DAEMON_SET) {
            let (sets, alone) = daemon_sets(paths)?;
            made.daemon_sets = sets;
            left_alone.push((alone, "DaemonSets"));
        }
        if found(CRON_JOB) {
            let (jobs, alone) = cron_jobs(paths)?;
            if let Some(first) = jobs.first() {
                let no_date = || FromTraceError::NoStartTime(format!("CronJob {}", first.name));
                made.start_time = options.start_time.ok_or_else(no_date)?;
            }
            (made.cron_jobs, made.limit_ns) = (jobs, options.limit_ns);
            left_alone.push((alone, "CronJobs"));
        }
        let mut notes = Vec::new();
        if found(CONTROLLED) {
            let around = Surroundings {
                lifecycle: options.lifecycle,
                binds_volumes: options.binds_volumes,
                storage_classes: options.storage_classes,
            };
            for row in trace::import::controllers::controllers(paths, controllers)? {
                match object_manifests::read(row, around)? {
                    Ok(object) => made.objects.push(object),
                    Err(note) => notes.push(note),
                }
            }
            made.objects.sort_by_key(|object| match object.owner {
                OwnerPlan::ReplicaSet => 0,
                OwnerPlan::StatefulSet(_) => 1,
                OwnerPlan::Job(_) => 2,
            });
            made.storage_classes = options.storage_classes;
        }
        let mut out = fill(cluster, &trace::open(&folder)?, transform, streams, apps, made)?;
        out.notes.append(&mut notes);
        for (count, what) in left_alone.iter().filter(|(count, _)| *count > 0) {
            out.notes.push(format!("{count} {what} were left alone: pods that exist are in the input"));
        }
        let known = ["not-a-workload", DAEMON_SET, CRON_JOB, CONTROLLED];
        for (reason, rows) in dropped().filter(|(reason, _)| !known.contains(&reason.as_str())) {
            let scaler = SCALERS.iter().find(|(_, of, _)| of == reason);
            out.notes.push(match scaler {
                Some((kind, _, means)) => format!(
                    "{} {kind}s do nothing here ({}): what pods use is not modelled; {means}",
                    rows.count, rows.first
                ),
                None => format!("{} objects are left out: {reason} ({})", rows.count, rows.first),
            });
        }
        out.notes.extend(report.notes);
        // The temporary trace is a function of the manifests, so its hashes stand for them.
        Ok(out)
    };
    let result = trace::import("k8s-list", paths, &folder, &import).map_err(FromTraceError::from).and_then(
        |manifest| {
            fill_in(manifest.report).map_err(|error| match error {
                FromTraceError::Trace(error) => {
                    at_field(&trace::source::collect(paths).unwrap_or_default(), error).into()
                }
                error => error,
            })
        },
    );
    drop(kept);
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
    apps: AppOptions,
    made: Made<'_>,
) -> Result<TraceWorkload, FromTraceError> {
    let mut out = TraceWorkload { files: hashes(reader.path())?, ..TraceWorkload::default() };
    let daemon_sets = &made.daemon_sets[..];
    for (there, what) in [(!daemon_sets.is_empty(), "DaemonSets"), (!made.cron_jobs.is_empty(), "CronJobs")] {
        if there && *transform != TransformSpec::default() {
            out.notes.push(format!("{what} are not transformed"));
        }
    }
    let transform = settings(transform);
    let mut rows = reader.specs()?;
    transform.specs(&mut rows, &mut out.notes);
    let mut specs = SpecReader::default();
    let pod_specs: Vec<PodSpec> =
        rows.iter().map(|row| specs.spec(row, &mut cluster.resources)).collect::<Result<_, _>>()?;
    let daemons: Vec<PodSpec> = daemon_sets
        .iter()
        .map(|row| {
            let spec = specs.spec(&row.spec, &mut cluster.resources)?;
            let mut spec = PodSpec { priority: row.priority, ..spec };
            tolerate(&mut spec);
            Ok(spec)
        })
        .collect::<Result<_, FromTraceError>>()?;
    let of_jobs: Vec<PodSpec> = made
        .cron_jobs
        .iter()
        .map(|row| {
            let spec = specs.spec(&row.spec, &mut cluster.resources)?;
            Ok(PodSpec { priority: row.priority, ..spec })
        })
        .collect::<Result<_, FromTraceError>>()?;
    let of_objects: Vec<PodSpec> = made
        .objects
        .iter()
        .map(|Object { row, owner, .. }| {
            let spec = specs.spec(&row.spec, &mut cluster.resources)?;
            // What default spreading looks at: the selector, which a manifest may leave out where it says no more than the labels.
            let selector = match row.object.pointer("/spec/selector") {
                Some(given) if row.kind == "ReplicationController" => {
                    specs.selector(&serde_json::json!({ "matchLabels": given }))
                }
                Some(given) => specs.selector(given),
                None => row.spec.labels.clone().into(),
            };
            let controller_selector = (!matches!(owner, OwnerPlan::Job(_))).then_some(selector);
            let grace = row.object.pointer("/spec/template/spec/terminationGracePeriodSeconds");
            let termination_grace_s = grace.and_then(Value::as_u64).and_then(|s| u32::try_from(s).ok());
            Ok(PodSpec { priority: row.priority, controller_selector, termination_grace_s, ..spec })
        })
        .collect::<Result<_, FromTraceError>>()?;
    for (what, count) in &specs.inexact {
        out.notes.push(format!("{} terms of specs: {what}", thousands(*count)));
    }
    if cluster.nodes.is_empty() {
        let mut labels = labels_in_use(&pod_specs);
        labels.extend(labels_in_use(&daemons));
        labels.extend(labels_in_use(&of_jobs));
        labels.extend(labels_in_use(&of_objects));
        if of_objects.iter().any(|spec| spec.controller_selector.is_some()) {
            labels.extend([HOSTNAME_LABEL, ZONE_LABEL].map(str::to_owned));
        }
        nodes(cluster, reader, &labels, &transform, &mut out)?;
    }
    add_daemon_sets(cluster, daemon_sets, daemons, apps, &mut out);
    let mut gangs = Gangs::new();
    let source = (reader, &transform, streams);
    let planned = pods(cluster, source, (&rows, &pod_specs), &mut specs, (apps, &mut gangs), &mut out)?;
    // Pods that sit on nodes are a beginning, too: of what ends, fails or comes later.
    let controlled = !out.daemon_sets.is_empty() || !made.cron_jobs.is_empty() || !made.objects.is_empty();
    if planned.is_empty() && !controlled {
        return Err(nothing_left(reader, &out));
    }
    let ends = planned.iter().filter(|row| row.run_ns != u64::MAX).map(|row| row.run_ns);
    let comes = planned.iter().filter(|row| row.node == NO_NODE).map(|row| row.at_ns);
    out.default_limit_ns =
        comes.max().unwrap_or(0).saturating_add(ends.max().unwrap_or(0)).saturating_add(DEFAULT_LIMIT_NS);
    for object in &made.objects {
        out.default_limit_ns = out.default_limit_ns.saturating_add(longest_ns(object));
    }
    let limit_ns = made.limit_ns.unwrap_or(out.default_limit_ns);
    let jobs = made.cron_jobs.into_iter().map(|row| cron_manifests::read(row, limit_ns, made.start_time));
    let jobs = jobs.collect::<Result<Vec<CronJob>, TraceError>>()?;
    place(cluster, planned, &mut out, |cluster, out| {
        let objects = made.objects.iter().zip(of_objects);
        let mut lifetimes = streams.lazily("workload.lifetimes");
        let mut volumes = streams.lazily("workload.volumes");
        add_objects(cluster, objects, made.storage_classes, [&mut lifetimes, &mut volumes], apps, out)?;
        add_cron_jobs(
            cluster,
            jobs.iter().zip(of_jobs),
            (limit_ns, made.start_time),
            &mut lifetimes,
            apps,
            out,
        )
    })?;
    for ((app, name), gang) in gangs {
        let first = cluster.pods.len();
        let members = if gang.places.is_empty() { gang.members } else { gang.places.len() as u32 };
        cluster.pods.add_placeholders(app, name, members, gang.spec);
        for (pod, node) in (first as PodId..).zip(gang.places) {
            cluster.pods.bind(pod, node);
            cluster.pods.set_stage(pod, Stage::Running);
        }
    }
    Ok(out)
}

/// How folders for the traces of manifests are named.
const MANIFESTS: &str = "podpace-manifests";

/// Whether a trace was made of manifests just now: nobody knows its folder.
fn is_of_manifests(reader: &TraceReader) -> bool {
    let folder = reader.path().parent().and_then(Path::file_name);
    folder.is_some_and(|name| name.to_string_lossy().starts_with(MANIFESTS))
}

/// No pod is left.
fn nothing_left(reader: &TraceReader, out: &TraceWorkload) -> FromTraceError {
    if is_of_manifests(reader) {
        let left = if out.outside > 0 {
            "no pod is left of the manifests"
        } else {
            "no object of the manifests makes a pod"
        };
        let hint = if out.outside > 0 {
            "correct workload.transform"
        } else {
            "give them Pods, or controllers with `replicas` above 0; docs/objects.md says what is read"
        };
        unusable(left, hint)
    } else if out.outside > 0 {
        let hint = "`podpace trace stats` shows when pods are created; correct workload.transform";
        unusable(format!("no pod is left of the trace {}", reader.path().display()), hint)
    } else {
        let hint = "import it again and read the report: which rows were dropped, and why?";
        unusable(format!("the trace {} has no pods", reader.path().display()), hint)
    }
}

/// How long an object may take to make its pods and to see them end, generously.
fn longest_ns(object: &Object) -> Nanos {
    // Their controllers' clients make 20 requests a second, of which a pod takes two or three.
    let made_ns = object.pods.saturating_mul(SECOND / 4);
    let rounds = match object.owner {
        OwnerPlan::Job(job) => object.pods.div_ceil(u64::from(job.parallelism.max(1))),
        OwnerPlan::ReplicaSet | OwnerPlan::StatefulSet(_) => 0,
    };
    let longest_ns = match object.run_time {
        Some(TimeDistribution::Fixed(span)) => span.0,
        Some(TimeDistribution::Uniform { max, .. }) => max.0,
        _ => 0,
    };
    made_ns.saturating_add(rounds.saturating_mul(longest_ns))
}

/// Deployments, StatefulSets and Jobs: an application each, and its pods.
fn add_objects<'a>(
    cluster: &mut Cluster,
    objects: impl Iterator<Item = (&'a Object, PodSpec)>,
    storage_classes: &[StorageClassSpec],
    [lifetimes, volumes]: [&mut LazyStream<'_>; 2],
    options: AppOptions,
    out: &mut TraceWorkload,
) -> Result<(), FromTraceError> {
    for (object, spec) in objects {
        let row = &object.row;
        let what = format!("{} {}/{}", row.kind, namespace(&row.spec), row.name);
        if cluster.pods.len() as u64 + object.pods > limits::PODS {
            let why = format!("with it there are more than {} pods", limits::PODS);
            return Err(row
                .place
                .error(Problem::Forbidden, "spec.replicas", &object.pods.to_string(), why)
                .into());
        }
        let or = |text: &String, other: &str| if text.is_empty() { other.to_owned() } else { text.clone() };
        let app = cluster.pods.add_app(App {
            name: or(&row.app, &row.name),
            queue: or(&row.queue, options.default_queue),
            user: row.user.clone(),
            namespace: row.spec.namespace.clone(),
            ..App::default()
        });
        let shape = PodShape { volume_claim_templates: object.volumes.clone(), ..PodShape::default() };
        let specs: Vec<SpecId> = scheduling::volume_claims(&shape, storage_classes)
            .into_iter()
            .map(|volume_claims| cluster.pods.add_spec(PodSpec { volume_claims, ..spec.clone() }))
            .collect();
        let mut provisioning: Vec<_> =
            scheduling::provisioning(&shape, storage_classes).into_iter().map(sampler).collect();
        let mut run = object.run_time.map(sampler);
        let first = cluster.pods.len() as PodId;
        for i in 0..object.pods {
            let pod = cluster.pods.add(specs[i as usize % specs.len()], app);
            if let Some(slowest) = provisioning.iter_mut().map(|draw| draw(volumes)).max() {
                cluster.provisioning_ns.insert(pod, slowest);
            }
            out.run_ns.push(run.as_mut().map_or(u64::MAX, |draw| draw(lifetimes)));
        }
        out.owned.push(((first, cluster.pods.len() as PodId), object.owner));
        // The trace does not hold them.
        let hash = Sha256::digest(format!("{:?} {}", row.spec, row.object));
        out.files.insert(what, hash.iter().map(|b| format!("{b:02x}")).collect());
    }
    out.begun = out.owned.len();
    Ok(())
}

/// CronJobs: an application for each Job, which may come at each of their times. The label `app` stands for the Job's own, as in a scenario.
fn add_cron_jobs<'a>(
    cluster: &mut Cluster,
    jobs: impl Iterator<Item = (&'a CronJob, PodSpec)>,
    (limit_ns, start_time): (Nanos, &str),
    lifetimes: &mut LazyStream<'_>,
    options: AppOptions,
    out: &mut TraceWorkload,
) -> Result<(), FromTraceError> {
    for (CronJob { row, spec: job }, spec) in jobs {
        let settings = job.settings(limit_ns, Some(start_time), out.owned.len());
        let pods = job.completions.or(job.parallelism).unwrap_or(1);
        let mut run = job.run_time.map(sampler);
        for time in 0..settings.times_ns.len() {
            if cluster.pods.len() as u64 + pods > limits::PODS {
                let why = format!(
                    "its Jobs until `stop.limit` have more than {} pods; lower the limit, or start Jobs less often",
                    limits::PODS
                );
                return Err(row.place.error(Problem::Forbidden, "spec.schedule", &job.schedule, why).into());
            }
            let name = if row.app.is_empty() { format!("{}-{time}", row.name) } else { row.app.clone() };
            let mut spec = spec.clone();
            spec.labels.entry("app".to_owned()).or_insert_with(|| name.clone());
            let queue = if row.queue.is_empty() { options.default_queue } else { &row.queue };
            let app = cluster.pods.add_app(App {
                name,
                queue: queue.to_owned(),
                user: row.user.clone(),
                namespace: row.spec.namespace.clone(),
                ..App::default()
            });
            let spec = cluster.pods.add_spec(spec);
            let first = cluster.pods.len() as PodId;
            for _ in 0..pods {
                cluster.pods.add(spec, app);
                out.run_ns.push(run.as_mut().map_or(u64::MAX, |draw| draw(lifetimes)));
            }
            out.owned.push(((first, cluster.pods.len() as PodId), job.job()));
        }
        out.cron_jobs.push(settings);
        // The trace does not hold them.
        let hash = Sha256::digest(format!("{:?} {}", row.spec, row.object));
        let hash = hash.iter().map(|b| format!("{b:02x}")).collect();
        out.files.insert(format!("CronJob {}/{}", namespace(&row.spec), row.name), hash);
    }
    Ok(())
}

/// DaemonSets: an application each, and their templates.
fn add_daemon_sets(
    cluster: &mut Cluster,
    rows: &[DaemonSetRow],
    specs: Vec<PodSpec>,
    options: AppOptions,
    out: &mut TraceWorkload,
) {
    for (row, spec) in rows.iter().zip(specs) {
        let or = |text: &String, other: &str| if text.is_empty() { other.to_owned() } else { text.clone() };
        let app = cluster.pods.add_app(App {
            name: or(&row.app, &row.name),
            queue: or(&row.queue, options.default_queue),
            user: row.user.clone(),
            namespace: namespace(&row.spec).to_owned(),
            ..App::default()
        });
        if !(0..cluster.nodes.len() as NodeId).any(|node| suits(cluster, &spec, node).0) {
            let (namespace, name) = (namespace(&row.spec), &row.name);
            out.notes.push(format!("DaemonSet {namespace}/{name}: no node suits it, so that it has no pods"));
        }
        let template = cluster.pods.add_spec(spec);
        out.daemon_sets.push(DaemonSetSettings { template, app });
        // The trace does not hold them.
        let hash = Sha256::digest(format!("{row:?}")).iter().map(|b| format!("{b:02x}")).collect();
        out.files.insert(format!("DaemonSet {}/{}", namespace(&row.spec), row.name), hash);
    }
}

/// SHA-256 of each file in the folder.
fn hashes(folder: &Path) -> Result<BTreeMap<String, String>, FromTraceError> {
    let io = |path: &Path, source| TraceError::Io { path: path.to_path_buf(), source };
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(|e| io(folder, e))? {
        let path = entry.map_err(|e| io(folder, e))?.path();
        // A snapshot's checkpoint is no part of the trace.
        if !path.is_file() || path.file_name().is_some_and(|name| name == trace::native::CHECKPOINT) {
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
    transform: &Transform,
    out: &mut TraceWorkload,
) -> Result<(), FromTraceError> {
    let mut rows: Vec<model::NodeRow> = Vec::new();
    let mut by_name: FxHashMap<String, usize> = FxHashMap::default();
    let (mut later, mut removed, mut changed) = (0u64, 0u64, 0u64);
    let too_many = |n: u64| {
        let hint =
            format!("between 1 and {} nodes are needed; correct workload.transform.nodeScale", limits::NODES);
        unusable(format!("{} nodes remain of the trace's", thousands(n)), hint)
    };
    transform.nodes(reader, |row| {
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
        let n = rows.len() as u64;
        if n > limits::NODES { Err(too_many(n)) } else { Ok(()) }
    })?;
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
        if transform.node_ppm.is_some() && reader.nodes()?.next().is_some() {
            return Err(too_many(0));
        }
        let hint = "describe the cluster in the scenario: `cluster: {nodes: [{count: 100, template: {allocatable: {cpu: 32, memory: 128Gi}}}]}`";
        let what = if is_of_manifests(reader) {
            "there are no Nodes among the manifests".to_owned()
        } else {
            format!("the trace {} has no nodes", reader.path().display())
        };
        return Err(unusable(what, hint));
    }
    let mut labels_in_use = labels_in_use.clone();
    labels_in_use.extend(labels_of_placeholders(&reader.specs()?, &mut cluster.resources)?);
    let mut templates: BTreeMap<NodeTemplate, u32> = BTreeMap::new();
    for row in &rows {
        let mut allocatable = resources(&row.allocatable, &mut cluster.resources)?;
        if allocatable.pods == 0 {
            allocatable.pods = u32::try_from(DEFAULT_NODE_PODS).unwrap_or(u32::MAX);
        }
        let labels = row
            .labels
            .iter()
            .filter(|(key, _)| labels_in_use.contains(*key) && *key != ZONE_LABEL && *key != HOSTNAME_LABEL)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let template =
            NodeTemplate { labels, taints: taints(&row.taints)?, allocatable, ..NodeTemplate::default() };
        let template = match templates.get(&template) {
            Some(id) => *id,
            None => {
                let id = cluster.nodes.add_template(template.clone());
                templates.insert(template, id);
                id
            }
        };
        let zone = row.labels.get(ZONE_LABEL).map(|zone| cluster.nodes.add_zone(zone));
        cluster.nodes.add(row.name.clone(), template, zone);
    }
    Ok(())
}

/// Node labels that placeholders of gangs look at.
fn labels_of_placeholders(
    rows: &[SpecRow],
    names: &mut ResourceNames,
) -> Result<BTreeSet<String>, FromTraceError> {
    let mut specs = Vec::new();
    for row in rows.iter().filter(|row| !row.gang.is_empty()) {
        for group in decode::<model::Gang>(&row.gang, "a spec's gang")?.task_groups {
            specs.push(SpecReader::default().spec(&placeholder(row, &group), names)?);
        }
    }
    Ok(labels_in_use(&specs))
}

/// The spec of a group's placeholders, of a pod that names it.
fn placeholder(row: &SpecRow, group: &model::TaskGroup) -> SpecRow {
    SpecRow {
        namespace: row.namespace.clone(),
        requests: group.min_resource.clone(),
        labels: group.labels.clone(),
        node_selector: group.node_selector.clone(),
        tolerations: group.tolerations.clone(),
        affinity: group.affinity.clone(),
        topology_spread: group.topology_spread.clone(),
        scheduler_name: row.scheduler_name.clone(),
        preemption_policy: row.preemption_policy.clone(),
        ..SpecRow::default()
    }
}

/// Notes what the pod that brings an application says of its gangs; one that comes later says nothing.
fn declare(
    cluster: &mut Cluster,
    spec_reader: &mut SpecReader,
    gangs: &mut Gangs,
    (app, row, priority): (AppId, &SpecRow, i32),
) -> Result<(), FromTraceError> {
    let gang: model::Gang = decode(&row.gang, "a spec's gang")?;
    let described = cluster.pods.app_mut(app);
    described.gang_hard = gang.hard;
    described.placeholder_timeout_ns = gang.placeholder_timeout_seconds.saturating_mul(1_000_000_000);
    for group in gang.task_groups {
        let spec = spec_reader.spec(&placeholder(row, &group), &mut cluster.resources)?;
        let task_group = Some(group.name.clone());
        let spec = cluster.pods.add_spec(PodSpec { priority, task_group, ..spec });
        let found = Gang { members: group.min_member, spec, places: Vec::new() };
        gangs.entry((app, group.name)).or_insert(found);
    }
    Ok(())
}

/// What traces leave to the scheduler's kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct AppOptions {
    /// Queue of applications that name none.
    pub(super) default_queue: &'static str,
    /// Task groups count.
    pub(super) gangs: bool,
}

/// A task group.
struct Gang {
    members: u32,
    /// Spec of a placeholder: that of the group's first pod.
    spec: SpecId,
    /// Nodes on which placeholders sit when the trace begins: the gang runs already, and has no others.
    places: Vec<NodeId>,
}

/// Task groups by application and name.
type Gangs = BTreeMap<(AppId, String), Gang>;

/// Applications by name and queue; the last one asked for is usually the next one too.
#[derive(Default)]
struct Apps {
    by_name: FxHashMap<(String, String), AppId>,
    last: Option<(String, String, u64, AppId)>,
}

impl Apps {
    fn id(
        &mut self,
        cluster: &mut Cluster,
        name: &str,
        queue: &str,
        (user, namespace): (&str, &str),
        copy: u64,
    ) -> AppId {
        if let Some((last_name, last_queue, last_copy, id)) = &self.last
            && (last_name.as_str(), last_queue.as_str(), *last_copy) == (name, queue, copy)
        {
            return *id;
        }
        let full = if copy == 0 { name.to_owned() } else { format!("{name}-copy{copy}") };
        let id = *self.by_name.entry((full, queue.to_owned())).or_insert_with_key(|(name, queue)| {
            cluster.pods.add_app(App {
                name: name.clone(),
                queue: queue.clone(),
                user: user.to_owned(),
                namespace: namespace.to_owned(),
                ..App::default()
            })
        });
        self.last = Some((name.to_owned(), queue.to_owned(), copy, id));
        id
    }
}

/// What was recorded of a pod, in the trace's time.
fn recorded(o: &OutcomeRow) -> RecordedPod {
    let time = |t: Option<u64>| t.unwrap_or(u64::MAX);
    RecordedPod {
        created_ns: time(o.created_ns),
        bound_ns: time(o.bound_ns),
        running_ns: time(o.running_ns),
        finished_ns: time(o.finished_ns),
    }
}

/// Reads the table of pods, transformed, in the order of creation; those that sit on a node last.
fn pods(
    cluster: &mut Cluster,
    (reader, transform, streams): (&TraceReader, &Transform, &Streams),
    (rows, specs): (&[SpecRow], &[PodSpec]),
    spec_reader: &mut SpecReader,
    (options, gangs_of): (AppOptions, &mut Gangs),
    out: &mut TraceWorkload,
) -> Result<Vec<Row>, FromTraceError> {
    let mut names: Option<FxHashMap<String, NodeId>> = None;
    let mut apps = Apps::default();
    let mut spec_ids: FxHashMap<(u32, i32, Option<String>), SpecId> = FxHashMap::default();
    let mut renamed_ids: BTreeMap<(u32, i32, String, Option<String>), SpecId> = BTreeMap::new();
    let mut planned: Vec<Row> = Vec::new();
    let mut brought: BTreeSet<AppId> = BTreeSet::new();
    let (mut gangs, mut homeless, mut placeholders) = (0u64, 0u64, 0u64);
    let left = transform.pods(reader, rows, streams, |taken| {
        let node = match taken.node {
            None => NO_NODE,
            Some(name) => {
                let names = names.get_or_insert_with(|| {
                    (0..cluster.nodes.len() as NodeId)
                        .map(|n| (cluster.nodes.get(n).name.clone(), n))
                        .collect()
                });
                match names.get(name) {
                    Some(node) => *node,
                    None => {
                        homeless += 1;
                        return Ok(());
                    }
                }
            }
        };
        let index = taken.spec_id as usize;
        let (Some(row), Some(pod_spec)) = (rows.get(index), specs.get(index)) else {
            let message = format!("pod {} names spec {index}; there are {}", taken.uid, rows.len());
            return Err(unusable(message, "`podpace trace validate` lists all such pods"));
        };
        if taken.placeholder && !options.gangs {
            placeholders += 1;
            return Ok(());
        }
        let autogenerated;
        let app = match taken.app {
            "" => {
                // At most 63 characters, as a label value has.
                let namespace = taken.namespace.unwrap_or_else(|| namespace(row));
                autogenerated = format!("{:.63}", format!("yunikorn-{namespace}-autogen"));
                autogenerated.as_str()
            }
            app => app,
        };
        let queue = match taken.queue {
            "" => options.default_queue,
            queue => queue,
        };
        let owner = (taken.user, taken.namespace.unwrap_or_else(|| namespace(row)));
        let app = apps.id(cluster, app, queue, owner, taken.copy);
        let members = match (options.gangs, node, taken.placeholder) {
            (true, NO_NODE, _) | (true, _, true) => taken.min_member.max(u32::from(taken.placeholder)),
            _ => 0,
        };
        if options.gangs && node == NO_NODE && !row.gang.is_empty() && brought.insert(app) {
            let renamed = taken.namespace.map(|name| SpecRow { namespace: name.to_owned(), ..row.clone() });
            let row = renamed.as_ref().unwrap_or(row);
            declare(cluster, spec_reader, gangs_of, (app, row, taken.priority))?;
        }
        let is_declared = || gangs_of.contains_key(&(app, taken.task_group.to_owned()));
        let is_member = !taken.task_group.is_empty()
            && (members > 0 || options.gangs && node == NO_NODE && brought.contains(&app) && is_declared());
        let task_group = is_member.then(|| taken.task_group.to_owned());
        let (priority, in_gang) = (taken.priority, task_group.clone());
        let spec = match taken.namespace {
            None => *spec_ids.entry((taken.spec_id, priority, in_gang)).or_insert_with_key(|key| {
                cluster.pods.add_spec(PodSpec { priority, task_group: key.2.clone(), ..pod_spec.clone() })
            }),
            Some(name) => {
                let key = (taken.spec_id, priority, name.to_owned(), in_gang);
                match renamed_ids.get(&key) {
                    Some(id) => *id,
                    None => {
                        let row = SpecRow { namespace: name.to_owned(), ..row.clone() };
                        let spec = spec_reader.spec(&row, &mut cluster.resources)?;
                        let task_group = key.3.clone();
                        let id = cluster.pods.add_spec(PodSpec { priority, task_group, ..spec });
                        renamed_ids.insert(key, id);
                        id
                    }
                }
            }
        };
        gangs += u64::from(taken.min_member > 1 && taken.copy == 0 && node == NO_NODE && !options.gangs);
        // Deleting is modelled as the end of a run that begins when the pod is created.
        let run_ns = taken.run_ns.unwrap_or(u64::MAX).min(taken.held_ns.unwrap_or(u64::MAX));
        if let Some(task_group) = task_group {
            let group = gangs_of.entry((app, task_group)).or_insert_with(|| Gang {
                members,
                spec,
                places: Vec::new(),
            });
            group.members = group.members.max(members);
            if taken.placeholder {
                // What holds the places says what they are; the first pod of the group may ask for less.
                if group.places.is_empty() {
                    group.spec = spec;
                }
                group.places.push(node);
                return Ok(());
            }
        }
        let recorded = match taken.outcome {
            Some(outcome) => {
                out.recorded.push(recorded(outcome));
                out.recorded.len() as u32 - 1
            }
            None => NOT_RECORDED,
        };
        planned.push(Row { at_ns: taken.at_ns, run_ns, spec, app, node, recorded });
        if planned.len() as u64 > limits::PODS {
            let message = format!("the workload has more than {} pods", limits::PODS);
            return Err(unusable(message, "take a window, or a smaller loadScale"));
        }
        Ok(())
    })?;
    let (outside, deleted) = (left.outside, left.deleted);
    for (count, what) in [
        (outside, "pods lie outside of the window and are left out"),
        (gangs, "pods are members of gangs, which only YuniKorn schedules as such; they start one by one"),
        (deleted, "pods are deleted by somebody at a time; here they run for as long, from when they start"),
        (homeless, "pods sit on nodes that are not in the cluster and are left out"),
        (placeholders, "placeholders of gangs are left out: only YuniKorn knows what to do with them"),
    ] {
        if count > 0 {
            out.notes.push(format!("{} {what}", thousands(count)));
        }
    }
    let asked: u64 = gangs_of.values().map(|gang| u64::from(gang.members)).sum();
    if asked > limits::PODS {
        let message = format!("the gangs have {} members; there may be {}", thousands(asked), limits::PODS);
        return Err(unusable(message, "correct min_member, or minMember of the task groups"));
    }
    out.outside = outside;
    // Stable: pods of the same time stay in the trace's order.
    planned.sort_by_key(|row| (row.node != NO_NODE, row.at_ns));
    Ok(planned)
}

/// Puts the pods into the cluster, and `others` before those that sit on nodes, and looks for those that no node can hold.
fn place(
    cluster: &mut Cluster,
    planned: Vec<Row>,
    out: &mut TraceWorkload,
    others: impl FnOnce(&mut Cluster, &mut TraceWorkload) -> Result<(), FromTraceError>,
) -> Result<(), FromTraceError> {
    cluster.pods.reserve(planned.len());
    out.run_ns.reserve_exact(planned.len());
    // From the trace's order to that of the plan.
    let recorded = std::mem::take(&mut out.recorded);
    let (to_schedule, on_nodes) = planned.split_at(planned.partition_point(|row| row.node == NO_NODE));
    for row in to_schedule {
        cluster.pods.add(row.spec, row.app);
        out.run_ns.push(row.run_ns);
        out.times_ns.push(row.at_ns);
        if !recorded.is_empty() {
            out.recorded.push(recorded.get(row.recorded as usize).copied().unwrap_or(RecordedPod::NOTHING));
        }
    }
    others(cluster, out)?;
    let mut pods_of_spec = vec![0u64; cluster.pods.spec_count()];
    let all = cluster.pods.len() as PodId;
    (0..all).for_each(|pod| pods_of_spec[cluster.pods.spec_id(pod) as usize] += 1);
    for row in on_nodes {
        let pod = cluster.pods.add(row.spec, row.app);
        out.run_ns.push(row.run_ns);
        cluster.pods.bind(pod, row.node);
        cluster.pods.set_stage(pod, Stage::Running);
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
    if misfits == u64::from(all) {
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
