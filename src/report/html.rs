//! One HTML page about one or several runs: no network, no build step, nothing but this file.
//!
//! The page answers in this order: how fast, what held it up, where pods waited, how full everything was, what went in and
//! how to repeat it. Pods are aggregated here, so that a page about a million pods is as large as one about a thousand.
//! Charts are [`svg`](super::svg); a small script adds tooltips (pointer or arrow keys) and the tables behind "Data". Without
//! scripts, and on paper, the pictures and tables are all there.
//!
//! Left out: details of runs past [`MAX_DETAILS`].
//!
//! Cost: O(pods log pods) a run; the page grows with runs, not with pods.
use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::cluster::Timeline;
use crate::engine::{Nanos, SECOND};
use crate::experiment::plan::quoted;
use crate::experiment::run::{FaultSummary, Summary};

use super::folder::{PodTable, RunResult, Table};
use super::svg::{Axis, Heat, Line, Segment, escape, lines, number, ribbons, span};

/// Runs that get charts of their own; all are compared.
pub const MAX_DETAILS: usize = 8;
/// Faults of a run that are shown one by one.
const MAX_FAULTS: usize = 200;
/// Points of a line over time, columns of a heat map.
const STEPS: usize = 120;

type Stage = fn(&Timeline) -> Nanos;
/// Spans between stages, as results name them.
const SPANS: [(&str, Stage, Stage); 6] = [
    ("created to queued", |t| t.created_ns, |t| t.queued_ns),
    ("queued to assumed", |t| t.queued_ns, |t| t.assumed_ns),
    ("assumed to bind sent", |t| t.assumed_ns, |t| t.bind_sent_ns),
    ("bind sent to bound", |t| t.bind_sent_ns, |t| t.bound_ns),
    ("created to bound", |t| t.created_ns, |t| t.bound_ns),
    ("bound to started", |t| t.bound_ns, |t| t.running_ns),
];

fn seconds(ns: Nanos) -> f64 {
    ns as f64 / SECOND as f64
}

/// The page.
#[must_use]
pub fn page(runs: &[RunResult]) -> String {
    let mut out = String::new();
    let title = match runs {
        [run] => run.name.clone(),
        several => format!("{} runs", several.len()),
    };
    let version = runs.first().map_or("", |run| run.summary.podpace.as_str());
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>podpace: {0}</title><link rel=\"icon\" href=\"data:,\"><style>{1}</style></head><body><a class=\"skip\" href=\"#main\">Skip to the results</a>\
         <header><h1>{0}</h1><p class=\"dim\">Simulated by podpace {2}. All times are virtual; t = 0 is the beginning of the run.</p>\
         <nav aria-label=\"Sections\"><ul>",
        escape(&title),
        include_str!("page.css"),
        escape(version)
    );
    let sections = [
        ("overview", "Overview"),
        ("throughput", "Throughput"),
        ("bottleneck", "Bottleneck"),
        ("latency", "Latency"),
        ("queues", "Queues"),
        ("utilisation", "Utilisation"),
        ("fairness", "Fairness"),
        ("nodes", "Nodes"),
        ("metrics", "All metrics"),
        ("inputs", "Inputs"),
    ];
    let has_queues = runs.iter().take(MAX_DETAILS).any(|run| run.queues.is_some());
    for (id, name) in sections.into_iter().filter(|(id, _)| *id != "fairness" || has_queues) {
        let _ = write!(out, "<li><a href=\"#{id}\">{name}</a></li>");
    }
    out.push_str("</ul></nav></header><main id=\"main\">");
    overview(&mut out, runs);
    throughput(&mut out, runs);
    bottleneck(&mut out, runs);
    latency(&mut out, runs);
    let detailed = &runs[..runs.len().min(MAX_DETAILS)];
    per_run(&mut out, "queues", "Queues", QUEUES_TEXT, detailed, queues);
    per_run(&mut out, "utilisation", "Utilisation of the limits", UTILISATION_TEXT, detailed, utilisation);
    if has_queues {
        per_run(&mut out, "fairness", "Fairness between queues", FAIRNESS_TEXT, detailed, fairness);
    }
    per_run(&mut out, "nodes", "How full the nodes are", NODES_TEXT, detailed, node_fill);
    metrics(&mut out, runs);
    inputs(&mut out, runs);
    let _ = writeln!(
        out,
        "</main><footer>podpace {}</footer><div id=\"tip\" role=\"tooltip\" hidden></div>\
         <div id=\"live\" class=\"skip\" aria-live=\"polite\"></div><script>{}</script></body></html>",
        escape(version),
        include_str!("page.js")
    );
    out
}

const QUEUES_TEXT: &str = "Who waits where: pods in the scheduler's queues, requests for a token of their client, for a stream of a \
                           connection, for seats of the API server, and after an answer 429.";
const UTILISATION_TEXT: &str = "A row is a limit; the stronger its colour, the nearer to all of it. A station is busy while somebody waits there.";
const NODES_TEXT: &str =
    "Nodes by the larger of their requested CPU and memory, as a share of what is allocatable.";

const FAIRNESS_TEXT: &str = "What each queue holds: the larger of its requested CPU and memory, as a share of what all nodes allocate. Jain's index \
                             over the queues in which pods wait says how equal their shares are: 1 is equal, 1/n is one of n queues holding everything.";

fn section(out: &mut String, id: &str, title: &str, text: &str) {
    let _ = write!(out, "<section id=\"{id}\" aria-labelledby=\"{id}-h\"><h2 id=\"{id}-h\">{title}</h2>");
    if !text.is_empty() {
        let _ = write!(out, "<p class=\"dim\">{text}</p>");
    }
}

/// A section with a chart of each run.
fn per_run(
    out: &mut String,
    id: &str,
    title: &str,
    text: &str,
    runs: &[RunResult],
    chart: fn(&RunResult) -> String,
) {
    section(out, id, title, text);
    for run in runs {
        if runs.len() > 1 {
            let _ = write!(out, "<h3>{}</h3>", escape(&run.name));
        }
        out.push_str(&chart(run));
    }
    out.push_str("</section>");
}

/// Begins a table that scrolls sideways. A reader of regions hears its `name`, which no other table of the page has. Heads
/// that begin with `>` are of numbers.
fn table_head(out: &mut String, name: &str, heads: &[&str]) {
    let _ = write!(
        out,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table><thead><tr>",
        escape(name)
    );
    for head in heads {
        let (class, head) = head.strip_prefix('>').map_or(("", *head), |head| (" class=\"n\"", head));
        let _ = write!(out, "<th scope=\"col\"{class}>{}</th>", escape(head));
    }
    out.push_str("</tr></thead><tbody>");
}

fn row(out: &mut String, head: &str, cells: &[String]) {
    let _ = write!(out, "<tr><th scope=\"row\">{}</th>", escape(head));
    for cell in cells {
        // Numbers stand on the right, words on the left.
        let class = if cell.starts_with(|c: char| c.is_ascii_alphabetic()) { "" } else { " class=\"n\"" };
        let _ = write!(out, "<td{class}>{}</td>", escape(cell));
    }
    out.push_str("</tr>");
}

fn overview(out: &mut String, runs: &[RunResult]) {
    section(out, "overview", "Overview", "");
    for run in runs.iter().take(MAX_DETAILS) {
        let name =
            if runs.len() > 1 { format!("<strong>{}.</strong> ", escape(&run.name)) } else { String::new() };
        let _ = write!(out, "<p>{name}{}</p>", escape(&run.summary.bottleneck.sentence));
    }
    table_head(
        out,
        "Overview of the runs",
        &[
            "run",
            "scheduler",
            ">seed",
            ">nodes",
            ">pods",
            ">bound",
            ">pending",
            ">pods/s",
            ">best",
            ">last bound",
            ">p50 wait",
            ">p99 wait",
            "ended",
        ],
    );
    for run in runs {
        let s = &run.summary;
        let get = |name: &str| s.metrics.get(name).copied().unwrap_or(f64::NAN);
        row(
            out,
            &run.name,
            &[
                s.scheduler.kind.clone(),
                s.seed.to_string(),
                number(get("nodes")),
                number(s.counts.total as f64),
                number(s.counts.bound as f64),
                number(s.counts.pending as f64),
                number(get("throughput.bound.mean")),
                number(get("throughput.bound.max")),
                span(get("bound.last_s")),
                span(get("latency.created_to_bound.p50_s")),
                span(get("latency.created_to_bound.p99_s")),
                s.ended.clone(),
            ],
        );
    }
    out.push_str("</tbody></table></div>");
    for run in runs.iter().take(MAX_DETAILS).filter(|run| !run.summary.pending_reasons.is_empty()) {
        let _ = write!(out, "<h3>Why pods of {} are pending</h3>", escape(&run.name));
        table_head(out, &format!("Why pods of {} are pending", run.name), &["reason", ">pods"]);
        for (reason, pods) in &run.summary.pending_reasons {
            row(out, reason, &[number(*pods as f64)]);
        }
        out.push_str("</tbody></table></div>");
    }
    for run in runs.iter().take(MAX_DETAILS).filter(|run| !run.summary.faults.is_empty()) {
        faults(out, run);
    }
    out.push_str("</section>");
}

/// What went wrong, and how long it took until as many pods were bound, and ran, as before.
fn faults(out: &mut String, run: &RunResult) {
    let all = &run.summary.faults;
    let _ = write!(out, "<h3>Faults of {}</h3>", escape(&run.name));
    if all.len() > MAX_FAULTS {
        let _ = write!(out, "<p class=\"dim\">The first {MAX_FAULTS} of {}.</p>", number(all.len() as f64));
    }
    table_head(out, &format!("Faults of {}", run.name), &FaultSummary::HEADINGS);
    for fault in all.iter().take(MAX_FAULTS) {
        let [name, cells @ ..] = fault.row(|n| number(n as f64), span);
        row(out, &name, &cells);
    }
    out.push_str("</tbody></table></div>");
}

/// Ascending times of a stage.
fn stage_times(pods: &PodTable, stage: Stage) -> Vec<Nanos> {
    let mut times: Vec<Nanos> = pods.timelines.iter().map(stage).filter(|t| *t != u64::MAX).collect();
    times.sort_unstable();
    times
}

/// Pods per second in each of [`STEPS`] spans from 0 to `end_ns`.
fn rates(times: &[Nanos], end_ns: Nanos) -> Vec<(f64, f64)> {
    let width = (end_ns / STEPS as u64).max(1);
    let mut counts = vec![0u64; STEPS];
    for t in times {
        counts[((t / width) as usize).min(STEPS - 1)] += 1;
    }
    let per_s = SECOND as f64 / width as f64;
    counts.iter().enumerate().map(|(i, n)| (seconds(width) * (i + 1) as f64, *n as f64 * per_s)).collect()
}

/// Rows of a table at about [`STEPS`] steps, the first and the last among them.
fn steps(table: &Table) -> Vec<usize> {
    let last = table.times_ns().len() - 1;
    let every = last.div_ceil(STEPS).max(1);
    let mut rows: Vec<usize> = (0..=last).step_by(every).collect();
    if rows.last() != Some(&last) {
        rows.push(last);
    }
    rows
}

/// A column over time.
fn gauge(table: &Table, name: &str) -> Vec<(f64, f64)> {
    let column = table.column(name);
    steps(table).into_iter().map(|row| (seconds(table.times_ns()[row]), column[row] as f64)).collect()
}

fn throughput(out: &mut String, runs: &[RunResult]) {
    section(out, "throughput", "Throughput", "Pods bound per second of virtual time.");
    let rate = |run: &RunResult| match &run.pods {
        Some(pods) => {
            let times = stage_times(pods, |t| t.bound_ns);
            rates(&times, times.last().copied().unwrap_or(0))
        }
        // Without pods, from telemetry's counts.
        None => gauge(&run.telemetry, "pods.bound")
            .windows(2)
            .map(|pair| (pair[1].0, (pair[1].1 - pair[0].1) / (pair[1].0 - pair[0].0).max(1e-9)))
            .collect(),
    };
    let shown: Vec<Line> = runs
        .iter()
        .map(|run| Line {
            name: if runs.len() > 1 { run.name.clone() } else { String::new() },
            points: rate(run),
        })
        .collect();
    out.push_str(&lines("Pods bound per second over time", "pods/s", Axis::Time, Axis::Number, &shown));
    out.push_str("<h3>Pods so far</h3>");
    let names = ["created", "assumed", "bound", "running", "finished"];
    let of = |run: &RunResult, names: &[&str]| -> Vec<Line> {
        let has = |name: &&&str| run.telemetry.has(&format!("pods.{name}"));
        let line = |name: &&str| Line {
            name: if runs.len() > 1 { run.name.clone() } else { (*name).to_owned() },
            points: gauge(&run.telemetry, &format!("pods.{name}")),
        };
        names.iter().filter(has).map(line).collect()
    };
    let shown: Vec<Line> = match runs {
        [run] => of(run, &names),
        several => several.iter().flat_map(|run| of(run, &["bound"])).collect(),
    };
    let title = if runs.len() > 1 { "Pods bound so far" } else { "Pods that have reached each stage so far" };
    out.push_str(&lines(title, "pods", Axis::Time, Axis::Number, &shown));
    out.push_str("</section>");
}

fn bottleneck(out: &mut String, runs: &[RunResult]) {
    let text = "The critical path of the run: at each moment, the limit that held up the last binding.";
    section(out, "bottleneck", "What held it up", text);
    let mut colours: BTreeMap<&str, usize> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    for share in runs.iter().flat_map(|run| &run.summary.bottleneck.shares) {
        if share.limit != "start-up and latency" && !colours.contains_key(share.limit.as_str()) {
            colours.insert(&share.limit, order.len());
            order.push(&share.limit);
        }
    }
    let shown: Vec<(String, Vec<Segment>)> = runs
        .iter()
        .map(|run| {
            let segment = |s: &crate::experiment::run::Span| Segment {
                from_s: seconds(s.from_ns),
                to_s: seconds(s.to_ns),
                name: s.limit.clone(),
                colour: colours.get(s.limit.as_str()).copied(),
            };
            (run.name.clone(), run.summary.bottleneck.path.iter().map(segment).collect())
        })
        .collect();
    out.push_str("<ul class=\"legend\">");
    for (limit, class) in order
        .iter()
        .map(|l| (*l, format!("f{}", colours[l] % super::svg::COLOURS)))
        .chain([("start-up and latency", "none".to_owned())])
    {
        let _ = write!(
            out,
            "<li><svg width=\"14\" height=\"12\" aria-hidden=\"true\"><rect class=\"{class}\" width=\"14\" height=\"12\"/></svg>{}</li>",
            escape(limit)
        );
    }
    out.push_str("</ul>");
    out.push_str(&ribbons("What held up progress over time", &shown));
    table_head(out, "Limits and their shares", &["run", "limit", ">time", ">share", "next limit at"]);
    for run in runs.iter().take(MAX_DETAILS) {
        for (i, share) in run.summary.bottleneck.shares.iter().enumerate() {
            let next = match (&run.summary.bottleneck.next, i) {
                (Some(next), 0) => format!("{}: {} pods/s", next.limit, number(next.pods_per_s)),
                _ => String::new(),
            };
            let cells =
                [share.limit.clone(), span(seconds(share.ns)), format!("{:.1} %", share.share * 100.0), next];
            row(out, &run.name, &cells);
        }
    }
    out.push_str("</tbody></table></div></section>");
}

/// Ascending spans between two stages, in seconds.
fn spans(pods: &PodTable, from: Stage, to: Stage) -> Vec<f64> {
    let mut spans: Vec<Nanos> = pods
        .timelines
        .iter()
        .filter(|t| from(t) != u64::MAX && to(t) != u64::MAX)
        .map(|t| to(t).saturating_sub(from(t)))
        .collect();
    spans.sort_unstable();
    spans.into_iter().map(seconds).collect()
}

/// The distribution as points: (span, share of pods within it).
fn distribution(ascending: &[f64]) -> Vec<(f64, f64)> {
    let n = ascending.len();
    let shares = (0..=100).map(|i| f64::from(i) / 100.0).chain([0.995, 0.999]);
    let mut points: Vec<(f64, f64)> = shares
        .map(|share| {
            let rank = libm::ceil(share * n as f64) as usize;
            (ascending[rank.clamp(1, n) - 1].max(1e-6), share)
        })
        .collect();
    points.sort_by(|a, b| a.1.total_cmp(&b.1));
    points
}

fn latency(out: &mut String, runs: &[RunResult]) {
    let text = "The share of pods that took at most so long. Further left is faster.";
    section(out, "latency", "Latency", text);
    if runs.iter().all(|run| run.pods.is_none()) {
        out.push_str("<p>The results have no tables of pods (<code>--pods none</code>).</p></section>");
        return;
    }
    let line = |name: &str, pods: &PodTable, from: Stage, to: Stage| {
        let spans = spans(pods, from, to);
        (!spans.is_empty()).then(|| Line { name: name.to_owned(), points: distribution(&spans) })
    };
    if runs.len() > 1 {
        out.push_str("<h3>Created to bound, all runs</h3>");
        let shown: Vec<Line> = runs
            .iter()
            .filter_map(|run| line(&run.name, run.pods.as_ref()?, |t| t.created_ns, |t| t.bound_ns))
            .collect();
        let title = "Distribution of the time from creation to binding";
        out.push_str(&lines(title, "share of pods", Axis::LogSpan, Axis::Share, &shown));
    }
    for run in runs.iter().take(MAX_DETAILS) {
        let Some(pods) = &run.pods else { continue };
        let name = if runs.len() > 1 { format!("{}: ", escape(&run.name)) } else { String::new() };
        let _ = write!(out, "<h3>{name}by stage</h3>");
        let shown: Vec<Line> =
            SPANS.iter().filter_map(|(name, from, to)| line(name, pods, *from, *to)).collect();
        out.push_str(&lines(
            "Distribution of the time in each stage",
            "share of pods",
            Axis::LogSpan,
            Axis::Share,
            &shown,
        ));
        let _ = write!(out, "<h3>{name}created to bound, by the time of binding</h3>");
        out.push_str(&latency_heat(pods));
    }
    out.push_str("</section>");
}

/// How long pods had waited when they were bound, over time.
fn latency_heat(pods: &PodTable) -> String {
    let waits: Vec<(Nanos, Nanos)> = pods
        .timelines
        .iter()
        .filter(|t| t.created_ns != u64::MAX && t.bound_ns != u64::MAX)
        .map(|t| (t.bound_ns, t.bound_ns - t.created_ns))
        .collect();
    let Some(end) = waits.iter().map(|(at, _)| *at).max().filter(|end| *end > 0) else {
        return "<p>Nothing was bound.</p>".to_owned();
    };
    let longest = waits.iter().map(|(_, wait)| *wait).max().unwrap_or(0);
    // Rows by powers of two from 1 ms.
    let first = 1_000_000u64;
    let row_of = |wait: Nanos| if wait < first { 0 } else { (wait / first).ilog2() as usize + 1 };
    let shortest = waits.iter().map(|(_, wait)| *wait).min().unwrap_or(0);
    let (lowest, count) = (row_of(shortest), row_of(longest) + 1);
    let names: Vec<String> =
        (lowest..count)
            .map(|row| {
                if row == 0 {
                    "< 1ms".to_owned()
                } else {
                    format!("≥ {}", span(seconds(first << (row - 1))))
                }
            })
            .collect();
    let width = end.div_ceil(STEPS as u64).max(1);
    let columns = (end / width + 1) as usize;
    let mut values = vec![vec![0.0; columns]; count - lowest];
    for (at, wait) in waits {
        values[row_of(wait) - lowest][(at / width) as usize] += 1.0;
    }
    let edges: Vec<f64> = (0..=columns).map(|i| seconds(width) * i as f64).collect();
    let most = values.iter().flatten().copied().fold(0.0, f64::max);
    let title = "Pods by the time from creation to binding, over the time of binding";
    Heat {
        title,
        rows: &names,
        values: &values,
        edges_s: &edges,
        most,
        root: true,
        share: false,
        unit: "pods",
    }
    .svg(78.0, 14.0)
}

fn queues(run: &RunResult) -> String {
    let table = &run.telemetry;
    let mut shown: Vec<(String, String)> = Vec::new();
    if table.has("queue.active") || table.has("queue.backoff") || table.has("queue.unschedulable") {
        for queue in ["active", "backoff", "unschedulable"] {
            shown.push((format!("queue.{queue}"), format!("scheduler queue: {queue}")));
        }
    } else {
        shown.push(("queue.backlog".into(), "scheduler backlog".into()));
    }
    for column in table.columns() {
        if let Some(client) = column.strip_prefix("client.").and_then(|c| c.strip_suffix(".waiting")) {
            shown.push((column.clone(), format!("tokens of {client}")));
        }
    }
    let rest = [
        ("waiting.streams", "streams of connections"),
        ("waiting.seats", "seats"),
        ("waiting.retry_after", "after 429"),
    ];
    shown.extend(rest.map(|(column, name)| (column.to_owned(), name.to_owned())));
    let lines_shown: Vec<Line> = shown
        .into_iter()
        .filter(|(column, _)| table.has(column))
        .map(|(column, name)| Line { name, points: gauge(table, &column) })
        .collect();
    if lines_shown.is_empty() {
        return "<p>Nobody ever waited at a step of the telemetry.</p>".to_owned();
    }
    lines("Pods and requests that wait, over time", "waiting", Axis::Time, Axis::Number, &lines_shown)
}

fn utilisation(run: &RunResult) -> String {
    let table = &run.telemetry;
    let rows = steps(table);
    if rows.len() < 2 {
        return "<p>The run was too short for its telemetry.</p>".to_owned();
    }
    let edges: Vec<f64> = rows.iter().map(|row| seconds(table.times_ns()[*row])).collect();
    let spans_ns: Vec<f64> =
        rows.windows(2).map(|w| (table.times_ns()[w[1]] - table.times_ns()[w[0]]) as f64).collect();
    // Increase of a counter in each span.
    let increase = |name: &str| -> Vec<f64> {
        let column = table.column(name);
        rows.windows(2).map(|w| column[w[1]].saturating_sub(column[w[0]]) as f64).collect()
    };
    let constant = |name: &str| table.column(name).last().copied().unwrap_or(0) as f64;
    let (mut names, mut values): (Vec<String>, Vec<Vec<f64>>) = (Vec::new(), Vec::new());
    let mut add = |name: String, shares: Vec<f64>| {
        names.push(name);
        values.push(
            shares
                .into_iter()
                .map(|share| if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 })
                .collect(),
        );
    };
    let of = |column: &str, prefix: &str, suffix: &str| -> Option<String> {
        Some(column.strip_prefix(prefix)?.strip_suffix(suffix)?.to_owned())
    };
    for column in table.columns() {
        if let Some(station) = of(column, "station.", ".busy_ns") {
            let name = match station.as_str() {
                "scheduler" => "scheduler has a backlog".to_owned(),
                "bind_tokens" => "bind tokens awaited".to_owned(),
                "creation_tokens" => "creation tokens awaited".to_owned(),
                "backoff" => "back-off of unschedulable pods".to_owned(),
                "streams" => "streams awaited".to_owned(),
                "seats" => "seats awaited".to_owned(),
                "retry_after" => "back-off after 429".to_owned(),
                "creation" => "pods being created".to_owned(),
                "host_cpu" => "scheduler's host is short of cores".to_owned(),
                other => other.to_owned(),
            };
            add(name, increase(column).iter().zip(&spans_ns).map(|(busy, span)| busy / span).collect());
        }
    }
    if table.has("etcd.fsync.sum_ns") {
        add(
            "etcd's disk".into(),
            increase("etcd.fsync.sum_ns").iter().zip(&spans_ns).map(|(b, s)| b / s).collect(),
        );
    }
    for column in table.columns() {
        if let Some(level) = of(column, "level.", ".seats_in_use") {
            let (used, limit) = (table.column(column), table.column(&format!("level.{level}.limit_seats")));
            let share = |row: &usize| used[*row] as f64 / (limit[*row] as f64).max(1.0);
            add(format!("seats of {level}"), rows[1..].iter().map(share).collect());
        }
        if column == "inflight.mutating.in_use" {
            let (used, limit) = (table.column(column), constant("inflight.mutating.limit"));
            add(
                "mutating requests in flight".into(),
                rows[1..].iter().map(|row| used[*row] as f64 / limit).collect(),
            );
        }
        if let Some(client) = of(column, "client.", ".qps_milli") {
            let qps = constant(column) / 1000.0;
            let requests = increase(&format!("client.{client}.requests"));
            if requests.iter().any(|n| *n > 0.0) && qps > 0.0 {
                let share = |(n, span): (&f64, &f64)| n / (qps * span / SECOND as f64);
                add(format!("tokens of {client}"), requests.iter().zip(&spans_ns).map(share).collect());
            }
        }
        if let Some(host) = of(column, "host.", ".busy_core_ns") {
            let cores = constant(&format!("host.{host}.cores"));
            let busy = increase(column);
            add(format!("CPU of {host}"), busy.iter().zip(&spans_ns).map(|(b, s)| b / (s * cores)).collect());
        }
    }
    if names.is_empty() {
        return "<p>Nothing in this run has a limit.</p>".to_owned();
    }
    let title = "Utilisation of each limit over time";
    Heat {
        title,
        rows: &names,
        values: &values,
        edges_s: &edges,
        most: 1.0,
        root: false,
        share: true,
        unit: "",
    }
    .svg(210.0, 22.0)
}

/// Jain's index of fairness: (sum x)^2 / (n sum x^2).
fn jain(shares: &[f64]) -> f64 {
    let (sum, squares) = shares.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    if squares > 0.0 { sum * sum / (shares.len() as f64 * squares) } else { 1.0 }
}

/// Queues with lines of their own; the table has all.
const QUEUE_LINES: usize = 8;

fn fairness(run: &RunResult) -> String {
    let Some(table) = &run.queues else { return "<p>All applications ask for one queue.</p>".to_owned() };
    let names: Vec<&str> = table.columns().iter().filter_map(|c| c.strip_suffix(".share_ppm")).collect();
    let columns = |what: &str| -> Vec<Vec<u64>> {
        names.iter().map(|name| table.column(&format!("{name}.{what}"))).collect()
    };
    let (waiting, holding, shares) = (columns("waiting"), columns("holding"), columns("share_ppm"));
    let most = |column: &[u64]| column.iter().copied().max().unwrap_or(0);
    let mut largest: Vec<usize> = (0..names.len()).collect();
    largest.sort_by_key(|at| std::cmp::Reverse(most(&shares[*at])));
    largest.truncate(QUEUE_LINES);
    largest.sort_unstable();
    let picked = steps(table);
    let over_time = |column: &[u64], unit: f64| -> Vec<(f64, f64)> {
        picked.iter().map(|row| (seconds(table.times_ns()[*row]), column[*row] as f64 / unit)).collect()
    };
    let line = |at: &usize| Line { name: names[*at].to_owned(), points: over_time(&shares[*at], 1e6) };
    let shown: Vec<Line> = largest.iter().map(line).collect();
    let mut out = lines(
        "Share of the cluster that each queue holds, over time",
        "share",
        Axis::Time,
        Axis::Share,
        &shown,
    );
    let line = |at: &usize| Line { name: names[*at].to_owned(), points: over_time(&waiting[*at], 1.0) };
    let shown: Vec<Line> = largest.iter().map(line).collect();
    out += &lines("Pods that wait in each queue, over time", "pods", Axis::Time, Axis::Number, &shown);
    // Only where at least two queues want more than they have is there a question of fairness.
    let contended: Vec<(f64, f64)> = (0..table.times_ns().len())
        .filter_map(|row| {
            let wanting: Vec<f64> = (0..names.len())
                .filter(|at| waiting[*at][row] > 0)
                .map(|at| shares[at][row] as f64)
                .collect();
            (wanting.len() > 1).then(|| (seconds(table.times_ns()[row]), jain(&wanting)))
        })
        .collect();
    let _ = match contended.as_slice() {
        [] => write!(out, "<p>Pods never waited in two queues at once: nobody had to share.</p>"),
        points => {
            let mean = points.iter().map(|(_, index)| index).sum::<f64>() / points.len() as f64;
            write!(out, "<p>Jain's index while pods waited in two queues or more: mean {}.</p>", number(mean))
        }
    };
    table_head(
        &mut out,
        &format!("Queues of {}", run.name),
        &[
            "queue",
            ">most pods waiting",
            ">most pods held",
            ">largest share",
            ">mean share while pods waited",
        ],
    );
    for (at, name) in names.iter().enumerate() {
        let wanting: Vec<f64> = (0..waiting[at].len())
            .filter(|row| waiting[at][*row] > 0)
            .map(|row| shares[at][row] as f64)
            .collect();
        let mean = wanting.iter().sum::<f64>() / wanting.len().max(1) as f64;
        let percent = |ppm: f64| format!("{:.1} %", ppm / 1e4);
        let cells = [
            number(most(&waiting[at]) as f64),
            number(most(&holding[at]) as f64),
            percent(most(&shares[at]) as f64),
            if wanting.is_empty() { "–".to_owned() } else { percent(mean) },
        ];
        row(&mut out, name, &cells);
    }
    out + "</tbody></table></div>"
}

fn node_fill(run: &RunResult) -> String {
    let table = &run.node_fill;
    let name = |column: &str| match column {
        "empty" => "empty".to_owned(),
        "over_100_percent" => "over 100 %".to_owned(),
        other => other.trim_start_matches("to_").replace("_percent", " %").replace("10 %", "≤ 10 %"),
    };
    let rows = steps(table);
    if rows.len() < 2 {
        return String::new();
    }
    let edges: Vec<f64> = rows.iter().map(|row| seconds(table.times_ns()[*row])).collect();
    let shown: Vec<&String> = table
        .columns()
        .iter()
        .filter(|c| *c != "over_100_percent" || table.column(c).iter().any(|n| *n > 0))
        .collect();
    let names: Vec<String> = shown.iter().map(|c| name(c)).collect();
    let values: Vec<Vec<f64>> = shown
        .iter()
        .map(|c| {
            let column = table.column(c);
            rows[1..].iter().map(|row| column[*row] as f64).collect()
        })
        .collect();
    let most = values.iter().flatten().copied().fold(0.0, f64::max);
    let title = "Nodes by how full they are, over time";
    Heat {
        title,
        rows: &names,
        values: &values,
        edges_s: &edges,
        most,
        root: true,
        share: false,
        unit: "nodes",
    }
    .svg(78.0, 16.0)
}

fn metrics(out: &mut String, runs: &[RunResult]) {
    section(out, "metrics", "All metrics", "");
    out.push_str("<details><summary>Every metric of every run</summary>");
    let mut heads = vec!["metric".to_owned()];
    heads.extend(runs.iter().map(|run| format!(">{}", run.name)));
    table_head(out, "Every metric of every run", &heads.iter().map(String::as_str).collect::<Vec<_>>());
    let names: std::collections::BTreeSet<&String> =
        runs.iter().flat_map(|run| run.summary.metrics.keys()).collect();
    for name in names {
        let cell =
            |run: &RunResult| run.summary.metrics.get(name).map_or_else(|| "–".to_owned(), |v| number(*v));
        row(out, name, &runs.iter().map(cell).collect::<Vec<_>>());
    }
    out.push_str("</tbody></table></div></details>");
    for run in runs.iter().take(MAX_DETAILS).filter(|run| !run.summary.costs.is_empty()) {
        let _ = write!(
            out,
            "<details><summary>Operations counted and their cost: {}</summary>",
            escape(&run.name)
        );
        table_head(
            out,
            &format!("Operations of {}", run.name),
            &["process", "operation", ">count", ">unit", ">CPU"],
        );
        for cost in &run.summary.costs {
            let cells = [
                cost.operation.clone(),
                number(cost.count as f64),
                span(cost.unit_ps as f64 / 1e12),
                span(seconds(cost.total_ns)),
            ];
            row(out, &cost.process, &cells);
        }
        out.push_str("</tbody></table></div></details>");
    }
    out.push_str("</section>");
}

/// The command that gives the same result again, with the same `--models` if there were any: a result has their hashes, not their folder.
fn repeated_by(summary: &Summary) -> String {
    let file = summary.inputs.files.first().map_or("SCENARIO", |file| file.name.as_str());
    let mut command = format!("podpace run {}", quoted(file));
    for setting in &summary.settings {
        let _ = write!(command, " --set {}", quoted(setting));
    }
    let _ = write!(command, " --seed {}", summary.seed);
    if let Some(draw) = summary.draw {
        let _ = write!(command, " --draw {draw}");
    }
    command + " --out RESULT"
}

fn inputs(out: &mut String, runs: &[RunResult]) {
    let text = "Same version, files, settings and seed: same bytes. <code>sha256sum</code> says whether a file is the one that was read.";
    section(out, "inputs", "Inputs, and how to repeat it", text);
    for run in runs {
        let s = &run.summary;
        if runs.len() > 1 {
            let _ = write!(out, "<h3>{}</h3>", escape(&run.name));
        }
        let _ = write!(
            out,
            "<pre tabindex=\"0\">{}   # podpace {}\npodpace report RESULT --out report.html</pre>",
            escape(&repeated_by(s)),
            escape(&s.podpace)
        );
        for note in &s.notes {
            let _ = write!(out, "<p>{}</p>", escape(note));
        }
        let _ =
            write!(out, "<details{}><summary>Hashes</summary>", if runs.len() == 1 { " open" } else { "" });
        table_head(out, &format!("Hashes of {}", run.name), &["input", "SHA-256"]);
        let mut hash = |name: &str, sha256: &str| {
            let _ = write!(
                out,
                "<tr><th scope=\"row\">{}</th><td><code>{}</code></td></tr>",
                escape(name),
                escape(sha256)
            );
        };
        hash("everything the result depends on", &s.inputs.all);
        hash("scenario with its settings and seed", &s.inputs.scenario);
        for file in &s.inputs.files {
            hash(&format!("file {}", file.name), &file.sha256);
        }
        for (profile, sha256) in &s.inputs.profiles {
            hash(&format!("cost profile {profile}"), sha256);
        }
        out.push_str("</tbody></table></div></details>");
    }
    out.push_str("</section>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_ends_with_everybody() {
        let spans: Vec<f64> = (1..=1000).map(f64::from).collect();
        let points = distribution(&spans);
        assert_eq!(points.first(), Some(&(1.0, 0.0)));
        assert_eq!(points.last(), Some(&(1000.0, 1.0)));
        assert!(points.windows(2).all(|w| w[0].0 <= w[1].0 && w[0].1 <= w[1].1), "{points:?}");
    }

    #[test]
    fn jain_s_index_is_1_for_equal_shares_and_1_in_n_for_one_holder() {
        let all = [jain(&[2.0, 2.0, 2.0]), jain(&[5.0, 0.0, 0.0, 0.0]), jain(&[0.0, 0.0])];
        assert_eq!(all.map(f64::to_bits), [1.0f64, 0.25, 1.0].map(f64::to_bits));
    }

    #[test]
    fn rates_count_every_pod() {
        let times: Vec<Nanos> = (0..1000).map(|i| i * SECOND / 10).collect();
        let end = *times.last().unwrap();
        let points = rates(&times, end);
        let width = (end / STEPS as u64) as f64 / SECOND as f64;
        let sum: f64 = points.iter().map(|(_, rate)| rate * width).sum();
        assert!((sum - 1000.0).abs() < 1e-6, "{sum}");
    }
}
