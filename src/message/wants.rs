//! What is to be known of a message, beyond its header and its size.

use crate::content;

/// What the rules ask for; nothing else is found out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Wants {
    /// Its parts, their names, and what readers disagree about.
    pub parts: bool,
    /// Of the files in it; has `parts` with it.
    pub content: content::Wants,
    /// Its text, decoded.
    pub text: bool,
    /// The body as it came, so that parts of it can be changed; has `parts` with it.
    pub whole: bool,
}

impl Wants {
    pub const NOTHING: Self = Self {
        parts: false,
        content: content::Wants { kinds: false, inside: false, hashes: false, names: false },
        text: false,
        whole: false,
    };

    /// For whoever shows a message.
    pub const ALL: Self = Self {
        parts: true,
        content: content::Wants { kinds: true, inside: true, hashes: true, names: true },
        text: true,
        whole: true,
    };

    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self {
            parts: self.parts || other.parts,
            content: self.content.join(other.content),
            text: self.text || other.text,
            whole: self.whole || other.whole,
        }
    }

    /// Whether files are decoded.
    pub(super) fn looks_into_files(self) -> bool {
        self.content.kinds || self.content.inside || self.content.hashes
    }

    /// Whether the body is looked at.
    pub fn any(self) -> bool {
        self != Self::NOTHING
    }
}
