//! Archives that others made: by the real tools here, and those that other projects
//! have collected because they broke something.

use gatepost::content::Budget;
use gatepost::content::File;
use gatepost::content::Given;
use gatepost::content::Kind;
use gatepost::content::Stop;
use gatepost::content::Wants;
use gatepost::content::examine;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

/// A program that Windows would run, a text, and a name that is not in ASCII.
const PROGRAM: &str = "folder/invoice.exe";
const TEXT: &str = "folder/read me.txt";
const OTHER: &str = "é.txt";

pub(crate) fn look(bytes: &[u8], name: &str) -> (Vec<File>, Budget) {
    let wants = Wants { kinds: true, inside: true, hashes: true, names: false };
    let mut budget = Budget::new(Stop::default());
    let mut files = Vec::new();
    let names = [name.to_owned()];
    examine(Given { bytes, names: &names, media_type: None }, wants, &mut budget, &mut files);
    (files, budget)
}

/// How much a reader tells of what is in it.
#[derive(Clone, Copy, PartialEq)]
enum Told {
    /// Its bytes too.
    All,
    Names,
    Nothing,
}

/// What a tool makes: the archive, what runs in the folder of files (`OUT` is where
/// the archive belongs), what is told of it, what it is besides an archive.
const MADE: &[(&str, &str, Told, &[Kind])] = &[
    ("a.zip", "zip -qr OUT .", Told::All, &[]),
    ("stored.zip", "zip -qr0 OUT .", Told::All, &[]),
    ("streamed.zip", "zip -qr - . | cat > OUT", Told::All, &[]),
    ("bzip2.zip", "zip -qr -Z bzip2 OUT .", Told::All, &[]),
    ("wide.zip", "zip -qr -fz OUT .", Told::All, &[]),
    ("locked.zip", "zip -qr -P secret OUT .", Told::Names, &[Kind::EncryptedArchive]),
    ("aes.zip", "7zz a -bd -tzip -psecret -mem=AES256 OUT .", Told::Names, &[Kind::EncryptedArchive]),
    ("lzma.zip", "7zz a -bd -tzip -mm=LZMA OUT .", Told::All, &[]),
    ("xz.zip", "7zz a -bd -tzip -mm=XZ OUT .", Told::All, &[]),
    ("deflate64.zip", "7zz a -bd -tzip -mm=Deflate64 OUT .", Told::Names, &[Kind::Unscannable]),
    ("bsd.zip", "bsdtar -a -cf OUT .", Told::All, &[]),
    ("a.7z", "7zz a -bd OUT .", Told::All, &[]),
    ("plain-header.7z", "7zz a -bd -mhc=off OUT .", Told::All, &[]),
    ("lzma.7z", "7zz a -bd -m0=LZMA OUT .", Told::All, &[]),
    ("ppmd.7z", "7zz a -bd -m0=PPMd OUT .", Told::All, &[]),
    ("bzip2.7z", "7zz a -bd -m0=BZip2 OUT .", Told::All, &[]),
    ("locked.7z", "7zz a -bd -psecret OUT .", Told::Names, &[Kind::EncryptedArchive]),
    ("names-locked.7z", "7zz a -bd -psecret -mhe=on OUT .", Told::Nothing, &[Kind::EncryptedArchive]),
    ("a.tar", "tar cf OUT .", Told::All, &[]),
    ("v7.tar", "tar --format=v7 -cf OUT .", Told::All, &[]),
    ("posix.tar", "tar --format=posix -cf OUT .", Told::All, &[]),
    ("a.tar.gz", "tar czf OUT .", Told::All, &[]),
    ("a.tbz2", "tar cjf OUT .", Told::All, &[]),
    ("a.txz", "tar cJf OUT .", Told::All, &[]),
    ("a.tar.lzma", "tar --lzma -cf OUT .", Told::All, &[]),
    ("a.tar.zst", "tar --zstd -cf OUT .", Told::All, &[]),
    ("a.tar.Z", "bsdtar -Zcf OUT .", Told::All, &[]),
    ("a.tar.lz4", "bsdtar --lz4 -cf OUT .", Told::Nothing, &[Kind::Unscannable]),
    ("a.iso", "genisoimage -quiet -J -R -o OUT .", Told::All, &[Kind::DiskImage]),
    ("plain.iso", "bsdtar --format iso9660 -cf OUT .", Told::All, &[Kind::DiskImage]),
    ("udf.iso", "genisoimage -quiet -udf -J -o OUT .", Told::All, &[Kind::DiskImage]),
    ("a.cab", "gcab -c OUT folder/* é.txt", Told::All, &[]),
    ("zipped.cab", "gcab -z -c OUT folder/* é.txt", Told::All, &[]),
    ("a.lzh", "jlha aq OUT folder/* é.txt", Told::Names, &[]),
    ("stored.lzh", "jlha aqz OUT folder/* é.txt", Told::All, &[]),
    ("a.arj", "arj a -r -y OUT . >/dev/null", Told::Names, &[]),
    ("stored.arj", "arj a -r -y -m0 OUT . >/dev/null", Told::All, &[]),
    ("locked.arj", "arj a -r -y -gsecret OUT . >/dev/null", Told::Names, &[Kind::EncryptedArchive]),
    ("a.img", "mkfs.fat -C OUT 1440 >/dev/null && mcopy -i OUT -s * ::", Told::All, &[Kind::DiskImage]),
    (
        "wide.img",
        "mkfs.fat -F 32 -C OUT 40000 >/dev/null && mcopy -i OUT -s * ::",
        Told::All,
        &[Kind::DiskImage],
    ),
    ("a.cpio", "find . | cpio -o -H newc > OUT 2>/dev/null", Told::Nothing, &[Kind::Unscannable]),
];

#[test]
fn what_the_real_tools_make_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files");
    fs::create_dir_all(files.join("folder")).unwrap();
    // Long enough that tools compress them.
    fs::write(files.join(PROGRAM), format!("MZ{}", "program ".repeat(1_000))).unwrap();
    fs::write(files.join(TEXT), "text ".repeat(100)).unwrap();
    fs::write(files.join(OTHER), "text").unwrap();
    let mut wrong = Vec::new();
    let mut made = 0;
    for (name, command, told, kinds) in MADE {
        let tool = command.split(' ').find(|word| !matches!(*word, "find" | "." | "|")).unwrap();
        let out = folder.path().join(name);
        let command = command.replace("OUT", out.to_str().unwrap());
        let ran = Command::new("sh")
            .args(["-ec", &command])
            .current_dir(&files)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        let Ok(bytes) = fs::read(&out) else {
            let is_there = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().unwrap();
            if is_there.status.success() {
                wrong.push(format!("{name}: {}", String::from_utf8_lossy(&ran.stderr)));
            }
            eprintln!("skipped: {name}: {tool} did not make it");
            continue;
        };
        made += 1;
        let (files, budget) = look(&bytes, name);
        let found = files.first().unwrap().kinds;
        if budget.limit().is_some() {
            wrong.push(format!("{name}: {:?}", budget.limit()));
        }
        for kind in kinds.iter().copied().filter(|kind| !found.has(*kind)) {
            wrong.push(format!("{name}: is not {}", kind.word()));
        }
        let is_container = found.has(Kind::Archive) || found.has(Kind::DiskImage);
        let is_unexpected = |kind: Kind| {
            matches!(kind, Kind::Unscannable | Kind::EncryptedArchive | Kind::DiskImage)
                && !kinds.contains(&kind)
                || matches!(kind, Kind::AmbiguousArchive | Kind::Damaged | Kind::Limits | Kind::Polyglot)
        };
        if !is_container || found.iter().any(is_unexpected) {
            wrong.push(format!("{name}: {found:?}"));
        }
        let ends = |end: &str| {
            files.iter().find(|file| file.names.iter().any(|name| name.to_lowercase().ends_with(end)))
        };
        let program = ends("invoice.exe");
        // What é becomes is the tool's affair.
        let texts =
            files.iter().filter(|file| file.names.iter().any(|name| name.to_lowercase().ends_with(".txt")));
        let texts = texts.count();
        let is_listed = program.is_some() && texts == 2;
        if is_listed != (*told != Told::Nothing) {
            wrong.push(format!("{name}: {:?}", files.iter().map(|file| &file.names).collect::<Vec<_>>()));
        }
        if let Some(program) = program
            && (program.kinds.has(Kind::Executable) && program.sha256.is_some()) != (*told == Told::All)
        {
            wrong.push(format!("{name}: {program:?}"));
        }
        if program.is_some_and(|program| program.size != 8_002) {
            wrong.push(format!("{name}: {program:?}"));
        }
    }
    eprintln!("{made} of {} archives were made", MADE.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Those in which a reference reader finds names that we neither find nor say that we
/// do not, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("small2.txt", "a text that libarchive takes for a list of files (mtree)"),
    ("test.types.globs2", "a text that libarchive takes for a list of files (mtree)"),
    ("test_gcpio_compat_ref.bin", "cpio of the seventies; no system opens it by a click"),
    ("test_gcpio_compat_ref_nosym.bin", "cpio of the seventies; no system opens it by a click"),
    ("test_read_format_cpio_bin_be.cpio", "cpio of the seventies; no system opens it by a click"),
    ("test_read_format_cpio_bin_le.cpio", "cpio of the seventies; no system opens it by a click"),
    ("test_read_format_ar.ar", "no system opens it by a click"),
    ("test_read_format_huge_rpm.rpm", "an installer, known as such, not as an archive"),
    ("test_read_format_cpio_svr4_bzip2_rpm.rpm", "an installer, known as such, not as an archive"),
    ("test_read_format_cpio_svr4_gzip_rpm.rpm", "an installer, known as such, not as an archive"),
    ("test_read_format_mtree.mtree", "a list of files, not files"),
    ("test_read_format_mtree_nomagic.mtree", "a list of files, not files"),
    ("test_read_format_mtree_nomagic2.mtree", "a list of files, not files"),
    ("test_read_format_mtree_nomagic3.mtree", "a list of files, not files"),
    ("test_read_format_rar5_extra_field_version.rar", "found, without the number of its version"),
    ("rar5-versions.rar", "found, without the numbers of their versions"),
    ("test_read_format_warc.warc", "what a browser has fetched; no system opens it by a click"),
];

/// What others collected, where it is at hand: nothing in it makes us panic or work
/// without end, and every name that libarchive finds, we find.
#[test]
fn collected_archives_are_read_without_harm() {
    let Some(corpora) = std::env::var_os("GATEPOST_CORPORA") else {
        eprintln!("skipped: GATEPOST_CORPORA names no folder of archives");
        return;
    };
    let mut wrong = Vec::new();
    for folder in ["libarchive-tests", "golang-archive-testdata", "libzip-regress", "rarfile"] {
        let (mut count, mut flagged, mut compared, mut excepted) = (0, 0, 0, 0);
        let mut slowest = (Duration::ZERO, PathBuf::new());
        for path in files_below(&Path::new(&corpora).join(folder)) {
            let name = path.file_name().unwrap().to_str().unwrap_or_default().to_owned();
            // Mail is another's work, and each of these stands beside it decoded.
            if name.ends_with(".uu") || name.ends_with(".base64") {
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            let begun = Instant::now();
            let (files, budget) = look(&bytes, &name);
            let took = begun.elapsed();
            if took > Duration::from_secs(1) {
                eprintln!("{name}: {took:?}, {} files, {:?}", files.len(), budget.limit());
            }
            if took > slowest.0 {
                slowest = (took, path.clone());
            }
            count += 1;
            for (index, file) in files.iter().enumerate() {
                assert!(file.within.is_none_or(|within| (within as usize) < index), "{}", path.display());
            }
            let kinds = files.first().unwrap().kinds;
            let hidden = [Kind::EncryptedArchive, Kind::Damaged, Kind::Limits, Kind::Unscannable];
            if hidden.iter().any(|kind| kinds.has(*kind)) {
                flagged += 1;
            }
            let Some(listed) = listed(&path) else { continue };
            compared += 1;
            let ours: BTreeSet<String> = files
                .iter()
                .flat_map(|file| &file.names)
                .map(|name| name.trim_start_matches("./").replace('\\', "/"))
                .collect();
            // Of discs we tell the name without its folder.
            let is_disc = files.iter().any(|file| file.kinds.has(Kind::DiskImage));
            let lacking: Vec<_> = listed
                .iter()
                .map(|name| name.trim_start_matches("./"))
                .filter(|name| !ours.contains(*name) && !ours.contains(name.trim()))
                .filter(|name| !is_disc || !ours.contains(name.rsplit('/').next().unwrap()))
                .collect();
            if lacking.is_empty() {
                continue;
            }
            if let Some((_, why)) = EXCEPTIONS.iter().find(|(excepted, _)| name == *excepted) {
                eprintln!("{folder}/{name}: {why}");
                excepted += 1;
                continue;
            }
            let is_told = |file: &File| file.kinds.iter().any(|kind| hidden.contains(&kind));
            if files.iter().any(is_told) {
                eprintln!("{folder}/{name}: said to be not all: {} of {}", lacking.len(), listed.len());
                excepted += 1;
                continue;
            }
            wrong.push(format!("{folder}/{name}: {kinds:?} lacks {lacking:?} of {}", listed.len()));
        }
        eprintln!(
            "{folder}: {count} files, {flagged} flagged, {compared} compared, {excepted} excepted; slowest {:?} {}",
            slowest.0,
            slowest.1.display()
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The files in it by libarchive; none if it does not know it.
fn listed(path: &Path) -> Option<Vec<String>> {
    let run = |how: &str| {
        let args: [OsString; 4] = ["3".into(), "bsdtar".into(), how.into(), path.into()];
        let output = Command::new("timeout").args(args).env("LC_ALL", "C.UTF-8").output().ok()?;
        String::from_utf8(output.stdout).ok()
    };
    let (names, modes) = (run("-tf")?, run("-tvf")?);
    let is_plain = |name: &str| name.is_ascii() && !name.contains('\\') && !name.ends_with('/');
    let names: Vec<_> = names
        .lines()
        .zip(modes.lines())
        .filter(|(name, mode)| mode.starts_with('-') && is_plain(name))
        .map(|(name, _)| name.to_owned())
        .collect();
    (!names.is_empty()).then_some(names)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}
