//! What is signed in an opaque way (S/MIME, RFC 8551, 3.5.2; CAdES as `.p7m`): the
//! content stands in the signature, readable for anybody, and mail programs show it
//! whoever signed it.
//!
//! A stranger wrote it, in DER or BER. Each length is held against what is there,
//! nothing recurses, and no byte is looked at twice but for those within each other.

/// Signatures of signatures.
const MAX_DEPTH: usize = 8;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const OCTETS: u8 = 0x04;
/// Octets in pieces.
const PIECES: u8 = 0x24;
/// `[0]`
const CONTENT: u8 = 0xa0;
/// 1.2.840.113549.1.7.2
const SIGNED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";

/// By what it is said to be.
pub(super) fn may_be(types: &[String], names: &[String]) -> bool {
    types.iter().any(|media_type| media_type.ends_with("pkcs7-mime"))
        || names.iter().any(|name| ends_with_p7m(name))
}

/// What it is called without the signature.
pub(super) fn name_of_content(name: &str) -> &str {
    let shown = name.trim_end_matches(['.', ' ']);
    match ends_with_p7m(shown) {
        true => shown.get(..shown.len().saturating_sub(4)).unwrap_or(name),
        false => name,
    }
}

fn ends_with_p7m(name: &str) -> bool {
    let name = name.trim_end_matches(['.', ' ']).as_bytes();
    name.get(name.len().saturating_sub(4)..).is_some_and(|end| end.eq_ignore_ascii_case(b".p7m"))
}

/// What was signed, and whether there is still a signature around it; None if there is
/// none, or nothing in it.
pub(super) fn content(bytes: &[u8]) -> Option<(Vec<u8>, bool)> {
    let mut found = signed(bytes)?;
    for _ in 1..MAX_DEPTH {
        match signed(&found) {
            Some(inner) => found = inner,
            None => return Some((found, false)),
        }
    }
    let is_signed = signed(&found).is_some();
    Some((found, is_signed))
}

fn signed(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut at = Ber(bytes);
    at.enter(SEQUENCE)?;
    if at.enter(OID)? != Some(SIGNED_DATA.len()) {
        return None;
    }
    at.0 = at.0.strip_prefix(SIGNED_DATA)?;
    at.enter(CONTENT)?;
    at.enter(SEQUENCE)?;
    at.pass(INTEGER)?;
    at.pass(SET)?;
    at.enter(SEQUENCE)?;
    at.pass(OID)?;
    at.enter(CONTENT)?;
    let content = at.octets();
    (!content.is_empty()).then_some(content)
}

/// What is still to be read.
struct Ber<'a>(&'a [u8]);

impl<'a> Ber<'a> {
    /// The next tag, and the length of what it has; None: it says so at its end.
    fn tag(&mut self) -> Option<(u8, Option<usize>)> {
        let [tag, length, rest @ ..] = self.0 else { return None };
        self.0 = rest;
        let length = match *length {
            0x80 => None,
            length if length < 0x80 => Some(usize::from(length)),
            count => {
                let (digits, rest) = self.0.split_at_checked(usize::from(count & 0x7f))?;
                self.0 = rest;
                let add = |sum: usize, digit: &u8| sum.checked_mul(256)?.checked_add(usize::from(*digit));
                Some(digits.iter().try_fold(0, add)?)
            }
        };
        Some((*tag, length))
    }

    /// Goes on with what is in it.
    fn enter(&mut self, wanted: u8) -> Option<Option<usize>> {
        let (tag, length) = self.tag()?;
        (tag == wanted).then_some(length)
    }

    /// Goes on behind it.
    fn pass(&mut self, wanted: u8) -> Option<()> {
        let mut open = 0_usize;
        let mut length = self.enter(wanted)?;
        loop {
            match length {
                Some(length) => self.0 = self.0.get(length..)?,
                None => open += 1,
            }
            while open > 0
                && let Some(rest) = self.0.strip_prefix(&[0, 0])
            {
                self.0 = rest;
                open -= 1;
            }
            if open == 0 {
                return Some(());
            }
            length = self.tag()?.1;
        }
    }

    /// One string, or the pieces of one; of a cut one what is there.
    fn octets(&mut self) -> Vec<u8> {
        let mut octets = Vec::new();
        let mut is_whole = false;
        while !is_whole && let Some((tag, length)) = self.tag() {
            match (tag, length) {
                (OCTETS, Some(length)) => {
                    let (piece, rest) = self.0.split_at(length.min(self.0.len()));
                    // Without pieces around it there is no other.
                    is_whole = octets.is_empty() && !self.is_in_pieces(rest);
                    octets.extend_from_slice(piece);
                    self.0 = rest;
                }
                // Into it, or behind its end.
                (PIECES, _) | (0, Some(0)) => {}
                _ => break,
            }
        }
        octets
    }

    fn is_in_pieces(&self, rest: &[u8]) -> bool {
        matches!(rest, [OCTETS | PIECES | 0, ..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u32).to_be_bytes();
        [&[tag, 0x84][..], &length, content].concat()
    }

    fn endless(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, 0x80][..], content, &[0, 0]].concat()
    }

    type Write = fn(u8, &[u8]) -> Vec<u8>;

    fn signed_data(octets: &[u8], write: Write) -> Vec<u8> {
        let data = tagged(OID, &[0x2a, 1]);
        let inner = write(SEQUENCE, &[data, write(CONTENT, octets)].concat());
        let set = write(SET, &write(SEQUENCE, &tagged(OID, &[0x2a, 2])));
        let signers = tagged(SET, b"signers");
        let whole = write(SEQUENCE, &[tagged(INTEGER, &[1]), set, inner, signers].concat());
        write(SEQUENCE, &[tagged(OID, SIGNED_DATA), write(CONTENT, &whole)].concat())
    }

    #[test]
    fn what_is_signed_is_read_in_either_notation() {
        let one = tagged(OCTETS, b"MZ and more");
        let pieces = [tagged(OCTETS, b"MZ and"), tagged(OCTETS, b" more")].concat();
        for octets in [one.clone(), tagged(PIECES, &pieces), endless(PIECES, &pieces)] {
            for write in [tagged as Write, endless] {
                let bytes = signed_data(&octets, write);
                assert_eq!(content(&bytes), Some((b"MZ and more".to_vec(), false)), "{bytes:x?}");
                let twice = signed_data(&tagged(OCTETS, &bytes), write);
                assert_eq!(content(&twice), Some((b"MZ and more".to_vec(), false)));
                for cut in 0..bytes.len() {
                    content(&bytes[..cut]);
                }
            }
        }
        let mut deep = one;
        for _ in 0..=MAX_DEPTH {
            deep = tagged(OCTETS, &signed_data(&deep, tagged));
        }
        assert_eq!(content(&deep[6..]).map(|(_, is_signed)| is_signed), Some(true));
    }

    #[test]
    fn what_is_no_signature_has_nothing_in_it() {
        let length_of_all = [&[SEQUENCE, 0xff][..], &[0xff; 200]].concat();
        for bytes in
            [&b""[..], b"MZ", b"\x30", b"\x30\x80\x06\x80", &length_of_all, &[0x30, 0x80].repeat(9_000)]
        {
            assert_eq!(content(bytes), None);
        }
    }

    #[test]
    fn names_are_those_without_the_signature() {
        for (name, expected) in
            [("invoice.pdf.p7m", "invoice.pdf"), ("A.EXE.P7M .", "A.EXE"), ("a.exe", "a.exe"), ("ä7m", "ä7m")]
        {
            assert_eq!(name_of_content(name), expected);
        }
    }
}
