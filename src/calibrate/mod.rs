//! Calibration against measured runs: reading them, predicting them, saying how near the predictions are, and fitting
//! the unit costs.
pub mod fit;
mod linear;
pub mod measured;
pub mod plot;
pub mod validate;
