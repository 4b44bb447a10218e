//! Cosines of every kernel against integer arithmetic, number by number.

mod dull;

use bsc_core::rescore::{INT8, Query, Score};
use bsc_core::{Error, Isa};
use dull::Random;
use proptest::prelude::*;

/// The cosine by i128 sums over the query's numbers in units of a power of two, each cut off towards zero.
fn cosine(query: &[f32], levels: &[i8]) -> f64 {
    let greatest = query.iter().fold(0.0_f64, |most, &number| most.max(f64::from(number).abs()));
    let mut unit = 1.0_f64;
    while greatest / unit >= f64::from(1 << 30) {
        unit *= 2.0;
    }
    while greatest > 0.0 && greatest / unit < f64::from(1 << 29) {
        unit /= 2.0;
    }
    #[allow(clippy::cast_possible_truncation, reason = "below 2^30")]
    let whole = |number: f32| i128::from((f64::from(number) / unit) as i64);
    let product: i128 = query.iter().zip(levels).map(|(&number, &level)| whole(number) * i128::from(level)).sum();
    let square: i128 = levels.iter().map(|&level| i128::from(level) * i128::from(level)).sum();
    #[allow(clippy::cast_precision_loss, reason = "below 2^53")]
    let (product, square) = (product as f64, square as f64);
    if square > 0.0 { product * unit / square.sqrt() } else { 0.0 }
}

fn packed(levels: &[i8]) -> Vec<u8> {
    let levels = levels.iter().map(|level| level.cast_unsigned());
    [INT8, 0, 0, 0, 0].into_iter().chain(levels).collect()
}

fn check(query: &[f32], levels: &[i8]) {
    let expected = cosine(query, levels);
    for isa in dull::isas() {
        let found = Query::new(query, isa).unwrap().cosine(&packed(levels));
        assert_eq!(found, Score::Cosine(expected), "{} {}", isa.name(), query.len());
    }
}

#[test]
fn every_kernel_gives_the_same_bits_as_the_definition_at_every_length() {
    let mut random = Random(3);
    let lengths = (1..=130).chain([383, 384, 385, 1536, 2047, 2048, 2049, 4095, 4096, 4097, 4161, 9000]);
    for n in lengths {
        let levels: Vec<i8> =
            random.words(n).into_iter().map(|word| word.to_le_bytes()[0].cast_signed()).collect();
        check(&random.floats(n), &levels);
    }
}

#[test]
fn sums_of_the_greatest_numbers_do_not_overflow() {
    let below_one = 1.0 - f32::EPSILON / 2.0;
    for n in [384, 2048, 4096, 8192, 20_000] {
        for (number, level) in [(below_one, 127), (below_one, -128), (-below_one, -128), (-1.0, -128), (1.0, 127)]
        {
            check(&vec![number; n], &vec![level; n]);
        }
    }
}

#[test]
fn numbers_of_any_size_keep_their_cosine() {
    for size in [1e-30_f32, 1e-20, 1.0, 1e20, 3e38] {
        check(&[size, -size, 0.0, size / 3.0], &[127, 127, 5, -9]);
    }
    check(&[0.0; 7], &[1; 7]);
    check(&[1.0; 7], &[0; 7]);
}

#[test]
fn a_query_that_is_not_finite_has_no_cosine() {
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for isa in dull::isas() {
            let query = [1.0, wrong];
            let Score::Cosine(found) = Query::new(&query, isa).unwrap().cosine(&packed(&[1, 1])) else {
                panic!("expected a cosine")
            };
            assert!(found.is_nan(), "{wrong} {}", isa.name());
        }
    }
}

#[test]
fn an_instruction_set_of_another_machine_is_refused() {
    let absent = Isa::ALL.into_iter().find(|isa| !isa.is_available()).unwrap();
    assert!(matches!(Query::new(&[1.0], absent), Err(Error::Isa { .. })));
}

proptest! {
    #[test]
    fn whatever_the_numbers_all_kernels_agree(
        pairs in proptest::collection::vec((-1.0_f32..1.0, any::<i8>()), 1..200)
    ) {
        let (query, levels): (Vec<f32>, Vec<i8>) = pairs.into_iter().unzip();
        check(&query, &levels);
    }
}
