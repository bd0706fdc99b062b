//! Batsim JSON workloads.
//!
//! **File.** nb_res (hosts), jobs [{id, subtime, walltime, res, profile}], profiles {name: {type, ..}}. Times in seconds.
//! A `*_jobs.csv` beside it (what Batsim, evalys or a replay on a real cluster wrote) gives starts and ends: they become
//! outcomes of the jobs with the same id. Given alone it is a trace of its own: format `oar`.
//!
//! **Run time** follows the profile: `delay` (DelayProfile) its delay; a sequence (`composed`,
//! SequentialCompositionProfile) the sum of its delays times `repeat`. Profiles in flops and bytes (parallel tasks, SMPI,
//! usage traces) depend on the platform, which the workload does not hold: the walltime stands in. A run is never
//! longer than the walltime, as Batsim kills jobs then.
//!
//! **Mapping.** A resource is a processor of 1 core. As for SWF: one pod a job on one node that is the pool of nb_res
//! processors; with `split=task` a gang of `res` pods of 1 core on nb_res nodes.
//!
//! **What it cannot tell.** Dependencies, which are a convention of some schedulers in `extra_data` or `dependencies`, are
//! counted and not replayed.
//!
//! The file is read twice, profiles first, since jobs mostly come before them. Memory: O(profiles + outcomes).
//!
//! Source: Batsim documentation, "Workload", and the repository's workloads, on 33 of which this was tested.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde_json::Value;

use super::kubernetes::{self as k8s, Place};
use super::oar::{self, JOB_TABLE};
use super::{AT_ORIGIN, Importer, InputFile, Node, Outcome, Pod, Sink, Split, TraceError, share};
use crate::trace::documents::each_part;
use crate::trace::error::{Problem, RowError};
use crate::trace::model::{CPU, NodeOp, PODS, Resources, SpecRow};

/// The importer.
pub struct Batsim;

const JOBS: &str = "jobs";

impl Importer for Batsim {
    fn name(&self) -> &'static str {
        "batsim"
    }

    fn summary(&self) -> &'static str {
        "Batsim JSON workloads, with *_jobs.csv"
    }

    fn tested_on(&self) -> &'static str {
        "33 workloads of Batsim's own tests and examples, two of Grid'5000 replays"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        let is_table = |f: &&InputFile| f.file_name().to_lowercase().contains("jobs.csv");
        let mut outcomes = FxHashMap::default();
        for file in files.iter().filter(is_table) {
            sink.each_row(file, &JOB_TABLE, |_, row| {
                let job = oar::table_row(row)?;
                let outcome = Outcome {
                    created: Some(job.submit),
                    bound: job.start,
                    running: job.start,
                    finished: job.stop,
                    node: String::new(),
                };
                match outcomes.insert(job.id, outcome) {
                    Some(_) => Err(row.error(Problem::DuplicateId, 0, "each job once")),
                    None => Ok(true),
                }
            })?;
        }
        let workloads: Vec<&InputFile> = files.iter().filter(|f| !is_table(f)).collect();
        let mut matched = 0;
        for file in &workloads {
            let mut workload = Workload::read(sink, file);
            match workload.failed.take() {
                Some(e) if file.explicit => {
                    sink.begin_file(file, JOBS);
                    sink.bad_file(JOBS, e)?;
                    continue;
                }
                Some(e) => {
                    sink.report.ignored_files.push(format!("{} ({e})", file.file_name()));
                    continue;
                }
                None => {}
            }
            if workloads.len() > 1 {
                workload.prefix = format!("{}/", file.file_name().trim_end_matches(".json"));
            }
            sink.begin_file(file, JOBS);
            workload.nodes(sink)?;
            each_part(file, sink.options.max_line_bytes, &[&["jobs"]], &mut |_, _, job, place| {
                sink.report.table(JOBS).read += 1;
                match workload.job(sink, &job, &mut outcomes, place) {
                    Ok(()) => sink.report.table(JOBS).kept += 1,
                    Err(e) => sink.bad(JOBS, e)?,
                }
                Ok(())
            })?;
            matched += workload.matched;
            if workload.dependent > 0 {
                let n = workload.dependent;
                sink.report
                    .note(format!("{n} jobs name dependencies: not replayed, they come at their subtime"));
            }
        }
        if !outcomes.is_empty() {
            sink.report.note(format!("{} rows of jobs.csv belong to no job of the workload", outcomes.len()));
        }
        if matched > 0 {
            sink.report.note(format!("{matched} jobs have their recorded start and end from jobs.csv"));
        }
        Ok(())
    }
}

/// Seconds as ns.
pub(crate) fn seconds(value: Option<&Value>, field: &str, place: &Place) -> Result<Option<i64>, TraceError> {
    let text = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(s)) => s.clone(),
        Some(v) => v.to_string(),
    };
    place.seconds_ns(field, &text).map(Some)
}

/// What a profile says about the run time.
enum Profile {
    /// It takes so long.
    Delay(i64),
    Sequence(Vec<String>, i64),
    /// It depends on the platform.
    Platform,
    /// It is wrong; told where it is used.
    Wrong(Box<RowError>),
    /// A sequence that is being summed up: who meets it again has a cycle.
    Summing,
}

#[derive(Default)]
struct Workload {
    profiles: BTreeMap<String, Profile>,
    nb_res: u64,
    prefix: String,
    largest: u64,
    dependent: u64,
    matched: u64,
    failed: Option<TraceError>,
}

impl Workload {
    /// Reads everything but the jobs.
    fn read(sink: &Sink, file: &InputFile) -> Workload {
        let mut w = Workload::default();
        let mut has_jobs = false;
        let paths: [&[&str]; 3] = [&["profiles"], &["nb_res"], &["jobs"]];
        let read = each_part(file, sink.options.max_line_bytes, &paths, &mut |path, key, value, place| {
            match (path, key) {
                (0, Some(name)) => {
                    w.profiles.insert(name.to_string(), profile(&value, place));
                }
                (1, None) => w.nb_res = value.as_u64().unwrap_or(0),
                (2, _) => has_jobs = true,
                _ => {}
            }
            Ok(())
        });
        // An empty list of jobs is none that was given.
        let place = Place { file: file.display(), at: 0 };
        let expected = "a Batsim workload with jobs and profiles";
        w.failed = match read {
            Err(e) => Some(e),
            Ok(()) if !has_jobs => Some(place.error(Problem::MissingColumn, "jobs", "", expected)),
            Ok(()) => None,
        };
        w
    }

    fn nodes(&mut self, sink: &mut Sink) -> Result<(), TraceError> {
        let total = self.nb_res;
        if !(1..=10_000_000).contains(&total) {
            sink.report.absent("nb_res", "the trace has no nodes; give the scenario a cluster");
            return Ok(());
        }
        let (count, cpus, name) =
            if sink.options.split == Split::Task { (total, 1, "host") } else { (1, total, "pool") };
        for i in 0..count {
            let allocatable =
                Resources::from([(CPU.to_string(), cpus * 1000), (PODS.to_string(), cpus.max(110))]);
            let node = Node {
                op: NodeOp::Add,
                name: format!("{}{name}-{i}", self.prefix).replace('/', "-"),
                allocatable,
                ..Node::default()
            };
            sink.node(AT_ORIGIN, &node)?;
        }
        let rule = "one pool of nb_res processors (split=task: nb_res hosts of one)";
        sink.report.invent_n("nodes", rule, count);
        self.largest = cpus;
        Ok(())
    }

    /// Run time of a profile; `None`: it depends on the platform. Each sequence is summed up once.
    fn run_time(&mut self, name: &str, depth: u32, place: &Place) -> Result<Option<i64>, TraceError> {
        let wrong = |problem, expected: &str| place.error(problem, "profile", name, expected);
        let (parts, repeat) = match self.profiles.get_mut(name) {
            None => {
                return Err(wrong(Problem::DanglingReference, "a profile of this name in profiles"));
            }
            Some(Profile::Delay(ns)) => return Ok(Some(*ns)),
            Some(Profile::Platform) => return Ok(None),
            Some(Profile::Wrong(e)) => return Err((**e).clone().into()),
            Some(Profile::Summing) => {
                return Err(wrong(Problem::DanglingReference, "a sequence that is no part of itself"));
            }
            Some(sequence @ Profile::Sequence(..)) => {
                if depth > 64 {
                    return Err(wrong(Problem::TooDeep, "sequences in sequences, at most 64 deep"));
                }
                match std::mem::replace(sequence, Profile::Summing) {
                    Profile::Sequence(parts, repeat) => (parts, repeat),
                    _ => return Ok(None),
                }
            }
        };
        let mut sum = Some(0i64);
        for part in &parts {
            match self.run_time(part, depth + 1, place) {
                Ok(run) => sum = sum.zip(run).and_then(|(a, b)| a.checked_add(b)),
                Err(e) => {
                    self.profiles.insert(name.to_string(), Profile::Sequence(parts, repeat));
                    return Err(e);
                }
            }
        }
        let run = sum.and_then(|s| s.checked_mul(repeat));
        self.profiles.insert(name.to_string(), run.map_or(Profile::Platform, Profile::Delay));
        Ok(run)
    }

    fn job(
        &mut self,
        sink: &mut Sink,
        job: &Value,
        outcomes: &mut FxHashMap<String, Outcome>,
        place: &Place,
    ) -> Result<(), TraceError> {
        let id = match job.get("id") {
            Some(Value::String(s)) if !s.is_empty() => s.clone(),
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
        let known = self.run_time(k8s::text(job, "/profile"), 0, place)?;
        let prefix = self.prefix.clone();
        if !sink.first_seen(&format!("{prefix}{id}")) {
            return Err(place.error(Problem::DuplicateId, "id", &id, "each job once"));
        }
        let depends =
            |v: &Value| v.get("dependencies").and_then(Value::as_array).is_some_and(|d| !d.is_empty());
        self.dependent += u64::from(depends(job));
        let run = match (known, walltime) {
            (Some(r), Some(w)) => Some(r.min(w)),
            (Some(r), None) => Some(r),
            (None, Some(w)) => {
                let rule = "the walltime: the profile's run time depends on a platform";
                sink.report.invent("pods.run_ns", rule);
                Some(w)
            }
            (None, None) => {
                let rule = "none: no walltime, and the profile's run time depends on a platform";
                sink.report.invent("pods.run_ns", rule);
                None
            }
        };
        let pods = sink.options.split.pods(res, self.largest);
        sink.expand(pods).map_err(|e| place.error(Problem::OutOfRange, "res", &res.to_string(), e))?;
        let outcome = outcomes.remove(&id);
        self.matched += u64::from(outcome.is_some());
        let pod = Pod {
            submit,
            app: format!("{prefix}job-{id}"),
            run_ns: run.map(|r| r as u64),
            outcome,
            ..Pod::default()
        };
        sink.rigid_job(pod, pods, None, |k| {
            let requests = Resources::from([(CPU.to_string(), share(res, pods, k) * 1000)]);
            SpecRow { requests, ..SpecRow::default() }
        })
    }
}

fn profile(p: &Value, place: &Place) -> Profile {
    let wrong = |e: TraceError| match e {
        TraceError::Row(row) => Profile::Wrong(row),
        _ => Profile::Platform,
    };
    match k8s::text(p, "/type") {
        "delay" | "DelayProfile" => match seconds(p.get("delay"), "delay", place) {
            Ok(Some(ns)) => Profile::Delay(ns),
            Ok(None) => wrong(place.error(Problem::EmptyField, "delay", "", "seconds")),
            Err(e) => wrong(e),
        },
        "composed" | "sequence" | "SequentialCompositionProfile" => {
            let repeat = p.get("repeat").or_else(|| p.get("nb")).and_then(Value::as_i64).unwrap_or(1).max(0);
            let parts = p.get("seq").and_then(Value::as_array).into_iter().flatten();
            Profile::Sequence(parts.filter_map(Value::as_str).map(str::to_string).collect(), repeat)
        }
        _ => Profile::Platform,
    }
}
