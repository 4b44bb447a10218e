//! The one place where errors become Python exceptions: classes of `binary_semantic_cache.errors`.

use bsc_core::Error;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// The exception for a core error.
pub fn to_python(py: Python<'_>, error: &Error) -> PyErr {
    let class = match error {
        Error::Dimension { .. } => "DimensionError",
        Error::Isa { .. } => "UnsupportedIsaError",
        Error::Lexicon { .. } | Error::Model { .. } => "CorruptFileError",
        Error::LexiconVersion { .. } | Error::ModelVersion { .. } => "FormatVersionError",
        Error::Size { .. }
        | Error::TooLarge { .. }
        | Error::Threads { .. }
        | Error::NotFinite { .. }
        | Error::Threshold(_)
        | Error::UnusedBits { .. }
        | Error::Row { .. }
        | Error::TableFull { .. }
        | Error::TableLine { .. }
        | Error::Name { .. } => "InvalidValueError",
    };
    raise(py, class, error.to_string())
}

/// The exception for an error of the text model.
pub fn text_to_python(py: Python<'_>, error: &bsc_text::Error) -> PyErr {
    let class = match error {
        bsc_text::Error::Network(_) | bsc_text::Error::Tokenizer(_) => "EmbedderError",
        bsc_text::Error::Isa(_) => "UnsupportedIsaError",
    };
    raise(py, class, error.to_string())
}

/// An exception of the package's tree by the name of its class.
pub fn raise(py: Python<'_>, class: &str, message: String) -> PyErr {
    let found = py.import("binary_semantic_cache.errors").and_then(|errors| errors.getattr(class));
    match found.and_then(|class| Ok(class.cast_into::<PyType>()?)) {
        Ok(class) => PyErr::from_type(class, message),
        Err(error) => PyRuntimeError::new_err(format!("{message} (while looking for {class}: {error})")),
    }
}
