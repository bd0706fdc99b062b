//! CronJobs among manifests: the same as `workload.cronJobs`, in Kubernetes' own words.
//!
//! Each becomes a [`CronJobSpec`], with the defaults of batch/v1 where they differ from a scenario's: `parallelism` is 1. What it says of its Jobs
//! [`object_manifests`](super::object_manifests) reads; how long their pods run two annotations have to say. A field that is not modelled is an error
//! if it says anything but its default; so is one that batch/v1 does not have.
//!
//! Source: `staging/src/k8s.io/api/batch/v1/types.go`, `pkg/apis/batch/{v1/defaults,validation/validation}.go` of k/k.
//!
//! Left out: labels and annotations of the Jobs themselves.
//!
//! Cost: O(fields) a CronJob.
use serde_json::{Value, json};

use super::object_manifests::{Fields, JobFields, run_time, runs_for_ever, shown};
use super::spec::CronJobSpec;
use crate::engine::Nanos;
use crate::trace::TraceError;
use crate::trace::error::Problem;
use crate::trace::import::cron_jobs::CronJobRow;
use crate::trace::import::kubernetes::text;

const JOB: &str = "spec.jobTemplate.spec";

/// Fields of a CronJob that are taken as they are.
const OWN: [&str; 8] = [
    "schedule",
    "timeZone",
    "startingDeadlineSeconds",
    "concurrencyPolicy",
    "suspend",
    "successfulJobsHistoryLimit",
    "failedJobsHistoryLimit",
    "jobTemplate",
];

/// A CronJob of the input.
#[derive(Debug)]
pub(super) struct CronJob {
    /// What is said of its pods.
    pub row: CronJobRow,
    /// When they come, and how long they run.
    pub spec: CronJobSpec,
}

/// What a CronJob comes to in a run that ends at a limit.
///
/// # Errors
/// The API server refuses it, it is not modelled, or no Job of it is due.
pub(super) fn read(row: CronJobRow, limit_ns: Nanos, start_time: &str) -> Result<CronJob, TraceError> {
    let place = &row.place;
    let version = text(&row.object, "/apiVersion");
    if !["", "batch/v1"].contains(&version) {
        return Err(place.error(Problem::Forbidden, "apiVersion", version, "expected batch/v1"));
    }
    let own = Fields::new(&row.object, "spec", place)?;
    let template = Fields::new(&row.object, "spec.jobTemplate", place)?;
    let jobs = Fields::new(&row.object, JOB, place)?;
    own.only(&OWN)?;
    template.only(&["metadata", "spec"])?;
    let fields =
        JobFields::read(&row.object, JOB, &[("ttlSecondsAfterFinished", ""), ("suspend", "false")], place)?;
    if fields.completions.is_none() && fields.parallelism.is_some_and(|n| n > 1) {
        let why = "Jobs without completions are not modelled; add it, one for each pod that has to succeed";
        return Err(jobs.refuse("completions", why));
    }
    let schedule = own.get("schedule").and_then(Value::as_str).unwrap_or_default();
    let zone = own.get("timeZone").map(shown);
    // Field by field, so that what is not said has the scenario's default, which is that of batch/v1.
    let all = json!({
        "schedule": schedule,
        "timeZone": zone,
        "startingDeadlineSeconds": own.whole("startingDeadlineSeconds", 0)?,
        "concurrencyPolicy": own.one_of("concurrencyPolicy", &["Allow", "Forbid", "Replace"])?,
        "suspend": own.flag("suspend")?,
        "successfulJobsHistoryLimit": own.whole("successfulJobsHistoryLimit", 0)?,
        "failedJobsHistoryLimit": own.whole("failedJobsHistoryLimit", 0)?,
        "completions": fields.completions,
        "parallelism": fields.parallelism.unwrap_or(1),
        "completionMode": fields.mode,
        "backoffLimit": fields.backoff_limit,
    });
    let mut spec: CronJobSpec = serde_json::from_value(all)
        .map_err(|error| place.error(Problem::Forbidden, "spec", "", error.to_string()))?;
    let Some(run_time) = run_time(&row.object, JOB, place)? else {
        return Err(runs_for_ever(JOB, "the pods of its Jobs never succeed: they run for ever", place));
    };
    spec.run_time = Some(run_time);
    if let Some((key, value, message, hint)) = spec.wrong_times(limit_ns, Some(start_time)).pop() {
        let why = format!("{message}; {hint}");
        return Err(place.error(Problem::Forbidden, &format!("spec.{key}"), &value, why));
    }
    Ok(CronJob { row, spec })
}
