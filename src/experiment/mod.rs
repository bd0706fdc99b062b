//! Running things: one simulation, sweeps of many, experiments with expectations, validation against measured runs.
pub mod check;
pub mod checkpoint;
pub mod diff;
pub mod explain;
pub mod node_fill;
pub mod output;
pub mod pause;
pub mod plan;
pub mod recorded;
pub mod report;
pub mod run;
pub mod simulation;
pub mod snapshot;
pub mod sweep;
pub mod telemetry;
pub mod uncertainty;
