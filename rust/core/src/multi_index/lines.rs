//! Memory in lines of 64 bytes that grows without moving, so that readers need no lock.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use memmap2::MmapMut;

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
    /// Inside `_memory`, from a line boundary on.
    words: &'static [AtomicU64],
    _memory: MmapMut,
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
        &held.words.as_chunks::<8>().0[line - first]
    }
}

impl Segment {
    /// Pages of its own: zeros that cost nothing before they are written, so that a large segment stalls no insert.
    /// The C library's heap was rejected: once it has held large blocks it serves new ones from there, cleared by
    /// hand and without huge pages, and a search takes nearly twice as long.
    fn zeroed(lines: usize) -> Self {
        let bytes = lines * LINE_BYTES;
        // Random reads of small pages cost a page walk each, so large segments begin on a huge page.
        let boundary = if bytes < HUGE_PAGE { LINE_BYTES } else { HUGE_PAGE };
        let mut memory = MmapMut::map_anon(bytes + boundary).expect("memory for the index can be mapped");
        #[cfg(target_os = "linux")]
        if bytes >= HUGE_PAGE {
            // A refusal costs speed alone.
            let _ = memory.advise(memmap2::Advice::HugePage);
        }
        let start = memory.as_mut_ptr();
        let skipped = start.addr().next_multiple_of(boundary) - start.addr();
        #[expect(clippy::cast_ptr_alignment, reason = "`boundary` is a multiple of that of a word")]
        // SAFETY: the words lie inside the map, which has `boundary` bytes to spare and lives as long as the segment;
        // `start` is a page's, so they are aligned; zeros are valid; nobody else has the map. The reference does not
        // leave `Lines::at`, which shortens its life to that of the segment.
        let words = unsafe {
            std::slice::from_raw_parts(start.add(skipped).cast::<AtomicU64>(), bytes / size_of::<AtomicU64>())
        };
        Self { words, _memory: memory }
    }
}

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
