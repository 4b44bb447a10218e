//! Memory in lines of 64 bytes that grows without moving, so that readers need no lock.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

/// One cache line.
pub(super) type Line = [AtomicU64; 8];

const LINE_BYTES: usize = 64;
const HUGE_PAGE: usize = 1 << 21;
const SEGMENTS: usize = 32;

/// An array of lines, all zero at first, in segments that double: a line never moves, and its pages are resident once
/// something has been written to them.
pub(super) struct Lines {
    first_bits: u32,
    segments: [OnceLock<Segment>; SEGMENTS],
}

struct Segment {
    words: Box<[AtomicU64]>,
    /// Words before the first one on a line boundary.
    skipped: usize,
}

impl Lines {
    /// An array whose first segment has `2^first_bits` lines.
    pub(super) fn new(first_bits: u32) -> Self {
        Self { first_bits, segments: [const { OnceLock::new() }; SEGMENTS] }
    }

    /// The line of that number; its segment is made at its first use.
    #[inline]
    pub(super) fn at(&self, line: usize) -> &Line {
        let segment = usize::BITS - (line >> self.first_bits).leading_zeros();
        let first = if segment == 0 { 0 } else { 1 << (self.first_bits + segment - 1) };
        let len = if segment == 0 { 1 << self.first_bits } else { first };
        let held = self.segments[segment as usize].get_or_init(|| Segment::zeroed(len));
        &held.words[held.skipped..].as_chunks::<8>().0[line - first]
    }
}

impl Segment {
    fn zeroed(lines: usize) -> Self {
        let bytes = lines * LINE_BYTES;
        // Random reads of small pages cost a page walk each, so large segments begin on a huge page.
        let boundary = if bytes < HUGE_PAGE { LINE_BYTES } else { HUGE_PAGE };
        // Zeros from the system, not written ones: a segment of 2^18 lines would stall an insert for milliseconds.
        let words = bytemuck::zeroed_slice_box::<AtomicU64>((bytes + boundary) / size_of::<AtomicU64>());
        let skipped = words.as_ptr().addr().next_multiple_of(boundary) - words.as_ptr().addr();
        let skipped = skipped / size_of::<AtomicU64>();
        if bytes >= HUGE_PAGE {
            ask_for_huge_pages(&words[skipped..skipped + bytes / size_of::<AtomicU64>()]);
        }
        Self { words, skipped }
    }
}

#[cfg(target_os = "linux")]
fn ask_for_huge_pages(words: &[AtomicU64]) {
    // SAFETY: whole pages inside one allocation; this advice changes no content. A refusal costs speed alone.
    unsafe { libc::madvise(words.as_ptr().cast_mut().cast(), size_of_val(words), libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn ask_for_huge_pages(_: &[AtomicU64]) {}

/// Begins to load a line that is read soon, into the second-level cache: from memory, 128 lines at a time, that took
/// 4.9 ns a line, and 9.0 into the first level, which can have fewer under way (Zen 4).
#[inline]
pub(super) fn prefetch<T>(line: &[T]) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64; a prefetch reads nothing, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}
