//! Philly: Microsoft's DNN training cluster (ATC'19).
//!
//! **Tables.** `cluster_job_log`: a JSON array of {status, vc, jobid, attempts [{start_time, end_time, detail [{ip, gpus
//! [..]}]}], submitted_time, user}. `cluster_machine_list`: CSV of machineId, number of GPUs, single GPU mem. Utilisation
//! tables are not read.
//!
//! **Times** of jobs have no zone. They are read as Pacific time, which the utilisation tables of the same machines name
//! (PDT in October, PST in November); the one change within the trace (August to December 2017) is the end of daylight
//! saving on 5 November at 09:00 UTC. The hour from 01:00 to 02:00 local comes twice that day: a time in it is the first
//! one, unless that lies before what it follows (submission, the attempt before, its start); then it is the second one.
//!
//! **Mapping.** An attempt is a gang with one pod a server it used, each asking for the GPUs used there (`split=job`: one
//! pod with all). The first attempt is created when the job was submitted, later ones when the one before ended. The
//! virtual cluster is the queue.
//!
//! **What it cannot tell.** CPU and memory; what a job asked for when it never got an attempt (left out: no-attempt). An
//! attempt without a start is left out; without an end it runs on. Times in the hour that comes twice may be an hour off.
//!
//! Source: README of msr-fiddle/philly-traces. No real file was at hand; tests use the README's example.

use serde_json::Value;

use super::kubernetes::{self as k8s, Place};
use super::{
    AT_ORIGIN, Importer, InputFile, Node, Origin, Outcome, Pod, SECOND, Sink, Split, TraceError, classify,
};
use crate::trace::documents::each_document;
use crate::trace::error::Problem;
use crate::trace::input::{TableSchema, may, must};
use crate::trace::model::{GPU, NodeOp, PODS, Resources, SpecRow};
use crate::trace::number;

/// The importer.
pub struct Philly;

static MACHINES: TableSchema = TableSchema {
    name: "cluster_machine_list",
    hints: &["machine_list"],
    columns: &[
        must("machineId|machine_id"),
        must("number of GPUs|num_gpus|gpus"),
        may("single GPU mem|gpu_mem"),
    ],
    widths: &[3],
    looks: &[],
    delimiter: b',',
};

const JOBS: &str = "cluster_job_log";

impl Importer for Philly {
    fn name(&self) -> &'static str {
        "philly"
    }

    fn summary(&self) -> &'static str {
        "Microsoft Philly: cluster_job_log and cluster_machine_list"
    }

    fn tested_on(&self) -> &'static str {
        "no real file; the README's example"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        sink.origin = Origin::Unix;
        let mut machine_files = Vec::new();
        let mut logs = Vec::new();
        for file in files {
            let name = file.file_name().to_lowercase();
            if name.contains("_util") {
                sink.report.ignored_files.push(format!("{} (utilisation is not read)", file.file_name()));
            } else if name.contains("machine_list") || name.ends_with(".csv") {
                machine_files.push(file.clone());
            } else {
                logs.push(file.clone());
            }
        }
        if machine_files.is_empty() {
            sink.report.absent(MACHINES.name, "the trace has no nodes; give the scenario a cluster");
        } else {
            for (_, file) in classify(&machine_files, &[&MACHINES], sink)? {
                sink.each_row(file, &MACHINES, |sink, row| {
                    let name = row.text(0).to_string();
                    let gpus = row.unsigned(1)?;
                    if name.is_empty() || !sink.first_seen(&format!("node/{name}")) {
                        return Err(row.error(Problem::DuplicateId, 0, "each machine once, with a name"));
                    }
                    let mut node = Node {
                        op: NodeOp::Add,
                        name,
                        allocatable: Resources::from([(GPU.to_string(), gpus), (PODS.to_string(), 110)]),
                        ..Node::default()
                    };
                    if !row.is_null(2) {
                        node.labels.insert("gpu-memory".to_string(), row.text(2).to_string());
                    }
                    sink.report.invent("nodes.allocatable.pods", "110, the kubelet's default");
                    sink.node(AT_ORIGIN, &node).map(|()| true)
                })?;
            }
        }
        if logs.is_empty() {
            sink.report.absent(JOBS, "the trace has no pods");
        }
        for file in &logs {
            sink.begin_file(file, JOBS);
            each_document(file, sink.options.max_line_bytes, &mut |value, place| {
                sink.report.table(JOBS).read += 1;
                match value.and_then(|value| job(sink, &value, place)) {
                    Ok(true) => sink.report.table(JOBS).kept += 1,
                    Ok(false) => {}
                    Err(e) => sink.bad(JOBS, e)?,
                }
                Ok(())
            })?;
        }
        sink.report
            .note("CPU and memory are not in the trace: pods ask for GPUs only, nodes offer GPUs only");
        sink.report.note(
            "times have no zone and are read as Pacific: daylight saving ends on 2017-11-05 at 09:00 UTC",
        );
        Ok(())
    }
}

/// The end of daylight saving in 2017, 09:00 UTC on 5 November.
const CHANGE: i64 = 1_509_872_400 * SECOND as i64;
const HOUR: i64 = 3600 * SECOND as i64;

/// Unix time of a local one (in ns as if it were UTC): the earliest it can be, or the second one of the hour that comes
/// twice if the first lies before `since`.
fn pacific(local: i64, since: i64) -> i64 {
    let (daylight, standard) = (local + 7 * HOUR, local + 8 * HOUR);
    let is_daylight = daylight < CHANGE && (standard < CHANGE || daylight >= since);
    if is_daylight { daylight } else { standard }
}

/// A time that lies at or after `since`, if it can.
fn time(value: &Value, field: &str, since: i64, place: &Place) -> Result<Option<i64>, TraceError> {
    let text = match value.get(field).and_then(Value::as_str) {
        None | Some("" | "None") => return Ok(None),
        Some(text) => text.trim(),
    };
    let expected = "a time as 2017-10-07 01:11:39";
    let t = number::unix_ns(text).map_err(|_| place.error(Problem::NotANumber, field, text, expected))?;
    let has_zone = text.get(10..).is_some_and(|rest| {
        rest.bytes().any(|c| matches!(c, b'+' | b'-') || (c.is_ascii_alphabetic() && c != b'T'))
    });
    if has_zone {
        return Ok(Some(t));
    }
    if t.checked_add(8 * HOUR).is_none() {
        return Err(place.error(Problem::OutOfRange, field, text, expected));
    }
    Ok(Some(pacific(t, since)))
}

fn job(sink: &mut Sink, value: &Value, place: &Place) -> Result<bool, TraceError> {
    let id = k8s::text(value, "/jobid");
    if id.is_empty() {
        return Err(place.error(Problem::EmptyField, "jobid", "", "a job id"));
    }
    let Some(submitted) = time(value, "submitted_time", i64::MIN, place)? else {
        return Err(place.error(Problem::EmptyField, "submitted_time", "", "a time"));
    };
    if !sink.first_seen(id) {
        return Err(place.error(Problem::DuplicateId, "jobid", id, "each job once"));
    }
    let attempts = value.get("attempts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or(&[]);
    let mut created = submitted;
    let mut made = 0;
    for (n, attempt) in attempts.iter().enumerate() {
        let start = time(attempt, "start_time", created, place)?;
        let end = time(attempt, "end_time", start.unwrap_or(created), place)?;
        let Some(start) = start else {
            let at = || format!("{}:{} ({id})", place.file, place.at);
            sink.report.leave_out("attempts without a start", at);
            continue;
        };
        let (starts_early, ends_early) = (start < submitted, end.is_some_and(|e| e < start));
        if starts_early || ends_early {
            let (field, expected) = if starts_early {
                ("start_time", "a time after submitted_time")
            } else {
                ("end_time", "a time after start_time")
            };
            let value = k8s::text(attempt, &format!("/{field}"));
            let field = format!("attempts[{n}].{field}");
            return Err(place.error(Problem::DeleteBeforeCreate, &field, value, expected));
        }
        let servers: Vec<(&str, u64)> = attempt
            .get("detail")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|d| {
                (k8s::text(d, "/ip"), d.get("gpus").and_then(Value::as_array).map_or(0, |g| g.len() as u64))
            })
            .collect();
        let total: u64 = servers.iter().map(|s| s.1).sum();
        if servers.is_empty() {
            let at = || format!("{}:{} ({id})", place.file, place.at);
            sink.report.leave_out("attempts without a server", at);
            continue;
        }
        let parts: Vec<(&str, u64)> = match sink.options.split {
            Split::Job => vec![(servers[0].0, total)],
            Split::Task => servers.iter().flat_map(|s| std::iter::repeat_n((s.0, 1), s.1 as usize)).collect(),
            Split::Auto => servers,
        };
        let from = created.min(start);
        let mut pod = Pod {
            submit: from,
            app: id.to_string(),
            queue: k8s::text(value, "/vc").to_string(),
            user: k8s::text(value, "/user").to_string(),
            run_ns: end.map(|e| (e - start) as u64),
            ..Pod::default()
        };
        if parts.len() > 1 {
            pod.task_group = format!("attempt-{n}");
            pod.min_member = parts.len() as u32;
        }
        for (k, (server, gpus)) in parts.iter().enumerate() {
            let requests = Resources::from([(GPU.to_string(), *gpus)]);
            pod.spec = sink.spec(SpecRow { requests, ..SpecRow::default() });
            pod.uid = format!("{id}-{n}-{k}");
            pod.outcome = Some(Outcome {
                created: Some(from),
                bound: Some(start),
                running: Some(start),
                finished: end,
                node: (*server).to_string(),
            });
            sink.pod(&pod)?;
            made += 1;
        }
        if end.is_none() {
            sink.report.invent("pods.run_ns", "none: no end on record, runs to the end");
        }
        if n > 0 {
            sink.report.invent("pods.submit_ns", "the end of the attempt before");
        }
        created = end.unwrap_or(start);
    }
    if made == 0 {
        sink.report.drop_row(JOBS, "no-attempt", || format!("{}:{} ({id})", place.file, place.at));
        return Ok(false);
    }
    Ok(true)
}
