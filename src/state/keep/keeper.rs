//! Writes the state down, a little at each call: what has changed to the journal, and
//! everything to a new snapshot when the journal has become long. A file's block is
//! written with no lock held; the caller says what time it is and waits in between.
//!
//! When the disk fails, decisions go on, and writing is tried again, later each time;
//! then with a whole snapshot, since it is not known what of the journal got through.

use super::Kind;
use super::Loaded;
use super::Output;
use super::PartStep;
use super::Pass;
use super::Step;
use super::file::Head;
use super::file::What;
use super::file::block;
use super::folder::Folder;
use super::folder::Refused;
use super::folder::create;
use super::load::Found;
use super::load::load;
use crate::state::State;
use crate::state::clock::Nanos;
use crate::state::clock::Reading;
use std::fs;
use std::fs::File;
use std::hash::BuildHasher;
use std::io;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// Between two blocks, for those who decide: so a million keys take two seconds.
const PAUSE: Duration = Duration::from_millis(1);

/// Locks that are taken for one block, one after the other.
const STEPS: usize = 64;

/// A snapshot is due when the journals have become so many times its size, but not for a
/// few bytes, so that all that is ever written is some three times what changes.
const JOURNAL_FACTOR: u64 = 2;
const LEAST_JOURNAL: u64 = 4 << 20;

/// Each start begins a journal.
const MOST_JOURNALS: usize = 64;

/// How long to wait at most before a disk that failed is tried again.
const LONGEST_WAIT: Nanos = 60_000_000_000;

/// Writes what one state remembers into one folder, which no other process may use.
#[derive(Debug)]
pub struct Keeper {
    folder: Folder,
    every: Nanos,
    /// Differs for each process.
    run: u64,
    /// Of the latest journal.
    number: u64,
    /// None while the disk fails.
    journal: Option<Journal>,
    changes: Option<Work>,
    whole: Option<(Work, File)>,
    /// When to write changes again, or to try the disk again.
    due: Nanos,
    wait: Nanos,
    /// Of the last failure, until a snapshot is written.
    trouble: Option<io::ErrorKind>,
    pub(super) needs_snapshot: bool,
    is_ending: bool,
    snapshot_bytes: u64,
    /// Of the journals since the last snapshot was begun.
    journal_bytes: u64,
    journals: usize,
}

#[derive(Debug)]
struct Journal {
    file: File,
    path: PathBuf,
    /// To see that it is still the one with this name.
    inode: (u64, u64),
    bytes: u64,
    /// It says nothing until it has more.
    least: u64,
}

/// A pass over the state under way.
#[derive(Debug)]
struct Work {
    pass: Pass,
    began: Nanos,
    bytes: u64,
}

/// What one call has done.
#[derive(Debug)]
pub struct Turned {
    pub event: Option<Event>,
    /// When to call again.
    pub pause: Duration,
    /// Whether something is half done.
    pub is_busy: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    Failed {
        why: String,
        /// It was fine before, or failed in another way.
        is_news: bool,
    },
    Journal(Written),
    Snapshot {
        written: Written,
        /// The disk had failed before.
        is_relief: bool,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Written {
    pub bytes: u64,
    pub took: Duration,
}

impl Keeper {
    /// Takes the folder, reads what is there into `state`, and begins to note what
    /// changes. The error names the folder and says what is wrong with it.
    pub fn open(path: &Path, every: Duration, state: &State, now: Reading) -> Result<(Self, Loaded), String> {
        let shown = path.display();
        let folder = Folder::open(path).map_err(|refused| told(path, &refused))?;
        state.watch(true);
        let Found { mut loaded, is_broken, number, snapshot_bytes, journal_bytes, journals } =
            load(&folder, state, now).map_err(|error| format!("state.dir {shown} can't be read: {error}"))?;
        let every = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX);
        let mut keeper = Self {
            folder,
            every,
            run: std::hash::RandomState::new().hash_one(now.wall),
            number,
            journal: None,
            changes: None,
            whole: None,
            due: if is_broken { now.nanos } else { now.nanos.saturating_add(every) },
            wait: every,
            trouble: None,
            needs_snapshot: is_broken,
            is_ending: false,
            snapshot_bytes,
            journal_bytes,
            journals,
        };
        match keeper.begin_journal(state, now) {
            Ok(()) => {}
            // Mail should not go unseen for want of room.
            Err(error) if is_full(&error) => {
                loaded.warnings.push(format!("state.dir {shown} can't be written in now: {error}"));
                keeper.fail(&error, state, now);
            }
            Err(error) => return Err(format!("state.dir {shown} can't be written in: {error}")),
        }
        Ok((keeper, loaded))
    }

    /// Does a little of what is due. To be called again after the pause, not on a thread
    /// that answers requests.
    pub fn turn(&mut self, state: &State, now: Reading) -> Turned {
        let event = match self.work(state, now) {
            Ok(event) => event,
            Err(error) => Some(self.fail(&error, state, now)),
        };
        let is_busy = self.changes.is_some() || self.whole.is_some();
        let until_due = Duration::from_nanos(self.due.saturating_sub(now.nanos));
        Turned { event, pause: if is_busy { PAUSE } else { until_due.max(PAUSE) }, is_busy }
    }

    /// Writes all that is not yet written, without a pause.
    pub fn finish(&mut self, state: &State, mut now: impl FnMut() -> Reading) -> Vec<Event> {
        if !self.needs_snapshot {
            self.drop_whole();
        }
        // A pass under way may have passed by what has changed since.
        if let Some(changes) = &mut self.changes {
            changes.pass = Pass::default();
        }
        (self.due, self.is_ending) = (0, true);
        let mut events = Vec::new();
        loop {
            let turned = self.turn(state, now());
            events.extend(turned.event);
            if !turned.is_busy {
                return events;
            }
        }
    }

    fn work(&mut self, state: &State, now: Reading) -> io::Result<Option<Event>> {
        if self.changes.is_none() && now.nanos >= self.due {
            if self.journal.is_none() {
                self.begin_anew(state, now)?;
            }
            self.changes = Some(Work::begin(now));
        }
        if self.changes.is_some() {
            return self.write_changes(state, now);
        }
        if self.whole.is_some() { self.write_whole(state, now) } else { Ok(None) }
    }

    /// The next step of a pass over what has changed.
    fn write_changes(&mut self, state: &State, now: Reading) -> io::Result<Option<Event>> {
        let (Some(changes), Some(journal)) = (&mut self.changes, &mut self.journal) else {
            return Ok(None);
        };
        let (step, bytes) = changes.step(state, now, |part, at, out| part.some_changed(at, out));
        journal.append(&bytes)?;
        if step == Step::More {
            return Ok(None);
        }
        journal.settle(changes.bytes > 0)?;
        self.journal_bytes = self.journal_bytes.saturating_add(changes.bytes);
        self.due = changes.began.saturating_add(self.every);
        let written = changes.written(now);
        self.changes = None;
        if self.whole.is_none() && self.wants_snapshot() {
            self.begin_whole(state, now)?;
        }
        Ok(Some(Event::Journal(written)))
    }

    /// The next step of a snapshot, and its end.
    fn write_whole(&mut self, state: &State, now: Reading) -> io::Result<Option<Event>> {
        let Some((work, file)) = &mut self.whole else {
            return Ok(None);
        };
        let (step, bytes) = work.step(state, now, |part, at, out| part.some(at, out));
        file.write_all(&bytes)?;
        if step == Step::More {
            return Ok(None);
        }
        let mut end = Output::begin(now.nanos);
        end.record(Kind::End as u8, |_| {});
        let end = block(now, &end);
        file.write_all(&end)?;
        file.sync_all()?;
        work.bytes += end.len() as u64;
        let written = work.written(now);
        self.whole = None;
        self.folder.replace_snapshot()?;
        self.snapshot_bytes = written.bytes;
        for number in self.folder.journals()?.into_iter().filter(|number| *number < self.number) {
            self.folder.remove(&self.folder.journal(number));
        }
        (self.needs_snapshot, self.wait) = (false, self.every);
        Ok(Some(Event::Snapshot { written, is_relief: self.trouble.take().is_some() }))
    }

    fn wants_snapshot(&self) -> bool {
        let most = self.snapshot_bytes.saturating_mul(JOURNAL_FACTOR).max(LEAST_JOURNAL);
        let is_long = self.journal_bytes > most || self.journals > MOST_JOURNALS;
        self.needs_snapshot || is_long && !self.is_ending
    }

    /// A snapshot is begun together with the journal that goes on from it: until it is
    /// complete the old one and all journals hold, then it and that one.
    fn begin_whole(&mut self, state: &State, now: Reading) -> io::Result<()> {
        self.begin_journal(state, now)?;
        (self.journals, self.journal_bytes) = (1, 0);
        let mut file = create(&self.folder.new_snapshot())?;
        let opening = self.opening(What::Snapshot, state, now);
        file.write_all(&opening)?;
        let mut work = Work::begin(now);
        work.bytes = opening.len() as u64;
        self.whole = Some((work, file));
        Ok(())
    }

    fn begin_journal(&mut self, state: &State, now: Reading) -> io::Result<()> {
        self.number = self.number.saturating_add(1);
        let path = self.folder.journal(self.number);
        let file = create(&path)?;
        let of = file.metadata()?;
        let opening = self.opening(What::Journal, state, now);
        let least = opening.len() as u64;
        let mut journal = Journal { file, path, inode: (of.dev(), of.ino()), bytes: 0, least };
        let begun = journal.append(&opening).and_then(|()| journal.file.sync_all());
        if let Err(error) = begun.and_then(|()| self.folder.sync()) {
            journal.cut();
            return Err(error);
        }
        self.journals += 1;
        if let Some(before) = self.journal.replace(journal) {
            before.cut();
        }
        Ok(())
    }

    /// What a file begins with.
    fn opening(&self, what: What, state: &State, now: Reading) -> Vec<u8> {
        let mut bytes = Head { what, number: self.number, run: self.run }.to_bytes();
        bytes.extend(state.secret.block(now));
        bytes
    }

    /// After a failure. A snapshot follows, so that nothing is lost by what was not noted.
    fn begin_anew(&mut self, state: &State, now: Reading) -> io::Result<()> {
        self.folder.reopen().map_err(|refused| match refused {
            Refused::Io(_, error) => error,
            Refused::InUse(_) => {
                io::Error::new(io::ErrorKind::WouldBlock, told(self.folder.path(), &refused))
            }
        })?;
        state.watch(true);
        self.begin_journal(state, now)
    }

    fn fail(&mut self, error: &io::Error, state: &State, now: Reading) -> Event {
        state.watch(false);
        if let Some(journal) = self.journal.take() {
            journal.cut();
        }
        self.drop_whole();
        self.changes = None;
        self.needs_snapshot = true;
        self.due = now.nanos.saturating_add(self.wait);
        self.wait = self.wait.saturating_mul(2).min(LONGEST_WAIT).max(self.every);
        let is_news = self.trouble.replace(error.kind()) != Some(error.kind());
        Event::Failed { why: format!("{}: {error}", self.folder.path().display()), is_news }
    }

    fn drop_whole(&mut self) {
        if self.whole.take().is_some() {
            self.folder.remove(&self.folder.new_snapshot());
        }
    }
}

impl Work {
    fn begin(now: Reading) -> Self {
        Self { pass: Pass::default(), began: now.nanos, bytes: 0 }
    }

    /// What is to be written, if anything.
    fn step(&mut self, state: &State, now: Reading, step: PartStep) -> (Step, Vec<u8>) {
        let mut out = Output::begin(now.nanos);
        let mut last = Step::More;
        for _ in 0..STEPS {
            last = self.pass.step(state, &mut out, step);
            if last == Step::Done || out.is_full() {
                break;
            }
        }
        let bytes = if out.count() > 0 { block(now, &out) } else { Vec::new() };
        self.bytes += bytes.len() as u64;
        (last, bytes)
    }

    fn written(&self, now: Reading) -> Written {
        let took = Duration::from_nanos(now.nanos.saturating_sub(self.began));
        Written { bytes: self.bytes, took }
    }
}

impl Journal {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Sees that what was written is on the disk, and that the file still has its name.
    fn settle(&self, is_changed: bool) -> io::Result<()> {
        if is_changed {
            self.file.sync_data()?;
        }
        if !self.has_its_name()? {
            return Err(io::Error::new(io::ErrorKind::NotFound, "its files were removed or replaced"));
        }
        Ok(())
    }

    /// Leaves no half block behind, and no empty file: a disk that fails for days is tried
    /// again a thousand times a day.
    fn cut(self) {
        if self.bytes <= self.least && self.has_its_name().is_ok_and(|has| has) {
            let _ = fs::remove_file(&self.path);
            return;
        }
        // A reader would stop there just so.
        let _ = self.file.set_len(self.bytes);
    }

    fn has_its_name(&self) -> io::Result<bool> {
        let of = fs::symlink_metadata(&self.path)?;
        Ok((of.dev(), of.ino()) == self.inode)
    }
}

impl State {
    fn watch(&self, is_watched: bool) {
        self.parts().into_iter().for_each(|part| part.watch(is_watched));
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::FileTooLarge;
    use io::ErrorKind::QuotaExceeded;
    use io::ErrorKind::StorageFull;
    matches!(error.kind(), FileTooLarge | QuotaExceeded | StorageFull)
}

fn told(path: &Path, refused: &Refused) -> String {
    let path = path.display();
    match refused {
        Refused::InUse(holder) => {
            let holder = if holder.is_empty() { String::new() } else { format!(" (process {holder})") };
            format!("state.dir {path} is in use by another gatepost{holder}; give each its own")
        }
        Refused::Io(what, error) => format!("state.dir {path} {what}: {error}"),
    }
}
