//! Long calls: on threads of their own, without the interpreter's lock, with progress and Ctrl-C.
//!
//! The work runs under a [`Watch`]; the calling thread waits for it, asks Python for signals twenty times a second and
//! reports progress. On Ctrl-C (or an exception of the progress function) it stops the watch: simulations end at their
//! next look, some milliseconds later. Work that is no simulation (reading a large trace) is not waited for longer than
//! [`PATIENCE`]; it ends by itself, and its result is dropped.
use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use podpace::cli::failure::Failure;
use podpace::experiment::watch::{Stopped, Watch, catch};
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use rayon::ThreadPoolBuilder;

use crate::failure;
use crate::scheduler::Raised;

const POLL: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_millis(500);

/// Counts what is done of how much.
#[derive(Clone, Default)]
pub struct Counter(Arc<[AtomicU64; 2]>);

impl Counter {
    /// One more is done.
    pub fn done(&self) {
        self.0[0].fetch_add(1, Ordering::Relaxed);
    }
    /// There are so many.
    pub fn set_total(&self, total: u64) {
        self.0[1].store(total, Ordering::Relaxed);
    }
    fn get(&self) -> (u64, u64) {
        (self.0[0].load(Ordering::Relaxed), self.0[1].load(Ordering::Relaxed))
    }
}

/// Runs `work` on a pool of `jobs` threads (0: one a core; 1: a single thread, no pool).
pub fn detached<T: Send + 'static>(
    py: Python<'_>,
    jobs: usize,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&Counter) -> Result<T, Failure> + Send + 'static,
) -> PyResult<T> {
    let (watch, counter) = (Watch::default(), Counter::default());
    let (sender, receiver) = channel();
    let receiver = Mutex::new(receiver);
    let receive = |time| receiver.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(time);
    let (inner_watch, inner_counter) = (watch.clone(), counter.clone());
    std::thread::spawn(move || {
        inner_watch.enter_for_good();
        let result = catch(|| {
            if jobs == 1 {
                return work(&inner_counter);
            }
            let pool_watch = inner_watch.clone();
            ThreadPoolBuilder::new()
                .num_threads(jobs)
                .start_handler(move |_| pool_watch.enter_for_good())
                .build()
                .map_err(|error| Failure::run(format!("can't start threads: {error}; try jobs=1")))?
                .install(|| work(&inner_counter))
        });
        // Nobody listens any more after Ctrl-C.
        let _ = sender.send(result);
    });
    let mut shown = (0, 0);
    let mut show = |py: Python<'_>| -> PyResult<()> {
        py.check_signals()?;
        let now = counter.get();
        if let Some(progress) = progress.filter(|_| now != shown) {
            shown = now;
            progress.call1(now)?;
        }
        Ok(())
    };
    let result = loop {
        match py.detach(|| receive(POLL)) {
            Ok(result) => {
                show(py)?;
                break result;
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Err(error) = show(py) {
                    watch.stop();
                    let _ = py.detach(|| receive(PATIENCE));
                    return Err(error);
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(failure(Failure::run("the worker thread is gone")));
            }
        }
    };
    match result {
        Ok(result) => result.map_err(failure),
        Err(payload) => Err(unwound(payload)),
    }
}

/// What ended the work from within: a scheduler's exception, a stop, or a broken invariant (its message is on stderr).
fn unwound(payload: Box<dyn Any + Send>) -> PyErr {
    match payload.downcast::<Raised>() {
        Ok(raised) => raised.0,
        Err(payload) if payload.is::<Stopped>() => PyKeyboardInterrupt::new_err("interrupted"),
        Err(payload) => {
            let message = payload.downcast_ref::<String>().map_or("a panic without a message", |text| text);
            failure(Failure::run(format!(
                "podpace broke one of its own invariants ({message}); please report it with the input"
            )))
        }
    }
}
