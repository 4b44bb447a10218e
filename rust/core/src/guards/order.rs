//! Guard for exchanged roles: from London to Paris, from Paris to London.

use std::collections::BTreeMap;

use super::lexicon::Lexicon;
use super::pairing::Pairing;
use super::tables::{Side, Tables};
use super::text::{Case, Text, Word};

/// In longer texts words meet by chance on both sides of a preposition.
const LONGEST: usize = 40;
/// How far from a preposition its words are looked for.
const REACH: usize = 3;

/// Words change sides of a preposition.
pub fn roles(pair: &Pairing<'_>, lexicon: &Lexicon, tables: &Tables) -> Option<String> {
    if pair.a.words.len().max(pair.b.words.len()) >= LONGEST {
        return None;
    }
    let (a, b) = (Ends::of(pair.a, lexicon, tables), Ends::of(pair.b, lexicon, tables));
    let turned = a.turned(&b).map(|word| format!("from {word} against to {word}"));
    let turned = turned.or_else(|| b.turned(&a).map(|word| format!("to {word} against from {word}")));
    if turned.is_some() {
        return turned;
    }
    // A mirrored pair tells only where nothing else is exchanged.
    if !pair.left_a.is_empty() && !pair.left_b.is_empty() {
        return None;
    }
    if pair.alone_a.is_empty() && pair.alone_b.is_empty() {
        let found = mirrored(&in_a_row(pair.a), &in_a_row(pair.b));
        if let Some([x, y, z]) = found {
            return Some(format!("{x} {y} {z} against {z} {y} {x}"));
        }
    }
    let [x, word, y] = mirrored(&around(pair.a, tables), &around(pair.b, tables))?;
    Some(format!("{x} {word} {y} against {y} {word} {x}"))
}

/// Three words that stand in `a` as they are and in `b` from the last to the first, and in neither both ways.
fn mirrored<'t>(a: &[[&'t str; 3]], b: &[[&'t str; 3]]) -> Option<[&'t str; 3]> {
    let is_one_way =
        |there: &[[&str; 3]], [x, y, z]: [&str; 3]| there.contains(&[x, y, z]) && !there.contains(&[z, y, x]);
    a.iter().copied().find(|&[x, y, z]| is_one_way(a, [x, y, z]) && is_one_way(b, [z, y, x]))
}

/// Words behind a preposition of source, and those behind one of destination, by stem.
struct Ends<'t> {
    source: BTreeMap<&'t str, &'t str>,
    destination: BTreeMap<&'t str, &'t str>,
}

impl<'t> Ends<'t> {
    fn of(text: &'t Text<'_>, lexicon: &Lexicon, tables: &Tables) -> Self {
        let (mut source, mut destination) = (BTreeMap::new(), BTreeMap::new());
        for at in text.content() {
            let start = at.saturating_sub(REACH);
            let mut before = (start..at).rev();
            let side = |at: usize| tables.prepositions.get(&text.words[at].lower).map(|side| (at, side));
            let word = &text.words[at];
            match before.find_map(side) {
                Some((_, Side::Source)) => drop(source.insert(word.stem.as_str(), word.lower.as_str())),
                // "from here to pay" goes nowhere: a verb behind "to" is an infinitive, if no source came before.
                Some((place, Side::Destination))
                    if place + 1 == at && source.is_empty() && is_verb(word, lexicon) => {}
                Some((_, Side::Destination)) => drop(destination.insert(word.stem.as_str(), word.lower.as_str())),
                _ => {}
            }
        }
        Self { source, destination }
    }

    /// A word that is only a source here and only a destination there.
    fn turned(&self, other: &Self) -> Option<&'t str> {
        let is_turned = |stem: &str| {
            !self.destination.contains_key(stem)
                && other.destination.contains_key(stem)
                && !other.source.contains_key(stem)
        };
        self.source.iter().find(|(stem, _)| is_turned(stem)).map(|(_, word)| *word)
    }
}

fn is_verb(word: &Word, lexicon: &Lexicon) -> bool {
    word.case == Case::Lower
        && lexicon.find(&word.lower).is_some_and(|lemma| lemma.senses.iter().any(|&sense| lexicon.is_verb(sense)))
}

/// Three content words in a row, by stem, for each three: dogs chase cats.
fn in_a_row<'t>(text: &'t Text<'_>) -> Vec<[&'t str; 3]> {
    let content: Vec<&str> = text.content().map(|at| text.words[at].stem.as_str()).collect();
    content.windows(3).map(|three| [three[0], three[1], three[2]]).collect()
}

/// Word, preposition, word, by stem, for the content words on both sides of each preposition.
fn around<'t>(text: &'t Text<'_>, tables: &Tables) -> Vec<[&'t str; 3]> {
    let content: Vec<usize> = text.content().collect();
    let mut found = Vec::new();
    for (at, word) in
        text.words.iter().enumerate().filter(|(_, word)| tables.prepositions.contains_key(&word.lower))
    {
        let split = content.partition_point(|&place| place < at);
        let before = &content[split.saturating_sub(REACH)..split];
        let after = content[split..].iter().filter(|&&place| place > at).take(REACH);
        for &y in after {
            for &x in before {
                found.push([text.words[x].stem.as_str(), word.lower.as_str(), text.words[y].stem.as_str()]);
            }
        }
    }
    found
}
