//! Scenarios, experiments and sweeps: from a YAML file to checked types.
//!
//! A file goes through four steps, each in its own module. `tree` builds a tree that knows the line of every value and
//! refuses what YAML allows but a reader would not see (duplicate keys, alias bombs). `document` edits that tree for
//! `--set` and for the runs of an experiment. `decode` turns it into the types of `spec`, collecting every error.
//! `validate` checks what types can't say. All errors are [`Diagnostic`]s: file, line, column, path, value, what was
//! expected, what to do next.
//!
//! Left out: looking up profiles, schedulers, traces and manifests, which is resolving.

pub mod autoscaler;
mod config_file;
mod cron;
mod cron_manifests;
mod decode;
mod diagnostic;
mod document;
pub mod duration;
pub mod faults;
mod from_trace;
mod kube_scheduler_config;
mod kueue;
pub mod limits;
mod object_manifests;
mod objects;
pub mod plan;
pub mod quantity;
pub mod reference;
mod resolve;
pub mod rollout;
mod scale;
pub mod scheduling;
pub mod schema;
pub mod spec;
mod stages;
mod text;
pub mod threshold;
mod tree;
mod validate;
mod volcano_config;
pub mod workload;
mod yunikorn_config;

pub use cron::START_S;
pub use diagnostic::{Diagnostic, nearest};
pub use document::{Document, DocumentKind, Experiment, ScenarioRun, Source, Spec, Sweep};
pub use resolve::{resolve, resolve_shared, resource_amount};
pub use validate::{DEFAULT_NODE_PODS, SCHEDULER_KINDS, pods_of};

/// Writes a decoded specification as YAML without its empty fields, so that it reads back as the same value.
pub fn to_yaml<T: serde::Serialize>(spec: &T) -> Result<String, serde_yaml::Error> {
    let mut value = serde_yaml::to_value(spec)?;
    prune(&mut value);
    serde_yaml::to_string(&value)
}

/// Removes nulls, and mappings and lists that are or become empty, from mappings.
fn prune(value: &mut serde_yaml::Value) {
    use serde_yaml::Value;
    match value {
        Value::Mapping(map) => {
            map.iter_mut().for_each(|(_, child)| prune(child));
            map.retain(|key, child| match child {
                Value::Null => false,
                // A selector without conditions selects everything, none at all nothing.
                Value::Mapping(_) if key.as_str().is_some_and(|key| key.ends_with("Selector")) => true,
                Value::Mapping(map) => !map.is_empty(),
                Value::Sequence(items) => !items.is_empty(),
                _ => true,
            });
        }
        Value::Sequence(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}
