//! How many seeds are enough: seeds are added to a point until its means are known closely enough.
//!
//! After each round the 95 % confidence interval of the mean, from Student's t over the seeds so far, is compared with what
//! was asked for (`--until 'throughput.bound.mean:2%'`): the point is done when half its width is at most that share of the
//! mean, or that much in the metric's unit. A first round has [`FIRST_SEEDS`] seeds, each later one half as many again.
//! Rounds depend on results only, not on threads, shards or what was finished before, so a sweep that is resumed, or that
//! other machines do a part of, stops at the same seeds.
//!
//! Looking more than once makes an interval optimistic: one that stops at 2 % holds the true mean somewhat less often than
//! 95 times in 100. With rounds that grow by half there are at most ten looks before 150 seeds.
//!
//! Cost: O(seeds) a look.
use serde::{Deserialize, Serialize};

use crate::scenario::Diagnostic;

/// Seeds of the first round.
pub const FIRST_SEEDS: u64 = 5;
/// Most seeds of a point if nobody says.
pub const MOST_SEEDS: u64 = 100;

/// One metric that is to be known closely.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Until {
    /// Which.
    pub metric: String,
    /// Half the width of the interval: as a share of the mean, or in the metric's unit.
    pub half_width: f64,
    /// Whether it is a share.
    pub is_share: bool,
}

impl Until {
    /// Reads `METRIC:2%` or `METRIC:0.5`.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(argument: &str) -> Result<Self, Box<Diagnostic>> {
        let error = |message: &str| {
            let hint = "write --until METRIC:SHARE% or METRIC:AMOUNT, such as throughput.bound.mean:2%";
            Box::new(Diagnostic::of_file(format!("--until {argument}"), message, hint))
        };
        let (metric, width) = argument.rsplit_once(':').ok_or_else(|| error("no `:` in it"))?;
        let (number, is_share) = match width.trim().strip_suffix('%') {
            Some(number) => (number, true),
            None => (width, false),
        };
        let half_width: f64 = number.trim().parse().map_err(|_| error("no number behind the `:`"))?;
        if !half_width.is_finite() || half_width <= 0.0 {
            return Err(error("the width must be more than 0"));
        }
        let metric = metric.trim().to_owned();
        if metric.is_empty() {
            return Err(error("no metric before the `:`"));
        }
        Ok(Self { metric, half_width: if is_share { half_width / 100.0 } else { half_width }, is_share })
    }

    /// Whether the mean of these values, in order of seeds, is known closely enough. Values that are all equal are.
    #[must_use]
    pub fn holds(&self, values: &[f64]) -> bool {
        let Some(half_width) = half_width_95(values) else { return false };
        let (mean, _) = mean_and_deviation(values);
        let allowed = if self.is_share { self.half_width * mean.abs() } else { self.half_width };
        half_width <= allowed
    }
}

/// How seeds are added to a point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replication {
    /// What must hold; nothing: all seeds at once.
    pub until: Vec<Until>,
}

impl Replication {
    /// How many seeds the round after `done` seeds brings a point to, at most `most`.
    #[must_use]
    pub fn next(&self, done: u64, most: u64) -> u64 {
        match done {
            _ if self.until.is_empty() => most,
            0 => FIRST_SEEDS.min(most),
            n => (n + (n / 2).max(1)).min(most),
        }
    }

    /// Whether everything is known closely enough. `values` gives a metric over the seeds so far, if all have it.
    pub fn is_enough(&self, mut values: impl FnMut(&str) -> Option<Vec<f64>>) -> bool {
        self.until.iter().all(|until| values(&until.metric).is_some_and(|v| until.holds(&v)))
    }
}

/// Mean and standard deviation (over n - 1), summed in order.
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    (mean, libm::sqrt(squares / (n - 1.0)))
}

/// Half the width of the 95 % confidence interval of the mean; none for fewer than two values.
#[must_use]
pub fn half_width_95(values: &[f64]) -> Option<f64> {
    let n = values.len();
    (n > 1).then(|| {
        let (_, deviation) = mean_and_deviation(values);
        t_975(n - 1) * deviation / libm::sqrt(n as f64)
    })
}

/// The 97.5 % quantile of Student's t with so many degrees of freedom; between the tabled ones that of the next fewer,
/// which is on the safe side.
fn t_975(degrees: usize) -> f64 {
    /// NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2.
    const TO_30: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
        2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048,
        2.045, 2.042,
    ];
    const BEYOND: [(usize, f64); 5] = [(1000, 1.962), (100, 1.984), (80, 1.990), (60, 2.000), (40, 2.021)];
    match TO_30.get(degrees.saturating_sub(1)) {
        Some(t) => *t,
        None => BEYOND.iter().find(|(d, _)| degrees >= *d).map_or(TO_30[29], |(_, t)| *t),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_shares_or_amounts() {
        let share = Until::parse("throughput.bound.mean:2%").unwrap();
        assert_eq!((share.metric.as_str(), share.is_share), ("throughput.bound.mean", true));
        assert!((share.half_width - 0.02).abs() < 1e-15);
        let amount = Until::parse("bound.last_s: 0.5").unwrap();
        assert!(!amount.is_share && (amount.half_width - 0.5).abs() < 1e-15);
        for wrong in ["x", "x:", ":2%", "x:0%", "x:-1", "x:nan", "x:inf", "x:2%%"] {
            let error = Until::parse(wrong).unwrap_err().to_string();
            assert!(error.contains("throughput.bound.mean:2%"), "{error}");
        }
    }

    /// 10 values with mean 5.5 and deviation 3.02765: t = 2.262, half width 2.1658.
    #[test]
    fn intervals_are_students() {
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        let half = half_width_95(&values).unwrap();
        assert!((half - 2.1657).abs() < 1e-3, "{half}");
        assert_eq!(half_width_95(&[1.0]), None);
        assert!(Until::parse("m:40%").unwrap().holds(&values));
        assert!(!Until::parse("m:39%").unwrap().holds(&values));
        assert!(Until::parse("m:2.2").unwrap().holds(&values));
        assert!(Until::parse("m:1%").unwrap().holds(&[0.0, 0.0]), "nothing varies");
        assert!(!Until::parse("m:1%").unwrap().holds(&[0.0]), "one seed says nothing");
    }

    #[test]
    fn quantiles_fall_with_the_degrees() {
        let all: Vec<f64> = (1..2000).map(t_975).collect();
        assert!(all.windows(2).all(|w| w[0] >= w[1]));
        assert_eq!(t_975(30).to_bits(), 2.042f64.to_bits());
        assert_eq!(t_975(59).to_bits(), 2.021f64.to_bits());
    }

    #[test]
    fn rounds_grow_by_half() {
        let adaptive = Replication { until: vec![Until::parse("m:2%").unwrap()] };
        let mut done = 0;
        let mut rounds = Vec::new();
        while done < 100 {
            done = adaptive.next(done, 100);
            rounds.push(done);
        }
        assert_eq!(rounds, [5, 7, 10, 15, 22, 33, 49, 73, 100]);
        assert_eq!(adaptive.next(0, 3), 3);
        assert_eq!(Replication::default().next(0, 40), 40);
    }
}
