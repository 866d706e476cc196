//! Reading at the start: the snapshot, then the journals that go on from it.
//!
//! What can't be read is told, set aside and never stops the start; what stands before it
//! is kept. The files may be hostile: as many things are taken as the live state would
//! hold, none larger, and nothing counts for longer than it could now.

use super::Fate;
use super::Input;
use super::Kind;
use super::Loading;
use super::fields::records;
use super::file::Bad;
use super::file::Blocks;
use super::file::Head;
use super::file::What;
use super::folder;
use super::folder::Folder;
use crate::state::State;
use crate::state::clock::Nanos;
use crate::state::clock::Reading;
use std::fs::File;
use std::io;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;

/// What was found in the folder.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Loaded {
    pub keys: u64,
    pub listed_keys: usize,
    /// Keys with different values.
    pub distinct_keys: u64,
    /// Greylisted mail that waits, or has come back.
    pub greylisted: u64,
    /// What the operator should know, a sentence each.
    pub warnings: Vec<String>,
}

/// What the writing that follows has to know.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub loaded: Loaded,
    /// Whether what is on the disk can't be gone on from.
    pub is_broken: bool,
    /// The highest number of a journal.
    pub number: u64,
    pub snapshot_bytes: u64,
    pub journal_bytes: u64,
    pub journals: usize,
}

/// A file after a first look at all of it.
#[derive(Debug)]
struct Scanned {
    path: PathBuf,
    head: Option<Head>,
    /// The earliest and the latest of its readings.
    readings: Option<(Reading, Reading)>,
    /// Whether there is nothing but a seed.
    is_empty: bool,
    /// How many bytes of it are good.
    good: u64,
    bad: Option<Bad>,
}

/// The times of one process that wrote.
#[derive(Debug)]
struct Run {
    number: u64,
    first: Reading,
    last: Reading,
    /// What makes its times into ours.
    shift: i128,
}

/// Records that could not be put in.
#[derive(Debug, Default)]
struct Skipped {
    unknown: usize,
    malformed: usize,
    no_room: usize,
}

pub(super) fn load(folder: &Folder, state: &State, now: Reading) -> io::Result<Found> {
    folder.remove(&folder.new_snapshot());
    let mut found = Found::default();
    let mut files = Vec::new();
    let mut first = 0;
    if let Some(scanned) = scan(folder.snapshot(), None) {
        first = scanned.head.map_or(0, |head| head.number);
        found.snapshot_bytes = scanned.good;
        found.number = first;
        found.is_broken = scanned.bad.is_some();
        files.push(scanned);
    } else {
        found.is_broken = true;
    }
    for number in folder.journals()? {
        found.number = found.number.max(number);
        let path = folder.journal(number);
        // Of before the snapshot: there was no time to remove it.
        if number < first {
            folder.remove(&path);
            continue;
        }
        if let Some(scanned) = scan(path, Some(number)) {
            // Of a process that came to nothing; thousands of them would push out the others.
            if scanned.bad.is_none() && scanned.is_empty {
                folder.remove(&scanned.path);
                continue;
            }
            found.journal_bytes += scanned.good;
            found.journals += 1;
            files.push(scanned);
        }
    }
    let runs = runs(&files, now);
    let (mut loading, mut skipped) = (Loading::new(now.nanos), Skipped::default());
    for file in &files {
        apply(file, &runs, state, &mut loading, &mut skipped);
    }
    for file in &files {
        if let Some(bad) = &file.bad {
            let (warning, is_mended) = put_right(folder, file, bad, now);
            found.loaded.warnings.push(warning);
            found.is_broken |= !is_mended;
        }
    }
    found.loaded.warnings.extend(skipped.told());
    found.loaded.keys = state.stats().keys;
    found.loaded.listed_keys = state.listed_keys();
    found.loaded.distinct_keys = state.distinct_sizes().0;
    let greylist = state.greylist_sizes();
    found.loaded.greylisted = greylist.waiting + greylist.proved;
    Ok(found)
}

/// Looks at all of a file; None if there is none. A journal has its number in its name.
fn scan(path: PathBuf, journal: Option<u64>) -> Option<Scanned> {
    let mut scanned = Scanned { path, head: None, readings: None, is_empty: true, good: 0, bad: None };
    let file = match folder::open(&scanned.path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            scanned.bad = Some(Bad::Io(error));
            return Some(scanned);
        }
    };
    let mut blocks = match Blocks::open(BufReader::new(file)) {
        Ok(blocks) => blocks,
        Err(bad) => {
            scanned.bad = Some(bad);
            return Some(scanned);
        }
    };
    let is_expected = match journal {
        Some(number) => blocks.head.what == What::Journal && blocks.head.number == number,
        None => blocks.head.what == What::Snapshot,
    };
    if !is_expected {
        scanned.bad = Some(Bad::Foreign);
        return Some(scanned);
    }
    scanned.head = Some(blocks.head);
    let mut is_ended = false;
    scanned.bad = loop {
        match blocks.next() {
            Ok(Some((reading, bytes))) => {
                let (earliest, latest) = scanned.readings.get_or_insert((reading, reading));
                if reading.nanos < earliest.nanos {
                    *earliest = reading;
                }
                if reading.nanos >= latest.nanos {
                    *latest = reading;
                }
                is_ended = bytes.first() == Some(&(Kind::End as u8));
                let is_seed = |record: Option<(u8, Input<'_>)>| {
                    record.is_some_and(|(kind, _)| kind == Kind::Seed as u8)
                };
                scanned.is_empty &= records(bytes, 0).all(is_seed);
            }
            Ok(None) => break (journal.is_none() && !is_ended).then_some(Bad::Torn),
            Err(bad) => break Some(bad),
        }
    };
    scanned.good = blocks.good;
    Some(scanned)
}

/// Each process told the time by a clock of its own: from each to the next, and from the
/// last to now, as much passed as the clocks of the machine say.
fn runs(files: &[Scanned], now: Reading) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for file in files {
        let (Some(head), Some((first, last))) = (file.head, file.readings) else {
            continue;
        };
        match runs.iter_mut().find(|run| run.number == head.run) {
            Some(run) => {
                if first.nanos < run.first.nanos {
                    run.first = first;
                }
                if last.nanos >= run.last.nanos {
                    run.last = last;
                }
            }
            None => runs.push(Run { number: head.run, first, last, shift: 0 }),
        }
    }
    let (mut next, mut shift) = (now, 0);
    for run in runs.iter_mut().rev() {
        let passed = next.since(&run.last);
        shift += i128::from(next.nanos) - i128::from(run.last.nanos) - i128::from(passed);
        run.shift = shift;
        next = run.first;
    }
    runs
}

fn apply(file: &Scanned, runs: &[Run], state: &State, loading: &mut Loading, skipped: &mut Skipped) {
    let run = file.head.and_then(|head| runs.iter().find(|run| run.number == head.run));
    let (Some(run), Ok(opened)) = (run, folder::open(&file.path)) else {
        return;
    };
    let Ok(mut blocks) = Blocks::open(BufReader::new(opened)) else {
        return;
    };
    loading.is_seeded = false;
    while let Ok(Some((reading, bytes))) = blocks.next() {
        let base = (i128::from(reading.nanos) + run.shift).clamp(0, i128::from(loading.now));
        for record in records(bytes, Nanos::try_from(base).unwrap_or(loading.now)) {
            let Some((number, mut fields)) = record else {
                skipped.malformed += 1;
                continue;
            };
            let Some(kind) = Kind::of(number) else {
                skipped.unknown += 1;
                continue;
            };
            match state.restore(kind, &mut fields, loading) {
                Some(Fate::Taken) => {}
                Some(Fate::NoRoom) => skipped.no_room += 1,
                None => skipped.malformed += 1,
            }
        }
    }
}

/// Makes a bad file harmless; what to say, and whether the good part of it stays in use.
fn put_right(folder: &Folder, file: &Scanned, bad: &Bad, now: Reading) -> (String, bool) {
    let path = file.path.display();
    // A snapshot is put in its place as a whole: no crash leaves it so.
    if matches!(bad, Bad::Torn) && file.path != folder.snapshot() {
        let cut = match file.good {
            0 => std::fs::remove_file(&file.path),
            good => cut(&file.path, good),
        };
        return match cut {
            Ok(()) => {
                (format!("{path}: its end was missing, as after a crash: it was cut, the rest kept"), true)
            }
            Err(error) => (format!("{path}: its end is missing, and it can't be cut: {error}"), false),
        };
    }
    let kept = if file.good > 0 { "; what stands before that was read" } else { "" };
    let aside = match folder.set_aside(&file.path, now.wall / 1_000_000_000) {
        Ok(aside) => format!("it was set aside as {}", aside.display()),
        Err(error) => format!("it can't be set aside: {error}"),
    };
    (format!("{path}: {bad}{kept}; {aside}"), false)
}

fn cut(path: &Path, length: u64) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_all()
}

impl Skipped {
    fn told(&self) -> Vec<String> {
        let all = [
            (self.unknown, "of a kind that only a newer gatepost knows: they were left out"),
            (self.malformed, "that make no sense: they were left out"),
            (self.no_room, "for which there is no room: they were left out; was `max_keys` larger before?"),
        ];
        let some = all.iter().filter(|(count, _)| *count > 0);
        some.map(|(count, what)| format!("the saved state has {count} records {what}")).collect()
    }
}
