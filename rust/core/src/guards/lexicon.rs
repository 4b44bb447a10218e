//! The lexicon: English words and their relations, read from the bytes that `scripts/build-lexicon` writes.
//!
//! The checksum is verified once; after that every read is still bounds-checked and a record that makes no sense is
//! a word that is not there, so no file can cause a panic. The format is described in that script.

use crate::Error;
use crate::checksum::crc32;

const MAGIC: &[u8] = b"BSCLEX";
const VERSION: u16 = 1;
const BLOCK: usize = 16;
const CHECKED_FROM: usize = 12;
const HEADER: usize = 40;
/// Longer words are in no lexicon.
const LONGEST: usize = 40;

/// A word's entry. Numbers name other lemmas and synsets of the same lexicon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lemma {
    /// Its own number.
    pub id: u32,
    /// Written with a capital in all its senses.
    pub is_name: bool,
    /// Synsets, the most frequent of each part of speech first.
    pub senses: Vec<u32>,
    /// Direct antonyms.
    pub antonyms: Vec<u32>,
    /// Derivationally related words.
    pub derived: Vec<u32>,
    /// What this is an irregular form of.
    pub bases: Vec<u32>,
}

/// A synset's relations to other synsets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Synset {
    /// Direct hypernyms.
    pub hypernyms: Vec<u32>,
    /// Adjectives of similar meaning.
    pub similar: Vec<u32>,
    /// Synsets that hold an antonym of one of its words.
    pub antonyms: Vec<u32>,
}

/// Words and relations, over bytes that stay as they are.
pub struct Lexicon {
    bytes: Box<[u8]>,
    lemmas: usize,
    synsets: usize,
    first_verb: u32,
    first_adjective: u32,
    synset_index: usize,
    lemma_data: usize,
    synset_data: usize,
}

impl Lexicon {
    /// The lexicon in `bytes`.
    ///
    /// # Errors
    ///
    /// [`Error::Lexicon`] for bytes that are damaged, cut short or something else; [`Error::LexiconVersion`] for
    /// another version of the format.
    pub fn read(bytes: impl Into<Box<[u8]>>) -> Result<Self, Error> {
        let bytes = bytes.into();
        if bytes.len() < HEADER || !bytes.starts_with(MAGIC) {
            return Err(Error::Lexicon { what: "no lexicon header" });
        }
        let version = u16::from_le_bytes([bytes[6], bytes[7]]);
        if version != VERSION {
            return Err(Error::LexiconVersion { expected: VERSION, got: version });
        }
        let field = |number: usize| number_at(&bytes, CHECKED_FROM + 4 * number).unwrap_or(0);
        let size = |number: usize| field(number) as usize;
        let (lemmas, synsets) = (size(0), size(1));
        let synset_index = HEADER + 4 * lemmas.div_ceil(BLOCK);
        let lemma_data = synset_index + 4 * synsets.div_ceil(BLOCK);
        let synset_data = lemma_data + size(5);
        if bytes.len() != synset_data + size(6) {
            return Err(Error::Lexicon { what: "another length than its header tells" });
        }
        if number_at(&bytes, CHECKED_FROM - 4) != Some(crc32(&bytes[CHECKED_FROM..], 0)) {
            return Err(Error::Lexicon { what: "a checksum that is wrong" });
        }
        let (first_verb, first_adjective) = (field(2), field(3));
        Ok(Self { bytes, lemmas, synsets, first_verb, first_adjective, synset_index, lemma_data, synset_data })
    }

    /// Number of words.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lemmas
    }

    /// Whether there are no words.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lemmas == 0
    }

    /// The entry of a word in lower case.
    #[must_use]
    pub fn find(&self, word: &str) -> Option<Lemma> {
        let word = word.as_bytes();
        if word.is_empty() || word.len() > LONGEST || !word.is_ascii() {
            return None;
        }
        // The last block whose first word is not above `word`.
        let (mut low, mut high) = (0, self.lemmas.div_ceil(BLOCK));
        while low < high {
            let middle = usize::midpoint(low, high);
            let mut reader = self.lemma_block(middle)?;
            reader.byte()?;
            let length = usize::from(reader.byte()?);
            if reader.take(length)? <= word { low = middle + 1 } else { high = middle }
        }
        let block = low.checked_sub(1)?;
        let mut reader = self.lemma_block(block)?;
        // How many letters of `word` the word before this record shares with it; records are sorted, so a record
        // that shares fewer letters with its predecessor than this stands behind `word`.
        let mut agreed = 0;
        for number in block * BLOCK..((block + 1) * BLOCK).min(self.lemmas) {
            let shared = usize::from(reader.byte()?);
            let length = usize::from(reader.byte()?);
            let tail = reader.take(length)?;
            let flags = reader.byte()?;
            let size = reader.varint()? as usize;
            let body = reader.take(size)?;
            if shared < agreed {
                return None;
            }
            if shared == agreed {
                let rest = word.get(agreed..)?;
                agreed += tail.iter().zip(rest).take_while(|(x, y)| x == y).count();
                if agreed == word.len() && shared + length == word.len() {
                    return lemma(u32::try_from(number).ok()?, flags, body);
                }
            }
        }
        None
    }

    /// The entry with this number.
    #[must_use]
    pub fn lemma(&self, id: u32) -> Option<Lemma> {
        let number = id as usize;
        let mut reader = self.lemma_block(number / BLOCK)?;
        for at in number / BLOCK * BLOCK..=number.min(self.lemmas.checked_sub(1)?) {
            reader.byte()?;
            let length = usize::from(reader.byte()?);
            reader.take(length)?;
            let flags = reader.byte()?;
            let size = reader.varint()? as usize;
            let body = reader.take(size)?;
            if at == number {
                return lemma(id, flags, body);
            }
        }
        None
    }

    /// The synset with this number; one that is not there has no relations.
    #[must_use]
    pub fn synset(&self, id: u32) -> Synset {
        self.read_synset(id).unwrap_or_default()
    }

    /// Whether a synset is of verbs.
    #[must_use]
    pub fn is_verb(&self, synset: u32) -> bool {
        (self.first_verb..self.first_adjective).contains(&synset)
    }

    fn read_synset(&self, id: u32) -> Option<Synset> {
        let number = id as usize;
        if number >= self.synsets {
            return None;
        }
        let begin = number_at(&self.bytes, self.synset_index + 4 * (number / BLOCK))? as usize;
        let mut reader = Reader(self.bytes.get(self.synset_data + begin..)?);
        for at in number / BLOCK * BLOCK..=number {
            let flags = reader.byte()?;
            let size = reader.varint()? as usize;
            let body = reader.take(size)?;
            if at == number {
                let mut reader = Reader(body);
                let mut list = |bit: u8| if flags & bit == 0 { Some(Vec::new()) } else { reader.relative(id) };
                return Some(Synset { hypernyms: list(1)?, similar: list(2)?, antonyms: list(4)? });
            }
        }
        None
    }

    fn lemma_block(&self, block: usize) -> Option<Reader<'_>> {
        let at = HEADER + 4 * block;
        if at >= self.synset_index {
            return None;
        }
        let begin = number_at(&self.bytes, at)? as usize;
        self.bytes.get(self.lemma_data + begin..self.synset_data).map(Reader)
    }
}

fn lemma(id: u32, flags: u8, body: &[u8]) -> Option<Lemma> {
    let mut reader = Reader(body);
    let senses = if flags & 1 == 0 { Vec::new() } else { reader.absolute()? };
    let mut list = |bit: u8| if flags & bit == 0 { Some(Vec::new()) } else { reader.relative(id) };
    let (antonyms, derived, bases) = (list(2)?, list(4)?, list(8)?);
    Some(Lemma { id, is_name: flags & 16 != 0, senses, antonyms, derived, bases })
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Reads on from where it stands; `None` at the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn varint(&mut self) -> Option<u32> {
        let mut value = 0;
        for shift in (0..32).step_by(7) {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn absolute(&mut self) -> Option<Vec<u32>> {
        // An entry takes a byte at least, so a length beyond the record ends in `None` and reserves nothing.
        let length = self.varint()?;
        (0..length).map(|_| self.varint()).collect()
    }

    fn relative(&mut self, own: u32) -> Option<Vec<u32>> {
        let length = self.varint()?;
        (0..length)
            .map(|_| {
                let coded = self.varint()?;
                let step = (coded >> 1).cast_signed() ^ -(coded & 1).cast_signed();
                Some(own.wrapping_add_signed(step))
            })
            .collect()
    }
}
