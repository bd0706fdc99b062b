//! Resolving: from a checked scenario to a [`Plan`] with every default filled in and every name looked up.
//!
//! Defaults are those of the real systems and stand here, once. A component without a profile gets the newest one
//! of its kind; an `apiServer` that the scenario does not mention at all is the ideal one, which takes no time.
//! Workloads become pods: groups expand in the file's order, pod i of P in application floor(i * A / P).
//!
//! Randomness that belongs to the workload (Poisson gaps, run times) is drawn here, from streams named
//! `workload.*` of the scenario's seed, so that two runs that differ in a setting share their workload.
//!
//! Cost: O(nodes + pods).
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::autoscaler;
use super::config_file::{self, SchedulerConfig};
use super::document::Document;
use super::duration::DurationNs;
use super::faults;
use super::from_trace;
use super::kueue;
use super::limits;
use super::objects;
use super::plan::{
    AgentsPlan, ApiServerPlan, ChangesPlan, ClientIdentity, ClientLimits, Creation, HostPlan, KueuePlan,
    Lifetimes, OwnerPlan, Placement, Plan, SchedulerPlan, StopWhen, WatcherPlan,
};
use super::quantity::{Rate, ResourceList};
use super::scheduling;
use super::spec::{
    AntiAffinityMode, ArrivalProcess, ClientSpec, FsyncSpec, GangSpec, GangStyle, Identity, Ignored, JobSpec,
    MatchExpressionSpec, MatchOperator, NodeGroupSpec, NodeInclusionPolicy, NodeLifecycleKind,
    NodeSort as SpecNodeSort, NodeSortPolicy as SpecNodeSortPolicy, NodeTemplateSpec, PodShape,
    PreemptionPolicy, QueueSort, QueueSpec, ScenarioSpec, SchedulerSpec, ScoringStrategy as SpecScoring,
    StopWhen as SpecStopWhen, TaintEffect as SpecTaintEffect, TaintSpec, TimeDistribution,
    TolerationOperator, TolerationSpec, WhenUnsatisfiable, WorkloadStart,
};
use super::stages;
use super::workload::{Found, Workload, Workloads};
use super::{DEFAULT_NODE_PODS, Diagnostic};
use super::{rollout, scale};
use crate::cluster::{
    App, AppId, Cluster, DEFAULT_NAMESPACE, Expression, HOSTNAME_LABEL, LabelSelector, NodeTemplate,
    Operator, PodAffinityTerm, PodId, PodSpec, ResourceNames, Resources, SpecId, SpreadConstraint, Taint,
    TaintEffect, Term, Toleration, WeightedTerm, tolerates,
};
use crate::control_plane::controllers::node_lifecycle::NodeLifecycleSettings;
use crate::control_plane::controllers::taint_eviction;
use crate::control_plane::etcd::EtcdSettings;
use crate::control_plane::node_agents::AgentKind;
use crate::control_plane::stages::{Facts, StageSet};
use crate::control_plane::store::{DISRUPTED, TO_BE_DELETED};
use crate::cost::{CostProfile, ProfileLibrary};
use crate::engine::random::{LazyStream, LogNormal};
use crate::engine::{MILLISECOND, Nanos, SECOND, Streams};
use crate::scheduler::process::ProcessCommand;
use crate::scheduler::volcano::amount;
use crate::scheduler::volcano::config::{self as volcano, DEFAULT_QUEUE};
use crate::scheduler::yunikorn::config::QueueSettings;
use crate::scheduler::{
    AppSort, FeatureGates, NodeSort, NodeSortPolicy, QueueConfig, Registry, ScoringStrategy, Settings,
};

pub(super) const DEFAULT_LIMIT_NS: Nanos = 3600 * SECOND;
/// A run in which no pod has moved for so long ends. Longer than kube-scheduler's five minutes after which
/// unschedulable pods are tried again.
const DEFAULT_STALL_NS: Nanos = 630 * SECOND;
const DEFAULT_WINDOW_NS: Nanos = 60 * SECOND;
const DEFAULT_STEP_NS: Nanos = SECOND;
/// kube-apiserver's `--max-requests-inflight` and `--max-mutating-requests-inflight`.
const DEFAULT_INFLIGHT: (u32, u32) = (400, 200);
/// `SETTINGS_MAX_CONCURRENT_STREAMS` of kube-apiserver since late 2023.
const DEFAULT_MAX_STREAMS: u32 = 100;
/// fdatasync on an SSD; the measured machine's etcd showed 0.5 to 0.9 ms on average.
const DEFAULT_FSYNC_NS: (Nanos, Nanos) = (550_000, 3 * MILLISECOND);
/// How long a pod tolerates `not-ready` and `unreachable` by admission.
const DEFAULT_TOLERATION_NS: Nanos = 300 * SECOND;
/// Concurrent ReplicaSet syncs of the controller manager.
const DEFAULT_CONCURRENT_SYNCS: u32 = 5;
/// How long a scheduler that is a program may take for an answer.
const ANSWER_TIMEOUT_MS: u64 = 10_000;

struct Resolver<'a> {
    spec: &'a ScenarioSpec,
    document: &'a Document,
    profiles: &'a ProfileLibrary,
    errors: Vec<Diagnostic>,
    found: Found,
    /// Kind of the object that owns the pods that are being expanded.
    owner_kind: Option<&'static str>,
    /// Stages need what a run with changes has.
    stages_disturb: bool,
}

impl<'a> Resolver<'a> {
    fn new(spec: &'a ScenarioSpec, document: &'a Document, profiles: &'a ProfileLibrary) -> Self {
        Self {
            spec,
            document,
            profiles,
            errors: Vec::new(),
            found: Found::default(),
            owner_kind: None,
            stages_disturb: false,
        }
    }
}

fn count(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// How often each comes.
fn counted(ids: impl Iterator<Item = u32>) -> BTreeMap<u32, u64> {
    let mut counts = BTreeMap::new();
    let mut ids = ids.peekable();
    while let Some(id) = ids.next() {
        // Equal ones mostly come one after the other.
        let mut n = 1;
        while ids.next_if_eq(&id).is_some() {
            n += 1;
        }
        *counts.entry(id).or_default() += n;
    }
    counts
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Resource {
    Cpu,
    Memory,
    Extended(u16),
}

/// A resource of which there is more in all than schedulers can add up.
fn exceeded<'a>(amounts: impl Iterator<Item = (&'a Resources, u64)>) -> Option<(Resource, u128)> {
    let mut sums: BTreeMap<Resource, u128> = BTreeMap::new();
    for (amount, n) in amounts {
        let extended = amount.extended.iter().map(|(id, v)| (Resource::Extended(*id), *v));
        let all = [(Resource::Cpu, amount.cpu_millicores), (Resource::Memory, amount.memory_bytes)];
        for (resource, value) in all.into_iter().chain(extended) {
            *sums.entry(resource).or_default() += u128::from(value) * u128::from(n);
        }
    }
    sums.into_iter().find(|(_, sum)| *sum > u128::from(limits::RESOURCE_TOTAL))
}

/// A resource list as integers, with extended resources interned.
pub fn resource_amount(list: &ResourceList, names: &mut ResourceNames) -> Resources {
    let mut amount = Resources::default();
    for (name, value) in &list.0 {
        match name.as_str() {
            "cpu" => amount.cpu_millicores = *value,
            "memory" => amount.memory_bytes = *value,
            "pods" => amount.pods = count(*value),
            _ if *value > 0 => amount.extended.push((names.intern(name), *value)),
            _ => {}
        }
    }
    amount.extended.sort_unstable();
    amount
}

const fn taint_effect(effect: SpecTaintEffect) -> TaintEffect {
    match effect {
        SpecTaintEffect::NoSchedule => TaintEffect::NoSchedule,
        SpecTaintEffect::PreferNoSchedule => TaintEffect::PreferNoSchedule,
        SpecTaintEffect::NoExecute => TaintEffect::NoExecute,
    }
}

/// A taint as the cluster knows it.
pub(super) fn taint(spec: &TaintSpec) -> Taint {
    Taint {
        key: spec.key.clone(),
        value: spec.value.clone().unwrap_or_default(),
        effect: taint_effect(spec.effect),
    }
}

/// A toleration as the cluster knows it.
pub(super) fn toleration(spec: &TolerationSpec) -> Toleration {
    Toleration {
        key: spec.key.clone().unwrap_or_default(),
        exists: spec.operator == Some(TolerationOperator::Exists),
        value: spec.value.clone().unwrap_or_default(),
        effect: spec.effect.map(taint_effect),
        seconds: spec.toleration_seconds,
    }
}

/// The operator of a selector as the cluster knows it.
pub(super) const fn operator(operator: MatchOperator) -> Operator {
    match operator {
        MatchOperator::In => Operator::In,
        MatchOperator::NotIn => Operator::NotIn,
        MatchOperator::Exists => Operator::Exists,
        MatchOperator::DoesNotExist => Operator::DoesNotExist,
        MatchOperator::Gt => Operator::Gt,
        MatchOperator::Lt => Operator::Lt,
    }
}

fn term(expressions: &[MatchExpressionSpec]) -> Term {
    let expression = |e: &MatchExpressionSpec| Expression {
        key: e.key.clone(),
        operator: operator(e.operator),
        values: e.values.clone(),
    };
    Term { expressions: expressions.iter().map(expression).collect(), ..Term::default() }
}

/// The name of a gang's task group.
fn task_group(gang: &GangSpec) -> String {
    gang.task_group.clone().unwrap_or_else(|| "gang".to_owned())
}

/// The pod spec of a shape. Anti-affinity and spread select pods of the same `app` label.
fn pod_spec(shape: &PodShape, app: &str, names: &mut ResourceNames) -> PodSpec {
    let mut labels = shape.labels.clone();
    labels.entry("app".to_owned()).or_insert_with(|| app.to_owned());
    let same_app: LabelSelector = BTreeMap::from([("app".to_owned(), labels["app"].clone())]).into();
    let mut pod_affinity = scheduling::pod_affinity(shape, &labels);
    if let Some(anti) = shape.anti_affinity.as_ref().filter(|a| a.mode != AntiAffinityMode::None) {
        pod_affinity.push(PodAffinityTerm {
            selector: same_app.clone(),
            topology_key: anti.topology_key.clone().unwrap_or_else(|| HOSTNAME_LABEL.to_owned()),
            weight: (anti.mode == AntiAffinityMode::Preferred).then_some(100),
            anti: true,
            ..PodAffinityTerm::default()
        });
    }
    let affinity = shape.node_affinity.clone().unwrap_or_default();
    PodSpec {
        requests: Resources { pods: 0, ..resource_amount(&shape.requests, names) },
        priority: shape.priority.unwrap_or(0),
        node_selector: shape.node_selector.clone(),
        node_name: shape.node_name.clone(),
        tolerations: shape.tolerations.iter().map(toleration).collect(),
        required_node_affinity: affinity.required.iter().map(|t| term(&t.match_expressions)).collect(),
        preferred_node_affinity: affinity
            .preferred
            .iter()
            .map(|t| WeightedTerm {
                weight: i32::try_from(t.weight).unwrap_or(100),
                term: term(&t.match_expressions),
            })
            .collect(),
        pod_affinity,
        host_ports: scheduling::host_ports(shape),
        never_preempts: shape.preemption_policy == Some(PreemptionPolicy::Never),
        required_node: None,
        refuses_preemption: shape.allow_preemption == Some(false),
        topology_spread: shape
            .topology_spread
            .iter()
            .map(|t| SpreadConstraint {
                min_domains: t.min_domains.map_or(0, count),
                ignore_node_affinity: t.node_affinity_policy == Some(NodeInclusionPolicy::Ignore),
                honor_node_taints: t.node_taints_policy == Some(NodeInclusionPolicy::Honor),
                max_skew: count(t.max_skew),
                topology_key: t.topology_key.clone(),
                hard: t.when_unsatisfiable == WhenUnsatisfiable::DoNotSchedule,
                selector: scheduling::with_label_keys(
                    t.label_selector.as_ref().map_or_else(|| same_app.clone(), scheduling::label_selector),
                    t.match_label_keys.iter().map(String::as_str),
                    &labels,
                    Operator::In,
                ),
            })
            .collect(),
        namespace_name: shape.namespace.clone().filter(|n| n != DEFAULT_NAMESPACE).unwrap_or_default(),
        scheduler_name: shape.scheduler_name.clone().unwrap_or_default(),
        termination_grace_s: shape.termination_grace_period_seconds.map(count),
        scheduling_gates: scheduling::gates(shape),
        images: scheduling::images(shape),
        controller_selector: None,
        volume_claims: Vec::new(),
        safe_to_evict: shape.safe_to_evict,
        labels,
        task_group: shape.gang.as_ref().map(task_group),
    }
}

/// Whether some queue of YuniKorn is guaranteed anything, which it may take back from others.
fn has_guarantee(settings: &Settings) -> bool {
    fn in_tree(queue: &QueueSettings) -> bool {
        let template = queue.template.as_ref().is_some_and(|template| template.guaranteed.is_positive());
        queue.guaranteed.is_positive() || template || queue.queues.iter().any(in_tree)
    }
    match &settings.yunikorn {
        Some(config) => in_tree(&config.root),
        None => settings.queues.iter().any(|queue| queue.guaranteed.is_some()),
    }
}

/// Whether pods may get to nodes from whose `NoExecute` taints they are evicted sooner or later.
fn evicts_by_taint(cluster: &Cluster, scheduler: &SchedulerPlan) -> bool {
    let settings = &scheduler.settings;
    let heeds_taints = match scheduler.kind.as_str() {
        "kube-scheduler" => {
            let profiles = settings.more_profiles.iter().map(|named| &named.profile);
            let mut plugins = profiles.chain([&settings.kube]).map(|profile| profile.plugins);
            plugins.all(|on| on.without(&settings.disabled_plugins).taints)
        }
        "yunikorn" => settings.predicates && !settings.core_only,
        "volcano" => settings.volcano.as_ref().is_none_or(|config| config.heeds_taints()),
        "first-fit" => true,
        _ => false,
    };
    let evicts = |taints: &[&Taint]| {
        (0..cluster.pods.spec_count()).any(|id| {
            let tolerations = &cluster.pods.spec_by_id(id as SpecId).tolerations;
            let gets_there = !heeds_taints || taints.iter().all(|taint| tolerates(tolerations, taint));
            gets_there && taint_eviction::stay_ns(tolerations, taints, DEFAULT_TOLERATION_NS).is_some()
        })
    };
    cluster.nodes.templates().iter().any(|template| {
        let taints = template.taints.iter().filter(|taint| taint.effect == TaintEffect::NoExecute);
        let taints: Vec<&Taint> = taints.collect();
        !taints.is_empty() && evicts(&taints)
    })
}

/// Amounts as a queue of Volcano names them.
fn volcano_limits(list: &ResourceList, names: &mut ResourceNames) -> volcano::Limits {
    let mut limits = volcano::Limits::default();
    for (name, value) in &list.0 {
        match name.as_str() {
            "cpu" => limits.cpu = Some(*value),
            "memory" => limits.memory = Some(*value),
            "pods" => limits.others.push((amount::PODS, *value)),
            _ => limits.others.push((names.intern(name), *value)),
        }
    }
    limits
}

fn volcano_queue(spec: &QueueSpec, names: &mut ResourceNames) -> volcano::Queue {
    volcano::Queue {
        name: spec.name.clone(),
        weight: i64::from(count(spec.weight.unwrap_or(1))),
        priority: i64::from(spec.priority.unwrap_or(0)),
        capability: volcano_limits(&spec.max, names),
        guarantee: volcano_limits(&spec.guaranteed, names),
    }
}

/// Draws spans of time from a distribution as scenarios give it.
pub(super) fn sampler(distribution: TimeDistribution) -> impl FnMut(&mut LazyStream<'_>) -> Nanos + use<> {
    let prepared = match distribution {
        TimeDistribution::Quantiles { p50, p99 } => Some(LogNormal::new(p50.0, p99.0)),
        _ => None,
    };
    move |rng| match (distribution, prepared) {
        (TimeDistribution::Fixed(span), _) => span.0,
        (TimeDistribution::Uniform { min, max }, _) => rng.get().uniform_span(min.0, max.0),
        (_, Some(lognormal)) => lognormal.sample(rng.get()),
        (TimeDistribution::Quantiles { p50, .. }, None) => p50.0,
    }
}

fn quantiles(distribution: Option<TimeDistribution>, default: (Nanos, Nanos)) -> (Nanos, Nanos) {
    match distribution {
        None => default,
        Some(TimeDistribution::Fixed(span)) => (span.0, span.0),
        Some(TimeDistribution::Quantiles { p50, p99 }) => (p50.0, p99.0),
        // A uniform span has its median in the middle and its 99th percentile near the end.
        Some(TimeDistribution::Uniform { min, max }) => {
            (min.0.midpoint(max.0), min.0 + (max.0 - min.0) / 100 * 99)
        }
    }
}

fn limits(spec: ClientSpec, default: ClientLimits) -> ClientLimits {
    ClientLimits {
        qps_milli: spec.qps.map_or(default.qps_milli, |q| q.micro_per_second() / 1000),
        burst: spec.burst.map_or(default.burst, count),
    }
}

/// Interns what a node is.
pub(super) fn node_template(cluster: &mut Cluster, template: &NodeTemplateSpec) -> u32 {
    let mut allocatable = resource_amount(&template.allocatable, &mut cluster.resources);
    if template.allocatable.pods().is_none() {
        allocatable.pods = count(DEFAULT_NODE_PODS);
    }
    cluster.nodes.add_template(NodeTemplate {
        labels: template.labels.clone(),
        taints: template.taints.iter().map(taint).collect(),
        unschedulable: template.unschedulable.unwrap_or(false),
        allocatable,
        images: scheduling::node_images(&template.images),
    })
}

/// Adds a group's nodes; returns their template.
fn add_nodes(cluster: &mut Cluster, group: &NodeGroupSpec, index: usize) -> u32 {
    let template = node_template(cluster, &group.template);
    let base =
        group.name.clone().unwrap_or_else(|| if index == 0 { "node".into() } else { format!("node{index}") });
    let width = group.count.saturating_sub(1).to_string().len().max(5);
    let zones: Vec<u32> =
        (0..group.zones.unwrap_or(0)).map(|z| cluster.nodes.add_zone(&format!("zone-{z}"))).collect();
    for i in 0..group.count {
        let zone = (!zones.is_empty()).then(|| zones[(i % zones.len() as u64) as usize]);
        cluster.nodes.add(format!("{base}-{i:0width$}"), template, zone);
    }
    template
}

/// Pods of a workload as they are expanded.
struct Expanded<'s> {
    /// Draws how long volumes take.
    volumes: LazyStream<'s>,
    /// Ranges of pods that one controller creates.
    sets: Vec<(u32, u32)>,
    run_ns: Vec<Nanos>,
    hold_ns: Vec<Nanos>,
    /// Application, task group, members and spec of the placeholders.
    gangs: Vec<(AppId, String, u32, SpecId)>,
}

impl Resolver<'_> {
    /// The queue of applications that ask for none: with a configuration placement rules find one.
    fn default_queue(&self) -> &'static str {
        let scheduler = &self.spec.scheduler;
        match scheduler.kind.as_str() {
            "yunikorn" if scheduler.config.is_some() => "",
            "volcano" => DEFAULT_QUEUE,
            _ => "root.default",
        }
    }

    fn profile(&mut self, path: &str, name: Option<&String>, default: &str) -> CostProfile {
        let wanted = name.map_or(default, String::as_str);
        match self.profiles.load(wanted) {
            Ok(profile) => profile,
            Err(error) => {
                self.errors.push(self.document.diagnostic(path, error.to_string(), None));
                CostProfile::free(wanted)
            }
        }
    }

    fn placement(
        &mut self,
        path: &str,
        profile: Option<&String>,
        default: &str,
        host: Option<&String>,
        max_threads: Option<u64>,
    ) -> Placement {
        Placement {
            profile: self.profile(&format!("{path}.profile"), profile, default),
            host: host.and_then(|h| self.spec.hosts.keys().position(|k| k == h)),
            max_threads: max_threads.map(count),
        }
    }

    fn api_server(&mut self) -> Option<ApiServerPlan> {
        let mut server = self.spec.control_plane.api_server.clone();
        let etcd = self.spec.control_plane.etcd.clone();
        // Tolerations are given to pods, whatever the server costs.
        server.default_toleration_seconds = None;
        if server == Default::default() && etcd == Default::default() {
            return None;
        }
        let place = self.placement(
            "controlPlane.apiServer",
            server.profile.as_ref(),
            "apiserver-1.36",
            server.host.as_ref(),
            server.max_threads,
        );
        let etcd_place =
            self.placement("controlPlane.etcd", etcd.profile.as_ref(), "etcd-3.6", etcd.host.as_ref(), None);
        let max_streams =
            place.profile.parameter("max_streams_per_connection").map_or(DEFAULT_MAX_STREAMS, count);
        let fsync = match etcd.fsync {
            Some(FsyncSpec::Off) => None,
            Some(FsyncSpec::Latency(latency)) => Some(quantiles(Some(latency), DEFAULT_FSYNC_NS)),
            None => Some(DEFAULT_FSYNC_NS),
        };
        Some(ApiServerPlan {
            server: place,
            max_requests_inflight: server.max_requests_inflight.map_or(DEFAULT_INFLIGHT.0, count),
            max_mutating_requests_inflight: server
                .max_mutating_requests_inflight
                .map_or(DEFAULT_INFLIGHT.1, count),
            priority_and_fairness: server.priority_and_fairness.unwrap_or(true),
            max_streams_per_connection: server.max_streams_per_connection.map_or(max_streams, count),
            etcd: etcd_place,
            etcd_settings: EtcdSettings {
                fsync,
                members: etcd.members.map_or(1, count),
                peer_rtt_ns: etcd.peer_rtt.map_or(0, |d| d.0),
            },
        })
    }

    /// The result depends on a file beside the scenario: its hash is noted.
    fn note_file(&mut self, name: &str) {
        let path = self.document.directory().unwrap_or(Path::new(".")).join(name);
        if let Ok(bytes) = std::fs::read(path) {
            let hash = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            self.found.provenance.files.insert(name.to_owned(), hash);
        }
    }

    /// What `scheduler.config` says; the defaults if there is none or it is wrong.
    fn scheduler_config(&mut self, names: &mut ResourceNames) -> SchedulerConfig {
        let Some(name) = &self.spec.scheduler.config else { return SchedulerConfig::default() };
        let path = self.document.directory().unwrap_or(Path::new(".")).join(name);
        match config_file::read(&self.spec.scheduler.kind, &path, &path.display().to_string(), names) {
            Ok(mut config) => {
                self.note_file(name);
                self.found.provenance.notes.append(&mut config.notes);
                config
            }
            Err(mut errors) => {
                self.errors.append(&mut errors);
                SchedulerConfig::default()
            }
        }
    }

    /// How a scheduler that is a program of its own is run. The result depends on the files that its command names.
    fn process_command(&mut self, s: &SchedulerSpec) -> ProcessCommand {
        let directory = self.document.directory().unwrap_or(Path::new("."));
        for argument in &s.command {
            if directory.join(argument).is_file() {
                self.note_file(argument);
            }
        }
        let options = if s.options.is_empty() { None } else { serde_json::to_string(&s.options).ok() };
        ProcessCommand {
            command: s.command.clone(),
            directory: directory.to_string_lossy().into_owned(),
            timeout_ms: s.answer_timeout.map_or(ANSWER_TIMEOUT_MS, |d| d.0.div_ceil(1_000_000)),
            options: options.unwrap_or_default(),
        }
    }

    fn scheduler(&mut self, registry: &Registry, names: &mut ResourceNames) -> SchedulerPlan {
        let s = self.spec.scheduler.clone();
        let process = self.process_command(&s);
        let registration = registry.get(&s.kind);
        if registration.is_none() {
            let known: Vec<&str> = registry.names().collect();
            let message = format!("there is no scheduler `{}`", s.kind);
            let hint = format!("there are: {}", known.join(", "));
            self.errors.push(self.document.diagnostic("scheduler.kind", message, Some(hint)));
        }
        let place = match registration.and_then(|r| r.profile.clone()) {
            Some(profile) if s.profile.is_none() => Placement {
                profile,
                host: s.host.as_ref().and_then(|h| self.spec.hosts.keys().position(|k| k == h)),
                max_threads: s.max_threads.map(count),
            },
            _ => {
                let default = registration.map_or("first-fit", |r| r.default_profile.as_str()).to_owned();
                self.placement("scheduler", s.profile.as_ref(), &default, s.host.as_ref(), s.max_threads)
            }
        };
        let parameter = |name: &str, otherwise: u64| place.profile.parameter(name).unwrap_or(otherwise);
        let config = self.scheduler_config(names);
        if config.settings.yunikorn.is_some() && !s.queues.is_empty() {
            let hint = Some("leave one of them out".to_owned());
            let message = "the queues are in the file of scheduler.config too";
            self.errors.push(self.document.diagnostic("scheduler.queues", message, hint));
        }
        let default_client = ClientLimits {
            qps_milli: config.qps_milli.unwrap_or_else(|| parameter("default_client_qps", 50) * 1000),
            burst: config.burst.unwrap_or_else(|| count(parameter("default_client_burst", 100))),
        };
        let identity = match s.identity {
            Some(Identity::KubeScheduler) => ClientIdentity::KubeScheduler,
            Some(Identity::ServiceAccount) => ClientIdentity::ServiceAccount,
            Some(Identity::Masters) => ClientIdentity::Masters,
            None if s.kind == "yunikorn" || s.kind == "volcano" => ClientIdentity::ServiceAccount,
            None => ClientIdentity::KubeScheduler,
        };
        let client = limits(s.client, default_client);
        let events_client = s.events_client.map_or(client, |c| limits(c, client));
        let controller_client = (s.kind == "volcano").then(|| {
            let default = ClientLimits {
                qps_milli: parameter("controller_client_qps", 50) * 1000,
                burst: count(parameter("controller_client_burst", 100)),
            };
            limits(s.controller_client.unwrap_or_default(), default)
        });
        let mut defaults = config.settings;
        let volcano = (s.kind == "volcano").then(|| {
            let mut config = defaults.volcano.take().unwrap_or_default();
            config.period_ns = s.scheduling_interval.map_or(config.period_ns, |d| d.0);
            let percentage = s.percentage_of_nodes_to_score;
            config.percentage_of_nodes = percentage.map_or(config.percentage_of_nodes, count);
            for queue in &s.queues {
                let queue = volcano_queue(queue, names);
                match config.queues.iter_mut().find(|q| q.name == queue.name) {
                    Some(known) => *known = queue,
                    None => config.queues.push(queue),
                }
            }
            config
        });
        let amount = |list: &ResourceList| {
            (!list.0.is_empty())
                .then(|| (list.cpu_millicores().unwrap_or(u64::MAX), list.memory_bytes().unwrap_or(u64::MAX)))
        };
        let settled = self.spec.workload.start != Some(WorkloadStart::Backlog) && s.start_delay.is_none();
        let settings = Settings {
            percentage_of_nodes_to_score: s
                .percentage_of_nodes_to_score
                .map_or(defaults.percentage_of_nodes_to_score, count),
            parallelism: s.parallelism.map_or(defaults.parallelism, count),
            pod_initial_backoff_ns: s.pod_initial_backoff.map_or(defaults.pod_initial_backoff_ns, |d| d.0),
            pod_max_backoff_ns: s.pod_max_backoff.map_or(defaults.pod_max_backoff_ns, |d| d.0),
            scoring_strategy: match s.scoring_strategy {
                Some(SpecScoring::MostAllocated) => ScoringStrategy::MostAllocated,
                Some(SpecScoring::LeastAllocated) => ScoringStrategy::LeastAllocated,
                None => defaults.scoring_strategy,
            },
            disabled_plugins: s.plugins.map_or(defaults.disabled_plugins, |p| p.disabled),
            kube: defaults.kube,
            scheduler_name: defaults.scheduler_name,
            feature_gates: FeatureGates {
                async_api_calls: s.feature_gates.get("SchedulerAsyncAPICalls").copied(),
                opportunistic_batching: s.feature_gates.get("OpportunisticBatching").copied(),
                pop_from_backoff: s.feature_gates.get("SchedulerPopFromBackoffQ").copied(),
            },
            more_profiles: defaults
                .more_profiles
                .into_iter()
                .map(|mut profile| {
                    // What the scenario says itself holds for all profiles.
                    if let Some(percentage) = s.percentage_of_nodes_to_score {
                        profile.percentage_of_nodes_to_score = count(percentage);
                    }
                    match s.scoring_strategy {
                        Some(SpecScoring::MostAllocated) => {
                            profile.scoring_strategy = ScoringStrategy::MostAllocated;
                        }
                        Some(SpecScoring::LeastAllocated) => {
                            profile.scoring_strategy = ScoringStrategy::LeastAllocated;
                        }
                        None => {}
                    }
                    profile
                })
                .collect(),
            predicates: s.predicates.unwrap_or(defaults.predicates),
            node_sort: match s.node_sort {
                Some(SpecNodeSort::Fullsort) => NodeSort::FullSort,
                Some(SpecNodeSort::Btree) => NodeSort::Btree,
                None if parameter("full_sort", 0) == 1 => NodeSort::FullSort,
                None => NodeSort::Btree,
            },
            node_sort_policy: match s.node_sort_policy {
                Some(SpecNodeSortPolicy::Binpacking) => NodeSortPolicy::BinPacking,
                Some(SpecNodeSortPolicy::Fair) => NodeSortPolicy::Fair,
                None => defaults.node_sort_policy,
            },
            scheduling_interval_ns: s.scheduling_interval.map_or(defaults.scheduling_interval_ns, |d| d.0),
            core_only: s.core_only.unwrap_or(false),
            settled,
            tick_phase_ns: None,
            volcano,
            queues: if s.queues.is_empty() || s.kind == "volcano" {
                defaults.queues
            } else {
                s.queues
                    .iter()
                    .map(|q| QueueConfig {
                        name: q.name.clone(),
                        sort: if q.sort == Some(QueueSort::Fair) { AppSort::Fair } else { AppSort::Fifo },
                        guaranteed: amount(&q.guaranteed),
                        max: amount(&q.max),
                    })
                    .collect()
            },
            yunikorn: defaults.yunikorn,
            plain: false,
            reservations: s.reservations.unwrap_or(defaults.reservations),
            process,
        };
        SchedulerPlan {
            kind: s.kind,
            place,
            identity,
            client,
            events_client,
            controller_client,
            start_ns: s.start_delay.map_or(0, |d| d.0),
            running_at_start: self.spec.workload.start != Some(WorkloadStart::Backlog)
                && s.start_delay.is_none(),
            settings,
        }
    }

    /// Pods whose profile is not there: the real kube-scheduler leaves them alone.
    fn scheduler_names(&mut self, settings: &Settings, cluster: &Cluster) {
        let kind = self.spec.scheduler.kind.as_str();
        let recorded = self.spec.workload.trace.is_some() || !self.spec.workload.manifests.is_empty();
        let takes_ports = |id| !cluster.pods.spec_by_id(id as SpecId).host_ports.is_empty();
        if recorded
            && matches!(kind, "yunikorn" | "first-fit")
            && (0..cluster.pods.spec_count()).any(takes_ports)
        {
            let note = format!("some pods take ports of their node, which {kind} does not look at here");
            self.found.provenance.notes.push(note);
        }
        let own = match kind {
            "kube-scheduler" => "",
            "volcano" => "volcano",
            // With its admission controller every pod is YuniKorn's.
            "yunikorn" => "yunikorn",
            _ => return,
        };
        if !own.is_empty() {
            self.foreign_schedulers(cluster, &[own], &format!("to {own}"));
            return;
        }
        let known: Vec<&str> = std::iter::once(settings.scheduler_name.as_str())
            .chain(settings.more_profiles.iter().map(|p| p.scheduler_name.as_str()))
            .collect();
        let w = &self.spec.workload;
        let groups = (w.deployments.iter().enumerate())
            .map(|(i, g)| (format!("workload.deployments[{i}]"), g.scheduler_name.as_ref()))
            .chain(
                w.stateful_sets
                    .iter()
                    .enumerate()
                    .map(|(i, g)| (format!("workload.statefulSets[{i}]"), g.scheduler_name.as_ref())),
            )
            .chain(
                w.jobs
                    .iter()
                    .enumerate()
                    .map(|(i, g)| (format!("workload.jobs[{i}]"), g.scheduler_name.as_ref())),
            )
            .chain(
                w.cron_jobs
                    .iter()
                    .enumerate()
                    .map(|(i, g)| (format!("workload.cronJobs[{i}]"), g.scheduler_name.as_ref())),
            )
            .chain(
                w.pods
                    .iter()
                    .enumerate()
                    .map(|(i, g)| (format!("workload.pods[{i}]"), g.scheduler_name.as_ref())),
            );
        for (path, name) in groups {
            if let Some(name) = name.filter(|name| !known.contains(&name.as_str())) {
                let message =
                    format!("no profile is named `{name}`; kube-scheduler would leave the pods alone");
                let hint = format!("there are: {}; see scheduler.config", known.join(", "));
                let path = format!("{path}.schedulerName");
                self.errors.push(self.document.diagnostic(&path, message, Some(hint)));
            }
        }
        let first = known.first().copied().unwrap_or_default();
        self.foreign_schedulers(cluster, &known, &format!("to the profile {first}"));
    }

    /// Notes pods of a trace or manifests that name a scheduler which the scenario does not have: in their cluster it was there.
    fn foreign_schedulers(&mut self, cluster: &Cluster, known: &[&str], whither: &str) {
        let w = &self.spec.workload;
        if w.trace.is_none() && w.manifests.is_empty() {
            return;
        }
        let specs = (0..cluster.pods.spec_count()).map(|id| cluster.pods.spec_by_id(id as SpecId));
        let named = specs.map(|spec| spec.scheduler_name.as_str());
        let foreign: BTreeSet<&str> =
            named.filter(|name| !name.is_empty() && !known.contains(name)).collect();
        let Some(one) = foreign.first() else { return };
        let others = match foreign.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} others"),
        };
        self.found.provenance.notes.push(format!(
            "some pods name a scheduler that the scenario does not have ({one}{others}); they go {whither}, where a cluster without that \
             scheduler would leave them pending"
        ));
    }

    /// Kueue's plan, and how jobs arrive with it: one after the other, when their first pods would have come.
    fn kueue(&mut self, cluster: &mut Cluster, creation: Creation) -> (Option<KueuePlan>, Creation) {
        let spec = self.spec;
        let Some(given) = &spec.scheduler.kueue else { return (None, creation) };
        let w = &spec.workload;
        let others = !w.deployments.is_empty()
            || !w.stateful_sets.is_empty()
            || !w.cron_jobs.is_empty()
            || !w.pods.is_empty()
            || !w.manifests.is_empty()
            || w.trace.is_some();
        let controlled = w.jobs.iter().any(super::spec::JobSpec::is_controlled);
        let refused = [
            (others, "workload", "Kueue with anything but `jobs`", "write the workload as jobs"),
            (
                w.start == Some(WorkloadStart::Backlog),
                "workload.start",
                "jobs that exist before Kueue",
                "start live",
            ),
            (!spec.faults.is_empty(), "faults", "faults with Kueue", "leave one of them out"),
            (
                controlled,
                "workload.jobs",
                "Kueue with Jobs whose pods come little by little",
                "leave out `parallelism`, `completionMode` and `backoffLimit`",
            ),
            (
                !spec.cluster.resource_quotas.is_empty(),
                "cluster.resourceQuotas",
                "Kueue with ResourceQuotas",
                "leave one of them out",
            ),
        ];
        for (_, path, what, hint) in refused.iter().filter(|(wrong, ..)| *wrong) {
            let message = format!("not modelled: {what}");
            self.errors.push(self.document.diagnostic(path, message, Some((*hint).to_owned())));
        }
        if !self.errors.is_empty() {
            return (None, creation);
        }
        let mut ranges: Vec<(PodId, PodId)> = Vec::new();
        for pod in 0..cluster.pods.first_placeholder() {
            match ranges.last_mut() {
                Some(last) if cluster.pods.app_id(last.0) == cluster.pods.app_id(pod) => last.1 = pod + 1,
                _ => ranges.push((pod, pod + 1)),
            }
        }
        let times: Vec<Nanos> = match &creation {
            Creation::Scheduled { times_ns } => {
                ranges.iter().map(|(from, _)| times_ns[*from as usize]).collect()
            }
            _ => vec![0; ranges.len()],
        };
        let directory = self.document.directory().unwrap_or(Path::new("."));
        for name in &given.objects {
            self.note_file(name);
        }
        let config = match kueue::read(given, directory, cluster, &ranges) {
            Ok(config) => Arc::new(config),
            Err(mut errors) => {
                self.errors.append(&mut errors);
                return (None, creation);
            }
        };
        let path = "scheduler.kueue";
        let place = self.placement(path, given.profile.as_ref(), "kueue-0.19", given.host.as_ref(), None);
        let parameter = |name: &str, otherwise: u64| place.profile.parameter(name).unwrap_or(otherwise);
        let default = ClientLimits {
            qps_milli: parameter("default_client_qps", 300) * 1000,
            burst: count(parameter("default_client_burst", 500)),
        };
        let client = limits(given.client.clone(), default);
        let plan = KueuePlan { client, config, place };
        (Some(plan), Creation::ReplicaSets { ranges, times_ns: Arc::new(times) })
    }

    /// What pods may not ask for with an autoscaler, whether they are the scenario's own or of a trace or manifests.
    fn for_autoscaler(&mut self, cluster: &Cluster) {
        if self.spec.cluster.autoscaler.is_none() {
            return;
        }
        let pods = &cluster.pods;
        let specs = || (0..pods.spec_count()).map(|id| pods.spec_by_id(id as SpecId));
        let taints = [TO_BE_DELETED, DISRUPTED].map(|key| Taint {
            key: key.to_owned(),
            value: String::new(),
            effect: TaintEffect::NoSchedule,
        });
        let comes_back = |spec: &PodSpec| {
            spec.required_node.is_none() && taints.iter().any(|taint| tolerates(&spec.tolerations, taint))
        };
        let (what, instead) =
            if self.spec.scheduler.kind == "yunikorn" && pods.first_placeholder() < pods.first_later() {
                (
                    "YuniKorn's gangs, whose placeholders ask for nodes, too",
                    "leave the gangs, or the autoscaler, out",
                )
            } else if specs().any(comes_back) {
                (
                    "pods that tolerate the taint of a node on its way out, and could come back to it",
                    "tolerate single taints instead of all",
                )
            } else {
                return;
            };
        let message = format!("not modelled: an autoscaler with {what}");
        self.errors.push(self.document.diagnostic("cluster.autoscaler", message, Some(instead.to_owned())));
    }

    /// What pods may ask of kube-scheduler and not of Volcano here.
    fn for_volcano(&mut self, settings: &Settings, cluster: &Cluster) {
        let Some(config) = &settings.volcano else { return };
        let pods = &cluster.pods;
        let specs = || (0..pods.spec_count()).map(|id| pods.spec_by_id(id as SpecId));
        let queues: Vec<&str> = config.queues.iter().map(|q| q.name.as_str()).collect();
        let foreign =
            pods.apps().iter().find(|app| !app.queue.is_empty() && !queues.contains(&app.queue.as_str()));
        let problem = if specs().any(|spec| !spec.pod_affinity.is_empty()) {
            Some(("pods with affinity or anti-affinity to pods".to_owned(), "podAffinity"))
        } else if specs().any(|spec| !spec.topology_spread.is_empty()) {
            Some(("pods with topology spread constraints".to_owned(), "topologySpread"))
        } else if specs().any(|spec| !spec.scheduling_gates.is_empty()) {
            Some(("pods with scheduling gates".to_owned(), "schedulingGates"))
        } else if pods.apps().iter().any(|app| app.task_groups.len() > 1) {
            Some(("gangs with several task groups".to_owned(), "the other groups"))
        } else {
            None
        };
        if let Some((what, field)) = problem {
            let message = format!("not modelled with Volcano: {what}");
            let hint = Some(format!("leave {field} out, or choose another scheduler"));
            self.errors.push(self.document.diagnostic("scheduler.kind", message, hint));
        }
        if let Some(app) = foreign {
            let message = format!("`{}` of application {} is no queue of Volcano's", app.queue, app.name);
            let hint = Some(format!("add it; there are: {}", queues.join(", ")));
            self.errors.push(self.document.diagnostic("scheduler.queues", message, hint));
        }
    }

    /// What pods may ask of kube-scheduler and not of first fit.
    fn for_first_fit(&mut self, cluster: &Cluster) {
        if self.spec.scheduler.kind != "first-fit" {
            return;
        }
        type Asks = fn(&PodSpec) -> bool;
        let asks: [(Asks, &str, &str); 4] = [
            (|spec| !spec.host_ports.is_empty(), "pods with host ports", "hostPorts"),
            (|spec| !spec.scheduling_gates.is_empty(), "pods with scheduling gates", "schedulingGates"),
            (
                |spec| spec.topology_spread.iter().any(|constraint| constraint.hard),
                "pods that must be spread (`whenUnsatisfiable: DoNotSchedule`)",
                "topologySpread",
            ),
            (
                |spec| spec.pod_affinity.iter().any(|term| term.weight.is_none()),
                "pods with required affinity or anti-affinity to pods",
                "podAffinity, podAntiAffinity and antiAffinity",
            ),
        ];
        let pods = &cluster.pods;
        let specs = || (0..pods.spec_count()).map(|id| pods.spec_by_id(id as SpecId));
        if let Some((_, what, field)) = asks.iter().find(|(asks, ..)| specs().any(asks)) {
            let message = format!("not modelled with first-fit: {what}");
            let hint = Some(format!("leave {field} out, or choose another scheduler"));
            self.errors.push(self.document.diagnostic("scheduler.kind", message, hint));
        }
    }

    /// Whether pods may be evicted, though nothing fails, in a way that somebody is to answer: by a scheduler, and a controller makes others in their
    /// place; or by a `NoExecute` taint that nodes have from the beginning.
    fn may_evict(&self, cluster: &Cluster, creation: &Creation, scheduler: &SchedulerPlan) -> bool {
        let sets: &[(u32, u32)] = match creation {
            Creation::ReplicaSets { ranges, .. } => ranges,
            _ => &self.found.replica_sets,
        };
        // All pods of a set have one priority.
        let priorities = || {
            let first = sets.iter().filter(|(from, to)| from < to).map(|(from, _)| *from);
            first.map(|pod| cluster.pods.spec(pod).priority)
        };
        let specs = || (0..cluster.pods.spec_count()).map(|id| cluster.pods.spec_by_id(id as SpecId));
        let Some(lowest) = priorities().min() else { return evicts_by_taint(cluster, scheduler) };
        let settings = &scheduler.settings;
        let by_scheduler = match scheduler.kind.as_str() {
            "kube-scheduler" => {
                let profiles = settings.more_profiles.iter().map(|named| &named.profile);
                let plugins = profiles.chain([&settings.kube]).map(|profile| profile.plugins);
                plugins.into_iter().any(|on| on.without(&settings.disabled_plugins).preemption)
                    && specs().any(|spec| spec.priority > lowest && !spec.never_preempts)
            }
            "yunikorn" => {
                let may = settings.yunikorn.as_ref().is_none_or(|config| !config.no_preemption);
                let since_1_3 = scheduler.place.profile.parameter("preemption").is_ok_and(|on| on != 0);
                may && since_1_3 && !settings.core_only && has_guarantee(settings)
            }
            "volcano" | "first-fit" => false,
            // What others do only they know.
            _ => true,
        };
        by_scheduler || evicts_by_taint(cluster, scheduler)
    }

    fn agents(&mut self) -> AgentsPlan {
        let spec = self.spec.control_plane.node_lifecycle.clone();
        let kind = match spec.kind.unwrap_or_default() {
            NodeLifecycleKind::None => AgentKind::None,
            NodeLifecycleKind::Hollow => AgentKind::Hollow,
            NodeLifecycleKind::Kwok => AgentKind::Kwok,
            NodeLifecycleKind::Kubelet => AgentKind::Kubelet,
        };
        let place = (kind == AgentKind::Kwok).then(|| {
            let path = "controlPlane.nodeLifecycle";
            self.placement(path, spec.profile.as_ref(), "kwok-0.7", spec.host.as_ref(), None)
        });
        // KWOK's fast stages have no delay; a container starts in a second or two.
        let latency = if kind == AgentKind::Kwok { (0, 0) } else { (SECOND, 2 * SECOND) };
        AgentsPlan {
            kind,
            place,
            start_latency_ns: quantiles(spec.start_latency, latency),
            termination_latency_ns: spec.termination_latency.map(|given| quantiles(Some(given), (0, 0))),
            heartbeats: spec.heartbeats.unwrap_or(true),
            client: limits(spec.client, ClientLimits::NONE),
            stages: None,
        }
    }

    /// KWOK's stages; how long pods run is theirs to say.
    fn stages(&mut self, lifetimes: &mut Lifetimes) -> Option<Arc<StageSet>> {
        let names = &self.spec.control_plane.node_lifecycle.stages;
        let path = "controlPlane.nodeLifecycle.stages";
        if names.is_empty() {
            return None;
        }
        let base = self.document.directory().unwrap_or(Path::new("."));
        let (facts, fact_of_app) = std::mem::take(&mut self.found.facts);
        if facts.iter().any(|facts| facts.annotations.contains_key(stages::RUN_ANNOTATION)) {
            let message = format!("`{}` is a pod's run time", stages::RUN_ANNOTATION);
            let hint = Some("write `runTime` instead of the annotation".to_owned());
            self.errors.push(self.document.diagnostic(path, message, hint));
        }
        let mut read = match stages::read(names, base, &facts) {
            Ok(read) => read,
            Err(errors) => {
                self.errors.extend(errors);
                return None;
            }
        };
        read.files.iter().for_each(|file| self.note_file(file));
        self.found.provenance.notes.append(&mut read.notes);
        let w = &self.spec.workload;
        let recorded = w.trace.is_some() || !w.manifests.is_empty();
        if recorded && read.reads_facts {
            let note = "stages see no annotations and no owners of pods from a trace or from manifests, only their run times \
                        (annotation podpace.dev/run)";
            self.found.provenance.notes.push(note.to_owned());
        }
        if !read.set.pods.is_empty() && !read.reads_run && matches!(lifetimes, Lifetimes::Run(_)) {
            let reader = ".metadata.annotations[\"podpace.dev/run\"]";
            if recorded {
                let note = format!("run times of the trace count for nothing: no stage reads {reader}");
                self.found.provenance.notes.push(note);
                *lifetimes = Lifetimes::Endless;
            } else {
                let message = format!("pods have a `runTime`, and no stage reads it ({reader})");
                let hint = "leave `runTime` out, or read it: `durationFrom: {expressionFrom: '.metadata.annotations[\"podpace.dev/run\"]'}`";
                self.errors.push(self.document.diagnostic(path, message, Some(hint.to_owned())));
            }
        }
        for (index, fault) in self.spec.faults.iter().enumerate() {
            if faults::needs_machines(fault) {
                let message = "not modelled with `stages`: KWOK has no machines, and its pods fail by stages";
                let hint = "write a stage that makes the node not ready, or the pod fail".to_owned();
                self.errors.push(self.document.diagnostic(
                    &format!("faults[{index}].kind"),
                    message,
                    Some(hint),
                ));
            }
        }
        self.stages_disturb = read.disturbs;
        Some(Arc::new(StageSet { facts, fact_of_app, ..read.set }))
    }

    /// Resources added up over nodes and over pods, for those who add them up, stay within Kubernetes' quantities.
    fn totals(&mut self, cluster: &Cluster) {
        // Kueue lets a job wait that asks for more than a number holds.
        if !matches!(self.spec.scheduler.kind.as_str(), "yunikorn" | "volcano") {
            return;
        }
        let nodes = (0..count(cluster.nodes.len() as u64)).map(|node| cluster.nodes.get(node).template);
        let nodes =
            counted(nodes).into_iter().map(|(id, n)| (&cluster.nodes.template_by_id(id).allocatable, n));
        let pods = counted((0..count(cluster.pods.len() as u64)).map(|pod| cluster.pods.spec_id(pod)));
        let pods = pods.into_iter().map(|(id, n)| (&cluster.pods.spec_by_id(id).requests, n));
        let of_groups = self.spec.workload.trace.is_none() && self.spec.workload.manifests.is_empty();
        let workload = if of_groups { "workload" } else { "workload.transform" };
        for (path, what, found) in
            [("cluster.nodes", "nodes have", exceeded(nodes)), (workload, "pods request", exceeded(pods))]
        {
            let Some((resource, total)) = found else { continue };
            let resource = match resource {
                Resource::Cpu => "millicores of cpu",
                Resource::Memory => "bytes of memory",
                Resource::Extended(id) => cluster.resources.name(id),
            };
            let message = format!(
                "the {what} {total} {resource} in all; expected at most {}, as {} adds them up in 64 bits",
                limits::RESOURCE_TOTAL,
                self.spec.scheduler.kind
            );
            let hint = Some("is there a digit, or a unit, too many? Or take fewer of them".to_owned());
            self.errors.push(self.document.diagnostic(path, message, hint));
        }
    }

    /// What a run needs in which others than the scheduler and the load client change nodes and pods.
    fn changes(&mut self, cluster: &mut Cluster, templates: &[u32], evicts: bool) -> Option<ChangesPlan> {
        let spec = self.spec;
        let has_objects = self.found.owners.iter().any(|owner| *owner != OwnerPlan::ReplicaSet)
            || !cluster.resource_quotas.is_empty()
            || !self.found.daemon_sets.is_empty()
            || !self.found.cron_jobs.is_empty()
            || !self.found.beside.is_empty();
        let by_hand = spec.faults.is_empty() && spec.cluster.autoscaler.is_none();
        if by_hand && !has_objects && !evicts && !self.stages_disturb {
            return None;
        }
        let (mut deployments, rollouts) = rollout::resolve(spec, &self.found.replica_sets, cluster);
        scale::add_deployments(spec, &mut deployments);
        let mut plans = Vec::new();
        for (index, fault) in spec.faults.iter().enumerate() {
            let template = |group: usize| templates.get(group).copied().unwrap_or(0);
            match faults::resolve(fault, index, spec, cluster, template, &rollouts) {
                Ok(plan) => {
                    let limit_ns = spec.stop.limit.map_or(self.found.default_limit_ns, |d| d.0);
                    if let Some((field, message, hint)) = faults::too_many(fault, &plan, cluster, limit_ns) {
                        let path = format!("faults[{index}].{field}");
                        self.errors.push(self.document.diagnostic(&path, message, Some(hint)));
                    }
                    plans.push(plan);
                }
                Err((field, message, hint)) => {
                    let path = format!("faults[{index}].{field}");
                    let hint = (!hint.is_empty()).then_some(hint);
                    self.errors.push(self.document.diagnostic(&path, message, hint));
                }
            }
        }
        let flags = &spec.control_plane.controller_manager;
        let defaults = NodeLifecycleSettings::default();
        let rate = |rate: Option<Rate>, default: u64| rate.map_or(default, Rate::micro_per_second);
        Some(ChangesPlan {
            faults: plans,
            node_lifecycle: NodeLifecycleSettings {
                monitor_period_ns: flags.node_monitor_period.map_or(defaults.monitor_period_ns, |d| d.0),
                monitor_grace_period_ns: flags
                    .node_monitor_grace_period
                    .map_or(defaults.monitor_grace_period_ns, |d| d.0),
                eviction_rate_micro: rate(flags.node_eviction_rate, defaults.eviction_rate_micro),
                secondary_eviction_rate_micro: rate(
                    flags.secondary_node_eviction_rate,
                    defaults.secondary_eviction_rate_micro,
                ),
                large_cluster_size_threshold: flags
                    .large_cluster_size_threshold
                    .map_or(defaults.large_cluster_size_threshold, count),
                unhealthy_zone_threshold_ppm: flags
                    .unhealthy_zone_threshold
                    .map_or(defaults.unhealthy_zone_threshold_ppm, |share| share.ppm()),
            },
            default_toleration_ns: spec
                .control_plane
                .api_server
                .default_toleration_seconds
                .map_or(DEFAULT_TOLERATION_NS, |seconds| seconds.saturating_mul(SECOND)),
            replica_sets: std::mem::take(&mut self.found.replica_sets),
            owners: std::mem::take(&mut self.found.owners),
            daemon_sets: std::mem::take(&mut self.found.daemon_sets),
            cron_jobs: std::mem::take(&mut self.found.cron_jobs),
            deployments: deployments.into_values().collect(),
            beside: std::mem::take(&mut self.found.beside),
            begun: self.found.begun,
        })
    }

    fn add_pods(
        &mut self,
        cluster: &mut Cluster,
        expanded: &mut Expanded<'_>,
        shape: &PodShape,
        app: &str,
        pods: u64,
        (owned, rng): (bool, &mut LazyStream<'_>),
    ) {
        let name = shape.app.clone().unwrap_or_else(|| app.to_owned());
        let mut spec = pod_spec(shape, &name, &mut cluster.resources);
        if owned {
            // Their ReplicaSet selects them by the label that all of its pods share.
            spec.controller_selector =
                Some(BTreeMap::from([("app".to_owned(), spec.labels["app"].clone())]).into());
        }
        let queue = shape.queue.clone().unwrap_or_else(|| self.default_queue().to_owned());
        let scheduler = &self.spec.scheduler;
        let ignored = scheduler.kueue.is_some() || scheduler.ignore.contains(&Ignored::Gang);
        let facts = Facts { owner: self.owner_kind, annotations: shape.annotations.clone() };
        let known = self.found.facts.0.iter().position(|known| *known == facts);
        let fact = known.unwrap_or_else(|| {
            self.found.facts.0.push(facts);
            self.found.facts.0.len() - 1
        });
        self.found.facts.1.resize(cluster.pods.apps().len(), 0);
        self.found.facts.1.push(count(fact as u64));
        let given = shape.gang.as_ref().filter(|_| !ignored);
        let gang = given.cloned().unwrap_or_default();
        let app = cluster.pods.add_app(App {
            name,
            queue,
            user: shape.user.clone().unwrap_or_default(),
            groups: shape.groups.clone(),
            namespace: shape.namespace.clone().unwrap_or_default(),
            gang_hard: gang.gang_scheduling_style == Some(GangStyle::Hard),
            placeholder_timeout_ns: gang.placeholder_timeout.map_or(0, |t| t.0),
            ..App::default()
        });
        if let Some(gang) = given {
            // The shim gives a placeholder neither ports nor gates (`newPlaceholder`).
            let mut placeholder =
                PodSpec { host_ports: Vec::new(), scheduling_gates: Vec::new(), ..spec.clone() };
            if !gang.min_resource.0.is_empty() {
                placeholder.requests =
                    Resources { pods: 0, ..resource_amount(&gang.min_resource, &mut cluster.resources) };
            }
            let members = count(gang.min_member.unwrap_or(pods));
            let placeholder = cluster.pods.add_spec(placeholder);
            expanded.gangs.push((app, task_group(gang), members, placeholder));
        }
        let classes = &self.spec.cluster.storage_classes;
        let specs: Vec<SpecId> = scheduling::volume_claims(shape, classes)
            .into_iter()
            .map(|volume_claims| cluster.pods.add_spec(PodSpec { volume_claims, ..spec.clone() }))
            .collect();
        let mut provisioning: Vec<_> =
            scheduling::provisioning(shape, classes).into_iter().map(sampler).collect();
        let first = count(cluster.pods.len() as u64);
        let mut run = shape.run_time.map(sampler);
        let mut hold = shape.hold.map(sampler);
        cluster.pods.reserve(pods as usize);
        for i in 0..pods {
            let pod = cluster.pods.add(specs[i as usize % specs.len()], app);
            // The slowest of a pod's volumes is waited for.
            let draws = provisioning.iter_mut().map(|draw| draw(&mut expanded.volumes));
            if let Some(slowest) = draws.max() {
                cluster.provisioning_ns.insert(pod, slowest);
            }
            expanded.run_ns.push(run.as_mut().map_or(u64::MAX, |draw| draw(rng)));
            expanded.hold_ns.push(hold.as_mut().map_or(u64::MAX, |draw| draw(rng)));
        }
        expanded.sets.push((first, first + count(pods)));
    }

    /// Pods and, unless the scenario has its own, nodes of a trace or of manifests.
    fn recorded(&mut self, cluster: &mut Cluster, streams: &Streams) -> (Creation, Lifetimes) {
        let w = &self.spec.workload;
        let base = self.document.directory().unwrap_or(Path::new("."));
        let field = if w.trace.is_some() { "workload.trace" } else { "workload.manifests" };
        let apps = from_trace::AppOptions {
            default_queue: self.default_queue(),
            gangs: matches!(self.spec.scheduler.kind.as_str(), "yunikorn" | "volcano"),
        };
        let read = match &w.trace {
            Some(trace) => from_trace::read(cluster, &base.join(trace), &w.transform, streams, apps),
            None => {
                let paths: Vec<PathBuf> = w.manifests.iter().map(|file| base.join(file)).collect();
                let options = from_trace::RunOptions {
                    start_time: w.start_time.as_deref(),
                    limit_ns: self.spec.stop.limit.map(|limit| limit.0),
                    backlog: w.start == Some(WorkloadStart::Backlog),
                    lifecycle: &self.spec.control_plane.node_lifecycle,
                    binds_volumes: self.spec.scheduler.kind == "kube-scheduler",
                    storage_classes: &self.spec.cluster.storage_classes,
                };
                from_trace::read_manifests(cluster, &paths, &w.transform, streams, apps, options)
            }
        };
        let mut trace = match read {
            Ok(trace) => trace,
            Err(error) => {
                let hint = error.hint();
                let field = if error.is_of_start_time() { "workload.startTime" } else { field };
                self.errors.push(self.document.diagnostic(field, error.to_string(), hint));
                return (Creation::Existing, Lifetimes::Endless);
            }
        };
        self.found.provenance.files.append(&mut trace.files);
        self.found.provenance.notes.append(&mut trace.notes);
        self.found.provenance.recorded = std::mem::take(&mut trace.recorded).into();
        self.found.daemon_sets = std::mem::take(&mut trace.daemon_sets);
        if !self.found.daemon_sets.is_empty() && self.spec.scheduler.kind == "volcano" {
            let hint = Some("leave the DaemonSets out, or use another scheduler".to_owned());
            self.errors.push(self.document.diagnostic(
                field,
                "not modelled with Volcano: DaemonSets among manifests",
                hint,
            ));
        }
        self.found.default_limit_ns = trace.default_limit_ns;
        let (ranges, owners): (Vec<_>, Vec<_>) = trace.owned.into_iter().unzip();
        (self.found.owners, self.found.cron_jobs) = (owners, trace.cron_jobs);
        let creation = if w.start == Some(WorkloadStart::Backlog) {
            if !self.found.cron_jobs.is_empty() {
                let message =
                    "the pods of CronJobs are made by their controller, and a backlog is there before it";
                let hint = Some("set `start: live`".to_owned());
                self.errors.push(self.document.diagnostic("workload.start", message, hint));
            }
            Creation::Existing
        } else if !ranges.is_empty() && trace.times_ns.is_empty() {
            Creation::ReplicaSets { ranges, times_ns: Arc::new(vec![0; trace.begun]) }
        } else {
            (self.found.beside, self.found.begun) = (ranges, trace.begun);
            Creation::Scheduled { times_ns: trace.times_ns.into() }
        };
        let ends = trace.run_ns.iter().any(|run| *run != u64::MAX);
        (creation, if ends { Lifetimes::Run(trace.run_ns.into()) } else { Lifetimes::Endless })
    }

    fn workload(&mut self, cluster: &mut Cluster, streams: &Streams) -> (Creation, Lifetimes) {
        let spec = self.spec;
        let w = &spec.workload;
        if w.trace.is_some() || !w.manifests.is_empty() {
            return self.recorded(cluster, streams);
        }
        let mut rng = streams.lazily("workload.lifetimes");
        let mut expanded = Expanded {
            volumes: streams.lazily("workload.volumes"),
            sets: Vec::new(),
            run_ns: Vec::new(),
            hold_ns: Vec::new(),
            gangs: Vec::new(),
        };
        self.owner_kind = Some("ReplicaSet");
        for (index, d) in w.deployments.iter().enumerate() {
            let base = d.name.clone().unwrap_or_else(|| format!("deployment{index}"));
            let copies = d.count.unwrap_or(1);
            for copy in 0..copies {
                let app = if copies == 1 { base.clone() } else { format!("{base}-{copy}") };
                self.add_pods(cluster, &mut expanded, &d.shape(), &app, d.replicas, (true, &mut rng));
            }
        }
        self.found.replica_sets.clone_from(&expanded.sets);
        self.found.owners = vec![OwnerPlan::ReplicaSet; expanded.sets.len()];
        self.owner_kind = Some("StatefulSet");
        for (index, s) in w.stateful_sets.iter().enumerate() {
            let base = s.name.clone().unwrap_or_else(|| format!("statefulset{index}"));
            let copies = s.count.unwrap_or(1);
            for copy in 0..copies {
                let app = if copies == 1 { base.clone() } else { format!("{base}-{copy}") };
                self.add_pods(cluster, &mut expanded, &s.shape(), &app, s.replicas, (true, &mut rng));
                self.found.owners.push(s.owner());
            }
        }
        self.owner_kind = Some("Job");
        for (index, j) in w.jobs.iter().enumerate().filter(|(_, j)| j.is_controlled()) {
            let base = j.name.clone().unwrap_or_else(|| format!("job{index}"));
            let copies = j.count.unwrap_or(1);
            for copy in 0..copies {
                let app = if copies == 1 { base.clone() } else { format!("{base}-{copy}") };
                let pods = j.completions.or(j.parallelism).unwrap_or(1);
                self.add_pods(cluster, &mut expanded, &j.shape(), &app, pods, (false, &mut rng));
                self.found.owners.push(j.owner());
            }
        }
        for (index, c) in w.cron_jobs.iter().enumerate() {
            let base = c.name.clone().unwrap_or_else(|| format!("cronjob{index}"));
            let limit_ns = spec.stop.limit.map_or(DEFAULT_LIMIT_NS, |limit| limit.0);
            let settings = c.settings(limit_ns, w.start_time.as_deref(), expanded.sets.len());
            for time in 0..settings.times_ns.len() {
                let pods = c.completions.or(c.parallelism).unwrap_or(1);
                if cluster.pods.len() as u64 + pods > limits::PODS {
                    let message = format!("its Jobs until `stop.limit` have more than {} pods", limits::PODS);
                    let hint = Some("lower the limit, or start Jobs less often".to_owned());
                    let path = format!("workload.cronJobs[{index}].schedule");
                    self.errors.push(self.document.diagnostic(&path, message, hint));
                    break;
                }
                let app = format!("{base}-{time}");
                self.add_pods(cluster, &mut expanded, &c.shape(), &app, pods, (false, &mut rng));
                self.found.owners.push(c.job());
            }
            self.found.cron_jobs.push(settings);
        }
        let owned = expanded.sets.len();
        for (index, j) in w.jobs.iter().enumerate().filter(|(_, j)| !j.is_controlled()) {
            let base = j.name.clone().unwrap_or_else(|| format!("job{index}"));
            let copies = j.count.unwrap_or(1);
            for copy in 0..copies {
                let app = if copies == 1 { base.clone() } else { format!("{base}-{copy}") };
                let pods = j.completions.unwrap_or(1);
                self.add_pods(cluster, &mut expanded, &j.shape(), &app, pods, (false, &mut rng));
            }
        }
        self.owner_kind = None;
        for (index, g) in w.pods.iter().enumerate() {
            let base = g.name.clone().unwrap_or_else(|| format!("pods{index}"));
            let apps = g.apps.unwrap_or(1);
            for a in 0..apps {
                // Pod i is in application floor(i * A / P): application a has the pods from ceil(a P / A) on.
                let from = (a * g.count).div_ceil(apps);
                let to = ((a + 1) * g.count).div_ceil(apps);
                let app = if apps == 1 { base.clone() } else { format!("{base}-{a}") };
                self.add_pods(cluster, &mut expanded, &g.shape(), &app, to - from, (false, &mut rng));
                if g.gang.is_none() && !cluster.pods.is_empty() {
                    // The load client makes them itself: nothing owns them.
                    let app = cluster.pods.apps().len() as AppId - 1;
                    cluster.pods.app_mut(app).bare_pods = true;
                }
            }
        }
        let creation = self.creation(cluster, &expanded, owned, streams);
        // Placeholders come after all pods: they are created by the scheduler.
        for (app, name, members, spec) in std::mem::take(&mut expanded.gangs) {
            cluster.pods.add_placeholders(app, name, members, spec);
        }
        let any = |spans: &[Nanos]| spans.iter().any(|s| *s != u64::MAX);
        let lifetimes = match (any(&expanded.run_ns), any(&expanded.hold_ns)) {
            (true, _) => Lifetimes::Run(expanded.run_ns.into()),
            (false, true) => Lifetimes::Hold(expanded.hold_ns.into()),
            (false, false) => Lifetimes::Endless,
        };
        (creation, lifetimes)
    }

    fn creation(
        &mut self,
        cluster: &Cluster,
        expanded: &Expanded<'_>,
        owned: usize,
        streams: &Streams,
    ) -> Creation {
        let w = &self.spec.workload;
        if w.start == Some(WorkloadStart::Backlog) {
            return Creation::Existing;
        }
        let pods = cluster.pods.len();
        let interval_ns = w.arrivals.interval.map_or(0, |d: DurationNs| d.0);
        if owned > 0 {
            if owned < expanded.sets.len() {
                let one_kind = "use one kind of workload";
                let (field, message, hint) = if w.stateful_sets.is_empty()
                    && w.cron_jobs.is_empty()
                    && !w.jobs.iter().any(JobSpec::is_controlled)
                {
                    let message = "live Deployments beside pods or jobs are not supported";
                    ("deployments", message, format!("{one_kind}, or start: backlog"))
                } else if w.stateful_sets.is_empty() {
                    let message = "Jobs with a controller beside pods or jobs that the load client creates are not supported";
                    let is_cron = !w.jobs.iter().any(JobSpec::is_controlled);
                    let field = if is_cron { "cronJobs" } else { "jobs" };
                    (field, message, format!("{one_kind}; a job with `parallelism` has a controller"))
                } else {
                    let message =
                        "StatefulSets beside pods or jobs that the load client creates are not supported";
                    (
                        "statefulSets",
                        message,
                        format!("{one_kind}; a job with `parallelism` has a controller"),
                    )
                };
                self.errors.push(self.document.diagnostic(&format!("workload.{field}"), message, Some(hint)));
            }
            let has_others = self.found.owners.iter().any(|owner| *owner != OwnerPlan::ReplicaSet);
            if has_others && w.arrivals.process.is_some_and(|process| process != ArrivalProcess::Closed) {
                let message =
                    "the pods of StatefulSets and Jobs are made by their controllers, not at a rate";
                let hint = "leave it out; `interval` says when objects come".to_owned();
                self.errors.push(self.document.diagnostic("workload.arrivals.process", message, Some(hint)));
            }
            // The Jobs of CronJobs come last, and nobody else creates them.
            let scheduled: usize = self.found.cron_jobs.iter().map(|c| c.times_ns.len()).sum();
            let created = owned.saturating_sub(scheduled) as u64;
            let times_ns = Arc::new((0..created).map(|i| i.saturating_mul(interval_ns)).collect());
            return Creation::ReplicaSets { ranges: expanded.sets.clone(), times_ns };
        }
        let rate_micro = w.arrivals.rate.map_or(0, |r| r.micro_per_second());
        // The i-th of evenly spaced times at `rate` per second, exact in integers.
        let evenly = |i: u64| {
            let at = u128::from(i) * 1_000_000 * u128::from(SECOND) / u128::from(rate_micro.max(1));
            Nanos::try_from(at).unwrap_or(Nanos::MAX)
        };
        match w.arrivals.process.unwrap_or_default() {
            ArrivalProcess::Closed if interval_ns > 0 => {
                // Applications one after the other, each all at once.
                let times_ns = expanded.sets.iter().enumerate().flat_map(|(set, (from, to))| {
                    std::iter::repeat_n((set as u64).saturating_mul(interval_ns), (to - from) as usize)
                });
                Creation::Scheduled { times_ns: Arc::new(times_ns.collect()) }
            }
            ArrivalProcess::Closed => {
                Creation::ClosedLoop { concurrency: w.client.concurrency.map_or(16, count) }
            }
            ArrivalProcess::Constant => {
                Creation::Scheduled { times_ns: Arc::new((0..pods as u64).map(evenly).collect()) }
            }
            ArrivalProcess::Poisson => {
                let mut rng = streams.stream("workload.arrivals");
                let mean_ns = (1_000_000 * u128::from(SECOND) / u128::from(rate_micro.max(1))) as Nanos;
                let mut at = 0;
                let times_ns = (0..pods).map(|_| {
                    at = Nanos::saturating_add(at, rng.exponential(mean_ns));
                    at
                });
                Creation::Scheduled { times_ns: Arc::new(times_ns.collect()) }
            }
            ArrivalProcess::Batch => {
                let size = w.arrivals.batch_size.unwrap_or(1).max(1);
                let at = |i: u64| {
                    if interval_ns > 0 {
                        (i / size).saturating_mul(interval_ns)
                    } else {
                        evenly(i / size * size)
                    }
                };
                Creation::Scheduled { times_ns: Arc::new((0..pods as u64).map(at).collect()) }
            }
        }
    }
}

/// Resolves a checked scenario.
///
/// # Errors
/// Everything that can't be looked up: profiles, schedulers, files.
pub fn resolve(
    spec: &ScenarioSpec,
    document: &Document,
    profiles: &ProfileLibrary,
    registry: &Registry,
) -> Result<Plan, Vec<Diagnostic>> {
    resolve_shared(spec, document, profiles, registry, &Workloads::with_budget(0))
}

/// Nodes, pods and their times; whether the seed matters; what is wrong.
fn workload(
    spec: &ScenarioSpec,
    document: &Document,
    profiles: &ProfileLibrary,
    seed: u64,
) -> (Workload, bool, Vec<Diagnostic>) {
    let mut r = Resolver::new(spec, document, profiles);
    let streams = Streams::new(seed);
    let mut cluster = Cluster::default();
    let groups = spec.cluster.nodes.iter().enumerate();
    let templates: Vec<u32> = groups.map(|(index, group)| add_nodes(&mut cluster, group, index)).collect();
    scheduling::add_objects(&mut cluster, &spec.cluster);
    objects::add_quotas(&mut cluster, &spec.cluster);
    let (creation, lifetimes) = r.workload(&mut cluster, &streams);
    let made = Workload { cluster, creation, lifetimes, templates, found: r.found };
    (made, streams.were_used(), r.errors)
}

/// [`resolve`] for many runs, which share their workloads.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_shared(
    spec: &ScenarioSpec,
    document: &Document,
    profiles: &ProfileLibrary,
    registry: &Registry,
    workloads: &Workloads,
) -> Result<Plan, Vec<Diagnostic>> {
    let mut r = Resolver::new(spec, document, profiles);
    let seed = spec.seed.unwrap_or(1);
    let (shared, errors) = workloads.get(spec, document, seed, || workload(spec, document, profiles, seed));
    let Workload { mut cluster, creation, mut lifetimes, templates, found } = shared;
    (r.errors, r.found) = (errors, found);
    let api_server = r.api_server();
    let scheduler = r.scheduler(registry, &mut cluster.resources);
    r.scheduler_names(&scheduler.settings, &cluster);
    r.for_volcano(&scheduler.settings, &cluster);
    r.for_first_fit(&cluster);
    r.for_autoscaler(&cluster);
    r.totals(&cluster);
    let (kueue, creation) = r.kueue(&mut cluster, creation);
    let mut agents = r.agents();
    agents.stages = r.stages(&mut lifetimes);
    let autoscaler = autoscaler::resolve(spec, &mut cluster);
    let cm = spec.control_plane.controller_manager.clone();
    let evicts = kueue.as_ref().is_some_and(|kueue| kueue.config.may_preempt())
        || r.may_evict(&cluster, &creation, &scheduler);
    let changes = r.changes(&mut cluster, &templates, evicts);
    let has_manager = changes.is_some() || matches!(creation, Creation::ReplicaSets { .. });
    let controller_manager = has_manager.then(|| {
        let place = r.placement(
            "controlPlane.controllerManager",
            cm.profile.as_ref(),
            "kube-controller-manager-1.36",
            cm.host.as_ref(),
            None,
        );
        let client = limits(cm.client, ClientLimits { qps_milli: 20_000, burst: 30 });
        (place, client, cm.concurrent_syncs.map_or(DEFAULT_CONCURRENT_SYNCS, count))
    });
    let watchers = spec
        .control_plane
        .watchers
        .iter()
        .enumerate()
        .map(|(index, w)| {
            let path = format!("controlPlane.watchers[{index}]");
            let place = w
                .host
                .is_some()
                .then(|| r.placement(&path, w.profile.as_ref(), "client-go", w.host.as_ref(), None));
            WatcherPlan { name: w.name.clone(), place }
        })
        .collect();
    let load = &spec.workload.client;
    let load_place = load.host.is_some().then(|| {
        r.placement("workload.client", load.profile.as_ref(), "client-go", load.host.as_ref(), None)
    });
    let load_limits = limits(ClientSpec { qps: load.qps, burst: load.burst }, ClientLimits::NONE);
    if !r.errors.is_empty() {
        return Err(r.errors);
    }
    Ok(Plan {
        name: spec.name.clone(),
        seed,
        hosts: spec
            .hosts
            .iter()
            .map(|(name, h)| HostPlan {
                name: name.clone(),
                cores: count(h.cores),
                speed_ppm: h.speed.map_or(1_000_000, |s| count(s.ppm())),
                noise_ppm: h.noise.map_or(0, |n| count(n.ppm())),
            })
            .collect(),
        cluster,
        api_server,
        controller_manager,
        kueue,
        autoscaler,
        changes,
        agents,
        watchers,
        load_client: (load_place, load_limits),
        record_seen: false,
        scheduler,
        creation,
        lifetimes,
        stop: match spec.stop.when {
            Some(SpecStopWhen::AllRunning) => StopWhen::AllRunning,
            Some(SpecStopWhen::AllFinished) => StopWhen::AllFinished,
            Some(SpecStopWhen::Time) => StopWhen::Time,
            Some(SpecStopWhen::AllBound) | None => StopWhen::AllBound,
        },
        limit_ns: spec.stop.limit.map_or(r.found.default_limit_ns, |d| d.0),
        stall_ns: DEFAULT_STALL_NS,
        window_ns: spec.measure.window.map_or(DEFAULT_WINDOW_NS, |d| d.0),
        step_ns: spec.measure.step.map_or(DEFAULT_STEP_NS, |d| d.0),
        provenance: r.found.provenance,
    })
}
