//! The timed listings as records: a key with all it is listed for, or was and is
//! remembered for; with nothing, if it was taken off.

use super::Cursor;
use super::Fate;
use super::Input;
use super::Kept;
use super::Kind;
use super::Loading;
use super::Output;
use super::STEP;
use super::Step;
use crate::state::listings::LONGEST_LISTING;
use crate::state::listings::Listing;
use crate::state::listings::Listings;
use crate::state::listings::MAX_KEY_BYTES;
use crate::state::listings::MAX_REASONS;
use std::collections::BTreeSet;
use std::ops::Bound;

/// A reason is a word of a rule, `by` a rule's name.
const MAX_REASON_BYTES: usize = 64;
const MAX_BY_BYTES: usize = 256;

impl Kept for Listings {
    fn watch(&self, is_watched: bool) {
        self.lock().changed = is_watched.then(BTreeSet::new);
    }

    fn some_changed(&self, _: &mut Cursor, out: &mut Output) -> Step {
        let full = out.count() + STEP;
        let mut table = self.lock();
        while out.count() < full && !out.is_full() {
            let Some(key) = table.changed.as_mut().and_then(|changed| changed.pop_first()) else {
                return Step::Done;
            };
            write(&key, table.keys.get(&key).map(Vec::as_slice).unwrap_or_default(), out);
        }
        Step::More
    }

    fn some(&self, at: &mut Cursor, out: &mut Output) -> Step {
        let table = self.lock();
        let from = at.text.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        for (key, listings) in table.keys.range::<str, _>((from, Bound::Unbounded)).take(STEP) {
            write(key, listings, out);
            last = Some(key.clone());
            if out.is_full() {
                break;
            }
        }
        at.text = last;
        if at.text.is_some() { Step::More } else { Step::Done }
    }

    fn restore(&self, _: Kind, from: &mut Input<'_>, loading: &mut Loading) -> Option<Fate> {
        let key = from.text(MAX_KEY_BYTES)?;
        let count = usize::try_from(from.number()?).ok().filter(|count| *count <= MAX_REASONS)?;
        let mut listings: Vec<Listing> = Vec::new();
        for _ in 0..count {
            let listing = read(from, loading)?;
            if listings.iter().any(|other| other.reason == listing.reason) {
                return None;
            }
            listings.push(listing);
        }
        if !from.is_over() {
            return None;
        }
        Some(if self.put(key, listings, loading.now) { Fate::Taken } else { Fate::NoRoom })
    }
}

fn write(key: &str, listings: &[Listing], out: &mut Output) {
    out.record(Kind::Listings as u8, |out| {
        out.text(key.as_bytes());
        out.number(listings.len() as u64);
        for listing in listings {
            out.text(cut(&listing.reason, MAX_REASON_BYTES));
            out.text(cut(&listing.by, MAX_BY_BYTES));
            out.time(listing.since);
            out.coming(listing.until);
            out.coming(listing.observed_until);
            out.coming(listing.forget_at);
            out.number(u64::from(listing.times));
        }
    });
}

/// Nothing lasts longer than what is listed now.
fn read(from: &mut Input<'_>, loading: &Loading) -> Option<Listing> {
    let now = loading.now;
    let longest = u64::try_from(LONGEST_LISTING.as_nanos()).unwrap_or(u64::MAX);
    let until = now.saturating_add(longest);
    Some(Listing {
        reason: from.text(MAX_REASON_BYTES)?.to_owned(),
        by: from.text(MAX_BY_BYTES)?.to_owned(),
        since: from.time()?.min(now),
        until: from.coming()?.min(until),
        observed_until: from.coming()?.min(until),
        forget_at: from.coming()?.min(until.saturating_add(longest)),
        times: from.small()?,
    })
}

fn cut(text: &str, most: usize) -> &[u8] {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text).as_bytes()
}
