//! `podpace trace`: recorded and generated workloads in, out, looked at and checked.
//!
//! What a trace is and what each format can't tell is in `docs/traces.md`. A trace with findings of class E, like any
//! other input that can't be used, is exit code 2.
use std::io::ErrorKind;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::cli::args::Format;
use crate::cli::failure::{Failure, Output, code};
use crate::cli::grid::{Grid, whole};
use crate::cli::terminal;
use crate::experiment::output::{Kind, check_file, write_file};
use crate::experiment::run::to_json;
use crate::scenario::duration::DurationNs;
use crate::scenario::quantity::Ratio;
use crate::trace::model::{Compression, Encoding, Manifest};
use crate::trace::number;
use crate::trace::transform::{GpuResource, Mapping, Transform};
use crate::trace::{self, ImportOptions, OnError, Split, TraceError};

const SARIF: Kind = Kind::new("SARIF log", "{\n  \"$schema\":");
const SPEC: Kind = Kind::new("spec of `trace fit`", "# Fitted by `podpace trace fit`");

/// Arguments of `trace`.
#[derive(Args, Debug)]
pub struct TraceArgs {
    /// What to do with traces
    #[command(subcommand)]
    pub command: TraceCommand,
}

/// A subcommand of `trace`.
#[derive(Debug, Subcommand)]
pub enum TraceCommand {
    /// Imports recorded files of a format as a trace folder, and reports what was read, kept, dropped and made up
    Import(ImportArgs),
    /// Writes a trace in another form: Kubernetes manifests with a schedule, SWF, CSV, SimKube
    Export(ExportArgs),
    /// Writes a trace transformed: a window of it, faster, more or less load, other nodes, other queues
    Transform(TransformArgs),
    /// Fits a generator spec to a trace, and shows how near what it generates comes
    Fit(FitArgs),
    /// Generates a trace from a spec (kind: TraceSpec) and a seed
    Generate(GenerateArgs),
    /// Shows what a trace is like: arrivals, sizes, durations, demand against capacity
    Stats(LookArgs),
    /// Checks a trace; findings with codes, E001.. (exit code 2) and W001.. (exit code 0)
    Validate(ValidateArgs),
    /// Lists the formats that are imported and exported
    Formats(FormatsArgs),
}

/// What happens at a bad row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OnErrorArg {
    /// Stops, says where, and leaves nothing behind
    #[default]
    Fail,
    /// Leaves it out and counts it in the report
    Skip,
}

/// How tables are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EncodingArg {
    /// pods.parquet, zstd
    Parquet,
    /// pods.jsonl
    Jsonl,
    /// pods.jsonl.gz
    JsonlGz,
    /// pods.jsonl.zst
    JsonlZst,
}

/// How parallel jobs become pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SplitArg {
    /// One pod, unless the source names its parts or no node could hold it whole
    #[default]
    Auto,
    /// Always one pod
    Job,
    /// One pod a processor or instance, as a gang
    Task,
}

/// How a trace is written.
#[derive(Args, Debug)]
pub struct WriteArgs {
    /// Folder (or file, for exports that are one) to write
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// How the tables are stored
    #[arg(long, value_enum, default_value_t = if cfg!(feature = "parquet") { EncodingArg::Parquet } else { EncodingArg::Jsonl })]
    pub encoding: EncodingArg,
    /// Replaces a trace that is already there
    #[arg(long)]
    pub overwrite: bool,
}

/// Arguments of `trace import`.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// Format by name; `podpace trace formats` lists them
    #[arg(value_name = "FORMAT")]
    pub source: String,
    /// Files or folders, plain or compressed; tables of a format are told apart by name, header or columns
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub write: WriteArgs,
    /// What happens at a bad row
    #[arg(long, value_enum, default_value_t)]
    pub on_error: OnErrorArg,
    /// Takes Kubernetes objects as the state at time 0: pods that have a node sit on it, the others are to be scheduled
    #[arg(long)]
    pub snapshot: bool,
    /// How parallel jobs become pods
    #[arg(long, value_enum, default_value_t)]
    pub split: SplitArg,
    /// CPU of the largest machine where a format gives shares of it [default: 64]
    #[arg(long, value_name = "QUANTITY")]
    pub unit_cpu: Option<String>,
    /// Memory of the largest machine where a format gives shares of it [default: 256Gi]
    #[arg(long, value_name = "QUANTITY")]
    pub unit_memory: Option<String>,
    /// How the report is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub transformation: TransformationArgs,
}

/// What is changed about a trace, as `workload.transform` of a scenario has it.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Transformations")]
pub struct TransformationArgs {
    /// Only pods created in this time, such as 24h..48h, 1h.. or ..30m; its beginning becomes 0
    #[arg(long, value_name = "FROM..TO")]
    pub window: Option<String>,
    /// Multiplies creation and run times
    #[arg(long, value_name = "X")]
    pub time_scale: Option<String>,
    /// Pods a pod: 0.5 takes a random half, 2.5 each twice and a random half three times
    #[arg(long, value_name = "X")]
    pub load_scale: Option<String>,
    /// Copies come up to so much later
    #[arg(long, value_name = "DURATION")]
    pub jitter: Option<String>,
    /// Nodes a node
    #[arg(long, value_name = "X")]
    pub node_scale: Option<String>,
    /// Multiplies CPU and memory of nodes
    #[arg(long, value_name = "X")]
    pub capacity_scale: Option<String>,
    /// Queue and namespace of the pods that fit, such as fromUser=ann*,queue=root.{user},namespace=team-a; may be repeated,
    /// the first that fits counts. Patterns: fromUser, fromGroup, fromQueue, fromNamespace
    #[arg(long, value_name = "RULE")]
    pub map: Vec<String>,
    /// GPUs of a model as a resource of their own, such as V100*=example.com/v100; may be repeated
    #[arg(long, value_name = "MODEL=RESOURCE")]
    pub gpu: Vec<String>,
    /// Seed of thinning, copies and jitter
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Arguments of `trace transform`.
#[derive(Args, Debug)]
pub struct TransformArgs {
    /// Trace folder
    #[arg(value_name = "TRACE")]
    pub trace: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub write: WriteArgs,
    /// How the report is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub transformation: TransformationArgs,
}

/// Arguments of `trace fit`.
#[derive(Args, Debug)]
pub struct FitArgs {
    /// Trace folder
    #[arg(value_name = "TRACE")]
    pub trace: PathBuf,
    /// Where the generator spec is written (YAML, kind: TraceSpec)
    #[arg(long, value_name = "SPEC")]
    pub out: Option<PathBuf>,
    /// Seed of the generated trace that is compared
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// How the comparison is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `trace export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// native, k8s, swf, csv or simkube
    #[arg(value_name = "FORMAT")]
    pub target: String,
    /// Trace folder
    #[arg(value_name = "TRACE")]
    pub trace: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub write: WriteArgs,
}

/// Arguments of `trace generate`.
#[derive(Args, Debug)]
pub struct GenerateArgs {
    /// Generator spec (YAML, kind: TraceSpec)
    #[arg(value_name = "SPEC")]
    pub spec: PathBuf,
    /// Seed of all random streams
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub write: WriteArgs,
    /// How the report is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `trace stats`.
#[derive(Args, Debug)]
pub struct LookArgs {
    /// Trace folder
    #[arg(value_name = "TRACE")]
    pub trace: PathBuf,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `trace validate`.
#[derive(Args, Debug)]
pub struct ValidateArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub look: LookArgs,
    /// Writes the findings as SARIF, for code scanning
    #[arg(long, value_name = "FILE")]
    pub sarif: Option<PathBuf>,
}

/// Arguments of `trace formats`.
#[derive(Args, Debug)]
pub struct FormatsArgs {
    /// How the table is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Runs the command.
///
/// # Errors
/// Bad input, a target that is there already, a full disk.
pub fn execute(args: &TraceArgs) -> Result<Output, Failure> {
    match &args.command {
        TraceCommand::Import(args) => import(args),
        TraceCommand::Export(args) => {
            let options = options(&args.write);
            let exported = trace::export(&args.trace, &args.target, &args.write.out, &options);
            let mut notes = exported.map_err(|e| failure(&e))?;
            notes.push(format!("written to {}", args.write.out.display()));
            Ok(Output { notes, ..Output::default() })
        }
        TraceCommand::Transform(args) => {
            let transform = transformation(&args.transformation)?;
            let options = options(&args.write);
            let seed = args.transformation.seed;
            let manifest = trace::transform(&args.trace, &transform, seed, &args.write.out, &options);
            Ok(written(&manifest.map_err(|e| failure(&e))?, &args.write, args.format))
        }
        TraceCommand::Fit(args) => fit(args),
        TraceCommand::Generate(args) => {
            let options = options(&args.write);
            let manifest = trace::generate(&args.spec, args.seed, &args.write.out, &options);
            Ok(written(&manifest.map_err(|e| failure(&e))?, &args.write, args.format))
        }
        TraceCommand::Stats(args) => {
            let stats = trace::stats(&args.trace).map_err(|e| failure(&e))?;
            Ok(Output::pass(match args.format {
                Format::Table => stats.to_string(),
                Format::Json => to_json(&stats),
            }))
        }
        TraceCommand::Validate(args) => {
            let look = &args.look;
            if let Some(path) = &args.sarif {
                check_file(path, SARIF, &[])?;
            }
            let findings = trace::validate(&look.trace).map_err(|e| failure(&e))?;
            let mut notes = Vec::new();
            if let Some(path) = &args.sarif {
                let log = crate::report::sarif::sarif(&findings, &look.trace);
                write_file(path, SARIF, to_json(&log).as_bytes())?;
                notes.push(format!("SARIF in {}", path.display()));
            }
            let text = match look.format {
                Format::Table => findings.to_string(),
                Format::Json => to_json(&findings),
            };
            let code = if findings.has_errors() { code::INPUT } else { code::PASS };
            Ok(Output { text, notes, code })
        }
        TraceCommand::Formats(args) => Ok(formats(args)),
    }
}

fn options(write: &WriteArgs) -> ImportOptions {
    let (encoding, compression) = match write.encoding {
        EncodingArg::Parquet => (Encoding::Parquet, Compression::None),
        EncodingArg::Jsonl => (Encoding::Jsonl, Compression::None),
        EncodingArg::JsonlGz => (Encoding::Jsonl, Compression::Gzip),
        EncodingArg::JsonlZst => (Encoding::Jsonl, Compression::Zstd),
    };
    ImportOptions { encoding, compression, overwrite: write.overwrite, ..ImportOptions::default() }
}

/// The options as the trace layer has them; errors name option and value.
fn transformation(args: &TransformationArgs) -> Result<Transform, Failure> {
    let wrong = |option: &str, value: &str, expected: &str| {
        Failure::input(format!("{option} is `{value}`; expected {expected}"))
    };
    let ns = |option: &str, text: &str| {
        text.parse::<DurationNs>().map(|d| d.0).map_err(|e| wrong(option, text, &e.to_string()))
    };
    let ppm = |option: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => match text.parse::<Ratio>() {
            Ok(ratio) if ratio.ppm() > 0 && ratio.ppm() <= 10_000_000_000 => Ok(Some(ratio.ppm())),
            _ => Err(wrong(option, text, "a number above 0 and up to 10000, such as 0.5 or 2")),
        },
    };
    let mut out = Transform {
        time_ppm: ppm("--time-scale", &args.time_scale)?,
        load_ppm: ppm("--load-scale", &args.load_scale)?,
        node_ppm: ppm("--node-scale", &args.node_scale)?,
        capacity_ppm: ppm("--capacity-scale", &args.capacity_scale)?,
        ..Transform::default()
    };
    if let Some(text) = &args.window {
        let (from, to) = text.split_once("..").ok_or_else(|| {
            wrong("--window", text, "two times of the trace, such as 24h..48h, 1h.. or ..30m")
        })?;
        if !from.is_empty() {
            out.from_ns = ns("--window", from)?;
        }
        if !to.is_empty() {
            out.to_ns = Some(ns("--window", to)?);
        }
        if out.to_ns.is_some_and(|to| to <= out.from_ns) {
            return Err(wrong("--window", text, "an end after the beginning"));
        }
    }
    if let Some(text) = &args.jitter {
        out.jitter_ns = ns("--jitter", text)?;
    }
    for text in &args.map {
        let mut rule = Mapping::default();
        for part in text.split(',') {
            let field = match part.split_once('=').map(|(name, value)| (name.trim(), value)) {
                Some(("fromUser", v)) => (&mut rule.from_user, v),
                Some(("fromGroup", v)) => (&mut rule.from_group, v),
                Some(("fromQueue", v)) => (&mut rule.from_queue, v),
                Some(("fromNamespace", v)) => (&mut rule.from_namespace, v),
                Some(("queue", v)) => (&mut rule.queue, v),
                Some(("namespace", v)) => (&mut rule.namespace, v),
                _ => {
                    let expected = "fromUser, fromGroup, fromQueue or fromNamespace=PATTERN, queue or namespace=NAME, separated by commas";
                    return Err(wrong("--map", part, expected));
                }
            };
            *field.0 = field.1.to_owned();
        }
        if rule.queue.is_empty() && rule.namespace.is_empty() {
            return Err(wrong("--map", text, "a queue= or a namespace= that the pods get"));
        }
        out.mapping.push(rule);
    }
    for text in &args.gpu {
        match text.split_once('=') {
            Some((model, resource)) if !model.is_empty() && resource.contains('/') => {
                let rule = GpuResource { model: model.to_owned(), resource: resource.to_owned() };
                out.gpu_resources.push(rule);
            }
            _ => return Err(wrong("--gpu", text, "MODEL=RESOURCE, such as V100*=example.com/v100")),
        }
    }
    Ok(out)
}

fn fit(args: &FitArgs) -> Result<Output, Failure> {
    if let Some(out) = &args.out {
        check_file(out, SPEC, &[])?;
    }
    let fit = trace::fit(&args.trace, args.seed).map_err(|e| failure(&e))?;
    let mut notes = Vec::new();
    if let Some(out) = &args.out {
        trace::fit::write(&fit, out).map_err(|e| failure(&e))?;
        notes.push(format!("spec in {0}; next: `podpace trace generate {0} --out DIR`", out.display()));
    }
    let text = match args.format {
        Format::Table if args.out.is_none() => format!("{fit}\n{}", fit.spec),
        Format::Table => fit.to_string(),
        Format::Json => to_json(&fit),
    };
    Ok(Output { text, notes, code: code::PASS })
}

fn import(args: &ImportArgs) -> Result<Output, Failure> {
    let mut options = options(&args.write);
    options.on_error = match args.on_error {
        OnErrorArg::Fail => OnError::Fail,
        OnErrorArg::Skip => OnError::Skip,
    };
    options.split = match args.split {
        SplitArg::Auto => Split::Auto,
        SplitArg::Job => Split::Job,
        SplitArg::Task => Split::Task,
    };
    options.snapshot = args.snapshot;
    if let Some(text) = &args.unit_cpu {
        options.cpu_unit_millicores = quantity("--unit-cpu", text, 1000, "64")?;
    }
    if let Some(text) = &args.unit_memory {
        options.memory_unit_bytes = quantity("--unit-memory", text, 1, "256Gi")?;
    }
    let transform = transformation(&args.transformation)?;
    let imported = if transform.is_empty() {
        trace::import(&args.source, &args.paths, &args.write.out, &options)
    } else {
        let seed = args.transformation.seed;
        trace::transform::import(&args.source, &args.paths, &transform, seed, &args.write.out, &options)
    };
    let manifest = imported.map_err(|error| {
        let mut failure = failure(&error);
        if error.problem().is_some() {
            failure.message +=
                "\nhint: correct the input, or leave bad rows out and count them with --on-error skip";
        }
        failure
    })?;
    Ok(written(&manifest, &args.write, args.format))
}

fn quantity(option: &str, text: &str, unit: u64, example: &str) -> Result<u64, Failure> {
    match number::quantity(text, unit) {
        Ok(0) | Err(_) => Err(Failure::input(format!(
            "{option} is `{text}`; expected a Kubernetes quantity above 0, such as {example}"
        ))),
        Ok(amount) => Ok(amount),
    }
}

fn written(manifest: &Manifest, write: &WriteArgs, format: Format) -> Output {
    let c = &manifest.counts;
    let out = write.out.display();
    let text = match format {
        Format::Table => format!(
            "{}\n{}: {} pods, {} specs, {} nodes, {} events, {} outcomes\n",
            manifest.report,
            out,
            whole(c.pods),
            whole(c.specs),
            whole(c.nodes),
            whole(c.events),
            whole(c.outcomes)
        ),
        Format::Json => to_json(manifest),
    };
    let next = format!("next: `podpace trace validate {out}`, or `workload: {{trace: {out}}}` in a scenario");
    Output { text, notes: vec![next], code: code::PASS }
}

fn formats(args: &FormatsArgs) -> Output {
    let exported = |name: &str| trace::export::FORMATS.contains(&name);
    let only_exported = [
        ("k8s", "nodes.yaml, pods.yaml and schedule.csv, to replay on a real (KWOK) cluster"),
        ("csv", "pods.csv with requests joined, nodes.csv"),
    ];
    Output::pass(match args.format {
        Format::Table => {
            let heading = ["format", "import", "export", "what", "tested on"];
            let mut grid = Grid::new(&heading, terminal::has_colour());
            let yes = |yes: bool| if yes { "yes" } else { "" }.to_owned();
            for i in trace::importers() {
                let row = [i.name().to_owned(), yes(true), yes(exported(i.name()))];
                grid.row(row.into_iter().chain([i.summary().to_owned(), i.tested_on().to_owned()]));
            }
            for (name, what) in only_exported {
                grid.row([name.to_owned(), yes(false), yes(true), what.to_owned(), String::new()]);
            }
            grid.render()
        }
        Format::Json => {
            let imports = trace::importers().iter().map(|i| {
                json!({
                    "name": i.name(),
                    "import": true,
                    "export": exported(i.name()),
                    "what": i.summary(),
                    "tested_on": i.tested_on(),
                })
            });
            let exports = only_exported.iter().map(
                |(name, what)| json!({"name": name, "import": false, "export": true, "what": what, "tested_on": ""}),
            );
            to_json(&imports.chain(exports).collect::<Vec<_>>())
        }
    })
}

/// Input that is wrong or absent is exit code 2; a disk that is full is 1.
fn failure(error: &TraceError) -> Failure {
    match error {
        TraceError::Io { source, .. } => match source.kind() {
            ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::InvalidData
            | ErrorKind::AlreadyExists => Failure::input(error),
            _ => Failure::run(error),
        },
        _ => Failure::input(error),
    }
}
