//! Right-hand sides of access(5) and header_checks(5), for lists that say
//! `to: action`: the tables are read as they are.
//!
//! Where Postfix would do something that we can't, or that an operator cannot
//! have meant, the table does not load and the message says what to write. What
//! `$1` brings in was written by strangers: it is data, is never read again, and
//! cannot choose where mail goes.

use crate::near::did_you_mean;

/// What a text may grow to with what it brings in: a header line of Postfix's.
const MAX_EXPANDED_BYTES: usize = 8 << 10;

/// What a table line says.
#[derive(Clone, Debug, PartialEq)]
pub struct TableAction {
    pub verb: Verb,
    /// Of `450 text`; for REJECT and DEFER the asker's own.
    pub code: Option<u16>,
    /// Taken off the text: `5.7.1`.
    pub enhanced: Option<[u16; 3]>,
    text: Template,
}

/// What is to be done, named as in the rule language where it has the word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verb {
    /// OK, RELAY, and bare numbers, which pop-before-smtp programs write.
    Accept,
    Bcc,
    Defer,
    DeferIfPermit,
    Discard,
    /// As if the line were not there.
    Dunno,
    Filter,
    Hold,
    Info,
    /// The lines and rules behind are not asked.
    Pass,
    /// The text is a whole `Name: value` line.
    Prepend,
    Redirect,
    Reject,
    /// IGNORE: the header line goes.
    Remove,
    /// The header line becomes the text.
    Replace,
    /// The same as IGNORE, and the log says so.
    Strip,
    Warn,
}

const WORDS: &[(&str, Verb)] = &[
    ("BCC", Verb::Bcc),
    ("DEFER", Verb::Defer),
    ("DEFER_IF_PERMIT", Verb::DeferIfPermit),
    ("DISCARD", Verb::Discard),
    ("DUNNO", Verb::Dunno),
    ("FILTER", Verb::Filter),
    ("HOLD", Verb::Hold),
    ("IGNORE", Verb::Remove),
    ("INFO", Verb::Info),
    ("OK", Verb::Accept),
    ("PASS", Verb::Pass),
    ("PREPEND", Verb::Prepend),
    ("REDIRECT", Verb::Redirect),
    ("REJECT", Verb::Reject),
    ("RELAY", Verb::Accept),
    ("REPLACE", Verb::Replace),
    ("STRIP", Verb::Strip),
    ("WARN", Verb::Warn),
];

impl TableAction {
    /// Reads a right-hand side. `expands`: the table is one of expressions, in
    /// which `$1` is what the first group matched.
    pub fn parse(raw: &str, expands: bool) -> Result<Self, String> {
        let (word, text) = split_word(raw);
        let (verb, code) = verb_of(word, text)?;
        let (enhanced, text) = match verb {
            Verb::Defer | Verb::DeferIfPermit | Verb::Reject => split_enhanced(text),
            _ => (None, text),
        };
        let text = if expands { Template::parse(text)? } else { Template::plain(text) };
        let action = Self { verb, code, enhanced, text };
        action.check(word)?;
        Ok(action)
    }

    /// The text with what the groups matched. Empty if the line has none.
    pub fn expand(&self, captures: &[(String, String)]) -> String {
        self.text.expand(captures)
    }

    /// The highest group that the text asks for.
    pub fn highest_group(&self) -> usize {
        self.text.highest_group()
    }

    fn check(&self, word: &str) -> Result<(), String> {
        let text = self.text.raw();
        let built = self.text.highest_group() > 0;
        match self.verb {
            Verb::Bcc | Verb::Filter | Verb::Redirect if built => {
                Err(format!("`{word}` with `$1` would let mail choose where it goes; write it out"))
            }
            Verb::Bcc | Verb::Redirect if !text.contains('@') || text.contains(' ') => {
                Err(format!("`{word}` needs an address, not `{text}`"))
            }
            Verb::Filter if !text.contains(':') => {
                Err(format!("`{word}` needs `transport:destination`, not `{text}`"))
            }
            Verb::Prepend | Verb::Replace if !is_header(&text) => {
                Err(format!("`{word}` needs `Name: value`, not `{text}`"))
            }
            _ => Ok(()),
        }
    }
}

fn split_word(raw: &str) -> (&str, &str) {
    let raw = raw.trim();
    raw.split_once(|c: char| c.is_ascii_whitespace()).map_or((raw, ""), |(word, text)| (word, text.trim()))
}

fn verb_of(word: &str, text: &str) -> Result<(Verb, Option<u16>), String> {
    let digits = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    let code = word.parse::<u16>().ok().filter(|code| digits && (400..600).contains(code));
    if let Some(code) = code {
        if text.is_empty() {
            return Err(format!("a bare `{word}` means OK to Postfix: say `OK`, or put a text behind it"));
        }
        return Ok((if code < 500 { Verb::Defer } else { Verb::Reject }, Some(code)));
    }
    if digits {
        return Ok((Verb::Accept, None));
    }
    let known = WORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    known.map(|&(_, verb)| (verb, None)).ok_or_else(|| unknown_word(word))
}

fn unknown_word(word: &str) -> String {
    let folded = word.to_ascii_lowercase();
    if word.is_empty() {
        return "no action behind the pattern: say OK, REJECT, … or leave out `to: action`".to_owned();
    }
    if folded == "defer_if_reject" {
        return "`DEFER_IF_REJECT` depends on what others say later: use DEFER_IF_PERMIT, or DEFER"
            .to_owned();
    }
    let prefixes = ["permit", "reject_", "check_", "defer_unauth", "warn_if_", "smtpd_"];
    if prefixes.iter().any(|prefix| folded.starts_with(prefix)) {
        return format!(
            "`{word}` is a restriction of Postfix's, which only Postfix can apply: make it a rule"
        );
    }
    let hint = did_you_mean(word, WORDS.iter().map(|(name, _)| *name));
    format!("`{word}` is no action of access(5) or header_checks(5){hint}")
}

/// An enhanced code (RFC 3463) at the start of a text.
fn split_enhanced(text: &str) -> (Option<[u16; 3]>, &str) {
    let (first, rest) = split_word(text);
    let mut parts = first.split('.').map(|part| {
        part.parse::<u16>().ok().filter(|_| part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit()))
    });
    let code = [parts.next().flatten(), parts.next().flatten(), parts.next().flatten()];
    match (code, parts.next()) {
        ([Some(class @ (4 | 5)), Some(subject), Some(detail)], None) => {
            (Some([class, subject, detail]), rest)
        }
        _ => (None, text),
    }
}

/// A name of visible characters before a colon: RFC 5322, section 2.2.
fn is_header(text: &str) -> bool {
    text.split_once(':')
        .is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic()))
}

/// A text with `$1`, `${1}`, `$(1)` and `$$`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Group(usize),
    Text(String),
}

impl Template {
    pub(super) fn plain(text: &str) -> Self {
        Self { parts: vec![Part::Text(text.to_owned())] }
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            literal.push_str(before);
            if let Some(tail) = after.strip_prefix('$') {
                literal.push('$');
                rest = tail;
                continue;
            }
            let (number, tail) =
                group_of(after).ok_or_else(|| format!("a `$` in `{text}` is `$1`, `${{1}}` or `$$`"))?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Group(number));
            rest = tail;
        }
        literal.push_str(rest);
        parts.push(Part::Text(literal));
        Ok(Self { parts })
    }

    pub(super) fn highest_group(&self) -> usize {
        let groups = self.parts.iter().map(|part| if let Part::Group(number) = part { *number } else { 0 });
        groups.max().unwrap_or(0)
    }

    /// The groups' texts are put in as they are, and not looked at again.
    pub(super) fn expand(&self, captures: &[(String, String)]) -> String {
        let mut text = String::new();
        for part in &self.parts {
            let piece = match part {
                Part::Text(piece) => piece.as_str(),
                Part::Group(number) => {
                    let number = number.to_string();
                    captures.iter().find(|(name, _)| *name == number).map_or("", |(_, value)| value)
                }
            };
            if text.len() + piece.len() > MAX_EXPANDED_BYTES {
                let fits = MAX_EXPANDED_BYTES - text.len();
                text.extend(
                    piece.char_indices().take_while(|(at, c)| at + c.len_utf8() <= fits).map(|(_, c)| c),
                );
                return text;
            }
            text.push_str(piece);
        }
        text
    }

    /// As it was written, with `$1` for each group.
    fn raw(&self) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Group(number) => format!("${{{number}}}"),
                Part::Text(text) => text.clone(),
            })
            .collect()
    }
}

/// The number behind a `$`, and what follows.
fn group_of(after: &str) -> Option<(usize, &str)> {
    let (digits, tail) = match after.chars().next()? {
        '{' => after.get(1..)?.split_once('}')?,
        '(' => after.get(1..)?.split_once(')')?,
        _ => after.split_at(after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len()),
    };
    let number = digits.parse().ok().filter(|number| (1..=99).contains(number))?;
    digits.bytes().all(|b| b.is_ascii_digit()).then_some((number, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_hand_sides_are_read() {
        for (raw, verb, code, enhanced, text) in [
            ("REJECT", Verb::Reject, None, None, ""),
            ("reject  5.7.1 Go away", Verb::Reject, None, Some([5, 7, 1]), "Go away"),
            ("554 5.7.1 no", Verb::Reject, Some(554), Some([5, 7, 1]), "no"),
            ("450 later", Verb::Defer, Some(450), None, "later"),
            ("DEFER 1.2.3.4 is full", Verb::Defer, None, None, "1.2.3.4 is full"),
            ("DEFER_IF_PERMIT 4.2.0 x", Verb::DeferIfPermit, None, Some([4, 2, 0]), "x"),
            ("OK", Verb::Accept, None, None, ""),
            ("RELAY", Verb::Accept, None, None, ""),
            ("1123581321", Verb::Accept, None, None, ""),
            ("DUNNO", Verb::Dunno, None, None, ""),
            ("WARN", Verb::Warn, None, None, ""),
            ("FILTER local:", Verb::Filter, None, None, "local:"),
            ("BCC a@b.test", Verb::Bcc, None, None, "a@b.test"),
            ("IGNORE", Verb::Remove, None, None, ""),
            ("PREPEND X-Y: z $1", Verb::Prepend, None, None, "X-Y: z $1"),
        ] {
            let action = TableAction::parse(raw, false).unwrap();
            assert_eq!((action.verb, action.code, action.enhanced), (verb, code, enhanced), "{raw}");
            assert_eq!(action.expand(&[]), text, "{raw}");
        }
    }

    #[test]
    fn what_we_cannot_do_says_what_to_write() {
        for (raw, expected) in [
            ("550", "a bare `550` means OK to Postfix: say `OK`, or put a text behind it"),
            ("RJECT x", "`RJECT` is no action of access(5) or header_checks(5); did you mean `REJECT`?"),
            ("greylist", "`greylist` is no action of access(5) or header_checks(5)"),
            (
                "permit_mynetworks",
                "`permit_mynetworks` is a restriction of Postfix's, which only Postfix can apply: make it a rule",
            ),
            (
                "DEFER_IF_REJECT x",
                "`DEFER_IF_REJECT` depends on what others say later: use DEFER_IF_PERMIT, or DEFER",
            ),
            ("", "no action behind the pattern: say OK, REJECT, … or leave out `to: action`"),
            ("FILTER slow", "`FILTER` needs `transport:destination`, not `slow`"),
            ("REDIRECT $1@b.test", "`REDIRECT` with `$1` would let mail choose where it goes; write it out"),
            ("BCC nobody", "`BCC` needs an address, not `nobody`"),
            ("PREPEND spam", "`PREPEND` needs `Name: value`, not `spam`"),
            ("REJECT 5 $ more", "a `$` in `5 $ more` is `$1`, `${1}` or `$$`"),
        ] {
            assert_eq!(TableAction::parse(raw, true).unwrap_err(), expected, "{raw}");
        }
    }

    #[test]
    fn groups_come_in_as_data() {
        let captures = [("1".to_owned(), "$2${2}\r\n".to_owned()), ("name".to_owned(), "x".to_owned())];
        for (text, expected) in [
            ("a $1 b", "a $2${2}\r\n b"),
            ("${1}0", "$2${2}\r\n0"),
            ("$(1)$$", "$2${2}\r\n$"),
            ("[$7]", "[]"),
        ] {
            assert_eq!(Template::parse(text).unwrap().expand(&captures), expected, "{text}");
        }
        for wrong in ["$", "$x", "${1", "${name}", "$(0)", "${+1}"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_text_grows_to_its_bound_and_no_further() {
        let template = Template::parse(&"$1".repeat(1000)).unwrap();
        let captures = [("1".to_owned(), "ü".repeat(1000))];
        assert_eq!(template.expand(&captures).len(), MAX_EXPANDED_BYTES);
        assert_eq!(template.highest_group(), 1);
    }
}
