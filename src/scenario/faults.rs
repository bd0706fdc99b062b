//! `faults:` in a scenario: what goes wrong, when, and to what.
//!
//! A fault is of one kind and comes at one time (`at`), again and again at random (`every`: the mean time between two of
//! them), or at random to each node or pod (`mtbf`: the mean time between two faults of one of them). Random times are
//! exponential and come, as the choice among nodes and pods does, from a stream of the fault's own, `faults.NAME`, so that
//! another fault, or another setting of the run, leaves them as they are.
//!
//! One struct holds the fields of all kinds; [`FIELDS`] says which go together, and a field that does not is an error.
//!
//! Cost: O(faults).
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::diagnostic::did_you_mean;
use super::duration::DurationNs;
use super::limits;
use super::plan::{FaultKind, FaultPlan, FaultTimes, NodeChoice, PodChoice};
use super::quantity::Ratio;
use super::rollout::{self, TemplateChangeSpec};
use super::scale;
use super::scheduling::IntOrPercent;
use super::spec::{ApiServerSpec, EtcdSpec, NodeLifecycleKind, ScenarioSpec, TimeDistribution};
use super::validate::{Check, pod_groups};
use crate::cluster::Cluster;
use crate::control_plane::drain::DrainOptions;
use crate::control_plane::node_agents::Trouble;
use crate::engine::Nanos;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FaultKindSpec {
    /// Machines go off; their pods have to start anew when they are back.
    NodeFailure,
    /// Machines run on, and nobody reaches them.
    NodePartition,
    /// Machines go off and come back, several times.
    NodeFlap,
    /// Nodes leave the cluster, and their machines with them.
    NodeRemove,
    /// Nodes are cordoned and their pods evicted, as `kubectl drain` does it.
    Drain,
    /// Nodes join the cluster.
    NodeAdd,
    /// Pods fail (phase `Failed`), and whoever owns them makes new ones.
    PodFailure,
    /// The API server is away for a time, and comes back with empty queues and caches.
    ApiServerRestart,
    /// The API server's work takes longer.
    ApiServerSlow,
    /// etcd takes no writes for a time.
    EtcdOutage,
    /// etcd has no leader until it has elected one.
    EtcdLeaderChange,
    /// etcd's disk takes longer.
    EtcdSlow,
    /// The scheduler's process ends, and a new one starts.
    SchedulerRestart,
    /// The scheduler's process ends, and its standby takes over.
    SchedulerLeaderChange,
    /// kube-controller-manager's process ends, and its standby takes over.
    ControllerManagerLeaderChange,
    /// Watches break, and are set up again.
    WatchDisconnect,
    /// A Deployment's pod template changes, and its pods are replaced.
    Rollout,
    /// `replicas` of a Deployment or a StatefulSet change.
    Scale,
}

impl FaultKindSpec {
    /// Its name in files and results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NodeFailure => "nodeFailure",
            Self::NodePartition => "nodePartition",
            Self::NodeFlap => "nodeFlap",
            Self::NodeRemove => "nodeRemove",
            Self::Drain => "drain",
            Self::NodeAdd => "nodeAdd",
            Self::PodFailure => "podFailure",
            Self::ApiServerRestart => "apiServerRestart",
            Self::ApiServerSlow => "apiServerSlow",
            Self::EtcdOutage => "etcdOutage",
            Self::EtcdLeaderChange => "etcdLeaderChange",
            Self::EtcdSlow => "etcdSlow",
            Self::SchedulerRestart => "schedulerRestart",
            Self::SchedulerLeaderChange => "schedulerLeaderChange",
            Self::ControllerManagerLeaderChange => "controllerManagerLeaderChange",
            Self::WatchDisconnect => "watchDisconnect",
            Self::Rollout => "rollout",
            Self::Scale => "scale",
        }
    }
}

/// Which nodes: all that match, or some of them at random.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSelectionSpec {
    /// Nodes by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Nodes of a zone, such as `zone-1`.
    pub zone: Option<String>,
    /// Nodes with these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// So many of those, at random. Default: all that match, or 1 where nothing is said.
    pub count: Option<u64>,
    /// Such a share of those, at random, rounded up.
    pub share: Option<Ratio>,
}

/// Which pods: some at random of all that are bound and match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodSelectionSpec {
    /// Pods with these labels; `app` is the application's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// So many of those, at random. Default 1.
    pub count: Option<u64>,
    /// Such a share of those, at random, rounded up.
    pub share: Option<Ratio>,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultSpec {
    /// What goes wrong.
    pub kind: FaultKindSpec,
    /// Name in results and of its random stream, of `[a-zA-Z0-9._-]`. Default: the kind, numbered.
    pub name: Option<String>,
    /// When, once.
    pub at: Option<DurationNs>,
    /// Again and again at random: the mean time between two.
    pub every: Option<DurationNs>,
    /// At random to each node, or each pod: the mean time between two faults of one of them.
    pub mtbf: Option<DurationNs>,
    /// Random faults begin here. Default 0s.
    pub from: Option<DurationNs>,
    /// Random faults end here. Default: the end of the run.
    pub to: Option<DurationNs>,
    /// Most random faults. Default: no limit.
    pub most: Option<u64>,
    /// Which nodes.
    pub nodes: Option<NodeSelectionSpec>,
    /// Which pods.
    pub pods: Option<PodSelectionSpec>,
    /// How long it lasts. Default: for good.
    pub duration: Option<TimeDistribution>,
    /// nodeFlap: how long a machine is well between two failures.
    pub pause: Option<TimeDistribution>,
    /// nodeFlap: how often it fails.
    pub times: Option<u64>,
    /// nodeAdd: how many nodes. Default 1.
    pub count: Option<u64>,
    /// nodeAdd: the group of `cluster.nodes` that they are like, by its name. Default: the first.
    pub group: Option<String>,
    /// drain: so many nodes at a time, or such a share of them (`2`, `10%`), by a command each. Default: one command for all
    /// nodes, which cordons them all first.
    pub at_once: Option<IntOrPercent>,
    /// drain: pods that no controller owns are evicted, too (`--force`). Default false: a node with such a pod is not
    /// drained.
    pub force: Option<bool>,
    /// drain: a node that is not drained after so long is given up (`--timeout`). Default: never.
    pub timeout: Option<DurationNs>,
    /// apiServerSlow, etcdSlow: how much longer things take, such as 5.
    pub factor: Option<Ratio>,
    /// apiServerRestart, etcdOutage: kube-scheduler and kube-controller-manager elect a leader, which gives up if it can't
    /// renew its lease for 10 s. Default true.
    pub leader_election: Option<bool>,
    /// watchDisconnect: whose watches, by the names of the tables (`scheduler`, `controller-manager`, `node-agents`, `load`, or
    /// one of `controlPlane.watchers`). Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watchers: Vec<String>,
    /// rollout, scale: the Deployment, or the group of `workload.deployments`, by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// scale: the StatefulSet, or the group of `workload.statefulSets`, by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stateful_set: Option<String>,
    /// scale: how many pods it has from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u64>,
    /// rollout: what changes about its pods. Default: nothing that is modelled, as with `kubectl rollout restart`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateChangeSpec>,
}

/// The fields of each kind, besides `kind`, `name`, `at`, `every`, `from`, `to` and `most`, which go with all.
const FIELDS: [(FaultKindSpec, &[&str]); 18] = [
    (FaultKindSpec::NodeFailure, &["mtbf", "nodes", "duration"]),
    (FaultKindSpec::NodePartition, &["mtbf", "nodes", "duration"]),
    (FaultKindSpec::NodeFlap, &["mtbf", "nodes", "duration", "pause", "times"]),
    (FaultKindSpec::NodeRemove, &["mtbf", "nodes"]),
    (FaultKindSpec::Drain, &["nodes", "atOnce", "force", "timeout", "duration"]),
    (FaultKindSpec::NodeAdd, &["count", "group"]),
    (FaultKindSpec::PodFailure, &["mtbf", "pods"]),
    (FaultKindSpec::ApiServerRestart, &["duration", "leaderElection"]),
    (FaultKindSpec::ApiServerSlow, &["factor", "duration"]),
    (FaultKindSpec::EtcdOutage, &["duration", "leaderElection"]),
    (FaultKindSpec::EtcdLeaderChange, &["duration"]),
    (FaultKindSpec::EtcdSlow, &["factor", "duration"]),
    (FaultKindSpec::SchedulerRestart, &["duration"]),
    (FaultKindSpec::SchedulerLeaderChange, &["duration"]),
    (FaultKindSpec::ControllerManagerLeaderChange, &["duration"]),
    (FaultKindSpec::WatchDisconnect, &["watchers", "duration"]),
    (FaultKindSpec::Rollout, &["deployment", "template"]),
    (FaultKindSpec::Scale, &["deployment", "statefulSet", "replicas"]),
];

/// The largest factor.
const FACTOR_PPM: u64 = 1_000_000_000;

/// How long etcd elects a leader: a follower that hears nothing begins after its election timeout, 1 s (`--election-timeout`),
/// lengthened at random by up to as much again (`raft.go`, `randomizedElectionTimeout`).
const ELECTION: TimeDistribution =
    TimeDistribution::Uniform { min: DurationNs::from_secs(1), max: DurationNs::from_secs(2) };

/// Most faults of a scenario, and most occurrences of one.
const FAULTS: usize = 1000;

/// The fields that a fault gives.
fn given(fault: &FaultSpec) -> impl Iterator<Item = &'static str> {
    [
        ("mtbf", fault.mtbf.is_some()),
        ("nodes", fault.nodes.is_some()),
        ("pods", fault.pods.is_some()),
        ("duration", fault.duration.is_some()),
        ("pause", fault.pause.is_some()),
        ("times", fault.times.is_some()),
        ("count", fault.count.is_some()),
        ("group", fault.group.is_some()),
        ("atOnce", fault.at_once.is_some()),
        ("force", fault.force.is_some()),
        ("timeout", fault.timeout.is_some()),
        ("factor", fault.factor.is_some()),
        ("leaderElection", fault.leader_election.is_some()),
        ("watchers", !fault.watchers.is_empty()),
        ("deployment", fault.deployment.is_some()),
        ("statefulSet", fault.stateful_set.is_some()),
        ("replicas", fault.replicas.is_some()),
        ("template", fault.template.is_some()),
    ]
    .into_iter()
    .filter_map(|(field, given)| given.then_some(field))
}

/// All rules of `faults`.
pub(super) fn validate(spec: &ScenarioSpec, check: &mut Check<'_>) {
    if spec.faults.len() > FAULTS {
        let message = format!("{} faults; podpace reads at most {FAULTS}", spec.faults.len());
        check.report("faults", message, "use `every` or `mtbf` for faults that come again and again");
        return;
    }
    let names = spec.faults.iter().enumerate();
    check.distinct(
        "fault",
        names.filter_map(|(i, f)| Some((format!("faults[{i}].name"), f.name.as_deref()?))),
    );
    rollout::validate(spec, check);
    for (i, fault) in spec.faults.iter().enumerate() {
        one(&format!("faults[{i}]"), fault, spec, check);
    }
    if !spec.faults.is_empty() && spec.scheduler.core_only == Some(true) {
        let hint = "leave `faults` or `scheduler.coreOnly` out";
        check.report("faults", "with `coreOnly` no pod is bound, so that nothing can be lost", hint);
    }
}

fn one(path: &str, fault: &FaultSpec, spec: &ScenarioSpec, check: &mut Check<'_>) {
    if let Some(name) = &fault.name {
        check.name(&format!("{path}.name"), name);
    }
    let kind = fault.kind;
    let fields = FIELDS.iter().find(|(k, _)| *k == kind).map_or(&[][..], |(_, fields)| fields);
    for field in given(fault).filter(|field| !fields.contains(field)) {
        let message = format!("not a field of `{}`", kind.name());
        let hint = format!("it has {}", fields.join(", "));
        check.report(&format!("{path}.{field}"), message, hint);
    }
    let times = [("at", fault.at), ("every", fault.every), ("mtbf", fault.mtbf)];
    let mut ways = times.iter().filter(|(_, time)| time.is_some());
    match (ways.next(), ways.next()) {
        (None, _) => {
            let hint = "add `at: 10m` for once, or `every: 1h` for again and again";
            check.report(path, "the fault has no time", hint);
        }
        (Some((first, _)), Some((second, _))) => {
            let hint = format!("`{first}` is given, too; leave one of them out");
            check.report(&format!("{path}.{second}"), "a fault comes once or at random, not both", hint);
        }
        (Some(_), None) => {}
    }
    check.duration(&format!("{path}.every"), fault.every, true);
    check.duration(&format!("{path}.mtbf"), fault.mtbf, true);
    for (field, gap) in [("every", fault.every), ("mtbf", fault.mtbf)] {
        if gap.is_some_and(|gap| gap.0 > 0 && gap.0 < limits::FAULT_GAP_NS) {
            let hint = "podpace models no more faults than one a millisecond; is the unit right?";
            check.expected(&format!("{path}.{field}"), "at least 1ms", hint);
        }
    }
    check.duration(&format!("{path}.at"), fault.at, false);
    check.duration(&format!("{path}.from"), fault.from, false);
    check.duration(&format!("{path}.to"), fault.to, false);
    check.optional_count(&format!("{path}.most"), fault.most, 1, limits::SMALL_COUNT);
    if fault.at.is_some() {
        for (field, is_given) in
            [("from", fault.from.is_some()), ("to", fault.to.is_some()), ("most", fault.most.is_some())]
        {
            if is_given {
                let message = "only random faults have it, and this one comes at one time";
                check.report(&format!("{path}.{field}"), message, "leave it out");
            }
        }
    }
    if let (Some(from), Some(to)) = (fault.from, fault.to)
        && to <= from
    {
        check.expected(&format!("{path}.to"), &format!("later than `from`, {from}"), "swap the two");
    }
    // The run of a trace lasts as long as the trace, and an hour more.
    let from_files = spec.workload.trace.is_some() || !spec.workload.manifests.is_empty();
    let limit = spec.stop.limit.or((!from_files).then_some(DurationNs::from_secs(3600)));
    if let (Some(at), Some(limit)) = (fault.at, limit)
        && at >= limit
    {
        let expected = format!("before the end of the run, {limit}");
        check.expected(&format!("{path}.at"), &expected, "raise stop.limit");
    }
    check.distribution(&format!("{path}.duration"), fault.duration);
    check.distribution(&format!("{path}.pause"), fault.pause);
    check.optional_count(&format!("{path}.times"), fault.times, 1, limits::SMALL_COUNT);
    check.optional_count(&format!("{path}.count"), fault.count, 1, limits::NODES);
    if kind == FaultKindSpec::NodeFlap {
        for (field, is_given) in [
            ("duration", fault.duration.is_some()),
            ("pause", fault.pause.is_some()),
            ("times", fault.times.is_some()),
        ] {
            if !is_given {
                let hint = "such as `duration: 20s, pause: 30s, times: 5`";
                check.report(&format!("{path}.{field}"), "required with nodeFlap, but missing", hint);
            }
        }
        if let (Some(duration), Some(pause)) = (fault.duration, fault.pause)
            && mean_ns(duration).saturating_add(mean_ns(pause)) < limits::FAULT_GAP_NS
        {
            let message = "a machine fails and is back in less than 1ms, `duration` and `pause` together";
            let hint = "expected at least 1ms, such as `duration: 20s, pause: 30s`; is the unit right?";
            check.report(&format!("{path}.pause"), message, hint);
        }
    }
    if let Some(nodes) = &fault.nodes {
        selection(&format!("{path}.nodes"), nodes, check);
        if fault.mtbf.is_some() && (nodes.count.is_some() || nodes.share.is_some()) {
            let message = "with `mtbf` each node fails on its own";
            check.report(&format!("{path}.nodes"), message, "leave count and share out, or use `every`");
        }
    }
    if let Some(pods) = &fault.pods {
        let path = format!("{path}.pods");
        some(&path, pods.count, pods.share, check);
        if fault.mtbf.is_some() && (pods.count.is_some() || pods.share.is_some()) {
            check.report(
                &path,
                "with `mtbf` each pod fails on its own",
                "leave count and share out, or use `every`",
            );
        }
    }
    servers(path, fault, spec, check);
    drain(path, fault, spec, check);
    rollout::validate_rollout(path, fault, spec, check);
    scale::validate(path, fault, spec, check);
    let needs_agents =
        matches!(kind, FaultKindSpec::NodeFailure | FaultKindSpec::NodePartition | FaultKindSpec::NodeFlap);
    let lifecycle = spec.control_plane.node_lifecycle.kind.unwrap_or_default();
    if needs_agents && lifecycle == NodeLifecycleKind::None {
        let message = "without node agents nothing runs on a node, and nobody notices that it fails";
        let hint = "set `controlPlane.nodeLifecycle.kind` to kubelet, hollow or kwok";
        check.report(&format!("{path}.kind"), message, hint);
    }
    if kind == FaultKindSpec::NodeAdd {
        let groups = &spec.cluster.nodes;
        let known: Vec<&str> = groups.iter().filter_map(|g| g.name.as_deref()).collect();
        match &fault.group {
            Some(group) if !known.contains(&group.as_str()) => {
                let hint = if known.is_empty() {
                    "give a group of cluster.nodes this name".to_owned()
                } else {
                    format!("there are: {}", known.join(", "))
                };
                check.expected(&format!("{path}.group"), "the name of a group of cluster.nodes", hint);
            }
            _ if groups.is_empty() => {
                let message = "a node that joins is like one of a group of cluster.nodes, and there is none";
                check.report(&format!("{path}.kind"), message, "describe the cluster in the scenario");
            }
            _ => {}
        }
    }
}

/// Whether a fault is one of machines, or of pods, which KWOK's stages know nothing of.
pub(super) const fn needs_machines(fault: &FaultSpec) -> bool {
    matches!(
        fault.kind,
        FaultKindSpec::NodeFailure
            | FaultKindSpec::NodePartition
            | FaultKindSpec::NodeFlap
            | FaultKindSpec::PodFailure
    )
}

/// Rules of drains.
fn drain(path: &str, fault: &FaultSpec, spec: &ScenarioSpec, check: &mut Check<'_>) {
    check.duration(&format!("{path}.timeout"), fault.timeout, true);
    if fault.at_once.is_some_and(|at_once| at_once.0.of(100) == 0) {
        check.expected(&format!("{path}.atOnce"), "at least 1, or more than 0%", "such as 1 or 10%");
    }
    if fault.kind != FaultKindSpec::Drain {
        return;
    }
    let lifecycle = spec.control_plane.node_lifecycle.kind.unwrap_or_default();
    if lifecycle == NodeLifecycleKind::None {
        let message = "without node agents no pod is ever ready, and no budget holds an eviction back";
        let hint = "set `controlPlane.nodeLifecycle.kind` to kubelet, hollow or kwok";
        check.report(&format!("{path}.kind"), message, hint);
    }
    if pod_groups(&spec.workload).iter().any(|group| group.shape.gang.is_some()) {
        let message = "evictions of a gang's placeholders are not modelled";
        check.report(&format!("{path}.kind"), message, "leave the drain, or the gangs, out");
    }
}

/// Rules of the faults of servers and of their clients.
fn servers(path: &str, fault: &FaultSpec, spec: &ScenarioSpec, check: &mut Check<'_>) {
    use FaultKindSpec as Kind;
    let kind = fault.kind;
    let of_servers = matches!(
        kind,
        Kind::ApiServerRestart
            | Kind::ApiServerSlow
            | Kind::EtcdOutage
            | Kind::EtcdLeaderChange
            | Kind::EtcdSlow
    );
    let control_plane = &spec.control_plane;
    let is_ideal =
        control_plane.api_server == ApiServerSpec::default() && control_plane.etcd == EtcdSpec::default();
    if of_servers && is_ideal {
        let message = "the API server of this scenario is ideal: it takes no time and can't fail";
        let hint = "add `controlPlane: {apiServer: {profile: apiserver-1.36}}`";
        check.report(&format!("{path}.kind"), message, hint);
    }
    let lasts = matches!(kind, Kind::ApiServerRestart | Kind::EtcdOutage);
    if lasts && fault.duration.is_none() {
        let message = format!("required with {}, but missing", kind.name());
        check.report(&format!("{path}.duration"), message, "such as `duration: 20s`");
    }
    if kind == Kind::ApiServerRestart
        && fault.duration.is_some_and(|d| shortest(d) < DurationNs::from_secs(1))
    {
        let hint = "a process that starts is not there sooner";
        check.expected(&format!("{path}.duration"), "at least 1s", hint);
    }
    if matches!(kind, Kind::ApiServerSlow | Kind::EtcdSlow) {
        let path = format!("{path}.factor");
        match fault.factor.map(|factor| factor.ppm()) {
            None => {
                let message = format!("required with {}, but missing", kind.name());
                check.report(&path, message, "such as `factor: 5`: everything takes five times as long");
            }
            Some(ppm) if ppm == 0 || ppm > FACTOR_PPM => {
                check.expected(&path, "more than 0 and at most 1000", "such as 5: five times as long");
            }
            Some(_) => {}
        }
    }
    if kind == Kind::EtcdLeaderChange && control_plane.etcd.members.unwrap_or(1) < 3 {
        let message = "an etcd of one member has nobody to elect";
        let hint = "set `controlPlane.etcd.members: 3`, or use `etcdOutage`";
        check.report(&format!("{path}.kind"), message, hint);
    }
    let of_gangs = matches!(
        kind,
        Kind::ApiServerRestart
            | Kind::EtcdOutage
            | Kind::EtcdLeaderChange
            | Kind::SchedulerRestart
            | Kind::SchedulerLeaderChange
            | Kind::WatchDisconnect
    );
    if of_gangs && pod_groups(&spec.workload).iter().any(|group| group.shape.gang.is_some()) {
        let message = "how YuniKorn finds its gangs again after lost requests or a restart is not modelled";
        check.report(&format!("{path}.kind"), message, "leave the fault, or the gangs, out");
    }
    if kind == Kind::WatchDisconnect {
        let agents = control_plane.node_lifecycle.kind.unwrap_or_default() != NodeLifecycleKind::None;
        let mut known = vec!["scheduler", "controller-manager", "load"];
        known.extend(agents.then_some("node-agents"));
        known.extend(control_plane.watchers.iter().map(|watcher| watcher.name.as_str()));
        for (i, name) in fault.watchers.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let hint = did_you_mean(name, &known);
                check.expected(&format!("{path}.watchers[{i}]"), "the name of a watcher", hint);
            }
        }
    }
}

/// The middle of a distribution.
const fn mean_ns(distribution: TimeDistribution) -> Nanos {
    match distribution {
        TimeDistribution::Fixed(span) => span.0,
        TimeDistribution::Uniform { min, max } => min.0.midpoint(max.0),
        TimeDistribution::Quantiles { p50, .. } => p50.0,
    }
}

/// What a fault asks too much of: a field of it, a message and a hint. `limit_ns` is when the run ends at the latest.
///
/// Occurrences are counted by their mean times until then, though the run may end before.
pub(super) fn too_many(
    fault: &FaultSpec,
    plan: &FaultPlan,
    cluster: &Cluster,
    limit_ns: Nanos,
) -> Option<(&'static str, String, String)> {
    let (nodes, pods) = (cluster.nodes.len() as u64, cluster.pods.len() as u64);
    // How many it hits at once.
    let hits = match &plan.kind {
        FaultKind::Machines { nodes: choice, .. }
        | FaultKind::Remove { nodes: choice }
        | FaultKind::Drain { nodes: choice, .. } => choice.count.unwrap_or(nodes).min(nodes),
        FaultKind::Pods(choice) => choice.count.unwrap_or(pods).min(pods),
        FaultKind::Add { count, .. } => u64::from(*count),
        _ => 1,
    };
    let (times, hits, field) = match plan.times {
        FaultTimes::Once(_) => (1, hits, "kind"),
        FaultTimes::Random { mean_ns, each, from_ns, to_ns, most } => {
            let span_ns = to_ns.min(limit_ns).saturating_sub(from_ns);
            let those = if matches!(plan.kind, FaultKind::Pods(_)) { pods } else { nodes };
            let among = if each { those.max(1) } else { 1 };
            let times = u128::from(span_ns) * u128::from(among) / u128::from(mean_ns.max(1));
            let times = u64::try_from(times).unwrap_or(u64::MAX).min(most);
            (times, if each { 1 } else { hits }, if each { "mtbf" } else { "every" })
        }
    };
    let most = limits::OCCURRENCES;
    if times > most {
        let message =
            format!("about {times} faults until the run ends; podpace models at most {most} of one entry");
        let hint = "make it longer, lower `stop.limit`, or give `to` or `most`";
        return Some((field, message, hint.to_owned()));
    }
    let flaps = match &plan.kind {
        FaultKind::Machines { lasts: Some(lasts), flap: Some((pause, again)), .. } => {
            let cycle_ns = mean_ns(*lasts).saturating_add(mean_ns(*pause));
            (*again).min(limit_ns / cycle_ns.max(1)).max(1)
        }
        _ => 1,
    };
    if flaps > most {
        let message =
            format!("a machine fails {flaps} times until the run ends; podpace models at most {most}");
        let hint = "lower it, or `stop.limit`, or make `duration` and `pause` longer";
        return Some(("times", message, hint.to_owned()));
    }
    let all = times.saturating_mul(flaps).saturating_mul(hits);
    if all > limits::HITS {
        let most = limits::HITS;
        let unit = if matches!(fault.kind, FaultKindSpec::PodFailure) { "pods" } else { "nodes" };
        let message = format!(
            "{times} faults hit {unit} about {all} times until the run ends; podpace models at most {most}"
        );
        let hint = format!("hit fewer {unit} at once, make it rarer, or lower `stop.limit`");
        return Some((field, message, hint));
    }
    None
}

/// The shortest span that a distribution can give, but for the tail below its median.
const fn shortest(distribution: TimeDistribution) -> DurationNs {
    match distribution {
        TimeDistribution::Fixed(span) => span,
        TimeDistribution::Uniform { min, .. } => min,
        TimeDistribution::Quantiles { p50, .. } => p50,
    }
}

fn some(path: &str, count: Option<u64>, share: Option<Ratio>, check: &mut Check<'_>) {
    check.optional_count(&format!("{path}.count"), count, 1, limits::NODES);
    if count.is_some() && share.is_some() {
        check.report(&format!("{path}.share"), "count and share don't go together", "leave one of them out");
    }
    if share.is_some_and(|share| share.ppm() == 0 || share.ppm() > 1_000_000) {
        check.expected(&format!("{path}.share"), "more than 0 and at most 100%", "such as 10%");
    }
}

fn selection(path: &str, nodes: &NodeSelectionSpec, check: &mut Check<'_>) {
    some(path, nodes.count, nodes.share, check);
    let by_rule = nodes.zone.is_some() || !nodes.labels.is_empty();
    if !nodes.names.is_empty() && (by_rule || nodes.count.is_some() || nodes.share.is_some()) {
        let message = "names already say which nodes";
        check.report(&format!("{path}.names"), message, "leave the other fields out, or the names");
    }
}

/// What can't be looked up in a fault: path below it, message, hint.
pub(super) type Unknown = (String, String, String);

/// A fault as the simulation takes it.
///
/// # Errors
/// A node, zone or group that is not there.
pub(super) fn resolve(
    fault: &FaultSpec,
    index: usize,
    spec: &ScenarioSpec,
    cluster: &mut Cluster,
    group_template: impl Fn(usize) -> u32,
    rollouts: &rollout::Changes,
) -> Result<FaultPlan, Unknown> {
    let name = fault.name.clone().unwrap_or_else(|| format!("{}{index}", fault.kind.name()));
    let random = |mean_ns: Nanos, each: bool| FaultTimes::Random {
        mean_ns,
        each,
        from_ns: fault.from.map_or(0, |d| d.0),
        to_ns: fault.to.map_or(Nanos::MAX, |d| d.0),
        most: fault.most.unwrap_or(u64::MAX),
    };
    let times = match (fault.at, fault.every, fault.mtbf) {
        (Some(at), ..) => FaultTimes::Once(at.0),
        (_, Some(every), _) => random(every.0, false),
        (_, _, Some(mtbf)) => random(mtbf.0, true),
        (None, None, None) => FaultTimes::Once(Nanos::MAX),
    };
    let leader_election = fault.leader_election.unwrap_or(true);
    let factor_ppm = fault.factor.map_or(1_000_000, |factor| factor.ppm());
    let nodes = || nodes(fault, cluster);
    let kind = match fault.kind {
        FaultKindSpec::NodeFailure => {
            FaultKind::Machines { nodes: nodes()?, trouble: Trouble::Down, lasts: fault.duration, flap: None }
        }
        FaultKindSpec::NodePartition => FaultKind::Machines {
            nodes: nodes()?,
            trouble: Trouble::CutOff,
            lasts: fault.duration,
            flap: None,
        },
        FaultKindSpec::NodeFlap => {
            let flap = fault.pause.zip(fault.times);
            FaultKind::Machines { nodes: nodes()?, trouble: Trouble::Down, lasts: fault.duration, flap }
        }
        FaultKindSpec::NodeRemove => FaultKind::Remove { nodes: nodes()? },
        FaultKindSpec::Drain => FaultKind::Drain {
            nodes: nodes()?,
            at_once: fault.at_once.map(|at_once| at_once.0),
            options: DrainOptions {
                force: fault.force.unwrap_or(false),
                timeout_ns: fault.timeout.map(|timeout| timeout.0),
            },
            lasts: fault.duration,
        },
        FaultKindSpec::NodeAdd => {
            let groups = &spec.cluster.nodes;
            let wanted = fault.group.as_deref();
            let at = groups.iter().position(|g| wanted.is_none() || g.name.as_deref() == wanted).unwrap_or(0);
            let zones = groups.get(at).and_then(|g| g.zones).unwrap_or(0);
            let zones = (0..zones).map(|z| cluster.nodes.add_zone(&format!("zone-{z}"))).collect();
            let count = u32::try_from(fault.count.unwrap_or(1)).unwrap_or(u32::MAX);
            FaultKind::Add { template: group_template(at), zones, count, prefix: name.clone() }
        }
        FaultKindSpec::PodFailure => {
            let pods = fault.pods.clone().unwrap_or_default();
            let count = if pods.share.is_some() { None } else { Some(pods.count.unwrap_or(1)) };
            FaultKind::Pods(PodChoice {
                labels: pods.labels,
                count,
                share_ppm: pods.share.map(|share| share.ppm()),
            })
        }
        FaultKindSpec::ApiServerRestart => {
            FaultKind::ApiServerDown { lasts: fault.duration, leader_election }
        }
        FaultKindSpec::EtcdOutage => FaultKind::EtcdDown { lasts: fault.duration, leader_election },
        FaultKindSpec::EtcdLeaderChange => {
            let lasts = Some(fault.duration.unwrap_or(ELECTION));
            FaultKind::EtcdDown { lasts, leader_election: false }
        }
        FaultKindSpec::ApiServerSlow => FaultKind::ApiServerSlow { factor_ppm, lasts: fault.duration },
        FaultKindSpec::EtcdSlow => FaultKind::EtcdSlow { factor_ppm, lasts: fault.duration },
        FaultKindSpec::SchedulerRestart => {
            let lasts = Some(fault.duration.unwrap_or(TimeDistribution::Fixed(DurationNs(0))));
            FaultKind::Replace { scheduler: true, lasts, cold: true }
        }
        FaultKindSpec::SchedulerLeaderChange => {
            FaultKind::Replace { scheduler: true, lasts: fault.duration, cold: false }
        }
        FaultKindSpec::ControllerManagerLeaderChange => {
            FaultKind::Replace { scheduler: false, lasts: fault.duration, cold: false }
        }
        FaultKindSpec::WatchDisconnect => {
            FaultKind::WatchBreak { watchers: fault.watchers.clone(), lasts: fault.duration }
        }
        FaultKindSpec::Rollout => {
            FaultKind::Rollout { to: rollouts.get(&index).cloned().unwrap_or_default() }
        }
        FaultKindSpec::Scale => FaultKind::Scale { to: scale::resolve(fault, &spec.workload) },
    };
    Ok(FaultPlan { name, kind_name: fault.kind.name(), times, kind })
}

fn nodes(fault: &FaultSpec, cluster: &Cluster) -> Result<NodeChoice, Unknown> {
    let spec = fault.nodes.clone().unwrap_or_default();
    let mut names = Vec::new();
    for (i, name) in spec.names.iter().enumerate() {
        let found = (0..cluster.nodes.len() as u32).find(|node| cluster.nodes.get(*node).name == *name);
        match found {
            Some(node) => names.push(node),
            None => {
                let first = (!cluster.nodes.is_empty()).then(|| cluster.nodes.get(0).name.clone());
                let hint = first.map_or_else(String::new, |first| format!("names are such as `{first}`"));
                return Err((format!("nodes.names[{i}]"), format!("there is no node `{name}`"), hint));
            }
        }
    }
    let zone = match &spec.zone {
        None => None,
        Some(zone) => match cluster.nodes.zones().iter().position(|z| z == zone) {
            Some(at) => Some(at as u32),
            None => {
                let zones = cluster.nodes.zones();
                let hint = if zones.is_empty() {
                    "give a group of cluster.nodes `zones: 3`".to_owned()
                } else {
                    let first: Vec<&str> = zones.iter().take(10).map(String::as_str).collect();
                    format!("there are: {}", first.join(", "))
                };
                return Err(("nodes.zone".to_owned(), format!("there is no zone `{zone}`"), hint));
            }
        },
    };
    let all = !names.is_empty();
    let count = match (spec.count, spec.share) {
        (Some(count), _) => Some(count),
        (None, Some(_)) => None,
        // A whole zone, or a rack by its labels, fails at once; of all nodes just one.
        (None, None) if all || zone.is_some() || !spec.labels.is_empty() => None,
        (None, None) => Some(1),
    };
    Ok(NodeChoice { names, zone, labels: spec.labels, count, share_ppm: spec.share.map(|share| share.ppm()) })
}
