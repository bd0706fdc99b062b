//! A measured study: runs of a real control plane that are shipped with podpace, and how near their predictions have to be.
//!
//! A row for each run's throughput and last binding, measured beside predicted, and rows for each class: the median of the absolute
//! errors, and the share of measured values inside the predicted range. `podpace check` judges them like any experiment's.
//! Predictions are made from conditions only, as [`validate`](super::validate) does.
//!
//! Cost: runs x seeds simulations.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::validate::{JUDGED, Options, ValidatedRun, Validation, validate};
use crate::cost::ProfileLibrary;
use crate::experiment::check::{Checked, Row};
use crate::experiment::run::RunError;
use crate::scenario::quantity::Ratio;
use crate::scenario::spec::{StudyClassSpec, StudySpec};
use crate::scenario::{Diagnostic, Document};

/// Seeds of a study that does not say how many.
const SEEDS: u64 = 60;

/// A study that was read, before its runs are predicted.
#[derive(Clone, Debug)]
pub struct Study {
    file: String,
    spec: StudySpec,
    document: Document,
    folder: PathBuf,
}

impl Study {
    /// Reads a study.
    ///
    /// # Errors
    /// The document has errors, or its folder of runs is none.
    pub fn of(document: &Document) -> Result<Self, Vec<Diagnostic>> {
        let spec = document.decode_study()?;
        let folder = document.directory().unwrap_or_else(|| Path::new(".")).join(&spec.runs);
        if !folder.is_dir() {
            let hint = "name a folder of NAME.json beside NAME.pods.csv.gz, relative to this file".to_owned();
            return Err(vec![document.diagnostic(
                "runs",
                format!("{}: no such folder", folder.display()),
                Some(hint),
            )]);
        }
        Ok(Self { file: document.name().to_owned(), spec, document: document.clone(), folder })
    }

    /// Predicts and judges its runs, on the current pool of threads.
    ///
    /// # Errors
    /// A run can't be read or predicted, or is of a class of which nothing is expected.
    pub fn check(&self, profiles: &ProfileLibrary) -> Result<Checked, RunError> {
        let seeds = u32::try_from(self.spec.seeds.unwrap_or(SEEDS)).unwrap_or(u32::MAX);
        let options = Options { profiles: profiles.clone(), seeds, draw_constants: true, sets: Vec::new() };
        let error = |message: String| {
            RunError::from(Diagnostic::of_file(self.file.clone(), message, "correct or remove the run"))
        };
        let validation = validate(&self.folder, &options, &|_, _| ()).map_err(|e| error(e.to_string()))?;
        if let Some((run, why)) = validation.left_out.first() {
            return Err(error(format!("{run}: {why}")));
        }
        let mut rows = Vec::new();
        for run in &validation.runs {
            let Some(class) = self.spec.classes.get(&run.class) else {
                let known = self.spec.classes.keys().cloned().collect::<Vec<_>>().join(", ");
                let message =
                    format!("{} is of class `{}`, of which nothing is expected", run.run, run.class);
                let hint = format!("add it to `classes`, which has: {known}");
                return Err(self.document.diagnostic("classes", message, Some(hint)).into());
            };
            rows.extend(self.run(run, class));
        }
        rows.extend(self.classes(&validation)?);
        Ok(Checked {
            file: self.file.clone(),
            name: self.spec.name.clone(),
            rows,
            limited_by: BTreeMap::new(),
        })
    }

    fn row(&self, run: String, metric: &str, simulated: f64) -> Row {
        Row {
            experiment: self.spec.name.clone(),
            run,
            metric: metric.to_owned(),
            published: None,
            min: None,
            max: None,
            simulated,
            range: None,
            error: None,
            tolerance: None,
            curve: None,
            pass: true,
            source: None,
            threshold: None,
            relative: None,
            place: None,
        }
    }

    fn run(&self, run: &ValidatedRun, class: &StudyClassSpec) -> Vec<Row> {
        if run.timed_out {
            // Its times are the time limit's; how many were bound by then is the outcome.
            let (measured, predicted) = run.bound;
            let row = self.row(run.run.clone(), "bound", predicted as f64);
            return vec![judged(row, measured as f64, class)];
        }
        let compared = JUDGED.iter().filter_map(|metric| Some((*metric, run.metrics.get(*metric)?)));
        compared
            .map(|(metric, c)| {
                let row =
                    Row { range: Some((c.low, c.high)), ..self.row(run.run.clone(), metric, c.predicted) };
                judged(row, c.measured, class)
            })
            .collect()
    }

    fn classes(&self, validation: &Validation) -> Result<Vec<Row>, RunError> {
        let summary = validation.summary();
        let mut rows = Vec::new();
        for (name, expected) in &self.spec.classes {
            let Some(found) = summary.get(name) else {
                let message = format!(
                    "no run of class `{name}` came to its end: what is expected of it was not looked at"
                );
                let hint = "add such runs, or remove the class".to_owned();
                return Err(self.document.diagnostic(&format!("classes.{name}"), message, Some(hint)).into());
            };
            let of = format!("class {name}");
            if let Some(most) = expected.median.map(Ratio::as_f64) {
                let row = self.row(of.clone(), "median error", found.median_abs_error);
                rows.push(Row { max: Some(most), pass: found.median_abs_error <= most, ..row });
            }
            if let Some(least) = expected.inside.map(Ratio::as_f64) {
                let row = self.row(of, "share inside 5 to 95 %", found.coverage);
                rows.push(Row { min: Some(least), pass: found.coverage >= least, ..row });
            }
        }
        Ok(rows)
    }
}

fn judged(row: Row, measured: f64, class: &StudyClassSpec) -> Row {
    let error = row.simulated / measured - 1.0;
    let tolerance = class.each.map(Ratio::as_f64);
    let source = tolerance.is_none().then(|| "judged by its class only".to_owned());
    let pass = tolerance.is_none_or(|most| error.abs() <= most);
    Row { published: Some(measured), error: Some(error), tolerance, source, pass, ..row }
}
