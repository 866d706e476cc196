//! The boundaries of a message's multiparts, and which of them a line begins with.
//!
//! Boundaries and lines are a stranger's. Every boundary once named is looked for
//! until the message ends: readers differ over when a multipart is over (no end,
//! an end too early, one boundary within or twice, text after the end), and a part
//! that any of them sees must be seen. Held in a trie, so that a line costs no
//! more than its own length, however many boundaries there are and whatever they
//! look like.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// Bytes of one boundary that count. RFC 2046 allows 70, Postfix compares 2,048;
/// as a line need only begin with a boundary, cutting it hides nothing.
const MAX_BOUNDARY_BYTES: usize = 2_048;
/// Nodes of the trie: 900 boundaries of the longest allowed, about 1.5 MiB.
const MAX_NODES: u32 = 65_536;

/// What begins behind a boundary.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Level {
    pub depth: usize,
    /// The multipart, by its place among all parts.
    pub multipart: u32,
    /// Parts that do not say otherwise are messages (RFC 2046, 5.1.5).
    pub is_digest: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Delimiter {
    pub level: Level,
    /// `--boundary--`: the last part is over.
    pub is_end: bool,
    /// More than blanks follows.
    pub is_odd: bool,
}

/// What became of a boundary.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Added {
    /// There is no room for it.
    Full,
    New,
    /// Another multipart has it, or one that begins so, or the beginning of it.
    Shared,
}

#[derive(Debug, Default)]
pub(super) struct Boundaries {
    steps: HashMap<(u32, u8), u32, RandomState>,
    levels: HashMap<u32, Level, RandomState>,
    nodes: u32,
}

impl Boundaries {
    /// The first level of a boundary stays.
    pub(super) fn add(&mut self, boundary: &[u8], level: Level) -> Added {
        let mut node = 0;
        let is_other = |known: Option<&Level>| known.is_some_and(|known| known.multipart != level.multipart);
        let mut is_shared = false;
        let mut is_new = false;
        for &byte in boundary.iter().take(MAX_BOUNDARY_BYTES) {
            is_shared |= is_other(self.levels.get(&node));
            if let Some(&next) = self.steps.get(&(node, byte)) {
                node = next;
                continue;
            }
            if self.nodes >= MAX_NODES {
                return Added::Full;
            }
            is_new = true;
            self.nodes += 1;
            self.steps.insert((node, byte), self.nodes);
            node = self.nodes;
        }
        // One that is no leaf of the trie is the beginning of another.
        is_shared |=
            is_other(self.levels.get(&node)) || node > 0 && !is_new && !self.levels.contains_key(&node);
        self.levels.entry(node).or_insert(level);
        if is_shared { Added::Shared } else { Added::New }
    }

    /// What `line` delimits, if it begins with `--` and a boundary; of several the
    /// longest. What follows is not compared: some readers do, others (Postfix) don't.
    pub(super) fn delimiter(&self, line: &[u8]) -> Option<Delimiter> {
        if self.levels.is_empty() {
            return None;
        }
        let text = line.strip_prefix(b"--")?;
        let mut node = 0;
        let mut found = self.levels.get(&node).map(|&level| (0, level));
        for (&byte, length) in text.iter().zip(1..) {
            let Some(&next) = self.steps.get(&(node, byte)) else { break };
            node = next;
            if let Some(&level) = self.levels.get(&node) {
                found = Some((length, level));
            }
        }
        let (length, level) = found?;
        let rest = text.get(length..).unwrap_or_default();
        let behind = rest.strip_prefix(b"--");
        let is_odd = !behind.unwrap_or(rest).iter().all(|byte| matches!(byte, b' ' | b'\t'));
        Some(Delimiter { level, is_end: behind.is_some(), is_odd })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_boundary_a_line_begins_with_counts() {
        let mut boundaries = Boundaries::default();
        for (text, depth) in [("abc", 1), ("abcdef", 2), ("x", 3), ("abc", 9)] {
            boundaries.add(text.as_bytes(), Level { depth, ..Level::default() });
        }
        for (line, expected) in [
            ("--abc", Some((1, false))),
            ("--abc ", Some((1, false))),
            ("--abc--", Some((1, true))),
            ("--abcde", Some((1, false))),
            ("--abcdef--", Some((2, true))),
            ("--xyz", Some((3, false))),
            ("--ab", None),
            ("-abc", None),
            ("abc", None),
            (" --abc", None),
            ("--", None),
        ] {
            let found = boundaries.delimiter(line.as_bytes()).map(|d| (d.level.depth, d.is_end));
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn a_boundary_that_another_multipart_may_see_is_told() {
        let mut boundaries = Boundaries::default();
        let of = |multipart| Level { multipart, ..Level::default() };
        for (boundary, multipart, expected) in [
            ("abc", 1, Added::New),
            ("abc", 1, Added::New),
            ("abd", 2, Added::New),
            ("abc", 2, Added::Shared),
            ("abcd", 2, Added::Shared),
            ("ab", 2, Added::Shared),
            ("x", 3, Added::New),
        ] {
            assert_eq!(boundaries.add(boundary.as_bytes(), of(multipart)), expected, "{boundary}");
        }
        for (line, is_odd) in
            [("--x", false), ("--x \t", false), ("--x--", false), ("--x-- y", true), ("--xy", true)]
        {
            assert_eq!(boundaries.delimiter(line.as_bytes()).unwrap().is_odd, is_odd, "{line}");
        }
    }

    #[test]
    fn an_empty_boundary_is_found_in_every_delimiter() {
        let mut boundaries = Boundaries::default();
        boundaries.add(b"", Level { depth: 1, ..Level::default() });
        assert!(boundaries.delimiter(b"--").is_some());
        assert!(boundaries.delimiter(b"----").unwrap().is_end);
        assert!(boundaries.delimiter(b"-").is_none());
    }

    #[test]
    fn boundaries_are_cut_and_their_sum_is_bounded() {
        let mut boundaries = Boundaries::default();
        let level = Level { depth: 1, ..Level::default() };
        assert_eq!(boundaries.add(&vec![b'a'; 1 << 20], level), Added::New);
        assert_eq!(boundaries.nodes as usize, MAX_BOUNDARY_BYTES);
        let full = (0..10_000)
            .any(|n| boundaries.add(format!("{n}{}", "x".repeat(70)).as_bytes(), level) == Added::Full);
        assert!(full && boundaries.nodes <= MAX_NODES);
    }
}
