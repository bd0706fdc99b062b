//! Batsim JSON workloads.
//!
//! **File.** nb_res (hosts), jobs [{id, subtime, walltime, res, profile}], profiles {name: {type, ..}}. Times in seconds.
//!
//! **Run time** follows the profile: `delay` (DelayProfile) its delay; a sequence (`composed`,
//! SequentialCompositionProfile) the sum of its delays times `repeat`. Profiles in flops and bytes (parallel tasks, SMPI,
//! usage traces) depend on the platform, which the workload does not hold: the walltime stands in. A run is never
//! longer than the walltime, as Batsim kills jobs then.
//!
//! **Mapping.** A resource is a processor of 1 core. As for SWF: one pod a job on one node that is the pool of nb_res
//! processors; with `split=task` a gang of `res` pods of 1 core on nb_res nodes.
//!
//! Source: Batsim documentation, "Workload", and the repository's example workloads, on seven of which this was tested.

use serde_json::Value;

use super::kubernetes::Place;
use super::{AT_ORIGIN, Importer, Node, Pod, SECOND, Sink, Split, TraceError};
use crate::trace::error::Problem;
use crate::trace::input::{self, InputFile};
use crate::trace::model::{CPU, NodeOp, PODS, Resources, SpecRow};
use crate::trace::number;

/// The importer.
pub struct Batsim;

const JOBS: &str = "jobs";

impl Importer for Batsim {
    fn name(&self) -> &'static str {
        "batsim"
    }

    fn summary(&self) -> &'static str {
        "Batsim JSON workloads"
    }

    fn tested_on(&self) -> &'static str {
        "33 workloads of Batsim's own tests and examples"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        let many = files.len() > 1;
        for file in files {
            let place = Place { file: file.display(), at: 0 };
            let document = load_json(file).and_then(|v| {
                if v.get("jobs").and_then(Value::as_array).is_none() {
                    return Err(place.error(
                        Problem::MissingColumn,
                        "jobs",
                        "",
                        "a Batsim workload with jobs and profiles",
                    ));
                }
                Ok(v)
            });
            let value = match document {
                Ok(v) => v,
                Err(e) if file.explicit => {
                    sink.bad(JOBS, e)?;
                    continue;
                }
                Err(e) => {
                    sink.report.ignored_files.push(format!("{} ({e})", file.file_name()));
                    continue;
                }
            };
            sink.begin_file(file, JOBS);
            let prefix = if many {
                format!("{}/", file.path.file_stem().unwrap_or_default().to_string_lossy())
            } else {
                String::new()
            };
            let largest = nodes(sink, &value, &prefix)?;
            for (i, job) in value["jobs"].as_array().into_iter().flatten().enumerate() {
                let place = Place { file: file.display(), at: i as u64 + 1 };
                sink.report.table(JOBS).read += 1;
                match read_job(sink, &value, job, &prefix, largest, &place) {
                    Ok(()) => sink.report.table(JOBS).kept += 1,
                    Err(e) => sink.bad(JOBS, e)?,
                }
            }
        }
        Ok(())
    }
}

/// A whole JSON document.
pub(crate) fn load_json(file: &InputFile) -> Result<Value, TraceError> {
    let bytes = input::read_all(&file.path, 2 << 30)?;
    serde_json::from_slice(&bytes).map_err(|e| {
        let place = Place { file: file.display(), at: e.line() as u64 };
        let problem = match () {
            () if e.is_eof() => Problem::Truncated,
            () if e.to_string().contains("unicode") => Problem::BadUtf8,
            () => Problem::BadSyntax,
        };
        place.error(problem, "", "", format!("a JSON document ({e})"))
    })
}

fn nodes(sink: &mut Sink, value: &Value, prefix: &str) -> Result<u64, TraceError> {
    let Some(total) = value.get("nb_res").and_then(Value::as_u64).filter(|n| (1..=10_000_000).contains(n))
    else {
        sink.report.absent("nb_res", "the trace has no nodes; give the scenario a cluster");
        return Ok(0);
    };
    let (count, cpus, name) =
        if sink.options.split == Split::Task { (total, 1, "host") } else { (1, total, "pool") };
    for i in 0..count {
        let allocatable =
            Resources::from([(CPU.to_string(), cpus * 1000), (PODS.to_string(), cpus.max(110))]);
        let node = Node {
            op: NodeOp::Add,
            name: format!("{prefix}{name}-{i}").replace('/', "-"),
            allocatable,
            ..Node::default()
        };
        sink.node(AT_ORIGIN, &node)?;
    }
    sink.report.invent_n("nodes", "one pool of nb_res processors (split=task: nb_res hosts of one)", count);
    Ok(cpus)
}

/// Seconds as ns.
pub(crate) fn seconds(value: Option<&Value>, field: &str, place: &Place) -> Result<Option<i64>, TraceError> {
    let text = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(s)) => s.clone(),
        Some(v) => v.to_string(),
    };
    match number::scaled(&text, SECOND).map(i64::try_from) {
        Ok(Ok(ns)) => Ok(Some(ns)),
        Ok(Err(_)) | Err(number::NumberError::Range) => {
            Err(place.error(Problem::OutOfRange, field, &text, "a time below 292 years"))
        }
        Err(number::NumberError::Negative) => {
            Err(place.error(Problem::NegativeTime, field, &text, "a time of at least 0"))
        }
        Err(number::NumberError::Syntax) => Err(place.error(Problem::NotANumber, field, &text, "seconds")),
    }
}

fn run_time(value: &Value, profile: &str, depth: u32, place: &Place) -> Result<Option<i64>, TraceError> {
    let Some(p) = value.get("profiles").and_then(|p| p.get(profile)) else {
        return Err(place.error(
            Problem::DanglingReference,
            "profile",
            profile,
            "a profile of this name in profiles",
        ));
    };
    match p.get("type").and_then(Value::as_str).unwrap_or("") {
        "delay" | "DelayProfile" => seconds(p.get("delay"), "delay", place),
        "composed" | "sequence" | "SequentialCompositionProfile" if depth < 16 => {
            let repeat = p.get("repeat").or_else(|| p.get("nb")).and_then(Value::as_i64).unwrap_or(1).max(0);
            let mut sum = Some(0i64);
            for part in p.get("seq").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
            {
                sum = match (sum, run_time(value, part, depth + 1, place)?) {
                    (Some(a), Some(b)) => a.checked_add(b),
                    _ => None,
                };
            }
            Ok(sum.and_then(|s| s.checked_mul(repeat)))
        }
        _ => Ok(None),
    }
}

fn read_job(
    sink: &mut Sink,
    value: &Value,
    job: &Value,
    prefix: &str,
    largest: u64,
    place: &Place,
) -> Result<(), TraceError> {
    let id = match job.get("id") {
        Some(Value::String(s)) => s.clone(),
        Some(Value::Number(n)) => n.to_string(),
        _ => return Err(place.error(Problem::EmptyField, "id", "", "a job id")),
    };
    let Some(submit) = seconds(job.get("subtime"), "subtime", place)? else {
        return Err(place.error(Problem::EmptyField, "subtime", "", "a submit time"));
    };
    let res = job.get("res").and_then(Value::as_u64).filter(|n| (1..=10_000_000).contains(n));
    let Some(res) = res else {
        let text = job.get("res").map(Value::to_string).unwrap_or_default();
        return Err(place.error(Problem::OutOfRange, "res", &text, "1 to 10 million resources"));
    };
    // A walltime of -1 means none.
    let walltime = match job.get("walltime").and_then(Value::as_f64) {
        Some(w) if w < 0.0 => None,
        _ => seconds(job.get("walltime"), "walltime", place)?,
    };
    let profile = job.get("profile").and_then(Value::as_str).unwrap_or("");
    let known = run_time(value, profile, 0, place)?;
    let run = match (known, walltime) {
        (Some(r), Some(w)) => Some(r.min(w)),
        (Some(r), None) => Some(r),
        (None, Some(w)) => {
            sink.report.invent("pods.run_ns", "the walltime: the profile's run time depends on a platform");
            Some(w)
        }
        (None, None) => {
            sink.report
                .invent("pods.run_ns", "none: no walltime, and the profile's run time depends on a platform");
            None
        }
    };
    if !sink.first_seen(&format!("{prefix}{id}")) {
        return Err(place.error(Problem::DuplicateId, "id", &id, "each job once"));
    }
    let pods = match sink.options.split {
        Split::Task => res,
        Split::Auto if largest > 0 && res > largest => res.div_ceil(largest),
        _ => 1,
    };
    let mut pod =
        Pod { submit, app: format!("{prefix}job-{id}"), run_ns: run.map(|r| r as u64), ..Pod::default() };
    if pods > 1 {
        pod.task_group = "job".to_string();
        pod.min_member = pods as u32;
    }
    for k in 0..pods {
        let share = res / pods + u64::from(k < res % pods);
        let requests = Resources::from([(CPU.to_string(), share * 1000)]);
        pod.spec = sink.spec(SpecRow { requests, ..SpecRow::default() });
        pod.uid = if pods == 1 { format!("{prefix}job-{id}") } else { format!("{prefix}job-{id}-{k}") };
        sink.pod(&pod)?;
    }
    Ok(())
}
