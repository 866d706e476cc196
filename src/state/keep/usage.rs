//! What entries of lists have found as records: list and entry, how often, when first and
//! last; zero times, if it left its list. One without a name says since when is counted.

use super::Cursor;
use super::Fate;
use super::Input;
use super::Kept;
use super::Kind;
use super::Loading;
use super::Output;
use super::STEP;
use super::Step;
use crate::state::usage::MAX_KEY_BYTES;
use crate::state::usage::MAX_NOTED;
use crate::state::usage::Noted;
use crate::state::usage::Usage;
use crate::state::usage::Used;
use std::collections::BTreeSet;
use std::ops::Bound;

impl Kept for Usage {
    fn watch(&self, is_watched: bool) {
        self.lock().changed = is_watched.then(BTreeSet::new);
    }

    fn some_changed(&self, _: &mut Cursor, out: &mut Output) -> Step {
        let full = out.count() + STEP;
        let mut noted = self.lock();
        while out.count() < full && !out.is_full() {
            let Some(key) = noted.changed.as_mut().and_then(|changed| changed.pop_first()) else {
                return Step::Done;
            };
            write(&key, &noted, out);
        }
        Step::More
    }

    fn some(&self, at: &mut Cursor, out: &mut Output) -> Step {
        let noted = self.lock();
        if at.text.is_none() {
            write("", &noted, out);
        }
        let from = at.text.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        for key in noted.entries.range::<str, _>((from, Bound::Unbounded)).map(|(key, _)| key).take(STEP) {
            write(key, &noted, out);
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
        let used = Used {
            count: from.number()?,
            first: from.time()?.min(loading.now),
            last: from.time()?.min(loading.now),
        };
        if !from.is_over() {
            return None;
        }
        let mut noted = self.lock();
        if key.is_empty() {
            noted.since = Some(used.first);
            return Some(Fate::Taken);
        }
        if used.count == 0 {
            noted.entries.remove(key);
            return Some(Fate::Taken);
        }
        let has_room = noted.entries.len() < MAX_NOTED || noted.entries.contains_key(key);
        if has_room {
            noted.entries.insert(key.into(), used);
        }
        Some(Fate::of(has_room))
    }
}

fn write(key: &str, noted: &Noted, out: &mut Output) {
    let used = match (key, noted.since) {
        ("", Some(since)) => Used { count: 0, first: since, last: since },
        ("", None) => return,
        _ => noted.entries.get(key).copied().unwrap_or_default(),
    };
    out.record(Kind::Usage as u8, |out| {
        out.text(key.as_bytes());
        out.number(used.count);
        out.time(used.first);
        out.time(used.last);
    });
}
