//! Guards for names and times.

use super::pairing::Pairing;
use super::tables::Tables;
use super::text::{Case, Text, Word};
use super::verbatim::against;

/// Each text has a name that the other lacks.
pub fn capitals(pair: &Pairing<'_>, tables: &Tables) -> Option<String> {
    let is_related = |x: usize, others: &[usize], swap: bool| {
        others.iter().any(|&y| {
            let (at_a, at_b) = if swap { (y, x) } else { (x, y) };
            let meanings = pair.meaning_a(at_a).zip(pair.meaning_b(at_b));
            meanings.is_some_and(|(x, y)| x.is_synonym(y) || x.is_derived(y))
        })
    };
    let names_a: Vec<usize> = pair
        .left_a
        .iter()
        .copied()
        .filter(|&at| is_name(&pair.a.words[at], pair.a, pair.meaning_a(at).is_some_and(|m| m.is_name), tables))
        .filter(|&at| !is_related(at, &pair.left_b, false))
        .collect();
    let names_b: Vec<usize> = pair
        .left_b
        .iter()
        .copied()
        .filter(|&at| is_name(&pair.b.words[at], pair.b, pair.meaning_b(at).is_some_and(|m| m.is_name), tables))
        .filter(|&at| !is_related(at, &pair.left_a, true))
        .collect();
    if names_a.is_empty() || names_b.is_empty() {
        return None;
    }
    let written = |places: &[usize], text: &Text<'_>| -> Vec<String> {
        places.iter().map(|&at| text.raw[text.words[at].start..text.words[at].end].to_owned()).collect()
    };
    Some(against(&written(&names_a, pair.a), &written(&names_b, pair.b), ""))
}

fn is_name(word: &Word, text: &Text<'_>, is_known_name: bool, tables: &Tables) -> bool {
    if is_known_name || tables.names.contains(&word.lower) {
        return true;
    }
    text.has_telling_capitals
        && match word.case {
            Case::Upper => true,
            Case::Capital => !word.is_initial,
            Case::Lower => false,
        }
}

/// The texts speak of different times.
pub fn time(pair: &Pairing<'_>, tables: &Tables) -> Option<String> {
    let mut only_b: Vec<&Vec<u16>> = pair.b.times.iter().collect();
    let mut only_a: Vec<&Vec<u16>> = pair.a.times.iter().collect();
    // Equal ones first, so that "pm" does not take the "evening" that another word needs.
    if only_a.len().max(only_b.len()) > 64 {
        return (pair.a.times != pair.b.times).then(|| "many times, not the same ones".to_owned());
    }
    strike(&mut only_a, &mut only_b, |x, y| x == y);
    strike(&mut only_a, &mut only_b, |x, y| x.iter().any(|class| y.contains(class)));
    // What is said twice is no other time.
    only_a.retain(|x| !pair.b.times.contains(x));
    only_b.retain(|x| !pair.a.times.contains(x));
    let is_strict = |classes: &&Vec<u16>| classes.iter().all(|&class| tables.is_strict_time[usize::from(class)]);
    let is_other = !only_a.is_empty() && !only_b.is_empty() || only_a.iter().chain(&only_b).any(is_strict);
    let names = |times: &[&Vec<u16>]| -> Vec<String> {
        times.iter().map(|classes| tables.time_names[usize::from(classes[0])].clone()).collect()
    };
    is_other.then(|| against(&names(&only_a), &names(&only_b), ""))
}

fn strike<'t>(a: &mut Vec<&'t Vec<u16>>, b: &mut Vec<&'t Vec<u16>>, same: impl Fn(&[u16], &[u16]) -> bool) {
    a.retain(|x| {
        let found = b.iter().position(|y| same(x, y));
        found.map(|at| b.remove(at)).is_none()
    });
}
