//! Guard for exchanged roles: from London to Paris, from Paris to London.

use std::collections::HashSet;

use super::pairing::Pairing;
use super::tables::{Side, Tables};
use super::text::Text;

/// In longer texts words meet by chance on both sides of a preposition.
const LONGEST: usize = 40;
/// How far from a preposition its words are looked for.
const REACH: usize = 3;

/// Words change sides of a preposition.
pub fn roles(pair: &Pairing<'_>, tables: &Tables) -> Option<String> {
    if pair.a.words.len().max(pair.b.words.len()) >= LONGEST {
        return None;
    }
    let (source_a, goal_a) = ends(pair.a, tables);
    let (source_b, goal_b) = ends(pair.b, tables);
    let turned = source_a.intersection(&goal_b).chain(goal_a.intersection(&source_b)).min();
    if let Some(word) = turned {
        return Some(format!("{word} is where it starts in one text and where it ends in the other"));
    }
    // A mirrored pair tells only where nothing else changed: "from" may stand for another "from".
    if !pair.left_a.is_empty() && !pair.left_b.is_empty() {
        return None;
    }
    let mirrored: HashSet<_> = around(pair.b, tables).into_iter().map(|(x, word, y)| (y, word, x)).collect();
    let straight: HashSet<_> = around(pair.b, tables).into_iter().collect();
    let found =
        around(pair.a, tables).into_iter().find(|triple| mirrored.contains(triple) && !straight.contains(triple));
    found.map(|(x, word, y)| format!("{x} {word} {y} against {y} {word} {x}"))
}

/// Stems behind a preposition of source, and those behind one of destination.
fn ends<'t>(text: &'t Text<'_>, tables: &Tables) -> (HashSet<&'t str>, HashSet<&'t str>) {
    let (mut source, mut goal) = (HashSet::new(), HashSet::new());
    for at in text.content() {
        let mut before = text.words[at.saturating_sub(REACH)..at].iter().rev();
        let nearest = before.find_map(|word| tables.prepositions.get(&word.lower));
        match nearest {
            Some(Side::Source) => drop(source.insert(text.words[at].stem.as_str())),
            Some(Side::Destination) => drop(goal.insert(text.words[at].stem.as_str())),
            _ => {}
        }
    }
    (source, goal)
}

/// (word, preposition, word) for the content words on both sides of each preposition.
fn around<'t>(text: &'t Text<'_>, tables: &Tables) -> Vec<(&'t str, &'t str, &'t str)> {
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
                found.push((text.words[x].stem.as_str(), word.lower.as_str(), text.words[y].stem.as_str()));
            }
        }
    }
    found
}
