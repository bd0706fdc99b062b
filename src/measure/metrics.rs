//! Metrics by name: what `expect:`, thresholds, sweeps and results refer to.
//!
//! A name is a dotted path with its unit at the end where it has one (`throughput.bound.mean` is per second).
//! Asking for a name that no run has is an error with the nearest names, never a silent zero.
use std::collections::{BTreeMap, BTreeSet};

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

/// The candidate with the smallest edit distance, if it is near enough to be a slip.
fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = word.chars().collect();
    candidates
        .into_iter()
        .map(|c| (edit_distance(&wanted, &c.chars().collect::<Vec<_>>()), c))
        .filter(|(d, _)| *d <= word.len() / 4 + 1)
        .min()
        .map(|(_, c)| c)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`. O(|a| |b|).
#[must_use]
pub fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut cost = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                cost = cost.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = cost;
        }
    }
    rows[a.len()][b.len()]
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
