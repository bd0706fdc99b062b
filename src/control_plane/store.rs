//! What the API server stores of objects beyond a pod's columns, and which writes it refuses.
//!
//! A run in which nothing but the scheduler and the load client writes needs none of this: every write is possible. It
//! is there ([`ControlPlane::store`](super::ControlPlane::store)) where nodes fail, controllers replace pods or requests
//! are lost, because then two writers may want different things:
//!
//! - a **pod** is created once, bound once and only while nobody has deleted it (`assignPod` of the binding's REST answers
//!   409), ends in one phase and is gone once; what comes later is answered 404 or 409. `DELETE` with a grace period marks
//!   a pod that runs and removes at once one that was never bound or has ended (`CheckGracefulDelete` of the pod strategy);
//! - a **node** bears a template of its own (labels, taints, capacity) and what the control plane adds to it: cordoned,
//!   the Ready condition, the taints that follow from both. [`NodePatch`] is the content of a write to a node; what it
//!   changes is known when the write is stored, not when it is sent.
//!
//! Source: k/k `pkg/registry/core/pod/{strategy.go,storage/storage.go}`, `pkg/registry/core/node`.
//!
//! An **eviction** is a deletion that asks a budget first ([`evictions`](super::evictions)).
//!
//! Left out: versions of objects (a write never fails because somebody else wrote in between, except as said), finalizers.
//!
//! Cost: O(1) a write, O(pods on the node) for a pod that leaves one; 6 bytes a pod, plus 4 while it is on a node.
use crate::cluster::{Cluster, NodeId, NodeTemplate, PodId, Stage, Taint, TaintEffect};

use super::Verb;
use super::evictions::{BudgetOf, Evictions, Verdict};
use super::quotas::Quotas;

/// No controller owns the pod.
pub const NO_OWNER: u32 = u32::MAX;

/// Taint of a node whose Ready condition is `False`.
pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// Taint of a node whose Ready condition is `Unknown`.
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Taint of a cordoned node.
pub const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Taint of a node that cluster-autoscaler removes.
pub const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";
/// Taint of a node that cluster-autoscaler does not need.
pub const DELETION_CANDIDATE: &str = "DeletionCandidateOfClusterAutoscaler";
/// Taint of a node that Karpenter disrupts.
pub const DISRUPTED: &str = "karpenter.sh/disrupted";

const EXISTS: u16 = 1;
const BOUND: u16 = 1 << 1;
const TERMINATING: u16 = 1 << 2;
/// Phase Succeeded or Failed.
const ENDED: u16 = 1 << 3;
const GONE: u16 = 1 << 4;
const RUNNING: u16 = 1 << 5;
/// It ended by itself, or whoever made it took it away: nobody replaces it.
const ON_PURPOSE: u16 = 1 << 6;
/// Its owner knows that it is lost.
const NOTICED: u16 = 1 << 7;
/// Its node's agent has let it in.
const ADMITTED: u16 = 1 << 8;
/// Its containers have started once: its phase is not Pending.
const STARTED: u16 = 1 << 9;
/// Its ReplicaSet was scaled down, and another's pod comes in its place.
const SCALED_DOWN: u16 = 1 << 10;

/// Why a write was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Refusal {
    /// 409: there is such an object, or it is not in the state that the write needs.
    Conflict,
    /// 404: there is no such object, or no longer.
    NotFound,
    /// 403: it would exceed a quota.
    Quota,
    /// 429 of an eviction: its budget allows no disruption now.
    Disruption,
    /// 500 of an eviction: more than one budget selects the pod.
    Budgets,
}

/// A node's Ready condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Ready {
    /// The kubelet says so.
    #[default]
    True,
    /// The kubelet says that it is not.
    False,
    /// The kubelet has not been heard of.
    Unknown,
}

/// What the control plane has put on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodeMarks {
    /// `spec.unschedulable`, besides the template's own.
    pub cordoned: bool,
    /// Taint `unschedulable:NoSchedule`.
    pub taint_unschedulable: bool,
    /// Taint `not-ready:NoSchedule`.
    pub not_ready_no_schedule: bool,
    /// Taint `not-ready:NoExecute`.
    pub not_ready_no_execute: bool,
    /// Taint `unreachable:NoSchedule`.
    pub unreachable_no_schedule: bool,
    /// Taint `unreachable:NoExecute`.
    pub unreachable_no_execute: bool,
    /// Taint of a node that cluster-autoscaler removes.
    pub to_be_deleted: bool,
    /// Soft taint of a node that cluster-autoscaler does not need.
    pub deletion_candidate: bool,
    /// Taint of a node that Karpenter disrupts.
    pub disrupted: bool,
}

/// One thing that can be set or cleared on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mark {
    /// `spec.unschedulable`.
    Cordoned,
    /// Taint `unschedulable:NoSchedule`.
    TaintUnschedulable,
    /// Taint `not-ready:NoSchedule`.
    NotReadyNoSchedule,
    /// Taint `not-ready:NoExecute`.
    NotReadyNoExecute,
    /// Taint `unreachable:NoSchedule`.
    UnreachableNoSchedule,
    /// Taint `unreachable:NoExecute`.
    UnreachableNoExecute,
    /// Taint `ToBeDeletedByClusterAutoscaler:NoSchedule`.
    ToBeDeleted,
    /// Taint `DeletionCandidateOfClusterAutoscaler:PreferNoSchedule`.
    DeletionCandidate,
    /// Taint `karpenter.sh/disrupted:NoSchedule`.
    Disrupted,
}

impl NodeMarks {
    const fn slot(&mut self, mark: Mark) -> &mut bool {
        match mark {
            Mark::Cordoned => &mut self.cordoned,
            Mark::TaintUnschedulable => &mut self.taint_unschedulable,
            Mark::NotReadyNoSchedule => &mut self.not_ready_no_schedule,
            Mark::NotReadyNoExecute => &mut self.not_ready_no_execute,
            Mark::UnreachableNoSchedule => &mut self.unreachable_no_schedule,
            Mark::UnreachableNoExecute => &mut self.unreachable_no_execute,
            Mark::ToBeDeleted => &mut self.to_be_deleted,
            Mark::DeletionCandidate => &mut self.deletion_candidate,
            Mark::Disrupted => &mut self.disrupted,
        }
    }

    /// Whether a mark is there.
    #[must_use]
    pub const fn has(mut self, mark: Mark) -> bool {
        *self.slot(mark)
    }
}

const MARKS: [Mark; 9] = [
    Mark::Cordoned,
    Mark::TaintUnschedulable,
    Mark::NotReadyNoSchedule,
    Mark::NotReadyNoExecute,
    Mark::UnreachableNoSchedule,
    Mark::UnreachableNoExecute,
    Mark::ToBeDeleted,
    Mark::DeletionCandidate,
    Mark::Disrupted,
];

/// Where a [`NodePatch`] has the marks that it clears, and the Ready condition.
const CLEARED: u32 = 12;
const READY: u32 = 24;

/// The content of a write to a node; it travels in the request's `pod`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodePatch(u32);

impl NodePatch {
    /// Sets a mark.
    #[must_use]
    pub const fn set(self, mark: Mark) -> Self {
        Self((self.0 | 1 << mark as u32) & !(1 << (CLEARED + mark as u32)))
    }

    /// Clears a mark.
    #[must_use]
    pub const fn clear(self, mark: Mark) -> Self {
        Self((self.0 | 1 << (CLEARED + mark as u32)) & !(1 << mark as u32))
    }

    /// Sets the Ready condition.
    #[must_use]
    pub const fn ready(self, ready: Ready) -> Self {
        Self(self.0 & !(3 << READY) | (1 + ready as u32) << READY)
    }

    /// As a request's field.
    #[must_use]
    pub const fn encode(self) -> PodId {
        self.0
    }

    /// From a request's field.
    #[must_use]
    pub const fn decode(code: PodId) -> Self {
        Self(code)
    }

    /// Whether it sets a mark.
    #[must_use]
    pub const fn sets(self, mark: Mark) -> bool {
        self.0 & 1 << mark as u32 != 0
    }

    /// The Ready condition that it sets.
    #[must_use]
    pub const fn ready_of(self) -> Option<Ready> {
        match self.0 >> READY & 3 {
            1 => Some(Ready::True),
            2 => Some(Ready::False),
            3 => Some(Ready::Unknown),
            _ => None,
        }
    }
}

/// A node as the API server stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodeRecord {
    /// Template of its own, without marks.
    pub base: u32,
    /// What the control plane has put on it.
    pub marks: NodeMarks,
    /// Ready condition.
    pub ready: Ready,
    /// It is stored.
    pub present: bool,
}

/// Pods and nodes as the API server stores them.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Store {
    /// Agents on the nodes hold pods back until their containers have ended.
    agents: bool,
    pods: Vec<u16>,
    owner: Vec<u32>,
    on_node: Vec<Vec<PodId>>,
    nodes: Vec<NodeRecord>,
    /// Only where nodes are drained.
    evictions: Option<Box<Evictions>>,
    /// Only where namespaces have quotas.
    quotas: Option<Box<Quotas>>,
}

impl Store {
    /// The store as the run begins: nodes as they are, pods that run already on them.
    #[must_use]
    pub fn new(cluster: &Cluster, agents: bool) -> Self {
        let mut store = Self { agents, ..Self::default() };
        for node in 0..cluster.nodes.len() as NodeId {
            store.add_node(cluster.nodes.get(node).template);
            store.nodes[node as usize].present = cluster.nodes.get(node).present;
        }
        for pod in 0..cluster.pods.len() as PodId {
            if cluster.pods.stage(pod) == Stage::Running {
                *store.slot(pod) = EXISTS | BOUND | RUNNING | STARTED;
                store.on_node[cluster.pods.node(pod) as usize].push(pod);
            }
        }
        store
    }

    fn slot(&mut self, pod: PodId) -> &mut u16 {
        let at = pod as usize;
        if self.pods.len() <= at {
            self.pods.resize(at + 1, 0);
        }
        &mut self.pods[at]
    }

    fn flags(&self, pod: PodId) -> u16 {
        self.pods.get(pod as usize).copied().unwrap_or(0)
    }

    /// Room for a node's record; its id is the next one. It is stored when it is created.
    pub fn add_node(&mut self, base: u32) {
        let marks = NodeMarks::default();
        self.nodes.push(NodeRecord { base, marks, ready: Ready::True, present: false });
        self.on_node.push(Vec::new());
    }

    /// A pod is there without a request: it was before the run began.
    pub fn exists_from_the_beginning(&mut self, pod: PodId) {
        let before = self.health(pod);
        *self.slot(pod) |= EXISTS;
        self.note_health(pod, before, false);
        if let Some(quotas) = &mut self.quotas {
            quotas.changed(pod, true);
        }
    }

    /// From now on pods are evicted, and budgets are asked. Owners are known; those from `first_job` on have no size that the
    /// disruption controller could read.
    pub fn keep_budgets(&mut self, cluster: &Cluster, first_job: u32) {
        self.evictions = Some(Box::new(Evictions::new(cluster)));
        for pod in 0..cluster.pods.first_placeholder() {
            self.know(cluster, pod, self.owner(pod) < first_job);
        }
    }

    /// From now on creations are charged to quotas.
    pub fn keep_quotas(&mut self, cluster: &Cluster) {
        let mut quotas = Quotas::new(cluster);
        for pod in 0..cluster.pods.first_placeholder() {
            quotas.know(cluster, pod);
            if self.counts_in_quota(pod) {
                quotas.changed(pod, true);
            }
        }
        self.quotas = Some(Box::new(quotas));
    }

    /// The quotas, if there are any.
    #[must_use]
    pub fn quotas(&self) -> Option<&Quotas> {
        self.quotas.as_deref()
    }

    /// A creation was answered 403.
    pub fn note_refusal(&mut self) {
        if let Some(quotas) = &mut self.quotas {
            quotas.note_refusal();
        }
    }

    fn counts_in_quota(&self, pod: PodId) -> bool {
        self.exists(pod) && !self.is_over(pod)
    }

    /// A pod that was made later is known to budgets and quotas; `scales`: it is one more than its controller had.
    pub fn know(&mut self, cluster: &Cluster, pod: PodId, scales: bool) {
        let after = self.health(pod);
        if let Some(quotas) = &mut self.quotas {
            quotas.know(cluster, pod);
        }
        if let Some(evictions) = &mut self.evictions {
            evictions.know(cluster, pod, scales);
            evictions.changed(pod, (false, false), after);
        }
    }

    /// The controller that owns a pod is to have so many pods, and not as many as before.
    pub fn resize(&mut self, pod: PodId, before: u32, after: u32) {
        if let Some(evictions) = &mut self.evictions {
            evictions.resized(pod, before, after);
        }
    }

    /// Whether a pod is stored, and whether it is healthy for a budget.
    fn health(&self, pod: PodId) -> (bool, bool) {
        (self.exists(pod), self.is_ready(pod))
    }

    fn note_health(&mut self, pod: PodId, before: (bool, bool), was_over: bool) {
        let after = self.health(pod);
        let for_good = !was_over && self.is_over(pod) && self.is_wanted_away(pod);
        let scales_down = for_good && self.owner(pod) != NO_OWNER && self.flags(pod) & SCALED_DOWN == 0;
        if let Some(evictions) = &mut self.evictions {
            evictions.changed(pod, before, after);
            if scales_down {
                evictions.scaled_down(pod);
            }
        }
    }

    /// Disruptions that each budget allows now, by its index.
    #[must_use]
    pub fn disruptions_allowed(&self) -> Vec<u64> {
        self.evictions.as_ref().map_or_else(Vec::new, |evictions| evictions.allowed())
    }

    /// The budget that is asked about a pod.
    #[must_use]
    pub fn budget_of(&self, pod: PodId) -> BudgetOf {
        self.evictions.as_ref().map_or(BudgetOf::None, |evictions| evictions.budget_of(pod))
    }

    /// Whether an eviction is refused.
    fn refuses_eviction(&self, pod: PodId) -> Option<Refusal> {
        let flags = self.flags(pod);
        if flags & (TERMINATING | ENDED) != 0 || flags & STARTED == 0 {
            return None;
        }
        match self.evictions.as_ref()?.ask(pod, self.is_ready(pod)) {
            Verdict::Granted => None,
            Verdict::NotNow => Some(Refusal::Disruption),
            Verdict::Several => Some(Refusal::Budgets),
        }
    }

    /// Who replaces the pod when it is lost; [`NO_OWNER`]: nobody.
    #[must_use]
    pub fn owner(&self, pod: PodId) -> u32 {
        self.owner.get(pod as usize).copied().unwrap_or(NO_OWNER)
    }

    /// Notes a pod's owner.
    pub fn set_owner(&mut self, pod: PodId, owner: u32) {
        let at = pod as usize;
        if self.owner.len() <= at {
            self.owner.resize(at + 1, NO_OWNER);
        }
        self.owner[at] = owner;
    }

    /// Whether the pod is stored.
    #[must_use]
    pub fn exists(&self, pod: PodId) -> bool {
        self.flags(pod) & (EXISTS | GONE) == EXISTS
    }

    /// Pods that are stored.
    #[must_use]
    pub fn pods_stored(&self) -> usize {
        self.pods.iter().filter(|flags| **flags & (EXISTS | GONE) == EXISTS).count()
    }

    /// Whether it has a deletion timestamp and is still there.
    #[must_use]
    pub fn is_terminating(&self, pod: PodId) -> bool {
        self.flags(pod) & (TERMINATING | GONE) == TERMINATING
    }

    /// Whether it is bound and still there.
    #[must_use]
    pub fn is_bound(&self, pod: PodId) -> bool {
        self.flags(pod) & (BOUND | GONE) == BOUND
    }

    /// Whether it counts as active for its controller: stored, not ended, not being deleted.
    #[must_use]
    pub fn is_active(&self, pod: PodId) -> bool {
        self.flags(pod) & (EXISTS | TERMINATING | ENDED | GONE) == EXISTS
    }

    /// Whether it is active and its status says Running and Ready.
    #[must_use]
    pub fn is_ready(&self, pod: PodId) -> bool {
        self.flags(pod) & (EXISTS | TERMINATING | ENDED | GONE | RUNNING) == EXISTS | RUNNING
    }

    /// Whether its phase is Succeeded or Failed, or it is gone.
    #[must_use]
    pub fn is_over(&self, pod: PodId) -> bool {
        self.flags(pod) & (ENDED | GONE) != 0
    }

    /// Whether it is gone for good.
    #[must_use]
    pub fn is_gone(&self, pod: PodId) -> bool {
        self.flags(pod) & GONE != 0
    }

    /// Pods bound to a node that are neither ended nor gone, in no particular but a reproducible order.
    #[must_use]
    pub fn pods_on(&self, node: NodeId) -> &[PodId] {
        &self.on_node[node as usize]
    }

    /// A node's record.
    #[must_use]
    pub fn node(&self, node: NodeId) -> &NodeRecord {
        &self.nodes[node as usize]
    }

    /// Whether a write would be refused as things stand; the answer that counts is [`take`](Self::take)'s.
    #[must_use]
    pub fn refuses(&self, verb: Verb, pod: PodId, node: NodeId) -> Option<Refusal> {
        match verb {
            Verb::CreateEvent | Verb::List | Verb::PutObject => return None,
            Verb::CreateNode => return self.node(node).present.then_some(Refusal::Conflict),
            Verb::PatchNode | Verb::DeleteNode => {
                return (!self.node(node).present).then_some(Refusal::NotFound);
            }
            _ => {}
        }
        let flags = self.flags(pod);
        let exists = flags & (EXISTS | GONE) == EXISTS;
        match verb {
            Verb::CreatePod if flags & EXISTS != 0 => Some(Refusal::Conflict),
            Verb::CreatePod => self.quotas.as_ref().filter(|q| q.refuse(pod)).map(|_| Refusal::Quota),
            _ if !exists => Some(Refusal::NotFound),
            Verb::Bind if flags & (BOUND | TERMINATING | ENDED) != 0 => Some(Refusal::Conflict),
            Verb::PatchRunning | Verb::PatchSucceeded | Verb::PatchFailed if flags & ENDED != 0 => {
                Some(Refusal::Conflict)
            }
            Verb::Evict => self.refuses_eviction(pod),
            _ => None,
        }
    }

    /// Takes a write, or refuses it: what it came to. A deletion may remove the pod at once, or only mark it.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn take(&mut self, verb: Verb, pod: PodId, node: NodeId) -> Result<Verb, Refusal> {
        if let Some(refusal) = self.refuses(verb, pod, node) {
            return Err(refusal);
        }
        let counted = self.quotas.is_some() && self.counts_in_quota(pod);
        let taken = match verb {
            Verb::DeleteGracefully | Verb::Evict => {
                let flags = self.flags(pod);
                let held = self.agents && flags & BOUND != 0 && flags & ENDED == 0;
                if held { Verb::DeleteGracefully } else { Verb::DeletePod }
            }
            verb => verb,
        };
        let before = self.evictions.is_some().then(|| (self.health(pod), self.is_over(pod)));
        match taken {
            Verb::CreatePod => *self.slot(pod) |= EXISTS,
            Verb::Bind => {
                *self.slot(pod) |= BOUND;
                self.on_node[node as usize].push(pod);
            }
            Verb::PatchRunning => *self.slot(pod) |= RUNNING | STARTED,
            Verb::PatchNotReady => *self.slot(pod) &= !RUNNING,
            Verb::PatchSucceeded => *self.slot(pod) |= ENDED | ON_PURPOSE,
            Verb::PatchFailed => *self.slot(pod) |= ENDED,
            Verb::DeletePod => *self.slot(pod) |= GONE,
            Verb::DeleteGracefully => *self.slot(pod) |= TERMINATING,
            Verb::CreateNode => self.nodes[node as usize].present = true,
            Verb::DeleteNode => self.nodes[node as usize].present = false,
            _ => {}
        }
        if let Some((before, was_over)) = before {
            self.note_health(pod, before, was_over);
        }
        if self.quotas.is_some() {
            let counts = self.counts_in_quota(pod);
            if let Some(quotas) = self.quotas.as_mut().filter(|_| counts != counted) {
                quotas.changed(pod, counts);
            }
        }
        Ok(taken)
    }

    /// A pod that was bound to a node has ended or is gone.
    pub fn leave_node(&mut self, pod: PodId, node: NodeId) {
        let pods = &mut self.on_node[node as usize];
        if let Some(at) = pods.iter().position(|p| *p == pod) {
            pods.swap_remove(at);
        }
    }

    /// Whoever made the pod takes it away: it need not be replaced.
    pub fn leaves_on_purpose(&mut self, pod: PodId) {
        *self.slot(pod) |= ON_PURPOSE;
    }

    /// The pod's ReplicaSet is scaled down, its Deployment is not: it need not be replaced, and counts on for budgets.
    pub fn is_scaled_down(&mut self, pod: PodId) {
        *self.slot(pod) |= ON_PURPOSE | SCALED_DOWN;
    }

    /// Whether it went because its ReplicaSet was scaled down.
    #[must_use]
    pub fn was_scaled_down(&self, pod: PodId) -> bool {
        self.flags(pod) & SCALED_DOWN != 0
    }

    /// Whether it ended by itself, or was taken away by whoever made it.
    #[must_use]
    pub fn is_wanted_away(&self, pod: PodId) -> bool {
        self.flags(pod) & ON_PURPOSE != 0
    }

    /// Its owner looks at a pod: whether it is lost, and the owner did not know.
    pub fn notice_loss(&mut self, pod: PodId) -> bool {
        let flags = self.slot(pod);
        let lost = *flags & (TERMINATING | ENDED | GONE) != 0 && *flags & (ON_PURPOSE | NOTICED) == 0;
        if lost {
            *flags |= NOTICED;
        }
        lost
    }

    /// The node's agent looks at a pod that was bound to it: whether there is room beside those that it has let in.
    pub fn admit(&mut self, cluster: &Cluster, pod: PodId, node: NodeId) -> bool {
        let allocatable = &cluster.nodes.template(node).allocatable;
        let mine = &cluster.pods.spec(pod).requests;
        let (mut cpu, mut memory, mut pods) = (mine.cpu_millicores, mine.memory_bytes, 1);
        let mut extended = mine.extended.clone();
        for other in &self.on_node[node as usize] {
            if *other == pod || self.flags(*other) & ADMITTED == 0 {
                continue;
            }
            let theirs = &cluster.pods.spec(*other).requests;
            cpu += theirs.cpu_millicores;
            memory += theirs.memory_bytes;
            pods += 1;
            for (id, amount) in &mut extended {
                *amount += theirs.extended(*id);
            }
        }
        let short = |asked: u64, used: u64, most: u64| asked > 0 && used > most;
        let fits = pods <= allocatable.pods
            && !short(mine.cpu_millicores, cpu, allocatable.cpu_millicores)
            && !short(mine.memory_bytes, memory, allocatable.memory_bytes)
            && extended.iter().all(|(id, used)| *used <= allocatable.extended(*id));
        if fits {
            *self.slot(pod) |= ADMITTED;
        }
        fits
    }

    /// Takes a write to a node; the node's template follows.
    pub fn patch_node(&mut self, cluster: &mut Cluster, node: NodeId, patch: NodePatch) {
        let record = &mut self.nodes[node as usize];
        for mark in MARKS {
            let slot = record.marks.slot(mark);
            if patch.0 & 1 << mark as u32 != 0 {
                *slot = true;
            } else if patch.0 & 1 << (CLEARED + mark as u32) != 0 {
                *slot = false;
            }
        }
        if let Some(ready) = patch.ready_of() {
            record.ready = ready;
        }
        let template = Self::template(cluster, *record);
        cluster.nodes.set_template(node, template);
    }

    /// The template of a node with its marks.
    fn template(cluster: &mut Cluster, record: NodeRecord) -> u32 {
        let marks = record.marks;
        if marks == NodeMarks::default() {
            return record.base;
        }
        let mut template: NodeTemplate = cluster.nodes.template_by_id(record.base).clone();
        template.unschedulable |= marks.cordoned;
        let mut taint = |there: bool, key: &str, effect: TaintEffect| {
            let same = |t: &Taint| t.key == key && t.effect == effect;
            if there && !template.taints.iter().any(same) {
                template.taints.push(Taint { key: key.to_owned(), value: String::new(), effect });
            }
        };
        taint(marks.taint_unschedulable, UNSCHEDULABLE, TaintEffect::NoSchedule);
        taint(marks.not_ready_no_schedule, NOT_READY, TaintEffect::NoSchedule);
        taint(marks.not_ready_no_execute, NOT_READY, TaintEffect::NoExecute);
        taint(marks.unreachable_no_schedule, UNREACHABLE, TaintEffect::NoSchedule);
        taint(marks.unreachable_no_execute, UNREACHABLE, TaintEffect::NoExecute);
        taint(marks.to_be_deleted, TO_BE_DELETED, TaintEffect::NoSchedule);
        taint(marks.deletion_candidate, DELETION_CANDIDATE, TaintEffect::PreferNoSchedule);
        taint(marks.disrupted, DISRUPTED, TaintEffect::NoSchedule);
        cluster.nodes.add_template(template)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{App, PodSpec, Resources};

    fn cluster() -> Cluster {
        let mut cluster = Cluster::default();
        let allocatable = Resources { cpu_millicores: 1000, pods: 10, ..Resources::default() };
        let template = cluster.nodes.add_template(NodeTemplate { allocatable, ..NodeTemplate::default() });
        cluster.nodes.add("n0".into(), template, None);
        let app = cluster.pods.add_app(App::default());
        let spec = cluster.pods.add_spec(PodSpec::default());
        for _ in 0..4 {
            cluster.pods.add(spec, app);
        }
        cluster
    }

    /// `assignPod`: 409 for a pod that has a node or is being deleted, 404 for one that is gone.
    #[test]
    fn a_pod_is_bound_once_and_not_while_it_is_deleted() {
        let mut store = Store::new(&cluster(), true);
        assert_eq!(store.take(Verb::Bind, 0, 0), Err(Refusal::NotFound));
        assert_eq!(store.take(Verb::CreatePod, 0, 0), Ok(Verb::CreatePod));
        assert_eq!(store.take(Verb::CreatePod, 0, 0), Err(Refusal::Conflict));
        assert_eq!(store.take(Verb::Bind, 0, 0), Ok(Verb::Bind));
        assert_eq!(store.take(Verb::Bind, 0, 0), Err(Refusal::Conflict));
        assert_eq!(store.pods_on(0), [0]);
        assert_eq!(store.take(Verb::DeleteGracefully, 0, 0), Ok(Verb::DeleteGracefully));
        assert!(store.is_terminating(0) && !store.is_active(0) && store.is_bound(0));
        assert_eq!(store.take(Verb::DeletePod, 0, 0), Ok(Verb::DeletePod));
        assert_eq!(store.take(Verb::DeletePod, 0, 0), Err(Refusal::NotFound));
        assert_eq!(store.take(Verb::CreatePod, 0, 0), Err(Refusal::Conflict), "a name is not used again");
    }

    /// `CheckGracefulDelete`: no grace for pods without a node and for those that have ended.
    #[test]
    fn a_pod_without_a_node_or_that_has_ended_is_removed_at_once() {
        let mut store = Store::new(&cluster(), true);
        for pod in 0..3 {
            store.take(Verb::CreatePod, pod, 0).unwrap();
        }
        assert_eq!(store.take(Verb::DeleteGracefully, 0, 0), Ok(Verb::DeletePod));
        store.take(Verb::Bind, 1, 0).unwrap();
        store.take(Verb::PatchFailed, 1, 0).unwrap();
        assert_eq!(store.take(Verb::PatchRunning, 1, 0), Err(Refusal::Conflict));
        assert_eq!(store.take(Verb::DeleteGracefully, 1, 0), Ok(Verb::DeletePod));
        let mut without = Store::new(&cluster(), false);
        without.take(Verb::CreatePod, 2, 0).unwrap();
        without.take(Verb::Bind, 2, 0).unwrap();
        assert_eq!(without.take(Verb::DeleteGracefully, 2, 0), Ok(Verb::DeletePod), "nobody holds it back");
    }

    #[test]
    fn marks_become_taints_and_go_again() {
        let mut cluster = cluster();
        let mut store = Store::new(&cluster, true);
        let patch = NodePatch::default()
            .ready(Ready::Unknown)
            .set(Mark::UnreachableNoSchedule)
            .set(Mark::UnreachableNoExecute)
            .set(Mark::Cordoned);
        store.patch_node(&mut cluster, 0, NodePatch::decode(patch.encode()));
        let template = cluster.nodes.template(0);
        let effects: Vec<_> = template.taints.iter().map(|t| (t.key.as_str(), t.effect)).collect();
        assert_eq!(effects, [(UNREACHABLE, TaintEffect::NoSchedule), (UNREACHABLE, TaintEffect::NoExecute)]);
        assert!(template.unschedulable);
        assert_eq!(store.node(0).ready, Ready::Unknown);
        let patch = NodePatch::default()
            .ready(Ready::True)
            .clear(Mark::UnreachableNoSchedule)
            .clear(Mark::UnreachableNoExecute)
            .clear(Mark::Cordoned);
        store.patch_node(&mut cluster, 0, patch);
        assert_eq!(cluster.nodes.get(0).template, store.node(0).base);
    }
}
