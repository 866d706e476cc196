//! Takes bytes out of a decoder, as many as the budget has.
//!
//! Decoders are others' code that reads a stranger's bytes: a panic in one ends the
//! file that it reads and nothing else.

use std::io::Read;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use super::Budget;
use crate::content::budget::FREE_BYTES;
use crate::content::budget::MAX_FILE_BYTES;
use crate::content::budget::MAX_RATIO;

/// Looked at for each: how much is left, and whether anyone still waits.
const CHUNK_BYTES: usize = 64 << 10;
/// What a step of a decoder is charged as at least: one that makes a few bytes at a
/// time takes long for them.
const LEAST_BYTES: u64 = 4 << 10;
/// Where a buffer no longer doubles: it takes all that it may become, of which the
/// system gives only what is written to.
const DOUBLED_BYTES: usize = 4 << 20;

/// Told of a panic.
pub(super) const GAVE_UP: &str = "a reader of archives gave up";

/// How the reading of something ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::content) enum End {
    /// It can't be read on.
    Damaged,
    /// There is more than may be read.
    Limit,
    Whole,
}

/// What one archive may still make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance(u64);

impl Allowance {
    pub(super) fn of(archive: &[u8]) -> Self {
        Self((archive.len() as u64).saturating_mul(MAX_RATIO).saturating_add(FREE_BYTES))
    }

    /// For bytes made, or looked at once more.
    pub(super) fn take(&mut self, bytes: u64, budget: &mut Budget) -> bool {
        match self.0.checked_sub(bytes) {
            Some(left) => {
                self.0 = left;
                budget.take_bytes(bytes)
            }
            None => budget.hit("more in an archive than one of its size is unpacked to"),
        }
    }
}

/// All of what `source` gives, or its beginning, while it has a `window` in memory.
/// What is returned is held ([`Budget::hold`]): who drops it gives it back.
pub(super) fn unpack(
    source: &mut dyn Read,
    window: u64,
    expected: u64,
    allowance: &mut Allowance,
    budget: &mut Budget,
) -> (Vec<u8>, End) {
    let mut bytes = Vec::new();
    if !budget.hold(window) {
        return (bytes, End::Limit);
    }
    if expected <= DOUBLED_BYTES as u64 {
        bytes.reserve_exact(expected as usize);
    }
    let end = guarded(|| fill(&mut bytes, source, allowance, budget)).unwrap_or_else(|| {
        budget.hit(GAVE_UP);
        End::Damaged
    });
    budget.give_back(window);
    (bytes, end)
}

fn fill(bytes: &mut Vec<u8>, source: &mut dyn Read, allowance: &mut Allowance, budget: &mut Budget) -> End {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = match source.read(&mut chunk) {
            Ok(0) => return End::Whole,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == std::io::ErrorKind::OutOfMemory => {
                budget.hit("a compression that wants more memory than it gets");
                return End::Limit;
            }
            Err(error) if error.kind() == std::io::ErrorKind::QuotaExceeded => {
                budget.hit("more pieces of a compressed file than are read");
                return End::Limit;
            }
            Err(_) => return End::Damaged,
        };
        if bytes.len() as u64 + read as u64 > MAX_FILE_BYTES {
            budget.hit("a longer file in an archive than is looked at");
            return End::Limit;
        }
        if !allowance.take((read as u64).max(LEAST_BYTES), budget) || !budget.hold(read as u64) {
            // What follows in the archive is listed, and no chunk of it made to be thrown away.
            allowance.0 = 0;
            return End::Limit;
        }
        if bytes.len() + read > DOUBLED_BYTES {
            bytes.reserve_exact((MAX_FILE_BYTES as usize).saturating_sub(bytes.len()));
        }
        bytes.extend_from_slice(chunk.get(..read).unwrap_or_default());
    }
}

/// What others' code makes of a stranger's bytes; none if it panics.
pub(super) fn guarded<T>(read: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(read)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Stop;

    struct Panics;

    impl Read for Panics {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            panic!("as others' code may");
        }
    }

    #[test]
    fn a_panic_of_a_decoder_is_damage_and_told() {
        let mut budget = Budget::new(Stop::default());
        let (bytes, end) = unpack(&mut Panics, 0, 0, &mut Allowance::of(b""), &mut budget);
        assert_eq!((bytes.len(), end), (0, End::Damaged));
        assert_eq!(budget.limit(), Some("a reader of archives gave up"));
    }

    #[test]
    fn a_small_archive_makes_no_large_file() {
        let mut budget = Budget::new(Stop::default());
        let (bytes, end) = unpack(&mut std::io::repeat(0), 0, 0, &mut Allowance::of(&[0; 100]), &mut budget);
        assert_eq!(end, End::Limit);
        assert!(bytes.len() as u64 <= FREE_BYTES + 100 * MAX_RATIO);
        assert_eq!(budget.limit(), Some("more in an archive than one of its size is unpacked to"));
    }

    #[test]
    fn nobody_unpacks_when_nobody_waits() {
        let stop = Stop::default();
        stop.now();
        let mut budget = Budget::new(stop);
        let (bytes, end) = unpack(&mut std::io::repeat(0), 0, 0, &mut Allowance::of(&[0; 100]), &mut budget);
        assert_eq!((bytes.len(), end), (0, End::Limit));
    }
}
