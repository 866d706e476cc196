//! TNEF, the `winmail.dat` that Outlook sends (MS-OXTNEF): the attachments within,
//! with their long and their short names, those of messages within it too, and the
//! texts that are not RTF.
//!
//! A stranger wrote it. Nothing is copied but names; each length is held against what
//! is there; messages within each other are opened one after the other, to a depth.

use std::borrow::Cow;

use crate::content::Names;
use crate::message::charset;

const SIGNATURE: &[u8] = &[0x78, 0x9f, 0x3e, 0x22];
/// Messages within each other.
const MAX_DEPTH: usize = 16;
/// Attachments of one file.
const MAX_ATTACHMENTS: usize = 1_000;
/// Properties of one attachment, and values of one property.
const MAX_PROPERTIES: usize = 10_000;
/// What stands in front of a message that is an attachment.
const MESSAGE_ID: &[u8] = &[0x07, 0x03, 0x02, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0x46];

#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    pub attachments: Vec<Attachment<'a>>,
    /// Each, and whether it is a web page.
    pub texts: Vec<(Cow<'a, [u8]>, bool)>,
    /// The first cap that was hit, in words.
    pub limit: Option<&'static str>,
}

#[derive(Debug, Default)]
pub(super) struct Attachment<'a> {
    pub names: Vec<String>,
    pub bytes: &'a [u8],
}

pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(SIGNATURE)
}

/// By what it is said to be.
pub(super) fn may_be(types: &[String], names: &[String]) -> bool {
    types.iter().any(|media_type| media_type.ends_with("ms-tnef"))
        || names.iter().any(|name| name.eq_ignore_ascii_case("winmail.dat"))
}

pub(super) fn attachments(bytes: &[u8]) -> Found<'_> {
    let mut found = Found::default();
    let mut streams = vec![(bytes, 0)];
    while let Some((stream, depth)) = streams.pop() {
        for inner in read(stream, &mut found) {
            if depth + 1 >= MAX_DEPTH {
                found.limit.get_or_insert("deeper nested messages in a winmail.dat than are read");
                break;
            }
            streams.push((inner, depth + 1));
        }
    }
    found
}

/// What is read off its beginning.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (now, later) = self.0.split_at_checked(count)?;
        self.0 = later;
        Some(now)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    /// With what fills it up to a multiple of four.
    fn padded(&mut self, count: usize) -> Option<&'a [u8]> {
        let bytes = self.take(count)?;
        let fill = count.next_multiple_of(4) - count;
        self.take(fill.min(self.0.len()))?;
        Some(bytes)
    }
}

/// An attachment while it is read. Readers may take any of its contents.
type Now<'a> = (Names, Vec<&'a [u8]>);

/// One stream; tells the messages that are attachments in it.
fn read<'a>(stream: &'a [u8], found: &mut Found<'a>) -> Vec<&'a [u8]> {
    let mut inner = Vec::new();
    let mut now: Option<Now<'_>> = None;
    let mut cursor = Cursor(stream);
    if cursor.take(4) != Some(SIGNATURE) || cursor.u16().is_none() {
        return inner;
    }
    while let Some((id, bytes)) = attribute(&mut cursor) {
        match id {
            // attAttachRendData: the next attachment.
            0x9002 => {
                finish(now.take(), found);
                now = Some(Now::default());
            }
            // attAttachTitle
            0x8010 => add_name(&mut now, &text_of(bytes)),
            // attAttachData
            0x800f => now.get_or_insert_default().1.push(bytes),
            // attAttachment
            0x9005 => {
                for (property, kind, value) in properties(bytes, found) {
                    match property {
                        // PidTagAttachLongFilename, PidTagAttachFilename,
                        // PidTagAttachTransportName, PidTagDisplayName
                        0x3707 | 0x3704 | 0x370c | 0x3001 => {
                            add_name(&mut now, &string(kind, value));
                        }
                        // PidTagAttachDataObject
                        0x3701 => {
                            let message = value.strip_prefix(MESSAGE_ID).filter(|bytes| begins(bytes));
                            inner.extend(message);
                            now.get_or_insert_default().1.push(message.unwrap_or(value));
                        }
                        _ => {}
                    }
                }
            }
            // attBody
            0x800c => found.texts.push((Cow::Borrowed(bytes), false)),
            // attMsgProps
            0x9003 => {
                for (property, kind, value) in properties(bytes, found) {
                    match property {
                        // PidTagBody
                        0x1000 => {
                            found.texts.push((Cow::Owned(string(kind, value).into_bytes()), false));
                        }
                        // PidTagHtml
                        0x1013 => found.texts.push((Cow::Borrowed(value), true)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    finish(now, found);
    inner
}

/// The number of its kind, and its bytes; of the last one what is there.
fn attribute<'a>(cursor: &mut Cursor<'a>) -> Option<(u16, &'a [u8])> {
    cursor.take(1)?;
    let id = cursor.u32()?;
    let length = cursor.u32()? as usize;
    let bytes = cursor.take(length.min(cursor.0.len()))?;
    // A checksum, which nobody looks at.
    cursor.take(2.min(cursor.0.len()))?;
    Some((id as u16, bytes))
}

fn finish<'a>(now: Option<Now<'a>>, found: &mut Found<'a>) {
    let Some((names, mut contents)) = now else { return };
    if let Some(limit) = names.limit {
        found.limit.get_or_insert(limit);
    }
    if contents.is_empty() {
        contents.push(b"");
    }
    for bytes in contents {
        if found.attachments.len() >= MAX_ATTACHMENTS {
            found.limit.get_or_insert("more attachments in a winmail.dat than are read");
            return;
        }
        found.attachments.push(Attachment { names: names.found.clone(), bytes });
    }
}

fn add_name(now: &mut Option<Now<'_>>, name: &str) {
    now.get_or_insert_default().0.add(name.trim_end_matches('\0'));
}

/// Each value with the number of its property and its type.
fn properties<'a>(bytes: &'a [u8], found: &mut Found<'a>) -> Vec<(u16, u16, &'a [u8])> {
    let mut values = Vec::new();
    let mut cursor = Cursor(bytes);
    let count = cursor.u32().unwrap_or(0) as usize;
    for _ in 0..count {
        if values.len() >= MAX_PROPERTIES {
            found.limit.get_or_insert("more properties in a winmail.dat than are read");
            break;
        }
        if property(&mut cursor, &mut values).is_none() {
            found.limit.get_or_insert("properties in a winmail.dat that can't be read");
            break;
        }
    }
    values
}

fn property<'a>(cursor: &mut Cursor<'a>, values: &mut Vec<(u16, u16, &'a [u8])>) -> Option<()> {
    let kind = cursor.u16()?;
    let id = cursor.u16()?;
    if id >= 0x8000 {
        cursor.take(16)?;
        if cursor.u32()? == 0 {
            cursor.take(4)?;
        } else {
            let length = cursor.u32()? as usize;
            cursor.padded(length)?;
        }
    }
    let is_many = kind & 0x1000 != 0;
    let kind = kind & !0x1000;
    let length = match kind {
        0x02 | 0x03 | 0x04 | 0x0a | 0x0b => Some(4),
        0x05 | 0x06 | 0x07 | 0x14 | 0x40 => Some(8),
        0x48 => Some(16),
        0x0d | 0x1e | 0x1f | 0x102 => None,
        _ => return None,
    };
    let count = if is_many || length.is_none() { cursor.u32()? as usize } else { 1 };
    for _ in 0..count.min(MAX_PROPERTIES) {
        let value = match length {
            Some(length) => cursor.take(length)?,
            None => {
                let length = cursor.u32()? as usize;
                cursor.padded(length)?
            }
        };
        values.push((id, kind, value));
    }
    Some(())
}

fn string(kind: u16, value: &[u8]) -> String {
    if kind == 0x1f { charset::decode("utf-16le", value) } else { text_of(value).into_owned() }
}

/// In the code page of whoever wrote it, most often this.
fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(charset::decode("windows-1252", bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(level: u8, id: u32, bytes: &[u8]) -> Vec<u8> {
        let mut all = vec![level];
        all.extend_from_slice(&id.to_le_bytes());
        all.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        all.extend_from_slice(bytes);
        all.extend_from_slice(&[0, 0]);
        all
    }

    fn stream(attributes: &[Vec<u8>]) -> Vec<u8> {
        [SIGNATURE, &[1, 0], &attributes.concat()].concat()
    }

    /// One property with one value of any length.
    fn value(kind: u16, id: u16, bytes: &[u8]) -> Vec<u8> {
        let mut all = [kind.to_le_bytes(), id.to_le_bytes()].concat();
        all.extend_from_slice(&1u32.to_le_bytes());
        all.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        all.extend_from_slice(bytes);
        all.resize(all.len().next_multiple_of(4), 0);
        all
    }

    fn props(values: &[Vec<u8>]) -> Vec<u8> {
        [&(values.len() as u32).to_le_bytes()[..], &values.concat()].concat()
    }

    fn told(bytes: &[u8]) -> Vec<(Vec<String>, usize)> {
        attachments(bytes).attachments.into_iter().map(|one| (one.names, one.bytes.len())).collect()
    }

    #[test]
    fn attachments_have_all_their_names_and_those_of_messages_within_too() {
        let long: Vec<u8> = "long name.exe\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let inner = stream(&[attribute(2, 0x0006_9002, b""), attribute(2, 0x0001_8010, b"INNER.EXE\0")]);
        let message = [MESSAGE_ID, &inner].concat();
        let outer = stream(&[
            attribute(1, 0x0002_800c, b"the text"),
            attribute(2, 0x0006_9002, b""),
            attribute(2, 0x0001_8010, b"LONGNA~1.EXE\0"),
            attribute(2, 0x0006_800f, b"MZ and more"),
            attribute(2, 0x0006_9005, &props(&[value(0x1f, 0x3707, &long)])),
            attribute(2, 0x0006_9002, b""),
            attribute(2, 0x0006_9005, &props(&[value(0x0d, 0x3701, &message)])),
        ]);
        let expected = [
            (vec!["LONGNA~1.EXE".to_owned(), "long name.exe".to_owned()], 11),
            (vec![], inner.len()),
            (vec!["INNER.EXE".to_owned()], 0),
        ];
        assert_eq!(told(&outer), expected);
        assert_eq!(attachments(&outer).texts, [(Cow::Borrowed(&b"the text"[..]), false)]);
        for cut in 0..outer.len() {
            attachments(&outer[..cut]);
        }
    }

    #[test]
    fn of_two_contents_both_are_told_and_what_can_t_be_read_is_said() {
        let of = |properties: &[u8]| {
            let attributes = [
                attribute(2, 0x0006_9002, b""),
                attribute(2, 0x0001_8010, b"a.txt\0"),
                attribute(2, 0x0006_800f, b"MZ"),
                attribute(2, 0x0006_9005, properties),
            ];
            stream(&attributes)
        };
        let harmless = of(&props(&[value(0x102, 0x3701, b"harmless")]));
        let found = attachments(&harmless);
        let contents: Vec<_> =
            found.attachments.iter().map(|one| (one.names[0].as_str(), one.bytes)).collect();
        assert_eq!(contents, [("a.txt", &b"MZ"[..]), ("a.txt", b"harmless")]);
        assert_eq!(found.limit, None);
        let unknown = of(&props(&[value(0x01, 0x3701, b""), value(0x1e, 0x3707, b"a.exe\0")]));
        assert!(attachments(&unknown).limit.is_some());
    }

    #[test]
    fn messages_within_each_other_and_many_attachments_have_a_bound() {
        let mut deep = stream(&[]);
        for _ in 0..100 {
            let message = [MESSAGE_ID, &deep].concat();
            deep = stream(&[attribute(2, 0x0006_9005, &props(&[value(0x0d, 0x3701, &message)]))]);
        }
        assert!(attachments(&deep).limit.is_some());
        let many = stream(&vec![attribute(2, 0x0006_9002, b""); 2 * MAX_ATTACHMENTS]);
        let found = attachments(&many);
        assert!(found.limit.is_some() && found.attachments.len() == MAX_ATTACHMENTS);
    }

    /// Files that others collected, where they are at hand.
    #[test]
    fn collected_files_are_opened() {
        let Some(corpora) = std::env::var_os("GATEPOST_CORPORA").map(std::path::PathBuf::from) else {
            eprintln!("skipped: GATEPOST_CORPORA names no folder of mail");
            return;
        };
        for (path, expected) in [
            ("tnefparse/tests/examples/two-files.tnef", &["AUTHORS", "README"][..]),
            ("tnefparse/tests/examples/long-filename.tnef", &["allproductsmar2000.dat"]),
            ("tnefparse/tests/examples/data-before-name.tnef", &["AUTOEXEC.BAT", "CONFIG.SYS", "boot.ini"]),
            ("tnefparse/tests/examples/MAPI_ATTACH_DATA_OBJ.tnef", &["VIA_Nytt_1402.doc"]),
            ("libytnef/test-data/winmail.dat", &["zappa_av1.jpg", "bookmark.htm"]),
        ] {
            let bytes = std::fs::read(corpora.join(path)).unwrap();
            let found: Vec<_> = told(&bytes).into_iter().flat_map(|(names, _)| names).collect();
            for name in expected {
                assert!(found.iter().any(|one| one == name), "{path}: {found:?}");
            }
        }
    }
}
