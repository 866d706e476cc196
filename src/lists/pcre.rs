//! Regular expressions as Postfix people write them (pcre_table(5),
//! regexp_table(5)), rewritten for an engine that runs in linear time.
//!
//! The expressions are the operator's, the texts they run on are strangers': so
//! there are no lookarounds and no back references, which cost exponential time
//! on the right text, and a compiled expression has at most [`MAX_COMPILED_BYTES`].

use super::rewrite;
use regex::Regex;
use regex::RegexBuilder;

/// `\w{1,63}` takes a quarter of it; a mistyped `{1,9999}` does not fit.
const MAX_COMPILED_BYTES: usize = 4 << 20;

/// How an expression is read. The default is that of Postfix's pcre tables.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Flags {
    pub anchored: bool,
    /// A `.` does not match the end of a line.
    pub dot_stops: bool,
    pub extended: bool,
    pub mind_case: bool,
    pub multi_line: bool,
    /// As regexp_table(5) has it: signs behind a backslash mean what POSIX and the C
    /// library say.
    pub posix: bool,
    pub ungreedy: bool,
}

/// An expression that compiled, with the text that a set of them is built from.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    pub source: String,
    pub regex: Regex,
}

/// Compiles what stands between the slashes.
pub(super) fn compile(body: &str, flags: Flags) -> Result<Expression, String> {
    if body.is_empty() {
        return Err("an empty pattern matches everything; say `/./` or leave it out".to_owned());
    }
    let source = with_flags(&translate(body, flags)?, flags);
    match RegexBuilder::new(&source).size_limit(MAX_COMPILED_BYTES).build() {
        Ok(regex) => Ok(Expression { source, regex }),
        Err(regex::Error::CompiledTooBig(_)) => {
            Err(format!("`/{body}/` is too large once compiled; use smaller numbers in its {{…}}"))
        }
        Err(error) => Err(format!("`/{body}/` is no pattern: {}", last_words(&error.to_string()))),
    }
}

/// The flags stand in the text itself, so that one set can hold expressions of
/// different flags.
fn with_flags(body: &str, flags: Flags) -> String {
    let mut source = String::with_capacity(body.len() + 16);
    let letters = [
        ('i', !flags.mind_case),
        ('s', !flags.dot_stops),
        ('m', flags.multi_line),
        ('x', flags.extended),
        ('U', flags.ungreedy),
    ];
    if letters.iter().any(|&(_, on)| on) {
        source.push_str("(?");
        source.extend(letters.iter().filter(|(_, on)| *on).map(|&(letter, _)| letter));
        source.push(')');
    }
    if !flags.anchored {
        source.push_str(body);
        return source;
    }
    source.push_str("\\A(?:");
    source.push_str(body);
    // A comment of an extended expression must not swallow the bracket.
    source.push_str(if flags.extended { "\n)" } else { ")" });
    source
}

/// The engine draws the place of a mistake over several lines; the last says what it is.
fn last_words(error: &str) -> &str {
    let last = error.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last)
}

/// PCRE's spelling to that of the engine; what it can't do is named.
fn translate(body: &str, flags: Flags) -> Result<String, String> {
    let mut out = String::with_capacity(body.len() + 8);
    let mut rest = body;
    // Whether what comes next could make possessive what was repeated before.
    let mut was_repeated = false;
    let mut in_braces = false;
    while let Some(c) = rest.chars().next() {
        let tail = rest.get(c.len_utf8()..).unwrap_or_default();
        let ends_braces = in_braces && c == '}';
        if was_repeated && c == '+' {
            let before = body.get(..body.len() - rest.len()).unwrap_or_default();
            let mut sign = before.chars().last().map(String::from).unwrap_or_default();
            sign.push('+');
            return Err(unsupported("possessive repetition", &sign, &format!("write `/{before}{tail}/`")));
        }
        was_repeated = ends_braces || !was_repeated && matches!(c, '*' | '+' | '?') && !out.ends_with('(');
        in_braces &= !ends_braces;
        rest = match c {
            '\\' if flags.posix => posix_escape(tail, &mut out)?,
            '\\' => escape(tail, body, &mut out)?,
            '[' => class(tail, flags.posix, &mut out),
            '(' => group(tail, body, &mut out)?,
            '{' if !is_repetition(tail) => {
                out.push_str("\\{");
                tail
            }
            '#' if flags.extended => {
                let end = rest.find('\n').unwrap_or(rest.len());
                let (comment, tail) = rest.split_at(end);
                out.push_str(comment);
                tail
            }
            c => {
                in_braces |= c == '{';
                out.push(c);
                tail
            }
        };
    }
    Ok(out)
}

/// Behind a backslash outside of brackets.
fn escape<'t>(rest: &'t str, body: &str, out: &mut String) -> Result<&'t str, String> {
    let Some(c) = rest.chars().next() else {
        out.push('\\');
        return Ok(rest);
    };
    let tail = rest.get(c.len_utf8()..).unwrap_or_default();
    match c {
        '1'..='9' | 'g' | 'k' => {
            let remedy = "write each text that may be repeated as a pattern of its own";
            return Err(unsupported("back reference", &format!("\\{c}"), remedy));
        }
        'G' => return Err(unsupported("escape", "\\G", "write `^`")),
        'K' => {
            let before = body.get(..body.len() - rest.len() - 1).unwrap_or_default();
            return Err(unsupported("escape", "\\K", &format!("write `/{before}{tail}/`")));
        }
        'C' | 'X' => return Err(unsupported("escape", &format!("\\{c}"), "write `.`")),
        'Q' => {
            let (literal, tail) = tail.split_once("\\E").unwrap_or((tail, ""));
            out.push_str(&regex::escape(literal));
            return Ok(tail);
        }
        'E' => {}
        'Z' => out.push_str("\\z"),
        'R' => out.push_str("(?:\\r\\n|[\\n\\r\\x0b\\x0c])"),
        'h' => out.push_str("[ \\t]"),
        'H' => out.push_str("[^ \\t]"),
        'e' => out.push_str("\\x1b"),
        '0' => out.push_str("\\x00"),
        c => literal_escape(c, out),
    }
    Ok(tail)
}

/// The same of POSIX, with what the C library adds.
fn posix_escape<'t>(rest: &'t str, out: &mut String) -> Result<&'t str, String> {
    let Some(c) = rest.chars().next() else {
        out.push('\\');
        return Ok(rest);
    };
    match c {
        '1'..='9' => return escape(rest, rest, out),
        '`' => out.push_str("\\A"),
        '\'' => out.push_str("\\z"),
        '<' | '>' | 'b' | 'B' | 's' | 'S' | 'w' | 'W' => {
            out.push('\\');
            out.push(c);
        }
        c if c.is_ascii_alphanumeric() => {
            return Err(format!(
                "`\\{c}` is just `{c}` in a table of regexp: say so, write a class such as [[:digit:]], or say pcre:"
            ));
        }
        c => literal_escape(c, out),
    }
    Ok(rest.get(c.len_utf8()..).unwrap_or_default())
}

/// `\<` is a sign in PCRE and the start of a word in the engine; a letter
/// beyond ASCII needs no backslash and may have none.
fn literal_escape(c: char, out: &mut String) {
    if c.is_ascii() && !matches!(c, '<' | '>') {
        out.push('\\');
    }
    out.push(c);
}

/// Behind a `[`: to the end of the class. Nested brackets and `&&`, `--`, `~~`
/// mean nothing in PCRE and much in the engine.
fn class<'t>(rest: &'t str, posix: bool, out: &mut String) -> &'t str {
    out.push('[');
    let mut rest = rest;
    if let Some(tail) = rest.strip_prefix('^') {
        out.push('^');
        rest = tail;
    }
    if let Some(tail) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = tail;
    }
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        let tail = rest.get(c.len_utf8()..).unwrap_or_default();
        if c == ']' {
            out.push(']');
            return tail;
        }
        let named = named_class(rest);
        rest = match c {
            '[' if !named.is_empty() => {
                out.push_str(named);
                rest.get(named.len()..).unwrap_or_default()
            }
            // POSIX: it stands for itself.
            '\\' if posix => {
                out.push_str("\\\\");
                tail
            }
            '\\' => class_escape(tail, before == '-', out),
            '[' | '&' | '~' => {
                out.push('\\');
                out.push(c);
                tail
            }
            '-' if before == '-' => {
                out.push_str("\\-");
                tail
            }
            c => {
                out.push(c);
                tail
            }
        };
        before = c;
    }
    rest
}

fn class_escape<'t>(rest: &'t str, ends_range: bool, out: &mut String) -> &'t str {
    // Up to the last byte is up to the last letter: texts are no bytes here.
    for last in ["xff", "xFF", "x{ff}", "x{FF}", "377"] {
        if let Some(tail) = rest.strip_prefix(last).filter(|_| ends_range) {
            out.push_str("\\x{10FFFF}");
            return tail;
        }
    }
    let Some(c) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    match c {
        'h' => out.push_str(" \\t"),
        'b' => out.push_str("\\x08"),
        'e' => out.push_str("\\x1b"),
        '0' => out.push_str("\\x00"),
        c => literal_escape(c, out),
    }
    rest.get(c.len_utf8()..).unwrap_or_default()
}

/// `[:alpha:]` at the start of the text, or nothing.
fn named_class(text: &str) -> &str {
    let Some(inner) = text.strip_prefix("[:") else {
        return "";
    };
    let name = inner.trim_start_matches('^').trim_start_matches(|c: char| c.is_ascii_alphabetic());
    if !name.starts_with(":]") {
        return "";
    }
    let end = text.len() - name.len() + 2;
    text.get(..end).unwrap_or_default()
}

/// Behind a `(`.
fn group<'t>(rest: &'t str, body: &str, out: &mut String) -> Result<&'t str, String> {
    if rest.starts_with('*') {
        return Err(unsupported("verb", "(*", APART));
    }
    let Some(kind) = rest.strip_prefix('?') else {
        out.push('(');
        return Ok(rest);
    };
    if let Some(comment) = kind.strip_prefix('#') {
        return Ok(comment.split_once(')').map_or("", |(_, tail)| tail));
    }
    for (start, name) in [
        ("<=", "lookbehind"),
        ("<!", "negative lookbehind"),
        ("=", "lookahead"),
        ("!", "negative lookahead"),
        (">", "atomic group"),
        ("|", "branch reset"),
        ("(", "condition"),
        ("P=", "back reference"),
        ("P>", "recursion"),
        ("R", "recursion"),
        ("&", "recursion"),
        ("C", "callout"),
    ] {
        if let Some(inner) = kind.strip_prefix(start) {
            let before = body.get(..body.len() - rest.len() - 1).unwrap_or_default();
            let remedy = rewrite::of_group(start, before, inner).unwrap_or_else(|| APART.to_owned());
            return Err(unsupported(name, &format!("(?{start}"), &remedy));
        }
    }
    if kind.starts_with(|c: char| c.is_ascii_digit() || c == '+') {
        return Err(unsupported("recursion", "(?1)", APART));
    }
    if let Some((name, tail)) = kind.strip_prefix('\'').and_then(|quoted| quoted.split_once('\'')) {
        out.push_str("(?<");
        out.push_str(name);
        out.push('>');
        return Ok(tail);
    }
    out.push_str("(?");
    Ok(kind)
}

/// Where nothing shorter is known.
const APART: &str = "use two patterns, or `unless`";

fn unsupported(name: &str, sign: &str, remedy: &str) -> String {
    format!("{name} `{sign}` is not supported, for patterns run in linear time: {remedy}")
}

/// Whether what follows a `{` makes it a repetition; PCRE takes any other as it is.
fn is_repetition(rest: &str) -> bool {
    let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    if after.len() == rest.len() {
        return false;
    }
    let after = after.strip_prefix(',').unwrap_or(after);
    after.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(body: &str, text: &str) -> bool {
        compile(body, Flags::default()).unwrap().regex.is_match(text)
    }

    #[test]
    fn what_pcre_spells_differently_means_the_same() {
        for (body, hit, miss) in [
            (r"^\<b\>$", "<b>", "b"),
            (r"^[[]x[]]$", "[x]", "x"),
            (r"^[^]]$", "a", "]"),
            (r"^[a&&b]$", "&", "c"),
            (r"^[[:digit:]]{2}$", "12", "1"),
            (r"^{x}$", "{x}", "x"),
            (r"^a{2}$", "aa", "a{2}"),
            (r"^a\hb$", "a b", "ab"),
            (r"^\Q.*\E$", ".*", "xx"),
            (r"a(?# note )b", "ab", "a b"),
            (r"^a\/b$", "a/b", "ab"),
            (r"^(?'x'a)$", "a", "b"),
            (r"^ü\ü$", "üü", "u"),
            (r"^a.b$", "a\nb", "ab"),
            (r"^ABC$", "abc", "abd"),
            (r"^x}+$", "x}}", "x"),
            (r"^a+?b*?c??$", "aab", "b"),
            (r"^[\x80-\xff]+$", "\u{416}\u{e9}", "a"),
        ] {
            assert!(matches(body, hit), "{body} {hit}");
            assert!(!matches(body, miss), "{body} {miss}");
        }
    }

    #[test]
    fn what_needs_backtracking_is_named_with_what_to_write() {
        for (body, name, remedy) in [
            ("a(?=b)", "lookahead `(?=`", "write `/a(?:b)/`"),
            (
                "^(?!owner-)(.*)-outgoing@(.*)",
                "negative lookahead `(?!`",
                "let `/^(.*)-outgoing@(.*)/` match but not `/^owner-/`: in a table `if !/^owner-/` above it and \
                 `endif` below, in a rule `unless`",
            ),
            (r"^(friend@(?!my\.domain$).*)$", "negative lookahead `(?!`", "use two patterns, or `unless`"),
            (
                "^Subject: (?=.*a)(?:b|c)",
                "lookahead `(?=`",
                "let `/^Subject: (?:b|c)/` match and also `/^Subject: .*a/`: in a table `if /^Subject: .*a/` \
                 above it and `endif` below, in a rule both under `when`",
            ),
            ("x(?![0-9])", "negative lookahead `(?!`", "write `/x(?:[^0-9]|$)/`"),
            ("(?<=a)b", "lookbehind `(?<=`", "write `/(?:a)b/`"),
            (r"(?<!\w)b", "negative lookbehind `(?<!`", r"write `/(?:^|\W)b/`"),
            ("(?<!ab)c", "negative lookbehind `(?<!`", "use two patterns, or `unless`"),
            (
                r"(a)\1",
                r"back reference `\1`",
                "write each text that may be repeated as a pattern of its own",
            ),
            (
                r"(?<x>a)\k<x>",
                r"back reference `\k`",
                "write each text that may be repeated as a pattern of its own",
            ),
            ("x(?>a|b)y", "atomic group `(?>`", "write `/x(?:a|b)y/`"),
            ("a++b", "possessive repetition `++`", "write `/a+b/`"),
            ("[a]*+", "possessive repetition `*+`", "write `/[a]*/`"),
            ("a{2}+b", "possessive repetition `}+`", "write `/a{2}b/`"),
            (r"a\Kb", r"escape `\K`", "write `/ab/`"),
            ("(?R)", "recursion `(?R`", "use two patterns, or `unless`"),
        ] {
            let error = compile(body, Flags::default()).unwrap_err();
            let expected = format!("{name} is not supported, for patterns run in linear time: {remedy}");
            assert_eq!(error, expected, "{body}");
        }
        // The signs alone are no constructs.
        assert!(matches(r"[(?=]\(\?=", "=(?="));
    }

    #[test]
    fn a_table_of_regexp_has_the_escapes_of_posix() {
        let posix = Flags { posix: true, ..Flags::default() };
        for (body, hit, miss) in [
            (r"\<b\>", "a b c", "abc"),
            (r"^[\.]$", "\\", "x"),
            (r"^a\.b\w$", "a.bc", "axbc"),
            (r"\`ab\'", "ab", "xab"),
        ] {
            let expression = compile(body, posix).unwrap();
            assert!(expression.regex.is_match(hit), "{body} {hit}");
            assert!(!expression.regex.is_match(miss), "{body} {miss}");
        }
        assert_eq!(
            compile(r"\d+", posix).unwrap_err(),
            r"`\d` is just `d` in a table of regexp: say so, write a class such as [[:digit:]], or say pcre:"
        );
    }

    #[test]
    fn mistakes_are_told_in_one_line() {
        for (body, expected) in [
            ("a(b", "`/a(b/` is no pattern: unclosed group"),
            ("*a", "`/*a/` is no pattern: repetition operator missing expression"),
            (r"\w{9999}", r"`/\w{9999}/` is too large once compiled; use smaller numbers in its {…}"),
            ("", "an empty pattern matches everything; say `/./` or leave it out"),
        ] {
            assert_eq!(compile(body, Flags::default()).unwrap_err(), expected);
        }
    }

    #[test]
    fn flags_are_heeded() {
        let with = |flags: Flags, body: &str, text: &str| compile(body, flags).unwrap().regex.is_match(text);
        let none = Flags::default();
        assert!(!with(Flags { mind_case: true, ..none }, "a", "A"));
        assert!(!with(Flags { dot_stops: true, ..none }, "a.b", "a\nb"));
        assert!(with(Flags { multi_line: true, ..none }, "^b", "a\nb"));
        assert!(with(Flags { extended: true, ..none }, "a b # c (", "ab"));
        assert!(!with(Flags { anchored: true, ..none }, "b", "ab"));
        assert!(with(Flags { anchored: true, extended: true, ..none }, "a # b", "ab"));
    }
}
