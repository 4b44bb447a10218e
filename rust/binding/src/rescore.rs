//! Cosines with embeddings as entries keep them.

use bsc_core::rescore::{Score, cosine};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arrays;

/// The cosine of `query` with each packed vector; `None` for an empty one, nan for one that does not fit.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 hands out owned arguments")]
pub fn cosines(query: &Bound<'_, PyAny>, packed: Vec<Bound<'_, PyAny>>) -> PyResult<Vec<Option<f64>>> {
    // With the interpreter held: a candidate takes less time than letting go of it and taking it back.
    let query = arrays::exact::<f32>("query", query, 1)?;
    let query = query.as_slice()?;
    let score = |blob: &Bound<'_, PyAny>| {
        let score = blob.cast::<PyBytes>().map_or(Score::Damaged, |blob| cosine(query, blob.as_bytes()));
        match score {
            Score::Cosine(cosine) => Some(cosine),
            Score::Absent => None,
            Score::Damaged => Some(f64::NAN),
        }
    };
    Ok(packed.iter().map(score).collect())
}
