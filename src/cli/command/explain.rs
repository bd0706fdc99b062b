//! `podpace explain`.
use crate::cli::args::ExplainArgs;
use crate::cli::failure::{Failure, Output};

/// Runs the command.
///
/// # Errors
/// Always, for now.
pub fn execute(_args: &ExplainArgs, _quiet: bool) -> Result<Output, Failure> {
    Err(Failure::run("not there yet"))
}
