//! A scheduler that is a program of its own, in whatever language: JSON Lines over its standard input and output.
//!
//! Each call of the model is a line with what has happened, answered by a line with what is to be done; nothing else passes,
//! and podpace waits for each answer, so a program that is deterministic gives the same bytes in each run. What exists
//! when the scheduler starts comes with the first line. Each pod spec is described once; what of it depends on a node alone (taints,
//! selectors, required node affinity) is evaluated here, and the program is told which nodes refuse which specs.
//!
//! podpace keeps its own account of nodes and pods, and refuses what a real API server or a real node could not do: binding
//! a pod twice, or one that is not there, to a node that is not there or has no room. Such a program has failed, and so
//! have one that ends, one that does not answer in time, and one whose line is no answer: the run ends with exit code
//! 1 (2 if the program can't be started at all) and says what was asked and answered.
//!
//! `docs/custom-schedulers.md` is the protocol's description, [`protocol`] its types.
//!
//! Left out: gangs and placeholders.
//!
//! Cost: a line each way for each call, some 20 us of real time in Python; evaluations of filters: one for each class of nodes when
//! a spec comes (for each node if it names nodes), one for each known spec when a node comes or changes.
mod child;
pub mod protocol;

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Action, BindOutcome, Context, Failure, NodeChange, NodeTable, PendingReasons, SchedulerModel, Settings,
    kube,
};
use crate::cluster::{
    Cluster, HOSTNAME_LABEL, NO_NODE, NodeId, PodId, PodSpec, Resources, SpecId, TaintEffect, ZONE_LABEL,
};
use crate::cost::{Meter, OpId, PICOS_PER_NANO, Picos, ProfileError, picos_to_nanos};
use crate::engine::MAX_CPU_NS;
use crate::engine::codec::{self, CodecError};
use child::{Link, shown};
use protocol::{
    Act, Amounts, Answer, Event, Hello, Message, PodTerm, Restore, Save, Saved, Spread, TaintEvent, Welcome,
};

/// Most CPU work of one `work`, ns; what is left of [`MAX_CPU_NS`] is for waking the process.
const MAX_WORK_NS: u64 = MAX_CPU_NS / 2;
/// What messages say of it.
const WORK_LIMIT: &str = "one `work` may take at most 562949953421312 ns (6.5 days) in all";
/// Most Events of one `events`: each is a request.
const MAX_EVENTS: u32 = 1_000_000;

/// How to run the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessCommand {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Folder in which it runs; empty: podpace's own.
    pub directory: String,
    /// How long an answer may take, ms of real time.
    pub timeout_ms: u64,
    /// What is passed on to it, as JSON.
    pub options: String,
}

/// Where a pod is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum State {
    /// Not seen.
    #[default]
    Unseen,
    /// It may be bound.
    Pending,
    /// A binding is under way.
    Binding(NodeId),
    /// On a node.
    Bound(NodeId),
    /// Given up, finished or deleted.
    Gone,
}

/// What is not the program's state.
#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
struct Account {
    nodes: NodeTable,
    pods: Vec<State>,
    specs: Vec<bool>,
    seed: u64,
    backlog: u64,
    waits_for_time: bool,
    pending: PendingReasons,
    started: bool,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Checkpoint {
    account: Account,
    /// The program's state as JSON.
    state: String,
}

/// The program as a model.
pub struct Process {
    settings: ProcessCommand,
    operations: BTreeMap<String, OpId>,
    account: Account,
    early: Vec<Event>,
    /// The other end, once it is there, and whether it can be saved.
    link: RefCell<Option<(Link, bool)>>,
    failure: RefCell<Option<Failure>>,
}

impl Process {
    /// Builds it. Every cost of the profile is an operation that the program may charge.
    ///
    /// # Errors
    /// None: the program is started when it is needed.
    pub fn build(settings: &Settings, meter: &mut Meter) -> Result<Box<dyn SchedulerModel>, ProfileError> {
        let names: Vec<String> = meter.profile().costs().map(|(name, _)| name.to_owned()).collect();
        let mut operations = BTreeMap::new();
        for name in names {
            let id = meter.operation(&name)?;
            operations.insert(name, id);
        }
        Ok(Box::new(Self {
            settings: settings.process.clone(),
            operations,
            account: Account::default(),
            early: Vec::new(),
            link: RefCell::new(None),
            failure: RefCell::new(None),
        }))
    }

    fn name(&self) -> String {
        format!("scheduler `{}`", self.settings.command.join(" "))
    }

    fn fail(&self, message: impl std::fmt::Display, is_input: bool) {
        let mut failure = self.failure.borrow_mut();
        if failure.is_none() {
            *failure = Some(Failure { message: format!("{} {message}", self.name()), is_input });
        }
    }

    /// Sends a line; its answer, if there is a good one.
    fn ask<T: DeserializeOwned>(&self, line: &impl serde::Serialize) -> Option<T> {
        let text = serde_json::to_string(line).expect("plain types");
        let mut link = self.link.borrow_mut();
        let (link, _) = link.as_mut()?;
        let answer = match link.ask(&text) {
            Ok(answer) => answer,
            Err(error) => {
                self.fail(error, false);
                return None;
            }
        };
        match serde_json::from_str(&answer) {
            Ok(answer) => Some(answer),
            Err(error) => {
                let answer = shown(&answer);
                self.fail(format!("has answered what is no answer: {error}: `{answer}`"), false);
                None
            }
        }
    }

    /// Starts the program if it does not run; whether it runs.
    fn connect(&self) -> bool {
        if self.failure.borrow().is_some() {
            return false;
        }
        if self.link.borrow().is_some() {
            return true;
        }
        let s = &self.settings;
        match Link::start(&s.command, &s.directory, s.timeout_ms) {
            Ok(link) => *self.link.borrow_mut() = Some((link, false)),
            Err(error) => {
                self.fail(error, true);
                return false;
            }
        }
        let options: Value = serde_json::from_str(&s.options).unwrap_or(Value::Null);
        let hello = Hello {
            protocol: protocol::VERSION,
            podpace: env!("CARGO_PKG_VERSION"),
            seed: self.account.seed,
            operations: self.operations.keys().map(String::as_str).collect(),
            options: &options,
        };
        let Some(welcome) = self.ask::<Welcome>(&hello) else { return false };
        if welcome.protocol != protocol::VERSION {
            let (theirs, ours) = (welcome.protocol, protocol::VERSION);
            self.fail(format!("speaks version {theirs} of the protocol; podpace speaks {ours}"), false);
            return false;
        }
        if let Some((_, checkpoint)) = self.link.borrow_mut().as_mut() {
            *checkpoint = welcome.checkpoint;
        }
        true
    }

    /// Tells what has happened and does what is answered.
    fn tell(&mut self, cx: &mut Context<'_>, event: Event) {
        if !self.account.started {
            self.early.push(event);
            return;
        }
        let events = [event];
        self.exchange(cx, &events);
    }

    /// The same of a pod, whose spec comes first if it is a new one.
    fn tell_of(&mut self, cx: &mut Context<'_>, pod: PodId, event: Event) {
        match self.introduce(cx, pod) {
            None => self.tell(cx, event),
            Some(spec) if !self.account.started => self.early.extend([spec, event]),
            Some(spec) => self.exchange(cx, &[spec, event]),
        }
    }

    fn exchange(&mut self, cx: &mut Context<'_>, events: &[Event]) {
        let answer =
            if self.connect() { self.ask::<Answer>(&Message { now_ns: cx.now, events }) } else { None };
        let Some(answer) = answer else {
            cx.actions.push(Action::Fail);
            return;
        };
        self.account.backlog = answer.backlog;
        self.account.waits_for_time = answer.waits_for_time;
        if let Some(pending) = answer.pending {
            self.account.pending = pending;
        }
        for act in answer.actions {
            if let Err(message) = self.carry_out(cx, act) {
                self.fail(message, false);
                cx.actions.push(Action::Fail);
                return;
            }
        }
    }

    fn state(&self, pod: PodId) -> State {
        self.account.pods.get(pod as usize).copied().unwrap_or_default()
    }

    fn set_state(&mut self, pod: PodId, state: State) {
        let pods = &mut self.account.pods;
        if pods.len() <= pod as usize {
            pods.resize(pod as usize + 1, State::Unseen);
        }
        pods[pod as usize] = state;
    }

    /// A pod that was shown and is not gone.
    fn known(&self, pod: PodId, what: &str) -> Result<(), String> {
        match self.state(pod) {
            State::Unseen => Err(format!("wants to {what} pod {pod}, which it was not shown")),
            State::Gone => Err(format!("wants to {what} pod {pod}, which is gone")),
            _ => Ok(()),
        }
    }

    fn carry_out(&mut self, cx: &mut Context<'_>, act: Act) -> Result<(), String> {
        match act {
            Act::Cycle { pod } => {
                self.known(pod, "begin the cycle of")?;
                *cx.cycle_started = Some(pod);
            }
            Act::Work { ns, ops, threads, tag } => {
                let mut picos: Picos = 0;
                for (name, count) in ops {
                    let Some(&op) = self.operations.get(&name) else {
                        let known: Vec<&str> = self.operations.keys().map(String::as_str).collect();
                        return Err(format!(
                            "charges `{name}`, which its cost profile does not have; it has {}",
                            known.join(", ")
                        ));
                    };
                    // Both before the charge: the meter adds them up.
                    let counted = cx.meter.count(op).checked_add(count);
                    let cost = cx.meter.unit_ps(op).checked_mul(count).filter(|_| counted.is_some());
                    picos = cost
                        .and_then(|cost| picos.checked_add(cost))
                        .filter(|picos| *picos <= MAX_WORK_NS * PICOS_PER_NANO)
                        .ok_or_else(|| {
                            format!("asks with `work` for {count} operations `{name}`; {WORK_LIMIT}")
                        })?;
                    cx.meter.charge(op, count);
                }
                let cpu_ns = picos_to_nanos(picos)
                    .checked_add(ns)
                    .filter(|cpu_ns| *cpu_ns <= MAX_WORK_NS)
                    .ok_or_else(|| format!("asks with `work` for {ns} ns; {WORK_LIMIT}"))?;
                cx.cpu(cpu_ns, threads.max(1), tag);
            }
            Act::Timer { at_ns, tag } => {
                if at_ns < cx.now {
                    return Err(format!("sets a timer at {at_ns} ns; it is {} ns", cx.now));
                }
                cx.timer(at_ns, tag);
            }
            Act::Assume { pod } => {
                self.known(pod, "assume")?;
                cx.actions.push(Action::Assume { pod });
            }
            Act::Bind { pod, node } => {
                let name = |node: NodeId| cx.cluster.nodes.get(node).name.clone();
                match self.state(pod) {
                    State::Pending => {}
                    State::Binding(at) => {
                        return Err(format!(
                            "binds pod {pod} twice: it is being bound to node {at} ({})",
                            name(at)
                        ));
                    }
                    State::Bound(at) => {
                        return Err(format!("binds pod {pod} twice: it is on node {at} ({})", name(at)));
                    }
                    State::Unseen | State::Gone => self.known(pod, "bind")?,
                }
                if !self.account.nodes.is_present(node) {
                    return Err(format!("binds pod {pod} to node {node}, which is not there"));
                }
                let spec = cx.cluster.pods.spec(pod);
                if !self.account.nodes.fits(node, spec) {
                    let short = self.account.nodes.shortage(cx.cluster, node, &spec.requests);
                    let short = short.unwrap_or_else(|| "no room".to_owned());
                    return Err(format!("binds pod {pod} to node {node} ({}): {short}", name(node)));
                }
                self.account.nodes.add_pod(node, spec);
                self.set_state(pod, State::Binding(node));
                cx.actions.push(Action::Bind { pod, node });
            }
            Act::Events { count } => {
                if count > MAX_EVENTS {
                    return Err(format!(
                        "asks with `events` for {count} Events; at most {MAX_EVENTS} may be sent at once"
                    ));
                }
                cx.actions.push(Action::Events { count });
            }
            Act::PatchStatus { pod } => {
                self.known(pod, "patch")?;
                cx.actions.push(Action::PatchStatus { pod });
            }
            Act::Delete { pod } => {
                self.known(pod, "delete")?;
                cx.actions.push(Action::Delete { pod });
            }
            Act::GiveUp { pod } => {
                self.known(pod, "give up")?;
                if self.state(pod) == State::Pending {
                    self.set_state(pod, State::Gone);
                    cx.actions.push(Action::GiveUp { pod });
                }
            }
        }
        Ok(())
    }

    fn amounts(cluster: &Cluster, resources: &Resources, pods: u64) -> Amounts {
        let plain = [("pods", pods), ("cpu", resources.cpu_millicores), ("memory", resources.memory_bytes)];
        let extended = resources.extended.iter().map(|(id, v)| (cluster.resources.name(*id), *v));
        Amounts(plain.into_iter().chain(extended).map(|(name, v)| (name.to_owned(), v)).collect())
    }

    fn node_event(&self, cluster: &Cluster, node: NodeId, added: bool) -> Event {
        let template = cluster.nodes.template(node);
        let mut labels = template.labels.clone();
        for key in [HOSTNAME_LABEL, ZONE_LABEL] {
            labels.extend(cluster.nodes.label(node, key).map(|value| (key.to_owned(), value.to_owned())));
        }
        let mut rejects: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        let known = self.account.specs.iter().enumerate().filter(|(_, known)| **known);
        for spec in known.map(|(at, _)| SpecId::try_from(at).expect("specs are limited")) {
            if let Some(reason) = kube::static_rejection(cluster, cluster.pods.spec_by_id(spec), node) {
                rejects.entry(reason.to_owned()).or_default().push(spec);
            }
        }
        let effect = |effect: TaintEffect| match effect {
            TaintEffect::NoSchedule => "NoSchedule",
            TaintEffect::PreferNoSchedule => "PreferNoSchedule",
            TaintEffect::NoExecute => "NoExecute",
        };
        Event::Node {
            id: node,
            name: cluster.nodes.get(node).name.clone(),
            added,
            allocatable: Self::amounts(cluster, &template.allocatable, u64::from(template.allocatable.pods)),
            labels,
            taints: template
                .taints
                .iter()
                .map(|t| TaintEvent { key: t.key.clone(), value: t.value.clone(), effect: effect(t.effect) })
                .collect(),
            unschedulable: template.unschedulable,
            rejects,
        }
    }

    fn spec_event(&self, cluster: &Cluster, id: SpecId, spec: &PodSpec) -> Event {
        let mut rejected_by: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        // What does not go by name is the same for all nodes of a template and zone.
        let by_name = spec.names_nodes();
        let mut verdicts: BTreeMap<(u32, Option<u32>), Option<String>> = BTreeMap::new();
        for node in 0..NodeId::try_from(self.account.nodes.len()).expect("nodes are limited") {
            if !self.account.nodes.is_present(node) {
                continue;
            }
            let evaluate = || kube::static_rejection(cluster, spec, node).map(str::to_owned);
            let n = cluster.nodes.get(node);
            let reason = if by_name {
                evaluate()
            } else {
                verdicts.entry((n.template, n.zone)).or_insert_with(evaluate).clone()
            };
            if let Some(reason) = reason {
                rejected_by.entry(reason).or_default().push(node);
            }
        }
        Event::Spec {
            id,
            requests: Self::amounts(cluster, &spec.requests, 1),
            priority: spec.priority,
            labels: spec.labels.clone(),
            rejected_by,
            pod_affinity: spec
                .pod_affinity
                .iter()
                .map(|t| PodTerm {
                    selector: t.selector.clone(),
                    namespaces: t.namespaces.clone(),
                    topology_key: t.topology_key.clone(),
                    weight: t.weight,
                    anti: t.anti,
                })
                .collect(),
            topology_spread: spec
                .topology_spread
                .iter()
                .map(|c| Spread {
                    selector: c.selector.clone(),
                    topology_key: c.topology_key.clone(),
                    max_skew: c.max_skew,
                    required: c.hard,
                })
                .collect(),
            host_ports: spec.host_ports.iter().map(|p| p.port).collect(),
        }
    }

    /// The description of a pod's spec, if the program does not know it.
    fn introduce(&mut self, cx: &Context<'_>, pod: PodId) -> Option<Event> {
        let spec = cx.cluster.pods.spec_id(pod);
        let specs = &mut self.account.specs;
        if specs.len() <= spec as usize {
            specs.resize(spec as usize + 1, false);
        }
        if std::mem::replace(&mut specs[spec as usize], true) {
            return None;
        }
        Some(self.spec_event(cx.cluster, spec, cx.cluster.pods.spec_by_id(spec)))
    }
}

impl SchedulerModel for Process {
    fn kind(&self) -> &str {
        "process"
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.account.seed = cx.rng.below(1 << 53);
        self.account.started = true;
        // One that was only asked whether it can be saved did not know the seed.
        *self.link.borrow_mut() = None;
        let mut events = std::mem::take(&mut self.early);
        events.push(Event::Start);
        self.exchange(cx, &events);
    }

    fn on_node(&mut self, cx: &mut Context<'_>, node: NodeId, change: NodeChange) {
        let event = if change == NodeChange::Deleted {
            self.account.nodes.remove(node);
            Event::NodeDeleted { id: node }
        } else {
            self.account.nodes.set(cx.cluster, node);
            self.node_event(cx.cluster, node, change == NodeChange::Added)
        };
        self.tell(cx, event);
    }

    fn on_pod_pending(&mut self, cx: &mut Context<'_>, pod: PodId) {
        if self.state(pod) != State::Unseen {
            return;
        }
        self.set_state(pod, State::Pending);
        let pods = &cx.cluster.pods;
        let app = &pods.apps()[pods.app_id(pod) as usize];
        let event = Event::Pod {
            id: pod,
            spec: pods.spec_id(pod),
            app: app.name.clone(),
            queue: app.queue.clone(),
            user: app.user.clone(),
            namespace: app.namespace.clone(),
        };
        self.tell_of(cx, pod, event);
    }

    fn on_pod_bound(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId) {
        match self.state(pod) {
            State::Binding(at) | State::Bound(at) if at == node => {}
            State::Gone => return,
            // Somebody else's doing, or from before.
            other => {
                if let State::Binding(at) | State::Bound(at) = other {
                    self.account.nodes.remove_pod(at, cx.cluster.pods.spec(pod));
                }
                self.account.nodes.force_pod(node, cx.cluster.pods.spec(pod));
            }
        }
        self.set_state(pod, State::Bound(node));
        let event = Event::PodBound { pod, spec: cx.cluster.pods.spec_id(pod), node };
        self.tell_of(cx, pod, event);
    }

    fn on_pod_gone(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId) {
        if let State::Binding(at) | State::Bound(at) = self.state(pod) {
            self.account.nodes.remove_pod(at, cx.cluster.pods.spec(pod));
        }
        if self.state(pod) == State::Gone {
            return;
        }
        self.set_state(pod, State::Gone);
        self.tell(cx, Event::PodGone { pod, node: (node != NO_NODE).then_some(node) });
    }

    fn on_bind_done(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId, outcome: BindOutcome) {
        let ok = outcome == BindOutcome::Bound;
        if self.state(pod) == State::Binding(node) {
            if ok {
                self.set_state(pod, State::Bound(node));
            } else {
                self.account.nodes.remove_pod(node, cx.cluster.pods.spec(pod));
                self.set_state(pod, State::Pending);
            }
        }
        self.tell(cx, Event::BindDone { pod, node, ok });
    }

    fn on_status_patched(&mut self, cx: &mut Context<'_>, pod: PodId) {
        self.tell(cx, Event::StatusPatched { pod });
    }

    fn on_delete_done(&mut self, cx: &mut Context<'_>, pod: PodId, ok: bool) {
        self.tell(cx, Event::DeleteDone { pod, ok });
    }

    fn on_cpu_done(&mut self, cx: &mut Context<'_>, tag: u64) {
        self.tell(cx, Event::CpuDone { tag });
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, tag: u64) {
        self.tell(cx, Event::Timer { tag });
    }

    fn pending_reasons(&self, _cluster: &Cluster) -> PendingReasons {
        if !self.account.started || !self.connect() {
            return self.account.pending.clone();
        }
        let answer = self.ask::<Answer>(&Message { now_ns: 0, events: &[Event::Report] });
        answer.and_then(|a| a.pending).unwrap_or_else(|| self.account.pending.clone())
    }

    fn waits_for_time(&self) -> bool {
        self.account.waits_for_time
    }

    fn backlog(&self) -> u64 {
        self.account.backlog
    }

    fn failure(&self) -> Option<Failure> {
        self.failure.borrow().clone()
    }

    fn save(&self) -> Result<Vec<u8>, CodecError> {
        let able = self.connect() && self.link.borrow().as_ref().is_some_and(|(_, able)| *able);
        let saved = if able { self.ask::<Saved>(&Save { save: true }) } else { None };
        let Some(saved) = saved else {
            return Err(CodecError::Unsupported {
                what: self.name(),
                hint: self.failure().map_or_else(
                    || {
                        "answer the first line with \"checkpoint\": true and `save` with the state, or run it without checkpoints"
                            .to_owned()
                    },
                    |failure| failure.message,
                ),
            });
        };
        let account = self.account.clone();
        codec::encode(self.kind(), &Checkpoint { account, state: saved.state.to_string() })
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), CodecError> {
        let Checkpoint { account, state } = codec::decode(state, self.kind())?;
        self.account = account;
        self.early.clear();
        let state: Value = serde_json::from_str(&state).unwrap_or(Value::Null);
        if self.connect() {
            let _: Option<BTreeMap<String, Value>> = self.ask(&Restore { restore: &state });
        }
        Ok(())
    }
}
