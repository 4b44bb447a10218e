//! The steps of the network, written once over [`Lanes`] and compiled for each instruction set.
//!
//! Rows are tokens; a row's width is a multiple of 16. All implementations give the same bits.

#[cfg(target_arch = "x86_64")]
use crate::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use crate::avx512::Avx512;
use crate::lanes::{Lanes, Scalar};
use crate::linear::{Levels, Linear, product};

/// Numbers of a row that one head of the attention sees.
pub const HEAD: usize = 32;

/// Keeps a vector of equal numbers from a division by zero, as the published model does.
const NORM_EPSILON: f32 = 1e-12;

/// The steps for one instruction set.
///
/// The pointers are `unsafe` because they may only be called where the instruction set is available.
pub struct Kernel {
    pub name: &'static str,
    /// `levels @ weights + bias`.
    pub linear: unsafe fn(&Linear, &Levels, &mut [f32]),
    /// To bytes with one scale for all.
    pub quantize: unsafe fn(&[f32], &mut Levels),
    /// `rows + added`, each row then with mean 0 and deviation 1, times `weight` plus `bias`.
    pub normalize: unsafe fn(rows: &mut [f32], added: &[f32], weight: &[f32], bias: &[f32]),
    /// `x * (1 + erf(x / sqrt 2)) / 2`, in place.
    pub gelu: unsafe fn(&mut [f32]),
    /// From rows of queries, keys and values to rows of mixed values.
    pub attend: unsafe fn(joined: &[f32], tokens: usize, room: &mut AttentionRoom, mixed: &mut [f32]),
}

/// What one head needs for a while.
#[derive(Debug, Default)]
pub struct AttentionRoom {
    /// Of sixteen queries, for each number.
    queries: [[f32; 16]; HEAD],
    /// Of the same queries, for each token.
    weights: Vec<[f32; 16]>,
}

macro_rules! kernel {
    ($name:literal, $lanes:ty, $keys:literal, $queries:literal $(, $features:literal)?) => {{
        $(#[target_feature(enable = $features)])?
        fn linear(linear: &Linear, levels: &Levels, out: &mut [f32]) {
            let Some(lanes) = <$lanes>::detect() else { return };
            product(lanes, linear, levels, out);
        }
        $(#[target_feature(enable = $features)])?
        fn quantize(rows: &[f32], levels: &mut Levels) {
            let Some(lanes) = <$lanes>::detect() else { return };
            quantize_with(lanes, rows, levels);
        }
        $(#[target_feature(enable = $features)])?
        fn normalize(rows: &mut [f32], added: &[f32], weight: &[f32], bias: &[f32]) {
            let Some(lanes) = <$lanes>::detect() else { return };
            normalize_with(lanes, rows, added, weight, bias);
        }
        $(#[target_feature(enable = $features)])?
        fn gelu(rows: &mut [f32]) {
            let Some(lanes) = <$lanes>::detect() else { return };
            gelu_with(lanes, rows);
        }
        $(#[target_feature(enable = $features)])?
        fn attend(joined: &[f32], tokens: usize, room: &mut AttentionRoom, mixed: &mut [f32]) {
            let Some(lanes) = <$lanes>::detect() else { return };
            attend_with::<_, $keys, $queries>(lanes, joined, tokens, room, mixed);
        }
        Kernel { name: $name, linear, quantize, normalize, gelu, attend }
    }};
}

static SCALAR: Kernel = kernel!("scalar", Scalar, 4, 4);
#[cfg(target_arch = "x86_64")]
static AVX2: Kernel = kernel!("avx2", Avx2, 4, 2, "avx2,fma");
#[cfg(target_arch = "x86_64")]
static AVX512: Kernel = kernel!("avx512", Avx512, 8, 8, "avx512f,avx512bw,avx512vnni");

impl Kernel {
    /// The kernels of this machine, slowest first.
    #[allow(unused_mut, reason = "other architectures have the definition alone")]
    pub fn available() -> Vec<&'static Self> {
        let mut found = vec![&SCALAR];
        #[cfg(target_arch = "x86_64")]
        {
            found.extend(Avx2::detect().map(|_| &AVX2));
            found.extend(Avx512::detect().map(|_| &AVX512));
        }
        found
    }
}

#[inline(always)]
fn quantize_with<L: Lanes>(lanes: L, rows: &[f32], levels: &mut Levels) {
    let (blocks, _) = rows.as_chunks::<16>();
    // The range includes zero, so that zero is a level.
    let (mut low, mut high) = (lanes.splat(0.0), lanes.splat(0.0));
    for block in blocks {
        let x = lanes.load(block);
        low = lanes.lesser(x, low);
        high = lanes.greater(x, high);
    }
    let low = fold(lanes, low, |a, b| if a < b { a } else { b });
    let high = fold(lanes, high, greater);
    levels.scale = if high > low { (high - low) / 255.0 } else { 1.0 };
    let zero = (-low / levels.scale).round_ties_even().clamp(0.0, 255.0);
    #[expect(clippy::cast_possible_truncation, reason = "0 to 255")]
    let zero_level = zero as i32;
    levels.zero = zero_level;
    levels.groups.resize(rows.len() / 4, [0; 4]);
    let inverse = lanes.splat(1.0 / levels.scale);
    let (least, most, zero) = (lanes.splat(-zero), lanes.splat(255.0 - zero), lanes.splat_int(zero_level));
    for (block, bytes) in blocks.iter().zip(levels.groups.as_flattened_mut().as_chunks_mut::<16>().0) {
        let x = lanes.multiply(lanes.load(block), inverse);
        let x = lanes.round(lanes.lesser(lanes.greater(x, least), most));
        lanes.store_bytes(lanes.add_ints(x, zero), bytes);
    }
}

#[inline(always)]
fn normalize_with<L: Lanes>(lanes: L, rows: &mut [f32], added: &[f32], weight: &[f32], bias: &[f32]) {
    let width = weight.len();
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let share = 1.0 / width as f32;
    let (weight, bias) = (weight.as_chunks::<16>().0, bias.as_chunks::<16>().0);
    for (row, added) in rows.chunks_exact_mut(width).zip(added.chunks_exact(width)) {
        let (row, added) = (row.as_chunks_mut::<16>().0, added.as_chunks::<16>().0);
        let mut sum = lanes.splat(0.0);
        for (block, added) in row.iter_mut().zip(added) {
            let x = lanes.add(lanes.load(block), lanes.load(added));
            sum = lanes.add(sum, x);
            lanes.store(x, block);
        }
        let mean = lanes.splat(fold(lanes, sum, |a, b| a + b) * share);
        let mut squares = lanes.splat(0.0);
        for block in row.iter() {
            let x = lanes.subtract(lanes.load(block), mean);
            squares = lanes.multiply_add(x, x, squares);
        }
        let variance = fold(lanes, squares, |a, b| a + b) * share;
        let factor = lanes.splat(1.0 / (variance + NORM_EPSILON).sqrt());
        for ((block, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
            let x = lanes.multiply(lanes.subtract(lanes.load(block), mean), factor);
            lanes.store(lanes.multiply_add(x, lanes.load(weight), lanes.load(bias)), block);
        }
    }
}

/// With `erf` to 1.5e-7. Source: Abramowitz and Stegun 1964, 7.1.26.
#[inline(always)]
fn gelu_with<L: Lanes>(lanes: L, rows: &mut [f32]) {
    let one = lanes.splat(1.0);
    for block in rows.as_chunks_mut::<16>().0 {
        let x = lanes.load(block);
        let z = lanes.multiply(lanes.magnitude(x), lanes.splat(std::f32::consts::FRAC_1_SQRT_2));
        let t = lanes.divide(one, lanes.multiply_add(z, lanes.splat(0.327_591_1), one));
        let mut tail = lanes.splat(1.061_405_4);
        for coefficient in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
            tail = lanes.multiply_add(tail, t, lanes.splat(coefficient));
        }
        let tail = lanes.multiply(tail, t);
        let fall = exp(lanes, lanes.multiply(lanes.multiply(z, z), lanes.splat(-1.0)));
        let error = lanes.with_sign(lanes.subtract(one, lanes.multiply(tail, fall)), x);
        let half = lanes.multiply(x, lanes.splat(0.5));
        lanes.store(lanes.multiply_add(half, error, half), block);
    }
}

/// e to the power of each number, which must not be above 0; to about 2e-7 of its size.
///
/// The power of two next to it, times a polynomial for what remains, -0.35 to 0.35.
/// Source: Moshier 1992, Cephes, `expf.c`.
#[inline(always)]
fn exp<L: Lanes>(lanes: L, x: L::Floats) -> L::Floats {
    // e^-87 is the least power that is no subnormal number.
    let x = lanes.greater(x, lanes.splat(-87.0));
    let powers = lanes.round(lanes.multiply(x, lanes.splat(std::f32::consts::LOG2_E)));
    let whole = lanes.to_floats(powers);
    // ln 2 in two parts, of which the first has few digits: the product with a small integer is exact.
    let rest = lanes.multiply_add(whole, lanes.splat(-0.693_359_4), x);
    let rest = lanes.multiply_add(whole, lanes.splat(2.121_944_4e-4), rest);
    let mut sum = lanes.splat(1.987_569_2e-4);
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_66, 0.5, 1.0, 1.0] {
        sum = lanes.multiply_add(sum, rest, lanes.splat(coefficient));
    }
    lanes.multiply(sum, lanes.power_of_two(powers))
}

/// The queries of sixteen tokens lie side by side, so that nothing is summed across lanes. `KEYS` and `QUERIES` are as
/// many as the registers hold; the bits do not depend on them.
#[inline(always)]
fn attend_with<L: Lanes, const KEYS: usize, const QUERIES: usize>(
    lanes: L,
    joined: &[f32],
    tokens: usize,
    room: &mut AttentionRoom,
    mixed: &mut [f32],
) {
    let width = mixed.len() / tokens;
    let row = |token: usize| &joined[token * 3 * width..][..3 * width];
    room.weights.resize(tokens.next_multiple_of(KEYS), [0.0; 16]);
    for head in (0..width).step_by(HEAD) {
        for first in (0..tokens).step_by(16) {
            let here = 16.min(tokens - first);
            for lane in 0..here {
                for (numbers, &query) in room.queries.iter_mut().zip(&row(first + lane)[head..][..HEAD]) {
                    numbers[lane] = query;
                }
            }
            let mut greatest = lanes.splat(f32::MIN);
            for token in (0..tokens).step_by(KEYS) {
                // The last group repeats the last key.
                let keys: [&[f32; HEAD]; KEYS] =
                    std::array::from_fn(|i| part(row((token + i).min(tokens - 1)), width + head));
                let mut sums = [lanes.splat(0.0); KEYS];
                for number in 0..HEAD {
                    let queries = lanes.load(&room.queries[number]);
                    for (sum, key) in sums.iter_mut().zip(keys) {
                        *sum = lanes.multiply_add(lanes.splat(key[number]), queries, *sum);
                    }
                }
                for (weights, sum) in room.weights[token..].iter_mut().zip(sums) {
                    greatest = lanes.greater(sum, greatest);
                    lanes.store(sum, weights);
                }
            }
            let mut sum = lanes.splat(0.0);
            for weights in &mut room.weights[..tokens] {
                let weight = exp(lanes, lanes.subtract(lanes.load(weights), greatest));
                sum = lanes.add(sum, weight);
                lanes.store(weight, weights);
            }
            let mut shares = [0.0; 16];
            lanes.store(lanes.divide(lanes.splat(1.0), sum), &mut shares);
            for lane in (0..here).step_by(QUERIES) {
                let mut values = [[lanes.splat(0.0); HEAD / 16]; QUERIES];
                for (token, weights) in room.weights[..tokens].iter().enumerate() {
                    let value: &[f32; HEAD] = part(row(token), 2 * width + head);
                    let value = [lanes.load(part(value, 0)), lanes.load(part(value, 16))];
                    for (&weight, sums) in weights[lane..][..QUERIES].iter().zip(&mut values) {
                        let weight = lanes.splat(weight);
                        for (sum, value) in sums.iter_mut().zip(value) {
                            *sum = lanes.multiply_add(weight, value, *sum);
                        }
                    }
                }
                for (i, values) in values.into_iter().enumerate().take(here - lane) {
                    let share = lanes.splat(shares[lane + i]);
                    let to = &mut mixed[(first + lane + i) * width + head..][..HEAD];
                    for (value, to) in values.into_iter().zip(to.as_chunks_mut::<16>().0) {
                        lanes.store(lanes.multiply(value, share), to);
                    }
                }
            }
        }
    }
}

/// The lanes joined by a tree of eight, four, two and one pairs.
#[inline(always)]
fn fold<L: Lanes>(lanes: L, floats: L::Floats, join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut values = [0.0; 16];
    lanes.store(floats, &mut values);
    for pairs in [8, 4, 2, 1] {
        for i in 0..pairs {
            values[i] = join(values[i], values[i + pairs]);
        }
    }
    values[0]
}

/// Without the care for NaN that `f32::max` takes.
#[inline(always)]
fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// `N` numbers of a row.
#[inline(always)]
fn part<const N: usize>(row: &[f32], from: usize) -> &[f32; N] {
    &row[from..].as_chunks::<N>().0[0]
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::undocumented_unsafe_blocks,
    reason = "small numbers; every kernel comes from `available`"
)]
mod tests;
