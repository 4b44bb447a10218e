//! Boosted trees of one depth.

use super::features::FEATURES;

const DEPTH: usize = 3;
const SPLITS: usize = (1 << DEPTH) - 1;
const LEAVES: usize = 1 << DEPTH;

/// A tree: splits level by level, leaves left to right. A feature that is at most the threshold goes left.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    features: [u16; SPLITS],
    thresholds: [f32; SPLITS],
    leaves: [f32; LEAVES],
}

impl Tree {
    /// The tree of a record: seven times `feature:threshold`, then eight leaves. `None` if it is none.
    #[must_use]
    pub fn parse(record: &str) -> Option<Self> {
        let mut fields = record.split_whitespace();
        let mut tree = Self { features: [0; SPLITS], thresholds: [0.0; SPLITS], leaves: [0.0; LEAVES] };
        for at in 0..SPLITS {
            let (feature, threshold) = fields.next()?.split_once(':')?;
            tree.features[at] = feature.parse().ok().filter(|&feature| usize::from(feature) < FEATURES)?;
            tree.thresholds[at] = finite(threshold)?;
        }
        for leaf in &mut tree.leaves {
            *leaf = finite(fields.next()?)?;
        }
        fields.next().is_none().then_some(tree)
    }

    /// The leaf that a row of features comes to.
    #[must_use]
    pub fn leaf(&self, row: &[f32; FEATURES]) -> f32 {
        let mut at = 0;
        for _ in 0..DEPTH {
            let goes_right = row[usize::from(self.features[at])] > self.thresholds[at];
            at = 2 * at + 1 + usize::from(goes_right);
        }
        self.leaves[at - SPLITS]
    }
}

/// A number that is one.
pub fn finite(text: &str) -> Option<f32> {
    text.parse().ok().filter(|number: &f32| number.is_finite())
}
