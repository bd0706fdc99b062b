//! What runs pods after they are bound: nothing, hollow nodes or kubelets, or KWOK.
//!
//! - **none**: a pod stays bound.
//! - **hollow** / **kubelet**: every node has its own agent; a bound pod is running after the start latency, when
//!   its agent patches the status. Agents don't share a limit, so their clients never wait.
//! - **kwok**: one controller for all nodes with four pod workers, each of which plays a stage by one PATCH and
//!   waits for the answer: a closed loop. Source: KWOK `pkg/kwok/controllers/pod_controller.go`.
//!
//! Heartbeats (a lease PUT a node every ten seconds) are fluid background load of the server, etcd and agent. Each node
//! renews at a phase of its own, so that it is known when a node that fails was heard of last.
//!
//! **Machines in trouble.** A machine that is down runs nothing, and what was due on it is lost; when it comes back its
//! agent starts the pods that are still bound to it anew, and ends those that were deleted meanwhile. One that is cut
//! off from the network goes on; what its agent has to say waits until the network is back.
//!
//! **A full node.** Kubelets (hollow ones, too) refuse a pod for which its node has no room (`canAdmitPod`): it fails.
//! That happens when a scheduler did not know of pods that were bound before it started.
//!
//! **Pods that are deleted** with a grace period (victims of preemption, evicted, drained, scaled down) keep their place until their containers have ended
//! and the agent has deleted them for good: after the termination latency, at the latest after `terminationGracePeriodSeconds` (`killPod` of
//! `pkg/kubelet/kuberuntime/kuberuntime_container.go`). Without a latency that is at once.
//!
//! Left out: image pulls, probes, the kubelet's own events and reads, evictions under pressure, preStop hooks apart from the latency.
//!
//! Cost: one event and one or two requests a pod; O(pods on it) for a machine that comes back.
use std::collections::{BTreeMap, VecDeque};

use super::kernel::{AgentEvent, Event, Kernel};
use super::{ClientId, ControlPlane, Verb};
use crate::cluster::{NO_NODE, NodeId, PodId};
use crate::engine::{Nanos, Rng, SECOND, random::LogNormal};

/// Interval of a node's lease renewals (`nodeLeaseDurationSeconds` 40, renewed at a quarter).
pub const LEASE_RENEW_INTERVAL_NS: Nanos = 10 * SECOND;

/// `DefaultTerminationGracePeriodSeconds` of `pkg/apis/core/types.go`.
const DEFAULT_GRACE_S: u32 = 30;

/// KWOK's pod stage workers.
const KWOK_POD_WORKERS: u32 = 4;

/// Which agents the nodes have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum AgentKind {
    /// None.
    #[default]
    None,
    /// Kubemark's hollow nodes.
    Hollow,
    /// KWOK.
    Kwok,
    /// Kubelets.
    Kubelet,
}

/// What is wrong with a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Trouble {
    /// It is off.
    Down,
    /// It runs, and nobody reaches it.
    CutOff,
}

/// A machine that is not as it should be.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Machine {
    trouble: Trouble,
    since_ns: Nanos,
    /// What its agent has to do when it is reached again.
    waiting: Vec<(PodId, AgentEvent)>,
}

/// The times of a pod that was started anew.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Restart {
    /// When its containers have started.
    starts_ns: Nanos,
    /// When it ends, once that is known.
    ends_ns: Nanos,
}

/// The machines behind the nodes, as far as faults can touch them.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Machines {
    troubled: BTreeMap<NodeId, Machine>,
    /// By node: when it renews its lease, within the interval.
    phases_ns: Vec<Nanos>,
    phase_rng: Rng,
    restarts: BTreeMap<PodId, Restart>,
}

/// The agents of all nodes.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct NodeAgents {
    kind: AgentKind,
    client: Option<ClientId>,
    start_latency: LogNormal,
    rng: Rng,
    /// How long containers take to end; none: no time.
    termination: Option<(LogNormal, Rng)>,
    busy_workers: u32,
    queue: VecDeque<(PodId, Verb)>,
    /// Only where nodes can fail.
    machines: Option<Box<Machines>>,
}

impl NodeAgents {
    /// Agents that patch through `client`; `start_latency` is (median, 99th percentile) in ns.
    #[must_use]
    pub fn new(kind: AgentKind, client: Option<ClientId>, start_latency: (Nanos, Nanos), rng: Rng) -> Self {
        Self {
            kind,
            client,
            start_latency: LogNormal::new(start_latency.0, start_latency.1),
            rng,
            termination: None,
            busy_workers: 0,
            queue: VecDeque::new(),
            machines: None,
        }
    }

    /// Containers take a time to end: (median, 99th percentile) in ns.
    #[must_use]
    pub fn ending_after(self, latency_ns: (Nanos, Nanos), rng: Rng) -> Self {
        Self { termination: Some((LogNormal::new(latency_ns.0, latency_ns.1), rng)), ..self }
    }

    /// When the containers of a pod have ended that is deleted now.
    pub fn termination_ends_ns(&mut self, now: Nanos, grace_s: Option<u32>) -> Nanos {
        let Some((latency, rng)) = &mut self.termination else { return now };
        let grace_ns = Nanos::from(grace_s.unwrap_or(DEFAULT_GRACE_S)) * SECOND;
        now + latency.sample(rng).min(grace_ns)
    }

    /// From now on machines may fail; the phases of their leases are drawn from `phase_rng`.
    pub fn keep_machines(&mut self, nodes: usize, phase_rng: Rng) {
        let machines = Machines {
            troubled: BTreeMap::new(),
            phases_ns: Vec::new(),
            phase_rng,
            restarts: BTreeMap::new(),
        };
        self.machines = Some(Box::new(machines));
        for _ in 0..nodes {
            self.add_machine();
        }
    }

    /// A new node's machine.
    pub fn add_machine(&mut self) {
        if let Some(machines) = &mut self.machines {
            let phase_ns = machines.phase_rng.below(LEASE_RENEW_INTERVAL_NS);
            machines.phases_ns.push(phase_ns);
        }
    }

    /// What is wrong with a node's machine.
    #[inline]
    #[must_use]
    pub fn trouble(&self, node: NodeId) -> Option<Trouble> {
        self.machines.as_ref()?.troubled.get(&node).map(|m| m.trouble)
    }

    /// When a node's lease was renewed last, as of `now`; none: before the run began.
    #[must_use]
    pub fn last_renewal_ns(&self, node: NodeId, now: Nanos) -> Option<Nanos> {
        let machines = self.machines.as_ref()?;
        let until = machines.troubled.get(&node).map_or(now, |m| m.since_ns.min(now));
        let since = until.checked_sub(*machines.phases_ns.get(node as usize)?)?;
        Some(until - since % LEASE_RENEW_INTERVAL_NS)
    }

    /// A machine fails, or fails in another way.
    pub fn fail(&mut self, node: NodeId, trouble: Trouble, now: Nanos) {
        let Some(machines) = &mut self.machines else { return };
        let machine =
            machines.troubled.entry(node).or_insert(Machine { trouble, since_ns: now, waiting: Vec::new() });
        if trouble == Trouble::Down {
            machine.trouble = trouble;
            machine.waiting.clear();
        }
    }

    /// A machine is as it should be again. What its agent has to do waits as events of now; says what was wrong.
    pub fn mend(
        &mut self,
        kernel: &mut Kernel,
        control_plane: &ControlPlane,
        node: NodeId,
    ) -> Option<Trouble> {
        let machine = self.machines.as_mut()?.troubled.remove(&node)?;
        let now = kernel.now();
        for (pod, what) in machine.waiting {
            kernel.at(now, Event::Agent { pod, what });
        }
        if machine.trouble == Trouble::Down {
            // In order of their ids, as far as a kubelet has one.
            let mut pods = control_plane.store().pods_on(node).to_vec();
            pods.sort_unstable();
            for pod in pods {
                if control_plane.store().is_terminating(pod) {
                    kernel.at(now, Event::Agent { pod, what: AgentEvent::Evicted });
                } else {
                    self.restart(kernel, pod);
                }
            }
        }
        Some(machine.trouble)
    }

    fn restart(&mut self, kernel: &mut Kernel, pod: PodId) {
        let starts_ns = kernel.now() + self.start_latency.sample(&mut self.rng);
        if let Some(machines) = &mut self.machines {
            machines.restarts.insert(pod, Restart { starts_ns, ends_ns: Nanos::MAX });
        }
        kernel.at(starts_ns, Event::Agent { pod, what: AgentEvent::Started });
    }

    /// Whether something that is due on a machine happens: it does not if the machine is off, it waits if the machine is
    /// cut off, and it is stale if the pod was started anew since it was foreseen.
    pub fn happens(&mut self, pod: PodId, node: NodeId, what: AgentEvent, now: Nanos) -> bool {
        let Some(machines) = &mut self.machines else { return true };
        if let Some(restart) = machines.restarts.get(&pod) {
            match what {
                AgentEvent::Started if restart.starts_ns > now => return false,
                AgentEvent::Finished if restart.ends_ns > now => return false,
                _ => {}
            }
        }
        match machines.troubled.get_mut(&node) {
            None => true,
            // The load client's deletion comes from outside.
            Some(_) if what == AgentEvent::Delete => true,
            Some(machine) => {
                if machine.trouble == Trouble::CutOff {
                    machine.waiting.push((pod, what));
                }
                false
            }
        }
    }

    /// A pod that was started anew ends at this time.
    pub fn will_end(&mut self, pod: PodId, at: Nanos) {
        if let Some(restart) = self.machines.as_mut().and_then(|m| m.restarts.get_mut(&pod)) {
            restart.ends_ns = at;
        }
    }

    /// A pod is gone: nothing of it is remembered.
    pub fn forget(&mut self, pod: PodId) {
        if let Some(machines) = &mut self.machines {
            machines.restarts.remove(&pod);
        }
    }

    /// A node is gone, and its machine with it.
    pub fn remove_machine(&mut self, node: NodeId) {
        if let Some(machines) = &mut self.machines {
            machines.troubled.remove(&node);
        }
    }

    /// When a pod that was started anew started last; none: it was not.
    #[must_use]
    pub fn restarted_ns(&self, pod: PodId) -> Option<Nanos> {
        self.machines.as_ref()?.restarts.get(&pod).map(|r| r.starts_ns)
    }

    /// Which kind they are.
    #[must_use]
    pub const fn kind(&self) -> AgentKind {
        self.kind
    }

    /// Whether they are one program, and not one a node.
    #[must_use]
    pub fn is_one_program(&self) -> bool {
        self.kind == AgentKind::Kwok
    }

    /// The node's agent sees a bound pod. One that is off sees it when it is back.
    pub fn on_bound(&mut self, kernel: &mut Kernel, pod: PodId, node: NodeId) {
        if self.kind != AgentKind::None {
            if let Some(machine) = self.machines.as_mut().and_then(|m| m.troubled.get_mut(&node)) {
                if machine.trouble == Trouble::CutOff {
                    machine.waiting.push((pod, AgentEvent::Started));
                }
                return;
            }
            let at = kernel.now() + self.start_latency.sample(&mut self.rng);
            kernel.at(at, Event::Agent { pod, what: AgentEvent::Started });
        }
    }

    /// The containers run, or have finished: the status is patched.
    pub fn patch(&mut self, kernel: &mut Kernel, control_plane: &mut ControlPlane, pod: PodId, verb: Verb) {
        let Some(client) = self.client else { return };
        if self.kind == AgentKind::Kwok {
            self.queue.push_back((pod, verb));
            self.pump(kernel, control_plane);
        } else {
            control_plane.submit(kernel, client, verb, pod, NO_NODE);
        }
    }

    fn pump(&mut self, kernel: &mut Kernel, control_plane: &mut ControlPlane) {
        let Some(client) = self.client else { return };
        while self.busy_workers < KWOK_POD_WORKERS {
            let Some((pod, verb)) = self.queue.pop_front() else { return };
            self.busy_workers += 1;
            control_plane.submit(kernel, client, verb, pod, NO_NODE);
        }
    }

    /// A request was answered. Only those about pods keep a worker of KWOK's busy.
    pub fn on_answered(&mut self, kernel: &mut Kernel, control_plane: &mut ControlPlane, verb: Verb) {
        let about_a_node = matches!(verb, Verb::CreateNode | Verb::PatchNode);
        if self.kind == AgentKind::Kwok && !about_a_node {
            self.busy_workers -= 1;
            self.pump(kernel, control_plane);
        }
    }

    /// Whether pods wait for one of the common agent's workers.
    #[inline]
    #[must_use]
    pub fn has_queue(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The client that patches.
    #[must_use]
    pub const fn client(&self) -> Option<ClientId> {
        self.client
    }
}
