//! The table of limits as records: a key with all its windows, and what is reserved of it.
//! That is charged when it is read: what became of the mail can't be known, and time
//! alone gives nothing back. A key is found again by the number of its bucket, which follows from
//! the rule's name; what it has used comes back in time, whether the rule lives or not.

use super::Cursor;
use super::Fate;
use super::Input;
use super::Kept;
use super::Kind;
use super::Loading;
use super::Output;
use super::STEP;
use super::Step;
use crate::state::buckets::Table;
use crate::state::plain::Uses;
use crate::state::shard::KeyRef;
use crate::state::shard::MAX_KEY_BYTES;
use crate::state::shard::Shard;
use crate::state::slots::Slot;
use parking_lot::Mutex;
use std::collections::BTreeSet;

/// Words of marks looked at under one lock: a quarter of a million places, some
/// microseconds when nothing has changed.
const WORDS: u32 = 4_096;

/// Keys set back since the last writing; an operator names them one by one. Beyond
/// that one may be back as it was after a restart.
const MAX_SET_BACK: usize = 65_536;

/// The keys that the operator set back. The table may forget them before they are
/// written, and then the file would still have what they had used.
#[derive(Debug, Default)]
pub(in crate::state) struct SetBack(Mutex<Option<Keys>>);

/// Each in its bucket.
type Keys = BTreeSet<(u32, Box<str>)>;

impl SetBack {
    pub(in crate::state) fn note(&self, bucket: u32, text: &str) {
        if let Some(keys) = self.0.lock().as_mut().filter(|keys| keys.len() < MAX_SET_BACK) {
            keys.insert((bucket, text.into()));
        }
    }

    pub(super) fn watch(&self, is_watched: bool) {
        *self.0.lock() = is_watched.then(BTreeSet::new);
    }

    pub(super) fn take(&self) -> Option<(u32, Box<str>)> {
        self.0.lock().as_mut().and_then(BTreeSet::pop_first)
    }
}

impl Table {
    /// In the order of their numbers in a [`Cursor`], the coarse one last.
    fn kept_shard(&self, number: usize) -> Option<(Kind, &Mutex<Shard>)> {
        match self.shards().get(number) {
            Some(shard) => Some((Kind::Bucket, shard)),
            None => (number == self.shards().len()).then_some((Kind::CoarseBucket, self.coarse())),
        }
    }

    fn write_set_back(&self, bucket: u32, text: &str, out: &mut Output) {
        let key = KeyRef::of(bucket, text, self.hasher());
        let shard = self.shard_of(&key).lock();
        match shard.find(key).and_then(|at| shard.get(at)) {
            Some(slot) => write(Kind::Bucket, slot, out),
            None => out.record(Kind::Bucket as u8, |out| {
                out.number(u64::from(bucket));
                out.text(key.text().as_bytes());
                // Nothing reserved, no windows.
                out.number(0);
                out.number(0);
            }),
        }
    }
}

impl Kept for Table {
    fn watch(&self, is_watched: bool) {
        self.set_back.watch(is_watched);
        for shard in self.shards().iter().chain([self.coarse()]) {
            shard.lock().changes().watch(is_watched);
        }
    }

    fn some_changed(&self, at: &mut Cursor, out: &mut Output) -> Step {
        let full = out.count() + STEP;
        while let Some((bucket, text)) = self.set_back.take() {
            self.write_set_back(bucket, &text, out);
            if out.count() >= full || out.is_full() {
                return Step::More;
            }
        }
        let Some((kind, shard)) = self.kept_shard(at.shard) else {
            return Step::Done;
        };
        let mut shard = shard.lock();
        let end = shard.changes().words().min(at.place.saturating_add(WORDS));
        while at.place < end && out.count() < full && !out.is_full() {
            while let Some(place) = shard.changes().take(at.place) {
                if let Some(slot) = shard.get(place) {
                    write(kind, slot, out);
                }
            }
            at.place += 1;
        }
        if at.place >= shard.changes().words() {
            *at = Cursor { shard: at.shard + 1, ..Cursor::default() };
        }
        Step::More
    }

    fn some(&self, at: &mut Cursor, out: &mut Output) -> Step {
        let Some((kind, shard)) = self.kept_shard(at.shard) else {
            return Step::Done;
        };
        let (full, now) = (out.count() + STEP, out.now());
        let shard = shard.lock();
        // Free places count as well: a look at them takes time too.
        let end = shard.end().min(at.place.saturating_add(4 * STEP as u32));
        while at.place < end && out.count() < full && !out.is_full() {
            if let Some(slot) = shard.get(at.place).filter(|slot| slot.load(now) > 0) {
                write(kind, slot, out);
            }
            at.place += 1;
        }
        if at.place >= shard.end() {
            *at = Cursor { shard: at.shard + 1, ..Cursor::default() };
        }
        Step::More
    }

    fn restore(&self, kind: Kind, from: &mut Input<'_>, loading: &mut Loading) -> Option<Fate> {
        let (bucket, text) = (from.small()?, from.text(MAX_KEY_BYTES)?);
        let (held, now) = (from.number()?, loading.now);
        let mut uses = Uses::read(from, now, |windows| loading.limits(windows))?;
        if !from.is_over() {
            return None;
        }
        if held > 0 {
            uses.charge_kept(held, now);
        }
        let key = KeyRef::of(bucket, text, self.hasher());
        let shard = if kind == Kind::CoarseBucket { self.coarse() } else { self.shard_of(&key) };
        let mut shard = shard.lock();
        let Some(at) = shard.restore(key, uses, now) else {
            return Some(Fate::NoRoom);
        };
        // The next start must not charge it again.
        if held > 0 {
            at.into_iter().for_each(|at| shard.changes().note(at));
        }
        Some(Fate::Taken)
    }
}

fn write(kind: Kind, slot: &Slot, out: &mut Output) {
    let (bucket, text) = slot.key();
    out.record(kind as u8, |out| {
        out.number(u64::from(bucket));
        out.text(text);
        out.number(slot.held);
        slot.uses.write(out);
    });
}
