//! CRC-32 as zip uses it, at memory speed (carry-less multiplication where the machine has it).

/// The CRC-32 of `bytes`, continued from `value` (0 to begin).
#[must_use]
pub fn crc32(bytes: &[u8], value: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(value);
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::crc32;

    #[test]
    fn the_check_value_of_the_standard_is_reproduced() {
        assert_eq!(crc32(b"123456789", 0), 0xCBF4_3926);
    }

    #[test]
    fn a_sum_continued_equals_a_sum_in_one_piece() {
        assert_eq!(crc32(b"6789", crc32(b"12345", 0)), 0xCBF4_3926);
    }
}
