//! A scheduler on its own: every action is carried out at once, CPU work takes its time on one free processor.
#![allow(dead_code)]
pub mod naive;

use std::collections::BTreeMap;

use podpace::cluster::{App, Cluster, NodeId, NodeTemplate, PodId, PodSpec, Resources, SpecId};
use podpace::cost::{CostProfile, Meter};
use podpace::engine::{Nanos, Rng, Streams};
use podpace::scheduler::kube::KubeScheduler;
use podpace::scheduler::{Action, BindOutcome, Context, NodeChange, SchedulerModel, Settings};

/// One second.
pub const S: Nanos = 1_000_000_000;

/// A profile in which every operation takes a millisecond a cycle and nothing else.
pub fn profile() -> CostProfile {
    let operations = [
        ("cycle", "1ms"),
        ("queue_pop", "0ns"),
        ("snapshot_node", "0ns"),
        ("node_total", "0ns"),
        ("filter_node", "0ns"),
        ("score_node", "0ns"),
        ("prefilter_pod_visited", "0ns"),
        ("affinity_pod_visited", "0ns"),
        ("term_pod_visited", "0ns"),
        ("spread_node_visited", "0ns"),
        ("spread_pod_visited", "0ns"),
    ];
    let mut text =
        "apiVersion: podpace/v1\nkind: CostProfile\nname: t\ncomponent: t\nversion: '1'\ncosts:\n".to_owned();
    for (name, value) in operations {
        text += &format!("  {name}: {{value: {value}, source: test}}\n");
    }
    CostProfile::parse(&text, "t.yaml").expect("it parses")
}

/// What is due at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    CpuDone(u64),
    Timer(u64),
    Patched(PodId),
    Deleted(PodId),
    Gone(PodId, NodeId),
}

/// The scheduler, its cluster, and a log of what it did.
pub struct Harness {
    pub cluster: Cluster,
    pub scheduler: Box<dyn SchedulerModel>,
    pub meter: Meter,
    pub rng: Rng,
    pub now: Nanos,
    /// Bindings asked for, in order: time, pod, node.
    pub binds: Vec<(Nanos, PodId, NodeId)>,
    /// Status patches, in order.
    pub patches: Vec<(Nanos, PodId)>,
    /// Cycles begun, in order.
    pub cycles: Vec<(Nanos, PodId)>,
    /// How long a status patch takes.
    pub patch_ns: Nanos,
    /// Deletions asked for, in order.
    pub deleted: Vec<PodId>,
    /// How long a DELETE takes, and from its answer to the pod's end.
    pub delete_ns: Nanos,
    pub grace_ns: Nanos,
    /// Kubernetes Events sent.
    pub events: u32,
    /// The plain cycle beside it, if asked for: each binding must be what it expects.
    pub naive: Option<naive::Naive>,
    /// How the next bindings end; bound if empty.
    pub outcomes: Vec<BindOutcome>,
    due: BTreeMap<(Nanos, u64), Due>,
    sequence: u64,
}

impl Harness {
    pub fn new(settings: &Settings) -> Self {
        Self::with_profile(settings, profile())
    }

    pub fn with_profile(settings: &Settings, profile: CostProfile) -> Self {
        let mut meter = Meter::new(profile);
        let scheduler = KubeScheduler::build(settings, &mut meter).expect("the profile is complete");
        let mut cluster = Cluster::default();
        cluster.pods.add_app(App { name: "app".into(), queue: "root.default".into(), ..App::default() });
        Self {
            cluster,
            scheduler,
            meter,
            rng: Streams::new(1).stream("scheduler"),
            now: 0,
            binds: Vec::new(),
            patches: Vec::new(),
            cycles: Vec::new(),
            patch_ns: 0,
            deleted: Vec::new(),
            delete_ns: 1_000_000,
            grace_ns: 2_000_000,
            events: 0,
            naive: None,
            outcomes: Vec::new(),
            due: BTreeMap::new(),
            sequence: 0,
        }
    }

    fn call(&mut self, f: &dyn Fn(&mut dyn SchedulerModel, &mut Context<'_>)) {
        let mut actions = Vec::new();
        let mut cycle_started = None;
        let mut cx = Context {
            now: self.now,
            cluster: &self.cluster,
            rng: &mut self.rng,
            meter: &mut self.meter,
            actions: &mut actions,
            cycle_started: &mut cycle_started,
        };
        f(self.scheduler.as_mut(), &mut cx);
        if let Some(naive) = &mut self.naive {
            for action in &actions {
                if let Action::Bind { pod, node } = action {
                    assert_eq!(naive.expected.get(pod), Some(&Ok(*node)), "pod {pod} at {}", self.now);
                    naive.place(*pod, *node);
                }
            }
            if let Some(pod) = cycle_started {
                naive.cycle(&self.cluster, pod);
            }
        }
        if let Some(pod) = cycle_started {
            self.cycles.push((self.now, pod));
        }
        for action in actions {
            self.sequence += 1;
            match action {
                Action::Cpu { cpu_ns, threads, tag } => {
                    let at = self.now + cpu_ns / u64::from(threads);
                    self.due.insert((at, self.sequence), Due::CpuDone(tag));
                }
                Action::Timer { at, tag } => {
                    assert!(at >= self.now);
                    self.due.insert((at, self.sequence), Due::Timer(tag));
                }
                Action::Assume { .. } | Action::GiveUp { .. } => {}
                Action::CreatePod { .. } => unreachable!("it has no placeholders"),
                Action::Cycle { .. } | Action::PutObject { .. } | Action::Annotate { .. } => {
                    unreachable!("{action:?} is Volcano's")
                }
                Action::Fail => unreachable!("it is no program"),
                Action::Bind { pod, node } => {
                    self.binds.push((self.now, pod, node));
                    let outcome =
                        if self.outcomes.is_empty() { BindOutcome::Bound } else { self.outcomes.remove(0) };
                    if outcome == BindOutcome::Bound {
                        self.cluster.pods.bind(pod, node);
                    } else if let Some(naive) = &mut self.naive {
                        naive.unplace(pod);
                    }
                    self.call(&|s, cx| s.on_bind_done(cx, pod, node, outcome));
                    if outcome == BindOutcome::Bound {
                        self.call(&|s, cx| s.on_pod_bound(cx, pod, node));
                    }
                }
                Action::Events { count } => self.events += count,
                Action::Delete { pod } => {
                    self.deleted.push(pod);
                    let node = self.cluster.pods.node(pod);
                    self.sequence += 1;
                    self.due.insert((self.now + self.delete_ns, self.sequence), Due::Deleted(pod));
                    self.sequence += 1;
                    self.due.insert(
                        (self.now + self.delete_ns + self.grace_ns, self.sequence),
                        Due::Gone(pod, node),
                    );
                }
                Action::PatchStatus { pod } => {
                    self.patches.push((self.now, pod));
                    self.sequence += 1;
                    self.due.insert((self.now + self.patch_ns, self.sequence), Due::Patched(pod));
                }
            }
        }
    }

    pub fn template(&mut self, template: NodeTemplate) -> u32 {
        self.cluster.nodes.add_template(template)
    }

    pub fn add_node(&mut self, template: u32, zone: Option<&str>) -> NodeId {
        let zone = zone.map(|z| self.cluster.nodes.add_zone(z));
        let name = format!("node-{}", self.cluster.nodes.len());
        let node = self.cluster.nodes.add(name, template, zone);
        if let Some(naive) = &mut self.naive {
            naive.node(&self.cluster, node, true);
        }
        self.call(&|s, cx| s.on_node(cx, node, NodeChange::Added));
        node
    }

    /// The informer shows a change of a node.
    pub fn call_node(&mut self, node: NodeId, change: NodeChange) {
        self.call(&|s, cx| s.on_node(cx, node, change));
    }

    pub fn delete_node(&mut self, node: NodeId) {
        self.cluster.nodes.set_present(node, false);
        if let Some(naive) = &mut self.naive {
            naive.node(&self.cluster, node, false);
        }
        self.call(&|s, cx| s.on_node(cx, node, NodeChange::Deleted));
    }

    pub fn add_spec(&mut self, spec: PodSpec) -> SpecId {
        self.cluster.pods.add_spec(spec)
    }

    pub fn add_pod(&mut self, spec: SpecId) -> PodId {
        let pod = self.cluster.pods.add(spec, 0);
        self.call(&|s, cx| s.on_pod_pending(cx, pod));
        pod
    }

    /// A pod bound by someone else.
    pub fn add_bound_pod(&mut self, spec: SpecId, node: NodeId) -> PodId {
        let pod = self.cluster.pods.add(spec, 0);
        self.cluster.pods.bind(pod, node);
        if let Some(naive) = &mut self.naive {
            naive.place(pod, node);
        }
        self.call(&|s, cx| s.on_pod_bound(cx, pod, node));
        pod
    }

    pub fn end_pod(&mut self, pod: PodId) {
        let node = self.cluster.pods.node(pod);
        if let Some(naive) = &mut self.naive {
            naive.unplace(pod);
        }
        self.call(&|s, cx| s.on_pod_gone(cx, pod, node));
    }

    pub fn start(&mut self) {
        self.call(&|s, cx| s.on_start(cx));
    }

    /// Runs until nothing is due before `limit`.
    pub fn run_until(&mut self, limit: Nanos) {
        while let Some((&(at, sequence), &due)) = self.due.first_key_value() {
            if at > limit {
                break;
            }
            self.due.remove(&(at, sequence));
            self.now = at;
            match due {
                Due::CpuDone(tag) => self.call(&|s, cx| s.on_cpu_done(cx, tag)),
                Due::Timer(tag) => self.call(&|s, cx| s.on_timer(cx, tag)),
                Due::Deleted(pod) => self.call(&|s, cx| s.on_delete_done(cx, pod, true)),
                Due::Gone(pod, node) => self.call(&|s, cx| s.on_pod_gone(cx, pod, node)),
                Due::Patched(pod) => self.call(&|s, cx| s.on_status_patched(cx, pod)),
            }
        }
        self.now = self.now.max(limit);
    }

    /// Runs until nothing is due.
    pub fn run(&mut self) {
        while let Some(&(at, _)) = self.due.keys().next() {
            self.run_until(at);
        }
    }

    /// Node of a pod's last binding.
    pub fn node_of(&self, pod: PodId) -> Option<NodeId> {
        self.binds.iter().rev().find(|b| b.1 == pod).map(|b| b.2)
    }

    pub fn count(&self, operation: &str) -> u64 {
        self.meter.accounts().iter().find(|a| a.operation == operation).map_or(0, |a| a.count)
    }

    pub fn reasons(&self) -> Vec<(String, u64)> {
        self.scheduler.pending_reasons(&self.cluster).into_iter().collect()
    }
}

/// Resources in millicores and MiB.
pub fn resources(cpu: u64, memory_mib: u64) -> Resources {
    Resources { cpu_millicores: cpu, memory_bytes: memory_mib << 20, ..Resources::default() }
}

/// A template with room for 110 pods.
pub fn node(cpu: u64, memory_mib: u64) -> NodeTemplate {
    NodeTemplate {
        allocatable: Resources { pods: 110, ..resources(cpu, memory_mib) },
        ..NodeTemplate::default()
    }
}

/// A pod that asks for millicores and MiB.
pub fn pod(cpu: u64, memory_mib: u64) -> PodSpec {
    PodSpec { requests: resources(cpu, memory_mib), ..PodSpec::default() }
}
