//! Nodes that are drained: which, how many at a time, and what comes after.
//!
//! What a command does is [`control_plane::drain`](crate::control_plane::drain)'s. Here stands who calls it: somebody who
//! takes a node (or a share of them) out of service for maintenance. Without `atOnce` one command is given all nodes, which
//! cordons all of them first. With it so many commands run at a time, of a node each, and a node that is through makes room
//! for the next. A node that has been drained, or could not be, is uncordoned after `duration`, if there is one; until
//! then it keeps its place among those at once. Nothing is done to its machine: DaemonSets' pods run on.
//!
//! The fault is over when the last node is drained or given up; pods are lost from the moment at which their eviction is
//! stored.
//!
//! Cost: O(1) a node, besides the command's.
use std::collections::{BTreeMap, VecDeque};

use crate::cluster::{Amount, NodeId, PodId};
use crate::control_plane::ClientId;
use crate::control_plane::controllers::Answer;
use crate::control_plane::drain::{DrainEnv, DrainOptions, Drained, Kubectl};
use crate::control_plane::kernel::{ControllerEvent, Event};
use crate::engine::Nanos;
use crate::measure::recovery::CaseId;
use crate::scenario::plan::{FaultKind, NodeChoice};

use super::super::Simulation;
use super::faults::draw;

/// One drain of some nodes.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Work {
    fault: u32,
    occurrence: u32,
    case: CaseId,
    /// When its last node was through.
    over_ns: Option<Nanos>,
    /// Nodes whose turn has not come.
    waiting: VecDeque<NodeId>,
    /// Nodes that are not through.
    left: u32,
    one_by_one: bool,
    options: DrainOptions,
}

/// All drains of a run.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Drains {
    kubectl: Kubectl,
    works: Vec<Work>,
    /// By command.
    of_command: Vec<u32>,
    /// Nodes that are to be uncordoned.
    cordoned: BTreeMap<NodeId, u32>,
    nodes_drained: u64,
    nodes_given_up: u64,
}

impl Drains {
    /// None begun; the commands' client.
    pub fn new(client: ClientId) -> Self {
        Self {
            kubectl: Kubectl::new(client),
            works: Vec::new(),
            of_command: Vec::new(),
            cordoned: BTreeMap::new(),
            nodes_drained: 0,
            nodes_given_up: 0,
        }
    }

    /// The commands' client.
    pub const fn client(&self) -> ClientId {
        self.kubectl.client()
    }

    /// The fault because of which a pod is being evicted.
    pub fn case_of(&self, pod: PodId) -> Option<CaseId> {
        let command = self.kubectl.command_of(pod)?;
        Some(self.works[self.of_command[command as usize] as usize].case)
    }

    /// Whether nodes are still to be uncordoned.
    pub fn are_to_end(&self) -> bool {
        !self.cordoned.is_empty()
    }

    /// When the last node of each drain was through, by its occurrence.
    pub fn ends(&self) -> impl Iterator<Item = (usize, Option<Nanos>)> {
        self.works.iter().map(|work| (work.occurrence as usize, work.over_ns))
    }

    /// Nodes drained and given up, evictions granted and refused.
    pub fn report(&self) -> DrainReport {
        let (evictions_granted, evictions_refused) = self.kubectl.evictions();
        let (nodes_drained, nodes_given_up) = (self.nodes_drained, self.nodes_given_up);
        DrainReport { nodes_drained, nodes_given_up, evictions_granted, evictions_refused }
    }

    fn next_done(&mut self) -> Option<Drained> {
        self.kubectl.next_done()
    }

    fn begin(&mut self, env: &mut DrainEnv<'_>, work: u32, nodes: Vec<NodeId>) {
        self.of_command.push(work);
        let options = self.works[work as usize].options;
        self.kubectl.drain(env, nodes, options);
    }

    /// The next node of a work that takes some at a time.
    fn next(&mut self, env: &mut DrainEnv<'_>, work: u32) {
        let it = &mut self.works[work as usize];
        if it.one_by_one
            && let Some(node) = it.waiting.pop_front()
        {
            self.begin(env, work, vec![node]);
        }
    }
}

/// What drains came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Nodes that are empty but for DaemonSets' pods.
    pub nodes_drained: u64,
    /// Nodes that were not drained: out of time, a pod without an owner, a pod with two budgets.
    pub nodes_given_up: u64,
    /// Evictions that the API server took.
    pub evictions_granted: u64,
    /// Evictions that it answered with 429.
    pub evictions_refused: u64,
}

impl Simulation {
    fn drains(&mut self, f: impl FnOnce(&mut Drains, &mut DrainEnv<'_>)) {
        let Some(drains) = self.changes.as_mut().and_then(|changes| changes.drains.as_mut()) else { return };
        let mut env = DrainEnv {
            kernel: &mut self.kernel,
            control_plane: &mut self.control_plane,
            cluster: &self.cluster,
        };
        f(drains, &mut env);
        while let Some(done) = self.changes.as_mut().and_then(|c| c.drains.as_mut()?.next_done()) {
            self.on_drained(done);
        }
    }

    /// A drain begins; `at_once`: of so many nodes at a time.
    pub(super) fn begin_drain(
        &mut self,
        index: usize,
        choice: &NodeChoice,
        at_once: Option<Amount>,
        options: DrainOptions,
    ) {
        let nodes = self.choose_nodes_to_drain(index, choice);
        let at_once = at_once.map(|at_once| at_once.of(nodes.len() as u64));
        if nodes.is_empty() {
            return;
        }
        let Some(occurrence) = self.open_case(index, nodes.clone(), true) else { return };
        let occurrence = occurrence as u32;
        let Some(case) = self.changes.as_ref().map(|changes| changes.faults.case_of(occurrence)) else {
            return;
        };
        let left = nodes.len() as u32;
        self.drains(|drains, env| {
            let work = drains.works.len() as u32;
            drains.works.push(Work {
                fault: index as u32,
                occurrence,
                case,
                over_ns: None,
                waiting: VecDeque::new(),
                left,
                one_by_one: at_once.is_some(),
                options,
            });
            match at_once {
                None => drains.begin(env, work, nodes),
                Some(at_once) => {
                    drains.works[work as usize].waiting = nodes.into();
                    for _ in 0..at_once.max(1) {
                        drains.next(env, work);
                    }
                }
            }
        });
    }

    fn on_drained(&mut self, done: Drained) {
        let now = self.kernel.now();
        let Some(changes) = self.changes.as_mut() else { return };
        let Some(drains) = changes.drains.as_mut() else { return };
        let at = drains.of_command[done.command as usize];
        let work = &mut drains.works[at as usize];
        work.left -= 1;
        let (is_over, case, fault) = (work.left == 0, work.case, work.fault as usize);
        work.over_ns = is_over.then_some(now);
        if done.ok {
            drains.nodes_drained += 1;
        } else {
            drains.nodes_given_up += 1;
        }
        let lasts = match changes.faults.kind(fault) {
            FaultKind::Drain { lasts, .. } => *lasts,
            _ => None,
        };
        match lasts {
            Some(lasts) => {
                drains.cordoned.insert(done.node, at);
                let span_ns = draw(lasts, &mut changes.faults.source(fault).rng);
                let what = ControllerEvent::Uncordon { node: done.node };
                self.kernel.at(now.saturating_add(span_ns), Event::Controller { what, epoch: 0 });
            }
            None => drains.kubectl.leave(done.node),
        }
        if is_over {
            changes.recovery.over(case, now);
        }
        if lasts.is_none() {
            self.drains(|drains, env| drains.next(env, at));
        }
    }

    /// A timer of a command, or a node is to be uncordoned.
    pub(super) fn on_drain_timer(&mut self, what: ControllerEvent) {
        self.drains(|drains, env| {
            drains.kubectl.on_timer(env, what);
            if let ControllerEvent::Uncordon { node } = what
                && let Some(work) = drains.cordoned.remove(&node)
            {
                drains.next(env, work);
            }
        });
    }

    /// An answer to one of the commands; false: it is none of theirs.
    pub(in super::super) fn on_drain_answered(&mut self, client: ClientId, answer: Answer) -> bool {
        let drains = self.changes.as_ref().and_then(|changes| changes.drains.as_ref());
        if drains.is_none_or(|drains| drains.client() != client) {
            return false;
        }
        self.drains(|drains, env| drains.kubectl.on_answered(env, answer));
        true
    }

    /// Whether a node can be drained: nobody does already, and it is not cordoned.
    pub(super) fn is_drainable(&self, node: NodeId) -> bool {
        let drains = self.changes.as_ref().and_then(|changes| changes.drains.as_ref());
        drains.is_some_and(|drains| !drains.kubectl.holds(node))
            && !self.control_plane.store().node(node).marks.cordoned
    }
}
