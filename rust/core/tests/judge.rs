//! The judge on texts and models of which nothing is assumed.

use std::fs;
use std::path::PathBuf;

use bsc_core::Error;
use bsc_core::guards::{Guards, Lexicon, TABLES, Tables};
use bsc_core::judge::{Model, NAMES, features_of, score};
use bsc_core::rescore::{FLOAT32, INT8};
use proptest::prelude::*;

fn guards() -> Guards {
    let folder: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "..", "..", "python", "binary_semantic_cache", "text", "tables"]
            .iter()
            .collect();
    let texts = TABLES.map(|name| (name, fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap()));
    let tables = Tables::parse(texts.iter().map(|(name, text)| (*name, text.lines().collect()))).unwrap();
    Guards::new(Lexicon::read(fs::read(folder.join("lexicon.bin")).unwrap()).unwrap(), tables, &[])
}

fn head() -> String {
    format!(
        "judge 1\nfeatures {}\ndim 4\nsum -1.5 2 # of odds\nstyle 7f000000\nmatter 007f0081\n",
        NAMES.join(" ")
    )
}

fn tree(feature: usize, threshold: f32) -> String {
    let splits = format!("{feature}:{threshold} ").repeat(7);
    format!("tree {splits}-1 0 0 0 0 0 0 1\n")
}

fn stored(numbers: [f32; 4]) -> Vec<u8> {
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
    std::iter::once(FLOAT32).chain(bytes).collect()
}

const ASKED: [f32; 4] = [0.6, 0.8, 0.0, 0.0];

#[test]
fn a_probability_is_the_logistic_of_start_cosine_and_leaves() {
    let model = Model::read(&(head() + &tree(0, 0.5) + &tree(0, 0.5))).unwrap();
    for (numbers, sum) in [(ASKED, -1.5 + 2.0 + 2.0), ([0.0, 0.0, 1.0, 0.0], -1.5 - 2.0)] {
        let found = score(&model, &guards(), "one text", &ASKED, &[("another text", &stored(numbers))]);
        let expected = 1.0 / (1.0 + f64::exp(-sum));
        assert!((found[0].unwrap() - expected).abs() < 1e-12, "{found:?} {expected}");
    }
}

#[test]
fn a_difference_is_measured_along_both_kinds_of_directions() {
    let model = Model::read(&head()).unwrap();
    let at = |name: &str| NAMES.iter().position(|&known| known == name).unwrap();
    let rows = features_of(&model, &guards(), "a", &ASKED, &[("b", &stored([0.8, 0.6, 0.0, 0.0]))]);
    let row = rows[0].unwrap();
    // The difference is (-0.2, 0.2, 0, 0): half of it along the first axis, a quarter along the diagonal.
    for (name, expected) in
        [("cosine", 0.96), ("along_style", 0.5), ("along_matter", 0.25), ("style_share", 2.0 / 3.0)]
    {
        assert!((row[at(name)] - expected).abs() < 2e-3, "{name}: {}", row[at(name)]);
    }
}

#[test]
fn nothing_is_said_where_no_vector_is_kept_or_one_that_does_not_fit() {
    let model = Model::read(&head()).unwrap();
    let long = [&[INT8][..], &[0; 9]].concat();
    for vector in [&[][..], &[9, 9], &long, &stored([0.0; 4]), &stored([f32::NAN; 4])] {
        assert_eq!(score(&model, &guards(), "a", &ASKED, &[("b", vector)]), [None], "{vector:?}");
    }
    assert_eq!(score(&model, &guards(), "a", &ASKED[..3], &[("b", &stored(ASKED))]), [None]);
    assert_eq!(score(&model, &guards(), "a", &[f32::NAN; 4], &[("b", &stored(ASKED))]), [None]);
}

#[test]
fn a_model_that_is_cut_short_or_wrong_names_its_line() {
    let whole = head() + &tree(3, 0.25);
    let damaged = [
        (String::new(), 0),
        (whole.replace("dim 4", "dim 0"), 3),
        (whole.replace("sum -1.5", "sum nan"), 4),
        (whole.replace("style 7f", "style 7x"), 5),
        (whole.replace("style 7f", "style "), 5),
        (whole.replace("tree 3:", "tree 9999:"), 7),
        (whole.replace("0.25 -1", "0.25 inf"), 7),
        (whole.trim_end().trim_end_matches('1').to_owned(), 7),
        (whole.replace("cosine ", "cosinus "), 2),
    ];
    for (text, at) in damaged {
        match Model::read(&text) {
            Err(Error::Model { line, .. }) => assert_eq!(line, at, "{text}"),
            other => panic!("{other:?} of {text}"),
        }
    }
    assert!(matches!(Model::read("judge 2"), Err(Error::ModelVersion { .. })));
}

proptest! {
    #[test]
    fn every_feature_of_any_two_texts_is_finite(
        a in ".{0,60}|((how|not|to|from|cat|dogs|Paris|5|kg|large|big) ){0,12}",
        b in ".{0,60}|((how|not|to|from|cat|dogs|Paris|5|kg|large|big) ){0,12}",
    ) {
        let (model, guards) = (Model::read(&head()).unwrap(), guards());
        let rows = features_of(&model, &guards, &a, &ASKED, &[(&b, &stored(ASKED))]);
        for (name, number) in NAMES.iter().zip(rows[0].unwrap()) {
            prop_assert!(number.is_finite(), "{name}: {number}");
        }
    }

    #[test]
    fn no_text_makes_a_model_panic(text in ".{0,200}", tail in "(tree|style|matter) [0-9a-f:. -]{0,80}") {
        prop_assert!(Model::read(&text).is_err());
        drop(Model::read(&(head() + &tail)));
    }
}
