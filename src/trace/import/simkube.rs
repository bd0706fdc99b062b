//! SimKube traces (`.sktrace`, versions 1 to 3): changes of workload objects, recorded by sk-tracer.
//!
//! **File.** One MessagePack map (or its JSON twin): version, config (tracked kinds and where their pod templates are),
//! events [{ts, applied_objs, deleted_objs}], index (3: tracked_objects), pod_lifecycles {(owner kind, owner name): {pod
//! hash: [..]}} where a lifecycle is `{"Finished": [start, end]}`, `{"Running": start}`, `"Empty"`, or {start_ts, end_ts}.
//! SimKube 1 wrote an array of config, events, index and pod_lifecycles, whose owners have names but no kinds.
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
//! The file is read twice: lifecycles come last and are needed first. Memory: O(one event + lifecycles + objects and pods
//! alive); an object that would make it more than a million pods is out-of-range.
//!
//! Source: simkube docs/ref/trace-files.md and sk-core's trace types. Tested on four `.sktrace` files and the JSON test
//! data of versions 2 and 3.

use std::collections::BTreeMap;

use serde_json::Value;

use super::kubernetes::{self as k8s, Place};
use super::{Importer, InputFile, Origin, Outcome, Pod, SECOND, Sink, TraceError};
use crate::trace::documents;
use crate::trace::error::Problem;
use crate::trace::model::EventOp;
use crate::trace::msgpack::{self, MsgpackError};
use crate::trace::report::thousands;
use crate::trace::source::{empty_file, read_problem};

/// The importer.
pub struct SimKube;

const EVENTS: &str = "events";
const OBJECTS: &str = "objects";
/// Pods that are alive at a time: they are held in memory, some 300 bytes each, until their end is known. More than
/// twice what the largest clusters run.
const MAX_ALIVE: u64 = 1_000_000;

impl Importer for SimKube {
    fn name(&self) -> &'static str {
        "simkube"
    }

    fn summary(&self) -> &'static str {
        "SimKube .sktrace (MessagePack or JSON)"
    }

    fn tested_on(&self) -> &'static str {
        "four .sktrace files and six JSON traces of SimKube (versions 2 and 3)"
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
        let mut state = State::default();
        let place = Place { file: file.display(), at: 0 };
        let mut version = None;
        let mut has_events = false;
        let read = each_part(file, &mut |part, key, value, _| {
            match (part, key) {
                (Part::Version, None) => version = Some(value),
                (Part::Config, Some("trackedObjects")) => state.tracked = value,
                (Part::Lifecycles, Some(owner)) => state.lifecycles(owner, &value),
                (Part::Events, _) => has_events = true,
                _ => {}
            }
            Ok(())
        });
        let version = match read {
            Err(e) => return sink.bad_file(EVENTS, e),
            Ok(Shape::Array) => 1,
            Ok(Shape::Map) => version.as_ref().and_then(Value::as_u64).unwrap_or(0),
        };
        if !(1..=3).contains(&version) {
            let expected = "1, 2 or 3 in an object of version, config, events and pod_lifecycles";
            let e = place.error(Problem::UnknownCode, "version", &version.to_string(), expected);
            return sink.bad_file(EVENTS, e);
        }
        if !has_events {
            let e = place.error(Problem::EmptyField, "events", "", "an array of events");
            return sink.bad_file(EVENTS, e);
        }
        let mut last = i64::MIN;
        each_part(file, &mut |part, _, event, place| {
            if part != Part::Events {
                return Ok(());
            }
            sink.report.table(EVENTS).read += 1;
            let result = event_seconds(&event, place).and_then(|t| {
                if t < last {
                    return Err(place.error(Problem::TimeGoesBack, "ts", "", "events in order of time"));
                }
                last = t;
                sink.begins_at(t);
                state.event(sink, &event, t, place)
            });
            match result {
                Ok(()) => sink.report.table(EVENTS).kept += 1,
                Err(e) => sink.bad(EVENTS, e)?,
            }
            Ok(())
        })?;
        state.finish(sink)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Version,
    Config,
    Events,
    Lifecycles,
}

const PARTS: [Part; 4] = [Part::Version, Part::Config, Part::Events, Part::Lifecycles];
const NAMES: [&str; 4] = ["version", "config", "events", "pod_lifecycles"];
/// The order in SimKube 1's array.
const ORDER: [&str; 4] = ["config", "events", "index", "pod_lifecycles"];
/// Bytes of one event in JSON: the first one holds every object of the cluster.
const LONGEST: usize = 256 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Map,
    Array,
}

/// Takes a piece of a part, its key if it is an entry of a map, and where it is.
type Each<'a> = dyn FnMut(Part, Option<&str>, Value, &Place) -> Result<(), TraceError> + 'a;

/// Reads the parts of a trace, whichever way it is written. Events are numbered, for MessagePack has no lines.
fn each_part(file: &InputFile, each: &mut Each<'_>) -> Result<Shape, TraceError> {
    let name = file.display();
    let mut reader = file.open()?;
    let first = reader.fill_buf().map_err(|e| TraceError::from(read_problem(&name, 0, &e)))?;
    let first = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first);
    let (is_text, shape) = match first.iter().find(|b| !b.is_ascii_whitespace()) {
        None => return Err(empty_file(&name).into()),
        // A map and an array of four, as MessagePack begins them.
        Some(b'{') => (true, Shape::Map),
        Some(0x94) => (false, Shape::Array),
        Some(_) => (false, Shape::Map),
    };
    let mut place = Place { file: name.clone(), at: 0 };
    let mut numbered = |part: usize, key: Option<&str>, value: Value| {
        place.at += u64::from(PARTS[part] == Part::Events);
        each(PARTS[part], key, value, &place)
    };
    if is_text {
        drop(reader);
        let paths = NAMES.map(|name| [name]);
        let paths = paths.each_ref().map(|path| &path[..]);
        return documents::each_part(file, LONGEST, &paths, &mut |part, key, value, _| {
            numbered(part, key, value)
        })
        .map(|()| shape);
    }
    msgpack::each_part(&mut reader, &NAMES, &ORDER, &mut numbered).map(|()| shape).map_err(|e| match e {
        MsgpackError::Callback(e) => e,
        MsgpackError::Io(e) => read_problem(&name, 0, &e).into(),
        MsgpackError::Malformed { offset, message } => {
            let problem = match message {
                m if m.contains("ends early") => Problem::Truncated,
                m if m.contains("deeply") => Problem::TooDeep,
                m if m.contains("million") => Problem::TooLong,
                _ => Problem::BadSyntax,
            };
            let place = Place { file: name.clone(), at: 0 };
            place.error(problem, "", "", format!("a SimKube trace in MessagePack (byte {offset}: {message})"))
        }
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

struct Owned {
    template: Value,
    pods: Vec<Pod>,
    /// Whether pods come from lifecycles only.
    scheduled: bool,
}

/// Recorded (start, end) of pods, in order of start.
type Lifecycles = Vec<(i64, Option<i64>)>;

#[derive(Default)]
struct State {
    /// `config.trackedObjects`.
    tracked: Value,
    objects: BTreeMap<String, Owned>,
    /// By owner, `KIND\tNAMESPACE/NAME`; without the kind in version 1.
    lifecycles: BTreeMap<String, Lifecycles>,
    used: BTreeMap<String, usize>,
    created: BTreeMap<String, u64>,
    /// Pods of all objects.
    alive: u64,
    replaced: u64,
}

impl State {
    fn lifecycles(&mut self, owner: &str, by_hash: &Value) {
        let second = |v: &Value| v.as_i64().and_then(|s| s.checked_mul(SECOND as i64));
        let list = self.lifecycles.entry(owner.to_string()).or_default();
        let entries = by_hash.as_object().into_iter().flat_map(|o| o.values());
        for entry in entries.filter_map(Value::as_array).flatten() {
            let finished = entry.get("Finished").and_then(Value::as_array);
            if let Some([start, end]) = finished.map(Vec::as_slice) {
                if let (Some(s), Some(e)) = (second(start), second(end)) {
                    list.push((s, Some(e.max(s))));
                }
            } else if let Some(s) = entry.get("Running").and_then(second) {
                list.push((s, None));
            } else if let Some(s) = entry.get("start_ts").and_then(second) {
                list.push((s, entry.get("end_ts").and_then(second).map(|e| e.max(s))));
            }
        }
        list.sort_unstable();
    }

    /// The key under which the lifecycles of an object's pods are.
    fn owner(&self, key: &str) -> String {
        match key.split_once('\t') {
            Some((_, name)) if !self.lifecycles.contains_key(key) && self.lifecycles.contains_key(name) => {
                name.to_string()
            }
            _ => key.to_string(),
        }
    }

    fn event(&mut self, sink: &mut Sink, event: &Value, t: i64, place: &Place) -> Result<(), TraceError> {
        let list = |name: &str| event.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or(&[]);
        for object in list("applied_objs") {
            sink.report.table(OBJECTS).read += 1;
            match self.apply(sink, object, t, place) {
                Ok(()) => sink.report.table(OBJECTS).kept += 1,
                Err(e) => sink.bad(OBJECTS, e)?,
            }
        }
        for object in list("deleted_objs") {
            sink.report.table(OBJECTS).read += 1;
            let key = key_of(object);
            match self.objects.remove(&key) {
                Some(owned) => {
                    self.alive -= owned.pods.len() as u64;
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

    fn apply(&mut self, sink: &mut Sink, object: &Value, t: i64, place: &Place) -> Result<(), TraceError> {
        let key = key_of(object);
        if k8s::text(object, "/metadata/name").is_empty() {
            return Err(place.error(Problem::EmptyField, "metadata.name", "", "a name"));
        }
        let (replicas, template, scheduled) = shape(&self.tracked, object);
        let template = template.cloned().unwrap_or(Value::Null);
        let owner = self.owner(&key);
        let before = self.objects.get(&key);
        let is_replaced = !scheduled && before.is_some_and(|o| o.template != template);
        let has = before.map_or(0, |o| o.pods.len() as u64);
        let kept = if is_replaced { 0 } else { has };
        let room = MAX_ALIVE - (self.alive - has);
        let fits = match replicas {
            n if n > room => Err(format!(
                "at most {}: an import holds {} pods alive at a time",
                thousands(room),
                thousands(MAX_ALIVE)
            )),
            n => sink.expand(n.saturating_sub(kept)),
        };
        fits.map_err(|expected| {
            let field =
                if k8s::text(object, "/kind") == "Job" { "spec.completions" } else { "spec.replicas" };
            place.error(Problem::OutOfRange, field, &replicas.to_string(), expected)
        })?;
        let mut pods = self.objects.remove(&key).map_or_else(Vec::new, |o| o.pods);
        self.alive -= has;
        if is_replaced {
            self.replaced += pods.len() as u64;
            for pod in pods.drain(..) {
                emit(sink, pod, Some(t))?;
            }
        }
        while pods.len() as u64 > replicas {
            if let Some(pod) = pods.pop() {
                emit(sink, pod, Some(t))?;
            }
        }
        while (pods.len() as u64) < replicas {
            let pod = self.make(sink, object, &template, &key, t, place)?;
            pods.push(pod);
        }
        if scheduled {
            let n = self.lifecycles.get(&owner).map_or(0, Vec::len);
            let at = self.used.entry(owner.clone()).or_insert(0);
            let first = std::mem::replace(at, n);
            let starts: Vec<i64> = self
                .lifecycles
                .get(&owner)
                .map(|l| l[first.min(n)..].iter().map(|l| l.0).collect())
                .unwrap_or_default();
            for (i, start) in starts.into_iter().enumerate() {
                self.used.insert(owner.clone(), first + i);
                let mut pod = self.make(sink, object, &template, &key, start, place)?;
                // Its creation is made up from its start.
                if let Some(outcome) = &mut pod.outcome {
                    outcome.created = None;
                }
                emit(sink, pod, None)?;
                sink.report.invent("pods.submit_ns", "its recorded start (creation is not recorded)");
            }
        }
        self.alive += pods.len() as u64;
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
        k8s::note_unknown(sink, &template["spec"]);
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
        let owner = self.owner(key);
        let at = self.used.entry(owner.clone()).or_insert(0);
        if let Some(&(start, end)) = self.lifecycles.get(&owner).and_then(|l| l.get(*at)) {
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
        let unused = self.lifecycles.keys().filter(|k| !self.used.contains_key(*k)).count();
        if unused > 0 {
            sink.report.note(format!("lifecycles of {unused} owners that were never applied are not used"));
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
fn shape<'a>(tracked: &Value, object: &'a Value) -> (u64, Option<&'a Value>, bool) {
    match k8s::text(object, "/kind") {
        "Pod" => return (1, Some(object), false),
        "CronJob" => return (0, object.pointer("/spec/jobTemplate/spec/template"), true),
        _ => {}
    }
    if let Some((n, template)) = k8s::template(object) {
        return (n, Some(template), false);
    }
    let kind = tracked.get(gvk(object));
    let paths = kind.and_then(|t| t.get("podSpecTemplatePaths")).and_then(Value::as_array);
    let template = paths.and_then(|p| p.iter().filter_map(Value::as_str).find_map(|p| object.pointer(p)));
    let replicas = object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
    (if template.is_some() { replicas } else { 0 }, template, template.is_none())
}
