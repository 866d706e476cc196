//! A file that may be anything, under a name that begins it: what it is, and what is in
//! it if it is a document.

#![no_main]

use gatepost::content::Budget;
use gatepost::content::Given;
use gatepost::content::MAX_FILES;
use gatepost::content::Stop;
use gatepost::content::Wants;
use gatepost::content::examine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (name, rest) = bytes.split_at(end);
    let names = [String::from_utf8_lossy(name).into_owned()];
    let given = Given { bytes: rest.strip_prefix(b"\n").unwrap_or(rest), names: &names, media_type: None };
    let wants = Wants { kinds: true, inside: true, hashes: false, names: false };
    let mut budget = Budget::new(Stop::default());
    let mut files = Vec::new();
    examine(given, wants, &mut budget, &mut files);
    assert!(!files.is_empty() && files.len() <= MAX_FILES);
    assert!(files.first().is_some_and(|file| !file.kinds.is_empty()));
    for (place, file) in files.iter().enumerate() {
        assert!(file.within.is_none_or(|within| (within as usize) < place));
    }
});
