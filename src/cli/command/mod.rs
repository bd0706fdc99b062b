//! One module a subcommand: library calls in, text and exit code out.
pub mod calibrate;
pub mod check;
pub mod completions;
pub mod diff;
pub mod explain;
pub mod knee;
pub mod merge;
pub mod models;
pub mod plan;
pub mod report;
pub mod run;
pub mod schema;
pub mod sweep;
pub mod trace;
pub mod validate;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::args::{JobArgs, ModelArgs};
use super::failure::Failure;
use super::machine;
use crate::cost::ProfileLibrary;
use crate::experiment::run::Environment;
use crate::experiment::watch::Watch;

/// A pool of threads of the asked size, of its own. Whoever watches this thread watches its runs.
fn pool(jobs: &JobArgs) -> Result<ThreadPool, Failure> {
    let watch = Watch::current();
    ThreadPoolBuilder::new()
        .num_threads(jobs.jobs.map_or(0, usize::from))
        .start_handler(move |_| watch.iter().for_each(Watch::enter_for_good))
        .build()
        .map_err(|error| Failure::run(format!("can't start threads: {error}; try --jobs 1")))
}

/// The cost profiles: those of the folder, if one is named, before the built-in ones.
fn profiles(model: &ModelArgs) -> Result<ProfileLibrary, Failure> {
    match &model.models {
        None => Ok(ProfileLibrary::built_in()),
        Some(folder) if folder.is_dir() => Ok(ProfileLibrary::with_folder(folder)),
        Some(folder) => Err(Failure::input(format!("{}: no such folder of cost profiles", folder.display()))),
    }
}

/// What all runs share. A run takes no more memory than `max_memory`, or than the machine has.
fn environment(model: &ModelArgs, max_memory: Option<u64>) -> Result<Environment, Failure> {
    let max_memory = max_memory.or_else(machine::memory_bytes);
    Ok(Environment { profiles: profiles(model)?, max_memory, ..Environment::built_in() })
}
