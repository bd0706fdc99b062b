//! What is wrong with an input, where, and what to do about it.
//!
//! One type for every error of a file or of `--set`: position, path, value, a sentence and a hint. Its `Display` shows
//! the line itself, as compilers do. Also here: the nearest name by edit distance, for "did you mean".

use std::fmt;

pub use crate::measure::nearest;

/// Characters of a source line that are shown around the error.
const LINE_WIDTH: usize = 100;
/// Characters of a value that are shown.
const VALUE_WIDTH: usize = 60;

/// One error of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file as it was named, or the argument (`--set path=value`).
    pub file: String,
    /// Line from 1; 0 if the error has no place in the file (it is missing, empty, or an argument).
    pub line: usize,
    /// Column from 1, in characters; 0 with `line`.
    pub column: usize,
    /// Characters to underline.
    pub width: usize,
    /// Path of the field, such as `cluster.nodes[0].count`. Empty for the whole document.
    pub path: String,
    /// The value found, shortened; `None` if there is none.
    pub value: Option<String>,
    /// What is wrong and what was expected.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// The line's text.
    pub source_line: String,
}

impl Diagnostic {
    /// An error of a whole file, without a line.
    pub fn of_file(file: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
            width: 0,
            path: String::new(),
            value: None,
            message: message.into(),
            hint: Some(hint.into()),
            source_line: String::new(),
        }
    }
}

impl std::error::Error for Diagnostic {}

impl fmt::Display for Diagnostic {
    /// `error: file:line:column: path: message`, the line with the place underlined, and the hint. No newline at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", printable(&self.file))?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", printable(&self.path))?;
        }
        write!(f, ": {}", printable(&self.message))?;
        let margin = if self.line > 0 { self.line.to_string().len() } else { 1 };
        if self.line > 0 && !self.source_line.is_empty() {
            let (text, at) = window(&self.source_line, self.column);
            let room = (text.chars().count() + 1).saturating_sub(at).max(1);
            let carets = "^".repeat(self.width.clamp(1, room));
            write!(
                f,
                "\n{:margin$} |\n{} | {text}\n{:margin$} | {:>at$}",
                "",
                self.line,
                "",
                "",
                at = at - 1
            )?;
            f.write_str(&carets)?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n{:margin$} = help: {}", "", printable(hint))?;
        }
        Ok(())
    }
}

/// The part of a line around `column` (from 1) that fits on a terminal, and the column within that part.
fn window(line: &str, column: usize) -> (String, usize) {
    let chars: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let column = column.clamp(1, chars.len() + 1);
    if chars.len() <= LINE_WIDTH {
        return (chars.into_iter().collect::<String>().trim_end().to_owned(), column);
    }
    let start = column.saturating_sub(LINE_WIDTH / 2).min(chars.len() - LINE_WIDTH);
    let end = start + LINE_WIDTH;
    let mut text = String::new();
    let mut shown_column = column - start;
    if start > 0 {
        text.push_str("...");
        shown_column += 3;
    }
    text.extend(&chars[start..end]);
    if end < chars.len() {
        text.push_str("...");
    }
    (text, shown_column)
}

/// Control characters would let an input write on the reader's terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Shortens a value for a message.
pub(super) fn shorten(value: &str) -> String {
    if value.chars().count() <= VALUE_WIDTH {
        return value.to_owned();
    }
    value.chars().take(VALUE_WIDTH - 3).chain("...".chars()).collect()
}

/// "did you mean `x`?" if there is a near candidate, else the list of candidates.
pub(super) fn did_you_mean(word: &str, candidates: &[&str]) -> String {
    match nearest(word, candidates.iter().copied()) {
        Some(found) => format!("did you mean `{found}`?"),
        None if candidates.is_empty() => "nothing may stand here".to_owned(),
        None => format!("one of: {}", candidates.join(", ")),
    }
}

/// Sorts by place and drops repetitions.
pub(super) fn in_order(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let key = |d: &Diagnostic| (d.file.clone(), d.line, d.column, d.path.clone(), d.message.clone());
    diagnostics.sort_by_key(key);
    diagnostics.dedup_by_key(|d| key(d));
    diagnostics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let keys = ["replicas", "count", "name", "nodeSort", "nodeSortPolicy", "labels"];
        assert_eq!(nearest("replica", keys), Some("replicas"));
        assert_eq!(nearest("Replicas", keys), Some("replicas"));
        assert_eq!(nearest("node_sort", keys), Some("nodeSort"));
        assert_eq!(nearest("cuont", keys), Some("count"));
        assert_eq!(nearest("zebra", keys), None);
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let line = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let (text, column) = window(&line, 501);
        assert!(text.chars().count() <= LINE_WIDTH + 6);
        assert_eq!(text.chars().nth(column - 1), Some('X'));
    }

    #[test]
    fn control_characters_stay_off_the_terminal() {
        let text = Diagnostic::of_file("a\u{1b}[31m", "b\u{7}", "c").to_string();
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'));
    }
}
