//! Google ClusterData 2011 (clusterdata-2011-2): a Borg cell of 12,500 machines over 29 days.
//!
//! **Tables** (CSV without header, gzip parts). `task_events`, 13 columns: time, missing info, job, task index,
//! machine, event type, user, scheduling class, priority, CPU, memory, disk, different-machines. `machine_events`,
//! 6 columns: time, machine, event type (0 add, 1 remove, 2 update), platform, CPUs, memory. `job_events` and
//! `task_usage` add nothing a scheduler reads; `task_constraints` and `machine_attributes` are not imported.
//!
//! **Units.** Times in microseconds; the trace starts at 600 s, so what was there before has time 0; 2^63-1 means
//! after the end. CPU and memory are shares of the largest machine: 1.0 becomes `cpu_unit_millicores` (64 cores) and
//! `memory_unit_bytes` (256 GiB) unless options say otherwise. Only ratios are real. Requests are rounded to the
//! nearest unit.
//!
//! **Tasks become pods.** Event types: 0 submit, 1 schedule, 2 evict, 3 fail, 4 finish, 5 kill, 6 lost, 7 update
//! while pending, 8 update while running. A task that is evicted or fails is submitted again by the source: each
//! submission is a pod, the second and later ones with `-r<time>` in their id. A pod runs from schedule to its end;
//! pods alive at the end run on. A task that ends while pending becomes a pod with a deletion.
//!
//! **Cut files.** A part from the middle holds events of tasks submitted before: they enter at the part's first time.
//! Without a gap since time 0 such an event is an error (delete-before-create).
//!
//! **What it cannot tell.** Tasks at time 0 have no real submit time and shortened runs; together they ask for more
//! than the machines have, for Borg overcommits: scale capacity, or expect a standing backlog. The restriction to
//! different machines and attribute constraints are lost. Run times depend on what the real scheduler evicted.
//!
//! Cost: O(1) a row; memory: live tasks (about 60 bytes each), one 8-byte hash a distinct task, and sort memory.
//! Source: "Google cluster-usage traces: format + schema" v2.1 and schema.csv of the data set.

use rustc_hash::{FxHashMap, FxHashSet};

use super::google_machines::{MachineEvent, Machines, SHARE};
use super::{Importer, InputFile, MICROSECOND, Outcome, Pod, Sink, TraceError, classify};
use crate::trace::error::Problem;
use crate::trace::input::{Looks, Table, TableSchema, may, must};
use crate::trace::model::{CPU, EventOp, MEMORY, NodeOp, Resources, SpecRow};
use crate::trace::report::thousands;

/// The importer.
pub struct Google2011;

static TASK_EVENTS: TableSchema = TableSchema {
    name: "task_events",
    hints: &["task_events"],
    columns: &[
        must("time"),
        may("missing info|missing_info"),
        must("job ID|job_id"),
        must("task index|task_index"),
        may("machine ID|machine_id"),
        must("event type|event_type"),
        may("user"),
        may("scheduling class|scheduling_class"),
        may("priority"),
        may("CPU request|cpu_request"),
        may("memory request|memory_request"),
        may("disk space request|disk_space_request|disk_request"),
        may("different machines restriction|different_machines_restriction|different_machines"),
    ],
    widths: &[13],
    looks: &[],
    delimiter: b',',
};

static MACHINE_EVENTS: TableSchema = TableSchema {
    name: "machine_events",
    hints: &["machine_events"],
    columns: &[
        must("time"),
        must("machine ID|machine_id"),
        must("event type|event_type"),
        may("platform ID|platform_id"),
        may("CPUs|cpus"),
        may("Memory|memory"),
    ],
    widths: &[6],
    looks: &[
        (2, Looks::OneOf(&["0", "1", "2"])),
        (3, Looks::MaybeWord),
        (4, Looks::MaybeNumber),
        (5, Looks::MaybeNumber),
    ],
    delimiter: b',',
};

static JOB_EVENTS: TableSchema = TableSchema {
    name: "job_events",
    hints: &["job_events"],
    columns: &[may("time")],
    widths: &[8],
    looks: &[],
    delimiter: b',',
};

static TASK_CONSTRAINTS: TableSchema = TableSchema {
    name: "task_constraints",
    hints: &["task_constraints"],
    columns: &[may("time")],
    widths: &[6],
    looks: &[(3, Looks::OneOf(&["0", "1", "2", "3"])), (4, Looks::Word)],
    delimiter: b',',
};

static MACHINE_ATTRIBUTES: TableSchema = TableSchema {
    name: "machine_attributes",
    hints: &["machine_attributes"],
    columns: &[may("time")],
    widths: &[5],
    looks: &[],
    delimiter: b',',
};

static TASK_USAGE: TableSchema = TableSchema {
    name: "task_usage",
    hints: &["task_usage"],
    columns: &[may("time")],
    widths: &[19, 20],
    looks: &[],
    delimiter: b',',
};

const TIME: usize = 0;
const MISSING: usize = 1;
const JOB: usize = 2;
const INDEX: usize = 3;
const MACHINE: usize = 4;
const TYPE: usize = 5;
const USER: usize = 6;
const PRIORITY: usize = 8;
const CPU_REQUEST: usize = 9;
const MEMORY_REQUEST: usize = 10;
const DIFFERENT: usize = 12;

const AFTER_END: u64 = i64::MAX as u64;

impl Importer for Google2011 {
    fn name(&self) -> &'static str {
        "google-2011"
    }

    fn summary(&self) -> &'static str {
        "Google ClusterData 2011: task_events and machine_events parts"
    }

    fn tested_on(&self) -> &'static str {
        "machine_events whole, task_events parts 0-13 and 15-17"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        let schemas: [&'static TableSchema; 6] =
            [&TASK_EVENTS, &MACHINE_EVENTS, &JOB_EVENTS, &TASK_CONSTRAINTS, &MACHINE_ATTRIBUTES, &TASK_USAGE];
        let mut tables = classify(files, &schemas, sink)?;
        tables.retain(|(_, f)| f.explicit || !f.file_name().starts_with("schema"));
        tables.sort_by_key(|(t, f)| (*t, f.file_name()));
        let count = |t: usize| tables.iter().filter(|(i, _)| *i == t).count();
        if count(1) == 0 {
            sink.report.absent("machine_events", "the trace has no nodes; give the scenario a cluster");
        }
        if count(0) == 0 {
            sink.report.absent("task_events", "the trace has no pods");
        }
        for (t, what) in [
            (2, "job_events: recognised and not read, it only adds hashed job names"),
            (3, "task_constraints: not imported, pods may go to any machine that has room"),
            (4, "machine_attributes: not imported"),
            (5, "task_usage: not imported, requests are what a scheduler sees"),
        ] {
            if count(t) > 0 {
                sink.report.note(format!("{what} ({} files)", count(t)));
            }
        }
        let mut machines = MachineRows::default();
        for (_, file) in tables.iter().filter(|(t, _)| *t == 1) {
            sink.each_row(file, &MACHINE_EVENTS, |sink, row| machines.row(sink, row))?;
        }
        let mut tasks = Tasks::new();
        for (_, file) in tables.iter().filter(|(t, _)| *t == 0) {
            tasks.next_file(part_number(&file.file_name()));
            sink.each_row(file, &TASK_EVENTS, |sink, row| tasks.row(sink, row))?;
        }
        tasks.finish(sink, machines.machines.at_start)
    }
}

/// `part-00012-of-00500.csv.gz` is part 12.
fn part_number(name: &str) -> Option<u64> {
    let rest = &name[name.find("part-")? + 5..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse().ok()
}

/// Machine events, which are in order of time.
#[derive(Default)]
struct MachineRows {
    machines: Machines,
    last_time: i64,
}

impl MachineRows {
    fn row(&mut self, sink: &mut Sink, row: &Table) -> Result<bool, TraceError> {
        let time = row.time(TIME, MICROSECOND)?;
        let machine = row.unsigned(1)?;
        let op = match row.text(2) {
            "0" => NodeOp::Add,
            "1" => NodeOp::Remove,
            "2" => NodeOp::Update,
            _ => return Err(row.error(Problem::UnknownCode, 2, "0 (add), 1 (remove) or 2 (update)")),
        };
        if time < self.last_time {
            return Err(row.error(Problem::TimeGoesBack, TIME, "times in ascending order"));
        }
        self.last_time = time;
        let capacity = if op == NodeOp::Remove || row.is_null(4) || row.is_null(5) {
            None
        } else {
            let cpu = share(row, 4, sink.options.cpu_unit_millicores)?;
            Some((cpu, share(row, 5, sink.options.memory_unit_bytes)?))
        };
        let platform = if row.is_null(3) { String::new() } else { row.text(3).to_string() };
        let event = MachineEvent { op, machine, capacity, platform };
        self.machines.take(sink, time, &event, || row.place())
    }
}

/// A share of the largest machine, where that has so many units.
fn share(row: &Table, column: usize, unit: u64) -> Result<u64, TraceError> {
    match row.scaled(column, unit)? {
        n if n > unit => Err(row.error(Problem::OutOfRange, column, SHARE)),
        n => Ok(n),
    }
}

const NOT_STARTED: i64 = i64::MIN;

struct Live {
    submit: i64,
    start: i64,
    machine: u64,
    spec: u32,
    user: u32,
    priority: i32,
    resubmitted: bool,
}

struct Tasks {
    live: FxHashMap<(u64, u64), Live>,
    seen: FxHashSet<(u64, u32)>,
    users: Vec<String>,
    user_ids: FxHashMap<String, u32>,
    specs: FxHashMap<(u64, u64), u32>,
    pod: Pod,
    last_time: i64,
    last_part: Option<u64>,
    /// Start of the stretch without gaps; `None` before the first row.
    since: Option<i64>,
    /// Since that time records may be missing (a cut file or a missing part).
    gap: bool,
    new_file: bool,
    ends: [u64; 9],
    resubmitted: u64,
    at_start: (u64, u64, u64),
    different: u64,
    before_cut: u64,
    lost_end: u64,
    no_request: u64,
}

impl Tasks {
    fn new() -> Tasks {
        Tasks {
            live: FxHashMap::default(),
            seen: FxHashSet::default(),
            users: vec![String::new()],
            user_ids: FxHashMap::default(),
            specs: FxHashMap::default(),
            pod: Pod::default(),
            last_time: 0,
            last_part: None,
            since: None,
            gap: false,
            new_file: false,
            ends: [0; 9],
            resubmitted: 0,
            at_start: (0, 0, 0),
            different: 0,
            before_cut: 0,
            lost_end: 0,
            no_request: 0,
        }
    }

    fn next_file(&mut self, part: Option<u64>) {
        let follows = match (self.last_part, part) {
            (Some(last), Some(part)) => part == last + 1,
            (None, _) => self.since.is_none(),
            _ => true,
        };
        if !follows {
            self.gap = true;
            self.since = None;
        }
        self.last_part = part;
        self.new_file = true;
    }

    fn request(&mut self, sink: &mut Sink, row: &Table) -> Result<u32, TraceError> {
        let (cpu, memory) = if row.is_null(CPU_REQUEST) && row.is_null(MEMORY_REQUEST) {
            self.no_request += 1;
            (0, 0)
        } else {
            let cpu = share(row, CPU_REQUEST, sink.options.cpu_unit_millicores)?;
            (cpu, share(row, MEMORY_REQUEST, sink.options.memory_unit_bytes)?)
        };
        if let Some(&spec) = self.specs.get(&(cpu, memory)) {
            return Ok(spec);
        }
        let requests = Resources::from([(CPU.to_string(), cpu), (MEMORY.to_string(), memory)]);
        let spec = sink.spec(SpecRow { requests, ..SpecRow::default() });
        self.specs.insert((cpu, memory), spec);
        Ok(spec)
    }

    fn user(&mut self, name: &str) -> u32 {
        if let Some(&id) = self.user_ids.get(name) {
            return id;
        }
        let id = self.users.len() as u32;
        self.users.push(name.to_string());
        self.user_ids.insert(name.to_string(), id);
        id
    }

    fn enter(
        &mut self,
        sink: &mut Sink,
        row: &Table,
        key: (u64, u64),
        submit: i64,
    ) -> Result<(), TraceError> {
        let spec = self.request(sink, row)?;
        let user = self.user(row.text(USER));
        let priority = if row.is_null(PRIORITY) { 0 } else { row.unsigned(PRIORITY)? };
        if priority > 12 {
            return Err(row.error(Problem::OutOfRange, PRIORITY, "a priority of 0 to 12"));
        }
        if row.text(DIFFERENT) == "1" {
            self.different += 1;
        }
        let resubmitted = !self.seen.insert((key.0, key.1 as u32));
        self.resubmitted += u64::from(resubmitted);
        if submit == 0 {
            let requests = &sink.spec_row(spec).requests;
            self.at_start.0 += 1;
            self.at_start.1 += requests.get(CPU).copied().unwrap_or(0);
            self.at_start.2 += requests.get(MEMORY).copied().unwrap_or(0);
        }
        let live = Live {
            submit,
            start: NOT_STARTED,
            machine: 0,
            spec,
            user,
            priority: priority as i32,
            resubmitted,
        };
        self.live.insert(key, live);
        Ok(())
    }

    fn leave(
        &mut self,
        sink: &mut Sink,
        key: (u64, u64),
        live: &Live,
        end: Option<i64>,
    ) -> Result<(), TraceError> {
        use std::fmt::Write;
        let pod = &mut self.pod;
        pod.uid.clear();
        let _ = write!(pod.uid, "{}-{}", key.0, key.1);
        if live.resubmitted {
            let _ = write!(pod.uid, "-r{}", live.submit / MICROSECOND as i64);
        }
        pod.app.clear();
        let _ = write!(pod.app, "job-{}", key.0);
        pod.submit = live.submit;
        pod.spec = live.spec;
        pod.priority = live.priority;
        pod.user.clear();
        pod.user.push_str(&self.users[live.user as usize]);
        let started = live.start != NOT_STARTED;
        pod.run_ns = match end {
            Some(end) if started => Some((end - live.start) as u64),
            _ => None,
        };
        let bound = started.then_some(live.start);
        pod.outcome = Some(Outcome {
            created: Some(live.submit),
            bound,
            running: bound,
            finished: end,
            node: if started && live.machine != 0 {
                format!("machine-{}", live.machine)
            } else {
                String::new()
            },
        });
        if let Some(end) = end
            && !started
        {
            sink.event(end, EventOp::PodDelete, &pod.uid, "")?;
        }
        sink.pod(pod)
    }

    fn row(&mut self, sink: &mut Sink, row: &Table) -> Result<bool, TraceError> {
        let raw_time = row.unsigned(TIME).map_err(|e| match e.problem() {
            Some(Problem::OutOfRange) if row.text(TIME).starts_with('-') => {
                row.error(Problem::NegativeTime, TIME, "a time of at least 0")
            }
            _ => e,
        })?;
        let kind = match row.text(TYPE).as_bytes() {
            &[c @ b'0'..=b'8'] => usize::from(c - b'0'),
            _ => return Err(row.error(Problem::UnknownCode, TYPE, "an event type of 0 to 8")),
        };
        if !row.is_null(MISSING) && !matches!(row.text(MISSING), "0" | "1" | "2") {
            return Err(row.error(Problem::UnknownCode, MISSING, "nothing, 0, 1 or 2"));
        }
        let index = row.unsigned(INDEX)?;
        if index > u64::from(u32::MAX) {
            return Err(row.error(Problem::OutOfRange, INDEX, "a task index below 2^32"));
        }
        let key = (row.unsigned(JOB)?, index);
        if raw_time == AFTER_END {
            let place = row.place();
            sink.report.drop_row("task_events", "after-the-end", || place);
            return Ok(false);
        }
        let time = raw_time
            .checked_mul(MICROSECOND)
            .and_then(|t| i64::try_from(t).ok())
            .ok_or_else(|| row.error(Problem::OutOfRange, TIME, "a time below 292 years"))?;
        if time < self.last_time {
            return Err(row.error(
                Problem::TimeGoesBack,
                TIME,
                "times in ascending order; are the parts in order?",
            ));
        }
        if self.new_file {
            self.new_file = false;
            if self.since.is_none() {
                self.since = Some(time);
                // An input that begins with anything but a submission was cut.
                self.gap |= time > 0 || kind != 0;
            }
        }
        self.last_time = time;
        let since = self.since.unwrap_or(time);
        match kind {
            0 => {
                if let Some(old) = self.live.remove(&key) {
                    if !self.gap {
                        self.live.insert(key, old);
                        return Err(row.error(
                            Problem::DuplicateId,
                            INDEX,
                            "a task that is not already submitted",
                        ));
                    }
                    self.lost_end += 1;
                    let end = since.max(old.submit).max(old.start);
                    self.leave(sink, key, &old, Some(end))?;
                }
                self.enter(sink, row, key, time)?;
            }
            1 => {
                if !self.live.contains_key(&key) {
                    self.orphan(sink, row, key, since)?;
                }
                let machine = if row.is_null(MACHINE) { 0 } else { row.unsigned(MACHINE)? };
                if let Some(live) = self.live.get_mut(&key) {
                    if live.start != NOT_STARTED && !self.gap {
                        return Err(row.error(
                            Problem::DuplicateId,
                            INDEX,
                            "a task that does not already run",
                        ));
                    }
                    live.start = time;
                    live.machine = machine;
                }
            }
            2..=6 => {
                if !self.live.contains_key(&key) {
                    self.orphan(sink, row, key, since)?;
                    if let Some(live) = self.live.get_mut(&key) {
                        live.start = since;
                        live.machine = if row.is_null(MACHINE) { 0 } else { row.unsigned(MACHINE)? };
                    }
                }
                self.ends[kind] += 1;
                if let Some(live) = self.live.remove(&key) {
                    self.leave(sink, key, &live, Some(time))?;
                }
            }
            _ => {
                if !self.live.contains_key(&key) {
                    self.orphan(sink, row, key, since)?;
                }
                let spec = self.request(sink, row)?;
                if let Some(live) = self.live.get_mut(&key) {
                    if live.start == NOT_STARTED {
                        live.spec = spec;
                    }
                    self.ends[kind] += 1;
                }
            }
        }
        Ok(true)
    }

    fn orphan(
        &mut self,
        sink: &mut Sink,
        row: &Table,
        key: (u64, u64),
        since: i64,
    ) -> Result<(), TraceError> {
        if !self.gap {
            return Err(row.error(
                Problem::DeleteBeforeCreate,
                TYPE,
                "a submit event of this task before (the input has no gap since time 0)",
            ));
        }
        self.before_cut += 1;
        self.enter(sink, row, key, since)
    }

    fn finish(mut self, sink: &mut Sink, machines_at_start: (u64, u64)) -> Result<(), TraceError> {
        let mut rest: Vec<((u64, u64), Live)> = self.live.drain().collect();
        rest.sort_unstable_by_key(|(key, live)| (live.submit, *key));
        let running = rest.iter().filter(|(_, l)| l.start != NOT_STARTED).count() as u64;
        let pending = rest.len() as u64 - running;
        for (key, live) in &rest {
            self.leave(sink, *key, live, None)?;
        }
        if self.seen.is_empty() {
            return Ok(());
        }
        let r = &mut sink.report;
        r.invent_n("pods.run_ns", "none: still running at the end of the recording", running);
        r.invent_n("pods.run_ns", "none: still pending at the end of the recording", pending);
        r.invent_n("specs.requests", "0: the record has no request", self.no_request);
        r.invent_n(
            "pods.submit_ns",
            "the input's first time: the task was submitted before it",
            self.before_cut,
        );
        r.invent_n("pods.run_ns", "until the gap in the input: its end was not recorded", self.lost_end);
        r.note(format!(
            "{} tasks, {} of them submitted again after an eviction, failure or kill ({} more pods); ends: {} evicted, {} failed, {} finished, {} killed, {} lost",
            thousands(self.seen.len() as u64),
            if self.resubmitted == 0 { "none" } else { "some" },
            thousands(self.resubmitted),
            thousands(self.ends[2]),
            thousands(self.ends[3]),
            thousands(self.ends[4]),
            thousands(self.ends[5]),
            thousands(self.ends[6]),
        ));
        if self.ends[8] > 0 {
            r.note(format!(
                "{} updates of running tasks were ignored: a running pod's requests are fixed",
                self.ends[8]
            ));
        }
        if self.different > 0 {
            r.note(format!(
                "{} submissions ask for different machines per task: not imported as anti-affinity",
                thousands(self.different)
            ));
        }
        let percent = |part: u64, whole: u64| part.saturating_mul(100).checked_div(whole).unwrap_or(0);
        if self.at_start.0 > 0 && machines_at_start.0 > 0 {
            r.note(format!(
                "{} tasks are there at time 0 and ask for {} % of the CPU and {} % of the memory of the machines then: Borg overcommits, so scale capacity or expect a backlog",
                thousands(self.at_start.0),
                percent(self.at_start.1, machines_at_start.0),
                percent(self.at_start.2, machines_at_start.1)
            ));
        }
        r.note(format!(
            "CPU and memory are shares of the largest machine: 1.0 = {} millicores and {} bytes",
            sink.options.cpu_unit_millicores, sink.options.memory_unit_bytes
        ));
        Ok(())
    }
}
