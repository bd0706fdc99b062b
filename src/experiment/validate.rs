//! Validation: predicted beside measured, for every run in a folder. (Filled in by the measured-run reader.)
use std::path::{Path, PathBuf};

use crate::cost::ProfileLibrary;

/// How to validate.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where profiles are found.
    pub profiles: ProfileLibrary,
    /// Seeds a run is predicted with.
    pub seeds: u32,
    /// `RUN:PATH=VALUE` settings that a run's conditions lack.
    pub sets: Vec<String>,
}

/// Predictions beside measurements.
#[derive(Clone, Debug, Default)]
pub struct Validation {}

/// A measured run can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {message}")]
pub struct ValidateError {
    /// File.
    pub file: PathBuf,
    /// What is wrong and what to do.
    pub message: String,
}

impl Validation {
    /// The table for a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        String::new()
    }

    /// The JSON of design.md section 6.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({"runs": [], "summary": {}})
    }
}

/// Predicts every run of a folder. `progress(done, total)` is called as runs end.
///
/// # Errors
/// The folder or a run in it can't be read.
pub fn validate(
    _folder: &Path,
    _options: &Options,
    _progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Validation, ValidateError> {
    Ok(Validation::default())
}
