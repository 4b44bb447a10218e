//! Guards for numbers and their units.

use std::collections::HashMap;

use super::numbers::Quantity;
use super::pairing::Pairing;
use super::verbatim::against;

/// With more numbers than this without an equal, conversions are not tried.
const MOST_CONVERTED: usize = 64;

/// The numbers of the two texts are not the same ones.
pub fn numbers(pair: &Pairing<'_>) -> Option<String> {
    let (a, b) = (&pair.a.quantities, &pair.b.quantities);
    let (mut only_a, mut only_b) = (unequal(a, b), unequal(b, a));
    if only_a.len().max(only_b.len()) <= MOST_CONVERTED {
        only_a.retain(|x| {
            let found = only_b.iter().position(|y| is_same_amount(x, y));
            found.map(|at| only_b.remove(at)).is_none()
        });
    }
    let strict = |left: Vec<&Quantity>| -> Vec<String> {
        left.into_iter().filter(|x| !x.is_loose).map(|x| x.key.clone()).collect()
    };
    let (only_a, only_b) = (strict(only_a), strict(only_b));
    (!only_a.is_empty() || !only_b.is_empty()).then(|| against(&only_a, &only_b, ""))
}

/// One number measures something else in the other text: 5 kg, 5 lb.
pub fn units(pair: &Pairing<'_>) -> Option<String> {
    let mut by_key: HashMap<&str, [Vec<&Quantity>; 2]> = HashMap::new();
    for (side, quantities) in [&pair.a.quantities, &pair.b.quantities].into_iter().enumerate() {
        for quantity in quantities.iter().filter(|quantity| !quantity.units.is_empty()) {
            by_key.entry(&quantity.key).or_default()[side].push(quantity);
        }
    }
    // In the order of the text, so that the detail does not depend on hashing.
    pair.a.quantities.iter().find_map(|quantity| {
        let [a, b] = by_key.remove(quantity.key.as_str())?;
        let lacks =
            |x: &Quantity, others: &[&Quantity]| !others.iter().take(MOST_CONVERTED).any(|y| shares_unit(x, y));
        let only_a = a.iter().take(MOST_CONVERTED).find(|x| lacks(x, &b))?;
        let only_b = b.iter().take(MOST_CONVERTED).find(|y| lacks(y, &a))?;
        Some(format!("{} {} against {} {}", only_a.key, only_a.unit, only_b.key, only_b.unit))
    })
}

/// What is left of `quantities` when those that `others` have, too, are struck out, one for one.
fn unequal<'q>(quantities: &'q [Quantity], others: &[Quantity]) -> Vec<&'q Quantity> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for quantity in others {
        *counts.entry(&quantity.key).or_default() += 1;
    }
    let mut is_struck = |quantity: &Quantity| match counts.get_mut(quantity.key.as_str()) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    };
    quantities.iter().filter(|quantity| !is_struck(quantity)).collect()
}

fn is_same_amount(x: &Quantity, y: &Quantity) -> bool {
    let (Some(a), Some(b)) = (x.value, y.value) else { return false };
    if is_close(a, b) || x.other.is_some_and(|a| is_close(a, b)) || y.other.is_some_and(|b| is_close(a, b)) {
        return true;
    }
    // 50 % is a half.
    if is_percent(x) && y.units.is_empty() && is_close(a, b * 100.0)
        || is_percent(y) && x.units.is_empty() && is_close(b, a * 100.0)
    {
        return true;
    }
    x.units.iter().any(|u| y.units.iter().any(|v| u.family == v.family && is_close(a * u.factor, b * v.factor)))
}

fn is_percent(x: &Quantity) -> bool {
    matches!(x.unit.as_str(), "%" | "percent" | "pct")
}

fn shares_unit(x: &Quantity, y: &Quantity) -> bool {
    x.units.iter().any(|u| y.units.contains(u))
}

fn is_close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}
