//! The API server's audit log: when pods were created and bound, and how long requests took.
//!
//! Only finished requests count (stage ResponseComplete). A request took from `requestReceivedTimestamp` to
//! `stageTimestamp`; both have microseconds. A pod's binding is joined with its creation by namespace and name, which the log
//! has at level Metadata for pods created by name; under `generateName` the name is only in the response (level
//! RequestResponse).
//!
//! Answers 429 are counted apart. Other failures are counted and left out.
//!
//! Source: Kubernetes docs, "Auditing"; `audit.k8s.io/v1` Event.
//!
//! Cost: O(events), memory O(pods).
use std::collections::BTreeMap;

use serde_json::Value;

use crate::trace::import::kubernetes::text;
use crate::trace::number::unix_ns;

/// What the log says of pods.
#[derive(Clone, Debug, Default)]
pub struct AuditLog {
    /// Creations by namespace/name: when they were received and answered, ns since 1970.
    created: BTreeMap<String, (i64, i64)>,
    /// Creations whose pod's name the log does not have.
    unnamed: Vec<(i64, i64)>,
    /// Bindings by namespace/name.
    bound: BTreeMap<String, (i64, i64)>,
    /// Answers 429 to requests about pods and events.
    pub rejected: u64,
    /// Other requests about pods that failed.
    pub failed: u64,
    /// All events of the log.
    pub events: u64,
}

/// Whether a JSON value is an audit event, or a list of them.
#[must_use]
pub fn is_event(value: &Value) -> bool {
    text(value, "/apiVersion").starts_with("audit.k8s.io") || value.get("auditID").is_some()
}

impl AuditLog {
    /// Takes one event in. Returns what is wrong with it.
    ///
    /// # Errors
    /// A finished request about a pod without its times.
    pub fn event(&mut self, event: &Value) -> Result<(), String> {
        self.events += 1;
        if text(event, "/stage") != "ResponseComplete" || text(event, "/objectRef/resource") != "pods" {
            return Ok(());
        }
        let verb = (text(event, "/verb"), text(event, "/objectRef/subresource"));
        if !matches!(verb, ("create", "" | "binding")) {
            return Ok(());
        }
        match event.pointer("/responseStatus/code").and_then(Value::as_u64) {
            Some(429) => {
                self.rejected += 1;
                return Ok(());
            }
            Some(code) if !(200..300).contains(&code) => {
                self.failed += 1;
                return Ok(());
            }
            _ => {}
        }
        let time = |field: &str| {
            let value = text(event, field);
            unix_ns(value).map_err(|_| {
                format!("{}: `{value}` is no time: expected RFC 3339 with microseconds", &field[1..])
            })
        };
        let times = (time("/requestReceivedTimestamp")?, time("/stageTimestamp")?);
        let name = match (text(event, "/objectRef/name"), text(event, "/responseObject/metadata/name")) {
            ("", name) | (name, _) => name,
        };
        let pod = format!("{}/{name}", text(event, "/objectRef/namespace"));
        match verb.1 {
            "binding" => _ = self.bound.insert(pod, times),
            _ if name.is_empty() => self.unnamed.push(times),
            _ => _ = self.created.insert(pod, times),
        }
        Ok(())
    }

    /// When creations were received, ascending, ns since 1970.
    #[must_use]
    pub fn creations(&self) -> Vec<i64> {
        let mut times: Vec<i64> = self.created.values().chain(&self.unnamed).map(|t| t.0).collect();
        times.sort_unstable();
        times
    }

    /// When bindings were answered, ascending, ns since 1970.
    #[must_use]
    pub fn bindings(&self) -> Vec<i64> {
        let mut times: Vec<i64> = self.bound.values().map(|t| t.1).collect();
        times.sort_unstable();
        times
    }

    /// Creation answered to binding answered of the pods that the log has both of, ascending, ns.
    #[must_use]
    pub fn waits_ns(&self) -> Vec<u64> {
        let both = self.bound.iter().filter_map(|(pod, bound)| Some(bound.1 - self.created.get(pod)?.1));
        let mut waits: Vec<u64> = both.filter_map(|wait| u64::try_from(wait).ok()).collect();
        waits.sort_unstable();
        waits
    }

    /// Mean time that bindings, or creations, took at the server, s.
    #[must_use]
    pub fn mean_s(&self, bindings: bool) -> Option<f64> {
        let created = self.created.values().chain(&self.unnamed);
        let times: Vec<&(i64, i64)> =
            if bindings { self.bound.values().collect() } else { created.collect() };
        let sum: i64 = times.iter().map(|(from, to)| (to - from).max(0)).sum();
        (!times.is_empty()).then(|| sum as f64 / times.len() as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(verb: &str, subresource: &str, name: &str, code: u64, ms: (u64, u64)) -> Value {
        let time = |ms: u64| format!("2026-01-01T00:00:{:02}.{:03}000Z", ms / 1000, ms % 1000);
        json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "x", "stage": "ResponseComplete",
            "verb": verb, "objectRef": {"resource": "pods", "namespace": "d", "name": name, "subresource": subresource},
            "responseStatus": {"code": code}, "requestReceivedTimestamp": time(ms.0), "stageTimestamp": time(ms.1),
        })
    }

    #[test]
    fn waits_and_durations_of_pods() {
        let mut log = AuditLog::default();
        for event in [
            event("create", "", "a", 201, (0, 10)),
            event("create", "", "b", 201, (100, 130)),
            event("create", "binding", "a", 429, (200, 201)),
            event("create", "binding", "a", 201, (1200, 1210)),
            event("create", "binding", "b", 201, (400, 430)),
            event("create", "binding", "c", 404, (400, 430)),
            event("patch", "status", "a", 200, (1300, 1310)),
        ] {
            assert!(is_event(&event));
            log.event(&event).unwrap();
        }
        assert_eq!(log.waits_ns(), [300_000_000, 1_200_000_000]);
        assert_eq!((log.rejected, log.failed, log.events), (1, 1, 7));
        assert_eq!((log.mean_s(true), log.mean_s(false)), (Some(0.02), Some(0.02)));
        assert_eq!(log.creations().len(), 2);
        let mut broken = event("create", "", "a", 201, (0, 1));
        broken["stageTimestamp"] = json!("yesterday");
        assert!(log.event(&broken).unwrap_err().contains("stageTimestamp: `yesterday`"));
    }
}
