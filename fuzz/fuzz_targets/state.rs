//! Files in the folder of the state. The first byte says what the rest is: a snapshot, a
//! journal, or records for which head and sums are made, since chance never finds those.
//! Whatever is read starts, and what was taken in is written and read as the same.

#![no_main]

use gatepost::state::Keeper;
use gatepost::state::Loaded;
use gatepost::state::Reading;
use gatepost::state::State;
use libfuzzer_sys::Corpus;
use libfuzzer_sys::fuzz_target;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

const MAX_KEYS: usize = 100;
const NOW: Reading =
    Reading { nanos: 1_800_000_000_000_000_000, wall: 1_800_000_000_000_000_000, uptime: 1_000, boot: 1 };

/// Not on a disk: each input is synced.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    base.join(format!("gatepost-fuzz-state-{}", std::process::id()))
});

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Some((kind, rest)) = bytes.split_first() else {
        return Corpus::Reject;
    };
    let _ = fs::remove_dir_all(&*FOLDER);
    fs::create_dir_all(&*FOLDER).unwrap();
    match kind {
        b's' => fs::write(FOLDER.join("snapshot"), rest).unwrap(),
        b'j' => fs::write(FOLDER.join("journal-2"), rest).unwrap(),
        _ => fs::write(FOLDER.join("journal-1"), journal(rest)).unwrap(),
    }
    let (first, _) = read();
    let (second, warnings) = read();
    assert_eq!(warnings, Vec::<String>::new());
    // A later record may have taken back what an earlier one said of a key.
    let is_same = second == Held { keys: second.keys, ..first };
    assert!(second.keys <= first.keys && is_same, "{first:?} then {second:?}");
    assert_eq!(read(), (second, Vec::new()));
    Corpus::Keep
});

/// How many there are of each.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    keys: u64,
    listed: usize,
    distinct: u64,
    greylisted: u64,
}

/// What there is, and the warnings; then all is written.
fn read() -> (Held, Vec<String>) {
    let state = State::in_memory(MAX_KEYS);
    let (mut keeper, loaded) = Keeper::open(&FOLDER, Duration::from_secs(10), &state, NOW).unwrap();
    assert!(loaded.keys <= MAX_KEYS as u64);
    keeper.finish(&state, || NOW);
    let Loaded { keys, listed_keys: listed, distinct_keys: distinct, greylisted, warnings } = loaded;
    (Held { keys, listed, distinct, greylisted }, warnings)
}

/// A head and one block, as of a second ago. It has a seed first, as each file.
fn journal(records: &[u8]) -> Vec<u8> {
    let mut file = b"gatepost\x01\0j\0".to_vec();
    file.extend(1_u64.to_le_bytes());
    file.extend(7_u64.to_le_bytes());
    file.extend(crc32fast::hash(&file).to_le_bytes());
    let mut body = Vec::new();
    for time in [NOW.nanos - 1_000_000_000, NOW.wall - 1_000_000_000, NOW.uptime] {
        body.extend(time.to_le_bytes());
    }
    body.extend(2_u128.to_le_bytes());
    body.extend_from_slice(b"\x04\x02\0\0\0\x01\x02");
    body.extend_from_slice(records);
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    let sum = crc32fast::hash(&[&length[..], &body].concat());
    file.extend(length);
    file.extend(sum.to_le_bytes());
    file.extend(body);
    file
}
