//! Running things: one simulation, sweeps of many, experiments with expectations, validation against measured runs.
pub mod check;
pub mod diff;
pub mod explain;
pub mod output;
pub mod plan;
pub mod report;
pub mod run;
pub mod simulation;
pub mod sweep;
pub mod uncertainty;
