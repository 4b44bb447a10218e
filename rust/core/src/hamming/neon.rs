//! aarch64 with NEON: `cnt` counts the ones of sixteen bytes, `uaddlv` adds them up.
//!
//! A 256-bit code is two registers. Wider codes add counts as bytes for up to 31 registers (31 x 8 < 256) before
//! they are widened.

use std::arch::aarch64::{uint8x16_t, vaddlvq_u8, vaddq_u8, vcntq_u8, vdupq_n_u8, veorq_u8, vld1q_u8};

use super::{Found, Kernel};

pub(super) static KERNEL: Kernel = Kernel { next_below, next_below_in, distances };

#[target_feature(enable = "neon")]
fn next_below(query: &[u64], codes: &[u64], start: usize, bound: u32) -> Found {
    let rest = codes.get(start * query.len()..)?.chunks_exact(query.len());
    for (code, row) in rest.zip(start..) {
        let distance = distance(query, code);
        if distance < bound {
            return Some((row, distance));
        }
    }
    None
}

#[target_feature(enable = "neon")]
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

#[target_feature(enable = "neon")]
fn distances(query: &[u64], codes: &[u64], out: &mut [u32]) {
    for (code, out) in codes.chunks_exact(query.len()).zip(out) {
        *out = distance(query, code);
    }
}

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
