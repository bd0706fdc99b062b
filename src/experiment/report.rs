//! From a finished run to what people read: metrics, the table of costs, and the sentence about the bottleneck.
//!
//! Everything is computed from timelines and counters. Sums are integers; a float appears only in the last
//! division, so that results are the same bytes everywhere.
//!
//! Cost: O(pods log pods) once a run.
use crate::autoscaler;
use crate::cluster::{PodId, Pods, Timeline};
use crate::control_plane::stages::player::StagesReport;
use crate::engine::{Nanos, SECOND};
use crate::measure::attribution::{Limit, PathSpan, shares};
use crate::measure::metrics::quantile;
use crate::measure::recovery::Case;
use crate::measure::{Metrics, Station};
use crate::scenario::plan::StopWhen;

use super::simulation::{Ended, FaultsReport, Finished};

/// What limited a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Bottleneck {
    /// Spans of the critical path, in order of time.
    pub path: Vec<PathSpan>,
    /// Limits by their share of the path, largest first.
    pub shares: Vec<(Limit, Nanos)>,
    /// The next limit behind the first, with the throughput in pods/s at which it takes over.
    pub next: Option<(String, f64)>,
}

/// One row of the table of costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostRow {
    /// Process.
    pub process: String,
    /// Operation, as in the profile.
    pub operation: String,
    /// How often.
    pub count: u64,
    /// Unit cost, picoseconds.
    pub unit_ps: u64,
    /// Total, nanoseconds of CPU.
    pub total_ns: u64,
}

fn seconds(ns: Nanos) -> f64 {
    ns as f64 / SECOND as f64
}

/// Times of one stage over all pods, ascending, without pods that never reached it.
#[must_use]
pub fn stage_times(pods: &Pods, stage: impl Fn(&Timeline) -> Nanos) -> Vec<Nanos> {
    let mut times: Vec<Nanos> =
        (0..pods.len() as PodId).map(|p| stage(pods.timeline(p))).filter(|t| *t != u64::MAX).collect();
    times.sort_unstable();
    times
}

/// Spans between two stages over all pods that reached both, ascending.
#[must_use]
pub fn spans(pods: &Pods, from: impl Fn(&Timeline) -> Nanos, to: impl Fn(&Timeline) -> Nanos) -> Vec<Nanos> {
    let mut spans: Vec<Nanos> = (0..pods.len() as PodId)
        .filter_map(|p| {
            let t = pods.timeline(p);
            (from(t) != u64::MAX && to(t) != u64::MAX).then(|| to(t).saturating_sub(from(t)))
        })
        .collect();
    spans.sort_unstable();
    spans
}

/// Throughput between the 10th and the 90th percentile of ascending times, as the measured runs state it:
/// 0.8 n / (t90 - t10), each the nearest rank.
#[must_use]
pub fn rate_p10_p90(ascending: &[Nanos]) -> f64 {
    let (Some(t10), Some(t90)) = (quantile(ascending, 100), quantile(ascending, 900)) else { return 0.0 };
    let span = t90 - t10;
    if span == 0 { 0.0 } else { 0.8 * ascending.len() as f64 / seconds(span) }
}

/// The largest number of events in any aligned window, per second, and the counts of all windows.
fn windows(ascending: &[Nanos], window_ns: Nanos) -> f64 {
    let mut best = 0u64;
    let mut count = 0u64;
    let mut current = u64::MAX;
    for t in ascending {
        let window = t / window_ns;
        count = if window == current { count + 1 } else { 1 };
        current = window;
        best = best.max(count);
    }
    best as f64 / seconds(window_ns)
}

/// A stage's time in a timeline.
pub type Column = fn(&Timeline) -> Nanos;

/// Intervals of a pod's life by name, as metrics name them.
pub const INTERVALS: [(&str, Column, Column); 7] = [
    ("created_to_queued", |t| t.created_ns, |t| t.queued_ns),
    ("queued_to_assumed", |t| t.queued_ns, |t| t.assumed_ns),
    ("cycle", |t| t.cycle_ns, |t| t.assumed_ns),
    ("assumed_to_sent", |t| t.assumed_ns, |t| t.bind_sent_ns),
    ("sent_to_bound", |t| t.bind_sent_ns, |t| t.bound_ns),
    ("created_to_bound", |t| t.created_ns, |t| t.bound_ns),
    ("bound_to_started", |t| t.bound_ns, |t| t.running_ns),
];

/// Every metric of a run.
#[must_use]
pub fn metrics(run: &Finished) -> Metrics {
    let mut m = Metrics::default();
    let pods = &run.cluster.pods;
    let c = &run.counts;
    for (name, value) in [
        ("pods.total", c.total),
        ("pods.created", c.created),
        ("pods.assumed", c.assumed),
        ("pods.bound", c.bound),
        ("pods.running", c.running),
        ("pods.finished", c.finished),
        ("pods.failed", c.failed),
        ("pods.pending", c.created - c.bound - c.failed),
        ("nodes", run.cluster.nodes.len() as u64),
        ("events_handled", run.kernel.events_handled()),
    ] {
        m.set(name, value as f64);
    }
    let columns: [(&str, Column); 4] = [
        ("created", |t| t.created_ns),
        ("assumed", |t| t.assumed_ns),
        ("bound", |t| t.bound_ns),
        ("started", |t| t.running_ns),
    ];
    for (name, column) in columns {
        let times = stage_times(pods, column);
        let (Some(first), Some(last)) = (times.first(), times.last()) else {
            m.set(format!("throughput.{name}.mean"), 0.0);
            continue;
        };
        m.set(format!("{name}.first_s"), seconds(*first));
        m.set(format!("{name}.last_s"), seconds(*last));
        let mean = if *last == 0 { 0.0 } else { times.len() as f64 / seconds(*last) };
        m.set(format!("throughput.{name}.mean"), mean);
        m.set(format!("throughput.{name}.p10_p90"), rate_p10_p90(&times));
        m.set(format!("throughput.{name}.max"), windows(&times, run.window_ns));
    }
    for (name, from, to) in INTERVALS {
        let spans = spans(pods, from, to);
        if spans.is_empty() {
            continue;
        }
        let sum: u128 = spans.iter().map(|s| u128::from(*s)).sum();
        m.set(format!("latency.{name}.mean_s"), sum as f64 / spans.len() as f64 / SECOND as f64);
        for (label, q) in [("p50", 500), ("p90", 900), ("p99", 990), ("max", 1000)] {
            m.set(format!("latency.{name}.{label}_s"), seconds(quantile(&spans, q).unwrap_or(0)));
        }
        if name == "cycle" {
            for (label, limit_ns) in [("1ms", 1_000_000), ("10ms", 10_000_000), ("100ms", 100_000_000)] {
                let within = spans.partition_point(|s| *s <= limit_ns);
                m.set(format!("cycle.share_within_{label}"), within as f64 / spans.len() as f64);
            }
        }
    }
    for process in run.kernel.processes() {
        let hosts = run.kernel.hosts();
        m.set(format!("cpu.{}_s", process.name), seconds(hosts.busy_core_ns(process.component)));
        for account in process.meter.accounts().iter().filter(|a| a.count > 0) {
            m.set(format!("ops.{}.{}", process.name, account.operation), account.count as f64);
            if c.bound > 0 {
                let per_pod = account.count as f64 / c.bound as f64;
                m.set(format!("ops_per_pod.{}.{}", process.name, account.operation), per_pod);
            }
        }
    }
    let end = run.kernel.now();
    for host in run.kernel.hosts().host_ids() {
        let hosts = run.kernel.hosts();
        let (name, cores) = (hosts.host_name(host), hosts.cores(host));
        if end > 0 && name != "unlimited" {
            let share = hosts.host_busy_core_ns(host) as f64 / (end as f64 * f64::from(cores));
            m.set(format!("host.{name}.utilisation"), share);
        }
    }
    for client in run.control_plane.clients() {
        m.set(format!("client.{}.requests", client.name), client.bucket.granted(end) as f64);
        m.set(format!("client.{}.rejected_429", client.name), client.rejections as f64);
        m.set(format!("client.{}.failed", client.name), client.failures as f64);
        m.set(format!("client.{}.throttled_s", client.name), seconds(client.bucket.throttled_ns(end)));
    }
    let (connections, dials) = run.control_plane.connection_counts();
    m.set("connections.open", connections as f64);
    m.set("connections.dialled", dials as f64);
    if let Some(etcd) = run.control_plane.etcd() {
        m.set("etcd.syncs", etcd.syncs() as f64);
        m.set("etcd.entries", etcd.entries() as f64);
    }
    if let Some(admissions) = &run.admissions {
        m.set("kueue.jobs.created", admissions.created as f64);
        m.set("kueue.jobs.admitted", admissions.wait_ns.len() as f64);
        if let Some(preemptions) = admissions.preemptions {
            m.set("kueue.preemptions", preemptions as f64);
        }
        let mut to_bound: Vec<Nanos> = (admissions.jobs.iter())
            .flat_map(|(from, to, job)| (*from..*to).map(|pod| (pods.timeline(pod).bound_ns, job.created_ns)))
            .filter(|(bound_ns, _)| *bound_ns != Nanos::MAX)
            .map(|(bound_ns, created_ns)| bound_ns - created_ns)
            .collect();
        to_bound.sort_unstable();
        for (name, spans) in [
            ("admission_wait", &admissions.wait_ns),
            ("start", &admissions.start_ns),
            ("job_to_bound", &to_bound),
        ] {
            let sum: u128 = spans.iter().map(|s| u128::from(*s)).sum();
            if !spans.is_empty() {
                m.set(format!("kueue.{name}.mean_s"), sum as f64 / spans.len() as f64 / SECOND as f64);
            }
            for (label, q) in [("p50", 500), ("p99", 990), ("max", 1000)] {
                if let Some(span) = quantile(spans, q) {
                    m.set(format!("kueue.{name}.{label}_s"), seconds(span));
                }
            }
        }
    }
    m.set("end_s", seconds(end));
    if let Some(faults) = &run.faults {
        fault_metrics(faults, &mut m);
    }
    if let Some(stages) = &run.stages {
        stage_metrics(stages, &mut m);
    }
    if let Some(autoscaler) = &run.autoscaler {
        autoscaler_metrics(autoscaler, &mut m);
    }
    m
}

/// What a node autoscaler did, what it cost, and how long pods waited for nodes.
fn autoscaler_metrics(report: &autoscaler::Report, m: &mut Metrics) {
    let (fleet, decisions) = (&report.fleet, &report.decisions);
    let (granted, refused, left_alone) = report.evictions;
    for (name, value) in [
        ("nodes.requested", fleet.requested),
        ("nodes.added", fleet.added),
        ("nodes.removed", fleet.removed),
        ("nodes.cancelled", fleet.cancelled),
        ("nodes.peak", fleet.peak),
        ("nodes.left", fleet.left),
        ("rounds", decisions.rounds),
        ("scale_ups", decisions.scale_ups),
        ("timed_out", decisions.timed_out),
        ("removed.empty", decisions.empty),
        ("removed.drained", decisions.drained),
        ("left_alone", left_alone),
        ("evictions.granted", granted),
        ("evictions.refused", refused),
        ("cost_micro_dollars", fleet.cost_micro),
        ("wait.pods", report.waited_ns.len() as u64),
        ("wait.open", report.waiting),
    ] {
        m.set(format!("autoscaler.{name}"), value as f64);
    }
    m.set("autoscaler.node_hours", fleet.machine_ns as f64 / (3600 * SECOND) as f64);
    m.set("autoscaler.cost_dollars", fleet.cost_micro as f64 / 1e6);
    if fleet.added > 0 {
        let mean = fleet.provisioning_ns as f64 / fleet.added as f64 / SECOND as f64;
        m.set("autoscaler.provisioning.mean_s", mean);
    }
    if !report.waited_ns.is_empty() {
        let sum: u128 = report.waited_ns.iter().map(|ns| u128::from(*ns)).sum();
        m.set("autoscaler.wait.mean_s", sum as f64 / report.waited_ns.len() as f64 / SECOND as f64);
    }
    for (label, q) in [("p50", 500), ("p90", 900), ("p99", 990), ("max", 1000)] {
        if let Some(span) = quantile(&report.waited_ns, q) {
            m.set(format!("autoscaler.wait.{label}_s"), seconds(span));
        }
    }
    for (name, left) in &report.kinds {
        m.set(format!("autoscaler.left.{name}"), f64::from(*left));
    }
}

/// The critical path to the last binding, or to the last start where the run ends with that.
fn critical_path(run: &Finished, last_bound: Nanos) -> Vec<PathSpan> {
    let pods = &run.cluster.pods;
    let runs = |pod: &PodId| pods.timeline(*pod).running_ns;
    let last =
        (0..pods.len() as PodId).filter(|pod| runs(pod) != u64::MAX).max_by_key(|pod| (runs(pod), *pod));
    let Some(last) = last.filter(|_| run.stop == StopWhen::AllRunning) else {
        return run.stations.critical_path(last_bound);
    };
    let (from_ns, to_ns) = (pods.timeline(last).bound_ns, runs(&last));
    let mut path = run.stations.critical_path(from_ns);
    if to_ns > from_ns {
        path.push(PathSpan { from_ns, to_ns, limit: run.stations.start_up(from_ns, to_ns) });
    }
    path
}

/// How often each stage was played.
fn stage_metrics(stages: &StagesReport, m: &mut Metrics) {
    for (kind, played) in [("pod", &stages.pods), ("node", &stages.nodes)] {
        for (name, times) in played {
            m.set(format!("stages.{kind}.{name}"), *times as f64);
        }
    }
    m.set("stages.events", stages.events as f64);
}

/// What faults did, and how long it took to recover.
fn fault_metrics(faults: &FaultsReport, m: &mut Metrics) {
    if let Some((completed, failed)) = faults.jobs {
        m.set("jobs.completed", completed as f64);
        m.set("jobs.failed", failed as f64);
    }
    if let Some((passed_over, replaced)) = faults.cron_jobs {
        m.set("jobs.passed_over", passed_over as f64);
        m.set("jobs.replaced", replaced as f64);
    }
    for (what, outcome) in [("rollouts", &faults.rollouts), ("scalings", &faults.scalings)] {
        let Some((took_ns, superseded, open)) = outcome else { continue };
        m.set(format!("{what}.completed"), took_ns.len() as f64);
        m.set(format!("{what}.superseded"), *superseded as f64);
        m.set(format!("{what}.not_completed"), *open as f64);
        if let Some(longest) = took_ns.iter().max() {
            let seconds = |ns: u64| ns as f64 / 1e9;
            let mean_ns = took_ns.iter().sum::<u64>() / took_ns.len() as u64;
            m.set(format!("{what}.mean_s"), seconds(mean_ns));
            m.set(format!("{what}.max_s"), seconds(*longest));
        }
    }
    if let Some(refused) = faults.creations_refused {
        m.set("creations.refused", refused as f64);
    }
    if !faults.has_faults {
        m.set("pods.replaced", faults.pods_replaced as f64);
        // Only where nodes have taints that evict.
        if faults.pods_evicted > 0 {
            m.set("pods.evicted", faults.pods_evicted as f64);
        }
        return;
    }
    let cases = || faults.cases.iter().map(|c| &c.case);
    for (name, value) in [
        ("faults.count", faults.cases.len() as u64),
        ("faults.nodes", faults.cases.iter().map(|c| c.nodes).sum()),
        ("faults.pods_lost", cases().map(|c| c.pods_lost).sum()),
        ("faults.not_recovered", cases().filter(|c| !c.is_closed()).count() as u64),
        ("pods.replaced", faults.pods_replaced),
        ("pods.abandoned", faults.pods_abandoned),
        ("pods.evicted", faults.pods_evicted),
        ("pods.collected", faults.pods_collected),
        ("pods.failed_phase", faults.pods_failed),
    ] {
        m.set(name, value as f64);
    }
    if let Some(drains) = faults.drains {
        for (name, value) in [
            ("nodes.drained", drains.nodes_drained),
            ("nodes.not_drained", drains.nodes_given_up),
            ("evictions.granted", drains.evictions_granted),
            ("evictions.refused", drains.evictions_refused),
        ] {
            m.set(name, value as f64);
        }
    }
    type When = fn(&Case) -> Option<Nanos>;
    let spans_of: [(&str, When); 3] = [
        ("bound", |c| c.bound_again_ns.filter(|_| c.pods_lost > 0)),
        ("running", |c| c.running_again_ns.filter(|_| c.pods_lost > 0)),
        ("next_bound", |c| c.next_bound_ns),
    ];
    for (name, when) in spans_of {
        let took = |c: &Case| when(c).map(|at| at.saturating_sub(c.at_ns));
        let mut spans: Vec<Nanos> = cases().filter_map(took).collect();
        spans.sort_unstable();
        if spans.is_empty() {
            continue;
        }
        let sum: u128 = spans.iter().map(|s| u128::from(*s)).sum();
        m.set(format!("recovery.{name}.mean_s"), sum as f64 / spans.len() as f64 / SECOND as f64);
        for (label, q) in [("p50", 500), ("p90", 900), ("p99", 990), ("max", 1000)] {
            m.set(format!("recovery.{name}.{label}_s"), seconds(quantile(&spans, q).unwrap_or(0)));
        }
    }
}

impl Bottleneck {
    /// The limit that held the run up longest.
    #[must_use]
    pub fn limited_by(&self) -> Option<String> {
        self.shares.first().map(|(limit, _)| limit.name())
    }
}

/// The critical path and the next limit behind it.
#[must_use]
pub fn bottleneck(run: &Finished) -> Bottleneck {
    let bound = stage_times(&run.cluster.pods, |t| t.bound_ns);
    let end = bound.last().copied().unwrap_or_else(|| run.kernel.now());
    let path = critical_path(run, end);
    let shares = shares(&path);
    let first = shares.first().map(|(limit, _)| limit.name());
    let n = bound.len() as f64;
    let mean = if end == 0 { 0.0 } else { n / seconds(end) };
    // Pods per second that each resource could carry at full use.
    let mut capacities: Vec<(String, f64)> = Vec::new();
    let mut add = |name: String, capacity: f64| {
        if capacity.is_finite() && capacity > 0.0 {
            capacities.push((name, capacity));
        }
    };
    let cycles = spans(&run.cluster.pods, |t| t.cycle_ns, |t| t.assumed_ns);
    let cycle_ns: u128 = cycles.iter().map(|s| u128::from(*s)).sum();
    add(Station::Scheduler.name().to_owned(), n * SECOND as f64 / cycle_ns as f64);
    let bucket = &run.control_plane.clients()[run.bind_client].bucket;
    if !bucket.is_unlimited() {
        let client = run.stations.clients[0].clone();
        add(Limit::Tokens(Station::BindTokens, client).name(), bucket.qps_milli() as f64 / 1000.0);
    }
    for host in run.kernel.hosts().host_ids() {
        let hosts = run.kernel.hosts();
        // Heartbeats take their part of the cores, however many pods there are. Less than a microsecond is rounding.
        let background = hosts.host_background_core_ns(host);
        let for_pods = hosts.host_busy_core_ns(host).saturating_sub(background);
        if hosts.host_name(host) != "unlimited" && for_pods > 1000 {
            let cores = f64::from(hosts.cores(host)) - background as f64 / run.kernel.now() as f64;
            add(
                Limit::HostCpu(hosts.host_name(host).to_owned()).name(),
                n * SECOND as f64 * cores / for_pods as f64,
            );
        }
    }
    let created = stage_times(&run.cluster.pods, |t| t.created_ns);
    // Whatever holds creation up is then the limit itself, at the same rate.
    let creation = shares.first().is_some_and(|(limit, _)| {
        matches!(limit, Limit::Tokens(Station::CreationTokens, _) | Limit::EtcdSync)
    });
    if let (Some(a), Some(b)) = (created.first(), created.last())
        && b > a
        && !creation
    {
        add(Station::Creation.name().to_owned(), created.len() as f64 / seconds(b - a));
    }
    let next = capacities
        .into_iter()
        .filter(|(name, capacity)| Some(name) != first.as_ref() && *capacity > mean)
        .min_by(|a, b| a.1.total_cmp(&b.1));
    Bottleneck { path, shares, next }
}

/// A rate to whole pods, a small one to two digits.
fn about(rate: f64) -> String {
    if rate >= 10.0 {
        return format!("{rate:.0}");
    }
    let rounded: f64 = format!("{rate:.1e}").parse().unwrap_or(rate);
    rounded.to_string()
}

/// One sentence: what limited the run, and the next limit behind it.
#[must_use]
pub fn sentence(run: &Finished, bottleneck: &Bottleneck) -> String {
    let total: Nanos = bottleneck.shares.iter().map(|(_, ns)| ns).sum();
    let Some((limit, ns)) = bottleneck.shares.first() else {
        return "Nothing was bound.".to_owned();
    };
    let until = if run.stop == StopWhen::AllRunning { "start" } else { "binding" };
    let mut text = format!(
        "Limited by {} ({:.0} % of the time to the last {until}",
        limit.name(),
        *ns as f64 / total.max(1) as f64 * 100.0
    );
    if let Some((second, ns)) = bottleneck.shares.get(1) {
        text += &format!(", then {} {:.0} %", second.name(), *ns as f64 / total.max(1) as f64 * 100.0);
    }
    text += ")";
    match &bottleneck.next {
        Some((name, capacity)) => {
            text += &format!("; the next limit is {name}, at about {} pods/s.", about(*capacity))
        }
        None => text += "; no other limit is near.",
    }
    let pending = run.counts.created - run.counts.bound - run.counts.failed;
    let stuck = run.stations.get(Station::Capacity).covering(run.kernel.now(), 0).is_some();
    if pending > 0 && stuck {
        text =
            format!("{pending} pods are pending because nothing fits them. Until the last binding: {text}");
    }
    if run.ended == Ended::Stalled {
        text += " The run ended because nothing moved any more.";
    } else if run.ended == Ended::Limit {
        text += " The run reached its limit of virtual time.";
    }
    text
}

/// Operations counted times unit costs, largest first within a process.
#[must_use]
pub fn costs(run: &Finished) -> Vec<CostRow> {
    let mut rows = Vec::new();
    for process in run.kernel.processes() {
        let mut mine: Vec<CostRow> = process
            .meter
            .accounts()
            .iter()
            .filter(|a| a.count > 0)
            .map(|a| CostRow {
                process: process.name.clone(),
                operation: a.operation.clone(),
                count: a.count,
                unit_ps: a.unit_ps,
                total_ns: u64::try_from(a.total_ps() / 1000).unwrap_or(u64::MAX),
            })
            .collect();
        mine.sort_by(|a, b| b.total_ns.cmp(&a.total_ns).then_with(|| a.operation.cmp(&b.operation)));
        rows.extend(mine);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the recorder of the measured runs takes them: of ten the first and the ninth.
    #[test]
    fn the_tenth_and_ninetieth_percentile_are_nearest_ranks() {
        let ms = |at: &[u64]| at.iter().map(|t| t * 1_000_000).collect::<Vec<_>>();
        let even: Vec<u64> = (0..10).map(|i| i * 10).collect();
        assert!((rate_p10_p90(&ms(&even)) - 100.0).abs() < 1e-9);
        let bent = [0, 10, 20, 30, 40, 50, 60, 70, 160, 1000];
        assert!((rate_p10_p90(&ms(&bent)) - 50.0).abs() < 1e-9);
        assert!(rate_p10_p90(&[]) == 0.0 && rate_p10_p90(&[7]) == 0.0);
    }

    #[test]
    fn a_small_rate_is_not_zero() {
        let texts = [49_639.7, 62.6, 9.96, 0.030_449, 0.000_947_2].map(about);
        assert_eq!(texts, ["49640", "63", "10", "0.03", "0.00095"]);
    }
}
