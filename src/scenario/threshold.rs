//! Thresholds: what must hold of a run, in one line: `throughput.bound.mean >= 200`, `latency.created_to_bound.p99_s < 5s`.
//!
//! The grammar is `METRIC OPERATOR VALUE` with an operator among `>= <= > < ==`, as k6 writes thresholds; in an
//! experiment `RUN: METRIC OPERATOR VALUE` speaks of one run, without it of each. A value is a number, a percentage or a
//! duration, which counts in seconds. Over several seeds the median is compared, as for expectations.
//!
//! Or relative to an earlier result that `podpace check --baseline` reads: `throughput.bound.mean >= baseline - 5%`.
//!
//! A threshold says what is wanted; an expectation (`expect:`) what was published, with its source and tolerance.
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::quantity::MetricValue;
use super::text::{TextScalar, deserialize_text};

/// How a metric must compare with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `>=`
    AtLeast,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `<`
    Below,
    /// `==`
    Equal,
}

impl Operator {
    /// Longer ones first: `>=` begins with `>`.
    const ALL: [(&'static str, Self); 5] = [
        (">=", Self::AtLeast),
        ("<=", Self::AtMost),
        ("==", Self::Equal),
        (">", Self::Above),
        ("<", Self::Below),
    ];

    /// Whether it holds; never for NaN.
    #[must_use]
    #[allow(clippy::float_cmp)] // `==` is meant: counts are whole.
    pub fn holds(self, metric: f64, value: f64) -> bool {
        match self {
            Self::AtLeast => metric >= value,
            Self::AtMost => metric <= value,
            Self::Above => metric > value,
            Self::Below => metric < value,
            Self::Equal => metric == value,
        }
    }
}

/// What a metric is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// A value; durations in seconds.
    Value(f64),
    /// The same metric of the baseline, changed by this share of it.
    Baseline(f64),
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| -> Result<f64, String> {
            text.parse::<MetricValue>().map(|v| v.0).map_err(|e| format!("`{text}` is no value: {e}"))
        };
        let Some(change) = text.strip_prefix("baseline") else { return Ok(Self::Value(number(text)?)) };
        let change = change.trim();
        let (sign, share) = match (change.strip_prefix('+'), change.strip_prefix('-')) {
            (Some(share), _) => (1.0, share.trim()),
            (_, Some(share)) => (-1.0, share.trim()),
            _ if change.is_empty() => return Ok(Self::Baseline(0.0)),
            _ => (0.0, ""),
        };
        match number(share) {
            Ok(share_of) if share.ends_with('%') && share_of >= 0.0 => Ok(Self::Baseline(sign * share_of)),
            _ => Err(format!("`{text}` is no value: expected baseline, baseline + 5% or baseline - 5%")),
        }
    }
}

/// One threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct ThresholdSpec {
    /// Run by name; none: every run.
    pub run: Option<String>,
    /// Metric by name.
    pub metric: String,
    /// How they must compare.
    pub operator: Operator,
    /// With what.
    pub value: Bound,
    /// Operator and value as they were written.
    pub bound: String,
}

impl FromStr for ThresholdSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected METRIC OPERATOR VALUE, such as throughput.bound.mean >= 200";
        // The decoder's stand-in for what it has reported already; `validate` refuses it where it was really written.
        if text == "0" {
            return Ok(Self {
                run: None,
                metric: String::new(),
                operator: Operator::Equal,
                value: Bound::Value(0.0),
                bound: String::new(),
            });
        }
        let at = text.find(['<', '>', '=']).ok_or_else(|| EXPECTED.to_owned())?;
        let (name, rest) = text.split_at(at);
        let (symbol, operator) = Operator::ALL
            .into_iter()
            .find(|(symbol, _)| rest.starts_with(symbol))
            .ok_or_else(|| format!("{EXPECTED}; operators are >=, <=, >, < and =="))?;
        let value = rest[symbol.len()..].trim();
        let (run, metric) = match name.split_once(':') {
            Some((run, metric)) => (Some(run.trim().to_owned()), metric.trim()),
            None => (None, name.trim()),
        };
        let is_name = |name: &str| !name.is_empty() && !name.contains(char::is_whitespace);
        if !is_name(metric) || run.as_deref().is_some_and(|run| !is_name(run)) {
            return Err(EXPECTED.to_owned());
        }
        let bound = format!("{symbol} {value}");
        Ok(Self { run, metric: metric.to_owned(), operator, value: value.parse()?, bound })
    }
}

impl fmt::Display for ThresholdSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(run) = &self.run {
            write!(f, "{run}: ")?;
        }
        write!(f, "{} {}", self.metric, self.bound)
    }
}

impl TextScalar for ThresholdSpec {
    const EXPECTED: &'static str = "a threshold such as throughput.bound.mean >= 200";
}

impl<'de> Deserialize<'de> for ThresholdSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer)
    }
}

impl Serialize for ThresholdSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for ThresholdSpec {
    fn schema_name() -> Cow<'static, str> {
        "ThresholdSpec".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "METRIC OPERATOR VALUE, with an operator among >=, <=, >, < and ==.",
            "type": "string",
            "pattern": "^[^<>=]+(>=|<=|>|<|==) *[^<>=]+$",
            "examples": ["throughput.bound.mean >= 200", "latency.created_to_bound.p99_s < 5s"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_read_back() {
        for (text, run, metric, operator, value) in [
            ("throughput.bound.mean >= 200", None, "throughput.bound.mean", Operator::AtLeast, 200.0),
            (
                "latency.created_to_bound.p99_s<5s",
                None,
                "latency.created_to_bound.p99_s",
                Operator::Below,
                5.0,
            ),
            ("fast: host.vm.utilisation <= 80%", Some("fast"), "host.vm.utilisation", Operator::AtMost, 0.8),
            ("pods.pending == 0", None, "pods.pending", Operator::Equal, 0.0),
            ("end_s > 1m30s", None, "end_s", Operator::Above, 90.0),
        ] {
            let threshold: ThresholdSpec = text.parse().unwrap();
            assert_eq!(threshold.run.as_deref(), run);
            assert_eq!(threshold.metric, metric);
            assert_eq!(threshold.operator, operator);
            assert_eq!(threshold.value, Bound::Value(value));
            assert_eq!(threshold.to_string().parse(), Ok(threshold));
        }
        for text in [
            "",
            "throughput.bound.mean",
            "a = 5",
            "a >=",
            ">= 5",
            "a b >= 5",
            "a >= many",
            "x: >= 5",
            "a >= nan",
        ] {
            assert!(text.parse::<ThresholdSpec>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_bound_may_be_relative() {
        let value = |text: &str| text.parse::<ThresholdSpec>().map(|t| t.value);
        assert_eq!(value("a >= baseline"), Ok(Bound::Baseline(0.0)));
        assert_eq!(value("a >= baseline - 5%"), Ok(Bound::Baseline(-0.05)));
        assert_eq!(value("a <= baseline+10%"), Ok(Bound::Baseline(0.1)));
        for wrong in ["a <= baseline + 5", "a <= baseline 5%", "a <= baseline + -5%", "a <= baselin"] {
            assert!(value(wrong).unwrap_err().contains("is no value: expected"), "{wrong}");
        }
    }

    #[test]
    fn nothing_holds_of_what_is_no_number() {
        for (_, operator) in Operator::ALL {
            assert!(!operator.holds(f64::NAN, 1.0), "{operator:?}");
        }
        assert!(Operator::Below.holds(0.9, 1.0) && !Operator::Below.holds(1.0, 1.0));
        assert!(Operator::AtMost.holds(1.0, 1.0) && Operator::Equal.holds(1.0, 1.0));
    }
}
