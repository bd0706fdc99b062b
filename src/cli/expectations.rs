//! The table of expectations: published beside simulated.
use super::grid::{Grid, Paint, number, percent, signed_percent};
use crate::experiment::check::Row;

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
    match (row.min, row.max) {
        (Some(min), Some(max)) => format!("{}..{}", number(min), number(max)),
        (Some(min), None) => format!(">= {}", number(min)),
        (None, Some(max)) => format!("<= {}", number(max)),
        (None, None) => String::new(),
    }
}
