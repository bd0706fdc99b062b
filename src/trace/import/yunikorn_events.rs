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
//! node added or removed, its capacity (304); an application added to a queue (405 add): the queue.
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
//! Memory: O(asks). Source: YuniKorn docs (api/scheduler, event_system), EventRecord of the scheduler interface. No real
//! recording was at hand; tests use the documentation's bodies.

use std::collections::BTreeMap;

use serde_json::Value;

use super::k8s_list::read_objects;
use super::kubernetes::{self as k8s, Place};
use super::{AT_ORIGIN, Importer, InputFile, Node, Origin, Outcome, Pod, Sink, TraceError};
use crate::trace::error::Problem;
use crate::trace::model::{CPU, EPHEMERAL_STORAGE, EventOp, MEMORY, NodeOp, Resources, SpecRow};

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
        let mut state = State::default();
        for file in files {
            read_objects(file, sink, &mut |sink, value, place| state.object(sink, &value, place))?;
        }
        state.finish(sink)
    }
}

#[derive(Default)]
struct Ask {
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

#[derive(Default)]
struct State {
    asks: BTreeMap<String, Ask>,
    apps: BTreeMap<String, App>,
    nodes: BTreeMap<String, Resources>,
    late: u64,
    last: i64,
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
        if value.get("applicationID").is_some() {
            return self.application(sink, value, place);
        }
        // A full state dump, or the nodes of a partition, or of several.
        const PARTS: [&str; 4] = ["nodesInfo", "applications", "nodes", "partitions"];
        let parts = || PARTS.iter().filter_map(|part| value.get(part)).filter_map(Value::as_array);
        if parts().next().is_some() {
            let mut kept = false;
            for item in parts().flatten() {
                kept |= self.object(sink, item, place)?;
            }
            if !kept {
                let what = || format!("{}:{}", place.file, place.at);
                sink.report.drop_row("objects", "nothing-in-it", what);
            }
            return Ok(kept);
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
            if self.nodes.insert(id.to_string(), allocatable.clone()).is_none() {
                let mut node =
                    Node { op: NodeOp::Add, name: id.to_string(), allocatable, labels, ..Node::default() };
                if value.get("schedulable").and_then(Value::as_bool) == Some(false) {
                    node.taints =
                        r#"[{"key":"node.kubernetes.io/unschedulable","effect":"NoSchedule"}]"#.to_string();
                }
                sink.node(AT_ORIGIN, &node)?;
            }
            return Ok(true);
        }
        if value.get("InstanceUUID").is_some() {
            return Ok(true);
        }
        sink.report.drop_row("objects", "not-a-yunikorn-record", || format!("{}:{}", place.file, place.at));
        Ok(false)
    }

    fn record(&mut self, sink: &mut Sink, v: &Value, place: &Place) -> Result<bool, TraceError> {
        let number = |f: &str| v.get(f).and_then(Value::as_u64).unwrap_or(0);
        let (kind, change, detail) = (number("type"), number("eventChangeType"), number("eventChangeDetail"));
        let (object, reference) = (k8s::text(v, "/objectID"), k8s::text(v, "/referenceID"));
        let Some(t) = nanos(v, "timestampNano", place)? else {
            return Err(place.error(Problem::EmptyField, "timestampNano", "", "Unix nanoseconds"));
        };
        if t < self.last {
            return Err(place.error(
                Problem::TimeGoesBack,
                "timestampNano",
                &t.to_string(),
                "records in order of time",
            ));
        }
        self.last = t;
        const ADD: u64 = 2;
        const REMOVE: u64 = 3;
        match (kind, change, detail) {
            (2, ADD, 201) => {
                let requests = resources(v.get("resource"), place)?;
                let known = self.asks.get(reference).is_some_and(|a| a.created.is_some());
                if known || reference.is_empty() {
                    return Err(place.error(Problem::DuplicateId, "referenceID", reference, "each ask once"));
                }
                let ask = self.asks.entry(reference.to_string()).or_default();
                (ask.app, ask.created, ask.requests) = (object.to_string(), Some(t), requests);
            }
            (2, REMOVE, 201 | 100 | 102) => match self.asks.get_mut(reference) {
                Some(ask) => {
                    // YuniKorn also removes asks once they are allocated.
                    if ask.bound.is_none() {
                        ask.removed = true;
                        ask.finished = Some(t);
                    }
                }
                None => return drop_unknown(sink, place, reference),
            },
            (2, ADD, 200) => {
                let id = ask_id(&self.asks, reference).to_string();
                let requests = resources(v.get("resource"), place)?;
                let late = !self.asks.contains_key(&id);
                let ask = self.asks.entry(id).or_default();
                if late {
                    self.late += 1;
                    (ask.app, ask.created, ask.requests) = (object.to_string(), Some(t), requests);
                }
                ask.bound = Some(t);
                ask.removed = false;
                ask.finished = None;
            }
            (2, REMOVE, 200 | 500..=504) => {
                let id = ask_id(&self.asks, reference).to_string();
                match self.asks.get_mut(&id) {
                    Some(ask) => {
                        ask.finished = Some(t);
                        ask.placeholder |= matches!(detail, 502 | 503);
                    }
                    None => return drop_unknown(sink, place, reference),
                }
            }
            (3, ADD, 303) => {
                let id = ask_id(&self.asks, reference).to_string();
                // `node-1:1234`: a port may follow the name.
                let name = object.split(':').next().unwrap_or(object);
                match self.asks.get_mut(&id) {
                    Some(ask) => ask.node = name.to_string(),
                    None => return drop_unknown(sink, place, reference),
                }
            }
            (3, ADD, _) => {
                let allocatable = resources(v.get("resource"), place)?;
                let name = object.split(':').next().unwrap_or(object).to_string();
                let op = if self.nodes.insert(name.clone(), allocatable.clone()).is_some() {
                    NodeOp::Update
                } else {
                    NodeOp::Add
                };
                sink.node(t, &Node { op, name, allocatable, ..Node::default() })?;
            }
            (3, 1, 304) => {
                let allocatable = resources(v.get("resource"), place)?;
                let name = object.split(':').next().unwrap_or(object).to_string();
                if self.nodes.insert(name.clone(), allocatable.clone()).is_some() {
                    sink.node(t, &Node { op: NodeOp::Update, name, allocatable, ..Node::default() })?;
                }
            }
            (3, REMOVE, d) if d != 303 => {
                let name = object.split(':').next().unwrap_or(object).to_string();
                if self.nodes.remove(&name).is_some() {
                    sink.node(t, &Node { op: NodeOp::Remove, name, ..Node::default() })?;
                }
            }
            (4, ADD, 405) => self.apps.entry(reference.to_string()).or_default().queue = object.to_string(),
            _ => {
                sink.report.drop_row("objects", "event-not-used", || format!("{}:{}", place.file, place.at));
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn application(&mut self, sink: &mut Sink, v: &Value, place: &Place) -> Result<bool, TraceError> {
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
        Ok(true)
    }

    fn finish(self, sink: &mut Sink) -> Result<(), TraceError> {
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
        if self.nodes.is_empty() {
            sink.report.absent(
                "nodes",
                "no node events or node dump: the trace has no nodes; give the scenario a cluster",
            );
        }
        Ok(())
    }
}

fn drop_unknown(sink: &mut Sink, place: &Place, id: &str) -> Result<bool, TraceError> {
    sink.report
        .drop_row("objects", "ask-before-the-recording", || format!("{}:{} ({id})", place.file, place.at));
    Ok(false)
}
