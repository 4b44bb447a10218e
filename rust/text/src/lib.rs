//! From texts to embeddings: the tokenizer and the int8 network of all-MiniLM-L6-v2, without Python or ONNX Runtime.
//!
//! The vectors are as near to those that ONNX Runtime gives for the same file as those of two of its versions are to each
//! other; unlike them they are the same bits on every machine. A text's embedding depends on the text alone. No thread
//! and no lock outlives a call.

#![allow(
    clippy::inline_always,
    reason = "a step is compiled for an instruction set by being inlined, see `lanes`"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod error;
mod kernel;
mod lanes;
mod linear;
mod model;
mod network;
mod onnx;
mod tokenizer;

pub use error::Error;
pub use model::TextModel;
pub use network::{DIM, WINDOW};
