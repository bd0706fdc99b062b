//! `podpace explain`: the bottleneck over time, and what moving each limit buys.
use std::sync::OnceLock;

use indicatif::ProgressBar;
use serde_json::json;

use super::{environment, pool};
use crate::cli::args::{ExplainArgs, Format};
use crate::cli::failure::{Failure, Output};
use crate::cli::grid::{Grid, Paint, number, paint, percent};
use crate::cli::terminal;
use crate::engine::time::format_short;
use crate::experiment::explain::{Step, waterfall};
use crate::experiment::run::{self, Environment, RunSpec, Summary, to_json};
use crate::experiment::sensitivity::{Options, Sensitivities, sensitivities};

/// Spans of the critical path that are listed; shorter ones are left out of the table.
const SPANS: usize = 16;

/// Runs the command.
///
/// # Errors
/// Bad input.
pub fn execute(args: &ExplainArgs, quiet: bool) -> Result<Output, Failure> {
    if args.file.is_dir() {
        if args.pod.is_some() {
            return Err(Failure::input(
                "--pod needs the scenario: a result folder keeps no waits; name the scenario",
            ));
        }
        return finished(args);
    }
    let document = run::load(&args.file, &args.with.set.sets, args.with.set.seed)?;
    let environment = environment(&args.with.model, args.memory.max_memory)?;
    let mut specs = run::runs_of(&document)?;
    // One seed a run: the pairs share it.
    specs.dedup_by(|a, b| a.name == b.name);
    if let Some(pod) = args.pod {
        return one_pod(args, &specs, &environment, pod);
    }
    let pool = pool(&args.with.job)?;
    let mut explained = Vec::new();
    for spec in &specs {
        let bar: OnceLock<ProgressBar> = OnceLock::new();
        let started = |total| {
            let _ = bar.set(terminal::progress(quiet, "runs", total));
        };
        let done = || {
            if let Some(bar) = bar.get() {
                bar.inc(1);
                // The take-over's runs are as many as it needs.
                if bar.length().is_some_and(|length| bar.position() > length) {
                    bar.inc_length(1);
                }
            }
        };
        let summary = spec.simulate(&environment)?.summary;
        let options = Options { pairs: args.pairs, drawn: !args.fixed_costs };
        let rows = pool.install(|| sensitivities(spec, &environment, options, started, &done))?;
        if let Some(bar) = bar.get() {
            bar.finish_and_clear();
        }
        explained.push((spec, summary, rows));
    }
    let text = match args.format {
        Format::Table => {
            let colour = terminal::has_colour();
            let parts: Vec<String> = explained
                .iter()
                .map(|(s, summary, rows)| table(&s.name, summary, Some(rows), colour))
                .collect();
            parts.join("\n")
        }
        Format::Json => {
            let runs: Vec<_> = explained
                .iter()
                .map(|(spec, summary, rows)| {
                    json!({
                        "run": spec.name,
                        "seed": spec.seed,
                        "bottleneck": summary.bottleneck,
                        "sensitivities": rows.limits,
                        "pairs": rows.pairs,
                        "drawn": rows.drawn,
                        "takeOver": rows.take_over,
                    })
                })
                .collect();
            to_json(&json!({ "runs": runs }))
        }
    };
    Ok(Output::pass(text))
}

/// The life of one pod, in every run.
fn one_pod(
    args: &ExplainArgs,
    specs: &[RunSpec],
    environment: &Environment,
    pod: u32,
) -> Result<Output, Failure> {
    let mut lives = Vec::new();
    for spec in specs {
        let run = spec.simulate(environment)?.finished;
        let pods = run.counts.total;
        if u64::from(pod) >= pods {
            return Err(Failure::input(format!(
                "--pod {pod}: {} has {pods} pods, 0 to {}",
                spec.name,
                pods.max(1) - 1
            )));
        }
        lives.push((spec, waterfall(&run, pod)));
    }
    Ok(Output::pass(match args.format {
        Format::Table => {
            let colour = terminal::has_colour();
            let part = |(spec, steps): &(&RunSpec, Vec<Step>)| {
                let name = paint(&spec.name, Paint::Bold, colour);
                let mut grid = Grid::new(&["step", ">from", ">to", ">takes", "held up by"], colour);
                for step in steps {
                    let to = step.to_ns.map_or_else(|| "never".to_owned(), format_short);
                    let takes = step.to_ns.map_or_else(String::new, |to| format_short(to - step.from_ns));
                    let held_up_by = step.held_up_by.clone().unwrap_or_default();
                    grid.row([step.step.clone(), format_short(step.from_ns), to, takes, held_up_by]);
                }
                format!("{name}  seed {}  pod {pod}\n\n{}", spec.seed, grid.render())
            };
            lives.iter().map(part).collect::<Vec<_>>().join("\n")
        }
        Format::Json => {
            let runs: Vec<_> = lives
                .iter()
                .map(|(spec, steps)| json!({"run": spec.name, "seed": spec.seed, "pod": pod, "steps": steps}))
                .collect();
            to_json(&json!({ "runs": runs }))
        }
    }))
}

/// The bottleneck of a result folder; its limits can't be moved without its scenario.
fn finished(args: &ExplainArgs) -> Result<Output, Failure> {
    let path = args.file.join("summary.json");
    let shown = path.display();
    let text = std::fs::read(&path).map_err(|e| {
        Failure::input(format!("{shown}: {e}; name a scenario, or a folder written by `podpace run --out`"))
    })?;
    let summary: Summary = serde_json::from_slice(&text)
        .map_err(|e| Failure::input(format!("{shown}: is no result of podpace: {e}")))?;
    Ok(Output::pass(match args.format {
        Format::Table => table(&summary.scenario, &summary, None, terminal::has_colour()),
        Format::Json => to_json(&json!({
            "runs": [{
                "run": summary.scenario,
                "seed": summary.seed,
                "bottleneck": summary.bottleneck,
                "sensitivities": null,
            }]
        })),
    }))
}

fn table(name: &str, summary: &Summary, rows: Option<&Sensitivities>, colour: bool) -> String {
    let bottleneck = &summary.bottleneck;
    let mut parts = vec![format!("{}  seed {}\n", paint(name, Paint::Bold, colour), summary.seed)];

    let mut grid = Grid::new(&["limited by", ">for", ">share"], colour);
    for share in &bottleneck.shares {
        grid.row([share.limit.clone(), format_short(share.ns), percent(share.share)]);
    }
    parts.push(grid.render());

    // The longest spans, in order of time.
    let mut longest: Vec<usize> = (0..bottleneck.path.len()).collect();
    let length = |i: usize| bottleneck.path[i].to_ns - bottleneck.path[i].from_ns;
    longest.sort_by_key(|i| (std::cmp::Reverse(length(*i)), *i));
    longest.truncate(SPANS);
    longest.sort_unstable();
    let mut grid = Grid::new(&[">from", ">to", "held up by"], colour);
    for at in &longest {
        let span = &bottleneck.path[*at];
        grid.row([format_short(span.from_ns), format_short(span.to_ns), span.limit.clone()]);
    }
    let mut path = grid.render();
    let hidden = bottleneck.path.len() - longest.len();
    if hidden > 0 {
        path += &format!("({hidden} shorter spans are not shown; --format json has all)\n");
    }
    parts.push(path);

    let Some(rows) = rows else {
        parts.push(format!("{}\n", bottleneck.sentence));
        return parts.join("\n");
    };
    let pairs = rows.pairs > 1;
    let range = format!(">5 to 95 % of {} pairs", rows.pairs);
    let mut heading = vec!["10 % more of", ">now", ">pods/s", ">changes by"];
    if pairs {
        heading.push(&range);
    }
    heading.push(">elasticity");
    let mut grid = Grid::new(&heading, colour);
    // Not -0.
    let change = |share: f64| format!("{:+.1} %", share * 100.0 + 0.0).replace("-0.0", "+0.0");
    for row in &rows.limits {
        let mut cells = vec![row.limit.clone(), number(row.from), number(row.throughput), change(row.change)];
        if pairs {
            cells.push(format!("{} to {}", change(row.change_band.0), change(row.change_band.1)));
        }
        cells.push(format!("{:.2}", row.elasticity + 0.0).replace("-0.00", "0.00"));
        grid.row(cells);
    }
    let drawn = if rows.drawn { " and draw of the unit costs" } else { "" };
    let legend = if pairs { format!("each pair has a seed{drawn} of its own\n") } else { String::new() };
    parts.push(grid.render() + &legend);
    let mut advice = format!("{}\n", bottleneck.sentence);
    match rows.limits.first().filter(|row| row.elasticity >= 0.05) {
        Some(row) => {
            advice += &format!(
                "Most is gained by raising {}: 10 % more gives {} pods/s.\n",
                row.limit,
                change(row.change)
            );
        }
        None => advice += "Raising any one of these limits by 10 % gains nothing.\n",
    }
    if let Some(take_over) = &rows.take_over {
        advice += &match (take_over.at, &take_over.next) {
            (Some(at), next) => {
                let band = take_over.band.filter(|_| pairs).map_or_else(String::new, |(low, high)| {
                    format!(" ({} to {})", number(low), number(high))
                });
                let next = next.as_deref().unwrap_or("something else");
                format!(
                    "From {} = {}{band} on it is {next} that limits, at {} pods/s.\n",
                    take_over.raised,
                    number(at),
                    number(take_over.throughput)
                )
            }
            (None, _) => format!("{} limits up to 64 times its value.\n", take_over.raised),
        };
    }
    parts.push(advice);
    parts.join("\n")
}
