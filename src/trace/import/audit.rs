//! Kubernetes API server audit logs (audit.k8s.io), and cloud providers' wrappings of them.
//!
//! **Input.** JSON lines (the log backend), EventLists (the webhook backend), single events, YAML; Google's
//! `protoPayload` entries; events as text or object under `message`, `@message`, `log` or `properties.log` (CloudWatch,
//! also as `aws logs filter-log-events` prints it, Azure Monitor, log shippers). Only finished requests count (stage ResponseComplete, or no stage), and only those that
//! succeeded (2xx).
//!
//! **Events used.** create pods: a pod, with its spec from the response (else the request) where the policy level has
//! it. create pods/binding: bound, node from `target.name`. patch and update of pods/status: running and finished from
//! container states. delete pods: gone; a pod on a node is deleted twice, by a client (it then ends gracefully) and for
//! good by its kubelet, and the last one counts. deletecollection pods: every pod that the response lists. create
//! nodes, from the response (else the request), without the taints that the API server gives a node until it is ready, and delete
//! nodes. create of Deployments, ReplicaSets, StatefulSets and Jobs
//! are expanded only when the log holds no pod; those that one of them makes (a Deployment its ReplicaSet) are not.
//!
//! **Names.** With generateName objectRef.name is absent; the name then comes from the response, so it is known at level
//! RequestResponse only. Without it the audit id stands in, and later events of that pod cannot be joined.
//!
//! **Times** are stageTimestamp (microseconds), else requestReceivedTimestamp, else timestamp: when the API server
//! answered. Each API server writes its own log, and services deliver batches in any order: events are sorted by time
//! first (on disk if they must), those of one time as they come. An audit id that comes again is the same event.
//!
//! **What it cannot tell.** Policies usually drop pods/status and often pods/binding; at level Metadata requests are
//! unknown (0). Binding or deletion of pods created before the log began is counted and left out.
//!
//! Memory: O(pods alive, those deleted gracefully, and 8 bytes an event used). Source: Kubernetes docs, "Auditing"; audit.k8s.io/v1 Event. Tested
//! on a log of kube-apiserver 1.36.3 with 400 creations and bindings (`tests/fixtures/recorded`), 37 Metadata events, 46 single
//! events (10 pod creations) and GKE entries.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::k8s_list::read_objects_of;
use super::kubernetes::{self as k8s, Life, Place};
use super::{Importer, InputFile, Origin, Pod, Sink, TraceError};
use crate::trace::error::Problem;
use crate::trace::model::{EventOp, NodeOp, SpecRow};
use crate::trace::sort::{Sorter, Spill, get_str, get_u64, put_str, put_u64};

/// The importer.
pub struct Audit;

/// Keys that hold events: of an EventList, and of what the AWS command line prints.
const LISTS: &[&str] = &["items", "events"];

impl Importer for Audit {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn summary(&self) -> &'static str {
        "Kubernetes API server audit log (JSON lines, EventList, YAML, GKE entries)"
    }

    fn tested_on(&self) -> &'static str {
        "a log of kube-apiserver 1.36 with 400 creations and bindings, 37 Metadata events, 46 single events, GKE entries"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        sink.origin = Origin::Unix;
        let scratch = sink.scratch();
        let mut log = Log {
            events: Sorter::new(&scratch, "audit-events", sink.options.sort_memory_bytes),
            files: Vec::new(),
        };
        for file in files {
            log.files.push(file.display());
            read_objects_of(file, LISTS, sink, &mut |sink, value, place| log.event(sink, &value, place))?;
        }
        let mut state = State::default();
        let mut events = log.events.finish()?;
        while let Some((time, event)) = events.next_row()? {
            let place = Place { file: log.files[event.file as usize].clone(), at: event.line };
            match state.apply(sink, time, &event, &place) {
                Ok(None) => {}
                Ok(Some(reason)) => sink.drop_kept("objects", reason, || {
                    let (what, namespace, name) = (event.what, &event.namespace, &event.name);
                    format!("{}:{} ({what:?} {namespace}/{name})", place.file, place.at)
                }),
                Err(e) => sink.bad_kept("objects", e)?,
            }
        }
        drop(events);
        state.finish(sink)
    }
}

/// What is used of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Create,
    Bind,
    Status,
    Delete,
    DeleteAll,
    AddNode,
    RemoveNode,
    Controller,
}

const WHATS: [What; 8] = [
    What::Create,
    What::Bind,
    What::Status,
    What::Delete,
    What::DeleteAll,
    What::AddNode,
    What::RemoveNode,
    What::Controller,
];

/// An event as it waits for its turn, with only those parts of its objects that are used.
struct Event {
    what: What,
    namespace: String,
    name: String,
    id: String,
    object: Value,
    request: Value,
    file: u64,
    line: u64,
}

impl Spill for Event {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.what as u8);
        for text in [&self.namespace, &self.name, &self.id] {
            put_str(out, text);
        }
        for value in [&self.object, &self.request] {
            put_str(out, &if value.is_null() { String::new() } else { value.to_string() });
        }
        put_u64(out, self.file);
        put_u64(out, self.line);
    }

    fn decode(input: &mut &[u8]) -> Event {
        let what = WHATS.get(get_u64(input) as usize).copied().unwrap_or(What::Create);
        let (namespace, name, id) = (get_str(input), get_str(input), get_str(input));
        let mut value = || serde_json::from_str(&get_str(input)).unwrap_or_default();
        let (object, request) = (value(), value());
        let (file, line) = (get_u64(input), get_u64(input));
        Event { what, namespace, name, id, object, request, file, line }
    }
}

/// An object with these parts of it only.
fn parts(object: &Value, keys: &[&str]) -> Value {
    let kept = keys.iter().filter_map(|key| {
        let mut value = object.get(key)?.clone();
        if let Value::Object(value) = &mut value {
            value.remove("managedFields");
        }
        Some(((*key).to_string(), value))
    });
    if object.is_object() { Value::Object(kept.collect()) } else { Value::Null }
}

/// The first pass: all files' events.
struct Log {
    events: Sorter<Event>,
    files: Vec<String>,
}

struct Known {
    pod: Pod,
    life: Life,
    place: Place,
    deleted: Option<i64>,
}

impl Known {
    /// It is deleted; the last deletion counts.
    fn gone(&mut self, time: i64) {
        self.deleted = self.deleted.max(Some(time));
    }
}

#[derive(Default)]
struct State {
    /// Pods by namespace/name: the one alive now, or deleted and perhaps still ending.
    alive: BTreeMap<String, Known>,
    controllers: Vec<(Value, i64, Place)>,
    unnamed: u64,
    pods: u64,
    nodes: BTreeSet<String>,
}

/// What the two wrappings have in common.
struct Request<'a> {
    verb: &'a str,
    resource: &'a str,
    subresource: &'a str,
    namespace: &'a str,
    name: &'a str,
    object: &'a Value,
    request: &'a Value,
    time: i64,
    id: &'a str,
}

impl Log {
    fn event(&mut self, sink: &mut Sink, value: &Value, place: &Place) -> Result<bool, TraceError> {
        let drop = |sink: &mut Sink, reason: &str| {
            sink.report.drop_row("objects", reason, || format!("{}:{}", place.file, place.at));
            Ok(false)
        };
        if let Some(inner) = unwrapped(value) {
            return self.event(sink, &inner, place);
        }
        let request = if value.get("protoPayload").is_some() {
            match google(value, place)? {
                Some(r) => r,
                None => return drop(sink, "failed-request"),
            }
        } else if k8s::text(value, "/kind") == "Event"
            && k8s::text(value, "/apiVersion").starts_with("audit.k8s.io")
            || value.get("auditID").is_some()
        {
            let stage = k8s::text(value, "/stage");
            if !matches!(stage, "" | "ResponseComplete") {
                return drop(sink, "not-the-final-stage");
            }
            let code = value.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or(200);
            if !(200..300).contains(&code) {
                return drop(sink, "failed-request");
            }
            open_source(value, place)?
        } else {
            return drop(sink, "not-an-audit-event");
        };
        let what = match (request.verb, request.resource, request.subresource) {
            ("create", "pods", "") => What::Create,
            ("create", "pods", "binding") | ("create", "bindings", "") => What::Bind,
            ("patch" | "update", "pods", "status") => What::Status,
            ("delete", "pods", "") => What::Delete,
            ("deletecollection", "pods", "") => What::DeleteAll,
            ("create", "nodes", "") => What::AddNode,
            ("delete", "nodes", "") => What::RemoveNode,
            ("create", "deployments" | "replicasets" | "statefulsets" | "jobs", "") => What::Controller,
            ("create", "pods", "eviction") => return drop(sink, "eviction-request"),
            _ => return drop(sink, "other-request"),
        };
        // Only final stages are here: the id alone tells.
        if !request.id.is_empty() && !sink.first_seen(&format!("audit/{}", request.id)) {
            return drop(sink, "repeated-event");
        }
        let Some((object, body)) = used(what, request.object, request.request) else {
            let reason = match what {
                What::DeleteAll => "collection-without-names-at-this-level",
                _ => "no-object-at-this-level",
            };
            return drop(sink, reason);
        };
        let event = Event {
            what,
            namespace: request.namespace.to_string(),
            name: request.name.to_string(),
            id: request.id.to_string(),
            object,
            request: body,
            file: (self.files.len() - 1) as u64,
            line: place.at,
        };
        self.events.push(request.time, &event).map(|()| true)
    }
}

/// What an event needs of the response's and the request's object; none if it needs something that is not there.
fn used(what: What, response: &Value, request: &Value) -> Option<(Value, Value)> {
    let null = Value::Null;
    Some(match what {
        What::Create => {
            let object = parts(response, &["metadata", "spec"]);
            let rest: &[&str] =
                if object.get("spec").is_some() { &["metadata"] } else { &["metadata", "spec"] };
            (object, parts(request, rest))
        }
        What::Bind => (null, parts(request, &["target"])),
        What::Status => {
            let object = if response.get("status").is_some() { response } else { request };
            (parts(object, &["status"]), null)
        }
        What::Delete => (null, parts(request, &["kind", "gracePeriodSeconds"])),
        What::DeleteAll => {
            let items = response.get("items").and_then(Value::as_array)?;
            let name = |item| serde_json::json!([k8s::namespace(item), k8s::text(item, "/metadata/name")]);
            (items.iter().map(name).collect(), null)
        }
        What::AddNode => {
            // A response may be a Status.
            let named = |o: &&Value| !k8s::text(o, "/metadata/name").is_empty();
            let node = [response, request].into_iter().find(named)?;
            (parts(node, &["metadata", "spec", "status"]), null)
        }
        What::RemoveNode => (null.clone(), null),
        What::Controller => {
            let object = [response, request].into_iter().find(|o| k8s::template(o).is_some())?;
            (parts(object, &["kind", "metadata", "spec"]), null)
        }
    })
}

impl State {
    /// Applies an event, or says why it is left out.
    fn apply(
        &mut self,
        sink: &mut Sink,
        time: i64,
        event: &Event,
        place: &Place,
    ) -> Result<Option<&'static str>, TraceError> {
        const UNKNOWN: Option<&str> = Some("pod-created-before-the-log");
        let key = format!("{}/{}", event.namespace, event.name);
        match event.what {
            What::Create => self.create(sink, time, event, place)?,
            What::Bind => {
                let Some(known) = self.alive.get_mut(&key) else { return Ok(UNKNOWN) };
                if known.life.bound.is_some() {
                    let expected = "one binding a pod";
                    return Err(place.error(Problem::DuplicateId, "objectRef.name", &event.name, expected));
                }
                known.life.bound = Some(time);
                known.life.node = k8s::text(&event.request, "/target/name").to_string();
            }
            What::Status => {
                let seen = k8s::life(&event.object, place)?;
                let Some(known) = self.alive.get_mut(&key) else { return Ok(UNKNOWN) };
                if known.life.running.is_none() && seen.running.is_some() {
                    known.life.running = Some(time);
                }
                if seen.over && known.life.finished.is_none() {
                    known.life.finished = Some(time);
                }
            }
            What::Delete => {
                let Some(known) = self.alive.get_mut(&key) else { return Ok(UNKNOWN) };
                known.gone(time);
                // A pod that was never bound ends at once; so does one that its kubelet deletes with grace period 0.
                let for_good = known.life.bound.or(known.life.running).is_none()
                    && known.life.node.is_empty()
                    || k8s::text(&event.request, "/kind") == "DeleteOptions"
                        && event.request.get("gracePeriodSeconds").and_then(Value::as_i64) == Some(0);
                if for_good && let Some(known) = self.alive.remove(&key) {
                    emit(sink, known)?;
                }
            }
            What::DeleteAll => {
                for item in event.object.as_array().into_iter().flatten() {
                    let key = format!("{}/{}", k8s::text(item, "/0"), k8s::text(item, "/1"));
                    if let Some(known) = self.alive.get_mut(&key) {
                        known.gone(time);
                    }
                }
            }
            What::AddNode => {
                let mut node = k8s::node(&event.object, NodeOp::Add, place)?;
                if let Some(started) = k8s::started(&node) {
                    sink.report.invent("nodes.taints", k8s::STARTED);
                    node = started;
                }
                self.nodes.insert(node.name.clone());
                sink.node(time, &node)?;
            }
            What::RemoveNode => {
                if !self.nodes.remove(&event.name) {
                    return Ok(Some("node-created-before-the-log"));
                }
                let (op, name) = (NodeOp::Remove, event.name.clone());
                sink.node(time, &super::Node { op, name, ..super::Node::default() })?;
            }
            What::Controller => self.controllers.push((event.object.clone(), time, place.clone())),
        }
        Ok(None)
    }

    fn create(&mut self, sink: &mut Sink, time: i64, r: &Event, place: &Place) -> Result<(), TraceError> {
        let object = if r.object.get("spec").is_some() { &r.object } else { &r.request };
        let name = match (r.name.as_str(), k8s::text(&r.object, "/metadata/name")) {
            ("", "") => k8s::text(&r.request, "/metadata/name"),
            ("", name) | (name, _) => name,
        };
        let (uid, key) = if name.is_empty() {
            self.unnamed += 1;
            (format!("{}/{}", r.namespace, r.id), format!("{}\t{}", r.namespace, r.id))
        } else {
            let uid = k8s::text(&r.object, "/metadata/uid");
            let fallback = format!("{}/{name}", r.namespace);
            (if uid.is_empty() { fallback } else { uid.to_string() }, format!("{}/{name}", r.namespace))
        };
        match self.alive.get(&key) {
            Some(known) if known.deleted.is_none() && known.life.finished.is_none() => {
                let expected = "a deletion before a new creation";
                return Err(place.error(Problem::DuplicateId, "objectRef.name", &key, expected));
            }
            Some(_) => {
                if let Some(known) = self.alive.remove(&key) {
                    emit(sink, known)?;
                }
            }
            None => {}
        }
        let uid = if sink.first_seen(&uid) {
            uid
        } else {
            let unique = format!("{uid}@{time}");
            if !sink.first_seen(&unique) {
                return Err(place.error(Problem::DuplicateId, "metadata.uid", &uid, "each pod created once"));
            }
            unique
        };
        let life = Life {
            created: Some(time),
            node: k8s::text(object, "/spec/nodeName").to_string(),
            ..Life::default()
        };
        let row = if object.get("spec").is_some() {
            k8s::spec_row(&r.namespace, &object["metadata"], &object["spec"], place)?
        } else {
            sink.report.invent("specs.requests", "none: the audit level has no objects");
            SpecRow { namespace: r.namespace.clone(), ..SpecRow::default() }
        };
        let mut pod = Pod { uid, spec: sink.spec(row), submit: time, ..Pod::default() };
        k8s::note_unknown(sink, &object["spec"]);
        k8s::fill_belonging(&mut pod, &object["metadata"], &object["spec"]);
        self.pods += 1;
        self.alive.insert(key, Known { pod, life, place: place.clone(), deleted: None });
        Ok(())
    }

    fn finish(mut self, sink: &mut Sink) -> Result<(), TraceError> {
        for known in std::mem::take(&mut self.alive).into_values() {
            emit(sink, known)?;
        }
        if self.pods == 0 {
            let owners = k8s::names(self.controllers.iter().map(|(object, ..)| object));
            for (object, time, place) in &self.controllers {
                if k8s::is_owned(object, &owners) {
                    let name =
                        || format!("{}/{}", k8s::namespace(object), k8s::text(object, "/metadata/name"));
                    sink.report.leave_out("controllers that another one in the log makes", name);
                    continue;
                }
                let Some((count, template)) = k8s::template(object) else { continue };
                let namespace = k8s::namespace(object);
                let row = match k8s::spec_row(namespace, &template["metadata"], &template["spec"], place) {
                    Ok(row) => row,
                    Err(e) => {
                        sink.bad_kept("objects", e)?;
                        continue;
                    }
                };
                let name = k8s::text(object, "/metadata/name");
                if let Err(expected) = sink.expand(count) {
                    let count = count.to_string();
                    let e = place.error(Problem::OutOfRange, "spec.replicas", &count, expected);
                    sink.bad_kept("objects", e)?;
                    continue;
                }
                let mut pod =
                    Pod { submit: *time, spec: sink.spec(row), app: name.to_string(), ..Pod::default() };
                for i in 0..count {
                    pod.uid = format!("{namespace}/{name}-{time}-{i}");
                    sink.pod(&pod)?;
                }
                sink.report.invent_n(
                    "pods",
                    "one a replica of a created controller (no pods in the log)",
                    count,
                );
            }
        } else if !self.controllers.is_empty() {
            sink.report.note(format!(
                "{} created controllers were not expanded: the log has pods",
                self.controllers.len()
            ));
        }
        if self.unnamed > 0 {
            sink.report.note(format!(
                "{} pods have generated names the audit level hides: their bindings and ends cannot be joined",
                self.unnamed
            ));
        }
        if sink.node_count() == 0 {
            sink.report.absent("nodes", "no node was created in the log; give the scenario a cluster");
        }
        Ok(())
    }
}

/// Hands over a pod whose life is over, or as it was when the log ended.
fn emit(sink: &mut Sink, mut k: Known) -> Result<(), TraceError> {
    let started = k.life.running.or(k.life.bound).is_some();
    if k.life.finished.is_none() && (started || k.deleted.is_some()) {
        k.life.finished = k.deleted;
    }
    if let Err(e) = k8s::set_life(&mut k.pod, &k.life, &k.place) {
        return sink.bad_kept("objects", e);
    }
    match k.deleted {
        Some(t) if !started => sink.event(t, EventOp::PodDelete, &k.pod.uid, "")?,
        None if k.life.finished.is_none() => {
            let rule = "none: neither end nor deletion in the log, runs to the end";
            sink.report.invent("pods.run_ns", rule);
        }
        _ => {}
    }
    sink.pod(&k.pod)
}

/// The event inside of what a log service put around it.
fn unwrapped(value: &Value) -> Option<Value> {
    if value.get("auditID").is_some() || value.get("protoPayload").is_some() {
        return None;
    }
    let inner = ["/message", "/@message", "/log", "/properties/log"].iter().find_map(|p| value.pointer(p))?;
    let inner = match inner {
        Value::String(text) => serde_json::from_str(text).ok()?,
        object => object.clone(),
    };
    (inner.get("auditID").is_some() || inner.get("protoPayload").is_some()).then_some(inner)
}

static NULL: Value = Value::Null;

fn open_source<'a>(value: &'a Value, place: &Place) -> Result<Request<'a>, TraceError> {
    let mut time = None;
    for p in ["/stageTimestamp", "/requestReceivedTimestamp", "/timestamp", "/metadata/creationTimestamp"] {
        time = k8s::time(value, p, place)?;
        if time.is_some() {
            break;
        }
    }
    let Some(time) = time else {
        return Err(place.error(Problem::EmptyField, "stageTimestamp", "", "a time"));
    };
    Ok(Request {
        verb: k8s::text(value, "/verb"),
        resource: k8s::text(value, "/objectRef/resource"),
        subresource: k8s::text(value, "/objectRef/subresource"),
        namespace: match k8s::text(value, "/objectRef/namespace") {
            "" => "default",
            n => n,
        },
        name: k8s::text(value, "/objectRef/name"),
        object: value.get("responseObject").unwrap_or(&NULL),
        request: value.get("requestObject").unwrap_or(&NULL),
        time,
        id: k8s::text(value, "/auditID"),
    })
}

/// `methodName: io.k8s.core.v1.pods.create`, `resourceName: core/v1/namespaces/NS/pods/NAME[/binding]`.
fn google<'a>(value: &'a Value, place: &Place) -> Result<Option<Request<'a>>, TraceError> {
    let payload = &value["protoPayload"];
    if payload.pointer("/status/code").and_then(Value::as_i64).unwrap_or(0) != 0 {
        return Ok(None);
    }
    let Some(time) = k8s::time(value, "/timestamp", place)? else {
        return Err(place.error(Problem::EmptyField, "timestamp", "", "a time"));
    };
    let method: Vec<&str> = k8s::text(payload, "/methodName").split('.').collect();
    let verb = method.last().copied().unwrap_or("");
    let parts: Vec<&str> = k8s::text(payload, "/resourceName").split('/').collect();
    let (namespace, rest) = match parts.iter().position(|p| *p == "namespaces") {
        Some(i) if parts.len() > i + 2 => (parts[i + 1], &parts[i + 2..]),
        _ => ("", parts.get(2..).unwrap_or(&[])),
    };
    Ok(Some(Request {
        verb,
        resource: rest.first().copied().unwrap_or(""),
        name: rest.get(1).copied().unwrap_or(""),
        subresource: rest.get(2).copied().unwrap_or(""),
        namespace: if namespace.is_empty() { "default" } else { namespace },
        object: payload.get("response").unwrap_or(&NULL),
        request: payload.get("request").unwrap_or(&NULL),
        time,
        id: k8s::text(value, "/insertId"),
    }))
}
