//! MessagePack to JSON values, part by part: what SimKube's trace files need, and no more.
//!
//! The file is one map (or one array of parts, as SimKube 1 wrote it). [`each_part`] gives the elements of the parts
//! that are named and passes over the others, so that memory holds the largest element and not the file.
//!
//! Maps may have keys that JSON does not know; integers become their digits, and arrays of texts their elements
//! joined by a tab. Extension types are refused. Depth and the number of values in an element are limited and nothing
//! is allocated before its bytes are there, so damaged input ends in an error and never in a panic or a huge allocation.
//!
//! Source: the MessagePack specification. Cost: O(bytes).

use std::io::{self, Read};

use serde_json::{Map, Number, Value};

use super::error::TraceError;

/// Where and why decoding stopped.
#[derive(Debug)]
pub enum MsgpackError {
    /// The bytes are not what they should be.
    Malformed {
        /// Byte offset.
        offset: u64,
        /// What is wrong.
        message: &'static str,
    },
    /// The file can't be read on.
    Io(io::Error),
    /// What the callback returned.
    Callback(TraceError),
}

const MAX_DEPTH: u32 = 128;
/// Values in one element: some 500 MiB of them.
const MAX_VALUES: u64 = 8 << 20;
const ENDS_EARLY: &str = "the data ends early";

struct Decoder<'a> {
    inner: &'a mut dyn Read,
    at: u64,
    values: u64,
}

/// What a tag begins.
enum Head {
    Scalar(Value),
    Text(u64),
    Binary(u64),
    Array(u64),
    Map(u64),
}

/// Takes a part: which of the names it is from, its key if it is an entry of a map, and itself.
pub type EachPart<'a> = dyn FnMut(usize, Option<&str>, Value) -> Result<(), TraceError> + 'a;

/// Reads the named parts of the file's map: of an array each element, of a map each entry, anything else as it is.
/// `order` has the names of the parts if they come in an array instead of a map.
///
/// # Errors
/// Where and why the bytes are no such file; what `each` returns.
pub fn each_part(
    reader: &mut dyn Read,
    names: &[&str],
    order: &[&str],
    each: &mut EachPart<'_>,
) -> Result<(), MsgpackError> {
    let mut d = Decoder { inner: reader, at: 0, values: 0 };
    let (n, in_order) = match d.head()? {
        Head::Map(n) => (n, false),
        Head::Array(n) if n as usize == order.len() => (n, true),
        _ => return Err(d.error("no map")),
    };
    for i in 0..n {
        d.values = 0;
        let name = if in_order { order[i as usize].to_string() } else { d.key(1)? };
        match names.iter().position(|n| *n == name) {
            Some(part) => d.part(part, each)?,
            None => d.skip()?,
        }
    }
    let mut rest = [0];
    match d.inner.read(&mut rest) {
        Ok(0) => Ok(()),
        Ok(_) => Err(d.error("bytes after the end of the value")),
        Err(e) => Err(MsgpackError::Io(e)),
    }
}

impl Decoder<'_> {
    fn error(&self, message: &'static str) -> MsgpackError {
        MsgpackError::Malformed { offset: self.at, message }
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<(), MsgpackError> {
        match self.inner.read_exact(out) {
            Ok(()) => {
                self.at += out.len() as u64;
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(self.error(ENDS_EARLY)),
            Err(e) => Err(MsgpackError::Io(e)),
        }
    }

    fn uint(&mut self, n: usize) -> Result<u64, MsgpackError> {
        let mut bytes = [0u8; 8];
        self.fill(&mut bytes[8 - n..])?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// So many bytes; no more is allocated than there is.
    fn bytes(&mut self, n: u64) -> Result<Vec<u8>, MsgpackError> {
        let mut out = Vec::new();
        let got = self.inner.take(n).read_to_end(&mut out).map_err(MsgpackError::Io)?;
        self.at += got as u64;
        if (got as u64) < n { Err(self.error(ENDS_EARLY)) } else { Ok(out) }
    }

    fn float(&self, x: f64) -> Result<Head, MsgpackError> {
        let number = Number::from_f64(x).ok_or_else(|| self.error("a number that is not finite"))?;
        Ok(Head::Scalar(Value::Number(number)))
    }

    fn head(&mut self) -> Result<Head, MsgpackError> {
        let tag = self.uint(1)? as u8;
        let scalar = |v: Value| Ok(Head::Scalar(v));
        match tag {
            0x00..=0x7f => scalar(Value::from(tag)),
            0x80..=0x8f => Ok(Head::Map(u64::from(tag & 0x0f))),
            0x90..=0x9f => Ok(Head::Array(u64::from(tag & 0x0f))),
            0xa0..=0xbf => Ok(Head::Text(u64::from(tag & 0x1f))),
            0xc0 => scalar(Value::Null),
            0xc2 => scalar(Value::Bool(false)),
            0xc3 => scalar(Value::Bool(true)),
            0xc4..=0xc6 => Ok(Head::Binary(self.uint(1 << (tag - 0xc4))?)),
            0xca => {
                let bits = self.uint(4)? as u32;
                self.float(f64::from(f32::from_bits(bits)))
            }
            0xcb => {
                let bits = self.uint(8)?;
                self.float(f64::from_bits(bits))
            }
            0xcc..=0xcf => scalar(Value::from(self.uint(1 << (tag - 0xcc))?)),
            0xd0 => scalar(Value::from(self.uint(1)? as u8 as i8)),
            0xd1 => scalar(Value::from(self.uint(2)? as u16 as i16)),
            0xd2 => scalar(Value::from(self.uint(4)? as u32 as i32)),
            0xd3 => scalar(Value::from(self.uint(8)? as i64)),
            0xd9..=0xdb => Ok(Head::Text(self.uint(1 << (tag - 0xd9))?)),
            0xdc | 0xdd => Ok(Head::Array(self.uint(if tag == 0xdc { 2 } else { 4 })?)),
            0xde | 0xdf => Ok(Head::Map(self.uint(if tag == 0xde { 2 } else { 4 })?)),
            0xe0..=0xff => scalar(Value::from(tag as i8)),
            _ => Err(self.error("an extension type")),
        }
    }

    fn text(&mut self, n: u64) -> Result<String, MsgpackError> {
        let bytes = self.bytes(n)?;
        String::from_utf8(bytes).map_err(|_| self.error("a text that is not UTF-8"))
    }

    fn value(&mut self, depth: u32) -> Result<Value, MsgpackError> {
        self.values += 1;
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        if self.values > MAX_VALUES {
            return Err(self.error("more than 8 million values in one element"));
        }
        match self.head()? {
            Head::Scalar(value) => Ok(value),
            Head::Text(n) => self.text(n).map(Value::String),
            Head::Binary(n) => {
                self.values = self.values.saturating_add(n);
                if self.values > MAX_VALUES {
                    return Err(self.error("more than 8 million values in one element"));
                }
                Ok(self.bytes(n)?.into_iter().map(Value::from).collect())
            }
            Head::Array(n) => (0..n).map(|_| self.value(depth + 1)).collect(),
            Head::Map(n) => {
                let mut map = Map::new();
                for _ in 0..n {
                    let key = self.key(depth + 1)?;
                    map.insert(key, self.value(depth + 1)?);
                }
                Ok(Value::Object(map))
            }
        }
    }

    fn key(&mut self, depth: u32) -> Result<String, MsgpackError> {
        match self.value(depth)? {
            Value::String(s) => Ok(s),
            Value::Number(n) => Ok(n.to_string()),
            Value::Array(parts) if parts.iter().all(Value::is_string) => {
                Ok(parts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\t"))
            }
            _ => Err(self.error("a map key that is no text, integer or tuple of texts")),
        }
    }

    fn part(&mut self, part: usize, each: &mut EachPart<'_>) -> Result<(), MsgpackError> {
        let mut give =
            |key: Option<&str>, value: Value| each(part, key, value).map_err(MsgpackError::Callback);
        match self.head()? {
            Head::Scalar(value) => give(None, value),
            Head::Text(n) => give(None, Value::String(self.text(n)?)),
            Head::Binary(_) => Err(self.error("binary data where a part is expected")),
            Head::Array(n) => {
                for _ in 0..n {
                    self.values = 0;
                    give(None, self.value(2)?)?;
                }
                Ok(())
            }
            Head::Map(n) => {
                for _ in 0..n {
                    self.values = 0;
                    let key = self.key(2)?;
                    give(Some(&key), self.value(2)?)?;
                }
                Ok(())
            }
        }
    }

    /// Passes over a value without keeping it.
    fn skip(&mut self) -> Result<(), MsgpackError> {
        let mut left = 1u64;
        while left > 0 {
            left -= 1;
            match self.head()? {
                Head::Scalar(_) => {}
                Head::Text(n) | Head::Binary(n) => {
                    let skipped = io::copy(&mut self.inner.take(n), &mut io::sink());
                    let skipped = skipped.map_err(MsgpackError::Io)?;
                    self.at += skipped;
                    if skipped < n {
                        return Err(self.error(ENDS_EARLY));
                    }
                }
                Head::Array(n) => left = left.saturating_add(n),
                Head::Map(n) => left = left.saturating_add(n.saturating_mul(2)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Everything that is given of the part `a`.
    fn decode(mut bytes: &[u8]) -> Result<Vec<(String, Value)>, String> {
        let mut out = Vec::new();
        let result = each_part(&mut bytes, &["a"], &["x", "a"], &mut |_, key, value| {
            out.push((key.unwrap_or("").to_string(), value));
            Ok(())
        });
        match result {
            Ok(()) => Ok(out),
            Err(MsgpackError::Malformed { message, .. }) => Err(message.to_string()),
            Err(e) => panic!("{e:?}"),
        }
    }

    #[test]
    fn decodes_what_the_specification_shows() {
        // {"a": {"compact": true, "schema": 0}}, the example of msgpack.org inside
        let got = decode(b"\x81\xa1a\x82\xa7compact\xc3\xa6schema\x00").unwrap();
        assert_eq!(got, [("compact".into(), true.into()), ("schema".into(), 0.into())]);
        let got = decode(b"\x82\xa1x\x92\xa3abc\x81\xa1q\x90\xa1a\x92\x81\x92\xa1a\xa1b\xff\x07").unwrap();
        assert_eq!(got, [("".into(), serde_json::json!({"a\tb": -1})), ("".into(), 7.into())]);
        assert_eq!(decode(b"\x92\xc0\x91\x07").unwrap(), [("".into(), 7.into())], "parts in an array");
        assert_eq!(decode(b"\x81\xa1a\xdd\xff\xff\xff\xff").unwrap_err(), ENDS_EARLY);
        assert_eq!(decode(b"\x81\xa1a\xdb\xff\xff\xff\xffabc").unwrap_err(), ENDS_EARLY);
        assert_eq!(decode(b"\x81\xa1b\xdb\xff\xff\xff\xffabc").unwrap_err(), ENDS_EARLY);
        assert_eq!(decode(b"\x80\x01").unwrap_err(), "bytes after the end of the value");
        let deep = [&b"\x81\xa1a"[..], &[0x91; 300]].concat();
        assert_eq!(decode(&deep).unwrap_err(), "nested too deeply");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
            let _ = decode(&[b"\x81\xa1a", &bytes[..]].concat());
        }
    }
}
