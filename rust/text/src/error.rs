//! Everything that can be wrong with the files of a model. Texts cannot be wrong: each has an embedding.

use std::fmt;

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The network is damaged, or another one than the quantized all-MiniLM-L6-v2 of this package.
    Network(String),
    /// The tokenizer's file is damaged, or its settings are not those of all-MiniLM-L6-v2.
    Tokenizer(String),
    /// This machine has none of the instruction sets that the network is written for.
    Isa(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(what) => write!(f, "expected the int8 network of all-MiniLM-L6-v2, got {what}"),
            Self::Tokenizer(what) => write!(f, "expected the tokenizer of all-MiniLM-L6-v2, got {what}"),
            Self::Isa(asked) => {
                write!(f, "expected an instruction set that the network runs on (avx2, avx512), got {asked}")
            }
        }
    }
}

impl std::error::Error for Error {}
