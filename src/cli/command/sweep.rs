//! `podpace sweep`.
use crate::cli::args::SweepArgs;
use crate::cli::failure::{Failure, Output};

/// Runs the command.
///
/// # Errors
/// Always, for now.
pub fn execute(_args: &SweepArgs, _quiet: bool) -> Result<Output, Failure> {
    Err(Failure::run("not there yet"))
}
