//! Archives of all kinds, opened within each other.
//!
//! They come from strangers and are made to be misread. Each kind has its reader,
//! which looks only at the bytes in memory and puts what it finds into [`opened`];
//! that looks at each file as at any other and so opens archives in archives, not
//! deeper than [`MAX_DEPTH`]. Bytes are made through [`unpack`] alone, which takes
//! them from the budget.

mod arj;
mod bytes;
mod cab;
mod codec;
mod compress;
mod disk;
mod format;
mod iso;
mod lha;
mod opened;
mod rar;
mod seven;
mod stream;
mod tar;
mod udf;
mod unpack;
pub(super) mod zip;

use ring::digest;

use super::Budget;
use super::File;
use super::Given;
use super::Kind;
use super::Kinds;
use super::MAX_DEPTH;
use super::Names;
use super::Wants;
use super::document;
use super::magic;
use format::Format;
use opened::Opened;
use unpack::Allowance;

/// What is opened, if it is what it begins as.
const CALL_FOR_A_READER: Kinds = Kinds::NONE.with(Kind::Archive).with(Kind::DiskImage);

/// Adds the file, and what is in it.
pub(super) fn examine(given: Given<'_>, wants: Wants, budget: &mut Budget, files: &mut Vec<File>) {
    let place = files.len();
    let room = budget.take_file();
    let wants = if room { wants } else { Wants { inside: false, ..wants } };
    look(given, None, 0, wants, budget, files);
    if !room && let Some(file) = files.get_mut(place) {
        file.kinds.add(Kind::Limits);
    }
}

/// A file that stands in `within`, `depth` archives deep. It calls itself by way of
/// the readers, [`MAX_DEPTH`] times at most.
fn look(
    given: Given<'_>,
    within: Option<u32>,
    depth: u8,
    wants: Wants,
    budget: &mut Budget,
    files: &mut Vec<File>,
) {
    let mut kinds = Kinds::NONE;
    if wants.kinds || wants.inside {
        kinds = magic::kinds(given);
    }
    let place = files.len();
    let sha256 = wants.hashes.then(|| sha256(given.bytes)).flatten();
    let size = given.bytes.len() as u64;
    files.push(File { names: given.names.to_vec(), kinds, size, sha256, within, ..File::default() });
    if !wants.inside {
        return;
    }
    let document::Inside { kinds: more, macros, members } = document::inside(given, kinds, budget);
    kinds.join(more);
    if let Some(file) = files.get_mut(place) {
        file.macros = macros;
    }
    let found = Format::of(given);
    if let Some((format, stub)) = found {
        if stub > 0 {
            kinds.add(if kinds.has(Kind::Executable) { Kind::SelfExtracting } else { Kind::Polyglot });
        }
        kinds = kinds.without(Kind::Binary).without(Kind::Text);
        kinds.join(format.kinds());
    } else if kinds.has_any(CALL_FOR_A_READER) && !kinds.has(Kind::Installer) {
        // It begins as one, and none of its readers takes it: some program may all the same.
        kinds.add(Kind::Unscannable);
    }
    if found.is_none() && members.is_empty() {
        return set(files, place, kinds);
    }
    if depth >= MAX_DEPTH {
        budget.give_back(members.iter().map(document::Member::held).sum());
        budget.hit("more archives within each other than are opened");
        return set(files, place, kinds.with(Kind::Limits));
    }
    let mut opened = Opened {
        bytes: given.bytes.get(found.map_or(0, |(_, stub)| stub)..).unwrap_or_default(),
        names: given.names,
        kinds,
        place: u32::try_from(place).unwrap_or(u32::MAX),
        depth,
        wants,
        allowance: Allowance::of(given.bytes),
        budget,
        files,
    };
    if let Some((format, _)) = found {
        format.open(&mut opened);
    }
    for member in members {
        let held = member.held();
        // What does not fit is said there.
        let _ = opened.stored(member.names, &member.bytes);
        drop(member.bytes);
        opened.budget.give_back(held);
    }
    let kinds = opened.kinds;
    set(files, place, kinds);
}

fn set(files: &mut [File], place: usize, kinds: Kinds) {
    if let Some(file) = files.get_mut(place) {
        file.kinds = kinds;
    }
}

fn sha256(bytes: &[u8]) -> Option<[u8; 32]> {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().ok()
}

#[cfg(test)]
mod tests;
