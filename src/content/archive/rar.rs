//! RAR archives of all generations: their headers alone. What is packed stays so, for
//! there is no decoder that may be linked here and is old enough to be trusted; what
//! is only stored is looked at.

use super::Kind;
use super::Names;
use super::bytes::byte;
use super::bytes::place;
use super::bytes::slice;
use super::bytes::u16;
use super::bytes::u32;
use super::opened::Go;
use super::opened::Opened;
use super::zip::names;
use super::zip::names::Charset;

pub(super) const FIRST: &[u8] = b"RE~^";
pub(super) const FOURTH: &[u8] = b"Rar!\x1A\x07\0";
pub(super) const FIFTH: &[u8] = b"Rar!\x1A\x07\x01\0";

/// Headers read, those of services and the like with them.
const MAX_HEADERS: usize = 100_000;

/// One file as any generation has it.
#[derive(Default)]
struct Member<'a> {
    names: Names,
    size: u64,
    /// None if it goes on in another volume or is cut off.
    data: Option<&'a [u8]>,
    is_folder: bool,
    is_encrypted: bool,
    is_stored: bool,
    is_split: bool,
}

/// Whether one begins here and not only its signature.
pub(super) fn is_rar(bytes: &[u8]) -> bool {
    if bytes.starts_with(FIFTH) {
        return Fifth::read(bytes, FIFTH.len()).is_some_and(|header| matches!(header.kind, 1 | 4));
    }
    bytes.starts_with(FOURTH) && byte(bytes, 9) == Some(0x73)
}

pub(super) fn open(opened: &mut Opened<'_, '_>) {
    if opened.bytes.starts_with(FIFTH) {
        fifth(opened);
    } else if opened.bytes.starts_with(FOURTH) {
        fourth(opened);
    } else {
        first(opened);
    }
}

fn add(opened: &mut Opened<'_, '_>, member: Member<'_>) -> Go {
    if member.is_split {
        opened.is(Kind::Unscannable);
    }
    if member.is_encrypted {
        opened.is(Kind::EncryptedArchive);
        return opened.list(member.names, member.size);
    }
    if member.is_folder {
        return Go::On;
    }
    let Some(data) = member.data else {
        if !member.is_split {
            opened.is(Kind::Damaged);
        }
        return opened.list(member.names, member.size);
    };
    if member.is_stored && !member.is_split {
        return opened.stored(member.names, data);
    }
    opened.packed_for_good(member.names, member.size)
}

/// RAR 1.4 and before.
fn first(opened: &mut Opened<'_, '_>) {
    let bytes = opened.bytes;
    let mut at = usize::from(u16(bytes, 4).unwrap_or(0)).max(7);
    while at < bytes.len() {
        let Some((header, member)) = first_member(bytes, at) else { return opened.is(Kind::Damaged) };
        let next = at.saturating_add(header);
        at = next.saturating_add(member.data.map_or(usize::MAX, <[u8]>::len));
        if add(opened, member) == Go::Stop {
            return;
        }
    }
}

fn first_member(bytes: &[u8], at: usize) -> Option<(usize, Member<'_>)> {
    let packed = place(u32(bytes, at)?.into());
    let header = usize::from(u16(bytes, at + 10)?);
    let flags = byte(bytes, at + 17)?;
    let length = usize::from(byte(bytes, at + 19)?);
    (header >= 21 + length).then_some(())?;
    let mut member = Member {
        size: u32(bytes, at + 4)?.into(),
        data: slice(bytes, at + header, packed),
        is_folder: byte(bytes, at + 16)? & 0x10 != 0,
        is_encrypted: flags & 4 != 0,
        is_stored: byte(bytes, at + 20)? == 0,
        is_split: flags & 3 != 0,
        ..Member::default()
    };
    names::add(&mut member.names, slice(bytes, at + 21, length)?, Charset::Unsaid);
    Some((header, member))
}

/// RAR 1.5 to 4.
fn fourth(opened: &mut Opened<'_, '_>) {
    let bytes = opened.bytes;
    let mut at = FOURTH.len();
    for _ in 0..MAX_HEADERS {
        let (Some(kind), Some(flags), Some(length)) =
            (byte(bytes, at + 2), u16(bytes, at + 3), u16(bytes, at + 5))
        else {
            // Old ones end without saying so.
            if at != bytes.len() {
                opened.is(Kind::Damaged);
            }
            return;
        };
        let length = usize::from(length);
        if length < 7 {
            return opened.is(Kind::Damaged);
        }
        let mut packed = if flags & 0x8000 != 0 { u64::from(u32(bytes, at + 7).unwrap_or(0)) } else { 0 };
        match kind {
            0x73 => {
                if flags & 0x80 != 0 {
                    return opened.is(Kind::EncryptedArchive);
                }
                if flags & 1 != 0 {
                    opened.is(Kind::Unscannable);
                }
            }
            0x74 => {
                let Some((more, member)) = fourth_member(bytes, at, flags, length) else {
                    return opened.is(Kind::Damaged);
                };
                packed = more;
                if add(opened, member) == Go::Stop {
                    return;
                }
            }
            0x7A if flags & 0x100 != 0 => packed |= u64::from(u32(bytes, at + 32).unwrap_or(0)) << 32,
            0x7B => return,
            0x72..=0x7A => {}
            _ => return opened.is(Kind::Damaged),
        }
        at = at.saturating_add(length).saturating_add(place(packed));
    }
    let _ = opened.limit("more headers of an archive than are read");
}

fn fourth_member(bytes: &[u8], at: usize, flags: u16, length: usize) -> Option<(u64, Member<'_>)> {
    let (mut packed, mut size) = (u64::from(u32(bytes, at + 7)?), u64::from(u32(bytes, at + 11)?));
    let mut name = at + 32;
    if flags & 0x100 != 0 {
        packed |= u64::from(u32(bytes, at + 32)?) << 32;
        size |= u64::from(u32(bytes, at + 36)?) << 32;
        name += 8;
    }
    let raw = slice(bytes, name, usize::from(u16(bytes, at + 26)?))?;
    let mut member = Member {
        size,
        data: slice(bytes, at.checked_add(length)?, place(packed)),
        is_folder: flags & 0xE0 == 0xE0,
        is_encrypted: flags & 4 != 0,
        is_stored: byte(bytes, at + 25)? == 0x30,
        is_split: flags & 3 != 0,
        ..Member::default()
    };
    match memchr::memchr(0, raw) {
        Some(end) if flags & 0x200 != 0 => {
            let (plain, coded) = (raw.get(..end)?, raw.get(end + 1..)?);
            member.names.add(&String::from_utf16_lossy(&coded_name(plain, coded)));
            names::add(&mut member.names, plain, Charset::Unsaid);
        }
        _ => {
            names::add(&mut member.names, raw, Charset::Unsaid);
        }
    }
    Some((packed, member))
}

/// A name in Unicode, told by how it differs from the plain one.
fn coded_name(plain: &[u8], coded: &[u8]) -> Vec<u16> {
    let mut name = Vec::new();
    let mut bytes = coded.iter().copied();
    let Some(high) = bytes.next().map(|high| u16::from(high) << 8) else { return name };
    let (mut modes, mut left) = (0, 0);
    loop {
        if left == 0 {
            let Some(next) = bytes.next() else { return name };
            (modes, left) = (next, 8);
        }
        left -= 2;
        let Some(byte) = bytes.next() else { return name };
        match modes >> left & 3 {
            0 => name.push(byte.into()),
            1 => name.push(high | u16::from(byte)),
            2 => {
                let Some(upper) = bytes.next() else { return name };
                name.push(u16::from(upper) << 8 | u16::from(byte));
            }
            _ => {
                let shift = if byte & 0x80 != 0 { bytes.next() } else { None };
                for _ in 0..usize::from(byte & 0x7F) + 2 {
                    let Some(known) = plain.get(name.len()) else { break };
                    name.push(match shift {
                        Some(shift) => high | u16::from(known.wrapping_add(shift)),
                        None => (*known).into(),
                    });
                }
            }
        }
    }
}

/// RAR 5 and later.
fn fifth(opened: &mut Opened<'_, '_>) {
    let bytes = opened.bytes;
    let mut at = FIFTH.len();
    for _ in 0..MAX_HEADERS {
        let Some(header) = Fifth::read(bytes, at) else {
            return opened.is(Kind::Damaged);
        };
        let mut fields = header.fields;
        match header.kind {
            1 if fields.number().is_some_and(|flags| flags & 1 != 0) => opened.is(Kind::Unscannable),
            2 => {
                let Some(member) = fifth_member(bytes, &header) else { return opened.is(Kind::Damaged) };
                if add(opened, member) == Go::Stop {
                    return;
                }
            }
            4 => return opened.is(Kind::EncryptedArchive),
            5 => return,
            _ => {}
        }
        at = header.data.saturating_add(place(header.packed));
        if at >= bytes.len() {
            return opened.is(Kind::Damaged);
        }
    }
    let _ = opened.limit("more headers of an archive than are read");
}

struct Fifth<'a> {
    kind: u64,
    flags: u64,
    packed: u64,
    fields: Fields<'a>,
    extra: Fields<'a>,
    /// Where it ends and the data begins.
    data: usize,
}

impl<'a> Fifth<'a> {
    fn read(bytes: &'a [u8], at: usize) -> Option<Self> {
        let mut rest = Fields(bytes.get(at.checked_add(4)?..)?);
        let length = place(rest.number()?);
        let data = (bytes.len() - rest.0.len()).checked_add(length)?;
        let mut fields = Fields(rest.0.get(..length)?);
        let (kind, flags) = (fields.number()?, fields.number()?);
        let extra = if flags & 1 != 0 { place(fields.number()?) } else { 0 };
        let packed = if flags & 2 != 0 { fields.number()? } else { 0 };
        let (fields, extra) = fields.0.split_at_checked(fields.0.len().saturating_sub(extra))?;
        Some(Self { kind, flags, packed, fields: Fields(fields), extra: Fields(extra), data })
    }
}

/// Numbers of seven bits a byte, one after another.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(first & 0x7F) << shift;
            if first & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

fn fifth_member<'a>(bytes: &'a [u8], header: &Fifth<'a>) -> Option<Member<'a>> {
    let (mut fields, mut extra) = (header.fields, header.extra);
    let flags = fields.number()?;
    let size = fields.number()?;
    fields.number()?;
    fields.take(if flags & 2 != 0 { 4 } else { 0 })?;
    fields.take(if flags & 4 != 0 { 4 } else { 0 })?;
    let method = fields.number()? >> 7 & 7;
    fields.number()?;
    let length = place(fields.number()?);
    let mut member = Member {
        size,
        data: slice(bytes, header.data, place(header.packed)),
        is_folder: flags & 1 != 0,
        is_stored: method == 0,
        is_split: header.flags & 0x18 != 0,
        ..Member::default()
    };
    names::add(&mut member.names, fields.take(length)?, Charset::Utf8);
    while let Some(length) = extra.number() {
        let Some(mut record) = extra.take(place(length)).map(Fields) else { break };
        member.is_encrypted |= record.number() == Some(1);
    }
    Some(member)
}
