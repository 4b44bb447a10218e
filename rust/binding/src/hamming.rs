//! `HammingSimilarity`: exact search and distances.

use bsc_core::{Filter, Hamming, Isa, Nearest};
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::arrays;
use crate::codes::Rows;
use crate::error::to_python;

/// Positions and what stands at them, as NumPy arrays.
type Found<'py, T> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<T>>);

/// Exact search over binary codes: similarity is `1 - distance / code_bits`, a hit reaches the threshold in float64.
///
/// Codes are uint64, C-contiguous, in native byte order, and borrowed: they must not be written during a call, which
/// runs without the interpreter lock. Bits beyond `code_bits` must be 0. Results are the same on every kernel.
///
/// Every search takes codes of 256 bits sliced, too, which lets it read little more than half of them: `heads` and
/// `tails`, as `slice_codes` makes them, hold the first rows then, and `codes` those behind them.
///
/// Three arguments restrict every search: `live`, uint8, bit i % 8 of byte i // 8 tells whether row i may be found;
/// `rows`, int32, the only rows to look at, in any order, at a cost in proportion to their number; `scope`, the scope of
/// each row, int32, and the number of the only scope whose rows may be found, at the cost of reading all codes.
///
/// Args:
///     code_bits: bits in a code.
///     isa: the instruction set to use; the one that `BSC_ISA` names, else the fastest, by default.
///     threads: most threads that one call may use, its own included, where it is large enough for them to pay; as
///         many as `BSC_THREADS` says, else one, by default.
///
/// Raises:
///     InvalidValueError: an absurd width or number of threads.
///     UnsupportedIsaError: this machine lacks the instruction set.
#[pyclass(module = "binary_semantic_cache.binary_semantic_cache_rs", frozen)]
pub struct HammingSimilarity {
    hamming: Hamming,
}

#[pymethods]
impl HammingSimilarity {
    #[new]
    #[pyo3(signature = (code_bits = 256, *, isa = None, threads = None))]
    fn new(
        py: Python<'_>,
        #[pyo3(from_py_with = arrays::whole)] code_bits: usize,
        isa: Option<&str>,
        threads: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let isa = isa.map_or_else(Isa::from_environment, Isa::from_name);
        let hamming = isa.and_then(|isa| Hamming::new(code_bits, isa)).map_err(|error| to_python(py, &error))?;
        Ok(Self { hamming: hamming.with_workers(arrays::workers(py, threads)?) })
    }

    /// Bits in a code.
    #[getter]
    fn code_bits(&self) -> usize {
        self.hamming.code_bits()
    }

    /// Words in a code: `ceil(code_bits / 64)`.
    #[getter]
    fn n_words(&self) -> usize {
        self.hamming.n_words()
    }

    /// Most threads that one call may use.
    #[getter]
    fn threads(&self) -> usize {
        self.hamming.workers().threads()
    }

    /// The instruction set in use.
    #[getter]
    fn isa(&self) -> &'static str {
        self.hamming.isa().name()
    }

    /// Whether a scan of sliced codes is known to be quicker here than one of codes row after row.
    #[getter]
    fn prefers_slices(&self) -> bool {
        self.hamming.prefers_slices()
    }

    /// The stored code most similar to `query`, if it is similar enough. O(n).
    ///
    /// Args:
    ///     query: one code, `(n_words,)`.
    ///     codes: `(n, n_words)`.
    ///     threshold: least similarity, 0.0 to 1.0.
    ///
    /// Returns:
    ///     `(index, similarity)`, the lowest index among equals; `None` when nothing reaches `threshold`.
    ///
    /// Raises:
    ///     InvalidTypeError: not an array, or another dtype.
    ///     DimensionError: another number of dimensions or words, or too few `live` bits.
    ///     InvalidValueError: not contiguous, a bad threshold, a row that is not there, or unused bits set.
    #[pyo3(signature = (query, codes, threshold, *, live = None, rows = None, scope = None, heads = None, tails = None))]
    #[expect(clippy::too_many_arguments, reason = "the signature that Python sees")]
    fn find_nearest(
        &self,
        py: Python<'_>,
        query: &Bound<'_, PyAny>,
        codes: &Bound<'_, PyAny>,
        threshold: f64,
        live: Option<&Bound<'_, PyAny>>,
        rows: Option<&Bound<'_, PyAny>>,
        scope: Option<(Bound<'_, PyAny>, i32)>,
        heads: Option<&Bound<'_, PyAny>>,
        tails: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<(usize, f64)>> {
        let query = arrays::code("query", query, self.hamming.n_words())?;
        let codes = Rows::new(arrays::codes("codes", codes, self.hamming.n_words())?, heads, tails)?;
        let chosen = Chosen::new(live, rows, scope)?;
        let (query, codes, filter) = (query.as_slice()?, codes.codes(py)?, chosen.filter()?);
        let found = py.detach(|| self.hamming.nearest(query, codes, threshold, filter));
        let found = found.map_err(|error| to_python(py, &error))?;
        Ok(found.map(|found| (found.row, self.hamming.similarity(found.distance))))
    }

    /// The stored codes that reach `threshold`: nearest first, ties by index, at most `limit`. Raises as `find_nearest`.
    ///
    /// Returns:
    ///     `(indices, distances)`: int64 and uint32, as many as were found.
    #[pyo3(signature = (query, codes, threshold, limit, *, live = None, rows = None, scope = None, heads = None, tails = None))]
    #[expect(clippy::too_many_arguments, reason = "the signature that Python sees")]
    fn find_within<'py>(
        &self,
        py: Python<'py>,
        query: &Bound<'py, PyAny>,
        codes: &Bound<'py, PyAny>,
        threshold: f64,
        #[pyo3(from_py_with = arrays::whole)] limit: usize,
        live: Option<&Bound<'py, PyAny>>,
        rows: Option<&Bound<'py, PyAny>>,
        scope: Option<(Bound<'py, PyAny>, i32)>,
        heads: Option<&Bound<'py, PyAny>>,
        tails: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Found<'py, u32>> {
        let query = arrays::code("query", query, self.hamming.n_words())?;
        let codes = Rows::new(arrays::codes("codes", codes, self.hamming.n_words())?, heads, tails)?;
        let chosen = Chosen::new(live, rows, scope)?;
        let (query, codes, filter) = (query.as_slice()?, codes.codes(py)?, chosen.filter()?);
        let found = py.detach(|| self.hamming.within(query, codes, threshold, limit, filter));
        let found = found.map_err(|error| to_python(py, &error))?;
        let rows = PyArray1::from_iter(py, found.iter().map(|found| position(*found)));
        Ok((rows, PyArray1::from_iter(py, found.iter().map(|found| found.distance))))
    }

    /// `find_nearest` of each of `(m, n_words)` queries; the codes are read once for all of them.
    ///
    /// Returns:
    ///     `(indices, similarities)`: int64 and float64 of length m; -1 and nan for a query without a hit.
    #[pyo3(signature = (queries, codes, threshold, *, live = None, rows = None, scope = None, heads = None, tails = None))]
    #[expect(clippy::too_many_arguments, reason = "the signature that Python sees")]
    fn find_nearest_batch<'py>(
        &self,
        py: Python<'py>,
        queries: &Bound<'py, PyAny>,
        codes: &Bound<'py, PyAny>,
        threshold: f64,
        live: Option<&Bound<'py, PyAny>>,
        rows: Option<&Bound<'py, PyAny>>,
        scope: Option<(Bound<'py, PyAny>, i32)>,
        heads: Option<&Bound<'py, PyAny>>,
        tails: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Found<'py, f64>> {
        let queries = arrays::codes("queries", queries, self.hamming.n_words())?;
        let codes = Rows::new(arrays::codes("codes", codes, self.hamming.n_words())?, heads, tails)?;
        let chosen = Chosen::new(live, rows, scope)?;
        let (queries, codes, filter) = (queries.as_slice()?, codes.codes(py)?, chosen.filter()?);
        let found = py.detach(|| self.hamming.nearest_batch(queries, codes, threshold, filter));
        let found = found.map_err(|error| to_python(py, &error))?;
        let rows = PyArray1::from_iter(py, found.iter().map(|found| found.map_or(-1, position)));
        let similarity = |found: Nearest| self.hamming.similarity(found.distance);
        Ok((rows, PyArray1::from_iter(py, found.iter().map(|found| found.map_or(f64::NAN, similarity)))))
    }

    /// The similarity of each row of `a` `(m, n_words)` to each row of `b` `(n, n_words)`: `(m, n)` float32.
    fn batch_similarity<'py>(
        &self,
        py: Python<'py>,
        a: &Bound<'py, PyAny>,
        b: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let a = arrays::codes("a", a, self.hamming.n_words())?;
        let b = arrays::codes("b", b, self.hamming.n_words())?;
        let shape = [a.shape()[0], b.shape()[0]];
        let (a, b) = (a.as_slice()?, b.as_slice()?);
        let similarities = py.detach(|| self.hamming.all_similarities(a, b));
        let similarities = similarities.map_err(|error| to_python(py, &error))?;
        PyArray1::from_vec(py, similarities).reshape(shape)
    }

    /// Number of differing bits of two codes.
    fn distance(&self, py: Python<'_>, a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> PyResult<u32> {
        let a = arrays::code("a", a, self.hamming.n_words())?;
        let b = arrays::code("b", b, self.hamming.n_words())?;
        let mut distance = [0];
        let done = self.hamming.distances(a.as_slice()?, b.as_slice()?, &mut distance);
        done.map(|()| distance[0]).map_err(|error| to_python(py, &error))
    }

    /// `1 - distance / code_bits` of two codes.
    fn similarity(&self, py: Python<'_>, a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> PyResult<f64> {
        Ok(self.hamming.similarity(self.distance(py, a, b)?))
    }

    fn __repr__(&self) -> String {
        format!("HammingSimilarity(code_bits={}, isa='{}')", self.hamming.code_bits(), self.hamming.isa().name())
    }
}

/// The arrays behind a [`Filter`], kept borrowed while it is used.
struct Chosen<'py> {
    live: Option<PyReadonlyArrayDyn<'py, u8>>,
    rows: Option<PyReadonlyArrayDyn<'py, i32>>,
    scope: Option<(PyReadonlyArrayDyn<'py, i32>, i32)>,
}

impl<'py> Chosen<'py> {
    fn new(
        live: Option<&Bound<'py, PyAny>>,
        rows: Option<&Bound<'py, PyAny>>,
        scope: Option<(Bound<'py, PyAny>, i32)>,
    ) -> PyResult<Self> {
        let live = live.map(|live| arrays::exact("live", live, 1)).transpose()?;
        let rows = rows.map(|rows| arrays::exact("rows", rows, 1)).transpose()?;
        let scope = scope.map(|(scopes, scope)| Ok::<_, PyErr>((arrays::exact("scopes", &scopes, 1)?, scope)));
        Ok(Self { live, rows, scope: scope.transpose()? })
    }

    fn filter(&self) -> PyResult<Filter<'_>> {
        let live = self.live.as_ref().map(PyReadonlyArrayDyn::as_slice).transpose()?;
        let rows = self.rows.as_ref().map(PyReadonlyArrayDyn::as_slice).transpose()?;
        let scope = self.scope.as_ref().map(|(scopes, scope)| Ok::<_, PyErr>((scopes.as_slice()?, *scope)));
        Ok(Filter { live, rows, scope: scope.transpose()? })
    }
}

fn position(found: Nearest) -> i64 {
    i64::try_from(found.row).unwrap_or(i64::MAX)
}
