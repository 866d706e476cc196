//! One part of a message, and the names it may be saved under.

use crate::content::Told;
use std::ops::Range;

/// One part, with or without a file name: also each multipart and each message
/// within the message. The first is the message itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Part {
    /// Every name that some client could show or save it under; no two the same.
    /// Control characters have become U+FFFD; nothing else is cleaned.
    pub names: Vec<String>,
    /// What these tell.
    pub told: Told,
    /// `text/plain`: lower-case, of the first Content-Type.
    pub content_type: Option<String>,
    /// `attachment`: lower-case, of the first Content-Disposition.
    pub disposition: Option<String>,
    /// 0 for the message itself.
    pub depth: usize,
    /// `2.1.3`: the first part of the second of the message's third (as IMAP numbers
    /// them, RFC 9051, 6.4.5); empty for the message itself.
    pub path: String,
    /// The part that it is in, by its place in the same list.
    pub within: Option<u32>,
    /// Bytes of its content, decoded.
    pub size: u64,
    /// Where it stands in the body; None: in a part that is encoded itself.
    pub place: Option<Place>,
}

/// Where in the body a part stands, in bytes from its first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// From behind the line of its boundary to before the line end that belongs to the
    /// next one. The message itself: all of the body.
    pub whole: Range<usize>,
    /// Of that what is behind its header and the empty line.
    pub content: Range<usize>,
}
