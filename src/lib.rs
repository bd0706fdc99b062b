//! podpace: a deterministic discrete-event simulator of Kubernetes scheduling, without a control plane.
pub mod calibrate;
pub mod cli;
pub mod cluster;
pub mod control_plane;
pub mod cost;
pub mod engine;
pub mod experiment;
pub mod measure;
pub mod scenario;
pub mod scheduler;
pub mod trace;
