//! One text of header and body into its parts, in one pass.
//!
//! It is a stranger's, and made to be read differently by others. What may be a part
//! to any reader is one here: a part too many costs nothing, a part unseen is a hole.
//! Nothing is copied but the content fields of the part header now read, nothing
//! recurses, and every byte is looked at a fixed number of times. Where a cap is hit,
//! that is said (`limit`); where readers would differ, too (`tricks`).
//!
//! It does not decode: what is in a part that is encoded is a text of its own.

use crate::content::Stop;
use crate::message::boundaries::Added;
use crate::message::boundaries::Boundaries;
use crate::message::boundaries::Delimiter;
use crate::message::boundaries::Level;
use crate::message::encoding;
use crate::message::encoding::Encoding;
use crate::message::lines::End;
use crate::message::lines::Line;
use crate::message::lines::Lines;
use crate::message::lines::before_line_end;
use crate::message::lines::is_unseen;
use crate::message::media;
use crate::message::media::Media;
use crate::message::parameters::Field;
use crate::message::part::Place;
use crate::message::part_header::Kind;
use crate::message::part_header::PartHeader;
use crate::message::part_header::begins_content_field;
use crate::message::part_header::split_field;
use crate::message::parts::MAX_DEPTH;
use crate::message::parts::Origin;
use crate::message::parts::Parts;
use crate::message::trick::Trick;
use std::ops::Range;

/// What is shorter has no file in it: as many gaps as lines would take more room than the
/// message.
const MIN_GAP_BYTES: usize = 12;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Text of a part. It has no parts until a boundary comes.
    Body,
    /// A cap was hit, nothing more is read.
    Done,
    /// Before the first boundary or behind the last: no reader shows it, but
    /// some find parts here that have no boundary of ours.
    Gap,
    Header,
    /// The first lines behind a header without fields: some readers skip empty
    /// lines before a header.
    Start,
}

/// A part as it stands in the text, for whoever decodes it.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub part: u32,
    pub header: Range<usize>,
    pub content: Range<usize>,
    /// Where the content begins for those who end a header at what is no field.
    pub broken_at: Option<usize>,
    /// The likeliest first; never none.
    pub encodings: Vec<Encoding>,
    pub media: Media,
    pub level: Level,
    /// Of a multipart.
    pub boundaries: Vec<Vec<u8>>,
    pub origin: Origin,
    /// Of a multipart: that its last boundary came.
    is_ended: bool,
}

/// Where a text of its own comes from.
#[derive(Debug)]
pub(super) enum Begin {
    /// The message: its header was read elsewhere.
    Message(PartHeader),
    /// What a part within was decoded to: header and body of a message.
    Within(Level),
    /// The same of a multipart: boundaries and parts.
    Multipart(Level, Vec<Vec<u8>>),
}

pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    lines: Lines<'a>,
    parts: &'a mut Parts,
    /// Where in the body it stands is told only of what is not decoded.
    has_places: bool,
    state: State,
    boundaries: Boundaries,
    /// Of the part, or in a gap of the parts beside it.
    level: Level,
    /// In a gap: the last line with `--` in front, while only fields have followed.
    guess: &'a [u8],
    /// The header now read, and where it begins.
    header: PartHeader,
    header_start: usize,
    origin: Origin,
    /// Parts whose end has not come, those within behind those around.
    open: Vec<Leaf>,
    /// How many of these are over only with the text.
    outermost: usize,
    gap_start: Option<usize>,
    has_lf: bool,
    has_crlf: bool,
    leaves: Vec<Leaf>,
    gaps: Vec<(u32, Range<usize>)>,
}

/// What was found in one text.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In the order in which they end.
    pub leaves: Vec<Leaf>,
    /// What stands before the first and behind the last boundary of a multipart.
    pub gaps: Vec<(u32, Range<usize>)>,
}

/// Adds the parts of a text to those that are known.
pub(super) fn scan(bytes: &[u8], begin: Begin, parts: &mut Parts, stop: &Stop) -> Found {
    let mut scan = Scan {
        bytes,
        lines: Lines::new(bytes),
        parts,
        has_places: matches!(begin, Begin::Message(_)),
        state: State::Header,
        boundaries: Boundaries::default(),
        level: Level::default(),
        guess: b"",
        header: PartHeader::default(),
        header_start: 0,
        origin: Origin::Message,
        open: Vec::new(),
        outermost: usize::from(!matches!(begin, Begin::Multipart(..))),
        gap_start: None,
        has_lf: false,
        has_crlf: false,
        leaves: Vec::new(),
        gaps: Vec::new(),
    };
    match begin {
        Begin::Message(header) => {
            scan.header = header;
            scan.end_header(0, 0);
            if scan.state == State::Start {
                scan.state = State::Body;
            }
        }
        Begin::Within(level) => scan.begin_header(level, Origin::Within, 0),
        Begin::Multipart(level, boundaries) => {
            boundaries.iter().for_each(|boundary| scan.add_boundary(boundary, level));
            scan.begin_gap(level, 0);
        }
    }
    scan.run(stop);
    Found { leaves: scan.leaves, gaps: scan.gaps }
}

impl<'a> Scan<'a> {
    fn run(&mut self, stop: &Stop) {
        loop {
            if self.state == State::Body {
                self.lines.skip_to_dashes();
            }
            let Some(line) = self.lines.next() else { break };
            if stop.is_wanted() {
                self.hit("no time was left to find all parts");
                self.state = State::Done;
            }
            if self.state == State::Done {
                break;
            }
            self.take_line(line);
        }
        if self.state == State::Header {
            self.end_header(self.bytes.len(), self.bytes.len());
        }
        self.end_gap(self.bytes.len());
        while let Some(leaf) = self.open.pop() {
            self.close(leaf, self.bytes.len());
        }
        self.trick_if(self.has_lf && self.has_crlf, Trick::LineEndsMixed);
    }

    fn hit(&mut self, limit: &'static str) {
        self.parts.hit(limit);
    }

    fn trick_if(&mut self, seen: bool, trick: Trick) {
        self.parts.tricks.add_if(seen, trick);
    }

    fn take_line(&mut self, line: Line<'a>) {
        let unseen = match self.state {
            // There it may be a fold.
            State::Header => 0,
            _ => line.text.iter().take_while(|byte| is_unseen(**byte)).count(),
        };
        let shown = line.text.get(unseen..).unwrap_or_default();
        if let Some(delimiter) = self.boundaries.delimiter(shown) {
            self.look_at_end(line.end);
            self.trick_if(unseen > 0, Trick::DelimiterOdd);
            return self.take_delimiter(delimiter, line.start);
        }
        match self.state {
            State::Header => {
                self.look_at_end(line.end);
                match line.text.is_empty() {
                    true => self.end_header(line.start, self.lines.at()),
                    false => self.header.line(line),
                }
            }
            State::Start if line.text.is_empty() => {}
            State::Gap | State::Start if begins_content_field(line.text) => {
                self.trick_if(
                    true,
                    if self.state == State::Gap { Trick::PartOutside } else { Trick::HeaderBroken },
                );
                self.learn_boundary();
                self.end_gap(line.start);
                self.close_to(self.level.multipart, line.start);
                self.begin_header(self.level, Origin::Boundary, line.start);
                self.header.line(line);
            }
            State::Gap => self.guess_boundary(line.text),
            // Or the header begins here, for those who skip the empty line.
            State::Start if split_field(line.text).is_some() || matches!(line.text, [b' ' | b'\t', ..]) => {}
            State::Start => self.state = State::Body,
            State::Body | State::Done => {}
        }
    }

    fn look_at_end(&mut self, end: End) {
        match end {
            End::Cr => self.trick_if(true, Trick::BareCr),
            End::CrLf => self.has_crlf = true,
            End::Lf => self.has_lf = true,
            End::None => {}
        }
    }

    fn guess_boundary(&mut self, line: &'a [u8]) {
        if split_field(line).is_some() {
            return;
        }
        self.guess = line.strip_prefix(b"--").map_or(b"", <[u8]>::trim_ascii_end);
    }

    /// A part has begun behind a boundary that no reading of the field gave: we
    /// have misread it, and the parts that follow have the same.
    fn learn_boundary(&mut self) {
        let guess = std::mem::take(&mut self.guess);
        if !guess.is_empty() && self.state == State::Gap {
            self.add_boundary(guess, self.level);
        }
    }

    fn add_boundary(&mut self, boundary: &[u8], level: Level) {
        match self.boundaries.add(boundary, level) {
            Added::Full => self.hit("more boundaries than are read"),
            Added::Shared => self.trick_if(true, Trick::BoundaryReused),
            Added::New => {}
        }
    }

    fn take_delimiter(&mut self, delimiter: Delimiter, start: usize) {
        if self.state == State::Header {
            self.parts.tricks.add_if(!self.header.is_empty(), Trick::HeaderBroken);
            let end = before_line_end(self.bytes, start).max(self.header_start);
            self.end_header(end, end);
        }
        if self.state == State::Done {
            return;
        }
        self.trick_if(delimiter.is_odd, Trick::DelimiterOdd);
        self.end_gap(start);
        self.close_to(delimiter.level.multipart, start);
        if let Some(multipart) = self.open.last_mut().filter(|leaf| leaf.part == delimiter.level.multipart) {
            let was_ended = multipart.is_ended;
            multipart.is_ended |= delimiter.is_end;
            let is_multipart = multipart.media.is_multipart;
            self.trick_if(was_ended && !delimiter.is_end, Trick::PartOutside);
            self.trick_if(!is_multipart, Trick::TypeOdd);
        } else if self.has_places {
            self.trick_if(!delimiter.is_end, Trick::PartOutside);
        }
        if delimiter.is_end {
            self.begin_gap(delimiter.level, self.lines.at());
        } else {
            self.begin_header(delimiter.level, Origin::Boundary, self.lines.at());
        }
    }

    fn begin_gap(&mut self, level: Level, start: usize) {
        self.level = level;
        self.guess = b"";
        self.gap_start = Some(start);
        self.state = State::Gap;
    }

    fn end_gap(&mut self, end: usize) {
        if let Some(start) = self.gap_start.take().filter(|start| start + MIN_GAP_BYTES <= end) {
            self.gaps.push((self.level.multipart, start..end));
        }
    }

    fn begin_header(&mut self, level: Level, origin: Origin, start: usize) {
        self.level = level;
        self.origin = origin;
        self.header = PartHeader::default();
        self.header_start = start;
        self.guess = b"";
        self.state = State::Header;
    }

    /// All parts up to the multipart are over, if it is not over itself; else those
    /// that are in no open multipart.
    fn close_to(&mut self, multipart: u32, end: usize) {
        let is_open = self.open.iter().any(|leaf| leaf.part == multipart);
        while self.open.len() > self.outermost
            && let Some(leaf) = self.open.pop()
        {
            if leaf.part == multipart || !is_open && leaf.media.is_multipart {
                self.open.push(leaf);
                return;
            }
            self.close(leaf, before_line_end(self.bytes, end));
        }
    }

    fn close(&mut self, mut leaf: Leaf, end: usize) {
        leaf.content.end = end.max(leaf.content.start).min(self.bytes.len());
        if leaf.media.is_multipart && leaf.part != 0 {
            self.trick_if(!leaf.is_ended, Trick::MultipartUnended);
        }
        if leaf.media.is_multipart {
            let is_encoded = leaf.encodings.first() != Some(&Encoding::Identity);
            let has_parts = self.parts.children(leaf.part) > 0;
            self.trick_if(!has_parts && !is_encoded, Trick::BoundaryMissing);
        }
        if self.has_places {
            let whole = match leaf.origin {
                Origin::Message => 0..self.bytes.len(),
                _ => leaf.header.start..leaf.content.end.max(leaf.header.start),
            };
            self.parts.set_place(leaf.part, Place { whole, content: leaf.content.clone() });
        }
        self.leaves.push(leaf);
    }

    /// Where its last line ends, and where behind the empty line the content begins.
    fn end_header(&mut self, end: usize, content: usize) {
        let header = std::mem::take(&mut self.header);
        if let Some(limit) = header.limit() {
            self.hit(limit);
        }
        let fields = header.content();
        self.state = if header.is_empty() { State::Start } else { State::Body };
        if fields.iter().any(|(_, field)| field.is_cut) {
            self.hit("more parameters of a part than are read");
        }
        // What claims to be a message but has no header is the text of its part.
        if self.origin == Origin::Within && header.is_empty() {
            return;
        }
        header.tricks().iter().for_each(|trick| self.parts.tricks.add(trick));
        let media = Media::of(&fields, self.level.is_digest && self.origin == Origin::Boundary);
        media.tricks.iter().for_each(|trick| self.parts.tricks.add(trick));
        let Some(part) = self.parts.add(&fields, self.level, self.origin, media.is_multipart) else {
            self.state = State::Done;
            return;
        };
        let is_untyped = self.origin == Origin::Message && media.types.is_empty();
        let leaf = Leaf {
            part,
            header: self.header_start..end,
            content: content..content,
            broken_at: header.broken_at(),
            encodings: Vec::new(),
            level: Level { depth: self.level.depth + 1, is_digest: media.is_digest, multipart: part },
            media,
            boundaries: Vec::new(),
            origin: self.origin,
            is_ended: false,
        };
        self.open_part(leaf, &fields);
        if is_untyped && self.begins_with_part() {
            self.trick_if(true, Trick::TypeOdd);
            self.begin_gap(Level { depth: 1, ..Level::default() }, 0);
        }
    }

    /// Whether a message that does not say that it has parts begins with one.
    fn begins_with_part(&self) -> bool {
        let mut lines = self.lines.clone().skip_while(|line| line.text.is_empty());
        lines.next().is_some_and(|line| line.text.starts_with(b"--"))
            && lines.next().is_some_and(|line| begins_content_field(line.text))
    }

    fn open_part(&mut self, mut leaf: Leaf, fields: &[(Kind, Field)]) {
        let (encodings, tricks) = encoding::declared(fields);
        tricks.iter().for_each(|trick| self.parts.tricks.add(trick));
        let (boundaries, limit, tricks) = media::boundaries(fields, leaf.media.is_multipart);
        tricks.iter().for_each(|trick| self.parts.tricks.add(trick));
        if let Some(limit) = limit {
            self.hit(limit);
        }
        let (is_multipart, is_message) = (leaf.media.is_multipart, leaf.media.is_message);
        let (level, content) = (leaf.level, leaf.content.start);
        leaf.encodings = encodings;
        leaf.boundaries.clone_from(&boundaries);
        self.open.push(leaf);
        if !is_multipart && !is_message && boundaries.is_empty() {
            return;
        }
        if level.depth > MAX_DEPTH {
            return self.hit("deeper nested parts than are read");
        }
        boundaries.iter().for_each(|boundary| self.add_boundary(boundary, level));
        if is_message {
            self.begin_header(Level { is_digest: false, ..level }, Origin::Within, content);
        } else if is_multipart {
            self.begin_gap(level, content);
        }
    }
}

#[cfg(test)]
mod tests;
