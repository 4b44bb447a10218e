//! x86-64 with POPCNT: one count a word, four a cycle at best; latency 1 on Zen 4, 3 on Intel.

use super::scalar::words;
use super::{Found, Kernel};

pub(super) static KERNEL: Kernel = Kernel { next_below, next_below_in, distances };

#[target_feature(enable = "popcnt")]
fn next_below(query: &[u64], codes: &[u64], start: usize, bound: u32) -> Found {
    words::next_below(query, codes, start, bound)
}

#[target_feature(enable = "popcnt")]
fn next_below_in(query: &[u64], codes: &[u64], rows: &[i32], start: usize, bound: u32) -> Found {
    words::next_below_in(query, codes, rows, start, bound)
}

#[target_feature(enable = "popcnt")]
fn distances(query: &[u64], codes: &[u64], out: &mut [u32]) {
    words::distances(query, codes, out);
}
