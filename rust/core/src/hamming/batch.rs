//! Searches that read codes once for many queries, and those large enough for several threads.
//!
//! A tile of rows that fits the first-level cache is compared with all queries before the next one is read. Where the
//! instruction set has a kernel for it, the tile is cut into planes first (see `planes.rs`). Threads take runs of tiles;
//! each keeps the nearest row it saw for each query, and the least of these, by distance and row, is what one thread
//! finds.

use std::sync::Mutex;

use super::{Filter, Found, Hamming, Nearest, kernel, whole_rows};
use crate::codes::{GROUP_ROWS, Head, SLICED_WORDS, Tail};
use crate::{Codes, Error, Workers};

/// Rows of a tile: 16 KiB at 256 bits, or as much of their planes as is read at a similarity of 0.80.
const TILE_ROWS: usize = 512;

/// Least number of words that a thread is started for.
const WORDS_A_THREAD: usize = 1 << 20;

/// Words that a thread takes at a time, so that none waits long for the last one.
const WORDS_A_PART: usize = 1 << 18;

/// Queries from which on rows are cut into planes: sliced ones, and others.
const PLANES_PAY_FROM: [usize; 2] = [4, 2];

/// Planes of a code of 256 bits: four bits each.
pub(super) const PLANES: usize = 64;

/// Greatest bound that a search over planes takes, as it counts in bytes.
pub(super) const MOST_BOUND: u32 = 255;

/// The bits of a query by planes, least significant first.
#[derive(Debug, Clone)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only AVX2 has a kernel for planes"))]
pub(super) struct Query(pub(super) [u8; PLANES]);

/// Groups of a block.
pub(super) const BLOCK_GROUPS: usize = 4;
/// Rows of a block.
pub(super) const BLOCK_ROWS: usize = BLOCK_GROUPS * GROUP_ROWS;

/// The planes of four groups of 32 rows: a byte a row, four bits in it.
#[derive(Debug, Clone)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only AVX2 has a kernel for planes"))]
#[repr(align(64))]
pub(super) struct Block(pub(super) [[[u8; GROUP_ROWS]; BLOCK_GROUPS]; PLANES]);

/// What an instruction set can do with planes.
///
/// The pointers are `unsafe` because they may only be called where the instruction set is available.
pub(super) struct PlaneKernel {
    /// Cuts rows into planes.
    pub(super) cut_rows: unsafe fn(rows: &[[u64; SLICED_WORDS]; GROUP_ROWS], block: &mut Block, group: usize),
    /// Cuts a sliced group into planes.
    pub(super) cut_sliced: unsafe fn(head: &Head, tail: &Tail, block: &mut Block, group: usize),
    /// The first row at or after `start`, among `n_groups`, whose distance is below `bound`, which is 1 to
    /// [`MOST_BOUND`].
    pub(super) next_below:
        unsafe fn(query: &Query, blocks: &[Block], n_groups: usize, start: usize, bound: u32) -> Found,
    /// All distances.
    pub(super) distances: unsafe fn(query: &Query, block: &Block, out: &mut [[u16; GROUP_ROWS]; BLOCK_GROUPS]),
}

impl Query {
    fn new(code: &[u64]) -> Self {
        Self(std::array::from_fn(|plane| (code[plane / 16] >> (4 * (plane % 16)) & 0x0F) as u8))
    }
}

impl Hamming {
    /// The nearest admitted row for each of several queries, as [`Hamming::nearest`] finds it.
    ///
    /// # Errors
    ///
    /// As [`Hamming::nearest`]; nothing is searched when one query is wrong.
    pub fn nearest_batch<'c>(
        &self,
        queries: &[u64],
        codes: impl Into<Codes<'c>>,
        threshold: f64,
        filter: Filter,
    ) -> Result<Vec<Option<Nearest>>, Error> {
        let n_words = self.n_words();
        whole_rows("words in a query", queries, n_words)?;
        let each = queries.chunks_exact(n_words);
        for query in each.clone() {
            self.check_query(query)?;
        }
        let codes = codes.into();
        self.check_codes(codes, filter)?;
        let bound = self.greatest_distance(threshold)? + 1;
        if let Some(rows) = filter.rows {
            return Ok(each.map(|query| self.nearest_in(query, codes, rows, bound, filter)).collect());
        }
        let by_planes = if n_words == SLICED_WORDS { each.clone().map(Query::new).collect() } else { Vec::new() };
        let of_threads = self.deal(codes, each.len(), |parts| {
            let mut best = vec![None; each.len()];
            let mut blocks = Vec::new();
            for (part, first_row) in parts {
                for (tile, row) in tiles(part, n_words) {
                    let at = Tile { codes: tile, first_row: first_row + row };
                    self.search_tile(at, queries, &by_planes, bound, filter, &mut blocks, &mut best);
                }
            }
            best
        });
        Ok(least_of_each(of_threads))
    }

    /// The nearest admitted row, by as many threads as pay.
    pub(super) fn nearest_of_all(
        &self,
        query: &[u64],
        codes: Codes,
        bound: u32,
        filter: Filter,
    ) -> Option<Nearest> {
        let of_threads = self.deal(codes, 1, |parts| {
            let mut best: Option<Nearest> = None;
            for (part, first_row) in parts {
                let bound = best.map_or(bound, |best| best.distance);
                best = self.nearest_from(query, part, first_row, bound, filter).or(best);
            }
            best
        });
        of_threads.into_iter().flatten().min()
    }

    /// The similarity of each row of `a` to each row of `b`, row after row.
    ///
    /// # Errors
    ///
    /// [`Error::Dimension`] for other widths; [`Error::TooLarge`] when the result cannot be allocated.
    pub fn all_similarities(&self, a: &[u64], b: &[u64]) -> Result<Vec<f32>, Error> {
        let n_words = self.n_words();
        let (m, n) = (whole_rows("words in a code", a, n_words)?, whole_rows("words in a code", b, n_words)?);
        let mut similarities = Vec::new();
        if similarities.try_reserve_exact(m.saturating_mul(n)).is_err() {
            return Err(Error::TooLarge { rows: m, columns: n });
        }
        similarities.resize(m * n, 0.0);
        if similarities.is_empty() {
            return Ok(similarities);
        }
        let by_distance = self.similarities_by_distance(m * n);
        let some = (WORDS_A_PART / (n * n_words)).max(m.div_ceil(self.workers.threads() * 4)).max(1);
        let outs: Vec<_> = similarities.chunks_mut(some * n).map(Mutex::new).collect();
        let workers = self.workers_for(m * n * n_words);
        workers.deal(outs.len(), |parts| {
            let mut blocks = Vec::new();
            for part in parts {
                let queries = &a[part * some * n_words..][..some.min(m - part * some) * n_words];
                let mut out = outs[part].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                self.write_similarities(queries, b, &by_distance, &mut blocks, &mut out);
            }
        });
        drop(outs);
        Ok(similarities)
    }

    /// The similarity of each row of `a` to each row of `b`.
    fn write_similarities(
        &self,
        a: &[u64],
        b: &[u64],
        by_distance: &[f32],
        blocks: &mut Vec<Block>,
        out: &mut [f32],
    ) {
        let n_words = self.n_words();
        let (queries, n) = (a.chunks_exact(n_words), b.len() / n_words);
        #[expect(clippy::cast_possible_truncation, reason = "rounded to float32, as documented")]
        let similarity = |distance: usize| {
            by_distance.get(distance).copied().unwrap_or_else(|| self.similarity(distance as u32) as f32)
        };
        let planes = self.planes_for(Codes::from(b), queries.len());
        let by_planes: Vec<Query> =
            if planes.is_some() { queries.clone().map(Query::new).collect() } else { Vec::new() };
        let mut distances = [0; TILE_ROWS];
        for (tile, first) in tiles(b.into(), n_words) {
            let cut = planes.map_or(0, |planes| planes.cut(tile, blocks));
            for (query, out) in by_planes.iter().zip(out.chunks_exact_mut(n)) {
                let mut out = out[first..first + cut].as_chunks_mut::<GROUP_ROWS>().0.iter_mut();
                for block in &blocks[..cut.div_ceil(BLOCK_ROWS)] {
                    let mut distances = [[0; GROUP_ROWS]; BLOCK_GROUPS];
                    if let Some(planes) = planes {
                        // SAFETY: `new` checked that this machine has the instruction set.
                        unsafe { (planes.distances)(query, block, &mut distances) };
                    }
                    for (distances, out) in distances.into_iter().zip(&mut out) {
                        *out = distances.map(|distance| similarity(distance.into()));
                    }
                }
            }
            let rest = &tile.rest[cut * n_words..];
            let distances = &mut distances[..rest.len() / n_words];
            if distances.is_empty() {
                continue;
            }
            for (query, out) in queries.clone().zip(out.chunks_exact_mut(n)) {
                // SAFETY: `new` checked that this machine has the instruction set.
                unsafe { (kernel(self.isa).distances)(query, rest, distances) };
                for (out, &distance) in out[first + cut..].iter_mut().zip(distances.iter()) {
                    *out = similarity(distance as usize);
                }
            }
        }
    }

    /// The similarities of small distances, where they are asked for often enough; a division takes longer.
    fn similarities_by_distance(&self, times: usize) -> Vec<f32> {
        let most = if times < 1024 { 0 } else { (self.code_bits + 1).min(4096) };
        #[expect(clippy::cast_possible_truncation, reason = "rounded to float32, as documented")]
        (0..most).map(|distance| self.similarity(distance as u32) as f32).collect()
    }

    #[expect(clippy::too_many_arguments, reason = "what a search over one tile needs")]
    fn search_tile(
        &self,
        tile: Tile,
        queries: &[u64],
        by_planes: &[Query],
        bound: u32,
        filter: Filter,
        blocks: &mut Vec<Block>,
        best: &mut [Option<Nearest>],
    ) {
        let planes = self.planes_for(tile.codes, by_planes.len());
        let n_cut = planes.map_or(0, |planes| planes.cut(tile.codes, blocks));
        let whole = tile.codes.between(0, n_cut, self.n_words());
        let rest = tile.codes.between(n_cut, usize::MAX, self.n_words());
        let has_rest = !(rest.rest.is_empty() && rest.sliced.rows() == 0);
        for (i, (query, best)) in queries.chunks_exact(self.n_words()).zip(best).enumerate() {
            let bound_now = |best: &Option<Nearest>| best.map_or(bound, |best| best.distance);
            if let Some(planes) = planes {
                let bound = bound_now(best);
                let found = if bound <= MOST_BOUND {
                    planes.nearest(&by_planes[i], blocks, n_cut / GROUP_ROWS, tile.first_row, bound, filter)
                } else {
                    self.nearest_from(query, whole, tile.first_row, bound, filter)
                };
                *best = found.or(*best);
            }
            if has_rest {
                let found = self.nearest_from(query, rest, tile.first_row + n_cut, bound_now(best), filter);
                *best = found.or(*best);
            }
        }
    }

    /// How to search by planes, where it is quicker than a query at a time.
    fn planes_for(&self, codes: Codes, n_queries: usize) -> Option<&'static PlaneKernel> {
        let least = PLANES_PAY_FROM[usize::from(codes.sliced.rows() == 0)];
        kernel(self.isa).planes.filter(|_| self.n_words() == SLICED_WORDS && n_queries >= least)
    }

    /// Deals runs of rows to as many threads as pay for so many queries.
    fn deal<'c, T: Send>(
        &self,
        codes: Codes<'c>,
        n_queries: usize,
        work: impl Fn(&mut dyn Iterator<Item = (Codes<'c>, usize)>) -> T + Sync,
    ) -> Vec<T> {
        let n_words = self.n_words();
        let rows = codes.sliced.rows() + codes.rest.len() / n_words;
        let workers = self.workers_for(rows.saturating_mul(n_queries).saturating_mul(n_words));
        let some = if workers == Workers::ONE {
            rows.max(1)
        } else {
            (WORDS_A_PART / (n_queries * n_words)).max(1).next_multiple_of(TILE_ROWS)
        };
        workers.deal(rows.div_ceil(some), |parts| {
            work(&mut parts.map(|part| (codes.between(part * some, (part + 1) * some, n_words), part * some)))
        })
    }

    /// No more threads than have [`WORDS_A_THREAD`] to compare.
    fn workers_for(&self, words: usize) -> Workers {
        self.workers.at_most(words / WORDS_A_THREAD)
    }
}

impl PlaneKernel {
    /// Cuts the whole groups of a tile; returns the number of their rows.
    fn cut(&self, tile: Codes, blocks: &mut Vec<Block>) -> usize {
        let (rows, _) = tile.rest.as_chunks::<SLICED_WORDS>();
        let (rows, _) = rows.as_chunks::<GROUP_ROWS>();
        let (heads, tails) = (tile.sliced.heads(), tile.sliced.tails());
        let n = heads.len() + rows.len();
        if blocks.len() < n.div_ceil(BLOCK_GROUPS) {
            blocks.resize(n.div_ceil(BLOCK_GROUPS), Block([[[0; GROUP_ROWS]; BLOCK_GROUPS]; PLANES]));
        }
        let mut places = (0..n).map(|group| (group / BLOCK_GROUPS, group % BLOCK_GROUPS));
        // SAFETY: whoever has a kernel checked that this machine has its instruction set.
        unsafe {
            for ((head, tail), (block, group)) in heads.iter().zip(tails).zip(&mut places) {
                (self.cut_sliced)(head, tail, &mut blocks[block], group);
            }
            for (rows, (block, group)) in rows.iter().zip(places) {
                (self.cut_rows)(rows, &mut blocks[block], group);
            }
        }
        n * GROUP_ROWS
    }

    /// As [`Hamming::nearest_from`], among the first `n_groups`.
    fn nearest(
        &self,
        query: &Query,
        blocks: &[Block],
        n_groups: usize,
        first_row: usize,
        mut bound: u32,
        filter: Filter,
    ) -> Option<Nearest> {
        let (mut best, mut start) = (None, 0);
        let blocks = &blocks[..n_groups.div_ceil(BLOCK_GROUPS)];
        while bound > 0 {
            // SAFETY: whoever has a kernel checked that this machine has its instruction set.
            let found = unsafe { (self.next_below)(query, blocks, n_groups, start, bound) };
            let Some((row, distance)) = found else { break };
            if filter.admits(first_row + row) {
                best = Some(Nearest { distance, row: first_row + row });
                bound = distance;
            }
            start = row + 1;
        }
        best
    }
}

/// Rows that are compared with all queries before others are read.
#[derive(Clone, Copy)]
struct Tile<'a> {
    codes: Codes<'a>,
    first_row: usize,
}

/// Codes in parts of [`TILE_ROWS`] rows at most, each with its first row.
fn tiles(codes: Codes<'_>, n_words: usize) -> impl Iterator<Item = (Codes<'_>, usize)> {
    let rows = codes.sliced.rows() + codes.rest.len() / n_words;
    (0..rows).step_by(TILE_ROWS).map(move |first| (codes.between(first, first + TILE_ROWS, n_words), first))
}

/// For each query the nearest of what the threads found.
fn least_of_each(of_threads: Vec<Vec<Option<Nearest>>>) -> Vec<Option<Nearest>> {
    let mut of_threads = of_threads.into_iter();
    let mut least = of_threads.next().unwrap_or_default();
    for others in of_threads {
        for (least, other) in least.iter_mut().zip(others) {
            *least = least.iter().chain(&other).min().copied();
        }
    }
    least
}
