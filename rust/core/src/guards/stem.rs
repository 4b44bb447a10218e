//! Stems: what is left of a word without its ending, with American spelling. Two forms of a word have one stem.

/// Longer words are taken as they stand.
const LONGEST: usize = 40;

/// The stem of a word in lower case.
#[must_use]
pub fn stem(word: &str) -> String {
    if !word.bytes().all(|byte| byte.is_ascii_lowercase()) || word.len() > LONGEST {
        return word.to_owned();
    }
    let mut stem = american(word);
    strip_ending(&mut stem);
    if stem.len() > 3 && stem.ends_with('e') {
        stem.pop();
    }
    stem
}

/// British endings in American spelling. What it does to other words does no harm: it does it in both texts.
fn american(word: &str) -> String {
    const ENDINGS: [(&str, &str); 36] = [
        ("isations", "izations"),
        ("isation", "ization"),
        ("ising", "izing"),
        ("ised", "ized"),
        ("ises", "izes"),
        ("iser", "izer"),
        ("ise", "ize"),
        ("ysing", "yzing"),
        ("ysed", "yzed"),
        ("yse", "yze"),
        ("ouring", "oring"),
        ("oured", "ored"),
        ("ourite", "orite"),
        ("ourites", "orites"),
        ("ours", "ors"),
        ("our", "or"),
        ("tres", "ters"),
        ("tre", "ter"),
        ("elling", "eling"),
        ("elled", "eled"),
        ("eller", "eler"),
        ("ellers", "elers"),
        ("elment", "ellment"),
        ("ilment", "illment"),
        ("alment", "allment"),
        ("alments", "allments"),
        ("olment", "ollment"),
        ("ogues", "ogs"),
        ("ogue", "og"),
        ("ammes", "ams"),
        ("amme", "am"),
        ("efence", "efense"),
        ("efences", "efenses"),
        ("icence", "icense"),
        ("icences", "icenses"),
        ("dgement", "dgment"),
    ];
    // Short words (hour, rise) are not British spellings.
    for (british, american) in ENDINGS {
        if let Some(head) = word.strip_suffix(british)
            && head.len() >= 2
            && word.len() >= 5
        {
            return format!("{head}{american}");
        }
    }
    word.to_owned()
}

fn strip_ending(word: &mut String) {
    if let Some(head) = word.strip_suffix("ies") {
        let keep = head.len();
        if keep >= 2 {
            word.truncate(keep);
            word.push('y');
        }
        return;
    }
    for ending in ["sses", "ing", "edly", "ed", "es", "s", "ly"] {
        let Some(head) = word.strip_suffix(ending) else { continue };
        let fits = match ending {
            "sses" => true,
            "s" => !matches!(head.bytes().last(), Some(b's' | b'u' | b'i')) && head.len() >= 2,
            // boxes, dishes, matches, quizzes; but prices, uses: there the "e" belongs to the word and goes last.
            "es" => head.len() >= 3 && ["s", "x", "z", "ch", "sh", "o"].iter().any(|end| head.ends_with(end)),
            _ => head.len() >= 3 && head.bytes().any(|byte| b"aeiouy".contains(&byte)),
        };
        if !fits {
            continue;
        }
        let keep = head.len();
        word.truncate(keep);
        if ending == "sses" {
            word.push_str("ss");
        }
        if matches!(ending, "ing" | "ed" | "edly") {
            undouble(word);
        }
        return;
    }
}

/// stopp -> stop; but fall, miss, buzz stay.
fn undouble(word: &mut String) {
    let bytes = word.as_bytes();
    if let [.., x, y] = bytes
        && x == y
        && bytes.len() > 3
        && !b"lsz".contains(y)
    {
        word.pop();
    }
}
