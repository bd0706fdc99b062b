//! Recordings of Kubernetes watches, and kwokctl snapshots with recorded changes.
//!
//! **k8s-watch.** JSON values, one a line or after each other, or YAML documents: `{"type": "ADDED|MODIFIED|DELETED|BOOKMARK|
//! ERROR", "object": {..}}`, as `kubectl get -w --output-watch-events -o json` prints them, for pods and nodes. Without
//! `--output-watch-events` kubectl prints the objects alone: then whatever is new is added, and nothing is ever deleted
//! except by its phase or deletionTimestamp. A recorder may add when it saw the event, as `ts`, `time`, `timestamp` or
//! `receivedAt` (RFC 3339 or a Unix number: s, ms, us or ns by size). Such times are used for binding, start and end, and
//! for creation where the object's own agrees to the second (seen in the next one: the end of its second); else the object's
//! own whole-second times.
//!
//! **kwok-snapshot.** YAML documents of `kwokctl snapshot export [--record]` and `snapshot record`: objects, then
//! `ResourcePatch` documents (resource, target, durationNanosecond since the recording began, method create, patch or
//! delete, template). Patches are strategic merge patches, as kwok makes them. Objects at the start are the snapshot:
//! pods with a node sit on it, finished ones are left out.
//!
//! **Rules.** ADDED for a pod already known (a relist) is an update. DELETED of a pod never added, a pod that comes
//! back after DELETED, and recorded times that go back are errors. A recorder's clock may be 10 s behind the API server's. A pod is finished when its phase says so, or when it
//! is deleted; pods alive at the end run on; pods deleted while pending become a deletion.
//!
//! A node joins as it is when it is ready first: before, it has taints that the API server gave it.
//!
//! **What it cannot tell.** What happened before the recording, and within one second where only object times exist; without a
//! recorder's time, when a node changed or went.
//!
//! Memory: O(objects alive). Source: Kubernetes API concepts (watch), kwok's pkg/kwokctl/snapshot and recording, strategic
//! merge keys of core/v1; recordings of kube-apiserver 1.36.3 (`tests/fixtures/recorded`). No real kwokctl snapshot was at hand.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::k8s_list::read_objects;
use super::kubernetes::{self as k8s, Life, Place};
use super::{AT_ORIGIN, Importer, InputFile, Origin, Pod, SECOND, Sink, TraceError};
use crate::trace::error::Problem;
use crate::trace::model::{EventOp, NodeOp};

/// Imports watch recordings.
pub struct K8sWatch;

/// Imports kwokctl snapshots.
pub struct KwokSnapshot;

impl Importer for K8sWatch {
    fn name(&self) -> &'static str {
        "k8s-watch"
    }

    fn summary(&self) -> &'static str {
        "recorded watch events of pods and nodes (JSON)"
    }

    fn tested_on(&self) -> &'static str {
        "a recording of 392 events of kube-apiserver 1.36, with and without times"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        sink.origin = Origin::Unix;
        let mut state = Tracker::default();
        for file in files {
            state.last_time = None;
            read_objects(file, sink, &mut |sink, value, place| {
                if value.get("object").is_none() && value.get("metadata").is_some() {
                    return state.bare(sink, &value, place);
                }
                let at = event_time(&value, place)?;
                if let (Some(last), Some(at)) = (state.last_time, at)
                    && at < last
                {
                    return Err(place.error(
                        Problem::TimeGoesBack,
                        "time",
                        "",
                        "events in the order they were seen",
                    ));
                }
                state.last_time = at.or(state.last_time);
                let object = &value["object"];
                if k8s::kind(object) == "Pod" && k8s::is_placeholder(object) {
                    let what = format!("{}:{}", place.file, place.at);
                    sink.report.drop_row("objects", "gang-placeholder", || what);
                    return Ok(false);
                }
                match k8s::text(&value, "/type") {
                    "ADDED" => state.put(sink, object, at, true, place),
                    "MODIFIED" => state.put(sink, object, at, false, place),
                    "DELETED" => state.delete(sink, object, at, place),
                    what @ ("BOOKMARK" | "ERROR") => {
                        let reason = if what == "ERROR" { "watch-error" } else { "bookmark" };
                        let message = k8s::text(object, "/message");
                        sink.report
                            .drop_row("objects", reason, || format!("{}:{} {message}", place.file, place.at));
                        Ok(false)
                    }
                    other => Err(place.error(
                        Problem::UnknownCode,
                        "type",
                        other,
                        "ADDED, MODIFIED, DELETED, BOOKMARK or ERROR",
                    )),
                }
            })?;
        }
        state.finish(sink)
    }
}

impl Importer for KwokSnapshot {
    fn name(&self) -> &'static str {
        "kwok-snapshot"
    }

    fn summary(&self) -> &'static str {
        "kwokctl snapshot export, with or without --record (YAML)"
    }

    fn tested_on(&self) -> &'static str {
        "no real file; hand-written documents of the documented form"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        sink.origin = Origin::Relative(None);
        let mut state = Tracker { snapshot: true, ..Tracker::default() };
        let mut stored: BTreeMap<String, Value> = BTreeMap::new();
        for file in files {
            read_objects(file, sink, &mut |sink, value, place| {
                if k8s::text(&value, "/kind") != "ResourcePatch" {
                    let dropped = if k8s::kind(&value) != "Pod" {
                        None
                    } else if k8s::life(&value, place)?.over {
                        Some("finished-before-snapshot")
                    } else if k8s::is_placeholder(&value) {
                        Some("gang-placeholder")
                    } else {
                        None
                    };
                    if let Some(reason) = dropped {
                        sink.report.drop_row("objects", reason, || format!("{}:{}", place.file, place.at));
                        // Later patches of it are no news.
                        state.gone.insert(key_of(
                            "Pod",
                            k8s::namespace(&value),
                            k8s::text(&value, "/metadata/name"),
                        ));
                        return Ok(false);
                    }
                    let key = key_of(
                        k8s::kind(&value),
                        k8s::namespace(&value),
                        k8s::text(&value, "/metadata/name"),
                    );
                    let kept = state.put(sink, &value, None, true, place)?;
                    if kept {
                        stored.insert(key, Value::Object(essence(&value)));
                    }
                    return Ok(kept);
                }
                state.recorded = true;
                let kind = match k8s::text(&value, "/resource/resource") {
                    "pods" => "Pod",
                    "nodes" => "Node",
                    other => {
                        let what = format!("{}:{} ({other})", place.file, place.at);
                        sink.report.drop_row("objects", "not-a-workload", || what);
                        return Ok(false);
                    }
                };
                let duration = value.get("durationNanosecond").and_then(Value::as_i64).filter(|d| *d >= 0);
                let Some(at) = duration else {
                    let text = value.get("durationNanosecond").map(Value::to_string).unwrap_or_default();
                    let problem =
                        if text.starts_with('-') { Problem::NegativeTime } else { Problem::NotANumber };
                    return Err(place.error(
                        problem,
                        "durationNanosecond",
                        &text,
                        "nanoseconds of at least 0",
                    ));
                };
                if state.last_time.is_some_and(|last| at < last) {
                    return Err(place.error(
                        Problem::TimeGoesBack,
                        "durationNanosecond",
                        "",
                        "patches in order of time",
                    ));
                }
                state.last_time = Some(at);
                let namespace = match k8s::text(&value, "/target/namespace") {
                    "" => "default",
                    n => n,
                };
                let key = key_of(kind, namespace, k8s::text(&value, "/target/name"));
                let method = k8s::text(&value, "/method");
                if method == "create" {
                    state.gone.remove(&key);
                } else if state.gone.contains(&key) {
                    let what = format!("{}:{} ({key})", place.file, place.at);
                    sink.report.drop_row("objects", "finished-before-snapshot", || what);
                    return Ok(false);
                }
                let mut template = value.get("template").cloned().unwrap_or(Value::Null);
                if let Value::String(text) = &template {
                    template = serde_json::from_str(text).map_err(|e| {
                        place.error(Problem::BadSyntax, "template", text, format!("JSON ({e})"))
                    })?;
                }
                match method {
                    "create" => {
                        if let Value::Object(o) = &mut template {
                            o.entry("kind").or_insert_with(|| Value::String(kind.to_string()));
                        }
                        let kept = state.put(sink, &template, Some(at), true, place)?;
                        stored.insert(key, Value::Object(essence(&template)));
                        Ok(kept)
                    }
                    "patch" => {
                        let Some(object) = stored.get_mut(&key) else {
                            return Err(place.error(
                                Problem::DanglingReference,
                                "target",
                                &key,
                                "a resource of the snapshot, or one created before",
                            ));
                        };
                        strategic_merge(object, &template, 0);
                        let object = object.clone();
                        state.put(sink, &object, Some(at), false, place)
                    }
                    "delete" => match stored.remove(&key) {
                        Some(object) => state.delete(sink, &object, Some(at), place),
                        None => Err(place.error(
                            Problem::DeleteBeforeCreate,
                            "target",
                            &key,
                            "a resource of the snapshot, or one created before",
                        )),
                    },
                    other => {
                        Err(place.error(Problem::UnknownCode, "method", other, "create, patch or delete"))
                    }
                }
            })?;
        }
        state.finish(sink)
    }
}

fn key_of(kind: &str, namespace: &str, name: &str) -> String {
    if kind == "Node" { format!("Node/{name}") } else { format!("{kind}/{namespace}/{name}") }
}

/// What patches can change and rows need: the object without what is long and read by nobody.
fn essence(object: &Value) -> serde_json::Map<String, Value> {
    let mut out = object.as_object().cloned().unwrap_or_default();
    if let Some(meta) = out.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
    if let Some(status) = out.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("images");
    }
    out
}

/// By which key Kubernetes merges the objects of a list; `None`: the list is replaced.
fn merge_key(list: &str) -> Option<&'static str> {
    match list {
        "conditions" | "addresses" => Some("type"),
        "containers" | "initContainers" | "ephemeralContainers" | "env" | "volumes" | "imagePullSecrets" => {
            Some("name")
        }
        "ownerReferences" => Some("uid"),
        "ports" => Some("containerPort"),
        "volumeMounts" => Some("mountPath"),
        "topologySpreadConstraints" => Some("topologyKey"),
        "hostAliases" | "podIPs" | "hostIPs" => Some("ip"),
        _ => None,
    }
}

/// Kubernetes' strategic merge patch, with its directives: `$patch`, `$retainKeys`, `$setElementOrder/..`,
/// `$deleteFromPrimitiveList/..`. Lists without a merge key (containerStatuses, taints, tolerations) are replaced.
fn strategic_merge(target: &mut Value, patch: &Value, depth: u32) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    // Documents are not nested more deeply than their parser allows.
    if depth > 128 {
        return;
    }
    if !target.is_object() || patch.get("$patch").and_then(Value::as_str) == Some("replace") {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    if let Some(keep) = patch.get("$retainKeys").and_then(Value::as_array) {
        target.retain(|key, _| keep.iter().any(|k| k.as_str() == Some(key)));
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            if let (Some(Value::Array(from)), Value::Array(gone)) = (target.get_mut(list), value) {
                from.retain(|v| !gone.contains(v));
            }
        } else if key.starts_with('$') {
            // `$patch` and `$retainKeys` are done; the order of elements says nothing here.
        } else if value.is_null() {
            target.remove(key);
        } else if let (Some(by), Value::Array(changes)) = (merge_key(key), value) {
            let list = target.entry(key.clone()).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                merge_list(list, changes, by, depth);
            }
        } else {
            strategic_merge(target.entry(key.clone()).or_insert(Value::Null), value, depth + 1);
        }
    }
}

fn merge_list(list: &mut Vec<Value>, changes: &[Value], by: &str, depth: u32) {
    if changes.iter().any(|c| c.get("$patch").and_then(Value::as_str) == Some("replace")) {
        list.clear();
    }
    for change in changes {
        let same = |v: &Value| v.get(by).is_some() && v.get(by) == change.get(by);
        match change.get("$patch").and_then(Value::as_str) {
            Some("delete") => list.retain(|v| !same(v)),
            Some("replace") if change.get(by).is_none() => {}
            _ => match list.iter_mut().find(|v| same(v)) {
                Some(element) => strategic_merge(element, change, depth + 1),
                None => list.push(change.clone()),
            },
        }
    }
}

fn event_time(value: &Value, place: &Place) -> Result<Option<i64>, TraceError> {
    for key in ["ts", "time", "timestamp", "receivedAt"] {
        match value.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::String(_)) => return k8s::time(value, &format!("/{key}"), place),
            Some(Value::Number(n)) => {
                let text = n.to_string();
                return crate::trace::number::unix_ns_of_any_size(&text)
                    .map(Some)
                    .map_err(|_| place.error(Problem::NotANumber, key, &text, "a Unix time"));
            }
            Some(other) => return Err(place.error(Problem::NotANumber, key, &other.to_string(), "a time")),
        }
    }
    Ok(None)
}

struct Live {
    pod: Pod,
    life: Life,
    initial: bool,
    place: Place,
}

/// Follows pods and nodes through events.
#[derive(Default)]
struct Tracker {
    live: BTreeMap<String, Live>,
    nodes: BTreeMap<String, super::Node>,
    /// Nodes that have not been ready yet: when they joined, and whether that was told by an event.
    starting: BTreeMap<String, (i64, bool)>,
    /// What is there without a time was there at the start.
    snapshot: bool,
    recorded: bool,
    last_time: Option<i64>,
    relisted: u64,
    refined: u64,
    /// Pods that were over when the snapshot was taken.
    gone: BTreeSet<String>,
}

impl Tracker {
    /// An object without an event around it: whatever is new is added.
    fn bare(&mut self, sink: &mut Sink, object: &Value, place: &Place) -> Result<bool, TraceError> {
        let known = match k8s::kind(object) {
            "Pod" => self.live.contains_key(&k8s::pod_uid(object)),
            _ => self.nodes.contains_key(k8s::text(object, "/metadata/name")),
        };
        sink.report.note("objects without events: deletions show only in phase and deletionTimestamp");
        self.put(sink, object, None, !known, place)
    }

    fn put(
        &mut self,
        sink: &mut Sink,
        object: &Value,
        at: Option<i64>,
        added: bool,
        place: &Place,
    ) -> Result<bool, TraceError> {
        match k8s::kind(object) {
            "Pod" => self.put_pod(sink, object, at, added, place).map(|()| true),
            "Node" => {
                let mut node = k8s::node(object, NodeOp::Add, place)?;
                let t = match at {
                    Some(t) => t,
                    None if self.snapshot => AT_ORIGIN,
                    None => k8s::time(object, "/metadata/creationTimestamp", place)?.unwrap_or(AT_ORIGIN),
                };
                match self.nodes.get(&node.name) {
                    Some(old) if *old == node => return Ok(true),
                    Some(_) if self.starting.contains_key(&node.name) => {
                        self.nodes.insert(node.name.clone(), node.clone());
                        if k8s::started(&node).is_none() {
                            sink.report.invent("nodes.taints", k8s::STARTED);
                            self.join(sink, &node.name)?;
                        }
                    }
                    Some(_) => {
                        self.nodes.insert(node.name.clone(), node.clone());
                        node.op = NodeOp::Update;
                        if t == AT_ORIGIN || at.is_none() {
                            // A change without a time cannot be placed.
                            sink.report.drop_row("objects", "node-change-without-time", || {
                                format!("{}:{}", place.file, place.at)
                            });
                            return Ok(false);
                        }
                        sink.node(t, &node)?;
                    }
                    None => {
                        self.nodes.insert(node.name.clone(), node.clone());
                        self.starting.insert(node.name.clone(), (t, at.is_some()));
                        if k8s::started(&node).is_none() {
                            self.join(sink, &node.name)?;
                        }
                    }
                }
                Ok(true)
            }
            "" => Err(place.error(Problem::EmptyField, "object.kind", "", "a Pod or a Node")),
            kind => {
                let what = format!("{}:{} (kind {kind})", place.file, place.at);
                sink.report.drop_row("objects", "not-a-workload", || what);
                Ok(false)
            }
        }
    }

    /// Writes that a node joined, as it is now.
    fn join(&mut self, sink: &mut Sink, name: &str) -> Result<(), TraceError> {
        match (self.starting.remove(name), self.nodes.get(name)) {
            (Some((t, true)), Some(node)) => sink.node(t, node),
            (Some((t, false)), Some(node)) => sink.node_since(t, node),
            _ => Ok(()),
        }
    }

    fn put_pod(
        &mut self,
        sink: &mut Sink,
        object: &Value,
        at: Option<i64>,
        added: bool,
        place: &Place,
    ) -> Result<(), TraceError> {
        let uid = k8s::pod_uid(object);
        let mut now = k8s::life(object, place)?;
        if self.snapshot {
            // Times in the objects are of another clock than the recording.
            now = Life { node: now.node, over: now.over, running: now.running.map(|_| 0), ..Life::default() };
        }
        if let Some(live) = self.live.get_mut(&uid) {
            if added {
                self.relisted += 1;
            }
            let life = &mut live.life;
            if life.node.is_empty() && !now.node.is_empty() {
                life.node = now.node;
                life.bound = at.or(now.bound);
            }
            if life.running.is_none() && now.running.is_some() {
                life.running = if self.snapshot { at } else { at.or(now.running) };
            }
            if now.over && !life.over {
                life.over = true;
                life.finished = at.or(now.finished);
            }
            return Ok(());
        }
        if !added {
            return Err(place.error(
                Problem::DanglingReference,
                "object.metadata.uid",
                &uid,
                "ADDED before MODIFIED; record from the initial list on",
            ));
        }
        if !sink.first_seen(&uid) {
            return Err(place.error(
                Problem::DuplicateId,
                "object.metadata.uid",
                &uid,
                "a new uid after DELETED",
            ));
        }
        let initial = self.snapshot && at.is_none();
        if self.snapshot {
            now.created = Some(at.unwrap_or(0));
            if !now.node.is_empty() {
                now.bound = now.created;
            }
        } else if now.created.is_none() {
            now.created = at;
        } else if let (Some(created), Some(seen)) = (now.created, at)
            && seen > created
            && seen - created < 2 * SECOND as i64
            && now.bound.or(now.running).or(now.finished).is_none()
        {
            // The object's time is cut to the second: the event says when within it. A watch shows a pod milliseconds later:
            // what it shows in the next second was created at the end of this one.
            now.created = Some(seen.min(created.saturating_add(SECOND as i64 - 1)));
            self.refined += 1;
        }
        k8s::agree(sink, &mut now);
        let mut first = now.clone();
        first.finished = None;
        let pod = k8s::pod(sink, object, &first, place)?;
        self.live.insert(uid, Live { pod, life: now, initial, place: place.clone() });
        Ok(())
    }

    fn delete(
        &mut self,
        sink: &mut Sink,
        object: &Value,
        at: Option<i64>,
        place: &Place,
    ) -> Result<bool, TraceError> {
        if k8s::kind(object) == "Node" {
            let mut node = k8s::node(object, NodeOp::Remove, place)?;
            if !self.nodes.contains_key(&node.name) {
                return Err(place.error(
                    Problem::DeleteBeforeCreate,
                    "object",
                    &node.name,
                    "ADDED before DELETED",
                ));
            }
            // Nodes have no finalizers as a rule, and then no deletionTimestamp either: without a recorder's time nobody knows
            // when, and the node stays.
            let Some(t) = at.or(k8s::time(object, "/metadata/deletionTimestamp", place)?) else {
                let what = format!("{}:{} ({})", place.file, place.at, node.name);
                sink.report.drop_row("objects", "node-deletion-without-time", || what);
                return Ok(false);
            };
            self.join(sink, &node.name)?;
            self.nodes.remove(&node.name);
            node.labels.clear();
            node.taints.clear();
            sink.node(t, &node)?;
            return Ok(true);
        }
        if k8s::kind(object) != "Pod" {
            let what = format!("{}:{}", place.file, place.at);
            sink.report.drop_row("objects", "not-a-workload", || what);
            return Ok(false);
        }
        let uid = k8s::pod_uid(object);
        let Some(mut live) = self.live.remove(&uid) else {
            return Err(place.error(
                Problem::DeleteBeforeCreate,
                "object.metadata.uid",
                &uid,
                "ADDED before DELETED",
            ));
        };
        let mut last = if self.snapshot { Life::default() } else { k8s::life(object, place)? };
        if live.life.bound.is_none() {
            live.life.bound = last.bound;
        }
        if live.life.running.is_none() {
            live.life.running = last.running;
        }
        if live.life.node.is_empty() {
            live.life.node = std::mem::take(&mut last.node);
        }
        if live.life.finished.is_none() {
            let deleted = k8s::time(object, "/metadata/deletionTimestamp", place)?;
            live.life.finished = last.finished.or(at).or(if self.snapshot { None } else { deleted });
        }
        self.emit(sink, live, place).map(|()| true)
    }

    fn emit(&mut self, sink: &mut Sink, mut live: Live, place: &Place) -> Result<(), TraceError> {
        k8s::agree(sink, &mut live.life);
        k8s::set_life(&mut live.pod, &live.life, place)?;
        let bound_at_start = live.initial && live.life.bound.is_some();
        // Who is created on a node is never bound, and yet runs.
        let started = live.life.bound.or(live.life.running).is_some();
        match (started, live.life.finished) {
            (false, Some(t)) => sink.event(t, EventOp::PodDelete, &live.pod.uid, "")?,
            (_, None) => {
                sink.report.invent("pods.run_ns", "none: alive at the end of the recording, runs to the end")
            }
            _ => {}
        }
        if self.snapshot && !self.recorded {
            live.pod.outcome = None;
        }
        if bound_at_start {
            let node = live.life.node.clone();
            sink.bound_pod(&live.pod, &node)
        } else {
            sink.pod(&live.pod)
        }
    }

    fn finish(mut self, sink: &mut Sink) -> Result<(), TraceError> {
        let starting: Vec<String> = self.starting.keys().cloned().collect();
        for name in starting {
            self.join(sink, &name)?;
        }
        let rest = std::mem::take(&mut self.live);
        for (_, live) in rest {
            let place = live.place.clone();
            if let Err(e) = self.emit(sink, live, &place) {
                sink.bad_kept("objects", e)?;
            }
        }
        sink.report.invent_n(
            "pods.submit_ns",
            "the event's time, at most the end of creationTimestamp's second",
            self.refined,
        );
        if self.relisted > 0 {
            sink.report.note(format!(
                "{} ADDED events of known pods (relists) were taken as updates",
                self.relisted
            ));
        }
        if self.snapshot && !self.recorded {
            sink.report
                .note("a snapshot without --record: everything is there at time 0 and nothing happens after");
        }
        Ok(())
    }
}
