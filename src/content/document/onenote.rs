//! Sections of OneNote: each file in one stands as it is, behind a mark (MS-ONESTORE,
//! section 2.6.13).

use super::Budget;
use super::Inside;
use super::Kind;
use super::usize_at;
use crate::content::Given;
use crate::content::Kinds;
use crate::content::magic;
use memchr::memmem;

/// FileDataStoreObject, BDE316E7-2665-4511-A4C4-8D4D0B7A9EAC.
const MARK: &[u8] = b"\xe7\x16\xe3\xbd\x65\x26\x11\x45\xa4\xc4\x8d\x4d\x0b\x7a\x9e\xac";
/// The mark, the length, and what is not used.
const HEADER_BYTES: usize = 36;

pub(super) fn look<'a>(bytes: &'a [u8], inside: &mut Inside<'a>, budget: &mut Budget) {
    /// What is shown on the page.
    const SHOWN: Kinds = Kinds::NONE.with(Kind::Audio).with(Kind::Empty).with(Kind::Image).with(Kind::Video);
    let mut next = 0;
    for at in memmem::find_iter(bytes, MARK) {
        // Not what stands in a file that was found already.
        if at < next {
            continue;
        }
        let body = bytes.get(at + HEADER_BYTES..).unwrap_or_default();
        let size = usize_at(bytes, at + 16).unwrap_or_default();
        let file = body.get(..size).unwrap_or(body);
        let kinds = magic::kinds(Given { bytes: file, names: &[], media_type: None });
        if kinds.has_any(SHOWN) && !kinds.has(Kind::Polyglot) {
            continue;
        }
        next = at + HEADER_BYTES + file.len();
        inside.is(Kind::EmbeddedObject);
        inside.add("", file, budget);
    }
}
