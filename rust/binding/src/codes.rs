//! Codes as Python hands them in: rows, and in front of them sliced groups.

use bsc_core::{Codes, Sliced, codes};
use numpy::{PyArray1, PyArray2, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyReadwriteArrayDyn};
use pyo3::prelude::*;

use crate::arrays;
use crate::error::{raise, to_python};

const HEAD: [usize; 2] = [codes::HEAD_SLICES, codes::GROUP_ROWS];
const TAIL: [usize; 2] = [codes::TAIL_SLICES, codes::GROUP_ROWS];

/// The arrays behind [`Codes`], kept borrowed while they are used.
pub struct Rows<'py> {
    sliced: Option<(PyReadonlyArrayDyn<'py, u16>, PyReadonlyArrayDyn<'py, u16>)>,
    rest: PyReadonlyArrayDyn<'py, u64>,
}

impl<'py> Rows<'py> {
    /// `rest` is checked already; heads and tails come both or not at all.
    pub fn new(
        rest: PyReadonlyArrayDyn<'py, u64>,
        heads: Option<&Bound<'py, PyAny>>,
        tails: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        let sliced = match (heads, tails) {
            (None, None) => None,
            (Some(heads), Some(tails)) => {
                Some((arrays::groups("heads", heads, HEAD)?, arrays::groups("tails", tails, TAIL)?))
            }
            (Some(one), None) | (None, Some(one)) => {
                let message = "expected heads and tails, got one of them".to_owned();
                return Err(raise(one.py(), "InvalidTypeError", message));
            }
        };
        Ok(Self { sliced, rest })
    }

    pub fn codes(&self, py: Python<'_>) -> PyResult<Codes<'_>> {
        let rest = self.rest.as_slice()?;
        let Some((heads, tails)) = &self.sliced else { return Ok(rest.into()) };
        let sliced = Sliced::new(heads.as_slice()?, tails.as_slice()?).map_err(|error| to_python(py, &error))?;
        Ok(Codes { sliced, rest })
    }
}

/// Cuts `(32 n, 4)` codes of 256 bits into `heads` `(n, 9, 32)` and `tails` `(n, 7, 32)`, both uint16.
///
/// Bits 16 s to 16 s + 15 of row i are `heads[i // 32, s, i % 32]`, from s = 9 on `tails[i // 32, s - 9, i % 32]`.
#[pyfunction]
pub fn slice_codes(
    py: Python<'_>,
    codes: &Bound<'_, PyAny>,
    heads: &Bound<'_, PyAny>,
    tails: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let codes = arrays::codes("codes", codes, codes::SLICED_WORDS)?;
    arrays::groups("heads", heads, HEAD)?;
    arrays::groups("tails", tails, TAIL)?;
    let (mut heads, mut tails) = (writable("heads", heads)?, writable("tails", tails)?);
    let (codes, heads, tails) = (codes.as_slice()?, heads.as_slice_mut()?, tails.as_slice_mut()?);
    py.detach(|| codes::slice(codes, heads, tails)).map_err(|error| to_python(py, &error))
}

/// The codes of `rows`, `(n, 4)`, out of what `slice_codes` made.
#[pyfunction]
pub fn unslice_codes<'py>(
    py: Python<'py>,
    heads: &Bound<'py, PyAny>,
    tails: &Bound<'py, PyAny>,
    rows: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray2<u64>>> {
    let (heads, tails) = (arrays::groups("heads", heads, HEAD)?, arrays::groups("tails", tails, TAIL)?);
    let rows = arrays::exact::<i32>("rows", rows, 1)?;
    let (heads, tails, rows) = (heads.as_slice()?, tails.as_slice()?, rows.as_slice()?);
    let codes = Sliced::new(heads, tails).and_then(|sliced| sliced.codes_of(rows));
    let codes = codes.map_err(|error| to_python(py, &error))?;
    PyArray1::from_vec(py, codes).reshape([rows.len(), codes::SLICED_WORDS])
}

/// The code of one row, `(4,)`, out of what `slice_codes` made.
#[pyfunction]
pub fn unslice_code<'py>(
    py: Python<'py>,
    heads: &Bound<'py, PyAny>,
    tails: &Bound<'py, PyAny>,
    row: i32,
) -> PyResult<Bound<'py, PyArray1<u64>>> {
    let (heads, tails) = (arrays::groups("heads", heads, HEAD)?, arrays::groups("tails", tails, TAIL)?);
    let (heads, tails) = (heads.as_slice()?, tails.as_slice()?);
    let code = Sliced::new(heads, tails).and_then(|sliced| sliced.codes_of(&[row]));
    Ok(PyArray1::from_vec(py, code.map_err(|error| to_python(py, &error))?))
}

fn writable<'py>(what: &str, array: &Bound<'py, PyAny>) -> PyResult<PyReadwriteArrayDyn<'py, u16>> {
    let writable = array.cast::<PyArrayDyn<u16>>().ok().and_then(|array| array.try_readwrite().ok());
    writable.ok_or_else(|| {
        let message = format!("expected {what} that may be written and that nobody reads");
        raise(array.py(), "InvalidValueError", message)
    })
}
