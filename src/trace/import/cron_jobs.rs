//! CronJobs among manifests, for scenarios: when their Jobs come depends on a run's date and limit.
//!
//! Which of them are taken, and what becomes of their pods' template, [`templates`](super::templates) says; what their other fields mean the
//! scenario does. A Job that belongs to a CronJob of the input would be there twice, and is refused.
//!
//! Left out: `status`, so that a CronJob that exists already is one that was created when the run begins.
//!
//! Cost: O(bytes).
use std::path::PathBuf;

use serde_json::Value;

use super::kubernetes::{self as k8s, Place};
use super::templates::{Found, of_kind, read};
use super::{Pod, TraceError};
use crate::trace::error::Problem;
use crate::trace::model::SpecRow;

/// A CronJob.
#[derive(Debug)]
pub struct CronJobRow {
    /// Name.
    pub name: String,
    /// What its pods ask for.
    pub spec: SpecRow,
    /// Application that its pods' labels name; empty: none.
    pub app: String,
    /// Queue; empty: none.
    pub queue: String,
    /// User; empty: none.
    pub user: String,
    /// Priority.
    pub priority: i32,
    /// The object.
    pub object: Value,
    /// Where it is.
    pub place: Place,
}

/// The CronJobs of files and folders, and how many are left alone.
///
/// # Errors
/// One that can't be read, that the API server refuses, that is there twice; a Job that is one's own.
pub fn cron_jobs(paths: &[PathBuf]) -> Result<(Vec<CronJobRow>, usize), TraceError> {
    let mut jobs: Vec<(Value, Place)> = Vec::new();
    let Found { objects, left_alone, admission } =
        of_kind(paths, &|object| k8s::kind(object) == "CronJob", &mut |object, place| {
            if k8s::kind(&object) == "Job" {
                jobs.push((object, place.clone()));
            }
        })?;
    let owners = k8s::names(objects.iter().map(|(object, _)| object));
    if let Some((job, place)) = jobs.iter().find(|(job, _)| k8s::is_owned(job, &owners)) {
        let name = k8s::text(job, "/metadata/name");
        let why =
            format!("Job {name} belongs to a CronJob of the input, which makes its Jobs itself; take it out");
        return Err(place.error(Problem::Forbidden, "metadata.ownerReferences", "", why));
    }
    let mut rows: Vec<CronJobRow> = Vec::new();
    for (mut object, place) in objects {
        let (spec, pod) = read(&mut object, "spec.jobTemplate.spec.template", &admission, &place)?;
        let name = k8s::text(&object, "/metadata/name").to_owned();
        let same = |row: &CronJobRow| row.name == name && row.spec.namespace == spec.namespace;
        if rows.iter().any(same) {
            return Err(place.error(Problem::DuplicateId, "metadata.name", &name, "each CronJob once"));
        }
        let Pod { app, queue, user, priority, .. } = pod;
        rows.push(CronJobRow { name, spec, app, queue, user, priority, object, place });
    }
    Ok((rows, left_alone))
}
