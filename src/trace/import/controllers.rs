//! Deployments, ReplicaSets, ReplicationControllers, StatefulSets and Jobs among manifests, for scenarios: their controllers make the pods in a run.
//!
//! Which of them are taken, and what becomes of their template, [`templates`](super::templates) says; what their other fields mean to a
//! controller the scenario does. A ReplicaSet of a Deployment of the input is its own business and is passed over.
//!
//! Left out: objects that exist already, and gangs where the scheduler knows them: their pods are rows of a trace
//! ([`k8s_list`](super::k8s_list)).
//!
//! Cost: O(bytes).
use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use super::k8s_list::is_controlled;
use super::kubernetes::{self as k8s, Place};
use super::templates::{Found, of_kind, read};
use super::{Controllers, Pod, TraceError};
use crate::trace::error::Problem;
use crate::trace::model::SpecRow;

/// An object whose pods a controller makes.
#[derive(Debug)]
pub struct ControllerRow {
    /// `Deployment`, `ReplicaSet`, ..
    pub kind: String,
    /// Name.
    pub name: String,
    /// What its pods ask for.
    pub spec: SpecRow,
    /// Application that its pods' labels name; empty: none.
    pub app: String,
    /// Queue; empty: none.
    pub queue: String,
    /// User; empty: none.
    pub user: String,
    /// Priority.
    pub priority: i32,
    /// The object.
    pub object: Value,
    /// Where it is.
    pub place: Place,
}

/// The objects of files and folders that are left to their controllers, in order.
///
/// # Errors
/// One that can't be read, that the API server refuses, or that is there twice.
pub fn controllers(paths: &[PathBuf], how: Controllers) -> Result<Vec<ControllerRow>, TraceError> {
    let wanted = |object: &Value| is_controlled(object, how);
    let Found { objects, admission, .. } = of_kind(paths, &wanted, &mut |_, _| {})?;
    let owners = k8s::names(objects.iter().map(|(object, _)| object));
    let mut known: BTreeSet<k8s::Name> = BTreeSet::new();
    let mut rows: Vec<ControllerRow> = Vec::new();
    for (mut object, place) in objects {
        if k8s::is_owned(&object, &owners) {
            continue;
        }
        let (spec, pod) = read(&mut object, "spec.template", &admission, &place)?;
        let kind = k8s::kind(&object).to_owned();
        let name = k8s::text(&object, "/metadata/name").to_owned();
        if !known.insert((spec.namespace.clone(), kind.clone(), name.clone())) {
            return Err(place.error(Problem::DuplicateId, "metadata.name", &name, "each object once"));
        }
        let Pod { app, queue, user, priority, .. } = pod;
        rows.push(ControllerRow { kind, name, spec, app, queue, user, priority, object, place });
    }
    Ok(rows)
}
