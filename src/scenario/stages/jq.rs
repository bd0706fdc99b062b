//! What a jq key of a stage reads.
//!
//! Keys are paths (`.a.b`, `["key"]`, `[]`, `.[]`, `[0]`), pipes and `select( .key == "value" )`, as KWOK's stages and its documentation
//! use them. Each is one of the fields that objects have here, or an error that names it and those that can be used. Of what no
//! object here has (init containers, a node's finalizers) it is known that it is absent.
//!
//! Source: jq 1.7 manual; kubernetes-sigs/kwok `pkg/utils/expression/query.go`, in which a query that fails yields nothing.
//!
//! Cost: O(key).
use crate::control_plane::stages::{ContainerState, Field, Kind};

/// A step of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Each,
    Select(String, String),
}

/// Keys that can be used.
pub(super) const POD_KEYS: &str = ".metadata.labels[\"..\"], .metadata.annotations[\"..\"], .metadata.deletionTimestamp, .metadata.finalizers, \
     .metadata.namespace, .metadata.ownerReferences.[].kind, .spec.nodeName, .status.phase, .status.podIP, .status.hostIP, .status.startTime, \
     .status.conditions.[] | select( .type == \"..\" ) | .status, .status.containerStatuses.[].state.running.startedAt (and waiting, terminated)";
pub(super) const NODE_KEYS: &str = ".metadata.labels[\"..\"], .metadata.annotations[\"..\"], .metadata.name, .metadata.deletionTimestamp, \
     .metadata.finalizers, .status.phase, .status.conditions.[] | select( .type == \"..\" ) | .status";

fn steps(key: &str) -> Option<Vec<Step>> {
    let mut out = Vec::new();
    let mut rest = key.trim();
    loop {
        if let Some(inner) = rest.strip_prefix("select") {
            let (condition, after) = inner.trim_start().strip_prefix('(')?.split_once(')')?;
            let (path, value) = condition.split_once("==")?;
            let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;
            let [Step::Key(name)] = &steps(path)?[..] else { return None };
            out.push(Step::Select(name.clone(), value.to_owned()));
            rest = after;
        } else {
            if !rest.starts_with('.') {
                return None;
            }
            while rest.starts_with(['.', '[']) {
                rest = one(rest, &mut out)?;
                rest = rest.strip_prefix('?').unwrap_or(rest);
            }
        }
        rest = rest.trim_start();
        match rest.strip_prefix('|') {
            Some(after) => rest = after.trim_start(),
            None => return rest.is_empty().then_some(out),
        }
    }
}

/// One step of a path; what is left.
fn one<'a>(text: &'a str, out: &mut Vec<Step>) -> Option<&'a str> {
    let text = text.strip_prefix('.').unwrap_or(text);
    if let Some(inner) = text.strip_prefix('[') {
        let (inside, after) = match inner.strip_prefix('"') {
            Some(quoted) => {
                let (key, after) = quoted.split_once('"')?;
                out.push(Step::Key(key.to_owned()));
                return after.trim_start().strip_prefix(']');
            }
            None => inner.split_once(']')?,
        };
        match inside.trim() {
            "" => out.push(Step::Each),
            // Lists have one kind of entry here.
            "0" => out.push(Step::Each),
            _ => return None,
        }
        return Some(after);
    }
    if let Some(quoted) = text.strip_prefix('"') {
        let (key, after) = quoted.split_once('"')?;
        out.push(Step::Key(key.to_owned()));
        return Some(after);
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    if end == 0 {
        // `.` alone, before `[` or at the end.
        return (text.is_empty() || text.starts_with([' ', '|'])).then_some(text);
    }
    out.push(Step::Key(text[..end].to_owned()));
    Some(&text[end..])
}

/// What a key reads; `None`: nothing that is known here. Conditions are named by `condition`.
pub(super) fn field(key: &str, kind: Kind, condition: &mut dyn FnMut(&str) -> Option<u8>) -> Option<Field> {
    let steps = steps(key)?;
    let names: Vec<&str> = steps
        .iter()
        .map(|step| match step {
            Step::Key(key) => key.as_str(),
            Step::Each => "[]",
            Step::Select(..) => "select",
        })
        .collect();
    let is_pod = kind == Kind::Pod;
    Some(match &names[..] {
        ["metadata", "labels", key] => Field::Label((*key).to_owned()),
        ["metadata", "annotations", key] => Field::Annotation((*key).to_owned()),
        ["metadata", "deletionTimestamp"] if is_pod => Field::DeletionTimestamp,
        // A node is gone once it is deleted.
        ["metadata", "finalizers"] | ["metadata", "finalizers", "[]"] if is_pod => Field::Finalizers,
        ["metadata", "deletionTimestamp"] | ["metadata", "finalizers"] | ["metadata", "finalizers", "[]"] => {
            Field::Absent
        }
        ["metadata", "name"] if !is_pod => Field::NodeName,
        ["metadata", "name" | "uid" | "creationTimestamp" | "resourceVersion"] => Field::Present,
        ["metadata", "namespace"] if is_pod => Field::Namespace,
        ["metadata", "ownerReferences"] | ["metadata", "ownerReferences", "[]"] if is_pod => Field::OwnerKind,
        ["metadata", "ownerReferences", "[]", "kind"] if is_pod => Field::OwnerKind,
        ["metadata", "ownerReferences", ..] if !is_pod => Field::Absent,
        ["spec", "nodeName"] if is_pod => Field::NodeName,
        ["spec", "containers"] if is_pod => Field::Present,
        ["spec", "initContainers", ..] | ["spec", "readinessGates", ..] if is_pod => Field::Absent,
        ["status", "phase"] => Field::Phase,
        ["status", "podIP" | "hostIP" | "podIPs" | "hostIPs"] if is_pod => Field::Address,
        ["status", "startTime"] if is_pod => Field::StartTime,
        ["status", "conditions", "[]", "type"] => Field::ConditionTypes,
        ["status", "conditions", "[]", "select", "status"] => match &steps[3] {
            Step::Select(name, value) if name == "type" => Field::Condition(condition(value)?),
            _ => return None,
        },
        ["status", "initContainerStatuses", ..] if is_pod => Field::Absent,
        ["status", "containerStatuses"] if is_pod => Field::AnyContainers,
        ["status", "containerStatuses", "[]", "ready"] if is_pod => Field::ContainersReady,
        ["status", "containerStatuses", "[]", "state", state, rest @ ..] if is_pod => {
            let state = match *state {
                "waiting" => ContainerState::Waiting,
                "running" => ContainerState::Running,
                "terminated" => ContainerState::Terminated,
                _ => return None,
            };
            match (state, rest) {
                (_, []) | (ContainerState::Running, ["startedAt"]) => {}
                (ContainerState::Terminated, ["startedAt" | "finishedAt" | "exitCode"]) => {}
                (ContainerState::Waiting | ContainerState::Terminated, ["reason"]) => {
                    return Some(Field::Reason(state));
                }
                _ => return None,
            }
            Field::Containers(state)
        }
        _ => return None,
    })
}

/// What to write instead of a key that yields a list or objects: `In` and `NotIn` compare texts, truths and whole numbers only
/// (`hasValue` of `pkg/utils/expression/selector.go`), so that `In` would never match and `NotIn` always.
pub(super) fn instead_of_list(key: &str) -> Option<&'static str> {
    let steps = steps(key)?;
    let key = |step: &Step, name: &str| matches!(step, Step::Key(key) if key == name);
    let [metadata, list, rest @ ..] = &steps[..] else { return None };
    match rest {
        _ if !key(metadata, "metadata") => None,
        [] if key(list, "finalizers") => Some("write `.metadata.finalizers.[]`"),
        [] | [Step::Each] if key(list, "ownerReferences") => {
            Some("write `.metadata.ownerReferences.[].kind`")
        }
        _ => None,
    }
}

/// Whether what a field yields can be compared.
pub(super) const fn has_value(field: &Field) -> bool {
    !matches!(
        field,
        Field::RunTime
            | Field::DeletionTimestamp
            | Field::Present
            | Field::Address
            | Field::StartTime
            | Field::Containers(_)
            | Field::AnyContainers
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &str) -> Option<Field> {
        field(key, Kind::Pod, &mut |_| Some(7))
    }

    #[test]
    fn keys_are_read_in_all_their_forms() {
        let label = Some(Field::Label("a.b/c".to_owned()));
        assert_eq!(read(".metadata.labels[\"a.b/c\"]"), label);
        assert_eq!(read(".metadata.labels.\"a.b/c\""), label);
        assert_eq!(read(".metadata.labels?[\"a.b/c\"]?"), label);
        assert_eq!(read(".metadata | .labels | .[\"a.b/c\"]"), label);
        let ready = Some(Field::Condition(7));
        assert_eq!(read(".status.conditions.[] | select( .type == \"Ready\" ) | .status"), ready);
        assert_eq!(read(".status.conditions[]|select(.type==\"Ready\")|.status"), ready);
        assert_eq!(read(".metadata.ownerReferences.[].kind"), Some(Field::OwnerKind));
        assert_eq!(
            read(".status.containerStatuses.[].state.running.startedAt"),
            Some(Field::Containers(ContainerState::Running))
        );
        assert_eq!(
            read(".status.containerStatuses.[].state.waiting.reason"),
            Some(Field::Reason(ContainerState::Waiting))
        );
        assert_eq!(read(".status.initContainerStatuses.[].state.waiting.reason"), Some(Field::Absent));
    }

    #[test]
    fn others_are_not_known() {
        for key in [
            "",
            ".",
            "status.phase",
            ".status.phase |",
            ".status.qosClass",
            ".status.conditions.[] | select( .reason == \"x\" ) | .status",
            ".status.conditions.[] | select( .type == \"Ready\" ) | .reason",
            ".metadata.labels[\"a",
            "select(",
            ".status.phase | ascii_downcase",
            "[.status.phase]",
        ] {
            assert_eq!(read(key), None, "{key}");
        }
    }
}
