//! YuniKorn: event records of the REST API, and dumps of its applications and nodes.
//!
//! **Input.** `/ws/v1/events/batch` answers (EventRecords), `/ws/v1/events/stream` (one record after the other), the
//! arrays that `/partition/../applications` and `/partition/../nodes` return (older versions: with `nodesInfo`), full state
//! dumps; several of them together.
//!
//! **Event records.** type (1 request, 2 application, 3 node, 4 queue), objectID, referenceID, timestampNano,
//! eventChangeType (1 set, 2 add, 3 remove), eventChangeDetail, resource. Used: an ask added to an application (201 add): a
//! pod; an ask removed (201 remove): deleted while pending, unless it was allocated; an allocation added (200 add): bound;
//! an allocation removed (200 or 500-504, remove): finished, deleted, preempted; a node's allocation (303 add): where; a
//! node added (0) or removed (0 or 300), its capacity (304 set); an application added to a queue (405 add): the queue.
//! Other records, as a node's reservation (306), are not used. Records may come in any order and overlap: they are sorted
//! by time, those of one time as they come, and one that says what another of that time says is dropped. A dump may
//! stand beside them: it adds what no record says.
//!
//! **Units.** vcore is thousandths of a core, memory and ephemeral-storage bytes; times Unix ns.
//!
//! **Applications** hold requests (pending) and allocations with requestTime and allocationTime: the moment's state, like
//! `kubectl get`. Placeholders are left out: the real pods they stand for are in the same list. In events a placeholder is
//! known by its end: replaced (503) or timed out (502); one that is still there at the end looks like a pod.
//!
//! **What it cannot tell.** The ring buffer keeps 100,000 events: a late start or an overflow loses the oldest. Allocations
//! of asks that were lost enter at their allocation. Labels, affinity and tolerations are not in events, container starts
//! neither: a pod counts as running when it is allocated.
//!
//! Memory: O(asks); records are sorted on disk if they must. Source: YuniKorn docs (api/scheduler, event_system), EventRecord of the scheduler interface. No real
//! recording was at hand; tests use the documentation's bodies.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::k8s_list::read_objects;
use super::kubernetes::{self as k8s, Place};
use super::{AT_ORIGIN, Importer, InputFile, Node, Origin, Outcome, Pod, Sink, TraceError};
use crate::trace::error::Problem;
use crate::trace::model::{CPU, EPHEMERAL_STORAGE, EventOp, MEMORY, NodeOp, Resources, SpecRow};
use crate::trace::sort::{Sorter, Spill, get_str, get_u64, put_str, put_u64};

/// The importer.
pub struct YuniKornEvents;

impl Importer for YuniKornEvents {
    fn name(&self) -> &'static str {
        "yunikorn-events"
    }

    fn summary(&self) -> &'static str {
        "YuniKorn event records (batch, stream) and application and node dumps"
    }

    fn tested_on(&self) -> &'static str {
        "no real recording; the documentation's sample bodies"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        sink.origin = Origin::Unix;
        let scratch = sink.scratch();
        let mut state = State {
            records: Sorter::new(&scratch, "event-records", sink.options.sort_memory_bytes),
            files: Vec::new(),
            asks: BTreeMap::new(),
            apps: BTreeMap::new(),
            nodes: BTreeSet::new(),
            dumped: BTreeMap::new(),
            late: 0,
        };
        for file in files {
            state.files.push(file.display());
            read_objects(file, sink, &mut |sink, value, place| state.object(sink, &value, place))?;
        }
        state.finish(sink)
    }
}

/// An event record as it waits for its turn.
struct Record {
    kind: u64,
    change: u64,
    detail: u64,
    object: String,
    reference: String,
    resources: Resources,
    file: u64,
    line: u64,
}

impl Record {
    /// What it says, without where it says so: equal texts are the same record, kept twice.
    fn says(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for n in [self.kind, self.change, self.detail] {
            put_u64(&mut out, n);
        }
        put_str(&mut out, &self.object);
        put_str(&mut out, &self.reference);
        put_u64(&mut out, self.resources.len() as u64);
        for (name, amount) in &self.resources {
            put_str(&mut out, name);
            put_u64(&mut out, *amount);
        }
        out
    }
}

impl Spill for Record {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.says());
        put_u64(out, self.file);
        put_u64(out, self.line);
    }

    fn decode(input: &mut &[u8]) -> Record {
        let [kind, change, detail] = [get_u64(input), get_u64(input), get_u64(input)];
        let (object, reference) = (get_str(input), get_str(input));
        let resources = (0..get_u64(input)).map(|_| (get_str(input), get_u64(input))).collect();
        let (file, line) = (get_u64(input), get_u64(input));
        Record { kind, change, detail, object, reference, resources, file, line }
    }
}

#[derive(Default)]
struct Ask {
    /// A record says when it was made, not only a dump.
    recorded: bool,
    app: String,
    created: Option<i64>,
    bound: Option<i64>,
    finished: Option<i64>,
    node: String,
    priority: i32,
    requests: Resources,
    namespace: String,
    task_group: String,
    removed: bool,
    placeholder: bool,
    labels: BTreeMap<String, String>,
}

#[derive(Default)]
struct App {
    queue: String,
    user: String,
}

struct State {
    records: Sorter<Record>,
    files: Vec<String>,
    asks: BTreeMap<String, Ask>,
    apps: BTreeMap<String, App>,
    /// Nodes that records added and that are there.
    nodes: BTreeSet<String>,
    /// Nodes of dumps that no record has added.
    dumped: BTreeMap<String, Node>,
    late: u64,
}

/// `{"resources": {"vcore": {"value": 1000}}}` or `{"vcore": 1000}`.
fn resources(value: Option<&Value>, place: &Place) -> Result<Resources, TraceError> {
    let mut out = Resources::new();
    let Some(map) = value.map(|v| v.get("resources").unwrap_or(v)).and_then(Value::as_object) else {
        return Ok(out);
    };
    for (name, amount) in map {
        let amount = match amount {
            Value::Object(o) => o.get("value").cloned().unwrap_or(Value::from(0)),
            other => other.clone(),
        };
        let n = match &amount {
            Value::Number(n) => n.as_u64(),
            Value::String(s) => s.parse().ok(),
            _ => None,
        };
        let Some(n) = n else {
            return Err(place.error(
                Problem::NotANumber,
                name,
                &amount.to_string(),
                "a whole number of at least 0",
            ));
        };
        let key = match name.as_str() {
            "vcore" => CPU,
            "memory" => MEMORY,
            "ephemeral-storage" => EPHEMERAL_STORAGE,
            other => other,
        };
        if n > 0 {
            out.insert(key.to_string(), n);
        }
    }
    Ok(out)
}

fn nanos(value: &Value, field: &str, place: &Place) -> Result<Option<i64>, TraceError> {
    match value.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(v) => match v.as_i64() {
            Some(0) => Ok(None),
            Some(n) if n < 0 => {
                Err(place.error(Problem::NegativeTime, field, &n.to_string(), "Unix nanoseconds"))
            }
            Some(n) => Ok(Some(n)),
            // The documentation's own sample has a 20-digit time.
            None if v.is_u64() => {
                Err(place.error(Problem::OutOfRange, field, &v.to_string(), "Unix nanoseconds"))
            }
            None => Err(place.error(Problem::NotANumber, field, &v.to_string(), "Unix nanoseconds")),
        },
    }
}

/// eventChangeType.
const SET: u64 = 1;
const ADD: u64 = 2;
const REMOVE: u64 = 3;

/// Allocation ids were ask ids with a counter behind (`uuid-0`) in older versions.
fn ask_id<'a>(asks: &BTreeMap<String, Ask>, id: &'a str) -> &'a str {
    if asks.contains_key(id) {
        return id;
    }
    match id.rsplit_once('-') {
        Some((front, back)) if back.bytes().all(|b| b.is_ascii_digit()) && asks.contains_key(front) => front,
        _ => id,
    }
}

impl State {
    fn object(&mut self, sink: &mut Sink, value: &Value, place: &Place) -> Result<bool, TraceError> {
        if value.get("timestampNano").is_some() {
            return self.record(sink, value, place);
        }
        let Some(used) = self.dump(sink, value, place)? else {
            let what = || format!("{}:{}", place.file, place.at);
            sink.report.drop_row("objects", "not-a-yunikorn-record", what);
            return Ok(false);
        };
        if !used {
            sink.report.drop_row("objects", "nothing-in-it", || format!("{}:{}", place.file, place.at));
        }
        Ok(used)
    }

    /// A part of a dump: whether there was anything in it; none if it is no such thing.
    fn dump(&mut self, sink: &mut Sink, value: &Value, place: &Place) -> Result<Option<bool>, TraceError> {
        if value.get("applicationID").is_some() {
            return self.application(sink, value, place).map(|()| Some(true));
        }
        // A full state dump, or the nodes of a partition, or of several.
        const PARTS: [&str; 4] = ["nodesInfo", "applications", "nodes", "partitions"];
        let parts = || PARTS.iter().filter_map(|part| value.get(part)).filter_map(Value::as_array);
        if parts().next().is_some() {
            let mut used = false;
            for item in parts().flatten() {
                used |= self.dump(sink, item, place)?.unwrap_or(false);
            }
            return Ok(Some(used));
        }
        if let Some(id) = value.get("nodeID").and_then(Value::as_str) {
            let capacity = resources(value.get("capacity"), place)?;
            let occupied = resources(value.get("occupied"), place)?;
            let mut allocatable = capacity;
            for (k, v) in occupied {
                if let Some(n) = allocatable.get_mut(&k) {
                    *n = n.saturating_sub(v);
                }
            }
            let labels = value
                .get("attributes")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .filter(|(k, _)| !k.starts_with("si") && *k != "ready")
                .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_string())))
                .collect();
            let mut node =
                Node { op: NodeOp::Add, name: id.to_string(), allocatable, labels, ..Node::default() };
            if value.get("schedulable").and_then(Value::as_bool) == Some(false) {
                node.taints =
                    r#"[{"key":"node.kubernetes.io/unschedulable","effect":"NoSchedule"}]"#.to_string();
            }
            self.dumped.entry(id.to_string()).or_insert(node);
            return Ok(Some(true));
        }
        Ok(value.get("InstanceUUID").is_some().then_some(true))
    }

    /// Keeps a record until all are there: they come in files whose names do not sort, and not quite in order of time.
    fn record(&mut self, sink: &mut Sink, v: &Value, place: &Place) -> Result<bool, TraceError> {
        let number = |f: &str| v.get(f).and_then(Value::as_u64).unwrap_or(0);
        let Some(t) = nanos(v, "timestampNano", place)? else {
            return Err(place.error(Problem::EmptyField, "timestampNano", "", "Unix nanoseconds"));
        };
        let (kind, change, detail) = (number("type"), number("eventChangeType"), number("eventChangeDetail"));
        let used = match (kind, change, detail) {
            (2, ADD, 200 | 201) | (2, REMOVE, 100 | 102 | 200 | 201 | 500..=504) => true,
            (3, ADD, 0 | 303) | (3, SET, 304) | (3, REMOVE, 0 | 300) => true,
            (4, ADD, 405) => true,
            // Among them 306: a reservation of a node, with what the ask wants.
            _ => false,
        };
        if !used {
            sink.report.drop_row("objects", "event-not-used", || format!("{}:{}", place.file, place.at));
            return Ok(false);
        }
        let record = Record {
            kind,
            change,
            detail,
            object: k8s::text(v, "/objectID").to_string(),
            reference: k8s::text(v, "/referenceID").to_string(),
            resources: resources(v.get("resource"), place)?,
            file: (self.files.len() - 1) as u64,
            line: place.at,
        };
        self.records.push(t, &record).map(|()| true)
    }

    /// Applies the records in order of time.
    fn apply_records(&mut self, sink: &mut Sink) -> Result<(), TraceError> {
        let scratch = sink.scratch();
        let records = std::mem::replace(&mut self.records, Sorter::new(&scratch, "event-records", 0));
        let mut records = records.finish()?;
        let (mut now, mut said) = (None, BTreeSet::new());
        while let Some((t, record)) = records.next_row()? {
            let place = Place { file: self.files[record.file as usize].clone(), at: record.line };
            if now != Some(t) {
                (now, said) = (Some(t), BTreeSet::new());
            }
            let applied = if said.insert(record.says()) {
                self.apply(sink, t, record, &place)
            } else {
                Ok(Some("repeated-record"))
            };
            match applied {
                Ok(None) => {}
                Ok(Some(reason)) => {
                    sink.drop_kept("objects", reason, || format!("{}:{}", place.file, place.at));
                }
                Err(e) => sink.bad_kept("objects", e)?,
            }
        }
        Ok(())
    }

    /// Applies a record, or says why it is left out.
    fn apply(
        &mut self,
        sink: &mut Sink,
        t: i64,
        r: Record,
        place: &Place,
    ) -> Result<Option<&'static str>, TraceError> {
        const UNKNOWN: Option<&str> = Some("ask-before-the-recording");
        let reference = r.reference.as_str();
        // `node-1:1234`: a port may follow the name.
        let name = || r.object.split(':').next().unwrap_or_default().to_string();
        match (r.kind, r.change, r.detail) {
            (2, ADD, 201) => {
                let known = self.asks.get(reference).is_some_and(|a| a.recorded);
                if known || reference.is_empty() {
                    return Err(place.error(Problem::DuplicateId, "referenceID", reference, "each ask once"));
                }
                let ask = self.asks.entry(reference.to_string()).or_default();
                (ask.recorded, ask.app, ask.created, ask.requests) = (true, r.object, Some(t), r.resources);
            }
            (2, REMOVE, 201 | 100 | 102) => match self.asks.get_mut(reference) {
                Some(ask) => {
                    // YuniKorn also removes asks once they are allocated.
                    if ask.bound.is_none() {
                        ask.removed = true;
                        ask.finished = Some(t);
                    }
                }
                None => return Ok(UNKNOWN),
            },
            (2, ADD, _) => {
                let id = ask_id(&self.asks, reference).to_string();
                let late = !self.asks.contains_key(&id);
                let ask = self.asks.entry(id).or_default();
                if late {
                    self.late += 1;
                    (ask.recorded, ask.app, ask.created) = (true, r.object, Some(t));
                    ask.requests = r.resources;
                }
                ask.bound = Some(t);
                ask.removed = false;
                ask.finished = None;
            }
            (2, ..) => {
                let id = ask_id(&self.asks, reference).to_string();
                match self.asks.get_mut(&id) {
                    Some(ask) => {
                        ask.finished = Some(t);
                        ask.placeholder |= matches!(r.detail, 502 | 503);
                    }
                    None => return Ok(UNKNOWN),
                }
            }
            (3, ADD, 303) => {
                let id = ask_id(&self.asks, reference).to_string();
                match self.asks.get_mut(&id) {
                    Some(ask) => ask.node = name(),
                    None => return Ok(UNKNOWN),
                }
            }
            (3, ADD, _) => {
                let name = name();
                self.dumped.remove(&name);
                let op = if self.nodes.insert(name.clone()) { NodeOp::Add } else { NodeOp::Update };
                sink.node(t, &Node { op, name, allocatable: r.resources, ..Node::default() })?;
            }
            (3, change, _) => {
                let name = name();
                // What only a dump knows was there from the start.
                if let Some(node) = self.dumped.remove(&name) {
                    self.nodes.insert(name.clone());
                    sink.node(AT_ORIGIN, &node)?;
                }
                if change == REMOVE {
                    if self.nodes.remove(&name) {
                        sink.node(t, &Node { op: NodeOp::Remove, name, ..Node::default() })?;
                    }
                } else if self.nodes.contains(&name) {
                    let node = Node { op: NodeOp::Update, name, allocatable: r.resources, ..Node::default() };
                    sink.node(t, &node)?;
                }
            }
            _ => self.apps.entry(r.reference).or_default().queue = r.object,
        }
        Ok(None)
    }

    fn application(&mut self, sink: &mut Sink, v: &Value, place: &Place) -> Result<(), TraceError> {
        let id = k8s::text(v, "/applicationID").to_string();
        self.apps.insert(
            id.clone(),
            App { queue: k8s::text(v, "/queueName").to_string(), user: k8s::text(v, "/user").to_string() },
        );
        for list in ["requests", "allocations"] {
            for a in v.get(list).and_then(Value::as_array).into_iter().flatten() {
                let key = k8s::text(a, "/allocationKey").to_string();
                if key.is_empty() {
                    return Err(place.error(Problem::EmptyField, "allocationKey", "", "an ask id"));
                }
                if a.get("placeholder").and_then(Value::as_bool) == Some(true) {
                    sink.report.leave_out("gang placeholders", || key);
                    continue;
                }
                // The documentation's sample has a time past 64 bits: unknown then.
                let created = nanos(a, "requestTime", place).or(nanos(v, "submissionTime", place))?;
                let ask = self.asks.entry(key).or_default();
                ask.app = id.clone();
                ask.created = ask.created.or(created).or(nanos(v, "submissionTime", place)?);
                ask.bound = ask.bound.or(nanos(a, "allocationTime", place)?);
                if !k8s::text(a, "/nodeId").is_empty() {
                    ask.node = k8s::text(a, "/nodeId").to_string();
                }
                ask.requests = resources(a.get("resource"), place)?;
                ask.priority = k8s::text(a, "/priority").parse().unwrap_or(0);
                ask.task_group = k8s::text(a, "/taskGroupName").to_string();
                if let Some(tags) = a.get("allocationTags").and_then(Value::as_object) {
                    ask.labels = tags
                        .iter()
                        .filter_map(|(k, v)| {
                            Some((
                                k.strip_prefix("kubernetes.io/label/")?.to_string(),
                                v.as_str()?.to_string(),
                            ))
                        })
                        .filter(|(k, _)| !matches!(k.as_str(), "applicationId" | "queue"))
                        .collect();
                    ask.namespace = tags
                        .get("kubernetes.io/meta/namespace")
                        .and_then(Value::as_str)
                        .unwrap_or("")
                        .to_string();
                }
            }
        }
        Ok(())
    }

    fn finish(mut self, sink: &mut Sink) -> Result<(), TraceError> {
        self.apply_records(sink)?;
        for node in std::mem::take(&mut self.dumped).into_values() {
            sink.node(AT_ORIGIN, &node)?;
        }
        for (uid, a) in self.asks {
            let Some(created) = a.created else {
                sink.report.leave_out("asks without a time of creation", || uid);
                continue;
            };
            if a.placeholder {
                sink.report.leave_out("gang placeholders", || uid);
                continue;
            }
            if a.bound.is_some_and(|b| b < created)
                || a.finished.is_some_and(|f| f < a.bound.unwrap_or(created))
            {
                sink.report.leave_out("asks that are allocated or end before they are made", || uid);
                continue;
            }
            let app = self.apps.get(&a.app);
            let mut pod = Pod {
                submit: created,
                uid,
                spec: sink.spec(SpecRow {
                    namespace: if a.namespace == "default" { String::new() } else { a.namespace },
                    requests: a.requests,
                    labels: a.labels,
                    ..SpecRow::default()
                }),
                queue: app.map(|a| a.queue.clone()).unwrap_or_default(),
                user: app.map(|a| a.user.clone()).unwrap_or_default(),
                app: a.app,
                task_group: a.task_group,
                priority: a.priority,
                ..Pod::default()
            };
            pod.run_ns = match (a.bound, a.finished) {
                (Some(b), Some(f)) => u64::try_from(f.saturating_sub(b)).ok(),
                _ => None,
            };
            match (a.bound, a.finished) {
                (None, Some(f)) => sink.event(f, EventOp::PodDelete, &pod.uid, "")?,
                (_, None) => sink.report.invent("pods.run_ns", "none: no end on record, runs to the end"),
                _ => {}
            }
            pod.outcome = Some(Outcome {
                created: Some(created),
                bound: a.bound,
                running: a.bound,
                finished: a.finished,
                node: a.node,
            });
            sink.pod(&pod)?;
        }
        if self.late > 0 {
            sink.report.invent_n(
                "pods.submit_ns",
                "its allocation: the ask is not in the recording",
                self.late,
            );
        }
        if sink.node_count() == 0 {
            sink.report.absent(
                "nodes",
                "no node events or node dump: the trace has no nodes; give the scenario a cluster",
            );
        }
        Ok(())
    }
}
