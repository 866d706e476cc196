//! Transfer encodings: what a part says that it has, and its content decoded in
//! every way that a reader of it might.
//!
//! Content is a stranger's. Each reading is one pass over it, is not longer than it
//! (but BinHex, which has a bound), and there is a fixed number of them.

mod base64;
mod binhex;
mod blocks;
mod quoted_printable;
mod uuencode;
mod yenc;

pub(super) use blocks::MAX_BLOCKS;
pub(super) use blocks::blocks;

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::content::Stop;
use crate::message::parameters::Field;
use crate::message::part_header::Kind;
use crate::message::trick::Trick;
use crate::message::trick::Tricks;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Encoding {
    Base64,
    BinHex,
    Identity,
    QuotedPrintable,
    Uuencode,
    YEnc,
}

/// Where others write something in its place: what it has in it, and what it is.
const MARKS: &[(&str, Encoding)] = &[
    ("64", Encoding::Base64),
    ("base", Encoding::Base64),
    ("quoted", Encoding::QuotedPrintable),
    ("printable", Encoding::QuotedPrintable),
    ("qp", Encoding::QuotedPrintable),
    ("uu", Encoding::Uuencode),
    ("yenc", Encoding::YEnc),
    ("binhex", Encoding::BinHex),
];

/// Words that some programs write where they encode nothing.
const PLAIN: &[&str] = &["", "7-bit", "7bit", "8-bit", "8bit", "8bits", "binary", "none", "unencoded"];

/// What the fields of one part say, the likeliest first; never none.
pub(super) fn declared(fields: &[(Kind, Field)]) -> (Vec<Encoding>, Tricks) {
    let mut found: Vec<Encoding> = Vec::new();
    let mut tricks = Tricks::default();
    let mut is_odd = false;
    for (_, field) in fields.iter().filter(|(kind, _)| *kind == Kind::Encoding) {
        let exact = match field.value.as_str() {
            "base64" => Some(Encoding::Base64),
            "quoted-printable" => Some(Encoding::QuotedPrintable),
            // These are known to some readers only.
            "uuencode" | "x-uuencode" | "x-uue" | "uue" => Some(Encoding::Uuencode),
            "x-yencode" => Some(Encoding::YEnc),
            "mac-binhex40" => Some(Encoding::BinHex),
            word if PLAIN.contains(&word) => Some(Encoding::Identity),
            _ => None,
        };
        let is_written_oddly = exact.is_none() || !field.is_plain || field.segments > 1;
        let is_old = matches!(exact, Some(Encoding::BinHex | Encoding::Uuencode | Encoding::YEnc));
        is_odd |= is_written_oddly || is_old;
        let marks =
            MARKS.iter().filter(|(mark, _)| field.whole.contains(mark)).map(|(_, encoding)| *encoding);
        let marks = marks.filter(|_| is_written_oddly);
        for encoding in exact.into_iter().chain(marks) {
            if !found.contains(&encoding) {
                found.push(encoding);
            }
        }
    }
    tricks.add_if(is_odd, Trick::EncodingOdd);
    tricks.add_if(found.len() > 1 && !is_odd, Trick::EncodingConflict);
    if found.is_empty() || is_odd && !found.contains(&Encoding::Identity) {
        found.push(Encoding::Identity);
    }
    (found, tricks)
}

/// Decodes in one buffer, and tells no reading twice.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: Vec<u8>,
    told: Vec<(usize, u64)>,
    hasher: RandomState,
    stop: Stop,
    pub tricks: Tricks,
    /// The first cap that was hit, in words.
    pub limit: Option<&'static str>,
}

impl Decoder {
    /// Begins no further reading once it is stopped.
    pub(super) fn new(stop: Stop) -> Self {
        Self { stop, ..Self::default() }
    }

    /// Before the next part.
    pub(super) fn begin(&mut self) {
        self.told.clear();
        self.tricks = Tricks::default();
        self.limit = None;
    }

    /// Every reading of the text, the one that is meant first; no two the same.
    pub(super) fn decode(&mut self, encoding: Encoding, text: &[u8], mut tell: impl FnMut(&[u8])) {
        match encoding {
            Encoding::Base64 => {
                let junk = base64::readings(text, &self.stop, &mut self.buffer, |bytes, is_only| {
                    if is_only || is_new(&mut self.told, &self.hasher, bytes) {
                        tell(bytes);
                    }
                });
                self.tricks.add_if(junk, Trick::Base64Junk);
            }
            Encoding::QuotedPrintable => {
                let junk = quoted_printable::readings(text, &self.stop, &mut self.buffer, |bytes| {
                    if is_new(&mut self.told, &self.hasher, bytes) {
                        tell(bytes);
                    }
                });
                self.tricks.add_if(junk, Trick::QuotedPrintableJunk);
            }
            Encoding::Identity => {
                if is_new(&mut self.told, &self.hasher, text) {
                    tell(text);
                }
            }
            Encoding::BinHex | Encoding::Uuencode | Encoding::YEnc => {
                let mut any = false;
                for block in blocks(text, Some(encoding)) {
                    if !block.decode(&mut self.buffer) {
                        self.limit = Some("more in a file of BinHex than is unpacked");
                    }
                    any = true;
                    if is_new(&mut self.told, &self.hasher, &self.buffer) {
                        tell(&self.buffer);
                    }
                }
                if !any && encoding == Encoding::Uuencode {
                    self.buffer.clear();
                    uuencode::push_lines(&mut self.buffer, text);
                    tell(&self.buffer);
                }
            }
        }
    }
}

fn is_new(told: &mut Vec<(usize, u64)>, hasher: &RandomState, bytes: &[u8]) -> bool {
    // A part that has one reading is never compared.
    let mark = (bytes.len(), hasher.hash_one(bytes));
    if told.contains(&mark) {
        return false;
    }
    told.push(mark);
    true
}

/// Bytes that the content has once it is decoded; for base64 without decoding it.
pub(super) fn decoded_len(encoding: Encoding, text: &[u8]) -> usize {
    match encoding {
        Encoding::Base64 => base64::digits(text) * 3 / 4,
        Encoding::QuotedPrintable => quoted_printable::decoded_len(text),
        _ => text.len(),
    }
}

/// Whether a text is nothing but base64, so that whoever overlooks what the part says
/// might decode it.
pub(super) fn looks_like_base64(text: &[u8]) -> bool {
    base64::looks_like(text)
}

/// Whether decoders would differ over it.
pub(super) fn has_junk(encoding: Encoding, text: &[u8]) -> bool {
    match encoding {
        Encoding::Base64 => base64::has_junk(text),
        Encoding::QuotedPrintable => quoted_printable::has_junk(text),
        _ => false,
    }
}
