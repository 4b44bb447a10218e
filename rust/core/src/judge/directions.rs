//! Directions in which embeddings differ: those in which wordings of one question do (style), and those in which
//! questions do that ask something else (matter).
//!
//! A cosine tells how far two embeddings lie apart, not whither. Training finds both kinds; here the difference of
//! two embeddings is measured along them.

use crate::rescore::unpacked;

/// The cosine of two embeddings, the shares of their difference along style and along matter (of its square length),
/// and style against both.
pub type Measured = [f32; 4];

/// Measures are taken to this many steps, so that a last bit that differs between two ways of summing has no effect.
const STEPS: f32 = 1024.0;
const LANES: usize = 16;

/// Directions of both kinds, in an embedding space.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Directions {
    /// Numbers of an embedding.
    pub dim: usize,
    /// Whole numbers, a direction each, of any length but 0.
    pub style: Vec<Vec<i8>>,
    /// The same of the other kind.
    pub matter: Vec<Vec<i8>>,
}

impl Directions {
    /// Measures `query`, of length 1, against a vector as entries keep it; `None` where nothing is kept, or something
    /// that does not fit.
    #[must_use]
    pub fn measure(&self, query: &[f32], stored: &[u8]) -> Option<Measured> {
        if query.len() != self.dim || !query.iter().all(|number| number.is_finite()) {
            return None;
        }
        let stored = unpacked(stored, self.dim)?;
        let length = dot(&stored, &stored).sqrt();
        if !(length > 0.0 && length.is_finite()) {
            return None;
        }
        let difference: Vec<f32> = query.iter().zip(&stored).map(|(x, y)| x - y / length).collect();
        let whole = dot(&difference, &difference);
        let along = |directions: &[Vec<i8>]| directions.iter().map(|one| energy(&difference, one)).sum::<f32>();
        let (style, matter) = (along(&self.style), along(&self.matter));
        let cosine = dot(query, &stored) / length;
        let step = |share: f32| (share.clamp(-2.0, 2.0) * STEPS).round() / STEPS;
        // Of equal vectors nothing can be told; they differ by the rounding of what is kept.
        let whole = whole.max(1e-4);
        Some([step(cosine), step(style / whole), step(matter / whole), step(style / (style + matter).max(1e-6))])
    }
}

/// The square of the part of `difference` along a direction.
fn energy(difference: &[f32], direction: &[i8]) -> f32 {
    let (mut products, mut squares) = ([0f32; LANES], [0i32; LANES]);
    let (d_lanes, d_rest) = difference.as_chunks::<LANES>();
    let (w_lanes, w_rest) = direction.as_chunks::<LANES>();
    for (d, w) in d_lanes.iter().zip(w_lanes) {
        for lane in 0..LANES {
            products[lane] += d[lane] * f32::from(w[lane]);
            squares[lane] += i32::from(w[lane]) * i32::from(w[lane]);
        }
    }
    for (lane, (d, w)) in d_rest.iter().zip(w_rest).enumerate() {
        products[lane] += d * f32::from(*w);
        squares[lane] += i32::from(*w) * i32::from(*w);
    }
    let product: f32 = products.iter().sum();
    product * product / squares.iter().sum::<i32>().max(1) as f32
}

fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (x_lanes, x_rest) = x.as_chunks::<LANES>();
    let (y_lanes, y_rest) = y.as_chunks::<LANES>();
    for (x, y) in x_lanes.iter().zip(y_lanes) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    for (lane, (x, y)) in x_rest.iter().zip(y_rest).enumerate() {
        sums[lane] += x * y;
    }
    sums.iter().sum()
}
