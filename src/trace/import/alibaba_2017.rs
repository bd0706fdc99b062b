//! Alibaba cluster-trace-v2017: 1,300 machines, batch tasks and online containers, 24 hours.
//!
//! **Tables** (CSV without header). `server_event`, 7 columns: timestamp, machine, event (add, softerror, harderror),
//! detail, CPUs, memory, disk. `batch_task`, 8: created, ended, job, task, instances, status, plan_cpu, plan_mem.
//! `batch_instance`, 12: start, end, job, task, machine, status, seq_no, total_seq_no, real_cpu_max, real_cpu_avg,
//! real_mem_max, real_mem_avg. `container_event`, 8: timestamp, event (Create, Remove), instance, machine, CPUs, memory,
//! disk, cpuset. Usage tables are not read.
//!
//! **Units.** Times in seconds; 0 or negative is before the beginning. Machine and container CPU in cores; plan_cpu in
//! hundredths of a core, whatever schema.csv says (alibaba/clusterdata issue 11, confirmed there), except where a decimal
//! point shows cores. Memory is a fraction of the largest machine: 1.0 becomes `memory_unit_bytes`.
//!
//! **Mapping.** With `batch_instance` a pod is one try of an instance, created when its task was, requests from its
//! task. Without it a task gives its number of instances as pods (`split=job`: one) that run from creation to end.
//! Containers are pods from Create to Remove. A machine with softerror or harderror takes nothing new: it gets the taint
//! `alibabacloud.com/error` (NoSchedule); the trace does not say when it recovers.
//!
//! **What it cannot tell.** Dependencies between tasks, users. Instances in Ready or Waiting have no times and are left
//! out; so are rows whose task and job ids are missing (a known issue of the data set) when their request is unknown.
//!
//! Memory: O(tasks + containers). Source: schema.csv and trace_201708.md of alibaba/clusterdata. Tested on the whole
//! batch_task and rows of server_event as others republished them; of the other tables on rows quoted in its issues.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::{AT_ORIGIN, Importer, InputFile, Node, Outcome, Pod, SECOND, Sink, Split, TraceError, classify};
use crate::trace::error::Problem;
use crate::trace::input::{Looks, Table, TableSchema, may, must};
use crate::trace::model::{CPU, MEMORY, NodeOp, PODS, Resources, SpecRow};

/// The importer.
pub struct Alibaba2017;

static SERVER_EVENT: TableSchema = TableSchema {
    name: "server_event",
    hints: &["server_event"],
    columns: &[
        must("timestamp"),
        must("machineid|machine_id|machine id"),
        must("event type|event_type|eventtype"),
        may("event detail|event_detail|eventdetail"),
        may("number of cpus|cpu|capacity:cpu|cpus"),
        may("normalized memory|memory|capacity:memory"),
        may("normalized disk space|disk|capacity:disk"),
    ],
    widths: &[7],
    looks: &[(2, Looks::Word), (4, Looks::MaybeNumber)],
    delimiter: b',',
};

static BATCH_TASK: TableSchema = TableSchema {
    name: "batch_task",
    hints: &["batch_task"],
    columns: &[
        must("create_timestamp|task create time|create_time"),
        must("modify_timestamp|task end time|end_time"),
        must("job_id|job id"),
        must("task_id|task id"),
        must("instance_num|number of instances|inst_num"),
        must("status"),
        may(
            "plan_cpu|number of cpus requested per instance of the task|number of cpus requested per instance in the task",
        ),
        may(
            "plan_mem|normalized memory requested per instance of the task|normalized memory requested per instance in the task",
        ),
    ],
    widths: &[8],
    looks: &[(1, Looks::Number), (5, Looks::Word)],
    delimiter: b',',
};

static BATCH_INSTANCE: TableSchema = TableSchema {
    name: "batch_instance",
    hints: &["batch_instance"],
    columns: &[
        must("start_timestamp"),
        must("end_timestamp"),
        must("job_id|job id"),
        must("task_id|task id"),
        may("machineid|machine_id|machine id"),
        must("status"),
        may("seq_no|sequence number"),
        may("total_seq_no|total sequence number"),
        may("real_cpu_max"),
        may("real_cpu_avg"),
        may("real_mem_max"),
        may("real_mem_avg"),
    ],
    widths: &[12],
    looks: &[(5, Looks::Word)],
    delimiter: b',',
};

static CONTAINER_EVENT: TableSchema = TableSchema {
    name: "container_event",
    hints: &["container_event"],
    columns: &[
        must("timestamp|ts"),
        must("event type|event"),
        must("instance id|instance_id"),
        must("machine id|machine_id"),
        may("number of cpu requested|plan_cpu"),
        may("normalized memory requested|plan_mem"),
        may("normalized disk space requested|plan_disk"),
        may("cpu id of allocated cpus|cpuset"),
    ],
    widths: &[8],
    looks: &[(1, Looks::Word)],
    delimiter: b',',
};

static USAGE: TableSchema = TableSchema {
    name: "usage",
    hints: &["container_usage", "server_usage"],
    columns: &[may("-")],
    widths: &[8, 12],
    looks: &[(1, Looks::Number), (4, Looks::MaybeNumber), (5, Looks::MaybeNumber)],
    delimiter: b',',
};

impl Importer for Alibaba2017 {
    fn name(&self) -> &'static str {
        "alibaba-2017"
    }

    fn summary(&self) -> &'static str {
        "Alibaba cluster-trace-v2017: server_event, batch_task, batch_instance, container_event"
    }

    fn tested_on(&self) -> &'static str {
        "the whole batch_task table (80,553 rows), rows of server_event; others as quoted in the data set's issues"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        let schemas: [&'static TableSchema; 5] =
            [&SERVER_EVENT, &BATCH_TASK, &BATCH_INSTANCE, &CONTAINER_EVENT, &USAGE];
        let mut tables = classify(files, &schemas, sink)?;
        tables.retain(|(_, f)| f.explicit || !f.file_name().starts_with("schema"));
        let of = |t: usize| tables.iter().filter(move |(i, _)| *i == t).map(|(_, f)| *f);
        if of(4).next().is_some() {
            sink.report.note("usage tables were not read: requests are what a scheduler sees");
        }
        if of(0).next().is_none() {
            sink.report.absent("server_event", "the trace has no nodes; give the scenario a cluster");
        }
        let mut machines: BTreeMap<String, Node> = BTreeMap::new();
        for file in of(0) {
            sink.each_row(file, &SERVER_EVENT, |sink, row| server(sink, row, &mut machines))?;
        }
        let mut tasks = Tasks { with_instances: of(2).next().is_some(), ..Tasks::default() };
        for file in of(1) {
            sink.each_row(file, &BATCH_TASK, |sink, row| tasks.task(sink, row))?;
        }
        if tasks.with_instances && of(1).next().is_none() {
            sink.report.absent("batch_task", "requests are taken from what instances used at most");
        }
        for file in of(2) {
            sink.each_row(file, &BATCH_INSTANCE, |sink, row| tasks.instance(sink, row))?;
        }
        let mut containers = Containers::default();
        for file in of(3) {
            sink.each_row(file, &CONTAINER_EVENT, |sink, row| containers.row(sink, row))?;
        }
        containers.finish(sink)
    }
}

fn fail<T>(sink: &mut Sink, table: &str, reason: &str, row: &Table) -> Result<Option<T>, TraceError> {
    let place = row.place();
    sink.report.drop_row(table, reason, || place);
    Ok(None)
}

fn server(sink: &mut Sink, row: &Table, known: &mut BTreeMap<String, Node>) -> Result<bool, TraceError> {
    let time = row.time(0, SECOND)?;
    let name = format!("machine-{}", row.unsigned(1)?);
    match row.text(2) {
        "add" | "ADD" => {
            if row.is_null(4) || row.is_null(5) {
                return Err(row.error(Problem::EmptyField, 4, "the machine's CPUs and memory"));
            }
            let allocatable = Resources::from([
                (CPU.to_string(), row.scaled(4, 1000)?),
                (MEMORY.to_string(), row.scaled(5, sink.options.memory_unit_bytes)?),
                (PODS.to_string(), 110),
            ]);
            let op = if known.contains_key(&name) { NodeOp::Update } else { NodeOp::Add };
            let node = Node { op, name: name.clone(), allocatable, ..Node::default() };
            known.insert(name, node.clone());
            sink.report.invent("nodes.allocatable.pods", "110, the kubelet's default");
            sink.node(if time == 0 { AT_ORIGIN } else { time }, &node)?;
        }
        "softerror" | "harderror" => {
            let Some(node) = known.get_mut(&name) else {
                return Err(row.error(Problem::DeleteBeforeCreate, 2, "an add event of this machine before"));
            };
            if !node.taints.is_empty() {
                return Ok(fail::<()>(sink, "server_event", "already-in-error", row)?.is_some());
            }
            node.op = NodeOp::Update;
            node.taints = r#"[{"key":"alibabacloud.com/error","effect":"NoSchedule"}]"#.to_string();
            let node = node.clone();
            sink.node(time, &node)?;
        }
        _ => return Err(row.error(Problem::UnknownCode, 2, "add, softerror or harderror")),
    }
    Ok(true)
}

#[derive(Default)]
struct Tasks {
    planned: FxHashMap<(u64, u64), (u32, i64)>,
    with_instances: bool,
}

impl Tasks {
    fn task(&mut self, sink: &mut Sink, row: &Table) -> Result<bool, TraceError> {
        let (created, ended) = (row.signed_time(0, SECOND)?, row.signed_time(1, SECOND)?);
        let key = (row.unsigned(2)?, row.unsigned(3)?);
        let instances = row.unsigned(4)?;
        let mut requests = Resources::new();
        if row.is_null(6) {
            sink.report.invent("specs.requests", "0: the field is empty");
        } else {
            let unit = if row.text(6).contains('.') {
                sink.report.invent("specs.requests.cpu_millicores", "cores: plan_cpu has a decimal point");
                1000
            } else {
                10
            };
            requests.insert(CPU.to_string(), row.scaled(6, unit)?);
        }
        if !row.is_null(7) {
            requests.insert(MEMORY.to_string(), row.scaled(7, sink.options.memory_unit_bytes)?);
        }
        let spec = sink.spec(SpecRow { requests, ..SpecRow::default() });
        if self.with_instances {
            if self.planned.insert(key, (spec, created)).is_some() {
                return Err(row.error(Problem::DuplicateId, 3, "each task of a job once"));
            }
            return Ok(true);
        }
        if matches!(row.text(5), "Waiting" | "Ready") {
            return Ok(fail::<()>(sink, "batch_task", "never-started", row)?.is_some());
        }
        if ended != 0 && ended < created {
            return Ok(fail::<()>(sink, "batch_task", "delete-before-create", row)?.is_some());
        }
        if !sink.first_seen(&format!("{}-{}", key.0, key.1)) {
            return Err(row.error(Problem::DuplicateId, 3, "each task of a job once"));
        }
        let count = if sink.options.split == Split::Job { 1 } else { instances.max(1) };
        sink.expand(count).map_err(|expected| row.error(Problem::OutOfRange, 4, expected))?;
        let over = matches!(row.text(5), "Terminated" | "Failed" | "Cancelled");
        let from = created.max(0);
        let mut pod = Pod {
            submit: from,
            spec,
            app: format!("job-{}", key.0),
            run_ns: over.then(|| (ended.max(from) - from) as u64),
            ..Pod::default()
        };
        for i in 0..count {
            pod.uid =
                if count == 1 { format!("{}-{}", key.0, key.1) } else { format!("{}-{}-{i}", key.0, key.1) };
            sink.pod(&pod)?;
        }
        sink.report.invent_n(
            "pods.run_ns",
            "its task's life from creation to end (no batch_instance table)",
            count,
        );
        Ok(true)
    }

    fn instance(&mut self, sink: &mut Sink, row: &Table) -> Result<bool, TraceError> {
        let start = if row.is_null(0) { 0 } else { row.signed_time(0, SECOND)? };
        let end = if row.is_null(1) { 0 } else { row.signed_time(1, SECOND)? };
        if start == 0 && end == 0 {
            return Ok(fail::<()>(sink, "batch_instance", "never-started", row)?.is_some());
        }
        if end != 0 && end < start {
            return Ok(fail::<()>(sink, "batch_instance", "delete-before-create", row)?.is_some());
        }
        let key =
            if row.is_null(2) || row.is_null(3) { None } else { Some((row.unsigned(2)?, row.unsigned(3)?)) };
        let planned = key.and_then(|k| self.planned.get(&k)).copied();
        let from = start.max(0);
        if start < 0 {
            sink.report.invent("pods.submit_ns", "0: it started before the trace began (negative time)");
        }
        let (spec, submit) = match planned {
            Some((spec, created)) => (spec, created.clamp(0, from)),
            None => {
                if row.is_null(8) && row.is_null(10) {
                    return Ok(fail::<()>(sink, "batch_instance", "unknown-request", row)?.is_some());
                }
                let mut requests = Resources::new();
                if !row.is_null(8) {
                    requests.insert(CPU.to_string(), row.scaled(8, 1000)?);
                }
                if !row.is_null(10) {
                    requests.insert(MEMORY.to_string(), row.scaled(10, sink.options.memory_unit_bytes)?);
                }
                sink.report
                    .invent("specs.requests", "the instance's highest use (its task is not in the input)");
                sink.report.invent("pods.submit_ns", "the instance's start (its task is not in the input)");
                (sink.spec(SpecRow { requests, ..SpecRow::default() }), from)
            }
        };
        // Instances have no id of their own: a running number.
        let number = sink.pod_count();
        let pod = Pod {
            submit,
            uid: match key {
                Some((job, task)) => format!("{job}-{task}-{number}"),
                None => format!("instance-{number}"),
            },
            spec,
            app: key.map(|k| format!("job-{}", k.0)).unwrap_or_default(),
            run_ns: (end != 0).then(|| (end.max(from) - from) as u64),
            outcome: Some(Outcome {
                created: planned.map(|_| submit),
                bound: Some(from),
                running: Some(from),
                finished: (end != 0).then_some(end),
                node: if row.is_null(4) { String::new() } else { format!("machine-{}", row.text(4)) },
            }),
            ..Pod::default()
        };
        if end == 0 {
            sink.report.invent("pods.run_ns", "none: no end on record, runs to the end");
        }
        sink.pod(&pod)?;
        Ok(true)
    }
}

#[derive(Default)]
struct Containers {
    live: BTreeMap<u64, Pod>,
}

impl Containers {
    fn row(&mut self, sink: &mut Sink, row: &Table) -> Result<bool, TraceError> {
        let time = row.time(0, SECOND)?;
        let id = row.unsigned(2)?;
        match row.text(1) {
            "Create" | "create" => {
                if self.live.contains_key(&id) || !sink.first_seen(&format!("container-{id}")) {
                    return Err(row.error(Problem::DuplicateId, 2, "each container created once"));
                }
                let mut requests = Resources::new();
                if !row.is_null(4) {
                    requests.insert(CPU.to_string(), row.scaled(4, 1000)?);
                }
                if !row.is_null(5) {
                    requests.insert(MEMORY.to_string(), row.scaled(5, sink.options.memory_unit_bytes)?);
                }
                let pod = Pod {
                    submit: time,
                    uid: format!("container-{id}"),
                    spec: sink.spec(SpecRow { requests, ..SpecRow::default() }),
                    outcome: Some(Outcome {
                        running: Some(time),
                        node: if row.is_null(3) { String::new() } else { format!("machine-{}", row.text(3)) },
                        ..Outcome::default()
                    }),
                    ..Pod::default()
                };
                self.live.insert(id, pod);
            }
            "Remove" | "remove" => {
                let Some(mut pod) = self.live.remove(&id) else {
                    return Err(row.error(
                        Problem::DeleteBeforeCreate,
                        1,
                        "a Create event of this container before",
                    ));
                };
                pod.run_ns = u64::try_from(time.saturating_sub(pod.submit)).ok();
                if let Some(o) = &mut pod.outcome {
                    o.finished = Some(time);
                }
                sink.pod(&pod)?;
            }
            _ => return Err(row.error(Problem::UnknownCode, 1, "Create or Remove")),
        }
        Ok(true)
    }

    fn finish(self, sink: &mut Sink) -> Result<(), TraceError> {
        for pod in self.live.into_values() {
            sink.report.invent("pods.run_ns", "none: a container that is not removed, runs to the end");
            sink.pod(&pod)?;
        }
        Ok(())
    }
}
