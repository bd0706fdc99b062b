//! Metrics by name: what `expect:`, thresholds, sweeps and results refer to.
//!
//! A name is a dotted path with its unit at the end where it has one (`throughput.bound.mean` is per second).
//! Asking for a name that no run has is an error with the nearest names, never a silent zero.
use std::collections::BTreeMap;

/// Metrics of one run. Counts are whole numbers, everything else is computed from integers by one division.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    values: BTreeMap<String, f64>,
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

    /// Reads a metric.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn get(&self, name: &str) -> Result<f64, UnknownMetric> {
        self.values.get(name).copied().ok_or_else(|| {
            let prefix = name.split('.').next().unwrap_or(name);
            let near: Vec<&str> =
                self.values.keys().map(String::as_str).filter(|k| k.starts_with(prefix)).collect();
            let hint = match crate::measure::metrics::nearest(name, self.values.keys().map(String::as_str)) {
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

/// The candidate with the smallest edit distance, if it is near enough to be a slip.
fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |other: &str| {
        let other: Vec<char> = other.chars().collect();
        let mut row: Vec<usize> = (0..=other.len()).collect();
        for (i, a) in word.chars().enumerate() {
            let mut diagonal = row[0];
            row[0] = i + 1;
            for (j, b) in other.iter().enumerate() {
                let substituted = diagonal + usize::from(a != *b);
                diagonal = row[j + 1];
                row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
            }
        }
        row[other.len()]
    };
    candidates
        .into_iter()
        .map(|c| (distance(c), c))
        .filter(|(d, _)| *d <= word.len() / 4 + 1)
        .min()
        .map(|(_, c)| c)
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
