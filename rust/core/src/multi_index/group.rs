//! A group: the rows whose substrings share their lowest bits, as one line of slots and, for a large group, an extent
//! of more lines.
//!
//! A writer and any number of readers use a group at the same time. A slot is written in one piece, and an entry that
//! stays is not moved, with two exceptions: to a larger or smaller extent, and out of a group that is split. Both
//! change the header, and a reader that finds another header after reading than before knows that it may have missed
//! an entry. What a reader finds too much does no harm: every row is compared by its whole code.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::fence;

use super::lines::{Line, Lines};

/// Bits of a row number in a slot.
pub(super) const ROW_BITS: u32 = 27;
/// Highest bits of the substring in a slot.
pub(super) const TAG_BITS: u32 = 4;
/// Slots of a group's own line; the header has the place of two.
pub(super) const OWN_SLOTS: usize = 14;
/// Slots of a line of an extent.
pub(super) const EXTENT_SLOTS: usize = 16;
/// Extents have 1, 2, 4 ... `2^LARGEST_EXTENT` lines.
pub(super) const LARGEST_EXTENT: u32 = 7;

const OCCUPIED: u32 = 1 << 31;
const ROW: u32 = (1 << ROW_BITS) - 1;

/// A row and the tag of its substring, in a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry(u32);

impl Entry {
    pub(super) const EMPTY: Self = Self(0);

    pub(super) const fn new(tag: u32, row: u32) -> Self {
        Self(OCCUPIED | tag << ROW_BITS | row & ROW)
    }

    pub(super) const fn tag(self) -> u32 {
        self.0 >> ROW_BITS & ((1 << TAG_BITS) - 1)
    }

    /// What differs from `other`, an occupied entry, above the row: the difference of the tags, or 16 and more if
    /// this entry is empty.
    #[inline]
    pub(super) const fn difference(self, other: Self) -> u32 {
        (self.0 ^ other.0) >> ROW_BITS
    }

    #[inline]
    pub(super) const fn row(self) -> u32 {
        self.0 & ROW
    }

    const fn is_empty(self) -> bool {
        self.0 == Self::EMPTY.0
    }
}

/// The header of a group: how often it was split, where its extent lies, and a number that every move changes.
///
/// Bits 0 to 27 the number, 28 to 55 the extent's first line plus 1, 56 to 58 its size, 59 to 63 splits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header(u64);

const MOVES: u64 = (1 << 28) - 1;
const LINK_SHIFT: u32 = 28;
const LINK: u64 = ((1 << 28) - 1) << LINK_SHIFT;
const SIZE_SHIFT: u32 = 56;
const SPLITS_SHIFT: u32 = 59;

/// An extent: its first line in the pool, and its lines as a power of two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Extent {
    pub(super) first: u32,
    pub(super) size: u32,
}

impl Extent {
    pub(super) const fn lines(self) -> usize {
        1 << self.size
    }

    pub(super) const fn slots(self) -> usize {
        self.lines() * EXTENT_SLOTS
    }
}

impl Header {
    pub(super) const fn splits(self) -> u32 {
        (self.0 >> SPLITS_SHIFT) as u32
    }

    /// Whether more rows belong here than a group holds. Nothing is known of them, for good.
    #[inline]
    pub(super) const fn is_overfull(self) -> bool {
        self.0 & LINK == LINK
    }

    #[inline]
    pub(super) const fn extent(self) -> Option<Extent> {
        let link = (self.0 & LINK) >> LINK_SHIFT;
        if link == 0 || link == LINK >> LINK_SHIFT {
            return None;
        }
        Some(Extent { first: link as u32 - 1, size: (self.0 >> SIZE_SHIFT & 7) as u32 })
    }

    const fn moved(self) -> Self {
        Self(self.0 & !MOVES | self.0.wrapping_add(1) & MOVES)
    }

    const fn with_extent(self, extent: Option<Extent>) -> Self {
        let cleared = self.moved().0 & !(LINK | 7 << SIZE_SHIFT);
        match extent {
            None => Self(cleared),
            Some(Extent { first, size }) => {
                Self(cleared | (first as u64 + 1) << LINK_SHIFT | (size as u64) << SIZE_SHIFT)
            }
        }
    }

    const fn overfull(self) -> Self {
        Self(self.moved().0 | LINK)
    }

    const fn split(self) -> Self {
        Self(self.moved().0.wrapping_add(1 << SPLITS_SHIFT))
    }
}

#[inline]
pub(super) fn header(own: &Line) -> Header {
    Header(own[0].load(Acquire))
}

/// The header after reading slots: the same as before if nothing has moved meanwhile.
#[inline]
pub(super) fn header_again(own: &Line) -> Header {
    fence(Acquire);
    Header(own[0].load(Relaxed))
}

/// The two slots of a word.
#[inline]
pub(super) fn entries(word: u64) -> [Entry; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "the halves")]
    [Entry(word as u32), Entry((word >> 32) as u32)]
}

/// Everything that was written before is seen by whoever sees this header, and what is written after by nobody who
/// did not see it.
fn publish(own: &Line, header: Header) {
    own[0].store(header.0, Release);
    fence(Release);
}

fn load(line: &Line, slot: usize) -> Entry {
    entries(line[slot / 2].load(Relaxed))[slot % 2]
}

fn store(line: &Line, slot: usize, entry: Entry) {
    let word = &line[slot / 2];
    let shift = slot % 2 * 32;
    word.store(word.load(Relaxed) & !(u64::from(u32::MAX) << shift) | u64::from(entry.0) << shift, Release);
}

/// Extents and the ones given back. For the one writer.
pub(super) struct Pool {
    free: [Vec<u32>; LARGEST_EXTENT as usize + 1],
    used: u32,
}

impl Pool {
    pub(super) fn new() -> Self {
        Self { free: [const { Vec::new() }; LARGEST_EXTENT as usize + 1], used: 0 }
    }

    /// Lines that were ever taken.
    pub(super) const fn lines(&self) -> usize {
        self.used as usize
    }

    /// An extent of `2^size` lines, which may hold old entries; larger ones are halved.
    fn take(&mut self, size: u32) -> Extent {
        let first = self.free[size as usize].pop().unwrap_or_else(|| {
            if size == LARGEST_EXTENT {
                self.used += 1 << size;
                return self.used - (1 << size);
            }
            let double = self.take(size + 1).first;
            self.free[size as usize].push(double + (1 << size));
            double
        });
        Extent { first, size }
    }

    fn give_back(&mut self, extent: Extent) {
        self.free[extent.size as usize].push(extent.first);
    }
}

/// The groups' side of writing: one group's own line, and the pool of extents.
pub(super) struct Writing<'a> {
    pub(super) own: &'a Line,
    pub(super) extents: &'a Lines,
    pub(super) pool: &'a mut Pool,
}

impl Writing<'_> {
    /// Enters `entry`; a group that is too large for it becomes overfull. Returns whether the entry is in.
    pub(super) fn insert(&mut self, entry: Entry) -> bool {
        let now = header(self.own);
        if now.is_overfull() {
            return false;
        }
        if let Some((line, slot)) = self.find(Entry::is_empty) {
            store(line, slot, entry);
            return true;
        }
        let old = now.extent();
        let size = old.map_or(0, |extent| extent.size + 1);
        if size > LARGEST_EXTENT {
            publish(self.own, now.overfull());
            self.give_back(old);
            return false;
        }
        let new = self.pool.take(size);
        let kept = old.map_or(0, Extent::slots);
        for slot in 0..new.slots() {
            let old = old.filter(|_| slot < kept);
            let moved = old.map_or(Entry::EMPTY, |old| load(self.line(old, slot), slot % EXTENT_SLOTS));
            store(self.line(new, slot), slot % EXTENT_SLOTS, if slot == kept { entry } else { moved });
        }
        publish(self.own, now.with_extent(Some(new)));
        self.give_back(old);
        true
    }

    /// Takes `entry` out. Returns whether it was there, as it may have been in an overfull group.
    pub(super) fn remove(&mut self, entry: Entry) -> bool {
        if header(self.own).is_overfull() {
            return true;
        }
        let found = self.find(|there| there == entry);
        if let Some((line, slot)) = found {
            store(line, slot, Entry::EMPTY);
        }
        found.is_some()
    }

    /// Moves the entries whose tag has `bit` into `other`, a group that nobody reads yet.
    pub(super) fn split(&mut self, other: &Line, bit: u32) {
        let now = header(self.own);
        if now.is_overfull() {
            publish(other, header(other).overfull());
            publish(self.own, now.split());
            return;
        }
        let leaves = |entry: Entry| !entry.is_empty() && entry.tag() & bit != 0;
        let mut image = Writing { own: other, extents: self.extents, pool: &mut *self.pool };
        each(self.own, self.extents, now, |_, _, entry| {
            if leaves(entry) {
                image.insert(entry);
            }
        });
        publish(self.own, now.split());
        each(self.own, self.extents, now, |line, slot, entry| {
            if leaves(entry) {
                store(line, slot, Entry::EMPTY);
            }
        });
        self.shrink();
    }

    /// Gives the extent back if the group's own line has room for its entries.
    fn shrink(&mut self) {
        let now = header(self.own);
        let Some(extent) = now.extent() else { return };
        let mut beyond = Vec::with_capacity(OWN_SLOTS + 1);
        for slot in 0..extent.slots() {
            let entry = load(self.line(extent, slot), slot % EXTENT_SLOTS);
            if !entry.is_empty() && beyond.len() <= OWN_SLOTS {
                beyond.push(entry);
            }
        }
        let holes: Vec<usize> = (2..EXTENT_SLOTS).filter(|&slot| load(self.own, slot).is_empty()).collect();
        if beyond.len() > holes.len() {
            return;
        }
        for (&hole, &entry) in holes.iter().zip(&beyond) {
            store(self.own, hole, entry);
        }
        publish(self.own, now.with_extent(None));
        self.pool.give_back(extent);
    }

    fn give_back(&mut self, extent: Option<Extent>) {
        if let Some(extent) = extent {
            self.pool.give_back(extent);
        }
    }

    /// The first slot whose entry is as wanted.
    fn find(&self, is_wanted: impl Fn(Entry) -> bool) -> Option<(&Line, usize)> {
        let found = (2..EXTENT_SLOTS).find(|&slot| is_wanted(load(self.own, slot)));
        if let Some(slot) = found {
            return Some((self.own, slot));
        }
        let extent = header(self.own).extent()?;
        let mut slots = (0..extent.slots()).map(|slot| (self.line(extent, slot), slot % EXTENT_SLOTS));
        slots.find(|&(line, slot)| is_wanted(load(line, slot)))
    }

    fn line(&self, extent: Extent, slot: usize) -> &Line {
        self.extents.at(extent.first as usize + slot / EXTENT_SLOTS)
    }
}

/// Every slot of a group, its own first.
fn each(own: &Line, extents: &Lines, header: Header, mut visit: impl FnMut(&Line, usize, Entry)) {
    for slot in 2..EXTENT_SLOTS {
        visit(own, slot, load(own, slot));
    }
    let Some(extent) = header.extent() else { return };
    for slot in 0..extent.slots() {
        let line = extents.at(extent.first as usize + slot / EXTENT_SLOTS);
        visit(line, slot % EXTENT_SLOTS, load(line, slot % EXTENT_SLOTS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(own: &Line, extents: &Lines, pool: &mut Pool, rows: std::ops::Range<u32>) {
        for row in rows {
            assert!(Writing { own, extents, pool }.insert(Entry::new(row % 16, row)));
        }
    }

    fn rows(own: &Line, extents: &Lines) -> Vec<u32> {
        let mut rows = Vec::new();
        each(own, extents, header(own), |_, _, entry| {
            if !entry.is_empty() {
                rows.push(entry.row());
            }
        });
        rows.sort_unstable();
        rows
    }

    #[test]
    fn a_reader_can_tell_that_an_extent_was_replaced() {
        let (groups, extents, mut pool) = (Lines::new(1), Lines::new(7), Pool::new());
        let own = groups.at(0);
        for (end, moves) in [(14, 0), (15, 1), (30, 1), (31, 2), (46, 2), (47, 3)] {
            let before = rows(own, &extents).len().try_into().unwrap();
            insert(own, &extents, &mut pool, before..end);
            assert_eq!(header(own).0 & MOVES, moves, "{end} rows");
            assert_eq!(rows(own, &extents), (0..end).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_reader_can_tell_that_a_group_was_split() {
        let (groups, extents, mut pool) = (Lines::new(1), Lines::new(7), Pool::new());
        let (own, other) = (groups.at(0), groups.at(1));
        insert(own, &extents, &mut pool, 0..20);
        let before = header(own);
        Writing { own, extents: &extents, pool: &mut pool }.split(other, 1);
        assert_ne!(header_again(own), before);
        assert_eq!((header(own).splits(), header(other).splits()), (1, 0));
        assert_eq!(rows(own, &extents), (0..20).step_by(2).collect::<Vec<_>>());
        assert_eq!(rows(other, &extents), (1..20).step_by(2).collect::<Vec<_>>());
        assert_eq!(header(own).extent(), None, "ten rows have room in a line");
    }

    #[test]
    fn a_group_beyond_its_greatest_size_is_overfull_and_so_are_its_halves() {
        let (groups, extents, mut pool) = (Lines::new(1), Lines::new(7), Pool::new());
        let (own, other) = (groups.at(0), groups.at(1));
        insert(own, &extents, &mut pool, 0..2062);
        let mut writing = Writing { own, extents: &extents, pool: &mut pool };
        assert!(!writing.insert(Entry::new(0, 2062)));
        writing.split(other, 1);
        assert!(header(own).is_overfull() && header(other).is_overfull());
        let lines = pool.lines();
        insert(groups.at(2), &extents, &mut pool, 0..2062);
        assert_eq!(pool.lines(), lines, "what was given back is used again");
    }
}
