//! A whole message: its parts, and what is in them decoded in every plausible way
//! and handed on to be looked at.
//!
//! A part that is encoded may itself be a message or a multipart; it becomes a text
//! of its own, read after the one that it is in. So nothing recurses, and what is
//! decoded all in all has a bound that grows with the body alone.

use crate::content;
use crate::content::Budget;
use crate::content::File;
use crate::content::Given;
use crate::content::Kind;
use crate::content::Kinds;
use crate::content::Names;
use crate::content::Stop;
use crate::message::encoding;
use crate::message::encoding::Decoder;
use crate::message::encoding::Encoding;
use crate::message::encoding::MAX_BLOCKS;
use crate::message::part::Part;
use crate::message::part_header::PartHeader;
use crate::message::part_header::split_field;
use crate::message::parts::MAX_DEPTH;
use crate::message::parts::Origin;
use crate::message::parts::Parts;
use crate::message::scan::Begin;
use crate::message::scan::Leaf;
use crate::message::scan::scan;
use crate::message::smime;
use crate::message::text::Text;
use crate::message::tnef;
use crate::message::trick::Trick;
use crate::message::wants::Wants;
use std::collections::VecDeque;

/// Texts decoded of one message, for each byte of its body: encoded messages within
/// each other, each in as many readings as it has.
const MAX_TEXT_RATIO: usize = 4;
/// The same for any message.
const FREE_TEXT_BYTES: usize = 1 << 20;
/// Of a message within its kind alone is looked for: all that is in it are parts.
const MAX_MESSAGE_BEGIN_BYTES: usize = 64 << 10;

/// Of a text the beginning of which may be a header field.
const MAX_FIELD_NAME_BYTES: usize = 80;

/// Of what a message within may be; its fields alone are text.
const READ_AS_A_MESSAGE: Kinds = Kinds::NONE.with(Kind::Empty).with(Kind::Message).with(Kind::Text);

/// Who looks at files: [`content::examine`].
pub(super) type Examine<'a> = dyn FnMut(Given<'_>, content::Wants, &mut Budget, &mut Vec<File>) + 'a;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub parts: Vec<Part>,
    /// Each with its part.
    pub files: Vec<(u32, File)>,
    pub tricks: Vec<Trick>,
    pub text: String,
    /// The first cap that was hit, in words.
    pub limit: Option<&'static str>,
}

pub(super) fn read(
    header: PartHeader,
    body: &[u8],
    wants: Wants,
    stop: &Stop,
    examine: &mut Examine<'_>,
) -> Findings {
    let mut reader = Reader {
        wants,
        stop,
        examine,
        parts: Parts::default(),
        decoder: Decoder::new(stop.clone()),
        files: Files { budget: Budget::new(stop.clone()), list: Vec::new(), parts: Vec::new() },
        text: Text::default(),
        texts: VecDeque::new(),
        text_bytes_left: body.len().saturating_mul(MAX_TEXT_RATIO).saturating_add(FREE_TEXT_BYTES),
    };
    reader.parts.tricks.add_if(memchr::memchr(0, body).is_some(), Trick::NulInBody);
    reader.read_text(body, Begin::Message(header));
    while let Some((text, begin)) = reader.texts.pop_front() {
        reader.read_text(&text, begin);
    }
    let limit = reader.parts.limit().or(reader.files.budget.limit()).or(reader.text.limit());
    Findings {
        tricks: reader.parts.tricks.iter().collect(),
        parts: reader.parts.into_list(),
        files: reader.files.parts.into_iter().zip(reader.files.list).collect(),
        text: reader.text.into_string(),
        limit,
    }
}

struct Reader<'a, 'e> {
    wants: Wants,
    stop: &'a Stop,
    examine: &'a mut Examine<'e>,
    parts: Parts,
    decoder: Decoder,
    files: Files,
    text: Text,
    /// Decoded, still to be read.
    texts: VecDeque<(Vec<u8>, Begin)>,
    text_bytes_left: usize,
}

/// The list that archives count in, and beside each file its part.
struct Files {
    budget: Budget,
    list: Vec<File>,
    parts: Vec<u32>,
}

impl Reader<'_, '_> {
    fn read_text(&mut self, bytes: &[u8], begin: Begin) {
        let mut found = scan(bytes, begin, &mut self.parts, self.stop);
        found.leaves.sort_by_key(|leaf| leaf.part);
        for leaf in &found.leaves {
            if self.stop.is_wanted() {
                return self.parts.hit("no time was left to look into all parts");
            }
            let content = bytes.get(leaf.content.clone()).unwrap_or_default();
            if leaf.origin == Origin::Within && self.wants.text {
                self.text.add_header(bytes.get(leaf.header.clone()).unwrap_or_default());
            }
            if leaf.media.is_multipart || leaf.media.is_message {
                self.open(leaf, content);
            }
            // One without parts is a file to those who see none either.
            if !leaf.media.is_multipart || self.parts.children(leaf.part) == 0 {
                self.take(leaf, content);
            }
            if let Some(from) = leaf.broken_at
                && let Some(content) = bytes.get(from..leaf.content.end)
                && !leaf.media.is_multipart
            {
                self.take(leaf, content);
            }
        }
        for (part, gap) in found.gaps {
            let text = bytes.get(gap).unwrap_or_default();
            if self.take_blocks(part, text) {
                self.parts.tricks.add(Trick::PartOutside);
            }
        }
    }

    /// A multipart or message that is encoded as a whole.
    fn open(&mut self, leaf: &Leaf, content: &[u8]) {
        if leaf.level.depth > MAX_DEPTH {
            return;
        }
        let has_parts = self.parts.children(leaf.part) > 0;
        let mut decoder = std::mem::take(&mut self.decoder);
        decoder.begin();
        for encoding in leaf.encodings.iter().filter(|encoding| **encoding != Encoding::Identity) {
            // Whoever writes it on a multipart means the parts, if there are no others.
            if has_parts && *encoding == Encoding::QuotedPrintable && !has_hidden_line(content) {
                continue;
            }
            decoder.decode(*encoding, content, |bytes| {
                if bytes == content || bytes.is_empty() {
                    return;
                }
                self.parts.tricks.add_if(has_parts || leaf.media.is_multipart, Trick::EncodedMultipart);
                let Some(left) = self.text_bytes_left.checked_sub(bytes.len()) else {
                    return self.parts.hit("more encoded messages within each other than are read");
                };
                self.text_bytes_left = left;
                let begin = match leaf.media.is_multipart {
                    true => Begin::Multipart(leaf.level, leaf.boundaries.clone()),
                    false => Begin::Within(leaf.level),
                };
                self.texts.push_back((bytes.to_vec(), begin));
            });
        }
        self.decoder = decoder;
    }

    /// A part that is no multipart: a file, in each of its readings.
    fn take(&mut self, leaf: &Leaf, content: &[u8]) {
        let part = self.parts.get(leaf.part);
        let names = part.map(|part| part.names.clone()).unwrap_or_default();
        let is_attached = part.is_some_and(|part| part.disposition.as_deref() == Some("attachment"));
        let first = leaf.encodings.first().copied().unwrap_or(Encoding::Identity);
        let is_tnef = tnef::may_be(&leaf.media.types, &names);
        // A message within is text by its parts.
        let is_text = leaf.media.is_text && !leaf.media.is_message;
        let is_shown = is_text && names.is_empty() && !is_attached;
        let has_inner = is_tnef || smime::may_be(&leaf.media.types, &names);
        // A file written into a text has a name of its own.
        let is_wanted = self.wants.looks_into_files()
            || has_inner
            || is_text && (self.wants.text || first != Encoding::Identity);
        if !is_wanted {
            let size = encoding::decoded_len(first, content);
            self.parts.set_size(leaf.part, size);
            self.parts.tricks.add_if(!is_shown && encoding::has_junk(first, content), junk_of(first));
            self.files.add(leaf.part, File { names, size: size as u64, ..File::default() });
            if may_have_blocks(is_text, content) {
                self.take_blocks(leaf.part, content);
            }
            return;
        }
        let mut decoder = std::mem::take(&mut self.decoder);
        decoder.begin();
        let mut encodings = leaf.encodings.clone();
        // Whoever overlooks what is missing decodes it all the same.
        if !is_shown && encodings == [Encoding::Identity] && encoding::looks_like_base64(content) {
            encodings.push(Encoding::Base64);
        }
        let mut is_first = true;
        for encoding in encodings {
            decoder.decode(encoding, content, |bytes| {
                if std::mem::take(&mut is_first) {
                    self.parts.set_size(leaf.part, bytes.len());
                    if self.wants.text && is_text {
                        let is_html = leaf.media.types.iter().any(|media_type| media_type.contains("html"));
                        self.text.add(bytes, leaf.media.charset.as_deref(), is_html);
                    }
                }
                self.take_bytes(leaf, &names, bytes, is_tnef);
            });
        }
        if !is_shown {
            decoder.tricks.iter().for_each(|trick| self.parts.tricks.add(trick));
        }
        if let Some(limit) = decoder.limit {
            self.parts.hit(limit);
        }
        self.decoder = decoder;
    }

    /// One reading of it.
    fn take_bytes(&mut self, leaf: &Leaf, names: &[String], bytes: &[u8], is_tnef: bool) {
        let at = self.files.list.len();
        match leaf.media.types.as_slice() {
            [] => self.examine(leaf, Given { bytes, names, media_type: None }),
            types => {
                // Doubled fields are two files.
                for media_type in types.iter().take(2) {
                    self.examine(leaf, Given { bytes, names, media_type: Some(media_type) });
                }
            }
        }
        if is_tnef || tnef::begins(bytes) {
            self.take_tnef(leaf.part, at, bytes);
        } else if let Some((content, is_signed)) = smime::content(bytes) {
            self.take_signed(leaf, at, names, content, is_signed);
        } else if may_have_blocks(leaf.media.is_text && !leaf.media.is_message, bytes) {
            self.take_blocks(leaf.part, bytes);
        }
    }

    /// A file, and if it looks so header and body as of a message within.
    fn take_signed(&mut self, leaf: &Leaf, at: usize, names: &[String], content: Vec<u8>, is_signed: bool) {
        if is_signed || leaf.level.depth > MAX_DEPTH {
            self.parts.hit("more signatures within each other than are read");
        }
        let Some(left) = self.text_bytes_left.checked_sub(content.len()) else {
            return self.parts.hit("more encoded messages within each other than are read");
        };
        self.text_bytes_left = left;
        let within = u32::try_from(at).ok().filter(|_| at < self.files.list.len());
        let mut inner = Names::default();
        names.iter().for_each(|name| inner.add(smime::name_of_content(name)));
        self.take_inner(leaf.part, &inner.found, &content, within);
        let begin = content.get(..MAX_FIELD_NAME_BYTES).unwrap_or(&content);
        if split_field(begin).is_some() && leaf.level.depth <= MAX_DEPTH {
            self.texts.push_back((content, Begin::Within(leaf.level)));
        }
    }

    fn examine(&mut self, leaf: &Leaf, given: Given<'_>) {
        if !self.wants.looks_into_files() {
            let size = given.bytes.len() as u64;
            return self.files.add(leaf.part, File { names: given.names.to_vec(), size, ..File::default() });
        }
        if !leaf.media.is_message {
            return self.examine_file(leaf.part, given, self.wants.content, None);
        }
        // Messages within each other would be looked at once for each around them.
        let begin = given.bytes.get(..MAX_MESSAGE_BEGIN_BYTES).unwrap_or(given.bytes);
        let is_outermost = self.parts.get(leaf.part).is_some_and(|part| self.is_outermost(part));
        let wants = match is_outermost {
            true => content::Wants { inside: false, ..self.wants.content },
            false => content::Wants { inside: false, hashes: false, ..self.wants.content },
        };
        let bytes = if wants.hashes { given.bytes } else { begin };
        let at = self.files.list.len();
        self.examine_file(leaf.part, Given { bytes, ..given }, wants, None);
        // What is no message whatever its type says is a file to whoever saves it.
        let kinds = self.files.list.get(at).map_or(Kinds::NONE, |file| file.kinds);
        if self.wants.content.inside && !kinds.is_empty() && !kinds.has_any(READ_AS_A_MESSAGE) {
            self.files.list.truncate(at);
            self.files.parts.truncate(at);
            return self.examine_file(leaf.part, given, self.wants.content, None);
        }
        if let Some(file) = self.files.list.get_mut(at) {
            file.size = given.bytes.len() as u64;
        }
    }

    /// Whether it is in the message itself, not in one within.
    fn is_outermost(&self, part: &Part) -> bool {
        let mut within = part.within;
        while let Some(around) = within.and_then(|part| self.parts.get(part)) {
            let is_message = around.content_type.as_deref().is_some_and(|t| t.starts_with("message/"));
            if is_message {
                return false;
            }
            within = around.within;
        }
        true
    }

    fn examine_file(&mut self, part: u32, given: Given<'_>, wants: content::Wants, within: Option<u32>) {
        let at = self.files.list.len();
        (self.examine)(given, wants, &mut self.files.budget, &mut self.files.list);
        self.files.parts.resize(self.files.list.len(), part);
        if let Some(file) = self.files.list.get_mut(at) {
            file.within = within;
        }
    }

    /// Files that were written into a text; whether there are any.
    fn take_blocks(&mut self, part: u32, text: &[u8]) -> bool {
        let blocks = encoding::blocks(text, None);
        if blocks.len() >= MAX_BLOCKS {
            self.parts.hit("more files in a text than are read");
        }
        let mut buffer = Vec::new();
        for block in &blocks {
            if self.stop.is_wanted() {
                self.parts.hit("no time was left to look into all parts");
                break;
            }
            let mut names = Names::default();
            names.add(&String::from_utf8_lossy(&block.name));
            if !block.decode(&mut buffer) {
                self.parts.hit("more in a file of BinHex than is unpacked");
            }
            self.take_inner(part, &names.found, &buffer, None);
        }
        !blocks.is_empty()
    }

    fn take_tnef(&mut self, part: u32, at: usize, bytes: &[u8]) {
        let within = u32::try_from(at).ok().filter(|_| at < self.files.list.len());
        let found = tnef::attachments(bytes);
        if let Some(limit) = found.limit {
            self.parts.hit(limit);
        }
        if self.wants.text {
            for (text, is_html) in &found.texts {
                self.text.add(text, None, *is_html);
            }
        }
        for attachment in found.attachments {
            self.take_inner(part, &attachment.names, attachment.bytes, within);
        }
    }

    fn take_inner(&mut self, part: u32, names: &[String], bytes: &[u8], within: Option<u32>) {
        if self.wants.looks_into_files() {
            return self.examine_file(
                part,
                Given { bytes, names, media_type: None },
                self.wants.content,
                within,
            );
        }
        let size = bytes.len() as u64;
        self.files.add(part, File { names: names.to_vec(), size, within, ..File::default() });
    }
}

impl Files {
    /// One that nobody looks into.
    fn add(&mut self, part: u32, file: File) {
        if self.budget.take_file() {
            self.list.push(file);
            self.parts.push(part);
        }
    }
}

/// Whether files may be written into it: into a text anywhere, into anything else at its
/// beginning.
fn may_have_blocks(is_text: bool, bytes: &[u8]) -> bool {
    let begin = bytes.trim_ascii_start();
    is_text
        || [&b"begin "[..], b"begin-base64 ", b"=ybegin ", b"(This file must be"]
            .iter()
            .any(|mark| begin.starts_with(mark))
}

/// Whether a line that may be a boundary is one only once this is decoded.
fn has_hidden_line(quoted: &[u8]) -> bool {
    let is_boundary = |line: &&[u8]| matches!(line, [b'-', b'-', rest @ ..] if !rest.trim_ascii().is_empty());
    let lines = quoted.split_inclusive(|byte| *byte == b'\n');
    let text: Vec<u8> = lines.filter(|line| !is_boundary(line)).flatten().copied().collect();
    let mut decoder = Decoder::default();
    let mut has_hidden = false;
    decoder.decode(Encoding::QuotedPrintable, &text, |bytes| {
        has_hidden |= bytes.split(|byte| matches!(byte, b'\r' | b'\n')).any(|line| is_boundary(&line));
    });
    has_hidden
}

fn junk_of(encoding: Encoding) -> Trick {
    match encoding {
        Encoding::QuotedPrintable => Trick::QuotedPrintableJunk,
        _ => Trick::Base64Junk,
    }
}

#[cfg(test)]
mod corpora;
#[cfg(test)]
mod evasion;
