//! The hash table against a map of the standard library.

use std::collections::HashMap;

use bsc_core::codes::slice;
use bsc_core::table::{EMPTY, Table};
use bsc_core::{Codes, Error, Sliced};
use proptest::prelude::*;

proptest! {
    #[test]
    fn inserting_finding_and_removing_agree_with_a_map(
        key: u64,
        steps in proptest::collection::vec((0_u8..3, 0_i32..40), 0..400),
    ) {
        // Rows 20 to 39 repeat the codes of rows 0 to 19.
        let codes: Vec<u64> = (0..40_u64).flat_map(|row| [row % 20, 7, row % 20 * 3]).collect();
        let table = Table::new(&codes, 3, key).unwrap();
        let mut places = vec![EMPTY; 21];
        let mut map: HashMap<&[u64], i32> = HashMap::new();
        for (step, row) in steps {
            let code = &codes[usize::try_from(row).unwrap() * 3..][..3];
            match step {
                0 => {
                    let is_new = !map.contains_key(code);
                    map.entry(code).or_insert(row);
                    prop_assert_eq!(table.insert(&mut places, row), Ok(is_new));
                }
                1 => {
                    let was_there = map.get(code) == Some(&row);
                    if was_there {
                        map.remove(code);
                    }
                    prop_assert_eq!(table.remove(&mut places, row), Ok(was_there));
                }
                _ => prop_assert_eq!(table.find(&places, code), Ok(map.get(code).copied())),
            }
            prop_assert_eq!(places.iter().filter(|&&place| place != EMPTY).count(), map.len());
        }
    }
}

#[test]
fn a_full_table_is_an_error_and_not_an_endless_search() {
    let codes = [1, 2, 3];
    let table = Table::new(&codes, 1, 9).unwrap();
    let mut places = [EMPTY; 2];
    assert_eq!(table.insert(&mut places, 0), Ok(true));
    assert_eq!(table.insert(&mut places, 1), Ok(true));
    assert_eq!(table.insert(&mut places, 2), Err(Error::TableFull { places: 2 }));
    assert_eq!(table.find(&places, &[4]), Ok(None));
    assert_eq!(table.find(&[], &[4]), Ok(None));
    assert_eq!(table.insert(&mut [], 0), Err(Error::TableFull { places: 0 }));
}

#[test]
fn sliced_codes_are_found_as_those_row_after_row() {
    let codes: Vec<u64> = (0..70 * 4_u64).map(|word| word.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
    let (mut heads, mut tails) = (vec![0; 2 * 32 * 9], vec![0; 2 * 32 * 7]);
    slice(&codes[..64 * 4], &mut heads, &mut tails).unwrap();
    let sliced = Codes { sliced: Sliced::new(&heads, &tails).unwrap(), rest: &codes[64 * 4..] };
    let (plain, table) = (Table::new(&codes, 4, 5).unwrap(), Table::new(sliced, 4, 5).unwrap());
    let (mut expected, mut places) = ([EMPTY; 90], [EMPTY; 90]);
    for row in 0..70 {
        plain.insert(&mut expected, row).unwrap();
        assert_eq!(table.insert(&mut places, row), Ok(true));
        assert_eq!(table.insert(&mut places, row), Ok(false));
    }
    assert_eq!(places, expected);
    for (row, code) in (0..70).zip(codes.chunks_exact(4)) {
        assert_eq!(table.find(&places, code), Ok(Some(row)));
        // One bit further on than the first slice.
        assert_eq!(table.find(&places, &[code[0], code[1], code[2], code[3] ^ 1]), Ok(None));
    }
    for row in (0..70).step_by(3) {
        plain.remove(&mut expected, row).unwrap();
        assert_eq!(table.remove(&mut places, row), Ok(true));
        assert_eq!(places, expected);
    }
    assert!(matches!(table.insert(&mut places, 70), Err(Error::Row { .. })));
}

#[test]
fn rows_that_are_not_there_are_errors() {
    let table = Table::new(&[1, 2], 1, 0).unwrap();
    for row in [2, -7, i32::MIN] {
        assert!(matches!(table.insert(&mut [EMPTY; 4], row), Err(Error::Row { .. })));
        assert!(matches!(table.find(&[row; 4], &[1]), Err(Error::Row { .. })));
    }
    assert!(Table::new(&[1, 2, 3], 2, 0).is_err());
    assert!(Table::new(&[], 0, 0).is_err());
}
