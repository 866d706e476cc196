//! What holds for archives of all kinds; each that real tools make is tried in
//! `tests/it/archives.rs`.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;
use crate::content::MAX_FILES;
use crate::content::Stop;
use crate::content::budget;

const ALL: Wants = Wants { kinds: true, inside: true, hashes: true, names: false };

fn look_at(bytes: &[u8], name: &str) -> (Vec<File>, Budget) {
    let (mut files, mut budget) = (Vec::new(), Budget::new(Stop::default()));
    let names = [name.to_owned()];
    examine(Given { bytes, names: &names, media_type: None }, ALL, &mut budget, &mut files);
    (files, budget)
}

fn names(files: &[File]) -> Vec<&str> {
    files.iter().skip(1).flat_map(|file| &file.names).map(String::as_str).collect()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A header of tar and what follows it.
fn tarred(name: &[u8], kind: u8, data: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name);
    block[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block.extend_from_slice(data);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

#[test]
fn a_compressed_file_has_the_names_that_programs_give_it() {
    let mut named = gzipped(b"text");
    named[3] |= 8;
    named.splice(10..10, *b"b.exe\0");
    for (bytes, name, expected) in [
        (gzipped(b"text"), "a.exe.gz", &["a.exe"][..]),
        (gzipped(b"text"), "a.tgz", &["a.tar"]),
        (gzipped(b"text"), "a.SVGZ", &["a.svg"]),
        (gzipped(b"text"), "a", &[]),
        (named, "a.gz", &["a", "b.exe"]),
    ] {
        let (files, _) = look_at(&bytes, name);
        assert_eq!(names(&files), expected, "{name}");
        assert!(files[0].kinds.has(Kind::Archive));
    }
}

#[test]
fn a_file_of_tar_has_the_names_of_all_its_headers() {
    let pax = b"17 path=pax.exe\n\n";
    let long = b"long.exe\0";
    for (what, bytes, expected, is_ambiguous) in [
        ("one", tarred(b"a.txt", b'0', b"MZ"), &["a.txt"][..], false),
        (
            "pax",
            [tarred(b"x", b'x', pax), tarred(b"a.txt", b'0', b"MZ")].concat(),
            &["pax.exe", "a.txt"],
            false,
        ),
        ("all", [tarred(b"x", b'g', pax), tarred(b"a", b'0', b"")].concat(), &["pax.exe", "a"], false),
        ("GNU", [tarred(b"x", b'L', long), tarred(b"a", b'0', b"")].concat(), &["long.exe", "a"], false),
        ("folder", [tarred(b"d/", b'5', b""), tarred(b"a", b'0', b"")].concat(), &["a"], false),
        ("link", tarred(b"a.exe", b'2', b""), &["a.exe"], false),
        ("leaves", tarred(b"../a", b'0', b""), &["../a"], true),
        ("sizes", [tarred(b"x", b'x', b"9 size=1\n"), tarred(b"a", b'0', b"MZ")].concat(), &["a"], true),
        (
            "behind the end",
            [tarred(b"a", b'0', b""), vec![0; 1024], tarred(b"b.exe", b'0', b"")].concat(),
            &["a"],
            true,
        ),
    ] {
        let (files, _) = look_at(&[bytes, vec![0; 1024]].concat(), "a.tar");
        assert_eq!(names(&files), expected, "{what}");
        assert_eq!(files[0].kinds.has(Kind::AmbiguousArchive), is_ambiguous, "{what}");
        assert!(!files[0].kinds.has(Kind::Damaged), "{what}");
    }
    let whole = tarred(b"a.txt", b'0', &[b'x'; 600]);
    let (files, _) = look_at(&whole[..900], "a.tar");
    assert!(files[0].kinds.has(Kind::Damaged) && names(&files) == ["a.txt"]);
}

#[test]
fn lists_of_rar_are_read_in_all_generations() {
    let seeds: [(&[u8], &[&str], Kinds); 3] = [
        (include_bytes!("../../../fuzz/corpus/archive/rar1"), &["A.EXE"], Kinds::NONE),
        (
            include_bytes!("../../../fuzz/corpus/archive/rar4"),
            &["b.txt", "aAb", "a.exe", "x.zip"],
            Kind::EncryptedArchive.into(),
        ),
        (
            include_bytes!("../../../fuzz/corpus/archive/rar5"),
            &["b.txt", "a.exe", "l.exe"],
            Kind::EncryptedArchive.into(),
        ),
    ];
    for (bytes, expected, kinds) in seeds {
        let (files, budget) = look_at(bytes, "a.rar");
        assert_eq!(names(&files), expected);
        let mut all = Kinds::from(Kind::Archive);
        all.join(kinds);
        assert_eq!(files[0].kinds, all, "{expected:?}");
        assert_eq!(budget.limit(), None);
    }
    // What stands as it is, is looked at, and a program by its name too.
    let (files, _) = look_at(include_bytes!("../../../fuzz/corpus/archive/rar1"), "a.rar");
    assert_eq!(files[1].kinds, Kind::Executable.into());
}

#[test]
fn what_is_known_and_not_opened_says_so() {
    for (bytes, kind) in [
        (&b"EGGA and more"[..], Kind::Archive),
        (b"ALZ\x01 and more", Kind::Archive),
        (b"\x31\x20\x31\0\0\0\x90**ACE**", Kind::Archive),
        (b"070701 and more", Kind::Archive),
        (b"vhdxfile and more", Kind::DiskImage),
    ] {
        let (files, _) = look_at(bytes, "a");
        assert!(files[0].kinds.has(kind) && files[0].kinds.has(Kind::Unscannable), "{bytes:?}");
    }
}

#[test]
fn a_program_that_unpacks_itself_is_opened() {
    for (name, bytes) in [
        ("rar", &include_bytes!("../../../fuzz/corpus/archive/rar5")[..]),
        ("7z", include_bytes!("../../../fuzz/corpus/archive/seven")),
        ("cab", include_bytes!("../../../fuzz/corpus/archive/cab-plain")),
        ("zip", include_bytes!("../../../fuzz/corpus/archive/zip")),
    ] {
        let program = [&b"MZ program "[..], bytes].concat();
        let (files, _) = look_at(&program, "setup.exe");
        assert!(files[0].kinds.has(Kind::SelfExtracting) && files[0].kinds.has(Kind::Archive), "{name}");
        assert!(names(&files).iter().any(|name| name.ends_with("a.exe")), "{name}");
    }
    let (files, _) = look_at(b"MZ program with Rar!\x1A\x07\0 in a text", "a.exe");
    assert!(files.len() == 1 && !files[0].kinds.has(Kind::SelfExtracting));
}

/// On a stack as the blocking threads of the daemon have it.
#[test]
fn archives_are_opened_in_each_other_to_a_limit() {
    let seeds = ["zip", "tar", "gz", "seven", "cab", "iso", "fat"].map(|name| {
        std::fs::read(format!("{}/fuzz/corpus/archive/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    });
    let run = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        let mut bytes = seeds[0].clone();
        for _ in 0..budget::MAX_FILES.min(100) {
            bytes = gzipped(&tarred(b"a", b'0', &bytes));
        }
        let (files, budget) = look_at(&bytes, "a.tgz");
        assert_eq!(files.len(), usize::from(MAX_DEPTH) + 1);
        assert!(files.last().unwrap().kinds.has(Kind::Limits));
        assert_eq!(budget.limit(), Some("more archives within each other than are opened"));
        for seed in seeds {
            let (files, budget) = look_at(&gzipped(&seed), "a.gz");
            assert!(files.len() > 2 && budget.limit().is_none());
        }
    });
    run.unwrap().join().unwrap();
}

#[test]
fn nothing_is_opened_or_counted_that_is_not_wanted() {
    let bytes = gzipped(b"text");
    let (mut files, mut budget) = (Vec::new(), Budget::new(Stop::default()));
    let given = Given { bytes: &bytes, names: &[], media_type: None };
    examine(given, Wants { hashes: true, ..Wants::default() }, &mut budget, &mut files);
    assert_eq!((files.len(), files[0].kinds, files[0].size), (1, Kinds::NONE, bytes.len() as u64));
    assert_eq!(files[0].sha256.unwrap()[..2], ring::digest::digest(&digest::SHA256, &bytes).as_ref()[..2]);
    let (files, _) = look_at(&bytes, "a.txt.gz");
    assert_eq!(files[1].sha256.unwrap()[..4], [0x98, 0x2D, 0x9E, 0x3E]);
}

#[test]
fn files_beyond_the_cap_are_told() {
    let bytes: Vec<u8> = (0..MAX_FILES + 1).flat_map(|_| tarred(b"a", b'0', b"")).collect();
    let (files, budget) = look_at(&bytes, "a.tar");
    assert_eq!(files.len(), MAX_FILES);
    assert!(files[0].kinds.has(Kind::Limits));
    assert_eq!(budget.limit(), Some("more files than are listed"));
}

#[test]
fn many_pieces_with_little_in_them_are_told() {
    for (name, piece) in [
        ("gz", gzipped(b"")),
        ("gz of a byte", gzipped(b"x")),
        ("bz2", b"BZh9\x17\x72\x45\x38\x50\x90\0\0\0\0".to_vec()),
        ("xz", b"\xFD7zXZ\0\0\x04\xE6\xD6\xB4F\0\0\0\0\x1C\xDFD!\x1F\xB6\xF3}\x01\0\0\0\0\x04YZ".to_vec()),
        ("zst", b"\x28\xB5\x2F\xFD\x24\0\x01\0\0\x99\xE9\xD8\x51".to_vec()),
    ] {
        let (files, _) = look_at(&piece.repeat(3), "a");
        assert!(files[0].kinds.has(Kind::Archive) && !files[0].kinds.has(Kind::Damaged), "{name}");
        let (files, budget) = look_at(&piece.repeat(100_000), "a");
        assert!(files[0].kinds.has(Kind::Limits), "{name}: {:?}", files[0].kinds);
        assert!(budget.limit().is_some(), "{name}");
    }
    // What stands behind the last is nobody's.
    let (files, _) = look_at(&[gzipped(b"text"), vec![0; 100]].concat(), "a.gz");
    assert!(!files[0].kinds.has(Kind::Damaged) && files[1].size == 4);
}

/// What the page for operators says.
#[test]
fn the_documents_have_the_caps() {
    let page = include_str!("../../../docs/content.md");
    let mebibytes = |bytes: u64| format!("{} MiB", bytes >> 20);
    for (what, cap) in [
        ("archives within each other", MAX_DEPTH.to_string()),
        ("files listed", "10,000".to_owned()),
        ("bytes unpacked", mebibytes(budget::MAX_UNPACKED_BYTES)),
        ("bytes of one file", mebibytes(budget::MAX_FILE_BYTES)),
        ("bytes in memory", mebibytes(budget::MAX_HELD_BYTES)),
        (
            "bytes made of each byte",
            format!("{} beyond {}", budget::MAX_RATIO, mebibytes(budget::FREE_BYTES)),
        ),
        ("window of a decoder", mebibytes(codec::MAX_WINDOW_BYTES.into())),
    ] {
        let row = page.lines().find(|line| line.starts_with(&format!("| {what}"))).unwrap_or(what);
        assert!(row.contains(&format!("| {cap} |")), "{row}: {cap}");
    }
    assert_eq!(MAX_FILES, 10_000);
}

/// A byte here and there is another one, as in the seeds of the fuzzer.
fn changed() -> impl Strategy<Value = Vec<u8>> {
    let names = ["arj", "cab", "fat", "iso", "lha", "pax", "rar4", "rar5", "seven", "xz", "zip", "zip64"];
    let seeds = names.map(|name| {
        std::fs::read(format!("{}/fuzz/corpus/archive/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    });
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8);
    (prop::sample::select(seeds.to_vec()), changes, any::<prop::sample::Index>()).prop_map(
        |(mut bytes, changes, end)| {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if end.index(4) == 0 {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes
        },
    )
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(
        bytes in prop_oneof![changed(), prop::collection::vec(any::<u8>(), 0..2_000)],
        name in "[a-z]{0,3}([.](zip|gz))?",
    ) {
        let (files, _) = look_at(&bytes, &name);
        prop_assert!(!files.is_empty() && files.len() <= MAX_FILES);
        for (file, place) in files.iter().zip(0_u32..) {
            prop_assert_eq!(file.within.is_none(), place == 0);
            prop_assert!(file.within.is_none_or(|within| within < place));
            prop_assert!(file.names.iter().all(|name| !name.contains(char::is_control)));
        }
    }
}

#[test]
fn what_begins_as_an_archive_and_is_not_opened_is_said() {
    let mut tar = tarred(b"a.txt", b'0', b"text");
    tar[148..154].copy_from_slice(b"000001");
    tar.extend(tarred(b"photo.jpg", b'0', b"MZ"));
    let mut disc = vec![0; 0x8801 + 5];
    disc[0x8801..].copy_from_slice(b"CD001");
    for (what, bytes) in [
        ("a tar that programs find the second header of", tar),
        ("a gzip of another method", b"\x1F\x8B\x07\0".to_vec()),
        ("sectors of another size", disc),
    ] {
        let (files, _) = look_at(&bytes, "a");
        assert!(files[0].kinds.has(Kind::Unscannable), "{what}: {:?}", files[0].kinds);
    }
}

#[test]
fn what_a_program_looks_for_by_the_name_is_found_behind_anything() {
    let rar = b"Rar!\x1A\x07\x01\0\0\0\0\0\x03\x01\0\0\0\0\0\0\x03\x05\0\0";
    for (name, is_found) in [("a.rar", true), ("a.RAR", true), ("a.png", false)] {
        let (files, _) = look_at(&[b"\x89PNG\r\n\x1a\n".as_slice(), rar].concat(), name);
        let is = [Kind::Archive, Kind::Polyglot].map(|kind| files[0].kinds.has(kind));
        assert_eq!(is, [is_found; 2], "{name}: {:?}", files[0].kinds);
    }
}

#[test]
fn what_all_records_of_a_disc_may_share_is_short() {
    let mut disc = vec![0; 20 * 2_048 + 4_096];
    let mut put = |at: usize, bytes: &[u8]| disc[at..at + bytes.len()].copy_from_slice(bytes);
    put(16 * 2_048, b"\x01CD001");
    // The first folder, one sector at the 18th; a file with its name in the 20th.
    put(16 * 2_048 + 156, &[34, 0, 18]);
    put(16 * 2_048 + 156 + 11, &[8]);
    put(16 * 2_048 + 156 + 32, &[1]);
    put(18 * 2_048, &[62, 0, 17, 0, 0, 0, 0, 0, 0, 0, 4]);
    put(18 * 2_048 + 32, b"\x01A");
    put(18 * 2_048 + 34, b"CE\x1C\x01\x14\0\0\0\0\0\0\x14\0\0\0\0\0\0\0\0\0\x10");
    let near = 20 * 2_048;
    let far = near + 2_048;
    for at in (near..far).step_by(4) {
        put(at, b"XX\x04\x01");
    }
    put(far, b"NM\x0A\x01\0b.exe");
    let (files, _) = look_at(&disc, "a.iso");
    assert_eq!(names(&files), ["A"]);
    disc.copy_within(far..far + 10, near);
    let (files, _) = look_at(&disc, "a.iso");
    assert_eq!(names(&files), ["b.exe", "A"]);
}
