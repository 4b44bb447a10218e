//! Everything that can be wrong with a caller's input. Wrong input never panics.

use std::fmt;

use crate::workers::MOST_THREADS;

/// What is wrong, with the values that disagree.
#[derive(Debug, Clone, PartialEq)]
pub enum Error {
    /// A length, row width or shape differs from what is needed.
    Dimension {
        /// What was measured, for example the embedding dimension.
        what: &'static str,
        /// The needed size.
        expected: usize,
        /// The size that came.
        got: usize,
    },
    /// A size is outside what can be built.
    Size {
        /// What was asked for, for example `code_bits`.
        what: &'static str,
        /// The least admitted value.
        least: usize,
        /// The greatest admitted value.
        greatest: usize,
        /// The value that came.
        got: usize,
    },
    /// A result is too large to be allocated.
    TooLarge {
        /// Rows of the result.
        rows: usize,
        /// Columns of the result.
        columns: usize,
    },
    /// An embedding or a projection holds NaN or infinity.
    NotFinite {
        /// What holds it.
        what: &'static str,
        /// Row of the first such value.
        row: usize,
        /// Column of the first such value.
        column: usize,
    },
    /// A threshold is NaN or outside 0 to 1.
    Threshold(f64),
    /// A query has bits set beyond `code_bits`.
    UnusedBits {
        /// The number of bits that count.
        code_bits: usize,
    },
    /// A row number points outside the codes.
    Row {
        /// The row number.
        row: i64,
        /// The number of rows.
        rows: usize,
    },
    /// A hash table has no free place, or a length that cannot be indexed.
    TableFull {
        /// The number of places.
        places: usize,
    },
    /// An instruction set is unknown, or this machine does not have it.
    Isa {
        /// The name that was asked for.
        asked: String,
        /// The names that would work.
        available: String,
    },
    /// A number of threads is none.
    Threads {
        /// What was asked for.
        asked: String,
    },
    /// A lexicon is damaged, cut short or something else.
    Lexicon {
        /// What was found.
        what: &'static str,
    },
    /// A lexicon is written in another version of the format.
    LexiconVersion {
        /// The version that can be read.
        expected: u16,
        /// The version that came.
        got: u16,
    },
    /// A judge's model is damaged, or made for other features.
    Model {
        /// The line, from 1; 0 for the end of the text.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// A judge's model is written in another version of the format.
    ModelVersion {
        /// The version that can be read.
        expected: &'static str,
        /// The version that came.
        got: String,
    },
    /// A line of a word list is not an entry of that list.
    TableLine {
        /// The list.
        table: &'static str,
        /// The line, from 1.
        line: usize,
        /// What stands there.
        got: String,
    },
    /// There is no guard or table of that name.
    Name {
        /// What was asked for, for example `guard`.
        what: &'static str,
        /// The name that was asked for.
        asked: String,
        /// The names that would work.
        available: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dimension { what, expected, got } => write!(f, "expected {what} {expected}, got {got}"),
            Self::Size { what, least, greatest, got } => {
                write!(f, "expected {what} from {least} to {greatest}, got {got}")
            }
            Self::TooLarge { rows, columns } => {
                write!(f, "expected a result that can be allocated, got {rows} x {columns} numbers")
            }
            Self::NotFinite { what, row, column } => {
                write!(f, "expected finite numbers, got NaN or infinity in {what} at row {row}, column {column}")
            }
            Self::Threshold(got) => write!(f, "expected threshold from 0.0 to 1.0, got {got}"),
            Self::UnusedBits { code_bits } => {
                write!(f, "expected zeros beyond bit {code_bits} of the query, got ones")
            }
            Self::Row { row, rows } => write!(f, "expected rows from 0 to below {rows}, got {row}"),
            Self::TableFull { places } => {
                write!(f, "expected a table with a free place, got a full one of {places} places")
            }
            Self::Isa { asked, available } => {
                write!(f, "expected an instruction set of this machine ({available}), got {asked:?}")
            }
            Self::Threads { asked } => {
                write!(f, "expected BSC_THREADS to be a whole number from 1 to {MOST_THREADS}, got {asked:?}")
            }
            Self::Lexicon { what } => write!(f, "expected a whole lexicon, got {what}"),
            Self::LexiconVersion { expected, got } => {
                write!(f, "expected a lexicon of format version {expected}, got {got}")
            }
            Self::Model { line, expected } => write!(f, "expected {expected} in line {line} of the judge's model"),
            Self::ModelVersion { expected, got } => {
                write!(f, "expected a judge's model of format version {expected}, got {got:?}")
            }
            Self::TableLine { table, line, got } => {
                write!(f, "expected an entry in line {line} of table {table}, got {got:?}")
            }
            Self::Name { what, asked, available } => {
                write!(f, "expected the name of a {what} ({available}), got {asked:?}")
            }
        }
    }
}

impl std::error::Error for Error {}
