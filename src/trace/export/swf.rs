//! Standard Workload Format: one job a pod, its processors the requested cores rounded up.
//!
//! Whole seconds; no labels, affinity or priorities. Waits are written where outcomes know them. Placeholders of gangs are
//! no jobs. Source: the Parallel Workloads Archive's definition 2.2. Streams; O(users and queues) in memory.

use std::collections::BTreeMap;

use super::{Fates, Out, Outcomes, spec_of, without_placeholders};
use crate::trace::error::TraceError;
use crate::trace::model::{CPU, MEMORY, NodeOp};
use crate::trace::native::TraceReader;

pub(super) fn write(reader: &TraceReader, out: &mut Out) -> Result<Vec<String>, TraceError> {
    let specs = reader.specs()?;
    let fates = Fates::read(reader)?;
    let mut capacity = 0u64;
    for row in reader.nodes()? {
        let n = row?;
        if n.op == NodeOp::Add {
            capacity = capacity.saturating_add(n.allocatable.get(CPU).copied().unwrap_or(0));
        }
    }
    out.line("; Version: 2.2")?;
    out.line("; Note: written by podpace from a native trace; one job a pod, processors are requested cores rounded up")?;
    if let Some(origin) = reader.manifest().origin_unix_ns {
        out.line(&format!("; UnixStartTime: {}", origin / 1_000_000_000))?;
    }
    if capacity > 0 {
        out.line(&format!("; MaxProcs: {}", capacity / 1000))?;
    }
    let mut ids: [BTreeMap<String, usize>; 2] = [BTreeMap::new(), BTreeMap::new()];
    let mut id = |which: usize, text: &str| -> i64 {
        if text.is_empty() {
            return -1;
        }
        let n = ids[which].len() + 1;
        *ids[which].entry(text.to_string()).or_insert(n) as i64
    };
    let mut outcomes = Outcomes::open(reader)?;
    for row in reader.pods()?.rows() {
        let pod = row?;
        // Asked for each pod: outcomes go along with them.
        let outcome = outcomes.of(&pod.uid)?;
        if fates.is_placeholder(&pod.uid) {
            continue;
        }
        let spec = spec_of(&specs, &pod, reader)?;
        let procs = spec.requests.get(CPU).copied().unwrap_or(0).div_ceil(1000).max(1);
        let memory = match spec.requests.get(MEMORY) {
            Some(m) if *m > 0 => (m / 1024 / procs).to_string(),
            _ => "-1".to_string(),
        };
        let seconds = |ns: u64| ns / 1_000_000_000;
        let wait = outcome
            .and_then(|o| Some(o.bound_ns?.saturating_sub(o.created_ns.unwrap_or(pod.submit_ns))))
            .map_or("-1".to_string(), |w| seconds(w).to_string());
        let run = pod.run_ns.map_or("-1".to_string(), |r| seconds(r).to_string());
        let (user, queue) = (id(0, &pod.user), id(1, &pod.queue));
        out.line(&format!(
            "{} {} {wait} {run} {procs} -1 -1 {procs} {run} {memory} 1 {user} -1 -1 {queue} -1 -1 -1",
            pod.seq + 1,
            seconds(pod.submit_ns)
        ))?;
    }
    Ok(without_placeholders(&fates))
}
