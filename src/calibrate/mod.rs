//! Calibration against measured runs: reading them, predicting them, and saying how near the predictions are.
pub mod measured;
pub mod validate;
