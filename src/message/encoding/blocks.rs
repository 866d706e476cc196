//! Files written into a text, as they were before MIME: uuencode, yEnc, BinHex. Mail
//! clients show them as attachments.

use memchr::memchr;
use memchr::memmem;

use crate::content::Stop;
use crate::message::encoding::Encoding;
use crate::message::encoding::base64;
use crate::message::encoding::binhex;
use crate::message::encoding::uuencode;
use crate::message::encoding::uuencode::split_line;
use crate::message::encoding::yenc;

/// Files read out of one text.
pub(in crate::message) const MAX_BLOCKS: usize = 1_000;

/// Between the line that names BinHex and the colon that begins it.
const MAX_COMMENT_BYTES: usize = 4_096;

/// One file, still encoded.
pub(in crate::message) struct Block<'a> {
    pub name: Vec<u8>,
    encoding: Encoding,
    text: &'a [u8],
}

impl Block<'_> {
    /// Into the buffer, whatever was in it; false: there was more than is unpacked.
    pub(in crate::message) fn decode(&self, buffer: &mut Vec<u8>) -> bool {
        buffer.clear();
        match self.encoding {
            Encoding::BinHex => return binhex::push(buffer, self.text),
            Encoding::YEnc => yenc::push(buffer, self.text),
            Encoding::Base64 => {
                let mut scratch = Vec::new();
                base64::readings(self.text, &Stop::default(), &mut scratch, |bytes, _| {
                    if buffer.is_empty() {
                        buffer.extend_from_slice(bytes);
                    }
                });
            }
            _ => uuencode::push_lines(buffer, self.text),
        }
        true
    }
}

/// Those of one encoding, which the part says it has, or of all.
pub(in crate::message) fn blocks(text: &[u8], only: Option<Encoding>) -> Vec<Block<'_>> {
    let is_wanted = |encoding| only.is_none_or(|only| only == encoding);
    let mut found = Vec::new();
    if is_wanted(Encoding::Uuencode) {
        add_all(&mut found, text, b"begin", uuencoded);
    }
    if is_wanted(Encoding::YEnc) {
        add_all(&mut found, text, b"=ybegin ", yencoded);
    }
    if is_wanted(Encoding::BinHex) {
        add_all(&mut found, text, b"(This file must be converted with BinHex", binhexed);
        if found.is_empty() && only.is_some() {
            found.extend(binhexed(text).map(|(block, _)| block));
        }
    }
    found
}

/// Looks at each line that begins so; `read` says where the file ends.
fn add_all<'a>(
    found: &mut Vec<Block<'a>>,
    text: &'a [u8],
    begin: &[u8],
    read: impl Fn(&'a [u8]) -> Option<(Block<'a>, usize)>,
) {
    let finder = memmem::Finder::new(begin);
    let mut at = 0;
    while let Some(next) = text.get(at..).and_then(|rest| finder.find(rest)) {
        let start = at + next;
        at = start + begin.len();
        let before = start.checked_sub(1).and_then(|before| text.get(before));
        // Behind a lone carriage return the end of the line may be far, again and again.
        if before.is_some_and(|byte| *byte != b'\n') {
            continue;
        }
        if found.len() >= MAX_BLOCKS {
            return;
        }
        if let Some((block, length)) = text.get(start..).and_then(&read) {
            found.push(block);
            at = at.max(start + length);
        }
    }
}

/// `begin 644 name`, or `begin-base64 644 name`.
fn uuencoded(text: &[u8]) -> Option<(Block<'_>, usize)> {
    let (line, body) = split_line(text)?;
    let rest = line.strip_prefix(b"begin")?;
    let (encoding, rest) = match rest.strip_prefix(b"-base64") {
        Some(rest) => (Encoding::Base64, rest),
        None => (Encoding::Uuencode, rest),
    };
    let mode = rest.strip_prefix(b" ")?.trim_ascii_start();
    let digits = mode.iter().take_while(|b| (b'0'..=b'7').contains(*b)).count();
    let name = mode.get(digits..)?.strip_prefix(b" ")?.trim_ascii();
    if !(3..=4).contains(&digits) || name.is_empty() {
        return None;
    }
    let length = match encoding {
        Encoding::Base64 => memmem::find(body, b"====").unwrap_or(body.len()),
        _ if !uuencode::begins(body) => return None,
        _ => uuencode::end_of_lines(body),
    };
    let block = Block { name: name.to_vec(), encoding, text: body.get(..length)? };
    Some((block, text.len() - body.len() + length))
}

/// `=ybegin line=128 size=9 name=a.exe`, and for one of several parts a line more.
fn yencoded(text: &[u8]) -> Option<(Block<'_>, usize)> {
    let (line, mut body) = split_line(text)?;
    let name = memmem::find(line, b" name=").and_then(|at| line.get(at + 6..))?.trim_ascii();
    if body.starts_with(b"=ypart ") {
        body = split_line(body)?.1;
    }
    let length = memmem::find(body, b"\n=yend").unwrap_or(body.len());
    let block = Block { name: name.to_vec(), encoding: Encoding::YEnc, text: body.get(..length)? };
    Some((block, text.len() - body.len() + length))
}

/// Between two colons, of which the first begins a line.
fn binhexed(text: &[u8]) -> Option<(Block<'_>, usize)> {
    let near = text.get(..MAX_COMMENT_BYTES).unwrap_or(text);
    let begin = if text.starts_with(b":") { 1 } else { memmem::find(near, b"\n:")? + 2 };
    let body = text.get(begin..)?;
    let body = body.get(..memchr(b':', body).unwrap_or(body.len()))?;
    let block = Block { name: binhex::name(body), encoding: Encoding::BinHex, text: body };
    Some((block, begin + body.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(String, String)> {
        let mut buffer = Vec::new();
        let mut told = Vec::new();
        for block in blocks(text.as_bytes(), None) {
            block.decode(&mut buffer);
            told.push((
                String::from_utf8_lossy(&block.name).into_owned(),
                String::from_utf8_lossy(&buffer).into_owned(),
            ));
        }
        told
    }

    #[test]
    fn files_in_a_text_are_found() {
        for (text, expected) in [
            ("hello\nbegin 644 a.exe\n#0V%T\n`\nend\nbye\n", &[("a.exe", "Cat")][..]),
            ("begin 644 a.exe\r\n#0V%T\r\n`\r\nend\r\n", &[("a.exe", "Cat")]),
            ("begin 644 a b.exe\n#0V%T\n", &[("a b.exe", "Cat")]),
            ("begin 644 a\n#0V%T\nend\nbegin 0600 b\n#0V%T\nend\n", &[("a", "Cat"), ("b", "Cat")]),
            ("begin-base64 644 a.exe\nQ2F0\n====\n", &[("a.exe", "Cat")]),
            (
                "=ybegin line=128 size=2 name=a.exe\n\u{b}\u{c}\n=yend size=2\n",
                &[("a.exe", "\u{FFFD}\u{FFFD}")],
            ),
            ("begin 644 the day\nwith a coffee\n", &[]),
            ("we begin 644 a.exe\n#0V%T\n", &[]),
            ("begin\nend\n", &[]),
        ] {
            let told = found(text);
            let told: Vec<_> = told.iter().map(|(name, data)| (name.as_str(), data.as_str())).collect();
            assert_eq!(told, expected, "{text:?}");
        }
    }

    #[test]
    fn many_beginnings_take_linear_time() {
        for hostile in [
            "begin 644 a\n#0V%T\n",
            "begin",
            "=ybegin name=\n",
            "(This file must be converted with BinHex\n",
            "\n:",
        ] {
            assert!(blocks(hostile.repeat(100_000).as_bytes(), None).len() <= MAX_BLOCKS);
        }
    }
}
