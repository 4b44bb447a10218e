//! Portable sums: the definition. The compiler makes of them what the baseline has (`pmaddwd`, `smlal`).

use super::{Kernel, LOW_BITS, Sums};

pub(super) static KERNEL: Kernel = Kernel { halves, sums };

/// Numbers after which 32 bits might overflow: each product is below 2^22 and a bit.
const BLOCK: usize = 256;

/// Inlined, so that it is compiled for the caller's instruction set.
#[inline(always)]
#[expect(clippy::inline_always, reason = "takes the caller's target features")]
#[expect(clippy::cast_possible_truncation, reason = "whole numbers below 2^30, in two halves")]
pub(super) fn halves(numbers: &[f32], times: f32, high: &mut [i16], low: &mut [i16]) {
    for ((number, high), low) in numbers.iter().zip(high).zip(low) {
        let whole = (number * times) as i32;
        *high = (whole >> LOW_BITS) as i16;
        *low = (whole & ((1 << LOW_BITS) - 1)) as i16;
    }
}

pub(super) fn sums(high: &[i16], low: &[i16], levels: &[u8]) -> Sums {
    let mut sums = Sums::default();
    let blocks = high.chunks(BLOCK).zip(low.chunks(BLOCK)).zip(levels.chunks(BLOCK));
    for ((high, low), levels) in blocks {
        let mut block = [0_i32; 3];
        for ((&high, &low), &level) in high.iter().zip(low).zip(levels) {
            let level = i32::from(level.cast_signed());
            block[0] += i32::from(high) * level;
            block[1] += i32::from(low) * level;
            block[2] += level * level;
        }
        sums.add(block.map(i64::from));
    }
    sums
}
