//! Portable kernel: loops over whole panel rows, which the compiler turns into the baseline's vector instructions
//! (SSE2 on x86-64, NEON on aarch64).

use super::{BLOCK, CHUNK, Kernel, PANEL, PanelRow, Sums, TINY, squares};

pub(super) static KERNEL: Kernel = Kernel { together: BLOCK, squares, one, many, signs };

fn one(panel: &[PanelRow], x: &[f32]) -> Sums {
    let mut sums = [0.0; PANEL];
    for (rows, x) in panel.chunks(CHUNK).zip(x.chunks(CHUNK)) {
        let mut chunk = [0.0; PANEL];
        for (row, &x) in rows.iter().zip(x) {
            for (sums, line) in chunk.as_chunks_mut::<16>().0.iter_mut().zip(row) {
                for (sum, value) in sums.iter_mut().zip(line.0) {
                    *sum += x * value;
                }
            }
        }
        for (sum, chunk) in sums.iter_mut().zip(chunk) {
            *sum += chunk;
        }
    }
    sums
}

fn many(panels: &[PanelRow], dim: usize, embeddings: &[f32], sums: &mut [Sums]) {
    for (panel, sums) in panels.chunks_exact(dim).zip(sums.chunks_exact_mut(embeddings.len() / dim)) {
        for (x, sums) in embeddings.chunks_exact(dim).zip(sums) {
            *sums = one(panel, x);
        }
    }
}

fn signs(sums: &Sums, norms: &Sums, scale: f32) -> (u64, u64) {
    let mut bits = 0;
    let mut doubtful = 0;
    for (j, (&sum, &norm)) in sums.iter().zip(norms).enumerate() {
        bits |= u64::from(sum >= 0.0) << j;
        let is_certain = sum.abs() > scale * norm + TINY;
        doubtful |= u64::from(!is_certain) << j;
    }
    (bits, doubtful)
}
