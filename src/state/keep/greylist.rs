//! The tables of greylisting as records: each an attempt or a network, as its hash under
//! the seed that the file begins with, and its times. What waits is written before what
//! has come back, which takes its place when it is read.

use super::Cursor;
use super::Fate;
use super::Input;
use super::Kept;
use super::Kind;
use super::Loading;
use super::Output;
use super::Step;
use super::rings;
use crate::state::clock::Nanos;
use crate::state::greylist::Greylist;
use crate::state::greylist::Network;
use crate::state::greylist::Proved;
use crate::state::greylist::SHARDS;
use crate::state::greylist::Waiting;

/// No rule remembers for longer: ten years, as durations of rules.
const LONGEST: Nanos = 10 * 366 * 86_400 * 1_000_000_000;

impl Kept for Greylist {
    fn watch(&self, is_watched: bool) {
        self.waiting.rings().iter().for_each(|ring| ring.lock().changes.watch(is_watched));
        self.proved.rings().iter().for_each(|ring| ring.lock().changes.watch(is_watched));
        self.networks.rings().iter().for_each(|ring| ring.lock().changes.watch(is_watched));
    }

    fn some_changed(&self, at: &mut Cursor, out: &mut Output) -> Step {
        let number = at.shard % SHARDS;
        match at.shard / SHARDS {
            0 => rings::some_changed(&mut self.waiting.rings()[number].lock(), at, out, write_waiting),
            1 => rings::some_changed(&mut self.proved.rings()[number].lock(), at, out, write_proved),
            2 => rings::some_changed(&mut self.networks.rings()[number].lock(), at, out, write_network),
            _ => return Step::Done,
        }
        Step::More
    }

    fn some(&self, at: &mut Cursor, out: &mut Output) -> Step {
        let number = at.shard % SHARDS;
        match at.shard / SHARDS {
            0 => rings::some(&self.waiting.rings()[number].lock(), at, out, write_waiting),
            1 => rings::some(&self.proved.rings()[number].lock(), at, out, write_proved),
            2 => rings::some(&self.networks.rings()[number].lock(), at, out, write_network),
            _ => return Step::Done,
        }
        Step::More
    }

    fn restore(&self, kind: Kind, from: &mut Input<'_>, loading: &mut Loading) -> Option<Fate> {
        let (now, hash) = (loading.now, from.number()?);
        let until = from.coming()?.min(now.saturating_add(LONGEST));
        // Its clock may have been ahead of ours.
        let earlier = |from: &mut Input<'_>| from.time().map(|time| time.min(now));
        let is_taken = match kind {
            Kind::Waiting => {
                let waiting = Waiting { first: earlier(from)?, until };
                believed(from, loading)?;
                self.restore_waiting(hash, waiting, now)
            }
            Kind::Proved => {
                believed(from, loading)?;
                self.restore_proved(hash, Proved { until }, now)
            }
            _ => {
                let network = Network { last_proof: earlier(from)?, proofs: from.small()?, until };
                believed(from, loading)?;
                self.restore_network(hash, network, now)
            }
        };
        Some(Fate::of(is_taken))
    }
}

/// Whether a record that has been read may be believed.
fn believed(from: &Input<'_>, loading: &Loading) -> Option<()> {
    (from.is_over() && loading.is_seeded).then_some(())
}

fn write_waiting(hash: u64, waiting: &Waiting, out: &mut Output) {
    if waiting.until > out.now() {
        out.record(Kind::Waiting as u8, |out| {
            out.number(hash);
            out.coming(waiting.until);
            out.time(waiting.first);
        });
    }
}

fn write_proved(hash: u64, proved: &Proved, out: &mut Output) {
    if proved.until > out.now() {
        out.record(Kind::Proved as u8, |out| {
            out.number(hash);
            out.coming(proved.until);
        });
    }
}

fn write_network(hash: u64, network: &Network, out: &mut Output) {
    if network.until > out.now() {
        out.record(Kind::Network as u8, |out| {
            out.number(hash);
            out.coming(network.until);
            out.time(network.last_proof);
            out.number(u64::from(network.proofs));
        });
    }
}
