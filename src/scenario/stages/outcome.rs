//! Objects as templates see them, and the status that comes out.
//!
//! Of a status count phase, conditions, the state of the containers, and whether there are addresses and a start time. Its other
//! fields change nothing here; a field that a status does not have, and a value that is not known where one is needed, are errors.
//!
//! Cost: O(text).
use std::collections::BTreeMap;

use serde_yaml::Value as Yaml;

use super::RUN_ANNOTATION;
use super::template::{KEPT, UNKNOWN, Value};
use crate::control_plane::stages::{ContainerState, Containers, Facts, Kind, Patch, Phase, Truth};

/// What is wrong, and what to do.
pub(super) type Wrong = (String, String);

/// Words of stages that are compared, and where reading is.
#[derive(Debug)]
pub(super) struct Outcomes {
    /// Types of conditions; `Ready` and `PodScheduled` first.
    pub(super) conditions: Vec<String>,
    /// Reasons of containers.
    pub(super) reasons: Vec<String>,
    /// Some template gives a reason that is not known.
    pub(super) gives_unknown_reason: bool,
    /// The field of a status that is being read.
    pub(super) reading: String,
}

impl Outcomes {
    pub(super) fn new() -> Self {
        Self {
            conditions: vec!["Ready".to_owned(), "PodScheduled".to_owned()],
            reasons: Vec::new(),
            gives_unknown_reason: false,
            reading: String::new(),
        }
    }

    /// The index of a type of conditions, if there is room for it.
    pub(super) fn condition(&mut self, name: &str) -> Option<u8> {
        intern(&mut self.conditions, name)
    }

    /// Reads the status that a template came to.
    pub(super) fn status(
        &mut self,
        kind: Kind,
        text: &str,
        root: &str,
        has_time: bool,
    ) -> Result<Patch, Wrong> {
        let wrong = |message: String, hint: &str| Err((message, hint.to_owned()));
        let parsed: Yaml = match serde_yaml::from_str(text) {
            Ok(parsed) => parsed,
            Err(error) => {
                let hint = "check its indentation; `kubectl kustomize` and kwok read the same text";
                return wrong(format!("what the template comes to is no YAML: {error}"), hint);
            }
        };
        let mut status = &parsed;
        if root.is_empty() {
            let others = parsed.as_mapping().map_or(0, |map| map.len()) > 1;
            match parsed.get("status") {
                Some(inner) if !others => status = inner,
                _ => return wrong("the patch is not of the status alone".to_owned(), "write `root: status`"),
            }
        }
        let mut patch = Patch { has_time, ..Patch::default() };
        let entries = match status {
            Yaml::Null => return Ok(patch),
            Yaml::Mapping(entries) => entries,
            _ => return wrong("a status is a mapping".to_owned(), "such as `phase: Running`"),
        };
        for (key, value) in entries {
            let key = key.as_str().unwrap_or_default();
            key.clone_into(&mut self.reading);
            let is_pod = kind == Kind::Pod;
            match key {
                _ if value.is_null() => {}
                "phase" => {
                    let phases: &[Phase] = match kind {
                        Kind::Pod => &[Phase::Pending, Phase::Running, Phase::Succeeded, Phase::Failed],
                        Kind::Node => &[Phase::Pending, Phase::Running, Phase::Terminated],
                    };
                    let text = value.as_str().unwrap_or_default();
                    let known = Phase::ALL.iter().filter(|(_, phase)| phases.contains(phase));
                    let found = known.clone().find(|(name, _)| *name == text);
                    let names: Vec<_> = known.map(|(name, _)| *name).collect();
                    match found {
                        Some((_, phase)) => patch.phase = Some(*phase),
                        None => return wrong(is_unknown("phase", value), &names.join(", ")),
                    }
                }
                "conditions" => {
                    for condition in list("conditions", value)? {
                        let (name, status) = self.truth(condition)?;
                        patch.conditions.push((name, status));
                        let said = |key: &str| condition.get(key).is_some_and(|v| !v.is_null());
                        patch.has_others |= said("reason") || said("message");
                    }
                }
                "containerStatuses" if is_pod => patch.containers = self.containers(value)?,
                "podIP" | "hostIP" | "podIPs" | "hostIPs" if is_pod => patch.has_address = true,
                "startTime" if is_pod => patch.has_start_time = true,
                "capacity" | "allocatable" if !is_pod => {
                    if value.get(KEPT).is_none() {
                        let message = format!("a stage that changes a node's {key} is not modelled");
                        return wrong(
                            message,
                            "leave it out, or keep what there is: `{{ YAML .status.allocatable 1 }}`",
                        );
                    }
                }
                _ if OTHERS_OF_PODS.contains(&key) && is_pod || OTHERS_OF_NODES.contains(&key) && !is_pod => {
                    patch.has_others = true;
                }
                _ => {
                    let of = if is_pod { "pod" } else { "node" };
                    return wrong(
                        format!("`{key}` is no field of a {of}'s status"),
                        "correct it, or leave it out",
                    );
                }
            }
        }
        Ok(patch)
    }

    fn truth(&mut self, condition: &Yaml) -> Result<(u8, Truth), Wrong> {
        let text = |key: &str| condition.get(key).unwrap_or(&Yaml::Null);
        let kind = match text("type").as_str() {
            Some(kind) if !kind.is_empty() && !kind.contains(UNKNOWN) => kind,
            _ => return Err((is_unknown("type of a condition", text("type")), "write it out".to_owned())),
        };
        let known = Truth::ALL.iter().find(|(name, _)| text("status").as_str() == Some(name));
        let Some((_, status)) = known else {
            let message = is_unknown(&format!("status of the condition {kind}"), text("status"));
            return Err((message, "\"True\", \"False\" or \"Unknown\", in quotes".to_owned()));
        };
        match self.condition(kind) {
            Some(at) => Ok((at, *status)),
            None => Err(("too many types of conditions".to_owned(), "at most 256".to_owned())),
        }
    }

    /// The state of all containers.
    fn containers(&mut self, value: &Yaml) -> Result<Option<Containers>, Wrong> {
        let mut all: Option<Containers> = None;
        for one in list("containerStatuses", value)? {
            let state = one.get("state").unwrap_or(&Yaml::Null);
            let is_mapping = |value: &Yaml| value.is_mapping() || value.is_null();
            if !one.is_mapping() || !is_mapping(state) {
                let message = if one.is_mapping() {
                    is_unknown("state of a container", state)
                } else {
                    is_unknown("status of a container", one)
                };
                return Err((message, "a mapping, such as `{name: a, state: {running: {}}}`".to_owned()));
            }
            if let Some(ready) = one.get("ready").filter(|ready| !ready.is_null() && !ready.is_bool()) {
                let message = is_unknown("`ready` of a container", ready);
                return Err((message, "true or false, without quotes".to_owned()));
            }
            let states = [
                ("terminated", ContainerState::Terminated),
                ("running", ContainerState::Running),
                ("waiting", ContainerState::Waiting),
            ];
            let said = |key: &str| one.get("state").and_then(|state| state.get(key));
            let found = states.into_iter().find_map(|(key, state)| Some((state, said(key)?)));
            let reason = match found.and_then(|(_, said)| said.get("reason")?.as_str()) {
                Some(text) if text.contains(UNKNOWN) => {
                    self.gives_unknown_reason = true;
                    None
                }
                Some(text) => Some(intern(&mut self.reasons, text).ok_or_else(|| {
                    ("too many reasons of containers".to_owned(), "at most 256 in all stages".to_owned())
                })?),
                None => None,
            };
            let state = found.map_or(ContainerState::Unset, |(state, _)| state);
            let found = Containers { state, ready: one.get("ready").and_then(Yaml::as_bool), reason };
            if all.is_some_and(|before| before != found) {
                let message = "containers of a pod that are in different states are not modelled";
                return Err((message.to_owned(), "give all of them the same state".to_owned()));
            }
            all = Some(found);
        }
        Ok(all)
    }
}

/// The entries of a list.
fn list<'a>(key: &str, value: &'a Yaml) -> Result<&'a [Yaml], Wrong> {
    let message = match value {
        Yaml::Sequence(items) => return Ok(items),
        _ if is_marked(value) => format!("`{key}` depends on something that is not known here"),
        Yaml::Mapping(_) => format!("`{key}` is a list, not a mapping"),
        _ => format!("`{key}` is a list, not one value"),
    };
    Err((message, "write it out; each entry begins with `- `, or all stand in `[..]`".to_owned()))
}

/// Whether it is made of what is not known.
fn is_marked(value: &Yaml) -> bool {
    value.as_str().is_some_and(|text| text.contains(UNKNOWN))
        || value.get(UNKNOWN).is_some()
        || value.get(KEPT).is_some()
}

/// The index of a word, if there is room for it.
fn intern(words: &mut Vec<String>, word: &str) -> Option<u8> {
    let at = words.iter().position(|known| known == word).unwrap_or(words.len());
    let index = u8::try_from(at).ok()?;
    if at == words.len() {
        words.push(word.to_owned());
    }
    Some(index)
}

/// Fields of a status that are read and change nothing here.
const OTHERS_OF_PODS: [&str; 9] = [
    "message",
    "reason",
    "qosClass",
    "nominatedNodeName",
    "initContainerStatuses",
    "ephemeralContainerStatuses",
    "resourceClaimStatuses",
    "resize",
    "observedGeneration",
];
const OTHERS_OF_NODES: [&str; 9] = [
    "addresses",
    "daemonEndpoints",
    "nodeInfo",
    "images",
    "volumesInUse",
    "volumesAttached",
    "config",
    "runtimeHandlers",
    "features",
];

fn is_unknown(what: &str, value: &Yaml) -> String {
    if is_marked(value) {
        return format!("the {what} depends on something that is not known here");
    }
    let shown = serde_yaml::to_string(value).unwrap_or_default();
    format!("the {what} is `{}`", shown.trim_end())
}

/// An object as a template sees it.
pub(super) fn object(kind: Kind, facts: &Facts) -> Value {
    let (unknown, named) = (Value::unknown, Value::named);
    let mut annotations: BTreeMap<String, Value> =
        facts.annotations.iter().map(|(key, value)| (key.clone(), Value::Text(value.clone()))).collect();
    annotations.insert(RUN_ANNOTATION.to_owned(), unknown("how long the pod runs"));
    let absent = || Value::Nil;
    let is_pod = kind == Kind::Pod;
    let mut metadata = vec![
        ("name", named("its name")),
        ("uid", named("its uid")),
        ("creationTimestamp", named("when it was made")),
        ("labels", unknown("its labels")),
    ];
    if is_pod {
        let owner = |kind: &str| {
            Value::object(
                "its owner",
                [
                    ("kind", Value::Text(kind.to_owned())),
                    ("name", named("the name of its owner")),
                    ("uid", named("the uid of its owner")),
                ],
            )
        };
        metadata.push(("namespace", named("its namespace")));
        metadata.push(("annotations", Value::Map(annotations)));
        let owners = facts.owner.map_or(Value::Nil, |kind| Value::List(vec![owner(kind)]));
        metadata.push(("ownerReferences", owners));
    } else {
        // A node is gone once it is deleted.
        let none = ["namespace", "annotations", "ownerReferences", "finalizers", "deletionTimestamp"];
        metadata.extend(none.map(|key| (key, absent())));
    }
    let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let (spec, status) = match kind {
        Kind::Pod => {
            let container = Value::object(
                "the container",
                [("name", named("the name of a container")), ("image", named("its image"))],
            );
            let spec = Value::object(
                "its spec",
                [
                    ("nodeName", named("the name of its node")),
                    ("containers", Value::List(vec![container])),
                    ("initContainers", absent()),
                    ("ephemeralContainers", absent()),
                    ("readinessGates", absent()),
                    ("hostNetwork", absent()),
                ],
            );
            let none = ["initContainerStatuses", "ephemeralContainerStatuses"];
            (spec, Value::object("its status", none.map(|key| (key, absent()))))
        }
        Kind::Node => {
            let kept = || Value::map([(KEPT, Value::Text(KEPT.to_owned()))]);
            // The nodes of a scenario bring no addresses; what a stage gives them says nothing here.
            let known = [("allocatable", kept()), ("capacity", kept()), ("addresses", absent())];
            (unknown("its spec"), Value::object("its status", known))
        }
    };
    Value::map([
        ("apiVersion", Value::Text("v1".to_owned())),
        ("kind", Value::Text(if is_pod { "Pod" } else { "Node" }.to_owned())),
        ("metadata", Value::Object("its metadata".to_owned(), metadata)),
        ("spec", spec),
        ("status", status),
    ])
}
