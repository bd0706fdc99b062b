//! `podpace diff`.
use crate::cli::args::DiffArgs;
use crate::cli::failure::{Failure, Output};

/// Runs the command.
///
/// # Errors
/// Always, for now.
pub fn execute(_args: &DiffArgs) -> Result<Output, Failure> {
    Err(Failure::run("not there yet"))
}
