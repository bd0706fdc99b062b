//! The event queue: one total order, the radix queue equal to the binary heap, and two models with known results.

use podpace::engine::reference::{hold, mm10};
use podpace::engine::{EventQueue, HeapQueue, Nanos, RadixQueue};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    /// Push one event this long after now.
    Push(u64),
    /// Push so many events at one instant, this long after now.
    Burst(u64, usize),
    /// Push so many events, each this much later than the one before.
    Ramp(u64, usize),
    /// The same, each earlier than the one before.
    RampDown(u64, usize),
    Pop(usize),
}

fn delay() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => Just(0),
        4 => 0..4_u64,
        8 => 0..200_u64,
        8 => 0..1_000_000_u64,
        4 => 0..1_u64 << 40,
        1 => (0..64_u32).prop_map(|bit| 1 << bit),
        1 => (0..64_u32).prop_map(|bit| (1 << bit) - 1),
        1 => Just(u64::MAX / 2),
        1 => Just(u64::MAX),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => delay().prop_map(Step::Push),
        2 => (delay(), 1..300_usize).prop_map(|(after, count)| Step::Burst(after, count)),
        1 => (0..1_000_u64, 1..300_usize).prop_map(|(apart, count)| Step::Ramp(apart, count)),
        1 => (0..1_000_u64, 1..300_usize).prop_map(|(apart, count)| Step::RampDown(apart, count)),
        12 => (1..4_usize).prop_map(Step::Pop),
        1 => (1..400_usize).prop_map(Step::Pop),
    ]
}

/// Both queues, fed alike; every answer is compared.
#[derive(Default)]
struct Both {
    radix: RadixQueue<u32>,
    heap: HeapQueue<u32>,
    pushed: u32,
}

impl Both {
    fn push_after(&mut self, after: u64) {
        let at = self.heap.now().saturating_add(after);
        self.radix.push(at, self.pushed);
        self.heap.push(at, self.pushed);
        self.pushed += 1;
    }

    fn pop(&mut self) -> Option<(Nanos, u32)> {
        assert_eq!(self.radix.peek_time(), self.heap.peek_time());
        let popped = self.heap.pop();
        assert_eq!(self.radix.pop(), popped);
        assert_eq!(self.radix.now(), self.heap.now());
        assert_eq!(self.radix.len(), self.heap.len());
        assert_eq!(self.radix.is_empty(), self.heap.is_empty());
        popped
    }

    fn run(&mut self, steps: &[Step]) {
        for step in steps {
            match *step {
                Step::Push(after) => self.push_after(after),
                Step::Burst(after, count) => (0..count).for_each(|_| self.push_after(after)),
                Step::Ramp(apart, count) => (0..count).for_each(|i| self.push_after(apart * i as u64)),
                Step::RampDown(apart, count) => {
                    (0..count).rev().for_each(|i| self.push_after(apart * i as u64))
                }
                Step::Pop(count) => (0..count).for_each(|_| {
                    self.pop();
                }),
            }
            assert_eq!(self.radix.peek_time(), self.heap.peek_time());
        }
        while self.pop().is_some() {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn radix_is_the_heap(steps in prop::collection::vec(step(), 1..120)) {
        Both::default().run(&steps);
    }
}

#[test]
fn equal_times_pop_in_order_of_push_even_across_the_queue_s_inner_moves() {
    let mut queue = RadixQueue::new();
    let mut expected = Vec::new();
    for i in 0..10_000_u32 {
        let at = Nanos::from(i % 7) * 1_000_000_007;
        queue.push(at, i);
        expected.push((at, i));
    }
    expected.sort_by_key(|&(at, _)| at); // stable
    let popped: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
    assert_eq!(popped, expected);
}

/// Would take hours if a burst at one instant cost a shift of the burst for each event before it.
#[test]
fn a_burst_behind_a_busy_instant_costs_no_more_than_its_size() {
    const BURST: u32 = 300_000;
    let mut queue = RadixQueue::new();
    for i in 0..BURST {
        queue.push(5, i);
    }
    for i in 0..BURST {
        queue.push(3, i);
        queue.push(4, i);
    }
    let mut popped = 0;
    let mut last = (0, 0);
    while let Some((at, event)) = queue.pop() {
        assert!((at, event) >= last);
        last = (at, event);
        popped += 1;
        if at == 4 && popped % 3 == 0 && event < BURST {
            queue.push(4, BURST + event);
        }
    }
    assert!(popped > 3 * BURST);
}

#[test]
#[should_panic(expected = "before now")]
fn radix_refuses_the_past() {
    let mut queue = RadixQueue::new();
    queue.push(10, 0_u32);
    queue.pop();
    queue.push(9, 1);
}

#[test]
#[should_panic(expected = "before now")]
fn heap_refuses_the_past() {
    let mut queue = HeapQueue::new();
    queue.push(10, 0_u32);
    queue.pop();
    queue.push(9, 1);
}

/// An independent simulator, in f64 seconds over the same draws, found a mean wait of 0.6723 s and the last
/// departure at 111098.6 s.
#[test]
fn mm10_agrees_with_the_published_run() {
    let result = mm10(&mut RadixQueue::new(), 1_000_000);
    assert_eq!(result.events, 2_000_000);
    assert!((result.mean_wait_s() - 0.6723).abs() < 5e-5, "{}", result.mean_wait_s());
    assert!((result.end_ns as f64 / 1e9 - 111_098.6).abs() < 0.05, "{}", result.end_ns);
    assert_eq!(result, mm10(&mut HeapQueue::new(), 1_000_000));
}

#[test]
fn hold_fires_the_same_timers_in_both_queues() {
    for pending in [1, 2, 33, 64, 65, 1_000, 20_000] {
        let radix = hold(&mut RadixQueue::new(), pending, 100_000);
        assert_eq!(radix, hold(&mut HeapQueue::new(), pending, 100_000), "{pending} pending");
    }
}
