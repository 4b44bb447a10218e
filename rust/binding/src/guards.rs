//! Guards over pairs of texts.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bsc_core::guards::{Guard, Guards, Lexicon, TABLES, Tables};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::error::to_python;

/// Checks whether a stored prompt asks what a new one asks. Immutable; threads may share one.
#[pyclass(frozen, module = "binary_semantic_cache.binary_semantic_cache_rs")]
pub struct TextGuards {
    /// What the judge builds on, too.
    pub guards: Guards,
}

#[pymethods]
impl TextGuards {
    #[new]
    #[pyo3(signature = (lexicon, tables, *, disabled = Vec::new()), text_signature = "(lexicon, tables, *, disabled=())")]
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands out owned arguments")]
    fn new(
        py: Python<'_>,
        lexicon: &[u8],
        tables: BTreeMap<String, Vec<String>>,
        disabled: Vec<String>,
    ) -> PyResult<Self> {
        let build = || {
            let disabled = disabled.iter().map(|name| Guard::by_name(name)).collect::<Result<Vec<_>, _>>()?;
            let tables = tables
                .iter()
                .map(|(name, lines)| (name.as_str(), lines.iter().map(String::as_str).collect::<Vec<_>>()));
            let tables = Tables::parse(tables)?;
            Ok(Guards::new(Lexicon::read(lexicon)?, tables, &disabled))
        };
        let guards = build().map_err(|error| to_python(py, &error))?;
        Ok(Self { guards })
    }

    /// All guards, in the order in which they are asked.
    #[classattr]
    fn names(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        PyTuple::new(py, Guard::ALL.map(Guard::name))
    }

    /// The tables that can be given.
    #[classattr]
    fn table_names(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        PyTuple::new(py, TABLES)
    }

    /// For each candidate, every veto as (guard, detail).
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands out owned arguments")]
    fn check(
        &self,
        py: Python<'_>,
        prompt: Bound<'_, PyString>,
        candidates: Vec<Bound<'_, PyString>>,
    ) -> Vec<Vec<(&'static str, String)>> {
        // A lone surrogate becomes U+FFFD, which the guard of identifiers compares like a letter of a code.
        let prompt = prompt.to_string_lossy();
        let candidates: Vec<Cow<'_, str>> = candidates.iter().map(|text| text.to_string_lossy()).collect();
        let vetoes = py.detach(|| self.guards.check(&prompt, candidates.iter().map(AsRef::as_ref)));
        let as_pairs = |vetoes: Vec<bsc_core::guards::Veto>| {
            vetoes.into_iter().map(|veto| (veto.guard.name(), veto.detail)).collect()
        };
        vetoes.into_iter().map(as_pairs).collect()
    }
}
