//! One run: from a document and a seed to a finished simulation and its summary.
//!
//! What many runs share and none changes (registered schedulers, cost profiles) is an [`Environment`]. A
//! [`RunSpec`] is one scenario with one seed; [`RunSpec::simulate`] resolves and runs it. The [`Summary`] is what
//! remains of a run: everything that tables, sweeps, expectations and `summary.json` need, and a hash of every
//! input, so that a result says what it came from and a sweep knows what it has already done.
//!
//! Nothing of the machine, the clock or the number of threads is in a summary: same inputs, same bytes.
//!
//! Cost: that of the simulation, and O(pods log pods) for the metrics.
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::memory;
use super::recorded::{self, Comparison};
use super::report;
use super::simulation::{BuildError, Ended, FaultCase, Finished, Simulation};
use super::uncertainty::draw_constants;
use crate::cost::{CostProfile, ProfileLibrary};
use crate::engine::{Nanos, SECOND};
use crate::measure::Metrics;
use crate::scenario::plan::{Placement, Plan};
use crate::scenario::spec::ScenarioSpec;
use crate::scenario::workload::Workloads;
use crate::scenario::{Diagnostic, Document, DocumentKind, Spec, resolve_shared};
use crate::scheduler::Registry;

/// The version that made a result.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What all runs share.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Where cost profiles are found.
    pub profiles: ProfileLibrary,
    /// Schedulers by name.
    pub registry: Registry,
    /// Workloads that runs have in common.
    pub workloads: Arc<Workloads>,
    /// A run that would take more memory is not begun, bytes.
    pub max_memory: Option<u64>,
}

impl Environment {
    /// The built-in schedulers and profiles.
    #[must_use]
    pub fn built_in() -> Self {
        Self {
            profiles: ProfileLibrary::built_in(),
            registry: Registry::built_in(),
            workloads: Arc::default(),
            max_memory: None,
        }
    }
}

/// A run can't be done.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The input is wrong: every error found.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Input(Vec<Diagnostic>),
    /// The parts don't fit together (a profile lacks a cost).
    #[error("error: {run}: {source}")]
    Build {
        /// Name of the scenario or run.
        run: String,
        /// What is missing.
        source: BuildError,
    },
    /// It would take more memory than there is.
    #[error(
        "error: {run}: needs about {} MiB of memory, and {} MiB may be taken; make the scenario smaller, or say --max-memory if there is more",
        needs_bytes.div_ceil(1 << 20), limit_bytes >> 20
    )]
    TooLarge {
        /// Name of the scenario or run.
        run: String,
        /// An upper estimate.
        needs_bytes: u64,
        /// What may be taken.
        limit_bytes: u64,
    },
}

impl From<Vec<Diagnostic>> for RunError {
    fn from(diagnostics: Vec<Diagnostic>) -> Self {
        Self::Input(diagnostics)
    }
}

impl From<Diagnostic> for RunError {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Input(vec![diagnostic])
    }
}

/// Reads a document and sets fields in it: each of `sets` (`path=value`) in order, then the seed.
///
/// # Errors
/// The file can't be read, or a path or value is none.
pub fn load(path: &Path, sets: &[String], seed: Option<u64>) -> Result<Document, Vec<Diagnostic>> {
    let mut document = Document::load(path)?;
    let seed = seed.map(|seed| format!("seed={seed}"));
    let errors: Vec<Diagnostic> = sets
        .iter()
        .chain(seed.as_ref())
        .filter_map(|assignment| document.set(assignment).err().map(|e| *e))
        .collect();
    if errors.is_empty() { Ok(document) } else { Err(errors) }
}

/// One scenario with one seed.
#[derive(Clone, Debug)]
pub struct RunSpec {
    /// Name: the scenario's, or the run's within an experiment or sweep.
    pub name: String,
    /// The scenario; its seed is [`RunSpec::seed`].
    pub scenario: ScenarioSpec,
    /// Its tree, for messages with a place.
    pub document: Document,
    /// Seed.
    pub seed: u64,
    /// Which draw of the unit costs from their intervals, under this seed; none: the costs as they are.
    pub draw: Option<u64>,
}

/// A run that has ended.
pub struct Completed {
    /// Pods, hosts and clients as they are at the end.
    pub finished: Finished,
    /// What remains of it.
    pub summary: Summary,
}

impl Completed {
    /// The summary's metrics, and the operations of its profiles that were never counted as zeros: a threshold may say
    /// that there are few of them.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let mut metrics = self.summary.metrics();
        for process in self.finished.kernel.processes() {
            for account in process.meter.accounts().iter().filter(|a| a.count == 0) {
                metrics.set_zero(format!("ops.{}.{}", process.name, account.operation));
                metrics.set_zero(format!("ops_per_pod.{}.{}", process.name, account.operation));
            }
        }
        metrics
    }
}

impl RunSpec {
    /// A scenario with its own seed.
    ///
    /// # Errors
    /// The document is no scenario or has errors.
    pub fn of_scenario(document: Document) -> Result<Self, Vec<Diagnostic>> {
        let scenario = document.decode_scenario()?;
        let seed = scenario.seed.unwrap_or(1);
        Ok(Self { name: scenario.name.clone(), scenario, document, seed, draw: None })
    }

    /// The same scenario under `seeds` seeds: its own and those after it.
    pub fn seeds(&self, seeds: u64) -> impl Iterator<Item = Self> + '_ {
        (0..seeds).map(|i| {
            let seed = self.seed.wrapping_add(i);
            let scenario = ScenarioSpec { seed: Some(seed), ..self.scenario.clone() };
            Self { seed, scenario, ..self.clone() }
        })
    }

    /// Fills in every default and looks up every name.
    ///
    /// # Errors
    /// Something can't be looked up.
    pub fn plan(&self, environment: &Environment) -> Result<Plan, RunError> {
        let scenario = ScenarioSpec { seed: Some(self.seed), ..self.scenario.clone() };
        let Environment { profiles, registry, workloads, max_memory } = environment;
        let fits = |needs_bytes: u64| match max_memory {
            Some(limit_bytes) if needs_bytes > *limit_bytes => {
                Err(RunError::TooLarge { run: self.name.clone(), needs_bytes, limit_bytes: *limit_bytes })
            }
            _ => Ok(()),
        };
        fits(memory::estimate_of_scenario(&scenario))?;
        let mut plan = resolve_shared(&scenario, &self.document, profiles, registry, workloads)?;
        fits(memory::estimate_bytes(&plan))?;
        if let Some(draw) = self.draw {
            draw_constants(&mut plan, self.seed, draw);
        }
        Ok(plan)
    }

    /// Resolves and runs.
    ///
    /// # Errors
    /// Something can't be looked up or a profile lacks a cost.
    pub fn simulate(&self, environment: &Environment) -> Result<Completed, RunError> {
        let plan = self.plan(environment)?;
        let inputs = self.inputs(&plan);
        simulate_plan(self, &plan, inputs, environment)
    }

    /// Settings that were made beside the file: `PATH=VALUE`, in their order.
    #[must_use]
    pub fn settings(&self) -> Vec<String> {
        self.document
            .sources()
            .iter()
            .filter_map(|source| source.assignment.as_deref().map(str::to_owned))
            .collect()
    }

    /// What a run of it has come to.
    pub(super) fn summary(&self, finished: &Finished, plan: &Plan, inputs: Inputs) -> Summary {
        Summary { draw: self.draw, settings: self.settings(), ..Summary::new(finished, plan, inputs) }
    }

    /// Hashes of everything that the run depends on.
    #[must_use]
    pub fn inputs(&self, plan: &Plan) -> Inputs {
        let scenario = ScenarioSpec {
            seed: Some(self.seed),
            expect: Vec::new(),
            thresholds: Vec::new(),
            ..self.scenario.clone()
        };
        // The text is the decoded scenario's, so comments and the order of keys don't matter.
        let text = crate::scenario::to_yaml(&scenario).unwrap_or_else(|_| format!("{scenario:?}"));
        let scenario = sha256_hex(text.as_bytes());
        let profiles: BTreeMap<String, String> = placements(plan)
            .map(|p| (p.profile.name.clone(), sha256_hex(canonical_profile(&p.profile).as_bytes())))
            .collect();
        let mut files: Vec<InputFile> = self
            .document
            .sources()
            .iter()
            .filter(|source| !source.is_argument())
            .map(|source| {
                let base = Path::new(&source.name).file_name();
                let name = base.map_or_else(|| source.name.clone(), |n| n.to_string_lossy().into_owned());
                InputFile { name, sha256: sha256_hex(source.text.as_bytes()) }
            })
            .collect();
        let mut all = format!("podpace {VERSION}\nscenario {scenario}\n");
        for (name, sha256) in &plan.provenance.files {
            all += &format!("file {name} {sha256}\n");
            files.push(InputFile { name: name.clone(), sha256: sha256.clone() });
        }
        for (name, hash) in &profiles {
            all += &format!("profile {name} {hash}\n");
        }
        Inputs { all: sha256_hex(all.as_bytes()), scenario, profiles, files }
    }
}

/// Runs a plan that was resolved from `spec`, and sums it up.
///
/// # Errors
/// A profile lacks a cost.
pub fn simulate_plan(
    spec: &RunSpec,
    plan: &Plan,
    inputs: Inputs,
    environment: &Environment,
) -> Result<Completed, RunError> {
    let finished = simulate(plan, &environment.registry)
        .map_err(|source| RunError::Build { run: spec.name.clone(), source })?;
    let summary = spec.summary(&finished, plan, inputs);
    Ok(Completed { finished, summary })
}

/// Builds and runs a plan.
///
/// # Errors
/// The scheduler is not registered or has failed, or a profile lacks a cost.
pub fn simulate(plan: &Plan, registry: &Registry) -> Result<Finished, BuildError> {
    succeeded(Simulation::new(plan, registry)?.run())
}

/// The run, unless its scheduler has failed.
///
/// # Errors
/// Then.
pub fn succeeded(finished: Finished) -> Result<Finished, BuildError> {
    match finished.failure {
        Some(failure) => Err(BuildError::Scheduler(failure)),
        None => Ok(finished),
    }
}

/// The runs of a scenario (one) or an experiment (its runs, each with all its seeds), in the file's order.
///
/// # Errors
/// Errors of the document; a sweep.
pub fn runs_of(document: &Document) -> Result<Vec<RunSpec>, Vec<Diagnostic>> {
    match document.decode()? {
        Spec::Scenario(_) => Ok(vec![RunSpec::of_scenario(document.clone())?]),
        Spec::Experiment(experiment) => Ok(experiment
            .runs
            .into_iter()
            .flat_map(|run| {
                let seed = run.scenario.seed.unwrap_or(1);
                let (scenario, document) = (run.scenario, run.document);
                let base = RunSpec { name: run.name, scenario, document, seed, draw: None };
                base.seeds(run.seeds).collect::<Vec<_>>()
            })
            .collect()),
        Spec::Study(_) => {
            let hint = "`podpace check` and `podpace validate` predict measured runs".to_owned();
            Err(vec![document.diagnostic("kind", "a measured study has no scenario", Some(hint))])
        }
        Spec::Sweep(_) => {
            let hint = "`podpace sweep` reads a sweep".to_owned();
            Err(vec![document.diagnostic("kind", "a sweep is a grid of runs, not one", Some(hint))])
        }
    }
}

/// The document itself, if it is a scenario.
///
/// # Errors
/// It is a sweep or an experiment; the hint says who reads it.
pub fn scenario_only(document: &Document) -> Result<Document, Vec<Diagnostic>> {
    let hint = match document.kind() {
        DocumentKind::Scenario => return Ok(document.clone()),
        DocumentKind::Experiment => "`podpace check` and `podpace run` read an experiment",
        DocumentKind::Sweep => "`podpace sweep` reads a sweep",
        DocumentKind::MeasuredStudy => "`podpace check` reads a measured study",
    };
    let message = format!("expected `Scenario`, got `{:?}`", document.kind());
    Err(vec![document.diagnostic("kind", message, Some(hint.to_owned()))])
}

/// Whether the document is an experiment.
#[must_use]
pub fn is_experiment(document: &Document) -> bool {
    document.kind() == DocumentKind::Experiment
}

fn placements(plan: &Plan) -> impl Iterator<Item = &Placement> {
    let server = plan.api_server.iter().flat_map(|server| [&server.server, &server.etcd]);
    let controllers = plan.controller_manager.iter().map(|(place, ..)| place);
    let watchers = plan.watchers.iter().filter_map(|w| w.place.as_ref());
    std::iter::once(&plan.scheduler.place)
        .chain(server)
        .chain(controllers)
        .chain(plan.agents.place.iter())
        .chain(watchers)
        .chain(plan.load_client.0.iter())
}

/// Everything of a profile that a result depends on: values, not their provenance.
fn canonical_profile(profile: &CostProfile) -> String {
    let mut text = format!("{} {} {}\n", profile.name, profile.component, profile.version);
    for (name, cost) in profile.costs() {
        text += &format!("cost {name} {}\n", cost.value_ps);
    }
    for (name, parameter) in profile.parameters() {
        text += &format!("parameter {name} {}\n", parameter.value);
    }
    text
}

/// SHA-256 in lower-case hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Hashes of what a run depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Inputs {
    /// Over the version, the scenario, its trace and the profiles: equal means an equal result.
    pub all: String,
    /// Of the scenario with its settings and seed, without its expectations.
    pub scenario: String,
    /// Of each cost profile by name.
    pub profiles: BTreeMap<String, String>,
    /// Of each file as it was read.
    pub files: Vec<InputFile>,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InputFile {
    /// Its name without the folder.
    pub name: String,
    /// SHA-256 of its text.
    pub sha256: String,
}

/// Pods by stage at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Counts {
    /// Planned.
    pub total: u64,
    pub created: u64,
    pub assumed: u64,
    pub bound: u64,
    pub running: u64,
    /// Finished or deleted.
    pub finished: u64,
    /// Given up by the scheduler.
    pub failed: u64,
    /// Created, neither bound nor given up.
    pub pending: u64,
}

/// The scheduler of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SchedulerSummary {
    /// Registered name.
    pub kind: String,
    /// Cost profile.
    pub profile: String,
}

/// A limit's share of the critical path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    /// What held up progress.
    pub limit: String,
    /// For how long, ns.
    pub ns: Nanos,
    /// As a share of the time to the last binding.
    pub share: f64,
}

/// One span of the critical path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// Begin, ns.
    pub from_ns: Nanos,
    /// End, ns.
    pub to_ns: Nanos,
    /// What held up progress.
    pub limit: String,
}

/// One fault and what became of it. Times are in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FaultSummary {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// When it began, since t = 0.
    pub at_s: f64,
    /// Nodes that it hit.
    pub nodes: u64,
    /// Pods that were bound and in order before it.
    pub bound_before: u64,
    /// Those of them that ran.
    pub running_before: u64,
    /// Pods that it took out of service.
    pub pods_lost: u64,
    /// From its begin until the API server stored the first of its nodes as `Unknown`; none: nobody noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noticed_after_s: Option<f64>,
    /// From its begin until the last of its nodes was drained or given up; none: it drains none, or is not through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained_after_s: Option<f64>,
    /// From its begin until as many pods were bound and in order as before; none: not in this run.
    pub bound_again_after_s: Option<f64>,
    /// The same for pods that run.
    pub running_again_after_s: Option<f64>,
    /// From its begin until the first pod was bound after it was over; none: nothing was left to bind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_bound_after_s: Option<f64>,
}

impl FaultSummary {
    /// Headings of a table of faults; those after `>` stand over numbers.
    pub const HEADINGS: [&'static str; 8] = [
        "fault",
        ">at",
        ">nodes",
        ">pods lost",
        ">noticed after",
        ">bound again after",
        ">running again after",
        ">next bound after",
    ];

    /// Its row in such a table, with numbers and spans (s) as they are written there.
    pub fn row(&self, number: impl Fn(u64) -> String, span: impl Fn(f64) -> String) -> [String; 8] {
        let known = |seconds: Option<f64>| seconds.map_or_else(String::new, &span);
        let after = |seconds: Option<f64>| seconds.map_or_else(|| "never".to_owned(), &span);
        [
            self.name.clone(),
            span(self.at_s),
            number(self.nodes),
            number(self.pods_lost),
            known(self.noticed_after_s),
            after(self.bound_again_after_s),
            after(self.running_again_after_s),
            known(self.next_bound_after_s),
        ]
    }
}

/// The limit behind the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NextLimit {
    /// Which.
    pub limit: String,
    /// Throughput at which it takes over.
    pub pods_per_s: f64,
}

/// What limited the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BottleneckSummary {
    /// In one sentence.
    pub sentence: String,
    /// Limits, largest share first.
    pub shares: Vec<Share>,
    /// The limit behind the first, if one is near.
    pub next: Option<NextLimit>,
    /// The critical path in order of time.
    pub path: Vec<Span>,
}

/// One row of the table of costs: count x unit = total.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CostSummary {
    /// Process.
    pub process: String,
    /// Operation, as in its profile.
    pub operation: String,
    /// How often.
    pub count: u64,
    /// Cost of one, in picoseconds of CPU.
    pub unit_ps: u64,
    /// Total, in nanoseconds of CPU.
    pub total_ns: u64,
}

/// What remains of a run: `summary.json`, and `podpace run --format json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "podpace result of a run")]
pub struct Summary {
    /// Always `podpace/v1`.
    pub api_version: String,
    /// Always `RunResult`.
    pub kind: String,
    /// Version that made it.
    pub podpace: String,
    /// Name of the scenario.
    pub scenario: String,
    /// Seed.
    pub seed: u64,
    /// Which draw of the unit costs from their intervals; absent: the costs as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draw: Option<u64>,
    /// What it was made from.
    pub inputs: Inputs,
    /// Settings beside the file, `PATH=VALUE`, in the order in which they were made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<String>,
    /// What was simplified or left out of a trace or manifests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The scheduler.
    pub scheduler: SchedulerSummary,
    /// Why it ended: `done`, `limit` or `stalled`.
    pub ended: String,
    /// Pods by stage at the end.
    pub counts: Counts,
    /// Every metric by name.
    pub metrics: BTreeMap<String, f64>,
    /// Why pods are pending, and how many for each reason.
    pub pending_reasons: BTreeMap<String, u64>,
    /// Waits that the trace recorded, beside the simulated ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Comparison>,
    /// Faults, in order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultSummary>,
    /// What limited it.
    pub bottleneck: BottleneckSummary,
    /// Operations counted, times unit costs.
    pub costs: Vec<CostSummary>,
}

fn fault_summary(fault: &FaultCase) -> FaultSummary {
    let case = &fault.case;
    let seconds = |ns: Nanos| ns as f64 / SECOND as f64;
    let after = |at: Option<Nanos>| at.map(|at| seconds(at.saturating_sub(case.at_ns)));
    FaultSummary {
        name: fault.name.clone(),
        kind: fault.kind.to_owned(),
        at_s: seconds(case.at_ns),
        nodes: fault.nodes,
        bound_before: case.bound_before,
        running_before: case.running_before,
        pods_lost: case.pods_lost,
        noticed_after_s: after(fault.noticed_ns),
        drained_after_s: after(fault.drained_ns),
        bound_again_after_s: after(case.bound_again_ns),
        running_again_after_s: after(case.running_again_ns),
        next_bound_after_s: after(case.next_bound_ns),
    }
}

impl Summary {
    pub(super) fn new(run: &Finished, plan: &Plan, inputs: Inputs) -> Self {
        let c = &run.counts;
        let bottleneck = report::bottleneck(run);
        let recorded = recorded::compare(run, &plan.provenance.recorded);
        let mut metrics = report::metrics(run);
        if let Some(recorded) = &recorded {
            recorded.add_to(&mut metrics);
        }
        let total: Nanos = bottleneck.shares.iter().map(|(_, ns)| ns).sum();
        Self {
            api_version: crate::scenario::spec::API_VERSION.to_owned(),
            kind: "RunResult".to_owned(),
            podpace: VERSION.to_owned(),
            scenario: run.name.clone(),
            seed: run.seed,
            draw: None,
            inputs,
            settings: Vec::new(),
            notes: plan.provenance.notes.clone(),
            scheduler: SchedulerSummary {
                kind: plan.scheduler.kind.clone(),
                profile: plan.scheduler.place.profile.name.clone(),
            },
            ended: match run.ended {
                Ended::Done => "done",
                Ended::Limit => "limit",
                Ended::Stalled => "stalled",
                Ended::Failed => "failed",
            }
            .to_owned(),
            counts: Counts {
                total: c.total,
                created: c.created,
                assumed: c.assumed,
                bound: c.bound,
                running: c.running,
                finished: c.finished,
                failed: c.failed,
                pending: c.created.saturating_sub(c.bound + c.failed),
            },
            metrics: metrics.iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            pending_reasons: run.pending_reasons.clone(),
            recorded,
            faults: run.faults.iter().flat_map(|faults| &faults.cases).map(fault_summary).collect(),
            bottleneck: BottleneckSummary {
                sentence: report::sentence(run, &bottleneck),
                shares: bottleneck
                    .shares
                    .iter()
                    .map(|(limit, ns)| Share {
                        limit: limit.name(),
                        ns: *ns,
                        share: *ns as f64 / total.max(1) as f64,
                    })
                    .collect(),
                next: bottleneck.next.map(|(limit, pods_per_s)| NextLimit { limit, pods_per_s }),
                path: bottleneck
                    .path
                    .iter()
                    .map(|span| Span { from_ns: span.from_ns, to_ns: span.to_ns, limit: span.limit.name() })
                    .collect(),
            },
            costs: report::costs(run)
                .into_iter()
                .map(|row| CostSummary {
                    process: row.process,
                    operation: row.operation,
                    count: row.count,
                    unit_ps: row.unit_ps,
                    total_ns: row.total_ns,
                })
                .collect(),
        }
    }

    /// The metrics, with errors that name the nearest for a name that is none.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::default();
        for (name, value) in &self.metrics {
            metrics.set(name.clone(), *value);
        }
        metrics
    }

    /// As pretty JSON with a newline at the end: the bytes of `summary.json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        to_json(self)
    }
}

/// Pretty JSON with a newline at the end. Floats are the shortest digits that read back as the same number.
#[must_use]
pub fn to_json<T: Serialize>(value: &T) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("plain data is JSON");
    text.push('\n');
    text
}

/// JSON Schema (draft 2020-12) of what a command prints.
#[must_use]
pub fn json_schema<T: JsonSchema>() -> serde_json::Value {
    schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value()
}
