//! `podpace merge`: the shards of a sweep as one.
use super::sweep::{shown_metrics, table};
use crate::cli::args::{Format, MergeArgs};
use crate::cli::failure::{Failure, Output};
use crate::experiment::run::to_json;
use crate::experiment::store;

/// Runs the command.
///
/// # Errors
/// Shards that are missing, damaged or of different sweeps; a folder that holds something; a full disk.
pub fn execute(args: &MergeArgs) -> Result<Output, Failure> {
    let rows = store::merge(&args.shards, &args.out)?;
    let shown = shown_metrics(&args.metric, &rows)?;
    let text = match args.format {
        Format::Table => table(&rows, &shown),
        Format::Json => to_json(&rows),
    };
    let runs: usize = rows.iter().map(|row| row.seeds.len()).sum();
    Ok(Output { text, notes: vec![format!("{runs} runs in {}", args.out.display())], ..Output::default() })
}
