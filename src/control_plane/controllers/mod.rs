//! kube-controller-manager: the controllers that keep nodes and pods as they should be.
//!
//! | module           | models                                                                     |
//! |------------------|----------------------------------------------------------------------------|
//! | `replica_set`    | ReplicaSets: pods created in batches, replaced when they are lost          |
//! | `node_lifecycle` | the Ready condition and the taints of nodes that are not heard of          |
//! | `taint_eviction` | pods deleted from nodes whose taints they don't tolerate                   |
//! | `pod_gc`         | pods of nodes that are gone                                                |
//! | `deployment`     | Deployments that are rolled out or scaled, and their ReplicaSets from then on |
//! | `stateful_set`   | StatefulSets: pods with names, one after the other or all at once           |
//! | `daemon_set`     | DaemonSets: a pod for each node that should have one                        |
//! | `job`            | Jobs: completions, parallelism, back-off of pods that fail, a limit of them |
//! | `cron_job`       | CronJobs: when a Job is due, beside which others it may run                 |
//! | `progress`       | how long rollouts and scalings take                                        |
//! | `owners`         | the numbers by which pods and answers name a controller's objects           |
//! | `work_queue`     | objects that wait for a sync, and workers                                   |
//! | `sync`           | a sync: requests in batches, the status, and when it is tried again         |
//! | `kueue`          | a process of its own, in front of the others: jobs that wait for quota      |
//!
//! All but Kueue are one process, the manager. Each controller has a clientset, and with it a token bucket, of its own (20/s, burst 30:
//! `ClientBuilder.ClientOrDie` makes one a controller); they share informers. A controller acts when its informer has shown
//! a change, or at a time of its own; what it then looks at is what the API server stores at that moment, which the real
//! one sees as late as its informer is behind: milliseconds.
//!
//! A controller's call may submit requests and make pods; [`Env`] carries what it may touch, and [`Made`] tells the
//! simulation of the pods. Answers come back by client.
//!
//! Left out: leader election's cost, events, the garbage collector of owners, endpoints, namespaces, everything about
//! volumes and services.
//!
//! Cost: each module's; O(1) to find whose an answer is.
pub mod cron_job;
pub mod daemon_set;
pub mod deployment;
pub mod job;
pub mod kueue;
pub mod node_lifecycle;
mod owners;
pub mod pod_gc;
pub mod progress;
pub mod replica_set;
pub mod stateful_set;
mod sync;
pub mod taint_eviction;
mod work_queue;

use super::kernel::{ControllerEvent, Event, Kernel};
use super::node_agents::NodeAgents;
use super::store::Refusal;
use super::{ClientId, ControlPlane, PodChange, Verb};
use crate::cluster::{AppId, Cluster, NodeChange, NodeId, PodId, SpecId};
use crate::engine::{MILLISECOND, Nanos, SECOND};

use cron_job::CronJobs;
use daemon_set::DaemonSets;
use deployment::{Deployments, Strategy};
use job::Jobs;
use node_lifecycle::NodeLifecycle;
use pod_gc::PodGc;
use progress::Outcome;
use replica_set::Handover;
use stateful_set::StatefulSets;
use taint_eviction::TaintEviction;

/// First wait of a work queue after an error, doubled for each (`DefaultControllerRateLimiter`).
const FIRST_RETRY_NS: Nanos = 5 * MILLISECOND;
/// Longest wait.
const LAST_RETRY_NS: Nanos = 1000 * SECOND;

/// A wait that has been doubled so many times, up to the longest.
pub(super) fn doubled_ns(first_ns: Nanos, times: u32, longest_ns: Nanos) -> Nanos {
    let ns = first_ns.checked_shl(times).filter(|ns| ns >> times == first_ns);
    ns.map_or(longest_ns, |ns| ns.min(longest_ns))
}

/// When an object whose sync has failed `failures` times in a row is due again, from now on.
#[must_use]
pub fn retry_after_ns(failures: u32) -> Nanos {
    doubled_ns(FIRST_RETRY_NS, failures, LAST_RETRY_NS)
}

/// A pod that a controller has made, and that the plan does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The new pod.
    pub pod: PodId,
    /// The pod in whose place it comes; it runs as long. None: it is the first.
    pub instead_of: Option<PodId>,
}

/// What a controller may touch during a call.
pub struct Env<'a> {
    /// Clock and events.
    pub kernel: &'a mut Kernel,
    /// Requests.
    pub control_plane: &'a mut ControlPlane,
    /// Nodes and pods.
    pub cluster: &'a mut Cluster,
    /// Leases.
    pub agents: &'a NodeAgents,
    /// Pods made during the call.
    pub made: &'a mut Vec<Made>,
    /// Pods that are never made, or that nobody replaces.
    pub dropped: &'a mut Vec<PodId>,
    /// How often the manager was started anew.
    pub epoch: u32,
}

impl Env<'_> {
    /// Sets a timer of a controller.
    pub fn timer(&mut self, at: Nanos, what: ControllerEvent) {
        let at = at.max(self.kernel.now());
        self.kernel.at(at, Event::Controller { what, epoch: self.epoch });
    }

    /// Makes a pod in the place of another: same spec, application and owner.
    pub fn make(&mut self, instead_of: PodId, owner: u32) -> PodId {
        let pods = &self.cluster.pods;
        self.make_of(pods.spec_id(instead_of), pods.app_id(instead_of), owner, Some(instead_of))
    }

    /// Makes a pod, in the place of another or as the first there.
    pub fn make_of(&mut self, spec: SpecId, app: AppId, owner: u32, instead_of: Option<PodId>) -> PodId {
        let pod = self.cluster.pods.add_later(spec, app);
        // Volumes of its own are made anew.
        let lost = instead_of.and_then(|lost| self.cluster.provisioning_ns.get(&lost).copied());
        if let Some(ns) = lost {
            self.cluster.provisioning_ns.insert(pod, ns);
        }
        let store = self.control_plane.store_mut();
        store.set_owner(pod, owner);
        store.know(self.cluster, pod, false);
        self.made.push(Made { pod, instead_of });
        pod
    }
}

/// An answered request, as its controller gets it.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// What was asked.
    pub verb: Verb,
    /// About which pod.
    pub pod: PodId,
    /// About which node.
    pub node: NodeId,
    /// Whether it succeeded.
    pub ok: bool,
    /// Why it was refused.
    pub refusal: Option<Refusal>,
}

/// The controllers that a run needs only where something can go wrong.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Controllers {
    /// The manager's informer.
    pub watcher: usize,
    /// Nodes that are not heard of.
    pub node_lifecycle: NodeLifecycle,
    /// Pods on tainted nodes.
    pub taint_eviction: TaintEviction,
    /// Pods of nodes that are gone.
    pub pod_gc: PodGc,
    /// StatefulSets, if there are any.
    pub stateful_sets: Option<StatefulSets>,
    /// Jobs, if there are any.
    pub jobs: Option<Jobs>,
    /// DaemonSets, if there are any.
    pub daemon_sets: Option<DaemonSets>,
    /// CronJobs, if there are any.
    pub cron_jobs: Option<CronJobs>,
    /// Deployments that are rolled out or scaled, if there are any.
    pub deployments: Option<Deployments>,
}

impl Controllers {
    /// An object other than a ReplicaSet was created, or is due again.
    pub fn start(&mut self, env: &mut Env<'_>, owner: u32) {
        if let Some(sets) = &mut self.stateful_sets
            && let Some(at) = sets.index_of(owner)
        {
            sets.start(env, at);
        } else if let Some(jobs) = &mut self.jobs
            && let Some(at) = jobs.index_of(owner)
        {
            jobs.start(env, at);
        } else if let Some(sets) = &mut self.daemon_sets
            && let Some(at) = sets.index_of(owner)
        {
            sets.start(env, at);
        } else if let (Some(sets), Some(jobs)) = (&mut self.cron_jobs, &mut self.jobs)
            && let Some(at) = sets.index_of(owner)
        {
            sets.start(env, jobs, at);
        } else if let Some(deployments) = &mut self.deployments
            && let Some(at) = deployments.index_of(owner)
        {
            deployments.on_timer(env, at);
        }
        self.tell_cron_jobs(env);
    }

    /// An object's `replicas` change; says whether it has become smaller. A Deployment tells what its strategy comes to, and what its ReplicaSet hands over.
    pub fn resize(
        &mut self,
        env: &mut Env<'_>,
        (owner, replicas): (u32, u32),
        strategy: Option<Strategy>,
        taken: Option<Handover>,
    ) -> bool {
        if let (Some(deployments), Some(strategy)) = (&mut self.deployments, strategy) {
            deployments.resize(env, owner, replicas, strategy, taken)
        } else if let Some(sets) = &mut self.stateful_sets
            && let Some(at) = sets.index_of(owner)
        {
            sets.resize(env, at, replicas)
        } else {
            false
        }
    }

    /// The informer has shown that an object was changed.
    pub fn on_changed(&mut self, env: &mut Env<'_>, owner: u32) {
        if let Some(deployments) = &mut self.deployments
            && let Some(at) = deployments.index_of(owner)
        {
            deployments.start(env, at);
        } else {
            self.start(env, owner);
        }
    }

    /// What rollouts came to, and what scalings did.
    #[must_use]
    pub fn outcomes(&self) -> (Outcome, Outcome) {
        let deployments = self.deployments.as_ref().map(Deployments::outcomes).unwrap_or_default();
        let sets = self.stateful_sets.as_ref().map(StatefulSets::outcome).unwrap_or_default();
        (deployments.0, progress::sum([deployments.1, sets]))
    }

    /// Whether a rollout or a scaling is not complete.
    #[must_use]
    pub fn are_moving(&self) -> bool {
        self.deployments.as_ref().is_some_and(Deployments::are_moving)
            || self.stateful_sets.as_ref().is_some_and(StatefulSets::are_moving)
    }

    /// Tells CronJobs which of their Jobs have ended.
    fn tell_cron_jobs(&mut self, env: &mut Env<'_>) {
        let Some(jobs) = &mut self.jobs else { return };
        // Without CronJobs nobody is to be told, and what is not taken would gather.
        let ended = jobs.take_ended();
        let Some(sets) = &mut self.cron_jobs else { return };
        for owner in ended {
            sets.on_job(env, jobs, owner);
        }
    }

    /// The client of those that make pods as the workload wants them, if it has no ReplicaSets.
    #[must_use]
    pub fn creator(&self) -> Option<ClientId> {
        let sets = self.stateful_sets.as_ref().map(StatefulSets::client);
        sets.or(self.jobs.as_ref().map(Jobs::client))
    }

    /// The informer has shown a change of a pod that may belong to one of those.
    fn on_owned_pod(&mut self, env: &mut Env<'_>, pod: PodId) {
        let owner = env.control_plane.store().owner(pod);
        if let Some(sets) = &mut self.stateful_sets
            && let Some(at) = sets.index_of(owner)
        {
            sets.on_pod(env, at, pod);
        } else if let Some(jobs) = &mut self.jobs
            && let Some(at) = jobs.index_of(owner)
        {
            jobs.on_pod(env, at, pod);
        } else if let Some(sets) = &mut self.daemon_sets
            && let Some(at) = sets.index_of(owner)
        {
            sets.on_pod(env, at, pod);
        } else if let Some(deployments) = &mut self.deployments {
            deployments.on_pod(env, pod);
        }
    }

    /// Hands an answer to the controller whose client asked; false: it is none of theirs.
    pub fn on_answered(&mut self, env: &mut Env<'_>, client: ClientId, answer: Answer) -> bool {
        if client == self.node_lifecycle.client() {
            self.node_lifecycle.on_answered(env, answer);
        } else if client == self.taint_eviction.client() {
            self.taint_eviction.on_answered(env, answer);
        } else if client == self.pod_gc.client() {
            self.pod_gc.on_answered(env, answer);
        } else if let Some(sets) = self.stateful_sets.as_mut().filter(|sets| client == sets.client()) {
            sets.on_answered(env, answer);
        } else if let Some(jobs) = self.jobs.as_mut().filter(|jobs| client == jobs.client()) {
            jobs.on_answered(env, answer);
            self.tell_cron_jobs(env);
        } else if let Some(sets) = self.daemon_sets.as_mut().filter(|sets| client == sets.client()) {
            sets.on_answered(env, answer);
        } else if let (Some(sets), Some(jobs)) = (&mut self.cron_jobs, &mut self.jobs)
            && client == sets.client()
        {
            sets.on_answered(env, jobs, answer);
            self.tell_cron_jobs(env);
        } else if let Some(all) = self.deployments.as_mut().filter(|all| client == all.client()) {
            all.on_answered(env, answer);
        } else {
            return false;
        }
        true
    }

    /// The manager's informer has shown a change of a node.
    pub fn on_node(&mut self, env: &mut Env<'_>, node: NodeId, change: NodeChange) {
        self.node_lifecycle.on_node(env, node, change);
        self.taint_eviction.on_node(env, node, change);
        self.pod_gc.on_node(env, node, change);
        if let Some(sets) = &mut self.daemon_sets {
            sets.on_node(env, node);
        }
    }

    /// The manager's informer has shown a change of a pod.
    pub fn on_pod(&mut self, env: &mut Env<'_>, pod: PodId, change: PodChange) {
        match change {
            PodChange::Bound => {
                self.node_lifecycle.on_pod_bound(env, pod);
                self.taint_eviction.on_pod_bound(env, pod);
                self.pod_gc.on_pod_bound(env, pod);
            }
            PodChange::Gone => self.taint_eviction.on_pod_gone(pod),
            PodChange::Added | PodChange::Status => {}
        }
        if self.stateful_sets.is_some()
            || self.jobs.is_some()
            || self.daemon_sets.is_some()
            || self.deployments.is_some()
        {
            self.on_owned_pod(env, pod);
            self.tell_cron_jobs(env);
        }
    }

    /// The manager's process has been started anew and has listed everything: its controllers know nothing else.
    pub fn restart(&mut self, env: &mut Env<'_>) {
        self.node_lifecycle.restart(env);
        self.taint_eviction.restart(env);
        self.pod_gc.restart(env);
        if let Some(sets) = &mut self.stateful_sets {
            sets.restart(env);
        }
        if let Some(jobs) = &mut self.jobs {
            jobs.restart(env);
        }
        if let Some(sets) = &mut self.daemon_sets {
            sets.restart(env);
        }
        if let (Some(sets), Some(jobs)) = (&mut self.cron_jobs, &mut self.jobs) {
            sets.restart(env, jobs);
        }
        self.tell_cron_jobs(env);
        if let Some(deployments) = &mut self.deployments {
            deployments.restart(env);
        }
    }

    /// A timer of one of these controllers.
    pub fn on_timer(&mut self, env: &mut Env<'_>, what: ControllerEvent) {
        match what {
            ControllerEvent::NodeMonitor => self.node_lifecycle.on_monitor(env),
            ControllerEvent::TaintPass => self.node_lifecycle.on_taint_pass(env),
            ControllerEvent::Evict { pod } => self.taint_eviction.on_timer(env, pod),
            ControllerEvent::EvictAgain { pod } => self.taint_eviction.on_retry(env, pod),
            ControllerEvent::PodGc => self.pod_gc.on_timer(env),
            ControllerEvent::Requeue { .. }
            | ControllerEvent::CreateAgain { .. }
            | ControllerEvent::DeleteAgain { .. }
            | ControllerEvent::DrainCommand { .. }
            | ControllerEvent::DrainPod { .. }
            | ControllerEvent::Uncordon { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ItemExponentialFailureRateLimiter(5ms, 1000s)` of client-go's default controller rate limiter.
    #[test]
    fn retries_wait_twice_as_long_each_time() {
        let waits: Vec<Nanos> = (0..4).map(retry_after_ns).collect();
        assert_eq!(waits, [5, 10, 20, 40].map(|ms| ms * MILLISECOND));
        assert_eq!(retry_after_ns(17), FIRST_RETRY_NS << 17);
        assert_eq!(retry_after_ns(18), LAST_RETRY_NS);
        assert_eq!(retry_after_ns(200), LAST_RETRY_NS);
    }
}
