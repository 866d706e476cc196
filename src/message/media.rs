//! What the fields of a part make of it: a multipart, a message, a text, a file; and
//! what parts the parts in it.

use crate::message::lines::MAX_LINE_BYTES;
use crate::message::parameters;
use crate::message::parameters::Field;
use crate::message::part_header::Kind;
use crate::message::trick::Trick;
use crate::message::trick::Tricks;

/// Boundaries of one part header: readings of one, and doubled ones.
pub(super) const MAX_BOUNDARIES: usize = 16;
/// RFC 2046, 5.1.1.
const MAX_BOUNDARY_BYTES: usize = 70;
/// Bytes decoded of the name of a charset.
const MAX_CHARSET_BYTES: usize = 80;

/// Media types below `message/` that hold reports, not messages.
const REPORTS: &[&str] = &[
    "message/delivery-status",
    "message/disposition-notification",
    "message/feedback-report",
    "message/global-delivery-status",
    "message/global-disposition-notification",
    "message/tracking-status",
];

/// Of several Content-Types each may be the one that counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Media {
    /// Every one that is given, the first first.
    pub types: Vec<String>,
    pub is_digest: bool,
    pub is_message: bool,
    pub is_multipart: bool,
    /// It is shown as a part of the message's text.
    pub is_text: bool,
    pub charset: Option<String>,
    pub tricks: Tricks,
}

impl Media {
    /// In a digest a part that does not say what it is, is a message (RFC 2046, 5.1.5).
    pub(super) fn of(fields: &[(Kind, Field)], is_in_digest: bool) -> Self {
        let of = |kind: Kind| fields.iter().filter(move |(k, _)| *k == kind).map(|(_, field)| field);
        let mut media = Self::default();
        for field in of(Kind::Type) {
            if !field.value.is_empty() && !media.types.contains(&field.value) {
                media.types.push(field.value.clone());
            }
            let is_multipart = field.value.starts_with("multipart");
            let is_exact = field.is_plain && field.value.starts_with("multipart/") && field.value.len() > 10;
            let written = field.whole.split(';').next().unwrap_or_default();
            let may_be = is_multipart || written.contains("ultipart") || written.starts_with("multi");
            media.tricks.add_if(may_be && !is_exact, Trick::TypeOdd);
            media.is_multipart |= is_multipart;
            media.is_digest |= field.value == "multipart/digest";
            media.tricks.add_if(field.value == "message/partial", Trick::PartialMessage);
            media.tricks.add_if(field.value == "message/external-body", Trick::ExternalBody);
        }
        media.is_message = media.types.iter().any(|media_type| is_message(media_type))
            || is_in_digest && media.types.is_empty();
        media.is_text = media.types.is_empty() || media.types.iter().any(|t| t.starts_with("text"));
        let types: Vec<_> = of(Kind::Type).collect();
        let charset = parameters::readings(&types, "charset").into_iter().next();
        media.charset = charset.map(|reading| reading.text(MAX_CHARSET_BYTES));
        for kind in [Kind::Type, Kind::Disposition] {
            let mut same = of(kind);
            let first = same.next();
            let differs = same.any(|field| first.is_some_and(|first| first.whole != field.whole));
            media.tricks.add_if(differs, Trick::FieldsDoubled);
        }
        let is_odd = fields.iter().any(|(_, field)| field.is_odd);
        media.tricks.add_if(is_odd, Trick::ParameterOdd);
        media
    }
}

fn is_message(media_type: &str) -> bool {
    media_type.starts_with("message/") && !REPORTS.contains(&media_type)
}

/// Every boundary that the fields may mean, and the cap that was hit.
pub(super) fn boundaries(
    fields: &[(Kind, Field)],
    is_multipart: bool,
) -> (Vec<Vec<u8>>, Option<&'static str>, Tricks) {
    let types: Vec<_> = fields.iter().filter(|(kind, _)| *kind == Kind::Type).map(|(_, f)| f).collect();
    let mut found: Vec<Vec<u8>> = Vec::new();
    let mut tricks = Tricks::default();
    let mut limit = None;
    let mut has_empty = false;
    for reading in parameters::readings(&types, "boundary") {
        let decoded = reading.text(MAX_LINE_BYTES).into_bytes();
        for bytes in [reading.bytes, decoded] {
            tricks.add_if(is_odd(&bytes), Trick::BoundaryOdd);
            // A blank at its end may be lost in transport: RFC 2046 forbids it.
            let bytes = bytes.trim_ascii_end();
            has_empty |= bytes.is_empty();
            if bytes.is_empty() || found.iter().any(|known| known == bytes) {
                continue;
            }
            if found.len() >= MAX_BOUNDARIES {
                limit = Some("more boundaries of a part than are read");
                continue;
            }
            found.push(bytes.to_vec());
        }
    }
    tricks.add_if(found.len() > 1, Trick::BoundaryConflict);
    if is_multipart && found.is_empty() {
        tricks.add(Trick::BoundaryMissing);
        if has_empty {
            found.push(Vec::new());
        }
    }
    if !is_multipart {
        tricks = Tricks::default();
    }
    (found, limit, tricks)
}

/// What stands in quotes is certain, but not at its ends, nor if there are quotes in it.
fn is_odd(boundary: &[u8]) -> bool {
    let is_foreign = |b: &u8| !b.is_ascii() || b.is_ascii_control() || matches!(b, b'"' | b'\\' | b';');
    boundary.len() > MAX_BOUNDARY_BYTES
        || boundary.trim_ascii().len() < boundary.len()
        || boundary.iter().any(is_foreign)
}
