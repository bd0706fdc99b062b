//! Metrics by name: what `expect:`, thresholds, sweeps and results refer to.
//!
//! A name is a dotted path with its unit at the end where it has one (`throughput.bound.mean` is per second).
//! Asking for a name that no run has is an error with the nearest names, never a silent zero.
use std::collections::{BTreeMap, BTreeSet};

use super::nearest::nearest;

/// Metrics of one run. Counts are whole numbers, everything else is computed from integers by one division.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    values: BTreeMap<String, f64>,
    /// Names that a run knows and does not list, because they are 0.
    zeros: BTreeSet<String>,
}

/// A metric that the run does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no metric `{name}`{hint}; `podpace run SCENARIO --format json` lists all metrics of a run")]
pub struct UnknownMetric {
    /// What was asked for.
    pub name: String,
    hint: String,
}

impl Metrics {
    /// Sets a metric.
    pub fn set(&mut self, name: impl Into<String>, value: f64) {
        self.values.insert(name.into(), value);
    }

    /// Makes a name known that is 0 unless it is set.
    pub fn set_zero(&mut self, name: impl Into<String>) {
        self.zeros.insert(name.into());
    }

    /// Reads a metric.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn get(&self, name: &str) -> Result<f64, UnknownMetric> {
        let zero = || self.zeros.contains(name).then_some(0.0);
        self.values.get(name).copied().or_else(zero).ok_or_else(|| {
            let prefix = name.split('.').next().unwrap_or(name);
            let near: Vec<&str> =
                self.values.keys().map(String::as_str).filter(|k| k.starts_with(prefix)).collect();
            let hint = match nearest(name, self.values.keys().chain(&self.zeros).map(String::as_str)) {
                Some(name) => format!("; did you mean `{name}`?"),
                None if near.is_empty() => String::new(),
                None => format!("; {prefix} has: {}", near.join(", ")),
            };
            UnknownMetric { name: name.to_owned(), hint }
        })
    }

    /// All metrics, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.values.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

/// The q-quantile (in thousandths) of ascending values by the nearest-rank method.
#[must_use]
pub fn quantile(ascending: &[u64], q_milli: u64) -> Option<u64> {
    let last = ascending.len().checked_sub(1)?;
    let rank = (ascending.len() as u64 * q_milli).div_ceil(1000).max(1) as usize - 1;
    Some(ascending[rank.min(last)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_metrics_name_the_nearest() {
        let mut metrics = Metrics::default();
        metrics.set("throughput.bound.mean", 1.0);
        assert_eq!(metrics.get("throughput.bound.mean"), Ok(1.0));
        let error = metrics.get("throughput.bound.maen").unwrap_err().to_string();
        assert!(error.contains("did you mean `throughput.bound.mean`"), "{error}");
        metrics.set_zero("ops.scheduler.sort_comparison");
        assert_eq!(metrics.get("ops.scheduler.sort_comparison"), Ok(0.0));
        let error = metrics.get("ops.scheduler.sort_comparsion").unwrap_err().to_string();
        assert!(error.contains("did you mean `ops.scheduler.sort_comparison`"), "{error}");
        assert_eq!(metrics.iter().count(), 1);
    }

    #[test]
    fn quantiles_by_nearest_rank() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!(quantile(&values, 500), Some(50));
        assert_eq!(quantile(&values, 990), Some(99));
        assert_eq!(quantile(&values, 1000), Some(100));
        assert_eq!(quantile(&values, 0), Some(1));
        assert_eq!(quantile(&[], 500), None);
    }
}
