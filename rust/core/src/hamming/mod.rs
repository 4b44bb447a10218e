//! Exact search for the nearest code by Hamming distance.
//!
//! Every instruction set gives three primitives ([`Kernel`]); what a search means (ties, thresholds, dead rows,
//! scopes) is written once, here, in safe code. A kernel only answers "which row from `start` on is nearer than
//! `bound`?". On a miss that is one pass at memory speed; each better row found restarts it behind that row, which
//! happens about ln(n) times on random codes. Codes may come sliced (see [`crate::codes`]), which lets a scan read less.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod batch;
mod by_code;
mod by_group;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod planes;
#[cfg(target_arch = "x86_64")]
mod popcnt;
mod scalar;

use std::collections::BinaryHeap;

use self::batch::PlaneKernel;
use crate::codes::SLICED_WORDS;
use crate::{Codes, Error, Isa, Sliced, Workers, words_for};

/// Widest code: 2^20 bits, far above use; keeps every distance well inside u32.
pub const MAX_CODE_BITS: usize = 1 << 20;

/// A row (or a position in chosen rows) and its distance.
type Found = Option<(usize, u32)>;

/// The primitives of one instruction set. `query.len()` is the row width; `codes` is a whole number of rows.
///
/// The pointers are `unsafe` because they may only be called where the instruction set is available.
struct Kernel {
    /// The first row at or after `start` whose distance is below `bound`.
    next_below: unsafe fn(query: &[u64], codes: &[u64], start: usize, bound: u32) -> Found,
    /// The same among chosen rows, each inside `codes`: `start` and the result are positions in `rows`.
    next_below_in: unsafe fn(query: &[u64], codes: &[u64], rows: &[i32], start: usize, bound: u32) -> Found,
    /// All distances; `out` has one place a row.
    distances: unsafe fn(query: &[u64], codes: &[u64], out: &mut [u32]),
    /// `next_below` among sliced codes.
    next_below_sliced: unsafe fn(query: &[u64; SLICED_WORDS], codes: Sliced, start: usize, bound: u32) -> Found,
    /// Many queries at once over codes of 256 bits, where that is quicker than one at a time.
    planes: Option<&'static PlaneKernel>,
}

fn kernel(isa: Isa) -> &'static Kernel {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Popcnt => &popcnt::KERNEL,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => &avx2::KERNEL,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => &avx512::KERNEL,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => &neon::KERNEL,
        _ => &scalar::KERNEL,
    }
}

/// Which rows may be found. The default admits all.
#[derive(Clone, Copy, Default)]
pub struct Filter<'a> {
    /// A bit a row, least significant first, at least one for each row; rows whose bit is 0 are not found.
    pub live: Option<&'a [u8]>,
    /// The only rows to look at, in any order; the search costs in proportion to their number.
    pub rows: Option<&'a [i32]>,
    /// The scope of each row, and the only scope whose rows are found. All codes are read, so it is for a scope that
    /// has a large share of them; `rows` are for the others.
    pub scope: Option<(&'a [i32], i32)>,
}

impl Filter<'_> {
    fn admits(&self, row: usize) -> bool {
        self.live.is_none_or(|live| live[row / 8] >> (row % 8) & 1 == 1)
            && self.scope.is_none_or(|(scopes, scope)| scopes[row] == scope)
    }
}

/// A found row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nearest {
    /// Number of differing bits.
    pub distance: u32,
    /// Row in the codes.
    pub row: usize,
}

/// Search over codes of one width with one instruction set.
#[derive(Debug, Clone, Copy)]
pub struct Hamming {
    code_bits: usize,
    isa: Isa,
    workers: Workers,
}

impl Hamming {
    /// A search over codes of `code_bits` bits, in the caller's thread.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] for a width outside 1 to [`MAX_CODE_BITS`]; [`Error::Isa`] when this machine lacks `isa`.
    pub fn new(code_bits: usize, isa: Isa) -> Result<Self, Error> {
        if !(1..=MAX_CODE_BITS).contains(&code_bits) {
            return Err(Error::Size { what: "code_bits", least: 1, greatest: MAX_CODE_BITS, got: code_bits });
        }
        Ok(Self { code_bits, isa: Isa::from_name(isa.name())?, workers: Workers::ONE })
    }

    /// The same by as many threads as `workers` has, where a search is large enough to pay for them.
    #[must_use]
    pub const fn with_workers(self, workers: Workers) -> Self {
        Self { workers, ..self }
    }

    /// The threads that a large search may use.
    #[must_use]
    pub const fn workers(&self) -> Workers {
        self.workers
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

    /// The instruction set in use.
    #[must_use]
    pub const fn isa(&self) -> Isa {
        self.isa
    }

    /// `1 - distance / code_bits`.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "both are below 2^21")]
    pub fn similarity(&self, distance: u32) -> f64 {
        1.0 - f64::from(distance) / self.code_bits as f64
    }

    /// Whether a scan of sliced codes is known to be quicker than one of codes row after row.
    #[must_use]
    pub const fn prefers_slices(&self) -> bool {
        self.n_words() == SLICED_WORDS && matches!(self.isa, Isa::Avx2 | Isa::Avx512)
    }

    /// The greatest distance whose similarity reaches `threshold`, by the comparison in float64 that defines a hit.
    ///
    /// # Errors
    ///
    /// [`Error::Threshold`] for NaN or a value outside 0 to 1.
    pub fn greatest_distance(&self, threshold: f64) -> Result<u32, Error> {
        if !(0.0..=1.0).contains(&threshold) {
            return Err(Error::Threshold(threshold));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "between 0 and code_bits"
        )]
        let mut distance = ((1.0 - threshold) * self.code_bits as f64).round() as u32;
        while distance > 0 && self.similarity(distance) < threshold {
            distance -= 1;
        }
        while (distance as usize) < self.code_bits && self.similarity(distance + 1) >= threshold {
            distance += 1;
        }
        Ok(distance)
    }

    /// The nearest admitted row whose similarity reaches `threshold`; the lowest row among equals.
    ///
    /// # Errors
    ///
    /// [`Error::Dimension`], [`Error::UnusedBits`], [`Error::Threshold`], [`Error::Row`].
    pub fn nearest<'c>(
        &self,
        query: &[u64],
        codes: impl Into<Codes<'c>>,
        threshold: f64,
        filter: Filter,
    ) -> Result<Option<Nearest>, Error> {
        self.check_query(query)?;
        let codes = codes.into();
        self.check_codes(codes, filter)?;
        let bound = self.greatest_distance(threshold)? + 1;
        Ok(match filter.rows {
            None => self.nearest_of_all(query, codes, bound, filter),
            Some(rows) => self.nearest_in(query, codes, rows, bound, filter),
        })
    }

    /// Up to `limit` admitted rows whose similarity reaches `threshold`: nearest first, ties by row.
    ///
    /// # Errors
    ///
    /// As [`Hamming::nearest`].
    pub fn within<'c>(
        &self,
        query: &[u64],
        codes: impl Into<Codes<'c>>,
        threshold: f64,
        limit: usize,
        filter: Filter,
    ) -> Result<Vec<Nearest>, Error> {
        self.check_query(query)?;
        let codes = codes.into();
        self.check_codes(codes, filter)?;
        let bound = self.greatest_distance(threshold)? + 1;
        let mut worst_first: BinaryHeap<Nearest> = BinaryHeap::new();
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut start = 0;
        loop {
            let worst = (worst_first.len() == limit).then(|| worst_first.peek().copied()).flatten();
            // An equal distance can still win by a lower row, where rows come in any order.
            let bound = worst.map_or(bound, |worst| worst.distance + u32::from(filter.rows.is_some()));
            let Some((position, distance)) = self.next_below(query, codes, filter.rows, start, bound) else {
                return Ok(worst_first.into_sorted_vec());
            };
            start = position + 1;
            let found = Nearest { distance, row: row_at(filter.rows, position) };
            if !filter.admits(found.row) || worst.is_some_and(|worst| found >= worst) {
                continue;
            }
            if worst.is_some() {
                worst_first.pop();
            }
            worst_first.push(found);
        }
    }

    /// The distance of each row of `codes` to `query`.
    ///
    /// # Errors
    ///
    /// [`Error::Dimension`] for other widths, or when `out` has not one place a row.
    pub fn distances(&self, query: &[u64], codes: &[u64], out: &mut [u32]) -> Result<(), Error> {
        self.check_width(query)?;
        let rows = whole_rows("words in a code", codes, self.n_words())?;
        if out.len() != rows {
            return Err(Error::Dimension { what: "places for distances", expected: rows, got: out.len() });
        }
        // SAFETY: `new` checked that this machine has the instruction set.
        unsafe { (kernel(self.isa).distances)(query, codes, out) };
        Ok(())
    }

    fn nearest_from(
        &self,
        query: &[u64],
        codes: Codes,
        first_row: usize,
        mut bound: u32,
        filter: Filter,
    ) -> Option<Nearest> {
        let mut best = None;
        let mut start = 0;
        while let Some((position, distance)) = self.next_below(query, codes, None, start, bound) {
            let row = first_row + position;
            if filter.admits(row) {
                best = Some(Nearest { distance, row });
                bound = distance;
            }
            start = position + 1;
        }
        best
    }

    fn nearest_in(
        &self,
        query: &[u64],
        codes: Codes,
        rows: &[i32],
        mut bound: u32,
        filter: Filter,
    ) -> Option<Nearest> {
        let mut best: Option<Nearest> = None;
        let mut start = 0;
        while let Some((position, distance)) = self.next_below(query, codes, Some(rows), start, bound) {
            let found = Nearest { distance, row: row_at(Some(rows), position) };
            if filter.admits(found.row) && best.is_none_or(|best| found < best) {
                best = Some(found);
                // Rows come in any order, so an equal distance is looked at for its row.
                bound = distance + 1;
            }
            start = position + 1;
        }
        best
    }

    fn next_below(&self, query: &[u64], codes: Codes, rows: Option<&[i32]>, start: usize, bound: u32) -> Found {
        if bound == 0 {
            return None;
        }
        let (kernel, n_sliced) = (kernel(self.isa), codes.sliced.rows());
        if let Some(rows) = rows {
            if n_sliced > 0 {
                return self.next_below_in_any(query, codes, rows, start, bound);
            }
            // SAFETY: `new` checked that this machine has the instruction set, `check_codes` every row.
            return unsafe { (kernel.next_below_in)(query, codes.rest, rows, start, bound) };
        }
        if start < n_sliced
            && let Ok(query) = query.try_into()
        {
            // SAFETY: `new` checked that this machine has the instruction set.
            let found = unsafe { (kernel.next_below_sliced)(query, codes.sliced, start, bound) };
            if found.is_some() {
                return found;
            }
        }
        // SAFETY: as above.
        let found = unsafe { (kernel.next_below)(query, codes.rest, start.saturating_sub(n_sliced), bound) };
        found.map(|(row, distance)| (n_sliced + row, distance))
    }

    /// Among chosen rows of which some are sliced: a row at a time, as nobody is in a hurry there.
    fn next_below_in_any(&self, query: &[u64], codes: Codes, rows: &[i32], start: usize, bound: u32) -> Found {
        (start..rows.len()).find_map(|position| {
            let row = row_at(Some(rows), position);
            let distance = codes.with(row, self.n_words(), |code| scalar::differing_bits(query, code));
            (distance < bound).then_some((position, distance))
        })
    }

    fn check_width(&self, query: &[u64]) -> Result<(), Error> {
        if query.len() == self.n_words() {
            return Ok(());
        }
        Err(Error::Dimension { what: "words in a query", expected: self.n_words(), got: query.len() })
    }

    fn check_query(&self, query: &[u64]) -> Result<(), Error> {
        self.check_width(query)?;
        let used = self.code_bits % 64;
        if used != 0 && query[query.len() - 1] >> used != 0 {
            return Err(Error::UnusedBits { code_bits: self.code_bits });
        }
        Ok(())
    }

    fn check_codes(&self, codes: Codes, filter: Filter) -> Result<(), Error> {
        let n = codes.rows(self.n_words())?;
        if let Some(live) = filter.live
            && live.len() < n.div_ceil(8)
        {
            return Err(Error::Dimension { what: "bytes of live bits", expected: n.div_ceil(8), got: live.len() });
        }
        if let Some((scopes, _)) = filter.scope
            && scopes.len() < n
        {
            return Err(Error::Dimension { what: "scopes of rows", expected: n, got: scopes.len() });
        }
        let outside = |row: &&i32| usize::try_from(**row).map_or(true, |row| row >= n);
        match filter.rows.and_then(|rows| rows.iter().find(outside)) {
            Some(&row) => Err(Error::Row { row: row.into(), rows: n }),
            None => Ok(()),
        }
    }
}

fn whole_rows(what: &'static str, words: &[u64], n_words: usize) -> Result<usize, Error> {
    if words.len().is_multiple_of(n_words) {
        return Ok(words.len() / n_words);
    }
    Err(Error::Dimension { what, expected: n_words, got: words.len() % n_words })
}

/// The row at a position that a kernel returned; `check_codes` found every one to be a `usize`.
fn row_at(rows: Option<&[i32]>, position: usize) -> usize {
    rows.map_or(position, |rows| usize::try_from(rows[position]).unwrap_or_default())
}
