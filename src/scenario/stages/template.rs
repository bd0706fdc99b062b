//! What a Go template of a stage comes to.
//!
//! A template is run once for each set of annotations that pods have, over an object of which only that is known which every
//! pod (or node) here shares: one container, no init containers, no readiness gates, addresses once it is asked for them. What
//! differs from object to object (names, images, times, what the status was) is **unknown**: it may be printed, handed on and compared
//! in vain, and ends up as a placeholder in the text. A condition that depends on it can't be decided, and is an error with its
//! line. `scenario::stages` reads the text that comes out, and refuses a placeholder where the model needs a value.
//!
//! Known of the language: text, `{{-` and `-}}`, comments, variables, pipelines, parentheses, `if`, `else if`, `range`, `with`, `else`;
//! of functions `and`, `or`, `not`, `eq`, `ne`, `index`, `len`, `print`, `printf`, `dict`, `list`, `default`, `quote`, `Quote`, `Now`, `StartTime`, `YAML`,
//! `Version`, `NodeConditions` and KWOK's addresses. Others are errors by name.
//!
//! What cannot be known stays so on its way through functions: a text that holds a placeholder is not compared either, nor are `Version`, times,
//! addresses, lists and mappings. Of a mapping that has more than is known here each other key is unknown; only what no object here has is absent.
//!
//! A run has a budget of steps, each weighed by the value it makes, and a limit of text and of nesting, far above KWOK's own templates.
//!
//! Source: Go's `text/template`; kubernetes-sigs/kwok `pkg/utils/gotpl/{renderer,funcs}.go`.
//!
//! Left out: `define`, `template`, `block`, `break`, `continue`, most of sprig.
//!
//! Cost: O(template + values made) a set of annotations, at most [`STEPS`].
use std::collections::BTreeMap;

/// Stands in the text for what is not known.
pub(super) const UNKNOWN: &str = "__unknown__";
/// Stands for a mapping that is left as it is.
pub(super) const KEPT: &str = "__kept__";
/// Nested actions, parentheses, and lists in lists.
const DEPTH: usize = 64;
/// Steps of a run: nodes and values, each as heavy as it is large. KWOK's own templates take some hundred.
const STEPS: usize = 100_000;
/// The text that comes out, in bytes; etcd takes no larger object (`--max-request-bytes`, 1.5 MiB).
const TEXT: usize = 1 << 20;

/// What is wrong, and on which line of the template (from 0).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TemplateError {
    pub(super) line: usize,
    pub(super) message: String,
    pub(super) hint: String,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
    /// A mapping, not empty, of which only these entries are known: what it is.
    Object(String, BTreeMap<String, Value>),
    /// Not known: what it is.
    Unknown(String),
    /// Not known but that it is there, and not empty: what it is.
    Named(String),
}

impl Value {
    pub(super) fn map<const N: usize>(entries: [(&str, Self); N]) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    pub(super) fn object<const N: usize>(what: &str, entries: [(&str, Self); N]) -> Self {
        Self::Object(
            what.to_owned(),
            entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        )
    }

    pub(super) fn unknown(what: &str) -> Self {
        Self::Unknown(what.to_owned())
    }

    pub(super) fn named(what: &str) -> Self {
        Self::Named(what.to_owned())
    }

    /// What is not known.
    fn what(&self) -> Option<&str> {
        match self {
            Self::Unknown(what) | Self::Named(what) => Some(what),
            _ => None,
        }
    }

    /// Why it can't be compared.
    fn incomparable(&self) -> Option<&str> {
        match self {
            Self::Unknown(what) | Self::Named(what) | Self::Object(what, _) => Some(what),
            Self::Text(text) if text.contains(UNKNOWN) || text.contains(KEPT) => {
                Some("a text that is made of what is not known")
            }
            Self::List(_) => Some("a list, which Go does not compare"),
            Self::Map(_) => Some("a mapping, which Go does not compare"),
            Self::Nil | Self::Bool(_) | Self::Int(_) | Self::Text(_) => None,
        }
    }

    /// How heavy it is, and how deep; values are as deep as [`DEPTH`] at most.
    fn weight(&self) -> (usize, usize) {
        let of_text = |text: &String| 1 + text.len() / 64;
        let (mut weight, mut depth) = (1, 0);
        let mut add = |key: usize, value: &Self| {
            let (inner, below) = value.weight();
            weight += key + inner;
            depth = depth.max(below + 1);
        };
        match self {
            Self::Nil | Self::Bool(_) | Self::Int(_) => {}
            Self::Text(text) | Self::Unknown(text) | Self::Named(text) => return (of_text(text), 0),
            Self::List(items) => items.iter().for_each(|item| add(0, item)),
            Self::Map(entries) | Self::Object(_, entries) => {
                entries.iter().for_each(|(key, value)| add(of_text(key), value));
            }
        }
        (weight, depth)
    }

    /// Go's truth; none: it is not known.
    fn truth(&self) -> Result<bool, &str> {
        Ok(match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(entries) => !entries.is_empty(),
            Self::Named(_) | Self::Object(..) => true,
            Self::Unknown(what) => return Err(what),
        })
    }

    fn field(&self, key: &str) -> Self {
        match self {
            Self::Map(entries) => entries.get(key).cloned().unwrap_or(Self::Nil),
            Self::Object(what, entries) => {
                entries.get(key).cloned().unwrap_or_else(|| Self::Unknown(format!("{what}.{key}")))
            }
            Self::Unknown(what) | Self::Named(what) => Self::Unknown(format!("{what}.{key}")),
            _ => Self::Nil,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Nil => "<no value>".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Text(text) => text.clone(),
            Self::List(_) | Self::Map(_) | Self::Object(..) | Self::Unknown(_) | Self::Named(_) => {
                UNKNOWN.to_owned()
            }
        }
    }
}

/// A piece of a template.
#[derive(Debug)]
enum Piece {
    Text(usize, String),
    Action { line: usize, code: String },
}

/// A node of a template's tree.
#[derive(Debug)]
enum Node {
    Text(usize, String),
    Print(usize, Pipeline),
    If(usize, Pipeline, Vec<Node>, Vec<Node>),
    With(usize, Pipeline, Vec<Node>, Vec<Node>),
    Range(usize, Pipeline, Vec<Node>, Vec<Node>),
}

/// `$a, $b := command | command`.
#[derive(Debug)]
struct Pipeline {
    variables: Vec<String>,
    declares: bool,
    commands: Vec<Vec<Operand>>,
}

#[derive(Debug)]
enum Operand {
    Value(Value),
    /// Fields of the dot.
    Field(Vec<String>),
    /// Fields of a variable.
    Variable(String, Vec<String>),
    Function(String),
    Inner(Pipeline, Vec<String>),
}

fn error(line: usize, message: impl Into<String>, hint: impl Into<String>) -> TemplateError {
    TemplateError { line, message: message.into(), hint: hint.into() }
}

fn pieces(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut out = Vec::new();
    let mut rest = text;
    let mut line = 0;
    let mut trim = false;
    loop {
        let (before, after) = match rest.split_once("{{") {
            Some((before, after)) => (before, Some(after)),
            None => (rest, None),
        };
        let mut kept = if trim { before.trim_start() } else { before };
        let begin = line + before.matches('\n').count();
        if after.is_some_and(|after| after.starts_with("- ") || after.starts_with("-\n")) {
            kept = kept.trim_end();
        }
        out.push(Piece::Text(line, kept.to_owned()));
        let Some(after) = after else { return Ok(out) };
        let Some((code, behind)) = split_action(after) else {
            return Err(error(begin, "`{{` without `}}`", "close the action"));
        };
        line = begin + code.matches('\n').count();
        let code = code.strip_prefix('-').filter(|c| c.starts_with([' ', '\n'])).unwrap_or(code);
        trim = code.ends_with(" -") || code.ends_with("\n-");
        let code = if trim { &code[..code.len() - 1] } else { code }.trim();
        if !code.starts_with("/*") {
            out.push(Piece::Action { line: begin, code: code.to_owned() });
        }
        rest = behind;
    }
}

/// The code up to `}}` outside of strings, and what comes after it.
fn split_action(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if text[at..].starts_with("}}") => return Some((&text[..at], &text[at + 2..])),
            None => {}
        }
    }
    None
}

/// A word of an action.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A word, and whether it stands right after what is before it.
    Word(String, bool),
    Text(String),
    Open,
    Close,
    Pipe,
    Comma,
    Declare,
    Assign,
}

fn tokens(code: &str, line: usize) -> Result<Vec<Token>, TemplateError> {
    let mut out: Vec<Token> = Vec::new();
    let mut rest = code;
    loop {
        let trimmed = rest.trim_start();
        let joined = trimmed.len() == rest.len() && !out.is_empty();
        rest = trimmed;
        let Some(c) = rest.chars().next() else { return Ok(out) };
        let (token, used) = match c {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '|' => (Token::Pipe, 1),
            ',' => (Token::Comma, 1),
            ':' if rest.starts_with(":=") => (Token::Declare, 2),
            '=' => (Token::Assign, 1),
            '`' => {
                let end = rest[1..].find('`');
                let end = end.ok_or_else(|| error(line, "a string without its end", "close it with `"))?;
                (Token::Text(rest[1..=end].to_owned()), end + 2)
            }
            '"' => {
                let mut parts = serde_json::Deserializer::from_str(rest).into_iter::<String>();
                match parts.next() {
                    Some(Ok(text)) => (Token::Text(text), parts.byte_offset()),
                    _ => return Err(error(line, "a string that can't be read", "write it as Go does")),
                }
            }
            _ => {
                let end = rest
                    .find(|c: char| c.is_whitespace() || "()|,=:\"`".contains(c))
                    .unwrap_or(rest.len())
                    .max(c.len_utf8());
                (Token::Word(rest[..end].to_owned(), joined), end)
            }
        };
        out.push(token);
        rest = &rest[used..];
    }
}

struct Parser<'a> {
    pieces: std::vec::IntoIter<Piece>,
    functions: &'a [&'a str],
    depth: usize,
}

/// Why a list of nodes ends.
enum Close {
    Text,
    Ended,
    /// What stands behind `else`.
    Else(usize, String),
}

impl Parser<'_> {
    fn nodes(&mut self) -> Result<(Vec<Node>, Close), TemplateError> {
        let mut out = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (line, code) = match piece {
                Piece::Text(line, text) => {
                    out.push(Node::Text(line, text));
                    continue;
                }
                Piece::Action { line, code } => (line, code),
            };
            let word = code.split(|c: char| c.is_whitespace() || c == '(').next().unwrap_or("");
            let rest = code[word.len()..].to_owned();
            match word {
                "end" => return Ok((out, Close::Ended)),
                "else" => return Ok((out, Close::Else(line, rest.trim().to_owned()))),
                "if" | "with" | "range" => out.push(self.block(line, word, &rest)?),
                "define" | "template" | "block" | "break" | "continue" => {
                    let message = format!("`{word}` of a template is not modelled");
                    return Err(error(line, message, "write the template without it"));
                }
                _ => out.push(Node::Print(line, self.pipeline(line, &code)?)),
            }
        }
        Ok((out, Close::Text))
    }

    fn block(&mut self, line: usize, word: &str, rest: &str) -> Result<Node, TemplateError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(error(line, "actions are nested too deep", format!("at most {DEPTH}")));
        }
        let pipeline = self.pipeline(line, rest)?;
        let (body, end) = self.nodes()?;
        let otherwise = match end {
            Close::Text => return Err(error(line, format!("`{word}` without `end`"), "add {{ end }}")),
            Close::Ended => Vec::new(),
            Close::Else(_, rest) if rest.is_empty() => match self.nodes()? {
                (nodes, Close::Ended) => nodes,
                _ => return Err(error(line, format!("`{word}` without `end`"), "add {{ end }}")),
            },
            Close::Else(at, rest) => {
                let inner = rest.split_whitespace().next().unwrap_or("").to_owned();
                if inner != "if" && inner != "with" {
                    return Err(error(at, format!("`else {rest}` can't be read"), "write `else if ..`"));
                }
                vec![self.block(at, &inner, &rest[inner.len()..])?]
            }
        };
        self.depth -= 1;
        Ok(match word {
            "if" => Node::If(line, pipeline, body, otherwise),
            "with" => Node::With(line, pipeline, body, otherwise),
            _ => Node::Range(line, pipeline, body, otherwise),
        })
    }

    fn pipeline(&self, line: usize, code: &str) -> Result<Pipeline, TemplateError> {
        let tokens = tokens(code, line)?;
        let mut at = 0;
        let pipeline = self.pipeline_of(line, &tokens, &mut at, 0)?;
        if at < tokens.len() {
            return Err(error(line, format!("`{code}` can't be read"), "is there a `)` too many?"));
        }
        Ok(pipeline)
    }

    fn pipeline_of(
        &self,
        line: usize,
        tokens: &[Token],
        at: &mut usize,
        depth: usize,
    ) -> Result<Pipeline, TemplateError> {
        if depth > DEPTH {
            return Err(error(line, "parentheses are nested too deep", format!("at most {DEPTH}")));
        }
        let mut pipeline = Pipeline { variables: Vec::new(), declares: false, commands: vec![Vec::new()] };
        let names: Vec<&Token> = tokens[*at..].iter().take(4).collect();
        let variable = |token: &&Token| match token {
            Token::Word(word, _) if word.starts_with('$') && !word.contains('.') => Some(word.clone()),
            _ => None,
        };
        let found = match &names[..] {
            [a, Token::Declare | Token::Assign, ..] => variable(a).map(|a| (vec![a], 1)),
            [a, Token::Comma, b, Token::Declare | Token::Assign] => {
                variable(a).zip(variable(b)).map(|(a, b)| (vec![a, b], 3))
            }
            _ => None,
        };
        if let Some((variables, operator)) = found {
            pipeline.declares = *names[operator] == Token::Declare;
            pipeline.variables = variables;
            *at += operator + 1;
        }
        while let Some(token) = tokens.get(*at) {
            *at += 1;
            let operand = match token {
                Token::Close if depth > 0 => {
                    *at -= 1;
                    break;
                }
                Token::Pipe => {
                    pipeline.commands.push(Vec::new());
                    continue;
                }
                Token::Open => {
                    let inner = self.pipeline_of(line, tokens, at, depth + 1)?;
                    if tokens.get(*at) != Some(&Token::Close) {
                        return Err(error(line, "`(` without `)`", "close it"));
                    }
                    *at += 1;
                    let mut fields = Vec::new();
                    if let Some(Token::Word(word, true)) = tokens.get(*at)
                        && word.starts_with('.')
                    {
                        fields = path(word);
                        *at += 1;
                    }
                    Operand::Inner(inner, fields)
                }
                Token::Text(text) => Operand::Value(Value::Text(text.clone())),
                Token::Word(word, _) => self.word(line, word)?,
                Token::Close | Token::Comma | Token::Declare | Token::Assign => {
                    return Err(error(line, "an action that can't be read", "check its brackets and commas"));
                }
            };
            if let Some(command) = pipeline.commands.last_mut() {
                command.push(operand);
            }
        }
        if pipeline.commands.iter().any(Vec::is_empty) {
            return Err(error(line, "an action, or a part of it, is empty", "write a value or a function"));
        }
        Ok(pipeline)
    }

    fn word(&self, line: usize, word: &str) -> Result<Operand, TemplateError> {
        if let Some(rest) = word.strip_prefix('$') {
            let (name, fields) = rest.split_once('.').unwrap_or((rest, ""));
            return Ok(Operand::Variable(format!("${name}"), path(fields)));
        }
        if word.starts_with('.') {
            return Ok(Operand::Field(path(word)));
        }
        Ok(match word {
            "true" => Operand::Value(Value::Bool(true)),
            "false" => Operand::Value(Value::Bool(false)),
            "nil" => Operand::Value(Value::Nil),
            _ if word.parse::<i64>().is_ok() => Operand::Value(Value::Int(word.parse().unwrap_or(0))),
            _ if self.functions.contains(&word) => Operand::Function(word.to_owned()),
            _ => {
                let message = format!("function `{word}` of a template is not modelled");
                let hint = format!("write it without; there are: {}", self.functions.join(", "));
                return Err(error(line, message, hint));
            }
        })
    }
}

fn path(text: &str) -> Vec<String> {
    text.split('.').filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

const FUNCTIONS: [&str; 24] = [
    "and",
    "or",
    "not",
    "eq",
    "ne",
    "index",
    "len",
    "print",
    "printf",
    "dict",
    "list",
    "default",
    "quote",
    "Quote",
    "Now",
    "StartTime",
    "YAML",
    "Version",
    "NodeConditions",
    "NodeIP",
    "NodeName",
    "NodePort",
    "PodIP",
    "NodeIPWith",
];
const MORE_FUNCTIONS: [&str; 3] = ["NodeIPsWith", "PodIPWith", "PodIPsWith"];

struct Run {
    out: String,
    root: Value,
    /// Variables by scope.
    scopes: Vec<BTreeMap<String, Value>>,
    has_time: bool,
    /// Of [`STEPS`].
    steps: usize,
}

/// What a template comes to over an object, and whether it bears the time.
pub(super) fn render(text: &str, object: &Value) -> Result<(String, bool), TemplateError> {
    let functions: Vec<&str> = FUNCTIONS.iter().chain(&MORE_FUNCTIONS).copied().collect();
    let mut parser = Parser { pieces: pieces(text)?.into_iter(), functions: &functions, depth: 0 };
    let nodes = match parser.nodes()? {
        (nodes, Close::Text) => nodes,
        (_, Close::Ended) => return Err(error(0, "`end` without a beginning", "remove it")),
        (_, Close::Else(line, _)) => return Err(error(line, "`else` without a beginning", "remove it")),
    };
    let mut run = Run {
        out: String::new(),
        root: object.clone(),
        scopes: vec![BTreeMap::from([("$".to_owned(), object.clone())])],
        has_time: false,
        steps: 0,
    };
    run.all(&nodes, object)?;
    Ok((run.out, run.has_time))
}

impl Run {
    fn spend(&mut self, line: usize, steps: usize) -> Result<(), TemplateError> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps <= STEPS {
            return Ok(());
        }
        let message = "the template does too much: its lists, texts or loops grow without end";
        Err(error(line, message, format!("at most {STEPS} steps; KWOK's own take some hundred")))
    }

    /// A value, if there is room for it.
    fn made(&mut self, line: usize, value: Value) -> Result<Value, TemplateError> {
        let (weight, depth) = value.weight();
        if depth > DEPTH {
            return Err(error(line, "lists or mappings are nested too deep", format!("at most {DEPTH}")));
        }
        self.spend(line, weight)?;
        Ok(value)
    }

    fn print(&mut self, line: usize, text: &str) -> Result<(), TemplateError> {
        if self.out.len() + text.len() > TEXT {
            let hint = format!("at most {} MiB; etcd takes no larger object", TEXT >> 20);
            return Err(error(line, "what the template comes to is too long", hint));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn all(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        for node in nodes {
            match node {
                Node::Text(line, text) => {
                    self.spend(*line, 1 + text.len() / 64)?;
                    self.print(*line, text)?;
                }
                Node::Print(line, pipeline) => {
                    let value = self.pipeline(*line, pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        self.print(*line, &value.text())?;
                    }
                }
                Node::If(line, pipeline, body, otherwise) => {
                    self.scopes.push(BTreeMap::new());
                    let value = self.pipeline(*line, pipeline, dot)?;
                    let body = if decided(*line, &value)? { body } else { otherwise };
                    self.all(body, dot)?;
                    self.scopes.pop();
                }
                Node::With(line, pipeline, body, otherwise) => {
                    self.scopes.push(BTreeMap::new());
                    let value = self.pipeline(*line, pipeline, dot)?;
                    if decided(*line, &value)? {
                        self.all(body, &value)?;
                    } else {
                        self.all(otherwise, dot)?;
                    }
                    self.scopes.pop();
                }
                Node::Range(line, pipeline, body, otherwise) => {
                    let items: Vec<(Value, Value)> = match self.pipeline(*line, pipeline, dot)? {
                        Value::Nil => Vec::new(),
                        Value::List(items) => {
                            (0..).zip(items).map(|(at, item)| (Value::Int(at), item)).collect()
                        }
                        Value::Map(entries) => {
                            entries.into_iter().map(|(key, value)| (Value::Text(key), value)).collect()
                        }
                        other => {
                            let what = other.what().unwrap_or("this");
                            let message = format!("how often `range` runs over {what} is not known");
                            return Err(error(
                                *line,
                                message,
                                "range over what every object here has, such as .spec.containers",
                            ));
                        }
                    };
                    if items.is_empty() {
                        self.all(otherwise, dot)?;
                    }
                    for (key, item) in items {
                        // Its value is there up to three times.
                        self.spend(*line, 1 + 2 * item.weight().0)?;
                        let mut scope = BTreeMap::new();
                        match &pipeline.variables[..] {
                            [value] => drop(scope.insert(value.clone(), item.clone())),
                            [index, value] => {
                                scope.insert(index.clone(), key);
                                scope.insert(value.clone(), item.clone());
                            }
                            _ => {}
                        }
                        self.scopes.push(scope);
                        self.all(body, &item)?;
                        self.scopes.pop();
                    }
                }
            }
        }
        Ok(())
    }

    fn pipeline(&mut self, line: usize, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(line, command, dot, value)?);
        }
        let value = value.unwrap_or(Value::Nil);
        if let [name] = &pipeline.variables[..] {
            let known = self.scopes.iter().rposition(|scope| scope.contains_key(name));
            let at = match known {
                Some(at) if !pipeline.declares => at,
                None if !pipeline.declares => {
                    return Err(error(line, format!("variable {name} is not declared"), "write `:=`"));
                }
                _ => self.scopes.len() - 1,
            };
            self.spend(line, value.weight().0)?;
            self.scopes[at].insert(name.clone(), value.clone());
        }
        Ok(value)
    }

    fn operand(&mut self, line: usize, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        let walk = |value: &Value, fields: &[String]| match fields {
            [] => value.clone(),
            [first, rest @ ..] => rest.iter().fold(value.field(first), |value, key| value.field(key)),
        };
        let value = match operand {
            Operand::Value(value) => value.clone(),
            Operand::Field(fields) => walk(dot, fields),
            Operand::Variable(name, fields) => {
                let found = self.scopes.iter().rev().find_map(|scope| scope.get(name));
                let value = found.ok_or_else(|| {
                    error(line, format!("variable {name} is not declared"), "declare it with `:=`")
                })?;
                walk(value, fields)
            }
            Operand::Function(name) => return self.call(line, name, Vec::new()),
            Operand::Inner(pipeline, fields) => walk(&self.pipeline(line, pipeline, dot)?, fields),
        };
        self.made(line, value)
    }

    fn command(
        &mut self,
        line: usize,
        command: &[Operand],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, TemplateError> {
        if let [Operand::Function(name), arguments @ ..] = command {
            let mut values = Vec::new();
            for argument in arguments {
                values.push(self.operand(line, argument, dot)?);
            }
            values.extend(piped);
            return self.call(line, name, values);
        }
        match command {
            [one] if piped.is_none() => self.operand(line, one, dot),
            _ => Err(error(line, "a value is called as if it were a function", "write `function argument`")),
        }
    }

    fn call(&mut self, line: usize, name: &str, values: Vec<Value>) -> Result<Value, TemplateError> {
        let value = self.function(line, name, values)?;
        self.made(line, value)
    }

    fn function(&mut self, line: usize, name: &str, values: Vec<Value>) -> Result<Value, TemplateError> {
        let few = || error(line, format!("`{name}` has too few arguments"), "see Go's text/template");
        Ok(match name {
            "and" | "or" => {
                let mut last = Value::Nil;
                for value in values {
                    let truth = match value.truth() {
                        Ok(truth) => truth,
                        // Whatever it is, nothing behind it is looked at.
                        Err(_) => return Ok(value),
                    };
                    last = value;
                    if truth == (name == "or") {
                        break;
                    }
                }
                last
            }
            "not" => match values.first().ok_or_else(few)?.truth() {
                Ok(truth) => Value::Bool(!truth),
                Err(what) => Value::unknown(what),
            },
            "eq" | "ne" => {
                let [first, others @ ..] = &values[..] else { return Err(few()) };
                let same = others.contains(first);
                match values.iter().find_map(Value::incomparable) {
                    // Whatever is there is not nil.
                    Some(_)
                        if values.contains(&Value::Nil)
                            && values
                                .iter()
                                .all(|value| *value == Value::Nil || value.truth() == Ok(true)) =>
                    {
                        Value::Bool(name == "ne")
                    }
                    Some(what) => Value::unknown(what),
                    None => Value::Bool(same == (name == "eq")),
                }
            }
            "index" => {
                let [value, keys @ ..] = &values[..] else { return Err(few()) };
                let step = |value: Value, key: &Value| match (&value, key) {
                    (Value::List(items), Value::Int(at)) => {
                        usize::try_from(*at).ok().and_then(|at| items.get(at)).cloned().unwrap_or(Value::Nil)
                    }
                    (Value::Map(_) | Value::Object(..) | Value::Unknown(_), Value::Text(key))
                        if !key.contains(UNKNOWN) =>
                    {
                        value.field(key)
                    }
                    (Value::Map(_) | Value::Object(..), Value::Text(_)) => Value::unknown("an entry"),
                    _ => value.what().or(key.what()).map_or(Value::Nil, Value::unknown),
                };
                keys.iter().fold(value.clone(), step)
            }
            "len" => match values.first().ok_or_else(few)? {
                Value::List(items) => Value::Int(items.len() as i64),
                Value::Map(entries) => Value::Int(entries.len() as i64),
                Value::Text(text) if !text.contains(UNKNOWN) => Value::Int(text.len() as i64),
                _ => Value::unknown("a length"),
            },
            "print" | "printf" => Value::unknown("a printed text"),
            "dict" if values.iter().step_by(2).any(|key| key.incomparable().is_some()) => {
                Value::unknown("a mapping whose keys are not known")
            }
            "dict" => {
                let pairs = values.chunks_exact(2).map(|pair| (pair[0].text(), pair[1].clone()));
                Value::Map(pairs.collect())
            }
            "list" => Value::List(values),
            "default" => {
                let [instead, given] = &values[..] else { return Err(few()) };
                match given.truth() {
                    Ok(false) => instead.clone(),
                    _ => given.clone(),
                }
            }
            "Quote" | "quote" => match values.first().ok_or_else(few)? {
                // A text in quotes is not empty.
                Value::Unknown(what) | Value::Named(what) | Value::Object(what, _) => Value::named(what),
                Value::Nil => Value::Text("\"null\"".to_owned()),
                value => Value::Text(serde_json::Value::from(value.text()).to_string()),
            },
            "Now" => {
                self.has_time = true;
                Value::named("the time")
            }
            "StartTime" => Value::named("when KWOK started"),
            "YAML" => match values.first().ok_or_else(few)? {
                Value::Nil => Value::Text(" null".to_owned()),
                Value::Text(_) | Value::Bool(_) | Value::Int(_) => {
                    Value::Text(serde_json::Value::from(values[0].text()).to_string())
                }
                Value::Named(what) => Value::named(what),
                value => {
                    let indent = match values.get(1) {
                        Some(Value::Int(by)) => usize::try_from(*by).unwrap_or(0).min(DEPTH) * 2,
                        _ => 0,
                    };
                    let mark = if value.field(KEPT) == Value::Text(KEPT.to_owned()) { KEPT } else { UNKNOWN };
                    Value::Text(format!("\n{}{mark}: {mark}\n", " ".repeat(indent)))
                }
            },
            "NodeConditions" => node_conditions(),
            "NodePort" => Value::Int(10_247),
            "Version" => Value::named("the version of KWOK"),
            "NodeName" => self.root.field("metadata").field("name"),
            "NodeIPsWith" | "PodIPsWith" => Value::List(vec![Value::named("an address")]),
            _ => Value::named("an address"),
        })
    }
}

fn decided(line: usize, value: &Value) -> Result<bool, TemplateError> {
    value.truth().map_err(|what| {
        let message = format!("what becomes of this depends on {what}, which is not known here");
        error(line, message, "write a stage for each case, with a selector that tells them apart")
    })
}

/// `NodeConditions`.
fn node_conditions() -> Value {
    let conditions = [
        ("Ready", "True"),
        ("MemoryPressure", "False"),
        ("DiskPressure", "False"),
        ("PIDPressure", "False"),
        ("NetworkUnavailable", "False"),
    ];
    let text = |text: &str| Value::Text(text.to_owned());
    let one = |(kind, status): (&str, &str)| {
        Value::map([
            ("type", text(kind)),
            ("status", text(status)),
            ("reason", Value::named("the reason of a condition")),
            ("message", Value::named("the message of a condition")),
        ])
    };
    Value::List(conditions.into_iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> Value {
        let container = Value::map([("name", Value::unknown("the name of a container"))]);
        Value::map([
            ("metadata", Value::map([("name", Value::named("its name"))])),
            ("spec", Value::map([("containers", Value::List(vec![container]))])),
        ])
    }

    fn rendered(text: &str) -> String {
        render(text, &object()).unwrap().0
    }

    /// What Go's text/template says of the same.
    #[test]
    fn actions_are_those_of_go() {
        assert_eq!(rendered("a {{- /* no */ -}} b"), "ab");
        assert_eq!(rendered("a {{- 1 -}} b"), "a1b");
        assert_eq!(rendered("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}"), "2");
        assert_eq!(rendered("{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ end }}{{ $x }}"), "1");
        assert_eq!(rendered("{{ range $i, $c := .spec.containers }}{{ $i }};{{ end }}"), "0;");
        assert_eq!(rendered("{{ range .spec.initContainers }}x{{ else }}none{{ end }}"), "none");
        assert_eq!(rendered("{{ if .spec.initContainers }}a{{ else if not .x }}b{{ else }}c{{ end }}"), "b");
        assert_eq!(rendered("{{ with NodeIP }}{{ . | Quote }}{{ end }}"), UNKNOWN);
        assert_eq!(rendered("{{ or .metadata.annotations.x \"else\" }}"), "else");
        assert_eq!(rendered("{{ (index (dict \"a\" 7) \"a\") }}"), "7");
        assert_eq!(
            rendered("{{ range NodeConditions }}{{ if eq .type \"Ready\" }}{{ .status }}{{ end }}{{ end }}"),
            "True"
        );
        assert_eq!(rendered("{{ .metadata.name }}"), UNKNOWN);
        assert_eq!(rendered("{{ \"}}\" }}"), "}}");
    }

    #[test]
    fn what_cannot_be_known_or_read_is_an_error_with_its_line() {
        let wrong = |text: &str| render(text, &object()).unwrap_err();
        let unknown = wrong("a\nb\n{{ if eq .metadata.name \"x\" }}{{ end }}");
        assert_eq!((unknown.line, unknown.message.contains("its name")), (2, true));
        assert!(wrong("\n{{ randAlpha 5 }}").message.contains("function `randAlpha`"));
        assert!(wrong("{{ if true }}").message.contains("without `end`"));
        assert!(wrong("{{ end }}").message.contains("`end` without"));
        assert!(wrong("{{ $x }}").message.contains("not declared"));
        assert!(wrong("{{ range .metadata.name }}{{ end }}").message.contains("how often"));
        for broken in
            ["{{", "{{ }}", "{{ ( }}", "{{ ) }}", "{{ \"a }}", "{{ | }}", "{{ $x := }}", "{{ 1 2 }}"]
        {
            wrong(broken);
        }
        let deep = format!("{}{}", "{{ if true }}".repeat(100), "{{ end }}".repeat(100));
        assert!(wrong(&deep).message.contains("too deep"));
        assert!(wrong(&format!("{{{{ {} }}}}", "(".repeat(1000))).message.contains("too deep"));
    }

    /// What is made of the unknown is compared no more than it.
    #[test]
    fn what_is_made_of_the_unknown_is_not_known() {
        for condition in [
            "eq (Quote .metadata.name) \"\\\"x\\\"\"",
            "ne (.metadata.name | Quote | Quote) \"x\"",
            "eq (YAML .metadata.name 0) \"x\"",
            "eq (YAML .spec.containers 1) \"x\"",
            "eq Version \"v0.7.0\"",
            "eq Now \"2025-01-01T00:00:00Z\"",
            "eq (Quote Now) \"x\"",
            "eq StartTime \"2025-01-01T00:00:00Z\"",
            "eq NodeIP \"10.0.0.1\"",
            "eq (index (NodeIPsWith \"a\") 0) \"10.0.0.1\"",
            "eq .spec.containers .spec.containers",
            "eq (len (Quote .spec.containers)) 3",
            "index (dict .metadata.name 1) \"a\"",
            "index (dict (Quote (list 1)) 1) \"a\"",
            "printf \"%s\" \"a\"",
        ] {
            let text = format!("a\n{{{{ if {condition} }}}}b{{{{ end }}}}");
            let error = render(&text, &object()).expect_err(condition);
            assert_eq!(error.line, 1, "{condition}");
            assert!(error.message.contains("not known here"), "{condition}: {}", error.message);
        }
        let reason = "{{ range NodeConditions }}{{ if eq .reason \"KubeletReady\" }}a{{ end }}{{ end }}";
        let error = render(reason, &object()).unwrap_err();
        assert!(error.message.contains("the reason of a condition"), "{}", error.message);
        // There it is, whatever it is.
        assert_eq!(
            rendered(
                "{{ if Now }}a{{ end }}{{ if Version }}b{{ end }}{{ if Quote .metadata.name }}c{{ end }}"
            ),
            "abc"
        );
        assert_eq!(rendered("{{ if eq .metadata.name nil }}a{{ else }}b{{ end }}"), "b");
    }

    /// Loops in loops, lists that double, and lists in lists end in an error with its line.
    #[test]
    fn a_template_that_grows_without_end_is_an_error() {
        let wrong = |text: &str| {
            let error = render(text, &object()).unwrap_err();
            (error.line, error.message)
        };
        let loops = format!("a\n{}{}", "{{ range list 1 1 }}".repeat(40), "{{ end }}".repeat(40));
        assert_eq!(wrong(&loops).0, 1);
        let begin = "{{ $x := list 1 }}\n";
        let (line, message) = wrong(&format!("{begin}{}", "{{ $x = list $x $x }}\n".repeat(40)));
        assert!((10..20).contains(&line) && message.contains("too much"), "{line}: {message}");
        let (line, message) = wrong(&format!("{begin}{}", "{{ $x = list $x }}\n".repeat(50_000)));
        assert!((60..70).contains(&line) && message.contains("too deep"), "{line}: {message}");
        let (_, message) = wrong(&format!("{begin}{}", "{{ $x = dict \"a\" $x }}".repeat(50_000)));
        assert!(message.contains("too deep"), "{message}");
        let quotes = format!("{{{{ $x := \"'\" }}}}{}", "{{ $x = $x | Quote }}".repeat(60));
        assert!(wrong(&quotes).1.contains("too much"));
        let long = format!("{{{{ range list{} }}}}{}{{{{ end }}}}", " 1".repeat(1000), "x".repeat(2000));
        assert!(wrong(&long).1.contains("too long"));
        let unknown =
            format!("{{{{ $x := .metadata.name }}}}{}", "{{ $x = $x.aaaaaaaaaaaaaaaa }}".repeat(20_000));
        assert!(wrong(&unknown).1.contains("too much"));
    }
}
