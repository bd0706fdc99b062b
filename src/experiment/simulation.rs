//! One simulation: the event loop that joins workload, control plane, scheduler and node agents.
//!
//! The loop pops an event, hands it to its owner and carries out what comes back: the control plane's
//! [`Outcome`]s and the scheduler's [`Action`]s. Nothing here decides anything of the real systems'; it only
//! connects them and stamps the pods' timelines.
//!
//! A run ends when its stop condition holds, when virtual time reaches the limit, or when nothing has moved for
//! the plan's `stall_ns`: a workload that can't be placed ends and says why.
//!
//! Cost: O(events x log pending jobs); see each model for its own.
mod admission;
mod autoscaling;
mod changes;
mod staging;
pub mod state;

use std::collections::VecDeque;

use super::watch::{self, Progress, Watch};
use crate::autoscaler::{self, Autoscaling};
use crate::cluster::{Cluster, NO_NODE, NodeId, PodId, Stage};
use crate::control_plane::apf::{Admitter, Apf, FlowId, Identity, PlainInFlight, ResourceClass};
use crate::control_plane::controllers::Answer;
use crate::control_plane::controllers::kueue::Kueue;
use crate::control_plane::controllers::replica_set::ReplicaSets;
use crate::control_plane::etcd::{self, Etcd};
use crate::control_plane::kernel::{AgentEvent, Event, Job, Kernel, ProcessId};
use crate::control_plane::node_agents::{AgentKind, LEASE_RENEW_INTERVAL_NS, NodeAgents};
use crate::control_plane::stages::player::StagesReport;
use crate::control_plane::stages::{Kind, Stages};
use crate::control_plane::store::Refusal;
use crate::control_plane::token_bucket::TokenBucket;
use crate::control_plane::{ClientId, ControlPlane, Outcome, PodChange, ServerParts, Verb};
use crate::cost::{Meter, ProfileError, picos_to_nanos};
use crate::engine::{HostId, Nanos, Rng, SECOND, Streams};
use crate::measure::attribution::Stations;
use crate::measure::seen::Seen;
use crate::measure::station::Station;
use crate::measure::telemetry::{Histogram, Telemetry};
use crate::scenario::plan::{
    ApiServerPlan, ClientIdentity, ClientLimits, Creation, Lifetimes, Placement, Plan, StopWhen,
};
use crate::scheduler::{Action, BindOutcome, Context, Failure, NodeChange, Registry, SchedulerModel};

pub use admission::Admissions;
use changes::Changes;
use changes::servers::Rebuild;
pub use changes::{DrainReport, FaultCase, FaultsReport};

/// How often a run is checked for progress, at the least.
const WATCHDOG_PERIOD_NS: Nanos = 30 * SECOND;
/// Cores of a host that no scenario limits.
const UNLIMITED_CORES: u32 = 4096;
const REFERENCE_SPEED_PPM: u32 = 1_000_000;

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its stop condition held.
    Done,
    /// Virtual time reached the limit.
    Limit,
    /// Nothing moved any more.
    Stalled,
    /// The scheduler has failed.
    Failed,
}

/// A simulation can't be built.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum BuildError {
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error("there is no scheduler `{kind}`; there are: {known}. Register it or correct scheduler.kind")]
    UnknownScheduler { kind: String, known: String },
    #[error("{}", .0.message)]
    Scheduler(Failure),
}

/// Counts of pods by stage, kept as pods move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PodCounts {
    /// Planned.
    pub total: u64,
    /// Stored by the API server.
    pub created: u64,
    /// Assumed on a node by the scheduler at least once.
    pub assumed: u64,
    /// Bound.
    pub bound: u64,
    /// Reached running.
    pub running: u64,
    /// Finished or deleted.
    pub finished: u64,
    /// Given up by the scheduler.
    pub failed: u64,
    /// Planned, and never made: their Job has failed.
    pub dropped: u64,
}

/// The state of a finished run, from which everything is measured.
pub struct Finished {
    /// The plan's name.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// Nodes and pods with timelines.
    pub cluster: Cluster,
    /// Clock, hosts, processes with their meters.
    pub kernel: Kernel,
    /// Clients, API server, etcd.
    pub control_plane: ControlPlane,
    /// The scheduler's client (bindings).
    pub bind_client: ClientId,
    /// Counts.
    pub counts: PodCounts,
    /// Busy periods.
    pub stations: Stations,
    /// Gauges and counters over time.
    pub telemetry: Telemetry,
    /// Why it ended.
    pub ended: Ended,
    /// Why pods are pending.
    pub pending_reasons: std::collections::BTreeMap<String, u64>,
    /// How the scheduler itself has failed.
    pub failure: Option<Failure>,
    /// What the load client's watch showed, if the plan asked for it.
    pub seen: Option<Seen>,
    /// Window of windowed throughput.
    pub window_ns: Nanos,
    /// Step of time series.
    pub step_ns: Nanos,
    /// When the run was to end.
    pub stop: StopWhen,
    /// What faults did; none: nothing could go wrong.
    pub faults: Option<FaultsReport>,
    /// What Kueue did; none: there was none.
    pub admissions: Option<Admissions>,
    /// What stages did; none: there were none.
    pub stages: Option<StagesReport>,
    /// What a node autoscaler did; none: there was none.
    pub autoscaler: Option<autoscaler::Report>,
}

struct SchedulerRuntime {
    model: Box<dyn SchedulerModel>,
    process: ProcessId,
    rng: Rng,
    client: ClientId,
    events_client: ClientId,
    /// Of the scheduler's controller, if it has one.
    controller_client: Option<ClientId>,
    watcher: usize,
    started: bool,
    /// It has said so itself.
    failed: bool,
    /// The model's, since its last call.
    has_backlog: bool,
    jobs: u32,
    start_up_ps: (u64, u64, u64),
    start_up_delay_ns: Nanos,
    /// Changes seen before the informers had synced.
    early: VecDeque<(PodId, PodChange)>,
    /// How often its process was started anew.
    epoch: u32,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Loader {
    client: ClientId,
    watcher: Option<usize>,
    next: PodId,
}

/// A simulation under way.
pub struct Simulation {
    name: String,
    seed: u64,
    kernel: Kernel,
    control_plane: ControlPlane,
    cluster: Cluster,
    scheduler: SchedulerRuntime,
    agents: NodeAgents,
    agents_watcher: Option<usize>,
    /// KWOK's stages, where a scenario has some.
    stages: Option<Box<Stages>>,
    replica_sets: Option<ReplicaSets>,
    /// Kueue, where it admits jobs.
    kueue: Option<Box<Kueue>>,
    /// What changes besides: faults, and what repairs them.
    changes: Option<Box<Changes>>,
    /// The node autoscaler, where there is one.
    autoscaling: Option<Box<Autoscaling>>,
    loader: Loader,
    /// The client that creates pods.
    creator: ClientId,
    creation: Creation,
    lifetimes: Lifetimes,
    stop: StopWhen,
    limit_ns: Nanos,
    stall_ns: Nanos,
    window_ns: Nanos,
    step_ns: Nanos,
    counts: PodCounts,
    /// Pods that the scheduler has in its queue, or had.
    queued: u64,
    /// Pods that are to be scheduled; those after them run on their nodes already and are in no count or metric.
    scheduled: PodId,
    expected_finishes: u64,
    stations: Stations,
    /// What the load client's watch shows, if the plan asks for it.
    seen: Option<Seen>,
    telemetry: Telemetry,
    telemetry_row: Vec<u64>,
    server_process: Option<ProcessId>,
    actions: Vec<Action>,
    last_progress: (PodCounts, Nanos),
    start_ns: Nanos,
    /// The next event, taken from the queue already: the simulation pauses before it.
    in_hand: Option<Event>,
}

struct Builder<'a> {
    kernel: Kernel,
    streams: Streams,
    plan: &'a Plan,
    hosts: Vec<HostId>,
    unlimited: Option<HostId>,
}

impl Builder<'_> {
    fn host(&mut self, host: Option<usize>) -> HostId {
        match host {
            Some(at) => self.hosts[at],
            None => {
                let kernel = &mut self.kernel;
                *self
                    .unlimited
                    .get_or_insert_with(|| kernel.add_host("unlimited", UNLIMITED_CORES, REFERENCE_SPEED_PPM))
            }
        }
    }

    fn process(&mut self, name: &str, place: &Placement) -> ProcessId {
        let host = self.host(place.host);
        let process =
            self.kernel.add_process(name, host, place.max_threads, Meter::new(place.profile.clone()));
        let noisy = place.host.is_some_and(|at| self.plan.hosts[at].noise_ppm > 0);
        if noisy {
            self.kernel.vary_wakeups(process, self.streams.stream(&format!("host.wakeup.{name}")));
        }
        process
    }
}

fn bucket(limits: ClientLimits) -> TokenBucket {
    TokenBucket::new(limits.qps_milli, limits.burst)
}

fn flow(control_plane: &mut ControlPlane, identity: ClientIdentity, name: &str) -> FlowId {
    let Some(admitter) = control_plane.admitter() else { return FlowId::default() };
    let identity = match identity {
        ClientIdentity::Masters => Identity::Masters,
        ClientIdentity::KubeScheduler => Identity::User("system:kube-scheduler"),
        ClientIdentity::ControllerManager => Identity::User("system:kube-controller-manager"),
        ClientIdentity::ServiceAccount => Identity::ServiceAccount { namespace: name, name },
        ClientIdentity::User => Identity::User(name),
        ClientIdentity::Nodes => Identity::Node(name),
    };
    admitter.flow(identity, ResourceClass::Other, "default")
}

fn admitter(plan: &ApiServerPlan) -> Admitter {
    if plan.priority_and_fairness {
        Admitter::Apf(Box::new(Apf::with_defaults(
            plan.max_requests_inflight + plan.max_mutating_requests_inflight,
        )))
    } else {
        Admitter::Plain(PlainInFlight::new(plan.max_requests_inflight, plan.max_mutating_requests_inflight))
    }
}

impl Simulation {
    /// Builds a simulation from a plan.
    ///
    /// # Errors
    /// The scheduler is not registered or a cost profile lacks something.
    pub fn new(plan: &Plan, registry: &Registry) -> Result<Self, BuildError> {
        Ok(Self::build(plan, registry)?.begin(plan))
    }

    /// The same simulation by other means: a binary heap of events, hosts that remember no completion, schedulers that search
    /// nodes from scratch. Its results have the same bytes; it is there to be compared (`tests/simulation/soak.rs`).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn plain(plan: &Plan, registry: &Registry) -> Result<Self, BuildError> {
        let mut plan = plan.clone();
        plan.scheduler.settings.plain = true;
        Ok(Self::build_on(Kernel::plain(), &plan, registry)?.begin(&plan))
    }

    /// Everything in its place, nothing begun.
    fn build(plan: &Plan, registry: &Registry) -> Result<Self, BuildError> {
        Self::build_on(Kernel::new(), plan, registry)
    }

    fn build_on(mut kernel: Kernel, plan: &Plan, registry: &Registry) -> Result<Self, BuildError> {
        let registration =
            registry.get(&plan.scheduler.kind).ok_or_else(|| BuildError::UnknownScheduler {
                kind: plan.scheduler.kind.clone(),
                known: registry.names().collect::<Vec<_>>().join(", "),
            })?;
        let streams = Streams::new(plan.seed);
        let mut hosts = Vec::new();
        for host in &plan.hosts {
            // One draw a host and run: neighbours on the same hardware make all of it slower or faster.
            let z = streams.stream(&format!("host.noise.{}", host.name)).normal();
            let factor = libm::exp(-z * f64::from(host.noise_ppm) / 1e6);
            let speed_ppm = (f64::from(host.speed_ppm) * factor) as u32;
            hosts.push(kernel.add_host(&host.name, host.cores, speed_ppm.max(1)));
        }
        let mut b = Builder { kernel, streams, plan, hosts, unlimited: None };

        let (mut control_plane, server_process, etcd_process, max_streams) = match &plan.api_server {
            Some(server) => {
                let process = b.process("apiserver", &server.server);
                let etcd_process = b.process("etcd", &server.etcd);
                let rng = b.streams.stream("etcd.fsync");
                let etcd = Etcd::new(&mut b.kernel, etcd_process, server.etcd_settings, rng)?;
                let parts = ServerParts { process, admitter: admitter(server), etcd };
                let control_plane = ControlPlane::with_server(&mut b.kernel, parts)?;
                (control_plane, Some(process), Some(etcd_process), server.max_streams_per_connection)
            }
            None => (ControlPlane::ideal(), None, None, u32::MAX),
        };

        // Processes and their clientsets.
        let s = &plan.scheduler;
        let scheduler_process = b.process("scheduler", &s.place);
        let transport = control_plane.add_transport(&mut b.kernel, Some(scheduler_process), max_streams);
        let scheduler_flow = flow(&mut control_plane, s.identity, "scheduler");
        let add = |b: &mut Builder<'_>, cp: &mut ControlPlane, name: &str, limits| {
            cp.add_client(
                &mut b.kernel,
                name,
                Some(scheduler_process),
                transport,
                bucket(limits),
                scheduler_flow,
            )
        };
        let client = add(&mut b, &mut control_plane, "scheduler", s.client);
        let events_client = add(&mut b, &mut control_plane, "scheduler-events", s.events_client);

        // A process of its own, whose CPU is not charged.
        let controller_client = s.controller_client.map(|limits| {
            let transport = control_plane.add_transport(&mut b.kernel, None, max_streams);
            let identity = ClientIdentity::ServiceAccount;
            let flow = flow(&mut control_plane, identity, "scheduler-controller");
            let bucket = bucket(limits);
            control_plane.add_client(&mut b.kernel, "scheduler-controller", None, transport, bucket, flow)
        });

        let load_process = plan.load_client.0.as_ref().map(|place| b.process("load", place));
        let load_transport = control_plane.add_transport(&mut b.kernel, load_process, max_streams);
        let load_flow = flow(&mut control_plane, ClientIdentity::User, "load");
        let load_client = control_plane.add_client(
            &mut b.kernel,
            "load",
            load_process,
            load_transport,
            bucket(plan.load_client.1),
            load_flow,
        );

        let manager = Self::manager(&mut b, &mut control_plane, max_streams);
        let replica_sets = manager.as_ref().and_then(|manager| Self::replica_sets(plan, manager));

        let kueue = Self::build_kueue(&mut b, &mut control_plane, max_streams)?;

        let (mut agents, agents_watcher) = Self::agents(&mut b, &mut control_plane, max_streams);
        let stages = Self::build_stages(&mut b, &mut control_plane, &agents, agents_watcher);
        if plan.agents.heartbeats && plan.agents.kind != AgentKind::None {
            Self::heartbeats(&mut b, server_process, etcd_process);
        }

        let scheduler_watcher =
            control_plane.add_watcher(&mut b.kernel, "scheduler", Some(scheduler_process));
        let load_watcher = match (&plan.lifetimes, load_process) {
            (Lifetimes::Hold(_), _) | (_, Some(_)) => {
                Some(control_plane.add_watcher(&mut b.kernel, "load", load_process))
            }
            _ => None,
        };
        let mut lists_of = vec![(scheduler_watcher, client)];
        lists_of.extend(manager.as_ref().map(|manager| (manager.watcher, manager.client)));
        lists_of.extend(agents_watcher.zip(agents.client()));
        lists_of.extend(load_watcher.map(|watcher| (watcher, load_client)));
        for watcher in &plan.watchers {
            let process = watcher.place.as_ref().map(|place| b.process(&watcher.name, place));
            let at = control_plane.add_watcher(&mut b.kernel, &watcher.name, process);
            if plan.changes.is_some() {
                lists_of.push((
                    at,
                    Self::lister(&mut b, &mut control_plane, &watcher.name, process, max_streams),
                ));
            }
        }

        Self::idle_load(&mut b);
        let meter = b.kernel.meter(scheduler_process);
        let model = registration.factory.build(&s.settings, meter)?;
        let mut start_cost = |name| {
            let op = meter.operation_or_free(name);
            meter.unit_ps(op)
        };
        let start_up_ps = (start_cost("start_up"), start_cost("list_node"), start_cost("list_pod"));
        let start_up_delay_ns = meter.profile().delay_ns("start_up_delay").unwrap_or(0);
        let rebuild = Rebuild::new(registration.factory.clone(), s.settings.clone(), start_up_ps);
        let changes = manager.as_ref().and_then(|manager| {
            Self::build_changes(&mut b, &mut control_plane, &mut agents, manager, &lists_of, rebuild)
        });

        let autoscaling = Self::build_autoscaling(&mut b, &mut control_plane, max_streams);

        let shared = {
            let hosts =
                b.kernel.processes().iter().filter(|p| p.host == b.kernel.process(scheduler_process).host);
            (hosts.count() > 1 && s.place.host.is_some())
                .then(|| s.place.host.map(|at| plan.hosts[at].name.clone()))
                .flatten()
        };
        let server_host =
            plan.api_server.as_ref().and_then(|s| s.server.host).map(|at| plan.hosts[at].name.clone());
        let pods = &plan.cluster.pods;
        let scheduled = (0..pods.first_placeholder()).rev().find(|p| pods.stage(*p) != Stage::Running);
        let scheduled = scheduled.map_or(0, |last| last + 1);
        let total = u64::from(scheduled);
        let expected_finishes = match &plan.lifetimes {
            Lifetimes::Endless => 0,
            Lifetimes::Run(spans) | Lifetimes::Hold(spans) => {
                spans[..scheduled as usize].iter().filter(|s| **s != u64::MAX).count() as u64
            }
        };
        let rng = b.streams.stream("scheduler");
        let mut cluster = plan.cluster.clone();
        cluster.pods.begin();
        let creator = match &replica_sets {
            Some(sets) if sets.is_empty() => {
                changes.as_ref().and_then(|changes| changes.controllers.creator()).unwrap_or(sets.client())
            }
            Some(sets) => sets.client(),
            None => load_client,
        };
        let mut stations = Stations::on_hosts(shared, server_host);
        stations.clients = [client, creator].map(|c| control_plane.clients()[c].name.clone());
        stations.closed_loop = !matches!(plan.creation, Creation::Scheduled { .. } | Creation::Existing);
        Ok(Self {
            name: plan.name.clone(),
            seed: plan.seed,
            kernel: b.kernel,
            control_plane,
            cluster,
            scheduler: SchedulerRuntime {
                model,
                process: scheduler_process,
                rng,
                client,
                events_client,
                controller_client,
                watcher: scheduler_watcher,
                started: false,
                failed: false,
                has_backlog: false,
                jobs: 0,
                start_up_ps,
                start_up_delay_ns,
                early: VecDeque::new(),
                epoch: 0,
            },
            agents,
            agents_watcher,
            stages,
            replica_sets,
            kueue,
            changes,
            autoscaling,
            loader: Loader { client: load_client, watcher: load_watcher, next: 0 },
            creation: plan.creation.clone(),
            lifetimes: plan.lifetimes.clone(),
            stop: plan.stop,
            limit_ns: plan.limit_ns,
            stall_ns: plan.stall_ns,
            window_ns: plan.window_ns,
            step_ns: plan.step_ns,
            counts: PodCounts { total, ..PodCounts::default() },
            queued: 0,
            scheduled,
            expected_finishes,
            seen: plan.record_seen.then(|| Seen::of(pods.first_placeholder() as usize)),
            telemetry: Telemetry::default(),
            telemetry_row: Vec::new(),
            stations,
            creator,
            server_process,
            actions: Vec::new(),
            last_progress: (PodCounts::default(), 0),
            start_ns: plan.scheduler.start_ns,
            in_hand: None,
        })
    }

    fn agents(
        b: &mut Builder<'_>,
        control_plane: &mut ControlPlane,
        max_streams: u32,
    ) -> (NodeAgents, Option<usize>) {
        let plan = &b.plan.agents;
        let rng = b.streams.stream("agents.start");
        if plan.kind == AgentKind::None {
            return (NodeAgents::new(AgentKind::None, None, (0, 0), rng), None);
        }
        let process = plan.place.as_ref().map(|place| b.process("node-agents", place));
        // Each hollow node and kubelet has connections of its own: streams are never short.
        let max_streams = if plan.kind == AgentKind::Kwok { max_streams } else { u32::MAX };
        let transport = control_plane.add_transport(&mut b.kernel, process, max_streams);
        let identity =
            if plan.kind == AgentKind::Kwok { ClientIdentity::User } else { ClientIdentity::Nodes };
        let flow = flow(control_plane, identity, "node-agents");
        let client = control_plane.add_client(
            &mut b.kernel,
            "node-agents",
            process,
            transport,
            bucket(plan.client),
            flow,
        );
        let watcher = control_plane.add_watcher(&mut b.kernel, "node-agents", process);
        let agents = NodeAgents::new(plan.kind, Some(client), plan.start_latency_ns, rng);
        let agents = match plan.termination_latency_ns {
            Some(latency_ns) => agents.ending_after(latency_ns, b.streams.stream("agents.termination")),
            None => agents,
        };
        (agents, Some(watcher))
    }

    /// With whose connections and tokens another watcher lists.
    fn lister(
        b: &mut Builder<'_>,
        control_plane: &mut ControlPlane,
        name: &str,
        process: Option<ProcessId>,
        max_streams: u32,
    ) -> ClientId {
        let transport = control_plane.add_transport(&mut b.kernel, process, max_streams);
        let flow = flow(control_plane, ClientIdentity::User, name);
        control_plane.add_client(&mut b.kernel, name, process, transport, TokenBucket::unlimited(), flow)
    }

    /// What a process spends on its own timers, as fluid load.
    fn idle_load(b: &mut Builder<'_>) {
        for process in b.kernel.process_ids() {
            let per_second_ns = b.kernel.meter(process).profile().delay_ns("idle_per_second").unwrap_or(0);
            let milli_cores = per_second_ns * 1000 / SECOND;
            b.kernel.add_background(process, u32::try_from(milli_cores).unwrap_or(u32::MAX));
        }
    }

    /// Lease renewals as fluid load: nodes / 10 s times the cost of one.
    fn heartbeats(b: &mut Builder<'_>, server: Option<ProcessId>, etcd: Option<ProcessId>) {
        let nodes = b.plan.cluster.nodes.len() as u64;
        for (process, operation) in [(server, "lease"), (etcd, "entry")] {
            let Some(process) = process else { continue };
            let meter = b.kernel.meter(process);
            let op = meter.operation_or_free(operation);
            let renewal_ns = picos_to_nanos(meter.unit_ps(op));
            let milli_cores = nodes * renewal_ns * 1000 / LEASE_RENEW_INTERVAL_NS;
            b.kernel.add_background(process, u32::try_from(milli_cores).unwrap_or(u32::MAX));
        }
    }

    fn begin(mut self, plan: &Plan) -> Self {
        if plan.scheduler.running_at_start {
            self.start_scheduler();
        } else {
            self.kernel.at(self.start_ns, Event::SchedulerStarts);
        }
        let pods = self.scheduled;
        for pod in pods..self.cluster.pods.first_placeholder() {
            self.schedule_finish(pod);
        }
        match &self.creation {
            Creation::Existing => {
                for pod in 0..pods {
                    self.mark_created(pod, 0);
                    if self.changes.is_some() {
                        self.control_plane.store_mut().exists_from_the_beginning(pod);
                    }
                    self.autoscaler_sees(Verb::CreatePod, pod);
                }
            }
            Creation::ClosedLoop { concurrency } => {
                self.stations.at(Station::Creation).set(0, true);
                for _ in 0..(*concurrency).min(pods) {
                    self.create_next();
                }
            }
            Creation::Scheduled { times_ns } => {
                if let Some(first) = times_ns.first() {
                    self.stations.at(Station::Creation).set(0, true);
                    self.kernel.at(*first, Event::Arrival { index: 0 });
                }
            }
            Creation::ReplicaSets { times_ns, .. } => {
                self.stations.at(Station::Creation).set(0, true);
                for (index, at) in times_ns.iter().enumerate() {
                    self.kernel.at(*at, Event::Arrival { index: index as u32 });
                }
            }
        }
        self.begin_changes();
        self.begin_stages();
        self.autoscale(Autoscaling::begin);
        let at = self.watchdog_period_ns().min(self.limit_ns);
        self.kernel.at(at, Event::Watchdog);
        self.telemetry = Telemetry::new(self.telemetry_columns(), self.step_ns);
        self
    }

    fn watchdog_period_ns(&self) -> Nanos {
        WATCHDOG_PERIOD_NS.min(self.stall_ns / 5).max(1)
    }

    fn mark_created(&mut self, pod: PodId, now: Nanos) {
        self.cluster.pods.set_stage(pod, Stage::Created);
        self.cluster.pods.timeline_mut(pod).created_ns = now;
        if self.cluster.pods.is_placeholder(pod) {
            return;
        }
        self.counts.created += 1;
        if self.counts.created + self.counts.dropped == self.counts.total {
            self.stations.at(Station::Creation).set(now, false);
        }
    }

    fn create_next(&mut self) {
        if self.loader.next < self.scheduled {
            let pod = self.loader.next;
            self.loader.next += 1;
            self.control_plane.submit(&mut self.kernel, self.loader.client, Verb::CreatePod, pod, NO_NODE);
        }
    }

    /// Runs to the end.
    ///
    /// # Panics
    /// If an invariant breaks: a pod bound twice, a node over its allocatable, pods lost.
    #[must_use]
    pub fn run(mut self) -> Finished {
        let ended = self.advance(Nanos::MAX).expect("nothing is later than the end of time");
        self.finish(ended)
    }

    /// Runs until everything up to `until_ns` has happened, or to the end: then says why it ended. A run that pauses
    /// is the same, event by event, as one that does not.
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn advance(&mut self, until_ns: Nanos) -> Option<Ended> {
        let horizon_ns = until_ns.min(self.limit_ns);
        self.drain_outcomes();
        if let Some(event) = self.in_hand.take() {
            if self.kernel.now() > horizon_ns {
                return self.pause(event, until_ns);
            }
            if let Err(ended) = self.handle(event) {
                return Some(ended);
            }
        }
        let watch = Watch::current();
        loop {
            if self.is_done() {
                return Some(Ended::Done);
            }
            let Some(event) = self.kernel.next_event() else { return Some(Ended::Stalled) };
            if self.kernel.events_handled().is_multiple_of(watch::EVENTS) {
                self.show(watch.as_ref());
            }
            if self.kernel.now() > horizon_ns {
                return self.pause(event, until_ns);
            }
            if let Err(ended) = self.handle(event) {
                return Some(ended);
            }
        }
    }

    /// Shows how far it is to who watches, who may end it.
    #[cold]
    fn show(&self, watch: Option<&Watch>) {
        if let Some(watch) = watch {
            watch.look(Progress {
                now_ns: self.kernel.now(),
                counts: self.counts,
                backlog: self.scheduler.model.backlog(),
                events: self.kernel.events_handled(),
            });
        }
    }

    /// The next event is past the horizon: a pause if one is due by the limit, else the end.
    #[cold]
    fn pause(&mut self, event: Event, until_ns: Nanos) -> Option<Ended> {
        if until_ns > self.limit_ns {
            return Some(Ended::Limit);
        }
        self.in_hand = Some(event);
        None
    }

    /// Hands an event to its owner and carries out what comes back.
    #[inline(always)]
    fn handle(&mut self, event: Event) -> Result<(), Ended> {
        while self.telemetry.is_due(self.kernel.now()) {
            self.read_telemetry(self.telemetry.next_ns());
            self.telemetry.record(&self.telemetry_row);
        }
        match event {
            Event::Host { host, generation } => self.on_jobs(host, generation),
            Event::Request { id, what } => {
                self.control_plane.on_request_event(&mut self.kernel, id, what);
            }
            Event::SeatsReleased { hold, epoch } => {
                self.control_plane.on_seats_released(&mut self.kernel, hold, epoch);
            }
            Event::EtcdSynced => self.control_plane.on_etcd_synced(&mut self.kernel),
            Event::EtcdCommit => self.control_plane.on_etcd_commit(&mut self.kernel),
            Event::LimitsAdjusted => self.control_plane.on_limits_adjusted(&mut self.kernel),
            Event::SchedulerStarts => self.on_scheduler_process_starts(),
            Event::SchedulerTimer { tag, epoch } if epoch == self.scheduler.epoch => {
                self.call(|model, cx| model.on_timer(cx, tag));
            }
            // Of a process that is no more.
            Event::SchedulerTimer { .. } => {}
            Event::Kueue { tag } => {
                if let Some(kueue) = &mut self.kueue {
                    kueue.on_timer(&mut self.kernel, tag);
                }
            }
            Event::Arrival { index } => self.on_arrival(index),
            Event::Agent { pod, what } => self.on_agent(pod, what),
            Event::Watchdog => {
                if self.is_stalled() {
                    return Err(Ended::Stalled);
                }
                let at = (self.kernel.now() + self.watchdog_period_ns()).min(self.limit_ns + 1);
                self.kernel.at(at, Event::Watchdog);
            }
            Event::Controller { what, epoch } => self.on_controller(what, epoch),
            Event::Watch { watcher, nth } => self.on_watch(watcher as usize, nth),
            Event::Fault { what, index, node } => self.on_fault(what, index, node),
            Event::Autoscaler { what } => self.autoscale(|it, world| it.on_timer(world, what)),
        }
        self.drain_outcomes();
        self.settle_recovery();
        self.watch_stations();
        if self.scheduler.failed { Err(Ended::Failed) } else { Ok(()) }
    }

    /// Virtual time: that of the last event, or of the next one if it has been taken from the queue.
    #[must_use]
    pub const fn now(&self) -> Nanos {
        self.kernel.now()
    }

    /// The cluster as the API server stores it.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn is_done(&self) -> bool {
        let c = &self.counts;
        if self.changes_to_come() {
            return false;
        }
        // Who records ends when it has seen the last one.
        let (bound, running) = self.seen.as_ref().map_or((c.bound, c.running), |s| (s.bound, s.running));
        let reached = match self.stop {
            StopWhen::AllBound => bound + c.failed + c.dropped >= c.total,
            StopWhen::AllRunning => {
                let gone_early = self.changes.as_ref().map_or(0, |changes| changes.gone_early);
                running + c.failed + c.dropped + gone_early >= c.total
            }
            StopWhen::AllFinished => {
                c.bound + c.failed + c.dropped >= c.total
                    && c.finished >= self.expected_finishes
                    && !self.stages.as_ref().is_some_and(|stages| stages.are_moving())
            }
            StopWhen::Time => false,
        };
        // Last, as it looks at every job.
        reached && !self.kueue.as_ref().is_some_and(|kueue| kueue.has_evicted())
    }

    fn is_stalled(&mut self) -> bool {
        let now = self.kernel.now();
        let more_to_come = match &self.creation {
            Creation::ReplicaSets { .. } if self.kueue.is_some() => {
                self.kueue.as_ref().is_some_and(|kueue| kueue.is_moving())
            }
            Creation::Scheduled { .. } | Creation::ReplicaSets { .. } => {
                self.counts.created + self.counts.dropped < self.counts.total
            }
            _ => false,
        };
        let lives = self.counts.finished < self.expected_finishes && self.counts.bound > self.counts.finished;
        let waits = self.scheduler.model.waits_for_time();
        if self.last_progress.0 != self.counts
            || more_to_come
            || lives
            || waits
            || self.stages.as_ref().is_some_and(|stages| stages.are_moving())
            || self.faults_to_come()
            || self.autoscaling.as_ref().is_some_and(|it| it.is_moving(now))
            || self.stop == StopWhen::Time
        {
            self.last_progress = (self.counts, now);
        }
        now - self.last_progress.1 >= self.stall_ns
    }

    fn on_jobs(&mut self, host: HostId, generation: u32) {
        let finished = self.kernel.finish_jobs(host, generation);
        for index in 0..finished {
            let (_, job) = self.kernel.finished_job(index);
            match self.control_plane.on_job(&mut self.kernel, job) {
                None => {}
                Some(Job::Scheduler(tag)) => {
                    self.scheduler.jobs -= 1;
                    self.call(|model, cx| model.on_cpu_done(cx, tag));
                }
                Some(Job::SchedulerStart) => {
                    let at = self.kernel.now() + self.scheduler.start_up_delay_ns;
                    self.kernel.at(at, Event::SchedulerStarts);
                }
                Some(Job::Kueue(tag)) => {
                    if let Some(kueue) = &mut self.kueue {
                        kueue.on_cpu_done(&mut self.kernel, &mut self.control_plane, tag);
                    }
                }
                Some(_) => {}
            }
            self.drain_outcomes();
        }
    }

    /// The process starts: CPU for itself and for every object it lists, then it waits for its informers' polls.
    fn on_scheduler_process_starts(&mut self) {
        if self.scheduler.start_up_ps.0 > 0 {
            let (start, node, pod) = self.scheduler.start_up_ps;
            let nodes = self.cluster.nodes.len() as u64;
            let pods = u64::from(self.cluster.pods.first_placeholder());
            let listed = match self.creation {
                _ if self.scheduler.epoch > 0 => self.control_plane.store().pods_stored() as u64,
                Creation::Existing => pods,
                _ => 0,
            };
            let cost = start + node * nodes + pod * listed;
            self.scheduler.start_up_ps.0 = 0;
            self.kernel.cpu_picos(self.scheduler.process, cost, Job::SchedulerStart);
        } else {
            self.start_scheduler();
        }
    }

    /// The informers have synced: nodes and pods are handed over, then the scheduler begins.
    fn start_scheduler(&mut self) {
        self.scheduler.started = true;
        for node in 0..NodeId::try_from(self.cluster.nodes.len()).expect("nodes are limited") {
            if self.cluster.nodes.get(node).present {
                self.call(|model, cx| model.on_node(cx, node, NodeChange::Added));
            }
        }
        if self.scheduler.epoch > 0 {
            self.hand_over_pods();
            self.call(|model, cx| model.on_start(cx));
            return;
        }
        for pod in self.scheduled..self.cluster.pods.first_later() {
            if self.cluster.pods.stage(pod) == Stage::Running {
                let node = self.cluster.pods.node(pod);
                self.call(|model, cx| model.on_pod_bound(cx, pod, node));
            }
        }
        if self.creation == Creation::Existing {
            // The informer's first list reaches the handlers in no particular order (it comes out of a map).
            let mut pods: Vec<PodId> = (0..self.scheduled).collect();
            self.scheduler.rng.shuffle(&mut pods);
            for pod in pods {
                self.pod_queued(pod);
                self.call(|model, cx| model.on_pod_pending(cx, pod));
            }
        }
        while let Some((pod, change)) = self.scheduler.early.pop_front() {
            self.on_scheduler_observes(pod, change);
        }
        self.call(|model, cx| model.on_start(cx));
    }

    fn pod_queued(&mut self, pod: PodId) {
        if self.cluster.pods.stage(pod) == Stage::Created {
            self.queued += 1;
            self.cluster.pods.set_stage(pod, Stage::Queued);
            self.cluster.pods.timeline_mut(pod).queued_ns = self.kernel.now();
        }
    }

    /// Calls the scheduler and carries out its actions.
    fn call(&mut self, f: impl FnOnce(&mut dyn SchedulerModel, &mut Context<'_>)) {
        let now = self.kernel.now();
        let mut actions = std::mem::take(&mut self.actions);
        let mut cycle_started = None;
        {
            let s = &mut self.scheduler;
            let mut cx = Context {
                now,
                cluster: &self.cluster,
                rng: &mut s.rng,
                meter: self.kernel.meter(s.process),
                actions: &mut actions,
                cycle_started: &mut cycle_started,
            };
            f(&mut *s.model, &mut cx);
        }
        if let Some(pod) = cycle_started {
            self.cluster.pods.timeline_mut(pod).cycle_ns = now;
        }
        for action in actions.drain(..) {
            self.act(action);
        }
        self.actions = actions;
        self.scheduler.has_backlog = self.scheduler.model.has_backlog();
        let busy = self.scheduler.jobs > 0 && self.scheduler.has_backlog;
        self.stations.at(Station::Scheduler).set(now, busy);
    }

    fn act(&mut self, action: Action) {
        let (kernel, control_plane, s) = (&mut self.kernel, &mut self.control_plane, &mut self.scheduler);
        match action {
            Action::Cpu { cpu_ns, threads, tag } => {
                s.jobs += 1;
                kernel.cpu(s.process, cpu_ns, threads, Job::Scheduler(tag));
            }
            Action::Timer { at, tag } => {
                kernel.at(at.max(kernel.now()), Event::SchedulerTimer { tag, epoch: s.epoch });
            }
            Action::Assume { pod } => {
                let now = kernel.now();
                let placeholder = self.cluster.pods.is_placeholder(pod);
                let timeline = self.cluster.pods.timeline_mut(pod);
                if timeline.assumed_ns == u64::MAX && !placeholder {
                    self.counts.assumed += 1;
                }
                timeline.assumed_ns = now;
                self.cluster.pods.set_stage(pod, Stage::Assumed);
            }
            Action::Bind { pod, node } => control_plane.submit(kernel, s.client, Verb::Bind, pod, node),
            Action::Cycle { pod } => self.cluster.pods.timeline_mut(pod).cycle_ns = kernel.now(),
            Action::PutObject { pod, by_controller } => {
                let client = if by_controller { s.controller_client.unwrap_or(s.client) } else { s.client };
                control_plane.submit(kernel, client, Verb::PutObject, pod, NO_NODE);
            }
            Action::Annotate { pod } => {
                let client = s.controller_client.unwrap_or(s.client);
                control_plane.submit(kernel, client, Verb::PatchCondition, pod, NO_NODE);
            }
            Action::Events { count } => {
                if !control_plane.is_ideal() {
                    for _ in 0..count {
                        control_plane.submit(kernel, s.events_client, Verb::CreateEvent, PodId::MAX, NO_NODE);
                    }
                }
            }
            Action::PatchStatus { pod } => {
                control_plane.submit(kernel, s.client, Verb::PatchCondition, pod, NO_NODE);
            }
            Action::CreatePod { pod } => {
                control_plane.submit(kernel, s.client, Verb::CreatePod, pod, NO_NODE);
            }
            Action::Delete { pod } => {
                // A placeholder has no grace period and is no pod of the workload.
                let placeholder = self.cluster.pods.is_placeholder(pod);
                let endless = self.changes.is_none()
                    && !placeholder
                    && match &self.lifetimes {
                        Lifetimes::Endless => true,
                        Lifetimes::Run(spans) | Lifetimes::Hold(spans) => spans[pod as usize] == u64::MAX,
                    };
                if endless && pod < self.scheduled && self.cluster.pods.stage(pod) != Stage::Finished {
                    self.expected_finishes += 1;
                }
                // Without an agent, or before it is bound, nobody holds the pod back.
                let held = !placeholder
                    && self.agents.kind() != AgentKind::None
                    && self.cluster.pods.node(pod) != NO_NODE;
                // Where others delete, too, the API server decides when the pod is deleted.
                let held = held || self.changes.is_some() && !placeholder;
                let verb = if held { Verb::DeleteGracefully } else { Verb::DeletePod };
                control_plane.submit(kernel, s.client, verb, pod, NO_NODE);
            }
            Action::Fail => s.failed = true,
            Action::GiveUp { pod } => {
                let over = self.cluster.pods.stage(pod) == Stage::Finished;
                if self.cluster.pods.node(pod) == NO_NODE && !over && !self.cluster.pods.is_placeholder(pod) {
                    self.cluster.pods.set_stage(pod, Stage::Failed);
                    self.counts.failed += 1;
                    if let Some(autoscaling) = &mut self.autoscaling {
                        autoscaling.forget(pod);
                    }
                }
            }
        }
    }

    #[inline]
    fn drain_outcomes(&mut self) {
        while let Some(outcome) = self.control_plane.next_outcome() {
            self.on_outcome(outcome);
        }
    }

    fn on_outcome(&mut self, outcome: Outcome) {
        let now = self.kernel.now();
        match outcome {
            Outcome::Sent { verb: Verb::Bind, pod } => self.cluster.pods.timeline_mut(pod).bind_sent_ns = now,
            Outcome::Sent { .. } => {}
            Outcome::Stored { verb, pod, node } => self.on_stored(verb, pod, node),
            Outcome::Answered { client, verb, pod, node, ok, refusal } => {
                self.on_answered(client, Answer { verb, pod, node, ok, refusal });
            }
            Outcome::NodeObserved { watcher, node, change } => self.on_node_observed(watcher, node, change),
            Outcome::Observed { watcher, pod, change } => {
                if watcher == self.scheduler.watcher {
                    if self.scheduler.started {
                        self.on_scheduler_observes(pod, change);
                    } else {
                        self.scheduler.early.push_back((pod, change));
                    }
                }
                if Some(watcher) == self.loader.watcher
                    && let Some(seen) = &mut self.seen
                {
                    match change {
                        PodChange::Added => seen.created(pod, now),
                        PodChange::Bound => seen.bound(pod, now),
                        PodChange::Status if self.cluster.pods.stage(pod) == Stage::Running => {
                            seen.running(pod, now);
                        }
                        PodChange::Status | PodChange::Gone => {}
                    }
                }
                if Some(watcher) == self.agents_watcher {
                    if self.has_stages_for(Kind::Pod) {
                        self.stage_observes(pod);
                    } else if change == PodChange::Bound {
                        self.on_agent_observes(pod);
                    }
                }
                if Some(watcher) == self.loader.watcher
                    && change == PodChange::Bound
                    && matches!(self.lifetimes, Lifetimes::Hold(_))
                    && let Some(span) = self.span(pod)
                {
                    let at = now + span;
                    self.kernel.at(at, Event::Agent { pod, what: AgentEvent::Delete });
                }
                if let Some(changes) = &self.changes
                    && watcher == changes.controllers.watcher
                {
                    self.on_manager_observes(pod, change);
                }
            }
        }
    }

    fn on_stored(&mut self, verb: Verb, pod: PodId, node: NodeId) {
        let now = self.kernel.now();
        if matches!(verb, Verb::CreateNode | Verb::PatchNode | Verb::DeleteNode) {
            self.on_node_stored(verb, pod, node);
            return;
        }
        if self.changes.is_some() && pod != PodId::MAX {
            self.note_stored(verb, pod, node);
        }
        if pod != PodId::MAX {
            self.stage_stored(verb, pod);
        }
        if pod != PodId::MAX && self.cluster.pods.is_placeholder(pod) {
            self.on_placeholder_stored(verb, pod, node);
            return;
        }
        self.take_stored(verb, pod, node, now);
        self.autoscaler_sees(verb, pod);
    }

    fn take_stored(&mut self, verb: Verb, pod: PodId, node: NodeId, now: Nanos) {
        match verb {
            Verb::CreatePod => self.mark_created(pod, now),
            // The pod was deleted meanwhile: there is nothing to bind or to patch.
            Verb::Bind | Verb::PatchRunning if self.cluster.pods.stage(pod) == Stage::Finished => {}
            // Bound by an earlier request whose answer came too late for its client: the second is a conflict and changes nothing.
            Verb::Bind if self.cluster.pods.node(pod) != NO_NODE => {}
            Verb::Bind => {
                if self.cluster.pods.stage(pod) == Stage::Failed {
                    // The scheduler was told that the server is lost, and gave the pod up.
                    self.counts.failed -= 1;
                }
                self.cluster.pods.bind(pod, node);
                self.cluster.pods.set_stage(pod, Stage::Bound);
                self.cluster.pods.timeline_mut(pod).bound_ns = now;
                self.counts.bound += 1;
                // Without agents a run time counts from the binding.
                if self.agents.kind() == AgentKind::None {
                    self.schedule_finish(pod);
                }
            }
            Verb::PatchRunning => {
                self.cluster.pods.set_stage(pod, Stage::Running);
                let timeline = self.cluster.pods.timeline_mut(pod);
                // One that had to start anew has run before.
                if timeline.running_ns == u64::MAX {
                    timeline.running_ns = now;
                    self.counts.running += u64::from(self.is_counted(pod));
                    self.schedule_finish(pod);
                } else if self.agents.restarted_ns(pod).is_some() {
                    self.schedule_finish(pod);
                }
            }
            Verb::PatchSucceeded | Verb::PatchFailed | Verb::DeletePod => {
                if !self.is_counted(pod) {
                    self.cluster.pods.set_stage(pod, Stage::Finished);
                } else if self.cluster.pods.stage(pod) != Stage::Finished {
                    if self.cluster.pods.node(pod) == NO_NODE {
                        // Deleted before it was bound: nothing more will come of it.
                        self.counts.failed += 1;
                    }
                    if self.cluster.pods.stage(pod) == Stage::Failed {
                        // It was given up before; it is counted as failed already.
                        self.counts.failed -= 1;
                    }
                    if self.changes.is_some() && self.span(pod).is_none() {
                        self.expected_finishes += 1;
                    }
                    self.cluster.pods.set_stage(pod, Stage::Finished);
                    self.cluster.pods.timeline_mut(pod).finished_ns = now;
                    self.counts.finished += 1;
                    self.on_job_pod_finished(pod);
                }
            }
            // A stage is to end it.
            Verb::DeleteGracefully if self.has_stages_for(Kind::Pod) => {}
            Verb::DeleteGracefully => {
                // The agent ends the pod's containers and deletes it for good.
                let at =
                    self.agents.termination_ends_ns(now, self.cluster.pods.spec(pod).termination_grace_s);
                self.kernel.at(at, Event::Agent { pod, what: AgentEvent::Evicted });
            }
            Verb::PatchCondition
            | Verb::PatchNotReady
            | Verb::CreateEvent
            | Verb::GetPod
            | Verb::List
            | Verb::CreateNode
            | Verb::PatchNode
            | Verb::DeleteNode
            | Verb::PutObject
            | Verb::Evict => {}
        }
    }

    /// A gang's placeholder is in no count; what reaches it after its deletion changes nothing.
    fn on_placeholder_stored(&mut self, verb: Verb, pod: PodId, node: NodeId) {
        let now = self.kernel.now();
        let pods = &mut self.cluster.pods;
        let gone = pods.stage(pod) == Stage::Finished;
        match verb {
            Verb::CreatePod => self.mark_created(pod, now),
            Verb::Bind if !gone && pods.node(pod) == NO_NODE => {
                pods.bind(pod, node);
                pods.set_stage(pod, Stage::Bound);
                pods.timeline_mut(pod).bound_ns = now;
            }
            Verb::PatchRunning if !gone => {
                pods.set_stage(pod, Stage::Running);
                pods.timeline_mut(pod).running_ns = now;
            }
            Verb::DeletePod => {
                pods.set_stage(pod, Stage::Finished);
                pods.timeline_mut(pod).finished_ns = now;
            }
            _ => {}
        }
    }

    fn schedule_finish(&mut self, pod: PodId) {
        if matches!(self.lifetimes, Lifetimes::Run(_))
            && !self.has_stages_for(Kind::Pod)
            && let Some(span) = self.span(pod)
        {
            let at = self.kernel.now() + span;
            self.agents.will_end(pod, at);
            self.kernel.at(at, Event::Agent { pod, what: AgentEvent::Finished });
        }
    }

    fn on_answered(&mut self, client: ClientId, answer: Answer) {
        let Answer { verb, pod, node, ok, refusal } = answer;
        if refusal == Some(Refusal::Quota) {
            self.control_plane.store_mut().note_refusal();
        }
        if self.changes.is_some() && self.on_drain_answered(client, answer) {
            return;
        }
        if self.autoscaling.as_ref().is_some_and(|it| it.client() == client) {
            self.autoscale(|it, world| it.on_answered(world, answer));
            return;
        }
        if verb == Verb::List {
            self.on_list_answered(pod, node, ok);
        } else if client == self.scheduler.client && verb == Verb::Bind {
            let outcome = if ok { BindOutcome::Bound } else { BindOutcome::Failed };
            self.call(|model, cx| model.on_bind_done(cx, pod, node, outcome));
        } else if client == self.scheduler.client && verb == Verb::PatchCondition {
            self.call(|model, cx| model.on_status_patched(cx, pod));
        } else if client == self.scheduler.client && verb == Verb::PutObject {
            self.call(|model, cx| model.on_object_put(cx, pod));
        } else if Some(client) == self.scheduler.controller_client {
            self.call(|model, cx| model.on_controller_answered(cx, pod));
        } else if client == self.scheduler.client && verb == Verb::CreatePod {
            self.call(|model, cx| model.on_pod_created(cx, pod));
        } else if client == self.scheduler.client && matches!(verb, Verb::DeletePod | Verb::DeleteGracefully)
        {
            self.call(|model, cx| model.on_delete_done(cx, pod, ok));
        } else if self.kueue.as_ref().is_some_and(|kueue| client == kueue.client()) {
            self.on_kueue_answered((pod, node), ok);
        } else if self.kueue.is_some() && verb == Verb::PutObject {
            self.on_job_written(client == self.loader.client, pod, ok);
        } else if client == self.loader.client {
            if !ok && refusal.is_none() && self.changes.is_some() {
                self.load_again(verb, pod);
            } else if verb == Verb::CreatePod {
                if refusal == Some(Refusal::Quota) {
                    // Whoever creates pods by hand has an error and goes on.
                    self.drop_pod(pod);
                }
                self.on_load_created();
            }
        } else if self.replica_sets.as_ref().is_some_and(|sets| client == sets.client()) {
            if self.on_rollout_answered(answer) {
                return;
            }
            let owner = self.changes.is_some().then(|| self.control_plane.store().owner(pod));
            if verb == Verb::DeleteGracefully {
                self.sets(|sets, env| sets.on_deleted(env, pod, ok, refusal));
            } else {
                self.sets(|sets, env| sets.on_answered(env, pod, owner, ok, refusal));
            }
            self.write_suspended_jobs();
        } else if Some(client) == self.agents.client()
            && self.stages.is_some()
            && self.on_stage_answered(answer)
        {
            // A worker of the stages' has it.
        } else if Some(client) == self.agents.client() {
            self.agents.on_answered(&mut self.kernel, &mut self.control_plane, verb);
            if !ok && refusal.is_none() && self.changes.is_some() {
                self.agent_again(verb, pod, node);
            }
        } else if self.changes.is_some() {
            self.on_controller_answered(client, answer);
        }
    }

    /// The load client has created a pod.
    fn on_load_created(&mut self) {
        if matches!(self.creation, Creation::ClosedLoop { .. }) {
            self.create_next();
        }
    }

    fn on_scheduler_observes(&mut self, pod: PodId, change: PodChange) {
        match change {
            PodChange::Added => {
                self.pod_queued(pod);
                self.call(|model, cx| model.on_pod_pending(cx, pod));
            }
            PodChange::Bound => {
                let node = self.cluster.pods.node(pod);
                self.call(|model, cx| model.on_pod_bound(cx, pod, node));
            }
            PodChange::Gone => {
                let node = self.cluster.pods.node(pod);
                self.call(|model, cx| model.on_pod_gone(cx, pod, node));
            }
            PodChange::Status => {}
        }
    }

    fn on_arrival(&mut self, index: u32) {
        match &self.creation {
            Creation::Scheduled { times_ns } => {
                // All that are due now, then the next.
                let now = self.kernel.now();
                let mut next = index as usize;
                while next < times_ns.len() && times_ns[next] <= now {
                    let pod = next as PodId;
                    self.control_plane.submit(
                        &mut self.kernel,
                        self.loader.client,
                        Verb::CreatePod,
                        pod,
                        NO_NODE,
                    );
                    next += 1;
                }
                if next < times_ns.len() {
                    self.kernel.at(times_ns[next], Event::Arrival { index: next as u32 });
                }
            }
            Creation::ReplicaSets { .. } => self.on_job_arrives(index),
            Creation::Existing | Creation::ClosedLoop { .. } => {}
        }
    }

    fn on_agent(&mut self, pod: PodId, what: AgentEvent) {
        if let AgentEvent::Stage { kind, nth } = what {
            self.on_stage_due(kind, pod, nth);
            return;
        }
        if self.cluster.pods.stage(pod) == Stage::Finished {
            return;
        }
        if !self.agents.happens(pod, self.cluster.pods.node(pod), what, self.kernel.now()) {
            return;
        }
        let by_stage = self.has_stages_for(Kind::Pod);
        let (kernel, control_plane) = (&mut self.kernel, &mut self.control_plane);
        match what {
            AgentEvent::Rejected => self.agents.patch(kernel, control_plane, pod, Verb::PatchFailed),
            AgentEvent::Evicted => self.agents.patch(kernel, control_plane, pod, Verb::DeletePod),
            AgentEvent::Started => self.agents.patch(kernel, control_plane, pod, Verb::PatchRunning),
            AgentEvent::Finished if self.agents.kind() != AgentKind::None => {
                self.agents.patch(kernel, control_plane, pod, Verb::PatchSucceeded);
            }
            AgentEvent::Finished | AgentEvent::Delete => {
                if self.changes.is_some() {
                    control_plane.store_mut().leaves_on_purpose(pod);
                }
                let verb = if by_stage { Verb::DeleteGracefully } else { Verb::DeletePod };
                control_plane.submit(kernel, self.loader.client, verb, pod, NO_NODE);
            }
            AgentEvent::Stage { .. } => {}
        }
    }

    /// Notes where somebody waits.
    #[inline]
    fn watch_stations(&mut self) {
        let now = self.kernel.now();
        let bucket = &self.control_plane.clients()[self.scheduler.client].bucket;
        self.stations.at(Station::BindTokens).set(now, bucket.is_waiting(now));
        if self.counts.created + self.counts.dropped < self.counts.total {
            let bucket = &self.control_plane.clients()[self.creator].bucket;
            self.stations.at(Station::CreationTokens).set(now, bucket.is_waiting(now));
        } else {
            self.stations.at(Station::CreationTokens).set(now, false);
        }
        let scheduler = &self.scheduler;
        let left = self.queued > self.counts.assumed && scheduler.jobs == 0 && !scheduler.has_backlog;
        // Pods that are in back-off, and none that waits for the cluster to change.
        let in_backoff = left
            && scheduler.model.queues().is_some_and(|queues| queues.backoff > 0 && queues.unschedulable == 0);
        self.stations.at(Station::Capacity).set(now, left && !in_backoff);
        self.stations.at(Station::Backoff).set(now, in_backoff);
        if let Some(client) = self.agents.client() {
            let bucket = &self.control_plane.clients()[client].bucket;
            let stages = self.stages.as_ref().is_some_and(|stages| stages.has_queue());
            let busy = self.agents.has_queue() || stages || bucket.is_waiting(now);
            self.stations.node_agents.set(now, busy);
        }
        if self.control_plane.is_ideal() {
            return;
        }
        self.stations.etcd_sync.set(now, self.control_plane.is_in_etcd());
        let accounts = self.control_plane.accounts();
        if self.stations.levels_change(accounts.waiting_changes()) {
            // Two flows may share a level.
            let waiting = || accounts.waiting().filter(|(_, waiting)| *waiting > 0);
            for (level, _) in waiting() {
                self.stations.level_waits(now, level);
            }
            self.stations.end_levels(now, |level| !waiting().any(|(other, _)| other == level));
        }
        self.stations.at(Station::Streams).set(now, self.control_plane.waiting_for_streams() > 0);
        self.stations.at(Station::Seats).set(now, self.control_plane.queued() > 0);
        self.stations.at(Station::RetryAfter).set(now, self.control_plane.backing_off() > 0);
        let saturated = self.kernel.is_saturated(self.scheduler.process);
        self.stations.host_saturated.set(now, saturated);
        if let Some(server) = self.server_process {
            let saturated = self.kernel.is_short_of_cpu(server);
            self.stations.server_saturated.set(now, saturated);
        }
    }

    /// What a row of telemetry holds; `docs/results.md` describes each column.
    fn telemetry_columns(&self) -> Vec<String> {
        let mut columns: Vec<String> = [
            "pods.created",
            "pods.assumed",
            "pods.bound",
            "pods.running",
            "pods.finished",
            "pods.failed",
            "nodes",
            "queue.backlog",
        ]
        .map(str::to_owned)
        .into();
        if self.scheduler.model.queues().is_some() {
            let queues = ["queue.active", "queue.backoff", "queue.unschedulable", "attempts.failed"];
            columns.extend(queues.map(str::to_owned));
        }
        let waiting = ["waiting.streams", "waiting.seats", "waiting.retry_after", "requests.in_flight"];
        columns.extend(waiting.map(str::to_owned));
        for client in self.control_plane.clients() {
            for what in ["qps_milli", "requests", "waiting"] {
                columns.push(format!("client.{}.{what}", client.name));
            }
        }
        let hosts = self.kernel.hosts();
        for host in hosts.host_ids().filter(|host| hosts.host_name(*host) != "unlimited") {
            for what in ["cores", "busy_core_ns"] {
                columns.push(format!("host.{}.{what}", hosts.host_name(host)));
            }
        }
        for process in self.kernel.processes() {
            columns.push(format!("process.{}.cpu_ns", process.name));
        }
        if let Some(Admitter::Apf(apf)) = self.control_plane.admitter_status() {
            for level in apf.levels() {
                for what in ["nominal_seats", "limit_seats", "seats_in_use"] {
                    columns.push(format!("level.{}.{what}", level.name));
                }
            }
        }
        if let Some(Admitter::Plain(_)) = self.control_plane.admitter_status() {
            columns.extend(["inflight.mutating.limit", "inflight.mutating.in_use"].map(str::to_owned));
        }
        if !self.control_plane.is_ideal() {
            self.control_plane.accounts().columns(&mut columns);
        }
        if self.control_plane.etcd().is_some() {
            columns.extend(["etcd.syncs", "etcd.entries"].map(str::to_owned));
            Histogram::columns("etcd.fsync", &etcd::FSYNC_BOUNDS_NS, &mut columns);
        }
        columns
    }

    /// Reads everything into the row, in the order of the columns. It must change nothing: CPU is as of the host's
    /// last event, which is at most a job late.
    fn read_telemetry(&mut self, at: Nanos) {
        let row = &mut self.telemetry_row;
        row.clear();
        let c = &self.counts;
        row.extend([c.created, c.assumed, c.bound, c.running, c.finished, c.failed]);
        let nodes = match &self.autoscaling {
            // Machines come and go, and their nodes' ids are not given again.
            Some(_) => self.cluster.nodes.present() as u64,
            None => self.cluster.nodes.len() as u64,
        };
        row.extend([nodes, self.scheduler.model.backlog()]);
        if let Some(queues) = self.scheduler.model.queues() {
            row.extend([queues.active, queues.backoff, queues.unschedulable, queues.failed_attempts]);
        }
        let control_plane = &self.control_plane;
        row.extend([control_plane.waiting_for_streams() as u64, control_plane.queued()]);
        row.extend([control_plane.backing_off(), control_plane.in_flight()]);
        for client in control_plane.clients() {
            let bucket = &client.bucket;
            let qps_milli = if bucket.is_unlimited() { 0 } else { bucket.qps_milli() };
            row.extend([qps_milli, bucket.granted(at), bucket.waiting(at)]);
        }
        let hosts = self.kernel.hosts();
        for host in hosts.host_ids().filter(|host| hosts.host_name(*host) != "unlimited") {
            row.extend([u64::from(hosts.cores(host)), hosts.host_busy_core_ns(host)]);
        }
        // As of the host's last event: bringing it to now would round work in other places.
        row.extend(self.kernel.processes().iter().map(|process| hosts.busy_core_ns(process.component)));
        match control_plane.admitter_status() {
            Some(Admitter::Apf(apf)) => {
                for level in apf.levels() {
                    row.extend([level.nominal_seats, level.limit_seats, level.seats_in_use].map(u64::from));
                }
            }
            Some(Admitter::Plain(plain)) => {
                let [_, mutating] = plain.in_flight();
                row.extend([mutating.limit, mutating.in_use].map(u64::from));
            }
            _ => {}
        }
        if !control_plane.is_ideal() {
            control_plane.accounts().row(row);
        }
        if let Some(etcd) = control_plane.etcd() {
            row.extend([etcd.syncs(), etcd.entries()]);
            etcd.fsyncs().row(row);
        }
    }

    /// Closes the books of a simulation that has ended.
    ///
    /// # Panics
    /// If pods were lost.
    #[must_use]
    pub fn finish(mut self, ended: Ended) -> Finished {
        self.kernel.settle();
        self.stations.close(self.kernel.now());
        let now = self.kernel.now();
        self.read_telemetry(now);
        self.telemetry.finish(now, &self.telemetry_row);
        self.check_invariants();
        let mut pending_reasons = self.scheduler.model.pending_reasons(&self.cluster);
        let admissions = self.admissions();
        pending_reasons.extend(admissions.iter().flat_map(|a| a.pending.clone()));
        self.cluster.pods.drop_placeholders();
        let faults = self.faults_report();
        let autoscaler = self.autoscaling.as_ref().map(|it| it.report(now));
        let failure = self.stages_failure().or_else(|| self.scheduler.model.failure());
        Finished {
            name: self.name,
            seed: self.seed,
            cluster: self.cluster,
            kernel: self.kernel,
            control_plane: self.control_plane,
            bind_client: self.scheduler.client,
            counts: self.counts,
            stations: self.stations,
            seen: self.seen,
            telemetry: self.telemetry,
            ended,
            pending_reasons,
            failure,
            window_ns: self.window_ns,
            step_ns: self.step_ns,
            stop: self.stop,
            faults,
            admissions,
            stages: self.stages.as_ref().map(|stages| stages.report()),
            autoscaler,
        }
    }

    /// Conservation laws, asserted in release builds too: they cost O(pods) once a run.
    fn check_invariants(&self) {
        let pods = &self.cluster.pods;
        let mut by_stage = [0u64; 8];
        for pod in self.counted_pods() {
            by_stage[pods.stage(pod) as usize] += 1;
            let t = pods.timeline(pod);
            assert!(
                t.bound_ns == u64::MAX || t.created_ns <= t.bound_ns,
                "pod {pod} is bound before it exists"
            );
            assert!(
                (pods.node(pod) == NO_NODE) == (t.bound_ns == u64::MAX),
                "pod {pod} has a node without a binding"
            );
        }
        let total: u64 = by_stage.iter().sum();
        assert!(total == self.counts.total, "pods are lost");
        let planned = by_stage[Stage::Planned as usize];
        assert!(planned + self.counts.created == total, "created pods don't add up");
    }
}
