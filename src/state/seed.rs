//! A hash that strangers can't foresee and that a snapshot can hold: what is
//! remembered by its hash alone must be found again by the next process.

use siphasher::sip::SipHasher13;
use std::hash::BuildHasher;
use std::hash::Hasher;
use std::hash::RandomState;

/// The secret of one state directory; made at random unless one is restored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seed(pub [u64; 2]);

impl Seed {
    pub(super) fn random() -> Self {
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
        assert_ne!(Seed::random().hash(7, &["a"]), Seed::random().hash(7, &["a"]));
    }
}
