//! Scalars that are read from their text, not from what YAML makes of it.
//!
//! YAML reads `1e3` as a floating-point number and `100m` as a string; a quantity must see the characters. Types that
//! implement [`TextScalar`] ask the deserializer for the raw text through a marker name; a deserializer that does not
//! know the marker (JSON) hands over its own string or number, which is turned back into text.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserializer, Error, Visitor};

/// The marker name by which a type asks for the raw text of a scalar.
pub(super) const RAW_TEXT: &str = "podpace::RawText";

/// A type written as one scalar with its own grammar. The `FromStr` error is a sentence without a position.
pub(super) trait TextScalar: FromStr<Err = String> {
    /// What a value looks like, for messages: "a duration such as 1h".
    const EXPECTED: &'static str;
}

/// Reads a [`TextScalar`].
pub(super) fn deserialize_text<'de, T: TextScalar, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_newtype_struct(RAW_TEXT, TextVisitor(PhantomData))
}

struct TextVisitor<T>(PhantomData<T>);

impl<'de, T: TextScalar> Visitor<'de> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }
}
