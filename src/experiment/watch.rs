//! Looking at runs under way from outside, and stopping them.
//!
//! A thread that [enters](Watch::enter) a [`Watch`] has its simulations looked at: every [`EVENTS`] events the event loop
//! publishes how far it is and asks whether it should go on. If not, the thread unwinds with [`Stopped`] as its
//! payload, which [`catch`] turns into an error: nobody in between (sweeps, searches, fits) has to know of it, and
//! what is half-written is removed by its owner as after any other failure. A pool of threads enters in its
//! `start_handler`.
//!
//! A watch changes no result: it only reads, between two events.
//!
//! Left out: phases that are no simulation (reading traces, metrics at the end) are not looked at.
//!
//! Cost: a comparison an event; a lock every [`EVENTS`] events.
use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::simulation::PodCounts;
use crate::engine::Nanos;

/// Events between two looks: some milliseconds.
pub const EVENTS: u64 = 1 << 14;

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Virtual time, ns.
    pub now_ns: Nanos,
    /// Pods by stage.
    pub counts: PodCounts,
    /// Pods that the scheduler could try now.
    pub backlog: u64,
    /// Events handled.
    pub events: u64,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    events: AtomicU64,
    latest: Mutex<Progress>,
}

/// Looks at the runs of the threads that entered it.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Shared>);

thread_local! {
    static CURRENT: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// The payload with which a stopped simulation unwinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Stopped;

/// Until it is dropped its thread's simulations are looked at.
pub struct Entered(Option<Watch>);

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        CURRENT.with(|current| *current.borrow_mut() = before);
    }
}

impl Watch {
    /// The simulations that this thread runs from now on are looked at, as long as the guard lives.
    #[must_use]
    pub fn enter(&self) -> Entered {
        CURRENT.with(|current| Entered(current.borrow_mut().replace(self.clone())))
    }

    /// As [`enter`](Self::enter), for as long as the thread lives.
    pub fn enter_for_good(&self) {
        CURRENT.with(|current| *current.borrow_mut() = Some(self.clone()));
    }

    /// The watch of this thread.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.with(|current| current.borrow().clone())
    }

    /// Every run that is looked at ends at its next look.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }

    /// How far the run is that was looked at last.
    #[must_use]
    pub fn progress(&self) -> Progress {
        *self.0.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events of all runs so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.0.events.load(Ordering::Relaxed)
    }

    /// A look.
    ///
    /// # Panics
    /// Unwinds with [`Stopped`] if it was [stopped](Self::stop).
    pub fn look(&self, progress: Progress) {
        self.0.events.fetch_add(EVENTS, Ordering::Relaxed);
        *self.0.latest.lock().unwrap_or_else(PoisonError::into_inner) = progress;
        self.check();
    }

    /// Ends the thread's work if it was stopped.
    ///
    /// # Panics
    /// Unwinds with [`Stopped`].
    pub fn check(&self) {
        if self.0.stop.load(Ordering::Relaxed) {
            // No message of the panic hook: this is no bug.
            resume_unwind(Box::new(Stopped));
        }
    }
}

/// What a call returns, or the payload with which it unwound.
///
/// # Errors
/// [`Stopped`] if a watch stopped it; anything else is a panic's.
pub fn catch<T>(call: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(call))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::output::digest;
    use crate::experiment::run::{Environment, RunSpec};
    use crate::scenario::Document;

    fn spec() -> RunSpec {
        let text = "apiVersion: podpace/v1\nkind: Scenario\nname: watched\n\
            cluster: {nodes: [{count: 50, template: {allocatable: {cpu: 32, memory: 64Gi}}}]}\n\
            scheduler: {kind: kube-scheduler, client: {qps: 1000, burst: 1000}}\n\
            workload: {pods: [{count: 5000, requests: {cpu: 100m, memory: 100Mi}}], start: backlog}\n";
        RunSpec::of_scenario(Document::parse("watched.yaml", text, None).unwrap()).unwrap()
    }

    #[test]
    fn a_look_changes_nothing_and_tells_how_far_it_is() {
        let environment = Environment::built_in();
        let alone = spec().simulate(&environment).unwrap();
        let watch = Watch::default();
        let entered = watch.enter();
        let watched = spec().simulate(&environment).unwrap();
        drop(entered);
        assert!(Watch::current().is_none());
        assert_eq!(digest(&alone).unwrap(), digest(&watched).unwrap());
        let (progress, end) = (watch.progress(), watched.finished.kernel.events_handled());
        assert!(progress.events > 0 && progress.events <= end && progress.events.is_multiple_of(EVENTS));
        assert_eq!(progress.counts.total, 5000);
        assert_eq!(watch.events(), end / EVENTS * EVENTS);
    }

    #[test]
    fn a_stopped_run_ends_and_says_so() {
        let watch = Watch::default();
        watch.stop();
        let result = catch(|| {
            let _entered = watch.enter();
            spec().simulate(&Environment::built_in()).is_ok()
        });
        assert!(result.unwrap_err().is::<Stopped>());
        assert!(Watch::current().is_none(), "the guard was dropped");
    }
}
