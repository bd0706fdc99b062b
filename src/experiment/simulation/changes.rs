//! What changes in a run besides creating, scheduling and ending pods: faults, and the controllers that answer them.
//!
//! [`Changes`] is there only where something can go wrong; a run without it pays one comparison an event. It joins three
//! things: the faults (`faults`), which act on machines, nodes and pods; the controllers of
//! [`control_plane::controllers`](crate::control_plane::controllers), which notice and repair; and the accounts of
//! [`measure::recovery`](crate::measure::recovery).
//!
//! **Pods that are lost.** A pod whose node fails, that is deleted or that fails serves no longer. If a controller owns it,
//! its informer shows the loss and the controller makes another pod, which the plan did not know: it gets the next free id
//! (after a gang's placeholders), runs as long as the one it replaces, and is counted as every other. A pod that nobody
//! owns is gone.
//!
//! Cost: O(1) an event; O(pods on the node) for a node that fails.
pub(super) mod drains;
pub(super) mod faults;
pub(super) mod servers;

use super::{Builder, Simulation, bucket, flow};
use crate::cluster::{Cluster, NO_NODE, NodeChange, NodeId, PodId, SpecId, Stage};
use crate::control_plane::apf::FlowId;
use crate::control_plane::controllers::cron_job::CronJobs;
use crate::control_plane::controllers::daemon_set::DaemonSets;
use crate::control_plane::controllers::deployment::Deployments;
use crate::control_plane::controllers::job::Jobs;
use crate::control_plane::controllers::node_lifecycle::NodeLifecycle;
use crate::control_plane::controllers::pod_gc::PodGc;
use crate::control_plane::controllers::progress::Outcome;
use crate::control_plane::controllers::replica_set::ReplicaSets;
use crate::control_plane::controllers::stateful_set::StatefulSets;
use crate::control_plane::controllers::taint_eviction::TaintEviction;
use crate::control_plane::controllers::{Answer, Controllers, Env, Made};
use crate::control_plane::kernel::{AgentEvent, ControllerEvent, Event, ProcessId};
use crate::control_plane::node_agents::{AgentKind, NodeAgents};
use crate::control_plane::quotas::Quotas;
use crate::control_plane::stages::Kind;
use crate::control_plane::store::{NO_OWNER, NodePatch, Ready, Store};
use crate::control_plane::token_bucket::TokenBucket;
use crate::control_plane::{ClientId, ControlPlane, PodChange, Verb};
use crate::engine::Nanos;
use crate::measure::recovery::Recovery;
use crate::measure::station::Station;
use crate::scenario::plan::{
    ClientIdentity, Creation, FaultKind, Lifetimes, OwnerPlan, Plan, Scaling, StopWhen,
};

pub use drains::DrainReport;
use drains::Drains;
use faults::Faults;
use servers::{Rebuild, Servers};

/// `--concurrent-statefulset-syncs` and `--concurrent-job-syncs`.
const OBJECT_SYNCS: u32 = 5;
/// `--concurrent-deployment-syncs`.
const DEPLOYMENT_SYNCS: u32 = 5;
/// `--concurrent-daemon-set-syncs`.
const DAEMON_SET_SYNCS: u32 = 2;

/// The controller manager's process and what its controllers' clients share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manager {
    process: ProcessId,
    transport: usize,
    flow: FlowId,
    /// Client of the ReplicaSet controller.
    pub(super) client: ClientId,
    pub(super) watcher: usize,
}

/// Faults, controllers, recovery.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Changes {
    pub(super) controllers: Controllers,
    pub(super) faults: Faults,
    pub(super) recovery: Recovery,
    /// What is away, and who is a successor.
    pub(super) servers: Servers,
    /// Nodes that are drained; none: no fault of this run drains any.
    pub(super) drains: Option<Box<Drains>>,
    /// The controller manager's process.
    manager: ProcessId,
    /// Owners that are created when the run begins; not looked at later.
    #[serde(skip)]
    begun: std::ops::Range<u32>,
    /// Run time of each pod that the plan did not know, ns; `u64::MAX`: it stays.
    later_run_ns: Vec<Nanos>,
    /// Pods lost, by what became of them.
    pub(super) replaced: u64,
    pub(super) failed_pods: u64,
    /// Some fault makes a controller take pods away.
    takes_away: bool,
    /// Then pods that were bound, and that ended before they ran.
    pub(super) gone_early: u64,
    /// Some object was made smaller, and not all scalings are complete.
    shrinks: bool,
    /// Empty between events.
    #[serde(skip)]
    made: Vec<Made>,
    /// Empty between events.
    #[serde(skip)]
    dropped: Vec<PodId>,
}

/// What is left of faults when a run has ended.
#[derive(Clone, Debug, Default)]
pub struct FaultsReport {
    /// Each occurrence.
    pub cases: Vec<FaultCase>,
    /// Pods made in the place of lost ones.
    pub pods_replaced: u64,
    /// Lost pods that nobody replaced.
    pub pods_abandoned: u64,
    /// Pods deleted from tainted nodes.
    pub pods_evicted: u64,
    /// Pods deleted because their node is gone.
    pub pods_collected: u64,
    /// Pods that failed.
    pub pods_failed: u64,
    /// What drains came to; none: no fault drains nodes.
    pub drains: Option<DrainReport>,
    /// Creations that a quota has refused; none: there are no quotas.
    pub creations_refused: Option<u64>,
    /// Jobs that have succeeded, and that have failed; none: no Job has a controller.
    pub jobs: Option<(u64, u64)>,
    /// With CronJobs: times that never had a Job, and Jobs in whose place others came.
    pub cron_jobs: Option<(u64, u64)>,
    /// With rollouts: what they came to.
    pub rollouts: Option<Outcome>,
    /// With scalings: what they came to.
    pub scalings: Option<Outcome>,
    /// Whether the scenario has faults; else controllers alone are the reason for this report.
    pub has_faults: bool,
}

/// One occurrence of a fault.
#[derive(Clone, Debug)]
pub struct FaultCase {
    /// Name of the fault.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// Nodes that it hit.
    pub nodes: u64,
    /// When the first of them was stored as not heard of.
    pub noticed_ns: Option<Nanos>,
    /// When the last of them was drained or given up.
    pub drained_ns: Option<Nanos>,
    /// When, and what became of it.
    pub case: crate::measure::recovery::Case,
}

impl Simulation {
    /// The controller manager's process, if it has something to do.
    pub(super) fn manager(
        b: &mut Builder<'_>,
        control_plane: &mut ControlPlane,
        max_streams: u32,
    ) -> Option<Manager> {
        let (place, limits, _) = b.plan.controller_manager.as_ref()?;
        let process = b.process("controller-manager", place);
        let transport = control_plane.add_transport(&mut b.kernel, Some(process), max_streams);
        let flow = flow(control_plane, ClientIdentity::ControllerManager, "controller-manager");
        let client = control_plane.add_client(
            &mut b.kernel,
            "controller-manager",
            Some(process),
            transport,
            bucket(*limits),
            flow,
        );
        let watcher = control_plane.add_watcher(&mut b.kernel, "controller-manager", Some(process));
        Some(Manager { process, transport, flow, client, watcher })
    }

    /// The ReplicaSets of a plan.
    pub(super) fn replica_sets(plan: &Plan, manager: &Manager) -> Option<ReplicaSets> {
        let syncs = plan.controller_manager.as_ref()?.2;
        match (&plan.creation, &plan.changes) {
            (Creation::ReplicaSets { ranges, .. }, changes) => {
                let others = changes.iter().flat_map(|changes| &changes.owners);
                let others = others.filter(|owner| **owner != OwnerPlan::ReplicaSet).count();
                let ranges = &ranges[..ranges.len() - others];
                Some(ReplicaSets::new(manager.client, syncs, ranges, 0))
            }
            (_, Some(changes)) => {
                let there = changes.replica_sets.len();
                let beside = changes.owners.iter().skip(there);
                let beside = beside.filter(|owner| **owner == OwnerPlan::ReplicaSet).count();
                let ranges = [&changes.replica_sets[..], &changes.beside[..beside]].concat();
                Some(ReplicaSets::new(manager.client, syncs, &ranges, there))
            }
            _ => None,
        }
    }

    /// Everything that only a run with changes has.
    pub(super) fn build_changes(
        b: &mut Builder<'_>,
        control_plane: &mut ControlPlane,
        agents: &mut NodeAgents,
        manager: &Manager,
        lists_of: &[(usize, ClientId)],
        rebuild: Rebuild,
    ) -> Option<Box<Changes>> {
        let plan = b.plan.changes.as_ref()?;
        let limits = b.plan.controller_manager.as_ref()?.1;
        let cluster = &b.plan.cluster;
        let mut store = Store::new(cluster, agents.kind() != AgentKind::None);
        // Ranges of pods, how many of their owners have made theirs, and which are created when the run begins.
        let (sets, begun) = match &b.plan.creation {
            Creation::ReplicaSets { ranges, .. } => (ranges.clone(), 0..0),
            _ => {
                let there = plan.replica_sets.len();
                ([&plan.replica_sets[..], &plan.beside].concat(), there..there + plan.begun)
            }
        };
        for (owner, (from, to)) in sets.iter().enumerate() {
            (*from..*to).for_each(|pod| store.set_owner(pod, owner as u32));
        }
        if !cluster.resource_quotas.is_empty() {
            store.keep_quotas(cluster);
        }
        control_plane.keep_store(store);
        agents.keep_machines(cluster.nodes.len(), b.streams.stream("agents.lease"));
        let scheduler_watcher = lists_of.first()?.0;
        control_plane.watch_nodes(&mut b.kernel, scheduler_watcher);
        control_plane.watch_nodes(&mut b.kernel, manager.watcher);
        // A new server process has the flows that are known by now.
        let drains = plan.faults.iter().any(|fault| matches!(fault.kind, FaultKind::Drain { .. }));
        let kubectl = drains.then(|| flow(control_plane, ClientIdentity::User, "kubectl"));
        let backoff = b.streams.stream("watch.backoff");
        control_plane.expect_outages(&mut b.kernel, backoff, lists_of, manager.watcher);
        let mut client = |name: &str| {
            let process = Some(manager.process);
            control_plane.add_client(
                &mut b.kernel,
                name,
                process,
                manager.transport,
                bucket(limits),
                manager.flow,
            )
        };
        let mut phases = b.streams.stream("controllers.phase");
        let (monitor, gc) = (phases.next_u64(), phases.next_u64());
        let node_lifecycle = client("node-lifecycle-controller");
        let controllers = Controllers {
            watcher: manager.watcher,
            node_lifecycle: NodeLifecycle::new(node_lifecycle, plan.node_lifecycle, cluster, monitor),
            taint_eviction: TaintEviction::new(
                client("taint-eviction-controller"),
                plan.default_toleration_ns,
            ),
            pod_gc: PodGc::new(client("pod-garbage-collector"), gc),
            stateful_sets: None,
            jobs: None,
            daemon_sets: None,
            cron_jobs: None,
            deployments: None,
        };
        // Who removes nodes and, where no agent does, marks pods.
        let cloud = client("cloud-controller-manager");
        let (mut stateful_sets, mut jobs) = (Vec::new(), Vec::new());
        for (range, owner) in sets.iter().zip(&plan.owners) {
            match owner {
                OwnerPlan::ReplicaSet => {}
                OwnerPlan::StatefulSet(settings) => stateful_sets.push((*range, *settings)),
                OwnerPlan::Job(settings) => jobs.push((*range, *settings)),
            }
        }
        let first_job = (sets.len() - jobs.len()) as u32;
        let first_set = first_job - stateful_sets.len() as u32;
        let controllers = Controllers {
            stateful_sets: (!stateful_sets.is_empty()).then(|| {
                let client = client("statefulset-controller");
                StatefulSets::new(client, first_set, OBJECT_SYNCS, &stateful_sets, cluster)
            }),
            jobs: (!jobs.is_empty())
                .then(|| Jobs::new(client("job-controller"), first_job, OBJECT_SYNCS, &jobs)),
            daemon_sets: (!plan.daemon_sets.is_empty()).then(|| {
                let (client, first) = (client("daemon-set-controller"), sets.len() as u32);
                DaemonSets::new(client, first, DAEMON_SET_SYNCS, &plan.daemon_sets)
            }),
            cron_jobs: (!plan.cron_jobs.is_empty()).then(|| {
                let first = (sets.len() + plan.daemon_sets.len()) as u32;
                CronJobs::new(client("cronjob-controller"), first, OBJECT_SYNCS, &plan.cron_jobs)
            }),
            deployments: (!plan.deployments.is_empty()).then(|| {
                let syncs = b.plan.controller_manager.as_ref().map_or(OBJECT_SYNCS, |manager| manager.2);
                let client = client("deployment-controller");
                let workers = [DEPLOYMENT_SYNCS, syncs];
                Deployments::new(client, manager.client, workers, &plan.deployments)
            }),
            ..controllers
        };
        if drains || b.plan.autoscaler.is_some() {
            control_plane.store_mut().keep_budgets(&b.plan.cluster, first_job);
        }
        let drains = kubectl.map(|flow| Self::build_drains(b, control_plane, flow));
        Some(Box::new(Changes {
            controllers,
            faults: Faults::new(plan.faults.clone(), &b.streams, cloud),
            recovery: Recovery::default(),
            servers: Servers::new((0..sets.len()).map(|set| set < begun.end).collect(), rebuild),
            begun: begun.start as u32..begun.end as u32,
            drains,
            manager: manager.process,
            later_run_ns: Vec::new(),
            replaced: 0,
            failed_pods: 0,
            takes_away: plan
                .faults
                .iter()
                .any(|fault| matches!(fault.kind, FaultKind::Rollout { .. } | FaultKind::Scale { .. })),
            gone_early: 0,
            shrinks: false,
            made: Vec::new(),
            dropped: Vec::new(),
        }))
    }

    /// Who drains nodes: somebody outside, each of whose commands has connections and a limit of its own.
    fn build_drains(b: &mut Builder<'_>, control_plane: &mut ControlPlane, flow: FlowId) -> Box<Drains> {
        let transport = control_plane.add_transport(&mut b.kernel, None, u32::MAX);
        let bucket = TokenBucket::unlimited();
        let client = control_plane.add_client(&mut b.kernel, "kubectl", None, transport, bucket, flow);
        Box::new(Drains::new(client))
    }

    /// The first faults are due; pods that run from the beginning serve.
    pub(super) fn begin_changes(&mut self) {
        let Some(changes) = &mut self.changes else { return };
        changes.faults.begin(&mut self.kernel, &self.cluster);
        // They were there before the workload; their pods come when it begins.
        let daemons = changes.controllers.daemon_sets.iter().flat_map(DaemonSets::owners);
        let first = changes.begun.clone().chain(daemons);
        for owner in first.chain(changes.controllers.cron_jobs.iter().flat_map(CronJobs::owners)) {
            self.kernel.at(0, Event::Controller { what: ControllerEvent::Requeue { owner }, epoch: 0 });
        }
        for pod in 0..self.cluster.pods.len() as PodId {
            if self.cluster.pods.stage(pod) == Stage::Running {
                changes.recovery.serves(pod);
                changes.recovery.runs(pod);
            }
        }
    }

    /// Calls a controller with all that it may touch.
    pub(super) fn control(&mut self, f: impl FnOnce(&mut Controllers, &mut Env<'_>)) {
        if self.changes.as_ref().is_some_and(|changes| !changes.servers.manager_down) {
            self.reach_controllers(f);
            self.welcome();
        }
    }

    /// Reaches the controllers' state, whether or not their manager is there.
    fn reach_controllers(&mut self, f: impl FnOnce(&mut Controllers, &mut Env<'_>)) {
        let Some(changes) = self.changes.as_mut() else { return };
        let Changes { controllers, made, dropped, servers, .. } = &mut **changes;
        let mut env = Env {
            epoch: servers.manager_epoch,
            kernel: &mut self.kernel,
            control_plane: &mut self.control_plane,
            cluster: &mut self.cluster,
            agents: &self.agents,
            made,
            dropped,
        };
        f(controllers, &mut env);
    }

    /// Calls the ReplicaSets.
    pub(super) fn sets(&mut self, f: impl FnOnce(&mut ReplicaSets, &mut Env<'_>)) {
        let Some(sets) = self.replica_sets.as_mut() else { return };
        let (mut none, mut nobody) = (Vec::new(), Vec::new());
        let (made, dropped, epoch) = match &mut self.changes {
            Some(changes) if changes.servers.manager_down => return,
            Some(changes) => (&mut changes.made, &mut changes.dropped, changes.servers.manager_epoch),
            None => (&mut none, &mut nobody, 0),
        };
        let mut env = Env {
            epoch,
            kernel: &mut self.kernel,
            control_plane: &mut self.control_plane,
            cluster: &mut self.cluster,
            agents: &self.agents,
            made,
            dropped,
        };
        f(sets, &mut env);
        self.welcome();
    }

    /// Pods that were made: from now on they count.
    fn welcome(&mut self) {
        let Some(changes) = self.changes.as_mut() else { return };
        for Made { pod, instead_of } in std::mem::take(&mut changes.made) {
            let run_ns =
                instead_of.and_then(|lost| span(&self.lifetimes, &self.cluster, &changes.later_run_ns, lost));
            changes.later_run_ns.push(run_ns.unwrap_or(Nanos::MAX));
            self.counts.total += 1;
            self.expected_finishes += u64::from(run_ns.is_some());
            if let Some(lost) = instead_of {
                changes.replaced += 1;
                changes.recovery.replaced(lost);
            }
            debug_assert!(pod >= self.cluster.pods.first_later(), "a pod of the plan is not made twice");
        }
        let mut dropped = std::mem::take(&mut changes.dropped);
        for pod in dropped.drain(..) {
            self.drop_pod(pod);
        }
        if let Some(changes) = self.changes.as_mut() {
            changes.dropped = dropped;
        }
    }

    /// A pod is never made, or nobody replaces it.
    pub(super) fn drop_pod(&mut self, pod: PodId) {
        if self.cluster.pods.stage(pod) != Stage::Planned {
            if let Some(changes) = self.changes.as_mut() {
                changes.recovery.abandoned(pod);
            }
            return;
        }
        self.counts.dropped += 1;
        self.expected_finishes -= u64::from(self.span(pod).is_some());
        if self.counts.created + self.counts.dropped == self.counts.total {
            self.stations.at(Station::Creation).set(self.kernel.now(), false);
        }
    }

    /// How long a pod runs, or is held, ns; none: it stays.
    #[inline]
    pub(super) fn span(&self, pod: PodId) -> Option<Nanos> {
        let later = self.changes.as_ref().map_or(&[][..], |changes| &changes.later_run_ns);
        span(&self.lifetimes, &self.cluster, later, pod)
    }

    /// Whether a pod is in the counts: those that ran before the run began are not, nor are placeholders.
    #[inline]
    pub(super) fn is_counted(&self, pod: PodId) -> bool {
        pod < self.scheduled || pod >= self.cluster.pods.first_later()
    }

    /// Ids of all pods that are in the counts.
    pub(super) fn counted_pods(&self) -> impl Iterator<Item = PodId> + use<> {
        (0..self.scheduled).chain(self.cluster.pods.first_later()..self.cluster.pods.len() as PodId)
    }

    /// The controller manager's process.
    fn manager_process(&self) -> Option<ProcessId> {
        self.changes.as_ref().map(|changes| changes.manager)
    }

    /// A controller's timer.
    pub(super) fn on_controller(&mut self, what: ControllerEvent, epoch: u32) {
        match what {
            ControllerEvent::CreateAgain { pod } => return self.on_create_again(pod),
            ControllerEvent::DeleteAgain { pod } => return self.on_delete_again(pod),
            ControllerEvent::DrainCommand { .. }
            | ControllerEvent::DrainPod { .. }
            | ControllerEvent::Uncordon { .. } => return self.on_drain_timer(what),
            _ => {}
        }
        // A timer of a process that is no more.
        if epoch != self.changes.as_ref().map_or(0, |changes| changes.servers.manager_epoch) {
            return;
        }
        match what {
            ControllerEvent::Requeue { owner } => self.start_owner(owner),
            what => self.control(|controllers, env| controllers.on_timer(env, what)),
        }
    }

    /// At the end of a moment: which faults are over.
    pub(super) fn settle_recovery(&mut self) {
        let now = self.kernel.now();
        let Some(changes) = &mut self.changes else { return };
        if changes.shrinks && !changes.controllers.are_moving() {
            changes.shrinks = false;
            changes.recovery.set_aside();
        }
        changes.recovery.settle(now);
    }

    /// Deployments' templates change.
    pub(super) fn roll_out(&mut self, to: &[(u32, SpecId)]) {
        for (owner, spec) in to {
            let taken = self.replica_sets.as_mut().and_then(|sets| sets.hand_over(*owner));
            // Whoever is to see it may be away.
            self.reach_controllers(|controllers, env| {
                if let Some(deployments) = &mut controllers.deployments {
                    deployments.change(env, *owner, *spec, taken);
                }
            });
            self.control(|controllers, env| {
                if let Some(deployments) = &mut controllers.deployments
                    && let Some(at) = deployments.index_of(*owner)
                {
                    deployments.start(env, at);
                }
            });
        }
        self.sets(ReplicaSets::go_on);
    }

    /// `replicas` of Deployments and StatefulSets change.
    pub(super) fn scale(&mut self, to: &[Scaling]) {
        for &Scaling { owner, replicas, strategy } in to {
            let sets = self.replica_sets.as_mut().filter(|_| strategy.is_some());
            let taken = sets.and_then(|sets| sets.hand_over(owner));
            // Whoever is to see it may be away.
            let mut is_smaller = false;
            self.reach_controllers(|controllers, env| {
                is_smaller = controllers.resize(env, (owner, replicas), strategy, taken);
            });
            if let Some(changes) = &mut self.changes {
                changes.shrinks |= is_smaller;
            }
            self.welcome();
            self.control(|controllers, env| controllers.on_changed(env, owner));
        }
        self.sets(ReplicaSets::go_on);
    }

    /// An answer to a ReplicaSet that its Deployment has taken over; false: it is none of those.
    pub(super) fn on_rollout_answered(&mut self, answer: Answer) -> bool {
        let has = self.changes.as_ref().is_some_and(|changes| changes.controllers.deployments.is_some());
        if !has {
            return false;
        }
        let owner = self.control_plane.store().owner(answer.pod);
        let mut taken = false;
        self.control(|controllers, env| {
            if let Some(deployments) = &mut controllers.deployments {
                taken = deployments.on_set_answered(env, owner, answer);
            }
        });
        taken
    }

    /// An answer to one of the controllers; false: it is none of theirs.
    pub(super) fn on_controller_answered(&mut self, client: ClientId, answer: Answer) -> bool {
        let mut taken = false;
        self.control(|controllers, env| taken = controllers.on_answered(env, client, answer));
        taken
    }

    /// The controller manager's informer has shown a change of a pod.
    pub(super) fn on_manager_observes(&mut self, pod: PodId, change: PodChange) {
        if self.changes.as_ref().is_some_and(|changes| changes.servers.manager_down) {
            return;
        }
        self.control(|controllers, env| controllers.on_pod(env, pod, change));
        if change != PodChange::Added && self.control_plane.store_mut().notice_loss(pod) {
            let owner = self.control_plane.store().owner(pod);
            if self.is_replica_set(owner) {
                self.sets(|sets, env| sets.lost(env, owner, pod));
            }
        }
    }

    /// Whether an owner is a ReplicaSet.
    pub(super) fn is_replica_set(&self, owner: u32) -> bool {
        self.replica_sets.as_ref().is_some_and(|sets| sets.has(owner))
    }

    /// An object that owns pods was created, or is due again.
    pub(super) fn start_owner(&mut self, owner: u32) {
        if self.is_replica_set(owner) {
            self.sets(|sets, env| sets.start(env, owner));
        } else {
            self.control(|controllers, env| controllers.start(env, owner));
        }
    }

    /// An informer has shown a change of a node.
    pub(super) fn on_node_observed(&mut self, watcher: usize, node: NodeId, change: NodeChange) {
        if watcher == self.scheduler.watcher && self.scheduler.started {
            self.call(|model, cx| model.on_node(cx, node, change));
        }
        if Some(watcher) == self.agents_watcher && self.has_stages_for(Kind::Node) {
            self.stage_observes_node(node);
        }
        if self.changes.as_ref().is_some_and(|changes| changes.controllers.watcher == watcher) {
            self.control(|controllers, env| controllers.on_node(env, node, change));
        }
    }

    /// A write to a node is stored.
    pub(super) fn on_node_stored(&mut self, verb: Verb, code: PodId, node: NodeId) {
        match verb {
            Verb::DeleteNode => {
                self.cluster.nodes.set_present(node, false);
                self.agents.remove_machine(node);
                self.autoscale(|it, world| it.on_node_gone(world, node));
            }
            _ => {
                if verb == Verb::CreateNode {
                    self.cluster.nodes.set_present(node, true);
                }
                let patch = NodePatch::decode(code);
                let store = self.control_plane.store_mut();
                let before = store.node(node).ready;
                store.patch_node(&mut self.cluster, node, patch);
                if before != Ready::Unknown
                    && store.node(node).ready == Ready::Unknown
                    && let Some(changes) = &mut self.changes
                {
                    changes.faults.noticed(node, self.kernel.now());
                }
            }
        }
        self.stage_node_stored(verb, code, node);
        if verb == Verb::CreateNode && !self.has_stages_for(Kind::Node) {
            self.on_node_created(node);
        }
        if self.control_plane.store().node(node).ready == Ready::True {
            self.autoscale(|it, world| it.on_node_ready(world, node));
        }
    }

    /// A write to a pod is stored: who serves, and what its node holds. To be called before the pod's stage changes.
    pub(super) fn note_stored(&mut self, verb: Verb, pod: PodId, node: NodeId) {
        let now = self.kernel.now();
        let Some(changes) = self.changes.as_mut() else { return };
        if verb == Verb::Bind {
            changes.recovery.binds();
        }
        // As `take_stored` takes it. (Objects that are no pods have numbers of their own.)
        if matches!(verb, Verb::Bind | Verb::PatchSucceeded | Verb::PatchFailed | Verb::DeletePod) {
            let bound = self.cluster.pods.node(pod) != NO_NODE;
            let comes = verb == Verb::Bind;
            if bound != comes && self.cluster.pods.stage(pod) != Stage::Finished {
                changes.faults.count_pod(&mut self.kernel, &self.cluster, pod, comes);
            }
        }
        match verb {
            Verb::Bind if self.cluster.nodes.get(node).present && self.agents.trouble(node).is_none() => {
                changes.recovery.serves(pod);
            }
            Verb::PatchRunning => {
                let node = self.cluster.pods.node(pod);
                if node != NO_NODE && self.agents.trouble(node).is_none() {
                    changes.recovery.serves(pod);
                    changes.recovery.runs(pod);
                }
            }
            Verb::DeleteGracefully if self.control_plane.store().was_scaled_down(pod) => {
                changes.recovery.left(pod, now);
            }
            Verb::DeleteGracefully => {
                let case = changes.drains.as_ref().and_then(|drains| drains.case_of(pod));
                changes.recovery.lost(pod, now, case);
                if self.control_plane.store().owner(pod) == NO_OWNER {
                    changes.recovery.abandoned(pod);
                }
            }
            Verb::PatchSucceeded | Verb::PatchFailed | Verb::DeletePod => {
                let node = self.cluster.pods.node(pod);
                let store = self.control_plane.store_mut();
                if node != NO_NODE {
                    store.leave_node(pod, node);
                    let never_ran = self.cluster.pods.timeline(pod).running_ns == Nanos::MAX;
                    changes.gone_early += u64::from(never_ran && changes.takes_away);
                }
                self.agents.forget(pod);
                if store.is_wanted_away(pod) {
                    changes.recovery.left(pod, now);
                } else {
                    changes.failed_pods += u64::from(verb == Verb::PatchFailed);
                    let case = changes.drains.as_ref().and_then(|drains| drains.case_of(pod));
                    changes.recovery.lost(pod, now, case);
                    if store.owner(pod) == NO_OWNER {
                        changes.recovery.abandoned(pod);
                    }
                }
            }
            _ => {}
        }
    }

    /// A node's agent sees a bound pod: it starts it, if there is room.
    pub(super) fn on_agent_observes(&mut self, pod: PodId) {
        let node = self.cluster.pods.node(pod);
        let checks = matches!(self.agents.kind(), AgentKind::Hollow | AgentKind::Kubelet);
        if self.changes.is_some()
            && checks
            && self.agents.trouble(node).is_none()
            && !self.control_plane.store_mut().admit(&self.cluster, pod, node)
        {
            self.kernel.at(self.kernel.now(), Event::Agent { pod, what: AgentEvent::Rejected });
            return;
        }
        self.agents.on_bound(&mut self.kernel, pod, node);
    }

    /// Whether something is still to come that the run must not end before: a fault at a given time, a recovery.
    pub(super) fn changes_to_come(&self) -> bool {
        self.changes.as_ref().is_some_and(|c| {
            // A Job has ended when its controller says so.
            let jobs = || {
                self.stop == StopWhen::AllFinished && c.controllers.jobs.as_ref().is_some_and(Jobs::are_open)
            };
            let daemons =
                || c.controllers.daemon_sets.as_ref().is_some_and(|sets| sets.are_open(&self.cluster));
            let moving = || c.controllers.are_moving();
            c.faults.are_scripted_to_come() || c.recovery.is_open() || moving() || jobs() || daemons()
        })
    }

    /// Whether the run waits for the time of a fault, or for the end of one that has an end.
    pub(super) fn faults_to_come(&self) -> bool {
        self.changes.as_ref().is_some_and(|c| {
            let uncordons = c.drains.as_ref().is_some_and(|drains| drains.are_to_end());
            let waits = c.controllers.deployments.as_ref().is_some_and(Deployments::wait_for_time);
            c.faults.are_scripted_to_come() || c.recovery.is_lasting() || uncordons || waits
        })
    }

    /// What is left of faults.
    pub(super) fn faults_report(&self) -> Option<FaultsReport> {
        let changes = self.changes.as_ref()?;
        let mut cases = changes.faults.cases(&changes.recovery);
        for (occurrence, over_ns) in changes.drains.iter().flat_map(|drains| drains.ends()) {
            cases[occurrence].drained_ns = over_ns;
        }
        let (rollouts, scalings) = changes.controllers.outcomes();
        Some(FaultsReport {
            cases,
            pods_replaced: changes.replaced,
            pods_abandoned: changes.recovery.abandoned_count(),
            pods_evicted: changes.controllers.taint_eviction.evicted(),
            pods_collected: changes.controllers.pod_gc.collected(),
            pods_failed: changes.failed_pods,
            drains: changes.drains.as_ref().map(|drains| drains.report()),
            creations_refused: self.control_plane.store().quotas().map(Quotas::refused),
            jobs: changes.controllers.jobs.as_ref().map(Jobs::ended),
            cron_jobs: changes.controllers.cron_jobs.as_ref().map(CronJobs::counts),
            rollouts: changes
                .faults
                .are_some(|kind| matches!(kind, FaultKind::Rollout { .. }))
                .then_some(rollouts),
            scalings: changes
                .faults
                .are_some(|kind| matches!(kind, FaultKind::Scale { .. }))
                .then_some(scalings),
            has_faults: changes.faults.are_any(),
        })
    }
}

fn span(lifetimes: &Lifetimes, cluster: &Cluster, later: &[Nanos], pod: PodId) -> Option<Nanos> {
    let spans = match lifetimes {
        Lifetimes::Endless => return None,
        Lifetimes::Run(spans) | Lifetimes::Hold(spans) => spans,
    };
    let ns = match spans.get(pod as usize) {
        Some(ns) => *ns,
        None => {
            let first = cluster.pods.first_later();
            let at = pod.checked_sub(first)?;
            *later.get(at as usize)?
        }
    };
    (ns != Nanos::MAX).then_some(ns)
}
