//! The definition of distance, in portable code. The loops are shared with the POPCNT kernel, which compiles the
//! same lines to one instruction a word.

use super::{Found, Kernel};

pub(super) static KERNEL: Kernel = Kernel { next_below, next_below_in, distances };

fn next_below(query: &[u64], codes: &[u64], start: usize, bound: u32) -> Found {
    words::next_below(query, codes, start, bound)
}

fn next_below_in(query: &[u64], codes: &[u64], rows: &[i32], start: usize, bound: u32) -> Found {
    words::next_below_in(query, codes, rows, start, bound)
}

fn distances(query: &[u64], codes: &[u64], out: &mut [u32]) {
    words::distances(query, codes, out);
}

/// One word at a time. Inlined into the caller, so that it is compiled for the caller's instruction set.
pub(super) mod words {
    use super::Found;

    /// Number of differing bits of two rows of equal width.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "takes the caller's target features")]
    pub fn distance(a: &[u64], b: &[u64]) -> u32 {
        a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "takes the caller's target features")]
    fn first<const W: usize>(query: &[u64], codes: &[u64], start: usize, bound: u32) -> Found {
        let (rows, _) = codes.as_chunks::<W>();
        let query: &[u64; W] = query.try_into().ok()?;
        let found = rows.get(start..)?.iter().map(|row| distance(query, row)).enumerate();
        found.into_iter().find(|&(_, distance)| distance < bound).map(|(i, distance)| (start + i, distance))
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "takes the caller's target features")]
    pub fn next_below(query: &[u64], codes: &[u64], start: usize, bound: u32) -> Found {
        if query.len() == 4 {
            return first::<4>(query, codes, start, bound);
        }
        let rows = codes.chunks_exact(query.len()).enumerate().skip(start);
        rows.map(|(row, code)| (row, distance(query, code))).find(|&(_, distance)| distance < bound)
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "takes the caller's target features")]
    #[expect(clippy::cast_sign_loss, reason = "the caller checked the rows")]
    pub fn next_below_in(query: &[u64], codes: &[u64], rows: &[i32], start: usize, bound: u32) -> Found {
        let width = query.len();
        let chosen = rows.iter().enumerate().skip(start);
        chosen
            .map(|(position, &row)| (position, distance(query, &codes[row as usize * width..][..width])))
            .find(|&(_, distance)| distance < bound)
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "takes the caller's target features")]
    pub fn distances(query: &[u64], codes: &[u64], out: &mut [u32]) {
        for (out, code) in out.iter_mut().zip(codes.chunks_exact(query.len())) {
            *out = distance(query, code);
        }
    }
}
