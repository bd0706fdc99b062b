//! What limited a run: the critical path over the stations' busy periods.
//!
//! The walk starts at the last binding and goes back in time. At each point the most downstream station that was
//! busy just then held up progress; the walk goes to the begin of its busy period (whoever started it came from
//! upstream), attributes that span to it, and goes on. What no station explains is latency: start-up, informers,
//! requests without waiting. This is the critical path of the event graph, because a busy station serves
//! without a pause: its last departure depends on every earlier one of the period.
//!
//! A span of a station is a finer limit's where that is known:
//!
//! | span of | is | if for most of it |
//! |---|---|---|
//! | the scheduler | its host's cores | they were short, and other processes share them: more cores help, a faster algorithm only by its share |
//! | seats | the API server's host | its cores were short: requests hold their seats for long |
//! | seats | seats of a priority level | that level's queues held requests, longest of all levels |
//! | creation in a closed loop | the API server's host, or etcd's sync | its cores were short, or most requests being handled were in etcd |
//! | latency | the API server's host, or etcd's sync | its cores were short, or most requests being handled were in etcd |
//!
//! Tokens bear the name of their client.
//!
//! Where the run is over only when all pods run, the path ends with the start of the pod that was last to run, on its node; if
//! its agents' queue or tokens held it up for most of that, it is theirs.
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
    /// Tokens of the client that binds, or that creates.
    Tokens(Station, String),
    /// Seats of a priority level.
    Seats(String),
    /// The cores of a host that several processes share.
    HostCpu(String),
    /// etcd's sync to disk and quorum.
    EtcdSync,
    /// Pods start on their nodes.
    NodeStart,
    /// The workers of the nodes' common agent (KWOK), or its tokens.
    NodeAgents,
    /// No queue: latencies and start-up.
    Latency,
}

impl Limit {
    /// As results name it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Station(station) => station.name().to_owned(),
            Self::Tokens(station, client) => format!("{} of client {client}", station.name()),
            Self::Seats(level) => format!("seats of level {level}"),
            Self::HostCpu(host) => format!("CPU of host {host}"),
            Self::EtcdSync => "etcd sync".to_owned(),
            Self::NodeStart => "node start-up".to_owned(),
            Self::NodeAgents => "node agents' workers".to_owned(),
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

/// Busy periods of all stations, and what else tells limits apart.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Stations {
    busy: [BusyIntervals; Station::ALL.len()],
    /// When requests waited for seats of a priority level, by level.
    levels: Vec<(String, BusyIntervals)>,
    /// Of which change of the queues these are; see [`Stations::levels_change`].
    levels_as_of: Option<u64>,
    /// When most requests that were being handled waited for etcd's sync.
    pub etcd_sync: BusyIntervals,
    /// When the queue of the nodes' common agent held pods, or its client's requests waited for tokens.
    pub node_agents: BusyIntervals,
    /// Names of the clients that bind and that create.
    pub clients: [String; 2],
    /// Whether creations wait for the answers to earlier ones.
    pub closed_loop: bool,
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

    /// Whether the queues of levels have changed since they were told last, by the number of the change.
    #[inline]
    pub fn levels_change(&mut self, change: u64) -> bool {
        self.levels_as_of.replace(change) != Some(change)
    }

    /// Requests wait for seats of a level from now on.
    #[inline]
    pub fn level_waits(&mut self, now: Nanos, level: &str) {
        if let Some((_, intervals)) = self.levels.iter_mut().find(|(name, _)| name == level) {
            intervals.set(now, true);
        } else {
            let mut intervals = BusyIntervals::default();
            intervals.set(now, true);
            self.levels.push((level.to_owned(), intervals));
        }
    }

    /// No requests wait from now on for seats of the levels for which `ends` says so.
    #[inline]
    pub fn end_levels(&mut self, now: Nanos, ends: impl Fn(&str) -> bool) {
        for (level, intervals) in &mut self.levels {
            if intervals.is_busy() && ends(level) {
                intervals.set(now, false);
            }
        }
    }

    /// Ends the recording.
    pub fn close(&mut self, now: Nanos) {
        let levels = self.levels.iter_mut().map(|(_, busy)| busy);
        let more = [
            &mut self.host_saturated,
            &mut self.server_saturated,
            &mut self.etcd_sync,
            &mut self.node_agents,
        ];
        for busy in self.busy.iter_mut().chain(levels).chain(more) {
            busy.close(now);
        }
    }

    /// What a station's span is called, where more is known than the station.
    fn limit(&self, station: Station, from: Nanos, at: Nanos) -> Limit {
        let most = |busy: &BusyIntervals| busy.overlap(from, at) * 2 > at - from;
        let host =
            |name: &Option<String>, short: &BusyIntervals| name.as_ref().filter(|_| most(short)).cloned();
        match station {
            Station::Scheduler => match host(&self.shared_host, &self.host_saturated) {
                Some(host) => Limit::HostCpu(host),
                None => Limit::Station(station),
            },
            Station::Seats => match host(&self.server_host, &self.server_saturated) {
                // Requests hold their seats for long because the server's cores are short: more seats would not help.
                Some(host) => Limit::HostCpu(host),
                None => {
                    let longest = self.levels.iter().max_by_key(|(_, busy)| busy.overlap(from, at));
                    longest.map_or(Limit::Station(station), |(level, _)| Limit::Seats(level.clone()))
                }
            },
            Station::Creation if self.closed_loop => match host(&self.server_host, &self.server_saturated) {
                Some(host) => Limit::HostCpu(host),
                None if most(&self.etcd_sync) => Limit::EtcdSync,
                None => Limit::Station(station),
            },
            Station::BindTokens => Limit::Tokens(station, self.clients[0].clone()),
            Station::CreationTokens => Limit::Tokens(station, self.clients[1].clone()),
            station => Limit::Station(station),
        }
    }

    /// What held up requests under way in a span in which no station was busy.
    fn between(&self, from: Nanos, at: Nanos) -> Limit {
        let most = |busy: &BusyIntervals| busy.overlap(from, at) * 2 > at - from;
        match &self.server_host {
            Some(host) if most(&self.server_saturated) => Limit::HostCpu(host.clone()),
            _ if most(&self.etcd_sync) => Limit::EtcdSync,
            _ => Limit::Latency,
        }
    }

    /// What held up the start of a pod that was bound at `from` and ran at `at`.
    #[must_use]
    pub fn start_up(&self, from: Nanos, at: Nanos) -> Limit {
        if self.node_agents.overlap(from, at) * 2 > at - from { Limit::NodeAgents } else { Limit::NodeStart }
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
                Some((station, from)) => (self.limit(station, from, at), from),
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
                    (self.between(before, at), before)
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
        let mut stations = Stations { clients: ["scheduler".into(), "load".into()], ..Stations::default() };
        stations.at(Station::Scheduler).add(0, 3 * SECOND);
        stations.at(Station::BindTokens).add(SECOND / 2, 100 * SECOND);
        stations.close(100 * SECOND);
        let path = stations.critical_path(100 * SECOND);
        assert_eq!(path.len(), 2);
        assert_eq!(path[0].limit, Limit::Station(Station::Scheduler));
        assert_eq!(path[0].to_ns, SECOND / 2);
        let tokens = Limit::Tokens(Station::BindTokens, "scheduler".to_owned());
        assert_eq!(path[1].limit, tokens);
        assert_eq!(shares(&path)[0].0.name(), "bind tokens of client scheduler");
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
        stations.level_waits(SECOND, "workload-low");
        stations.level_waits(2 * SECOND, "workload-high");
        stations.end_levels(3 * SECOND, |_| true);
        assert_eq!(stations.critical_path(10 * SECOND)[0].limit.name(), "seats of level workload-low");
        stations.server_saturated.add(4 * SECOND, 6 * SECOND);
        assert_eq!(stations.critical_path(10 * SECOND)[0].limit, Limit::HostCpu("vm".into()));
    }

    #[test]
    fn a_closed_loop_waits_for_etcd_and_an_open_one_does_not() {
        let mut stations = Stations { closed_loop: true, ..Stations::default() };
        stations.at(Station::Creation).add(0, 10 * SECOND);
        stations.etcd_sync.add(0, 8 * SECOND);
        assert_eq!(stations.critical_path(10 * SECOND)[0].limit, Limit::EtcdSync);
        stations.closed_loop = false;
        assert_eq!(stations.critical_path(10 * SECOND)[0].limit, Limit::Station(Station::Creation));
    }

    #[test]
    fn nothing_busy_is_latency() {
        let path = Stations::default().critical_path(SECOND);
        assert_eq!(path, [PathSpan { from_ns: 0, to_ns: SECOND, limit: Limit::Latency }]);
    }
}
