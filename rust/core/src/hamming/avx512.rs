//! x86-64 with AVX-512 VPOPCNTDQ and BITALG: one instruction counts eight words.
//!
//! 256-bit codes, two to a register, go sixteen at a time: the counts of two registers share the halves of the lanes
//! of one, a transpose adds the four words of each code, and one comparison tells whether any code is near enough.
//! Reading is what limits it beyond the second-level cache. Under a small bound only the first half of each code is
//! counted at first: random halves lie far above the bound, so nearly every block ends there, with half of the
//! instructions. Other widths go a code at a time.
//!
//! Of sliced codes a register holds one slice of 32 rows: three instructions a slice count all of them, and nothing
//! has to be added across lanes.

use std::arch::x86_64::{
    __m512i, _mm256_loadu_si256, _mm512_add_epi16, _mm512_add_epi32, _mm512_add_epi64, _mm512_broadcast_i64x4,
    _mm512_cmplt_epu16_mask, _mm512_cmplt_epu32_mask, _mm512_loadu_si512, _mm512_mask_shuffle_epi32,
    _mm512_maskz_loadu_epi64, _mm512_popcnt_epi16, _mm512_popcnt_epi64, _mm512_reduce_add_epi64,
    _mm512_set1_epi16, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_shuffle_i64x2, _mm512_storeu_si512,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi64, _mm512_xor_si512,
};

use super::avx2::fetch;
use super::{Found, Kernel};
use crate::codes::{GROUP_ROWS, HEAD_SLICES, Head, SLICED_WORDS, Tail, slice_of};

pub(super) static KERNEL: Kernel = Kernel {
    next_below,
    next_below_in: by_code::next_below_in,
    distances,
    next_below_sliced: by_group::next_below_sliced,
    planes: None,
};

super::by_code::by_code!(#[target_feature(enable = "avx512f,avx512vpopcntdq")]);
super::by_group::by_group!(#[target_feature(enable = "avx512bw,avx512bitalg")]);

/// Greatest bound under which first halves are tried first. Of 128 random bits 64 differ, 5.7 more or less: one half
/// in 700 lies below 46, and one block in 44 is counted whole.
const HALVES_BELOW: u32 = 46;

/// The lane in which [`distances_of_16`] leaves each row.
const LANE_OF_ROW: [usize; 16] = [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15];

#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn next_below(query: &[u64], codes: &[u64], start: usize, bound: u32) -> Found {
    let mut row = start;
    if let Ok(query) = <&[u64; 4]>::try_from(query) {
        let (blocks, _) = codes.get(start * 4..)?.as_chunks::<64>();
        let query = twice(query);
        let query_halves = _mm512_shuffle_i64x2::<0b10_00_10_00>(query, query);
        let bounds = _mm512_set1_epi32(bound.cast_signed());
        for block in blocks {
            if bound > HALVES_BELOW || any_half_below(query_halves, block, bounds) {
                let distances = distances_of_16(query, block);
                if _mm512_cmplt_epu32_mask(distances, bounds) != 0 {
                    let mut found = in_row_order(distances).into_iter().zip(row..);
                    return found.find(|&(distance, _)| distance < bound).map(|(distance, row)| (row, distance));
                }
            }
            row += 16;
        }
    }
    by_code::next_below(query, codes, row, bound)
}

#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn distances(query: &[u64], codes: &[u64], out: &mut [u32]) {
    let mut row = 0;
    if let Ok(query) = <&[u64; 4]>::try_from(query) {
        let query = twice(query);
        for (block, out) in codes.as_chunks::<64>().0.iter().zip(out.as_chunks_mut::<16>().0) {
            *out = in_row_order(distances_of_16(query, block));
            row += 16;
        }
    }
    by_code::distances(query, &codes[row * query.len()..], &mut out[row..]);
}

/// The distances of sixteen 256-bit codes, row `r` in lane `LANE_OF_ROW[r]`.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn distances_of_16(query: __m512i, block: &[u64; 64]) -> __m512i {
    let (pairs, _) = block.as_chunks::<8>();
    let counts = |pair: usize| _mm512_popcnt_epi64(_mm512_xor_si512(query, load(&pairs[pair])));
    let four = |pair: usize| interleave(counts(pair), counts(pair + 1));
    let low = add_neighbours(four(0), four(2));
    let high = add_neighbours(four(4), four(6));
    _mm512_add_epi32(
        _mm512_shuffle_i64x2::<0b10_00_10_00>(low, high),
        _mm512_shuffle_i64x2::<0b11_01_11_01>(low, high),
    )
}

/// Whether the first 128 bits of any of sixteen 256-bit codes are nearer than the bound.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn any_half_below(query_halves: __m512i, block: &[u64; 64], bounds: __m512i) -> bool {
    let (pairs, _) = block.as_chunks::<8>();
    let counts = |pair: usize| {
        let halves = _mm512_shuffle_i64x2::<0b10_00_10_00>(load(&pairs[pair]), load(&pairs[pair + 1]));
        _mm512_popcnt_epi64(_mm512_xor_si512(query_halves, halves))
    };
    let eight = |pair: usize| interleave(counts(pair), counts(pair + 2));
    _mm512_cmplt_epu32_mask(add_neighbours(eight(0), eight(4)), bounds) != 0
}

/// The words of `a` in the even halves of the lanes, those of `b` in the odd ones; both are below 2^32.
#[target_feature(enable = "avx512f")]
fn interleave(a: __m512i, b: __m512i) -> __m512i {
    _mm512_mask_shuffle_epi32::<0b10_11_00_01>(a, 0b1010_1010_1010_1010, b)
}

/// The sums of neighbouring words: of `a` in the even words, of `b` in the odd ones.
#[target_feature(enable = "avx512f")]
fn add_neighbours(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b))
}

/// One distance, at any width: eight words at a time, the last ones under a mask.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn distance(query: &[u64], code: &[u64]) -> u32 {
    let (query_blocks, query_rest) = query.as_chunks::<8>();
    let (code_blocks, code_rest) = code.as_chunks::<8>();
    let mut sums = _mm512_setzero_si512();
    for (query, code) in query_blocks.iter().zip(code_blocks) {
        sums = _mm512_add_epi64(sums, _mm512_popcnt_epi64(_mm512_xor_si512(load(query), load(code))));
    }
    if !query_rest.is_empty() {
        let differing = _mm512_xor_si512(load_part(query_rest), load_part(code_rest));
        sums = _mm512_add_epi64(sums, _mm512_popcnt_epi64(differing));
    }
    u32::try_from(_mm512_reduce_add_epi64(sums)).unwrap_or(u32::MAX)
}

#[target_feature(enable = "avx512f")]
fn in_row_order(lanes: __m512i) -> [u32; 16] {
    let mut distances = [0; 16];
    // SAFETY: `distances` has room for one register.
    unsafe { _mm512_storeu_si512(distances.as_mut_ptr().cast(), lanes) };
    LANE_OF_ROW.map(|lane| distances[lane])
}

#[target_feature(enable = "avx512f")]
fn twice(query: &[u64; 4]) -> __m512i {
    // SAFETY: reads the 32 bytes of the reference; the load needs no alignment.
    _mm512_broadcast_i64x4(unsafe { _mm256_loadu_si256(query.as_ptr().cast()) })
}

#[target_feature(enable = "avx512f")]
fn load(words: &[u64; 8]) -> __m512i {
    // SAFETY: reads the 64 bytes of the reference; the load needs no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

/// Fewer than eight words, zeros behind them.
#[target_feature(enable = "avx512f")]
fn load_part(words: &[u64]) -> __m512i {
    let mask = u8::MAX >> (8 - words.len().min(8));
    // SAFETY: the mask keeps the load inside the slice; masked lanes are not read.
    unsafe { _mm512_maskz_loadu_epi64(mask, words.as_ptr().cast()) }
}

/// A slice of a query, in all lanes.
type Slice = __m512i;

#[target_feature(enable = "avx512bw,avx512bitalg")]
fn cut(query: &[u64; SLICED_WORDS]) -> [Slice; 16] {
    std::array::from_fn(|s| _mm512_set1_epi16(slice_of(query, s).cast_signed()))
}

/// `sums` and what the slices of 32 rows differ in from those of the query.
#[target_feature(enable = "avx512bw,avx512bitalg")]
fn add_slices(mut sums: __m512i, query: &[Slice], group: &[[u16; GROUP_ROWS]]) -> __m512i {
    for (&query, slice) in query.iter().zip(group) {
        // SAFETY: reads the 64 bytes of the reference; the load needs no alignment.
        let slice = unsafe { _mm512_loadu_si512(slice.as_ptr().cast()) };
        sums = _mm512_add_epi16(sums, _mm512_popcnt_epi16(_mm512_xor_si512(query, slice)));
    }
    sums
}

#[target_feature(enable = "avx512bw,avx512bitalg")]
fn any_head_below(cut: &[Slice; 16], head: &Head, bound: u16) -> bool {
    let sums = add_slices(_mm512_setzero_si512(), cut, head);
    _mm512_cmplt_epu16_mask(sums, _mm512_set1_epi16(bound.cast_signed())) != 0
}

#[target_feature(enable = "avx512bw,avx512bitalg")]
fn any_below(cut: &[Slice; 16], head: &Head, tail: &Tail, bound: u16) -> bool {
    _mm512_cmplt_epu16_mask(group_sums(cut, head, tail), _mm512_set1_epi16(bound.cast_signed())) != 0
}

#[target_feature(enable = "avx512bw,avx512bitalg")]
fn group_distances(cut: &[Slice; 16], head: &Head, tail: &Tail) -> [u16; GROUP_ROWS] {
    let mut distances = [0; GROUP_ROWS];
    // SAFETY: `distances` has room for one register.
    unsafe { _mm512_storeu_si512(distances.as_mut_ptr().cast(), group_sums(cut, head, tail)) };
    distances
}

#[target_feature(enable = "avx512bw,avx512bitalg")]
fn group_sums(cut: &[Slice; 16], head: &Head, tail: &Tail) -> __m512i {
    add_slices(add_slices(_mm512_setzero_si512(), cut, head), &cut[HEAD_SLICES..], tail)
}
