//! Every kernel against the dull definition: one harness, all widths, lengths, offsets and ties.

mod dull;

use bsc_core::codes::{self, GROUP_ROWS, HEAD_SLICES, SLICED_WORDS, TAIL_SLICES};
use bsc_core::{Codes, Error, Filter, Hamming, Isa, Nearest, Sliced, Workers};
use dull::Random;
use proptest::prelude::*;

fn dull_nearest(query: &[u64], codes: &[u64], greatest: u32, admits: impl Fn(usize) -> bool) -> Option<Nearest> {
    let rows = codes.chunks_exact(query.len()).enumerate().filter(|(row, _)| admits(*row));
    let found = rows.map(|(row, code)| Nearest { distance: dull::distance(query, code), row });
    found.filter(|found| found.distance <= greatest).min()
}

fn dull_within(query: &[u64], codes: &[u64], greatest: u32, limit: usize) -> Vec<Nearest> {
    let rows = codes.chunks_exact(query.len()).enumerate();
    let found = rows.map(|(row, code)| Nearest { distance: dull::distance(query, code), row });
    let mut found: Vec<_> = found.filter(|found| found.distance <= greatest).collect();
    found.sort();
    found.truncate(limit);
    found
}

/// Codes in which ties are common: each row is a copy of one of four rows with up to three bits flipped.
fn codes_with_ties(random: &mut Random, rows: usize, n_words: usize) -> Vec<u64> {
    let centres = random.words(4 * n_words);
    let mut codes = Vec::with_capacity(rows * n_words);
    for _ in 0..rows {
        let mut code = centres[random.below(4) * n_words..][..n_words].to_vec();
        for _ in 0..random.below(4) {
            let bit = random.below(n_words * 64);
            code[bit / 64] ^= 1 << (bit % 64);
        }
        codes.extend(code);
    }
    codes
}

/// The same rows in another form: the first `groups` groups sliced.
struct PartlySliced {
    heads: Vec<u16>,
    tails: Vec<u16>,
    rest: Vec<u64>,
}

impl PartlySliced {
    fn new(codes: &[u64], groups: usize) -> Self {
        let (sliced, rest) = codes.split_at(groups * GROUP_ROWS * SLICED_WORDS);
        let mut heads = vec![0; groups * GROUP_ROWS * HEAD_SLICES];
        let mut tails = vec![0; groups * GROUP_ROWS * TAIL_SLICES];
        codes::slice(sliced, &mut heads, &mut tails).unwrap();
        Self { heads, tails, rest: rest.to_vec() }
    }

    fn codes(&self) -> Codes<'_> {
        Codes { sliced: Sliced::new(&self.heads, &self.tails).unwrap(), rest: &self.rest }
    }
}

/// All forms that codes can be given in: none sliced, as many as can be, and half of these.
fn forms(codes: &[u64], n_words: usize) -> Vec<PartlySliced> {
    let most = if n_words == SLICED_WORDS { codes.len() / (SLICED_WORDS * GROUP_ROWS) } else { 0 };
    let mut groups = vec![0, most / 2, most];
    groups.dedup();
    groups.into_iter().map(|groups| PartlySliced::new(codes, groups)).collect()
}

#[test]
fn every_kernel_finds_what_the_definition_finds_at_every_width_length_and_offset() {
    for isa in dull::isas() {
        let mut random = Random(1);
        for n_words in [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 31, 32, 33, 48, 63, 64] {
            let hamming = Hamming::new(n_words * 64, isa).unwrap();
            // Every length for the widths with a kernel of their own; elsewhere a stride that meets every remainder.
            let stride = if [1, 4, 5].contains(&n_words) { 1 } else { 37 };
            for rows in (0..=40).chain((41..=300).step_by(stride)).chain([300]) {
                let offset = random.below(8);
                let buffer = [random.words(offset), codes_with_ties(&mut random, rows, n_words)].concat();
                let codes = &buffer[offset..];
                let mut query = match rows {
                    0 => random.words(n_words),
                    _ => codes[random.below(rows) * n_words..][..n_words].to_vec(),
                };
                query[0] ^= random.word() & random.word() & random.word() & random.word();
                check_one(&hamming, &query, codes, &mut random);
            }
        }
    }
}

fn check_one(hamming: &Hamming, query: &[u64], codes: &[u64], random: &mut Random) {
    let rows = codes.len() / query.len();
    let label = format!("{} {} words {rows} rows", hamming.isa().name(), query.len());
    let mut distances = vec![0; rows];
    hamming.distances(query, codes, &mut distances).unwrap();
    let expected: Vec<_> = codes.chunks_exact(query.len()).map(|code| dull::distance(query, code)).collect();
    assert_eq!(distances, expected, "{label}");

    let live: Vec<u8> = (0..rows.div_ceil(8)).map(|_| random.word().to_le_bytes()[0]).collect();
    let is_live = |row: usize| live[row / 8] >> (row % 8) & 1 == 1;
    let mut chosen: Vec<i32> = (0..i32::try_from(rows).unwrap()).filter(|_| random.below(2) == 0).collect();
    chosen.reverse();
    let mut chosen_rows = vec![false; rows];
    for &row in &chosen {
        chosen_rows[usize::try_from(row).unwrap()] = true;
    }
    let is_chosen = |row: usize| chosen_rows[row];
    let scope_of: Vec<i32> = chosen_rows.iter().map(|&is_chosen| if is_chosen { 7 } else { -7 }).collect();
    for form in forms(codes, query.len()) {
        let label = format!("{label}, {} sliced", form.codes().sliced.rows());
        let form = form.codes();
        for threshold in [0.0, 0.5, 0.9, 1.0] {
            let greatest = hamming.greatest_distance(threshold).unwrap();
            let all = Filter::default();
            let nearest = dull_nearest(query, codes, greatest, |_| true);
            assert_eq!(hamming.nearest(query, form, threshold, all), Ok(nearest), "{label}");
            let alive = Filter { live: Some(&live), ..all };
            let nearest = dull_nearest(query, codes, greatest, is_live);
            assert_eq!(hamming.nearest(query, form, threshold, alive), Ok(nearest), "{label}");
            if [4, 5].contains(&query.len()) {
                let (queries, nearest) = around(query, codes, greatest, is_live);
                assert_eq!(hamming.nearest_batch(&queries, form, threshold, alive), Ok(nearest), "batch {label}");
            }
            let scoped = Filter { rows: Some(&chosen), ..all };
            let nearest = dull_nearest(query, codes, greatest, is_chosen);
            assert_eq!(hamming.nearest(query, form, threshold, scoped), Ok(nearest), "{label}");
            assert_eq!(hamming.nearest_batch(query, form, threshold, scoped), Ok(vec![nearest]), "{label}");
            let both = Filter { live: Some(&live), rows: Some(&chosen), ..all };
            let nearest = dull_nearest(query, codes, greatest, |row| is_live(row) && is_chosen(row));
            assert_eq!(hamming.nearest(query, form, threshold, both), Ok(nearest), "{label}");
            let in_scope = Filter { live: Some(&live), scope: Some((&scope_of, 7)), ..all };
            assert_eq!(hamming.nearest(query, form, threshold, in_scope), Ok(nearest), "{label}");
            assert_eq!(hamming.nearest_batch(query, form, threshold, in_scope), Ok(vec![nearest]), "{label}");
            for limit in [0, 1, 7, usize::MAX] {
                let among_rows = hamming.within(query, form, threshold, limit, both);
                assert_eq!(hamming.within(query, form, threshold, limit, in_scope), among_rows, "{label}");
                let within = dull_within(query, codes, greatest, limit);
                assert_eq!(hamming.within(query, form, threshold, limit, all), Ok(within), "{label}");
            }
            let within = hamming.within(query, form, threshold, 3, scoped).unwrap();
            assert_eq!(within.first().copied(), dull_nearest(query, codes, greatest, is_chosen), "{label}");
        }
    }
}

/// A batch of `query` and others around it, enough for kernels that take many at once, and what they find.
fn around(
    query: &[u64],
    codes: &[u64],
    greatest: u32,
    admits: impl Fn(usize) -> bool,
) -> (Vec<u64>, Vec<Option<Nearest>>) {
    let mut queries = query.repeat(5);
    for (i, query) in queries.chunks_exact_mut(query.len()).enumerate() {
        query[0] ^= (1 << i) - 1;
    }
    let found = queries.chunks_exact(query.len()).map(|query| dull_nearest(query, codes, greatest, &admits));
    let found = found.collect();
    (queries, found)
}

/// Enough groups for every turn of the scan: chunks of few and of many groups to be counted whole, queues that fill up
/// and that do not; rows on either side of each bound; and a bound that shrinks on the way.
#[test]
fn every_kernel_finds_in_many_sliced_rows_what_scalar_finds_row_by_row() {
    let mut random = Random(5);
    let scalar = Hamming::new(256, Isa::Scalar).unwrap();
    // Set for emulators, which need a minute a turn.
    let turns = if std::env::var("BSC_TEST_PAIRS").is_ok() { 3 } else { 9 };
    let rows = 48 * 1024 + 17;
    let uniform = random.words(rows * 4);
    let centres = random.words(20 * 4);
    let mut clustered = Vec::with_capacity(rows * 4);
    for _ in 0..rows {
        let centre = &centres[random.below(20) * 4..][..4];
        clustered.extend(centre.iter().map(|word| word ^ (random.word() & random.word() & random.word())));
    }
    // Uniform rows, then 300 groups of near ones, then uniform rows again.
    let mut mixed = uniform.clone();
    mixed[20_000 * 4..29_600 * 4].copy_from_slice(&clustered[20_000 * 4..29_600 * 4]);
    for (name, codes) in [("uniform", uniform), ("clustered", clustered), ("mixed", mixed)] {
        let live: Vec<u8> = (0..rows.div_ceil(8)).map(|_| random.word().to_le_bytes()[0]).collect();
        let forms = forms(&codes, 4);
        for turn in 0..turns {
            let mut query = match turn % 3 {
                0 => random.words(4),
                1 => centres[random.below(20) * 4..][..4].to_vec(),
                _ => codes[random.below(rows) * 4..][..4].to_vec(),
            };
            query[turn % 4] ^= random.word() & random.word();
            let nearest = scalar.nearest(&query, &codes, 0.0, Filter::default()).unwrap().unwrap();
            // The nearest row is at this threshold, and just not at the next.
            let exact = scalar.similarity(nearest.distance);
            for threshold in [exact, exact.next_up().min(1.0), 0.95, 0.90, 0.85, 0.80, 0.78, 0.70, 0.60, 0.0] {
                for live in [None, Some(&live[..])] {
                    let filter = Filter { live, ..Filter::default() };
                    let nearest = scalar.nearest(&query, &codes, threshold, filter);
                    let within = scalar.within(&query, &codes, threshold, 5, filter);
                    for hamming in dull::isas().into_iter().map(|isa| Hamming::new(256, isa).unwrap()) {
                        let label = format!("{} {name} {threshold} {}", hamming.isa().name(), live.is_some());
                        for form in &forms {
                            let form = form.codes();
                            assert_eq!(hamming.nearest(&query, form, threshold, filter), nearest, "{label}");
                            let batch = hamming.nearest_batch(&query.repeat(5), form, threshold, filter);
                            assert_eq!(batch, nearest.clone().map(|nearest| vec![nearest; 5]), "{label}");
                            if threshold > 0.75 {
                                assert_eq!(hamming.within(&query, form, threshold, 5, filter), within, "{label}");
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_sliced_row_exactly_at_the_threshold_is_found_wherever_it_stands() {
    for hamming in dull::isas().into_iter().map(|isa| Hamming::new(256, isa).unwrap()) {
        let mut random = Random(6);
        for distance in 0..=256_u32 {
            let rows = GROUP_ROWS * 3;
            let query = random.words(4);
            // Everything else is as far as can be.
            let mut codes: Vec<u64> = (0..rows).flat_map(|_| query.iter().map(|word| !word)).collect();
            let row = random.below(rows);
            let mut bits: Vec<usize> = (0..256).collect();
            for place in 0..256 {
                bits.swap(place, place + random.below(256 - place));
            }
            codes[row * 4..][..4].copy_from_slice(&query);
            for &bit in &bits[..distance as usize] {
                codes[row * 4 + bit / 64] ^= 1 << (bit % 64);
            }
            let form = PartlySliced::new(&codes, 3);
            let threshold = hamming.similarity(distance);
            let row = if distance == 256 { 0 } else { row };
            let found = hamming.nearest(&query, form.codes(), threshold, Filter::default());
            assert_eq!(found, Ok(Some(Nearest { distance, row })), "{}", hamming.isa().name());
            if distance > 0 {
                let above = threshold.next_up();
                assert_eq!(hamming.nearest(&query, form.codes(), above, Filter::default()), Ok(None));
            }
        }
    }
}

#[test]
fn sliced_codes_read_back_row_by_row() {
    let codes = Random(7).words(5 * GROUP_ROWS * SLICED_WORDS);
    let form = PartlySliced::new(&codes, 5);
    for (row, code) in codes.chunks_exact(SLICED_WORDS).enumerate() {
        assert_eq!(form.codes().sliced.code(row), code);
        let row = i32::try_from(row).unwrap();
        assert_eq!(form.codes().sliced.codes_of(&[row, 3]), Ok([code, &codes[12..16]].concat()));
    }
    for row in [-1, 160] {
        assert!(matches!(form.codes().sliced.codes_of(&[0, row]), Err(Error::Row { .. })));
    }
    // Bit 16 s + b of a code is bit b of slice s, and the tails go on where the heads end.
    let bit = |row: usize, bit: usize| codes[row * 4 + bit / 64] >> (bit % 64) & 1;
    for (row, at) in [(0, 0), (1, 17), (33, 143), (159, 100)] {
        let place = (row / 32 * HEAD_SLICES + at / 16) * 32 + row % 32;
        assert_eq!(u64::from(form.heads[place] >> (at % 16) & 1), bit(row, at));
    }
    for (row, at) in [(0, 144), (40, 255)] {
        let place = (row / 32 * TAIL_SLICES + at / 16 - HEAD_SLICES) * 32 + row % 32;
        assert_eq!(u64::from(form.tails[place] >> (at % 16) & 1), bit(row, at));
    }
}

/// 1e8 pairs in the ordinary run: every available kernel against the scalar one, which the harness above ties to the
/// definition. `BSC_TEST_PAIRS` sets another number, for emulators.
#[test]
fn every_kernel_agrees_with_scalar_on_1e8_pairs() {
    let pairs = std::env::var("BSC_TEST_PAIRS").map_or(100_000_000, |pairs| pairs.parse().unwrap());
    let rows = 20_000;
    let mut random = Random(2);
    let codes = random.words(rows * 4);
    let scalar = Hamming::new(256, Isa::Scalar).unwrap();
    let others: Vec<_> = dull::isas().into_iter().skip(1).map(|isa| Hamming::new(256, isa).unwrap()).collect();
    let (mut expected, mut got) = (vec![0; rows], vec![0; rows]);
    let mut compared = 0;
    while compared < pairs {
        let query = random.words(4);
        scalar.distances(&query, &codes, &mut expected).unwrap();
        let nearest = scalar.nearest(&query, &codes, 0.6, Filter::default()).unwrap();
        for other in &others {
            other.distances(&query, &codes, &mut got).unwrap();
            assert_eq!(got, expected, "{}", other.isa().name());
            assert_eq!(other.nearest(&query, &codes, 0.6, Filter::default()), Ok(nearest));
        }
        compared += rows * others.len().max(1);
    }
    println!("compared {compared} pairs on {} kernels", others.len() + 1);
}

#[test]
fn a_batch_gives_what_single_queries_give() {
    for isa in dull::isas() {
        let hamming = Hamming::new(256, isa).unwrap();
        let mut random = Random(3);
        let codes = codes_with_ties(&mut random, 1_500, 4);
        let queries = [codes[..40].to_vec(), random.words(40)].concat();
        let batch = hamming.nearest_batch(&queries, &codes, 0.7, Filter::default()).unwrap();
        let single = queries.chunks_exact(4).map(|query| hamming.nearest(query, &codes, 0.7, Filter::default()));
        assert_eq!(batch, single.collect::<Result<Vec<_>, _>>().unwrap());
    }
}

#[test]
fn any_number_of_threads_finds_the_same() {
    let mut random = Random(8);
    // Rows at the end that fill no group, and ties that lie in parts of different threads.
    let rows = 600 * 1024 + 7;
    let mut codes = random.words(rows * 4);
    codes.copy_within(..4 * 1024, 4 * 500_000);
    let queries = [codes[4 * 500_000..][..4 * 6].to_vec(), random.words(4 * 6)].concat();
    let live: Vec<u8> = (0..rows.div_ceil(8)).map(|_| random.word().to_le_bytes()[0]).collect();
    for isa in dull::isas() {
        let one = Hamming::new(256, isa).unwrap();
        for form in forms(&codes, 4) {
            for live in [None, Some(&live[..])] {
                let filter = Filter { live, ..Filter::default() };
                let nearest = one.nearest(&queries[..4], form.codes(), 0.6, filter);
                let batch = one.nearest_batch(&queries, form.codes(), 0.6, filter);
                assert!(live.is_some() || nearest == Ok(Some(Nearest { distance: 0, row: 0 })));
                for threads in 2..5 {
                    let many = one.with_workers(Workers::new(threads).unwrap());
                    let label = format!("{} {threads} threads", isa.name());
                    assert_eq!(many.nearest(&queries[..4], form.codes(), 0.6, filter), nearest, "{label}");
                    assert_eq!(many.nearest_batch(&queries, form.codes(), 0.6, filter), batch, "{label}");
                }
            }
        }
    }
}

#[test]
fn all_similarities_are_those_of_the_pairs_in_every_batch_by_every_kernel() {
    let mut random = Random(9);
    for isa in dull::isas() {
        for (code_bits, m, n) in [(256, 1, 700), (256, 5, 0), (256, 37, 701), (250, 6, 160), (64, 9, 40)] {
            let one = Hamming::new(code_bits, isa).unwrap();
            let mask = u64::MAX >> (one.n_words() * 64 - code_bits);
            let mut codes = |rows| -> Vec<u64> {
                let mut words = random.words(rows * one.n_words());
                words.chunks_exact_mut(one.n_words()).for_each(|code| code[one.n_words() - 1] &= mask);
                words
            };
            let (a, mut b) = (codes(m), codes(n));
            if n > 0 {
                // The greatest distance that there is.
                b[..4.min(one.n_words())]
                    .copy_from_slice(&a.iter().map(|word| !word).collect::<Vec<_>>()[..one.n_words()]);
                b[one.n_words() - 1] &= mask;
            }
            let similarity = |distance: u32| {
                #[allow(clippy::cast_possible_truncation, reason = "rounded to float32, as documented")]
                let rounded = one.similarity(distance) as f32;
                rounded
            };
            let pairs =
                a.chunks_exact(one.n_words()).flat_map(|a| b.chunks_exact(one.n_words()).map(move |b| (a, b)));
            let expected: Vec<f32> = pairs.map(|(a, b)| similarity(dull::distance(a, b))).collect();
            assert_eq!(one.all_similarities(&a, &b), Ok(expected), "{} {code_bits} {m} x {n}", isa.name());
        }
        let (a, b) = (random.words(300 * 4), random.words(2000 * 4));
        let one = Hamming::new(256, isa).unwrap();
        let many = one.with_workers(Workers::new(3).unwrap());
        assert_eq!(many.all_similarities(&a, &b), one.all_similarities(&a, &b), "{}", isa.name());
    }
}

#[test]
fn all_similarities_are_those_of_the_pairs() {
    let hamming = Hamming::new(256, Isa::best()).unwrap();
    let mut random = Random(4);
    let (a, b) = (random.words(3 * 4), random.words(700 * 4));
    let similarities = hamming.all_similarities(&a, &b).unwrap();
    assert_eq!(similarities.len(), 3 * 700);
    for (i, similarity) in similarities.iter().enumerate() {
        let distance = dull::distance(&a[i / 700 * 4..][..4], &b[i % 700 * 4..][..4]);
        assert!((f64::from(*similarity) - (1.0 - f64::from(distance) / 256.0)).abs() < 1e-7);
    }
}

#[test]
fn wrong_input_is_an_error() {
    let hamming = Hamming::new(100, Isa::Scalar).unwrap();
    let all = Filter::default();
    assert!(matches!(hamming.nearest(&[0], &[0; 4], 0.5, all), Err(Error::Dimension { .. })));
    assert!(matches!(hamming.nearest(&[0; 2], &[0; 3], 0.5, all), Err(Error::Dimension { .. })));
    assert!(matches!(hamming.nearest(&[0, 1 << 36], &[], 0.5, all), Err(Error::UnusedBits { code_bits: 100 })));
    for threshold in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert!(matches!(hamming.nearest(&[0; 2], &[], threshold, all), Err(Error::Threshold(_))));
    }
    for row in [-1, 2, i32::MAX, i32::MIN] {
        let filter = Filter { rows: Some(&[row]), ..all };
        assert!(matches!(hamming.nearest(&[0; 2], &[0; 4], 0.5, filter), Err(Error::Row { .. })));
    }
    for filter in [Filter { live: Some(&[]), ..all }, Filter { scope: Some((&[0], 0)), ..all }] {
        assert!(matches!(hamming.nearest(&[0; 2], &[0; 4], 0.5, filter), Err(Error::Dimension { .. })));
    }
    assert!(Hamming::new(0, Isa::Scalar).is_err());
    let form = PartlySliced::new(&[0; 32 * 4], 1);
    assert!(matches!(hamming.nearest(&[0; 2], form.codes(), 0.5, all), Err(Error::Dimension { .. })));
    assert!(matches!(Sliced::new(&form.heads[1..], &form.tails), Err(Error::Dimension { .. })));
    assert!(matches!(Sliced::new(&form.heads, &[]), Err(Error::Dimension { .. })));
    let (mut heads, mut tails) = (form.heads.clone(), form.tails.clone());
    for wrong in [0, 4, 31 * 4, 33 * 4, 64 * 4] {
        assert!(matches!(codes::slice(&vec![0; wrong], &mut heads, &mut tails), Err(Error::Dimension { .. })));
    }
    assert!(Hamming::new(usize::MAX, Isa::Scalar).is_err());
}

proptest! {
    #[test]
    fn the_greatest_distance_is_the_last_that_reaches_the_threshold(bits in 1_usize..5_000, threshold in 0.0..=1.0_f64) {
        let hamming = Hamming::new(bits, Isa::Scalar).unwrap();
        let greatest = hamming.greatest_distance(threshold).unwrap();
        prop_assert!(hamming.similarity(greatest) >= threshold);
        prop_assert!(greatest as usize == bits || hamming.similarity(greatest + 1) < threshold);
    }

    #[test]
    fn a_row_exactly_at_the_threshold_is_found(distance in 0_u32..=256) {
        let hamming = Hamming::new(256, Isa::best()).unwrap();
        let mut code = [0_u64; 4];
        for bit in 0..distance as usize {
            code[bit / 64] |= 1 << (bit % 64);
        }
        let threshold = hamming.similarity(distance);
        let found = hamming.nearest(&[0; 4], &code, threshold, Filter::default()).unwrap();
        prop_assert_eq!(found, Some(Nearest { distance, row: 0 }));
        if distance > 0 {
            let above = threshold.next_up();
            prop_assert_eq!(hamming.nearest(&[0; 4], &code, above, Filter::default()).unwrap(), None);
        }
    }
}
