//! The definition of distance, in portable code.

use super::Kernel;

pub(super) static KERNEL: Kernel = Kernel {
    next_below: by_code::next_below,
    next_below_in: by_code::next_below_in,
    distances: by_code::distances,
};

super::by_code::by_code!();

fn distance(query: &[u64], code: &[u64]) -> u32 {
    differing_bits(query, code)
}

/// One word at a time; 256 bits without a loop. Inlined, so that it is compiled for the caller's instruction set.
#[inline(always)]
#[expect(clippy::inline_always, reason = "takes the caller's target features")]
pub(super) fn differing_bits(a: &[u64], b: &[u64]) -> u32 {
    match (<&[u64; 4]>::try_from(a), <&[u64; 4]>::try_from(b)) {
        (Ok(a), Ok(b)) => (0..4).map(|word| (a[word] ^ b[word]).count_ones()).sum(),
        _ => a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum(),
    }
}
