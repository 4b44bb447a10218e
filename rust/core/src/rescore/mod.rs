//! Cosines of a query with embeddings as entries keep them: the first byte names the format, numbers follow.
//!
//! A cosine is the same to the last bit on every machine. With vectors of one byte a number it comes from sums of
//! integers, which have no order and no rounding: the query is brought to whole numbers of 30 bits once, in two halves
//! of 15, which is what instructions multiply; what that cuts off moves a cosine by about 1e-9. With other
//! formats the sums run over lanes of float64 in a fixed order.
//!
//! Rejected: 8 bits for the query, too, for products of bytes. That moves a cosine by some thousandths, and verdicts near
//! the threshold with it.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

use crate::Isa;

/// First byte of a vector of one byte a number, behind a float32 scale.
pub const INT8: u8 = 1;
/// First byte of a vector of half-precision numbers.
pub const FLOAT16: u8 = 2;
/// First byte of a vector of single-precision numbers.
pub const FLOAT32: u8 = 3;

const LANES: usize = 8;
const SCALE_BYTES: usize = 4;

/// What is to be said of one stored vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Score {
    /// The cosine; 0 for a vector without length.
    Cosine(f64),
    /// Nothing is stored.
    Absent,
    /// Not as many numbers as the query has, or no known format.
    Damaged,
}

/// Bits of the lower half of a query's number.
const LOW_BITS: u32 = 15;

/// The primitives of one instruction set.
///
/// The pointers are `unsafe` because they may only be called where the instruction set is available.
struct Kernel {
    /// The halves of numbers times `times`, each cut off to a whole number below 2^30.
    halves: unsafe fn(numbers: &[f32], times: f32, high: &mut [i16], low: &mut [i16]),
    /// What levels, bytes with a sign, and a query's halves add up to; as many of each.
    sums: unsafe fn(high: &[i16], low: &[i16], levels: &[u8]) -> Sums,
}

fn kernel(isa: Isa) -> &'static Kernel {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vnni") => {
            &avx512::KERNEL
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => &avx2::KERNEL,
        _ => &scalar::KERNEL,
    }
}

/// Sums of integers over the numbers of a vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    /// Of the query's upper halves times the levels.
    high: i64,
    /// Of its lower halves times the levels.
    low: i64,
    /// Of the levels' squares.
    square: i64,
}

impl Sums {
    fn add(&mut self, [high, low, square]: [i64; 3]) {
        self.join(Self { high, low, square });
    }

    fn join(&mut self, other: Self) {
        self.high += other.high;
        self.low += other.low;
        self.square += other.square;
    }
}

/// A query of length 1, made ready once for any number of stored vectors.
#[derive(Debug)]
pub struct Query<'q> {
    numbers: &'q [f32],
    isa: Isa,
    /// Each number, in units of `unit`, is `high << LOW_BITS | low`, rounded down.
    high: Vec<i16>,
    low: Vec<i16>,
    unit: f64,
}

impl<'q> Query<'q> {
    /// Takes a query; the cosine with a number that is not finite is nan.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Isa`] when this machine lacks `isa`.
    pub fn new(numbers: &'q [f32], isa: Isa) -> Result<Self, crate::Error> {
        // The name is looked up for its error alone: that takes longer than many cosines.
        let isa = if isa.is_available() { isa } else { Isa::from_name(isa.name())? };
        // Without its sign a float grows with its bits, and what is not finite comes last. Signed integers, as the
        // baseline of x86-64 compares no others.
        let greatest = numbers.iter().fold(0, |most, number| number.abs().to_bits().cast_signed().max(most));
        // With this power of two the greatest number comes to lie between 2^29 and 2^30.
        let power = (156 - (greatest >> 23)).min(127);
        let times = f32::from_bits((power + 127).cast_unsigned() << 23);
        let (mut high, mut low) = (vec![0; numbers.len()], vec![0; numbers.len()]);
        // SAFETY: this machine has the instruction set.
        unsafe { (kernel(isa).halves)(numbers, times, &mut high, &mut low) };
        let unit =
            if f32::from_bits(greatest.cast_unsigned()).is_finite() { 2_f64.powi(-power) } else { f64::NAN };
        Ok(Self { numbers, isa, high, low, unit })
    }

    /// The cosine with a stored vector.
    #[must_use]
    pub fn cosine(&self, stored: &[u8]) -> Score {
        let Some((&format, numbers)) = stored.split_first() else { return Score::Absent };
        let (query, n) = (self.numbers, self.numbers.len());
        let (product, square) = match format {
            // The scale cancels out: what counts is the direction of the quantized vector.
            INT8 if numbers.len() == SCALE_BYTES + n => self.level_sums(&numbers[SCALE_BYTES..]),
            FLOAT16 if numbers.len() == 2 * n => sums(query, numbers, |&bytes| half(u16::from_le_bytes(bytes))),
            FLOAT32 if numbers.len() == 4 * n => {
                sums(query, numbers, |&bytes| f64::from(f32::from_le_bytes(bytes)))
            }
            _ => return Score::Damaged,
        };
        let length = square.sqrt();
        // Damage may look like an infinity.
        Score::Cosine(if length > 0.0 && length.is_finite() { product / length } else { 0.0 })
    }

    #[expect(clippy::cast_precision_loss, reason = "exact up to 65,536 numbers, rounded once beyond")]
    fn level_sums(&self, levels: &[u8]) -> (f64, f64) {
        // SAFETY: `new` checked that this machine has the instruction set.
        let sums = unsafe { (kernel(self.isa).sums)(&self.high, &self.low, levels) };
        (((sums.high << LOW_BITS) + sums.low) as f64 * self.unit, sums.square as f64)
    }
}

/// The numbers of a stored vector, up to a factor; `None` for an absent or damaged one.
#[must_use]
pub fn unpacked(stored: &[u8], dim: usize) -> Option<Vec<f32>> {
    let (&format, numbers) = stored.split_first()?;
    #[expect(clippy::cast_possible_truncation, reason = "half precision fits")]
    match format {
        INT8 if numbers.len() == SCALE_BYTES + dim => {
            Some(numbers[SCALE_BYTES..].iter().map(|level| f32::from(level.cast_signed())).collect())
        }
        FLOAT16 if numbers.len() == 2 * dim => {
            Some(numbers.as_chunks::<2>().0.iter().map(|&bytes| half(u16::from_le_bytes(bytes)) as f32).collect())
        }
        FLOAT32 if numbers.len() == 4 * dim => {
            Some(numbers.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
        }
        _ => None,
    }
}

/// Of numbers of several bytes, in float64, where each product is exact.
fn sums<const N: usize>(query: &[f32], numbers: &[u8], number: impl Fn(&[u8; N]) -> f64) -> (f64, f64) {
    let (numbers, _) = numbers.as_chunks::<N>();
    let (mut products, mut squares) = ([0.0; LANES], [0.0; LANES]);
    let (query_lanes, query_rest) = query.as_chunks::<LANES>();
    let (number_lanes, number_rest) = numbers.as_chunks::<LANES>();
    for (asked, stored) in query_lanes.iter().zip(number_lanes) {
        for lane in 0..LANES {
            let value = number(&stored[lane]);
            products[lane] += f64::from(asked[lane]) * value;
            squares[lane] += value * value;
        }
    }
    for (lane, (&asked, stored)) in query_rest.iter().zip(number_rest).enumerate() {
        let value = number(stored);
        products[lane] += f64::from(asked) * value;
        squares[lane] += value * value;
    }
    (products.iter().sum(), squares.iter().sum())
}

/// A half-precision number (IEEE 754 binary16).
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1F), f64::from(bits & 0x3FF));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        0x1F if fraction == 0.0 => f64::INFINITY,
        0x1F => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::{FLOAT16, FLOAT32, INT8, Isa, Query, Score, half};

    fn cosine(query: &[f32], stored: &[u8]) -> Score {
        Query::new(query, Isa::Scalar).unwrap().cosine(stored)
    }

    #[test]
    fn half_precision_numbers_are_read_as_the_standard_says() {
        let known = [
            (0x0000, 0.0),
            (0x0001, 5.960_464_477_539_063e-8),
            (0x03FF, 6.097_555_160_522_461e-5),
            (0x0400, 6.103_515_625e-5),
            (0x3555, 0.333_251_953_125),
            (0x3C00, 1.0),
            (0xC000, -2.0),
            (0x7BFF, 65504.0),
            (0x7C00, f64::INFINITY),
            (0xFC00, f64::NEG_INFINITY),
        ];
        for (bits, value) in known {
            assert_eq!(half(bits).to_bits(), f64::to_bits(value), "{bits:#06x}");
        }
        assert!(half(0x7E00).is_nan());
    }

    #[test]
    fn a_vector_in_the_direction_of_the_query_has_cosine_one_in_every_format() {
        let query: Vec<f32> = [3.0, -4.0, 0.0, 12.0, 0.0, 0.0, 0.0, 0.0, -84.0].map(|x| x / 85.0).to_vec();
        let levels: Vec<u8> = [3i8, -4, 0, 12, 0, 0, 0, 0, -84].iter().map(|x| x.to_le_bytes()[0]).collect();
        let int8 = [&[INT8, 0, 0, 0, 0][..], &levels].concat();
        let float32 = [vec![FLOAT32], query.iter().flat_map(|x| x.to_le_bytes()).collect()].concat();
        for stored in [int8, float32] {
            let Score::Cosine(found) = cosine(&query, &stored) else { panic!("no cosine") };
            assert!((found - 1.0).abs() < 1e-7, "{found}");
        }
    }

    #[test]
    fn what_is_not_a_vector_of_the_query_s_size_is_damaged_or_absent() {
        let query = [1.0f32, 0.0];
        assert_eq!(cosine(&query, &[]), Score::Absent);
        for damaged in [&[INT8][..], &[INT8, 0, 0, 0, 0, 1], &[FLOAT16, 0, 0], &[9, 0, 0], &[FLOAT32, 0, 0, 0, 0]]
        {
            assert_eq!(cosine(&query, damaged), Score::Damaged, "{damaged:?}");
        }
    }

    #[test]
    fn a_vector_without_length_or_with_an_infinite_one_has_cosine_zero() {
        let query = [1.0f32, 0.0];
        assert_eq!(cosine(&query, &[INT8, 0, 0, 0, 0, 0, 0]), Score::Cosine(0.0));
        let infinite = [vec![FLOAT32], f32::INFINITY.to_le_bytes().to_vec(), vec![0; 4]].concat();
        assert_eq!(cosine(&query, &infinite), Score::Cosine(0.0));
    }
}
