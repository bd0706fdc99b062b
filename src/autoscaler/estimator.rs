//! The estimator: how many nodes of a group a set of pods needs.
//!
//! First fit decreasing, as `estimator/binpacking_estimator.go` and `decreasing_pod_orderer.go` of autoscaler 1.36.1 do it: pods alike stand together, those that
//! take the largest share of a node (CPU plus memory) first. Each goes onto the first of the new nodes that takes it, as long as one does; then onto the last
//! new node, or one more. If a pod does not fit onto an empty node, those like it are given up.
//!
//! Left out: the limit of real time (`--max-nodegroup-binpacking-duration`), the second look at other nodes for pods that are spread by host name,
//! `--fastpath-binpacking-enabled`.
//!
//! Cost: O(pods x new nodes), less where other pods don't matter.
use super::snapshot::{Pass, Snapshot};
use crate::cluster::{PodId, SpecId};

/// Pods with one spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alike {
    /// Spec.
    pub spec: SpecId,
    /// Pods, oldest first.
    pub pods: Vec<PodId>,
}

/// What is needed for pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// New nodes.
    pub nodes: u32,
    /// Pods that they take, with their specs.
    pub pods: Vec<(PodId, SpecId)>,
}

/// Estimates for nodes of a template, at most `limit` of them. The snapshot is as before afterwards.
pub fn estimate(
    snapshot: &mut Snapshot,
    alike: &[Alike],
    template: u32,
    zone: Option<u32>,
    limit: u32,
) -> Estimate {
    let first = snapshot.len();
    let allocatable = &snapshot.cluster().nodes.template_by_id(template).allocatable;
    let (cpu, memory) = (allocatable.cpu_millicores.max(1), allocatable.memory_bytes.max(1));
    let score = |spec: SpecId| {
        let (pod_cpu, pod_memory) = snapshot.requests(spec);
        pod_cpu as f64 / cpu as f64 + pod_memory as f64 / memory as f64
    };
    let mut order: Vec<(f64, &Alike)> = alike.iter().map(|alike| (score(alike.spec), alike)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut estimate = Estimate::default();
    let mut permitted = limit;
    let mut may_grow = true;
    for (_, Alike { spec, pods }) in order {
        let mut rest = pods.iter().copied().peekable();
        let mut pass = Pass::default();
        while let Some(pod) = rest.peek() {
            if snapshot.place(&mut pass, *pod, *spec, |node| node >= first).is_none() {
                break;
            }
            estimate.pods.push((*pod, *spec));
            rest.next();
        }
        if !may_grow {
            continue;
        }
        for pod in rest {
            if snapshot.len() > first {
                let last = snapshot.len() - 1;
                if snapshot.fits(*spec, last) {
                    snapshot.put(pod, *spec, last);
                    estimate.pods.push((pod, *spec));
                    continue;
                }
                if snapshot.pods_on(last).is_empty() {
                    break;
                }
            }
            if permitted == 0 {
                may_grow = false;
                break;
            }
            permitted -= 1;
            let node = snapshot.imagine(template, zone);
            if !snapshot.fits(*spec, node) {
                break;
            }
            snapshot.put(pod, *spec, node);
            estimate.pods.push((pod, *spec));
        }
    }
    let used = (first..snapshot.len()).filter(|node| !snapshot.pods_on(*node).is_empty());
    estimate.nodes = used.count() as u32;
    snapshot.forget_from(first);
    estimate
}
