//! Shortcuts of Windows: what stands behind their end is there for another reader.

use super::Inside;
use super::Kind;
use super::u16_at;
use super::u32_at;
use super::usize_at;

const HEADER_BYTES: usize = 76;

pub(super) fn look(bytes: &[u8], inside: &mut Inside<'_>) {
    /// Padding, which some programs write.
    const FREE_BYTES: usize = 16;
    if bytes.starts_with(b"L\0\0\0") && end(bytes).is_some_and(|end| end + FREE_BYTES < bytes.len()) {
        inside.is(Kind::Polyglot);
    }
}

/// Where it ends (MS-SHLLINK, section 2). None: it is cut.
fn end(bytes: &[u8]) -> Option<usize> {
    const HAS_TARGET: u32 = 1;
    const HAS_LINK: u32 = 2;
    /// Description, path, folder, arguments, icon.
    const TEXTS: [u32; 5] = [4, 8, 16, 32, 64];
    const IS_WIDE: u32 = 128;
    let flags = u32_at(bytes, 20)?;
    let mut at = HEADER_BYTES;
    if flags & HAS_TARGET != 0 {
        at = at.checked_add(2 + usize::from(u16_at(bytes, at)?))?;
    }
    if flags & HAS_LINK != 0 {
        at = at.checked_add(usize_at(bytes, at)?.max(4))?;
    }
    for text in TEXTS {
        if flags & text != 0 {
            let width = if flags & IS_WIDE != 0 { 2 } else { 1 };
            at = at.checked_add(2 + usize::from(u16_at(bytes, at)?) * width)?;
        }
    }
    // More blocks until one that is too short to be any.
    loop {
        let size = usize_at(bytes, at)?;
        if size < 4 {
            return at.checked_add(4);
        }
        at = at.checked_add(size)?;
    }
}
