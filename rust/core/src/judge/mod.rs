//! The judge: how likely it is that two prompts have one answer, by their embeddings and by their words.
//!
//! Where a guard sees one thing and can only veto, the judge weighs all that is seen of what the guards let pass: the
//! cosine, whither the embeddings differ ([`Directions`]), and the words ([`features`]). A model ([`Model`]) of some
//! tens of kilobytes, which `make train-judge` makes, turns that into a probability. Same input, same bits, on every
//! machine.

#![allow(clippy::cast_precision_loss, reason = "counts of words and whole numbers of a byte, far below 2^23")]

mod directions;
mod features;
mod model;
mod trees;

pub use directions::Directions;
pub use features::{FEATURES, NAMES};
pub use model::Model;

use crate::guards::Guards;
use crate::guards::pairing::Pairing;
use crate::guards::text::Text;

/// A stored prompt and its vector as entries keep it.
pub type Candidate<'c> = (&'c str, &'c [u8]);

/// The features of `prompt` with each candidate; `None` where no vector is kept, or one that does not fit.
///
/// The guards give what they know of words; they are not asked.
#[must_use]
pub fn features_of(
    model: &Model,
    guards: &Guards,
    prompt: &str,
    embedding: &[f32],
    candidates: &[Candidate<'_>],
) -> Vec<Option<[f32; FEATURES]>> {
    let (lexicon, tables) = guards.knowledge();
    let a = Text::of(prompt, tables);
    let of_one = |&(candidate, vector): &Candidate<'_>| {
        let measured = model.directions.measure(embedding, vector)?;
        let b = Text::of(candidate, tables);
        Some(features::features(&Pairing::of(&a, &b, lexicon, tables), measured, guards))
    };
    candidates.iter().map(of_one).collect()
}

/// The probability that the answer to each candidate answers `prompt`, 0 to 1; `None` as in [`features_of`].
#[must_use]
pub fn score(
    model: &Model,
    guards: &Guards,
    prompt: &str,
    embedding: &[f32],
    candidates: &[Candidate<'_>],
) -> Vec<Option<f64>> {
    let rows = features_of(model, guards, prompt, embedding, candidates);
    rows.iter().map(|row| row.as_ref().map(|row| model.probability(row))).collect()
}
