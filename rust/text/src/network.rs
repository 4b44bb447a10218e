//! all-MiniLM-L6-v2: six layers of attention and feed-forward net over the tokens of one text, then their mean.
//!
//! The graph is the one that `embedders/model_convert.py` writes for ONNX Runtime, and so are the weights.

use crate::Error;
use crate::kernel::{AttentionRoom, Kernel};
use crate::linear::{Levels, Linear};
use crate::onnx::Constants;

/// Length of an embedding.
pub const DIM: usize = 384;
/// Tokens of a text that are embedded.
pub const WINDOW: usize = 256;
/// Tokens that have an embedding of their own.
pub const WORDS: usize = 30_522;

const LAYERS: usize = 6;
const WIDE: usize = 1536;

/// The weights, ready to run.
#[derive(Debug)]
pub struct Network {
    words: Vec<i8>,
    word_scales: Vec<f32>,
    places: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    join: Linear,
    mix: Linear,
    attention_norm: Norm,
    widen: Linear,
    narrow: Linear,
    norm: Norm,
}

#[derive(Debug)]
struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// Memory that a run needs, to be used again.
#[derive(Debug, Default)]
pub struct Room {
    hidden: Vec<f32>,
    wide: Vec<f32>,
    narrow: Vec<f32>,
    levels: Levels,
    attention: AttentionRoom,
}

impl Network {
    /// Reads `model.onnx`.
    ///
    /// # Errors
    ///
    /// [`Error::Network`] for any other file.
    pub fn read(file: &[u8]) -> Result<Self, Error> {
        let file = &Constants::read(file)?;
        let layers = (0..LAYERS).map(|layer| Layer::read(file, &format!("encoder.layer.{layer}")));
        Ok(Self {
            words: file.levels("embeddings.word_embeddings.weight", &[WORDS, DIM])?,
            word_scales: file.floats("embeddings.word_embeddings.weight.scales", &[WORDS, 1])?,
            places: file.floats("places", &[WINDOW, DIM])?,
            norm: Norm::read(file, "embeddings.LayerNorm")?,
            layers: layers.collect::<Result<_, _>>()?,
        })
    }

    /// Writes the embedding of the tokens, of length 1. At most [`WINDOW`] of them count; each must be below [`WORDS`].
    pub fn embed(&self, kernel: &Kernel, ids: &[u32], room: &mut Room, embedding: &mut [f32]) {
        let ids = &ids[..ids.len().min(WINDOW)];
        let Room { hidden, wide, narrow, levels, attention } = room;
        hidden.clear();
        for &id in ids {
            let word = &self.words[id as usize * DIM..][..DIM];
            let scale = self.word_scales[id as usize];
            hidden.extend(word.iter().map(|&level| f32::from(level) * scale));
        }
        let tokens = ids.len();
        wide.resize(tokens * WIDE, 0.0);
        narrow.resize(tokens * DIM, 0.0);
        // SAFETY: a `Kernel` is only handed out where its instruction set is available.
        unsafe {
            (kernel.normalize)(hidden, &self.places[..tokens * DIM], &self.norm.weight, &self.norm.bias);
            for layer in &self.layers {
                let joined = &mut wide[..tokens * 3 * DIM];
                (kernel.quantize)(hidden, levels);
                (kernel.linear)(&layer.join, levels, joined);
                (kernel.attend)(joined, tokens, attention, narrow);
                (kernel.quantize)(narrow, levels);
                (kernel.linear)(&layer.mix, levels, narrow);
                let norm = &layer.attention_norm;
                (kernel.normalize)(hidden, narrow, &norm.weight, &norm.bias);
                (kernel.quantize)(hidden, levels);
                (kernel.linear)(&layer.widen, levels, wide);
                (kernel.gelu)(wide);
                (kernel.quantize)(wide, levels);
                (kernel.linear)(&layer.narrow, levels, narrow);
                (kernel.normalize)(hidden, narrow, &layer.norm.weight, &layer.norm.bias);
            }
        }
        mean_of_length_one(hidden, embedding);
    }
}

/// The sum of the rows, scaled to length 1: so is their mean. In float64, one order of additions.
fn mean_of_length_one(rows: &[f32], embedding: &mut [f32]) {
    let mut sums = [0.0_f64; DIM];
    for row in rows.chunks_exact(DIM) {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += f64::from(value);
        }
    }
    let length = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
    for (value, sum) in embedding.iter_mut().zip(sums) {
        #[expect(clippy::cast_possible_truncation, reason = "rounded to float32, at most 1")]
        let scaled = (sum / length) as f32;
        *value = scaled;
    }
}

impl Layer {
    fn read(file: &Constants<'_>, name: &str) -> Result<Self, Error> {
        let linear = |name: &str, inputs, outputs| {
            Linear::new(
                &file.levels(&format!("{name}.weight"), &[inputs, outputs])?,
                &file.floats(&format!("{name}.scales"), &[outputs])?,
                &file.floats(&format!("{name}.bias"), &[outputs])?,
            )
        };
        Ok(Self {
            join: linear(&format!("{name}.attention.self"), DIM, 3 * DIM)?,
            mix: linear(&format!("{name}.attention.output.dense"), DIM, DIM)?,
            attention_norm: Norm::read(file, &format!("{name}.attention.output.LayerNorm"))?,
            widen: linear(&format!("{name}.intermediate.dense"), DIM, WIDE)?,
            narrow: linear(&format!("{name}.output.dense"), WIDE, DIM)?,
            norm: Norm::read(file, &format!("{name}.output.LayerNorm"))?,
        })
    }
}

impl Norm {
    fn read(file: &Constants<'_>, name: &str) -> Result<Self, Error> {
        Ok(Self {
            weight: file.floats(&format!("{name}.weight"), &[DIM])?,
            bias: file.floats(&format!("{name}.bias"), &[DIM])?,
        })
    }
}
