//! `podpace._native`: what the Python package calls.
//!
//! It is thin: documents, runs, sweeps, searches and checks are the library's, so a result has the bytes that the binary
//! writes. What is Python's own (types, data frames, notebooks) is in `python/podpace`. Every long call runs on threads
//! of its own without the interpreter's lock (`detached`), tables leave without a copy (`table`), and a scheduler may be
//! a Python class (`scheduler`).
//!
//! Cost: a thread a call; nothing an event.
mod detached;
mod document;
mod run;
mod scheduler;
mod table;

use pyo3::prelude::*;

/// The native part of podpace.
#[pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::document::Document;
    #[pymodule_export]
    use super::run::{Completed, Environment, command, plan, run, sweep, sweep_runs};
    #[pymodule_export]
    use super::scheduler::{Nodes, Pod};
    #[pymodule_export]
    use super::table::Table;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("VERSION", podpace::experiment::run::VERSION)
    }
}

/// An error of the library as the exception of the Python package that has its exit code.
fn failure(failure: podpace::cli::failure::Failure) -> PyErr {
    Python::attach(|py| {
        let make = || {
            let errors = py.import("podpace._errors")?;
            errors.getattr("of_code")?.call1((failure.code, &failure.message))
        };
        make().map_or_else(|error| error, |exception| PyErr::from_value(exception))
    })
}
