//! OpenMetrics text with virtual timestamps, under the names, labels and buckets of the real components.
//!
//! What Prometheus would have scraped from kube-apiserver, etcd, kube-scheduler or YuniKorn had they run this workload:
//! `promtool tsdb create-blocks-from openmetrics` turns the file into blocks, and queries and dashboards written for real
//! clusters show the simulation. Names and labels are those of Kubernetes 1.36, etcd 3.6 and YuniKorn 1.x. Only what the
//! model knows is written: no reads, no watches, no Go runtime. Numbers of podpace's own begin with `podpace_`.
//!
//! A scrape is a row of `telemetry.csv`; histograms of pods are counted from the pods' timelines up to that row's time.
//! Where the model knows less than the real component: `attempts` is missing from
//! `scheduler_pod_scheduling_sli_duration_seconds` if any attempt failed (it is not kept by pod), and answers 429 are in
//! no duration. YuniKorn's latencies are seconds though their names say milliseconds, as in the original.
//! Values of `le` are written as OpenMetrics wants them (`1.0`), which is also what Prometheus 3 stores.
//!
//! Cost: O(pods log pods + scrapes x series).
use std::io::{self, Write};

use crate::cluster::Timeline;
use crate::engine::{MILLISECOND, Nanos, SECOND};
use crate::measure::Histogram;

use super::folder::{PodTable, ReportError, RunResult, Table};

/// Exponential bounds.
const fn doubled<const N: usize>(first: Nanos, factor: u64) -> [Nanos; N] {
    let mut bounds = [first; N];
    let mut i = 1;
    while i < N {
        bounds[i] = bounds[i - 1] * factor;
        i += 1;
    }
    bounds
}

/// `scheduler_pod_scheduling_sli_duration_seconds`: 10 ms doubled 19 times.
static SLI_BOUNDS_NS: [Nanos; 20] = doubled(10 * MILLISECOND, 2);
/// `scheduler_scheduling_attempt_duration_seconds` and `.._algorithm_..`: 1 ms doubled 14 times.
static ATTEMPT_BOUNDS_NS: [Nanos; 15] = doubled(MILLISECOND, 2);
/// `yunikorn_scheduler_scheduling_latency_milliseconds`: 0.1 ms times ten, five times.
static YUNIKORN_BOUNDS_NS: [Nanos; 6] = doubled(100_000, 10);

/// How the text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Unix time of t = 0, seconds.
    pub epoch_s: u64,
    /// Virtual time between scrapes; telemetry is not finer than its step.
    pub interval_ns: Nanos,
}

/// One kind of request: verbs of the telemetry, then group, resource, subresource, verb, code.
type Endpoint = (&'static [&'static str], [&'static str; 5]);
const ENDPOINTS: [Endpoint; 5] = [
    (&["create_pod"], ["", "pods", "", "POST", "201"]),
    (&["bind"], ["", "pods", "binding", "POST", "201"]),
    (&["patch_condition", "patch_running", "patch_succeeded"], ["", "pods", "status", "PATCH", "200"]),
    (&["delete_pod", "delete_gracefully"], ["", "pods", "", "DELETE", "200"]),
    (&["create_event"], ["events.k8s.io", "events", "", "POST", "201"]),
];

/// A decimal number of seconds, exactly.
fn seconds(ns: u64) -> String {
    let text = format!("{}.{:09}", ns / SECOND, ns % SECOND);
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

/// A label's value with what must be escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn labels(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

/// Rows of the telemetry that are scrapes.
struct Scrapes<'a> {
    telemetry: &'a Table,
    /// Row, time, timestamp as text.
    points: Vec<(usize, Nanos, String)>,
}

struct Writer<'a> {
    out: &'a mut dyn Write,
    scrapes: Scrapes<'a>,
}

impl<'a> Scrapes<'a> {
    /// Prometheus keeps milliseconds, so that no two scrapes share one.
    fn new(telemetry: &'a Table, options: Options) -> Self {
        let mut points = Vec::new();
        let mut next = 0;
        let last = telemetry.times_ns().len() - 1;
        let mut last_ms = None;
        for (row, at) in telemetry.times_ns().iter().enumerate() {
            let ms = at.div_ceil(MILLISECOND);
            if (*at >= next || row == last) && last_ms != Some(ms) {
                let stamp = format!("{}.{:03}", options.epoch_s + ms / 1000, ms % 1000);
                points.push((row, *at, stamp));
                last_ms = Some(ms);
                next = at + options.interval_ns;
            }
        }
        Self { telemetry, points }
    }

    /// Sum of columns, one value a scrape.
    fn sum(&self, columns: &[String]) -> Vec<u64> {
        let mut sums = vec![0; self.points.len()];
        for name in columns.iter().filter(|name| self.telemetry.has(name)) {
            let column = self.telemetry.column(name);
            for (sum, (row, ..)) in sums.iter_mut().zip(&self.points) {
                *sum += column[*row];
            }
        }
        sums
    }
}

impl Writer<'_> {
    fn family(&mut self, name: &str, kind: &str, help: &str) -> io::Result<()> {
        writeln!(self.out, "# TYPE {name} {kind}\n# HELP {name} {help}")
    }

    /// One series; `value` writes a number.
    fn series(
        &mut self,
        name: &str,
        labels: &str,
        values: &[u64],
        value: fn(u64) -> String,
    ) -> io::Result<()> {
        for ((_, _, stamp), number) in self.scrapes.points.iter().zip(values) {
            writeln!(self.out, "{name}{labels} {} {stamp}", value(*number))?;
        }
        Ok(())
    }

    /// A series that is the sum of columns, unless it is 0 throughout.
    fn columns(
        &mut self,
        name: &str,
        labels: &str,
        columns: &[String],
        value: fn(u64) -> String,
    ) -> io::Result<()> {
        let values = self.scrapes.sum(columns);
        if values.iter().all(|v| *v == 0) { Ok(()) } else { self.series(name, labels, &values, value) }
    }

    /// A histogram whose cumulative counts stand in columns.
    fn histogram(
        &mut self,
        name: &str,
        pairs: &[(&str, &str)],
        prefixes: &[String],
        bounds: &[Nanos],
    ) -> io::Result<()> {
        let mut columns = Vec::new();
        Histogram::columns("", bounds, &mut columns);
        let columns: Vec<Vec<u64>> = columns
            .iter()
            .map(|column| {
                self.scrapes.sum(&prefixes.iter().map(|p| format!("{p}{column}")).collect::<Vec<_>>())
            })
            .collect();
        if columns[bounds.len()].iter().all(|count| *count == 0) {
            return Ok(());
        }
        for (at, (_, _, stamp)) in self.scrapes.points.iter().enumerate() {
            let row: Vec<u64> = columns.iter().map(|column| column[at]).collect();
            write_histogram(self.out, name, pairs, bounds, &row, stamp)?;
        }
        Ok(())
    }

    /// A histogram of spans between two stages, each counted when the second is reached.
    fn spans(
        &mut self,
        name: &str,
        pairs: &[(&str, &str)],
        bounds: &'static [Nanos],
        pods: &PodTable,
        stages: [fn(&Timeline) -> Nanos; 2],
    ) -> io::Result<()> {
        let [from, to] = stages;
        let mut spans: Vec<(Nanos, Nanos)> = pods
            .timelines
            .iter()
            .filter(|t| from(t) != u64::MAX && to(t) != u64::MAX)
            .map(|t| (to(t), to(t).saturating_sub(from(t))))
            .collect();
        spans.sort_unstable();
        let mut histogram = Histogram::new(bounds);
        let mut spans = spans.into_iter().peekable();
        let mut row = Vec::new();
        for (_, at, stamp) in &self.scrapes.points {
            while let Some((_, span)) = spans.next_if(|(time, _)| time <= at) {
                histogram.observe(span);
            }
            row.clear();
            histogram.row(&mut row);
            write_histogram(self.out, name, pairs, bounds, &row, stamp)?;
        }
        Ok(())
    }
}

/// `row`: cumulative counts by bound, all, sum in ns.
fn write_histogram(
    out: &mut dyn Write,
    name: &str,
    pairs: &[(&str, &str)],
    bounds: &[Nanos],
    row: &[u64],
    stamp: &str,
) -> io::Result<()> {
    let with_le = |le: &str| {
        let mut pairs = pairs.to_vec();
        pairs.push(("le", le));
        labels(&pairs)
    };
    for (bound, count) in bounds.iter().zip(row) {
        writeln!(out, "{name}_bucket{} {count} {stamp}", with_le(&seconds(*bound)))?;
    }
    let all = row[bounds.len()];
    writeln!(out, "{name}_bucket{} {all} {stamp}", with_le("+Inf"))?;
    let text = labels(pairs);
    writeln!(
        out,
        "{name}_count{text} {all} {stamp}\n{name}_sum{text} {} {stamp}",
        seconds(row[bounds.len() + 1])
    )
}

/// Parts of the names of columns `PREFIX.A.B..SUFFIX`.
fn parts<'a>(telemetry: &'a Table, prefix: &str, suffix: &str) -> Vec<&'a str> {
    telemetry.columns().iter().filter_map(|c| c.strip_prefix(prefix)?.strip_suffix(suffix)).collect()
}

fn whole(value: u64) -> String {
    value.to_string()
}

fn thousandths(value: u64) -> String {
    seconds(value * MILLISECOND)
}

/// Writes the metrics of a run.
///
/// # Errors
/// The result has no pods; the writer's.
pub fn write(out: &mut dyn Write, run: &RunResult, options: Options) -> Result<io::Result<()>, ReportError> {
    let pods = run.pods()?;
    let scrapes = Scrapes::new(&run.telemetry, options);
    let mut writer = Writer { out, scrapes };
    Ok((|| {
        api_server(&mut writer)?;
        etcd(&mut writer)?;
        match run.summary.scheduler.kind.as_str() {
            "kube-scheduler" => kube_scheduler(&mut writer, pods)?,
            "yunikorn" => yunikorn(&mut writer, pods)?,
            _ => {}
        }
        own(&mut writer)?;
        writeln!(writer.out, "# EOF")
    })())
}

fn api_server(w: &mut Writer<'_>) -> io::Result<()> {
    let telemetry = w.scrapes.telemetry;
    if !telemetry.columns().iter().any(|c| c.starts_with("request.")) {
        return Ok(());
    }
    let of = |verbs: &[&str], what: &str| -> Vec<String> {
        verbs.iter().map(|verb| format!("request.{verb}.{what}")).collect()
    };
    let name = "apiserver_request";
    w.family(name, "counter", "Requests answered by the API server, by verb, resource and code.")?;
    for (verbs, [group, resource, subresource, verb, code]) in ENDPOINTS {
        for (code, what) in [(code, "answered"), ("429", "rejected_429")] {
            let text = labels(&[
                ("code", code),
                ("component", "apiserver"),
                ("dry_run", ""),
                ("group", group),
                ("resource", resource),
                ("scope", "resource"),
                ("subresource", subresource),
                ("verb", verb),
                ("version", "v1"),
            ]);
            w.columns("apiserver_request_total", &text, &of(verbs, what), whole)?;
        }
    }
    w.family(
        "apiserver_request_terminations",
        "counter",
        "Requests that the API server ended early to protect itself.",
    )?;
    for (verbs, [group, resource, subresource, verb, _]) in ENDPOINTS {
        for (code, what) in [("429", "rejected_429"), ("504", "timed_out")] {
            let text = labels(&[
                ("code", code),
                ("component", "apiserver"),
                ("group", group),
                ("resource", resource),
                ("scope", "resource"),
                ("subresource", subresource),
                ("verb", verb),
                ("version", "v1"),
            ]);
            w.columns("apiserver_request_terminations_total", &text, &of(verbs, what), whole)?;
        }
    }
    let name = "apiserver_request_duration_seconds";
    w.family(name, "histogram", "Time from a request's arrival at the API server to its answer.")?;
    for (verbs, [group, resource, subresource, verb, _]) in ENDPOINTS {
        let pairs = [
            ("component", "apiserver"),
            ("dry_run", ""),
            ("group", group),
            ("resource", resource),
            ("scope", "resource"),
            ("subresource", subresource),
            ("verb", verb),
            ("version", "v1"),
        ];
        w.histogram(
            name,
            &pairs,
            &of(verbs, "duration"),
            &crate::control_plane::accounts::REQUEST_BOUNDS_NS,
        )?;
    }
    flow_control(w)
}

fn flow_control(w: &mut Writer<'_>) -> io::Result<()> {
    let telemetry = w.scrapes.telemetry;
    let flows: Vec<(&str, &str)> =
        parts(telemetry, "flow.", ".dispatched").into_iter().filter_map(|f| f.split_once('.')).collect();
    let plain = [
        ("dispatched_requests", "counter", "dispatched", "Requests that began to execute."),
        ("current_executing_requests", "gauge", "executing", "Requests that execute."),
        ("current_inqueue_requests", "gauge", "in_queue", "Requests that wait in queues."),
    ];
    for (name, kind, what, help) in plain {
        let name = format!("apiserver_flowcontrol_{name}");
        w.family(&name, kind, help)?;
        let sample = if kind == "counter" { format!("{name}_total") } else { name };
        for (schema, level) in &flows {
            let text = labels(&[("flow_schema", schema), ("priority_level", level)]);
            let values = w.scrapes.sum(&[format!("flow.{schema}.{level}.{what}")]);
            w.series(&sample, &text, &values, whole)?;
        }
    }
    w.family(
        "apiserver_flowcontrol_rejected_requests",
        "counter",
        "Requests answered 429 by priority and fairness.",
    )?;
    for (schema, level) in &flows {
        for (reason, what) in [("queue-full", "rejected_queue_full"), ("time-out", "rejected_time_out")] {
            let text = labels(&[("flow_schema", schema), ("priority_level", level), ("reason", reason)]);
            let column = [format!("flow.{schema}.{level}.{what}")];
            w.columns("apiserver_flowcontrol_rejected_requests_total", &text, &column, whole)?;
        }
    }
    let name = "apiserver_flowcontrol_request_wait_duration_seconds";
    w.family(name, "histogram", "Time that requests waited for seats.")?;
    for (schema, level) in &flows {
        let pairs = [("execute", "true"), ("flow_schema", *schema), ("priority_level", *level)];
        let prefix = [format!("flow.{schema}.{level}.wait")];
        w.histogram(name, &pairs, &prefix, &crate::control_plane::accounts::WAIT_BOUNDS_NS)?;
    }
    let seats = [
        ("nominal_limit_seats", "nominal_seats", "Seats of a priority level by its shares."),
        ("current_limit_seats", "limit_seats", "Seats of a priority level after lending and borrowing."),
    ];
    for (name, what, help) in seats {
        let name = format!("apiserver_flowcontrol_{name}");
        w.family(&name, "gauge", help)?;
        for level in parts(telemetry, "level.", ".nominal_seats") {
            let values = w.scrapes.sum(&[format!("level.{level}.{what}")]);
            w.series(&name, &labels(&[("priority_level", level)]), &values, whole)?;
        }
    }
    Ok(())
}

fn etcd(w: &mut Writer<'_>) -> io::Result<()> {
    let name = "etcd_disk_wal_fsync_duration_seconds";
    w.family(name, "histogram", "Time of fdatasync on the leader's write-ahead log.")?;
    w.histogram(name, &[], &["etcd.fsync".to_owned()], &crate::control_plane::etcd::FSYNC_BOUNDS_NS)
}

fn kube_scheduler(w: &mut Writer<'_>, pods: &PodTable) -> io::Result<()> {
    let column = |name: &str| [name.to_owned()];
    w.family("scheduler_schedule_attempts", "counter", "Attempts to schedule a pod, by result.")?;
    let attempts = [("scheduled", "pods.bound"), ("unschedulable", "attempts.failed")];
    for (result, name) in attempts {
        let text = labels(&[("profile", "default-scheduler"), ("result", result)]);
        w.columns("scheduler_schedule_attempts_total", &text, &column(name), whole)?;
    }
    w.family("scheduler_pending_pods", "gauge", "Pods in each of the scheduler's queues.")?;
    for queue in ["active", "backoff", "unschedulable"] {
        let values = w.scrapes.sum(&column(&format!("queue.{queue}")));
        w.series("scheduler_pending_pods", &labels(&[("queue", queue)]), &values, whole)?;
    }
    w.family("scheduler_cache_size", "gauge", "Nodes, pods and assumed pods in the scheduler's cache.")?;
    let of = |w: &Writer<'_>, name: &str| w.scrapes.sum(&column(name));
    let (assumed, bound, finished) = (of(w, "pods.assumed"), of(w, "pods.bound"), of(w, "pods.finished"));
    let minus =
        |a: &[u64], b: &[u64]| -> Vec<u64> { a.iter().zip(b).map(|(a, b)| a.saturating_sub(*b)).collect() };
    let nodes = of(w, "nodes");
    for (kind, values) in
        [("assumed_pods", minus(&assumed, &bound)), ("nodes", nodes), ("pods", minus(&assumed, &finished))]
    {
        w.series("scheduler_cache_size", &labels(&[("type", kind)]), &values, whole)?;
    }
    let name = "scheduler_pod_scheduling_sli_duration_seconds";
    w.family(name, "histogram", "Time from a pod's first queueing to its binding.")?;
    let failed = of(w, "attempts.failed").last().is_some_and(|failed| *failed > 0);
    let attempts: &[(&str, &str)] = if failed { &[] } else { &[("attempts", "1")] };
    w.spans(name, attempts, &SLI_BOUNDS_NS, pods, [|t| t.queued_ns, |t| t.bound_ns])?;
    let name = "scheduler_scheduling_attempt_duration_seconds";
    w.family(name, "histogram", "Time of an attempt: scheduling cycle and binding.")?;
    let scheduled = [("profile", "default-scheduler"), ("result", "scheduled")];
    w.spans(name, &scheduled, &ATTEMPT_BOUNDS_NS, pods, [|t| t.cycle_ns, |t| t.bound_ns])?;
    let name = "scheduler_scheduling_algorithm_duration_seconds";
    w.family(name, "histogram", "Time of a scheduling cycle.")?;
    w.spans(name, &[], &ATTEMPT_BOUNDS_NS, pods, [|t| t.cycle_ns, |t| t.assumed_ns])
}

fn yunikorn(w: &mut Writer<'_>, pods: &PodTable) -> io::Result<()> {
    let name = "yunikorn_scheduler_container_allocation_attempt";
    w.family(name, "counter", "Allocations, by what became of them.")?;
    for (state, column) in [("allocated", "pods.assumed"), ("released", "pods.finished")] {
        let name = format!("{name}_total");
        w.columns(&name, &labels(&[("state", state)]), &[column.to_owned()], whole)?;
    }
    w.family("yunikorn_scheduler_node", "gauge", "Nodes by state.")?;
    let nodes = w.scrapes.sum(&["nodes".to_owned()]);
    w.series("yunikorn_scheduler_node", &labels(&[("state", "active")]), &nodes, whole)?;
    let name = "yunikorn_scheduler_scheduling_latency_milliseconds";
    w.family(name, "histogram", "Time of a scheduling cycle that allocated, in seconds.")?;
    w.spans(name, &[], &YUNIKORN_BOUNDS_NS, pods, [|t| t.cycle_ns, |t| t.assumed_ns])
}

/// Numbers that no component exports.
fn own(w: &mut Writer<'_>) -> io::Result<()> {
    let telemetry = w.scrapes.telemetry;
    w.family("process_cpu_seconds", "counter", "CPU time of a process.")?;
    for process in parts(telemetry, "process.", ".cpu_ns") {
        let values = w.scrapes.sum(&[format!("process.{process}.cpu_ns")]);
        w.series("process_cpu_seconds_total", &labels(&[("job", process)]), &values, seconds)?;
    }
    w.family("podpace_host_cpu_seconds", "counter", "Busy core-seconds of a host.")?;
    for host in parts(telemetry, "host.", ".busy_core_ns") {
        let values = w.scrapes.sum(&[format!("host.{host}.busy_core_ns")]);
        w.series("podpace_host_cpu_seconds_total", &labels(&[("host", host)]), &values, seconds)?;
    }
    w.family("podpace_host_cores", "gauge", "Cores of a host.")?;
    for host in parts(telemetry, "host.", ".cores") {
        let values = w.scrapes.sum(&[format!("host.{host}.cores")]);
        w.series("podpace_host_cores", &labels(&[("host", host)]), &values, whole)?;
    }
    let clients = [
        (
            "podpace_client_requests",
            "counter",
            "requests",
            "Requests that left a client's token bucket.",
            whole as fn(u64) -> String,
        ),
        ("podpace_client_waiting_requests", "gauge", "waiting", "Requests that wait for a token.", whole),
        ("podpace_client_qps", "gauge", "qps_milli", "Tokens a second.", thousandths),
    ];
    for (name, kind, what, help, value) in clients {
        w.family(name, kind, help)?;
        let sample = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        for client in parts(telemetry, "client.", &format!(".{what}")) {
            let values = w.scrapes.sum(&[format!("client.{client}.{what}")]);
            w.series(&sample, &labels(&[("client", client)]), &values, value)?;
        }
    }
    w.family("podpace_level_seats", "gauge", "Seats in use of a priority level.")?;
    for level in parts(telemetry, "level.", ".seats_in_use") {
        let values = w.scrapes.sum(&[format!("level.{level}.seats_in_use")]);
        w.series("podpace_level_seats", &labels(&[("priority_level", level)]), &values, whole)?;
    }
    w.family("podpace_pods", "gauge", "Pods that have reached a stage.")?;
    for stage in ["created", "assumed", "bound", "running", "finished"] {
        let values = w.scrapes.sum(&[format!("pods.{stage}")]);
        w.series("podpace_pods", &labels(&[("stage", stage)]), &values, whole)?;
    }
    w.family("podpace_station_busy_seconds", "counter", "Time in which somebody waited at a station.")?;
    for station in parts(telemetry, "station.", ".busy_ns") {
        let values = w.scrapes.sum(&[format!("station.{station}.busy_ns")]);
        w.series("podpace_station_busy_seconds_total", &labels(&[("station", station)]), &values, seconds)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_labels_are_exact() {
        assert_eq!(seconds(0), "0.0");
        assert_eq!(seconds(5 * MILLISECOND), "0.005");
        assert_eq!(seconds(SECOND), "1.0");
        assert_eq!(seconds(5_242_880 * MILLISECOND), "5242.88");
        assert_eq!(thousandths(1_500), "1.5");
        assert_eq!(labels(&[("a", "x\"y\\z\n")]), r#"{a="x\"y\\z\n"}"#);
        assert_eq!(labels(&[]), "");
    }

    /// The bounds that a real kube-scheduler 1.36 and YuniKorn 1.x export.
    #[test]
    fn bounds_are_those_of_the_real_components() {
        let text = |bounds: &[Nanos]| bounds.iter().map(|b| seconds(*b)).collect::<Vec<_>>();
        assert_eq!(text(&SLI_BOUNDS_NS).last().map(String::as_str), Some("5242.88"));
        assert_eq!(text(&ATTEMPT_BOUNDS_NS).last().map(String::as_str), Some("16.384"));
        assert_eq!(text(&YUNIKORN_BOUNDS_NS), ["0.0001", "0.001", "0.01", "0.1", "1.0", "10.0"]);
        assert_eq!(
            text(&crate::control_plane::etcd::FSYNC_BOUNDS_NS).last().map(String::as_str),
            Some("8.192")
        );
    }
}
