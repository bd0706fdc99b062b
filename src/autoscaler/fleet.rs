//! Machines that come and go at an autoscaler's request, and what they cost.
//!
//! A machine is asked for, starts, and registers its node after a delay from the stream `autoscaler.provisioning`; from then on
//! it is a node like any other: tainted `not-ready` until its kubelet has reported it. It ends when the autoscaler gives it back, or a
//! fault takes its node away. It costs its kind's price from the request to the end.
//!
//! Left out: the time in which a machine shuts down, machines that the cloud does not have, machines that it replaces by itself,
//! discounts, interruptions of spot machines.
//!
//! Invariant: a machine is in one phase, and the machines of a kind that are not gone are as many as [`Fleet::size`] says.
//!
//! Cost: O(log nodes) a change; O(machines) for the sums at the end.
use std::collections::BTreeMap;

use super::config::{Config, Delay, MachineKind};
use super::{Action, Env};
use crate::cluster::{NO_NODE, NodeId};
use crate::control_plane::kernel::{AutoscalerEvent, Event};
use crate::engine::{Nanos, Rng};

/// Where a machine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Phase {
    /// Asked for.
    Starting,
    /// Its node is registered and has never been ready.
    Registered,
    /// Its node has been ready.
    Ready,
    /// Given back.
    Gone,
}

/// A machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Machine {
    /// Its kind.
    pub kind: u32,
    /// Its node, once it registers.
    pub node: NodeId,
    /// Where it is in its life.
    pub phase: Phase,
    /// When it was asked for, ns.
    pub requested_ns: Nanos,
    /// When its node was ready first, ns.
    pub ready_ns: Nanos,
    /// When it was given back, ns.
    pub ended_ns: Nanos,
}

/// All machines of a run.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Fleet {
    #[serde(skip)]
    kinds: Vec<MachineKind>,
    #[serde(skip)]
    delay: Option<Delay>,
    machines: Vec<Machine>,
    of_node: BTreeMap<NodeId, u32>,
    /// By kind: those that are not gone.
    alive: Vec<u32>,
    /// Machines that were asked for, given back before they had a node, and given back with one.
    requested: u64,
    cancelled: u64,
    removed: u64,
    /// Most that were there at once.
    peak: u64,
    rng: Rng,
}

/// What machines came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetReport {
    /// Asked for, those from the beginning not counted.
    pub requested: u64,
    /// Their nodes have been ready.
    pub added: u64,
    /// Given back without ever having had a node.
    pub cancelled: u64,
    /// Nodes that are gone.
    pub removed: u64,
    /// Most at once.
    pub peak: u64,
    /// There at the end.
    pub left: u64,
    /// Machine time, ns.
    pub machine_ns: u128,
    /// What it cost, micro-dollars, rounded down.
    pub cost_micro: u64,
    /// From the request to a ready node, summed, ns.
    pub provisioning_ns: u128,
}

impl Fleet {
    /// The machines that are there from the beginning.
    pub fn new(config: &Config, rng: Rng) -> Self {
        let mut fleet = Self {
            kinds: config.kinds.clone(),
            delay: Some(config.provisioning),
            machines: Vec::new(),
            of_node: BTreeMap::new(),
            alive: vec![0; config.kinds.len()],
            requested: 0,
            cancelled: 0,
            removed: 0,
            peak: 0,
            rng,
        };
        for (node, kind) in &config.initial {
            fleet.of_node.insert(*node, fleet.machines.len() as u32);
            fleet.machines.push(Machine {
                kind: *kind,
                node: *node,
                phase: Phase::Ready,
                requested_ns: 0,
                ready_ns: 0,
                ended_ns: Nanos::MAX,
            });
            fleet.count(*kind);
        }
        fleet
    }

    fn count(&mut self, kind: u32) {
        self.alive[kind as usize] += 1;
        self.peak = self.peak.max(self.alive.iter().map(|n| u64::from(*n)).sum());
    }

    /// Takes over what a checkpoint leaves to the inputs.
    pub fn keep_inputs_of(&mut self, built: Self) {
        (self.kinds, self.delay) = (built.kinds, built.delay);
    }

    /// The kinds of machines.
    #[must_use]
    pub fn kinds(&self) -> &[MachineKind] {
        &self.kinds
    }

    /// Machines of a kind that are not gone.
    #[must_use]
    pub fn size(&self, kind: usize) -> u32 {
        self.alive[kind]
    }

    /// Machines of a kind whose node has never been ready.
    #[must_use]
    pub fn upcoming(&self, kind: usize) -> u32 {
        let upcoming =
            |m: &&Machine| m.kind as usize == kind && matches!(m.phase, Phase::Starting | Phase::Registered);
        self.machines.iter().filter(upcoming).count() as u32
    }

    /// All machines that are not gone, by their numbers.
    pub fn alive(&self) -> impl Iterator<Item = (u32, &Machine)> {
        let all = self.machines.iter().enumerate().map(|(at, machine)| (at as u32, machine));
        all.filter(|(_, machine)| machine.phase != Phase::Gone)
    }

    /// A machine.
    #[must_use]
    pub fn machine(&self, machine: u32) -> &Machine {
        &self.machines[machine as usize]
    }

    /// The machine of a node.
    #[must_use]
    pub fn of_node(&self, node: NodeId) -> Option<(u32, &Machine)> {
        let machine = *self.of_node.get(&node)?;
        Some((machine, &self.machines[machine as usize]))
    }

    /// Asks for a machine.
    pub fn request(&mut self, env: &mut Env<'_>, kind: u32) -> u32 {
        let now = env.kernel.now();
        let machine = self.machines.len() as u32;
        self.machines.push(Machine {
            kind,
            node: NO_NODE,
            phase: Phase::Starting,
            requested_ns: now,
            ready_ns: Nanos::MAX,
            ended_ns: Nanos::MAX,
        });
        self.requested += 1;
        self.count(kind);
        let delay_ns = self.delay.map_or(0, |delay| delay.draw(&mut self.rng));
        let at = now.saturating_add(delay_ns);
        env.kernel.at(at, Event::Autoscaler { what: AutoscalerEvent::Registers { machine } });
        machine
    }

    /// A machine has started, unless it was given back meanwhile: its kubelet is to register its node.
    pub fn start(&mut self, env: &mut Env<'_>, machine: u32) {
        let it = &mut self.machines[machine as usize];
        if it.phase != Phase::Starting {
            return;
        }
        let kind = &self.kinds[it.kind as usize];
        let name = format!("{}-{machine:05}", kind.name);
        let node = env.cluster.nodes.add(name, kind.template, kind.zone);
        env.cluster.nodes.set_present(node, false);
        env.control_plane.store_mut().add_node(kind.template);
        env.agents.add_machine();
        it.node = node;
        it.phase = Phase::Registered;
        self.of_node.insert(node, machine);
        env.actions.push(Action::Register(node));
    }

    /// A node is stored as ready; says whether it is so for the first time.
    pub fn ready(&mut self, node: NodeId, now: Nanos) -> bool {
        let Some(machine) = self.of_node.get(&node) else { return false };
        let it = &mut self.machines[*machine as usize];
        let first = it.phase == Phase::Registered;
        if first {
            it.phase = Phase::Ready;
            it.ready_ns = now;
        }
        first
    }

    /// A machine is given back, or gone; says whether it was there.
    pub fn end(&mut self, machine: u32, now: Nanos) -> bool {
        let it = &mut self.machines[machine as usize];
        if it.phase == Phase::Gone {
            return false;
        }
        if it.node == NO_NODE {
            self.cancelled += 1;
        } else {
            self.removed += 1;
            self.of_node.remove(&it.node);
        }
        it.phase = Phase::Gone;
        it.ended_ns = now;
        self.alive[it.kind as usize] -= 1;
        true
    }

    /// Whether machines are on their way.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        self.machines.iter().any(|m| matches!(m.phase, Phase::Starting | Phase::Registered))
    }

    /// What machines came to until `now`.
    #[must_use]
    pub fn report(&self, now: Nanos) -> FleetReport {
        let mut report = FleetReport {
            requested: self.requested,
            cancelled: self.cancelled,
            removed: self.removed,
            peak: self.peak,
            left: self.alive.iter().map(|n| u64::from(*n)).sum(),
            ..FleetReport::default()
        };
        let mut cost = 0_u128;
        for machine in &self.machines {
            let ns = u128::from(machine.ended_ns.min(now) - machine.requested_ns);
            report.machine_ns += ns;
            cost += ns * u128::from(self.kinds[machine.kind as usize].price_micro);
            if machine.ready_ns != Nanos::MAX && machine.ready_ns > 0 {
                report.added += 1;
                report.provisioning_ns += u128::from(machine.ready_ns - machine.requested_ns);
            }
        }
        report.cost_micro = u64::try_from(cost / 3_600_000_000_000).unwrap_or(u64::MAX);
        report
    }
}
