//! Which archive it is, by what stands at the places that its kind has it.

use super::Given;
use super::Kind;
use super::Kinds;
use super::bytes::slice;
use super::codec::Codec;
use super::opened::Opened;
use super::stream;
use super::tar;
use super::zip;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    Stream(Codec),
    Tar,
    Zip,
}

/// What each begins with.
const BEGINNINGS: &[(&[u8], Format)] = &[
    (b"PK\x03\x04", Format::Zip),
    (b"PK\x05\x06", Format::Zip),
    (b"PK\x07\x08PK", Format::Zip),
    (b"PK00PK", Format::Zip),
    (b"\x1F\x8B\x08", Format::Stream(Codec::Gzip)),
    (b"\x1F\x9D", Format::Stream(Codec::Compress)),
    (b"\xFD7zXZ\0", Format::Stream(Codec::Xz)),
    (b"\x28\xB5\x2F\xFD", Format::Stream(Codec::Zstd)),
    (b"LZIP", Format::Stream(Codec::Lzip)),
];

impl Format {
    pub(super) fn of(given: Given<'_>) -> Option<Self> {
        let bytes = given.bytes;
        if let Some((_, format)) = BEGINNINGS.iter().find(|(beginning, _)| bytes.starts_with(beginning)) {
            return Some(*format);
        }
        if is_bzip2(bytes) {
            return Some(Self::Stream(Codec::Bzip2));
        }
        if tar::is_header(bytes) {
            return Some(Self::Tar);
        }
        if zip::ends_as_zip(bytes) {
            return Some(Self::Zip);
        }
        is_lzma(bytes).then_some(Self::Stream(Codec::Lzma))
    }

    /// What a file of it is, whatever is in it.
    pub(super) fn kinds(self) -> Kinds {
        match self {
            Self::Zip => Kinds::NONE,
            Self::Stream(_) | Self::Tar => Kind::Archive.into(),
        }
    }

    pub(super) fn open(self, opened: &mut Opened<'_, '_>) {
        match self {
            Self::Stream(codec) => stream::open(opened, codec),
            Self::Tar => tar::open(opened),
            Self::Zip => zip::open(opened),
        }
    }
}

/// A block of it, or its end, follows at once.
fn is_bzip2(bytes: &[u8]) -> bool {
    bytes.starts_with(b"BZh")
        && matches!(bytes.get(3), Some(b'1'..=b'9'))
        && matches!(slice(bytes, 4, 6), Some(b"\x31\x41\x59\x26\x53\x59" | b"\x17\x72\x45\x38\x50\x90"))
}

/// It has no signature: the usual properties, a window as encoders choose it, a size
/// that is unknown or possible, and the first byte of all coded data.
fn is_lzma(bytes: &[u8]) -> bool {
    let Some([properties, window @ .., _, _, _, _, _, _, _, _, first]) = slice(bytes, 0, 14) else {
        return false;
    };
    let Ok(window) = window.try_into().map(u32::from_le_bytes) else { return false };
    let size = super::bytes::u64(bytes, 5).unwrap_or(0);
    let is_window = window.is_power_of_two() || (window / 3).is_power_of_two() && window % 3 == 0;
    matches!(properties, 0x5D | 0x5E | 0x00..=0x02)
        && (1 << 12..=1 << 30).contains(&window)
        && is_window
        && (size == u64::MAX || size < 1 << 38)
        && *first == 0
}
