//! x86-64 with AVX2: no vector population count, so nibbles are looked up with `vpshufb` and summed with `vpsadbw`.
//!
//! 256-bit codes, one register each, go eight at a time, those of chosen rows too; the four quarters of a code are
//! added by a transpose of four codes, which leaves the distances in row order. Under a small bound only the first half of each code is
//! counted at first, as in the AVX-512 kernel. Other widths go a code at a time.
//!
//! Of sliced codes two registers hold one slice of 32 rows. The ones of each half of a slice are added as bytes, 128 at
//! most, and joined once all slices are counted.
//! Source of the counting: Muła, Kurz, Lemire 2018, section 2.

use std::arch::x86_64::{
    __m256i, _MM_HINT_T0, _mm_prefetch, _mm256_add_epi8, _mm256_add_epi64, _mm256_and_si256, _mm256_castsi256_pd,
    _mm256_cmpgt_epi16, _mm256_cmpgt_epi64, _mm256_extract_epi64, _mm256_loadu_si256, _mm256_maddubs_epi16,
    _mm256_movemask_epi8, _mm256_movemask_pd, _mm256_or_si256, _mm256_permute2x128_si256, _mm256_sad_epu8,
    _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi64x, _mm256_setr_epi8, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_srli_epi16, _mm256_storeu_si256, _mm256_unpackhi_epi64, _mm256_unpacklo_epi64,
    _mm256_xor_si256,
};

use super::{Found, Kernel, planes};
use crate::codes::{GROUP_ROWS, HEAD_SLICES, Head, SLICED_WORDS, Tail, slice_of};

/// Greatest bound under which first halves are tried first: one random block of eight in 88 is counted whole then.
const HALVES_BELOW: u32 = 46;

pub(super) static KERNEL: Kernel = Kernel {
    next_below,
    next_below_in,
    distances,
    next_below_sliced: by_group::next_below_sliced,
    planes: Some(&planes::KERNEL),
};

super::by_code::by_code!(#[target_feature(enable = "avx2,popcnt")]);
super::by_group::by_group!(#[target_feature(enable = "avx2,popcnt")]);

#[target_feature(enable = "avx2,popcnt")]
fn next_below(query: &[u64], codes: &[u64], start: usize, bound: u32) -> Found {
    let mut row = start;
    if let Ok(query) = <&[u64; 4]>::try_from(query) {
        let (blocks, _) = codes.get(start * 4..)?.as_chunks::<32>();
        let query = load(query);
        let query_halves = _mm256_permute2x128_si256::<0x00>(query, query);
        let bounds = _mm256_set1_epi64x(bound.into());
        for block in blocks {
            if bound <= HALVES_BELOW && !any_half_below(query_halves, block, bounds) {
                row += 8;
                continue;
            }
            let (low, high) = block_distances(query, block);
            let below = below(low, bounds) | below(high, bounds) << 4;
            if below != 0 {
                let lane = below.trailing_zeros() as usize;
                return Some((row + lane, spill(low, high)[lane]));
            }
            row += 8;
        }
    }
    by_code::next_below(query, codes, row, bound)
}

#[target_feature(enable = "avx2,popcnt")]
#[expect(clippy::cast_sign_loss, reason = "the caller checked the rows")]
fn next_below_in(query: &[u64], codes: &[u64], rows: &[i32], start: usize, bound: u32) -> Found {
    let mut position = start;
    if let Ok(query) = <&[u64; 4]>::try_from(query) {
        let (codes, _) = codes.as_chunks::<4>();
        let query = load(query);
        let bounds = _mm256_set1_epi64x(bound.into());
        for chosen in rows.get(start..)?.as_chunks::<8>().0 {
            let (low, high) = distances_of_8(query, |i| &codes[chosen[i] as usize]);
            let below = below(low, bounds) | below(high, bounds) << 4;
            if below != 0 {
                let lane = below.trailing_zeros() as usize;
                return Some((position + lane, spill(low, high)[lane]));
            }
            position += 8;
        }
    }
    by_code::next_below_in(query, codes, rows, position, bound)
}

#[target_feature(enable = "avx2,popcnt")]
fn distances(query: &[u64], codes: &[u64], out: &mut [u32]) {
    let mut row = 0;
    if let Ok(query) = <&[u64; 4]>::try_from(query) {
        let query = load(query);
        for (block, out) in codes.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<8>().0) {
            let (low, high) = block_distances(query, block);
            *out = spill(low, high);
            row += 8;
        }
    }
    by_code::distances(query, &codes[row * query.len()..], &mut out[row..]);
}

/// The distances of eight 256-bit codes that follow each other.
#[target_feature(enable = "avx2")]
fn block_distances(query: __m256i, block: &[u64; 32]) -> (__m256i, __m256i) {
    let (codes, _) = block.as_chunks::<4>();
    distances_of_8(query, |row| &codes[row])
}

/// The distances of eight 256-bit codes, four in each register, in order.
#[inline]
#[target_feature(enable = "avx2")]
fn distances_of_8<'a>(query: __m256i, code: impl Fn(usize) -> &'a [u64; 4]) -> (__m256i, __m256i) {
    let part = |i: usize| count(_mm256_xor_si256(query, load(code(i))));
    (four_sums(part(0), part(1), part(2), part(3)), four_sums(part(4), part(5), part(6), part(7)))
}

/// Whether the first 128 bits of any of eight 256-bit codes are nearer than the bound.
#[target_feature(enable = "avx2")]
fn any_half_below(query_halves: __m256i, block: &[u64; 32], bounds: __m256i) -> bool {
    let (codes, _) = block.as_chunks::<4>();
    let part = |row: usize| {
        let halves = _mm256_permute2x128_si256::<0x20>(load(&codes[row]), load(&codes[row + 1]));
        count(_mm256_xor_si256(query_halves, halves))
    };
    let pair = |a, b| {
        let quarters = _mm256_add_epi8(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
        _mm256_sad_epu8(quarters, _mm256_setzero_si256())
    };
    below(pair(part(0), part(2)), bounds) | below(pair(part(4), part(6)), bounds) != 0
}

/// The sum of the bytes of each argument, in order: their quarters added first, in bytes, which hold up to four times 8.
#[target_feature(enable = "avx2")]
fn four_sums(a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    let ab = _mm256_add_epi8(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let cd = _mm256_add_epi8(_mm256_unpacklo_epi64(c, d), _mm256_unpackhi_epi64(c, d));
    let quarters =
        _mm256_add_epi8(_mm256_permute2x128_si256::<0x20>(ab, cd), _mm256_permute2x128_si256::<0x31>(ab, cd));
    _mm256_sad_epu8(quarters, _mm256_setzero_si256())
}

/// The number of ones in each byte.
#[target_feature(enable = "avx2")]
fn count(bits: __m256i) -> __m256i {
    #[rustfmt::skip]
    let ones = _mm256_setr_epi8(
        0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
        0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
    );
    let nibble = _mm256_set1_epi8(0x0F);
    let low = _mm256_shuffle_epi8(ones, _mm256_and_si256(bits, nibble));
    let high = _mm256_shuffle_epi8(ones, _mm256_and_si256(_mm256_srli_epi16::<4>(bits), nibble));
    _mm256_add_epi8(low, high)
}

/// One distance, at any width: four words at a time, then single words.
#[target_feature(enable = "avx2,popcnt")]
fn distance(query: &[u64], code: &[u64]) -> u32 {
    let (query_blocks, query_rest) = query.as_chunks::<4>();
    let (code_blocks, code_rest) = code.as_chunks::<4>();
    let mut sums = _mm256_setzero_si256();
    for (query, code) in query_blocks.iter().zip(code_blocks) {
        let counts = count(_mm256_xor_si256(load(query), load(code)));
        sums = _mm256_add_epi64(sums, _mm256_sad_epu8(counts, _mm256_setzero_si256()));
    }
    let whole = _mm256_extract_epi64::<0>(sums)
        + _mm256_extract_epi64::<1>(sums)
        + _mm256_extract_epi64::<2>(sums)
        + _mm256_extract_epi64::<3>(sums);
    let rest: u32 = query_rest.iter().zip(code_rest).map(|(a, b)| (a ^ b).count_ones()).sum();
    u32::try_from(whole).unwrap_or(u32::MAX) + rest
}

/// A bit for each lane of `distances` that is below its bound.
#[target_feature(enable = "avx2")]
fn below(distances: __m256i, bounds: __m256i) -> u32 {
    _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpgt_epi64(bounds, distances))).cast_unsigned()
}

#[target_feature(enable = "avx2")]
fn spill(low: __m256i, high: __m256i) -> [u32; 8] {
    let mut wide = [0u64; 8];
    // SAFETY: `wide` has room for two registers.
    unsafe {
        _mm256_storeu_si256(wide.as_mut_ptr().cast(), low);
        _mm256_storeu_si256(wide.as_mut_ptr().add(4).cast(), high);
    }
    wide.map(|distance| u32::try_from(distance).unwrap_or(u32::MAX))
}

#[target_feature(enable = "avx2")]
fn load(words: &[u64; 4]) -> __m256i {
    // SAFETY: reads the 32 bytes of the reference; the load needs no alignment.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

/// A slice of a query, in all lanes.
type Slice = __m256i;

#[target_feature(enable = "avx2")]
fn cut(query: &[u64; SLICED_WORDS]) -> [Slice; 16] {
    std::array::from_fn(|s| _mm256_set1_epi16(slice_of(query, s).cast_signed()))
}

/// `sums`, two bytes for each of 32 rows, and what the rows' slices differ in from those of the query.
#[target_feature(enable = "avx2")]
fn add_slices(mut sums: [__m256i; 2], query: &[Slice], group: &[[u16; GROUP_ROWS]]) -> [__m256i; 2] {
    for (&query, slice) in query.iter().zip(group) {
        for (sum, rows) in sums.iter_mut().zip(slice.as_chunks::<16>().0) {
            // SAFETY: reads the 32 bytes of the reference; the load needs no alignment.
            let rows = unsafe { _mm256_loadu_si256(rows.as_ptr().cast()) };
            *sum = _mm256_add_epi8(*sum, count(_mm256_xor_si256(query, rows)));
        }
    }
    sums
}

/// The two bytes of each row, added.
#[target_feature(enable = "avx2")]
fn joined(sums: [__m256i; 2]) -> [__m256i; 2] {
    [_mm256_maddubs_epi16(sums[0], _mm256_set1_epi8(1)), _mm256_maddubs_epi16(sums[1], _mm256_set1_epi8(1))]
}

#[target_feature(enable = "avx2")]
fn any_sum_below(sums: [__m256i; 2], bound: u16) -> bool {
    let ([low, high], bounds) = (joined(sums), _mm256_set1_epi16(bound.cast_signed()));
    let below = _mm256_or_si256(_mm256_cmpgt_epi16(bounds, low), _mm256_cmpgt_epi16(bounds, high));
    _mm256_movemask_epi8(below) != 0
}

#[target_feature(enable = "avx2")]
fn any_head_below(cut: &[Slice; 16], head: &Head, bound: u16) -> bool {
    any_sum_below(add_slices([_mm256_setzero_si256(); 2], cut, head), bound)
}

#[target_feature(enable = "avx2")]
fn any_below(cut: &[Slice; 16], head: &Head, tail: &Tail, bound: u16) -> bool {
    any_sum_below(group_sums(cut, head, tail), bound)
}

#[target_feature(enable = "avx2")]
fn group_distances(cut: &[Slice; 16], head: &Head, tail: &Tail) -> [u16; GROUP_ROWS] {
    let mut distances = [0; GROUP_ROWS];
    for (sums, out) in joined(group_sums(cut, head, tail)).into_iter().zip(distances.as_chunks_mut::<16>().0) {
        // SAFETY: `out` has room for one register.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sums) };
    }
    distances
}

#[target_feature(enable = "avx2")]
fn group_sums(cut: &[Slice; 16], head: &Head, tail: &Tail) -> [__m256i; 2] {
    add_slices(add_slices([_mm256_setzero_si256(); 2], cut, head), &cut[HEAD_SLICES..], tail)
}

/// Asks for a tail that will be read soon.
pub(super) fn fetch(tail: &Tail) {
    for slice in tail {
        // SAFETY: SSE is part of x86-64, and a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(slice.as_ptr().cast()) };
    }
}
