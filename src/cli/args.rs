//! The command line as it is typed. Nothing is read or checked here beyond what clap can say by itself.
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::scenario::duration::DurationNs;
use crate::scenario::quantity::Quantity;

/// Exit codes, as help shows them.
const EXIT_CODES: &str = "\
Exit codes:
  0    pass
  1    failure while running (disk full, a bug)
  2    usage or bad input
  3    an expectation or threshold failed, or no setting meets the goals
  4    regression against a baseline
  5    not deterministic
  130  interrupted

Data goes to stdout, progress and errors to stderr. NO_COLOR is respected.";

/// Predicts what a Kubernetes control plane does to a workload: pods per second, how long each waited and where.
/// Deterministic: same inputs, same bytes.
#[derive(Debug, Parser)]
#[command(name = "podpace", version, max_term_width = 100, after_help = EXIT_CODES, propagate_version = true)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// No progress and no notes on stderr, only errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// A subcommand.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs one scenario, or all runs of an experiment, and says what limited it
    Run(RunArgs),
    /// Runs a grid of settings, each under several seeds
    Sweep(SweepArgs),
    /// Puts the shards of a sweep together, as if one machine had run it
    Merge(MergeArgs),
    /// Compares every expectation of scenarios and experiments with what comes out
    Check(CheckArgs),
    /// Compares two results of run or sweep, with significance over seeds
    Diff(DiffArgs),
    /// Shows results: an HTML page, metrics for Prometheus, a trace for Perfetto, Kubernetes Events
    Report(ReportArgs),
    /// Predicts every measured run in a folder and shows predicted beside measured
    Validate(ValidateArgs),
    /// Fits the unit costs of a profile to the measured runs in a folder
    Calibrate(CalibrateArgs),
    /// Finds the cheapest setting that meets goals
    Plan(PlanArgs),
    /// Says how far a cluster scales: throughput against offered load, and the load at which it falls behind
    Knee(KneeArgs),
    /// Says what limits a scenario over time, and what moving each limit would buy
    Explain(ExplainArgs),
    /// Imports, generates, exports, checks and describes workload traces
    Trace(super::command::trace::TraceArgs),
    /// Lists the cost profiles, or every constant of one with its interval and source
    Models(ModelsArgs),
    /// Prints the JSON Schema of a file format
    Schema(SchemaArgs),
    /// Prints a completion script for a shell
    Completions(CompletionsArgs),
}

/// How a command prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For programs; the shape is stable
    Json,
}

/// How pods are written into a result folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pods {
    /// pods.csv
    Csv,
    /// pods.parquet, zstd
    Parquet,
    /// No table of pods
    None,
}

/// Settings of a scenario from the command line.
#[derive(Args, Debug, Default)]
pub struct SetArgs {
    /// Sets a field, such as scheduler.client.qps=500 or 'workload.deployments[*].replicas=10'; may be repeated
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub sets: Vec<String>,
    /// Seed of all random streams, instead of the file's
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// Where cost profiles are found.
#[derive(Args, Debug, Default)]
pub struct ModelArgs {
    /// Folder of cost profiles (NAME.yaml) that go before the built-in ones
    #[arg(long, value_name = "DIR")]
    pub models: Option<PathBuf>,
}

/// How much memory a run may take.
#[derive(Args, Debug, Default)]
pub struct MemoryArgs {
    /// Memory that a run may take, such as 8Gi: one that needs more is not begun [default: that of the machine, or of its
    /// cgroup]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub max_memory: Option<u64>,
}

/// Threads.
#[derive(Args, Debug, Default)]
pub struct JobArgs {
    /// Runs at once; results are the same for every number [default: one a core]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
}

/// What all commands take that run a scenario.
#[derive(Args, Debug, Default)]
pub struct WithArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub set: SetArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub job: JobArgs,
}

/// Arguments of `run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Scenario or experiment (YAML)
    #[arg(value_name = "SCENARIO")]
    pub file: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub with: WithArgs,
    /// Writes the result into a folder (summary.json, series.csv, pods, manifest.json); replaces only an earlier result
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// How the pods are written with --out
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = if cfg!(feature = "parquet") { Pods::Parquet } else { Pods::Csv })]
    pub pods: Pods,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Shows operations counted x unit cost = CPU seconds, per process
    #[arg(long)]
    pub explain_costs: bool,
    /// Also runs N draws of the unit costs from their 90 % intervals, and gives median and 5 to 95 % of every metric
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "100", require_equals = true, value_parser = clap::value_parser!(u64).range(2..=100_000))]
    pub uncertainty: Option<u64>,
    /// Takes the unit costs of draw N from their 90 % intervals, as --uncertainty, sweep and plan do in their runs
    #[arg(long, value_name = "N", conflicts_with = "uncertainty")]
    pub draw: Option<u64>,
    /// Runs twice and fails with exit code 5 unless all bytes agree
    #[arg(long)]
    pub verify_determinism: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub pause: PauseArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub memory: MemoryArgs,
}

/// What `run` writes on the way, and where it begins.
#[derive(Args, Debug, Default)]
pub struct PauseArgs {
    /// Keeps the whole state of the run in a file, from which --resume goes on; each checkpoint replaces the one before
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// Writes a checkpoint at this virtual time, such as 90s or 1h30m; may be repeated
    #[arg(long, value_name = "TIME", requires = "checkpoint")]
    pub checkpoint_at: Vec<DurationNs>,
    /// Writes a checkpoint each so much virtual time
    #[arg(long, value_name = "SPAN", requires = "checkpoint", value_parser = span)]
    pub checkpoint_every: Option<DurationNs>,
    /// Goes on from a checkpoint: name the same scenario with the same settings; the result has the same bytes as without a stop
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    /// Writes the simulated cluster (nodes, pods bound and pending) as a native trace, for other runs to start from
    #[arg(long, value_name = "DIR", requires = "snapshot_at")]
    pub snapshot: Option<PathBuf>,
    /// Virtual time of the snapshot; may be repeated: then each goes into a folder of its own below --snapshot
    #[arg(long, value_name = "TIME", requires = "snapshot")]
    pub snapshot_at: Vec<DurationNs>,
}

fn span(text: &str) -> Result<DurationNs, String> {
    match text.parse::<DurationNs>()? {
        DurationNs(0) => Err("a span of zero has no end: expected more than 0s".to_owned()),
        span => Ok(span),
    }
}

/// Arguments of `sweep`.
#[derive(Args, Debug)]
pub struct SweepArgs {
    /// Scenario or sweep (YAML)
    #[arg(value_name = "SCENARIO")]
    pub file: PathBuf,
    /// Values of a field, such as scheduler.client.qps=100,200,400; repeated: a grid, the last varies fastest
    #[arg(long, value_name = "PATH=V1,V2,..")]
    pub vary: Vec<String>,
    /// Seeds of each point: the scenario's and those after it [default: the sweep's, or 1; with --until at most 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub seeds: Option<u64>,
    /// Runs each point under N seeds, each of which also draws the unit costs from their 90 % intervals, and shows bands of 5 to 95 %
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "20", require_equals = true, conflicts_with = "seeds", value_parser = clap::value_parser!(u64).range(2..=100_000))]
    pub uncertainty: Option<u64>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub with: WithArgs,
    /// Metric to show, instead of the usual ones; may be repeated
    #[arg(long, value_name = "NAME")]
    pub metric: Vec<String>,
    /// Keeps every finished run in a folder, and the table at the end
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Goes on with the folder of --out: finished runs whose inputs have not changed are not run again
    #[arg(long, requires = "out")]
    pub resume: bool,
    /// Adds seeds to a point until the 95 % confidence interval of a metric's mean is within SHARE% of it, or within an
    /// amount: throughput.bound.mean:2%, bound.last_s:0.5; repeated: all must hold
    #[arg(long, value_name = "METRIC:WIDTH")]
    pub until: Vec<String>,
    /// Runs the I-th of N parts of the sweep, I from 1, into --out; `podpace merge` puts the parts together
    #[arg(long, value_name = "I/N", requires = "out", value_parser = shard)]
    pub shard: Option<(u64, u64)>,
    /// Memory that the runs under way may take together, such as 2Gi: no more run at once than fit [default: no limit]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub max_memory: Option<u64>,
    /// How the table is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: SweepFormat,
}

/// How `sweep` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SweepFormat {
    /// For people
    #[default]
    Table,
    /// For programs; the shape is stable
    Json,
    /// A line of JSON for each run as soon as it has ended and is kept, in that order
    Jsonl,
}

fn shard(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((i, n)) if (1..=n).contains(&i) && n <= crate::scenario::limits::SWEEP_RUNS => Ok((i, n)),
        _ => Err("expected I/N with I from 1 to N, such as 2/5".to_owned()),
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    match text.parse::<Quantity>().map(Quantity::units) {
        Ok(Some(bytes)) if bytes > 0 => Ok(bytes),
        _ => Err("expected an amount of memory, such as 512Mi or 2Gi".to_owned()),
    }
}

/// Arguments of `merge`.
#[derive(Args, Debug)]
pub struct MergeArgs {
    /// Folders of all shards of one sweep, as `sweep --shard I/N --out DIR` writes them, in any order
    #[arg(value_name = "SHARD", required = true)]
    pub shards: Vec<PathBuf>,
    /// Writes the folder that one machine would have written
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Metric to show, instead of the usual ones; may be repeated
    #[arg(long, value_name = "NAME")]
    pub metric: Vec<String>,
    /// How the table is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Scenarios, experiments, or folders of them (every *.yaml directly in it)
    #[arg(value_name = "FILE|DIR", required = true)]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub job: JobArgs,
    /// Folder of earlier results to compare with: a row that got worse is a regression (exit code 4)
    #[arg(long, value_name = "DIR")]
    pub baseline: Option<PathBuf>,
    /// Writes the results of this check into the folder of --baseline
    #[arg(long, requires = "baseline")]
    pub update_baseline: bool,
    /// Writes a JUnit report
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Writes the table in Markdown, for a step summary of GitHub or a comment
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Prints workflow commands of GitHub after the table, which mark the lines of what fails
    #[arg(long)]
    pub annotations: bool,
    /// How the table is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub memory: MemoryArgs,
}

/// Arguments of `diff`.
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// Result folder of run or sweep: before
    #[arg(value_name = "RESULT_A")]
    pub before: PathBuf,
    /// Result folder of run or sweep: after
    #[arg(value_name = "RESULT_B")]
    pub after: PathBuf,
    /// Metric to compare, instead of the usual ones; may be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    pub metric: Vec<String>,
    /// Compares every metric that differs
    #[arg(long)]
    pub all: bool,
    /// How the table is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `report`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("output").required(true).multiple(true))]
pub struct ReportArgs {
    /// Result folders of run, of scenarios or experiments
    #[arg(value_name = "RESULT", required = true)]
    pub results: Vec<PathBuf>,
    /// Writes an HTML page that compares all runs; one file that needs no network
    #[arg(long, value_name = "FILE", group = "output")]
    pub out: Option<PathBuf>,
    /// Writes OpenMetrics text under the names of the real components, for `promtool tsdb create-blocks-from openmetrics`
    #[arg(long, value_name = "FILE", group = "output")]
    pub openmetrics: Option<PathBuf>,
    /// Writes a trace of the critical path and of pods, for ui.perfetto.dev
    #[arg(long, value_name = "FILE", group = "output")]
    pub perfetto: Option<PathBuf>,
    /// Writes the scheduler's Kubernetes Events as JSON Lines
    #[arg(long, value_name = "FILE", group = "output")]
    pub events: Option<PathBuf>,
    /// Writes what `kubectl get pods -w -o json --output-watch-events` would print, as JSON Lines
    #[arg(long, value_name = "FILE", group = "output")]
    pub watch: Option<PathBuf>,
    /// Shows only the run of this name (an experiment has several)
    #[arg(long, value_name = "NAME")]
    pub run: Option<String>,
    /// Virtual time between scrapes of --openmetrics
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub scrape_interval: String,
    /// Date of t = 0 [default: 2025-01-01T00:00:00Z]
    #[arg(long, value_name = "DATE")]
    pub epoch: Option<String>,
    /// Pods in --perfetto, --events and --watch, spread evenly over all of them
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_pods: u32,
}

/// Arguments of `validate`.
#[derive(Args, Debug)]
pub struct ValidateArgs {
    /// Folder of measured runs: NAME.json beside NAME.pods.csv.gz, or NAME/ with a scenario.yaml and answers of Prometheus, scrapes of
    /// /metrics, an audit log or a list of pods
    #[arg(value_name = "MEASURED_DIR")]
    pub folder: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub job: JobArgs,
    /// Seeds that each run is predicted with
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub seeds: u32,
    /// Sets a field that a run's conditions lack; may be repeated
    #[arg(long = "set", value_name = "RUN:PATH=VALUE")]
    pub sets: Vec<String>,
    /// Takes unit costs as they are; else each seed also draws them from their intervals, so that ranges cover their
    /// uncertainty
    #[arg(long)]
    pub fixed_costs: bool,
    /// Writes a picture (SVG): predicted over measured, with ranges; replaces an earlier one
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// How the table is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `calibrate`.
#[derive(Args, Debug)]
pub struct CalibrateArgs {
    /// Folder of measured runs: NAME.json beside NAME.pods.csv.gz, or NAME/ with a scenario.yaml and answers of Prometheus, scrapes of
    /// /metrics, an audit log or a list of pods
    #[arg(value_name = "MEASURED_DIR")]
    pub folder: PathBuf,
    /// Profile to fit; as it is, it is the prior
    #[arg(long, value_name = "NAME")]
    pub profile: String,
    /// Writes the fitted profile; as DIR/NAME.yaml, --models DIR finds it
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Writes the report as JSON: residuals of every run, intervals, cross-validation
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Seeds that each run is simulated with
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub seeds: u32,
    /// A constant without an interval lies within this factor of its value, with 90 % confidence
    #[arg(long, value_name = "FACTOR", default_value_t = 2.0)]
    pub prior_factor: f64,
    /// Rounds of simulating and solving
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub iterations: u32,
    /// Takes the intervals from the curvature at the fit only, not from the profile of the objective: a fraction of the time
    #[arg(long)]
    pub no_profile_likelihood: bool,
    /// Sets a field that a run's conditions lack; may be repeated
    #[arg(long = "set", value_name = "RUN:PATH=VALUE")]
    pub sets: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub job: JobArgs,
    /// How the report is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `plan`.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// Scenario (YAML)
    #[arg(value_name = "SCENARIO")]
    pub file: PathBuf,
    /// METRIC>=NUMBER, METRIC<=NUMBER or METRIC>=FACTOR*METRIC, such as 'latency.created_to_bound.p95_s<=60';
    /// repeated: all must hold
    #[arg(long, value_name = "GOAL", required = true)]
    pub goal: Vec<String>,
    /// Field and its values: LO..HI[:STEP], LO..HI:xFACTOR or V1,V2,..; may be repeated
    #[arg(long, value_name = "PATH=VALUES", required = true)]
    pub vary: Vec<String>,
    /// Cost of one unit of a field; a negative one finds the largest value. Without any, each field costs its place
    /// between its first and last value
    #[arg(long, value_name = "PATH=WEIGHT", allow_hyphen_values = true)]
    pub cost: Vec<String>,
    /// Seeds that a setting is tried with; each also draws the unit costs from their 90 % intervals
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub seeds: u64,
    /// Takes unit costs as they are under all seeds
    #[arg(long)]
    pub fixed_costs: bool,
    /// Share of the seeds that has to meet the goals
    #[arg(long, value_name = "SHARE", default_value_t = 0.9)]
    pub confidence: f64,
    /// Lists every run after the table, with the command that repeats it; --format json has them always
    #[arg(long)]
    pub list_runs: bool,
    /// The search ends after so many runs
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub max_runs: u64,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub with: WithArgs,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub memory: MemoryArgs,
}

/// Arguments of `knee`.
#[derive(Args, Debug)]
pub struct KneeArgs {
    /// Scenario (YAML) whose pods arrive at times of their own: arrivals, or a trace
    #[arg(value_name = "SCENARIO")]
    pub file: PathBuf,
    /// Values of a field, such as 'cluster.nodes[0].count=1000,2000,5000': a knee for each instead of a curve
    #[arg(long, value_name = "PATH=V1,V2,..")]
    pub vary: Option<String>,
    /// Seeds; each also draws the unit costs from their 90 % intervals
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub seeds: u64,
    /// Takes unit costs as they are under all seeds
    #[arg(long)]
    pub fixed_costs: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub with: WithArgs,
    /// How the table is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub memory: MemoryArgs,
}

/// Arguments of `explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// Scenario or experiment (YAML), or a result folder of run (its bottleneck only)
    #[arg(value_name = "SCENARIO|EXPERIMENT|RESULT")]
    pub file: PathBuf,
    /// Shows the life of one pod step by step instead, by its index in order of creation, 0 first
    #[arg(long, value_name = "N")]
    pub pod: Option<u32>,
    /// Paired runs a limit, each pair with a seed of its own and the unit costs drawn from their 90 % intervals
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub pairs: u64,
    /// Takes unit costs as they are in all pairs
    #[arg(long)]
    pub fixed_costs: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub with: WithArgs,
    /// How the table is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub memory: MemoryArgs,
}

/// Arguments of `models`.
#[derive(Args, Debug)]
pub struct ModelsArgs {
    /// Profile to show with all its constants
    pub name: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArgs,
    /// How the table is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// A format with a schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// kind: Scenario
    #[default]
    Scenario,
    /// kind: Experiment
    Experiment,
    /// kind: Sweep
    Sweep,
    /// kind: MeasuredStudy
    MeasuredStudy,
    /// summary.json and run --format json
    Result,
    /// Rows of sweep --format json
    SweepResult,
    /// Rows of diff --format json
    Diff,
    /// uncertainty.json, and in run --uncertainty --format json
    Uncertainty,
    /// Sensitivities of explain --format json
    Explain,
    /// A knee of knee --format json
    Knee,
}

/// Arguments of `schema`.
#[derive(Args, Debug)]
pub struct SchemaArgs {
    /// Which format
    #[arg(value_enum, default_value_t)]
    pub of: SchemaOf,
}

/// Arguments of `completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// Shell
    #[arg(value_enum)]
    pub shell: Shell,
}
