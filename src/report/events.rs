//! What a cluster's API would have shown of the pods, as JSON Lines in order of time.
//!
//! [`write_events`]: the Events (events.k8s.io/v1) that the scheduler sends; [`write_watch`]: what
//! `kubectl get pods -w -o json --output-watch-events` prints, ADDED, MODIFIED and DELETED with the pod as it then is.
//! Objects carry the fields that the model knows: names, nodes, phase, the condition PodScheduled, times. Pods have
//! the name of their application and their number, and the namespace `default`. `resourceVersion` counts the lines.
//!
//! Left out: containers, events of kubelets and controllers, failed attempts (a result keeps the last attempt only).
//!
//! Cost: O(sampled pods log sampled pods).
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::engine::Nanos;

use super::folder::{PodTable, ReportError, RunResult};
use super::perfetto::sample;
use super::time::{rfc3339, rfc3339_micros};

const NAMESPACE: &str = "default";

/// What happened to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Created,
    Queued,
    Assumed,
    Bound,
    Running,
    Finished,
}

/// Changes of the sampled pods in order of time.
fn changes(pods: &PodTable, max_pods: usize, wanted: &[Change]) -> Vec<(Nanos, Change, usize)> {
    let mut changes = Vec::new();
    for pod in sample(pods.timelines.len(), max_pods) {
        let t = &pods.timelines[pod];
        let times = [
            (Change::Created, t.created_ns),
            (Change::Queued, t.queued_ns),
            (Change::Assumed, t.assumed_ns),
            (Change::Bound, t.bound_ns),
            (Change::Running, t.running_ns),
            (Change::Finished, t.finished_ns),
        ];
        let happened = times.into_iter().filter(|(change, at)| *at != u64::MAX && wanted.contains(change));
        changes.extend(happened.map(|(change, at)| (at, change, pod)));
    }
    changes.sort_unstable();
    changes
}

fn name(pods: &PodTable, pod: usize) -> String {
    let app = &pods.apps[pods.app[pod] as usize];
    if app.is_empty() { format!("pod-{pod}") } else { format!("{app}-{pod}") }
}

fn node(pods: &PodTable, pod: usize) -> &str {
    pods.node[pod].map_or("", |node| &pods.nodes[node as usize])
}

/// Writes the scheduler's Events of at most `max_pods` pods.
///
/// # Errors
/// The result has no pods; the writer's.
pub fn write_events(
    out: &mut dyn Write,
    run: &RunResult,
    epoch_s: u64,
    max_pods: usize,
) -> Result<io::Result<()>, ReportError> {
    let pods = run.pods()?;
    let is_yunikorn = run.summary.scheduler.kind == "yunikorn";
    let controller = if is_yunikorn { "yunikorn" } else { "default-scheduler" };
    let wanted: &[Change] =
        if is_yunikorn { &[Change::Queued, Change::Assumed, Change::Bound] } else { &[Change::Bound] };
    Ok((|| {
        for (number, (at, change, pod)) in changes(pods, max_pods, wanted).into_iter().enumerate() {
            let (name, node) = (name(pods, pod), node(pods, pod));
            let full = format!("{NAMESPACE}/{name}");
            let (reason, action, note) = match (is_yunikorn, change) {
                (true, Change::Queued) => {
                    ("Scheduling", "Scheduling", format!("{full} is queued and waiting for allocation"))
                }
                (true, Change::Bound) => (
                    "PodBindSuccessful",
                    "PodBindSuccessful",
                    format!("Pod {full} is successfully bound to node {node}"),
                ),
                (true, _) => {
                    ("Scheduled", "Scheduled", format!("Successfully assigned {full} to node {node}"))
                }
                (false, _) => ("Scheduled", "Binding", format!("Successfully assigned {full} to {node}")),
            };
            let event = json!({
                "apiVersion": "events.k8s.io/v1",
                "kind": "Event",
                "metadata": {
                    "name": format!("{name}.{number:x}"),
                    "namespace": NAMESPACE,
                    "resourceVersion": (number + 1).to_string(),
                    "creationTimestamp": rfc3339(epoch_s, at),
                },
                "eventTime": rfc3339_micros(epoch_s, at),
                "type": "Normal",
                "reason": reason,
                "action": action,
                "note": note,
                "regarding": {"apiVersion": "v1", "kind": "Pod", "namespace": NAMESPACE, "name": name},
                "reportingController": controller,
                "reportingInstance": controller,
            });
            writeln!(out, "{event}")?;
        }
        Ok(())
    })())
}

/// The pod as it is after a change.
fn object(pods: &PodTable, pod: usize, change: Change, epoch_s: u64, version: usize) -> Value {
    let t = &pods.timelines[pod];
    let app = &pods.apps[pods.app[pod] as usize];
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name(pods, pod),
            "namespace": NAMESPACE,
            "resourceVersion": version.to_string(),
            "creationTimestamp": rfc3339(epoch_s, t.created_ns),
            "labels": {"app": app},
        },
        "spec": {},
        "status": {"phase": "Pending"},
    });
    if change >= Change::Bound && t.bound_ns != u64::MAX {
        object["spec"]["nodeName"] = json!(node(pods, pod));
        let at = rfc3339(epoch_s, t.bound_ns);
        object["status"]["conditions"] =
            json!([{"type": "PodScheduled", "status": "True", "lastTransitionTime": at}]);
    }
    if change >= Change::Running && t.running_ns != u64::MAX {
        object["status"]["phase"] = json!("Running");
        object["status"]["startTime"] = json!(rfc3339(epoch_s, t.running_ns));
    }
    object
}

/// Writes the watch stream of at most `max_pods` pods.
///
/// # Errors
/// The result has no pods; the writer's.
pub fn write_watch(
    out: &mut dyn Write,
    run: &RunResult,
    epoch_s: u64,
    max_pods: usize,
) -> Result<io::Result<()>, ReportError> {
    let pods = run.pods()?;
    let wanted = [Change::Created, Change::Bound, Change::Running, Change::Finished];
    Ok((|| {
        for (number, (_, change, pod)) in changes(pods, max_pods, &wanted).into_iter().enumerate() {
            let kind = match change {
                Change::Created => "ADDED",
                Change::Finished => "DELETED",
                _ => "MODIFIED",
            };
            let object = object(pods, pod, change, epoch_s, number + 1);
            writeln!(out, "{}", json!({"type": kind, "object": object}))?;
        }
        Ok(())
    })())
}
