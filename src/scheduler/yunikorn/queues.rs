//! YuniKorn's queue hierarchy: which leaf queue comes first, and what it may still use.
//!
//! Parents order their children that have pending asks by priority and then by fair share (the largest share in use
//! of what is guaranteed, else of what is allowed, else of the whole cluster); leaves order applications by
//! submission (FIFO, the default) or by fair share, see [`apps`](super::apps). A queue's headroom is the least,
//! over it and its ancestors, of maximum less allocated; the root's maximum is the sum of the nodes
//! (`queue.go`, `sorters.go`). A queue that no configuration names is made as a leaf with the defaults (placement
//! rule `tag namespace, create: true`).
//!
//! In each leaf the pending asks are grouped by pod spec into [`Kind`]s: whether an ask can be placed depends on
//! its spec and on nothing else, so a kind that fits nowhere is set aside as a whole until something changes.
//!
//! Left out: user and group limits, application limits, the tie-break of equal queues by pending resources (it
//! is no total order; ours is the order of creation), the number of pods as a queue resource, preemption.
//!
//! Cost: O(log kinds + sqrt(applications)) a change of an ask; O(children log children) a parent a cycle.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use super::apps::AppKey;
use super::ranked::Ranked;
use crate::cluster::{PodSpec, SpecId};
use crate::scheduler::{AppSort, QueueConfig};

/// Index of a queue.
pub type QueueId = u32;
/// The root.
pub const ROOT: QueueId = 0;

/// Resources in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Millicores.
    pub cpu: u64,
    /// Bytes.
    pub memory: u64,
    /// Pods.
    pub pods: u64,
}

impl Usage {
    /// Adds a pod.
    pub const fn add(&mut self, spec: &PodSpec) {
        self.cpu += spec.requests.cpu_millicores;
        self.memory += spec.requests.memory_bytes;
        self.pods += 1;
    }

    /// Takes a pod off.
    pub const fn remove(&mut self, spec: &PodSpec) {
        self.cpu -= spec.requests.cpu_millicores;
        self.memory -= spec.requests.memory_bytes;
        self.pods -= 1;
    }
}

/// The pending asks of one spec in a leaf queue.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Kind {
    /// The spec.
    pub spec: SpecId,
    /// Applications in order, weighted by asks.
    pub apps: Ranked<AppKey>,
    /// No node takes it.
    pub stuck: bool,
    /// It was found not to fit in the headroom.
    pub over_quota: bool,
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
    /// Order of applications in a leaf.
    pub sort: AppSort,
    /// Guaranteed (cpu, memory).
    pub guaranteed: Option<(u64, u64)>,
    /// Maximum (cpu, memory).
    pub max: Option<(u64, u64)>,
    /// In use, queues below included.
    pub allocated: Usage,
    /// Pending asks, queues below included.
    pub pending: u64,
    /// Applications that have pending or allocated asks.
    pub live_apps: u64,
    /// Pending asks by spec.
    pub kinds: Vec<Kind>,
    #[serde(with = "crate::engine::codec::sorted")]
    kind_of: FxHashMap<SpecId, u32>,
    /// First application of each kind that may be placed.
    heads: BTreeSet<(AppKey, u32)>,
}

impl Queue {
    fn new(name: String, parent: Option<QueueId>) -> Self {
        Self {
            name,
            parent,
            children: Vec::new(),
            sort: AppSort::Fifo,
            guaranteed: None,
            max: None,
            allocated: Usage::default(),
            pending: 0,
            live_apps: 0,
            kinds: Vec::new(),
            kind_of: FxHashMap::default(),
            heads: BTreeSet::new(),
        }
    }

    /// The kind of a spec and whether it is new.
    pub fn kind(&mut self, spec: SpecId, stuck: bool) -> (u32, bool) {
        if let Some(kind) = self.kind_of.get(&spec) {
            return (*kind, false);
        }
        let at = u32::try_from(self.kinds.len()).expect("as many as specs");
        self.kinds.push(Kind { spec, apps: Ranked::default(), stuck, over_quota: false });
        self.kind_of.insert(spec, at);
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

    fn change(&mut self, kind: u32, change: impl FnOnce(&mut Kind)) {
        let head = |k: &Kind| if k.stuck || k.over_quota { None } else { k.apps.first() };
        let at = &mut self.kinds[kind as usize];
        let before = head(at);
        change(at);
        let after = head(at);
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

    fn share(&self, cluster: (u64, u64)) -> u64 {
        let denominator = self.guaranteed.or(self.max).unwrap_or(cluster);
        super::apps::share(self.allocated.cpu, denominator.0)
            .max(super::apps::share(self.allocated.memory, denominator.1))
    }
}

/// All queues.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Queues {
    list: Vec<Queue>,
    by_name: BTreeMap<String, QueueId>,
    /// Sum of the nodes' allocatable (cpu, memory): the root's maximum.
    pub cluster: (u64, u64),
}

impl Queues {
    /// The configured queues under a root.
    #[must_use]
    pub fn new(configs: &[QueueConfig]) -> Self {
        let mut queues = Self {
            list: vec![Queue::new("root".to_owned(), None)],
            by_name: BTreeMap::new(),
            cluster: (0, 0),
        };
        queues.by_name.insert("root".to_owned(), ROOT);
        for config in configs {
            let at = queues.find_or_make(&config.name) as usize;
            let queue = &mut queues.list[at];
            queue.sort = config.sort;
            queue.guaranteed = config.guaranteed;
            queue.max = config.max;
        }
        queues
    }

    /// The leaf queue of an application; none if the name is that of a queue with queues below it.
    pub fn leaf(&mut self, name: &str) -> Option<QueueId> {
        let at = self.find_or_make(name);
        self.list[at as usize].children.is_empty().then_some(at)
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
        let at = QueueId::try_from(self.list.len()).expect("queues are few");
        self.list.push(Queue::new(full.clone(), Some(parent)));
        self.list[parent as usize].children.push(at);
        self.by_name.insert(full, at);
        at
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
        (0..).zip(&self.list).filter(|(_, q)| q.children.is_empty())
    }

    /// Adds to the pending asks of a leaf and of the queues above it.
    pub fn add_pending(&mut self, leaf: QueueId, delta: i64) {
        self.up(leaf, |q| {
            q.pending = q.pending.checked_add_signed(delta).expect("pending asks are never negative")
        });
    }

    /// Counts a pod as allocated in a leaf and in the queues above it.
    pub fn allocate(&mut self, leaf: QueueId, spec: &PodSpec) {
        self.up(leaf, |q| q.allocated.add(spec));
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
        let mut at = Some(leaf);
        while let Some(id) = at {
            let queue = self.get(id);
            let max = if id == ROOT { Some(self.cluster) } else { queue.max };
            if let Some((cpu, memory)) = max
                && (exceeds(queue.allocated.cpu, spec.requests.cpu_millicores, cpu)
                    || exceeds(queue.allocated.memory, spec.requests.memory_bytes, memory))
            {
                return Some(id);
            }
            at = queue.parent;
        }
        None
    }

    /// The children of a queue that have pending asks, in the order in which they are tried.
    #[must_use]
    pub fn sorted_children(
        &self,
        queue: QueueId,
        by_priority: bool,
        priority_of: &impl Fn(SpecId) -> i32,
    ) -> Vec<QueueId> {
        let mut children: Vec<QueueId> =
            self.get(queue).children.iter().copied().filter(|c| self.get(*c).pending > 0).collect();
        if children.len() > 1 {
            children.sort_by_cached_key(|c| {
                let priority = if by_priority { self.priority(*c, priority_of) } else { 0 };
                (Reverse(priority), self.get(*c).share(self.cluster), *c)
            });
        }
        children
    }

    fn priority(&self, queue: QueueId, priority_of: &impl Fn(SpecId) -> i32) -> i32 {
        let queue = self.get(queue);
        let own = queue.kinds.iter().filter(|k| k.apps.first().is_some()).map(|k| priority_of(k.spec));
        own.chain(queue.children.iter().map(|c| self.priority(*c, priority_of))).max().unwrap_or(i32::MIN)
    }
}

/// Whether a request goes past a maximum. A resource that is not asked for never does.
const fn exceeds(allocated: u64, request: u64, max: u64) -> bool {
    request > 0 && allocated + request > max
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, max: Option<(u64, u64)>) -> QueueConfig {
        QueueConfig { name: name.to_owned(), sort: AppSort::Fifo, guaranteed: None, max }
    }

    #[test]
    fn a_parent_takes_no_application_and_an_unknown_queue_is_made() {
        let mut queues = Queues::new(&[config("root.a.b", None)]);
        assert_eq!(queues.leaf("root.a"), None);
        let leaf = queues.leaf("root.a.b").unwrap();
        assert_eq!(queues.leaf("a.b"), Some(leaf));
        let made = queues.leaf("root.default").unwrap();
        assert_eq!(queues.get(made).parent, Some(ROOT));
    }

    /// The headroom is the least over the queue and all above it.
    #[test]
    fn headroom_is_the_least_up_to_the_root() {
        let mut queues = Queues::new(&[config("root.a", Some((1000, 1000))), config("root.a.b", None)]);
        queues.cluster = (10_000, 10_000);
        let leaf = queues.leaf("root.a.b").unwrap();
        let mut spec = PodSpec::default();
        spec.requests.cpu_millicores = 600;
        assert_eq!(queues.exceeded(leaf, &spec), None);
        queues.allocate(leaf, &spec);
        let above = queues.get(leaf).parent;
        assert_eq!(queues.exceeded(leaf, &spec), above);
        queues.release(leaf, &spec);
        assert_eq!(queues.exceeded(leaf, &spec), None);
        queues.cluster = (500, 500);
        assert_eq!(queues.exceeded(leaf, &spec), Some(ROOT));
    }

    /// `sorters.go`: the child with the smaller share of its guaranteed resources goes first.
    #[test]
    fn the_less_served_child_goes_first() {
        let guaranteed =
            |name: &str, cpu| QueueConfig { guaranteed: Some((cpu, 1 << 40)), ..config(name, None) };
        let mut queues = Queues::new(&[guaranteed("root.a", 1000), guaranteed("root.b", 4000)]);
        queues.cluster = (100_000, 1 << 50);
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
