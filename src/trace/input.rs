//! Reading lines and tables with positions; where the bytes come from is [`super::source`]'s.
//!
//! * **Lines.** [`Lines`] gives UTF-8 lines with their number, without copying more than one. A line past the
//!   limit is an error, but is never held in memory: a 100 MB line costs the limit, not its length.
//! * **Tables.** [`Table`] reads delimited rows against a [`TableSchema`]: by header if there is one (then columns
//!   may come in any order), else by position with a checked number of columns.
//!
//! After an error of one row the reader stands at the next row, so a caller may skip and go on. Cost: O(bytes),
//! memory O(longest line up to the limit).

use std::io::{self, BufRead};

use super::documents::Place;
use super::error::{Problem, TraceError};
use super::number::{self, NumberError};
use super::source::{InputFile, empty_file, read_problem};

/// Longest line read unless the caller says otherwise.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// Lines of a file with their numbers.
pub struct Lines {
    name: String,
    reader: Box<dyn BufRead>,
    buffer: Vec<u8>,
    line: u64,
    limit: usize,
    done: bool,
    pushed_back: bool,
}

impl Lines {
    /// Opens a file.
    pub fn open(file: &InputFile, limit: usize) -> Result<Lines, TraceError> {
        Ok(Lines::new(file.display(), file.open()?, limit))
    }

    /// Reads from memory or anything else.
    pub fn new(name: String, reader: Box<dyn BufRead>, limit: usize) -> Lines {
        Lines { name, reader, buffer: Vec::new(), line: 0, limit, done: false, pushed_back: false }
    }

    /// The file's name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of the line last given, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The next call of [`Lines::next_line`] gives the last line again.
    pub fn push_back(&mut self) {
        self.pushed_back = self.line > 0;
    }

    /// An error about the current line.
    pub fn error(
        &self,
        problem: Problem,
        field: &str,
        value: &str,
        expected: impl Into<String>,
    ) -> TraceError {
        self.at().error(problem, field, value, expected)
    }

    /// Where the current line is.
    pub fn at(&self) -> Place {
        Place { file: self.name.clone(), at: self.line }
    }

    /// The next line without its end, or `None` at the end of the file. After an error the next call goes on
    /// with the line after it (or gives `None` if the file cannot be read any further).
    pub fn next_line(&mut self) -> Result<Option<&str>, TraceError> {
        if self.pushed_back {
            self.pushed_back = false;
            return Ok(Some(std::str::from_utf8(&self.buffer).unwrap_or_default()));
        }
        if self.done {
            return Ok(None);
        }
        self.buffer.clear();
        let mut too_long = false;
        let mut length = 0u64;
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    self.done = true;
                    self.buffer.clear();
                    return Err(read_problem(&self.name, self.line + 1, &e).into());
                }
            };
            if chunk.is_empty() {
                self.done = true;
                if length == 0 {
                    return Ok(None);
                }
                break;
            }
            let end = memchr(chunk);
            let take = end.unwrap_or(chunk.len());
            length += take as u64 + u64::from(end.is_some());
            if !too_long {
                if self.buffer.len() + take > self.limit {
                    too_long = true;
                    self.buffer = Vec::new();
                } else {
                    self.buffer.extend_from_slice(&chunk[..take]);
                }
            }
            let used = take + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                break;
            }
        }
        self.line += 1;
        if too_long {
            return Err(self.error(
                Problem::LineTooLong,
                "",
                "",
                format!("a line of {length} bytes; at most {} are read", self.limit),
            ));
        }
        if self.buffer.last() == Some(&b'\r') {
            self.buffer.pop();
        }
        if self.line == 1 && self.buffer.starts_with(b"\xef\xbb\xbf") {
            self.buffer.drain(..3);
        }
        match std::str::from_utf8(&self.buffer) {
            Ok(_) => {}
            Err(e) => {
                let at = e.valid_up_to();
                self.buffer.clear();
                return Err(self.error(
                    Problem::BadUtf8,
                    "",
                    "",
                    format!("UTF-8 text (byte {} is not)", at + 1),
                ));
            }
        }
        Ok(Some(std::str::from_utf8(&self.buffer).unwrap_or_default()))
    }

    fn current(&self) -> &str {
        std::str::from_utf8(&self.buffer).unwrap_or_default()
    }
}

fn memchr(haystack: &[u8]) -> Option<usize> {
    haystack.iter().position(|&b| b == b'\n')
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Name in the header, lower case; alternatives separated by `|`.
    pub name: &'static str,
    /// The table is useless without it.
    pub required: bool,
}

/// A column the table cannot do without.
pub const fn must(name: &'static str) -> Column {
    Column { name, required: true }
}

/// A column that may be absent.
pub const fn may(name: &'static str) -> Column {
    Column { name, required: false }
}

/// What the values of a column look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// A number.
    Number,
    /// A number or nothing.
    MaybeNumber,
    /// Neither a number nor nothing.
    Word,
    /// A word or nothing.
    MaybeWord,
    /// One of these.
    OneOf(&'static [&'static str]),
}

impl Looks {
    fn fits(self, text: &str) -> bool {
        let is_number = || number::scaled_signed(text, 1).is_ok();
        match self {
            Looks::Number => is_number(),
            Looks::MaybeNumber => text.is_empty() || is_number(),
            Looks::Word => !text.is_empty() && !is_number(),
            Looks::MaybeWord => text.is_empty() || !is_number(),
            Looks::OneOf(values) => values.contains(&text),
        }
    }
}

/// The fields of a row: quoted ones without their quotes, all without blanks around them.
pub(crate) fn fields(line: &str, delimiter: u8) -> Vec<String> {
    let delimiter = char::from(delimiter);
    if !line.contains('"') {
        return line.split(delimiter).map(|f| f.trim().to_string()).collect();
    }
    let mut out = vec![String::new()];
    let (mut quoted, mut chars) = (false, line.chars().peekable());
    while let Some(c) = chars.next() {
        let field = out.last_mut().expect("there is a first field");
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.trim().is_empty() => quoted = true,
            c if c == delimiter && !quoted => out.push(String::new()),
            c => field.push(c),
        }
    }
    out.iter().map(|f| f.trim().to_string()).collect()
}

/// Whether two column names are the same but for case and what separates their words.
pub(crate) fn same_name(a: &str, b: &str) -> bool {
    let letters = |s: &str| -> Vec<u8> {
        s.bytes().filter(u8::is_ascii_alphanumeric).map(|b| b.to_ascii_lowercase()).collect()
    };
    let a = letters(a);
    !a.is_empty() && a == letters(b)
}

/// A delimited table as its format documents it.
#[derive(Debug)]
pub struct TableSchema {
    /// Name in reports.
    pub name: &'static str,
    /// Parts of file or folder names that tell it (lower case).
    pub hints: &'static [&'static str],
    /// Columns in the documented order.
    pub columns: &'static [Column],
    /// Numbers of columns a file without a header may have.
    pub widths: &'static [usize],
    /// What its columns look like, where that tells it from another table of the same width.
    pub looks: &'static [(usize, Looks)],
    /// Separates fields.
    pub delimiter: u8,
}

impl TableSchema {
    fn matches_name(column: &Column, header: &str) -> bool {
        column.name.split('|').any(|n| same_name(n, header))
    }

    /// Whether the line reads like this table's header: at least half of its required columns, two or more.
    pub fn is_header(&self, line: &str) -> bool {
        let fields = fields(line, self.delimiter);
        let required = self.columns.iter().filter(|c| c.required).count();
        let found = self
            .columns
            .iter()
            .filter(|c| c.required && fields.iter().any(|f| TableSchema::matches_name(c, f)))
            .count();
        required > 0 && found >= 2.min(required) && found * 2 >= required
    }

    /// Whether a line without header could be a row of this table: its number of columns, and what they look like.
    pub fn could_have(&self, line: &str) -> bool {
        let fields = fields(line, self.delimiter);
        self.widths.contains(&fields.len())
            && self.looks.iter().all(|(i, looks)| fields.get(*i).is_none_or(|f| looks.fits(f)))
    }
}

/// Rows of a delimited file.
pub struct Table {
    lines: Lines,
    schema: &'static TableSchema,
    /// Position of each schema column in the file; `usize::MAX`: absent.
    map: Vec<usize>,
    width: usize,
    fields: Vec<(u32, u32)>,
    unquoted: String,
    /// Rows given so far.
    pub rows: u64,
    has_header: bool,
}

const ABSENT: usize = usize::MAX;

impl Table {
    /// Opens a file and reads its header, if it has one.
    pub fn open(file: &InputFile, schema: &'static TableSchema, limit: usize) -> Result<Table, TraceError> {
        Table::new(Lines::open(file, limit)?, schema)
    }

    /// Starts on lines already opened.
    pub fn new(mut lines: Lines, schema: &'static TableSchema) -> Result<Table, TraceError> {
        let mut map = Vec::new();
        let (mut width, mut has_header, mut found_line) = (0, false, false);
        while let Some(line) = lines.next_line()? {
            // Some exports begin with comments.
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            found_line = true;
            let first = line.to_string();
            let header: Vec<String> =
                fields(line, schema.delimiter).into_iter().map(|f| f.to_lowercase()).collect();
            width = header.len();
            if schema.is_header(line) {
                has_header = true;
                for column in schema.columns {
                    let at = header.iter().position(|h| TableSchema::matches_name(column, h));
                    if at.is_none() && column.required {
                        return Err(lines.error(
                            Problem::MissingColumn,
                            column.name,
                            &first,
                            format!("the header of {} to name this column", schema.name),
                        ));
                    }
                    map.push(at.unwrap_or(ABSENT));
                }
            } else if schema.widths.contains(&width) {
                map = (0..schema.columns.len()).map(|i| if i < width { i } else { ABSENT }).collect();
                lines.push_back();
            } else {
                let names: Vec<&str> = schema.columns.iter().map(|c| c.name).collect();
                return Err(lines.error(
                    if schema.widths.is_empty() { Problem::UnknownColumns } else { Problem::ColumnCount },
                    "",
                    &first,
                    format!("{} columns of {} ({})", names.len(), schema.name, names.join(",")),
                ));
            }
            break;
        }
        if !found_line {
            return Err(empty_file(lines.name()).into());
        }
        Ok(Table {
            lines,
            schema,
            map,
            width,
            fields: Vec::new(),
            unquoted: String::new(),
            rows: 0,
            has_header,
        })
    }

    /// The table's name.
    pub fn name(&self) -> &'static str {
        self.schema.name
    }

    /// Whether the file has this column.
    pub fn has(&self, column: usize) -> bool {
        self.map[column] != ABSENT
    }

    /// Whether the first line was a header.
    pub fn has_header(&self) -> bool {
        self.has_header
    }

    /// Goes to the next row; `false` at the end. After an error, the next call goes on behind the bad row.
    pub fn advance(&mut self) -> Result<bool, TraceError> {
        loop {
            let delimiter = self.schema.delimiter;
            let Some(line) = self.lines.next_line()? else { return Ok(false) };
            if line.trim().is_empty() {
                continue;
            }
            self.fields.clear();
            self.unquoted.clear();
            let bytes = line.as_bytes();
            if bytes.contains(&b'"') {
                self.rows += 1;
                let line = line.to_string();
                self.split_quoted(&line)?;
            } else {
                let mut start = 0u32;
                for (i, &b) in bytes.iter().enumerate() {
                    if b == delimiter {
                        self.fields.push((start, i as u32));
                        start = i as u32 + 1;
                    }
                }
                self.fields.push((start, bytes.len() as u32));
                self.rows += 1;
            }
            if self.fields.len() != self.width {
                let value = self.lines.current().to_string();
                let problem = self.lines.error(
                    Problem::ColumnCount,
                    "",
                    &value,
                    format!("{} columns as in the first row, found {}", self.width, self.fields.len()),
                );
                return Err(problem);
            }
            return Ok(true);
        }
    }

    fn split_quoted(&mut self, line: &str) -> Result<(), TraceError> {
        let delimiter = char::from(self.schema.delimiter);
        let mut chars = line.chars().peekable();
        loop {
            let start = self.unquoted.len() as u32;
            // A quote may have blanks before it.
            let mut ahead = chars.clone();
            if delimiter != ' ' && ahead.find(|c| *c != ' ') == Some('"') {
                while chars.next_if_eq(&' ').is_some() {}
            }
            if chars.peek() == Some(&'"') {
                chars.next();
                loop {
                    match chars.next() {
                        Some('"') if chars.peek() == Some(&'"') => {
                            chars.next();
                            self.unquoted.push('"');
                        }
                        Some('"') => break,
                        Some(c) => self.unquoted.push(c),
                        None => {
                            return Err(self.lines.error(
                                Problem::BadSyntax,
                                "",
                                line,
                                "a closing quote on the same line",
                            ));
                        }
                    }
                }
            }
            while let Some(&c) = chars.peek() {
                if c == delimiter {
                    break;
                }
                self.unquoted.push(c);
                chars.next();
            }
            self.fields.push((start, self.unquoted.len() as u32));
            if chars.next().is_none() {
                return Ok(());
            }
        }
    }

    /// A field without surrounding blanks; empty when the column is absent.
    #[inline]
    pub fn text(&self, column: usize) -> &str {
        let at = self.map[column];
        if at == ABSENT {
            return "";
        }
        let (start, end) = self.fields[at];
        let line = if self.unquoted.is_empty() { self.lines.current() } else { self.unquoted.as_str() };
        line.get(start as usize..end as usize).unwrap_or("").trim()
    }

    /// A field of this row by its position in the file.
    pub fn raw(&self, at: usize) -> &str {
        let Some(&(start, end)) = self.fields.get(at) else { return "" };
        let line = if self.unquoted.is_empty() { self.lines.current() } else { self.unquoted.as_str() };
        line.get(start as usize..end as usize).unwrap_or("").trim()
    }

    /// Whether the field is empty, absent, or says that it is nothing (null, None, NA). NaN is a wrong number, unless a
    /// format says otherwise.
    pub fn is_null(&self, column: usize) -> bool {
        let t = self.text(column);
        t.is_empty() || matches!(t, "NA" | "null" | "NULL" | "None" | "none" | "\\N")
    }

    /// An error about a field of this row.
    pub fn error(&self, problem: Problem, column: usize, expected: impl Into<String>) -> TraceError {
        let name = self.schema.columns[column].name.split('|').next().unwrap_or_default();
        self.lines.error(problem, name, self.text(column), expected)
    }

    /// Where the current row is.
    pub fn at(&self) -> Place {
        self.lines.at()
    }

    /// Where the current row is: `file:line`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.lines.name(), self.lines.line())
    }

    /// The file's name.
    pub fn file(&self) -> &str {
        self.lines.name()
    }

    fn number_error(&self, column: usize, e: NumberError, what: &str, time: bool) -> TraceError {
        let problem = match e {
            _ if self.text(column).is_empty() => Problem::EmptyField,
            NumberError::Syntax => Problem::NotANumber,
            NumberError::Negative if time => Problem::NegativeTime,
            NumberError::Negative | NumberError::Range => Problem::OutOfRange,
        };
        self.error(problem, column, what)
    }

    /// An unsigned integer.
    #[inline]
    pub fn unsigned(&self, column: usize) -> Result<u64, TraceError> {
        number::unsigned(self.text(column)).map_err(|e| self.number_error(column, e, "a whole number", false))
    }

    /// A decimal times a unit, as an unsigned integer.
    #[inline]
    pub fn scaled(&self, column: usize, unit: u64) -> Result<u64, TraceError> {
        number::scaled(self.text(column), unit)
            .map_err(|e| self.number_error(column, e, "a number of at least 0", false))
    }

    /// A time in `unit` ns, not negative.
    #[inline]
    pub fn time(&self, column: usize, unit: u64) -> Result<i64, TraceError> {
        let ns = number::scaled(self.text(column), unit)
            .map_err(|e| self.number_error(column, e, "a time of at least 0", true))?;
        i64::try_from(ns)
            .map_err(|_| self.number_error(column, NumberError::Range, "a time below 292 years", true))
    }

    /// A time in `unit` ns that may be negative.
    pub fn signed_time(&self, column: usize, unit: u64) -> Result<i64, TraceError> {
        number::scaled_signed(self.text(column), unit)
            .map_err(|e| self.number_error(column, e, "a time within 292 years", true))
    }

    /// A date and time as Unix ns.
    pub fn date(&self, column: usize) -> Result<i64, TraceError> {
        number::unix_ns(self.text(column))
            .map_err(|e| self.number_error(column, e, "a date as 2020-06-09 18:41:01", true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    static SCHEMA: TableSchema = TableSchema {
        name: "t",
        hints: &[],
        columns: &[must("id"), must("time"), may("note")],
        widths: &[2, 3],
        looks: &[],
        delimiter: b',',
    };

    fn lines(text: impl Into<Vec<u8>>, limit: usize) -> Lines {
        Lines::new("f".into(), Box::new(Cursor::new(text.into())), limit)
    }

    #[test]
    fn header_may_reorder_columns() {
        let mut t = Table::new(lines("note,time,id\nx,5,a\n", 100), &SCHEMA).unwrap();
        assert!(t.advance().unwrap());
        assert_eq!((t.text(0), t.text(1), t.text(2)), ("a", "5", "x"));
        assert!(!t.advance().unwrap());
    }

    #[test]
    fn without_header_columns_are_positional() {
        let mut t = Table::new(lines("a,5\n\nb,6\n", 100), &SCHEMA).unwrap();
        assert!(t.advance().unwrap());
        assert_eq!((t.text(0), t.unsigned(1).unwrap(), t.has(2)), ("a", 5, false));
        assert!(t.advance().unwrap());
        assert_eq!(t.place(), "f:3");
    }

    #[test]
    fn quotes() {
        // With a header or without, with comments and blank lines before it.
        for head in
            ["", "id,time,note\n", "\"id\",\"time\", \"note\"\r\n", "# an export\n\n id, time ,note\n"]
        {
            let text = format!("{head}\"a,b\",5,\"say \"\"x\"\"\"\n");
            let mut t = Table::new(lines(text, 100), &SCHEMA).unwrap();
            assert!(t.advance().unwrap());
            assert_eq!((t.text(0), t.text(1), t.text(2)), ("a,b", "5", "say \"x\""), "{head:?}");
        }
    }

    #[test]
    fn a_bad_row_is_named_and_passed() {
        let mut t = Table::new(lines("id,time\na,1\nb\nc,x\nd,4\n", 100), &SCHEMA).unwrap();
        assert!(t.advance().unwrap());
        let e = t.advance().unwrap_err();
        assert_eq!(e.problem(), Some(Problem::ColumnCount));
        assert!(e.to_string().starts_with("f:3: column-count"), "{e}");
        assert!(t.advance().unwrap());
        assert_eq!(
            t.unsigned(1).unwrap_err().to_string(),
            "f:4: not-a-number: field time is \"x\": a whole number"
        );
        assert!(t.advance().unwrap());
        assert_eq!(t.text(0), "d");
    }

    #[test]
    fn long_lines_and_bad_bytes_do_not_stop_the_reader() {
        let mut text = b"ok\n".to_vec();
        text.extend(vec![b'x'; 5000]);
        text.extend(b"\n\xff\xfe\nend");
        let mut l = lines(text, 100);
        assert_eq!(l.next_line().unwrap(), Some("ok"));
        assert_eq!(l.next_line().unwrap_err().problem(), Some(Problem::LineTooLong));
        assert_eq!(l.next_line().unwrap_err().problem(), Some(Problem::BadUtf8));
        assert_eq!(l.next_line().unwrap(), Some("end"));
        assert_eq!(l.line(), 4);
        assert_eq!(l.next_line().unwrap(), None);
    }

    #[test]
    fn missing_required_column() {
        static OTHER: TableSchema = TableSchema {
            name: "t",
            hints: &[],
            columns: &[must("id"), must("note"), must("time")],
            widths: &[],
            looks: &[],
            delimiter: b',',
        };
        let e = Table::new(lines("id,note,other\n", 100), &OTHER).err().unwrap();
        assert_eq!(e.problem(), Some(Problem::MissingColumn));
    }
}
