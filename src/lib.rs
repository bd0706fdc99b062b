//! podpace: a deterministic discrete-event simulator of Kubernetes scheduling, without a control plane.
// Essays may name private items, and help texts hold brackets that are no links.
#![allow(
    rustdoc::private_intra_doc_links,
    rustdoc::redundant_explicit_links,
    rustdoc::broken_intra_doc_links
)]

pub mod autoscaler;
pub mod calibrate;
pub mod cli;
pub mod cluster;
pub mod control_plane;
pub mod cost;
pub mod engine;
pub mod experiment;
pub mod measure;
pub mod report;
pub mod scenario;
pub mod scheduler;
pub mod trace;
