//! kube-state-metrics series, as a Prometheus kept them: lossy, but often all there is.
//!
//! **Input.** Parquet of prom2parquet (one file a metric, its name in the file or folder name; columns timestamp (ms),
//! value, pod, namespace, node, container, labels `k=v,k=v`), Prometheus' HTTP API answers (`query`, `query_range`:
//! data.result [{metric, values}]), text exposition `name{labels} value [timestamp]` (Prometheus' own with ms, OpenMetrics with s), and CSV with header: a column
//! `timestamp` (or `time`; Unix s, ms, us or ns by size, or RFC 3339), `value`, the metric's name (`__name__`, `metric`,
//! `name`, or the file's name), and a column a label. With `exported_pod` and the like those are the pod's, as Prometheus
//! renames labels that its target has too.
//!
//! **Series used.** kube_pod_created, kube_pod_status_scheduled_time, kube_pod_start_time, kube_pod_completion_time (values
//! are Unix seconds); kube_pod_status_phase, kube_pod_info (node), kube_pod_owner (application),
//! kube_pod_container_resource_requests and the same of init containers; kube_node_status_allocatable, kube_node_created,
//! kube_node_spec_unschedulable, kube_node_spec_taint; kube_job_owner when there is no pod series at all. The names of
//! version 1 (`.._requests_cpu_cores`, `.._allocatable_memory_bytes`) are known. It gave a uid with kube_pod_info only:
//! series without one are those of the pod of their name, if only one pod had it.
//!
//! **Rules.** Without kube_pod_created a pod is created at its first sample. It ends at kube_pod_completion_time, else when
//! its phase is first Succeeded or Failed, else at its last sample, unless that is the last of the recording. With only
//! kube_job_owner a Job is one pod without requests from its first sample to its last. Containers' requests are summed,
//! against each init container's; sidecars and overhead are not in the metrics.
//!
//! **What it cannot tell.** Anything shorter than a scrape: pods that lived between two samples are missing. Times are whole
//! seconds. Affinity, tolerations, queues and gangs are not in the metrics.
//!
//! Memory: O(pods). Source: kube-state-metrics docs/metrics, its CHANGELOG for version 2. Tested on one prom2parquet file
//! (kube_job_owner).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::kubernetes::{self as k8s, Place};
use super::{AT_ORIGIN, Importer, InputFile, Node, Origin, Outcome, Pod, SECOND, Sink, TraceError};
use crate::trace::documents::each_part;
use crate::trace::error::Problem;
use crate::trace::input::{Lines, fields, same_name};
use crate::trace::model::{CPU, MEMORY, NodeOp, Resources, SpecRow};
use crate::trace::number;
use crate::trace::source::empty_file;

/// The importer.
pub struct KubeStateMetrics;

const SAMPLES: &str = "samples";

impl Importer for KubeStateMetrics {
    fn name(&self) -> &'static str {
        "kube-state-metrics"
    }

    fn summary(&self) -> &'static str {
        "kube-state-metrics series: prom2parquet, Prometheus API answers, text exposition, CSV (lossy)"
    }

    fn tested_on(&self) -> &'static str {
        "one prom2parquet file (kube_job_owner, 3,480 samples)"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        sink.origin = Origin::Unix;
        let mut state = State::default();
        for file in files {
            state.file(sink, file)?;
        }
        state.finish(sink)
    }
}

#[derive(Default)]
struct Seen {
    first: Option<i64>,
    last: Option<i64>,
    created: Option<i64>,
    scheduled: Option<i64>,
    started: Option<i64>,
    completed: Option<i64>,
    /// The first sample of phase Running, and of Succeeded or Failed.
    runs: Option<i64>,
    over: Option<i64>,
    node: String,
    owner: String,
    /// By init container or not, container and resource.
    requests: BTreeMap<(bool, String, String), u64>,
}

impl Seen {
    /// Takes what the other one knows more.
    fn join(&mut self, other: Seen) {
        let earliest = |a: Option<i64>, b: Option<i64>| a.into_iter().chain(b).min();
        self.first = earliest(self.first, other.first);
        self.last = self.last.max(other.last);
        self.created = self.created.or(other.created);
        self.scheduled = self.scheduled.or(other.scheduled);
        self.started = self.started.or(other.started);
        self.completed = self.completed.or(other.completed);
        self.runs = earliest(self.runs, other.runs);
        self.over = earliest(self.over, other.over);
        if self.node.is_empty() {
            self.node = other.node;
        }
        // kube_pod_owner, which may be among the others, says more than kube_pod_info.
        if !other.owner.is_empty() {
            self.owner = other.owner;
        }
        for (key, amount) in other.requests {
            self.requests.entry(key).or_insert(amount);
        }
    }
}

#[derive(Default)]
struct SeenNode {
    created: Option<i64>,
    allocatable: Resources,
    taints: BTreeSet<(String, String, String)>,
}

#[derive(Default)]
struct State {
    pods: BTreeMap<(String, String, String), Seen>,
    jobs: BTreeMap<(String, String), Seen>,
    nodes: BTreeMap<String, SeenNode>,
    last: i64,
}

type Labels = BTreeMap<String, String>;

impl State {
    fn file(&mut self, sink: &mut Sink, file: &InputFile) -> Result<(), TraceError> {
        let name = file.file_name().to_lowercase();
        if name.ends_with(".parquet") {
            return self.parquet(sink, file);
        }
        let mut first = String::new();
        let mut lines = match Lines::open(file, sink.options.max_line_bytes) {
            Ok(lines) => lines,
            Err(e) => return sink.bad_file(SAMPLES, e),
        };
        loop {
            match lines.next_line() {
                Ok(Some(l)) if l.trim().is_empty() => {}
                Ok(Some(l)) => {
                    first = l.trim().to_string();
                    break;
                }
                Ok(None) => break,
                // A long first line is that of a document.
                Err(e) if e.problem() == Some(Problem::LineTooLong) => return self.api(sink, file),
                Err(e) => return sink.bad_file(SAMPLES, e),
            }
        }
        if first.is_empty() {
            return sink.bad_file(SAMPLES, empty_file(&file.display()).into());
        }
        if first.starts_with('{') && !first.starts_with("{__name__") {
            return self.api(sink, file);
        }
        if !first.starts_with('#') && fields(&first, b',').iter().any(|f| same_name(f, "value")) {
            return self.csv(sink, file, &first, lines);
        }
        lines.push_back();
        sink.begin_file(file, SAMPLES);
        loop {
            let line = match lines.next_line() {
                Ok(Some(l)) => l.trim().to_string(),
                Ok(None) => return Ok(()),
                Err(e) => {
                    sink.bad_file(SAMPLES, e)?;
                    continue;
                }
            };
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = Place { file: file.display(), at: lines.line() };
            sink.report.table(SAMPLES).read += 1;
            let used = exposition(&line, &place)
                .and_then(|(metric, labels, value, t)| self.sample(&metric, &labels, &value, t, &place));
            count(sink, used, &place)?;
        }
    }

    fn api(&mut self, sink: &mut Sink, file: &InputFile) -> Result<(), TraceError> {
        let mut any = false;
        let paths: [&[&str]; 2] = [&["data", "result"], &["result"]];
        let read = each_part(file, sink.options.max_line_bytes, &paths, &mut |_, _, series, place| {
            if !std::mem::replace(&mut any, true) {
                sink.begin_file(file, SAMPLES);
            }
            self.series(sink, &series, place)
        });
        match read {
            Ok(()) if any => Ok(()),
            // An answer may be empty; anything else is none.
            Ok(()) if file.explicit => {
                let place = Place { file: file.display(), at: 0 };
                let expected =
                    "an answer of Prometheus' query API with series; for kubectl dumps use k8s-list";
                sink.bad_file(SAMPLES, place.error(Problem::MissingColumn, "data.result", "", expected))
            }
            Ok(()) => {
                let name = file.file_name();
                let what = format!("{name} (no series of Prometheus; kubectl dumps: k8s-list)");
                sink.report.ignored_files.push(what);
                Ok(())
            }
            Err(e @ TraceError::Row(_)) if !any && !file.explicit => {
                sink.report.ignored_files.push(format!("{} ({e})", file.file_name()));
                Ok(())
            }
            // Errors of samples have gone through `bad`: this one is the document's.
            Err(e) => sink.bad_file(SAMPLES, e),
        }
    }

    fn series(&mut self, sink: &mut Sink, series: &Value, place: &Place) -> Result<(), TraceError> {
        let labels: Labels = series
            .get("metric")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_string())))
            .collect();
        let metric = labels.get("__name__").cloned().unwrap_or_default();
        let many = series.get("values").and_then(Value::as_array).map(Vec::as_slice).unwrap_or(&[]);
        for sample in many.iter().chain(series.get("value")) {
            sink.report.table(SAMPLES).read += 1;
            let t = sample.get(0).map(Value::to_string).unwrap_or_default();
            let v = sample.get(1).and_then(Value::as_str).unwrap_or("");
            let used = number::scaled_signed(&t, SECOND)
                .map_err(|_| place.error(Problem::NotANumber, "timestamp", &t, "Unix seconds"))
                .and_then(|t| self.sample(&metric, &labels, v, Some(t), place));
            count(sink, used, place)?;
        }
        Ok(())
    }

    fn csv(
        &mut self,
        sink: &mut Sink,
        file: &InputFile,
        header: &str,
        mut lines: Lines,
    ) -> Result<(), TraceError> {
        sink.begin_file(file, SAMPLES);
        let names = fields(header, b',');
        let find = |wanted: &[&str]| names.iter().position(|n| wanted.iter().any(|w| same_name(n, w)));
        let (time, value) = (find(&["timestamp", "time", "ts"]), find(&["value"]));
        let metric = find(&["__name__", "metric", "name"]);
        let file_metric = metric_of(&file.hint());
        loop {
            let row = match lines.next_line() {
                Ok(Some(line)) if line.trim().is_empty() => continue,
                Ok(Some(line)) => fields(line, b','),
                Ok(None) => return Ok(()),
                Err(e) => {
                    sink.bad_file(SAMPLES, e)?;
                    continue;
                }
            };
            let place = Place { file: file.display(), at: lines.line() };
            sink.report.table(SAMPLES).read += 1;
            if row.len() != names.len() {
                let expected = format!("{} columns as in the header, found {}", names.len(), row.len());
                sink.bad(SAMPLES, place.error(Problem::ColumnCount, "", "", expected))?;
                continue;
            }
            let get = |at: Option<usize>| at.map_or("", |at| row[at].as_str());
            let name = match get(metric) {
                "" => file_metric.as_deref().unwrap_or_default(),
                name => name,
            };
            let labels: Labels = names
                .iter()
                .zip(&row)
                .enumerate()
                .filter(|(i, (_, v))| ![time, value, metric].contains(&Some(*i)) && !v.is_empty())
                .map(|(_, (name, v))| (name.clone(), v.clone()))
                .collect();
            let t = match get(time) {
                "" => Ok(None),
                text => number::unix_ns_of_any_size(text).map(Some).map_err(|_| {
                    place.error(Problem::NotANumber, "timestamp", text, "a Unix time or a date")
                }),
            };
            let used = t.and_then(|t| self.sample(name, &labels, get(value), t, &place));
            count(sink, used, &place)?;
        }
    }

    #[cfg(not(feature = "parquet"))]
    fn parquet(&mut self, _sink: &mut Sink, file: &InputFile) -> Result<(), TraceError> {
        Err(TraceError::Usage(format!("{}: this build has no Parquet", file.display())))
    }

    #[cfg(feature = "parquet")]
    fn parquet(&mut self, sink: &mut Sink, file: &InputFile) -> Result<(), TraceError> {
        use crate::trace::native::columnar;
        let Some(metric) = metric_of(&file.hint()) else {
            return Err(TraceError::Usage(format!(
                "{}: no metric name (kube_..) in the file or folder name",
                file.display()
            )));
        };
        sink.begin_file(file, SAMPLES);
        let reader = match columnar::Batches::of(file, 8192) {
            Ok(r) => r,
            Err(e) => return sink.bad_file(SAMPLES, e),
        };
        let mut row = 0;
        for batch in reader {
            let batch = match batch {
                Ok(batch) => batch,
                Err(e) => return sink.bad_file(SAMPLES, e),
            };
            for i in 0..batch.num_rows() {
                row += 1;
                let place = Place { file: file.display(), at: row };
                let get =
                    |n: &str| batch.column_by_name(n).and_then(|c| columnar::cell(c, i)).unwrap_or_default();
                sink.report.table(SAMPLES).read += 1;
                let mut labels: Labels = get("labels")
                    .split(',')
                    .filter_map(|p| p.split_once('='))
                    .map(|(k, v)| (k.trim().to_string(), v.trim().trim_matches('"').to_string()))
                    .collect();
                for n in ["pod", "namespace", "node", "container"] {
                    let v = get(n);
                    if !v.is_empty() {
                        labels.insert(n.to_string(), v);
                    }
                }
                let t = get("timestamp");
                let used = number::scaled_signed(&t, 1_000_000)
                    .or_else(|_| number::unix_ns(&t))
                    .map_err(|_| place.error(Problem::NotANumber, "timestamp", &t, "Unix milliseconds"))
                    .and_then(|t| self.sample(&metric, &labels, &get("value"), Some(t), &place));
                count(sink, used, &place)?;
            }
        }
        Ok(())
    }

    /// Takes a sample; `false` if the metric is not one of those used.
    fn sample(
        &mut self,
        metric: &str,
        labels: &Labels,
        value: &str,
        t: Option<i64>,
        place: &Place,
    ) -> Result<bool, TraceError> {
        if t.is_some_and(|t| t < 0) {
            return Err(place.error(Problem::NegativeTime, "timestamp", "", "a Unix time"));
        }
        // Prometheus keeps the target's own label and renames the series'.
        let label = |k: &str| {
            let exported = format!("exported_{k}");
            let found = labels.get(exported.as_str()).or_else(|| labels.get(k)).cloned().unwrap_or_default();
            if found == "<none>" { String::new() } else { found }
        };
        let unix = || -> Result<Option<i64>, TraceError> {
            number::scaled(value, SECOND)
                .ok()
                .and_then(|n| i64::try_from(n).ok())
                .map(Some)
                .ok_or_else(|| place.error(Problem::NotANumber, metric, value, "Unix seconds"))
        };
        let amount = |resource: &str| -> Result<(String, u64), TraceError> {
            // Names of extended resources have `_` for whatever a label's name can't hold.
            let resource = match resource {
                "ephemeral_storage" => "ephemeral-storage".to_string(),
                r if r.ends_with("_com_gpu") => r.replace("_com_gpu", ".com/gpu"),
                r => r.to_string(),
            };
            let (name, unit) = k8s::resource(&resource);
            let n = number::scaled(value, unit)
                .map_err(|_| place.error(Problem::NotANumber, metric, value, "an amount"))?;
            Ok((name.to_string(), n))
        };
        let is_set = || !matches!(value.trim(), "" | "0" | "0.0" | "NaN");
        self.last = self.last.max(t.unwrap_or(0));
        if metric.starts_with("kube_pod_") {
            let name = label("pod");
            if name.is_empty() {
                return Err(place.error(Problem::EmptyField, "pod", "", "the label pod"));
            }
            let pod = self.pods.entry((label("namespace"), name, label("uid"))).or_default();
            if let Some(t) = t {
                pod.first = Some(pod.first.map_or(t, |f| f.min(t)));
                pod.last = pod.last.max(Some(t));
            }
            match metric {
                "kube_pod_created" => pod.created = unix()?,
                "kube_pod_status_scheduled_time" => pod.scheduled = unix()?,
                "kube_pod_start_time" => pod.started = unix()?,
                "kube_pod_completion_time" => pod.completed = unix()?,
                "kube_pod_status_phase" if is_set() => {
                    let seen = match label("phase").as_str() {
                        "Running" => &mut pod.runs,
                        "Succeeded" | "Failed" => &mut pod.over,
                        _ => return Ok(true),
                    };
                    *seen = seen.map_or(t, |s| Some(t.map_or(s, |t| t.min(s))));
                }
                "kube_pod_info" => {
                    if !label("node").is_empty() {
                        pod.node = label("node");
                    }
                    if pod.owner.is_empty() {
                        pod.owner = label("created_by_name");
                    }
                }
                "kube_pod_owner" => pod.owner = label("owner_name"),
                "kube_pod_container_resource_requests" | "kube_pod_init_container_resource_requests" => {
                    let (name, n) = amount(&label("resource"))?;
                    pod.requests.insert((metric.contains("_init_"), label("container"), name), n);
                }
                "kube_pod_container_resource_requests_cpu_cores" => {
                    let (name, n) = amount("cpu")?;
                    pod.requests.insert((false, label("container"), name), n);
                }
                "kube_pod_container_resource_requests_memory_bytes" => {
                    let (name, n) = amount("memory")?;
                    pod.requests.insert((false, label("container"), name), n);
                }
                _ => {}
            }
            return Ok(true);
        }
        if metric.starts_with("kube_node_") {
            let name = label("node");
            if name.is_empty() {
                return Err(place.error(Problem::EmptyField, "node", "", "the label node"));
            }
            let resource = match metric {
                "kube_node_status_allocatable" => label("resource"),
                "kube_node_status_allocatable_cpu_cores" => "cpu".to_string(),
                "kube_node_status_allocatable_memory_bytes" => "memory".to_string(),
                "kube_node_status_allocatable_pods" => "pods".to_string(),
                "kube_node_created" => {
                    self.nodes.entry(name).or_default().created = unix()?;
                    return Ok(true);
                }
                "kube_node_spec_unschedulable" if is_set() => {
                    let taint =
                        ("node.kubernetes.io/unschedulable".into(), String::new(), "NoSchedule".into());
                    self.nodes.entry(name).or_default().taints.insert(taint);
                    return Ok(true);
                }
                "kube_node_spec_taint" if is_set() => {
                    let taint = (label("key"), label("value"), label("effect"));
                    self.nodes.entry(name).or_default().taints.insert(taint);
                    return Ok(true);
                }
                _ => return Ok(false),
            };
            let (resource, n) = amount(&resource)?;
            self.nodes.entry(name).or_default().allocatable.insert(resource, n);
            return Ok(true);
        }
        if metric != "kube_job_owner" {
            return Ok(false);
        }
        let job = self.jobs.entry((label("namespace"), label("job_name"))).or_default();
        if let Some(t) = t {
            job.first = Some(job.first.map_or(t, |f| f.min(t)));
            job.last = job.last.max(Some(t));
        }
        job.owner = label("owner_name");
        Ok(true)
    }

    /// Series without a uid go to the pod with one that has their name, unless several had it.
    fn join_by_name(&mut self) {
        let mut uids: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for (namespace, name, uid) in self.pods.keys() {
            uids.entry((namespace.clone(), name.clone())).or_default().push(uid.clone());
        }
        for ((namespace, name), uids) in uids {
            let [nameless, uid] = uids.as_slice() else { continue };
            if !nameless.is_empty() {
                continue;
            }
            let from = self.pods.remove(&(namespace.clone(), name.clone(), String::new()));
            if let (Some(from), Some(to)) = (from, self.pods.get_mut(&(namespace, name, uid.clone()))) {
                to.join(from);
            }
        }
    }

    fn finish(mut self, sink: &mut Sink) -> Result<(), TraceError> {
        self.join_by_name();
        for (name, node) in self.nodes {
            let allocatable = node.allocatable;
            if !allocatable.contains_key(CPU) && !allocatable.contains_key(MEMORY) {
                sink.report.leave_out("nodes without a series of allocatable CPU or memory", || name);
                continue;
            }
            let taints: Vec<Value> = (node.taints.iter())
                .map(|(key, value, effect)| serde_json::json!({"key": key, "value": value, "effect": effect}))
                .collect();
            let taints = if taints.is_empty() { String::new() } else { Value::Array(taints).to_string() };
            let op = NodeOp::Add;
            sink.node_since(
                node.created.unwrap_or(AT_ORIGIN),
                &Node { op, name, allocatable, taints, ..Node::default() },
            )?;
        }
        if sink.node_count() == 0 {
            sink.report.absent(
                "kube_node_status_allocatable",
                "the trace has no nodes; give the scenario a cluster",
            );
        }
        let only_jobs = self.pods.is_empty();
        for ((namespace, name, uid), p) in self.pods {
            let Some(created) = p.created.or(p.first) else {
                sink.report.leave_out("pods without any time", || format!("{namespace}/{name}"));
                continue;
            };
            if p.created.is_none() {
                sink.report.invent("pods.submit_ns", "its first sample (no kube_pod_created)");
            }
            // kube_pod_start_time is when the kubelet took the pod.
            let running = p.started.or(p.runs).filter(|r| *r >= p.scheduled.unwrap_or(created));
            let start = running.or(p.scheduled);
            let mut finished = p.completed;
            if finished.is_none() && p.over.is_some() {
                finished = p.over;
                let rule = "until its phase was first Succeeded or Failed (no kube_pod_completion_time)";
                sink.report.invent("pods.run_ns", rule);
            } else if finished.is_none() && p.last.is_some_and(|l| l < self.last && l >= created) {
                finished = p.last;
                sink.report.invent("pods.run_ns", "until its last sample (no kube_pod_completion_time)");
            } else if finished.is_none() {
                sink.report.invent("pods.run_ns", "none: alive at the end of the recording, runs to the end");
            }
            let mut requests = Resources::new();
            for ((_, _, resource), n) in p.requests.iter().filter(|((init, ..), _)| !init) {
                let slot = requests.entry(resource.clone()).or_insert(0u64);
                *slot = slot.saturating_add(*n);
            }
            for ((_, _, resource), n) in p.requests.iter().filter(|((init, ..), _)| *init) {
                let slot = requests.entry(resource.clone()).or_insert(0u64);
                *slot = (*slot).max(*n);
            }
            if requests.is_empty() {
                sink.report.invent("specs.requests", "none: no series of requests for the pod");
            }
            let from = start.unwrap_or(created);
            if from < created
                || p.scheduled.is_some_and(|s| s < created)
                || finished.is_some_and(|f| f < from)
            {
                sink.report.leave_out("pods that start or end before they are created", || {
                    format!("{namespace}/{name}")
                });
                continue;
            }
            let uid = if uid.is_empty() { format!("{namespace}/{name}") } else { uid };
            if !sink.first_seen(&uid) {
                sink.report.leave_out("pods with the uid of another", || format!("{namespace}/{name}"));
                continue;
            }
            let pod = Pod {
                submit: created,
                uid,
                spec: sink.spec(SpecRow {
                    namespace: if namespace == "default" { String::new() } else { namespace },
                    requests,
                    ..SpecRow::default()
                }),
                app: p.owner,
                run_ns: finished.and_then(|f| u64::try_from(f.saturating_sub(from)).ok()),
                outcome: Some(Outcome {
                    created: p.created,
                    bound: p.scheduled,
                    running,
                    finished,
                    node: p.node,
                }),
                ..Pod::default()
            };
            sink.pod(&pod)?;
        }
        if only_jobs {
            for ((namespace, name), j) in self.jobs {
                let (Some(first), Some(last)) = (j.first, j.last) else { continue };
                let ended = last < self.last;
                let pod = Pod {
                    submit: first,
                    uid: format!("{namespace}/job/{name}"),
                    spec: sink.spec(SpecRow { namespace, ..SpecRow::default() }),
                    app: if j.owner.is_empty() { name } else { j.owner },
                    run_ns: ended.then(|| (last - first) as u64),
                    ..Pod::default()
                };
                sink.report.invent(
                    "pods",
                    "one a Job, from its first sample to its last (only kube_job_owner is there)",
                );
                sink.report.invent("specs.requests", "none: not in the series");
                sink.pod(&pod)?;
            }
        }
        sink.report
            .note("scraped series: pods shorter than a scrape interval are missing, times are whole seconds");
        Ok(())
    }
}

/// The metric that a file is named after, else the folder that it is in. A folder may also be named after the exporter.
fn metric_of(hint: &str) -> Option<String> {
    hint.rsplit('/').find_map(|part| {
        let from = &part[part.rfind("kube_")?..];
        let name: String = from.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
        let name = name.trim_end_matches('_');
        (!name.starts_with("kube_state_metrics")).then(|| name.to_string())
    })
}

fn count(sink: &mut Sink, used: Result<bool, TraceError>, place: &Place) -> Result<(), TraceError> {
    match used {
        Ok(true) => sink.report.table(SAMPLES).kept += 1,
        Ok(false) => {
            sink.report.drop_row(SAMPLES, "metric-not-used", || format!("{}:{}", place.file, place.at))
        }
        Err(e) => sink.bad(SAMPLES, e)?,
    }
    Ok(())
}

/// `name{k="v",..} value [timestamp]`, or `{__name__="name",..} value [timestamp]`.
fn exposition(line: &str, place: &Place) -> Result<(String, Labels, String, Option<i64>), TraceError> {
    let bad = || place.error(Problem::BadSyntax, "", line, "name{label=\"value\"} number [timestamp]");
    let mut labels = Labels::new();
    let (name, rest) = match line.find('{') {
        Some(open) => {
            let mut chars = line[open + 1..].char_indices();
            let mut key = String::new();
            let end = loop {
                let (i, c) = chars.next().ok_or_else(bad)?;
                match c {
                    '}' => break open + 1 + i,
                    '=' => {
                        if chars.next().map(|(_, c)| c) != Some('"') {
                            return Err(bad());
                        }
                        let mut value = String::new();
                        loop {
                            match chars.next().map(|(_, c)| c) {
                                Some('"') => break,
                                Some('\\') => match chars.next().map(|(_, c)| c) {
                                    Some('n') => value.push('\n'),
                                    Some(c) => value.push(c),
                                    None => return Err(bad()),
                                },
                                Some(c) => value.push(c),
                                None => return Err(bad()),
                            }
                        }
                        labels.insert(std::mem::take(&mut key), value);
                    }
                    ',' | ' ' => {}
                    c => key.push(c),
                }
            };
            (line[..open].trim().to_string(), &line[end + 1..])
        }
        None => {
            let (name, rest) = line.split_once(' ').ok_or_else(bad)?;
            (name.to_string(), rest)
        }
    };
    let name = if name.is_empty() { labels.get("__name__").cloned().unwrap_or_default() } else { name };
    let mut parts = rest.split_whitespace();
    let value = parts.next().ok_or_else(bad)?.to_string();
    // Prometheus' own format has milliseconds there, OpenMetrics seconds: their sizes tell. An exemplar may follow.
    let t = match parts.next().filter(|t| !t.starts_with('#')) {
        None => None,
        Some(t) => Some(number::unix_ns_of_any_size(t).map_err(|_| bad())?),
    };
    Ok((name, labels, value, t))
}
