//! proportion and overcommit: what each queue deserves, and which jobs may be enqueued.
//!
//! Sources: `pkg/scheduler/plugins/{proportion/proportion.go,overcommit/overcommit.go}` of Volcano 1.15.1.
//!
//! The cluster is dealt out to the queues that have jobs: in rounds, each gets its weight's part of what remains, but no more
//! than it can use (its jobs' requests), than its capability, and than what others' guarantees leave; at least its guarantee.
//! A queue that got all it can use leaves the rounds. A queue is overused once it has all it deserves of every resource,
//! and takes a pod only if it has then no more than it deserves of what the pod requests. So what no queue requests is
//! dealt out anew in the next session, and a queue's use is bounded by its capability.
//!
//! A queue with `capability` for some resources only: of CPU or memory that it does not name it may have any amount.
//!
//! Left out: closed queues, hierarchies (the capacity plugin), and `reclaimable`, which only the action reclaim reads. The
//! real rounds go over the queues in the order of a Go map; here in that of their names' place in the configuration.
//!
//! Cost: O(queues x resources x rounds) a session.
use super::amount::{Amount, Levels, scaled};
use super::config::{Limits, Queue};
use super::jobs::{Job, QueueSums};

/// A queue in a session.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct QueueState {
    /// Weight.
    pub weight: i64,
    /// Deserved.
    pub deserved: Levels,
    /// Allocated.
    pub allocated: Amount,
    /// Of allocated and pending pods.
    pub request: Levels,
    /// Kept for jobs that are inqueue.
    pub inqueue: Amount,
    /// Beyond the jobs' `minResources`.
    pub elastic: Amount,
    /// No more than this.
    pub real_capability: Levels,
    /// At least this.
    pub guarantee: Levels,
    /// Largest part of the deserved that is allocated.
    pub share: f64,
    /// It has jobs.
    pub takes_part: bool,
}

fn levels(limits: &Limits) -> Levels {
    Levels {
        cpu: limits.cpu.unwrap_or(0) as f64,
        memory: limits.memory.unwrap_or(0) as f64,
        others: limits.others.iter().map(|(id, v)| (*id, scaled(*id, *v))).collect(),
    }
}

fn capability(limits: &Limits) -> Levels {
    let mut levels = levels(limits);
    for value in [&mut levels.cpu, &mut levels.memory] {
        if *value <= 0.0 {
            *value = f64::MAX;
        }
    }
    levels
}

/// Deals the cluster out.
#[must_use]
pub fn deserve(queues: &[Queue], sums: &[QueueSums], total: &Amount) -> Vec<QueueState> {
    let total = total.levels();
    let guaranteed = queues.iter().fold(Levels::default(), |sum, q| sum.plus(&levels(&q.guarantee)));
    let (free, _) = total.differences(&guaranteed);
    let mut states: Vec<QueueState> = queues
        .iter()
        .zip(sums)
        .map(|(queue, sums)| {
            let guarantee = levels(&queue.guarantee);
            let mut real_capability = free.clone().plus(&guarantee);
            if !queue.capability.is_empty() {
                real_capability.limit(&capability(&queue.capability), true);
            }
            QueueState {
                weight: queue.weight,
                deserved: Levels::default(),
                allocated: sums.allocated.clone(),
                request: sums.allocated.levels().plus(&sums.requested.levels()),
                inqueue: sums.inqueue.clone(),
                elastic: sums.elastic.clone(),
                real_capability,
                guarantee,
                share: 0.0,
                takes_part: sums.jobs > 0,
            }
        })
        .collect();
    let mut remaining = total;
    let mut met: Vec<bool> = states.iter().map(|state| !state.takes_part).collect();
    loop {
        let weights: i64 = states.iter().zip(&met).filter(|(_, met)| !**met).map(|(s, _)| s.weight).sum();
        if weights == 0 {
            break;
        }
        let before = remaining.clone();
        let (mut given, mut taken) = (Levels::default(), Levels::default());
        for (state, met) in states.iter_mut().zip(&mut met).filter(|(_, met)| !**met) {
            let old = state.deserved.clone();
            let part = remaining.clone().times(state.weight as f64 / weights as f64);
            state.deserved = std::mem::take(&mut state.deserved).plus(&part);
            state.deserved.limit(&state.real_capability, true);
            state.deserved.limit(&state.request, false);
            state.deserved.raise(&state.guarantee);
            *met = state.request.less_equal(&state.deserved) || state.deserved.is_same(&old);
            let (more, less) = state.deserved.differences(&old);
            given = given.plus(&more);
            taken = taken.plus(&less);
        }
        remaining = remaining.plus(&taken).differences(&given).0;
        if remaining.is_empty() || remaining.is_same(&before) {
            break;
        }
    }
    for state in &mut states {
        state.update_share();
    }
    states
}

impl QueueState {
    fn update_share(&mut self) {
        self.share = self.deserved.share_of(&self.allocated.levels());
    }

    /// A pod was allocated, or given back.
    pub fn allocate(&mut self, request: &Amount, back: bool) {
        if back {
            self.allocated.sub(request)
        } else {
            self.allocated.add(request)
        }
        self.update_share();
    }

    /// It has all that it deserves.
    #[must_use]
    pub fn is_overused(&self) -> bool {
        self.deserved.less_equal(&self.allocated.levels())
    }

    /// It has no more than it deserves with another pod.
    #[must_use]
    pub fn takes(&self, request: &Amount) -> bool {
        let request = request.levels();
        let used = self.allocated.levels().plus(&request);
        used.less_equal_where_requested(&self.deserved, &request)
    }

    /// There is room for a job's `minResources` under its capability.
    #[must_use]
    pub fn may_enqueue(&self, job: &Job) -> bool {
        let least = job.min_resources.levels();
        let used = least
            .clone()
            .plus(&self.allocated.levels())
            .plus(&self.inqueue.levels())
            .minus(&self.elastic.levels());
        used.less_equal_where_requested(&self.real_capability, &least)
    }
}

/// overcommit in a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Overcommit {
    idle: Levels,
    inqueue: Amount,
}

impl Overcommit {
    /// Idle is the cluster times the factor, less what is in use.
    #[must_use]
    pub fn new(total: &Amount, used: &Amount, inqueue: &Amount, factor_ppm: u64) -> Self {
        let idle = total.levels().times(factor_ppm as f64 / 1e6).minus(&used.levels());
        Self { idle, inqueue: inqueue.clone() }
    }

    /// There is room for a job's `minResources`.
    #[must_use]
    pub fn may_enqueue(&self, job: &Job) -> bool {
        let least = job.min_resources.levels();
        self.inqueue.levels().plus(&least).less_equal_where_requested(&self.idle, &least)
    }

    /// A job was enqueued.
    pub fn enqueued(&mut self, job: &Job) {
        self.inqueue.add(&job.min_resources);
    }
}
