//! Web pages that carry a file in themselves and hand it over when they are opened, so
//! that nothing on the way sees it; and pictures with scripts.
//!
//! A page that makes files is no rarity (reports with a button to save a picture), nor
//! is one with much in base64 (its pictures). Both at once, and what is carried is no
//! picture or font: that is smuggling.

use super::Budget;
use super::Inside;
use super::Kind;
use super::ooxml;
use memchr::memmem;
use std::borrow::Cow;

/// Letters that are enough for a small program.
const PAYLOAD: usize = 2048;
/// A piece of a payload: strings are cut and joined again.
const PIECE: usize = 64;
/// Numbers from 0 to 255 in a row.
const NUMBERS: usize = 1024;

pub(super) fn look(bytes: &[u8], inside: &mut Inside<'_>, budget: &mut Budget) {
    let text = if bytes.get(..64).unwrap_or(bytes).contains(&0)
        || bytes.starts_with(b"\xff\xfe")
        || bytes.starts_with(b"\xfe\xff")
    {
        if !budget.take_bytes(bytes.len() as u64) {
            return inside.is(Kind::Limits);
        }
        Cow::Owned(ooxml::plain(bytes))
    } else {
        Cow::Borrowed(bytes)
    };
    if is_svg(&text) && !inside.kinds.has(Kind::Html) && has_script(&text) {
        inside.is(Kind::Html);
    }
    if is_smuggling(&text) {
        inside.is(Kind::Smuggling);
    }
}

/// Of all pictures only these are text.
pub(super) fn may_be_svg(bytes: &[u8]) -> bool {
    let begins = |mark: &[u8]| bytes.starts_with(mark);
    bytes.trim_ascii_start().first() == Some(&b'<')
        || begins(b"\xef\xbb\xbf")
        || begins(b"\xff\xfe")
        || begins(b"\xfe\xff")
        || begins(b"\0<")
}

fn is_svg(bytes: &[u8]) -> bool {
    let head = bytes.get(..4096).unwrap_or(bytes);
    memmem::find(head, b"<svg").is_some() || memmem::find(head, b":svg").is_some()
}

/// An element, an event, or a link that runs.
fn has_script(text: &[u8]) -> bool {
    const SIGNS: &[&[u8]] = &[
        b"<script",
        b":script",
        b"javascript:",
        b"<foreignobject",
        b"onload",
        b"onclick",
        b"onbegin",
        b"onmouse",
    ];
    let text = text.to_ascii_lowercase();
    SIGNS.iter().any(|sign| memmem::find(&text, sign).is_some())
}

fn is_smuggling(text: &[u8]) -> bool {
    const SAVES: &[&[u8]] = &[b"createObjectURL", b"msSaveOrOpenBlob", b"msSaveBlob", b"showSaveFilePicker"];
    const MAKES: &[&[u8]] = &[b"Blob", b"Uint8Array", b"new File", b"atob"];
    const ELSE: &[&[u8]] = &[b"atob", b"data:", b"<script", b"<SCRIPT", b"<Script"];
    let has_any = |signs: &[&[u8]]| signs.iter().any(|sign| memmem::find(text, sign).is_some());
    // Most pages have none of them, and that is soon found.
    let saves = has_any(SAVES);
    if !saves && !has_any(ELSE) {
        return false;
    }
    let payload = payload(text);
    if saves && has_any(MAKES) && (payload.letters >= PAYLOAD || payload.numbers >= NUMBERS) {
        return true;
    }
    payload.is_known_file || payload.is_linked_file
}

#[derive(Debug, Default)]
struct Payload {
    /// In base64 or hexadecimal.
    letters: usize,
    /// Bytes written as numbers.
    numbers: usize,
    /// It begins as a program or archive.
    is_known_file: bool,
    /// It stands behind `data:` with a type that is no picture's.
    is_linked_file: bool,
}

fn payload(text: &[u8]) -> Payload {
    const IS_LETTER: [bool; 256] = {
        let mut letters = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            let char = byte as u8;
            letters[byte] = char.is_ascii_alphanumeric() || matches!(char, b'+' | b'/' | b'=' | b'_' | b'-');
            byte += 1;
        }
        letters
    };
    let mut payload = Payload { numbers: longest_numbers(text), ..Payload::default() };
    let mut at = 0;
    // Each step leaps as far as a piece is long, and back to where it may have begun.
    while at + PIECE <= text.len() {
        let Some(window) = text.get(at..at + PIECE) else { break };
        let is_letter = |byte: &u8| IS_LETTER.get(usize::from(*byte)).copied().unwrap_or_default();
        if let Some(last) = window.iter().rposition(|byte| !is_letter(byte)) {
            at += last + 1;
            continue;
        }
        let rest = text.get(at..).unwrap_or_default();
        let size = rest.iter().position(|byte| !is_letter(byte)).unwrap_or(rest.len());
        let run = rest.get(..size).unwrap_or_default();
        match link(text.get(at.saturating_sub(96)..at).unwrap_or_default()) {
            Link::Shown => {}
            Link::File if size >= PAYLOAD => payload.is_linked_file = true,
            Link::File | Link::None => {
                payload.letters += size;
                payload.is_known_file |= size >= PAYLOAD / 2 && is_known(run);
            }
        }
        at += size;
    }
    payload
}

/// What stands before a run of letters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Link {
    File,
    None,
    Shown,
}

fn link(before: &[u8]) -> Link {
    const SHOWN: &[&[u8]] = &[
        b"image/",
        b"font/",
        b"audio/",
        b"video/",
        b"text/css",
        b"text/javascript",
        b"application/font",
        b"application/x-font",
        b"application/vnd.ms-fontobject",
        b"application/javascript",
        b"application/x-javascript",
        b"application/json",
        b"application/wasm",
    ];
    let Some(at) = memmem::rfind(before, b"data:") else { return Link::None };
    let kind = before.get(at + 5..).unwrap_or_default();
    if !kind.ends_with(b"base64,") {
        return Link::None;
    }
    if SHOWN.iter().any(|shown| kind.get(..shown.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(shown)))
    {
        return Link::Shown;
    }
    Link::File
}

/// Programs, archives, compound files, disks; in base64, and in hexadecimal.
fn is_known(run: &[u8]) -> bool {
    const BEGINNINGS: &[&[u8]] = &[
        b"TVqQAA",
        b"TVpQAA",
        b"TVoAAA",
        b"UEsDB",
        b"UmFyIRo",
        b"N3q8ryc",
        b"TVNDRgAAAA",
        b"0M8R4KGx",
        b"H4sIA",
        b"TAAAAAEUAg",
        b"Y29uZWN0aXg",
        b"4d5a9000",
        b"4D5A9000",
        b"504b0304",
        b"504B0304",
        b"52617221",
        b"377abcaf",
        b"d0cf11e0",
        b"D0CF11E0",
    ];
    BEGINNINGS.iter().any(|begin| run.starts_with(begin))
}

/// How many numbers that are bytes stand in one row, the longest.
fn longest_numbers(text: &[u8]) -> usize {
    let mut longest = 0;
    let mut count = 0;
    let mut last = 0;
    for comma in memchr::memchr_iter(b',', text) {
        let word = text.get(last..comma).unwrap_or_default();
        last = comma + 1;
        // The first has a bracket before it.
        let is_byte = word.len() <= 12 && is_byte(word.trim_ascii());
        count = if is_byte { count + 1 } else { 0 };
        longest = longest.max(count);
    }
    longest
}

fn is_byte(word: &[u8]) -> bool {
    let Ok(word) = std::str::from_utf8(word) else { return false };
    match word.strip_prefix("0x") {
        Some(hex) => u8::from_str_radix(hex, 16).is_ok(),
        None => word.strip_prefix('-').unwrap_or(word).parse::<u8>().is_ok(),
    }
}
