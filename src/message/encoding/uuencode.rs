//! uuencode: lines that each say how many bytes are in them.

use memchr::memchr;

/// Bytes that one line may say it has.
const MAX_COUNT: usize = 63;

/// Decodes all lines that may be some, up to `end`.
pub(super) fn push_lines(output: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some((line, tail)) = split_line(rest) {
        rest = tail;
        if line.trim_ascii() == b"end" {
            break;
        }
        if count(line).is_some() {
            push_line(output, line);
        }
    }
}

/// Where the lines end that may be some, `end` with them.
pub(super) fn end_of_lines(text: &[u8]) -> usize {
    let mut rest = text;
    while let Some((line, tail)) = split_line(rest) {
        if line.trim_ascii() == b"end" {
            rest = tail;
            break;
        }
        if count(line).is_none() && !line.trim_ascii().is_empty() {
            break;
        }
        rest = tail;
    }
    text.len() - rest.len()
}

/// Whether the first line may be one that has something in it.
pub(super) fn begins(text: &[u8]) -> bool {
    split_line(text).is_some_and(|(line, _)| count(line).is_some_and(|bytes| bytes > 0))
}

/// A line without its end, and what follows.
pub(super) fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.is_empty() {
        return None;
    }
    let end = memchr(b'\n', text).unwrap_or(text.len());
    let line = text.get(..end).unwrap_or_default();
    Some((line.strip_suffix(b"\r").unwrap_or(line), text.get(end + 1..).unwrap_or_default()))
}

/// How many bytes are in the line, if it is one. Blanks at its end may be lost in
/// transport, and some programs add a character as a checksum.
fn count(line: &[u8]) -> Option<usize> {
    let (first, rest) = line.split_first()?;
    let is_digit = |byte: &u8| (b' '..=b'`').contains(byte);
    if !is_digit(first) || !rest.iter().all(is_digit) {
        return None;
    }
    let count = value(*first) as usize;
    let digits = count.div_ceil(3) * 4;
    (count <= MAX_COUNT && rest.len() <= digits + 2 && (rest.len() + 8 >= digits)).then_some(count)
}

fn push_line(output: &mut Vec<u8>, line: &[u8]) {
    let Some((first, rest)) = line.split_first() else { return };
    let end = output.len() + value(*first) as usize;
    let mut digits = rest.iter().map(|byte| value(*byte)).chain(std::iter::repeat(0));
    while output.len() < end {
        let mut bits = 0;
        for digit in digits.by_ref().take(4) {
            bits = bits << 6 | u32::from(digit);
        }
        let [_, bytes @ ..] = bits.to_be_bytes();
        output.extend(bytes.iter().take(end - output.len()));
    }
}

fn value(byte: u8) -> u8 {
    byte.wrapping_sub(b' ') & 0x3f
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_decoded_up_to_the_end() {
        for (text, expected) in [
            ("#0V%T\n`\nend\n", "Cat"),
            ("#0V%T\r\n`\r\nend\r\n#0V%T", "Cat"),
            ("#0V%T\n#0V%T\n", "CatCat"),
            ("!80\n", "a"),
            ("!80  \n", "a"),
            ("no line of it\n#0V%T\n", "Cat"),
        ] {
            let mut output = Vec::new();
            push_lines(&mut output, text.as_bytes());
            assert_eq!(String::from_utf8_lossy(&output), expected, "{text:?}");
        }
        assert_eq!(end_of_lines(b"#0V%T\n`\nend\nafter"), 12);
        assert!(begins(b"#0V%T\n") && !begins(b"`\n") && !begins(b"hello\n"));
    }
}
