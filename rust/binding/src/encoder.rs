//! `RustBinaryEncoder`: embeddings to codes.

use bsc_core::{Isa, Projection};
use numpy::{PyArray, PyArrayDyn, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::IntoPyDict;

use crate::arrays;
use crate::error::{raise, to_python};

/// SHA-256 of the first 4,096 numbers that `default_rng(42)` draws. NumPy promises no stable stream across versions
/// (NEP 19); codes made by another stream would miss every saved entry without a word.
const STREAM_CHECKSUM: &str = "ad1e6d818fed1ecc9ffd581c59c683376ece0517c52b216cef2e8876e3c57b53";

#[pyclass(module = "binary_semantic_cache.binary_semantic_cache_rs", frozen)]
pub struct RustBinaryEncoder {
    projection: Projection,
    seed: Option<u64>,
    checksum: String,
}

#[pymethods]
impl RustBinaryEncoder {
    #[new]
    #[pyo3(signature = (embedding_dim, code_bits = 256, seed = 42, *, projection = None, isa = None))]
    fn new(
        py: Python<'_>,
        embedding_dim: usize,
        code_bits: usize,
        seed: u64,
        projection: Option<&Bound<'_, PyAny>>,
        isa: Option<&str>,
    ) -> PyResult<Self> {
        let error = |error| to_python(py, &error);
        let isa = isa.map_or_else(Isa::from_environment, Isa::from_name).map_err(error)?;
        Projection::check_size(embedding_dim, code_bits).map_err(error)?;
        let shape = (embedding_dim, code_bits);
        let matrix = match projection {
            Some(matrix) => matrix.clone(),
            None => draw(py, seed, shape)?,
        };
        let matrix = arrays::matrix(&matrix, shape)?;
        let checksum = sha256(matrix.as_any())?;
        let values = matrix.as_slice()?;
        let built = py.detach(|| Projection::new(values, embedding_dim, code_bits, isa)).map_err(error)?;
        Ok(Self { projection: built, seed: projection.is_none().then_some(seed), checksum })
    }

    #[getter]
    fn embedding_dim(&self) -> usize {
        self.projection.dim()
    }

    #[getter]
    fn code_bits(&self) -> usize {
        self.projection.code_bits()
    }

    #[getter]
    fn n_words(&self) -> usize {
        self.projection.n_words()
    }

    #[getter]
    fn seed(&self) -> Option<u64> {
        self.seed
    }

    #[getter]
    fn projection_checksum(&self) -> &str {
        &self.checksum
    }

    #[getter]
    fn isa(&self) -> &'static str {
        self.projection.isa().name()
    }

    fn encode<'py>(&self, py: Python<'py>, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArrayDyn<u64>>> {
        let x = arrays::embeddings(x, self.projection.dim())?;
        let values = x.values.as_slice()?;
        let mut codes = vec![0; x.rows * self.projection.n_words()];
        py.detach(|| self.projection.encode(values, &mut codes)).map_err(|error| to_python(py, &error))?;
        let codes = PyArray::from_vec(py, codes);
        if x.is_single {
            return Ok(codes.to_dyn().clone());
        }
        codes.reshape([x.rows, self.projection.n_words()]).map(|codes| codes.to_dyn().clone())
    }

    fn encode_batch<'py>(&self, py: Python<'py>, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArrayDyn<u64>>> {
        if arrays::embeddings(x, self.projection.dim())?.is_single {
            let dim = self.projection.dim();
            let message = format!("expected embeddings of shape (n, {dim}), got shape ({dim},)");
            return Err(raise(py, "DimensionError", message));
        }
        self.encode(py, x)
    }

    fn __repr__(&self) -> String {
        let seed = self.seed.map_or_else(|| "None".to_owned(), |seed| seed.to_string());
        format!(
            "RustBinaryEncoder(embedding_dim={}, code_bits={}, seed={seed}, isa='{}')",
            self.projection.dim(),
            self.projection.code_bits(),
            self.projection.isa().name()
        )
    }
}

/// The matrix of the frozen formula: `default_rng(seed).standard_normal(shape, dtype=float32)`.
fn draw(py: Python<'_>, seed: u64, shape: (usize, usize)) -> PyResult<Bound<'_, PyAny>> {
    let random = py.import("numpy.random")?;
    let normal = |seed: u64, shape: (usize, usize)| {
        let dtype = [("dtype", "float32")].into_py_dict(py)?;
        random.call_method1("default_rng", (seed,))?.call_method("standard_normal", (shape,), Some(&dtype))
    };
    let got = sha256(&normal(42, (16, 256))?)?;
    if got != STREAM_CHECKSUM {
        let version = py.import("numpy")?.getattr("__version__")?;
        let message = format!(
            "expected numpy to draw the numbers with checksum {STREAM_CHECKSUM}, got {got} from numpy {version}; \
             install another numpy, or pass the matrix as projection="
        );
        return Err(raise(py, "FingerprintError", message));
    }
    normal(seed, shape)
}

fn sha256(array: &Bound<'_, PyAny>) -> PyResult<String> {
    let hash = array.py().import("hashlib")?.call_method1("sha256", (array,))?;
    hash.call_method0("hexdigest")?.extract()
}
