//! Errors of reading and writing traces: always the file, the line, the field, the value, what was expected, and
//! what to do next. [`Problem::name`] is the stable name that reports, tests and scripts use.

use std::fmt;
use std::path::{Path, PathBuf};

/// What is wrong with a row of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// A compressed file ends early.
    Truncated,
    /// Compressed data is damaged.
    Corrupt,
    /// Bytes that are not UTF-8.
    BadUtf8,
    /// A line longer than the limit.
    LineTooLong,
    /// An object or document longer than the limit.
    TooLong,
    /// Nested more deeply than the limit.
    TooDeep,
    /// A compressed file that becomes too much.
    Bomb,
    /// Compressed or packed in a way that is not read.
    UnknownPacking,
    /// A file without a single row.
    EmptyFile,
    /// A row with the wrong number of columns.
    ColumnCount,
    /// A column the format needs is not there.
    MissingColumn,
    /// A header that is not this table's.
    UnknownColumns,
    /// A field that may not be empty is.
    EmptyField,
    /// Not a number where one is needed (NaN and infinities are none).
    NotANumber,
    /// A time before zero where the format has none.
    NegativeTime,
    /// A time earlier than the row before in a table that is sorted by time.
    TimeGoesBack,
    /// A number outside of what the field can hold.
    OutOfRange,
    /// The same id twice.
    DuplicateId,
    /// Something ends, is deleted or bound before it exists.
    DeleteBeforeCreate,
    /// A code the format does not know.
    UnknownCode,
    /// Not the JSON, YAML or MessagePack it should be.
    BadSyntax,
    /// A reference to something that is not in the trace.
    DanglingReference,
    /// An object that the API server refuses, or of a kind that is not modelled.
    Forbidden,
}

impl Problem {
    /// Stable name, used in reports (`dropped`) and messages.
    pub fn name(self) -> &'static str {
        match self {
            Problem::Truncated => "truncated-file",
            Problem::Corrupt => "corrupt-file",
            Problem::BadUtf8 => "bad-utf8",
            Problem::LineTooLong => "line-too-long",
            Problem::TooLong => "document-too-long",
            Problem::TooDeep => "nested-too-deeply",
            Problem::Bomb => "decompression-bomb",
            Problem::UnknownPacking => "unknown-packing",
            Problem::EmptyFile => "empty-file",
            Problem::ColumnCount => "column-count",
            Problem::MissingColumn => "missing-column",
            Problem::UnknownColumns => "unknown-columns",
            Problem::EmptyField => "empty-field",
            Problem::NotANumber => "not-a-number",
            Problem::NegativeTime => "negative-time",
            Problem::TimeGoesBack => "time-goes-back",
            Problem::OutOfRange => "out-of-range",
            Problem::DuplicateId => "duplicate-id",
            Problem::DeleteBeforeCreate => "delete-before-create",
            Problem::UnknownCode => "unknown-code",
            Problem::BadSyntax => "bad-syntax",
            Problem::DanglingReference => "dangling-reference",
            Problem::Forbidden => "forbidden",
        }
    }
}

/// One bad row of input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// What is wrong.
    pub problem: Problem,
    /// File it is in, as the user named it.
    pub file: String,
    /// Line, row or document number from 1; 0: the file as a whole.
    pub line: u64,
    /// Column or field; empty: the whole row.
    pub field: String,
    /// The offending value, shortened; empty: none.
    pub value: String,
    /// What was expected, and what to do.
    pub expected: String,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", self.problem.name())?;
        if !self.field.is_empty() {
            write!(f, ": field {}", self.field)?;
        }
        if !self.value.is_empty() {
            write!(f, " is {:?}", self.value)?;
        }
        write!(f, ": {}", self.expected)
    }
}

impl std::error::Error for RowError {}

/// Everything that reading, writing, importing and exporting traces can fail with.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The operating system refused something.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A row of input is wrong (`--on-error skip` drops and counts such rows instead).
    #[error("{0}")]
    Row(Box<RowError>),
    /// The inputs as a whole do not fit the request.
    #[error("{0}")]
    Usage(String),
    /// The folder is not a trace this version can read.
    #[error("{path}: {message}", path = path.display())]
    Format {
        /// Where.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
}

impl TraceError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> TraceError {
        TraceError::Io { path: path.to_path_buf(), source }
    }

    pub(crate) fn format(path: &Path, message: impl Into<String>) -> TraceError {
        TraceError::Format { path: path.to_path_buf(), message: message.into() }
    }

    /// The kind of row problem, if it is one.
    pub fn problem(&self) -> Option<Problem> {
        match self {
            TraceError::Row(r) => Some(r.problem),
            _ => None,
        }
    }
}

impl From<RowError> for TraceError {
    fn from(e: RowError) -> TraceError {
        TraceError::Row(Box::new(e))
    }
}

/// A value as it may stand in a message: at most 80 characters.
pub(crate) fn shorten(value: &str) -> String {
    const LIMIT: usize = 80;
    if value.chars().count() <= LIMIT {
        return value.to_string();
    }
    let mut out: String = value.chars().take(LIMIT - 1).collect();
    out.push('…');
    out
}
