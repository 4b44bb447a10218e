//! aarch64 with NEON: `cnt` counts the ones of sixteen bytes, `uaddlv` adds them up.
//!
//! A 256-bit code is two registers. Wider codes add counts as bytes for up to 31 registers (31 x 8 < 256) before
//! they are widened.

use std::arch::aarch64::{uint8x16_t, vaddlvq_u8, vaddq_u8, vcntq_u8, vdupq_n_u8, veorq_u8, vld1q_u8};

use super::Kernel;
use crate::codes::{GROUP_ROWS, HEAD_SLICES, Head, SLICED_WORDS, Tail};

pub(super) static KERNEL: Kernel = Kernel {
    next_below: by_code::next_below,
    next_below_in: by_code::next_below_in,
    distances: by_code::distances,
    next_below_sliced: by_group::next_below_sliced,
    planes: None,
};

super::by_code::by_code!(#[target_feature(enable = "neon")]);
super::by_group::by_group!(#[target_feature(enable = "neon")]);
super::scalar::plain_group!(#[target_feature(enable = "neon")]);

#[target_feature(enable = "neon")]
fn distance(query: &[u64], code: &[u64]) -> u32 {
    let mut sum = 0;
    for (query, code) in query.chunks(62).zip(code.chunks(62)) {
        let (query_pairs, query_rest) = query.as_chunks::<2>();
        let (code_pairs, code_rest) = code.as_chunks::<2>();
        let mut counts = vdupq_n_u8(0);
        for (query, code) in query_pairs.iter().zip(code_pairs) {
            counts = vaddq_u8(counts, vcntq_u8(veorq_u8(load(query), load(code))));
        }
        sum += u32::from(vaddlvq_u8(counts));
        sum += query_rest.iter().zip(code_rest).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
    }
    sum
}

#[target_feature(enable = "neon")]
fn load(words: &[u64; 2]) -> uint8x16_t {
    // SAFETY: reads the 16 bytes of the reference; the load needs no alignment.
    unsafe { vld1q_u8(words.as_ptr().cast()) }
}
