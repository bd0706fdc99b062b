//! VolumeBinding and VolumeZone, at the level of topology and time.
//!
//! Sources: `pkg/scheduler/framework/plugins/volumebinding/{volume_binding,binder}.go`, `volumezone/volume_zone.go`.
//! - A claim that is bound (its class binds at once) lets the pod go only where its volume is.
//! - A claim that waits for its first consumer (`WaitForFirstConsumer`) lets it go wherever its class may make a volume.
//!   After the pod was assumed, PreBind writes the node into the claims and waits until the provisioner has made the volumes;
//!   only then the pod is bound. Before that the pod's `nominatedNodeName` is written (`NominatedNodeNameForExpectation`,
//!   on in 1.36). Each write takes a token. Past `bindTimeoutSeconds` (600) the pod fails with an error and is tried again.
//!
//! How long the provisioner takes is drawn with the workload, a pod. A claim of a StatefulSet's place stays bound when its pod goes: the pod that comes
//! after it can go only where the volume is, without PreBind (`control_plane::controllers::stateful_set`). A pod that a ReplicaSet or a Job puts in the place of another has a
//! volume of its own, which takes as long as that of the other.
//!
//! Left out: volumes that exist already and wait for a claim, capacity of storage, limits of volumes a node, ReadWriteOncePod,
//! where the volume is after the binding of the pod itself has failed, victims that are taken during PreBind.
//!
//! Cost: O(terms) a (class, template) pair, or a node if a term names zones; O(log pods in PreBind) a pod.
use std::collections::BTreeMap;

use crate::cluster::{Cluster, NodeId, PodId, PodSpec, VolumeClaim, term_matches};
use crate::engine::Nanos;
use crate::engine::random::fnv1a;
use crate::scheduler::{Action, Context};

use super::queue::Place;
use super::{KubeScheduler, TAG_VOLUMES};

/// What is said of a node on which a bound volume can't be used.
pub const REASON_CONFLICT: &str = "node(s) had volume node affinity conflict";
/// The same of a node for which the class makes no volume.
pub const REASON_NO_VOLUME: &str = "node(s) didn't find available persistent volumes to bind";
/// Reason shown for pods whose volumes were not there in time.
const REASON_TIMEOUT: &str = "binding volumes: context deadline exceeded";

/// Why a node can't take the pod's volumes.
#[must_use]
pub fn rejection(cluster: &Cluster, spec: &PodSpec, node: NodeId) -> Option<&'static str> {
    let reaches = |claim: &VolumeClaim| {
        claim.topology.is_empty()
            || claim.topology.iter().any(|t| term_matches(t, |key| cluster.nodes.label(node, key)))
    };
    let out_of_reach = |bound| spec.volume_claims.iter().any(|c| c.bound == bound && !reaches(c));
    if out_of_reach(true) {
        Some(REASON_CONFLICT)
    } else if out_of_reach(false) {
        Some(REASON_NO_VOLUME)
    } else {
        None
    }
}

/// Claims that are bound once the pod has a node.
#[must_use]
pub fn unbound(spec: &PodSpec) -> usize {
    spec.volume_claims.iter().filter(|c| !c.bound).count()
}

/// A pod in PreBind.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct PreBind {
    node: NodeId,
    /// Writes not answered.
    writes: usize,
    began_ns: Nanos,
}

/// Pods in PreBind, and when volumes are there.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Volumes {
    pre_bind: BTreeMap<PodId, PreBind>,
    ready_ns: BTreeMap<PodId, Nanos>,
}

impl Volumes {
    /// Whether pods wait for volumes.
    pub(super) fn any_waits(&self) -> bool {
        !self.pre_bind.is_empty()
    }

    /// A pod is gone.
    pub(super) fn forget(&mut self, pod: PodId) {
        self.pre_bind.remove(&pod);
        self.ready_ns.remove(&pod);
    }
}

impl KubeScheduler {
    /// PreBind of a pod with unbound claims: writes its nomination and its claims.
    pub(super) fn begin_volumes(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId, claims: usize) {
        let writes = claims + 1;
        self.volumes.pre_bind.insert(pod, PreBind { node, writes, began_ns: cx.now });
        for _ in 0..writes {
            cx.actions.push(Action::PatchStatus { pod });
        }
    }

    /// A write of PreBind was answered; says whether it was one.
    pub(super) fn volume_written(&mut self, cx: &mut Context<'_>, pod: PodId) -> bool {
        let Some(pre_bind) = self.volumes.pre_bind.get_mut(&pod).filter(|p| p.writes > 0) else {
            return false;
        };
        pre_bind.writes -= 1;
        if pre_bind.writes == 0 {
            let took_ns = cx.cluster.provisioning_ns.get(&pod).copied().unwrap_or(0);
            let ready = *self.volumes.ready_ns.entry(pod).or_insert(cx.now.saturating_add(took_ns));
            let spec = cx.cluster.pods.spec_id(pod);
            let timeout_ns = self.profiles[self.profile_of(cx.cluster, spec)].profile.volume_bind_timeout_ns;
            let limit = self.volumes.pre_bind[&pod].began_ns.saturating_add(timeout_ns);
            cx.timer(ready.min(limit).max(cx.now), TAG_VOLUMES | u64::from(pod) << 8);
        }
        true
    }

    /// The volumes are there, or the time is up.
    pub(super) fn volumes_due(&mut self, cx: &mut Context<'_>, pod: PodId) {
        let Some(PreBind { node, .. }) = self.volumes.pre_bind.remove(&pod) else { return };
        if self.queue.place(pod) != Place::Binding || self.queue.node(pod) != node {
            return;
        }
        if self.volumes.ready_ns.get(&pod).is_some_and(|ready| *ready <= cx.now) {
            self.calls.bind(cx.actions, pod, node);
        } else {
            self.binding_failed(cx, pod, node, REASON_TIMEOUT, fnv1a(0, REASON_TIMEOUT.as_bytes()));
        }
    }
}
