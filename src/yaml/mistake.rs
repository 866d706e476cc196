//! What is wrong in a file, where, and how that is shown.

use crate::secret::without_keys;
use std::fmt;
use std::sync::Arc;

/// Where something stands in its file. Both count from 1; columns are characters.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Place {
    pub line: usize,
    pub col: usize,
}

/// A file's name and text, shared by all that was read from it.
#[derive(Debug)]
pub struct Source {
    /// As it is shown: relative to the directory that was loaded.
    pub name: String,
    pub text: String,
}

impl Source {
    /// One line, counted from 1, without its end.
    pub fn line(&self, line: usize) -> &str {
        self.text.lines().nth(line.saturating_sub(1)).unwrap_or_default()
    }
}

/// One thing that is wrong in a file, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    pub file: String,
    /// Absent for what concerns the file as a whole.
    pub place: Option<Place>,
    pub message: String,
    /// The line of the file, for the reader.
    pub source_line: String,
    /// The world's fault rather than the text's: a file that isn't there.
    pub is_unread: bool,
}

impl Mistake {
    /// A mistake that concerns a file as a whole, such as one that can't be opened.
    pub fn whole(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            place: None,
            message: message.into(),
            source_line: String::new(),
            is_unread: false,
        }
    }

    /// A file that can't be read at all.
    pub fn unread(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self { is_unread: true, ..Self::whole(file, message) }
    }

    /// A mistake at `place` of `source`.
    pub fn at(source: &Source, place: Place, message: impl Into<String>) -> Self {
        Self {
            file: source.name.clone(),
            place: Some(place),
            message: message.into(),
            source_line: source.line(place.line).trim().to_owned(),
            is_unread: false,
        }
    }
}

/// Keys of zones are not shown: what is printed ends up in tickets and chats.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(Place { line, col }) = self.place {
            write!(f, ":{line}:{col}")?;
        }
        write!(f, ": {}", without_keys(&self.message))?;
        if !self.source_line.is_empty() {
            write!(f, "\n    {}", without_keys(&self.source_line))?;
        }
        Ok(())
    }
}

/// Mistakes of one file as they are found, in any order.
#[derive(Debug)]
pub struct Mistakes {
    pub source: Arc<Source>,
    pub found: Vec<Mistake>,
}

impl Mistakes {
    pub fn new(source: Arc<Source>) -> Self {
        Self { source, found: Vec::new() }
    }

    pub fn add(&mut self, place: Place, message: impl Into<String>) {
        self.found.push(Mistake::at(&self.source, place, message));
    }
}
