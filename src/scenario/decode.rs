//! From the tree to typed values, with every error.
//!
//! serde stops at the first error. Here each error carries the path, the place and the value; the wrong value is then
//! replaced by a stand-in that decodes as anything (an unknown key is removed, a missing one is filled in), and decoding
//! starts again, until nothing is wrong or there are too many errors. A document with e errors and n values costs
//! O((e + 1) n).

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected,
    IntoDeserializer, MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};

use super::diagnostic::{did_you_mean, nearest};
use super::limits;
use super::text::RAW_TEXT;
use super::tree::{Class, Key, Node, Path, Place, Problem, Step, Value};

/// What a decoding found: the value, which is meaningless under the paths of `reported`, and the errors.
pub(super) struct Decoded<T> {
    /// `None` only if there were too many errors.
    pub(super) value: Option<T>,
    pub(super) problems: Vec<Problem>,
    /// Paths of the values that were replaced.
    pub(super) reported: Vec<Path>,
}

/// Decodes a tree, collecting all errors.
pub(super) fn decode<T: DeserializeOwned>(tree: &Node) -> Decoded<T> {
    let mut copy: Option<Node> = None;
    let mut problems: Vec<Problem> = Vec::new();
    let mut reported: Vec<Path> = Vec::new();
    // Fields that are missing because their key was misspelt, which has been said already.
    let mut misspelt: Vec<Path> = Vec::new();
    loop {
        let node = copy.as_ref().unwrap_or(tree);
        let error = match T::deserialize(node) {
            Ok(value) => return Decoded { value: Some(value), problems, reported },
            Err(error) => error,
        };
        let mut path = Path(error.path.iter().rev().cloned().collect());
        let tree = copy.get_or_insert_with(|| tree.clone());
        let place = error.place;
        match error.kind {
            Kind::UnknownField { field, expected } => {
                if let Some(Node { value: Value::Map(entries), .. }) = tree.at_mut(&path) {
                    let present: Vec<&str> = entries.iter().map(|(key, _)| key.text.as_str()).collect();
                    let absent = expected.iter().copied().filter(|name| !present.contains(name));
                    if let Some(meant) = nearest(&field, absent) {
                        misspelt.push(path.key(meant));
                    }
                    entries.retain(|(key, _)| key.text != field);
                }
                let hint = unknown_key_hint(&path, &field, expected);
                path = path.key(&field);
                problems.push(Problem { place, path, message: "unknown key".to_owned(), hint: Some(hint) });
            }
            Kind::MissingField(field) => {
                let full = path.key(field);
                if let Some(parent) = tree.at_mut(&path) {
                    let stand_in = Node { place: parent.place, value: Value::Reported };
                    let key = Key { text: field.to_owned(), place: parent.place };
                    match &mut parent.value {
                        Value::Map(entries) => entries.push((key, stand_in)),
                        other => *other = Value::Map(vec![(key, stand_in)]),
                    }
                }
                if !misspelt.contains(&full) {
                    problems.push(Problem {
                        place,
                        path: full.clone(),
                        message: "required, but missing".to_owned(),
                        hint: Some(format!("add `{field}:` to this mapping")),
                    });
                }
                reported.push(full);
            }
            kind => {
                let (message, hint) = match kind {
                    Kind::Custom(message) => with_hint(message),
                    Kind::UnknownVariant { variant, expected } => {
                        let choices: Vec<String> = expected.iter().map(|name| format!("`{name}`")).collect();
                        let message = match choices.split_last() {
                            Some((last, [])) => format!("expected {last}"),
                            Some((last, others)) => format!("expected {} or {last}", others.join(", ")),
                            None => "no value is allowed".to_owned(),
                        };
                        let hint = nearest(&variant, expected.iter().copied())
                            .map(|n| format!("did you mean `{n}`?"));
                        (message, hint)
                    }
                    Kind::Mismatch { expected, hint } => {
                        (format!("expected {expected}"), hint.map(str::to_owned))
                    }
                    Kind::UnknownField { .. } | Kind::MissingField(_) => unreachable!("matched above"),
                };
                let message = match error.value {
                    Some(value) => format!("{message}, got {value}"),
                    None => message,
                };
                match tree.at_mut(&path) {
                    Some(node) => node.value = Value::Reported,
                    None => return Decoded { value: None, problems, reported },
                }
                let hint = hint.or_else(|| Some("`podpace schema` describes every field".to_owned()));
                problems.push(Problem { place, path: path.clone(), message, hint });
                reported.push(path);
            }
        }
        if problems.len() >= limits::ERRORS {
            return Decoded { value: None, problems, reported };
        }
    }
}

/// Takes the advice out of a scalar's sentence: "not a suffix (did you mean `Gi`?): expected ...".
fn with_hint(message: String) -> (String, Option<String>) {
    if let Some((before, rest)) = message.split_once(" (did you mean ")
        && let Some((meant, after)) = rest.split_once("?)")
    {
        return (format!("{before}{after}"), Some(format!("did you mean {meant}?")));
    }
    let hint = if message.starts_with("negative") {
        Some("take the sign away")
    } else if message.starts_with("too large")
        || message.contains("larger than")
        || message.contains("of this size")
    {
        Some("is there a digit too many, or another unit meant?")
    } else {
        None
    };
    if hint.is_none() {
        if let Some((wrong, expected)) = message.split_once(": expected ") {
            return (wrong.to_owned(), Some(format!("write {expected}")));
        }
        if let Some((expected, examples)) = message.split_once(", such as ") {
            return (expected.to_owned(), Some(format!("such as {examples}")));
        }
    }
    (message, hint.map(str::to_owned))
}

/// Keys that people bring from Kubernetes or from the wrong level, and where they belong.
fn unknown_key_hint(parent: &Path, field: &str, expected: &[&str]) -> String {
    let in_pods = matches!(parent.0.first(), Some(Step::Key(k)) if k == "workload") && parent.0.len() > 1;
    let in_workload = matches!(&parent.0[..], [Step::Key(k)] if k == "workload");
    let in_cluster = matches!(&parent.0[..], [Step::Key(k)] if k == "cluster");
    let in_scheduler = matches!(&parent.0[..], [Step::Key(k)] if k == "scheduler");
    let known = match field {
        "resources" | "cpu" | "memory" if in_pods => Some("write `requests: {cpu: 100m, memory: 500Mi}`"),
        "limits" if in_pods => Some("leave it out: only requests are scheduled"),
        "spec" | "metadata" | "status" => {
            Some("the fields of a scenario stand directly, without spec or metadata")
        }
        "qps" | "burst" if in_scheduler => Some("write `client: {qps: 50, burst: 100}`"),
        "daemonSets" if in_workload => {
            Some("DaemonSets are not modelled here; give them as `workload.manifests`")
        }
        "activeDeadlineSeconds" | "backoffLimitPerIndex" | "podFailurePolicy" | "suspend" if in_pods => {
            Some("this field of a Job is not modelled; leave it out")
        }
        "updateStrategy" | "strategy" | "minReadySeconds" if in_pods => {
            Some("only `strategy` and `minReadySeconds` of `deployments` are modelled; leave it out")
        }
        "limitRanges" if in_cluster => Some(
            "LimitRanges are not modelled here, where pods have no containers; write the requests that they lead to into the pods, or give pods and LimitRanges as `workload.manifests`",
        ),
        "scopes" | "scopeSelector" => Some("scopes of quotas are not modelled; leave it out"),
        "autoscaler" | "clusterAutoscaler" | "karpenter" => {
            Some("write `autoscaler: {kind: cluster-autoscaler, ..}` into `cluster`")
        }
        "stages" => Some("write `nodeLifecycle: {kind: kwok, stages: [FILE]}` into `controlPlane`"),
        "transformations" | "transforms" if in_workload => Some("write `transform: {loadScale: 2}`"),
        _ => None,
    };
    known.map_or_else(|| did_you_mean(field, expected), str::to_owned)
}

/// Why decoding stopped.
#[derive(Debug)]
enum Kind {
    Custom(String),
    Mismatch { expected: String, hint: Option<&'static str> },
    UnknownField { field: String, expected: &'static [&'static str] },
    UnknownVariant { variant: String, expected: &'static [&'static str] },
    MissingField(&'static str),
}

/// One error: its reason, its path from the innermost step outwards, and its place once known.
#[derive(Debug)]
pub(super) struct Error {
    kind: Kind,
    path: Vec<Step>,
    place: Option<Place>,
    value: Option<String>,
}

impl Error {
    fn new(kind: Kind) -> Self {
        Self { kind, path: Vec::new(), place: None, value: None }
    }
    /// Fills in the place and value unless a deeper one is known.
    fn at(mut self, node: &Node) -> Self {
        if self.place.is_none() {
            self.place = Some(node.place);
            self.value = Some(match &node.value {
                Value::Scalar(_, Class::Null) => "nothing".to_owned(),
                Value::Scalar(..) => format!("`{}`", node.shown()),
                Value::List(items) if items.is_empty() => "an empty list".to_owned(),
                _ => node.kind().to_owned(),
            });
        }
        self
    }
    fn under(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }
}

impl std::error::Error for Error {}
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Kind::Custom(message.to_string()))
    }
    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = in_words(&expected.to_string());
        let hint = match unexpected {
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) | Unexpected::Bool(_)
                if expected == "a string" =>
            {
                Some("put it in quotes to make it a string")
            }
            Unexpected::Float(_) if expected.starts_with("a whole number") => {
                Some("write it without a fraction or exponent")
            }
            Unexpected::Str(text) if expected.contains("number") && text.parse::<f64>().is_ok() => {
                Some("leave the quotes out")
            }
            Unexpected::Str("yes" | "no" | "on" | "off") if expected.contains("true or false") => {
                Some("YAML 1.2 writes true and false")
            }
            Unexpected::Map if expected.starts_with("a list") => Some("begin each entry with `- `"),
            _ => None,
        };
        Self::new(Kind::Mismatch { expected, hint })
    }
    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let hint = match unexpected {
            Unexpected::Signed(value) if value < 0 => Some("take the sign away"),
            _ => None,
        };
        Self::new(Kind::Mismatch { expected: in_words(&expected.to_string()), hint })
    }
    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownVariant { variant: variant.to_owned(), expected })
    }
    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownField { field: field.to_owned(), expected })
    }
    fn missing_field(field: &'static str) -> Self {
        Self::new(Kind::MissingField(field))
    }
}

/// serde's and Rust's words for what was expected, in the reader's.
fn in_words(expected: &str) -> String {
    match expected {
        "u64" | "u32" | "usize" => "a whole number, zero or more".to_owned(),
        "i32" => format!("a whole number from {} to {}", i32::MIN, i32::MAX),
        "i64" => "a whole number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a mapping".to_owned(),
        other if other.starts_with("struct ") => "a mapping".to_owned(),
        other => other.to_owned(),
    }
}

impl Node {
    /// Shows a scalar to a visitor as what the core schema takes it for.
    fn visit_scalar<'de, V: Visitor<'de>>(
        &self,
        text: &str,
        class: Class,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match class {
            Class::Null => visitor.visit_unit(),
            Class::Bool => visitor.visit_bool(text.eq_ignore_ascii_case("true")),
            Class::Int => {
                let body = text.strip_prefix('+').unwrap_or(text);
                let value = match (body.strip_prefix("0x"), body.strip_prefix("0o")) {
                    (Some(digits), _) => i128::from_str_radix(digits, 16),
                    (_, Some(digits)) => i128::from_str_radix(digits, 8),
                    _ => body.parse(),
                };
                match (value.ok().map(u64::try_from), body.parse::<i64>()) {
                    (Some(Ok(value)), _) => visitor.visit_u64(value),
                    (_, Ok(value)) => visitor.visit_i64(value),
                    _ => Err(Error::custom("a number of this size can't be meant")),
                }
            }
            Class::Float => match text.parse::<f64>() {
                Ok(value) => visitor.visit_f64(value),
                Err(_) => visitor.visit_str(text),
            },
            Class::Text => visitor.visit_str(text),
        }
    }

    fn visit_any<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Scalar(text, class) => self.visit_scalar(text, *class, visitor),
            Value::List(items) => visitor.visit_seq(Items { items, next: 0 }),
            Value::Map(entries) => visitor.visit_map(Entries { entries, next: 0 }),
            Value::Reported => visitor.visit_unit(),
        }
        .map_err(|error| error.at(self))
    }

    fn is_reported(&self) -> bool {
        matches!(self.value, Value::Reported)
    }
}

impl<'de> Deserializer<'de> for &Node {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_any(visitor)
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_reported() { visitor.visit_bool(false) } else { self.visit_any(visitor) }
    }
    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_reported() { visitor.visit_u64(1) } else { self.visit_any(visitor) }
    }
    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_u64(visitor)
    }
    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_u64(visitor)
    }
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_u64(visitor)
    }
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_reported() { visitor.visit_str("reported") } else { self.visit_any(visitor) }
    }
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name != RAW_TEXT {
            return visitor.visit_newtype_struct(self);
        }
        match &self.value {
            Value::Reported => visitor.visit_str("0"),
            Value::Scalar(text, Class::Int | Class::Float | Class::Text) => visitor.visit_str(text),
            _ => return self.visit_any(visitor),
        }
        .map_err(|error: Error| error.at(self))
    }
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // As in Kubernetes, a key without a value is an empty list or mapping.
        if self.is_null() || self.is_reported() {
            return visitor.visit_seq(Items { items: &[], next: 0 });
        }
        self.visit_any(visitor)
    }
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null() || self.is_reported() {
            return visitor.visit_map(Entries { entries: &[], next: 0 });
        }
        self.visit_any(visitor)
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.value {
            Value::Reported => visitor.visit_map(StandIns { node: self, fields, next: 0 }),
            Value::List(_) => Err(Error::invalid_type(Unexpected::Seq, &"a mapping").at(self)),
            Value::Scalar(_, Class::Null) => {
                visitor.visit_map(Entries { entries: &[], next: 0 }).map_err(|error| error.at(self))
            }
            _ => self.visit_any(visitor),
        }
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let text = match &self.value {
            Value::Reported => variants.first().copied().unwrap_or_default(),
            Value::Scalar(text, class) if *class != Class::Null => text,
            _ => return Err(Error::unknown_variant("", variants).at(self)),
        };
        visitor.visit_enum(Variant(text)).map_err(|error| error.at(self))
    }
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u32 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

/// The entries of a list.
struct Items<'a> {
    items: &'a [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(item) = self.items.get(self.next) else { return Ok(None) };
        let index = self.next;
        self.next += 1;
        seed.deserialize(item).map(Some).map_err(|error| error.at(item).under(Step::Index(index)))
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.next)
    }
}

/// The entries of a mapping.
struct Entries<'a> {
    entries: &'a [(Key, Node)],
    next: usize,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, _)) = self.entries.get(self.next) else { return Ok(None) };
        let deserializer: StrDeserializer<'_, Error> = key.text.as_str().into_deserializer();
        seed.deserialize(deserializer).map(Some).map_err(|mut error| {
            error.place = Some(key.place);
            error
        })
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (key, node) = &self.entries[self.next];
        self.next += 1;
        seed.deserialize(node).map_err(|error| error.at(node).under(Step::Key(key.text.clone())))
    }
}

/// Every field of a struct whose mapping was wrong.
struct StandIns<'a> {
    node: &'a Node,
    fields: &'static [&'static str],
    next: usize,
}

impl<'de> MapAccess<'de> for StandIns<'_> {
    type Error = Error;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(field) = self.fields.get(self.next) else { return Ok(None) };
        let deserializer: StrDeserializer<'_, Error> = (*field).into_deserializer();
        seed.deserialize(deserializer).map(Some)
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        self.next += 1;
        seed.deserialize(self.node)
    }
}

/// A word out of a fixed choice.
struct Variant<'a>(&'a str);

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Error;
    type Variant = Self;
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let deserializer: StrDeserializer<'_, Error> = self.0.into_deserializer();
        Ok((seed.deserialize(deserializer)?, self))
    }
}
impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Error;
    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Error> {
        Err(Error::custom("expected a plain word"))
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("expected a plain word"))
    }
    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Error> {
        Err(Error::custom("expected a plain word"))
    }
}
