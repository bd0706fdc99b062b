//! `telemetry.csv`: the control plane's gauges and counters over virtual time, and how long each station was busy.
//!
//! One row a step of [`Telemetry`](crate::measure::Telemetry), in integers. Columns that stay 0 are left out, as are
//! priority levels that nobody used: whoever reads the file takes an absent column for zeros.
//!
//! Cost: O(rows x columns), both limited.
use std::io::{self, Write};

use super::simulation::Finished;
use crate::engine::Nanos;
use crate::measure::{BusyIntervals, Station};

/// Name of a station's column.
const fn column(station: Station) -> &'static str {
    match station {
        Station::Creation => "station.creation.busy_ns",
        Station::Scheduler => "station.scheduler.busy_ns",
        Station::CreationTokens => "station.creation_tokens.busy_ns",
        Station::Capacity => "station.capacity.busy_ns",
        Station::Backoff => "station.backoff.busy_ns",
        Station::BindTokens => "station.bind_tokens.busy_ns",
        Station::Streams => "station.streams.busy_ns",
        Station::Seats => "station.seats.busy_ns",
        Station::RetryAfter => "station.retry_after.busy_ns",
    }
}

/// Busy time up to a time that never goes back.
struct Busy<'a> {
    intervals: &'a [(Nanos, Nanos)],
    next: usize,
    done_ns: Nanos,
}

impl<'a> Busy<'a> {
    fn new(busy: &'a BusyIntervals) -> Self {
        Self { intervals: busy.intervals(), next: 0, done_ns: 0 }
    }

    fn until(&mut self, at: Nanos) -> Nanos {
        while let Some((from, to)) = self.intervals.get(self.next).filter(|(_, to)| *to <= at) {
            self.done_ns += to - from;
            self.next += 1;
        }
        let begun = self.intervals.get(self.next).map_or(0, |(from, _)| at.saturating_sub(*from));
        self.done_ns + begun
    }
}

/// Writes the table.
///
/// # Errors
/// The writer's.
pub fn write(out: &mut (dyn Write + Send), run: &Finished) -> io::Result<()> {
    let telemetry = &run.telemetry;
    let columns = telemetry.columns();
    let mut used = vec![false; columns.len()];
    for (_, row) in telemetry.rows() {
        for (used, value) in used.iter_mut().zip(row) {
            *used |= *value != 0;
        }
    }
    for (at, name) in columns.iter().enumerate() {
        if let Some(level) = name.strip_prefix("level.").and_then(|rest| rest.split('.').next()) {
            let dispatched = format!(".{level}.dispatched");
            let has_flow = |(other, used): (&String, &bool)| *used && other.ends_with(&dispatched);
            used[at] &= columns.iter().zip(&used).any(has_flow);
        }
    }
    let mut stations: Vec<(&str, Busy<'_>)> = Station::ALL
        .iter()
        .map(|station| (column(*station), run.stations.get(*station)))
        .chain([("station.host_cpu.busy_ns", &run.stations.host_saturated)])
        .filter(|(_, busy)| !busy.intervals().is_empty())
        .map(|(name, busy)| (name, Busy::new(busy)))
        .collect();

    let mut csv = csv::Writer::from_writer(out);
    let kept = || used.iter().enumerate().filter(|(_, used)| **used).map(|(at, _)| at);
    csv.write_field("t_ns")?;
    for at in kept() {
        csv.write_field(&columns[at])?;
    }
    for (name, _) in &stations {
        csv.write_field(name)?;
    }
    csv.write_record(None::<&[u8]>)?;
    for (time, row) in telemetry.rows() {
        csv.write_field(time.to_string())?;
        for at in kept() {
            csv.write_field(row[at].to_string())?;
        }
        for (_, busy) in &mut stations {
            csv.write_field(busy.until(time).to_string())?;
        }
        csv.write_record(None::<&[u8]>)?;
    }
    csv.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SECOND;

    #[test]
    fn busy_time_is_cumulative() {
        let mut intervals = BusyIntervals::default();
        intervals.add(SECOND, 2 * SECOND);
        intervals.add(4 * SECOND, 6 * SECOND);
        let mut busy = Busy::new(&intervals);
        let seconds: Vec<u64> = (0..8).map(|t| busy.until(t * SECOND) / SECOND).collect();
        assert_eq!(seconds, [0, 0, 1, 1, 1, 2, 3, 3]);
    }
}
