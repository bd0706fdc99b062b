//! `podpace sweep`: a grid of runs.
use super::{environment, pool};
use crate::cli::args::{Format, SweepArgs};
use crate::cli::failure::{Failure, Output};
use crate::cli::grid::{Grid, metric};
use crate::cli::terminal;
use crate::experiment::run::{self, to_json};
use crate::experiment::sweep::{self, Statistics, Store, SweepError, SweepRow};

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
            SweepError::Store { .. } => {
                Self { code: crate::cli::failure::code::INPUT, message: error.to_string() }
            }
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Bad input, a folder that holds something else, a full disk.
pub fn execute(args: &SweepArgs, quiet: bool) -> Result<Output, Failure> {
    let document = run::load(&args.file, &args.set.sets, args.set.seed)?;
    let environment = environment(&args.model)?;
    let points = sweep::grid(&document, &args.vary, args.seeds)?;
    let store = match &args.out {
        Some(out) => Some(Store::open(out, args.resume)?),
        None => None,
    };
    let total = points.iter().map(|p| p.seeds).sum();
    let bar = terminal::progress(quiet, "runs", total);
    let rows =
        pool(&args.job)?.install(|| sweep::run(&points, &environment, store.as_ref(), || bar.inc(1)))?;
    bar.finish_and_clear();
    let mut output = Output::default();
    if let (Some(store), Some(out)) = (&store, &args.out) {
        store.finish(&rows)?;
        output.notes.push(format!("{total} runs in {}", out.display()));
    }
    let shown = shown_metrics(&args.metric, &rows)?;
    output.text = match args.format {
        Format::Table => table(&rows, &shown),
        Format::Json => to_json(&rows),
    };
    Ok(output)
}

fn shown_metrics(asked: &[String], rows: &[SweepRow]) -> Result<Vec<String>, Failure> {
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

fn table(rows: &[SweepRow], shown: &[String]) -> String {
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
    let legend = match seeds {
        0 | 1 => String::new(),
        n if n >= PERCENTILES_FROM => format!("\nmedian (5 %..95 %) over {n} seeds\n"),
        n => format!("\nmedian (min..max) over {n} seeds\n"),
    };
    grid.render() + &legend
}
