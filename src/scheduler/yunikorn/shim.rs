//! The shim: how a pod that the informer shows becomes an ask in the core.
//!
//! An application takes one step of its state machine a tick (New: submitted to the core; accepted: run; running: its
//! new tasks are sent), and ticks come each `schedulingInterval` (1 s), the first at once (`shim/scheduler.go`,
//! `cache/application.go`). So the first pod of a new application waits two intervals and what is left of the
//! one it came in, a later pod only the latter. All new tasks of an application go out in one tick.
//!
//! A single goroutine, the dispatcher, sends the asks one after the other and also hands over allocations, in the
//! order in which both were queued (`dispatcher/dispatcher.go`). We move asks in batches of [`BATCH`], which keeps
//! events few; an ask is then seen by the core at most a batch later than the real one.
//!
//! An application with task groups is **reserving** instead of running first: its placeholders are created, one request
//! after the other over all applications, and only their tasks are sent. When each task group has as many bound placeholders
//! as it wants, the application runs and its own tasks go out with the next tick. A placeholder is deleted by the
//! dispatcher, which waits for the answer (`Task.DeleteTaskPod`). When the core gives a soft gang up, the application is
//! **resuming** until its placeholders are gone, then it runs; a hard one has failed, and so have its pods.
//!
//! The core says when an application is completed; if none of its pods waits here, it is forgotten, and a later pod is one of a
//! new application again. (The placeholders of a gang are not made a second time.)
//!
//! An application one of whose placeholders could not be bound goes on, here, when the time of its placeholders is over.
//!
//! Left out: the channel's limit of 1,048,576 events and what happens beyond it, the lock of the context that informer,
//! predicates and dispatcher share, events about a gang's progress.
//!
//! Cost: O(applications that wait) a tick, O(1) a task.
use std::collections::{BTreeMap, VecDeque};

use crate::cluster::{AppId, NodeId, PodId};
use crate::engine::Nanos;

/// Asks that the dispatcher sends in one piece of work.
pub const BATCH: usize = 32;

/// State of an application in the shim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Phase {
    #[default]
    New,
    Accepted,
    /// Only placeholders are sent; so many are not bound yet.
    Reserving(u32),
    /// Nothing is sent until so many placeholders are gone.
    Resuming(u32),
    Running,
    Failed,
}

/// What waits for the dispatcher.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Dispatch {
    /// Send the asks of these pods.
    Submit(Vec<PodId>),
    /// Bind a pod.
    Bind(PodId, NodeId),
    /// Delete a placeholder, and wait for the answer.
    Delete(PodId),
}

/// Tasks of an application that were not sent.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Waiting {
    app: AppId,
    pods: Vec<PodId>,
    placeholders: Vec<PodId>,
}

/// The shim.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Shim {
    interval_ns: Nanos,
    started_at: Nanos,
    /// When the timer of the next tick fires, if one is set.
    pub tick_at: Option<Nanos>,
    last_tick: Option<Nanos>,
    phases: Vec<Phase>,
    /// Applications with pods that were not sent, by order of appearance.
    waiting: BTreeMap<u32, Waiting>,
    order: Vec<u32>,
    next_order: u32,
    count: u64,
    /// Pods in the batches that the dispatcher has still to send.
    pub submitting: u64,
    /// What the dispatcher still has to do.
    pub dispatch: VecDeque<Dispatch>,
}

impl Shim {
    /// A shim that has not started.
    #[must_use]
    pub fn new(interval_ns: Nanos) -> Self {
        Self {
            interval_ns: interval_ns.max(1),
            started_at: 0,
            tick_at: None,
            last_tick: None,
            phases: Vec::new(),
            waiting: BTreeMap::new(),
            order: Vec::new(),
            next_order: 0,
            count: 0,
            submitting: 0,
            dispatch: VecDeque::new(),
        }
    }

    /// The first tick is now.
    pub fn start(&mut self, now: Nanos) {
        self.started_at = now;
    }

    /// The interval between ticks, ns.
    pub fn interval_ns(&self) -> Nanos {
        self.interval_ns
    }

    /// A pod was seen, or a placeholder. False: its application has failed, and it with it.
    pub fn add_pod(&mut self, app: AppId, pod: PodId, placeholder: bool) -> bool {
        let at = app as usize;
        if self.phases.len() <= at {
            self.phases.resize(at + 1, Phase::New);
            self.order.resize(at + 1, u32::MAX);
        }
        if self.phases[at] == Phase::Failed {
            return false;
        }
        if self.order[at] == u32::MAX {
            self.order[at] = self.next_order;
            self.next_order += 1;
        }
        let waiting =
            self.waiting.entry(self.order[at]).or_insert_with(|| Waiting { app, ..Waiting::default() });
        if placeholder {
            waiting.placeholders.push(pod);
        } else {
            waiting.pods.push(pod);
        }
        self.count += 1;
        true
    }

    /// The core has completed an application.
    pub fn complete(&mut self, app: AppId) {
        let at = app as usize;
        if self.phases.get(at) == Some(&Phase::Running) && !self.waiting.contains_key(&self.order[at]) {
            self.phases[at] = Phase::New;
            self.order[at] = u32::MAX;
        }
    }

    /// An application has placeholders from before the scheduler began: it runs.
    pub fn recover(&mut self, app: AppId) {
        let at = app as usize;
        if self.phases.len() <= at {
            self.phases.resize(at + 1, Phase::New);
            self.order.resize(at + 1, u32::MAX);
        }
        if self.order[at] == u32::MAX {
            self.order[at] = self.next_order;
            self.next_order += 1;
        }
        self.phases[at] = Phase::Running;
    }

    /// A placeholder of a reserving application is bound; whether it was the last.
    pub fn placeholder_bound(&mut self, app: AppId) -> bool {
        let Phase::Reserving(left) = &mut self.phases[app as usize] else { return false };
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.phases[app as usize] = Phase::Running;
            return true;
        }
        false
    }

    /// Whether an application waits for its placeholders to be bound.
    pub fn is_reserving(&self, app: AppId) -> bool {
        matches!(self.phases.get(app as usize), Some(Phase::Reserving(_)))
    }

    /// The core has given up the placeholders of a soft gang, of which so many exist.
    pub fn resume(&mut self, app: AppId, placeholders: u32) {
        self.phases[app as usize] =
            if placeholders == 0 { Phase::Running } else { Phase::Resuming(placeholders) };
        self.forget_placeholders(app);
    }

    /// A placeholder is gone; whether its application runs now for that.
    pub fn placeholder_gone(&mut self, app: AppId) -> bool {
        let Some(Phase::Resuming(left)) = self.phases.get_mut(app as usize) else { return false };
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.phases[app as usize] = Phase::Running;
            return true;
        }
        false
    }

    fn forget_placeholders(&mut self, app: AppId) {
        if let Some(waiting) = self.waiting.get_mut(&self.order[app as usize]) {
            self.count -= std::mem::take(&mut waiting.placeholders).len() as u64;
        }
    }

    /// The application fails: its pods that were not sent.
    pub fn fail(&mut self, app: AppId) -> Vec<PodId> {
        let at = app as usize;
        if self.phases.len() <= at {
            self.phases.resize(at + 1, Phase::New);
            self.order.resize(at + 1, u32::MAX);
        }
        self.phases[at] = Phase::Failed;
        let Some(waiting) = self.waiting.remove(&self.order[at]) else { return Vec::new() };
        self.count -= (waiting.pods.len() + waiting.placeholders.len()) as u64;
        waiting.pods
    }

    /// Pods that wait for a tick.
    #[must_use]
    pub const fn waiting(&self) -> u64 {
        self.count
    }

    /// Pods that the dispatcher has still to send.
    #[must_use]
    pub const fn dispatching(&self) -> u64 {
        self.submitting
    }

    /// The next tick after now, or now if it is one that has not run.
    #[must_use]
    pub fn next_tick(&self, now: Nanos) -> Nanos {
        let since = now.saturating_sub(self.started_at);
        let at = self.started_at + since.div_ceil(self.interval_ns) * self.interval_ns;
        if self.last_tick == Some(at) { at + self.interval_ns } else { at }
    }

    /// One tick: every waiting application takes a step; what running ones send is queued for the dispatcher. `gang`
    /// says how many placeholders an application has; those that begin to reserve are returned.
    pub fn tick(&mut self, now: Nanos, gang: impl Fn(AppId) -> u32) -> Vec<AppId> {
        self.last_tick = Some(now);
        let phases = &mut self.phases;
        let (dispatch, count, submitting) = (&mut self.dispatch, &mut self.count, &mut self.submitting);
        let mut reserving = Vec::new();
        let mut send = |pods: &mut Vec<PodId>| {
            *count -= pods.len() as u64;
            *submitting += pods.len() as u64;
            for batch in pods.chunks(BATCH) {
                dispatch.push_back(Dispatch::Submit(batch.to_vec()));
            }
            pods.clear();
        };
        self.waiting.retain(|_, waiting| {
            let phase = &mut phases[waiting.app as usize];
            match phase {
                Phase::New => *phase = Phase::Accepted,
                Phase::Accepted => match gang(waiting.app) {
                    0 => *phase = Phase::Running,
                    placeholders => {
                        *phase = Phase::Reserving(placeholders);
                        reserving.push(waiting.app);
                    }
                },
                Phase::Reserving(_) => send(&mut waiting.placeholders),
                Phase::Running => send(&mut waiting.pods),
                Phase::Resuming(_) | Phase::Failed => {}
            }
            !waiting.pods.is_empty() || !waiting.placeholders.is_empty()
        });
        reserving
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SECOND;

    fn sent(shim: &mut Shim) -> Vec<PodId> {
        let pods = |d| if let Dispatch::Submit(pods) = d { pods } else { Vec::new() };
        shim.dispatch.drain(..).flat_map(pods).collect()
    }

    /// One state step a tick: the first pod goes out in the third tick, a later one in the next.
    #[test]
    fn one_step_a_tick() {
        let mut shim = Shim::new(SECOND);
        shim.start(5 * SECOND);
        shim.add_pod(3, 7, false);
        assert_eq!(shim.next_tick(5 * SECOND), 5 * SECOND);
        shim.tick(5 * SECOND, |_| 0);
        assert_eq!(shim.next_tick(5 * SECOND), 6 * SECOND);
        shim.tick(6 * SECOND, |_| 0);
        assert!(sent(&mut shim).is_empty());
        shim.tick(7 * SECOND, |_| 0);
        assert_eq!(sent(&mut shim), [7]);
        shim.add_pod(3, 8, false);
        assert_eq!(shim.next_tick(7 * SECOND + 1), 8 * SECOND);
        shim.tick(8 * SECOND, |_| 0);
        assert_eq!(sent(&mut shim), [8]);
        assert_eq!(shim.waiting(), 0);
    }
}
