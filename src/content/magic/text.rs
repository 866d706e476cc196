//! Text: whether it is any, and what. Systems run it by the ending of its name, so
//! that comes first; else by the signs at its beginning.

use crate::content::Given;
use crate::content::Kind;
use crate::content::Kinds;
use memchr::memmem;
use std::borrow::Cow;

/// Bytes by which text is told from the rest.
const PROBE_BYTES: usize = 1024;
/// Bytes in which signs are looked for.
const HEAD_BYTES: usize = 4096;

/// By the last ending of a name, in order: what it is, if it is text at all.
const ENDINGS: &[(&str, Kind)] = &[
    ("ahk", Kind::Script),
    ("application", Kind::Shortcut),
    ("appref-ms", Kind::Shortcut),
    ("asa", Kind::Script),
    ("asp", Kind::Script),
    ("au3", Kind::Script),
    ("bas", Kind::Script),
    ("bash", Kind::Script),
    ("bat", Kind::Script),
    ("btm", Kind::Script),
    ("cmd", Kind::Script),
    ("command", Kind::Script),
    ("csh", Kind::Script),
    ("desktop", Kind::Shortcut),
    ("eml", Kind::Message),
    ("fish", Kind::Script),
    ("hta", Kind::Script),
    ("htm", Kind::Html),
    ("html", Kind::Html),
    ("ics", Kind::Calendar),
    ("inf", Kind::Script),
    ("iqy", Kind::ExternalTemplate),
    ("jnlp", Kind::Shortcut),
    ("js", Kind::Script),
    ("jse", Kind::Script),
    ("ksh", Kind::Script),
    ("library-ms", Kind::Shortcut),
    ("mht", Kind::Html),
    ("mhtml", Kind::Html),
    ("mjs", Kind::Script),
    ("msc", Kind::Script),
    ("osd", Kind::Script),
    ("pl", Kind::Script),
    ("ps1", Kind::Script),
    ("ps1xml", Kind::Script),
    ("ps2", Kind::Script),
    ("ps2xml", Kind::Script),
    ("psc1", Kind::Script),
    ("psc2", Kind::Script),
    ("psd1", Kind::Script),
    ("psm1", Kind::Script),
    ("py", Kind::Script),
    ("pyw", Kind::Script),
    ("rb", Kind::Script),
    ("rdp", Kind::Shortcut),
    ("reg", Kind::Script),
    ("scf", Kind::Shortcut),
    ("sct", Kind::Script),
    ("search-ms", Kind::Shortcut),
    ("searchconnector-ms", Kind::Shortcut),
    ("settingcontent-ms", Kind::Shortcut),
    ("sh", Kind::Script),
    ("shtm", Kind::Html),
    ("shtml", Kind::Html),
    ("theme", Kind::Shortcut),
    ("url", Kind::Shortcut),
    ("vb", Kind::Script),
    ("vbe", Kind::Script),
    ("vbs", Kind::Script),
    ("vcf", Kind::Calendar),
    ("vcs", Kind::Calendar),
    ("webloc", Kind::Shortcut),
    ("website", Kind::Shortcut),
    ("ws", Kind::Script),
    ("wsc", Kind::Script),
    ("wsf", Kind::Script),
    ("wsh", Kind::Script),
    ("xht", Kind::Html),
    ("xhtml", Kind::Html),
    ("zsh", Kind::Script),
];

/// By how it begins after white space; lower-case.
const BEGINNINGS: &[(&[u8], Kind)] = &[
    (b"#!", Kind::Script),
    (b"#@~^", Kind::Script),
    (b"#requires -", Kind::Script),
    (b"%!ps", Kind::Document),
    (b"-----begin certificate", Kind::Certificate),
    (b"-----begin cms", Kind::Signature),
    (b"-----begin dsa private key", Kind::Certificate),
    (b"-----begin ec private key", Kind::Certificate),
    (b"-----begin encrypted private key", Kind::Certificate),
    (b"-----begin openssh private key", Kind::Certificate),
    (b"-----begin pgp message", Kind::Signature),
    (b"-----begin pgp private key", Kind::Certificate),
    (b"-----begin pgp public key", Kind::Certificate),
    (b"-----begin pgp signature", Kind::Signature),
    (b"-----begin pkcs7", Kind::Signature),
    (b"-----begin private key", Kind::Certificate),
    (b"-----begin public key", Kind::Certificate),
    (b"-----begin rsa private key", Kind::Certificate),
    (b"-----begin trusted certificate", Kind::Certificate),
    (b"@echo ", Kind::Script),
    (b"[autorun]", Kind::Shortcut),
    (b"begin:vcalendar", Kind::Calendar),
    (b"begin:vcard", Kind::Calendar),
    (b"full address:s:", Kind::Shortcut),
    (b"id;p", Kind::Document),
    (b"regedit4", Kind::Script),
    (b"screen mode id:i:", Kind::Shortcut),
    (b"web\n1\n", Kind::ExternalTemplate),
    (b"web\r\n1\r\n", Kind::ExternalTemplate),
    (b"windows registry editor", Kind::Script),
    (b"xlodbc\r", Kind::ExternalTemplate),
    (b"{\\rt", Kind::Document),
];

/// Of files in the notation of `[sections]`; lower-case.
const SECTIONS: &[(&[u8], Kind)] = &[
    (b"[.shellclassinfo]", Kind::Shortcut),
    (b"[desktop entry]", Kind::Shortcut),
    (b"[internetshortcut", Kind::Shortcut),
    (b"[{000214a0-0000-0000-c000-000000000046}]", Kind::Shortcut),
];

/// By the name of an element, in order.
const ELEMENTS: &[(&[u8], Kind)] = &[
    (b"appinstaller", Kind::Installer),
    (b"applet", Kind::Html),
    (b"base", Kind::Html),
    (b"body", Kind::Html),
    (b"component", Kind::Script),
    (b"embed", Kind::Html),
    (b"form", Kind::Html),
    (b"frameset", Kind::Html),
    (b"head", Kind::Html),
    (b"hta:application", Kind::Script),
    (b"html", Kind::Html),
    (b"iframe", Kind::Html),
    (b"jnlp", Kind::Shortcut),
    (b"job", Kind::Script),
    (b"librarydescription", Kind::Shortcut),
    (b"meta", Kind::Html),
    (b"mmc_consolefile", Kind::Script),
    (b"ms:script", Kind::Script),
    (b"msxsl:script", Kind::Script),
    (b"office:document", Kind::Document),
    (b"pcsettings", Kind::Shortcut),
    (b"persistedquery", Kind::Shortcut),
    (b"pkg:package", Kind::Document),
    (b"script", Kind::Html),
    (b"scriptlet", Kind::Script),
    (b"searchconnectordescription", Kind::Shortcut),
    (b"svg", Kind::Image),
    (b"svg:svg", Kind::Image),
    (b"table", Kind::Html),
    (b"title", Kind::Html),
    (b"w:worddocument", Kind::Document),
];

/// Of XML: who defines what stands in it; lower-case.
const NAMESPACES: &[(&[u8], Kind)] = &[
    (b"<key>url</key>", Kind::Shortcut),
    (b"schemas.microsoft.com/developer/msbuild", Kind::Script),
    (b"schemas.microsoft.com/windows/2004/02/mit/task", Kind::Script),
    (b"urn:schemas-microsoft-com:asm.v1", Kind::Shortcut),
    (b"urn:schemas-microsoft-com:office:spreadsheet", Kind::Document),
    (b"schemas.microsoft.com/office/word/2003/wordml", Kind::Document),
];

/// What stands in scripts and in little else; looked for where no ending says what a
/// file is. Lower-case.
const SCRIPT_SIGNS: &[&[u8]] = &[
    b"wscript.shell",
    b"wscript.createobject",
    b"new activexobject(",
    b"createobject(\"",
    b"powershell -",
    b"powershell.exe",
    b"frombase64string(",
    b"invoke-expression",
    b"downloadstring(",
    b"set-executionpolicy",
];

/// What fields a mail begins with; lower-case.
const FIELDS: &[&[u8]] = &[
    b"content-type",
    b"date",
    b"delivered-to",
    b"dkim-signature",
    b"from",
    b"message-id",
    b"mime-version",
    b"received",
    b"reply-to",
    b"return-path",
    b"subject",
    b"to",
    b"x-mailer",
];

/// How a text begins, in lower-case, without blanks and marks before it.
pub(super) struct Head<'a>(Cow<'a, [u8]>);

impl<'a> Head<'a> {
    /// None: it is no text.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let head = bytes.get(..HEAD_BYTES).unwrap_or(bytes);
        let text = decode(head)?;
        let blanks = text.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        Some(Self(match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.get(blanks..).unwrap_or_default()),
            Cow::Owned(text) => Cow::Owned(text.get(blanks..).unwrap_or_default().to_vec()),
        }))
    }

    pub(super) fn kinds(&self, given: Given<'_>) -> Kinds {
        let mut kinds = Kinds::NONE;
        for kind in given.names.iter().filter_map(|name| by_ending(name)) {
            kinds.add(kind);
        }
        let first = self.0.first().copied().unwrap_or_default();
        // A text without a name is shown, not run.
        let is_shown = given.names.is_empty() && given.media_type == Some("text/plain");
        if matches!(first, b'<' | b'[' | b';' | b'-')
            || is_line_of_field(&self.0)
            || !kinds.is_empty()
            || !is_shown
        {
            let head = self.0.to_ascii_lowercase();
            kinds.join(signs(&head, given, is_shown));
        }
        if matches!(given.media_type, Some("text/html" | "application/xhtml+xml")) {
            kinds.add(Kind::Html);
        }
        if kinds.has(Kind::Script) && kinds.has(Kind::Html) && !self.is_page(given) {
            kinds = kinds.iter().filter(|kind| *kind != Kind::Html).collect();
        }
        kinds
    }

    /// A script for a page by its elements, unless something says that it is shown as
    /// one.
    fn is_page(&self, given: Given<'_>) -> bool {
        given.names.iter().any(|name| by_ending(name) == Some(Kind::Html))
            || given.media_type == Some("text/html")
            || given.names.iter().any(|name| ending(name).is_some_and(|end| end.eq_ignore_ascii_case("hta")))
    }
}

/// By what stands in it.
fn signs(head: &[u8], given: Given<'_>, is_shown: bool) -> Kinds {
    let mut kinds = Kinds::NONE;
    match head.first() {
        Some(b'<') => return elements(head),
        Some(b'[' | b';') => {
            kinds.join(kinds_of(SECTIONS.iter().filter(|(sign, _)| memmem::find(head, sign).is_some())));
            let has = |sign: &[u8]| memmem::find(head, sign).is_some();
            if has(b"[shell]") && (has(b"command=") || has(b"iconfile=")) || has(b"[theme]") {
                kinds.add(Kind::Shortcut);
            }
            if has(b"[version]") && has(b"signature") {
                kinds.add(Kind::Script);
            }
        }
        _ => {}
    }
    if !is_shown {
        kinds.join(kinds_of(BEGINNINGS.iter().filter(|(sign, _)| head.starts_with(sign))));
    } else if head.starts_with(b"-----begin") {
        kinds.join(kinds_of(
            BEGINNINGS.iter().filter(|(sign, _)| sign.starts_with(b"-") && head.starts_with(sign)),
        ));
    }
    if !is_shown && is_mail(head) {
        kinds.add(Kind::Message);
        let has = |sign: &[u8]| memmem::find(head, sign).is_some();
        if has(b"multipart/related") && (has(b"\ncontent-location:") || has(b"saved by")) {
            kinds.add(Kind::Html);
        }
    }
    if kinds.is_empty() && !is_shown && !says_ending(given) {
        let has = |sign: &&&[u8]| memmem::find(head, sign).is_some();
        if SCRIPT_SIGNS.iter().any(|sign| has(&sign)) {
            kinds.add(Kind::Script);
        }
    }
    kinds
}

/// Any name with an ending: that says what opens it.
fn says_ending(given: Given<'_>) -> bool {
    given.names.iter().any(|name| ending(name).is_some())
}

/// Of HTML, XML and what is like them.
fn elements(head: &[u8]) -> Kinds {
    /// Names of elements are no longer.
    const MAX_NAME: usize = 32;
    let mut kinds = Kinds::NONE;
    let mut has_script = false;
    let mut is_first = true;
    for at in memchr::memchr_iter(b'<', head) {
        let rest = head.get(at + 1..).unwrap_or_default();
        if rest.starts_with(b"!doctype html") {
            kinds.add(Kind::Html);
        }
        let name_bytes = rest
            .iter()
            .take(MAX_NAME)
            .take_while(|byte| byte.is_ascii_alphanumeric() || b":_-".contains(byte))
            .count();
        let name = rest.get(..name_bytes).unwrap_or_default();
        if name.is_empty() {
            continue;
        }
        has_script |= name == b"script";
        let known = ELEMENTS.binary_search_by(|(known, _)| (*known).cmp(name)).ok();
        if let Some((_, kind)) = known.and_then(|at| ELEMENTS.get(at)) {
            // Pages have elements of other names, and those have titles.
            if is_first
                || matches!(kind, Kind::Html) && !kinds.has(Kind::Image)
                || name == b"script"
                || matches!(kind, Kind::Script)
            {
                kinds.add(*kind);
            }
        } else if is_first && (name == b"package" || name == b"registration") {
            kinds.add(Kind::Script);
        } else if is_first && is_of_html(name) {
            kinds.add(Kind::Html);
        }
        is_first = false;
    }
    if !kinds.has(Kind::Html) {
        kinds.join(kinds_of(NAMESPACES.iter().filter(|(sign, _)| memmem::find(head, sign).is_some())));
    }
    if kinds.has(Kind::Script) && kinds.has(Kind::Html) && !has_script {
        kinds = Kind::Html.into();
    }
    kinds
}

/// Elements by which browsers take a text for a page when they stand first.
fn is_of_html(name: &[u8]) -> bool {
    [&b"a"[..], b"b", b"br", b"center", b"div", b"font", b"h1", b"h2", b"img", b"p", b"span", b"style"]
        .contains(&name)
}

/// Lines of at least three fields that mails have, and the first is one.
fn is_mail(head: &[u8]) -> bool {
    const ENOUGH: usize = 3;
    if !is_line_of_field(head) && !head.starts_with(b"from ") && !head.starts_with(b">from ") {
        return false;
    }
    let mut found = [false; FIELDS.len()];
    let mut lines = head.split(|byte| *byte == b'\n');
    for line in lines.by_ref().take_while(|line| !line.trim_ascii().is_empty()) {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii();
        if let Ok(at) = FIELDS.binary_search(&name)
            && let Some(found) = found.get_mut(at)
        {
            *found = true;
        }
    }
    found.iter().filter(|found| **found).count() >= ENOUGH
}

/// `Name: …`
fn is_line_of_field(head: &[u8]) -> bool {
    const MAX_NAME: usize = 64;
    let name =
        head.iter().take(MAX_NAME).take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
    name > 0 && head.get(name) == Some(&b':')
}

/// What is run or shown although it is no text: readers of HTML skip all that is none.
pub(super) fn despite_binary(given: Given<'_>, kinds: &mut Kinds) {
    let is_page = |name: &String| {
        matches!(by_ending(name), Some(Kind::Html))
            || ending(name).is_some_and(|end| end.eq_ignore_ascii_case("hta"))
    };
    let is_shown = given.names.iter().any(is_page) || given.media_type == Some("text/html");
    if !is_shown || !has_elements(given.bytes) {
        return;
    }
    if !kinds.is_empty() {
        kinds.add(Kind::Polyglot);
    }
    kinds.add(Kind::Html);
    if given.names.iter().any(|name| ending(name).is_some_and(|end| end.eq_ignore_ascii_case("hta"))) {
        kinds.add(Kind::Script);
    }
}

fn has_elements(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'<', bytes).any(|at| {
        [&b"<html"[..], b"<script", b"<body", b"<hta:", b"<iframe", b"<svg"].iter().any(|element| {
            bytes.get(at..at + element.len()).is_some_and(|found| found.eq_ignore_ascii_case(element))
        })
    })
}

/// Shown as text, whatever is in it.
pub(super) fn is_named_so(given: Given<'_>) -> bool {
    const TEXTS: &[&str] = &["csv", "json", "log", "md", "text", "tsv", "txt", "xml", "yaml", "yml"];
    let is_text = |name: &String| {
        ending(name).is_some_and(|end| TEXTS.iter().any(|text| end.eq_ignore_ascii_case(text)))
    };
    match given.names {
        [] => given.media_type.is_some_and(|media_type| media_type.starts_with("text/")),
        names => names.iter().all(is_text),
    }
}

/// What the ending of the name says.
fn by_ending(name: &str) -> Option<Kind> {
    let ending = ending(name)?.to_ascii_lowercase();
    let at = ENDINGS.binary_search_by(|(known, _)| (*known).cmp(ending.as_str())).ok()?;
    ENDINGS.get(at).map(|(_, kind)| *kind)
}

/// What follows the last dot, as Windows has it: blanks and dots at the end don't count,
/// nor does a stream of a file.
fn ending(name: &str) -> Option<&str> {
    const LONGEST: usize = 24;
    let name = name.split(['\0', ':']).next().unwrap_or_default();
    let name = name.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '.' | '"' | '\''));
    let (_, ending) = name.rsplit_once('.')?;
    (!ending.is_empty() && ending.len() <= LONGEST).then_some(ending)
}

/// As ASCII, with a question mark for all that is none; none: it is no text.
fn decode(head: &[u8]) -> Option<Cow<'_, [u8]>> {
    if let Some(text) = head.strip_prefix(b"\xef\xbb\xbf") {
        return Some(Cow::Borrowed(text));
    }
    if head.starts_with(b"\xff\xfe\0\0") || head.starts_with(b"\0\0\xfe\xff") {
        return Some(Cow::Owned(wide(head.get(4..)?, 4, if head.starts_with(b"\xff") { 0 } else { 3 })));
    }
    if let Some(text) = head.strip_prefix(b"\xff\xfe") {
        return Some(Cow::Owned(wide(text, 2, 0)));
    }
    if let Some(text) = head.strip_prefix(b"\xfe\xff") {
        return Some(Cow::Owned(wide(text, 2, 1)));
    }
    let probe = head.get(..PROBE_BYTES).unwrap_or(head);
    if !has_controls(probe) {
        return Some(Cow::Borrowed(head));
    }
    // UTF-16 without a mark, which notepads and browsers guess as well.
    let zeros = |odd: usize| probe.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    let pairs = probe.len() / 2;
    if pairs < 4 {
        return None;
    }
    let (high, low) = if zeros(1) > zeros(0) { (1, 0) } else { (0, 1) };
    let is_wide = zeros(high) * 10 >= pairs * 8 && zeros(low) == 0;
    let text = is_wide.then(|| wide(head, 2, low))?;
    (!has_controls(text.get(..PROBE_BYTES).unwrap_or(&text))).then_some(Cow::Owned(text))
}

/// Units of `size` bytes, of which the one at `low` counts if the others are 0.
fn wide(text: &[u8], size: usize, low: usize) -> Vec<u8> {
    let unit = |unit: &[u8]| {
        let is_ascii = unit.iter().enumerate().all(|(at, byte)| at == low || *byte == 0);
        if is_ascii { unit.get(low).copied().unwrap_or(b'?') } else { b'?' }
    };
    text.chunks_exact(size).map(unit).collect()
}

/// What text does not have: zeros, or more than a few of the characters that nobody
/// sees. Programs that run text don't mind some.
fn has_controls(bytes: &[u8]) -> bool {
    const FEW: usize = 32;
    const COUNTS: [u8; 256] = {
        let mut counts = [0; 256];
        let mut byte = 1;
        while byte < 0x20 {
            counts[byte] = !matches!(byte, 0x07..=0x0d | 0x1a | 0x1b) as u8;
            byte += 1;
        }
        counts
    };
    let count = |byte: &u8| usize::from(COUNTS.get(usize::from(*byte)).copied().unwrap_or_default());
    memchr::memchr(0, bytes).is_some() || bytes.iter().map(count).sum::<usize>() * FEW > bytes.len()
}

fn kinds_of<'a>(rows: impl Iterator<Item = &'a (&'static [u8], Kind)>) -> Kinds {
    rows.map(|(_, kind)| *kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_in_order() {
        assert!(ENDINGS.is_sorted_by_key(|(ending, _)| *ending));
        assert!(ELEMENTS.is_sorted_by_key(|(element, _)| *element));
        assert!(FIELDS.is_sorted());
    }

    #[test]
    fn endings_are_read_as_windows_reads_them() {
        for (name, expected) in [
            ("a.js", Some("js")),
            ("a.JS. . ", Some("JS")),
            ("a.js::$DATA", Some("js")),
            ("a.txt.vbs", Some("vbs")),
            ("js", None),
            ("a.", None),
            ("", None),
        ] {
            assert_eq!(ending(name), expected, "{name}");
        }
    }
}
