//! ResourceQuotas: what the API server lets a namespace's pods take in all.
//!
//! The admission of a pod's creation adds what the pod asks for to what its namespace has used, and refuses it (403) if one
//! quota's `hard` would be exceeded. A pod that asks for none of a resource that a quota limits is refused, too. What a pod
//! takes it gives back when it has ended or is gone; a pod that is being deleted still counts. Whoever makes pods tries
//! again as after any error: a ReplicaSet or StatefulSet after 5 ms doubled up to 1000 s, a Job after 1 s doubled up to 60 s.
//! A load client gives the pod up.
//!
//! Source: k/k `staging/src/k8s.io/apiserver/pkg/admission/plugin/resourcequota`, `pkg/quota/v1/evaluator/core/pods.go`
//! (`QuotaV1Pod`, `Constraints`).
//!
//! Left out: writes of the quota's status, its controller's delay in giving back, scopes, limits, storage, counts of other
//! objects, pods on dead nodes whose grace period is over (they still count), a request that is given as 0.
//!
//! Cost: O(quotas of the namespace) a creation and an end; nothing without quotas.
use std::collections::BTreeMap;

use crate::cluster::{Cluster, DEFAULT_NAMESPACE, PodId, ResourceQuota, SpecId};

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Account {
    quota: ResourceQuota,
    pods: u64,
    cpu_millicores: u64,
    memory_bytes: u64,
}

/// What a pod of some spec takes, and from which quotas.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Share {
    accounts: Vec<usize>,
    cpu_millicores: u64,
    memory_bytes: u64,
}

/// All quotas with what is used.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Quotas {
    accounts: Vec<Account>,
    shares: BTreeMap<SpecId, Share>,
    spec_of: Vec<SpecId>,
    refused: u64,
}

impl Quotas {
    /// The quotas of a cluster, nothing used.
    #[must_use]
    pub fn new(cluster: &Cluster) -> Self {
        let account = |quota: &ResourceQuota| Account {
            quota: quota.clone(),
            pods: 0,
            cpu_millicores: 0,
            memory_bytes: 0,
        };
        Self { accounts: cluster.resource_quotas.iter().map(account).collect(), ..Self::default() }
    }

    /// A pod comes to be known.
    pub fn know(&mut self, cluster: &Cluster, pod: PodId) {
        let id = cluster.pods.spec_id(pod);
        let accounts = &self.accounts;
        self.shares.entry(id).or_insert_with(|| {
            let spec = cluster.pods.spec_by_id(id);
            let namespace = match spec.namespace_name.as_str() {
                "" => DEFAULT_NAMESPACE,
                name => name,
            };
            let of = accounts.iter().enumerate().filter(|(_, a)| a.quota.namespace == namespace);
            Share {
                accounts: of.map(|(at, _)| at).collect(),
                cpu_millicores: spec.requests.cpu_millicores,
                memory_bytes: spec.requests.memory_bytes,
            }
        });
        let at = pod as usize;
        if self.spec_of.len() <= at {
            self.spec_of.resize(at + 1, SpecId::MAX);
        }
        self.spec_of[at] = id;
    }

    fn share(&self, pod: PodId) -> Option<&Share> {
        self.shares.get(self.spec_of.get(pod as usize)?)
    }

    /// Whether a pod's creation would exceed a quota.
    #[must_use]
    pub fn refuse(&self, pod: PodId) -> bool {
        let Some(share) = self.share(pod) else { return false };
        let over = |hard: Option<u64>, used: u64, asked: u64| hard.is_some_and(|hard| used + asked > hard);
        let silent = |hard: Option<u64>, asked: u64| hard.is_some() && asked == 0;
        share.accounts.iter().map(|at| &self.accounts[*at]).any(|a| {
            over(a.quota.pods, a.pods, 1)
                || over(a.quota.cpu_millicores, a.cpu_millicores, share.cpu_millicores)
                || over(a.quota.memory_bytes, a.memory_bytes, share.memory_bytes)
                || silent(a.quota.cpu_millicores, share.cpu_millicores)
                || silent(a.quota.memory_bytes, share.memory_bytes)
        })
    }

    /// A creation was refused.
    pub fn note_refusal(&mut self) {
        self.refused += 1;
    }

    /// Creations refused so far.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// A pod counts from now on, or counts no longer.
    pub fn changed(&mut self, pod: PodId, counts: bool) {
        let Some(Share { accounts, cpu_millicores, memory_bytes }) = self.share(pod).cloned() else { return };
        for at in accounts {
            let account = &mut self.accounts[at];
            let step = |used: &mut u64, by: u64| {
                *used = if counts { *used + by } else { used.saturating_sub(by) };
            };
            step(&mut account.pods, 1);
            step(&mut account.cpu_millicores, cpu_millicores);
            step(&mut account.memory_bytes, memory_bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{App, PodSpec, Resources};

    /// Facts: the page "Resource Quotas" (an exceeding request is refused with 403; a quota of cpu wants every pod to request
    /// cpu) and `TestPodEvaluatorUsage` (pods that have ended use nothing).
    #[test]
    fn a_namespace_takes_as_much_as_its_quota_says() {
        let mut cluster = Cluster::default();
        cluster.resource_quotas.push(ResourceQuota {
            name: "q".into(),
            namespace: "a".into(),
            pods: Some(3),
            cpu_millicores: Some(1000),
            memory_bytes: None,
        });
        let app = cluster.pods.add_app(App::default());
        let mut pod = |namespace: &str, cpu_millicores| {
            let requests = Resources { cpu_millicores, ..Resources::default() };
            let spec = PodSpec { namespace_name: namespace.into(), requests, ..PodSpec::default() };
            let spec = cluster.pods.add_spec(spec);
            cluster.pods.add(spec, app)
        };
        let (half, other, silent, tiny) = (pod("a", 500), pod("", 9000), pod("a", 0), pod("a", 1));
        let mut quotas = Quotas::new(&cluster);
        (0..4).for_each(|pod| quotas.know(&cluster, pod));
        assert!(!quotas.refuse(half) && !quotas.refuse(other) && quotas.refuse(silent));
        quotas.changed(half, true);
        assert!(!quotas.refuse(half));
        quotas.changed(half, true);
        assert!(quotas.refuse(half) && quotas.refuse(tiny), "1001m of 1000m");
        quotas.changed(half, false);
        assert!(!quotas.refuse(tiny));
        quotas.changed(tiny, true);
        quotas.changed(tiny, true);
        assert!(quotas.refuse(tiny), "three pods");
    }
}
