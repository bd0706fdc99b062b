//! openb: Alibaba's GPU cluster of 2023 (cluster-trace-gpu-v2023, the FGD paper, USENIX ATC'23).
//!
//! **Tables** (CSV with header).
//! `openb_node_list_*.csv`: sn, cpu_milli, memory_mib, gpu (devices), model.
//! `openb_pod_list_*.csv`: name, cpu_milli, memory_mib, num_gpu, gpu_milli (share of each device), gpu_spec (models
//! accepted, separated by `|`), qos, pod_phase, creation_time, deletion_time, scheduled_time. Some of the 23 variants
//! (`multigpu*`, `gpushare*`, ..) end after gpu_milli: no times, a packing sequence.
//!
//! **Units.** cpu in thousandths of a core, memory in MiB, times in seconds since the trace's beginning.
//!
//! **Mapping.** GPU share becomes one scalar, `alibabacloud.com/gpu-milli` = num_gpu * gpu_milli, 1000 a device on
//! nodes. That keeps totals right but not the packing of shares into single devices. gpu_spec becomes required node
//! affinity to the label `alibabacloud.com/gpu-card-model`. Run time is deletion - scheduled.
//!
//! **What it cannot tell.** Users, queues, applications, priorities (qos is kept as a label). Pods without a scheduled
//! time never started; they wait until their recorded deletion. Pods alive at the end carry the trace's last time
//! as deletion, so their run time is cut. Replayed by time, demand peaks at a few dozen GPUs: the pod list is a
//! sample of a cluster's history; compress time or use it as a packing sequence. Where no node list is given there
//! are no nodes.
//!
//! Source: README of alibaba/clusterdata, cluster-trace-gpu-v2023.

use std::collections::BTreeMap;

use super::{AT_ORIGIN, Importer, InputFile, MIB, Node, Outcome, Pod, SECOND, Sink, TraceError, classify};
use crate::trace::error::Problem;
use crate::trace::input::{Looks, Table, TableSchema, may, must};
use crate::trace::model::{CPU, EventOp, MEMORY, NodeOp, PODS, Resources, SpecRow};

/// The importer.
pub struct OpenB;

/// Resource of GPU shares, thousandths of a device.
pub const GPU_MILLI: &str = "alibabacloud.com/gpu-milli";
/// Node label with the GPU's model.
pub const GPU_MODEL_LABEL: &str = "alibabacloud.com/gpu-card-model";

static NODES: TableSchema = TableSchema {
    name: "nodes",
    hints: &["node_list", "nodelist"],
    columns: &[must("sn"), must("cpu_milli"), must("memory_mib"), may("gpu"), may("model")],
    widths: &[5],
    looks: &[(1, Looks::Number), (4, Looks::MaybeWord)],
    delimiter: b',',
};

static PODS_TABLE: TableSchema = TableSchema {
    name: "pods",
    hints: &["pod_list", "podlist"],
    columns: &[
        must("name"),
        must("cpu_milli"),
        must("memory_mib"),
        may("num_gpu"),
        may("gpu_milli"),
        may("gpu_spec"),
        may("qos"),
        may("pod_phase"),
        may("creation_time"),
        may("deletion_time"),
        may("scheduled_time"),
    ],
    widths: &[11, 5],
    looks: &[(1, Looks::Number), (4, Looks::Number)],
    delimiter: b',',
};

const NAME: usize = 0;
const CPU_MILLI: usize = 1;
const MEMORY_MIB: usize = 2;
const GPUS: usize = 3;
const MODEL: usize = 4;
const GPU_SHARE: usize = 4;
const GPU_SPEC: usize = 5;
const QOS: usize = 6;
const PHASE: usize = 7;
const CREATED: usize = 8;
const DELETED: usize = 9;
const SCHEDULED: usize = 10;

/// Required affinity to one of the GPU models.
pub(crate) fn gpu_affinity(label: &str, models: &[&str]) -> String {
    serde_json::json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": label, "operator": "In", "values": models}]}
    ]}}})
    .to_string()
}

impl Importer for OpenB {
    fn name(&self) -> &'static str {
        "openb"
    }

    fn summary(&self) -> &'static str {
        "Alibaba GPU cluster 2023: openb_node_list_*.csv and openb_pod_list_*.csv"
    }

    fn tested_on(&self) -> &'static str {
        "both node lists, the default pod list and three variants (with and without times)"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        let mut tables = classify(files, &[&NODES, &PODS_TABLE], sink)?;
        prefer(&mut tables, 0, "all_node", sink);
        prefer(&mut tables, 1, "default", sink);
        if !tables.iter().any(|(t, _)| *t == 0) {
            sink.report.absent("nodes", "no node list: the trace has no nodes; give the scenario a cluster");
        }
        if !tables.iter().any(|(t, _)| *t == 1) {
            sink.report.absent("pods", "no pod list: the trace has no pods");
        }
        let mut last_deletion = (0, 0u64);
        for (table, file) in tables {
            if table == 0 {
                sink.each_row(file, &NODES, |sink, row| node(sink, row).map(|()| true))?;
            } else {
                sink.each_row(file, &PODS_TABLE, |sink, row| {
                    pod(sink, row, &mut last_deletion).map(|()| true)
                })?;
            }
        }
        if last_deletion.1 > 1 {
            sink.report.note(format!(
                "{} pods were alive at the end of the recording ({} s): their run times are cut there",
                last_deletion.1,
                last_deletion.0 / SECOND as i64
            ));
        }
        sink.report.note(
            "GPU shares are one scalar per node (alibabacloud.com/gpu-milli): which device holds which share is not modelled",
        );
        Ok(())
    }
}

/// Of several alternatives found in a folder, only the preferred one is read.
fn prefer(tables: &mut Vec<(usize, &InputFile)>, table: usize, preferred: &str, sink: &mut Sink) {
    let found: Vec<&InputFile> =
        tables.iter().filter(|(t, f)| *t == table && !f.explicit).map(|(_, f)| *f).collect();
    if found.len() < 2 {
        return;
    }
    let chosen = found.iter().find(|f| f.file_name().contains(preferred)).unwrap_or(&found[0]);
    let chosen = (*chosen).clone();
    tables.retain(|(t, f)| {
        let keep = *t != table || f.explicit || **f == chosen;
        if !keep {
            sink.report
                .ignored_files
                .push(format!("{} (an alternative; name it to import it)", f.file_name()));
        }
        keep
    });
}

fn node(sink: &mut Sink, row: &Table) -> Result<(), TraceError> {
    let name = row.text(NAME);
    if name.is_empty() {
        return Err(row.error(Problem::EmptyField, NAME, "a node name"));
    }
    let (cpu, memory) = (row.scaled(CPU_MILLI, 1)?, row.scaled(MEMORY_MIB, MIB)?);
    let gpus = if row.has(GPUS) { row.unsigned(GPUS)? } else { 0 };
    if !sink.first_seen(&format!("node/{name}")) {
        return Err(row.error(Problem::DuplicateId, NAME, "a node name of its own; two node lists given?"));
    }
    let mut allocatable =
        Resources::from([(CPU.to_string(), cpu), (MEMORY.to_string(), memory), (PODS.to_string(), 110)]);
    let mut labels = BTreeMap::new();
    if gpus > 0 {
        let milli =
            gpus.checked_mul(1000).ok_or_else(|| row.error(Problem::OutOfRange, GPUS, "fewer devices"))?;
        allocatable.insert(GPU_MILLI.to_string(), milli);
    }
    if !row.is_null(MODEL) {
        labels.insert(GPU_MODEL_LABEL.to_string(), row.text(MODEL).to_string());
    }
    sink.report.invent("nodes.allocatable.pods", "110, the kubelet's default");
    sink.node(
        AT_ORIGIN,
        &Node { op: NodeOp::Add, name: name.to_string(), allocatable, labels, taints: String::new() },
    )
}

fn time(row: &Table, column: usize) -> Result<Option<i64>, TraceError> {
    if row.is_null(column) { Ok(None) } else { row.time(column, SECOND).map(Some) }
}

fn pod(sink: &mut Sink, row: &Table, last_deletion: &mut (i64, u64)) -> Result<(), TraceError> {
    let uid = row.text(NAME);
    if uid.is_empty() {
        return Err(row.error(Problem::EmptyField, NAME, "a pod name"));
    }
    let mut requests = Resources::from([
        (CPU.to_string(), row.scaled(CPU_MILLI, 1)?),
        (MEMORY.to_string(), row.scaled(MEMORY_MIB, MIB)?),
    ]);
    let gpus = if row.has(GPUS) { row.unsigned(GPUS)? } else { 0 };
    let share = if row.has(GPU_SHARE) { row.unsigned(GPU_SHARE)? } else { 1000 };
    if gpus > 0 && !row.has(GPU_SHARE) {
        sink.report.invent("specs.requests.gpu-milli", "whole devices: the list has no column gpu_milli");
    }
    if gpus > 0 {
        if share > 1000 {
            return Err(row.error(Problem::OutOfRange, GPU_SHARE, "at most 1000 thousandths of a device"));
        }
        let milli =
            gpus.checked_mul(share).ok_or_else(|| row.error(Problem::OutOfRange, GPUS, "fewer devices"))?;
        requests.insert(GPU_MILLI.to_string(), milli);
    }
    let mut spec = SpecRow { requests, ..SpecRow::default() };
    if !row.is_null(GPU_SPEC) {
        spec.gpu_type = row.text(GPU_SPEC).to_string();
        let models: Vec<&str> = spec.gpu_type.split('|').filter(|m| !m.is_empty()).collect();
        spec.affinity = gpu_affinity(GPU_MODEL_LABEL, &models);
    }
    if !row.is_null(QOS) {
        spec.labels.insert("qos".to_string(), row.text(QOS).to_string());
    }
    let (created, scheduled, deleted) = (time(row, CREATED)?, time(row, SCHEDULED)?, time(row, DELETED)?);
    if let (Some(c), Some(d)) = (created, deleted)
        && d < c
    {
        return Err(row.error(
            Problem::DeleteBeforeCreate,
            DELETED,
            "a deletion_time not before creation_time",
        ));
    }
    if let (Some(c), Some(s)) = (created, scheduled)
        && s < c
    {
        return Err(row.error(
            Problem::DeleteBeforeCreate,
            SCHEDULED,
            "a scheduled_time not before creation_time",
        ));
    }
    if let (Some(s), Some(d)) = (scheduled, deleted)
        && d < s
    {
        return Err(row.error(
            Problem::DeleteBeforeCreate,
            DELETED,
            "a deletion_time not before scheduled_time",
        ));
    }
    if !sink.first_seen(uid) {
        return Err(row.error(Problem::DuplicateId, NAME, "a pod name of its own; two pod lists given?"));
    }
    let mut pod = Pod { uid: uid.to_string(), spec: sink.spec(spec), ..Pod::default() };
    match created {
        Some(t) => pod.submit = t,
        None => sink.report.invent("pods.submit_ns", "0: the list has no times, it is a packing sequence"),
    }
    match (scheduled, deleted) {
        (Some(s), Some(d)) => pod.run_ns = Some((d - s) as u64),
        (None, Some(d)) => {
            sink.report.invent("pods.run_ns", "none: never scheduled, waits until its recorded deletion");
            sink.event(d, EventOp::PodDelete, uid, "")?;
        }
        _ => sink.report.invent("pods.run_ns", "none: no deletion recorded, runs to the end"),
    }
    if let Some(d) = deleted {
        match d.cmp(&last_deletion.0) {
            std::cmp::Ordering::Greater => *last_deletion = (d, 1),
            std::cmp::Ordering::Equal => last_deletion.1 += 1,
            std::cmp::Ordering::Less => {}
        }
    }
    if created.is_some() {
        let finished = if scheduled.is_some() || row.text(PHASE) == "Pending" { deleted } else { None };
        pod.outcome = Some(Outcome { created, bound: scheduled, finished, ..Outcome::default() });
    }
    sink.pod(&pod)
}
