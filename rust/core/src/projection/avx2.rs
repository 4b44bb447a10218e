//! x86-64 with AVX2 and FMA: a panel row is eight registers, half of what there is.
//!
//! One embedding: one row at a time, eight accumulators. Many embeddings: sixteen columns at a time (two registers) of a
//! chunk of rows, copied into the first-level cache for all of them; six embeddings, twelve accumulators, which
//! keeps Zen 3 within a tenth of its two fused multiply-adds a cycle.

use std::arch::x86_64::{
    __m256, _CMP_GE_OQ, _CMP_GT_OQ, _MM_HINT_T0, _mm_prefetch, _mm256_add_ps, _mm256_andnot_ps, _mm256_cmp_ps,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_movemask_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
};

use super::{CHUNK, Kernel, Line, PANEL, PanelRow, Sums, TINY};

pub(super) static KERNEL: Kernel = Kernel { together: 32 * TOGETHER, squares, one, many, signs };

/// Embeddings that are multiplied together: their accumulators and what they are multiplied with fill sixteen registers.
const TOGETHER: usize = 6;

#[target_feature(enable = "avx2,fma")]
fn squares(x: &[f32], ahead: &[f32]) -> f64 {
    for line in ahead.chunks(16) {
        prefetch(line);
    }
    super::squares(x, ahead)
}

#[target_feature(enable = "avx2,fma")]
fn one(panel: &[PanelRow], x: &[f32]) -> Sums {
    let mut sums = [_mm256_setzero_ps(); 8];
    for (rows, x) in panel.chunks(CHUNK).zip(x.chunks(CHUNK)) {
        let mut chunk = [_mm256_setzero_ps(); 8];
        for (row, &x) in rows.iter().zip(x) {
            let x = _mm256_set1_ps(x);
            for (accumulators, line) in chunk.as_chunks_mut::<2>().0.iter_mut().zip(row) {
                for (accumulator, value) in accumulators.iter_mut().zip(line.0.as_chunks::<8>().0) {
                    *accumulator = _mm256_fmadd_ps(x, load(value), *accumulator);
                }
            }
        }
        for (sum, chunk) in sums.iter_mut().zip(chunk) {
            *sum = _mm256_add_ps(*sum, chunk);
        }
    }
    let mut stored = [0.0; PANEL];
    for (stored, sum) in stored.as_chunks_mut::<8>().0.iter_mut().zip(sums) {
        store(stored, sum);
    }
    stored
}

#[target_feature(enable = "avx2,fma")]
fn many(panels: &[PanelRow], dim: usize, embeddings: &[f32], sums: &mut [Sums]) {
    sums.fill([0.0; PANEL]);
    let rows = embeddings.len() / dim;
    let mut strip = [Line([0.0; 16]); CHUNK];
    let mut packed = vec![[0.0; TOGETHER]; rows.div_ceil(TOGETHER) * CHUNK.min(dim)];
    for first in (0..dim).step_by(CHUNK) {
        let length = CHUNK.min(dim - first);
        for (x, packed) in embeddings.chunks(TOGETHER * dim).zip(packed.chunks_exact_mut(length)) {
            pack(x, dim, first, packed);
        }
        for (number, sums) in sums.chunks_exact_mut(rows).enumerate() {
            let panel = &panels[number * dim + first..][..length];
            let next_panel =
                panels.chunks_exact(dim).nth(number + 1).map_or(&[][..], |next| &next[first..][..length]);
            for line in 0..PANEL / 16 {
                // In the panel its lines lie 256 bytes apart, which is a quarter of the places that a cache has.
                for (strip, row) in strip.iter_mut().zip(panel) {
                    *strip = row[line];
                }
                let (ahead, ahead_line) = if line + 1 < PANEL / 16 { (panel, line + 1) } else { (next_panel, 0) };
                // Some lines of the next strip are asked for with each six embeddings, so that its copy need not wait.
                let mut ahead = ahead.chunks(length.div_ceil(rows.div_ceil(TOGETHER)));
                for (x, sums) in packed.chunks_exact(length).zip(sums.chunks_mut(TOGETHER)) {
                    for row in ahead.next().unwrap_or_default() {
                        prefetch(&row[ahead_line].0);
                    }
                    add_strip(&strip[..length], x, sums, line);
                }
            }
        }
    }
}

/// Asks for a cache line that is read soon.
#[target_feature(enable = "avx2")]
fn prefetch(line: &[f32]) {
    // SAFETY: a prefetch changes nothing that a program can see, and the address is that of a slice.
    #[allow(unused_unsafe, reason = "not every compiler that builds this has the intrinsic as a safe one")]
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
    }
}

/// Copies a chunk of six embeddings, or of as many as there are, so that what is multiplied together stands together.
///
/// Read from embeddings as they are, six numbers a row lie as far apart as the embeddings do, and a batch took 1.3 to
/// 1.4 times as long on Zen 3.
#[target_feature(enable = "avx2,fma")]
fn pack(x: &[f32], dim: usize, first: usize, packed: &mut [[f32; TOGETHER]]) {
    let last = x.len() / dim - 1;
    // The last embedding stands for those that are missing; nobody reads their sums.
    let chunks: [&[f32]; TOGETHER] = std::array::from_fn(|i| &x[i.min(last) * dim + first..][..packed.len()]);
    for (k, packed) in packed.iter_mut().enumerate() {
        *packed = chunks.map(|chunk| chunk[k]);
    }
}

/// Adds to the sums of six embeddings, or of as many as there are, their products with sixteen columns of a chunk of rows.
#[target_feature(enable = "avx2,fma")]
fn add_strip(strip: &[Line], x: &[[f32; TOGETHER]], sums: &mut [Sums], line: usize) {
    let mut accumulators = [[_mm256_setzero_ps(); 2]; TOGETHER];
    for (values, x) in strip.iter().zip(x) {
        let (values, _) = values.0.as_chunks::<8>();
        let values = [load(&values[0]), load(&values[1])];
        for (accumulators, &x) in accumulators.iter_mut().zip(x) {
            let x = _mm256_set1_ps(x);
            accumulators[0] = _mm256_fmadd_ps(x, values[0], accumulators[0]);
            accumulators[1] = _mm256_fmadd_ps(x, values[1], accumulators[1]);
        }
    }
    for (sums, accumulators) in sums.iter_mut().zip(accumulators) {
        let (sums, _) = sums[line * 16..][..16].as_chunks_mut::<8>();
        for (sums, accumulator) in sums.iter_mut().zip(accumulators) {
            let sum = _mm256_add_ps(load(sums), accumulator);
            store(sums, sum);
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn signs(sums: &Sums, norms: &Sums, scale: f32) -> (u64, u64) {
    let (sums, _) = sums.as_chunks::<8>();
    let (norms, _) = norms.as_chunks::<8>();
    let mut bits = 0;
    let mut doubtful = 0;
    for (k, (sums, norms)) in sums.iter().zip(norms).enumerate() {
        let sums = load(sums);
        let bound = _mm256_fmadd_ps(_mm256_set1_ps(scale), load(norms), _mm256_set1_ps(TINY));
        let size = _mm256_andnot_ps(_mm256_set1_ps(-0.0), sums);
        let positive = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(sums, _mm256_setzero_ps()));
        let certain = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(size, bound));
        bits |= u64::from(positive.cast_unsigned()) << (8 * k);
        doubtful |= u64::from(!certain.cast_unsigned() & 0xFF) << (8 * k);
    }
    (bits, doubtful)
}

#[target_feature(enable = "avx2")]
fn load(values: &[f32; 8]) -> __m256 {
    // SAFETY: reads the 32 bytes of the reference; the load needs no alignment.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

#[target_feature(enable = "avx2")]
fn store(values: &mut [f32; 8], register: __m256) {
    // SAFETY: writes the 32 bytes of the reference; the store needs no alignment.
    unsafe { _mm256_storeu_ps(values.as_mut_ptr(), register) };
}
