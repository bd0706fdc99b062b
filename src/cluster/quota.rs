//! ResourceQuotas: how much the pods of a namespace may take in all.
//!
//! Left out: scopes, limits, storage, counts of objects other than pods.

/// A ResourceQuota, as far as pods go.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ResourceQuota {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// `pods` (or `count/pods`).
    pub pods: Option<u64>,
    /// `requests.cpu`, millicores.
    pub cpu_millicores: Option<u64>,
    /// `requests.memory`, bytes.
    pub memory_bytes: Option<u64>,
}
