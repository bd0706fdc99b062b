//! Numbers with units: Kubernetes quantities (`100m`, `0.5`, `500Mi`, `1e3`), ratios (`10%`, `0.5`), rates per second
//! and published values.
//!
//! All arithmetic is on integers. A [`Quantity`] holds whole nano-units, the finest step that Kubernetes keeps; a finer
//! one is rounded away from zero, as Kubernetes does. From there CPU is taken in millicores and everything else in whole
//! units, each rounded up (`MilliValue` and `Value` of apimachinery). Left out: the cap at 2^63 - 1 that Kubernetes
//! applies silently; such a value is an error here. Parsing is linear in the text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::duration::DurationNs;
use super::limits;
use super::text::{TextScalar, deserialize_text};

const NANO: i128 = 1_000_000_000;

/// Reads a plain decimal (`-1.5`, `2e3`, `.5`) as a whole number of 10^-`scale`.
/// Returns the value and whether digits finer than that were dropped, or `None` if it is no decimal or does not fit.
fn parse_decimal(text: &str, scale: i32) -> Option<(i128, bool)> {
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        None => (body, 0),
        Some(at) => (&body[..at], body[at + 1..].parse::<i32>().ok()?),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() || exponent.abs() > 40 {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let mut value: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    let shift = scale + exponent - i32::try_from(fraction.len()).ok()?;
    let mut inexact = false;
    if shift >= 0 {
        if value != 0 {
            value = value.checked_mul(10i128.checked_pow(shift.unsigned_abs())?)?;
        }
    } else {
        match 10i128.checked_pow(shift.unsigned_abs()) {
            Some(divisor) => {
                inexact = value % divisor != 0;
                value /= divisor;
            }
            None => {
                inexact = value != 0;
                value = 0;
            }
        }
    }
    Some((if negative { -value } else { value }, inexact))
}

/// Writes a whole number of 10^-`scale` as a decimal without trailing zeros.
fn write_decimal(f: &mut fmt::Formatter<'_>, value: u64, scale: u32) -> fmt::Result {
    let unit = 10u64.pow(scale);
    write!(f, "{}", value / unit)?;
    let fraction = value % unit;
    if fraction > 0 {
        let digits = format!("{fraction:0width$}", width = scale as usize);
        write!(f, ".{}", digits.trim_end_matches('0'))?;
    }
    Ok(())
}

/// A quantity as Kubernetes writes it, in whole nano-units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity {
    nano: i128,
}

impl Quantity {
    /// The quantity of a whole number of units.
    pub const fn from_units(units: u64) -> Self {
        Self { nano: units as i128 * NANO }
    }
    /// The quantity of a whole number of thousandths.
    pub const fn from_milli(milli: u64) -> Self {
        Self { nano: milli as i128 * (NANO / 1000) }
    }
    /// Whole units, rounded up: memory in bytes, pods, devices. `None` if negative or above 2^63 - 1.
    pub fn units(self) -> Option<u64> {
        Self::rounded_up(self.nano, NANO)
    }
    /// Thousandths of a unit, rounded up: CPU in millicores. `None` if negative or above 2^63 - 1.
    pub fn milli(self) -> Option<u64> {
        Self::rounded_up(self.nano, NANO / 1000)
    }
    /// Parts of 10^-9.
    pub const fn nano(self) -> i128 {
        self.nano
    }
    /// True for a whole number of units.
    pub fn is_whole(self) -> bool {
        self.nano % NANO == 0
    }
    /// True below zero.
    pub fn is_negative(self) -> bool {
        self.nano < 0
    }
    fn rounded_up(nano: i128, step: i128) -> Option<u64> {
        let value = nano / step + i128::from(nano % step > 0);
        (nano >= 0 && value <= i128::from(i64::MAX)).then_some(value as u64)
    }
}

impl FromStr for Quantity {
    type Err = String;

    /// Parses `<number><suffix>`; the suffix is one of `n u m k M G T P E Ki Mi Gi Ti Pi Ei`, or a decimal exponent.
    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str =
            "expected a quantity as Kubernetes writes it, such as 100m, 0.5, 2, 500Mi, 1Gi or 1e3";
        if text.is_empty() {
            return Err(format!("empty: {EXPECTED}"));
        }
        let number_len =
            text.find(|c: char| !(c.is_ascii_digit() || "+-.".contains(c))).unwrap_or(text.len());
        let (number, suffix) = text.split_at(number_len);
        let is_exponent = suffix.len() > 1
            && suffix.starts_with(['e', 'E'])
            && suffix[1..].bytes().all(|b| b.is_ascii_digit() || b == b'-' || b == b'+');
        let (decimal, multiplier, scale): (&str, i128, i32) = if is_exponent {
            (text, 1, 9)
        } else {
            match suffix {
                "" => (number, 1, 9),
                "n" => (number, 1, 0),
                "u" => (number, 1, 3),
                "m" => (number, 1, 6),
                "k" => (number, 1, 12),
                "M" => (number, 1, 15),
                "G" => (number, 1, 18),
                "T" => (number, 1, 21),
                "P" => (number, 1, 24),
                "E" => (number, 1, 27),
                "Ki" => (number, 1 << 10, 9),
                "Mi" => (number, 1 << 20, 9),
                "Gi" => (number, 1 << 30, 9),
                "Ti" => (number, 1 << 40, 9),
                "Pi" => (number, 1 << 50, 9),
                "Ei" => (number, 1 << 60, 9),
                other => {
                    let similar = match other {
                        "K" => Some("k (thousands) or Ki (1024)"),
                        "ki" | "KB" | "kB" | "KiB" => Some("Ki"),
                        "mi" | "MB" | "MiB" | "mb" => Some("Mi"),
                        "gi" | "g" | "GB" | "GiB" | "gb" => Some("Gi"),
                        "ti" | "t" | "TB" | "TiB" | "tb" => Some("Ti"),
                        _ => None,
                    };
                    return Err(match similar {
                        Some(_) if number.is_empty() => EXPECTED.to_owned(),
                        Some(unit) => {
                            format!("`{other}` is not a Kubernetes suffix (did you mean {unit}?): {EXPECTED}")
                        }
                        None if number.is_empty() => EXPECTED.to_owned(),
                        None => format!(
                            "`{other}` is not a Kubernetes suffix (n u m k M G T P E Ki Mi Gi Ti Pi Ei)"
                        ),
                    });
                }
            }
        };
        // Binary suffixes multiply before the cut to nano-units, so that 1.1Ki is exact to its last nano-unit.
        let digits_after_point =
            decimal.split_once('.').map_or(0, |(_, fraction)| fraction.len().min(18)) as i32;
        let extra = if multiplier > 1 { digits_after_point } else { 0 };
        let too_large = || "larger than 2^63 - 1, the largest quantity of Kubernetes".to_owned();
        let well_formed =
            number.trim_start_matches(['+', '-']).bytes().all(|b| b.is_ascii_digit() || b == b'.')
                && number.matches('.').count() <= 1
                && number.rfind(['+', '-']).is_none_or(|at| at == 0)
                && number.bytes().any(|b| b.is_ascii_digit());
        if !well_formed {
            return Err(EXPECTED.to_owned());
        }
        let (value, mut inexact) = parse_decimal(decimal, scale + extra).ok_or_else(too_large)?;
        let mut nano = value.checked_mul(multiplier).ok_or_else(too_large)?;
        let divisor = 10i128.pow(extra.unsigned_abs());
        inexact |= nano % divisor != 0;
        nano /= divisor;
        if inexact {
            nano += if number.starts_with('-') { -1 } else { 1 };
        }
        if nano.abs() / NANO > i128::from(i64::MAX) {
            return Err(too_large());
        }
        Ok(Self { nano })
    }
}

impl fmt::Display for Quantity {
    /// Whole multiples of 1024 with the largest exact binary suffix (`500Mi`), other whole numbers plainly, fractions
    /// as `m`, `u` or `n`. The text reads back as the same value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano % NANO == 0 {
            let units = self.nano / NANO;
            for (suffix, bits) in [("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)] {
                if units != 0 && units % (1i128 << bits) == 0 {
                    return write!(f, "{}{suffix}", units >> bits);
                }
            }
            return write!(f, "{units}");
        }
        let (value, suffix) = if self.nano % 1_000_000 == 0 {
            (self.nano / 1_000_000, "m")
        } else if self.nano % 1_000 == 0 {
            (self.nano / 1_000, "u")
        } else {
            (self.nano, "n")
        };
        write!(f, "{value}{suffix}")
    }
}

/// A share in parts per million. In YAML: a percentage (`10%`) or a plain number (`0.1`); both are 100,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio(pub u64);

impl Ratio {
    /// One, that is 100%.
    pub const ONE: Self = Self(1_000_000);
    /// Parts per million.
    pub const fn ppm(self) -> u64 {
        self.0
    }
    /// The ratio as a floating-point number, for tables.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl FromStr for Ratio {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected a percentage such as 10% or a number such as 0.1";
        let (number, scale) = match text.strip_suffix('%') {
            Some(number) => (number.trim_end(), 4),
            None => (text, 6),
        };
        let (value, inexact) = parse_decimal(number, scale).ok_or(EXPECTED)?;
        if inexact {
            return Err("finer than one part per million".to_owned());
        }
        match u64::try_from(value) {
            Ok(ppm) => Ok(Self(ppm)),
            Err(_) if value < 0 => Err("negative: a ratio is zero or more".to_owned()),
            Err(_) => Err(format!("too large: {EXPECTED}")),
        }
    }
}
impl fmt::Display for Ratio {
    /// A plain number: `0.1`, `1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.0, 6)
    }
}

/// Dollars an hour, in millionths. In YAML: a number such as `0.192`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(pub u64);

impl FromStr for Price {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected dollars an hour such as 0.192";
        let number = text.strip_prefix('$').unwrap_or(text);
        let (value, inexact) = parse_decimal(number, 6).ok_or(EXPECTED)?;
        if inexact {
            return Err("finer than a millionth of a dollar an hour".to_owned());
        }
        match u64::try_from(value) {
            Ok(micro) => Ok(Self(micro)),
            Err(_) if value < 0 => Err("negative: a price is zero or more".to_owned()),
            Err(_) => Err(format!("too large: {EXPECTED}")),
        }
    }
}
impl fmt::Display for Price {
    /// A plain number: `0.192`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.0, 6)
    }
}

/// A number per second, in millionths: `qps: 0.5` is 500,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(pub u64);

impl Rate {
    /// The rate of a whole number per second.
    pub const fn per_second(count: u64) -> Self {
        Self(count * 1_000_000)
    }
    /// Millionths per second.
    pub const fn micro_per_second(self) -> u64 {
        self.0
    }
    /// The rate per second as a floating-point number, for tables.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected a number per second, such as 500 or 0.5";
        let number = text.strip_suffix("/s").unwrap_or(text);
        let (value, inexact) = parse_decimal(number, 6).ok_or(EXPECTED)?;
        if inexact {
            return Err("finer than one millionth per second".to_owned());
        }
        match u64::try_from(value) {
            Ok(micro) => Ok(Self(micro)),
            Err(_) if value < 0 => Err("negative: a rate is above zero".to_owned()),
            Err(_) => Err(format!("too large: {EXPECTED}")),
        }
    }
}
impl fmt::Display for Rate {
    /// A plain number: `500`, `0.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.0, 6)
    }
}

/// A published or measured value, to compare a metric with. In YAML: a number, a percentage (`12%` is 0.12) or a
/// duration, which is taken in seconds (`8ms` is 0.008).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct MetricValue(pub f64);

impl FromStr for MetricValue {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected a number, a percentage or a duration, such as 204, 12% or 8ms";
        if let Some(number) = text.strip_suffix('%') {
            let percent: f64 = number.trim_end().parse().map_err(|_| EXPECTED)?;
            return if percent.is_finite() { Ok(Self(percent / 100.0)) } else { Err(EXPECTED.to_owned()) };
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Self(value)),
            Ok(_) => Err(EXPECTED.to_owned()),
            Err(_) => match text.parse::<DurationNs>() {
                Ok(duration) => Ok(Self(duration.0 as f64 / 1e9)),
                Err(_) => Err(EXPECTED.to_owned()),
            },
        }
    }
}

/// The resources of a node, a pod or a queue by their Kubernetes name: `cpu` in millicores, `memory`,
/// `ephemeral-storage` and `hugepages-*` in bytes, all others (`pods`, `nvidia.com/gpu`) in whole units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceList(pub BTreeMap<String, u64>);

impl ResourceList {
    /// CPU in millicores, if named.
    pub fn cpu_millicores(&self) -> Option<u64> {
        self.0.get("cpu").copied()
    }
    /// Memory in bytes, if named.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.0.get("memory").copied()
    }
    /// The number of pods, if named.
    pub fn pods(&self) -> Option<u64> {
        self.0.get("pods").copied()
    }
    /// One resource as Kubernetes would write it: `100m` for CPU, `500Mi` for memory.
    pub fn quantity(name: &str, amount: u64) -> Quantity {
        if name == "cpu" { Quantity::from_milli(amount) } else { Quantity::from_units(amount) }
    }
}

/// Reads the amount of one named resource, so that an error carries the path of its key.
struct AmountOf<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for AmountOf<'_> {
    type Value = u64;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        let quantity: Quantity = deserialize_text(deserializer)?;
        if quantity.is_negative() {
            return Err(D::Error::custom("negative: a resource is zero or more"));
        }
        let divisible =
            matches!(self.0, "cpu" | "memory" | "ephemeral-storage") || self.0.starts_with("hugepages-");
        if !divisible && !quantity.is_whole() {
            return Err(D::Error::custom(format!("{} is counted in whole units", self.0)));
        }
        let amount = if self.0 == "cpu" { quantity.milli() } else { quantity.units() };
        let limit = match self.0 {
            "cpu" => limits::NODE_CPU_MILLICORES,
            "pods" => limits::NODE_PODS,
            _ => limits::RESOURCE_UNITS,
        };
        match amount {
            Some(amount) if amount <= limit => Ok(amount),
            _ => Err(D::Error::custom(format!(
                "too large: podpace models at most {} of {}",
                ResourceList::quantity(self.0, limit),
                self.0
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for ResourceList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;
        impl<'de> Visitor<'de> for ListVisitor {
            type Value = ResourceList;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of resources such as {cpu: 100m, memory: 500Mi}")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ResourceList, A::Error> {
                let mut list = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    let amount = map.next_value_seed(AmountOf(&name))?;
                    list.insert(name, amount);
                }
                Ok(ResourceList(list))
            }
        }
        deserializer.deserialize_map(ListVisitor)
    }
}
impl Serialize for ResourceList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.0.iter().map(|(name, amount)| (name, Self::quantity(name, *amount).to_string())),
        )
    }
}
impl JsonSchema for ResourceList {
    fn schema_name() -> Cow<'static, str> {
        "ResourceList".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let quantity = generator.subschema_for::<Quantity>();
        json_schema!({
            "description": "Resources by their Kubernetes name, such as {cpu: 100m, memory: 500Mi, nvidia.com/gpu: 1}.",
            "type": "object",
            "additionalProperties": quantity
        })
    }
}

/// Implements the serde and schema traits of a scalar that is read from its text.
macro_rules! text_scalar {
    ($type:ident, $expected:literal, $schema:tt) => {
        impl TextScalar for $type {
            const EXPECTED: &'static str = $expected;
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize_text(deserializer)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

text_scalar!(Quantity, "a quantity such as 100m, 0.5, 500Mi or 1Gi", {
    "description": "A quantity as Kubernetes writes it, such as 100m, 0.5, 2, 500Mi, 1Gi or 1e3.",
    "type": ["string", "number"],
    "pattern": "^[+-]?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]+)?$",
    "examples": ["100m", "500Mi"]
});
text_scalar!(Ratio, "a percentage such as 10% or a number such as 0.1", {
    "description": "A share: a percentage such as 10% or a number such as 0.1.",
    "type": ["string", "number"],
    "pattern": "^[0-9]+(\\.[0-9]+)? *%?$",
    "minimum": 0,
    "examples": ["10%", 0.1]
});
text_scalar!(Rate, "a number per second such as 500 or 0.5", {
    "description": "A number per second, such as 500 or 0.5.",
    "type": ["number", "string"],
    "pattern": "^[0-9]+(\\.[0-9]+)?(/s)?$",
    "minimum": 0,
    "examples": [500, 0.5]
});
text_scalar!(Price, "dollars an hour such as 0.192", {
    "description": "Dollars an hour, such as 0.192.",
    "type": ["number", "string"],
    "pattern": "^\\$?[0-9]+(\\.[0-9]+)?$",
    "minimum": 0,
    "examples": [0.192, 1]
});
text_scalar!(MetricValue, "a number, a percentage or a duration such as 204, 12% or 8ms", {
    "description": "A number, a percentage (12% is 0.12) or a duration (8ms is 0.008 seconds).",
    "type": ["number", "string"],
    "examples": [204, "12%", "8ms"]
});

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
/// Writes whole numbers as integers and others as the shortest floating-point number.
fn serialize_millionths<S: Serializer>(value: u64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_multiple_of(1_000_000) {
        serializer.serialize_u64(value / 1_000_000)
    } else {
        serializer.serialize_f64(value as f64 / 1e6)
    }
}
impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_millionths(self.0, serializer)
    }
}
impl Serialize for Price {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_millionths(self.0, serializer)
    }
}
impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_millionths(self.0, serializer)
    }
}
impl Serialize for MetricValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn reads_what_kubernetes_reads() {
        for (text, milli, units) in [
            ("0", 0, 0),
            ("100m", 100, 1),
            ("0.5", 500, 1),
            (".5", 500, 1),
            ("5.", 5_000, 5),
            ("2", 2_000, 2),
            ("+2", 2_000, 2),
            ("1e3", 1_000_000, 1_000),
            ("1E3", 1_000_000, 1_000),
            ("12e-1", 1_200, 2),
            ("1k", 1_000_000, 1_000),
            ("1Ki", 1_024_000, 1_024),
            ("1.5Ki", 1_536_000, 1_536),
            ("500Mi", 524_288_000_000, 524_288_000),
            ("1Gi", 1_073_741_824_000, 1 << 30),
            ("1M", 1_000_000_000, 1_000_000),
            // Rounded up, never down: a millicore and a byte are the smallest steps.
            ("0.1m", 1, 1),
            ("1n", 1, 1),
            ("1u", 1, 1),
            ("0.0000000001", 1, 1),
            ("1.0001Ki", 1_024_103, 1_025),
        ] {
            assert_eq!(quantity(text).milli(), Some(milli), "{text} in thousandths");
            assert_eq!(quantity(text).units(), Some(units), "{text} in units");
        }
        assert_eq!(
            quantity("1E").units(),
            Some(1_000_000_000_000_000_000),
            "E alone is exa, not an exponent"
        );
        assert_eq!(quantity("7Ei").units(), Some(7 << 60));
        assert!(quantity("-1").is_negative() && quantity("-1").units().is_none());
    }

    #[test]
    fn refuses_what_kubernetes_refuses() {
        for text in [
            "", "m", "Mi", "1K", "1MB", "1mi", "1.2.3", "--1", "1-", "1 Gi", "0x10", "1e", "e3", "1e3Ki",
            "ten",
        ] {
            assert!(text.parse::<Quantity>().is_err(), "{text} must be refused");
        }
        for text in ["8Ei", "10E", "1e30", "99999999999999999999999999999999999999999999"] {
            assert!(text.parse::<Quantity>().unwrap_err().contains("2^63"), "{text} is too large");
        }
        assert!("1GB".parse::<Quantity>().unwrap_err().contains("did you mean Gi?"));
    }

    #[test]
    fn ratios_rates_and_values() {
        for (text, ppm) in
            [("10%", 100_000), ("0.5", 500_000), ("1", 1_000_000), ("12.5%", 125_000), ("0", 0)]
        {
            assert_eq!(text.parse::<Ratio>().unwrap().0, ppm, "{text}");
        }
        for text in ["-1%", "ten", "", "%", "0.00000001", "1e30"] {
            assert!(text.parse::<Ratio>().is_err(), "{text}");
        }
        assert_eq!("0.5".parse::<Rate>().unwrap(), Rate(500_000));
        assert_eq!("500/s".parse::<Rate>().unwrap(), Rate::per_second(500));
        assert!("-5".parse::<Rate>().is_err());
        let value = |text: &str| text.parse::<MetricValue>().unwrap().0.to_bits();
        assert_eq!(value("12%"), 0.12f64.to_bits());
        assert_eq!(value("8ms"), 0.008f64.to_bits());
        assert!("nan".parse::<MetricValue>().is_err() && "inf".parse::<MetricValue>().is_err());
    }

    proptest! {
        #[test]
        fn quantities_round_trip(nano in -(1i128 << 90)..(1i128 << 90)) {
            prop_assume!((nano / NANO).abs() <= i128::from(i64::MAX));
            let written = Quantity { nano };
            prop_assert_eq!(quantity(&written.to_string()), written);
        }
        #[test]
        fn amounts_round_trip(amount in 0..=i64::MAX as u64) {
            prop_assert_eq!(quantity(&ResourceList::quantity("memory", amount).to_string()).units(), Some(amount));
            prop_assert_eq!(quantity(&ResourceList::quantity("cpu", amount).to_string()).milli(), Some(amount));
        }
        #[test]
        fn ratios_and_rates_round_trip(value in 0..u64::from(u32::MAX)) {
            prop_assert_eq!(Ratio(value).to_string().parse(), Ok(Ratio(value)));
            prop_assert_eq!(Rate(value).to_string().parse(), Ok(Rate(value)));
        }
        #[test]
        fn no_text_panics(text in "[-+0-9a-zA-Z.%/]{0,60}") {
            let _ = text.parse::<Quantity>();
            let _ = text.parse::<Ratio>();
            let _ = text.parse::<Rate>();
            let _ = text.parse::<MetricValue>();
        }
    }
}
