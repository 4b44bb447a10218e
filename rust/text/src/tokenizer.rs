//! From a text to the ids of its tokens: BERT's normalization and word pieces.
//!
//! The ids are those of the package `tokenizers` 0.23 with the published `tokenizer.json`. Rejected: that crate itself,
//! which brings sixty others, a C library for regular expressions that BERT has no use for, and half of the time; the
//! tests compare each character of Unicode with it.
//! Source: Devlin et al. 2018, section 3; `normalizers/bert.rs`, `pre_tokenizers/bert.rs` and `models/wordpiece` of
//! huggingface/tokenizers 0.23.

use std::collections::HashMap;

use serde_json::{Value, json};
use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::UnicodeNormalization;

use crate::Error;

/// Of a longer word no piece is looked for.
const MOST_CHARS_A_WORD: usize = 100;

/// The vocabulary, ready to encode.
#[derive(Debug)]
pub struct Tokenizer {
    /// Pieces that start a word.
    starts: HashMap<Box<str>, u32>,
    /// Pieces that continue one, without their mark `##`.
    continuations: HashMap<Box<str>, u32>,
    /// Tokens that stand for themselves wherever they are written.
    special: Vec<(Box<str>, u32)>,
    unknown: u32,
    first: u32,
    last: u32,
    longest: usize,
}

impl Tokenizer {
    /// Reads `tokenizer.json`. Its padding and truncation are not obeyed: the model has a window of its own. Every id must
    /// be below `words`.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] when it is damaged or asks for anything that is not written here.
    pub fn read(file: &[u8], words: usize) -> Result<Self, Error> {
        let other = |what: &str| Error::Tokenizer(what.to_owned());
        let settings: Value = serde_json::from_slice(file).map_err(|_| other("a damaged file"))?;
        let expected = json!({
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
            "lowercase": true
        });
        let model = &settings["model"];
        if settings["normalizer"] != expected
            || settings["pre_tokenizer"] != json!({"type": "BertPreTokenizer"})
            || model["unk_token"] != json!("[UNK]")
            || model["continuing_subword_prefix"] != json!("##")
            || model["max_input_chars_per_word"] != json!(MOST_CHARS_A_WORD)
        {
            return Err(other("other settings"));
        }
        let id =
            |value: &Value| value.as_u64().filter(|&id| id < words as u64).and_then(|id| u32::try_from(id).ok());
        let mut starts = HashMap::new();
        let mut continuations = HashMap::new();
        let mut longest = 0;
        for (piece, value) in model["vocab"].as_object().ok_or_else(|| other("no vocabulary"))? {
            let value = id(value).ok_or_else(|| other("a vocabulary with something else than ids"))?;
            longest = longest.max(piece.len());
            // "##" is the mark itself when nothing follows. No word starts with it: each sign is a word of its own.
            if let Some(rest) = piece.strip_prefix("##") {
                continuations.insert(rest.into(), value);
            }
            starts.insert(piece.as_str().into(), value);
        }
        let mut special = Vec::new();
        for token in settings["added_tokens"].as_array().ok_or_else(|| other("no special tokens"))? {
            let plain = ["single_word", "lstrip", "rstrip", "normalized"];
            match (token["content"].as_str(), id(&token["id"])) {
                (Some(content), Some(id)) if plain.iter().all(|&flag| token[flag] == json!(false)) => {
                    special.push((content.into(), id));
                }
                _ => return Err(other("other special tokens")),
            }
        }
        let named = |name: &str| starts.get(name).copied().ok_or_else(|| other("a vocabulary without marks"));
        let (unknown, first, last) = (named("[UNK]")?, named("[CLS]")?, named("[SEP]")?);
        Ok(Self { starts, continuations, special, unknown, first, last, longest })
    }

    /// The ids of the whole of `text`, between those that mark its start and end.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = vec![self.first];
        let mut rest = text;
        // Special tokens start with a bracket; the leftmost is taken.
        while let Some((at, content, id)) = self.next_special(rest) {
            self.encode_plain(&rest[..at], &mut ids);
            ids.push(id);
            rest = &rest[at + content.len()..];
        }
        self.encode_plain(rest, &mut ids);
        ids.push(self.last);
        ids
    }

    fn next_special(&self, text: &str) -> Option<(usize, &str, u32)> {
        text.match_indices('[').find_map(|(at, _)| {
            let found = self.special.iter().find(|(content, _)| text[at..].starts_with(&**content));
            found.map(|(content, id)| (at, &**content, *id))
        })
    }

    fn encode_plain(&self, text: &str, ids: &mut Vec<u32>) {
        let normal = normalize(text);
        for part in normal.split(char::is_whitespace) {
            let mut word = 0;
            for (at, sign) in part.char_indices().filter(|&(_, char)| is_punctuation(char)) {
                self.encode_word(&part[word..at], ids);
                word = at + sign.len_utf8();
                self.encode_word(&part[at..word], ids);
            }
            self.encode_word(&part[word..], ids);
        }
    }

    /// The longest piece that starts the word, then the longest that continues it, and so on.
    fn encode_word(&self, word: &str, ids: &mut Vec<u32>) {
        if word.len() > MOST_CHARS_A_WORD && word.chars().count() > MOST_CHARS_A_WORD {
            return ids.push(self.unknown);
        }
        let before = ids.len();
        let mut rest = word;
        while !rest.is_empty() {
            let pieces = if rest.len() == word.len() { &self.starts } else { &self.continuations };
            let ends = (1..=rest.len().min(self.longest)).rev().filter(|&end| rest.is_char_boundary(end));
            let mut found = ends.filter_map(|end| pieces.get(&rest[..end]).map(|&id| (end, id)));
            let Some((end, id)) = found.next() else {
                ids.truncate(before);
                return ids.push(self.unknown);
            };
            ids.push(id);
            rest = &rest[end..];
        }
    }
}

/// Without control characters and accents, in lower case, each Chinese character a word of its own.
fn normalize(text: &str) -> String {
    if text.is_ascii() {
        let kept =
            text.bytes().filter(|&byte| byte != 0x7f && (byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r')));
        return kept.map(|byte| if byte < b' ' { ' ' } else { char::from(byte.to_ascii_lowercase()) }).collect();
    }
    let spaced =
        text.chars().filter(|&char| char != '\0' && char != '\u{fffd}' && !is_control(char)).flat_map(|char| {
            let char = if char.is_whitespace() { ' ' } else { char };
            let space = is_chinese(char).then_some(' ');
            space.into_iter().chain([char]).chain(space)
        });
    let decomposed = spaced.nfd().map(|(char, _)| char).filter(|char| !char.is_mark_nonspacing());
    decomposed.flat_map(char::to_lowercase).collect()
}

fn is_control(char: char) -> bool {
    !matches!(char, '\t' | '\n' | '\r') && char.is_other()
}

fn is_punctuation(char: char) -> bool {
    char.is_ascii_punctuation() || !char.is_ascii() && char.is_punctuation()
}

/// The blocks of Chinese characters that BERT's authors list; one of them, 2B820 to 2B91F, is left out by tokenizers.
fn is_chinese(char: char) -> bool {
    matches!(
        u32::from(char),
        0x4E00..=0x9FFF
            | 0x3400..=0x4DBF
            | 0x20000..=0x2A6DF
            | 0x2A700..=0x2B73F
            | 0x2B740..=0x2B81F
            | 0x2B920..=0x2CEAF
            | 0xF900..=0xFAFF
            | 0x2F800..=0x2FA1F
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Tokenizer;

    fn settings() -> Value {
        let vocab = json!({
            "[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "un": 4, "##do": 5, "##ing": 6, "the": 7, "!": 8, "e": 9,
            "中": 10, "doing": 11, "##": 12
        });
        let special = |content: &str, id: u32| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        };
        json!({
            "added_tokens": [special("[PAD]", 0), special("[UNK]", 1), special("[CLS]", 2), special("[SEP]", 3)],
            "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                           "strip_accents": null, "lowercase": true},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                      "max_input_chars_per_word": 100, "vocab": vocab}
        })
    }

    fn ids(text: &str) -> Vec<u32> {
        let ids = Tokenizer::read(settings().to_string().as_bytes(), 13).unwrap().encode(text);
        assert_eq!((ids[0], ids[ids.len() - 1]), (2, 3));
        ids[1..ids.len() - 1].to_vec()
    }

    #[test]
    fn a_word_is_cut_into_the_longest_pieces() {
        assert_eq!(ids("undoing the doing"), [4, 5, 6, 7, 11]);
    }

    #[test]
    fn case_accents_and_control_characters_do_not_count() {
        assert_eq!(ids("  THE\u{7}\t\u{e9}\u{301}\n"), [7, 9]);
    }

    #[test]
    fn punctuation_and_chinese_characters_are_words_of_their_own() {
        assert_eq!(ids("the!!中e"), [7, 8, 8, 10, 9]);
    }

    #[test]
    fn a_word_with_an_unknown_rest_is_one_unknown_token() {
        assert_eq!(ids("unx the"), [1, 7]);
        assert_eq!(ids(&"e".repeat(101)), [1]);
    }

    #[test]
    fn special_tokens_stand_for_themselves_and_split_words() {
        assert_eq!(ids("the[SEP]the [sep"), [7, 3, 7, 1, 1]);
    }

    #[test]
    fn other_settings_are_refused() {
        for (pointer, value) in [
            ("/normalizer/lowercase", json!(false)),
            ("/pre_tokenizer/type", json!("Whitespace")),
            ("/model/max_input_chars_per_word", json!(50)),
            ("/model/vocab", json!(null)),
            ("/model/vocab/the", json!(-1)),
            ("/model/vocab/the", json!(13)),
            ("/added_tokens/0/id", json!(13)),
            ("/added_tokens/0/lstrip", json!(true)),
        ] {
            let mut settings = settings();
            *settings.pointer_mut(pointer).unwrap() = value;
            assert!(Tokenizer::read(settings.to_string().as_bytes(), 13).is_err(), "{pointer}");
        }
        assert!(Tokenizer::read(b"{", 13).is_err());
    }
}
