//! Binary codes from embeddings, and exact Hamming search over them. No Python, no I/O.
//!
//! An embedding becomes a code (the signs of a projection, [`projection`]); a search finds the nearest code by
//! Hamming distance ([`hamming`]). Results never depend on the instruction set: each bit is the sign of the exact
//! product, each distance an integer, ties go to the lowest row. Beside that, [`guards`] compare texts,
//! and a [`judge`] weighs what they see.

pub mod checksum;
pub mod codes;
pub mod error;
pub mod guards;
pub mod hamming;
pub mod isa;
pub mod judge;
pub mod multi_index;
pub mod projection;
pub mod rescore;
pub mod table;
pub mod workers;

pub use codes::{Codes, Sliced};
pub use error::Error;
pub use hamming::{Filter, Hamming, Nearest};
pub use isa::Isa;
pub use multi_index::MultiIndex;
pub use projection::Projection;
pub use workers::Workers;

/// Number of 64-bit words that hold `code_bits` bits.
#[must_use]
pub const fn words_for(code_bits: usize) -> usize {
    code_bits.div_ceil(64)
}
