//! x86-64 with AVX-512 VPOPCNTDQ: one instruction counts eight words.
//!
//! 256-bit codes, two to a register, go sixteen at a time: four registers hold eight codes, whose partial sums a
//! transpose in three steps adds up, and one comparison tells whether any of the eight is near enough. Reading is
//! what limits it beyond the second-level cache. Under a small bound only the first half of each code is counted at
//! first: random halves lie far above the bound, so nearly every block ends there, with half of the instructions.
//! Other widths go a code at a time.

use std::arch::x86_64::{
    __m512i, _mm256_loadu_si256, _mm512_add_epi64, _mm512_broadcast_i64x4, _mm512_cmplt_epu64_mask,
    _mm512_loadu_si512, _mm512_maskz_loadu_epi64, _mm512_min_epu64, _mm512_popcnt_epi64, _mm512_reduce_add_epi64,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_shuffle_i64x2, _mm512_storeu_si512, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi64, _mm512_xor_si512,
};

use super::{Found, Kernel};

pub(super) static KERNEL: Kernel = Kernel { next_below, next_below_in, distances };

/// Greatest bound under which first halves are tried first. Of 128 random bits 64 differ, 5.7 more or less: one half
/// in 700 lies below 46, and one block in 44 is counted whole.
const HALVES_BELOW: u32 = 46;

/// The lane in which [`eight_distances`] leaves each row (and the other way about: it is its own inverse).
const LANE_OF_ROW: [usize; 8] = [0, 2, 1, 3, 4, 6, 5, 7];

#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn next_below(query: &[u64], codes: &[u64], start: usize, bound: u32) -> Found {
    let mut row = start;
    if let Ok(query) = <&[u64; 4]>::try_from(query) {
        let (blocks, _) = codes.get(start * 4..)?.as_chunks::<64>();
        let query = twice(query);
        let query_halves = _mm512_shuffle_i64x2::<0b10_00_10_00>(query, query);
        let bounds = _mm512_set1_epi64(bound.into());
        for block in blocks {
            let (halves, _) = block.as_chunks::<32>();
            if bound <= HALVES_BELOW {
                let low = eight_half_distances(query_halves, &halves[0]);
                let high = eight_half_distances(query_halves, &halves[1]);
                if _mm512_cmplt_epu64_mask(_mm512_min_epu64(low, high), bounds) == 0 {
                    row += 16;
                    continue;
                }
            }
            let low = eight_distances(query, &halves[0]);
            let high = eight_distances(query, &halves[1]);
            if _mm512_cmplt_epu64_mask(low, bounds) | _mm512_cmplt_epu64_mask(high, bounds) != 0 {
                let found = in_row_order(low).into_iter().chain(in_row_order(high)).zip(row..);
                return found.into_iter().find(|&(d, _)| d < bound).map(|(d, row)| (row, d));
            }
            row += 16;
        }
    }
    let rest = codes.get(row * query.len()..)?.chunks_exact(query.len());
    for (code, row) in rest.zip(row..) {
        let distance = distance(query, code);
        if distance < bound {
            return Some((row, distance));
        }
    }
    None
}

#[target_feature(enable = "avx512f,avx512vpopcntdq")]
#[expect(clippy::cast_sign_loss, reason = "the caller checked the rows")]
fn next_below_in(query: &[u64], codes: &[u64], rows: &[i32], start: usize, bound: u32) -> Found {
    let width = query.len();
    for (position, &row) in rows.iter().enumerate().skip(start) {
        let distance = distance(query, &codes[row as usize * width..][..width]);
        if distance < bound {
            return Some((position, distance));
        }
    }
    None
}

#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn distances(query: &[u64], codes: &[u64], out: &mut [u32]) {
    let mut row = 0;
    if let Ok(query) = <&[u64; 4]>::try_from(query) {
        let query = twice(query);
        for (block, out) in codes.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<8>().0) {
            *out = in_row_order(eight_distances(query, block));
            row += 8;
        }
    }
    for (code, out) in codes[row * query.len()..].chunks_exact(query.len()).zip(&mut out[row..]) {
        *out = distance(query, code);
    }
}

/// The distances of eight 256-bit codes, row `r` in lane `LANE_OF_ROW[r]`.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn eight_distances(query: __m512i, codes: &[u64; 32]) -> __m512i {
    let (pairs, _) = codes.as_chunks::<8>();
    let counts = |pair: usize| _mm512_popcnt_epi64(_mm512_xor_si512(query, load(&pairs[pair])));
    let (a, b, c, d) = (counts(0), counts(1), counts(2), counts(3));
    let ab = _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    let cd = _mm512_add_epi64(_mm512_unpacklo_epi64(c, d), _mm512_unpackhi_epi64(c, d));
    _mm512_add_epi64(_mm512_shuffle_i64x2::<0b10_00_10_00>(ab, cd), _mm512_shuffle_i64x2::<0b11_01_11_01>(ab, cd))
}

/// The distances of the first 128 bits of eight 256-bit codes, in any order.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn eight_half_distances(query_halves: __m512i, codes: &[u64; 32]) -> __m512i {
    let (pairs, _) = codes.as_chunks::<8>();
    let counts = |pair: usize| {
        let halves = _mm512_shuffle_i64x2::<0b10_00_10_00>(load(&pairs[pair]), load(&pairs[pair + 1]));
        _mm512_popcnt_epi64(_mm512_xor_si512(query_halves, halves))
    };
    let (a, b) = (counts(0), counts(2));
    _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b))
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
fn in_row_order(lanes: __m512i) -> [u32; 8] {
    let mut wide = [0u64; 8];
    // SAFETY: `wide` has room for one register.
    unsafe { _mm512_storeu_si512(wide.as_mut_ptr().cast(), lanes) };
    LANE_OF_ROW.map(|lane| u32::try_from(wide[lane]).unwrap_or(u32::MAX))
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
