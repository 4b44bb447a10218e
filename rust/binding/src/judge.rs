//! The judge over pairs of prompts.

use std::borrow::Cow;

use bsc_core::judge::{Candidate, FEATURES, Model, NAMES, features_of, score};
use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray2};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyBytesMethods, PyString, PyTuple};

use crate::arrays;
use crate::error::{raise, to_python};
use crate::guards::TextGuards;

/// Weighs what is seen of two prompts. Immutable; threads may share one.
#[pyclass(frozen, module = "binary_semantic_cache.binary_semantic_cache_rs")]
pub struct TextJudge {
    guards: Py<TextGuards>,
    model: Model,
}

#[pymethods]
impl TextJudge {
    #[new]
    fn new(py: Python<'_>, guards: Py<TextGuards>, model: &str) -> PyResult<Self> {
        let model = Model::read(model).map_err(|error| to_python(py, &error))?;
        Ok(Self { guards, model })
    }

    /// The names of the features, in order.
    #[classattr]
    fn feature_names(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        PyTuple::new(py, NAMES)
    }

    /// Numbers of an embedding.
    #[getter]
    fn embedding_dim(&self) -> usize {
        self.model.directions.dim
    }

    /// The features of the prompt with each candidate, a row each; nan where there is no vector.
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands out owned arguments")]
    fn features<'py>(
        &self,
        py: Python<'py>,
        prompt: Bound<'py, PyString>,
        embedding: &Bound<'py, PyAny>,
        candidates: Vec<Bound<'py, PyString>>,
        packed: Vec<Bound<'py, PyBytes>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let guards = &self.guards.get().guards;
        let rows = judged(py, &prompt, embedding, &candidates, &packed, |prompt, embedding, pairs| {
            let rows = features_of(&self.model, guards, prompt, embedding, pairs);
            rows.into_iter().flat_map(|row| row.unwrap_or([f32::NAN; FEATURES])).collect::<Vec<_>>()
        })?;
        let shape = (candidates.len(), FEATURES);
        Ok(Array2::from_shape_vec(shape, rows).expect("a row for each candidate").into_pyarray(py))
    }

    /// The probability, for each candidate, that its answer answers the prompt; `None` where there is no vector.
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands out owned arguments")]
    fn score(
        &self,
        py: Python<'_>,
        prompt: Bound<'_, PyString>,
        embedding: &Bound<'_, PyAny>,
        candidates: Vec<Bound<'_, PyString>>,
        packed: Vec<Bound<'_, PyBytes>>,
    ) -> PyResult<Vec<Option<f64>>> {
        let guards = &self.guards.get().guards;
        judged(py, &prompt, embedding, &candidates, &packed, |prompt, embedding, pairs| {
            score(&self.model, guards, prompt, embedding, pairs)
        })
    }
}

/// Checks, lets go of the interpreter and calls `ask` with the texts; lone surrogates become U+FFFD.
fn judged<T: Send>(
    py: Python<'_>,
    prompt: &Bound<'_, PyString>,
    embedding: &Bound<'_, PyAny>,
    candidates: &[Bound<'_, PyString>],
    packed: &[Bound<'_, PyBytes>],
    ask: impl FnOnce(&str, &[f32], &[Candidate<'_>]) -> T + Send,
) -> PyResult<T> {
    if candidates.len() != packed.len() {
        let message = format!("expected {} vectors, one a candidate, got {}", candidates.len(), packed.len());
        return Err(raise(py, "DimensionError", message));
    }
    let embedding = arrays::exact::<f32>("embedding", embedding, 1)?;
    let embedding = embedding.as_slice()?;
    let prompt = prompt.to_string_lossy();
    let candidates: Vec<Cow<'_, str>> = candidates.iter().map(|text| text.to_string_lossy()).collect();
    let vectors = packed.iter().map(PyBytesMethods::as_bytes);
    let pairs: Vec<Candidate<'_>> = candidates.iter().map(AsRef::as_ref).zip(vectors).collect();
    Ok(py.detach(|| ask(&prompt, embedding, &pairs)))
}
