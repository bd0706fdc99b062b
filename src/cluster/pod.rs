//! Pods: interned specs, applications, stages and the time at which each stage was reached.
//!
//! What a plan says of its pods (specs, applications, which pod has which) does not change while they move, and is shared
//! by the plan and all simulations of it; a copy is made only by who changes it. Timelines, the largest column, are made
//! when pods begin to move: a plan has none.
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    HOSTNAME_LABEL, LabelSelector, Namespaces, NodeId, Nodes, Operator, PodSelector, Resources, Term,
    Toleration, term_matches,
};

/// Index of a pod.
pub type PodId = u32;
/// Index of a pod spec.
pub type SpecId = u32;
/// Index of an application.
pub type AppId = u32;

/// No node yet.
pub const NO_NODE: NodeId = NodeId::MAX;

/// A weighted node affinity preference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct WeightedTerm {
    /// 1 to 100.
    pub weight: i32,
    /// The term.
    pub term: Term,
}

/// The namespace of pods that name none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// A pod (anti-)affinity term over pods that `selector` matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct PodAffinityTerm {
    /// Labels of the other pods, `matchLabelKeys` and `mismatchLabelKeys` included (the API server writes them into it).
    pub selector: LabelSelector,
    /// Topology key.
    pub topology_key: String,
    /// None: required. Some(weight): preferred.
    pub weight: Option<i32>,
    /// Whether the pods repel.
    pub anti: bool,
    /// `namespaces` and `namespaceSelector`; neither: the pod's own namespace.
    pub namespaces: Namespaces,
}

impl PodAffinityTerm {
    /// The pods that are meant, in the mouth of a pod of `namespace`.
    #[must_use]
    pub fn pods(&self, namespace: &str) -> PodSelector {
        if self.namespaces == Namespaces::default() {
            PodSelector::within(namespace, self.selector.clone())
        } else {
            PodSelector { labels: self.selector.clone(), namespaces: self.namespaces.clone() }
        }
    }
}

/// A topology spread constraint over pods whose labels hold `selector`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct SpreadConstraint {
    /// Largest allowed skew.
    pub max_skew: u32,
    /// Topology key.
    pub topology_key: String,
    /// `DoNotSchedule` (true) or `ScheduleAnyway` (false).
    pub hard: bool,
    /// Labels of the pods that are spread, those of `matchLabelKeys` included.
    pub selector: LabelSelector,
    /// `minDomains` of a hard constraint: with fewer domains the smallest count is taken for 0. 0 and 1 say nothing.
    pub min_domains: u32,
    /// `nodeAffinityPolicy: Ignore`: nodes that the pod's selector and affinity forbid are domains, too.
    pub ignore_node_affinity: bool,
    /// `nodeTaintsPolicy: Honor`: nodes with taints that the pod does not tolerate are no domains.
    pub honor_node_taints: bool,
}

impl SpreadConstraint {
    /// The pods that count, in the mouth of a pod of `namespace`.
    #[must_use]
    pub fn pods(&self, namespace: &str) -> PodSelector {
        PodSelector::within(namespace, self.selector.clone())
    }
}

/// Something that holds a pod back from scheduling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct SchedulingGate {
    /// Name.
    pub name: String,
    /// When whoever set it takes it away, ns after the scheduler has seen the pod; `u64::MAX`: never.
    pub removed_after_ns: u64,
}

/// A claim of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct VolumeClaim {
    /// Where its volume is, or may be made: one of the terms must match the node; empty: anywhere.
    pub topology: Vec<Term>,
    /// It has a volume already; else one is made once the pod has a node (`WaitForFirstConsumer`).
    pub bound: bool,
}

impl VolumeClaim {
    /// The claim once it is bound to a volume that was made for a pod on this node: the volume has the node's values of the labels by which its class
    /// tells places apart (a CSI driver's topology; external-provisioner, `GenerateVolumeNodeAffinity`).
    #[must_use]
    pub fn bound_at(&self, nodes: &Nodes, node: NodeId) -> Self {
        let label = |key: &str| nodes.label(node, key);
        if self.bound || self.topology.is_empty() {
            return Self { topology: self.topology.clone(), bound: true };
        }
        let place = self.topology.iter().find(|term| term_matches(term, |key| label(key)));
        let mut place = place.or(self.topology.first()).cloned().unwrap_or_default();
        for expression in &mut place.expressions {
            expression.operator = Operator::In;
            expression.values = label(&expression.key).map(str::to_owned).into_iter().collect();
        }
        Self { topology: vec![place], bound: true }
    }
}

/// A port of the node that a pod takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct HostPort {
    /// Port, 1 to 65535.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Address; empty or `0.0.0.0`: all of the node.
    pub ip: String,
}

impl HostPort {
    /// Whether two pods can't have both on one node.
    #[must_use]
    pub fn conflicts(&self, other: &Self) -> bool {
        let all = |ip: &str| ip.is_empty() || ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || all(&self.ip) || all(&other.ip))
    }
}

/// What many pods share; interned.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct PodSpec {
    /// Sum of the containers' requests.
    pub requests: Resources,
    /// `spec.priority`.
    pub priority: i32,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `spec.nodeSelector`.
    pub node_selector: BTreeMap<String, String>,
    /// `spec.nodeName`, if given by the user.
    pub node_name: Option<String>,
    /// Tolerations.
    pub tolerations: Vec<Toleration>,
    /// Required node affinity: one term must match; empty if none is asked.
    pub required_node_affinity: Vec<Term>,
    /// Preferred node affinity.
    pub preferred_node_affinity: Vec<WeightedTerm>,
    /// Pod affinity and anti-affinity.
    pub pod_affinity: Vec<PodAffinityTerm>,
    /// Topology spread constraints.
    pub topology_spread: Vec<SpreadConstraint>,
    /// The task group of the application that the pod belongs to (`yunikorn.apache.org/task-group-name`).
    pub task_group: Option<String>,
    /// Ports of the node.
    pub host_ports: Vec<HostPort>,
    /// `preemptionPolicy: Never`.
    pub never_preempts: bool,
    /// The node that a pod of a DaemonSet is for; YuniKorn tries no other (its shim reads the controller's node affinity).
    pub required_node: Option<String>,
    /// `yunikorn.apache.org/allow-preemption: "false"` on the pod or its priority class: preempted only if need be.
    pub refuses_preemption: bool,
    /// Namespace; empty: `default`. See [`PodSpec::namespace`].
    pub namespace_name: String,
    /// `spec.schedulerName`; empty: the scheduler's first profile.
    pub scheduler_name: String,
    /// `spec.terminationGracePeriodSeconds`; none: 30.
    pub termination_grace_s: Option<u32>,
    /// `spec.schedulingGates`.
    pub scheduling_gates: Vec<SchedulingGate>,
    /// Images of the containers, init containers included, one each, with their tags; empty: not known.
    pub images: Vec<String>,
    /// `spec.selector` of the ReplicaSet, ReplicationController or StatefulSet that owns the pod.
    pub controller_selector: Option<LabelSelector>,
    /// Claims of volumes.
    pub volume_claims: Vec<VolumeClaim>,
    /// Annotation `cluster-autoscaler.kubernetes.io/safe-to-evict`.
    pub safe_to_evict: Option<bool>,
}

impl PodSpec {
    /// The pod's namespace.
    #[inline]
    #[must_use]
    pub fn namespace(&self) -> &str {
        if self.namespace_name.is_empty() { DEFAULT_NAMESPACE } else { &self.namespace_name }
    }

    /// Whether its filters tell nodes of one template and zone apart: they name nodes.
    #[must_use]
    pub fn names_nodes(&self) -> bool {
        let by_term =
            |t: &Term| !t.fields.is_empty() || t.expressions.iter().any(|e| e.key == HOSTNAME_LABEL);
        self.node_name.is_some()
            || self.node_selector.contains_key(HOSTNAME_LABEL)
            || self.required_node_affinity.iter().any(by_term)
            || self.volume_claims.iter().any(|claim| claim.topology.iter().any(by_term))
    }
}

/// A task group of an application (`yunikorn.apache.org/task-groups`).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TaskGroup {
    /// Name.
    pub name: String,
    /// Placeholders to be placed before the application runs.
    pub min_member: u32,
    /// Spec of a placeholder: what the group's `minResource` and constraints say.
    pub spec: SpecId,
    /// Its placeholders' ids begin here, see [`Pods::add_placeholders`].
    pub first_placeholder: PodId,
}

/// An application in YuniKorn's sense; with kube-scheduler only a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct App {
    /// Name.
    pub name: String,
    /// Queue, such as `root.default`; empty if none is asked for.
    pub queue: String,
    /// Who submits it; empty: nobody in particular.
    pub user: String,
    /// The user's groups.
    pub groups: Vec<String>,
    /// Namespace; empty: `default`.
    pub namespace: String,
    /// Task groups; empty: it is no gang.
    pub task_groups: Vec<TaskGroup>,
    /// `gangSchedulingStyle`: whether it fails (Hard) or runs without its gang (Soft, the default) when its placeholders
    /// can't be placed in time.
    pub gang_hard: bool,
    /// `placeholderTimeoutInSeconds`, ns; 0: the scheduler's default.
    pub placeholder_timeout_ns: u64,
    /// Its pods have no owner: Volcano makes a PodGroup for each.
    pub bare_pods: bool,
}

/// The stage of a pod. A pod is in exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum Stage {
    /// Known to the workload, not yet stored by the API server.
    Planned,
    /// Stored, not yet seen by the scheduler's informer.
    Created,
    /// In one of the scheduler's queues.
    Queued,
    /// Assumed on a node, binding under way.
    Assumed,
    /// The binding is stored.
    Bound,
    /// Its status says running.
    Running,
    /// Finished or deleted.
    Finished,
    /// The scheduler gave it up (YuniKorn after a failed binding).
    Failed,
}

/// When a pod reached each stage, in ns since t = 0; `u64::MAX` while it has not. One cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[repr(align(64))]
pub struct Timeline {
    /// Stored by the API server.
    pub created_ns: u64,
    /// In the scheduler's queue.
    pub queued_ns: u64,
    /// Its (last) scheduling cycle began.
    pub cycle_ns: u64,
    /// Assumed on a node.
    pub assumed_ns: u64,
    /// The (last) bind request left the client's token bucket.
    pub bind_sent_ns: u64,
    /// The binding is stored.
    pub bound_ns: u64,
    /// Status running is stored.
    pub running_ns: u64,
    /// Finished or deleted.
    pub finished_ns: u64,
}

impl Timeline {
    /// Nothing has happened yet.
    pub const EMPTY: Self = Self {
        created_ns: u64::MAX,
        queued_ns: u64::MAX,
        cycle_ns: u64::MAX,
        assumed_ns: u64::MAX,
        bind_sent_ns: u64::MAX,
        bound_ns: u64::MAX,
        running_ns: u64::MAX,
        finished_ns: u64::MAX,
    };
}

/// What is said of pods before they move.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Described {
    specs: Vec<PodSpec>,
    spec_index: BTreeMap<PodSpec, SpecId>,
    apps: Vec<App>,
    spec: Vec<SpecId>,
    app: Vec<AppId>,
    placeholders: PodId,
}

/// All pods as columns, with their specs and applications.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Pods {
    described: Arc<Described>,
    node: Vec<NodeId>,
    stage: Vec<Stage>,
    /// Of the pods up to the last one that moved.
    timeline: Vec<Timeline>,
    /// Pods that the plan knew, placeholders included; none: all so far.
    planned: Option<PodId>,
}

impl Pods {
    /// Adds the placeholders of an application's task group, all pods of the workload being there, and notes the group.
    ///
    /// # Panics
    /// Past 2^32 pods.
    pub fn add_placeholders(&mut self, app: AppId, name: String, min_member: u32, spec: SpecId) {
        let first_placeholder = PodId::try_from(self.len()).expect("pods are limited");
        for _ in 0..min_member {
            self.add(spec, app);
        }
        let described = Arc::make_mut(&mut self.described);
        described.placeholders += min_member;
        let group = TaskGroup { name, min_member, spec, first_placeholder };
        described.apps[app as usize].task_groups.push(group);
    }

    /// Id of the first placeholder: one past the last pod of the workload's plan. Only pods that are made later
    /// ([`Pods::add_later`]) come after the placeholders.
    #[inline]
    #[must_use]
    pub fn first_placeholder(&self) -> PodId {
        self.first_later() - self.described.placeholders
    }

    /// Id of the first pod that the plan did not know.
    #[inline]
    #[must_use]
    pub fn first_later(&self) -> PodId {
        self.planned.unwrap_or(self.node.len() as PodId)
    }

    /// Forgets the placeholders: what is measured of a run are the workload's pods. Later pods move down.
    pub fn drop_placeholders(&mut self) {
        let placeholders = self.described.placeholders;
        if placeholders == 0 {
            return;
        }
        let gone = self.first_placeholder() as usize..self.first_later() as usize;
        self.begin();
        self.planned = self.planned.map(|planned| planned - placeholders);
        let described = Arc::make_mut(&mut self.described);
        described.spec.drain(gone.clone());
        described.app.drain(gone.clone());
        described.placeholders = 0;
        self.node.drain(gone.clone());
        self.stage.drain(gone.clone());
        self.timeline.drain(gone);
    }

    /// Whether a pod is a placeholder of a gang.
    #[inline]
    #[must_use]
    pub fn is_placeholder(&self, pod: PodId) -> bool {
        pod >= self.first_placeholder() && pod < self.first_later()
    }

    /// Adds a pod that the plan did not know: a controller makes it while the run goes on.
    ///
    /// # Panics
    /// Past 2^32 pods.
    pub fn add_later(&mut self, spec: SpecId, app: AppId) -> PodId {
        self.planned = Some(self.first_later());
        self.add(spec, app)
    }

    /// An application, to be changed.
    pub fn app_mut(&mut self, app: AppId) -> &mut App {
        &mut Arc::make_mut(&mut self.described).apps[app as usize]
    }

    /// Interns a spec.
    ///
    /// # Panics
    /// Past 2^32 specs.
    pub fn add_spec(&mut self, spec: PodSpec) -> SpecId {
        if let Some(id) = self.described.spec_index.get(&spec) {
            return *id;
        }
        let described = Arc::make_mut(&mut self.described);
        let id = SpecId::try_from(described.specs.len()).expect("specs are limited");
        described.spec_index.insert(spec.clone(), id);
        described.specs.push(spec);
        id
    }

    /// Adds an application.
    ///
    /// # Panics
    /// Past 2^32 applications.
    pub fn add_app(&mut self, app: App) -> AppId {
        let apps = &mut Arc::make_mut(&mut self.described).apps;
        apps.push(app);
        AppId::try_from(apps.len() - 1).expect("applications are limited")
    }

    /// Adds a planned pod.
    ///
    /// # Panics
    /// Past 2^32 pods.
    pub fn add(&mut self, spec: SpecId, app: AppId) -> PodId {
        let described = Arc::make_mut(&mut self.described);
        described.spec.push(spec);
        described.app.push(app);
        self.node.push(NO_NODE);
        self.stage.push(Stage::Planned);
        PodId::try_from(self.node.len() - 1).expect("pods are limited")
    }

    /// Reserves room for `more` pods.
    pub fn reserve(&mut self, more: usize) {
        let described = Arc::make_mut(&mut self.described);
        described.spec.reserve_exact(more);
        described.app.reserve_exact(more);
        self.node.reserve_exact(more);
        self.stage.reserve_exact(more);
    }

    /// Makes the timelines of all pods at once, which are about to move.
    pub fn begin(&mut self) {
        self.timeline.resize(self.len(), Timeline::EMPTY);
    }

    /// Specs and applications without any pod that moves: for those who only imagine.
    #[must_use]
    pub fn described(&self) -> Self {
        Self { described: Arc::clone(&self.described), ..Self::default() }
    }

    /// How many pods there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.node.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.node.is_empty()
    }

    /// A pod's spec id.
    #[inline]
    #[must_use]
    pub fn spec_id(&self, pod: PodId) -> SpecId {
        self.described.spec[pod as usize]
    }

    /// A pod's spec.
    #[inline]
    #[must_use]
    pub fn spec(&self, pod: PodId) -> &PodSpec {
        &self.described.specs[self.described.spec[pod as usize] as usize]
    }

    /// Gives a pod that does not exist yet another spec.
    pub fn set_spec(&mut self, pod: PodId, spec: SpecId) {
        if self.spec_id(pod) != spec {
            Arc::make_mut(&mut self.described).spec[pod as usize] = spec;
        }
    }

    /// A spec by id.
    #[must_use]
    pub fn spec_by_id(&self, spec: SpecId) -> &PodSpec {
        &self.described.specs[spec as usize]
    }

    /// How many specs there are.
    #[must_use]
    pub fn spec_count(&self) -> usize {
        self.described.specs.len()
    }

    /// A pod's application.
    #[inline]
    #[must_use]
    pub fn app_id(&self, pod: PodId) -> AppId {
        self.described.app[pod as usize]
    }

    /// All applications.
    #[must_use]
    pub fn apps(&self) -> &[App] {
        &self.described.apps
    }

    /// The node a pod is bound to, or [`NO_NODE`].
    #[inline]
    #[must_use]
    pub fn node(&self, pod: PodId) -> NodeId {
        self.node[pod as usize]
    }

    /// Sets the node at the moment the binding is stored.
    ///
    /// # Panics
    /// If the pod is bound already: a pod is bound at most once.
    #[inline]
    pub fn bind(&mut self, pod: PodId, node: NodeId) {
        assert!(self.node[pod as usize] == NO_NODE, "pod {pod} is bound twice");
        self.node[pod as usize] = node;
    }

    /// A pod's stage.
    #[inline]
    #[must_use]
    pub fn stage(&self, pod: PodId) -> Stage {
        self.stage[pod as usize]
    }

    /// Moves a pod to a stage.
    #[inline]
    pub fn set_stage(&mut self, pod: PodId, stage: Stage) {
        self.stage[pod as usize] = stage;
    }

    /// A pod's times.
    #[inline]
    #[must_use]
    pub fn timeline(&self, pod: PodId) -> &Timeline {
        self.timeline.get(pod as usize).unwrap_or(&Timeline::EMPTY)
    }

    /// A pod's times, to be written.
    #[inline]
    pub fn timeline_mut(&mut self, pod: PodId) -> &mut Timeline {
        if self.timeline.len() <= pod as usize {
            self.begin();
        }
        &mut self.timeline[pod as usize]
    }
}
