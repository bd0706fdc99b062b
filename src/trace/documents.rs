//! JSON and YAML documents, object by object: a list of 100,000 pods is never in memory whole.
//!
//! * **JSON** ([`each_document`]): one object, several behind each other, JSON Lines, an array, or an object with
//!   `items` (a Kubernetes List) or `EventRecords`, or what the format names, whose elements are given one by one. When the first line is an object
//!   by itself the file is JSON Lines: then a bad line is one bad object, and the next line goes on.
//! * **YAML**: several documents; Lists are cut at the `- ` lines of their `items:`, which is how kubectl and kwokctl
//!   write them. Lists written in another way are read whole, within the limit.
//! * **Parts** ([`each_part`]): named arrays and objects of one large JSON document, element by element; what is not
//!   named is passed over.
//!
//! Errors carry the line on which the object begins; [`field_line`](super::field_line) finds that of a field. No object, line or document is longer than the limit that the
//! caller gives, nor nested more than 128 deep; YAML aliases that multiply are refused by the parser.
//!
//! Cost: O(bytes); memory O(the largest object).

use std::cell::RefCell;
use std::io::{self, BufRead, Cursor, Read};
use std::rc::Rc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::error::{Problem, RowError, TraceError, shorten};
use super::field_line::lines_of_items;
use super::input::Lines;
use super::number::{self, NumberError};
use super::source::{InputFile, empty_file, read_problem};

/// Where a document is.
#[derive(Debug, Clone)]
pub struct Place {
    /// File.
    pub file: String,
    /// Line, or number of the object in the file where lines are not known.
    pub at: u64,
}

impl Place {
    /// An error about this document.
    pub fn error(
        &self,
        problem: Problem,
        field: &str,
        value: &str,
        expected: impl Into<String>,
    ) -> TraceError {
        RowError {
            problem,
            file: self.file.clone(),
            line: self.at,
            field: field.to_string(),
            value: shorten(value),
            expected: expected.into(),
        }
        .into()
    }

    /// A field that holds seconds, as ns.
    ///
    /// # Errors
    /// A text that is no number, negative, or beyond 292 years.
    pub fn seconds_ns(&self, field: &str, text: &str) -> Result<i64, TraceError> {
        let ns = number::scaled(text, 1_000_000_000)
            .and_then(|ns| i64::try_from(ns).map_err(|_| NumberError::Range));
        ns.map_err(|error| match error {
            NumberError::Range => self.error(Problem::OutOfRange, field, text, "a time below 292 years"),
            NumberError::Negative => self.error(Problem::NegativeTime, field, text, "a time of at least 0"),
            NumberError::Syntax => self.error(Problem::NotANumber, field, text, "seconds"),
        })
    }
}

/// Takes an object, or why it is none, and where it is.
pub type Each<'a> = dyn FnMut(Result<Value, TraceError>, &Place) -> Result<(), TraceError> + 'a;

/// Keys of an object whose elements are given instead of it.
pub const LIST_KEYS: &[&str] = &["items", "EventRecords"];

/// How far a file's first line is looked at to tell JSON Lines.
const FIRST_LINE: usize = 1 << 20;

/// Calls `each` for every object of a file of JSON or YAML.
///
/// # Errors
/// What `each` returns, and a file that can't be opened. Objects that can't be read are given to `each`.
pub fn each_document(file: &InputFile, limit: usize, each: &mut Each<'_>) -> Result<(), TraceError> {
    each_document_of(file, limit, LIST_KEYS, each)
}

/// The same, where the format says which keys hold lists.
///
/// # Errors
/// As [`each_document`].
pub fn each_document_of(
    file: &InputFile,
    limit: usize,
    lists: &[&str],
    each: &mut Each<'_>,
) -> Result<(), TraceError> {
    let name = file.display();
    let mut reader = file.open()?;
    let mut start = Vec::new();
    let whole_line = match first_line(&mut reader, &mut start) {
        Ok(whole) => whole,
        Err(e) => {
            let place = Place { file: name.clone(), at: 1 };
            return each(Err(read_problem(&name, 1, &e).into()), &place);
        }
    };
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start);
    let first = text.iter().find(|b| !b.is_ascii_whitespace()).copied();
    let Some(first) = first else {
        return each(Err(empty_file(&name).into()), &Place { file: name.clone(), at: 0 });
    };
    let is_lines = whole_line
        && first == b'{'
        && serde_json::from_slice::<serde_json::Map<String, Value>>(text)
            .is_ok_and(|object| !lists.iter().any(|key| object.get(*key).is_some_and(Value::is_array)));
    let reader: Box<dyn BufRead> = Box::new(Cursor::new(start).chain(reader));
    let input = Input { name: &name, limit, lists };
    if is_lines {
        json_lines(input, reader, each)
    } else if matches!(first, b'{' | b'[') {
        json(input, reader, each)
    } else {
        yaml(input, reader, each)
    }
}

/// What is read, and how.
#[derive(Clone, Copy)]
struct Input<'a> {
    name: &'a str,
    /// Most bytes of an object.
    limit: usize,
    /// Keys whose array is a list of objects.
    lists: &'a [&'a str],
}

/// Reads up to and with the first line that is not blank; whether its end was found.
fn first_line(reader: &mut Box<dyn BufRead>, start: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let from = start.len();
        let room = FIRST_LINE.saturating_sub(from) as u64;
        let n = reader.by_ref().take(room).read_until(b'\n', start)?;
        let line = &start[from..];
        let blank = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).iter().all(u8::is_ascii_whitespace);
        if n == 0 || !blank {
            return Ok(n > 0 && start.ends_with(b"\n"));
        }
    }
}

fn json_lines(input: Input<'_>, reader: Box<dyn BufRead>, each: &mut Each<'_>) -> Result<(), TraceError> {
    let Input { name, limit, lists } = input;
    let mut lines = Lines::new(name.to_string(), reader, limit);
    loop {
        let place = Place { file: name.to_string(), at: lines.line() + 1 };
        let line = match lines.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(()),
            Err(e) => {
                each(Err(e), &place)?;
                continue;
            }
        };
        // Some writers put several objects on a line.
        for value in serde_json::Deserializer::from_str(line).into_iter::<Value>() {
            match value {
                Ok(value) => give(value, lists, &place, &[], each)?,
                Err(e) => each(Err(json_error(&place, &e)), &place)?,
            }
        }
    }
}

/// Gives a value, or the elements of the list that it is, which begin on `lines` if these are known.
fn give(
    value: Value,
    lists: &[&str],
    place: &Place,
    lines: &[u64],
    each: &mut Each<'_>,
) -> Result<(), TraceError> {
    let Value::Object(mut object) = value else { return each(Ok(value), place) };
    match lists.iter().find(|key| matches!(object.get(**key), Some(Value::Array(_)))) {
        None => each(Ok(Value::Object(object)), place),
        Some(key) => {
            let kind = object.get("kind").and_then(Value::as_str).map(item_kind).unwrap_or_default();
            let Some(Value::Array(items)) = object.remove(*key) else { return Ok(()) };
            let mut place = place.clone();
            for (n, item) in items.into_iter().enumerate() {
                place.at = lines.get(n).copied().unwrap_or(place.at);
                each(Ok(with_kind(item, &kind)), &place)?;
            }
            Ok(())
        }
    }
}

/// `PodList` holds Pods, whose kind the API server leaves out; `List` holds anything.
fn item_kind(list: &str) -> String {
    list.strip_suffix("List").unwrap_or_default().to_string()
}

fn with_kind(mut item: Value, kind: &str) -> Value {
    if let Value::Object(object) = &mut item
        && !kind.is_empty()
    {
        object.entry("kind").or_insert_with(|| Value::String(kind.to_string()));
    }
    item
}

/// What the reader below serde_json knows.
#[derive(Default)]
struct Position {
    /// Line being read, from 1.
    line: u64,
    /// Line on which the object being read begins.
    begins: u64,
    /// Nothing of the next object has been read yet.
    fresh: bool,
    /// Something of some object has been read.
    any: bool,
    /// Bytes since the last object.
    bytes: usize,
    too_long: bool,
}

impl Position {
    fn next_object(&mut self) {
        (self.fresh, self.bytes) = (true, 0);
    }
}

/// Passes bytes on and counts lines. serde_json takes them one by one and none in advance.
struct Watched {
    inner: Box<dyn BufRead>,
    position: Rc<RefCell<Position>>,
    limit: usize,
    at_start: bool,
}

impl Read for Watched {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at_start {
            self.at_start = false;
            if self.inner.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
                self.inner.consume(3);
            }
        }
        let n = self.inner.read(out)?;
        let mut p = self.position.borrow_mut();
        for b in &out[..n] {
            match b {
                b'\n' => p.line += 1,
                b' ' | b'\t' | b'\r' | b',' => {}
                _ if p.fresh => (p.fresh, p.any, p.begins) = (false, true, p.line),
                _ => {}
            }
        }
        p.bytes += n;
        if p.bytes > self.limit {
            p.too_long = true;
            return Err(io::Error::other("too long"));
        }
        Ok(n)
    }
}

fn watched(reader: Box<dyn BufRead>, limit: usize) -> (Watched, Rc<RefCell<Position>>) {
    let first = Position { line: 1, begins: 1, fresh: true, ..Position::default() };
    let position = Rc::new(RefCell::new(first));
    (Watched { inner: reader, position: position.clone(), limit, at_start: true }, position)
}

fn json(input: Input<'_>, reader: Box<dyn BufRead>, each: &mut Each<'_>) -> Result<(), TraceError> {
    let Input { name, limit, lists } = input;
    let (watched, position) = watched(reader, limit);
    let mut failure = None;
    let mut de = serde_json::Deserializer::from_reader(watched);
    loop {
        position.borrow_mut().next_object();
        // The end of the input is told by trying to parse: serde_json reports an EOF at the start of a value.
        let error = match de.end() {
            Ok(()) => return Ok(()),
            Err(e) if e.is_io() || e.is_eof() => Some(e),
            Err(_) => {
                let seed = Items {
                    name,
                    lists,
                    each: &mut *each,
                    position: &position,
                    failure: &mut failure,
                    kind: None,
                };
                seed.deserialize(&mut de).err()
            }
        };
        if let Some(error) = failure.take() {
            return Err(error);
        }
        if let Some(e) = error {
            return each(
                Err(stream_error(name, &position.borrow(), &e, limit)),
                &Place { file: name.into(), at: position.borrow().begins },
            );
        }
    }
}

/// What a failed read of a large document means.
fn stream_error(name: &str, position: &Position, e: &serde_json::Error, limit: usize) -> TraceError {
    let place = Place { file: name.to_string(), at: position.line };
    if position.too_long {
        let place = Place { at: position.begins, ..place };
        let expected = format!("objects of at most {limit} bytes");
        return place.error(Problem::TooLong, "", "", expected);
    }
    json_error(&place, e)
}

/// What serde_json says, about a text that begins at `place`.
pub(crate) fn json_error(place: &Place, e: &serde_json::Error) -> TraceError {
    let text = e.to_string();
    let problem = match e.classify() {
        serde_json::error::Category::Io => {
            let io = io::Error::from(e.io_error_kind().unwrap_or(io::ErrorKind::Other));
            return read_problem(&place.file, place.at, &io).into();
        }
        serde_json::error::Category::Eof => Problem::Truncated,
        _ if text.contains("unicode") => Problem::BadUtf8,
        _ if text.contains("recursion limit") => Problem::TooDeep,
        _ => Problem::BadSyntax,
    };
    place.error(problem, "", "", format!("a JSON document ({text})"))
}

/// Deserialises a value; the elements of a top-level array or list go to the callback one by one.
struct Items<'a, 'b> {
    name: &'a str,
    lists: &'a [&'a str],
    each: &'a mut Each<'b>,
    position: &'a Rc<RefCell<Position>>,
    failure: &'a mut Option<TraceError>,
    /// Inside of a list: the kind of its items, if it has said so by now.
    kind: Option<String>,
}

impl Items<'_, '_> {
    fn give<E: serde::de::Error>(&mut self, value: Value) -> Result<(), E> {
        let place = Place { file: self.name.to_string(), at: self.position.borrow().begins };
        let value = with_kind(value, self.kind.as_deref().unwrap_or_default());
        let given = if self.kind.is_some() {
            (self.each)(Ok(value), &place)
        } else {
            give(value, self.lists, &place, &[], self.each)
        };
        self.position.borrow_mut().next_object();
        given.map_err(|e| {
            *self.failure = Some(e);
            E::custom("stopped")
        })
    }
}

impl<'de> DeserializeSeed<'de> for Items<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object or an array of objects")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        self.position.borrow_mut().next_object();
        while let Some(value) = seq.next_element::<Value>()? {
            self.give(value)?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut object = serde_json::Map::new();
        let mut had_items = false;
        while let Some(key) = map.next_key::<String>()? {
            if self.kind.is_none() && self.lists.contains(&key.as_str()) {
                had_items = true;
                let kind = object.get("kind").and_then(Value::as_str).map(item_kind).unwrap_or_default();
                map.next_value_seed(Items {
                    name: self.name,
                    lists: self.lists,
                    each: &mut *self.each,
                    position: self.position,
                    failure: &mut *self.failure,
                    kind: Some(kind),
                })?;
            } else {
                object.insert(key, map.next_value()?);
            }
        }
        if had_items { Ok(()) } else { self.give(Value::Object(object)) }
    }
}

/// A YAML document as it is gathered line by line.
struct Gathered<'a, 'b> {
    name: &'a str,
    lists: &'a [&'a str],
    each: &'a mut Each<'b>,
    text: String,
    /// Line on which the text begins.
    start: u64,
    /// Behind `items:`.
    in_items: bool,
    /// The text is an item.
    item: bool,
    is_list: bool,
    /// The document is longer than the limit and was given up.
    given_up: bool,
}

impl Gathered<'_, '_> {
    fn bad(&mut self, at: u64, error: TraceError) -> Result<(), TraceError> {
        (self.each)(Err(error), &Place { file: self.name.to_string(), at })
    }

    /// Gives what was gathered, unless it is what stands around a list's items.
    fn flush(&mut self) -> Result<(), TraceError> {
        let text = std::mem::take(&mut self.text);
        let is_head = self.is_list && !self.item;
        let blank = text.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#'));
        let given_up = std::mem::take(&mut self.given_up);
        if blank || is_head || given_up {
            return Ok(());
        }
        let place = Place { file: self.name.to_string(), at: self.start };
        match serde_yaml::from_str::<Value>(&text) {
            Ok(value) => {
                let is_list = |key: &&&str| value.get(**key).is_some_and(Value::is_array);
                let mut lines = match self.lists.iter().find(is_list) {
                    Some(key) => lines_of_items(&text, key),
                    None => Vec::new(),
                };
                lines.iter_mut().for_each(|line| *line += self.start - 1);
                give(value, self.lists, &place, &lines, self.each)
            }
            Err(e) => {
                let why = e.to_string();
                let deep = ["recursion limit", "repetition limit"].iter().any(|w| why.contains(w));
                let problem = if deep { Problem::TooDeep } else { Problem::BadSyntax };
                (self.each)(Err(place.error(problem, "", "", format!("a YAML document ({why})"))), &place)
            }
        }
    }

    fn line(&mut self, line: &str, number: u64, limit: usize) -> Result<(), TraceError> {
        if line.starts_with("---") || line == "..." {
            self.flush()?;
            (self.in_items, self.item, self.is_list, self.start) = (false, false, false, number + 1);
            // `--- {a: 1}` has its document behind the mark.
            if let Some(rest) = line.strip_prefix("--- ").filter(|rest| !rest.trim_start().starts_with('#')) {
                self.start = number;
                self.text.push_str(rest);
                self.text.push('\n');
            }
            return Ok(());
        }
        if !self.in_items && line.trim_end() == "items:" {
            (self.in_items, self.is_list) = (true, true);
            return Ok(());
        }
        if self.in_items && (line.starts_with("- ") || line == "-") {
            self.flush()?;
            (self.item, self.start) = (true, number);
            self.text.push_str("  ");
            self.text.push_str(line.get(2..).unwrap_or_default());
            self.text.push('\n');
            return Ok(());
        }
        if self.in_items && self.item && !line.is_empty() && !line.starts_with([' ', '#']) {
            // The list is over; what follows (kind, metadata) belongs to the List object.
            self.flush()?;
            (self.in_items, self.item) = (false, false);
        }
        if self.in_items && !self.item && line.starts_with(' ') && !line.trim_start().starts_with('#') {
            // Items that are set in: the list is read as one.
            self.text.push_str("items:\n");
            (self.in_items, self.is_list) = (false, false);
        }
        if self.given_up {
            return Ok(());
        }
        if self.text.len() + line.len() > limit {
            self.given_up = true;
            self.text.clear();
            let place = Place { file: self.name.to_string(), at: self.start };
            return self.bad(
                self.start,
                place.error(Problem::TooLong, "", "", format!("documents of at most {limit} bytes")),
            );
        }
        self.text.push_str(line);
        self.text.push('\n');
        Ok(())
    }
}

fn yaml(input: Input<'_>, reader: Box<dyn BufRead>, each: &mut Each<'_>) -> Result<(), TraceError> {
    let Input { name, limit, lists } = input;
    let mut lines = Lines::new(name.to_string(), reader, limit);
    let mut gathered = Gathered {
        name,
        lists,
        each,
        text: String::new(),
        start: 1,
        in_items: false,
        item: false,
        is_list: false,
        given_up: false,
    };
    loop {
        let number = lines.line() + 1;
        match lines.next_line() {
            Ok(Some(line)) => {
                let line = line.to_string();
                gathered.line(&line, number, limit)?;
            }
            Ok(None) => return gathered.flush(),
            Err(e) => {
                // A document with a line that can't be read is no document; the next one goes on.
                (gathered.given_up, gathered.text) = (true, String::new());
                gathered.bad(number, e)?;
            }
        }
    }
}

/// Takes a part: which of the paths it is from, its key if it is an entry of an object, itself, and where it is.
pub type EachPart<'a> = dyn FnMut(usize, Option<&str>, Value, &Place) -> Result<(), TraceError> + 'a;

/// Reads named parts of one JSON document: of an array each element, of an object each entry, anything else as it is.
///
/// # Errors
/// What `each` returns; the file is no JSON document, or has a part longer than `limit`.
pub fn each_part(
    file: &InputFile,
    limit: usize,
    paths: &[&[&str]],
    each: &mut EachPart<'_>,
) -> Result<(), TraceError> {
    let name = file.display();
    let mut reader = file.open()?;
    let start = reader.fill_buf().map_err(|e| TraceError::from(read_problem(&name, 1, &e)))?;
    if start.is_empty() {
        return Err(empty_file(&name).into());
    }
    let (watched, position) = watched(reader, limit);
    let mut failure = None;
    let mut de = serde_json::Deserializer::from_reader(watched);
    let open: Vec<(usize, &[&str])> = paths.iter().copied().enumerate().collect();
    let inside = open.iter().find(|(_, path)| path.is_empty()).map(|(n, _)| *n);
    let walk = Walk { name: &name, each, position: &position, failure: &mut failure, open, inside };
    let result = walk.deserialize(&mut de).and_then(|()| de.end());
    match (failure, result) {
        (Some(error), _) => Err(error),
        (None, Err(e)) if e.is_eof() && !position.borrow().any => Err(empty_file(&name).into()),
        (None, Err(e)) => Err(stream_error(&name, &position.borrow(), &e, limit)),
        (None, Ok(())) => Ok(()),
    }
}

/// Walks down the paths that are still open; at the end of one gives what is there.
struct Walk<'a, 'b> {
    name: &'a str,
    each: &'a mut EachPart<'b>,
    position: &'a Rc<RefCell<Position>>,
    failure: &'a mut Option<TraceError>,
    /// Number of a path, and what is left of it.
    open: Vec<(usize, &'a [&'a str])>,
    /// Number of the path that ends here.
    inside: Option<usize>,
}

impl Walk<'_, '_> {
    fn give<E: serde::de::Error>(&mut self, key: Option<&str>, value: Value) -> Result<(), E> {
        let Some(path) = self.inside else { return Ok(()) };
        let place = Place { file: self.name.to_string(), at: self.position.borrow().begins };
        let given = (self.each)(path, key, value, &place);
        self.position.borrow_mut().next_object();
        given.map_err(|e| {
            *self.failure = Some(e);
            E::custom("stopped")
        })
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! scalars_ignored {
    ($($visit:ident: $kind:ty),*) => {
        $(fn $visit<E>(self, _: $kind) -> Result<(), E> {
            Ok(())
        })*
    };
}

macro_rules! scalars {
    ($($visit:ident: $kind:ty),*) => {
        $(fn $visit<E: serde::de::Error>(mut self, v: $kind) -> Result<(), E> {
            self.give(None, Value::from(v))
        })*
    };
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON document")
    }

    scalars!(visit_bool: bool, visit_u64: u64, visit_i64: i64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E: serde::de::Error>(mut self) -> Result<(), E> {
        self.give(None, Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        self.position.borrow_mut().next_object();
        if self.inside.is_none() {
            while seq.next_element::<IgnoredAny>()?.is_some() {
                self.position.borrow_mut().next_object();
            }
            return Ok(());
        }
        while let Some(value) = seq.next_element::<Value>()? {
            self.give(None, value)?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            self.position.borrow_mut().next_object();
            if self.inside.is_some() {
                let value = map.next_value()?;
                self.give(Some(&key), value)?;
                continue;
            }
            let further = self.open.iter().filter(|(_, path)| path.first() == Some(&key.as_str()));
            let open: Vec<(usize, &[&str])> = further.map(|(n, path)| (*n, &path[1..])).collect();
            if open.is_empty() {
                map.next_value_seed(Skip { position: self.position })?;
                continue;
            }
            let inside = open.iter().find(|(_, path)| path.is_empty()).map(|(n, _)| *n);
            map.next_value_seed(Walk {
                name: self.name,
                each: &mut *self.each,
                position: self.position,
                failure: &mut *self.failure,
                open,
                inside,
            })?;
        }
        Ok(())
    }
}

/// Passes over a value of any length.
struct Skip<'a> {
    position: &'a Rc<RefCell<Position>>,
}

impl<'de> DeserializeSeed<'de> for Skip<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    scalars_ignored!(visit_bool: bool, visit_u64: u64, visit_i64: i64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Skip { position: self.position })?.is_some() {
            self.position.borrow_mut().next_object();
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(Skip { position: self.position })?;
            self.position.borrow_mut().next_object();
        }
        Ok(())
    }
}

/// A whole JSON document, for those that are small.
///
/// # Errors
/// It can't be read, is longer than `limit`, or is no JSON.
pub fn load_json(file: &InputFile, limit: u64) -> Result<Value, TraceError> {
    let bytes = super::source::read_all(file, limit)?;
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    serde_json::from_slice(text)
        .map_err(|e| json_error(&Place { file: file.display(), at: e.line() as u64 }, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &[u8]) -> (tempfile::TempDir, InputFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, text).unwrap();
        let file = InputFile::named(&path);
        (dir, file)
    }

    /// Kinds, or problems, with lines.
    fn read_with(text: impl AsRef<[u8]>, limit: usize) -> Vec<(String, u64)> {
        let (_dir, file) = written(text.as_ref());
        let mut out = Vec::new();
        each_document(&file, limit, &mut |value, place| {
            out.push(match value {
                Ok(v) => (v["kind"].as_str().unwrap_or("?").to_string(), place.at),
                Err(e) => {
                    let TraceError::Row(row) = &e else { panic!("{e}") };
                    (row.problem.name().to_string(), row.line)
                }
            });
            Ok(())
        })
        .unwrap();
        out
    }

    fn read(text: impl AsRef<[u8]>) -> Vec<(String, u64)> {
        read_with(text, 1 << 16)
    }

    fn kinds(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
        expected.iter().map(|(k, at)| (k.to_string(), *at)).collect()
    }

    #[test]
    fn objects_come_one_by_one_with_their_lines() {
        let (a, b) = (r#"{"kind":"A"}"#, r#"{"kind":"B"}"#);
        let two = kinds(&[("A", 1), ("B", 2)]);
        assert_eq!(read(format!("{a}\n{b}\n")), two, "JSON Lines");
        assert_eq!(read(format!("{a}\r\n{b}")), two, "CRLF, no newline at the end");
        assert_eq!(read(format!("\u{feff}{a}\n\n{b}\n")), kinds(&[("A", 1), ("B", 3)]), "BOM, blank line");
        assert_eq!(read(format!("{a}{b}\n")), kinds(&[("A", 1), ("B", 1)]));
        assert_eq!(read(format!("[{a},\n{b}]")), two, "an array");
        assert_eq!(read(format!("[\n  {a},\n  {b}\n]\n")), kinds(&[("A", 2), ("B", 3)]));
        let pretty = "{\n \"kind\": \"A\"\n}\n{\n \"kind\": \"B\"\n}\n";
        assert_eq!(read(pretty), kinds(&[("A", 1), ("B", 4)]), "as kubectl prints a watch");
        for list in [
            format!(r#"{{"kind":"List","items":[{a},{b}]}}"#),
            format!(r#"{{"apiVersion":"v1","items":[{a},{b}],"kind":"List"}}"#),
            format!(r#"{{"EventRecords":[{a},{b}]}}"#),
            format!(r#"[{{"kind":"List","items":[{a},{b}]}}]"#),
        ] {
            assert_eq!(read(&list), kinds(&[("A", 1), ("B", 1)]), "{list}");
        }
        assert_eq!(read(r#"{"kind":"PodList","items":[{"metadata":{}}]}"#), kinds(&[("Pod", 1)]));
        assert_eq!(read(r#"{"items":[{"metadata":{}}],"kind":"PodList"}"#), kinds(&[("?", 1)]));
        assert_eq!(read(r#"{"kind":"List","items":null}"#), []);
    }

    #[test]
    fn yaml_documents_and_lists() {
        let list = "apiVersion: v1\nitems:\n- kind: A\n  x: 1\n- kind: B\nkind: List\nmetadata: {}\n";
        assert_eq!(read(list), kinds(&[("A", 3), ("B", 5)]));
        let indented = "kind: List\nitems:\n  - kind: A\n    x: 1\n  - kind: B\n";
        assert_eq!(read(indented), kinds(&[("A", 3), ("B", 5)]));
        assert_eq!(read("kind: PodList\nitems:\n  - metadata: {}\n"), kinds(&[("Pod", 3)]));
        assert_eq!(read("# c\nkind: A\n---\n---\nkind: B\n...\n"), kinds(&[("A", 1), ("B", 5)]));
        assert_eq!(read("--- {kind: A}\n--- # c\nkind: B\n"), kinds(&[("A", 1), ("B", 3)]));
        assert_eq!(read("- kind: A\n- kind: B\n"), kinds(&[("?", 1)]), "a list is no object");
        assert_eq!(read("items: []\nkind: List\n"), []);
    }

    #[test]
    fn what_is_bad_is_named_and_the_next_goes_on() {
        let a = r#"{"kind":"A"}"#;
        assert_eq!(
            read(format!("{a}\n{{\"kind\n{a}\n")),
            kinds(&[("A", 1), ("truncated-file", 2), ("A", 3)])
        );
        let long = format!("{a}\n{{\"x\":\"{}\"}}\n{a}\n", "y".repeat(300));
        assert_eq!(read_with(long, 200), kinds(&[("A", 1), ("line-too-long", 2), ("A", 3)]));
        let mut bytes = format!("{a}\n").into_bytes();
        bytes.extend(b"\"\xff\"\n");
        bytes.extend(format!("{a}\n").bytes());
        assert_eq!(read(&bytes), kinds(&[("A", 1), ("bad-utf8", 2), ("A", 3)]));
        assert_eq!(
            read("kind: A\n---\nx: [\n---\nkind: B\n"),
            kinds(&[("A", 1), ("bad-syntax", 3), ("B", 5)])
        );
        let long = format!("kind: A\n---\nx: 1\n{}---\nkind: B\n", "y: 1\n".repeat(100));
        assert_eq!(read_with(long, 200), kinds(&[("A", 1), ("document-too-long", 3), ("B", 105)]));
        // Inside one large document nothing can go on.
        assert_eq!(read(format!("[{a},\n{{\"kind\"]")), kinds(&[("A", 1), ("bad-syntax", 2)]));
        assert_eq!(read(format!("[{a},\n{a}")), kinds(&[("A", 1), ("A", 2), ("truncated-file", 2)]));
        let long = format!("[{a},\n{{\"x\":[{}1]}}]", "1,".repeat(300));
        assert_eq!(read_with(long, 200), kinds(&[("A", 1), ("document-too-long", 2)]));
        assert_eq!(read(format!("[{}", "[".repeat(200))), kinds(&[("nested-too-deeply", 1)]));
        assert_eq!(read(format!("x: {}", "[".repeat(2000))), kinds(&[("nested-too-deeply", 1)]));
        let mut laughs = "a0: &a0 [x, x]\n".to_string();
        for i in 1..40 {
            laughs += &format!("a{i}: &a{i} [*a{0}, *a{0}, *a{0}, *a{0}]\n", i - 1);
        }
        assert_eq!(read(laughs), kinds(&[("nested-too-deeply", 1)]));
        assert_eq!(read(""), kinds(&[("empty-file", 0)]));
        assert_eq!(read(" \n\n"), kinds(&[("empty-file", 0)]));
    }

    #[test]
    fn parts_of_a_large_document() {
        let text = "{\"n\": 3, \"skip\": [1, {\"jobs\": [9]}],\n\"jobs\": [1,\n 2],\n\"a\": {\"b\": {\"x\": 5, \"y\": [6]}, \"c\": 0}}";
        let (_dir, file) = written(text.as_bytes());
        let mut got = Vec::new();
        let paths: [&[&str]; 4] = [&["jobs"], &["a", "b"], &["n"], &["none"]];
        each_part(&file, 100, &paths, &mut |path, key, value, place| {
            got.push((path, key.unwrap_or("").to_string(), value.to_string(), place.at));
            Ok(())
        })
        .unwrap();
        let expected =
            [(2, "", "3", 1), (0, "", "1", 2), (0, "", "2", 3), (1, "x", "5", 4), (1, "y", "[6]", 4)];
        assert_eq!(got, expected.map(|(p, k, v, at)| (p, k.to_string(), v.to_string(), at)));
        // What is passed over may be longer than the limit, what is read may not.
        let long = format!("{{\"skip\":[{}1],\"jobs\":[1]}}", "1,".repeat(300));
        let (_dir, file) = written(long.as_bytes());
        let mut n = 0;
        let mut count = |_: usize, _: Option<&str>, _: Value, _: &Place| {
            n += 1;
            Ok(())
        };
        each_part(&file, 100, &paths, &mut count).unwrap();
        assert_eq!(n, 1);
        for (text, problem) in [
            (format!("{{\"jobs\":[[{}1]]}}", "1,".repeat(300)), Problem::TooLong),
            ("{\"jobs\":[1".to_string(), Problem::Truncated),
            ("{\"jobs\":[1,]}".to_string(), Problem::BadSyntax),
            (String::new(), Problem::EmptyFile),
            (" \n".to_string(), Problem::EmptyFile),
        ] {
            let (_dir, file) = written(text.as_bytes());
            let error = each_part(&file, 100, &paths, &mut |_, _, _, _| Ok(())).unwrap_err();
            assert_eq!(error.problem(), Some(problem), "{error}");
        }
    }
}
