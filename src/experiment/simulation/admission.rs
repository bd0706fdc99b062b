//! Kueue between the load client, which creates suspended jobs, and the Job controller, which creates the pods of those that may begin.
//!
//! Nothing here decides: events go to `control_plane::controllers::kueue`, and what it says goes to the controllers.
//!
//! Cost: O(pods) once a job, for the specs that flavors change.
use std::collections::BTreeMap;

use super::{BuildError, Builder, ClientIdentity, Simulation, bucket, flow};
use crate::cluster::{NO_NODE, NodeId, PodId, Stage};
use crate::control_plane::controllers::kueue::{JobTimes, Kueue, Order};
use crate::control_plane::{ControlPlane, Verb};
use crate::engine::Nanos;

/// What Kueue did in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admissions {
    /// From a job's creation to its quota, ns, ascending.
    pub wait_ns: Vec<Nanos>,
    /// From its quota to its unsuspension, ns, ascending.
    pub start_ns: Vec<Nanos>,
    /// How often a job was preempted, all of them together; none: no ClusterQueue may preempt.
    pub preemptions: Option<u64>,
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
            kueue.on_job_written(&mut self.kernel, pod);
        }
    }

    /// One of Kueue's own requests was answered: a job may begin, or is to stop.
    pub(super) fn on_kueue_answered(&mut self, what: (PodId, NodeId), ok: bool) {
        let Some(kueue) = &mut self.kueue else { return };
        let order = kueue.on_answered(&mut self.kernel, &mut self.control_plane, what, ok);
        let (job, spec) = match order {
            None => return,
            Some(Order::Suspend(job)) => {
                self.sets(|sets, env| sets.suspend(env, job));
                return self.write_suspended_jobs();
            }
            Some(Order::Start(job, spec)) => (job, spec),
        };
        if let (Some(spec), crate::scenario::plan::Creation::ReplicaSets { ranges, .. }) =
            (spec, &self.creation)
        {
            let (from, to) = ranges[job as usize];
            for pod in from..to {
                if self.cluster.pods.stage(pod) == Stage::Planned {
                    self.cluster.pods.set_spec(pod, spec);
                }
            }
        }
        self.sets(|sets, _| sets.resume(job, spec));
        self.on_set_arrives(job);
        // All its pods may have succeeded before it was stopped.
        let completed = self.kueue.as_mut().and_then(|kueue| kueue.completes(job));
        self.write_job(completed);
    }

    /// The Job controller writes a job's status.
    fn write_job(&mut self, key: Option<PodId>) {
        if let Some(key) = key {
            self.control_plane.submit(&mut self.kernel, self.creator, Verb::PutObject, key, NO_NODE);
        }
    }

    /// Of jobs that are suspended and whose pods are deleted the Job controller writes that none is active.
    pub(super) fn write_suspended_jobs(&mut self) {
        let suspended = self.replica_sets.as_mut().map_or_else(Vec::new, |sets| sets.take_suspended());
        for job in suspended {
            let key = self.kueue.as_ref().map(|kueue| kueue.key_of(job));
            self.write_job(key);
        }
    }

    /// A pod of a job has ended: it has succeeded, unless it was deleted for another reason.
    pub(super) fn on_job_pod_finished(&mut self, pod: PodId) {
        let Some(kueue) = &mut self.kueue else { return };
        let job = if self.changes.is_some() {
            let store = self.control_plane.store();
            Some(store.owner(pod)).filter(|_| store.is_wanted_away(pod))
        } else {
            kueue.job_of(pod)
        };
        let completed = job.and_then(|job| kueue.on_pod_finished(job));
        self.write_job(completed);
    }

    /// What Kueue did, for measures.
    pub(super) fn admissions(&self) -> Option<Admissions> {
        let kueue = self.kueue.as_ref()?;
        let mut it = Admissions { pending: kueue.pending_reasons(), ..Admissions::default() };
        it.jobs = kueue.jobs().collect();
        it.preemptions = kueue.may_preempt().then_some(0);
        for times in kueue.times().iter().filter(|t| t.created_ns != Nanos::MAX) {
            it.created += 1;
            it.preemptions = it.preemptions.map(|sum| sum + u64::from(times.preemptions));
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
