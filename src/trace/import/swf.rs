//! Standard Workload Format of the Parallel Workloads Archive, and MetaCentrum's extension of it.
//!
//! **Lines.** Comments start with `;` and carry `Key: value` headers. A job has 18 blank-separated numbers: 1 job,
//! 2 submit (s), 3 wait (s), 4 run time (s), 5 processors used, 6 CPU time, 7 memory used (KB a processor), 8
//! processors asked, 9 time asked (s), 10 memory asked (KB a processor), 11 status (1 completed, 0 failed, 5
//! cancelled, 2-4 partial executions), 12 user, 13 group, 14 executable, 15 queue, 16 partition, 17 preceding job,
//! 18 think time; -1 means unknown. MetaCentrum's extension (as shipped with the Alea simulator) adds 19 processors
//! used (list), 20 queue name, 21 node specification `chunks:ppn=n:property..`, and gives field 10 in bytes for the
//! whole job (its default is 400 MiB = 419430400). A file `X.swf.machines` beside `X.swf` lists clusters: id, name,
//! nodes, processors a node, speed, memory (KB); either may be packed.
//!
//! **Jobs become pods** by `split`: `auto` makes one pod a job, several (a gang with min_member) when field 21 names
//! chunks or no node is large enough; `job` always one; `task` one a processor. Memory is shared evenly. The group is
//! kept as the label `group`.
//!
//! **Nodes.** From `*.machines`; else from MaxProcs and MaxNodes: with `split=task` MaxNodes equal nodes, otherwise
//! one node that is the whole pool of processors, because SWF says nothing about placement.
//!
//! **Time.** From UnixStartTime when the header has it; submit times above 10^9 without it are Unix times.
//!
//! **What it cannot tell.** Which node (except field 19), priorities, memory in most logs; wait is -1 where the
//! archive only knew start times. Recorded order of preceding jobs is already in the submit times. Cancelled jobs
//! that never ran wait until they were cancelled (submit + wait), or are dropped when no wait is known.
//!
//! Source: Parallel Workloads Archive, "The standard workload format" v2.2; header comments of the files.

use super::{
    AT_ORIGIN, Importer, InputFile, Node, Origin, Outcome, Pod, SECOND, Sink, Split, TraceError, share,
};
use crate::trace::error::Problem;
use crate::trace::input::Lines;
use crate::trace::model::{CPU, MEMORY, NodeOp, PODS, Resources, SpecRow};
use crate::trace::number;
use crate::trace::source::empty_file;
use crate::trace::transform::GROUP_LABEL;

/// The importer.
pub struct Swf;

const JOBS: &str = "jobs";
const MACHINES: &str = "machines";
const KIB: u64 = 1024;
/// How names of packed files end.
const PACKINGS: [&str; 2] = [".gz", ".zst"];

/// A file's name without its packing: `X.swf.gz` is `X.swf`.
fn unpacked(name: &str) -> &str {
    PACKINGS.iter().find_map(|packing| name.strip_suffix(packing)).unwrap_or(name)
}

impl Importer for Swf {
    fn name(&self) -> &'static str {
        "swf"
    }

    fn summary(&self) -> &'static str {
        "Standard Workload Format (Parallel Workloads Archive), MetaCentrum's extension, *.machines"
    }

    fn tested_on(&self) -> &'static str {
        "NASA-iPSC-1993-3.1-cln, LCG-2005-1, wagap-2013 (extended) and a slice of HPC2N-2002 with their .machines"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        let is_machines = |f: &&InputFile| unpacked(&f.file_name()).ends_with(".machines");
        let all_logs: Vec<&InputFile> = files.iter().filter(|f| !is_machines(f)).collect();
        let explicit: Vec<&InputFile> = all_logs.iter().copied().filter(|f| f.explicit).collect();
        let logs = if explicit.is_empty() { all_logs } else { explicit };
        if logs.len() > 1 {
            let names: Vec<String> = logs.iter().map(|f| f.file_name()).collect();
            return Err(TraceError::Usage(format!(
                "swf: one log at a time, found {} ({}); job numbers of different logs collide, so name one",
                names.len(),
                names.join(", ")
            )));
        }
        let mut state = State::default();
        for log in &logs {
            let name = format!("{}.machines", unpacked(&log.file_name()));
            let is_beside =
                |m: &InputFile| m.path.parent() == log.path.parent() && unpacked(&m.file_name()) == name;
            let given = files.iter().filter(is_machines).find(|m| m.explicit || is_beside(m)).cloned();
            let found = given.or_else(|| {
                let packed = std::iter::once("").chain(PACKINGS);
                let mut beside = packed.map(|packing| log.path.with_file_name(format!("{name}{packing}")));
                beside.find(|path| path.exists()).map(|path| InputFile::named(&path))
            });
            if let Some(machines) = found {
                state.machines(sink, &machines)?;
            }
            state.log(sink, log)?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct State {
    /// Processors of the largest node, if nodes are known.
    largest: u64,
    /// Memory of that node, bytes.
    largest_memory: u64,
    has_machines: bool,
    max_procs: u64,
    max_nodes: u64,
    queues: Vec<(i64, String)>,
    unix_start: Option<i64>,
    last_submit: i64,
    gangs: u64,
    extended: u64,
    cancelled: u64,
}

struct Fields<'a> {
    lines: &'a Lines,
    values: &'a [&'a str],
}

const NAMES: [&str; 18] = [
    "job number",
    "submit time",
    "wait time",
    "run time",
    "processors used",
    "cpu time used",
    "memory used",
    "processors requested",
    "time requested",
    "memory requested",
    "status",
    "user",
    "group",
    "executable",
    "queue",
    "partition",
    "preceding job",
    "think time",
];

impl Fields<'_> {
    fn error(&self, problem: Problem, field: usize, expected: &str) -> TraceError {
        self.lines.error(problem, NAMES[field - 1], self.values[field - 1], expected)
    }

    /// Field `i` counted from 1, scaled; `None` for -1.
    fn scaled(&self, field: usize, unit: u64) -> Result<Option<u64>, TraceError> {
        let text = self.values[field - 1];
        match number::scaled_signed(text, unit) {
            Ok(n) if n >= 0 => Ok(Some(n as u64)),
            Ok(_) if number::scaled_signed(text, 1) == Ok(-1) => Ok(None),
            Ok(_) => {
                let problem =
                    if matches!(field, 2 | 3 | 4 | 9) { Problem::NegativeTime } else { Problem::OutOfRange };
                Err(self.error(problem, field, "a number of at least 0, or -1 for unknown"))
            }
            Err(number::NumberError::Range) => {
                Err(self.error(Problem::OutOfRange, field, "a smaller number"))
            }
            Err(_) => Err(self.error(Problem::NotANumber, field, "a number, or -1 for unknown")),
        }
    }
}

impl State {
    fn machines(&mut self, sink: &mut Sink, file: &InputFile) -> Result<(), TraceError> {
        sink.begin_file(file, MACHINES);
        let mut lines = match Lines::open(file, sink.options.max_line_bytes) {
            Ok(lines) => lines,
            Err(e) => return sink.bad_file(MACHINES, e),
        };
        loop {
            let fields: Vec<String> = match lines.next_line() {
                Ok(None) => return Ok(()),
                Ok(Some(l)) if l.trim().is_empty() || l.starts_with(';') => continue,
                Ok(Some(l)) => l.split_whitespace().map(str::to_string).collect(),
                Err(e) => {
                    sink.bad_file(MACHINES, e)?;
                    continue;
                }
            };
            sink.report.table(MACHINES).read += 1;
            match self.cluster(sink, &lines, &fields) {
                Ok(()) => sink.report.table(MACHINES).kept += 1,
                Err(e) => sink.bad(MACHINES, e)?,
            }
        }
    }

    fn cluster(&mut self, sink: &mut Sink, lines: &Lines, fields: &[String]) -> Result<(), TraceError> {
        let bad = |problem, field: &str, value: &str, want: &str| lines.error(problem, field, value, want);
        if fields.len() < 4 {
            let want = "id, name, nodes, processors a node, speed, memory (KB)";
            return Err(bad(Problem::ColumnCount, "", "", want));
        }
        let number = |i: usize, name: &str| {
            number::unsigned(&fields[i])
                .map_err(|_| bad(Problem::NotANumber, name, &fields[i], "a whole number of at least 0"))
        };
        let (nodes, cpus) = (number(2, "nodes")?, number(3, "processors a node")?);
        let memory = match fields.get(5) {
            Some(text) => number::scaled(text, KIB)
                .map_err(|_| bad(Problem::NotANumber, "memory", text, "a number of KB"))?,
            None => 0,
        };
        if !sink.first_seen(&format!("node/{}", fields[1])) {
            return Err(bad(Problem::DuplicateId, "name", &fields[1], "each cluster once"));
        }
        sink.expand(nodes).map_err(|want| bad(Problem::OutOfRange, "nodes", &fields[2], &want))?;
        for i in 0..nodes {
            let mut allocatable = Resources::from([
                (CPU.to_string(), cpus.saturating_mul(1000)),
                (PODS.to_string(), cpus.max(110)),
            ]);
            if memory > 0 {
                allocatable.insert(MEMORY.to_string(), memory);
            }
            let node = Node {
                op: NodeOp::Add,
                name: format!("{}-{i}", fields[1]),
                allocatable,
                labels: [("cluster".to_string(), fields[1].clone())].into(),
                taints: String::new(),
            };
            sink.node(AT_ORIGIN, &node)?;
        }
        if cpus > self.largest {
            (self.largest, self.largest_memory) = (cpus, memory);
        }
        self.has_machines = true;
        sink.report.invent_n("nodes.allocatable.pods", "110 or one a processor", nodes);
        Ok(())
    }

    fn header(&mut self, line: &str) {
        let text = line.trim_start_matches(';').trim();
        let Some((key, value)) = text.split_once(':') else { return };
        let value = value.trim();
        let first = value.split_whitespace().next().unwrap_or("");
        match key.trim() {
            "UnixStartTime" => {
                self.unix_start =
                    first.parse::<i64>().ok().and_then(|s| s.checked_mul(SECOND as i64)).filter(|&n| n > 0);
            }
            "MaxProcs" => self.max_procs = first.parse().unwrap_or(0),
            "MaxNodes" => self.max_nodes = first.parse().unwrap_or(0),
            "Queue" => {
                if let (Ok(id), Some(name)) = (first.parse(), value.split_whitespace().nth(1)) {
                    self.queues.push((id, name.to_string()));
                }
            }
            _ => {}
        }
    }

    fn log(&mut self, sink: &mut Sink, file: &InputFile) -> Result<(), TraceError> {
        sink.begin_file(file, JOBS);
        let mut lines = match Lines::open(file, sink.options.max_line_bytes) {
            Ok(lines) => lines,
            Err(e) => return sink.bad_file(JOBS, e),
        };
        let mut first = true;
        let mut any_procs = 0;
        loop {
            let line = match lines.next_line() {
                Ok(Some(line)) => line.to_string(),
                Ok(None) => break,
                Err(e) => {
                    sink.report.table(JOBS).read += 1;
                    sink.bad(JOBS, e)?;
                    continue;
                }
            };
            let trimmed = line.trim();
            if trimmed.is_empty() {
                continue;
            }
            if trimmed.starts_with(';') || trimmed.starts_with('#') {
                self.header(trimmed);
                continue;
            }
            // Some logs begin with a line of column names.
            if first && trimmed.starts_with(|c: char| c.is_ascii_alphabetic()) {
                continue;
            }
            if first {
                first = false;
                if !self.has_machines {
                    self.nodes_from_header(sink)?;
                }
            }
            sink.report.table(JOBS).read += 1;
            match self.job(sink, &lines, trimmed, &mut any_procs) {
                Ok(true) => sink.report.table(JOBS).kept += 1,
                Ok(false) => {}
                Err(e) => sink.bad(JOBS, e)?,
            }
        }
        if first {
            let e = empty_file(&file.display());
            sink.bad_file(JOBS, e.into())?;
        }
        if sink.origin == Origin::Relative(None) {
            sink.origin = Origin::Relative(self.unix_start);
        }
        if !self.has_machines && self.max_procs == 0 {
            sink.report.absent(
                MACHINES,
                "neither a .machines file nor MaxProcs in the header: the trace has no nodes; give the scenario a cluster",
            );
        }
        if self.gangs > 0 {
            sink.report.note(format!(
                "{} jobs became gangs of several pods (node specification in field 21, larger than any node, or split=task); split=job keeps one pod a job",
                self.gangs
            ));
        }
        if self.extended > 0 {
            sink.report
                .note("21 fields: requested memory is taken as bytes for the whole job (MetaCentrum logs)");
        }
        if self.cancelled > 0 {
            sink.report.note(format!(
                "{} jobs were cancelled before they ran: deleted at submit + wait",
                self.cancelled
            ));
        }
        Ok(())
    }

    fn nodes_from_header(&mut self, sink: &mut Sink) -> Result<(), TraceError> {
        if self.max_procs == 0 || self.max_procs > 100_000_000 {
            return Ok(());
        }
        let (count, cpus, prefix) = if sink.options.split == Split::Task && self.max_nodes > 0 {
            (self.max_nodes.min(self.max_procs), (self.max_procs / self.max_nodes).max(1), "node")
        } else {
            (1, self.max_procs, "pool")
        };
        let rule = if prefix == "pool" {
            "one node with the log's MaxProcs processors: SWF does not say where jobs ran"
        } else {
            "MaxNodes nodes with MaxProcs / MaxNodes processors"
        };
        sink.report.invent_n("nodes", rule, count);
        for i in 0..count {
            let allocatable =
                Resources::from([(CPU.to_string(), cpus * 1000), (PODS.to_string(), cpus.max(110))]);
            let node =
                Node { op: NodeOp::Add, name: format!("{prefix}-{i}"), allocatable, ..Node::default() };
            sink.node(AT_ORIGIN, &node)?;
        }
        self.largest = cpus;
        Ok(())
    }

    fn job(&mut self, sink: &mut Sink, lines: &Lines, line: &str, any: &mut u64) -> Result<bool, TraceError> {
        let values: Vec<&str> = line.split_whitespace().collect();
        if values.len() != 18 && values.len() != 21 && values.len() != 20 && values.len() != 19 {
            return Err(lines.error(
                Problem::ColumnCount,
                "",
                line,
                format!("18 fields (21 with MetaCentrum's extension), found {}", values.len()),
            ));
        }
        let f = Fields { lines, values: &values };
        let id = f.values[0];
        if number::scaled_signed(id, 1).is_err() {
            return Err(f.error(Problem::NotANumber, 1, "a job number"));
        }
        let Some(submit) = f.scaled(2, SECOND)? else {
            return Err(f.error(Problem::NegativeTime, 2, "a submit time of at least 0"));
        };
        let submit = submit as i64;
        let wait = f.scaled(3, SECOND)?;
        // A log converted from start and end with no end on record has run time 0 - start.
        let start_s =
            number::scaled_signed(values[1], 1).unwrap_or(0) + wait.map_or(0, |w| (w / SECOND) as i64);
        let no_end = start_s > 1 && number::scaled_signed(values[3], 1) == Ok(-start_s);
        let run = if no_end {
            sink.report.invent(
                "pods.run_ns",
                "unknown: the end is not on record (run time is minus the start time)",
            );
            None
        } else {
            f.scaled(4, SECOND)?
        };
        let used = f.scaled(5, 1)?;
        let asked = f.scaled(8, 1)?;
        let time_asked = f.scaled(9, SECOND)?;
        let memory_asked = f.scaled(10, 1)?;
        let memory_used = f.scaled(7, 1)?;
        let status = f.scaled(11, 1)?;
        let extended = values.get(18).is_some_and(|v| v.starts_with('{'));
        let procs = match (asked.filter(|&n| n > 0), used.filter(|&n| n > 0)) {
            (Some(n), _) => n,
            (None, Some(n)) => {
                sink.report
                    .invent("specs.requests.cpu_millicores", "processors used (none requested on record)");
                n
            }
            (None, None) => {
                let at = format!("{}:{}", lines.name(), lines.line());
                sink.report.drop_row(JOBS, "no-processors", || at);
                return Ok(false);
            }
        };
        if procs > 10_000_000 {
            return Err(f.error(Problem::OutOfRange, 8, "at most 10 million processors"));
        }
        if submit < self.last_submit {
            return Err(f.error(Problem::TimeGoesBack, 2, "submit times in ascending order"));
        }
        self.last_submit = submit;
        if *any == 0 && self.unix_start.is_none() && submit >= 1_000_000_000 * SECOND as i64 {
            sink.origin = Origin::Unix;
            sink.report.note("no UnixStartTime in the header; submit times are taken as Unix times");
        }
        *any += 1;
        let cancelled = status == Some(5) && run.unwrap_or(0) == 0;
        let (run_ns, cancel_at) = match (run, wait) {
            _ if cancelled => match wait {
                Some(w) => {
                    self.cancelled += 1;
                    (None, Some(submit.saturating_add(w as i64)))
                }
                None => {
                    let at = format!("{}:{}", lines.name(), lines.line());
                    sink.report.drop_row(JOBS, "cancelled-before-start", || at);
                    return Ok(false);
                }
            },
            (Some(run), _) => (Some(run), None),
            (None, _) => match time_asked.filter(|&t| t > 0) {
                None if no_end => (None, None),
                Some(t) => {
                    sink.report.invent("pods.run_ns", "the requested time (run time unknown)");
                    (Some(t), None)
                }
                None => {
                    let at = format!("{}:{}", lines.name(), lines.line());
                    sink.report.drop_row(JOBS, "no-run-time", || at);
                    return Ok(false);
                }
            },
        };
        if !sink.first_seen(id) {
            return Err(f.error(Problem::DuplicateId, 1, "a job number of its own"));
        }
        let extended_spec = values.get(20).copied().unwrap_or("");
        let chunks = extended_spec.split(':').next().and_then(|c| c.parse::<u64>().ok());
        let chunks = chunks.unwrap_or(1).clamp(1, procs);
        let pods = match sink.options.split {
            Split::Auto if chunks > 1 => chunks,
            split => split.pods(procs, self.largest),
        };
        sink.expand(pods).map_err(|want| f.error(Problem::OutOfRange, 8, &want))?;
        self.extended += u64::from(extended);
        // Memory of the whole job in bytes.
        let memory = match (memory_asked, memory_used) {
            (Some(n), _) if extended => n,
            (Some(n), _) => n.saturating_mul(KIB).saturating_mul(procs),
            (None, Some(n)) if !extended => {
                let rule =
                    "memory used, at most what a node has for these processors (none requested on record)";
                sink.report.invent("specs.requests.memory_bytes", rule);
                let share = match (self.largest, self.largest_memory) {
                    (1.., 1..) => procs.saturating_mul(self.largest_memory) / self.largest,
                    _ => u64::MAX,
                };
                n.saturating_mul(KIB).saturating_mul(procs).min(share)
            }
            _ => 0,
        };
        let mut selector = std::collections::BTreeMap::new();
        if self.has_machines
            && let Some(cluster) = extended_spec.split([':', '#']).find_map(|p| p.strip_prefix("cl_"))
        {
            selector.insert("cluster".to_string(), cluster.to_string());
        }
        let labels: std::collections::BTreeMap<String, String> =
            f.scaled(13, 1)?.map(|g| (GROUP_LABEL.to_string(), format!("group-{g}"))).into_iter().collect();
        let mut pod = Pod {
            submit,
            app: format!("job-{id}"),
            queue: self.queue(&values),
            user: match f.scaled(12, 1)? {
                Some(u) => format!("user-{u}"),
                None => String::new(),
            },
            run_ns,
            ..Pod::default()
        };
        self.gangs += u64::from(pods > 1);
        let bound = match (wait, cancel_at) {
            (Some(w), None) => Some(submit.saturating_add(w as i64)),
            _ => None,
        };
        let finished = match (bound, cancel_at) {
            (_, Some(t)) => Some(t),
            (Some(b), None) => run.map(|r| b.saturating_add(r as i64)),
            _ => None,
        };
        if bound.is_some() || cancel_at.is_some() {
            pod.outcome = Some(Outcome {
                created: Some(submit),
                bound,
                running: bound,
                finished,
                ..Outcome::default()
            });
        }
        sink.rigid_job(pod, pods, cancel_at, |k| {
            let mut requests = Resources::from([(CPU.to_string(), share(procs, pods, k) * 1000)]);
            if memory > 0 {
                requests.insert(MEMORY.to_string(), memory.div_ceil(pods));
            }
            SpecRow {
                requests,
                labels: labels.clone(),
                node_selector: selector.clone(),
                ..SpecRow::default()
            }
        })?;
        Ok(true)
    }

    fn queue(&self, values: &[&str]) -> String {
        if let Some(name) = values.get(19)
            && values[18].starts_with('{')
        {
            return (*name).to_string();
        }
        let Ok(id) = values[14].parse::<i64>() else { return String::new() };
        if id < 0 {
            return String::new();
        }
        match self.queues.iter().find(|(q, _)| *q == id) {
            Some((_, name)) => name.clone(),
            None => format!("queue-{id}"),
        }
    }
}
