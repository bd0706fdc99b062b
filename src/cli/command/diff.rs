//! `podpace diff`: before and after.
use serde_json::json;

use crate::cli::args::{DiffArgs, Format};
use crate::cli::failure::{Failure, Output};
use crate::cli::grid::{Grid, metric, signed_percent};
use crate::cli::terminal;
use crate::experiment::diff::{AGREE, ALPHA, Difference, Results, compare};
use crate::experiment::run::to_json;
use crate::measure::Metrics;

const USUAL: [&str; 8] = [
    "throughput.bound.mean",
    "throughput.bound.p10_p90",
    "throughput.started.mean",
    "bound.last_s",
    "latency.created_to_bound.p50_s",
    "latency.created_to_bound.p99_s",
    "latency.cycle.p50_s",
    "pods.pending",
];

/// Seeds a side from which on a difference can have p < 0.05: 2 / C(8, 4) = 0.029.
const TESTABLE: usize = 4;

/// Runs the command.
///
/// # Errors
/// A folder that is no result, an unknown metric.
pub fn execute(args: &DiffArgs) -> Result<Output, Failure> {
    let before = Results::load(&args.before).map_err(Failure::input)?;
    let after = Results::load(&args.after).map_err(Failure::input)?;
    let (rows, notes) = compare(&before, &after);
    let mut known = Metrics::default();
    for row in &rows {
        known.set(row.metric.clone(), 0.0);
    }
    for name in &args.metric {
        known.get(name).map_err(|error| Failure::input(format!("--metric {name}: {error}")))?;
    }
    let wanted = |row: &&Difference| {
        if args.all {
            row.before.to_bits() != row.after.to_bits()
        } else if args.metric.is_empty() {
            USUAL.contains(&row.metric.as_str())
        } else {
            args.metric.contains(&row.metric)
        }
    };
    let rows: Vec<&Difference> = rows.iter().filter(wanted).collect();
    let text = match args.format {
        Format::Table => table(&rows),
        Format::Json => to_json(&json!({"differences": rows, "notes": notes})),
    };
    Ok(Output { text, notes, code: 0 })
}

fn with_spread(row: &Difference, value: f64, spread: f64, n: usize) -> String {
    let value = metric(&row.metric, value);
    if n > 1 { format!("{value} ± {:.0} %", spread * 100.0) } else { value }
}

fn table(rows: &[&Difference]) -> String {
    let mut grid = Grid::new(
        &["point", "metric", ">before", ">after", ">change", "significance"],
        terminal::has_colour(),
    );
    for row in rows {
        let band = row.change_band.map_or_else(String::new, |(low, high)| {
            format!(" ({}..{})", signed_percent(low), signed_percent(high))
        });
        let change = match (row.significant, row.change) {
            (false, _) => format!("~{band}"),
            (true, Some(change)) => format!("{}{band}", signed_percent(change)),
            (true, None) => "new".to_owned(),
        };
        let (n, m) = row.n;
        let pairs = row.larger_after.is_some();
        let significance = match row.p {
            Some(p) if pairs => format!("p={p:.3} {n} pairs"),
            Some(p) => format!("p={p:.3} n={n}+{m}"),
            None => format!("n={n}+{m}"),
        };
        grid.row([
            row.point.clone(),
            row.metric.clone(),
            with_spread(row, row.before, row.before_spread, n),
            with_spread(row, row.after, row.after_spread, m),
            change,
            significance,
        ]);
    }
    let tested = rows.iter().any(|r| r.p.is_some());
    let few = rows.iter().any(|r| r.p.is_some() && r.n.0.min(r.n.1) < TESTABLE);
    let mut legend = String::new();
    let pairs = rows.iter().any(|r| r.larger_after.is_some());
    let drawn = rows.iter().any(|r| r.drawn);
    if tested {
        let test =
            if pairs { "Wilcoxon's signed ranks of runs with the same seed" } else { "Mann-Whitney U" };
        legend += &format!("\n~: can't be told apart: no difference at p < {ALPHA} ({test})");
        if drawn {
            legend += &format!(
                ", or fewer than {} % of the draws of the unit costs agree which is larger",
                AGREE * 100.0
            );
        }
        legend.push('\n');
    }
    if pairs {
        legend += "in brackets: change from 5 % to 95 % of the pairs\n";
    }
    if few {
        legend += &format!(
            "with fewer than {TESTABLE} seeds a side no difference can be significant: --seeds {TESTABLE} or more\n"
        );
    }
    grid.render() + &legend
}
