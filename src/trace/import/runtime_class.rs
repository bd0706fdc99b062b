//! RuntimeClasses among manifests: what a pod that names one gets when it is created.
//!
//! The class' `overhead.podFixed` becomes the pod's `overhead`, which the scheduler adds to what the pod asks for; its
//! `scheduling.nodeSelector` and `scheduling.tolerations` are added to the pod's. A name that no class has, another overhead than the class', and a
//! selector that contradicts it are refused.
//!
//! A pod that exists already has been through this: nothing is done to it.
//!
//! Source: k/k `plugin/pkg/admission/runtimeclass/admission.go`.
//!
//! Cost: O(log classes + labels) a pod.
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::TraceError;
use super::kubernetes::{self as k8s, Place};
use crate::trace::error::Problem;

/// The RuntimeClasses of an input, by name.
#[derive(Default)]
pub struct RuntimeClasses(BTreeMap<String, Value>);

impl RuntimeClasses {
    /// Adds a class; the first of a name counts.
    ///
    /// # Errors
    /// It has no name.
    pub fn add(&mut self, object: &Value, place: &Place) -> Result<(), TraceError> {
        let name = k8s::text(object, "/metadata/name");
        if name.is_empty() {
            return Err(place.error(Problem::EmptyField, "metadata.name", "", "a name"));
        }
        self.0.entry(name.to_owned()).or_insert_with(|| object.clone());
        Ok(())
    }

    /// What the API server makes of the spec of a pod that is created. `name`: what it calls the pod; `path`: where the spec is in
    /// its object.
    ///
    /// # Errors
    /// It refuses the pod.
    pub fn admit(&self, name: &str, spec: &mut Value, path: &str, place: &Place) -> Result<(), TraceError> {
        let refuse = |field: &str, value: &str, why: &str| {
            let why = format!("the API server refuses this: pods \"{name}\" is forbidden: {why}");
            Err(place.error(Problem::Forbidden, &format!("{path}.{field}"), value, why))
        };
        let class_name = k8s::text(spec, "/runtimeClassName").to_owned();
        if class_name.is_empty() {
            return Ok(());
        }
        let Some(class) = self.0.get(&class_name) else {
            let why = format!(
                "pod rejected: RuntimeClass \"{class_name}\" not found; add it to the input, or correct the name"
            );
            return refuse("runtimeClassName", &class_name, &why);
        };
        let given = |value: Option<&Value>| value.filter(|value| !value.is_null()).cloned();
        let overhead = given(class.pointer("/overhead/podFixed"));
        let own = given(spec.get("overhead"));
        if let Some(own) = &own
            && k8s::resources(Some(own), place)? != k8s::resources(overhead.as_ref(), place)?
        {
            let why =
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead; leave it out";
            return refuse("overhead", &own.to_string(), why);
        }
        let Value::Object(fields) = spec else { return Ok(()) };
        if let Some(overhead) = overhead {
            fields.insert("overhead".to_owned(), overhead);
        }
        let selector = class.pointer("/scheduling/nodeSelector").and_then(Value::as_object);
        for (key, value) in selector.into_iter().flatten() {
            let into = fields.entry("nodeSelector").or_insert_with(|| Map::new().into());
            if into.is_null() {
                *into = Map::new().into();
            }
            let Value::Object(into) = into else { break };
            if let Some(other) = into.get(key).filter(|other| *other != value) {
                let why = format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {other}; correct one"
                );
                return refuse("nodeSelector", "", &why);
            }
            into.insert(key.clone(), value.clone());
        }
        let tolerations = class.pointer("/scheduling/tolerations").and_then(Value::as_array);
        for toleration in tolerations.into_iter().flatten() {
            let into = fields.entry("tolerations").or_insert_with(|| Value::Array(Vec::new()));
            if into.is_null() {
                *into = Value::Array(Vec::new());
            }
            if let Value::Array(into) = into
                && !into.contains(toleration)
            {
                into.push(toleration.clone());
            }
        }
        Ok(())
    }
}
