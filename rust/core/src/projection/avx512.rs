//! x86-64 with AVX-512: a panel row is four registers, a sign mask one comparison.
//!
//! One embedding: two rows at a time, eight accumulators, which hides the latency of the fused multiply-add (4 cycles)
//! while the matrix streams in. Six embeddings: 24 accumulators and four registers of the row, read once for all six.

use std::arch::x86_64::{
    __m512, _CMP_GE_OQ, _CMP_GT_OQ, _mm512_abs_ps, _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_fmadd_ps,
    _mm512_load_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

use super::{BLOCK, CHUNK, Kernel, Line, PANEL, PanelRow, Sums, TINY, squares};

pub(super) static KERNEL: Kernel = Kernel { together: BLOCK, squares, one, many, signs };

/// Embeddings that are multiplied together: with four registers a row of a panel, six fill 32 registers.
const GROUP: usize = 6;

#[target_feature(enable = "avx512f")]
fn one(panel: &[PanelRow], x: &[f32]) -> Sums {
    let mut sums = [_mm512_setzero_ps(); 4];
    for (rows, x) in panel.chunks(CHUNK).zip(x.chunks(CHUNK)) {
        let mut even = [_mm512_setzero_ps(); 4];
        let mut odd = [_mm512_setzero_ps(); 4];
        let (row_pairs, last_row) = rows.as_chunks::<2>();
        let (x_pairs, last_x) = x.as_chunks::<2>();
        for (rows, x) in row_pairs.iter().zip(x_pairs) {
            multiply_add(&mut even, &rows[0], x[0]);
            multiply_add(&mut odd, &rows[1], x[1]);
        }
        for (row, &x) in last_row.iter().zip(last_x) {
            multiply_add(&mut even, row, x);
        }
        for k in 0..4 {
            sums[k] = _mm512_add_ps(sums[k], _mm512_add_ps(even[k], odd[k]));
        }
    }
    store(sums)
}

#[target_feature(enable = "avx512f")]
fn many(panels: &[PanelRow], dim: usize, embeddings: &[f32], sums: &mut [Sums]) {
    let rows = embeddings.len() / dim;
    let (grouped, single) = embeddings.split_at(rows / GROUP * GROUP * dim);
    for (panel, sums) in panels.chunks_exact(dim).zip(sums.chunks_exact_mut(rows)) {
        let (groups, last) = sums.as_chunks_mut::<GROUP>();
        for (x, sums) in grouped.chunks_exact(GROUP * dim).zip(groups) {
            *sums = group(panel, std::array::from_fn(|i| &x[i * dim..][..dim]));
        }
        for (x, sums) in single.chunks_exact(dim).zip(last) {
            *sums = one(panel, x);
        }
    }
}

#[target_feature(enable = "avx512f")]
fn group(panel: &[PanelRow], group: [&[f32]; GROUP]) -> [Sums; GROUP] {
    let mut sums = [[0.0; PANEL]; GROUP];
    for (chunk, rows) in panel.chunks(CHUNK).enumerate() {
        let x = group.map(|x| &x[chunk * CHUNK..][..rows.len()]);
        let mut accumulators = [[_mm512_setzero_ps(); 4]; GROUP];
        for (i, row) in rows.iter().enumerate() {
            let values = [load(&row[0]), load(&row[1]), load(&row[2]), load(&row[3])];
            for (accumulators, x) in accumulators.iter_mut().zip(x) {
                let x = _mm512_set1_ps(x[i]);
                for (accumulator, value) in accumulators.iter_mut().zip(values) {
                    *accumulator = _mm512_fmadd_ps(x, value, *accumulator);
                }
            }
        }
        for (sums, accumulators) in sums.iter_mut().zip(accumulators) {
            for (sum, chunk) in sums.iter_mut().zip(store(accumulators)) {
                *sum += chunk;
            }
        }
    }
    sums
}

#[target_feature(enable = "avx512f")]
fn signs(sums: &Sums, norms: &Sums, scale: f32) -> (u64, u64) {
    let (sums, _) = sums.as_chunks::<16>();
    let (norms, _) = norms.as_chunks::<16>();
    let mut bits = 0;
    let mut doubtful = 0;
    for (k, (sums, norms)) in sums.iter().zip(norms).enumerate() {
        let (sums, norms) = (load_unaligned(sums), load_unaligned(norms));
        let bound = _mm512_fmadd_ps(_mm512_set1_ps(scale), norms, _mm512_set1_ps(TINY));
        let positive = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(sums, _mm512_setzero_ps());
        let certain = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(_mm512_abs_ps(sums), bound);
        bits |= u64::from(positive) << (16 * k);
        doubtful |= u64::from(!certain) << (16 * k);
    }
    (bits, doubtful)
}

#[target_feature(enable = "avx512f")]
fn multiply_add(accumulators: &mut [__m512; 4], row: &PanelRow, x: f32) {
    let x = _mm512_set1_ps(x);
    for (accumulator, line) in accumulators.iter_mut().zip(row) {
        *accumulator = _mm512_fmadd_ps(x, load(line), *accumulator);
    }
}

#[target_feature(enable = "avx512f")]
fn load(line: &Line) -> __m512 {
    // SAFETY: a `Line` is 64 bytes, aligned to 64.
    unsafe { _mm512_load_ps(line.0.as_ptr()) }
}

#[target_feature(enable = "avx512f")]
fn load_unaligned(values: &[f32; 16]) -> __m512 {
    // SAFETY: reads the 64 bytes of the reference; the load needs no alignment.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

#[target_feature(enable = "avx512f")]
fn store(registers: [__m512; 4]) -> Sums {
    let mut sums = [0.0; PANEL];
    for (sums, register) in sums.as_chunks_mut::<16>().0.iter_mut().zip(registers) {
        // SAFETY: writes the 64 bytes of the reference; the store needs no alignment.
        unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), register) };
    }
    sums
}
