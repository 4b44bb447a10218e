//! Guards for what must be the same to the letter: identifiers, quoted strings, code, URLs.

use std::collections::HashSet;

use super::pairing::Pairing;
use super::tables::{NumberWord, Tables};
use super::text::{Text, Word};

/// Beyond this many parts that the other text lacks, nobody needs to look for them there.
const MOST_SOUGHT: usize = 16;
/// Longer names are no initials.
const LONGEST_INITIALS: usize = 5;

/// Code differs, or only one text has some.
pub fn code(pair: &Pairing<'_>) -> Option<String> {
    let (a, b) = (&pair.a.literals.code, &pair.b.literals.code);
    (a != b).then(|| against(&missing(a, b), &missing(b, a), "other order"))
}

/// URLs differ, or only one text has some.
pub fn urls(pair: &Pairing<'_>) -> Option<String> {
    let (a, b) = (&pair.a.literals.urls, &pair.b.literals.urls);
    let (only_a, only_b) = (missing(a, b), missing(b, a));
    (!only_a.is_empty() || !only_b.is_empty()).then(|| against(&only_a, &only_b, ""))
}

/// A quoted string stands in one text only, quoted or not.
pub fn quoted(pair: &Pairing<'_>) -> Option<String> {
    let (a, b) = (&pair.a.literals.quoted, &pair.b.literals.quoted);
    let is_elsewhere = |quoted: &str, text: &Text<'_>| text.raw.to_lowercase().contains(&quoted.to_lowercase());
    let only_a = sought(missing(a, b), |quoted| is_elsewhere(quoted, pair.b));
    let only_b = sought(missing(b, a), |quoted| is_elsewhere(quoted, pair.a));
    (!only_a.is_empty() || !only_b.is_empty()).then(|| against(&only_a, &only_b, ""))
}

/// An identifier stands in one text only, however it is spaced or capitalised.
pub fn identifiers(pair: &Pairing<'_>, tables: &Tables) -> Option<String> {
    let (a, b) = (&pair.a.literals.identifiers, &pair.b.literals.identifiers);
    if a.is_empty() && b.is_empty() {
        return None;
    }
    let only_a = sought(missing_names(a, b), |name| is_written_apart(name, pair.b, tables));
    let only_b = sought(missing_names(b, a), |name| is_written_apart(name, pair.a, tables));
    (!only_a.is_empty() || !only_b.is_empty()).then(|| against(&only_a, &only_b, ""))
}

fn missing(from: &[String], other: &[String]) -> Vec<String> {
    let other: HashSet<&String> = other.iter().collect();
    from.iter().filter(|part| !other.contains(part)).cloned().collect()
}

fn missing_names(from: &[String], other: &[String]) -> Vec<String> {
    let other: HashSet<String> = other.iter().map(|name| bare(name)).collect();
    from.iter().filter(|name| !other.contains(&bare(name))).cloned().collect()
}

fn sought(parts: Vec<String>, is_there: impl Fn(&str) -> bool) -> Vec<String> {
    if parts.len() > MOST_SOUGHT {
        return parts;
    }
    parts.into_iter().filter(|part| !is_there(part)).collect()
}

/// A name without what people leave out or put in: hyphens, underscores, capitals.
fn bare(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric() || "+#@\u{fffd}".contains(*c))
        .flat_map(char::to_lowercase)
        .collect()
}

/// Up to four neighbouring words make up the name, or it is made of the initials of a few.
fn is_written_apart(name: &str, text: &Text<'_>, tables: &Tables) -> bool {
    let name = bare(name);
    let name = name.trim_start_matches('#');
    let is_short = name.len() <= LONGEST_INITIALS;
    (0..text.words.len()).any(|start| {
        let words = &text.words[start..];
        if is_short && is_initials(name, words, tables) {
            return true;
        }
        let mut rest = name;
        for word in words.iter().take(4) {
            let Some(tail) = rest.strip_prefix(word.lower.as_str()) else { return false };
            if tail.is_empty() {
                return true;
            }
            rest = tail;
        }
        false
    })
}

/// B2B, business to business; a number word counts as its digit.
fn is_initials(name: &str, words: &[Word], tables: &Tables) -> bool {
    let letters = name.chars().count();
    letters >= 2
        && words.len() >= letters
        && name.chars().zip(words).all(|(initial, word)| match tables.number_words.get(&word.lower) {
            Some(NumberWord::Unit(value)) => initial.to_digit(10).map(f64::from) == Some(*value),
            _ => word.lower.starts_with(initial),
        })
}

/// "x against y", shortened.
pub fn against(a: &[String], b: &[String], otherwise: &str) -> String {
    if a.is_empty() && b.is_empty() {
        return otherwise.to_owned();
    }
    format!("{} against {}", listed(a), listed(b))
}

fn listed(parts: &[String]) -> String {
    const MOST: usize = 4;
    const LONGEST: usize = 60;
    if parts.is_empty() {
        return "none".to_owned();
    }
    let short = |part: &String| match part.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &part[..end]),
        None => part.clone(),
    };
    let mut list = parts.iter().take(MOST).map(short).collect::<Vec<_>>().join(", ");
    if parts.len() > MOST {
        list.push_str(", ...");
    }
    list
}
