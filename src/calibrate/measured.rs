//! Measured runs of real control planes: their conditions and, apart from them, what was measured.
//!
//! A run is `NAME.json` beside `NAME.pods.csv.gz`. [`Conditions`] holds what a prediction may use: the settings,
//! and of the pods' rows the two inputs (when each creation was sent, how long each pod was held). [`Measured`]
//! holds the results and is read by a function of its own, after the prediction.
//!
//! `NAME.metrics.gz` beside it may tell a setting that the file does not state ([`sampling`](super::sampling)).
//!
//! Creations are replayed as they were sent. In a closed loop (rate 0) the generator sends the next one when the server has answered,
//! so that their times are partly the server's doing: such a prediction is told something of its outcome.
//!
//! Cost: O(rows).
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::run::{Outcome, Reading};
use super::sampling::Calls;

use crate::cluster::{
    App, Cluster, HOSTNAME_LABEL, NodeTemplate, PodAffinityTerm, PodSpec, Resources, SpreadConstraint,
    ZONE_LABEL,
};
use crate::control_plane::etcd::EtcdSettings;
use crate::control_plane::node_agents::AgentKind;
use crate::cost::{CostProfile, ProfileError, ProfileLibrary};
use crate::engine::{Nanos, SECOND};
use crate::experiment::run::RunError;
use crate::scenario::limits;
use crate::scenario::plan::{
    AgentsPlan, ApiServerPlan, ClientIdentity, ClientLimits, Creation, HostPlan, Lifetimes, Placement, Plan,
    Provenance, SchedulerPlan, StopWhen,
};
use crate::scheduler::Settings;
use crate::trace::TraceError;

/// Most bytes of a run's table: a row of 40 bytes for each of the pods that a scenario may have.
const MAX_TEXT_BYTES: u64 = 4 << 30;
/// So much any file may expand to.
const FREE_TEXT_BYTES: u64 = 64 << 20;
/// Times a file may expand beyond that. Tables of measured runs expand 3 to 10 times, counters 10 to 30.
const GZIP_EXPANSION: u64 = 200;

/// A measured run can't be read or has conditions that are not modelled.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum MeasuredError {
    #[error("{}: {message}", file.display())]
    File { file: PathBuf, message: String },
    #[error("{}: {message}", file.display())]
    NotModelled { file: PathBuf, message: String },
    #[error(transparent)]
    Input(Box<TraceError>),
    #[error("{0}")]
    Scenario(RunError),
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

/// The conditions of a run, as its JSON states them. Results are not among the fields.
#[derive(Clone, Debug, Deserialize)]
pub struct Conditions {
    /// Name.
    pub run: String,
    /// Which limit was reached; only used to sum up.
    pub class: String,
    /// `default-scheduler` or `yunikorn`.
    pub scheduler: String,
    /// Nodes.
    pub nodes: u64,
    /// Pods.
    pub pods: u64,
    /// Applications.
    pub apps: u64,
    /// The scheduler's client.
    pub qps: f64,
    /// The scheduler's client.
    pub burst: u32,
    /// `--max-requests-inflight` and `--max-mutating-requests-inflight`.
    pub inflight: [u32; 2],
    /// All pods exist before the scheduler starts.
    pub preload: bool,
    /// Pods per second; 0: closed loop.
    pub rate: f64,
    /// `none`, `antiaffinity`, `prefantiaffinity`, `spread`.
    pub constraint: String,
    /// Kubernetes quantity.
    pub cpu_request: String,
    /// Kubernetes quantity.
    pub mem_request: String,
    /// Mixed requests.
    pub hetero: bool,
    /// Every k-th pod is too big for any node; 0: none.
    pub too_big_every: u64,
    /// Real KWOK runs the nodes.
    pub kwok: bool,
    /// etcd calls fdatasync.
    pub etcd_fsync: bool,
    /// Which process shares which core; absent in the exempt set.
    #[serde(default)]
    pub placement: Option<String>,
    /// Who the clients are; absent in the exempt set, where all are in system:masters.
    #[serde(default)]
    pub clients: Option<String>,
    /// Shortest and longest time a bound pod is held before its deletion, s; 0: for good.
    #[serde(default)]
    pub hold_s: Option<[f64; 2]>,
    /// kube-scheduler's `percentageOfNodesToScore`, where the run states it or its counters tell it.
    #[serde(default)]
    pub percentage_of_nodes_to_score: Option<u32>,
    /// kube-scheduler's `parallelism`, where the run states it.
    #[serde(default)]
    pub parallelism: Option<u32>,
    /// Nodes that fail; not modelled.
    #[serde(default)]
    pub fail_nodes: u64,
    /// Pods came from a controller manager; not modelled here.
    #[serde(default)]
    pub kcm: bool,
}

/// Inputs from the pods' rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// When the creation of pod i was sent, microseconds since t = 0 (negative before the scheduler started).
    pub create_sent_us: Vec<i64>,
    /// How long pod i is held once bound, milliseconds; 0: for good.
    pub hold_ms: Vec<u64>,
}

/// What was measured.
#[derive(Clone, Debug, Deserialize)]
pub struct Measured {
    /// 0.8 bound / (t90 - t10).
    pub bound_per_s_p10_p90: f64,
    /// Last binding since t = 0.
    pub last_bound_s: f64,
    /// Creation seen to binding seen.
    pub latency_p50_s: f64,
    /// Creation seen to binding seen.
    pub latency_p99_s: f64,
    /// Creation seen to binding seen.
    #[serde(default)]
    pub latency_p90_s: Option<f64>,
    /// First binding since t = 0.
    #[serde(default)]
    pub first_bound_s: Option<f64>,
    /// Binding seen to running seen; below 0: no agents.
    #[serde(default)]
    pub bind_to_running_p50_s: Option<f64>,
    /// Binding seen to running seen; below 0: no agents.
    #[serde(default)]
    pub bind_to_running_p99_s: Option<f64>,
    /// CPU seconds per process from t = 0 to the end.
    pub cpu_s: BTreeMap<String, f64>,
    /// How many pods were bound.
    pub bound: u64,
    /// No pod was bound for 25 s, or the limit passed.
    pub timed_out: bool,
}

impl Conditions {
    /// Sets a field that the run's file lacks.
    pub(super) fn set(&mut self, field: &str, value: &str) -> Result<(), String> {
        let value: u32 = value.parse().map_err(|_| "not a whole number".to_owned())?;
        match field {
            "percentage_of_nodes_to_score" => self.percentage_of_nodes_to_score = Some(value),
            "parallelism" => self.parallelism = Some(value),
            _ => return Err("the field is neither percentage_of_nodes_to_score nor parallelism".to_owned()),
        }
        Ok(())
    }
}

impl Measured {
    /// By the names of predictions.
    #[must_use]
    pub fn outcome(self) -> Outcome {
        let known = [
            ("bound_per_s_p10_p90", Some(self.bound_per_s_p10_p90)),
            ("last_bound_s", Some(self.last_bound_s)),
            ("latency_p50_s", Some(self.latency_p50_s)),
            ("latency_p99_s", Some(self.latency_p99_s)),
        ]
        .into_iter()
        .chain(
            // Minus one stands for nothing.
            [
                ("latency_p90_s", self.latency_p90_s),
                ("first_bound_s", self.first_bound_s),
                ("bind_to_running_p50_s", self.bind_to_running_p50_s),
                ("bind_to_running_p99_s", self.bind_to_running_p99_s),
            ]
            .map(|(name, value)| (name, value.filter(|v| *v >= 0.0))),
        );
        let mut values: BTreeMap<String, Reading> =
            known.filter_map(|(name, value)| Some((name.to_owned(), Reading::exact(value?)))).collect();
        values.extend(self.cpu_s.into_iter().map(|(k, v)| (format!("cpu_s.{k}"), Reading::exact(v))));
        Outcome { values, bound: self.bound, timed_out: self.timed_out, ..Outcome::default() }
    }
}

fn error(file: &Path, message: impl Into<String>) -> MeasuredError {
    MeasuredError::File { file: file.to_owned(), message: message.into() }
}

fn read_json<T: for<'de> Deserialize<'de>>(file: &Path) -> Result<T, MeasuredError> {
    let text = std::fs::read_to_string(file).map_err(|e| error(file, format!("can't read: {e}")))?;
    serde_json::from_str(&text).map_err(|e| error(file, format!("not a measured run: {e}")))
}

/// Reads a run's conditions and inputs, and nothing else.
///
/// # Errors
/// The files can't be read, or the rows don't agree with the conditions.
pub fn read_conditions(file: &Path) -> Result<(Conditions, Inputs), MeasuredError> {
    let conditions: Conditions = read_json(file)?;
    check_sizes(file, &conditions)?;
    let rows = file.with_extension("pods.csv.gz");
    let inputs = read_inputs(&rows, &conditions)?;
    Ok((conditions, inputs))
}

/// What is too large to be simulated is said before anything of its size is made.
fn check_sizes(file: &Path, c: &Conditions) -> Result<(), MeasuredError> {
    let sizes =
        [("nodes", c.nodes, limits::NODES), ("pods", c.pods, limits::PODS), ("apps", c.apps, limits::APPS)];
    for (field, value, most) in sizes {
        if value > most {
            let message = format!(
                "`{field}` is {value}, expected at most {most}; is there a digit too many? Correct the field, or leave the run out"
            );
            return Err(error(file, message));
        }
    }
    Ok(())
}

/// Text that was compressed with gzip, if it does not expand as no table of a run does.
fn read_gzip(file: &Path) -> Result<String, MeasuredError> {
    let too_large = || {
        let most = MAX_TEXT_BYTES >> 20;
        let message = format!(
            "expands to more than {most} MiB, or {GZIP_EXPANSION} times its size; expected a table of a run's pods or counters: \
             make the file anew, or leave the run out"
        );
        error(file, message)
    };
    let cant_read = |e: std::io::Error| error(file, format!("can't read: {e}"));
    let opened = std::fs::File::open(file).map_err(cant_read)?;
    let metadata = opened.metadata().map_err(cant_read)?;
    if !metadata.is_file() {
        return Err(error(file, "is no regular file; expected one that is compressed with gzip".to_owned()));
    }
    let most = metadata.len().saturating_mul(GZIP_EXPANSION).clamp(FREE_TEXT_BYTES, MAX_TEXT_BYTES);
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(std::io::BufReader::new(opened))
        .take(most + 1)
        .read_to_end(&mut text)
        .map_err(|e| error(file, format!("not gzip-compressed text: {e}")))?;
    if text.len() as u64 > most {
        return Err(too_large());
    }
    String::from_utf8(text).map_err(|e| error(file, format!("not gzip-compressed text: {e}")))
}

/// Fills in what the counters beside a run tell of settings that its file does not state, and says so.
///
/// # Errors
/// The counters are there and can't be read.
pub(super) fn read_settings(file: &Path, conditions: &mut Conditions) -> Result<Vec<String>, MeasuredError> {
    let scrape = file.with_extension("metrics.gz");
    let stated = conditions.percentage_of_nodes_to_score.is_some();
    if stated || conditions.scheduler == "yunikorn" || !scrape.is_file() {
        return Ok(Vec::new());
    }
    let calls = Calls::of_scrape(&read_gzip(&scrape)?).map_err(|message| error(&scrape, message))?;
    let nodes = conditions.nodes;
    let told = calls.and_then(|calls| Some((calls, calls.percentage_of_nodes_to_score(nodes)?)));
    let Some((calls, percentage)) = told else { return Ok(Vec::new()) };
    conditions.percentage_of_nodes_to_score = Some(percentage);
    let scored = calls.score / calls.pre_score;
    Ok(vec![format!(
        "percentageOfNodesToScore is {percentage}, by its counters ({scored} of {nodes} nodes scored for each pod); the file does not \
         state it"
    )])
}

fn read_inputs(file: &Path, conditions: &Conditions) -> Result<Inputs, MeasuredError> {
    let text = read_gzip(file)?;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|e| error(file, e.to_string()))?.clone();
    let column = |name: &str| headers.iter().position(|h| h == name);
    let missing = |name: &str| error(file, format!("has no column `{name}`"));
    let pod = column("pod").ok_or_else(|| missing("pod"))?;
    let sent = column("create_sent_us").ok_or_else(|| missing("create_sent_us"))?;
    let hold = column("hold_ms");
    let pods = conditions.pods as usize;
    let mut inputs = Inputs { create_sent_us: vec![0; pods], hold_ms: vec![0; pods] };
    for (row, record) in reader.records().enumerate() {
        let line = row + 2;
        let record = record.map_err(|e| error(file, e.to_string()))?;
        let number = |at: usize| {
            let text = record.get(at).unwrap_or("");
            text.parse::<i64>().map_err(|_| error(file, format!("line {line}: `{text}` is not an integer")))
        };
        let index = number(pod)?;
        let at = usize::try_from(index)
            .ok()
            .filter(|i| *i < pods)
            .ok_or_else(|| error(file, format!("line {line}: pod {index}, but the run has {pods} pods")))?;
        let within = |value: i64, column: &str, unit_ns: u64| {
            if value > 0 && value.unsigned_abs() > limits::DURATION_NS / unit_ns {
                let message = format!("line {line}: `{column}` is {value}, expected at most 10 years");
                return Err(error(file, message));
            }
            Ok(value)
        };
        inputs.create_sent_us[at] = within(number(sent)?, "create_sent_us", 1000)?;
        if let Some(hold) = hold {
            let hold_ms = within(number(hold)?, "hold_ms", 1_000_000)?;
            inputs.hold_ms[at] = u64::try_from(hold_ms).unwrap_or(0);
        }
    }
    Ok(inputs)
}

/// Reads what was measured.
///
/// # Errors
/// The file can't be read.
pub fn read_measured(file: &Path) -> Result<Measured, MeasuredError> {
    read_json(file)
}

/// Process of a measured machine, as `placement` names them.
const PROCESSES: [(&str, usize); 5] =
    [("etcd", 0), ("API server", 1), ("kwok", 2), ("loader", 3), ("scheduler", 4)];

/// Hosts of a placement and the host of each process in the order of [`PROCESSES`]: clauses such as "etcd, API server
/// and loader on core 0; scheduler on core 1", or all on the same cores. Each set of cores is a
/// host; none if two sets share some cores and not all.
fn hosts(placement: Option<&str>, machine: &CostProfile, cores: u32) -> Option<(Vec<HostPlan>, [usize; 5])> {
    let noise_ppm = u32::try_from(machine.parameter("noise_ppm").unwrap_or(0)).unwrap_or(0);
    let host = |name: String, cores| HostPlan { name, cores, speed_ppm: 1_000_000, noise_ppm };
    let all = || Some((vec![host("machine".to_owned(), cores)], [0; 5]));
    let Some(placement) = placement else { return all() };
    if placement.starts_with("all on the same") {
        return all();
    }
    let mut plans = Vec::new();
    let mut sets: Vec<Vec<&str>> = Vec::new();
    let mut place = [usize::MAX; 5];
    for clause in placement.split(';') {
        let (names, on) = clause.split_once(" on core")?;
        let on: Vec<&str> = on
            .trim_start_matches('s')
            .split(|c: char| !c.is_ascii_digit())
            .filter(|s| !s.is_empty())
            .collect();
        if on.is_empty() {
            return None;
        }
        let at = match sets.iter().position(|set| *set == on) {
            Some(at) => at,
            // Hosts share no core.
            None if sets.iter().flatten().any(|core| on.contains(core)) => return None,
            None => {
                plans.push(host(format!("core-{}", on.join("-")), u32::try_from(on.len()).unwrap_or(1)));
                sets.push(on);
                plans.len() - 1
            }
        };
        for (process, slot) in PROCESSES {
            if names.contains(process) || names.contains("rest") && place[slot] == usize::MAX {
                place[slot] = at;
            }
        }
    }
    // A process that the placement does not name may run anywhere; the first host stands for that.
    let place = place.map(|p| if p == usize::MAX { 0 } else { p });
    Some((plans, place))
}

/// The load generator's mixed requests, in the generator's signed 64-bit arithmetic.
fn hetero_requests(i: i64) -> (u64, u64) {
    const MI: u64 = 1 << 20;
    let cpu = [250, 500, 1000, 2000][((i.wrapping_mul(2_654_435_761) >> 7) & 3) as usize];
    let memory =
        [512 * MI, 1024 * MI, 2048 * MI, 4096 * MI][((i.wrapping_mul(2_246_822_519) >> 9) & 3) as usize];
    (cpu, memory)
}

/// What `constraint` may say.
const CONSTRAINTS: [&str; 5] = ["", "none", "antiaffinity", "prefantiaffinity", "spread"];

fn pod_spec(c: &Conditions, app: &str, requests: Resources) -> PodSpec {
    let labels: std::collections::BTreeMap<String, String> =
        [("app".to_owned(), app.to_owned())].into_iter().collect();
    let selector = labels.clone().into();
    let mut spec = PodSpec { requests, labels, ..PodSpec::default() };
    match c.constraint.as_str() {
        "antiaffinity" | "prefantiaffinity" => spec.pod_affinity.push(PodAffinityTerm {
            selector,
            topology_key: HOSTNAME_LABEL.to_owned(),
            weight: (c.constraint == "prefantiaffinity").then_some(100),
            anti: true,
            ..PodAffinityTerm::default()
        }),
        "spread" => spec.topology_spread.push(SpreadConstraint {
            max_skew: 1,
            topology_key: ZONE_LABEL.to_owned(),
            hard: true,
            selector,
            ..SpreadConstraint::default()
        }),
        _ => {}
    }
    spec
}

fn quantity(
    file: &Path,
    field: &str,
    text: &str,
) -> Result<crate::scenario::quantity::Quantity, MeasuredError> {
    text.parse().map_err(|e| error(file, format!("{field}: {e:?}")))
}

/// The plan that predicts a run from its conditions.
///
/// # Errors
/// A condition that is not modelled, or a missing profile.
pub fn plan(
    file: &Path,
    c: &Conditions,
    inputs: &Inputs,
    profiles: &ProfileLibrary,
    seed: u64,
) -> Result<Plan, MeasuredError> {
    let unsupported = |what: &str| {
        let message = format!("{what} is not modelled; leave this run out");
        Err(MeasuredError::NotModelled { file: file.to_owned(), message })
    };
    if c.fail_nodes > 0 {
        return unsupported("fail_nodes");
    }
    if c.kcm {
        return unsupported("creation by a controller manager (kcm)");
    }
    if !CONSTRAINTS.contains(&c.constraint.as_str()) {
        return unsupported(&format!("constraint `{}`", c.constraint));
    }
    let machine = profiles.load("machine-2-core")?;
    let cores = u32::try_from(machine.parameter("cores")?).unwrap_or(2);
    let Some((hosts, on)) = hosts(c.placement.as_deref(), &machine, cores) else {
        return unsupported(&format!("placement `{}`", c.placement.as_deref().unwrap_or("")));
    };
    let place = |profile: &str, process: usize| -> Result<Placement, MeasuredError> {
        Ok(Placement { profile: profiles.load(profile)?, host: Some(on[process]), max_threads: None })
    };

    let mut cluster = Cluster::default();
    let template = cluster.nodes.add_template(NodeTemplate {
        allocatable: Resources {
            cpu_millicores: 32_000,
            memory_bytes: 256 << 30,
            pods: 110,
            extended: Vec::new(),
        },
        ..NodeTemplate::default()
    });
    let zones: Vec<u32> = (0..8).map(|z| cluster.nodes.add_zone(&format!("zone-{z}"))).collect();
    for i in 0..c.nodes {
        cluster.nodes.add(format!("{i:05}"), template, Some(zones[(i % 8) as usize]));
    }
    let cpu_millicores = quantity(file, "cpu_request", &c.cpu_request)?.milli().unwrap_or(0);
    let memory_bytes = quantity(file, "mem_request", &c.mem_request)?.units().unwrap_or(0);
    // Pod i of P is in application floor(i A / P). Creations in order of their time, so that index = arrival.
    let apps = c.apps.max(1);
    let app_ids: Vec<u32> = (0..apps)
        .map(|a| {
            cluster.pods.add_app(App {
                name: format!("app-{a}"),
                queue: "root.default".to_owned(),
                ..App::default()
            })
        })
        .collect();
    let mut order: Vec<usize> = (0..c.pods as usize).collect();
    order.sort_by_key(|i| (inputs.create_sent_us[*i], *i));
    for &i in &order {
        let a = i as u64 * apps / c.pods.max(1);
        let (cpu, memory) = if c.hetero { hetero_requests(i as i64) } else { (cpu_millicores, memory_bytes) };
        let too_big = c.too_big_every > 0 && (i as u64).is_multiple_of(c.too_big_every);
        let requests = Resources {
            cpu_millicores: if too_big { 64_000 } else { cpu },
            memory_bytes: memory,
            ..Resources::default()
        };
        let spec = cluster.pods.add_spec(pod_spec(c, &format!("app-{a}"), requests));
        cluster.pods.add(spec, app_ids[a as usize]);
    }
    let creation = if c.preload {
        Creation::Existing
    } else {
        let at = |i: &usize| u64::try_from(inputs.create_sent_us[*i]).unwrap_or(0) * 1000;
        Creation::Scheduled { times_ns: Arc::new(order.iter().map(at).collect()) }
    };
    let holds = c.hold_s.is_some_and(|[_, longest]| longest > 0.0);
    let lifetimes = if holds {
        let span = |i: &usize| match inputs.hold_ms[*i] {
            0 => u64::MAX,
            ms => ms * 1_000_000,
        };
        Lifetimes::Hold(Arc::new(order.iter().map(span).collect()))
    } else {
        Lifetimes::Endless
    };
    let yunikorn = c.scheduler == "yunikorn";
    let identity = match &c.clients {
        None => ClientIdentity::Masters,
        Some(_) if yunikorn => ClientIdentity::ServiceAccount,
        Some(_) => ClientIdentity::KubeScheduler,
    };
    let client = ClientLimits { qps_milli: (c.qps * 1000.0) as u64, burst: c.burst };
    let agents = if c.kwok {
        AgentsPlan {
            kind: AgentKind::Kwok,
            place: Some(place("kwok-0.7", 2)?),
            start_latency_ns: (0, 0),
            termination_latency_ns: None,
            heartbeats: true,
            client: ClientLimits::NONE,
            stages: None,
        }
    } else {
        AgentsPlan {
            kind: AgentKind::None,
            place: None,
            start_latency_ns: (0, 0),
            termination_latency_ns: None,
            heartbeats: false,
            client: ClientLimits::NONE,
            stages: None,
        }
    };
    let fsync = (machine.delay_ns("fsync_p50")?, machine.delay_ns("fsync_p99")?);
    let settings = Settings {
        percentage_of_nodes_to_score: c.percentage_of_nodes_to_score.unwrap_or(0),
        parallelism: c.parallelism.unwrap_or(16),
        settled: !c.preload,
        tick_phase_ns: machine.parameter("yunikorn_tick_ms").ok().map(|ms| ms.saturating_mul(1_000_000)),
        ..Settings::default()
    };
    Ok(Plan {
        name: c.run.clone(),
        seed,
        hosts,
        cluster,
        api_server: Some(ApiServerPlan {
            server: place("apiserver-1.36", 1)?,
            max_requests_inflight: c.inflight[0],
            max_mutating_requests_inflight: c.inflight[1],
            priority_and_fairness: true,
            max_streams_per_connection: 100,
            etcd: place("etcd-3.6", 0)?,
            etcd_settings: EtcdSettings { fsync: c.etcd_fsync.then_some(fsync), members: 1, peer_rtt_ns: 0 },
        }),
        controller_manager: None,
        kueue: None,
        autoscaler: None,
        changes: None,
        agents,
        watchers: Vec::new(),
        load_client: (Some(place("client-go", 3)?), ClientLimits::NONE),
        record_seen: true,
        scheduler: SchedulerPlan {
            kind: if yunikorn { "yunikorn" } else { "kube-scheduler" }.to_owned(),
            place: place(if yunikorn { "yunikorn-1.8" } else { "kube-scheduler-1.36" }, 4)?,
            identity,
            client,
            events_client: client,
            controller_client: None,
            start_ns: 0,
            running_at_start: !c.preload,
            settings,
        },
        creation,
        lifetimes,
        // With KWOK the recorder waited until all pods ran.
        stop: if c.kwok { StopWhen::AllRunning } else { StopWhen::AllBound },
        limit_ns: 1800 * SECOND,
        stall_ns: STALL_NS,
        window_ns: SECOND,
        step_ns: SECOND,
        provenance: Provenance::default(),
    })
}

/// The measurements ended when no pod was bound for so long.
const STALL_NS: Nanos = 25 * SECOND;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placements_become_hosts() {
        let machine = CostProfile::free("m");
        let (plans, on) = hosts(Some("all on the same 2 cores"), &machine, 2).unwrap();
        assert_eq!((plans.len(), plans[0].cores, on), (1, 2, [0; 5]));
        let text = "etcd, API server, kwok and loader on core 0; scheduler on core 1";
        let (plans, on) = hosts(Some(text), &machine, 2).unwrap();
        assert_eq!(plans.iter().map(|h| h.cores).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(on, [0, 0, 0, 0, 1]);
        let (plans, on) = hosts(Some("scheduler on core 0; the rest on cores 1,2"), &machine, 3).unwrap();
        assert_eq!(plans[1].cores, 2);
        assert_eq!(on, [1, 1, 1, 1, 0]);
        // Two hosts of their own would have more cores than the machine.
        assert!(hosts(Some("scheduler on core 0; the rest on cores 0,1"), &machine, 2).is_none());
        assert!(hosts(Some("somewhere"), &machine, 2).is_none());
    }

    /// The recorder learns of everything after it happened, each pod once, and the run goes on until it has seen the last one.
    #[test]
    fn the_recorder_sees_what_happened_a_little_later() {
        let pods = 60;
        let conditions: Conditions = serde_json::from_value(serde_json::json!({
            "run": "live", "class": "cpu-bound", "scheduler": "default-scheduler", "nodes": 100, "pods": pods,
            "apps": 1, "qps": 5000.0, "burst": 5000, "inflight": [400, 200], "preload": false,
            "rate": 200.0, "constraint": "none", "cpu_request": "100m", "mem_request": "500Mi", "hetero": false,
            "too_big_every": 0, "kwok": true, "etcd_fsync": true, "clients": "identities",
        }))
        .unwrap();
        let create_sent_us = (0..pods as i64).map(|i| i * 5_000).collect();
        let inputs = Inputs { create_sent_us, hold_ms: vec![0; pods] };
        let plan =
            plan(Path::new("live.json"), &conditions, &inputs, &ProfileLibrary::built_in(), 1).unwrap();
        let registry = crate::scheduler::Registry::built_in();
        let run = crate::experiment::simulation::Simulation::new(&plan, &registry).unwrap().run();
        let seen = run.seen.expect("plans of measured runs note what was seen");
        assert_eq!((seen.bound, seen.running), (pods as u64, pods as u64));
        for pod in 0..pods {
            let t = run.cluster.pods.timeline(pod as u32);
            assert!(t.created_ns < seen.created_ns[pod] && seen.created_ns[pod] <= seen.bound_ns[pod]);
            assert!(t.bound_ns < seen.bound_ns[pod] && seen.bound_ns[pod] <= seen.running_ns[pod]);
            assert!(t.running_ns < seen.running_ns[pod]);
        }
    }

    #[test]
    fn mixed_requests_as_the_generator_draws_them() {
        assert_eq!(hetero_requests(0), (250, 512 << 20));
        let cpus: std::collections::BTreeSet<u64> = (0..100).map(|i| hetero_requests(i).0).collect();
        assert_eq!(cpus.into_iter().collect::<Vec<_>>(), [250, 500, 1000, 2000]);
    }
}
