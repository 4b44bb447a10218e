//! Code to row in O(1): an open-addressing hash table over rows of a code matrix.
//!
//! The caller owns the memory: `places` holds row numbers, [`EMPTY`] where free, and the codes stay where they are,
//! so an entry costs four bytes per place. Linear probing, deletion by backward shift (no tombstones, so a table
//! that lives long does not slow down).

use crate::{Codes, Error};

/// Marks a free place.
pub const EMPTY: i32 = -1;

/// A hash table of rows. `key` is secret and random, so that nobody can prepare codes that fall together.
pub struct Table<'a> {
    codes: Codes<'a>,
    n_words: usize,
    rows: usize,
    key: u64,
}

impl<'a> Table<'a> {
    /// A table over the rows of `codes`, each `n_words` long.
    ///
    /// # Errors
    ///
    /// [`Error::Dimension`] when `codes` is not a whole number of rows.
    pub fn new(codes: impl Into<Codes<'a>>, n_words: usize, key: u64) -> Result<Self, Error> {
        let codes = codes.into();
        Ok(Self { codes, n_words, rows: codes.rows(n_words)?, key })
    }

    /// The row whose code equals `code`.
    ///
    /// # Errors
    ///
    /// [`Error::Dimension`] for a code of another width, [`Error::Row`] when the table holds a row that is not there.
    pub fn find(&self, places: &[i32], code: &[u64]) -> Result<Option<i32>, Error> {
        if code.len() != self.n_words {
            return Err(Error::Dimension { what: "words in a code", expected: self.n_words, got: code.len() });
        }
        let mut place = self.home(code, places.len());
        for _ in 0..places.len() {
            let row = places[place];
            if row == EMPTY {
                return Ok(None);
            }
            if self.codes.is(self.index(row)?, code) {
                return Ok(Some(row));
            }
            place = next(place, places.len());
        }
        Ok(None)
    }

    /// Enters `row`, unless an equal code is there already. Returns whether it was entered.
    ///
    /// # Errors
    ///
    /// [`Error::Row`] for a row that is not there, [`Error::TableFull`] when no place is left.
    pub fn insert(&self, places: &mut [i32], row: i32) -> Result<bool, Error> {
        self.codes.with(self.index(row)?, self.n_words, |code| self.insert_code(places, row, code))
    }

    fn insert_code(&self, places: &mut [i32], row: i32, code: &[u64]) -> Result<bool, Error> {
        let mut place = self.home(code, places.len());
        for _ in 0..places.len() {
            if places[place] == EMPTY {
                places[place] = row;
                return Ok(true);
            }
            if self.codes.is(self.index(places[place])?, code) {
                return Ok(false);
            }
            place = next(place, places.len());
        }
        Err(Error::TableFull { places: places.len() })
    }

    /// Takes `row` out and closes the gap. Returns whether it was there.
    ///
    /// # Errors
    ///
    /// [`Error::Row`] when `row`, or a row that the table holds, is not there.
    pub fn remove(&self, places: &mut [i32], row: i32) -> Result<bool, Error> {
        let len = places.len();
        let Some(mut gap) = self.place_of(places, row)? else { return Ok(false) };
        let mut place = gap;
        for _ in 1..len {
            place = next(place, len);
            if places[place] == EMPTY {
                break;
            }
            // An entry may move back into the gap unless its home lies between the gap and itself.
            let home = self.home_of(places[place], len)?;
            if (place + len - home) % len >= (place + len - gap) % len {
                places[gap] = places[place];
                gap = place;
            }
        }
        places[gap] = EMPTY;
        Ok(true)
    }

    fn place_of(&self, places: &[i32], row: i32) -> Result<Option<usize>, Error> {
        let mut place = self.home_of(row, places.len())?;
        for _ in 0..places.len() {
            match places[place] {
                EMPTY => return Ok(None),
                found if found == row => return Ok(Some(place)),
                _ => place = next(place, places.len()),
            }
        }
        Ok(None)
    }

    fn index(&self, row: i32) -> Result<usize, Error> {
        let index = usize::try_from(row).ok().filter(|&index| index < self.rows);
        index.ok_or(Error::Row { row: row.into(), rows: self.rows })
    }

    fn home_of(&self, row: i32, places: usize) -> Result<usize, Error> {
        Ok(self.codes.with(self.index(row)?, self.n_words, |code| self.home(code, places)))
    }

    /// The place where a search for `code` begins; 0 for an empty table.
    fn home(&self, code: &[u64], places: usize) -> usize {
        // Folded multiplication; the key enters both factors, so equal sums need knowledge of the key.
        // Source: Wang Yi, wyhash. Range reduction source: Lemire 2019, section 3.
        let mut hash = self.key;
        for &word in code {
            let product = u128::from(word ^ hash) * u128::from(self.key.rotate_left(32) ^ 0xA076_1D64_78BD_642F);
            #[expect(clippy::cast_possible_truncation, reason = "the fold wants both halves")]
            {
                hash = (product as u64) ^ ((product >> 64) as u64).rotate_left(7) ^ word.rotate_left(29);
            }
        }
        let scrambled = u128::from(hash.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        #[expect(clippy::cast_possible_truncation, reason = "the quotient is below `places`")]
        {
            ((scrambled * places as u128) >> 64) as usize
        }
    }
}

const fn next(place: usize, len: usize) -> usize {
    if place + 1 == len { 0 } else { place + 1 }
}
