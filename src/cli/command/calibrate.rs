//! `podpace calibrate`: unit costs of a profile, fitted to measured runs.
use std::path::{Path, PathBuf};

use super::{pool, profiles};
use crate::calibrate::fit::{
    CalibrateError, Calibration, Options, QUANTITIES, Residual, Told, calibrate, read_runs, summary,
};
use crate::calibrate::validate::told_text;
use crate::cli::args::{CalibrateArgs, Format};
use crate::cli::command::run::unit_cost;
use crate::cli::failure::{Failure, Output};
use crate::cli::grid::{Grid, Paint, number, paint, percent, signed_percent};
use crate::cli::terminal;
use crate::experiment::output::write_atomically;
use crate::experiment::run::to_json;

impl From<CalibrateError> for Failure {
    fn from(error: CalibrateError) -> Self {
        Self::input(error)
    }
}

/// Runs the command.
///
/// # Errors
/// The folder or a run in it can't be read, no run uses the profile, a file that exists, a full disk.
pub fn execute(args: &CalibrateArgs, quiet: bool) -> Result<Output, Failure> {
    let folder = args.folder.display();
    if !args.folder.is_dir() {
        return Err(Failure::input(format!(
            "{folder}: no such folder; name one with measured runs (NAME.json)"
        )));
    }
    let files = [Some(&args.out), args.report.as_ref()];
    if let Some(file) = files.into_iter().flatten().find(|file| file.exists()) {
        let file = file.display();
        return Err(Failure::input(format!("{file}: exists; name another file, or remove it yourself")));
    }
    if !(args.prior_factor.is_finite() && args.prior_factor > 1.0) {
        return Err(Failure::input(format!(
            "--prior-factor {}: expected a number above 1",
            args.prior_factor
        )));
    }
    let options = Options {
        profiles: profiles(&args.model)?,
        profile: args.profile.clone(),
        seeds: args.seeds,
        prior_factor: args.prior_factor,
        iterations: args.iterations,
        cross_validate: true,
        profile_likelihood: !args.no_profile_likelihood,
    };
    let runs = read_runs(&args.folder, &args.sets, &options.profiles)?;
    let pool = pool(&args.job)?;
    // Before the fit, which takes long and should not fail at its end.
    let made = make_folders(files.into_iter().flatten())?;
    let bar = terminal::progress(quiet, "fitting", 2);
    let progress = |done: u32, total: u32| {
        bar.set_length(u64::from(total));
        bar.set_position(u64::from(done));
    };
    let fit_and_write = || -> Result<(Calibration, String), Failure> {
        let result = pool.install(|| calibrate(&runs, &options, &progress));
        bar.finish_and_clear();
        let fitted = result?;
        write_atomically(&args.out, fitted.profile.to_yaml().as_bytes())?;
        let report = to_json(&fitted.json());
        if let Some(file) = &args.report {
            write_atomically(file, report.as_bytes())?;
        }
        Ok((fitted, report))
    };
    let (fitted, report) = fit_and_write().inspect_err(|_| remove_folders(&made))?;
    let mut notes = vec![format!("profile in {}", args.out.display())];
    if args.out.file_name().is_none_or(|name| name.to_string_lossy() != format!("{}.yaml", args.profile)) {
        notes.push(format!("note: --models DIR finds it as DIR/{}.yaml", args.profile));
    }
    let text = match args.format {
        Format::Table => table(&fitted, terminal::has_colour()),
        Format::Json => report,
    };
    Ok(Output { text, notes, ..Output::default() })
}

/// Makes the folders that files need, and says which were not there, outer ones before what is in them. If one can't be
/// made, none stays.
fn make_folders<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Result<Vec<PathBuf>, Failure> {
    let mut made = Vec::new();
    for file in files {
        let parents = file.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty());
        let mut missing: Vec<&Path> = parents.take_while(|parent| !parent.is_dir()).collect();
        while let Some(folder) = missing.pop() {
            if let Err(e) = std::fs::create_dir(folder) {
                // A path through `..`, or somebody was faster.
                if folder.is_dir() {
                    continue;
                }
                remove_folders(&made);
                return Err(Failure::input(format!("{}: can't make the folder: {e}", folder.display())));
            }
            made.push(folder.to_owned());
        }
    }
    Ok(made)
}

/// Removes them, those excepted that hold something.
fn remove_folders(made: &[PathBuf]) {
    for folder in made.iter().rev() {
        let _ = std::fs::remove_dir(folder);
    }
}

fn table(fitted: &Calibration, colour: bool) -> String {
    let (rounds, last) = fitted.iterations;
    let mut text = format!(
        "{}  fitted to {} runs in {rounds} iterations; the last moved a constant by {} at most\n\n",
        paint(&fitted.profile.name, Paint::Bold, colour),
        fitted.runs.len(),
        percent(last)
    );
    let heading = [
        "cost of one",
        ">before",
        ">value",
        ">90 % interval",
        ">by curvature",
        ">runs",
        ">residual",
        "the runs say",
        "hard to tell from",
    ];
    let mut grid = Grid::new(&heading, colour);
    for c in &fitted.constants {
        let with: Vec<String> = c.with.iter().map(|(name, r)| format!("{name} ({r:+.2})")).collect();
        grid.row([
            c.name.clone(),
            unit_cost(c.prior_ps),
            unit_cost(c.value_ps),
            format!("{}..{}", unit_cost(c.low_ps), unit_cost(c.high_ps)),
            // Only where the profile of the objective says something else.
            match c.profile_ps {
                Some(profile) if profile != c.quadratic_ps => {
                    format!("{}..{}", unit_cost(c.quadratic_ps.0), unit_cost(c.quadratic_ps.1))
                }
                Some(_) => "same".to_owned(),
                None => String::new(),
            },
            c.runs.to_string(),
            c.residual.map_or_else(String::new, percent),
            c.told.name().to_owned(),
            if c.told == Told::Nothing { String::new() } else { with.join(", ") },
        ]);
    }
    text += &grid.render();

    text += "\nDirections in which the runs say more than the prior (1 = as much), best known first:\n";
    let mut grid = Grid::new(&[">information", "combination of relative changes"], colour);
    for direction in fitted.directions.iter().filter(|d| d.information >= 1.0) {
        let parts: Vec<String> =
            direction.constants.iter().map(|(name, v)| format!("{v:+.2} {name}")).collect();
        grid.row([number(direction.information), parts.join(" ")]);
    }
    text += &grid.render();
    let weak = fitted.directions.iter().filter(|d| d.information < 1.0).count();
    text += &format!("In {weak} more directions the constants stay where the prior has them.\n\n");

    let mut grid = Grid::new(
        &["run", "quantity", ">measured", ">fitted", ">error", ">weight", ">without it", ">without its size"],
        colour,
    );
    let find = |set: &[Residual], r: &Residual| {
        let found = set.iter().find(|o| o.run == r.run && o.quantity == r.quantity);
        found.map_or_else(|| "-".to_owned(), mark)
    };
    for r in &fitted.residuals {
        grid.row([
            r.run.clone(),
            r.quantity.to_owned(),
            number(r.measured),
            number(r.fitted),
            mark(r),
            format!("{:.2}", r.weight),
            find(&fitted.leave_one_run_out, r),
            find(&fitted.leave_one_size_out, r),
        ]);
    }
    text += &grid.render();
    text += "`!`: the measured value is outside the 90 % interval.\n\n";

    let mut grid = Grid::new(
        &["errors", "quantity", ">n", ">median", ">90th percentile", ">inside 90 % interval"],
        colour,
    );
    for (name, set) in fitted.sets() {
        for quantity in QUANTITIES {
            if let Some((n, median, p90, coverage)) = summary(set, quantity) {
                grid.row([
                    name.to_owned(),
                    quantity.to_owned(),
                    n.to_string(),
                    percent(median),
                    percent(p90),
                    percent(coverage),
                ]);
            }
        }
    }
    text += &grid.render();
    for (run, notes, not_told) in &fitted.told {
        text += &told_text(run, notes, not_told);
    }
    for (run, why) in &fitted.left_out {
        text += &format!("left out: {run}: {why}\n");
    }
    text
}

fn mark(r: &Residual) -> String {
    format!("{}{}", signed_percent(r.error()), if r.covered() { "" } else { " !" })
}
