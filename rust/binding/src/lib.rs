//! The Python face of `bsc-core` and `bsc-text`. Every function here checks its arrays, lets go of the interpreter, calls the core
//! and wraps the result; nothing is computed in this crate.

mod arrays;
mod codes;
mod encoder;
mod error;
mod guards;
mod hamming;
mod judge;
mod multi_index;
mod rescore;
mod table;
mod text;

use pyo3::prelude::*;

/// The native part of `binary_semantic_cache`.
#[pymodule]
mod binary_semantic_cache_rs {
    #[pymodule_export]
    use crate::codes::{slice_codes, unslice_code, unslice_codes};
    #[pymodule_export]
    use crate::encoder::RustBinaryEncoder;
    #[pymodule_export]
    use crate::guards::TextGuards;
    #[pymodule_export]
    use crate::hamming::HammingSimilarity;
    #[pymodule_export]
    use crate::judge::TextJudge;
    #[pymodule_export]
    use crate::multi_index::MultiIndex;
    #[pymodule_export]
    use crate::rescore::cosines;
    #[pymodule_export]
    use crate::table::{table_find, table_insert, table_remove};
    #[pymodule_export]
    use crate::text::TextModel;
    #[pymodule_export]
    use crate::{available_isas, crc32};
}

/// The instruction sets this machine can run, slowest first.
#[pyfunction]
fn available_isas() -> Vec<&'static str> {
    bsc_core::Isa::available().into_iter().map(bsc_core::Isa::name).collect()
}

/// The CRC-32 (as in zip) of a C-contiguous array's bytes, continued from `value`.
#[pyfunction]
#[pyo3(signature = (data, value = 0))]
fn crc32(py: Python<'_>, data: &Bound<'_, PyAny>, value: u32) -> PyResult<u32> {
    let bytes = arrays::bytes(data)?;
    let bytes = bytes.as_slice()?;
    Ok(py.detach(|| bsc_core::checksum::crc32(bytes, value)))
}
