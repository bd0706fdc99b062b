//! What the API server makes of pods that are created, before it stores them.
//!
//! RuntimeClasses give the pod overhead and node selectors, LimitRanges give containers requests and limits, then PriorityClasses
//! give the pod its priority; each may refuse it.
//!
//! Left out: all other admission plugins.
//!
//! Cost: that of [`limit_range`](super::limit_range), [`priority_class`](super::priority_class) and
//! [`runtime_class`](super::runtime_class).
use serde_json::Value;

use super::TraceError;
use super::kubernetes::{self as k8s, Place};
use super::limit_range::LimitRanges;
use super::priority_class::PriorityClasses;
use super::runtime_class::RuntimeClasses;

/// The LimitRanges, PriorityClasses and RuntimeClasses of an input; without any, pods stay as they are.
#[derive(Default)]
pub(super) struct Admission {
    limit_ranges: LimitRanges,
    classes: PriorityClasses,
    runtime_classes: RuntimeClasses,
}

impl Admission {
    /// Reads the objects. `classes`: PriorityClasses and RuntimeClasses.
    ///
    /// # Errors
    /// Hands what the API server would refuse to `refused`, and goes on if that does.
    pub fn read(
        ranges: &[(Value, Place)],
        classes: &[(Value, Place)],
        refused: &mut dyn FnMut(TraceError) -> Result<(), TraceError>,
    ) -> Result<Self, TraceError> {
        let mut limit_ranges = LimitRanges::default();
        for (object, place) in ranges {
            if let Err(error) = limit_ranges.add(object, place) {
                refused(error)?;
            }
        }
        let (runtime, priority): (Vec<_>, Vec<_>) =
            classes.iter().cloned().partition(|(class, _)| k8s::kind(class) == "RuntimeClass");
        let mut runtime_classes = RuntimeClasses::default();
        for (object, place) in &runtime {
            if let Err(error) = runtime_classes.add(object, place) {
                refused(error)?;
            }
        }
        Ok(Self { limit_ranges, classes: PriorityClasses::read(&priority, refused)?, runtime_classes })
    }

    /// What becomes of the spec at `path` of an object.
    pub fn admit(
        &self,
        (namespace, name): (&str, &str),
        spec: &mut Value,
        path: &str,
        place: &Place,
    ) -> Result<(), TraceError> {
        self.runtime_classes.admit(name, spec, path, place)?;
        self.limit_ranges.admit(namespace, name, spec, place)?;
        self.classes.admit(name, spec, path, place)
    }
}
