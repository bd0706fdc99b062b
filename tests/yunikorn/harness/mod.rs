//! The least simulation around a scheduler model: an unlimited host, bindings after a fixed time, nothing else; and the
//! core alone.
#![allow(dead_code)]
use std::collections::BTreeMap;
use std::fmt::Write as _;

use podpace::cluster::{App, AppId, Cluster, NodeId, NodeTemplate, PodId, PodSpec, Resources};
use podpace::cost::{Meter, ProfileLibrary};
use podpace::engine::{Nanos, Rng, SECOND, Streams};
use podpace::scenario::{Diagnostic, Document, resolve};
use podpace::scheduler::yunikorn::{Core, Outcome, Version, Work, YuniKorn};
use podpace::scheduler::{Action, BindOutcome, Context, NodeChange, Registry, SchedulerModel, Settings};

pub const MILLI: Nanos = 1_000_000;
pub const MEBI: u64 = 1 << 20;
pub const GIBI: u64 = 1 << 30;

#[derive(Clone, Copy, Debug)]
pub enum Event {
    Cpu(u64),
    Timer(u64),
    BindDone(PodId, NodeId, BindOutcome),
    Bound(PodId, NodeId),
    Arrive(PodId),
    Gone(PodId, NodeId),
    Created(PodId),
    Deleted(PodId),
}

pub struct Harness {
    pub cluster: Cluster,
    pub meter: Meter,
    pub model: Box<dyn SchedulerModel>,
    pub now: Nanos,
    rng: Rng,
    queue: BTreeMap<(Nanos, u64), Event>,
    sequence: u64,
    actions: Vec<Action>,
    pub bind_latency: Nanos,
    /// Bindings of these pods fail.
    pub failing: Vec<PodId>,
    pub assumed: Vec<(PodId, Nanos)>,
    pub bind_sent: Vec<(PodId, Nanos)>,
    pub bound: Vec<(PodId, NodeId, Nanos)>,
    pub given_up: Vec<PodId>,
    pub created: Vec<(PodId, Nanos)>,
    pub deleted: Vec<(PodId, Nanos)>,
    pub patched: Vec<PodId>,
    pub events: u64,
    pub cpu_ns: u64,
}

pub fn resources(cpu_millicores: u64, memory_bytes: u64, pods: u32) -> Resources {
    Resources { cpu_millicores, memory_bytes, pods, extended: Vec::new() }
}

/// Nodes named as the real study's are: numbers without leading zeros, so that names don't sort as numbers do.
pub fn cluster(nodes: usize, allocatable: Resources) -> Cluster {
    let mut cluster = Cluster::default();
    let template = cluster.nodes.add_template(NodeTemplate { allocatable, ..NodeTemplate::default() });
    for i in 0..nodes {
        cluster.nodes.add(format!("hollow-node-{i}"), template, None);
    }
    cluster
}

pub fn add_app(cluster: &mut Cluster, queue: &str) -> AppId {
    let name = format!("app-{}", cluster.pods.apps().len());
    cluster.pods.add_app(App { name, queue: queue.to_owned(), ..App::default() })
}

pub fn add_pods(cluster: &mut Cluster, app: AppId, spec: PodSpec, count: usize) -> Vec<PodId> {
    let spec = cluster.pods.add_spec(spec);
    (0..count).map(|_| cluster.pods.add(spec, app)).collect()
}

pub fn plain(cpu_millicores: u64, memory_bytes: u64) -> PodSpec {
    PodSpec { requests: resources(cpu_millicores, memory_bytes, 0), ..PodSpec::default() }
}

impl Harness {
    pub fn new(cluster: Cluster, settings: &Settings, profile: &str) -> Self {
        let mut meter = Meter::new(ProfileLibrary::built_in().load(profile).unwrap());
        let model = YuniKorn::build(settings, &mut meter).unwrap();
        Self {
            cluster,
            meter,
            model,
            now: 0,
            rng: Streams::new(1).stream("scheduler"),
            queue: BTreeMap::new(),
            sequence: 0,
            actions: Vec::new(),
            bind_latency: 5 * MILLI,
            failing: Vec::new(),
            assumed: Vec::new(),
            bind_sent: Vec::new(),
            bound: Vec::new(),
            given_up: Vec::new(),
            created: Vec::new(),
            deleted: Vec::new(),
            patched: Vec::new(),
            events: 0,
            cpu_ns: 0,
        }
    }

    /// How often an operation was charged.
    pub fn count(&self, operation: &str) -> u64 {
        self.meter.accounts().iter().find(|a| a.operation == operation).map_or(0, |a| a.count)
    }

    pub fn at(&mut self, at: Nanos, event: Event) {
        self.queue.insert((at, self.sequence), event);
        self.sequence += 1;
    }

    pub fn call(&mut self, f: impl FnOnce(&mut dyn SchedulerModel, &mut Context<'_>)) {
        let mut started = None;
        let mut actions = std::mem::take(&mut self.actions);
        let mut cx = Context {
            now: self.now,
            cluster: &self.cluster,
            rng: &mut self.rng,
            meter: &mut self.meter,
            actions: &mut actions,
            cycle_started: &mut started,
        };
        f(self.model.as_mut(), &mut cx);
        for action in actions.drain(..) {
            self.carry_out(action);
        }
        self.actions = actions;
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Cpu { cpu_ns, tag, .. } => {
                self.cpu_ns += cpu_ns;
                self.at(self.now + cpu_ns, Event::Cpu(tag));
            }
            Action::Timer { at, tag } => {
                assert!(at >= self.now);
                self.at(at, Event::Timer(tag));
            }
            Action::Assume { pod } => self.assumed.push((pod, self.now)),
            Action::Bind { pod, node } => {
                self.bind_sent.push((pod, self.now));
                let outcome =
                    if self.failing.contains(&pod) { BindOutcome::Failed } else { BindOutcome::Bound };
                self.at(self.now + self.bind_latency, Event::BindDone(pod, node, outcome));
            }
            Action::Events { count } => self.events += u64::from(count),
            Action::PatchStatus { pod } => self.patched.push(pod),
            Action::GiveUp { pod } => self.given_up.push(pod),
            Action::Cycle { .. } | Action::PutObject { .. } | Action::Annotate { .. } => {
                panic!("{action:?} is Volcano's")
            }
            Action::Fail => panic!("{:?}", self.model.failure()),
            Action::CreatePod { pod } => self.at(self.now + self.bind_latency, Event::Created(pod)),
            Action::Delete { pod } => self.at(self.now + self.bind_latency, Event::Deleted(pod)),
        }
    }

    /// Shows all nodes, and these pods, then starts the scheduler.
    pub fn start(&mut self, pods: &[PodId]) {
        for node in 0..u32::try_from(self.cluster.nodes.len()).unwrap() {
            self.call(|m, cx| m.on_node(cx, node, NodeChange::Added));
        }
        for pod in pods {
            self.call(|m, cx| m.on_pod_pending(cx, *pod));
        }
        self.call(|m, cx| m.on_start(cx));
    }

    /// Runs until nothing is left to happen, or until a time.
    pub fn run_until(&mut self, end: Nanos) {
        while let Some(((at, _), event)) = self.queue.first_key_value().map(|(k, e)| (*k, *e)) {
            if at > end {
                return;
            }
            self.queue.pop_first();
            self.now = at;
            match event {
                Event::Cpu(tag) => self.call(|m, cx| m.on_cpu_done(cx, tag)),
                Event::Timer(tag) => self.call(|m, cx| m.on_timer(cx, tag)),
                Event::BindDone(pod, node, outcome) => {
                    if outcome == BindOutcome::Bound {
                        self.cluster.pods.bind(pod, node);
                        self.bound.push((pod, node, at));
                        self.at(at, Event::Bound(pod, node));
                    }
                    self.call(|m, cx| m.on_bind_done(cx, pod, node, outcome));
                }
                Event::Bound(pod, node) => self.call(|m, cx| m.on_pod_bound(cx, pod, node)),
                Event::Arrive(pod) => self.call(|m, cx| m.on_pod_pending(cx, pod)),
                Event::Gone(pod, node) => self.call(|m, cx| m.on_pod_gone(cx, pod, node)),
                Event::Created(pod) => {
                    self.created.push((pod, at));
                    self.call(|m, cx| m.on_pod_created(cx, pod));
                    self.at(at, Event::Arrive(pod));
                }
                Event::Deleted(pod) => {
                    self.deleted.push((pod, at));
                    self.call(|m, cx| m.on_delete_done(cx, pod, true));
                    let node = self.cluster.pods.node(pod);
                    self.at(at, Event::Gone(pod, node));
                }
            }
        }
    }

    pub fn run(&mut self) {
        self.run_until(Nanos::MAX);
    }
}

pub const SCENARIO: &str = "
apiVersion: podpace/v1
kind: Scenario
name: t
cluster: {nodes: [{count: 1, template: {allocatable: {cpu: 4, memory: 8Gi, pods: 110}}}]}
scheduler: {kind: yunikorn, config: queues.yaml}
workload: {pods: [{count: 1, requests: {cpu: 100m}}], start: backlog}
";

/// The settings that a configuration comes to, and the notes; or its errors.
pub fn read(config: &str) -> Result<(Settings, Vec<String>), Vec<Diagnostic>> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("queues.yaml"), config).unwrap();
    let path = folder.path().join("scenario.yaml");
    std::fs::write(&path, SCENARIO).unwrap();
    let document = Document::load(&path).unwrap();
    let spec = document.decode_scenario().unwrap();
    let plan = resolve(&spec, &document, &ProfileLibrary::built_in(), &Registry::built_in())?;
    Ok((plan.scheduler.settings, plan.provenance.notes))
}

pub fn settings(config: &str) -> Settings {
    read(config).map_or_else(|errors| panic!("{config}\n{}", shown(&errors)), |(settings, _)| settings)
}

pub fn shown(errors: &[Diagnostic]) -> String {
    errors.iter().fold(String::new(), |mut text, error| {
        let _ = writeln!(text, "{error}");
        text
    })
}

/// A partition with these lines; the first of them is line 3.
pub fn partition(lines: &str) -> String {
    format!("partitions:\n- name: default\n{lines}\n")
}

/// A root with these queues; the first line of them is line 6.
pub fn below_root(lines: &str) -> String {
    partition(&format!("  queues:\n  - name: root\n    queues:\n{lines}"))
}

/// The same, open to everybody; the first line is line 7.
pub fn open(lines: &str) -> String {
    partition(&format!("  queues:\n  - name: root\n    submitacl: '*'\n    queues:\n{lines}"))
}

/// A core alone, with a configuration.
pub struct Shop {
    pub cluster: Cluster,
    pub core: Core,
}

impl Shop {
    /// One node of 10 cores and 10 GiB, unless told otherwise.
    pub fn new(config: &str) -> Self {
        Self::with(config, cluster(1, resources(10_000, 10 * GIBI, 110)))
    }

    pub fn with(config: &str, cluster: Cluster) -> Self {
        let mut core = Core::new(&settings(config), Version::default());
        for node in 0..u32::try_from(cluster.nodes.len()).unwrap() {
            core.set_node(&cluster, node);
        }
        Self { cluster, core }
    }

    pub fn app(&mut self, queue: &str, user: &str, groups: &[&str]) -> u32 {
        let groups = groups.iter().map(|g| (*g).to_owned()).collect();
        let name = format!("app-{}", self.cluster.pods.apps().len());
        let app = App { name, queue: queue.to_owned(), user: user.to_owned(), groups, ..App::default() };
        self.cluster.pods.add_app(app)
    }

    pub fn ask(&mut self, app: u32, spec: PodSpec) -> PodId {
        let spec = self.cluster.pods.add_spec(spec);
        let pod = self.cluster.pods.add(spec, app);
        self.core.learn(&self.cluster, pod);
        self.core.add_app(&self.cluster, app).unwrap();
        self.core.add_ask(&self.cluster, pod);
        pod
    }

    pub fn asks(&mut self, app: u32, millicores: u64, count: usize) -> Vec<PodId> {
        (0..count).map(|_| self.ask(app, plain(millicores, MEBI))).collect()
    }

    /// The applications of the pods that are allocated, in order, until nothing more is.
    pub fn run(&mut self) -> Vec<u32> {
        let pods: Vec<PodId> = std::iter::from_fn(|| self.allocate()).map(|(pod, _)| pod).collect();
        pods.into_iter().map(|pod| self.cluster.pods.app_id(pod)).collect()
    }

    /// Cycles until one allocates or nothing more happens.
    pub fn allocate(&mut self) -> Option<(PodId, NodeId)> {
        loop {
            if let Outcome::Allocated(pod, node) = self.cycle()? {
                return Some((pod, node));
            }
        }
    }

    /// One cycle.
    pub fn cycle(&mut self) -> Option<Outcome> {
        let mut work = Work::default();
        self.core.try_reserved(&self.cluster, &mut work).or_else(|| self.core.try_allocate(&self.cluster).0)
    }

    /// Time passes, seconds.
    pub fn wait(&mut self, seconds: u64) {
        self.core.now += seconds * SECOND;
    }

    /// The pods that were chosen as victims since the last call; they go at once.
    pub fn victims(&mut self) -> Vec<PodId> {
        let victims = std::mem::take(&mut self.core.victims);
        for pod in &victims {
            self.core.release(&self.cluster, *pod);
        }
        victims
    }

    pub fn release(&mut self, pod: PodId) {
        self.core.release(&self.cluster, pod);
    }
}
