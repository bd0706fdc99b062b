//! Differences between two results, with significance over seeds and draws of the unit costs.
//!
//! Points of two sweeps pair up by name; a run is a sweep of one point. For each metric the medians are compared.
//!
//! **Pairs.** Runs with the same seed and the same draw of the unit costs on both sides are pairs (common random numbers): their
//! differences are the settings', whatever the seed does to both. With [`PAIRS`] or more of them Wilcoxon's signed-rank test says how
//! likely such differences are by chance, and the 5th and 95th percentile of the pairs' relative change stand beside the median. It is exact
//! by counting for up to [`EXACT`] pairs without ties, else the normal approximation with corrections for ties and continuity.
//!
//! **Draws** of the unit costs are not chance that averages out: one of them is the truth, and nobody knows which. Where they were drawn,
//! two settings are told apart only if nearly all draws ([`AGREE`]) agree which is larger, besides the test.
//!
//! **Without pairs** the Mann-Whitney U test compares the two sides: exact for up to [`EXACT`] values without ties, else approximated.
//! With one run a side, a difference is what it is: the simulator is deterministic.
//!
//! Cost: O(n log n) a metric; the exact tests O(n^4) and O(n^3) of small n.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::median;
use super::run::Summary;
use super::store::Kept;
use super::sweep::Statistics;
use super::uncertainty::Uncertainty;

/// A difference with a larger p is shown as `~`.
pub const ALPHA: f64 = 0.05;
/// Values of one side, or pairs, up to which the test is exact.
const EXACT: usize = 25;
/// Pairs from which on the paired test is used: with fewer it can't reach [`ALPHA`] (2 / 2^5).
pub const PAIRS: usize = 6;
/// Share of the pairs that have to agree on the sign where unit costs were drawn.
pub const AGREE: f64 = 0.95;

/// A result folder can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct DiffError {
    path: String,
    message: String,
}

/// Seed and draw of a run.
pub type Key = (u64, Option<u64>);

/// Runs of one point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// In order.
    pub keys: Vec<Key>,
    /// By metric: its value in each run that has it.
    pub metrics: BTreeMap<String, Vec<(Key, f64)>>,
}

impl Samples {
    fn add(&mut self, key: Key, metrics: impl IntoIterator<Item = (String, f64)>) {
        self.keys.push(key);
        for (metric, value) in metrics {
            self.metrics.entry(metric).or_default().push((key, value));
        }
    }
}

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
        let mut points: BTreeMap<String, Samples> = BTreeMap::new();
        if summary.is_file() {
            let run: Summary = serde_json::from_slice(&read(&summary)?).map_err(|e| bad(&summary, e))?;
            let draws = folder.join("uncertainty.json");
            if draws.is_file() {
                // The run itself, with the costs as they are, is none of the draws.
                let drawn: Uncertainty =
                    serde_json::from_slice(&read(&draws)?).map_err(|e| bad(&draws, e))?;
                let samples = points.entry(run.scenario.clone()).or_default();
                for draw in 0..drawn.draws {
                    let value = |(name, values): (&String, &Vec<f64>)| {
                        Some((name.clone(), *values.get(usize::try_from(draw).ok()?)?))
                    };
                    samples.add((run.seed, Some(draw)), drawn.values.iter().filter_map(value));
                }
            } else {
                runs.push((run.scenario.clone(), run));
            }
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
        if runs.is_empty() && points.is_empty() {
            return Err(error(folder, "holds no result; name a folder written with --out".to_owned()));
        }
        runs.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.seed.cmp(&b.1.seed)).then(a.1.draw.cmp(&b.1.draw)));
        for (point, run) in runs {
            points.entry(point).or_default().add((run.seed, run.draw), run.metrics);
        }
        Ok(Self { points })
    }
}

/// One line of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Two-sided p of the test; none with one value on a side.
    pub p: Option<f64>,
    /// `wilcoxon` (pairs), `mann-whitney` or `none`.
    pub test: String,
    /// 5th and 95th percentile of the pairs' relative change; none without pairs, or if a value before was 0.
    pub change_band: Option<(f64, f64)>,
    /// Share of the pairs with the larger value after; ties count half. None without pairs.
    pub larger_after: Option<f64>,
    /// Whether the unit costs were drawn in the pairs.
    pub drawn: bool,
    /// Values before and after.
    pub n: (usize, usize),
    /// Whether the two can be told apart: p below [`ALPHA`], and of drawn costs nearly all agree; or different values without a test.
    pub significant: bool,
}

/// What the pairs say.
struct Paired {
    changes: Vec<f64>,
    larger_after: f64,
    p: f64,
    drawn: bool,
}

/// Pairs by seed and draw, if each run has its partner and there are enough of them.
fn paired(a: &[(Key, f64)], b: &[(Key, f64)]) -> Option<Paired> {
    let same = a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.0 == y.0);
    if !same || a.len() < PAIRS {
        return None;
    }
    let pairs: Vec<(f64, f64)> = a.iter().zip(b).map(|(x, y)| (x.1, y.1)).collect();
    let side = |(x, y): &(f64, f64)| match y.total_cmp(x) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    };
    Some(Paired {
        changes: pairs.iter().filter(|(x, _)| x.abs() > 0.0).map(|(x, y)| y / x - 1.0).collect(),
        larger_after: pairs.iter().map(side).sum::<f64>() / pairs.len() as f64,
        p: wilcoxon(&pairs.iter().map(|(x, y)| y - x).collect::<Vec<_>>()),
        drawn: a.iter().any(|((_, draw), _)| draw.is_some()),
    })
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
        for (metric, a) in &x.metrics {
            let Some(b) = y.metrics.get(metric) else { continue };
            let pairs = paired(a, b);
            let values = |of: &[(Key, f64)]| of.iter().map(|(_, v)| *v).collect::<Vec<f64>>();
            let (a, b) = (values(a), values(b));
            let (before, after) = (median(&a), median(&b));
            let (p, test) = match &pairs {
                Some(pairs) => (Some(pairs.p), "wilcoxon"),
                None if a.len() > 1 && b.len() > 1 => (Some(mann_whitney(&a, &b)), "mann-whitney"),
                None => (None, "none"),
            };
            let changed = before.to_bits() != after.to_bits();
            // Of drawn costs one is the truth: they have to agree.
            let agreed = pairs.as_ref().is_none_or(|pairs| {
                !pairs.drawn || pairs.larger_after.max(1.0 - pairs.larger_after) >= AGREE
            });
            let band = pairs.as_ref().filter(|pairs| pairs.changes.len() == a.len()).map(|pairs| {
                let s = Statistics::of(&pairs.changes);
                (s.p5, s.p95)
            });
            rows.push(Difference {
                point: point.clone(),
                metric: metric.clone(),
                before,
                before_spread: spread(&a),
                after,
                after_spread: spread(&b),
                change: (before.abs() > 0.0).then(|| after / before - 1.0),
                p,
                test: test.to_owned(),
                change_band: band,
                larger_after: pairs.as_ref().map(|pairs| pairs.larger_after),
                drawn: pairs.as_ref().is_some_and(|pairs| pairs.drawn),
                n: (a.len(), b.len()),
                significant: p.map_or(changed, |p| p < ALPHA) && agreed,
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

/// Two-sided p of Wilcoxon's signed-rank test of differences; those of 0 are left out.
#[must_use]
pub fn wilcoxon(differences: &[f64]) -> f64 {
    let mut sizes: Vec<(f64, bool)> =
        differences.iter().filter(|d| d.abs() > 0.0).map(|d| (d.abs(), *d > 0.0)).collect();
    let n = sizes.len();
    if n == 0 {
        return 1.0;
    }
    sizes.sort_by(|x, y| x.0.total_cmp(&y.0));
    // Twice the ranks, so that the mean rank of ties is whole.
    let (mut twice_positive, mut ties, mut from) = (0u64, 0.0, 0);
    while from < n {
        let equal = sizes[from..].iter().take_while(|v| v.0.total_cmp(&sizes[from].0).is_eq()).count();
        let twice_mean = (2 * from + equal + 1) as u64;
        twice_positive += twice_mean * sizes[from..from + equal].iter().filter(|v| v.1).count() as u64;
        let t = equal as f64;
        ties += t * t * t - t;
        from += equal;
    }
    let twice_all = (n * (n + 1)) as u64;
    let twice_small = twice_positive.min(twice_all - twice_positive);
    if ties <= 0.0 && n <= EXACT {
        // Subsets of the ranks 1 to n by their sum.
        let small = (twice_small / 2) as usize;
        let mut ways = vec![0.0f64; small + 1];
        ways[0] = 1.0;
        for rank in 1..=n {
            for sum in (rank..=small).rev() {
                ways[sum] += ways[sum - rank];
            }
        }
        return (2.0 * ways.iter().sum::<f64>() / libm::exp2(n as f64)).min(1.0);
    }
    let nf = n as f64;
    let variance = nf * (nf + 1.0) * (2.0 * nf + 1.0) / 24.0 - ties / 48.0;
    if variance <= 0.0 {
        return 1.0;
    }
    let distance = (nf * (nf + 1.0) / 4.0 - twice_small as f64 / 2.0 - 0.5).max(0.0);
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

    #[test]
    fn signed_ranks_are_those_of_the_tables() {
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        near(wilcoxon(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), 2.0 / 64.0);
        near(wilcoxon(&[-1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), 4.0 / 64.0);
        // Tables: n = 10, T = 8 is the critical value at 5 % of two sides.
        let t8 = [-8.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 9.0, 10.0];
        assert!(wilcoxon(&t8) < 0.05);
        let t9 = [-9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0];
        assert!(wilcoxon(&t9) > 0.048);
        near(wilcoxon(&[0.0; 8]), 1.0);
        let many: Vec<f64> = (1..=40).map(f64::from).collect();
        assert!(wilcoxon(&many) < 1e-6);
    }

    #[test]
    fn pairs_tell_what_the_seeds_hide_and_draws_have_to_agree() {
        let result = |values: &[f64], drawn: bool| {
            let mut samples = Samples::default();
            for (i, v) in values.iter().enumerate() {
                samples.add((i as u64, drawn.then_some(0)), [("m".to_owned(), *v)]);
            }
            Results { points: [("p".to_owned(), samples)].into() }
        };
        let base: Vec<f64> = (0..20).map(|i| 100.0 + 10.0 * f64::from(i)).collect();
        // One percent more in every pair, far below what seeds differ by.
        let more: Vec<f64> = base.iter().map(|v| v * 1.01).collect();
        let row = &compare(&result(&base, false), &result(&more, false)).0[0];
        assert!(row.significant && row.test == "wilcoxon", "{row:?}");
        let (low, high) = row.change_band.unwrap();
        assert!((low - 0.01).abs() < 1e-9 && (high - 0.01).abs() < 1e-9);
        // More in 15 draws of 20, and by more than it is less in the others: the test alone would tell them apart.
        let mixed: Vec<f64> =
            base.iter().enumerate().map(|(i, v)| if i % 4 == 0 { v * 0.999 } else { v * 1.02 }).collect();
        let seeds = &compare(&result(&base, false), &result(&mixed, false)).0[0];
        let draws = &compare(&result(&base, true), &result(&mixed, true)).0[0];
        assert!(seeds.significant && !draws.significant, "{draws:?}");
        assert_eq!(draws.larger_after, Some(0.75));
        // Other seeds on the other side: no pairs.
        let mut other = result(&more, false);
        other.points.get_mut("p").unwrap().metrics.get_mut("m").unwrap()[0].0 = (99, None);
        assert_eq!(compare(&result(&base, false), &other).0[0].test, "mann-whitney");
    }
}
