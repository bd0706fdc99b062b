//! A scenario, experiment or sweep as it was read, with its settings.
use std::path::{Path, PathBuf};

use podpace::cli::failure::Failure;
use podpace::experiment::run::RunSpec;
use podpace::scenario::spec::ScenarioSpec;
use podpace::scenario::{self, DocumentKind, Spec};
use pyo3::prelude::*;

use crate::failure;

/// A document. Never changed: settings make a copy.
#[pyclass(frozen, module = "podpace._native")]
pub struct Document(pub scenario::Document, Vec<String>);

#[pymethods]
impl Document {
    /// Reads a file.
    #[staticmethod]
    fn load(path: PathBuf) -> PyResult<Self> {
        scenario::Document::load(&path)
            .map(|read| Self(read, Vec::new()))
            .map_err(|errors| failure(errors.into()))
    }

    /// Parses a text; files that it names are looked for in `directory`.
    #[staticmethod]
    fn parse(name: &str, text: &str, directory: PathBuf) -> PyResult<Self> {
        let parsed = scenario::Document::parse(name, text, Some(Path::new(&directory)));
        parsed.map(|read| Self(read, Vec::new())).map_err(|errors| failure(errors.into()))
    }

    /// A copy with each of `assignments` (`path=value`) set, in order.
    fn set(&self, assignments: Vec<String>) -> PyResult<Self> {
        let mut document = self.0.clone();
        let errors: Vec<_> =
            assignments.iter().filter_map(|text| document.set(text).err().map(|error| *error)).collect();
        let settings = self.1.iter().cloned().chain(assignments).collect();
        if errors.is_empty() { Ok(Self(document, settings)) } else { Err(failure(errors.into())) }
    }

    /// Checks everything that can be checked without running it.
    fn decode(&self) -> PyResult<()> {
        self.0.decode().map(|_| ()).map_err(|errors| failure(errors.into()))
    }

    /// The scenario with every default that it names, as YAML that reads back as the same one.
    fn to_yaml(&self) -> PyResult<String> {
        let spec = RunSpec::of_scenario(self.0.clone()).map_err(|errors| failure(errors.into()))?;
        scenario::to_yaml(&spec.scenario).map_err(|error| failure(Failure::run(error)))
    }

    /// The runs of an experiment, or the points of a sweep: name, seeds, scenario as YAML.
    fn runs(&self) -> PyResult<Vec<(String, u64, String)>> {
        let runs = match self.0.decode().map_err(|errors| failure(errors.into()))? {
            Spec::Scenario(_) | Spec::Study(_) => return Ok(Vec::new()),
            Spec::Experiment(experiment) => experiment.runs,
            Spec::Sweep(sweep) => sweep.runs,
        };
        let yaml = |run: scenario::ScenarioRun| {
            let text = scenario::to_yaml(&run.scenario).map_err(|error| failure(Failure::run(error)))?;
            Ok((run.name, run.seeds, text))
        };
        runs.into_iter().map(yaml).collect()
    }

    /// The text as it was read, without its settings.
    fn source(&self) -> String {
        let mut sources = self.0.sources().iter();
        sources
            .find(|source| !source.is_argument())
            .map_or_else(String::new, |source| source.text.to_string())
    }

    /// The settings that were made, in order, as `path=value`.
    fn settings(&self) -> Vec<String> {
        self.1.clone()
    }

    /// Paths that it names, as they stand there: a trace, manifests, configurations, scenario files, and the files among the
    /// words of a scheduler's command.
    fn references(&self) -> PyResult<Vec<String>> {
        let mut paths = Vec::new();
        let directory = self.0.directory().map_or_else(PathBuf::new, Path::to_path_buf);
        let mut add = |scenario: &ScenarioSpec| {
            let words = scenario.scheduler.command.iter();
            paths.extend(words.filter(|word| directory.join(word).is_file()).cloned());
            paths.extend(scenario.scheduler.config.clone());
            paths.extend(scenario.workload.trace.clone());
            paths.extend(scenario.workload.manifests.clone());
        };
        match self.0.decode().map_err(|errors| failure(errors.into()))? {
            Spec::Scenario(scenario) => add(&scenario),
            Spec::Study(_) => {}
            Spec::Experiment(experiment) => {
                experiment.runs.iter().for_each(|run| add(&run.scenario));
                paths.extend(experiment.spec.scenario_file);
            }
            Spec::Sweep(sweep) => {
                sweep.runs.iter().for_each(|run| add(&run.scenario));
                paths.extend(sweep.spec.scenario_file);
            }
        }
        paths.sort();
        paths.dedup();
        Ok(paths)
    }

    /// Name of the file, as errors show it.
    #[getter]
    fn file(&self) -> &str {
        self.0.name()
    }

    /// Where files are looked for.
    #[getter]
    fn directory(&self) -> Option<PathBuf> {
        self.0.directory().map(Path::to_path_buf)
    }

    /// `Scenario`, `Experiment` or `Sweep`.
    #[getter]
    fn kind(&self) -> &'static str {
        match self.0.kind() {
            DocumentKind::Scenario => "Scenario",
            DocumentKind::Experiment => "Experiment",
            DocumentKind::Sweep => "Sweep",
            DocumentKind::MeasuredStudy => "MeasuredStudy",
        }
    }
}
