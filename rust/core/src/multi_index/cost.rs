//! What a search is expected to cost, in nanoseconds. Wrong numbers here cost time and change no result.

/// Reading a group: its line is a miss of the caches, several under way at a time.
const GROUP: f64 = 12.0;
/// Comparing a candidate: as a group, its code is a miss.
const CANDIDATE: f64 = 12.0;
/// Scanning a word of the codes.
const SCANNED_WORD: f64 = 0.1;

/// Scanning `words` words of codes.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
pub(super) fn scan(words: usize) -> f64 {
    words as f64 * SCANNED_WORD
}

/// Reading `n` lines of groups.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
pub(super) fn groups(n: usize) -> f64 {
    n as f64 * GROUP
}

/// Comparing `n` candidates.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
pub(super) fn candidates(n: usize) -> f64 {
    n as f64 * CANDIDATE
}

/// Numbers of `n` bits with exactly `k` ones.
pub(super) fn choose(n: u32, k: u32) -> f64 {
    if k > n {
        return 0.0;
    }
    (0..k).fold(1.0, |product, i| product * f64::from(n - i) / f64::from(i + 1))
}

/// Trying all substrings of `width` bits at distance `radius` from the query's, if `rows` random rows stand in groups
/// by the lowest `bits` bits.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
pub(super) fn unit(width: u32, bits: u32, radius: u32, rows: usize) -> f64 {
    let beyond = width - bits;
    let groups: f64 = (radius.saturating_sub(beyond)..=radius).map(|flips| choose(bits, flips)).sum();
    let candidates = choose(width, radius) * rows as f64 / f64::from(width).exp2();
    groups * GROUP + candidates * CANDIDATE
}
