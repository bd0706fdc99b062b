//! Telemetry: gauges and counters of the whole control plane at regular virtual times, as a scraper would see them.
//!
//! A [`Telemetry`] is a table of integers, one row a step (`measure.step`), with the columns fixed when the run
//! begins. A long run does not make a large table: past [`MAX_ROWS`] rows every other one is dropped and the step
//! doubles, so that times stay multiples of the step and the table stays small. A row at time t shows the state after
//! every event up to t; reading it changes nothing in the simulation, so results are the same with any step.
//!
//! A [`Histogram`] counts spans by fixed upper bounds, as Prometheus does.
//!
//! Left out: everything that pods' timelines already say; reports compute that from the timelines.
//!
//! Cost: one comparison an event; O(columns) a row; at most 2 x `MAX_ROWS` rows are held.
use crate::engine::Nanos;

/// More rows than this are thinned out.
pub const MAX_ROWS: usize = 4096;

/// Counts of spans by upper bound.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Histogram {
    bounds_ns: Vec<Nanos>,
    /// Not cumulative; the last is past all bounds.
    counts: Vec<u64>,
    sum_ns: u64,
}

impl Histogram {
    /// An empty histogram with ascending bounds.
    #[must_use]
    pub fn new(bounds_ns: &[Nanos]) -> Self {
        Self { bounds_ns: bounds_ns.to_vec(), counts: vec![0; bounds_ns.len() + 1], sum_ns: 0 }
    }

    /// Counts a span; bounds are inclusive.
    #[inline]
    pub fn observe(&mut self, span_ns: Nanos) {
        // Most spans lie below the first bounds: a walk from there is shorter than a binary search.
        let at = self.bounds_ns.iter().position(|bound| span_ns <= *bound).unwrap_or(self.bounds_ns.len());
        self.counts[at] += 1;
        self.sum_ns = self.sum_ns.saturating_add(span_ns);
    }

    /// Spans counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Names of the columns that [`Histogram::row`] fills: `PREFIX.le_NS` for each bound, `PREFIX.count`, `PREFIX.sum_ns`.
    pub fn columns(prefix: &str, bounds_ns: &[Nanos], columns: &mut Vec<String>) {
        columns.extend(bounds_ns.iter().map(|bound| format!("{prefix}.le_{bound}")));
        columns.push(format!("{prefix}.count"));
        columns.push(format!("{prefix}.sum_ns"));
    }

    /// Cumulative counts by bound, the count of all, and the sum.
    pub fn row(&self, row: &mut Vec<u64>) {
        let mut so_far = 0;
        for count in &self.counts {
            so_far += count;
            row.push(so_far);
        }
        row.push(self.sum_ns);
    }
}

/// A table of integers over virtual time.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Telemetry {
    columns: Vec<String>,
    times_ns: Vec<Nanos>,
    values: Vec<u64>,
    step_ns: Nanos,
    next_ns: Nanos,
}

impl Telemetry {
    /// An empty table with its columns; the first row is that of time 0.
    #[must_use]
    pub fn new(columns: Vec<String>, step_ns: Nanos) -> Self {
        Self { columns, step_ns: step_ns.max(1), ..Self::default() }
    }

    /// Whether `now` is past the time of the next row, which must then be recorded.
    #[inline]
    #[must_use]
    pub const fn is_due(&self, now: Nanos) -> bool {
        now > self.next_ns
    }

    /// The time of the next row.
    #[must_use]
    pub const fn next_ns(&self) -> Nanos {
        self.next_ns
    }

    /// Records the row of [`Telemetry::next_ns`].
    ///
    /// # Panics
    /// The row is not as wide as the table.
    pub fn record(&mut self, row: &[u64]) {
        let at = self.next_ns;
        self.push(at, row);
        self.next_ns += self.step_ns;
        if self.times_ns.len() >= 2 * MAX_ROWS {
            self.thin_out();
        }
    }

    /// Records the state at the end of the run.
    ///
    /// # Panics
    /// The row is not as wide as the table.
    pub fn finish(&mut self, now: Nanos, row: &[u64]) {
        if self.times_ns.last() != Some(&now) {
            self.push(now, row);
        }
    }

    fn push(&mut self, at: Nanos, row: &[u64]) {
        assert!(row.len() == self.columns.len(), "a row of telemetry has a value a column");
        self.times_ns.push(at);
        self.values.extend_from_slice(row);
    }

    /// Keeps the rows at even multiples of the step, which becomes twice as long.
    fn thin_out(&mut self) {
        let width = self.columns.len();
        let mut kept = 0;
        for row in (0..self.times_ns.len()).step_by(2) {
            self.times_ns[kept] = self.times_ns[row];
            self.values.copy_within(row * width..(row + 1) * width, kept * width);
            kept += 1;
        }
        self.times_ns.truncate(kept);
        self.values.truncate(kept * width);
        self.step_ns *= 2;
        self.next_ns = self.times_ns.last().map_or(0, |last| last + self.step_ns);
    }

    /// Names of the columns.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The value of a column at the end; none if there is no such column, or no row.
    #[must_use]
    pub fn last_of(&self, column: &str) -> Option<u64> {
        let at = self.columns.iter().position(|name| name == column)?;
        let last = self.times_ns.len().checked_sub(1)?;
        self.values.get(last * self.columns.len() + at).copied()
    }

    /// Rows in order of time.
    pub fn rows(&self) -> impl Iterator<Item = (Nanos, &[u64])> {
        self.times_ns.iter().copied().zip(self.values.chunks_exact(self.columns.len().max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_counts_cumulative() {
        let mut histogram = Histogram::new(&[10, 20]);
        for span in [1, 10, 11, 20, 21, 1000] {
            histogram.observe(span);
        }
        let mut row = Vec::new();
        histogram.row(&mut row);
        assert_eq!(row, [2, 4, 6, 1063]);
        let mut columns = Vec::new();
        Histogram::columns("x", &[10, 20], &mut columns);
        assert_eq!(columns, ["x.le_10", "x.le_20", "x.count", "x.sum_ns"]);
    }

    #[test]
    fn a_long_run_is_thinned_out_evenly() {
        let mut telemetry = Telemetry::new(vec!["t".into()], 10);
        for now in 0..10 * 50_000u64 {
            while telemetry.is_due(now) {
                let at = telemetry.next_ns();
                telemetry.record(&[at]);
            }
        }
        telemetry.finish(499_999, &[499_999]);
        let rows: Vec<(u64, u64)> = telemetry.rows().map(|(at, row)| (at, row[0])).collect();
        assert!(rows.len() > MAX_ROWS && rows.len() <= 2 * MAX_ROWS, "{}", rows.len());
        assert!(rows.iter().all(|(at, value)| at == value));
        let step = rows[1].0;
        assert!(rows[..rows.len() - 1].iter().zip(0..).all(|((at, _), i)| *at == i * step), "step {step}");
        assert_eq!(rows.last(), Some(&(499_999, 499_999)));
    }
}
