//! Guards: checks of two texts that can veto a semantic hit. A guard only ever turns a hit into a miss.
//!
//! Analysis ([`text`]) takes a text apart once; [`pairing`] finds which words of two texts correspond; each guard
//! then looks at what does not. All work is linear in the length of the texts: what is compared each with each is
//! bounded, and beyond the bound a guard vetoes rather than looks.

pub(crate) mod lexicon;
mod literals;
pub(crate) mod naming;
mod numbers;
mod order;
pub(crate) mod pairing;
pub(crate) mod polarity;
mod quantities;
pub(crate) mod relations;
mod stem;
mod substitution;
pub(crate) mod tables;
pub(crate) mod text;
mod verbatim;

pub use lexicon::{Lemma, Lexicon, Synset};
pub use relations::Meaning;
pub use stem::stem;
pub use tables::{TABLES, Tables};

use crate::Error;
use pairing::Pairing;
use text::Text;

/// A guard, in the order in which they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Guard {
    /// Other numbers.
    Numbers,
    /// Other units.
    Units,
    /// Other identifiers.
    Identifiers,
    /// Other quoted strings.
    Quoted,
    /// Other code.
    Code,
    /// Other URLs.
    Urls,
    /// One negation more.
    Negation,
    /// A word of avoidance in one text.
    Avoidance,
    /// Opposites.
    Antonyms,
    /// Exchanged roles.
    Roles,
    /// Other names.
    Capitals,
    /// Other times.
    Time,
    /// One word replaced.
    Substitution,
}

impl Guard {
    /// All guards, in order.
    pub const ALL: [Self; 13] = [
        Self::Numbers,
        Self::Units,
        Self::Identifiers,
        Self::Quoted,
        Self::Code,
        Self::Urls,
        Self::Negation,
        Self::Avoidance,
        Self::Antonyms,
        Self::Roles,
        Self::Capitals,
        Self::Time,
        Self::Substitution,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Numbers => "numbers",
            Self::Units => "units",
            Self::Identifiers => "identifiers",
            Self::Quoted => "quoted",
            Self::Code => "code",
            Self::Urls => "urls",
            Self::Negation => "negation",
            Self::Avoidance => "avoidance",
            Self::Antonyms => "antonyms",
            Self::Roles => "roles",
            Self::Capitals => "capitals",
            Self::Time => "time",
            Self::Substitution => "substitution",
        }
    }

    /// The guard of this name.
    ///
    /// # Errors
    ///
    /// [`Error::Name`] when there is none.
    pub fn by_name(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|guard| guard.name() == name).ok_or_else(|| Error::Name {
            what: "guard",
            asked: name.to_owned(),
            available: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// Why a candidate is no hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Veto {
    /// Who vetoes.
    pub guard: Guard,
    /// What differs, the new prompt first.
    pub detail: String,
}

/// The guards that are on, with what they know.
pub struct Guards {
    lexicon: Lexicon,
    tables: Tables,
    enabled: Vec<Guard>,
}

impl Guards {
    /// All guards but those in `disabled`.
    #[must_use]
    pub fn new(lexicon: Lexicon, tables: Tables, disabled: &[Guard]) -> Self {
        let enabled = Guard::ALL.into_iter().filter(|guard| !disabled.contains(guard)).collect();
        Self { lexicon, tables, enabled }
    }

    /// Those that are on.
    #[must_use]
    pub fn enabled(&self) -> &[Guard] {
        &self.enabled
    }

    /// For each candidate, every veto; none where all guards let it pass. Equal texts always pass.
    #[must_use]
    pub fn check<'t>(&self, prompt: &str, candidates: impl IntoIterator<Item = &'t str>) -> Vec<Vec<Veto>> {
        let a = Text::of(prompt, &self.tables);
        let check_one = |candidate: &str| {
            if candidate == prompt {
                return Vec::new();
            }
            let b = Text::of(candidate, &self.tables);
            let pair = Pairing::of(&a, &b, &self.lexicon, &self.tables);
            let ask = |&guard: &Guard| Some(Veto { guard, detail: self.ask(guard, &pair)? });
            self.enabled.iter().filter_map(ask).collect()
        };
        candidates.into_iter().map(check_one).collect()
    }

    /// What they know of words.
    pub(crate) fn knowledge(&self) -> (&Lexicon, &Tables) {
        (&self.lexicon, &self.tables)
    }

    /// What one guard has to say of two texts, whether it is on or not.
    pub(crate) fn ask(&self, guard: Guard, pair: &Pairing<'_>) -> Option<String> {
        let (lexicon, tables) = (&self.lexicon, &self.tables);
        match guard {
            Guard::Numbers => quantities::numbers(pair),
            Guard::Units => quantities::units(pair),
            Guard::Identifiers => verbatim::identifiers(pair, tables),
            Guard::Quoted => verbatim::quoted(pair),
            Guard::Code => verbatim::code(pair),
            Guard::Urls => verbatim::urls(pair),
            Guard::Negation => polarity::negation(pair, lexicon, tables),
            Guard::Avoidance => polarity::avoidance(pair, tables),
            Guard::Antonyms => polarity::antonyms(pair, lexicon, tables),
            Guard::Roles => order::roles(pair, lexicon, tables),
            Guard::Capitals => naming::capitals(pair, tables),
            Guard::Time => naming::time(pair, tables),
            Guard::Substitution => substitution::substitution(pair, lexicon, tables),
        }
    }
}
