//! Kueue between the load client, which creates suspended jobs, and the Job controller, which creates the pods of those that may begin.
//!
//! Nothing here decides: events go to `control_plane::controllers::kueue`, and what it says goes to the controllers.
//!
//! Cost: O(pods) once a job, for the specs that flavors change.
use std::collections::BTreeMap;

use super::{BuildError, Builder, ClientIdentity, Simulation, bucket, flow};
use crate::cluster::{NO_NODE, PodId};
use crate::control_plane::controllers::kueue::{JobTimes, Kueue};
use crate::control_plane::{ControlPlane, Verb};
use crate::engine::Nanos;

/// What Kueue did in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admissions {
    /// From a job's creation to its quota, ns, ascending.
    pub wait_ns: Vec<Nanos>,
    /// From its quota to its unsuspension, ns, ascending.
    pub start_ns: Vec<Nanos>,
    /// Jobs that were created.
    pub created: u64,
    /// By job: its first pod, one past its last, and its times.
    pub jobs: Vec<(PodId, PodId, JobTimes)>,
    /// Pods that wait, by reason.
    pub pending: BTreeMap<String, u64>,
}

impl Simulation {
    /// Kueue's process and client.
    pub(super) fn build_kueue(
        b: &mut Builder<'_>,
        control_plane: &mut ControlPlane,
        max_streams: u32,
    ) -> Result<Option<Box<Kueue>>, BuildError> {
        let Some(plan) = &b.plan.kueue else { return Ok(None) };
        let process = b.process("kueue", &plan.place);
        let transport = control_plane.add_transport(&mut b.kernel, Some(process), max_streams);
        let flow = flow(control_plane, ClientIdentity::ServiceAccount, "kueue");
        let bucket = bucket(plan.client);
        let client = control_plane.add_client(&mut b.kernel, "kueue", Some(process), transport, bucket, flow);
        let kueue = Kueue::new(&mut b.kernel, plan.config.clone(), client, process)?;
        Ok(Some(Box::new(kueue)))
    }

    /// A job is due: with Kueue the load client creates it, suspended; else it begins at once.
    pub(super) fn on_job_arrives(&mut self, job: u32) {
        match &self.kueue {
            None => self.on_set_arrives(job),
            Some(kueue) => {
                let pod = kueue.key_of(job);
                self.control_plane.submit(
                    &mut self.kernel,
                    self.loader.client,
                    Verb::PutObject,
                    pod,
                    NO_NODE,
                );
            }
        }
    }

    /// The creation of a job was answered, or the write of its status by the Job controller; tried again if it failed.
    pub(super) fn on_job_written(&mut self, by_loader: bool, pod: PodId, ok: bool) {
        let Some(kueue) = &mut self.kueue else { return };
        let client = if by_loader { self.loader.client } else { self.creator };
        if !ok {
            self.control_plane.submit(&mut self.kernel, client, Verb::PutObject, pod, NO_NODE);
        } else if by_loader {
            kueue.on_job(&mut self.kernel, pod);
        } else {
            kueue.on_job_completed(&mut self.kernel, pod);
        }
    }

    /// One of Kueue's own requests was answered: a job may begin.
    pub(super) fn on_kueue_answered(&mut self, pod: PodId, ok: bool) {
        let Some(kueue) = &mut self.kueue else { return };
        let started = kueue.on_answered(&mut self.kernel, &mut self.control_plane, pod, ok);
        let Some((job, spec)) = started else { return };
        if let (Some(spec), crate::scenario::plan::Creation::ReplicaSets { ranges, .. }) =
            (spec, &self.creation)
        {
            let (from, to) = ranges[job as usize];
            for pod in from..to {
                self.cluster.pods.set_spec(pod, spec);
            }
        }
        self.on_set_arrives(job);
    }

    /// A pod of a job has finished.
    pub(super) fn on_job_pod_finished(&mut self, pod: PodId) {
        let Some(kueue) = &mut self.kueue else { return };
        if let Some(job) = kueue.on_pod_finished(pod) {
            self.control_plane.submit(&mut self.kernel, self.creator, Verb::PutObject, job, NO_NODE);
        }
    }

    /// What Kueue did, for measures.
    pub(super) fn admissions(&self) -> Option<Admissions> {
        let kueue = self.kueue.as_ref()?;
        let mut it = Admissions { pending: kueue.pending_reasons(), ..Admissions::default() };
        it.jobs = kueue.jobs().collect();
        for times in kueue.times().iter().filter(|t| t.created_ns != Nanos::MAX) {
            it.created += 1;
            if times.admitted_ns != Nanos::MAX {
                it.wait_ns.push(times.admitted_ns - times.created_ns);
            }
            if times.started_ns != Nanos::MAX {
                it.start_ns.push(times.started_ns - times.admitted_ns);
            }
        }
        it.wait_ns.sort_unstable();
        it.start_ns.sort_unstable();
        Some(it)
    }
}
