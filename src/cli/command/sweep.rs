//! `podpace sweep`: a grid of runs.
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::{environment, pool};
use crate::cli::args::{SweepArgs, SweepFormat};
use crate::cli::failure::{Failure, Output};
use crate::cli::grid::{Grid, metric};
use crate::cli::terminal;
use crate::experiment::memory::Gate;
use crate::experiment::replication::{Replication, Until};
use crate::experiment::run::{self, to_json};
use crate::experiment::store::Store;
use crate::experiment::sweep::{self, Done, Layout, Options, Statistics, SweepError, SweepRow};

const USUAL: [&str; 5] = [
    "throughput.bound.mean",
    "bound.last_s",
    "latency.created_to_bound.p50_s",
    "latency.created_to_bound.p99_s",
    "pods.pending",
];
/// Seeds from which on the 5th and 95th percentile say more than the extremes.
const PERCENTILES_FROM: usize = 20;

impl From<SweepError> for Failure {
    fn from(error: SweepError) -> Self {
        match error {
            SweepError::Run(error) => error.into(),
            SweepError::Output(error) => error.into(),
            SweepError::Store { .. } | SweepError::Until(_) | SweepError::TooLarge { .. } => {
                Self { code: crate::cli::failure::code::INPUT, message: error.to_string() }
            }
        }
    }
}

/// One line of `--format jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    point: &'a str,
    seed: u64,
    resumed: bool,
    ended: &'a str,
    metrics: BTreeMap<&'a str, f64>,
}

/// Runs the command.
///
/// # Errors
/// Bad input, a folder that holds something else, a full disk.
pub fn execute(args: &SweepArgs, quiet: bool) -> Result<Output, Failure> {
    let document = run::load(&args.file, &args.with.set.sets, args.with.set.seed)?;
    // With --max-memory the gate says what a run may take.
    let environment = environment(&args.with.model, args.max_memory.map(|_| u64::MAX))?;
    let until: Result<Vec<Until>, _> = args.until.iter().map(|u| Until::parse(u)).collect();
    let replication = Replication { until: until.map_err(|error| vec![*error])? };
    let seeds = args.uncertainty.or(args.seeds);
    let mut points = sweep::limited_grid(&document, &args.vary, seeds, &replication)?;
    if args.uncertainty.is_some() {
        points.iter_mut().for_each(|point| point.run.draw = Some(0));
    }
    let store = match &args.out {
        Some(out) => {
            let store = Store::open(out, args.resume)?;
            if args.resume {
                store.check_grid(args.shard, &sweep::run_files(&points, &replication, args.shard))?;
            }
            Some(store)
        }
        None => None,
    };
    let gate = args.max_memory.map(Gate::new);
    let most = points.iter().map(|p| p.seeds).sum::<u64>() / args.shard.map_or(1, |(_, n)| n);
    let bar = terminal::progress(quiet, "runs", most);
    let shown = if args.metric.is_empty() { USUAL.map(str::to_owned).to_vec() } else { args.metric.clone() };
    let told = Mutex::new(Ok(()));
    let done = |run: Done<'_>| {
        bar.inc(1);
        if args.format == SweepFormat::Jsonl {
            let value = |name: &String| run.summary.metrics.get_key_value(name);
            let line = Line {
                point: run.point,
                seed: run.summary.seed,
                resumed: run.resumed,
                ended: &run.summary.ended,
                metrics: shown.iter().filter_map(value).map(|(name, v)| (name.as_str(), *v)).collect(),
            };
            let text = serde_json::to_string(&line).expect("plain data is JSON") + "\n";
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            *told = std::mem::replace(&mut *told, Ok(())).and_then(|()| terminal::print(&text));
        }
    };
    let pool = pool(&args.with.job)?;
    let options = Options {
        replication: replication.clone(),
        store: store.as_ref(),
        gate: gate.as_ref(),
        shard: args.shard,
    };
    let swept = pool.install(|| sweep::run(&points, &environment, &options, done))?;
    bar.finish_and_clear();
    if let Err(error) = told.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(Failure::run(format!("can't write to stdout: {error}")));
    }
    let mut output = Output::default();
    for point in &swept.not_enough {
        output.notes.push(format!("warning: {point}: not known as closely as --until asks; raise --seeds"));
    }
    output.notes.extend(store.iter().flat_map(Store::notes));
    let runs = swept.runs.len();
    if let (Some(store), Some(out)) = (store, &args.out) {
        match args.shard {
            None => store.finish(&swept.rows)?,
            Some(shard) => {
                let layout = pool.install(|| Layout::of(&points, &replication, &environment))?;
                let runs = swept.runs.iter().map(|(point, seed, draw)| (point.as_str(), *seed, *draw));
                store.finish_shard(shard, &layout, runs)?;
            }
        }
        output.notes.push(format!("{runs} runs in {}", out.display()));
    }
    output.text = match (args.format, args.shard) {
        (SweepFormat::Jsonl, _) | (SweepFormat::Table, Some(_)) => String::new(),
        (SweepFormat::Table, None) => table(&swept.rows, &shown_metrics(&args.metric, &swept.rows)?),
        (SweepFormat::Json, _) => {
            shown_metrics(&args.metric, &swept.rows)?;
            to_json(&swept.rows)
        }
    };
    Ok(output)
}

pub(super) fn shown_metrics(asked: &[String], rows: &[SweepRow]) -> Result<Vec<String>, Failure> {
    if asked.is_empty() {
        return Ok(USUAL.map(str::to_owned).to_vec());
    }
    let mut known = crate::measure::Metrics::default();
    for name in rows.iter().flat_map(|r| r.metrics.keys()) {
        known.set(name.clone(), 0.0);
    }
    for name in asked {
        known.get(name).map_err(|error| Failure::input(format!("--metric {name}: {error}")))?;
    }
    Ok(asked.to_vec())
}

fn value(name: &str, s: &Statistics, seeds: usize) -> String {
    let middle = metric(name, s.median);
    let (low, high) = if seeds >= PERCENTILES_FROM { (s.p5, s.p95) } else { (s.min, s.max) };
    let (low, high) = (metric(name, low), metric(name, high));
    if low == high { middle } else { format!("{middle} ({low}..{high})") }
}

pub(super) fn table(rows: &[SweepRow], shown: &[String]) -> String {
    let axes: Vec<&str> =
        rows.first().map_or_else(Vec::new, |r| r.settings.iter().map(|(p, _)| p.as_str()).collect());
    let metrics: Vec<String> = shown.iter().map(|m| format!(">{m}")).collect();
    let mut heading = axes.clone();
    if axes.is_empty() {
        heading.push("scenario");
    }
    heading.extend(metrics.iter().map(String::as_str));
    heading.push("limited by");
    let mut grid = Grid::new(&heading, terminal::has_colour());
    for row in rows {
        let mut cells: Vec<String> = row.settings.iter().map(|(_, v)| v.clone()).collect();
        if axes.is_empty() {
            cells.push(row.point.clone());
        }
        for name in shown {
            let text = row.metrics.get(name).map(|s| value(name, s, row.seeds.len()));
            cells.push(text.unwrap_or_else(|| "-".to_owned()));
        }
        cells.push(row.limited_by.clone());
        grid.row(cells);
    }
    let seeds = rows.iter().map(|r| r.seeds.len()).max().unwrap_or(0);
    let drawn =
        if rows.iter().any(|r| r.drawn) { ", each with a draw of the unit costs of its own" } else { "" };
    let legend = match seeds {
        0 | 1 => String::new(),
        n if n >= PERCENTILES_FROM => format!("\nmedian (5 %..95 %) over {n} seeds{drawn}\n"),
        n => format!("\nmedian (min..max) over {n} seeds{drawn}\n"),
    };
    grid.render() + &legend
}
