//! A trace in the Chrome trace event format, which Perfetto (ui.perfetto.dev) and chrome://tracing open.
//!
//! Three processes: the critical path as one track; a sample of the pods, each as a slice with its stages inside, packed
//! into as few tracks as they need; counters (pods waiting, requests waiting, seats in use). Times are virtual, t = 0 at the beginning.
//!
//! Left out: requests one by one and CPU jobs, which a result does not keep.
//!
//! Cost: O(sampled pods log tracks).
use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::cluster::Timeline;
use crate::engine::Nanos;

use super::folder::{PodTable, ReportError, RunResult};

const CRITICAL_PATH: u64 = 1;
const PODS: u64 = 2;
const COUNTERS: u64 = 3;

/// Stages of a pod: name, begin, end.
type Stage = (&'static str, fn(&Timeline) -> Nanos, fn(&Timeline) -> Nanos);
const STAGES: [Stage; 6] = [
    ("informer", |t| t.created_ns, |t| t.queued_ns),
    ("queued", |t| t.queued_ns, |t| t.cycle_ns),
    ("scheduling cycle", |t| t.cycle_ns, |t| t.assumed_ns),
    ("bind token", |t| t.assumed_ns, |t| t.bind_sent_ns),
    ("binding", |t| t.bind_sent_ns, |t| t.bound_ns),
    ("starting", |t| t.bound_ns, |t| t.running_ns),
];

/// `count` pods spread evenly over the order of creation.
pub(super) fn sample(pods: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(pods);
    (0..count).map(move |i| (i as u128 * pods as u128 / count as u128) as usize)
}

/// Microseconds with the nanoseconds behind the point.
fn micros(ns: Nanos) -> Value {
    Value::from(ns as f64 / 1000.0)
}

fn slice(process: u64, track: u64, name: &str, from: Nanos, to: Nanos) -> Value {
    json!({"ph": "X", "pid": process, "tid": track, "name": name, "ts": micros(from), "dur": micros(to - from)})
}

fn named(process: u64, name: &str) -> Value {
    json!({"ph": "M", "pid": process, "name": "process_name", "args": {"name": name}})
}

/// Writes the trace with at most `max_pods` pods.
///
/// # Errors
/// The result has no pods; the writer's.
pub fn write(out: &mut dyn Write, run: &RunResult, max_pods: usize) -> Result<io::Result<()>, ReportError> {
    let pods = run.pods()?;
    Ok((|| {
        let header = json!({"scenario": run.summary.scenario, "seed": run.summary.seed, "podpace": run.summary.podpace});
        write!(out, "{{\"displayTimeUnit\":\"ms\",\"otherData\":{header},\"traceEvents\":[")?;
        let mut first = true;
        let mut event = |out: &mut dyn Write, event: &Value| {
            let separator = if std::mem::take(&mut first) { "\n" } else { ",\n" };
            write!(out, "{separator}{event}")
        };
        for (process, name) in [(CRITICAL_PATH, "critical path"), (PODS, "pods"), (COUNTERS, "control plane")]
        {
            event(out, &named(process, name))?;
        }
        for span in &run.summary.bottleneck.path {
            event(out, &slice(CRITICAL_PATH, 1, &span.limit, span.from_ns, span.to_ns))?;
        }
        pod_slices(pods, max_pods, |value| event(out, value))?;
        counters(run, |value| event(out, value))?;
        writeln!(out, "\n]}}")
    })())
}

/// When a pod's slice ends: with its last stage before it runs.
fn end(t: &Timeline) -> Option<Nanos> {
    let reached = [t.running_ns, t.bound_ns, t.bind_sent_ns, t.assumed_ns, t.cycle_ns, t.queued_ns];
    reached.into_iter().find(|time| *time != u64::MAX)
}

fn pod_slices(
    pods: &PodTable,
    max: usize,
    mut event: impl FnMut(&Value) -> io::Result<()>,
) -> io::Result<()> {
    let mut lives: Vec<(Nanos, Nanos, usize)> = sample(pods.timelines.len(), max)
        .filter_map(|pod| {
            let t = &pods.timelines[pod];
            let end = end(t).filter(|_| t.created_ns != u64::MAX)?;
            Some((t.created_ns, end.max(t.created_ns), pod))
        })
        .collect();
    lives.sort_unstable();
    // Tracks by when they are free; the one that has been free the longest is taken.
    let mut tracks: BTreeSet<(Nanos, u64)> = BTreeSet::new();
    for (from, to, pod) in lives {
        let track = match tracks.first().copied() {
            Some((free, track)) if free <= from => {
                tracks.pop_first();
                track
            }
            _ => tracks.len() as u64 + 1,
        };
        tracks.insert((to, track));
        let t = &pods.timelines[pod];
        let node = pods.node[pod].map(|node| &pods.nodes[node as usize]);
        let mut life = slice(PODS, track, &format!("pod {pod}"), from, to);
        life["args"] = json!({"app": pods.apps[pods.app[pod] as usize], "node": node});
        event(&life)?;
        for (name, begin, end) in STAGES {
            let (begin, end) = (begin(t), end(t));
            if begin != u64::MAX && end != u64::MAX && begin <= end {
                event(&slice(PODS, track, name, begin, end))?;
            }
        }
    }
    Ok(())
}

fn counters(run: &RunResult, mut event: impl FnMut(&Value) -> io::Result<()>) -> io::Result<()> {
    let telemetry = &run.telemetry;
    let is_shown = |name: &str| {
        name.starts_with("queue.")
            || name.starts_with("waiting.")
            || name.ends_with(".waiting")
            || name.ends_with(".seats_in_use")
    };
    for name in telemetry.columns().iter().filter(|name| is_shown(name)) {
        let mut last = None;
        for (at, value) in telemetry.times_ns().iter().zip(telemetry.column(name)) {
            if last != Some(value) {
                event(
                    &json!({"ph": "C", "pid": COUNTERS, "name": name, "ts": micros(*at), "args": {"value": value}}),
                )?;
                last = Some(value);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_even_and_complete_when_they_can_be() {
        assert_eq!(sample(3, 10).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(sample(10, 5).collect::<Vec<_>>(), [0, 2, 4, 6, 8]);
        assert_eq!(sample(0, 5).count(), 0);
    }

    #[test]
    fn pods_that_overlap_never_share_a_track() {
        let t = |from, to| Timeline { created_ns: from, queued_ns: from, bound_ns: to, ..Timeline::EMPTY };
        let timelines = vec![t(0, 10), t(1, 5), t(5, 8), t(9, 12), t(10, 11)];
        let n = timelines.len();
        let table = PodTable {
            timelines,
            apps: vec!["a".into()],
            app: vec![0; n],
            node: vec![None; n],
            ..PodTable::default()
        };
        let mut tracks = Vec::new();
        pod_slices(&table, n, |event| {
            if event["name"].as_str().is_some_and(|name| name.starts_with("pod ")) {
                tracks.push((event["name"].to_string(), event["tid"].as_u64().unwrap_or(0)));
            }
            Ok(())
        })
        .unwrap();
        let tracks: Vec<u64> = tracks.into_iter().map(|(_, track)| track).collect();
        assert_eq!(tracks, [1, 2, 2, 2, 1]);
    }
}
