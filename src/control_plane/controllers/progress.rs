//! How long rollouts and scalings of a controller's objects take, and which are not complete.
//!
//! One begins when an object is changed, and is complete when its controller has seen to it. Another one of the same object takes the place of one that is not
//! complete: that one never is.
//!
//! Cost: O(log objects) a step.
use std::collections::BTreeMap;

use crate::engine::Nanos;

/// How long each took that is complete, ns; how many others took the place of; how many are not complete.
pub type Outcome = (Vec<Nanos>, u64, u64);

/// The rollouts, or the scalings, of a controller's objects.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// By object: when the one began that is not complete.
    since_ns: BTreeMap<u32, Nanos>,
    took_ns: Vec<Nanos>,
    superseded: u64,
}

impl Progress {
    /// An object is changed.
    pub fn begin(&mut self, at: u32, now: Nanos) {
        if self.since_ns.insert(at, now).is_some() {
            self.superseded += 1;
        }
    }

    /// An object is as it should be.
    pub fn complete(&mut self, at: u32, now: Nanos) {
        if let Some(since_ns) = self.since_ns.remove(&at) {
            self.took_ns.push(now - since_ns);
        }
    }

    /// Whether one is not complete.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.since_ns.is_empty()
    }

    /// What they came to.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        (self.took_ns.clone(), self.superseded, self.since_ns.len() as u64)
    }
}

/// What those of several controllers came to.
#[must_use]
pub fn sum(of: impl IntoIterator<Item = Outcome>) -> Outcome {
    let mut all = Outcome::default();
    for (took_ns, superseded, open) in of {
        all.0.extend(took_ns);
        all.1 += superseded;
        all.2 += open;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_one_takes_the_place_of_one_that_is_not_complete() {
        let mut progress = Progress::default();
        progress.complete(1, 5);
        progress.begin(1, 10);
        progress.begin(2, 10);
        progress.begin(1, 20);
        progress.complete(1, 50);
        progress.complete(1, 60);
        assert!(progress.is_open());
        assert_eq!(progress.outcome(), (vec![30], 1, 1));
        assert_eq!(sum([progress.outcome(), (vec![7], 0, 2)]), (vec![30, 7], 1, 3));
    }
}
