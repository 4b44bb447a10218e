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

/// Turns embeddings into binary codes: bit i is the sign of the exact product with column i of a Gaussian matrix.
///
/// The matrix is `numpy.random.default_rng(seed).standard_normal((embedding_dim, code_bits), dtype=float32)`. A bit
/// is 1 where the product is >= 0, at position i % 64 of word i // 64; unused high bits are 0. Codes are the same on
/// every machine, for every kernel, batch size and number of threads. Safe to share between threads.
///
/// One limit: where a library has set the processor to take subnormal numbers as zero, embeddings whose values are all
/// below about 1e-37 may get other codes.
///
/// Args:
///     embedding_dim: length of an embedding.
///     code_bits: bits in a code.
///     seed: seed of the matrix.
///     projection: a `(embedding_dim, code_bits)` float32 matrix to use instead of a seeded one; copied.
///     isa: the instruction set to use; the one that `BSC_ISA` names, else the fastest, by default.
///     threads: most threads that one call may use, its own included, where it is large enough for them to pay; as
///         many as `BSC_THREADS` says, else one, by default.
///
/// Raises:
///     InvalidValueError: a size or number of threads is 0 or absurd, or the projection holds NaN or infinity.
///     DimensionError: the projection has another shape.
///     UnsupportedIsaError: this machine lacks the instruction set.
///     FingerprintError: this NumPy draws other numbers than the formula was frozen with.
#[pyclass(module = "binary_semantic_cache.binary_semantic_cache_rs", frozen)]
pub struct RustBinaryEncoder {
    projection: Projection,
    seed: Option<u64>,
    checksum: String,
}

impl RustBinaryEncoder {
    pub const fn projection(&self) -> &Projection {
        &self.projection
    }
}

#[pymethods]
impl RustBinaryEncoder {
    #[new]
    #[pyo3(signature = (embedding_dim, code_bits = 256, seed = 42, *, projection = None, isa = None, threads = None))]
    fn new(
        py: Python<'_>,
        #[pyo3(from_py_with = arrays::whole)] embedding_dim: usize,
        #[pyo3(from_py_with = arrays::whole)] code_bits: usize,
        #[pyo3(from_py_with = arrays::whole)] seed: u64,
        projection: Option<&Bound<'_, PyAny>>,
        isa: Option<&str>,
        threads: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let error = |error| to_python(py, &error);
        let isa = isa.map_or_else(Isa::from_environment, Isa::from_name).map_err(error)?;
        let workers = arrays::workers(py, threads)?;
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
        let built = built.with_workers(workers);
        Ok(Self { projection: built, seed: projection.is_none().then_some(seed), checksum })
    }

    /// Length of an embedding.
    #[getter]
    fn embedding_dim(&self) -> usize {
        self.projection.dim()
    }

    /// Bits in a code.
    #[getter]
    fn code_bits(&self) -> usize {
        self.projection.code_bits()
    }

    /// Words in a code: `ceil(code_bits / 64)`.
    #[getter]
    fn n_words(&self) -> usize {
        self.projection.n_words()
    }

    /// Seed of the matrix; `None` for one that was passed in.
    #[getter]
    fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// SHA-256 of the matrix's bytes, in hexadecimal: equal checksums give equal codes.
    #[getter]
    fn projection_checksum(&self) -> &str {
        &self.checksum
    }

    /// Most threads that one call may use.
    #[getter]
    fn threads(&self) -> usize {
        self.projection.workers().threads()
    }

    /// The instruction set in use.
    #[getter]
    fn isa(&self) -> &'static str {
        self.projection.isa().name()
    }

    /// The code of one embedding, or the codes of several.
    ///
    /// Args:
    ///     x: `(embedding_dim,)` or `(n, embedding_dim)`. C-contiguous float32 is borrowed; other float dtypes and
    ///         layouts are converted to float32 first.
    ///
    /// Returns:
    ///     `(n_words,)` or `(n, n_words)` uint64.
    ///
    /// Raises:
    ///     InvalidTypeError: not an array, a masked one, or not of a float dtype.
    ///     DimensionError: wrong shape.
    ///     InvalidValueError: NaN or infinity; says where.
    fn encode<'py>(&self, py: Python<'py>, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArrayDyn<u64>>> {
        let x = arrays::embeddings(x, self.projection.dim())?;
        let values = x.values.as_slice()?;
        let mut codes = self.projection.room_for(x.rows).map_err(|error| to_python(py, &error))?;
        py.detach(|| self.projection.encode(values, &mut codes)).map_err(|error| to_python(py, &error))?;
        let codes = PyArray::from_vec(py, codes);
        if x.is_single {
            return Ok(codes.to_dyn().clone());
        }
        codes.reshape([x.rows, self.projection.n_words()]).map(|codes| codes.to_dyn().clone())
    }

    /// As `encode`, for `(n, embedding_dim)` alone.
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
