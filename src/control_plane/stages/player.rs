//! KWOK's controllers of pods and nodes: which stage is due when, and its requests.
//!
//! A change of an object is looked at once, when the watch shows it (or, after a stage with `immediateNextStage`, when the
//! answer is there). A stage that matches takes the place of one that the object waits for; if none matches the object
//! still waits for that one. A worker plays all steps of a stage, one request after the other, and waits for each answer: four
//! workers for pods, four for nodes. Events go out on their own, and nobody waits for them. A patch that would change nothing is
//! not sent; one with a time in it changes something from one second to the next. All patches of a stage are compared with the object
//! as it was at the first step (`playStage` does not replace it in between), so one that undoes another of its stage is not sent, and one that repeats it is: the API
//! server stores nothing then, and no watch shows it. A request that fails is tried again after 1 s,
//! doubled up to 32 min, with up to a fifth more; one that is refused is not.
//!
//! **Loops.** Stages without delay may follow each other for ever. Each turn takes requests, so the run's limit ends it; if they
//! take no time at all a thousand turns of an object at one instant end the run with an error.
//!
//! Source: kubernetes-sigs/kwok `pkg/kwok/controllers/{pod_controller,node_controller,utils}.go`, `pkg/utils/lifecycle/next.go`.
//!
//! Left out: that two workers may play stages of one object at once (the later one waits here); that a change is looked at as
//! the watch showed it and not as it is by now.
//!
//! Cost: O(log objects + stages) a change; some 150 bytes an object.
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::super::kernel::{AgentEvent, Event, Kernel};
use super::super::store::{NodePatch, Ready};
use super::super::{ClientId, ControlPlane, Verb};
use super::{
    ContainerState, Containers, GRACE_PERIOD_NS, Kind, POD_SCHEDULED, Patch, Phase, READY, StageSet, Status,
    Step, Truth, View,
};
use crate::cluster::{Cluster, NO_NODE, PodId};
use crate::engine::{MILLISECOND, Nanos, Rng, SECOND};

/// `defaultBackoff`.
const FIRST_BACKOFF_NS: Nanos = SECOND;
const LAST_BACKOFF_NS: Nanos = 32 * 60 * SECOND;
/// Turns of an object at one instant.
const MOST_TURNS: u32 = 1000;

/// A stage that an object waits for.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Waiting {
    /// Of its timer.
    nth: u32,
    stage: u32,
    /// Where its steps go on.
    step: u32,
    retries: u32,
}

/// An object as it was when a stage began: its status, the stage that had patched it last, and in which second.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Watched {
    status: Status,
    last_patch: Option<(u32, u64)>,
}

/// An object.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Record {
    status: Status,
    deletion_ns: Nanos,
    finalizers: u64,
    /// It goes with its last finalizer.
    goes: bool,
    /// Changes that are stored.
    version: u32,
    /// The one that was looked at last.
    looked_at: u32,
    waits: Option<Waiting>,
    /// The stage that patched it last, and in which second.
    last_patch: Option<(u32, u64)>,
    /// What a stage with several patches compares them with.
    watched: Option<Box<Watched>>,
    /// When it began to turn at one instant, and how often it has.
    turns: (Nanos, u32),
}

impl Record {
    const fn new(status: Status) -> Self {
        Self {
            status,
            deletion_ns: Nanos::MAX,
            finalizers: 0,
            goes: false,
            version: 1,
            looked_at: 0,
            waits: None,
            last_patch: None,
            watched: None,
            turns: (0, 0),
        }
    }

    /// Whether something is still to come of it.
    const fn moves(&self) -> bool {
        self.waits.is_some() || self.looked_at != self.version
    }
}

/// A stage that a worker plays.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Play {
    stage: u32,
    step: u32,
    retries: u32,
    verb: Verb,
    /// Whose patch it is.
    facts: u32,
    /// What a patch of a node says.
    code: PodId,
    /// The stage has patched something.
    patched: bool,
    /// The request is stored: its effect is known.
    stored: bool,
}

/// The controller of one kind.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Player {
    records: BTreeMap<u32, Record>,
    /// Stages that are due, by object.
    due: VecDeque<(u32, Waiting)>,
    playing: BTreeMap<u32, Play>,
    timers: u32,
    /// Objects of which something is still to come.
    moving: u64,
    /// How often each stage was played.
    played: Vec<u64>,
}

impl Player {
    fn insert(&mut self, id: u32, status: Status) {
        self.remove(id);
        self.records.insert(id, Record::new(status));
        self.moving += 1;
    }

    fn remove(&mut self, id: u32) {
        if let Some(record) = self.records.remove(&id) {
            self.moving -= u64::from(record.moves());
        }
    }

    fn edit<T>(&mut self, id: u32, change: impl FnOnce(&mut Record) -> T) -> Option<T> {
        let record = self.records.get_mut(&id)?;
        let before = record.moves();
        let out = change(record);
        match (before, record.moves()) {
            (false, true) => self.moving += 1,
            (true, false) => self.moving -= 1,
            _ => {}
        }
        Some(out)
    }

    /// The object waits for a stage from now on, and for no other.
    fn wait_for(&mut self, kernel: &mut Kernel, kind: Kind, id: u32, mut waiting: Waiting, at: Nanos) {
        self.timers = self.timers.wrapping_add(1).max(1);
        waiting.nth = self.timers;
        if self.edit(id, |record| record.waits = Some(waiting)).is_some() {
            kernel.at(at, Event::Agent { pod: id, what: AgentEvent::Stage { kind, nth: waiting.nth } });
        }
    }
}

/// KWOK's controllers.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Stages {
    #[serde(skip)]
    set: Arc<StageSet>,
    client: ClientId,
    rng: Rng,
    pods: Player,
    nodes: Player,
    events: u64,
    /// Why the run can't go on.
    failure: Option<String>,
}

/// What they work with.
pub struct World<'a> {
    /// Clock.
    pub kernel: &'a mut Kernel,
    /// Requests.
    pub control_plane: &'a mut ControlPlane,
    /// Objects.
    pub cluster: &'a Cluster,
    /// How long a pod is to run, ns; none: for ever, or it is about a node.
    pub run_ns: Option<Nanos>,
}

impl Stages {
    /// Controllers whose requests go through `client`.
    #[must_use]
    pub fn new(set: Arc<StageSet>, client: ClientId, rng: Rng) -> Self {
        let player = |stages: usize| Player { played: vec![0; stages], ..Player::default() };
        let (pods, nodes) = (player(set.pods.len()), player(set.nodes.len()));
        Self { set, client, rng, pods, nodes, events: 0, failure: None }
    }

    /// Takes over what a checkpoint leaves to the inputs.
    pub fn keep_inputs_of(&mut self, built: &Self) {
        self.set = Arc::clone(&built.set);
    }

    /// Whether there are stages of a kind.
    #[must_use]
    pub fn are_for(&self, kind: Kind) -> bool {
        !self.set.of(kind).is_empty()
    }

    /// Whether something is still to come of a pod: it waits for a stage, or is still to be looked at.
    #[must_use]
    pub fn are_moving(&self) -> bool {
        self.pods.moving > 0 || !self.pods.due.is_empty() || !self.pods.playing.is_empty()
    }

    /// Whether a stage waits for a worker.
    #[inline]
    #[must_use]
    pub fn has_queue(&self) -> bool {
        !self.pods.due.is_empty() || !self.nodes.due.is_empty()
    }

    /// How often each stage was played, and how many events were sent.
    #[must_use]
    pub fn report(&self) -> StagesReport {
        let names = |kind| self.set.of(kind).iter().map(|stage| stage.name.clone());
        StagesReport {
            pods: names(Kind::Pod).zip(self.pods.played.iter().copied()).collect(),
            nodes: names(Kind::Node).zip(self.nodes.played.iter().copied()).collect(),
            events: self.events,
        }
    }

    /// Why the run can't go on.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    const fn player(&mut self, kind: Kind) -> &mut Player {
        match kind {
            Kind::Pod => &mut self.pods,
            Kind::Node => &mut self.nodes,
        }
    }

    /// An object that is there and in order before the run begins: it is looked at at its beginning.
    pub fn exists(&mut self, kernel: &mut Kernel, kind: Kind, id: u32) {
        let mut status = Status { phase: Phase::Running, has_address: true, ..Status::default() };
        status.set_condition(READY, Truth::True);
        if kind == Kind::Pod {
            status.has_start_time = true;
            status.set_condition(POD_SCHEDULED, Truth::True);
            status.containers =
                Containers { state: ContainerState::Running, ready: Some(true), reason: None };
        }
        for (at, name) in self.set.conditions.iter().enumerate() {
            let healthy = ["Initialized", "ContainersReady", "PodReadyToStartContainers"];
            let trouble = ["MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"];
            if kind == Kind::Pod && healthy.contains(&name.as_str()) {
                status.set_condition(at as u8, Truth::True);
            } else if kind == Kind::Node && trouble.contains(&name.as_str()) {
                status.set_condition(at as u8, Truth::False);
            }
        }
        self.player(kind).insert(id, status);
        kernel.at(kernel.now(), Event::Agent { pod: id, what: AgentEvent::Stage { kind, nth: 0 } });
    }

    /// A write to a pod is stored.
    pub fn on_pod_stored(&mut self, verb: Verb, pod: PodId, now: Nanos) {
        match verb {
            Verb::Bind if !self.pods.records.contains_key(&pod) => {
                let mut status = Status { phase: Phase::Pending, ..Status::default() };
                status.set_condition(POD_SCHEDULED, Truth::True);
                self.pods.insert(pod, status);
                return;
            }
            Verb::DeletePod => {
                self.pods.remove(pod);
                return;
            }
            _ => {}
        }
        if self.take_played(Kind::Pod, verb, pod, now) {
            return;
        }
        self.pods.edit(pod, |record| {
            match verb {
                Verb::DeleteGracefully => {
                    record.deletion_ns = record.deletion_ns.min(now + GRACE_PERIOD_NS);
                }
                Verb::PatchNotReady => record.status.set_condition(READY, Truth::False),
                Verb::PatchRunning => {
                    record.status.phase = Phase::Running;
                    record.status.set_condition(READY, Truth::True);
                }
                Verb::PatchSucceeded => record.status.phase = Phase::Succeeded,
                Verb::PatchFailed => record.status.phase = Phase::Failed,
                _ => return,
            }
            record.version += 1;
        });
    }

    /// A write to a node is stored.
    pub fn on_node_stored(&mut self, verb: Verb, code: PodId, node: u32, now: Nanos) {
        match verb {
            Verb::DeleteNode => {
                self.nodes.remove(node);
                return;
            }
            Verb::CreateNode => {
                let mut status = Status::default();
                status.set_condition(READY, Truth::False);
                self.nodes.insert(node, status);
                return;
            }
            _ => {}
        }
        let own = self.nodes.playing.get(&node).is_some_and(|play| play.code == code);
        if own && self.take_played(Kind::Node, verb, node, now) {
            return;
        }
        self.nodes.edit(node, |record| {
            match NodePatch::decode(code).ready_of() {
                Some(Ready::True) => record.status.set_condition(READY, Truth::True),
                Some(Ready::False) => record.status.set_condition(READY, Truth::False),
                Some(Ready::Unknown) => record.status.set_condition(READY, Truth::Unknown),
                None => {}
            }
            record.version += 1;
        });
    }

    /// The patch that a worker waits for is stored.
    fn take_played(&mut self, kind: Kind, verb: Verb, id: u32, now: Nanos) -> bool {
        let set = Arc::clone(&self.set);
        let player = self.player(kind);
        let Some(play) = player.playing.get_mut(&id).filter(|play| play.verb == verb && !play.stored) else {
            return false;
        };
        let step =
            set.of(kind).get(play.stage as usize).and_then(|stage| stage.steps.get(play.step as usize));
        let Some(step) = step else { return false };
        let (stage, facts) = (play.stage, play.facts as usize);
        (play.stored, play.patched) = (true, !matches!(step, Step::Delete));
        player.edit(id, |record| {
            match step {
                Step::Patch(by_facts) => {
                    if let Some(patch) = of_facts(by_facts, facts) {
                        let changes = patch.changes(&record.status, record.last_patch, stage, now);
                        if record.watched.is_some() && !patch.has_others && !changes {
                            return;
                        }
                        record.status = patch.apply(&record.status);
                        record.last_patch = Some((stage, now / SECOND));
                    }
                }
                Step::Finalizers(change) => record.finalizers = change.apply(record.finalizers),
                // Finalizers hold it back.
                Step::Delete => {
                    record.deletion_ns = record.deletion_ns.min(now);
                    record.goes = true;
                }
                Step::Event => {}
            }
            record.version += 1;
        });
        true
    }

    /// An object is looked at: which stage comes next, and when.
    pub fn look(&mut self, world: &mut World<'_>, kind: Kind, id: u32) {
        let now = world.kernel.now();
        let Self { set, pods, nodes, rng, .. } = self;
        let player = match kind {
            Kind::Pod => pods,
            Kind::Node => nodes,
        };
        let Some(record) = player.records.get(&id) else { return };
        if record.looked_at == record.version {
            return;
        }
        let view = View {
            kind,
            id,
            status: &record.status,
            deletion_ns: record.deletion_ns,
            finalizers: record.finalizers,
            facts: set.fact(kind, id, world.cluster),
            cluster: world.cluster,
            run_ns: world.run_ns,
        };
        let next = set.choose(&view, rng).map(|stage| (stage, set.of(kind)[stage].delay_ns(&view, now, rng)));
        if let Some((stage, delay_ns)) = next {
            let waiting = Waiting { nth: 0, stage: stage as u32, step: 0, retries: 0 };
            player.wait_for(world.kernel, kind, id, waiting, now.saturating_add(delay_ns));
        }
        player.edit(id, |record| record.looked_at = record.version);
    }

    /// A delay is over; 0: an object is there from the beginning.
    pub fn on_timer(&mut self, world: &mut World<'_>, kind: Kind, id: u32, nth: u32) {
        if nth == 0 {
            self.look(world, kind, id);
            return;
        }
        let player = self.player(kind);
        let taken = player.edit(id, |record| record.waits.take_if(|waiting| waiting.nth == nth));
        let Some(waiting) = taken.flatten() else { return };
        player.due.push_back((id, waiting));
        self.pump(world, kind);
    }

    /// Workers that are free take what is due.
    fn pump(&mut self, world: &mut World<'_>, kind: Kind) {
        let workers = match kind {
            Kind::Pod => self.set.pod_workers,
            Kind::Node => self.set.node_workers,
        };
        while self.failure.is_none() {
            let player = self.player(kind);
            if player.playing.len() >= workers as usize {
                return;
            }
            let free = player.due.iter().position(|(id, _)| !player.playing.contains_key(id));
            let Some((id, waiting)) = free.and_then(|at| player.due.remove(at)) else { return };
            if player.records.contains_key(&id) {
                self.count_turn(world.kernel.now(), kind, id, waiting.stage);
                self.play(world, kind, id, waiting, false);
            }
        }
    }

    /// Counts turns at one instant.
    fn count_turn(&mut self, now: Nanos, kind: Kind, id: u32, stage: u32) {
        let player = self.player(kind);
        if let Some(played) = player.played.get_mut(stage as usize) {
            *played += 1;
        }
        let Some(record) = player.records.get_mut(&id) else { return };
        if record.turns.0 != now {
            record.turns = (now, 0);
        }
        record.turns.1 += 1;
        if record.turns.1 > MOST_TURNS {
            let name = self.set.of(kind).get(stage as usize).map_or("", |stage| &stage.name);
            self.failure = Some(format!(
                "stage `{name}` was played {MOST_TURNS} times at one instant: its own patch, or that of a stage before it, \
                 makes it match again without delay; give it a delay, or a selector that its patch ends"
            ));
        }
    }

    /// Plays the steps of a stage up to the next request; without one the worker is free again.
    fn play(&mut self, world: &mut World<'_>, kind: Kind, id: u32, from: Waiting, patched: bool) {
        let set = Arc::clone(&self.set);
        let now = world.kernel.now();
        let Some(stage) = set.of(kind).get(from.stage as usize) else { return };
        let facts = set.fact(kind, id, world.cluster);
        let patches = stage.steps.iter().filter(|step| matches!(step, Step::Patch(_))).count();
        if from.step == 0 && patches > 1 {
            self.player(kind).edit(id, |record| {
                let (status, last_patch) = (record.status.clone(), record.last_patch);
                record.watched = Some(Box::new(Watched { status, last_patch }));
            });
        }
        for (at, step) in stage.steps.iter().enumerate().skip(from.step as usize) {
            let deleted = stage.steps[..at].iter().any(|step| matches!(step, Step::Delete));
            let request = match step {
                Step::Event => {
                    self.events += 1;
                    if !world.control_plane.is_ideal() {
                        let verb = Verb::CreateEvent;
                        world.control_plane.submit(world.kernel, self.client, verb, PodId::MAX, NO_NODE);
                    }
                    None
                }
                Step::Delete | Step::Patch(_) | Step::Finalizers(_) if deleted => None,
                Step::Delete => Some(match kind {
                    Kind::Pod if self.pods.records.get(&id).is_some_and(|record| record.finalizers != 0) => {
                        (Verb::DeleteGracefully, id, NO_NODE)
                    }
                    Kind::Pod => (Verb::DeletePod, id, NO_NODE),
                    Kind::Node => (Verb::DeleteNode, 0, id),
                }),
                Step::Finalizers(change) => {
                    self.player(kind).records.get(&id).and_then(|record| {
                        let after = change.apply(record.finalizers);
                        // The patch that takes the last one off a deleted pod removes it.
                        let verb =
                            if after == 0 && record.goes { Verb::DeletePod } else { Verb::PatchCondition };
                        (after != record.finalizers).then_some((verb, id, NO_NODE))
                    })
                }
                Step::Patch(by_facts) => {
                    let record = self.player(kind).records.get(&id);
                    of_facts(by_facts, facts).zip(record).and_then(|(patch, record)| {
                        let after = patch.apply(&record.status);
                        let changes = match &record.watched {
                            Some(old) => patch.changes(&old.status, old.last_patch, from.stage, now),
                            None => patch.changes(&record.status, record.last_patch, from.stage, now),
                        };
                        changes.then(|| match kind {
                            Kind::Pod => (pod_verb(&record.status, &after), id, NO_NODE),
                            Kind::Node => (Verb::PatchNode, node_code(&record.status, patch), id),
                        })
                    })
                }
            };
            let Some((verb, pod, node)) = request else { continue };
            let play = Play {
                stage: from.stage,
                step: at as u32,
                retries: from.retries,
                verb,
                facts: facts as u32,
                code: if kind == Kind::Node { pod } else { 0 },
                patched,
                stored: false,
            };
            self.player(kind).playing.insert(id, play);
            world.control_plane.submit(world.kernel, self.client, verb, pod, node);
            return;
        }
        self.player(kind).edit(id, |record| record.watched = None);
        if patched && stage.immediate {
            self.look(world, kind, id);
        }
    }

    /// A request was answered; `refused`: for good.
    pub fn on_answered(&mut self, world: &mut World<'_>, kind: Kind, id: u32, ok: bool, refused: bool) {
        let Some(play) = self.player(kind).playing.remove(&id) else { return };
        if ok {
            let next = Waiting { nth: 0, stage: play.stage, step: play.step + 1, retries: play.retries };
            self.play(world, kind, id, next, play.patched);
        } else if !refused {
            self.try_again(world, kind, id, play);
        }
        self.pump(world, kind);
    }

    fn try_again(&mut self, world: &mut World<'_>, kind: Kind, id: u32, play: Play) {
        let wait_ns = (FIRST_BACKOFF_NS << play.retries.min(20)).min(LAST_BACKOFF_NS);
        // Up to a fifth more, in milliseconds.
        let more_ns = self.rng.below(wait_ns / 5 / MILLISECOND) * MILLISECOND;
        let waiting = Waiting { nth: 0, stage: play.stage, step: play.step, retries: play.retries + 1 };
        let at = world.kernel.now() + wait_ns + more_ns;
        self.player(kind).wait_for(world.kernel, kind, id, waiting, at);
    }
}

/// A patch for an object with such facts; one for all stands alone.
fn of_facts(by_facts: &[Patch], facts: usize) -> Option<&Patch> {
    by_facts.get(facts).or_else(|| by_facts.first())
}

/// What a status patch is to the rest of the cluster.
fn pod_verb(before: &Status, after: &Status) -> Verb {
    match after.phase {
        Phase::Succeeded if before.phase != Phase::Succeeded => Verb::PatchSucceeded,
        Phase::Failed if before.phase != Phase::Failed => Verb::PatchFailed,
        _ if after.runs() && !before.runs() => Verb::PatchRunning,
        _ if before.runs() && !after.runs() => Verb::PatchNotReady,
        _ => Verb::PatchCondition,
    }
}

/// What a patch of a node's status is to the rest of the cluster: its Ready condition, if it changes.
fn node_code(before: &Status, patch: &Patch) -> PodId {
    let ready = patch.conditions.iter().find(|(kind, _)| *kind == READY).map(|(_, truth)| *truth);
    let code = NodePatch::default();
    match ready.filter(|ready| before.condition(READY) != Some(*ready)) {
        Some(Truth::True) => code.ready(Ready::True),
        Some(Truth::False) => code.ready(Ready::False),
        Some(Truth::Unknown) => code.ready(Ready::Unknown),
        None => code,
    }
    .encode()
}

/// What stages did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StagesReport {
    /// How often each was played, by its name.
    pub pods: Vec<(String, u64)>,
    /// The same of nodes.
    pub nodes: Vec<(String, u64)>,
    /// Events sent.
    pub events: u64,
}

#[cfg(test)]
mod tests {
    use super::super::{Field, Operator, Requirement, Stage};
    use super::*;
    use crate::cluster::{App, PodSpec};
    use crate::control_plane::Outcome;
    use crate::control_plane::apf::FlowId;
    use crate::control_plane::token_bucket::TokenBucket;
    use crate::engine::Streams;

    fn phase_to(name: &str, from: &str, to: Phase) -> Stage {
        let requirement =
            Requirement { field: Field::Phase, operator: Operator::In, values: vec![from.to_owned()] };
        Stage {
            name: name.to_owned(),
            selector: Some(vec![requirement]),
            steps: vec![Step::Patch(vec![Patch { phase: Some(to), ..Patch::default() }])],
            immediate: true,
            ..Stage::default()
        }
    }

    /// Nothing takes time: neither requests nor the controller's own work.
    #[test]
    fn a_circle_at_one_instant_is_an_error() {
        let set = StageSet {
            pods: vec![
                phase_to("there", "Pending", Phase::Running),
                phase_to("back", "Running", Phase::Pending),
            ],
            pod_workers: 4,
            conditions: vec!["Ready".to_owned(), "PodScheduled".to_owned()],
            ..StageSet::default()
        };
        let mut cluster = Cluster::default();
        let app = cluster.pods.add_app(App::default());
        let spec = cluster.pods.add_spec(PodSpec::default());
        let pod = cluster.pods.add(spec, app);
        let (mut kernel, mut control_plane) = (Kernel::new(), ControlPlane::ideal());
        let transport = control_plane.add_transport(&mut kernel, None, u32::MAX);
        let bucket = TokenBucket::unlimited();
        let client =
            control_plane.add_client(&mut kernel, "kwok", None, transport, bucket, FlowId::default());
        let mut stages = Stages::new(Arc::new(set), client, Streams::new(1).stream("t"));
        stages.on_pod_stored(Verb::Bind, pod, 0);
        macro_rules! world {
            () => {
                &mut World {
                    kernel: &mut kernel,
                    control_plane: &mut control_plane,
                    cluster: &cluster,
                    run_ns: None,
                }
            };
        }
        stages.look(world!(), Kind::Pod, pod);
        let mut events = 0;
        while let Some(event) = kernel.next_event() {
            events += 1;
            assert!(events < 10_000 && kernel.now() == 0);
            match event {
                Event::Agent { what: AgentEvent::Stage { kind, nth }, .. } => {
                    stages.on_timer(world!(), kind, pod, nth);
                }
                Event::Request { id, what } => control_plane.on_request_event(&mut kernel, id, what),
                _ => {}
            }
            while let Some(outcome) = control_plane.next_outcome() {
                match outcome {
                    Outcome::Stored { verb, .. } => stages.on_pod_stored(verb, pod, 0),
                    Outcome::Answered { ok, .. } => stages.on_answered(world!(), Kind::Pod, pod, ok, false),
                    _ => {}
                }
            }
        }
        let failure = stages.failure().unwrap();
        assert!(failure.contains("stage `there` was played 1000 times at one instant"), "{failure}");
    }
}
