//! Volcano's configuration as a cluster has it: `volcano-scheduler.conf`, or the ConfigMap `volcano-scheduler-configmap` with it
//! inside.
//!
//! Source: `pkg/scheduler/{util.go,conf/scheduler_conf.go}` and the plugins' arguments of Volcano 1.15.1. What the model can't
//! honour is refused by name: actions and plugins that evict, move or reserve, and arguments of filters and scores that are left out.
//! A plugin's switches for functions that no modelled action calls (`enablePreemptable`, ..) have no effect and are taken. Volcano itself
//! ignores keys that it does not know; here they are errors.
//!
//! Cost: O(values of the file).
use std::collections::BTreeMap;

use serde::Deserialize;

use super::config_file::{ConfigFile, SchedulerConfig};
use super::diagnostic::{Diagnostic, did_you_mean};
use super::tree::{Class, Path, Step, Value};
use crate::cluster::ResourceNames;
use crate::scheduler::volcano::config::{
    ActionKind, Binpack, Config, Enabled, NodeOrder, OVERCOMMIT_PPM, Plugin, PluginKind, Predicates,
};

/// The key of the ConfigMap.
const CONFIG_KEY: &str = "volcano-scheduler.conf";
/// Actions of Volcano that are not modelled.
const OTHER_ACTIONS: [&str; 5] = ["preempt", "reclaim", "shuffle", "gangpreempt", "gangreclaim"];
/// Plugins of Volcano that are not modelled.
const OTHER_PLUGINS: [&str; 15] = [
    "capacity",
    "cdp",
    "deviceshare",
    "extender",
    "network-topology-aware",
    "nodegroup",
    "numa-aware",
    "rescheduling",
    "resource-strategy-fit",
    "resourcequota",
    "sla",
    "task-topology",
    "tdm",
    "usage",
    "volumebinding",
];
const PLUGINS: [&str; 10] = [
    "priority",
    "gang",
    "conformance",
    "pdb",
    "overcommit",
    "drf",
    "predicates",
    "proportion",
    "nodeorder",
    "binpack",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfSpec {
    actions: String,
    #[serde(default)]
    tiers: Vec<TierSpec>,
    #[serde(default)]
    configurations: Vec<ConfigurationSpec>,
    #[serde(default)]
    metrics: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TierSpec {
    #[serde(default)]
    plugins: Vec<PluginSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigurationSpec {
    name: String,
    #[serde(default)]
    arguments: BTreeMap<String, serde_yaml::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PluginSpec {
    name: String,
    enable_job_order: Option<bool>,
    enable_hierarchy: Option<bool>,
    enable_job_ready: Option<bool>,
    #[serde(rename = "enableJobPipelined")]
    _pipelined: Option<bool>,
    enable_task_order: Option<bool>,
    #[serde(rename = "enablePreemptable")]
    _preemptable: Option<bool>,
    #[serde(rename = "enableReclaimable")]
    _reclaimable: Option<bool>,
    #[serde(rename = "enablePreemptive")]
    _preemptive: Option<bool>,
    enable_queue_order: Option<bool>,
    #[serde(rename = "EnabledClusterOrder")]
    _cluster_order: Option<bool>,
    enable_predicate: Option<bool>,
    #[serde(rename = "enableBestNode")]
    _best_node: Option<bool>,
    enable_node_order: Option<bool>,
    #[serde(rename = "enableTargetJob")]
    _target_job: Option<bool>,
    #[serde(rename = "enableReservedNodes")]
    _reserved_nodes: Option<bool>,
    enable_job_enqueued: Option<bool>,
    #[serde(rename = "enabledVictim")]
    _victim: Option<bool>,
    #[serde(rename = "enableJobStarving")]
    _job_starving: Option<bool>,
    enabled_overused: Option<bool>,
    enabled_allocatable: Option<bool>,
    #[serde(rename = "enabledHyperNodeOrder")]
    _hyper_node_order: Option<bool>,
    #[serde(rename = "enabledSubJobReady")]
    _sub_job_ready: Option<bool>,
    #[serde(rename = "enabledSubJobPipelined")]
    _sub_job_pipelined: Option<bool>,
    #[serde(rename = "enabledSubJobOrder")]
    _sub_job_order: Option<bool>,
    #[serde(rename = "enabledHyperNodeGradient")]
    _hyper_node_gradient: Option<bool>,
    #[serde(default)]
    arguments: BTreeMap<String, serde_yaml::Value>,
}

struct Reader<'a> {
    file: &'a ConfigFile,
    names: &'a mut ResourceNames,
    errors: Vec<Diagnostic>,
    notes: Vec<String>,
}

/// Reads the file.
pub(super) fn read(file: &ConfigFile, names: &mut ResourceNames) -> Result<SchedulerConfig, Vec<Diagnostic>> {
    let tree = file.tree();
    if tree.get("data").is_none() && tree.get("kind").is_none() {
        return conf(file, names);
    }
    let data = Path::default().key("data");
    let Some((_, node)) = tree.get("data").and_then(|d| d.entry(CONFIG_KEY)) else {
        let message = format!("the ConfigMap has no configuration: `{CONFIG_KEY}` is missing");
        let hint = format!("add `{CONFIG_KEY}: |` with actions and tiers below `data:`");
        return Err(vec![file.diagnostic(&data, message, hint)]);
    };
    let Value::Scalar(text, Class::Text) = &node.value else {
        let message = format!("expected the text of a configuration, got {}", node.kind());
        return Err(vec![file.diagnostic(&data.key(CONFIG_KEY), message, "write `|` after the colon")]);
    };
    conf(&file.within(&data.key(CONFIG_KEY), text)?, names)
}

fn conf(file: &ConfigFile, names: &mut ResourceNames) -> Result<SchedulerConfig, Vec<Diagnostic>> {
    let spec: ConfSpec = file.decode(&Path::default())?;
    let mut r = Reader { file, names, errors: Vec::new(), notes: Vec::new() };
    let actions = r.actions(&spec.actions);
    let tiers = spec.tiers.iter().enumerate().map(|(i, tier)| r.tier(i, tier)).collect();
    let mut config = Config { actions, tiers, ..Config::default() };
    for (i, configuration) in spec.configurations.iter().enumerate() {
        r.configuration(i, configuration, &mut config);
    }
    if !spec.metrics.is_empty() {
        r.notes.push(
            "volcano-scheduler.conf: `metrics` feeds plugins that are not modelled; it has no effect"
                .to_owned(),
        );
    }
    if !r.errors.is_empty() {
        return Err(r.errors);
    }
    let mut out = SchedulerConfig { notes: r.notes, ..SchedulerConfig::default() };
    out.settings.volcano = Some(Box::new(config));
    Ok(out)
}

fn at(path: &Path, key: &str, index: usize) -> Path {
    path.key(key).child(Step::Index(index))
}

impl Reader<'_> {
    fn report(&mut self, path: &Path, message: impl Into<String>, hint: impl Into<String>) {
        self.errors.push(self.file.diagnostic(path, message, hint));
    }

    fn actions(&mut self, text: &str) -> Vec<ActionKind> {
        let path = Path::default().key("actions");
        let mut actions = Vec::new();
        for name in text.split(',').map(str::trim) {
            match name {
                "enqueue" => actions.push(ActionKind::Enqueue),
                "allocate" => actions.push(ActionKind::Allocate),
                "backfill" => actions.push(ActionKind::Backfill),
                _ if OTHER_ACTIONS.contains(&name) => {
                    self.report(
                        &path,
                        format!("not modelled: the action {name}"),
                        "leave it out to study the rest",
                    );
                }
                _ => {
                    let message = format!("Volcano refuses this: failed to find Action {name}");
                    self.report(&path, message, did_you_mean(name, &["enqueue", "allocate", "backfill"]));
                }
            }
        }
        actions
    }

    fn tier(&mut self, index: usize, tier: &TierSpec) -> Vec<Plugin> {
        let path = at(&Path::default(), "tiers", index);
        tier.plugins
            .iter()
            .enumerate()
            .filter_map(|(i, plugin)| self.plugin(&at(&path, "plugins", i), plugin))
            .collect()
    }

    fn plugin(&mut self, path: &Path, spec: &PluginSpec) -> Option<Plugin> {
        let mut arguments = Arguments { path: path.key("arguments"), values: spec.arguments.clone() };
        let kind = match spec.name.as_str() {
            "priority" => PluginKind::Priority,
            "gang" => PluginKind::Gang,
            "conformance" => PluginKind::Conformance,
            "pdb" => PluginKind::Pdb,
            "drf" => PluginKind::Drf,
            "proportion" => PluginKind::Proportion,
            "overcommit" => self.overcommit(&mut arguments),
            "predicates" => self.predicates(&mut arguments),
            "nodeorder" => self.node_order(&mut arguments),
            "binpack" => self.binpack(&mut arguments),
            name if OTHER_PLUGINS.contains(&name) => {
                self.report(
                    &path.key("name"),
                    format!("not modelled: the plugin {name}"),
                    "leave it out to study the rest",
                );
                return None;
            }
            name => {
                self.report(
                    &path.key("name"),
                    format!("Volcano has no plugin {name}"),
                    did_you_mean(name, &PLUGINS),
                );
                return None;
            }
        };
        for key in arguments.values.keys() {
            let message = format!("`{}` has no argument {key}, or it is not modelled", spec.name);
            let place = arguments.path.key(key);
            self.errors.push(self.file.diagnostic(&place, message, "leave it out"));
        }
        if spec.enable_hierarchy == Some(true) {
            self.report(
                &path.key("enableHierarchy"),
                "not modelled: drf over a hierarchy of queues",
                "leave it out",
            );
        }
        let on = |given: Option<bool>| given.unwrap_or(true);
        let enabled = Enabled {
            job_order: on(spec.enable_job_order),
            job_ready: on(spec.enable_job_ready),
            task_order: on(spec.enable_task_order),
            queue_order: on(spec.enable_queue_order),
            predicate: on(spec.enable_predicate),
            node_order: on(spec.enable_node_order),
            job_enqueued: on(spec.enable_job_enqueued),
            overused: on(spec.enabled_overused),
            allocatable: on(spec.enabled_allocatable),
        };
        Some(Plugin { kind, enabled })
    }

    fn overcommit(&mut self, arguments: &mut Arguments) -> PluginKind {
        let mut factor_ppm = OVERCOMMIT_PPM;
        if let Some((path, value)) = arguments.take("overcommit-factor") {
            match value.as_f64().filter(|factor| (0.0..=1000.0).contains(factor)) {
                // Below 1 Volcano warns and takes its default.
                Some(factor) if factor < 1.0 => {
                    self.notes.push(format!("overcommit-factor {factor} is below 1: Volcano takes 1.2"));
                }
                Some(factor) => factor_ppm = libm::round(factor * 1e6) as u64,
                None => self.report(&path, "expected a factor from 1 to 1000", "such as 1.2"),
            }
        }
        PluginKind::Overcommit { factor_ppm }
    }

    fn bool(&mut self, arguments: &mut Arguments, name: &str, into: &mut bool) {
        let Some((path, value)) = arguments.take(name) else { return };
        match value.as_bool() {
            Some(given) => *into = given,
            None => self.report(&path, "expected true or false", "write it without quotes"),
        }
    }

    fn int(&mut self, arguments: &mut Arguments, name: &str, into: &mut i64) {
        let Some((path, value)) = arguments.take(name) else { return };
        match value.as_i64().filter(|given| (-1_000_000..=1_000_000).contains(given)) {
            Some(given) => *into = given,
            None => self.report(&path, "expected a whole number", "such as 1"),
        }
    }

    fn predicates(&mut self, arguments: &mut Arguments) -> PluginKind {
        let mut p = Predicates::default();
        self.bool(arguments, "predicate.NodeAffinityEnable", &mut p.node_affinity);
        self.bool(arguments, "predicate.NodePortsEnable", &mut p.node_ports);
        self.bool(arguments, "predicate.TaintTolerationEnable", &mut p.taint_toleration);
        for name in [
            "predicate.PodAffinityEnable",
            "predicate.NodeVolumeLimitsEnable",
            "predicate.VolumeZoneEnable",
            "predicate.PodTopologySpreadEnable",
            "predicate.VolumeBindingEnable",
            "predicate.DynamicResourceAllocationEnable",
            "predicate.CacheEnable",
        ] {
            // No pod asks for what these filters look at: scenarios whose pods do are refused.
            self.bool(arguments, name, &mut false);
        }
        PluginKind::Predicates(p)
    }

    fn node_order(&mut self, arguments: &mut Arguments) -> PluginKind {
        let mut w = NodeOrder::default();
        self.int(arguments, "leastrequested.weight", &mut w.least_requested);
        self.int(arguments, "mostrequested.weight", &mut w.most_requested);
        self.int(arguments, "nodeaffinity.weight", &mut w.node_affinity);
        self.int(arguments, "balancedresource.weight", &mut w.balanced);
        self.int(arguments, "tainttoleration.weight", &mut w.taint_toleration);
        self.int(arguments, "imagelocality.weight", &mut w.image_locality);
        for name in ["podaffinity.weight", "podtopologyspread.weight"] {
            self.int(arguments, name, &mut 0);
        }
        PluginKind::NodeOrder(w)
    }

    fn binpack(&mut self, arguments: &mut Arguments) -> PluginKind {
        // A negative weight of a resource counts as 1.
        let weight = |given: i64| if given < 0 { 1 } else { given };
        let mut b = Binpack::default();
        self.int(arguments, "binpack.weight", &mut b.weight);
        self.int(arguments, "binpack.cpu", &mut b.cpu);
        self.int(arguments, "binpack.memory", &mut b.memory);
        (b.cpu, b.memory) = (weight(b.cpu), weight(b.memory));
        let listed = arguments.take("binpack.resources").and_then(|(_, v)| v.as_str().map(str::to_owned));
        for name in listed.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|n| !n.is_empty()) {
            let mut given = 1;
            self.int(arguments, &format!("binpack.resources.{name}"), &mut given);
            b.others.push((self.names.intern(name), weight(given)));
        }
        PluginKind::Binpack(b)
    }

    fn configuration(&mut self, index: usize, spec: &ConfigurationSpec, config: &mut Config) {
        let path = at(&Path::default(), "configurations", index);
        let mut arguments = Arguments { path: path.key("arguments"), values: spec.arguments.clone() };
        if !matches!(spec.name.as_str(), "enqueue" | "allocate" | "backfill") {
            self.report(
                &path.key("name"),
                format!("not modelled: arguments of the action {}", spec.name),
                "leave it out",
            );
            return;
        }
        if spec.name == "allocate" {
            self.bool(&mut arguments, "predicateErrorCacheEnable", &mut config.error_cache);
        } else {
            // Pods without requests have no role here.
            self.bool(&mut arguments, "predicateErrorCacheEnable", &mut false);
        }
        for key in arguments.values.keys() {
            let message = format!("`{}` has no argument {key}, or it is not modelled", spec.name);
            self.errors.push(self.file.diagnostic(&arguments.path.key(key), message, "leave it out"));
        }
    }
}

/// Arguments that were not asked for yet.
struct Arguments {
    path: Path,
    values: BTreeMap<String, serde_yaml::Value>,
}

impl Arguments {
    fn take(&mut self, name: &str) -> Option<(Path, serde_yaml::Value)> {
        self.values.remove(name).map(|value| (self.path.key(name), value))
    }
}
