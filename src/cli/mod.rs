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
mod live;
mod machine;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use failure::{Failure, Output, code};

use crate::experiment::plan::Options;

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

fn usage(error: &clap::Error) -> Failure {
    Failure { code: code::INPUT, message: error.render().to_string().trim_end().to_owned() }
}

/// Runs a command line in this process, without progress and colours of its own: for the Python package.
///
/// # Errors
/// Usage, bad input, failures; the message is what the binary would say.
pub fn in_process(arguments: impl IntoIterator<Item = String>) -> Result<Output, Failure> {
    match Cli::try_parse_from(arguments) {
        Ok(cli) => execute(Cli { quiet: true, ..cli }),
        Err(error) if error.use_stderr() => Err(usage(&error)),
        Err(error) => Ok(Output::pass(error.render().to_string())),
    }
}

/// What `podpace plan` with these arguments would search: for the Python package, whose scenario may be no file.
///
/// # Errors
/// Usage, goals and fields that are none; the message is what the binary would say.
pub fn plan_options(arguments: impl IntoIterator<Item = String>) -> Result<Options, Failure> {
    let words = ["podpace", "plan"].map(str::to_owned).into_iter().chain(arguments);
    match Cli::try_parse_from(words) {
        Ok(Cli { command: Command::Plan(args), .. }) => command::plan::options(&args),
        Ok(_) => Err(Failure::input("no arguments of plan")),
        Err(error) => Err(usage(&error)),
    }
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
