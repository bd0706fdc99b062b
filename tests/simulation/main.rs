//! Whole simulations: the same bytes on every machine, checkpoints, the plain engine, schedulers from outside, layers.
//! One binary, since each links all of podpace.
mod checkpoint;
mod custom_scheduler;
mod determinism;
mod layers;
#[path = "../support/random_scenario.rs"]
mod random_scenario;
mod soak;
#[path = "../support/mod.rs"]
mod support;
