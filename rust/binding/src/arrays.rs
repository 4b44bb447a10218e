//! Checks of what comes from Python: dtype, dimensions, contiguity. Nothing is copied here but float arrays that are
//! not float32, not contiguous or not in native byte order.

use bsc_core::Workers;
use numpy::{
    Element, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArray,
    PyUntypedArrayMethods,
};
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::IntoPyDict;

use crate::error::{raise, to_python};

/// Embeddings as float32 rows: `(n, dim)`, and whether the caller gave a single one.
pub struct Embeddings<'py> {
    pub values: PyReadonlyArrayDyn<'py, f32>,
    pub rows: usize,
    pub is_single: bool,
}

/// One embedding `(dim,)` or several `(n, dim)`, of any float dtype.
pub fn embeddings<'py>(x: &Bound<'py, PyAny>, dim: usize) -> PyResult<Embeddings<'py>> {
    let py = x.py();
    let array = untyped("an embedding", x)?;
    let shape = array.shape();
    let (rows, columns, is_single) = match *shape {
        [columns] => (1, columns, true),
        [rows, columns] => (rows, columns, false),
        _ => {
            let message = format!("expected embeddings of shape ({dim},) or (n, {dim}), got shape {shape:?}");
            return Err(raise(py, "DimensionError", message));
        }
    };
    if columns != dim {
        let message = format!("expected embedding dimension {dim}, got {columns}");
        return Err(raise(py, "DimensionError", message));
    }
    let values = float32("embeddings", &array)?;
    Ok(Embeddings { values, rows, is_single })
}

/// A float array as C-contiguous float32, borrowed when it is that already.
pub fn float32<'py>(what: &str, array: &Bound<'py, PyUntypedArray>) -> PyResult<PyReadonlyArrayDyn<'py, f32>> {
    let py = array.py();
    if array.dtype().kind() != b'f' {
        let message = format!("expected {what} of dtype float32, float16 or float64, got {}", array.dtype());
        return Err(raise(py, "InvalidTypeError", message));
    }
    if array.is_c_contiguous()
        && let Ok(array) = array.cast::<PyArrayDyn<f32>>()
    {
        let values = borrow(what, array)?;
        if values.as_slice().is_ok() {
            return Ok(values);
        }
    }
    // A float64 above float32's range becomes infinity, which the encoder refuses; NumPy's warning would be noise.
    let numpy = py.import("numpy")?;
    let quiet = numpy.call_method("errstate", (), Some(&[("over", "ignore")].into_py_dict(py)?))?;
    quiet.call_method0("__enter__")?;
    let converted = array.call_method1("astype", (numpy::dtype::<f32>(py), "C"));
    quiet.call_method1("__exit__", (py.None(), py.None(), py.None()))?;
    borrow(what, converted?.cast::<PyArrayDyn<f32>>()?)
}

/// The array for reading; an error where another thread is writing to it through this extension.
fn borrow<'py, T: Element>(what: &str, array: &Bound<'py, PyArrayDyn<T>>) -> PyResult<PyReadonlyArrayDyn<'py, T>> {
    array.try_readonly().map_err(|_| {
        let message = format!("expected {what} that nobody writes to, got an array in use by another call");
        raise(array.py(), "InvalidValueError", message)
    })
}

/// Rows of an integer array, borrowed: one-dimensional (`dims` 1) or a matrix (`dims` 2).
pub fn exact<'py, T: Element>(
    what: &str,
    x: &Bound<'py, PyAny>,
    dims: usize,
) -> PyResult<PyReadonlyArrayDyn<'py, T>> {
    let py = x.py();
    let array = untyped(what, x)?;
    let Ok(typed) = array.cast::<PyArrayDyn<T>>() else {
        let message = format!("expected {what} of dtype {}, got {}", numpy::dtype::<T>(py), array.dtype());
        return Err(raise(py, "InvalidTypeError", message));
    };
    if typed.ndim() != dims {
        let message = format!("expected {what} of {dims} dimensions, got {}", typed.ndim());
        return Err(raise(py, "DimensionError", message));
    }
    let typed = borrow(what, typed)?;
    if typed.as_slice().is_err() {
        let message = format!("expected C-contiguous, aligned {what}, got strides {:?}", array.strides());
        return Err(raise(py, "InvalidValueError", message));
    }
    Ok(typed)
}

/// A matrix of codes with `n_words` columns, borrowed.
pub fn codes<'py>(what: &str, x: &Bound<'py, PyAny>, n_words: usize) -> PyResult<PyReadonlyArrayDyn<'py, u64>> {
    let codes = exact::<u64>(what, x, 2)?;
    check_words(x.py(), what, codes.shape()[1], n_words)?;
    Ok(codes)
}

/// Whole groups of sliced codes, `(n, ...shape)`, borrowed.
pub fn groups<'py>(
    what: &str,
    x: &Bound<'py, PyAny>,
    shape: [usize; 2],
) -> PyResult<PyReadonlyArrayDyn<'py, u16>> {
    let groups = exact::<u16>(what, x, 3)?;
    if groups.shape()[1..] != shape {
        let message =
            format!("expected {what} of shape (n, {}, {}), got {:?}", shape[0], shape[1], groups.shape());
        return Err(raise(x.py(), "DimensionError", message));
    }
    Ok(groups)
}

/// One code of `n_words` words, borrowed.
pub fn code<'py>(what: &str, x: &Bound<'py, PyAny>, n_words: usize) -> PyResult<PyReadonlyArrayDyn<'py, u64>> {
    let code = exact::<u64>(what, x, 1)?;
    check_words(x.py(), what, code.len(), n_words)?;
    Ok(code)
}

/// Any C-contiguous array's bytes, borrowed.
pub fn bytes<'py>(x: &Bound<'py, PyAny>) -> PyResult<PyReadonlyArrayDyn<'py, u8>> {
    let array = untyped("data", x)?;
    if !array.is_c_contiguous() || array.dtype().has_object() {
        let message = format!("expected C-contiguous plain data, got {array}");
        return Err(raise(x.py(), "InvalidValueError", message));
    }
    let flat = array.call_method1("reshape", (-1,))?.call_method1("view", (numpy::dtype::<u8>(x.py()),))?;
    exact("data", &flat, 1)
}

fn untyped<'py>(what: &str, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = x.py();
    let Ok(array) = x.cast::<PyUntypedArray>() else {
        let message =
            format!("expected {what} as a NumPy array, got {}; numpy.asarray makes one", x.get_type().name()?);
        return Err(raise(py, "InvalidTypeError", message));
    };
    // A masked array's hidden values would be taken for real ones.
    if x.cast_exact::<PyUntypedArray>().is_err() && x.hasattr("mask")? {
        let message = format!("expected {what} without a mask, got {}", x.get_type().name()?);
        return Err(raise(py, "InvalidTypeError", message));
    }
    Ok(array.clone())
}

fn check_words(py: Python<'_>, what: &str, got: usize, expected: usize) -> PyResult<()> {
    if got == expected {
        return Ok(());
    }
    Err(raise(py, "DimensionError", format!("expected {what} of {expected} words, got {got}")))
}

/// A projection matrix of exactly this shape, as C-contiguous float32.
pub fn matrix<'py>(x: &Bound<'py, PyAny>, shape: (usize, usize)) -> PyResult<PyReadonlyArrayDyn<'py, f32>> {
    let array = untyped("a projection", x)?;
    if array.shape() != [shape.0, shape.1] {
        let message = format!("expected a projection of shape {shape:?}, got shape {:?}", array.shape());
        return Err(raise(x.py(), "DimensionError", message));
    }
    float32("a projection", &array)
}

/// A whole number that fits into `T`, for arguments that take sizes and seeds.
pub fn whole<'py, T>(x: &Bound<'py, PyAny>) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py, Error = PyErr>,
{
    x.extract().map_err(|error: PyErr| {
        let class =
            if error.is_instance_of::<PyOverflowError>(x.py()) { "InvalidValueError" } else { "InvalidTypeError" };
        let got = x.repr().map_or_else(|_| String::new(), |got| got.to_string());
        raise(x.py(), class, format!("expected a whole number from 0 to below 2^64, got {got}"))
    })
}

/// The threads that an argument names; as many as the environment says where it is `None`.
pub fn workers(py: Python<'_>, threads: Option<&Bound<'_, PyAny>>) -> PyResult<Workers> {
    let workers = match threads {
        Some(threads) => Workers::new(whole(threads)?),
        None => Workers::from_environment(),
    };
    workers.map_err(|error| to_python(py, &error))
}
