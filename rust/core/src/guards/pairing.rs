//! Which words of two texts correspond, and which are left over.

use super::lexicon::Lexicon;
use super::relations::Meaning;
use super::tables::Tables;
use super::text::{Case, Text, Word};

/// Beyond this many words left over on a side, only the exact rules are tried: texts that differ so much are
/// no repeat of each other.
const MOST_LEFT_OVER: usize = 48;
/// Beyond this many words, order is not looked at.
const LONGEST_ORDERED: usize = 512;

/// Two analysed texts and their correspondence.
pub struct Pairing<'a> {
    /// The new text.
    pub a: &'a Text<'a>,
    /// The stored one.
    pub b: &'a Text<'a>,
    /// For each word of `a`, its partner in `b`.
    pub partner: Vec<Option<usize>>,
    /// Content words without a partner.
    pub left_a: Vec<usize>,
    /// The same of the other text.
    pub left_b: Vec<usize>,
    /// All words of letters without a partner, function words too.
    pub alone_a: Vec<usize>,
    /// The same of the other text.
    pub alone_b: Vec<usize>,
    /// Meanings of `alone_a`, in its order; empty for texts that differ too much.
    pub meanings_a: Vec<Meaning>,
    /// Meanings of `alone_b`.
    pub meanings_b: Vec<Meaning>,
}

impl<'a> Pairing<'a> {
    /// The correspondence of two texts.
    #[must_use]
    pub fn of(a: &'a Text<'a>, b: &'a Text<'a>, lexicon: &Lexicon, tables: &Tables) -> Self {
        let mut partner = vec![None; a.words.len()];
        let mut is_taken = vec![false; b.words.len()];
        match_stems(a, b, &mut partner, &mut is_taken);
        let mut pairing = Self {
            a,
            b,
            partner,
            left_a: Vec::new(),
            left_b: Vec::new(),
            alone_a: Vec::new(),
            alone_b: Vec::new(),
            meanings_a: Vec::new(),
            meanings_b: Vec::new(),
        };
        pairing.collect(&is_taken);
        if pairing.is_comparable() {
            pairing.match_spellings(&mut is_taken, lexicon, tables);
            pairing.match_compounds(&mut is_taken);
            pairing.collect(&is_taken);
            let meaning = |word: &Word| Meaning::of(&word.lower, lexicon);
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

    /// The share of words that stand in one order in both texts, 0 to 1; for long texts an upper bound of it.
    #[must_use]
    pub fn frame(&self) -> f64 {
        let all = self.a.words.len() + self.b.words.len();
        if all == 0 {
            return 1.0;
        }
        let common = if self.a.words.len().max(self.b.words.len()) > LONGEST_ORDERED {
            self.partner.iter().flatten().count()
        } else {
            self.longest_common()
        };
        #[expect(clippy::cast_precision_loss, reason = "far fewer words than 2^52")]
        {
            2.0 * common as f64 / all as f64
        }
    }

    fn collect(&mut self, is_taken: &[bool]) {
        let letters = |text: &Text<'_>, free: &dyn Fn(usize) -> bool| -> Vec<usize> {
            (0..text.words.len()).filter(|&at| text.words[at].is_letters && free(at)).collect()
        };
        self.alone_a = letters(self.a, &|at| self.partner[at].is_none());
        self.alone_b = letters(self.b, &|at| !is_taken[at]);
        let content = |text: &Text<'_>, alone: &[usize]| -> Vec<usize> {
            alone.iter().copied().filter(|&at| text.words[at].is_content()).collect()
        };
        self.left_a = content(self.a, &self.alone_a);
        self.left_b = content(self.b, &self.alone_b);
    }

    /// Typing errors: one letter too many, too few, wrong, or two exchanged, where one of the two is no word.
    fn match_spellings(&mut self, is_taken: &mut [bool], lexicon: &Lexicon, tables: &Tables) {
        for &x in &self.left_a {
            let word_a = &self.a.words[x];
            let is_known = |word: &Word| Meaning::of(&word.lower, lexicon).is_known;
            let found = self.left_b.iter().copied().find(|&y| {
                let word_b = &self.b.words[y];
                let is_candidate = !is_taken[y] && is_typing_error(&word_a.lower, &word_b.lower);
                let is_excused = || {
                    is_known(word_a) && is_known(word_b)
                        || is_hand_antonym(word_a, word_b, tables)
                        || is_written_name(word_a) && is_written_name(word_b)
                };
                is_candidate && !is_excused()
            });
            if let Some(y) = found {
                self.partner[x] = Some(y);
                is_taken[y] = true;
            }
        }
    }

    /// One word here, two there: email, e-mail; sign-up, signup. And initials: PR, pull request.
    fn match_compounds(&mut self, is_taken: &mut [bool]) {
        let free_a: Vec<usize> = self.alone_a.iter().copied().filter(|&at| self.partner[at].is_none()).collect();
        let free_b: Vec<usize> = self.alone_b.iter().copied().filter(|&at| !is_taken[at]).collect();
        for &x in &free_a {
            let Some(run) = spelled_out(&self.a.words[x], &self.b.words, is_taken) else { continue };
            self.partner[x] = Some(run.start);
            is_taken[run].fill(true);
        }
        for &y in &free_b {
            let is_paired: Vec<bool> = self.partner.iter().map(Option::is_some).collect();
            let Some(run) = spelled_out(&self.b.words[y], &self.a.words, &is_paired) else { continue };
            for x in run {
                self.partner[x] = Some(y);
            }
            is_taken[y] = true;
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
        let mut partner_of = vec![usize::MAX; self.b.words.len()];
        for (x, y) in self.partner.iter().enumerate() {
            if let Some(y) = *y {
                partner_of[y] = x;
            }
        }
        for (y, word) in self.b.words.iter().enumerate() {
            mask.fill(0);
            let first = names.partition_point(|&(stem, _)| stem < word.stem.as_str());
            for &(_, at) in names[first..].iter().take_while(|&&(stem, _)| stem == word.stem) {
                mask[at / 64] |= 1 << (at % 64);
            }
            if let Some(mask) = mask.get_mut(partner_of[y] / 64) {
                *mask |= 1 << (partner_of[y] % 64);
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

/// Pairs words of one stem, in order.
fn match_stems(a: &Text<'_>, b: &Text<'_>, partner: &mut [Option<usize>], is_taken: &mut [bool]) {
    let sorted = |text: &Text<'_>| -> Vec<usize> {
        let mut places: Vec<usize> = (0..text.words.len()).collect();
        places.sort_by(|&x, &y| text.words[x].stem.cmp(&text.words[y].stem));
        places
    };
    let (in_a, in_b) = (sorted(a), sorted(b));
    let (mut i, mut j) = (0, 0);
    while let (Some(&x), Some(&y)) = (in_a.get(i), in_b.get(j)) {
        match a.words[x].stem.cmp(&b.words[y].stem) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                partner[x] = Some(y);
                is_taken[y] = true;
                i += 1;
                j += 1;
            }
        }
    }
}

/// The words that `word` is written together from, or whose initials it is, none of them paired.
fn spelled_out(word: &Word, words: &[Word], is_paired: &[bool]) -> Option<std::ops::Range<usize>> {
    let letters = word.lower.len();
    if !word.is_letters || !(2..=40).contains(&letters) {
        return None;
    }
    for start in 0..words.len() {
        if is_paired[start] || !words[start].is_letters {
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
            if is_joined && members.iter().all(|word| word.is_letters) && run.clone().any(|at| !is_paired[at]) {
                return Some(run);
            }
        }
        if word.case == Case::Upper
            && let Some(members) = words.get(start..start + letters)
            && members
                .iter()
                .zip(word.lower.bytes())
                .all(|(part, initial)| part.lower.bytes().next() == Some(initial))
            && (start..start + letters).all(|at| !is_paired[at])
        {
            return Some(start..start + letters);
        }
    }
    None
}

fn is_written_name(word: &Word) -> bool {
    word.case != Case::Lower && !word.is_initial
}

/// The table of antonyms has the two.
#[must_use]
pub fn is_hand_antonym(x: &Word, y: &Word, tables: &Tables) -> bool {
    hand_antonym(x, y, tables) == Some(true)
}

/// What the table of antonyms tells of two words: opposites, expressly none, or nothing.
#[must_use]
pub fn hand_antonym(x: &Word, y: &Word, tables: &Tables) -> Option<bool> {
    tables.antonyms.get(&x.stem)?.get(&y.stem).copied()
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
