//! A file as it comes in a mail, opened as whatever it may be: all readers of
//! archives, and what finds out which of them it is.

#![no_main]

use gatepost::content::Budget;
use gatepost::content::Given;
use gatepost::content::MAX_DEPTH;
use gatepost::content::MAX_FILES;
use gatepost::content::Stop;
use gatepost::content::Wants;
use gatepost::content::examine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let wants = Wants { kinds: true, inside: true, hashes: false, names: false };
    let mut files = Vec::new();
    let names = ["a.zip".to_owned()];
    // Named or not: some archives are only looked for under their names.
    for names in [&names[..], &[]] {
        files.clear();
        let given = Given { bytes, names, media_type: None };
        examine(given, wants, &mut Budget::new(Stop::default()), &mut files);
        assert!(files.len() <= MAX_FILES);
        for (file, place) in files.iter().zip(0_u32..) {
            assert!(file.within.is_none_or(|within| within < place));
            assert!(file.within.is_some() == (place > 0));
            assert!(file.names.iter().all(|name| !name.contains(char::is_control)));
            let (mut at, mut depth) = (file, 0);
            while let Some(within) = at.within {
                at = &files[within as usize];
                depth += 1;
            }
            assert!(depth <= MAX_DEPTH + 1);
        }
    }
});
