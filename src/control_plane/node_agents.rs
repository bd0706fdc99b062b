//! What runs pods after they are bound: nothing, hollow nodes or kubelets, or KWOK.
//!
//! - **none**: a pod stays bound.
//! - **hollow** / **kubelet**: every node has its own agent; a bound pod is running after the start latency, when
//!   its agent patches the status. Agents don't share a limit, so their clients never wait.
//! - **kwok**: one controller for all nodes with four pod workers, each of which plays a stage by one PATCH and
//!   waits for the answer: a closed loop. Source: KWOK `pkg/kwok/controllers/pod_controller.go`.
//!
//! Heartbeats (a lease PUT a node every ten seconds) are fluid background load of the server, etcd and agent.
//!
//! Left out: image pulls, probes, the kubelet's own events and reads, evictions.
//!
//! Cost: one event and one or two requests a pod.
use std::collections::VecDeque;

use super::kernel::{AgentEvent, Event, Kernel};
use super::{ClientId, ControlPlane, Verb};
use crate::cluster::{NO_NODE, PodId};
use crate::engine::{Nanos, Rng, SECOND, random::LogNormal};

/// Interval of a node's lease renewals (`nodeLeaseDurationSeconds` 40, renewed at a quarter).
pub const LEASE_RENEW_INTERVAL_NS: Nanos = 10 * SECOND;

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

/// The agents of all nodes.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct NodeAgents {
    kind: AgentKind,
    client: Option<ClientId>,
    start_latency: LogNormal,
    rng: Rng,
    busy_workers: u32,
    queue: VecDeque<(PodId, Verb)>,
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
            busy_workers: 0,
            queue: VecDeque::new(),
        }
    }

    /// Which kind they are.
    #[must_use]
    pub const fn kind(&self) -> AgentKind {
        self.kind
    }

    /// The node's agent sees a bound pod.
    pub fn on_bound(&mut self, kernel: &mut Kernel, pod: PodId) {
        if self.kind != AgentKind::None {
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

    /// A patch was answered.
    pub fn on_answered(&mut self, kernel: &mut Kernel, control_plane: &mut ControlPlane) {
        if self.kind == AgentKind::Kwok {
            self.busy_workers -= 1;
            self.pump(kernel, control_plane);
        }
    }

    /// The client that patches.
    #[must_use]
    pub const fn client(&self) -> Option<ClientId> {
        self.client
    }
}
