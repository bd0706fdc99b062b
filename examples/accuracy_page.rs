//! Writes docs/accuracy.md: every measured run of a folder beside its prediction, the bad ones too.
//!
//! ```sh
//! cargo run --release --example accuracy_page -- MEASURED_DIR > docs/accuracy.md
//! ```
//!
//! Same version and folder, same bytes.
use std::path::Path;
use std::process::ExitCode;

use podpace::calibrate::measured::MeasuredError;
use podpace::calibrate::validate::{ClassSummary, Comparison, Options, Validation, validate};
use podpace::cost::ProfileLibrary;

const SEEDS: u32 = 60;

/// What each class is and what its predictions are held to.
const CLASSES: [(&str, &str, &str); 4] = [
    (
        "arrival-bound",
        "pods are created slower than the control plane could bind them",
        "median at most 2 %; of the shipped runs: each 5 %, too",
    ),
    (
        "token-bound",
        "the scheduler's client-side rate limit is reached",
        "median at most 2 %; of the shipped runs: each 5 %, too",
    ),
    (
        "cpu-bound",
        "kube-scheduler at full speed; the CPU decides",
        "median at most 10 %, 90th percentile 25 %; of the shipped runs: median 7.5 %, each 19 %",
    ),
    (
        "overloaded",
        "YuniKorn with qps 1000: floods of requests, 429s and their retries",
        "80 % inside the range",
    ),
];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(folder), None) = (args.next(), args.next()) else {
        eprintln!("usage: accuracy_page MEASURED_DIR");
        return ExitCode::from(2);
    };
    match written(Path::new(&folder)) {
        Ok(page) => {
            print!("{page}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn written(folder: &Path) -> Result<String, MeasuredError> {
    let profiles = ProfileLibrary::built_in();
    let options = Options { profiles, seeds: SEEDS, draw_constants: true, sets: Vec::new() };
    Ok(page(&validate(folder, &options, &|_, _| ())?))
}

fn page(validation: &Validation) -> String {
    let mut text = format!(
        "<!-- Generated; do not edit. Update: cargo run --release --example accuracy_page -- \
         MEASURED_DIR > docs/accuracy.md -->\n\n\
         # Accuracy\n\n\
         Predictions beside {} measured runs of real control planes (etcd, kube-apiserver and kube-scheduler or YuniKorn on one machine \
         with 2 cores), made from each run's conditions only, with {SEEDS} seeds. Every run of the folder is here. Errors are those of \
         the median prediction; the range is the 5th to 95th percentile over seeds, each of which draws the unit costs from their \
         intervals, too, widened by the 0.15 % (standard deviation) by which measurements differ when they are repeated; **!** marks a measured value outside it. The unit \
         costs were fitted to runs of this kind, these among them: this page says how well one set of constants fits all of them, not how \
         it will fit yours. The times at which the load generator sent its creations are conditions: where it created in a closed loop \
         (rate 0: kube-live) they are partly the server's doing, so that those predictions are told something of their outcome.\n\n\
         ## By class\n\n\
         Over throughput and the time of the last binding.\n\n",
        validation.runs.len()
    );
    text += &classes(validation);
    text += "\nWhere the CPU decides, the same conditions repeated differ by some ± 15 % in reality (compare a run with its repetition \
             below). Where a rate limit decides, the range is hardly wider than measurements differ when repeated, ± 0.25 %: a measured \
             value outside it may still be near.\n\n## Every run\n\n";
    text += &runs(validation);
    text += "\n## Latency and CPU\n\nErrors of the median and 99th percentile of the time from creation to binding, and of CPU seconds by \
             process. Nothing of this is in the classes' figures.\n\n";
    text += &details(validation);
    let noted: Vec<(&str, &String)> = validation
        .runs
        .iter()
        .flat_map(|run| run.notes.iter().map(|note| (run.run.as_str(), note)))
        .collect();
    if !noted.is_empty() {
        text += "\n## Settings that a file lacks\n\nSettings of a run that its file does not state, as its own counters tell them: counts of \
                 calls, no times (`src/calibrate/sampling.rs`).\n\n";
        noted.iter().for_each(|(run, note)| text += &format!("- `{run}`: {note}\n"));
    }
    for (run, why) in &validation.left_out {
        text += &format!("\nLeft out: `{run}`: {why}\n");
    }
    text
}

fn percent(value: f64) -> String {
    format!("{:.1} %", value * 100.0)
}

fn classes(validation: &Validation) -> String {
    let mut text =
        "| class | what it is | runs | median error | 90th percentile | worst | inside 5-95 % | held to |\n\
                    |---|---|---:|---:|---:|---:|---:|---|\n"
            .to_owned();
    for (class, s) in &validation.summary() {
        let ClassSummary { runs, median_abs_error, p90_abs_error, worst, coverage } = s;
        let (_, what, held_to) = CLASSES.iter().find(|c| c.0 == class).unwrap_or(&("", "", ""));
        text += &format!(
            "| {class} | {what} | {runs} | {} | {} | {} | {} | {held_to} |\n",
            percent(*median_abs_error),
            percent(*p90_abs_error),
            percent(*worst),
            percent(*coverage)
        );
    }
    text
}

fn signed(comparison: Option<&Comparison>) -> String {
    comparison.map_or_else(|| "-".to_owned(), |c| format!("{:+.1} %", c.error() * 100.0))
}

fn runs(validation: &Validation) -> String {
    let mut text = "| run | class | pods/s measured | predicted | range | error | last bound, s | predicted | range | error |\n\
                    |---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for run in &validation.runs {
        text += &format!("| {} | {}", run.run, run.class);
        if run.timed_out {
            text += &format!(" (timed out: {} bound, predicted {})", run.bound.0, run.bound.1);
        }
        for (metric, digits) in [("bound_per_s_p10_p90", 1), ("last_bound_s", 2)] {
            match run.metrics.get(metric) {
                Some(c) => {
                    let mark = if c.covered() { "" } else { " **!**" };
                    text += &format!(
                        " | {:.digits$} | {:.digits$} | {:.digits$} to {:.digits$}{mark} | {}",
                        c.measured,
                        c.predicted,
                        c.low,
                        c.high,
                        signed(Some(c))
                    );
                }
                None => text += " | - | - | - | -",
            }
        }
        text += " |\n";
    }
    text
}

fn details(validation: &Validation) -> String {
    let columns = [
        ("p50", "latency_p50_s"),
        ("p99", "latency_p99_s"),
        ("CPU scheduler", "cpu_s.scheduler"),
        ("CPU API server", "cpu_s.apiserver"),
        ("CPU etcd", "cpu_s.etcd"),
    ];
    let mut text = "| run |".to_owned();
    columns.iter().for_each(|(title, _)| text += &format!(" {title} |"));
    text += "\n|---|";
    columns.iter().for_each(|_| text += "---:|");
    text.push('\n');
    for run in &validation.runs {
        text += &format!("| {} |", run.run);
        columns.iter().for_each(|(_, metric)| text += &format!(" {} |", signed(run.metrics.get(*metric))));
        text.push('\n');
    }
    text
}
