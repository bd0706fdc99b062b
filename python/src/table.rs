//! Tables that leave without a copy, by Arrow's C stream interface: pyarrow, polars, pandas and DuckDB take them.
//!
//! Columns are made once, in Rust; whoever takes them owns a reference to the same memory.
use std::sync::Arc;

use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{ArrayRef, Float64Array, RecordBatch, RecordBatchIterator, UInt64Array};
use arrow_schema::ArrowError;
use podpace::cli::failure::Failure;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::failure;

/// A table of Arrow columns.
#[pyclass(frozen, module = "podpace._native")]
pub struct Table(pub RecordBatch);

#[pymethods]
impl Table {
    /// Hands the columns over; see the Arrow PyCapsule interface. The schema asked for is not followed, as it allows.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema;
        let batches = RecordBatchIterator::new([Ok(self.0.clone())], self.0.schema());
        let stream = FFI_ArrowArrayStream::new(Box::new(batches));
        PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
    }

    fn __len__(&self) -> usize {
        self.0.num_rows()
    }
}

pub fn arrow(error: &ArrowError) -> PyErr {
    failure(Failure::run(error))
}

/// One of the small tables of a result, which are written as CSV: whole columns of integers stay integers.
pub fn of_csv(bytes: &[u8]) -> PyResult<Table> {
    let unreadable = |error: csv::Error| failure(Failure::run(error));
    let mut reader = csv::Reader::from_reader(bytes);
    let names = reader.headers().map_err(unreadable)?.clone();
    let mut columns: Vec<Vec<String>> = vec![Vec::new(); names.len()];
    for line in reader.into_records() {
        for (column, cell) in columns.iter_mut().zip(&line.map_err(unreadable)?) {
            column.push(cell.to_owned());
        }
    }
    let columns = names.iter().zip(columns).map(|(name, cells)| {
        let whole: Option<Vec<u64>> = if name == "t_s" || name.ends_with("_per_s") {
            None
        } else {
            cells.iter().map(|cell| cell.parse().ok()).collect()
        };
        let array: ArrayRef = match whole {
            Some(values) => Arc::new(UInt64Array::from(values)),
            None => Arc::new(cells.iter().map(|cell| cell.parse::<f64>().ok()).collect::<Float64Array>()),
        };
        (name, array)
    });
    RecordBatch::try_from_iter(columns).map(Table).map_err(|error| arrow(&error))
}
