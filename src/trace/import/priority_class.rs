//! PriorityClasses among manifests: which priority the API server gives a pod that is created, and which pods it refuses.
//!
//! **Pods.** A pod that names a class has its `value` and `preemptionPolicy`; one that names none has those of the class with
//! `globalDefault`, else 0 and `PreemptLowerPriority`. A name that no class has is refused, and so are a `priority` or a
//! `preemptionPolicy` of the pod that differ from what the class says. `system-cluster-critical` and `system-node-critical` are in
//! every cluster.
//!
//! **Classes.** No value above 1,000,000,000 and no name that begins with `system-`, but for the two. A class with `globalDefault`
//! is refused where another one has it; of several that exist already (two requests at once can make them) the lowest counts.
//!
//! Classes are there before all pods of the input, in whatever order the files have them. A pod that exists already (it has a
//! `creationTimestamp`) has been through this: nothing is done to it. An input without any class may give the `priority` itself.
//!
//! Left out: YuniKorn's annotation `allow-preemption` of a class.
//!
//! Source: k/k `plugin/pkg/admission/priority/admission.go`, `pkg/apis/scheduling/validation/validation.go`.
//!
//! Cost: O(log classes) a pod, O(classes) one that names none.
use std::collections::BTreeMap;

use serde_json::Value;

use super::TraceError;
use super::k8s_list::exists;
use super::kubernetes::{self as k8s, Place};
use crate::trace::error::Problem;
use crate::trace::export::kubernetes::{MOST_PRIORITY, SYSTEM_CLASSES};

/// `preemptionPolicy` of a pod that may push others off a node.
const PREEMPTS: &str = "PreemptLowerPriority";
const NEVER: &str = "Never";

const FIELDS: [&str; 7] =
    ["apiVersion", "kind", "metadata", "value", "globalDefault", "description", "preemptionPolicy"];

/// The value of one of the classes that every cluster has.
pub(super) fn system_class(name: &str) -> Option<i32> {
    SYSTEM_CLASSES.iter().find(|(_, of)| *of == name).map(|(value, _)| *value)
}

/// Whether a pod's priority is not known: it names a class, and no priority.
pub(super) fn is_unknown(spec: &Value) -> bool {
    let class = k8s::text(spec, "/priorityClassName");
    !class.is_empty() && system_class(class).is_none() && spec.get("priority").is_none_or(Value::is_null)
}

#[derive(Clone, Debug)]
struct Class {
    value: i32,
    policy: &'static str,
    is_default: bool,
}

/// The PriorityClasses of an input.
#[derive(Default)]
pub struct PriorityClasses {
    by_name: BTreeMap<String, Class>,
    any: bool,
}

fn policy(text: &str) -> Option<&'static str> {
    [PREEMPTS, NEVER].into_iter().find(|known| *known == text)
}

impl PriorityClasses {
    /// Reads all classes of an input: those that exist, then the others in their order.
    ///
    /// # Errors
    /// Hands what the API server would refuse to `refused`, and goes on if that does.
    pub fn read(
        objects: &[(Value, Place)],
        refused: &mut dyn FnMut(TraceError) -> Result<(), TraceError>,
    ) -> Result<Self, TraceError> {
        let mut classes = Self { any: !objects.is_empty(), ..Self::default() };
        for (value, name) in SYSTEM_CLASSES {
            let class = Class { value, policy: PREEMPTS, is_default: false };
            classes.by_name.insert(name.to_owned(), class);
        }
        for there in [true, false] {
            for (object, place) in objects.iter().filter(|(object, _)| exists(object) == there) {
                if let Err(error) = classes.add(object, place) {
                    refused(error)?;
                }
            }
        }
        Ok(classes)
    }

    /// The class that pods without a name have.
    fn default_class(&self) -> Option<(&str, &Class)> {
        let defaults = self.by_name.iter().filter(|(_, class)| class.is_default);
        defaults.min_by_key(|(_, class)| class.value).map(|(name, class)| (name.as_str(), class))
    }

    fn add(&mut self, object: &Value, place: &Place) -> Result<(), TraceError> {
        let name = k8s::text(object, "/metadata/name");
        if name.is_empty() {
            return Err(place.error(Problem::EmptyField, "metadata.name", "", "a name"));
        }
        let refuse = |field: &str, value: &str, why: String| {
            let why = format!("the API server refuses this: {why}");
            Err(place.error(Problem::Forbidden, field, value, why))
        };
        for (key, _) in object.as_object().into_iter().flatten() {
            // `metadata` of dumps holds what it likes.
            if !FIELDS.contains(&key.as_str()) {
                let known = FIELDS.join(", ");
                let why =
                    format!("strict decoding error: unknown field \"{key}\"; a PriorityClass has {known}");
                return refuse(key, "", why);
            }
        }
        let value = match object.get("value") {
            None | Some(Value::Null) => 0,
            Some(value) => match value.as_i64().and_then(|value| i32::try_from(value).ok()) {
                Some(value) => value,
                None => {
                    let why = "cannot be read as int32; write a whole number up to 1000000000".to_owned();
                    return refuse("value", &value.to_string(), why);
                }
            },
        };
        let is_default = match object.get("globalDefault") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(is_default)) => *is_default,
            Some(other) => {
                return refuse("globalDefault", &other.to_string(), "not a bool; write true or false".into());
            }
        };
        let policy = match object.get("preemptionPolicy") {
            None | Some(Value::Null) => PREEMPTS,
            Some(other) => match other.as_str().and_then(policy) {
                Some(policy) => policy,
                None => {
                    let given = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
                    let why = format!(
                        "Unsupported value: \"{given}\": supported values: \"{NEVER}\", \"{PREEMPTS}\"; write one"
                    );
                    return refuse("preemptionPolicy", &given, why);
                }
            },
        };
        if name.starts_with("system-") {
            let reserved = match system_class(name) {
                None => Some(format!("{name} is not a known system priority class")),
                Some(known) if known != value => {
                    Some(format!("value of {name} PriorityClass must be {known}"))
                }
                Some(_) if is_default => Some(format!("globalDefault of {name} PriorityClass must be false")),
                Some(_) => None,
            };
            return match reserved {
                None => Ok(()),
                Some(error) => {
                    let why = format!(
                        "priority class names with 'system-' prefix are reserved for system use only. error: {error}; choose another name"
                    );
                    refuse("metadata.name", name, why)
                }
            };
        }
        if value > MOST_PRIORITY {
            let why =
                format!("maximum allowed value of a user defined priority is {MOST_PRIORITY}; lower it");
            return refuse("value", &value.to_string(), why);
        }
        if self.by_name.contains_key(name) {
            let why = format!("priorityclasses.scheduling.k8s.io \"{name}\" already exists; leave one out");
            return refuse("metadata.name", name, why);
        }
        if is_default
            && !exists(object)
            && let Some((other, _)) = self.default_class()
        {
            let why = format!(
                "priorityclasses.scheduling.k8s.io \"{name}\" is forbidden: PriorityClass {other} is already marked as default. \
                 Only one default can exist; leave `globalDefault` of one out"
            );
            return refuse("globalDefault", "true", why);
        }
        self.by_name.insert(name.to_owned(), Class { value, policy, is_default });
        Ok(())
    }

    /// What the API server makes of the spec of a pod that is created. `name`: what it calls the pod; `path`: where the spec is in
    /// its object.
    ///
    /// # Errors
    /// It refuses the pod.
    pub fn admit(&self, name: &str, spec: &mut Value, path: &str, place: &Place) -> Result<(), TraceError> {
        let refuse = |field: &str, value: &str, why: String| {
            let why = format!("the API server refuses this: pods \"{name}\" is forbidden: {why}");
            Err(place.error(Problem::Forbidden, &format!("{path}.{field}"), value, why))
        };
        let given = spec.get("priority").filter(|priority| !priority.is_null());
        // From a cluster whose classes are not in the input.
        if !self.any && given.is_some() {
            return Ok(());
        }
        let class = k8s::text(spec, "/priorityClassName");
        let (value, policy) = if class.is_empty() {
            self.default_class().map_or((0, PREEMPTS), |(_, class)| (class.value, class.policy))
        } else if let Some(class) = self.by_name.get(class) {
            (class.value, class.policy)
        } else {
            let why = format!(
                "no PriorityClass with name {class} was found; add it to the input, or correct the name"
            );
            return refuse("priorityClassName", class, why);
        };
        if let Some(given) = given.filter(|given| given.as_i64() != Some(i64::from(value))) {
            let why = format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed \
                 {value} from the given PriorityClass name; leave it out"
            );
            return refuse("priority", &given.to_string(), why);
        }
        let own = k8s::text(spec, "/preemptionPolicy");
        // Without any class in the input, a pod's own policy counts as its own priority does.
        if !own.is_empty() && own != policy && self.any {
            let why = format!(
                "the string value of PreemptionPolicy ({own}) must not be provided in pod spec; priority admission controller computed \
                 {policy} from the given PriorityClass name; leave it out"
            );
            return refuse("preemptionPolicy", own, why);
        }
        let own_counts = !own.is_empty();
        if let Value::Object(spec) = spec {
            spec.insert("priority".to_owned(), value.into());
            if !own_counts {
                spec.insert("preemptionPolicy".to_owned(), policy.into());
            }
        }
        Ok(())
    }
}
