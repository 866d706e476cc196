//! The seed of a state as a record. Each file begins with it: without it nothing that is
//! kept by its hash would be found again.

use super::Fate;
use super::Input;
use super::Kind;
use super::Loading;
use super::Output;
use super::file::block;
use crate::state::clock::Reading;
use crate::state::seed::Secret;
use crate::state::seed::Seed;

impl Secret {
    /// The first block of a file.
    pub(super) fn block(&self, now: Reading) -> Vec<u8> {
        let mut out = Output::begin(now.nanos);
        let Seed([first, second]) = self.seed();
        out.record(Kind::Seed as u8, |out| {
            out.number(first);
            out.number(second);
        });
        block(now, &out)
    }

    /// Takes it, if it is the first there is. What stands in a file behind another one is
    /// not found again, and not taken in.
    pub(super) fn restore(&self, from: &mut Input<'_>, loading: &mut Loading) -> Option<Fate> {
        let seed = Seed([from.number()?, from.number()?]);
        if !from.is_over() {
            return None;
        }
        loading.is_seeded = self.adopt(seed);
        loading.is_seeded.then_some(Fate::Taken)
    }
}
