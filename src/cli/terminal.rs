//! The terminal: progress on stderr, colour on stdout, quiet ends of pipes, interruption.
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::failure::code;

/// Whether stdout shows colours: a terminal, and `NO_COLOR` unset or empty.
#[must_use]
pub fn has_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(30);

/// Progress on stderr: a bar at a terminal, else a line now and then.
#[must_use]
pub fn progress(quiet: bool, what: &'static str, total: u64) -> ProgressBar {
    let target = if quiet || !io::stderr().is_terminal() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let template = if total > 1 {
        "{msg} {pos}/{len} [{wide_bar}] {per_sec}, {eta} left"
    } else {
        "{msg} {spinner} {elapsed}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(what);
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(200));
    } else if !quiet {
        // Ends with the process, if nobody finishes the bar.
        let bar = bar.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(LINE);
                if bar.is_finished() {
                    break;
                }
                say(&format!("{what}: {} of {}", bar.position(), bar.length().unwrap_or(0)));
            }
        });
    }
    bar
}

/// Writes to stdout. A reader that has gone (`podpace .. | head`) is no error.
///
/// # Errors
/// Any other failure to write.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes a line to stderr; if nobody reads it, that can't be told to anybody.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Makes Ctrl-C, SIGTERM and SIGHUP remove what is half-written and end with code 130.
pub fn on_interrupt() {
    // Without a handler the default action ends the process, too: nothing is published before its rename.
    let _ = ctrlc::set_handler(|| {
        crate::experiment::output::abandon_all();
        // The cursor stands behind what was drawn last, and the shell's prompt would follow it.
        if io::stderr().is_terminal() {
            say("\ninterrupted");
        }
        std::process::exit(i32::from(code::INTERRUPTED));
    });
}
