//! The scan over sliced codes, a group of rows at a time.
//!
//! First the heads alone: what they differ in is a least distance. Groups in which a row may still be near enough are
//! few, so they wait, their tails on the way from memory, while the heads of further groups are looked at. Where they
//! are not few (clustered rows, a large bound), groups are counted whole at once. Both give the same rows.

/// Groups looked at before it is decided whether heads are worth looking at first.
pub(super) const CHUNK: usize = 128;
/// Most groups of a chunk that may have to be counted whole; beyond, counting all of them whole costs less.
pub(super) const MOST_WHOLE: usize = CHUNK / 8;
/// Groups counted whole, once that limit is passed, before heads are tried again.
pub(super) const WHOLE_RUN: usize = 7 * CHUNK;
/// Greatest bound under which heads are tried at all. Of 144 random bits 72 differ, 6 more or less: one group of 32
/// rows in 11 reaches below 56.
pub(super) const HEADS_BELOW: u32 = 56;
/// Groups that wait for their tails before they are counted.
pub(super) const WAITING: usize = 8;

/// Writes `next_below_sliced` over what the kernel's file says about one group: `cut(query)`, the sixteen slices of a
/// query, and with them `any_head_below(cut, head, bound)`, `any_below(cut, head, tail, bound)`,
/// `group_distances(cut, head, tail)` and `fetch(tail)`.
///
/// A macro for the reason that `by_code` is one.
macro_rules! by_group {
    ($(#[$feature:meta])?) => {
        /// The scan that goes a group at a time; see `by_group.rs`.
        mod by_group {
            use super::super::Found;
            use super::super::by_group::{CHUNK, HEADS_BELOW, MOST_WHOLE, WAITING, WHOLE_RUN};
            use super::{Slice, any_below, any_head_below, cut, fetch, group_distances};
            use crate::codes::{GROUP_ROWS, Head, SLICED_WORDS, Sliced, Tail};

            $(#[$feature])?
            pub fn next_below_sliced(
                query: &[u64; SLICED_WORDS],
                codes: Sliced<'_>,
                start: usize,
                bound: u32,
            ) -> Found {
                let cut = cut(query);
                // No distance is above 256, so a greater bound admits the same rows.
                let bound = u16::try_from(bound).unwrap_or(u16::MAX).min(257);
                let (heads, tails) = (codes.heads(), codes.tails());
                let mut group = start / GROUP_ROWS;
                if start % GROUP_ROWS != 0 {
                    let found = first_row(&cut, codes, group, start % GROUP_ROWS, bound);
                    if found.is_some() {
                        return found;
                    }
                    group += 1;
                }
                let mut whole_until = if u32::from(bound) > HEADS_BELOW { heads.len() } else { group };
                let (mut waiting, mut n_waiting) = ([0; WAITING], 0);
                loop {
                    group += n_far(&cut, &heads[group..whole_until], &tails[group..whole_until], bound);
                    if group < whole_until {
                        return first_row(&cut, codes, group, 0, bound);
                    }
                    let (chunk_end, mut n_undecided) = (heads.len().min(group + CHUNK), 0);
                    while group < chunk_end && n_undecided <= MOST_WHOLE {
                        group += n_far_heads(&cut, &heads[group..chunk_end], bound);
                        if group < chunk_end {
                            fetch(&tails[group]);
                            waiting[n_waiting] = group;
                            (n_waiting, n_undecided, group) = (n_waiting + 1, n_undecided + 1, group + 1);
                        }
                        // At the chunk's end, too: what is found late was looked for in vain behind it.
                        if n_waiting == WAITING || group == chunk_end || n_undecided > MOST_WHOLE {
                            for &group in &waiting[..n_waiting] {
                                let found = first_row(&cut, codes, group, 0, bound);
                                if found.is_some() {
                                    return found;
                                }
                            }
                            n_waiting = 0;
                        }
                    }
                    if group == heads.len() {
                        return None;
                    }
                    let run = if n_undecided > MOST_WHOLE { WHOLE_RUN } else { 0 };
                    whole_until = heads.len().min(group + run);
                }
            }

            /// The number of groups before the first in which a row may be nearer than `bound`, going by heads.
            ///
            /// A function of its own, so that the slices of the query stay in registers.
            #[inline(never)]
            $(#[$feature])?
            fn n_far_heads(cut: &[Slice; 16], heads: &[Head], bound: u16) -> usize {
                let mut n = 0;
                for head in heads {
                    if any_head_below(cut, head, bound) {
                        break;
                    }
                    n += 1;
                }
                n
            }

            /// The number of groups before the first in which a row is nearer than `bound`.
            #[inline(never)]
            $(#[$feature])?
            fn n_far(cut: &[Slice; 16], heads: &[Head], tails: &[Tail], bound: u16) -> usize {
                let mut n = 0;
                for (head, tail) in heads.iter().zip(tails) {
                    if any_below(cut, head, tail, bound) {
                        break;
                    }
                    n += 1;
                }
                n
            }

            /// The first row of a group, `skipped` left out, that is nearer than `bound`.
            #[inline(never)]
            $(#[$feature])?
            fn first_row(cut: &[Slice; 16], codes: Sliced, group: usize, skipped: usize, bound: u16) -> Found {
                let (head, tail) = (&codes.heads()[group], &codes.tails()[group]);
                if !any_below(cut, head, tail, bound) {
                    return None;
                }
                let distances = group_distances(cut, head, tail);
                let lane = (skipped..GROUP_ROWS).find(|&lane| distances[lane] < bound)?;
                Some((group * GROUP_ROWS + lane, distances[lane].into()))
            }
        }
    };
}
pub(super) use by_group;
