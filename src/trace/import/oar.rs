//! Jobs of OAR (the batch scheduler of Grid'5000), as its Gantt export, the workload format OWF, or evalys' job table.
//!
//! **JSON** (`oarstat`-like exports, the Gantt file that Batsim's experiments compare themselves with): jobs {id: {
//! submission_time, start_time, stop_time, walltime, resources [ids], user, queue_name, state, ..}} or a list of such
//! objects under `jobs` or `items`; resources [{resource_id, network_address, state, ..}]. Times are Unix seconds; start 0:
//! not started. A resource is the smallest thing that OAR gives to a job: here a core.
//!
//! **Job table** (CSV with header; evalys, and Batsim's `*_jobs.csv`): job_id, submission_time,
//! requested_number_of_resources, requested_time, starting_time, execution_time, finish_time, allocated_resources, with the
//! older names of Batsim 1 and 2 (jobID, requested_number_of_processors, ..). Times in seconds, Unix or from 0.
//!
//! **OWF** 1.0: `;` comments with `Key: value` (UnixStartTime, MaxNodes, Nb Resources), then 16 numbers a line: job,
//! submission, start, stop, walltime, resources, extra resources, status, user, command, queue, name, array, type,
//! reservation, cigri. Times in seconds from UnixStartTime.
//!
//! **Mapping.** A job is one pod of as many cores as it has resources, or a gang if no node is that large (`split` as for
//! SWF). Nodes are the hosts of the resources, with one core a resource.
//!
//! **What it cannot tell.** Memory, priorities, what is shared on a host. A job that had not ended runs for its walltime.
//!
//! Source: files of oar-team/batsim-experiments and oar-team/evalys, Batsim's documentation ("Jobs"); tested on 22 Gantt
//! files of 796 to 800 jobs, evalys' `jobs.csv` and its OWF trace.

use std::collections::BTreeMap;

use serde_json::Value;

use super::kubernetes::Place;
use super::{AT_ORIGIN, Importer, InputFile, Node, Origin, Outcome, Pod, SECOND, Sink, TraceError, share};
use crate::trace::documents::each_part;
use crate::trace::error::Problem;
use crate::trace::input::{Lines, Table, TableSchema, may, must};
use crate::trace::model::{CPU, NodeOp, PODS, Resources, SpecRow};
use crate::trace::number;
use crate::trace::source::empty_file;

/// The importer.
pub struct Oar;

const JOBS: &str = "jobs";
const RESOURCES: &str = "resources";

/// Batsim's and evalys' table of jobs.
pub(super) static JOB_TABLE: TableSchema = TableSchema {
    name: "jobs.csv",
    hints: &["jobs.csv"],
    columns: &[
        must("job_id|jobID"),
        must("submission_time"),
        may("requested_number_of_resources|requested_number_of_processors"),
        may("requested_time"),
        may("starting_time"),
        may("execution_time"),
        may("finish_time"),
        may("allocated_resources|allocated_processors"),
        may("workload_name"),
    ],
    widths: &[],
    looks: &[],
    delimiter: b',',
};

impl Importer for Oar {
    fn name(&self) -> &'static str {
        "oar"
    }

    fn summary(&self) -> &'static str {
        "OAR jobs: Gantt JSON, OWF, job tables of evalys and Batsim (CSV)"
    }

    fn tested_on(&self) -> &'static str {
        "22 Gantt files of Grid'5000 runs (796 to 800 jobs), evalys' jobs.csv and OWF trace"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        let mut state = State::default();
        for file in files {
            match kind_of(file)? {
                Kind::Json => state.json(sink, file)?,
                Kind::Owf => state.owf(sink, file)?,
                Kind::Table => sink.each_row(file, &JOB_TABLE, |sink, row| {
                    let job = table_row(row)?;
                    state.job(sink, &job, &row.at())
                })?,
                Kind::Empty => {
                    sink.begin_file(file, JOBS);
                    sink.bad_file(JOBS, empty_file(&file.display()).into())?;
                }
                Kind::Other if file.explicit => {
                    return Err(TraceError::Usage(format!(
                        "{}: neither JSON, nor OWF (comments with `;`), nor a table with job_id and submission_time",
                        file.display()
                    )));
                }
                Kind::Other => {
                    sink.report.ignored_files.push(format!("{} (no jobs of OAR)", file.file_name()));
                }
            }
        }
        if sink.node_count() == 0 {
            sink.report.absent(RESOURCES, "the trace has no nodes; give the scenario a cluster");
        }
        Ok(())
    }
}

#[derive(PartialEq, Eq)]
enum Kind {
    Json,
    Owf,
    Table,
    Empty,
    Other,
}

fn kind_of(file: &InputFile) -> Result<Kind, TraceError> {
    let mut lines = Lines::open(file, 1 << 20)?;
    loop {
        return Ok(match lines.next_line() {
            Ok(Some(line)) if line.trim().is_empty() || line.starts_with('#') => continue,
            Ok(Some(line)) if line.trim_start().starts_with(['{', '[']) => Kind::Json,
            Ok(Some(line)) if line.trim_start().starts_with(';') => Kind::Owf,
            Ok(Some(line)) if JOB_TABLE.is_header(line) => Kind::Table,
            Ok(Some(_)) => Kind::Other,
            Ok(None) => Kind::Empty,
            // One long line, or damage: the JSON reader says which.
            Err(_) => Kind::Json,
        });
    }
}

/// A job as all three forms have it, in ns of the source's clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Job {
    pub id: String,
    pub submit: i64,
    pub start: Option<i64>,
    pub stop: Option<i64>,
    pub walltime: Option<i64>,
    pub resources: Option<u64>,
    user: String,
    queue: String,
    node: String,
}

pub(super) fn table_row(row: &Table) -> Result<Job, TraceError> {
    let id = row.text(0);
    if id.is_empty() {
        return Err(row.error(Problem::EmptyField, 0, "a job id"));
    }
    // Batsim writes -1 for what did not happen.
    let time = |column: usize| {
        let absent = row.is_null(column) || row.text(column).starts_with("-1");
        if absent { Ok(None) } else { row.time(column, SECOND).map(Some) }
    };
    let (start, run) = (time(4)?, time(5)?);
    let stop = time(6)?.or(start.zip(run).and_then(|(s, r)| s.checked_add(r)));
    let resources = if row.is_null(2) {
        let allocated = row.text(7).split([' ', ',']).filter(|r| !r.is_empty()).count() as u64;
        Some(allocated).filter(|n| *n > 0)
    } else {
        Some(row.unsigned(2)?)
    };
    Ok(Job {
        id: if row.is_null(8) || row.text(8) == "w" || row.text(8) == "w0" {
            id.to_string()
        } else {
            format!("{}!{id}", row.text(8))
        },
        submit: row.time(1, SECOND)?,
        start,
        stop,
        walltime: time(3)?,
        resources,
        ..Job::default()
    })
}

#[derive(Default)]
struct State {
    /// Cores by host.
    hosts: BTreeMap<String, u64>,
    host_of: BTreeMap<String, String>,
    largest: u64,
    any: bool,
}

fn field<'a>(value: &'a Value, names: &[&str]) -> Option<&'a Value> {
    names.iter().find_map(|name| value.get(name)).filter(|v| !v.is_null())
}

fn text(value: &Value, names: &[&str]) -> String {
    match field(value, names) {
        Some(Value::String(s)) => s.clone(),
        Some(v @ Value::Number(_)) => v.to_string(),
        _ => String::new(),
    }
}

/// Seconds as ns; `None` for 0 where that means never.
fn seconds(value: &Value, names: &[&str], place: &Place) -> Result<Option<i64>, TraceError> {
    let text = text(value, names);
    if text.is_empty() { Ok(None) } else { place.seconds_ns(names[0], &text).map(Some) }
}

impl State {
    fn json(&mut self, sink: &mut Sink, file: &InputFile) -> Result<(), TraceError> {
        const PATHS: [&[&str]; 3] = [&["resources"], &["jobs"], &["items"]];
        let limit = sink.options.max_line_bytes;
        // Nodes first: they say how large a job may be.
        let mut has_jobs = false;
        let first = each_part(file, limit, &PATHS, &mut |path, _, value, place| {
            has_jobs |= path > 0;
            if path == 0 {
                self.resource(sink, &value, place);
            }
            Ok(())
        });
        if let Err(e) = first {
            sink.begin_file(file, JOBS);
            return sink.bad_file(JOBS, e);
        }
        if !has_jobs && !file.explicit {
            sink.report.ignored_files.push(format!("{} (no jobs of OAR)", file.file_name()));
            return Ok(());
        }
        self.nodes(sink)?;
        sink.begin_file(file, JOBS);
        // `oarstat -J` has the jobs themselves in its object.
        let paths: &[&[&str]] = if has_jobs { &PATHS[1..] } else { &[&[]] };
        each_part(file, limit, paths, &mut |_, key, value, place| {
            sink.report.table(JOBS).read += 1;
            let kept = self.json_job(key, &value, place).and_then(|job| self.job(sink, &job, place));
            match kept {
                Ok(true) => sink.report.table(JOBS).kept += 1,
                Ok(false) => {}
                Err(e) => sink.bad(JOBS, e)?,
            }
            Ok(())
        })
    }

    fn resource(&mut self, sink: &mut Sink, value: &Value, place: &Place) {
        sink.report.table(RESOURCES).read += 1;
        let host = text(value, &["network_address", "host"]);
        let kind = text(value, &["type"]);
        let reason = match text(value, &["state"]).as_str() {
            "" | "Alive" if host.is_empty() => "no-host",
            "" | "Alive" if !matches!(kind.as_str(), "" | "default") => "not-a-core",
            "" | "Alive" => {
                let id = text(value, &["resource_id", "id"]);
                *self.hosts.entry(host.clone()).or_insert(0) += 1;
                self.host_of.insert(id, host);
                sink.report.table(RESOURCES).kept += 1;
                return;
            }
            _ => "not-alive",
        };
        sink.report.drop_row(RESOURCES, reason, || format!("{}:{}", place.file, place.at));
    }

    fn nodes(&mut self, sink: &mut Sink) -> Result<(), TraceError> {
        for (name, cores) in std::mem::take(&mut self.hosts) {
            self.largest = self.largest.max(cores);
            if !sink.first_seen(&format!("node/{name}")) {
                continue;
            }
            let allocatable = Resources::from([
                (CPU.to_string(), cores.saturating_mul(1000)),
                (PODS.to_string(), cores.max(110)),
            ]);
            sink.report.invent("nodes.allocatable.pods", "110 or one a core");
            sink.node(AT_ORIGIN, &Node { op: NodeOp::Add, name, allocatable, ..Node::default() })?;
        }
        Ok(())
    }

    fn json_job(&self, key: Option<&str>, v: &Value, place: &Place) -> Result<Job, TraceError> {
        let id = match (key, text(v, &["job_id", "Job_Id", "id"])) {
            (Some(key), _) => key.to_string(),
            (None, id) => id,
        };
        if id.is_empty() {
            return Err(place.error(Problem::EmptyField, "job_id", "", "a job id"));
        }
        let Some(submit) = seconds(v, &["submission_time", "submissionTime"], place)? else {
            return Err(place.error(Problem::EmptyField, "submission_time", "", "Unix seconds"));
        };
        let never = |t: &i64| *t != 0;
        let given = field(v, &["resources", "assigned_resources"]).and_then(Value::as_array);
        let asked = number::unsigned(&text(v, &["nb_resources", "requested_number_of_resources"])).ok();
        let host = |id: &Value| {
            let id = id.as_str().map_or_else(|| id.to_string(), str::to_string);
            self.host_of.get(&id).cloned().unwrap_or_default()
        };
        Ok(Job {
            id,
            submit,
            start: seconds(v, &["start_time", "startTime"], place)?.filter(never),
            stop: seconds(v, &["stop_time", "stopTime"], place)?.filter(never),
            walltime: seconds(v, &["walltime"], place)?.filter(never),
            resources: given.map(|g| g.len() as u64).filter(|n| *n > 0).or(asked),
            user: text(v, &["user", "owner"]),
            queue: text(v, &["queue_name", "queue"]),
            node: match given.map(Vec::as_slice) {
                Some([one]) => host(one),
                _ => String::new(),
            },
        })
    }

    fn owf(&mut self, sink: &mut Sink, file: &InputFile) -> Result<(), TraceError> {
        sink.begin_file(file, JOBS);
        let mut lines = Lines::open(file, sink.options.max_line_bytes)?;
        let (mut hosts, mut cores, mut unix) = (0u64, 0u64, None);
        let mut first = true;
        loop {
            let line = match lines.next_line() {
                Ok(Some(line)) => line.trim().to_string(),
                Ok(None) => break,
                Err(e) => {
                    sink.bad_file(JOBS, e)?;
                    continue;
                }
            };
            if let Some(comment) = line.strip_prefix(';') {
                let (key, value) = comment.split_once(':').unwrap_or_default();
                let value = value.split_whitespace().next().and_then(|v| v.parse::<u64>().ok());
                match key.trim() {
                    "MaxNodes" => hosts = value.unwrap_or(0),
                    "Nb Resources" => cores = value.unwrap_or(0),
                    "UnixStartTime" => unix = value.and_then(|s| i64::try_from(s.checked_mul(SECOND)?).ok()),
                    _ => {}
                }
                continue;
            }
            if line.is_empty() {
                continue;
            }
            if std::mem::take(&mut first) {
                sink.origin = Origin::Relative(unix);
                self.any = true;
                if (1..=1_000_000).contains(&hosts) && cores >= hosts {
                    let each = cores.div_ceil(hosts);
                    self.hosts = (0..hosts).map(|i| (format!("node-{i}"), each)).collect();
                    let rule = "MaxNodes nodes that share Nb Resources cores";
                    sink.report.invent_n("nodes", rule, hosts);
                }
                self.nodes(sink)?;
            }
            let place = Place { file: file.display(), at: lines.line() };
            sink.report.table(JOBS).read += 1;
            let kept = owf_job(&line, &place).and_then(|job| self.job(sink, &job, &place));
            match kept {
                Ok(true) => sink.report.table(JOBS).kept += 1,
                Ok(false) => {}
                Err(e) => sink.bad(JOBS, e)?,
            }
        }
        if first {
            sink.bad_file(JOBS, empty_file(&file.display()).into())?;
        }
        Ok(())
    }

    fn job(&mut self, sink: &mut Sink, job: &Job, place: &Place) -> Result<bool, TraceError> {
        if !std::mem::replace(&mut self.any, true) && job.submit >= 1_000_000_000 * SECOND as i64 {
            sink.origin = Origin::Unix;
        }
        for (name, t) in [("start_time", job.start), ("stop_time", job.stop)] {
            if t.is_some_and(|t| {
                t < job.submit.max(if name == "stop_time" { job.start.unwrap_or(0) } else { 0 })
            }) {
                let expected = "submission, start and stop in this order";
                return Err(place.error(Problem::DeleteBeforeCreate, name, &job.id, expected));
            }
        }
        let cores = match job.resources {
            Some(n @ 1..=10_000_000) => n,
            Some(n) => {
                let expected = "1 to 10 million resources";
                return Err(place.error(Problem::OutOfRange, "resources", &n.to_string(), expected));
            }
            None => {
                sink.report.invent("specs.requests.cpu_millicores", "1 core: no resources on record");
                1
            }
        };
        if !sink.first_seen(&format!("job-{}", job.id)) {
            return Err(place.error(Problem::DuplicateId, "job_id", &job.id, "each job once"));
        }
        let run = match (job.start, job.stop, job.walltime) {
            (Some(start), Some(stop), _) => Some(stop - start),
            (None, Some(_), _) => None,
            (_, None, Some(walltime)) => {
                sink.report.invent("pods.run_ns", "the walltime: the job had not ended");
                Some(walltime)
            }
            (_, None, None) => {
                sink.report.invent("pods.run_ns", "none: no end and no walltime on record");
                None
            }
        };
        let pods = sink.options.split.pods(cores, self.largest);
        sink.expand(pods)
            .map_err(|e| place.error(Problem::OutOfRange, "resources", &cores.to_string(), e))?;
        let pod = Pod {
            submit: job.submit,
            app: format!("job-{}", job.id),
            queue: job.queue.clone(),
            user: job.user.clone(),
            run_ns: run.map(|r| r as u64),
            outcome: Some(Outcome {
                created: Some(job.submit),
                bound: job.start,
                running: job.start,
                finished: job.stop,
                node: job.node.clone(),
            }),
            ..Pod::default()
        };
        let waits_until = job.stop.filter(|_| job.start.is_none());
        if waits_until.is_some() {
            for _ in 0..pods {
                sink.report.invent("pods.run_ns", "none: never started, waits until its recorded end");
            }
        }
        sink.rigid_job(pod, pods, waits_until, |k| {
            let requests = Resources::from([(CPU.to_string(), share(cores, pods, k) * 1000)]);
            SpecRow { requests, ..SpecRow::default() }
        })?;
        Ok(true)
    }
}

fn owf_job(line: &str, place: &Place) -> Result<Job, TraceError> {
    const NAMES: [&str; 16] = [
        "job_id",
        "submission_time",
        "start_time",
        "stop_time",
        "walltime",
        "nb_default_ressources",
        "nb_extra_ressources",
        "status",
        "user",
        "command",
        "queue",
        "name",
        "array",
        "type",
        "reservation",
        "cigri",
    ];
    let values: Vec<&str> = line.split_whitespace().collect();
    if values.len() != NAMES.len() {
        let expected = format!("16 fields, found {}", values.len());
        return Err(place.error(Problem::ColumnCount, "", line, expected));
    }
    let time = |i: usize| place.seconds_ns(NAMES[i], values[i]);
    let (submit, start, stop) = (time(1)?, time(2)?, time(3)?);
    let resources = number::unsigned(values[5])
        .map_err(|_| place.error(Problem::NotANumber, NAMES[5], values[5], "a number of resources"))?;
    let ran = stop > 0 && stop >= start && start >= submit;
    Ok(Job {
        id: values[0].to_string(),
        submit,
        start: ran.then_some(start),
        stop: ran.then_some(stop),
        walltime: Some(time(4)?).filter(|t| *t > 0),
        resources: Some(resources).filter(|n| *n > 0),
        user: format!("user-{}", values[8]),
        queue: format!("queue-{}", values[10]),
        node: String::new(),
    })
}
