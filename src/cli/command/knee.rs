//! `podpace knee`: how far a cluster scales.
use serde_json::json;

use super::{environment, pool};
use crate::cli::args::{Format, KneeArgs};
use crate::cli::failure::{Failure, Output};
use crate::cli::grid::{Grid, Paint, number, paint, percent, span_s};
use crate::cli::terminal;
use crate::experiment::knee::{KEEPS_UP, Knee, Options, knee};
use crate::experiment::run::{self, RunSpec, to_json};
use crate::experiment::sweep::parse_vary;

/// Runs the command.
///
/// # Errors
/// Bad input.
pub fn execute(args: &KneeArgs, quiet: bool) -> Result<Output, Failure> {
    let document = run::scenario_only(&run::load(&args.file, &args.with.set.sets, args.with.set.seed)?)?;
    let environment = environment(&args.with.model, args.memory.max_memory)?;
    let pool = pool(&args.with.job)?;
    let (path, values) = match &args.vary {
        Some(vary) => {
            let (path, values) = parse_vary(vary).map_err(|error| Failure::from(vec![*error]))?;
            (Some(path), values.into_iter().map(Some).collect())
        }
        None => (None, vec![None]),
    };
    let options = Options { seeds: args.seeds, drawn: !args.fixed_costs, curve: path.is_none() };
    // Every value is checked before the first run.
    let mut specs = Vec::new();
    for value in values {
        let mut document = document.clone();
        if let (Some(path), Some(value)) = (&path, &value) {
            document.set(&format!("{path}={value}")).map_err(|error| Failure::from(vec![*error]))?;
        }
        specs.push((value, RunSpec::of_scenario(document)?));
    }
    let bar = terminal::progress(quiet, "runs", 1);
    let done = || {
        bar.inc_length(1);
        bar.inc(1);
    };
    let mut found = Vec::new();
    for (value, spec) in specs {
        let knee = pool.install(|| knee(&spec, &environment, options, &done))?;
        found.push((value, spec.name, knee));
    }
    bar.finish_and_clear();
    let notes = found.iter().flat_map(|(value, _, knee)| {
        let of = value.as_ref().map_or_else(String::new, |value| format!("{value}: "));
        knee.notes.iter().map(move |note| format!("note: {of}{note}"))
    });
    let notes = notes.collect();
    let colour = terminal::has_colour();
    let text = match (args.format, &path) {
        (Format::Json, _) => {
            let knees: Vec<_> = found
                .iter()
                .map(|(value, name, knee)| {
                    let mut row = json!({"scenario": name, "knee": knee});
                    if let (Some(path), Some(value)) = (&path, value) {
                        row["settings"] = json!([[path, value]]);
                    }
                    row
                })
                .collect();
            to_json(&json!({"seeds": args.seeds, "keepsUp": KEEPS_UP, "knees": knees}))
        }
        (Format::Table, Some(path)) => by_value(path, &found, args.seeds, colour),
        (Format::Table, None) => {
            found.iter().map(|(_, name, knee)| curve(name, knee, args.seeds, colour)).collect()
        }
    };
    Ok(Output { text, notes, ..Output::default() })
}

fn range(knee: &Knee) -> String {
    match (knee.knee, knee.band) {
        (Some(middle), Some((low, high))) => {
            format!("{} ({} to {})", number(middle), number(low), number(high))
        }
        _ => "none".to_owned(),
    }
}

fn legend(seeds: u64, drawn: bool) -> String {
    let draw = if drawn { ", each with a draw of the unit costs of its own" } else { "" };
    format!("median (5 to 95 %) over {seeds} seeds{draw}\n")
}

fn curve(name: &str, knee: &Knee, seeds: u64, colour: bool) -> String {
    let mut text = format!(
        "{}  as it is: {} pods/s offered\n\n",
        paint(name, Paint::Bold, colour),
        number(knee.as_it_is)
    );
    let heading = [">offered pods/s", ">bound pods/s", ">keeps up in", ">p99 wait", "limited by"];
    let mut grid = Grid::new(&heading, colour);
    for load in &knee.curve {
        let (low, high) = load.bound_band;
        grid.row([
            number(load.offered),
            format!("{} ({} to {})", number(load.bound), number(low), number(high)),
            percent(load.keeps_up),
            span_s(load.wait_p99_s),
            load.limited_by.clone(),
        ]);
    }
    if !knee.curve.is_empty() {
        text += &grid.render();
        text += &legend(seeds, knee.drawn);
        text.push('\n');
    }
    text + &match knee.knee {
        Some(_) => format!(
            "Keeps up to {} pods/s; beyond, fewer than {} % of them are bound in time, limited by {}.\n",
            range(knee),
            KEEPS_UP * 100.0,
            knee.limited_by
        ),
        None => format!(
            "No knee: between 1/1024 and 1024 times the load it either always or never keeps up; limited by {}.\n",
            knee.limited_by
        ),
    }
}

fn by_value(path: &str, found: &[(Option<String>, String, Knee)], seeds: u64, colour: bool) -> String {
    let mut grid = Grid::new(&[path, ">keeps up to pods/s", "beyond limited by"], colour);
    for (value, _, knee) in found {
        grid.row([value.clone().unwrap_or_default(), range(knee), knee.limited_by.clone()]);
    }
    grid.render() + &legend(seeds, found.iter().any(|(.., knee)| knee.drawn))
}
