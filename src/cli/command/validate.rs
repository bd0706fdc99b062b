//! `podpace validate`: predicted beside measured.
use super::{pool, profiles};
use crate::calibrate::plot::svg;
use crate::calibrate::validate::{Options, validate};
use crate::cli::args::{Format, ValidateArgs};
use crate::cli::failure::{Failure, Output};
use crate::cli::terminal;
use crate::experiment::output::{Kind, check_file, write_file};
use crate::experiment::run::to_json;

const PLOT: Kind = Kind { what: "plot", begins: "<svg ", holds: "<title>Predicted over measured</title>" };

/// Runs the command.
///
/// # Errors
/// The folder or a run in it can't be read.
pub fn execute(args: &ValidateArgs, quiet: bool) -> Result<Output, Failure> {
    let options = Options {
        profiles: profiles(&args.model)?,
        seeds: args.seeds,
        draw_constants: !args.fixed_costs,
        sets: args.sets.clone(),
    };
    if !args.folder.is_dir() {
        let folder = args.folder.display();
        return Err(Failure::input(format!(
            "{folder}: no such folder; name one with measured runs (NAME.json)"
        )));
    }
    if let Some(file) = &args.plot {
        check_file(file, PLOT, &[])?;
    }
    let bar = terminal::progress(quiet, "predicting", 2);
    let progress = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let result = pool(&args.job)?.install(|| validate(&args.folder, &options, &progress));
    bar.finish_and_clear();
    let validation = result?;
    let mut notes = Vec::new();
    if let Some(file) = &args.plot {
        write_file(file, PLOT, svg(&validation).as_bytes())?;
        notes.push(format!("picture in {}", file.display()));
    }
    let text = match args.format {
        Format::Table => validation.table(),
        Format::Json => to_json(&validation.json()),
    };
    Ok(Output { text, notes, ..Output::default() })
}
