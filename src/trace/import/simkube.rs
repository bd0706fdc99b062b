//! SimKube traces (`.sktrace`, version 2): changes of workload objects, recorded by sk-tracer.
//!
//! **File.** One MessagePack map (or its JSON twin): version, config (tracked kinds and where their pod templates are),
//! events [{ts, applied_objs, deleted_objs}], index, pod_lifecycles {(owner kind, owner name): {pod hash: [..]}} where
//! a lifecycle is `{"Finished": [start, end]}`, `{"Running": start}`, `"Empty"`, or {start_ts, end_ts}.
//!
//! **Units.** Unix seconds.
//!
//! **Objects become pods.** A tracked object creates `replicas` pods when it is applied; more replicas add pods, fewer
//! delete the newest; another template replaces all of them at once (a rolling update is not replayed); deleting the
//! object deletes them. Recorded lifecycles of an owner are given to its pods in order of start. Owners whose pods
//! come from a schedule (CronJob) or elsewhere create one pod a recorded lifecycle, at its start.
//!
//! **What it cannot tell.** Nodes, when pods were created and bound (only when they ran), queues, users. Lifecycles
//! are joined by owner, for the pod hash cannot be recomputed here. An object deleted but never applied was not
//! tracked from its beginning: counted and left out.
//!
//! Source: simkube docs/ref/trace-files.md. Tested on five `.sktrace`/JSON samples of SimKube.

use std::collections::BTreeMap;

use serde_json::Value;

use super::kubernetes::{self as k8s, Place};
use super::{Importer, Origin, Outcome, Pod, SECOND, Sink, TraceError};
use crate::trace::error::Problem;
use crate::trace::input::{self, InputFile};
use crate::trace::model::EventOp;
use crate::trace::msgpack;

/// The importer.
pub struct SimKube;

const EVENTS: &str = "events";
const OBJECTS: &str = "objects";

impl Importer for SimKube {
    fn name(&self) -> &'static str {
        "simkube"
    }

    fn summary(&self) -> &'static str {
        "SimKube .sktrace (MessagePack or JSON)"
    }

    fn tested_on(&self) -> &'static str {
        "four .sktrace files and three JSON traces of SimKube"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        let [file] = files else {
            let names: Vec<String> = files.iter().map(InputFile::file_name).collect();
            return Err(TraceError::Usage(format!(
                "simkube: one trace at a time, found {} ({}); name one",
                files.len(),
                names.join(", ")
            )));
        };
        sink.origin = Origin::Unix;
        sink.begin_file(file, EVENTS);
        let place = Place { file: file.display(), at: 0 };
        let trace = match load(file, &place) {
            Ok(trace) => trace,
            Err(e) => return sink.bad(EVENTS, e),
        };
        if trace.get("version").and_then(Value::as_u64) != Some(2) {
            let version = trace.get("version").map_or("nothing".to_string(), Value::to_string);
            return Err(place.error(
                Problem::UnknownCode,
                "version",
                &version,
                "2 (record again with SimKube 2)",
            ));
        }
        let Some(events) = trace.get("events").and_then(Value::as_array) else {
            return Err(place.error(Problem::EmptyField, "events", "", "an array of events"));
        };
        let mut state = State { lifecycles: lifecycles(&trace), ..State::default() };
        let mut last = i64::MIN;
        for (i, event) in events.iter().enumerate() {
            let place = Place { file: place.file.clone(), at: i as u64 + 1 };
            sink.report.table(EVENTS).read += 1;
            let result = event_seconds(event, &place).and_then(|t| {
                if t < last {
                    return Err(place.error(Problem::TimeGoesBack, "ts", "", "events in order of time"));
                }
                last = t;
                sink.begins_at(t);
                state.event(sink, &trace, event, t, &place)
            });
            match result {
                Ok(()) => sink.report.table(EVENTS).kept += 1,
                Err(e) => sink.bad(EVENTS, e)?,
            }
        }
        state.finish(sink)
    }
}

fn load(file: &InputFile, place: &Place) -> Result<Value, TraceError> {
    let bytes = input::read_all(&file.path, 1 << 30)?;
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{') {
        return serde_json::from_slice(&bytes).map_err(|e| {
            let place = Place { file: place.file.clone(), at: e.line() as u64 };
            let problem = if e.is_eof() { Problem::Truncated } else { Problem::BadSyntax };
            place.error(problem, "", "", format!("a JSON SimKube trace ({e})"))
        });
    }
    msgpack::decode(&bytes).map_err(|e| {
        let problem = if e.message.contains("ends early") { Problem::Truncated } else { Problem::BadSyntax };
        place.error(problem, "", "", format!("MessagePack (byte {}: {})", e.offset, e.message))
    })
}

fn event_seconds(event: &Value, place: &Place) -> Result<i64, TraceError> {
    let ts = event.get("ts");
    match ts.and_then(Value::as_i64) {
        Some(t) if t < 0 => Err(place.error(Problem::NegativeTime, "ts", &t.to_string(), "a Unix time")),
        Some(t) => t
            .checked_mul(SECOND as i64)
            .ok_or_else(|| place.error(Problem::OutOfRange, "ts", &t.to_string(), "a Unix time in seconds")),
        None => {
            let text = ts.map(Value::to_string).unwrap_or_default();
            Err(place.error(Problem::NotANumber, "ts", &text, "a Unix time in whole seconds"))
        }
    }
}

/// Recorded (start, end) of pods by owner `ns/name`, in order of start.
fn lifecycles(trace: &Value) -> BTreeMap<String, Vec<(i64, Option<i64>)>> {
    let mut out: BTreeMap<String, Vec<(i64, Option<i64>)>> = BTreeMap::new();
    let Some(owners) = trace.get("pod_lifecycles").and_then(Value::as_object) else { return out };
    let second = |v: &Value| v.as_i64().and_then(|s| s.checked_mul(SECOND as i64));
    for (owner, by_hash) in owners {
        let Some(by_hash) = by_hash.as_object() else { continue };
        let list = out.entry(owner.clone()).or_default();
        for entry in by_hash.values().filter_map(Value::as_array).flatten() {
            let finished = entry.get("Finished").and_then(Value::as_array);
            if let Some([start, end]) = finished.map(Vec::as_slice) {
                if let (Some(s), Some(e)) = (second(start), second(end)) {
                    list.push((s, Some(e.max(s))));
                }
            } else if let Some(s) = entry.get("Running").and_then(second) {
                list.push((s, None));
            } else if let Some(s) = entry.get("start_ts").and_then(second) {
                list.push((s, entry.get("end_ts").and_then(second)));
            }
        }
        list.sort_unstable();
    }
    out
}

struct Owned {
    template: Value,
    pods: Vec<Pod>,
    /// Whether pods come from lifecycles only.
    scheduled: bool,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Owned>,
    lifecycles: BTreeMap<String, Vec<(i64, Option<i64>)>>,
    used: BTreeMap<String, usize>,
    created: BTreeMap<String, u64>,
    replaced: u64,
}

impl State {
    fn event(
        &mut self,
        sink: &mut Sink,
        trace: &Value,
        event: &Value,
        t: i64,
        place: &Place,
    ) -> Result<(), TraceError> {
        let list = |name: &str| event.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or(&[]);
        for object in list("applied_objs") {
            sink.report.table(OBJECTS).read += 1;
            self.apply(sink, trace, object, t, place)?;
            sink.report.table(OBJECTS).kept += 1;
        }
        for object in list("deleted_objs") {
            sink.report.table(OBJECTS).read += 1;
            let key = key_of(object);
            match self.objects.remove(&key) {
                Some(owned) => {
                    for pod in owned.pods {
                        emit(sink, pod, Some(t))?;
                    }
                    sink.report.table(OBJECTS).kept += 1;
                }
                None => sink.report.drop_row(OBJECTS, "delete-before-create", || {
                    format!(
                        "{}: event {}: {} was never applied",
                        place.file,
                        place.at,
                        key.replace('\t', " ")
                    )
                }),
            }
        }
        Ok(())
    }

    fn apply(
        &mut self,
        sink: &mut Sink,
        trace: &Value,
        object: &Value,
        t: i64,
        place: &Place,
    ) -> Result<(), TraceError> {
        let key = key_of(object);
        if k8s::text(object, "/metadata/name").is_empty() {
            return Err(place.error(Problem::EmptyField, "metadata.name", "", "a name"));
        }
        let (replicas, template, scheduled) = shape(trace, object, &key);
        let template = template.cloned().unwrap_or(Value::Null);
        let (mut pods, old) = match self.objects.remove(&key) {
            Some(o) => (o.pods, Some(o.template)),
            None => (Vec::new(), None),
        };
        if old.is_some_and(|old| old != template) && !scheduled {
            self.replaced += pods.len() as u64;
            for pod in pods.drain(..) {
                emit(sink, pod, Some(t))?;
            }
        }
        while pods.len() > replicas {
            if let Some(pod) = pods.pop() {
                emit(sink, pod, Some(t))?;
            }
        }
        while pods.len() < replicas {
            let pod = self.make(sink, object, &template, &key, t, place)?;
            pods.push(pod);
        }
        if scheduled {
            let n = self.lifecycles.get(&key).map_or(0, Vec::len);
            let at = self.used.entry(key.clone()).or_insert(0);
            let first = std::mem::replace(at, n);
            let starts: Vec<i64> = self
                .lifecycles
                .get(&key)
                .map(|l| l[first.min(n)..].iter().map(|l| l.0).collect())
                .unwrap_or_default();
            for (i, start) in starts.into_iter().enumerate() {
                self.used.insert(key.clone(), first + i);
                let mut pod = self.make(sink, object, &template, &key, start, place)?;
                // Its creation is made up from its start.
                if let Some(outcome) = &mut pod.outcome {
                    outcome.created = None;
                }
                emit(sink, pod, None)?;
                sink.report.invent("pods.submit_ns", "its recorded start (creation is not recorded)");
            }
        }
        self.objects.insert(key, Owned { template, pods, scheduled });
        Ok(())
    }

    fn make(
        &mut self,
        sink: &mut Sink,
        object: &Value,
        template: &Value,
        key: &str,
        t: i64,
        place: &Place,
    ) -> Result<Pod, TraceError> {
        let namespace = k8s::namespace(object).to_string();
        let name = k8s::text(object, "/metadata/name");
        let number = self.created.entry(key.to_string()).or_insert(0);
        let row = k8s::spec_row(&namespace, &template["metadata"], &template["spec"], place)?;
        let mut pod = Pod { submit: t, spec: sink.spec(row), ..Pod::default() };
        k8s::fill_belonging(&mut pod, &template["metadata"], &template["spec"]);
        if pod.app.is_empty() {
            pod.app = name.to_string();
        }
        let kind = k8s::text(object, "/kind").to_lowercase();
        pod.uid = if kind == "pod" && *number == 0 {
            format!("{namespace}/{name}")
        } else {
            format!("{namespace}/{kind}/{name}-{number}")
        };
        *number += 1;
        let at = self.used.entry(key.to_string()).or_insert(0);
        if let Some(&(start, end)) = self.lifecycles.get(key).and_then(|l| l.get(*at)) {
            *at += 1;
            pod.run_ns = end.map(|e| (e - start) as u64);
            // Its owner was applied then, in whole seconds.
            let created = (start >= t).then_some(t);
            pod.outcome =
                Some(Outcome { created, running: Some(start), finished: end, ..Outcome::default() });
        }
        Ok(pod)
    }

    fn finish(self, sink: &mut Sink) -> Result<(), TraceError> {
        let known: Vec<&String> = self.lifecycles.keys().filter(|k| !self.created.contains_key(*k)).collect();
        if !known.is_empty() {
            sink.report
                .note(format!("lifecycles of {} owners that were never applied are not used", known.len()));
        }
        for owned in self.objects.into_values().filter(|o| !o.scheduled) {
            for pod in owned.pods {
                emit(sink, pod, None)?;
            }
        }
        if self.replaced > 0 {
            sink.report.note(format!(
                "{} pods were replaced at once because their template changed (a rolling update is not replayed)",
                self.replaced
            ));
        }
        sink.report.absent("nodes", "SimKube traces have no nodes; give the scenario a cluster");
        Ok(())
    }
}

fn emit(sink: &mut Sink, pod: Pod, deleted: Option<i64>) -> Result<(), TraceError> {
    if pod.run_ns.is_none() {
        match deleted {
            Some(t) => {
                sink.report.invent("pods.run_ns", "none: runs until its owner deletes it (events)");
                sink.event(t, EventOp::PodDelete, &pod.uid, "")?;
            }
            None => sink.report.invent("pods.run_ns", "none: alive at the end of the trace, runs to the end"),
        }
    }
    sink.pod(&pod)
}

fn gvk(object: &Value) -> String {
    let kind = k8s::text(object, "/kind");
    match k8s::text(object, "/apiVersion") {
        "" => kind.to_string(),
        v => format!("{v}.{kind}"),
    }
}

fn key_of(object: &Value) -> String {
    format!("{}\t{}/{}", gvk(object), k8s::namespace(object), k8s::text(object, "/metadata/name"))
}

/// Replicas, pod template, and whether pods come from elsewhere (a schedule).
fn shape<'a>(trace: &'a Value, object: &'a Value, _key: &str) -> (usize, Option<&'a Value>, bool) {
    match k8s::text(object, "/kind") {
        "Pod" => return (1, Some(object), false),
        "CronJob" => return (0, object.pointer("/spec/jobTemplate/spec/template"), true),
        _ => {}
    }
    if let Some((n, template)) = k8s::template(object) {
        return (n as usize, Some(template), false);
    }
    let paths = trace
        .get("config")
        .and_then(|c| c.get("trackedObjects"))
        .and_then(|t| t.get(gvk(object)))
        .and_then(|t| t.get("podSpecTemplatePaths"))
        .and_then(Value::as_array);
    let template = paths.and_then(|p| p.iter().filter_map(Value::as_str).find_map(|p| object.pointer(p)));
    let replicas =
        object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1).min(1_000_000) as usize;
    (if template.is_some() { replicas } else { 0 }, template, template.is_none())
}
