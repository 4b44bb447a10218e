//! `TextModel`: texts to embeddings and codes.

use bsc_text::TextModel as Model;
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::arrays;
use crate::encoder::RustBinaryEncoder;
use crate::error::{raise, text_to_python, to_python};

/// Texts of a thread between two looks at signals: 0.2 s where all are long.
const TEXTS_A_ROUND: usize = 8;

const MOST_THREADS: usize = 256;

type Rows<'py, T> = Bound<'py, PyArray2<T>>;

/// The tokenizer and the int8 network of all-MiniLM-L6-v2. Immutable; threads may share one, and a forked child goes on
/// using its parent's. No thread outlives a call.
///
/// An embedding depends on the text alone, and is the same bits on every machine; but where a library has set the
/// processor to take subnormal numbers as zero, some may be others.
///
/// Args:
///     network: the bytes of `model.onnx`, as `bsc model install` makes it in int8.
///     tokenizer: the bytes of `tokenizer.json`.
///     isa: one of `available_isas`; the fastest by default, and never "scalar".
///
/// Raises:
///     EmbedderError: not the files of this model.
///     UnsupportedIsaError: this machine lacks the instruction set, or is left with "scalar".
#[pyclass(frozen, module = "binary_semantic_cache.binary_semantic_cache_rs")]
pub struct TextModel {
    model: Model,
}

#[pymethods]
impl TextModel {
    #[new]
    #[pyo3(signature = (network, tokenizer, *, isa = None))]
    fn new(py: Python<'_>, network: &[u8], tokenizer: &[u8], isa: Option<&str>) -> PyResult<Self> {
        let model =
            py.detach(|| Model::read(network, tokenizer, isa)).map_err(|error| text_to_python(py, &error))?;
        Ok(Self { model })
    }

    /// The names that `isa` may have on this machine, slowest first: of scalar, avx2, avx512.
    #[classattr]
    fn available_isas(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        PyTuple::new(py, Model::available_isas())
    }

    /// The instruction set in use.
    #[getter]
    fn isa(&self) -> &'static str {
        self.model.isa()
    }

    /// The ids of the tokens of the whole of `text`, with those that mark its start and end.
    fn token_ids(&self, py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<Vec<u32>> {
        let text = unicode(text)?;
        Ok(py.detach(|| self.model.token_ids(text)))
    }

    /// The embeddings of `texts`: `(n, 384)` float32, each of length 1.
    ///
    /// Of a text with more than 256 tokens, the first 255 and the end mark are embedded.
    ///
    /// Args:
    ///     texts: any strings.
    ///     threads: CPU threads that share the texts.
    ///
    /// Raises:
    ///     InvalidValueError: a text has a lone surrogate.
    #[pyo3(signature = (texts, *, threads = 1))]
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands out owned arguments")]
    fn embed<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<Bound<'py, PyString>>,
        #[pyo3(from_py_with = arrays::whole)] threads: usize,
    ) -> PyResult<Rows<'py, f32>> {
        PyArray1::from_vec(py, self.run(py, &texts, threads)?).reshape([texts.len(), bsc_text::DIM])
    }

    /// The embeddings of `texts` and their codes: `(n, 384)` float32 and `(n, n_words)` uint64.
    ///
    /// Raises:
    ///     DimensionError: `encoder` is for another dimension.
    ///     InvalidValueError: a text has a lone surrogate.
    #[pyo3(signature = (texts, encoder, *, threads = 1))]
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands out owned arguments")]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<Bound<'py, PyString>>,
        encoder: &Bound<'py, RustBinaryEncoder>,
        #[pyo3(from_py_with = arrays::whole)] threads: usize,
    ) -> PyResult<(Rows<'py, f32>, Rows<'py, u64>)> {
        let projection = encoder.get().projection();
        if projection.dim() != bsc_text::DIM {
            let message = format!("expected an encoder of dimension {}, got {}", bsc_text::DIM, projection.dim());
            return Err(raise(py, "DimensionError", message));
        }
        let embeddings = self.run(py, &texts, threads)?;
        let error = |error| to_python(py, &error);
        let mut codes = projection.room_for(texts.len()).map_err(error)?;
        py.detach(|| projection.encode(&embeddings, &mut codes)).map_err(error)?;
        let embeddings = PyArray1::from_vec(py, embeddings).reshape([texts.len(), bsc_text::DIM])?;
        Ok((embeddings, PyArray1::from_vec(py, codes).reshape([texts.len(), projection.n_words()])?))
    }

    fn __repr__(&self) -> String {
        format!("TextModel(isa='{}')", self.model.isa())
    }
}

impl TextModel {
    fn run(&self, py: Python<'_>, texts: &[Bound<'_, PyString>], threads: usize) -> PyResult<Vec<f32>> {
        let texts = texts.iter().map(unicode).collect::<PyResult<Vec<_>>>()?;
        let mut embeddings = vec![0.0; texts.len() * bsc_text::DIM];
        let round = TEXTS_A_ROUND * threads.clamp(1, MOST_THREADS);
        let rounds = texts.chunks(round).zip(embeddings.chunks_mut(round * bsc_text::DIM));
        for (texts, embeddings) in rounds {
            py.check_signals()?;
            py.detach(|| self.model.embed(texts, embeddings, threads.clamp(1, MOST_THREADS)));
        }
        Ok(embeddings)
    }
}

/// The text in UTF-8, without a copy where Python has that form already.
fn unicode<'a>(text: &'a Bound<'_, PyString>) -> PyResult<&'a str> {
    let message = || "expected Unicode text, got a string with a lone surrogate".to_owned();
    // The UnicodeEncodeError holds the text, which must not end up in a log.
    text.to_str().map_err(|_| raise(text.py(), "InvalidValueError", message()))
}
