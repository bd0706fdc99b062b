//! `podpace check`.
use crate::cli::args::CheckArgs;
use crate::cli::failure::{Failure, Output};

/// Runs the command.
///
/// # Errors
/// Always, for now.
pub fn execute(_args: &CheckArgs, _quiet: bool) -> Result<Output, Failure> {
    Err(Failure::run("not there yet"))
}
