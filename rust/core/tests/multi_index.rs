//! The index against the scan: whatever is inserted, removed and asked for, both find the same row.

mod dull;

use std::sync::atomic::{AtomicBool, Ordering};

use bsc_core::multi_index::{Codes, MOST_ROWS, RowMajor};
use bsc_core::{Error, Filter, Hamming, Isa, MultiIndex, Nearest};
use dull::Random;

/// Codes whose scan is said to take as long as a test wants.
struct Told<'a> {
    codes: RowMajor<'a>,
    scan_nanoseconds: f64,
}

impl Codes for Told<'_> {
    fn rows(&self) -> usize {
        self.codes.rows()
    }

    fn prefetch(&self, row: usize) {
        self.codes.prefetch(row);
    }

    fn nearest_of(&self, rows: &[i32], greatest: u32) -> Result<Option<Nearest>, Error> {
        self.codes.nearest_of(rows, greatest)
    }

    fn nearest_of_all(&self, greatest: u32) -> Result<Option<Nearest>, Error> {
        self.codes.nearest_of_all(greatest)
    }

    fn scan_nanoseconds(&self) -> f64 {
        self.scan_nanoseconds
    }
}

/// How codes are spread.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Uniform,
    /// A thousand centres, 15 % of the bits flipped.
    Clustered,
    /// One code, now and then with a bit flipped.
    AllEqual,
    /// Random but for the first 32 bits, which are the same in all.
    EqualSubstrings,
}

const KINDS: [Kind; 4] = [Kind::Uniform, Kind::Clustered, Kind::AllEqual, Kind::EqualSubstrings];

fn code(kind: Kind, random: &mut Random, code_bits: usize) -> Vec<u64> {
    let n_words = code_bits.div_ceil(64);
    let mut code = match kind {
        Kind::Uniform | Kind::EqualSubstrings => random.words(n_words),
        Kind::Clustered => {
            let centre = u64::try_from(random.below(1000)).unwrap();
            Random(centre).words(n_words)
        }
        Kind::AllEqual => vec![0x0123_4567_89AB_CDEF; n_words],
    };
    match kind {
        Kind::Clustered => flip(&mut code, random, code_bits, 15),
        Kind::AllEqual if random.below(4) == 0 => flip_one(&mut code, random, code_bits),
        Kind::EqualSubstrings => code[0] = code[0] & !0xFFFF_FFFF | 0x5555_AAAA,
        _ => {}
    }
    if !code_bits.is_multiple_of(64) {
        code[n_words - 1] &= (1 << (code_bits % 64)) - 1;
    }
    code
}

fn flip(code: &mut [u64], random: &mut Random, code_bits: usize, percent: usize) {
    for bit in 0..code_bits {
        if random.below(100) < percent {
            code[bit / 64] ^= 1 << (bit % 64);
        }
    }
}

fn flip_one(code: &mut [u64], random: &mut Random, code_bits: usize) {
    let bit = random.below(code_bits);
    code[bit / 64] ^= 1 << (bit % 64);
}

/// A cache's rows with the index over them.
struct Rows {
    kind: Kind,
    code_bits: usize,
    hamming: Hamming,
    index: MultiIndex,
    codes: Vec<u64>,
    live: Vec<u8>,
    in_use: Vec<usize>,
    free: Vec<usize>,
}

impl Rows {
    fn new(kind: Kind, code_bits: usize, expected: usize) -> Self {
        Self {
            kind,
            code_bits,
            hamming: Hamming::new(code_bits, Isa::Scalar).unwrap(),
            index: MultiIndex::new(code_bits, expected).unwrap(),
            codes: Vec::new(),
            live: Vec::new(),
            in_use: Vec::new(),
            free: Vec::new(),
        }
    }

    fn n_words(&self) -> usize {
        self.code_bits.div_ceil(64)
    }

    fn code(&self, row: usize) -> &[u64] {
        &self.codes[row * self.n_words()..][..self.n_words()]
    }

    fn insert(&mut self, random: &mut Random) {
        let code = code(self.kind, random, self.code_bits);
        let row = self.free.pop().unwrap_or_else(|| {
            self.codes.extend(vec![0; code.len()]);
            self.live.resize(self.codes.len() / code.len() / 8 + 1, 0);
            self.codes.len() / code.len() - 1
        });
        let n_words = code.len();
        self.codes[row * n_words..][..n_words].copy_from_slice(&code);
        self.live[row / 8] |= 1 << (row % 8);
        self.index.insert(row, &code).unwrap();
        self.in_use.push(row);
    }

    /// Removes the row at a place of the order of use: 0 is the one that an eviction takes.
    fn remove(&mut self, place: usize) {
        let row = self.in_use.remove(place);
        self.live[row / 8] &= !(1 << (row % 8));
        assert!(self.index.remove(row, self.code(row)).unwrap());
        self.free.push(row);
    }

    fn check(&self, query: &[u64], threshold: f64) {
        let filter = Filter { live: Some(&self.live), ..Filter::default() };
        let expected = self.hamming.nearest(query, &self.codes, threshold, filter).unwrap();
        let greatest = self.hamming.greatest_distance(threshold).unwrap();
        for scan_nanoseconds in [f64::INFINITY, 100_000.0, 3000.0, 0.0] {
            let codes = RowMajor::new(self.hamming, query, &self.codes, Some(&self.live));
            let found = self.index.nearest(query, &Told { codes, scan_nanoseconds }, greatest).unwrap();
            let (kind, bits, n) = (self.kind, self.code_bits, self.in_use.len());
            assert_eq!(found, expected, "{kind:?}, {bits} bits, {n} rows, threshold {threshold}");
        }
        assert_eq!(self.index.len(), self.in_use.len());
    }

    fn query(&self, random: &mut Random) -> Vec<u64> {
        let mut query = code(self.kind, random, self.code_bits);
        if !self.in_use.is_empty() && random.below(4) > 0 {
            query = self.code(self.in_use[random.below(self.in_use.len())]).to_vec();
            let percent = [0, 2, 8, 15][random.below(4)];
            flip(&mut query, random, self.code_bits, percent);
        }
        query
    }
}

#[test]
fn whatever_is_done_to_it_the_index_finds_what_the_scan_finds() {
    let mut random = Random(1);
    for code_bits in [64, 65, 100, 128, 256, 512, 1024] {
        for kind in KINDS {
            for expected in [0, 300, 100_000] {
                let mut rows = Rows::new(kind, code_bits, expected);
                for step in 0..1200 {
                    // Grows at first, then turns over, then shrinks.
                    let grows = if step < 700 { 9 } else { 4 };
                    if rows.in_use.is_empty() || random.below(10) < grows {
                        rows.insert(&mut random);
                    } else {
                        let place = if random.below(2) == 0 { 0 } else { random.below(rows.in_use.len()) };
                        rows.remove(place);
                    }
                    if step % 40 == 0 {
                        let query = rows.query(&mut random);
                        let threshold = [0.85, 0.9, 1.0, 0.8, 0.95][step / 40 % 5];
                        rows.check(&query, threshold);
                    }
                }
                // Every radius at the smallest tables; the others would enumerate for minutes.
                if expected == 0 && code_bits <= 256 {
                    let query = rows.query(&mut random);
                    rows.check(&query, 0.0);
                }
            }
        }
    }
}

#[test]
fn growth_from_the_smallest_tables_loses_no_row() {
    let mut random = Random(2);
    for kind in [Kind::Uniform, Kind::Clustered] {
        let mut rows = Rows::new(kind, 128, 100);
        for n in 1..=20_000 {
            rows.insert(&mut random);
            if n % 1000 == 0 {
                for _ in 0..10 {
                    let query = rows.query(&mut random);
                    rows.check(&query, 0.85);
                }
            }
        }
        for row in (0..20_000).step_by(97) {
            let query = rows.code(row).to_vec();
            rows.check(&query, 1.0);
        }
    }
}

#[test]
fn a_row_exactly_at_the_threshold_is_found_and_one_beyond_is_not() {
    let hamming = Hamming::new(256, Isa::Scalar).unwrap();
    let index = MultiIndex::new(256, 1_000_000).unwrap();
    let codes = [0; 4];
    index.insert(0, &codes).unwrap();
    let mut random = Random(3);
    for distance in (0..=40).chain([51]) {
        let mut query = [0_u64; 4];
        while (0..4).map(|word| query[word].count_ones()).sum::<u32>() < distance {
            query[random.below(4)] |= 1 << random.below(64);
        }
        let told = Told { codes: RowMajor::new(hamming, &query, &codes, None), scan_nanoseconds: f64::INFINITY };
        let found = Some(Nearest { distance, row: 0 });
        assert_eq!(index.nearest(&query, &told, distance), Ok(found));
        if distance > 0 {
            assert_eq!(index.nearest(&query, &told, distance - 1), Ok(None));
        }
    }
    assert_eq!(index.searches().1, 0, "all were answered without a scan");
}

#[test]
fn thousands_of_equal_codes_come_and_go() {
    let mut random = Random(4);
    let mut rows = Rows::new(Kind::AllEqual, 256, 5000);
    for _ in 0..5000 {
        rows.insert(&mut random);
    }
    assert!(rows.index.overfull_groups() > 0);
    // What an overfull group takes does not grow with its rows.
    assert!(rows.index.nbytes() < 3_000_000, "{}", rows.index.nbytes());
    for _ in 0..4900 {
        rows.remove(0);
        if rows.in_use.len().is_multiple_of(700) {
            let query = rows.query(&mut random);
            rows.check(&query, 0.9);
        }
    }
}

#[test]
fn a_near_row_is_found_without_a_scan_where_one_substring_is_the_same_in_all() {
    let mut random = Random(5);
    let mut rows = Rows::new(Kind::EqualSubstrings, 256, 4000);
    for _ in 0..4000 {
        rows.insert(&mut random);
    }
    assert!(rows.index.overfull_groups() > 0);
    let mut query = rows.code(2000).to_vec();
    query[3] ^= 0b1011 << 40;
    let told =
        Told { codes: RowMajor::new(rows.hamming, &query, &rows.codes, None), scan_nanoseconds: f64::INFINITY };
    assert_eq!(rows.index.nearest(&query, &told, 30), Ok(Some(Nearest { distance: 3, row: 2000 })));
    assert_eq!(rows.index.searches(), (1, 0));
}

#[test]
fn what_was_removed_is_taken_from_the_tables() {
    let mut random = Random(6);
    let mut rows = Rows::new(Kind::Uniform, 256, 1000);
    for _ in 0..100_000 {
        rows.insert(&mut random);
        if rows.in_use.len() > 1000 {
            rows.remove(0);
        }
    }
    // A group for each value of each substring of at most 10 bits, and as many lines of extents.
    assert!(rows.index.nbytes() < 26 * 1024 * 64 * 2, "{}", rows.index.nbytes());
    assert!(!rows.index.remove(5000, &[0; 4]).unwrap(), "never entered");
}

/// Each query differs from a row in one bit of every substring but one, so a single group leads to the row: whoever
/// misses an entry there, because its group is split or its extent moves at that moment, misses the row.
#[test]
fn searches_beside_a_writer_find_every_row_that_stays() {
    const STAYING: usize = 1500;
    const ROWS: usize = 30_000;
    let mut random = Random(7);
    let codes = random.words(ROWS);
    let hamming = Hamming::new(64, Isa::best()).unwrap();
    for _ in 0..10 {
        let index = MultiIndex::new(64, 2000).unwrap();
        assert_eq!(index.n_substrings(), 6, "four of 11 bits, then two of 10");
        for row in 0..STAYING {
            index.insert(row, &codes[row..=row]).unwrap();
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for seed in 0..2 {
                let (index, codes, done) = (&index, &codes, &done);
                scope.spawn(move || {
                    let mut random = Random(seed);
                    while !done.load(Ordering::Relaxed) {
                        let row = random.below(STAYING);
                        let spared = random.below(6);
                        let first_bits = [0, 11, 22, 33, 44, 54].into_iter().enumerate();
                        let flipped = first_bits.filter(|&(position, _)| position != spared);
                        let query =
                            [flipped.fold(codes[row], |code, (_, bit)| code ^ 1 << (bit + random.below(10)))];
                        let view = RowMajor::new(hamming, &query, codes, None);
                        let told = Told { codes: view, scan_nanoseconds: f64::INFINITY };
                        assert_eq!(index.nearest(&query, &told, 5), Ok(Some(Nearest { distance: 5, row })));
                    }
                });
            }
            // Rows come and go, and groups are split all the while.
            for row in STAYING..ROWS {
                index.insert(row, &codes[row..=row]).unwrap();
                if row % 3 == 0 && row > STAYING {
                    assert!(index.remove(row - 1, &codes[row - 1..row]).unwrap());
                }
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn a_row_that_the_query_does_not_know_of_is_not_found() {
    let hamming = Hamming::new(64, Isa::Scalar).unwrap();
    let index = MultiIndex::new(64, 100).unwrap();
    index.insert(0, &[u64::MAX]).unwrap();
    index.insert(7, &[0]).unwrap();
    let codes = [u64::MAX];
    let told = Told { codes: RowMajor::new(hamming, &[0], &codes, None), scan_nanoseconds: f64::INFINITY };
    assert_eq!(index.nearest(&[0], &told, 10), Ok(None));
}

#[test]
fn wrong_input_is_an_error() {
    for code_bits in [0, 63, 1025, usize::MAX] {
        assert!(matches!(MultiIndex::new(code_bits, 10), Err(Error::Size { what: "code_bits of an index", .. })));
    }
    assert!(matches!(MultiIndex::new(256, MOST_ROWS + 1), Err(Error::Size { what: "expected_rows", .. })));
    let index = MultiIndex::new(256, 10).unwrap();
    assert!(matches!(index.insert(0, &[0; 3]), Err(Error::Dimension { expected: 4, got: 3, .. })));
    assert!(matches!(index.remove(MOST_ROWS, &[0; 4]), Err(Error::Row { .. })));
    let hamming = Hamming::new(256, Isa::Scalar).unwrap();
    let view = RowMajor::new(hamming, &[0; 4], &[0; 3], None);
    assert!(matches!(index.nearest(&[0; 5], &view, 3), Err(Error::Dimension { .. })));
    assert!(matches!(index.nearest(&[0; 4], &view, 3), Err(Error::Dimension { .. })));
}
