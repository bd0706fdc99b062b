//! A child process that answers each line with a line.
//!
//! Its standard error is podpace's own. A thread reads its standard output, so that an answer can be waited for with a limit
//! of real time; no time that is measured reaches a result. When the link is dropped, the child's input is closed, and it is
//! ended if it does not end by itself within a second.
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// Longest line that is read, bytes.
const MAX_LINE: u64 = 64 << 20;
/// How much of a line an error shows.
const SHOWN: usize = 200;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum LinkError {
    #[error("can't be started: {0}")]
    Start(String),
    #[error("has ended ({status}) instead of answering `{asked}`")]
    Ended { status: String, asked: String },
    #[error("has not answered `{asked}` within {seconds} s")]
    TimedOut { seconds: u64, asked: String },
    #[error("has answered with a line of more than 64 MiB")]
    TooLong,
    #[error("has answered with bytes that are no UTF-8")]
    NotText,
}

/// The two ends of the pipes.
pub struct Link {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<Result<String, LinkError>>,
    timeout: Duration,
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
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or_else(|| LinkError::Start("it has no output".to_owned()))?;
        let (send, lines) = channel();
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
        Ok(Self { child, input, lines, timeout: Duration::from_millis(timeout_ms) })
    }

    /// Sends a line and waits for the answer.
    ///
    /// # Errors
    /// There is none.
    pub fn ask(&mut self, line: &str) -> Result<String, LinkError> {
        let written = self.input.as_mut().is_some_and(|input| {
            input
                .write_all(line.as_bytes())
                .and_then(|()| input.write_all(b"\n"))
                .and_then(|()| input.flush())
                .is_ok()
        });
        if !written {
            return Err(self.ended(line));
        }
        match self.lines.recv_timeout(self.timeout) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => {
                let _ = self.child.kill();
                Err(LinkError::TimedOut { seconds: self.timeout.as_secs(), asked: shown(line) })
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.ended(line)),
        }
    }

    fn ended(&mut self, line: &str) -> LinkError {
        self.input = None;
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        LinkError::Ended { status, asked: shown(line) }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.input = None;
        // Its output ends when it does.
        while self.lines.recv_timeout(Duration::from_secs(1)).is_ok() {}
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
