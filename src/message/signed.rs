//! What signatures of a message (DKIM, ARC) need of it: its header to the byte, and
//! hashes of its body in the forms that they name.
//!
//! Nothing of the body is kept: which hashes are wanted is known at the end of the
//! header, and they are made while the body comes. Who wrote all of it is unknown
//! and hostile; the caps below bound what is kept and how often the body is hashed.

use super::header::MAX_HEADERS;
use super::header::MAX_HEADERS_BYTES;
use mail_auth::arc;
use mail_auth::common::crypto::HashContext as _;
use mail_auth::common::crypto::HashImpl;
use mail_auth::common::crypto::Sha256;
use mail_auth::common::headers::Writer as _;
use mail_auth::dkim;
use mail_auth::dkim::Canonicalization;
use std::fmt;
use std::ops::Range;

/// Signatures looked at, from the top. Forwarders and mailing lists leave a handful;
/// each costs a question to the DNS and an operation with its key.
pub const MAX_SIGNATURES: usize = 10;

/// Sets of an ARC chain (RFC 8617, 4.2.1).
pub const MAX_ARC_SETS: usize = 50;

pub const DKIM_SIGNATURE: &str = "DKIM-Signature";
pub const ARC_SIGNATURE: &str = "ARC-Message-Signature";

/// Bytes kept of one message's header, its line ends included; each connection of the
/// milter has one message.
const MAX_BYTES: usize = MAX_HEADERS_BYTES + MAX_HEADERS_BYTES / 4;

/// Bytes hashed at once.
const BUFFER_BYTES: usize = 8_192;

/// The signed side of one message.
#[derive(Debug, Default)]
pub struct Signed {
    /// Names and values of all fields, one after another.
    bytes: Vec<u8>,
    fields: Vec<Field>,
    hashes: Vec<Hashing>,
    bodies: Vec<BodyHash>,
    is_too_large: bool,
}

#[derive(Clone, Debug)]
struct Field {
    name: Range<usize>,
    value: Range<usize>,
}

/// The hash of a body as a signature wants it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BodyHash {
    pub canonicalization: Canonicalization,
    /// How much of it is hashed at most (`l=`); 0: all.
    pub length: u64,
    pub hash: Vec<u8>,
    /// How much of it there is in this form.
    pub bytes: u64,
}

impl Signed {
    pub(super) fn header(&mut self, name: &[u8], value: &[u8]) {
        let folds = memchr::memchr_iter(b'\n', value).count();
        let more = name.len() + value.len() + folds + 2;
        if self.is_too_large || self.fields.len() >= MAX_HEADERS || self.bytes.len() + more > MAX_BYTES {
            self.is_too_large = true;
            return;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        let middle = self.bytes.len();
        // The milter has folds as LF, signatures as they went over the wire.
        for (number, line) in value.split(|byte| *byte == b'\n').enumerate() {
            if number > 0 {
                self.bytes.extend_from_slice(b"\r\n");
            }
            self.bytes.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        }
        self.bytes.extend_from_slice(b"\r\n");
        self.fields.push(Field { name: start..middle, value: middle..self.bytes.len() });
    }

    /// Finds out which hashes are wanted.
    pub(super) fn end_of_header(&mut self) {
        let mut wanted: Vec<(Canonicalization, u64)> = Vec::new();
        let mut add = |form| {
            if !wanted.contains(&form) {
                wanted.push(form);
            }
        };
        for (_, value) in self.named(DKIM_SIGNATURE).take(MAX_SIGNATURES) {
            if let Ok(signature) = dkim::Signature::parse(value) {
                add((signature.cb, signature.l));
            }
        }
        // Of a chain only the newest signature is still about this body.
        let arc = self.named(ARC_SIGNATURE).take(MAX_ARC_SETS);
        let newest = arc.filter_map(|(_, value)| arc::Signature::parse(value).ok());
        if let Some(signature) = newest.max_by_key(|signature| signature.i) {
            add((signature.cb, signature.l));
        }
        self.hashes = wanted.into_iter().map(|(form, length)| Hashing::new(form, length)).collect();
    }

    pub(super) fn body(&mut self, chunk: &[u8]) {
        self.hashes.iter_mut().for_each(|hashing| hashing.body(chunk));
    }

    pub(super) fn finish(&mut self) {
        self.bodies.extend(std::mem::take(&mut self.hashes).into_iter().map(Hashing::finish));
    }

    /// All fields, in order: names and values with their folds and their line end.
    pub fn fields(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| {
            let part = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
            (part(&field.name), part(&field.value))
        })
    }

    pub fn named<'s>(&'s self, name: &'s str) -> impl Iterator<Item = (&'s [u8], &'s [u8])> {
        self.fields().filter(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
    }

    pub fn body_hash(&self, canonicalization: Canonicalization, length: u64) -> Option<&BodyHash> {
        let fits = |body: &&BodyHash| body.canonicalization == canonicalization && body.length == length;
        self.bodies.iter().find(fits)
    }

    /// There are more fields than are kept, so that no signature can be checked.
    pub fn is_too_large(&self) -> bool {
        self.is_too_large
    }
}

/// A body on its way through its canonical form (RFC 6376, 3.4) into a hash.
///
/// mail-auth's own hasher counts `l=` before it changes the body's form, and keeps
/// blank lines at the end that have blanks in them.
struct Hashing {
    form: BodyHash,
    context: <Sha256 as HashImpl>::Context,
    buffer: Vec<u8>,
    /// Line ends that count only if something comes behind them.
    breaks: u64,
    /// A blank, and a CR, of which the same is true.
    blank: bool,
    cr: bool,
    has_content: bool,
}

impl fmt::Debug for Hashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.form.fmt(f)
    }
}

impl Hashing {
    fn new(canonicalization: Canonicalization, length: u64) -> Self {
        Self {
            form: BodyHash { canonicalization, length, hash: Vec::new(), bytes: 0 },
            context: Sha256::hasher(),
            buffer: Vec::with_capacity(BUFFER_BYTES),
            breaks: 0,
            blank: false,
            cr: false,
            has_content: false,
        }
    }

    fn body(&mut self, chunk: &[u8]) {
        if chunk.first().is_some_and(|byte| *byte != b'\n') {
            self.pending_cr();
        }
        let mut rest = chunk;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            self.text(line.strip_suffix(b"\r").unwrap_or(line));
            self.cr = false;
            self.blank = false;
            self.breaks += 1;
        }
        match rest.strip_suffix(b"\r") {
            Some(line) => {
                self.text(line);
                self.cr = true;
            }
            None => self.text(rest),
        }
    }

    /// It was no line end.
    fn pending_cr(&mut self) {
        if std::mem::take(&mut self.cr) {
            self.content(b"\r");
        }
    }

    /// A piece of a line.
    fn text(&mut self, piece: &[u8]) {
        if piece.is_empty() {
            return;
        }
        if self.form.canonicalization == Canonicalization::Simple {
            self.content(piece);
            return;
        }
        let mut rest = piece;
        while !rest.is_empty() {
            let end = memchr::memchr2(b' ', b'\t', rest).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            if !word.is_empty() {
                self.content(word);
            }
            self.blank |= !after.is_empty();
            rest = behind_blanks(after);
        }
    }

    fn content(&mut self, bytes: &[u8]) {
        self.has_content = true;
        for _ in 0..std::mem::take(&mut self.breaks) {
            self.write(b"\r\n");
        }
        if std::mem::take(&mut self.blank) {
            self.write(b" ");
        }
        self.write(bytes);
    }

    fn write(&mut self, bytes: &[u8]) {
        let left = match self.form.length {
            0 => u64::MAX,
            length => length.saturating_sub(self.form.bytes),
        };
        self.form.bytes = self.form.bytes.saturating_add(bytes.len() as u64);
        let taken = bytes.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(bytes);
        if self.buffer.len() + taken.len() > BUFFER_BYTES {
            self.context.write(&self.buffer);
            self.buffer.clear();
        }
        match taken.len() > BUFFER_BYTES {
            true => self.context.write(taken),
            false => self.buffer.extend_from_slice(taken),
        }
    }

    fn finish(mut self) -> BodyHash {
        self.pending_cr();
        if self.has_content || self.form.canonicalization == Canonicalization::Simple {
            self.write(b"\r\n");
        }
        self.context.write(&self.buffer);
        BodyHash { hash: self.context.complete().as_ref().to_vec(), ..self.form }
    }
}

fn behind_blanks(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_auth::common::crypto::HashAlgorithm;
    use proptest::prelude::*;

    fn hashed(pieces: &[&[u8]], form: Canonicalization, length: u64) -> BodyHash {
        let mut hashing = Hashing::new(form, length);
        pieces.iter().for_each(|piece| hashing.body(piece));
        hashing.finish()
    }

    fn hash_of(text: &str) -> Vec<u8> {
        let mut context = Sha256::hasher();
        context.write(text.as_bytes());
        context.complete().as_ref().to_vec()
    }

    #[test]
    fn a_body_takes_its_canonical_form() {
        for (body, relaxed, simple) in [
            ("", "", "\r\n"),
            ("\r\n\r\n", "", "\r\n"),
            (" \t\r\n", "", " \t\r\n"),
            // The example of RFC 6376, 3.4.5.
            (" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n", " C \r\nD \t E\r\n"),
            ("a", "a\r\n", "a\r\n"),
            ("a\r\n  \r\n\t\r\n", "a\r\n", "a\r\n  \r\n\t\r\n"),
            ("a\r\n\r\n b", "a\r\n\r\n b\r\n", "a\r\n\r\n b\r\n"),
            ("a\r b\r\n\r", "a\r b\r\n\r\r\n", "a\r b\r\n\r\r\n"),
            ("a\nb\n", "a\r\nb\r\n", "a\r\nb\r\n"),
        ] {
            for (form, expected) in [(Canonicalization::Relaxed, relaxed), (Canonicalization::Simple, simple)]
            {
                let whole = hashed(&[body.as_bytes()], form, 0);
                assert_eq!((whole.hash, whole.bytes), (hash_of(expected), expected.len() as u64), "{body:?}");
                let bytes: Vec<_> = body.as_bytes().chunks(1).collect();
                assert_eq!(hashed(&bytes, form, 0).hash, hash_of(expected), "{body:?} byte by byte");
            }
        }
    }

    #[test]
    fn a_length_counts_what_is_hashed() {
        let part = hashed(&[b"a  b\r\n", b"more\r\n"], Canonicalization::Relaxed, 5);
        assert_eq!((part.hash, part.bytes), (hash_of("a b\r\n"), 11));
    }

    #[test]
    fn a_header_is_kept_as_it_went_over_the_wire() {
        let mut signed = Signed::default();
        signed.header(b"Subject", b" a\n b");
        signed.header(b"X", b"");
        let fields: Vec<_> = signed.fields().collect();
        assert_eq!(fields, [(&b"Subject"[..], &b" a\r\n b\r\n"[..]), (b"X", b"\r\n")]);
        for _ in 0..MAX_HEADERS {
            signed.header(b"X", b" y");
        }
        assert!(signed.is_too_large());
        assert_eq!(signed.fields().count(), MAX_HEADERS);
    }

    #[test]
    fn thousands_of_signatures_want_few_hashes() {
        let mut signed = Signed::default();
        for length in 1..1_000 {
            let value = format!(" v=1; a=rsa-sha256; d=a.example; s=s; h=from; l={length}; bh=YQ==; b=YQ==");
            signed.header(b"DKIM-Signature", value.as_bytes());
            let value = format!(
                " i={}; a=rsa-sha256; d=a.example; s=s; h=from; bh=YQ==; b=YQ==; l={length}",
                length % 50
            );
            signed.header(b"ARC-Message-Signature", value.as_bytes());
        }
        signed.end_of_header();
        assert_eq!(signed.hashes.len(), MAX_SIGNATURES + 1);
    }

    proptest! {
        /// But for blanks before a line end, of which it keeps some.
        #[test]
        fn the_forms_are_those_of_mail_auth(
            lines in prop::collection::vec("( {0,3}[a-c\t]{0,2}[a-c]){0,3}", 0..6),
            cut in 0_usize..40,
        ) {
            let body = lines.join("\r\n");
            let (one, other) = body.as_bytes().split_at(cut.min(body.len()));
            for form in [Canonicalization::Relaxed, Canonicalization::Simple] {
                let theirs = HashAlgorithm::Sha256.hash(form.canonical_body(body.as_bytes(), 0));
                let ours = hashed(&[one, other], form, 0).hash;
                prop_assert_eq!(ours.as_slice(), theirs.as_ref(), "{:?}", body);
            }
        }
    }
}
