//! nexosim: one model whose inputs schedule themselves, on one thread.
use std::collections::VecDeque;
use std::time::Duration;

use nexosim::model::{Context, Model, schedulable};
use nexosim::ports::EventSource;
use nexosim::simulation::{Mailbox, SimInit};
use nexosim::time::MonotonicTime;
use serde::{Deserialize, Serialize};

use crate::{Found, SplitMix64};

/// The generator's state as a model may keep it.
#[derive(Serialize, Deserialize)]
struct Draws(u64);

impl Draws {
    fn new() -> Self {
        Self(42)
    }

    /// A span of at least a nanosecond: nexosim takes no event for now.
    fn exponential(&mut self, rate: f64) -> Duration {
        let mut random = SplitMix64(self.0);
        let span = random.exponential(rate);
        self.0 = random.0;
        Duration::from_secs_f64(span).max(Duration::from_nanos(1))
    }
}

#[derive(Serialize, Deserialize)]
struct Mm10 {
    draws: Draws,
    customers: u64,
    arrived: u64,
    busy: u32,
    waiting: VecDeque<u64>,
    wait_ns: u64,
}

fn ns(time: MonotonicTime) -> u64 {
    time.duration_since(MonotonicTime::EPOCH).as_nanos() as u64
}

#[Model]
impl Mm10 {
    async fn start(&mut self, _: (), cx: &Context<Self>) {
        let first = self.draws.exponential(9.0);
        cx.schedule_event(first, schedulable!(Self::arrival), ()).expect("later than now");
    }

    #[nexosim(schedulable)]
    async fn arrival(&mut self, _: (), cx: &Context<Self>) {
        self.arrived += 1;
        if self.arrived < self.customers {
            let gap = self.draws.exponential(9.0);
            cx.schedule_event(gap, schedulable!(Self::arrival), ()).expect("later than now");
        }
        if self.busy < 10 {
            self.busy += 1;
            let service = self.draws.exponential(1.0);
            cx.schedule_event(service, schedulable!(Self::departure), ()).expect("later than now");
        } else {
            self.waiting.push_back(ns(cx.time()));
        }
    }

    #[nexosim(schedulable)]
    async fn departure(&mut self, _: (), cx: &Context<Self>) {
        if let Some(since) = self.waiting.pop_front() {
            self.wait_ns += ns(cx.time()) - since;
            let service = self.draws.exponential(1.0);
            cx.schedule_event(service, schedulable!(Self::departure), ()).expect("later than now");
        } else {
            self.busy -= 1;
        }
    }

    async fn result(&mut self, _: ()) -> (u64, u64) {
        (self.arrived, self.wait_ns)
    }
}

pub fn mm10(customers: u64) -> Found {
    let model = Mm10 {
        draws: Draws::new(),
        customers,
        arrived: 0,
        busy: 0,
        waiting: VecDeque::new(),
        wait_ns: 0,
    };
    let mailbox = Mailbox::new();
    let mut bench = SimInit::with_num_threads(1);
    let start = EventSource::new().connect(Mm10::start, &mailbox).register(&mut bench);
    let result = nexosim::ports::QuerySource::new().connect(Mm10::result, &mailbox).register(&mut bench);
    let mut simulation =
        bench.add_model(model, mailbox, "mm10").init(MonotonicTime::EPOCH).expect("a simulation");
    simulation.process_event(&start, ()).expect("it starts");
    simulation.run().expect("it runs");
    let (arrived, wait_ns) = simulation.process_query(&result, ()).expect("it answers");
    Found { events: 2 * arrived, mean_wait_s: Some(wait_ns as f64 / 1e9 / customers as f64) }
}

#[derive(Serialize, Deserialize)]
struct Hold {
    draws: Draws,
}

#[Model]
impl Hold {
    async fn start(&mut self, pending: u64, cx: &Context<Self>) {
        for id in 0..pending {
            let after = self.draws.exponential(1.0);
            cx.schedule_event(after, schedulable!(Self::fire), id as u32).expect("later than now");
        }
    }

    #[nexosim(schedulable)]
    async fn fire(&mut self, id: u32, cx: &Context<Self>) {
        let after = self.draws.exponential(1.0);
        cx.schedule_event(after, schedulable!(Self::fire), id).expect("later than now");
    }
}

pub fn hold(pending: u64, events: u64) -> Found {
    let mailbox = Mailbox::new();
    let mut bench = SimInit::with_num_threads(1);
    let start = EventSource::new().connect(Hold::start, &mailbox).register(&mut bench);
    let mut simulation = bench
        .add_model(Hold { draws: Draws::new() }, mailbox, "hold")
        .init(MonotonicTime::EPOCH)
        .expect("a simulation");
    simulation.process_event(&start, pending).expect("it starts");
    for _ in 0..events {
        simulation.step().expect("it runs");
    }
    Found { events, mean_wait_s: None }
}
