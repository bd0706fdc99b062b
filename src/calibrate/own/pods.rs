//! `kubectl get pods -o json`: when each pod was created and scheduled, in whole seconds.
//!
//! `metadata.creationTimestamp` and the transition of condition PodScheduled to True. Both are cut to seconds, so that a
//! span between two of them is known to about a second. Objects that are no pods are left alone.
//!
//! Source: Kubernetes API, `metav1.Time` (RFC 3339 without fractions), PodCondition.
//!
//! Cost: O(pods).
use serde_json::Value;

use crate::trace::import::kubernetes::text;
use crate::trace::number::unix_ns;

/// Times of pods, ns since 1970.
#[derive(Clone, Debug, Default)]
pub struct PodList {
    /// Creations.
    pub created: Vec<i64>,
    /// Bindings.
    pub bound: Vec<i64>,
    /// Creation to binding, ns.
    pub waits_ns: Vec<u64>,
}

impl PodList {
    /// Takes one object in.
    ///
    /// # Errors
    /// A pod whose times are none.
    pub fn object(&mut self, object: &Value) -> Result<(), String> {
        // The API server's own lists leave `kind` out of their items.
        let kind = text(object, "/kind");
        if kind != "Pod" && !(kind.is_empty() && object.pointer("/spec/containers").is_some()) {
            return Ok(());
        }
        let time = |field: &str, value: &str| {
            unix_ns(value).map_err(|_| format!("{field}: `{value}` is no time: expected RFC 3339"))
        };
        let created = time("metadata.creationTimestamp", text(object, "/metadata/creationTimestamp"))?;
        self.created.push(created);
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let scheduled = conditions.into_iter().flatten().find(|c| {
            text(c, "/type") == "PodScheduled"
                && text(c, "/status") == "True"
                && !text(c, "/lastTransitionTime").is_empty()
        });
        if let Some(condition) = scheduled {
            let bound = time("PodScheduled.lastTransitionTime", text(condition, "/lastTransitionTime"))?;
            self.bound.push(bound);
            self.waits_ns.extend(u64::try_from(bound - created));
        }
        Ok(())
    }

    /// Sorts all times.
    pub fn settle(&mut self) {
        self.created.sort_unstable();
        self.bound.sort_unstable();
        self.waits_ns.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_have_seconds() {
        let mut list = PodList::default();
        let pod = json!({"kind": "Pod", "metadata": {"creationTimestamp": "2026-01-01T00:00:01Z"}, "status": {"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:09Z"},
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:04Z"}]}});
        list.object(&pod).unwrap();
        list.object(&json!({"kind": "Node"})).unwrap();
        assert_eq!((list.created.len(), list.waits_ns.as_slice()), (1, &[3_000_000_000][..]));
        assert!(list.object(&json!({"kind": "Pod"})).unwrap_err().contains("creationTimestamp"));
    }
}
