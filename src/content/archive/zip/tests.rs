//! Zip archives as they may come, made byte by byte.

use std::io::Write as _;

use super::*;
use crate::content::File;
use crate::content::Given;
use crate::content::Stop;
use crate::content::Wants;
use crate::content::examine;

/// One file of an archive that is made here; the central fields are those of the
/// local header but for what is set.
#[derive(Clone, Default)]
struct Made<'a> {
    name: &'a [u8],
    data: &'a [u8],
    central_name: Option<&'a [u8]>,
    extra: &'a [u8],
    flags: u16,
    central_flags: Option<u16>,
    method: u16,
    size: Option<u32>,
    is_unlisted: bool,
    start: Option<u32>,
}

fn plain<'a>(name: &'a str, data: &'a [u8]) -> Made<'a> {
    Made { name: name.as_bytes(), data, ..Made::default() }
}

fn header(made: &Made<'_>, name: &[u8], flags: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [20, flags, made.method, 0, 0x21] {
        bytes.extend_from_slice(&u16::to_le_bytes(number));
    }
    let size = made.size.unwrap_or(made.data.len() as u32);
    for number in [crc32fast::hash(made.data), made.data.len() as u32, size] {
        bytes.extend_from_slice(&u32::to_le_bytes(number));
    }
    for length in [name.len(), made.extra.len()] {
        bytes.extend_from_slice(&u16::to_le_bytes(length as u16));
    }
    bytes
}

fn zip(prefix: &[u8], files: &[Made<'_>], comment: &[u8]) -> Vec<u8> {
    let mut bytes = prefix.to_vec();
    let mut central = Vec::new();
    let mut count = 0;
    for made in files {
        let start = made.start.unwrap_or((bytes.len() - prefix.len()) as u32);
        if made.start.is_none() {
            bytes.extend_from_slice(entry::LOCAL);
            bytes.extend(header(made, made.name, made.flags));
            bytes.extend_from_slice(made.name);
            bytes.extend_from_slice(made.extra);
            bytes.extend_from_slice(made.data);
        }
        if made.is_unlisted {
            continue;
        }
        count += 1;
        let name = made.central_name.unwrap_or(made.name);
        central.extend_from_slice(entry::CENTRAL);
        central.extend_from_slice(&[20, 3]);
        central.extend(header(made, name, made.central_flags.unwrap_or(made.flags)));
        central.extend_from_slice(&[0; 10]);
        central.extend_from_slice(&start.to_le_bytes());
        central.extend_from_slice(name);
        central.extend_from_slice(made.extra);
    }
    let (at, size) = ((bytes.len() - prefix.len()) as u32, central.len() as u32);
    bytes.extend(central);
    bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    bytes.extend_from_slice(&u16::to_le_bytes(count));
    bytes.extend_from_slice(&u16::to_le_bytes(count));
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(&at.to_le_bytes());
    bytes.extend_from_slice(&(comment.len() as u16).to_le_bytes());
    bytes.extend_from_slice(comment);
    bytes
}

fn files(bytes: &[u8]) -> Vec<File> {
    let wants = Wants { kinds: true, inside: true, ..Wants::default() };
    let mut files = Vec::new();
    examine(
        Given { bytes, names: &[], media_type: None },
        wants,
        &mut Budget::new(Stop::default()),
        &mut files,
    );
    files
}

fn names(files: &[File]) -> Vec<&str> {
    files.iter().skip(1).flat_map(|file| &file.names).map(String::as_str).collect()
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Code page, UTF-8 and Unicode of one name, as the extra field has it.
fn unicode(of: &[u8], name: &str) -> Vec<u8> {
    let mut extra = vec![0x75, 0x70];
    extra.extend_from_slice(&(name.len() as u16 + 5).to_le_bytes());
    extra.push(1);
    extra.extend_from_slice(&crc32fast::hash(of).to_le_bytes());
    extra.extend_from_slice(name.as_bytes());
    extra
}

#[test]
fn an_ordinary_archive_is_listed_and_not_doubted() {
    let packed = deflated(b"MZ\0program");
    let program = Made { method: 8, size: Some(10), ..plain("d/a.exe", &packed) };
    let bytes = zip(b"", &[plain("d/", b""), program, plain("b.txt", b"hello")], b"a comment");
    let files = files(&bytes);
    assert_eq!(names(&files), ["d/a.exe", "b.txt"]);
    assert_eq!(files[0].kinds, Kind::Archive.into());
    assert!(files[1].kinds.has(Kind::Executable) && files[1].size == 10);
    assert!(files.iter().skip(1).all(|file| file.within == Some(0)));
}

#[test]
fn what_programs_read_differently_is_ambiguous_and_all_its_names_are_known() {
    let stale = unicode(b"x", "b.exe");
    let other = unicode(b"a.txt", "b.exe");
    let utf8 = 1 << 11;
    let one = plain("a.txt", b"one");
    let inner = zip(b"", &[plain("inner.exe", b"MZ")], b"");
    let rows: Vec<(&str, Vec<u8>, &[&str])> = vec![
        (
            "names",
            zip(b"", &[Made { central_name: Some(b"b.exe"), ..one.clone() }], b""),
            &["b.exe", "a.txt"],
        ),
        ("a stale name", zip(b"", &[Made { extra: &stale, ..one.clone() }], b""), &["a.txt", "b.exe"]),
        ("another name", zip(b"", &[Made { extra: &other, ..one.clone() }], b""), &["a.txt", "b.exe"]),
        ("a NUL", zip(b"", &[plain("a.exe\0.txt", b"")], b""), &["a.exe\u{FFFD}.txt", "a.exe"]),
        ("leaves", zip(b"", &[plain("../a.txt", b"")], b""), &["../a.txt"]),
        ("leaves by", zip(b"", &[plain("x\\..\\..\\a.txt", b"")], b""), &["x\\..\\..\\a.txt"]),
        ("absolute", zip(b"", &[plain("C:\\a.txt", b"")], b""), &["C:\\a.txt"]),
        ("no UTF-8", zip(b"", &[Made { flags: utf8, name: b"\x80.txt", ..one.clone() }], b""), &["Ç.txt"]),
        ("twice", zip(b"", &[one.clone(), one.clone()], b""), &["a.txt", "a.txt"]),
        (
            "unlisted",
            zip(b"", &[one.clone(), Made { is_unlisted: true, ..plain("b.exe", b"MZ") }], b""),
            &["a.txt", "b.exe"],
        ),
        (
            "overlapping",
            zip(b"", &[one.clone(), Made { start: Some(0), ..plain("b.exe", b"one") }], b""),
            &["a.txt", "b.exe", "a.txt"],
        ),
        ("an end in the comment", zip(b"", std::slice::from_ref(&one), &inner), &["inner.exe", "a.txt"]),
        (
            "one behind another",
            [inner.clone(), zip(b"", std::slice::from_ref(&one), b"")].concat(),
            &["a.txt", "inner.exe"],
        ),
        ("something before", zip(b"%PDF-1.7", std::slice::from_ref(&one), b""), &["a.txt"]),
        ("a size", zip(b"", &[Made { size: Some(1), ..one.clone() }], b""), &["a.txt"]),
        (
            "a folder with bytes",
            zip(b"", &[Made { central_name: Some(b"a.exe/"), ..one.clone() }], b""),
            &["a.exe/", "a.txt"],
        ),
    ];
    for (what, bytes, expected) in rows {
        let files = files(&bytes);
        assert!(files[0].kinds.has(Kind::AmbiguousArchive), "{what}: {:?}", files[0].kinds);
        assert!(files[0].kinds.has(Kind::Archive), "{what}");
        assert_eq!(names(&files), expected, "{what}");
    }
}

#[test]
fn what_programs_agree_on_is_not_ambiguous() {
    let own = unicode(b"?.txt", "é.txt");
    let rows: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("nothing in it", zip(b"", &[], b""), &[]),
        ("code page", zip(b"", &[Made { name: b"\x82.txt", ..Made::default() }], b""), &["é.txt"]),
        (
            "its name in Unicode",
            zip(b"", &[Made { extra: &own, ..plain("?.txt", b"") }], b""),
            &["?.txt", "é.txt"],
        ),
        (
            "an archive in it",
            zip(b"", &[plain("b.zip", &zip(b"", &[plain("a", b"x")], b""))], b""),
            &["b.zip", "a"],
        ),
        ("behind it", [zip(b"", &[plain("a", b"x")], b""), b"\r\n".to_vec()].concat(), &["a"]),
    ];
    for (what, bytes, expected) in rows {
        let files = files(&bytes);
        assert_eq!(files[0].kinds, Kind::Archive.into(), "{what}");
        assert_eq!(names(&files), expected, "{what}");
    }
}

#[test]
fn a_program_before_it_makes_it_self_extracting() {
    let files = files(&zip(b"MZ\x90 a stub", &[plain("a.txt", b"one")], b""));
    assert!(files[0].kinds.has(Kind::SelfExtracting) && !files[0].kinds.has(Kind::AmbiguousArchive));
    assert_eq!(names(&files), ["a.txt"]);
}

#[test]
fn documents_are_no_archives_but_their_files_are_known() {
    let files = files(&zip(b"", &[plain("[Content_Types].xml", b"<x/>"), plain("a.exe", b"MZ")], b""));
    assert_eq!(files[0].kinds, crate::content::Kinds::from(Kind::Archive).with(Kind::Document));
    assert_eq!(names(&files), ["[Content_Types].xml", "a.exe"]);
    let files = self::files(&zip(b"", &[plain("[Content_Types].xml", b"<x/>"), plain("word/a", b"x")], b""));
    assert_eq!(files[0].kinds, Kind::Document.into());
}

#[test]
fn what_needs_a_password_is_listed() {
    for made in [
        Made { flags: 1, ..plain("a.exe", b"xxxxxxxxxxxx") },
        Made { flags: 65, ..plain("a.exe", b"xxxxxxxxxxxx") },
        Made { flags: 1, method: 99, ..plain("a.exe", b"xxxxxxxxxxxx") },
    ] {
        let files = files(&zip(b"", &[made], b""));
        assert!(files[0].kinds.has(Kind::EncryptedArchive) && files[0].kinds.has(Kind::Archive));
        assert_eq!(names(&files), ["a.exe"]);
        assert!(files[1].kinds.is_empty());
    }
}

#[test]
fn what_is_not_read_is_said() {
    let one = plain("a.txt", b"one");
    let whole = zip(b"", &[one.clone(), plain("b.txt", b"two")], b"");
    let part = whole.iter().copied().take(whole.len() - 30).collect::<Vec<_>>();
    let mut spanned = whole.clone();
    let disk = spanned.len() - 18;
    spanned[disk] = 1;
    for (what, bytes, kind, count) in [
        ("a method", zip(b"", &[Made { method: 6, ..one.clone() }], b""), Kind::Unscannable, 2),
        ("no packed bytes", zip(b"", &[Made { method: 8, ..one.clone() }], b""), Kind::Damaged, 2),
        ("cut", part, Kind::Damaged, 3),
        ("on several disks", spanned, Kind::Unscannable, 3),
    ] {
        let files = files(&bytes);
        assert!(files[0].kinds.has(kind), "{what}: {:?}", files[0].kinds);
        assert_eq!(files.len(), count, "{what}");
    }
}

#[test]
fn a_bomb_ends_and_is_told() {
    let zeros = deflated(&vec![0; 40 << 20]);
    let bytes = zip(b"", &[Made { method: 8, size: Some(40 << 20), ..plain("zeros", &zeros) }], b"");
    let files = files(&bytes);
    assert!(files[0].kinds.has(Kind::Limits));
    assert_eq!(files[1].size, 40 << 20);
}

#[test]
fn a_document_gives_its_files_by_their_names() {
    let packed = deflated(b"text");
    let made = [
        plain("folder/", b""),
        Made { method: 8, size: Some(4), ..plain("word/document.xml", &packed) },
        plain("word/a.bin", b"plain"),
        Made { flags: 1, ..plain("locked", b"xxxxxxxxxxxx") },
    ];
    let bytes = zip(b"", &made, b"");
    let mut budget = Budget::new(Stop::default());
    let mut reader = Reader::new(&bytes).unwrap();
    assert_eq!(reader.names().collect::<Vec<_>>(), ["word/document.xml", "word/a.bin", "locked"]);
    assert_eq!(reader.read("Word/Document.xml", &mut budget).as_deref(), Some(&b"text"[..]));
    assert_eq!(reader.read("word/a.bin", &mut budget).as_deref(), Some(&b"plain"[..]));
    assert_eq!(reader.read("locked", &mut budget), None);
    assert_eq!(reader.read("none", &mut budget), None);
    assert!(Reader::new(b"no archive").is_none());
}

#[test]
fn a_header_that_many_files_share_is_not_read_for_all() {
    let extra = vec![0; 60_000];
    let long = Made { extra: &extra, ..plain("a.txt", b"one") };
    let shared = Made { start: Some(0), ..plain("b.txt", b"one") };
    for (count, is_limited) in [(1, false), (5, true)] {
        let made: Vec<_> = std::iter::once(long.clone()).chain(vec![shared.clone(); count]).collect();
        let files = files(&zip(b"", &made, b""));
        assert!(files[0].kinds.has(Kind::AmbiguousArchive));
        assert_eq!(files[0].kinds.has(Kind::Limits), is_limited, "{count}");
        assert_eq!(files.len(), made.len() + 1);
    }
}
