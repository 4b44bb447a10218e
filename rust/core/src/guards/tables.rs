//! The word lists of the guards, parsed once. A line is an entry; what follows `#` is a comment.

use std::collections::{HashMap, HashSet};

use super::stem::stem;
use crate::Error;

/// The names of all tables.
pub const TABLES: [&str; 11] = [
    "antonyms",
    "avoidance",
    "names",
    "negators",
    "neutral_negations",
    "number_words",
    "prepositions",
    "stop_words",
    "synonyms",
    "time_words",
    "units",
];

/// What a number word does to the number it stands in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NumberWord {
    /// 2 to 19, and 1 where it goes on a ten.
    Unit(f64),
    /// 20 to 90.
    Ten(f64),
    /// Hundred, thousand, million: multiplies what came before.
    Scale(f64),
    /// Third, fourth: like a unit, and ends the number.
    Ordinal(f64),
    /// Half, double: stands alone.
    Alone(f64),
    /// One, first, second: counts only where the other text has the same number.
    Loose(f64),
}

/// A unit that a name may mean: what it measures, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unit {
    /// Units of one family can be converted.
    pub family: u16,
    /// In terms of the family's smallest.
    pub factor: f64,
}

/// On which side of a movement a preposition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// From, out.
    Source,
    /// To, into.
    Destination,
    /// Than, before: its two sides cannot be exchanged.
    Order,
}

/// A form of a time word, or several words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeForm {
    /// The words after the first.
    pub rest: Vec<String>,
    /// What it may mean.
    pub classes: Vec<u16>,
    /// May, March: means a time only with a capital or after a preposition of time.
    pub needs_context: bool,
}

/// All tables, ready for look-ups. Words are in lower case.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// Pairs of stems, in both orders; false where the table says that they are not opposites.
    pub antonyms: HashMap<String, HashMap<String, bool>>,
    /// The same pairs as they are written: function words have no other forms ("here" is no form of "her").
    pub antonym_words: HashSet<(String, String)>,
    /// Stems.
    pub avoidance: HashSet<String>,
    /// Words that count in this form alone.
    pub avoidance_words: HashSet<String>,
    /// Words that are names although no lexicon knows them.
    pub names: HashSet<String>,
    /// Words.
    pub negators: HashSet<String>,
    /// First word to the words that follow it.
    pub neutral_negations: HashMap<String, Vec<Vec<String>>>,
    /// Words.
    pub number_words: HashMap<String, NumberWord>,
    /// Words.
    pub prepositions: HashMap<String, Side>,
    /// Words.
    pub stop_words: HashSet<String>,
    /// Number of groups of synonyms.
    pub synonym_groups: u32,
    /// Stem to the groups it is in.
    pub synonyms: HashMap<String, Vec<u32>>,
    /// First word to the forms that begin with it.
    pub time_words: HashMap<String, Vec<TimeForm>>,
    /// Whether a class of time words counts when only one text has it.
    pub is_strict_time: Vec<bool>,
    /// The names of the classes of time words.
    pub time_names: Vec<String>,
    /// Name to what it may mean.
    pub units: HashMap<String, Vec<Unit>>,
}

impl Tables {
    /// Tables from their names and lines; those not given are empty.
    ///
    /// # Errors
    ///
    /// [`Error::Name`] for an unknown table, [`Error::TableLine`] for a line that is not an entry of its table.
    pub fn parse<'a>(given: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>) -> Result<Self, Error> {
        let mut tables = Self::default();
        for (name, lines) in given {
            let known = TABLES.iter().find(|&&known| known == name);
            let Some(known) = known else {
                return Err(Error::Name { what: "table", asked: name.to_owned(), available: TABLES.join(", ") });
            };
            let mut families = Vec::new();
            for (number, line) in lines.iter().enumerate() {
                let entry = line.split('#').next().unwrap_or_default().to_lowercase();
                let words: Vec<&str> = entry.split_whitespace().collect();
                if !words.is_empty() && tables.enter(known, &words, &mut families).is_none() {
                    return Err(Error::TableLine { table: known, line: number + 1, got: (*line).to_owned() });
                }
            }
        }
        Ok(tables)
    }

    fn enter(&mut self, table: &str, words: &[&str], families: &mut Vec<String>) -> Option<()> {
        let word = || if let [word] = *words { Some(word.replace(['\'', '’'], "")) } else { None };
        match table {
            "antonyms" => {
                let (holds, pair) = if words[0] == "-" { (false, &words[1..]) } else { (true, words) };
                let [x, y] = *pair else { return None };
                for (x, y) in [(x, y), (y, x)] {
                    self.antonyms.entry(stem(x)).or_default().insert(stem(y), holds);
                    self.antonym_words.insert((x.to_owned(), y.to_owned()));
                }
            }
            "avoidance" => match word()?.strip_prefix('=') {
                Some(word) => drop(self.avoidance_words.insert(word.to_owned())),
                None => drop(self.avoidance.insert(stem(&word()?))),
            },
            "names" => drop(self.names.insert(word()?)),
            "negators" => drop(self.negators.insert(word()?)),
            "stop_words" => drop(self.stop_words.insert(word()?)),
            "neutral_negations" => {
                let mut words = words.iter().map(|word| word.replace(['\'', '’'], ""));
                self.neutral_negations.entry(words.next()?).or_default().push(words.collect());
            }
            "number_words" => {
                let [word, kind, value] = *words else { return None };
                let value: f64 = value.parse().ok().filter(|value: &f64| value.is_finite())?;
                let entry = match kind {
                    "unit" => NumberWord::Unit(value),
                    "ten" => NumberWord::Ten(value),
                    "scale" => NumberWord::Scale(value),
                    "ordinal" => NumberWord::Ordinal(value),
                    "alone" => NumberWord::Alone(value),
                    "loose" => NumberWord::Loose(value),
                    _ => return None,
                };
                self.number_words.insert(word.to_owned(), entry);
            }
            "prepositions" => {
                let [word, kind] = *words else { return None };
                let side = match kind {
                    "source" => Side::Source,
                    "destination" => Side::Destination,
                    "order" => Side::Order,
                    _ => return None,
                };
                self.prepositions.insert(word.to_owned(), side);
            }
            "synonyms" => {
                let group = self.synonym_groups;
                self.synonym_groups = group.checked_add(1)?;
                for word in words {
                    self.synonyms.entry(stem(word)).or_default().push(group);
                }
                if words.len() < 2 {
                    return None;
                }
            }
            "time_words" => self.enter_time(words)?,
            "units" => self.enter_unit(words, families)?,
            _ => return None,
        }
        Some(())
    }

    fn enter_time(&mut self, words: &[&str]) -> Option<()> {
        let name = words[0].strip_prefix('~');
        let is_strict = name.is_none();
        let name = name.unwrap_or(words[0]);
        let class = self.time_names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.time_names.push(name.to_owned());
            self.is_strict_time.push(is_strict);
            self.time_names.len() - 1
        });
        let class = u16::try_from(class).ok()?;
        for form in &words[1..] {
            let needs_context = form.ends_with('^');
            let mut parts = form.trim_end_matches('^').split('_').map(|part| part.replace(['\'', '’'], ""));
            let first = parts.next()?;
            let rest: Vec<_> = parts.collect();
            let forms = self.time_words.entry(first).or_default();
            if let Some(form) = forms.iter_mut().find(|form| form.rest == rest) {
                form.classes.push(class);
            } else {
                forms.push(TimeForm { rest, classes: vec![class], needs_context });
                // The longest form is tried first.
                forms.sort_by_key(|form| std::cmp::Reverse(form.rest.len()));
            }
        }
        (words.len() > 1).then_some(())
    }

    fn enter_unit(&mut self, words: &[&str], families: &mut Vec<String>) -> Option<()> {
        let [name, factor, forms @ ..] = words else { return None };
        let factor: f64 = factor.parse().ok().filter(|factor: &f64| factor.is_finite() && *factor > 0.0)?;
        let family = families.iter().position(|known| known == name).unwrap_or_else(|| {
            families.push((*name).to_owned());
            families.len() - 1
        });
        let unit = Unit { family: u16::try_from(family).ok()?, factor };
        for form in forms {
            self.units.entry((*form).to_owned()).or_default().push(unit);
        }
        (!forms.is_empty()).then_some(())
    }
}
