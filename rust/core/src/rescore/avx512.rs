//! x86-64 with AVX-512 BW and VNNI: `vpdpwssd` multiplies 32 numbers and adds the products in pairs to 16 sums.
//!
//! It takes four cycles and more until its sum can be added to, so two sets of sums take turns.

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_loadu_si256, _mm512_add_epi32, _mm512_cvtepi8_epi16, _mm512_dpwssd_epi32,
    _mm512_loadu_si512, _mm512_setzero_si512, _mm512_storeu_si512,
};

use super::{Kernel, Sums, scalar};

pub(super) static KERNEL: Kernel = Kernel { halves, sums };

/// Numbers after which a lane of 32 bits might overflow: 128 pairs of products, each pair 2^23 at most.
const BLOCK: usize = 32 * 128;

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn halves(numbers: &[f32], times: f32, high: &mut [i16], low: &mut [i16]) {
    scalar::halves(numbers, times, high, low);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn sums(high: &[i16], low: &[i16], levels: &[u8]) -> Sums {
    let mut sums = Sums::default();
    let blocks = high.chunks(BLOCK).zip(low.chunks(BLOCK)).zip(levels.chunks(BLOCK));
    for ((high, low), levels) in blocks {
        let (high, high_rest) = high.as_chunks::<64>();
        let (low, low_rest) = low.as_chunks::<64>();
        let (levels, levels_rest) = levels.as_chunks::<64>();
        let mut lanes = [[_mm512_setzero_si512(); 3]; 2];
        for ((high, low), levels) in high.iter().zip(low).zip(levels) {
            let halves = high.as_chunks::<32>().0.iter().zip(low.as_chunks::<32>().0);
            for ((lanes, (high, low)), levels) in lanes.iter_mut().zip(halves).zip(levels.as_chunks::<32>().0) {
                let levels = _mm512_cvtepi8_epi16(load_levels(levels));
                for (lanes, factor) in lanes.iter_mut().zip([load(high), load(low), levels]) {
                    *lanes = _mm512_dpwssd_epi32(*lanes, factor, levels);
                }
            }
        }
        // Half of the block went to each set, so their sum is still within 32 bits.
        sums.add([0, 1, 2].map(|i| total(_mm512_add_epi32(lanes[0][i], lanes[1][i]))));
        sums.join(scalar::sums(high_rest, low_rest, levels_rest));
    }
    sums
}

#[target_feature(enable = "avx512f")]
fn load(numbers: &[i16; 32]) -> __m512i {
    // SAFETY: reads the 64 bytes of the reference; the load needs no alignment.
    unsafe { _mm512_loadu_si512(numbers.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
fn load_levels(levels: &[u8; 32]) -> __m256i {
    // SAFETY: reads the 32 bytes of the reference; the load needs no alignment.
    unsafe { _mm256_loadu_si256(levels.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
fn total(lanes: __m512i) -> i64 {
    let mut spilt = [0_i32; 16];
    // SAFETY: `spilt` has room for one register.
    unsafe { _mm512_storeu_si512(spilt.as_mut_ptr().cast(), lanes) };
    spilt.iter().copied().map(i64::from).sum()
}
