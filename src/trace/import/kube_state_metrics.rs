//! kube-state-metrics series, as a Prometheus kept them: lossy, but often all there is.
//!
//! **Input.** Parquet of prom2parquet (one file a metric, its name in the file or folder name; columns timestamp (ms),
//! value, pod, namespace, node, container, labels `k=v,k=v`), Prometheus' HTTP API answers (`query`, `query_range`:
//! data.result [{metric, values}]), and text exposition `name{labels} value [timestamp ms]`.
//!
//! **Series used.** kube_pod_created, kube_pod_status_scheduled_time, kube_pod_start_time, kube_pod_completion_time (values
//! are Unix seconds); kube_pod_info (node), kube_pod_owner (application), kube_pod_container_resource_requests;
//! kube_node_status_allocatable, kube_node_created, kube_node_labels; kube_job_owner when there is no pod series at all.
//!
//! **Rules.** Without kube_pod_created a pod is created at its first sample; without kube_pod_completion_time it ends at its
//! last sample, unless that is the last of the recording. With only kube_job_owner a Job is one pod without requests from
//! its first sample to its last. Containers' requests are summed; init containers and overhead are not in the metrics.
//!
//! **What it cannot tell.** Anything shorter than a scrape: pods that lived between two samples are missing. Times are whole
//! seconds. Affinity, tolerations, queues and gangs are not in the metrics.
//!
//! Memory: O(pods). Source: kube-state-metrics docs/metrics. Tested on one prom2parquet file (kube_job_owner).

use std::collections::BTreeMap;

use serde_json::Value;

use super::kubernetes::{self as k8s, Place};
use super::{AT_ORIGIN, Importer, Node, Origin, Outcome, Pod, SECOND, Sink, TraceError};
use crate::trace::error::Problem;
use crate::trace::input::{InputFile, Lines, empty_file};
use crate::trace::model::{CPU, MEMORY, NodeOp, Resources, SpecRow};
use crate::trace::number;

/// The importer.
pub struct KubeStateMetrics;

const SAMPLES: &str = "samples";

impl Importer for KubeStateMetrics {
    fn name(&self) -> &'static str {
        "kube-state-metrics"
    }

    fn summary(&self) -> &'static str {
        "kube-state-metrics series: prom2parquet, Prometheus API answers, text exposition (lossy)"
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
    node: String,
    owner: String,
    requests: BTreeMap<(String, String), u64>,
}

#[derive(Default)]
struct State {
    pods: BTreeMap<(String, String, String), Seen>,
    jobs: BTreeMap<(String, String), Seen>,
    nodes: BTreeMap<String, (Option<i64>, Resources)>,
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
        let mut lines = Lines::open(&file.path, sink.options.max_line_bytes)?;
        while let Some(l) = lines.next_line()? {
            if !l.trim().is_empty() {
                first = l.trim().to_string();
                break;
            }
        }
        if first.is_empty() {
            return sink.bad(SAMPLES, empty_file(&file.display()).into());
        }
        if first.starts_with('{') && !first.starts_with("{__name__") {
            return self.api(sink, file);
        }
        lines.push_back();
        sink.begin_file(file, SAMPLES);
        loop {
            let line = match lines.next_line() {
                Ok(Some(l)) => l.trim().to_string(),
                Ok(None) => return Ok(()),
                Err(e) => {
                    sink.bad(SAMPLES, e)?;
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
        let value = match super::batsim::load_json(file) {
            Ok(v) => v,
            Err(e) => return sink.bad(SAMPLES, e),
        };
        let result = value.pointer("/data/result").or_else(|| value.get("result")).and_then(Value::as_array);
        let Some(result) = result else {
            if file.explicit {
                let place = Place { file: file.display(), at: 0 };
                return Err(place.error(
                    Problem::MissingColumn,
                    "data.result",
                    "",
                    "an answer of Prometheus' query API; for kubectl dumps use k8s-list",
                ));
            }
            sink.report
                .ignored_files
                .push(format!("{} (no Prometheus answer; kubectl dumps: k8s-list)", file.file_name()));
            return Ok(());
        };
        sink.begin_file(file, SAMPLES);
        for (i, series) in result.iter().enumerate() {
            let place = Place { file: file.display(), at: i as u64 + 1 };
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
                    .and_then(|t| self.sample(&metric, &labels, v, Some(t), &place));
                count(sink, used, &place)?;
            }
        }
        Ok(())
    }

    #[cfg(not(feature = "parquet"))]
    fn parquet(&mut self, _sink: &mut Sink, file: &InputFile) -> Result<(), TraceError> {
        Err(TraceError::Usage(format!("{}: this build has no Parquet", file.display())))
    }

    #[cfg(feature = "parquet")]
    fn parquet(&mut self, sink: &mut Sink, file: &InputFile) -> Result<(), TraceError> {
        use crate::trace::native::columnar;
        let hint = file.hint();
        let Some(at) = hint.find("kube_") else {
            return Err(TraceError::Usage(format!(
                "{}: no metric name (kube_..) in the file or folder name",
                file.display()
            )));
        };
        let metric: String = hint[at..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
        let metric = metric.trim_end_matches('_').to_string();
        sink.begin_file(file, SAMPLES);
        let reader = match columnar::reader(&file.path, 8192) {
            Ok(r) => r,
            Err(e) => return sink.bad(SAMPLES, e),
        };
        let mut row = 0;
        for batch in reader {
            let batch = batch.map_err(|e| TraceError::format(&file.path, e.to_string()))?;
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
        let label = |k: &str| labels.get(k).cloned().unwrap_or_default();
        let unix = || -> Result<Option<i64>, TraceError> {
            number::scaled(value, SECOND)
                .ok()
                .and_then(|n| i64::try_from(n).ok())
                .map(Some)
                .ok_or_else(|| place.error(Problem::NotANumber, metric, value, "Unix seconds"))
        };
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
                "kube_pod_info" => {
                    if !label("node").is_empty() {
                        pod.node = label("node");
                    }
                    if pod.owner.is_empty() && label("created_by_kind") != "<none>" {
                        pod.owner = label("created_by_name");
                    }
                }
                "kube_pod_owner" => pod.owner = label("owner_name"),
                "kube_pod_container_resource_requests" => {
                    let resource = label("resource")
                        .replace("nvidia_com_gpu", "nvidia.com/gpu")
                        .replace("ephemeral_storage", "ephemeral-storage");
                    let (name, unit) = k8s::resource(&resource);
                    let n = number::scaled(value, unit)
                        .map_err(|_| place.error(Problem::NotANumber, metric, value, "an amount"))?;
                    pod.requests.insert((label("container"), name.to_string()), n);
                }
                _ => {}
            }
            return Ok(true);
        }
        match metric {
            "kube_node_status_allocatable" => {
                let resource = label("resource")
                    .replace("nvidia_com_gpu", "nvidia.com/gpu")
                    .replace("ephemeral_storage", "ephemeral-storage");
                let (name, unit) = k8s::resource(&resource);
                let n = number::scaled(value, unit)
                    .map_err(|_| place.error(Problem::NotANumber, metric, value, "an amount"))?;
                self.nodes.entry(label("node")).or_default().1.insert(name.to_string(), n);
            }
            "kube_node_created" => self.nodes.entry(label("node")).or_default().0 = unix()?,
            "kube_job_owner" => {
                let job = self.jobs.entry((label("namespace"), label("job_name"))).or_default();
                if let Some(t) = t {
                    job.first = Some(job.first.map_or(t, |f| f.min(t)));
                    job.last = job.last.max(Some(t));
                }
                job.owner = label("owner_name");
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(self, sink: &mut Sink) -> Result<(), TraceError> {
        for (name, (created, allocatable)) in self.nodes {
            if !allocatable.contains_key(CPU) && !allocatable.contains_key(MEMORY) {
                sink.report.note(format!("node {name} has no allocatable series and is left out"));
                continue;
            }
            sink.node_since(
                created.unwrap_or(AT_ORIGIN),
                &Node { op: NodeOp::Add, name, allocatable, ..Node::default() },
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
                sink.report.note("pods without any time were left out");
                continue;
            };
            if p.created.is_none() {
                sink.report.invent("pods.submit_ns", "its first sample (no kube_pod_created)");
            }
            let start = p.started.or(p.scheduled);
            let mut finished = p.completed;
            if finished.is_none() && p.last.is_some_and(|l| l < self.last && l >= created) {
                finished = p.last;
                sink.report.invent("pods.run_ns", "until its last sample (no kube_pod_completion_time)");
            } else if finished.is_none() {
                sink.report.invent("pods.run_ns", "none: alive at the end of the recording, runs to the end");
            }
            let mut requests = Resources::new();
            for ((_, resource), n) in p.requests {
                let slot = requests.entry(resource).or_insert(0u64);
                *slot = slot.saturating_add(n);
            }
            let from = start.unwrap_or(created);
            let pod = Pod {
                submit: created,
                uid: if uid.is_empty() { format!("{namespace}/{name}") } else { uid },
                spec: sink.spec(SpecRow {
                    namespace: if namespace == "default" { String::new() } else { namespace },
                    requests,
                    ..SpecRow::default()
                }),
                app: p.owner,
                run_ns: finished.and_then(|f| u64::try_from(f - from).ok()),
                outcome: Some(Outcome {
                    created: Some(created),
                    bound: p.scheduled,
                    running: p.started,
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

/// `name{k="v",..} value [timestamp ms]`, or `{__name__="name",..} value [timestamp]`.
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
    let t = match parts.next() {
        None => None,
        Some(t) => Some(number::scaled_signed(t, 1_000_000).map_err(|_| bad())?),
    };
    Ok((name, labels, value, t))
}
