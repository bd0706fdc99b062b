//! YuniKorn's own configuration, checked and with resources as numbers: what `queues.yaml` says of one partition.
//!
//! Types only, and what the core reads out of a queue's properties. The file's grammar and YuniKorn's checks of it are the
//! scenario's matter (`scenario/yunikorn_config.rs`); rules of placement are in [`placement`](super::placement), what
//! queues do with their settings in [`queues`](super::queues), limits in [`limits`](super::limits).
//!
//! Sources: `pkg/common/configs/config.go`, `Queue.UpdateQueueProperties`, `pkg/scheduler/policies` and
//! `pkg/common/security/acl.go` of yunikorn-core 1.8.
use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use crate::cluster::{PodSpec, Resources};
use crate::scheduler::AppSort;

/// Amounts of some resources; a resource that is not named has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Amounts {
    /// `vcore`, in millicores.
    pub cpu_millicores: Option<u64>,
    /// `memory`, in bytes.
    pub memory_bytes: Option<u64>,
    /// `pods`.
    pub pods: Option<u64>,
    /// Others by their id in the cluster's names, sorted.
    pub extended: Vec<(u16, u64)>,
}

impl Amounts {
    /// Whether no resource is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether some amount is above zero; otherwise YuniKorn takes the whole for not set.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        [self.cpu_millicores, self.memory_bytes, self.pods].iter().any(|v| v.is_some_and(|v| v > 0))
            || self.extended.iter().any(|(_, v)| *v > 0)
    }

    /// The amount of an extended resource, if named.
    #[must_use]
    pub fn extended(&self, id: u16) -> Option<u64> {
        self.extended.iter().find(|(i, _)| *i == id).map(|(_, v)| *v)
    }

    /// Whether, with `used` in use, one more pod of the spec stays within these amounts. A resource that the pod does
    /// not ask for, or that is not named, never goes past.
    #[must_use]
    pub fn has_room(&self, used: &Usage, spec: &PodSpec) -> bool {
        let fits =
            |max: Option<u64>, used: u64, more: u64| more == 0 || max.is_none_or(|max| used + more <= max);
        let r = &spec.requests;
        fits(self.cpu_millicores, used.cpu, r.cpu_millicores)
            && fits(self.memory_bytes, used.memory, r.memory_bytes)
            && fits(self.pods, used.pods, 1)
            && r.extended.iter().all(|(id, v)| fits(self.extended(*id), used.extended(*id), *v))
    }

    /// Whether `amount` pods' worth of requests stays within these amounts.
    #[must_use]
    pub fn holds(&self, amount: &Usage) -> bool {
        let fits = |max: Option<u64>, v: u64| v == 0 || max.is_none_or(|max| v <= max);
        fits(self.cpu_millicores, amount.cpu)
            && fits(self.memory_bytes, amount.memory)
            && fits(self.pods, amount.pods)
            && (0..).zip(&amount.extended).all(|(id, v)| fits(self.extended(id), *v))
    }
}

/// Resources in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Millicores.
    pub cpu: u64,
    /// Bytes.
    pub memory: u64,
    /// Pods.
    pub pods: u64,
    /// Extended resources by id; empty until one is used.
    pub extended: Vec<u64>,
}

impl Usage {
    /// Nothing.
    pub const NONE: Self = Self { cpu: 0, memory: 0, pods: 0, extended: Vec::new() };

    /// The amount of an extended resource.
    #[must_use]
    pub fn extended(&self, id: u16) -> u64 {
        self.extended.get(id as usize).copied().unwrap_or(0)
    }

    /// Adds a pod.
    pub fn add(&mut self, spec: &PodSpec) {
        self.cpu += spec.requests.cpu_millicores;
        self.memory += spec.requests.memory_bytes;
        self.pods += 1;
        for (id, v) in &spec.requests.extended {
            self.add_extended(*id, *v);
        }
    }

    /// Adds to an extended resource.
    pub fn add_extended(&mut self, id: u16, amount: u64) {
        let at = id as usize;
        if self.extended.len() <= at {
            self.extended.resize(at + 1, 0);
        }
        self.extended[at] = self.extended[at].saturating_add(amount);
    }

    /// Whether, with `used` of this in use, one more pod stays within it; a resource of which there is none at all does not
    /// count.
    #[must_use]
    pub fn has_room(&self, used: &Self, spec: &PodSpec) -> bool {
        let fits = |max: u64, used: u64, more: u64| more == 0 || max == 0 || used.saturating_add(more) <= max;
        let r = &spec.requests;
        fits(self.cpu, used.cpu, r.cpu_millicores)
            && fits(self.memory, used.memory, r.memory_bytes)
            && fits(self.pods, used.pods, 1)
            && r.extended.iter().all(|(id, v)| fits(self.extended(*id), used.extended(*id), *v))
    }

    /// Takes a pod off.
    pub fn remove(&mut self, spec: &PodSpec) {
        self.cpu -= spec.requests.cpu_millicores;
        self.memory -= spec.requests.memory_bytes;
        self.pods -= 1;
        for (id, v) in &spec.requests.extended {
            self.extended[*id as usize] -= v;
        }
    }

    /// Adds as many pods of a spec. A gang may ask for more than there can be: such sums stay at the largest number.
    pub fn add_many(&mut self, requests: &Resources, count: u64) {
        self.cpu = self.cpu.saturating_add(requests.cpu_millicores.saturating_mul(count));
        self.memory = self.memory.saturating_add(requests.memory_bytes.saturating_mul(count));
        self.pods += count;
        for (id, v) in &requests.extended {
            self.add_extended(*id, v.saturating_mul(count));
        }
    }
}

/// Who may submit to a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Acl {
    /// Everybody.
    pub all: bool,
    /// Users.
    pub users: BTreeSet<String>,
    /// Groups.
    pub groups: BTreeSet<String>,
}

impl Acl {
    /// Reads `users groups`, both separated by commas; `*` is everybody. Names that YuniKorn doesn't take for such are
    /// left out, as there.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut fields = text.split(' ');
        let users: Vec<&str> = fields.next().unwrap_or("").split(',').collect();
        let groups: Vec<&str> = fields.next().unwrap_or("").split(',').collect();
        if text.trim() == "*" || users == ["*"] || groups == ["*"] {
            return Self { all: true, ..Self::default() };
        }
        let letter = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        let begins = |name: &str| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let is_user = |name: &str| {
            begins(name)
                && name.strip_suffix('$').unwrap_or(name).chars().all(|c| letter(c) || ".@".contains(c))
        };
        let is_group = |name: &str| begins(name) && name.chars().all(letter);
        Self {
            all: false,
            users: users.into_iter().filter(|u| is_user(u)).map(str::to_owned).collect(),
            groups: groups.into_iter().filter(|g| is_group(g)).map(str::to_owned).collect(),
        }
    }

    /// Whether a user with these groups may.
    #[must_use]
    pub fn allows(&self, user: &str, groups: &[String]) -> bool {
        self.all || self.users.contains(user) || groups.iter().any(|g| self.groups.contains(g))
    }
}

/// A limit of users and groups in a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UserLimit {
    /// Users; `*` is every user that no other limit of the queue names, each for himself.
    pub users: Vec<String>,
    /// Groups; `*` is all other groups together.
    pub groups: Vec<String>,
    /// Most that may be in use.
    pub max: Amounts,
    /// Most applications that may run; 0: any number.
    pub max_applications: u64,
}

/// What a parent queue gives to the leaf queues that placement rules make below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Template {
    /// Most applications; 0: any number.
    pub max_applications: u64,
    /// Properties.
    pub properties: BTreeMap<String, String>,
    /// Guaranteed resources.
    pub guaranteed: Amounts,
    /// Maximum resources.
    pub max: Amounts,
}

/// A queue as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct QueueSettings {
    /// Its own name, in lower case.
    pub name: String,
    /// Whether it takes queues and no applications.
    pub parent: bool,
    /// Guaranteed resources.
    pub guaranteed: Amounts,
    /// Maximum resources.
    pub max: Amounts,
    /// Most applications that may run; 0: any number.
    pub max_applications: u64,
    /// Its own properties.
    pub properties: BTreeMap<String, String>,
    /// Who may submit.
    pub submit_acl: Acl,
    /// Who may administer, and submit.
    pub admin_acl: Acl,
    /// For queues made below it.
    pub template: Option<Template>,
    /// Limits of users and groups.
    pub limits: Vec<UserLimit>,
    /// Queues below it.
    pub queues: Vec<QueueSettings>,
}

/// What a placement rule goes by.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum RuleKind {
    /// A queue by name; `qualified` if it begins with the root.
    Fixed {
        /// Name in lower case.
        queue: String,
        /// Fully qualified.
        qualified: bool,
    },
    /// The queue that the application asks for.
    Provided,
    /// The user's name.
    User,
    /// A tag of the application, such as `namespace`.
    Tag(String),
}

/// Whether it is a queue's own name (`QueueNameRegExp`).
#[must_use]
pub fn is_queue_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "_:#/@-".contains(c))
}

/// A regular expression or a list of names.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub enum Names {
    /// One of these.
    List(BTreeSet<String>),
    /// Whatever matches.
    #[serde(with = "pattern_text")]
    Pattern(Regex),
}

/// A regular expression as its text.
mod pattern_text {
    use regex::Regex;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(pattern: &Regex, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(pattern.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Regex, D::Error> {
        Regex::new(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::List(BTreeSet::new())
    }
}

impl PartialEq for Names {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Pattern(a), Self::Pattern(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

impl Eq for Names {}

impl Names {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::List(names) => names.contains(name),
            Self::Pattern(pattern) => pattern.is_match(name),
        }
    }
}

/// Whom a rule is for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Filter {
    /// Whether those named are let through, or all others.
    pub allow: bool,
    /// Whether nobody is named: then all are treated alike.
    pub empty: bool,
    /// Users.
    pub users: Names,
    /// Groups.
    pub groups: Names,
}

impl Default for Filter {
    fn default() -> Self {
        Self { allow: true, empty: true, users: Names::default(), groups: Names::default() }
    }
}

impl Filter {
    /// Whether a user passes (`filter.go`).
    #[must_use]
    pub fn passes(&self, user: &str, groups: &[String]) -> bool {
        let named = self.empty || self.users.has(user) || groups.iter().any(|g| self.groups.has(g));
        named == self.allow
    }
}

/// A placement rule.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rule {
    /// What it goes by.
    pub kind: RuleKind,
    /// Whether the queue may be made.
    pub create: bool,
    /// Whom it is for.
    pub filter: Filter,
    /// The rule that finds the queue above.
    pub parent: Option<Box<Rule>>,
}

/// One partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// The root queue.
    pub root: QueueSettings,
    /// Placement rules in order; empty: the queue that is asked for, if it exists.
    pub rules: Vec<Rule>,
    /// Weights of resources in the order of nodes, as float64's bits; none: one each for vcore and memory.
    pub weights: Weights,
    /// `service.disableGangScheduling`: task groups are not looked at.
    pub disable_gang_scheduling: bool,
    /// `preemption.enabled: false`: no queue takes back from another what it is guaranteed.
    pub no_preemption: bool,
}

/// `preemption.policy` of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum PreemptionPolicy {
    /// Pods here may be victims, and asks here may look anywhere.
    #[default]
    Default,
    /// Asks here look for victims in this queue and below only.
    Fence,
    /// No pod of this leaf queue is a victim.
    Disabled,
}

/// How long an ask waits before it looks for victims (`DefaultPreemptionDelay`).
pub const PREEMPTION_DELAY_NS: u64 = 30_000_000_000;
/// How long an application is passed over (`DefaultAskBackOffDelay`).
pub const BACKOFF_DELAY_NS: u64 = 30_000_000_000;

/// Weights of resources (`nodesortpolicy.resourceweights`), as the bits of a float64; 0 = not looked at.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Weights {
    /// `vcore`.
    pub cpu: u64,
    /// `memory`.
    pub memory: u64,
    /// `pods`.
    pub pods: u64,
    /// Others by id.
    pub extended: Vec<(u16, u64)>,
}

impl Default for Weights {
    fn default() -> Self {
        Self { cpu: 1_f64.to_bits(), memory: 1_f64.to_bits(), pods: 0, extended: Vec::new() }
    }
}

/// What a queue's properties, inherited ones included, come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Properties {
    /// `application.sort.policy` (leaf queues).
    pub sort: AppSort,
    /// `application.sort.priority`.
    pub priority_sort: bool,
    /// `priority.offset`.
    pub priority_offset: i32,
    /// `priority.policy: fence`.
    pub priority_fence: bool,
    /// `preemption.policy`.
    pub preemption: PreemptionPolicy,
    /// `preemption.delay`, ns (leaf queues).
    pub preemption_delay_ns: u64,
    /// `application.unschedasks.backoff`: after so many asks that fit nowhere an application is passed over for a while;
    /// 0: never (leaf queues).
    pub backoff_asks: u64,
    /// `application.unschedasks.backoff.delay`, ns.
    pub backoff_delay_ns: u64,
}

impl Default for Properties {
    fn default() -> Self {
        Self {
            sort: AppSort::Fifo,
            priority_sort: true,
            priority_offset: 0,
            priority_fence: false,
            preemption: PreemptionPolicy::Default,
            preemption_delay_ns: PREEMPTION_DELAY_NS,
            backoff_asks: 0,
            backoff_delay_ns: BACKOFF_DELAY_NS,
        }
    }
}

/// Properties that are spans of time; here in nanoseconds.
pub const DURATIONS: [&str; 4] = [
    "preemption.delay",
    "application.unschedasks.backoff.delay",
    "preemption.quota.delay",
    "quota.preemption.delay",
];

impl Properties {
    /// Reads properties as YuniKorn does: a value that it can't read leaves the default. [`DURATIONS`] are
    /// numbers of nanoseconds.
    #[must_use]
    pub fn read(properties: &BTreeMap<String, String>) -> Self {
        let get = |name: &str| properties.get(name).map(String::as_str);
        let number = |name: &str| get(name).and_then(|v| v.parse::<u64>().ok());
        Self {
            // `stateaware` was removed in 1.6 and is an alias of `fifo` since.
            sort: if get("application.sort.policy") == Some("fair") { AppSort::Fair } else { AppSort::Fifo },
            priority_sort: !get("application.sort.priority")
                .is_some_and(|v| v.eq_ignore_ascii_case("disabled")),
            priority_offset: get("priority.offset").and_then(|v| v.parse().ok()).unwrap_or(0),
            priority_fence: get("priority.policy").is_some_and(|v| v.eq_ignore_ascii_case("fence")),
            preemption: match get("preemption.policy").map(str::to_lowercase).as_deref() {
                Some("fence") => PreemptionPolicy::Fence,
                Some("disabled") => PreemptionPolicy::Disabled,
                _ => PreemptionPolicy::Default,
            },
            preemption_delay_ns: number("preemption.delay").unwrap_or(PREEMPTION_DELAY_NS),
            backoff_asks: number("application.unschedasks.backoff").unwrap_or(0),
            backoff_delay_ns: number("application.unschedasks.backoff.delay").unwrap_or(BACKOFF_DELAY_NS),
        }
    }

    /// What a queue's pending priority counts for in the queue above (`priorityValueByPolicy`).
    #[must_use]
    pub fn outward(&self, priority: i32) -> i32 {
        match priority {
            i32::MIN => i32::MIN,
            _ if self.priority_fence => self.priority_offset,
            _ => priority.saturating_add(self.priority_offset),
        }
    }
}

/// The properties of a queue: those of the queue above, as far as they are passed on, and its own.
#[must_use]
pub fn inherit(
    parent: &BTreeMap<String, String>,
    own: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut merged: BTreeMap<String, String> = parent
        .iter()
        .map(|(key, value)| {
            let value = match key.as_str() {
                "priority.policy" => "default",
                "priority.offset" => "0",
                "preemption.policy" if !value.eq_ignore_ascii_case("disabled") => "default",
                _ => value,
            };
            (key.clone(), value.to_owned())
        })
        .collect();
    merged.extend(own.iter().map(|(k, v)| (k.clone(), v.clone())));
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    /// `queue.go`, filterParentProperty: priorities stay with the queue; only a disabled preemption goes down.
    #[test]
    fn some_properties_are_not_inherited() {
        let parent = properties(&[
            ("application.sort.policy", "fair"),
            ("priority.policy", "fence"),
            ("priority.offset", "5"),
            ("preemption.policy", "fence"),
        ]);
        let child = Properties::read(&inherit(&parent, &BTreeMap::new()));
        assert_eq!(child, Properties { sort: AppSort::Fair, ..Properties::default() });
        let own = properties(&[("priority.offset", "-3")]);
        assert_eq!(Properties::read(&inherit(&parent, &own)).priority_offset, -3);
        let disabled = properties(&[("preemption.policy", "Disabled")]);
        assert_eq!(inherit(&disabled, &BTreeMap::new())["preemption.policy"], "Disabled");
    }

    /// `priorityValueByPolicy`: a fence replaces, an offset adds without overflow, and the least priority stays it.
    #[test]
    fn priorities_go_out_by_policy() {
        let at = |priority_fence, priority_offset| Properties {
            priority_fence,
            priority_offset,
            ..Properties::default()
        };
        assert_eq!(at(false, 3).outward(4), 7);
        assert_eq!(at(false, 3).outward(i32::MAX), i32::MAX);
        assert_eq!(at(false, -3).outward(i32::MIN + 1), i32::MIN);
        assert_eq!(at(true, 3).outward(1000), 3);
        assert_eq!(at(true, 3).outward(i32::MIN), i32::MIN);
    }

    /// `acl_test.go`: users, groups, wildcards; names out of form are ignored.
    #[test]
    fn access_lists() {
        let groups = |g: &str| vec![g.to_owned()];
        assert!(Acl::parse("*").allows("any", &[]));
        assert!(Acl::parse(" *").allows("any", &[]));
        assert!(!Acl::parse("").allows("any", &[]));
        assert!(Acl::parse("user1,user2").allows("user2", &[]));
        assert!(!Acl::parse("user1,user2").allows("user3", &groups("user1")));
        assert!(Acl::parse("user1 group1").allows("user3", &groups("group1")));
        assert!(Acl::parse(" group1").allows("user3", &groups("group1")));
        assert!(!Acl::parse("1user").allows("1user", &[]));
    }
}
