//! Numbers in a text: digits, words, units behind or before them.

use super::tables::{NumberWord, Tables, Unit};
use super::text::{Role, Word};

/// A number with its unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantity {
    /// The number as it is compared: `30`, `1.5`, `2024-01-05`, `10:30`.
    pub key: String,
    /// Its value, where it has one: dates, times and versions have none.
    pub value: Option<f64>,
    /// Another value it may have: 401k is 401 or 401,000.
    pub other: Option<f64>,
    /// What the word or sign beside it may measure.
    pub units: Vec<Unit>,
    /// The unit as it is written.
    pub unit: String,
    /// One, first, second: too often no number to count by itself.
    pub is_loose: bool,
}

impl Quantity {
    fn new(key: String, value: Option<f64>) -> Self {
        Self { key, value, other: None, units: Vec::new(), unit: String::new(), is_loose: false }
    }

    fn valued(value: f64) -> Self {
        Self::new(format!("{value}"), Some(value))
    }
}

/// The length of the number at the start of `text`, which begins with a digit: 1,000.5, 2024-01-05, 10:30, 1/2, 1.2.3.
#[must_use]
pub fn literal(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits =
        |from: usize| bytes.get(from..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end = digits(0);
    if let Some(length) = date(bytes, end, digits) {
        return length;
    }
    while let Some(&separator) = bytes.get(end) {
        let following = digits(end + 1);
        let goes_on = match separator {
            b',' => following == 3,
            b'.' | b':' | b'/' => following > 0,
            _ => false,
        };
        if !goes_on {
            break;
        }
        end += 1 + following;
    }
    end
}

/// 2024-01-05 or 05-01-2024; anything else with hyphens is a range.
fn date(bytes: &[u8], first: usize, digits: impl Fn(usize) -> usize) -> Option<usize> {
    let second = digits(first + 1);
    let third = digits(first + second + 2);
    let is_date = bytes.get(first) == Some(&b'-')
        && bytes.get(first + second + 1) == Some(&b'-')
        && matches!((first, second, third), (4, 1..=2, 1..=2) | (1..=2, 1..=2, 2 | 4));
    is_date.then_some(first + second + third + 2)
}

/// "and a half" behind a number; gives the number of words.
fn read_and_a_half(words: &[Word], at: usize, quantity: &mut Quantity) -> usize {
    let following: Vec<&str> = words.iter().skip(at).take(3).map(|word| word.lower.as_str()).collect();
    let length = match following.as_slice() {
        ["and", "a", "half"] => 3,
        ["and", "half", ..] => 2,
        _ => return 0,
    };
    let Some(value) = quantity.value else { return 0 };
    *quantity = Quantity::valued(value + 0.5);
    length
}

/// The numbers of a text. Marks the words that belong to them.
pub fn read(text: &str, words: &mut [Word], tables: &Tables) -> Vec<Quantity> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let read = if words[at].is_letters {
            in_words(text, words, at, tables)
        } else {
            in_digits(text, words, at, tables)
        };
        let Some((mut quantity, mut length)) = read else {
            at += 1;
            continue;
        };
        length += read_and_a_half(words, at + length, &mut quantity);
        length += read_unit(text, words, at, length, tables, &mut quantity);
        if !quantity.is_loose {
            for word in &mut words[at..at + length] {
                word.role = Role::Counted;
            }
        }
        found.push(quantity);
        at += length;
    }
    found
}

fn in_digits(text: &str, words: &[Word], at: usize, tables: &Tables) -> Option<(Quantity, usize)> {
    let word = &words[at];
    if !word.lower.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    // H1N1 is a name; v1.2 is a version.
    let before = at.checked_sub(1).map(|before| &words[before]);
    if before.is_some_and(|before| before.is_letters && before.end == word.start && before.lower != "v") {
        return None;
    }
    let mut quantity = parse(&word.lower, prefix(text, word.start));
    let mut length = 1;
    let attached = words.get(at + 1).filter(|next| next.start == word.end).map(|next| next.lower.as_str());
    match attached {
        Some("k") => {
            quantity.other = quantity.value.map(|value| value * 1000.0);
            length += 1;
        }
        Some("st" | "nd" | "rd" | "th" | "s" | "x") => {
            // "1st" may be written "first", "2nd" "second", and those do not count.
            length += 1;
        }
        _ => {}
    }
    let scale = words.get(at + length).filter(|next| is_near(text, words[at + length - 1].end, next.start));
    if let (Some(NumberWord::Scale(scale)), Some(value)) =
        (scale.and_then(|word| tables.number_words.get(&word.lower)), quantity.value)
    {
        quantity = Quantity::valued(value * scale);
        length += 1;
    }
    Some((quantity, length))
}

/// What a sign in front of the digits does: "-" for a negative number, "." for a decimal without its zero.
fn prefix(text: &str, start: usize) -> &'static str {
    let mut before = text[..start].chars().rev();
    let (last, one_before) = (before.next(), before.next().unwrap_or(' '));
    match last {
        Some('.') if !one_before.is_alphanumeric() && one_before != '.' => "0.",
        Some('-' | '−') if one_before.is_whitespace() || one_before == '(' => "-",
        _ => "",
    }
}

fn parse(literal: &str, prefix: &str) -> Quantity {
    let plain = format!("{prefix}{}", literal.replace(',', ""));
    if let Some((x, y)) = plain.split_once('/') {
        let parts = (x.parse::<f64>(), y.parse::<f64>());
        let value = if let (Ok(x), Ok(y)) = parts { Some(x / y).filter(|value| value.is_finite()) } else { None };
        return Quantity::new(plain, value);
    }
    if let Some(hour) = plain.strip_suffix(":00").filter(|hour| hour.len() <= 2) {
        return parse(hour.trim_start_matches('0'), "");
    }
    if plain.contains(':') || plain.matches('.').nth(1).is_some() || plain.matches('-').nth(1).is_some() {
        return Quantity::new(plain.trim_start_matches('0').to_owned(), None);
    }
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    // 5.00 is 5; but 3.10 is another version than 3.1, and 007 another code than 7.
    if !fraction.is_empty() && fraction.bytes().all(|digit| digit == b'0') {
        return Quantity::new(whole.to_owned(), whole.parse().ok());
    }
    let is_exact = !fraction.ends_with('0') && (whole.len() == 1 || !whole.starts_with('0')) && whole.len() <= 15;
    let value = if is_exact { plain.parse().ok() } else { None };
    Quantity::new(plain, value)
}

fn in_words(text: &str, words: &[Word], at: usize, tables: &Tables) -> Option<(Quantity, usize)> {
    let entry = |at: usize| words.get(at).and_then(|word| tables.number_words.get(&word.lower));
    let joins = |at: usize| at > 0 && is_near(text, words[at - 1].end, words[at].start);
    let mut sum = Sum::default();
    let mut next = at;
    while let Some(&word) = entry(next) {
        if next > at && !joins(next) || !sum.admits(word, next - at) {
            break;
        }
        sum.add(word);
        next += 1;
        // one hundred and five
        let goes_on = matches!(word, NumberWord::Scale(_))
            && words.get(next).is_some_and(|word| word.lower == "and")
            && matches!(entry(next + 1), Some(NumberWord::Unit(_) | NumberWord::Ten(_) | NumberWord::Loose(_)));
        if goes_on && joins(next) && joins(next + 1) {
            next += 1;
        }
    }
    let value = sum.total + sum.current;
    let last = sum.last?;
    // two thirds, one fifth; but "twenty-third" is a rank
    if let (NumberWord::Ordinal(part), 2) = (last, next - at)
        && (words[next - 1].lower.ends_with('s') || (value - part - 1.0).abs() < 0.5)
        && value - part < 20.0
    {
        return Some((Quantity::valued((value - part) / part), 2));
    }
    let mut quantity = Quantity::valued(value);
    quantity.is_loose = next == at + 1 && matches!(last, NumberWord::Loose(_));
    Some((quantity, next - at))
}

/// A number in words, as far as it is read.
#[derive(Default)]
struct Sum {
    /// Thousands and millions that are complete.
    total: f64,
    /// What a coming thousand would multiply.
    current: f64,
    last: Option<NumberWord>,
}

impl Sum {
    /// Beyond this, numbers would lose their last digit.
    const GREATEST: f64 = 1e15;

    /// Whether `word` goes on with the number, of which `length` words are read.
    fn admits(&self, word: NumberWord, length: usize) -> bool {
        let Some(last) = self.last else { return true };
        let is_behind_scale = matches!(last, NumberWord::Scale(_));
        match (word, last) {
            (_, NumberWord::Alone(_) | NumberWord::Ordinal(_)) | (NumberWord::Alone(_), _) => false,
            (NumberWord::Scale(scale), _) => (self.total + self.current.max(1.0)) * scale <= Self::GREATEST,
            (NumberWord::Ordinal(_), NumberWord::Unit(_) | NumberWord::Loose(_)) => length == 1,
            (NumberWord::Ten(_), _) => is_behind_scale,
            (NumberWord::Unit(value) | NumberWord::Ordinal(value) | NumberWord::Loose(value), _) => {
                is_behind_scale || matches!(last, NumberWord::Ten(_)) && value < 10.0
            }
        }
    }

    fn add(&mut self, word: NumberWord) {
        match word {
            NumberWord::Unit(value)
            | NumberWord::Ten(value)
            | NumberWord::Ordinal(value)
            | NumberWord::Loose(value)
            | NumberWord::Alone(value) => self.current += value,
            NumberWord::Scale(scale) => {
                let times = if self.current == 0.0 { 1.0 } else { self.current };
                self.current = times * scale;
                // "two hundred thousand": hundreds wait for the thousand.
                if scale >= 1000.0 {
                    self.total += std::mem::take(&mut self.current);
                }
            }
        }
        self.last = Some(word);
    }
}

/// Reads the unit beside a number; gives the number of words it takes behind it.
fn read_unit(
    text: &str,
    words: &mut [Word],
    at: usize,
    length: usize,
    tables: &Tables,
    quantity: &mut Quantity,
) -> usize {
    let end = words[at + length - 1].end;
    if let Some(next) = words.get(at + length)
        && is_near(text, end, next.start)
        && let Some(units) = tables.units.get(&next.lower)
        && (next.is_letters || !quantity.is_loose)
    {
        quantity.units.clone_from(units);
        quantity.unit.clone_from(&next.lower);
        return 1;
    }
    // $5, USD 100, Rs. 500: only signs and codes stand before a number.
    if let Some(before) = at.checked_sub(1).map(|before| &words[before])
        && (is_near(text, before.end, words[at].start) || text.get(before.end..words[at].start) == Some(". "))
        && (!before.is_letters || before.lower.len() <= 3)
        && before.lower != "%"
        && let Some(units) = tables.units.get(&before.lower)
    {
        quantity.units.clone_from(units);
        quantity.unit.clone_from(&before.lower);
        if before.is_letters {
            words[at - 1].role = Role::Counted;
        }
    }
    0
}

/// Nothing but a space, a hyphen or a full stop before a decimal lies between.
fn is_near(text: &str, from: usize, to: usize) -> bool {
    matches!(text.get(from..to), Some("" | " " | "-" | "." | " ." | "‑" | "\u{a0}" | "  "))
}
