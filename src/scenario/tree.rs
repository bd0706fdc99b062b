//! A YAML document as a tree that knows where each value stands.
//!
//! The tree is built from the parser's events, because only there are positions, duplicate keys and aliases visible; a
//! typed decoder sees them too late. Scalars keep their text and are classed by YAML 1.2's core schema. The tree is
//! also the index from path to line, and what `--set` edits. What could exhaust memory or the stack ends the build:
//! depth, number of values, and both again for what aliases expand to (an alias is a copy). Left out, each with its
//! own error: tags, merge keys, keys that are not scalars.
//!
//! Building costs O(values log keys). A mapping is a list in the file's order; looking a key up is linear.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use saphyr_parser::{Event, Parser, ScalarStyle, Span as YamlSpan};

use super::limits;

/// A place in one of a document's sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Index of the source.
    pub(super) source: u32,
    /// Line from 1.
    pub(super) line: u32,
    /// Column from 1, in characters.
    pub(super) column: u32,
    /// Characters on that line.
    pub(super) width: u32,
}

/// A value.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A scalar: its text and what the core schema takes it for.
    Scalar(String, Class),
    /// A list.
    List(Vec<Node>),
    /// A mapping in the file's order, without duplicate keys.
    Map(Vec<(Key, Node)>),
    /// Stands in for a value that was wrong and has been reported: it decodes as anything.
    Reported,
}

/// What the core schema takes a scalar for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Null,
    Bool,
    Int,
    Float,
    Text,
}

/// A key and its place.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) place: Place,
}

/// A problem found while building; the tree goes on without what it concerns where that is possible.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) place: Option<Place>,
    pub(super) path: Path,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
    /// Every entry of a list; only in `--set`.
    Each,
}

/// The way from the document's root to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path(pub(super) Vec<Step>);

impl Path {
    /// Reads `a.b[0].c`, `a[*].b` and `labels["example.com/x"]`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut rest = text;
        loop {
            if let Some(inner) = rest.strip_prefix('[') {
                if let Some(quoted) = inner.strip_prefix('"') {
                    let (key, after) = quoted.split_once("\"]").ok_or("`[\"` without `\"]`")?;
                    steps.push(Step::Key(key.to_owned()));
                    rest = after;
                } else {
                    let (index, after) = inner.split_once(']').ok_or("`[` without `]`")?;
                    steps.push(match index {
                        "*" => Step::Each,
                        _ => Step::Index(index.parse().map_err(|_| {
                            format!("`{index}` is neither an index nor `*` nor a quoted key")
                        })?),
                    });
                    rest = after;
                }
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let (key, after) = rest.split_at(end);
                if key.is_empty() {
                    return Err("a key is empty".to_owned());
                }
                steps.push(Step::Key(key.to_owned()));
                rest = after;
            }
            rest = match rest.as_bytes().first() {
                None => break,
                Some(b'.') => &rest[1..],
                Some(b'[') => rest,
                Some(_) => return Err(format!("`{rest}` after `]`")),
            };
        }
        if steps.len() > limits::DEPTH {
            return Err(format!("more than {} steps", limits::DEPTH));
        }
        Ok(Self(steps))
    }

    pub(super) fn child(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    pub(super) fn key(&self, key: &str) -> Self {
        self.child(Step::Key(key.to_owned()))
    }

    pub(super) fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if is_plain_key(key) => write!(f, "{}{key}", if i > 0 { "." } else { "" })?,
                Step::Key(key) => write!(f, "[\"{key}\"]")?,
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Each => f.write_str("[*]")?,
            }
        }
        Ok(())
    }
}

fn is_plain_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

impl Node {
    pub(super) fn map(place: Place) -> Self {
        Self { place, value: Value::Map(Vec::new()) }
    }
    pub(super) fn text(place: Place, text: &str) -> Self {
        Self { place, value: Value::Scalar(text.to_owned(), Class::Text) }
    }
    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, Value::Scalar(_, Class::Null))
    }
    pub(super) fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }
    pub(super) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }
    pub(super) fn entry(&self, key: &str) -> Option<&(Key, Self)> {
        self.entries().iter().find(|(k, _)| k.text == key)
    }
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|(_, node)| node)
    }
    pub(super) fn child(&self, step: &Step) -> Option<&Self> {
        match step {
            Step::Key(key) => self.get(key),
            Step::Index(index) => self.items().get(*index),
            Step::Each => None,
        }
    }
    pub(super) fn child_mut(&mut self, step: &Step) -> Option<&mut Self> {
        match (step, &mut self.value) {
            (Step::Key(key), Value::Map(entries)) => {
                entries.iter_mut().find(|(k, _)| k.text == *key).map(|(_, node)| node)
            }
            (Step::Index(index), Value::List(items)) => items.get_mut(*index),
            _ => None,
        }
    }
    pub(super) fn at_mut(&mut self, path: &Path) -> Option<&mut Self> {
        path.0.iter().try_fold(self, |node, step| node.child_mut(step))
    }

    /// The value at a path, or the deepest one on the way to it; the flag tells which.
    pub(super) fn nearest(&self, path: &Path) -> (&Self, bool) {
        let mut node = self;
        for step in &path.0 {
            match node.child(step) {
                Some(child) => node = child,
                None => return (node, false),
            }
        }
        (node, true)
    }

    /// What kind of value it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(_, Class::Null) => "nothing",
            Value::Scalar(_, Class::Bool) => "a boolean",
            Value::Scalar(_, Class::Int | Class::Float) => "a number",
            Value::Scalar(_, Class::Text) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Reported => "an error",
        }
    }

    /// The value on one line, for messages.
    pub(super) fn shown(&self) -> String {
        match &self.value {
            Value::Scalar(_, Class::Null) => "null".to_owned(),
            Value::Scalar(text, _) => super::diagnostic::shorten(text),
            Value::List(items) if items.is_empty() => "[]".to_owned(),
            Value::List(_) => "[...]".to_owned(),
            Value::Map(entries) => match entries.first() {
                None => "{}".to_owned(),
                Some((key, _)) => format!("{{{}: ...}}", super::diagnostic::shorten(&key.text)),
            },
            Value::Reported => String::new(),
        }
    }
}

/// An anchored value, what it weighs, and how deep it is.
struct Anchored {
    node: Node,
    weight: usize,
    depth: usize,
}

/// A list or mapping under construction.
struct Frame {
    node: Node,
    anchor: usize,
    /// Keys seen, with their line.
    seen: BTreeMap<String, u32>,
    /// The key whose value comes next.
    key: Option<Key>,
    /// True while the value to come belongs to a key that was refused.
    skip: bool,
    weight: usize,
    depth: usize,
}

/// Builds the tree of a text. Problems that leave a usable tree are pushed to `problems`; `Err` is one that does not.
/// `Ok(None)` is a document without content.
pub(super) fn build(text: &str, source: u32, problems: &mut Vec<Problem>) -> Result<Option<Node>, Problem> {
    build_behind(0, text, source, problems)
}

/// The same of a text that stands behind so many lines of its source.
pub(super) fn build_behind(
    before: u32,
    text: &str,
    source: u32,
    problems: &mut Vec<Problem>,
) -> Result<Option<Node>, Problem> {
    let fatal = |place, message: String, hint: &str| Problem {
        place,
        path: Path::default(),
        message,
        hint: Some(hint.to_owned()),
    };
    let mut anchors: BTreeMap<usize, Anchored> = BTreeMap::new();
    let mut open: BTreeSet<usize> = BTreeSet::new();
    let mut stack: Vec<Frame> = Vec::new();
    let mut root: Option<Node> = None;
    let mut documents = 0;
    let mut total = 0usize;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let mark = error.marker();
            // The scanner reports a tab at the value before it.
            let tab_in = |line: &str| line.chars().position(|c| c == '\t');
            if error.info().contains("tab")
                && let Some((line, column)) = text
                    .lines()
                    .enumerate()
                    .skip(mark.line().saturating_sub(1))
                    .find_map(|(i, line)| Some((i, tab_in(line)?)))
            {
                let line = before + line as u32 + 1;
                let place = Place { source, line, column: column as u32 + 1, width: 1 };
                return fatal(Some(place), "not valid YAML: a tab".to_owned(), syntax_hint("tab"));
            }
            let line = before + mark.line().max(1) as u32;
            let place = Place { source, line, column: mark.col() as u32 + 1, width: 1 };
            fatal(Some(place), format!("not valid YAML: {}", error.info()), syntax_hint(error.info()))
        })?;
        let mut place = place_of(span, source);
        place.line += before;
        // (value, its anchor, weight, depth), once a value is complete.
        let (node, anchor, weight, depth) = match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(fatal(
                        Some(place),
                        "a second YAML document begins here; a file holds one".to_owned(),
                        "put each document in its own file",
                    ));
                }
                continue;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => continue,
            Event::SequenceStart(anchor, ref tag) | Event::MappingStart(anchor, ref tag) => {
                if tag.is_some() {
                    return Err(fatal(
                        Some(place),
                        "YAML tags are not read".to_owned(),
                        "leave the `!tag` out",
                    ));
                }
                if stack.len() >= limits::DEPTH {
                    return Err(too_deep(place));
                }
                if anchor > 0 {
                    open.insert(anchor);
                }
                let is_map = matches!(event, Event::MappingStart(..));
                let value = if is_map { Value::Map(Vec::new()) } else { Value::List(Vec::new()) };
                if let Some(frame) = stack.last_mut()
                    && matches!(frame.node.value, Value::Map(_))
                    && frame.key.is_none()
                    && !frame.skip
                {
                    return Err(fatal(
                        Some(place),
                        format!(
                            "a key must be a plain word, not {}",
                            if is_map { "a mapping" } else { "a list" }
                        ),
                        "if it is a value, it needs a key before it",
                    ));
                }
                stack.push(Frame {
                    node: Node { place, value },
                    anchor,
                    seen: BTreeMap::new(),
                    key: None,
                    skip: false,
                    weight: 1,
                    depth: 1,
                });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(frame) = stack.pop() else { continue };
                (frame.node, frame.anchor, frame.weight, frame.depth + 1)
            }
            Event::Alias(id) => match anchors.get(&id) {
                Some(found) => {
                    total += found.weight;
                    if total > limits::VALUES {
                        return Err(too_many(place));
                    }
                    if stack.len() + found.depth > limits::DEPTH + 1 {
                        return Err(too_deep(place));
                    }
                    (found.node.clone(), 0, found.weight, found.depth)
                }
                None => {
                    let message =
                        if open.contains(&id) { "this alias contains itself" } else { "unknown alias" };
                    return Err(fatal(Some(place), message.to_owned(), "write the value out"));
                }
            },
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some() {
                    let hint = "leave the `!tag` out; a string that looks like a number goes in quotes";
                    return Err(fatal(Some(place), "YAML tags are not read".to_owned(), hint));
                }
                let class = if style == ScalarStyle::Plain { classify(&text) } else { Class::Text };
                let weight = 1 + text.len() / 64;
                if let Some(frame) = stack.last_mut()
                    && matches!(frame.node.value, Value::Map(_))
                    && frame.key.is_none()
                    && !frame.skip
                {
                    let key = Key { text: text.into_owned(), place };
                    total += weight;
                    frame.weight += weight;
                    if let Some(first) = frame.seen.get(&key.text) {
                        let message = format!("duplicate key `{}`", super::diagnostic::shorten(&key.text));
                        let hint = format!("it already stands on line {first}; remove one of them");
                        let path = path_of(&stack).key(&key.text);
                        problems.push(Problem { place: Some(place), path, message, hint: Some(hint) });
                        stack.last_mut().expect("a mapping is open").skip = true;
                    } else if key.text == "<<" && style == ScalarStyle::Plain {
                        let path = path_of(&stack).key(&key.text);
                        problems.push(Problem {
                            place: Some(place),
                            path,
                            message: "merge keys (`<<`) are not part of YAML 1.2".to_owned(),
                            hint: Some("write the keys out, or use an alias for a whole value".to_owned()),
                        });
                        stack.last_mut().expect("a mapping is open").skip = true;
                    } else {
                        frame.seen.insert(key.text.clone(), place.line);
                        frame.key = Some(key);
                    }
                    if problems.len() >= limits::ERRORS {
                        return Err(fatal(
                            Some(place),
                            "too many errors".to_owned(),
                            "correct the errors above first",
                        ));
                    }
                    continue;
                }
                total += weight - 1;
                (Node { place, value: Value::Scalar(text.into_owned(), class) }, anchor, weight, 1)
            }
        };
        total += 1;
        if total > limits::VALUES {
            return Err(too_many(place));
        }
        if anchor > 0 {
            open.remove(&anchor);
            total += weight;
            if total > limits::VALUES {
                return Err(too_many(place));
            }
            anchors.insert(anchor, Anchored { node: node.clone(), weight, depth });
        }
        match stack.last_mut() {
            None => root = Some(node),
            Some(frame) => {
                frame.weight += weight;
                frame.depth = frame.depth.max(depth);
                match &mut frame.node.value {
                    Value::List(items) => items.push(node),
                    Value::Map(entries) => match frame.key.take() {
                        Some(key) => entries.push((key, node)),
                        None if frame.skip => frame.skip = false,
                        None => {
                            let hint = "write the key out; an alias can only be a value";
                            return Err(fatal(Some(place), "a key must be a plain word".to_owned(), hint));
                        }
                    },
                    _ => {}
                }
            }
        }
    }
    Ok(root.filter(|node| !node.is_null()))
}

fn too_deep(place: Place) -> Problem {
    Problem {
        place: Some(place),
        path: Path::default(),
        message: format!("nested more than {} deep", limits::DEPTH),
        hint: Some("no field of podpace is nested this deep".to_owned()),
    }
}

fn too_many(place: Place) -> Problem {
    Problem {
        place: Some(place),
        path: Path::default(),
        message: format!("more than {} keys and values, aliases expanded", limits::VALUES),
        hint: Some("use `count` for equal nodes and pods, and a trace for many different ones".to_owned()),
    }
}

/// The path of the innermost open list or mapping.
fn path_of(stack: &[Frame]) -> Path {
    let mut steps = Vec::new();
    for frame in &stack[..stack.len().saturating_sub(1)] {
        match (&frame.node.value, &frame.key) {
            (Value::List(items), _) => steps.push(Step::Index(items.len())),
            (_, Some(key)) => steps.push(Step::Key(key.text.clone())),
            _ => {}
        }
    }
    Path(steps)
}

fn place_of(span: YamlSpan, source: u32) -> Place {
    let width = if span.start.line() == span.end.line() {
        span.end.col().saturating_sub(span.start.col())
    } else {
        1
    };
    Place {
        source,
        line: span.start.line().max(1) as u32,
        column: span.start.col() as u32 + 1,
        width: width.max(1) as u32,
    }
}

/// What to try, by the parser's sentence.
fn syntax_hint(info: &str) -> &'static str {
    if info.contains("tab") {
        "indent with spaces; YAML does not allow tabs"
    } else if info.contains("anchor") {
        "an alias (`*name`) needs its anchor (`&name`) before it"
    } else if info.contains("mapping values") {
        "a value with `: ` in it goes in quotes; check the indentation of this line and the one before"
    } else {
        "check brackets, quotes and the indentation of this line and the one before"
    }
}

/// The core schema of YAML 1.2.2, section 10.3.2.
pub(super) fn classify(text: &str) -> Class {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Class::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => return Class::Bool,
        ".nan" | ".NaN" | ".NAN" => return Class::Float,
        _ => {}
    }
    let digits_of = |s: &str, radix: u32| !s.is_empty() && s.chars().all(|c| c.is_digit(radix));
    if text.strip_prefix("0x").is_some_and(|s| digits_of(s, 16))
        || text.strip_prefix("0o").is_some_and(|s| digits_of(s, 8))
    {
        return Class::Int;
    }
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(body, ".inf" | ".Inf" | ".INF") {
        return Class::Float;
    }
    if digits_of(body, 10) {
        return Class::Int;
    }
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        None => (body, None),
        Some(at) => (&body[..at], Some(&body[at + 1..])),
    };
    let exponent_ok = exponent.is_none_or(|e| digits_of(e.strip_prefix(['+', '-']).unwrap_or(e), 10));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if exponent_ok && is_digits(whole) && is_digits(fraction) && !(whole.is_empty() && fraction.is_empty()) {
        return Class::Float;
    }
    Class::Text
}
