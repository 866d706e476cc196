//! One file compressed by itself: gzip, bzip2, xz, lzma, lzip, zstd, compress.

use super::Names;
use super::bytes::byte;
use super::bytes::u16;
use super::codec::Codec;
use super::opened::Opened;
use super::zip::names;
use super::zip::names::Charset;

/// What the endings of compressed files become.
const ENDINGS: &[(&str, &str)] = &[
    (".gz", ""),
    (".z", ""),
    (".bz2", ""),
    (".bz", ""),
    (".xz", ""),
    (".lzma", ""),
    (".lz", ""),
    (".zst", ""),
    (".svgz", ".svg"),
    (".tgz", ".tar"),
    (".taz", ".tar"),
    (".tbz", ".tar"),
    (".tbz2", ".tar"),
    (".txz", ".tar"),
    (".tlz", ".tar"),
    (".tzst", ".tar"),
];

pub(super) fn open(opened: &mut Opened<'_, '_>, codec: Codec) {
    let mut names = Names::default();
    for name in opened.names {
        let lower = name.to_ascii_lowercase();
        for (ending, plain) in ENDINGS {
            if lower.ends_with(ending) {
                let stem = name.get(..name.len() - ending.len()).unwrap_or_default();
                names.add(&format!("{stem}{plain}"));
            }
        }
    }
    if codec == Codec::Gzip
        && let Some(name) = gzip_name(opened.bytes)
    {
        names::add(&mut names, name, Charset::Unsaid);
    }
    match codec.open(opened.bytes) {
        Ok(decoder) => {
            let _ = opened.packed(names, 0, decoder);
        }
        Err(kind) => {
            opened.cannot(kind);
            let _ = opened.list(names, 0);
        }
    }
}

/// The name that a gzip file has in it (RFC 1952, 2.3.1).
fn gzip_name(bytes: &[u8]) -> Option<&[u8]> {
    let flags = byte(bytes, 3)?;
    (flags & 8 != 0).then_some(())?;
    let mut at = 10;
    if flags & 4 != 0 {
        at += 2 + usize::from(u16(bytes, at)?);
    }
    bytes.get(at..)?.split(|byte| *byte == 0).next()
}
