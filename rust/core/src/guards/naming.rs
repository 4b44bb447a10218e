//! Guards for names and times.

use std::collections::HashSet;

use super::pairing::Pairing;
use super::tables::Tables;
use super::text::{Case, Text, Time, Word};
use super::verbatim::against;

/// With more times than this, only the same ones in the same order pass.
const MOST_TIMES: usize = 64;

/// Each text has a name that the other lacks.
pub fn capitals(pair: &Pairing<'_>, tables: &Tables) -> Option<String> {
    // Without meanings there is nothing to find, and in long texts much to search.
    let is_long = !pair.is_comparable();
    let names_a: Vec<usize> = pair
        .left_a
        .iter()
        .copied()
        .filter(|&at| is_name(&pair.a.words[at], pair.a, pair.meaning_a(at).is_some_and(|m| m.is_name), tables))
        .filter(|&x| is_long || !pair.left_b.iter().any(|&y| pair.are_related(x, y, tables)))
        .collect();
    let names_b: Vec<usize> = pair
        .left_b
        .iter()
        .copied()
        .filter(|&at| is_name(&pair.b.words[at], pair.b, pair.meaning_b(at).is_some_and(|m| m.is_name), tables))
        .filter(|&y| is_long || !pair.left_a.iter().any(|&x| pair.are_related(x, y, tables)))
        .collect();
    if names_a.is_empty() || names_b.is_empty() {
        return None;
    }
    let written = |places: &[usize], text: &Text<'_>| -> Vec<String> {
        places.iter().map(|&at| text.raw[text.words[at].start..text.words[at].end].to_owned()).collect()
    };
    Some(against(&written(&names_a, pair.a), &written(&names_b, pair.b), ""))
}

/// A word that is written as a name, or known as one.
pub(crate) fn is_name(word: &Word, text: &Text<'_>, is_known_name: bool, tables: &Tables) -> bool {
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
    // A day that is misspelt in the other text is paired with a word that is no time there.
    let places = |times: &[Time]| times.iter().map(|time| time.at).collect::<HashSet<_>>();
    let (in_a, in_b) = (places(&pair.a.times), places(&pair.b.times));
    let is_misspelt =
        |partner: Option<usize>, times: &HashSet<usize>| partner.is_some_and(|at| !times.contains(&at));
    let mut only_a: Vec<&Time> =
        pair.a.times.iter().filter(|time| !is_misspelt(pair.partner_a[time.at], &in_b)).collect();
    let mut only_b: Vec<&Time> =
        pair.b.times.iter().filter(|time| !is_misspelt(pair.partner_b[time.at], &in_a)).collect();
    if only_a.len().max(only_b.len()) > MOST_TIMES {
        let is_equal = only_a.iter().map(|time| &time.classes).eq(only_b.iter().map(|time| &time.classes));
        return (!is_equal).then(|| "many times, not the same ones".to_owned());
    }
    // Equal ones first, so that "pm" does not take the "evening" that another word needs.
    strike(&mut only_a, &mut only_b, |x, y| x == y);
    strike(&mut only_a, &mut only_b, |x, y| x.iter().any(|class| y.contains(class)));
    // What is said twice is no other time.
    only_a.retain(|x| !pair.b.times.iter().any(|y| x.classes == y.classes));
    only_b.retain(|x| !pair.a.times.iter().any(|y| x.classes == y.classes));
    let is_strict = |time: &&Time| time.classes.iter().all(|&class| tables.is_strict_time[usize::from(class)]);
    let is_other = !only_a.is_empty() && !only_b.is_empty() || only_a.iter().chain(&only_b).any(is_strict);
    let names = |times: &[&Time]| -> Vec<String> {
        times.iter().map(|time| tables.time_names[usize::from(time.classes[0])].clone()).collect()
    };
    is_other.then(|| against(&names(&only_a), &names(&only_b), ""))
}

fn strike(a: &mut Vec<&Time>, b: &mut Vec<&Time>, same: impl Fn(&[u16], &[u16]) -> bool) {
    a.retain(|x| {
        let found = b.iter().position(|y| same(&x.classes, &y.classes));
        found.map(|at| b.remove(at)).is_none()
    });
}
