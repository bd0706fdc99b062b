//! The command line: arguments, tables, progress, exit codes. What is computed is computed elsewhere.
//!
//! `args` is what was typed; a module of `command` for each subcommand turns it into library calls and their
//! result into an [`Output`](failure::Output): text for stdout and an exit code. Only this file writes to stdout.
pub mod args;
mod clock;
mod command;
pub mod docs;
mod expectations;
pub mod failure;
mod grid;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use failure::{Failure, Output, code};

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { code::INPUT } else { code::PASS });
        }
    };
    terminal::on_interrupt();
    let quiet = cli.quiet;
    // A broken invariant is a bug of ours; its message is on stderr already.
    let result = std::panic::catch_unwind(|| execute(cli)).unwrap_or_else(|_| {
        Err(Failure::run(
            "podpace broke one of its own invariants (see above); please report it with the input",
        ))
    });
    ExitCode::from(finish(result, quiet))
}

fn execute(cli: Cli) -> Result<Output, Failure> {
    let quiet = cli.quiet;
    match cli.command {
        Command::Run(args) => command::run::execute(&args, quiet),
        Command::Sweep(args) => command::sweep::execute(&args, quiet),
        Command::Merge(args) => command::merge::execute(&args),
        Command::Check(args) => command::check::execute(&args, quiet),
        Command::Diff(args) => command::diff::execute(&args),
        Command::Report(args) => command::report::execute(&args),
        Command::Validate(args) => command::validate::execute(&args, quiet),
        Command::Calibrate(args) => command::calibrate::execute(&args, quiet),
        Command::Plan(args) => command::plan::execute(&args, quiet),
        Command::Knee(args) => command::knee::execute(&args, quiet),
        Command::Explain(args) => command::explain::execute(&args, quiet),
        Command::Trace(args) => command::trace::execute(&args),
        Command::Models(args) => command::models::execute(&args),
        Command::Schema(args) => Ok(command::schema::execute(&args)),
        Command::Completions(args) => Ok(command::completions::execute(&args)),
    }
}

fn finish(result: Result<Output, Failure>, quiet: bool) -> u8 {
    match result {
        Ok(output) => {
            if let Err(error) = terminal::print(&output.text) {
                terminal::say(&format!("error: can't write to stdout: {error}"));
                return code::RUN;
            }
            if !quiet {
                for note in &output.notes {
                    terminal::say(note);
                }
            }
            output.code
        }
        Err(failure) => {
            terminal::say(&failure.message);
            failure.code
        }
    }
}
