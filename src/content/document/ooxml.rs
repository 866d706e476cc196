//! Documents of Office since 2007: files of XML in a zip archive, with a list for each
//! of what it refers to.
//!
//! What stands in the archive is looked at as a file of its own; here is what makes the
//! document as a whole dangerous.

use super::Budget;
use super::Inside;
use super::Kind;
use super::office;
use super::zip;
use crate::content::magic;
use memchr::memmem;

/// Parts that are looked into, for one document.
const MAX_PARTS: usize = 512;

pub(super) fn look(reader: &mut zip::Reader<'_>, inside: &mut Inside<'_>, budget: &mut Budget) {
    let names: Vec<String> =
        reader.names().map(str::to_ascii_lowercase).map(|name| name.replace('\\', "/")).collect();
    if !names.iter().any(|name| name == "[content_types].xml") {
        return;
    }
    inside.is(Kind::Document);
    let mut parts = 0;
    // Each by its place: of two that differ in case alone a program takes the other.
    for (place, name) in names.iter().enumerate() {
        if name.ends_with("vbaproject.bin") {
            inside.is(Kind::Macros);
        }
        let Some(part) = Part::of(name) else { continue };
        if parts >= MAX_PARTS {
            return inside.limit("more parts of a document than are looked into", budget);
        }
        parts += 1;
        let Some(bytes) = reader.read_at(place, budget) else { continue };
        part.look(&bytes, inside, budget);
    }
}

/// What a part may have to hide.
#[derive(Clone, Copy, Debug)]
enum Part {
    Relations,
    Signature,
    Sheet,
    Types,
    Unknown,
    Ui,
    Xml,
}

impl Part {
    /// None: pictures and the like.
    fn of(name: &str) -> Option<Self> {
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        if name == "[content_types].xml" {
            return Some(Self::Types);
        }
        if name.contains("vbaprojectsignature") {
            return Some(Self::Signature);
        }
        if name.contains("macrosheets/") {
            return Some(Self::Sheet);
        }
        match ending {
            "rels" => Some(Self::Relations),
            "xml" if name.starts_with("customui/") => Some(Self::Ui),
            "xml" if name.starts_with("word/") || name.contains("externallinks/") => Some(Self::Xml),
            "xml" | "jpg" | "jpeg" | "png" | "gif" | "emf" | "wmf" | "tif" | "tiff" | "fntdata" | "odttf" => {
                None
            }
            "docx" | "pptx" | "xlsx" => None,
            _ if name.contains("/media/") => None,
            _ => Some(Self::Unknown),
        }
    }

    fn look(self, bytes: &[u8], inside: &mut Inside<'_>, budget: &mut Budget) {
        match self {
            Self::Relations => {
                if has_remote_relation(&plain(bytes)) {
                    inside.is(Kind::ExternalTemplate);
                }
            }
            Self::Signature => inside.is(Kind::SignedMacros),
            Self::Sheet => inside.is(Kind::Macros),
            Self::Types => {
                // A part of macros may have any name.
                let types = plain(bytes).to_ascii_lowercase();
                let signs = [
                    &b"vnd.ms-office.vbaproject\""[..],
                    b"vnd.ms-excel.macrosheet",
                    b"vnd.ms-excel.intlmacrosheet",
                ];
                let is_used =
                    |sign: &[u8]| memmem::find_iter(&types, sign).any(|at| is_of_a_part(&types, at));
                if signs.iter().any(|sign| is_used(sign)) {
                    inside.is(Kind::Macros);
                }
            }
            Self::Ui => {
                let ui = plain(bytes).to_ascii_lowercase();
                if [&b"onload"[..], b"onaction"].iter().any(|sign| {
                    memmem::find(&ui, sign).is_some_and(|at| {
                        let value = ui.get(at..).unwrap_or_default();
                        memmem::find(value.get(..256).unwrap_or(value), b"://").is_some()
                    })
                }) {
                    inside.is(Kind::ExternalTemplate);
                }
            }
            Self::Unknown if bytes.starts_with(magic::OLE) => {
                let mut found = Inside::default();
                office::look(bytes, &mut found, budget);
                inside.join(found, budget);
            }
            Self::Unknown => {}
            Self::Xml => {
                let text = plain(bytes);
                if memmem::find(&text, b"<ddeLink").is_some() || has_dde_field(&text) {
                    inside.is(Kind::Dde);
                }
            }
        }
    }
}

/// Not in `<Default …>` for the usual ending: that stands in documents without any such
/// part too.
fn is_of_a_part(types: &[u8], at: usize) -> bool {
    let before = types.get(..at).unwrap_or_default();
    let element = memchr::memrchr(b'<', before).and_then(|start| before.get(start..)).unwrap_or_default();
    !element.starts_with(b"<default")
        || attribute(element, b"extension").is_none_or(|ending| ending != b"bin")
}

/// In ASCII, if it is UTF-16, without references to characters.
pub(super) fn plain(text: &[u8]) -> Vec<u8> {
    let is_wide = text.starts_with(b"\xff\xfe")
        || text.starts_with(b"\xfe\xff")
        || text.starts_with(b"<\0")
        || text.starts_with(b"\0<");
    let text: Vec<u8> =
        if is_wide { text.iter().copied().filter(|byte| *byte != 0).collect() } else { text.to_vec() };
    if memchr::memchr(b'&', &text).is_none() {
        return text;
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_slice();
    while let Some(at) = memchr::memchr(b'&', rest) {
        let (before, after) = rest.split_at(at);
        plain.extend(before);
        let (char, size) = reference(after).unwrap_or((b'&', 1));
        plain.push(char);
        rest = after.get(size..).unwrap_or_default();
    }
    plain.extend(rest);
    plain
}

/// `&#104;`, `&#x68;`, `&amp;`: the character and how long it is written.
fn reference(text: &[u8]) -> Option<(u8, usize)> {
    const MAX_BYTES: usize = 12;
    let end = memchr::memchr(b';', text.get(..MAX_BYTES).unwrap_or(text))?;
    let name = std::str::from_utf8(text.get(1..end)?).ok()?;
    let char = match name {
        "amp" => b'&',
        "quot" => b'"',
        "apos" => b'\'',
        "lt" => b'<',
        "gt" => b'>',
        _ => {
            let number = name.strip_prefix('#')?;
            let number = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            u8::try_from(number.ok()?).ok()?
        }
    };
    Some((char, end + 1))
}

/// Something that is fetched when the document is opened, from another machine. Links
/// that are clicked, and links between sheets, of which Excel asks, are in many.
fn has_remote_relation(relations: &[u8]) -> bool {
    const FETCHED: &[&[u8]] = &[
        b"attachedtemplate",
        b"oleobject",
        b"frame",
        b"subdocument",
        b"slide",
        b"control",
        b"customxmldata",
    ];
    memchr::memchr_iter(b'<', relations).any(|at| {
        let element = element_at(relations, at);
        if !is_named(element, b"Relationship") {
            return false;
        }
        let element = element.to_ascii_lowercase();
        let kind = attribute(&element, b"type").unwrap_or_default();
        let kind = kind.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let target = attribute(&element, b"target").unwrap_or_default();
        let is_external = attribute(&element, b"targetmode").is_some_and(|mode| mode == b"external");
        is_external
            && (FETCHED.contains(&kind) && is_remote(target) || is_of_handler(target) && kind != b"hyperlink")
    })
}

/// From its `<` to its end, or to where another begins.
fn element_at(text: &[u8], at: usize) -> &[u8] {
    let element = text.get(at..).unwrap_or_default();
    let end = memchr::memchr2(b'<', b'>', element.get(1..).unwrap_or_default());
    end.and_then(|end| element.get(..end + 1)).unwrap_or(element)
}

/// The element, with any prefix.
fn is_named(element: &[u8], name: &[u8]) -> bool {
    const LONGEST: usize = 64;
    let tag = element.get(1..).unwrap_or_default();
    let tag = tag.get(..LONGEST).unwrap_or(tag);
    let tag = tag.split(|byte| byte.is_ascii_whitespace() || *byte == b'/').next().unwrap_or_default();
    tag.rsplit(|byte| *byte == b':').next() == Some(name)
}

/// The value of an attribute; both in lower-case.
fn attribute<'a>(element: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    memmem::find_iter(element, name).find_map(|at| {
        let before = at.checked_sub(1).and_then(|at| element.get(at))?;
        let value = element.get(at + name.len()..)?.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
        let (quote, value) = value.split_first()?;
        (before.is_ascii_whitespace() && matches!(quote, b'"' | b'\'')).then_some(())?;
        value.get(..memchr::memchr(*quote, value)?)
    })
}

/// Not on this machine's own disks.
pub(super) fn is_remote(target: &[u8]) -> bool {
    let target = target.trim_ascii();
    if is_of_handler(target) || target.starts_with(b"\\\\") || target.starts_with(b"//") {
        return true;
    }
    if let Some(path) = target.strip_prefix(b"file:") {
        let slashes = path.iter().take_while(|byte| matches!(byte, b'/' | b'\\')).count();
        let path = path.get(slashes..).unwrap_or_default();
        let is_of_disk = path.get(1).is_some_and(|byte| matches!(byte, b':' | b'|'));
        // `file:///C:/`, `file:///home/`; a machine has two slashes before it, or four.
        return !is_of_disk && (slashes == 2 || slashes > 3);
    }
    [&b"http:"[..], b"https:", b"ftp:", b"webdav:", b"smb:"].iter().any(|scheme| target.starts_with(scheme))
}

/// Schemes that hand what they fetch to a program.
fn is_of_handler(target: &[u8]) -> bool {
    let target = target.trim_ascii();
    [
        &b"mhtml:"[..],
        b"script:",
        b"ms-msdt:",
        b"search-ms:",
        b"its:",
        b"mk:@msitstore",
        b"javascript:",
        b"vbscript:",
    ]
    .iter()
    .any(|scheme| target.starts_with(scheme))
        || memmem::find(target, b"!x-usc:").is_some()
}

/// A field of Word begins with `DDE` or `DDEAUTO`, in one piece or in several.
fn has_dde_field(text: &[u8]) -> bool {
    if memmem::find(text, b"instr").is_none() {
        return false;
    }
    let mut code = Vec::new();
    for at in memchr::memchr_iter(b'<', text) {
        let element = element_at(text, at);
        if is_named(element, b"fldChar") {
            code.clear();
        } else if is_named(element, b"fldSimple") {
            let element = element.to_ascii_lowercase();
            let value = [&b"w:instr"[..], b"instr"].iter().find_map(|name| attribute(&element, name));
            if value.is_some_and(begins_with_dde) {
                return true;
            }
        } else if is_named(element, b"instrText") {
            let content = text.get(at + element.len()..).unwrap_or_default();
            let content = content.strip_prefix(b">").unwrap_or(content);
            let content = content.get(..memchr::memchr(b'<', content).unwrap_or(content.len()));
            let content = content.unwrap_or_default();
            // Enough of it says what it is.
            if code.len() < 64 {
                code.extend(content.get(..256).unwrap_or(content));
            }
            if begins_with_dde(&code) {
                return true;
            }
        }
    }
    false
}

fn begins_with_dde(code: &[u8]) -> bool {
    let code = code.trim_ascii_start().to_ascii_lowercase();
    code.strip_prefix(b"dde")
        .is_some_and(|rest| rest.starts_with(b"auto") || rest.first().is_some_and(u8::is_ascii_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_remote_or_not() {
        for (kind, target, expected) in [
            ("attachedTemplate", "http://evil.test/a.dotm", true),
            ("attachedTemplate", "&#104;ttp://evil.test/a.dotm", true),
            ("attachedTemplate", r"\\evil.test\a.dotm", true),
            ("attachedTemplate", "file://evil.test/a.dotm", true),
            ("attachedTemplate", r"file:///\\evil.test\a.dotm", true),
            ("attachedTemplate", "file:///C:\\Users\\a\\Normal.dotm", false),
            ("attachedTemplate", "file:///home/a/Normal.dotm", false),
            ("oleObject", "mhtml:http://evil.test/a!x-usc:http://evil.test/a", true),
            ("oleObject", "file:///D:/a.xlsx", false),
            ("hyperlink", "http://evil.test/", false),
            ("image", "http://a.test/a.png", false),
            ("externalLinkPath", "https://sharepoint.test/a.xlsx", false),
        ] {
            let relations = format!(
                "<Relationships><Relationship Id='a' Type=\"http://schemas.test/relationships/{kind}\" Target=\"{target}\" TargetMode=\"External\"/>"
            );
            assert_eq!(has_remote_relation(&plain(relations.as_bytes())), expected, "{kind} {target}");
            let wide: Vec<u8> = relations.encode_utf16().flat_map(u16::to_le_bytes).collect();
            assert_eq!(has_remote_relation(&plain(&wide)), expected, "{kind} {target}");
            let local = relations.replace("External", "Internal");
            assert!(!has_remote_relation(&plain(local.as_bytes())));
        }
    }

    #[test]
    fn fields_that_start_programs_are_found_in_pieces() {
        for (text, expected) in [
            ("<w:instrText> DDEAUTO c:\\\\cmd.exe</w:instrText>", true),
            ("<w:instrText>DD</w:instrText><w:r/><w:instrText>EAUTO \"x\"</w:instrText>", true),
            ("<w:fldSimple w:instr='DDE excel a'/>", true),
            ("<w:instrText>DD</w:instrText><w:fldChar/><w:instrText>EAUTO \"x\"</w:instrText>", false),
            ("<w:instrText> HYPERLINK \"dde \"</w:instrText>", false),
            ("<w:t>DDEAUTO instr</w:t>", false),
        ] {
            assert_eq!(has_dde_field(text.as_bytes()), expected, "{text}");
        }
    }
}
