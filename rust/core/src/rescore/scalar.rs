//! Portable sums: the definition. The compiler makes of them what the baseline has (`pmaddwd`, `smlal`).

use super::{Kernel, Sums};

pub(super) static KERNEL: Kernel = Kernel { sums };

/// Numbers after which 32 bits might overflow: each product is below 2^22 and a bit.
const BLOCK: usize = 256;

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
