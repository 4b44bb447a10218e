//! x86-64 with POPCNT: one count a word, four a cycle at best; latency 1 on Zen 4, 3 on Intel.

use super::Kernel;
use super::scalar::differing_bits;
use crate::codes::{GROUP_ROWS, HEAD_SLICES, Head, SLICED_WORDS, Tail};

pub(super) static KERNEL: Kernel = Kernel {
    next_below: by_code::next_below,
    next_below_in: by_code::next_below_in,
    distances: by_code::distances,
    next_below_sliced: by_group::next_below_sliced,
    planes: None,
};

super::by_code::by_code!(#[target_feature(enable = "popcnt")]);
super::by_group::by_group!(#[target_feature(enable = "popcnt")]);
super::scalar::plain_group!(#[target_feature(enable = "popcnt")]);

#[target_feature(enable = "popcnt")]
fn distance(query: &[u64], code: &[u64]) -> u32 {
    differing_bits(query, code)
}
