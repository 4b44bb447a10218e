//! x86-64 with AVX2: no vector population count, so nibbles are looked up with `vpshufb` and summed with `vpsadbw`.
//!
//! 256-bit codes, one register each, go eight at a time; the four partial sums of a code are added by a transpose of
//! four codes, which leaves the distances in row order. Under a small bound only the first half of each code is
//! counted at first, as in the AVX-512 kernel. Other widths go a code at a time.
//! Source of the counting: Muła, Kurz, Lemire 2018, section 2.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi8, _mm256_add_epi64, _mm256_and_si256, _mm256_castsi256_pd, _mm256_cmpgt_epi64,
    _mm256_extract_epi64, _mm256_loadu_si256, _mm256_movemask_pd, _mm256_permute2x128_si256, _mm256_sad_epu8,
    _mm256_set1_epi8, _mm256_set1_epi64x, _mm256_setr_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_srli_epi16, _mm256_storeu_si256, _mm256_unpackhi_epi64, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

use super::{Found, Kernel};

/// Greatest bound under which first halves are tried first: one random block of eight in 88 is counted whole then.
const HALVES_BELOW: u32 = 46;

pub(super) static KERNEL: Kernel = Kernel { next_below, next_below_in: by_code::next_below_in, distances };

super::by_code::by_code!(#[target_feature(enable = "avx2,popcnt")]);

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

/// The distances of eight 256-bit codes, four in each register, in row order.
#[target_feature(enable = "avx2")]
fn block_distances(query: __m256i, block: &[u64; 32]) -> (__m256i, __m256i) {
    let (codes, _) = block.as_chunks::<4>();
    let part =
        |row: usize| _mm256_sad_epu8(count(_mm256_xor_si256(query, load(&codes[row]))), _mm256_setzero_si256());
    (four_sums(part(0), part(1), part(2), part(3)), four_sums(part(4), part(5), part(6), part(7)))
}

/// Whether the first 128 bits of any of eight 256-bit codes are nearer than the bound.
#[target_feature(enable = "avx2")]
fn any_half_below(query_halves: __m256i, block: &[u64; 32], bounds: __m256i) -> bool {
    let (codes, _) = block.as_chunks::<4>();
    let part = |row: usize| {
        let halves = _mm256_permute2x128_si256::<0x20>(load(&codes[row]), load(&codes[row + 1]));
        _mm256_sad_epu8(count(_mm256_xor_si256(query_halves, halves)), _mm256_setzero_si256())
    };
    let pair = |a, b| _mm256_add_epi64(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    below(pair(part(0), part(2)), bounds) | below(pair(part(4), part(6)), bounds) != 0
}

/// The sum of the lanes of each argument, in order.
#[target_feature(enable = "avx2")]
fn four_sums(a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    let ab = _mm256_add_epi64(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let cd = _mm256_add_epi64(_mm256_unpacklo_epi64(c, d), _mm256_unpackhi_epi64(c, d));
    _mm256_add_epi64(_mm256_permute2x128_si256::<0x20>(ab, cd), _mm256_permute2x128_si256::<0x31>(ab, cd))
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
