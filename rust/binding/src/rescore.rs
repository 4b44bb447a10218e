//! Cosines with embeddings as entries keep them.

use std::sync::OnceLock;

use bsc_core::Isa;
use bsc_core::rescore::{Query, Score};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arrays;
use crate::error::to_python;

/// The instruction set of calls that name none, looked up once.
static ISA: OnceLock<Isa> = OnceLock::new();

/// The cosine of `query` with each packed vector; `None` for an empty one, nan for one that does not fit.
#[pyfunction]
#[pyo3(signature = (query, packed, *, isa = None))]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 hands out owned arguments")]
pub fn cosines(
    py: Python<'_>,
    query: &Bound<'_, PyAny>,
    packed: Vec<Bound<'_, PyAny>>,
    isa: Option<&str>,
) -> PyResult<Vec<Option<f64>>> {
    // With the interpreter held: 64 candidates take less time than letting go of it and taking it back.
    let query = arrays::exact::<f32>("query", query, 1)?;
    let numbers = query.as_slice()?;
    let isa = isa.map_or_else(default_isa, Isa::from_name);
    let query = isa.and_then(|isa| Query::new(numbers, isa)).map_err(|error| to_python(py, &error))?;
    let score = |blob: &Bound<'_, PyAny>| {
        let score = blob.cast::<PyBytes>().map_or(Score::Damaged, |blob| query.cosine(blob.as_bytes()));
        match score {
            Score::Cosine(cosine) => Some(cosine),
            Score::Absent => None,
            Score::Damaged => Some(f64::NAN),
        }
    };
    Ok(packed.iter().map(score).collect())
}

fn default_isa() -> Result<Isa, bsc_core::Error> {
    if let Some(&isa) = ISA.get() {
        return Ok(isa);
    }
    let isa = Isa::from_environment()?;
    Ok(*ISA.get_or_init(|| isa))
}
