//! Two prompts and their embeddings, as numbers. Most stay the same when the prompts are exchanged; counts of related
//! words and of order may differ a little.

use super::directions::Measured;
use crate::guards::Guards;
use crate::guards::lexicon::Lexicon;
use crate::guards::naming::is_name;
use crate::guards::pairing::{Pairing, gap};
use crate::guards::polarity::{avoiding, differs_in_negation, opposites};
use crate::guards::relations::Meaning;
use crate::guards::tables::Tables;
use crate::guards::text::Text;

/// The features, in order. "Low" and "high" are the lesser and the greater of the two texts' values.
pub const NAMES: [&str; 39] = [
    "cosine",
    "along_style",
    "along_matter",
    "style_share",
    "jaccard",
    "cover_low",
    "cover_high",
    "left_low",
    "left_high",
    "related",
    "unrelated_low",
    "unrelated_high",
    "hypernyms",
    "siblings",
    "opposites",
    "avoiding",
    "negation_differs",
    "negated",
    "frame",
    "frame_of_content",
    "frame_unrelated",
    "single",
    "gaps",
    "longest_gap",
    "crossed",
    "names_low",
    "names_high",
    "unknown_low",
    "unknown_high",
    "rarest_low",
    "rarest_high",
    "rarity_low",
    "rarity_high",
    "numbers_low",
    "numbers_high",
    "times_low",
    "times_high",
    "question_same",
    "added_condition",
];

/// Number of features.
pub const FEATURES: usize = NAMES.len();

/// Beyond this, counts tell no more.
const MOST: usize = 8;

/// The features of two analysed texts.
pub fn features(pair: &Pairing<'_>, measured: Measured, guards: &Guards) -> [f32; FEATURES] {
    let mut found = Vec::with_capacity(FEATURES);
    found.extend(measured);
    let (lexicon, tables) = guards.knowledge();
    measure(&mut found, pair, lexicon, tables);
    let mut all = [0.0; FEATURES];
    all.copy_from_slice(&found);
    all
}

fn measure(found: &mut Vec<f32>, pair: &Pairing<'_>, lexicon: &Lexicon, tables: &Tables) {
    let (in_a, in_b): (Vec<usize>, Vec<usize>) = (pair.a.content().collect(), pair.b.content().collect());
    let shared_a = in_a.iter().filter(|&&at| pair.partner_a[at].is_some()).count();
    let shared_b = in_b.iter().filter(|&&at| pair.partner_b[at].is_some()).count();
    let shared = shared_a.min(shared_b);
    let (least, most) = (in_a.len().min(in_b.len()), in_a.len().max(in_b.len()));
    let relations = Relations::of(pair, lexicon, tables);
    let (left_low, left_high) = ordered(pair.left_a.len(), pair.left_b.len());
    let jaccard = ratio(shared, in_a.len() + in_b.len() - shared);
    #[expect(clippy::cast_possible_truncation, reason = "a share")]
    let frame = pair.frame() as f32;
    let unrelated = relations.unrelated;
    found.extend([jaccard, ratio(shared, most), ratio(shared, least), count(left_low), count(left_high)]);
    found.extend([count(relations.related), count(unrelated.0), count(unrelated.1), count(relations.hypernyms)]);
    found.extend([count(relations.siblings), count(opposites(pair, lexicon, tables).len())]);
    found.extend([count(avoiding(pair, tables).len()), flag(differs_in_negation(pair))]);
    found.extend([count(pair.a.negations().min(pair.b.negations())), frame, order_of_content(pair, &in_a)]);
    found.extend([jaccard * count(unrelated.0), flag((left_low, left_high) == (1, 1))]);
    let gaps = Gaps::of(pair, tables);
    found.extend([count(gaps.number), count(gaps.longest), crossed(pair, &in_a)]);
    let (a, b) = (
        Side::of(pair.a, &pair.left_a, |at| pair.meaning_a(at), tables),
        Side::of(pair.b, &pair.left_b, |at| pair.meaning_b(at), tables),
    );
    for (x, y) in [(a.names, b.names), (a.unknown, b.unknown), (a.rarest, b.rarest), (a.rarity, b.rarity)] {
        found.extend([x.min(y), x.max(y)]);
    }
    let strict = |text: &Text<'_>| text.quantities.iter().filter(|quantity| !quantity.is_loose).count();
    for (x, y) in [(strict(pair.a), strict(pair.b)), (pair.a.times.len(), pair.b.times.len())] {
        let (low, high) = ordered(x, y);
        found.extend([count(low), count(high)]);
    }
    found.push(flag(question(pair.a) == question(pair.b)));
    let added =
        |text: &Text<'_>, left: &[usize]| left.iter().filter(|&&at| at > 0 && is_link(text, at - 1)).count();
    found.push(count(added(pair.a, &pair.left_a).max(added(pair.b, &pair.left_b))));
}

/// How the content words left over of one text are related to those of the other.
struct Relations {
    related: usize,
    unrelated: (usize, usize),
    hypernyms: usize,
    siblings: usize,
}

impl Relations {
    fn of(pair: &Pairing<'_>, lexicon: &Lexicon, tables: &Tables) -> Self {
        let (mut related_a, mut related_b) = (vec![false; pair.left_a.len()], vec![false; pair.left_b.len()]);
        let (mut hypernyms, mut siblings) = (0, 0);
        // Texts that differ so much are no repeat of each other, and each with each would take long.
        let is_few = pair.left_a.len() * pair.left_b.len() <= 400;
        for (i, &x) in pair.left_a.iter().enumerate().filter(|_| is_few) {
            for (j, &y) in pair.left_b.iter().enumerate() {
                if pair.are_related(x, y, tables) {
                    (related_a[i], related_b[j]) = (true, true);
                } else if let (Some(of_x), Some(of_y)) = (pair.meaning_a(x), pair.meaning_b(y)) {
                    hypernyms += usize::from(of_x.is_hypernym(of_y, lexicon));
                    siblings += usize::from(of_x.is_sibling(of_y, lexicon));
                }
            }
        }
        let rest = |related: &[bool]| related.iter().filter(|&&is_related| !is_related).count();
        let related = pair.left_a.len().min(pair.left_b.len()).min(related_a.len() - rest(&related_a));
        Self { related, unrelated: ordered(rest(&related_a), rest(&related_b)), hypernyms, siblings }
    }
}

/// Places where both texts have words, and not the same ones, between words that they share.
struct Gaps {
    number: usize,
    longest: usize,
}

impl Gaps {
    fn of(pair: &Pairing<'_>, tables: &Tables) -> Self {
        let mut gaps = Self { number: 0, longest: 0 };
        let mut at = 0;
        while let Some(&first) = pair.left_a.get(at) {
            let found = gap(first..first + 1, &pair.partner_a, &pair.partner_b);
            at += 1;
            let Some((run_a, run_b)) = found else { continue };
            while pair.left_a.get(at).is_some_and(|next| run_a.contains(next)) {
                at += 1;
            }
            let here = |left: &[usize], run: &std::ops::Range<usize>| -> Vec<usize> {
                left.iter().copied().filter(|place| run.contains(place)).collect()
            };
            let (x, y) = (here(&pair.left_a, &run_a), here(&pair.left_b, &run_b));
            if y.is_empty() || x.iter().any(|&x| y.iter().any(|&y| pair.are_related(x, y, tables))) {
                continue;
            }
            gaps.number += 1;
            gaps.longest = gaps.longest.max(x.len().max(y.len()));
        }
        gaps
    }
}

/// What one text's content words left over are like.
struct Side {
    names: f32,
    unknown: f32,
    rarest: f32,
    rarity: f32,
}

impl Side {
    fn of<'m>(
        text: &Text<'_>,
        left: &[usize],
        meaning: impl Fn(usize) -> Option<&'m Meaning>,
        tables: &Tables,
    ) -> Self {
        let mut side = Self { names: 0.0, unknown: 0.0, rarest: 0.0, rarity: 0.0 };
        for &at in left.iter().take(2 * MOST) {
            let of_word = meaning(at);
            side.names += flag(is_name(&text.words[at], text, of_word.is_some_and(|m| m.is_name), tables));
            let is_known = of_word.is_some_and(|m| m.is_known);
            side.unknown += flag(!is_known);
            let senses = of_word.filter(|m| m.is_known).map_or(0, Meaning::senses);
            let rarity = 1.0 / (1 + senses.min(30)) as f32;
            side.rarest = side.rarest.max(rarity);
            side.rarity += rarity;
        }
        side
    }
}

/// The share of shared content words that stand in one order, 0 to 1.
fn order_of_content(pair: &Pairing<'_>, in_a: &[usize]) -> f32 {
    let places: Vec<usize> = in_a.iter().filter_map(|&at| pair.partner_a[at]).take(256).collect();
    // The longest increasing subsequence, by patience sorting.
    let mut piles: Vec<usize> = Vec::new();
    for &place in &places {
        let at = piles.partition_point(|&top| top < place);
        if at == piles.len() { piles.push(place) } else { piles[at] = place }
    }
    ratio(piles.len(), places.len())
}

/// The share of neighbouring shared content words that stand the other way round.
fn crossed(pair: &Pairing<'_>, in_a: &[usize]) -> f32 {
    let places: Vec<usize> = in_a.iter().filter_map(|&at| pair.partner_a[at]).collect();
    let turned = places.windows(2).filter(|two| two[0] > two[1]).count();
    if places.len() < 2 { 0.0 } else { ratio(turned, places.len() - 1) }
}

fn is_link(text: &Text<'_>, at: usize) -> bool {
    const LINKS: [&str; 30] = [
        "for", "in", "on", "at", "with", "without", "as", "from", "to", "by", "during", "after", "before", "of",
        "under", "over", "about", "into", "if", "when", "while", "unless", "because", "than", "against", "only",
        "between", "per", "via", "except",
    ];
    LINKS.contains(&text.words[at].lower.as_str())
}

/// The first question word; 0 where there is none.
fn question(text: &Text<'_>) -> usize {
    const WORDS: [&str; 8] = ["what", "which", "how", "why", "when", "where", "who", "whom"];
    let found = text.words.iter().find_map(|word| WORDS.iter().position(|&known| known == word.lower));
    found.map_or(0, |at| at + 1)
}

fn ordered(x: usize, y: usize) -> (usize, usize) {
    (x.min(y), x.max(y))
}

fn count(number: usize) -> f32 {
    number.min(MOST) as f32
}

fn ratio(part: usize, whole: usize) -> f32 {
    if whole == 0 { 1.0 } else { part as f32 / whole as f32 }
}

fn flag(holds: bool) -> f32 {
    f32::from(u8::from(holds))
}
