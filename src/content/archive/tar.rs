//! Tar archives of all dialects: v7, ustar, pax, GNU.
//!
//! A file may have its name in its header, in one before it (pax, GNU's long names)
//! and in one before all (pax), of which programs that don't know them take none:
//! each is a name of the file.

use memchr::memchr;

use super::Kind;
use super::Names;
use super::bytes::byte;
use super::bytes::place;
use super::bytes::slice;
use super::opened::Go;
use super::opened::Opened;
use super::zip::entry::leaves_folder;
use super::zip::names;
use super::zip::names::Charset;

const BLOCK_BYTES: usize = 512;
/// Names that pax gives one file.
const MAX_PATHS: usize = 16;

/// Whether a header of a file stands here: its sum is right.
pub(super) fn is_header(bytes: &[u8]) -> bool {
    let Some(block) = bytes.get(..BLOCK_BYTES) else { return false };
    let Some(said) = number(block, 148, 8) else { return false };
    // The field of the sum counts as blanks; some took bytes as signed.
    let sum = |of: fn(u8) -> i64| -> i64 {
        block
            .iter()
            .enumerate()
            .map(|(at, byte)| of(if (148..156).contains(&at) { b' ' } else { *byte }))
            .sum()
    };
    let said = i64::try_from(said).unwrap_or(-1);
    let first = byte(block, 0).unwrap_or(0);
    first != 0 && (said == sum(i64::from) || said == sum(|byte| i64::from(byte.cast_signed())))
        || byte(block, 0) == Some(0) && is_dialect(block) && said == sum(i64::from)
}

fn is_dialect(block: &[u8]) -> bool {
    slice(block, 257, 5) == Some(b"ustar")
}

/// In octal digits, or, with the highest bit set, in bytes (GNU).
fn number(block: &[u8], at: usize, length: usize) -> Option<u64> {
    let field = slice(block, at, length)?;
    if let [first @ (0x80 | 0xFF), rest @ ..] = field {
        if *first == 0xFF {
            return None;
        }
        return rest
            .iter()
            .try_fold(0_u64, |sum, byte| sum.checked_mul(256).map(|sum| sum | u64::from(*byte)));
    }
    let digits =
        field.iter().skip_while(|byte| **byte == b' ').take_while(|byte| matches!(byte, b'0'..=b'7'));
    let mut some = false;
    let sum = digits.fold(0_u64, |sum, digit| {
        some = true;
        sum.wrapping_mul(8) | u64::from(digit - b'0')
    });
    (some || field.iter().all(|byte| matches!(byte, 0 | b' '))).then_some(sum)
}

/// Up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.get(..memchr(0, field).unwrap_or(field.len())).unwrap_or_default()
}

/// What stands before a file and belongs to it.
#[derive(Default)]
struct Before<'a> {
    long_name: Option<&'a [u8]>,
    /// Of pax; several are possible, though nobody writes more than one.
    paths: Vec<&'a [u8]>,
    has_more_paths: bool,
    size: Option<u64>,
    /// It has holes, of which the map stands before its bytes.
    is_sparse: bool,
}

pub(super) fn open(opened: &mut Opened<'_, '_>) {
    let bytes = opened.bytes;
    let mut at = 0;
    let mut before = Before::default();
    let mut always = Before::default();
    loop {
        let Some(block) = slice(bytes, at, BLOCK_BYTES) else {
            // Many end without the empty blocks; an end within one is none.
            if at < bytes.len() {
                opened.is(Kind::Damaged);
            }
            return;
        };
        at += BLOCK_BYTES;
        if block.iter().all(|byte| *byte == 0) {
            return behind_end(opened, at);
        }
        if !is_header(block) {
            return opened.is(Kind::Damaged);
        }
        // Without digits: nothing to some, and broken to others.
        let said = number(block, 124, 12).unwrap_or_else(|| {
            opened.is(Kind::AmbiguousArchive);
            0
        });
        let kind = byte(block, 156).unwrap_or(0);
        let is_header_of_next = matches!(kind, b'L' | b'K' | b'x' | b'X' | b'g');
        let size = if is_header_of_next { said } else { before.size.or(always.size).unwrap_or(said) };
        // Programs without pax go on elsewhere.
        if size != said && said != 0 && !before.is_sparse {
            opened.is(Kind::AmbiguousArchive);
        }
        let has_bytes = !matches!(kind, b'1'..=b'6') || kind == b'1' && size > 0;
        let length = if has_bytes { place(size) } else { 0 };
        let Some(data) = slice(bytes, at, length) else {
            opened.is(Kind::Damaged);
            if has_bytes && !is_header_of_next {
                let names = names_of(opened, block, &before, &always);
                let _ = opened.stored(names, bytes.get(at..).unwrap_or_default());
            }
            return;
        };
        match kind {
            b'L' => before.long_name = Some(text(data)),
            b'x' | b'X' => read_pax(data, &mut before),
            b'g' => read_pax(data, &mut always),
            // A map of holes may go on in more blocks (GNU's old form).
            b'S' => {
                let names = names_of(opened, block, &before, &always);
                let mut more = byte(block, 482).unwrap_or(0);
                while more != 0
                    && let Some(map) = slice(bytes, at, BLOCK_BYTES)
                {
                    more = byte(map, 504).unwrap_or(0);
                    at += BLOCK_BYTES;
                }
                let Some(data) = slice(bytes, at, length) else { return opened.is(Kind::Damaged) };
                if opened.stored(names, data) == Go::Stop {
                    return;
                }
                before = Before::default();
            }
            b'K' | b'V' => {}
            b'M' => {
                opened.is(Kind::Unscannable);
                let names = names_of(opened, block, &before, &always);
                if opened.stored(names, data) == Go::Stop {
                    return;
                }
                before = Before::default();
            }
            _ => {
                let names = names_of(opened, block, &before, &always);
                let is_folder = kind == b'5' || length == 0 && text(block).last() == Some(&b'/');
                let is_link = matches!(kind, b'1'..=b'6');
                let go = if is_folder || is_link && length == 0 && kind != b'1' && kind != b'2' {
                    Go::On
                } else if is_link {
                    opened.list(names, size)
                } else {
                    opened.stored(names, data)
                };
                if go == Go::Stop {
                    return;
                }
                before = Before::default();
            }
        }
        at = at.saturating_add(length.next_multiple_of(BLOCK_BYTES));
    }
}

/// Behind the end some programs read on, as if told to ignore empty blocks.
fn behind_end(opened: &mut Opened<'_, '_>, at: usize) {
    let rest = opened.bytes.get(at..).unwrap_or_default();
    if rest.chunks_exact(BLOCK_BYTES).any(|block| byte(block, 0) != Some(0) && is_header(block)) {
        opened.is(Kind::AmbiguousArchive);
    }
}

fn names_of(opened: &mut Opened<'_, '_>, block: &[u8], before: &Before<'_>, always: &Before<'_>) -> Names {
    if before.has_more_paths || always.has_more_paths {
        let _ = opened.limit("more names of a file than are read");
    }
    let name = text(slice(block, 0, 100).unwrap_or_default());
    let prefix = text(slice(block, 345, 155).unwrap_or_default());
    let mut own = Vec::new();
    // GNU has times where ustar has the beginning of the name.
    if slice(block, 257, 6) == Some(b"ustar\0") && !prefix.is_empty() {
        own.extend_from_slice(prefix);
        own.push(b'/');
    }
    own.extend_from_slice(name);
    let mut names = Names::default();
    let others = before.paths.iter().chain(&before.long_name).chain(&always.paths);
    for raw in others.copied().chain([own.as_slice()]) {
        if raw.split(|byte| *byte == b'/').any(|folder| folder == b"..") && leaves_folder(raw) {
            opened.is(Kind::AmbiguousArchive);
        }
        names::add(&mut names, raw, Charset::Unsaid);
    }
    names
}

/// `LENGTH KEY=VALUE` and a line end, one after another (POSIX, pax). Where one is
/// broken, programs differ: the rest is not read.
fn read_pax<'a>(mut data: &'a [u8], before: &mut Before<'a>) {
    while let Some(blank) = memchr(b' ', data.get(..data.len().min(20)).unwrap_or_default()) {
        let length = data.get(..blank).and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(length) = length.and_then(|digits| digits.parse::<usize>().ok()) else { return };
        let Some(record) = data.get(blank + 1..length) else { return };
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        if let Some(path) = record.strip_prefix(b"path=").or(record.strip_prefix(b"GNU.sparse.name=")) {
            if before.paths.len() < MAX_PATHS {
                before.paths.push(path);
            } else {
                before.has_more_paths = true;
            }
            before.is_sparse |= record.starts_with(b"GNU");
        } else if let Some(size) = record.strip_prefix(b"size=") {
            before.size = std::str::from_utf8(size).ok().and_then(|size| size.parse().ok());
        } else if record.starts_with(b"GNU.sparse") {
            before.is_sparse = true;
        }
        data = data.get(length..).unwrap_or_default();
    }
}
