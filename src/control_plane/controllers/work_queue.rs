//! A controller's work queue: objects that wait for a sync, and the workers that sync them.
//!
//! An object is queued once, however often it is added; one that is added while a worker has it is queued again when the
//! worker is done. So no object is synced twice at a time.
//!
//! Source: client-go `util/workqueue/queue.go`.
//!
//! Cost: O(1) a step.
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Place {
    #[default]
    Idle,
    Queued,
    /// A worker has it.
    Working,
    /// A worker has it, and it was added again.
    Dirty,
}

/// Objects by index, and workers.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct WorkQueue {
    workers: u32,
    busy: u32,
    places: Vec<Place>,
    queue: VecDeque<u32>,
}

impl WorkQueue {
    /// For so many objects, with so many workers.
    pub fn new(objects: usize, workers: u32) -> Self {
        let places = vec![Place::Idle; objects];
        Self { workers: workers.max(1), busy: 0, places, queue: VecDeque::new() }
    }

    /// An object is to be synced.
    pub fn add(&mut self, at: u32) {
        let place = &mut self.places[at as usize];
        match place {
            Place::Idle => {
                *place = Place::Queued;
                self.queue.push_back(at);
            }
            Place::Working => *place = Place::Dirty,
            Place::Queued | Place::Dirty => {}
        }
    }

    /// The next object for a worker that has nothing to do.
    pub fn next(&mut self) -> Option<u32> {
        if self.busy >= self.workers {
            return None;
        }
        let at = self.queue.pop_front()?;
        self.busy += 1;
        self.places[at as usize] = Place::Working;
        Some(at)
    }

    /// A worker is done with an object.
    pub fn done(&mut self, at: u32) {
        self.busy -= 1;
        let was = std::mem::take(&mut self.places[at as usize]);
        if was == Place::Dirty {
            self.add(at);
        }
    }

    /// Nothing waits and nobody works.
    pub fn clear(&mut self) {
        self.busy = 0;
        self.queue.clear();
        self.places.fill(Place::Idle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_queued_once_and_synced_by_one_worker() {
        let mut queue = WorkQueue::new(3, 2);
        for at in [0, 0, 1, 2] {
            queue.add(at);
        }
        assert_eq!((queue.next(), queue.next(), queue.next()), (Some(0), Some(1), None));
        queue.add(0);
        queue.add(0);
        queue.done(0);
        assert_eq!((queue.next(), queue.next()), (Some(2), None));
        queue.done(1);
        assert_eq!((queue.next(), queue.next()), (Some(0), None), "it was added while it was synced");
    }
}
