//! State as bytes: how the parts of a simulation are written into a checkpoint and read back.
//!
//! A part is any type with serde's derives. Its bytes are postcard's: integers as variable-length numbers, sequences
//! with their length before them, nothing about names or types. So they say what they mean only to the build that
//! wrote them; the file around them (`experiment::checkpoint`) says which one that was and proves that they are whole.
//! Equal states have equal bytes: hash maps are written in the order of their keys ([`sorted`]).
//!
//! Left out: reading what another version wrote.
//!
//! Cost: O(bytes), written as they come, read from a slice.
use std::io::{self, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// State can't be written or read back.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CodecError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the state of {what} does not read back: {source}")]
    Malformed { what: String, source: postcard::Error },
    #[error("the state of {what} is followed by {left} bytes too many")]
    TooLong { what: String, left: usize },
    #[error("{what} has no way to save its state, so a run with it can't be checkpointed: {hint}")]
    Unsupported { what: String, hint: String },
}

/// Hands bytes on to a writer.
struct Sink<'a> {
    out: &'a mut dyn Write,
    error: Option<io::Error>,
}

impl postcard::ser_flavors::Flavor for &mut Sink<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.out.write_all(bytes).map_err(|error| {
            self.error = Some(error);
            postcard::Error::SerializeBufferFull
        })
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Appends the bytes of a part.
///
/// # Errors
/// The writer's; `what` names the part.
pub fn write<T: Serialize + ?Sized>(out: &mut dyn Write, what: &str, part: &T) -> Result<(), CodecError> {
    let mut sink = Sink { out, error: None };
    let result = postcard::serialize_with_flavor(part, &mut sink);
    match (sink.error, result) {
        (Some(error), _) => Err(CodecError::Io(error)),
        (None, Err(source)) => Err(CodecError::Malformed { what: what.to_owned(), source }),
        (None, Ok(())) => Ok(()),
    }
}

/// Reads a part from the begin of `bytes`, which then stand behind it.
///
/// # Errors
/// The bytes are no such part; `what` names it.
pub fn read<T: DeserializeOwned>(bytes: &mut &[u8], what: &str) -> Result<T, CodecError> {
    match postcard::take_from_bytes(bytes) {
        Ok((part, rest)) => {
            *bytes = rest;
            Ok(part)
        }
        Err(source) => Err(CodecError::Malformed { what: what.to_owned(), source }),
    }
}

/// The bytes of a part.
///
/// # Errors
/// None in practice; a type whose serde derives are none of postcard's.
pub fn encode<T: Serialize + ?Sized>(what: &str, part: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::new();
    write(&mut bytes, what, part)?;
    Ok(bytes)
}

/// The part that these bytes are, and nothing else.
///
/// # Errors
/// The bytes are no such part, or more than that.
pub fn decode<T: DeserializeOwned>(mut bytes: &[u8], what: &str) -> Result<T, CodecError> {
    let part = read(&mut bytes, what)?;
    if bytes.is_empty() {
        Ok(part)
    } else {
        Err(CodecError::TooLong { what: what.to_owned(), left: bytes.len() })
    }
}

/// Hash maps in the order of their keys, for `#[serde(with = "crate::engine::codec::sorted")]`.
pub mod sorted {
    use std::collections::BTreeMap;
    use std::hash::Hash;

    use rustc_hash::FxHashMap;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes a map.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<K, V, S>(map: &FxHashMap<K, V>, serializer: S) -> Result<S::Ok, S::Error>
    where
        K: Ord + Serialize,
        V: Serialize,
        S: Serializer,
    {
        map.iter().collect::<BTreeMap<_, _>>().serialize(serializer)
    }

    /// Reads a map.
    ///
    /// # Errors
    /// The deserializer's.
    pub fn deserialize<'de, K, V, D>(deserializer: D) -> Result<FxHashMap<K, V>, D::Error>
    where
        K: Eq + Hash + Deserialize<'de>,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        FxHashMap::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustc_hash::FxHashMap;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Part {
        #[serde(with = "sorted")]
        map: FxHashMap<u32, String>,
        wide: i128,
        float: f64,
    }

    fn part() -> Part {
        let map = (0..50).map(|i| (i * 7919 % 101, i.to_string())).collect();
        Part { map, wide: i128::MIN, float: -0.0 }
    }

    #[test]
    fn parts_read_back_one_after_the_other() {
        let mut bytes = Vec::new();
        write(&mut bytes, "a", &part()).unwrap();
        write(&mut bytes, "b", &Some(7_u64)).unwrap();
        let mut rest = &bytes[..];
        assert_eq!(read::<Part>(&mut rest, "a").unwrap(), part());
        assert_eq!(read::<Option<u64>>(&mut rest, "b").unwrap(), Some(7));
        assert!(rest.is_empty());
        // Whoever inserts in another order writes the same bytes.
        let turned =
            Part { map: part().map.into_iter().collect::<Vec<_>>().into_iter().rev().collect(), ..part() };
        assert_eq!(encode("a", &turned).unwrap(), encode("a", &part()).unwrap());
    }

    #[test]
    fn too_short_and_too_long_are_errors() {
        let bytes = encode("a", &part()).unwrap();
        for end in 0..bytes.len() {
            assert!(decode::<Part>(&bytes[..end], "a").is_err());
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(decode::<Part>(&longer, "a").unwrap_err().to_string().contains("1 bytes too many"));
    }

    #[test]
    fn a_full_disk_is_the_writers_error() {
        let mut room = [0; 10];
        let error = write(&mut &mut room[..], "a", &part()).unwrap_err();
        assert!(matches!(error, CodecError::Io(_)), "{error}");
    }
}
