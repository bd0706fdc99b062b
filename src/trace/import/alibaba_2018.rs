//! Alibaba cluster-trace-v2018: 4,000 machines, batch tasks with dependencies and long-running containers, 8 days.
//!
//! **Tables** (CSV without header). `batch_task`, 9 columns: task_name, instance_num, job_name, task_type, status,
//! start_time, end_time, plan_cpu, plan_mem. `batch_instance`, 14: instance_name, task_name, job_name, task_type, status,
//! start_time, end_time, machine_id, seq_no, total_seq_no, cpu_avg, cpu_max, mem_avg, mem_max. `machine_meta`, 7:
//! machine_id, time_stamp, failure_domain_1, failure_domain_2, cpu_num, mem_size, status. `container_meta`, 8:
//! container_id, machine_id, time_stamp, app_du, status, cpu_request, cpu_limit, mem_size. Usage tables are not read.
//!
//! **Units.** Times in seconds. CPU: 100 is one core (cpu_num is cores). Memory is normalised, 100 is the largest
//! machine: it becomes `memory_unit_bytes`; -1 and 101 mark invalid values.
//!
//! **Mapping.** An instance is a pod. With `batch_instance` each of its rows is one, with its own start and end, and the
//! request of its task; without it each task gives instance_num pods with the task's start and end (`split=job`: one
//! pod a task). Task names hold the DAG (`M2_1`: task 2 after task 1); a task's recorded start already lies behind
//! its parents' end, so it is the submit time. A container is a pod from its first row to its `stopped` row; one of which
//! a cut table has only that row was there from the table's first time on.
//!
//! **What it cannot tell.** When a task was submitted (only its start), who submitted it. Rows without a start never
//! ran; rows whose end lies before the start are damaged: both are counted and left out. No end: still running.
//!
//! Memory: O(tasks) to join instances. Source: schema.txt and trace_2018.md of alibaba/clusterdata. No real file was at
//! hand; tests use hand-written rows of the documented form.

use rustc_hash::FxHashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{AT_ORIGIN, Importer, InputFile, Node, Outcome, Pod, SECOND, Sink, Split, TraceError, classify};
use crate::trace::error::Problem;
use crate::trace::input::{Looks, Table, TableSchema, may, must};
use crate::trace::model::{CPU, EventOp, MEMORY, NodeOp, PODS, Resources, SpecRow};

/// The importer.
pub struct Alibaba2018;

static MACHINE_META: TableSchema = TableSchema {
    name: "machine_meta",
    hints: &["machine_meta"],
    columns: &[
        must("machine_id"),
        must("time_stamp"),
        may("failure_domain_1"),
        may("failure_domain_2"),
        must("cpu_num"),
        must("mem_size"),
        may("status"),
    ],
    widths: &[7],
    looks: &[],
    delimiter: b',',
};

static BATCH_TASK: TableSchema = TableSchema {
    name: "batch_task",
    hints: &["batch_task"],
    columns: &[
        must("task_name"),
        must("instance_num|inst_num"),
        must("job_name"),
        may("task_type"),
        must("status"),
        must("start_time"),
        must("end_time"),
        may("plan_cpu"),
        may("plan_mem"),
    ],
    widths: &[9],
    looks: &[(2, Looks::Word), (4, Looks::Word)],
    delimiter: b',',
};

static BATCH_INSTANCE: TableSchema = TableSchema {
    name: "batch_instance",
    hints: &["batch_instance"],
    columns: &[
        must("instance_name|inst_name"),
        must("task_name"),
        must("job_name"),
        may("task_type"),
        must("status"),
        must("start_time"),
        must("end_time"),
        may("machine_id"),
        may("seq_no"),
        may("total_seq_no"),
        may("cpu_avg"),
        may("cpu_max"),
        may("mem_avg"),
        may("mem_max"),
    ],
    widths: &[14],
    looks: &[(4, Looks::Word)],
    delimiter: b',',
};

static CONTAINER_META: TableSchema = TableSchema {
    name: "container_meta",
    hints: &["container_meta"],
    columns: &[
        must("container_id"),
        must("machine_id"),
        must("time_stamp"),
        may("app_du"),
        must("status"),
        may("cpu_request"),
        may("cpu_limit"),
        must("mem_size"),
    ],
    widths: &[8],
    looks: &[(2, Looks::Number), (4, Looks::Word)],
    delimiter: b',',
};

static MACHINE_USAGE: TableSchema = TableSchema {
    name: "machine_usage",
    hints: &["machine_usage"],
    columns: &[may("-")],
    widths: &[9],
    looks: &[(1, Looks::Number), (4, Looks::MaybeNumber)],
    delimiter: b',',
};
static CONTAINER_USAGE: TableSchema = TableSchema {
    name: "container_usage",
    hints: &["container_usage"],
    columns: &[may("-")],
    widths: &[11],
    looks: &[],
    delimiter: b',',
};

/// Millicores of one unit of CPU: 100 is a core.
const CPU_UNIT: u64 = 10;

impl Importer for Alibaba2018 {
    fn name(&self) -> &'static str {
        "alibaba-2018"
    }

    fn summary(&self) -> &'static str {
        "Alibaba cluster-trace-v2018: batch_task, batch_instance, machine_meta, container_meta"
    }

    fn tested_on(&self) -> &'static str {
        "no real file; hand-written rows of the documented form"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        let schemas: [&'static TableSchema; 6] =
            [&MACHINE_META, &BATCH_TASK, &BATCH_INSTANCE, &CONTAINER_META, &MACHINE_USAGE, &CONTAINER_USAGE];
        let tables = classify(files, &schemas, sink)?;
        let of = |t: usize| tables.iter().filter(move |(i, _)| *i == t).map(|(_, f)| *f);
        if of(0).next().is_none() {
            sink.report.absent("machine_meta", "the trace has no nodes; give the scenario a cluster");
        }
        if of(4).next().is_some() || of(5).next().is_some() {
            sink.report.note("usage tables were not read: requests are what a scheduler sees");
        }
        let mut machines: FxHashMap<String, (u64, u64)> = FxHashMap::default();
        for file in of(0) {
            sink.each_row(file, &MACHINE_META, |sink, row| machine(sink, row, &mut machines))?;
        }
        let with_instances = of(2).next().is_some();
        let mut tasks = Tasks { with_instances, ..Tasks::default() };
        for file in of(1) {
            sink.each_row(file, &BATCH_TASK, |sink, row| tasks.task(sink, row))?;
        }
        if with_instances && of(1).next().is_none() {
            sink.report.absent("batch_task", "requests are taken from what instances used at most");
        }
        for file in of(2) {
            sink.each_row(file, &BATCH_INSTANCE, |sink, row| tasks.instance(sink, row))?;
        }
        let unused = tasks.planned.len() as u64 - tasks.used;
        if with_instances && unused > 0 {
            sink.report.note(format!("{unused} tasks have no instance in the input and so no pods"));
        }
        let mut containers = Containers::default();
        for file in of(3) {
            sink.each_row(file, &CONTAINER_META, |sink, row| containers.row(sink, row))?;
        }
        containers.finish(sink)
    }
}

fn machine(
    sink: &mut Sink,
    row: &Table,
    known: &mut FxHashMap<String, (u64, u64)>,
) -> Result<bool, TraceError> {
    let name = row.text(0);
    if name.is_empty() {
        return Err(row.error(Problem::EmptyField, 0, "a machine id"));
    }
    let time = row.time(1, SECOND)?;
    if is_invalid(row, 5) {
        let place = row.place();
        sink.report.drop_row("machine_meta", "no-capacity", || place);
        return Ok(false);
    }
    let capacity = (row.scaled(4, 1000)?, row.scaled(5, sink.options.memory_unit_bytes / 100)?);
    let op = match known.get(name) {
        Some(old) if *old == capacity => {
            let place = row.place();
            sink.report.drop_row("machine_meta", "repeated", || place);
            return Ok(false);
        }
        Some(_) => NodeOp::Update,
        None => NodeOp::Add,
    };
    known.insert(name.to_string(), capacity);
    let allocatable = Resources::from([
        (CPU.to_string(), capacity.0),
        (MEMORY.to_string(), capacity.1),
        (PODS.to_string(), 110),
    ]);
    sink.report.invent("nodes.allocatable.pods", "110, the kubelet's default");
    let mut node = Node { op, name: name.to_string(), allocatable, ..Node::default() };
    for (column, label) in [(2, "failure-domain-1"), (3, "failure-domain-2")] {
        if !row.is_null(column) {
            node.labels.insert(label.to_string(), row.text(column).to_string());
        }
    }
    sink.node(if op == NodeOp::Add { AT_ORIGIN } else { time }, &node)?;
    Ok(true)
}

#[derive(Default)]
struct Tasks {
    /// Spec, start and whether an instance used it, by hash of (job, task).
    planned: FxHashMap<u64, (u32, i64, bool)>,
    used: u64,
    with_instances: bool,
}

fn key(job: &str, task: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (job, task).hash(&mut hasher);
    hasher.finish()
}

/// Start and end in ns: `Err(reason)` for rows that never ran or are damaged.
fn interval(
    row: &Table,
    start: usize,
    end: usize,
) -> Result<Result<(i64, Option<i64>), &'static str>, TraceError> {
    let start = if row.is_null(start) { 0 } else { row.signed_time(start, SECOND)? };
    let end = if row.is_null(end) { 0 } else { row.signed_time(end, SECOND)? };
    if start == 0 && end == 0 {
        return Ok(Err("never-started"));
    }
    if end == 0 {
        return Ok(Ok((start, None)));
    }
    if end < start {
        return Ok(Err("delete-before-create"));
    }
    Ok(Ok((start, Some(end))))
}

/// Normalised values are 0 to 100; the data set marks invalid ones with -1 or 101.
fn is_invalid(row: &Table, column: usize) -> bool {
    matches!(row.text(column).trim_end_matches(".0"), "-1" | "101")
}

/// Times before the trace's beginning enter at 0.
fn clamp(sink: &mut Sink, t: i64) -> i64 {
    if t < 0 {
        sink.report.invent("pods.submit_ns", "0: it started before the trace began (negative time)");
        return 0;
    }
    t
}

impl Tasks {
    fn task(&mut self, sink: &mut Sink, row: &Table) -> Result<bool, TraceError> {
        let (task, job) = (row.text(0).to_string(), row.text(2).to_string());
        let instances = row.unsigned(1)?;
        let interval = interval(row, 5, 6)?;
        let requests = request(sink, row, 7, 8)?;
        let spec = sink.spec(SpecRow { requests, ..SpecRow::default() });
        let (start, end) = match interval {
            Ok(times) => times,
            Err(reason) => {
                let place = row.place();
                sink.report.drop_row("batch_task", reason, || place);
                return Ok(false);
            }
        };
        if self.with_instances {
            if self.planned.insert(key(&job, &task), (spec, start, false)).is_some() {
                return Err(row.error(Problem::DuplicateId, 0, "each task of a job once"));
            }
            return Ok(true);
        }
        if !sink.first_seen(&format!("{job}/{task}")) {
            return Err(row.error(Problem::DuplicateId, 0, "each task of a job once"));
        }
        let count = if sink.options.split == Split::Job { 1 } else { instances.max(1) };
        sink.expand(count).map_err(|expected| row.error(Problem::OutOfRange, 1, expected))?;
        let from = clamp(sink, start);
        let mut pod = Pod {
            submit: from,
            spec,
            app: job.clone(),
            run_ns: end.map(|e| (e.max(from) - from) as u64),
            outcome: Some(Outcome {
                bound: Some(from),
                running: Some(from),
                finished: end,
                ..Outcome::default()
            }),
            ..Pod::default()
        };
        for i in 0..count {
            pod.uid = if count == 1 { format!("{job}/{task}") } else { format!("{job}/{task}/{i}") };
            sink.pod(&pod)?;
        }
        sink.report.invent_n(
            "pods.submit_ns",
            "the recorded start of its task (submission is not recorded)",
            count,
        );
        if count > 1 {
            sink.report.invent_n("pods.run_ns", "its task's (no batch_instance table)", count);
        }
        if end.is_none() {
            sink.report.invent_n("pods.run_ns", "none: no end on record, runs to the end", count);
        }
        Ok(true)
    }

    fn instance(&mut self, sink: &mut Sink, row: &Table) -> Result<bool, TraceError> {
        let (start, end) = match interval(row, 5, 6)? {
            Ok(times) => times,
            Err(reason) => {
                let place = row.place();
                sink.report.drop_row("batch_instance", reason, || place);
                return Ok(false);
            }
        };
        let (name, task, job) = (row.text(0), row.text(1), row.text(2));
        let planned = self.planned.get_mut(&key(job, task)).map(|p| {
            self.used += u64::from(!p.2);
            p.2 = true;
            (p.0, p.1)
        });
        let (spec, submit) = match planned {
            Some((spec, task_start)) => {
                sink.report
                    .invent("pods.submit_ns", "the recorded start of its task (submission is not recorded)");
                (spec, task_start.min(start))
            }
            None => {
                let requests = request(sink, row, 11, 13)?;
                sink.report
                    .invent("specs.requests", "the instance's highest use (its task is not in the input)");
                sink.report.invent("pods.submit_ns", "the instance's start (its task is not in the input)");
                (sink.spec(SpecRow { requests, ..SpecRow::default() }), start)
            }
        };
        // A retried instance has several rows with the same name and another sequence number.
        let mut uid = format!("{job}/{task}/{name}");
        if !sink.first_seen(&uid) {
            uid = format!("{uid}/{}", row.text(8));
            if !sink.first_seen(&uid) {
                return Err(row.error(Problem::DuplicateId, 0, "each try of an instance once"));
            }
        }
        let (submit, from) = (clamp(sink, submit), start.max(0));
        let pod = Pod {
            submit: submit.min(from),
            uid,
            spec,
            app: job.to_string(),
            run_ns: end.map(|e| (e.max(from) - from) as u64),
            outcome: Some(Outcome {
                bound: Some(from),
                running: Some(from),
                finished: end,
                node: if row.is_null(7) { String::new() } else { row.text(7).to_string() },
                ..Outcome::default()
            }),
            ..Pod::default()
        };
        if end.is_none() {
            sink.report.invent("pods.run_ns", "none: no end on record, runs to the end");
        }
        sink.pod(&pod)?;
        Ok(true)
    }
}

fn request(sink: &mut Sink, row: &Table, cpu: usize, memory: usize) -> Result<Resources, TraceError> {
    let mut requests = Resources::new();
    for (column, name, unit) in [(cpu, CPU, CPU_UNIT), (memory, MEMORY, sink.options.memory_unit_bytes / 100)]
    {
        if row.is_null(column) {
            sink.report.invent("specs.requests", "0: the field is empty");
        } else if column == memory && is_invalid(row, column) {
            sink.report.invent("specs.requests", "0: the field is -1 or 101, which marks invalid values");
        } else {
            requests.insert(name.to_string(), row.scaled(column, unit)?);
        }
    }
    Ok(requests)
}

struct Container {
    pod: Pod,
    machine: String,
    /// Whether a row says that it ran, and not only that it stopped.
    started: bool,
    stopped: Option<i64>,
}

#[derive(Default)]
struct Containers {
    known: std::collections::BTreeMap<String, Container>,
    /// The earliest time of all rows.
    first: Option<i64>,
}

impl Containers {
    fn row(&mut self, sink: &mut Sink, row: &Table) -> Result<bool, TraceError> {
        let (id, machine) = (row.text(0), row.text(1));
        if id.is_empty() {
            return Err(row.error(Problem::EmptyField, 0, "a container id"));
        }
        let time = row.time(2, SECOND)?;
        let stopped = matches!(row.text(4), "stopped" | "Stopped");
        self.first = Some(self.first.map_or(time, |t| t.min(time)));
        if let Some(known) = self.known.get_mut(id) {
            // The first row that says it ran says when it came; rows are not in order of time.
            if !known.started {
                known.pod.submit = time;
            }
            known.pod.submit = known.pod.submit.min(time);
            known.started |= !stopped;
            if stopped {
                known.stopped = Some(known.stopped.map_or(time, |t| t.max(time)));
            }
            return Ok(true);
        }
        let requests = request(sink, row, 5, 7)?;
        let pod = Pod {
            submit: time,
            uid: id.to_string(),
            spec: sink.spec(SpecRow { requests, ..SpecRow::default() }),
            app: row.text(3).to_string(),
            ..Pod::default()
        };
        let (machine, started, stopped) = (machine.to_string(), !stopped, stopped.then_some(time));
        self.known.insert(id.to_string(), Container { pod, machine, started, stopped });
        Ok(true)
    }

    fn finish(self, sink: &mut Sink) -> Result<(), TraceError> {
        for c in self.known.into_values() {
            let mut pod = c.pod;
            if !c.started {
                // Cut off before it: it was there when the input begins.
                pod.submit = self.first.unwrap_or(pod.submit);
                sink.report.invent("pods.submit_ns", "the input's first time: the container came before it");
            }
            if !sink.first_seen(&pod.uid) {
                pod.uid = format!("container/{}", pod.uid);
            }
            match c.stopped {
                Some(t) => sink.event(t, EventOp::PodDelete, &pod.uid, "")?,
                None => sink.report.invent("pods.run_ns", "none: a long-running container, runs to the end"),
            }
            pod.outcome = Some(Outcome { finished: c.stopped, node: c.machine, ..Outcome::default() });
            sink.pod(&pod)?;
        }
        Ok(())
    }
}
