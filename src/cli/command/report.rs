//! `podpace report`: result folders as a page, metrics, a trace, events.
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::cli::args::ReportArgs;
use crate::cli::failure::{Failure, Output};
use crate::experiment::output::{Kind, check_file, stream_file};
use crate::report::openmetrics::Options;
use crate::report::{self, EPOCH_S, ReportError, RunResult};
use crate::scenario::duration::DurationNs;

const PAGE: Kind = Kind { what: "report", begins: "<!doctype html>\n", holds: "<title>podpace: " };
const OPENMETRICS: Kind = Kind::new("OpenMetrics text", "# TYPE ");
const PERFETTO: Kind = Kind::new("trace", "{\"displayTimeUnit\":\"ms\",\"otherData\":{");
const EVENTS: Kind = Kind::new("Events", "{\"action\":");
const WATCH: Kind = Kind::new("watch stream", "{\"object\":");

/// Runs of one name come from different folders: their folders' names tell them apart, or their paths where the names don't.
fn told_apart(folders: Vec<(&PathBuf, Vec<RunResult>)>) -> Vec<RunResult> {
    let last = |folder: &PathBuf| folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let distinct: BTreeSet<String> = folders.iter().map(|(folder, _)| last(folder)).collect();
    let of = |folder: &PathBuf| {
        if distinct.len() == folders.len() { last(folder) } else { folder.display().to_string() }
    };
    let shown: Vec<String> = folders.iter().map(|(folder, _)| of(folder)).collect();
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for run in folders.iter().flat_map(|(_, runs)| runs) {
        *names.entry(run.name.clone()).or_default() += 1;
    }
    let mut all = Vec::new();
    for ((_, runs), of) in folders.into_iter().zip(shown) {
        let alone = runs.len() == 1;
        for mut run in runs {
            if names[&run.name] > 1 {
                run.name = if alone { of.clone() } else { format!("{of}: {}", run.name) };
            }
            all.push(run);
        }
    }
    all
}

/// Runs the command.
///
/// # Errors
/// A folder is no result, a format needs what the result lacks, a file can't be written.
pub fn execute(args: &ReportArgs) -> Result<Output, Failure> {
    let epoch_s = match &args.epoch {
        None => EPOCH_S,
        Some(text) => report::parse_epoch(text).map_err(|e| Failure::input(format!("--epoch: {e}")))?,
    };
    let interval: DurationNs =
        args.scrape_interval.parse().map_err(|e| Failure::input(format!("--scrape-interval: {e}")))?;
    if interval.ns() == 0 {
        return Err(Failure::input("--scrape-interval: must be longer than 0s, such as 15s"));
    }
    // Files of a result are of no such kind; what was made of it may stand among them, and is made anew.
    let outputs = [
        (&args.out, PAGE),
        (&args.openmetrics, OPENMETRICS),
        (&args.perfetto, PERFETTO),
        (&args.events, EVENTS),
        (&args.watch, WATCH),
    ];
    for (path, kind) in outputs {
        if let Some(path) = path {
            check_file(path, kind, &[])?;
        }
    }
    let mut runs = Vec::new();
    for folder in &args.results {
        runs.push((folder, report::load(folder).map_err(Failure::input)?));
    }
    let mut runs = told_apart(runs);
    if let Some(only) = &args.run {
        let names = runs.iter().map(|run| run.name.clone()).collect::<Vec<_>>().join("; ");
        runs.retain(|run| run.name == *only);
        if runs.is_empty() {
            return Err(Failure::input(format!("--run: there is no run `{only}`; there are: {names}")));
        }
    }
    let mut notes = Vec::new();
    if let Some(path) = &args.out {
        let page = report::html::page(&runs);
        stream_file(path, PAGE, |out| out.write_all(page.as_bytes()))?;
        notes.push(format!("report in {}", path.display()));
    }
    let one = || -> Result<&RunResult, Failure> {
        match runs.as_slice() {
            [run] => Ok(run),
            several => {
                let names = several.iter().map(|run| run.name.as_str()).collect::<Vec<_>>().join("; ");
                let message = "only --out shows several runs at once; choose one by --run NAME";
                Err(Failure::input(format!("{message}; there are: {names}")))
            }
        }
    };
    type Written = Result<io::Result<()>, ReportError>;
    let mut to_file =
        |path: &Path, kind: Kind, write: &dyn Fn(&mut dyn Write) -> Written| -> Result<(), Failure> {
            // What the result lacks is bad input and leaves no file.
            let mut lacks = None;
            let written = stream_file(path, kind, |out| match write(out) {
                Ok(written) => written,
                Err(error) => {
                    let message = error.to_string();
                    lacks = Some(error);
                    Err(io::Error::other(message))
                }
            });
            if let Some(error) = lacks {
                return Err(Failure::input(error));
            }
            written?;
            notes.push(format!("{} in {}", kind.what, path.display()));
            Ok(())
        };
    let max_pods = args.max_pods as usize;
    if let Some(path) = &args.openmetrics {
        let (run, options) = (one()?, Options { epoch_s, interval_ns: interval.ns() });
        to_file(path, OPENMETRICS, &|out| report::openmetrics::write(out, run, options))?;
    }
    if let Some(path) = &args.perfetto {
        let run = one()?;
        to_file(path, PERFETTO, &|out| report::perfetto::write(out, run, max_pods))?;
    }
    if let Some(path) = &args.events {
        let run = one()?;
        to_file(path, EVENTS, &|out| report::events::write_events(out, run, epoch_s, max_pods))?;
    }
    if let Some(path) = &args.watch {
        let run = one()?;
        to_file(path, WATCH, &|out| report::events::write_watch(out, run, epoch_s, max_pods))?;
    }
    Ok(Output { notes, ..Output::default() })
}
