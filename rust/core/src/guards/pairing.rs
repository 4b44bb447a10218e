//! Which words of two texts correspond, and which are left over.

use std::cmp::Ordering;
use std::ops::Range;

use super::lexicon::Lexicon;
use super::relations::Meaning;
use super::tables::Tables;
use super::text::{Case, Role, Text, Word};

/// Beyond this many words left over on a side, only the exact rules are tried: texts that differ so much are
/// no repeat of each other.
const MOST_LEFT_OVER: usize = 64;
/// Beyond this many words, order is not looked at.
const LONGEST_ORDERED: usize = 512;

/// Two analysed texts and their correspondence.
pub struct Pairing<'a> {
    /// The new text.
    pub a: &'a Text<'a>,
    /// The stored one.
    pub b: &'a Text<'a>,
    /// For each word of `a`, its partner in `b`.
    pub partner_a: Vec<Option<usize>>,
    /// For each word of `b`, its partner in `a`. Two words may share a partner that is both in one.
    pub partner_b: Vec<Option<usize>>,
    /// Content words without a partner.
    pub left_a: Vec<usize>,
    /// The same of the other text.
    pub left_b: Vec<usize>,
    /// All words of letters without a partner, function words too.
    pub alone_a: Vec<usize>,
    /// The same of the other text.
    pub alone_b: Vec<usize>,
    /// Meanings of `alone_a`, in its order, of content words only; empty for texts that differ too much.
    pub meanings_a: Vec<Meaning>,
    /// Meanings of `alone_b`.
    pub meanings_b: Vec<Meaning>,
}

impl<'a> Pairing<'a> {
    /// The correspondence of two texts.
    #[must_use]
    pub fn of(a: &'a Text<'a>, b: &'a Text<'a>, lexicon: &Lexicon, tables: &Tables) -> Self {
        let mut pairing = Self {
            a,
            b,
            partner_a: vec![None; a.words.len()],
            partner_b: vec![None; b.words.len()],
            left_a: Vec::new(),
            left_b: Vec::new(),
            alone_a: Vec::new(),
            alone_b: Vec::new(),
            meanings_a: Vec::new(),
            meanings_b: Vec::new(),
        };
        pairing.match_stems();
        pairing.collect();
        if pairing.is_comparable() {
            pairing.match_spellings(lexicon, tables);
            pairing.match_compounds();
            pairing.collect();
            // Half of the words left over are function words, of which no guard asks the meaning.
            let meaning = |word: &Word| {
                if word.is_content() { Meaning::of(&word.lower, lexicon) } else { Meaning::default() }
            };
            pairing.meanings_a = pairing.alone_a.iter().map(|&at| meaning(&a.words[at])).collect();
            pairing.meanings_b = pairing.alone_b.iter().map(|&at| meaning(&b.words[at])).collect();
        }
        pairing
    }

    /// Few enough words are left over for a comparison of each with each.
    #[must_use]
    pub fn is_comparable(&self) -> bool {
        self.alone_a.len().max(self.alone_b.len()) <= MOST_LEFT_OVER
    }

    /// The meaning of a word of `a` that is left over.
    #[must_use]
    pub fn meaning_a(&self, at: usize) -> Option<&Meaning> {
        self.meanings_a.get(self.alone_a.binary_search(&at).ok()?)
    }

    /// The meaning of a word of `b` that is left over.
    #[must_use]
    pub fn meaning_b(&self, at: usize) -> Option<&Meaning> {
        self.meanings_b.get(self.alone_b.binary_search(&at).ok()?)
    }

    /// The words before these two, or those behind them, are partners.
    #[must_use]
    pub fn are_in_one_place(&self, x: usize, y: usize) -> bool {
        let before = x.checked_sub(1).zip(y.checked_sub(1)).is_some_and(|(x, y)| self.partner_a[x] == Some(y));
        let behind = self.partner_a.get(x + 1).is_some_and(|&partner| partner == Some(y + 1));
        before || behind
    }

    /// Two words left over mean the same, or one is derived from the other, by the lexicon or the table of synonyms.
    #[must_use]
    pub fn are_related(&self, x: usize, y: usize, tables: &Tables) -> bool {
        let (Some(of_x), Some(of_y)) = (self.meaning_a(x), self.meaning_b(y)) else { return false };
        let groups = tables.synonyms.get(&self.a.words[x].stem).zip(tables.synonyms.get(&self.b.words[y].stem));
        of_x.is_synonym(of_y)
            || of_x.is_derived(of_y)
            || groups.is_some_and(|(x, y)| x.iter().any(|group| y.contains(group)))
    }

    /// The share of words that stand in one order in both texts, 0 to 1; for long texts an upper bound of it.
    #[must_use]
    pub fn frame(&self) -> f64 {
        let all = self.a.words.len() + self.b.words.len();
        if all == 0 {
            return 1.0;
        }
        let common = if self.a.words.len().max(self.b.words.len()) > LONGEST_ORDERED {
            self.partner_a.iter().flatten().count()
        } else {
            self.longest_common()
        };
        #[expect(clippy::cast_precision_loss, reason = "far fewer words than 2^52")]
        {
            2.0 * common as f64 / all as f64
        }
    }

    fn collect(&mut self) {
        let alone = |text: &Text<'_>, partner: &[Option<usize>]| -> Vec<usize> {
            (0..text.words.len()).filter(|&at| text.words[at].is_letters && partner[at].is_none()).collect()
        };
        self.alone_a = alone(self.a, &self.partner_a);
        self.alone_b = alone(self.b, &self.partner_b);
        let content = |text: &Text<'_>, alone: &[usize]| -> Vec<usize> {
            alone.iter().copied().filter(|&at| text.words[at].is_content()).collect()
        };
        self.left_a = content(self.a, &self.alone_a);
        self.left_b = content(self.b, &self.alone_b);
    }

    /// Pairs words of one stem, in order.
    fn match_stems(&mut self) {
        let sorted = |text: &Text<'_>| -> Vec<usize> {
            let mut places: Vec<usize> = (0..text.words.len()).collect();
            places.sort_by(|&x, &y| text.words[x].stem.cmp(&text.words[y].stem));
            places
        };
        let (in_a, in_b) = (sorted(self.a), sorted(self.b));
        let (mut i, mut j) = (0, 0);
        while let (Some(&x), Some(&y)) = (in_a.get(i), in_b.get(j)) {
            match self.a.words[x].stem.cmp(&self.b.words[y].stem) {
                Ordering::Less => i += 1,
                Ordering::Greater => j += 1,
                Ordering::Equal => {
                    self.partner_a[x] = Some(y);
                    self.partner_b[y] = Some(x);
                    i += 1;
                    j += 1;
                }
            }
        }
    }

    /// Typing errors: one letter too many, too few, wrong, or two exchanged, where one of the two is no word.
    fn match_spellings(&mut self, lexicon: &Lexicon, tables: &Tables) {
        let telling = |text: &Text<'_>, alone: &[usize]| -> Vec<usize> {
            alone.iter().copied().filter(|&at| text.words[at].role != Role::Function).collect()
        };
        let is_known = |word: &Word| Meaning::of(&word.lower, lexicon).is_known;
        let in_b = telling(self.b, &self.alone_b);
        for x in telling(self.a, &self.alone_a) {
            let word_a = &self.a.words[x];
            let found = in_b.iter().copied().find(|&y| {
                let word_b = &self.b.words[y];
                let is_candidate = self.partner_b[y].is_none() && is_typing_error(&word_a.lower, &word_b.lower);
                let is_excused = || {
                    is_known(word_a) && is_known(word_b)
                        || is_hand_antonym(word_a, word_b, tables)
                        || is_written_name(word_a) && is_written_name(word_b)
                };
                is_candidate && !is_excused()
            });
            if let Some(y) = found {
                self.partner_a[x] = Some(y);
                self.partner_b[y] = Some(x);
            }
        }
    }

    /// One word here, two there: email, e-mail; sign-up, signup. And initials: PR, pull request.
    fn match_compounds(&mut self) {
        for x in self.alone_a.clone() {
            if self.partner_a[x].is_none()
                && let Some(run) = spelled_out(&self.a.words[x], &self.b.words, &self.partner_b)
            {
                self.partner_a[x] = Some(run.start);
                self.partner_b[run].fill(Some(x));
            }
        }
        for y in self.alone_b.clone() {
            if self.partner_b[y].is_none()
                && let Some(run) = spelled_out(&self.b.words[y], &self.a.words, &self.partner_a)
            {
                self.partner_b[y] = Some(run.start);
                self.partner_a[run].fill(Some(y));
            }
        }
    }

    /// Length of the longest common subsequence of paired words, 64 words at a time.
    /// Source: Crochemore, Iliopoulos, Pinzon, Reid 2001, "A fast and practical bit-vector algorithm for the LCS".
    fn longest_common(&self) -> usize {
        // Paired words count as equal; so do all words of one stem, wherever they stand.
        let mut names: Vec<(&str, usize)> =
            self.a.words.iter().enumerate().map(|(at, word)| (word.stem.as_str(), at)).collect();
        names.sort_unstable();
        let blocks = self.a.words.len().div_ceil(64);
        let mut state = vec![u64::MAX; blocks];
        let mut mask = vec![0_u64; blocks];
        for (y, word) in self.b.words.iter().enumerate() {
            mask.fill(0);
            let first = names.partition_point(|&(stem, _)| stem < word.stem.as_str());
            for &(_, at) in names[first..].iter().take_while(|&&(stem, _)| stem == word.stem) {
                mask[at / 64] |= 1 << (at % 64);
            }
            if let Some(x) = self.partner_b[y] {
                mask[x / 64] |= 1 << (x % 64);
            }
            let mut carry = false;
            for (state, mask) in state.iter_mut().zip(&mask) {
                let (sum, first) = state.overflowing_add(*state & mask);
                let (sum, second) = sum.overflowing_add(u64::from(carry));
                carry = first || second;
                *state = sum | (*state & !mask);
            }
        }
        let ones: usize = state.iter().map(|state| state.count_ones() as usize).sum();
        blocks * 64 - ones
    }
}

/// The words that `word` is written together from, or whose initials it is, none of them paired.
fn spelled_out(word: &Word, words: &[Word], partner: &[Option<usize>]) -> Option<Range<usize>> {
    let letters = word.lower.len();
    if !word.is_letters || !(2..=40).contains(&letters) {
        return None;
    }
    for start in 0..words.len() {
        if partner[start].is_some() || !words[start].is_letters {
            continue;
        }
        for parts in 2..=3 {
            let run = start..start + parts;
            let Some(members) = words.get(run.clone()) else { break };
            let joined: usize = members.iter().map(|word| word.lower.len()).sum();
            let is_joined = joined == letters && {
                let mut rest = word.lower.as_str();
                members.iter().all(|part| rest.strip_prefix(part.lower.as_str()).map(|tail| rest = tail).is_some())
            };
            // One part may be paired with another occurrence; all of them would be a coincidence.
            if is_joined
                && members.iter().all(|word| word.is_letters)
                && run.clone().any(|at| partner[at].is_none())
            {
                return Some(run);
            }
        }
        if word.case == Case::Upper
            && let Some(members) = words.get(start..start + letters)
            && members
                .iter()
                .zip(word.lower.bytes())
                .all(|(part, initial)| part.lower.bytes().next() == Some(initial))
            && (start..start + letters).all(|at| partner[at].is_none())
        {
            return Some(start..start + letters);
        }
    }
    None
}

fn is_written_name(word: &Word) -> bool {
    word.case != Case::Lower && !word.is_initial && word.role == Role::Content
}

/// The table of antonyms has the two.
#[must_use]
pub fn is_hand_antonym(x: &Word, y: &Word, tables: &Tables) -> bool {
    hand_antonym(x, y, tables) == Some(true)
}

/// What the table of antonyms tells of two words: opposites, expressly none, or nothing.
#[must_use]
pub fn hand_antonym(x: &Word, y: &Word, tables: &Tables) -> Option<bool> {
    let answer = tables.antonyms.get(&x.stem)?.get(&y.stem).copied()?;
    if x.role == Role::Content && y.role == Role::Content {
        return Some(answer);
    }
    tables.antonym_words.contains(&(x.lower.clone(), y.lower.clone())).then_some(answer)
}

/// A Damerau-Levenshtein distance of 1, for words of 4 letters or more.
fn is_typing_error(x: &str, y: &str) -> bool {
    let (x, y) = (x.as_bytes(), y.as_bytes());
    if x.len().min(y.len()) < 4 || x.len().abs_diff(y.len()) > 1 || x.len() > 40 {
        return false;
    }
    let same = x.iter().zip(y).take_while(|(x, y)| x == y).count();
    let (x, y) = (&x[same..], &y[same..]);
    let tail = x.iter().rev().zip(y.iter().rev()).take_while(|(x, y)| x == y).count();
    match (&x[..x.len() - tail], &y[..y.len() - tail]) {
        ([_] | [], [_] | []) => true,
        ([first, second], exchanged) => exchanged == [*second, *first],
        _ => false,
    }
}

/// Where one text has one thing and the other another: the words without partners around `run`, and those of the
/// other text between the same neighbours. `None` where the neighbours are no partners.
#[must_use]
pub fn gap(
    run: Range<usize>,
    own: &[Option<usize>],
    other: &[Option<usize>],
) -> Option<(Range<usize>, Range<usize>)> {
    let start = run.start - own[..run.start].iter().rev().take_while(|partner| partner.is_none()).count();
    let end = run.end + own[run.end..].iter().take_while(|partner| partner.is_none()).count();
    let from = match start.checked_sub(1) {
        Some(before) => own[before]? + 1,
        None => 0,
    };
    let to = match own.get(end) {
        Some(behind) => (*behind)?,
        None => other.len(),
    };
    let is_gap = from <= to && own[run].iter().chain(&other[from..to]).all(Option::is_none);
    is_gap.then_some((start..end, from..to))
}
