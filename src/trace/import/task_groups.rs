//! YuniKorn's gangs as pods say them: the annotations `yunikorn.apache.org/task-groups` and `schedulingPolicyParameters`.
//!
//! **Task groups** are JSON: a name, `minMember`, `minResource`, and what a placeholder is made with: labels, node selector, tolerations,
//! affinity, topology spread constraints. The application has those that its first pod names; of Spark's pods the driver names
//! both groups. An annotation that YuniKorn can't read makes no gang.
//!
//! **Parameters** are `NAME=VALUE` with blanks between: `placeholderTimeoutInSeconds`, `gangSchedulingStyle` (`Soft` or
//! `Hard`); what is neither, or is not of this form, is passed over, and a time that is no number is none.
//!
//! In a trace a pod's own group is in `task_group` and `min_member`. What that does not say, a style other than Soft, a time-out,
//! other groups, placeholders that are not like the pod, is in [`SpecRow::gang`](crate::trace::model::SpecRow::gang).
//!
//! Source: YuniKorn's Kubernetes shim 1.8, `pkg/cache/utils.go`, `gang_utils.go`, `placeholder.go`, `metadata.go`.
//!
//! Left out: annotations of placeholders.
//!
//! Cost: O(bytes of the annotations), once a pod.
use serde_json::Value;

use super::kubernetes::{self as k8s, Place};
use crate::trace::model::{Gang, SpecRow, TaskGroup};

const GROUPS: &str = "yunikorn.apache.org/task-groups";
const PARAMETERS: &str = "yunikorn.apache.org/schedulingPolicyParameters";

fn annotation<'a>(metadata: &'a Value, name: &str) -> &'a str {
    metadata.get("annotations").and_then(|a| a.get(name)).and_then(Value::as_str).unwrap_or_default()
}

/// The task groups that a pod's annotation names; none without one.
///
/// # Errors
/// YuniKorn can't read it; its words, and what to do.
pub(super) fn of_pod(metadata: &Value) -> Result<Vec<TaskGroup>, String> {
    let text = annotation(metadata, GROUPS);
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let groups: Value = serde_json::from_str(text).map_err(|e| format!("{e}; correct the JSON"))?;
    let Some(groups) = groups.as_array() else {
        return Err("json: cannot unmarshal into []TaskGroup; write a list of groups".to_owned());
    };
    let missing =
        |field: &str| format!("can't get taskGroup {field} from pod annotation; give each group its own");
    let place = Place { file: String::new(), at: 0 };
    let mut out = Vec::new();
    for group in groups {
        let name = k8s::text(group, "/name");
        if name.is_empty() {
            return Err(missing("Name"));
        }
        let min_member = match group.get("minMember").map(|members| (members, members.as_i64())) {
            None | Some((_, Some(0))) => return Err(missing("MinMember")),
            Some((_, Some(..0))) => return Err("minMember cannot be negative; correct it".to_owned()),
            Some((members, count)) => count
                .and_then(|count| u32::try_from(count).ok())
                .filter(|count| i32::try_from(*count).is_ok())
                .ok_or_else(|| {
                    format!("json: cannot unmarshal minMember {members} into type int32; correct it")
                })?,
        };
        let Some(min_resource) = group.get("minResource").filter(|list| list.is_object()) else {
            return Err(missing("MinResource"));
        };
        let min_resource = k8s::resources(Some(min_resource), &place).map_err(|e| {
            let says = e.to_string();
            format!("minResource of group {name}: {}", says.trim_start_matches(": "))
        })?;
        let json = |field: &str| k8s::json_text(group.get(field));
        out.push(TaskGroup {
            name: name.to_owned(),
            min_member,
            min_resource,
            labels: k8s::string_map(group.get("labels")),
            node_selector: k8s::string_map(group.get("nodeSelector")),
            tolerations: json("tolerations"),
            affinity: json("affinity"),
            topology_spread: json("topologySpreadConstraints"),
        });
    }
    Ok(out)
}

/// Style and time-out.
fn parameters(metadata: &Value) -> (bool, u64) {
    let (mut hard, mut seconds) = (false, 0);
    for parameter in annotation(metadata, PARAMETERS).split(' ') {
        let mut parts = parameter.split('=');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("placeholderTimeoutInSeconds"), Some(value), None) => {
                seconds = value.parse::<i64>().ok().and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
            }
            (Some("gangSchedulingStyle"), Some(value), None) => hard = value == "Hard",
            _ => {}
        }
    }
    (hard, seconds)
}

/// What a pod's annotations say of its gang beyond its own group's name and size, for a pod of this spec; empty: nothing.
pub(super) fn column(metadata: &Value, own: &str, row: &SpecRow) -> String {
    let groups = of_pod(metadata).unwrap_or_default();
    if groups.is_empty() {
        return String::new();
    }
    let (hard, placeholder_timeout_seconds) = parameters(metadata);
    let asked = |resources: &crate::trace::model::Resources| {
        let mut asked = resources.clone();
        asked.retain(|_, amount| *amount > 0);
        asked
    };
    let is_like_the_pod = |group: &TaskGroup| {
        group.name == own
            && asked(&group.min_resource) == asked(&row.requests)
            && group.labels.is_empty()
            && group.node_selector == row.node_selector
            && group.tolerations == row.tolerations
            && group.affinity == row.affinity
            && group.topology_spread == row.topology_spread
    };
    if !hard && placeholder_timeout_seconds == 0 && matches!(&groups[..], [one] if is_like_the_pod(one)) {
        return String::new();
    }
    let gang = Gang { hard, placeholder_timeout_seconds, task_groups: groups };
    serde_json::to_string(&gang).unwrap_or_default()
}
