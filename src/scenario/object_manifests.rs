//! Deployments, ReplicaSets, StatefulSets and Jobs among manifests: the same as those of a scenario's workload, in Kubernetes' own words.
//!
//! Each becomes an [`OwnerPlan`] with its number of pods and, for a Job, how long they run. No field of Kubernetes says that; here, as with KWOK's
//! stage `pod-complete`, two annotations of the pod template do:
//!
//! ```yaml
//! pod-complete.stage.kwok.x-k8s.io/delay: 30s
//! pod-complete.stage.kwok.x-k8s.io/jitter-delay: 2m
//! ```
//!
//! A pod runs for a time between the two, or for `jitter-delay` where that is not more. Both are needed: KWOK's stage has 1 s and 5 s where one is
//! missing, of which nobody thinks. A Job without them whose pods all come at once has pods that run to the end; one whose later pods wait for
//! the first ones to succeed is refused.
//!
//! Fields of batch/v1 that are not modelled are errors if they say anything but their default. Those of the others that are passed over say nothing
//! about when and where pods go: `strategy`, `updateStrategy`, `revisionHistoryLimit`, `minReadySeconds`, `progressDeadlineSeconds`, `serviceName`, ..
//!
//! Source: `staging/src/k8s.io/api/{apps,batch}/v1/types.go`, `pkg/apis/batch/{v1/defaults,validation/validation}.go`,
//! `pkg/apis/apps/validation/validation.go` of k/k; KWOK `kustomize/stage/pod/general/pod-complete.yaml`, `Delay` in `pkg/utils/lifecycle/lifecycle.go`.
//!
//! Left out: rollouts (a fault changes the Deployments of a scenario itself only), the hash in the selector of a Deployment's ReplicaSet, a Job
//! without `completions` that has a pod that fails after another has succeeded: here it is made anew.
//!
//! Cost: O(fields) an object.
use serde_json::{Map, Value};

use super::duration::DurationNs;
use super::limits;
use super::objects::job_owner;
use super::plan::OwnerPlan;
use super::scheduling::{StorageClassSpec, VolumeClaimTemplateSpec};
use super::spec::{CompletionMode, NodeLifecycleKind, NodeLifecycleSpec, TimeDistribution};
use crate::control_plane::controllers::stateful_set::StatefulSetSettings;
use crate::trace::TraceError;
use crate::trace::error::Problem;
use crate::trace::import::controllers::ControllerRow;
use crate::trace::import::kubernetes::{Place, text};

const DELAY: &str = "pod-complete.stage.kwok.x-k8s.io/delay";
const JITTER_DELAY: &str = "pod-complete.stage.kwok.x-k8s.io/jitter-delay";

/// Fields of a Job that are taken as they are.
const OF_JOBS: [&str; 5] = ["completions", "parallelism", "completionMode", "backoffLimit", "template"];

/// Fields of a Job that are not modelled, with the value that says nothing.
const NOT_MODELLED: [(&str, &str); 9] = [
    ("activeDeadlineSeconds", ""),
    ("backoffLimitPerIndex", ""),
    ("maxFailedIndexes", ""),
    ("podFailurePolicy", ""),
    ("successPolicy", ""),
    ("selector", ""),
    ("manualSelector", "false"),
    ("podReplacementPolicy", "TerminatingOrFailed"),
    ("managedBy", "kubernetes.io/job-controller"),
];

/// An object, as its controller has it.
#[derive(Debug)]
pub(super) struct Object {
    /// What is said of its pods.
    pub row: ControllerRow,
    /// How many it makes.
    pub pods: u64,
    /// What it is.
    pub owner: OwnerPlan,
    /// How long its pods run; none: to the end.
    pub run_time: Option<TimeDistribution>,
    /// The volumes of each of its pods.
    pub volumes: Vec<VolumeClaimTemplateSpec>,
}

/// What an object's meaning depends on in a scenario.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    /// Who runs pods.
    pub lifecycle: &'a NodeLifecycleSpec,
    /// Whether the scheduler binds volumes.
    pub binds_volumes: bool,
    /// The StorageClasses that there are.
    pub storage_classes: &'a [StorageClassSpec],
}

/// Reads a value's fields, with the path of its errors.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: &'a str,
    place: &'a Place,
}

pub(super) fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl<'a> Fields<'a> {
    pub(super) fn new(object: &'a Value, path: &'a str, place: &'a Place) -> Result<Self, TraceError> {
        let pointer = format!("/{}", path.replace('.', "/"));
        match object.pointer(&pointer).and_then(Value::as_object) {
            Some(object) => Ok(Self { object, path, place }),
            None => Err(place.error(Problem::Forbidden, path, "", "required, but missing; add it")),
        }
    }

    pub(super) fn refuse(&self, key: &str, why: impl Into<String>) -> TraceError {
        let value = self.object.get(key).map(shown).unwrap_or_default();
        self.place.error(Problem::Forbidden, &format!("{}.{key}", self.path), &value, why)
    }

    /// A field that is there; null says nothing.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn whole(&self, key: &str, least: u64) -> Result<Option<u64>, TraceError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64().filter(|n| (least..=u64::from(u32::MAX >> 1)).contains(n)) {
            Some(n) => Ok(Some(n)),
            None => Err(self.refuse(key, format!("expected a whole number of at least {least}"))),
        }
    }

    pub(super) fn one_of(&self, key: &str, known: &[&str]) -> Result<Option<&'a str>, TraceError> {
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

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, TraceError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.refuse(key, "expected true or false"))
    }

    /// No other fields than these.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), TraceError> {
        match self.object.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => {
                Err(self.refuse(key, format!("there is no such field; there are {}", known.join(", "))))
            }
        }
    }
}

/// What a Job says about its pods.
#[derive(Debug)]
pub(super) struct JobFields {
    pub completions: Option<u64>,
    pub parallelism: Option<u64>,
    pub mode: Option<&'static str>,
    pub backoff_limit: Option<u64>,
}

impl JobFields {
    /// Reads the fields below a path; `others` are not modelled either, and have these values where they say nothing.
    ///
    /// # Errors
    /// The API server refuses one, or it is not modelled.
    pub(super) fn read(
        object: &Value,
        path: &str,
        others: &[(&str, &str)],
        place: &Place,
    ) -> Result<Self, TraceError> {
        let fields = Fields::new(object, path, place)?;
        let not_modelled = || NOT_MODELLED.iter().chain(others);
        for (key, neutral) in not_modelled() {
            if fields.get(key).is_some_and(|value| shown(value) != *neutral) {
                return Err(fields.refuse(key, "not modelled; take it out"));
            }
        }
        fields.only(&OF_JOBS.into_iter().chain(not_modelled().map(|(key, _)| *key)).collect::<Vec<_>>())?;
        let restarts = text(object, &format!("/{}/template/spec/restartPolicy", path.replace('.', "/")));
        if !["OnFailure", "Never"].contains(&restarts) {
            let why = "the API server refuses this: Required value: valid values: \"OnFailure\", \"Never\"";
            let pod_path = format!("{path}.template.spec");
            return Err(Fields::new(object, &pod_path, place)?.refuse("restartPolicy", why));
        }
        let completions = fields.whole("completions", 1)?;
        let parallelism = fields.whole("parallelism", 1)?;
        const MODES: [&str; 2] = ["NonIndexed", "Indexed"];
        let mode = fields.one_of("completionMode", &MODES)?;
        let mode = mode.and_then(|mode| MODES.into_iter().find(|known| *known == mode));
        for (key, n) in [("completions", completions), ("parallelism", parallelism)] {
            if n.is_some_and(|n| n > limits::PODS) {
                return Err(fields.refuse(key, format!("at most {} pods are modelled", limits::PODS)));
            }
        }
        if completions.is_none() && mode == Some("Indexed") {
            let why = "the API server refuses this: Required value: when completion mode is Indexed";
            return Err(fields.refuse("completions", why));
        }
        Ok(Self { completions, parallelism, mode, backoff_limit: fields.whole("backoffLimit", 0)? })
    }
}

/// How long the pods of a Job run, if the annotations of the template below a path say so.
///
/// # Errors
/// One of the two annotations is missing, or is no duration.
pub(super) fn run_time(
    object: &Value,
    path: &str,
    place: &Place,
) -> Result<Option<TimeDistribution>, TraceError> {
    let pointer = format!("/{}/template/metadata/annotations", path.replace('.', "/"));
    let annotations = object.pointer(&pointer);
    let given = |key: &str| annotations.and_then(|map| map.get(key)).map(shown);
    let (Some(min), Some(max)) = (given(DELAY), given(JITTER_DELAY)) else {
        return match given(DELAY).or(given(JITTER_DELAY)) {
            None => Ok(None),
            Some(_) => Err(runs_for_ever(
                path,
                "one of the two annotations is missing that say how long its pods run",
                place,
            )),
        };
    };
    let span = |key: &str, given: &str| {
        let field = format!("{path}.template.metadata.annotations[\"{key}\"]");
        given.parse::<DurationNs>().map_err(|why| place.error(Problem::Forbidden, &field, given, why))
    };
    let (min, max) = (span(DELAY, &min)?, span(JITTER_DELAY, &max)?);
    Ok(Some(if max.0 <= min.0 {
        TimeDistribution::Fixed(max)
    } else {
        TimeDistribution::Uniform { min, max }
    }))
}

/// Pods that would have to end do not.
pub(super) fn runs_for_ever(path: &str, why: &str, place: &Place) -> TraceError {
    let why = format!(
        "{why}; add the annotations `{DELAY}: 30s` and `{JITTER_DELAY}: 30s`, between which they run"
    );
    place.error(Problem::Forbidden, &format!("{path}.template.metadata.annotations"), "", why)
}

/// What an object comes to. None: it makes no pods, for the reason that is given.
///
/// # Errors
/// The API server refuses it, or it is not modelled.
pub(super) fn read(
    row: ControllerRow,
    around: Surroundings<'_>,
) -> Result<Result<Object, String>, TraceError> {
    let place = row.place.clone();
    let what = format!("{} {}", row.kind, row.name);
    if row.kind == "Job" {
        return Ok(match job(&row, around)? {
            Some((pods, owner, run_time)) => Ok(Object { row, pods, owner, run_time, volumes: Vec::new() }),
            None => Err(format!("{what} is suspended: it makes no pods")),
        });
    }
    let fields = Fields::new(&row.object, "spec", &place)?;
    let pods = fields.whole("replicas", 0)?.unwrap_or(1);
    if pods > limits::PODS {
        return Err(fields.refuse("replicas", format!("at most {} pods are modelled", limits::PODS)));
    }
    let pod = Fields::new(&row.object, "spec.template.spec", &place)?;
    if let Some(policy) = pod.one_of("restartPolicy", &["Always", "OnFailure", "Never"])?
        && policy != "Always"
    {
        let why = "the API server refuses this: Unsupported value: supported values: \"Always\"";
        return Err(pod.refuse("restartPolicy", why));
    }
    let (owner, volumes) = if row.kind == "StatefulSet" {
        let policy = fields.one_of("podManagementPolicy", &["OrderedReady", "Parallel"])?;
        let ordered = policy != Some("Parallel");
        if ordered && pods > 1 && around.lifecycle.kind.unwrap_or_default() == NodeLifecycleKind::None {
            let why = "without node agents no pod is ever ready, and the second one is never made; set \
                       `controlPlane.nodeLifecycle.kind` of the scenario to kubelet, hollow or kwok, or use Parallel";
            return Err(fields.refuse("podManagementPolicy", why));
        }
        (OwnerPlan::StatefulSet(StatefulSetSettings { ordered }), volumes(&fields, around, &place)?)
    } else {
        (OwnerPlan::ReplicaSet, Vec::new())
    };
    if pods == 0 {
        return Ok(Err(format!("{what} has no replicas: it makes no pods")));
    }
    Ok(Ok(Object { row, pods, owner, run_time: None, volumes }))
}

fn job(
    row: &ControllerRow,
    around: Surroundings<'_>,
) -> Result<Option<(u64, OwnerPlan, Option<TimeDistribution>)>, TraceError> {
    let (object, place) = (&row.object, &row.place);
    // What is done with a Job that has ended, and that it has not begun, is said beside its pods.
    let beside = ["ttlSecondsAfterFinished", "suspend"];
    let mut bare = object.clone();
    if let Some(spec) = bare.pointer_mut("/spec").and_then(Value::as_object_mut) {
        beside.iter().for_each(|key| drop(spec.remove(*key)));
    }
    let fields = Fields::new(object, "spec", place)?;
    fields.whole("ttlSecondsAfterFinished", 0)?;
    let suspended = fields.flag("suspend")? == Some(true);
    let job = JobFields::read(&bare, "spec", &[], place)?;
    if suspended {
        return Ok(None);
    }
    // `parallelism` is 1 where nothing says more; without completions all of its pods come at once.
    let parallelism = job.parallelism.unwrap_or(1);
    let completions = job.completions.unwrap_or(parallelism);
    let run_time = run_time(object, "spec", place)?;
    if run_time.is_none() && parallelism < completions && around.lifecycle.stages.is_empty() {
        let why = format!(
            "{} of its {completions} pods are made when others have succeeded, and those run for ever",
            completions - parallelism
        );
        return Err(runs_for_ever("spec", &why, place));
    }
    let indexed = job.mode.filter(|mode| *mode == "Indexed").map(|_| CompletionMode::Indexed);
    let owner = job_owner(Some(parallelism.min(completions)), Some(completions), indexed, job.backoff_limit);
    Ok(Some((completions, owner, run_time)))
}

/// The claims of a StatefulSet's pods, each with a StorageClass of the scenario.
fn volumes(
    set: &Fields<'_>,
    around: Surroundings<'_>,
    place: &Place,
) -> Result<Vec<VolumeClaimTemplateSpec>, TraceError> {
    let claims = set.get("volumeClaimTemplates").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if !claims.is_empty() && !around.binds_volumes {
        let why =
            "only kube-scheduler binds volumes here; take it out, or set `scheduler.kind: kube-scheduler`";
        return Err(place.error(Problem::Forbidden, "spec.volumeClaimTemplates", "", why));
    }
    let mut found = Vec::new();
    for (at, claim) in claims.iter().enumerate() {
        let name = text(claim, "/spec/storageClassName");
        if !around.storage_classes.iter().any(|class| class.name == name) {
            let why = if name.is_empty() {
                "not modelled: the cluster's default StorageClass; name a class, and give it as `cluster.storageClasses` of the scenario"
            } else {
                "no such StorageClass; give it as `cluster.storageClasses` of the scenario"
            };
            let field = format!("spec.volumeClaimTemplates[{at}].spec.storageClassName");
            return Err(place.error(Problem::Forbidden, &field, name, why));
        }
        found.push(VolumeClaimTemplateSpec { storage_class_name: name.to_owned() });
    }
    Ok(found)
}
