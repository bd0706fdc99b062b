//! OpenDC workload traces: Parquet folders, and topologies.
//!
//! **Tables.** `tasks.parquet` (2.1 on): id, submission_time (Unix ms), duration (ms), cpu_count, cpu_capacity (MHz of all
//! cores), mem_capacity (KB), optional gpu_count, parents, children. 2.0: id, submissionTime, endTime (Unix ms), maxCores,
//! requiredMemory (KB). `meta.parquet` (before): id, start_time, stop_time (timestamps), cpu_count, cpu_capacity,
//! mem_capacity, or the columns of 2.0. `fragments` and `trace` hold utilisation over time and are not read.
//! A topology (JSON: clusters [{hosts [{count, cpu {coreCount}, memory {memorySize}}]}]) gives nodes.
//!
//! **Mapping.** A task is a pod that asks for its cpu_count cores, its memory and GPUs, for its duration. With parents it
//! comes when it was submitted or when they would have ended, whichever is later.
//!
//! **What it cannot tell.** A recorded task demands a capacity in MHz that OpenDC serves over time; here it holds its cores
//! for the whole duration. memorySize has no stated unit: values from 10^9 up are taken as bytes, smaller ones as MB.
//!
//! Memory: O(a batch); O(tasks) for a table with parents. Source: the OpenDC repository (TaskColumns.kt,
//! ComputeWorkloadLoader.kt). Tested on 20 of its traces and 108 topologies. Needs a build with the feature `parquet`.

use super::{Importer, InputFile, Sink, TraceError};

/// The importer.
pub struct OpenDc;

impl Importer for OpenDc {
    fn name(&self) -> &'static str {
        "opendc"
    }

    fn summary(&self) -> &'static str {
        "OpenDC workload traces (tasks.parquet or meta.parquet), topologies"
    }

    fn tested_on(&self) -> &'static str {
        "20 of OpenDC's traces (trace-v2.0, trace-v2.1, bitbrains, surf, GPU and workflow examples), 108 topologies"
    }

    #[cfg(not(feature = "parquet"))]
    fn import(&self, _files: &[InputFile], _sink: &mut Sink) -> Result<(), TraceError> {
        Err(TraceError::Usage("this build has no Parquet, which OpenDC traces need".into()))
    }

    #[cfg(feature = "parquet")]
    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        with_parquet::import(files, sink)
    }
}

#[cfg(feature = "parquet")]
mod with_parquet {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::super::dag::{Dependent, earliest};
    use super::super::{AT_ORIGIN, InputFile, Node, Origin, Outcome, Pod, Sink, TraceError};
    use crate::trace::documents::{Place, load_json};
    use crate::trace::error::Problem;
    use crate::trace::model::{CPU, GPU, MEMORY, NodeOp, PODS, Resources, SpecRow};
    use crate::trace::native::columnar::{Batches, cell, list};
    use crate::trace::number;

    const TASKS: &str = "tasks";
    const TOPOLOGY: &str = "topology";
    const MS: u64 = 1_000_000;
    const LONGEST_TOPOLOGY: u64 = 16 << 20;

    pub(super) fn import(files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        sink.origin = Origin::Unix;
        let mut any = false;
        for file in files {
            let name = file.file_name().to_lowercase();
            if name.ends_with(".json") {
                if let Err(e) = topology(sink, file) {
                    sink.bad_file(TOPOLOGY, e)?;
                }
                continue;
            }
            if !name.ends_with(".parquet") && file.explicit {
                let what =
                    format!("{}: neither a Parquet table (.parquet) nor a topology (.json)", file.display());
                return Err(TraceError::Usage(what));
            }
            if !name.ends_with(".parquet") {
                sink.report.ignored_files.push(format!("{} (not Parquet)", file.file_name()));
                continue;
            }
            match Batches::of(file, 8192) {
                Ok(batches) if is_tasks(batches.columns()) => {
                    any = true;
                    sink.begin_file(file, TASKS);
                    tasks(sink, file, batches)?;
                }
                // Usage over time is known by its name, whoever named it.
                Ok(batches)
                    if ["tasks.parquet", "meta.parquet"].contains(&name.as_str())
                        || file.explicit && !name.starts_with("fragments") && !name.starts_with("trace") =>
                {
                    let found = batches.columns().join(", ");
                    let place = Place { file: file.display(), at: 0 };
                    let expected = format!("columns id, submission_time and cpu_count; there are {found}");
                    let e =
                        place.error(Problem::MissingColumn, "id, submission_time, cpu_count", "", expected);
                    sink.bad_file(TASKS, e)?;
                }
                Ok(_) => {
                    sink.report.ignored_files.push(format!("{} (no table of tasks)", file.file_name()));
                }
                Err(e) => sink.bad_file(TASKS, e)?,
            }
        }
        if !any {
            sink.report.absent(TASKS, "neither tasks.parquet nor meta.parquet: the trace has no pods");
        }
        if sink.node_count() == 0 {
            sink.report.absent(TOPOLOGY, "no topology: the trace has no nodes; give the scenario a cluster");
        }
        Ok(())
    }

    const SUBMIT: [&str; 3] = ["submission_time", "submissionTime", "start_time"];
    const STOP: [&str; 2] = ["stop_time", "endTime"];
    const CORES: [&str; 2] = ["cpu_count", "maxCores"];
    const MEM: [&str; 2] = ["mem_capacity", "requiredMemory"];

    fn is_tasks(columns: &[String]) -> bool {
        let has = |names: &[&str]| columns.iter().any(|c| names.contains(&c.as_str()));
        has(&["id"]) && has(&SUBMIT) && has(&CORES)
    }

    /// A task that waits for others to be read.
    struct Held {
        pod: Pod,
        parents: Vec<String>,
        place: u64,
    }

    fn tasks(sink: &mut Sink, file: &InputFile, batches: Batches) -> Result<(), TraceError> {
        let has_parents = batches.columns().iter().any(|c| c == "parents");
        let mut held: Vec<Held> = Vec::new();
        let mut row = 0u64;
        for batch in batches {
            let batch = match batch {
                Ok(batch) => batch,
                Err(e) => {
                    sink.bad_file(TASKS, e)?;
                    break;
                }
            };
            for i in 0..batch.num_rows() {
                row += 1;
                let place = Place { file: file.display(), at: row };
                let get = |names: &[&str]| {
                    names.iter().find_map(|n| batch.column_by_name(n)).and_then(|c| cell(c, i))
                };
                sink.report.table(TASKS).read += 1;
                let pod = match task(sink, &get, &place) {
                    Ok(pod) => pod,
                    Err(e) => {
                        sink.bad(TASKS, e)?;
                        continue;
                    }
                };
                sink.report.table(TASKS).kept += 1;
                if has_parents {
                    let parents = batch.column_by_name("parents").map_or_else(Vec::new, |c| list(c, i));
                    held.push(Held { pod, parents, place: row });
                } else {
                    sink.pod(&pod)?;
                }
            }
        }
        release(sink, file, held)
    }

    /// Tasks with parents come after them.
    fn release(sink: &mut Sink, file: &InputFile, mut held: Vec<Held>) -> Result<(), TraceError> {
        let at: BTreeMap<String, usize> =
            held.iter().enumerate().map(|(i, h)| (h.pod.uid.clone(), i)).collect();
        let mut graph = Vec::with_capacity(held.len());
        let mut bad = vec![false; held.len()];
        for (i, h) in held.iter().enumerate() {
            let place = Place { file: file.display(), at: h.place };
            let mut parents = Vec::new();
            for parent in &h.parents {
                match at.get(&format!("task-{parent}")) {
                    Some(&parent) => parents.push(parent),
                    None if !bad[i] => {
                        bad[i] = true;
                        let expected = "the id of a task of this table";
                        let e = place.error(Problem::DanglingReference, "parents", parent, expected);
                        sink.bad_kept(TASKS, e)?;
                    }
                    None => {}
                }
            }
            let run = i64::try_from(h.pod.run_ns.unwrap_or(0)).unwrap_or(i64::MAX);
            graph.push(Dependent { not_before: h.pod.submit, run, parents });
        }
        let Some(comes) = earliest(&graph) else {
            let place = Place { file: file.display(), at: 0 };
            let expected = "tasks that do not depend on themselves";
            for _ in bad.iter().filter(|bad| !**bad) {
                sink.bad_kept(TASKS, place.error(Problem::DanglingReference, "parents", "", expected))?;
            }
            return Ok(());
        };
        for ((h, comes), _) in held.iter_mut().zip(comes).zip(bad).filter(|(_, bad)| !bad) {
            if comes > h.pod.submit {
                sink.report.invent("pods.submit_ns", "the latest end of its parents, which is after its own");
                h.pod.submit = comes;
                h.pod.outcome = None;
            }
            sink.pod(&h.pod)?;
        }
        Ok(())
    }

    /// Times are integers of milliseconds, or dates.
    fn time(text: &str, field: &str, place: &Place) -> Result<i64, TraceError> {
        if text.as_bytes().get(4) == Some(&b'-') {
            return number::unix_ns(text)
                .map_err(|_| place.error(Problem::NotANumber, field, text, "a time"));
        }
        match number::scaled_signed(text, MS) {
            Ok(t) if t < 0 => Err(place.error(Problem::NegativeTime, field, text, "a Unix time")),
            Ok(t) => Ok(t),
            Err(number::NumberError::Range) => {
                Err(place.error(Problem::OutOfRange, field, text, "a time below the year 2262"))
            }
            Err(_) => Err(place.error(Problem::NotANumber, field, text, "a time in milliseconds")),
        }
    }

    fn task(
        sink: &mut Sink,
        get: &dyn Fn(&[&str]) -> Option<String>,
        place: &Place,
    ) -> Result<Pod, TraceError> {
        let need = |names: &[&str]| {
            get(names).ok_or_else(|| place.error(Problem::EmptyField, names[0], "", "a value"))
        };
        let id = need(&["id"])?;
        let number = |names: &[&str], unit: u64| -> Result<u64, TraceError> {
            let Some(text) = get(names) else { return Ok(0) };
            number::scaled(&text, unit)
                .map_err(|_| place.error(Problem::NotANumber, names[0], &text, "a number of at least 0"))
        };
        let submit = time(&need(&SUBMIT)?, "submission_time", place)?;
        let run = match get(&["duration"]) {
            Some(duration) => number::scaled(&duration, MS).map_err(|e| {
                let negative = e == number::NumberError::Negative;
                let problem = if negative { Problem::NegativeTime } else { Problem::NotANumber };
                place.error(problem, "duration", &duration, "milliseconds of at least 0")
            })?,
            None => {
                let stop = time(&need(&STOP)?, "stop_time", place)?;
                u64::try_from(stop.saturating_sub(submit)).map_err(|_| {
                    let expected = "a stop after the start";
                    place.error(Problem::DeleteBeforeCreate, "stop_time", &stop.to_string(), expected)
                })?
            }
        };
        let mut requests = Resources::from([
            (CPU.to_string(), number(&CORES, 1000)?),
            (MEMORY.to_string(), number(&MEM, 1000)?),
        ]);
        let gpus = number(&["gpu_count"], 1)?;
        if gpus > 0 {
            requests.insert(GPU.to_string(), gpus);
        }
        if !sink.first_seen(&id) {
            return Err(place.error(Problem::DuplicateId, "id", &id, "each task once"));
        }
        Ok(Pod {
            submit,
            uid: format!("task-{id}"),
            spec: sink.spec(SpecRow { requests, ..SpecRow::default() }),
            run_ns: Some(run),
            outcome: Some(Outcome { created: Some(submit), ..Outcome::default() }),
            ..Pod::default()
        })
    }

    fn topology(sink: &mut Sink, file: &InputFile) -> Result<(), TraceError> {
        let value = load_json(file, LONGEST_TOPOLOGY)?;
        let Some(clusters) = value.get("clusters").and_then(Value::as_array) else {
            sink.report.ignored_files.push(format!("{} (no topology)", file.file_name()));
            return Ok(());
        };
        sink.begin_file(file, TOPOLOGY);
        let place = Place { file: file.display(), at: 0 };
        let number = |v: &Value, p: &str, default: u64| -> u64 {
            let n = v.pointer(p).and_then(|n| number::scaled(&n.to_string(), 1000).ok());
            n.map_or(default, |n| n / 1000)
        };
        for (c, cluster) in clusters.iter().enumerate() {
            for (h, host) in cluster.get("hosts").and_then(Value::as_array).into_iter().flatten().enumerate()
            {
                sink.report.table(TOPOLOGY).read += 1;
                let copies = number(cluster, "/count", 1).saturating_mul(number(host, "/count", 1));
                if let Err(expected) = sink.expand(copies) {
                    let copies = copies.to_string();
                    sink.bad(TOPOLOGY, place.error(Problem::OutOfRange, "count", &copies, expected))?;
                    continue;
                }
                let cores = number(host, "/cpu/coreCount", 0).saturating_mul(number(host, "/cpu/count", 1));
                let memory = number(host, "/memory/memorySize", 0);
                let bytes = if memory >= 1_000_000_000 { memory } else { memory.saturating_mul(1_000_000) };
                let mut allocatable = Resources::from([
                    (CPU.to_string(), cores.saturating_mul(1000)),
                    (MEMORY.to_string(), bytes),
                    (PODS.to_string(), 110),
                ]);
                let gpus = number(host, "/gpu/count", 0);
                if gpus > 0 {
                    allocatable.insert(GPU.to_string(), gpus);
                }
                for k in 0..copies {
                    let name = format!("c{c}-h{h}-{k}");
                    if !sink.first_seen(&format!("node/{name}")) {
                        let expected = "one topology";
                        return Err(place.error(Problem::DuplicateId, "hosts", &name, expected));
                    }
                    let allocatable = allocatable.clone();
                    let node = Node { op: NodeOp::Add, name, allocatable, ..Node::default() };
                    sink.node(AT_ORIGIN, &node)?;
                }
                sink.report.invent_n("nodes.allocatable.pods", "110, the kubelet's default", copies);
                sink.report.table(TOPOLOGY).kept += 1;
            }
        }
        Ok(())
    }
}
