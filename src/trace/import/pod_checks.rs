//! Objects that make pods and do not exist yet: what the API server refuses of them, and what of them is not modelled.
//!
//! **Refused by the server**, in its words: fields that a kind does not have ([`pod_fields`](super::pod_fields)), an apiVersion that no
//! server has any more, `replicas` and their like that are no whole number of at least 0, a selector that the template's labels do
//! not match, a pod without a container, requests above their limits, tolerations and topology spread constraints that say what
//! can't be.
//!
//! **Not modelled**, and refused by name, because pods would wait, or go elsewhere: claims of volumes, ResourceClaims, scheduling
//! gates, groups of the scheduler's own gang scheduling, `nodeName` of a template. Of objects that exist already nothing is refused: what
//! is left out of them is counted in the report ([`note_left_out`]).
//!
//! Sources: k/k `pkg/apis/core/validation/validation.go`, `pkg/apis/apps/validation`, `pkg/apis/batch/validation`;
//! YuniKorn's shim, `pkg/cache/utils.go` for task groups.
//!
//! Left out: all that has no bearing on scheduling, such as names, images, probes; required fields that are not there at all,
//! but for containers: short manifests are taken for what they say.
//!
//! Cost: O(fields).
use serde_json::Value;

use super::kubernetes::{self as k8s, Place};
use super::pod_fields::{kind_of, misfit, of_kind};
use super::{Sink, TraceError, task_groups};
use crate::trace::error::Problem;
use crate::trace::number;

/// Annotations by which YuniKorn limits a namespace.
const QUOTAS: [&str; 3] = [
    "yunikorn.apache.org/namespace.quota",
    "yunikorn.apache.org/namespace.max.cpu",
    "yunikorn.apache.org/namespace.max.memory",
];

/// Where a check stands: which object, and where it is.
#[derive(Clone, Copy)]
struct Check<'a> {
    kind: &'a str,
    name: &'a str,
    place: &'a Place,
}

type Checked = Result<(), TraceError>;

impl Check<'_> {
    fn refuse(&self, field: &str, value: &str, why: &str) -> Checked {
        Err(self.place.error(Problem::Forbidden, field, value, why))
    }

    /// Validation refuses the object.
    fn invalid(&self, field: &str, value: &str, why: &str) -> Checked {
        let Self { kind, name, .. } = self;
        let why = format!("the API server refuses this: {kind} \"{name}\" is invalid: {field}: {why}");
        self.refuse(field, value, &why)
    }

    /// Decoding refuses it.
    fn undecodable(&self, field: &str, value: &str, why: &str) -> Checked {
        self.refuse(field, value, &format!("the API server refuses this: {why}"))
    }

    /// A whole number of at least `least`, if it is there.
    fn count(&self, object: &Value, field: &str, least: i64) -> Checked {
        let value = object.pointer(&format!("/{}", field.replace('.', "/")));
        let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(()) };
        let Some(count) = value.as_i64().filter(|count| i32::try_from(*count).is_ok()) else {
            let (kind, found) = (self.kind, kind_of(value));
            let why = format!(
                "{kind} cannot be handled as a {kind}: json: cannot unmarshal {found} into Go struct field {kind}Spec.{field} of type \
                 int32; write a whole number without quotes"
            );
            return self.undecodable(field, &value.to_string(), &why);
        };
        if count < least {
            let value = count.to_string();
            let why = format!("Invalid value: {value}: must be greater than or equal to {least}; correct it");
            return self.invalid(field, &value, &why);
        }
        Ok(())
    }
}

/// Checks an object that does not exist yet. Claims of volumes are refused unless its controller makes the pods in a run: a trace has none.
///
/// # Errors
/// The API server refuses it, or something of it is not modelled.
pub(super) fn object(object: &Value, controlled: bool, place: &Place) -> Checked {
    let kind = k8s::kind(object);
    let Some((shape, version, template)) = of_kind(kind) else { return Ok(()) };
    let check = Check { kind, name: k8s::text(object, "/metadata/name"), place };
    let given = k8s::text(object, "/apiVersion");
    if !given.is_empty() && given != version {
        let why = format!(
            "the API server refuses this: no matches for kind \"{kind}\" in version \"{given}\"; write {version}, or leave the object \
             out: other kinds of this name are not modelled"
        );
        return check.refuse("apiVersion", given, &why);
    }
    if let Some(misfit) = misfit(object, shape, "") {
        return check.undecodable(&misfit.field, "", &misfit.why);
    }
    if kind == "Pod" {
        return pod(check, &object["metadata"], &object["spec"], "spec");
    }
    for field in ["replicas", "completions", "parallelism", "backoffLimit", "minReadySeconds"] {
        check.count(object, &format!("spec.{field}"), 0)?;
    }
    for field in ["completions", "parallelism", "backoffLimit"] {
        check.count(object, &format!("spec.jobTemplate.spec.{field}"), 0)?;
    }
    let claims = object.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
    if !controlled && claims.is_some_and(|claims| !claims.is_empty()) {
        let why = format!("not modelled: claims of volumes in manifests; {CLAIMS_INSTEAD}");
        return check.refuse("spec.volumeClaimTemplates", "", &why);
    }
    let template_of =
        object.pointer(&format!("/{}", template.replace('.', "/"))).filter(|value| !value.is_null());
    let Some(found) = template_of else {
        return check.invalid(
            template,
            "",
            "Required value; give the object the template of its pods, with a `spec`",
        );
    };
    selector(check, object, found)?;
    let (spec, path) = (&found["spec"], format!("{template}.spec"));
    let policy = k8s::text(spec, "/restartPolicy");
    let why = match kind {
        "Job" | "CronJob" if policy == "Always" => {
            Some("Required value: valid values: \"OnFailure\", \"Never\"; write one".to_owned())
        }
        "Job" | "CronJob" => None,
        _ if matches!(policy, "" | "Always") => None,
        _ => Some(format!("Unsupported value: \"{policy}\": supported values: \"Always\"; write it")),
    };
    if let Some(why) = why {
        return check.invalid(&format!("{path}.restartPolicy"), policy, &why);
    }
    if let Some(node) = spec.get("nodeName").and_then(Value::as_str).filter(|node| !node.is_empty()) {
        return check.refuse(&format!("{path}.nodeName"), node, "not modelled; use a node selector");
    }
    pod(check, &found["metadata"], spec, &path)?;
    let is_gang = task_groups::of_pod(&found["metadata"]).is_ok_and(|groups| !groups.is_empty());
    if is_gang && matches!(kind, "DaemonSet" | "CronJob") {
        let field = format!("{template}.metadata.annotations.yunikorn.apache.org/task-groups");
        let why = format!("not modelled: gangs of a {kind}; leave the annotation out");
        return check.refuse(&field, "", &why);
    }
    Ok(())
}

/// What a scenario says in the place of claims.
const CLAIMS_INSTEAD: &str = "leave them out if every node can use the volumes, or write the pods in the scenario, whose groups have \
     `volumeClaimTemplates`";

/// A controller's selector matches its template.
fn selector(check: Check<'_>, object: &Value, template: &Value) -> Checked {
    let Some(selector) = object.pointer("/spec/selector").filter(|selector| !selector.is_null()) else {
        return Ok(());
    };
    if matches!(check.kind, "Job" | "CronJob") {
        return Ok(());
    }
    let labels = &template["metadata"]["labels"];
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    let wanted =
        if check.kind == "ReplicationController" { Some(selector) } else { selector.get("matchLabels") };
    let mut pairs = wanted.and_then(Value::as_object).into_iter().flatten();
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    let holds = |e: &Value| {
        let found = label(k8s::text(e, "/key"));
        let values = e.get("values").and_then(Value::as_array);
        let among = |text| values.into_iter().flatten().any(|value| value.as_str() == Some(text));
        match k8s::text(e, "/operator") {
            "In" => found.is_some_and(among),
            "NotIn" => !found.is_some_and(among),
            "Exists" => found.is_some(),
            "DoesNotExist" => found.is_none(),
            _ => false,
        }
    };
    let matches = pairs.all(|(key, value)| value.as_str().is_some() && label(key) == value.as_str())
        && expressions.into_iter().flatten().all(holds);
    if matches {
        return Ok(());
    }
    let given = if labels.is_null() { "{}".to_owned() } else { labels.to_string() };
    let why = format!(
        "Invalid value: {given}: `selector` does not match template `labels`; give the template the labels that spec.selector names"
    );
    check.invalid("spec.template.metadata.labels", "", &why)
}

/// The spec of a pod that is created, at `path` of its object.
fn pod(check: Check<'_>, metadata: &Value, spec: &Value, path: &str) -> Checked {
    let list = |name: &str| spec.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if list("containers").is_empty() {
        return check.invalid(
            &format!("{path}.containers"),
            "",
            "Required value; a pod has one container at least",
        );
    }
    for name in ["containers", "initContainers"] {
        for (i, container) in list(name).iter().enumerate() {
            resources(check, &container["resources"], &format!("{path}.{name}[{i}].resources"))?;
        }
    }
    resources(check, &spec["resources"], &format!("{path}.resources"))?;
    for (i, toleration) in list("tolerations").iter().enumerate() {
        tolerates(check, toleration, &format!("{path}.tolerations[{i}]"))?;
    }
    for (i, constraint) in list("topologySpreadConstraints").iter().enumerate() {
        spreads(check, constraint, &format!("{path}.topologySpreadConstraints[{i}]"))?;
    }
    for feature in &FEATURES {
        if let Some(field) = (feature.found)(spec) {
            let why = format!("not modelled: {} in manifests; {}", feature.what, feature.instead);
            return check.refuse(&format!("{path}.{field}"), "", &why);
        }
    }
    if let Err(says) = task_groups::of_pod(metadata) {
        let field = "metadata.annotations.yunikorn.apache.org/task-groups";
        let field = match path.strip_suffix(".spec") {
            Some(template) => format!("{template}.{field}"),
            None => field.to_owned(),
        };
        let why = format!("YuniKorn refuses this: unable to get taskGroups for pod, reason: {says}");
        return check.refuse(&field, "", &why);
    }
    Ok(())
}

/// Thousandths of a quantity; what is none is told where it is read.
fn milli(value: &Value) -> Option<(u64, String)> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    number::quantity(&text, 1000).ok().map(|milli| (milli, text))
}

/// Requests and limits of a container, or of a pod.
fn resources(check: Check<'_>, resources: &Value, path: &str) -> Checked {
    let requests = resources.get("requests").and_then(Value::as_object);
    for (name, request) in requests.into_iter().flatten() {
        let field = format!("{path}.requests");
        let Some((asked, text)) = milli(request) else { continue };
        let whole = name.contains('/') && !name.contains("kubernetes.io/") || name.starts_with("hugepages-");
        let Some((limit, limit_text)) =
            resources.get("limits").and_then(|limits| limits.get(name)).and_then(milli)
        else {
            if whole {
                let field = format!("{path}.limits");
                let why = format!(
                    "Required value: Limit must be set for non overcommitable resources; give a limit of {name}, equal to the request"
                );
                return check.invalid(&field, "", &why);
            }
            continue;
        };
        if whole && asked != limit {
            let why = format!(
                "Invalid value: \"{text}\": must be equal to {name} limit of {limit_text}; correct one"
            );
            return check.invalid(&field, &text, &why);
        }
        if asked > limit {
            let why = format!(
                "Invalid value: \"{text}\": must be less than or equal to {name} limit of {limit_text}; correct one"
            );
            return check.invalid(&field, &text, &why);
        }
    }
    Ok(())
}

/// `ValidateTolerations`.
fn tolerates(check: Check<'_>, toleration: &Value, path: &str) -> Checked {
    let text = |key: &str| k8s::text(toleration, key);
    let (operator, value, effect) = (text("/operator"), text("/value"), text("/effect"));
    if text("/key").is_empty() && operator != "Exists" {
        let why = "Invalid value: operator must be Exists when `key` is empty, which means \"match all values and all keys\"; give a key, \
                   or the operator";
        return check.invalid(&format!("{path}.operator"), operator, why);
    }
    match operator {
        "Exists" if !value.is_empty() => {
            let why = format!(
                "Invalid value: \"{value}\": value must be empty when `operator` is 'Exists'; leave `value` out, or write Equal"
            );
            return check.invalid(&format!("{path}.operator"), operator, &why);
        }
        "" | "Exists" | "Equal" => {}
        _ => {
            let why = format!(
                "Unsupported value: \"{operator}\": supported values: \"Equal\", \"Exists\"; write one"
            );
            return check.invalid(&format!("{path}.operator"), operator, &why);
        }
    }
    if !["", "NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
        let why = format!(
            "Unsupported value: \"{effect}\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"; write one"
        );
        return check.invalid(&format!("{path}.effect"), effect, &why);
    }
    if toleration.get("tolerationSeconds").is_some_and(|seconds| !seconds.is_null()) && effect != "NoExecute"
    {
        let why = format!(
            "Invalid value: \"{effect}\": effect must be 'NoExecute' when `tolerationSeconds` is set; correct one"
        );
        return check.invalid(&format!("{path}.effect"), effect, &why);
    }
    Ok(())
}

/// `validateTopologySpreadConstraints`.
fn spreads(check: Check<'_>, constraint: &Value, path: &str) -> Checked {
    for (field, required) in [("maxSkew", true), ("minDomains", false)] {
        let value = constraint.get(field).filter(|value| !value.is_null());
        let path = format!("{path}.{field}");
        match value.map(|value| (value, value.as_i64())) {
            None if !required => {}
            Some((_, Some(1..))) => {}
            // A number that is not there is 0.
            None => return check.invalid(&path, "", "Invalid value: 0: must be greater than zero; give it"),
            Some((value, Some(_))) => {
                let why = format!("Invalid value: {value}: must be greater than zero; correct it");
                return check.invalid(&path, &value.to_string(), &why);
            }
            Some((value, None)) => {
                let why = format!(
                    "json: cannot unmarshal {} into Go struct field TopologySpreadConstraint.{field} of type int32; write a whole \
                     number without quotes",
                    kind_of(value)
                );
                return check.undecodable(&path, &value.to_string(), &why);
            }
        }
    }
    if k8s::text(constraint, "/topologyKey").is_empty() {
        let why = "Required value: can not be empty; name the label of nodes that tells places apart";
        return check.invalid(&format!("{path}.topologyKey"), "", why);
    }
    let action = k8s::text(constraint, "/whenUnsatisfiable");
    if !["DoNotSchedule", "ScheduleAnyway"].contains(&action) {
        let why = format!(
            "Unsupported value: \"{action}\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"; write one"
        );
        return check.invalid(&format!("{path}.whenUnsatisfiable"), action, &why);
    }
    let domains = constraint.get("minDomains").and_then(Value::as_i64);
    if let (Some(domains), "ScheduleAnyway") = (domains, action) {
        let why = format!(
            "Invalid value: {domains}: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway; correct one"
        );
        return check.invalid(&format!("{path}.minDomains"), &domains.to_string(), &why);
    }
    Ok(())
}

/// Something of a pod that decides about its scheduling and is not modelled.
struct Feature {
    /// The field that says it, if the pod has it.
    found: fn(&Value) -> Option<String>,
    what: &'static str,
    /// What to do.
    instead: &'static str,
    /// Field of a trace and what the report says of it.
    left_out: (&'static str, &'static str),
}

fn volume_claim(spec: &Value) -> Option<String> {
    let volumes = spec.get("volumes").and_then(Value::as_array)?;
    volumes.iter().enumerate().find_map(|(i, volume)| {
        let kinds = ["persistentVolumeClaim", "ephemeral"];
        let kind = kinds.iter().find(|kind| volume.get(**kind).is_some_and(|claim| !claim.is_null()))?;
        Some(format!("volumes[{i}].{kind}"))
    })
}

fn filled(spec: &Value, field: &str) -> Option<String> {
    let there = match spec.get(field)? {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    };
    there.then(|| field.to_owned())
}

static FEATURES: [Feature; 4] = [
    Feature {
        found: volume_claim,
        what: "claims of volumes",
        instead: CLAIMS_INSTEAD,
        left_out: (
            "specs.volumes",
            "none: claims of volumes are left out; a pod fits where its volumes are not",
        ),
    },
    Feature {
        found: |spec| filled(spec, "resourceClaims"),
        what: "ResourceClaims",
        instead: "ask for devices as an extended resource",
        left_out: (
            "specs.resourceClaims",
            "none: ResourceClaims are left out; a pod fits without its devices",
        ),
    },
    Feature {
        found: |spec| filled(spec, "schedulingGates"),
        what: "scheduling gates",
        instead: "nobody would take them away; leave them out, or write the pods in the scenario, whose `schedulingGates` say when each is removed",
        left_out: (
            "specs.schedulingGates",
            "none: scheduling gates are left out; a pod does not wait for who removes them",
        ),
    },
    Feature {
        found: |spec| filled(spec, "workloadRef").or_else(|| filled(spec, "schedulingGroup")),
        what: "gangs of kube-scheduler's own",
        instead: "leave the field out; pods are then scheduled one by one",
        left_out: (
            "specs.schedulingGroup",
            "none: gangs of kube-scheduler's own are left out; pods come one by one",
        ),
    },
];

/// Counts in the report what is left out of the spec of a pod that exists.
pub(super) fn note_left_out(sink: &mut Sink, spec: &Value) {
    for feature in &FEATURES {
        if (feature.found)(spec).is_some() {
            let (field, rule) = feature.left_out;
            sink.report.invent(field, rule);
            sink.report.note(format!("some pods have {}: they are left out", feature.what));
        }
    }
}

/// Notes what YuniKorn would read of a Namespace.
pub(super) fn note_namespace(sink: &mut Sink, namespace: &Value) {
    for quota in QUOTAS {
        let given = namespace.pointer("/metadata/annotations").and_then(|a| a.get(quota));
        if given.is_some_and(|given| !given.is_null()) {
            let name = k8s::text(namespace, "/metadata/name");
            sink.report.note(format!(
                "Namespace {name}: the annotation {quota} is left out, which limits YuniKorn's queue of the namespace; give that queue \
                 `resources.max` in the scheduler's configuration"
            ));
        }
    }
}
