//! DaemonSets among manifests, for scenarios: which pods a DaemonSet has depends on a run's nodes.
//!
//! Which of them are taken, and what becomes of their template, [`templates`](super::templates) says.
//!
//! Left out: rolling updates, `minReadySeconds`; refused: a template with a `nodeName`.
//!
//! Cost: O(bytes).
use std::path::PathBuf;

use super::kubernetes as k8s;
use super::templates::{Found, of_kind, read};
use super::{Pod, TraceError};
use crate::trace::error::Problem;
use crate::trace::model::SpecRow;

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

/// The DaemonSets of files and folders, and how many are left alone.
///
/// # Errors
/// One that can't be read, that the API server refuses, that is there twice, or that is not modelled.
pub fn daemon_sets(paths: &[PathBuf]) -> Result<(Vec<DaemonSetRow>, usize), TraceError> {
    let Found { objects, left_alone, admission } =
        of_kind(paths, &|object| k8s::kind(object) == "DaemonSet", &mut |_, _| {})?;
    let mut rows: Vec<DaemonSetRow> = Vec::new();
    for (mut object, place) in objects {
        let (spec, pod) = read(&mut object, "spec.template", &admission, &place)?;
        let name = k8s::text(&object, "/metadata/name").to_owned();
        let same = |row: &DaemonSetRow| row.name == name && row.spec.namespace == spec.namespace;
        if rows.iter().any(same) {
            return Err(place.error(Problem::DuplicateId, "metadata.name", &name, "each DaemonSet once"));
        }
        let Pod { app, queue, user, priority, .. } = pod;
        rows.push(DaemonSetRow { name, spec, app, queue, user, priority });
    }
    Ok((rows, left_alone))
}
