//! What looking into the files of one message may cost, all of them together.
//!
//! Archives are made to be small outside and endless inside. Every reader takes from
//! here before it makes anything, and stops when there is nothing left: what then is
//! not known is said (`limits`), never passed over.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// Archives within each other, documents counted with them.
pub const MAX_DEPTH: u8 = 16;
/// Files listed of one message, those in archives with them (as rspamd for parts).
pub const MAX_FILES: usize = 10_000;
/// Bytes made by decompressing, for one message.
pub(super) const MAX_UNPACKED_BYTES: u64 = 256 << 20;
/// Bytes that one archive may make for each of its own, beyond [`FREE_BYTES`].
pub(super) const MAX_RATIO: u64 = 250;
/// Bytes that any archive may make, whatever its size.
pub(super) const FREE_BYTES: u64 = 16 << 20;

/// Bytes of one file that is unpacked; of a longer one only its beginning is looked at.
pub(super) const MAX_FILE_BYTES: u64 = 64 << 20;
/// Bytes of all files that are unpacked at one time, each in the one before.
pub(super) const MAX_HELD_BYTES: u64 = 96 << 20;

/// Bytes of the names of all files in archives: 200 for each of [`MAX_FILES`]. What they tell
/// may take ten times as many.
const MAX_NAMES_BYTES: usize = 2 << 20;

/// Told by whoever waits that nobody does any more.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is left.
#[derive(Clone, Debug)]
pub struct Budget {
    bytes: u64,
    files: usize,
    names_bytes: usize,
    /// Bytes that are in memory now.
    held: u64,
    stop: Stop,
    limit: Option<&'static str>,
    /// How often one was hit.
    hits: u64,
}

impl Budget {
    pub fn new(stop: Stop) -> Self {
        Self {
            bytes: MAX_UNPACKED_BYTES,
            files: MAX_FILES,
            names_bytes: MAX_NAMES_BYTES,
            held: 0,
            stop,
            limit: None,
            hits: 0,
        }
    }

    /// For `bytes` that are about to be made; false: they must not be.
    pub fn take_bytes(&mut self, bytes: u64) -> bool {
        if self.stop.is_wanted() {
            return self.hit("no time was left to look into all files");
        }
        match self.bytes.checked_sub(bytes) {
            Some(left) => {
                self.bytes = left;
                true
            }
            None => self.hit("more in archives than is unpacked"),
        }
    }

    /// For one more file.
    pub fn take_file(&mut self) -> bool {
        if self.stop.is_wanted() {
            return self.hit("no time was left to look into all files");
        }
        match self.files.checked_sub(1) {
            Some(left) => {
                self.files = left;
                true
            }
            None => self.hit("more files than are listed"),
        }
    }

    /// For the names of one more file.
    pub(super) fn take_names(&mut self, bytes: usize) -> bool {
        match self.names_bytes.checked_sub(bytes) {
            Some(left) => {
                self.names_bytes = left;
                true
            }
            None => self.hit("longer names of files in archives than are kept"),
        }
    }

    /// For bytes that stay until they are given back; false: they must not be kept.
    pub(super) fn hold(&mut self, bytes: u64) -> bool {
        match self.held.checked_add(bytes) {
            Some(held) if held <= MAX_HELD_BYTES => {
                self.held = held;
                true
            }
            _ => self.hit("more in archives than is kept at one time"),
        }
    }

    pub(super) fn give_back(&mut self, bytes: u64) {
        self.held = self.held.saturating_sub(bytes);
    }

    /// Says which cap was hit, the first that was; always false.
    pub fn hit(&mut self, limit: &'static str) -> bool {
        self.limit.get_or_insert(limit);
        self.hits += 1;
        false
    }

    /// How often a cap was hit: whoever reads one file of many compares.
    pub(super) fn hits(&self) -> u64 {
        self.hits
    }

    /// The first cap that was hit, in words.
    pub fn limit(&self) -> Option<&'static str> {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_is_gone_and_the_first_cap_is_told() {
        let mut budget = Budget::new(Stop::default());
        assert!(budget.take_bytes(MAX_UNPACKED_BYTES));
        assert!(!budget.take_bytes(1));
        assert!((0..MAX_FILES).all(|_| budget.take_file()));
        assert!(!budget.take_file());
        assert_eq!(budget.limit(), Some("more in archives than is unpacked"));
    }

    #[test]
    fn nothing_is_left_once_nobody_waits() {
        let stop = Stop::default();
        let mut budget = Budget::new(stop.clone());
        assert!(budget.take_file());
        stop.now();
        assert!(!budget.take_file() && !budget.take_bytes(0));
        assert_eq!(budget.limit(), Some("no time was left to look into all files"));
    }
}
