//! `podpace plan`: the cheapest setting that meets goals.
use super::{environment, pool};
use crate::cli::args::{Format, PlanArgs};
use crate::cli::failure::{Failure, Output, code};
use crate::cli::grid::{Grid, Paint, number, paint, percent, whole};
use crate::cli::terminal;
use crate::experiment::plan::{
    Found, Options, PlanError, Trend, Tried, parse_axis, parse_cost, parse_goal, quoted, search,
};
use crate::experiment::run::{self, to_json};

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Run(error) => error.into(),
            PlanError::Input(diagnostic) => vec![*diagnostic].into(),
            PlanError::Metric { .. } => Self::input(error),
        }
    }
}

#[allow(clippy::boxed_local, reason = "errors come boxed")]
fn one_error(error: Box<crate::scenario::Diagnostic>) -> Failure {
    vec![*error].into()
}

/// Runs the command. Exit code 3 if no setting meets the goals.
///
/// # Errors
/// Bad input.
pub fn execute(args: &PlanArgs, quiet: bool) -> Result<Output, Failure> {
    let document = run::load(&args.file, &args.with.set.sets, args.with.set.seed)?;
    let environment = environment(&args.with.model, args.memory.max_memory)?;
    let options = options(args)?;
    let bar = terminal::progress(quiet, "runs", 2);
    let done = || {
        bar.inc_length(1);
        bar.inc(1);
    };
    let result = pool(&args.with.job)?.install(|| search(&document, &environment, &options, &done));
    bar.finish_and_clear();
    let found = result?;
    let text = match args.format {
        Format::Table => {
            let colour = terminal::has_colour();
            let mut text = table(&found, &options, colour);
            if args.list_runs {
                text += &format!("\n{}", runs(&found, &options, colour));
            }
            text
        }
        Format::Json => to_json(&found),
    };
    let code = if found.best.is_some() { code::PASS } else { code::EXPECTATION };
    Ok(Output { text, code, notes: found.notes.iter().map(|n| format!("note: {n}")).collect() })
}

/// What to search, of the arguments.
///
/// # Errors
/// A goal, field or weight that is none.
pub fn options(args: &PlanArgs) -> Result<Options, Failure> {
    if !(args.confidence > 0.0 && args.confidence <= 1.0) {
        return Err(Failure::input(format!(
            "--confidence {}: expected a share above 0, at most 1",
            args.confidence
        )));
    }
    let axes =
        args.vary.iter().map(|text| parse_axis(text)).collect::<Result<Vec<_>, _>>().map_err(one_error)?;
    for (i, axis) in axes.iter().enumerate() {
        if axes[..i].iter().any(|other| other.path == axis.path) {
            return Err(Failure::input(format!("--vary {}: the field is varied twice", axis.path)));
        }
    }
    let weights =
        args.cost.iter().map(|text| parse_cost(text, &axes)).collect::<Result<_, _>>().map_err(one_error)?;
    Ok(Options {
        goals: args.goal.iter().map(|text| parse_goal(text)).collect::<Result<_, _>>().map_err(one_error)?,
        axes,
        weights,
        seeds: args.seeds,
        drawn: !args.fixed_costs,
        repeat: repeat(args),
        confidence: args.confidence,
        max_runs: args.max_runs,
    })
}

/// The command that runs the scenario as it is.
fn repeat(args: &PlanArgs) -> String {
    let mut words = vec!["podpace run".to_owned(), quoted(&args.file.display().to_string())];
    if let Some(models) = &args.with.model.models {
        words.push(format!("--models {}", quoted(&models.display().to_string())));
    }
    words.extend(args.with.set.sets.iter().map(|set| format!("--set {}", quoted(set))));
    words.join(" ")
}

/// Every run, in the order in which they were made.
fn runs(found: &Found, options: &Options, colour: bool) -> String {
    let mut heading = vec![">run".to_owned()];
    heading.extend(options.goals.iter().map(|g| format!(">{}", g.text)));
    heading.push("repeated by".to_owned());
    let heading: Vec<&str> = heading.iter().map(String::as_str).collect();
    let mut grid = Grid::new(&heading, colour);
    let mut all: Vec<&Tried> = found.points.iter().flat_map(|point| &point.runs).collect();
    all.sort_by_key(|run| run.number);
    for run in all {
        let goals = run.goals.iter().map(|g| format!("{}{}", number(g.value), if g.met { "" } else { " !" }));
        let mut cells = vec![run.number.to_string()];
        cells.extend(goals);
        cells.push(run.command.clone());
        grid.row(cells);
    }
    grid.render() + "!: does not meet the goal\n"
}

fn table(found: &Found, options: &Options, colour: bool) -> String {
    let mut text = match found.best.map(|best| &found.points[best]) {
        Some(best) => {
            let settings: Vec<String> = best.settings.iter().map(|(p, v)| format!("{p}={v}")).collect();
            let draw = if found.drawn { " and a draw of the unit costs" } else { "" };
            format!(
                "{}  cost {}; {} of {} runs meet the goals, each with a seed{draw} of its own:\n\
                 with 90 % confidence at least {} of all such runs do\n",
                paint(&settings.join(" "), Paint::Bold, colour),
                number(best.cost),
                best.passed(),
                best.runs.len(),
                percent(best.share_at_least())
            )
        }
        None => "No setting of the grid meets the goals.\n".to_owned(),
    };
    text += &format!("{} runs instead of the grid's {}.\n\n", whole(found.runs), whole(found.grid_runs));
    let mut heading: Vec<String> = options.axes.iter().map(|a| a.path.clone()).collect();
    heading.push(">cost".to_owned());
    heading.extend(options.goals.iter().map(|g| format!(">{}", g.text)));
    heading.extend([">seeds".to_owned(), "goals".to_owned(), String::new()]);
    let heading: Vec<&str> = heading.iter().map(String::as_str).collect();
    let mut grid = Grid::new(&heading, colour);
    let mut order: Vec<usize> = (0..found.points.len()).collect();
    order.sort_by(|a, b| found.points[*a].cost.total_cmp(&found.points[*b].cost).then(a.cmp(b)));
    for index in order {
        let point = &found.points[index];
        let mut row: Vec<String> = point.settings.iter().map(|(_, v)| v.clone()).collect();
        row.push(number(point.cost));
        row.extend((0..options.goals.len()).map(|g| number(point.value(g))));
        row.push(format!("{}/{}", point.passed(), point.runs.len()));
        row.push(match point.met {
            Some(true) => "met".to_owned(),
            Some(false) => "not met".to_owned(),
            None => "probed".to_owned(),
        });
        row.push(match (found.best == Some(index), found.front.contains(&index)) {
            (true, _) => "cheapest".to_owned(),
            (false, true) => "front".to_owned(),
            _ => String::new(),
        });
        grid.row(row);
    }
    text += &grid.render();
    text += "front: no other tried setting is as cheap and as good in every goal. Values are medians over the seeds tried.\n";
    for (goal, trends) in options.goals.iter().zip(&found.trends) {
        let of: Vec<String> = options
            .axes
            .iter()
            .zip(trends)
            .map(|(axis, trend)| {
                let word = match trend {
                    Trend::Rising => "rises",
                    Trend::Falling => "falls",
                    Trend::Mixed => "is not monotone",
                };
                format!("{word} with {}", axis.path)
            })
            .collect();
        text += &format!("{}: how well it is met {}\n", goal.text, of.join(", "));
    }
    text
}
