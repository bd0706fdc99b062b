//! Google ClusterData 2019 (Borg, version 3): JSON lines as BigQuery exports them.
//!
//! **Tables** (one JSON object a line). `instance_events`: time, type, collection_id, collection_type, instance_index,
//! priority, machine_id, alloc_collection_id, resource_request {cpus, memory}, missing_type. `collection_events`: user,
//! collection_name. `machine_events`: time, machine_id, type (1 add, 2 remove, 3 update), capacity {cpus, memory},
//! platform_id. Numbers may be in quotes, types may be numbers or names. `instance_usage` is not read.
//!
//! **Units.** Microseconds; 0 is before the trace (which starts at 600 s), 2^63-1 after it. Resources are shares of the
//! largest machine: 1.0 becomes `cpu_unit_millicores` and `memory_unit_bytes`. A request may be above 1, a capacity not.
//!
//! **Mapping.** As in 2011: each submission of an instance is a pod; 0 submit, 1 queue, 2 enable (not used), 3 schedule,
//! 4 evict, 5 fail, 6 finish, 7 kill, 8 lost, 9 and 10 updates. Instances of alloc sets are reservations: left out, and
//! the tasks inside them imported as if they stood alone. Exports are not sorted: events of instances and of machines
//! are sorted by time first (on disk if they must). An instance that is first seen later than its submission enters at its first time.
//!
//! **What it cannot tell.** Constraints, vertical autoscaling, batch queueing (queue/enable) and per-switch spreading are
//! lost; tasks at time 0 have no real submit time.
//!
//! Source: clusterdata_trace_format_v3.proto, "Google cluster-usage traces v3". No real file was at hand; tests use lines
//! of the documented form.

use rustc_hash::FxHashMap;
use serde_json::Value;

use super::google_machines::{self, MachineEvent, Machines, SHARE};
use super::kubernetes::Place;
use super::{Importer, InputFile, MICROSECOND, Outcome, Pod, Sink, TraceError};
use crate::trace::documents::each_document;
use crate::trace::error::Problem;
use crate::trace::model::{CPU, EventOp, MEMORY, NodeOp, Resources, SpecRow};
use crate::trace::number;
use crate::trace::sort::{Sorter, Spill, get_i64, get_str, get_u64, put_i64, put_str, put_u64};

/// The importer.
pub struct Google2019;

const INSTANCES: &str = "instance_events";
const COLLECTIONS: &str = "collection_events";
const MACHINES: &str = google_machines::TABLE;

impl Importer for Google2019 {
    fn name(&self) -> &'static str {
        "google-2019"
    }

    fn summary(&self) -> &'static str {
        "Google ClusterData 2019: instance_events, collection_events, machine_events as JSON lines"
    }

    fn tested_on(&self) -> &'static str {
        "no real file; hand-written lines of the documented form"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        let scratch = sink.scratch();
        let mut state = State {
            events: Sorter::new(&scratch, "instance-events", sink.options.sort_memory_bytes),
            users: vec![String::new()],
            user_ids: FxHashMap::default(),
            user_of: FxHashMap::default(),
            machines: Sorter::new(&scratch, "machine-events", sink.options.sort_memory_bytes),
            machine_files: Vec::new(),
        };
        let mut seen = [false; 3];
        for file in files {
            state.file(sink, file, &mut seen)?;
        }
        if !seen[0] {
            sink.report.absent(INSTANCES, "the trace has no pods");
        }
        if !seen[1] {
            sink.report.absent(COLLECTIONS, "users are unknown");
        }
        if !seen[2] {
            sink.report.absent(MACHINES, "the trace has no nodes; give the scenario a cluster");
        }
        state.finish(sink)
    }
}

#[derive(Debug, Clone)]
struct Event {
    kind: u8,
    collection: u64,
    index: u64,
    machine: u64,
    priority: i64,
    cpu: u64,
    memory: u64,
    has_request: bool,
    line: u64,
}

impl Spill for Event {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kind);
        out.push(u8::from(self.has_request));
        for n in [self.collection, self.index, self.machine, self.cpu, self.memory, self.line] {
            put_u64(out, n);
        }
        put_i64(out, self.priority);
    }

    fn decode(input: &mut &[u8]) -> Event {
        let kind = get_u64(input) as u8;
        let has_request = get_u64(input) == 1;
        Event {
            kind,
            has_request,
            collection: get_u64(input),
            index: get_u64(input),
            machine: get_u64(input),
            cpu: get_u64(input),
            memory: get_u64(input),
            line: get_u64(input),
            priority: get_i64(input),
        }
    }
}

/// A machine event and where it stands.
struct MachineRow {
    event: MachineEvent,
    /// Index of the file.
    file: u64,
    line: u64,
}

impl Spill for MachineRow {
    fn encode(&self, out: &mut Vec<u8>) {
        put_str(out, self.event.op.as_str());
        put_str(out, &self.event.platform);
        let (cpu, memory) = self.event.capacity.unwrap_or_default();
        out.push(u8::from(self.event.capacity.is_some()));
        for n in [cpu, memory, self.event.machine, self.file, self.line] {
            put_u64(out, n);
        }
    }

    fn decode(input: &mut &[u8]) -> MachineRow {
        let op = NodeOp::parse(&get_str(input)).unwrap_or_default();
        let platform = get_str(input);
        let is_known = get_u64(input) == 1;
        let capacity = Some((get_u64(input), get_u64(input))).filter(|_| is_known);
        let event = MachineEvent { op, machine: get_u64(input), capacity, platform };
        MachineRow { event, file: get_u64(input), line: get_u64(input) }
    }
}

const EVENT_NAMES: [&str; 11] = [
    "SUBMIT",
    "QUEUE",
    "ENABLE",
    "SCHEDULE",
    "EVICT",
    "FAIL",
    "FINISH",
    "KILL",
    "LOST",
    "UPDATE_PENDING",
    "UPDATE_RUNNING",
];

struct State {
    events: Sorter<Event>,
    users: Vec<String>,
    user_ids: FxHashMap<String, u32>,
    user_of: FxHashMap<u64, u32>,
    machines: Sorter<MachineRow>,
    machine_files: Vec<String>,
}

fn plain(value: Option<&Value>) -> Option<String> {
    match value {
        None | Some(Value::Null) => None,
        Some(Value::String(s)) if s.is_empty() => None,
        Some(Value::String(s)) => Some(s.clone()),
        // Some exports wrap a number with its type: {"integer": "5"}.
        Some(Value::Object(o)) if o.len() == 1 => plain(o.values().next()),
        Some(v) => Some(v.to_string()),
    }
}

fn unsigned(v: &Value, field: &str, place: &Place) -> Result<Option<u64>, TraceError> {
    let Some(text) = plain(v.get(field)) else { return Ok(None) };
    match number::unsigned(&text) {
        Ok(n) => Ok(Some(n)),
        // -1 is a dedicated machine or no alloc index.
        Err(number::NumberError::Negative) if field != "time" => Ok(None),
        Err(number::NumberError::Negative) => {
            Err(place.error(Problem::NegativeTime, field, &text, "microseconds of at least 0"))
        }
        Err(_) => Err(place.error(Problem::NotANumber, field, &text, "a whole number")),
    }
}

fn need(v: &Value, field: &str, place: &Place) -> Result<u64, TraceError> {
    unsigned(v, field, place)?
        .ok_or_else(|| place.error(Problem::MissingColumn, field, "", "this field in each line"))
}

/// Normalised cpus and memory of `field`, scaled. A capacity is whole or none.
fn shares(sink: &Sink, v: &Value, field: &str, place: &Place) -> Result<Option<(u64, u64)>, TraceError> {
    let Some(r) = v.get(field).filter(|r| r.is_object()) else { return Ok(None) };
    if field == "capacity" && ["cpus", "memory"].iter().any(|name| plain(r.get(name)).is_none()) {
        return Ok(None);
    }
    let one = |name: &str, unit: u64| -> Result<u64, TraceError> {
        let Some(text) = plain(r.get(name)) else { return Ok(0) };
        let n = number::scaled(&text, unit)
            .map_err(|_| place.error(Problem::NotANumber, name, &text, "a share of the largest machine"))?;
        if n > unit && field == "capacity" {
            return Err(place.error(Problem::OutOfRange, name, &text, SHARE));
        }
        Ok(n)
    };
    Ok(Some((one("cpus", sink.options.cpu_unit_millicores)?, one("memory", sink.options.memory_unit_bytes)?)))
}

impl State {
    fn file(&mut self, sink: &mut Sink, file: &InputFile, seen: &mut [bool; 3]) -> Result<(), TraceError> {
        let hint = file.hint();
        if hint.contains("instance_usage") || hint.contains("machine_attributes") {
            sink.report.ignored_files.push(format!("{} (not needed)", file.file_name()));
            return Ok(());
        }
        let mut table = "";
        let mut ignored = false;
        each_document(file, sink.options.max_line_bytes, &mut |value, place| {
            if ignored {
                return Ok(());
            }
            let value = value.and_then(|value| {
                let error =
                    || place.error(Problem::BadSyntax, "", &value.to_string(), "a JSON object a line");
                if value.is_object() { Ok(value) } else { Err(error()) }
            });
            let value = match value {
                Ok(value) => value,
                Err(e) if table.is_empty() && !file.explicit => {
                    sink.report.ignored_files.push(format!("{} ({e})", file.file_name()));
                    ignored = true;
                    return Ok(());
                }
                Err(e) => {
                    let table = if table.is_empty() { INSTANCES } else { table };
                    return sink.bad_file(table, e);
                }
            };
            if table.is_empty() {
                table = match () {
                    () if value.get("instance_index").is_some() => INSTANCES,
                    () if value.get("capacity").is_some() || value.get("switch_id").is_some() => MACHINES,
                    () if value.get("collection_id").is_some() => COLLECTIONS,
                    () if value.get("machine_id").is_some() => MACHINES,
                    () => {
                        let expected = "instance_events, collection_events or machine_events";
                        let e = place.error(Problem::UnknownColumns, "", &value.to_string(), expected);
                        if file.explicit {
                            return sink.bad_file(INSTANCES, e);
                        }
                        sink.report.ignored_files.push(format!("{} ({e})", file.file_name()));
                        ignored = true;
                        return Ok(());
                    }
                };
                seen[[INSTANCES, COLLECTIONS, MACHINES].iter().position(|t| *t == table).unwrap_or(0)] = true;
                sink.begin_file(file, table);
            }
            sink.report.table(table).read += 1;
            let kept = match table {
                INSTANCES => self.instance(sink, &value, place),
                MACHINES => self.machine(sink, &value, place),
                _ => self.collection(&value, place),
            };
            match kept {
                Ok(true) => sink.report.table(table).kept += 1,
                Ok(false) => {}
                Err(e) => sink.bad(table, e)?,
            }
            Ok(())
        })
    }

    fn collection(&mut self, v: &Value, place: &Place) -> Result<bool, TraceError> {
        let id = need(v, "collection_id", place)?;
        if let Some(user) = plain(v.get("user"))
            && !self.user_of.contains_key(&id)
        {
            let next = self.users.len() as u32;
            let at = *self.user_ids.entry(user.clone()).or_insert(next);
            if at == next {
                self.users.push(user);
            }
            self.user_of.insert(id, at);
        }
        Ok(true)
    }

    fn machine(&mut self, sink: &mut Sink, v: &Value, place: &Place) -> Result<bool, TraceError> {
        let time = need(v, "time", place)?;
        let id = need(v, "machine_id", place)?;
        let op = match plain(v.get("type")).as_deref() {
            Some("1" | "ADD") => NodeOp::Add,
            Some("2" | "REMOVE") => NodeOp::Remove,
            Some("3" | "UPDATE") => NodeOp::Update,
            other => {
                return Err(place.error(
                    Problem::UnknownCode,
                    "type",
                    other.unwrap_or(""),
                    "1, 2 or 3 (add, remove, update)",
                ));
            }
        };
        let Some(time) = time.checked_mul(MICROSECOND).and_then(|t| i64::try_from(t).ok()) else {
            sink.report.drop_row(MACHINES, "after-the-end", || format!("{}:{}", place.file, place.at));
            return Ok(false);
        };
        let capacity = if op == NodeOp::Remove { None } else { shares(sink, v, "capacity", place)? };
        let platform = plain(v.get("platform_id")).unwrap_or_default();
        if self.machine_files.last() != Some(&place.file) {
            self.machine_files.push(place.file.clone());
        }
        let event = MachineEvent { op, machine: id, capacity, platform };
        let file = self.machine_files.len() as u64 - 1;
        self.machines.push(time, &MachineRow { event, file, line: place.at })?;
        Ok(true)
    }

    fn instance(&mut self, sink: &mut Sink, v: &Value, place: &Place) -> Result<bool, TraceError> {
        let time = need(v, "time", place)?;
        let kind = plain(v.get("type")).unwrap_or_default();
        let kind = match kind.parse::<usize>() {
            Ok(n) if n <= 10 => n,
            _ => EVENT_NAMES.iter().position(|n| *n == kind).ok_or_else(|| {
                place.error(Problem::UnknownCode, "type", &kind, "an event type of 0 to 10, or its name")
            })?,
        };
        let collection = need(v, "collection_id", place)?;
        let index = need(v, "instance_index", place)?;
        if matches!(plain(v.get("collection_type")).as_deref(), Some("1" | "ALLOC_SET")) {
            sink.report.drop_row(INSTANCES, "alloc-set-instance", || format!("{}:{}", place.file, place.at));
            return Ok(false);
        }
        let Some(time) = time.checked_mul(MICROSECOND).and_then(|t| i64::try_from(t).ok()) else {
            sink.report.drop_row(INSTANCES, "after-the-end", || format!("{}:{}", place.file, place.at));
            return Ok(false);
        };
        let request = shares(sink, v, "resource_request", place)?;
        let event = Event {
            kind: kind as u8,
            collection,
            index,
            machine: unsigned(v, "machine_id", place)?.unwrap_or(0),
            priority: unsigned(v, "priority", place)?.unwrap_or(0) as i64,
            cpu: request.map_or(0, |r| r.0),
            memory: request.map_or(0, |r| r.1),
            has_request: request.is_some(),
            line: place.at,
        };
        self.events.push(time, &event)?;
        Ok(true)
    }

    /// Machine events, now that they are in order of time.
    fn machines(sink: &mut Sink, rows: Sorter<MachineRow>, files: &[String]) -> Result<(), TraceError> {
        let mut machines = Machines::default();
        let mut rows = rows.finish()?;
        while let Some((time, row)) = rows.next_row()? {
            let place = || format!("{}:{}", files[row.file as usize], row.line);
            if !machines.take(sink, time, &row.event, place)? {
                sink.report.table(MACHINES).kept -= 1;
            }
        }
        Ok(())
    }

    fn finish(self, sink: &mut Sink) -> Result<(), TraceError> {
        State::machines(sink, self.machines, &self.machine_files)?;
        struct Live {
            submit: i64,
            start: Option<i64>,
            event: Event,
            again: bool,
        }
        let (users, user_of) = (self.users, self.user_of);
        let mut live: FxHashMap<(u64, u64), Live> = FxHashMap::default();
        let mut seen: rustc_hash::FxHashSet<(u64, u64)> = rustc_hash::FxHashSet::default();
        let (mut censored, mut reopened, mut resubmitted) = (0u64, 0u64, 0u64);
        let leave =
            |sink: &mut Sink, key: (u64, u64), l: &Live, end: Option<i64>| -> Result<(), TraceError> {
                let requests =
                    Resources::from([(CPU.to_string(), l.event.cpu), (MEMORY.to_string(), l.event.memory)]);
                if !l.event.has_request {
                    sink.report.invent("specs.requests", "0: the record has no request");
                }
                let mut pod = Pod {
                    submit: l.submit,
                    uid: format!("{}-{}", key.0, key.1),
                    spec: sink.spec(SpecRow { requests, ..SpecRow::default() }),
                    app: format!("collection-{}", key.0),
                    user: user_of.get(&key.0).map(|u| users[*u as usize].clone()).unwrap_or_default(),
                    priority: l.event.priority.clamp(0, 1000) as i32,
                    ..Pod::default()
                };
                if l.again {
                    pod.uid.push_str(&format!("-r{}", l.submit / MICROSECOND as i64));
                }
                pod.run_ns = match (l.start, end) {
                    (Some(s), Some(e)) => Some((e - s) as u64),
                    _ => None,
                };
                match (l.start, end) {
                    (None, Some(e)) => sink.event(e, EventOp::PodDelete, &pod.uid, "")?,
                    (Some(_), None) => {
                        sink.report.invent("pods.run_ns", "none: still running at the end of the recording")
                    }
                    (None, None) => {
                        sink.report.invent("pods.run_ns", "none: still pending at the end of the recording")
                    }
                    _ => {}
                }
                let node = if l.start.is_some() && l.event.machine != 0 {
                    format!("machine-{}", l.event.machine)
                } else {
                    String::new()
                };
                pod.outcome = Some(Outcome {
                    created: Some(l.submit),
                    bound: l.start,
                    running: l.start,
                    finished: end,
                    node,
                });
                sink.pod(&pod)
            };
        let mut events = self.events.finish()?;
        while let Some((t, e)) = events.next_row()? {
            let key = (e.collection, e.index);
            let kind = e.kind;
            if kind == 0
                && let Some(old) = live.remove(&key)
            {
                reopened += 1;
                leave(sink, key, &old, Some(t))?;
            }
            {
                let l = live.entry(key).or_insert_with(|| {
                    censored += u64::from(kind != 0);
                    let again = !seen.insert(key);
                    resubmitted += u64::from(again);
                    let start = (4..=8).contains(&kind).then_some(t);
                    Live { submit: t, start, event: e.clone(), again }
                });
                if e.has_request && l.start.is_none() {
                    (l.event.cpu, l.event.memory, l.event.has_request) = (e.cpu, e.memory, true);
                }
                if kind == 3 {
                    l.start = Some(t);
                    l.event.machine = e.machine;
                }
                if (4..=8).contains(&kind)
                    && let Some(l) = live.remove(&key)
                {
                    leave(sink, key, &l, Some(t))?;
                }
            }
        }
        drop(events);
        let mut rest: Vec<_> = live.into_iter().collect();
        rest.sort_unstable_by_key(|(key, l)| (l.submit, *key));
        for (key, l) in &rest {
            leave(sink, *key, l, None)?;
        }
        sink.report.invent_n(
            "pods.submit_ns",
            "the instance's first event (its submission is not in the input)",
            censored,
        );
        sink.report.invent_n(
            "pods.run_ns",
            "until it was submitted again: its end is not in the input",
            reopened,
        );
        if !seen.is_empty() {
            sink.report.note(format!("{} instances, {resubmitted} more pods from resubmissions", seen.len()));
            sink.report.note(format!(
                "CPU and memory are shares of the largest machine: 1.0 = {} millicores and {} bytes",
                sink.options.cpu_unit_millicores, sink.options.memory_unit_bytes
            ));
        }
        Ok(())
    }
}
