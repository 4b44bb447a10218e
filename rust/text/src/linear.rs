//! A linear layer with int8 weights: the product that takes most of the time.
//!
//! The sums are integers, so they are exact in any order. Weights lie in panels of 16 columns, four rows of a column
//! side by side, which is what one instruction multiplies; each panel is read from memory once a text.

use crate::Error;
use crate::lanes::Lanes;

/// The largest level that the kernels add without overflow.
const MOST_LEVEL: u8 = 63;

/// Rows as bytes, four numbers of a row in a group: a byte `b` stands for `(b - zero) * scale`.
#[derive(Debug, Default)]
pub struct Levels {
    pub groups: Vec<[u8; 4]>,
    pub scale: f32,
    pub zero: i32,
}

/// Sixteen columns of four rows, a column's four side by side, on a cache line of its own.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Weights([i8; 64]);

/// Weights and bias of a layer.
#[derive(Debug)]
pub struct Linear {
    /// Groups of four rows.
    depth: usize,
    /// Panel after panel, each `depth` long.
    panels: Vec<Weights>,
    /// For each panel, of its columns: the scales, the biases and the sums of the weights.
    scales: Vec<[f32; 16]>,
    bias: Vec<[f32; 16]>,
    sums: Vec<[i32; 16]>,
}

impl Linear {
    /// Packs `levels`, `(inputs, outputs)` in row-major order.
    ///
    /// # Errors
    ///
    /// [`Error::Network`] for sizes that fill no panels, or a level beyond -63 to 63.
    pub fn new(levels: &[i8], scales: &[f32], bias: &[f32]) -> Result<Self, Error> {
        let outputs = scales.len();
        let inputs = levels.len() / outputs.max(1);
        if !inputs.is_multiple_of(4) || !outputs.is_multiple_of(32) || bias.len() != outputs {
            return Err(Error::Network("a layer of another size".to_owned()));
        }
        if levels.iter().any(|level| level.unsigned_abs() > MOST_LEVEL) {
            return Err(Error::Network(format!("a weight beyond {MOST_LEVEL} levels")));
        }
        let depth = inputs / 4;
        let mut panels = Vec::with_capacity(outputs / 16 * depth);
        let mut sums = vec![[0; 16]; outputs / 16];
        for (panel, sums) in sums.iter_mut().enumerate() {
            for rows in levels.chunks_exact(4 * outputs) {
                let mut group = Weights([0; 64]);
                for (input, row) in rows.chunks_exact(outputs).enumerate() {
                    for (column, &level) in row[16 * panel..][..16].iter().enumerate() {
                        group.0[4 * column + input] = level;
                        sums[column] += i32::from(level);
                    }
                }
                panels.push(group);
            }
        }
        let blocks = |values: &[f32]| values.as_chunks::<16>().0.to_vec();
        Ok(Self { depth, panels, scales: blocks(scales), bias: blocks(bias), sums })
    }
}

/// `levels @ weights + bias`: rows of as many numbers as the layer has columns.
#[inline(always)]
pub fn product<L: Lanes>(lanes: L, linear: &Linear, levels: &Levels, out: &mut [f32]) {
    let rows = levels.groups.len() / linear.depth;
    let (most, wide) = L::TILE;
    let blocks = rows.div_ceil(most);
    for panel in (0..linear.scales.len()).step_by(wide) {
        let mut row = 0;
        for block in 0..blocks {
            // Blocks of nearly one height: a low one leaves the multipliers idle.
            let height = (rows - row).div_ceil(blocks - block);
            let part = Part { linear, levels, row, panel };
            if wide == 2 {
                match height {
                    1 => part.tile::<L, 1, 2>(lanes, out),
                    2 => part.tile::<L, 2, 2>(lanes, out),
                    3 => part.tile::<L, 3, 2>(lanes, out),
                    4 => part.tile::<L, 4, 2>(lanes, out),
                    5 => part.tile::<L, 5, 2>(lanes, out),
                    6 => part.tile::<L, 6, 2>(lanes, out),
                    7 => part.tile::<L, 7, 2>(lanes, out),
                    8 => part.tile::<L, 8, 2>(lanes, out),
                    9 => part.tile::<L, 9, 2>(lanes, out),
                    10 => part.tile::<L, 10, 2>(lanes, out),
                    11 => part.tile::<L, 11, 2>(lanes, out),
                    _ => part.tile::<L, 12, 2>(lanes, out),
                }
            } else {
                match height {
                    1 => part.tile::<L, 1, 1>(lanes, out),
                    2 => part.tile::<L, 2, 1>(lanes, out),
                    3 => part.tile::<L, 3, 1>(lanes, out),
                    _ => part.tile::<L, 4, 1>(lanes, out),
                }
            }
            row += height;
        }
    }
}

/// Where a tile lies.
struct Part<'a> {
    linear: &'a Linear,
    levels: &'a Levels,
    row: usize,
    panel: usize,
}

impl Part<'_> {
    /// The product of `ROWS` rows with `PANELS` panels.
    #[inline(always)]
    fn tile<L: Lanes, const ROWS: usize, const PANELS: usize>(&self, lanes: L, out: &mut [f32]) {
        let (linear, depth) = (self.linear, self.linear.depth);
        let outputs = 16 * linear.scales.len();
        let rows: [&[[u8; 4]]; ROWS] =
            std::array::from_fn(|row| &self.levels.groups[(self.row + row) * depth..][..depth]);
        let panels: [&[Weights]; PANELS] =
            std::array::from_fn(|panel| &linear.panels[(self.panel + panel) * depth..][..depth]);
        // Each panel is read once a text, so it comes from afar: asked for while the one before it is worked on.
        let next = (self.panel + PANELS) % linear.scales.len();
        let next: [&[Weights]; PANELS] =
            std::array::from_fn(|panel| &linear.panels[(next + panel) * depth..][..depth]);
        // What the zero of the levels adds to each sum is taken from it beforehand.
        let mut sums = [[lanes.splat_int(0); PANELS]; ROWS];
        for panel in 0..PANELS {
            let taken = linear.sums[self.panel + panel].map(|sum| -sum * self.levels.zero);
            for row in &mut sums {
                row[panel] = lanes.load_ints(&taken);
            }
        }
        for group in 0..depth {
            for panel in next {
                lanes.prefetch(&panel[group].0);
            }
            for (row, sums) in rows.iter().zip(&mut sums) {
                for (panel, sum) in panels.iter().zip(sums) {
                    *sum = lanes.add_products(*sum, row[group], &panel[group].0);
                }
            }
        }
        for panel in 0..PANELS {
            let scale = lanes.load(&linear.scales[self.panel + panel]);
            let scale = lanes.multiply(scale, lanes.splat(self.levels.scale));
            let bias = lanes.load(&linear.bias[self.panel + panel]);
            for (row, sums) in sums.iter().enumerate() {
                let value = lanes.multiply_add(lanes.to_floats(sums[panel]), scale, bias);
                let to = (self.row + row) * outputs + 16 * (self.panel + panel);
                lanes.store(value, &mut out[to..].as_chunks_mut::<16>().0[0]);
            }
        }
    }
}
