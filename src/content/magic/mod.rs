//! What a file is by its first bytes, or by those at the places that its kind has
//! them; and for text, which has none, by its name and what it begins with.
//!
//! Whoever made it wants it to be taken for something else. All that a program may
//! take it for is said; where that is two things that nobody needs to be at once, so
//! is that (`polyglot`). Only the first and last 64 KiB are looked at, more only if a
//! kind was seen that calls for it.

mod table;
mod text;
mod trailer;

use super::Given;
use super::Kind;
use super::Kinds;
use memchr::memmem;

/// Within which readers of PDF look for its beginning.
const PDF_BEGINS_WITHIN: usize = 1024;

pub(super) const OLE: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";
pub(super) const ZIP: &[u8] = b"PK";

/// All kinds that it may be taken for.
pub(super) fn kinds(given: Given<'_>) -> Kinds {
    let bytes = given.bytes;
    if bytes.is_empty() {
        return Kind::Empty.into();
    }
    let head = text::Head::of(bytes);
    let mut kinds = front(given, head.is_some());
    if kinds.is_empty()
        && let Some(head) = &head
    {
        kinds = head.kinds(given);
    }
    if kinds.has(Kind::Archive) && bytes.starts_with(ZIP) {
        kinds = trailer::zip_kinds(given, trailer::Directory::find(bytes).as_ref());
    } else {
        behind(given, head.is_some(), &mut kinds);
    }
    if head.is_none() {
        text::despite_binary(given, &mut kinds);
    }
    if kinds.is_empty() {
        kinds.add(if head.is_some() { Kind::Text } else { Kind::Binary });
    }
    kinds
}

/// By what it begins with.
fn front(given: Given<'_>, is_text: bool) -> Kinds {
    let bytes = given.bytes;
    let mut kinds = table::beginning(bytes, is_text);
    if bytes.starts_with(OLE) {
        kinds = ole_kinds(bytes);
    }
    if is_program(bytes) && !(is_text && text::is_named_so(given)) {
        kinds.add(Kind::Executable);
    }
    // With something else behind the text.
    if !is_text && bytes.starts_with(b"#!/") {
        kinds.add(Kind::Script);
    }
    if kinds.is_empty() && !is_text {
        kinds = elsewhere(bytes);
    }
    kinds
}

/// Of DOS and Windows. Text that begins so by chance is told by its name: of some that
/// nothing but a zero tells from text a system may still load the beginning.
fn is_program(bytes: &[u8]) -> bool {
    bytes.starts_with(b"MZ") || bytes.starts_with(b"ZM")
}

/// What does not stand at the beginning.
fn elsewhere(bytes: &[u8]) -> Kinds {
    const SIGNS: &[(usize, &[u8], Kind)] = &[
        (2, b"-lh", Kind::Archive),
        (2, b"-lz", Kind::Archive),
        (2, b"-pm", Kind::Archive),
        (4, b"moov", Kind::Video),
        (4, b"mdat", Kind::Video),
        (7, b"**ACE**", Kind::Archive),
        (20, b"\xdc\xa7\xc4\xfd", Kind::Archive),
        (64, b"\x7f\x10\xda\xbe", Kind::DiskImage),
        (257, b"ustar", Kind::Archive),
        (1024, b"BD\0", Kind::DiskImage),
        (1024, b"H+\0\x04", Kind::DiskImage),
        (1024, b"HX\0\x05", Kind::DiskImage),
        // Each sector in which the descriptors of a CD or DVD begin, by size of sectors.
        (0x8001, b"CD001", Kind::DiskImage),
        (0x8001, b"BEA01", Kind::DiskImage),
        (0x8801, b"CD001", Kind::DiskImage),
        (0x9001, b"CD001", Kind::DiskImage),
        (0x9311, b"CD001", Kind::DiskImage),
        (0x9319, b"CD001", Kind::DiskImage),
    ];
    let stands =
        |(at, sign, _): &&(usize, &[u8], Kind)| bytes.get(*at..).is_some_and(|rest| rest.starts_with(sign));
    if let Some((_, _, kind)) = SIGNS.iter().find(stands) {
        return (*kind).into();
    }
    if is_old_tar(bytes) {
        return Kind::Archive.into();
    }
    if is_boot_sector(bytes) {
        return Kind::DiskImage.into();
    }
    if bytes.first() == Some(&0x47) && [188, 376].iter().all(|at| bytes.get(*at) == Some(&0x47)) {
        return Kind::Video.into();
    }
    der(bytes).map_or(Kinds::NONE, Kinds::from)
}

/// The mark of a boot sector is two bytes, which anything may have by chance: it begins
/// with a jump or has a table of partitions, and whole sectors follow.
fn is_boot_sector(bytes: &[u8]) -> bool {
    let byte = |at: usize| bytes.get(at).copied();
    let has_jump = matches!(byte(0), Some(0xEB | 0xE9));
    let has_table = (446..510).step_by(16).all(|at| matches!(byte(at), Some(0 | 0x80)));
    byte(510) == Some(0x55)
        && byte(511) == Some(0xAA)
        && bytes.len().is_multiple_of(512)
        && (has_jump || has_table)
}

/// Of before 1988: no mark, but the sum of its first header.
fn is_old_tar(bytes: &[u8]) -> bool {
    const SUM: std::ops::Range<usize> = 148..156;
    let (Some(header), Some(field)) = (bytes.get(..512), bytes.get(SUM)) else { return false };
    let digits: Vec<u8> = field.iter().copied().filter(u8::is_ascii_digit).collect();
    let said = std::str::from_utf8(&digits).ok().and_then(|digits| u32::from_str_radix(digits, 8).ok());
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let own: u32 = field.iter().map(|byte| u32::from(*byte)).sum();
    header.first() != Some(&0) && said == Some(sum - own + 8 * u32::from(b' '))
}

/// Keys, certificates and signatures in DER: a sequence that begins with another, or
/// with the name of what it is.
fn der(bytes: &[u8]) -> Option<Kind> {
    /// 1.2.840.113549.1.7, PKCS #7; what follows says signed, encrypted, and so on.
    const PKCS7: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07";
    /// 1.2.840.113549.1.9.16.1, S/MIME compressed or authenticated.
    const SMIME: &[u8] = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01";
    let (tag, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    if *tag != 0x30 {
        return None;
    }
    let skipped = if *length > 0x80 { usize::from(*length & 0x7f) } else { 0 };
    if skipped > 4 {
        return None;
    }
    let inner = rest.get(skipped..)?;
    if inner.starts_with(PKCS7) || inner.starts_with(SMIME) {
        return Some(Kind::Signature);
    }
    let is_certificate = inner.starts_with(b"\x30\x82")
        && inner.get(4..).is_some_and(|body| {
            [&b"\xa0\x03\x02\x01"[..], b"\x02", b"\x30"].iter().any(|begin| body.starts_with(begin))
        });
    let is_pkcs12 = inner.starts_with(b"\x02\x01\x03\x30");
    (is_certificate || is_pkcs12).then_some(Kind::Certificate)
}

/// A compound file says by the class of its root what it is, most of the time.
fn ole_kinds(bytes: &[u8]) -> Kinds {
    /// Packages, patches and transforms of Windows Installer.
    const INSTALLER: &[u8] = b"\x10\x0c\0\0\0\0\0\xc0\0\0\0\0\0\0\x46";
    const MESSAGE: &[u8] = b"\x0b\x0d\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46";
    let word = |at: usize, size: usize| {
        bytes
            .get(at..at + size)
            .map(|field| field.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let class = || {
        let shift = word(30, 2).filter(|shift| (7..=16).contains(shift))?;
        let root = word(48, 4)?.checked_add(1)?.checked_mul(1 << shift)?;
        let at = usize::try_from(root).ok()?.checked_add(80)?;
        bytes.get(at..at.checked_add(16)?)
    };
    match class() {
        Some(class) if class.get(1..) == Some(INSTALLER) && matches!(class.first(), Some(0x80..=0x8f)) => {
            Kind::Installer.into()
        }
        Some(class) if class == MESSAGE => Kind::Message.into(),
        _ => Kind::Document.into(),
    }
}

/// What may begin further in, or be found from the end, whatever it begins with.
fn behind(given: Given<'_>, is_text: bool, kinds: &mut Kinds) {
    let bytes = given.bytes;
    let window = bytes.get(..PDF_BEGINS_WITHIN).unwrap_or(bytes);
    if let Some(at) = memmem::find(window, b"%PDF-") {
        // A text that speaks of PDF has no objects.
        let is_real = at == 0
            || !is_text && kinds.is_empty()
            || bytes.get(at..).is_some_and(|rest| memmem::find(rest, b" obj").is_some());
        if is_real {
            if at > 0 && !kinds.is_empty() && !kinds.has(Kind::Text) {
                kinds.add(Kind::Polyglot);
            }
            kinds.add(Kind::Document);
            kinds.add(Kind::Pdf);
        }
    }
    let Some(directory) = trailer::Directory::find(bytes) else { return disk_image(bytes, kinds) };
    // A zip that is stored inside others, as it is, stands near the end by chance.
    let holds_files = kinds.has_any(HOLDERS);
    if holds_files && !directory.is_to_the_end {
        return;
    }
    let zip = trailer::zip_kinds(given, Some(&directory));
    if kinds.has_any(RUNS) {
        kinds.add(Kind::SelfExtracting);
    } else if !kinds.is_empty() && *kinds != Kind::Text.into() {
        kinds.add(Kind::Polyglot);
    }
    kinds.join(zip);
    kinds.add(Kind::Archive);
}

/// What has other files in it as they are.
const HOLDERS: Kinds = Kinds::NONE
    .with(Kind::Archive)
    .with(Kind::DiskImage)
    .with(Kind::Document)
    .with(Kind::Installer)
    .with(Kind::Message);

const RUNS: Kinds = Kinds::NONE.with(Kind::Executable).with(Kind::Script);

/// Those that have their mark in the last sector.
fn disk_image(bytes: &[u8], kinds: &mut Kinds) {
    let last = bytes.len().checked_sub(512).and_then(|at| bytes.get(at..)).unwrap_or_default();
    if last.starts_with(b"koly\0\0\0\x04") || last.starts_with(b"conectix") {
        *kinds = Kind::DiskImage.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(name: &str, media_type: Option<&str>, bytes: &[u8]) -> String {
        let names: Vec<String> = (!name.is_empty()).then(|| name.to_owned()).into_iter().collect();
        let found = kinds(Given { bytes, names: &names, media_type });
        found.iter().map(Kind::word).collect::<Vec<_>>().join(" ")
    }

    /// One byte string after another, the first at the beginning, each other at a place.
    fn at(begin: &[u8], places: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = begin.to_vec();
        for (place, part) in places {
            bytes.resize((*place + part.len()).max(bytes.len()), 0);
            bytes[*place..*place + part.len()].copy_from_slice(part);
        }
        bytes
    }

    /// A zip of empty files.
    fn zip(names: &[&str]) -> Vec<u8> {
        let (mut bytes, mut directory) = (Vec::new(), Vec::new());
        for name in names {
            let offset = bytes.len() as u32;
            let mut fields = vec![0; 22];
            fields.extend((name.len() as u16).to_le_bytes());
            fields.extend([0, 0]);
            bytes.extend(b"PK\x03\x04");
            bytes.extend(&fields);
            bytes.extend(name.as_bytes());
            directory.extend(b"PK\x01\x02\0\0");
            directory.extend(&fields);
            directory.extend([0; 10]);
            directory.extend(offset.to_le_bytes());
            directory.extend(name.as_bytes());
        }
        let offset = bytes.len() as u32;
        let count = (names.len() as u16).to_le_bytes();
        bytes.extend(&directory);
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend(count);
        bytes.extend(count);
        bytes.extend((directory.len() as u32).to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes.extend([0, 0]);
        bytes
    }

    #[test]
    fn files_are_what_their_bytes_say() {
        let exe = at(b"MZ\x90\0", &[(60, b"\x80\0\0\0"), (128, b"PE\0\0")]);
        let png = at(b"\x89PNG\r\n\x1a\n", &[(8, b"\0\0\0\x0dIHDR"), (40, b"IEND")]);
        let tar = at(b"a.txt", &[(257, b"ustar\0")]);
        let mut old_tar = at(b"a.txt", &[(148, b"        "), (511, b"\0")]);
        let sum: u32 = old_tar.iter().map(|byte| u32::from(*byte)).sum();
        old_tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let msi = at(
            OLE,
            &[(30, b"\x09"), (48, b"\x01"), (1024 + 80, b"\x84\x10\x0c\0\0\0\0\0\xc0\0\0\0\0\0\0\x46")],
        );
        let msg = at(
            OLE,
            &[(30, b"\x09"), (48, b"\x01"), (1024 + 80, b"\x0b\x0d\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46")],
        );
        let office = ["[Content_Types].xml", "_rels/.rels", "word/document.xml"];
        let joined = |parts: &[&[u8]]| parts.concat();
        let utf16: Vec<u8> = "<html><script>".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut wrong = Vec::new();
        for (name, bytes, expected) in [
            ("a", Vec::new(), "empty"),
            ("a.txt", exe.clone(), "executable"),
            ("a.exe", b"MZ is how programs of DOS begin".to_vec(), "executable"),
            ("a.txt", b"MZ is how programs of DOS begin".to_vec(), "text"),
            ("a", b"\x7fELF\x02\x01\x01\0".to_vec(), "executable"),
            ("a", b"\xca\xfe\xba\xbe\0\0\0\x34".to_vec(), "executable"),
            ("a", b"\xcf\xfa\xed\xfe\x07\0\0\x01".to_vec(), "executable"),
            ("a", b"dex\n035\0".to_vec(), "executable"),
            ("a", b"\0asm\x01\0\0\0".to_vec(), "executable"),
            ("a", msi, "installer"),
            ("a", msg, "message"),
            ("a", at(OLE, &[(600, b"\0")]), "document"),
            ("a", b"!<arch>\ndebian-binary   1\0".to_vec(), "installer"),
            ("a", b"\xed\xab\xee\xdb\x03\0".to_vec(), "installer"),
            ("a", b"xar!\0\x1c\0\x01".to_vec(), "installer"),
            ("a", at(b"\0", &[(2048, b"koly\0\0\0\x04"), (2559, b"\0")]), "disk_image"),
            ("a", at(b"\0", &[(0x8001, b"CD001")]), "disk_image"),
            ("a", at(b"\xeb\x3c\x90mkfs", &[(510, b"\x55\xaa")]), "disk_image"),
            ("a", at(b"\x01\x02\x90mkfs", &[(446, b"\x07"), (510, b"\x55\xaa")]), "binary"),
            ("a", b"vhdxfile\0\0".to_vec(), "disk_image"),
            ("a", at(b"\0", &[(4096, b"conectix"), (4607, b"\0")]), "disk_image"),
            ("a", b"ITSF\x03\0\0\0".to_vec(), "help"),
            ("a", b"L\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46".to_vec(), "shortcut"),
            ("a", png.clone(), "image"),
            ("a", b"\xff\xd8\xff\xe0\0\x10JFIF\0".to_vec(), "image"),
            ("a", b"RIFF\0\0\0\0WAVEfmt ".to_vec(), "audio"),
            ("a", b"\0\0\0\x18ftypmp42\0\0\0\0".to_vec(), "video"),
            ("a", b"%PDF-1.7\n%\xe2\xe3\x01".to_vec(), "document pdf"),
            ("a", joined(&[&[0; 900], b"%PDF-1.7\n1 0 obj"]), "document pdf"),
            ("a", joined(&[&[0; 1024], b"%PDF-1.7\n1 0 obj"]), "binary"),
            ("a", b"A text about %PDF-1.7".to_vec(), "text"),
            ("a", b"{\\rtf1\\ansi".to_vec(), "document"),
            ("a", b"{\\rtxa".to_vec(), "document"),
            ("a", b"\x1f\x8b\x08\0".to_vec(), "archive"),
            ("a", b"7z\xbc\xaf\x27\x1c\0\x04".to_vec(), "archive"),
            ("a", b"Rar!\x1a\x07\0".to_vec(), "archive"),
            ("a", b"MSCF\0\0\0\0".to_vec(), "archive"),
            ("a", at(b"\x20\x30-lh5-", &[(40, b"\0")]), "archive"),
            ("a", at(b"\x55\x55\x31\0\0\0\x90**ACE**", &[(40, b"\0")]), "archive"),
            ("a", tar, "archive"),
            ("a", old_tar, "archive"),
            ("a", zip(&["a.txt"]), "archive"),
            ("a", zip(&office), "document"),
            ("a.zip", zip(&office), "archive document"),
            ("a", zip(&[&office[..], &["a.exe"]].concat()), "archive document"),
            ("a", zip(&["[Content_Types].xml", "a.txt"]), "archive"),
            ("a", zip(&["META-INF/MANIFEST.MF", "A.class"]), "archive executable"),
            ("a", zip(&["META-INF/MANIFEST.MF", "a.txt"]), "archive"),
            ("a", zip(&["AndroidManifest.xml"]), "archive executable"),
            ("a", zip(&["AppxManifest.xml"]), "archive installer"),
            ("a", joined(&[&exe, &zip(&["a"])]), "archive executable self_extracting"),
            ("a", joined(&[b"#!/bin/sh\n\0", &zip(&["a"])]), "archive script self_extracting"),
            ("a", joined(&[&png, &zip(&["a"])]), "archive image polyglot"),
            ("a", joined(&[b"\x1f\x8b\x08\0", &zip(&["a"])]), "archive polyglot"),
            ("a", joined(&[b"\x1f\x8b\x08\0", &zip(&["a"]), b"more"]), "archive"),
            ("a", joined(&[b"%PDF-1.4\n1 0 obj", &zip(&["a"])]), "archive document pdf polyglot"),
            ("a", joined(&[b"GIF89a\0\x01", b"%PDF-1.4\n1 0 obj"]), "document image pdf polyglot"),
            ("a.html", b"GIF89a\0\x01<script>1</script>".to_vec(), "html image polyglot"),
            ("a.gif", b"GIF89a\0\x01<script>1</script>".to_vec(), "image"),
            ("a.hta", b"\0\x01\x02<HTA:application>".to_vec(), "html script"),
            ("a", b"some words".to_vec(), "text"),
            ("a", b"some\0words\x01".to_vec(), "binary"),
            ("a", utf16, "html"),
            ("a", b"<!DOCTYPE html><title>x".to_vec(), "html"),
            ("a", b"<div>x".to_vec(), "html"),
            ("a", b"<?xml version='1.0'?><order/>".to_vec(), "text"),
            ("a", b"<?xml version='1.0'?><svg></svg>".to_vec(), "image"),
            ("a", b"<svg><script>1</script></svg>".to_vec(), "html image"),
            ("a", b"<html><svg></svg>".to_vec(), "html"),
            ("a", b"<job><script language=vbs>".to_vec(), "script"),
            ("a", b"<?xml?><scriptlet><script>".to_vec(), "script"),
            ("a", b"<html><hta:application><script>".to_vec(), "script"),
            ("a.js", b"var a;".to_vec(), "script"),
            ("a.JS .", b"var a;".to_vec(), "script"),
            ("a.json", b"{}".to_vec(), "text"),
            ("a.txt", b"#!/bin/sh\n".to_vec(), "script"),
            ("a", b"#@~^AAAA".to_vec(), "script"),
            ("a", b"@echo off\r\n".to_vec(), "script"),
            ("a", b"Set s = CreateObject(\"WScript.Shell\")".to_vec(), "script"),
            ("a.txt", b"Set s = CreateObject(\"WScript.Shell\")".to_vec(), "text"),
            ("a", b"[InternetShortcut]\r\nURL=file://h/a".to_vec(), "shortcut"),
            ("a", b"[Desktop Entry]\nExec=a".to_vec(), "shortcut"),
            ("a", b"<?xml?><libraryDescription>".to_vec(), "shortcut"),
            ("a.rdp", b"a:s:b".to_vec(), "shortcut"),
            ("a", b"Windows Registry Editor Version 5.00".to_vec(), "script"),
            ("a", b"BEGIN:VCALENDAR\r\n".to_vec(), "calendar"),
            ("a", b"From: a\nTo: b\nSubject: c\n\nd".to_vec(), "message"),
            ("a", b"Note: a\nSubject: c\n\nd".to_vec(), "text"),
            ("a", b"-----BEGIN PGP SIGNATURE-----".to_vec(), "signature"),
            ("a", b"-----BEGIN CERTIFICATE-----".to_vec(), "certificate"),
            ("a", b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02".to_vec(), "signature"),
            ("a", b"\x30\x82\x05\0\x30\x82\x03\0\xa0\x03\x02\x01\x02".to_vec(), "certificate"),
        ] {
            let found = words(name, None, &bytes);
            if found != expected {
                let bytes = bytes[..bytes.len().min(64)].escape_ascii();
                wrong.push(format!("{name} {bytes}: {found}, not {expected}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn what_is_shown_in_a_mail_is_not_run() {
        for (media_type, text, expected) in [
            ("text/plain", "#!/bin/sh\n", "text"),
            ("text/plain", "@echo off", "text"),
            ("text/plain", "From: a\nTo: b\nSubject: c\n\nd", "text"),
            ("text/plain", "<html>", "html"),
            ("text/plain", "-----BEGIN PGP MESSAGE-----", "signature"),
            ("text/html", "words", "html"),
            ("application/octet-stream", "#!/bin/sh\n", "script"),
        ] {
            assert_eq!(words("", Some(media_type), text.as_bytes()), expected, "{media_type} {text}");
        }
    }
}
