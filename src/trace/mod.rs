//! Workload traces: the native format, importers, generators, checks and exports.
//!
//! A trace is pods, nodes and events over time; `docs/traces.md` describes the files. The life of one:
//! [`import()`] or [`generate()`] writes it, [`validate()`] and [`stats()`] look at it, a scenario replays it, [`export()`]
//! hands it to other tools. Everything streams; see [`native`] for how.

pub(crate) mod disk;
pub mod documents;
pub mod error;
pub mod export;
mod fates;
pub(crate) mod field_line;
pub mod fit;
pub mod generate;
pub mod import;
pub mod input;
pub mod model;
pub mod msgpack;
pub mod native;
pub mod number;
pub mod report;
pub mod sort;
pub mod source;
pub mod stats;
pub mod temporary;
pub mod transform;
pub mod validate;

pub use error::{Problem, RowError, TraceError};
pub use export::export;
pub use fit::{Fit, fit};
pub use generate::generate;
pub use import::{ImportOptions, OnError, Split, import, importers};
pub use native::{PodBatch, PodReader, TraceReader, TraceWriter, WriteOptions, open};
pub use report::Report;
pub use stats::{Stats, stats};
pub use transform::{Transform, transform};
pub use validate::{Findings, validate};

/// The JSON schema of `trace.json` and of a row of each table (JSON Lines), by table name.
pub fn schema() -> serde_json::Value {
    use schemars::schema_for;
    serde_json::json!({
        "trace.json": schema_for!(model::Manifest),
        "pods": schema_for!(model::PodRow),
        "specs": schema_for!(model::SpecRow),
        "nodes": schema_for!(model::NodeRow),
        "events": schema_for!(model::EventRow),
        "outcomes": schema_for!(model::OutcomeRow),
    })
}
