//! The scan over sliced codes, a group of rows at a time.
//!
//! First the heads alone: what they differ in is a least distance. Groups in which a row may still be near enough are
//! few, so they wait, their tails on the way from memory meanwhile, until several can be counted whole. Where they
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
/// Groups that wait for their tails.
pub(super) const WAITING: usize = 8;

/// Writes `next_below_sliced` over what the kernel's file says about one group: `cut(query)`, and with it
/// `any_head_below(cut, head, bound)`, `any_below(cut, head, tail, bound)`, `group_distances(cut, head, tail)` and
/// `fetch(tail)`.
///
/// A macro for the reason that `by_code` is one.
macro_rules! by_group {
    ($(#[$feature:meta])?) => {
        /// The scan that goes a group at a time; see `by_group.rs`.
        mod by_group {
            use super::super::Found;
            use super::super::by_group::{CHUNK, HEADS_BELOW, MOST_WHOLE, WAITING, WHOLE_RUN};
            use super::{any_below, any_head_below, cut, fetch, group_distances};
            use crate::codes::{GROUP_ROWS, SLICED_WORDS, Sliced};

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
                let first_below = |group: usize, skipped: usize| {
                    let distances = group_distances(&cut, &heads[group], &tails[group]);
                    let mut found = distances.into_iter().zip(group * GROUP_ROWS..).skip(skipped);
                    let found = found.find(|&(distance, _)| distance < bound);
                    found.map(|(distance, row)| (row, u32::from(distance)))
                };
                let mut group = start / GROUP_ROWS;
                if start % GROUP_ROWS != 0 && group < heads.len() {
                    if let Some(found) = first_below(group, start % GROUP_ROWS) {
                        return Some(found);
                    }
                    group += 1;
                }
                let mut whole_until = if u32::from(bound) > HEADS_BELOW { heads.len() } else { 0 };
                let (mut waiting, mut n_waiting) = ([0; WAITING], 0);
                loop {
                    while group < whole_until {
                        if any_below(&cut, &heads[group], &tails[group], bound) {
                            return first_below(group, 0);
                        }
                        group += 1;
                    }
                    if group >= heads.len() {
                        return None;
                    }
                    let end = heads.len().min(group + CHUNK);
                    let mut n_whole = 0;
                    for group in group..end {
                        if any_head_below(&cut, &heads[group], bound) {
                            fetch(&tails[group]);
                            waiting[n_waiting] = group;
                            n_waiting += 1;
                            n_whole += 1;
                            if n_waiting == WAITING {
                                for group in waiting {
                                    if any_below(&cut, &heads[group], &tails[group], bound) {
                                        return first_below(group, 0);
                                    }
                                }
                                n_waiting = 0;
                            }
                        }
                    }
                    group = end;
                    if n_whole > MOST_WHOLE {
                        whole_until = heads.len().min(group + WHOLE_RUN);
                    }
                    if group < whole_until || group == heads.len() {
                        for &group in &waiting[..n_waiting] {
                            if any_below(&cut, &heads[group], &tails[group], bound) {
                                return first_below(group, 0);
                            }
                        }
                        n_waiting = 0;
                    }
                }
            }
        }
    };
}
pub(super) use by_group;
