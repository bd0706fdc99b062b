//! Differences between two results, with significance over seeds.
//!
//! Points of two sweeps pair up by name; a run is a sweep of one point. For each metric the medians are compared.
//! With several seeds on both sides, the Mann-Whitney U test says how likely such a difference is by chance: exact
//! by counting for up to [`EXACT`] values without ties, else the normal approximation with corrections for ties and
//! continuity. With one seed a side, a difference is what it is: the simulator is deterministic.
//!
//! Cost: O(n log n) a metric; the exact test O(n^4) of small n.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::check::median;
use super::run::Summary;
use super::sweep::Kept;

/// A difference with a larger p is shown as `~`.
pub const ALPHA: f64 = 0.05;
/// Values of one side up to which the test is exact.
const EXACT: usize = 25;

/// A result folder can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct DiffError {
    path: String,
    message: String,
}

/// Metrics of one point: for each, its values in order of seeds.
pub type Samples = BTreeMap<String, Vec<f64>>;

/// A result: points by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Results {
    /// Samples by point.
    pub points: BTreeMap<String, Samples>,
}

impl Results {
    /// Reads a folder of `run` (of a scenario or of an experiment) or `sweep`.
    ///
    /// # Errors
    /// It is none, or can't be read.
    pub fn load(folder: &Path) -> Result<Self, DiffError> {
        let error = |path: &Path, message: String| DiffError { path: path.display().to_string(), message };
        if !folder.is_dir() {
            let message = "no such folder; name a folder written by run or sweep with --out".to_owned();
            return Err(error(folder, message));
        }
        let mut runs: Vec<(String, Summary)> = Vec::new();
        let read = |path: &Path| fs::read(path).map_err(|e| error(path, format!("can't be read: {e}")));
        let bad = |path: &Path, e: serde_json::Error| error(path, format!("is no result of podpace: {e}"));
        let sorted = |folder: &Path| -> Result<Vec<std::path::PathBuf>, DiffError> {
            let entries = fs::read_dir(folder).map_err(|e| error(folder, format!("can't be read: {e}")))?;
            let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            paths.sort();
            Ok(paths)
        };
        let summary = folder.join("summary.json");
        if summary.is_file() {
            let run: Summary = serde_json::from_slice(&read(&summary)?).map_err(|e| bad(&summary, e))?;
            runs.push((run.scenario.clone(), run));
        } else if folder.join("runs").is_dir() {
            for path in sorted(&folder.join("runs"))? {
                if path.extension().is_some_and(|e| e == "json") {
                    let kept: Kept = serde_json::from_slice(&read(&path)?).map_err(|e| bad(&path, e))?;
                    runs.push((kept.point, kept.result));
                }
            }
        } else {
            for path in sorted(folder)? {
                let file = path.join("summary.json");
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if let (true, Some((run, _))) = (file.is_file(), name.rsplit_once("-seed")) {
                    let summary = serde_json::from_slice(&read(&file)?).map_err(|e| bad(&file, e))?;
                    runs.push((run.to_owned(), summary));
                }
            }
        }
        if runs.is_empty() {
            return Err(error(folder, "holds no result; name a folder written with --out".to_owned()));
        }
        runs.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.seed.cmp(&b.1.seed)));
        let mut points: BTreeMap<String, Samples> = BTreeMap::new();
        for (point, run) in runs {
            let samples = points.entry(point).or_default();
            for (metric, value) in run.metrics {
                samples.entry(metric).or_default().push(value);
            }
        }
        Ok(Self { points })
    }
}

/// One line of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Point.
    pub point: String,
    /// Metric.
    pub metric: String,
    /// Median before.
    pub before: f64,
    /// Half of the range before, as a share of the median.
    pub before_spread: f64,
    /// Median after.
    pub after: f64,
    /// Half of the range after, as a share of the median.
    pub after_spread: f64,
    /// Relative change of the median; none if it was 0.
    pub change: Option<f64>,
    /// Two-sided p of the Mann-Whitney U test; none with one value on a side.
    pub p: Option<f64>,
    /// Values before and after.
    pub n: (usize, usize),
    /// Whether the two differ: p below [`ALPHA`], or different values without a test.
    pub significant: bool,
}

/// Compares two results. Points of one only are returned by name.
#[must_use]
pub fn compare(before: &Results, after: &Results) -> (Vec<Difference>, Vec<String>) {
    let mut rows = Vec::new();
    let both: Vec<(String, &Samples, &Samples)> = match (before.points.len(), after.points.len()) {
        // Two runs are compared whatever their names.
        (1, 1) => {
            let ((a, x), (b, y)) =
                (before.points.iter().next().expect("one"), after.points.iter().next().expect("one"));
            let name = if a == b { a.clone() } else { format!("{a} -> {b}") };
            vec![(name, x, y)]
        }
        _ => before
            .points
            .iter()
            .filter_map(|(name, x)| Some((name.clone(), x, after.points.get(name)?)))
            .collect(),
    };
    for (point, x, y) in &both {
        for (metric, a) in *x {
            let Some(b) = y.get(metric) else { continue };
            let (before, after) = (median(a), median(b));
            let p = (a.len() > 1 && b.len() > 1).then(|| mann_whitney(a, b));
            let changed = before.to_bits() != after.to_bits();
            rows.push(Difference {
                point: point.clone(),
                metric: metric.clone(),
                before,
                before_spread: spread(a),
                after,
                after_spread: spread(b),
                change: (before.abs() > 0.0).then(|| after / before - 1.0),
                p,
                n: (a.len(), b.len()),
                significant: p.map_or(changed, |p| p < ALPHA),
            });
        }
    }
    let mut lonely = Vec::new();
    if both.len() != 1 || before.points.len() != 1 {
        for (here, there, which) in [(before, after, "before"), (after, before, "after")] {
            let alone = here.points.keys().filter(|name| !there.points.contains_key(*name));
            lonely.extend(alone.map(|name| format!("{name} is only in the result {which}")));
        }
    }
    (rows, lonely)
}

fn spread(values: &[f64]) -> f64 {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let middle = median(values).abs();
    if middle > 0.0 { (most - least) / 2.0 / middle } else { 0.0 }
}

/// Two-sided p of the Mann-Whitney U test.
#[must_use]
pub fn mann_whitney(a: &[f64], b: &[f64]) -> f64 {
    let (n, m) = (a.len(), b.len());
    if n == 0 || m == 0 {
        return 1.0;
    }
    let mut all: Vec<(f64, bool)> =
        a.iter().map(|v| (*v, true)).chain(b.iter().map(|v| (*v, false))).collect();
    all.sort_by(|x, y| x.0.total_cmp(&y.0));
    // Twice the ranks, so that the mean rank of ties is whole.
    let (mut twice_rank_sum, mut ties, mut from) = (0u64, 0.0, 0);
    while from < all.len() {
        let equal = all[from..].iter().take_while(|v| v.0.total_cmp(&all[from].0).is_eq()).count();
        let twice_mean = (2 * from + equal + 1) as u64;
        let ours = all[from..from + equal].iter().filter(|v| v.1).count() as u64;
        twice_rank_sum += twice_mean * ours;
        let t = equal as f64;
        ties += t * t * t - t;
        from += equal;
    }
    let twice_u = twice_rank_sum - (n * (n + 1)) as u64;
    let twice_most = 2 * (n * m) as u64;
    let twice_small = twice_u.min(twice_most - twice_u);
    if ties <= 0.0 && n <= EXACT && m <= EXACT {
        return (2.0 * exact_tail(n, m, (twice_small / 2) as usize)).min(1.0);
    }
    let (nf, mf) = (n as f64, m as f64);
    let total = nf + mf;
    let variance = nf * mf / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    let distance = (nf * mf / 2.0 - twice_small as f64 / 2.0 - 0.5).max(0.0);
    libm::erfc(distance / libm::sqrt(variance) / std::f64::consts::SQRT_2).min(1.0)
}

/// Probability of a U of at most `u` when both come from the same distribution, by counting arrangements.
fn exact_tail(n: usize, m: usize, u: usize) -> f64 {
    // counts[j][u]: arrangements of i of ours and j of theirs with that U, for growing i.
    let most = n * m;
    let mut counts = vec![vec![0.0f64; most + 1]; m + 1];
    for row in &mut counts {
        row[0] = 1.0;
    }
    for i in 1..=n {
        let mut next = vec![vec![0.0f64; most + 1]; m + 1];
        next[0][0] = 1.0;
        for j in 1..=m {
            for k in 0..=i * j {
                // The largest value is ours (above all j of theirs) or theirs.
                let ours = if k >= j { counts[j][k - j] } else { 0.0 };
                next[j][k] = ours + next[j - 1][k];
            }
        }
        counts = next;
    }
    let row = &counts[m];
    let total: f64 = row.iter().sum();
    row[..=u.min(most)].iter().sum::<f64>() / total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_p_is_that_of_the_tables() {
        // All of one side below all of the other: 2 / C(n+m, n).
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        near(mann_whitney(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 2.0 / 20.0);
        near(mann_whitney(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]), 2.0 / 70.0);
        near(mann_whitney(&[5.0, 6.0, 7.0, 8.0], &[1.0, 2.0, 3.0, 4.0]), 2.0 / 70.0);
        // U = 1 of n = m = 4: 2 * (1 + 1) / 70.
        near(mann_whitney(&[1.0, 2.0, 3.0, 5.0], &[4.0, 6.0, 7.0, 8.0]), 4.0 / 70.0);
        near(mann_whitney(&[1.0, 4.0], &[2.0, 3.0]), 1.0);
    }

    #[test]
    fn ties_use_the_normal_approximation() {
        assert!((mann_whitney(&[1.0; 5], &[1.0; 5]) - 1.0).abs() < 1e-12);
        let p = mann_whitney(&[1.0, 1.0, 2.0, 2.0, 3.0], &[4.0, 4.0, 5.0, 5.0, 6.0]);
        assert!(p > 0.005 && p < 0.02, "{p}");
        let many: Vec<f64> = (0..40).map(f64::from).collect();
        assert!((mann_whitney(&many, &many) - 1.0).abs() < 0.02);
    }
}
