//! YuniKorn's queue hierarchy: which leaf queue comes first, and what it may still use.
//!
//! Parents order their children that have pending asks by priority and then by fair share, or, with
//! `application.sort.priority: disabled`, the other way round. The fair share is the largest over the resources in use:
//! what is in use of what is guaranteed, else of what the queue or the nearest queue above may use at most, else of the
//! whole cluster. A queue's priority is the highest of its pending asks, or, of a parent, of its children, plus
//! its `priority.offset`; with `priority.policy: fence` it is the offset alone. Leaves order applications by submission
//! (FIFO, the default) or by fair share, see [`apps`](super::apps). A queue's headroom is the least, over it and its
//! ancestors, of maximum less allocated; the root's maximum is the sum of the nodes (`queue.go`, `sorters.go`).
//!
//! Queues come from the scenario, from a configuration, or from placement rules: a queue made by a rule is a leaf,
//! takes nothing from the queue above but its child template, and its parents, if made too, hand that template down.
//! Without a configuration a queue that nothing names is made as a leaf with the defaults.
//!
//! In each leaf the pending asks are grouped by pod spec into [`Kind`]s: whether an ask can be placed depends on
//! its spec and on nothing else, so a kind that fits nowhere is set aside as a whole until something changes. Where limits
//! of users or of applications count, a kind is of one owner, and of applications that all run or all wait to run.
//!
//! Left out: the tie-break of equal queues by pending resources (it is no total order; ours is the order of creation),
//! removal of queues that have fallen empty.
//!
//! Cost: O(log kinds + sqrt(applications)) a change of an ask; O(children log children) a parent a cycle, and O(kinds) for a leaf whose
//! pending asks have changed.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use super::apps::AppKey;
pub use super::config::Usage;
use super::config::{Acl, Amounts, Config, Properties, QueueSettings, Template, UserLimit, inherit};
use super::ranked::Ranked;
use crate::cluster::{AppId, PodSpec, SpecId};
use crate::scheduler::QueueConfig;

/// Index of a queue.
pub type QueueId = u32;
/// The root.
pub const ROOT: QueueId = 0;
const RECOVERY_QUEUE: &str = "root.@recovery@";

/// The pending asks of one spec in a leaf queue.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Kind {
    /// The spec.
    pub spec: SpecId,
    /// Applications in order, weighted by asks.
    pub apps: Ranked<AppKey>,
    /// No node takes it.
    pub stuck: bool,
    /// It was found not to fit in the headroom of the queue or of its owner.
    pub over_quota: bool,
    /// Its applications have not begun, and no more may.
    pub no_slot: bool,
    /// Owner, times two, plus whether its applications have not begun.
    pub class: u32,
}

/// A queue.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Queue {
    /// Full name.
    pub name: String,
    /// The queue above.
    pub parent: Option<QueueId>,
    /// Queues below; a leaf has none.
    pub children: Vec<QueueId>,
    /// It is configured to take queues only.
    is_parent: bool,
    /// What its properties come to.
    pub properties: Properties,
    own_properties: BTreeMap<String, String>,
    /// Guaranteed.
    pub guaranteed: Amounts,
    /// Maximum.
    pub max: Amounts,
    /// Most applications that may run; 0: any number.
    pub max_applications: u64,
    /// Applications that run.
    pub running: u64,
    /// Limits of users and groups.
    pub limits: Vec<UserLimit>,
    template: Option<Template>,
    submit: Acl,
    admin: Acl,
    /// In use, queues below included.
    pub allocated: Usage,
    /// Pending asks, queues below included.
    pub pending: u64,
    /// Applications that have pending or allocated asks.
    pub live_apps: u64,
    /// Pending asks by spec.
    pub kinds: Vec<Kind>,
    /// Applications that could put a pod in the place of a placeholder, in order.
    pub swaps: BTreeSet<AppKey>,
    /// Asks that wait for a placeholder's place, by priority.
    pub held: BTreeMap<i32, u64>,
    /// Kinds that have asks, but none that may be placed now.
    pub aside: BTreeSet<u32>,
    /// Applications that have pending asks, in order; kept where applications back off only.
    pub apps: BTreeSet<AppKey>,
    /// Applications with reservations, in the order of their first one.
    pub reserved_apps: Vec<AppId>,
    /// Being preempted, queues below included.
    pub preempting: Usage,
    /// Priority as the queue above sees it, until the pending asks change.
    #[serde(skip)]
    priority: Option<i32>,
    #[serde(with = "crate::engine::codec::sorted")]
    kind_of: FxHashMap<(SpecId, u32), u32>,
    /// First application of each kind that may be placed.
    heads: BTreeSet<(AppKey, u32)>,
}

impl Queue {
    fn new(name: String, parent: Option<QueueId>) -> Self {
        Self {
            name,
            parent,
            children: Vec::new(),
            is_parent: false,
            properties: Properties::default(),
            own_properties: BTreeMap::new(),
            guaranteed: Amounts::default(),
            max: Amounts::default(),
            max_applications: 0,
            running: 0,
            limits: Vec::new(),
            template: None,
            submit: Acl::default(),
            admin: Acl::default(),
            allocated: Usage::default(),
            pending: 0,
            live_apps: 0,
            kinds: Vec::new(),
            swaps: BTreeSet::new(),
            held: BTreeMap::new(),
            priority: None,
            aside: BTreeSet::new(),
            apps: BTreeSet::new(),
            reserved_apps: Vec::new(),
            preempting: Usage::NONE,
            kind_of: FxHashMap::default(),
            heads: BTreeSet::new(),
        }
    }

    /// Whether it takes applications.
    #[must_use]
    pub fn is_leaf(&self) -> bool {
        !self.is_parent && self.children.is_empty()
    }

    /// The kind of a spec and whether it is new.
    pub fn kind(&mut self, spec: SpecId, class: u32, stuck: bool) -> (u32, bool) {
        if let Some(kind) = self.kind_of.get(&(spec, class)) {
            return (*kind, false);
        }
        let at = u32::try_from(self.kinds.len()).expect("as many as specs");
        let apps = Ranked::default();
        self.kinds.push(Kind { spec, apps, stuck, over_quota: false, no_slot: false, class });
        self.kind_of.insert((spec, class), at);
        (at, true)
    }

    /// Adds asks of a kind to an application, or takes them off.
    pub fn add_asks(&mut self, kind: u32, key: AppKey, delta: i64) {
        self.change(kind, |k| k.apps.add(key, delta));
    }

    /// Sets a kind aside or takes it back.
    pub fn set_stuck(&mut self, kind: u32, stuck: bool) {
        self.change(kind, |k| k.stuck = stuck);
    }

    /// Marks a kind as too large for the headroom, or unmarks it.
    pub fn set_over_quota(&mut self, kind: u32, over_quota: bool) {
        self.change(kind, |k| k.over_quota = over_quota);
    }

    /// Marks a kind as one whose applications may not begin, or unmarks it.
    pub fn set_no_slot(&mut self, kind: u32, no_slot: bool) {
        self.change(kind, |k| k.no_slot = no_slot);
    }

    fn change(&mut self, kind: u32, change: impl FnOnce(&mut Kind)) {
        let free = |k: &Kind| !(k.stuck || k.over_quota || k.no_slot);
        let head = |k: &Kind| if free(k) { k.apps.first() } else { None };
        let aside = |k: &Kind| !free(k) && k.apps.total() > 0;
        let at = &mut self.kinds[kind as usize];
        let (before, was_aside) = (head(at), aside(at));
        change(at);
        let (after, is_aside) = (head(at), aside(at));
        if is_aside && !was_aside {
            self.aside.insert(kind);
        } else if was_aside && !is_aside {
            self.aside.remove(&kind);
        }
        if before != after {
            if let Some(key) = before {
                self.heads.remove(&(key, kind));
            }
            if let Some(key) = after {
                self.heads.insert((key, kind));
            }
        }
    }

    /// The first application that has an ask which may be placed.
    pub fn first_app(&self) -> Option<AppKey> {
        self.heads.first().map(|(key, _)| *key)
    }
}

/// All queues.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Queues {
    list: Vec<Queue>,
    by_name: BTreeMap<String, QueueId>,
    /// Sum of the nodes' allocatable: the root's maximum. None: to be summed up.
    pub cluster: Option<Usage>,
    /// A configuration says which queues there are.
    configured: bool,
    /// Some queue limits how many applications run.
    pub counts_applications: bool,
    /// Some queue has limits of users or groups.
    pub has_limits: bool,
}

impl Queues {
    /// The scenario's queues under a root.
    #[must_use]
    pub fn new(configs: &[QueueConfig]) -> Self {
        let mut queues = Self::root();
        for config in configs {
            let at = queues.find_or_make(&config.name) as usize;
            let queue = &mut queues.list[at];
            let amounts = |list: Option<(u64, u64)>| {
                let known = |v: u64| (v != u64::MAX).then_some(v);
                list.map_or_else(Amounts::default, |(cpu, memory)| Amounts {
                    cpu_millicores: known(cpu),
                    memory_bytes: known(memory),
                    ..Amounts::default()
                })
            };
            queue.properties.sort = config.sort;
            queue.guaranteed = amounts(config.guaranteed);
            queue.max = amounts(config.max);
        }
        queues
    }

    fn root() -> Self {
        let mut queues = Self {
            list: vec![Queue::new("root".to_owned(), None)],
            by_name: BTreeMap::new(),
            cluster: None,
            configured: false,
            counts_applications: false,
            has_limits: false,
        };
        queues.by_name.insert("root".to_owned(), ROOT);
        queues
    }

    /// The queues of a configuration.
    #[must_use]
    pub fn configured(config: &Config) -> Self {
        let mut queues = Self::root();
        queues.configured = true;
        queues.apply(ROOT, &config.root);
        queues
    }

    fn apply(&mut self, at: QueueId, settings: &QueueSettings) {
        let above = self.get(at).parent;
        let own = match above {
            Some(parent) => inherit(&self.get(parent).own_properties, &settings.properties),
            None => settings.properties.clone(),
        };
        let inherited = above.and_then(|parent| self.get(parent).template.clone());
        let queue = self.get_mut(at);
        queue.is_parent = settings.parent || above.is_none();
        queue.properties = Properties::read(&own);
        queue.own_properties = own;
        queue.guaranteed.clone_from(&settings.guaranteed);
        queue.max.clone_from(&settings.max);
        queue.max_applications = settings.max_applications;
        queue.limits.clone_from(&settings.limits);
        queue.submit = settings.submit_acl.clone();
        queue.admin = settings.admin_acl.clone();
        if queue.is_parent {
            queue.template = settings.template.clone().or(inherited);
        }
        self.has_limits |= !settings.limits.is_empty();
        self.counts_applications |= settings.max_applications > 0
            || settings.limits.iter().any(|l| l.max_applications > 0)
            || settings.template.as_ref().is_some_and(|t| t.max_applications > 0);
        for child in &settings.queues {
            let name = format!("{}.{}", self.get(at).name, child.name);
            let child_at = self.add(name, at);
            self.apply(child_at, child);
        }
    }

    fn add(&mut self, name: String, parent: QueueId) -> QueueId {
        let at = QueueId::try_from(self.list.len()).expect("queues are few");
        self.list.push(Queue::new(name.clone(), Some(parent)));
        self.list[parent as usize].children.push(at);
        self.by_name.insert(name, at);
        at
    }

    /// The leaf queue of an application.
    ///
    /// # Errors
    /// It has queues below it, or, with a configuration, can't be made.
    pub fn leaf(&mut self, name: &str) -> Result<QueueId, String> {
        if !self.configured {
            let at = self.find_or_make(name);
            let leaf = self.get(at).children.is_empty().then_some(at);
            return leaf.ok_or_else(|| format!("queue {name} takes queues, not applications"));
        }
        let name = name.to_lowercase();
        let (mut at, exists) = self.nearest(&name);
        if exists {
            let leaf = self.get(at).is_leaf().then_some(at);
            return leaf.ok_or_else(|| format!("queue {name} takes queues, not applications"));
        }
        if self.get(at).is_leaf() {
            let above = &self.get(at).name;
            return Err(format!("creation of queue {name} failed parent is already a leaf: {above}"));
        }
        let rest = name[self.get(at).name.len() + 1..].to_owned();
        let steps: Vec<&str> = rest.split('.').collect();
        for (i, step) in steps.iter().enumerate() {
            let template = self.get(at).template.clone();
            let full = format!("{}.{step}", self.get(at).name);
            at = self.add(full, at);
            let queue = self.get_mut(at);
            if i + 1 < steps.len() {
                queue.is_parent = true;
                queue.template = template;
            } else if let Some(template) = template {
                queue.max_applications = template.max_applications;
                queue.properties = Properties::read(&template.properties);
                queue.guaranteed = template.guaranteed;
                queue.max = template.max;
            }
        }
        Ok(at)
    }

    /// The queue of applications that no rule places, but that have pods already.
    pub fn recovery(&mut self) -> QueueId {
        self.find(RECOVERY_QUEUE).unwrap_or_else(|| self.add(RECOVERY_QUEUE.to_owned(), ROOT))
    }

    fn find_or_make(&mut self, name: &str) -> QueueId {
        let full = if name == "root" || name.starts_with("root.") {
            name.to_owned()
        } else {
            format!("root.{name}")
        };
        if let Some(at) = self.by_name.get(&full) {
            return *at;
        }
        let parent = match full.rsplit_once('.') {
            Some((above, _)) => self.find_or_make(above),
            None => ROOT,
        };
        self.add(full, parent)
    }

    /// A queue by its full name, in any case.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<QueueId> {
        self.by_name.get(&name.to_lowercase()).copied()
    }

    /// The queue of that name, or the nearest one above it; the flag tells which.
    #[must_use]
    pub fn nearest(&self, name: &str) -> (QueueId, bool) {
        if let Some(at) = self.find(name) {
            return (at, true);
        }
        let mut name = name;
        while let Some((above, _)) = name.rsplit_once('.') {
            if let Some(at) = self.find(above) {
                return (at, false);
            }
            name = above;
        }
        (ROOT, false)
    }

    /// Whether a user may submit to a queue: its lists, or those of a queue above, name him.
    #[must_use]
    pub fn may_submit(&self, queue: QueueId, user: &str, groups: &[String]) -> bool {
        self.path(queue).any(|(_, q)| q.submit.allows(user, groups) || q.admin.allows(user, groups))
    }

    /// A queue and those above it, the root last.
    pub fn path(&self, queue: QueueId) -> impl Iterator<Item = (QueueId, &Queue)> {
        let at = |id: QueueId| (id, self.get(id));
        std::iter::successors(Some(at(queue)), move |(_, q)| q.parent.map(at))
    }

    /// Whether one more application may run in a leaf.
    #[must_use]
    pub fn may_run(&self, leaf: QueueId) -> bool {
        self.path(leaf).all(|(_, q)| q.max_applications == 0 || q.running < q.max_applications)
    }

    /// Counts an application as running in a leaf and above, or no more.
    pub fn count_running(&mut self, leaf: QueueId, delta: i64) {
        self.up(leaf, |q| {
            q.running = q.running.checked_add_signed(delta).expect("what runs was counted before")
        });
    }

    /// Whether the maximum of every queue but the root holds an amount.
    #[must_use]
    pub fn max_holds(&self, leaf: QueueId, amount: &Usage) -> bool {
        self.path(leaf).filter(|(id, _)| *id != ROOT).all(|(_, q)| q.max.holds(amount))
    }

    /// The largest share in use of a resource, as a float64's bits: see the module.
    fn share(&self, queue: QueueId) -> u64 {
        let q = self.get(queue);
        let denominator = |of: &dyn Fn(&Amounts) -> Option<u64>, total: u64| {
            let guaranteed = of(&q.guaranteed);
            guaranteed.or_else(|| self.path(queue).find_map(|(_, q)| of(&q.max))).unwrap_or(total)
        };
        let of = |used: u64, total: u64| match (used, total) {
            (0, _) => 0,
            (_, 0) => 1_f64.to_bits(),
            _ => super::apps::share(used, total),
        };
        let none = Usage::NONE;
        let cluster = self.cluster.as_ref().unwrap_or(&none);
        let used = &q.allocated;
        let mut most = of(used.cpu, denominator(&|a| a.cpu_millicores, cluster.cpu))
            .max(of(used.memory, denominator(&|a| a.memory_bytes, cluster.memory)))
            .max(of(used.pods, denominator(&|a| a.pods, cluster.pods)));
        for (id, used) in (0..).zip(&used.extended) {
            most = most.max(of(*used, denominator(&|a| a.extended(id), cluster.extended(id))));
        }
        most
    }

    /// A queue.
    #[must_use]
    pub fn get(&self, queue: QueueId) -> &Queue {
        &self.list[queue as usize]
    }

    /// A queue, to be changed.
    pub fn get_mut(&mut self, queue: QueueId) -> &mut Queue {
        &mut self.list[queue as usize]
    }

    /// All leaf queues.
    pub fn leaves(&self) -> impl Iterator<Item = (QueueId, &Queue)> {
        (0..).zip(&self.list).filter(|(_, q)| q.is_leaf())
    }

    /// Adds to the pending asks of a leaf and of the queues above it.
    pub fn add_pending(&mut self, leaf: QueueId, delta: i64) {
        self.up(leaf, |q| {
            q.pending = q.pending.checked_add_signed(delta).expect("pending asks are never negative");
            q.priority = None;
        });
    }

    /// Counts a pod as allocated in a leaf and in the queues above it.
    pub fn allocate(&mut self, leaf: QueueId, spec: &PodSpec) {
        self.up(leaf, |q| q.allocated.add(spec));
    }

    /// Counts a pod of a leaf as being preempted.
    pub fn begin_preempting(&mut self, leaf: QueueId, spec: &PodSpec) {
        self.up(leaf, |q| q.preempting.add(spec));
    }

    /// A pod that was being preempted is gone.
    pub fn end_preempting(&mut self, leaf: QueueId, spec: &PodSpec) {
        self.up(leaf, |q| q.preempting.remove(spec));
    }

    /// How many queues there ever were.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.list.len()
    }

    /// Undoes [`allocate`](Self::allocate).
    pub fn release(&mut self, leaf: QueueId, spec: &PodSpec) {
        self.up(leaf, |q| q.allocated.remove(spec));
    }

    fn up(&mut self, leaf: QueueId, mut change: impl FnMut(&mut Queue)) {
        let mut at = Some(leaf);
        while let Some(queue) = at {
            let queue = &mut self.list[queue as usize];
            change(queue);
            at = queue.parent;
        }
    }

    /// The queue (this one or one above it) in whose headroom the pod does not fit.
    #[must_use]
    pub fn exceeded(&self, leaf: QueueId, spec: &PodSpec) -> Option<QueueId> {
        for (id, queue) in self.path(leaf) {
            let fits = match &self.cluster {
                _ if id != ROOT => queue.max.has_room(&queue.allocated, spec),
                Some(all) => all.has_room(&queue.allocated, spec),
                None => true,
            };
            if !fits {
                return Some(id);
            }
        }
        None
    }

    /// The children of a queue that have pending asks, in the order in which they are tried.
    #[must_use]
    pub fn sorted_children(
        &mut self,
        queue: QueueId,
        by_priority: bool,
        priority_of: &impl Fn(SpecId) -> i32,
    ) -> Vec<QueueId> {
        let mut children: Vec<QueueId> =
            self.get(queue).children.iter().copied().filter(|c| self.get(*c).pending > 0).collect();
        if children.len() > 1 {
            if by_priority {
                children.iter().for_each(|c| self.find_priority(*c, priority_of));
            }
            let first = self.get(queue).properties.priority_sort;
            children.sort_by_cached_key(|c| {
                let priority = Reverse(self.get(*c).priority.filter(|_| by_priority));
                let (before, after) =
                    if first { (priority, Reverse(None)) } else { (Reverse(None), priority) };
                (before, self.share(*c), after, *c)
            });
        }
        children
    }

    /// Fills in [`Queue::priority`] of a queue and of those below.
    fn find_priority(&mut self, id: QueueId, priority_of: &impl Fn(SpecId) -> i32) {
        if self.get(id).priority.is_none() {
            for at in 0..self.get(id).children.len() {
                self.find_priority(self.get(id).children[at], priority_of);
            }
            self.list[id as usize].priority = Some(self.priority(id, priority_of));
        }
        debug_assert_eq!(
            self.get(id).priority,
            Some(self.priority(id, priority_of)),
            "the asks have not changed"
        );
    }

    /// By its own asks and by what is known of the queues below.
    fn priority(&self, id: QueueId, priority_of: &impl Fn(SpecId) -> i32) -> i32 {
        let queue = self.get(id);
        let own = queue.kinds.iter().filter(|k| k.apps.first().is_some()).map(|k| priority_of(k.spec));
        let held = queue.held.keys().next_back().copied();
        let below = queue.children.iter().filter_map(|c| self.get(*c).priority);
        queue.properties.outward(own.chain(held).chain(below).max().unwrap_or(i32::MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::scheduler::AppSort;

    fn config(name: &str, max: Option<(u64, u64)>) -> QueueConfig {
        QueueConfig { name: name.to_owned(), sort: AppSort::Fifo, guaranteed: None, max }
    }

    #[test]
    fn a_parent_takes_no_application_and_an_unknown_queue_is_made() {
        let mut queues = Queues::new(&[config("root.a.b", None)]);
        assert!(queues.leaf("root.a").is_err());
        let leaf = queues.leaf("root.a.b").unwrap();
        assert_eq!(queues.leaf("a.b"), Ok(leaf));
        let made = queues.leaf("root.default").unwrap();
        assert_eq!(queues.get(made).parent, Some(ROOT));
    }

    /// The headroom is the least over the queue and all above it.
    #[test]
    fn headroom_is_the_least_up_to_the_root() {
        let mut queues = Queues::new(&[config("root.a", Some((1000, 1000))), config("root.a.b", None)]);
        let all = |amount| Some(Usage { cpu: amount, memory: amount, ..Usage::NONE });
        queues.cluster = all(10_000);
        let leaf = queues.leaf("root.a.b").unwrap();
        let mut spec = PodSpec::default();
        spec.requests.cpu_millicores = 600;
        assert_eq!(queues.exceeded(leaf, &spec), None);
        queues.allocate(leaf, &spec);
        let above = queues.get(leaf).parent;
        assert_eq!(queues.exceeded(leaf, &spec), above);
        queues.release(leaf, &spec);
        assert_eq!(queues.exceeded(leaf, &spec), None);
        queues.cluster = all(500);
        assert_eq!(queues.exceeded(leaf, &spec), Some(ROOT));
    }

    /// `sorters.go`: the child with the smaller share of its guaranteed resources goes first.
    #[test]
    fn the_less_served_child_goes_first() {
        let guaranteed =
            |name: &str, cpu| QueueConfig { guaranteed: Some((cpu, 1 << 40)), ..config(name, None) };
        let mut queues = Queues::new(&[guaranteed("root.a", 1000), guaranteed("root.b", 4000)]);
        queues.cluster = Some(Usage { cpu: 100_000, memory: 1 << 50, pods: 1000, ..Usage::NONE });
        let (a, b) = (queues.leaf("root.a").unwrap(), queues.leaf("root.b").unwrap());
        let mut spec = PodSpec::default();
        spec.requests.cpu_millicores = 500;
        queues.add_pending(a, 1);
        queues.add_pending(b, 1);
        assert_eq!(queues.sorted_children(ROOT, true, &|_| 0), [a, b]);
        queues.allocate(a, &spec);
        queues.allocate(b, &spec);
        queues.allocate(b, &spec);
        assert_eq!(queues.sorted_children(ROOT, true, &|_| 0), [b, a]);
        queues.add_pending(b, -1);
        assert_eq!(queues.sorted_children(ROOT, true, &|_| 0), [a]);
    }
}
