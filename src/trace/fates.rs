//! What a trace's events say of each pod: where it sits from the beginning, and when somebody deletes it.
//!
//! Read once, looked up by pod, by transformations and exports alike. Of several deletions the first counts, of several
//! nodes the last. Memory: O(pods with events).

use rustc_hash::FxHashMap;

use super::error::TraceError;
use super::model::EventOp;
use super::native::TraceReader;

/// What events say about one pod.
#[derive(Default)]
pub(super) struct Fate {
    /// The node it sits on from the beginning.
    pub node: Option<String>,
    /// It only holds a gang's place there.
    pub placeholder: bool,
    /// When somebody deletes it.
    pub deleted_ns: Option<u64>,
}

/// Fates by uid; pods without events have none.
#[derive(Default)]
pub(super) struct Fates(FxHashMap<String, Fate>);

impl Fates {
    /// Reads all events.
    pub fn read(reader: &TraceReader) -> Result<Fates, TraceError> {
        let mut fates = Fates::default();
        for event in reader.events()? {
            let event = event?;
            let fate = fates.0.entry(event.uid).or_default();
            match event.op {
                EventOp::PodBound => fate.node = Some(event.node),
                EventOp::PlaceholderBound => (fate.node, fate.placeholder) = (Some(event.node), true),
                EventOp::PodDelete => fate.deleted_ns = fate.deleted_ns.or(Some(event.t_ns)),
            }
        }
        Ok(fates)
    }

    /// The fate of a pod.
    pub fn of(&self, uid: &str) -> Option<&Fate> {
        if self.0.is_empty() { None } else { self.0.get(uid) }
    }

    /// Whether a pod only holds a gang's place.
    pub fn is_placeholder(&self, uid: &str) -> bool {
        self.of(uid).is_some_and(|fate| fate.placeholder)
    }

    /// How many pods do.
    pub fn placeholders(&self) -> usize {
        self.0.values().filter(|fate| fate.placeholder).count()
    }
}
