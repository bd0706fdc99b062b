//! Running things: one simulation, sweeps of many, experiments with expectations, validation against measured runs.
pub mod check;
pub mod checkpoint;
pub mod diff;
mod even_rows;
pub mod explain;
pub mod knee;
pub mod memory;
pub mod node_fill;
pub mod output;
pub mod pause;
pub mod plan;
#[cfg(test)]
mod power_cut;
pub mod queue_use;
pub mod recorded;
pub mod replication;
pub mod report;
pub mod run;
pub mod sensitivity;
pub mod simulation;
pub mod snapshot;
pub mod store;
pub mod sweep;
pub mod telemetry;
pub mod uncertainty;
pub mod watch;
