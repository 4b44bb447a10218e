//! x86-64 with AVX2: `vpmovsxbw` widens sixteen levels, three `vpmaddwd` multiply them and add the products in pairs.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_setzero_si256, _mm256_storeu_si256,
};

use super::{Kernel, Sums, scalar};

pub(super) static KERNEL: Kernel = Kernel { halves, sums };

/// Numbers after which a lane of 32 bits might overflow: 128 pairs of products, each pair 2^23 at most.
const BLOCK: usize = 16 * 128;

#[target_feature(enable = "avx2")]
fn halves(numbers: &[f32], times: f32, high: &mut [i16], low: &mut [i16]) {
    scalar::halves(numbers, times, high, low);
}

#[target_feature(enable = "avx2")]
fn sums(high: &[i16], low: &[i16], levels: &[u8]) -> Sums {
    let mut sums = Sums::default();
    let blocks = high.chunks(BLOCK).zip(low.chunks(BLOCK)).zip(levels.chunks(BLOCK));
    for ((high, low), levels) in blocks {
        let (high, high_rest) = high.as_chunks::<16>();
        let (low, low_rest) = low.as_chunks::<16>();
        let (levels, levels_rest) = levels.as_chunks::<16>();
        let mut lanes = [_mm256_setzero_si256(); 3];
        for ((high, low), levels) in high.iter().zip(low).zip(levels) {
            let levels = _mm256_cvtepi8_epi16(load_levels(levels));
            for (lanes, factor) in lanes.iter_mut().zip([load(high), load(low), levels]) {
                *lanes = _mm256_add_epi32(*lanes, _mm256_madd_epi16(factor, levels));
            }
        }
        sums.add(lanes.map(|lanes| total(lanes)));
        sums.join(scalar::sums(high_rest, low_rest, levels_rest));
    }
    sums
}

#[target_feature(enable = "avx2")]
fn load(numbers: &[i16; 16]) -> __m256i {
    // SAFETY: reads the 32 bytes of the reference; the load needs no alignment.
    unsafe { _mm256_loadu_si256(numbers.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn load_levels(levels: &[u8; 16]) -> __m128i {
    // SAFETY: reads the 16 bytes of the reference; the load needs no alignment.
    unsafe { _mm_loadu_si128(levels.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn total(lanes: __m256i) -> i64 {
    let mut spilt = [0_i32; 8];
    // SAFETY: `spilt` has room for one register.
    unsafe { _mm256_storeu_si256(spilt.as_mut_ptr().cast(), lanes) };
    spilt.iter().copied().map(i64::from).sum()
}
