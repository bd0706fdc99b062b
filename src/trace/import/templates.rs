//! Objects of one kind among manifests whose pods are made in a run, for scenarios: a trace holds pods that are known beforehand.
//!
//! An object that exists already (it has a `creationTimestamp`) and whose input holds pods that do, too, is left alone: its pods
//! are among those, or of no interest. LimitRanges and PriorityClasses go for all templates.
//!
//! Cost: O(bytes), the files are read once more.
use std::path::PathBuf;

use serde_json::Value;

use super::admission::Admission;
use super::k8s_list::{exists, holds_objects, is_left_empty};
use super::kubernetes::{self as k8s, Place};
use super::{ImportOptions, Pod, TraceError};
use crate::trace::documents::each_document;
use crate::trace::error::Problem;
use crate::trace::model::SpecRow;
use crate::trace::source::collect;

/// What was found.
pub(super) struct Found {
    /// The objects, with a name.
    pub objects: Vec<(Value, Place)>,
    /// How many are left alone.
    pub left_alone: usize,
    /// What becomes of their pods.
    pub admission: Admission,
}

/// The objects of a kind, or of several, in files and folders that [`k8s_list`](super::k8s_list) has read. The others are shown to `other`.
pub(super) fn of_kind(
    paths: &[PathBuf],
    wanted: &dyn Fn(&Value) -> bool,
    other: &mut dyn FnMut(Value, &Place),
) -> Result<Found, TraceError> {
    let limit = ImportOptions::default().max_line_bytes;
    let mut objects: Vec<(Value, Place)> = Vec::new();
    let mut ranges: Vec<(Value, Place)> = Vec::new();
    let mut classes: Vec<(Value, Place)> = Vec::new();
    let mut pods_exist = false;
    for file in collect(paths)?.iter().filter(|file| holds_objects(file)) {
        each_document(file, limit, &mut |object, place| {
            let object = match object {
                Err(error) if is_left_empty(&error, file) => return Ok(()),
                object => object?,
            };
            match k8s::kind(&object) {
                _ if wanted(&object) => objects.push((object, place.clone())),
                "LimitRange" => ranges.push((object, place.clone())),
                "PriorityClass" | "RuntimeClass" => classes.push((object, place.clone())),
                "Pod" => pods_exist |= exists(&object),
                _ => other(object, place),
            }
            Ok(())
        })?;
    }
    let all = objects.len();
    objects.retain(|(object, _)| !(pods_exist && exists(object)));
    let left_alone = all - objects.len();
    // Where nothing is created, they say nothing.
    let admission =
        if objects.is_empty() { Admission::default() } else { Admission::read(&ranges, &classes, &mut Err)? };
    if let Some((_, place)) =
        objects.iter().find(|(object, _)| k8s::text(object, "/metadata/name").is_empty())
    {
        return Err(place.error(Problem::EmptyField, "metadata.name", "", "a name"));
    }
    Ok(Found { objects, left_alone, admission })
}

/// A template, admitted: what its pods ask for, and the application, queue, user and priority that it says.
pub(super) fn read(
    object: &mut Value,
    path: &str,
    admission: &Admission,
    place: &Place,
) -> Result<(SpecRow, Pod), TraceError> {
    let (namespace, name) =
        (k8s::namespace(object).to_owned(), k8s::text(object, "/metadata/name").to_owned());
    let (pointer, field) = (format!("/{}", path.replace('.', "/")), format!("{path}.spec"));
    let refused =
        |field: &str, value: &str, why: &str| Err(place.error(Problem::Forbidden, field, value, why));
    let Some(spec) = object.pointer_mut(&format!("{pointer}/spec")) else {
        return refused(&field, "", "required, but missing; add it");
    };
    if let Some(node) = spec.get("nodeName").and_then(Value::as_str).map(str::to_owned) {
        return refused(&format!("{field}.nodeName"), &node, "not modelled; use a node selector");
    }
    admission.admit((&namespace, &format!("{name}-")), spec, &field, place)?;
    let template = object.pointer(&pointer).unwrap_or(&Value::Null);
    let row = k8s::spec_row(&namespace, &template["metadata"], &template["spec"], place)?;
    let mut pod = Pod::default();
    k8s::fill_belonging(&mut pod, &template["metadata"], &template["spec"]);
    Ok((row, pod))
}
