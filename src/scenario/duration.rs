//! Durations as Go writes them: `1h`, `1m30s`, `8ms`, `250us`, `1.5s`.
//!
//! The grammar is that of Go's `time.ParseDuration`: a sequence of decimal numbers, each with an optional fraction
//! and a unit among `ns us µs ms s m h`; `0` alone needs no unit. Left out: the sign, because no duration of a
//! scenario is negative. Values are whole nanoseconds up to 2^63 - 1 (292 years, Go's limit); a fraction finer than a
//! nanosecond is cut off, as Go does. Parsing and formatting are linear in the text.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text::{TextScalar, deserialize_text};

/// Units from long to short, with their length in nanoseconds.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// A span of virtual time in whole nanoseconds. In YAML: a Go duration such as `1m30s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DurationNs(pub u64);

impl DurationNs {
    /// The length in nanoseconds.
    pub const fn ns(self) -> u64 {
        self.0
    }
    /// A duration of whole seconds. Panics at compile time or run time above 2^64 ns.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1_000_000_000)
    }
    /// A duration of whole milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds * 1_000_000)
    }
}

impl FromStr for DurationNs {
    type Err = String;

    /// Parses a Go duration. The error says what is wrong with `text`, without a position.
    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected a duration with a unit, such as 1h, 1m30s, 1.5s, 8ms or 250us";
        if text == "0" {
            return Ok(Self(0));
        }
        if text.is_empty() {
            return Err(format!("empty: {EXPECTED}"));
        }
        if let Some(rest) = text.strip_prefix('-') {
            return Err(match rest.parse::<Self>() {
                Ok(_) => "negative: a duration is zero or more".to_owned(),
                Err(_) => EXPECTED.to_owned(),
            });
        }
        let mut total: u128 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (whole, after) = rest.split_at(digits);
            let (fraction, after) = match after.strip_prefix('.') {
                None => ("", after),
                Some(tail) => tail.split_at(tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len())),
            };
            if whole.is_empty() && fraction.is_empty() {
                return Err(EXPECTED.to_owned());
            }
            let unit_len = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
            let (unit, after) = after.split_at(unit_len);
            let unit_ns = match unit {
                "" if rest == text && after.is_empty() => {
                    return Err(format!("no unit: {EXPECTED} (did you mean `{text}s`?)"));
                }
                "" => return Err(format!("a number without a unit: {EXPECTED}")),
                "µs" | "μs" => 1_000,
                _ => match UNITS.iter().find(|(name, _)| *name == unit) {
                    Some((_, ns)) => *ns,
                    None => {
                        return Err(format!(
                            "`{unit}` is not a unit of time (ns, us, ms, s, m, h): {EXPECTED}"
                        ));
                    }
                },
            };
            let too_long = || "longer than 292 years, the longest duration that Go can write".to_owned();
            let whole: u128 = match whole {
                "" => 0,
                digits => digits.parse().map_err(|_| too_long())?,
            };
            total = whole
                .checked_mul(u128::from(unit_ns))
                .and_then(|ns| total.checked_add(ns))
                .ok_or_else(too_long)?;
            // Digits past the 20th are worth less than a nanosecond of the longest unit.
            let mut place = u128::from(unit_ns) * 10u128.pow(20);
            for digit in fraction.bytes().take(20) {
                place /= 10;
                total += u128::from(digit - b'0') * place / 10u128.pow(20);
            }
            if total > i64::MAX as u128 {
                return Err(too_long());
            }
            rest = after;
        }
        Ok(Self(total as u64))
    }
}

impl fmt::Display for DurationNs {
    /// The shortest exact form: hours, minutes and seconds with a fraction (`1h`, `1m30s`, `1.5s`), and below a second
    /// the largest of ms, us, ns that leaves at least one whole unit (`8ms`, `1.25ms`, `250us`). Go reads it back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        if rest == 0 {
            return f.write_str("0s");
        }
        if rest >= UNITS[2].1 {
            for (unit, ns) in &UNITS[..2] {
                if rest >= *ns {
                    write!(f, "{}{unit}", rest / ns)?;
                    rest %= ns;
                }
            }
            return if rest == 0 { Ok(()) } else { write_fraction(f, rest, UNITS[2]) };
        }
        let unit =
            UNITS[3..].iter().find(|(_, ns)| rest >= *ns).expect("one nanosecond is the smallest unit");
        write_fraction(f, rest, *unit)
    }
}

/// Writes `value` nanoseconds in one unit, with as many decimals as it takes and no trailing zero.
fn write_fraction(f: &mut fmt::Formatter<'_>, value: u64, (unit, unit_ns): (&str, u64)) -> fmt::Result {
    write!(f, "{}", value / unit_ns)?;
    let fraction = value % unit_ns;
    if fraction > 0 {
        let width = unit_ns.ilog10() as usize;
        let digits = format!("{fraction:0width$}");
        write!(f, ".{}", digits.trim_end_matches('0'))?;
    }
    f.write_str(unit)
}

impl TextScalar for DurationNs {
    const EXPECTED: &'static str = "a duration such as 1h, 1m30s, 8ms or 250us";
}
impl<'de> Deserialize<'de> for DurationNs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer)
    }
}
impl Serialize for DurationNs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl schemars::JsonSchema for DurationNs {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A duration as Go writes it, such as 1h, 1m30s, 1.5s, 8ms or 250us.",
            "anyOf": [
                {"type": "string", "pattern": "^(0|(([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$"},
                {"const": 0}
            ],
            "examples": ["1m30s", "8ms"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ns(text: &str) -> u64 {
        text.parse::<DurationNs>().unwrap_or_else(|e| panic!("{text}: {e}")).0
    }

    #[test]
    fn reads_what_go_reads() {
        // The table of Go's own time.ParseDuration tests, without the negative rows.
        for (text, expected) in [
            ("0", 0),
            ("5s", 5_000_000_000),
            ("30s", 30_000_000_000),
            ("1478s", 1_478_000_000_000),
            ("5.0s", 5_000_000_000),
            ("5.6s", 5_600_000_000),
            ("5.s", 5_000_000_000),
            (".5s", 500_000_000),
            ("1.0040s", 1_004_000_000),
            ("100.00100s", 100_001_000_000),
            ("10ns", 10),
            ("11us", 11_000),
            ("12µs", 12_000),
            ("12μs", 12_000),
            ("13ms", 13_000_000),
            ("3h30m", 12_600_000_000_000),
            ("10.5s4m", 250_500_000_000),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
            ("39h9m14.425s", 140_954_425_000_000),
            ("52763797000ns", 52_763_797_000),
            ("0.3333333333333333333h", 1_200_000_000_000 - 1),
            ("9223372036854775807ns", i64::MAX as u64),
            ("0.100000000000000000000h", 360_000_000_000),
        ] {
            let got = ns(text);
            // Go adds fractions in one piece of floating point; a third of an hour may differ by its last nanosecond.
            assert!(got.abs_diff(expected) <= 1, "{text}: {got} instead of {expected}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "",
            "3",
            "-",
            "s",
            ".",
            "-.",
            ".s",
            "+.s",
            "1d",
            "9223372036854775808ns",
            "9223372036854775.808us",
        ] {
            assert!(text.parse::<DurationNs>().is_err(), "{text} must be refused");
        }
        assert!("-1s".parse::<DurationNs>().unwrap_err().contains("negative"));
        assert!("5".parse::<DurationNs>().unwrap_err().contains("did you mean `5s`?"));
    }

    #[test]
    fn writes_the_short_form() {
        for (value, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1us"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h"),
            (3_600_000_000_001, "1h0.000000001s"),
        ] {
            assert_eq!(DurationNs(value).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn round_trip(value in 0..=i64::MAX as u64) {
            prop_assert_eq!(ns(&DurationNs(value).to_string()), value);
        }
        #[test]
        fn no_text_panics(text in "[0-9a-zµ.+-]{0,40}") {
            let _ = text.parse::<DurationNs>();
        }
    }
}
