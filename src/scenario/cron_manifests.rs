//! CronJobs among manifests: the same as `workload.cronJobs`, in Kubernetes' own words.
//!
//! Each becomes a [`CronJobSpec`], with the defaults of batch/v1 where they differ from a scenario's: `parallelism` is 1. How long a pod runs no
//! field of Kubernetes says; here, as with KWOK's stage `pod-complete`, two annotations of the pod template do:
//!
//! ```yaml
//! pod-complete.stage.kwok.x-k8s.io/delay: 30s
//! pod-complete.stage.kwok.x-k8s.io/jitter-delay: 2m
//! ```
//!
//! A pod runs for a time between the two, or for `jitter-delay` where that is not more. Both are needed: KWOK's stage has 1 s and 5 s where one is
//! missing, of which nobody thinks. A field that is not modelled is an error if it says anything but its default; so is one that batch/v1 does not have.
//!
//! Source: `staging/src/k8s.io/api/batch/v1/types.go`, `pkg/apis/batch/{v1/defaults,validation/validation}.go` of k/k; KWOK
//! `kustomize/stage/pod/general/pod-complete.yaml`, `Delay` in `pkg/utils/lifecycle/lifecycle.go`.
//!
//! Left out: labels and annotations of the Jobs themselves.
//!
//! Cost: O(fields) a CronJob.
use serde_json::{Map, Value, json};

use super::duration::DurationNs;
use super::limits;
use super::spec::{CronJobSpec, TimeDistribution};
use crate::engine::Nanos;
use crate::trace::TraceError;
use crate::trace::error::Problem;
use crate::trace::import::cron_jobs::CronJobRow;
use crate::trace::import::kubernetes::{Place, text};

const DELAY: &str = "pod-complete.stage.kwok.x-k8s.io/delay";
const JITTER_DELAY: &str = "pod-complete.stage.kwok.x-k8s.io/jitter-delay";
const JOB: &str = "spec.jobTemplate.spec";

/// Fields of a CronJob that are taken as they are, and those of its Jobs.
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
const OF_JOBS: [&str; 5] = ["completions", "parallelism", "completionMode", "backoffLimit", "template"];

/// Fields of a Job that are not modelled, with the value that says nothing.
const NOT_MODELLED: [(&str, &str); 10] = [
    ("activeDeadlineSeconds", ""),
    ("backoffLimitPerIndex", ""),
    ("maxFailedIndexes", ""),
    ("podFailurePolicy", ""),
    ("successPolicy", ""),
    ("selector", ""),
    ("ttlSecondsAfterFinished", ""),
    ("suspend", "false"),
    ("manualSelector", "false"),
    ("podReplacementPolicy", "TerminatingOrFailed"),
];
const MANAGED_BY: (&str, &str) = ("managedBy", "kubernetes.io/job-controller");

/// A CronJob of the input.
#[derive(Debug)]
pub(super) struct CronJob {
    /// What is said of its pods.
    pub row: CronJobRow,
    /// When they come, and how long they run.
    pub spec: CronJobSpec,
}

/// Reads a value's fields, with the path of its errors.
struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: &'a str,
    place: &'a Place,
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl<'a> Fields<'a> {
    fn new(object: &'a Value, path: &'a str, place: &'a Place) -> Result<Self, TraceError> {
        let pointer = format!("/{}", path.replace('.', "/"));
        match object.pointer(&pointer).and_then(Value::as_object) {
            Some(object) => Ok(Self { object, path, place }),
            None => Err(place.error(Problem::Forbidden, path, "", "required, but missing; add it")),
        }
    }

    fn refuse(&self, key: &str, why: impl Into<String>) -> TraceError {
        let value = self.object.get(key).map(shown).unwrap_or_default();
        self.place.error(Problem::Forbidden, &format!("{}.{key}", self.path), &value, why)
    }

    /// A field that is there; null says nothing.
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    fn whole(&self, key: &str, least: u64) -> Result<Option<u64>, TraceError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64().filter(|n| (least..=u64::from(u32::MAX >> 1)).contains(n)) {
            Some(n) => Ok(Some(n)),
            None => Err(self.refuse(key, format!("expected a whole number of at least {least}"))),
        }
    }

    fn one_of(&self, key: &str, known: &[&str]) -> Result<Option<&'a str>, TraceError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_str().filter(|text| known.contains(text)) {
            Some(text) => Ok(Some(text)),
            None => {
                let known = known.join("\", \"");
                let why = format!("the API server refuses this: supported values: \"{known}\"");
                Err(self.refuse(key, why))
            }
        }
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, TraceError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.refuse(key, "expected true or false"))
    }

    /// No other fields than these.
    fn only(&self, known: &[&str]) -> Result<(), TraceError> {
        match self.object.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => {
                Err(self.refuse(key, format!("there is no such field; there are {}", known.join(", "))))
            }
        }
    }
}

/// How long the pods run.
fn run_time(row: &CronJobRow) -> Result<TimeDistribution, TraceError> {
    let field = format!("{JOB}.template.metadata.annotations");
    let annotations = row.object.pointer("/spec/jobTemplate/spec/template/metadata/annotations");
    let span = |key: &str| {
        let given = annotations.and_then(|map| map.get(key)).map(shown);
        let Some(given) = given else {
            let why = format!(
                "the pods of its Jobs never succeed: they run for ever; add the annotations `{DELAY}: 30s` and `{JITTER_DELAY}: 30s`, between which they run"
            );
            return Err(row.place.error(Problem::Forbidden, &field, "", why));
        };
        given
            .parse::<DurationNs>()
            .map_err(|why| row.place.error(Problem::Forbidden, &format!("{field}[\"{key}\"]"), &given, why))
    };
    let (min, max) = (span(DELAY)?, span(JITTER_DELAY)?);
    Ok(if max.0 <= min.0 { TimeDistribution::Fixed(max) } else { TimeDistribution::Uniform { min, max } })
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
    for (key, neutral) in NOT_MODELLED.iter().chain([&MANAGED_BY]) {
        if jobs.get(key).is_some_and(|value| shown(value) != *neutral) {
            return Err(jobs.refuse(key, "not modelled; take it out"));
        }
    }
    let not_modelled = NOT_MODELLED.iter().chain([&MANAGED_BY]).map(|(key, _)| *key);
    jobs.only(&OF_JOBS.into_iter().chain(not_modelled).collect::<Vec<_>>())?;
    let pod = Fields::new(&row.object, "spec.jobTemplate.spec.template.spec", place)?;
    if !["OnFailure", "Never"]
        .contains(&text(&row.object, "/spec/jobTemplate/spec/template/spec/restartPolicy"))
    {
        let why = "the API server refuses this: Required value: valid values: \"OnFailure\", \"Never\"";
        return Err(pod.refuse("restartPolicy", why));
    }
    let completions = jobs.whole("completions", 1)?;
    let parallelism = jobs.whole("parallelism", 1)?;
    let mode = jobs.one_of("completionMode", &["NonIndexed", "Indexed"])?;
    for (key, n) in [("completions", completions), ("parallelism", parallelism)] {
        if n.is_some_and(|n| n > limits::PODS) {
            return Err(jobs.refuse(key, format!("at most {} pods are modelled", limits::PODS)));
        }
    }
    if completions.is_none() && mode == Some("Indexed") {
        let why = "the API server refuses this: Required value: when completion mode is Indexed";
        return Err(jobs.refuse("completions", why));
    }
    if completions.is_none() && parallelism.is_some_and(|n| n > 1) {
        let why = "Jobs without completions are not modelled; add it, one for each pod that has to succeed";
        return Err(jobs.refuse("completions", why));
    }
    let schedule = own.get("schedule").and_then(Value::as_str).unwrap_or_default();
    let zone = own.get("timeZone").map(shown);
    // Field by field, so that what is not said has the scenario's default, which is that of batch/v1.
    let fields = json!({
        "schedule": schedule,
        "timeZone": zone,
        "startingDeadlineSeconds": own.whole("startingDeadlineSeconds", 0)?,
        "concurrencyPolicy": own.one_of("concurrencyPolicy", &["Allow", "Forbid", "Replace"])?,
        "suspend": own.flag("suspend")?,
        "successfulJobsHistoryLimit": own.whole("successfulJobsHistoryLimit", 0)?,
        "failedJobsHistoryLimit": own.whole("failedJobsHistoryLimit", 0)?,
        "completions": completions,
        "parallelism": parallelism.unwrap_or(1),
        "completionMode": mode,
        "backoffLimit": jobs.whole("backoffLimit", 0)?,
    });
    let mut spec: CronJobSpec = serde_json::from_value(fields)
        .map_err(|error| place.error(Problem::Forbidden, "spec", "", error.to_string()))?;
    spec.run_time = Some(run_time(&row)?);
    if let Some((key, value, message, hint)) = spec.wrong_times(limit_ns, Some(start_time)).pop() {
        let why = format!("{message}; {hint}");
        return Err(place.error(Problem::Forbidden, &format!("spec.{key}"), &value, why));
    }
    Ok(CronJob { row, spec })
}
