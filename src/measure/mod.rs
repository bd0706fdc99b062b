//! What a run shows: metrics, series, histograms, attribution.
//!
//! Everything is computed from pods' timelines, operation counters and stations' busy periods after the run, so
//! that measuring costs the event loop next to nothing.
pub mod attribution;
pub mod metrics;
mod nearest;
pub mod recovery;
pub mod seen;
pub mod station;
pub mod telemetry;

pub use attribution::{Limit, PathSpan, Stations};
pub use metrics::{Metrics, UnknownMetric};
pub use nearest::nearest;
pub use station::{BusyIntervals, Station};
pub use telemetry::{Histogram, Telemetry};
