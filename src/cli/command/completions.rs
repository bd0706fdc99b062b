//! `podpace completions`: scripts for shells.
use clap::CommandFactory;

use crate::cli::args::{Cli, CompletionsArgs};
use crate::cli::failure::Output;

/// Runs the command.
#[must_use]
pub fn execute(args: &CompletionsArgs) -> Output {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "podpace", &mut script);
    Output::pass(String::from_utf8_lossy(&script).into_owned())
}
