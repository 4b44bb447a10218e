//! Codes of rows as a search reads them: row after row, or cut into slices so that it reads little more than half.
//!
//! A *slice* is 16 bits of a code, slice `s` its bits `16 s` to `16 s + 15`. Codes of 256 bits go in groups of
//! [`GROUP_ROWS`] rows, slice by slice: a group's *head* holds the first nine slices of all its rows, its *tail* the
//! other seven. Heads stand in one array and tails in another, so a scan that needs only heads reads them without a
//! gap, which is what memory is quick at. 144 of 256 bits leave one random row in 3,000 undecided at a similarity of
//! 0.80; 128 bits leave one in 70.
//!
//! Rejected, as measured on Zen 4 at 0.80: heads of 128 bits as words (1.7x the time at 1M rows, most of it for the
//! undecided), and heads and tails in one array by turns (1.4x to 2x at 1M, as the jumps defeat prefetching).

use crate::Error;

/// Rows of a group: as many 16-bit lanes as a 512-bit register has.
pub const GROUP_ROWS: usize = 32;
/// Slices of a head.
pub const HEAD_SLICES: usize = 9;
/// Slices of a tail.
pub const TAIL_SLICES: usize = 16 - HEAD_SLICES;
/// Words of a code that can be sliced.
pub const SLICED_WORDS: usize = 4;

/// The first slices of a group.
pub type Head = [[u16; GROUP_ROWS]; HEAD_SLICES];
/// The other slices of a group.
pub type Tail = [[u16; GROUP_ROWS]; TAIL_SLICES];

/// Whole groups of sliced codes, as many heads as tails.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sliced<'a> {
    heads: &'a [Head],
    tails: &'a [Tail],
}

impl<'a> Sliced<'a> {
    /// Groups out of the words of their heads and tails.
    ///
    /// # Errors
    ///
    /// [`Error::Dimension`] when they are not whole groups, or not as many heads as tails.
    pub fn new(heads: &'a [u16], tails: &'a [u16]) -> Result<Self, Error> {
        let (heads, tails) = (whole(heads.as_chunks())?, whole(tails.as_chunks())?);
        let (heads, tails) = (whole(heads.as_chunks())?, whole(tails.as_chunks())?);
        same_groups(heads.len(), tails.len())?;
        Ok(Self { heads, tails })
    }

    /// Number of rows.
    #[must_use]
    pub const fn rows(self) -> usize {
        self.heads.len() * GROUP_ROWS
    }

    pub(crate) const fn heads(self) -> &'a [Head] {
        self.heads
    }

    pub(crate) const fn tails(self) -> &'a [Tail] {
        self.tails
    }

    /// The code of `row`, which must be there.
    #[must_use]
    pub fn code(self, row: usize) -> [u64; SLICED_WORDS] {
        let (group, lane) = (row / GROUP_ROWS, row % GROUP_ROWS);
        let slices = self.heads[group].iter().chain(&self.tails[group]);
        let mut code = [0; SLICED_WORDS];
        for (s, slice) in slices.enumerate() {
            code[s / 4] |= u64::from(slice[lane]) << (16 * (s % 4));
        }
        code
    }

    /// The codes of `rows`, one after another.
    ///
    /// # Errors
    ///
    /// [`Error::Row`] for a row that is not there.
    pub fn codes_of(self, rows: &[i32]) -> Result<Vec<u64>, Error> {
        let mut codes = Vec::with_capacity(rows.len() * SLICED_WORDS);
        for &row in rows {
            let index = usize::try_from(row).ok().filter(|&index| index < self.rows());
            let index = index.ok_or_else(|| Error::Row { row: row.into(), rows: self.rows() })?;
            codes.extend(self.code(index));
        }
        Ok(codes)
    }

    /// Whether the code of `row`, which must be there, is `code`. Nearly always the first slice tells.
    fn is(self, row: usize, code: &[u64]) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "the lowest slice of a word")]
        let first = code.first().map(|&word| word as u16);
        first == Some(self.heads[row / GROUP_ROWS][0][row % GROUP_ROWS]) && self.code(row) == code
    }
}

/// Codes of rows in order: those of sliced groups first, then those of an array, row after row.
#[derive(Debug, Clone, Copy, Default)]
pub struct Codes<'a> {
    /// Rows from 0 on; only for codes of [`SLICED_WORDS`] words.
    pub sliced: Sliced<'a>,
    /// The words of the rows behind them, a whole number of rows.
    pub rest: &'a [u64],
}

impl<'a, T: AsRef<[u64]> + ?Sized> From<&'a T> for Codes<'a> {
    fn from(codes: &'a T) -> Self {
        Self { sliced: Sliced::default(), rest: codes.as_ref() }
    }
}

impl Codes<'_> {
    /// Number of rows of `n_words` words.
    ///
    /// # Errors
    ///
    /// [`Error::Dimension`] when it is not a whole number, or when rows are sliced that cannot be.
    pub fn rows(self, n_words: usize) -> Result<usize, Error> {
        let what = "words in a code";
        if n_words == 0 || !self.rest.len().is_multiple_of(n_words) {
            let got = self.rest.len() % n_words.max(1);
            return Err(Error::Dimension { what, expected: n_words.max(1), got });
        }
        if self.sliced.rows() > 0 && n_words != SLICED_WORDS {
            return Err(Error::Dimension { what, expected: n_words, got: SLICED_WORDS });
        }
        Ok(self.sliced.rows() + self.rest.len() / n_words)
    }

    /// Rows `first` to `end - 1`, as far as they are there; both lie on the bounds of groups where rows are sliced.
    pub(crate) fn between(self, first: usize, end: usize, n_words: usize) -> Self {
        let (n_sliced, n_rest) = (self.sliced.rows(), self.rest.len() / n_words);
        let group = |row: usize| row.min(n_sliced) / GROUP_ROWS;
        let rest = |row: usize| row.saturating_sub(n_sliced).min(n_rest) * n_words;
        let (heads, tails) = (self.sliced.heads, self.sliced.tails);
        let groups = group(first)..group(end);
        let sliced = Sliced { heads: &heads[groups.clone()], tails: &tails[groups] };
        Self { sliced, rest: &self.rest[rest(first)..rest(end)] }
    }

    /// Calls `read` with the code of `row`, which must be there.
    pub(crate) fn with<T>(self, row: usize, n_words: usize, read: impl FnOnce(&[u64]) -> T) -> T {
        match row.checked_sub(self.sliced.rows()) {
            None => read(&self.sliced.code(row)),
            Some(row) => read(&self.rest[row * n_words..][..n_words]),
        }
    }

    /// Whether the code of `row`, which must be there, is `code`.
    pub(crate) fn is(self, row: usize, code: &[u64]) -> bool {
        match row.checked_sub(self.sliced.rows()) {
            None => self.sliced.is(row, code),
            Some(row) => &self.rest[row * code.len()..][..code.len()] == code,
        }
    }
}

/// Cuts `codes`, whole groups of rows, into slices.
///
/// # Errors
///
/// [`Error::Dimension`] when a length is not that of as many whole groups.
pub fn slice(codes: &[u64], heads: &mut [u16], tails: &mut [u16]) -> Result<(), Error> {
    let groups: &[[u64; SLICED_WORDS * GROUP_ROWS]] = whole(codes.as_chunks())?;
    let (heads, tails) = (whole_mut(heads.as_chunks_mut())?, whole_mut(tails.as_chunks_mut())?);
    let (heads, tails): (&mut [Head], &mut [Tail]) =
        (whole_mut(heads.as_chunks_mut())?, whole_mut(tails.as_chunks_mut())?);
    same_groups(groups.len(), heads.len())?;
    same_groups(groups.len(), tails.len())?;
    for ((group, head), tail) in groups.iter().zip(heads).zip(tails) {
        for (lane, code) in group.as_chunks::<SLICED_WORDS>().0.iter().enumerate() {
            for (s, slice) in head.iter_mut().chain(&mut *tail).enumerate() {
                slice[lane] = slice_of(code, s);
            }
        }
    }
    Ok(())
}

/// Slice `s` of a code.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a slice is the lowest 16 bits of what is left")]
pub(crate) const fn slice_of(code: &[u64; SLICED_WORDS], s: usize) -> u16 {
    (code[s / 4] >> (16 * (s % 4))) as u16
}

fn whole<'a, T>((groups, left): (&'a [T], &[impl Sized])) -> Result<&'a [T], Error> {
    if left.is_empty() { Ok(groups) } else { Err(not_whole(left.len())) }
}

fn whole_mut<'a, T>((groups, left): (&'a mut [T], &mut [impl Sized])) -> Result<&'a mut [T], Error> {
    if left.is_empty() { Ok(groups) } else { Err(not_whole(left.len())) }
}

const fn not_whole(left: usize) -> Error {
    Error::Dimension { what: "items behind the last whole group", expected: 0, got: left }
}

fn same_groups(expected: usize, got: usize) -> Result<(), Error> {
    if expected == got {
        return Ok(());
    }
    Err(Error::Dimension { what: "groups of codes", expected, got })
}
