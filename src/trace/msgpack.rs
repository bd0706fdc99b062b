//! MessagePack to JSON values: what SimKube's trace files need, and no more.
//!
//! Maps may have keys that JSON does not know; integers become their digits, and arrays of texts their elements
//! joined by a tab. Extension types are refused. Depth is limited, lengths are checked against what is left, so damaged
//! input ends in an error and never in a panic or a huge allocation. O(bytes).
//!
//! Source: the MessagePack specification.

use serde_json::{Map, Number, Value};

/// Where and why decoding stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MsgpackError {
    /// Byte offset.
    pub offset: usize,
    /// What is wrong.
    pub message: &'static str,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

const MAX_DEPTH: u32 = 128;

/// Decodes one value that fills the input.
pub fn decode(bytes: &[u8]) -> Result<Value, MsgpackError> {
    let mut r = Reader { bytes, at: 0 };
    let value = r.value(0)?;
    if r.at != bytes.len() { Err(r.error("bytes after the end of the value")) } else { Ok(value) }
}

impl<'a> Reader<'a> {
    fn error(&self, message: &'static str) -> MsgpackError {
        MsgpackError { offset: self.at, message }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], MsgpackError> {
        let end = self.at.checked_add(n).filter(|&e| e <= self.bytes.len());
        let Some(end) = end else { return Err(self.error("the data ends early")) };
        let part = &self.bytes[self.at..end];
        self.at = end;
        Ok(part)
    }

    fn uint(&mut self, n: usize) -> Result<u64, MsgpackError> {
        Ok(self.take(n)?.iter().fold(0, |v, b| v << 8 | u64::from(*b)))
    }

    fn text(&mut self, n: usize) -> Result<Value, MsgpackError> {
        let part = self.take(n)?;
        match std::str::from_utf8(part) {
            Ok(s) => Ok(Value::String(s.to_string())),
            Err(_) => Err(self.error("a text that is not UTF-8")),
        }
    }

    fn array(&mut self, n: usize, depth: u32) -> Result<Value, MsgpackError> {
        if n > self.bytes.len() - self.at {
            return Err(self.error("an array longer than the data"));
        }
        (0..n).map(|_| self.value(depth + 1)).collect::<Result<Vec<_>, _>>().map(Value::Array)
    }

    fn map(&mut self, n: usize, depth: u32) -> Result<Value, MsgpackError> {
        if n > (self.bytes.len() - self.at) / 2 {
            return Err(self.error("a map longer than the data"));
        }
        let mut map = Map::new();
        for _ in 0..n {
            let key = match self.value(depth + 1)? {
                Value::String(s) => s,
                Value::Number(n) => n.to_string(),
                Value::Array(parts) if parts.iter().all(Value::is_string) => {
                    parts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\t")
                }
                _ => return Err(self.error("a map key that is no text, integer or tuple of texts")),
            };
            let value = self.value(depth + 1)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }

    fn float(&self, x: f64) -> Result<Value, MsgpackError> {
        Number::from_f64(x).map(Value::Number).ok_or_else(|| self.error("a number that is not finite"))
    }

    fn value(&mut self, depth: u32) -> Result<Value, MsgpackError> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        let tag = self.take(1)?[0];
        match tag {
            0x00..=0x7f => Ok(Value::from(tag)),
            0x80..=0x8f => self.map(usize::from(tag & 0x0f), depth),
            0x90..=0x9f => self.array(usize::from(tag & 0x0f), depth),
            0xa0..=0xbf => self.text(usize::from(tag & 0x1f)),
            0xc0 => Ok(Value::Null),
            0xc2 => Ok(Value::Bool(false)),
            0xc3 => Ok(Value::Bool(true)),
            0xc4..=0xc6 => {
                let n = self.uint(1 << (tag - 0xc4))? as usize;
                Ok(Value::Array(self.take(n)?.iter().map(|b| Value::from(*b)).collect()))
            }
            0xca => {
                let bits = self.uint(4)? as u32;
                self.float(f64::from(f32::from_bits(bits)))
            }
            0xcb => {
                let bits = self.uint(8)?;
                self.float(f64::from_bits(bits))
            }
            0xcc => Ok(Value::from(self.uint(1)?)),
            0xcd => Ok(Value::from(self.uint(2)?)),
            0xce => Ok(Value::from(self.uint(4)?)),
            0xcf => Ok(Value::from(self.uint(8)?)),
            0xd0 => Ok(Value::from(self.uint(1)? as u8 as i8)),
            0xd1 => Ok(Value::from(self.uint(2)? as u16 as i16)),
            0xd2 => Ok(Value::from(self.uint(4)? as u32 as i32)),
            0xd3 => Ok(Value::from(self.uint(8)? as i64)),
            0xd9..=0xdb => {
                let n = self.uint(1 << (tag - 0xd9))? as usize;
                self.text(n)
            }
            0xdc | 0xdd => {
                let n = self.uint(if tag == 0xdc { 2 } else { 4 })? as usize;
                self.array(n, depth)
            }
            0xde | 0xdf => {
                let n = self.uint(if tag == 0xde { 2 } else { 4 })? as usize;
                self.map(n, depth)
            }
            0xe0..=0xff => Ok(Value::from(tag as i8)),
            _ => Err(self.error("an extension type")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decodes_what_the_specification_shows() {
        // {"compact": true, "schema": 0}, the example of msgpack.org
        let bytes = b"\x82\xa7compact\xc3\xa6schema\x00";
        assert_eq!(decode(bytes).unwrap(), serde_json::json!({"compact": true, "schema": 0}));
        assert_eq!(decode(b"\x81\x92\xa1a\xa1b\xff").unwrap(), serde_json::json!({"a\tb": -1}));
        assert_eq!(decode(b"\xdd\xff\xff\xff\xff").unwrap_err().message, "an array longer than the data");
        assert_eq!(decode(b"\xa5abc").unwrap_err().message, "the data ends early");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }
    }
}
