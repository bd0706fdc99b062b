//! `podpace models`: cost profiles and where each constant is from.
use serde_json::json;

use super::profiles;
use super::run::unit_cost;
use crate::cli::args::{Format, ModelsArgs};
use crate::cli::failure::{Failure, Output};
use crate::cli::grid::{Grid, Paint, paint, whole};
use crate::cli::terminal;
use crate::cost::CostProfile;
use crate::experiment::run::to_json;

/// Runs the command.
///
/// # Errors
/// No such profile, or it can't be read.
pub fn execute(args: &ModelsArgs) -> Result<Output, Failure> {
    let library = profiles(&args.model)?;
    let colour = terminal::has_colour();
    if let Some(name) = &args.name {
        let profile = library.load(name).map_err(Failure::input)?;
        return Ok(Output::pass(match args.format {
            Format::Table => one(&profile, colour),
            Format::Json => to_json(&as_json(&profile)),
        }));
    }
    let profiles: Result<Vec<CostProfile>, _> =
        library.names().iter().map(|name| library.load(name)).collect();
    let profiles = profiles.map_err(Failure::input)?;
    Ok(Output::pass(match args.format {
        Format::Table => {
            let mut grid =
                Grid::new(&["profile", "component", "version", ">constants", "description"], colour);
            for p in &profiles {
                let constants = p.costs().count() + p.parameters().count();
                let description: String = p.description.split_whitespace().collect::<Vec<_>>().join(" ");
                let version = shorten(&p.version, 24);
                let row = [p.name.clone(), p.component.clone(), version, constants.to_string()];
                grid.row(row.into_iter().chain([shorten(&description, 90)]));
            }
            grid.render()
        }
        Format::Json => to_json(&profiles.iter().map(as_json).collect::<Vec<_>>()),
    }))
}

fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 3).chain("...".chars()).collect()
}

fn one(profile: &CostProfile, colour: bool) -> String {
    let mut text = format!("{}\n", paint(&profile.name, Paint::Bold, colour));
    text += &format!("{} {}\n{}\n\n", profile.component, profile.version, profile.description.trim());
    let mut grid = Grid::new(&["cost of one", ">value", ">90 % interval", "source"], colour);
    for (name, cost) in profile.costs() {
        let interval = cost
            .interval_ps
            .map_or_else(|| "-".to_owned(), |(low, high)| format!("{}..{}", unit_cost(low), unit_cost(high)));
        grid.row([name.to_owned(), unit_cost(cost.value_ps), interval, cost.source.trim().to_owned()]);
    }
    text += &grid.render();
    let mut grid = Grid::new(&["parameter", ">value", "source"], colour);
    for (name, parameter) in profile.parameters() {
        grid.row([name.to_owned(), whole(parameter.value), parameter.source.trim().to_owned()]);
    }
    if !grid.is_empty() {
        text += &format!("\n{}", grid.render());
    }
    text
}

fn as_json(profile: &CostProfile) -> serde_json::Value {
    let costs: serde_json::Map<String, serde_json::Value> = profile
        .costs()
        .map(|(name, c)| {
            let interval = c.interval_ps.map(|(low, high)| [low, high]);
            (name.to_owned(), json!({"ps": c.value_ps, "interval_ps": interval, "source": c.source}))
        })
        .collect();
    let parameters: serde_json::Map<String, serde_json::Value> = profile
        .parameters()
        .map(|(name, p)| (name.to_owned(), json!({"value": p.value, "source": p.source})))
        .collect();
    json!({
        "name": profile.name,
        "component": profile.component,
        "version": profile.version,
        "description": profile.description,
        "costs": costs,
        "parameters": parameters,
    })
}
