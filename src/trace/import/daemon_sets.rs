//! DaemonSets among manifests, for scenarios: a trace holds pods, and which pods a DaemonSet has depends on a run's nodes.
//!
//! A DaemonSet that exists already (it has a `creationTimestamp`) and whose input holds pods that do, too, is left alone: its pods
//! are among those. LimitRanges and PriorityClasses go for its template as for every other.
//!
//! Left out: rolling updates, `minReadySeconds`; refused: a template with a `nodeName`.
//!
//! Cost: O(bytes), the files are read once more.
use std::path::PathBuf;

use serde_json::Value;

use super::admission::Admission;
use super::k8s_list::{exists, holds_objects};
use super::kubernetes::{self as k8s, Place};
use super::{ImportOptions, Pod, TraceError};
use crate::trace::documents::each_document;
use crate::trace::error::Problem;
use crate::trace::model::SpecRow;
use crate::trace::source::collect;

/// A DaemonSet.
#[derive(Debug)]
pub struct DaemonSetRow {
    /// Name.
    pub name: String,
    /// What its pods ask for.
    pub spec: SpecRow,
    /// Application that its labels name; empty: none.
    pub app: String,
    /// Queue; empty: none.
    pub queue: String,
    /// User; empty: none.
    pub user: String,
    /// Priority.
    pub priority: i32,
}

/// The DaemonSets of files and folders that [`k8s_list`](super::k8s_list) has read, and how many are left alone because they exist, as
/// pods of the input do: their pods are among those, or of no interest.
///
/// # Errors
/// One that can't be read, that the API server refuses, that is there twice, or that is not modelled.
pub fn daemon_sets(paths: &[PathBuf]) -> Result<(Vec<DaemonSetRow>, usize), TraceError> {
    let limit = ImportOptions::default().max_line_bytes;
    let mut found: Vec<(Value, Place)> = Vec::new();
    let mut ranges: Vec<(Value, Place)> = Vec::new();
    let mut classes: Vec<(Value, Place)> = Vec::new();
    let mut pods_exist = false;
    for file in collect(paths)?.iter().filter(|file| holds_objects(file)) {
        each_document(file, limit, &mut |object, place| {
            let object = object?;
            match k8s::kind(&object) {
                "DaemonSet" => found.push((object, place.clone())),
                "LimitRange" => ranges.push((object, place.clone())),
                "PriorityClass" => classes.push((object, place.clone())),
                "Pod" => pods_exist |= exists(&object),
                _ => {}
            }
            Ok(())
        })?;
    }
    let all = found.len();
    found.retain(|(object, _)| !(pods_exist && exists(object)));
    let left_alone = all - found.len();
    // Where nothing is created, they say nothing.
    let admission =
        if found.is_empty() { Admission::default() } else { Admission::read(&ranges, &classes, &mut Err)? };
    let mut rows: Vec<DaemonSetRow> = Vec::new();
    for (mut object, place) in found {
        let (namespace, name) =
            (k8s::namespace(&object).to_owned(), k8s::text(&object, "/metadata/name").to_owned());
        if name.is_empty() {
            return Err(place.error(Problem::EmptyField, "metadata.name", "", "a name"));
        }
        let refused =
            |field: &str, value: &str, why: &str| Err(place.error(Problem::Forbidden, field, value, why));
        let Some(spec) = object.pointer_mut("/spec/template/spec") else {
            return refused("spec.template.spec", "", "required, but missing; add it");
        };
        if let Some(node) = spec.get("nodeName").and_then(Value::as_str).map(str::to_owned) {
            return refused("spec.template.spec.nodeName", &node, "not modelled; use a node selector");
        }
        admission.admit((&namespace, &format!("{name}-")), spec, "spec.template.spec", &place)?;
        let template = &object["spec"]["template"];
        let spec = k8s::spec_row(&namespace, &template["metadata"], &template["spec"], &place)?;
        let mut pod = Pod::default();
        k8s::fill_belonging(&mut pod, &template["metadata"], &template["spec"]);
        let same = |row: &DaemonSetRow| row.name == name && row.spec.namespace == spec.namespace;
        if rows.iter().any(same) {
            return Err(place.error(Problem::DuplicateId, "metadata.name", &name, "each DaemonSet once"));
        }
        let Pod { app, queue, user, priority, .. } = pod;
        rows.push(DaemonSetRow { name, spec, app, queue, user, priority });
    }
    Ok((rows, left_alone))
}
