//! Calibration against measured runs: reading them, predicting them, saying how near the predictions are, and fitting
//! the unit costs.
pub mod fit;
mod linear;
pub mod measured;
pub mod own;
pub mod plot;
pub mod run;
mod sampling;
pub mod study;
pub mod validate;
