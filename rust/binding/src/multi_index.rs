//! `MultiIndex`: exact search that reads a small part of a million codes.

use bsc_core::multi_index::RowMajor;
use bsc_core::{Error, Hamming, Isa, MultiIndex as Core};
use numpy::PyReadonlyArrayDyn;
use pyo3::prelude::*;

use crate::arrays;
use crate::error::to_python;

/// Rows entered before other threads get a chance at the interpreter: about 2 ms.
const ROWS_AT_ONCE: usize = 4096;

/// Which rows hold codes near a query: multi-index hashing, exact, for about a million codes and more.
///
/// The codes stay in the caller's array; the index holds row numbers, about 100 bytes a row at 256 bits in native
/// memory. Every row that a search may find must have been inserted. Results are those of
/// `HammingSimilarity.find_nearest`, which the search itself calls when it expects to be slower than a scan: for low
/// thresholds, few codes, or where very many rows are alike.
///
/// Searches let go of the interpreter, run side by side and wait for nobody. `insert` and `remove` keep the
/// interpreter, so there is one writer at a time, none is interrupted by a fork, and no search holds one up. A search
/// may or may not find what is inserted or removed while it runs. It is not copied or pickled: a forked child has its
/// own, and one can be built anew from the codes at 0.3 to 0.7 us a row.
///
/// Args:
///     code_bits: bits in a code, 64 to 1024.
///     expected_rows: about how many rows there will be; with four times more or fewer a search takes longer.
///     isa: the instruction set to use; the one that `BSC_ISA` names, else the fastest, by default.
///
/// Raises:
///     InvalidValueError: a width that is not indexed (scan such codes), or `expected_rows` above 2^27.
///     UnsupportedIsaError: this machine lacks the instruction set.
#[pyclass(module = "binary_semantic_cache.binary_semantic_cache_rs", frozen)]
pub struct MultiIndex {
    hamming: Hamming,
    index: Core,
}

#[pymethods]
impl MultiIndex {
    #[new]
    #[pyo3(signature = (code_bits = 256, expected_rows = 1_000_000, *, isa = None))]
    fn new(
        py: Python<'_>,
        #[pyo3(from_py_with = arrays::whole)] code_bits: usize,
        #[pyo3(from_py_with = arrays::whole)] expected_rows: usize,
        isa: Option<&str>,
    ) -> PyResult<Self> {
        let isa = isa.map_or_else(Isa::from_environment, Isa::from_name);
        let made = isa.and_then(|isa| {
            Ok(Self { index: Core::new(code_bits, expected_rows)?, hamming: Hamming::new(code_bits, isa)? })
        });
        made.map_err(|error| to_python(py, &error))
    }

    /// Bits in a code.
    #[getter]
    fn code_bits(&self) -> usize {
        self.index.code_bits()
    }

    /// Words in a code: `ceil(code_bits / 64)`.
    #[getter]
    fn n_words(&self) -> usize {
        self.index.n_words()
    }

    /// Number of substrings that a code is cut into, each with a table of its own.
    #[getter]
    fn n_substrings(&self) -> usize {
        self.index.n_substrings()
    }

    /// Bytes of the tables. Some of it is resident only once used.
    #[getter]
    fn nbytes(&self) -> usize {
        self.index.nbytes()
    }

    /// Searches so far: `(answered, scanned)`, by the index alone and by a scan.
    #[getter]
    fn searches(&self) -> (usize, usize) {
        self.index.searches()
    }

    fn __len__(&self) -> usize {
        self.index.len()
    }

    /// Enters `rows`, int32, under their codes in `codes`, `(n, n_words)`. O(1) a row.
    ///
    /// A row may be in once: before its code is overwritten, `remove` it.
    ///
    /// Raises:
    ///     InvalidTypeError: not an array, or another dtype.
    ///     DimensionError: another number of dimensions or words.
    ///     InvalidValueError: not contiguous, or a row that is not there; those before it are in then.
    fn insert(&self, py: Python<'_>, rows: &Bound<'_, PyAny>, codes: &Bound<'_, PyAny>) -> PyResult<()> {
        let rows = arrays::exact::<i32>("rows", rows, 1)?;
        let codes = arrays::codes("codes", codes, self.index.n_words())?;
        let (rows, codes) = (rows.as_slice()?, codes.as_slice()?);
        for some in rows.chunks(ROWS_AT_ONCE) {
            for &row in some {
                let (row, code) = self.at(codes, row).map_err(|error| to_python(py, &error))?;
                self.index.insert(row, code).map_err(|error| to_python(py, &error))?;
            }
            py.check_signals()?;
            if some.len() == ROWS_AT_ONCE {
                py.detach(|| ());
            }
        }
        Ok(())
    }

    /// Takes `row` out; its code must still stand in `codes`. Returns whether it was there, as far as is known. Raises
    /// as `insert`.
    fn remove(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = arrays::whole)] row: i32,
        codes: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let codes = arrays::codes("codes", codes, self.index.n_words())?;
        let removed = self.at(codes.as_slice()?, row).and_then(|(row, code)| self.index.remove(row, code));
        removed.map_err(|error| to_python(py, &error))
    }

    /// The stored code most similar to `query`, if it is similar enough: what `HammingSimilarity.find_nearest` gives.
    ///
    /// Args:
    ///     query: one code, `(n_words,)`.
    ///     codes: `(n, n_words)`. Borrowed; must not be written during the call. Rows from n on are not found.
    ///     threshold: least similarity, 0.0 to 1.0.
    ///     live: uint8, bit i % 8 of byte i // 8 tells whether row i may be found; all rows by default.
    ///
    /// Returns:
    ///     `(index, similarity)`, the lowest index among equals; `None` when nothing reaches `threshold`.
    ///
    /// Raises:
    ///     InvalidTypeError: not an array, or another dtype.
    ///     DimensionError: another number of dimensions or words, or too few `live` bits.
    ///     InvalidValueError: not contiguous, a bad threshold, or unused bits set.
    #[pyo3(signature = (query, codes, threshold, *, live = None))]
    fn find_nearest(
        &self,
        py: Python<'_>,
        query: &Bound<'_, PyAny>,
        codes: &Bound<'_, PyAny>,
        threshold: f64,
        live: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<(usize, f64)>> {
        let query = arrays::code("query", query, self.index.n_words())?;
        let codes = arrays::codes("codes", codes, self.index.n_words())?;
        let live = live.map(|live| arrays::exact::<u8>("live", live, 1)).transpose()?;
        let live = live.as_ref().map(PyReadonlyArrayDyn::as_slice).transpose()?;
        let (query, codes) = (query.as_slice()?, codes.as_slice()?);
        let found = py.detach(|| {
            let greatest = self.hamming.greatest_distance(threshold)?;
            self.index.nearest(query, &RowMajor::new(self.hamming, query, codes, live), greatest)
        });
        let found = found.map_err(|error| to_python(py, &error))?;
        Ok(found.map(|found| (found.row, self.hamming.similarity(found.distance))))
    }

    fn __repr__(&self) -> String {
        let (bits, rows, n) = (self.index.code_bits(), self.index.len(), self.index.n_substrings());
        format!("MultiIndex(code_bits={bits}, rows={rows}, n_substrings={n})")
    }
}

impl MultiIndex {
    /// A row number that is inside `codes`, and its code.
    fn at<'a>(&self, codes: &'a [u64], row: i32) -> Result<(usize, &'a [u64]), Error> {
        let n_words = self.index.n_words();
        let found = usize::try_from(row).ok().and_then(|row| Some((row, codes.chunks_exact(n_words).nth(row)?)));
        found.ok_or(Error::Row { row: row.into(), rows: codes.len() / n_words })
    }
}
