//! The model: directions and trees, read from text.
//!
//! A line is a record, `#` begins a comment. First `judge 1`; `features` with their names; `dim` with the numbers of
//! an embedding; `sum` with the start of the sum and what is added for each whole of the cosine; then any number of
//! `style` and `matter` lines, directions in hexadecimal, two digits a number; then `tree` lines. The sum of the leaves
//! is the logarithm of the odds.

use super::directions::Directions;
use super::features::{FEATURES, NAMES};
use super::trees::{Tree, finite};
use crate::Error;

const VERSION: &str = "1";
/// Far more than a useful model has; they bound the work for a forged one.
const MOST_TREES: usize = 10_000;
const MOST_DIRECTIONS: usize = 256;
const LARGEST_DIM: usize = 65_536;

/// A model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Along which differences are measured.
    pub directions: Directions,
    start: f64,
    for_cosine: f64,
    trees: Vec<Tree>,
}

impl Model {
    /// The model in `text`.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] for a line that is not what it should be, or features that are not those computed here;
    /// [`Error::ModelVersion`] for another version of the format.
    pub fn read(text: &str) -> Result<Self, Error> {
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(number, line)| (number + 1, line.split('#').next().unwrap_or_default().trim()))
            .filter(|(_, line)| !line.is_empty());
        let mut next = |keyword: &'static str| {
            let (line, record) = lines.next().unwrap_or((0, ""));
            let rest = record.strip_prefix(keyword).and_then(|rest| rest.strip_prefix(' '));
            rest.map(|rest| (line, rest)).ok_or(Error::Model { line, expected: keyword })
        };
        let (_, version) = next("judge")?;
        if version != VERSION {
            return Err(Error::ModelVersion { expected: VERSION, got: version.chars().take(20).collect() });
        }
        let (line, features) = next("features")?;
        if !features.split_whitespace().eq(NAMES) {
            return Err(Error::Model { line, expected: "the features that this version computes" });
        }
        let (line, dim) = next("dim")?;
        let dim = dim.parse().ok().filter(|dim| (1..=LARGEST_DIM).contains(dim));
        let dim = dim.ok_or(Error::Model { line, expected: "dim" })?;
        let (line, sum) = next("sum")?;
        let sum = sum.split_once(' ').and_then(|(start, cosine)| Some((finite(start)?, finite(cosine)?)));
        let (start, for_cosine) = sum.ok_or(Error::Model { line, expected: "sum" })?;
        let directions = Directions { dim, ..Directions::default() };
        let mut model =
            Self { directions, start: f64::from(start), for_cosine: f64::from(for_cosine), trees: Vec::new() };
        for (line, record) in lines {
            model.enter(record).ok_or(Error::Model { line, expected: "style, matter or tree" })?;
        }
        Ok(model)
    }

    fn enter(&mut self, record: &str) -> Option<()> {
        let (keyword, rest) = record.split_once(' ')?;
        let Directions { dim, style, matter } = &mut self.directions;
        let (list, most) = match keyword {
            "style" => (style, MOST_DIRECTIONS),
            "matter" => (matter, MOST_DIRECTIONS),
            "tree" if self.trees.len() < MOST_TREES => {
                self.trees.push(Tree::parse(rest)?);
                return Some(());
            }
            _ => return None,
        };
        let direction = direction(rest).filter(|direction| direction.len() == *dim && list.len() < most)?;
        list.push(direction);
        Some(())
    }

    /// The probability for one row of features, 0 to 1.
    #[must_use]
    pub fn probability(&self, row: &[f32; FEATURES]) -> f64 {
        let start = self.start + self.for_cosine * f64::from(row[0]);
        logistic(self.trees.iter().fold(start, |sum, tree| sum + f64::from(tree.leaf(row))))
    }
}

/// `1 / (1 + exp(-x))` by basic operations, so that no library's `exp` decides a last bit.
fn logistic(x: f64) -> f64 {
    // exp(-x) = exp(-x / 64)^64; for so small an exponent fourteen terms of the Taylor series are exact to the last bit.
    let step = -x.clamp(-40.0, 40.0) / 64.0;
    let series = (1..=14_u8).rev().fold(1.0, |sum, n| 1.0 + step * sum / f64::from(n));
    let power = (0..6).fold(series, |power, _| power * power);
    1.0 / (1.0 + power)
}

fn direction(hexadecimal: &str) -> Option<Vec<i8>> {
    let (pairs, rest) = hexadecimal.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let number = |&[high, low]: &[u8; 2]| Some((digit(high)? << 4 | digit(low)?).cast_signed());
    rest.is_empty().then(|| pairs.iter().map(number).collect())?
}
