//! The pending events of a simulation, in one total order: time, then sequence of push.
//!
//! [`RadixQueue`] is what runs use; [`HeapQueue`], the standard binary heap, is its oracle. Both are generic
//! over a small `Copy` event (an id, or an enum of ids); neither allocates once its buffers have grown.
//!
//! # How the radix queue works
//!
//! A simulation never schedules before the last popped time, and that is worth a factor of ten at a million
//! pending events. A time is split into digits of `DIGIT_BITS` bits. A pending event lies in the bucket
//! (level, digit) of the *highest* digit in which its time differs from a `base` no later than any bucketed
//! event. Lower levels come before higher ones, and smaller digits before larger ones in a level, so the
//! next events are in the first bucket, found with two bit scans. To advance, `base` moves to the earliest
//! time of that bucket, which scatters the bucket over lower levels; each event falls at most once per
//! level, in practice once or twice in all, and its memory is read in order.
//!
//! A bucket of at most `SORT_LIMIT` events is not scattered further but sorted into the **front**: a short
//! array that holds *every* pending event up to `front_end` and from which events are popped. A push that
//! falls in the front's span is inserted there; a front that grows past `SPILL_LIMIT` gives its later half
//! back to the buckets. A queue with few pending events thus is a sorted array and nothing else.
//!
//! Sequence numbers are not stored. Events of equal time always lie in the same place (one bucket, or the
//! front), are appended in order of push, and are moved by stable passes only: so they stay in order of push.
//!
//! Cost: push O(1), or O(`SPILL_LIMIT`) into the front; pop O(1) amortised, at worst one pass per level.
//! Memory: 16 bytes an event of 8 bytes, up to doubled by growth.

use super::time::Nanos;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A queue of pending events in the total order (time, sequence of push).
pub trait EventQueue<E> {
    /// Adds an event at the absolute time `at` (ns). Among equal times, first pushed is first popped.
    ///
    /// # Panics
    /// When `at` is before [`now`](Self::now), in release builds too: it would break causality.
    fn push(&mut self, at: Nanos, event: E);

    /// Takes the next event with its time, which becomes [`now`](Self::now).
    fn pop(&mut self) -> Option<(Nanos, E)>;

    /// The time of the next event. O(1), or O(bucket) before the pop that refills the radix queue's front.
    fn peek_time(&self) -> Option<Nanos>;

    /// How many events are pending.
    fn len(&self) -> usize;

    /// The time of the last popped event; 0 before the first.
    fn now(&self) -> Nanos;

    /// Whether no event is pending.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

// Speed hardly depends on these four: from 10 to 10^6 pending, 4 to 6 digit bits, 16 to 48 to sort, and 1 to 16
// as enough measured within noise of each other, and a front of 32 beat longer ones at 30 to 100 pending.

/// Bits of a digit: 2^6 buckets a level, whose occupancy is one `u64`.
const DIGIT_BITS: u32 = 6;
const DIGITS: usize = 1 << DIGIT_BITS;
/// Levels that cover 64 bits.
const LEVELS: usize = 64_usize.div_ceil(DIGIT_BITS as usize);
/// A bucket of at most this many events is sorted at once.
const SORT_LIMIT: usize = 16;
/// A front of more events than this gives its later half back.
const SPILL_LIMIT: usize = 32;
/// The front takes further small buckets until it has this many events.
const ENOUGH: usize = 8;
/// A drained bucket with room for more than this many events gives its memory back.
const KEEP_CAPACITY: usize = 4096;

#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Entry<E> {
    at: Nanos,
    event: E,
}

/// A monotone radix queue with a sorted front. See the [module](self) for how and why.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(from = "Saved<E>")]
pub struct RadixQueue<E> {
    /// All pending events up to `front_end`, ascending, from index `head` on.
    front: Vec<Entry<E>>,
    head: usize,
    /// The last time (inclusive) that belongs to the front.
    front_end: Nanos,
    /// Bucketed events are at or after `base`, and their bucket is given by their difference to it.
    base: Nanos,
    now: Nanos,
    /// `DIGITS` buckets a level, level 0 first.
    buckets: Vec<Vec<Entry<E>>>,
    /// Bit d of word l: bucket (l, d) is not empty.
    occupied: [u64; LEVELS],
    /// Bit l: level l has a bucket that is not empty.
    occupied_levels: u32,
    bucketed: usize,
}

/// A queue's fields in order, without the events of the front that were popped.
type Saved<E> = (Vec<Entry<E>>, Nanos, Nanos, Nanos, Vec<Vec<Entry<E>>>, [u64; LEVELS], u32, usize);

impl<E: serde::Serialize> serde::Serialize for RadixQueue<E> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let front = &self.front[self.head..];
        let (occupied, levels) = (self.occupied, self.occupied_levels);
        let saved =
            (front, self.front_end, self.base, self.now, &self.buckets, occupied, levels, self.bucketed);
        saved.serialize(serializer)
    }
}

impl<E> From<Saved<E>> for RadixQueue<E> {
    fn from(saved: Saved<E>) -> Self {
        let (front, front_end, base, now, buckets, occupied, occupied_levels, bucketed) = saved;
        RadixQueue { front, head: 0, front_end, base, now, buckets, occupied, occupied_levels, bucketed }
    }
}

impl<E: Copy> RadixQueue<E> {
    /// An empty queue at time 0.
    pub fn new() -> Self {
        RadixQueue {
            front: Vec::with_capacity(4 * SPILL_LIMIT),
            head: 0,
            front_end: Nanos::MAX,
            base: 0,
            now: 0,
            buckets: (0..LEVELS * DIGITS).map(|_| Vec::new()).collect(),
            occupied: [0; LEVELS],
            occupied_levels: 0,
            bucketed: 0,
        }
    }

    #[inline]
    fn place(&self, at: Nanos) -> (usize, usize) {
        let differ = at ^ self.base;
        let level = (63 - (differ | 1).leading_zeros()) / DIGIT_BITS;
        (level as usize, (at >> (level * DIGIT_BITS)) as usize % DIGITS)
    }

    #[inline]
    fn push_bucket(&mut self, entry: Entry<E>) {
        debug_assert!(entry.at >= self.base);
        let (level, digit) = self.place(entry.at);
        self.buckets[level * DIGITS + digit].push(entry);
        self.occupied[level] |= 1 << digit;
        self.occupied_levels |= 1 << level;
    }

    /// Inserts behind every event that is not later.
    #[inline]
    fn push_front(&mut self, entry: Entry<E>) {
        if self.front.len() == self.front.capacity() && self.head > 0 {
            self.front.drain(..self.head);
            self.head = 0;
        }
        self.front.push(entry);
        let live = &mut self.front[self.head..];
        let mut hole = live.len() - 1;
        while hole > 0 && live[hole - 1].at > entry.at {
            live[hole] = live[hole - 1];
            hole -= 1;
        }
        live[hole] = entry;
        if live.len() > SPILL_LIMIT {
            self.spill();
        }
    }

    /// Gives the later part of a long front back to the buckets, without parting equal times.
    #[cold]
    fn spill(&mut self) {
        let live = &self.front[self.head..];
        let (first_at, last_at) = (live[0].at, live[live.len() - 1].at);
        if first_at == last_at {
            return; // One instant cannot be parted, and needs not be: its events are appended.
        }
        let middle_at = live[live.len() / 2].at;
        // The first entry to give back: the first after the middle's time or, if the middle's time is the last, of it.
        let cut = self.head
            + if middle_at < last_at {
                live.partition_point(|e| e.at <= middle_at)
            } else {
                live.partition_point(|e| e.at < last_at)
            };
        if self.bucketed == 0 {
            self.base = self.now;
        }
        self.front_end = self.front[cut].at - 1;
        for i in cut..self.front.len() {
            self.push_bucket(self.front[i]);
        }
        self.bucketed += self.front.len() - cut;
        self.front.truncate(cut);
    }

    /// The first bucket that is not empty: (level, digit).
    #[inline]
    fn first_bucket(&self) -> (usize, usize) {
        let level = self.occupied_levels.trailing_zeros() as usize;
        (level, self.occupied[level].trailing_zeros() as usize)
    }

    /// Fills the empty front from the buckets, of which at least one is not empty.
    ///
    /// Only `pop` may call this: it moves `base` up to the earliest pending time, which is right only if that
    /// is about to become `now`, so that no later push can be before it.
    fn refill(&mut self) {
        self.front.clear();
        self.head = 0;
        while self.bucketed > 0 && self.front.len() < ENOUGH {
            let (level, digit) = self.first_bucket();
            let index = level * DIGITS + digit;
            let is_small = level == 0 || self.buckets[index].len() <= SORT_LIMIT;
            if !is_small && !self.front.is_empty() {
                break;
            }
            self.occupied[level] &= !(1 << digit);
            if self.occupied[level] == 0 {
                self.occupied_levels &= !(1 << level);
            }
            let mut bucket = std::mem::take(&mut self.buckets[index]);
            if is_small {
                let sorted = self.front.len();
                self.bucketed -= bucket.len();
                self.front.extend_from_slice(&bucket);
                if level > 0 {
                    sort_stable(&mut self.front[sorted..]);
                }
                self.front_end = self.front[sorted].at | ((1 << (level as u32 * DIGIT_BITS)) - 1);
            } else {
                self.base = bucket.iter().map(|entry| entry.at).min().expect("the bucket is marked occupied");
                for &entry in &bucket {
                    self.push_bucket(entry);
                }
            }
            if bucket.capacity() <= KEEP_CAPACITY {
                bucket.clear();
                self.buckets[index] = bucket;
            }
        }
        self.base = self.front[0].at;
        if self.bucketed == 0 {
            self.front_end = Nanos::MAX;
        }
    }
}

/// Stable insertion sort by time; the slices are short.
#[inline]
fn sort_stable<E: Copy>(entries: &mut [Entry<E>]) {
    for i in 1..entries.len() {
        let entry = entries[i];
        let mut hole = i;
        while hole > 0 && entries[hole - 1].at > entry.at {
            entries[hole] = entries[hole - 1];
            hole -= 1;
        }
        entries[hole] = entry;
    }
}

impl<E: Copy> Default for RadixQueue<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: Copy> EventQueue<E> for RadixQueue<E> {
    #[inline]
    fn push(&mut self, at: Nanos, event: E) {
        assert!(at >= self.now, "an event at {at} ns is before now, {} ns", self.now);
        let entry = Entry { at, event };
        if at <= self.front_end {
            self.push_front(entry);
        } else {
            self.push_bucket(entry);
            self.bucketed += 1;
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<(Nanos, E)> {
        if self.head == self.front.len() {
            if self.bucketed == 0 {
                return None;
            }
            self.refill();
        }
        let Entry { at, event } = self.front[self.head];
        self.head += 1;
        self.now = at;
        Some((at, event))
    }

    fn peek_time(&self) -> Option<Nanos> {
        if let Some(entry) = self.front.get(self.head) {
            return Some(entry.at);
        }
        if self.bucketed == 0 {
            return None;
        }
        let (level, digit) = self.first_bucket();
        self.buckets[level * DIGITS + digit].iter().map(|e| e.at).min()
    }

    fn len(&self) -> usize {
        self.front.len() - self.head + self.bucketed
    }

    fn now(&self) -> Nanos {
        self.now
    }
}

/// The queue of a run: the fast one, or its oracle for comparisons.
#[derive(Clone, Debug)]
pub enum RunQueue<E> {
    /// What runs use.
    Radix(RadixQueue<E>),
    /// The oracle; it can't be saved.
    Heap(HeapQueue<E>),
}

impl<E: serde::Serialize> serde::Serialize for RunQueue<E> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Radix(queue) => queue.serialize(serializer),
            Self::Heap(_) => Err(serde::ser::Error::custom("a plain run can't be saved")),
        }
    }
}

impl<'de, E: serde::Deserialize<'de>> serde::Deserialize<'de> for RunQueue<E> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RadixQueue::deserialize(deserializer).map(Self::Radix)
    }
}

impl<E: Copy> EventQueue<E> for RunQueue<E> {
    #[inline]
    fn push(&mut self, at: Nanos, event: E) {
        match self {
            Self::Radix(queue) => queue.push(at, event),
            Self::Heap(queue) => queue.push(at, event),
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<(Nanos, E)> {
        match self {
            Self::Radix(queue) => queue.pop(),
            Self::Heap(queue) => queue.pop(),
        }
    }

    fn peek_time(&self) -> Option<Nanos> {
        match self {
            Self::Radix(queue) => queue.peek_time(),
            Self::Heap(queue) => queue.peek_time(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Radix(queue) => queue.len(),
            Self::Heap(queue) => queue.len(),
        }
    }

    fn now(&self) -> Nanos {
        match self {
            Self::Radix(queue) => queue.now(),
            Self::Heap(queue) => queue.now(),
        }
    }
}

/// The standard binary heap over (time, sequence): the oracle of [`RadixQueue`]. O(log n) a push and pop.
#[derive(Clone, Debug)]
pub struct HeapQueue<E> {
    heap: BinaryHeap<Ordered<E>>,
    next_sequence: u64,
    now: Nanos,
}

#[derive(Clone, Copy, Debug)]
struct Ordered<E> {
    at: Nanos,
    sequence: u64,
    event: E,
}

impl<E> Ord for Ordered<E> {
    /// Reversed: the standard heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl<E> PartialOrd for Ordered<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Ordered<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<E> Eq for Ordered<E> {}

impl<E> HeapQueue<E> {
    /// An empty queue at time 0.
    pub fn new() -> Self {
        HeapQueue { heap: BinaryHeap::new(), next_sequence: 0, now: 0 }
    }
}

impl<E> Default for HeapQueue<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> EventQueue<E> for HeapQueue<E> {
    #[inline]
    fn push(&mut self, at: Nanos, event: E) {
        assert!(at >= self.now, "an event at {at} ns is before now, {} ns", self.now);
        self.heap.push(Ordered { at, sequence: self.next_sequence, event });
        self.next_sequence += 1;
    }

    #[inline]
    fn pop(&mut self) -> Option<(Nanos, E)> {
        let Ordered { at, event, .. } = self.heap.pop()?;
        self.now = at;
        Some((at, event))
    }

    fn peek_time(&self) -> Option<Nanos> {
        self.heap.peek().map(|entry| entry.at)
    }

    fn len(&self) -> usize {
        self.heap.len()
    }

    fn now(&self) -> Nanos {
        self.now
    }
}
