//! Files that were put into a document as an icon to be clicked: the formats of OLE 1,
//! in which they stand in streams and in RTF.

use super::Inside;
use super::Kind;
use super::office;
use super::usize_at;
use crate::content::Budget;
use crate::content::magic;
use std::borrow::Cow;

/// Adds the file in a stream `\x01Ole10Native`, or if it is none of the packager's, what
/// follows the length.
pub(super) fn native(stream: &[u8], inside: &mut Inside<'_>, budget: &mut Budget) {
    let body = stream.get(4..).unwrap_or_default();
    match packed(body) {
        Some((name, bytes)) => {
            inside.is(Kind::EmbeddedObject);
            inside.add(&name, bytes.to_vec(), budget);
        }
        None => inside.add("", body.to_vec(), budget),
    }
}

/// Name and bytes of what the packager has packed.
fn packed(body: &[u8]) -> Option<(String, &[u8])> {
    let rest = body.strip_prefix(b"\x02\0")?;
    let (label, rest) = text(rest)?;
    let (path, rest) = text(rest)?;
    let rest = rest.get(4..)?;
    let skipped = usize_at(rest, 0)?;
    let rest = rest.get(4..)?.get(skipped..)?;
    let size = usize_at(rest, 0)?;
    let rest = rest.get(4..)?;
    let bytes = rest.get(..size).unwrap_or(rest);
    let path = path.rsplit(['\\', '/']).next().unwrap_or_default();
    // What is clicked has the name of the path; the label is shown.
    Some((if path.is_empty() { label.into_owned() } else { path.to_owned() }, bytes))
}

fn text(bytes: &[u8]) -> Option<(Cow<'_, str>, &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((String::from_utf8_lossy(bytes.get(..end)?), bytes.get(end + 1..)?))
}

/// Adds what an object of OLE 1 has, as it stands in RTF.
pub(super) fn object(object: &[u8], inside: &mut Inside<'_>, budget: &mut Budget) {
    let Some((class, bytes)) = class_and_bytes(object) else { return };
    let class = class.to_ascii_lowercase();
    if class.starts_with(b"equation") {
        inside.is(Kind::EquationObject);
    }
    if class.starts_with(b"package") && packed(bytes).is_some() {
        let (name, bytes) = packed(bytes).unwrap_or_default();
        inside.is(Kind::EmbeddedObject);
        return inside.add(&name, bytes.to_vec(), budget);
    }
    if bytes.starts_with(magic::OLE) {
        let mut found = Inside::default();
        office::look(bytes, &mut found, budget);
        inside.join(found, budget);
    }
    inside.add("", bytes.to_vec(), budget);
}

fn class_and_bytes(object: &[u8]) -> Option<(&[u8], &[u8])> {
    // Version and form, then class, topic and item.
    let mut rest = object.get(8..)?;
    let mut class: Option<&[u8]> = None;
    for _ in 0..3 {
        let size = usize_at(rest, 0)?;
        let text = rest.get(4..)?.get(..size)?;
        class.get_or_insert(text.strip_suffix(b"\0").unwrap_or(text));
        rest = rest.get(4 + size..)?;
    }
    let size = usize_at(rest, 0)?;
    let bytes = rest.get(4..)?;
    Some((class?, bytes.get(..size).unwrap_or(bytes)))
}
