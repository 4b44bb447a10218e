//! Guards for what turns a question round: negations, words of avoidance, antonyms.

use super::lexicon::Lexicon;
use super::pairing::{Pairing, hand_antonym};
use super::relations::Meaning;
use super::tables::Tables;
use super::text::{Role, Text, Word};

/// In longer texts opposites meet by chance; they count where they stand in one place.
const LONGEST: usize = 40;

/// One text is negated once more than the other.
pub fn negation(pair: &Pairing<'_>, lexicon: &Lexicon, tables: &Tables) -> Option<String> {
    if !differs_in_negation(pair) {
        return None;
    }
    // "not good" and "bad", "not included" and "excluded" say one thing.
    let opposites = opposites(pair, lexicon, tables);
    let avoiding = avoiding(pair, tables);
    let is_new = |word: &&&str| !opposites.iter().any(|(x, y)| x == *word || y == *word);
    let turns =
        opposites.len() + avoiding.iter().filter(is_new).count() + near_opposites(pair, lexicon, &opposites);
    turns.is_multiple_of(2).then(|| format!("{} negations against {}", pair.a.negations(), pair.b.negations()))
}

/// A word of avoidance stands in one text only.
pub fn avoidance(pair: &Pairing<'_>, tables: &Tables) -> Option<String> {
    if differs_in_negation(pair) {
        return None;
    }
    let found = avoiding(pair, tables);
    // "turn off" says "disable" with a word that has too many other uses to be listed.
    let is_off = |text: &Text<'_>, at: &usize| matches!(text.words[*at].lower.as_str(), "off" | "out" | "away");
    let (a, b) = (&pair.alone_a, &pair.alone_b);
    if a.iter().any(|at| is_off(pair.a, at)) || b.iter().any(|at| is_off(pair.b, at)) {
        return None;
    }
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

pub(crate) fn avoiding<'p>(pair: &Pairing<'p>, tables: &Tables) -> Vec<&'p str> {
    let is_listed =
        |word: &Word| tables.avoidance.contains(&word.stem) || tables.avoidance_words.contains(&word.lower);
    let mut found = [Vec::new(), Vec::new()];
    let sides = [
        (pair.a, &pair.alone_a, &pair.meanings_a, &pair.meanings_b),
        (pair.b, &pair.alone_b, &pair.meanings_b, &pair.meanings_a),
    ];
    for (&(text, alone, meanings, others), found) in sides.iter().zip(&mut found) {
        for (number, &at) in alone.iter().enumerate() {
            let is_said_otherwise =
                || meanings.get(number).is_some_and(|x| others.iter().any(|y| x.is_derived(y) || x.is_synonym(y)));
            let word = &text.words[at];
            if word.role == Role::Content && is_listed(word) && !is_said_otherwise() {
                found.push(word.lower.as_str());
            }
        }
    }
    let [a, b] = found;
    // In both texts, by different words: they agree.
    if !a.is_empty() && !b.is_empty() {
        return Vec::new();
    }
    a.into_iter().chain(b).collect()
}

/// Pairs of opposites among the words that stand in one text only.
pub(crate) fn opposites<'p>(pair: &Pairing<'p>, lexicon: &Lexicon, tables: &Tables) -> Vec<(&'p str, &'p str)> {
    let is_long = pair.a.words.len().max(pair.b.words.len()) > LONGEST;
    let mut found = Vec::new();
    for (&at_x, of_x) in pair.alone_a.iter().zip(&pair.meanings_a) {
        for (&at_y, of_y) in pair.alone_b.iter().zip(&pair.meanings_b) {
            let (x, y) = (&pair.a.words[at_x], &pair.b.words[at_y]);
            // "in" and "out", "on" and "off" have too many uses to be opposites at a distance.
            let is_loose = is_long || x.role == Role::Function || y.role == Role::Function;
            if (!is_loose || pair.are_in_one_place(at_x, at_y)) && is_opposite(x, of_x, y, of_y, lexicon, tables) {
                found.push((x.lower.as_str(), y.lower.as_str()));
            }
        }
    }
    found
}

/// One pair of adjectives on two sides of an opposition, where no nearer opposites are: "not safe", "perilous".
/// They only ever excuse a negation: as a ground for a veto they are too vague.
fn near_opposites(pair: &Pairing<'_>, lexicon: &Lexicon, opposites: &[(&str, &str)]) -> usize {
    let ([x], [y]) = (pair.left_a.as_slice(), pair.left_b.as_slice()) else { return 0 };
    let meanings = pair.meaning_a(*x).zip(pair.meaning_b(*y));
    let is_near = opposites.is_empty() && meanings.is_some_and(|(x, y)| x.is_near_antonym(y, lexicon));
    usize::from(is_near)
}

/// Opposites by the table, the lexicon or a prefix.
fn is_opposite(x: &Word, of_x: &Meaning, y: &Word, of_y: &Meaning, lexicon: &Lexicon, tables: &Tables) -> bool {
    if let Some(answer) = hand_antonym(x, y, tables) {
        return answer;
    }
    if is_prefixed(x, y, lexicon) || is_prefixed(y, x, lexicon) {
        return true;
    }
    x.is_content() && y.is_content() && of_x.is_antonym(of_y) && !of_x.is_synonym(of_y)
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
