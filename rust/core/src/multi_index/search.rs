//! One query: which groups to read, which rows to compare, and when the nearest row is proven.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::codes::Codes;
use super::group::{self, EXTENT_SLOTS, Entry, LARGEST_EXTENT, OWN_SLOTS, TAG_BITS};
use super::lines::{Line, prefetch};
use super::{MultiIndex, cost};
use crate::{Error, Nearest};

/// Groups that are loaded together, while those before them are read: two batches of lines and the codes of their
/// candidates stay in the second-level cache.
const GROUPS_AT_ONCE: usize = 96;
/// Room for the entries of the largest group beside those of ordinary ones. A power of two.
const CANDIDATES: usize = 4096;
const LARGEST_GROUP: usize = OWN_SLOTS + (EXTENT_SLOTS << LARGEST_EXTENT);
/// A step that costs less than this share of the scan is taken even if the whole way is not worth it: it finds what is
/// very near, and then the way is short.
const CHEAP: f64 = 1.0 / 64.0;

/// A bit for each difference of tags in which exactly `ones` of the highest `n` bits are set.
static DIFFERENCES: [[u32; TAG_BITS as usize + 1]; TAG_BITS as usize + 1] = {
    let mut masks = [[0; TAG_BITS as usize + 1]; TAG_BITS as usize + 1];
    let mut n = 0;
    while n <= TAG_BITS {
        let mut difference: u32 = 0;
        while difference < 1 << TAG_BITS {
            let ones = (difference >> (TAG_BITS - n)).count_ones();
            masks[n as usize][ones as usize] |= 1 << difference;
            difference += 1;
        }
        n += 1;
    }
    masks
};

/// A group to read, and which of its rows to compare.
#[derive(Clone, Copy)]
struct Visit<'a> {
    own: &'a Line,
    group: u32,
    substring: u8,
    /// Bits of the substring that the group's number does not tell.
    untold: u8,
    /// How many of those differ from the query.
    differing: u8,
}

/// Entries that match, in a ring so that no position has to be checked.
struct Candidates {
    entries: Box<[Entry; CANDIDATES]>,
    len: usize,
}

impl Candidates {
    /// Adds the entries of `words` whose tags differ from that of `like` as `wanted` says. Without branches: which
    /// slots match is as good as random.
    #[inline]
    fn add(&mut self, words: &[AtomicU64], like: Entry, wanted: u32) {
        for word in words {
            for entry in group::entries(word.load(Relaxed)) {
                self.entries[self.len % CANDIDATES] = entry;
                self.len += (wanted >> (entry.difference(like) & 31) & 1) as usize;
            }
        }
    }
}

/// A search under way.
pub(super) struct Search<'a, C> {
    index: &'a MultiIndex,
    codes: &'a C,
    /// The query's substrings.
    substrings: Vec<u64>,
    /// How many radii, from 0, each substring has been tried at.
    tried: Vec<u32>,
    /// Substrings that cannot be gone on with: a group was overfull, or was changed in the middle of being read.
    stuck: Vec<bool>,
    /// Farther rows are of no interest (any more).
    greatest: u32,
    best: Option<Nearest>,
    /// Groups whose lines are being loaded, and those that were before them.
    visits: Vec<Visit<'a>>,
    earlier_visits: Vec<Visit<'a>>,
    candidates: Candidates,
    /// Rows whose codes are being loaded.
    rows: Vec<i32>,
    /// Nanoseconds, by the estimates of [`cost`].
    spent: f64,
    scan: f64,
}

impl<'a, C: Codes> Search<'a, C> {
    pub(super) fn new(index: &'a MultiIndex, query: &[u64], codes: &'a C, greatest: u32) -> Self {
        let n = index.substrings.len();
        Self {
            index,
            codes,
            substrings: index.substrings.iter().map(|substring| substring.of(query)).collect(),
            tried: vec![0; n],
            stuck: vec![false; n],
            greatest: greatest.min(u32::try_from(index.code_bits).unwrap_or(u32::MAX)),
            best: None,
            visits: Vec::with_capacity(GROUPS_AT_ONCE),
            earlier_visits: Vec::with_capacity(GROUPS_AT_ONCE),
            candidates: Candidates { entries: Box::new([Entry::EMPTY; CANDIDATES]), len: 0 },
            rows: Vec::new(),
            spent: 0.0,
            scan: codes.scan_nanoseconds(),
        }
    }

    /// The nearest row not farther than `greatest`, the lowest among equals; and whether the index alone found it.
    ///
    /// A *unit* is one substring at one radius. A code that differs from the query in more than `r` bits of a
    /// substring that was tried at radii 0 to `r`, and so in every substring, is farther than the units are many. So
    /// after `u` units all rows at distances below `u` have been met, ties included.
    /// Source: Norouzi, Punjani, Fleet 2012, sections 3.1 and 3.3 (the bound of the progressive search).
    pub(super) fn run(mut self) -> Result<(Option<Nearest>, bool), Error> {
        for radius in 0.. {
            if !self.is_worth_it(radius) {
                break;
            }
            self.try_all_at(radius)?;
            if self.proven() > self.greatest {
                return Ok((self.best, true));
            }
        }
        Ok((self.codes.nearest_of_all(self.greatest)?, false))
    }

    /// Below this distance every row has been met.
    fn proven(&self) -> u32 {
        self.tried.iter().sum()
    }

    /// Whether to try substrings at `radius` and further, rather than to scan.
    fn is_worth_it(&self, radius: u32) -> bool {
        let usable = self.stuck.iter().filter(|&&stuck| !stuck).count();
        if usable == 0 || self.spent > self.scan {
            return false;
        }
        let mut missing = (self.greatest + 1 - self.proven()) as usize;
        let (mut way, mut step) = (0.0, 0.0);
        for radius in radius.. {
            let now = missing.min(usable);
            let cost = self.index.cost_of_units(radius, now);
            if step == 0.0 {
                step = cost;
            }
            way += cost;
            missing -= now;
            if missing == 0 || self.spent + way > self.scan {
                break;
            }
        }
        self.spent + way <= self.scan || step < self.scan * CHEAP
    }

    /// Tries as many substrings at `radius` as are needed.
    fn try_all_at(&mut self, radius: u32) -> Result<(), Error> {
        let mut begun = Vec::with_capacity(self.substrings.len());
        for position in 0..self.substrings.len() {
            #[expect(clippy::cast_possible_truncation, reason = "at most MOST_SUBSTRINGS")]
            if self.proven() + begun.len() as u32 > self.greatest {
                break;
            }
            if !self.stuck[position] {
                begun.push(position);
                self.visit_at(position, radius)?;
            }
        }
        // The last ones have two steps to go: from being loaded to being read, and to being compared.
        self.advance()?;
        self.advance()?;
        self.compare()?;
        for position in begun {
            self.tried[position] += u32::from(!self.stuck[position]);
        }
        Ok(())
    }

    /// Notes the groups that hold substrings at exactly `radius` from the query's.
    fn visit_at(&mut self, position: usize, radius: u32) -> Result<(), Error> {
        let substring = &self.index.substrings[position];
        let (query, growth) = (self.substrings[position], substring.growth());
        let untold = substring.width() - growth.bits;
        let here = query & ((1 << growth.bits) - 1);
        let top = 1 << growth.bits;
        for flips in radius.saturating_sub(untold)..=radius.min(growth.bits) {
            let differing = radius - flips;
            let mut flipped = (1_u64 << flips) - 1;
            while flipped < top {
                let group = here ^ flipped;
                if group >= growth.split {
                    self.visit(position, group, untold, differing)?;
                } else {
                    let same = group | query & top;
                    self.visit(position, same, untold - 1, differing)?;
                    if differing > 0 {
                        self.visit(position, same ^ top, untold - 1, differing - 1)?;
                    }
                }
                flipped = next_with_as_many_ones(flipped);
            }
        }
        Ok(())
    }

    fn visit(&mut self, position: usize, group: u64, untold: u32, differing: u32) -> Result<(), Error> {
        if differing > untold {
            return Ok(());
        }
        if self.visits.len() == GROUPS_AT_ONCE {
            self.advance()?;
        }
        let own = self.index.substrings[position].line(group);
        prefetch(own);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "groups have at most 31 bits, the others fewer than 8"
        )]
        self.visits.push(Visit {
            own,
            group: group as u32,
            substring: position as u8,
            untold: untold as u8,
            differing: differing as u8,
        });
        Ok(())
    }

    /// Reads the groups that were noted before the last ones, and leaves these to be loaded meanwhile.
    fn advance(&mut self) -> Result<(), Error> {
        std::mem::swap(&mut self.visits, &mut self.earlier_visits);
        let visits = std::mem::take(&mut self.visits);
        self.spent += cost::groups(visits.len());
        for visit in &visits {
            if !self.read(visit)? {
                self.stuck[usize::from(visit.substring)] = true;
            }
        }
        self.visits = visits;
        self.visits.clear();
        self.compare()?;
        self.take_candidates();
        Ok(())
    }

    /// Adds a group's entries to the candidates; returns whether all that should be there was seen.
    fn read(&mut self, visit: &Visit) -> Result<bool, Error> {
        let position = usize::from(visit.substring);
        let substring = &self.index.substrings[position];
        let header = group::header(visit.own);
        let bits = substring.width() - u32::from(visit.untold);
        if header.is_overfull() || header.splits() != substring.splits(visit.group.into(), bits) {
            return Ok(false);
        }
        if self.candidates.len + LARGEST_GROUP > CANDIDATES {
            self.compare()?;
            self.take_candidates();
        }
        let like = Entry::new(substring.tag(self.substrings[position]), 0);
        let wanted = DIFFERENCES[usize::from(visit.untold)][usize::from(visit.differing)];
        self.candidates.add(&visit.own[1..], like, wanted);
        if let Some(extent) = header.extent() {
            self.spent += cost::groups(extent.lines());
            for line in 0..extent.lines() {
                self.candidates.add(self.index.extents.at(extent.first as usize + line), like, wanted);
            }
        }
        Ok(group::header_again(visit.own) == header)
    }

    /// Turns candidates into rows and begins to load their codes. A row that the query does not know of was entered
    /// after it began.
    fn take_candidates(&mut self) {
        let end = self.codes.rows();
        for entry in &self.candidates.entries[..self.candidates.len] {
            let row = entry.row();
            if (row as usize) < end {
                self.codes.prefetch(row as usize);
                self.rows.push(row.cast_signed());
            }
        }
        self.candidates.len = 0;
    }

    /// Compares rows by their whole codes.
    fn compare(&mut self) -> Result<(), Error> {
        self.spent += cost::candidates(self.rows.len());
        if let Some(found) = self.codes.nearest_of(&self.rows, self.greatest)? {
            self.best = Some(self.best.map_or(found, |best| best.min(found)));
            self.greatest = found.distance;
        }
        self.rows.clear();
        Ok(())
    }
}

/// The next greater number with as many ones; 0 and a number past all others end the row.
/// Source: Beeler, Gosper, Schroeppel 1972, item 175.
fn next_with_as_many_ones(number: u64) -> u64 {
    if number == 0 {
        return u64::MAX;
    }
    let lowest = number & number.wrapping_neg();
    let ripple = number + lowest;
    ripple | ((number ^ ripple) >> 2) >> number.trailing_zeros()
}
