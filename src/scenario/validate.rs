//! What the types can't say: sizes, references between fields, fields that exclude each other.
//!
//! Every rule looks at decoded values and reports at the path of the field; the document's tree turns the path into a
//! line. Rules that compare several fields (does a pod fit on a node) run only if everything decoded. Left out: whether
//! a cost profile or a registered scheduler exists, which only resolving knows; it reports through
//! [`Document::diagnostic`]. Costs O(fields), and O(node groups x pod groups) for the fit of pods.

use std::collections::BTreeMap;

use super::autoscaler;
use super::diagnostic::{did_you_mean, nearest};
use super::document::Document;
use super::duration::DurationNs;
use super::faults;
use super::limits;
use super::objects;
use super::quantity::{Rate, Ratio, ResourceList};
use super::scheduling;
use super::spec::{
    ArrivalProcess, ArrivalsSpec, ClientSpec, ExpectSpec, ExperimentSpec, FsyncSpec, Ignored,
    MatchExpressionSpec, MatchOperator, NodeLifecycleKind, NodeTemplateSpec, PodShape, QueueSpec,
    RatioExpectSpec, ScenarioSpec, SchedulerSpec, StopWhen, StudySpec, SweepSpec, TaintEffect,
    TimeDistribution, TolerationOperator, TransformSpec, WhenUnsatisfiable, WorkloadSpec,
};
use super::threshold::ThresholdSpec;
use super::tree::{Class, Path, Problem, Value};

/// Pods of a node whose template does not say.
pub const DEFAULT_NODE_PODS: u64 = 110;

/// The built-in scheduler kinds.
pub const SCHEDULER_KINDS: [&str; 5] = ["kube-scheduler", "yunikorn", "volcano", "first-fit", "process"];

/// Collects problems and gives them their place.
pub(super) struct Check<'a> {
    document: &'a Document,
    /// Everything decoded, so that rules over several fields make sense.
    complete: bool,
    problems: Vec<Problem>,
}

impl<'a> Check<'a> {
    pub(super) fn new(document: &'a Document, complete: bool) -> Self {
        Self { document, complete, problems: Vec::new() }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// More would not be shown, and finding their lines costs time.
    fn is_full(&self) -> bool {
        self.problems.len() > 2 * limits::ERRORS
    }

    /// Reports a sentence and a hint at a path.
    pub(super) fn report(&mut self, path: &str, message: impl Into<String>, hint: impl Into<String>) {
        if self.is_full() {
            return;
        }
        let path = Path::parse(path).unwrap_or_default();
        let place = Some(self.document.place(&path));
        self.problems.push(Problem { place, path, message: message.into(), hint: Some(hint.into()) });
    }

    /// Reports what was expected at a path instead of the scalar that stands there.
    pub(super) fn expected(&mut self, path: &str, expected: &str, hint: impl Into<String>) {
        if self.is_full() {
            return;
        }
        let parsed = Path::parse(path).unwrap_or_default();
        let (node, found) = self.document.tree().nearest(&parsed);
        let message = match &node.value {
            Value::Scalar(_, class) if found && *class != Class::Null => {
                format!("expected {expected}, got `{}`", node.shown())
            }
            _ => format!("expected {expected}"),
        };
        self.report(path, message, hint);
    }

    /// A whole number within bounds.
    pub(super) fn count(&mut self, path: &str, value: u64, least: u64, most: u64) {
        if value < least {
            let hint = format!("a whole number from {least} to {most}");
            self.expected(path, &format!("at least {least}"), hint);
        } else if value > most {
            self.expected(
                path,
                &format!("at most {most}"),
                "podpace models no more; is there a digit too many?",
            );
        }
    }

    pub(super) fn optional_count(&mut self, path: &str, value: Option<u64>, least: u64, most: u64) {
        match value {
            Some(value) if value < least => {
                self.expected(path, &format!("at least {least}"), "leave it out for the default");
            }
            Some(value) => self.count(path, value, least, most),
            None => {}
        }
    }

    pub(super) fn duration(&mut self, path: &str, value: Option<DurationNs>, positive: bool) {
        match value {
            Some(DurationNs(0)) if positive => {
                self.expected(path, "more than 0s", "leave it out for the default")
            }
            Some(DurationNs(ns)) if ns > limits::DURATION_NS => {
                self.expected(
                    path,
                    "at most 10 years (87600h)",
                    "podpace models no more; is the unit right?",
                );
            }
            _ => {}
        }
    }

    fn rate(&mut self, path: &str, value: Option<Rate>) {
        match value {
            Some(Rate(0)) => self.expected(path, "more than 0 per second", "leave it out for the default"),
            Some(Rate(micro)) if micro > limits::RATE_MICRO => {
                let most = limits::RATE_MICRO / 1_000_000;
                self.expected(path, &format!("at most {most} per second"), "podpace models no more");
            }
            _ => {}
        }
    }

    pub(super) fn distribution(&mut self, path: &str, value: Option<TimeDistribution>) {
        match value {
            None => {}
            Some(TimeDistribution::Fixed(fixed)) => self.duration(path, Some(fixed), false),
            Some(TimeDistribution::Quantiles { p50, p99 }) => {
                self.duration(&format!("{path}.p50"), Some(p50), true);
                self.duration(&format!("{path}.p99"), Some(p99), false);
                if p99 < p50 {
                    self.expected(
                        &format!("{path}.p99"),
                        &format!("at least the p50 of {p50}"),
                        "swap the two",
                    );
                }
            }
            Some(TimeDistribution::Uniform { min, max }) => {
                self.duration(&format!("{path}.min"), Some(min), false);
                self.duration(&format!("{path}.max"), Some(max), false);
                if max < min {
                    self.expected(
                        &format!("{path}.max"),
                        &format!("at least the min of {min}"),
                        "swap the two",
                    );
                }
            }
        }
    }

    pub(super) fn client(&mut self, path: &str, client: &ClientSpec) {
        self.rate(&format!("{path}.qps"), client.qps);
        self.optional_count(&format!("{path}.burst"), client.burst, 1, limits::SMALL_COUNT);
    }

    /// A name that becomes part of file names.
    pub(super) fn name(&mut self, path: &str, name: &str) {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if name.is_empty() || !name.bytes().all(allowed) || name.starts_with('.') {
            let hint = "it becomes part of file names; it does not begin with a dot";
            self.expected(path, "a name of letters, digits, `.`, `_` and `-`", hint);
        } else if name.len() > 200 {
            self.expected(path, "a name of at most 200 characters", "it becomes part of file names");
        }
    }

    /// A reference to a host.
    pub(super) fn host(&mut self, path: &str, host: Option<&str>, hosts: &[&str]) {
        if let Some(host) = host
            && !hosts.contains(&host)
        {
            let hint = match hosts {
                [] => format!("add it: `hosts: {{{host}: {{cores: 8}}}}`, or leave `host` out"),
                _ => did_you_mean(host, hosts),
            };
            self.expected(path, "the name of a host", hint);
        }
    }

    /// A path to something on disk.
    pub(super) fn on_disk(&mut self, path: &str, file: Option<&str>) {
        let (Some(file), Some(directory)) = (file, self.document.directory()) else { return };
        let full = directory.join(file);
        if file.is_empty() || !full.exists() {
            self.report(
                path,
                format!("no file `{}`", full.display()),
                "the path is relative to the folder of this file, in `--set` too",
            );
        }
    }

    /// Labels as Kubernetes allows them.
    pub(super) fn labels(&mut self, path: &str, found: &BTreeMap<String, String>) {
        labels(path, found, self);
    }

    /// A key or name as Kubernetes allows it.
    pub(super) fn qualified(&mut self, path: &str, key: &str) {
        if !is_qualified(key) {
            self.expected(path, "a name of Kubernetes", QUALIFIED_HINT);
        }
    }

    /// One expression of a selector.
    pub(super) fn expression(&mut self, path: &str, found: &MatchExpressionSpec) {
        expression(path, found, self);
    }

    /// Names that may not occur twice.
    pub(super) fn distinct<'n>(&mut self, what: &str, names: impl Iterator<Item = (String, &'n str)>) {
        let mut seen: BTreeMap<&str, String> = BTreeMap::new();
        for (path, name) in names {
            match seen.get(name) {
                Some(first) => {
                    let hint = format!("`{first}` has it already; give one of them another name");
                    self.report(&path, format!("the {what} `{name}` exists twice"), hint);
                }
                None => {
                    seen.insert(name, path);
                }
            }
        }
    }
}

/// Steps into a key that may have dots in it.
fn keyed(path: &str, key: &str) -> String {
    Path::parse(path).unwrap_or_default().key(key).to_string()
}

/// All rules of a scenario.
pub(super) fn scenario(spec: &ScenarioSpec, check: &mut Check<'_>) {
    check.name("name", &spec.name);
    let hosts: Vec<&str> = spec.hosts.keys().map(String::as_str).collect();
    for (name, host) in &spec.hosts {
        let path = keyed("hosts", name);
        check.count(&format!("{path}.cores"), host.cores, 1, limits::HOST_CORES);
        match host.speed {
            Some(Ratio(0)) => {
                check.expected(&format!("{path}.speed"), "more than 0", "1.0 is the reference core")
            }
            Some(Ratio(ppm)) if ppm > limits::HOST_SPEED_PPM => {
                let most = format!("at most {}", limits::HOST_SPEED_PPM / 1_000_000);
                check.expected(&format!("{path}.speed"), &most, "1.0 is the reference core");
            }
            _ => {}
        }
    }
    let lists = [
        ("cluster.nodes", spec.cluster.nodes.len()),
        ("scheduler.queues", spec.scheduler.queues.len()),
        ("workload.deployments", spec.workload.deployments.len()),
        ("workload.pods", spec.workload.pods.len()),
        ("workload.jobs", spec.workload.jobs.len()),
        ("workload.statefulSets", spec.workload.stateful_sets.len()),
        ("workload.cronJobs", spec.workload.cron_jobs.len()),
    ];
    for (path, entries) in lists {
        if entries > limits::GROUPS {
            let message = format!("{entries} entries; podpace reads at most {}", limits::GROUPS);
            check.report(path, message, "use `count` for equal ones, and a trace for many different ones");
            return;
        }
    }
    cluster(spec, check);
    control_plane(spec, &hosts, check);
    scheduler(&spec.scheduler, &hosts, check);
    workload(spec, &hosts, check);
    objects::validate(spec, check);
    faults::validate(spec, check);
    autoscaler::validate(spec, check);
    check.duration("stop.limit", spec.stop.limit, true);
    if spec.stop.when == Some(StopWhen::Time) && spec.stop.limit.is_none() {
        check.report(
            "stop.limit",
            "required with `when: time`, but missing",
            "add `limit: 10m`, or how long it lasts",
        );
    }
    check.duration("measure.window", spec.measure.window, true);
    check.duration("measure.step", spec.measure.step, true);
    for (i, expect) in spec.expect.iter().enumerate() {
        expectation(&format!("expect[{i}]"), expect, None, check);
    }
    written(&spec.thresholds, check);
    for (i, _) in spec.thresholds.iter().enumerate().filter(|(_, t)| t.run.is_some()) {
        let hint = "a scenario is one run; leave the run's name and the colon out";
        check.expected(&format!("thresholds[{i}]"), "METRIC OPERATOR VALUE", hint);
    }
    if check.complete && check.problems.is_empty() {
        fit(spec, check);
        stop_can_come(spec, check);
    }
}

fn cluster(spec: &ScenarioSpec, check: &mut Check<'_>) {
    scheduling::check_cluster(&spec.cluster, check);
    let groups = &spec.cluster.nodes;
    let total = groups.iter().fold(0u64, |sum, group| sum.saturating_add(group.count));
    let fixed = spec.cluster.autoscaler.is_none()
        && spec.workload.trace.is_none()
        && spec.workload.manifests.is_empty();
    if total == 0 && fixed {
        let path = if groups.is_empty() { "cluster.nodes" } else { "cluster.nodes[0].count" };
        let hint =
            "add `nodes: [{count: 100, template: {allocatable: {cpu: 32, memory: 256Gi, pods: 110}}}]`";
        check.report(
            path,
            "the cluster has no nodes",
            if groups.is_empty() { hint } else { "at least 1 is needed" },
        );
    }
    if total > limits::NODES {
        let (largest, _) = groups.iter().enumerate().max_by_key(|(_, g)| g.count).unwrap_or((0, &groups[0]));
        let message = format!("the cluster has {total} nodes; podpace models at most {}", limits::NODES);
        check.report(&format!("cluster.nodes[{largest}].count"), message, "is there a digit too many?");
    }
    check.distinct(
        "node group",
        groups
            .iter()
            .enumerate()
            .filter_map(|(i, g)| Some((format!("cluster.nodes[{i}].name"), g.name.as_deref()?))),
    );
    for (i, group) in groups.iter().enumerate() {
        let path = format!("cluster.nodes[{i}]");
        if let Some(name) = &group.name {
            check.name(&format!("{path}.name"), name);
        }
        check.optional_count(&format!("{path}.zones"), group.zones, 1, limits::ZONES);
        let path = format!("{path}.template");
        node_template(&path, &group.template, check);
        if group.zones.is_some() && group.template.labels.contains_key("topology.kubernetes.io/zone") {
            let message = "the label is given, and `zones` sets it too";
            check.report(
                &format!("{path}.labels[\"topology.kubernetes.io/zone\"]"),
                message,
                "leave one of them out",
            );
        }
    }
}

/// What a node is.
pub(super) fn node_template(path: &str, template: &NodeTemplateSpec, check: &mut Check<'_>) {
    for needed in ["cpu", "memory"] {
        match template.allocatable.0.get(needed) {
            None => {
                let hint = "a node has cpu and memory, such as `{cpu: 32, memory: 256Gi, pods: 110}`";
                check.report(&format!("{path}.allocatable.{needed}"), "required, but missing", hint);
            }
            Some(0) => {
                check.expected(&format!("{path}.allocatable.{needed}"), "more than 0", "a node has some")
            }
            Some(_) => {}
        }
    }
    if template.allocatable.pods() == Some(0) {
        let hint = "a node that holds no pod is `unschedulable: true`; kubelets allow 110";
        check.expected(&format!("{path}.allocatable.pods"), "at least 1", hint);
    }
    labels(&format!("{path}.labels"), &template.labels, check);
    for (j, taint) in template.taints.iter().enumerate() {
        if !is_qualified(&taint.key) {
            check.expected(&format!("{path}.taints[{j}].key"), "a Kubernetes key", QUALIFIED_HINT);
        }
    }
}

const QUALIFIED_HINT: &str =
    "such as `app` or `example.com/app`: letters, digits, `-`, `_`, `.`, at most 63 after the `/`";

/// A label key as Kubernetes allows it.
pub(super) fn is_qualified(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(|prefix| {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        prefix.len() <= 253
            && prefix.bytes().all(allowed)
            && prefix.split('.').all(|part| edge(part.bytes().next()) && edge(part.bytes().next_back()))
    }) && !name.is_empty()
        && is_label_value(name)
}

/// A label value as Kubernetes allows it.
pub(super) fn is_label_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    bytes.len() <= 63
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && bytes.first().is_none_or(u8::is_ascii_alphanumeric)
        && bytes.last().is_none_or(u8::is_ascii_alphanumeric)
}

fn labels(path: &str, labels: &BTreeMap<String, String>, check: &mut Check<'_>) {
    for (key, value) in labels {
        if !is_qualified(key) {
            check.report(&keyed(path, key), "not a label key of Kubernetes", QUALIFIED_HINT);
        } else if !is_label_value(value) {
            let hint =
                "at most 63 letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit";
            check.expected(&keyed(path, key), "a label value of Kubernetes", hint);
        }
    }
}

fn control_plane(spec: &ScenarioSpec, hosts: &[&str], check: &mut Check<'_>) {
    let plane = &spec.control_plane;
    let api = &plane.api_server;
    check.host("controlPlane.apiServer.host", api.host.as_deref(), hosts);
    let small = [
        ("controlPlane.apiServer.maxRequestsInflight", api.max_requests_inflight),
        ("controlPlane.apiServer.maxMutatingRequestsInflight", api.max_mutating_requests_inflight),
        ("controlPlane.apiServer.maxStreamsPerConnection", api.max_streams_per_connection),
        ("controlPlane.apiServer.maxThreads", api.max_threads),
        ("controlPlane.controllerManager.concurrentSyncs", plane.controller_manager.concurrent_syncs),
    ];
    for (path, value) in small {
        check.optional_count(path, value, 1, limits::SMALL_COUNT);
    }
    check.host("controlPlane.etcd.host", plane.etcd.host.as_deref(), hosts);
    if let Some(FsyncSpec::Latency(latency)) = plane.etcd.fsync {
        check.distribution("controlPlane.etcd.fsync", Some(latency));
    }
    check.optional_count("controlPlane.etcd.members", plane.etcd.members, 1, limits::ETCD_MEMBERS);
    if plane.etcd.members.is_some_and(|members| members.is_multiple_of(2) && members > 0) {
        let hint = "an even number adds no safety: etcd has 1, 3 or 5 members";
        check.expected("controlPlane.etcd.members", "an odd number", hint);
    }
    check.duration("controlPlane.etcd.peerRtt", plane.etcd.peer_rtt, false);
    if plane.etcd.peer_rtt.is_some_and(|rtt| rtt.0 > 0) && plane.etcd.members.unwrap_or(1) == 1 {
        let hint = "add `members: 3`, or leave peerRtt out";
        check.report("controlPlane.etcd.peerRtt", "a single member has no peers", hint);
    }
    check.host("controlPlane.controllerManager.host", plane.controller_manager.host.as_deref(), hosts);
    check.client("controlPlane.controllerManager.client", &plane.controller_manager.client);
    let manager = &plane.controller_manager;
    check.duration("controlPlane.controllerManager.nodeMonitorPeriod", manager.node_monitor_period, true);
    let grace = "controlPlane.controllerManager.nodeMonitorGracePeriod";
    check.duration(grace, manager.node_monitor_grace_period, true);
    if manager.node_monitor_grace_period.is_some_and(|grace| grace < DurationNs::from_secs(20)) {
        let hint = "leases are renewed each 10 s, and a node must be heard of at least twice";
        check.expected(grace, "at least 20s", hint);
    }
    check.rate("controlPlane.controllerManager.nodeEvictionRate", manager.node_eviction_rate);
    check.rate(
        "controlPlane.controllerManager.secondaryNodeEvictionRate",
        manager.secondary_node_eviction_rate,
    );
    if manager.unhealthy_zone_threshold.is_some_and(|share| share.ppm() == 0 || share.ppm() > 1_000_000) {
        let path = "controlPlane.controllerManager.unhealthyZoneThreshold";
        check.expected(path, "more than 0 and at most 100%", "such as 55%");
    }
    if let Some(seconds) = api.default_toleration_seconds {
        let path = "controlPlane.apiServer.defaultTolerationSeconds";
        check.count(path, seconds, 0, limits::DURATION_NS / 1_000_000_000);
    }
    let agents = &plane.node_lifecycle;
    check.host("controlPlane.nodeLifecycle.host", agents.host.as_deref(), hosts);
    check.distribution("controlPlane.nodeLifecycle.startLatency", agents.start_latency);
    check.client("controlPlane.nodeLifecycle.client", &agents.client);
    if agents.kind.unwrap_or_default() == NodeLifecycleKind::None && agents.start_latency.is_some() {
        let hint = "set `kind: hollow`, `kwok` or `kubelet`";
        let path = "controlPlane.nodeLifecycle.startLatency";
        check.report(path, "with `kind: none` no pod is started", hint);
    }
    let path = "controlPlane.nodeLifecycle.terminationLatency";
    check.distribution(path, agents.termination_latency);
    if agents.termination_latency.is_some() {
        match agents.kind.unwrap_or_default() {
            NodeLifecycleKind::None => {
                let hint = "set `kind: hollow` or `kubelet`";
                check.report(path, "with `kind: none` nothing runs that would have to end", hint);
            }
            NodeLifecycleKind::Kwok => {
                let hint = "leave it out, or give `stages` with a delay";
                check.report(path, "with KWOK stages say how long a pod takes to end", hint);
            }
            NodeLifecycleKind::Hollow | NodeLifecycleKind::Kubelet => {}
        }
    }
    if !agents.stages.is_empty() {
        if agents.kind != Some(NodeLifecycleKind::Kwok) {
            let path = "controlPlane.nodeLifecycle.stages";
            check.report(path, "stages are KWOK's", "set `kind: kwok`");
        }
        if agents.start_latency.is_some() {
            let path = "controlPlane.nodeLifecycle.startLatency";
            check.report(path, "with `stages` these say how long a pod takes to start", "leave it out");
        }
    }
    let watchers = &plane.watchers;
    let names = watchers.iter().enumerate();
    check.distinct(
        "watcher",
        names.map(|(i, w)| (format!("controlPlane.watchers[{i}].name"), w.name.as_str())),
    );
    for (i, watcher) in watchers.iter().enumerate() {
        check.name(&format!("controlPlane.watchers[{i}].name"), &watcher.name);
        check.host(&format!("controlPlane.watchers[{i}].host"), watcher.host.as_deref(), hosts);
    }
}

fn scheduler(spec: &SchedulerSpec, hosts: &[&str], check: &mut Check<'_>) {
    scheduling::check_feature_gates(&spec.kind, &spec.feature_gates, check);
    check.host("scheduler.host", spec.host.as_deref(), hosts);
    check.client("scheduler.client", &spec.client);
    if let Some(client) = &spec.events_client {
        check.client("scheduler.eventsClient", client);
    }
    check.optional_count("scheduler.maxThreads", spec.max_threads, 1, limits::SMALL_COUNT);
    check.duration("scheduler.startDelay", spec.start_delay, false);
    check.on_disk("scheduler.config", spec.config.as_deref());

    let kube = [
        ("percentageOfNodesToScore", spec.percentage_of_nodes_to_score.is_some()),
        ("parallelism", spec.parallelism.is_some()),
        ("podInitialBackoff", spec.pod_initial_backoff.is_some()),
        ("podMaxBackoff", spec.pod_max_backoff.is_some()),
        ("scoringStrategy", spec.scoring_strategy.is_some()),
        ("plugins", spec.plugins.is_some()),
    ];
    let yunikorn = [
        ("predicates", spec.predicates.is_some()),
        ("nodeSort", spec.node_sort.is_some()),
        ("nodeSortPolicy", spec.node_sort_policy.is_some()),
        ("queues", !spec.queues.is_empty()),
        ("schedulingInterval", spec.scheduling_interval.is_some()),
        ("reservations", spec.reservations.is_some()),
        ("coreOnly", spec.core_only.is_some()),
    ];
    let volcano = [("controllerClient", spec.controller_client.is_some())];
    // Fields that Volcano has, too.
    let shared = ["percentageOfNodesToScore", "queues", "schedulingInterval"];
    let process = [("command", !spec.command.is_empty()), ("answerTimeout", spec.answer_timeout.is_some())];
    let owners = [
        ("kube-scheduler", &kube[..]),
        ("yunikorn", &yunikorn[..]),
        ("volcano", &volcano[..]),
        ("process", &process[..]),
    ];
    for (owner, fields) in owners {
        if spec.kind == owner {
            continue;
        }
        for (field, _) in fields.iter().filter(|(_, given)| *given) {
            if spec.kind == "volcano" && shared.contains(field) {
                continue;
            }
            let message = format!("a field of {owner}, but the scheduler's kind is `{}`", spec.kind);
            let hint = format!("leave it out, or set `kind: {owner}`");
            check.report(&format!("scheduler.{field}"), message, hint);
        }
    }
    let built_in = SCHEDULER_KINDS.contains(&spec.kind.as_str());
    if built_in && spec.kind != "process" && !spec.options.is_empty() {
        let message = format!("`{}` is built in and has no further options", spec.kind);
        check.report("scheduler.options", message, "write its fields directly under `scheduler`");
    }
    if spec.config.is_some() && !matches!(spec.kind.as_str(), "kube-scheduler" | "yunikorn" | "volcano") {
        let message = format!("`{}` has no configuration file", spec.kind);
        check.report(
            "scheduler.config",
            message,
            "leave it out; kube-scheduler, yunikorn and volcano have one",
        );
    }
    if let Some(client) = &spec.controller_client {
        check.client("scheduler.controllerClient", client);
    }
    if !spec.ignore.is_empty() && spec.kind != "kube-scheduler" && spec.kind != "first-fit" {
        let message = format!("`{}` knows gangs and queues", spec.kind);
        check.report("scheduler.ignore", message, "leave it out");
    }
    if let Some(kueue) = &spec.kueue {
        super::kueue::check(kueue, &spec.kind, hosts, check);
    }
    if !built_in && (spec.kind.is_empty() || nearest_kind(&spec.kind).is_some()) {
        check.expected("scheduler.kind", "a scheduler", did_you_mean(&spec.kind, &SCHEDULER_KINDS));
    }
    if spec.percentage_of_nodes_to_score.is_some_and(|percent| percent > 100) {
        let hint = "0 lets kube-scheduler choose by the number of nodes";
        check.expected("scheduler.percentageOfNodesToScore", "a percentage from 0 to 100", hint);
    }
    check.optional_count("scheduler.parallelism", spec.parallelism, 1, limits::SMALL_COUNT);
    check.duration("scheduler.podInitialBackoff", spec.pod_initial_backoff, true);
    check.duration("scheduler.podMaxBackoff", spec.pod_max_backoff, true);
    let initial = spec.pod_initial_backoff.unwrap_or(DurationNs::from_secs(1));
    if spec.pod_max_backoff.is_some_and(|max| max < initial) {
        let expected = format!("at least podInitialBackoff, {initial}");
        check.expected("scheduler.podMaxBackoff", &expected, "raise it, or lower podInitialBackoff");
    }
    if let Some(plugins) = &spec.plugins {
        let disabled = plugins.disabled.iter().enumerate();
        check.distinct(
            "plugin",
            disabled.map(|(i, name)| (format!("scheduler.plugins.disabled[{i}]"), name.as_str())),
        );
    }
    check.duration("scheduler.schedulingInterval", spec.scheduling_interval, true);
    check.duration("scheduler.answerTimeout", spec.answer_timeout, true);
    if spec.kind == "process" && spec.command.first().is_none_or(String::is_empty) {
        let hint = "add the program and its arguments: `command: [python3, first_fit.py]`";
        check.expected("scheduler.command", "a program", hint);
    }
    queues(&spec.queues, spec.kind == "volcano", check);
}

/// A built-in kind that was misspelt; other names may be registered by the embedding program.
fn nearest_kind(kind: &str) -> Option<&'static str> {
    match kind {
        "kube" | "default" | "default-scheduler" | "kubescheduler" => Some("kube-scheduler"),
        // Who mistypes a name begins it right: `worst-fit` is a name of its own.
        _ => nearest(kind, SCHEDULER_KINDS).filter(|near| {
            near.chars().next() == kind.chars().next().map(|first| first.to_ascii_lowercase())
        }),
    }
}

fn queues(queues: &[QueueSpec], is_volcano: bool, check: &mut Check<'_>) {
    let path = |i: usize| format!("scheduler.queues[{i}]");
    check.distinct(
        "queue",
        queues.iter().enumerate().map(|(i, q)| (format!("{}.name", path(i)), q.name.as_str())),
    );
    for (i, queue) in queues.iter().enumerate() {
        if is_volcano {
            volcano_queue(&path(i), queue, check);
            continue;
        }
        for (field, given) in [("weight", queue.weight.is_some()), ("priority", queue.priority.is_some())] {
            if given {
                let hint = "leave it out, or set `kind: volcano`";
                check.report(&format!("{}.{field}", path(i)), "a field of Volcano's queues", hint);
            }
        }
        let parts: Vec<&str> = queue.name.split('.').collect();
        let ok = |part: &&str| {
            !part.is_empty()
                && part.len() <= 64
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:#/@-".contains(&b))
        };
        if parts[0] != "root" || !parts.iter().all(ok) {
            check.expected(
                &format!("{}.name", path(i)),
                "a full queue name",
                "such as root.default or root.team.dev",
            );
        }
        let prefix = format!("{}.", queue.name);
        if queue.parent == Some(false)
            && let Some(child) = queues.iter().find(|q| q.name.starts_with(&prefix))
        {
            let message = format!("`{}` is a queue below it", child.name);
            check.report(&format!("{}.parent", path(i)), message, "leave `parent` out");
        }
        for (name, guaranteed) in &queue.guaranteed.0 {
            if let Some(max) = queue.max.0.get(name)
                && guaranteed > max
            {
                let expected = format!("at most the queue's max, {}", ResourceList::quantity(name, *max));
                check.expected(
                    &keyed(&format!("{}.guaranteed", path(i)), name),
                    &expected,
                    "lower it, or raise max",
                );
            }
        }
    }
}

fn volcano_queue(path: &str, queue: &QueueSpec, check: &mut Check<'_>) {
    let name = &queue.name;
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    if name.is_empty() || name.len() > 253 || name == "root" || !name.bytes().all(ok) {
        let hint = "lower-case letters, digits, `-` and `.`; `root` is Volcano's own";
        check.expected(&format!("{path}.name"), "a name of a Volcano queue", hint);
    }
    for (field, given) in [("parent", queue.parent.is_some()), ("sort", queue.sort.is_some())] {
        if given {
            check.report(&format!("{path}.{field}"), "a field of YuniKorn's queues", "leave it out");
        }
    }
    check.optional_count(&format!("{path}.weight"), queue.weight, 1, 65_535);
    for (name, guaranteed) in &queue.guaranteed.0 {
        if let Some(max) = queue.max.0.get(name)
            && guaranteed > max
        {
            let expected = format!("at most the queue's max, {}", ResourceList::quantity(name, *max));
            let path = keyed(&format!("{path}.guaranteed"), name);
            check.expected(&path, &expected, "lower it, or raise max");
        }
    }
}

/// A group of pods of any sort: where it stands, what it is called, how many pods it has.
pub(super) struct PodGroup {
    path: String,
    title: String,
    pods: u64,
    /// The key that holds the number of pods.
    count_key: &'static str,
    pub(super) shape: PodShape,
}

pub(super) fn pod_groups(workload: &WorkloadSpec) -> Vec<PodGroup> {
    let mut groups = Vec::new();
    let title = |kind: &str, name: &Option<String>, i: usize| match name {
        Some(name) => format!("{kind} {name}"),
        None => format!("{kind} [{i}]"),
    };
    for (i, group) in workload.deployments.iter().enumerate() {
        groups.push(PodGroup {
            path: format!("workload.deployments[{i}]"),
            title: title("deployment", &group.name, i),
            pods: group.count.unwrap_or(1).saturating_mul(group.replicas),
            count_key: "replicas",
            shape: group.shape(),
        });
    }
    for (i, group) in workload.stateful_sets.iter().enumerate() {
        groups.push(PodGroup {
            path: format!("workload.statefulSets[{i}]"),
            title: title("StatefulSet", &group.name, i),
            pods: group.count.unwrap_or(1).saturating_mul(group.replicas),
            count_key: "replicas",
            shape: group.shape(),
        });
    }
    for (i, group) in workload.cron_jobs.iter().enumerate() {
        groups.push(PodGroup {
            path: format!("workload.cronJobs[{i}]"),
            title: title("CronJob", &group.name, i),
            pods: group.completions.or(group.parallelism).unwrap_or(1),
            count_key: "completions",
            shape: group.shape(),
        });
    }
    for (i, group) in workload.pods.iter().enumerate() {
        groups.push(PodGroup {
            path: format!("workload.pods[{i}]"),
            title: title("pod group", &group.name, i),
            pods: group.count,
            count_key: "count",
            shape: group.shape(),
        });
    }
    for (i, group) in workload.jobs.iter().enumerate() {
        groups.push(PodGroup {
            path: format!("workload.jobs[{i}]"),
            title: title("job", &group.name, i),
            pods: group.count.unwrap_or(1).saturating_mul(group.completions.unwrap_or(1)),
            count_key: if group.completions.is_some() { "completions" } else { "count" },
            shape: group.shape(),
        });
    }
    groups
}

/// Pods that a scenario says itself; those of its trace or manifests are not known yet.
#[must_use]
pub fn pods_of(spec: &ScenarioSpec) -> u64 {
    pod_groups(&spec.workload).iter().fold(0, |sum, group| group.pods.saturating_add(sum))
}

fn workload(spec: &ScenarioSpec, hosts: &[&str], check: &mut Check<'_>) {
    let workload = &spec.workload;
    let groups = pod_groups(workload);
    let from_files = workload.trace.is_some() || !workload.manifests.is_empty();
    let total = groups.iter().fold(0u64, |sum, group| sum.saturating_add(group.pods));
    if total == 0 && !from_files {
        match groups.first() {
            None => {
                let hint = "add `pods: [{count: 1000, requests: {cpu: 100m, memory: 500Mi}}]`, deployments, jobs, \
                            a trace or manifests";
                check.report("workload", "the workload has no pods", hint);
            }
            Some(group) => {
                let path = format!("{}.{}", group.path, group.count_key);
                check.report(&path, "the workload has no pods", "at least 1 is needed");
            }
        }
    }
    if total > limits::PODS
        && let Some(largest) = groups.iter().max_by_key(|group| group.pods)
    {
        let message = format!("the workload has {total} pods; podpace models at most {}", limits::PODS);
        check.report(
            &format!("{}.{}", largest.path, largest.count_key),
            message,
            "is there a digit too many?",
        );
    }
    let kinds: [(&str, Vec<Option<&str>>); 5] = [
        ("deployments", workload.deployments.iter().map(|g| g.name.as_deref()).collect()),
        ("statefulSets", workload.stateful_sets.iter().map(|g| g.name.as_deref()).collect()),
        ("cronJobs", workload.cron_jobs.iter().map(|g| g.name.as_deref()).collect()),
        ("pods", workload.pods.iter().map(|g| g.name.as_deref()).collect()),
        ("jobs", workload.jobs.iter().map(|g| g.name.as_deref()).collect()),
    ];
    for (key, names) in &kinds {
        let path = |i: usize| format!("workload.{key}[{i}].name");
        let given = || names.iter().enumerate().filter_map(|(i, name)| Some((path(i), (*name)?)));
        check.distinct("name", given());
        given().for_each(|(path, name)| check.name(&path, name));
    }
    for (i, group) in workload.deployments.iter().enumerate() {
        check.optional_count(&format!("workload.deployments[{i}].count"), group.count, 1, limits::APPS);
    }
    for (i, group) in workload.pods.iter().enumerate() {
        let path = format!("workload.pods[{i}].apps");
        check.optional_count(&path, group.apps, 1, limits::APPS);
        if group.apps.is_some_and(|apps| apps > group.count && apps <= limits::APPS) && group.count > 0 {
            let expected = format!("at most the {} pods", group.count);
            check.expected(&path, &expected, "an application has at least one pod");
        }
    }
    for (i, group) in workload.jobs.iter().enumerate() {
        let path = format!("workload.jobs[{i}]");
        check.optional_count(&format!("{path}.count"), group.count, 1, limits::APPS);
        check.optional_count(&format!("{path}.completions"), group.completions, 1, limits::PODS);
        check.optional_count(&format!("{path}.parallelism"), group.parallelism, 1, limits::PODS);
    }
    for group in &groups {
        pod_shape(&group.path, &group.shape, spec, check);
    }
    let client = &workload.client;
    check.optional_count("workload.client.concurrency", client.concurrency, 1, limits::SMALL_COUNT);
    check.rate("workload.client.qps", client.qps);
    check.optional_count("workload.client.burst", client.burst, 1, limits::SMALL_COUNT);
    check.host("workload.client.host", client.host.as_deref(), hosts);
    arrivals(workload, check);
    check.on_disk("workload.trace", workload.trace.as_deref());
    for (i, file) in workload.manifests.iter().enumerate() {
        check.on_disk(&format!("workload.manifests[{i}]"), Some(file));
    }
    recorded(workload, groups.is_empty(), check);
}

/// What goes together with a trace or manifests, and their transformations.
fn recorded(workload: &WorkloadSpec, alone: bool, check: &mut Check<'_>) {
    let source = match (&workload.trace, workload.manifests.is_empty()) {
        (Some(_), true) => "trace",
        (None, false) => "manifests",
        (Some(_), false) => {
            let hint = "import the manifests with `podpace trace import k8s-list`, or leave one of them out";
            check.report("workload.manifests", "a workload has a trace or manifests, not both", hint);
            return;
        }
        (None, true) => {
            if workload.transform != TransformSpec::default() {
                let message = "only a trace or manifests are transformed";
                check.report("workload.transform", message, "add `trace: DIR`, or leave transform out");
            }
            return;
        }
    };
    if !alone {
        let hint =
            "leave deployments, jobs and pods out, or generate a trace of them with `podpace trace generate`";
        check.report(
            &format!("workload.{source}"),
            format!("{source} and groups of pods don't go together"),
            hint,
        );
    }
    if workload.arrivals != ArrivalsSpec::default() {
        let hint = "leave arrivals out; workload.transform changes times and load";
        check.report("workload.arrivals", format!("the pods of {source} bring their own times"), hint);
    }
    let transform = &workload.transform;
    if let Some(window) = transform.window {
        check.duration("workload.transform.window.from", window.from, false);
        check.duration("workload.transform.window.to", window.to, true);
        if let (Some(from), Some(to)) = (window.from, window.to)
            && from >= to
        {
            check.report(
                "workload.transform.window.to",
                "the window ends before it begins",
                "make `to` later than `from`",
            );
        }
    }
    check.duration("workload.transform.jitter", transform.jitter, false);
    for (i, rule) in transform.mapping.iter().enumerate() {
        if rule.queue.is_none() && rule.namespace.is_none() {
            let path = format!("workload.transform.mapping[{i}]");
            check.report(&path, "the rule changes nothing", "give it a `queue` or a `namespace`");
        }
    }
    for (i, rule) in transform.gpu_resources.iter().enumerate() {
        if !rule.resource.contains('/') {
            let path = format!("workload.transform.gpuResources[{i}].resource");
            check.report(&path, "an extended resource has a domain", "such as `example.com/v100`");
        }
    }
    for (name, ratio) in [
        ("timeScale", transform.time_scale),
        ("loadScale", transform.load_scale),
        ("nodeScale", transform.node_scale),
        ("capacityScale", transform.capacity_scale),
    ] {
        let path = format!("workload.transform.{name}");
        match ratio {
            Some(Ratio(0)) => check.expected(&path, "more than 0", "1 leaves the trace as it is"),
            Some(Ratio(ppm)) if ppm > limits::TRANSFORM_PPM => {
                check.expected(&path, "at most 10000", "1 leaves the trace as it is");
            }
            _ => {}
        }
    }
}

fn arrivals(workload: &WorkloadSpec, check: &mut Check<'_>) {
    let arrivals = &workload.arrivals;
    check.rate("workload.arrivals.rate", arrivals.rate);
    check.duration("workload.arrivals.interval", arrivals.interval, false);
    check.optional_count("workload.arrivals.batchSize", arrivals.batch_size, 1, limits::PODS);
    let process = arrivals.process.unwrap_or_default();
    let rated = matches!(process, ArrivalProcess::Constant | ArrivalProcess::Poisson);
    let name = format!("{process:?}").to_lowercase();
    if rated && arrivals.rate.is_none() {
        let message = format!("required with `process: {name}`, but missing");
        check.report("workload.arrivals.rate", message, "add the pods per second, such as `rate: 100`");
    }
    if !rated && arrivals.rate.is_some() {
        let hint = "set `process: constant` or `poisson`, or leave rate out";
        check.report("workload.arrivals.rate", format!("`process: {name}` has no rate"), hint);
    }
    let batch = process == ArrivalProcess::Batch;
    if batch && arrivals.batch_size.is_none() {
        let message = "required with `process: batch`, but missing";
        check.report(
            "workload.arrivals.batchSize",
            message,
            "add the pods of a batch, such as `batchSize: 100`",
        );
    }
    if batch && arrivals.interval.is_none_or(|interval| interval.0 == 0) {
        let message = "`process: batch` needs a time between batches";
        check.report("workload.arrivals.interval", message, "add `interval: 1s`");
    }
    if !batch && arrivals.batch_size.is_some() {
        let hint = "set `process: batch`, or leave batchSize out";
        check.report("workload.arrivals.batchSize", format!("`process: {name}` has no batches"), hint);
    }
}

fn pod_shape(path: &str, shape: &PodShape, spec: &ScenarioSpec, check: &mut Check<'_>) {
    labels(&format!("{path}.labels"), &shape.labels, check);
    labels(&format!("{path}.nodeSelector"), &shape.node_selector, check);
    if let Some(app) = &shape.app
        && (app.is_empty() || !is_label_value(app))
    {
        check.expected(
            &format!("{path}.app"),
            "a label value of Kubernetes",
            "letters, digits, `-`, `_` and `.`",
        );
    }
    if shape.app.is_some() && shape.labels.contains_key("app") {
        let message = "the label is given, and `app` sets it too";
        check.report(&format!("{path}.labels.app"), message, "leave one of them out");
    }
    if shape.requests.pods().is_some() {
        let hint = "each pod counts as one by itself";
        check.report(&format!("{path}.requests.pods"), "a pod does not request `pods`", hint);
    }
    if !shape.annotations.is_empty() && spec.control_plane.node_lifecycle.stages.is_empty() {
        let hint = "leave them out, or name stages in `controlPlane.nodeLifecycle.stages`";
        check.report(
            &format!("{path}.annotations"),
            "only stages read annotations, and there are none",
            hint,
        );
    }
    if let Some(gang) = &shape.gang {
        let path = format!("{path}.gang");
        let is_volcano = spec.scheduler.kind == "volcano";
        let ignored = spec.scheduler.ignore.contains(&Ignored::Gang) || spec.scheduler.kueue.is_some();
        if spec.scheduler.kind != "yunikorn" && !is_volcano && !ignored {
            check.report(
                &path,
                "only YuniKorn and Volcano schedule gangs",
                "set `scheduler.kind: yunikorn` or `volcano`, or leave it out",
            );
        }
        check.optional_count(&format!("{path}.minMember"), gang.min_member, 1, limits::PODS);
        if gang.min_resource.pods().is_some() {
            let hint = "each placeholder counts as one by itself";
            check.report(&format!("{path}.minResource.pods"), "a pod does not request `pods`", hint);
        }
        check.duration(&format!("{path}.placeholderTimeout"), gang.placeholder_timeout, true);
    }
    check.distribution(&format!("{path}.runTime"), shape.run_time);
    check.distribution(&format!("{path}.hold"), shape.hold);
    scheduling::check_shape(path, shape, spec, check);
    for (i, spread) in shape.topology_spread.iter().enumerate() {
        let path = format!("{path}.topologySpread[{i}]");
        if spread.min_domains.is_some() && spread.when_unsatisfiable == WhenUnsatisfiable::ScheduleAnyway {
            let message = "can only be used with `whenUnsatisfiable: DoNotSchedule`, as Kubernetes says";
            check.report(&format!("{path}.minDomains"), message, "leave it out, or make the constraint hard");
        }
        check.optional_count(&format!("{path}.minDomains"), spread.min_domains, 1, limits::SMALL_COUNT);
        check.count(&format!("{path}.maxSkew"), spread.max_skew, 1, i32::MAX as u64);
        if !is_qualified(&spread.topology_key) {
            check.expected(&format!("{path}.topologyKey"), "a label key of Kubernetes", QUALIFIED_HINT);
        }
    }
    for (i, toleration) in shape.tolerations.iter().enumerate() {
        let path = format!("{path}.tolerations[{i}]");
        let exists = toleration.operator == Some(TolerationOperator::Exists);
        if exists && toleration.value.as_deref().is_some_and(|value| !value.is_empty()) {
            check.report(
                &format!("{path}.value"),
                "`operator: Exists` takes no value",
                "leave the value out",
            );
        }
        if !exists && toleration.key.as_deref().unwrap_or("").is_empty() {
            let hint = "add `key`, or `operator: Exists` to tolerate every taint";
            check.report(&path, "a toleration without a key needs `operator: Exists`", hint);
        }
        if toleration.toleration_seconds.is_some() && toleration.effect != Some(TaintEffect::NoExecute) {
            let message =
                "only running pods are evicted, so it goes with `effect: NoExecute`, as Kubernetes says";
            check.report(&format!("{path}.tolerationSeconds"), message, "set the effect, or leave it out");
        }
    }
    if let Some(affinity) = &shape.node_affinity {
        for (i, term) in affinity.required.iter().enumerate() {
            let path = format!("{path}.nodeAffinity.required[{i}].matchExpressions");
            expressions(&path, &term.match_expressions, check);
        }
        for (i, term) in affinity.preferred.iter().enumerate() {
            let path = format!("{path}.nodeAffinity.preferred[{i}]");
            check.count(&format!("{path}.weight"), term.weight, 1, 100);
            expressions(&format!("{path}.matchExpressions"), &term.match_expressions, check);
        }
    }
    if let Some(queue) = &shape.queue {
        let is_yunikorn = spec.scheduler.kind == "yunikorn";
        let built_in = SCHEDULER_KINDS.contains(&spec.scheduler.kind.as_str());
        if spec.scheduler.kind == "volcano" {
            let queues = spec.scheduler.queues.iter().map(|queue| queue.name.as_str());
            let names: Vec<&str> = queues.chain(["default"]).collect();
            if !names.contains(&queue.as_str()) {
                let hint = did_you_mean(queue, &names);
                check.expected(&format!("{path}.queue"), "a queue of the scheduler", hint);
            }
        } else if spec.scheduler.kueue.is_some() || spec.scheduler.ignore.contains(&Ignored::Queue) {
            // A LocalQueue, which is looked up when the objects are read; or nobody's business.
        } else if built_in && !is_yunikorn && spec.scheduler.kind != "process" {
            let message = format!(
                "queues are YuniKorn's and Volcano's, but the scheduler's kind is `{}`",
                spec.scheduler.kind
            );
            check.report(&format!("{path}.queue"), message, "leave it out, or set `kind: yunikorn`");
        } else if is_yunikorn && !spec.scheduler.queues.is_empty() && spec.scheduler.config.is_none() {
            let names: Vec<&str> = spec.scheduler.queues.iter().map(|queue| queue.name.as_str()).collect();
            if !names.contains(&queue.as_str()) {
                check.expected(
                    &format!("{path}.queue"),
                    "a queue of the scheduler",
                    did_you_mean(queue, &names),
                );
            }
        }
    }
}

fn expressions(path: &str, expressions: &[MatchExpressionSpec], check: &mut Check<'_>) {
    if expressions.is_empty() {
        let hint = "add `{key: zone, operator: In, values: [a]}`";
        check.report(path, "a term without expressions matches no node", hint);
    }
    for (i, found) in expressions.iter().enumerate() {
        expression(&format!("{path}[{i}]"), found, check);
    }
}

fn expression(path: &str, expression: &MatchExpressionSpec, check: &mut Check<'_>) {
    if !is_qualified(&expression.key) {
        check.expected(&format!("{path}.key"), "a label key of Kubernetes", QUALIFIED_HINT);
    }
    let (count, operator) = (expression.values.len(), expression.operator);
    let values = format!("{path}.values");
    match operator {
        MatchOperator::In | MatchOperator::NotIn if count == 0 => {
            check.report(&values, format!("`operator: {operator:?}` needs values"), "add `values: [...]`");
        }
        MatchOperator::Exists | MatchOperator::DoesNotExist if count > 0 => {
            check.report(&values, format!("`operator: {operator:?}` takes no values"), "leave them out");
        }
        MatchOperator::Gt | MatchOperator::Lt
            if count != 1 || expression.values[0].parse::<i64>().is_err() =>
        {
            let message = format!("`operator: {operator:?}` needs exactly one whole number");
            check.report(&values, message, "such as `values: [\"4\"]`");
        }
        _ => {}
    }
}

/// Is there a node large enough for at least one group of pods? If there is, pods without one are a result and not an
/// error; so are taints, selectors and cordons that keep all pods out.
fn fit(spec: &ScenarioSpec, check: &mut Check<'_>) {
    if spec.workload.trace.is_some() || !spec.workload.manifests.is_empty() {
        return;
    }
    let nodes = spec.cluster.nodes.iter().filter(|group| group.count > 0);
    let nodes = nodes.map(|group| &group.template.allocatable);
    let nodes: Vec<&ResourceList> = nodes.chain(autoscaler::templates(spec)).collect();
    let groups: Vec<PodGroup> =
        pod_groups(&spec.workload).into_iter().filter(|group| group.pods > 0).collect();
    if nodes.is_empty() || groups.is_empty() {
        return;
    }
    let mut reasons = Vec::new();
    for group in &groups {
        match no_room(group, &nodes) {
            None => return,
            Some(reason) => reasons.push((group, reason)),
        }
    }
    for (group, (path, reason)) in reasons {
        let message = format!("no node can hold a pod of {}: {reason}", group.title);
        check.report(
            &format!("{}{path}", group.path),
            message,
            "ask for less, or make the nodes of `cluster` larger",
        );
    }
}

/// Why no node has room for a pod of the group: the key below the group, and a sentence. `None` if one has.
fn no_room(group: &PodGroup, nodes: &[&ResourceList]) -> Option<(String, String)> {
    let requests = &group.shape.requests.0;
    let short = |node: &ResourceList| requests.iter().find(|(name, asked)| **asked > room(node, name));
    if nodes.iter().any(|node| short(node).is_none()) {
        return None;
    }
    // The resource that no node has enough of; if each is somewhere but never together, the first node's shortage.
    let nowhere = requests.iter().find(|(name, asked)| nodes.iter().all(|node| **asked > room(node, name)));
    match nowhere {
        Some((name, asked)) => {
            let largest = nodes.iter().map(|node| room(node, name)).max().unwrap_or(0);
            let sentence = format!(
                "it asks for {name} {}, the largest node has {}",
                ResourceList::quantity(name, *asked),
                ResourceList::quantity(name, largest)
            );
            Some((format!(".{}", keyed("requests", name)), sentence))
        }
        None => Some((".requests".to_owned(), "no node has enough of every resource at once".to_owned())),
    }
}

fn room(node: &ResourceList, resource: &str) -> u64 {
    let default = if resource == "pods" { DEFAULT_NODE_PODS } else { 0 };
    node.0.get(resource).copied().unwrap_or(default)
}

/// Does the condition that ends the run ever come?
fn stop_can_come(spec: &ScenarioSpec, check: &mut Check<'_>) {
    let kind = spec.control_plane.node_lifecycle.kind.unwrap_or_default();
    let Some(when) = spec.stop.when else { return };
    // Without agents a run time counts from the binding and the load client deletes the pod: allFinished comes.
    if when == StopWhen::AllRunning && kind == NodeLifecycleKind::None {
        let hint = "set `controlPlane.nodeLifecycle.kind` to hollow, kwok or kubelet, or stop at allBound";
        check.report("stop.when", "without node agents no pod gets to Running", hint);
        return;
    }
    if when == StopWhen::AllFinished && spec.control_plane.node_lifecycle.stages.is_empty() {
        let endless = |group: &PodGroup| group.shape.run_time.is_none() && group.shape.hold.is_none();
        if let Some(group) = pod_groups(&spec.workload).iter().find(|group| endless(group)) {
            let message = format!("the pods of {} run for ever", group.title);
            check.report("stop.when", message, format!("give `{}` a runTime or hold", group.path));
        }
    }
}

/// A bare 0 is what the decoder puts where it has found an error; it is no threshold where somebody wrote it.
fn written(thresholds: &[ThresholdSpec], check: &mut Check<'_>) {
    for (i, _) in thresholds.iter().enumerate().filter(|(_, t)| t.metric.is_empty()) {
        if check.complete {
            let hint = "such as throughput.bound.mean >= 200";
            check.expected(&format!("thresholds[{i}]"), "METRIC OPERATOR VALUE", hint);
        }
    }
}

/// One expectation. `runs` are the experiment's run names; `None` in a scenario.
fn expectation(path: &str, expect: &ExpectSpec, runs: Option<&[&str]>, check: &mut Check<'_>) {
    if runs.is_none() {
        for (key, given) in [
            ("run", expect.run.is_some()),
            ("ratio", expect.ratio.is_some()),
            ("curve", expect.curve.is_some()),
        ] {
            if given {
                let hint = "a scenario is one run; expectations over several runs go into `kind: Experiment`";
                check.report(
                    &format!("{path}.{key}"),
                    format!("a scenario's expectation has no `{key}`"),
                    hint,
                );
            }
        }
    }
    let subjects = [
        ("metric", expect.metric.is_some()),
        ("ratio", expect.ratio.is_some()),
        ("curve", expect.curve.is_some()),
    ];
    let given: Vec<&str> = subjects.iter().filter(|(_, given)| *given).map(|(key, _)| *key).collect();
    match given[..] {
        [] => check.report(path, "says nothing to expect", "add `metric: throughput.bound.mean`"),
        [_] => {}
        [first, second, ..] => {
            let message = format!("given besides `{first}`");
            check.report(&format!("{path}.{second}"), message, "write an expectation for each");
        }
    }
    if expect.metric.as_deref() == Some("") {
        check.expected(&format!("{path}.metric"), "the name of a metric", "such as throughput.bound.mean");
    }
    if let Some(runs) = runs {
        let reference = |check: &mut Check<'_>, path: String, run: &str| {
            if !runs.contains(&run) {
                check.expected(&path, "the name of a run", did_you_mean(run, runs));
            }
        };
        match &expect.run {
            Some(run) => reference(check, format!("{path}.run"), run),
            None if expect.ratio.is_none() => {
                check.report(
                    &format!("{path}.run"),
                    "required, but missing",
                    format!("one of: {}", runs.join(", ")),
                );
            }
            None => {}
        }
        if let Some(ratio) = &expect.ratio {
            if expect.run.is_some() {
                check.report(&format!("{path}.run"), "a ratio names its own runs", "leave `run` out");
            }
            reference(check, format!("{path}.ratio.run"), &ratio.run);
            reference(check, format!("{path}.ratio.over.run"), &ratio.over.run);
        }
    }
    if expect.tolerance.is_some() && expect.value.is_none() {
        check.report(&format!("{path}.tolerance"), "a tolerance without a value", "add `value:`");
    }
    if expect.value.is_some() && expect.tolerance.is_none() {
        check.report(&format!("{path}.value"), "a value without a tolerance", "add `tolerance: 10%`");
    }
    if expect.value.is_some_and(|value| value.0 == 0.0) && expect.tolerance.is_some() {
        let hint = "a relative tolerance of zero is nothing: write `min` and `max`";
        check.expected(&format!("{path}.value"), "a value other than 0", hint);
    }
    if let (Some(min), Some(max)) = (expect.min, expect.max)
        && max < min
    {
        check.expected(&format!("{path}.max"), &format!("at least the min of {}", min.0), "swap the two");
    }
    let bounded = expect.value.is_some() || expect.min.is_some() || expect.max.is_some();
    if let Some(curve) = &expect.curve {
        check.on_disk(&format!("{path}.curve.file"), Some(&curve.file));
        if expect.median_tolerance.is_none() {
            let hint = "add `medianTolerance: 7%`";
            check.report(&format!("{path}.medianTolerance"), "required with `curve`, but missing", hint);
        }
        if bounded {
            check.report(path, "a curve has its values in its file", "leave value, min and max out");
        }
    } else {
        if expect.median_tolerance.is_some() {
            check.report(&format!("{path}.medianTolerance"), "only a curve has one", "write `tolerance`");
        }
        if !bounded && expect.tolerance.is_none() && !given.is_empty() {
            check.report(path, "nothing to compare with", "add `value` and `tolerance`, or `min`, or `max`");
        }
    }
}

/// All rules of an experiment besides those of its scenarios.
pub(super) fn experiment(spec: &ExperimentSpec, check: &mut Check<'_>) {
    check.name("name", &spec.name);
    if spec.runs.is_empty() {
        check.report("runs", "the experiment has no runs", "add `runs: [{name: base}]`");
    }
    check.count("runs", spec.runs.len() as u64, 0, limits::RUNS);
    let runs = spec.runs.iter().enumerate();
    check.distinct("run", runs.map(|(i, run)| (format!("runs[{i}].name"), run.name.as_str())));
    for (i, run) in spec.runs.iter().enumerate() {
        check.name(&format!("runs[{i}].name"), &run.name);
        check.optional_count(&format!("runs[{i}].seeds"), run.seeds, 1, limits::SEEDS);
    }
    let names: Vec<&str> = spec.runs.iter().map(|run| run.name.as_str()).collect();
    for (i, expect) in spec.expect.iter().enumerate() {
        expectation(&format!("expect[{i}]"), expect, Some(&names), check);
    }
    written(&spec.thresholds, check);
    for (i, run) in spec.thresholds.iter().enumerate().filter_map(|(i, t)| Some((i, t.run.as_deref()?))) {
        if !names.contains(&run) {
            check.expected(&format!("thresholds[{i}]"), "the name of a run", did_you_mean(run, &names));
        }
    }
    // A threshold without a run is about all of them.
    if check.complete && !spec.expect.is_empty() && spec.thresholds.iter().all(|t| t.run.is_some()) {
        let used = |name: &str| {
            let has_threshold = spec.thresholds.iter().any(|t| t.run.as_deref() == Some(name));
            has_threshold
                || spec.expect.iter().any(|expect| {
                    let in_ratio = |r: &RatioExpectSpec| r.run == name || r.over.run == name;
                    expect.run.as_deref() == Some(name) || expect.ratio.as_ref().is_some_and(in_ratio)
                })
        };
        for (i, run) in spec.runs.iter().enumerate().filter(|(_, run)| !used(&run.name)) {
            let message = format!("nothing is expected of the run `{}`", run.name);
            check.report(
                &format!("runs[{i}].name"),
                message,
                "add an entry to `expect`, or leave the run out",
            );
        }
    }
}

/// All rules of a measured study.
pub(super) fn study(spec: &StudySpec, check: &mut Check<'_>) {
    check.name("name", &spec.name);
    check.optional_count("seeds", spec.seeds, 1, limits::SEEDS);
    if spec.classes.is_empty() {
        let hint = "add `classes: {cpu-bound: {each: 25%, median: 10%}}`";
        check.report("classes", "nothing is expected of any class of runs", hint);
    }
    for (class, expected) in &spec.classes {
        if expected.each.is_none() && expected.median.is_none() && expected.inside.is_none() {
            let hint = "add `each: 25%`, `median: 10%` or `inside: 80%`";
            check.report(&format!("classes.{class}"), "nothing is expected of this class", hint);
        }
    }
}

/// All rules of a sweep besides those of its scenarios.
pub(super) fn sweep(spec: &SweepSpec, check: &mut Check<'_>) {
    check.name("name", &spec.name);
    check.optional_count("seeds", spec.seeds, 1, limits::SEEDS);
    if spec.vary.is_empty() {
        let hint = "add `vary: [{path: scheduler.client.qps, values: [100, 200]}]`";
        check.report("vary", "the sweep varies nothing", hint);
    }
    let axes = spec.vary.iter().enumerate();
    check.distinct("axis", axes.map(|(i, axis)| (format!("vary[{i}].path"), axis.path.as_str())));
    for (i, axis) in spec.vary.iter().enumerate() {
        if axis.values.is_empty() {
            check.report(&format!("vary[{i}].values"), "an axis without values", "add at least one value");
        }
        let ok = |name: &String| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if !axis.names.is_empty() && (axis.names.len() != axis.values.len() || !axis.names.iter().all(ok)) {
            let expected = "as many names as values, of `[a-zA-Z0-9._-]`";
            check.expected(&format!("vary[{i}].names"), expected, "correct them, or leave them out");
        }
        if axis.names.is_empty() {
            let shown = axis.values.iter().filter(|value| value.is_mapping()).count();
            if shown > 1 {
                let hint = "add `names: [first, second]`";
                check.report(&format!("vary[{i}]"), "values that are mappings need names for tables", hint);
            }
        }
    }
    let points =
        spec.vary.iter().fold(1u64, |product, axis| product.saturating_mul(axis.values.len() as u64));
    if points > limits::RUNS {
        let message = format!("the grid has {points} points; podpace runs at most {}", limits::RUNS);
        check.report("vary", message, "vary less at once");
    }
}
