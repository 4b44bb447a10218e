//! Exact search that reads a small part of a million codes: multi-index hashing.
//!
//! A code is cut into substrings of about log2(n) bits, and a table for each finds rows by their substring. Whoever is
//! near the query in the whole code is very near in at least one substring, so it is enough to look up the few
//! substrings near the query's, and to compare the rows found there. Results are those of the scan: same row, same
//! distance. Source: Norouzi, Punjani, Fleet 2012, "Fast search in Hamming space with multi-index hashing".
//!
//! Use it from about a million codes on and for thresholds above 0.8; below either, and where rows crowd in few
//! groups, the search finds that a scan is cheaper and does that. It costs about 100 bytes a row at 256 bits.
//!
//! The codes stay where they are ([`Codes`]); the index holds row numbers, in tables of groups that readers use
//! without a lock while one writer changes them (`group.rs`). Removing a row is exact but for groups that are overfull
//! (more than 2,062 rows): these hold nothing, and searches that come to one go another way or scan. So no insert or
//! removal depends on how many rows are alike.

mod codes;
mod cost;
mod group;
mod lines;
mod search;
mod substring;

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

pub use codes::{Codes, RowMajor};
use group::{Pool, ROW_BITS, TAG_BITS};
use lines::Lines;
use search::Search;
use substring::Substring;

use crate::{Error, Nearest, words_for};

/// Narrower codes are scanned so fast that an index is no gain.
pub const LEAST_CODE_BITS: usize = 64;
/// Widest codes that can be indexed.
pub const MOST_CODE_BITS: usize = 1024;
/// Rows are numbered below this.
pub const MOST_ROWS: usize = 1 << ROW_BITS;

/// Widths of a substring: from what tags need, with some bits left to number groups, to the largest table there may be.
const LEAST_WIDTH: usize = 8;
const MOST_WIDTH: usize = 27;
/// What the number of substrings is chosen for.
const EXPECTED_THRESHOLD: f64 = 0.85;
/// Half of what a group holds before it is split.
const LEAST_ROWS_IN_A_GROUP: f64 = 5.25;
/// A row of splits is spread over inserts: this many for each, in one of the tables.
const SPLITS_AN_INSERT: usize = 32;
const FIRST_EXTENT_LINES: u32 = 12;

/// An index of rows by the substrings of their codes.
pub struct MultiIndex {
    code_bits: usize,
    substrings: Vec<Substring>,
    extents: Lines,
    writer: Mutex<Writer>,
    rows: AtomicUsize,
    counts: Counts,
}

struct Writer {
    pool: Pool,
    /// The substring whose groups are split next.
    turn: usize,
}

/// How searches ended.
#[derive(Default)]
struct Counts {
    answered: AtomicUsize,
    scanned: AtomicUsize,
}

impl MultiIndex {
    /// An index for codes of `code_bits` bits that is at its best with about `expected_rows` rows. It takes more and
    /// fewer; with four times as many or as few, another number of substrings would be quicker.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] for codes that are not indexed, or for more rows than can be numbered.
    pub fn new(code_bits: usize, expected_rows: usize) -> Result<Self, Error> {
        check_size("code_bits of an index", code_bits, LEAST_CODE_BITS, MOST_CODE_BITS)?;
        check_size("expected_rows", expected_rows, 0, MOST_ROWS)?;
        let n = substrings_for(code_bits, expected_rows);
        let (width, wider) = (code_bits / n, code_bits % n);
        let mut first_bit = 0;
        let substrings = (0..n).map(|position| {
            let width = width + usize::from(position < wider);
            first_bit += width;
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small")]
            Substring::new(first_bit - width, width as u32, expected_rows as f64)
        });
        Ok(Self {
            code_bits,
            substrings: substrings.collect(),
            extents: Lines::new(FIRST_EXTENT_LINES),
            writer: Mutex::new(Writer { pool: Pool::new(), turn: 0 }),
            rows: AtomicUsize::new(0),
            counts: Counts::default(),
        })
    }

    /// Bits in a code.
    #[must_use]
    pub const fn code_bits(&self) -> usize {
        self.code_bits
    }

    /// Words in a code.
    #[must_use]
    pub const fn n_words(&self) -> usize {
        words_for(self.code_bits)
    }

    /// Number of substrings.
    #[must_use]
    pub const fn n_substrings(&self) -> usize {
        self.substrings.len()
    }

    /// Rows inserted and not removed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.load(Relaxed)
    }

    /// Whether no row is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the tables: a line of 64 for each group and each line of an extent.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        let groups: u64 = self.substrings.iter().map(|substring| substring.growth().groups()).sum();
        let extents = self.writer.lock().unwrap_or_else(PoisonError::into_inner).pool.lines();
        (usize::try_from(groups).unwrap_or(usize::MAX) + extents) * 64
    }

    /// Searches that the index answered, and those that ended in a scan.
    #[must_use]
    pub fn searches(&self) -> (usize, usize) {
        (self.counts.answered.load(Relaxed), self.counts.scanned.load(Relaxed))
    }

    /// Groups that more rows belong to than a group holds; O(groups).
    #[must_use]
    pub fn overfull_groups(&self) -> usize {
        self.substrings.iter().map(Substring::overfull_groups).sum()
    }

    /// Enters `row` under `code`. A row is in once: remove it under its old code first. O(1); one writer at a time,
    /// searches go on meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::Dimension`] for a code of another width, [`Error::Row`] for a row that cannot be numbered.
    pub fn insert(&self, row: usize, code: &[u64]) -> Result<(), Error> {
        let row = self.check(row, code)?;
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        for substring in &self.substrings {
            substring.prefetch(code);
        }
        for substring in &self.substrings {
            substring.insert(code, row, &self.extents, &mut writer.pool);
        }
        let rows = self.rows.fetch_add(1, Relaxed) + 1;
        let substring = &self.substrings[writer.turn];
        writer.turn = (writer.turn + 1) % self.substrings.len();
        for _ in 0..SPLITS_AN_INSERT {
            if !substring.should_split(rows) {
                break;
            }
            substring.split(&self.extents, &mut writer.pool);
        }
        Ok(())
    }

    /// Takes `row` out, which was entered under `code`. Returns whether it was found; what was not entered is at least
    /// no harm.
    ///
    /// # Errors
    ///
    /// As [`MultiIndex::insert`].
    pub fn remove(&self, row: usize, code: &[u64]) -> Result<bool, Error> {
        let row = self.check(row, code)?;
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        for substring in &self.substrings {
            substring.prefetch(code);
        }
        let mut found = false;
        for substring in &self.substrings {
            // All must be asked, so no `any`.
            found |= substring.remove(code, row, &self.extents, &mut writer.pool);
        }
        if found {
            self.rows.fetch_sub(1, Relaxed);
        }
        Ok(found)
    }

    /// The nearest row of `codes` that is not farther than `greatest` bits from `query`, the lowest among equals: what
    /// the scan of `codes` finds, provided that every row that may be found has been entered.
    ///
    /// A row that is entered or removed meanwhile may be found or not.
    ///
    /// # Errors
    ///
    /// [`Error::Dimension`] for a query of another width; what `codes` says is wrong.
    pub fn nearest(&self, query: &[u64], codes: &impl Codes, greatest: u32) -> Result<Option<Nearest>, Error> {
        self.check(0, query)?;
        let (found, by_index) = Search::new(self, query, codes, greatest).run()?;
        let count = if by_index { &self.counts.answered } else { &self.counts.scanned };
        count.fetch_add(1, Relaxed);
        Ok(found)
    }

    /// What trying `n` substrings at `radius` costs.
    fn cost_of_units(&self, radius: u32, n: usize) -> f64 {
        let (Some(first), Some(last)) = (self.substrings.first(), self.substrings.last()) else { return 0.0 };
        // The first ones are wider by a bit.
        let wider = (self.code_bits % self.substrings.len()).min(n);
        let one =
            |substring: &Substring| cost::unit(substring.width(), substring.growth().bits, radius, self.len());
        #[expect(clippy::cast_precision_loss, reason = "small")]
        {
            wider as f64 * one(first) + (n - wider) as f64 * one(last)
        }
    }

    fn check(&self, row: usize, code: &[u64]) -> Result<u32, Error> {
        if code.len() != self.n_words() {
            return Err(Error::Dimension { what: "words in a code", expected: self.n_words(), got: code.len() });
        }
        u32::try_from(row)
            .ok()
            .filter(|_| row < MOST_ROWS)
            .ok_or(Error::Row { row: i64::try_from(row).unwrap_or(i64::MAX), rows: MOST_ROWS })
    }
}

/// The number of substrings with which a miss at [`EXPECTED_THRESHOLD`] is cheapest. Substrings have about log2(n) bits
/// then; it pays if the units that are needed fill whole radii. Source: Norouzi, Punjani, Fleet 2012, section 3.2.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive numbers below 2^28"
)]
fn substrings_for(code_bits: usize, rows: usize) -> usize {
    let units = ((1.0 - EXPECTED_THRESHOLD) * code_bits as f64) as usize + 1;
    let cost = |n: usize| {
        let (width, wider, mut missing, mut sum) = (code_bits / n, code_bits % n, units, 0.0);
        let one = |width: usize, radius| {
            let width = width as u32;
            cost::unit(width, substring::bits_for(width, rows as f64), radius, rows)
        };
        for radius in 0.. {
            let now = missing.min(n);
            let wide = now.min(wider);
            sum += wide as f64 * one(width + 1, radius) + (now - wide) as f64 * one(width, radius);
            missing -= now;
            if missing == 0 {
                break;
            }
        }
        sum
    };
    // Wider ones have more groups from the beginning than so many rows fill by half.
    let widest = ((rows.max(1) as f64 / LEAST_ROWS_IN_A_GROUP).log2().max(0.0) as usize + TAG_BITS as usize)
        .clamp(LEAST_WIDTH, MOST_WIDTH);
    let most = code_bits / LEAST_WIDTH;
    let numbers = code_bits.div_ceil(widest).min(most)..=most;
    numbers.min_by(|&a, &b| cost(a).total_cmp(&cost(b))).unwrap_or(1)
}

fn check_size(what: &'static str, got: usize, least: usize, greatest: usize) -> Result<(), Error> {
    if (least..=greatest).contains(&got) { Ok(()) } else { Err(Error::Size { what, least, greatest, got }) }
}
