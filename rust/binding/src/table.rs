//! Code to row: a hash table whose memory Python owns.

use bsc_core::Error;
use bsc_core::table::Table;
use numpy::{PyArray1, PyArrayMethods, PyReadwriteArray1, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::arrays;
use crate::codes::Rows;
use crate::error::{raise, to_python};

/// The row whose code equals `code`, or -1.
#[pyfunction]
#[pyo3(signature = (table, codes, code, key, heads = None, tails = None))]
pub fn table_find(
    py: Python<'_>,
    table: &Bound<'_, PyAny>,
    codes: &Bound<'_, PyAny>,
    code: &Bound<'_, PyAny>,
    key: u64,
    heads: Option<&Bound<'_, PyAny>>,
    tails: Option<&Bound<'_, PyAny>>,
) -> PyResult<i32> {
    let places = arrays::exact::<i32>("table", table, 1)?;
    let codes = arrays::exact::<u64>("codes", codes, 2)?;
    let n_words = codes.shape()[1];
    let codes = Rows::new(codes, heads, tails)?;
    let code = arrays::exact::<u64>("code", code, 1)?;
    let (places, code) = (places.as_slice()?, code.as_slice()?);
    with_table(py, &codes, n_words, key, |table| Ok(table.find(places, code)?.unwrap_or(-1)))
}

/// Enters `rows` in order, but those whose code is there already.
#[pyfunction]
#[pyo3(signature = (table, codes, rows, key, heads = None, tails = None))]
pub fn table_insert(
    py: Python<'_>,
    table: &Bound<'_, PyAny>,
    codes: &Bound<'_, PyAny>,
    rows: &Bound<'_, PyAny>,
    key: u64,
    heads: Option<&Bound<'_, PyAny>>,
    tails: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let mut places = writable(table)?;
    let codes = arrays::exact::<u64>("codes", codes, 2)?;
    let n_words = codes.shape()[1];
    let codes = Rows::new(codes, heads, tails)?;
    let rows = arrays::exact::<i32>("rows", rows, 1)?;
    let (places, rows) = (places.as_slice_mut()?, rows.as_slice()?);
    with_table(py, &codes, n_words, key, |table| {
        for &row in rows {
            table.insert(places, row)?;
        }
        Ok(())
    })
}

/// Takes `row` out, if it is there; its code must still stand in `codes`.
#[pyfunction]
#[pyo3(signature = (table, codes, row, key, heads = None, tails = None))]
pub fn table_remove(
    py: Python<'_>,
    table: &Bound<'_, PyAny>,
    codes: &Bound<'_, PyAny>,
    row: i32,
    key: u64,
    heads: Option<&Bound<'_, PyAny>>,
    tails: Option<&Bound<'_, PyAny>>,
) -> PyResult<bool> {
    let mut places = writable(table)?;
    let codes = arrays::exact::<u64>("codes", codes, 2)?;
    let n_words = codes.shape()[1];
    let codes = Rows::new(codes, heads, tails)?;
    let places = places.as_slice_mut()?;
    with_table(py, &codes, n_words, key, |table| table.remove(places, row))
}

fn with_table<T>(
    py: Python<'_>,
    codes: &Rows<'_>,
    n_words: usize,
    key: u64,
    work: impl FnOnce(&Table<'_>) -> Result<T, Error>,
) -> PyResult<T> {
    let table = Table::new(codes.codes(py)?, n_words, key);
    table.and_then(|table| work(&table)).map_err(|error| to_python(py, &error))
}

fn writable<'py>(table: &Bound<'py, PyAny>) -> PyResult<PyReadwriteArray1<'py, i32>> {
    let writable = table.cast::<PyArray1<i32>>().ok().and_then(|table| table.try_readwrite().ok());
    writable.filter(|table| table.is_c_contiguous()).ok_or_else(|| {
        let message = format!("expected a writable, contiguous int32 table, got {}", table.get_type());
        raise(table.py(), "InvalidTypeError", message)
    })
}
