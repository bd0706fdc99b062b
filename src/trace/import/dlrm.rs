//! DLRM: Alibaba's GPU-disaggregated recommendation inference (cluster-trace-gpu-v2025, NSDI'25).
//!
//! **Table** (CSV with header): instance_sn, role (CN: CPU node, HN: GPU node), app_name, cpu_request/limit (cores),
//! gpu_request/limit, rdma_request/limit (percent of a NIC, a density constraint), memory_request/limit (GiB),
//! disk_request/limit (GiB), max_instance_per_node (-1: none), creation_time, scheduled_time, deletion_time (s since
//! the beginning; empty or NaN: before the beginning, or after the end for deletion).
//!
//! **Mapping.** RDMA becomes the scalar `alibabacloud.com/rdma-percent`. The role becomes a node selector
//! `alibabacloud.com/role`. An empty creation time is the origin (the instance was already there). Run time is deletion -
//! scheduled; no deletion: runs to the end; instances already running when the trace begins have shortened runs.
//!
//! **What it cannot tell.** Nodes (none are published: the trace has none), and max_instance_per_node, which is kept
//! as the label `max-instance-per-node` but not enforced as anti-affinity.
//!
//! Source: README of alibaba/clusterdata, cluster-trace-gpu-v2025.

use super::{GIB, Importer, InputFile, Outcome, Pod, SECOND, Sink, TraceError, classify};
use crate::trace::error::Problem;
use crate::trace::input::{Table, TableSchema, may, must};
use crate::trace::model::{CPU, EPHEMERAL_STORAGE, EventOp, GPU, MEMORY, Resources, SpecRow};

/// The importer.
pub struct Dlrm;

static INSTANCES: TableSchema = TableSchema {
    name: "instances",
    hints: &["dlrm"],
    columns: &[
        must("instance_sn"),
        may("role"),
        may("app_name"),
        may("cpu_request"),
        may("cpu_limit"),
        may("gpu_request"),
        may("gpu_limit"),
        may("rdma_request"),
        may("rdma_limit"),
        may("memory_request"),
        may("memory_limit"),
        may("disk_request"),
        may("disk_limit"),
        may("max_instance_per_node"),
        may("creation_time"),
        may("scheduled_time"),
        may("deletion_time"),
    ],
    widths: &[17],
    looks: &[],
    delimiter: b',',
};

const SN: usize = 0;
const ROLE: usize = 1;
const APP: usize = 2;
const CPUS: usize = 3;
const GPUS: usize = 5;
const RDMA: usize = 7;
const MEM: usize = 9;
const DISK: usize = 11;
const MAX: usize = 13;
const CREATED: usize = 14;
const SCHEDULED: usize = 15;
const DELETED: usize = 16;

impl Importer for Dlrm {
    fn name(&self) -> &'static str {
        "dlrm"
    }

    fn summary(&self) -> &'static str {
        "Alibaba GPU-disaggregated DLRM inference 2025"
    }

    fn tested_on(&self) -> &'static str {
        "the whole trace (23,871 instances)"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        for (_, file) in classify(files, &[&INSTANCES], sink)? {
            sink.each_row(file, &INSTANCES, |sink, row| instance(sink, row).map(|()| true))?;
        }
        sink.report.absent("nodes", "the trace publishes no nodes; give the scenario a cluster");
        sink.report.note("max_instance_per_node is kept as a label and not enforced");
        Ok(())
    }
}

fn instance(sink: &mut Sink, row: &Table) -> Result<(), TraceError> {
    let uid = row.text(SN);
    if uid.is_empty() {
        return Err(row.error(Problem::EmptyField, SN, "an instance id"));
    }
    let role = row.text(ROLE);
    if row.has(ROLE) && !matches!(role, "CN" | "HN") {
        return Err(row.error(Problem::UnknownCode, ROLE, "CN or HN"));
    }
    let mut requests = Resources::new();
    for (column, name, unit) in [(CPUS, CPU, 1000), (MEM, MEMORY, GIB)] {
        if row.has(column) {
            requests.insert(name.to_string(), row.scaled(column, unit)?);
        } else {
            sink.report.invent("specs.requests", "0: the table has no such column");
        }
    }
    for (column, name, unit) in
        [(GPUS, GPU, 1), (RDMA, "alibabacloud.com/rdma-percent", 1), (DISK, EPHEMERAL_STORAGE, GIB)]
    {
        if !row.is_null(column) {
            let n = row.scaled(column, unit)?;
            if n > 0 {
                requests.insert(name.to_string(), n);
            }
        }
    }
    let time = |column: usize| {
        if row.is_null(column) || row.text(column) == "NaN" {
            Ok(None)
        } else {
            row.time(column, SECOND).map(Some)
        }
    };
    let (created, scheduled, deleted) = (time(CREATED)?, time(SCHEDULED)?, time(DELETED)?);
    let (submit, start) = (created.unwrap_or(0), scheduled.or(created.is_none().then_some(0)));
    if let Some(d) = deleted
        && (d < submit || start.is_some_and(|s| d < s))
    {
        return Err(row.error(
            Problem::DeleteBeforeCreate,
            DELETED,
            "a deletion_time not before creation_time",
        ));
    }
    if start.is_some_and(|s| s < submit) {
        return Err(row.error(
            Problem::DeleteBeforeCreate,
            SCHEDULED,
            "a scheduled_time not before creation_time",
        ));
    }
    if !sink.first_seen(uid) {
        return Err(row.error(Problem::DuplicateId, SN, "each instance once"));
    }
    let mut spec = SpecRow { requests, ..SpecRow::default() };
    if !role.is_empty() {
        spec.node_selector.insert("alibabacloud.com/role".to_string(), role.to_string());
    }
    if !row.is_null(MAX) && row.text(MAX) != "-1" {
        spec.labels.insert("max-instance-per-node".to_string(), row.text(MAX).to_string());
    }
    if created.is_none() {
        sink.report.invent("pods.submit_ns", "0: it existed before the trace began");
    }
    let mut pod = Pod {
        submit,
        uid: uid.to_string(),
        spec: sink.spec(spec),
        app: row.text(APP).to_string(),
        ..Pod::default()
    };
    match (start, deleted) {
        (Some(s), Some(d)) => pod.run_ns = Some((d - s) as u64),
        (None, Some(d)) => {
            sink.report.invent("pods.run_ns", "none: never scheduled, waits until its recorded deletion");
            sink.event(d, EventOp::PodDelete, uid, "")?;
        }
        _ => sink
            .report
            .invent("pods.run_ns", "none: not deleted before the end of the trace, runs to the end"),
    }
    pod.outcome = Some(Outcome { created, bound: scheduled, finished: deleted, ..Outcome::default() });
    sink.pod(&pod)
}
