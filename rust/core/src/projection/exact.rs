//! The sign of a dot product of float32 numbers, without error.

/// Whether the exact sum of `x[i] * p[i]` is >= 0.
///
/// A product of two float32 numbers is exact in float64. The float64 sum decides unless it lies within its own
/// rounding error; then the terms are added without rounding.
pub fn is_not_negative(x: &[f32], p: impl Iterator<Item = f32> + Clone) -> bool {
    let terms = x.iter().zip(p).map(|(&x, p)| f64::from(x) * f64::from(p));
    let (sum, size) = terms.clone().fold((0.0_f64, 0.0_f64), |(sum, size), term| (sum + term, size + term.abs()));
    #[expect(clippy::cast_precision_loss, reason = "below 2^31")]
    let bound = (x.len() + 2) as f64 * f64::EPSILON * size;
    if sum.abs() > bound { sum > 0.0 } else { exact_sum_is_not_negative(terms) }
}

/// Keeps the running sum as parts that do not overlap, so that no bit is lost; the last part has the sum's sign.
/// Source: Shewchuk 1997, Adaptive Precision Floating-Point Arithmetic, section 2 (GROW-EXPANSION).
fn exact_sum_is_not_negative(terms: impl Iterator<Item = f64>) -> bool {
    let mut parts: Vec<f64> = Vec::new();
    for mut term in terms {
        let mut kept = 0;
        for i in 0..parts.len() {
            let part = parts[i];
            let sum = term + part;
            let virtual_part = sum - term;
            let error = (term - (sum - virtual_part)) + (part - virtual_part);
            if error != 0.0 {
                parts[kept] = error;
                kept += 1;
            }
            term = sum;
        }
        parts.truncate(kept);
        parts.push(term);
    }
    parts.iter().rev().find(|&&part| part != 0.0).is_none_or(|&part| part > 0.0)
}

#[cfg(test)]
mod tests {
    use super::is_not_negative;

    #[test]
    fn what_cancels_to_zero_is_not_negative() {
        assert!(is_not_negative(&[1.0, -1.0, 3.0], [0.1, 0.1, 0.0].into_iter()));
    }

    #[test]
    fn a_remainder_far_below_float64_decides() {
        let (big, small) = (1e30_f32, 1e-30_f32);
        for sign in [1.0, -1.0] {
            let x = [big, small, -big];
            let p = [big, sign * small, big];
            assert_eq!(is_not_negative(&x, p.into_iter()), sign > 0.0);
        }
    }

    #[test]
    fn negative_zero_is_not_negative() {
        assert!(is_not_negative(&[-0.0], [1.0].into_iter()));
    }
}
