//! From an embedding to a code: bit `i` is 1 when the exact dot product with column `i` of the matrix is >= 0.
//!
//! The product is computed in float32 by a SIMD kernel whose rounding error has a proven bound. A sum inside its
//! bound (about one bit in 7,000 at 384 dimensions) is computed again in float64, where the products of two float32
//! numbers are exact, and, inside float64's own bound, once more without any rounding. So every bit is right, and
//! codes are the same on every machine, whatever the kernel, the batch or the order of summation.
//!
//! The matrix is kept in panels of 64 columns, each contiguous, so that a code word needs one stream from memory.
//! Rejected: a bfloat16 copy of the matrix, which halves the bytes read but sends 16 bits a code to the recheck.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod exact;
mod scalar;

use std::sync::{Mutex, PoisonError};

use crate::{Error, Isa, Workers, words_for};

/// Columns in a panel: one code word.
const PANEL: usize = 64;

/// Rows after which a kernel adds its float32 accumulators into the sums, so that the error bound grows with
/// `CHUNK + dim / CHUNK` and not with `dim`.
const CHUNK: usize = 128;

/// Largest number of elements of a matrix: 4 GiB of float32.
const MAX_ELEMENTS: usize = 1 << 30;

/// Sixteen columns of one row, on a cache line of its own.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line([f32; 16]);

/// One row of a panel.
type PanelRow = [Line; PANEL / 16];

/// The dot products of one embedding with the columns of one panel.
type Sums = [f32; PANEL];

/// The primitives of one instruction set.
///
/// The pointers are `unsafe` because they may only be called where the instruction set is available.
struct Kernel {
    /// Embeddings that `many` is best called with, at four panels: each call reads the matrix once, or copies it.
    together: usize,
    /// The sum of squares of `x`; `ahead` is what this is called with some calls later.
    squares: unsafe fn(x: &[f32], ahead: &[f32]) -> f64,
    /// Sums for one embedding.
    one: unsafe fn(panel: &[PanelRow], x: &[f32]) -> Sums,
    /// Sums for many embeddings with all panels, panel after panel; a panel is read once for all or for some of them.
    many: unsafe fn(panels: &[PanelRow], dim: usize, embeddings: &[f32], sums: &mut [Sums]),
    /// `(bits, doubtful)`: bit `j` is `sums[j] >= 0`; it is doubtful unless `|sums[j]| > scale * norms[j] + TINY`.
    signs: unsafe fn(sums: &Sums, norms: &Sums, scale: f32) -> (u64, u64),
}

/// Least number of embeddings that are encoded together in a large batch.
const BLOCK: usize = 24;

/// What a thread takes of a batch is a multiple of this, so that a kernel's groups of six are full.
const GROUP: usize = 6;

/// Embeddings from which on a kernel for many is quicker than one at a time.
const MANY: usize = 4;

/// Embeddings between the one that is read and the one that is asked for from memory.
const AHEAD: usize = 4;

/// Least number of products that a thread is started for.
const PRODUCTS_A_THREAD: usize = 1 << 22;

/// Stands for what underflow may take from a sum: 2^-149 for each of 2^30 operations is far less, and so are 2^-126 for
/// each of 2^20 where a library in the process has set the processor to flush small numbers to zero.
const TINY: f32 = 1e-30;

fn kernel(isa: Isa) -> &'static Kernel {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => &avx2::KERNEL,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => &avx512::KERNEL,
        _ => &scalar::KERNEL,
    }
}

/// A projection matrix, ready to encode.
#[derive(Debug)]
pub struct Projection {
    dim: usize,
    code_bits: usize,
    isa: Isa,
    workers: Workers,
    /// Panel after panel, each `dim` rows; columns beyond `code_bits` are zero.
    panels: Vec<PanelRow>,
    /// Upper bounds of the columns' Euclidean norms, panel after panel.
    norms: Vec<Sums>,
    /// Relative error bound of a float32 sum of `dim` products.
    relative_error: f64,
    greatest_norm: f64,
}

impl Projection {
    /// Takes a copy of `matrix`, `(dim, code_bits)` in row-major order.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] for a size that is 0 or above 2^30 elements, [`Error::Dimension`] when `matrix` has another
    /// length, [`Error::NotFinite`], [`Error::Isa`], [`Error::TooLarge`] when memory does not suffice.
    pub fn new(matrix: &[f32], dim: usize, code_bits: usize, isa: Isa) -> Result<Self, Error> {
        Self::check_size(dim, code_bits)?;
        if matrix.len() != dim * code_bits {
            return Err(Error::Dimension {
                what: "elements of the projection",
                expected: dim * code_bits,
                got: matrix.len(),
            });
        }
        if let Some(at) = matrix.iter().position(|value| !value.is_finite()) {
            return Err(Error::NotFinite { what: "projection", row: at / code_bits, column: at % code_bits });
        }
        let isa = Isa::from_name(isa.name())?;
        let n_panels = words_for(code_bits);
        let mut panels = filled([Line([0.0; 16]); PANEL / 16], n_panels * dim, PANEL)?;
        let mut squares = vec![0.0_f64; n_panels * PANEL];
        for (row, values) in matrix.chunks_exact(code_bits).enumerate() {
            for (column, &value) in values.iter().enumerate() {
                let line = &mut panels[column / PANEL * dim + row][column % PANEL / 16];
                line.0[column % 16] = value;
                squares[column] += f64::from(value) * f64::from(value);
            }
        }
        // Rounding down by the conversion is less than the factor adds, but below the smallest normal number.
        #[expect(clippy::cast_possible_truncation, reason = "the norm of finite float32 may overflow to infinity")]
        let norms: Vec<Sums> = squares
            .chunks_exact(PANEL)
            .map(|panel| std::array::from_fn(|j| ((panel[j].sqrt() * 1.000_001) as f32).max(f32::MIN_POSITIVE)))
            .collect();
        let greatest_norm = squares.iter().fold(0.0, |greatest: f64, &square| greatest.max(square)).sqrt();
        Ok(Self {
            dim,
            code_bits,
            isa,
            workers: Workers::ONE,
            panels,
            norms,
            relative_error: relative_error(dim),
            greatest_norm,
        })
    }

    /// The same by as many threads as `workers` has, where a batch is large enough to pay for them.
    #[must_use]
    pub fn with_workers(self, workers: Workers) -> Self {
        Self { workers, ..self }
    }

    /// The threads that a large batch may use.
    #[must_use]
    pub const fn workers(&self) -> Workers {
        self.workers
    }

    /// Whether a matrix of this size can be built; called before anyone allocates it.
    ///
    /// # Errors
    ///
    /// [`Error::Size`].
    pub fn check_size(dim: usize, code_bits: usize) -> Result<(), Error> {
        let limit = |what, got, greatest| {
            if (1..=greatest).contains(&got) { Ok(()) } else { Err(Error::Size { what, least: 1, greatest, got }) }
        };
        limit("code_bits", code_bits, 1 << 16)?;
        limit("embedding_dim", dim, MAX_ELEMENTS / (words_for(code_bits) * PANEL))
    }

    /// Length of an embedding.
    #[must_use]
    pub const fn dim(&self) -> usize {
        self.dim
    }

    /// Bits in a code.
    #[must_use]
    pub const fn code_bits(&self) -> usize {
        self.code_bits
    }

    /// Words in a code.
    #[must_use]
    pub const fn n_words(&self) -> usize {
        words_for(self.code_bits)
    }

    /// The instruction set in use.
    #[must_use]
    pub const fn isa(&self) -> Isa {
        self.isa
    }

    /// Zeros for the codes of so many embeddings.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] when memory does not suffice.
    pub fn room_for(&self, rows: usize) -> Result<Vec<u64>, Error> {
        filled(0, rows.saturating_mul(self.n_words()), 1)
    }

    /// Writes the codes of `embeddings` (rows of `dim`, one after another) to `codes` (rows of `n_words`).
    ///
    /// # Errors
    ///
    /// [`Error::Dimension`] when the lengths do not fit, [`Error::NotFinite`] for NaN or infinity; nothing is
    /// promised of `codes` then.
    pub fn encode(&self, embeddings: &[f32], codes: &mut [u64]) -> Result<(), Error> {
        let (dim, n_words) = (self.dim, self.n_words());
        if !embeddings.len().is_multiple_of(dim) {
            return Err(Error::Dimension {
                what: "embedding dimension",
                expected: dim,
                got: embeddings.len() % dim,
            });
        }
        let rows = embeddings.len() / dim;
        if codes.len() != rows * n_words {
            return Err(Error::Dimension { what: "words of codes", expected: rows * n_words, got: codes.len() });
        }
        let workers = self.workers.at_most(rows.saturating_mul(dim * self.code_bits) / PRODUCTS_A_THREAD);
        let block = self.block(rows, workers);
        let parts: Vec<_> = codes.chunks_mut(block * n_words).map(Mutex::new).collect();
        let of_threads = workers.deal(parts.len(), |dealt| {
            let mut sums = Vec::new();
            for part in dealt {
                let first = part * block;
                let embeddings = &embeddings[first * dim..][..block.min(rows - first) * dim];
                let mut codes = parts[part].lock().unwrap_or_else(PoisonError::into_inner);
                // Parts before this one are dealt already, so the first of all errors is among the threads' first.
                self.encode_block(embeddings, &mut codes, first, &mut sums)?;
            }
            Ok(())
        });
        of_threads.into_iter().filter_map(Result::err).min_by_key(row_of).map_or(Ok(()), Err)
    }

    /// Embeddings that are encoded together: as many as the kernel likes, but the same number in each of the parts, and
    /// as many parts for each thread.
    fn block(&self, rows: usize, workers: Workers) -> usize {
        // The sums of 192 embeddings with four panels are 192 KiB, and stay in the second-level cache.
        let most = (kernel(self.isa).together * 4 / self.n_words()).clamp(BLOCK, kernel(self.isa).together);
        let parts = rows.div_ceil(most).max(1).next_multiple_of(workers.threads());
        rows.div_ceil(parts).next_multiple_of(GROUP).max(BLOCK)
    }

    fn encode_block(
        &self,
        embeddings: &[f32],
        codes: &mut [u64],
        first_row: usize,
        sums: &mut Vec<Sums>,
    ) -> Result<(), Error> {
        let (dim, n_words) = (self.dim, self.n_words());
        let each = embeddings.chunks_exact(dim);
        if each.len() < MANY {
            let mut rows = each.zip(codes.chunks_exact_mut(n_words)).zip(first_row..);
            return rows.try_for_each(|((x, code), row)| self.encode_one(x, code, row));
        }
        let ahead = each.clone().skip(AHEAD).chain(std::iter::repeat(&[][..]));
        let scales = each.clone().zip(ahead).zip(first_row..);
        let scales = scales.map(|((x, ahead), row)| self.error_scale(x, ahead, row));
        let scales = scales.collect::<Result<Vec<f32>, Error>>()?;
        sums.resize(n_words * scales.len(), [0.0; PANEL]);
        // SAFETY: `new` checked that this machine has the instruction set.
        unsafe { (kernel(self.isa).many)(&self.panels, dim, embeddings, sums) };
        for (panel, sums) in sums.chunks_exact(scales.len()).enumerate() {
            for (((x, code), sums), scale) in
                each.clone().zip(codes.chunks_exact_mut(n_words)).zip(sums).zip(&scales)
            {
                code[panel] = self.word(panel, x, sums, *scale);
            }
        }
        Ok(())
    }

    fn encode_one(&self, x: &[f32], code: &mut [u64], row: usize) -> Result<(), Error> {
        let scale = self.error_scale(x, &[], row)?;
        let kernel = kernel(self.isa);
        for (panel, word) in code.iter_mut().enumerate() {
            // SAFETY: `new` checked that this machine has the instruction set.
            let sums = unsafe { (kernel.one)(self.panel(panel), x) };
            *word = self.word(panel, x, &sums, scale);
        }
        Ok(())
    }

    fn panel(&self, panel: usize) -> &[PanelRow] {
        &self.panels[panel * self.dim..][..self.dim]
    }

    /// The code word of one panel, doubtful bits made exact.
    fn word(&self, panel: usize, x: &[f32], sums: &Sums, scale: f32) -> u64 {
        // SAFETY: `new` checked that this machine has the instruction set.
        let (mut bits, mut doubtful) = unsafe { (kernel(self.isa).signs)(sums, &self.norms[panel], scale) };
        let used = (self.code_bits - panel * PANEL).min(PANEL);
        let mask = u64::MAX >> (PANEL - used);
        doubtful &= mask;
        while doubtful != 0 {
            let column = doubtful.trailing_zeros() as usize;
            let values = self.panel(panel).iter().map(|row| row[column / 16].0[column % 16]);
            let bit = u64::from(exact::is_not_negative(x, values));
            bits = bits & !(1 << column) | bit << column;
            doubtful &= doubtful - 1;
        }
        bits & mask
    }

    /// What a column's norm is multiplied with to bound the error of its sum: the relative error times the norm of `x`.
    fn error_scale(&self, x: &[f32], ahead: &[f32], row: usize) -> Result<f32, Error> {
        // SAFETY: `new` checked that this machine has the instruction set.
        let norm = unsafe { (kernel(self.isa).squares)(x, ahead) }.sqrt();
        // Squares of finite float32 do not overflow float64, so it is finite exactly when every value is.
        if !norm.is_finite() {
            let column = x.iter().position(|value| !value.is_finite()).unwrap_or_default();
            return Err(Error::NotFinite { what: "embeddings", row, column });
        }
        // A float32 sum of so large numbers might overflow on the way: every bit is doubtful then.
        if norm * self.greatest_norm > 1e37 {
            return Ok(f32::INFINITY);
        }
        #[expect(clippy::cast_possible_truncation, reason = "rounding down is less than the factor adds")]
        Ok(((norm * self.relative_error * 1.000_001) as f32).max(f32::MIN_POSITIVE))
    }
}

/// The sum of squares of `x`, in eight sums side by side.
#[expect(clippy::inline_always, reason = "a kernel's copy of it is built with the kernel's instructions")]
#[inline(always)]
fn squares(x: &[f32], _ahead: &[f32]) -> f64 {
    let mut squares = [0.0_f64; 8];
    let (blocks, rest) = x.as_chunks::<8>();
    for block in blocks {
        for (square, &value) in squares.iter_mut().zip(block) {
            *square += f64::from(value) * f64::from(value);
        }
    }
    for (square, &value) in squares.iter_mut().zip(rest) {
        *square += f64::from(value) * f64::from(value);
    }
    squares.iter().sum()
}

/// The row that an error names.
const fn row_of(error: &Error) -> usize {
    if let Error::NotFinite { row, .. } = error { *row } else { 0 }
}

/// `n` times `value`, each `columns` numbers wide, or an error instead of the end of the process.
fn filled<T: Clone>(value: T, n: usize, columns: usize) -> Result<Vec<T>, Error> {
    let mut values = Vec::new();
    values.try_reserve_exact(n).map_err(|_| Error::TooLarge { rows: n, columns })?;
    values.resize(n, value);
    Ok(values)
}

/// Bound of `|computed - exact| / (|x| |p|)`, by Euclidean norms, for a kernel's float32 dot product of `dim` terms.
///
/// A product passes through at most one rounding of its own, `CHUNK` additions in an accumulator, the additions of
/// the chunks' sums, and (with two accumulators a column) one more; m such roundings give m u / (1 - m u), and the
/// sum of the products' sizes is at most `|x| |p|`.
/// Source: Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.1.
fn relative_error(dim: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "below 2^31")]
    let roundings = (CHUNK + dim.div_ceil(CHUNK) + 8) as f64;
    let unit = f64::from(f32::EPSILON) / 2.0;
    roundings * unit / (1.0 - roundings * unit)
}
