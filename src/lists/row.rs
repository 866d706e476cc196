//! One logical line of a list file: keys, negations, conditions and values as the
//! file's format has them.

use super::location::Format;
use super::network;
use super::pcre::Flags;
use ipnet::IpNet;

/// One line's meaning, and where its parts begin in it.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub body: Body<'a>,
    pub key_at: usize,
    pub value_at: usize,
}

#[derive(Debug)]
pub(super) enum Body<'a> {
    Endif,
    Entry { key: Key<'a>, negate: bool, value: Option<&'a str> },
    If { key: Key<'a>, negate: bool },
}

#[derive(Debug)]
pub(super) enum Key<'a> {
    Expression { shown: &'a str, body: &'a str, flags: Flags },
    Network { shown: &'a str, network: IpNet },
    Text(&'a str),
}

/// What is wrong, and where in the logical line.
pub(super) type Wrong = (usize, String);

pub(super) fn row(text: &str, format: Format) -> Result<Row<'_>, Wrong> {
    let start = text.len() - text.trim_start().len();
    let (word, rest_at) = word_at(text, start);
    match format {
        Format::Plain => {
            let body = Body::Entry { key: Key::Text(text.trim()), negate: false, value: None };
            Ok(Row { body, key_at: start, value_at: start })
        }
        Format::Texthash => {
            let body = Body::Entry { key: Key::Text(word), negate: false, value: rest(text, rest_at) };
            Ok(Row { body, key_at: start, value_at: rest_at })
        }
        _ if word.eq_ignore_ascii_case("endif") => {
            Ok(Row { body: Body::Endif, key_at: start, value_at: rest_at })
        }
        _ if word.eq_ignore_ascii_case("if") => {
            let (key, negate, end) = key(text, rest_at, format)?;
            if rest(text, end).is_some() {
                return Err((end, "nothing follows the pattern of an `if`; its lines come below".to_owned()));
            }
            Ok(Row { body: Body::If { key, negate }, key_at: rest_at, value_at: end })
        }
        _ => {
            let (key, negate, end) = key(text, start, format)?;
            Ok(Row {
                body: Body::Entry { key, negate, value: rest(text, end) },
                key_at: start,
                value_at: end,
            })
        }
    }
}

/// The word at an offset, and where what follows it begins.
fn word_at(text: &str, start: usize) -> (&str, usize) {
    let tail = text.get(start..).unwrap_or_default();
    let word = tail.split(|c: char| c.is_ascii_whitespace()).next().unwrap_or_default();
    (word, skip_blanks(text, start + word.len()))
}

fn skip_blanks(text: &str, at: usize) -> usize {
    let tail = text.get(at..).unwrap_or_default();
    at + tail.len() - tail.trim_start().len()
}

fn rest(text: &str, at: usize) -> Option<&str> {
    text.get(at..).map(str::trim).filter(|value| !value.is_empty())
}

/// A network or expression at an offset, whether a `!` turns it round, and where
/// what follows begins.
fn key(text: &str, start: usize, format: Format) -> Result<(Key<'_>, bool, usize), Wrong> {
    let tail = text.get(start..).unwrap_or_default();
    let negate = tail.starts_with('!');
    let at = if negate { skip_blanks(text, start + 1) } else { start };
    if format != Format::Cidr {
        let (key, end) = expression(text, at, format)?;
        return Ok((key, negate, end));
    }
    let (word, end) = word_at(text, at);
    let network =
        network::parse(word).ok_or_else(|| (at, format!("`{word}` is not an address or network")))?;
    Ok((Key::Network { shown: word, network }, negate, end))
}

/// `/pattern/flags`, with any sign in place of the slashes.
fn expression(text: &str, at: usize, format: Format) -> Result<(Key<'_>, usize), Wrong> {
    let tail = text.get(at..).unwrap_or_default();
    let delimiter = tail.chars().next().unwrap_or('a');
    if delimiter.is_alphanumeric() || delimiter.is_whitespace() || delimiter == '\\' {
        return Err((at, "a line begins with `/pattern/`, `if` or `endif`".to_owned()));
    }
    let body_at = delimiter.len_utf8();
    let mut escaped = false;
    let close = tail.char_indices().skip(1).find(|&(_, c)| {
        let found = c == delimiter && !escaped;
        escaped = c == '\\' && !escaped;
        found
    });
    let Some((close, _)) = close else {
        return Err((at, format!("the closing `{delimiter}` of the pattern is missing")));
    };
    let flags_at = close + delimiter.len_utf8();
    let behind = tail.get(flags_at..).unwrap_or_default();
    let letters = behind.split(|c: char| c.is_ascii_whitespace()).next().unwrap_or_default();
    let flags = flags_of(letters, format).map_err(|message| (at + flags_at, message))?;
    let end = flags_at + letters.len();
    let shown = tail.get(..end).unwrap_or_default();
    let body = tail.get(body_at..close).unwrap_or_default();
    Ok((Key::Expression { shown, body, flags }, skip_blanks(text, at + end)))
}

/// Each letter turns its flag round; case does not count and `.` matches line
/// ends unless told otherwise.
fn flags_of(letters: &str, format: Format) -> Result<Flags, String> {
    let mut flags = Flags { posix: format == Format::Regexp, ..Flags::default() };
    for letter in letters.chars() {
        match (letter, format) {
            ('i', _) => flags.mind_case = !flags.mind_case,
            ('m', _) => flags.multi_line = !flags.multi_line,
            ('s', Format::Pcre) => flags.dot_stops = !flags.dot_stops,
            ('x', Format::Pcre) => flags.extended = !flags.extended,
            ('A', Format::Pcre) => flags.anchored = !flags.anchored,
            ('U', Format::Pcre) => flags.ungreedy = !flags.ungreedy,
            // The end of a text is its very end here, and wrong escapes are refused.
            ('E' | 'X', Format::Pcre) => {}
            ('x', _) => {
                return Err("basic expressions are not read: write an extended one, without `x`".to_owned());
            }
            _ => return Err(format!("`{letter}` is no flag of such a table; blanks stand before the value")),
        }
    }
    Ok(flags)
}
