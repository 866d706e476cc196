//! The folder of the state: its lock, its files and their names, and how each is put
//! there so that a stop at any moment leaves the old or the new.
//!
//! | name | what |
//! | --- | --- |
//! | `lock` | held by the process that writes here |
//! | `snapshot` | everything, once |
//! | `journal-N` | what changed since; read in the order of N |
//! | `snapshot.new` | a snapshot under way; without meaning |
//! | `*.bad-TIME` | what could not be read, set aside |

use std::fs;
use std::fs::File;
use std::fs::TryLockError;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

const JOURNAL: &str = "journal-";

/// Of each kind of file so many bad ones are left for a look.
const MAX_BAD: usize = 3;

/// Journals that are read: a process that is killed again and again leaves one each time,
/// until a snapshot takes their place.
const MAX_JOURNALS: usize = 4_096;

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Locked for as long as it is open.
    lock: File,
}

/// Why it can't be had.
#[derive(Debug)]
pub(super) enum Refused {
    /// By the process of that number, as far as it has said so.
    InUse(String),
    Io(&'static str, io::Error),
}

impl Folder {
    /// Makes it if it is not there, and takes its lock.
    pub(super) fn open(path: &Path) -> Result<Self, Refused> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| Refused::Io("can't be made", error))?;
        Ok(Self { path: path.to_owned(), lock: lock(path)? })
    }

    /// Again, if somebody has removed it meanwhile.
    pub(super) fn reopen(&mut self) -> Result<(), Refused> {
        let ours = self.lock.metadata().map(|of| (of.dev(), of.ino())).ok();
        let there = fs::symlink_metadata(self.path.join("lock")).map(|of| (of.dev(), of.ino())).ok();
        if ours.is_none() || ours != there {
            *self = Self::open(&self.path)?;
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn snapshot(&self) -> PathBuf {
        self.path.join("snapshot")
    }

    pub(super) fn new_snapshot(&self) -> PathBuf {
        self.path.join("snapshot.new")
    }

    pub(super) fn journal(&self, number: u64) -> PathBuf {
        self.path.join(format!("{JOURNAL}{number}"))
    }

    /// The numbers of the journals there are, in order; the latest, if there are too many.
    pub(super) fn journals(&self) -> io::Result<Vec<u64>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let digits = name.to_str().and_then(|name| name.strip_prefix(JOURNAL));
            // Only as we write it: no sign, no zero before it.
            let number = digits.and_then(|digits| Some((digits, digits.parse::<u64>().ok()?)));
            found.extend(number.filter(|(digits, n)| n.to_string() == *digits).map(|(_, number)| number));
        }
        found.sort_unstable();
        Ok(found.split_off(found.len().saturating_sub(MAX_JOURNALS)))
    }

    /// Takes away a file that may not be there.
    pub(super) fn remove(&self, path: &Path) {
        // What stays is read again, and says nothing that is not so.
        let _ = fs::remove_file(path);
    }

    /// Puts the new snapshot in the place of the old one.
    pub(super) fn replace_snapshot(&self) -> io::Result<()> {
        fs::rename(self.new_snapshot(), self.snapshot())?;
        self.sync()
    }

    /// That names are on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// Renames what can't be read, and gives its new name.
    pub(super) fn set_aside(&self, path: &Path, seconds: u64) -> io::Result<PathBuf> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kind = if name.starts_with(JOURNAL) { JOURNAL } else { "snapshot" };
        let mut earlier: Vec<(u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.path)?.flatten() {
            let other = entry.file_name().to_string_lossy().into_owned();
            let time = other.rsplit_once(".bad-").and_then(|(_, time)| time.parse().ok());
            if let Some(time) = time.filter(|_| other.starts_with(kind)) {
                earlier.push((time, entry.path()));
            }
        }
        earlier.sort_unstable();
        let too_many = (earlier.len() + 1).saturating_sub(MAX_BAD);
        earlier.iter().take(too_many).for_each(|(_, path)| self.remove(path));
        let aside = self.path.join(format!("{name}.bad-{seconds}"));
        fs::rename(path, &aside)?;
        Ok(aside)
    }
}

/// A new file that nobody else reads, in the place of what had its name: through a link we
/// would write over a file of somebody else.
pub(super) fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

/// Opens a file for reading, if it is one: whatever else has its name could keep us
/// waiting.
pub(super) fn open(path: &Path) -> io::Result<File> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    File::open(path)
}

fn lock(folder: &Path) -> Result<File, Refused> {
    let path = folder.join("lock");
    // A link would have the file emptied that it leads to.
    if fs::symlink_metadata(&path).is_ok_and(|of| !of.is_file()) {
        return Err(Refused::Io("can't be locked", io::Error::other("`lock` in it is not a file")));
    }
    let open = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = open.map_err(|error| Refused::Io("can't be written in", error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.take(32).read_to_string(&mut holder);
            return Err(Refused::InUse(holder.trim().to_owned()));
        }
        Err(TryLockError::Error(error)) => return Err(Refused::Io("can't be locked", error)),
    }
    // Only for whoever is refused.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}
