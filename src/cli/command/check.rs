//! `podpace check`: every expectation, with a verdict.
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::json;

use super::{environment, pool};
use crate::calibrate::study::Study;
use crate::cli::args::{CheckArgs, Format};
use crate::cli::expectations;
use crate::cli::failure::{Failure, Output, code};
use crate::cli::grid::{Paint, number, paint};
use crate::cli::terminal;
use crate::experiment::check::{self, Baseline, Checked, Row};
use crate::experiment::output::{Kind, check_file, write_file};
use crate::experiment::run::to_json;
use crate::scenario::{Diagnostic, Document, DocumentKind};

const JUNIT: Kind = Kind { what: "JUnit report", begins: "<?xml ", holds: "<testsuites " };
const MARKDOWN: Kind = Kind::new("table of `check`", "### podpace: ");
const BASELINE: Kind = Kind::new("baseline", "{\n  \"podpace\":");

/// Runs the command.
///
/// # Errors
/// Bad input, an unknown metric, a report that can't be written.
pub fn execute(args: &CheckArgs, quiet: bool) -> Result<Output, Failure> {
    let environment = environment(&args.model, args.memory.max_memory)?;
    for (path, kind) in [(&args.junit, JUNIT), (&args.markdown, MARKDOWN)] {
        if let Some(path) = path {
            let files: Vec<&Path> =
                args.paths.iter().map(PathBuf::as_path).filter(|path| path.is_file()).collect();
            check_file(path, kind, &files)?;
        }
    }
    let documents = documents(&args.paths)?;
    let bar: std::sync::OnceLock<ProgressBar> = std::sync::OnceLock::new();
    let started = |total| {
        let _ = bar.set(terminal::progress(quiet, "runs", total));
    };
    let done = || {
        if let Some(bar) = bar.get() {
            bar.inc(1);
        }
    };
    // Measured studies are predicted by calibration; everything else by its own scenario. Rows come in the order of the files.
    let is_study = |document: &&Document| document.kind() == DocumentKind::MeasuredStudy;
    let order: Vec<String> = documents.iter().map(|document| document.name().to_owned()).collect();
    let studies: Vec<Study> = documents.iter().filter(is_study).map(Study::of).collect::<Result<_, _>>()?;
    let others: Vec<Document> = documents.iter().filter(|document| !is_study(document)).cloned().collect();
    let pool = pool(&args.job)?;
    let mut checked = pool.install(|| check::check(others, &environment, started, done))?;
    for study in studies {
        checked.push(pool.install(|| study.check(&environment.profiles))?);
    }
    checked.sort_by_key(|c| order.iter().position(|name| *name == c.file));
    if let Some(bar) = bar.get() {
        bar.finish_and_clear();
    }
    // Scenarios without expectations in a folder are there for others to use.
    let mut checked: Vec<Checked> = checked.into_iter().filter(|c| !c.rows.is_empty()).collect();
    if checked.is_empty() {
        return Err(Failure::input(
            "nothing is expected in any of these files; add `expect: [{metric: .., value: .., tolerance: ..}]`, \
             or `thresholds: [\"throughput.bound.mean >= 200\"]`",
        ));
    }
    relative_thresholds(args, &mut checked)?;
    let (regressions, mut notes) = baselines(args, &checked)?;
    if let Some(path) = &args.junit {
        let report = junit(&checked, &regressions).to_string().map_err(Failure::run)?;
        write_file(path, JUNIT, report.as_bytes())?;
        notes.push(format!("JUnit report in {}", path.display()));
    }
    if let Some(path) = &args.markdown {
        write_file(path, MARKDOWN, expectations::markdown(&checked, &regressions).as_bytes())?;
        notes.push(format!("Markdown in {}", path.display()));
    }
    let rows = || checked.iter().flat_map(|c| &c.rows);
    let (total, failed) = (rows().count(), rows().filter(|r| !r.pass).count());
    let mut text = match args.format {
        Format::Table => table(&checked, &regressions, total, failed),
        Format::Json => to_json(&json!({
            "files": checked
                .iter()
                .map(|c| json!({"file": c.file, "experiment": c.name, "rows": c.rows, "limited_by": c.limited_by}))
                .collect::<Vec<_>>(),
            "summary": {"expectations": total, "failed": failed, "regressions": regressions},
        })),
    };
    if args.annotations {
        text += &annotations(&checked, &regressions);
    }
    let code = match (failed, regressions.len()) {
        (1.., _) => code::EXPECTATION,
        (0, 1..) => code::REGRESSION,
        (0, 0) => code::PASS,
    };
    Ok(Output { text, notes, code })
}

/// Reads every file, and of every folder its *.yaml files in order of name. Sweeps in folders expect nothing.
fn documents(paths: &[PathBuf]) -> Result<Vec<Document>, Failure> {
    let mut documents = Vec::new();
    let mut errors: Vec<Diagnostic> = Vec::new();
    for path in paths {
        if !path.is_dir() {
            match Document::load(path) {
                Ok(document) if document.kind() == DocumentKind::Sweep => {
                    let hint = "`podpace sweep` reads a sweep".to_owned();
                    errors.push(document.diagnostic("kind", "a sweep expects nothing", Some(hint)));
                }
                Ok(document) => documents.push(document),
                Err(found) => errors.extend(found),
            }
            continue;
        }
        let folder = path.display();
        let entries = std::fs::read_dir(path).map_err(|e| Failure::input(format!("{folder}: {e}")))?;
        let mut files: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|p| p.is_file() && p.extension().is_some_and(|e| e == "yaml"))
            .collect();
        files.sort();
        if files.is_empty() {
            return Err(Failure::input(format!(
                "{folder}: no *.yaml in this folder; name scenarios or experiments"
            )));
        }
        for file in files {
            match Document::load(&file) {
                Ok(document) if document.kind() == DocumentKind::Sweep => {}
                Ok(document) => documents.push(document),
                Err(found) => errors.extend(found),
            }
        }
    }
    if errors.is_empty() { Ok(documents) } else { Err(errors.into()) }
}

/// Regressions against the baselines, after which they may be updated.
fn baselines(args: &CheckArgs, checked: &[Checked]) -> Result<(Vec<String>, Vec<String>), Failure> {
    let (mut regressions, mut notes) = (Vec::new(), Vec::new());
    let Some(folder) = &args.baseline else { return Ok((regressions, notes)) };
    let file_of = |c: &Checked| folder.join(format!("{}.json", c.name));
    if args.update_baseline {
        std::fs::create_dir_all(folder).map_err(|e| Failure::run(format!("{}: {e}", folder.display())))?;
        for c in checked {
            write_file(&file_of(c), BASELINE, to_json(&Baseline::of(c)).as_bytes())?;
        }
        notes.push(format!("baseline of {} files written to {}", checked.len(), folder.display()));
        return Ok((regressions, notes));
    }
    if !folder.is_dir() {
        let folder = folder.display();
        return Err(Failure::input(format!("{folder}: no such folder; write one with --update-baseline")));
    }
    for c in checked {
        let file = file_of(c);
        if !file.is_file() {
            notes.push(format!("no baseline for {}; write one with --update-baseline", c.name));
            continue;
        }
        regressions.extend(read_baseline(&file)?.regressions(c));
    }
    Ok((regressions, notes))
}

/// Judges thresholds that speak of a baseline; those that are being written hold.
fn relative_thresholds(args: &CheckArgs, checked: &mut [Checked]) -> Result<(), Failure> {
    if args.update_baseline {
        return Ok(());
    }
    let mut errors = Vec::new();
    for c in checked.iter_mut().filter(|c| c.rows.iter().any(|row| row.relative.is_some())) {
        let Some(folder) = &args.baseline else {
            errors.push(format!(
                "error: {}: a threshold compares with the baseline; name it with --baseline DIR",
                c.file
            ));
            continue;
        };
        let file = folder.join(format!("{}.json", c.name));
        let baseline = if file.is_file() { Some(read_baseline(&file)?) } else { None };
        for row in &mut c.rows {
            errors.extend(row.judge_against(baseline.as_ref()).err().map(|e| format!("error: {e}")));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Failure { code: code::INPUT, message: errors.join("\n") }) }
}

fn read_baseline(file: &Path) -> Result<Baseline, Failure> {
    let text = std::fs::read(file).map_err(|e| Failure::input(format!("{}: {e}", file.display())))?;
    serde_json::from_slice(&text).map_err(|e| {
        Failure::input(format!("{}: no baseline: {e}; write it anew with --update-baseline", file.display()))
    })
}

fn table(checked: &[Checked], regressions: &[String], total: usize, failed: usize) -> String {
    let colour = terminal::has_colour();
    let mut text = String::new();
    for c in checked {
        text += &format!("{}\n{}", paint(&c.name, Paint::Bold, colour), expectations::table(&c.rows, colour));
        for (limit, runs) in &c.limited_by {
            let runs: Vec<&str> = runs.iter().map(String::as_str).collect();
            text += &format!("limited by {limit}: {}\n", runs.join(", "));
        }
        text.push('\n');
    }
    for regression in regressions {
        text += &format!("{} {regression}\n", paint("regression", Paint::Bad, colour));
    }
    let verdict = if failed == 0 {
        paint("all pass", Paint::Good, colour)
    } else {
        paint(&format!("{failed} fail"), Paint::Bad, colour)
    };
    text + &format!("{total} expectations in {} files: {verdict}\n", checked.len())
}

fn explain(row: &Row) -> String {
    let error = row.error.map_or_else(String::new, |e| format!(", error {:+.2} %", e * 100.0));
    let tolerance = row.tolerance.map_or_else(String::new, |t| format!(", tolerance {:.2} %", t * 100.0));
    let bound =
        |name: &str, v: Option<f64>| v.map_or_else(String::new, |v| format!(", {name} {}", number(v)));
    let published = bound("published", row.published);
    let bounds = match &row.threshold {
        Some(threshold) => format!(", wanted {threshold}"),
        None => bound("min", row.min) + &bound("max", row.max),
    };
    format!("simulated {}{published}{bounds}{error}{tolerance}", number(row.simulated))
}

/// Workflow commands of GitHub: one error a failed row at the line that expects it, one a regression.
fn annotations(checked: &[Checked], regressions: &[String]) -> String {
    // As the toolkit of GitHub's actions escapes data and properties.
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let mut text = String::new();
    for c in checked {
        for row in c.rows.iter().filter(|row| !row.pass) {
            let (file, line) = row.place.as_ref().map_or((c.file.as_str(), 1), |(file, line)| (file, *line));
            text += &format!(
                "::error file={},line={line},title={}::{}\n",
                property(file),
                property(&format!("{}: {}", c.name, row.key())),
                data(&explain(row))
            );
        }
    }
    for regression in regressions {
        text += &format!("::error title=regression::{}\n", data(regression));
    }
    text
}

/// No times: the same results give the same report.
fn junit(checked: &[Checked], regressions: &[String]) -> Report {
    let mut report = Report::new("podpace check");
    for c in checked {
        let mut suite = TestSuite::new(c.name.as_str());
        for row in &c.rows {
            let mut status = if row.pass {
                TestCaseStatus::success()
            } else {
                TestCaseStatus::non_success(NonSuccessKind::Failure)
            };
            if !row.pass {
                status.set_message(explain(row));
            }
            let mut case = TestCase::new(row.key(), status);
            case.set_classname(c.name.as_str());
            case.set_system_out(explain(row));
            suite.add_test_case(case);
        }
        report.add_test_suite(suite);
    }
    if !regressions.is_empty() {
        let mut suite = TestSuite::new("regressions");
        for regression in regressions {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(regression.as_str());
            suite.add_test_case(TestCase::new(regression.as_str(), status));
        }
        report.add_test_suite(suite);
    }
    report
}
