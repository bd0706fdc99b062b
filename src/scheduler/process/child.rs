//! A child process that answers each line with a line.
//!
//! Its standard error is podpace's own. A thread writes its standard input and another reads its standard output, so that
//! neither a child that does not read nor one that does not answer is waited for longer than a limit of real time; no time
//! that is measured reaches a result. When the link is dropped, the child's input is closed, and it is ended if it does not
//! end by itself within a second.
//!
//! Left out: children of the child, which are not ended.
//!
//! Cost: two changes of threads a line.
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::time::Duration;

use crate::engine::MILLISECOND;
use crate::engine::time::format_exact;

/// Longest line that is read, bytes.
const MAX_LINE: u64 = 64 << 20;
/// How much of a line an error shows.
const SHOWN: usize = 200;
/// Answers that are kept before they are asked for; a child that writes more waits.
const READ_AHEAD: usize = 1;
/// How long a child may take to end, and how often it is looked whether it has.
const GRACE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(1);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum LinkError {
    #[error("can't be started: {0}")]
    Start(String),
    #[error("has ended ({status}) instead of answering `{asked}`")]
    Ended { status: String, asked: String },
    #[error("has closed its output instead of answering `{asked}`")]
    Closed { asked: String },
    #[error("has not answered `{asked}` within {}", format_exact(limit_ms.saturating_mul(MILLISECOND)))]
    TimedOut { limit_ms: u64, asked: String },
    #[error("has answered with a line of more than 64 MiB")]
    TooLong,
    #[error("has answered with bytes that are no UTF-8")]
    NotText,
}

/// The two ends of the pipes.
pub struct Link {
    child: Child,
    /// Lines to be written; none: its input is closed once they are.
    input: Option<Sender<String>>,
    lines: Receiver<Result<String, LinkError>>,
    timeout_ms: u64,
}

/// The beginning of a line, for messages.
#[must_use]
pub fn shown(line: &str) -> String {
    let line = line.trim_end();
    if line.chars().count() <= SHOWN {
        return line.to_owned();
    }
    line.chars().take(SHOWN).chain("...".chars()).collect()
}

impl Link {
    /// Starts a command in a folder.
    ///
    /// # Errors
    /// There is no such program, or it may not be run.
    pub fn start(command: &[String], directory: &str, timeout_ms: u64) -> Result<Self, LinkError> {
        let failed = |error: std::io::Error| LinkError::Start(error.to_string());
        let (program, arguments) =
            command.split_first().ok_or_else(|| LinkError::Start("the command is empty".to_owned()))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        // Python's sets and dictionaries of strings come in the same order in each run.
        command.env("PYTHONHASHSEED", "0");
        if !directory.is_empty() {
            command.current_dir(directory);
        }
        let mut child = command.spawn().map_err(failed)?;
        let mut stdin = child.stdin.take().ok_or_else(|| LinkError::Start("it has no input".to_owned()))?;
        let output = child.stdout.take().ok_or_else(|| LinkError::Start("it has no output".to_owned()))?;
        let (input, to_write) = channel::<String>();
        std::thread::spawn(move || {
            // A child that has closed its input may still answer, and ends or is given up if it does not.
            for line in to_write {
                if stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush()).is_err() {
                    return;
                }
            }
        });
        let (send, lines) = sync_channel(READ_AHEAD);
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            loop {
                let mut line = Vec::new();
                let read = std::io::Read::take(&mut output, MAX_LINE).read_until(b'\n', &mut line);
                let answer = match read {
                    Ok(0) | Err(_) => return,
                    Ok(n) if n as u64 == MAX_LINE && line.last() != Some(&b'\n') => Err(LinkError::TooLong),
                    Ok(_) => String::from_utf8(line).map_err(|_| LinkError::NotText),
                };
                if send.send(answer).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, input: Some(input), lines, timeout_ms })
    }

    /// Sends a line and waits for the answer.
    ///
    /// # Errors
    /// There is none.
    pub fn ask(&mut self, line: &str) -> Result<String, LinkError> {
        if let Some(input) = &self.input {
            // The writer is gone if the child does not read any more; what it says or does tells the rest.
            let _ = input.send(format!("{line}\n"));
        }
        match self.lines.recv_timeout(Duration::from_millis(self.timeout_ms)) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => {
                let _ = self.child.kill();
                Err(LinkError::TimedOut { limit_ms: self.timeout_ms, asked: shown(line) })
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.input = None;
                let asked = shown(line);
                Err(match self.wait(GRACE) {
                    Some(status) => LinkError::Ended { status: status.to_string(), asked },
                    None => LinkError::Closed { asked },
                })
            }
        }
    }

    /// Waits until the child has ended, but no longer than so long. What it still writes is thrown away.
    fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let mut waited = Duration::ZERO;
        loop {
            let _ = self.lines.try_recv();
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if waited < limit => {}
                Ok(None) | Err(_) => return None,
            }
            std::thread::sleep(LOOK);
            waited += LOOK;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.input = None;
        if self.wait(GRACE).is_none() {
            let _ = self.child.kill();
            self.wait(GRACE);
        }
    }
}
