//! Many queries over codes of 256 bits with AVX2: blocks of rows are cut into planes once, for all queries.
//!
//! A *plane* is four bits of 32 rows, a byte each, so that what a query differs in from 32 rows is one look-up
//! (`vpshufb`, the table chosen by the query's own four bits) and one addition. Counting from words takes eight
//! instructions for as many bits; cutting a row takes what one or two queries take.
//! Source of the look-up in registers: André, Kermarrec, Le Scouarnec 2015, Cache locality is not enough, section 4.
//!
//! Four groups of 32 rows stand side by side in each plane, so that a table is loaded once for all of them. Rejected: the
//! planes of a group in a row; with loads 2 KiB apart a search took 1.6 times as long on Zen 3.
//!
//! As many planes are counted at first as nearly always tell that none of 128 rows is near enough, the others for the
//! few blocks that are left. Sums are bytes and stop at 255: distances below that are exact.

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_add_epi16, _mm256_adds_epu8, _mm256_and_si256, _mm256_broadcastsi128_si256,
    _mm256_castsi256_si128, _mm256_cmpeq_epi8, _mm256_cvtepu8_epi16, _mm256_extracti128_si256, _mm256_loadu_si256,
    _mm256_min_epu8, _mm256_movemask_epi8, _mm256_packus_epi16, _mm256_permute2x128_si256,
    _mm256_permute4x64_epi64, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_srli_epi16, _mm256_storeu_si256, _mm256_unpackhi_epi8, _mm256_unpacklo_epi8,
};

use super::Found;
use super::batch::{BLOCK_GROUPS, BLOCK_ROWS, Block, MOST_BOUND, PLANES, PlaneKernel, Query};
use crate::codes::{GROUP_ROWS, Head, SLICED_WORDS, Tail};

pub(super) static KERNEL: PlaneKernel = PlaneKernel { cut_rows, cut_sliced, next_below, distances };

/// By four bits of a query, what each four bits of a row differ in from them.
static TABLES: [[u8; 16]; 16] = {
    let mut tables = [[0; 16]; 16];
    let mut at = 0_usize;
    while at < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "at most 4")]
        let ones = ((at / 16) ^ (at % 16)).count_ones() as u8;
        tables[at / 16][at % 16] = ones;
        at += 1;
    }
    tables
};

/// Planes that are counted first, by the bound: so many that their mean is 3.4 standard deviations above it, and one
/// group of 32 random rows in 100 is left.
static FIRST_PLANES: [u8; MOST_BOUND as usize + 1] = {
    let mut first = [0; MOST_BOUND as usize + 1];
    let mut bound = 0;
    while bound < first.len() {
        let mut planes = 1;
        // Of 4 p random bits 2 p differ, sqrt(p) more or less; 3.4^2 is 11.56.
        while planes < PLANES
            && (2 * planes < bound || 100 * (2 * planes - bound) * (2 * planes - bound) < 1156 * planes)
        {
            planes += 1;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most 64")]
        {
            first[bound] = planes as u8;
        }
        bound += 1;
    }
    first
};

/// The bytes of 32 rows, transposed by four rounds of perfect shuffles of sixteen rows and their halves.
#[target_feature(enable = "avx2")]
fn cut_rows(rows: &[[u64; SLICED_WORDS]; GROUP_ROWS], block: &mut Block, group: usize) {
    let (low, high) = (transposed(&rows[..16]), transposed(&rows[16..]));
    for byte in 0..16 {
        let (low, high) = (low[byte], high[byte]);
        put_nibbles(_mm256_permute2x128_si256::<0x20>(low, high), block, group, byte);
        put_nibbles(_mm256_permute2x128_si256::<0x31>(low, high), block, group, byte + 16);
    }
}

/// Byte `k` of each of sixteen rows in the low half of register `k`, byte `16 + k` in its high half.
#[target_feature(enable = "avx2")]
fn transposed(rows: &[[u64; SLICED_WORDS]]) -> [__m256i; 16] {
    // SAFETY: each reads the 32 bytes of its row; the load needs no alignment.
    let mut lines: [__m256i; 16] =
        std::array::from_fn(|row| unsafe { _mm256_loadu_si256(rows[row].as_ptr().cast()) });
    for _ in 0..4 {
        lines = std::array::from_fn(|line| {
            let (a, b) = (lines[line / 2], lines[line / 2 + 8]);
            if line % 2 == 0 { _mm256_unpacklo_epi8(a, b) } else { _mm256_unpackhi_epi8(a, b) }
        });
    }
    lines
}

#[target_feature(enable = "avx2")]
fn cut_sliced(head: &Head, tail: &Tail, block: &mut Block, group: usize) {
    let low_bytes = _mm256_set1_epi16(0xFF);
    for (s, slice) in head.iter().chain(tail).enumerate() {
        let (halves, _) = slice.as_chunks::<16>();
        let (a, b) = (load_slices(&halves[0]), load_slices(&halves[1]));
        let low = _mm256_packus_epi16(_mm256_and_si256(a, low_bytes), _mm256_and_si256(b, low_bytes));
        let high = _mm256_packus_epi16(_mm256_srli_epi16::<8>(a), _mm256_srli_epi16::<8>(b));
        put_nibbles(_mm256_permute4x64_epi64::<0b11_01_10_00>(low), block, group, 2 * s);
        put_nibbles(_mm256_permute4x64_epi64::<0b11_01_10_00>(high), block, group, 2 * s + 1);
    }
}

/// Writes the two planes of one byte of each row of a group.
#[target_feature(enable = "avx2")]
fn put_nibbles(bytes: __m256i, block: &mut Block, group: usize, byte: usize) {
    let nibble = _mm256_set1_epi8(0x0F);
    store(&mut block.0[2 * byte][group], _mm256_and_si256(bytes, nibble));
    store(&mut block.0[2 * byte + 1][group], _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), nibble));
}

#[target_feature(enable = "avx2")]
fn next_below(query: &Query, blocks: &[Block], n_groups: usize, start: usize, bound: u32) -> Found {
    let first = usize::from(FIRST_PLANES[bound.min(MOST_BOUND) as usize]);
    let greatest = _mm256_set1_epi8(u8::try_from(bound - 1).unwrap_or(u8::MAX).cast_signed());
    for (at, block) in blocks.iter().enumerate().skip(start / BLOCK_ROWS) {
        let sums = count(query, block, 0, first, [_mm256_setzero_si256(); BLOCK_GROUPS]);
        let least = _mm256_min_epu8(_mm256_min_epu8(sums[0], sums[1]), _mm256_min_epu8(sums[2], sums[3]));
        if _mm256_movemask_epi8(not_above(least, greatest)) == 0 {
            continue;
        }
        let sums = count(query, block, first, PLANES, sums);
        for (group, sum) in (at * BLOCK_GROUPS..n_groups).zip(sums) {
            let skipped = start.saturating_sub(group * GROUP_ROWS);
            let below = _mm256_movemask_epi8(not_above(sum, greatest)).cast_unsigned();
            let below = if skipped < GROUP_ROWS { below & u32::MAX << skipped } else { 0 };
            if below != 0 {
                let (mut distances, row) = ([0; GROUP_ROWS], below.trailing_zeros() as usize);
                store(&mut distances, sum);
                return Some((group * GROUP_ROWS + row, distances[row].into()));
            }
        }
    }
    None
}

/// `sums` and what planes `first` to `end - 1` of each group differ in from a query's.
#[target_feature(enable = "avx2")]
fn count(
    query: &Query,
    block: &Block,
    first: usize,
    end: usize,
    mut sums: [__m256i; BLOCK_GROUPS],
) -> [__m256i; BLOCK_GROUPS] {
    for (&bits, groups) in query.0[first..end].iter().zip(&block.0[first..end]) {
        let table = table(bits);
        for (sum, plane) in sums.iter_mut().zip(groups) {
            *sum = _mm256_adds_epu8(*sum, _mm256_shuffle_epi8(table, load(plane)));
        }
    }
    sums
}

#[target_feature(enable = "avx2")]
fn distances(query: &Query, block: &Block, out: &mut [[u16; GROUP_ROWS]; BLOCK_GROUPS]) {
    let zero = [_mm256_setzero_si256(); BLOCK_GROUPS];
    // Each half of the planes fits into bytes: 128 at most.
    let low = count(query, block, 0, PLANES / 2, zero);
    let high = count(query, block, PLANES / 2, PLANES, zero);
    for ((low, high), out) in low.into_iter().zip(high).zip(out) {
        let first_half = |sum| _mm256_cvtepu8_epi16(_mm256_castsi256_si128(sum));
        let second_half = |sum| _mm256_cvtepu8_epi16(_mm256_extracti128_si256::<1>(sum));
        let (out, _) = out.as_chunks_mut::<16>();
        let (first, second) = (
            _mm256_add_epi16(first_half(low), first_half(high)),
            _mm256_add_epi16(second_half(low), second_half(high)),
        );
        // SAFETY: each half of `out` has room for one register.
        unsafe {
            _mm256_storeu_si256(out[0].as_mut_ptr().cast(), first);
            _mm256_storeu_si256(out[1].as_mut_ptr().cast(), second);
        }
    }
}

/// All ones in the bytes that are not above `greatest`.
#[target_feature(enable = "avx2")]
fn not_above(sum: __m256i, greatest: __m256i) -> __m256i {
    _mm256_cmpeq_epi8(_mm256_min_epu8(sum, greatest), sum)
}

/// What each four bits differ in from `bits`, in both halves.
#[target_feature(enable = "avx2")]
fn table(bits: u8) -> __m256i {
    // SAFETY: reads the 16 bytes of the reference; the load needs no alignment.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(TABLES[usize::from(bits & 0x0F)].as_ptr().cast()) })
}

#[target_feature(enable = "avx2")]
fn load(plane: &[u8; GROUP_ROWS]) -> __m256i {
    // SAFETY: reads the 32 bytes of the reference; the load needs no alignment.
    unsafe { _mm256_loadu_si256(plane.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn load_slices(slices: &[u16; 16]) -> __m256i {
    // SAFETY: reads the 32 bytes of the reference; the load needs no alignment.
    unsafe { _mm256_loadu_si256(slices.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn store(plane: &mut [u8; GROUP_ROWS], register: __m256i) {
    // SAFETY: writes the 32 bytes of the reference; the store needs no alignment.
    unsafe { _mm256_storeu_si256(plane.as_mut_ptr().cast(), register) };
}
