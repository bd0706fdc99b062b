//! Runs, sweeps, searches and the other commands: the library's, with Python's types.
use std::io::Write;
use std::path::PathBuf;

use arrow_array::RecordBatch;
use podpace::cli::failure::Failure;
use podpace::cli::{in_process, plan_options};
use podpace::cost::{CostProfile, ProfileLibrary};
use podpace::experiment::output::{self, PodsFormat, Staging, pods_batch};
use podpace::experiment::plan::search;
use podpace::experiment::replication::Replication;
use podpace::experiment::run::{self as library, RunSpec, to_json};
use podpace::experiment::store::{Store, file_name};
use podpace::experiment::sweep::{self as sweeps, Point};
use podpace::experiment::{node_fill, queue_use, telemetry};
use pyo3::prelude::*;

use crate::detached::detached;
use crate::document::Document;
use crate::table::{Table, arrow, of_csv};
use crate::{failure, scheduler};

/// Cost profiles and schedulers.
#[pyclass(frozen, module = "podpace._native")]
pub struct Environment(library::Environment);

#[pymethods]
impl Environment {
    /// `models` is a folder of cost profiles; `schedulers` are kind, cost profile (YAML) and a callable that makes one.
    #[new]
    #[pyo3(signature = (models=None, schedulers=vec![]))]
    fn new(models: Option<PathBuf>, schedulers: Vec<(String, String, Py<PyAny>)>) -> PyResult<Self> {
        let mut environment = library::Environment::built_in();
        if let Some(folder) = models {
            if !folder.is_dir() {
                let message = format!("{}: no such folder of cost profiles", folder.display());
                return Err(failure(Failure::input(message)));
            }
            environment.profiles = ProfileLibrary::with_folder(&folder);
        }
        for (kind, profile, make) in schedulers {
            let file = format!("costs of {kind}");
            let profile =
                CostProfile::parse(&profile, &file).map_err(|error| failure(Failure::input(error)))?;
            scheduler::register(&mut environment.registry, &kind, profile, make);
        }
        Ok(Self(environment))
    }
}

/// A run that has ended.
#[pyclass(frozen, module = "podpace._native")]
pub struct Completed(library::Completed);

fn csv(
    completed: &library::Completed,
    write: impl Fn(&mut (dyn Write + Send), &podpace::experiment::simulation::Finished) -> std::io::Result<()>,
) -> PyResult<Table> {
    let mut bytes = Vec::new();
    write(&mut bytes, &completed.finished)?;
    of_csv(&bytes)
}

#[pymethods]
impl Completed {
    /// The bytes of `summary.json`.
    fn summary(&self) -> String {
        self.0.summary.to_json()
    }

    /// One hash over summary, series and pods, as `podpace run --verify-determinism` prints it.
    fn digest(&self) -> PyResult<String> {
        Ok(output::digest(&self.0)?)
    }

    /// The columns of `pods.parquet`.
    fn pods(&self) -> PyResult<Table> {
        let run = &self.0.finished;
        let batch: RecordBatch = pods_batch(run, 0, run.cluster.pods.len()).map_err(|error| arrow(&error))?;
        Ok(Table(batch))
    }

    /// `series.csv`.
    fn series(&self) -> PyResult<Table> {
        csv(&self.0, output::write_series)
    }

    /// `telemetry.csv`.
    fn telemetry(&self) -> PyResult<Table> {
        csv(&self.0, telemetry::write)
    }

    /// `node_fill.csv`.
    fn node_fill(&self) -> PyResult<Table> {
        csv(&self.0, node_fill::write)
    }

    /// `queues.csv`, if applications ask for different queues.
    fn queues(&self) -> PyResult<Option<Table>> {
        queue_use::applies(&self.0.finished).then(|| csv(&self.0, queue_use::write)).transpose()
    }

    /// Writes the folder that `podpace run --out` writes.
    fn save(&self, py: Python<'_>, out: PathBuf, pods: &str) -> PyResult<()> {
        let pods = match pods {
            "parquet" => PodsFormat::Parquet,
            "csv" => PodsFormat::Csv,
            "none" => PodsFormat::None,
            other => {
                let message = format!("pods={other:?}: expected 'parquet', 'csv' or 'none'");
                return Err(failure(Failure::input(message)));
            }
        };
        py.detach(|| {
            let mut staging = Staging::new(&out)?;
            staging.run("", &self.0, pods)?;
            staging.publish()
        })
        .map_err(|error| failure(error.into()))
    }
}

/// Runs a scenario.
#[pyfunction]
pub fn run(py: Python<'_>, document: &Document, environment: &Environment) -> PyResult<Completed> {
    let (document, environment) = (document.0.clone(), environment.0.clone());
    detached(py, 1, None, move |_| {
        let spec = RunSpec::of_scenario(library::scenario_only(&document)?)?;
        Ok(Completed(spec.simulate(&environment)?))
    })
}

/// Runs a grid and gives its rows, as `podpace sweep --format json` prints them. With `only`, some of its runs (index of
/// the point, seed), which are kept in `out`; there are no rows then.
#[pyfunction]
#[pyo3(signature = (document, environment, vary, seeds=None, jobs=0, out=None, resume=false, only=None, progress=None))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
pub fn sweep(
    py: Python<'_>,
    document: &Document,
    environment: &Environment,
    vary: Vec<String>,
    seeds: Option<u64>,
    jobs: usize,
    out: Option<PathBuf>,
    resume: bool,
    only: Option<Vec<(usize, u64)>>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<String> {
    let (document, environment) = (document.0.clone(), environment.0.clone());
    detached(py, jobs, progress, move |counter| {
        let mut points = sweeps::limited_grid(&document, &vary, seeds, &Replication::default())?;
        let whole = only.is_none();
        if let Some(only) = only {
            points = only.into_iter().filter_map(|(at, seed)| Some(single(points.get(at)?, seed))).collect();
        }
        let store = out.as_deref().map(|out| Store::open(out, resume)).transpose()?;
        counter.set_total(points.iter().map(|point| point.seeds).sum());
        let options = sweeps::Options { store: store.as_ref(), ..sweeps::Options::default() };
        let swept = sweeps::run(&points, &environment, &options, |_| counter.done())?;
        if !whole {
            return Ok("[]".to_owned());
        }
        if let Some(store) = store {
            store.finish(&swept.rows)?;
        }
        Ok(to_json(&swept.rows))
    })
}

/// A point under one seed.
fn single(point: &Point, seed: u64) -> Point {
    let mut point = point.clone();
    (point.run.seed, point.seeds) = (seed, 1);
    point
}

/// The runs of a grid, in order: index of the point, seed, name of the file that is kept of it.
#[pyfunction]
#[pyo3(signature = (document, vary, seeds=None))]
pub fn sweep_runs(
    document: &Document,
    vary: Vec<String>,
    seeds: Option<u64>,
) -> PyResult<Vec<(usize, u64, String)>> {
    let points = sweeps::limited_grid(&document.0, &vary, seeds, &Replication::default())
        .map_err(|errors| failure(errors.into()))?;
    let of_point = |(at, point): (usize, &Point)| {
        let (first, name, draw) = (point.run.seed, point.name(), point.run.draw);
        (0..point.seeds).map(move |i| {
            let seed = first.wrapping_add(i);
            (at, seed, file_name(&name, seed, draw))
        })
    };
    Ok(points.iter().enumerate().flat_map(of_point).collect())
}

/// Searches the cheapest setting: what `podpace plan --format json` prints for these arguments of it.
#[pyfunction]
#[pyo3(signature = (document, environment, arguments, jobs=0, progress=None))]
pub fn plan(
    py: Python<'_>,
    document: &Document,
    environment: &Environment,
    arguments: Vec<String>,
    jobs: usize,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<String> {
    let (document, environment) = (document.0.clone(), environment.0.clone());
    detached(py, jobs, progress, move |counter| {
        let options = plan_options(arguments)?;
        Ok(to_json(&search(&document, &environment, &options, &|| counter.done())?))
    })
}

/// A command of the binary in this process: exit code, stdout, notes of stderr. Errors are exceptions.
#[pyfunction]
pub fn command(py: Python<'_>, arguments: Vec<String>) -> PyResult<(u8, String, Vec<String>)> {
    detached(py, 1, None, move |_| {
        let output = in_process(std::iter::once("podpace".to_owned()).chain(arguments))?;
        Ok((output.code, output.text, output.notes))
    })
}
