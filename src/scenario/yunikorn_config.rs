//! YuniKorn's configuration as a cluster has it: a `queues.yaml`, or the ConfigMap `yunikorn-configs` with it inside.
//!
//! The file is read as YuniKorn 1.8 reads it (strictly: keys in lower case, no unknown ones) and checked as it checks it
//! (`pkg/common/configs/configvalidator.go`, `pkg/common/resources/quantity.go`, the rules' own checks in
//! `pkg/scheduler/placement`); where it would refuse the file, so do we, at the place, with what it would say. What
//! it takes but the model can't do is an error of its own that says so; what it takes and ignores is a note.
//!
//! Of the ConfigMap's other keys these count: `service.schedulingInterval`, `service.policyGroup`,
//! `service.disableGangScheduling`, `kubernetes.qps`, `kubernetes.burst`. The rest of `service.*` and all of `log.*`,
//! `event.*`, `health.*`, `admissionController.*` are read and have nothing to act on here: a configuration does not
//! change during a run, so hot refresh does nothing; images, volumes, identifiers and logs are not modelled; the admission
//! controller's labels are the scenario's own.
//!
//! Left out: several partitions, the LDAP and OS resolvers of groups (the scenario says who is in which group).
//!
//! Cost: O(queues x limits + queues x resources).
use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use super::config_file::{ConfigFile, SchedulerConfig};
use super::diagnostic::{Diagnostic, nearest};
use super::duration::DurationNs;
use super::tree::{Class, Node, Path, Step, Value};
use crate::cluster::ResourceNames;
use crate::scheduler::NodeSortPolicy;
use crate::scheduler::yunikorn::config::{
    Acl, Amounts, Config, DURATIONS, Filter, Names, QueueSettings, Rule, RuleKind, Template, UserLimit,
    Weights, is_queue_name,
};

/// Amounts by resource.
type Res = BTreeMap<String, u64>;

#[derive(Clone, Debug, Default)]
struct RawQueue {
    path: Path,
    name: String,
    parent: bool,
    guaranteed: Option<Res>,
    max: Option<Res>,
    max_applications: u64,
    properties: BTreeMap<String, String>,
    admin_acl: String,
    submit_acl: String,
    template: Option<RawTemplate>,
    queues: Vec<RawQueue>,
    limits: Vec<RawLimit>,
}

#[derive(Clone, Debug, Default)]
struct RawTemplate {
    max_applications: u64,
    properties: BTreeMap<String, String>,
    guaranteed: Res,
    max: Res,
}

#[derive(Clone, Debug, Default)]
struct RawLimit {
    path: Path,
    limit: String,
    users: Vec<String>,
    groups: Vec<String>,
    max: Res,
    max_applications: u64,
}

impl PartialEq for RawLimit {
    fn eq(&self, o: &Self) -> bool {
        (&self.limit, &self.users, &self.groups, &self.max, self.max_applications)
            == (&o.limit, &o.users, &o.groups, &o.max, o.max_applications)
    }
}

#[derive(Clone, Debug, Default)]
struct RawRule {
    path: Path,
    name: String,
    create: bool,
    filter: (String, Vec<String>, Vec<String>),
    parent: Option<Box<RawRule>>,
    value: String,
}

#[derive(Clone, Debug, Default)]
struct RawPartition {
    path: Path,
    name: String,
    queues: Option<Vec<RawQueue>>,
    rules: Vec<RawRule>,
    limits: Vec<RawLimit>,
    preemption: Option<bool>,
    policy: String,
    weights: BTreeMap<String, f64>,
}

/// `DefaultSchedulerConfig` of the core's `pkg/common/configs/config.go`: a queue for each namespace.
const DEFAULT: &str = "partitions:
  - name: default
    placementrules:
      - name: tag
        value: namespace
        create: true
    queues:
      - name: root
        submitacl: '*'
";

/// Reads a configuration; resources that the cluster does not know yet are added to its names.
pub(super) fn read(file: &ConfigFile, names: &mut ResourceNames) -> Result<SchedulerConfig, Vec<Diagnostic>> {
    let mut config = SchedulerConfig::default();
    let tree = file.tree();
    let is_map = tree.get("kind").is_some() || tree.get("data").is_some() || tree.get("apiVersion").is_some();
    if !is_map {
        return queues(file, names, false, &mut config).map(|()| config);
    }
    let mut outer = Reader::new(file);
    let (group, no_gangs) = outer.config_map(&mut config);
    config.notes.append(&mut outer.notes);
    let key = format!("{group}.yaml");
    let data = Path::default().key("data");
    let found = tree.get("data").and_then(|d| d.entry(&key)).map(|(_, node)| node);
    let is_empty = |node: &&Node| matches!(&node.value, Value::Scalar(text, class) if *class == Class::Null || text.is_empty());
    let Some(node) = found.filter(|node| !is_empty(node)) else {
        if !outer.errors.is_empty() {
            return Err(outer.errors);
        }
        // The shim hands an empty text to the core, which takes its own.
        config.notes.push(format!(
            "{data}: `{key}` is not there, or empty: the queues are those of YuniKorn's default"
        ));
        let inner = ConfigFile::parse("YuniKorn's default", DEFAULT)?;
        return queues(&inner, names, no_gangs, &mut config).map(|()| config);
    };
    let Value::Scalar(text, Class::Text) = &node.value else {
        let message = format!("expected the text of a queue configuration, got {}", node.kind());
        outer.errors.push(file.diagnostic(&data.key(&key), message, "write `|` after the colon"));
        return Err(outer.errors);
    };
    let inner = file.within(&data.key(&key), text)?;
    match queues(&inner, names, no_gangs, &mut config) {
        Ok(()) if outer.errors.is_empty() => Ok(config),
        Ok(()) => Err(outer.errors),
        Err(mut errors) => {
            outer.errors.append(&mut errors);
            Err(outer.errors)
        }
    }
}

/// Reads and checks the queues, and notes what they come to in `config`.
fn queues(
    file: &ConfigFile,
    names: &mut ResourceNames,
    disable_gang_scheduling: bool,
    config: &mut SchedulerConfig,
) -> Result<(), Vec<Diagnostic>> {
    let mut r = Reader::new(file);
    let partitions = r.partitions();
    if r.errors.is_empty()
        && let Some(partition) = r.validate(partitions)
    {
        let root = &partition.queues.as_deref().unwrap_or_default()[0];
        r.queue_properties(root);
        config.settings.node_sort_policy = match partition.policy.as_str() {
            "binpacking" => NodeSortPolicy::BinPacking,
            _ => NodeSortPolicy::Fair,
        };
        let rules: Vec<Option<Rule>> = partition.rules.iter().map(|rule| r.rule(rule)).collect();
        let weights = weights(&partition.weights, names);
        let root = queue(root, names);
        config.settings.yunikorn = Some(Box::new(Config {
            root,
            rules: rules.into_iter().flatten().collect(),
            weights,
            disable_gang_scheduling,
            no_preemption: partition.preemption == Some(false),
        }));
    }
    config.notes.append(&mut r.notes);
    if r.errors.is_empty() { Ok(()) } else { Err(r.errors) }
}

fn amounts(res: &Res, names: &mut ResourceNames) -> Amounts {
    let mut out = Amounts::default();
    for (name, value) in res {
        match name.as_str() {
            "vcore" => out.cpu_millicores = Some(*value),
            "memory" => out.memory_bytes = Some(*value),
            "pods" => out.pods = Some(*value),
            _ => out.extended.push((names.intern(extended_name(name)), *value)),
        }
    }
    out.extended.sort_unstable();
    out
}

/// A resource `cpu` of a queue is none that YuniKorn counts pods in; it must not meet the pods' own cpu.
fn extended_name(name: &str) -> &str {
    if name == "cpu" { "cpu (not vcore)" } else { name }
}

/// As `Queue.setResources` does: amounts that are all zero are not set.
fn set(amounts: Amounts) -> Amounts {
    if amounts.is_positive() { amounts } else { Amounts::default() }
}

fn weights(raw: &BTreeMap<String, f64>, names: &mut ResourceNames) -> Weights {
    if raw.is_empty() {
        return Weights::default();
    }
    let mut out = Weights { cpu: 0, memory: 0, pods: 0, extended: Vec::new() };
    for (name, weight) in raw {
        match name.as_str() {
            "vcore" => out.cpu = weight.to_bits(),
            "memory" => out.memory = weight.to_bits(),
            "pods" => out.pods = weight.to_bits(),
            _ => out.extended.push((names.intern(extended_name(name)), weight.to_bits())),
        }
    }
    out.extended.sort_unstable();
    out
}

/// Properties with spans of time as nanoseconds; YuniKorn takes the default instead of one that it can't read.
fn properties(raw: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let value = |(key, value): (&String, &String)| {
        let value = if DURATIONS.contains(&key.as_str()) {
            value.parse::<DurationNs>().ok().filter(|d| d.0 > 0)?.0.to_string()
        } else {
            value.clone()
        };
        Some((key.clone(), value))
    };
    raw.iter().filter_map(value).collect()
}

fn queue(raw: &RawQueue, names: &mut ResourceNames) -> QueueSettings {
    QueueSettings {
        name: raw.name.to_lowercase(),
        parent: raw.parent || !raw.queues.is_empty(),
        guaranteed: set(amounts(&raw.guaranteed.clone().unwrap_or_default(), names)),
        max: set(amounts(&raw.max.clone().unwrap_or_default(), names)),
        // The root's own settings of this kind are not read.
        max_applications: if raw.name.eq_ignore_ascii_case("root") { 0 } else { raw.max_applications },
        properties: properties(&raw.properties),
        submit_acl: Acl::parse(&raw.submit_acl),
        admin_acl: Acl::parse(&raw.admin_acl),
        template: raw.template.as_ref().map(|t| Template {
            max_applications: t.max_applications,
            properties: {
                let mut own = properties(&t.properties);
                own.retain(|k, v| !k.is_empty() && !v.is_empty());
                own
            },
            guaranteed: set(amounts(&t.guaranteed, names)),
            max: set(amounts(&t.max, names)),
        }),
        limits: raw
            .limits
            .iter()
            .map(|l| UserLimit {
                users: l.users.clone(),
                groups: l.groups.clone(),
                max: amounts(&l.max, names),
                max_applications: l.max_applications,
            })
            .collect(),
        queues: raw.queues.iter().map(|q| queue(q, names)).collect(),
    }
}

/// As Go prints a map of amounts.
fn shown(res: &Res) -> String {
    let list: Vec<String> = res.iter().map(|(k, v)| format!("{k}:{v}")).collect();
    format!("map[{}]", list.join(" "))
}

/// `FitInMaxUndef`: whether the smaller fits, where a resource that the larger does not name has no limit.
fn holds(larger: &Res, smaller: &Res) -> bool {
    smaller.iter().all(|(k, v)| larger.get(k).is_none_or(|max| v <= max))
}

fn least(a: &Res, b: &Res) -> Res {
    let mut out = a.clone();
    for (k, v) in b {
        out.entry(k.clone()).and_modify(|have| *have = (*have).min(*v)).or_insert(*v);
    }
    out
}

/// `ParseQuantity` and, for `vcore`, `ParseVCore`.
fn quantity(text: &str, milli: bool) -> Result<u64, &'static str> {
    const INVALID: &str = "invalid quantity";
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let suffix = suffix.trim_start();
    let mut letters = suffix.chars();
    let form = match (letters.next(), letters.next(), letters.next()) {
        (None, _, _) => true,
        (Some(c), second, None) => "mkKMGTPE".contains(c) && second.is_none_or(|s| s == 'i'),
        _ => false,
    };
    if number.is_empty() || !form {
        return Err(INVALID);
    }
    let scale: u128 = match suffix {
        "" => 1,
        "m" if milli => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "E" => 1_000_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        "Ei" => 1 << 60,
        _ => return Err("invalid suffix"),
    };
    let scale = if milli && suffix != "m" { scale * 1000 } else { scale };
    let number: i64 = number.parse().map_err(|_| "invalid quantity: overflow")?;
    let value = u128::try_from(number).unwrap_or(0).checked_mul(scale);
    value.and_then(|v| i64::try_from(v).ok()).map(i64::unsigned_abs).ok_or("invalid quantity: overflow")
}

fn begins(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

fn is_user(name: &str) -> bool {
    let body = name.strip_suffix('$').unwrap_or(name);
    begins(name) && body.chars().all(|c| c.is_ascii_alphanumeric() || ":#/_.@-".contains(c))
}

fn is_group(name: &str) -> bool {
    begins(name) && name.chars().all(|c| c.is_ascii_alphanumeric() || ":_.-".contains(c))
}

fn has_special(name: &str) -> bool {
    name.contains(['^', '$', '*', '+', '?', '(', ')', '[', '{', '}', '|'])
}

/// What a queue path of a placement rule is checked against the configured queues for.
enum PathCheck {
    Fine,
    Missing,
    NotLeaf,
    BelowLeaf(String),
}

fn check_path(
    path: &[&str],
    create: bool,
    dynamic: bool,
    queues: &[RawQueue],
    above: Option<&RawQueue>,
) -> PathCheck {
    let missing = if create { PathCheck::Fine } else { PathCheck::Missing };
    if queues.is_empty() {
        return match above {
            Some(above) if !above.parent => PathCheck::BelowLeaf(above.name.clone()),
            _ => missing,
        };
    }
    let Some(queue) = queues.iter().find(|q| q.name == path[0]) else { return missing };
    if path.len() == 1 {
        return if dynamic == queue.parent { PathCheck::Fine } else { PathCheck::NotLeaf };
    }
    check_path(&path[1..], create, dynamic, &queue.queues, Some(queue))
}

struct Reader<'a> {
    file: &'a ConfigFile,
    errors: Vec<Diagnostic>,
    notes: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(file: &'a ConfigFile) -> Self {
        Self { file, errors: Vec::new(), notes: Vec::new() }
    }

    /// An error that YuniKorn makes too, with its words.
    fn refuse(&mut self, path: &Path, message: impl Into<String>, says: impl AsRef<str>) {
        let hint = format!("YuniKorn refuses the file: {}", says.as_ref());
        self.errors.push(self.file.diagnostic(path, message, hint));
    }

    fn error(&mut self, path: &Path, message: impl Into<String>, hint: impl Into<String>) {
        self.errors.push(self.file.diagnostic(path, message, hint));
    }

    // ---- values as Go's YAML decoder takes them ----

    fn mismatch(&mut self, node: &Node, path: &Path, expected: &str, kind: &str) {
        let tag = match &node.value {
            Value::Scalar(text, Class::Int) => format!("!!int `{text}`"),
            Value::Scalar(text, Class::Float) => format!("!!float `{text}`"),
            Value::Scalar(text, Class::Bool) => format!("!!bool `{text}`"),
            Value::Scalar(text, _) => format!("!!str `{text}`"),
            Value::List(_) => "!!seq".to_owned(),
            Value::Map(_) => "!!map".to_owned(),
            Value::Reported => return,
        };
        let message = format!("expected {expected}, got {}", node.kind());
        self.refuse(path, message, format!("cannot unmarshal {tag} into {kind}"));
    }

    fn map<'n>(
        &mut self,
        node: &'n Node,
        path: &Path,
        kind: &str,
        known: &[&str],
    ) -> &'n [(super::tree::Key, Node)] {
        match &node.value {
            Value::Map(entries) => {
                for (key, _) in entries {
                    if !known.contains(&key.text.as_str()) {
                        let meant = nearest(&key.text.to_lowercase(), known.iter().copied());
                        let meant = meant.map_or_else(String::new, |m| format!(", perhaps `{m}`"));
                        let message = format!("unknown key: expected one of {}{meant}", known.join(", "));
                        let says = format!("field {} not found in type configs.{kind}", key.text);
                        self.refuse(&path.key(&key.text), message, says);
                    }
                }
                entries
            }
            _ if node.is_null() => &[],
            _ => {
                self.mismatch(node, path, "a mapping", &format!("configs.{kind}"));
                &[]
            }
        }
    }

    fn list<'n>(&mut self, node: &'n Node, path: &Path, kind: &str) -> &'n [Node] {
        if !matches!(node.value, Value::List(_)) && !node.is_null() {
            self.mismatch(node, path, "a list", &format!("[]{kind}"));
        }
        node.items()
    }

    fn string(&mut self, node: &Node, path: &Path) -> String {
        match &node.value {
            Value::Scalar(_, Class::Null) => String::new(),
            Value::Scalar(text, _) => text.clone(),
            _ => {
                self.mismatch(node, path, "a string", "string");
                String::new()
            }
        }
    }

    fn strings(&mut self, node: &Node, path: &Path) -> Vec<String> {
        let items = self.list(node, path, "string");
        let items = items.iter().enumerate();
        items.map(|(i, item)| self.string(item, &path.child(Step::Index(i)))).collect()
    }

    fn pairs(&mut self, node: &Node, path: &Path) -> BTreeMap<String, String> {
        if !matches!(node.value, Value::Map(_)) && !node.is_null() {
            self.mismatch(node, path, "a mapping", "map[string]string");
        }
        let entries = node.entries().iter();
        entries.map(|(key, value)| (key.text.clone(), self.string(value, &path.key(&key.text)))).collect()
    }

    fn count(&mut self, node: &Node, path: &Path) -> u64 {
        if let Value::Scalar(text, class) = &node.value {
            if *class == Class::Null {
                return 0;
            }
            if *class == Class::Int
                && let Ok(value) = text.parse()
            {
                return value;
            }
        }
        self.mismatch(node, path, "a whole number, zero or more", "uint64");
        0
    }

    fn boolean(&mut self, node: &Node, path: &Path) -> bool {
        if let Value::Scalar(text, class) = &node.value {
            match text.to_lowercase().as_str() {
                "true" | "yes" | "on" | "y" => return true,
                "false" | "no" | "off" | "n" => return false,
                _ if *class == Class::Null => return false,
                _ => {}
            }
        }
        self.mismatch(node, path, "true or false", "bool");
        false
    }

    fn resources(&mut self, node: &Node, path: &Path) -> Res {
        let mut out = Res::new();
        for (name, text) in self.pairs(node, path) {
            match quantity(&text, name == "vcore") {
                Ok(value) => {
                    if name == "cpu" {
                        self.notes.push(format!(
                            "{}: YuniKorn counts CPU as `vcore`; a resource `cpu` limits nothing",
                            path.key("cpu")
                        ));
                    }
                    out.insert(name, value);
                }
                Err(says) => {
                    let message = format!(
                        "expected a whole number with a suffix k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi or Ei{}, got `{text}`",
                        if name == "vcore" { ", or m" } else { "" }
                    );
                    self.refuse(&path.key(&name), message, says);
                }
            }
        }
        out
    }

    // ---- the file ----

    /// Reads the ConfigMap's own keys: the name of the queues' key, and whether gangs are switched off.
    fn config_map(&mut self, config: &mut SchedulerConfig) -> (String, bool) {
        let (mut group, mut no_gangs) = ("queues".to_owned(), false);
        let tree = self.file.tree();
        if let Some(kind) = tree.get("kind")
            && !matches!(&kind.value, Value::Scalar(text, _) if text == "ConfigMap")
        {
            let message = format!("expected a ConfigMap or a queues.yaml, got kind {}", kind.shown());
            self.error(
                &Path::default().key("kind"),
                message,
                "`kubectl get configmap yunikorn-configs -o yaml` shows it",
            );
        }
        let path = Path::default().key("data");
        let data = match tree.get("data") {
            Some(node) => self.pairs(node, &path),
            None => BTreeMap::new(),
        };
        for (key, value) in &data {
            let at = path.key(key);
            let number = |r: &mut Self| {
                let parsed = value.parse::<i32>().ok().filter(|v| *v >= 0);
                if parsed.is_none() {
                    let says = format!("strconv.ParseInt: parsing \"{value}\": invalid syntax");
                    r.refuse(&at, format!("expected a whole number, got `{value}`"), says);
                }
                parsed.map_or(0, i32::unsigned_abs)
            };
            let boolean = |r: &mut Self| match value.as_str() {
                "1" | "t" | "T" | "TRUE" | "true" | "True" => true,
                "0" | "f" | "F" | "FALSE" | "false" | "False" => false,
                _ => {
                    let says = format!("strconv.ParseBool: parsing \"{value}\": invalid syntax");
                    r.refuse(&at, format!("expected true or false, got `{value}`"), says);
                    false
                }
            };
            let duration = |r: &mut Self| match value.parse::<DurationNs>() {
                Ok(span) => span.0,
                Err(message) => {
                    r.refuse(&at, message, format!("time: invalid duration \"{value}\""));
                    0
                }
            };
            match key.as_str() {
                "service.policyGroup" => group.clone_from(value),
                "service.schedulingInterval" => {
                    config.settings.scheduling_interval_ns = duration(self);
                    if config.settings.scheduling_interval_ns == 0 && self.errors.is_empty() {
                        self.error(&at, "expected an interval above zero", "the default is 1s");
                    }
                }
                "service.disableGangScheduling" => no_gangs = boolean(self),
                "kubernetes.qps" => config.qps_milli = Some(u64::from(number(self)) * 1000),
                "kubernetes.burst" => config.burst = Some(number(self)),
                "service.enableConfigHotRefresh" | "admissionController.filtering.generateUniqueAppId" => {
                    boolean(self);
                }
                "service.volumeBindTimeout" | "service.dispatchTimeout" => {
                    duration(self);
                }
                "service.eventChannelCapacity" => {
                    if number(self) < 1_048_576 {
                        self.notes.push(format!("{at}: the dispatcher's channel is never full here"));
                    }
                }
                "service.clusterId" | "service.placeholderImage" | "service.nodeInstanceTypeNodeLabelKey" => {
                }
                _ if ["log.", "event.", "health.", "admissionController."]
                    .iter()
                    .any(|p| key.starts_with(p)) => {}
                _ if key.ends_with(".yaml") => {}
                _ => self.notes.push(format!("{at}: YuniKorn does not know this key and ignores it")),
            }
        }
        (group, no_gangs)
    }

    fn partitions(&mut self) -> Vec<RawPartition> {
        let root = Path::default();
        let mut list = Vec::new();
        for (key, node) in self.map(self.file.tree(), &root, "SchedulerConfig", &["partitions", "checksum"]) {
            if key.text != "partitions" {
                continue;
            }
            let path = root.key("partitions");
            for (i, item) in self.list(node, &path, "configs.PartitionConfig").iter().enumerate() {
                let at = path.child(Step::Index(i));
                list.push(self.partition(item, &at));
            }
        }
        list
    }

    fn partition(&mut self, node: &Node, path: &Path) -> RawPartition {
        let mut out = RawPartition { path: path.clone(), ..RawPartition::default() };
        let known = [
            "name",
            "queues",
            "placementrules",
            "limits",
            "preemption",
            "nodesortpolicy",
            "usergroupresolver",
        ];
        for (key, value) in self.map(node, path, "PartitionConfig", &known) {
            let at = path.key(&key.text);
            match key.text.as_str() {
                "name" => out.name = self.string(value, &at),
                "queues" if !value.is_null() => out.queues = Some(self.queue_list(value, &at)),
                "placementrules" => {
                    let items = self.list(value, &at, "configs.PlacementRule").iter().enumerate();
                    out.rules =
                        items.map(|(i, item)| self.raw_rule(item, &at.child(Step::Index(i)))).collect();
                }
                "limits" => out.limits = self.limits(value, &at),
                "preemption" => {
                    let known = ["enabled", "quotapreemptionenabled"];
                    for (key, value) in self.map(value, &at, "PartitionPreemptionConfig", &known) {
                        let flag = self.boolean(value, &at.key(&key.text));
                        match key.text.as_str() {
                            "enabled" if !value.is_null() => out.preemption = Some(flag),
                            _ if flag => {
                                self.notes.push(format!("{}: {QUOTA_PREEMPTION}", at.key(&key.text)))
                            }
                            _ => {}
                        }
                    }
                }
                "nodesortpolicy" => {
                    for (key, value) in
                        self.map(value, &at, "NodeSortingPolicy", &["type", "resourceweights"])
                    {
                        let at = at.key(&key.text);
                        match key.text.as_str() {
                            "type" => out.policy = self.string(value, &at),
                            "resourceweights" => out.weights = self.raw_weights(value, &at),
                            _ => {}
                        }
                    }
                }
                "usergroupresolver" => {
                    for (key, value) in self.map(value, &at, "UserGroupResolver", &["type"]) {
                        if !self.string(value, &at.key(&key.text)).is_empty() {
                            self.notes.push(format!(
                                "{at}: the scenario says who is in which group; nobody is asked"
                            ));
                        }
                    }
                }
                _ => {}
            }
        }
        out
    }

    fn raw_weights(&mut self, node: &Node, path: &Path) -> BTreeMap<String, f64> {
        let mut out = BTreeMap::new();
        for (name, text) in self.pairs(node, path) {
            let at = path.key(&name);
            match text.parse::<f64>() {
                Ok(weight) if weight.is_finite() => {
                    if weight < 0.0 {
                        let says = format!("negative resource weight for {name} is not allowed");
                        self.refuse(&at, format!("expected a weight of zero or more, got {text}"), says);
                    }
                    out.insert(name, weight);
                }
                _ => {
                    let says = format!("cannot unmarshal !!str `{text}` into float64");
                    self.refuse(&at, format!("expected a number, got `{text}`"), says);
                }
            }
        }
        out
    }

    fn queue_list(&mut self, node: &Node, path: &Path) -> Vec<RawQueue> {
        let items = self.list(node, path, "configs.QueueConfig").iter().enumerate();
        items.map(|(i, item)| self.raw_queue(item, &path.child(Step::Index(i)))).collect()
    }

    fn raw_queue(&mut self, node: &Node, path: &Path) -> RawQueue {
        let mut out = RawQueue { path: path.clone(), ..RawQueue::default() };
        let known = [
            "name",
            "parent",
            "resources",
            "maxapplications",
            "properties",
            "adminacl",
            "submitacl",
            "childtemplate",
            "queues",
            "limits",
        ];
        for (key, value) in self.map(node, path, "QueueConfig", &known) {
            let at = path.key(&key.text);
            match key.text.as_str() {
                "name" => out.name = self.string(value, &at),
                "parent" => out.parent = self.boolean(value, &at),
                "resources" => (out.guaranteed, out.max) = self.guaranteed_and_max(value, &at),
                "maxapplications" => out.max_applications = self.count(value, &at),
                "properties" => out.properties = self.pairs(value, &at),
                "adminacl" => out.admin_acl = self.string(value, &at),
                "submitacl" => out.submit_acl = self.string(value, &at),
                "childtemplate" => out.template = self.template(value, &at),
                "queues" => out.queues = self.queue_list(value, &at),
                "limits" => out.limits = self.limits(value, &at),
                _ => {}
            }
        }
        out
    }

    fn guaranteed_and_max(&mut self, node: &Node, path: &Path) -> (Option<Res>, Option<Res>) {
        let (mut guaranteed, mut max) = (None, None);
        for (key, value) in self.map(node, path, "Resources", &["guaranteed", "max"]) {
            let at = path.key(&key.text);
            match key.text.as_str() {
                "guaranteed" if !value.is_null() => guaranteed = Some(self.resources(value, &at)),
                "max" if !value.is_null() => max = Some(self.resources(value, &at)),
                _ => {}
            }
        }
        (guaranteed, max)
    }

    fn template(&mut self, node: &Node, path: &Path) -> Option<RawTemplate> {
        let mut out = RawTemplate::default();
        for (key, value) in
            self.map(node, path, "ChildTemplate", &["maxapplications", "properties", "resources"])
        {
            let at = path.key(&key.text);
            match key.text.as_str() {
                "maxapplications" => out.max_applications = self.count(value, &at),
                "properties" => out.properties = self.pairs(value, &at),
                "resources" => {
                    let (guaranteed, max) = self.guaranteed_and_max(value, &at);
                    (out.guaranteed, out.max) = (guaranteed.unwrap_or_default(), max.unwrap_or_default());
                }
                _ => {}
            }
        }
        let empty = out.max_applications == 0
            && out.properties.iter().all(|(k, v)| k.is_empty() || v.is_empty())
            && out.guaranteed.is_empty()
            && out.max.is_empty();
        (!empty).then_some(out)
    }

    fn limits(&mut self, node: &Node, path: &Path) -> Vec<RawLimit> {
        let mut list = Vec::new();
        for (i, item) in self.list(node, path, "configs.Limit").iter().enumerate() {
            let path = path.child(Step::Index(i));
            let mut out = RawLimit { path: path.clone(), ..RawLimit::default() };
            let known = ["limit", "users", "groups", "maxresources", "maxapplications"];
            for (key, value) in self.map(item, &path, "Limit", &known) {
                let at = path.key(&key.text);
                match key.text.as_str() {
                    "limit" => out.limit = self.string(value, &at),
                    "users" => out.users = self.strings(value, &at),
                    "groups" => out.groups = self.strings(value, &at),
                    "maxresources" => out.max = self.resources(value, &at),
                    "maxapplications" => out.max_applications = self.count(value, &at),
                    _ => {}
                }
            }
            list.push(out);
        }
        list
    }

    fn raw_rule(&mut self, node: &Node, path: &Path) -> RawRule {
        let mut out = RawRule { path: path.clone(), ..RawRule::default() };
        for (key, value) in
            self.map(node, path, "PlacementRule", &["name", "create", "filter", "parent", "value"])
        {
            let at = path.key(&key.text);
            match key.text.as_str() {
                "name" => out.name = self.string(value, &at),
                "create" => out.create = self.boolean(value, &at),
                "value" => out.value = self.string(value, &at),
                "parent" if !value.is_null() => out.parent = Some(Box::new(self.raw_rule(value, &at))),
                "filter" => {
                    for (key, value) in self.map(value, &at, "Filter", &["type", "users", "groups"]) {
                        let at = at.key(&key.text);
                        match key.text.as_str() {
                            "type" => out.filter.0 = self.string(value, &at),
                            "users" => out.filter.1 = self.strings(value, &at),
                            "groups" => out.filter.2 = self.strings(value, &at),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        out
    }

    // ---- what YuniKorn checks ----

    /// `configs.Validate`; the one partition that there may be here, with a root queue.
    fn validate(&mut self, partitions: Vec<RawPartition>) -> Option<RawPartition> {
        let mut names = BTreeSet::new();
        let mut valid = Vec::new();
        for mut partition in partitions {
            if partition.name.is_empty() || partition.name.eq_ignore_ascii_case("default") {
                partition.name = "default".to_owned();
            }
            if !names.insert(partition.name.to_lowercase()) {
                let says = format!("duplicate partition name found with name {}", partition.name);
                self.refuse(&partition.path.key("name"), "another partition has this name", says);
                continue;
            }
            self.structure(&mut partition);
            valid.push(partition);
        }
        let Some(first) = valid.first().cloned() else {
            if self.errors.is_empty() {
                let hint = "add `partitions:` with one named `default`, as YuniKorn's documentation shows";
                self.error(&Path::default(), "there is no partition: nothing could be scheduled", hint);
            }
            return None;
        };
        if let Some(other) = valid.iter().find(|p| p.name != "default") {
            let path = other.path.key("name");
            let message = format!("partition {}: only the partition `default` is modelled", other.name);
            self.error(
                &path,
                message,
                "the Kubernetes shim puts nodes and applications into `default` only; leave this out",
            );
        }
        Some(first)
    }

    fn structure(&mut self, partition: &mut RawPartition) {
        let queues_at = partition.path.key("queues");
        let Some(mut queues) = partition.queues.take() else {
            self.refuse(&partition.path, "required, but missing: queues", "queue config is not set");
            partition.queues = Some(vec![root_queue(&queues_at, Vec::new())]);
            return;
        };
        if queues.len() == 1 && queues[0].name.eq_ignore_ascii_case("root") {
            queues[0].parent = true;
        } else {
            queues = vec![root_queue(&queues_at, queues)];
        }
        let mut root = queues.remove(0);
        if root.guaranteed.is_some() || root.max.is_some() {
            let says = "root queue must not have resource limits set";
            self.refuse(&root.path.key("resources"), "the root's resources are those of the nodes", says);
        }
        if !partition.limits.is_empty() {
            if root.limits.is_empty() {
                root.limits.clone_from(&partition.limits);
            } else if root.limits != partition.limits {
                let says = "partition limits and root queue limits are not equivalent";
                self.refuse(&partition.path.key("limits"), "the root queue has other limits", says);
            }
        }
        self.check_queues(&root, 1);
        if self.errors.is_empty() {
            self.check_resources(&root, None);
            self.check_rules(partition, std::slice::from_ref(&root));
            if !["", "fair", "binpacking"].contains(&partition.policy.as_str()) {
                let says = format!("undefined policy: {}", partition.policy);
                let path = partition.path.key("nodesortpolicy").key("type");
                self.refuse(&path, "expected fair or binpacking", says);
            }
            self.check_max_applications(&root);
            self.check_limit_resources(&root, &BTreeMap::new(), &BTreeMap::new());
            self.check_limit_applications(&root, &BTreeMap::new(), &BTreeMap::new());
        }
        partition.queues = Some(vec![root]);
    }

    fn check_queues(&mut self, queue: &RawQueue, level: usize) {
        for (key, acl) in [("adminacl", &queue.admin_acl), ("submitacl", &queue.submit_acl)] {
            if acl.trim() != "*" && (acl.split_whitespace().count() > 2 || acl.split(' ').count() > 2) {
                let says = format!("multiple spaces found in ACL: '{acl}'");
                self.refuse(&queue.path.key(key), "expected users and groups with one space between", says);
            }
        }
        let (mut users, mut groups) = (BTreeSet::new(), BTreeSet::new());
        for limit in &queue.limits {
            self.check_limit(limit, &mut users, &mut groups, queue);
        }
        let mut seen = BTreeSet::new();
        for child in &queue.queues {
            let at = child.path.key("name");
            if !is_queue_name(&child.name) {
                let message = "expected 1 to 64 letters, digits or any of _ : # / @ -";
                let says = "invalid queue name, max 64 characters consisting of alphanumeric characters and '-', '_', '#', '@', '/', ':' allowed";
                self.refuse(&at, message, says);
            }
            if !seen.insert(child.name.to_lowercase()) {
                let says = format!("duplicate child name found with name '{}', level {level}", child.name);
                self.refuse(&at, "another queue of the same parent has this name", says);
            }
        }
        for child in &queue.queues {
            self.check_queues(child, level + 1);
        }
    }

    fn check_limit(
        &mut self,
        limit: &RawLimit,
        users: &mut BTreeSet<String>,
        groups: &mut BTreeSet<String>,
        queue: &RawQueue,
    ) {
        if limit.users.is_empty() && limit.groups.is_empty() {
            let says = format!(
                "empty user and group lists defined in limit '{{{} [] [] {} {}}}'",
                limit.limit,
                shown(&limit.max),
                limit.max_applications
            );
            self.refuse(&limit.path, "a limit needs users or groups", says);
        }
        for (what, list, seen) in [("user", &limit.users, users), ("group", &limit.groups, groups)] {
            let valid = if what == "user" { is_user } else { is_group };
            for (i, name) in list.iter().enumerate() {
                let at = limit.path.key(&format!("{what}s")).child(Step::Index(i));
                if name != "*" && !valid(name) {
                    let says = format!("invalid limit {what} name '{name}' in limit definition");
                    self.refuse(&at, format!("expected the name of a {what} or *"), says);
                    continue;
                }
                if !seen.insert(name.clone()) {
                    let exists = if what == "user" { ", already exists" } else { "" };
                    let says = format!("duplicated {what} name '{name}'{exists}");
                    self.refuse(&at, format!("another limit of this queue names this {what}"), says);
                    continue;
                }
                if seen.contains("*") && name != "*" {
                    let says =
                        format!("should not set no wildcard {what} {name} after wildcard {what} limit");
                    self.refuse(&at, "the limit of * must be the last one", says);
                }
            }
            if what == "group" && seen.len() == 1 && seen.contains("*") {
                let says = "should not specify only one group limit that is using the wildcard. There must be at least one limit with a group name defined";
                self.refuse(
                    &limit.path.key("groups"),
                    "the limit of all groups needs one of a named group before it",
                    says,
                );
            }
        }
        let at = limit.path.key("maxresources");
        if !limit.max.is_empty() && limit.max.values().all(|v| *v == 0) {
            let says = format!("MaxResources should be greater than zero in '{}' limit", limit.limit);
            self.refuse(&at, "expected an amount above zero", says);
        }
        if limit.max_applications == 0 && limit.max.is_empty() {
            let says = format!(
                "invalid resource combination for limit {} all resource limits are null",
                limit.limit
            );
            self.refuse(&limit.path, "a limit needs maxresources or maxapplications", says);
        }
        if queue.max_applications != 0 && queue.max_applications < limit.max_applications {
            let says = format!(
                "invalid MaxApplications settings for limit {} exceed current the queue MaxApplications",
                limit.limit
            );
            let message = format!("more applications than the queue's {}", queue.max_applications);
            self.refuse(&limit.path.key("maxapplications"), message, says);
        }
        if queue.name != "root" && !holds(queue.max.as_ref().unwrap_or(&Res::new()), &limit.max) {
            let says = format!(
                "invalid MaxResources settings for limit {} exeecd current the queue MaxResources",
                limit.limit
            );
            self.refuse(&at, "more than the queue's maximum", says);
        }
    }

    /// Returns what the queue guarantees: its own, or the sum of those below.
    fn check_resources(&mut self, queue: &RawQueue, parent_max: Option<&Res>) -> Res {
        let guaranteed = queue.guaranteed.clone().unwrap_or_default();
        let own_max = queue.max.clone().unwrap_or_default();
        let at = queue.path.key("resources");
        if !holds(&own_max, &guaranteed) {
            let (g, m) = (shown(&guaranteed), shown(&own_max));
            let says = format!(
                "guaranteed resource {g} is larger than maximum resource {m} for queue {}",
                queue.name
            );
            self.refuse(&at.key("guaranteed"), "more is guaranteed than the queue may use", says);
        }
        let parent = parent_max.cloned().unwrap_or_default();
        if !holds(&parent, &own_max) {
            let says = format!(
                "max resource of parent {} is smaller than maximum resource {} for queue {}",
                shown(&parent),
                shown(&own_max),
                queue.name
            );
            self.refuse(&at.key("max"), "more than the queue above may use", says);
        }
        let max = least(&own_max, &parent);
        let mut sum = Res::new();
        for child in &queue.queues {
            for (k, v) in self.check_resources(child, Some(&max)) {
                let total = sum.entry(k).or_default();
                *total = total.saturating_add(v);
            }
        }
        if !holds(&guaranteed, &sum) {
            let says = format!(
                "guaranteed resource of parent {} is smaller than sum of guaranteed resources {} of the children for queue {}",
                shown(&guaranteed),
                shown(&sum),
                queue.name
            );
            self.refuse(&at.key("guaranteed"), "less than the queues below are guaranteed together", says);
        }
        if !holds(&max, &sum) {
            let says = format!(
                "max resource {} is smaller than sum of guaranteed resources {} of the children for queue {}",
                shown(&max),
                shown(&sum),
                queue.name
            );
            self.refuse(&at.key("max"), "less than the queues below are guaranteed together", says);
        }
        if guaranteed.values().all(|v| *v == 0) { sum } else { guaranteed }
    }

    fn check_max_applications(&mut self, queue: &RawQueue) {
        for child in &queue.queues {
            let at = child.path.key("maxapplications");
            if queue.max_applications != 0 && queue.max_applications < child.max_applications {
                let says = "parent maxApplications must be larger than child maxApplications";
                self.refuse(
                    &at,
                    format!("more than the {} of the queue above", queue.max_applications),
                    says,
                );
            }
            if queue.max_applications != 0 && child.max_applications == 0 {
                let says = "maxApplications is either undefined or zero, which is not allowed when parent queue's maxApplications is defined";
                self.refuse(
                    &at,
                    format!("required, since the queue above has {}", queue.max_applications),
                    says,
                );
            }
            self.check_max_applications(child);
        }
    }

    fn check_limit_resources(
        &mut self,
        queue: &RawQueue,
        users: &BTreeMap<String, Res>,
        groups: &BTreeMap<String, Res>,
    ) {
        let (mut own_users, mut own_groups) = (users.clone(), groups.clone());
        for limit in &queue.limits {
            let lists = [
                ("user", &limit.users, users, &mut own_users),
                ("group", &limit.groups, groups, &mut own_groups),
            ];
            for (what, list, above, own) in lists {
                for name in list {
                    let mut max = limit.max.clone();
                    let (whose, wider) = match (above.get(name), above.get("*")) {
                        (Some(wider), _) => ("", Some(wider)),
                        (None, Some(wider)) if name != "*" => ("wildcard ", Some(wider)),
                        _ => ("", None),
                    };
                    if let Some(wider) = wider {
                        if !holds(wider, &limit.max) {
                            let says = if whose.is_empty() {
                                format!(
                                    "{what} {name} max resource {} of queue {} is greater than immediate or ancestor parent maximum resource {}",
                                    shown(&limit.max),
                                    queue.name,
                                    shown(wider)
                                )
                            } else {
                                format!(
                                    "{what} {name} max resource {} of queue {} is greater than wildcard maximum resource {} of immediate or ancestor parent queue",
                                    shown(&limit.max),
                                    queue.name,
                                    shown(wider)
                                )
                            };
                            let message = format!("more than a queue above allows {what} {name}");
                            self.refuse(&limit.path.key("maxresources"), message, says);
                        }
                        if whose.is_empty() {
                            max = least(&max, wider);
                        }
                    }
                    own.insert(name.clone(), max);
                }
            }
        }
        for child in &queue.queues {
            self.check_limit_resources(child, &own_users, &own_groups);
        }
    }

    fn check_limit_applications(
        &mut self,
        queue: &RawQueue,
        users: &BTreeMap<String, u64>,
        groups: &BTreeMap<String, u64>,
    ) {
        let (mut own_users, mut own_groups) = (users.clone(), groups.clone());
        for limit in &queue.limits {
            let most = limit.max_applications;
            let lists = [
                ("user", &limit.users, users, &mut own_users),
                ("group", &limit.groups, groups, &mut own_groups),
            ];
            for (what, list, above, own) in lists {
                for name in list {
                    let (whose, wider) = match (above.get(name), above.get("*")) {
                        (Some(wider), _) => ("immediate or ancestor parent max applications", *wider),
                        (None, Some(wider)) if name != "*" => ("wildcard max applications", *wider),
                        _ => ("", 0),
                    };
                    if wider != 0 && (wider < most || most == 0) {
                        let end = if whose.starts_with('w') {
                            " of immediate or ancestor parent queue"
                        } else {
                            ""
                        };
                        let says = format!(
                            "{what} {name} max applications {most} of queue {} is greater than {whose} {wider}{end}",
                            queue.name
                        );
                        let message = format!("a queue above allows {what} {name} no more than {wider}");
                        self.refuse(&limit.path.key("maxapplications"), message, says);
                    }
                    own.insert(name.clone(), most);
                }
            }
        }
        for child in &queue.queues {
            self.check_limit_applications(child, &own_users, &own_groups);
        }
    }

    fn check_rules(&mut self, partition: &RawPartition, queues: &[RawQueue]) {
        for rule in &partition.rules {
            self.check_rule(rule);
        }
        for (number, rule) in partition.rules.iter().enumerate() {
            let mut chain: Vec<&RawRule> = vec![rule];
            while let Some(parent) = &chain[chain.len() - 1].parent {
                chain.push(parent);
            }
            chain.reverse();
            let names: Vec<&str> = chain.iter().map(|r| r.name.as_str()).collect();
            let (mut path, mut dynamic) = (String::new(), false);
            for r in &chain {
                if dynamic {
                    continue;
                }
                if r.name != "fixed" {
                    dynamic = true;
                    if path.is_empty() {
                        "<dynamic>".clone_into(&mut path);
                    }
                } else if r.value.starts_with("root") {
                    if !path.is_empty() {
                        let says = format!("illegal fully qualified 'fixed' rule with value {}", r.value);
                        let message = "only the uppermost rule may begin at the root";
                        self.refuse(&r.path.key("value"), message, says);
                        return;
                    }
                    path.clone_from(&r.value);
                } else {
                    path = if path.is_empty() {
                        format!("root.{}", r.value)
                    } else {
                        format!("{path}.{}", r.value)
                    };
                }
            }
            if !path.starts_with("root") {
                continue;
            }
            let lower = path.to_lowercase();
            let parts: Vec<&str> = lower.split('.').collect();
            let names = names.join("->");
            let (message, says) = match check_path(&parts, rule.create, dynamic, queues, None) {
                PathCheck::Fine => continue,
                PathCheck::NotLeaf => {
                    let kind = if dynamic {
                        "not marked as a parent queue (`parent: true`)"
                    } else {
                        "a parent queue"
                    };
                    (
                        format!("{path} is {kind}"),
                        format!(
                            "placement rule no. #{number} ({names}) references a queue ({path}) which is not a leaf"
                        ),
                    )
                }
                PathCheck::Missing => (
                    format!("there is no queue {path}, and the rule does not create it"),
                    format!(
                        "placement rule no. #{number} ({names}) references non-existing queues ({path}) and create is 'false'"
                    ),
                ),
                PathCheck::BelowLeaf(leaf) => (
                    format!("{path} would be below the leaf queue {leaf}"),
                    format!(
                        "placement rule no. #{number} ({names}) references non-existing queues ({path}) which cannot be created because the last queue ({leaf}) in the hierarchy is a leaf"
                    ),
                ),
            };
            self.refuse(&rule.path, message, says);
        }
    }

    fn check_rule(&mut self, rule: &RawRule) {
        if !begins(&rule.name) || !rule.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let says = format!("invalid rule name {}, a name must be a valid identifier", rule.name);
            self.refuse(&rule.path.key("name"), "expected fixed, provided, user or tag", says);
        }
        if let Some(parent) = &rule.parent {
            self.check_rule(parent);
        }
        let at = rule.path.key("filter");
        let (kind, users, groups) = &rule.filter;
        if !["", "allow", "deny"].contains(&kind.to_lowercase().as_str()) {
            let says =
                format!("invalid rule filter type {kind}, filter type  must be either '', allow or deny");
            self.refuse(&at.key("type"), "expected allow or deny", says);
        }
        for (what, list) in [("user", users), ("group", groups)] {
            let valid = if what == "user" { is_user } else { is_group };
            if let [name] = list.as_slice()
                && !valid(name)
                && (Regex::new(name).is_err() || !has_special(name))
            {
                let says =
                    format!("invalid rule filter {what} list is not a proper list or regexp: [{name}]");
                let message = format!("expected names of {what}s, or one regular expression");
                self.refuse(&at.key(&format!("{what}s")), message, says);
            }
        }
    }

    // ---- what the rules themselves refuse, and what the model lacks ----

    /// Such an error leaves YuniKorn without any rule: it runs, and rejects every application.
    fn dead_rule(&mut self, path: &Path, message: impl Into<String>, says: impl AsRef<str>) {
        let hint =
            format!("YuniKorn would run without any rule and reject every application: {}", says.as_ref());
        self.errors.push(self.file.diagnostic(path, message, hint));
    }

    fn rule(&mut self, raw: &RawRule) -> Option<Rule> {
        let value = raw.value.to_lowercase();
        let kind = match raw.name.to_lowercase().as_str() {
            "user" => RuleKind::User,
            "provided" => RuleKind::Provided,
            "fixed" => {
                let at = raw.path.key("value");
                if value.is_empty() {
                    self.dead_rule(
                        &at,
                        "required, but missing: the queue",
                        "a fixed queue rule must have a queue name set",
                    );
                } else if !value.split('.').all(is_queue_name) {
                    self.dead_rule(&at, format!("`{value}` is no queue name"), "invalid queue name");
                }
                let qualified = value.starts_with("root");
                if qualified && raw.parent.is_some() {
                    let says =
                        "cannot have a fixed queue rule with qualified queue getName and a parent rule";
                    self.dead_rule(
                        &raw.path.key("parent"),
                        "a queue that begins at the root has no parent rule",
                        says,
                    );
                }
                RuleKind::Fixed { queue: value, qualified }
            }
            "tag" => {
                if value.is_empty() {
                    let says = "a tag queue rule must have a tag name set";
                    self.dead_rule(&raw.path.key("value"), "required, but missing: the tag", says);
                } else if value != "namespace" {
                    self.notes.push(format!(
                        "{}: applications of a scenario have the tag `namespace` only; this rule matches none",
                        raw.path
                    ));
                }
                RuleKind::Tag(value)
            }
            "recovery" => {
                let says = "recovery rule cannot be part of the config, failing placement rule config";
                self.dead_rule(&raw.path.key("name"), "expected fixed, provided, user or tag", says);
                return None;
            }
            _ => {
                let says = format!("unknown rule name specified {}, failing placement rule config", raw.name);
                self.dead_rule(&raw.path.key("name"), "expected fixed, provided, user or tag", says);
                return None;
            }
        };
        let parent = match &raw.parent {
            Some(parent) => Some(Box::new(self.rule(parent)?)),
            None => None,
        };
        let (kind_of_filter, users, groups) = &raw.filter;
        let filter = Filter {
            // Only the exact word denies, although the check takes any case.
            allow: kind_of_filter != "deny",
            empty: users.is_empty() && groups.is_empty(),
            users: names(users, is_user),
            groups: names(groups, is_group),
        };
        if kind_of_filter != "deny" && kind_of_filter.eq_ignore_ascii_case("deny") {
            let at = raw.path.key("filter").key("type");
            self.notes.push(format!("{at}: YuniKorn takes `{kind_of_filter}` for allow; only `deny` denies"));
        }
        Some(Rule { kind, create: raw.create, filter, parent })
    }

    fn queue_properties(&mut self, queue: &RawQueue) {
        self.properties(&queue.properties, &queue.path.key("properties"));
        if let Some(template) = &queue.template {
            let at = queue.path.key("childtemplate").key("properties");
            self.properties(&template.properties, &at);
        }
        for child in &queue.queues {
            self.queue_properties(child);
        }
    }

    fn properties(&mut self, properties: &BTreeMap<String, String>, path: &Path) {
        const KNOWN: [&str; 10] = [
            "application.sort.policy",
            "application.sort.priority",
            "application.unschedasks.backoff",
            "application.unschedasks.backoff.delay",
            "priority.policy",
            "priority.offset",
            "preemption.policy",
            "preemption.delay",
            "preemption.quota.delay",
            "quota.preemption.delay",
        ];
        for (key, value) in properties {
            let at = path.key(key);
            let lower = value.to_lowercase();
            let fine = match key.as_str() {
                "application.sort.policy" if value == "stateaware" => {
                    self.notes
                        .push(format!("{at}: stateaware was removed from YuniKorn; it takes fifo instead"));
                    true
                }
                "application.sort.policy" => ["", "fifo", "fair"].contains(&value.as_str()),
                "application.sort.priority" => ["enabled", "disabled"].contains(&lower.as_str()),
                "priority.policy" => ["", "default", "fence"].contains(&lower.as_str()),
                "priority.offset" => value.parse::<i32>().is_ok(),
                "preemption.policy" => ["", "default", "fence", "disabled"].contains(&lower.as_str()),
                // 1.9 has renamed the third.
                key if DURATIONS.contains(&key) => value.parse::<DurationNs>().is_ok_and(|d| d.0 > 0),
                "application.unschedasks.backoff" => value.parse::<u64>().is_ok(),
                _ => {
                    let meant =
                        nearest(key, KNOWN).map_or_else(String::new, |m| format!(" (perhaps `{m}`?)"));
                    self.notes
                        .push(format!("{at}: YuniKorn does not know this property and ignores it{meant}"));
                    true
                }
            };
            if !fine {
                self.notes.push(format!("{at}: YuniKorn can't read `{value}` and takes the default"));
            } else if ["preemption.quota.delay", "quota.preemption.delay"].contains(&key.as_str()) {
                self.notes.push(format!("{at}: {QUOTA_PREEMPTION}"));
            }
        }
    }
}

/// v1.8.0 `setPreemptionTime`: the delay begins where a new configuration has a lower maximum, or a delay for the first time.
const QUOTA_PREEMPTION: &str = "changes nothing: YuniKorn preempts for a quota when the `max` of a queue is lowered, or the delay is set, while it \
                                runs, and the configuration of a run does not change";

fn root_queue(path: &Path, queues: Vec<RawQueue>) -> RawQueue {
    RawQueue { path: path.clone(), name: "root".to_owned(), parent: true, queues, ..RawQueue::default() }
}

/// `newFilter`: one entry with special characters is a regular expression; entries that are no names are left out.
fn names(list: &[String], valid: fn(&str) -> bool) -> Names {
    if let [one] = list
        && has_special(one)
        && let Ok(pattern) = Regex::new(one)
    {
        return Names::Pattern(pattern);
    }
    Names::List(list.iter().filter(|name| valid(name)).cloned().collect())
}
