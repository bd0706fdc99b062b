//! A SimKube trace (version 2) in JSON: bare pods, applied when created and deleted when their run is over or somebody
//! deletes them. Placeholders of gangs are left out.
//!
//! Whole seconds, as SimKube has them. Streams, except the deletions to come: O(pods alive).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::kubernetes::pod_object;
use super::{Fates, Out, spec_of, without_placeholders};
use crate::trace::error::TraceError;
use crate::trace::native::TraceReader;

pub(super) fn write(reader: &TraceReader, out: &mut Out) -> Result<Vec<String>, TraceError> {
    let specs = reader.specs()?;
    let fates = Fates::read(reader)?;
    let origin = reader.manifest().origin_unix_ns.unwrap_or(0);
    let second = |ns: u64| origin.saturating_add(i64::try_from(ns).unwrap_or(i64::MAX)) / 1_000_000_000;
    out.line(
        r#"{"version":2,"config":{"trackedObjects":{"v1.Pod":{"podSpecTemplatePaths":[""]}}},"events":["#,
    )?;
    let mut ends: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
    let mut applied: Vec<Value> = Vec::new();
    let mut at = None;
    let mut first = true;
    let mut flush =
        |out: &mut Out, t: i64, applied: &mut Vec<Value>, deleted: Vec<Value>| -> Result<(), TraceError> {
            if applied.is_empty() && deleted.is_empty() {
                return Ok(());
            }
            let event = json!({"ts": t, "applied_objs": applied, "deleted_objs": deleted});
            applied.clear();
            let comma = if first { "" } else { "," };
            first = false;
            out.line(&format!("{comma}{event}"))
        };
    for row in reader.pods()?.rows() {
        let pod = row?;
        if fates.is_placeholder(&pod.uid) {
            continue;
        }
        let t = second(pod.submit_ns);
        if let Some(now) = at
            && now < t
        {
            let deleted = ends.remove(&now).unwrap_or_default();
            flush(out, now, &mut applied, deleted)?;
            while let Some((&end, _)) = ends.first_key_value()
                && end < t
            {
                let deleted = ends.remove(&end).unwrap_or_default();
                flush(out, end, &mut applied, deleted)?;
            }
        }
        at = Some(t);
        let object = pod_object(&pod, spec_of(&specs, &pod, reader)?, None);
        let ends_ns = pod.run_ns.map(|run| pod.submit_ns.saturating_add(run));
        let deleted_ns = fates.of(&pod.uid).and_then(|fate| fate.deleted_ns);
        if let Some(end) = ends_ns.into_iter().chain(deleted_ns).min() {
            let name = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": object["metadata"]["name"], "namespace": object["metadata"]["namespace"]}, "spec": {}});
            ends.entry(second(end).max(t)).or_default().push(name);
        }
        applied.push(object);
    }
    if let Some(now) = at {
        let deleted = ends.remove(&now).unwrap_or_default();
        flush(out, now, &mut applied, deleted)?;
    }
    while let Some((end, deleted)) = ends.pop_first() {
        flush(out, end, &mut applied, deleted)?;
    }
    out.line(r#"],"index":{},"pod_lifecycles":{}}"#)?;
    Ok(without_placeholders(&fates))
}
