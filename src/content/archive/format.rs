//! Which archive it is, by what stands at the places that its kind has it.

use memchr::memmem;

use super::Given;
use super::Kind;
use super::Kinds;
use super::arj;
use super::bytes::slice;
use super::bytes::u16;
use super::bytes::u64;
use super::cab;
use super::codec::Codec;
use super::disk;
use super::iso;
use super::lha;
use super::opened::Opened;
use super::rar;
use super::seven;
use super::stream;
use super::tar;
use super::zip;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    Arj,
    Cab,
    /// With files in folders as DOS has them.
    Fat,
    Iso,
    Lha,
    /// Known, and not opened.
    OtherArchive,
    OtherDisk,
    Rar,
    Seven,
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
    (b"\xFD7zXZ\0", Format::Stream(Codec::Xz)),
    (b"\x28\xB5\x2F\xFD", Format::Stream(Codec::Zstd)),
    (b"LZIP\x01", Format::Stream(Codec::Lzip)),
    (seven::SIGNATURE, Format::Seven),
    (b"MSCF\0\0\0\0", Format::Cab),
    (rar::FIFTH, Format::Rar),
    (rar::FOURTH, Format::Rar),
    (rar::FIRST, Format::Rar),
    // ALZip, and what followed it.
    (b"ALZ\x01", Format::OtherArchive),
    (b"EGGA", Format::OtherArchive),
    // lz4 and its old form, lzop, lrzip.
    (b"\x04\x22\x4D\x18", Format::OtherArchive),
    (b"\x02\x21\x4C\x18", Format::OtherArchive),
    (b"\x89LZO\0\r\n\x1A\n", Format::OtherArchive),
    (b"LRZI", Format::OtherArchive),
    // cpio, xar, Windows' images, StuffIt, InstallShield.
    (b"070701", Format::OtherArchive),
    (b"070702", Format::OtherArchive),
    (b"070707", Format::OtherArchive),
    (b"xar!\0", Format::OtherArchive),
    (b"MSWIM\0\0\0", Format::OtherArchive),
    (b"SIT!", Format::OtherArchive),
    (b"StuffIt (c)", Format::OtherArchive),
    (b"ISc(", Format::OtherArchive),
    (b"UHA\x06", Format::OtherArchive),
    (b"vhdxfile", Format::OtherDisk),
    (b"conectix", Format::OtherDisk),
    (b"KDMV", Format::OtherDisk),
    (b"# Disk DescriptorFile", Format::OtherDisk),
    (b"QFI\xFB", Format::OtherDisk),
];

/// Where in a program the archive that it unpacks is looked for.
const MAX_STUB_BYTES: usize = 4 << 20;
/// What may look as the beginning of one there.
const MAX_TRIES: usize = 100;

impl Format {
    /// With the bytes before it, if it stands behind a program, or if a program looks for
    /// it because of the name.
    pub(super) fn of(given: Given<'_>) -> Option<(Self, usize)> {
        let bytes = given.bytes;
        if bytes.starts_with(b"MZ") || bytes.starts_with(b"\x7FELF") {
            return behind_program(bytes);
        }
        let known = Self::at_beginning(bytes).or_else(|| Self::elsewhere(given));
        known.map(|format| (format, 0)).or_else(|| {
            let is_named_so = has_ending(given.names, &["7z", "cab", "r00", "rar"]);
            is_named_so.then(|| behind_program(bytes)).flatten()
        })
    }

    fn at_beginning(bytes: &[u8]) -> Option<Self> {
        if let Some((_, format)) = BEGINNINGS.iter().find(|(beginning, _)| bytes.starts_with(beginning)) {
            return Some(*format);
        }
        if is_bzip2(bytes) {
            return Some(Self::Stream(Codec::Bzip2));
        }
        if is_skippable(bytes) {
            return Some(Self::Stream(Codec::Zstd));
        }
        if is_compress(bytes) {
            return Some(Self::Stream(Codec::Compress));
        }
        if arj::is_arj(bytes) {
            return Some(Self::Arj);
        }
        if lha::is_header(bytes) {
            return Some(Self::Lha);
        }
        // ACE and ZOO have a text or a sum in front.
        if slice(bytes, 7, 7) == Some(b"**ACE**") || slice(bytes, 20, 4) == Some(b"\xDC\xA7\xC4\xFD") {
            return Some(Self::OtherArchive);
        }
        tar::is_header(bytes).then_some(Self::Tar)
    }

    fn elsewhere(given: Given<'_>) -> Option<Self> {
        let bytes = given.bytes;
        if iso::is_disc(bytes) {
            return Some(Self::Iso);
        }
        let last = bytes.len().checked_sub(512).and_then(|at| slice(bytes, at, 8));
        if matches!(last, Some([b'k', b'o', b'l', b'y', ..] | b"conectix")) {
            return Some(Self::OtherDisk);
        }
        if disk::is_fat(bytes) {
            return Some(Self::Fat);
        }
        if disk::has_partitions(bytes) {
            return Some(Self::OtherDisk);
        }
        // What is named so is opened by some programs whatever stands around it.
        if zip::ends_as_zip(bytes) || is_zip_by_name(given.names) && zip::has_end(bytes) {
            return Some(Self::Zip);
        }
        is_lzma(bytes).then_some(Self::Stream(Codec::Lzma))
    }

    /// What a file of it is, whatever is in it.
    pub(super) fn kinds(self) -> Kinds {
        match self {
            Self::Zip => Kinds::NONE,
            Self::Fat | Self::Iso => Kind::DiskImage.into(),
            Self::OtherDisk => Kinds::from(Kind::DiskImage).with(Kind::Unscannable),
            Self::OtherArchive => Kinds::from(Kind::Archive).with(Kind::Unscannable),
            Self::Arj | Self::Cab | Self::Lha | Self::Rar | Self::Seven | Self::Stream(_) | Self::Tar => {
                Kind::Archive.into()
            }
        }
    }

    pub(super) fn open(self, opened: &mut Opened<'_, '_>) {
        match self {
            Self::Arj => arj::open(opened),
            Self::Cab => cab::open(opened),
            Self::Fat => disk::open(opened),
            Self::Iso => iso::open(opened),
            Self::Lha => lha::open(opened),
            Self::OtherArchive | Self::OtherDisk => {}
            Self::Rar => rar::open(opened),
            Self::Seven => seven::open(opened),
            Self::Stream(codec) => stream::open(opened, codec),
            Self::Tar => tar::open(opened),
            Self::Zip => zip::open(opened),
        }
    }
}

/// The archive that a program has with it: a zip by its end, others by where they begin.
fn behind_program(bytes: &[u8]) -> Option<(Format, usize)> {
    if zip::has_end(bytes) {
        return Some((Format::Zip, 0));
    }
    let stub = bytes.get(..bytes.len().min(MAX_STUB_BYTES)).unwrap_or_default();
    let found = |signature: &[u8], format, is_one: fn(&[u8]) -> bool| {
        let mut places = memmem::find_iter(stub, signature).take(MAX_TRIES);
        places.find(|at| bytes.get(*at..).is_some_and(is_one)).map(|at| (format, at))
    };
    found(seven::SIGNATURE, Format::Seven, seven::is_seven)
        .or_else(|| found(b"Rar!\x1A\x07", Format::Rar, rar::is_rar))
        .or_else(|| found(b"MSCF\0\0\0\0", Format::Cab, cab::is_cabinet))
}

fn is_zip_by_name(names: &[String]) -> bool {
    has_ending(names, &["apk", "docm", "docx", "jar", "pptm", "pptx", "xlsm", "xlsx", "zip", "zipx"])
}

fn has_ending(names: &[String], endings: &[&str]) -> bool {
    names.iter().any(|name| {
        name.rsplit_once('.')
            .is_some_and(|(_, ending)| endings.iter().any(|e| e.eq_ignore_ascii_case(ending)))
    })
}

/// Two bytes of signature are few: the widest code must be possible too.
fn is_compress(bytes: &[u8]) -> bool {
    matches!(bytes, [0x1F, 0x9D, flags, ..] if (9..=16).contains(&(flags & 0x1F)) && flags & 0x60 == 0)
}

/// A block of it, or its end, follows at once.
fn is_bzip2(bytes: &[u8]) -> bool {
    bytes.starts_with(b"BZh")
        && matches!(bytes.get(3), Some(b'1'..=b'9'))
        && matches!(slice(bytes, 4, 6), Some(b"\x31\x41\x59\x26\x53\x59" | b"\x17\x72\x45\x38\x50\x90"))
}

/// Frames that hold something else may stand before those of zstd (RFC 8878, 3.1.2).
fn is_skippable(bytes: &[u8]) -> bool {
    matches!(bytes, [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..])
        && super::bytes::u32(bytes, 4).is_some_and(|length| {
            let next = (length as usize).saturating_add(8);
            slice(bytes, next, 4) == Some(b"\x28\xB5\x2F\xFD")
                || slice(bytes, next + 1, 3) == Some(b"\x2A\x4D\x18")
        })
}

/// It has no signature: the usual properties, a window as encoders choose it, a size
/// that is unknown or possible, and the first byte of all coded data.
fn is_lzma(bytes: &[u8]) -> bool {
    let Some([properties, window @ .., _, _, _, _, _, _, _, _, first]) = slice(bytes, 0, 14) else {
        return false;
    };
    let Ok(window) = window.try_into().map(u32::from_le_bytes) else { return false };
    let size = u64(bytes, 5).unwrap_or(0);
    let is_window = window.is_power_of_two() || window.is_multiple_of(3) && (window / 3).is_power_of_two();
    matches!(properties, 0x5D | 0x5E | 0x2C | 0x6C)
        && (1 << 12..=1 << 30).contains(&window)
        && is_window
        && (size == u64::MAX || size < 1 << 38)
        && *first == 0
}

/// Whether the signature of boot sectors stands at the end of the first.
pub(super) fn is_boot_sector(bytes: &[u8]) -> bool {
    u16(bytes, 510) == Some(0xAA55)
}
