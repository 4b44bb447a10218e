//! Guard for one word put in another's place.

use super::lexicon::Lexicon;
use super::pairing::Pairing;
use super::polarity::{differs_in_negation, is_opposite};
use super::tables::Tables;

/// The share of words in one order above which two texts are one sentence with a gap.
/// Source: measured, docs/guards.md.
const SHARED_FRAME: f64 = 0.6;

/// One word is replaced by another that does not mean the same, in a sentence that is otherwise shared.
pub fn substitution(pair: &Pairing<'_>, lexicon: &Lexicon, tables: &Tables) -> Option<String> {
    if !pair.is_comparable() {
        return Some(format!("{} words against {} others", pair.alone_a.len(), pair.alone_b.len()));
    }
    let ([x], [y]) = (pair.left_a.as_slice(), pair.left_b.as_slice()) else { return None };
    if pair.frame() <= SHARED_FRAME {
        return None;
    }
    let (word_x, word_y) = (&pair.a.words[*x], &pair.b.words[*y]);
    let (of_x, of_y) = (pair.meaning_a(*x)?, pair.meaning_b(*y)?);
    // "not good", "bad": the guards of negation and antonyms weigh these.
    if differs_in_negation(pair) && is_opposite(word_x, of_x, word_y, of_y, lexicon, tables) {
        return None;
    }
    let is_same = of_x.is_synonym(of_y) || of_x.is_derived(of_y) || is_listed(&word_x.stem, &word_y.stem, tables);
    (!is_same).then(|| format!("{} against {}", word_x.lower, word_y.lower))
}

fn is_listed(x: &str, y: &str, tables: &Tables) -> bool {
    let groups = tables.synonyms.get(x).zip(tables.synonyms.get(y));
    groups.is_some_and(|(x, y)| x.iter().any(|group| y.contains(group)))
}
