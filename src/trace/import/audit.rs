//! Kubernetes API server audit logs (audit.k8s.io), and cloud providers' wrappings of them.
//!
//! **Input.** JSON lines (the log backend), EventLists (the webhook backend), single events, YAML; Google's
//! `protoPayload` entries; events as text or object under `message`, `@message`, `log` or `properties.log` (CloudWatch,
//! Azure Monitor, log shippers). Only finished requests count (stage ResponseComplete, or no stage), and only those that
//! succeeded (2xx).
//!
//! **Events used.** create pods: a pod, with its spec from the response (else the request) where the policy level has
//! it. create pods/binding: bound, node from `target.name`. patch and update of pods/status: running and finished from
//! container states. delete pods: gone; a pod on a node is deleted twice, by a client (it then ends gracefully) and for
//! good by its kubelet, and the last one counts. deletecollection pods: every pod that the response lists. create and
//! delete nodes. create of Deployments, ReplicaSets, StatefulSets and Jobs are expanded only when the log holds no pod.
//!
//! **Names.** With generateName objectRef.name is absent; the name then comes from the response, so it is known at level
//! RequestResponse only. Without it the audit id stands in, and later events of that pod cannot be joined.
//!
//! **Times** are stageTimestamp (microseconds), else requestReceivedTimestamp, else timestamp: when the API server
//! answered.
//!
//! **What it cannot tell.** Policies usually drop pods/status and often pods/binding; at level Metadata requests are
//! unknown (0). Binding or deletion of pods created before the log began is counted and left out.
//!
//! Memory: O(pods alive, and those deleted gracefully). Source: Kubernetes docs, "Auditing"; audit.k8s.io/v1 Event. Tested
//! on 37 Metadata events, 46 single events (10 pod creations) and GKE entries; no continuous log with bindings was at hand.

use std::collections::BTreeMap;

use serde_json::Value;

use super::k8s_list::read_objects;
use super::kubernetes::{self as k8s, Life, Place};
use super::{Importer, InputFile, Origin, Pod, Sink, TraceError};
use crate::trace::error::Problem;
use crate::trace::model::{EventOp, NodeOp, SpecRow};

/// The importer.
pub struct Audit;

impl Importer for Audit {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn summary(&self) -> &'static str {
        "Kubernetes API server audit log (JSON lines, EventList, YAML, GKE entries)"
    }

    fn tested_on(&self) -> &'static str {
        "37 Metadata events, 46 single events (10 pod creations), GKE entries; no log with bindings"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        sink.origin = Origin::Unix;
        let mut state = State::default();
        for file in files {
            read_objects(file, sink, &mut |sink, value, place| state.event(sink, &value, place))?;
        }
        state.finish(sink)
    }
}

struct Known {
    pod: Pod,
    life: Life,
    place: Place,
    deleted: Option<i64>,
}

#[derive(Default)]
struct State {
    /// Pods by namespace/name: the one alive now, or deleted and perhaps still ending.
    alive: BTreeMap<String, Known>,
    controllers: Vec<(Value, i64, Place)>,
    unnamed: u64,
    pods: u64,
    nodes: BTreeMap<String, ()>,
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

impl State {
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
        match (request.verb, request.resource, request.subresource) {
            ("create", "pods", "")
                if !request.id.is_empty() && !sink.first_seen(&format!("audit/{}", request.id)) =>
            {
                drop(sink, "repeated-event")
            }
            ("create", "pods", "") => self.create(sink, &request, place).map(|()| true),
            ("create", "pods", "binding") | ("create", "bindings", "") => self.bind(sink, &request, place),
            ("patch" | "update", "pods", "status") => self.status(sink, &request, place),
            ("delete", "pods", "") => self.delete(sink, &request, place),
            ("deletecollection", "pods", "") => {
                let items = request.object.get("items").and_then(Value::as_array);
                let Some(items) = items else { return drop(sink, "collection-without-names-at-this-level") };
                for item in items {
                    let (name, namespace) = (k8s::text(item, "/metadata/name"), k8s::namespace(item));
                    self.gone(&format!("{namespace}/{name}"), request.time);
                }
                Ok(true)
            }
            ("create", "pods", "eviction") => drop(sink, "eviction-request"),
            ("create", "nodes", "") => {
                let node = k8s::node(request.object, NodeOp::Add, place)?;
                self.nodes.insert(node.name.clone(), ());
                sink.node(request.time, &node).map(|()| true)
            }
            ("delete", "nodes", "") if self.nodes.remove(request.name).is_some() => {
                let node = super::Node {
                    op: NodeOp::Remove,
                    name: request.name.to_string(),
                    ..super::Node::default()
                };
                sink.node(request.time, &node).map(|()| true)
            }
            ("create", "deployments" | "replicasets" | "statefulsets" | "jobs", "") => {
                let object = if request.object.is_null() { request.request } else { request.object };
                if k8s::template(object).is_none() {
                    return drop(sink, "no-object-at-this-level");
                }
                self.controllers.push((object.clone(), request.time, place.clone()));
                Ok(true)
            }
            _ => drop(sink, "other-request"),
        }
    }

    fn create(&mut self, sink: &mut Sink, r: &Request<'_>, place: &Place) -> Result<(), TraceError> {
        let object = if r.object.get("spec").is_some() { r.object } else { r.request };
        let name = match (r.name, k8s::text(r.object, "/metadata/name")) {
            ("", "") => k8s::text(r.request, "/metadata/name"),
            ("", name) | (name, _) => name,
        };
        let (uid, key) = if name.is_empty() {
            self.unnamed += 1;
            (format!("{}/{}", r.namespace, r.id), format!("{}\t{}", r.namespace, r.id))
        } else {
            let uid = k8s::text(r.object, "/metadata/uid");
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
            let unique = format!("{uid}@{}", r.time);
            if !sink.first_seen(&unique) {
                return Err(place.error(Problem::DuplicateId, "metadata.uid", &uid, "each pod created once"));
            }
            unique
        };
        let life = Life {
            created: Some(r.time),
            node: k8s::text(object, "/spec/nodeName").to_string(),
            ..Life::default()
        };
        let row = if object.get("spec").is_some() {
            k8s::spec_row(r.namespace, &object["metadata"], &object["spec"], place)?
        } else {
            sink.report.invent("specs.requests", "none: the audit level has no objects");
            SpecRow { namespace: r.namespace.to_string(), ..SpecRow::default() }
        };
        let mut pod = Pod { uid, spec: sink.spec(row), submit: r.time, ..Pod::default() };
        k8s::note_unknown_class(sink, &object["spec"]);
        k8s::fill_belonging(&mut pod, &object["metadata"], &object["spec"]);
        self.pods += 1;
        self.alive.insert(key, Known { pod, life, place: place.clone(), deleted: None });
        Ok(())
    }

    fn find(&mut self, sink: &mut Sink, r: &Request<'_>, place: &Place) -> Option<&mut Known> {
        let key = format!("{}/{}", r.namespace, r.name);
        if !self.alive.contains_key(&key) {
            sink.report.drop_row("objects", "pod-created-before-the-log", || {
                format!("{}:{} ({} {key})", place.file, place.at, r.verb)
            });
            return None;
        }
        self.alive.get_mut(&key)
    }

    fn bind(&mut self, sink: &mut Sink, r: &Request<'_>, place: &Place) -> Result<bool, TraceError> {
        let node = k8s::text(r.request, "/target/name").to_string();
        let Some(known) = self.find(sink, r, place) else { return Ok(false) };
        if known.life.bound.is_some() {
            return Err(place.error(Problem::DuplicateId, "objectRef.name", r.name, "one binding a pod"));
        }
        known.life.bound = Some(r.time);
        known.life.node = node;
        Ok(true)
    }

    fn status(&mut self, sink: &mut Sink, r: &Request<'_>, place: &Place) -> Result<bool, TraceError> {
        let status = if r.object.get("status").is_some() { r.object } else { r.request };
        let seen = k8s::life(status, place)?;
        let time = r.time;
        let Some(known) = self.find(sink, r, place) else { return Ok(false) };
        if known.life.running.is_none() && seen.running.is_some() {
            known.life.running = Some(time);
        }
        if seen.over && known.life.finished.is_none() {
            known.life.finished = Some(time);
        }
        Ok(true)
    }

    /// A pod is deleted; the last deletion counts. Whether it was known.
    fn gone(&mut self, key: &str, time: i64) -> bool {
        let Some(known) = self.alive.get_mut(key) else { return false };
        known.deleted = Some(known.deleted.map_or(time, |t| t.max(time)));
        true
    }

    fn delete(&mut self, sink: &mut Sink, r: &Request<'_>, place: &Place) -> Result<bool, TraceError> {
        if self.find(sink, r, place).is_none() {
            return Ok(false);
        }
        let key = format!("{}/{}", r.namespace, r.name);
        self.gone(&key, r.time);
        // A pod that was never bound ends at once; so does one that its kubelet deletes with grace period 0.
        let known = &self.alive[&key];
        let for_good = known.life.bound.or(known.life.running).is_none() && known.life.node.is_empty()
            || k8s::text(r.request, "/kind") == "DeleteOptions"
                && r.request.get("gracePeriodSeconds").and_then(Value::as_i64) == Some(0);
        if for_good && let Some(known) = self.alive.remove(&key) {
            emit(sink, known)?;
        }
        Ok(true)
    }

    fn finish(mut self, sink: &mut Sink) -> Result<(), TraceError> {
        for known in std::mem::take(&mut self.alive).into_values() {
            emit(sink, known)?;
        }
        if self.pods == 0 {
            for (object, time, place) in &self.controllers {
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
