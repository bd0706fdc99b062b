//! Results for people and their tools: what a result folder says, in the formats that others read.
//!
//! A [`RunResult`] is one run's folder as it was read back; nothing here simulates, so that any result can be shown
//! again, by whoever has the folder. Each format is a module of its own: an HTML page ([`html`]), the metrics under the
//! names of the real components ([`openmetrics`]), a trace for Perfetto ([`perfetto`]), and the objects that a cluster's
//! API would have shown ([`events`]).
//!
//! Formats with dates need one for t = 0: virtual time has none. It is [`EPOCH_S`] unless the user says otherwise, never
//! the wall clock, so that the same result gives the same bytes.
//!
//! Cost: O(pods log pods) a run; see each format.
pub mod events;
pub mod folder;
pub mod html;
pub mod openmetrics;
pub mod perfetto;
pub mod sarif;
mod svg;
mod time;

pub use folder::{ReportError, RunResult, load};
pub use time::{EPOCH_S, parse_epoch, rfc3339, rfc3339_micros};
