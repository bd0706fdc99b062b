//! The line on which a field stands, for messages: objects are read as values, which know no lines.
//!
//! Only when there is an error about a field is its file read once more, from the line on which its object begins, and the
//! parser's events are followed along the field's path. JSON is read as the YAML that it is. Of a field that is not there the line is that
//! of the deepest one above it that is; where nothing of the path is found, the line stays that of the object.
//!
//! Left out: what comes through a pipe is not read again; fields behind aliases have the line of the alias; objects that share a line with the one before.
//!
//! Cost: O(bytes of the file), once a message.

use saphyr_parser::{Event, Parser};

use super::error::{RowError, TraceError};
use super::input::Lines;
use super::source::InputFile;

/// An object longer than that keeps its own line.
const LIMIT: usize = 16 << 20;

/// The error, at the line of its field.
pub(crate) fn at_field(files: &[InputFile], mut error: TraceError) -> TraceError {
    if let TraceError::Row(row) = &mut error
        && let Some(line) = find(files, row)
    {
        row.line = line;
    }
    error
}

fn find(files: &[InputFile], row: &RowError) -> Option<u64> {
    if row.field.is_empty() || row.line == 0 {
        return None;
    }
    let file = files.iter().find(|file| file.display() == row.file)?;
    // What comes through a pipe comes once.
    if !std::fs::metadata(&file.path).is_ok_and(|it| it.is_file()) {
        return None;
    }
    let text = text_from(file, row.line)?;
    Some(row.line - 1 + line_of(&text, &row.field)?)
}

/// The rest of a document, or more of a JSON file, from a line on.
fn text_from(file: &InputFile, from: u64) -> Option<String> {
    let mut lines = Lines::new(file.display(), file.open().ok()?, LIMIT);
    let mut text = String::new();
    loop {
        let at = lines.line() + 1;
        let line = match lines.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => return Some(text),
            Err(_) if at < from => continue,
            Err(_) => return Some(text),
        };
        if at < from {
            continue;
        }
        let line = if at == from { line.strip_prefix("--- ").unwrap_or(line) } else { line };
        if line.starts_with("---") || line == "..." || text.len() + line.len() > LIMIT {
            return Some(text);
        }
        text.push_str(line);
        text.push('\n');
    }
}

/// A mapping or a list that is open.
struct Frame<'a> {
    /// What is left of the path below it; none: the path leads elsewhere.
    rest: Option<&'a str>,
    is_list: bool,
    /// Elements so far.
    index: usize,
    /// A key has been read: what is left of the path below it.
    key: Option<Option<&'a str>>,
}

impl Frame<'_> {
    fn value_is_over(&mut self, was_key: bool) {
        if self.is_list {
            self.index += 1;
        } else {
            self.key = was_key.then_some(None);
        }
    }
}

/// The line, from 1, of the deepest field of a path in the first object of a text, which may be the first element of a list.
fn line_of(text: &str, path: &str) -> Option<u64> {
    let mut best: Option<(usize, u64)> = None;
    let mut reached = |rest: Option<&str>, line: usize| {
        if let Some(rest) = rest
            && best.is_none_or(|(left, _)| rest.len() < left)
        {
            best = Some((rest.len(), line.max(1) as u64));
        }
    };
    let mut stack: Vec<Frame<'_>> = Vec::new();
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        let line = span.start.line();
        let is_end = matches!(event, Event::SequenceEnd | Event::MappingEnd);
        let begins = match &event {
            Event::SequenceStart(..) => Some(true),
            Event::MappingStart(..) => Some(false),
            Event::Scalar(..) | Event::Alias(_) => None,
            _ if is_end => None,
            _ => continue,
        };
        if is_end {
            stack.pop();
        } else {
            let is_outer = stack.len() == 1;
            let rest = match stack.last_mut() {
                None => Some(path),
                Some(frame) if frame.is_list && is_outer => Some(path),
                Some(frame) if frame.is_list => {
                    let step = format!("[{}]", frame.index);
                    let rest = frame.rest.and_then(|rest| rest.strip_prefix(step.as_str()));
                    reached(rest, line);
                    rest
                }
                Some(frame) => match (frame.key, &event) {
                    (Some(rest), _) => rest,
                    (None, Event::Scalar(key, ..)) => {
                        let rest = frame.rest.and_then(|rest| below(rest, key));
                        reached(rest, line);
                        frame.key = Some(rest);
                        continue;
                    }
                    (None, _) => None,
                },
            };
            if let Some(is_list) = begins {
                stack.push(Frame { rest, is_list, index: 0, key: None });
                continue;
            }
        }
        // A value is complete.
        let depth = stack.len();
        let Some(frame) = stack.last_mut() else { break };
        let was_key = !frame.is_list && frame.key.is_none();
        frame.value_is_over(was_key);
        if depth == 1 && frame.is_list {
            break;
        }
    }
    best.map(|(_, line)| line)
}

/// What is left of a path behind a key: `.key`, `["key"]` or `[key]`.
fn below<'a>(path: &'a str, key: &str) -> Option<&'a str> {
    if key.is_empty() {
        return None;
    }
    let plain = path.strip_prefix('.').unwrap_or(path).strip_prefix(key);
    if let Some(rest) = plain.filter(|rest| rest.is_empty() || rest.starts_with(['.', '['])) {
        return Some(rest);
    }
    let inside = path.strip_prefix('[')?;
    match inside.strip_prefix('"') {
        Some(quoted) => quoted.strip_prefix(key)?.strip_prefix("\"]"),
        None => inside.strip_prefix(key)?.strip_prefix(']'),
    }
}

/// The lines, from 1, on which the elements of a list begin that stands under a key of the document.
pub(super) fn lines_of_items(text: &str, key: &str) -> Vec<u64> {
    let mut lines = Vec::new();
    let mut depth = 0_usize;
    // Whether the next scalar of the outer mapping is a key; whether the last one was the list's; whether the list is open.
    let (mut is_key, mut is_wanted, mut is_open) = (true, false, false);
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        let begins = matches!(event, Event::SequenceStart(..) | Event::MappingStart(..));
        if is_open && depth == 2 && (begins || matches!(event, Event::Scalar(..) | Event::Alias(_))) {
            lines.push(span.start.line().max(1) as u64);
        }
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                is_open |= depth == 1 && is_wanted;
                depth += 1;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                depth -= 1;
                if is_open && depth == 1 {
                    break;
                }
                is_key |= depth == 1;
            }
            Event::Scalar(ref text, ..) if depth == 1 => {
                is_wanted = is_key && text == key;
                is_key = !is_key;
            }
            Event::Alias(_) if depth == 1 => is_key = true,
            _ => {}
        }
    }
    lines
}
