//! The table of expectations: published beside simulated.
use super::grid::{Grid, Paint, number, percent, signed_percent};
use crate::experiment::check::{Checked, Row};

/// Each row with its verdict.
#[must_use]
pub fn table(rows: &[Row], colour: bool) -> String {
    let heading =
        ["run", "expected", ">published", ">simulated", ">error", ">tolerance", "verdict", "source"];
    let mut grid = Grid::new(&heading, colour);
    for row in rows {
        let verdict = if row.pass { ("pass", Paint::Good) } else { ("FAIL", Paint::Bad) };
        let plain = |text: String| (text, Paint::Plain);
        let published = match (&row.curve, row.published) {
            (Some(fit), _) => format!("{} points", fit.points),
            (None, Some(value)) => number(value),
            (None, None) => bounds(row),
        };
        let simulated = match (&row.curve, row.range) {
            (Some(fit), _) => format!("worst {}", percent(fit.worst)),
            (None, Some((low, high))) => {
                format!("{} ({}..{})", number(row.simulated), number(low), number(high))
            }
            (None, None) => number(row.simulated),
        };
        let error = match (&row.curve, row.error) {
            (Some(fit), _) => format!("median {}", percent(fit.median)),
            (None, Some(error)) => signed_percent(error),
            (None, None) => "-".to_owned(),
        };
        let mut tolerance = row.tolerance.map_or_else(|| "-".to_owned(), |t| format!("± {}", percent(t)));
        if row.published.is_some() && (row.min.is_some() || row.max.is_some()) {
            tolerance += &format!(", {}", bounds(row));
        }
        grid.painted([
            plain(row.run.clone()),
            plain(row.metric.clone()),
            plain(published),
            plain(simulated),
            plain(error),
            plain(tolerance),
            (verdict.0.to_owned(), verdict.1),
            plain(row.source.clone().unwrap_or_default()),
        ]);
    }
    grid.render()
}

fn bounds(row: &Row) -> String {
    if let Some(bound) = &row.threshold {
        return bound.clone();
    }
    match (row.min, row.max) {
        (Some(min), Some(max)) => format!("{}..{}", number(min), number(max)),
        (Some(min), None) => format!(">= {}", number(min)),
        (None, Some(max)) => format!("<= {}", number(max)),
        (None, None) => String::new(),
    }
}

/// The verdict and every row as Markdown, what fails first.
#[must_use]
pub fn markdown(checked: &[Checked], regressions: &[String]) -> String {
    // A `|` would end a cell, a newline the row.
    let cell = |text: &str| text.replace('|', "\\|").replace(['\n', '\r'], " ");
    let rows = || checked.iter().flat_map(|c| c.rows.iter().map(move |row| (c, row)));
    let (total, failed) = (rows().count(), rows().filter(|(_, row)| !row.pass).count());
    let verdict = match (failed, regressions.len()) {
        (0, 0) => format!("✅ all {total} pass"),
        (0, regressions) => format!("❌ {regressions} worse than the baseline"),
        (failed, 0) => format!("❌ {failed} of {total} fail"),
        (failed, regressions) => {
            format!("❌ {failed} of {total} fail, {regressions} worse than the baseline")
        }
    };
    let mut text = format!("### podpace: {verdict}\n");
    if !regressions.is_empty() {
        text.push('\n');
        for regression in regressions {
            text += &format!("- {}\n", cell(regression));
        }
    }
    text += "\n| | run | metric | wanted | simulated | off |\n|---|---|---|---:|---:|---:|\n";
    let (bad, good): (Vec<_>, Vec<_>) = rows().partition(|(_, row)| !row.pass);
    for (c, row) in bad.into_iter().chain(good) {
        let wanted = match (row.published, row.tolerance, &row.curve) {
            (_, Some(tolerance), Some(fit)) => format!("{} points ± {}", fit.points, percent(tolerance)),
            (Some(value), tolerance, None) => {
                let tolerance = tolerance.map_or_else(String::new, |t| format!(" ± {}", percent(t)));
                format!("{}{tolerance} {}", number(value), bounds(row)).trim_end().to_owned()
            }
            _ => bounds(row),
        };
        let simulated = if row.curve.is_some() { "-".to_owned() } else { number(row.simulated) };
        let run = if row.run == c.name { c.name.clone() } else { format!("{} / {}", c.name, row.run) };
        text += &format!(
            "| {} | {} | `{}` | {} | {simulated} | {} |\n",
            if row.pass { "✅" } else { "❌" },
            cell(&run),
            cell(&row.metric),
            cell(&wanted),
            row.error.map_or_else(|| "-".to_owned(), signed_percent),
        );
    }
    text
}
