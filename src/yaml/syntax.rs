//! What the parser says of a text that is no YAML, in words an operator can act
//! on.

use super::Place;
use super::Source;
use saphyr_parser::ScanError;

/// The parser's complaint in words an operator can act on: the usual causes are
/// characters with a meaning in YAML at the start or inside of a pattern.
pub(super) fn syntax_error(source: &Source, error: &ScanError) -> (Place, String) {
    let mark = error.marker();
    let mut place = Place { line: mark.line().max(1), col: mark.col() + 1 };
    let line: Vec<char> = source.line(place.line).chars().collect();
    let at = |col: usize| col.checked_sub(1).and_then(|index| line.get(index)).copied();
    let info = error.info();
    if info.contains("anchor") {
        // The parser stands at the asterisk or behind it.
        if matches!(at(place.col), Some('*' | '&')) {
            place.col += 1;
        }
        let found = at(place.col).unwrap_or(' ');
        return (
            place,
            format!(
                "expected alphabetic or numeric character, but found '{found}' (a pattern that begins with * must be quoted)"
            ),
        );
    }
    if info.contains("unknown escape character") {
        if at(place.col) == Some('\\') {
            place.col += 1;
        } else if at(place.col.saturating_sub(1)) != Some('\\')
            && let Some(index) = line.iter().position(|&c| c == '\\')
        {
            place.col = index + 2;
        }
        let found = at(place.col).unwrap_or(' ');
        return (
            place,
            format!("found unknown escape character '{found}' (patterns with \\ go in 'single quotes')"),
        );
    }
    if info.contains("unexpected character")
        && let Some(found @ ('@' | '`' | '%')) = at(place.col)
    {
        return (
            place,
            format!(
                "found character '{found}' that cannot start any token (a value that begins with {found} must be quoted)"
            ),
        );
    }
    if let Some((col, found)) = bracket_in_plain(&line, place.col) {
        place.col = col;
        return (
            place,
            format!(
                "expected ',' or '}}', but got '{found}' (inside {{…}} or […] a pattern or text with brackets must be quoted)"
            ),
        );
    }
    (place, info.to_owned())
}

/// The first bracket that stands in the middle of an unquoted text of the line,
/// at or before the place where the parser gave up.
fn bracket_in_plain(line: &[char], until: usize) -> Option<(usize, char)> {
    let mut quote = None;
    for (index, &c) in line.iter().enumerate().take(until) {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if matches!(c, '[' | ']' | '{' | '}') => {
                let before = index.checked_sub(1).map(|i| line[i]);
                let opens = matches!(c, '[' | '{');
                if opens && before.is_some_and(|b| !matches!(b, ' ' | '[' | '{' | ',' | '\t')) {
                    return Some((index + 1, c));
                }
            }
            None => {}
        }
    }
    None
}
