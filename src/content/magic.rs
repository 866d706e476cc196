//! What a file is by its first bytes, or by those at the places that its kind has
//! them; and for text, which has none, by its name and what it begins with.

use super::Given;
use super::Kind;
use super::Kinds;

/// All kinds that it may be taken for.
pub(super) fn kinds(given: Given<'_>) -> Kinds {
    let mut kinds = Kinds::NONE;
    if given.bytes.starts_with(b"MZ") {
        kinds.add(Kind::Executable);
    }
    kinds
}
