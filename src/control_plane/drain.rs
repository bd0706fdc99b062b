//! `kubectl drain`: nodes are cordoned, their pods evicted, and it waits until they are gone.
//!
//! A command is given some nodes. It cordons them, one after the other, and then drains them, one after the other: it lists
//! the node's pods, leaves those of DaemonSets alone (`--ignore-daemonsets`), and evicts all others at once, each from a
//! goroutine of its own. An eviction that is answered 429, because a budget allows no disruption now, is tried again after
//! 5 s, without end or until `--timeout` is over; one that finds no pod is done. An evicted pod is looked at each second until
//! it is gone. A pod that no controller owns is evicted only with `--force`; without it a node that has one is not drained,
//! and neither is one that has a pod with two budgets. The command goes on with the next node, and the node stays cordoned.
//!
//! A command is a process with a clientset of its own, and client-go's default limit: 5 requests a second, burst 10. That,
//! and not the budget, is what the drain of a full node without budgets waits for.
//!
//! Source: k/k `staging/src/k8s.io/kubectl/pkg/drain/{drain,filters}.go`, `pkg/cmd/drain/drain.go`.
//!
//! Left out: reads of the Node objects and of DaemonSets, mirror pods, pods with `emptyDir` (`--delete-emptydir-data` is
//! taken as given), pods that appear after the list, placeholders of gangs (they stay). Where the real command ends with an error because the API server is
//! away, somebody calls it again: here the request is made again after 5 s.
//!
//! Cost: a node is O(pods on it x log pods being evicted), and a request a second for each pod that is not gone; an answer to a command's own
//! request is O(commands), a node that is given up O(pods being evicted).
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::controllers::Answer;
use super::kernel::{ControllerEvent, Event, Kernel};
use super::store::{Mark, NO_OWNER, NodePatch, Refusal};
use super::token_bucket::TokenBucket;
use super::{ClientId, ControlPlane, Verb};
use crate::cluster::{Cluster, NO_NODE, NodeId, PodId};
use crate::engine::{Nanos, SECOND};

/// An eviction that is refused is tried again.
const EVICT_AGAIN_NS: Nanos = 5 * SECOND;
/// A pod that is on its way out is looked at.
const LOOK_NS: Nanos = SECOND;
/// Somebody calls a command again that has failed.
const CALL_AGAIN_NS: Nanos = 5 * SECOND;

/// Index of a command.
pub type CommandId = u32;

/// What a command is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DrainOptions {
    /// `--force`: pods without a controller are evicted, too.
    pub force: bool,
    /// `--timeout`, ns, a node; none: without end.
    pub timeout_ns: Option<Nanos>,
}

/// What a command does next for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Stage {
    /// Cordons the node at this place.
    Cordon(u32),
    /// Lists the pods of the node at this place.
    List(u32),
    /// Waits for the pods of the node at this place.
    Evict(u32),
    /// It has ended.
    Over,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Command {
    options: DrainOptions,
    nodes: Vec<NodeId>,
    stage: Stage,
    bucket: TokenBucket,
    /// When its own request has its token, or is made again; none: it is out, or there is none.
    due_ns: Option<Nanos>,
    /// The token that is due is reserved already.
    granted: bool,
    /// Pods of the node that are not gone.
    pods_left: u32,
    /// When the node's time is over.
    deadline_ns: Nanos,
}

/// What a goroutine does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Step {
    Evict,
    Look,
}

#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Goroutine {
    command: CommandId,
    step: Step,
    /// When it goes on; none: its request is out.
    due_ns: Option<Nanos>,
    /// The token that is due is reserved already.
    granted: bool,
    /// When its last look began.
    looked_ns: Nanos,
}

/// What became of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Drained {
    /// By which command.
    pub command: CommandId,
    /// Which node.
    pub node: NodeId,
    /// Whether it is empty but for DaemonSets' pods.
    pub ok: bool,
    /// The command is through with all of its nodes.
    pub last: bool,
}

/// All commands of a run.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Kubectl {
    client: ClientId,
    commands: Vec<Command>,
    pods: BTreeMap<PodId, Goroutine>,
    /// Nodes that are being uncordoned, with whether the request is out.
    uncordoning: BTreeMap<NodeId, bool>,
    /// Nodes in some command's hands, from the cordon to the uncordoning.
    held: BTreeSet<NodeId>,
    done: VecDeque<Drained>,
    granted: u64,
    refused: u64,
}

/// What a command may touch.
pub struct DrainEnv<'a> {
    /// Clock and events.
    pub kernel: &'a mut Kernel,
    /// Requests.
    pub control_plane: &'a mut ControlPlane,
    /// Nodes and pods.
    pub cluster: &'a Cluster,
}

impl DrainEnv<'_> {
    fn timer(&mut self, at: Nanos, what: ControllerEvent) {
        self.kernel.at(at, Event::Controller { what, epoch: 0 });
    }
}

impl Kubectl {
    /// No command yet; all ask through a client without a limit of its own, each has one.
    #[must_use]
    pub fn new(client: ClientId) -> Self {
        Self { client, ..Self::default() }
    }

    /// The client of all commands.
    #[must_use]
    pub const fn client(&self) -> ClientId {
        self.client
    }

    /// Whether some command has, or is still to give back, a node.
    #[must_use]
    pub fn holds(&self, node: NodeId) -> bool {
        self.held.contains(&node)
    }

    /// The command that evicts a pod.
    #[must_use]
    pub fn command_of(&self, pod: PodId) -> Option<CommandId> {
        self.pods.get(&pod).map(|goroutine| goroutine.command)
    }

    /// Evictions granted and refused (429) so far.
    #[must_use]
    pub const fn evictions(&self) -> (u64, u64) {
        (self.granted, self.refused)
    }

    /// What became of a node, oldest first.
    pub fn next_done(&mut self) -> Option<Drained> {
        self.done.pop_front()
    }

    /// The id that the next command gets.
    #[must_use]
    pub fn next_command(&self) -> CommandId {
        self.commands.len() as CommandId
    }

    /// `kubectl drain NODES`.
    pub fn drain(&mut self, env: &mut DrainEnv<'_>, nodes: Vec<NodeId>, options: DrainOptions) {
        self.held.extend(&nodes);
        self.commands.push(Command {
            options,
            stage: if nodes.is_empty() { Stage::Over } else { Stage::Cordon(0) },
            nodes,
            bucket: TokenBucket::new(TokenBucket::DEFAULT_QPS_MILLI, TokenBucket::DEFAULT_BURST),
            due_ns: None,
            granted: false,
            pods_left: 0,
            deadline_ns: Nanos::MAX,
        });
        self.go_on(env, self.commands.len() as CommandId - 1);
    }

    /// `kubectl uncordon NODE`.
    pub fn uncordon(&mut self, env: &mut DrainEnv<'_>, node: NodeId) {
        self.uncordoning.insert(node, true);
        let patch = NodePatch::default().clear(Mark::Cordoned).encode();
        env.control_plane.submit(env.kernel, self.client, Verb::PatchNode, patch, node);
    }

    /// A command makes its own next request, when it has the token.
    fn go_on(&mut self, env: &mut DrainEnv<'_>, id: CommandId) {
        let command = &mut self.commands[id as usize];
        let (verb, pod, node) = match command.stage {
            Stage::Cordon(at) => {
                let patch = NodePatch::default().set(Mark::Cordoned).encode();
                (Verb::PatchNode, patch, command.nodes[at as usize])
            }
            Stage::List(at) => {
                let node = command.nodes[at as usize];
                let pods = env.control_plane.store().pods_on(node).len();
                (Verb::List, u32::try_from(pods).unwrap_or(u32::MAX), node)
            }
            Stage::Evict(_) | Stage::Over => return,
        };
        let now = env.kernel.now();
        if !std::mem::take(&mut command.granted) {
            let at = command.bucket.reserve(now);
            if at > now {
                command.granted = true;
                self.call_at(env, id, at);
                return;
            }
        }
        command.due_ns = None;
        env.control_plane.submit(env.kernel, self.client, verb, pod, node);
    }

    fn call_at(&mut self, env: &mut DrainEnv<'_>, id: CommandId, at: Nanos) {
        self.commands[id as usize].due_ns = Some(at);
        env.timer(at, ControllerEvent::DrainCommand { command: id });
    }

    fn step_at(&mut self, env: &mut DrainEnv<'_>, pod: PodId, at: Nanos) {
        if let Some(goroutine) = self.pods.get_mut(&pod) {
            goroutine.due_ns = Some(at);
            env.timer(at, ControllerEvent::DrainPod { pod });
        }
    }

    /// A goroutine makes its next request, when it has the token.
    fn step(&mut self, env: &mut DrainEnv<'_>, pod: PodId) {
        let Some(goroutine) = self.pods.get_mut(&pod) else { return };
        let now = env.kernel.now();
        if !std::mem::take(&mut goroutine.granted) {
            if goroutine.step == Step::Look {
                goroutine.looked_ns = now;
            }
            let at = self.commands[goroutine.command as usize].bucket.reserve(now);
            if at > now {
                goroutine.granted = true;
                self.step_at(env, pod, at);
                return;
            }
        }
        goroutine.due_ns = None;
        let verb = match goroutine.step {
            Step::Evict => Verb::Evict,
            Step::Look => Verb::GetPod,
        };
        env.control_plane.submit(env.kernel, self.client, verb, pod, NO_NODE);
    }

    fn is_due(&self, pod: PodId, now: Nanos) -> bool {
        self.pods.get(&pod).is_some_and(|goroutine| goroutine.due_ns == Some(now))
    }

    /// A timer of a command, of a goroutine or of an uncordoning.
    pub fn on_timer(&mut self, env: &mut DrainEnv<'_>, what: ControllerEvent) {
        match what {
            ControllerEvent::DrainCommand { command } => {
                let (it, now) = (&self.commands[command as usize], env.kernel.now());
                if matches!(it.stage, Stage::Evict(_)) && it.deadline_ns <= now {
                    self.give_up(env, command);
                } else if it.due_ns == Some(now) {
                    self.go_on(env, command);
                }
            }
            ControllerEvent::DrainPod { pod } if self.is_due(pod, env.kernel.now()) => self.step(env, pod),
            ControllerEvent::Uncordon { node } if self.uncordoning.get(&node) != Some(&true) => {
                self.uncordon(env, node);
            }
            _ => {}
        }
    }

    /// An answer.
    pub fn on_answered(&mut self, env: &mut DrainEnv<'_>, answer: Answer) {
        let lost = !answer.ok && answer.refusal.is_none();
        match answer.verb {
            Verb::PatchNode if !NodePatch::decode(answer.pod).sets(Mark::Cordoned) => {
                if lost {
                    self.uncordoning.insert(answer.node, false);
                    let at = env.kernel.now() + CALL_AGAIN_NS;
                    env.timer(at, ControllerEvent::Uncordon { node: answer.node });
                } else {
                    self.uncordoning.remove(&answer.node);
                    self.held.remove(&answer.node);
                }
            }
            Verb::PatchNode | Verb::List => {
                let Some(id) = self.at_work_on(answer.node) else { return };
                if lost {
                    self.call_at(env, id, env.kernel.now() + CALL_AGAIN_NS);
                } else if answer.verb == Verb::PatchNode {
                    self.on_cordoned(env, id);
                } else {
                    self.on_listed(env, id, answer.node);
                }
            }
            _ => self.on_pod_answered(env, answer, lost),
        }
    }

    /// The command whose own request is about a node.
    fn at_work_on(&self, node: NodeId) -> Option<CommandId> {
        let at_work = |command: &Command| match command.stage {
            Stage::Cordon(at) | Stage::List(at) => command.nodes[at as usize] == node,
            Stage::Evict(_) | Stage::Over => false,
        };
        self.commands.iter().position(at_work).map(|at| at as CommandId)
    }

    fn on_cordoned(&mut self, env: &mut DrainEnv<'_>, id: CommandId) {
        let command = &mut self.commands[id as usize];
        let Stage::Cordon(at) = command.stage else { return };
        let next = at + 1;
        command.stage =
            if (next as usize) < command.nodes.len() { Stage::Cordon(next) } else { Stage::List(0) };
        self.go_on(env, id);
    }

    fn on_listed(&mut self, env: &mut DrainEnv<'_>, id: CommandId, node: NodeId) {
        let command = &mut self.commands[id as usize];
        let Stage::List(at) = command.stage else { return };
        let now = env.kernel.now();
        let store = env.control_plane.store();
        let pods = &env.cluster.pods;
        let stays = |pod: PodId| pods.spec(pod).required_node.is_some() || pods.is_placeholder(pod);
        let mut pods: Vec<PodId> = store.pods_on(node).iter().copied().filter(|pod| !stays(*pod)).collect();
        pods.sort_unstable();
        command.stage = Stage::Evict(at);
        if !command.options.force && pods.iter().any(|pod| store.owner(*pod) == NO_OWNER) {
            self.end_node(env, id, false);
            return;
        }
        command.pods_left = pods.len() as u32;
        command.deadline_ns = command.options.timeout_ns.map_or(Nanos::MAX, |ns| now.saturating_add(ns));
        if command.deadline_ns != Nanos::MAX {
            let deadline_ns = command.deadline_ns;
            env.timer(deadline_ns, ControllerEvent::DrainCommand { command: id });
        }
        let begins = Goroutine { command: id, step: Step::Evict, due_ns: None, granted: false, looked_ns: 0 };
        self.pods.extend(pods.iter().map(|pod| (*pod, begins)));
        if pods.is_empty() {
            self.end_node(env, id, true);
        }
        for pod in pods {
            self.step(env, pod);
        }
    }

    fn on_pod_answered(&mut self, env: &mut DrainEnv<'_>, answer: Answer, lost: bool) {
        let now = env.kernel.now();
        let pod = answer.pod;
        let is_look = answer.verb == Verb::GetPod;
        self.granted += u64::from(!is_look && answer.ok);
        self.refused += u64::from(answer.refusal == Some(Refusal::Disruption));
        // Its command has given it up, and perhaps another has taken it on.
        let Some(goroutine) = self.pods.get_mut(&pod).filter(|g| g.due_ns.is_none()) else { return };
        let id = goroutine.command;
        match answer.refusal {
            Some(Refusal::NotFound) => {
                self.pods.remove(&pod);
                let command = &mut self.commands[id as usize];
                command.pods_left -= 1;
                if command.pods_left == 0 {
                    self.end_node(env, id, true);
                }
            }
            Some(Refusal::Disruption) => self.step_at(env, pod, now + EVICT_AGAIN_NS),
            Some(_) => self.give_up(env, id),
            None if lost => self.step_at(env, pod, now + CALL_AGAIN_NS),
            None if is_look => {
                let at = (goroutine.looked_ns + LOOK_NS).max(now);
                self.step_at(env, pod, at);
            }
            None => {
                goroutine.step = Step::Look;
                self.step(env, pod);
            }
        }
    }

    /// The node is not drained.
    fn give_up(&mut self, env: &mut DrainEnv<'_>, id: CommandId) {
        self.pods.retain(|_, goroutine| goroutine.command != id);
        self.end_node(env, id, false);
    }

    fn end_node(&mut self, env: &mut DrainEnv<'_>, id: CommandId, ok: bool) {
        let command = &mut self.commands[id as usize];
        let Stage::Evict(at) = command.stage else { return };
        let (node, next) = (command.nodes[at as usize], at + 1);
        let last = next as usize == command.nodes.len();
        command.deadline_ns = Nanos::MAX;
        command.stage = if last { Stage::Over } else { Stage::List(next) };
        self.done.push_back(Drained { command: id, node, ok, last });
        self.go_on(env, id);
    }

    /// A node is given back without being uncordoned.
    pub fn leave(&mut self, node: NodeId) {
        self.held.remove(&node);
    }
}
