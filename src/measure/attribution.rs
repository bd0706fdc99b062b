//! What limited a run: the critical path over the stations' busy periods.
//!
//! The walk starts at the last binding and goes back in time. At each point the most downstream station that was
//! busy just then held up progress; the walk goes to the begin of its busy period (whoever started it came from
//! upstream), attributes that span to it, and goes on. What no station explains is latency: start-up, informers,
//! requests without waiting. This is the critical path of the event graph, because a busy station serves
//! without a pause: its last departure depends on every earlier one of the period.
//!
//! A span of the scheduler's station is the host's if the host's cores were short for most of it and other
//! processes share them: then more cores help, and a faster algorithm helps only by its share. Likewise a span of waiting
//! for seats is the API server's host's if its cores were short for most of it.
//!
//! The **next** limit is the resource with the smallest capacity (pods per second at full use) among the others.
//!
//! Cost: O(path length x log intervals).
use super::station::{BusyIntervals, Station};
use crate::engine::{MILLISECOND, Nanos};

/// Stations' gaps up to this are no break of the path.
const SLACK_NS: Nanos = 20 * MILLISECOND;

/// A named limit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// A station.
    Station(Station),
    /// The cores of a host that several processes share.
    HostCpu(String),
    /// No queue: latencies and start-up.
    Latency,
}

impl Limit {
    /// As results name it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Station(station) => station.name().to_owned(),
            Self::HostCpu(host) => format!("CPU of host {host}"),
            Self::Latency => "start-up and latency".to_owned(),
        }
    }
}

/// One span of the critical path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathSpan {
    /// Begin, ns.
    pub from_ns: Nanos,
    /// End, ns.
    pub to_ns: Nanos,
    /// What held up progress.
    pub limit: Limit,
}

/// Busy periods of all stations and of the scheduler's host.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Stations {
    busy: [BusyIntervals; Station::ALL.len()],
    /// When the scheduler's host had more runnable threads than cores, and its name if others share it.
    pub host_saturated: BusyIntervals,
    /// Name of the scheduler's host, if it is shared.
    pub shared_host: Option<String>,
    /// When work of the API server waited for a core of its host.
    pub server_saturated: BusyIntervals,
    /// Name of the API server's host, if its cores are limited.
    pub server_host: Option<String>,
}

impl Stations {
    /// No recordings yet; `shared_host` names the scheduler's host if other processes share it, `server_host` the API
    /// server's if its cores are limited.
    #[must_use]
    pub fn on_hosts(shared_host: Option<String>, server_host: Option<String>) -> Self {
        Self { shared_host, server_host, ..Self::default() }
    }

    /// One station.
    #[must_use]
    pub const fn get(&self, station: Station) -> &BusyIntervals {
        &self.busy[station as usize]
    }

    /// One station, to record.
    #[inline]
    pub const fn at(&mut self, station: Station) -> &mut BusyIntervals {
        &mut self.busy[station as usize]
    }

    /// Ends the recording.
    pub fn close(&mut self, now: Nanos) {
        for busy in &mut self.busy {
            busy.close(now);
        }
        self.host_saturated.close(now);
        self.server_saturated.close(now);
    }

    /// The critical path that ends at `end_ns`, in order of time.
    #[must_use]
    pub fn critical_path(&self, end_ns: Nanos) -> Vec<PathSpan> {
        let mut path: Vec<PathSpan> = Vec::new();
        let mut at = end_ns;
        while at > 0 {
            // The most downstream busy station; a very short busy period is not what held things up.
            let found = Station::ALL.iter().rev().find_map(|station| {
                let (from, _) = self.get(*station).covering(at, SLACK_NS)?;
                (at - from > SLACK_NS).then_some((*station, from))
            });
            let (limit, from) = match found {
                Some((Station::Scheduler, from)) => match &self.shared_host {
                    Some(host) if self.host_saturated.overlap(from, at) * 2 > at - from => {
                        (Limit::HostCpu(host.clone()), from)
                    }
                    _ => (Limit::Station(Station::Scheduler), from),
                },
                // Requests hold their seats for long because the server's cores are short: more seats would not help.
                Some((Station::Seats, from)) => match &self.server_host {
                    Some(host) if self.server_saturated.overlap(from, at) * 2 > at - from => {
                        (Limit::HostCpu(host.clone()), from)
                    }
                    _ => (Limit::Station(Station::Seats), from),
                },
                Some((station, from)) => (Limit::Station(station), from),
                None => {
                    // Back to the latest end of any busy period.
                    let before = Station::ALL
                        .iter()
                        .filter_map(|s| {
                            let intervals = self.get(*s).intervals();
                            let after = intervals.partition_point(|(_, to)| to + SLACK_NS < at);
                            let long = intervals[..after].iter().rev().find(|(a, b)| b - a > SLACK_NS)?;
                            Some(long.1)
                        })
                        .max()
                        .unwrap_or(0);
                    (Limit::Latency, before)
                }
            };
            match path.last_mut() {
                Some(last) if last.limit == limit => last.from_ns = from,
                _ => path.push(PathSpan { from_ns: from, to_ns: at, limit }),
            }
            at = from;
        }
        path.reverse();
        path
    }
}

/// Sums a path by limit, largest first.
#[must_use]
pub fn shares(path: &[PathSpan]) -> Vec<(Limit, Nanos)> {
    let mut sums: std::collections::BTreeMap<Limit, Nanos> = std::collections::BTreeMap::new();
    for span in path {
        *sums.entry(span.limit.clone()).or_default() += span.to_ns - span.from_ns;
    }
    let mut shares: Vec<(Limit, Nanos)> = sums.into_iter().collect();
    shares.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SECOND;

    #[test]
    fn tokens_hold_up_what_the_scheduler_has_long_done() {
        let mut stations = Stations::default();
        stations.at(Station::Scheduler).add(0, 3 * SECOND);
        stations.at(Station::BindTokens).add(SECOND / 2, 100 * SECOND);
        stations.close(100 * SECOND);
        let path = stations.critical_path(100 * SECOND);
        assert_eq!(path.len(), 2);
        assert_eq!(path[0].limit, Limit::Station(Station::Scheduler));
        assert_eq!(path[0].to_ns, SECOND / 2);
        assert_eq!(path[1].limit, Limit::Station(Station::BindTokens));
        assert_eq!(shares(&path)[0].0, Limit::Station(Station::BindTokens));
    }

    #[test]
    fn a_shared_host_takes_the_blame_when_its_cores_are_short() {
        let mut stations = Stations { shared_host: Some("vm".into()), ..Stations::default() };
        stations.at(Station::Scheduler).add(SECOND, 10 * SECOND);
        stations.host_saturated.add(2 * SECOND, 10 * SECOND);
        let path = stations.critical_path(10 * SECOND);
        assert_eq!(path.last().map(|s| s.limit.clone()), Some(Limit::HostCpu("vm".into())));
        assert_eq!(path[0].limit, Limit::Latency);
    }

    #[test]
    fn seats_are_blamed_only_where_the_server_has_cores_to_spare() {
        let mut stations = Stations::on_hosts(None, Some("vm".into()));
        stations.at(Station::Seats).add(0, 10 * SECOND);
        stations.server_saturated.add(0, 4 * SECOND);
        assert_eq!(stations.critical_path(10 * SECOND)[0].limit, Limit::Station(Station::Seats));
        stations.server_saturated.add(4 * SECOND, 6 * SECOND);
        assert_eq!(stations.critical_path(10 * SECOND)[0].limit, Limit::HostCpu("vm".into()));
    }

    #[test]
    fn nothing_busy_is_latency() {
        let path = Stations::default().critical_path(SECOND);
        assert_eq!(path, [PathSpan { from_ns: 0, to_ns: SECOND, limit: Limit::Latency }]);
    }
}
