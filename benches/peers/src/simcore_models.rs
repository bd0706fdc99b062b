//! simcore: one component, its events told apart by type.
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use serde::Serialize;
use simcore::{Event, EventHandler, Simulation, SimulationContext, cast};

use crate::{Found, SplitMix64};

#[derive(Clone, Serialize)]
struct Arrival {}

#[derive(Clone, Serialize)]
struct Departure {}

struct Mm10 {
    ctx: SimulationContext,
    random: SplitMix64,
    customers: u64,
    arrived: u64,
    busy: u32,
    waiting: VecDeque<f64>,
    wait_s: f64,
}

impl EventHandler for Mm10 {
    fn on(&mut self, event: Event) {
        cast!(match event.data {
            Arrival {} => {
                self.arrived += 1;
                if self.arrived < self.customers {
                    let gap = self.random.exponential(9.0);
                    self.ctx.emit_self(Arrival {}, gap);
                }
                if self.busy < 10 {
                    self.busy += 1;
                    let service = self.random.exponential(1.0);
                    self.ctx.emit_self(Departure {}, service);
                } else {
                    self.waiting.push_back(self.ctx.time());
                }
            }
            Departure {} => {
                if let Some(since) = self.waiting.pop_front() {
                    self.wait_s += self.ctx.time() - since;
                    let service = self.random.exponential(1.0);
                    self.ctx.emit_self(Departure {}, service);
                } else {
                    self.busy -= 1;
                }
            }
        })
    }
}

pub fn mm10(customers: u64) -> Found {
    let mut simulation = Simulation::new(42);
    let ctx = simulation.create_context("mm10");
    let model = Rc::new(RefCell::new(Mm10 {
        ctx,
        random: SplitMix64::new(),
        customers,
        arrived: 0,
        busy: 0,
        waiting: VecDeque::new(),
        wait_s: 0.0,
    }));
    simulation.add_handler("mm10", model.clone());
    {
        let mut it = model.borrow_mut();
        let first = it.random.exponential(9.0);
        it.ctx.emit_self(Arrival {}, first);
    }
    simulation.step_until_no_events();
    let it = model.borrow();
    Found { events: 2 * it.arrived, mean_wait_s: Some(it.wait_s / customers as f64) }
}

#[derive(Clone, Serialize)]
struct Timer {
    id: u32,
}

struct Hold {
    ctx: SimulationContext,
    random: SplitMix64,
}

impl EventHandler for Hold {
    fn on(&mut self, event: Event) {
        cast!(match event.data {
            Timer { id } => {
                let after = self.random.exponential(1.0);
                self.ctx.emit_self(Timer { id }, after);
            }
        })
    }
}

pub fn hold(pending: u64, events: u64) -> Found {
    let mut simulation = Simulation::new(42);
    let ctx = simulation.create_context("hold");
    let model = Rc::new(RefCell::new(Hold { ctx, random: SplitMix64::new() }));
    simulation.add_handler("hold", model.clone());
    for id in 0..pending {
        let mut it = model.borrow_mut();
        let after = it.random.exponential(1.0);
        it.ctx.emit_self(Timer { id: id as u32 }, after);
    }
    simulation.steps(events);
    Found { events, mean_wait_s: None }
}
