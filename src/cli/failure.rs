//! How commands end: exit codes, and errors that know theirs.
use std::fmt;

use crate::calibrate::measured::MeasuredError;
use crate::experiment::output::OutputError;
use crate::experiment::pause::PauseError;
use crate::experiment::run::RunError;
use crate::experiment::simulation::BuildError;
use crate::scenario::Diagnostic;
use crate::scheduler::Failure as SchedulerFailure;

/// Exit codes; see `podpace --help`.
pub mod code {
    /// Pass.
    pub const PASS: u8 = 0;
    /// Failure while running.
    pub const RUN: u8 = 1;
    /// Usage or bad input.
    pub const INPUT: u8 = 2;
    /// An expectation or threshold failed, or no setting meets the goals.
    pub const EXPECTATION: u8 = 3;
    /// Regression against a baseline.
    pub const REGRESSION: u8 = 4;
    /// Not deterministic.
    pub const NOT_DETERMINISTIC: u8 = 5;
    /// Interrupted.
    pub const INTERRUPTED: u8 = 130;
}

/// A command that ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit code.
    pub code: u8,
    /// For stderr; begins with `error:`.
    pub message: String,
}

impl Failure {
    /// Bad input or usage.
    #[must_use]
    pub fn input(message: impl fmt::Display) -> Self {
        Self { code: code::INPUT, message: format!("error: {message}") }
    }

    /// Something failed while running.
    #[must_use]
    pub fn run(message: impl fmt::Display) -> Self {
        Self { code: code::RUN, message: format!("error: {message}") }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Input(diagnostics) => diagnostics.into(),
            RunError::Build {
                source: BuildError::Scheduler(SchedulerFailure { is_input: false, .. }),
                ..
            } => Self { code: code::RUN, message: error.to_string() },
            RunError::Build { .. } | RunError::TooLarge { .. } => {
                Self { code: code::INPUT, message: error.to_string() }
            }
        }
    }
}

impl From<Vec<Diagnostic>> for Failure {
    fn from(diagnostics: Vec<Diagnostic>) -> Self {
        let all: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
        Self { code: code::INPUT, message: all.join("\n") }
    }
}

impl From<MeasuredError> for Failure {
    fn from(error: MeasuredError) -> Self {
        match error {
            MeasuredError::Scenario(error) => error.into(),
            other => Self::input(other),
        }
    }
}

impl From<OutputError> for Failure {
    fn from(error: OutputError) -> Self {
        let code = match error {
            OutputError::Io { .. } => code::RUN,
            _ => code::INPUT,
        };
        Self { code, message: error.to_string() }
    }
}

impl From<PauseError> for Failure {
    fn from(error: PauseError) -> Self {
        let code = match error {
            PauseError::Run(error) => return error.into(),
            PauseError::Checkpoint(ref error) if !error.is_input() => code::RUN,
            PauseError::Checkpoint(_) | PauseError::SnapshotExists(_) => code::INPUT,
        };
        Self { code, message: error.to_string() }
    }
}

/// What a command has to say: text for stdout and an exit code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// For stdout.
    pub text: String,
    /// For stderr, unless `--quiet`.
    pub notes: Vec<String>,
    /// Exit code.
    pub code: u8,
}

impl Output {
    /// Text and success.
    #[must_use]
    pub fn pass(text: String) -> Self {
        Self { text, ..Self::default() }
    }
}
