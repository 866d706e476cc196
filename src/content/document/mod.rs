//! What documents hide: macros, scripts, templates fetched from elsewhere, files
//! within.

use super::Budget;
use super::Given;
use super::Kinds;

/// What more it is, beyond what its beginning says. It takes from the budget what it
/// has to unpack; the kinds are those that [`super::magic`] gave it.
pub(super) fn inside(_given: Given<'_>, _kinds: Kinds, _budget: &mut Budget) -> Kinds {
    Kinds::NONE
}
