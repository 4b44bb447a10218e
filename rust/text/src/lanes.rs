//! Sixteen numbers at a time, in the registers of one instruction set or, as the definition, in arrays.
//!
//! Every operation is one rounding of IEEE 754 in each lane (`multiply_add` is fused everywhere), and sums across lanes
//! are taken in one order, so that all implementations give the same bits.
//!
//! A value of an implementation exists only where its instruction set does ([`Lanes::detect`]), which makes its methods
//! safe. They have to be inlined into a function that is compiled for the instruction set: see `kernel.rs`.

use std::array::from_fn;

/// One instruction set.
pub trait Lanes: Copy {
    /// Sixteen float32 numbers.
    type Floats: Copy;
    /// Sixteen int32 numbers.
    type Ints: Copy;

    /// Rows and panels of sixteen columns of a product whose sums the registers can hold.
    const TILE: (usize, usize);

    /// Proof that this machine has the instruction set.
    fn detect() -> Option<Self>;

    fn load(self, from: &[f32; 16]) -> Self::Floats;
    fn store(self, floats: Self::Floats, to: &mut [f32; 16]);
    fn splat(self, value: f32) -> Self::Floats;
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn subtract(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn multiply(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`, rounded once.
    fn multiply_add(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    fn divide(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The greater; of equals and with NaN, `b`.
    fn greater(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The lesser; of equals and with NaN, `b`.
    fn lesser(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn magnitude(self, a: Self::Floats) -> Self::Floats;
    /// `magnitude`, which must not be negative, with the sign of `sign`.
    fn with_sign(self, magnitude: Self::Floats, sign: Self::Floats) -> Self::Floats;

    /// To the nearest integer, of two equally near ones the even; the input must lie within int32.
    fn round(self, floats: Self::Floats) -> Self::Ints;
    fn to_floats(self, ints: Self::Ints) -> Self::Floats;
    /// 2 to the power of each integer, -126 to 127.
    fn power_of_two(self, ints: Self::Ints) -> Self::Floats;

    fn load_ints(self, from: &[i32; 16]) -> Self::Ints;
    fn splat_int(self, value: i32) -> Self::Ints;
    fn add_ints(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// The lanes, which must lie from 0 to 255, as bytes.
    fn store_bytes(self, ints: Self::Ints, to: &mut [u8; 16]);
    /// Asks for weights that will be needed.
    fn prefetch(self, weights: &[i8; 64]);
    /// Adds to lane `i` the products of four rows with four weights of column `i`, whose bytes lie at `4 * i`.
    ///
    /// The weights must lie from -63 to 63: AVX2 adds two products in 16 bits, saturating.
    fn add_products(self, sums: Self::Ints, row: [u8; 4], weights: &[i8; 64]) -> Self::Ints;
}

/// The definition.
#[derive(Debug, Clone, Copy)]
pub struct Scalar;

impl Lanes for Scalar {
    type Floats = [f32; 16];
    type Ints = [i32; 16];
    const TILE: (usize, usize) = (4, 1);

    fn detect() -> Option<Self> {
        Some(Self)
    }
    fn load(self, from: &[f32; 16]) -> [f32; 16] {
        *from
    }
    fn store(self, floats: [f32; 16], to: &mut [f32; 16]) {
        *to = floats;
    }
    fn splat(self, value: f32) -> [f32; 16] {
        [value; 16]
    }
    fn add(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        from_fn(|i| a[i] + b[i])
    }
    fn subtract(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        from_fn(|i| a[i] - b[i])
    }
    fn multiply(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        from_fn(|i| a[i] * b[i])
    }
    fn multiply_add(self, a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    fn divide(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        from_fn(|i| a[i] / b[i])
    }
    fn greater(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    fn lesser(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    fn magnitude(self, a: [f32; 16]) -> [f32; 16] {
        a.map(f32::abs)
    }
    fn with_sign(self, magnitude: [f32; 16], sign: [f32; 16]) -> [f32; 16] {
        from_fn(|i| magnitude[i].copysign(sign[i]))
    }
    #[expect(clippy::cast_possible_truncation, reason = "promised to lie within int32")]
    fn round(self, floats: [f32; 16]) -> [i32; 16] {
        floats.map(|value| value.round_ties_even() as i32)
    }
    #[expect(clippy::cast_precision_loss, reason = "rounded, as the instructions do")]
    fn to_floats(self, ints: [i32; 16]) -> [f32; 16] {
        ints.map(|value| value as f32)
    }
    fn power_of_two(self, ints: [i32; 16]) -> [f32; 16] {
        ints.map(|exponent| f32::from_bits((exponent + 127).cast_unsigned() << 23))
    }
    fn load_ints(self, from: &[i32; 16]) -> [i32; 16] {
        *from
    }
    fn splat_int(self, value: i32) -> [i32; 16] {
        [value; 16]
    }
    fn add_ints(self, a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        from_fn(|i| a[i].wrapping_add(b[i]))
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "promised to lie from 0 to 255")]
    fn store_bytes(self, ints: [i32; 16], to: &mut [u8; 16]) {
        *to = ints.map(|value| value as u8);
    }
    fn prefetch(self, _: &[i8; 64]) {}
    fn add_products(self, sums: [i32; 16], row: [u8; 4], weights: &[i8; 64]) -> [i32; 16] {
        let (columns, _) = weights.as_chunks::<4>();
        from_fn(|i| {
            let products = row.iter().zip(columns[i]).map(|(&x, weight)| i32::from(x) * i32::from(weight));
            sums[i] + products.sum::<i32>()
        })
    }
}
