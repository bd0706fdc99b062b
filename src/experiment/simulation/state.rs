//! The whole state of a simulation that pauses, as bytes, and back.
//!
//! What the plan says (profiles, times of creation, run times, limits) is not written: a simulation is built from the
//! same plan and then takes over the state. Who adds a field to [`Simulation`] is stopped by the compiler in
//! [`Simulation::save`] and decides there: an input, or state that [`Simulation::restore`] reads back.
//!
//! Cost: O(state) bytes: some 30 a pod before compression.
use std::io::Write;

use super::{BuildError, SchedulerRuntime, Simulation};
use crate::cluster::PodId;
use crate::control_plane::node_agents::AgentKind;
use crate::engine::Nanos;
use crate::engine::codec::{self, CodecError};
use crate::scenario::plan::{Lifetimes, Plan};
use crate::scheduler::Registry;

/// A saved state does not fit what was built from the plan.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum RestoreError {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("it has {0}")]
    OtherParts(String),
}

impl Simulation {
    /// Writes the state. To be called while [`advance`](Self::advance) pauses.
    ///
    /// # Errors
    /// The writer's; a scheduler that can't be saved.
    pub fn save(&self, out: &mut dyn Write) -> Result<(), CodecError> {
        let Self {
            // Inputs, and what is fixed once the parts are in their places.
            name: _,
            seed: _,
            agents_watcher: _,
            server_process: _,
            creation: _,
            creator: _,
            lifetimes: _,
            stop: _,
            limit_ns: _,
            stall_ns: _,
            window_ns: _,
            step_ns: _,
            scheduled: _,
            start_ns: _,
            // Empty between events.
            actions: _,
            telemetry_row: _,
            // State.
            kernel,
            control_plane,
            cluster,
            scheduler,
            agents,
            stages,
            replica_sets,
            kueue,
            changes,
            autoscaling,
            loader,
            counts,
            queued,
            expected_finishes,
            stations,
            seen,
            telemetry,
            last_progress,
            in_hand,
        } = self;
        let SchedulerRuntime {
            process: _,
            client: _,
            events_client: _,
            controller_client: _,
            watcher: _,
            failed: _,
            has_backlog: _,
            start_up_delay_ns: _,
            model,
            rng,
            started,
            jobs,
            start_up_ps,
            early,
            epoch,
        } = scheduler;
        codec::write(out, "clock and hosts", kernel)?;
        codec::write(out, "control plane", control_plane)?;
        codec::write(out, "cluster", cluster)?;
        codec::write(out, "scheduler", &model.save()?)?;
        codec::write(out, "scheduler's process", &(rng, started, jobs, start_up_ps, early, epoch))?;
        codec::write(out, "node agents", &(agents, stages))?;
        codec::write(out, "controllers", &(replica_sets, loader, changes, kueue, autoscaling))?;
        codec::write(
            out,
            "measures",
            &(counts, queued, expected_finishes, stations, seen, telemetry, last_progress),
        )?;
        codec::write(out, "next event", in_hand)
    }

    /// A simulation of this plan that goes on where [`save`](Self::save) was called.
    ///
    /// # Errors
    /// The plan can't be built; the bytes are no state of it.
    pub fn restore(plan: &Plan, registry: &Registry, mut state: &[u8]) -> Result<Self, RestoreError> {
        let mut it = Self::build(plan, registry)?;
        let bytes = &mut state;
        let built = std::mem::replace(&mut it.kernel, codec::read(bytes, "clock and hosts")?);
        it.kernel.keep_inputs_of(built).map_err(RestoreError::OtherParts)?;
        let built = std::mem::replace(&mut it.control_plane, codec::read(bytes, "control plane")?);
        it.control_plane.keep_inputs_of(built);
        let built = std::mem::replace(&mut it.cluster, codec::read(bytes, "cluster")?);
        if it.cluster.pods.len() < built.pods.len() || it.cluster.nodes.len() < built.nodes.len() {
            let (pods, nodes) = (it.cluster.pods.len(), it.cluster.nodes.len());
            return Err(RestoreError::OtherParts(format!("{pods} pods and {nodes} nodes")));
        }
        drop(built);
        let s = &mut it.scheduler;
        s.model.restore(&codec::read::<Vec<u8>>(bytes, "scheduler")?)?;
        s.has_backlog = s.model.has_backlog();
        (s.rng, s.started, s.jobs, s.start_up_ps, s.early, s.epoch) =
            codec::read(bytes, "scheduler's process")?;
        let built_stages = it.stages.take();
        (it.agents, it.stages) = codec::read(bytes, "node agents")?;
        if let (Some(stages), Some(built)) = (&mut it.stages, built_stages) {
            stages.keep_inputs_of(&built);
        }
        let (built, built_kueue) = (it.changes.take(), it.kueue.take());
        let built_autoscaling = it.autoscaling.take();
        (it.replica_sets, it.loader, it.changes, it.kueue, it.autoscaling) =
            codec::read(bytes, "controllers")?;
        if let (Some(autoscaling), Some(built)) = (&mut it.autoscaling, built_autoscaling) {
            autoscaling.keep_inputs_of(*built);
        }
        if let (Some(kueue), Some(built)) = (&mut it.kueue, built_kueue) {
            kueue.keep_inputs_of(&built);
        }
        if let (Some(changes), Some(built)) = (&mut it.changes, built) {
            let built = *built;
            changes.faults.keep_inputs_of(built.faults);
            changes.servers.keep_inputs_of(built.servers);
        }
        (it.counts, it.queued, it.expected_finishes, it.stations, it.seen, it.telemetry, it.last_progress) =
            codec::read(bytes, "measures")?;
        it.in_hand = codec::read(bytes, "next event")?;
        if bytes.is_empty() {
            Ok(it)
        } else {
            Err(CodecError::TooLong { what: "the simulation".to_owned(), left: bytes.len() }.into())
        }
    }
}

/// What is left of a pod's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLeft {
    /// How long it still runs, or will run once it does, ns.
    pub run_ns: Nanos,
    /// Whether it is the load client that ends it.
    pub is_hold: bool,
}

impl Simulation {
    /// The plan's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The plan's seed.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Fails if the scheduler can't be saved.
    ///
    /// # Errors
    /// It says why.
    pub fn check_saveable(&self) -> Result<(), CodecError> {
        self.scheduler.model.save().map(drop)
    }

    /// What is left at `at_ns` of the life of a pod that has not finished; none: it stays.
    #[must_use]
    pub fn time_left(&self, pod: PodId, at_ns: Nanos) -> Option<TimeLeft> {
        let is_hold = matches!(self.lifetimes, Lifetimes::Hold(_));
        let span = self.span(pod)?;
        let timeline = self.cluster.pods.timeline(pod);
        let since_ns = if let Some(restarted_ns) = self.agents.restarted_ns(pod) {
            if restarted_ns <= at_ns { restarted_ns } else { Nanos::MAX }
        } else if !self.is_counted(pod) {
            // It has been there from the beginning.
            0
        } else if is_hold || self.agents.kind() == AgentKind::None {
            timeline.bound_ns
        } else {
            timeline.running_ns
        };
        let run_ns =
            if since_ns == Nanos::MAX { span } else { (since_ns.saturating_add(span)).saturating_sub(at_ns) };
        Some(TimeLeft { run_ns, is_hold })
    }
}
