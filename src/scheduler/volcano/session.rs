//! One session: enqueue, allocate, backfill, on the cache as it stands when the session opens.
//!
//! Sources: `pkg/scheduler/actions/{enqueue,allocate,backfill}`, `framework/{session.go,session_plugins.go,statement.go}` and the plugins'
//! order functions of Volcano 1.15.1.
//!
//! *allocate*: of the queues the first by priority and share is taken; of its jobs the first by priority, readiness and
//! dominant share. One statement gives nodes to its pods in order until the job is ready; it is committed if the job is
//! ready and discarded if not. A job that was ready gets one more pod a statement. Then the queue is put back, with its new
//! share. A queue that is overused is not looked at again; so is a job whose statement was discarded.
//!
//! A pod without a node ends the statement of a gang that needs all its pods, or whose role is not there in the number it needs; else the
//! next pod is tried, but for those of the same role.
//!
//! The decisions of a session are made at once, when it opens: nothing that the informer shows meanwhile would reach it. What comes out
//! is a list of [`Step`]s, each the work up to a commit and what is bound then, for the model to spend time on.
//!
//! Left out: pipelining (it needs pods that are being evicted), network topologies, sub-groups, nominated nodes.
//!
//! Cost: O(waiting jobs log + pods tried x nodes looked at).
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use super::amount::Amount;
use super::config::{ActionKind, Config, PluginKind};
use super::jobs::{Job, JobId, Jobs, Phase, Place, Why};
use super::nodes::{Looked, Nodes, Refused, Rules};
use super::queues::{Overcommit, QueueState, deserve};
use crate::cluster::{Cluster, NodeId, PodId};
use crate::engine::Rng;

/// What a part of a session did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Work {
    /// Jobs looked at.
    pub jobs: u64,
    /// Pods tried.
    pub tasks: u64,
    /// Filters run.
    pub filtered: u64,
    /// Nodes passed over.
    pub passed_over: u64,
    /// Nodes scored.
    pub scored: u64,
    /// Pods given a node, and taken off it when a statement was discarded.
    pub operations: u64,
}

impl Work {
    fn add(&mut self, looked: Looked) {
        self.filtered += looked.filtered;
        self.passed_over += looked.passed_over;
        self.scored += looked.scored;
    }
}

/// Work, and then a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Step {
    /// What is done first.
    pub work: Work,
    /// What is bound then; empty: nothing.
    pub binds: Vec<(PodId, NodeId)>,
}

/// What came out of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Decided {
    /// In order.
    pub steps: VecDeque<Step>,
    /// Pods that had a node in a statement that was discarded, with it.
    pub discarded: BTreeMap<PodId, NodeId>,
    /// Pods for which no node was found.
    pub unfit: BTreeSet<PodId>,
}

/// What sorts jobs: the plugins' keys in their order, then age, then name.
#[derive(Clone, Debug, PartialEq)]
struct JobKey {
    keys: Vec<f64>,
    created_s: u64,
    uid: String,
    job: JobId,
}

/// What sorts queues.
#[derive(Clone, Debug, PartialEq)]
struct QueueKey {
    priority: Reverse<i64>,
    share: f64,
    name: String,
    queue: usize,
}

impl Eq for JobKey {}
impl PartialOrd for JobKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for JobKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let keys = self.keys.iter().zip(&other.keys).map(|(a, b)| a.total_cmp(b));
        keys.fold(Ordering::Equal, Ordering::then)
            .then_with(|| self.created_s.cmp(&other.created_s))
            .then_with(|| self.uid.cmp(&other.uid))
            .then_with(|| self.job.cmp(&other.job))
    }
}
impl Eq for QueueKey {}
impl PartialOrd for QueueKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for QueueKey {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.priority.cmp(&other.priority))
            .then_with(|| self.share.total_cmp(&other.share))
            .then_with(|| self.name.cmp(&other.name))
    }
}

/// Which plugins have a say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Says {
    gang_ready: bool,
    gang_valid: bool,
    task_priority: bool,
    queue_order: bool,
    overused: bool,
    allocatable: bool,
}

/// The parts of the scheduler that a session reads and changes.
pub struct Session<'a> {
    cluster: &'a Cluster,
    config: &'a Config,
    says: Says,
    rules: Rules,
    jobs: &'a mut Jobs,
    nodes: &'a mut Nodes,
    rng: &'a mut Rng,
    queues: Vec<QueueState>,
    overcommit: Option<Overcommit>,
    refused: Refused,
    work: Work,
    decided: Decided,
}

/// Pods of a job that are yet to be tried in this session.
struct Worksheet {
    tasks: VecDeque<PodId>,
    /// A pod of its role fits nowhere.
    role_failed: bool,
}

/// What the plugins' filters and scores are, and how many nodes are enough.
#[must_use]
pub fn rules(config: &Config, nodes: usize, plain: bool) -> Rules {
    let mut rules = Rules { enough: config.nodes_to_find(nodes), plain, ..Rules::default() };
    for plugin in config.plugins() {
        match &plugin.kind {
            PluginKind::Predicates(filters) if plugin.enabled.predicate => rules.predicates = Some(*filters),
            PluginKind::NodeOrder(weights) if plugin.enabled.node_order => rules.node_order = Some(*weights),
            PluginKind::Binpack(weights) if plugin.enabled.node_order => {
                rules.binpack = Some(weights.clone());
            }
            _ => {}
        }
    }
    rules
}

impl<'a> Session<'a> {
    /// Opens a session.
    pub fn open(
        cluster: &'a Cluster,
        config: &'a Config,
        plain: bool,
        (jobs, nodes): (&'a mut Jobs, &'a mut Nodes),
        rng: &'a mut Rng,
    ) -> Self {
        let mut says = Says::default();
        let mut overcommit = None;
        for plugin in config.plugins() {
            let on = plugin.enabled;
            match plugin.kind {
                PluginKind::Gang => (says.gang_valid, says.gang_ready) = (true, on.job_ready),
                PluginKind::Priority => says.task_priority = on.task_order,
                PluginKind::Proportion => {
                    says.queue_order = on.queue_order;
                    says.overused = on.overused;
                    says.allocatable = on.allocatable;
                }
                PluginKind::Overcommit { factor_ppm } => {
                    overcommit =
                        Some(Overcommit::new(nodes.total(), nodes.used(), jobs.overcommitted(), factor_ppm));
                }
                _ => {}
            }
        }
        Self {
            cluster,
            config,
            says,
            rules: rules(config, nodes.count(), plain),
            queues: deserve(&config.queues, jobs.sums(), nodes.total()),
            jobs,
            nodes,
            rng,
            overcommit,
            refused: Refused::default(),
            work: Work::default(),
            decided: Decided::default(),
        }
    }

    /// Runs the actions in their order.
    #[must_use]
    pub fn run(mut self) -> Decided {
        for action in &self.config.actions {
            match action {
                ActionKind::Enqueue => self.enqueue(),
                ActionKind::Allocate => self.allocate(),
                ActionKind::Backfill => self.backfill(),
            }
        }
        self.step(Vec::new());
        self.decided
    }

    fn step(&mut self, binds: Vec<(PodId, NodeId)>) {
        let work = std::mem::take(&mut self.work);
        if work != Work::default() || !binds.is_empty() {
            self.decided.steps.push_back(Step { work, binds });
        }
    }

    fn job_key(&self, id: JobId) -> JobKey {
        let job = self.jobs.get(id);
        let keys = self.config.plugins().filter(|p| p.enabled.job_order).filter_map(|p| match p.kind {
            PluginKind::Priority => Some(-f64::from(job.priority)),
            PluginKind::Gang => Some(if job.is_ready() { 1.0 } else { 0.0 }),
            PluginKind::Drf => Some(job.allocated.dominant_share(self.nodes.total())),
            _ => None,
        });
        JobKey { keys: keys.collect(), created_s: job.created_s, uid: job.uid.clone(), job: id }
    }

    fn queue_key(&self, queue: usize) -> QueueKey {
        let (config, state) = (&self.config.queues[queue], &self.queues[queue]);
        let (priority, share) = if self.says.queue_order { (config.priority, state.share) } else { (0, 0.0) };
        QueueKey { priority: Reverse(priority), share, name: config.name.clone(), queue }
    }

    fn enqueue(&mut self) {
        let mut jobs: BTreeMap<usize, BinaryHeap<Reverse<JobKey>>> = BTreeMap::new();
        let waiting: Vec<JobId> = self.jobs.waiting().iter().copied().collect();
        for id in waiting {
            if self.jobs.get(id).phase == Phase::Pending {
                let key = self.job_key(id);
                jobs.entry(self.jobs.get(id).queue).or_default().push(Reverse(key));
            }
        }
        let mut queues: BinaryHeap<Reverse<QueueKey>> =
            jobs.keys().map(|queue| Reverse(self.queue_key(*queue))).collect();
        while let Some(Reverse(queue)) = queues.pop() {
            let Some(Reverse(key)) = jobs.get_mut(&queue.queue).and_then(BinaryHeap::pop) else { continue };
            self.work.jobs += 1;
            match self.why_not_enqueued(key.job) {
                None => {
                    self.queues[queue.queue].inqueue.add(&self.jobs.get(key.job).min_resources);
                    if let Some(overcommit) = &mut self.overcommit {
                        overcommit.enqueued(self.jobs.get(key.job));
                    }
                    self.jobs.change(key.job, |job| job.phase = Phase::Inqueue);
                }
                Some(why) => self.jobs.note(key.job, |job| job.why = why),
            }
            queues.push(Reverse(queue));
        }
    }

    /// A tier in which someone permits ends the vote; one who rejects ends it, too.
    fn why_not_enqueued(&self, id: JobId) -> Option<Why> {
        let job = self.jobs.get(id);
        for tier in &self.config.tiers {
            let mut permitted = false;
            for plugin in tier.iter().filter(|p| p.enabled.job_enqueued) {
                match plugin.kind {
                    PluginKind::Overcommit { .. } => {
                        if self.overcommit.as_ref().is_some_and(|o| !o.may_enqueue(job)) {
                            return Some(Why::Overcommitted);
                        }
                        permitted = true;
                    }
                    PluginKind::Proportion => {
                        if !self.queues[job.queue].may_enqueue(job) {
                            return Some(Why::QueueQuota);
                        }
                        permitted = true;
                    }
                    _ => {}
                }
            }
            if permitted {
                return None;
            }
        }
        None
    }

    fn is_valid(&self, job: &Job) -> bool {
        !self.says.gang_valid || job.is_valid()
    }

    fn is_ready(&self, job: &Job) -> bool {
        !self.says.gang_ready || job.is_ready()
    }

    /// A job's pods in order: by priority if the plugin says so, then by index.
    fn in_order(&self, tasks: &BTreeSet<super::jobs::TaskKey>) -> VecDeque<PodId> {
        let mut pods: Vec<PodId> = tasks.iter().map(|(_, pod)| *pod).collect();
        if !self.says.task_priority {
            pods.sort_unstable();
        }
        pods.into()
    }

    fn allocate(&mut self) {
        let mut jobs: BTreeMap<usize, BinaryHeap<Reverse<JobKey>>> = BTreeMap::new();
        let mut worksheets: BTreeMap<JobId, Worksheet> = BTreeMap::new();
        let waiting: Vec<JobId> = self.jobs.waiting().iter().copied().collect();
        for id in waiting {
            let job = self.jobs.get(id);
            if job.phase == Phase::Pending {
                if self.config.runs(ActionKind::Enqueue) {
                    continue;
                }
                self.jobs.change(id, |job| job.phase = Phase::Inqueue);
            }
            let job = self.jobs.get(id);
            if !self.is_valid(job) {
                self.jobs.note(id, |job| job.why = Why::TooFewPods);
                continue;
            }
            if job.pending.is_empty() {
                continue;
            }
            worksheets.insert(id, Worksheet { tasks: self.in_order(&job.pending), role_failed: false });
            let queue = job.queue;
            jobs.entry(queue).or_default().push(Reverse(self.job_key(id)));
        }
        let mut queues: BinaryHeap<Reverse<QueueKey>> =
            jobs.keys().map(|queue| Reverse(self.queue_key(*queue))).collect();
        while let Some(Reverse(QueueKey { queue, .. })) = queues.pop() {
            if self.says.overused && self.queues[queue].is_overused() {
                for Reverse(key) in jobs.remove(&queue).unwrap_or_default() {
                    self.jobs.note(key.job, |job| job.why = Why::QueueOverused);
                }
                continue;
            }
            let Some(Reverse(key)) = jobs.get_mut(&queue).and_then(BinaryHeap::pop) else { continue };
            let id = key.job;
            let worksheet = worksheets.get_mut(&id).expect("every job in a queue has one");
            self.work.jobs += 1;
            if let Some(binds) = self.statement(id, worksheet) {
                if !binds.is_empty() {
                    self.step(binds);
                }
                if !worksheet.tasks.is_empty() {
                    let key = self.job_key(id);
                    jobs.entry(queue).or_default().push(Reverse(key));
                }
            }
            queues.push(Reverse(self.queue_key(queue)));
        }
    }

    /// One statement of a job: what it binds, or none if it was discarded.
    fn statement(&mut self, id: JobId, worksheet: &mut Worksheet) -> Option<Vec<(PodId, NodeId)>> {
        let (queue, gang) = (self.jobs.get(id).queue, self.jobs.get(id).gang);
        let mut operations: Vec<(PodId, NodeId)> = Vec::new();
        let mut refused = std::mem::take(&mut self.refused);
        refused.clear();
        while let Some(pod) = worksheet.tasks.pop_front() {
            let spec = self.cluster.pods.spec(pod);
            let request = Amount::of(&spec.requests);
            self.work.tasks += 1;
            if self.says.allocatable && !self.queues[queue].takes(&request) {
                self.jobs.note(id, |job| job.why = Why::QueueOverused);
                continue;
            }
            if gang && worksheet.role_failed {
                continue;
            }
            let remembers = (gang && self.config.error_cache).then_some(&mut refused);
            let (node, looked) =
                self.nodes.find(self.cluster, &self.rules, pod, (remembers, operations.is_empty()), self.rng);
            self.work.add(looked);
            let Some(node) = node else {
                worksheet.role_failed = true;
                self.decided.unfit.insert(pod);
                self.jobs.note(id, |job| job.why = Why::NoNode(pod));
                if self.goes_on(self.jobs.get(id)) {
                    continue;
                }
                break;
            };
            operations.push((pod, node));
            self.work.operations += 1;
            self.nodes.add_pod(self.cluster, node, spec);
            self.queues[queue].allocate(&request, false);
            self.jobs.move_to(self.cluster, pod, Place::Binding(node));
            if self.is_ready(self.jobs.get(id)) {
                break;
            }
        }
        self.refused = refused;
        if self.is_ready(self.jobs.get(id)) {
            return Some(operations);
        }
        for (pod, node) in operations.into_iter().rev() {
            self.undo(pod, node);
            self.decided.discarded.insert(pod, node);
        }
        None
    }

    fn undo(&mut self, pod: PodId, node: NodeId) {
        let spec = self.cluster.pods.spec(pod);
        let queue = self.jobs.get(self.jobs.job_of(pod)).queue;
        self.work.operations += 1;
        self.nodes.give_back(node, spec);
        self.queues[queue].allocate(&Amount::of(&spec.requests), true);
        self.jobs.move_to(self.cluster, pod, Place::Pending);
    }

    /// `NeedContinueAllocating`, after a pod has found no node.
    fn goes_on(&self, job: &Job) -> bool {
        // Its role's pods that have a node are all that have one.
        job.min_member < job.tasks() && (!job.gang || job.ready_tasks() >= job.min_member)
    }

    fn backfill(&mut self) {
        let mut by_queue: BTreeMap<usize, BinaryHeap<Reverse<JobKey>>> = BTreeMap::new();
        for id in self.jobs.waiting() {
            let job = self.jobs.get(*id);
            if !job.best_effort.is_empty() && job.phase != Phase::Pending && self.is_valid(job) {
                by_queue.entry(job.queue).or_default().push(Reverse(self.job_key(*id)));
            }
        }
        let mut queues: Vec<QueueKey> = by_queue.keys().map(|queue| self.queue_key(*queue)).collect();
        queues.sort();
        let mut held: BTreeMap<JobId, Vec<(PodId, NodeId)>> = BTreeMap::new();
        for queue in queues {
            let mut jobs = by_queue.remove(&queue.queue).unwrap_or_default();
            while let Some(Reverse(key)) = jobs.pop() {
                self.work.jobs += 1;
                for pod in self.in_order(&self.jobs.get(key.job).best_effort) {
                    self.work.tasks += 1;
                    let nothing = (None, held.is_empty());
                    let (node, looked) = self.nodes.find(self.cluster, &self.rules, pod, nothing, self.rng);
                    self.work.add(looked);
                    let Some(node) = node else {
                        self.decided.unfit.insert(pod);
                        self.jobs.note(key.job, |job| job.why = Why::NoNode(pod));
                        continue;
                    };
                    let spec = self.cluster.pods.spec(pod);
                    self.work.operations += 1;
                    self.nodes.add_pod(self.cluster, node, spec);
                    self.queues[queue.queue].allocate(&Amount::of(&spec.requests), false);
                    self.jobs.move_to(self.cluster, pod, Place::Binding(node));
                    held.entry(key.job).or_default().push((pod, node));
                    if self.is_ready(self.jobs.get(key.job)) {
                        let binds = held.remove(&key.job).unwrap_or_default();
                        self.step(binds);
                    }
                }
            }
        }
        // What a job that is not ready was given ends with the session.
        for (pod, node) in held.into_values().flatten() {
            self.undo(pod, node);
        }
    }
}
