//! What a milter answers, made safe to send: texts, header fields, addresses.

use crate::names::external_form;

/// Postfix cuts headers at 60,000 bytes while milters are active.
pub const MAX_HEADER_VALUE_BYTES: usize = 32 * 1024;

/// What a line should have at most (RFC 5322, 2.1.1).
const MAX_LINE_BYTES: usize = 78;

/// A reply's text as Postfix wants it: `%` doubled, since it takes a single one
/// off, as Sendmail's library would expand it.
pub fn reply_text(text: &str) -> String {
    text.replace('%', "%%")
}

/// A header value that can't become two headers or end the header: a line may
/// go on only with a blank and something behind it (RFC 5322 section 2.2.3,
/// 4.2); any other line end, NUL or control character becomes `?`.
pub fn header_value(value: &str) -> String {
    let mut clean = String::with_capacity(value.len().min(MAX_HEADER_VALUE_BYTES));
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        let mut c = c;
        if c == '\r' && rest.as_str().starts_with('\n') {
            rest.next();
            c = '\n';
        }
        let safe = match c {
            '\t' => '\t',
            '\n' if is_fold(rest.as_str()) => '\n',
            c if c.is_control() => '?',
            c => c,
        };
        if clean.len() + safe.len_utf8() > MAX_HEADER_VALUE_BYTES {
            break;
        }
        clean.push(safe);
    }
    // The cut may have fallen right behind a line end.
    clean.truncate(clean.trim_end().len());
    clean
}

/// A list of things, such as `Authentication-Results`, on lines as short as they can be:
/// a long value goes on in the next line behind a `;` with a blank.
pub fn folded(name: &str, value: &str) -> String {
    let mut folded = String::with_capacity(value.len() + 16);
    let mut line = name.len() + 2;
    for piece in value.split_inclusive(';') {
        if line + piece.len() > MAX_LINE_BYTES && piece.starts_with(' ') && !folded.is_empty() {
            folded.push('\n');
            line = 0;
        }
        folded.push_str(piece);
        line += piece.len();
    }
    folded
}

/// Whether what follows a line end continues the line.
fn is_fold(after: &str) -> bool {
    let line = after.split(['\r', '\n']).next().unwrap_or_default();
    line.starts_with([' ', '\t']) && !line.trim_matches([' ', '\t']).is_empty()
}

/// RFC 5322 section 3.6.8: printable ASCII but the colon.
pub fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 128 && name.bytes().all(|b| b.is_ascii_graphic() && b != b':')
}

/// An address in internal form as Postfix parses it: quoted where it must be, in
/// brackets; none if it could be taken for two or hides a control character.
pub fn bracketed(address: &str) -> Option<String> {
    let bare = address.strip_prefix('<').and_then(|a| a.strip_suffix('>')).unwrap_or(address);
    let safe = bare.len() <= 512 && !bare.chars().any(|c| c.is_control() || matches!(c, '<' | '>'));
    safe.then(|| format!("<{}>", external_form(bare)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn header_values_keep_folds_and_nothing_else() {
        for (value, expected) in [
            ("a", "a"),
            ("a\n b", "a\n b"),
            ("a\r\n\tb", "a\n\tb"),
            ("a\nX: b", "a?X: b"),
            ("a\r\n\r\nbody", "a??body"),
            ("a\n \nb", "a? ?b"),
            ("a\n ", "a?"),
            ("a\rb\0c\u{7f}\u{85}", "a?b?c??"),
            ("a\n\n b", "a?\n b"),
        ] {
            assert_eq!(header_value(value), expected, "{value:?}");
        }
        assert_eq!(header_value(&"ü".repeat(40_000)).len(), MAX_HEADER_VALUE_BYTES);
    }

    #[test]
    fn names_addresses_and_replies_are_safe() {
        assert!(is_header_name("X-Spam") && !is_header_name("X:") && !is_header_name("a b"));
        assert!(!is_header_name("") && !is_header_name("ü"));
        for (address, expected) in [
            ("a@b.example", Some("<a@b.example>")),
            ("<a@b.example>", Some("<a@b.example>")),
            ("", Some("<>")),
            ("<>", Some("<>")),
            ("a>,<b", None),
            ("a\nb", None),
        ] {
            assert_eq!(bracketed(address).as_deref(), expected, "{address:?}");
        }
        assert_eq!(reply_text("100% sure, %{i}"), "100%% sure, %%{i}");
    }

    #[test]
    fn a_long_list_is_folded_between_its_parts() {
        let part = "dkim=pass header.d=example.com header.s=selector";
        let short = format!("mx; {part}");
        assert_eq!(folded("X", &short), short);
        assert_eq!(
            folded("X", &format!("mx; {part}; {part};{part}")),
            format!("mx; {part};\n {part};{part}")
        );
        let plain = "word ".repeat(100);
        assert_eq!(folded("X", &plain), plain);
        assert_eq!(header_value(&folded("X", &format!("{part}; {part}; "))), format!("{part};\n {part};"));
    }

    proptest! {
        #[test]
        fn no_value_makes_a_second_header(value in "[a: \t\r\n\0]{0,40}") {
            let clean = header_value(&value);
            let mut lines = clean.split('\n');
            lines.next();
            for line in lines {
                prop_assert!(line.starts_with([' ', '\t']) && !line.trim().is_empty(), "{clean:?}");
            }
            prop_assert!(!clean.contains(['\r', '\0']));
        }
    }
}
