//! What of the state outlives the process: a snapshot of everything now and then, and a
//! journal of what has changed since, in a folder of our own.
//!
//! What is kept are records, each of a [`Kind`]. A record holds all of one thing and
//! takes the place of what was said of it before, so that it does no harm to read one
//! twice, and what is lost is only the last of what happened. Whoever adds a kind
//! implements [`Kept`] here, gives it a number and names it in [`State::parts`] and
//! [`State::restore`]; older programs pass over it and say so.
//!
//! Writing goes in small steps: under a lock a few hundred things are turned into bytes,
//! and the file is written without it.

mod buckets;
mod distinct;
mod fields;
mod file;
mod folder;
mod greylist;
mod keeper;
mod listings;
mod load;
mod rings;
mod seed;
#[cfg(test)]
mod tests;
mod usage;

pub(super) use buckets::SetBack;
pub(super) use fields::Input;
pub(super) use fields::Output;
pub use keeper::Event;
pub use keeper::Keeper;
pub use keeper::Turned;
pub use keeper::Written;
pub use load::Loaded;

use super::State;
use super::clock::Nanos;
use super::limits::Limits;
use super::limits::Window;
use std::collections::HashMap;

/// So many things are turned into bytes under one lock: some 50 µs.
const STEP: usize = 256;

/// Keys share so many different limits while they are read. Rules and lists have fewer;
/// beyond, each key has its own.
const MAX_SHARED_LIMITS: usize = 65_536;

/// What a record is about. The numbers stand in files; none is ever used again for
/// something else.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// The last record of a snapshot that was written to its end.
    End = 0,
    Bucket = 1,
    CoarseBucket = 2,
    Listings = 3,
    /// What the hashes of the rest of a file are made with.
    Seed = 4,
    Distinct = 5,
    /// Of greylisting.
    Waiting = 6,
    Proved = 7,
    Network = 8,
    /// Of entries of lists.
    Usage = 9,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::End,
        Self::Bucket,
        Self::CoarseBucket,
        Self::Listings,
        Self::Seed,
        Self::Distinct,
        Self::Waiting,
        Self::Proved,
        Self::Network,
        Self::Usage,
    ];

    fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// A part of the state that files keep.
pub(super) trait Kept {
    /// From now on it notes what changes, or no more; nothing is noted yet.
    fn watch(&self, is_watched: bool);

    /// Writes the next few things that have changed, none of them twice in one pass.
    fn some_changed(&self, at: &mut Cursor, out: &mut Output) -> Step;

    /// Writes the next few of all things. What changes meanwhile is noted.
    fn some(&self, at: &mut Cursor, out: &mut Output) -> Step;

    /// Takes in a record; None if it can't be understood.
    fn restore(&self, kind: Kind, from: &mut Input<'_>, loading: &mut Loading) -> Option<Fate>;
}

/// How far a pass over a part has come; the part alone understands it.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    pub shard: usize,
    pub place: u32,
    pub text: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Done,
    More,
}

/// What became of a record that was understood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    NoRoom,
    Taken,
}

impl Fate {
    fn of(has_room: bool) -> Self {
        if has_room { Self::Taken } else { Self::NoRoom }
    }
}

/// What reading needs beside the bytes.
#[derive(Debug)]
pub(super) struct Loading {
    pub now: Nanos,
    /// Whether hashes of the file under way are made with our seed.
    pub is_seeded: bool,
    limits: HashMap<Vec<Window>, Limits>,
}

impl Loading {
    fn new(now: Nanos) -> Self {
        Self { now, is_seeded: false, limits: HashMap::new() }
    }

    /// One for all that have the same windows.
    fn limits(&mut self, windows: Vec<Window>) -> Limits {
        if let Some(limits) = self.limits.get(&windows) {
            return limits.clone();
        }
        let limits = Limits::of(windows.clone());
        if self.limits.len() < MAX_SHARED_LIMITS {
            self.limits.insert(windows, limits.clone());
        }
        limits
    }
}

/// How far a pass over all parts has come.
#[derive(Debug, Default)]
struct Pass {
    part: usize,
    at: Cursor,
}

impl Pass {
    /// Takes the next step of it.
    fn step(&mut self, state: &State, out: &mut Output, step: PartStep) -> Step {
        let parts = state.parts();
        let Some(part) = parts.get(self.part) else {
            return Step::Done;
        };
        if step(*part, &mut self.at, out) == Step::Done {
            *self = Self { part: self.part + 1, at: Cursor::default() };
        }
        if self.part < parts.len() { Step::More } else { Step::Done }
    }
}

type PartStep = fn(&dyn Kept, &mut Cursor, &mut Output) -> Step;

impl State {
    /// What files keep, in the order in which it is written.
    fn parts(&self) -> [&dyn Kept; 5] {
        [&self.table, &self.listings, &*self.distinct, &*self.greylist, &self.usage]
    }

    /// Takes in a record; None if it can't be understood.
    fn restore(&self, kind: Kind, from: &mut Input<'_>, loading: &mut Loading) -> Option<Fate> {
        let part: &dyn Kept = match kind {
            Kind::End => return Some(Fate::Taken),
            Kind::Seed => return self.secret.restore(from, loading),
            Kind::Bucket | Kind::CoarseBucket => &self.table,
            Kind::Listings => &self.listings,
            Kind::Distinct => &*self.distinct,
            Kind::Waiting | Kind::Proved | Kind::Network => &*self.greylist,
            Kind::Usage => &self.usage,
        };
        part.restore(kind, from, loading)
    }
}
