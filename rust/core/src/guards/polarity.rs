//! Guards for what turns a question round: negations, words of avoidance, antonyms.

use super::lexicon::Lexicon;
use super::pairing::{Pairing, hand_antonym};
use super::relations::Meaning;
use super::tables::Tables;
use super::text::Word;

/// One text is negated once more than the other.
pub fn negation(pair: &Pairing<'_>, lexicon: &Lexicon, tables: &Tables) -> Option<String> {
    if !differs_in_negation(pair) {
        return None;
    }
    // "not good" and "bad", "not included" and "excluded" say one thing.
    let opposites = opposites(pair, lexicon, tables).len() + avoiding(pair, tables).len();
    opposites.is_multiple_of(2).then(|| format!("{} negations against {}", pair.a.negations(), pair.b.negations()))
}

/// A word of avoidance stands in one text only.
pub fn avoidance(pair: &Pairing<'_>, tables: &Tables) -> Option<String> {
    if differs_in_negation(pair) {
        return None;
    }
    let found = avoiding(pair, tables);
    (!found.is_empty()).then(|| format!("{} in one text only", found.join(", ")))
}

/// A word of one text is the opposite of a word of the other.
pub fn antonyms(pair: &Pairing<'_>, lexicon: &Lexicon, tables: &Tables) -> Option<String> {
    let found = opposites(pair, lexicon, tables);
    let (x, y) = found.first()?;
    // With a negation in one of them, one pair of opposites makes the two texts agree.
    if differs_in_negation(pair) && found.len() == 1 {
        return None;
    }
    Some(format!("{x} against {y}"))
}

/// One text has an odd number of negations and the other an even one.
pub fn differs_in_negation(pair: &Pairing<'_>) -> bool {
    (pair.a.negations() + pair.b.negations()) % 2 == 1
}

fn avoiding<'p>(pair: &Pairing<'p>, tables: &Tables) -> Vec<&'p str> {
    let listed = |word: &&'p Word| tables.avoidance.contains(&word.stem);
    let a = pair.alone_a.iter().map(|&at| &pair.a.words[at]).filter(listed);
    let b = pair.alone_b.iter().map(|&at| &pair.b.words[at]).filter(listed);
    let (a, b): (Vec<_>, Vec<_>) = (a.collect(), b.collect());
    // In both texts, by different words: they agree.
    if !a.is_empty() && !b.is_empty() {
        return Vec::new();
    }
    a.into_iter().chain(b).map(|word| word.lower.as_str()).collect()
}

/// Pairs of opposites among the words that stand in one text only.
fn opposites<'p>(pair: &Pairing<'p>, lexicon: &Lexicon, tables: &Tables) -> Vec<(&'p str, &'p str)> {
    let mut found = Vec::new();
    for (&x, of_x) in pair.alone_a.iter().zip(&pair.meanings_a) {
        for (&y, of_y) in pair.alone_b.iter().zip(&pair.meanings_b) {
            let (x, y) = (&pair.a.words[x], &pair.b.words[y]);
            if is_opposite(x, of_x, y, of_y, lexicon, tables) {
                found.push((x.lower.as_str(), y.lower.as_str()));
            }
        }
    }
    found
}

/// Opposites by the table, the lexicon or a prefix.
pub fn is_opposite(
    x: &Word,
    of_x: &Meaning,
    y: &Word,
    of_y: &Meaning,
    lexicon: &Lexicon,
    tables: &Tables,
) -> bool {
    if let Some(answer) = hand_antonym(x, y, tables) {
        return answer;
    }
    if is_prefixed(x, y, lexicon) || is_prefixed(y, x, lexicon) {
        return true;
    }
    let is_content = x.is_content() && y.is_content();
    is_content && (of_x.is_antonym(of_y) || of_x.is_near_antonym(of_y, lexicon)) && !of_x.is_synonym(of_y)
}

/// `x` is `y` with a prefix that negates. "in-" and "de-" begin many words that are no negations, so those have to
/// be long enough for chance to be unlikely.
fn is_prefixed(x: &Word, y: &Word, lexicon: &Lexicon) -> bool {
    const PREFIXES: [&str; 10] = ["un", "in", "im", "ir", "il", "non", "dis", "de", "mis", "anti"];
    PREFIXES.iter().any(|prefix| {
        x.stem.strip_prefix(prefix).is_some_and(|rest| rest.len() >= 3 && rest == y.stem)
            && y.lower.len() >= 4
            && lexicon.find(&y.lower).is_none_or(|lemma| !lemma.is_name)
    })
}
