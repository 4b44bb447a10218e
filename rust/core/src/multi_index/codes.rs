//! Where the codes stand. The index holds row numbers alone and asks for everything else here.

use super::lines::prefetch;
use crate::{Error, Filter, Hamming, Isa, Nearest};

/// The codes as one query sees them; each layout of codes has one of these.
pub trait Codes {
    /// Number of rows: those from it on do not exist for this query.
    fn rows(&self) -> usize;

    /// Begins to load a row that is compared soon; a hint.
    fn prefetch(&self, row: usize);

    /// The nearest of `rows`, all below [`Codes::rows`], if it is not farther than `greatest`; the lowest row among
    /// equals.
    ///
    /// # Errors
    ///
    /// What is wrong with the query or the codes.
    fn nearest_of(&self, rows: &[i32], greatest: u32) -> Result<Option<Nearest>, Error>;

    /// The same of all rows, by the scan.
    ///
    /// # Errors
    ///
    /// What is wrong with the query or the codes.
    fn nearest_of_all(&self, greatest: u32) -> Result<Option<Nearest>, Error>;

    /// About how long [`Codes::nearest_of_all`] takes; decides between the scan and the index, never about results.
    fn scan_nanoseconds(&self) -> f64;
}

/// Codes row after row, with the bitmap of rows that may be found.
pub struct RowMajor<'a> {
    hamming: Hamming,
    /// For single codes here and there.
    one_by_one: Hamming,
    query: &'a [u64],
    codes: &'a [u64],
    live: Option<&'a [u8]>,
}

impl<'a> RowMajor<'a> {
    /// A query over `codes`, each row as long as the query; `live` as in [`Filter`].
    #[must_use]
    pub fn new(hamming: Hamming, query: &'a [u64], codes: &'a [u64], live: Option<&'a [u8]>) -> Self {
        // Adding up the lanes of a wide register takes longer than counting a few words one by one.
        let counts_words = hamming.isa() != Isa::Scalar && hamming.n_words() <= 8;
        let plain = counts_words.then(|| Hamming::new(hamming.code_bits(), Isa::Popcnt).ok()).flatten();
        Self { hamming, one_by_one: plain.unwrap_or(hamming), query, codes, live }
    }

    fn search(&self, hamming: Hamming, rows: Option<&[i32]>, greatest: u32) -> Result<Option<Nearest>, Error> {
        let filter = Filter { live: self.live, rows, scope: None };
        hamming.nearest(self.query, self.codes, hamming.similarity(greatest), filter)
    }
}

impl Codes for RowMajor<'_> {
    fn rows(&self) -> usize {
        self.codes.len() / self.hamming.n_words()
    }

    fn prefetch(&self, row: usize) {
        if let Some(code) = self.codes.get(row * self.hamming.n_words()..) {
            prefetch(code);
        }
    }

    fn nearest_of(&self, rows: &[i32], greatest: u32) -> Result<Option<Nearest>, Error> {
        self.search(self.one_by_one, Some(rows), greatest)
    }

    fn nearest_of_all(&self, greatest: u32) -> Result<Option<Nearest>, Error> {
        self.search(self.hamming, None, greatest)
    }

    fn scan_nanoseconds(&self) -> f64 {
        super::cost::scan(self.codes.len())
    }
}
