//! Guard for one thing put in another's place.

use std::ops::Range;

use super::lexicon::{Lemma, Lexicon};
use super::pairing::{Pairing, gap};
use super::polarity::differs_in_negation;
use super::tables::Tables;
use super::text::{Text, Word};

/// The share of words in one order above which two texts are one sentence with a gap.
/// Source: measured, docs/guards.md.
const SHARED_FRAME: f64 = 0.6;
/// The same for words whose neighbours differ, too.
const CLOSE_FRAME: f64 = 0.75;
/// More words than this are no longer a name for one thing.
const LONGEST_PHRASE: usize = 3;

/// One word or phrase is replaced by another that does not mean the same, in a sentence that is otherwise shared.
pub fn substitution(pair: &Pairing<'_>, lexicon: &Lexicon, tables: &Tables) -> Option<String> {
    if !pair.is_comparable() {
        return Some(format!("{} words against {} others", pair.alone_a.len(), pair.alone_b.len()));
    }
    let (left_a, left_b) = (pair.left_a.len(), pair.left_b.len());
    if left_a.max(left_b) > LONGEST_PHRASE || left_a + left_b == 0 || pair.frame() <= SHARED_FRAME {
        return None;
    }
    match (left_a, left_b) {
        (0, _) | (_, 0) => who(pair),
        (1, 1) => word(pair, lexicon, tables),
        _ => phrase(pair, tables),
    }
}

fn word(pair: &Pairing<'_>, lexicon: &Lexicon, tables: &Tables) -> Option<String> {
    let (x, y) = (pair.left_a[0], pair.left_b[0]);
    let (word_x, word_y) = (&pair.a.words[x], &pair.b.words[y]);
    // "not good", "bad": the guards of negation and antonyms weigh these.
    if differs_in_negation(pair) {
        return None;
    }
    // "disable", "turn off": what a verb means with a particle, no lexicon of single words can tell.
    if has_particle(pair.a, x, &pair.partner_a, lexicon) || has_particle(pair.b, y, &pair.partner_b, lexicon) {
        return None;
    }
    let is_in_place = pair.are_in_one_place(x, y)
        || gap(x..x + 1, &pair.partner_a, &pair.partner_b).is_some_and(|(_, in_b)| in_b.contains(&y));
    if !is_in_place && pair.frame() <= CLOSE_FRAME {
        return None;
    }
    (!pair.are_related(x, y, tables)).then(|| format!("{} against {}", word_x.lower, word_y.lower))
}

fn phrase(pair: &Pairing<'_>, tables: &Tables) -> Option<String> {
    let (in_a, in_b) = gap(span(&pair.left_a), &pair.partner_a, &pair.partner_b)?;
    let is_whole =
        pair.left_a.iter().all(|at| in_a.contains(at)) && pair.left_b.iter().all(|at| in_b.contains(at));
    let is_same = || pair.left_a.iter().any(|&x| pair.left_b.iter().any(|&y| pair.are_related(x, y, tables)));
    (is_whole && !is_same()).then(|| format!("{} against {}", written(pair.a, in_a), written(pair.b, in_b)))
}

/// "Can I" against "can tenants": the person who asks is replaced by somebody else.
fn who(pair: &Pairing<'_>) -> Option<String> {
    const PERSONS: [&str; 2] = ["i", "we"];
    let (persons, others) = if pair.left_a.is_empty() {
        let (others, persons) = gap(span(&pair.left_b), &pair.partner_b, &pair.partner_a)?;
        (&pair.a.words[persons], &pair.b.words[others])
    } else {
        let (others, persons) = gap(span(&pair.left_a), &pair.partner_a, &pair.partner_b)?;
        (&pair.b.words[persons], &pair.a.words[others])
    };
    let is_person = |word: &Word| PERSONS.contains(&word.lower.as_str());
    let is_replaced = !persons.is_empty() && persons.iter().all(is_person);
    let has_person = others.iter().any(|word| word.lower == "i" || word.lower == "we");
    (is_replaced && !has_person).then(|| format!("{} against {}", listed(persons), listed(others)))
}

/// A verb, as it stands in the lexicon, with a particle that the other text lacks.
fn has_particle(text: &Text<'_>, at: usize, partner: &[Option<usize>], lexicon: &Lexicon) -> bool {
    const PARTICLES: [&str; 8] = ["up", "off", "on", "out", "down", "in", "away", "over"];
    // "dine-in" is no verb.
    let is_apart = text.raw[text.words[at].end..].starts_with(' ');
    let is_particle = |next: &Word| PARTICLES.contains(&next.lower.as_str()) && partner[at + 1].is_none();
    let is_verb = |lemma: &Lemma| lemma.senses.iter().any(|&sense| lexicon.is_verb(sense));
    is_apart
        && text.words.get(at + 1).is_some_and(is_particle)
        && lexicon.find(&text.words[at].lower).as_ref().is_some_and(is_verb)
}

fn span(places: &[usize]) -> Range<usize> {
    places.first().copied().unwrap_or(0)..places.last().map_or(0, |last| last + 1)
}

fn written(text: &Text<'_>, run: Range<usize>) -> String {
    listed(&text.words[run])
}

fn listed(words: &[Word]) -> String {
    words.iter().map(|word| word.lower.as_str()).collect::<Vec<_>>().join(" ")
}
