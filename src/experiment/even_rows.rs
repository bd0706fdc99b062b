//! Tables with a row at each of evenly spaced times from the begin of a run to its end: `node_fill.csv`, `queues.csv`.
//!
//! Cost: O(1) rows.
use std::io::{self, Write};

use crate::engine::Nanos;

/// Rows at most, but for the last.
const ROWS: u64 = 240;

/// Writes `t_ns` and the columns; `values(at)` is called for ascending times, the last of which is `end`.
///
/// # Errors
/// The writer's.
pub(super) fn write<V: IntoIterator<Item = u64>>(
    out: &mut (dyn Write + Send),
    columns: impl IntoIterator<Item = String>,
    end: Nanos,
    mut values: impl FnMut(Nanos) -> V,
) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_field("t_ns")?;
    for column in columns {
        csv.write_field(column)?;
    }
    csv.write_record(None::<&[u8]>)?;
    let step = (end / ROWS).max(1);
    let mut at = 0;
    loop {
        csv.write_field(at.to_string())?;
        for value in values(at) {
            csv.write_field(value.to_string())?;
        }
        csv.write_record(None::<&[u8]>)?;
        if at >= end {
            break;
        }
        at = (at + step).min(end);
    }
    csv.flush()
}
