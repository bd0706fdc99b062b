//! Which fields objects that make pods have: what `kubectl apply`, which asks the API server for strict validation, refuses.
//!
//! The tables go as deep as scheduling reads; what lies beneath is not looked at. A field that is not in them is an error in the
//! server's words, and so is a list or a mapping that is neither.
//!
//! Source: `staging/src/k8s.io/api` of Kubernetes 1.36: `core/v1`, `apps/v1`, `batch/v1`; strict decoding:
//! `sigs.k8s.io/json`, `fieldValidation: Strict`.
//!
//! Left out: `metadata`, which dumps of other programs fill as they like; types of single values.
//!
//! Cost: O(fields of the object x fields of its kind).
use serde_json::Value;

/// What a value looks like.
pub(super) enum Shape {
    /// Not looked at.
    Any,
    /// A mapping with these fields.
    Fields(&'static [(&'static str, &'static Shape)]),
    /// A mapping with these fields and others that are not looked at.
    Open(&'static [(&'static str, &'static Shape)]),
    /// A list.
    List(&'static Shape),
}

use Shape::{Any, Fields, List};

const ANY: &Shape = &Any;

static EXPRESSION: Shape = Fields(&[("key", ANY), ("operator", ANY), ("values", &LIST)]);
static LIST: Shape = List(ANY);
static SELECTOR: Shape = Fields(&[("matchLabels", ANY), ("matchExpressions", &List(&EXPRESSION))]);
static NODE_TERM: Shape =
    Fields(&[("matchExpressions", &List(&EXPRESSION)), ("matchFields", &List(&EXPRESSION))]);
static POD_TERM: Shape = Fields(&[
    ("labelSelector", &SELECTOR),
    ("namespaces", &LIST),
    ("topologyKey", ANY),
    ("namespaceSelector", &SELECTOR),
    ("matchLabelKeys", &LIST),
    ("mismatchLabelKeys", &LIST),
]);
static POD_AFFINITY: Shape = Fields(&[
    ("requiredDuringSchedulingIgnoredDuringExecution", &List(&POD_TERM)),
    (
        "preferredDuringSchedulingIgnoredDuringExecution",
        &List(&Fields(&[("weight", ANY), ("podAffinityTerm", &POD_TERM)])),
    ),
]);
static AFFINITY: Shape = Fields(&[
    (
        "nodeAffinity",
        &Fields(&[
            (
                "requiredDuringSchedulingIgnoredDuringExecution",
                &Fields(&[("nodeSelectorTerms", &List(&NODE_TERM))]),
            ),
            (
                "preferredDuringSchedulingIgnoredDuringExecution",
                &List(&Fields(&[("weight", ANY), ("preference", &NODE_TERM)])),
            ),
        ]),
    ),
    ("podAffinity", &POD_AFFINITY),
    ("podAntiAffinity", &POD_AFFINITY),
]);
static SPREAD: Shape = Fields(&[
    ("maxSkew", ANY),
    ("topologyKey", ANY),
    ("whenUnsatisfiable", ANY),
    ("labelSelector", &SELECTOR),
    ("minDomains", ANY),
    ("nodeAffinityPolicy", ANY),
    ("nodeTaintsPolicy", ANY),
    ("matchLabelKeys", &LIST),
]);
static TOLERATION: Shape =
    Fields(&[("key", ANY), ("operator", ANY), ("value", ANY), ("effect", ANY), ("tolerationSeconds", ANY)]);
static RESOURCES: Shape = Fields(&[("limits", ANY), ("requests", ANY), ("claims", &LIST)]);
static PORT: Shape =
    Fields(&[("name", ANY), ("hostPort", ANY), ("containerPort", ANY), ("protocol", ANY), ("hostIP", ANY)]);
static CONTAINER: Shape = Fields(&[
    ("name", ANY),
    ("image", ANY),
    ("command", ANY),
    ("args", ANY),
    ("workingDir", ANY),
    ("ports", &List(&PORT)),
    ("envFrom", ANY),
    ("env", ANY),
    ("resources", &RESOURCES),
    ("resizePolicy", ANY),
    ("restartPolicy", ANY),
    ("restartPolicyRules", ANY),
    ("volumeMounts", ANY),
    ("volumeDevices", ANY),
    ("livenessProbe", ANY),
    ("readinessProbe", ANY),
    ("startupProbe", ANY),
    ("lifecycle", ANY),
    ("terminationMessagePath", ANY),
    ("terminationMessagePolicy", ANY),
    ("imagePullPolicy", ANY),
    ("securityContext", ANY),
    ("stdin", ANY),
    ("stdinOnce", ANY),
    ("tty", ANY),
]);
static POD_SPEC: Shape = Fields(&[
    ("volumes", &LIST),
    ("initContainers", &List(&CONTAINER)),
    ("containers", &List(&CONTAINER)),
    ("ephemeralContainers", ANY),
    ("restartPolicy", ANY),
    ("terminationGracePeriodSeconds", ANY),
    ("activeDeadlineSeconds", ANY),
    ("dnsPolicy", ANY),
    ("nodeSelector", ANY),
    ("serviceAccountName", ANY),
    ("serviceAccount", ANY),
    ("automountServiceAccountToken", ANY),
    ("nodeName", ANY),
    ("hostNetwork", ANY),
    ("hostPID", ANY),
    ("hostIPC", ANY),
    ("shareProcessNamespace", ANY),
    ("securityContext", ANY),
    ("imagePullSecrets", ANY),
    ("hostname", ANY),
    ("subdomain", ANY),
    ("affinity", &AFFINITY),
    ("schedulerName", ANY),
    ("tolerations", &List(&TOLERATION)),
    ("hostAliases", ANY),
    ("priorityClassName", ANY),
    ("priority", ANY),
    ("dnsConfig", ANY),
    ("readinessGates", ANY),
    ("runtimeClassName", ANY),
    ("enableServiceLinks", ANY),
    ("preemptionPolicy", ANY),
    ("overhead", ANY),
    ("topologySpreadConstraints", &List(&SPREAD)),
    ("setHostnameAsFQDN", ANY),
    ("os", ANY),
    ("hostUsers", ANY),
    ("schedulingGates", &LIST),
    ("resourceClaims", &LIST),
    ("resources", &RESOURCES),
    ("hostnameOverride", ANY),
    ("workloadRef", ANY),
    ("schedulingGroup", ANY),
]);
static TEMPLATE: Shape = Fields(&[("metadata", ANY), ("spec", &POD_SPEC)]);

/// An object with this `spec`.
macro_rules! object {
    ($spec:expr) => {
        Fields(&[("apiVersion", ANY), ("kind", ANY), ("metadata", ANY), ("spec", $spec), ("status", ANY)])
    };
}

static POD: Shape = object!(&POD_SPEC);
static DEPLOYMENT: Shape = object!(&Fields(&[
    ("replicas", ANY),
    ("selector", &SELECTOR),
    ("template", &TEMPLATE),
    ("strategy", ANY),
    ("minReadySeconds", ANY),
    ("revisionHistoryLimit", ANY),
    ("paused", ANY),
    ("progressDeadlineSeconds", ANY),
]));
static REPLICA_SET: Shape = object!(&Fields(&[
    ("replicas", ANY),
    ("minReadySeconds", ANY),
    ("selector", &SELECTOR),
    ("template", &TEMPLATE),
]));
static REPLICATION_CONTROLLER: Shape = object!(&Fields(&[
    ("replicas", ANY),
    ("minReadySeconds", ANY),
    ("selector", ANY),
    ("template", &TEMPLATE),
]));
static STATEFUL_SET: Shape = object!(&Fields(&[
    ("replicas", ANY),
    ("selector", &SELECTOR),
    ("template", &TEMPLATE),
    ("volumeClaimTemplates", &LIST),
    ("serviceName", ANY),
    ("podManagementPolicy", ANY),
    ("updateStrategy", ANY),
    ("revisionHistoryLimit", ANY),
    ("minReadySeconds", ANY),
    ("persistentVolumeClaimRetentionPolicy", ANY),
    ("ordinals", ANY),
]));
static DAEMON_SET: Shape = object!(&Fields(&[
    ("selector", &SELECTOR),
    ("template", &TEMPLATE),
    ("updateStrategy", ANY),
    ("minReadySeconds", ANY),
    ("revisionHistoryLimit", ANY),
]));
static JOB: Shape = object!(&Fields(&[
    ("parallelism", ANY),
    ("completions", ANY),
    ("activeDeadlineSeconds", ANY),
    ("podFailurePolicy", ANY),
    ("successPolicy", ANY),
    ("backoffLimit", ANY),
    ("backoffLimitPerIndex", ANY),
    ("maxFailedIndexes", ANY),
    ("selector", &SELECTOR),
    ("manualSelector", ANY),
    ("template", &TEMPLATE),
    ("ttlSecondsAfterFinished", ANY),
    ("completionMode", ANY),
    ("suspend", ANY),
    ("podReplacementPolicy", ANY),
    ("managedBy", ANY),
]));
/// `scenario::cron_manifests` knows its other fields.
static CRON_JOB: Shape = Shape::Open(&[(
    "spec",
    &Shape::Open(&[("jobTemplate", &Shape::Open(&[("spec", &Shape::Open(&[("template", &TEMPLATE)]))]))]),
)]);

/// What an object of a kind looks like, its apiVersion, and where its pods' template is (empty: it is a pod itself).
pub(super) fn of_kind(kind: &str) -> Option<(&'static Shape, &'static str, &'static str)> {
    Some(match kind {
        "Pod" => (&POD, "v1", ""),
        "Deployment" => (&DEPLOYMENT, "apps/v1", "spec.template"),
        "ReplicaSet" => (&REPLICA_SET, "apps/v1", "spec.template"),
        "StatefulSet" => (&STATEFUL_SET, "apps/v1", "spec.template"),
        "DaemonSet" => (&DAEMON_SET, "apps/v1", "spec.template"),
        "ReplicationController" => (&REPLICATION_CONTROLLER, "v1", "spec.template"),
        "Job" => (&JOB, "batch/v1", "spec.template"),
        "CronJob" => (&CRON_JOB, "batch/v1", "spec.jobTemplate.spec.template"),
        _ => return None,
    })
}

/// What is wrong with a value: where, and why.
#[derive(Debug)]
pub(super) struct Misfit {
    pub field: String,
    pub why: String,
}

/// The first thing in a value that its shape does not have.
pub(super) fn misfit(value: &Value, shape: &Shape, path: &str) -> Option<Misfit> {
    if value.is_null() {
        return None;
    }
    let child = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let wrong = |expected: &str| {
        let (field, found) = (path.to_owned(), kind_of(value));
        Misfit { why: format!("cannot unmarshal {found}: \"{field}\" is {expected}; correct it"), field }
    };
    match shape {
        Any => None,
        List(of) => {
            let Some(items) = value.as_array() else { return Some(wrong("a list")) };
            items.iter().enumerate().find_map(|(i, item)| misfit(item, of, &format!("{path}[{i}]")))
        }
        Fields(fields) | Shape::Open(fields) => {
            let Some(given) = value.as_object() else { return Some(wrong("a mapping")) };
            given.iter().find_map(|(key, value)| match fields.iter().find(|(name, _)| name == key) {
                Some((_, shape)) => misfit(value, shape, &child(key)),
                None if matches!(shape, Shape::Open(_)) => None,
                None => {
                    let field = child(key);
                    let meant = crate::measure::nearest(key, fields.iter().map(|(name, _)| *name));
                    let instead = meant.map_or_else(
                        || "correct it, or leave it out".to_owned(),
                        |name| format!("did you mean `{name}`?"),
                    );
                    let why = format!("strict decoding error: unknown field \"{field}\"; {instead}");
                    Some(Misfit { field, why })
                }
            })
        }
    }
}

/// What JSON calls a value's type.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
