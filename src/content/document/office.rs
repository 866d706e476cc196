//! Documents of Office before 2007, mails of Outlook, and whatever else is a compound
//! file: Word, Excel and PowerPoint each hide things in streams of their own.

use super::Budget;
use super::Inside;
use super::Kind;
use super::ole::Entry;
use super::ole::Holds;
use super::ole::Ole;
use super::package;
use super::u16_at;
use super::u32_at;
use super::usize_at;
use super::utf16;
use super::vba;
use memchr::memmem;
use std::io::Read;

pub(super) fn look(bytes: &[u8], inside: &mut Inside<'_>, budget: &mut Budget) {
    let mut presentations = Vec::new();
    look_once(bytes, inside, budget, &mut presentations);
    // Macros of PowerPoint are a compound file in a stream of the document; in that one
    // nothing of the kind is looked for.
    for presentation in presentations {
        for object in objects_of_presentation(&presentation, budget) {
            let (mut found, mut unread) = (Inside::default(), Vec::new());
            look_once(&object, &mut found, budget, &mut unread);
            inside.join(found, budget);
            budget.give_back(object.len() as u64 + unread.iter().map(Vec::len).sum::<usize>() as u64);
            // What else is in it is found as in any other file.
            inside.add("", object, budget);
        }
        budget.give_back(presentation.len() as u64);
    }
}

fn look_once(bytes: &[u8], inside: &mut Inside<'_>, budget: &mut Budget, presentations: &mut Vec<Vec<u8>>) {
    let Some(ole) = Ole::read(bytes) else { return inside.is(Kind::Damaged) };
    if ole.is_cut {
        inside.limit("more entries of a compound file than are read", budget);
    }
    let is_installer = ole.entries.iter().any(|entry| is_of_installer(&entry.name));
    for (place, entry) in ole.entries.iter().enumerate() {
        if is_equation(entry) {
            inside.is(Kind::EquationObject);
        }
        match entry.holds {
            Holds::Folder => folder(&ole, place, entry, inside, budget),
            Holds::Stream => stream(&ole, entry, inside, budget, presentations),
        }
    }
    if is_installer {
        inside.is(Kind::Installer);
    }
}

/// Names of tables of Windows Installer are packed into characters that nobody else uses.
fn is_of_installer(name: &str) -> bool {
    name.chars().count() > 1 && name.chars().all(|c| ('\u{3800}'..='\u{4840}').contains(&c))
}

fn is_equation(entry: &Entry) -> bool {
    /// 0002CE02-0000-0000-C000-000000000046.
    const EQUATION: [u8; 16] = *b"\x02\xce\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46";
    entry.class == EQUATION || entry.name.eq_ignore_ascii_case("Equation Native")
}

fn folder(ole: &Ole<'_>, place: usize, entry: &Entry, inside: &mut Inside<'_>, budget: &mut Budget) {
    let name = entry.name.to_ascii_lowercase();
    match name.as_str() {
        "vba" | "_vba_project_cur" => inside.is(Kind::Macros),
        _ if name.starts_with("__attach_version1.0_#") => attachment(ole, place, inside, budget),
        _ => {}
    }
}

fn stream(
    ole: &Ole<'_>,
    entry: &Entry,
    inside: &mut Inside<'_>,
    budget: &mut Budget,
    presentations: &mut Vec<Vec<u8>>,
) {
    let read = |inside: &mut Inside<'_>, budget: &mut Budget| {
        let stream = ole.stream(entry, usize::MAX, budget);
        if stream.is_none() {
            inside.is(Kind::Limits);
        }
        stream.unwrap_or_default()
    };
    match entry.name.to_ascii_lowercase().as_str() {
        "__properties_version1.0" => inside.is(Kind::Message),
        "_vba_project" => inside.is(Kind::Macros),
        "dir" => {
            let is_project = entry
                .parent
                .and_then(|parent| ole.entries.get(parent))
                .is_none_or(|parent| parent.name.eq_ignore_ascii_case("VBA"));
            if is_project {
                let names = vba::modules(&read(inside, budget));
                names.into_iter().for_each(|name| inside.add_macro(name));
            }
        }
        "encryptedpackage" => inside.is(Kind::EncryptedDocument),
        "\u{1}ole10native" => {
            let stream = read(inside, budget);
            package::native(&stream, inside, budget);
        }
        "\u{1}ole" => {
            /// The class of monikers that are URLs, 79EAC9E0-BAF9-11CE-8C82-00AA004BA90B.
            const URL: &[u8] = b"\xe0\xc9\xea\x79\xf9\xba\xce\x11\x8c\x82\0\xaa\0\x4b\xa9\x0b";
            if memmem::find(&read(inside, budget), URL).is_some() {
                inside.is(Kind::ExternalTemplate);
            }
        }
        "\u{5}documentsummaryinformation" if has_signature(&read(inside, budget)) => {
            inside.is(Kind::SignedMacros);
        }
        "workbook" | "book" => sheets(&read(inside, budget), inside),
        "worddocument" => text(&read(inside, budget), inside),
        "current user" => {
            /// Says that the presentation is encrypted.
            const TOKEN: u32 = 0xF3D1_C4DF;
            if u32_at(&read(inside, budget), 12) == Some(TOKEN) {
                inside.is(Kind::EncryptedDocument);
            }
        }
        "powerpoint document" => {
            // Many may stand at one place.
            let presentation = read(inside, budget);
            match budget.hold(presentation.len() as u64) {
                true => presentations.push(presentation),
                false => inside.is(Kind::Limits),
            }
        }
        _ => {}
    }
}

/// Property 24 of the summary: the signature on macros (MS-OSHARED, section 2.3.3.2.3.1).
fn has_signature(summary: &[u8]) -> bool {
    const SIGNATURE: u32 = 0x18;
    const MAX_PROPERTIES: usize = 1000;
    let Some(set) = usize_at(summary, 44).and_then(|at| summary.get(at..)) else { return false };
    let count = usize_at(set, 4).unwrap_or_default().min(MAX_PROPERTIES);
    (0..count).any(|at| u32_at(set, 8 + at * 8) == Some(SIGNATURE))
}

/// Of Excel, the records before the first sheet (MS-XLS, section 2.4).
fn sheets(stream: &[u8], inside: &mut Inside<'_>) {
    const BOUND_SHEET: u16 = 0x85;
    const END: u16 = 0x0A;
    const FILE_PASS: u16 = 0x2F;
    const LINK: u16 = 0x1AE;
    const OF_MACROS: u8 = 1;
    let mut rest = stream;
    while let (Some(id), Some(size)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let body = rest.get(4..).unwrap_or_default();
        match id {
            BOUND_SHEET if body.get(5) == Some(&OF_MACROS) => inside.is(Kind::Macros),
            FILE_PASS => inside.is(Kind::EncryptedDocument),
            // The name of a program, and what it is told, with a mark between.
            LINK if body.get(..usize::from(size)).is_some_and(|link| {
                !inside.kinds.has(Kind::EncryptedDocument) && link.len() > 8 && is_dde_link(link)
            }) =>
            {
                inside.is(Kind::Dde);
            }
            END => return,
            _ => {}
        }
        let Some(next) = body.get(usize::from(size)..) else { return };
        rest = next;
    }
}

/// `program\x03topic`, in one byte or two each.
fn is_dde_link(link: &[u8]) -> bool {
    let text: Vec<u8> = link.iter().skip(4).copied().filter(|byte| *byte != 0).collect();
    let mut halves = text.split(|byte| *byte == 3);
    let program = halves.next().unwrap_or_default();
    let is_word = |text: &[u8]| text.len() > 1 && text.iter().skip(1).all(|byte| byte.is_ascii_graphic());
    halves.next().is_some() && is_word(program)
}

/// Of Word: encryption, and fields that start programs.
fn text(stream: &[u8], inside: &mut Inside<'_>) {
    const ENCRYPTED: u16 = 0x0100;
    const FIELD: u8 = 0x13;
    if u16_at(stream, 10).is_some_and(|flags| flags & ENCRYPTED != 0) {
        return inside.is(Kind::EncryptedDocument);
    }
    let is_dde = |at: usize| {
        let field = stream.get(at + 1..).unwrap_or_default();
        let field = field.get(..64).unwrap_or(field);
        let code: Vec<u8> = field.iter().copied().filter(|byte| !matches!(byte, 0 | b' ')).take(3).collect();
        code.eq_ignore_ascii_case(b"dde")
    };
    if memchr::memchr_iter(FIELD, stream).any(is_dde) {
        inside.is(Kind::Dde);
    }
}

/// Compound files in a presentation (MS-PPT, section 2.10.34), unpacked; whoever drops
/// one gives back what it holds.
fn objects_of_presentation(stream: &[u8], budget: &mut Budget) -> Vec<Vec<u8>> {
    const OBJECT: u16 = 0x1011;
    const MAX_OBJECTS: usize = 256;
    let mut found = Vec::new();
    let mut rest = stream;
    while let (Some(version), Some(id), Some(size)) = (u16_at(rest, 0), u16_at(rest, 2), usize_at(rest, 4)) {
        let body = rest.get(8..).unwrap_or_default();
        let is_container = version & 0xf == 0xf;
        if id == OBJECT && found.len() >= MAX_OBJECTS {
            budget.hit("more objects in a presentation than are looked into");
            break;
        }
        if id == OBJECT {
            let object = body.get(..size).unwrap_or(body);
            let object = if version >> 4 == 1 {
                inflate(object.get(4..).unwrap_or_default(), budget)
            } else {
                budget.take_bytes(object.len() as u64).then(|| object.to_vec())
            };
            found.extend(object.filter(|object| budget.hold(object.len() as u64)));
        }
        let Some(next) = (if is_container { Some(body) } else { body.get(size..) }) else { break };
        rest = next;
    }
    found
}

/// Unpacks as far as it goes and the budget allows; none: not at all.
pub(super) fn inflate(packed: &[u8], budget: &mut Budget) -> Option<Vec<u8>> {
    /// Of one stream in a document.
    const MAX_BYTES: usize = 64 << 20;
    const STEP: usize = 64 << 10;
    let mut decoder = flate2::read::ZlibDecoder::new(packed);
    let mut made = Vec::new();
    let mut buffer = vec![0; STEP];
    while made.len() < MAX_BYTES {
        match decoder.read(&mut buffer) {
            Ok(0) | Err(_) => return Some(made),
            Ok(count) => {
                if !budget.take_bytes(count as u64) {
                    return None;
                }
                made.extend(buffer.get(..count).unwrap_or_default());
            }
        }
    }
    budget.hit("a longer stream in a document than is unpacked");
    Some(made)
}

/// Of a mail of Outlook: the names that its folder has, and its bytes.
fn attachment(ole: &Ole<'_>, place: usize, inside: &mut Inside<'_>, budget: &mut Budget) {
    const MAX_NAME_BYTES: usize = 4096;
    let find = |name: &str| {
        let mut streams = ole.within(place).filter(|entry| entry.holds == Holds::Stream);
        streams.find(|entry| entry.name.eq_ignore_ascii_case(name))
    };
    let wide = |name: &str, budget: &mut Budget| {
        find(name).and_then(|entry| ole.stream(entry, MAX_NAME_BYTES, budget)).map(|name| utf16(&name))
    };
    let narrow = |name: &str, budget: &mut Budget| {
        let name = find(name).and_then(|entry| ole.stream(entry, MAX_NAME_BYTES, budget))?;
        Some(String::from_utf8_lossy(&name).into_owned())
    };
    // The long name, else the short one, else that which is shown.
    let name = wide("__substg1.0_3707001F", budget)
        .or_else(|| narrow("__substg1.0_3707001E", budget))
        .or_else(|| wide("__substg1.0_3704001F", budget))
        .or_else(|| narrow("__substg1.0_3704001E", budget))
        .or_else(|| wide("__substg1.0_3001001F", budget))
        .unwrap_or_default();
    let Some(entry) = find("__substg1.0_37010102") else { return };
    match ole.stream(entry, usize::MAX, budget) {
        Some(bytes) => inside.add(&name, bytes, budget),
        None => inside.is(Kind::Limits),
    }
}
