//! Guards on texts, and a lexicon on bytes, of which nothing is assumed.

use std::fs;
use std::path::PathBuf;

use bsc_core::Error;
use bsc_core::guards::{Guard, Guards, Lexicon, Meaning, TABLES, Tables, stem};
use proptest::prelude::*;

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "..", "python", "binary_semantic_cache", "text", "tables"].iter().collect()
}

fn lexicon_bytes() -> Vec<u8> {
    fs::read(folder().join("lexicon.bin")).expect("the lexicon is part of the source tree")
}

fn lexicon() -> Lexicon {
    Lexicon::read(lexicon_bytes()).expect("the shipped lexicon is whole")
}

fn guards() -> Guards {
    let texts = TABLES.map(|name| (name, fs::read_to_string(folder().join(format!("{name}.txt"))).unwrap()));
    let tables = Tables::parse(texts.iter().map(|(name, text)| (*name, text.lines().collect()))).unwrap();
    Guards::new(lexicon(), tables, &[])
}

fn names(guards: &Guards, a: &str, b: &str) -> Vec<&'static str> {
    guards.check(a, [b]).remove(0).into_iter().map(|veto| veto.guard.name()).collect()
}

fn meaning(word: &str) -> Meaning {
    Meaning::of(word, &lexicon())
}

#[test]
fn every_word_of_the_lexicon_is_found_under_its_own_number() {
    let lexicon = lexicon();
    assert!(lexicon.len() > 80_000);
    for word in ["aa", "cat", "catalogue", "zymurgy", "went", "paris", "zz"] {
        if let Some(lemma) = lexicon.find(word) {
            assert_eq!(lexicon.lemma(lemma.id), Some(lemma), "{word}");
        }
    }
    assert!(lexicon.find("cat").is_some());
}

#[test]
fn what_is_no_word_is_not_found() {
    let lexicon = lexicon();
    for text in ["", "a", "qwrtz", "Cat", "cat ", "käse", "catt", "zzzzzzzz", &"a".repeat(300)] {
        assert_eq!(lexicon.find(text), None, "{text}");
    }
    let behind = u32::try_from(lexicon.len()).unwrap();
    assert_eq!(lexicon.lemma(behind), None);
    assert_eq!(lexicon.lemma(u32::MAX), None);
    assert_eq!(lexicon.synset(u32::MAX), bsc_core::guards::Synset::default());
}

#[test]
fn the_lexicon_knows_how_words_are_related() {
    let lexicon = lexicon();
    assert!(meaning("purchase").is_synonym(&meaning("buying")));
    assert!(meaning("hot").is_antonym(&meaning("cold")));
    assert!(meaning("widened").is_antonym(&meaning("narrows")));
    assert!(meaning("decision").is_derived(&meaning("decide")));
    assert!(meaning("went").is_synonym(&meaning("going")));
    assert!(meaning("poodle").is_hypernym(&meaning("dog"), &lexicon));
    assert!(meaning("soggy").is_near_antonym(&meaning("arid"), &lexicon));
    assert!(!meaning("cat").is_synonym(&meaning("dog")));
    assert!(meaning("lisbon").is_name);
    assert!(!meaning("table").is_name);
}

#[test]
fn forms_of_a_word_have_one_stem() {
    for forms in [
        &["order", "orders", "ordered", "ordering"][..],
        &["price", "prices", "priced", "pricing"],
        &["city", "cities"],
        &["stop", "stops", "stopped", "stopping"],
        &["colour", "colors", "coloured"],
        &["organise", "organized", "organising"],
        &["centre", "centers"],
        &["travelled", "traveled", "traveling"],
        &["box", "boxes"],
        &["match", "matches", "matched"],
        &["enrolment", "enrollment"],
    ] {
        let stems: Vec<String> = forms.iter().map(|form| stem(form)).collect();
        assert!(stems.iter().all(|stem| *stem == stems[0]), "{stems:?}");
    }
    for (x, y) in [("bus", "bu"), ("news", "new"), ("fall", "fal"), ("thing", "th"), ("need", "ne")] {
        assert!(x == "news" || stem(x) != y, "{x}");
    }
}

#[test]
fn every_guard_has_a_name_of_its_own() {
    for guard in Guard::ALL {
        assert_eq!(Guard::by_name(guard.name()), Ok(guard));
    }
    assert!(matches!(Guard::by_name("Numbers"), Err(Error::Name { .. })));
}

#[test]
fn a_cut_lexicon_is_an_error_wherever_it_is_cut() {
    let bytes = lexicon_bytes();
    for length in (0..64).chain((64..bytes.len()).step_by(90_001)) {
        assert!(matches!(Lexicon::read(&bytes[..length]), Err(Error::Lexicon { .. })), "{length}");
    }
}

/// The checksum keeps accidents out; this is about bytes that were made to pass it.
#[test]
fn a_lexicon_with_a_forged_checksum_never_panics() {
    let bytes = lexicon_bytes();
    let mut state = 1_u64;
    for _ in 0..60 {
        let mut forged = bytes.clone();
        for _ in 0..400 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = 40 + usize::try_from(state >> 20).unwrap() % (forged.len() - 40);
            forged[at] = state.to_le_bytes()[1];
        }
        let sum = bsc_core::checksum::crc32(&forged[12..], 0);
        forged[8..12].copy_from_slice(&sum.to_le_bytes());
        let lexicon = Lexicon::read(forged).expect("the header is untouched");
        let words = ["cat", "hot", "buying", "zebra", "went", "a", "lisbon", "soggy"];
        for word in words {
            let x = Meaning::of(word, &lexicon);
            for other in words {
                let y = Meaning::of(other, &lexicon);
                let _ = (x.is_synonym(&y), x.is_antonym(&y), x.is_derived(&y));
                let _ = (x.is_hypernym(&y, &lexicon), x.is_near_antonym(&y, &lexicon));
            }
        }
    }
}

#[test]
fn a_line_that_is_no_entry_is_named_by_table_and_number() {
    let error = Tables::parse([("units", vec!["# length", "length 1 mm", "length -1 cm"])]).unwrap_err();
    assert_eq!(error, Error::TableLine { table: "units", line: 3, got: "length -1 cm".to_owned() });
    assert!(matches!(Tables::parse([("unit", vec![])]), Err(Error::Name { .. })));
}

#[test]
fn guards_report_only_what_they_were_asked_for() {
    let texts = ("Send 5 from Leeds to York", "Send 6 from York to Leeds");
    assert_eq!(names(&guards(), texts.0, texts.1), ["numbers", "roles"]);
    let few = Guards::new(lexicon(), Tables::default(), &[Guard::Numbers]);
    assert!(!few.enabled().contains(&Guard::Numbers));
}

proptest! {
    #[test]
    fn no_text_panics_or_vetoes_itself(text in any::<String>(), other in "[a-zA-Z0-9 '\"`.,:/@#$%_-]{0,60}") {
        let guards = guards();
        prop_assert!(guards.check(&text, [text.as_str()])[0].is_empty());
        prop_assert_eq!(names(&guards, &text, &other), names(&guards, &other, &text));
    }

    #[test]
    fn arbitrary_bytes_are_no_lexicon(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Lexicon::read(bytes).is_err());
    }
}
