//! How two words are related by the lexicon.

use super::lexicon::Lexicon;

/// All that the lexicon tells of a word in any of its forms. Lists are sorted.
#[derive(Debug, Clone, Default)]
pub struct Meaning {
    /// The word stands in the lexicon, as it is or as a form.
    pub is_known: bool,
    /// The word, as it stands, is written with a capital in all senses.
    pub is_name: bool,
    lemmas: Vec<u32>,
    senses: Vec<u32>,
    antonyms: Vec<u32>,
    derived: Vec<u32>,
}

impl Meaning {
    /// The meaning of a word in lower case.
    #[must_use]
    pub fn of(word: &str, lexicon: &Lexicon) -> Self {
        let mut meaning = Self::default();
        let exact = lexicon.find(word);
        meaning.is_name = exact.as_ref().is_some_and(|lemma| lemma.is_name);
        let mut lemmas: Vec<_> = exact.into_iter().collect();
        let bases: Vec<_> = lemmas.iter().flat_map(|lemma| lemma.bases.iter().copied()).collect();
        lemmas.extend(bases.into_iter().filter_map(|id| lexicon.lemma(id)));
        lemmas.extend(base_forms(word).filter_map(|form| lexicon.find(&form)));
        meaning.is_known = !lemmas.is_empty();
        for lemma in lemmas {
            meaning.lemmas.push(lemma.id);
            meaning.senses.extend(lemma.senses);
            meaning.antonyms.extend(lemma.antonyms);
            meaning.derived.extend(lemma.derived);
        }
        for list in [&mut meaning.lemmas, &mut meaning.senses, &mut meaning.antonyms, &mut meaning.derived] {
            list.sort_unstable();
            list.dedup();
        }
        meaning
    }

    /// One is a direct antonym of the other.
    #[must_use]
    pub fn is_antonym(&self, other: &Self) -> bool {
        meet(&self.antonyms, &other.lemmas) || meet(&self.lemmas, &other.antonyms)
    }

    /// They share a synset.
    #[must_use]
    pub fn is_synonym(&self, other: &Self) -> bool {
        meet(&self.senses, &other.senses)
    }

    /// One is derived from the other, or they have one lemma.
    #[must_use]
    pub fn is_derived(&self, other: &Self) -> bool {
        meet(&self.lemmas, &other.lemmas)
            || meet(&self.derived, &other.lemmas)
            || meet(&self.lemmas, &other.derived)
    }

    /// One is a direct hypernym of the other.
    #[must_use]
    pub fn is_hypernym(&self, other: &Self, lexicon: &Lexicon) -> bool {
        meet(&self.hypernyms(lexicon), &other.senses) || meet(&other.hypernyms(lexicon), &self.senses)
    }

    /// Their adjectives stand, by way of similar ones, on two sides of an opposition (soggy, arid).
    #[must_use]
    pub fn is_near_antonym(&self, other: &Self, lexicon: &Lexicon) -> bool {
        if self.senses.is_empty() || other.senses.is_empty() {
            return false;
        }
        let theirs = other.surroundings(lexicon);
        let mut opposed: Vec<u32> =
            self.surroundings(lexicon).into_iter().flat_map(|synset| lexicon.synset(synset).antonyms).collect();
        opposed.sort_unstable();
        meet(&opposed, &theirs)
    }

    /// A synset of one and a synset of the other stand directly below the same one (oboe, flute).
    #[must_use]
    pub fn is_sibling(&self, other: &Self, lexicon: &Lexicon) -> bool {
        !self.is_synonym(other) && meet(&self.hypernyms(lexicon), &other.hypernyms(lexicon))
    }

    /// Number of senses: a word that has many is a common one.
    #[must_use]
    pub fn senses(&self) -> usize {
        self.senses.len()
    }

    fn surroundings(&self, lexicon: &Lexicon) -> Vec<u32> {
        let mut synsets = self.senses.clone();
        synsets.extend(self.senses.iter().flat_map(|&synset| lexicon.synset(synset).similar));
        synsets.sort_unstable();
        synsets.dedup();
        synsets
    }

    fn hypernyms(&self, lexicon: &Lexicon) -> Vec<u32> {
        let mut found: Vec<u32> =
            self.senses.iter().flat_map(|&synset| lexicon.synset(synset).hypernyms).collect();
        found.sort_unstable();
        found
    }
}

/// Forms that a regular ending may hide; some of them are no words.
/// Source: the rules of detachment of `WordNet`, morphy(7WN).
fn base_forms(word: &str) -> impl Iterator<Item = String> {
    const RULES: [(&str, &str); 17] = [
        ("ies", "y"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("ses", "s"),
        ("xes", "x"),
        ("zes", "z"),
        ("men", "man"),
        ("es", "e"),
        ("s", ""),
        ("ed", "e"),
        ("ed", ""),
        ("ing", "e"),
        ("ing", ""),
        ("er", ""),
        ("er", "e"),
        ("est", ""),
        ("est", "e"),
    ];
    RULES.iter().filter_map(move |(ending, with)| {
        let head = word.strip_suffix(ending).filter(|head| head.len() >= 2)?;
        Some(format!("{head}{with}"))
    })
}

/// Whether two sorted lists have an entry in common.
fn meet(a: &[u32], b: &[u32]) -> bool {
    let (mut i, mut j) = (0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        match x.cmp(y) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => return true,
        }
    }
    false
}
