//! What a text holds verbatim: code, URLs, quoted strings, identifiers. One pass each, whatever the text.

use std::ops::Range;

use super::tables::Tables;

/// Verbatim parts, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Literals {
    /// Fenced blocks, with the name of their language, and inline code; without the ticks.
    pub code: Vec<String>,
    /// URLs; scheme and host in lower case.
    pub urls: Vec<String>,
    /// Quoted strings, without the quotes.
    pub quoted: Vec<String>,
    /// Identifiers, file names, e-mail addresses.
    pub identifiers: Vec<String>,
    /// What is not to be read as words: code and URLs. Sorted, apart from each other.
    pub masked: Vec<Range<usize>>,
}

impl Literals {
    /// The verbatim parts of `text`.
    #[must_use]
    pub fn of(text: &str, tables: &Tables) -> Self {
        let mut found = Self::default();
        found.scan_code(text);
        let code = std::mem::take(&mut found.masked);
        let mut at = 0;
        for range in code {
            found.scan_plain(text, at..range.start, tables);
            at = range.end;
            found.masked.push(range);
        }
        found.scan_plain(text, at..text.len(), tables);
        found
    }

    fn scan_plain(&mut self, text: &str, range: Range<usize>, tables: &Tables) {
        let Some(plain) = text.get(range.clone()) else { return };
        self.scan_quotes(plain);
        let mut at = 0;
        for chunk in plain.split_whitespace() {
            // Pieces come in order, so the search goes on where the last piece ended.
            let Some(found) = plain.get(at..).and_then(|rest| rest.find(chunk)) else { continue };
            let start = range.start + at + found;
            at += found + chunk.len();
            self.scan_chunk(chunk, start, tables);
        }
    }

    /// Runs of ticks open and close code; a run that is never closed is no code.
    fn scan_code(&mut self, text: &str) {
        let runs: Vec<Range<usize>> = tick_runs(text);
        // For each length, the runs still to come: closers are found without looking twice.
        let mut next_same = vec![usize::MAX; runs.len()];
        let mut last_of_length = std::collections::HashMap::new();
        for (number, run) in runs.iter().enumerate().rev() {
            next_same[number] = last_of_length.insert(run.len(), number).unwrap_or(usize::MAX);
        }
        let mut number = 0;
        while let Some(open) = runs.get(number) {
            let Some(close) = runs.get(next_same[number]) else {
                number += 1;
                continue;
            };
            let content = text.get(open.end..close.start).unwrap_or_default();
            if !content.trim().is_empty() {
                self.code.push(content.trim().to_owned());
                if open.len() < 3 {
                    self.quoted.push(content.trim().to_owned());
                }
            }
            self.masked.push(open.start..close.end);
            number = next_same[number] + 1;
        }
    }

    fn scan_quotes(&mut self, text: &str) {
        let mut open: [Option<usize>; 4] = [None; 4];
        let mut before = ' ';
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let after = chars.peek().map_or(' ', |&(_, c)| c);
            let (kind, opens, closes) = match c {
                '"' => (0, true, true),
                '“' => (1, true, false),
                '”' => (1, false, true),
                '\'' => (2, true, true),
                '‘' => (3, true, false),
                '’' => (3, false, true),
                _ => {
                    before = c;
                    continue;
                }
            };
            // An apostrophe stands between letters, a mark for inches behind a digit.
            let may_open = opens && !before.is_alphanumeric() && !after.is_whitespace();
            let may_close = closes && !after.is_alphanumeric() && !before.is_whitespace();
            match open[kind] {
                Some(start) if may_close => {
                    let content = text.get(start..at).unwrap_or_default();
                    let content = content.trim_matches(|c: char| c.is_whitespace() || "\"'“”".contains(c));
                    if !content.is_empty() {
                        self.quoted.push(content.to_owned());
                    }
                    open[kind] = None;
                }
                None if may_open => open[kind] = Some(at + c.len_utf8()),
                _ => {}
            }
            before = c;
        }
    }

    fn scan_chunk(&mut self, chunk: &str, start: usize, tables: &Tables) {
        if let Some(at) = url_start(chunk) {
            let url = chunk[at..].trim_end_matches(|c: char| ".,;:!?)]}>\"'*’”".contains(c));
            self.urls.push(normal_url(url));
            self.masked.push(start..start + chunk.len());
            return;
        }
        let edge = |c: char| c.is_ascii_punctuation() && !"@#+_-./\\~".contains(c) || "“”‘’…«»".contains(c);
        let core = chunk.trim_matches(edge).trim_end_matches(['.', ',']);
        if is_email(core) {
            self.identifiers.push(core.to_lowercase());
            self.masked.push(start..start + chunk.len());
        } else if is_path(core) {
            self.identifiers.push(core.to_owned());
        } else {
            for piece in core.split(|c: char| !(c.is_alphanumeric() || "_-.+#\u{fffd}".contains(c))) {
                let piece = piece.trim_matches('.').trim_end_matches('-');
                if is_identifier(piece, tables) {
                    self.identifiers.push(piece.to_owned());
                } else {
                    let parts = piece.split(['.', '-']).filter(|part| part.len() < piece.len());
                    self.identifiers.extend(parts.filter(|part| is_identifier(part, tables)).map(str::to_owned));
                }
            }
        }
    }
}

fn tick_runs(text: &str) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, _) in text.match_indices('`') {
        match runs.last_mut() {
            Some(run) if run.end == at => run.end = at + 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

fn url_start(chunk: &str) -> Option<usize> {
    if let Some(at) = chunk.find("://") {
        let scheme = chunk[..at].bytes().rev().take_while(u8::is_ascii_alphanumeric).count();
        return (scheme > 0).then_some(at - scheme);
    }
    let at = chunk.find(|c: char| c.is_ascii_alphanumeric())?;
    chunk.get(at..at + 4).filter(|head| head.eq_ignore_ascii_case("www.")).map(|_| at)
}

fn normal_url(url: &str) -> String {
    let host = url.find("://").map_or(0, |at| at + 3);
    let path = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    let (head, tail) = url.split_at(path);
    format!("{}{}", head.to_lowercase(), tail.trim_end_matches('/'))
}

fn is_email(chunk: &str) -> bool {
    chunk.split_once('@').is_some_and(|(name, host)| {
        name.contains(char::is_alphanumeric) && host.trim_matches('.').contains('.') && !host.contains('@')
    })
}

/// /etc/hosts, ~/notes, ./run, C:\data, src/main.rs; but not "and/or", not "24/7".
fn is_path(chunk: &str) -> bool {
    if !chunk.contains(char::is_alphabetic) {
        return false;
    }
    chunk.contains('\\')
        || ["/", "~/", "./", "../"].iter().any(|head| chunk.starts_with(head))
        || chunk.matches('/').nth(1).is_some() && !chunk.contains(char::is_uppercase)
        || chunk.rsplit_once('/').is_some_and(|(_, name)| is_file_name(name))
}

fn is_file_name(piece: &str) -> bool {
    piece.rsplit_once('.').is_some_and(|(name, extension)| {
        name.chars().filter(|c| c.is_alphanumeric()).count() >= 2
            && name.contains(char::is_alphabetic)
            && (1..=5).contains(&extension.len())
            && extension.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && extension.starts_with(|c: char| c.is_ascii_lowercase())
    })
}

/// Something that is a code or a name in a program rather than a word.
fn is_identifier(piece: &str, tables: &Tables) -> bool {
    if piece.contains('\u{fffd}') {
        return true;
    }
    let letters = piece.chars().filter(|c| c.is_alphabetic()).count();
    if letters == 0 {
        return piece.starts_with('#') && piece.len() > 1;
    }
    if piece.starts_with('#') || piece.starts_with("--") || piece.trim_matches('_').contains('_') {
        return true;
    }
    // C++, C#, F#
    if letters <= 2 && piece.ends_with(['+', '#']) {
        return true;
    }
    if piece.contains('.') {
        return is_file_name(piece);
    }
    if let Some((head, tail)) = piece.split_once('-') {
        // ABC-123, covid-19; but 2-bedroom, A-level, pay-as-you-go are words
        let is_code = head.chars().all(char::is_alphabetic)
            && tail.starts_with(|c: char| c.is_ascii_digit())
            && tail.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        return is_code && !head.is_empty();
    }
    let digits = piece.chars().filter(char::is_ascii_digit).count();
    if digits > 0 {
        return !is_measure(piece, tables);
    }
    is_camel_case(piece)
}

/// 10GB, 7am, 3rd, 5k: a number with something short behind it, which the number guards read.
fn is_measure(piece: &str, tables: &Tables) -> bool {
    let tail = piece.trim_start_matches(|c: char| c.is_ascii_digit()).to_lowercase();
    tail.len() < piece.len()
        && (matches!(tail.as_str(), "st" | "nd" | "rd" | "th" | "k" | "am" | "pm" | "x" | "s")
            || tables.units.contains_key(&tail))
}

fn is_camel_case(piece: &str) -> bool {
    let mut before = ' ';
    for c in piece.chars() {
        if before.is_lowercase() && c.is_uppercase() {
            return true;
        }
        before = c;
    }
    false
}
