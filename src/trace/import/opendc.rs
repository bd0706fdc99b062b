//! OpenDC workload traces: Parquet folders, and topologies.
//!
//! **Tables.** `tasks.parquet` (now): id, submission_time (Unix ms), duration (ms), cpu_count, cpu_capacity (MHz of all
//! cores), mem_capacity (KB), optional gpu_count, parents, children. `meta.parquet` (before): id, start_time, stop_time
//! (timestamps), cpu_count, cpu_capacity, mem_capacity. `fragments` and `trace` hold utilisation over time and are not read.
//! A topology (JSON: clusters [{hosts [{count, cpu {coreCount}, memory {memorySize}}]}]) gives nodes.
//!
//! **Mapping.** A task is a pod that asks for its cpu_count cores, its memory and GPUs, for its duration.
//!
//! **What it cannot tell.** A recorded task demands a capacity in MHz that OpenDC serves over time; here it holds its cores
//! for the whole duration. Dependencies (parents) are not replayed. memorySize has no stated unit: values from 10^9 up
//! are taken as bytes, smaller ones as MB.
//!
//! Source: the OpenDC repository (TaskColumns.kt, ComputeWorkloadLoader.kt). Tested on six of its example traces. Needs a
//! build with the feature `parquet`.

use super::{Importer, Sink, TraceError};
use crate::trace::input::InputFile;

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
        "bitbrains-small (both forms), surf_week, small_gpu, single_task, workflow_example, 100K_tasks"
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
    use serde_json::Value;

    use super::super::batsim::load_json;
    use super::super::kubernetes::Place;
    use super::super::{AT_ORIGIN, Node, Origin, Outcome, Pod, Sink, TraceError};
    use crate::trace::error::Problem;
    use crate::trace::input::InputFile;
    use crate::trace::model::{CPU, GPU, MEMORY, NodeOp, PODS, Resources, SpecRow};
    use crate::trace::native::columnar;
    use crate::trace::number;

    const TASKS: &str = "tasks";
    const MS: u64 = 1_000_000;

    pub(super) fn import(files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        sink.origin = Origin::Unix;
        let mut any = false;
        for file in files {
            let name = file.file_name().to_lowercase();
            if name.ends_with(".json") {
                if let Err(e) = topology(sink, file) {
                    sink.bad("topology", e)?;
                }
                continue;
            }
            if !name.ends_with(".parquet") {
                sink.report.ignored_files.push(format!("{} (not Parquet)", file.file_name()));
                continue;
            }
            match tasks(sink, file) {
                Ok(true) => any = true,
                Ok(false) => {
                    sink.report.ignored_files.push(format!("{} (utilisation is not read)", file.file_name()));
                }
                Err(e) => sink.bad(TASKS, e)?,
            }
        }
        if !any {
            sink.report.absent(TASKS, "neither tasks.parquet nor meta.parquet: the trace has no pods");
        }
        if sink.node_count() == 0 {
            sink.report
                .absent("topology", "no topology: the trace has no nodes; give the scenario a cluster");
        }
        Ok(())
    }

    fn tasks(sink: &mut Sink, file: &InputFile) -> Result<bool, TraceError> {
        let reader = columnar::reader(&file.path, 8192)?;
        let schema = reader_schema(&reader);
        let has = |n: &str| schema.iter().any(|c| c == n);
        if !has("cpu_count") || !(has("submission_time") || has("start_time")) {
            return Ok(false);
        }
        sink.begin_file(file, TASKS);
        let mut row = 0u64;
        for batch in reader {
            let batch = batch.map_err(|e| TraceError::format(&file.path, e.to_string()))?;
            for i in 0..batch.num_rows() {
                row += 1;
                let place = Place { file: file.display(), at: row };
                let get = |n: &str| batch.column_by_name(n).and_then(|c| columnar::cell(c, i));
                sink.report.table(TASKS).read += 1;
                match task(sink, &get, &place) {
                    Ok(()) => sink.report.table(TASKS).kept += 1,
                    Err(e) => sink.bad(TASKS, e)?,
                }
            }
        }
        Ok(true)
    }

    fn reader_schema(reader: &parquet::arrow::arrow_reader::ParquetRecordBatchReader) -> Vec<String> {
        use arrow_array::RecordBatchReader;
        reader.schema().fields().iter().map(|f| f.name().clone()).collect()
    }

    /// Times are integers of milliseconds, or texts.
    fn time(text: &str, field: &str, place: &Place) -> Result<i64, TraceError> {
        if text.len() > 8 && text.as_bytes()[4] == b'-' {
            return number::unix_ns(text)
                .map_err(|_| place.error(Problem::NotANumber, field, text, "a time"));
        }
        match number::scaled_signed(text, MS) {
            Ok(t) if t < 0 => Err(place.error(Problem::NegativeTime, field, text, "a Unix time")),
            Ok(t) => Ok(t),
            Err(_) => Err(place.error(Problem::NotANumber, field, text, "a time in milliseconds")),
        }
    }

    fn task(sink: &mut Sink, get: &dyn Fn(&str) -> Option<String>, place: &Place) -> Result<(), TraceError> {
        let need = |n: &str| get(n).ok_or_else(|| place.error(Problem::EmptyField, n, "", "a value"));
        let id = need("id")?;
        let number = |n: &str, unit: u64| -> Result<u64, TraceError> {
            let Some(text) = get(n) else { return Ok(0) };
            number::scaled(&text, unit)
                .map_err(|_| place.error(Problem::NotANumber, n, &text, "a number of at least 0"))
        };
        let (submit, run) = match get("submission_time") {
            Some(t) => {
                let submit = time(&t, "submission_time", place)?;
                let duration = need("duration")?;
                let run = number::scaled(&duration, MS).map_err(|e| {
                    let negative = e == number::NumberError::Negative;
                    let problem = if negative { Problem::NegativeTime } else { Problem::NotANumber };
                    place.error(problem, "duration", &duration, "milliseconds of at least 0")
                })?;
                (submit, run)
            }
            None => {
                let (start, stop) = (
                    time(&need("start_time")?, "start_time", place)?,
                    time(&need("stop_time")?, "stop_time", place)?,
                );
                if stop < start {
                    return Err(place.error(
                        Problem::DeleteBeforeCreate,
                        "stop_time",
                        &stop.to_string(),
                        "a stop after the start",
                    ));
                }
                (start, (stop - start) as u64)
            }
        };
        let mut requests = Resources::from([
            (CPU.to_string(), number("cpu_count", 1000)?),
            (MEMORY.to_string(), number("mem_capacity", 1000)?),
        ]);
        let gpus = number("gpu_count", 1)?;
        if gpus > 0 {
            requests.insert(GPU.to_string(), gpus);
        }
        if !sink.first_seen(&id) {
            return Err(place.error(Problem::DuplicateId, "id", &id, "each task once"));
        }
        let pod = Pod {
            submit,
            uid: format!("task-{id}"),
            spec: sink.spec(SpecRow { requests, ..SpecRow::default() }),
            run_ns: Some(run),
            outcome: Some(Outcome { created: Some(submit), ..Outcome::default() }),
            ..Pod::default()
        };
        sink.pod(&pod)
    }

    fn topology(sink: &mut Sink, file: &InputFile) -> Result<(), TraceError> {
        let value = load_json(file)?;
        let Some(clusters) = value.get("clusters").and_then(Value::as_array) else {
            sink.report.ignored_files.push(format!("{} (no topology)", file.file_name()));
            return Ok(());
        };
        sink.begin_file(file, "topology");
        let place = Place { file: file.display(), at: 0 };
        let number = |v: &Value, p: &str, default: u64| {
            v.pointer(p)
                .and_then(Value::as_f64)
                .filter(|n| n.is_finite() && *n >= 0.0)
                .map_or(default, |n| n as u64)
        };
        let mut hosts = 0u64;
        for (c, cluster) in clusters.iter().enumerate() {
            for (h, host) in cluster.get("hosts").and_then(Value::as_array).into_iter().flatten().enumerate()
            {
                sink.report.table("topology").read += 1;
                let copies = number(cluster, "/count", 1).saturating_mul(number(host, "/count", 1));
                hosts = hosts.saturating_add(copies);
                if hosts > 10_000_000 {
                    return Err(place.error(Problem::OutOfRange, "count", "", "at most 10 million hosts"));
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
                    let node = Node {
                        op: NodeOp::Add,
                        name: format!("c{c}-h{h}-{k}"),
                        allocatable: allocatable.clone(),
                        ..Node::default()
                    };
                    sink.node(AT_ORIGIN, &node)?;
                }
                sink.report.invent_n("nodes.allocatable.pods", "110, the kubelet's default", copies);
                sink.report.table("topology").kept += 1;
            }
        }
        Ok(())
    }
}
