//! One substring of every code: its groups of rows, and how their number grows.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::group::{self, Entry, Pool, TAG_BITS, Writing};
use super::lines::{Line, Lines, prefetch};

/// Rows a group holds on average when splitting begins. Of 14 slots 10.5 are taken then, 5.3 after it; more would
/// save memory (at 10.5, 6 bytes a row and substring) and lead more groups to an extent, which is one more miss.
const MOST_ROWS_IN_A_GROUP: f64 = 10.5;

/// Which groups there are: those below `split` are told apart by `bits + 1` bits of the substring, others by `bits`.
#[derive(Clone, Copy)]
pub(super) struct Growth {
    pub(super) bits: u32,
    pub(super) split: u64,
}

impl Growth {
    /// The group of a substring.
    #[inline]
    pub(super) const fn group_of(self, substring: u64) -> u64 {
        let group = substring & ((1 << self.bits) - 1);
        if group < self.split { substring & ((1 << (self.bits + 1)) - 1) } else { group }
    }

    /// The number of groups.
    pub(super) const fn groups(self) -> u64 {
        (1 << self.bits) + self.split
    }

    const fn packed(self) -> u64 {
        self.split << 8 | self.bits as u64
    }

    const fn unpacked(packed: u64) -> Self {
        Self { bits: (packed & 0xFF) as u32, split: packed >> 8 }
    }

    const fn grown(self) -> Self {
        if self.split + 1 == 1 << self.bits {
            Self { bits: self.bits + 1, split: 0 }
        } else {
            Self { bits: self.bits, split: self.split + 1 }
        }
    }
}

/// The bits that number the groups at first, for about `rows` rows.
pub(super) fn bits_for(width: u32, rows: f64) -> u32 {
    let mut bits = width - TAG_BITS..width;
    bits.find(|&bits| rows <= MOST_ROWS_IN_A_GROUP * f64::from(1 << bits)).unwrap_or(width)
}

/// The groups of one substring.
///
/// A group is numbered by the lowest bits of the substring, so that groups near a query are enumerated by flipping
/// bits of its number; the bits above stand with each row as a tag of [`TAG_BITS`]. Growth splits one group after the
/// other (linear hashing), so no insert has to wait for a table to be rebuilt.
/// Source: Litwin 1980, section 2.
pub(super) struct Substring {
    first_bit: usize,
    width: u32,
    least_bits: u32,
    growth: AtomicU64,
    groups: Lines,
}

impl Substring {
    /// Bits `first_bit` to `first_bit + width` of a code, with groups for about `rows` rows.
    pub(super) fn new(first_bit: usize, width: u32, rows: f64) -> Self {
        let least_bits = bits_for(width, rows);
        let growth = AtomicU64::new(Growth { bits: least_bits, split: 0 }.packed());
        Self { first_bit, width, least_bits, growth, groups: Lines::new(least_bits) }
    }

    pub(super) const fn width(&self) -> u32 {
        self.width
    }

    #[inline]
    pub(super) fn growth(&self) -> Growth {
        Growth::unpacked(self.growth.load(Acquire))
    }

    #[inline]
    pub(super) fn line(&self, group: u64) -> &Line {
        #[expect(clippy::cast_possible_truncation, reason = "at most `width` bits")]
        self.groups.at(group as usize)
    }

    /// The substring of `code`.
    #[inline]
    pub(super) fn of(&self, code: &[u64]) -> u64 {
        let (word, shift) = (self.first_bit / 64, self.first_bit % 64);
        let low = code[word] >> shift;
        let high = if shift == 0 { 0 } else { code.get(word + 1).map_or(0, |word| word << (64 - shift)) };
        (low | high) & ((1 << self.width) - 1)
    }

    /// The highest bits of a substring, which stand with its rows.
    #[inline]
    pub(super) fn tag(&self, substring: u64) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "TAG_BITS bits")]
        {
            (substring >> (self.width - TAG_BITS)) as u32
        }
    }

    /// How often a group has been split if `bits` of the substring tell its rows apart.
    #[inline]
    pub(super) fn splits(&self, group: u64, bits: u32) -> u32 {
        // A group beyond the first ones came from a split, with all the bits of its number.
        let at_first = (u64::BITS - group.leading_zeros()).max(self.least_bits);
        bits - at_first
    }

    pub(super) fn prefetch(&self, code: &[u64]) {
        prefetch(self.line(self.growth().group_of(self.of(code))));
    }

    /// Enters a row; returns whether its group took it.
    pub(super) fn insert(&self, code: &[u64], row: u32, extents: &Lines, pool: &mut Pool) -> bool {
        let (mut group, entry) = self.group(code, row, extents, pool);
        group.insert(entry)
    }

    /// Takes a row out; returns whether it was there.
    pub(super) fn remove(&self, code: &[u64], row: u32, extents: &Lines, pool: &mut Pool) -> bool {
        let (mut group, entry) = self.group(code, row, extents, pool);
        group.remove(entry)
    }

    /// Whether groups are to be split: a round of splits has begun, or `rows` are too many for the groups there are.
    #[expect(clippy::cast_precision_loss, reason = "both are below 2^28")]
    pub(super) fn should_split(&self, rows: usize) -> bool {
        let now = self.growth();
        now.bits < self.width && (now.split > 0 || rows as f64 > MOST_ROWS_IN_A_GROUP * now.groups() as f64)
    }

    /// Splits the next group.
    pub(super) fn split(&self, extents: &Lines, pool: &mut Pool) {
        let now = Growth::unpacked(self.growth.load(Relaxed));
        let (own, other) = (self.line(now.split), self.line(now.split + (1 << now.bits)));
        let bit = 1 << (now.bits - (self.width - TAG_BITS));
        Writing { own, extents, pool }.split(other, bit);
        self.growth.store(now.grown().packed(), Release);
    }

    fn group<'a>(
        &'a self,
        code: &[u64],
        row: u32,
        extents: &'a Lines,
        pool: &'a mut Pool,
    ) -> (Writing<'a>, Entry) {
        let substring = self.of(code);
        let own = self.line(self.growth().group_of(substring));
        (Writing { own, extents, pool }, Entry::new(self.tag(substring), row))
    }

    /// Groups in which nothing can be told.
    pub(super) fn overfull_groups(&self) -> usize {
        (0..self.growth().groups()).filter(|&group| group::header(self.line(group)).is_overfull()).count()
    }
}
