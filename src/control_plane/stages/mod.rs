//! KWOK's Stages: what becomes of bound pods and of nodes, one step after the other.
//!
//! A [`Stage`] has a selector over an object, a delay, and steps. When an object changes, the stages of its kind whose
//! selectors match it are looked up; of several one is drawn by weight; its delay is drawn; when that is over its steps are
//! played, each patch and deletion a request. What is stored makes the next stage match ([`player`]). Files are read by
//! `scenario::stages`, which knows what a template comes to; here it is a [`Patch`] a stage and set of annotations.
//!
//! **Matching.** All requirements must hold. `In` needs one of the values that the key yields to be listed, `NotIn` none, `Exists`
//! that the key yields something. A stage without a selector matches nothing.
//!
//! **Weights.** One that matches alone is taken whatever its weight. Of several each is drawn in proportion to its weight; if
//! all weights are 0 all are equally likely. A weight that an annotation gives and that is no number is no weight: such a stage
//! is not drawn as long as another has one.
//!
//! **Delays.** Without a jitter the delay is the duration. With one it is uniform from the duration up to the jitter; a jitter
//! that is not larger than the duration is the delay itself, so that a deadline cuts a duration short.
//!
//! Source: kubernetes-sigs/kwok `pkg/utils/lifecycle/{lifecycle,value_duration_from,value_int_from}.go`,
//! `pkg/utils/expression/{selector,query}.go`.
//!
//! Left out: CEL, values of fields that no pod here has (init containers, readiness gates: they are absent).
//!
//! Cost: O(stages x requirements) a change of an object.
pub mod player;

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::engine::{Nanos, Rng, SECOND};

pub use player::Stages;

/// Grace period of a deletion that names none (`terminationGracePeriodSeconds`).
pub const GRACE_PERIOD_NS: Nanos = 30 * SECOND;

/// What a stage is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// `v1` `Pod`.
    Pod,
    /// `v1` `Node`.
    Node,
}

/// `status.phase`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Phase {
    /// It has none.
    #[default]
    Unset,
    /// Pending.
    Pending,
    /// Running.
    Running,
    /// Succeeded (a pod's).
    Succeeded,
    /// Failed (a pod's).
    Failed,
    /// Terminated (a node's).
    Terminated,
}

impl Phase {
    /// Phases by name.
    pub const ALL: [(&'static str, Self); 5] = [
        ("Pending", Self::Pending),
        ("Running", Self::Running),
        ("Succeeded", Self::Succeeded),
        ("Failed", Self::Failed),
        ("Terminated", Self::Terminated),
    ];

    fn text(self) -> Option<&'static str> {
        Self::ALL.iter().find(|(_, phase)| *phase == self).map(|(text, _)| *text)
    }
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Truth {
    /// `True`.
    True,
    /// `False`.
    False,
    /// `Unknown`.
    Unknown,
}

impl Truth {
    /// Statuses by name.
    pub const ALL: [(&'static str, Self); 3] =
        [("True", Self::True), ("False", Self::False), ("Unknown", Self::Unknown)];

    const fn text(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// The state of a pod's containers; all are in one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ContainerState {
    /// Nothing is said of them.
    #[default]
    Unset,
    /// `state.waiting`.
    Waiting,
    /// `state.running`.
    Running,
    /// `state.terminated`.
    Terminated,
}

/// What `containerStatuses` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Containers {
    /// State.
    pub state: ContainerState,
    /// `ready`.
    pub ready: Option<bool>,
    /// `state.waiting.reason` or `state.terminated.reason`: index into [`StageSet::reasons`]; none: it is not known.
    pub reason: Option<u8>,
}

/// Status of an object as far as stages see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Status {
    /// Phase.
    pub phase: Phase,
    /// Conditions: index into [`StageSet::conditions`], status.
    pub conditions: Vec<(u8, Truth)>,
    /// Containers.
    pub containers: Containers,
    /// Has addresses (`podIP`, `hostIP`).
    pub has_address: bool,
    /// Has a `startTime`.
    pub has_start_time: bool,
}

impl Status {
    /// A condition's status.
    #[must_use]
    pub fn condition(&self, kind: u8) -> Option<Truth> {
        self.conditions.iter().find(|(k, _)| *k == kind).map(|(_, status)| *status)
    }

    /// Sets a condition.
    pub fn set_condition(&mut self, kind: u8, status: Truth) {
        match self.conditions.iter_mut().find(|(k, _)| *k == kind) {
            Some((_, old)) => *old = status,
            None => self.conditions.push((kind, status)),
        }
    }

    /// Whether a pod counts as running: its phase is Running, and nothing says that it is not ready.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.phase == Phase::Running && self.condition(READY) != Some(Truth::False)
    }
}

/// Index of the condition `Ready`.
pub const READY: u8 = 0;
/// Index of the condition `PodScheduled`.
pub const POD_SCHEDULED: u8 = 1;

/// What a template makes of a status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// `phase`.
    pub phase: Option<Phase>,
    /// `conditions`, merged by type.
    pub conditions: Vec<(u8, Truth)>,
    /// `containerStatuses`, which is replaced as a whole.
    pub containers: Option<Containers>,
    /// `podIP` or `hostIP`.
    pub has_address: bool,
    /// `startTime`.
    pub has_start_time: bool,
    /// It bears the time at which it is made, so that it differs from second to second.
    pub has_time: bool,
    /// It sets more than is known here.
    pub has_others: bool,
}

impl Patch {
    /// The status with it.
    #[must_use]
    pub fn apply(&self, status: &Status) -> Status {
        let mut status = status.clone();
        status.phase = self.phase.unwrap_or(status.phase);
        for (kind, truth) in &self.conditions {
            status.set_condition(*kind, *truth);
        }
        status.containers = self.containers.unwrap_or(status.containers);
        status.has_address |= self.has_address;
        status.has_start_time |= self.has_start_time;
        status
    }

    /// Whether it changes an object with such a status; `last` as in `differs`.
    fn changes(&self, status: &Status, last: Option<(u32, u64)>, stage: u32, now: Nanos) -> bool {
        self.apply(status) != *status || self.differs(last, stage, now)
    }

    /// Whether it changes something though the status stays as it is; `last`: the stage that patched the object last, and in
    /// which second.
    fn differs(&self, last: Option<(u32, u64)>, stage: u32, now: Nanos) -> bool {
        match last {
            Some((same, second)) if same == stage => self.has_time && second != now / SECOND,
            _ => self.has_time || self.has_others,
        }
    }
}

/// What a key of a selector reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// `.metadata.labels[..]`.
    Label(String),
    /// `.metadata.annotations[..]`.
    Annotation(String),
    /// The annotation that says how long the pod runs.
    RunTime,
    /// `.metadata.deletionTimestamp`.
    DeletionTimestamp,
    /// `.metadata.finalizers`.
    Finalizers,
    /// Something that no object here has.
    Absent,
    /// Something that every object has, and whose value is not known.
    Present,
    /// `.metadata.ownerReferences[].kind`.
    OwnerKind,
    /// `.metadata.namespace`.
    Namespace,
    /// `.spec.nodeName` of a pod, `.metadata.name` of a node.
    NodeName,
    /// `.status.phase`.
    Phase,
    /// `.status.podIP`, `.status.hostIP`.
    Address,
    /// `.status.startTime`.
    StartTime,
    /// `.status.conditions[]`: the status of one type.
    Condition(u8),
    /// `.status.conditions[].type`.
    ConditionTypes,
    /// `.status.containerStatuses[].state.STATE`.
    Containers(ContainerState),
    /// `.status.containerStatuses[].state.STATE.reason`.
    Reason(ContainerState),
    /// `.status.containerStatuses`.
    AnyContainers,
    /// `.status.containerStatuses[].ready`.
    ContainersReady,
}

/// How a key and values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// In.
    In,
    /// `NotIn`.
    NotIn,
    /// Exists.
    Exists,
    /// `DoesNotExist`.
    DoesNotExist,
}

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// What is read.
    pub field: Field,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub values: Vec<String>,
}

/// Where a duration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpanFrom {
    /// By [`Facts`]: what the annotation says.
    Annotation(Vec<SpanAnswer>),
    /// How long the pod is to run.
    RunTime,
    /// The time left until the deletion timestamp.
    DeletionTimestamp,
}

/// What an annotation says of a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanAnswer {
    /// It is not there, or is no duration: the number beside it counts.
    Default,
    /// It is empty: there is none.
    None,
    /// So long, ns; it may be negative.
    Span(i64),
}

/// A duration: a number, and an expression that goes before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// ns.
    pub number: Option<i64>,
    /// The expression.
    pub from: Option<SpanFrom>,
}

/// `delay`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delay {
    /// `durationMilliseconds`, `durationFrom`; the number is 0 if there is none.
    pub duration: Span,
    /// `jitterDurationMilliseconds`, `jitterDurationFrom`.
    pub jitter: Option<Span>,
}

/// A change of an object's finalizers; each is a bit, by its index in [`StageSet::finalizers`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Finalizers {
    /// All that are there go first.
    pub empty: bool,
    /// These go.
    pub remove: u64,
    /// These come.
    pub add: u64,
}

impl Finalizers {
    /// Those that are there afterwards.
    #[must_use]
    pub const fn apply(self, before: u64) -> u64 {
        let left = if self.empty { 0 } else { before & !self.remove };
        left | self.add
    }
}

/// What a stage does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An event.
    Event,
    /// Finalizers come and go.
    Finalizers(Finalizers),
    /// A patch, by [`Facts`].
    Patch(Vec<Patch>),
    /// A deletion.
    Delete,
}

/// A stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// Name.
    pub name: String,
    /// Requirements, all of which must hold; none: there is no selector, and nothing matches.
    pub selector: Option<Vec<Requirement>>,
    /// `weight`.
    pub weight: u64,
    /// `weightFrom` by [`Facts`]: `Err`: it is no number; `None`: `weight` counts.
    pub weight_from: Option<Vec<Option<Result<u64, ()>>>>,
    /// Delay.
    pub delay: Option<Delay>,
    /// Steps, one after the other.
    pub steps: Vec<Step>,
    /// Whether its answer is looked at before the watch shows it.
    pub immediate: bool,
}

/// What stages read of an object that does not change, and that many objects share.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Facts {
    /// Kind of the owner.
    pub owner: Option<&'static str>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// The stages of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageSet {
    /// For pods; empty: pods go on as without stages.
    pub pods: Vec<Stage>,
    /// For nodes; empty: nodes go on as without stages.
    pub nodes: Vec<Stage>,
    /// Types of conditions; the first two are `Ready` and `PodScheduled`.
    pub conditions: Vec<String>,
    /// Reasons of containers that templates give.
    pub reasons: Vec<String>,
    /// Finalizers, at most 64.
    pub finalizers: Vec<String>,
    /// Facts of pods; the first has none.
    pub facts: Vec<Facts>,
    /// By application: index of its pods' facts.
    pub fact_of_app: Vec<u32>,
    /// Workers for pods (`podPlayStageParallelism`).
    pub pod_workers: u32,
    /// Workers for nodes (`nodePlayStageParallelism`).
    pub node_workers: u32,
}

/// An object as a selector sees it.
pub(crate) struct View<'a> {
    kind: Kind,
    id: u32,
    status: &'a Status,
    /// Deletion timestamp, ns; `u64::MAX`: none.
    deletion_ns: Nanos,
    finalizers: u64,
    facts: usize,
    cluster: &'a Cluster,
    /// How long the pod is to run, ns.
    run_ns: Option<Nanos>,
}

impl StageSet {
    /// The stages of a kind.
    #[must_use]
    pub fn of(&self, kind: Kind) -> &[Stage] {
        match kind {
            Kind::Pod => &self.pods,
            Kind::Node => &self.nodes,
        }
    }

    /// Index of an object's facts; nodes have none.
    fn fact(&self, kind: Kind, id: u32, cluster: &Cluster) -> usize {
        match kind {
            Kind::Pod => {
                self.fact_of_app.get(cluster.pods.app_id(id) as usize).map_or(0, |fact| *fact as usize)
            }
            Kind::Node => 0,
        }
    }

    /// Whether a requirement holds.
    fn holds(&self, requirement: &Requirement, view: &View<'_>) -> bool {
        let facts = self.facts.get(view.facts);
        let containers = view.status.containers;
        // Whether the key yields something, and which text.
        let mut several = Vec::new();
        let (there, text): (bool, Option<&str>) = match &requirement.field {
            Field::Label(key) => {
                let label = match view.kind {
                    Kind::Pod => view.cluster.pods.spec(view.id).labels.get(key).map(String::as_str),
                    Kind::Node => view.cluster.nodes.label(view.id, key),
                };
                (label.is_some(), label)
            }
            Field::Annotation(key) => {
                let value = facts.and_then(|facts| facts.annotations.get(key)).map(String::as_str);
                (value.is_some(), value)
            }
            Field::RunTime => (view.run_ns.is_some(), None),
            Field::DeletionTimestamp => (view.deletion_ns != Nanos::MAX, None),
            Field::Finalizers => {
                let names = self.finalizers.iter().enumerate();
                several
                    .extend(names.filter(|(at, _)| view.finalizers >> at & 1 == 1).map(|(_, n)| n.as_str()));
                (!several.is_empty(), None)
            }
            Field::Absent => (false, None),
            Field::Present => (true, None),
            Field::OwnerKind => {
                let owner = facts.and_then(|facts| facts.owner);
                (owner.is_some(), owner)
            }
            Field::Namespace => (true, Some(view.cluster.pods.spec(view.id).namespace())),
            Field::NodeName => {
                let node = match view.kind {
                    Kind::Pod => view.cluster.pods.node(view.id),
                    Kind::Node => view.id,
                };
                let known = (node as usize) < view.cluster.nodes.len();
                (known, known.then(|| view.cluster.nodes.get(node).name.as_str()))
            }
            Field::Phase => (view.status.phase != Phase::Unset, view.status.phase.text()),
            Field::Address => (view.status.has_address, None),
            Field::StartTime => (view.status.has_start_time, None),
            Field::Condition(kind) => {
                let status = view.status.condition(*kind);
                (status.is_some(), status.map(Truth::text))
            }
            Field::ConditionTypes => {
                several.extend(
                    view.status.conditions.iter().map(|(k, _)| self.conditions[*k as usize].as_str()),
                );
                (!several.is_empty(), None)
            }
            Field::Containers(state) => (containers.state == *state, None),
            Field::Reason(state) if containers.state != *state => (false, None),
            Field::Reason(_) => {
                let reason = containers.reason.and_then(|at| self.reasons.get(at as usize));
                (true, reason.map(String::as_str))
            }
            Field::AnyContainers => (containers != Containers::default(), None),
            Field::ContainersReady => {
                (containers.ready.is_some(), containers.ready.map(|r| if r { "true" } else { "false" }))
            }
        };
        let listed = || {
            let mut all = text.into_iter().chain(several.iter().copied());
            all.any(|text| requirement.values.iter().any(|value| value == text))
        };
        match requirement.operator {
            Operator::Exists => there,
            Operator::DoesNotExist => !there,
            Operator::In => listed(),
            Operator::NotIn => !listed(),
        }
    }

    fn matches(&self, stage: &Stage, view: &View<'_>) -> bool {
        stage.selector.as_ref().is_some_and(|all| all.iter().all(|one| self.holds(one, view)))
    }

    /// The stage that an object comes to.
    pub(crate) fn choose(&self, view: &View<'_>, rng: &mut Rng) -> Option<usize> {
        let stages = self.of(view.kind);
        let matching: Vec<usize> = (0..stages.len()).filter(|at| self.matches(&stages[*at], view)).collect();
        let weight = |at: &usize| stages[*at].weight(view.facts);
        match &matching[..] {
            [] => None,
            [one] => Some(*one),
            _ => Some(draw(&matching, weight, rng)),
        }
    }
}

/// One of several, by weight; `None`: it has none.
fn draw(among: &[usize], weight: impl Fn(&usize) -> Option<u64>, rng: &mut Rng) -> usize {
    let total: u64 = among.iter().filter_map(&weight).fold(0, u64::saturating_add);
    if total == 0 {
        let with: Vec<usize> = among.iter().filter(|at| weight(at).is_some()).copied().collect();
        let among = if with.is_empty() { among } else { &with };
        return among[rng.below(among.len() as u64) as usize];
    }
    let mut off = rng.below(total);
    for at in among {
        let weight = weight(at).unwrap_or(0);
        if off < weight {
            return *at;
        }
        off -= weight;
    }
    among[among.len() - 1]
}

impl Span {
    /// ns, if there is a duration.
    fn get(&self, view: &View<'_>, now: Nanos) -> Option<i64> {
        let signed = |ns: Nanos| i64::try_from(ns).unwrap_or(i64::MAX);
        match &self.from {
            None => self.number,
            Some(SpanFrom::Annotation(by_facts)) => {
                match by_facts.get(view.facts).copied().unwrap_or(SpanAnswer::Default) {
                    SpanAnswer::Default => self.number,
                    SpanAnswer::None => None,
                    SpanAnswer::Span(ns) => Some(ns),
                }
            }
            Some(SpanFrom::RunTime) => view.run_ns.map(signed).or(self.number),
            Some(SpanFrom::DeletionTimestamp) if view.deletion_ns == Nanos::MAX => self.number,
            // A timestamp has whole seconds.
            Some(SpanFrom::DeletionTimestamp) => {
                Some(signed(view.deletion_ns / SECOND * SECOND).saturating_sub(signed(now)))
            }
        }
    }
}

impl Stage {
    /// Its weight.
    fn weight(&self, facts: usize) -> Option<u64> {
        match self.weight_from.as_ref().and_then(|by_facts| by_facts.get(facts).copied().flatten()) {
            None => Some(self.weight),
            Some(weight) => weight.ok(),
        }
    }

    /// How long it waits, ns.
    pub(crate) fn delay_ns(&self, view: &View<'_>, now: Nanos, rng: &mut Rng) -> Nanos {
        let positive = |ns: i64| u64::try_from(ns).unwrap_or(0);
        let Some(delay) = &self.delay else { return 0 };
        let Some(duration) = delay.duration.get(view, now) else { return 0 };
        match delay.jitter.as_ref().and_then(|jitter| jitter.get(view, now)) {
            None => positive(duration),
            Some(jitter) if jitter <= duration => positive(jitter),
            Some(jitter) => {
                let more = rng.below(jitter.abs_diff(duration));
                positive(duration.saturating_add(i64::try_from(more).unwrap_or(i64::MAX)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Streams;

    fn counts(weights: &[Option<u64>], draws: usize) -> Vec<usize> {
        let mut rng = Streams::new(3).stream("t");
        let among: Vec<usize> = (0..weights.len()).collect();
        let mut counts = vec![0; weights.len()];
        for _ in 0..draws {
            counts[draw(&among, |at| weights[*at], &mut rng)] += 1;
        }
        counts
    }

    /// `Lifecycle.Match`: in proportion to the weights; evenly if all are 0; not at all without a weight beside one that has.
    #[test]
    fn one_of_several_is_drawn_by_weight() {
        let drawn = counts(&[Some(1), Some(3), Some(0)], 8000);
        assert!((1850..2150).contains(&drawn[0]) && drawn[2] == 0, "{drawn:?}");
        let drawn = counts(&[Some(0), Some(0)], 4000);
        assert!((1850..2150).contains(&drawn[0]), "{drawn:?}");
        assert_eq!(counts(&[None, Some(0)], 100), [0, 100]);
        let drawn = counts(&[None, None], 4000);
        assert!((1850..2150).contains(&drawn[0]), "{drawn:?}");
        assert_eq!(counts(&[None, Some(2)], 100), [0, 100]);
    }

    fn delay(duration: i64, jitter: Option<i64>) -> Vec<Nanos> {
        let number = |ns| Span { number: Some(ns), from: None };
        let stage = Stage {
            delay: Some(Delay { duration: number(duration), jitter: jitter.map(number) }),
            ..Stage::default()
        };
        let (status, cluster) = (Status::default(), Cluster::default());
        let view = View {
            kind: Kind::Pod,
            id: 0,
            status: &status,
            deletion_ns: Nanos::MAX,
            finalizers: 0,
            facts: 0,
            cluster: &cluster,
            run_ns: None,
        };
        let mut rng = Streams::new(3).stream("t");
        (0..1000).map(|_| stage.delay_ns(&view, 0, &mut rng)).collect()
    }

    /// `finalizersModify`.
    #[test]
    fn finalizers_go_before_others_come() {
        let change = |empty, remove, add| Finalizers { empty, remove, add };
        assert_eq!(change(false, 0, 0b10).apply(0b01), 0b11);
        assert_eq!(change(false, 0b01, 0).apply(0b11), 0b10);
        assert_eq!(change(true, 0, 0b10).apply(0b101), 0b10);
        assert_eq!(change(false, 0b11, 0b01).apply(0b11), 0b01);
        assert_eq!(change(true, 0, 0).apply(0), 0);
    }

    /// `Stage.Delay`: uniform from the duration to a larger jitter; a jitter that is not larger is the delay.
    #[test]
    fn delays_are_those_of_kwok() {
        assert!(delay(7, None).iter().all(|ns| *ns == 7));
        assert!(delay(7, Some(7)).iter().all(|ns| *ns == 7));
        assert!(delay(7, Some(3)).iter().all(|ns| *ns == 3), "a smaller jitter goes before the duration");
        assert!(delay(7, Some(-3)).iter().all(|ns| *ns == 0), "a deadline that has passed");
        let spread = delay(1000, Some(5000));
        assert!(spread.iter().all(|ns| (1000..5000).contains(ns)));
        let mean = spread.iter().sum::<Nanos>() / 1000;
        assert!((2900..3100).contains(&mean), "{mean}");
    }
}
