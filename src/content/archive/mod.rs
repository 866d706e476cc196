//! Archives of all kinds, opened within each other.

use super::Budget;
use super::File;
use super::Given;
use super::Kinds;
use super::Wants;
use super::document;
use super::magic;

/// Adds the file, and what is in it.
pub(super) fn examine(given: Given<'_>, wants: Wants, budget: &mut Budget, files: &mut Vec<File>) {
    let mut kinds = Kinds::NONE;
    if wants.kinds || wants.inside {
        kinds = magic::kinds(given);
    }
    if wants.inside {
        kinds.join(document::inside(given, kinds, budget));
    }
    let size = given.bytes.len() as u64;
    files.push(File { names: given.names.to_vec(), kinds, size, sha256: None, within: None });
}
