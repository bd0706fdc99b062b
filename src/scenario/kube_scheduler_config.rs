//! `KubeSchedulerConfiguration` (`kubescheduler.config.k8s.io/v1`), as a cluster has it.
//!
//! Fields, defaults and rules are those of 1.36: `k8s.io/kube-scheduler/config/v1/types.go`,
//! `pkg/scheduler/apis/config/v1/{defaults,default_plugins}.go`, `pkg/scheduler/apis/config/validation/*.go` and
//! `pkg/scheduler/framework/runtime/framework.go`. A value that the real kube-scheduler refuses is refused here in its
//! words, with the line: each rule was held against the binary of 1.36.3. What it accepts falls into three groups:
//! - it changes what pods wait for: it is honoured;
//! - it has no such effect (lock names, profiling, arguments of plugins without work here): a note says so;
//! - it would have one that is not modelled (extenders, plugins from outside the tree): an error says so.
//!
//! `multiPoint` is expanded as the framework does it: a plugin that is enabled there runs at all its extension points,
//! except where that point's `disabled` names it (or `*`), and with that point's own entry where there is one. So a
//! default plugin that `multiPoint.enabled` lists again without a weight weighs 1, not its default.
//!
//! Left out: the order of plugins within an extension point; feature gates, which are no part of the file.
//!
//! Cost: O(values of the file).
use std::collections::BTreeMap;
use std::fmt::Display;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::config_file::{ConfigFile, SchedulerConfig};
use super::diagnostic::{Diagnostic, did_you_mean, in_order};
use super::duration::DurationNs;
use super::resolve::operator;
use super::spec::{MatchExpressionSpec, MatchOperator};
use super::tree::{Path, Step};
use super::validate::{is_label_value, is_qualified};
use crate::cluster::{Expression, SpreadConstraint, Term, WeightedTerm};
use crate::engine::SECOND;
use crate::scheduler::kube::{NamedProfile, Plugins, ResourceWeight, Weights, system_default_constraints};
use crate::scheduler::{ScoringStrategy, Settings};

const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";
/// `schedulerName` of the only profile, if it has none, and of pods that name none.
const DEFAULT_NAME: &str = "default-scheduler";

/// The extension points, as the file names them.
const POINTS: [&str; 14] = [
    "preEnqueue",
    "queueSort",
    "preFilter",
    "filter",
    "postFilter",
    "preScore",
    "score",
    "reserve",
    "permit",
    "preBind",
    "bind",
    "postBind",
    "placementGenerate",
    "placementScore",
];

/// Plugins in the tree, all in the default profile: name, weight in `multiPoint` (0: none is given), extension points.
const IN_TREE: [(&str, i64, &[&str]); 20] = [
    ("SchedulingGates", 0, &["preEnqueue"]),
    ("PrioritySort", 0, &["queueSort"]),
    ("NodeUnschedulable", 0, &["filter"]),
    ("NodeName", 0, &["filter"]),
    ("TaintToleration", 3, &["filter", "preScore", "score"]),
    ("NodeAffinity", 2, &["preFilter", "filter", "preScore", "score"]),
    ("NodePorts", 0, &["preFilter", "filter"]),
    ("NodeResourcesFit", 1, &["preFilter", "filter", "preScore", "score"]),
    ("VolumeRestrictions", 0, &["preFilter", "filter"]),
    ("NodeVolumeLimits", 0, &["preFilter", "filter"]),
    ("VolumeBinding", 0, &["preFilter", "filter", "reserve", "preBind", "preScore", "score"]),
    ("VolumeZone", 0, &["preFilter", "filter"]),
    ("PodTopologySpread", 2, &["preFilter", "filter", "preScore", "score"]),
    ("InterPodAffinity", 2, &["preFilter", "filter", "preScore", "score"]),
    (
        "DynamicResources",
        0,
        &["preEnqueue", "preFilter", "filter", "postFilter", "score", "reserve", "preBind"],
    ),
    ("DefaultPreemption", 0, &["preEnqueue", "postFilter"]),
    ("NodeResourcesBalancedAllocation", 1, &["preScore", "score"]),
    ("ImageLocality", 1, &["score"]),
    ("DefaultBinder", 0, &["bind"]),
    ("NodeDeclaredFeatures", 0, &["preFilter", "filter"]),
];

/// Plugins in the tree that no profile has by default: they need feature gates of 1.36 that are off.
const OFF_BY_DEFAULT: [&str; 3] = ["GangScheduling", "PodGroupPodsCount", "TopologyPlacementGenerator"];

/// Plugins that v1 no longer has.
const REMOVED: [&str; 4] = ["AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits"];

/// Plugins whose filter or score fails in the real kube-scheduler without the step before it.
const NEED_PRE_FILTER: [&str; 4] = ["NodePorts", "NodeResourcesFit", "PodTopologySpread", "InterPodAffinity"];
const NEED_PRE_SCORE: [&str; 3] = ["TaintToleration", "PodTopologySpread", "InterPodAffinity"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Configuration {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    parallelism: Option<i64>,
    #[serde(default)]
    leader_election: LeaderElection,
    #[serde(default)]
    client_connection: ClientConnection,
    enable_profiling: Option<bool>,
    enable_contention_profiling: Option<bool>,
    percentage_of_nodes_to_score: Option<i64>,
    pod_initial_backoff_seconds: Option<i64>,
    pod_max_backoff_seconds: Option<i64>,
    #[serde(default)]
    profiles: Vec<ProfileSpec>,
    #[serde(default)]
    extenders: Vec<ExtenderSpec>,
    delay_cache_until_active: Option<bool>,
}

/// An extender: read so that what the real kube-scheduler refuses is said first.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ExtenderSpec {
    url_prefix: Option<String>,
    #[serde(rename = "filterVerb")]
    _filter_verb: Option<String>,
    #[serde(rename = "preemptVerb")]
    _preempt_verb: Option<String>,
    prioritize_verb: Option<String>,
    weight: Option<i64>,
    bind_verb: Option<String>,
    #[serde(rename = "enableHTTPS")]
    _enable_https: Option<bool>,
    #[serde(rename = "tlsConfig")]
    _tls_config: Option<TlsConfig>,
    #[serde(rename = "httpTimeout")]
    _http_timeout: Option<DurationNs>,
    #[serde(rename = "nodeCacheCapable")]
    _node_cache_capable: Option<bool>,
    #[serde(default)]
    managed_resources: Vec<ManagedResource>,
    #[serde(rename = "ignorable")]
    _ignorable: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TlsConfig {
    #[serde(rename = "insecure")]
    _insecure: Option<bool>,
    #[serde(rename = "serverName")]
    _server_name: Option<String>,
    #[serde(rename = "certFile")]
    _cert_file: Option<String>,
    #[serde(rename = "keyFile")]
    _key_file: Option<String>,
    #[serde(rename = "caFile")]
    _ca_file: Option<String>,
    #[serde(rename = "certData")]
    _cert_data: Option<String>,
    #[serde(rename = "keyData")]
    _key_data: Option<String>,
    #[serde(rename = "caData")]
    _ca_data: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ManagedResource {
    name: String,
    #[serde(rename = "ignoredByScheduler")]
    _ignored_by_scheduler: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LeaderElection {
    leader_elect: Option<bool>,
    lease_duration: Option<DurationNs>,
    renew_deadline: Option<DurationNs>,
    retry_period: Option<DurationNs>,
    resource_lock: Option<String>,
    #[serde(rename = "resourceName")]
    _resource_name: Option<String>,
    #[serde(rename = "resourceNamespace")]
    _resource_namespace: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClientConnection {
    #[serde(rename = "kubeconfig")]
    _kubeconfig: Option<String>,
    accept_content_types: Option<String>,
    content_type: Option<String>,
    qps: Option<f64>,
    burst: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProfileSpec {
    scheduler_name: Option<String>,
    percentage_of_nodes_to_score: Option<i64>,
    #[serde(default)]
    plugins: BTreeMap<String, PluginSet>,
    #[serde(default)]
    plugin_config: Vec<PluginConfig>,
}

#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PluginSet {
    #[serde(default)]
    enabled: Vec<Plugin>,
    #[serde(default)]
    disabled: Vec<Plugin>,
}

#[derive(Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Plugin {
    name: String,
    weight: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PluginConfig {
    name: String,
    #[serde(rename = "args")]
    _args: Option<IgnoredAny>,
}

/// Declares the arguments of a plugin; `apiVersion` and `kind` may stand in each.
macro_rules! plugin_args {
    ($name:ident { $($(#[$meta:meta])* $field:ident: $type:ty,)* }) => {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct $name {
            #[serde(rename = "apiVersion")]
            _api_version: Option<String>,
            #[serde(rename = "kind")]
            _kind: Option<String>,
            $($(#[$meta])* $field: $type,)*
        }
    };
}

plugin_args!(DefaultPreemptionArgs {
    min_candidate_nodes_percentage: Option<i64>,
    min_candidate_nodes_absolute: Option<i64>,
});
plugin_args!(InterPodAffinityArgs {
    hard_pod_affinity_weight: Option<i64>,
    ignore_preferred_terms_of_existing_pods: Option<bool>,
});
plugin_args!(NodeAffinityArgs { added_affinity: Option<NodeAffinity>, });
plugin_args!(NodeResourcesFitArgs {
    #[serde(default)]
    ignored_resources: Vec<String>,
    #[serde(default)]
    ignored_resource_groups: Vec<String>,
    scoring_strategy: Option<Strategy>,
});
plugin_args!(BalancedAllocationArgs {
    #[serde(default)]
    resources: Vec<ResourceSpec>,
});
plugin_args!(PodTopologySpreadArgs {
    #[serde(default)]
    default_constraints: Vec<DefaultConstraint>,
    defaulting_type: Option<String>,
});
plugin_args!(DynamicResourcesArgs {
    #[serde(rename = "filterTimeout")]
    _filter_timeout: Option<DurationNs>,
    binding_timeout: Option<DurationNs>,
});
plugin_args!(VolumeBindingArgs {
    bind_timeout_seconds: Option<i64>,
    shape: Option<Vec<ShapePoint>>,
});

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Strategy {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    resources: Vec<ResourceSpec>,
    requested_to_capacity_ratio: Option<RatioSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RatioSpec {
    #[serde(default)]
    shape: Vec<ShapePoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ShapePoint {
    #[serde(default)]
    utilization: i64,
    #[serde(default)]
    score: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourceSpec {
    name: String,
    weight: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DefaultConstraint {
    max_skew: Option<i64>,
    topology_key: Option<String>,
    when_unsatisfiable: Option<String>,
    label_selector: Option<IgnoredAny>,
    min_domains: Option<i64>,
    node_affinity_policy: Option<String>,
    node_taints_policy: Option<String>,
    #[serde(default)]
    match_label_keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NodeAffinity {
    required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
    #[serde(default)]
    preferred_during_scheduling_ignored_during_execution: Vec<PreferredTerm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NodeSelector {
    #[serde(default)]
    node_selector_terms: Vec<NodeSelectorTerm>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NodeSelectorTerm {
    #[serde(default)]
    match_expressions: Vec<MatchExpressionSpec>,
    #[serde(default)]
    match_fields: Vec<MatchExpressionSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PreferredTerm {
    #[serde(default)]
    weight: i64,
    #[serde(default)]
    preference: NodeSelectorTerm,
}

/// Reads a configuration.
pub(super) fn read(file: &ConfigFile) -> Result<SchedulerConfig, Vec<Diagnostic>> {
    let mut reader = Reader { file, errors: Vec::new(), notes: Vec::new() };
    reader.header();
    if !reader.errors.is_empty() {
        return Err(reader.errors);
    }
    let spec: Configuration = file.decode(&Path::default())?;
    let config = reader.configuration(&spec);
    if reader.errors.is_empty() { Ok(config) } else { Err(in_order(reader.errors)) }
}

fn root(key: &str) -> Path {
    Path::default().key(key)
}

struct Reader<'a> {
    file: &'a ConfigFile,
    errors: Vec<Diagnostic>,
    notes: Vec<String>,
}

impl Reader<'_> {
    fn report(&mut self, path: &Path, message: impl Into<String>, hint: impl Into<String>) {
        self.errors.push(self.file.diagnostic(path, message, hint));
    }

    /// A value that the real kube-scheduler refuses, in its words.
    fn invalid(&mut self, path: &Path, value: impl Display, detail: &str) {
        let message = format!("kube-scheduler refuses this: Invalid value: {value}: {detail}");
        self.report(path, message, "correct the file; the cluster would not start with it either");
    }

    fn refused(&mut self, path: &Path, words: &str) {
        let message = format!("kube-scheduler refuses this: {words}");
        self.report(path, message, "correct the file; the cluster would not start with it either");
    }

    fn not_modelled(&mut self, path: &Path, what: &str, hint: &str) {
        self.report(path, format!("not modelled: {what}"), hint);
    }

    fn note(&mut self, path: &Path, why: &str) {
        self.notes.push(format!("scheduler.config: {path} has no effect here: {why}"));
    }

    /// `apiVersion` and `kind`.
    fn header(&mut self) {
        let tree = self.file.tree();
        for (key, wanted) in [("apiVersion", API_VERSION), ("kind", KIND)] {
            match tree.get(key).map(super::tree::Node::shown) {
                Some(found) if found == wanted => {}
                Some(found) => {
                    let hint = match key {
                        "apiVersion" if found.starts_with("kubescheduler.config.k8s.io/") => {
                            "kube-scheduler 1.29 and later read v1 only; change this line and the fields that v1 renamed"
                        }
                        _ => "name the file that kube-scheduler gets with --config",
                    };
                    self.report(&root(key), format!("expected `{wanted}`, got `{found}`"), hint);
                }
                None => {
                    let hint = format!("add `{key}: {wanted}`");
                    self.report(&root(key), format!("`{key}` is required, but missing"), hint);
                }
            }
        }
    }

    fn range(&mut self, path: &Path, value: Option<i64>, least: i64, most: i64, detail: &str) -> Option<i64> {
        let value = value?;
        if !self.fits(path, value) {
            return None;
        }
        if (least..=most).contains(&value) {
            return Some(value);
        }
        self.invalid(path, value, detail);
        None
    }

    /// Whether a number fits the field, whose type is int32 in all that [`Self::range`] reads.
    fn fits(&mut self, path: &Path, value: i64) -> bool {
        let fits = i32::try_from(value).is_ok();
        if !fits {
            self.refused(path, &format!("json: cannot unmarshal number {value} into a field of type int32"));
        }
        fits
    }

    /// The key of a label, or the name of a resource.
    fn label_name(&mut self, path: &Path, name: &str) {
        if !is_qualified(name) {
            let detail = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
            self.invalid(path, quoted(name), detail);
        }
    }

    fn configuration(&mut self, spec: &Configuration) -> SchedulerConfig {
        let mut config = SchedulerConfig::default();
        let settings = &mut config.settings;
        let int32 = i64::from(i32::MAX);
        let parallelism = self.range(
            &root("parallelism"),
            spec.parallelism,
            1,
            int32,
            "should be an integer value greater than zero",
        );
        if let Some(threads) = parallelism {
            settings.parallelism = u32::try_from(threads).expect("in range");
        }
        let percentage = |reader: &mut Self, path: &Path, value| {
            let found = reader.range(path, value, 0, 100, "not in valid range [0-100]");
            found.map(|p| u32::try_from(p).expect("in range"))
        };
        let global = percentage(self, &root("percentageOfNodesToScore"), spec.percentage_of_nodes_to_score);
        settings.percentage_of_nodes_to_score = global.unwrap_or(0);
        self.backoff(spec, settings);
        self.client(&spec.client_connection, &mut config);
        self.leader_election(&spec.leader_election);
        for (key, given) in [
            ("enableProfiling", spec.enable_profiling.is_some()),
            ("enableContentionProfiling", spec.enable_contention_profiling.is_some()),
        ] {
            if given {
                self.note(&root(key), "profiling is not modelled");
            }
        }
        if spec.delay_cache_until_active == Some(true) {
            self.note(&root("delayCacheUntilActive"), "the one scheduler is the leader from the start");
        }
        self.extenders(&spec.extenders);
        self.profiles(&spec.profiles);
        for (i, profile) in spec.profiles.iter().enumerate() {
            let path = root("profiles").child(Step::Index(i));
            let own =
                percentage(self, &path.key("percentageOfNodesToScore"), profile.percentage_of_nodes_to_score);
            // Plugins and arguments of one profile, read into settings of its own.
            let mut read = Settings::default();
            self.plugins(&path.key("plugins"), profile, &mut read);
            self.plugin_config(&path.key("pluginConfig"), profile, &mut read);
            let named = NamedProfile {
                scheduler_name: profile.scheduler_name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned()),
                percentage_of_nodes_to_score: own.or(global).unwrap_or(0),
                scoring_strategy: read.scoring_strategy,
                profile: read.kube,
            };
            if i == 0 {
                let settings = &mut config.settings;
                settings.percentage_of_nodes_to_score = named.percentage_of_nodes_to_score;
                settings.scoring_strategy = named.scoring_strategy;
                settings.kube = named.profile;
                settings.scheduler_name = named.scheduler_name;
            } else {
                config.settings.more_profiles.push(named);
            }
        }
        config.notes = std::mem::take(&mut self.notes);
        config
    }

    fn extenders(&mut self, extenders: &[ExtenderSpec]) {
        let path = root("extenders");
        let before = self.errors.len();
        let mut managed: Vec<&str> = Vec::new();
        for (i, extender) in extenders.iter().enumerate() {
            let path = path.child(Step::Index(i));
            let prioritizes = extender.prioritize_verb.as_deref().is_some_and(|verb| !verb.is_empty());
            let weight = extender.weight.unwrap_or(0);
            if prioritizes && weight <= 0 {
                self.invalid(&path.key("weight"), weight, "must have a positive weight applied to it");
            }
            for (j, resource) in extender.managed_resources.iter().enumerate() {
                let path = path.key("managedResources").child(Step::Index(j)).key("name");
                let name = resource.name.as_str();
                let native = !name.contains('/') || name.contains("kubernetes.io/");
                if !is_qualified(name) {
                    self.label_name(&path, name);
                } else if native || name.starts_with("requests.") {
                    self.invalid(&path, quoted(name), "is an invalid extended resource name");
                }
                if managed.contains(&name) {
                    self.invalid(&path, quoted(name), "duplicate extender managed resource name");
                }
                managed.push(name);
            }
        }
        let binders =
            extenders.iter().filter(|e| e.bind_verb.as_deref().is_some_and(|v| !v.is_empty())).count();
        if binders > 1 {
            let value = format!("found {binders} extenders implementing bind");
            self.invalid(&path, value, "only one extender can implement bind");
        }
        if self.errors.len() == before {
            for (i, extender) in extenders.iter().enumerate() {
                let url = super::diagnostic::shorten(extender.url_prefix.as_deref().unwrap_or(""));
                let what = format!("the extender at {}, whose answers nobody knows here", quoted(&url));
                self.not_modelled(&path.child(Step::Index(i)), &what, "take it out to study the rest");
            }
        }
    }

    fn backoff(&mut self, spec: &Configuration, settings: &mut Settings) {
        let (first, most) = (spec.pod_initial_backoff_seconds, spec.pod_max_backoff_seconds);
        let (first_s, most_s) = (first.unwrap_or(1), most.unwrap_or(10));
        let seconds = |s: i64| u64::try_from(s).ok().and_then(|s| s.checked_mul(SECOND));
        if first_s <= 0 {
            self.invalid(&root("podInitialBackoffSeconds"), first_s, "must be greater than 0");
        } else if most_s < first_s {
            let key = if most.is_some() { "podMaxBackoffSeconds" } else { "podInitialBackoffSeconds" };
            self.invalid(&root(key), most_s, "must be greater than or equal to PodInitialBackoffSeconds");
        } else if let (Some(first_ns), Some(most_ns)) = (seconds(first_s), seconds(most_s)) {
            settings.pod_initial_backoff_ns = first_ns;
            settings.pod_max_backoff_ns = most_ns;
        } else {
            self.not_modelled(
                &root("podMaxBackoffSeconds"),
                "more than 584 years",
                "is there a digit too many?",
            );
        }
    }

    fn client(&mut self, spec: &ClientConnection, config: &mut SchedulerConfig) {
        let path = root("clientConnection");
        for (key, given) in
            [("acceptContentTypes", &spec.accept_content_types), ("contentType", &spec.content_type)]
        {
            if given.as_deref().is_some_and(|t| !t.is_empty() && !t.contains("protobuf")) {
                self.note(&path.key(key), "the cost of requests was measured with protobuf");
            }
        }
        // Zero stands for the default in both.
        match spec.qps {
            Some(qps) if !qps.is_finite() || qps > 1e9 => {
                self.not_modelled(&path.key("qps"), "a rate of this size", "give at most 1e9");
            }
            Some(qps) if qps < 0.0 => {
                self.not_modelled(&path.key("qps"), "no limit at all", "give a high rate, such as 1000000");
            }
            Some(qps) if qps > 0.0 => config.qps_milli = Some(((qps * 1000.0) as u64).max(1)),
            _ => config.qps_milli = Some(50_000),
        }
        match self.range(&path.key("burst"), spec.burst, 0, i64::from(i32::MAX), "must be non-negative") {
            None | Some(0) => config.burst = Some(100),
            Some(burst) => config.burst = u32::try_from(burst).ok(),
        }
    }

    fn leader_election(&mut self, spec: &LeaderElection) {
        let path = root("leaderElection");
        if spec.leader_elect == Some(false) {
            return;
        }
        // Zero stands for the default in all three.
        let or = |span: Option<DurationNs>, default: u64| {
            span.map(|d| d.0).filter(|ns| *ns > 0).unwrap_or(default)
        };
        let lease = or(spec.lease_duration, 15 * SECOND);
        let renew = or(spec.renew_deadline, 10 * SECOND);
        let retry = or(spec.retry_period, 2 * SECOND);
        if lease <= renew {
            let detail = "must be greater than `RenewDeadline`";
            self.invalid(&path.key("leaseDuration"), quoted(&DurationNs(renew).to_string()), detail);
        }
        // client-go's JitterFactor is 1.2.
        if renew <= retry.saturating_add(retry / 5) {
            let words =
                "couldn't create leader elector: renewDeadline must be greater than retryPeriod*JitterFactor";
            self.refused(&path.key("renewDeadline"), words);
        }
        if let Some(lock) = spec.resource_lock.as_deref().filter(|lock| !lock.is_empty() && *lock != "leases")
        {
            self.invalid(&path.key("resourceLock"), quoted(lock), "resourceLock value must be \"leases\"");
        }
    }

    fn profiles(&mut self, profiles: &[ProfileSpec]) {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (i, profile) in profiles.iter().enumerate() {
            let path = root("profiles").child(Step::Index(i));
            match profile.scheduler_name.as_deref() {
                None if profiles.len() == 1 => {}
                None | Some("") => {
                    self.refused(&path.key("schedulerName"), "Required value");
                }
                Some(name) => {
                    if let Some(first) = seen.insert(name, i) {
                        let words = format!("Duplicate value: \"profiles[{first}].schedulerName\"");
                        self.refused(&path.key("schedulerName"), &words);
                    }
                }
            }
            let sort = |p: &ProfileSpec| p.plugins.get("queueSort").cloned().unwrap_or_default();
            let sorts = sort(profile).enabled.len();
            if i == 0 && sorts > 1 {
                let path = path.key("plugins").key("queueSort").key("enabled");
                self.invalid(&path, sorts, "only one queue sort plugin can be enabled");
            }
            if i > 0 && sort(profile) != sort(&profiles[0]) {
                let detail = "must be the same for all profiles";
                self.invalid(&path.key("plugins").key("queueSort"), "{...}", detail);
            }
        }
    }

    /// Expands `multiPoint` and each extension point.
    // One rule of the framework after the other.
    fn plugins(&mut self, path: &Path, profile: &ProfileSpec, settings: &mut Settings) {
        let before = self.errors.len();
        for (point, set) in &profile.plugins {
            let path = path.key(point);
            if point != "multiPoint" && !POINTS.contains(&point.as_str()) {
                let known: Vec<&str> = POINTS.into_iter().chain(["multiPoint"]).collect();
                self.report(&path, format!("unknown key `{point}`"), did_you_mean(point, &known));
                continue;
            }
            self.plugin_set(point, set, &path);
        }
        if self.errors.len() > before {
            return;
        }
        let empty = PluginSet::default();
        let multi = merge(profile.plugins.get("multiPoint").unwrap_or(&empty));
        let at = |point: &str| expand(point, profile.plugins.get(point).unwrap_or(&empty), &multi);
        let points: BTreeMap<&str, Vec<(String, i64)>> = POINTS.into_iter().map(|p| (p, at(p))).collect();
        let name = profile.scheduler_name.as_deref().unwrap_or(DEFAULT_NAME);
        let queue_sort = points["queueSort"].len();
        if queue_sort != 1 {
            let words = format!(
                "only one queue sort plugin required for profile with scheduler name \"{name}\", but got {queue_sort}"
            );
            self.refused(path, &words);
        }
        if points["bind"].is_empty() {
            let words =
                format!("at least one bind plugin is needed for profile with scheduler name \"{name}\"");
            self.refused(path, &words);
        }
        let runs = |point: &str, plugin: &str| points[point].iter().any(|(name, _)| name == plugin);
        for (plugin, first, then) in NEED_PRE_FILTER
            .map(|plugin| (plugin, "preFilter", "filter"))
            .into_iter()
            .chain(NEED_PRE_SCORE.map(|plugin| (plugin, "preScore", "score")))
        {
            if runs(then, plugin) && !runs(first, plugin) {
                let what = format!("{plugin} in {then} without its {first}, with which every cycle fails");
                self.not_modelled(path, &what, &format!("disable it in {then} as well"));
            }
        }
        let weight =
            |plugin: &str| points["score"].iter().find(|(name, _)| name == plugin).map_or(0, |p| p.1);
        settings.kube.plugins = Plugins {
            unschedulable: runs("filter", "NodeUnschedulable"),
            name: runs("filter", "NodeName"),
            taints: runs("filter", "TaintToleration"),
            affinity: runs("filter", "NodeAffinity"),
            ports: runs("filter", "NodePorts"),
            fit: runs("filter", "NodeResourcesFit"),
            spread: runs("filter", "PodTopologySpread"),
            pod_affinity: runs("filter", "InterPodAffinity"),
            preemption: runs("postFilter", "DefaultPreemption"),
            gates: runs("preEnqueue", "SchedulingGates"),
            volumes: runs("filter", "VolumeBinding"),
            weights: Weights {
                taints: weight("TaintToleration"),
                affinity: weight("NodeAffinity"),
                fit: weight("NodeResourcesFit"),
                balanced: weight("NodeResourcesBalancedAllocation"),
                spread: weight("PodTopologySpread"),
                pod_affinity: weight("InterPodAffinity"),
                images: weight("ImageLocality"),
            },
        };
    }

    /// Names and weights of one extension point, or of `multiPoint`.
    fn plugin_set(&mut self, point: &str, set: &PluginSet, path: &Path) {
        let mut seen: Vec<&str> = Vec::new();
        for (i, plugin) in set.enabled.iter().enumerate() {
            let path = path.key("enabled").child(Step::Index(i));
            let name = plugin.name.as_str();
            if seen.contains(&name) && point != "queueSort" {
                let first = IN_TREE.iter().find(|(known, ..)| *known == name).map(|(.., points)| points[0]);
                let point = if point == "multiPoint" { first.unwrap_or(point) } else { point };
                let words = format!("plugin \"{name}\" already registered as \"{}\"", point_type(point));
                self.refused(&path.key("name"), &words);
            }
            seen.push(name);
            if point == "multiPoint" && REMOVED.contains(&name) {
                // The framework says it, at the first point that it expands.
                self.refused(&path.key("name"), &format!("PreFilterPlugin \"{name}\" does not exist"));
                continue;
            }
            if self.removed(name, &path.key("name")) {
                continue;
            }
            match IN_TREE.iter().find(|(known, ..)| *known == name) {
                None if OFF_BY_DEFAULT.contains(&name) => {
                    let what = format!("the plugin `{name}`, whose feature gate is off by default");
                    self.not_modelled(&path.key("name"), &what, "take it out to study the rest");
                }
                None => {
                    let names: Vec<&str> = IN_TREE.iter().map(|(name, ..)| *name).collect();
                    let what = format!("the plugin `{name}`, which is not in the tree");
                    let hint = super::nearest(name, names).map_or_else(
                        || "disable it, or write the scheduler as a model of its own".to_owned(),
                        |meant| format!("did you mean `{meant}`?"),
                    );
                    self.not_modelled(&path.key("name"), &what, &hint);
                }
                Some((_, _, points)) if point != "multiPoint" && !points.contains(&point) => {
                    let words = format!("plugin \"{name}\" does not extend {} plugin", point_type(point));
                    self.refused(&path.key("name"), &words);
                }
                Some(_) => {}
            }
            match plugin.weight {
                Some(weight) if i32::try_from(weight).is_err() => {
                    self.fits(&path.key("weight"), weight);
                }
                Some(weight) if weight < 0 => {
                    let what = "a weight that is negative";
                    self.not_modelled(&path.key("weight"), what, "give a weight from 1 on");
                }
                Some(_) if point != "multiPoint" && point != "score" => {
                    self.note(&path.key("weight"), "only scores have weights");
                }
                _ => {}
            }
        }
        for (i, plugin) in set.disabled.iter().enumerate() {
            let path = path.key("disabled").child(Step::Index(i)).key("name");
            let name = plugin.name.as_str();
            let known = IN_TREE.iter().any(|(known, ..)| *known == name)
                || REMOVED.contains(&name)
                || OFF_BY_DEFAULT.contains(&name);
            if name != "*" && !known {
                let names: Vec<&str> = IN_TREE.iter().map(|(name, ..)| *name).collect();
                let why = format!("there is no plugin `{name}`; {}", did_you_mean(name, &names));
                self.note(&path, &why);
            }
        }
    }

    fn removed(&mut self, name: &str, path: &Path) -> bool {
        let removed = REMOVED.contains(&name);
        if removed {
            let detail = format!(
                "was invalid in version \"v1\" (KubeSchedulerConfiguration is version \"{API_VERSION}\")"
            );
            self.invalid(path, quoted(name), &detail);
        }
        removed
    }

    fn plugin_config(&mut self, path: &Path, profile: &ProfileSpec, settings: &mut Settings) {
        let mut seen: Vec<&str> = Vec::new();
        for (i, entry) in profile.plugin_config.iter().enumerate() {
            let path = path.child(Step::Index(i));
            let name = entry.name.as_str();
            if seen.contains(&name) {
                self.refused(&path, &format!("Duplicate value: {}", quoted(name)));
                continue;
            }
            seen.push(name);
            if self.removed(name, &path.key("name")) {
                continue;
            }
            let args = path.key("args");
            match name {
                "DefaultPreemption" => self.preemption(&args, settings),
                "InterPodAffinity" => self.pod_affinity(&args, settings),
                "NodeAffinity" => self.node_affinity(&args, settings),
                "NodeResourcesFit" => self.fit(&args, settings),
                "NodeResourcesBalancedAllocation" => self.balanced(&args, settings),
                "PodTopologySpread" => self.spread(&args, settings),
                "VolumeBinding" => self.volumes(&args, settings),
                "DynamicResources" => self.devices(&args),
                _ if IN_TREE.iter().any(|(known, ..)| *known == name) => {
                    self.note(
                        &path,
                        &format!("the plugin `{name}` takes no arguments, and kube-scheduler reads none"),
                    );
                }
                _ => self.note(&path, &format!("the plugin `{name}` does not run")),
            }
        }
    }

    /// Decodes a plugin's arguments; absent ones are all defaults.
    fn args<T: serde::de::DeserializeOwned + Default>(&mut self, path: &Path, kind: &str) -> Option<T> {
        let (node, found) = self.file.tree().nearest(path);
        if !found {
            return Some(T::default());
        }
        match self.file.decode::<T>(path) {
            Ok(args) => {
                let given = |key: &str, wanted: &str| {
                    node.get(key).map(super::tree::Node::shown).filter(|found| found != wanted)
                };
                let plugin = kind.trim_end_matches("Args");
                if let Some(version) = given("apiVersion", API_VERSION) {
                    let words = format!(
                        "decoding args for plugin {plugin}: no kind \"{kind}\" is registered for version \"{version}\""
                    );
                    self.refused(&path.key("apiVersion"), &words);
                } else if let Some(found) = given("kind", kind) {
                    let group = API_VERSION.trim_end_matches("/v1");
                    let words = format!(
                        "args for plugin {plugin} were not of type {kind}.{group}, got {found}.{group}"
                    );
                    self.refused(&path.key("kind"), &words);
                }
                Some(args)
            }
            Err(mut errors) => {
                self.errors.append(&mut errors);
                None
            }
        }
    }

    fn preemption(&mut self, path: &Path, settings: &mut Settings) {
        let Some(args) = self.args::<DefaultPreemptionArgs>(path, "DefaultPreemptionArgs") else { return };
        let (percentage, absolute) =
            (path.key("minCandidateNodesPercentage"), path.key("minCandidateNodesAbsolute"));
        let p = args.min_candidate_nodes_percentage.unwrap_or(10);
        let a = args.min_candidate_nodes_absolute.unwrap_or(100);
        let in_range = (
            self.range(&percentage, Some(p), 0, 100, "not in valid range [0, 100]"),
            self.range(&absolute, Some(a), 0, i64::from(i32::MAX), "not in valid range [0, inf)"),
        );
        if p == 0 && a == 0 {
            self.invalid(&percentage, p, "cannot be zero at the same time as minCandidateNodesAbsolute");
            self.invalid(&absolute, a, "cannot be zero at the same time as minCandidateNodesPercentage");
        } else if let (Some(p), Some(a)) = in_range {
            settings.kube.min_candidate_nodes_percentage = u32::try_from(p).expect("in range");
            settings.kube.min_candidate_nodes_absolute = u32::try_from(a).expect("in range");
        }
    }

    fn pod_affinity(&mut self, path: &Path, settings: &mut Settings) {
        let Some(args) = self.args::<InterPodAffinityArgs>(path, "InterPodAffinityArgs") else { return };
        let key = path.key("hardPodAffinityWeight");
        let weight = args.hard_pod_affinity_weight.or(Some(1));
        if let Some(weight) = self.range(&key, weight, 0, 100, "not in valid range [0, 100]") {
            settings.kube.hard_pod_affinity_weight = weight;
        }
        settings.kube.ignore_preferred_terms_of_existing_pods =
            args.ignore_preferred_terms_of_existing_pods.unwrap_or(false);
    }

    fn node_affinity(&mut self, path: &Path, settings: &mut Settings) {
        let Some(args) = self.args::<NodeAffinityArgs>(path, "NodeAffinityArgs") else { return };
        let Some(added) = args.added_affinity else { return };
        let path = path.key("addedAffinity");
        if let Some(required) = &added.required_during_scheduling_ignored_during_execution {
            let path = path.key("requiredDuringSchedulingIgnoredDuringExecution").key("nodeSelectorTerms");
            for (i, term) in required.node_selector_terms.iter().enumerate() {
                let term = self.term(&path.child(Step::Index(i)), term);
                settings.kube.added_required.push(term);
            }
            if required.node_selector_terms.is_empty() {
                // No term matches no node.
                settings.kube.added_required.push(Term::default());
            }
        }
        let path = path.key("preferredDuringSchedulingIgnoredDuringExecution");
        for (i, preferred) in added.preferred_during_scheduling_ignored_during_execution.iter().enumerate() {
            let path = path.child(Step::Index(i));
            let key = path.key("weight");
            // The scheduler skips a term that weighs nothing, and looks at no other weight.
            if preferred.weight == 0 || !self.fits(&key, preferred.weight) {
                continue;
            }
            if !(1..=100).contains(&preferred.weight) {
                self.not_modelled(
                    &key,
                    "a weight outside of 1 to 100",
                    "give one that a pod could have, too",
                );
                continue;
            }
            let term = self.term(&path.key("preference"), &preferred.preference);
            if let Ok(weight) = i32::try_from(preferred.weight) {
                settings.kube.added_preferred.push(WeightedTerm { weight, term });
            }
        }
    }

    /// A node selector term.
    fn term(&mut self, path: &Path, spec: &NodeSelectorTerm) -> Term {
        let mut term = Term::default();
        for (list, found, into) in [
            ("matchExpressions", &spec.match_expressions, &mut term.expressions),
            ("matchFields", &spec.match_fields, &mut term.fields),
        ] {
            for (i, e) in found.iter().enumerate() {
                let path = path.key(list).child(Step::Index(i));
                let fields = list == "matchFields";
                let values = e.values.len();
                let list = format!("[{}]", e.values.iter().map(|v| quoted(v)).collect::<Vec<_>>().join(","));
                match e.operator {
                    MatchOperator::In | MatchOperator::NotIn if fields && values != 1 => {
                        self.invalid(&path.key("values"), list, "must have one element");
                    }
                    MatchOperator::In | MatchOperator::NotIn if fields => {}
                    other if fields => {
                        let words =
                            format!("Unsupported value: \"{other:?}\": supported values: \"In\", \"NotIn\"");
                        self.refused(&path.key("operator"), &words);
                    }
                    MatchOperator::In | MatchOperator::NotIn if values == 0 => {
                        let detail = "for 'in', 'notin' operators, values set can't be empty";
                        self.invalid(&path.key("values"), list, detail);
                    }
                    MatchOperator::Exists | MatchOperator::DoesNotExist if values > 0 => {
                        let detail = "values set must be empty for exists and does not exist";
                        self.invalid(&path.key("values"), list, detail);
                    }
                    MatchOperator::Gt | MatchOperator::Lt if values != 1 => {
                        let detail = "for 'Gt', 'Lt' operators, exactly one value is required";
                        self.invalid(&path.key("values"), list, detail);
                    }
                    MatchOperator::Gt | MatchOperator::Lt if e.values[0].parse::<i64>().is_err() => {
                        let path = path.key("values").child(Step::Index(0));
                        let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                        self.invalid(&path, quoted(&e.values[0]), detail);
                    }
                    _ => {}
                }
                if fields && e.key != "metadata.name" {
                    // kube-scheduler takes it, and no node has such a field.
                    let what = format!("the field `{}` of nodes", super::diagnostic::shorten(&e.key));
                    self.not_modelled(
                        &path.key("key"),
                        &what,
                        "metadata.name is the only one that nodes have",
                    );
                } else if !fields {
                    self.label_name(&path.key("key"), &e.key);
                    for (j, value) in e.values.iter().enumerate().filter(|(_, v)| !is_label_value(v)) {
                        let path = path.key("values").child(Step::Index(j));
                        let detail = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
                        self.invalid(&path, quoted(value), detail);
                    }
                }
                into.push(Expression {
                    key: e.key.clone(),
                    operator: operator(e.operator),
                    values: e.values.clone(),
                });
            }
        }
        term
    }

    fn fit(&mut self, path: &Path, settings: &mut Settings) {
        let Some(args) = self.args::<NodeResourcesFitArgs>(path, "NodeResourcesFitArgs") else { return };
        for (i, resource) in args.ignored_resources.iter().enumerate() {
            self.label_name(&path.key("ignoredResources").child(Step::Index(i)), resource);
        }
        for (i, group) in args.ignored_resource_groups.iter().enumerate() {
            if group.contains('/') {
                let path = path.key("ignoredResourceGroups").child(Step::Index(i));
                self.invalid(&path, quoted(group), "resource group name can't contain '/'");
            } else {
                self.label_name(&path.key("ignoredResourceGroups").child(Step::Index(i)), group);
            }
        }
        settings.kube.ignored_resources = args.ignored_resources;
        settings.kube.ignored_resource_groups = args.ignored_resource_groups;
        let Some(strategy) = args.scoring_strategy else { return };
        let path = path.key("scoringStrategy");
        let kind = strategy.kind.as_deref().unwrap_or("");
        settings.scoring_strategy = match kind {
            "LeastAllocated" => ScoringStrategy::LeastAllocated,
            "MostAllocated" => ScoringStrategy::MostAllocated,
            "RequestedToCapacityRatio" => ScoringStrategy::RequestedToCapacityRatio,
            _ => {
                let words = format!(
                    "Unsupported value: {}: supported values: \"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\"",
                    quoted(kind)
                );
                self.refused(&path.key("type"), &words);
                return;
            }
        };
        if let Some(resources) = self.resources(&path.key("resources"), &strategy.resources, 100) {
            settings.kube.fit_resources = resources;
        }
        let path = path.key("requestedToCapacityRatio");
        match (settings.scoring_strategy, &strategy.requested_to_capacity_ratio) {
            (ScoringStrategy::RequestedToCapacityRatio, None) => {
                self.refused(
                    &path,
                    "Required value: must be specified when type is RequestedToCapacityRatio",
                );
            }
            (ScoringStrategy::RequestedToCapacityRatio, Some(ratio)) => {
                self.shape(&path.key("shape"), &ratio.shape);
                settings.kube.fit_shape =
                    ratio.shape.iter().map(|p| (p.utilization, p.score.saturating_mul(10))).collect();
            }
            (_, Some(_)) => {
                self.refused(&path, "Forbidden: must be nil when type is not RequestedToCapacityRatio");
            }
            (_, None) => {}
        }
    }

    /// Resources with weights; none listed: the default.
    fn resources(&mut self, path: &Path, specs: &[ResourceSpec], most: i64) -> Option<Vec<ResourceWeight>> {
        let mut resources = Vec::new();
        for (i, spec) in specs.iter().enumerate() {
            let path = path.child(Step::Index(i)).key("weight");
            // Zero stands for the default.
            let weight = spec.weight.filter(|w| *w != 0).unwrap_or(1);
            if !(1..=most).contains(&weight) {
                let detail = if most == 1 {
                    "must be 1".to_owned()
                } else {
                    format!("resource weight of {} not in valid range (0, 100]", spec.name)
                };
                self.invalid(&path, weight, &detail);
                continue;
            }
            let weight = u64::try_from(weight).expect("in range");
            resources.push(ResourceWeight { name: spec.name.clone(), weight });
        }
        (!specs.is_empty()).then_some(resources)
    }

    fn shape(&mut self, path: &Path, shape: &[ShapePoint]) {
        if shape.is_empty() {
            self.refused(path, "Required value: at least one point must be specified");
        }
        for (i, pair) in shape.windows(2).enumerate() {
            if pair[0].utilization >= pair[1].utilization {
                let path = path.child(Step::Index(i + 1)).key("utilization");
                self.invalid(&path, pair[1].utilization, "values must be sorted in increasing order");
                break;
            }
        }
        for (i, point) in shape.iter().enumerate() {
            let path = path.child(Step::Index(i));
            self.range(
                &path.key("utilization"),
                Some(point.utilization),
                0,
                100,
                "not in valid range [0, 100]",
            );
            self.range(&path.key("score"), Some(point.score), 0, 10, "not in valid range [0, 10]");
        }
    }

    fn balanced(&mut self, path: &Path, settings: &mut Settings) {
        let Some(args) = self.args::<BalancedAllocationArgs>(path, "NodeResourcesBalancedAllocationArgs")
        else {
            return;
        };
        let path = path.key("resources");
        for (i, resource) in args.resources.iter().enumerate() {
            if args.resources[..i].iter().any(|r| r.name == resource.name) {
                let words = format!("Duplicate value: {}", quoted(&resource.name));
                self.refused(&path.child(Step::Index(i)).key("name"), &words);
            }
        }
        if let Some(resources) = self.resources(&path, &args.resources, 1) {
            settings.kube.balanced_resources = resources;
        }
    }

    fn spread(&mut self, path: &Path, settings: &mut Settings) {
        let Some(args) = self.args::<PodTopologySpreadArgs>(path, "PodTopologySpreadArgs") else { return };
        // Empty stands for the default.
        let kind = args.defaulting_type.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("System");
        let before = self.errors.len();
        match kind {
            "System" if !args.default_constraints.is_empty() => {
                let detail = "when .defaultConstraints are not empty";
                self.invalid(&path.key("defaultingType"), quoted(kind), detail);
            }
            "System" | "List" => {}
            _ => {
                let words =
                    format!("Unsupported value: {}: supported values: \"System\", \"List\"", quoted(kind));
                self.refused(&path.key("defaultingType"), &words);
            }
        }
        for (i, constraint) in args.default_constraints.iter().enumerate() {
            let path = path.key("defaultConstraints").child(Step::Index(i));
            let skew = constraint.max_skew.or(Some(0));
            self.range(&path.key("maxSkew"), skew, 1, i64::from(i32::MAX), "not in valid range (0, inf)");
            match constraint.topology_key.as_deref().unwrap_or("") {
                "" => self.refused(&path.key("topologyKey"), "Required value: can not be empty"),
                key => self.label_name(&path.key("topologyKey"), key),
            }
            if let Some(least) = constraint.min_domains {
                self.fits(&path.key("minDomains"), least);
            }
            match constraint.when_unsatisfiable.as_deref().unwrap_or("") {
                "DoNotSchedule" | "ScheduleAnyway" => {}
                "" => self.refused(&path.key("whenUnsatisfiable"), "Required value: can not be empty"),
                other => {
                    let words = format!(
                        "Unsupported value: {}: supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
                        quoted(other)
                    );
                    self.refused(&path.key("whenUnsatisfiable"), &words);
                }
            }
            if constraint.label_selector.is_some() {
                let words = "Forbidden: constraint must not define a selector, as they deduced for each pod";
                self.refused(&path.key("labelSelector"), words);
            }
            let same = |c: &DefaultConstraint| {
                c.topology_key == constraint.topology_key
                    && c.when_unsatisfiable == constraint.when_unsatisfiable
            };
            if args.default_constraints[..i].iter().any(same) {
                let words = format!(
                    "Duplicate value: \"{{{}, {}}}\"",
                    constraint.topology_key.as_deref().unwrap_or(""),
                    constraint.when_unsatisfiable.as_deref().unwrap_or("")
                );
                self.refused(&path, &words);
            }
        }
        if self.errors.len() > before {
            return;
        }
        settings.kube.system_defaults = kind == "System";
        settings.kube.default_constraints = if kind == "System" {
            system_default_constraints()
        } else {
            let constraint = |c: &DefaultConstraint| SpreadConstraint {
                max_skew: c.max_skew.and_then(|s| u32::try_from(s).ok()).unwrap_or(1),
                topology_key: c.topology_key.clone().unwrap_or_default(),
                hard: c.when_unsatisfiable.as_deref() == Some("DoNotSchedule"),
                // The scheduler takes a negative one, and there are never fewer domains.
                min_domains: c.min_domains.and_then(|least| u32::try_from(least).ok()).unwrap_or(0),
                ignore_node_affinity: c.node_affinity_policy.as_deref() == Some("Ignore"),
                honor_node_taints: c.node_taints_policy.as_deref() == Some("Honor"),
                ..SpreadConstraint::default()
            };
            args.default_constraints.iter().map(constraint).collect()
        };
        for (i, c) in args.default_constraints.iter().enumerate() {
            if !c.match_label_keys.is_empty() {
                // The selector that the framework deduces stands instead of what the keys were added to.
                let path = path.key("defaultConstraints").child(Step::Index(i)).key("matchLabelKeys");
                self.note(
                    &path,
                    "the selector of a default constraint is the Services' and the controller's",
                );
            }
        }
    }

    fn devices(&mut self, path: &Path) {
        let Some(args) = self.args::<DynamicResourcesArgs>(path, "DynamicResourcesArgs") else { return };
        if args.binding_timeout.is_some_and(|d| d.0 < SECOND) {
            let shown = args.binding_timeout.unwrap_or_default();
            self.invalid(&path.key("bindingTimeout"), shown, "must be at least 1 second");
        }
        self.note(path, "no pod here claims devices");
    }

    fn volumes(&mut self, path: &Path, settings: &mut Settings) {
        let Some(args) = self.args::<VolumeBindingArgs>(path, "VolumeBindingArgs") else { return };
        if let Some(timeout) = args.bind_timeout_seconds.filter(|t| *t < 0) {
            let detail = "invalid BindTimeoutSeconds, should not be a negative value";
            self.invalid(&path.key("bindTimeoutSeconds"), timeout, detail);
        }
        if args.shape.is_some() {
            let words =
                "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring";
            self.refused(&path.key("shape"), words);
        }
        let seconds = u64::try_from(args.bind_timeout_seconds.unwrap_or(600)).unwrap_or(600);
        settings.kube.volume_bind_timeout_ns = seconds.saturating_mul(SECOND);
    }
}

/// The interface of an extension point, as the framework's messages name it: `FilterPlugin`.
fn point_type(point: &str) -> String {
    let mut letters = point.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect::<String>() + "Plugin"
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", super::diagnostic::shorten(text))
}

/// The default plugins with the changes of `multiPoint`: names with their weights, 0 where none is given.
fn merge(custom: &PluginSet) -> Vec<(String, i64)> {
    let disabled = |name: &str| custom.disabled.iter().any(|d| d.name == name || d.name == "*");
    let own = |name: &str| custom.enabled.iter().find(|p| p.name == name);
    let mut merged = Vec::new();
    for (name, weight, _) in IN_TREE.iter().filter(|(name, ..)| !disabled(name)) {
        let weight = own(name).map_or(*weight, |p| p.weight.unwrap_or(0));
        merged.push(((*name).to_owned(), weight));
    }
    for plugin in &custom.enabled {
        if !merged.iter().any(|(name, _)| *name == plugin.name) {
            merged.push((plugin.name.clone(), plugin.weight.unwrap_or(0)));
        }
    }
    merged
}

/// The plugins of an extension point: its own, then those of `multiPoint` that extend it and are not disabled there.
/// No weight is 1.
fn expand(point: &str, set: &PluginSet, multi: &[(String, i64)]) -> Vec<(String, i64)> {
    let mut plugins: Vec<(String, i64)> =
        set.enabled.iter().map(|p| (p.name.clone(), p.weight.unwrap_or(0))).collect();
    let disabled = |name: &str| set.disabled.iter().any(|d| d.name == name || d.name == "*");
    let extends = |name: &str| IN_TREE.iter().any(|(n, _, points)| *n == name && points.contains(&point));
    for (name, weight) in multi {
        if extends(name) && !disabled(name) && !plugins.iter().any(|(n, _)| n == name) {
            plugins.push((name.clone(), *weight));
        }
    }
    for (_, weight) in &mut plugins {
        *weight = (*weight).max(1);
    }
    plugins
}

#[cfg(test)]
mod tests;
