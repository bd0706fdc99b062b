//! `podpace run`: one scenario, or every run of an experiment.
use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use serde_json::json;

use super::{environment, pool};
use crate::cli::args::{Format, PauseArgs, Pods, RunArgs};
use crate::cli::clock::Stopwatch;
use crate::cli::failure::{Failure, Output, code};
use crate::cli::grid::{Grid, Paint, metric, number, paint, percent, span_s, sparkline, whole};
use crate::cli::live::live;
use crate::cli::{expectations, terminal};
use crate::engine::{MILLISECOND, Nanos, SECOND};
use crate::experiment::check::{self, Observed};
use crate::experiment::checkpoint;
use crate::experiment::output::{self, PodsFormat, Staging};
use crate::experiment::pause::{Paused, Pauses};
use crate::experiment::recorded::Comparison;
use crate::experiment::run::{self, Completed, Environment, FaultSummary, RunSpec, Summary, to_json};
use crate::experiment::uncertainty::{Uncertainty, extrapolations, uncertainty};
use crate::scenario::Document;

const SPARKLINE: usize = 60;
/// Between two checkpoints: each takes as long as many events.
const LEAST_CHECKPOINT_SPAN_NS: Nanos = MILLISECOND;

fn pods_format(pods: Pods) -> PodsFormat {
    match pods {
        Pods::Csv => PodsFormat::Csv,
        Pods::Parquet => PodsFormat::Parquet,
        Pods::None => PodsFormat::None,
    }
}

fn pauses(args: &PauseArgs) -> Result<Pauses, Failure> {
    if args.checkpoint.is_some() && args.checkpoint_at.is_empty() && args.checkpoint_every.is_none() {
        return Err(Failure::input(
            "--checkpoint without a time: say when, by --checkpoint-at TIME or --checkpoint-every SPAN",
        ));
    }
    if let Some(every) = args.checkpoint_every.filter(|every| every.ns() < LEAST_CHECKPOINT_SPAN_NS) {
        return Err(Failure::input(format!(
            "--checkpoint-every is {every}, expected at least 1ms of virtual time: each one is a file that is synced; name a \
             longer span, such as 10m"
        )));
    }
    Ok(Pauses {
        resume: args.resume.clone(),
        checkpoint: args.checkpoint.clone(),
        checkpoint_at_ns: args.checkpoint_at.iter().map(|t| t.ns()).collect(),
        checkpoint_every_ns: args.checkpoint_every.map(|t| t.ns()),
        snapshot: args.snapshot.clone(),
        snapshot_at_ns: args.snapshot_at.iter().map(|t| t.ns()).collect(),
    })
}

/// Runs the command.
///
/// # Errors
/// Bad input, a destination that is no result, a full disk, a difference between two runs.
pub fn execute(args: &RunArgs, quiet: bool) -> Result<Output, Failure> {
    let document = run::load(&args.file, &args.with.set.sets, args.with.set.seed)?;
    let environment = environment(&args.with.model, args.memory.max_memory)?;
    let mut notes = Vec::new();
    if let Some(out) = &args.out {
        notes.extend(output::mend(out));
        output::check_destination(out)?;
    }
    if let Some(path) = &args.pause.checkpoint {
        let inputs: Vec<&Path> = document.sources().iter().map(|source| Path::new(&source.name)).collect();
        output::check_file(path, checkpoint::KIND, &inputs)?;
    }
    let pauses = pauses(&args.pause)?;
    if run::is_experiment(&document) {
        if !pauses.is_empty() {
            return Err(Failure::input(format!(
                "{}: checkpoints and snapshots are of one run, and an experiment has many; name a scenario",
                args.file.display()
            )));
        }
        for (option, given) in
            [("--uncertainty", args.uncertainty.is_some()), ("--draw", args.draw.is_some())]
        {
            if given {
                return Err(Failure::input(format!(
                    "{option} is for one scenario; this file is an experiment of several runs"
                )));
            }
        }
        let mut output = experiment(args, &document, &environment, quiet)?;
        output.notes.splice(..0, notes);
        return Ok(output);
    }
    let spec = RunSpec { draw: args.draw, ..RunSpec::of_scenario(run::scenario_only(&document)?)? };
    let shown = live(quiet);
    let stopwatch = Stopwatch::start();
    let Paused { completed, notes: written, failures } = if pauses.is_empty() {
        Paused { completed: spec.simulate(&environment)?, notes: Vec::new(), failures: Vec::new() }
    } else {
        pauses.simulate(&spec, &environment)?
    };
    let wall = stopwatch.elapsed();
    drop(shown);
    notes.extend(completed.summary.notes.iter().map(|note| format!("note: {note}")));
    notes.extend(written);
    // Told even with --quiet, and by the exit code: the result is there, but not all that was asked for.
    for failure in &failures {
        terminal::say(failure);
    }
    notes.extend(extrapolations(&completed.finished).iter().map(|text| format!("warning: {text}")));
    let uncertain = match args.uncertainty {
        Some(draws) => {
            let bar = terminal::progress(quiet, "draws", draws + 1);
            let done = || bar.inc(1);
            let result = pool(&args.with.job)?.install(|| uncertainty(&spec, &environment, draws, done));
            bar.finish_and_clear();
            Some(result?)
        }
        None => None,
    };
    if args.verify_determinism {
        notes.push(verify(&spec, &completed, &environment)?);
    }
    let rows = scenario_expectations(&spec, &completed)?;
    if let Some(out) = &args.out {
        let mut staging = Staging::new(out)?;
        staging.run("", &completed, pods_format(args.pods))?;
        if let Some(uncertain) = &uncertain {
            staging.file("uncertainty.json", |file| file.write_all(to_json(uncertain).as_bytes()))?;
        }
        let timing = json!({"wall_s": wall.as_secs_f64()});
        staging.unhashed("timing.json", to_json(&timing).as_bytes())?;
        staging.publish()?;
        notes.push(format!("result in {}", out.display()));
    }
    let text = match args.format {
        Format::Table => {
            let colour = terminal::has_colour();
            let mut text = table(&completed, args.explain_costs, colour);
            if !rows.is_empty() {
                text += &format!("\n{}", expectations::table(&rows, colour));
            }
            if let Some(uncertain) = &uncertain {
                text += &format!("\n{}", bands(uncertain, colour));
            }
            text + &format!("\n{}\n", completed.summary.bottleneck.sentence)
        }
        Format::Json => {
            let mut value = serde_json::to_value(&completed.summary).map_err(Failure::run)?;
            if !rows.is_empty() {
                value["expectations"] = json!(rows);
            }
            if let Some(uncertain) = &uncertain {
                // The single draws are in uncertainty.json only.
                value["uncertainty"] = json!(Uncertainty { values: BTreeMap::new(), ..uncertain.clone() });
            }
            to_json(&value)
        }
    };
    let code = if failures.is_empty() { code::PASS } else { code::RUN };
    Ok(Output { text, notes, code })
}

/// Metrics whose uncertainty the table shows; JSON has all.
const UNCERTAIN: [&str; 6] = [
    "throughput.bound.mean",
    "throughput.bound.p10_p90",
    "bound.first_s",
    "bound.last_s",
    "latency.created_to_bound.p50_s",
    "latency.created_to_bound.p99_s",
];

fn bands(uncertain: &Uncertainty, colour: bool) -> String {
    let heading = ["with uncertain costs", ">as they are", ">median", ">5 %", ">95 %"];
    let mut grid = Grid::new(&heading, colour);
    let cpu = |name: &&String| name.starts_with("cpu.");
    let names =
        UNCERTAIN.iter().map(|n| (*n).to_owned()).chain(uncertain.metrics.keys().filter(cpu).cloned());
    for name in names {
        if let Some(b) = uncertain.metrics.get(&name) {
            let values = [b.value, b.median, b.p5, b.p95].map(|v| metric(&name, v));
            grid.row(std::iter::once(name.clone()).chain(values));
        }
    }
    let Uncertainty { draws, drawn, without_interval, .. } = uncertain;
    let stay = match without_interval {
        0 => String::new(),
        n => format!("; {n} have no interval and stay as they are"),
    };
    grid.render() + &format!("over {draws} draws of {drawn} unit costs from their 90 % intervals{stay}\n")
}

fn verify(spec: &RunSpec, first: &Completed, environment: &Environment) -> Result<String, Failure> {
    let again = spec.simulate(environment)?;
    let (a, b) =
        (output::digest(first).map_err(Failure::run)?, output::digest(&again).map_err(Failure::run)?);
    if a == b {
        return Ok(format!("deterministic: two runs gave the same bytes, sha256 {a}"));
    }
    let differing: Vec<String> = first
        .summary
        .metrics
        .iter()
        .filter_map(|(name, value)| {
            let other = again.summary.metrics.get(name).copied().unwrap_or(f64::NAN);
            (value.to_bits() != other.to_bits()).then(|| format!("  {name}: {value} and {other}"))
        })
        .take(10)
        .collect();
    let message = format!(
        "error: two runs of {} with seed {} differ: sha256 {a} and {b}\n{}",
        spec.name,
        spec.seed,
        differing.join("\n")
    );
    Err(Failure { code: code::NOT_DETERMINISTIC, message })
}

fn scenario_expectations(spec: &RunSpec, run: &Completed) -> Result<Vec<check::Row>, Failure> {
    let observed = Observed { metrics: run.metrics(), curves: BTreeMap::new() };
    let runs = [(spec.name.clone(), vec![observed])].into();
    let (expect, thresholds) = (&spec.scenario.expect, &spec.scenario.thresholds);
    let mut rows = check::judge(&spec.name, &spec.document, expect, &check::Curves::new(), &runs)?;
    rows.extend(check::judge_thresholds(&spec.name, &spec.document, thresholds, &runs)?);
    // Only `check` reads baselines.
    rows.retain(|row| row.relative.is_none());
    Ok(rows)
}

/// Every run of an experiment, and its table of expectations.
fn experiment(
    args: &RunArgs,
    document: &Document,
    environment: &Environment,
    quiet: bool,
) -> Result<Output, Failure> {
    let spec = document.decode_experiment()?.spec;
    let curves = check::load_curves(document, &spec.expect)?;
    let runs = run::runs_of(document)?;
    let staging = match &args.out {
        Some(out) => Some(std::sync::Mutex::new(Staging::new(out)?)),
        None => None,
    };
    let bar = terminal::progress(quiet, "runs", runs.len() as u64);
    let stopwatch = Stopwatch::start();
    let beyond = std::sync::Mutex::new(std::collections::BTreeSet::new());
    // A run's pods are dropped as soon as they are measured and written.
    let done: Vec<Result<(Observed, Summary), Failure>> = pool(&args.with.job)?.install(|| {
        runs.par_iter()
            .map(|run| {
                let completed = run.simulate(environment)?;
                if args.verify_determinism {
                    verify(run, &completed, environment)?;
                }
                if let Some(staging) = &staging {
                    let prefix = format!("{}-seed{}/", run.name, run.seed);
                    let mut staging = staging.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    staging.run(&prefix, &completed, pods_format(args.pods))?;
                }
                let metrics = completed.metrics();
                let observed = check::observe(&run.name, &completed.finished, metrics, &spec.expect, &curves);
                bar.inc(1);
                let warnings = extrapolations(&completed.finished);
                beyond.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(warnings);
                Ok((observed, completed.summary))
            })
            .collect()
    });
    bar.finish_and_clear();
    let mut by_run: BTreeMap<String, Vec<Observed>> = BTreeMap::new();
    let mut summaries = Vec::new();
    for (run, done) in runs.iter().zip(done) {
        let (observed, summary) = done?;
        by_run.entry(run.name.clone()).or_default().push(observed);
        summaries.push((run.name.clone(), summary));
    }
    let mut rows = check::judge(&spec.name, document, &spec.expect, &curves, &by_run)?;
    rows.extend(check::judge_thresholds(&spec.name, document, &spec.thresholds, &by_run)?);
    rows.retain(|row| row.relative.is_none());
    let beyond = beyond.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut notes: Vec<String> = beyond.iter().map(|text| format!("warning: {text}")).collect();
    if let (Some(staging), Some(out)) = (staging, &args.out) {
        let mut staging = staging.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        staging.file("expectations.json", |file| file.write_all(to_json(&rows).as_bytes()))?;
        let timing = json!({"wall_s": stopwatch.elapsed().as_secs_f64()});
        staging.unhashed("timing.json", to_json(&timing).as_bytes())?;
        staging.publish()?;
        notes.push(format!("result in {}", out.display()));
    }
    if args.verify_determinism {
        notes.push("deterministic: every run gave the same bytes twice".to_owned());
    }
    let text = match args.format {
        Format::Table => {
            let colour = terminal::has_colour();
            let mut text = format!("{}\n", paint(&spec.name, Paint::Bold, colour));
            if let Some(source) = &spec.source {
                text += &format!("{source}\n");
            }
            text += &format!("\n{}", overview(&summaries, colour));
            if !rows.is_empty() {
                text += &format!("\n{}", expectations::table(&rows, colour));
            }
            if args.explain_costs {
                for (name, summary) in &summaries {
                    text += &format!("\n{name}, seed {}\n{}", summary.seed, costs(summary, colour));
                }
            }
            text.push('\n');
            for (name, summary) in summaries.iter().filter(|(name, s)| is_first(&summaries, name, s.seed)) {
                text += &format!("{name}: {}\n", summary.bottleneck.sentence);
            }
            text
        }
        Format::Json => {
            let runs: Vec<_> =
                summaries.iter().map(|(name, summary)| json!({"run": name, "result": summary})).collect();
            to_json(&json!({"experiment": spec.name, "runs": runs, "expectations": rows}))
        }
    };
    Ok(Output { text, notes, code: code::PASS })
}

/// One sentence a run is enough, not one a seed.
fn is_first(summaries: &[(String, Summary)], name: &str, seed: u64) -> bool {
    summaries.iter().find(|(other, _)| other == name).is_some_and(|(_, s)| s.seed == seed)
}

/// One line a run.
fn overview(summaries: &[(String, Summary)], colour: bool) -> String {
    let heading = [
        "run",
        ">seed",
        "scheduler",
        ">nodes",
        ">bound",
        ">pending",
        ">pods/s",
        ">last bound",
        ">p50",
        ">p99",
    ];
    let mut grid = Grid::new(&heading, colour);
    for (name, s) in summaries {
        let get = |metric: &str| s.metrics.get(metric).copied().unwrap_or(f64::NAN);
        grid.row([
            name.clone(),
            s.seed.to_string(),
            s.scheduler.profile.clone(),
            number(get("nodes")),
            whole(s.counts.bound),
            whole(s.counts.pending),
            number(get("throughput.bound.mean")),
            span_s(get("bound.last_s")),
            span_s(get("latency.created_to_bound.p50_s")),
            span_s(get("latency.created_to_bound.p99_s")),
        ]);
    }
    grid.render()
}

/// The whole table of one run, without its last sentence.
fn table(run: &Completed, with_costs: bool, colour: bool) -> String {
    let s = &run.summary;
    let get = |name: &str| s.metrics.get(name).copied();
    let mut parts = Vec::new();
    parts.push(format!(
        "{}  seed {}\n{} nodes, {} pods, {} ({})\n",
        paint(&s.scenario, Paint::Bold, colour),
        s.seed,
        whole(run.finished.cluster.nodes.len() as u64),
        whole(s.counts.total),
        s.scheduler.kind,
        s.scheduler.profile,
    ));

    let c = &s.counts;
    let counts = [
        (">created", c.created),
        (">assumed", c.assumed),
        (">bound", c.bound),
        (">running", c.running),
        (">finished", c.finished),
        (">pending", c.pending),
        (">given up", c.failed),
    ];
    let heading: Vec<&str> = std::iter::once("pods").chain(counts.iter().map(|(name, _)| *name)).collect();
    let mut grid = Grid::new(&heading, colour);
    grid.row(std::iter::once(String::new()).chain(counts.iter().map(|(_, n)| whole(*n))));
    parts.push(grid.render());

    if !s.pending_reasons.is_empty() {
        let mut grid = Grid::new(&[">pods", "pending because"], colour);
        let mut reasons: Vec<(&String, &u64)> = s.pending_reasons.iter().collect();
        reasons.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        for (reason, n) in reasons {
            grid.row([whole(*n), reason.clone()]);
        }
        parts.push(grid.render());
    }

    if !s.faults.is_empty() {
        parts.push(faults(s, colour));
    }

    let window = format!(">best {}", crate::engine::time::format_short(run.finished.window_ns));
    let mut grid = Grid::new(&["pods/s", ">mean", ">p10-p90", &window, ">first at", ">last at"], colour);
    for stage in ["created", "assumed", "bound", "started"] {
        let Some(first) = get(&format!("{stage}.first_s")) else { continue };
        let rate = |what: &str| number(get(&format!("throughput.{stage}.{what}")).unwrap_or(f64::NAN));
        let last = get(&format!("{stage}.last_s")).unwrap_or(f64::NAN);
        grid.row([stage.to_owned(), rate("mean"), rate("p10_p90"), rate("max"), span_s(first), span_s(last)]);
    }
    if !grid.is_empty() {
        parts.push(grid.render());
    }

    let mut grid = Grid::new(&["latency", ">mean", ">p50", ">p90", ">p99", ">max"], colour);
    for (stage, label) in STAGES {
        if get(&format!("latency.{stage}.p50_s")).is_none() {
            continue;
        }
        let value = |q: &str| span_s(get(&format!("latency.{stage}.{q}_s")).unwrap_or(f64::NAN));
        grid.row([label.to_owned(), value("mean"), value("p50"), value("p90"), value("p99"), value("max")]);
    }
    if !grid.is_empty() {
        parts.push(grid.render());
    }

    if let Some(recorded) = &s.recorded {
        parts.push(beside_recorded(recorded, colour));
    }

    parts.push(hosts(run, colour));
    let clients = clients(run, colour);
    if !clients.is_empty() {
        parts.push(clients);
    }
    if s.counts.bound > 0 {
        let (rates, end) = output::bound_rates(&run.finished, SPARKLINE);
        let most = rates.iter().copied().fold(0.0, f64::max);
        parts.push(format!(
            "{} 0s {} {}  (highest {}/s)\n",
            paint("bound over time", Paint::Bold, colour),
            sparkline(&rates),
            span_s(end as f64 / SECOND as f64),
            number(most)
        ));
    }
    if with_costs {
        parts.push(costs(s, colour));
    }
    parts.join("\n")
}

/// Faults that are shown one by one; of more, the first.
const FAULTS: usize = 20;

/// Faults, and how long it took until as many pods were bound, and ran, as before.
fn faults(s: &Summary, colour: bool) -> String {
    let mut grid = Grid::new(&FaultSummary::HEADINGS, colour);
    for fault in s.faults.iter().take(FAULTS) {
        grid.row(fault.row(whole, span_s));
    }
    let mut text = grid.render();
    if s.faults.len() > FAULTS {
        text += &format!("and {} more\n", whole((s.faults.len() - FAULTS) as u64));
    }
    text
}

/// Waits that the trace recorded beside the simulated ones, of the same pods.
fn beside_recorded(c: &Comparison, colour: bool) -> String {
    let wait = format!("wait, created to {}", c.until);
    let heading = [&wait, ">pods", ">mean", ">p50", ">p90", ">p99", ">max", ">makespan"];
    let mut grid = Grid::new(&heading, colour);
    for (side, w) in [("recorded", &c.recorded), ("simulated", &c.simulated)] {
        let spans = [w.mean_s, w.p50_s, w.p90_s, w.p99_s, w.max_s, w.makespan_s].map(span_s);
        grid.row([side.to_owned(), whole(c.pods)].into_iter().chain(spans));
    }
    let mut text = grid.render();
    let or = if c.tolerance_s > 0.0 { " (or 1s)" } else { "" };
    text += &format!("within a factor of 2{or}: {} of the pods", percent(c.within_factor_2));
    if let Some(rank) = c.rank_correlation {
        text += &format!("; rank correlation {}", number(rank));
    }
    for (count, side) in [(c.only_recorded, "recorded"), (c.only_simulated, "simulated")] {
        if count > 0 {
            text += &format!("; {} more pods placed in the {side} run only", whole(count));
        }
    }
    text + "\n"
}

/// Stages as metrics name them, and as people read them.
const STAGES: [(&str, &str); 7] = [
    ("created_to_queued", "created to queued"),
    ("queued_to_assumed", "queued to assumed"),
    ("cycle", "  of which its cycle"),
    ("assumed_to_sent", "assumed to bind sent"),
    ("sent_to_bound", "bind sent to bound"),
    ("created_to_bound", "created to bound"),
    ("bound_to_started", "bound to started"),
];

fn hosts(run: &Completed, colour: bool) -> String {
    let s = &run.summary;
    let kernel = &run.finished.kernel;
    let mut grid = Grid::new(&["host", ">cores", ">busy", "process", ">CPU"], colour);
    let hosts = kernel.hosts();
    for host in hosts.host_ids() {
        let name = hosts.host_name(host);
        let unlimited = name == "unlimited";
        let busy = s.metrics.get(&format!("host.{name}.utilisation")).map(|share| percent(*share));
        let cores = if unlimited { "no limit".to_owned() } else { hosts.cores(host).to_string() };
        let mut first = true;
        for process in kernel.processes().iter().filter(|p| p.host == host) {
            let cpu = span_s(hosts.cpu_ns_done(process.component) as f64 / SECOND as f64);
            let on_first = |text: String| if first { text } else { String::new() };
            let host = if unlimited { "-" } else { name };
            grid.row([
                on_first(host.to_owned()),
                on_first(cores.clone()),
                on_first(busy.clone().unwrap_or_default()),
                process.name.clone(),
                cpu,
            ]);
            first = false;
        }
    }
    grid.render()
}

fn clients(run: &Completed, colour: bool) -> String {
    let end = run.finished.kernel.now();
    let heading = ["client", ">limit", ">requests", ">429", ">failed", ">waited for tokens"];
    let mut grid = Grid::new(&heading, colour);
    for client in run.finished.control_plane.clients() {
        let bucket = &client.bucket;
        let requests = bucket.granted(end);
        if requests == 0 && client.rejections == 0 {
            continue;
        }
        let limit = if bucket.is_unlimited() {
            "none".to_owned()
        } else {
            format!("{}/s", number(bucket.qps_milli() as f64 / 1000.0))
        };
        grid.row([
            client.name.clone(),
            limit,
            whole(requests),
            whole(client.rejections),
            whole(client.failures),
            metric("client.throttled_s", bucket.throttled_ns(end) as f64 / SECOND as f64),
        ]);
    }
    if grid.is_empty() { String::new() } else { grid.render() }
}

/// Operations counted x unit cost = CPU, per process.
fn costs(summary: &Summary, colour: bool) -> String {
    let heading = ["process", "operation", ">count", ">x unit", ">= CPU", ">share"];
    let mut grid = Grid::new(&heading, colour);
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for row in &summary.costs {
        *totals.entry(&row.process).or_default() += row.total_ns;
    }
    let mut last = "";
    for row in &summary.costs {
        let total = totals[row.process.as_str()];
        if row.process != last {
            grid.row([row.process.clone(), String::new(), String::new(), String::new(), span_ns(total)]);
            last = &row.process;
        }
        grid.row([
            String::new(),
            row.operation.clone(),
            whole(row.count),
            unit_cost(row.unit_ps),
            span_ns(row.total_ns),
            percent(row.total_ns as f64 / total.max(1) as f64),
        ]);
    }
    grid.render()
}

fn span_ns(ns: u64) -> String {
    crate::engine::time::format_short(ns)
}

/// A unit cost in picoseconds: `2.75µs`, `41.2ns`, `500ps`.
pub fn unit_cost(ps: u64) -> String {
    if ps < 1000 {
        format!("{ps}ps")
    } else if ps < 1_000_000 {
        format!("{}ns", number(ps as f64 / 1000.0))
    } else {
        crate::engine::time::format_short(ps / 1000)
    }
}
