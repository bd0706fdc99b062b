//! A run of one's own cluster: a folder with a `scenario.yaml`, which says what was run, and whatever was saved of it.
//!
//! | file, told by its content | what it says |
//! |---|---|
//! | answers of Prometheus ([`prometheus`]) | counters and histograms at many times, each with a clock |
//! | scrapes of `/metrics` ([`exposition`]) | the same before and after; without a clock no rate |
//! | the API server's audit log ([`audit`]) | each creation and binding to the microsecond, duration of requests |
//! | `kubectl get pods -o json` ([`pods`]) | each creation and binding in whole seconds |
//!
//! Several may say the same; the finest counts. The readings:
//!
//! | reading | from |
//! |---|---|
//! | `bound`, `bound_per_s_p10_p90`, `last_bound_s` | audit log; requests to `pods/binding`, else the scheduler's attempts, over time; list of pods |
//! | `latency_*_s` | audit log, list of pods: creation to binding of each pod. Of a backlog it says when the pods were made, not how fast the scheduler is, and is left out |
//! | `sli_*_s` | `scheduler_pod_scheduling_sli_duration_seconds`; quantiles are compared through the same buckets |
//! | `algorithm_mean_s` | `scheduler_scheduling_algorithm_duration_seconds`, YuniKorn's `.._scheduling_latency_milliseconds` |
//! | `bind_request_mean_s`, `create_request_mean_s` | `apiserver_request_duration_seconds`, audit log |
//! | `cpu_s.PROCESS` | `process_cpu_seconds_total` between the first and the last reading of the process |
//!
//! `last_bound_s` counts from the first creation; of a backlog from the scheduler's start (`process_start_time_seconds`).
//!
//! Left out: other clusters' traffic on the same servers (it is in the CPU seconds; a probe on an idle cluster has none),
//! several schedulers at once.
//!
//! Cost: O(bytes of the files).
pub mod audit;
pub mod exposition;
pub mod pods;
pub mod prometheus;
pub mod series;

use std::path::{Path, PathBuf};

use self::audit::AuditLog;
use self::exposition::Order;
use self::pods::PodList;
use self::series::{Point, Process, Samples};
use super::measured::MeasuredError;
use super::run::{Outcome, Reading, SCENARIO, is_backlog};
use crate::scenario::plan::Plan;
use crate::trace::TraceError;
use crate::trace::documents::{Place, each_document};
use crate::trace::import::kubernetes::text;
use crate::trace::source::{InputFile, read_all};

/// Longest line of an audit log or YAML document.
const LINE_BYTES: usize = 64 << 20;
/// Largest scrape or answer of Prometheus.
const FILE_BYTES: u64 = 1 << 30;
/// A reading whose resolution leaves a larger relative error is none.
const COARSE: f64 = 0.25;
/// Bound pods and the scenario's may differ by this share.
const MISMATCH: f64 = 0.02;

const BINDINGS: [(&str, &[(&str, &str)]); 3] = [
    (
        "apiserver_request_total",
        &[("verb", "POST"), ("resource", "pods"), ("subresource", "binding"), ("code", "2*")],
    ),
    ("scheduler_schedule_attempts_total", &[("result", "scheduled")]),
    ("yunikorn_scheduler_container_allocation_attempt_total", &[("state", "allocated")]),
];
const CREATIONS: (&str, &[(&str, &str)]) = (
    "apiserver_request_total",
    &[("verb", "POST"), ("resource", "pods"), ("subresource", ""), ("code", "2*")],
);

/// Upper bounds of `scheduler_pod_scheduling_sli_duration_seconds`, s: 10 ms doubled 19 times.
pub fn sli_bounds() -> impl Iterator<Item = f64> {
    (0..20u32).map(|i| 0.01 * f64::from(1u32 << i)).chain([f64::INFINITY])
}

/// All that was saved of a run.
#[derive(Default)]
struct Saved {
    samples: Samples,
    /// Of scrapes, until it is known what Prometheus has.
    scraped: Samples,
    audit: AuditLog,
    pods: PodList,
    notes: Vec<String>,
}

fn error(file: &Path, message: impl Into<String>) -> MeasuredError {
    MeasuredError::File { file: file.to_owned(), message: message.into() }
}

impl From<TraceError> for MeasuredError {
    fn from(error: TraceError) -> Self {
        Self::Input(Box::new(error))
    }
}

/// Files of the folder and of folders in it, sorted; the scenario, documents and hidden files are none of them.
fn files(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) -> Result<(), MeasuredError> {
    let entries =
        std::fs::read_dir(folder).map_err(|e| error(folder, format!("can't read the folder: {e}")))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && depth < 3 {
            files(&path, depth + 1, found)?;
        } else if path.is_file() {
            let document = [".md", ".yaml", ".yml", ".sh"].iter().any(|end| name.ends_with(end));
            if !name.starts_with('.') && name != SCENARIO && !document {
                found.push(path);
            }
        }
    }
    Ok(())
}

fn order(folder: &Path, path: &Path) -> Option<Order> {
    let inside = path.strip_prefix(folder).unwrap_or(path);
    let named = |begin: &str| inside.components().any(|c| c.as_os_str().to_string_lossy().starts_with(begin));
    if named("before") {
        Some(Order::Before)
    } else if named("after") {
        Some(Order::After)
    } else {
        None
    }
}

impl Saved {
    fn file(&mut self, folder: &Path, path: &Path) -> Result<(), MeasuredError> {
        let bytes = read_all(&InputFile::named(path), FILE_BYTES)?;
        let first = bytes.iter().find(|b| !b.is_ascii_whitespace()).copied();
        if matches!(first, Some(b'{' | b'[')) {
            drop(bytes);
            return self.documents(path);
        }
        let text = String::from_utf8(bytes).map_err(|_| error(path, UNKNOWN))?;
        if !exposition::is_exposition(&text) {
            return Err(error(path, UNKNOWN));
        }
        let found = exposition::read(&text, order(folder, path), &mut self.scraped)
            .map_err(|e| error(path, e.to_string()))?;
        let of: Vec<&str> = found.iter().map(|p| p.name()).collect();
        self.notes.push(format!("{}: scrape of {}", shown(folder, path), of.join(", ")));
        Ok(())
    }

    /// Prometheus scrapes the same counters: what it has of a process is not counted again.
    fn join(&mut self) {
        for process in self.samples.adopt(std::mem::take(&mut self.scraped)) {
            let name = process.name();
            self.notes.push(format!("scrapes of the {name} are left aside: Prometheus' answers have it"));
        }
        self.samples.settle();
    }

    fn documents(&mut self, path: &Path) -> Result<(), MeasuredError> {
        let (mut events, mut pods, mut series) = (0u64, 0u64, 0usize);
        let mut failure = None;
        each_document(&InputFile::named(path), LINE_BYTES, &mut |value, place: &Place| {
            let value = value?;
            let bad = |message: String| MeasuredError::File {
                file: path.to_owned(),
                message: format!("document or line {}: {message}", place.at),
            };
            let result = if prometheus::is_answer(&value) {
                prometheus::read(value, &mut self.samples).map(|n| series += n)
            } else if audit::is_event(&value) {
                events += 1;
                self.audit.event(&value)
            } else if text(&value, "/kind") == "Pod" || value.pointer("/spec/containers").is_some() {
                pods += 1;
                self.pods.object(&value)
            } else {
                Err(UNKNOWN.to_owned())
            };
            if let Err(message) = result {
                failure.get_or_insert_with(|| bad(message));
            }
            Ok(())
        })?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let what = if events > 0 {
            format!("audit log of {events} events")
        } else if pods > 0 {
            format!("list of {pods} pods")
        } else {
            format!("{series} series from Prometheus")
        };
        if events + pods == 0 && series == 0 {
            let message = "holds no series of kube-scheduler, YuniKorn, kube-apiserver or etcd: expected names such as \
                           scheduler_schedule_attempts_total, or process_cpu_seconds_total with a label job that names one of them";
            return Err(error(path, message));
        }
        self.notes.push(format!("{name}: {what}"));
        Ok(())
    }
}

const UNKNOWN: &str = "is neither an answer of Prometheus (/api/v1/query_range), nor a scrape of /metrics, nor an audit log \
                       (audit.k8s.io), nor a list of pods (kubectl get pods -o json); move it out of the folder, or save it again";

fn shown(folder: &Path, path: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).display().to_string()
}

/// When the n-th binding or creation was, for ascending times or a counter read now and then.
enum Course {
    Times(Vec<f64>),
    Counter(Vec<Point>),
}

/// A course with the time between which its events can't be told apart, s.
struct Observed {
    course: Course,
    resolution_s: f64,
    from: &'static str,
}

impl Course {
    fn count(&self) -> f64 {
        match self {
            Self::Times(times) => times.len() as f64,
            Self::Counter(points) => points.last().map_or(0.0, |p| p.value),
        }
    }

    /// Time of event number `n`, the first 1.
    fn at(&self, n: f64) -> Option<f64> {
        match self {
            Self::Times(times) => {
                times.get((n.max(1.0) as usize - 1).min(times.len().checked_sub(1)?)).copied()
            }
            Self::Counter(points) => {
                let above = points.iter().position(|p| p.value >= n)?;
                let (to, from) = (points[above], points[above.checked_sub(1)?]);
                let share = (n - 0.5 - from.value) / (to.value - from.value);
                Some(from.at_s + (to.at_s - from.at_s) * share.clamp(0.0, 1.0))
            }
        }
    }
}

/// A counter's course, if it was read often enough to have one. Prometheus repeats a scrape until the next, so that the
/// time between changes, and not between points, is what it resolves.
fn counter(samples: &Samples, (name, want): (&str, &[(&str, &str)]), from: &'static str) -> Option<Observed> {
    let mut points = samples.counted(name, want);
    points.dedup_by(|later, earlier| later.value <= earlier.value);
    if points.len() < 3 {
        return None;
    }
    // The first reading stands long before the first change; it says nothing about the scrape interval.
    let mut gaps: Vec<f64> = points[1..].windows(2).map(|p| p[1].at_s - p[0].at_s).collect();
    gaps.sort_by(f64::total_cmp);
    let resolution_s = gaps[gaps.len() / 2];
    // What was counted at the first change happened within one scrape interval before it.
    points[0].at_s = points[0].at_s.max(points[1].at_s - resolution_s);
    Some(Observed { course: Course::Counter(points), resolution_s, from })
}

fn times(ns: &[i64], resolution_s: f64, from: &'static str) -> Option<Observed> {
    let course = Course::Times(ns.iter().map(|t| *t as f64 / 1e9).collect());
    (!ns.is_empty()).then_some(Observed { course, resolution_s, from })
}

/// Reads all that was saved of a run.
///
/// # Errors
/// A file that is damaged or none of the known kinds; a folder with nothing but a scenario.
pub fn read(folder: &Path, plan: &Plan) -> Result<Outcome, MeasuredError> {
    let mut paths = Vec::new();
    files(folder, 0, &mut paths)?;
    if paths.is_empty() {
        let message = "holds a scenario and nothing that was measured: save Prometheus' answers, scrapes of /metrics, the audit log \
                       or a list of pods beside it (docs/calibration.md has the commands)";
        return Err(error(folder, message));
    }
    let mut saved = Saved::default();
    for path in &paths {
        saved.file(folder, path)?;
    }
    saved.join();
    saved.pods.settle();
    let mut outcome = Outcome { notes: std::mem::take(&mut saved.notes), ..Outcome::default() };
    times_of_pods(&saved, plan, &mut outcome);
    latencies(&saved, plan, &mut outcome);
    requests(&saved, &mut outcome);
    cpu(&saved, &mut outcome);
    disk(&saved, plan, &mut outcome);
    judge(&saved, folder, plan, &mut outcome)?;
    Ok(outcome)
}

impl Outcome {
    fn put(&mut self, name: &str, value: f64, error: f64) {
        if value.is_finite() && value > 0.0 {
            self.values.insert(name.to_owned(), Reading { value, error });
        }
    }

    fn cannot_tell(&mut self, what: &str, why: impl Into<String>) {
        self.not_told.push((what.to_owned(), why.into()));
    }
}

fn times_of_pods(saved: &Saved, plan: &Plan, outcome: &mut Outcome) {
    let counters = BINDINGS.iter().filter_map(|metric| counter(&saved.samples, *metric, "counters"));
    let bindings: Vec<Observed> = times(&saved.audit.bindings(), 0.001, "audit log")
        .into_iter()
        .chain(counters)
        .chain(times(&saved.pods.bound, 1.0, "list of pods"))
        .collect();
    let counted =
        BINDINGS.iter().filter_map(|(name, want)| saved.samples.increase(name, want)).map(|i| i.amount);
    let bound = bindings.iter().map(|b| b.course.count()).chain(counted).next().unwrap_or(0.0);
    outcome.bound = libm::round(bound) as u64;
    let finest = bindings.iter().min_by(|a, b| a.resolution_s.total_cmp(&b.resolution_s));
    let Some(finest) = finest else {
        let why = "needs readings over time: query_range, an audit log or a list of pods";
        outcome.cannot_tell("bound_per_s_p10_p90, last_bound_s", why);
        return;
    };
    let n = finest.course.count();
    let at = |n: f64| finest.course.at(n);
    // Two ends, each anywhere within the resolution.
    let error_s = finest.resolution_s / libm::sqrt(6.0);
    let too_coarse = |span: f64| {
        format!(
            "{} has a time each {} s, and this took {span:.3} s: scrape more often, or run longer",
            finest.from, finest.resolution_s
        )
    };
    match (at(libm::ceil(n / 10.0)), at(libm::ceil(n * 9.0 / 10.0))) {
        (Some(from), Some(to)) if n >= 10.0 && error_s <= COARSE * (to - from) => {
            outcome.put("bound_per_s_p10_p90", 0.8 * n / (to - from), error_s / (to - from));
        }
        (Some(from), Some(to)) => outcome.cannot_tell("bound_per_s_p10_p90", too_coarse(to - from)),
        _ => outcome.cannot_tell("bound_per_s_p10_p90", "no binding was seen"),
    }
    // t = 0.
    let creations = times(&saved.audit.creations(), 0.001, "audit log")
        .or_else(|| counter(&saved.samples, CREATIONS, "counters"))
        .or_else(|| times(&saved.pods.created, 1.0, "list of pods"));
    let zero = if is_backlog(plan) {
        saved.samples.started_s(Process::Scheduler).map(|t| (t, 0.01))
    } else {
        creations.and_then(|c| Some((c.course.at(1.0)?, c.resolution_s)))
    };
    match (zero, at(n)) {
        (Some((zero, resolution_s)), Some(last)) if last > zero => {
            let error_s = libm::hypot(finest.resolution_s, resolution_s) / libm::sqrt(12.0);
            if error_s <= COARSE * (last - zero) {
                outcome.put("last_bound_s", last - zero, error_s / (last - zero));
            } else {
                outcome.cannot_tell("last_bound_s", too_coarse(last - zero));
            }
        }
        (None, _) if is_backlog(plan) => {
            let why = "of a backlog it counts from the scheduler's start: save a scrape of the scheduler (process_start_time_seconds)";
            outcome.cannot_tell("last_bound_s", why);
        }
        (None, _) => {
            outcome.cannot_tell("last_bound_s", "needs the first creation: requests of the API server over time, an audit log or a list of pods");
        }
        _ => outcome.cannot_tell("last_bound_s", "the last binding is not after the start"),
    }
}

fn latencies(saved: &Saved, plan: &Plan, outcome: &mut Outcome) {
    let audit = saved.audit.waits_ns();
    let (waits, resolution_s) = if audit.is_empty() { (&saved.pods.waits_ns, 1.0) } else { (&audit, 0.0) };
    if is_backlog(plan) {
        outcome.cannot_tell("latency_p50_s", "of a backlog, waits say when the pods were made");
    } else if waits.is_empty() {
        let why =
            "needs creation and binding of the same pod: an audit log with pods' names, or a list of pods";
        outcome.cannot_tell("latency_p50_s", why);
    } else {
        for (name, q) in [("latency_p50_s", 500), ("latency_p90_s", 900), ("latency_p99_s", 990)] {
            let value = crate::measure::metrics::quantile(waits, q).unwrap_or(0) as f64 / 1e9;
            let error = if value > 0.0 { resolution_s / libm::sqrt(6.0) / value } else { 1.0 };
            if error <= COARSE {
                outcome.put(name, value, error);
            } else {
                outcome.cannot_tell(name, format!("a list of pods has whole seconds, and this is {value} s"));
            }
        }
    }
    match saved.samples.histogram("scheduler_pod_scheduling_sli_duration_seconds", &[]) {
        Some(sli) => {
            outcome.put("sli_mean_s", sli.mean(), 0.0);
            for (name, q) in [("sli_p50_s", 0.5), ("sli_p90_s", 0.9), ("sli_p99_s", 0.99)] {
                if let Some(value) = sli.quantile(q) {
                    outcome.put(name, value, 0.0);
                }
            }
        }
        None if plan.scheduler.kind == "kube-scheduler" => outcome.cannot_tell(
            "sli_mean_s",
            "needs scheduler_pod_scheduling_sli_duration_seconds (_sum and _count; _bucket for quantiles), at two times",
        ),
        None => {}
    }
    let algorithm =
        saved.samples.histogram("scheduler_scheduling_algorithm_duration_seconds", &[]).or_else(|| {
            // Seconds, though the name says otherwise.
            saved.samples.histogram("yunikorn_scheduler_scheduling_latency_milliseconds", &[])
        });
    match algorithm {
        Some(algorithm) => outcome.put("algorithm_mean_s", algorithm.mean(), 0.0),
        None => outcome.cannot_tell(
            "algorithm_mean_s",
            "needs scheduler_scheduling_algorithm_duration_seconds, at two times",
        ),
    }
}

fn requests(saved: &Saved, outcome: &mut Outcome) {
    const DURATION: &str = "apiserver_request_duration_seconds";
    for (name, subresource, bindings) in
        [("bind_request_mean_s", "binding", true), ("create_request_mean_s", "", false)]
    {
        let want = [("verb", "POST"), ("resource", "pods"), ("subresource", subresource)];
        let mean = saved.samples.histogram(DURATION, &want).map(|d| d.mean());
        match mean.or_else(|| saved.audit.mean_s(bindings)) {
            Some(mean) => outcome.put(name, mean, 0.0),
            None if bindings => {
                outcome.cannot_tell(
                    name,
                    "needs apiserver_request_duration_seconds (verb POST, pods/binding) or an audit log",
                );
            }
            None => {}
        }
    }
    let of_metrics =
        saved.samples.increase("apiserver_request_total", &[("code", "429")]).map_or(0.0, |i| i.amount);
    let rejected = saved.audit.rejected.max(libm::round(of_metrics) as u64);
    if rejected > 0 {
        outcome.notes.push(format!("{rejected} requests were answered 429"));
    }
    if saved.audit.failed > 0 {
        outcome.notes.push(format!("{} creations or bindings failed", saved.audit.failed));
    }
}

fn cpu(saved: &Saved, outcome: &mut Outcome) {
    const CPU: &str = "process_cpu_seconds_total";
    for process in [Process::Scheduler, Process::ApiServer, Process::Etcd, Process::Kwok] {
        let name = format!("cpu_s.{}", process.name());
        match saved.samples.increase_in(CPU, process) {
            Some((increase, instances)) => {
                // The counter has hundredths of a second.
                outcome.put(&name, increase.amount, 0.01 / increase.amount.max(0.01));
                if let Some(window_s) = saved.samples.window_s(process) {
                    outcome.windows_s.insert(process.name(), window_s);
                }
                if instances > 1 {
                    outcome.notes.push(format!("{name} is the sum of {instances} instances"));
                }
                if increase.restarts > 0 {
                    outcome.notes.push(format!("the {} was restarted in between", process.name()));
                }
            }
            None if process == Process::Kwok => {}
            None => {
                outcome.cannot_tell(&name, "needs process_cpu_seconds_total of this process, at two times")
            }
        }
    }
    if outcome.windows_s.is_empty() && outcome.values.keys().any(|name| name.starts_with("cpu_s.")) {
        let why = "the scrapes have no clock; CPU is taken to end with the run. Write `# scraped $(date +%s.%N)` as their first line";
        outcome.cannot_tell("idle CPU between the run's end and the last scrape", why);
    }
}

/// The disk is a condition: what was measured of it stands beside what the scenario says.
fn disk(saved: &Saved, plan: &Plan, outcome: &mut Outcome) {
    let Some(fsync) = saved.samples.histogram("etcd_disk_wal_fsync_duration_seconds", &[]) else { return };
    let Some(server) = &plan.api_server else { return };
    let stated = match server.etcd_settings.fsync {
        Some((p50, p99)) => {
            let sigma = libm::log(p99 as f64 / p50 as f64) / 2.326_347_874;
            p50 as f64 / 1e9 * libm::exp(sigma * sigma / 2.0)
        }
        None => 0.0,
    };
    let mean = fsync.mean();
    let mut note =
        format!("etcd's disk: {:.3} ms a sync on average, the scenario's {:.3} ms", mean * 1e3, stated * 1e3);
    if !(0.67..=1.5).contains(&(stated / mean)) {
        let p50 = fsync.quantile(0.5).filter(|q| *q > 0.001).unwrap_or(mean);
        let p99 = fsync.quantile(0.99).unwrap_or(4.0 * mean).max(p50);
        note += &format!(
            "; set controlPlane.etcd.fsync in {SCENARIO} to what it does, about {{p50: {:.2}ms, p99: {:.2}ms}}",
            p50 * 1e3,
            p99 * 1e3
        );
    }
    outcome.notes.push(note);
}

/// Whether the run can be compared with the scenario at all.
fn judge(saved: &Saved, folder: &Path, plan: &Plan, outcome: &mut Outcome) -> Result<(), MeasuredError> {
    let planned = u64::from(plan.cluster.pods.first_placeholder());
    if outcome.values.is_empty() && outcome.bound == 0 {
        let known: Vec<&str> = saved.samples.names().take(5).collect();
        let message = if saved.audit.events > 0 && saved.samples.is_empty() {
            format!(
                "the audit log has {} events and no creation or binding of a pod: its policy has to log `pods` and `pods/binding` at level \
                 Metadata at least, and it has to cover the run",
                saved.audit.events
            )
        } else {
            format!(
                "nothing in it says how pods were scheduled (metrics found: {}): expected process_cpu_seconds_total, \
                 scheduler_schedule_attempts_total and the histograms in docs/calibration.md, before and after the run",
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            )
        };
        return Err(error(folder, message));
    }
    if outcome.bound == 0 {
        outcome.cannot_tell(
            "bound",
            "no counter of bindings was read; the scenario's pods are taken to be all bound",
        );
        outcome.bound = planned;
        return Ok(());
    }
    let off = (outcome.bound as f64 / planned.max(1) as f64 - 1.0).abs();
    if off > MISMATCH {
        outcome.unusable = Some(format!(
            "{} pods were bound between the first and the last reading, and {SCENARIO} has {planned}: read before the first creation and \
             after the last binding, on a cluster without other pods, or correct the scenario",
            outcome.bound
        ));
    }
    Ok(())
}
