//! Codes against the sign of the exact product, on every kernel, alone and in batches.

mod dull;

use bsc_core::{Error, Isa, Projection, Workers};
use dull::Random;
use proptest::prelude::*;

/// The sign by integer arithmetic: every float here is a multiple of 2^-24 between -1 and 1, so that products are
/// multiples of 2^-48 and 2,000 of them fit into an i128 with room to spare.
fn exact_code(matrix: &[f32], code_bits: usize, x: &[f32]) -> Vec<u64> {
    let whole = |value: f32| {
        let scaled = f64::from(value) * f64::from(1_u32 << 24);
        assert!(scaled.fract() == 0.0);
        #[allow(clippy::cast_possible_truncation, reason = "whole and below 2^25")]
        i128::from(scaled as i64)
    };
    let mut code = vec![0; code_bits.div_ceil(64)];
    for column in 0..code_bits {
        let sum: i128 = x.iter().enumerate().map(|(i, &x)| whole(x) * whole(matrix[i * code_bits + column])).sum();
        code[column / 64] |= u64::from(sum >= 0) << (column % 64);
    }
    code
}

fn encode(projection: &Projection, embeddings: &[f32]) -> Vec<u64> {
    let mut codes = vec![0; embeddings.len() / projection.dim() * projection.n_words()];
    projection.encode(embeddings, &mut codes).unwrap();
    codes
}

#[test]
fn every_kernel_gives_the_exact_signs_at_every_width_alone_and_in_batches() {
    for isa in dull::isas() {
        let mut random = Random(5);
        for (dim, code_bits) in
            [(1, 1), (2, 63), (7, 64), (127, 65), (128, 100), (129, 256), (384, 256), (1000, 130)]
        {
            let matrix = random.floats(dim * code_bits);
            let projection = Projection::new(&matrix, dim, code_bits, isa).unwrap();
            let embeddings = random.floats(dim * 14);
            let expected: Vec<u64> =
                embeddings.chunks_exact(dim).flat_map(|x| exact_code(&matrix, code_bits, x)).collect();
            let label = format!("{} {dim} x {code_bits}", isa.name());
            assert_eq!(encode(&projection, &embeddings), expected, "batch {label}");
            let single: Vec<u64> = embeddings.chunks_exact(dim).flat_map(|x| encode(&projection, x)).collect();
            assert_eq!(single, expected, "single {label}");
        }
    }
}

#[test]
fn a_batch_of_any_size_in_any_number_of_threads_gives_what_single_embeddings_give() {
    for isa in dull::isas() {
        let mut random = Random(8);
        let (dim, code_bits) = (150, 130);
        let matrix = random.floats(dim * code_bits);
        let one = Projection::new(&matrix, dim, code_bits, isa).unwrap();
        let many = Projection::new(&matrix, dim, code_bits, isa).unwrap().with_workers(Workers::new(3).unwrap());
        let embeddings = random.floats(dim * 800);
        let single: Vec<u64> = embeddings.chunks_exact(dim).flat_map(|x| encode(&one, x)).collect();
        for rows in (0..60).chain([95, 96, 97, 800]) {
            let (embeddings, expected) = (&embeddings[..dim * rows], &single[..one.n_words() * rows]);
            assert_eq!(encode(&one, embeddings), expected, "{} {rows}", isa.name());
            assert_eq!(encode(&many, embeddings), expected, "{} {rows} in threads", isa.name());
        }
        let mut wrong = embeddings;
        for row in [799, 500, 333] {
            wrong[dim * row + 7] = f32::NAN;
            let expected = Error::NotFinite { what: "embeddings", row, column: 7 };
            assert_eq!(many.encode(&wrong, &mut vec![0; 800 * 3]), Err(expected));
        }
    }
}

#[test]
fn sums_that_cancel_get_their_exact_sign() {
    // Pairs of opposite terms leave a remainder of one or minus one unit in the last place, or nothing.
    let mut random = Random(6);
    for isa in dull::isas() {
        for round in 0..200 {
            let half = random.floats(100);
            let mut x = [half.clone(), half.iter().map(|value| -value).collect()].concat();
            let column = random.floats(100);
            let mut matrix = [column.clone(), column].concat();
            let remainder = [0.0, 1.0, -1.0][round % 3] / 16_777_216.0;
            x.push(remainder);
            matrix.push(1.0 / 16_777_216.0);
            let projection = Projection::new(&matrix, 201, 1, isa).unwrap();
            assert_eq!(encode(&projection, &x), [u64::from(remainder >= 0.0)], "{} {round}", isa.name());
        }
    }
}

#[test]
fn extreme_sizes_neither_overflow_nor_vanish() {
    for isa in dull::isas() {
        for size in [f32::MAX, 1e30, 1e-30, f32::MIN_POSITIVE, 1e-45] {
            let projection = Projection::new(&[1.0, -1.0, 1.0, -1.0], 2, 2, isa).unwrap();
            assert_eq!(encode(&projection, &[size, size]), [0b01], "{} {size}", isa.name());
            let projection = Projection::new(&[size, -size, size, -size], 2, 2, isa).unwrap();
            assert_eq!(encode(&projection, &[size, size]), [0b01], "{} {size}", isa.name());
            assert_eq!(encode(&projection, &[0.0, -0.0]), [0b11], "{} {size}", isa.name());
        }
    }
}

#[test]
fn signs_are_exact_where_one_side_is_tiny_and_the_other_huge() {
    let mut random = Random(7);
    for isa in dull::isas() {
        for (small, large) in [(1e-41, 1e36), (1e36, 1e-41), (1e-30, 1e30), (1e-44, 1e-44), (1e38, 1e38)] {
            let dim = 130;
            let (x, column) = (random.floats(dim), random.floats(dim));
            let x: Vec<f32> = x.iter().map(|value| value * small).collect();
            let column: Vec<f32> = column.iter().map(|value| value * large).collect();
            // Float64 holds each product exactly, and random sums lie far above its rounding.
            let sum: f64 = x.iter().zip(&column).map(|(x, p)| f64::from(*x) * f64::from(*p)).sum();
            let projection = Projection::new(&column, dim, 1, isa).unwrap();
            assert_eq!(encode(&projection, &x), [u64::from(sum >= 0.0)], "{} {small} {large}", isa.name());
        }
    }
}

#[test]
fn wrong_input_is_an_error_that_names_the_place() {
    let projection = Projection::new(&[1.0; 12], 4, 3, Isa::Scalar).unwrap();
    let mut codes = vec![0; 9];
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut embeddings = vec![1.0; 36];
        embeddings[4 * 7 + 2] = bad;
        let expected = Error::NotFinite { what: "embeddings", row: 7, column: 2 };
        assert_eq!(projection.encode(&embeddings, &mut codes), Err(expected));
        assert!(Projection::new(&[1.0, bad], 2, 1, Isa::Scalar).is_err());
    }
    assert!(projection.encode(&[1.0; 5], &mut codes).is_err());
    assert!(projection.encode(&[1.0; 4], &mut codes).is_err());
    assert!(Projection::new(&[1.0; 3], 2, 2, Isa::Scalar).is_err());
    assert!(Projection::new(&[], 0, 1, Isa::Scalar).is_err());
    assert!(Projection::check_size(usize::MAX, 256).is_err());
    assert!(Projection::check_size(256, usize::MAX).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn all_kernels_agree(seed: u64, dim in 1_usize..300, code_bits in 1_usize..300, rows in 0_usize..14) {
        let mut random = Random(seed);
        let (matrix, embeddings) = (random.floats(dim * code_bits), random.floats(dim * rows));
        let codes = |isa| encode(&Projection::new(&matrix, dim, code_bits, isa).unwrap(), &embeddings);
        let expected = codes(Isa::Scalar);
        for isa in Isa::available() {
            prop_assert_eq!(codes(isa), expected.clone());
        }
    }
}
