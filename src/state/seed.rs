//! A hash that strangers can't foresee and that a snapshot can hold: what is
//! remembered by its hash alone must be found again by the next process.

use siphasher::sip::SipHasher13;
use std::hash::BuildHasher;
use std::hash::Hasher;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::OnceLock;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Seed(pub [u64; 2]);

/// The seed of one state: that of its files, else a random one from its first use on.
#[derive(Clone, Debug, Default)]
pub(super) struct Secret(Arc<OnceLock<Seed>>);

impl Secret {
    pub(super) fn seed(&self) -> Seed {
        *self.0.get_or_init(Seed::random)
    }

    /// Takes that of a file; false if it has another one.
    pub(super) fn adopt(&self, seed: Seed) -> bool {
        *self.0.get_or_init(|| seed) == seed
    }

    pub(super) fn hash(&self, bucket: u32, texts: &[&str]) -> u64 {
        self.seed().hash(bucket, texts)
    }
}

impl Seed {
    fn random() -> Self {
        // The standard library's own seeds come from the system.
        Self([1_u64, 2].map(|which| RandomState::new().hash_one(which)))
    }

    /// Of several texts: none can be moved into its neighbour.
    pub(super) fn hash(self, bucket: u32, texts: &[&str]) -> u64 {
        let [first, second] = self.0;
        let mut hasher = SipHasher13::new_with_keys(first, second);
        hasher.write_u32(bucket.to_le());
        for text in texts {
            hasher.write_u64((text.len() as u64).to_le());
            hasher.write(text.as_bytes());
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_down_is_found_again() {
        let seed = Seed([1, 2]);
        // Else all that is remembered by its hash is lost with the next version.
        assert_eq!(seed.hash(7, &["192.0.2.0/24", "a@b.test"]), 0xe739_cc99_04b3_6ac6);
        assert_ne!(seed.hash(7, &["a", "b"]), seed.hash(7, &["ab", ""]));
        assert_ne!(seed.hash(7, &["a"]), seed.hash(8, &["a"]));
        assert_ne!(Secret::default().hash(7, &["a"]), Secret::default().hash(7, &["a"]));
    }

    #[test]
    fn a_seed_is_taken_before_it_is_used_and_never_changes() {
        let secret = Secret::default();
        assert!(secret.adopt(Seed([1, 2])) && secret.adopt(Seed([1, 2])) && !secret.adopt(Seed([1, 3])));
        assert_eq!(secret.seed(), Seed([1, 2]));
        let used = Secret::default();
        let seed = used.seed();
        assert!(!used.adopt(Seed([1, 2])) && used.adopt(seed) && used.seed() == seed);
    }
}
