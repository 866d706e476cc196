//! Passes over a ring, a few of its places at a time.

use super::Cursor;
use super::Output;
use super::STEP;
use crate::state::ring::Ring;

/// Words of marks looked at under one lock: more than a ring has.
const WORDS: u32 = 4_096;

/// Places looked at under one lock; free ones and those that are not written count too.
const PLACES: u32 = 4 * STEP as u32;

/// Writes the next few entries of one ring that have changed.
pub(super) fn some_changed<V>(
    ring: &mut Ring<V>,
    at: &mut Cursor,
    out: &mut Output,
    write: impl Fn(u64, &V, &mut Output),
) {
    let full = out.count() + STEP;
    let end = ring.changes.words().min(at.place.saturating_add(WORDS));
    while at.place < end && out.count() < full && !out.is_full() {
        match ring.changes.take(at.place) {
            Some(place) => {
                if let Some((hash, value)) = ring.at(place) {
                    write(hash, value, out);
                }
            }
            None => at.place += 1,
        }
    }
    if at.place >= ring.changes.words() {
        *at = Cursor { shard: at.shard + 1, ..Cursor::default() };
    }
}

/// Writes the next few entries of one ring; `write` leaves out what is over.
pub(super) fn some<V>(
    ring: &Ring<V>,
    at: &mut Cursor,
    out: &mut Output,
    write: impl Fn(u64, &V, &mut Output),
) {
    let full = out.count() + STEP;
    let end = ring.end().min(at.place.saturating_add(PLACES));
    while at.place < end && out.count() < full && !out.is_full() {
        if let Some((hash, value)) = ring.at(at.place) {
            write(hash, value, out);
        }
        at.place += 1;
    }
    if at.place >= ring.end() {
        *at = Cursor { shard: at.shard + 1, ..Cursor::default() };
    }
}
