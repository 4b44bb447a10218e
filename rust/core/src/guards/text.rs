//! A text as the guards see it: words, numbers, times and verbatim parts.

use super::literals::Literals;
use super::numbers::{self, Quantity};
use super::stem::stem;
use super::tables::Tables;

/// How a word is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// Without a capital.
    Lower,
    /// With a capital, or several.
    Capital,
    /// IN CAPITALS, two letters at least.
    Upper,
}

/// What a word does in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Says what the text is about.
    Content,
    /// Holds the others together: a word of the stop list, a negator.
    Function,
    /// Part of a number, a unit behind a number, a time word.
    Counted,
}

/// A word of letters, or a run of digits, or a sign such as `%`.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    /// In lower case, without apostrophes and possessive endings.
    pub lower: String,
    /// The stem.
    pub stem: String,
    /// Where it begins in the text.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// How it is written.
    pub case: Case,
    /// The first word of a sentence.
    pub is_initial: bool,
    /// Letters, not digits or a sign.
    pub is_letters: bool,
    /// What it does in the text.
    pub role: Role,
    /// Counts as a negation.
    pub is_negation: bool,
}

impl Word {
    /// A word that says what the text is about; numbers and times have guards of their own.
    #[must_use]
    pub fn is_content(&self) -> bool {
        self.is_letters && self.role == Role::Content
    }
}

/// A time word, or several that name one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Time {
    /// What it may mean.
    pub classes: Vec<u16>,
    /// The place of its first word.
    pub at: usize,
}

/// A text, analysed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Text<'t> {
    /// The text itself.
    pub raw: &'t str,
    /// All words, in order.
    pub words: Vec<Word>,
    /// Numbers, in order.
    pub quantities: Vec<Quantity>,
    /// Times, in order.
    pub times: Vec<Time>,
    /// Verbatim parts.
    pub literals: Literals,
    /// Capitals tell names from other words: the text is neither all capitals nor a title.
    pub has_telling_capitals: bool,
}

impl<'t> Text<'t> {
    /// Analyses `text`, in linear time.
    #[must_use]
    pub fn of(text: &'t str, tables: &Tables) -> Self {
        let literals = Literals::of(text, tables);
        let mut words = split(text, &literals);
        let has_telling_capitals = has_telling_capitals(&words);
        for word in &mut words {
            let is_negator = tables.negators.contains(&word.lower) || is_contracted_not(&word.lower, text, word);
            word.is_negation = is_negator;
            // US, IT, WHO are names where capitals tell.
            let is_name = has_telling_capitals && word.case == Case::Upper;
            if is_negator || !is_name && tables.stop_words.contains(&word.lower) {
                word.role = Role::Function;
            }
        }
        forgive_neutral_negations(&mut words, tables);
        let quantities = numbers::read(text, &mut words, tables);
        let times = read_times(&mut words, tables);
        Self { raw: text, words, quantities, times, literals, has_telling_capitals }
    }

    /// The words that say what the text is about: their places.
    pub fn content(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.words.len()).filter(|&at| self.words[at].is_content())
    }

    /// Number of negations.
    #[must_use]
    pub fn negations(&self) -> usize {
        self.words.iter().filter(|word| word.is_negation).count()
    }
}

fn split(text: &str, literals: &Literals) -> Vec<Word> {
    let mut words = Vec::new();
    let mut is_initial = true;
    let mut at = 0;
    for range in literals.masked.iter().cloned().chain(std::iter::once(text.len()..text.len())) {
        if range.start >= at {
            split_plain(text, at..range.start, &mut words, &mut is_initial);
            is_initial = false;
            at = range.end;
        }
    }
    words
}

fn split_plain(text: &str, range: std::ops::Range<usize>, words: &mut Vec<Word>, is_initial: &mut bool) {
    let end = range.end;
    let mut at = range.start;
    while let Some(c) = text.get(at..end).and_then(|rest| rest.chars().next()) {
        let rest = &text[at..end];
        if c.is_alphabetic() {
            let length = letters(rest);
            words.push(word(&rest[..length], at, *is_initial));
            *is_initial = false;
            at += length;
        } else if c.is_ascii_digit() {
            let length = numbers::literal(rest);
            words.push(sign(&rest[..length], at));
            *is_initial = false;
            at += length;
        } else {
            if "$£€¥₹%°".contains(c) {
                words.push(sign(&rest[..c.len_utf8()], at));
            } else if ".!?:;\n•".contains(c) {
                *is_initial = true;
            }
            at += c.len_utf8();
        }
    }
}

/// The length of the word at the start of `text`: letters, with apostrophes between letters.
fn letters(text: &str) -> usize {
    let mut end = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let goes_on = c.is_alphabetic()
            || matches!(c, '\'' | '’') && chars.peek().is_some_and(|&(_, next)| next.is_alphabetic());
        if !goes_on {
            break;
        }
        end = at + c.len_utf8();
    }
    end
}

fn word(written: &str, start: usize, is_initial: bool) -> Word {
    let mut lower = written.to_lowercase().replace('’', "'");
    for ending in ["'s", "'m", "'re", "'ve", "'ll", "'d"] {
        if let Some(head) = lower.strip_suffix(ending) {
            let keep = head.len();
            lower.truncate(keep);
            break;
        }
    }
    lower.retain(|c| c != '\'');
    let mut capitals = written.chars().filter(|c| c.is_uppercase());
    let case = match capitals.next() {
        None => Case::Lower,
        Some(_) if capitals.next().is_some() && !written.contains(char::is_lowercase) => Case::Upper,
        Some(_) => Case::Capital,
    };
    Word {
        stem: stem(&lower),
        lower,
        start,
        end: start + written.len(),
        case,
        is_initial,
        is_letters: true,
        role: Role::Content,
        is_negation: false,
    }
}

fn sign(written: &str, start: usize) -> Word {
    Word {
        lower: written.to_owned(),
        stem: written.to_owned(),
        start,
        end: start + written.len(),
        case: Case::Lower,
        is_initial: false,
        is_letters: false,
        role: Role::Counted,
        is_negation: false,
    }
}

/// Any word in n't, whether a table has it or not.
fn is_contracted_not(lower: &str, text: &str, word: &Word) -> bool {
    lower.ends_with("nt") && text[word.start..word.end].to_lowercase().replace('’', "'").ends_with("n't")
}

/// Negations that do not turn a question round: "why not", "I don't know how".
fn forgive_neutral_negations(words: &mut [Word], tables: &Tables) {
    for at in 0..words.len() {
        let Some(phrases) = tables.neutral_negations.get(&words[at].lower) else { continue };
        let found = phrases.iter().find(|rest| {
            let following = words[at + 1..].iter().map(|word| &word.lower);
            rest.len() < words.len() - at && rest.iter().zip(following).all(|(x, y)| x == y)
        });
        if let Some(rest) = found {
            for word in &mut words[at..=at + rest.len()] {
                word.is_negation = false;
            }
        }
    }
}

fn read_times(words: &mut [Word], tables: &Tables) -> Vec<Time> {
    let mut times = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let forms = tables.time_words.get(&words[at].lower).map_or(&[][..], Vec::as_slice);
        let found = forms.iter().find(|form| {
            let following = words[at + 1..].iter().map(|word| &word.lower);
            form.rest.len() < words.len() - at
                && form.rest.iter().zip(following).all(|(x, y)| x == y)
                && (!form.needs_context || means_time(words, at))
        });
        let length = found.map_or(1, |form| form.rest.len() + 1);
        if let Some(form) = found {
            times.push(Time { classes: form.classes.clone(), at });
            for word in &mut words[at..at + length] {
                word.role = Role::Counted;
            }
        }
        at += length;
    }
    times
}

/// Whether an ambiguous word (may, march, am) stands where a time stands.
fn means_time(words: &[Word], at: usize) -> bool {
    const BEFORE_TIMES: [&str; 16] = [
        "in", "of", "on", "since", "until", "till", "by", "last", "next", "this", "every", "each", "before",
        "after", "during", "from",
    ];
    let before = at.checked_sub(1).map(|before| &words[before]);
    let follows_number = before.is_some_and(|word| !word.is_letters || word.role == Role::Counted);
    let word = &words[at];
    // "am" and "pm" belong to a number; only months and days are written with a capital or after a preposition.
    if word.lower.len() == 2 {
        return follows_number && word.lower != "in";
    }
    follows_number
        || word.case == Case::Capital && !word.is_initial
        || before.is_some_and(|word| BEFORE_TIMES.contains(&word.lower.as_str()))
}

fn has_telling_capitals(words: &[Word]) -> bool {
    let mut written = words.iter().filter(|word| word.is_letters && !word.is_initial && word.lower.len() >= 3);
    let (mut all, mut capital) = (0, 0);
    for word in &mut written {
        all += 1;
        capital += usize::from(word.case != Case::Lower);
    }
    // A title or a shout: more than two words in three. Two words are too few to tell.
    all <= 2 || capital * 3 <= all * 2
}
