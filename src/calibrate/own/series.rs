//! Counters and histograms as a scraper saw them: points in time by metric name and labels, whatever file they came from.
//!
//! An **increase** is what PromQL's `increase` would be without extrapolation: falls of a counter are restarts of its
//! process and count from zero; a series that begins later than the first reading of its process was not there before, so
//! it counts from zero, too. Text scrapes without a time have an order (before, after) and no clock.
//!
//! A histogram's **quantile** is interpolated within its bucket, as `histogram_quantile` does.
//!
//! Left out: native histograms, exemplars, created timestamps.
//!
//! Cost: O(log series) a look-up by name, O(points) an increase.
use std::collections::{BTreeMap, BTreeSet};

/// A metric's labels, sorted by name.
pub type Labels = BTreeMap<String, String>;

/// One process of a control plane, as runs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Process {
    /// kube-scheduler or YuniKorn.
    Scheduler,
    /// kube-apiserver.
    ApiServer,
    /// etcd.
    Etcd,
    /// KWOK's controller.
    Kwok,
    /// Something else, or unknown.
    Other,
}

impl Process {
    /// As CPU seconds of measured runs name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::ApiServer => "apiserver",
            Self::Etcd => "etcd",
            Self::Kwok => "kwok",
            Self::Other => "other",
        }
    }

    /// The process that labels name: `job`, `component`, `service`, `pod`, `container`, in this order.
    #[must_use]
    pub fn of_labels(labels: &Labels) -> Self {
        let known = ["job", "component", "service", "container", "pod", "app"];
        let words = known.into_iter().filter_map(|name| labels.get(name));
        words.map(|word| Self::of_word(word)).find(|p| *p != Self::Other).unwrap_or(Self::Other)
    }

    fn of_word(word: &str) -> Self {
        let word = word.to_lowercase();
        // etcd-operator and the like are no etcd, but `etcd-events` and `etcd-manager-main` hold one.
        for (part, process) in [
            ("scheduler", Self::Scheduler),
            ("yunikorn", Self::Scheduler),
            ("apiserver", Self::ApiServer),
            ("api-server", Self::ApiServer),
            ("etcd", Self::Etcd),
            ("kwok", Self::Kwok),
        ] {
            if word.contains(part) {
                return process;
            }
        }
        if word == "kubernetes" { Self::ApiServer } else { Self::Other }
    }

    /// The process that exports a metric of this name, where the name says it.
    #[must_use]
    pub fn of_metric(name: &str) -> Option<Self> {
        if name.starts_with("scheduler_") || name.starts_with("yunikorn_") {
            Some(Self::Scheduler)
        } else if name.starts_with("apiserver_request_") {
            Some(Self::ApiServer)
        } else if name.starts_with("etcd_server_") || name.starts_with("etcd_disk_") {
            Some(Self::Etcd)
        } else {
            None
        }
    }
}

/// One reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Unix time, seconds; of scrapes without a clock 0 (before) or 1 (after).
    pub at_s: f64,
    /// Value.
    pub value: f64,
}

/// Everything that was scraped during a run.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// By name, process and labels.
    series: BTreeMap<(String, Process, Labels), Vec<Point>>,
    /// First and last reading of each process.
    spans: BTreeMap<Process, (f64, f64)>,
    /// Whether any reading has no clock.
    untimed: bool,
}

/// An increase over the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Increase {
    /// By how much.
    pub amount: f64,
    /// Falls of the counter: restarts of its process.
    pub restarts: u64,
}

impl Samples {
    /// Adds a reading. `timed`: whether `at_s` is a time.
    pub fn add(&mut self, name: &str, process: Process, labels: Labels, point: Point, timed: bool) {
        self.untimed |= !timed;
        let span = self.spans.entry(process).or_insert((point.at_s, point.at_s));
        *span = (span.0.min(point.at_s), span.1.max(point.at_s));
        self.series.entry((name.to_owned(), process, labels)).or_default().push(point);
    }

    /// Takes in the readings of processes that it has none of. Returns the others, sorted.
    pub fn adopt(&mut self, other: Self) -> Vec<Process> {
        let known: Vec<Process> = self.spans.keys().copied().collect();
        let is_new = |process: &Process| !known.contains(process);
        let left: Vec<Process> = other.spans.keys().copied().filter(|p| !is_new(p)).collect();
        if left.len() < other.spans.len() {
            self.untimed |= other.untimed;
        }
        self.spans.extend(other.spans.into_iter().filter(|(process, _)| is_new(process)));
        self.series.extend(other.series.into_iter().filter(|((_, process, _), _)| is_new(process)));
        left
    }

    /// Sorts readings by time; of several at the same time the last one counts.
    pub fn settle(&mut self) {
        for points in self.series.values_mut() {
            points.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
            points.reverse();
            points.dedup_by(|a, b| a.at_s.to_bits() == b.at_s.to_bits());
            points.reverse();
        }
    }

    /// Whether nothing was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Whether the readings have times.
    #[must_use]
    pub const fn is_timed(&self) -> bool {
        !self.untimed
    }

    /// Names of all metrics.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names: BTreeSet<&str> = self.series.keys().map(|(name, ..)| name.as_str()).collect();
        names.into_iter()
    }

    /// Time between the first and the last reading of a process, s.
    #[must_use]
    pub fn window_s(&self, process: Process) -> Option<f64> {
        let (from, to) = self.span_s(process)?;
        (to > from).then_some(to - from)
    }

    /// Series of a metric whose labels hold all of `want` (a value that ends in `*` is a beginning).
    pub fn select<'a>(
        &'a self,
        name: &'a str,
        want: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = (Process, &'a Labels, &'a [Point])> {
        let fits = move |labels: &Labels| {
            want.iter().all(|(label, value)| {
                let has = labels.get(*label).map_or("", String::as_str);
                value.strip_suffix('*').map_or(has == *value, |begin| has.starts_with(begin))
            })
        };
        self.series
            .range((name.to_owned(), Process::Scheduler, Labels::new())..)
            .take_while(move |((found, ..), _)| found == name)
            .filter(move |((.., labels), _)| fits(labels))
            .map(|((_, process, labels), points)| (*process, labels, points.as_slice()))
    }

    /// Whether a process was read more than once.
    #[must_use]
    pub fn is_bracketed(&self, process: Process) -> bool {
        self.spans.get(&process).is_some_and(|(from, to)| to > from)
    }

    /// The value that a series had before its first reading: 0 if it was not there when its process was read first.
    fn base(&self, process: Process, points: &[Point]) -> f64 {
        let first = self.spans.get(&process).map_or(f64::INFINITY, |(from, _)| *from);
        match points.first() {
            Some(point) if point.at_s > first => 0.0,
            Some(point) => point.value,
            None => 0.0,
        }
    }

    /// Increase of one series.
    fn increase_of(&self, process: Process, points: &[Point]) -> Increase {
        let mut before = self.base(process, points);
        let mut increase = Increase::default();
        for point in points {
            if point.value < before {
                increase.restarts += 1;
                increase.amount += point.value;
            } else {
                increase.amount += point.value - before;
            }
            before = point.value;
        }
        increase
    }

    /// Summed increase of the series that fit; none if there is none, or its process was read only once.
    #[must_use]
    pub fn increase(&self, name: &str, want: &[(&str, &str)]) -> Option<Increase> {
        let mut sum: Option<Increase> = None;
        for (process, _, points) in self.select(name, want) {
            if !self.is_bracketed(process) {
                continue;
            }
            let one = self.increase_of(process, points);
            let sum = sum.get_or_insert_with(Increase::default);
            sum.amount += one.amount;
            sum.restarts = sum.restarts.max(one.restarts);
        }
        sum
    }

    /// Increase of a counter of one process, and in how many instances of it.
    #[must_use]
    pub fn increase_in(&self, name: &str, process: Process) -> Option<(Increase, u64)> {
        let mut sum = Increase::default();
        let mut instances = 0;
        for (_, _, points) in self.select(name, &[]).filter(|(p, ..)| *p == process && self.is_bracketed(*p))
        {
            let one = self.increase_of(process, points);
            sum.amount += one.amount;
            sum.restarts += one.restarts;
            instances += 1;
        }
        (instances > 0).then_some((sum, instances))
    }

    /// First and last reading of a process; none without a clock.
    #[must_use]
    pub fn span_s(&self, process: Process) -> Option<(f64, f64)> {
        if self.untimed { None } else { self.spans.get(&process).copied() }
    }

    /// Summed increase by time: what had been counted at each reading, ascending; of timed readings only.
    #[must_use]
    pub fn counted(&self, name: &str, want: &[(&str, &str)]) -> Vec<Point> {
        if self.untimed {
            return Vec::new();
        }
        let series: Vec<(Process, &[Point])> =
            self.select(name, want).map(|(process, _, points)| (process, points)).collect();
        let mut times: Vec<f64> =
            series.iter().flat_map(|(_, points)| points.iter().map(|p| p.at_s)).collect();
        times.extend(series.iter().filter_map(|(process, _)| self.spans.get(process).map(|s| s.0)));
        times.sort_by(f64::total_cmp);
        times.dedup_by(|a, b| a.to_bits() == b.to_bits());
        times
            .into_iter()
            .map(|at_s| {
                let value = series.iter().map(|(process, points)| {
                    let until = points.partition_point(|p| p.at_s <= at_s);
                    self.increase_of(*process, &points[..until]).amount
                });
                Point { at_s, value: value.sum() }
            })
            .collect()
    }

    /// Increase of a histogram (`NAME_bucket`, `_sum`, `_count`); none if it was not read, or counted nothing.
    #[must_use]
    pub fn histogram(&self, name: &str, want: &[(&str, &str)]) -> Option<Distribution> {
        let sum = self.increase(&format!("{name}_sum"), want)?.amount;
        let count = self.increase(&format!("{name}_count"), want)?.amount;
        if count <= 0.0 {
            return None;
        }
        let bucket = format!("{name}_bucket");
        let mut buckets: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
        for (process, labels, points) in self.select(&bucket, want) {
            let Some(le) = labels.get("le").and_then(|le| bound(le)) else { continue };
            if self.is_bracketed(process) {
                // The bits of positive floats sort as the floats do.
                let entry = buckets.entry(le.to_bits()).or_insert((le, 0.0));
                entry.1 += self.increase_of(process, points).amount;
            }
        }
        Some(Distribution { count, sum, buckets: buckets.into_values().collect() })
    }

    /// When a process says it was started (`process_start_time_seconds`): the latest.
    #[must_use]
    pub fn started_s(&self, process: Process) -> Option<f64> {
        let starts = self.select("process_start_time_seconds", &[]).filter(|(found, ..)| *found == process);
        starts.filter_map(|(_, _, points)| points.last().map(|p| p.value)).max_by(f64::total_cmp)
    }
}

fn bound(le: &str) -> Option<f64> {
    if le == "+Inf" { Some(f64::INFINITY) } else { le.parse().ok().filter(|v: &f64| *v >= 0.0) }
}

/// What a histogram counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// How many.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// Upper bound and cumulative count, ascending.
    pub buckets: Vec<(f64, f64)>,
}

impl Distribution {
    /// Spans in ns, counted in buckets with these upper bounds.
    #[must_use]
    pub fn of_spans(spans_ns: &[u64], bounds: impl Iterator<Item = f64>) -> Self {
        let mut ascending: Vec<u64> = spans_ns.to_vec();
        ascending.sort_unstable();
        let seconds = |ns: u64| ns as f64 / 1e9;
        let sum: u128 = ascending.iter().map(|ns| u128::from(*ns)).sum();
        let buckets =
            bounds.map(|le| (le, ascending.partition_point(|ns| seconds(*ns) <= le) as f64)).collect();
        Self { count: ascending.len() as f64, sum: sum as f64 / 1e9, buckets }
    }

    /// Mean.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.sum / self.count
    }

    /// Upper bounds of the buckets.
    pub fn bounds(&self) -> impl Iterator<Item = f64> + '_ {
        self.buckets.iter().map(|(le, _)| *le)
    }

    /// A quantile, interpolated within its bucket; none without buckets, or beyond the last finite bound.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total = self.buckets.last()?.1;
        let rank = q * total;
        let at = self.buckets.iter().position(|(_, count)| *count >= rank && *count > 0.0)?;
        let (le, count) = self.buckets[at];
        if le.is_infinite() {
            return None;
        }
        let (from, below) = if at == 0 { (0.0, 0.0) } else { self.buckets[at - 1] };
        let inside = count - below;
        Some(if inside > 0.0 { from + (le - from) * (rank - below) / inside } else { le })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    /// Name, labels, points.
    type Series<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [(f64, f64)]);

    fn samples(series: &[Series<'_>]) -> Samples {
        let mut samples = Samples::default();
        for (name, pairs, points) in series {
            for (at_s, value) in *points {
                let point = Point { at_s: *at_s, value: *value };
                samples.add(name, Process::Scheduler, labels(pairs), point, true);
            }
        }
        samples.settle();
        samples
    }

    #[test]
    fn restarts_and_late_series_count_from_zero() {
        let s = samples(&[
            ("c", &[("result", "a")], &[(0.0, 10.0), (5.0, 15.0), (10.0, 3.0)]),
            ("c", &[("result", "b")], &[(5.0, 7.0), (10.0, 9.0)]),
        ]);
        assert_eq!(s.increase("c", &[("result", "a")]), Some(Increase { amount: 8.0, restarts: 1 }));
        assert_eq!(s.increase("c", &[("result", "b")]), Some(Increase { amount: 9.0, restarts: 0 }));
        assert!((s.increase("c", &[]).unwrap().amount - 17.0).abs() < 1e-9);
        assert_eq!(s.increase("d", &[]), None);
        let counted: Vec<(f64, f64)> = s.counted("c", &[]).iter().map(|p| (p.at_s, p.value)).collect();
        assert_eq!(counted, [(0.0, 0.0), (5.0, 12.0), (10.0, 17.0)]);
        assert_eq!(s.window_s(Process::Scheduler), Some(10.0));
    }

    #[test]
    fn a_process_is_counted_from_one_source() {
        let mut prometheus =
            samples(&[("c", &[("instance", "10.0.0.1:10259")], &[(0.0, 0.0), (15.0, 40.0)])]);
        let mut scraped = samples(&[("c", &[], &[(1.0, 0.0), (16.0, 40.0)])]);
        let point = |at_s, value| Point { at_s, value };
        scraped.add("e", Process::Etcd, labels(&[]), point(1.0, 3.0), true);
        scraped.add("e", Process::Etcd, labels(&[]), point(16.0, 8.0), true);
        assert_eq!(prometheus.adopt(scraped), [Process::Scheduler]);
        assert!((prometheus.increase("c", &[]).unwrap().amount - 40.0).abs() < 1e-9);
        assert!((prometheus.increase("e", &[]).unwrap().amount - 5.0).abs() < 1e-9);
        assert_eq!(prometheus.window_s(Process::Etcd), Some(15.0));
    }

    #[test]
    fn quantiles_are_those_of_promql() {
        let d = Distribution {
            count: 100.0,
            sum: 30.0,
            buckets: vec![(0.1, 50.0), (0.5, 90.0), (f64::INFINITY, 100.0)],
        };
        assert!((d.quantile(0.5).unwrap() - 0.1).abs() < 1e-12);
        assert!((d.quantile(0.7).unwrap() - 0.3).abs() < 1e-12);
        assert_eq!(d.quantile(0.99), None);
        assert!((d.mean() - 0.3).abs() < 1e-12);
        let same = Distribution::of_spans(&[50_000_000, 400_000_000], d.bounds());
        assert_eq!(same.buckets, [(0.1, 1.0), (0.5, 2.0), (f64::INFINITY, 2.0)]);
    }

    #[test]
    fn processes_by_the_names_that_operators_give_them() {
        for (job, process) in [
            ("kube-scheduler", Process::Scheduler),
            ("apiserver", Process::ApiServer),
            ("kubernetes-apiservers", Process::ApiServer),
            ("kube-etcd", Process::Etcd),
            ("yunikorn", Process::Scheduler),
            ("kwok-controller", Process::Kwok),
            ("node-exporter", Process::Other),
        ] {
            assert_eq!(Process::of_labels(&labels(&[("job", job)])), process, "{job}");
        }
    }
}
