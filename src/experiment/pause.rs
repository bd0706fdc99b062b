//! Runs that pause: to write checkpoints and cluster snapshots on the way, and to go on from a checkpoint.
//!
//! A pause at virtual time t comes after everything up to t and before anything later. It changes nothing: the loop is
//! left between two events and entered again, so a run with pauses has the bytes of one without.
//!
//! What can't be written on the way does not end the run: its result is worth more. It is told at the end.
//!
//! Cost: nothing between pauses.
use std::path::{Path, PathBuf};

use super::checkpoint::{self, Checkpoint, CheckpointError, Header};
use super::run::{Completed, Environment, RunError, RunSpec, VERSION, succeeded};
use super::simulation::{Ended, Simulation};
use super::snapshot;
use crate::engine::Nanos;
use crate::engine::guard::guarded;
use crate::engine::time::format_exact;

/// When a run pauses, and what is written then.
#[derive(Clone, Debug, Default)]
pub struct Pauses {
    /// A checkpoint to go on from.
    pub resume: Option<PathBuf>,
    /// Where checkpoints go: each replaces the one before.
    pub checkpoint: Option<PathBuf>,
    /// Times of checkpoints, ns.
    pub checkpoint_at_ns: Vec<Nanos>,
    /// Another checkpoint each so many ns; a span without events has none.
    pub checkpoint_every_ns: Option<Nanos>,
    /// Where snapshots go: the folder itself for one time, a folder a time below it for several.
    pub snapshot: Option<PathBuf>,
    /// Times of snapshots, ns.
    pub snapshot_at_ns: Vec<Nanos>,
}

/// A run with pauses can't be done.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PauseError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("error: {}: already there; name another folder for the snapshot, or remove it yourself", .0.display())]
    SnapshotExists(PathBuf),
}

/// A run that has ended, and what was written on the way.
pub struct Paused {
    /// The run.
    pub completed: Completed,
    /// What was written, and what was not because the run had ended.
    pub notes: Vec<String>,
    /// What could not be written.
    pub failures: Vec<String>,
}

/// Goes on with a run. One that comes from a file may break any invariant: then the file is at fault.
fn advance(
    simulation: &mut Simulation,
    until_ns: Nanos,
    resumed: Option<&Path>,
) -> Result<Option<Ended>, CheckpointError> {
    match resumed {
        None => Ok(simulation.advance(until_ns)),
        Some(path) => guarded(|| simulation.advance(until_ns)).map_err(|why| inconsistent(path, why)),
    }
}

fn inconsistent(path: &Path, why: String) -> CheckpointError {
    CheckpointError::Inconsistent { path: path.to_owned(), why }
}

impl Pauses {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.resume.is_none() && self.checkpoint.is_none() && self.snapshot.is_none()
    }

    /// Where the snapshot of a time goes.
    fn snapshot_path(&self, folder: &Path, at_ns: Nanos) -> PathBuf {
        let several = self.snapshot_at_ns.iter().any(|t| *t != at_ns);
        if several { folder.join(format_exact(at_ns)) } else { folder.to_owned() }
    }

    /// The first pause after `after_ns`; the next event is at `event_ns`.
    fn next(&self, after_ns: Option<Nanos>, event_ns: Nanos) -> Option<Nanos> {
        let later = |t: &Nanos| after_ns.is_none_or(|after| *t > after);
        let listed = self.checkpoint_at_ns.iter().chain(&self.snapshot_at_ns).copied().filter(later).min();
        let regular = self.checkpoint_every_ns.map(|every| {
            // Without events in between, one checkpoint is as good as many.
            let from = event_ns.max(after_ns.unwrap_or(0).saturating_add(1)).max(1);
            from.div_ceil(every.max(1)).saturating_mul(every.max(1))
        });
        listed.into_iter().chain(regular).min()
    }

    fn wants_checkpoint(&self, at_ns: Nanos) -> bool {
        self.checkpoint_at_ns.contains(&at_ns)
            || self.checkpoint_every_ns.is_some_and(|every| at_ns > 0 && at_ns.is_multiple_of(every.max(1)))
    }

    /// Resolves and runs, or goes on with, a scenario.
    ///
    /// # Errors
    /// The scenario or the checkpoint can't be used, the scheduler can't be saved, or a snapshot's folder is there.
    pub fn simulate(&self, spec: &RunSpec, environment: &Environment) -> Result<Paused, PauseError> {
        if let Some(folder) = &self.snapshot {
            for at_ns in &self.snapshot_at_ns {
                let path = self.snapshot_path(folder, *at_ns);
                let is_empty = std::fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none());
                if path.exists() && !is_empty {
                    return Err(PauseError::SnapshotExists(path));
                }
            }
        }
        let checkpoint = self.resume.as_deref().map(Checkpoint::read).transpose()?;
        let plan = spec.plan(environment)?;
        let inputs = spec.inputs(&plan);
        let registry = &environment.registry;
        let (mut simulation, mut paused_ns) = match &checkpoint {
            Some(checkpoint) => {
                let simulation = checkpoint.resume(&plan.name, spec.seed, &inputs, &plan, registry)?;
                (simulation, Some(checkpoint.header().at_ns))
            }
            None => {
                let simulation = Simulation::new(&plan, registry)
                    .map_err(|source| RunError::Build { run: spec.name.clone(), source })?;
                (simulation, None)
            }
        };
        drop(checkpoint);
        if self.checkpoint.is_some() {
            simulation.check_saveable().map_err(CheckpointError::Save)?;
        }
        let mut notes: Vec<String> =
            self.missed(paused_ns, "the checkpoint that it goes on from is not earlier");
        let mut failures = Vec::new();
        let ended = loop {
            let at_ns = self.next(paused_ns, simulation.now()).unwrap_or(Nanos::MAX);
            if let Some(ended) = advance(&mut simulation, at_ns, self.resume.as_deref())? {
                break ended;
            }
            paused_ns = Some(at_ns);
            let when = format_exact(at_ns);
            let header = || Header {
                podpace: VERSION.to_owned(),
                scenario: plan.name.clone(),
                seed: spec.seed,
                at_ns,
                inputs: inputs.clone(),
            };
            if let Some(folder) = self.snapshot.as_ref().filter(|_| self.snapshot_at_ns.contains(&at_ns)) {
                let path = self.snapshot_path(folder, at_ns);
                let checkpoint = |path: &Path| checkpoint::write(path, &header(), &simulation);
                match snapshot::write(&path, &simulation, at_ns, checkpoint) {
                    Ok(counts) => notes.push(format!("snapshot at {when} in {}: {counts}", path.display())),
                    Err(error) => failures.push(format!("error: no snapshot at {when}: {error}")),
                }
            }
            if let Some(path) = self.checkpoint.as_ref().filter(|_| self.wants_checkpoint(at_ns)) {
                match checkpoint::write(path, &header(), &simulation) {
                    Ok(()) => notes.push(format!("checkpoint at {when} in {}", path.display())),
                    Err(error) => failures.push(error.to_string()),
                }
            }
        };
        let end = format_exact(simulation.now().min(plan.limit_ns));
        notes.extend(self.unreached(paused_ns, &format!("the run ended at {end}")));
        let finished = match &self.resume {
            None => simulation.finish(ended),
            Some(path) => guarded(|| simulation.finish(ended)).map_err(|why| inconsistent(path, why))?,
        };
        let finished =
            succeeded(finished).map_err(|source| RunError::Build { run: spec.name.clone(), source })?;
        let summary = spec.summary(&finished, &plan, inputs);
        Ok(Paused { completed: Completed { finished, summary }, notes, failures })
    }

    /// Times at or before `until_ns`, at which nothing can be written any more.
    fn missed(&self, until_ns: Option<Nanos>, why: &str) -> Vec<String> {
        self.not_written(|t| until_ns.is_some_and(|until| t <= until), why)
    }

    /// Times after `from_ns`, which the run did not reach.
    fn unreached(&self, from_ns: Option<Nanos>, why: &str) -> Vec<String> {
        self.not_written(|t| from_ns.is_none_or(|from| t > from), why)
    }

    fn not_written(&self, is_missing: impl Fn(Nanos) -> bool, why: &str) -> Vec<String> {
        [("checkpoint", &self.checkpoint_at_ns), ("snapshot", &self.snapshot_at_ns)]
            .into_iter()
            .flat_map(|(what, times)| times.iter().map(move |t| (what, *t)))
            .filter(|(_, t)| is_missing(*t))
            .map(|(what, t)| format!("warning: no {what} at {}: {why}", format_exact(t)))
            .collect()
    }
}
