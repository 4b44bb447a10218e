//! The definition of distance, in portable code.

use super::Kernel;
use crate::codes::{GROUP_ROWS, HEAD_SLICES, Head, SLICED_WORDS, Tail, slice_of};

pub(super) static KERNEL: Kernel = Kernel {
    next_below: by_code::next_below,
    next_below_in: by_code::next_below_in,
    distances: by_code::distances,
    next_below_sliced: by_group::next_below_sliced,
    planes: None,
};

super::by_code::by_code!();
super::by_group::by_group!();
super::scalar::plain_group!();

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

/// The slices of a query.
#[inline(always)]
#[expect(clippy::inline_always, reason = "takes the caller's target features")]
pub(super) fn slices(query: &[u64; SLICED_WORDS]) -> [u16; 16] {
    std::array::from_fn(|s| slice_of(query, s))
}

/// Adds to `distances` what the slices of a group differ in from those of a query.
#[inline(always)]
#[expect(clippy::inline_always, reason = "takes the caller's target features")]
#[expect(clippy::cast_possible_truncation, reason = "at most 16")]
pub(super) fn add_slices(distances: &mut [u16; GROUP_ROWS], query: &[u16], group: &[[u16; GROUP_ROWS]]) {
    for (query, slice) in query.iter().zip(group) {
        for (distance, bits) in distances.iter_mut().zip(slice) {
            *distance += (query ^ bits).count_ones() as u16;
        }
    }
}

/// Writes what `by_group` wants of a kernel without instructions of its own for groups.
macro_rules! plain_group {
    ($(#[$feature:meta])?) => {
        /// A slice of a query.
        type Slice = u16;

        $(#[$feature])?
        fn cut(query: &[u64; SLICED_WORDS]) -> [Slice; 16] {
            super::scalar::slices(query)
        }

        $(#[$feature])?
        fn any_head_below(cut: &[Slice; 16], head: &Head, bound: u16) -> bool {
            let mut distances = [0; GROUP_ROWS];
            super::scalar::add_slices(&mut distances, cut, head);
            distances.iter().any(|&distance| distance < bound)
        }

        $(#[$feature])?
        fn any_below(cut: &[Slice; 16], head: &Head, tail: &Tail, bound: u16) -> bool {
            group_distances(cut, head, tail).iter().any(|&distance| distance < bound)
        }

        $(#[$feature])?
        fn group_distances(cut: &[Slice; 16], head: &Head, tail: &Tail) -> [u16; GROUP_ROWS] {
            let mut distances = [0; GROUP_ROWS];
            super::scalar::add_slices(&mut distances, cut, head);
            super::scalar::add_slices(&mut distances, &cut[HEAD_SLICES..], tail);
            distances
        }

        const fn fetch(_: &Tail) {}
    };
}
pub(super) use plain_group;
