//! Archives that are small outside and endless inside: each is told, in a process of
//! its own, so that its time and memory can be seen.

use crate::archives::look;
use flate2::Compression;
use gatepost::content::Kind;
use std::env;
use std::fs;
use std::io::Write as _;
use std::process::Command;

const MEMORY_KILOBYTES: u64 = 128 << 10;
/// Of a build with optimization, on a machine that has other work.
const CPU_MILLISECONDS: u64 = 1_000;
/// Where the child finds what it opens.
const BOMB: &str = "GATEPOST_TEST_BOMB";

const ZEROS: usize = 64 << 20;

/// A file of a zip archive, with its two headers.
struct Packed<'a> {
    name: &'a str,
    data: Vec<u8>,
    size: u64,
}

fn numbers(name: &str, packed: usize, size: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [20_u16, 0, 8, 0, 0x21] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for number in [0_u32, packed as u32, size as u32] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for length in [name.len() as u16, 0] {
        bytes.extend_from_slice(&length.to_le_bytes());
    }
    bytes
}

fn local(name: &str, packed: usize, size: u64) -> Vec<u8> {
    [b"PK\x03\x04", numbers(name, packed, size).as_slice(), name.as_bytes()].concat()
}

/// The directory of what stands at these places.
fn ended(mut bytes: Vec<u8>, entries: &[(usize, String, usize, u64)]) -> Vec<u8> {
    let start = bytes.len();
    for (at, name, packed, size) in entries {
        bytes.extend_from_slice(b"PK\x01\x02\x14\x03");
        bytes.extend(numbers(name, *packed, *size));
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(&(*at as u32).to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
    }
    let size = bytes.len() - start;
    bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    for count in [entries.len() as u16; 2] {
        bytes.extend_from_slice(&count.to_le_bytes());
    }
    for number in [size as u32, start as u32] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&[0; 2]);
    bytes
}

fn zip(files: &[Packed<'_>]) -> Vec<u8> {
    let (mut bytes, mut entries) = (Vec::new(), Vec::new());
    for file in files {
        entries.push((bytes.len(), file.name.to_owned(), file.data.len(), file.size));
        bytes.extend(local(file.name, file.data.len(), file.size));
        bytes.extend_from_slice(&file.data);
    }
    ended(bytes, &entries)
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Zip in zip in zip, sixteen of each (as 42.zip, without its password).
fn forty_two() -> Vec<u8> {
    let names: Vec<_> = (0..16).map(|number| format!("{number}.zip")).collect();
    let mut inner = zip(&[Packed { name: "0.dll", data: deflated(&vec![0; ZEROS]), size: ZEROS as u64 }]);
    for _ in 0..5 {
        let (data, size) = (deflated(&inner), inner.len() as u64);
        let files: Vec<_> = names.iter().map(|name| Packed { name, data: data.clone(), size }).collect();
        inner = zip(&files);
    }
    inner
}

/// Every file but the last quotes the header of the next and goes on with its bytes
/// (Fifield, "A better zip bomb", 2019).
fn overlapping(count: usize) -> Vec<u8> {
    let kernel = deflated(&vec![0; ZEROS]);
    let mut entries = Vec::new();
    let mut headers: Vec<Vec<u8>> = Vec::new();
    let (mut packed, mut size) = (kernel.len(), ZEROS as u64);
    for number in (0..count).rev() {
        let name = format!("{number:05}");
        if let Some(next) = headers.last() {
            packed += 5 + next.len();
            size += next.len() as u64;
        }
        headers.push(local(&name, packed, size));
        entries.push((0, name, packed, size));
    }
    let mut bytes = Vec::new();
    headers.reverse();
    entries.reverse();
    for (index, (header, entry)) in headers.iter().zip(&mut entries).enumerate() {
        entry.0 = bytes.len();
        bytes.extend_from_slice(header);
        if let Some(next) = headers.get(index + 1) {
            let length = next.len() as u16;
            bytes.push(0);
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&(!length).to_le_bytes());
        }
    }
    bytes.extend_from_slice(&kernel);
    ended(bytes, &entries)
}

/// By a tool; several of what it makes one after another are one file to it.
fn tool(command: &str, times: usize) -> Option<Vec<u8>> {
    let output =
        Command::new("sh").args(["-c", &format!("head -c {ZEROS} /dev/zero | {command}")]).output().unwrap();
    if output.stdout.is_empty() {
        eprintln!("skipped: {command} made nothing");
        return None;
    }
    Some(output.stdout.repeat(times))
}

fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let zeros = vec![0; ZEROS];
    // 10 GB each.
    let times = (10_usize << 30) / ZEROS;
    let mut nested = gzipped(&zeros);
    for _ in 0..40 {
        nested = gzipped(&nested);
    }
    let many: Vec<_> = (0..60_000).map(|number| format!("{number:05}.exe")).collect();
    let many: Vec<_> = many.iter().map(|name| Packed { name, data: vec![3, 0], size: 0 }).collect();
    let mut bombs = vec![
        ("gz", gzipped(&zeros).repeat(times)),
        ("nested gz", nested),
        ("gz of gz", gzipped(&gzipped(&zeros).repeat(times))),
        ("zip", zip(&[Packed { name: "zeros", data: deflated(&zeros), size: ZEROS as u64 }])),
        ("42", forty_two()),
        ("overlapping", overlapping(250)),
        ("many files", zip(&many)),
        ("many folds", overlapping(3_000)),
    ];
    for (name, command) in [
        ("bz2", "bzip2 -c"),
        ("xz", "xz -6c"),
        ("xz of a large window", "xz -9c"),
        ("lzma", "xz --format=lzma -9c"),
        ("zst", "zstd -qc"),
        ("zst of a large window", "zstd -qc --ultra -22 --long=27"),
    ] {
        if let Some(bytes) = tool(command, if name == "lzma" { 1 } else { times }) {
            bombs.push((name, bytes));
        }
    }
    bombs
}

#[test]
fn bombs_are_told_within_time_and_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb");
    let mut wrong = Vec::new();
    for (name, bytes) in bombs() {
        fs::write(&path, &bytes).unwrap();
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "archive_bombs::one_bomb_is_opened", "--nocapture"])
            .env(BOMB, &path)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        let told = text.lines().find_map(|line| line.strip_prefix("bomb: ")).unwrap_or_default();
        eprintln!("{name}, {} bytes: {told}", bytes.len());
        let mut numbers = told.split(' ').map_while(|word| word.parse::<u64>().ok());
        let (Some(milliseconds), Some(kilobytes)) = (numbers.next(), numbers.next()) else {
            wrong.push(format!("{name}: {text}"));
            continue;
        };
        let is_told = told.contains("limits") || told.contains("ambiguous_archive");
        let is_slow = !cfg!(debug_assertions) && milliseconds > CPU_MILLISECONDS;
        if !is_told || is_slow || kilobytes > MEMORY_KILOBYTES {
            wrong.push(format!("{name}: {told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The child of the test above; nothing when it is run by itself.
#[test]
fn one_bomb_is_opened() {
    let Some(path) = env::var_os(BOMB) else { return };
    let bytes = fs::read(path).unwrap();
    let before = cpu_milliseconds();
    let (files, budget) = look(&bytes, "bomb");
    let took = cpu_milliseconds() - before;
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = peak.trim().trim_end_matches(" kB");
    let is_told = files.iter().any(|file| file.kinds.has(Kind::Limits));
    let words = if is_told { "limits" } else { "" };
    eprintln!("bomb: {took} {peak} {} files {words} {:?} {:?}", files.len(), files[0].kinds, budget.limit());
}

/// Of this thread.
fn cpu_milliseconds() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<u64>().unwrap() / 1_000_000
}
