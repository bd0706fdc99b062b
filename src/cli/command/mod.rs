//! One module a subcommand: library calls in, text and exit code out.
pub mod check;
pub mod completions;
pub mod diff;
pub mod explain;
pub mod models;
pub mod run;
pub mod schema;
pub mod sweep;
pub mod trace;
pub mod validate;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::args::JobArgs;
use super::failure::Failure;

/// A pool of threads of the asked size, of its own.
fn pool(jobs: &JobArgs) -> Result<ThreadPool, Failure> {
    ThreadPoolBuilder::new()
        .num_threads(jobs.jobs.map_or(0, usize::from))
        .build()
        .map_err(|error| Failure::run(format!("can't start threads: {error}; try --jobs 1")))
}
