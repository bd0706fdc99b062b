//! A measured run, whatever it was measured with: conditions that a prediction may use and, apart from them, the outcome.
//!
//! | input | conditions | outcome |
//! |---|---|---|
//! | `NAME.json` beside `NAME.pods.csv.gz` ([`measured`](super::measured)) | settings of the file, times of creation; `percentageOfNodesToScore` by the counters of `NAME.metrics.gz` | its results |
//! | `NAME/` with a `scenario.yaml` ([`own`](super::own)) | the scenario | Prometheus' answers, scrapes, audit log, list of pods |
//!
//! Each input turns into the same [`Outcome`]: readings by the names of predictions, each with the error that its input's
//! resolution leaves, and a list of what the inputs can't tell. Nothing is made up for what is missing.
//!
//! An outcome is read by a function of its own, after the prediction.
//!
//! Cost: O(bytes of the files).
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::measured::{self, Conditions, Inputs, MeasuredError};
use super::own;
use crate::cost::ProfileLibrary;
use crate::engine::SECOND;
use crate::experiment::report::{metrics, rate_p10_p90, spans, stage_times};
use crate::experiment::run::{Environment, RunError, RunSpec};
use crate::experiment::simulation::Finished;
use crate::measure::metrics::quantile;
use crate::scenario::Document;
use crate::scenario::plan::{Creation, Placement, Plan};

/// The conditions of a run of one's own cluster.
pub const SCENARIO: &str = "scenario.yaml";

/// Values by name: of a prediction, or as measured.
pub type Values = BTreeMap<String, f64>;

/// Processes as results name them and as measured runs do.
pub(super) const PROCESSES: [(&str, &str); 5] = [
    ("apiserver", "apiserver"),
    ("etcd", "etcd"),
    ("scheduler", "scheduler"),
    ("load", "driver"),
    ("node-agents", "kwok"),
];

/// A measured value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The value.
    pub value: f64,
    /// Relative standard error that the input's resolution leaves (scrape interval, whole seconds); 0: exact.
    pub error: f64,
}

impl Reading {
    /// A value without an error of its own.
    #[must_use]
    pub const fn exact(value: f64) -> Self {
        Self { value, error: 0.0 }
    }
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Readings by the names of predictions.
    pub values: BTreeMap<String, Reading>,
    /// How many pods were bound.
    pub bound: u64,
    /// The run did not come to its end: its times are the time limit's.
    pub timed_out: bool,
    /// Time that a process' CPU seconds are over, s, by its name in results; none: to the end of the run.
    pub windows_s: BTreeMap<&'static str, f64>,
    /// What the inputs are, and what is odd about them.
    pub notes: Vec<String>,
    /// What they can't tell, and why.
    pub not_told: Vec<(String, String)>,
    /// Why the run can't be compared with a prediction at all.
    pub unusable: Option<String>,
}

impl Outcome {
    /// The plain values.
    #[must_use]
    pub fn plain(&self) -> Values {
        self.values.iter().map(|(name, reading)| (name.clone(), reading.value)).collect()
    }
}

#[derive(Clone, Debug)]
enum Source {
    Recorded(Box<Conditions>, Inputs),
    Own(Box<RunSpec>),
}

/// A run with its conditions.
#[derive(Clone, Debug)]
pub struct MeasuredRun {
    /// Name.
    pub name: String,
    /// What limited it, for summaries; runs of one's own cluster are `own`.
    pub class: String,
    /// Its file or folder, for messages.
    pub file: PathBuf,
    /// Settings that its file does not state and its counters tell.
    notes: Vec<String>,
    source: Source,
}

fn error(file: &Path, message: impl Into<String>) -> MeasuredError {
    MeasuredError::File { file: file.to_owned(), message: message.into() }
}

/// The runs of a folder, sorted by name: JSON files directly in it, and folders directly in it that hold a scenario. A folder that
/// itself holds a scenario is one run.
///
/// # Errors
/// The folder can't be read or holds no run.
pub fn runs_in(folder: &Path) -> Result<Vec<PathBuf>, MeasuredError> {
    if folder.join(SCENARIO).is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    let entries =
        std::fs::read_dir(folder).map_err(|e| error(folder, format!("can't read the folder: {e}")))?;
    let is_run =
        |p: &PathBuf| p.is_file() && p.extension().is_some_and(|x| x == "json") || p.join(SCENARIO).is_file();
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(is_run).collect();
    files.sort();
    if files.is_empty() {
        let message = "holds no measured run: expected NAME.json beside NAME.pods.csv.gz, or NAME/ with a scenario.yaml and what \
                       was measured (docs/calibration.md says what to save)";
        return Err(error(folder, message));
    }
    Ok(files)
}

impl MeasuredRun {
    /// Reads a run's conditions and inputs and, where they lack a setting that counters tell, those. `sets` are
    /// `RUN:FIELD=VALUE`, of this or other runs, and come first.
    ///
    /// # Errors
    /// The files can't be read, the rows don't agree with the conditions, the scenario has errors, or a setting is none.
    pub fn open(file: &Path, sets: &[String]) -> Result<Self, MeasuredError> {
        if file.is_dir() {
            return Self::open_own(file, sets);
        }
        let (mut conditions, inputs) = measured::read_conditions(file)?;
        for (field, value, set) in own_sets(sets, &conditions.run, file)? {
            conditions.set(field, value).map_err(|message| error(file, format!("--set {set}: {message}")))?;
        }
        let notes = measured::read_settings(file, &mut conditions)?;
        Ok(Self { notes, ..Self::recorded(file, conditions, inputs) })
    }

    /// A run from conditions at hand.
    #[must_use]
    pub fn recorded(file: &Path, conditions: Conditions, inputs: Inputs) -> Self {
        Self {
            name: conditions.run.clone(),
            class: conditions.class.clone(),
            file: file.to_owned(),
            notes: Vec::new(),
            source: Source::Recorded(Box::new(conditions), inputs),
        }
    }

    /// A run of a scenario at hand.
    #[must_use]
    pub fn of_scenario(folder: &Path, name: &str, spec: RunSpec) -> Self {
        Self {
            name: name.to_owned(),
            class: "own".to_owned(),
            file: folder.to_owned(),
            notes: Vec::new(),
            source: Source::Own(Box::new(spec)),
        }
    }

    fn open_own(folder: &Path, sets: &[String]) -> Result<Self, MeasuredError> {
        let file = folder.join(SCENARIO);
        let input =
            |errors: Vec<crate::scenario::Diagnostic>| MeasuredError::Scenario(RunError::from(errors));
        let mut document = Document::load(&file).map_err(input)?;
        let name = folder.file_name().map_or_else(|| "run".to_owned(), |n| n.to_string_lossy().into_owned());
        for (field, value, _) in own_sets(sets, &name, &file)? {
            document.set(&format!("{field}={value}")).map_err(|e| input(vec![*e]))?;
        }
        let document = crate::experiment::run::scenario_only(&document).map_err(input)?;
        let spec = RunSpec::of_scenario(document).map_err(input)?;
        Ok(Self::of_scenario(folder, &name, spec))
    }

    /// The plan that predicts the run from its conditions.
    ///
    /// # Errors
    /// A condition that is not modelled, or a missing profile.
    pub fn plan(&self, profiles: &ProfileLibrary, seed: u64) -> Result<Plan, MeasuredError> {
        match &self.source {
            Source::Recorded(conditions, inputs) => {
                measured::plan(&self.file, conditions, inputs, profiles, seed)
            }
            Source::Own(spec) => {
                let environment = Environment { profiles: profiles.clone(), ..Environment::built_in() };
                RunSpec { seed, ..(**spec).clone() }.plan(&environment).map_err(MeasuredError::Scenario)
            }
        }
    }

    /// What a simulation of the run predicts.
    #[must_use]
    pub fn predict(&self, run: &Finished) -> Values {
        match &self.source {
            Source::Recorded(conditions, inputs) => predict_recorded(run, conditions, inputs),
            Source::Own(_) => predict_own(run),
        }
    }

    /// Reads what was measured.
    ///
    /// # Errors
    /// Files that can't be read, or are not what they ought to be.
    pub fn outcome(&self, plan: &Plan) -> Result<Outcome, MeasuredError> {
        match &self.source {
            Source::Recorded(..) => {
                let outcome = measured::read_measured(&self.file)?.outcome();
                Ok(Outcome { notes: self.notes.clone(), ..outcome })
            }
            Source::Own(_) => own::read(&self.file, plan),
        }
    }
}

/// Assignments of `sets` to a run: field, value, and the whole.
fn own_sets<'a>(
    sets: &'a [String],
    run: &str,
    file: &Path,
) -> Result<Vec<(&'a str, &'a str, &'a str)>, MeasuredError> {
    let mut mine = Vec::new();
    for set in sets {
        let bad = |what: &str| error(file, format!("--set {set}: {what}; expected RUN:FIELD=VALUE"));
        let (of, assignment) = set.split_once(':').ok_or_else(|| bad("no run"))?;
        let (field, value) = assignment.split_once('=').ok_or_else(|| bad("no value"))?;
        if of == run {
            mine.push((field, value, set.as_str()));
        }
    }
    Ok(mine)
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / SECOND as f64
}

fn with_cpu(run: &Finished, p: &mut Values) {
    let m = metrics(run);
    for (process, name) in PROCESSES {
        if let Ok(seconds) = m.get(&format!("cpu.{process}_s")) {
            p.insert(format!("cpu_s.{name}"), seconds);
        }
    }
}

fn predict_recorded(run: &Finished, conditions: &Conditions, inputs: &Inputs) -> Values {
    // As the recorder saw it.
    let seen = run.seen.as_ref().expect("plans of measured runs record what was seen");
    let mut bound: Vec<u64> = seen.bound_ns.iter().copied().filter(|t| *t != u64::MAX).collect();
    bound.sort_unstable();
    let mut p = Values::new();
    p.insert("bound_per_s_p10_p90".into(), rate_p10_p90(&bound));
    p.insert("last_bound_s".into(), bound.last().map_or(0.0, |t| seconds(*t)));
    p.insert("bound".into(), bound.len() as f64);
    // Pods are in order of create_sent. Before t = 0 nothing is simulated: the creation is seen when it is sent.
    let mut sent: Vec<i64> = inputs.create_sent_us.clone();
    sent.sort_unstable();
    let micros = |ns: u64| i64::try_from(ns / 1000).unwrap_or(i64::MAX);
    let mut latency_us: Vec<u64> = (0..seen.bound_ns.len())
        .filter(|i| seen.bound_ns[*i] != u64::MAX)
        .map(|i| {
            let created_us = if conditions.preload { sent[i] } else { micros(seen.created_ns[i]) };
            u64::try_from(micros(seen.bound_ns[i]) - created_us).unwrap_or(0)
        })
        .collect();
    latency_us.sort_unstable();
    for (name, q) in [("latency_p50_s", 500), ("latency_p90_s", 900), ("latency_p99_s", 990)] {
        p.insert(name.into(), quantile(&latency_us, q).unwrap_or(0) as f64 / 1e6);
    }
    p.insert("first_bound_s".into(), bound.first().map_or(0.0, |t| seconds(*t)));
    if conditions.kwok && seen.running > 0 {
        let mut running: Vec<u64> = (0..seen.running_ns.len())
            .filter(|i| seen.running_ns[*i] != u64::MAX && seen.bound_ns[*i] != u64::MAX)
            .map(|i| seen.running_ns[i].saturating_sub(seen.bound_ns[i]))
            .collect();
        running.sort_unstable();
        for (name, q) in [("bind_to_running_p50_s", 500), ("bind_to_running_p99_s", 990)] {
            p.insert(name.into(), seconds(quantile(&running, q).unwrap_or(0)));
        }
    }
    with_cpu(run, &mut p);
    p
}

/// Name of a mean of the API server's request durations, and its telemetry.
pub(super) const REQUESTS: [(&str, &str); 2] = [
    ("bind_request_mean_s", "request.bind.duration"),
    ("create_request_mean_s", "request.create_pod.duration"),
];

fn predict_own(run: &Finished) -> Values {
    let pods = &run.cluster.pods;
    let bound = stage_times(pods, |t| t.bound_ns);
    let created = stage_times(pods, |t| t.created_ns);
    let mut p = Values::new();
    p.insert("bound".into(), bound.len() as f64);
    p.insert("bound_per_s_p10_p90".into(), rate_p10_p90(&bound));
    if let (Some(last), Some(first)) = (bound.last(), created.first()) {
        // A backlog is there at t = 0, when the scheduler starts.
        p.insert("last_bound_s".into(), seconds(last.saturating_sub(*first)));
    }
    let latency = spans(pods, |t| t.created_ns, |t| t.bound_ns);
    for (name, q) in [("latency_p50_s", 500), ("latency_p90_s", 900), ("latency_p99_s", 990)] {
        p.insert(name.into(), seconds(quantile(&latency, q).unwrap_or(0)));
    }
    let mean =
        |spans: &[u64]| spans.iter().map(|s| *s as f64).sum::<f64>() / spans.len() as f64 / SECOND as f64;
    let sli = spans(pods, |t| t.queued_ns, |t| t.bound_ns);
    let cycle = spans(pods, |t| t.cycle_ns, |t| t.assumed_ns);
    for (name, spans) in [("sli_mean_s", &sli), ("algorithm_mean_s", &cycle)] {
        if !spans.is_empty() {
            p.insert(name.into(), mean(spans));
        }
    }
    let counted = own::series::Distribution::of_spans(&sli, own::sli_bounds());
    for (name, q) in [("sli_p50_s", 0.5), ("sli_p90_s", 0.9), ("sli_p99_s", 0.99)] {
        p.extend(counted.quantile(q).map(|value| (name.to_owned(), value)));
    }
    for (name, column) in REQUESTS {
        let last = |what: &str| run.telemetry.last_of(&format!("{column}.{what}")).unwrap_or(0) as f64;
        if last("count") > 0.0 {
            p.insert(name.into(), last("sum_ns") / last("count") / SECOND as f64);
        }
    }
    with_cpu(run, &mut p);
    p
}

/// CPU that a process spends per second whatever happens: its own timers, and leases of the nodes, s.
#[must_use]
pub fn background_per_s(plan: &Plan, process: &str) -> f64 {
    let Some(profile) = place(plan, process).map(|p| &p.profile) else { return 0.0 };
    let cost_s = |name: &str| profile.cost_ps(name).unwrap_or(0) as f64 / 1e12;
    let leases = if plan.agents.heartbeats { plan.cluster.nodes.len() as f64 / 10.0 } else { 0.0 };
    let lease = match process {
        "apiserver" => cost_s("lease"),
        "etcd" => cost_s("entry"),
        _ => 0.0,
    };
    cost_s("idle_per_second") + leases * lease
}

/// Adds to predicted CPU seconds what the processes spend between the end of the simulation and that of their measured
/// windows.
pub fn extend_to_windows(
    predicted: &mut Values,
    plan: &Plan,
    end_s: f64,
    windows_s: &BTreeMap<&'static str, f64>,
) {
    for (process, name) in PROCESSES {
        let more_s = windows_s.get(name).map_or(0.0, |window_s| (window_s - end_s).max(0.0));
        if let Some(seconds) = predicted.get_mut(&format!("cpu_s.{name}")) {
            *seconds += background_per_s(plan, process) * more_s;
        }
    }
}

/// The process of a plan by its name in results.
fn place<'a>(plan: &'a Plan, process: &str) -> Option<&'a Placement> {
    match process {
        "scheduler" => Some(&plan.scheduler.place),
        "apiserver" => plan.api_server.as_ref().map(|s| &s.server),
        "etcd" => plan.api_server.as_ref().map(|s| &s.etcd),
        "node-agents" => plan.agents.place.as_ref(),
        "load" => plan.load_client.0.as_ref(),
        _ => None,
    }
}

/// Conditions that the profile of a process is fitted within, by the names of `calibrated:`.
#[must_use]
pub fn conditions_of(plan: &Plan, process: &str) -> [(&'static str, u64); 5] {
    let pods = &plan.cluster.pods;
    let apps: BTreeSet<u32> = (0..pods.first_placeholder()).map(|pod| pods.app_id(pod)).collect();
    let host = place(plan, process).and_then(|place| place.host);
    [
        ("nodes", plan.cluster.nodes.len() as u64),
        ("pods", u64::from(pods.first_placeholder())),
        ("qps", plan.scheduler.client.qps_milli / 1000),
        ("apps", apps.len() as u64),
        ("cores", host.map_or(0, |at| u64::from(plan.hosts[at].cores))),
    ]
}

/// Whether all pods are there when the scheduler starts.
#[must_use]
pub fn is_backlog(plan: &Plan) -> bool {
    plan.creation == Creation::Existing
}
