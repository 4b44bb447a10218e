//! The loops of a kernel that go a code at a time: all of them for a plain kernel, and those for ends, for other
//! widths and for chosen rows of one that takes codes in blocks.

/// Writes `next_below`, `next_below_in` and `distances` over the `distance(query, code)` of the kernel's file.
///
/// A macro, since a target feature cannot be a parameter of a generic function, and without the feature on the loop
/// the compiler cannot inline `distance` into it.
macro_rules! by_code {
    ($(#[$feature:meta])?) => {
        /// The loops that go a code at a time; see `by_code.rs`.
        mod by_code {
            use super::super::Found;
            use super::distance;

            $(#[$feature])?
            pub fn next_below(query: &[u64], codes: &[u64], start: usize, bound: u32) -> Found {
                let rest = codes.get(start * query.len()..)?.chunks_exact(query.len());
                for (code, row) in rest.zip(start..) {
                    let distance = distance(query, code);
                    if distance < bound {
                        return Some((row, distance));
                    }
                }
                None
            }

            $(#[$feature])?
            #[expect(clippy::cast_sign_loss, reason = "the caller checked the rows")]
            pub fn next_below_in(query: &[u64], codes: &[u64], rows: &[i32], start: usize, bound: u32) -> Found {
                let width = query.len();
                for (position, &row) in rows.iter().enumerate().skip(start) {
                    let distance = distance(query, &codes[row as usize * width..][..width]);
                    if distance < bound {
                        return Some((position, distance));
                    }
                }
                None
            }

            $(#[$feature])?
            pub fn distances(query: &[u64], codes: &[u64], out: &mut [u32]) {
                for (code, out) in codes.chunks_exact(query.len()).zip(out) {
                    *out = distance(query, code);
                }
            }
        }
    };
}
pub(super) use by_code;
