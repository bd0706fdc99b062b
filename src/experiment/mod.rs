//! Running things: one simulation, sweeps of many, experiments with expectations, validation against measured runs.
pub mod report;
pub mod simulation;
