//! Tables for spreadsheets and data frames: `pods.csv` with requests and outcomes joined, `nodes.csv`.
//!
//! Streams.

use std::path::Path;

use super::{Fates, Out, Outcomes, spec_of, without_placeholders};
use crate::trace::error::TraceError;
use crate::trace::native::TraceReader;

/// A field as CSV may hold it.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_string()
    }
}

pub(super) fn write(reader: &TraceReader, dir: &Path) -> Result<Vec<String>, TraceError> {
    let specs = reader.specs()?;
    let fates = Fates::read(reader)?;
    let mut keys: Vec<&str> = specs.iter().flat_map(|s| s.requests.keys().map(String::as_str)).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut pods = Out::create(&dir.join("pods.csv"))?;
    let mut header =
        "submit_ns,seq,uid,spec_id,namespace,app,task_group,min_member,queue,user,priority,run_ns"
            .to_string();
    for k in &keys {
        header.push_str(&format!(",{}", field(k)));
    }
    pods.line(&format!("{header},bound_ns,running_ns,finished_ns,node"))?;
    let number = |n: Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
    let mut outcomes = Outcomes::open(reader)?;
    for row in reader.pods()?.rows() {
        let p = row?;
        // Asked for each pod: outcomes go along with them.
        let o = outcomes.of(&p.uid)?.unwrap_or_default();
        if fates.is_placeholder(&p.uid) {
            continue;
        }
        let spec = spec_of(&specs, &p, reader)?;
        let mut line = format!(
            "{},{},{},{},{},{},{},{},{},{},{},{}",
            p.submit_ns,
            p.seq,
            field(&p.uid),
            p.spec_id,
            field(&spec.namespace),
            field(&p.app),
            field(&p.task_group),
            p.min_member,
            field(&p.queue),
            field(&p.user),
            p.priority,
            number(p.run_ns)
        );
        for k in &keys {
            line.push_str(&format!(",{}", spec.requests.get(*k).copied().unwrap_or(0)));
        }
        let (bound, running, finished) = (number(o.bound_ns), number(o.running_ns), number(o.finished_ns));
        pods.line(&format!("{line},{bound},{running},{finished},{}", field(&o.node)))?;
    }
    pods.finish()?;
    let mut nodes = Out::create(&dir.join("nodes.csv"))?;
    nodes.line("t_ns,seq,op,name,allocatable,labels,taints")?;
    for row in reader.nodes()? {
        let n = row?;
        let map = |m: String| field(&m);
        let allocatable = serde_json::to_string(&n.allocatable).unwrap_or_default();
        let labels = serde_json::to_string(&n.labels).unwrap_or_default();
        nodes.line(&format!(
            "{},{},{},{},{},{},{}",
            n.t_ns,
            n.seq,
            n.op.as_str(),
            field(&n.name),
            map(allocatable),
            map(labels),
            field(&n.taints)
        ))?;
    }
    nodes.finish()?;
    Ok(without_placeholders(&fates))
}
