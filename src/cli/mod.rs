//! The command line: one file a command.

pub mod serve;

use std::io::Write as _;

/// Mistakes were found in what the operator wrote.
pub const FOUND_MISTAKES: u8 = 1;
/// The world is not as it must be: a port in use, a file that is not there.
pub const COULD_NOT_RUN: u8 = 3;

/// A line to standard error.
pub fn complain(text: &str) {
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr(), "{text}");
}
