//! Finds the files of a zip archive: by the directory at its end, and by what stands
//! where that points to nothing.

use memchr::memmem;

use crate::content::Kind;
use crate::content::Kinds;
use crate::content::MAX_FILES;
use crate::content::archive::bytes::place;
use crate::content::archive::bytes::slice;
use crate::content::archive::bytes::u16;
use crate::content::archive::bytes::u32;
use crate::content::archive::bytes::u64;
use crate::content::archive::zip::entry;
use crate::content::archive::zip::entry::CENTRAL;
use crate::content::archive::zip::entry::Entry;
use crate::content::archive::zip::entry::LOCAL;

const END: &[u8] = b"PK\x05\x06";
const END_BYTES: usize = 22;
const END64: &[u8] = b"PK\x06\x06";
const LOCATOR: &[u8] = b"PK\x06\x07";
const LOCATOR_BYTES: usize = 20;
const MAX_COMMENT_BYTES: usize = 65_535;

#[derive(Default)]
pub(super) struct Directory<'a> {
    pub entries: Vec<Entry<'a>>,
    /// Bytes before the archive.
    pub prefix: usize,
    /// What it is, beyond an archive.
    pub kinds: Kinds,
    /// The cap that was hit, in words.
    pub limit: Option<&'static str>,
    /// Bytes of headers that were read before files.
    local_bytes: usize,
}

/// Whether a file that begins as something else ends as a zip archive.
pub(in crate::content::archive) fn ends_as_zip(bytes: &[u8]) -> bool {
    let Some(at) = last_end(bytes) else { return false };
    let is_last =
        u16(bytes, at + 20).is_some_and(|comment| at + END_BYTES + usize::from(comment) == bytes.len());
    is_last && End::read(bytes, at).is_some_and(|end| end.first(bytes).is_some())
}

/// Whether it has a directory near its end, as a program may have that unpacks itself
/// and is signed behind that.
pub(in crate::content::archive) fn has_end(bytes: &[u8]) -> bool {
    last_end(bytes).and_then(|at| End::read(bytes, at)).is_some_and(|end| end.first(bytes).is_some())
}

/// Where the record of the end stands: the last that all of its comment follows.
fn last_end(bytes: &[u8]) -> Option<usize> {
    let from = bytes.len().saturating_sub(END_BYTES + MAX_COMMENT_BYTES);
    let tail = bytes.get(from..)?;
    memmem::rfind_iter(tail, END).map(|at| from + at).find(|at| {
        u16(bytes, at + 20).is_some_and(|comment| at + END_BYTES + usize::from(comment) <= bytes.len())
    })
}

/// What the record of the end says.
struct End {
    /// Where the records of the end begin, and where they end.
    at: usize,
    behind: usize,
    entries: u64,
    size: u64,
    offset: u64,
    /// Files of this name are on several disks.
    is_part: bool,
    /// The short and the long record differ.
    is_doubtful: bool,
}

impl End {
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let comment = usize::from(u16(bytes, at + 20)?);
        let mut end = Self {
            at,
            behind: at + END_BYTES + comment,
            entries: u16(bytes, at + 10)?.into(),
            size: u32(bytes, at + 12)?.into(),
            offset: u32(bytes, at + 16)?.into(),
            is_part: [u16(bytes, at + 4)?, u16(bytes, at + 6)?]
                .iter()
                .any(|disk| !matches!(disk, 0 | 0xFFFF)),
            is_doubtful: false,
        };
        end.widen(bytes);
        Some(end)
    }

    /// Takes the numbers of zip64's record (APPNOTE, 4.3.14), if there is one.
    fn widen(&mut self, bytes: &[u8]) -> Option<()> {
        let locator = self.at.checked_sub(LOCATOR_BYTES)?;
        (slice(bytes, locator, 4)? == LOCATOR).then_some(())?;
        // Where it is said to be, or, if something stands before the archive, right before.
        let said = place(u64(bytes, locator + 8)?);
        let before = locator.checked_sub(56);
        let is_record = |at: &usize| slice(bytes, *at, 4) == Some(END64);
        let at = Some(said).filter(is_record).or(before.filter(is_record))?;
        let wide = [(10, u64(bytes, at + 32)?), (12, u64(bytes, at + 40)?), (16, u64(bytes, at + 48)?)];
        let numbers =
            [(&mut self.entries, 0xFFFF), (&mut self.size, 0xFFFF_FFFF), (&mut self.offset, 0xFFFF_FFFF)];
        for ((number, elsewhere), (_, wide)) in numbers.into_iter().zip(wide) {
            if *number != elsewhere && *number != wide {
                self.is_doubtful = true;
            }
            if *number == elsewhere {
                *number = wide;
            }
        }
        self.at = at;
        Some(())
    }

    /// Where the directory begins, and how much stands before the archive.
    fn first(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        let said = place(self.offset);
        let counted = self.at.checked_sub(place(self.size))?;
        if self.entries == 0 && self.size == 0 {
            return Some((self.at, counted.saturating_sub(said)));
        }
        let is_central = |at: usize| slice(bytes, at, 4) == Some(CENTRAL);
        if is_central(counted) {
            return Some((counted, counted.saturating_sub(said)));
        }
        is_central(said).then_some((said, 0))
    }
}

impl<'a> Directory<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        let mut directory = Self::default();
        let end = last_end(bytes).and_then(|at| End::read(bytes, at));
        let first = end.as_ref().and_then(|end| end.first(bytes));
        let (Some(end), Some((first, prefix))) = (end, first) else {
            // Nothing at the end: some programs read on from the beginning all the same.
            directory.kinds.add(if bytes.starts_with(b"PK\x07\x08") {
                Kind::Unscannable
            } else {
                Kind::Damaged
            });
            directory.hidden(bytes, 0, bytes.len());
            return directory;
        };
        directory.prefix = prefix;
        if end.is_part {
            directory.kinds.add(Kind::Unscannable);
        }
        let behind = directory.listed(bytes, first);
        directory.compare(bytes, &end, first, behind);
        directory
    }

    /// The entries of the directory that begins at `first`; returns where it ends.
    fn listed(&mut self, bytes: &'a [u8], first: usize) -> usize {
        let mut at = first;
        while let Some((header, offset, next)) = entry::central(bytes, at) {
            at = next;
            if self.entries.len() > MAX_FILES {
                self.limit = Some("more files than are listed");
                continue;
            }
            let start = entry::shifted(offset, self.prefix);
            let mut entry = Entry { raw: header.name, size: header.size, start, ..Entry::default() };
            let packed = place(header.packed);
            // Of two directories at most each byte is read: many may name one long header.
            if self.local_bytes > bytes.len().saturating_mul(2) {
                self.limit = Some("more headers of an archive than are read");
            } else if let Some((local, data)) = entry::local(bytes, start) {
                self.local_bytes += data - start;
                (entry.local, entry.data) = (Some(local), data);
                entry.end = data.saturating_add(packed);
            } else {
                self.kinds.add(Kind::Damaged);
            }
            entry.central = Some(header);
            self.entries.push(entry);
        }
        at
    }

    /// Looks for what another program would see.
    fn compare(&mut self, bytes: &'a [u8], end: &End, first: usize, behind: usize) {
        let count = self.entries.len() as u64;
        let is_counted = self.limit.is_some() || count == end.entries || count & 0xFFFF == end.entries;
        // More entries may follow than are counted, and other directories may stand at
        // the place that is said and at that which is counted.
        let said = place(end.offset);
        let is_doubled = said != first && slice(bytes, said, 4) == Some(CENTRAL);
        let tail = bytes.get(behind.max(first)..end.at).unwrap_or_default();
        let signature = tail.starts_with(b"PK\x05\x05");
        if end.is_doubtful
            || !is_counted
            || is_doubled
            || behind > end.at
            || !tail.is_empty() && !signature
            || place(end.size) != behind.saturating_sub(first)
            || said > first
        {
            self.kinds.add(Kind::AmbiguousArchive);
        }
        if is_doubled {
            let prefix = std::mem::take(&mut self.prefix);
            self.listed(bytes, said);
            self.prefix = prefix;
        }
        let comment = bytes.get(end.at + 4..).unwrap_or_default();
        let ends = memmem::find_iter(comment, b"PK\x05\x06").count();
        let is_wide = slice(bytes, end.at, 4) == Some(END64);
        if ends > usize::from(is_wide) {
            self.kinds.add(Kind::AmbiguousArchive);
        }
        if self.entries.iter().any(|entry| !entry.is_agreed(bytes)) || self.has_doubled_names() {
            self.kinds.add(Kind::AmbiguousArchive);
        }
        let known = self.entries.len();
        self.gaps(bytes, first);
        self.hidden(bytes, end.behind, bytes.len());
        if self.entries.len() > known {
            self.kinds.add(Kind::AmbiguousArchive);
        }
    }

    fn has_doubled_names(&self) -> bool {
        let mut names: Vec<_> = self.entries.iter().map(|entry| entry.raw).collect();
        names.sort_unstable();
        names.array_windows().any(|[one, other]| one == other)
    }

    /// Before the directory every byte belongs to one file; what belongs to several,
    /// or to none, is seen by some programs only.
    fn gaps(&mut self, bytes: &'a [u8], first: usize) {
        let known = self.entries.iter().filter(|entry| entry.local.is_some());
        let mut ranges: Vec<_> = known.map(|entry| (entry.start, entry.end)).collect();
        ranges.sort_unstable();
        let mut at = 0;
        let mut gaps = Vec::new();
        for (start, end) in ranges {
            if start < at {
                self.kinds.add(Kind::AmbiguousArchive);
            } else if start > at {
                gaps.push((at, start));
            }
            at = at.max(entry::behind_descriptor(bytes, end));
        }
        if at > first && !self.entries.is_empty() {
            self.kinds.add(Kind::AmbiguousArchive);
        }
        gaps.push((at, first));
        for (start, end) in gaps {
            self.hidden(bytes, start, end);
        }
    }

    /// Files that no directory names, between two places.
    fn hidden(&mut self, bytes: &'a [u8], start: usize, end: usize) {
        let mut at = start;
        while let Some(found) = bytes.get(at..end).and_then(|gap| memmem::find(gap, LOCAL)) {
            let start = at + found;
            at = start + LOCAL.len();
            let Some((header, data)) = entry::local(bytes, start) else { continue };
            if self.entries.len() > MAX_FILES {
                self.limit = Some("more files than are listed");
                return;
            }
            let is_unknown = header.is_described_behind() && header.packed == 0;
            let behind = data.saturating_add(place(header.packed));
            let until = if is_unknown || behind > end { end.max(data) } else { behind };
            if !is_unknown && behind > end {
                self.kinds.add(Kind::Damaged);
            }
            at = if is_unknown { data } else { until };
            self.entries.push(Entry {
                raw: header.name,
                size: header.size,
                is_size_unknown: is_unknown,
                central: None,
                local: Some(header),
                start,
                data,
                end: until,
            });
        }
    }
}
