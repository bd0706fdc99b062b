//! A long run as it goes on: a few lines at a terminal that are drawn anew, else a plain line now and then.
//!
//! The event loop publishes how far it is to a [`Watch`]; a thread of its own looks at it five times a second. Rates are
//! of virtual time, but for the events, which are of real time. Nothing is shown of a run that is over at once.
//!
//! Cost: that of the watch.
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::clock::Stopwatch;
use super::grid::{number, sparkline, whole};
use super::terminal::say;
use crate::engine::time::format_short;
use crate::engine::{Nanos, SECOND};
use crate::experiment::watch::{Entered, Progress, Watch};

/// Between two looks.
const TICK: Duration = Duration::from_millis(200);
/// Between two plain lines.
const LINE: Duration = Duration::from_secs(30);
/// Marks of the sparkline.
const MARKS: usize = 60;

/// Shows a run until it is dropped.
pub struct Live {
    _entered: Entered,
    over: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Shows the run that this thread does next, unless `quiet`.
#[must_use]
pub fn live(quiet: bool) -> Live {
    // Who runs a command in its own process (the Python package) watches it already.
    let watch = Watch::current().unwrap_or_default();
    let entered = watch.enter();
    let (sender, receiver) = channel();
    if quiet {
        return Live { _entered: entered, over: None, thread: None };
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    // Hidden where there is no terminal, and at one that can't move its cursor (`TERM=dumb`): lines suit both.
    let terminal = !bar.is_hidden();
    if let Ok(style) = ProgressStyle::with_template("{msg}") {
        bar.set_style(style);
    }
    let thread = std::thread::spawn(move || {
        let (stopwatch, mut history, mut next_line) = (Stopwatch::start(), History::default(), LINE);
        while receiver.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            let (progress, elapsed) = (watch.progress(), stopwatch.elapsed());
            if progress.events == 0 {
                continue;
            }
            history.add(&progress);
            if terminal {
                bar.set_message(dashboard(&progress, &history, elapsed));
            } else if elapsed >= next_line {
                say(&line(&progress, elapsed));
                next_line += LINE;
            }
        }
        bar.finish_and_clear();
    });
    Live { _entered: entered, over: Some(sender), thread: Some(thread) }
}

impl Drop for Live {
    fn drop(&mut self) {
        drop(self.over.take());
        if let Some(thread) = self.thread.take() {
            // It only draws.
            let _ = thread.join();
        }
    }
}

/// Bindings over virtual time, one entry a look.
#[derive(Default)]
struct History {
    last: (Nanos, u64),
    rates: Vec<f64>,
}

impl History {
    fn add(&mut self, progress: &Progress) {
        let (at, bound) = self.last;
        if progress.now_ns > at {
            let span = (progress.now_ns - at) as f64 / SECOND as f64;
            self.rates.push(progress.counts.bound.saturating_sub(bound) as f64 / span);
            self.last = (progress.now_ns, progress.counts.bound);
        }
        if self.rates.len() > MARKS {
            self.rates.drain(..self.rates.len() - MARKS);
        }
    }
}

fn dashboard(progress: &Progress, history: &History, elapsed: Duration) -> String {
    let Progress { now_ns, counts: c, backlog, events } = progress;
    let seconds = elapsed.as_secs_f64().max(1e-3);
    let share = c.bound as f64 / c.total.max(1) as f64;
    format!(
        "virtual time {}   after {:.1} s   {} events, {}/s\n\
         pods   {} of {} bound ({:.0} %)   created {}   running {}   finished {}   in the scheduler's queue {}\n\
         bound  {} {}/s",
        format_short(*now_ns),
        seconds,
        whole(*events),
        number(*events as f64 / seconds),
        whole(c.bound),
        whole(c.total),
        share * 100.0,
        whole(c.created),
        whole(c.running),
        whole(c.finished),
        whole(*backlog),
        sparkline(&history.rates),
        number(history.rates.last().copied().unwrap_or(0.0)),
    )
}

fn line(progress: &Progress, elapsed: Duration) -> String {
    format!(
        "simulated {} after {} s: {} of {} pods bound, {} events",
        format_short(progress.now_ns),
        elapsed.as_secs(),
        whole(progress.counts.bound),
        whole(progress.counts.total),
        whole(progress.events)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::simulation::PodCounts;

    fn at(seconds: u64, bound: u64) -> Progress {
        let counts = PodCounts { total: 1000, created: 800, bound, ..PodCounts::default() };
        Progress { now_ns: seconds * SECOND, counts, backlog: 7, events: 32_768 }
    }

    #[test]
    fn rates_are_of_virtual_time() {
        let mut history = History::default();
        for (seconds, bound) in [(2, 100), (2, 100), (4, 500)] {
            history.add(&at(seconds, bound));
        }
        assert_eq!(history.rates.iter().map(|r| *r as u64).collect::<Vec<_>>(), [50, 200]);
        let text = dashboard(&at(4, 500), &history, Duration::from_secs(2));
        let expected = "virtual time 4s   after 2.0 s   32,768 events, 16,384/s\n\
             pods   500 of 1,000 bound (50 %)   created 800   running 0   finished 0   in the scheduler's queue 7\n\
             bound  ▃█ 200/s";
        assert_eq!(text, expected);
    }

    #[test]
    fn without_a_terminal_a_line_says_it() {
        let text = line(&at(65, 500), Duration::from_secs(30));
        assert_eq!(text, "simulated 1m05s after 30 s: 500 of 1,000 pods bound, 32,768 events");
    }

    #[test]
    fn a_quiet_run_is_not_shown() {
        assert!(live(true).thread.is_none());
        assert!(Watch::current().is_none());
    }
}
