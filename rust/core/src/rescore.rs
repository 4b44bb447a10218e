//! Cosines of a query with embeddings as entries keep them: the first byte names the format, numbers follow.
//!
//! The sums run over lanes in a fixed order and nothing is fused, so a cosine is the same to the last bit on every
//! machine. LLVM turns the lanes into the SIMD of the baseline: a candidate of 384 numbers takes a fifth of a
//! microsecond beside the microseconds of reaching it, so kernels of its own for each instruction set would not pay.

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

/// The cosine of `query`, of length 1, with a stored vector.
#[must_use]
pub fn cosine(query: &[f32], stored: &[u8]) -> Score {
    let Some((&format, numbers)) = stored.split_first() else { return Score::Absent };
    let n = query.len();
    let sums = match format {
        // The scale cancels out: what counts is the direction of the quantized vector.
        INT8 if numbers.len() == SCALE_BYTES + n => level_sums(query, &numbers[SCALE_BYTES..]),
        FLOAT16 if numbers.len() == 2 * n => sums(query, numbers, |&bytes| half(u16::from_le_bytes(bytes))),
        FLOAT32 if numbers.len() == 4 * n => sums(query, numbers, |&bytes| f64::from(f32::from_le_bytes(bytes))),
        _ => return Score::Damaged,
    };
    let length = sums.square.sqrt();
    // Damage may look like an infinity.
    Score::Cosine(if length > 0.0 && length.is_finite() { sums.product / length } else { 0.0 })
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

struct Sums {
    product: f64,
    square: f64,
}

/// Of one-byte levels: products in float32, as a level has seven bits; squares as integers.
fn level_sums(query: &[f32], levels: &[u8]) -> Sums {
    let (mut products, mut squares) = ([0f32; 2 * LANES], [0i32; 2 * LANES]);
    let (query_lanes, query_rest) = query.as_chunks::<{ 2 * LANES }>();
    let (level_lanes, level_rest) = levels.as_chunks::<{ 2 * LANES }>();
    for (asked, stored) in query_lanes.iter().zip(level_lanes) {
        let levels = stored.map(|level| i32::from(level.cast_signed()));
        for lane in 0..2 * LANES {
            squares[lane] += levels[lane] * levels[lane];
        }
        #[expect(clippy::cast_precision_loss, reason = "a level has seven bits")]
        let levels = levels.map(|level| level as f32);
        for lane in 0..2 * LANES {
            products[lane] += asked[lane] * levels[lane];
        }
    }
    for (lane, (&asked, &level)) in query_rest.iter().zip(level_rest).enumerate() {
        let level = i16::from(level.cast_signed());
        squares[lane] += i32::from(level) * i32::from(level);
        products[lane] += asked * f32::from(level);
    }
    Sums {
        product: products.iter().copied().map(f64::from).sum(),
        square: squares.iter().copied().map(f64::from).sum(),
    }
}

/// Of numbers of several bytes, in float64, where each product is exact.
fn sums<const N: usize>(query: &[f32], numbers: &[u8], number: impl Fn(&[u8; N]) -> f64) -> Sums {
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
    Sums { product: products.iter().sum(), square: squares.iter().sum() }
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
    use super::{FLOAT16, FLOAT32, INT8, Score, cosine, half};

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
